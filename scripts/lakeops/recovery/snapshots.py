"""Name the versions of all tables at one moment, bring all of them back to it together, give a name up."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from lakeops.bronze import get_next_batch
from lakeops.bronze.tables import get_truth
from lakeops.contract import Contracts, load_contracts
from lakeops.delta import append, commit, get_last_batch, get_parts, make_adds, make_remove, open_table
from lakeops.errors import UsageError
from lakeops.lakehouse import open_lake
from lakeops.ledger import Ledger, load_ledger, make_frame, read_entries
from lakeops.maintenance import Operation, check_reason, record_operations
from lakeops.paths import Lake
from lakeops.recovery.commit import Moment
from lakeops.recovery.restore import Restored, plan_restore, restore_table
from lakeops.settings import Settings, get_account
from lakeops.timetravel import (
    Snapshot,
    find_snapshot,
    list_snapshots,
    list_tables,
    open_version,
    read_served,
    read_times,
)
from lakeops.timetravel.rows import read_difference
from lakeops.timetravel.snapshots import NAME, is_same_table


@dataclass(frozen=True)
class RestoredLake:
    """What bringing back a snapshot did, or would do.

    Parameters
    ----------
    tables : bronze tables, each with what was done to it.
    quarantined : records of the quarantine that joined and left it, and decisions about them.
    newer : tables that were not there yet when the snapshot was taken, and stay as they are.
    """

    tables: list[Restored]
    quarantined: int
    newer: tuple[str, ...]


def create_snapshot(settings: Settings, name: str, reason: str | None = None) -> Snapshot:
    """Give the versions that all tables have now a name. Under the lake's lock, so that they are of one moment.

    Parameters
    ----------
    name : letters, digits, `_` and `-`; not in use.
    reason : what it is for.

    Raises
    ------
    UsageError : the name cannot be used.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(
            "A snapshot cannot have this name.",
            expected="letters, digits, _ and -, at most 64",
            found=name,
            next_step="for example: lakeops snapshot create before-the-migration",
        )
    with open_lake(settings) as (contracts, _):
        lake = settings.lake
        if any(snapshot.name == name for snapshot in list_snapshots(lake)):
            raise UsageError(
                f"There is a snapshot {name!r} already.",
                next_step=f"choose another name, or: lakeops snapshot drop {name}",
            )
        # What readers see is published; what was written for them and not yet shown is not.
        served = read_served(settings.serving)
        handles = {table.path: open_table(table.path) for table in list_tables(lake, contracts)}
        versions = {path: served.get(path, handle.version()) for path, handle in handles.items()}
        # No version may be younger than its snapshot, also if a clock was ahead; and records are written meanwhile.
        times = [time for path, version in versions.items() if (time := read_times(path).get(version))]
        snapshot_id, now, who = uuid.uuid4().hex, max(dt.datetime.now(dt.UTC), *times), get_account()
        rows = [
            {
                "snapshot_id": snapshot_id,
                "name": name,
                "event": "created",
                "path": path.relative_to(lake.folder).as_posix(),
                "version": versions[path],
                "table_id": handle.metadata().id,
                "reason": reason,
                "done_by": who,
                "recorded_at": now,
            }
            for path, handle in handles.items()
        ]
        append(lake.ops(NAME), make_frame(contracts.get_record(NAME), rows), 0)
        details = {"snapshot": name, "tables": len(rows)}
        record_operations(lake, contracts, [Operation("snapshot", reason=reason, details=details)], now)
        return find_snapshot(lake, name)


def drop_snapshot(settings: Settings, name: str) -> Snapshot:
    """Give a name up: vacuum need no longer keep what only this snapshot needs. The record keeps what it was."""
    with open_lake(settings) as (contracts, _):
        snapshot = find_snapshot(settings.lake, name)
        now = dt.datetime.now(dt.UTC)
        row = {"snapshot_id": snapshot.snapshot_id, "name": name, "event": "dropped"}
        row |= {"done_by": get_account(), "recorded_at": now}
        append(settings.lake.ops(NAME), make_frame(contracts.get_record(NAME), [row]), 0)
        record_operations(settings.lake, contracts, [Operation("drop_snapshot", details={"snapshot": name})], now)
        return snapshot


def restore_snapshot(settings: Settings, name: str, *, reason: str = "", dry_run: bool = False) -> RestoredLake:
    """Bring all bronze tables, their changes and the quarantine back to a snapshot, with the ledger.

    Records of what happened stay: test results, runs, alerts, maintenance. A process that is killed in between leaves
    some tables restored; the same command again restores the others.

    Parameters
    ----------
    reason : why; kept with the account and the time. A dry run needs none.
    dry_run : change nothing.

    Raises
    ------
    UsageError : there is no such snapshot, or one of its versions can no longer be read: nothing was done.
    BronzeCommitError : a commit did not happen.
    """
    if dry_run:
        contracts, ledger = load_contracts(settings.models), load_ledger(settings.lake)
        return _restore(settings.lake, contracts, ledger, find_snapshot(settings.lake, name), None, "")
    reason = check_reason(reason)
    with open_lake(settings) as (contracts, ledger):
        snapshot = find_snapshot(settings.lake, name)
        moment = Moment(get_next_batch(settings.lake, contracts), dt.datetime.now(dt.UTC))
        return _restore(settings.lake, contracts, ledger, snapshot, moment, reason)


def _restore(
    lake: Lake, contracts: Contracts, ledger: Ledger, snapshot: Snapshot, moment: Moment | None, reason: str
) -> RestoredLake:
    held = [(c, _name(lake, get_truth(lake, c))) for c in contracts.tables]
    known = [(contract, snapshot.versions[path]) for contract, path in held if path in snapshot.versions]
    places = [lake.quarantine(contract.table) for contract, _ in known]
    places = [path for path in [*places, lake.ops("quarantine_resolutions")] if _name(lake, path) in snapshot.versions]
    _check(lake, snapshot, [*(get_truth(lake, contract) for contract, _ in known), *places])
    entries = read_entries(lake)
    # All before the first commit: a table that is refused refuses the whole. Planned again one by one, since the rows
    # of all of them may be too many to hold.
    done = [plan_restore(lake, ledger, entries, contract, version).describe() for contract, version in known]
    if moment is not None:
        done = [
            restore_table(lake, contracts, ledger, contract, version, moment, reason, snapshot.name)
            if planned.differs
            else planned
            for planned, (contract, version) in zip(done, known, strict=True)
        ]
    # After the tables: their commits are what quarantined records belong to.
    moved = sum(_restore_record(path, snapshot.versions[_name(lake, path)], moment, snapshot.name) for path in places)
    newer = tuple(contract.name for contract, path in held if path not in snapshot.versions)
    return RestoredLake(done, moved, newer)


def _restore_record(path: Path, version: int, moment: Moment | None, name: str) -> int:
    """Bring a record back to a version; returns how many rows join or leave it."""
    now, then = open_table(path), open_version(path, version)
    back, away = read_difference(then, now)
    if moment and (back.height or away.height):
        held_now, held_then = (dict(get_parts(t).select("path", "size_bytes").iter_rows()) for t in (now, then))
        removes = [make_remove(part, size) for part, size in held_now.items() if part not in held_then]
        adds = make_adds(then, held_then.keys() - held_now.keys())
        commit(now, adds, removes, max(moment.batch_id, get_last_batch(now)), {"restored": name, "to_version": version})
    return back.height + away.height


def _check(lake: Lake, snapshot: Snapshot, places: list[Path]) -> None:
    """Refuse before anything is done, if not all of it can be."""
    for path in places:
        if not is_same_table(lake, snapshot, _name(lake, path)):
            raise UsageError(
                "A table was made anew since the snapshot; its old versions are gone.",
                where=_name(lake, path),
                next_step="bring its folder back from a backup of that time first",
            )
        open_version(path, snapshot.versions[_name(lake, path)])


def _name(lake: Lake, path: Path) -> str:
    return path.relative_to(lake.folder).as_posix()

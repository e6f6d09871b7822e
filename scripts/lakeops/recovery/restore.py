"""Bring a table's rows back to what they were at a version, as a new commit: nothing in the log is taken back.

Batch ids only grow, so the ledger is not turned back either. It says which files' rows are in bronze from now on
(`restored`) and which were restored away (`undone`), and these wait until they are asked for. The keys of all rows that
differ are touched keys, so the incremental models follow.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lakeops.bronze import get_next_batch
from lakeops.bronze.current import derive_current
from lakeops.bronze.schema import read_declared
from lakeops.bronze.tables import get_current, get_truth, get_truth_columns
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import (
    APPLICATION,
    get_arrow_type,
    get_folder,
    get_last_batch,
    get_parts,
    make_adds,
    make_remove,
    open_table,
    read_actions,
    read_frame,
    scan_table,
    write_part,
)
from lakeops.errors import UsageError
from lakeops.lakehouse import open_lake
from lakeops.ledger import Entry, Ledger, load_ledger, read_entries
from lakeops.maintenance import Operation, check_reason, record_operations
from lakeops.paths import Lake
from lakeops.recovery.commit import Mending, Moment, commit_mending, make_restored, make_undone
from lakeops.settings import Settings
from lakeops.timetravel import Table, find_table, find_version_at, open_version, pick_version, read_times
from lakeops.timetravel.rows import adapt, read_difference, subtract_rows

# What came of a file and leaves its bytes in the landing zone, from where the next load would take them.
_MAY_COME_BACK = ("loaded", "seen", "duplicate", "undone", "held")


@dataclass(frozen=True)
class Restored:
    """What a restore did to one table, or would do.

    Parameters
    ----------
    table : schema.table.
    to_version : version of the table's truth whose rows are back.
    rows_back, rows_away : rows of the table that joined and left it.
    files_away : raw files whose present bytes are no longer in bronze, and wait until they are asked for.
    files_back : raw files of which an earlier load is in bronze again.
    batch_id, version : of the commit; None in a dry run, and where nothing differed.
    """

    table: str
    to_version: int
    rows_back: int
    rows_away: int
    files_away: tuple[str, ...] = ()
    files_back: tuple[str, ...] = ()
    batch_id: int | None = None
    version: int | None = None

    @property
    def differs(self) -> bool:
        """Tell whether there was anything to restore."""
        return bool(self.rows_back or self.rows_away or self.files_away or self.files_back)


def run_restore(
    settings: Settings,
    name: str,
    *,
    version: int | None = None,
    timestamp: str | None = None,
    reason: str = "",
    dry_run: bool = False,
    base: Path | None = None,
) -> Restored:
    """Bring a bronze table back to what it was.

    Parameters
    ----------
    name : the table, as in SQL. Of a merged table, the changes it is derived from are restored.
    version, timestamp : when it was right; one of the two.
    reason : why; kept with the account and the time. A dry run needs none.
    dry_run : change nothing.
    base : what a relative path in `name` is relative to.

    Raises
    ------
    UsageError : there is no such table or version, or it is none that can be restored.
    BronzeCommitError : the commit did not happen.
    """
    if dry_run:
        contracts = load_contracts(settings.models)
        table = _find_bronze(settings.lake, contracts, name, base)
        target = find_truth_version(settings.lake, table, version, timestamp)
        ledger, entries = load_ledger(settings.lake), read_entries(settings.lake)
        return plan_restore(settings.lake, ledger, entries, table.contract, target).describe()
    reason = check_reason(reason)
    with open_lake(settings) as (contracts, ledger):
        table = _find_bronze(settings.lake, contracts, name, base)
        target = find_truth_version(settings.lake, table, version, timestamp)
        moment = Moment(get_next_batch(settings.lake, contracts), dt.datetime.now(dt.UTC))
        return restore_table(settings.lake, contracts, ledger, table.contract, target, moment, reason)


def find_truth_version(lake: Lake, table: Table, version: int | None, timestamp: str | None) -> int:
    """Return the version of a table's truth that is meant by a version, or a moment, of the table.

    A merged table has versions of its own, and a log that may begin anew: the version meant only tells the moment.

    Raises
    ------
    UsageError : there is no such version, or the log no longer says when it was.
    """
    truth = get_truth(lake, table.contract)
    if timestamp is not None and version is None:
        return _step_over_layout(truth, pick_version(truth, None, timestamp))
    target = pick_version(table.path, version, timestamp)
    if table.path == truth or target == 0:  # version 0 of any table is empty, and its changes were made after it
        return target
    moment = read_times(table.path).get(target)
    if moment is None:
        raise UsageError(
            "The log no longer says when this version was.",
            where=f"{table.name}, version {target}",
            expected=f"a version of {truth.name}, which the table is derived from",
            next_step=f"lakeops history {table.name}_changes; then restore that",
        )
    return _step_over_layout(truth, find_version_at(truth, moment))


def _step_over_layout(path: Path, version: int) -> int:
    """Return a version that has the rows of this one and can be read; this one, if none can.

    Vacuum takes the files of this one and leaves those of the layout after it, or, where a snapshot names this one, the
    other way round.
    """
    same = version
    while True:
        try:
            open_version(path, same)
        except UsageError:
            if not _is_layout_only(path / "_delta_log" / f"{same + 1:020d}.json"):
                return version
            same += 1
        else:
            return same


def _is_layout_only(file: Path) -> bool:
    """Tell whether a commit only laid out files anew or added columns: neither rows nor loads are others after it."""
    if not file.exists():
        return False
    actions = read_actions(file)
    changes = [action[kind] for action in actions for kind in ("add", "remove") if kind in action]
    proofs = [action["commitInfo"].get(APPLICATION, "") for action in actions if "commitInfo" in action]
    is_load = any(proof and "optimized" not in json.loads(proof) for proof in proofs)
    return not is_load and not any(change.get("dataChange", True) for change in changes)


def restore_table(
    lake: Lake,
    contracts: Contracts,
    ledger: Ledger,
    contract: Contract,
    version: int,
    moment: Moment,
    reason: str,
    snapshot: str | None = None,
) -> Restored:
    """Restore one table, under the lake's lock; does nothing if nothing differs.

    Parameters
    ----------
    version : of the table's truth.
    snapshot : the snapshot that is restored, if it is one.
    """
    started = time.monotonic()
    plan = plan_restore(lake, ledger, read_entries(lake), contract, version)
    before = plan.now.version()
    done = plan.describe()
    if not done.differs:
        return done
    mending = plan.make_mending(ledger, moment, f"restored to version {version}: {reason}")
    words = {"restored": reason, "to_version": version, "rows_joined": plan.back.height}
    written = commit_mending(lake, contracts, ledger, mending, moment, words)
    details = {"to_version": version, "files_away": list(done.files_away[:100]), "snapshot": snapshot}
    operation = Operation(
        "restore",
        contract.name,
        reason,
        batch_id=moment.batch_id,
        version_before=before,
        version_after=written,
        rows_added=done.rows_back,
        rows_removed=done.rows_away,
        details={name: value for name, value in details.items() if value is not None},
        seconds=round(time.monotonic() - started, 3),
    )
    record_operations(lake, contracts, [operation], dt.datetime.now(dt.UTC))
    return replace(done, batch_id=moment.batch_id, version=written)


@dataclass(frozen=True)
class Plan:
    """What it takes to restore one table.

    Parameters
    ----------
    now, then : its truth, as it is and as it was.
    back, away : rows of the truth that join and leave it.
    table_back, table_away : the same of the table that SQL sees.
    live_now, live_then : the ledger, as it is, and what it says of the table as it was.
    """

    contract: Contract
    now: DeltaTable
    then: DeltaTable
    back: pl.DataFrame
    away: pl.DataFrame
    table_back: pl.DataFrame
    table_away: pl.DataFrame
    live_now: dict[str, Entry]
    live_then: Ledger

    def describe(self) -> Restored:
        """Return what would be done."""
        moved = [name for name in self._list_files() if self._has_other_load(name)]
        return Restored(
            self.contract.name,
            self.then.version(),
            self.table_back.height,
            self.table_away.height,
            tuple(name for name in moved if name in self.live_now),
            tuple(name for name in moved if self.live_then.get_live(name)),
        )

    def make_mending(self, ledger: Ledger, moment: Moment, reason: str) -> Mending:
        """Return the commit that does it; rows of older, narrower types are written anew."""
        held_now, held_then = (set(get_parts(table)["path"]) for table in (self.now, self.then))
        adds, removes = [], []
        if self.back.height or self.away.height:
            sizes = dict(get_parts(self.now).select("path", "size_bytes").iter_rows())
            removes = [make_remove(path, sizes[path]) for path in sorted(held_now - held_then)]
            joining = sorted(held_then - held_now)
            schemas = [scan_table(table, []).collect_schema() for table in (self.now, self.then)]
            if all(schemas[0].get(name) == dtype for name, dtype in schemas[1].items()):
                adds = make_adds(self.then, joining)
            elif joining:
                rows = adapt(scan_table(self.then, joining).collect(), schemas[0])
                adds = [write_part(get_folder(self.now), rows)]
        key = self.contract.load.key
        keys = [frame.select(key) for frame in (self.back, self.away, self.table_back, self.table_away)]
        entries = self._make_entries(ledger, moment, reason)
        return Mending(self.contract, self.now, adds, removes, pl.concat(keys).unique(), entries)

    def _list_files(self) -> list[str]:
        """Return the files whose rows differ, or whose load does."""
        files = {
            name
            for frame in (self.back, self.away, self.table_back, self.table_away)
            for name in frame["_source_file"].unique()
        }
        known = set(self.live_now) | {entry.source_file for entry in self.live_then.iter_live()}
        return sorted({name for name in known if name in files or self._has_other_load(name)})

    def _has_other_load(self, name: str) -> bool:
        now, then = self.live_now.get(name), self.live_then.get_live(name)
        return (now and now.rows_batch) != (then and then.rows_batch)

    def _make_entries(self, ledger: Ledger, moment: Moment, reason: str) -> list[Entry]:
        entries: list[Entry] = []
        # The ledger must know the batch: if no file differs, it is told of all of them.
        for name in self._list_files() or sorted(self.live_now):
            now, then, last = self.live_now.get(name), self.live_then.get_live(name), ledger.latest.get(name)
            if self._has_other_load(name) and now:
                entries.append(make_undone(ledger, now, moment, reason))
            elif not now and last and last.status in _MAY_COME_BACK:
                entries.append(make_undone(ledger, last, moment, reason))
            if then:
                entries += make_restored(then, self.live_then.get_replays(name), moment, reason)
        return entries


def plan_restore(lake: Lake, ledger: Ledger, entries: list[Entry], contract: Contract, version: int) -> Plan:
    """Work out what it takes to bring a table back to a version of its truth.

    Parameters
    ----------
    entries : all of the ledger.

    Raises
    ------
    UsageError : the version can no longer be read.
    """
    path = get_truth(lake, contract)
    now, then = open_table(path), open_version(path, version)
    back, away = read_difference(then, now)
    table_back, table_away = back, away
    if contract.load.keeps_changes:
        held = read_frame(open_table(get_current(lake, contract)))
        # By today's contract, which may ask for columns that came since.
        changes = adapt(scan_table(then), _get_schema(now, contract))
        derived = adapt(derive_current(changes, contract, read_declared(lake, contract)), held.schema)
        table_back, table_away = subtract_rows(derived, held), subtract_rows(held, derived)
    reached = get_last_batch(then)
    live_then = Ledger(
        [e for e in entries if e.table_name == contract.table and e.batch_id is not None and e.batch_id <= reached]
    )
    live_now = {entry.source_file: entry for entry in ledger.iter_live() if entry.table_name == contract.table}
    files = back["_source_file"].drop_nulls().unique()
    if forgotten := sorted(name for name in files if name in ledger.latest and not live_then.get_live(name)):
        raise UsageError(
            "The ledger does not know by which load rows of that version came.",
            where=f"{contract.name}, version {version}",
            expected="rows of files that were loaded by then, and entries of the ledger that upkeep has not let go",
            found=", ".join(forgotten[:5]),
            next_step="choose a later version: lakeops history " + contract.name,
        )
    return Plan(contract, now, then, back, away, table_back, table_away, live_now, live_then)


def _get_schema(truth: DeltaTable, contract: Contract) -> pl.Schema:
    """Return the columns of a table's truth, and those that the next load is going to give it."""
    promised = pa.schema([(column.name, get_arrow_type(column.type)) for column in get_truth_columns(contract)])
    schema = pl.DataFrame(pl.from_arrow(promised.empty_table())).schema
    return pl.Schema({**schema, **scan_table(truth, []).collect_schema()})


def _find_bronze(lake: Lake, contracts: Contracts, name: str, base: Path | None) -> Table:
    table = find_table(lake, contracts, name, base)
    if table.kind in ("bronze", "changes"):
        return table
    way_out = {
        "gold": "restore the bronze tables it is made of (lakeops restore, lakeops undo), then: lakeops incremental;"
        f" to look at it: lakeops asof {table.name} --version N",
        "quarantine": "lakeops snapshot restore brings it back together with its table",
        "record": f"it says what happened, and stays; to look at it: lakeops asof {table.name} --version N",
    }
    raise UsageError(
        "Only bronze tables are restored one by one.",
        where=table.name,
        expected="a table of a contract, for example bronze.orders",
        found={"gold": "a published table, which is made from bronze"}.get(table.kind, f"a {table.kind}"),
        next_step=way_out[table.kind],
    )

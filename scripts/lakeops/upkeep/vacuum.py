"""Delete data files that nothing needs: of versions older than the retention, and those no log ever named.

Kept are all files of every version that was the newest one at any time within the retention, of every version that
readers or a snapshot are pinned to, and whatever is too young to tell a dead writer's file from a living one's.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path

from lakeops.contract import Contracts, load_contracts
from lakeops.delta import make_commit_error
from lakeops.errors import UsageError
from lakeops.lakehouse import open_lake
from lakeops.maintenance import Operation
from lakeops.settings import Settings
from lakeops.upkeep.log import list_files, list_readable, read_log
from lakeops.upkeep.pins import list_pins
from lakeops.upkeep.record import keep_record
from lakeops.upkeep.tables import Table, find_tables, list_tables
from lakeops.warehouse import connect

# dbt's hook and the record of a run write without the lake's lock; none of them takes so long.
WRITER_HOURS = 1


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum of one table deleted, or would.

    Parameters
    ----------
    old, orphans : data files of versions that go, and files that no log names; with their bytes.
    oldest_before, oldest : the oldest version from which on all could be read, and can be afterwards.
    pinned : versions kept although they are older than the retention.
    applied : the files are gone.
    """

    table: str
    retain_hours: int
    old: tuple[str, ...]
    orphans: tuple[str, ...]
    old_bytes: int
    orphan_bytes: int
    files_before: int
    bytes_before: int
    oldest_before: int | None
    oldest: int | None
    pinned: tuple[int, ...]
    applied: bool = False
    seconds: float = 0.0

    @property
    def files(self) -> tuple[str, ...]:
        """Return all files that go, relative to the table."""
        return self.old + self.orphans

    @property
    def bytes(self) -> int:
        """Return the bytes of all files that go."""
        return self.old_bytes + self.orphan_bytes


def vacuum_table(
    settings: Settings, table_name: str, retain_hours: int | None = None, apply: bool = False, force: bool = False
) -> Vacuumed:
    """Say what may be deleted of one table, and delete it if told to; see `vacuum_tables`."""
    (done,) = vacuum_tables(settings, (table_name,), retain_hours, apply=apply, force=force)
    return done


def vacuum_tables(
    settings: Settings,
    names: tuple[str, ...] = (),
    retain_hours: int | None = None,
    *,
    apply: bool = False,
    force: bool = False,
) -> list[Vacuumed]:
    """Say what may be deleted of the tables named, or of all, and delete it if told to.

    Parameters
    ----------
    names : as in SQL, or paths of folders; none for every table of the lake.
    retain_hours : how long a replaced version must stay readable; None for what the contract says.
    apply : delete; without it nothing is changed.
    force : allow fewer hours than the contract promises.

    Raises
    ------
    UsageError : no such table, or fewer hours than promised.
    BronzeCommitError : a log cannot be read, or a file cannot be deleted; what is not deleted is still right.
    """
    if not apply:
        contracts = load_contracts(settings.models)
        return _plan(settings, contracts, names, retain_hours, force=force)
    # The warehouse too: dbt and publishing write to the lake without its lock.
    with open_lake(settings) as (contracts, _), connect(settings.warehouse):
        plans = _plan(settings, contracts, names, retain_hours, force=force)
        return [run_vacuum(settings, contracts, table, plan) for table, plan in _pair(settings, contracts, plans)]


def _pair(settings: Settings, contracts: Contracts, plans: list[Vacuumed]) -> list[tuple[Table, Vacuumed]]:
    tables = {table.name: table for table in list_tables(settings.lake, contracts)}
    return [(tables[plan.table], plan) for plan in plans]


def _plan(
    settings: Settings, contracts: Contracts, names: tuple[str, ...], retain_hours: int | None, *, force: bool
) -> list[Vacuumed]:
    tables = find_tables(settings, contracts, names)
    for table in tables:
        if retain_hours is not None and retain_hours < table.retention_hours and not force:
            raise UsageError(
                "That would delete versions that are promised to stay readable.",
                where=table.name,
                expected=f"{table.retention_hours} hours or more, its retention",
                found=f"{retain_hours} hours",
                next_step=f"lakeops vacuum {table.name} --retain-hours {table.retention_hours};"
                " to do it all the same, add --force",
            )
    pins, now = list_pins(settings), dt.datetime.now(dt.UTC)
    return [plan_vacuum(table, pins.get(table.path, set()), retain_hours, now) for table in tables]


def plan_vacuum(table: Table, pins: set[int], retain_hours: int | None, now: dt.datetime) -> Vacuumed:
    """Return what may be deleted of a table.

    Parameters
    ----------
    pins : versions that must stay readable, however old.
    retain_hours : None for the table's own.
    """
    hours = table.retention_hours if retain_hours is None else retain_hours
    # The folder first: what is written while the log is read is in the log, and not in the list.
    present = list_files(table.path)
    log = read_log(table.path)
    oldest_kept = log.find_version_at(now - dt.timedelta(hours=hours))
    needed, named = set(), set()
    for life in log.lives:
        named.add(life.path)
        if life.until is None or life.until > oldest_kept or any(life.covers(version) for version in pins):
            needed.add(life.path)
    dead = now - dt.timedelta(hours=max(hours, WRITER_HOURS))
    old = tuple(sorted(name for name in present if name in named and name not in needed))
    orphans = tuple(sorted(name for name, (_, changed) in present.items() if name not in named and changed < dead))
    before = list_readable(log, present)
    after = list_readable(log, present.keys() - set(old))
    return Vacuumed(
        table.name,
        hours,
        old,
        orphans,
        sum(present[name][0] for name in old),
        sum(present[name][0] for name in orphans),
        len(present),
        sum(size for size, _ in present.values()),
        before[-1][0] if before else None,
        after[-1][0] if after else None,
        tuple(sorted(version for version in pins if version < oldest_kept)),
    )


def run_vacuum(settings: Settings, contracts: Contracts, table: Table, plan: Vacuumed) -> Vacuumed:
    """Delete what a plan lists, under the lake's lock, and write it down in `maintenance_history`."""
    started = time.monotonic()
    for name in plan.files:
        try:
            (table.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise make_commit_error(table.path, error) from error
    _remove_empty_folders(table.path, plan.files)
    done = Vacuumed(**{**plan.__dict__, "applied": True, "seconds": time.monotonic() - started})
    if plan.files:
        version = read_log(table.path).last
        operation = Operation(
            "vacuum",
            table_name=table.name,
            version_before=version,
            version_after=version,
            files_before=plan.files_before,
            files_after=plan.files_before - len(plan.files),
            bytes_before=plan.bytes_before,
            bytes_after=plan.bytes_before - plan.bytes,
            details={"retain_hours": plan.retain_hours, "orphans": len(plan.orphans), "pinned": list(plan.pinned)},
            seconds=done.seconds,
        )
        keep_record(settings, contracts, operation, table.path)
    return done


def _remove_empty_folders(folder: Path, names: tuple[str, ...]) -> None:
    for parent in {(folder / name).parent for name in names} - {folder}:
        if not any(parent.iterdir()):
            parent.rmdir()

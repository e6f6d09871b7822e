"""Do what is due on the whole lake, and nothing more: a second run finds nothing to do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lakeops.console import say
from lakeops.contract import Contracts, load_contracts
from lakeops.errors import BronzeCommitError
from lakeops.lakehouse import open_lake
from lakeops.ledger import Ledger, load_ledger
from lakeops.maintenance import NAME as HISTORY
from lakeops.settings import Settings
from lakeops.upkeep.logs import plan_log, run_log
from lakeops.upkeep.optimize import plan_optimize, run_optimize
from lakeops.upkeep.pins import list_pins
from lakeops.upkeep.retention import drop_outdated, find_outdated
from lakeops.upkeep.tables import Table, list_tables
from lakeops.upkeep.vacuum import Vacuumed, plan_vacuum, run_vacuum
from lakeops.upkeep.warehouse import compact_warehouse, measure_bloat
from lakeops.warehouse import connect


@dataclass(frozen=True)
class Job:
    """One thing that was due.

    Parameters
    ----------
    operation : as in `maintenance_history`.
    saved_files, saved_bytes : how much less is live (optimize) or on disk (the others); negative if it grew.
    """

    operation: str
    table: str | None
    why: str
    saved_files: int = 0
    saved_bytes: int = 0


def run_upkeep(settings: Settings, *, dry_run: bool = False) -> list[Job]:
    """Optimise, vacuum, sum up and trim logs, drop outdated rows and shrink the warehouse, each where it is due.

    Parameters
    ----------
    dry_run : only say what is due now; what one job would make due for the next is not in it.

    Raises
    ------
    LockedError : another process works on the lake, or holds the warehouse.
    """
    if dry_run:
        contracts = load_contracts(settings.models)
        return list(_iter_due(settings, contracts, load_ledger(settings.lake)))
    jobs: list[Job] = []
    with open_lake(settings) as (contracts, ledger):
        tables = list_tables(settings.lake, contracts)
        # The history of upkeep last: what was done before is written there.
        tables.sort(key=lambda table: table.name == f"ops.{HISTORY}")
        jobs += _drop(settings, contracts, ledger)
        jobs += _shrink(settings, contracts)
        for table in tables:
            with _go_on_if_written(table):
                jobs += _keep_up(settings, contracts, ledger, table)
    return jobs


@contextmanager
def _go_on_if_written(table: Table) -> Iterator[None]:
    """Leave a record alone that a run is just writing to: the next upkeep sees to it."""
    try:
        yield
    except BronzeCommitError as error:
        if table.layer != "ops":
            raise
        say(f"warning: {table.name} is left for the next time: {error.found or error.what}")


def _iter_due(settings: Settings, contracts: Contracts, ledger: Ledger) -> Iterator[Job]:
    now, pins = dt.datetime.now(dt.UTC), list_pins(settings)
    for name, count in find_outdated(settings, contracts, ledger, now).items():
        yield Job("prune", name, f"{count:,} rows are older than they are to be kept")
    bloat = measure_bloat(settings)
    if bloat.is_due:
        yield Job("compact", None, "more than half of the warehouse's file is free", 0, bloat.free_bytes)
    for table in list_tables(settings.lake, contracts):
        plan = plan_optimize(table)
        if plan.groups:
            yield Job("optimize", table.name, plan.why, sum(map(len, plan.groups)) - len(plan.groups))
        old = plan_vacuum(table, pins.get(table.path, set()), None, now)
        if old.files:
            yield Job("vacuum", table.name, _say_vacuum(old), len(old.files), old.bytes)
        log = plan_log(table, pins.get(table.path, set()), ledger, now)
        if log.checkpoint:
            yield Job("checkpoint", table.name, f"{log.commits} commits since the last one")
        if log.files:
            yield Job("clean_log", table.name, "nobody may ask for what they say", len(log.files), log.bytes)


def _drop(settings: Settings, contracts: Contracts, ledger: Ledger) -> Iterator[Job]:
    now = dt.datetime.now(dt.UTC)
    due = find_outdated(settings, contracts, ledger, now)
    if due:
        with connect(settings.warehouse):
            drop_outdated(settings, contracts, ledger, now, due)
    for name, count in due.items():
        yield Job("prune", name, f"{count:,} rows were older than they are to be kept")


def _shrink(settings: Settings, contracts: Contracts) -> Iterator[Job]:
    before = measure_bloat(settings)
    if before.is_due:
        compact_warehouse(settings, contracts)
        saved = before.bytes - measure_bloat(settings).bytes
        yield Job("compact", None, "more than half of the warehouse's file was free", 0, saved)


def _keep_up(settings: Settings, contracts: Contracts, ledger: Ledger, table: Table) -> Iterator[Job]:
    """Do what is due on one table; planned anew after each step, since one makes the other due."""
    now = dt.datetime.now(dt.UTC)
    (done,) = run_optimize(settings, contracts, [table])
    if done.version is not None:
        yield Job(
            "optimize",
            table.name,
            done.why,
            done.files_before - done.files_after,
            done.bytes_before - done.bytes_after,
        )
    pins = list_pins(settings).get(table.path, set())
    if plan_vacuum(table, pins, None, now).files:
        with connect(settings.warehouse):
            # Anew: until the warehouse was ours, a publish may have pinned readers to another version.
            pins = list_pins(settings).get(table.path, set())
            old = plan_vacuum(table, pins, None, now)
            run_vacuum(settings, contracts, table, old)
        if old.files:
            yield Job("vacuum", table.name, _say_vacuum(old), len(old.files), old.bytes)
    log = plan_log(table, pins, ledger, now)
    for operation in run_log(settings, contracts, log):
        if operation.operation == "checkpoint":
            yield Job("checkpoint", table.name, f"{log.commits} commits since the last one")
        else:
            yield Job("clean_log", table.name, "nobody may ask for what they said", len(log.files), log.bytes)


def _say_vacuum(plan: Vacuumed) -> str:
    parts = []
    if plan.old:
        parts.append(f"{len(plan.old)} files of versions older than {plan.retain_hours} hours")
    if plan.orphans:
        parts.append(f"{len(plan.orphans)} files that no log names")
    return ", ".join(parts)

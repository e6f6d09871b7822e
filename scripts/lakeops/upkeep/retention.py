"""Let go of rows that the lake's records need no longer: old test results, and stories of files that are long over."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import polars as pl

from lakeops.contract import Contracts
from lakeops.delta import commit, get_last_batch, get_parts, make_remove, open_table, read_frame, scan_table, write_part
from lakeops.ledger import NAME as LEDGER
from lakeops.ledger import Entry, Ledger
from lakeops.maintenance import Operation
from lakeops.paths import Lake
from lakeops.quality import prune_records
from lakeops.settings import Settings
from lakeops.timetravel import list_snapshots
from lakeops.upkeep.record import keep_record
from lakeops.upkeep.tables import Table, list_tables

# A year and a month, as test results: what a file was before it was loaded for the last time.
LEDGER_DAYS = 400
# Refused records word for word, personal data too, of files that were loaded again since.
QUARANTINE_DAYS = 90


def find_outdated(settings: Settings, contracts: Contracts, ledger: Ledger, now: dt.datetime) -> dict[str, int]:
    """Return how many rows are due to go, by table; tables with none are left out."""
    found = {}
    for record in contracts.records:
        if record.retention is not None:
            before = now - dt.timedelta(days=record.retention.days)
            rows = _scan(settings.lake.ops(record.name)).filter(pl.col(record.retention.by) < before)
            found[f"ops.{record.name}"] = int(rows.select(pl.len()).collect().item())
    for table in list_tables(settings.lake, contracts):
        if (outdated := _select_outdated(settings.lake, table, ledger, now)) is not None:
            found[table.name] = int(_scan(table.path).filter(outdated).select(pl.len()).collect().item())
    return {name: count for name, count in found.items() if count}


def drop_outdated(
    settings: Settings, contracts: Contracts, ledger: Ledger, now: dt.datetime, due: dict[str, int]
) -> None:
    """Take out what `find_outdated` has found, under the lake's lock; their files stay for vacuum.

    Raises
    ------
    BronzeCommitError : a record cannot be written.
    """
    tables = {table.name: table for table in list_tables(settings.lake, contracts)}
    started = time.monotonic()
    if any(name.removeprefix("ops.") in {r.name for r in contracts.records if r.retention} for name in due):
        for name, count in prune_records(settings.lake, contracts, now).items():
            if count:
                _keep(settings, contracts, tables[f"ops.{name}"], count, started)
    for name in due:
        outdated = _select_outdated(settings.lake, tables[name], ledger, now)
        if outdated is not None:
            started = time.monotonic()
            _keep(settings, contracts, tables[name], _take_out(tables[name], outdated), started)


def _keep(settings: Settings, contracts: Contracts, table: Table, count: int, started: float) -> None:
    seconds = time.monotonic() - started
    operation = Operation("prune", table_name=table.name, rows_removed=count, seconds=seconds)
    keep_record(settings, contracts, operation, table.path)


def _select_outdated(lake: Lake, table: Table, ledger: Ledger, now: dt.datetime) -> pl.Expr | None:
    """Return which rows of the ledger, or of a quarantine, are due to go; None for other tables.

    Of a file that was loaded again long ago, what came before tells nothing that the loader asks. What is in quarantine
    for a load that still holds stays, so that read = accepted + quarantined can be counted at any time.
    """
    days = {f"ops.{LEDGER}": LEDGER_DAYS}.get(table.name, QUARANTINE_DAYS if table.layer == "quarantine" else None)
    if days is None:
        return None
    before = now - dt.timedelta(days=days)
    if table.layer != "quarantine":
        # A snapshot is restored by what the ledger says of its files then.
        before = min([before, *(snapshot.created_at for snapshot in list_snapshots(lake))])
    loads = [entry for entry in ledger.iter_live() if entry.status == "loaded" and entry.recorded_at < before]
    if table.layer == "quarantine":
        return pl.col("batch_id") < _look_up({entry.source_file: entry.rows_batch for entry in loads})
    # What was taken out by hand may come again, and then the ledger must know it.
    told = pl.col("status").is_in(["undone", "restored"]).any().over("source_file")
    return ~told & (pl.col("entry_id") < _look_up({entry.source_file: entry.entry_id for entry in loads}))


def _look_up(values: dict[str, int | None]) -> pl.Expr:
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return pl.lit(None, dtype=pl.Int64)
    return pl.col("source_file").replace_strict(known, default=None, return_dtype=pl.Int64)


def _scan(path: Path) -> pl.LazyFrame:
    return scan_table(open_table(path))


def _take_out(table: Table, outdated: pl.Expr) -> int:
    """Write a record anew without such rows. It is read whole: what is outdated may be told by other rows."""
    handle = open_table(table.path)
    rows = read_frame(handle)
    staying = rows.filter(outdated.not_().fill_null(True))
    if table.name == f"ops.{LEDGER}":
        _check_ledger(rows, staying)
    removes = [make_remove(*part) for part in get_parts(handle).select("path", "size_bytes").iter_rows()]
    adds = [write_part(table.path, staying)] if staying.height else []
    batch, count = get_last_batch(handle), rows.height - staying.height
    commit(handle, adds, removes, batch, {"batch_id": batch, "operation": "prune", "rows": count})
    return count


def _check_ledger(before: pl.DataFrame, after: pl.DataFrame) -> None:
    """Refuse to drop what the loader still asks for."""
    known, left = (
        vars(Ledger([Entry(**row) for row in _sort(rows).iter_rows(named=True)])) for rows in (before, after)
    )
    if known != left:
        raise RuntimeError("the ledger would answer otherwise without its outdated entries")


def _sort(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("entry_id", "recorded_at", nulls_last=False, maintain_order=True)

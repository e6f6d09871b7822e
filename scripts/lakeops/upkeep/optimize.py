"""Lay rows out anew: many small data files become few, sorted so that a query can skip most of them.

Only files change, never rows; the commit says so (dataChange is false). Old versions keep their files until vacuum.
Sorted and written by us, and not by delta-rs: parts keep exact statistics, the commit the batch id and a mark for the
next look, and memory stays bounded, because DuckDB sorts on disk what is too much.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from lakeops.contract import Contracts
from lakeops.delta import commit, get_last_batch, get_parts, make_commit_error, make_remove, open_table, write_part
from lakeops.errors import BronzeCommitError, UsageError
from lakeops.lakehouse import open_lake
from lakeops.maintenance import Operation
from lakeops.publish import note_new_version
from lakeops.settings import Settings
from lakeops.upkeep.log import Log, read_log
from lakeops.upkeep.record import keep_record
from lakeops.upkeep.tables import Table, find_tables
from lakeops.warehouse import connect, prepare_connection

# A part of so many bytes or rows is read in half a second, and written anew when a file in it is restated. Of twice the
# rows, sorting and writing took 1.5 GB of memory.
TARGET_BYTES = 64 << 20
TARGET_ROWS = 1_000_000
# Every file costs a reader about a millisecond: fewer new small ones than these are not worth a commit.
DUE_FILES = 16
# Within a sorted part a reader skips groups of rows by their bounds.
ROW_GROUP = 1 << 17
MEMORY = "512MB"
# Bits of each column that are woven into the order of several; more would not change which files are skipped.
_BITS = 12
_SORTING = ".sorting."


@dataclass(frozen=True)
class Plan:
    """What optimising a table would do.

    Parameters
    ----------
    groups : data files by what they would be merged into; empty if nothing is to be done.
    order : columns by which rows would be sorted.
    why : one sentence, also where nothing is to be done.
    """

    table: Table
    groups: tuple[tuple[str, ...], ...]
    order: tuple[str, ...]
    why: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Optimized:
    """What optimising a table did.

    Parameters
    ----------
    version : the version of the table that has the new layout; None if nothing was to be done, or it was a dry run.
    """

    table: str
    why: str
    order: tuple[str, ...]
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    version_before: int | None = None
    version: int | None = None
    seconds: float = 0.0


def optimize_table(
    settings: Settings, table_name: str, zorder: tuple[str, ...] | None = None, *, dry_run: bool = False
) -> Optimized:
    """Merge the small data files of a table if they are many; with `zorder`, lay out all of its rows by these columns.

    Parameters
    ----------
    table_name : as in SQL, or the path of its folder.
    zorder : columns to lay out the rows by now; None to follow the contract, and only if it is due.

    Raises
    ------
    UsageError : no such table, or no such column.
    BronzeCommitError : the new layout was not committed; the table is as it was.
    """
    (done,) = optimize_tables(settings, (table_name,), zorder, dry_run=dry_run)
    return done


def optimize_tables(
    settings: Settings, names: tuple[str, ...] = (), zorder: tuple[str, ...] | None = None, *, dry_run: bool = False
) -> list[Optimized]:
    """Optimise the tables named, or every table of the lake; see `optimize_table`."""
    with open_lake(settings) as (contracts, _):
        tables = find_tables(settings, contracts, names)
        if dry_run:
            return [_describe(plan_optimize(table, zorder)) for table in tables]
        return run_optimize(settings, contracts, tables, zorder)


def plan_optimize(table: Table, zorder: tuple[str, ...] | None = None) -> Plan:
    """Return what optimising a table would do now.

    Parameters
    ----------
    zorder : columns to lay out all rows by; None for what the contract says, and only small files.

    Raises
    ------
    UsageError : the table has no such column, or no query skips files by it.
    """
    handle = open_table(table.path)
    parts, log = get_parts(handle), read_log(table.path)
    size = int(parts["size_bytes"].sum() or 0)
    if foreign := _find_foreign(handle):
        return Plan(table, (), table.order, f"left alone: another program gave it {foreign}", parts.height, size)
    order = _check_order(table, handle, zorder) if zorder else table.order
    groups = _plan_all(parts, log, order) if zorder else _plan_small(parts, log, order)
    if zorder:
        why = f"laid out by {', '.join(order)}" if groups else f"already laid out by {', '.join(order)}"
    else:
        fresh = _count_fresh(parts, log)
        why = f"{fresh} new small files of {parts.height}" + ("" if groups else f", not due below {DUE_FILES}")
    return Plan(table, groups, order, why, parts.height, size)


def _find_foreign(handle: DeltaTable) -> str | None:
    """Return what a table has that our data files cannot say: its rows are not just what stands in its files."""
    if handle.metadata().partition_columns:
        return "partitions"
    if handle.protocol().min_reader_version > 1:
        return "features of Delta that lakeops does not use"
    return None


def _check_order(table: Table, handle: DeltaTable, zorder: tuple[str, ...]) -> tuple[str, ...]:
    types = {field.name: str(getattr(field.type, "type", field.type)) for field in handle.schema().fields}
    useful = [name for name, kind in types.items() if kind in ("long", "date")]
    if unknown := [name for name in zorder if name not in useful]:
        raise UsageError(
            "A table cannot be laid out by this column.",
            where=table.name,
            expected=f"one of {', '.join(useful)}: by columns of other types no query skips a file",
            found=", ".join(unknown),
            next_step="name columns of type bigint or date",
        )
    return zorder


def _is_small() -> pl.Expr:
    return (pl.col("size_bytes") < TARGET_BYTES // 2) & (pl.col("num_records") < TARGET_ROWS // 2)


def _count_fresh(parts: pl.DataFrame, log: Log) -> int:
    """Count small files that no earlier optimising has written: of its own, nothing is to be gained twice."""
    small = set(parts.filter(_is_small())["path"])
    # What a checkpoint already had, where the log before it is gone, is old by any measure.
    known = [life for life in log.list_live() if life.since > log.first or log.first == 0]
    return sum(life.path in small and life.since not in log.optimized for life in known)


def _plan_small(parts: pl.DataFrame, log: Log, order: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Group neighbours in the table's order until a group is as large as a part may be."""
    if _count_fresh(parts, log) < DUE_FILES:
        return ()
    since = {life.path: life.since for life in log.list_live()}
    low = f"min.{order[0]}" if order else ""
    small = parts.filter(_is_small()).with_columns(
        pl.col("path").replace_strict(since, default=0, return_dtype=pl.Int64).alias("since")
    )
    small = small.sort([*([low] if low in small.columns else []), "since", "path"], nulls_last=False)
    groups: list[list[str]] = [[]]
    size = rows = 0
    for path, more_bytes, more_rows in small.select("path", "size_bytes", "num_records").iter_rows():
        if groups[-1] and (size + more_bytes > TARGET_BYTES or rows + more_rows > TARGET_ROWS):
            groups.append([])
            size = rows = 0
        groups[-1].append(path)
        size, rows = size + more_bytes, rows + more_rows
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _plan_all(parts: pl.DataFrame, log: Log, order: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """One group of everything, unless just that was done last."""
    since = {life.since for life in log.list_live()}
    done = log.optimized.get(next(iter(since))) if len(since) == 1 else None
    if not parts.height or (done and done["zorder"] == list(order) and done["all"]):
        return ()
    return (tuple(parts["path"]),)


def run_optimize(
    settings: Settings, contracts: Contracts, tables: list[Table], zorder: tuple[str, ...] | None = None
) -> list[Optimized]:
    """Optimise tables where it is due, under the lake's lock; each is one commit, and a row of `maintenance_history`.

    The warehouse is held meanwhile: dbt and publishing write to the lake without the lock.

    Parameters
    ----------
    zorder : as of `plan_optimize`.

    Raises
    ------
    UsageError, BronzeCommitError : as of `optimize_table`.
    """
    done = []
    plans = [plan_optimize(table, zorder) for table in tables]
    if not any(plan.groups for plan in plans):
        return [_describe(plan) for plan in plans]
    with connect(settings.warehouse) as warehouse, _open_sorter(settings) as sorter:
        for table in tables:
            # Anew: until the warehouse was ours, a publish may have replaced the files that were to be merged.
            plan = plan_optimize(table, zorder)
            if not plan.groups:
                done.append(_describe(plan))
                continue
            outcome = _carry_out(sorter, plan)
            if plan.table.layer == "gold":
                note_new_version(warehouse, plan.table.path, outcome.version_before, outcome.version)
            done.append(outcome)
            keep_record(settings, contracts, _make_operation(outcome), plan.table.path)
    return done


def _describe(plan: Plan) -> Optimized:
    merged = sum(len(group) for group in plan.groups)
    after = plan.files - merged + len(plan.groups)
    return Optimized(plan.table.name, plan.why, plan.order, plan.files, after, plan.bytes, plan.bytes)


def _make_operation(done: Optimized) -> Operation:
    return Operation(
        "optimize",
        table_name=done.table,
        version_before=done.version_before,
        version_after=done.version,
        files_before=done.files_before,
        files_after=done.files_after,
        bytes_before=done.bytes_before,
        bytes_after=done.bytes_after,
        details={"order": list(done.order), "why": done.why},
        seconds=done.seconds,
    )


def _carry_out(sorter: duckdb.DuckDBPyConnection, plan: Plan) -> Optimized:
    started = time.monotonic()
    handle = open_table(plan.table.path)
    parts = get_parts(handle)
    sizes = {path: (size, rows) for path, size, rows in parts.select("path", "size_bytes", "num_records").iter_rows()}
    adds: list[AddAction] = []
    try:
        for group in plan.groups:
            rows = sum(sizes[path][1] for path in group)
            written = 0
            for frame in _sort(sorter, handle, plan, group, _count_rows_per_part(sizes, group)):
                adds.append(write_part(plan.table.path, frame, row_group_size=ROW_GROUP, data_change=False))
                written += frame.height
            if written != rows:  # a commit that loses or doubles rows must not be, whatever the cause
                raise BronzeCommitError(
                    "A table was not optimised: its data files do not hold the rows that its log counts.",
                    where=str(plan.table.path),
                    expected=f"{rows} rows in {len(group)} files",
                    found=f"{written}",
                    next_step="nothing was changed; runbooks/bronze-file-corrupted.md",
                )
        removes = [make_remove(path, sizes[path][0], data_change=False) for group in plan.groups for path in group]
        proof = {"zorder": list(plan.order), "all": len(removes) == parts.height}
        batch = get_last_batch(handle)
        version = commit(handle, adds, removes, batch, {"batch_id": batch, "operation": "optimize", "optimized": proof})
    except (duckdb.Error, OSError) as error:
        _discard(plan.table.path, adds)
        raise make_commit_error(plan.table.path, error) from error
    except BaseException:
        _discard(plan.table.path, adds)
        raise
    merged = sum(sizes[path][0] for group in plan.groups for path in group)
    return Optimized(
        plan.table.name,
        plan.why,
        plan.order,
        plan.files,
        plan.files - len(removes) + len(adds),
        plan.bytes,
        plan.bytes - merged + sum(add.size for add in adds),
        handle.version(),
        version,
        time.monotonic() - started,
    )


def _discard(folder: Path, adds: list[AddAction]) -> None:
    """Delete data files that did not become part of their table.

    The table is asked, and not the error: delta-rs also fails after it has committed, when it cannot write the
    checkpoint that is due. If the table cannot be opened, nobody knows, and vacuum sees to what is left.
    """
    try:
        live = set(get_parts(open_table(folder))["path"])
    except (BronzeCommitError, DeltaError):
        return
    for add in adds:
        if add.path not in live:
            (folder / add.path).unlink(missing_ok=True)


def _count_rows_per_part(sizes: dict[str, tuple[int, int]], group: tuple[str, ...]) -> int:
    size, rows = (sum(values) for values in zip(*(sizes[path] for path in group), strict=True))
    return max(1, min(TARGET_ROWS, rows * TARGET_BYTES // max(size, 1)))


@contextmanager
def _open_sorter(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB in memory that sorts on disk, in the lake, what is more than it may hold."""
    for left in settings.lake.folder.glob(f"{_SORTING}*"):  # by one that was killed: we have the lock
        shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_SORTING, dir=settings.lake.folder) as folder,
        duckdb.connect() as connection,
    ):
        prepare_connection(connection)
        connection.execute(f"set memory_limit = '{MEMORY}'")
        connection.execute(f"set temp_directory = '{_escape(Path(folder))}'")
        yield connection


def _sort(
    sorter: duckdb.DuckDBPyConnection, handle: DeltaTable, plan: Plan, group: tuple[str, ...], rows: int
) -> Iterator[pl.DataFrame]:
    """Yield the rows of some data files in the plan's order, in frames of so many rows."""
    empty = pa.schema(handle.schema().to_arrow()).empty_table()
    types = pl.DataFrame(pl.from_arrow(empty)).schema
    files = ", ".join(f"'{_escape(plan.table.path / path)}'" for path in group)
    # A column that is newer than a file is null in its rows.
    sorter.register("shape", empty)
    source = (
        f"(from shape union all by name from read_parquet([{files}], union_by_name = true, hive_partitioning = false))"
    )
    order = _write_order(sorter, source, [name for name in plan.order if name in types], types)
    query = f"select {', '.join(map(_quote, types))} from {source}{order}"
    for batch in sorter.execute(query).to_arrow_reader(rows):
        if batch.num_rows:
            frame = pl.DataFrame(pl.from_arrow(batch))
            yield frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


def _write_order(sorter: duckdb.DuckDBPyConnection, source: str, order: list[str], types: pl.Schema) -> str:
    if not order:
        return ""
    # What ties is left as it lay in the raw files, so that the result is always the same.
    rest = [_quote(name) for name in ("_source_file", "_source_row") if name in types]
    if len(order) == 1:
        return f" order by {', '.join([f'{_quote(order[0])} nulls first', *rest])}"
    bounds = sorter.execute(
        f"select {', '.join(f'min({_measure(n, types)}), max({_measure(n, types)})' for n in order)} from {source}"
    ).fetchone()
    woven = []
    for place, name in enumerate(order):
        low, high = bounds[2 * place] or 0, bounds[2 * place + 1] or 0
        share = f"({_measure(name, types)} - {low}) / {max(high - low, 1)}"
        scaled = f"coalesce(cast({share} * {(1 << _BITS) - 1} as bigint), 0)"
        woven += [f"((({scaled}) >> {bit}) & 1) << {bit * len(order) + place}" for bit in range(_BITS)]
    return f" order by {', '.join([' + '.join(f'({term})' for term in woven), *map(_quote, order), *rest])}"


def _measure(name: str, types: pl.Schema) -> str:
    days = f"({_quote(name)} - date '1970-01-01')" if types[name] == pl.Date else _quote(name)
    return f"cast({days} as double)"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _escape(path: Path) -> str:
    return str(path).replace("'", "''")

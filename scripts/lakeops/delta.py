"""Delta tables as this project writes them: typed, with their log kept, every commit carrying its batch.

A data file is written first and counts for nothing; one commit of adds and removes then makes it part of the table.
That way rows, proof (metadata) and application transaction appear together or not at all, files can be written on
both cores, and the statistics are exact.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from lakeops.contract import Column, DataType
from lakeops.errors import BronzeCommitError
from lakeops.raw import compute_fingerprint

APPLICATION = "lakeops"
# delta-rs trims logs older than 30 days by itself, and history and proof with them (tried: 99 of 205 commits gone).
CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
# Planning a scan reads every commit since the last checkpoint, so one that lists many files gets its own.
CHECKPOINT_ABOVE_BYTES = 1 << 20
# Some records are written without the lake's lock, also while upkeep lays them out anew.
APPEND_ATTEMPTS = 5


def get_arrow_type(data_type: DataType) -> pa.DataType:
    """Return the Arrow type in which a contract's type is stored."""
    match data_type.kind:
        case "decimal":
            return pa.decimal128(data_type.precision, data_type.scale)
        case "timestamp":
            return pa.timestamp("us", "UTC")
        case "varchar" | "json":
            return pa.string()
        case kind:
            return {"bigint": pa.int64(), "double": pa.float64(), "boolean": pa.bool_(), "date": pa.date32()}[kind]


def read_arrow_type(arrow_type: pa.DataType) -> DataType:
    """Return the contract's type for a stored one; the reverse of `get_arrow_type`."""
    if pa.types.is_decimal(arrow_type):
        return DataType("decimal", arrow_type.precision, arrow_type.scale)
    if pa.types.is_timestamp(arrow_type):
        return DataType("timestamp")
    kinds = {pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date"}
    return DataType(kinds.get(arrow_type, "varchar"))


def ensure_table(path: Path, columns: Iterable[Column]) -> None:
    """Create a table typed and empty (version 0), or add the columns it lacks.

    Raises
    ------
    BronzeCommitError : the table cannot be written.
    """
    schema = pa.schema([pa.field(column.name, get_arrow_type(column.type)) for column in columns])
    try:
        if not DeltaTable.is_deltatable(str(path)):
            path.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(str(path), schema=schema, configuration=CONFIGURATION, mode="ignore")
            return
        table = open_table(path)
        present = {field.name for field in table.schema().fields}
        wanted = Schema.from_arrow(schema).fields
        add_columns(table, [field for field in wanted if field.name not in present])
    except (DeltaError, OSError) as error:
        raise make_commit_error(path, error) from error


def add_columns(table: DeltaTable, fields: list[Field]) -> None:
    """Add nullable columns to a table; old rows are null in them."""
    if fields:
        table.alter.add_columns(fields)


def open_table(path: Path, version: int | None = None) -> DeltaTable:
    """Open a table at its newest version, or at an earlier one that is known to be there.

    Raises
    ------
    BronzeCommitError : there is no table, or its log cannot be read.
    """
    try:
        return DeltaTable(str(path), version=version)
    except TableNotFoundError as error:
        raise BronzeCommitError(
            "A table of the lake is gone.",
            where=str(path),
            expected="a Delta table",
            found="no Delta log",
            next_step="if nothing was ever loaded: lakeops load; else lakeops doctor says what mends it",
        ) from error
    except (DeltaError, OSError) as error:
        raise BronzeCommitError(
            "A table's Delta log cannot be read.",
            where=str(path / "_delta_log"),
            found=" ".join(str(error).split())[:300],
            next_step="lakeops doctor says what is damaged, and what mends it",
        ) from error


def get_folder(table: DeltaTable) -> Path:
    """Return the folder of an open table, which may have blanks in its name."""
    return Path(url2pathname(urlsplit(table.table_uri).path)) if "://" in table.table_uri else Path(table.table_uri)


def find_version(path: Path) -> int | None:
    """Return a table's newest version by the names in its log alone; None if there is none."""
    versions = [int(file.stem) for file in (path / "_delta_log").glob("*.json") if file.stem.isdecimal()]
    return max(versions, default=None)


def get_last_batch(table: DeltaTable) -> int:
    """Return the newest batch that committed to the table, 0 if none did; survives checkpoints and compaction."""
    return table.transaction_version(APPLICATION) or 0


# Few, large groups pack best; where rows are sorted, smaller ones let a reader skip most of a file.
ROW_GROUP = 1 << 20


def write_part(
    table: Path, frame: pl.DataFrame, *, row_group_size: int = ROW_GROUP, data_change: bool = True
) -> AddAction:
    """Write a data file into a table's folder and describe it; it is not part of the table until a commit adds it.

    Parameters
    ----------
    table : the table's folder.
    frame : typed rows, at least one.
    data_change : the rows are new to the table, and not only moved within it.

    Raises
    ------
    BronzeCommitError : the file cannot be written; nothing of it is left.
    """
    name = f"part-{uuid.uuid4()}.zstd.parquet"
    try:
        frame.write_parquet(table / name, compression="zstd", compression_level=1, row_group_size=row_group_size)
    except (pl.exceptions.PolarsError, OSError) as error:
        with contextlib.suppress(OSError):  # on a read-only disk nothing was written
            (table / name).unlink(missing_ok=True)  # a full disk needs every byte back
        raise make_commit_error(table, error) from error
    return AddAction(
        path=name,
        size=(table / name).stat().st_size,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=data_change,
        stats=json.dumps(_describe(frame)),
    )


def commit(
    table: DeltaTable,
    adds: list[AddAction],
    removes: list[RemoveAction],
    batch_id: int,
    metadata: dict[str, Any],
) -> int:
    """Commit data files to a table as one version; also with nothing to add, as proof that the batch was here.

    Parameters
    ----------
    table : the handle on which the caller looked at the table's state: a stale one is refused.
    adds, removes : data files that join and leave the table.
    batch_id : recorded as the application transaction.
    metadata : proof of what was loaded; stands in the table's history under `lakeops`, with the data files' hashes.

    Returns
    -------
    The version written.

    Raises
    ------
    BronzeCommitError : another writer was faster, or the disk refused.
    """
    path = get_folder(table)
    try:
        # One flipped bit in six gives other values and no error: only the hash tells a damaged file (decision 40).
        parts = {add.path: compute_fingerprint(path / add.path) for add in adds}
        proof = json.dumps({**metadata, "parts": parts}, ensure_ascii=False, default=str)
        table.create_write_transaction(
            [*removes, *adds],
            mode="append",
            schema=table.schema(),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(APPLICATION, batch_id)],
                custom_metadata={APPLICATION: proof},
                max_commit_retries=0,
            ),
        )
        fresh = DeltaTable(str(path))
        if len(proof) > CHECKPOINT_ABOVE_BYTES:
            fresh.create_checkpoint()
        return fresh.version()
    except (DeltaError, OSError) as error:
        raise make_commit_error(path, error) from error


def make_commit_error(path: Path, error: Exception) -> BronzeCommitError:
    """Return what a failed write to a table means to a person."""
    text = str(error).splitlines()[0][:300]
    full = "No space left" in text
    return BronzeCommitError(
        "The disk is full; nothing was committed." if full else "A commit to the lake did not happen.",
        where=str(path),
        found=text,
        next_step=("free some space, " if full else "make sure no other program writes this table, ")
        + "then run the same command again: it goes on where this one stopped",
    )


def append(path: Path, frame: pl.DataFrame, batch_id: int) -> None:
    """Append typed rows to a record of the lake in one commit; no rows, no commit."""
    if not frame.height:
        return
    part = write_part(path, frame)
    for attempt in range(APPEND_ATTEMPTS):
        table = open_table(path)
        try:
            commit(table, [part], [], max(batch_id, get_last_batch(table)), {"batch_id": batch_id})
            return
        except BronzeCommitError as error:
            if attempt + 1 == APPEND_ATTEMPTS or not isinstance(error.__cause__, CommitFailedError):
                raise


def scan_table(table: DeltaTable, parts: Iterable[str] | None = None) -> pl.LazyFrame:
    """Return a table's rows to select from, in the types of its schema; a column a data file lacks is null.

    Parameters
    ----------
    parts : only the rows of these data files, as `get_parts` names them; None for all.

    Not `pl.scan_delta`: it takes the table's address, in which blanks are %20, for a path (polars 2.1).
    """
    empty = pl.DataFrame(pl.from_arrow(pa.schema(table.schema().to_arrow()).empty_table()))
    folder = get_folder(table)
    paths = [folder / path for path in (get_parts(table)["path"] if parts is None else parts)]
    if not paths:
        return empty.lazy()
    return pl.scan_parquet(paths, schema=empty.schema, missing_columns="insert", glob=False)


def read_frame(table: DeltaTable, columns: list[str] | None = None) -> pl.DataFrame:
    """Return a table's rows, in the types of its schema."""
    scan = scan_table(table)
    return (scan.select(columns) if columns else scan).collect()


def get_parts(table: DeltaTable) -> pl.DataFrame:
    """Return the table's live data files: path, size_bytes, num_records and min/max statistics, flattened."""
    # Through pyarrow: polars reads delta-rs's own table object as one column of structs.
    parts = pl.DataFrame(pl.from_arrow(pa.table(table.get_add_actions(flatten=True))))
    if "path" not in parts.columns:  # so it is for an empty table
        return pl.DataFrame(schema={"path": pl.String, "size_bytes": pl.Int64, "num_records": pl.Int64})
    return parts


def find_largest(table: DeltaTable, column: str) -> int:
    """Return the largest value of a bigint column, from the statistics of the data files; 0 if there is none."""
    parts = get_parts(table)
    name = f"max.{column}"
    return (parts[name].max() or 0) if name in parts.columns else 0


def make_remove(path: str, size: int, *, data_change: bool = True) -> RemoveAction:
    """Return the action by which a data file leaves its table; its rows too, unless they only moved."""
    return RemoveAction(
        path=path, data_change=data_change, deletion_timestamp=int(time.time() * 1000), size=size, partition_values={}
    )


def make_adds(table: DeltaTable, paths: Iterable[str]) -> list[AddAction]:
    """Return the actions by which data files of a table, as of some version, join it again.

    Parameters
    ----------
    table : opened at a version that has the files.
    paths : the files, as `get_parts` names them.
    """
    chosen = get_parts(table).filter(pl.col("path").is_in(list(paths)))
    return [_make_add(part) for part in chosen.iter_rows(named=True)]


def _make_add(part: dict[str, Any]) -> AddAction:
    def pick(prefix: str) -> dict[str, Any]:
        found = {name.removeprefix(prefix): value for name, value in part.items() if name.startswith(prefix)}
        return {
            name: _write_bound(value)
            for name, value in found.items()
            if type(value) in (int, dt.date) or (name == "_source_file" and value is not None)
        }

    stats = {"numRecords": part["num_records"]}
    stats |= {"minValues": pick("min."), "maxValues": pick("max."), "nullCount": pick("null_count.")}
    return AddAction(
        path=part["path"],
        size=part["size_bytes"],
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(stats),
    )


def count_change(table: DeltaTable, adds: list[AddAction], removes: list[RemoveAction]) -> int:
    """Return how many rows a table has more (or fewer, below 0) once data files have joined and left it."""
    leaving = [remove.path for remove in removes]
    parts = get_parts(table).filter(pl.col("path").is_in(leaving))
    return sum(json.loads(add.stats)["numRecords"] for add in adds) - int(parts["num_records"].sum())


def read_actions(file: Path) -> list[dict[str, Any]]:
    """Return the actions of one commit, straight from its JSON file in the log.

    delta-rs takes an empty file for a commit that did nothing, and says no word of the rows that were in it.

    Raises
    ------
    BronzeCommitError : the file is empty, cut short or no JSON, or it cannot be read.
    """
    try:
        # Not splitlines: a file's name may hold what Python, but not JSON, takes for the end of a line.
        lines = file.read_text(encoding="utf-8").split("\n")
        actions = [json.loads(line) for line in lines if line.strip()]
        fault = "" if actions and all(isinstance(action, dict) for action in actions) else "no actions"
    except (ValueError, OSError) as error:
        fault = str(error)[:300]
    if fault:
        raise BronzeCommitError(
            "A commit in a table's Delta log cannot be read.",
            where=str(file),
            expected="one JSON object a line",
            found=fault,
            next_step="lakeops doctor says what is damaged, and what mends it",
        )
    return actions


def read_commits(path: Path, versions: Iterable[int]) -> list[tuple[int, dict[str, Any]]]:
    """Return (version, proof) of the commits that carry one, straight from the log's JSON files.

    Raises
    ------
    BronzeCommitError : one of them cannot be read.
    """
    proofs = []
    for version in versions:
        file = path / "_delta_log" / f"{version:020d}.json"
        for action in read_actions(file) if file.exists() else ():
            info = action.get("commitInfo") or {}
            if APPLICATION in info:
                proofs.append((version, json.loads(info[APPLICATION])))
    return proofs


# DuckDB prunes files on DATE and BIGINT only; `_source_file` lets us find the parts that hold a restated file.
_BOUNDED = (pl.Int64, pl.Date)


def _describe(frame: pl.DataFrame) -> dict[str, Any]:
    bounded = [name for name, dtype in frame.schema.items() if dtype in _BOUNDED or name == "_source_file"]
    # A record may have none: polars then gives no row at all.
    smallest = frame.select(pl.col(bounded).min()).row(0, named=True) if bounded else {}
    largest = frame.select(pl.col(bounded).max()).row(0, named=True) if bounded else {}
    return {
        "numRecords": frame.height,
        "minValues": {name: _write_bound(value) for name, value in smallest.items() if value is not None},
        "maxValues": {name: _write_bound(value) for name, value in largest.items() if value is not None},
        "nullCount": frame.null_count().row(0, named=True),
    }


def _write_bound(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value


def replace_rows(path: Path, frame: pl.DataFrame) -> None:
    """Replace all rows of a record by others, in one commit."""
    table = open_table(path)
    removes = [make_remove(*part) for part in get_parts(table).select("path", "size_bytes").rows()]
    adds = [write_part(path, frame)] if frame.height else []
    if adds or removes:
        commit(table, adds, removes, get_last_batch(table), {"replaced": True})

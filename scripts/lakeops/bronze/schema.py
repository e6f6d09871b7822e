"""How the columns of bronze tables change: by a contract or by a file, each change written down once.

What may change: a column more, a wider type, a column fewer in the contract (its data stays in the table). A type that
cannot hold what is there is refused before anything is loaded.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from lakeops.bronze.tables import get_current, get_truth
from lakeops.contract import Column, Contract, Contracts, DataType
from lakeops.delta import (
    append,
    get_arrow_type,
    get_folder,
    get_parts,
    make_commit_error,
    open_table,
    read_arrow_type,
    read_frame,
    scan_table,
)
from lakeops.errors import ContractError
from lakeops.judge.casts import get_polars_type
from lakeops.ledger import make_frame
from lakeops.paths import Lake

NAME = "schema_history"
# From when to when a contract had a column, by column; no span where it never did.
Spans = dict[str, list[tuple[dt.datetime, dt.datetime]]]
_EVER_SINCE = dt.datetime.min.replace(tzinfo=dt.UTC)
_STILL = dt.datetime.max.replace(tzinfo=dt.UTC)


def is_wider(new: DataType, old: DataType) -> bool:
    """Tell whether every value of `old` is a value of `new`."""
    if new.kind == "varchar":
        return True
    if new.kind == "decimal":
        whole = new.precision - new.scale
        if old.kind == "decimal":
            return new.scale >= old.scale and whole >= old.precision - old.scale
        return old.kind == "bigint" and whole >= 19
    return False


def widen_tables(lake: Lake, contracts: Contracts) -> None:
    """Rewrite tables whose contract gives a column a wider type than the table has.

    Raises
    ------
    ContractError : the new type is not wider; names the contract's line.
    BronzeCommitError : the rewrite was not committed; the old table stands.
    """
    for contract in contracts.tables:
        for path in sorted({get_truth(lake, contract), get_current(lake, contract)}):
            if not DeltaTable.is_deltatable(str(path)):
                continue
            table = open_table(path)
            present = _read_types(table)
            wider = {}
            for column in contract.columns:
                old = present.get(column.name)
                if old is None or get_arrow_type(old) == get_arrow_type(column.type):
                    continue
                if not is_wider(column.type, old):
                    raise _refuse(contract, column, old)
                wider[column.name] = column.type
            if wider:
                _rewrite(path, table, wider)


def record_schema_changes(lake: Lake, contracts: Contracts, batch_id: int | None, now: dt.datetime) -> None:
    """Write down what changed in the columns of any bronze table since this was last done.

    Parameters
    ----------
    batch_id : the batch that brought new columns with its files; None if contracts are to be looked at.
    """
    known: dict[str, dict[str, _Known]] = {}
    history = read_frame(open_table(lake.ops(NAME))).sort("recorded_at", maintain_order=True)
    for row in history.iter_rows(named=True):
        state = _Known(row["change"], row["type_after"] or row["type_before"], row["batch_id"] is not None)
        known.setdefault(row["table_name"], {})[row["column_name"]] = state
    rows = []
    for contract in contracts.tables:
        declared = {column.name for column in contract.columns}
        for name, change, before, after in _compare(lake, contract, known.get(contract.table, {})):
            batch = batch_id
            if batch is None and change == "added" and name not in declared:
                # A file brought it, and its loader was killed before it came here.
                batch = _find_first_batch(lake, contract, name)
                if batch is None:  # or even before it committed the file: whoever loads that will be here again
                    continue
            rows.append(
                {
                    "table_name": contract.table,
                    "column_name": name,
                    "change": change,
                    "type_before": before,
                    "type_after": after,
                    "batch_id": batch,
                    "recorded_at": now,
                }
            )
    append(lake.ops(NAME), make_frame(contracts.get_record(NAME), rows), batch_id or 0)


def read_declared(lake: Lake, contract: Contract) -> Spans:
    """Return when a contract had each column: only a record that was judged then can say that it is null.

    What it had when the history begins, which may be written anew, it had ever since.
    """
    history = read_frame(open_table(lake.ops(NAME))).filter(pl.col("table_name") == contract.table)
    begins = history["recorded_at"].min()
    spans: Spans = {}
    for row in history.sort("recorded_at", maintain_order=True).iter_rows(named=True):
        own, moment = spans.setdefault(row["column_name"], []), row["recorded_at"]
        has_it = bool(own) and own[-1][1] == _STILL
        if row["change"] == "dropped" and has_it:
            own[-1] = (own[-1][0], moment)
        elif row["change"] != "dropped" and row["batch_id"] is None and not has_it:
            own.append((_EVER_SINCE if moment == begins else moment, _STILL))
    return spans


@dataclass(frozen=True)
class _Known:
    """The last that was written down about a column."""

    change: str
    type: str
    came_with_a_file: bool


def _compare(
    lake: Lake, contract: Contract, known: dict[str, _Known]
) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Yield (column, change, type before, type after) for what is not written down yet."""
    declared = {column.name: str(column.type) for column in contract.columns}
    present = {name: str(kind) for name, kind in _read_types(open_table(get_truth(lake, contract))).items()}
    for name, kind in present.items():
        if name.startswith("_"):
            continue
        after = declared.get(name, kind)
        last = known.get(name)
        if last is None:
            yield name, "added", None, after
        elif name not in declared and not last.came_with_a_file and last.change != "dropped":
            yield name, "dropped", last.type, None
        elif name in declared and last.type != after:
            yield name, "widened", last.type, after
        elif name in declared and (last.came_with_a_file or last.change == "dropped"):
            yield name, "declared", last.type, after


def _find_first_batch(lake: Lake, contract: Contract, column: str) -> int | None:
    filled = scan_table(open_table(get_truth(lake, contract))).filter(pl.col(column).is_not_null())
    return filled.select(pl.col("_batch_id").min()).collect().item()


def _read_types(table: DeltaTable) -> dict[str, DataType]:
    schema = pa.schema(table.schema().to_arrow())
    return {field.name: read_arrow_type(field.type) for field in schema}


def _refuse(contract: Contract, column: Column, old: DataType) -> ContractError:
    return ContractError(
        "A contract gives a column a type that cannot hold what the table has.",
        where=f"{column.place or contract.file} ({contract.name}.{column.name})",
        expected=f"{old}, or a wider type: a decimal with more digits, or varchar",
        found=str(column.type),
        next_step=f"give the column its old type back ({old}), or load the new values under a new column's name",
    )


def _rewrite(path: Path, table: DeltaTable, wider: dict[str, DataType]) -> None:
    folder = get_folder(table)
    old = pa.schema(table.schema().to_arrow())
    schema = pa.schema([pa.field(f.name, get_arrow_type(wider[f.name]) if f.name in wider else f.type) for f in old])
    casts = [pl.col(name).cast(get_polars_type(data_type)) for name, data_type in wider.items()]

    def read_batches() -> Iterator[pa.RecordBatch]:
        for part in get_parts(table)["path"]:
            rows = pl.read_parquet(folder / part, glob=False)
            absent = [pl.lit(None).alias(field.name) for field in schema if field.name not in rows.columns]
            rows = rows.with_columns(absent).with_columns(casts).select(schema.names)
            yield from rows.to_arrow().cast(schema).to_batches()

    try:
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(schema, read_batches()),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(custom_metadata={"widened": ", ".join(wider)}),
        )
    except (DeltaError, OSError) as error:
        raise make_commit_error(path, error) from error

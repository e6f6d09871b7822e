"""Do a file's columns keep the contract?"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lakeops.contract import LOADER_COLUMNS, Column, Contract, DataType


@dataclass(frozen=True)
class HeaderVerdict:
    """What a file's column names mean.

    Parameters
    ----------
    new_columns : columns the contract does not know and takes in (`on_new_column: evolve`).
    refusal : why the file is refused; empty if it is not.
    """

    new_columns: tuple[Column, ...]
    refusal: str = ""


def judge_header(schema: pl.Schema, contract: Contract, extra: tuple[Column, ...] = ()) -> HeaderVerdict:
    """Compare a file's columns with the contract; their order does not matter.

    Parameters
    ----------
    schema : names and types of the columns as read, without `_source_row`.
    contract : the contract that claims the file.
    extra : columns that earlier files brought beyond the contract, with the type they got then.
    """
    known = {column.name for column in contract.columns}
    # A JSON object simply leaves out what it has no value for.
    if contract.load.format != "jsonl":
        missing = [column.name for column in contract.file_columns if column.name not in schema]
        if missing:
            near = f"; it has {', '.join(schema.names())}"
            return HeaderVerdict((), f"missing column {', '.join(missing)}{near}")
    derived = [name for name in contract.load.derive if name in schema and name != contract.load.derive[name]]
    if derived:
        return HeaderVerdict((), f"column {', '.join(derived)} is derived by the contract, and stands in the file too")
    taken = [name for name in schema if name in LOADER_COLUMNS]
    if taken:
        return HeaderVerdict((), f"column {', '.join(taken)} has a name the loader keeps for itself")
    new = [name for name in schema if name not in known]
    if not new or contract.load.on_new_column == "ignore":
        return HeaderVerdict(())
    if contract.load.on_new_column == "refuse":
        return HeaderVerdict((), f"unknown column {', '.join(new)} (on_new_column: refuse)")
    unusable = [name for name in new if not name.isidentifier() or name != name.lower()]
    if unusable:
        return HeaderVerdict((), f"unknown column {', '.join(map(repr, unusable))} has a name that SQL cannot use")
    earlier = {column.name: column for column in extra}
    return HeaderVerdict(tuple(earlier.get(name, Column(name, _infer_type(schema[name]))) for name in new))


def _infer_type(dtype: pl.DataType) -> DataType:
    """Return the type a column unknown to the contract gets: its own where the file is typed, else text."""
    if dtype.is_integer():
        return DataType("bigint")
    if isinstance(dtype, pl.Decimal):
        return DataType("decimal", dtype.precision or 38, dtype.scale)
    if dtype.is_float():
        return DataType("double")
    if isinstance(dtype, pl.Datetime):
        return DataType("timestamp")
    return DataType({pl.Date: "date", pl.Boolean: "boolean"}.get(dtype.base_type(), "varchar"))

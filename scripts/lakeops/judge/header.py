"""Do a file's columns keep the contract?"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import polars as pl

from lakeops.contract import LOADER_COLUMNS, Column, Contract, DataType


@dataclass(frozen=True)
class HeaderVerdict:
    """What a file's column names mean.

    Parameters
    ----------
    new_columns : columns the contract does not know and takes in (`on_new_column: evolve`).
    rescued : columns the contract does not know, whose values go to `_rescued`.
    renames : names in the file that are aliases, and the contract's name for each.
    refusal : why the file is refused; empty if it is not.
    """

    new_columns: tuple[Column, ...] = ()
    rescued: tuple[str, ...] = ()
    renames: dict[str, str] = field(default_factory=dict)
    refusal: str = ""


def judge_header(schema: pl.Schema, contract: Contract, extra: tuple[Column, ...] = ()) -> HeaderVerdict:
    """Compare a file's columns with the contract; their order does not matter.

    Parameters
    ----------
    schema : names and types of the columns as read, without `_source_row`.
    contract : the contract that claims the file.
    extra : columns that earlier files brought beyond the contract, with the type they got then.
    """
    load = contract.load
    renames = {
        alias: name for name, aliases in load.aliases.items() for alias in aliases if alias in schema.names()
    }  # fmt: skip
    names = [renames.get(name, name) for name in schema.names()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return HeaderVerdict(refusal=f"column {', '.join(twice)} stands there under two of its names (aliases)")
    # A JSON object simply leaves out what it has no value for.
    if load.format != "jsonl":
        needed = [column.name for column in contract.file_columns if not column.optional]
        missing = [name for name in (*needed, *_list_operation(contract)) if name not in names]
        if missing:
            return HeaderVerdict(refusal=f"missing column {', '.join(missing)}; the file has {', '.join(names)}")
    derived = [name for name in load.derive if name in names and name != load.derive[name]]
    if derived:
        return HeaderVerdict(refusal=f"column {', '.join(derived)} is derived by the contract, and is in the file too")
    taken = [name for name in names if name in LOADER_COLUMNS]
    if taken:
        return HeaderVerdict(refusal=f"column {', '.join(taken)} has a name the loader keeps for itself")
    known = {column.name for column in contract.columns} | set(_list_operation(contract))
    new = [name for name in names if name not in known]
    if not new or load.on_new_column == "ignore":
        return HeaderVerdict(renames=renames)
    if load.on_new_column == "refuse":
        return HeaderVerdict(refusal=f"unknown column {', '.join(new)} (on_new_column: refuse)")
    if load.on_new_column == "rescue":
        return HeaderVerdict(rescued=tuple(new), renames=renames)
    unusable = [name for name in new if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]
    if unusable:
        return HeaderVerdict(refusal=f"unknown column {', '.join(map(repr, unusable))} has a name that SQL cannot use")
    earlier = {column.name: column for column in extra}
    taken_in = tuple(earlier.get(name, Column(name, _infer_type(schema[name]))) for name in new)
    return HeaderVerdict(new_columns=taken_in, renames=renames)


def _list_operation(contract: Contract) -> list[str]:
    """Return the columns that tell a deletion and that the contract does not keep."""
    if not contract.load.delete_when:
        return []
    known = {column.name for column in contract.columns}
    return [name for name in pl.sql_expr(contract.load.delete_when).meta.root_names() if name not in known]


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

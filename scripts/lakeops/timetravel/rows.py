"""Compare rows, each counted: a row that is there twice and was there once has joined once."""

from __future__ import annotations

from typing import TypeVar

import polars as pl
from deltalake import DeltaTable

from lakeops.delta import get_parts, scan_table

_NUMBER = "__number"
Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def subtract_rows(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `left` that `right` lacks; both have the same columns and types."""
    columns = left.columns
    if not left.height or not right.height:
        return left
    return (
        _number(left, columns)
        .join(_number(right, columns), on=[*columns, _NUMBER], how="anti", nulls_equal=True)
        .drop(_NUMBER)
    )


def _number(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    return rows.with_columns(pl.int_range(pl.len()).over(columns).alias(_NUMBER))


def read_difference(before: DeltaTable, after: DeltaTable) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that only `before` has, and those that only `after` has, in the columns of `after`.

    Data files that both have are not read; a row that was only rewritten into another file is in both. Of a column that
    changed its type, both are in the type that holds all of its values; as text, if neither does.
    """
    held = [set(get_parts(table)["path"]) for table in (before, after)]
    left = scan_table(before, sorted(held[0] - held[1])).collect()
    right = scan_table(after, sorted(held[1] - held[0])).collect()
    changed = [name for name in right.columns if name in left.columns and left[name].dtype != right[name].dtype]
    schema = pl.Schema({**right.schema, **{name: _find_type(left[name], right[name]) for name in changed}})
    left, right = adapt(left, schema), adapt(right, schema)
    return subtract_rows(left, right), subtract_rows(right, left)


def _find_type(before: pl.Series, after: pl.Series) -> pl.DataType:
    types = (after.dtype, before.dtype)
    return next((dtype for dtype in types if _fits(before, dtype) and _fits(after, dtype)), pl.String())


def _fits(values: pl.Series, dtype: pl.DataType) -> bool:
    """Tell whether values are the same in another type: a cast alone would make 2.5 a 2 without a word."""
    try:
        return values.cast(dtype).cast(values.dtype).equals(values)
    except pl.exceptions.PolarsError:
        return False


def adapt(rows: Rows, schema: pl.Schema) -> Rows:
    """Return rows in the columns and types of a schema, which may have more columns and wider types."""
    present = rows.collect_schema()
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in present]
    return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in schema.items())

"""Take rows out of a table by rewriting the data files that hold them; nothing else of the table is read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from lakeops.delta import get_folder, get_parts, make_remove, write_part


def take_out_files(
    table: DeltaTable, files: Collection[str], key: list[str], batch_id: int | None = None
) -> tuple[list[AddAction], list[RemoveAction], pl.DataFrame]:
    """Take the rows of raw files out of a table.

    Parameters
    ----------
    table : the handle on which the commit will be made.
    files : `_source_file` values whose rows leave.
    key : the contract's key columns.
    batch_id : only rows that this batch brought; None for all.

    Returns
    -------
    Data files that join, data files that leave, and the keys of the rows that left.
    """
    names = sorted(files)
    parts = get_parts(table)
    held = [
        (path, size)
        for path, size, low, high in _iter_bounds(parts, "_source_file")
        if low is None or high is None or ((at := bisect_left(names, low)) < len(names) and names[at] <= high)
    ]
    gone = pl.col("_source_file").is_in(names)
    if batch_id is not None:
        gone &= pl.col("_batch_id") == batch_id
    return _rewrite(table, held, lambda rows: rows.filter(gone), lambda rows: rows.filter(~gone), key)


def take_out_keys(table: DeltaTable, keys: pl.DataFrame) -> tuple[list[AddAction], list[RemoveAction], pl.DataFrame]:
    """Take the rows with the given keys out of a table; the result is that of `take_out_files`."""
    first = keys.columns[0]
    low, high = keys[first].min(), keys[first].max()
    parts = get_parts(table)
    held = [
        (path, size)
        for path, size, smallest, largest in _iter_bounds(parts, first)
        if smallest is None or largest is None or (smallest <= high and largest >= low)
    ]
    names = keys.columns
    return _rewrite(
        table,
        held,
        lambda rows: rows.join(keys, on=names, how="semi"),
        lambda rows: rows.join(keys, on=names, how="anti"),
        names,
    )


def _iter_bounds(parts: pl.DataFrame, column: str):
    count = parts.height
    lows = parts[f"min.{column}"] if f"min.{column}" in parts.columns else [None] * count
    highs = parts[f"max.{column}"] if f"max.{column}" in parts.columns else [None] * count
    return zip(parts["path"], parts["size_bytes"], lows, highs, strict=True)


def _rewrite(table: DeltaTable, held, pick, keep, key):
    folder = get_folder(table)
    adds, removes, keys = [], [], []
    for path, size in held:
        rows = pl.read_parquet(folder / path, glob=False)
        leaving = pick(rows)
        if not leaving.height:
            continue
        keys.append(leaving.select(key))
        staying = keep(rows)
        if staying.height:
            adds.append(write_part(folder, staying))
        removes.append(make_remove(path, size))
    schema = {field.name: None for field in table.schema().fields if field.name in key}
    return adds, removes, pl.concat(keys).unique() if keys else pl.DataFrame(schema=list(schema))

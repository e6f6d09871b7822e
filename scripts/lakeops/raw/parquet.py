"""Read Parquet with the types it brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.parquet as pq

from lakeops.raw.chunk import SOURCE_ROW, Chunk, RefusedFile, make_broken, refuse_reserved

ROWS_PER_CHUNK = 500_000
_MAGIC = b"PAR1"
# 8 bytes of magic and 4 of length stand around the smallest footer.
_SMALLEST = 12


def read_parquet(path: Path) -> Iterator[Chunk]:
    """Read a Parquet file; `_source_row` counts its rows from 1.

    Raises
    ------
    RefusedFile : no Parquet file, cut short, damaged, or with a type we cannot hold.
    """
    _check_ends(path)
    try:
        # Checksums are verified where the writer left them; without, a flipped bit in a number looks like a number.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if not names or len(set(names)) < len(names):
                raise RefusedFile(
                    "bad_header",
                    "a column name stands twice" if names else "it has no columns",
                    "ask the sender for the file again",
                )
            refuse_reserved(names)
            schema = _adapt_schema(file.schema_arrow)
            row = 1
            for batch in file.iter_batches(batch_size=ROWS_PER_CHUNK):
                data = pa.Table.from_batches([batch])
                data.validate(full=True)  # text that is not UTF-8 would be stored as it is, and nobody could read it
                yield _make_chunk(data.cast(schema), row)
                row += batch.num_rows
            if row == 1:
                yield _make_chunk(schema.empty_table(), row)
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if getattr(error, "errno", None):  # the disk failed, not the file
            raise
        raise RefusedFile(
            "unreadable",
            f"this Parquet file cannot be read: {str(error).splitlines()[0][:200] if str(error) else type(error)}",
            "the file is damaged, or holds a type we do not know: ask the sender for it again",
        ) from error


def _check_ends(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(4)
        size = path.stat().st_size
        file.seek(max(0, size - 4))
        end = file.read()
    if not begin:
        raise RefusedFile("empty", "the file has no bytes", "ask the sender for the file again")
    if begin != _MAGIC[: len(begin)]:
        raise RefusedFile(
            "unreadable", f"this is no Parquet file: it begins with {begin!r}", "ask the sender for the file again"
        )
    if end != _MAGIC or size < _SMALLEST:
        raise RefusedFile(
            "truncated",
            f"the Parquet file has no footer at its end ({size:,} bytes)",
            "the file may still be on its way, or was cut short: ask the sender for it again",
        )


def _adapt_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every zone as UTC, which changes no moment; polars knows no zone like +05:30."""
    for place, column in enumerate(schema):
        if pa.types.is_decimal256(column.type):
            raise RefusedFile(
                "unreadable",
                f"column {column.name} is {column.type}: we hold 38 digits",
                "ask the sender for decimals of at most 38 digits",
            )
        if pa.types.is_timestamp(column.type) and column.type.tz:
            schema = schema.set(place, column.with_type(pa.timestamp(column.type.unit, tz="UTC")))
    return schema


def _make_chunk(data: pa.Table, first: int) -> Chunk:
    numbers = pl.int_range(first, first + data.num_rows, dtype=pl.Int64, eager=True)
    rows = pl.DataFrame(pl.from_arrow(data)).with_columns(numbers.alias(SOURCE_ROW))

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        found = rows.filter(pl.col(SOURCE_ROW).is_in(list(wanted)))
        try:
            records = list(found.iter_rows(named=True))
        except (ValueError, OverflowError):  # a year that Python does not know
            records = list(found.with_columns(cs.temporal().cast(pl.String)).iter_rows(named=True))
        return {record.pop(SOURCE_ROW): json.dumps(record, default=str, ensure_ascii=False) for record in records}

    return Chunk(rows, make_broken([]), get_raw)

"""Read Parquet with the types it brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.compute as pc
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
        unit = _pick_unit(path)
        with pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit=unit) as file:
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
                yield _make_chunk(_spell_uuids(data).cast(schema), row)
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


def _pick_unit(path: Path) -> str | None:
    """Return the unit in which all of a file's INT96 times are what was written; None if it has none.

    Spark writes them. They reach from the year -4,713 on, in nanoseconds, which a timestamp of 64 bits does not: told
    to read nanoseconds, pyarrow wraps 9999-12-31 into 1816; told to read microseconds, it drops the rest of a value.
    """
    with pq.ParquetFile(path) as file:
        columns = [file.schema.column(place) for place in range(len(file.schema.names))]
        # Of nested ones, none is a timestamp of ours: they are stored as JSON.
        names = [column.path for column in columns if column.physical_type == "INT96" and column.path == column.name]
    if not names:
        return None
    fits, is_whole = True, True
    with (
        pq.ParquetFile(path, coerce_int96_timestamp_unit="ns") as fine,
        pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as coarse,
    ):
        batches = [file.iter_batches(ROWS_PER_CHUNK, columns=names) for file in (fine, coarse)]
        for exact, cut in zip(*batches, strict=True):
            for pair in zip(exact.columns, cut.columns, strict=True):
                nanoseconds, microseconds = (_get_physical(column) for column in pair)
                fits &= bool((nanoseconds // 1000 == microseconds).all())
                is_whole &= bool((nanoseconds - microseconds * 1000 == 0).all())  # both wrap in the same way
    if not fits and not is_whole:
        raise RefusedFile(
            "unreadable",
            f"column {', '.join(names)}: times (INT96) finer than a microsecond beside years before 1677 or after 2262",
            "ask the sender for timestamps in microseconds (Spark: spark.sql.parquet.outputTimestampType)",
        )
    return "ns" if fits else "us"


def _get_physical(times: pa.Array) -> np.ndarray:
    return pc.fill_null(times.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


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
    """Return the schema in types of which polars can make others.

    Every zone is UTC, which changes no moment: polars knows no zone like +05:30. JSON and other types with a name of
    their own are what they are stored as, a UUID is text.
    """
    for place, column in enumerate(schema):
        if pa.types.is_decimal256(column.type):
            raise RefusedFile(
                "unreadable",
                f"column {column.name} is {column.type}: we hold 38 digits",
                "ask the sender for decimals of at most 38 digits",
            )
        if pa.types.is_timestamp(column.type) and column.type.tz:
            schema = schema.set(place, column.with_type(pa.timestamp(column.type.unit, tz="UTC")))
        if isinstance(column.type, pa.BaseExtensionType):
            stored = pa.string() if column.type == pa.uuid() else column.type.storage_type
            schema = schema.set(place, column.with_type(stored))
    return schema


def _spell_uuids(data: pa.Table) -> pa.Table:
    """Return the table with UUIDs as people write them; stored are 16 bytes, which are no text."""
    for place, column in enumerate(data.schema):
        if column.type == pa.uuid():
            texts = [None if value is None else str(value) for value in data[place].to_pylist()]
            data = data.set_column(place, column.name, pa.array(texts, pa.string()))
    return data


def _make_chunk(data: pa.Table, first: int) -> Chunk:
    numbers = pl.int_range(first, first + data.num_rows, dtype=pl.Int64, eager=True)
    rows = pl.DataFrame(pl.from_arrow(data)).with_columns(numbers.alias(SOURCE_ROW))
    for column in rows.select(cs.nested()):
        if "Date" not in str(column.dtype):
            continue
        try:
            column.to_list()  # as it is made JSON of
        except (ValueError, OverflowError) as error:
            raise RefusedFile(
                "unreadable",
                f"column {column.name}: a day within it that no calendar has: {error}",
                "ask the sender to put days from the years 1 to 9999 there",
            ) from error

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        found = rows.filter(pl.col(SOURCE_ROW).is_in(list(wanted)))
        try:
            records = list(found.iter_rows(named=True))
        except (ValueError, OverflowError):  # a year that Python does not know
            spelt = (cs.date() | cs.datetime()).cast(pl.String)
            records = list(found.with_columns(spelt).iter_rows(named=True))
        return {record.pop(SOURCE_ROW): json.dumps(record, default=str, ensure_ascii=False) for record in records}

    return Chunk(rows, make_broken([]), get_raw)

"""Read Parquet with the types it brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lakeops.raw.chunk import Chunk, RefusedFile, make_broken

ROWS_PER_CHUNK = 500_000


def read_parquet(path: Path) -> Iterator[Chunk]:
    """Read a Parquet file; `_source_row` counts its rows from 1.

    Raises
    ------
    RefusedFile : no Parquet file, cut short, or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise RefusedFile("bad_header", "a column name stands twice", "ask the sender for the file again")
            row = 1
            for batch in file.iter_batches(batch_size=ROWS_PER_CHUNK):
                rows = pl.DataFrame(pl.from_arrow(batch)).with_columns(
                    pl.int_range(row, row + batch.num_rows, dtype=pl.Int64).alias("_source_row")
                )
                row += batch.num_rows
                yield _make_chunk(rows)
            if row == 1:
                yield _make_chunk(pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table())).with_columns(
                    pl.lit(1, dtype=pl.Int64).alias("_source_row")))  # fmt: skip
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RefusedFile(
            "unreadable",
            f"this is not a whole Parquet file: {str(error).splitlines()[0][:200]}",
            "the file may still be on its way, or was cut short: ask the sender for it again",
        ) from error


def _make_chunk(rows: pl.DataFrame) -> Chunk:
    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        found = rows.filter(pl.col("_source_row").is_in(list(wanted)))
        return {
            record.pop("_source_row"): json.dumps(record, default=str, ensure_ascii=False)
            for record in found.iter_rows(named=True)
        }

    return Chunk(rows, make_broken([]), get_raw)

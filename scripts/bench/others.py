"""Load the same files as lakeops does, with others' means and nothing checked: `python others.py WITH RAW OUT`.

What each is given makes it as fast as it gets without giving up what it is for: it appends to a Delta table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# A file of 5 GB passes in blocks; a small file is one block.
BLOCK = 64 << 20
ROWS_PER_BATCH = 1_000_000


def load_with_polars(raw: Path, out: Path) -> None:
    """Stream typed CSV to one Delta table."""
    import polars as pl

    price, share = pl.Decimal(12, 4), pl.Decimal(5, 4)
    whole = dict.fromkeys(("order_id", "line_number", "product_id", "qty"), pl.Int64)
    types = whole | {"unit_price": price, "line_discount_pct": share, "tax_pct": share}
    pl.scan_csv(raw / "order_lines" / "*" / "*.csv", schema=types).sink_delta(out / "order_lines", mode="append")


def load_with_dlt(raw: Path, out: Path, reader: str) -> None:
    """Run a pipeline of dlt's: its types, its state, no column of ours.

    Parameters
    ----------
    reader : rows (its CSV reader with DuckDB, as documented), duckdb (the same, told to hand over Arrow), or arrow
        (Arrow batches that pyarrow reads and dlt takes as they are).
    """
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.filesystem import filesystem, read_csv_duckdb

    if reader == "arrow":
        data = dlt.resource(read_batches(raw), name="order_lines")
    else:
        files = filesystem(bucket_url=raw.as_uri(), file_glob="order_lines/**/*.csv")
        as_arrow = {"chunk_size": ROWS_PER_BATCH, "use_pyarrow": True} if reader == "duckdb" else {}
        data = files | read_csv_duckdb(**as_arrow)
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.filesystem(bucket_url=out.as_uri()),
        dataset_name="bronze",
        pipelines_dir=str(out / "state"),
    )
    done = pipeline.run(data, table_name="order_lines", table_format="delta", write_disposition="append")
    done.raise_on_failed_jobs()


def read_batches(raw: Path) -> Iterator:
    """Return all rows of all files as Arrow batches."""
    from pyarrow import csv

    for file in sorted(raw.glob("order_lines/*/*.csv")):
        yield from csv.open_csv(file, read_options=csv.ReadOptions(block_size=BLOCK))


if __name__ == "__main__":
    name, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if name == "polars":
        load_with_polars(source, target)
    else:
        load_with_dlt(source, target, name.removeprefix("dlt-"))

"""Write order lines and orders to Delta: `python lay.py append|compact OUT BASE none|month|day`, or `whole OUT BASE`.

By delta-rs and not by lakeops: only the layout is to differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
from deltalake import DeltaTable, WriterProperties, write_deltalake

# As lakeops writes its parts.
CODEC = WriterProperties(compression="ZSTD", compression_level=1)
DATES = {"orders": "order_dt", "order_lines": "line_dt"}


def append_days(out: Path, base: Path, partition: str) -> None:
    """Append day after day, as a lake grows, one commit each."""
    with duckdb.connect() as connection:
        for table, date in DATES.items():
            source = f"read_parquet('{base / table}.parquet')"
            days = connection.execute(f"select distinct {date} from {source} order by 1").fetchall()
            by = {"none": [], "month": ["month"], "day": [date]}[partition]
            month = f", date_trunc('month', {date})::date as month" if partition == "month" else ""
            for (day,) in days:
                rows = connection.execute(f"select *{month} from {source} where {date} = date '{day}'")
                write_deltalake(
                    out / table, rows.to_arrow_reader(), mode="append", partition_by=by or None, writer_properties=CODEC
                )


def compact(out: Path) -> None:
    """Merge the small files within each partition."""
    for table in DATES:
        DeltaTable(out / table).optimize.compact(writer_properties=CODEC)


def write_whole(out: Path, base: Path) -> None:
    """Write the order lines in one go."""
    with duckdb.connect() as connection:
        rows = connection.execute(f"from read_parquet('{base / 'order_lines'}.parquet')")
        write_deltalake(out, rows.to_arrow_reader(), mode="overwrite", writer_properties=CODEC)


if __name__ == "__main__":
    what, target = sys.argv[1], Path(sys.argv[2])
    if what == "append":
        append_days(target, Path(sys.argv[3]), sys.argv[4])
    elif what == "compact":
        compact(target)
    else:
        write_whole(target, Path(sys.argv[3]))

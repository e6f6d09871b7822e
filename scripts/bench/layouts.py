"""In which shape the same rows are best kept: by partition, and by file format and codec."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import duckdb
from measure import BINARIES, Figure, Run, describe, run, say
from optimise import DAYS, FIRST_DAY, LINES, ORDERS, QUERIES, TABLES
from queries import Layout, ask_layouts, make_view, weigh

PARTITIONS = {"none": "no partitions", "month": "by month", "day": "by day"}
TYPES = (
    "{'order_id': 'BIGINT', 'line_number': 'BIGINT', 'product_id': 'BIGINT', 'qty': 'BIGINT', 'unit_price': "
    "'DECIMAL(12,4)', 'line_discount_pct': 'DECIMAL(5,4)', 'tax_pct': 'DECIMAL(5,4)', 'line_dt': 'DATE'}"
)
# How it is written from the rows, and read; the first is the yardstick.
FORMATS = {
    "Parquet, snappy (yardstick)": ("snappy.parquet", "(format parquet, codec snappy)", "read_parquet('{place}')"),
    "Parquet, zstd": ("zstd.parquet", "(format parquet, codec zstd)", "read_parquet('{place}')"),
    "CSV": ("lines.csv", "(format csv, header)", "read_csv('{place}', columns = {types})"),
    "CSV, gzip": ("lines.csv.gz", "(format csv, compression gzip)", "read_csv('{place}', columns = {types})"),
    "JSONL": ("lines.jsonl", "(format json)", "read_ndjson('{place}', columns = {types})"),
    "Delta, zstd": ("lines.delta", "", "delta_scan('{place}')"),
    "DuckDB": ("lines.duckdb", "", "stored.lines"),
}  # fmt: skip
ON_LINES = {name: query for name, query in QUERIES.items() if "orders" not in query.replace("order_lines", "")}


def make_base(folder: Path, days: int) -> None:
    """Write orders and order lines of so many days as plain Parquet, unless they are there."""
    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(f"""
            copy (
                select n as order_id, date '{FIRST_DAY}' + (n // {ORDERS})::int as order_dt,
                    order_dt::timestamp + to_seconds(n % 86400) as order_ts, hash(n, 1) % 20000 + 1 as customer_id,
                    hash(n, 2) % 40 + 1 as store_id, ['web', 'store', 'app'][(hash(n, 3) % 3)::int + 1] as channel
                from range({days * ORDERS}) as numbers (n)
            ) to '{folder / "orders.parquet"}'
        """)
        connection.execute(f"""
            copy (
                select n // {LINES} * {ORDERS} + n % {ORDERS} as order_id, n % {LINES} // {ORDERS} + 1 as line_number,
                    (hash(n, 1) % 25000 + 1)::bigint as product_id, (hash(n, 2) % 5 + 1)::bigint as qty,
                    (hash(n, 3) % 9000 / 100 + 1)::decimal(12,4) as unit_price,
                    (hash(n, 4) % 70 / 100)::decimal(5,4) as line_discount_pct, 0.1::decimal(5,4) as tax_pct,
                    date '{FIRST_DAY}' + (n // {LINES})::int as line_dt
                from range({days * LINES}) as numbers (n)
            ) to '{folder / "order_lines.parquet"}'
        """)
    (folder / "_complete").touch()


def bench_partitions(work: Path, repeats: int, days: int = DAYS) -> list[Figure]:
    """Measure writing day by day and the five queries, by partition, as it grew and compacted.

    Returns
    -------
    A figure for each layout and what was done with it; the yardstick is one plain Parquet file for each table.
    """
    base = work / f"rows of {days} days"
    make_base(base, days)
    rows = days * (LINES + ORDERS)
    files = [base / f"{table}.parquet" for table in TABLES]
    views = [make_view(file.stem, f"read_parquet('{file}')") for file in files]
    size = sum(file.stat().st_size for file in files)
    layouts = [Layout("one Parquet file (yardstick)", views, len(files), size)]
    writes: dict[str, list[Run]] = {}
    lay = [sys.executable, str(Path(__file__).with_name("lay.py"))]
    for partition, name in PARTITIONS.items():
        grown, merged = work / "partitions" / partition, work / "partitions" / f"{partition} compacted"
        for place in (grown, merged):
            shutil.rmtree(place, ignore_errors=True)
        say(f"{name}: {days} days, one by one")
        grown.mkdir(parents=True)
        writes[f"{name}, as it grew"] = [run([*lay, "append", str(grown), str(base), partition])]
        shutil.copytree(grown, merged)
        writes[f"{name}, compacted"] = [run([*lay, "compact", str(merged)])]
        layouts += [describe_tables(f"{name}, as it grew", grown), describe_tables(f"{name}, compacted", merged)]
    figures = ask_layouts(layouts, QUERIES, rows, repeats)
    none = writes["no partitions, as it grew"]
    yardstick = describe("no partitions, as it grew: write", base, none, rows)
    written = [describe(f"{name}: write", base, runs, rows, (yardstick, none)) for name, runs in writes.items()]
    for figure in written:
        layout = next(one for one in layouts if figure.name.startswith(one.name))
        figure.files, figure.bytes = layout.files, layout.bytes
    written[0].ratio, written[0].against = None, ""
    return figures + written


def describe_tables(name: str, place: Path) -> Layout:
    """Return the live files of Delta tables as a layout."""
    from lakeops.delta import get_parts, open_table

    parts = [get_parts(open_table(place / table)) for table in TABLES]
    views = [make_view(table, f"delta_scan('{place / table}')") for table in TABLES]
    return Layout(name, views, sum(p.height for p in parts), sum(int(p["size_bytes"].sum()) for p in parts))


def bench_formats(work: Path, repeats: int, days: int = DAYS) -> list[Figure]:
    """Measure writing and reading order lines, by file format and codec.

    Returns
    -------
    For each format the write, and each of those queries that read order lines only.
    """
    base, folder = work / f"rows of {days} days", work / "formats"
    make_base(base, days)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    writes: dict[str, list[Run]] = {name: [] for name in FORMATS}
    for _ in range(repeats):
        for name, runs in writes.items():
            say(f"{name}: writing")
            runs.append(write_format(name, folder, base))
    layouts = []
    for name, (file, _, relation) in FORMATS.items():
        place = folder / file
        attached = [f"attach '{place}' as stored (read_only)"] if name == "DuckDB" else []
        layouts.append(
            Layout(
                name, [*attached, make_view("order_lines", relation.format(place=place, types=TYPES))], *weigh(place)
            )
        )
    figures = ask_layouts(layouts, ON_LINES, days * LINES, repeats)
    first, *others = FORMATS
    yardstick = describe(f"{first}: write", folder / FORMATS[first][0], writes[first], days * LINES)
    written = [
        describe(f"{name}: write", folder / FORMATS[name][0], writes[name], days * LINES, (yardstick, writes[first]))
        for name in others
    ]
    return [*figures, yardstick, *written]


def write_format(name: str, folder: Path, base: Path) -> Run:
    """Write the order lines once in a format."""
    file, options, _ = FORMATS[name]
    place, source = folder / file, f"from read_parquet('{base / 'order_lines'}.parquet')"
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if name == "Delta, zstd":
        return run([sys.executable, str(Path(__file__).with_name("lay.py")), "whole", str(place), str(base)])
    if name == "DuckDB":
        return run([str(BINARIES / "duckdb"), str(place), "-c", f"create table lines as {source}"])
    return run([str(BINARIES / "duckdb"), "-c", f"copy ({source}) to '{place}' {options}"])

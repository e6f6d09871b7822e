"""How fast the loader is.

The yardstick is the machine's limit: DuckDB's bare `COPY (SELECT typed columns FROM read_csv(files)) TO` one Parquet
file, without any check, line number, hash or quarantine.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

import duckdb
from measure import Figure, describe, run

COLUMNS = ("order_id", "line_number", "product_id", "qty", "unit_price", "line_discount_pct", "tax_pct")
TYPES = ("BIGINT", "BIGINT", "BIGINT", "BIGINT", "DECIMAL(12,4)", "DECIMAL(5,4)", "DECIMAL(5,4)")


def make_lines(folder: Path, files: int, rows: int) -> None:
    """Write order lines, `rows` to a file, unless they are there."""
    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    draw = "(hash(n, {seed}) % 1000000 / 1000000.0)"
    amount = f"({draw} * {{range}} + {{low}})::decimal(12,4)"
    with duckdb.connect() as connection:
        for number in range(files):
            day = f"{2022 + number // 336}-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
            path = folder / "order_lines" / f"order_dt={day}" / f"part-{number:05d}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            connection.execute(f"""
                copy (
                    select
                        n // 4 + 1 as order_id, n % 4 + 1 as line_number,
                        hash(n, 1) % 25000 + 1 as product_id, hash(n, 2) % 5 + 1 as qty,
                        {amount.format(seed=3, range=90, low=1)} as unit_price,
                        {amount.format(seed=4, range=0.7, low=0)} as line_discount_pct,
                        {amount.format(seed=5, range=0.3, low=0)} as tax_pct
                    from range({number * rows}, {(number + 1) * rows}) as numbers (n)
                ) to '{path}' (header)
            """)
    (folder / "_complete").touch()


def bench_load(work: Path, name: str, files: int, rows: int, repeats: int) -> list[Figure]:
    """Measure a first load against the yardstick, in turn, and a second load that finds nothing new."""
    raw, lake = work / name / "raw", work / name / "lake"
    make_lines(raw, files, rows)
    columns = ", ".join(f"{c}::{t}" for c, t in zip(COLUMNS, TYPES, strict=True))
    source = f"read_csv('{raw}/order_lines/*/*.csv', hive_partitioning=false)"
    copy = f"copy (select {columns} from {source}) to '{work / name / 'yardstick.parquet'}'"
    binaries = Path(sys.executable).parent
    places = {"LAKEOPS_LAKE": str(lake), "LAKEOPS_WAREHOUSE": str(lake / "warehouse.duckdb")}
    load = [str(binaries / "lakeops"), "load", "--raw", str(raw)]
    yardsticks, loads, idle = [], [], []
    for _ in range(repeats):
        yardsticks.append(run([str(binaries / "duckdb"), "-c", copy]))
        shutil.rmtree(lake, ignore_errors=True)
        loads.append(run(load, **places))
        idle.append(run(load, **places))
    figures = [
        describe(f"{name}: DuckDB CSV to Parquet (yardstick)", raw, yardsticks, files * rows),
        describe(f"{name}: lakeops load", raw, loads, files * rows),
        describe(f"{name}: lakeops load, nothing new", raw, idle, 0),
    ]
    figures[1].ratio = statistics.median(a.wall / b.wall for a, b in zip(loads, yardsticks, strict=True))
    return figures


def bench_generate(work: Path, repeats: int) -> list[Figure]:
    """Measure how long 30 days at scale 1.0 take to generate, as a ratio to the time the loader takes to load them."""
    raw, lake = work / "30 days" / "raw", work / "30 days" / "lake"
    binary = str(Path(sys.executable).parent / "lakeops")
    places = {"LAKEOPS_LAKE": str(lake), "LAKEOPS_WAREHOUSE": str(lake / "warehouse.duckdb")}
    generated, loads = [], []
    for _ in range(repeats):
        shutil.rmtree(work / "30 days", ignore_errors=True)
        words = ["--start-date", "2024-04-01", "--days", "30", "--scale", "1.0", "--out", str(raw)]
        generated.append(run([binary, "generate", *words]))
        loads.append(run([binary, "load", "--raw", str(raw)], **places))
    figures = [
        describe("30 days at scale 1.0: lakeops load (yardstick)", raw, loads, 0),
        describe("30 days at scale 1.0: lakeops generate", raw, generated, 0),
    ]
    figures[1].ratio = statistics.median(a.wall / b.wall for a, b in zip(generated, loads, strict=True))
    return figures

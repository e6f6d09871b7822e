"""How fast the loader is, as ratios against a yardstick in the same run: `make bench`.

The yardstick is the machine's limit: DuckDB's bare `COPY (SELECT typed columns FROM read_csv(files)) TO` one Parquet
file, without any check, line number, hash or quarantine. Every figure is the median of several runs, each command a
process of its own; the input is made once and kept in the given folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("order_id", "line_number", "product_id", "qty", "unit_price", "line_discount_pct", "tax_pct")
TYPES = ("BIGINT", "BIGINT", "BIGINT", "BIGINT", "DECIMAL(12,4)", "DECIMAL(5,4)", "DECIMAL(5,4)")


@dataclass
class Figure:
    """One measured command: median wall seconds, CPU seconds and peak memory (MiB), and its ratio to the yardstick."""

    name: str
    rows: int
    files: int
    bytes: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    ratio: float | None = None


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


def run(command: list[str], **environment: str) -> tuple[float, float, float]:
    """Run a command as a process of its own; returns wall seconds, CPU seconds and its peak memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{said}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def describe(name: str, raw: Path, runs: list[tuple[float, float, float]], rows: int) -> Figure:
    """Return the median of several runs over the files of a folder."""
    files = [path for path in raw.rglob("*") if path.is_file() and not path.name.startswith("_")]
    wall, cpu, peak = (statistics.median(values) for values in zip(*runs, strict=True))
    return Figure(name, rows, len(files), sum(path.stat().st_size for path in files), wall, cpu, peak)


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
    figures[1].ratio = statistics.median(a[0] / b[0] for a, b in zip(loads, yardsticks, strict=True))
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
    figures[1].ratio = statistics.median(a[0] / b[0] for a, b in zip(generated, loads, strict=True))
    return figures


def main() -> None:
    """Run the benchmarks and print them as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "data_raw_bench", help="folder for input and lakes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="also 50,000 files, and one file of 5 GB")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = bench_load(options.work, "10 M rows, 400 files", 400, 25_000, options.repeats)
    figures += bench_load(options.work, "1,300 small files", 1_300, 100, options.repeats)
    figures += bench_generate(options.work, options.repeats)
    if options.full:
        figures += bench_load(options.work, "50,000 tiny files", 50_000, 5, 1)
        figures += bench_load(options.work, "5 GB in one file", 1, 132_000_000, 1)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
        return
    print(f"{'':48} {'rows':>12} {'MiB':>8} {'seconds':>8} {'CPU s':>8} {'peak MiB':>9} {'ratio':>6}")
    for f in figures:
        ratio = f"{f.ratio:.2f}" if f.ratio else ""
        print(f"{f.name:48} {f.rows:12,} {f.bytes / 2**20:8,.0f} {f.seconds:8.2f} {f.cpu_seconds:8.2f} "
              f"{f.peak_mib:9,.0f} {ratio:>6}")  # fmt: skip


if __name__ == "__main__":
    main()

"""How fast lakeops is, as ratios against a yardstick in the same run: `make bench`, `make bench-full`.

Every figure is the median of several runs, each command a process of its own. The input is made once and kept in the
given folder.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from growth import bench_growth
from load import bench_generate, bench_load
from optimise import bench_optimise

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmarks and print them as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "data_raw_bench", help="folder for input and lakes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="also 50,000 files, and one file of 5 GB")
    parser.add_argument("--only", choices=["load", "growth", "optimise"], help="one part of it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    work = options.work.resolve()
    figures = []
    if options.only in (None, "load"):
        figures += bench_load(work, "10 M rows, 400 files", 400, 25_000, options.repeats)
        figures += bench_load(work, "1,300 small files", 1_300, 100, options.repeats)
        figures += bench_generate(work, options.repeats)
    if options.only in (None, "growth"):
        figures += bench_growth(work, (30, 720), options.repeats)
    if options.only in (None, "optimise"):
        figures += bench_optimise(work, max(options.repeats, 5), ROOT / "runbooks" / "records" / "optimise.md")
    if options.full:
        figures += bench_load(work, "50,000 tiny files", 50_000, 5, 1)
        figures += bench_load(work, "5 GB in one file", 1, 132_000_000, 1)
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

"""How fast lakeops is, as ratios against a yardstick in the same run: `make bench`, `make bench-full`.

Every figure is the median of several runs, each command a process of its own. The input is made once and kept in the
given folder. Each part is added to the history as soon as it is done, and the tables of the page are written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from compare import find_slower
from growth import ALL_HISTORIES, HISTORIES, bench_growth
from layouts import bench_formats, bench_partitions
from load import bench_loads
from measure import Figure, say
from nothing import ALL_FILES, FILES, bench_nothing_new
from optimise import bench_optimise
from page import write_costs, write_page
from record import append_record, begin_record, read_records

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "runbooks" / "records"
HISTORY, PLANS, PAGE = RECORDS / "bench.jsonl", RECORDS / "optimise.md", ROOT / "runbooks" / "performance.md"
# Short queries need more rounds than long loads.
ROUNDS = 5

PARTS: dict[str, Callable[[Path, int, bool], list[Figure]]] = {
    "load": bench_loads,
    "nothing-new": lambda work, repeats, full: bench_nothing_new(work, ALL_FILES if full else FILES, repeats),
    "growth": lambda work, repeats, full: bench_growth(work, ALL_HISTORIES if full else HISTORIES, repeats),
    "queries": lambda work, repeats, full: bench_optimise(work, max(repeats, ROUNDS), PLANS),
    "partitions": lambda work, repeats, full: bench_partitions(work, max(repeats, ROUNDS)),
    "formats": lambda work, repeats, full: bench_formats(work, repeats),
}


def main(words: list[str] | None = None) -> int:
    """Run the parts, record each, and print what was measured.

    Parameters
    ----------
    words : the command's arguments; those of the process if None.

    Returns
    -------
    1 if something got slower and that was asked for, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "data_raw_bench", help="folder for input and lakes")
    parser.add_argument("--repeats", type=int, default=3, help="how many runs a figure is the median of")
    parser.add_argument("--full", action="store_true", help="also what takes long: 50,000 files, 5 GB, 720 days")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument(
        "--compare", action="store_true", help="name what got slower since the last record; exit code 1"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for a program to read")
    options = parser.parse_args(words)
    # Raw files are known by their path from the root: the same from wherever the bench is started.
    os.environ["LAKEOPS_ROOT"] = str(ROOT)
    work, before, figures = options.work.resolve(), read_records(HISTORY), []
    for part in [options.only] if options.only else PARTS:
        say(f"== {part}")
        record = begin_record(part, options.full, ROOT)
        measured = PARTS[part](work, options.repeats, options.full)
        append_record(HISTORY, replace(record, figures=tuple(measured)))
        write_page(PAGE, read_records(HISTORY))
        figures += measured
    slower = find_slower(figures, before) if options.compare else []
    print(
        json.dumps([asdict(figure) for figure in figures], indent=2) if options.json else write_costs(figures), end=""
    )
    for one in slower:
        say(str(one))
    if options.compare and not slower:
        say("nothing got slower")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to find that there is nothing to do: start-up, and listing what has landed.

The yardstick is the machine's limit: a Python that does nothing but walk the folders and ask for every file's status.
"""

from __future__ import annotations

import sys
from pathlib import Path

from load import make_lines
from measure import BINARIES, Figure, describe, run, say

FILES = (1_300, 10_000)
ALL_FILES = (*FILES, 50_000)
ROWS = 5
WALK = (
    "import os, sys; [os.stat(os.path.join(place, name)) for place, _, names in os.walk(sys.argv[1]) for name in names]"
)


def bench_nothing_new(work: Path, counts: tuple[int, ...], repeats: int) -> list[Figure]:
    """Measure a load that finds nothing new, by number of files. The lakes are made once and kept."""
    figures = []
    for count in counts:
        name = f"{count:,} files"
        raw, lake = work / name / "raw", work / name / "lake"
        make_lines(raw, count, ROWS)
        places = {"LAKEOPS_LAKE": str(lake), "LAKEOPS_WAREHOUSE": str(lake / "warehouse.duckdb")}
        load = [str(BINARIES / "lakeops"), "load", "--raw", str(raw)]
        say(f"{name}: loading what is not there yet")
        run(load, **places)
        walks, idle = [], []
        for _ in range(repeats):
            walks.append(run([sys.executable, "-c", WALK, str(raw)]))
            idle.append(run(load, **places))
        walk = describe(f"{name}: Python walks them (yardstick)", raw, walks, 0)
        figures += [walk, describe(f"{name}: lakeops load, nothing new", raw, idle, 0, (walk, walks))]
    return figures

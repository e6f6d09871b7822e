"""Ask the same of the same rows, laid out in several ways: in turn, each time in a process of its own."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from measure import Figure, run


@dataclass
class Layout:
    """Rows laid out in one way, and what queries cost on it.

    Parameters
    ----------
    name : as it stands in the table.
    setup : statements that make the views which the queries read.
    files, bytes : what the rows lie in.
    said : what each round said of each query: wall, cpu, answer, scans.
    peaks : the most memory each round held, MiB.
    """

    name: str
    setup: list[str]
    files: int
    bytes: int
    said: list[dict[str, dict]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def get_median(self, query: str, what: str) -> float:
        """Return the median of the rounds: seconds of wall, or cpu."""
        return statistics.median(said[query][what] for said in self.said)


def make_view(name: str, relation: str) -> str:
    """Return the statement that lets a query read a relation under a table's name."""
    return f"create view {name} as from {relation}"


def ask_layouts(layouts: list[Layout], queries: dict[str, str], rows: int, repeats: int) -> list[Figure]:
    """Ask every layout every query.

    Parameters
    ----------
    layouts : the first is the yardstick.

    Returns
    -------
    A figure for each layout and query, named "layout: query".

    Raises
    ------
    SystemExit : the layouts do not answer alike.
    """
    for number in range(repeats):
        for layout in layouts:  # in turn, so that what else the machine does hits all of them
            wanted = {"setup": layout.setup, "queries": queries, "plans": number == 0}
            done = run([sys.executable, str(Path(__file__).with_name("ask.py")), json.dumps(wanted)])
            layout.said.append(json.loads(done.printed))
            layout.peaks.append(done.peak)
    yardstick = layouts[0]
    for layout in layouts:
        for query in queries:
            if layout.said[0][query]["answer"] != yardstick.said[0][query]["answer"]:
                sys.exit(f"{layout.name} does not answer as {yardstick.name} does: {query}")
    return [describe_query(layout, yardstick, query, rows) for layout in layouts for query in queries]


def describe_query(layout: Layout, yardstick: Layout, query: str, rows: int) -> Figure:
    """Return what a query cost on a layout."""
    ratio = None
    if layout is not yardstick:
        pairs = zip(layout.said, yardstick.said, strict=True)
        ratio = statistics.median(ours[query]["wall"] / theirs[query]["wall"] for ours, theirs in pairs)
    return Figure(
        f"{layout.name}: {query}",
        rows,
        layout.files,
        layout.bytes,
        layout.get_median(query, "wall"),
        layout.get_median(query, "cpu"),
        statistics.median(layout.peaks),
        ratio,
        "" if layout is yardstick else f"{yardstick.name}: {query}",
        len(layout.said),
    )


def weigh(place: Path) -> tuple[int, int]:
    """Return how many files of data a place holds, and their bytes; the log of a Delta table is no data."""
    files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file() and "_delta_log" not in f.parts]
    return len(files), sum(file.stat().st_size for file in files)

"""The tables of runbooks/performance.md, written from the record; the words around them are a person's."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

from limits import LIMITS, Figures
from measure import Figure
from record import Record, find_newest

# Their figures are many short queries, named "layout: query": a row for each layout says more than one for each figure.
BY_LAYOUT = ("queries", "partitions", "formats")


def write_page(page: Path, records: list[Record]) -> None:
    """Write the tables between their marks: whether each promise holds, and all that was measured.

    Raises
    ------
    SystemExit : the page has no such marks.
    """
    newest = find_newest(records)
    tables = {
        "limits": write_limits({name: figure for name, (_, figure) in newest.items()}),
        "figures": write_figures(newest),
    }
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not between.search(text):
            sys.exit(f"{page.name} has no place for its table: <!-- {name} --> … <!-- /{name} -->")
        text = between.sub(lambda marks, table=table: marks[1] + table + marks[2], text)
    page.write_text(text, encoding="utf-8")


def write_limits(figures: Figures) -> str:
    """Return the promises as a table: limit, measured, met or missed."""
    lines = ["| promise | limit | measured | |", "|---|--:|--:|---|"]
    for limit in LIMITS:
        measured = limit.find(figures)
        bound = f"{'≥' if limit.at_least else '≤'} {limit.unit.format(limit.bound)}"
        if measured is None:
            lines.append(f"| {limit.what} | {bound} | | not measured |")
        else:
            verdict = "met" if limit.holds(measured) else "**missed**"
            lines.append(f"| {limit.what} | {bound} | {limit.unit.format(measured)} | {verdict} |")
    return "\n".join(lines) + "\n"


def write_figures(newest: dict[str, tuple[Record, Figure]]) -> str:
    """Return all figures as tables, a section for each part and each time it was run."""
    found = sorted(newest.values(), key=lambda pair: (pair[0].part, pair[0].full))
    sections = []
    for (part, _), pairs in groupby(found, key=lambda pair: (pair[0].part, pair[0].full)):
        group = list(pairs)
        figures = [figure for _, figure in group]
        table = write_layouts(figures) if part in BY_LAYOUT else write_costs(figures)
        sections.append(f"### {part}\n{describe_record(group[0][0])}\n\n{table}")
    return "\n".join(sections) if sections else "Nothing was measured yet.\n"


def describe_record(record: Record) -> str:
    """Return a sentence on when, with what and how undisturbed a part was measured."""
    quiet = "the machine was quiet" if record.busy < record.cores / 2 else "the machine was busy: only ratios count"
    name = "make bench-full" if record.full else "make bench"
    versions = ", ".join(f"{library} {version}" for library, version in record.versions.items())
    return (
        f"`{name}`, {record.at[:16].replace('T', ' ')} UTC, commit {record.commit or 'unknown'}, {record.cores} cores;"
        f" {quiet} (load {record.busy:.1f}). {versions}."
    )


def write_costs(figures: list[Figure]) -> str:
    """Return one row for each figure."""
    lines = [
        "| what | rows | files | MiB | seconds | CPU s | peak MiB | of yardstick | runs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for f in figures:
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        rows = f"{f.rows:,}" if f.rows else ""
        cpu = f"{f.cpu_seconds:.2f}" if f.cpu_seconds else ""
        peak = f"{f.peak_mib:,.0f}" if f.peak_mib else ""
        lines.append(
            f"| {f.name} | {rows} | {f.files:,} | {f.bytes / 2**20:,.1f} | {f.seconds:.2f} | {cpu} | {peak} | {ratio}"
            f" | {f.runs} |"
        )
    return "\n".join(lines) + "\n"


def write_layouts(figures: list[Figure]) -> str:
    """Return one row for each layout, a column for what was asked of it, a table for those asked the same."""
    layouts: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        layout, _, asked = figure.name.partition(": ")
        layouts.setdefault(layout, {})[asked] = figure
    alike: dict[str, dict[str, dict[str, Figure]]] = {}
    for layout, row in layouts.items():
        alike.setdefault(next(iter(row)), {})[layout] = row
    tables = [write_layout_table(group) for group in alike.values()]
    return "\n".join([*tables, "Milliseconds; in brackets: of the yardstick.\n"])


def write_layout_table(layouts: dict[str, dict[str, Figure]]) -> str:
    """Return layouts that were asked the same as one table."""
    asked = list(dict.fromkeys(name for row in layouts.values() for name in row))
    head = ["layout", "files", "MiB", "peak MiB", *asked]
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for layout, row in layouts.items():
        first = next(iter(row.values()))
        peak = max(figure.peak_mib for figure in row.values())
        cells = [layout, f"{first.files:,}", f"{first.bytes / 2**20:,.1f}", f"{peak:,.0f}" if peak else ""]
        cells += [_write_cell(row.get(name)) for name in asked]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _write_cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    ratio = "" if figure.ratio is None else f" ({figure.ratio:.2f})"
    return f"{1000 * figure.seconds:,.0f}{ratio}"

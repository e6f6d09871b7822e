"""The table of drills as Markdown: for the record in runbooks/records, and for the README."""

from __future__ import annotations

import datetime as dt
import os

from lakeops.drill.rehearsal import Result

BEGIN, END = "<!-- drills -->", "<!-- /drills -->"


def render_table(results: list[Result]) -> str:
    """Return a row a drill: disaster, detected by, commands, seconds, rows lost."""
    lines = ["| disaster | detected by | command | seconds | rows lost |", "|---|---|---|--:|--:|"]
    for result in results:
        commands = "; ".join(f"`{command}`" for command in result.drill.mend)
        if result.skipped:
            lines.append(f"| {result.drill.disaster} | not rehearsed: {result.skipped} | {commands} | | |")
            continue
        detected = f"`{result.drill.detect}`, exit code" if result.drill.detect else "exit code"
        lost = "FAILED" if result.problems else f"{result.rows_lost:,}"
        lines.append(
            f"| {result.drill.disaster} | {detected} {result.drill.exit_code} | {commands} |"
            f" {result.seconds:.1f} | {lost} |"
        )
    return "\n".join(lines)


def render_record(results: list[Result], today: dt.date) -> str:
    """Return the page of runbooks/records."""
    return (
        f"# Drills\n\nWritten by `make drill` on {today}, {os.cpu_count()} cores: each disaster on a small lake, mended"
        " with the commands\nshown, then compared row for row with what should be there. Seconds are those of the"
        " commands, with the main job's tests.\n\n" + render_table(results) + "\n"
    )


def replace_table(text: str, results: list[Result]) -> str:
    """Return a page with the table between its two marks replaced; one without marks stays as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{render_table(results)}\n{end}{after}" if begin and end else text

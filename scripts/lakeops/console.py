"""All that a person reads. stdout is data, stderr is talk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lakeops.errors import LakeopsError


def say(message: str = "") -> None:
    """Tell the person something, on stderr."""
    print(message, file=sys.stderr, flush=True)


def show_error(error: LakeopsError) -> None:
    """Print an error and, where there is one, the runbook that goes with its exit code."""
    say(f"error: {error}")
    if error.runbook:
        say(f"  {'runbook:':<10}runbooks/{error.runbook}.md (exit code {error.exit_code})")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, for a program to read."""
    print(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> None:
    """Print an aligned table on stdout.

    Parameters
    ----------
    headers : one name a column.
    rows : cells; numbers get thousands separators, None is a dash.
    right : indexes of columns to align to the right; columns of numbers are anyway.
    """
    numeric = {i for i in range(len(headers)) if rows and all(isinstance(r[i], int | float | None) for r in rows)}
    numeric |= set(right)
    texts = [[_write_cell(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *texts]) for i in range(len(headers))]

    def align(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    print(align(headers))
    print("  ".join("-" * width for width in widths))
    for cells in texts:
        print(align(cells))
    sys.stdout.flush()  # so that data and talk keep their order where both go to one log


def _write_cell(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int | float) and not isinstance(cell, bool) else str(cell)


@contextmanager
def show_progress(what: str, total: int) -> Iterator[Any]:
    """Show how far a long task is: a bar on a terminal, a line now and then elsewhere.

    Yields
    ------
    A function to call once for every unit done.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        ) as progress:  # fmt: skip
            task = progress.add_task(what, total=total)
            yield lambda *_: progress.advance(task)
        return
    done, step = 0, max(total // 5, 200)

    def advance(*_: Any) -> None:
        nonlocal done
        done += 1
        if done % step == 0:
            say(f"{what}: {done:,} of {total:,}")

    yield advance

"""All that a person reads. stdout is data, stderr is talk."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from lakeops.errors import LakeopsError


def say(message: str = "") -> None:
    """Tell the person something, on stderr."""
    _write(message, sys.stderr)


def show_error(error: LakeopsError) -> None:
    """Print an error and, where there is one, the runbook that goes with its exit code."""
    say(f"error: {error}")
    if error.runbook:
        say(f"  {'runbook:':<10}runbooks/{error.runbook}.md (exit code {error.exit_code})")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, for a program to read."""
    _write(write_json(value, indent=2), sys.stdout)


def write_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON that every program reads: without the NaN and Infinity that only Python knows.

    Parameters
    ----------
    value : also of what JSON has no form for, such as days and decimals: they become text, as keys, too. A number that
        is none, or is infinite, becomes null.
    indent : spaces by level; None for one line.
    """
    return json.dumps(_make_plain(value), default=str, ensure_ascii=False, allow_nan=False, indent=indent)


def _make_plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str | int | None) else str(key): _make_plain(one) for key, one in value.items()}
    return [_make_plain(one) for one in value] if isinstance(value, list | tuple) else value


def tell_apart(names: Sequence[str]) -> list[str]:
    """Return names of which none comes twice: a, a_2, a_3."""
    told: list[str] = []
    for name in names:
        own, number = name, 1
        # Not even one that comes later is taken away from whom it belongs to.
        while own in told or (number > 1 and own in names):
            number += 1
            own = f"{name}_{number}"
        told.append(own)
    return told


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

    lines = [align(headers), "  ".join("-" * width for width in widths), *map(align, texts)]
    _write("\n".join(lines), sys.stdout)


def _write(text: str, stream: TextIO) -> None:
    """Print a text at once, so that data and talk keep their order where both go to one log."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # Whoever read it has gone, as in `lakeops load 2>&1 | head -1`. Neither what the command does nor its exit code
        # may depend on that; what is said from now on goes nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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

"""Whether a call can be carried out at all."""

from __future__ import annotations

import math
import os
from datetime import date, datetime
from pathlib import Path

from lakeops.errors import UsageError
from lakeops.generate.scenarios import Scenarios

DEFAULT_SCALE = 0.05
_YEARS = (2000, 2199)
_LARGEST_SCALE = 100.0


def check_arguments(out: Path, seed: int, start: date, days: int, scale: float, scenarios: Scenarios) -> None:
    """Raise a UsageError for an argument that cannot be used."""

    def refuse(what: str, flag: str, expected: str, found: object, next_step: str) -> UsageError:
        return UsageError(what, where=flag, expected=expected, found=str(found), next_step=next_step)

    if not isinstance(seed, int) or seed < 0:
        raise refuse("The seed cannot be used.", "--seed", "a whole number from 0", seed, "for example --seed 42")
    if not isinstance(start, date) or isinstance(start, datetime):
        raise refuse(
            "The start date cannot be used.",
            "--start-date",
            "a date as YYYY-MM-DD",
            start,
            "for example --start-date 2024-04-01",
        )
    if days < 1:
        raise refuse("No day is left to generate.", "--days", "a whole number from 1", days, "for example --days 7")
    if not (_YEARS[0] <= start.year and start.toordinal() + days - 1 <= date(_YEARS[1], 12, 31).toordinal()):
        found = f"{days} days from {start}"
        raise refuse(
            "The days lie outside the world's time.",
            "--start-date, --days",
            f"days from {_YEARS[0]} to {_YEARS[1]}",
            found,
            "choose an earlier or later start",
        )
    if not (math.isfinite(scale) and 0 < scale <= _LARGEST_SCALE):
        expected = f"a number above 0, up to {_LARGEST_SCALE:g}"
        raise refuse("The scale cannot be used.", "--scale", expected, scale, f"for example --scale {DEFAULT_SCALE:g}")
    busiest = scale * max(1.0, *(scenarios.find_factor("volumes", day) for day in _find_shifts(scenarios, start)))
    if busiest > _LARGEST_SCALE:
        expected = f"a scale that, times the drift, is up to {_LARGEST_SCALE:g}"
        raise refuse("The volumes are too large.", "--scale, --drift", expected, f"{busiest:g}", "choose a smaller one")
    try:
        standing = next(path for path in (out, *out.parents) if path.exists())
    except OSError as error:
        found = error.strerror or str(error)
        raise refuse("The output folder cannot be made.", "--out", "a name that a folder can have", found,
                     "choose another folder with --out") from error  # fmt: skip
    if not standing.is_dir():
        raise refuse(
            "The output folder is a file.",
            f"--out {out}",
            "a folder, or a name that is free",
            f"a file at {standing}",
            "choose another folder with --out",
        )
    if not os.access(standing, os.W_OK | os.X_OK):
        raise refuse(
            "The output folder cannot be written.",
            f"--out {out}",
            "a folder you may write to",
            f"{standing} is not writable",
            "choose another folder with --out",
        )


def _find_shifts(scenarios: Scenarios, start: date) -> list[date]:
    return [start, *(drift.since or start for drift in scenarios.drifts)]

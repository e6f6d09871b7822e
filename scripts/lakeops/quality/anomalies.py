"""Judge a day's measures against the same weekday's history, by the thresholds that the contracts set.

The distance of a day is a robust z-score: how far it is from the median of the same weekdays before it, in units of
their spread. The spread is never taken to be less than what chance alone makes: a calm history would page for nothing.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

WEEKS = 12
# Turns the median distance from the median into a standard deviation, where values are normally distributed.
NORMAL = 1.4826
# The own noise of a mean or a median is not known: what moves less than this is not looked at.
MEAN_NOISE = 0.05


@dataclass(frozen=True)
class Point:
    """A measure of one day: its value, and the rows it was made of."""

    value: float
    rows: int


@dataclass(frozen=True)
class Verdict:
    """How far a day is from what is usual.

    Parameters
    ----------
    distance : robust z-score, negative below the usual; None while there are too few weekdays to compare with.
    """

    day: dt.date
    value: float
    usual: float | None
    distance: float | None
    days_compared: int

    def exceeds(self, threshold: float) -> bool:
        """Tell whether the day is farther from the usual than a threshold allows."""
        return self.distance is not None and abs(self.distance) > threshold


def judge_days(
    measure: str, points: Mapping[dt.date, Point], warm_up: int, days: set[dt.date] | None = None
) -> Iterator[Verdict]:
    """Judge days of one series against the same weekdays of the twelve weeks before each.

    Parameters
    ----------
    measure : volume, null_share, distinct_share, category_share, mean or median; says how much chance alone makes.
    points : the series by day.
    warm_up : with fewer weekdays to compare with, a day is not judged.
    days : the days to judge; None for all.
    """
    for day in sorted(points if days is None else days & points.keys()):
        before = [day - dt.timedelta(weeks=week) for week in range(1, WEEKS + 1)]
        history = [points[one].value for one in before if one in points]
        value = points[day].value
        if len(history) < warm_up:
            yield Verdict(day, value, None, None, len(history))
            continue
        usual = median(history)
        spread = NORMAL * median(abs(one - usual) for one in history)
        spread = max(spread, estimate_noise(measure, usual, points[day].rows))
        yield Verdict(day, value, usual, (value - usual) / spread, len(history))


def estimate_noise(measure: str, usual: float, rows: int) -> float:
    """Return the spread that chance alone gives a measure: of a count, of a share of `rows`, or of a mean."""
    if measure == "volume":
        return max(math.sqrt(abs(usual)), 1.0)
    if measure in ("mean", "median"):
        return max(MEAN_NOISE * abs(usual), 1e-9)
    share = min(max(usual / 100, 0.0), 1.0)
    return max(100 * math.sqrt(share * (1 - share) / max(rows, 1)), 100 / max(rows, 1))


def split_categories(
    rows: list[tuple[dt.date, str | None, float, int]],
) -> dict[str | None, dict[dt.date, Point]]:
    """Return one series for each category; on a day that lacks a category its share is 0, which may be the news."""
    series: dict[str | None, dict[dt.date, Point]] = defaultdict(dict)
    totals: dict[dt.date, int] = {}
    for day, category, value, count in rows:
        series[category][day] = Point(value, count)
        totals[day] = count
    for points in series.values():
        for day, count in totals.items():
            points.setdefault(day, Point(0.0, count))
    return dict(series)


def explain(measure: str, column: str | None, verdict: Verdict, category: str | None = None) -> str:
    """Return what most likely made a day differ, and where to look first."""
    usual, value = verdict.usual or 0.0, verdict.value
    factor = value / usual if usual else math.inf
    match measure:
        case "volume" if value == 0:
            return "nothing came for the day: lakeops status, and ask the sender"
        case "volume" if value < usual:
            return "files are missing or cut short: compare the day's files in manifest_processed_files"
        case "volume":
            return "a file was sent twice under another name, or trade was unusual: look for duplicates of the day"
        case "null_share" if value > usual:
            return f"the sender renamed {column} or stopped filling it: compare the header of the day's files"
        case "null_share":
            return f"the sender began to fill {column}"
        case "distinct_share" if value < usual:
            return f"{column} repeats itself: a default value, or records sent twice"
        case "distinct_share":
            return f"{column} was made more precise, or is filled with something else"
        case "category_share" if value == 0:
            return f"{category!r} is gone from {column}: renamed, or a channel that is down"
        case "category_share":
            return f"{category!r} in {column} replaced another value, or one channel failed"
        case _ if any(math.isclose(factor, slip, rel_tol=0.1) for slip in (0.001, 0.01, 0.1, 10, 100, 1000)):
            return f"the unit of {column} changed: {factor:g} times the usual"
        case _:
            return f"{column} moved as a whole, {factor:.2f} times the usual: a new price list, currency or unit"

"""How a day of the shop differs from another: weekday, season, growth and promotions."""

from __future__ import annotations

from datetime import date

import numpy as np

from lakeops.generate.draw import mix_below
from lakeops.generate.names import RANGE
from lakeops.generate.world import count_days

_WEEKDAYS = (0.86, 0.88, 0.92, 0.98, 1.12, 1.28, 0.96)
_MONTHS = (0.94, 0.88, 0.95, 0.97, 1.00, 0.98, 0.98, 0.96, 0.97, 1.02, 1.12, 1.30)
_HOURS = (2, 1, 1, 1, 1, 2, 6, 14, 26, 38, 46, 52, 58, 50, 46, 46, 50, 58, 60, 54, 42, 28, 14, 6)


def is_sale(day: date) -> bool:
    """Return whether `day` is in one of the year's sales: end of financial year, late November, after Christmas."""
    return (day.month, day.day) >= (12, 26) or (day.month == 11 and day.day >= 24) or (day.month == 6 and day.day >= 24)


def find_demand(day: date) -> float:
    """Return how busy `day` is; about 1 on an average day at the history's start."""
    growth = 1.08 ** (count_days(day) / 365.25)
    return _WEEKDAYS[day.weekday()] * _MONTHS[day.month - 1] * growth * (1.35 if is_sale(day) else 1.0)


def find_offer(day: date) -> tuple[str, float]:
    """Return the category on offer in the week of `day`, and the discount's share."""
    week = day.toordinal() // 7
    category = list(RANGE)[int(mix_below(len(RANGE), "offer", week)[0])]
    return category, 0.15 + 0.05 * int(mix_below(4, "offer:share", week)[0])


def draw_seconds(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return seconds since local midnight, more of them when people shop."""
    edges = np.cumsum(_HOURS)
    hours = np.minimum(np.searchsorted(edges, rng.random(count) * edges[-1], side="right"), 23)
    return hours * 3600 + rng.integers(0, 3600, count)

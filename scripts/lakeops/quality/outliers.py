"""Find rows whose value is allowed and far from the rest of its day, with what they have in common."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import duckdb

from lakeops.contract import AnomalyRule, Contract

VALUES_SHOWN = 5


@dataclass(frozen=True)
class Outliers:
    """The rows of one day that are far from the rest of it.

    Parameters
    ----------
    low, high : between these is the day's usual: from the 5th to the 95th percentile.
    values : the farthest ones, the farthest first.
    distance : of the farthest one, in units of the day's spread.
    """

    day: dt.date
    rows: int
    count: int
    values: tuple[float, ...]
    low: float
    high: float
    distance: float
    source_files: tuple[str, ...]

    @property
    def sample(self) -> str:
        """Return count, offending values and what is usual, as a person would say it."""
        shown = ", ".join(f"{value:g}" for value in self.values) + (", …" if self.count > len(self.values) else "")
        return f"{self.count:,} of {self.rows:,} rows: {shown}; most are {self.low:g} to {self.high:g}"

    @property
    def cause(self) -> str:
        """Return what most likely made them."""
        bounds = [bound for bound in (self.low, self.high) if bound]
        factors = [abs(self.values[0] / bound) for bound in bounds]
        if len(self.source_files) == 1 and self.count > 1:
            return f"all of them are in {self.source_files[0]}: one till, machine or sender"
        if min(factors, default=0) >= 50:
            return f"{min(factors):,.0f} times the usual: a slipped decimal point, a wrong unit or a wrong column"
        return "a device or a person was wrong, or the case is rare: look at the rows"


def _keep_allowed(contract: Contract, rule: AnomalyRule) -> str:
    """Return the bounds of the column's `accepted_range`: what is outside is found by that test already."""
    bounds = ""
    for test in contract.expectations:
        if test.test == "accepted_range" and test.column == rule.column:
            for argument, sign in (("min_value", ">="), ("max_value", "<=")):
                if test.arguments.get(argument) is not None:
                    bounds += f' and "{rule.column}" {sign} {test.arguments[argument]}'
    return bounds


def find_outliers(
    connection: duckdb.DuckDBPyConnection, contract: Contract, rule: AnomalyRule, days: list[dt.date] | None
) -> list[Outliers]:
    """Return the outliers of each day of a table that has any.

    Parameters
    ----------
    days : business dates to look at; None for all.
    """
    day, column = f'"{contract.load.business_date}"', f'"{rule.column}"'
    chosen = f"{column} is not null and {day} is not null" + _keep_allowed(contract, rule)
    if days is not None:
        listed = ", ".join(f"date '{one}'" for one in days)
        chosen += f" and {day} between date '{min(days)}' and date '{max(days)}' and {day} in ({listed})"
    found = connection.execute(
        f"""
        with given as (
            select {day} as day, cast({column} as double) as value, _source_file
            from {contract.name} where {chosen}
        ),
        spreads as (
            -- Half of a day may be equal: then the median distance says nothing, and the width of its bulk does.
            select day, count(*) as rows, median(value) as middle,
                quantile_cont(value, 0.05) as low, quantile_cont(value, 0.95) as high,
                greatest(1.4826 * mad(value), (high - low) / 3.29) as spread
            from given group by day
        ),
        far as (
            select *, abs(value - middle) / spread as distance
            from given join spreads using (day)
            where spread > 0 and distance > ?
        )
        select day, any_value(rows), count(*), list(value order by distance desc)[:{VALUES_SHOWN}],
            any_value(low), any_value(high), max(distance), list(distinct _source_file)
        from far group by day order by day""",
        [rule.threshold],
    ).fetchall()
    return [Outliers(*row[:3], tuple(row[3]), *row[4:7], tuple(row[7])) for row in found]

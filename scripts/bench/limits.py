"""What was promised of speed, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from measure import Figure

Figures = dict[str, Figure]
MILLION = "1 M rows in 330 files"
TEN_MILLION = "10 M rows in 400 files"
HUNDRED_FILES = "10,000 rows in 100 files"
ONE_FILE = "5 GB in one file"
MEMORY = 1.5e9 / 2**20


@dataclass(frozen=True)
class Limit:
    """One promise.

    Parameters
    ----------
    what : what is promised.
    bound : the number that is not to be exceeded, or to be reached where `at_least`.
    unit : how the number is written: "{:.1f} s".
    find : takes the figures by name, and returns what was measured; None if it was not.
    """

    what: str
    bound: float
    unit: str
    find: Callable[[Figures], float | None]
    at_least: bool = False

    def holds(self, measured: float) -> bool:
        """Tell whether it is kept."""
        return measured >= self.bound if self.at_least else measured <= self.bound


def of_yardstick(name: str) -> Callable[[Figures], float | None]:
    """Return what finds a ratio."""
    return lambda figures: figures[name].ratio if name in figures else None


def seconds(name: str) -> Callable[[Figures], float | None]:
    """Return what finds seconds."""
    return lambda figures: figures[name].seconds if name in figures else None


def slope(name: str, long: int, short: int) -> Callable[[Figures], float | None]:
    """Return what finds by how much something grew with the history."""

    def find(figures: Figures) -> float | None:
        after, before = figures.get(f"{long} days: {name}"), figures.get(f"{short} days: {name}")
        return after.seconds / before.seconds if after and before else None

    return find


def faster_than_dlt(files: str) -> Callable[[Figures], float | None]:
    """Return what finds how many times as long dlt takes, with whichever of its readers was the fastest."""

    def find(figures: Figures) -> float | None:
        ours = figures.get(f"{files}: lakeops load")
        theirs = [figure.seconds for name, figure in figures.items() if name.startswith(f"{files}: dlt")]
        return min(theirs) / ours.seconds if ours and theirs else None

    return find


def times(much: str, little: str) -> Callable[[Figures], float | None]:
    """Return what finds how many times as long one thing takes as another."""

    def find(figures: Figures) -> float | None:
        return figures[much].seconds / figures[little].seconds if much in figures and little in figures else None

    return find


def peak(start: str) -> Callable[[Figures], float | None]:
    """Return what finds the most memory of all figures whose name starts so."""

    def find(figures: Figures) -> float | None:
        return max((figure.peak_mib for name, figure in figures.items() if name.startswith(start)), default=None)

    return find


RATIO, SECONDS, TIMES, MIB = "{:.2f} times", "{:.1f} s", "{:.1f} times", "{:,.0f} MiB"
LIMITS = (
    Limit(
        "load 10 M order lines with all checks, of DuckDB's bare CSV to Parquet (2.5 with the profile)",
        2.0, RATIO, of_yardstick(f"{TEN_MILLION}: lakeops load"),
    ),
    Limit("load 10 M order lines, faster than dlt's fastest reader", 10, TIMES, faster_than_dlt(TEN_MILLION), True),
    Limit("load 1 M order lines, faster than dlt's fastest reader", 10, TIMES, faster_than_dlt(MILLION), True),
    Limit("`lakeops load`, nothing new, 1,300 files", 1.5, SECONDS, seconds("1,300 files: lakeops load, nothing new")),
    Limit("`lakeops load`, nothing new, 50,000 files", 6, SECONDS, seconds("50,000 files: lakeops load, nothing new")),
    Limit("`make incremental`, nothing new, after 720 days", 6, SECONDS, seconds("720 days: nothing new")),
    Limit("`make incremental`, one new day, after 720 days", 12, SECONDS, seconds("720 days: one new day")),
    Limit("slope: one new day after 720 days, of after 30", 1.3, RATIO, slope("one new day", 720, 30)),
    Limit(
        "building all models anew after 720 days, of building a new day",
        10, TIMES, times("720 days: dbt run --full-refresh", "720 days: one new day, build"), True,
    ),
    Limit("peak memory of any step after 720 days", MEMORY, MIB, peak("720 days: ")),
    Limit("peak memory of loading 5 GB in one file", MEMORY, MIB, peak(f"{ONE_FILE}: lakeops load")),
)  # fmt: skip

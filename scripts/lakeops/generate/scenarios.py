"""What a call plants on request: which kinds of defects, and which scenarios."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from lakeops.contract import Contracts
from lakeops.errors import UsageError
from lakeops.generate.bad_files import BAD_FILES
from lakeops.generate.defects import KINDS

ALL_KINDS = frozenset(kind.kind for kind in KINDS)
_LATEST_HOURS = 30 * 24
_FACTORS = (0.1, 10.0)


@dataclass(frozen=True)
class Drift:
    """A shift that begins on a day and stays.

    Parameters
    ----------
    of : `prices` (what order lines charge) or `volumes` (orders and events of a day).
    factor : new level as a multiple of the old one.
    since : first day; None for the first day of the call.
    """

    of: str
    factor: float
    since: date | None = None

    def find_factor(self, of: str, day: date) -> float:
        """Return the factor for `of` on `day`: 1 where this drift has no part."""
        return self.factor if self.of == of and (self.since is None or day >= self.since) else 1.0


@dataclass(frozen=True)
class Scenarios:
    """The switches of one call; without an argument, every defect and no scenario.

    Parameters
    ----------
    defects : kinds of defects to plant.
    late_hours : each day brings a file of orders that were placed so many hours before it began; None for none.
    restate : day whose order lines come with corrections.
    outage : day whose files do not come.
    evolve : table → column that its files have as an extra.
    drifts : shifts of prices and volumes.
    bad_files : kinds of files that must be refused as a whole.
    cdc : also write change files of `stock_levels`.
    outliers : plant values that are allowed and far off.
    """

    defects: frozenset[str] = ALL_KINDS
    late_hours: int | None = None
    restate: date | None = None
    outage: date | None = None
    evolve: dict[str, str] = field(default_factory=dict)
    drifts: tuple[Drift, ...] = ()
    bad_files: tuple[str, ...] = ()
    cdc: bool = False
    outliers: bool = False

    @property
    def late_days(self) -> int:
        """Return how many days before its arrival the orders of a late file are booked; 0 for no such file."""
        return math.ceil((self.late_hours or 0) / 24)

    def find_factor(self, of: str, day: date) -> float:
        """Return by how much all drifts together move `of` on `day`."""
        return math.prod(drift.find_factor(of, day) for drift in self.drifts)


NO_SCENARIO = Scenarios()


def parse_defects(text: str) -> frozenset[str]:
    """Return the kinds named by `all`, `none` or `kind,kind`.

    Raises
    ------
    UsageError : there is no such kind.
    """
    if text in ("all", "none"):
        return ALL_KINDS if text == "all" else frozenset()
    kinds = frozenset(part.strip() for part in text.split(","))
    if unknown := sorted(kinds - ALL_KINDS):
        raise UsageError(
            "There is no such kind of defect.",
            where="--defects",
            expected=f"all, none, or some of {', '.join(sorted(ALL_KINDS))}",
            found=", ".join(map(repr, unknown)),
            next_step="for example --defects bad_email,null_key",
        )
    return kinds


def parse_late(text: str) -> int:
    """Return the hours of `24h` or `3d`.

    Raises
    ------
    UsageError : the text is no such span, or longer than 30 days.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})([hd])", text)
    hours = int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    if not 0 < hours <= _LATEST_HOURS:
        raise UsageError(
            "The span of late files cannot be used.",
            where="--late",
            expected=f"hours or days, up to {_LATEST_HOURS // 24}d",
            found=text,
            next_step="for example --late 24h, or --late 3d",
        )
    return hours


def parse_evolve(texts: Sequence[str]) -> dict[str, str]:
    """Return table → new column, from texts such as `returns:return_reason_code`.

    Raises
    ------
    UsageError : a text has another form, or names a table twice.
    """
    pairs = [re.fullmatch(r"([a-z_]+):([a-z][a-z0-9_]*)", text) for text in texts]
    columns = {match[1]: match[2] for match in pairs if match}
    if len(columns) != len(texts):
        raise UsageError(
            "A new column cannot be read.",
            where="--evolve",
            expected="<source>:<column>, in lower case, each source once",
            found=", ".join(texts),
            next_step="for example --evolve returns:return_reason_code",
        )
    return columns


def parse_drifts(texts: Sequence[str]) -> tuple[Drift, ...]:
    """Return drifts from texts such as `prices:1.5` or `volumes:0.5@2024-04-02`.

    Raises
    ------
    UsageError : a text has another form, or a factor is out of bounds.
    """
    drifts = []
    for text in texts:
        match = re.fullmatch(r"(prices|volumes):(\d+(?:\.\d+)?)(?:@(\d{4}-\d\d-\d\d))?", text)
        try:
            drift = Drift(match[1], float(match[2]), date.fromisoformat(match[3]) if match[3] else None)
            usable = _FACTORS[0] <= drift.factor <= _FACTORS[1]
        except (TypeError, ValueError):
            usable = False
        if not usable:
            raise UsageError(
                "A drift cannot be read.",
                where="--drift",
                expected=f"prices:<factor> or volumes:<factor>, {_FACTORS[0]:g} to {_FACTORS[1]:g}; @<day> if wanted",
                found=text,
                next_step="for example --drift prices:1.5, or --drift volumes:0.5@2024-04-02",
            )
        drifts.append(drift)
    return tuple(drifts)


def check_scenarios(scenarios: Scenarios, contracts: Contracts, start: date, days: int) -> None:
    """Check switches against each other and against the days of the call.

    Parameters
    ----------
    scenarios : what was asked for.
    contracts : what there is.
    start, days : the days of the call.

    Raises
    ------
    UsageError : a switch cannot be carried out.
    """
    tables = {contract.table: {column.name for column in contract.columns} for contract in contracts.tables}
    last = start + timedelta(days=days - 1)
    dated = [("--restate", scenarios.restate), ("--outage", scenarios.outage)]
    dated += [("--drift", drift.since) for drift in scenarios.drifts]
    for flag, day in dated:
        if day is not None and not start <= day <= last:
            raise UsageError(
                "The day is not one of this call.",
                where=flag,
                expected=f"a day from {start} to {last}",
                found=str(day),
                next_step="choose one of these days, or widen --start-date and --days",
            )
    if scenarios.outage is not None and (days == 1 or scenarios.outage == scenarios.restate):
        raise UsageError(
            "The day left out is also needed.",
            where="--outage",
            expected="a call of two days or more, and another day than --restate",
            found=f"{days} day(s), --outage {scenarios.outage}, --restate {scenarios.restate}",
            next_step="add days with --days, or choose another day",
        )
    for flag, found, allowed in (
        ("--evolve", scenarios.evolve, tables),
        ("--bad-file", scenarios.bad_files, BAD_FILES),
    ):
        if unknown := sorted(set(found) - set(allowed)):
            raise UsageError(
                "There is no such choice.",
                where=flag,
                expected=", ".join(sorted(allowed)),
                found=", ".join(unknown),
                next_step=f"choose one of these for {flag}",
            )
    for table, column in scenarios.evolve.items():
        if column in tables[table] or column.startswith("_"):
            raise UsageError(
                "The column is not new.",
                where=f"--evolve {table}:{column}",
                expected=f"a name that the contract of {table} does not have",
                found=column,
                next_step="for example --evolve returns:return_reason_code",
            )
    if scenarios.cdc and "stock_levels" not in tables:
        raise UsageError(
            "No contract claims the change files.",
            where="--cdc",
            expected="a contract for the table stock_levels",
            found="none under dbt/models",
            next_step="cp scripts/lakeops/generate/stock_levels.yml dbt/models/bronze/",
        )

"""From when to when can one still travel: the versions of which every data file is there."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from lakeops.contract import load_contracts
from lakeops.settings import Settings
from lakeops.upkeep.log import list_files, list_readable, read_log
from lakeops.upkeep.pins import list_pins
from lakeops.upkeep.tables import Table, find_tables


@dataclass(frozen=True)
class Restorable:
    """Which versions of a table can be read.

    Parameters
    ----------
    ranges : first and last version of each run of readable ones, oldest first; both belong to it.
    since, until : when the first and the last version of the newest range were written (UTC).
    pinned : versions that readers or snapshots need.
    """

    table: str
    ranges: tuple[tuple[int, int], ...]
    since: dt.datetime | None
    until: dt.datetime | None
    pinned: tuple[int, ...]

    def covers(self, version: int) -> bool:
        """Tell whether a version can be read."""
        return any(first <= version <= last for first, last in self.ranges)


def list_restorable(settings: Settings, names: tuple[str, ...] = ()) -> list[Restorable]:
    """Return which versions of the tables named, or of all, can be read.

    Raises
    ------
    UsageError : there is no such table.
    BronzeCommitError : a log cannot be read.
    """
    contracts = load_contracts(settings.models)
    tables = find_tables(settings, contracts, names)
    pins = list_pins(settings)
    return [find_restorable(table, pins.get(table.path, set())) for table in tables]


def find_restorable(table: Table, pins: set[int]) -> Restorable:
    """Return which versions of a table can be read: the log tells them, and every data file is there."""
    log = read_log(table.path)
    ranges = list_readable(log, list_files(table.path))
    newest = ranges[-1] if ranges else None
    return Restorable(
        table.name,
        tuple(ranges),
        log.times[newest[0]] if newest else None,
        log.times[newest[1]] if newest else None,
        tuple(sorted(pins)),
    )

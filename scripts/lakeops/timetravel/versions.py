"""Which version a person means, and whether it can still be read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakeops.delta import get_folder, get_parts, open_table
from lakeops.errors import UsageError


def read_times(path: Path) -> dict[int, dt.datetime]:
    """Return when each version of a table was committed (UTC), oldest first, as far as its log goes back."""
    history = open_table(path).history()
    times = {
        commit["version"]: dt.datetime.fromtimestamp(commit["timestamp"] / 1000, dt.UTC)
        for commit in history
        if commit.get("timestamp") is not None
    }
    return dict(sorted(times.items()))


def parse_moment(text: str) -> dt.datetime:
    """Return the moment a person wrote, in UTC unless it names a zone.

    Raises
    ------
    UsageError : it cannot be read.
    """
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            "A moment cannot be read.",
            expected="a day or a moment, as 2024-04-01 or 2024-04-01T12:30:00 (UTC, unless it says otherwise)",
            found=text,
        ) from error
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def find_version_at(path: Path, moment: dt.datetime) -> int:
    """Return the version a table had at a moment.

    Raises
    ------
    UsageError : the table, or what is left of its log, begins later.
    """
    times = read_times(path)
    reached = [version for version, time in times.items() if time <= moment]
    if reached:
        return reached[-1]
    first, began = next(iter(times.items()))
    raise UsageError(
        "The table has no version of that time.",
        where=_name(path),
        expected=f"a moment not before {began:%Y-%m-%d %H:%M:%S.%f} UTC, when version {first} was committed",
        found=f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        next_step=f"lakeops history {_name(path)}",
    )


def pick_version(path: Path, version: int | None, timestamp: str | None) -> int:
    """Return the version meant by a number or a moment; exactly one of them is given.

    Raises
    ------
    UsageError : none or both are given, or the table has no such version.
    """
    if (version is None) == (timestamp is None):
        raise UsageError(
            "Which version is meant is not clear.",
            expected="either --version or --timestamp",
            found="neither" if version is None else "both",
            next_step=f"lakeops history {_name(path)}",
        )
    if timestamp is not None:
        return find_version_at(path, parse_moment(timestamp))
    newest = open_table(path).version()
    if not 0 <= version <= newest:
        raise UsageError(
            "The table has no such version.",
            where=_name(path),
            expected=f"a version up to {newest}",
            found=str(version),
            next_step=f"lakeops history {_name(path)}",
        )
    return version


def parse_version(path: Path, text: str) -> int:
    """Return the version meant by what a person wrote, be it a number or a moment."""
    if text.strip().isdecimal():
        return pick_version(path, int(text), None)
    return pick_version(path, None, text)


def open_version(path: Path, version: int) -> DeltaTable:
    """Open a table at a version, all of whose data files are still there.

    Raises
    ------
    UsageError : its log or its data files were cleaned away.
    """
    try:
        table = DeltaTable(str(path), version=version)
        missing = [part for part in get_parts(table)["path"] if not (get_folder(table) / part).exists()]
        found = f"{len(missing)} of its data files are gone" if missing else ""
    except (DeltaError, OSError) as error:
        found = " ".join(str(error).split())[:200]
    if found:
        raise UsageError(
            "This version can no longer be read.",
            where=f"{path.name}, version {version}",
            expected="a version that neither vacuum nor the cleaning of logs has taken away",
            found=found,
            next_step="lakeops restorable says from when to when each table can be read",
        )
    return table


def _name(path: Path) -> str:
    return f"{path.parents[1].name}.{path.name}"

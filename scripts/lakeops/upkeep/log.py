"""What a Delta log says of every version: which data files it is made of, and when it was written.

delta-rs shows one version at a time; to know what may go, all of them are needed at once. A data file lives from the
version that added it up to the one that removed it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakeops.delta import APPLICATION, get_parts, open_table, read_actions
from lakeops.errors import BronzeCommitError

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")


@dataclass(frozen=True)
class Life:
    """A data file's time in a table.

    Parameters
    ----------
    path : relative to the table.
    since, until : the version that added it, and the one that removed it; None while it is live.
    """

    path: str
    size: int
    since: int
    until: int | None = None

    def covers(self, version: int) -> bool:
        """Tell whether a version is made of this file, among others."""
        return self.since <= version and (self.until is None or version < self.until)


@dataclass
class Log:
    """The log of one table.

    Parameters
    ----------
    first, last : oldest and newest version that the log can still tell.
    times : when each version was written (UTC).
    lives : of every data file that one of them names.
    optimized : versions that only laid rows out anew.
    checkpoints : versions at which the log was summed up.
    """

    folder: Path
    first: int
    last: int
    times: dict[int, dt.datetime] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    optimized: dict[int, dict[str, Any]] = field(default_factory=dict)
    checkpoints: list[int] = field(default_factory=list)

    def list_live(self) -> list[Life]:
        """Return the data files of the newest version."""
        return [life for life in self.lives if life.until is None]

    def find_version_at(self, moment: dt.datetime) -> int:
        """Return the oldest version that anybody saw as the newest at or after a moment, whatever the clock did."""
        for version in range(self.first, self.last):
            if self.times[version + 1] > moment:
                return version
        return self.last


def read_log(folder: Path) -> Log:
    """Read all that is left of a table's log.

    Raises
    ------
    BronzeCommitError : there is no table, or its log cannot be read.
    """
    names = [entry.name for entry in (folder / "_delta_log").iterdir()] if (folder / "_delta_log").is_dir() else []
    commits = sorted(int(found[1]) for name in names if (found := _COMMIT.fullmatch(name)))
    checkpoints = sorted({int(found[1]) for name in names if (found := _CHECKPOINT.fullmatch(name))})
    if not commits:
        open_table(folder)  # says what is wrong
    last = commits[-1]
    # Before a gap nothing can be told: the log begins after it, at a checkpoint or at version 0.
    begin = last
    present = set(commits)
    while begin - 1 in present:
        begin -= 1
    starts = [0] if begin == 0 else [version for version in checkpoints if version >= begin - 1]
    if not starts:
        open_table(folder)
        raise BronzeCommitError(
            "A table's Delta log has a gap.",
            where=str(folder / "_delta_log"),
            found=f"no commit {begin - 1}, and no checkpoint from there on",
            next_step="bring the folder back from a backup",
        )
    log = Log(folder, starts[0], last, checkpoints=checkpoints)
    living: dict[str, Life] = {}
    if begin:
        try:
            parts = get_parts(DeltaTable(str(folder), version=log.first))
        except (DeltaError, OSError) as error:
            raise BronzeCommitError(
                "A table's checkpoint cannot be read.",
                where=str(folder / "_delta_log"),
                found=" ".join(str(error).split())[:300],
                next_step="bring the folder back from a backup",
            ) from error
        living = {path: Life(path, size, log.first) for path, size in parts.select("path", "size_bytes").iter_rows()}
        _read_commit(log, log.first, {})
    for version in range(log.first + bool(begin), last + 1):
        _read_commit(log, version, living)
    log.lives += living.values()
    return log


def _read_commit(log: Log, version: int, living: dict[str, Life]) -> None:
    file = log.folder / "_delta_log" / f"{version:020d}.json"
    if not file.exists():  # only that of the first checkpoint may be gone
        log.times[version] = dt.datetime.fromtimestamp(0, dt.UTC)
        return
    moment = file.stat().st_mtime
    adds = []
    for action in read_actions(file):
        if found := action.get("add"):
            adds.append(Life(unquote(found["path"]), found["size"], version))
        elif found := action.get("remove"):
            path = unquote(found["path"])
            if (life := living.pop(path, None)) is not None:
                log.lives.append(Life(path, life.size, life.since, version))
        elif found := action.get("commitInfo"):
            moment = found.get("timestamp", moment * 1000) / 1000
            if '"optimized"' in (proof := found.get(APPLICATION) or ""):
                log.optimized[version] = json.loads(proof)["optimized"]
    # A version may remove and add the same file, in whichever order it says so.
    living.update((life.path, life) for life in adds)
    log.times[version] = dt.datetime.fromtimestamp(moment, dt.UTC)


def list_files(folder: Path) -> dict[str, tuple[int, dt.datetime]]:
    """Return (bytes, time of last change) of every data file that lies in a table's folder, named by a log or not."""
    found = {}
    for path in folder.rglob("*.parquet"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("_"):
            status = path.stat()
            found[name] = (status.st_size, dt.datetime.fromtimestamp(status.st_mtime, dt.UTC))
    return found


def list_readable(log: Log, present: Iterable[str]) -> list[tuple[int, int]]:
    """Return the ranges of versions, oldest first, of which every data file is there; both ends belong to them."""
    there = set(present)
    lost = [life for life in log.lives if life.path not in there]
    steps = [0] * (log.last - log.first + 2)
    for life in lost:
        steps[max(life.since, log.first) - log.first] += 1
        steps[(life.until if life.until is not None else log.last + 1) - log.first] -= 1
    ranges: list[tuple[int, int]] = []
    missing = 0
    for version in range(log.first, log.last + 1):
        missing += steps[version - log.first]
        if missing:
            continue
        if ranges and ranges[-1][1] == version - 1:
            ranges[-1] = (ranges[-1][0], version)
        else:
            ranges.append((version, version))
    return ranges

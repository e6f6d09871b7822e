"""What the disk holds of one Delta table, looked at without trusting its log; changes nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

from lakeops.delta import APPLICATION, get_parts, read_actions
from lakeops.errors import BronzeCommitError
from lakeops.raw import compute_fingerprint

LOG = "_delta_log"
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint.*\.parquet")


@dataclass
class Health:
    """What was found.

    Parameters
    ----------
    path : the table's folder.
    is_there : it has a log with at least one entry.
    version, rows, batch : of the newest version that can be opened; None if none can.
    first_needed_broken : the oldest log entry that is broken or missing and that readers need; None if none is.
    broken_history : versions that are broken or missing, and that a checkpoint spares readers.
    broken_checkpoints : file names.
    missing, damaged : live data files that are not there, or are not what was written, each with why.
    orphans : files that no version of the table speaks of, and their bytes.
    problem : why the table cannot be opened though its log parses.
    """

    path: Path
    is_there: bool = False
    version: int | None = None
    rows: int | None = None
    batch: int | None = None
    first_needed_broken: int | None = None
    broken_history: list[int] = field(default_factory=list)
    broken_checkpoints: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    orphans: list[tuple[str, int]] = field(default_factory=list)
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Tell whether readers get what was committed."""
        return self.is_there and self.version is not None and not self.missing and not self.damaged


def examine_table(path: Path, *, deep: bool = False) -> Health:
    """Look at a table's log and data files.

    Parameters
    ----------
    deep : read every live data file whole: against the hash in the commit that added it, or, where there is none
        (files that compaction or DuckDB wrote), by decoding it.
    """
    health = Health(path)
    names = sorted(file.name for file in (path / LOG).iterdir()) if (path / LOG).is_dir() else []
    entries = {int(found[1]): path / LOG / found[0] for name in names if (found := _ENTRY.fullmatch(name))}
    checkpoints: dict[int, bool] = {}
    known: set[str] = set()
    for name in names:
        if found := _CHECKPOINT.fullmatch(name):
            files = _read_checkpoint(path / LOG / name)
            checkpoints[int(found[1])] = checkpoints.get(int(found[1]), True) and files is not None
            known |= files or set()
            if files is None:
                health.broken_checkpoints.append(name)
    health.is_there = bool(entries or checkpoints)
    if not health.is_there:
        return health
    base = max((version for version, is_good in checkpoints.items() if is_good), default=None)
    hashes: dict[str, str] = {}
    broken = set(range(min(entries, default=0) if base is not None else 0, max(entries, default=0) + 1)) - set(entries)
    for version, file in entries.items():
        actions = read_entry(file)
        if actions is None:
            broken.add(version)
            continue
        for action in actions:
            known |= {action[kind]["path"] for kind in ("add", "remove") if kind in action}
            hashes |= json.loads(action.get("commitInfo", {}).get(APPLICATION, "{}")).get("parts", {})
    needed = [version for version in sorted(broken) if base is None or version > base]
    health.first_needed_broken = needed[0] if needed else None
    health.broken_history = sorted(broken - set(needed))
    if health.first_needed_broken is None:
        _examine_files(health, known, hashes, deep=deep)
    return health


def read_entry(file: Path) -> list[dict] | None:
    """Return the actions of a log entry; None if it is empty, cut short or no JSON."""
    try:
        return read_actions(file)
    except BronzeCommitError:
        return None


def _read_checkpoint(file: Path) -> set[str] | None:
    """Return the data files a checkpoint speaks of; None if it cannot be read."""
    try:
        table = pq.read_table(file, columns=["add", "remove"])
        return {
            action["path"] for kind in ("add", "remove") for action in table[kind].to_pylist() if action is not None
        }
    except Exception:  # pyarrow has many ways to say that a file is none of its own
        return None


def _examine_files(health: Health, known: set[str], hashes: dict[str, str], *, deep: bool) -> None:
    try:
        table = DeltaTable(str(health.path))
        parts = get_parts(table)
    except Exception as error:  # whatever delta-rs makes of a log that parses
        health.problem = str(error).splitlines()[0][:300]
        return
    health.version = table.version()
    health.rows = int(parts["num_records"].fill_null(0).sum())
    health.batch = table.transaction_version(APPLICATION) or 0
    for name, size, rows in parts.select("path", "size_bytes", "num_records").iter_rows():
        file = health.path / name
        if not file.is_file():
            health.missing.append(name)
        elif file.stat().st_size != size:
            health.damaged[name] = f"{file.stat().st_size:,} bytes instead of {size:,}"
        elif deep and (fault := _read_part(file, hashes.get(name), rows)):
            health.damaged[name] = fault
    known |= set(parts["path"])
    for file in sorted(health.path.rglob("*")):
        name = file.relative_to(health.path).as_posix()
        if file.is_file() and not name.startswith(LOG) and name not in known:
            health.orphans.append((name, file.stat().st_size))


def _read_part(file: Path, expected: str | None, rows: int | None) -> str:
    """Return what is wrong with a data file's bytes; nothing if they are right."""
    if expected is not None:
        return "" if compute_fingerprint(file) == expected else "its bytes are not those that were committed (SHA-256)"
    try:
        # Not by polars, which panics on damaged pages; and whole, because a footer alone proves nothing.
        held = pq.read_table(file).num_rows
    except Exception as error:
        return f"cannot be decoded: {str(error).splitlines()[0][:200]}"
    return "" if rows in (None, held) else f"{held:,} rows instead of {rows:,}"

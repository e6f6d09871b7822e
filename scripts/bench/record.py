"""The history of all benches: one line of JSON per part that was run, only ever appended.

It is text in the repository and not Delta in a lake: it is about a commit of the code, is read beside it, and outlives
every lake.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from measure import Figure

LIBRARIES = ("deltalake", "dbt-core", "dlt", "duckdb", "polars", "pyarrow")


@dataclass(frozen=True)
class Record:
    """One part of the bench, run once.

    Parameters
    ----------
    at : when it began, UTC.
    part : load, nothing-new, growth, queries or layouts.
    full : whether it was `make bench-full`.
    commit : of the code; with a plus where files were changed since.
    versions : of Python and the libraries.
    busy : how many processes wanted a core when it began: a quiet machine says less than one.
    """

    at: str
    part: str
    full: bool
    commit: str
    versions: dict[str, str]
    cores: int
    busy: float
    figures: tuple[Figure, ...]


def begin_record(part: str, full: bool, root: Path) -> Record:
    """Return a record without figures, of this moment and this machine; what names the machine is left out."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    at = datetime.now(UTC).isoformat(timespec="seconds")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Record(at, part, full, _read_commit(root), versions, cores, round(os.getloadavg()[0], 2), ())


def _read_commit(root: Path) -> str:
    """Return the commit of the code; empty outside a repository."""
    words = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def append_record(file: Path, record: Record) -> None:
    """Add a record to the history."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as history:
        history.write(json.dumps(_round(asdict(record))) + "\n")


def _round(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    return [_round(item) for item in value] if isinstance(value, list | tuple) else value


def read_records(file: Path) -> list[Record]:
    """Return the history, oldest first; none if there is no file.

    Raises
    ------
    SystemExit : a line is not a record.
    """
    if not file.exists():
        return []
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            facts = json.loads(line)
            facts["figures"] = tuple(Figure(**figure) for figure in facts["figures"])
            records.append(Record(**facts))
        except (ValueError, TypeError, KeyError) as error:
            sys.exit(f"{file.name}: line {number} is no record of a bench ({error}); take it out")
    return records


def find_newest(records: list[Record]) -> dict[str, tuple[Record, Figure]]:
    """Return every figure as it was measured last, by name, in the order in which they were measured.

    Only the last run of a part counts, and its last full run: a figure that neither measured is no longer made.
    """
    last = {(record.part, record.full): record for record in records}
    newest: dict[str, tuple[Record, Figure]] = {}
    for record in sorted(last.values(), key=lambda record: not record.full):
        for figure in record.figures:
            known = newest.get(figure.name)
            if known is None or known[0].at <= record.at:
                newest[figure.name] = (record, figure)
    return newest

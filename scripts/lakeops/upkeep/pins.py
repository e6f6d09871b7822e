"""Which versions must stay readable, however old: what readers look at now, and what a snapshot names."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import duckdb

from lakeops.settings import Settings

_PINNED = re.compile(r"delta_scan\('((?:[^']|'')+)',[^)]*?version\"?\s*(?:=>|:=|=)\s*(\d+)", re.IGNORECASE)


def list_pins(settings: Settings) -> dict[Path, set[int]]:
    """Return, by a table's folder, the versions that vacuum and the trimming of logs must leave readable."""
    pins: dict[Path, set[int]] = {}
    for path, version in _list_published(settings.serving):
        pins.setdefault(path, set()).add(version)
    return pins


def _list_published(serving: Path) -> list[tuple[Path, int]]:
    if not serving.exists():
        return []
    # From a copy: a reader who forgot -readonly holds the file, and is no reason to know nothing.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(serving, folder))
        with duckdb.connect(str(copy), read_only=True) as connection:
            views = connection.execute("select sql from duckdb_views() where not internal").fetchall()
    return [
        (Path(found[1].replace("''", "'")), int(found[2])) for (sql,) in views for found in _PINNED.finditer(sql or "")
    ]

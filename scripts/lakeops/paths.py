"""Where everything lives. Nothing here touches the disk, except to find the project's root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def find_root(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that holds `dbt/dbt_project.yml`, or None."""
    for folder in (start, *start.parents):
        if (folder / "dbt" / "dbt_project.yml").is_file():
            return folder
    return None


def make_file_identity(path: Path, root: Path) -> str:
    """Return the name a raw file is known by: its path relative to the project's root, with `..` if it lies outside.

    The path is made absolute but links are not followed, so that the name is the one the user typed.
    """
    return Path(os.path.relpath(path, root)).as_posix()


@dataclass(frozen=True)
class Lake:
    """The folders of one lake.

    Parameters
    ----------
    folder : absolute path of the lake.
    """

    folder: Path

    def bronze(self, schema: str, table: str) -> Path:
        """Return the Delta table of a contract; `schema` is the source's place, usually `bronze`."""
        return self.folder / schema / "delta" / table

    def quarantine(self, table: str) -> Path:
        """Return the Delta table of the records that `table`'s contract refused."""
        return self.folder / "quarantine" / "delta" / table

    def gold(self, model: str) -> Path:
        """Return the Delta table in which a model of gold is published."""
        return self.folder / "gold" / "delta" / model

    def ops(self, record: str) -> Path:
        """Return the Delta table of a record the lake keeps about itself."""
        return self.folder / "ops" / "delta" / record

    @property
    def alerts(self) -> Path:
        """Return the file of all alerts, one JSON object a line."""
        return self.folder / "ops" / "alerts.jsonl"

    @property
    def lock(self) -> Path:
        """Return the file that the one running loader locks."""
        return self.folder / ".loader.lock"

"""Settings: a flag beats the environment, the environment beats the default. Frozen once made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lakeops.errors import UsageError
from lakeops.paths import Lake, find_root


@dataclass(frozen=True)
class Settings:
    """Where this command works.

    Parameters
    ----------
    root : the project's root (holds `dbt/`); file identities are relative to it.
    raw : the landing zone to read.
    lake : the lake to write.
    warehouse : the DuckDB file of views and models.
    """

    root: Path
    raw: Path
    lake: Lake
    warehouse: Path

    @property
    def dbt_project(self) -> Path:
        """Return the folder of the dbt project."""
        return self.root / "dbt"

    @property
    def models(self) -> Path:
        """Return the folder in which contracts are looked for."""
        return self.dbt_project / "models"


def load_settings(raw: Path | None = None, lake: Path | None = None, warehouse: Path | None = None) -> Settings:
    """Return the settings for one command.

    Parameters
    ----------
    raw, lake, warehouse : values of flags; None where the user gave none. Environment: LAKEOPS_ROOT, LAKEOPS_RAW,
        LAKEOPS_LAKE, LAKEOPS_WAREHOUSE. Relative paths are relative to the current directory, defaults to the root.

    Raises
    ------
    UsageError : no project is found at or above the current directory.
    """
    named = os.environ.get("LAKEOPS_ROOT")
    # An editable install lies in <root>/scripts/lakeops: it answers from any current directory.
    root = find_root(Path(named).resolve()) if named else find_root(Path.cwd()) or find_root(Path(__file__).resolve())
    if root is None:
        raise UsageError(
            "No lakeops project here.",
            where=named or str(Path.cwd()),
            expected="a folder that holds dbt/dbt_project.yml, here or above",
            next_step="cd into the project, or set LAKEOPS_ROOT to its folder",
        )

    def pick(flag: Path | None, variable: str, default: str) -> Path:
        if flag is not None:
            return Path.cwd() / flag
        value = os.environ.get(variable)
        return Path.cwd() / value if value else root / default

    return Settings(
        root=root,
        raw=pick(raw, "LAKEOPS_RAW", "data_raw"),
        # Resolved: DuckDB's INSERT into a Delta table writes wrong names into the log if the path holds a `..`.
        lake=Lake(pick(lake, "LAKEOPS_LAKE", "lake").resolve()),
        warehouse=pick(warehouse, "LAKEOPS_WAREHOUSE", "duckdb/warehouse.duckdb"),
    )

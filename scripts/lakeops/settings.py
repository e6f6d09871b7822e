"""Settings: a flag beats the environment, the environment beats the default. Frozen once made."""

from __future__ import annotations

import getpass
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lakeops.errors import UsageError
from lakeops.paths import Lake, find_root

TARGETS = ("dev", "staging", "prod")


@dataclass(frozen=True)
class Settings:
    """Where this command works.

    Parameters
    ----------
    root : the project's root (holds `dbt/`); file identities are relative to it.
    raw : the landing zone to read.
    lake : the lake to write.
    warehouse : the DuckDB file of views and models.
    target : one of TARGETS; each has a lake and a warehouse of its own. Only dev masks without a salt.
    sample_files : of each table only so many raw files are looked at, the last by name; None for all. Only in dev.
    """

    root: Path
    raw: Path
    lake: Lake
    warehouse: Path
    target: str = TARGETS[0]
    sample_files: int | None = None

    @property
    def serving(self) -> Path:
        """Return the DuckDB file that readers open: beside the warehouse, replaced by each publish."""
        suffix = "" if self.target == TARGETS[0] else f"_{self.target}"
        return self.warehouse.with_name(f"serving{suffix}.duckdb")

    def ask(self, query: str, database: Path | None = None) -> str:
        """Return what to type at the project's root to put a query to the warehouse, or to the database given."""
        path = database or self.warehouse
        named = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        return f'duckdb -readonly {shlex.quote(str(named))} "{query}"'

    @property
    def dbt_project(self) -> Path:
        """Return the folder of the dbt project."""
        return self.root / "dbt"

    @property
    def models(self) -> Path:
        """Return the folder in which contracts are looked for."""
        return self.dbt_project / "models"


def load_settings(
    raw: Path | None = None, lake: Path | None = None, warehouse: Path | None = None, target: str | None = None
) -> Settings:
    """Return the settings for one command.

    Parameters
    ----------
    raw, lake, warehouse, target : values of flags; None where the user gave none. Environment: LAKEOPS_ROOT,
        LAKEOPS_RAW, LAKEOPS_LAKE, LAKEOPS_WAREHOUSE, LAKEOPS_TARGET, LAKEOPS_SAMPLE_FILES. Relative paths are relative
        to the current directory, defaults to the root.

    Raises
    ------
    UsageError : no project is found at or above the current directory, or a variable's value is none it may have.
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

    target = target or os.environ.get("LAKEOPS_TARGET") or TARGETS[0]
    if target not in TARGETS:
        raise UsageError(
            "There is no such target.",
            where="LAKEOPS_TARGET",
            expected=", ".join(TARGETS),
            found=target,
            next_step="set LAKEOPS_TARGET to one of them, or unset it for dev",
        )
    suffix = "" if target == TARGETS[0] else f"_{target}"

    def pick(flag: Path | None, variable: str, default: str) -> Path:
        if flag is not None:
            return Path.cwd() / flag
        value = os.environ.get(variable)
        return Path.cwd() / value if value else root / default

    return Settings(
        root=root,
        raw=pick(raw, "LAKEOPS_RAW", "data_raw"),
        # Resolved: DuckDB's INSERT into a Delta table writes wrong names into the log if the path holds a `..`.
        lake=Lake(pick(lake, "LAKEOPS_LAKE", f"lake{suffix}").resolve()),
        warehouse=pick(warehouse, "LAKEOPS_WAREHOUSE", f"duckdb/warehouse{suffix}.duckdb"),
        target=target,
        sample_files=_read_sample(target),
    )


def _read_sample(target: str) -> int | None:
    value = os.environ.get("LAKEOPS_SAMPLE_FILES")
    if not value:
        return None
    if target != TARGETS[0] or not value.isdecimal() or int(value) == 0:
        raise UsageError(
            "A sample of the sources was asked for that cannot be taken.",
            where="LAKEOPS_SAMPLE_FILES",
            expected="how many files of each table to look at, a number above 0, and target dev",
            found=f"{value}, target {target}",
            next_step="unset LAKEOPS_SAMPLE_FILES, or set LAKEOPS_TARGET=dev",
        )
    return int(value)


def get_account() -> str:
    """Return who runs this, for the records: the account's name; its number where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"

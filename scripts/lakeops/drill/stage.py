"""Where drills play: a project of its own, loaded with generated days, put back before each drill.

Commands are started as a person would, each a process of its own; nothing here knows how they work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from lakeops.errors import LakeopsError
from lakeops.settings import Settings
from lakeops.warehouse import prepare_connection

SEED = 42
SCALE = 0.02
# What may differ between two lakes with the same content: which batch brought a row, and when.
TECHNICAL = ("_batch_id", "_ingested_at")

State = dict[str, tuple[int, int]]


@dataclass
class Stage:
    """The place of all drills.

    Parameters
    ----------
    folder : holds the project and what it is put back from.
    before : rows and checksum of every table, as the drills find them.
    next_day : the same after one more day, loaded and built by a run that nothing happened to.
    """

    folder: Path
    before: State = field(default_factory=dict)
    next_day: State = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def lake(self) -> Path:
        return self.project / "lake"

    @property
    def backup(self) -> Path:
        return self.folder / "backup"

    def get_environment(self) -> dict[str, str]:
        """Return the environment of a command: this installation, and the project here."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return environment | {"LAKEOPS_ROOT": str(self.project)}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Type a command in the project's root; returns its exit code and what it said."""
        return subprocess.run(
            command, shell=True, cwd=self.project, env=self.get_environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def kill_when(self, command: str, is_time: Callable[[], bool]) -> int:
        """Start a command and kill it outright once it is time; returns its exit code as a shell has it."""
        process = subprocess.Popen(
            command.split(), cwd=self.project, env=self.get_environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not is_time():
            with_patience = 0.02
            try:
                process.wait(with_patience)
            except subprocess.TimeoutExpired:
                continue
        process.kill()
        status = process.wait()
        return 128 - status if status < 0 else status

    def land_next_day(self) -> None:
        """Let the files of one more day arrive."""
        shutil.copytree(self.folder / "next_day", self.project / "data_raw", dirs_exist_ok=True)

    def reset(self) -> None:
        """Put the project back, at the same place: views hold absolute paths."""
        for name in ("data_raw", "lake", "duckdb"):
            shutil.rmtree(self.project / name, ignore_errors=True)
            shutil.copytree(self.folder / "kept" / name, self.project / name, copy_function=shutil.copy2)

    def describe(self) -> State:
        """Return rows and checksum of what was loaded, of what waits in quarantine, and of what readers see."""
        state: State = {}
        with duckdb.connect(str(self.project / "duckdb" / "warehouse.duckdb"), read_only=True) as connection:
            prepare_connection(connection)
            for table in sorted((self.lake / "bronze" / "delta").iterdir()):
                state[f"bronze.{table.name}"] = _sum_up(connection, f"delta_scan('{table}')")
            state["quarantine"] = _sum_up(
                connection,
                "(select table_name, source_file, source_row, reason, raw_record from quarantine"
                " where status = 'open')",
            )
        with duckdb.connect(str(self.project / "duckdb" / "serving.duckdb"), read_only=True) as connection:
            prepare_connection(connection)
            for table in sorted((self.lake / "gold" / "delta").iterdir()):
                if table.name != "data_quality_metrics":  # says when it was measured
                    state[f"gold.{table.name}"] = _sum_up(connection, f"gold.{table.name}")
        return state


def prepare_stage(settings: Settings, folder: Path) -> Stage:
    """Make the project, load and build it, back it up, and learn what one more day comes to.

    Parameters
    ----------
    settings : name the project whose dbt folder is played with; nothing of it is changed.
    folder : an empty folder.

    Raises
    ------
    LakeopsError : a command did not end well.
    """
    stage = Stage(Path(os.path.realpath(folder)))
    ignored = shutil.ignore_patterns("target", "logs", "elementary", ".user.yml")
    shutil.copytree(settings.dbt_project, stage.project / "dbt", ignore=ignored)
    for name in ("data_raw", "duckdb"):
        (stage.project / name).mkdir()
    for day in (1, 2):
        _must(stage, f"{_generate(day)} --out data_raw")
        _must(stage, "lakeops load" if day == 1 else "lakeops incremental")
    _must(stage, f"{_generate(3)} --out {stage.folder / 'next_day'}")
    _must(stage, f"lakeops backup --to {stage.backup}")
    for name in ("data_raw", "lake", "duckdb"):
        shutil.copytree(stage.project / name, stage.folder / "kept" / name)
    stage.before = stage.describe()
    stage.land_next_day()
    _must(stage, "lakeops incremental")
    stage.next_day = stage.describe()
    return stage


def _generate(day: int) -> str:
    return f"lakeops generate --start-date 2024-04-{day:02} --days 1 --seed {SEED} --scale {SCALE}"


def _must(stage: Stage, command: str) -> None:
    done = stage.run(command)
    if done.returncode:
        raise LakeopsError(
            "The stage for the drills could not be made.",
            where=command,
            found=done.stderr[-2000:],
            next_step=f"look at {stage.project}",
        )


def _sum_up(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, int]:
    names = [row[0] for row in connection.execute(f"describe from {relation}").fetchall()]
    kept = ", ".join(f'"{name}"' for name in names if name not in TECHNICAL)
    return connection.execute(f"select count(*), coalesce(sum(hash({kept})), 0) from {relation}").fetchone()

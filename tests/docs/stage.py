"""The lake on which pages are played: three generated days, built, tested and published; put back for each page."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from conftest import Clone, make_clone
from docs.pages import make_environment

SCALE = 0.02


@dataclass
class Stage:
    """A clone with a lake.

    Parameters
    ----------
    clone : where commands are typed; always at the same place, since dbt and the views know it by its path.
    kept : what it is put back to.
    started, mounted : processes of a scene that are still running, disks that it mounted.
    """

    clone: Clone
    kept: Path
    started: list[subprocess.Popen] = field(default_factory=list)
    mounted: list[Path] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.clone.root

    def run(self, command: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Type a command, as `pages.play` does."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.root, env=make_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"$ {command}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, command: list[str]) -> subprocess.Popen:
        """Start something that goes on while the page is played."""
        process = subprocess.Popen(
            command, cwd=self.root, env=make_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def reset(self) -> None:
        """End what a scene left running, and put all files back."""
        self.clear()
        for place in self.root.parent.iterdir():
            if place != self.kept:
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.copytree(self.kept, self.root, symlinks=True)

    def clear(self) -> None:
        """End what a scene left running, and give back what it mounted."""
        for process in self.started:
            end_session(process)
        self.started.clear()
        for place in self.mounted:
            subprocess.run(["umount", str(place)], check=True)
        self.mounted.clear()


def end_session(process: subprocess.Popen) -> None:
    """End a process and all that it started: `duckdb` is a door to the program that holds the file."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def make_stage(folder: Path) -> Stage:
    """Make a clone with a lake in order, as a page finds it."""
    stage = Stage(make_clone(folder / "lakeops"), folder / "kept")
    make_venv(stage.root)
    for command in (
        "git init -q && git add -A",
        "git -c user.name=a -c user.email=a@example.org commit -qm 'Set up'",
        # Each day by itself, so that each has its batch.
        f"for day in 1 2 3; do lakeops generate --start-date 2024-04-0$day --days 1 --seed 42 --scale {SCALE}"
        " --out data_raw && lakeops load || exit; done",
        "lakeops incremental",
    ):
        stage.run(command)
    shutil.copytree(stage.root, stage.kept, symlinks=True)
    return stage


def make_venv(root: Path) -> None:
    """Give a clone the environment of these tests as its `.venv`, as if `make env` had made it."""
    venv = root / ".venv"
    venv.mkdir()
    for piece in Path(sys.prefix).iterdir():
        if piece.name != ".installed":
            (venv / piece.name).symlink_to(piece)
    (venv / ".installed").touch()
    newest = max((root / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    os.utime(venv / ".installed", (newest + 1, newest + 1))

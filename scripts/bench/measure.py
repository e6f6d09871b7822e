"""Measure commands: each a process of its own, every figure the median of several runs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

BINARIES = Path(sys.executable).parent


@dataclass
class Figure:
    """What a command costs: medians of several runs.

    Parameters
    ----------
    name : what was done to what; a figure is compared with earlier ones of its name.
    rows, files, bytes : what it worked on.
    seconds, cpu_seconds : of the wall and of all threads and child processes.
    peak_mib : the most memory that one of its processes held; 0 for a step of a whole.
    ratio : seconds, of the yardstick's in the same run: the median of the pairs. None for a yardstick.
    against : name of the yardstick.
    runs : how many.
    """

    name: str
    rows: int
    files: int
    bytes: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    ratio: float | None = None
    against: str = ""
    runs: int = 1


@dataclass(frozen=True)
class Run:
    """One run of a command: wall and CPU seconds, peak memory in MiB, and what it printed on stdout."""

    wall: float
    cpu: float
    peak: float
    printed: str


# The kernel counts a process's peak from the memory of the one that started it, which here has held whole tables. So a
# small one stands between.
LAUNCH = """
import json, os, sys, time
started = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
cost = time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
os.write(int(sys.argv[1]), json.dumps(cost).encode())
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


def run(command: list[str], **environment: str) -> Run:
    """Run a command as a process of its own.

    Raises
    ------
    SystemExit : the command failed; what it said is shown.
    """
    with (
        tempfile.TemporaryFile("w+") as printed,
        tempfile.TemporaryFile("w+") as said,
        tempfile.TemporaryFile("w+") as cost,
    ):
        words = [sys.executable, "-S", "-c", LAUNCH, str(cost.fileno()), *command]
        environment = os.environ | environment
        # Build machines set it, users do not; with it, every command would compile the project anew.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(words, env=environment, stdout=printed, stderr=said, pass_fds=(cost.fileno(),))
        for file in (printed, said, cost):
            file.seek(0)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed with exit code {done.returncode}:\n{said.read()}")
        return Run(*json.load(cost), printed.read())


def describe(
    name: str, place: Path, runs: list[Run], rows: int, yardstick: tuple[Figure, list[Run]] | None = None
) -> Figure:
    """Return the median of several runs over a file or the files of a folder.

    Parameters
    ----------
    yardstick : its figure and its runs; the first of `runs` is paired with its first, and so on.
    """
    files = [place] if place.is_file() else [file for file in place.rglob("*") if is_data(file)]
    wall, cpu, peak = (
        statistics.median(values) for values in zip(*((r.wall, r.cpu, r.peak) for r in runs), strict=True)
    )
    size = sum(file.stat().st_size for file in files)
    figure = Figure(name, rows, len(files), size, wall, cpu, peak, runs=len(runs))
    if yardstick:
        figure.against = yardstick[0].name
        figure.ratio = statistics.median(a.wall / b.wall for a, b in zip(runs, yardstick[1], strict=False))
    return figure


def is_data(path: Path) -> bool:
    """Tell whether a file was landed, and is no note about what was."""
    return not path.name.startswith(("_", ".")) and path.is_file()


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)

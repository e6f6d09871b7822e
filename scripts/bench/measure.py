"""Measure commands: each a process of its own, every figure the median of several runs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Figure:
    """One measured command: median wall seconds, CPU seconds and peak memory (MiB), and its ratio to the yardstick."""

    name: str
    rows: int
    files: int
    bytes: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    ratio: float | None = None


@dataclass(frozen=True)
class Run:
    """One run of a command: wall and CPU seconds, peak memory in MiB, and what it printed on stdout."""

    wall: float
    cpu: float
    peak: float
    printed: str


def run(command: list[str], **environment: str) -> Run:
    """Run a command as a process of its own.

    Raises
    ------
    SystemExit : the command failed; what it said is shown.
    """
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | environment, stdout=printed, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{said.read()}")
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, printed.read())


def describe(name: str, raw: Path, runs: list[Run], rows: int) -> Figure:
    """Return the median of several runs over the files of a folder."""
    files = [path for path in raw.rglob("*") if path.is_file() and not path.name.startswith("_")]
    wall, cpu, peak = (
        statistics.median(values) for values in zip(*((r.wall, r.cpu, r.peak) for r in runs), strict=True)
    )
    return Figure(name, rows, len(files), sum(path.stat().st_size for path in files), wall, cpu, peak)

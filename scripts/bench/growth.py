"""What a day costs as the history grows, and against building everything anew."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import statistics
import sys
from pathlib import Path

from measure import Figure, Run, describe, run

FIRST_DAY = dt.date(2022, 5, 1)
BINARIES = Path(sys.executable).parent


def make_history(work: Path, days: int) -> Path:
    """Return a folder with raw files, lake and warehouse of so many days at scale 1.0; made once and kept."""
    folder = work / f"history of {days} days"
    if not (folder / "_complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        generate(folder, 0, days)
        run([str(BINARIES / "lakeops"), "incremental"], **get_places(folder))
        (folder / "_complete").touch()
    return folder


def generate(folder: Path, first: int, days: int) -> None:
    """Add days to the landing zone of a history."""
    words = ["--start-date", str(FIRST_DAY + dt.timedelta(first)), "--days", str(days), "--scale", "1.0"]
    run([str(BINARIES / "lakeops"), "generate", *words, "--out", str(folder / "raw")])


def get_places(folder: Path) -> dict[str, str]:
    """Return the environment in which lakeops and dbt work on a history."""
    return {
        "LAKEOPS_RAW": str(folder / "raw"),
        "LAKEOPS_LAKE": str(folder / "lake"),
        "LAKEOPS_WAREHOUSE": str(folder / "warehouse.duckdb"),
    }


def bench_growth(work: Path, histories: tuple[int, ...], repeats: int) -> list[Figure]:
    """Measure the main job with one new day, and with nothing new, after histories of several lengths.

    Returns
    -------
    Per history: the whole job, each of its steps (wall seconds only), and with nothing new; ratios are to the shortest
    history. After the longest also a full refresh, whose ratio is to the build step of a new day.
    """
    figures: list[Figure] = []
    shortest: dict[str, float] = {}
    for days in histories:
        history, copy = make_history(work, days), work / "day"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(history, copy)
        job = [str(BINARIES / "lakeops"), "incremental", "--json"]
        new_day, nothing = [], []
        for repeat in range(repeats):
            generate(copy, days + repeat, 1)
            new_day.append(run(job, **get_places(copy)))
            nothing.append(run(job, **get_places(copy)))
        named = [("one new day", describe(f"{days} days: make incremental, one new day", copy / "raw", new_day, 0))]
        for step in ("load", "build", "test", "publish", "explain"):
            seconds = statistics.median(json.loads(r.printed)["seconds"][step] for r in new_day)
            named.append((step, Figure(f"{days} days:   of which {step}", 0, 0, 0, seconds, 0.0, 0.0)))
        named.append(("nothing new", describe(f"{days} days: make incremental, nothing new", copy / "raw", nothing, 0)))
        for name, figure in named:
            figure.ratio = figure.seconds / shortest.setdefault(name, figure.seconds)
            figures.append(figure)
    figures.append(bench_full_refresh(copy, days, statistics.median(r.wall for r in new_day)))
    return figures


def bench_full_refresh(folder: Path, days: int, day_seconds: float) -> Figure:
    """Measure a build of all models from nothing; the ratio is to the whole job with one new day."""
    root = Path(__file__).resolve().parents[2]
    full: Run = run(
        [str(BINARIES / "dbt"), "run", "--full-refresh", "--project-dir", str(root / "dbt"), "--profiles-dir",
         str(root / "dbt"), "--target-path", str(folder / "target")], **get_places(folder)
    )  # fmt: skip
    figure = describe(f"{days} days: dbt run --full-refresh", folder / "raw", [full], 0)
    figure.ratio = full.wall / day_seconds
    return figure

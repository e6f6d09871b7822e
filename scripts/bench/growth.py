"""What a day costs as the history grows, and against building everything anew."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limits import MILLION
from load import Yardstick
from measure import BINARIES, Figure, Run, describe, is_data, run, say

FIRST_DAY = dt.date(2022, 5, 1)
HISTORIES = (30, 180)
ALL_HISTORIES = (*HISTORIES, 720)
STEPS = ("load", "build", "test", "publish", "explain", "quality")
ROOT = Path(__file__).resolve().parents[2]


def make_history(work: Path, days: int) -> Path:
    """Return a folder with raw files, lake and warehouse of so many days at scale 1.0; each made once and kept."""
    folder = work / f"history of {days} days"
    if not (folder / "raw" / "_defects.json").exists():  # the generator's last file
        say(f"{days} days: generating")
        shutil.rmtree(folder, ignore_errors=True)  # lake and list are of raw files that are gone
        generate(folder, 0, days)
    if not (folder / "_complete").exists():
        say(f"{days} days: loading and building")
        run([str(BINARIES / "lakeops"), "incremental"], **get_places(folder, folder))
        (folder / "_complete").touch()
    return folder


def generate(folder: Path, first: int, days: int) -> None:
    """Add days to the landing zone of a history."""
    words = ["--start-date", str(FIRST_DAY + dt.timedelta(first)), "--days", str(days), "--scale", "1.0"]
    run([str(BINARIES / "lakeops"), "generate", *words, "--out", str(folder / "raw")])


def press_key(history: Path) -> list[str]:
    """Return the main job as it is typed, except that it prints JSON: `make incremental`."""
    installed = BINARIES.parent / ".installed"
    words = ["make", "--silent", "--no-print-directory", "-C", str(ROOT), "-o", str(installed), "incremental"]
    return [*words, f"VENV={BINARIES.parent}", f"RAW='{history / 'raw'}' --json"]


def get_places(history: Path, copy: Path) -> dict[str, str]:
    """Return the environment in which lakeops and dbt work on the raw files of a history and a copy of its lake."""
    return {
        "LAKEOPS_RAW": str(history / "raw"),
        "LAKEOPS_LAKE": str(copy / "lake"),
        "LAKEOPS_WAREHOUSE": str(copy / "warehouse.duckdb"),
    }


@contextmanager
def borrow(history: Path, copy: Path) -> Iterator[None]:
    """Let days be added to a history, and take them away again.

    The lake is copied. The raw files are not, because their place is their name: elsewhere they would be others. What
    is listed beside them is what belongs to the history, so that a bench that was killed is cleaned up by the next.
    """
    listed = history / "_files.txt"
    if not listed.exists():
        notes = [note.name for note in (history / "raw").iterdir() if note.name.startswith("_")]
        for note in notes:
            shutil.copy2(history / "raw" / note, history / f"kept{note}")
        names = [str(file.relative_to(history / "raw")) for file in list_raw(history)]
        listed.with_suffix(".part").write_text("\n".join(names), encoding="utf-8")
        listed.with_suffix(".part").rename(listed)
    take_away(history, listed)
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    shutil.copytree(history / "lake", copy / "lake")
    for file in history.glob("*.duckdb"):
        shutil.copy2(file, copy / file.name)
    try:
        yield
    finally:
        take_away(history, listed)


def take_away(history: Path, listed: Path) -> None:
    """Remove the raw files that are not listed, and put the generator's notes back."""
    belongs = set(listed.read_text(encoding="utf-8").split("\n"))
    for file in list_raw(history):
        if str(file.relative_to(history / "raw")) not in belongs:
            file.unlink()
    for note in history.glob("kept_*"):
        shutil.copy2(note, history / "raw" / note.name.removeprefix("kept"))


def list_raw(history: Path) -> list[Path]:
    """Return the landed files of a history."""
    places = ((Path(place), names) for place, _, names in os.walk(history / "raw"))
    return [place / name for place, names in places for name in names if is_data(place / name)]


def bench_growth(work: Path, histories: tuple[int, ...], repeats: int) -> list[Figure]:
    """Measure the main job with one new day, and with nothing new, after histories of several lengths.

    The histories take turns, so that a machine that gets slower meanwhile slows all of them: the slope is between them.

    Returns
    -------
    Per history: the whole job, each of its steps (wall seconds only), and with nothing new; after the longest also a
    full refresh of all models, and what dbt takes for one that does not depend on the history: nothing it builds takes
    less. All are held against a yardstick of the same run; the slope is in the limits.
    """
    yardstick = Yardstick(work, MILLION)
    lakes = {days: (make_history(work, days), work / f"lake after {days} days") for days in histories}
    new_day: dict[int, list[Run]] = {days: [] for days in histories}
    nothing: dict[int, list[Run]] = {days: [] for days in histories}
    with ExitStack() as borrowed:
        for history, copy in lakes.values():
            borrowed.enter_context(borrow(history, copy))
        for repeat in range(repeats):
            say(f"new day {repeat + 1} of {repeats}")
            for days, (history, copy) in lakes.items():
                job, places, day = press_key(history), get_places(history, copy), days + 2 * repeat
                # Not measured: dbt keeps what it parsed for one lake only, the copy's data may be stale by now, the
                # code newer than the lake.
                generate(history, day, 1)
                run(job, **places)
                generate(history, day + 1, 1)
                yardstick.run()
                new_day[days].append(run(job, **places))
                nothing[days].append(run(job, **places))
        longest = max(histories)
        say(f"a full refresh after {longest} days")
        full = run_dbt(*lakes[longest], "--full-refresh")
        calendar = run_dbt(*lakes[longest], "--select", "dim_date")
    figures = [yardstick.describe()[0]]
    for number, (days, (history, _)) in enumerate(lakes.items()):
        own = yardstick.runs[number :: len(lakes)]
        figure = (yardstick.describe()[0], own)
        day = describe(f"{days} days: one new day", history / "raw", new_day[days], 0, figure)
        figures += [day, *list_steps(day, days, new_day[days], own)]
        figures.append(describe(f"{days} days: nothing new", history / "raw", nothing[days], 0, figure))
        if days == longest:
            figures.append(describe(f"{days} days: dbt run --full-refresh", history / "raw", [full], 0, figure))
            figures.append(describe(f"{days} days: dbt run, dim_date only", history / "raw", [calendar], 0, figure))
    return figures


def list_steps(day: Figure, days: int, runs: list[Run], yardsticks: list[Run]) -> list[Figure]:
    """Return what each step of the job took; memory and CPU are those of the whole."""
    said = [json.loads(one.printed)["seconds"] for one in runs]
    steps = []
    for step in STEPS:
        taken = [seconds.get(step, 0.0) for seconds in said]
        ratio = statistics.median(a / b.wall for a, b in zip(taken, yardsticks, strict=True))
        name = f"{days} days: one new day, {step}"
        seconds = statistics.median(taken)
        steps.append(Figure(name, 0, day.files, day.bytes, seconds, 0.0, 0.0, ratio, day.against, day.runs))
    return steps


def run_dbt(history: Path, copy: Path, *words: str) -> Run:
    """Build models as one types it."""
    places = ["--project-dir", str(ROOT / "dbt"), "--profiles-dir", str(ROOT / "dbt")]
    command = [str(BINARIES / "dbt"), "run", *words, *places, "--target-path", str(copy / "target")]
    return run(command, **get_places(history, copy))

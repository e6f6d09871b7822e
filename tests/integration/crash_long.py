"""The long crash test behind `make crashtest`: every change, every write, the kills of kills, and 500 at random.

Prints a line per 50 kills and, at the end, the counts that the README quotes. Exits with 1 if any of them is bad.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from integration.crash import Killed, Warden
from integration.crash_scenario import (
    REPLAY,
    SMALL_LIMITS,
    Scenario,
    land_day,
    land_long_history,
    land_week,
    load_what_needs_another_contract,
    make_scenario,
    recover,
    widen_contracts,
)

RANDOM_KILLS = 500
LINE_EVERY = 50


class Score:
    """Counts kills and what they did."""

    def __init__(self) -> None:
        self.kills = self.between = self.lost = self.duplicated = self.manual_steps = self.wrong = 0
        self.started = time.monotonic()

    def judge(self, scenario: Scenario, killed: Killed, what: str) -> None:
        """Recover from a kill, compare, and count."""
        verdict = recover(scenario, every_table=True)
        self.kills += 1
        self.between += killed.done > 0
        self.lost += verdict.lost
        self.duplicated += verdict.duplicated
        self.manual_steps += verdict.manual_steps
        self.wrong += bool(verdict.complaints)
        if verdict.complaints:
            print(f"{what}, after {killed.done} changes, before {killed.changes[-1:]}:", file=sys.stderr)
            print("  " + "\n  ".join(verdict.complaints[:10]), file=sys.stderr)
        if self.kills % LINE_EVERY == 0:
            print(f"{self}; {what}", flush=True)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.between} between first and last write: {self.lost} lost, "
            f"{self.duplicated} duplicated, {self.manual_steps} manual steps, {self.wrong} differences"
        )


def kill_at_every(scenario: Scenario, warden: Warden, score: Score, what: str, writes: bool = False) -> int:
    """Kill before every change in turn; returns how many there are."""
    n = 1
    while (killed := scenario.kill(warden, kill_before=n, writes=writes)).was_killed:
        score.judge(scenario, killed, f"{what}, change {n}")
        n += 1
    if killed.status != 0:
        raise SystemExit(f"{what}: the load that was not to be killed failed:\n{killed.said}")
    print(f"{what}: killed before each of its {n - 1} changes", flush=True)
    return n - 1


def kill_at_random(scenario: Scenario, warden: Warden, score: Score) -> None:
    """Kill processes of their own at random moments, and every other time the one that heals as well."""
    window = min(scenario.kill(warden, fresh=True).seconds for _ in range(3))
    dice = random.Random(7)
    wanted = score.between + RANDOM_KILLS
    for n in _count():
        killed = scenario.kill(warden, fresh=True, kill_after=dice.uniform(0, window))
        if not killed.was_killed:
            continue  # it was faster than the measured ones
        if n % 2:
            scenario.kill_again(warden, kill_after=dice.uniform(0, window))
        score.judge(scenario, killed, f"random kill {n}")
        if score.between >= wanted:
            return


def _count() -> Iterator[int]:
    n = 0
    while True:
        yield (n := n + 1)


def main() -> None:
    """Run all of it and print the counts."""
    score = Score()
    with tempfile.TemporaryDirectory() as folder, Warden() as warden:
        week = make_scenario(Path(folder) / "week", land_week, land_long_history, SMALL_LIMITS)
        first = make_scenario(Path(folder) / "first", land_day, None)
        replay = make_scenario(Path(folder) / "replay", widen_contracts, load_what_needs_another_contract, work=REPLAY)
        kill_at_every(week, warden, score, "a load of nine kinds of files in batches", writes=True)
        kill_at_every(first, warden, score, "a first load, which makes the lake", writes=True)
        kill_at_every(replay, warden, score, "a replay of the quarantine", writes=True)
        exact = score.kills
        kill_at_random(week, warden, score)
    print(
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}: {score} ({exact} before each change in turn, {score.kills - exact} at "
        f"random; {time.monotonic() - score.started:.0f} s)"
    )
    sys.exit(bool(score.wrong))


if __name__ == "__main__":
    main()

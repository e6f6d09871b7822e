"""A loader killed at any instant does no harm, and two loaders at once do no more than one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from integration.crash import Warden, count_kinds, has_happened
from integration.crash_scenario import (
    REPLAY,
    Scenario,
    land_day,
    load_what_needs_another_contract,
    make_scenario,
    recover,
    widen_contracts,
)
from lakeops.errors import LockedError

RANDOM_KILLS = 60
# Most changes of a load into nothing create empty tables, one like the other, and a replay commits as a load does:
# here some of their changes are enough, `make crashtest` takes all.
STRIDE_OF_FIRST_LOAD = 9
STRIDE_OF_REPLAY = 4
WRITTEN_TABLES = (
    *(f"bronze/delta/{table}" for table in ("sales", "items", "items_changes", "clicks")),
    *(f"quarantine/delta/{table}" for table in ("sales", "items", "clicks")),
    *(f"ops/delta/{record}" for record in ("touched_keys", "manifest_processed_files")),
)
# One of eight holds the lock, and dawdles; the others have little patience, if `patience` says so.
CONTENDER = """
import sys, time
from lakeops import lakehouse
from lakeops.cli import main
patience = float(sys.argv.pop(1))
if patience:
    lakehouse.LOCK_PATIENCE_SECONDS = patience
    heal = lakehouse.heal_lake
    lakehouse.heal_lake = lambda *words: (time.sleep(5 * patience), heal(*words))[1]
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["lakeops", "load"]
main()
"""


@pytest.fixture(scope="module")
def warden() -> Iterator[Warden]:
    with Warden() as warden:
        yield warden


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return make_scenario(tmp_path_factory.mktemp("crash"), land_day)


def kill_at_every(scenario: Scenario, warden: Warden, start: int = 1, stride: int = 1) -> list[str]:
    """Kill before change `start`, then `stride` further, until a load runs through; returns the changes of that one."""
    for n in range(start, 10_000, stride):
        killed = scenario.kill(warden, kill_before=n)
        if not killed.was_killed:
            assert killed.status == 0, killed.said
            assert not recover(scenario).complaints
            return killed.changes
        where = f"killed before change {n}, {killed.changes[-1]}"
        assert (len(killed.changes), killed.done) == (n, n - 1), where
        assert not has_happened(scenario.project.root, killed.changes[-1]), where
        assert not recover(scenario).complaints, where
    raise AssertionError("a load of so few files does not make so many changes")


def test_killed_before_any_of_its_changes_a_load_is_finished_by_the_next_one(scenario, warden):
    changes = kill_at_every(scenario, warden)
    kinds = count_kinds(changes)
    # If these shrink, the scenario has lost what it is for.
    assert sum(kinds.values()) > 60
    assert min(kinds["openat"], kinds["linkat"] + kinds["renameat"] + kinds["rename"], kinds["unlink"]) > 10
    for table in WRITTEN_TABLES:
        assert any(f"lake/{table}/_delta_log/" in change for change in changes), table


def test_killed_while_it_makes_the_lake_a_first_load_is_finished_by_the_next_one(tmp_path, warden):
    scenario = make_scenario(tmp_path, land_day, history=None)
    changes = kill_at_every(scenario, warden, start=5, stride=STRIDE_OF_FIRST_LOAD)
    assert {change.split("/")[0].split(" ")[-1] for change in changes} >= {"lake", "duckdb"}


def test_killed_at_random_moments_nothing_is_lost_or_doubled(scenario, warden):
    window = scenario.kill(warden).seconds
    last = len(scenario.kill(warden).changes)
    dice = random.Random(3)
    kills = between = 0
    while kills < RANDOM_KILLS or between < RANDOM_KILLS * 5 // 6:
        after = dice.uniform(0, window)
        killed = scenario.kill(warden, kill_after=after)
        kills += killed.was_killed
        between += killed.was_killed and 0 < killed.done < last
        # The machine is faster or slower from one moment to the next: follow it, or the kills miss the load.
        window *= 1.02 if killed.was_killed else 0.9
        assert not recover(scenario).complaints, f"killed after {after:.4f} s and {killed.done} changes"
        assert kills < 10 * RANDOM_KILLS, f"only {between} of {kills} kills hit between first and last write"


@pytest.mark.parametrize(
    ("left_behind", "healed"),
    [("bronze/delta/items_changes", "brought up to date"), ("quarantine/delta/sales", "never committed taken out")],
)
def test_a_healing_load_can_be_killed_as_well(scenario, warden, left_behind, healed):
    changes = scenario.kill(warden).changes
    commit = max(n for n, change in enumerate(changes, 1) if f"{left_behind}/_delta_log/" in change)
    scenario.kill(warden, kill_before=commit + 1)
    healing = scenario.kill_again(warden)
    assert healed in healing.said
    for n in range(3, len(healing.changes) + 1, 3):
        scenario.kill(warden, kill_before=commit + 1)
        assert scenario.kill_again(warden, kill_before=n).was_killed
        assert not recover(scenario).complaints, f"healing killed before change {n}"


def test_a_replay_of_the_quarantine_can_be_killed_as_well(tmp_path, warden):
    scenario = make_scenario(tmp_path, widen_contracts, load_what_needs_another_contract, work=REPLAY)
    assert "replayed" in str(scenario.expected["duckdb"])
    changes = kill_at_every(scenario, warden, start=2, stride=STRIDE_OF_REPLAY)
    # The contract was widened too, and the tables are rewritten first.
    assert sum(change.startswith("linkat") and "bronze/delta/stock" in change for change in changes) > 3


@pytest.mark.parametrize("patience", [0.0, 1.0], ids=["patient", "impatient"])
def test_of_eight_loaders_at_once_one_loads(scenario, patience):
    """The patient wait until there is nothing left to do; the others leave, and name the one who is at work."""
    scenario.project.reset()
    root = scenario.project.root
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
    environment |= {"LAKEOPS_ROOT": str(root), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    eight = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(patience)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=root,
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in eight:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in eight:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process: process.communicate(timeout=120) for process in eight}
    # The landing zone holds a file that is refused and one that nobody claims: 11 is the code of a load that went well.
    loaded = [process for process in eight if process.returncode == 11]
    left = [process for process in eight if process.returncode == LockedError.exit_code]
    assert len(loaded) + len(left) == 8, [(process.returncode, said[process]) for process in eight]
    assert len(loaded) == (1 if patience else 8)
    for process in left:
        assert f"process {loaded[0].pid}, since " in said[process][1], said[process]
    assert not recover(scenario).complaints

"""The proof at length behind `make prove`: hundreds of sequences, others every time, and a build killed everywhere.

Prints a line per 15 sequences and, at the end, what was counted. Exits with 1 if anything differs,
after Hypothesis has looked for the shortest sequence that shows it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from warehouse.killed_builds import kill_builds
from warehouse.landings import Action, describe, sequences
from warehouse.plain_python import Shop
from warehouse.workshop import Workshop

SEQUENCES = 300
# As many a workshop carries out before it is made anew, and a line is printed.
PART = 15
MODELS_AT_LEAST = 20


def find_faults(actions: list[Action], results: list[dict[str, Any]]) -> list[str]:
    """Return what is not as it should be in what a sequence came to."""
    shop = Shop()
    faults: list[str] = []
    may_recompute = half_done = False
    rebuilt: set[str] = set()
    for number, (action, result) in enumerate(zip(actions, results, strict=True), start=1):
        words = {"load": 1, "undo": 2}.get(action[0])
        half_done = result.get("killed", False) if words else half_done
        # One that was to be killed may have come to its end before.
        shop.take_in(action if half_done else action[:words])
        told: list[Any] = []
        if action[0] == "build":
            if not may_recompute:
                # Else the incremental build would be a full one, and equal for that reason.
                told += [said for said in result.get("recomputed", []) if _get_cause(said) not in rebuilt]
            is_whole = action == ("build",) and not result.get("killed")
            may_recompute = action[3:] == (True,) or (may_recompute and not is_whole)
        elif action[0] == "rebuild":
            rebuilt |= {f"bronze.{action[1]} was rebuilt", f"bronze.{action[1]}_changes was rebuilt"}
        elif action[0] == "compare":
            told += [f"{table}: {row}" for table, rows in result["differing"].items() for row in rows]
            if result["tables"] < MODELS_AT_LEAST:
                told.append(f"only {result['tables']} tables were compared")
            # Of what was killed, nobody can say from the outside how far it got.
            if not half_done:
                told += find_wrong_sales(shop.compute_sales(), result["sales"])
        elif action[0] == "settle":
            told += [f"{table} changed, though nothing was new" for table in result["changed"]]
        faults += [f"action {number}, {action[0]}: {what}" for what in told]
    return faults


def _get_cause(said: str) -> str:
    """Return why a model recomputed every key, of `model: why, so every key is recomputed`."""
    return said.partition(": ")[2].partition(",")[0]


def find_wrong_sales(expected: list[list[object]], found: list[list[object]]) -> list[str]:
    """Return the rows that only one of the two has."""
    return [f"should be there: {row}" for row in expected if row not in found] + [
        f"should not be there: {row}" for row in found if row not in expected
    ]


def prove(share: int, start: int) -> Counter[str]:
    """Carry out so many sequences, drawn from a seed; returns what was counted.

    Raises
    ------
    AssertionError : something differed. The message holds the shortest sequence found that shows it.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="lakeops-prove-") as folder, Workshop(Path(folder)) as workshop:

        @seed(start)
        @settings(max_examples=share, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(sequences(workshop.models))
        def carry_out(actions: list[Action]) -> None:
            if not multiprocessing.parent_process().is_alive():
                os._exit(1)  # nobody waits for it any more
            results = workshop.run(actions)
            faults = find_faults(actions, results)
            assert not faults, "\n".join([*faults, "after", describe(actions)])
            counts["sequences"] += 1
            for (verb, *_), result in zip(actions, results, strict=True):
                counts[verb] += 1
                counts["killed"] += "killed" in result
                counts["rows"] += result.get("rows", 0)

        carry_out()
    return counts


def kill_everywhere() -> int:
    """Kill a build before each of its statements, and build again; returns how many builds were killed.

    Raises
    ------
    AssertionError : the build after a kill did not make good for it.
    """
    with tempfile.TemporaryDirectory(prefix="lakeops-prove-") as folder, Workshop(Path(folder)) as workshop:
        kills, faults = kill_builds(workshop, lambda statements: list(range(1, len(statements) + 1)))
        assert not faults, "\n".join(faults)
        return kills


def tell(counts: Counter[str]) -> str:
    """Say what was counted."""
    loads = sum(counts[verb] for verb in ("load", "reload", "rebuild", "replay"))
    mended = sum(counts[verb] for verb in ("undo", "go-back", "restore"))
    builds = counts["build"] + counts["settle"]
    return (
        f"{counts['sequences']} sequences, {counts['land']:,} landings, {loads:,} loads, {mended:,} undos "
        f"and restores, and {builds:,} builds "
        f"({counts['killed']:,} killed), {counts['compare']:,} full refreshes, {counts['rows']:,} rows compared"
    )


def main() -> None:
    """Share the work among all cores, and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="to see it again")
    parser.add_argument("--no-kills", dest="kills", action="store_false", help="only the sequences")
    wanted = parser.parse_args()
    workers = os.cpu_count() or 1
    started = time.monotonic()
    counts: Counter[str] = Counter()
    kills = differences = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        killing = pool.submit(kill_everywhere) if wanted.kills else None
        shares = [min(PART, wanted.sequences - begin) for begin in range(0, wanted.sequences, PART)]
        parts = [pool.submit(prove, share, wanted.seed + number) for number, share in enumerate(shares)]
        for part in parts:
            if error := part.exception():
                differences += 1
                print("\n".join([str(error), *getattr(error, "__notes__", [])]), file=sys.stderr)
                continue
            counts += part.result()
            print(tell(counts), flush=True)
        if killing and (error := killing.exception()):
            differences += 1
            print(error, file=sys.stderr)
        elif killing:
            kills = killing.result()
    minutes = (time.monotonic() - started) / 60
    print(
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}: {tell(counts)}, one build killed in {kills:,} places: {differences} "
        f"differences; seed {wanted.seed}, {workers} cores, {minutes:.0f} minutes"
    )
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()

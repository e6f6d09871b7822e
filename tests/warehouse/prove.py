"""The proof at length behind `make prove`: hundreds of drawn sequences, and a build killed before each statement.

It takes hours, so it is cut into parts of some ten minutes, each kept in `runbooks/records/prove.jsonl` when it is
done: stopped and typed again, it goes on with the parts that the code of today lacks. Prints a line per part and, at
the end, what was counted. Exits with 1 if anything differs, after Hypothesis has looked for the shortest sequence that
shows it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from conftest import ROOT
from warehouse.killed_builds import kill_builds
from warehouse.landings import Action, describe, sequences
from warehouse.plain_python import Shop
from warehouse.workshop import Workshop

RECORD = ROOT / "runbooks" / "records" / "prove.jsonl"
SEQUENCES = 300
# As many a workshop carries out before it is made anew.
PART = 15
# The kills of each part are so many statements apart.
KILL_PARTS = 10
MODELS_AT_LEAST = 20
# What a difference would be the fault of: what is proved, and what draws and carries out.
PROVED = ("dbt/macros", "dbt/models", "dbt/seeds", "dbt/dbt_project.yml", "scripts/lakeops", "constraints.txt")
PROVED_WITH = ("landings.py", "workshop.py", "killed_builds.py", "plain_python.py", "prove.py")


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
            rebuilt = set() if is_whole else rebuilt
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


def prove(start: int) -> Counter[str]:
    """Carry out a part's sequences, drawn from a seed; returns what was counted.

    Raises
    ------
    AssertionError : something differed. The message holds the shortest sequence found that shows it.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="lakeops-prove-") as folder, Workshop(Path(folder)) as workshop:

        @seed(start)
        @settings(max_examples=PART, database=None, deadline=None, suppress_health_check=list(HealthCheck))
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


def kill_everywhere(part: int) -> Counter[str]:
    """Kill a build before every so many-th of its statements, and build again; returns how many builds were killed.

    Raises
    ------
    AssertionError : the build after a kill did not make good for it.
    """
    with tempfile.TemporaryDirectory(prefix="lakeops-prove-") as folder, Workshop(Path(folder)) as workshop:
        kills, faults = kill_builds(workshop, lambda statements: list(range(1, len(statements) + 1))[part::KILL_PARTS])
        assert not faults, "\n".join(faults)
        return Counter(kills=kills)


def identify_code() -> str:
    """Return a name for what is proved, the same as long as none of it changes."""
    places = [ROOT / place for place in PROVED] + [Path(__file__).with_name(name) for name in PROVED_WITH]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    kept = sorted(file for file in files if file.suffix in (".py", ".sql", ".yml", ".csv", ".txt"))
    parts = (f"{file.relative_to(ROOT)}:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in kept)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def read_parts(code: str) -> list[dict[str, Any]]:
    """Return what was recorded of one state of the code, oldest first."""
    lines = RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []
    return [part for line in lines if (part := json.loads(line))["code"] == code]


def tell(parts: list[dict[str, Any]]) -> str:
    """Say what came of parts, all together."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part["counts"])
    loads = sum(counts[verb] for verb in ("load", "reload", "rebuild", "replay"))
    mended = sum(counts[verb] for verb in ("undo", "go-back", "restore"))
    builds = counts["build"] + counts["settle"]
    differences = sum(bool(part["fault"]) for part in parts)
    return (
        f"{counts['sequences']} sequences, {counts['land']:,} landings, {loads:,} loads, {mended:,} undos "
        f"and restores, {builds:,} builds ({counts['killed']:,} killed), {counts['compare']:,} full refreshes, "
        f"{counts['rows']:,} rows compared; one build killed in {counts['kills']:,} places: {differences} differences"
    )


def _wait(part: Future[Counter[str]]) -> tuple[Counter[str], str]:
    """Return what a part counted and what differed; raise what stopped it for another reason."""
    try:
        return part.result(), ""
    except (OSError, BrokenProcessPool):
        raise
    except Exception as error:
        return Counter(), "\n".join([str(error), *getattr(error, "__notes__", [])])


def main() -> None:
    """Share the parts that lack among all cores, keep what comes of each, and say what came of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="carry out one part that was recorded again, and record nothing")
    wanted = parser.parse_args()
    if wanted.seed is not None:
        print(dict(prove(wanted.seed)))
        return
    code = identify_code()
    parts = read_parts(code)
    lacking = SEQUENCES // PART - sum(part["seed"] is not None for part in parts)
    kills = set(range(KILL_PARTS)) - {part["kill_part"] for part in parts}
    drawn = random.SystemRandom()
    with ProcessPoolExecutor(os.cpu_count() or 1, multiprocessing.get_context("spawn")) as pool:
        seeds = [drawn.randrange(1 << 32) for _ in range(lacking)]
        running = {pool.submit(prove, start): {"seed": start, "kill_part": None} for start in seeds}
        running |= {pool.submit(kill_everywhere, part): {"seed": None, "kill_part": part} for part in sorted(kills)}
        for done in as_completed(running):
            counts, fault = _wait(done)
            at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            parts.append({"at": at, "code": code, **running[done], "counts": dict(counts), "fault": fault})
            with RECORD.open("a", encoding="utf-8") as record:
                record.write(json.dumps(parts[-1], sort_keys=True) + "\n")
            if fault:
                print(fault, file=sys.stderr)
            print(tell(parts), flush=True)
    days = sorted({part["at"][:10] for part in parts})
    print(f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, code {code}: {tell(parts)}")
    sys.exit(any(part["fault"] for part in parts))


if __name__ == "__main__":
    main()

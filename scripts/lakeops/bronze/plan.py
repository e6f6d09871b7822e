"""What a load would do with every file, from the landing zone and the ledger alone. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from lakeops.contract import Contract
from lakeops.judge import read_path_values
from lakeops.ledger import Ledger
from lakeops.raw import Landing

# What can come of a file. load: new. restate: same name, other bytes. seen: touched, same bytes.
# duplicate: other name, bytes that are live. held: bytes that somebody took out of bronze, wait to be asked for.
# refuse: must not even be opened. unclaimed: no contract. skip: unchanged.
ACTIONS = ("load", "restate", "seen", "duplicate", "held", "refuse", "unclaimed", "skip")
KNOWN_GOOD = ("loaded", "seen")
ASKED_FOR = "asked for again"
# Files of one place bring the same rows: table, hash, and what the folders that the contract reads say.
Place = tuple[str, str | None, tuple[str, ...]]


class Step(NamedTuple):
    """What a load does with one file.

    Parameters
    ----------
    landing : the file.
    action : one of ACTIONS.
    file_sha256 : hash of its bytes; None if it was not needed.
    reason : for a person.
    supersedes : rows of this file are in bronze and leave it.
    tied : the plan relies on another of its files, which brings or gives up the same bytes: both go into one commit.
    twin : a file with the same bytes in a folder that says something else. Where the file says all of it itself, which
        shows when it is read, their rows are the same.
    """

    landing: Landing
    action: str
    file_sha256: str | None = None
    reason: str = ""
    supersedes: bool = False
    tied: bool = False
    twin: str = ""


@dataclass(frozen=True)
class Plan:
    """All steps of a load, in the order of file names."""

    steps: tuple[Step, ...]

    def get_steps(self, *actions: str) -> list[Step]:
        """Return the steps with one of the given actions."""
        return [step for step in self.steps if step.action in actions]

    @property
    def changes_lake(self) -> bool:
        """Tell whether a run of this plan offers anything to bronze."""
        return any(step.action in ("load", "restate") or step.supersedes for step in self.steps)


def list_candidates(landings: list[Landing], ledger: Ledger) -> list[Landing]:
    """Return the files whose bytes must be looked at: all that are claimed, and new or changed since they were."""
    return [
        landing
        for landing in landings
        if landing.contract is not None and not landing.refusal and not _is_unchanged(landing, ledger)
    ]  # fmt: skip


def _is_unchanged(landing: Landing, ledger: Ledger) -> bool:
    last = ledger.latest.get(landing.source_file)
    return last is not None and last.stat_key == landing.stat_key and last.file_sha256 is not None


def _skip_settled(landing: Landing, ledger: Ledger, fingerprints: dict[str, str]) -> Step | None:
    """Return the step of a file that is as it was when its rows, which are in bronze now, were loaded; else None."""
    last, live = ledger.latest.get(landing.source_file), ledger.get_live(landing.source_file)
    if (
        last is None
        or live is None
        or last.status not in KNOWN_GOOD
        or last.stat_key != landing.stat_key
        or last.file_sha256 is None
        or landing.contract is None
        or landing.contract.table != live.table_name
        or landing.refusal
    ):
        return None
    sha = fingerprints.get(landing.source_file, last.file_sha256)
    return Step(landing, "skip", sha, "same bytes as loaded") if sha == live.file_sha256 else None


def plan_load(
    landings: list[Landing],
    ledger: Ledger,
    fingerprints: dict[str, str],
    *,
    reload: Collection[str] = (),
    limit: int | None = None,
) -> Plan:
    """Decide what to do with every file.

    Parameters
    ----------
    landings : the landing zone, in the order of file names.
    ledger : what is known of every file.
    fingerprints : hash by source_file, for at least `list_candidates(landings, ledger)`.
    reload : source_files to load again although their bytes are in bronze.
    limit : load at most so many files, restated ones first and then by name; the others wait for another run, as if
        nothing had come of them.
    """
    # Most files, on most nights: of them nothing need be asked but this.
    settled = {
        landing.source_file: step
        for landing in landings
        if landing.source_file not in reload and (step := _skip_settled(landing, ledger, fingerprints))
    }
    others = [landing for landing in landings if landing.source_file not in settled]
    known = {landing.source_file: _get_hash(landing, ledger, fingerprints) for landing in others}
    held = _find_held(others, ledger, known, reload)
    restated = {
        landing.source_file
        for landing in others
        if landing.contract
        and not landing.refusal
        and landing.source_file not in held
        and (live := ledger.get_live(landing.source_file))
        and live.table_name == landing.contract.table
        and (live.file_sha256 != known[landing.source_file] or landing.source_file in reload)
    }
    contracts = {landing.contract.table: landing.contract for landing in others if landing.contract}
    places = {
        landing.source_file: _get_place(landing.contract, landing.source_file, known[landing.source_file])
        for landing in others
        if landing.contract
    }
    # Bytes that lie here, are in bronze now and stay there; loads of this plan join them as it goes along.
    lying = set(known.values())
    staying = {
        _get_place(contract, entry.source_file, entry.file_sha256): entry.source_file
        for entry in ledger.iter_live()
        if entry.file_sha256 in lying
        and entry.source_file not in restated
        and (contract := contracts.get(entry.table_name))
    }
    live_bytes = dict(staying)
    twins = {(table, sha): name for (table, sha, _), name in staying.items()}
    steps = []
    for landing in landings:
        if step := settled.get(landing.source_file):
            steps.append(step)
            continue
        if landing.refusal:
            steps.append(Step(landing, "refuse", reason=landing.refusal))
            continue
        if landing.contract is None:
            steps.append(Step(landing, "unclaimed", reason="no contract's load.files matches it"))
            continue
        name, sha = landing.source_file, known[landing.source_file]
        last = ledger.latest.get(name)
        unchanged = _is_unchanged(landing, ledger)
        live = ledger.get_live(name)
        if live and live.table_name != landing.contract.table:
            steps.append(Step(landing, "refuse", sha, _explain_other_table(name, live.table_name)))
            continue
        if live and live.file_sha256 == sha and name not in reload:
            steps.append(Step(landing, "seen", sha, "same bytes as loaded"))
            continue
        if name in held:
            waits = unchanged and last is not None and last.status in ("undone", "held")
            steps.append(Step(landing, "skip" if waits else "held", sha, held[name]))
            continue
        place = places[name]
        twin = live_bytes.get(place)
        if landing.contract.load.mode == "append" and twin not in (None, name):
            action = "skip" if unchanged and last and last.status == "duplicate" else "duplicate"
            steps.append(Step(landing, action, sha, f"same bytes as {twin}", supersedes=name in restated))
        else:
            action = "restate" if name in restated else "load"
            reason = "same name, other bytes" if action == "restate" else "new"
            reason = ASKED_FOR if name in reload else reason
            if unchanged and last and last.status == "refused":
                reason = f"refused before ({last.reason}), tried again"
            twin = twins.setdefault(place[:2], name) if landing.contract.load.mode == "append" else name
            if unchanged and last and (last.status, last.reason) == ("duplicate", explain_copy(twin)):
                steps.append(Step(landing, "skip", sha, explain_copy(twin)))
                continue
            twin = "" if twin == name else twin
            steps.append(Step(landing, action, sha, reason, supersedes=name in restated, twin=twin))
            live_bytes[place] = name
    offered = [step for step in steps if step.action in ("load", "restate")]
    if limit is not None and len(offered) > limit:
        # Restated ones first: a file that waits for another to give up its bytes must not hold that one up.
        waiting = sorted(offered, key=lambda step: not step.supersedes)[limit:]
        coming = {places[step.landing.source_file] for step in waiting}
        waiting += [s for s in steps if s.action == "duplicate" and places[s.landing.source_file] in coming]
        names = {step.landing.source_file for step in waiting}
        rest = [landing for landing in landings if landing.source_file not in names]
        return plan_load(rest, ledger, fingerprints, reload=reload, limit=limit)
    return Plan(tuple(_tie(steps, ledger, places, staying)))


def plan_without(steps: list[Step], refused: Collection[str], ledger: Ledger) -> list[Step]:
    """Decide again what to do with the files of one commit, now that some of them turned out to be refused.

    What a refused file was to bring does not come, and what it was to give up stays.

    Parameters
    ----------
    steps : the files of the commit as planned.
    refused : source_files among them.
    ledger : what is known of every file, without this commit.
    """
    others = [step for step in steps if step.landing.source_file not in refused]
    plan = plan_load(
        [step.landing for step in others],
        ledger,
        {step.landing.source_file: step.file_sha256 for step in others if step.file_sha256},
        reload={step.landing.source_file for step in others if step.reason == ASKED_FOR},
    )
    return plan.get_steps("load", "restate", "duplicate")


def _find_held(
    landings: list[Landing], ledger: Ledger, known: dict[str, str | None], reload: Collection[str]
) -> dict[str, str]:
    """Return the files whose bytes somebody took out of bronze, with why they wait: they come back if asked for."""
    held = {}
    for landing in landings:
        name = landing.source_file
        if landing.contract is None or landing.refusal or name in reload:
            continue
        get_said = partial(_get_said, landing.contract) if landing.contract.load.mode == "append" else None
        if twin := ledger.find_undone(name, landing.contract.table, known[name], get_said):
            whose = "" if twin == name else f" of {twin}"
            held[name] = f"bytes{whose} that were taken out of bronze; lakeops load --reload brings them back"
    return held


def _get_said(contract: Contract, source_file: str) -> tuple[str, ...]:
    """Return what a file's folders say of its rows; by values alone, for a folder may have two names (order_dt, dt)."""
    if not contract.load.folders:
        return ()
    values = read_path_values(source_file)
    return tuple(value for name in contract.load.folders if (value := values.get(name)) is not None)


def _get_place(contract: Contract, source_file: str, sha: str | None) -> Place:
    return (contract.table, sha, _get_said(contract, source_file))


def explain_copy(twin: str) -> str:
    """Return why a file is a copy of its twin, although their folders differ."""
    return f"same bytes as {twin}, and the file says itself what its folders could"


def _explain_other_table(source_file: str, table: str | None) -> str:
    file = shlex.quote(source_file)
    return (
        f"other_table: its rows are in {table}; lakeops undo --file {file} --reason … takes them out there, then "
        f"lakeops load --reload {file} --reason … brings them here; of a table that has another name now, see the page"
    )


def _tie(steps: list[Step], ledger: Ledger, places: dict[str, Place], staying: Collection[Place]) -> Iterable[Step]:
    """Mark the steps that are right only if another step of the plan comes to what it was planned for."""
    moving = [
        step
        for step in steps
        if step.action in ("load", "restate", "duplicate") and step.landing.contract.load.mode == "append"
    ]
    coming = Counter(place for step in moving if (place := places[step.landing.source_file]) not in staying)
    leaving = {}
    for step in moving:
        name = step.landing.source_file
        if step.supersedes and (live := ledger.get_live(name)):
            leaving[_get_place(step.landing.contract, name, live.file_sha256)] = name
    tied = {step.landing.source_file for step in moving if coming[places[step.landing.source_file]] > 1}
    for step in moving:
        name = step.landing.source_file
        loser = leaving.get(places[name])
        if loser not in (None, name):
            tied |= {name, loser}
    return [step._replace(tied=True) if step.landing.source_file in tied else step for step in steps] if tied else steps


def _get_hash(landing: Landing, ledger: Ledger, fingerprints: dict[str, str]) -> str | None:
    if landing.source_file in fingerprints:
        return fingerprints[landing.source_file]
    last = ledger.latest.get(landing.source_file)
    return last.file_sha256 if last else None

"""Load, then dbt, then tests, then publish, in that order; and what happens when one of them fails."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lakeops.bronze import (
    LoadOutcome,
    Plan,
    Replay,
    check_tables,
    commit_load,
    discard_quarantine,
    distrust_models,
    get_next_batch,
    list_candidates,
    replay_quarantine,
    write_off,
)
from lakeops.bronze import plan_load as make_plan
from lakeops.bronze.tables import get_rebuild_mark, get_truth
from lakeops.console import say, show_progress
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import append, open_table, scan_table
from lakeops.errors import (
    DbtError,
    LakeopsError,
    RawFileRefusedError,
    StaleDataError,
    UsageError,
    get_exit_code,
)
from lakeops.lakehouse import open_lake
from lakeops.ledger import Entry, Ledger, load_ledger, make_frame
from lakeops.maintenance import Operation, check_reason, record_operations
from lakeops.paths import make_file_identity
from lakeops.raw import Landing, check_raw, compute_fingerprint, list_landings, make_landing
from lakeops.settings import Settings

if TYPE_CHECKING:
    from lakeops.alerts import Run
    from lakeops.publish import Published
    from lakeops.warehouse import DbtOutcome, Explained

# Unit tests prove the models' logic on rows of their own: they belong to `make test`, not to a day's data.
TEST_DATA = ("test", "--store-failures", "--exclude-resource-type", "unit_test")
BUILD = ("run", "--select", "tag:incremental")
# The demo's week, 2024-03-25 to 31, arrives as a week does: not all at once.
DEMO_LANDINGS = ((dt.date(2024, 3, 25), 3), (dt.date(2024, 3, 28), 2), (dt.date(2024, 3, 30), 2))
DEMO_SEED = 42
# A first load of a long history may have many; all of them are in data_anomalies.
ANOMALIES_SAID = 10


@dataclass(frozen=True)
class Selection:
    """Which files a load looks at, and how.

    Parameters
    ----------
    only : a table's name; None for all.
    reload : files to load again although their bytes are known, or were taken out by hand.
    reason : why files are loaded again; needed with `reload`.
    limit_files : at most so many files are loaded; None for all.
    since : only files changed at or after this moment.
    verify : read every file's bytes, also of those that look unchanged.
    rebuild : a table to load again whole, from what its raw files hold now; None for none.
    lost : tables that may be gone meanwhile, since they are rebuilt next.
    root : the project's root.
    """

    only: str | None = None
    reload: tuple[Path, ...] = ()
    reason: str = ""
    limit_files: int | None = None
    since: dt.datetime | None = None
    verify: bool = False
    rebuild: str | None = None
    lost: tuple[str, ...] = ()
    root: Path = Path()


EVERYTHING = Selection()


@dataclass
class IncrementalOutcome:
    """What one run of the main job did.

    Parameters
    ----------
    published : what readers see from now on; empty where nothing was to be built; None where the gate stayed closed.
    stale : sources whose newest load is older than their contract allows, each with how old it is.
    publishes : what passes goes to readers; else they may see already what is found wrong.
    """

    loads: list[LoadOutcome]
    steps: list[DbtOutcome] = field(default_factory=list)
    published: list[Published] | None = None
    stale: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    publishes: bool = True

    def add_seconds(self, **spent: float) -> None:
        """Add to the seconds spent by step."""
        for name, seconds in spent.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def run_load(settings: Settings, selection: Selection = EVERYTHING) -> LoadOutcome:
    """Bring what lies in the landing zone into bronze.

    Parameters
    ----------
    selection : which files to look at, and how.

    Raises
    ------
    LakeopsError : of the kind that says what went wrong. Refused files are not raised, but named in the outcome.
    """
    check_raw(settings.raw)
    if selection.reload:
        check_reason(selection.reason)
    with open_lake(settings, [*selection.lost, selection.rebuild or ""]) as (contracts, ledger):
        # Not before the lock is held: whoever had it may have loaded, or the sender moved, what lay there.
        landings = list_landings(settings.raw, contracts.tables, settings.root)
        if selection.rebuild:
            _refuse_to_look_away(landings)
            landings += _list_elsewhere(settings, landings, contracts.get_table(selection.rebuild), ledger)
        plan = _plan(_take_sample(landings, settings.sample_files), contracts, ledger, selection)
        run_id = _make_run_id()
        rebuilt = contracts.get_table(selection.rebuild) if selection.rebuild else None
        if rebuilt:
            first = get_next_batch(settings.lake, contracts)
            distrust_models(settings.lake, contracts, rebuilt, first)
        with show_progress("loading", len(plan.get_steps("load", "restate"))) as advance:
            outcome = commit_load(
                plan,
                settings.lake,
                contracts,
                ledger,
                run_id=run_id,
                clock=_now,
                on_file=advance,
            )
        # Not before: only now is it known what could be loaded.
        if rebuilt and (lost := _find_lost(settings, rebuilt, ledger, plan, outcome, first)):
            outcome.batches.append(write_off(settings.lake, contracts, ledger, lost, run_id=run_id, now=_now()))
            outcome.lost = [(entry.source_file, entry.rows_accepted, why) for entry, why in lost]
        if selection.reload:
            operations = _describe_reload(ledger, selection, run_id)
            record_operations(settings.lake, contracts, operations, _now())
        return outcome


def run_rebuild(settings: Settings, tables: list[str], reason: str) -> list[LoadOutcome]:
    """Load bronze tables again, whole, from what their raw files hold now; they may be damaged or gone.

    What lies there and cannot be read is moved aside first. Named in the outcome's `lost` are files whose raw is gone,
    and refused ones of which bronze has not all rows any more.

    Raises
    ------
    LakeopsError : of the kind that says what went wrong.
    """
    from lakeops.recovery.repair import move_unreadable_aside

    contracts = load_contracts(settings.models)
    settings = replace(settings, sample_files=None)  # what a sample leaves out would be given up as lost
    names = tuple(contracts.get_table(table).name for table in tables)
    check_raw(settings.raw)
    for name in names:
        move_unreadable_aside(settings.lake, contracts.get_table(name))
    outcomes = []
    for name in names:
        started = time.monotonic()
        outcome = run_load(settings, Selection(rebuild=name, lost=names, root=settings.root))
        operation = Operation(
            "rebuild",
            table_name=name,
            reason=reason,
            batch_id=max(outcome.batches, default=None),
            rows_added=sum(tally.rows_accepted for tally in outcome.tables.values()),
            details={"lost": [{"file": file, "rows": rows, "why": why} for file, rows, why in outcome.lost]},
            seconds=time.monotonic() - started,
        )
        record_operations(settings.lake, contracts, [operation], _now())
        outcomes.append(outcome)
        if outcome.lost:  # a copy of one, under another name, was its duplicate until now
            more = run_load(settings, Selection(only=name, lost=names, root=settings.root))
            outcomes += [more] if more.batches else []
        get_rebuild_mark(settings.lake, contracts.get_table(name)).unlink(missing_ok=True)
    return outcomes


def run_rebuild_warehouse(settings: Settings, reason: str | None) -> IncrementalOutcome:
    """Throw the warehouse away, and make it and what readers open anew from the lake; loads nothing.

    Returns
    -------
    What was done; the caller shows it and then calls `raise_if_failed`.

    Raises
    ------
    LakeopsError : of the kind that says what went wrong.
    """
    from lakeops.warehouse import drop_warehouse

    started = time.monotonic()
    with record_run(settings, "rebuild") as outcome:
        contracts = load_contracts(settings.models)
        check_tables(settings.lake, contracts, load_ledger(settings.lake))
        drop_warehouse(settings.warehouse)
        with open_lake(settings):
            pass
        build_and_publish(settings, outcome)
        operation = Operation(
            "rebuild", reason=reason, details={"what": "warehouse"}, seconds=time.monotonic() - started
        )
        record_operations(settings.lake, contracts, [operation], _now())
    return outcome


def _list_elsewhere(settings: Settings, landings: list[Landing], contract: Contract, ledger: Ledger) -> list[Landing]:
    """Return the files of a table that were loaded from other raw folders and are still there."""
    here = {landing.source_file for landing in landings}
    found = []
    for entry in ledger.iter_live():
        path = settings.root / entry.source_file
        if entry.table_name == contract.table and entry.source_file not in here and path.is_file():
            found.append(make_landing(path, entry.source_file, contract))
    return found


def _describe_reload(ledger: Ledger, selection: Selection, run_id: str) -> list[Operation]:
    """Return what was loaded again because somebody asked for it, for the record: an operation a file."""
    asked = sorted(make_file_identity(path.absolute(), selection.root) for path in selection.reload)
    loaded = [entry for name in asked if (entry := ledger.latest.get(name)) and entry.run_id == run_id]
    return [
        Operation(
            "reload",
            entry.table_name,
            selection.reason.strip(),
            batch_id=entry.batch_id,
            version_after=entry.bronze_version,
            rows_added=entry.rows_accepted,
            details={"file": entry.source_file, "status": entry.status},
            seconds=entry.seconds,
        )
        for entry in loaded
    ]


def _refuse_to_look_away(landings: list[Landing]) -> None:
    if blocked := [landing.source_file for landing in landings if landing.refusal.startswith("no_access")]:
        raise UsageError(
            "Not all of the landing zone may be read: the rows of files in there would be given up as lost.",
            where=", ".join(blocked[:5]),
            next_step="let this account read it, then run the command again",
        )


def _find_lost(
    settings: Settings, contract: Contract, ledger: Ledger, plan: Plan, outcome: LoadOutcome, first: int
) -> list[tuple[Entry, str]]:
    """Return the files of a rebuilt table that were not loaded again, each with why.

    A refused file is none of them if all of its old rows are there: as after any load, they stay.

    Parameters
    ----------
    first : the first batch that a file can have been loaded again by.
    """
    here, refused = {step.landing.source_file for step in plan.steps}, dict(outcome.refused)
    rows = scan_table(open_table(get_truth(settings.lake, contract))).group_by("_source_file").len().collect()
    held = dict(rows.iter_rows())
    lost = []
    for entry in ledger.iter_live():
        name = entry.source_file
        if entry.table_name != contract.table or (entry.rows_batch or 0) >= first:
            continue
        if name not in here:
            is_there = (settings.root / name).is_file()
            lost.append((entry, "its contract no longer claims the raw file" if is_there else "the raw file is gone"))
        elif held.get(name, 0) != entry.rows_accepted + ledger.count_replayed(name):
            lost.append((entry, refused.get(name, "the raw file was not loaded")))
    return lost


def plan_load(settings: Settings, selection: Selection = EVERYTHING) -> Plan:
    """Return the very plan that `run_load` would carry out, and change nothing."""
    contracts = load_contracts(settings.models)
    landings = list_landings(settings.raw, contracts.tables, settings.root)
    sample = _take_sample(landings, settings.sample_files)
    return _plan(sample, contracts, load_ledger(settings.lake), selection)


def run_replay(settings: Settings, table: str | None, file: str | None) -> list[Replay]:
    """Judge quarantined records again by the contracts of today, and commit those that keep them now."""
    with open_lake(settings) as (contracts, ledger):
        _check_table(contracts, table)
        return list(
            replay_quarantine(
                settings.lake,
                contracts,
                ledger,
                settings.root,
                table=table,
                file=file,
                run_id=_make_run_id(),
                first_batch=get_next_batch(settings.lake, contracts),
                now=_now(),
            )
        )


def run_discard(settings: Settings, table: str | None, file: str | None, reason: str) -> int:
    """Close quarantined records without loading them; returns how many."""
    reason = check_reason(reason)
    with open_lake(settings) as (contracts, ledger):
        _check_table(contracts, table)
        count = discard_quarantine(settings.lake, contracts, ledger, table, file, reason, _now())
        details = {"records": count, **({"file": file} if file else {})}
        operations = [Operation("discard", table, reason, details=details)] if count else []
        record_operations(settings.lake, contracts, operations, _now())
        return count


def _check_table(contracts: Contracts, table: str | None) -> None:
    if table is not None:
        contracts.get_table(table)


def _make_run_id() -> str:
    return f"{_now():%Y%m%dT%H%M%S}-{os.getpid()}"


def _take_sample(landings: list[Landing], files: int | None) -> list[Landing]:
    """Return of each table only the last files by name, for work on models that needs no whole history."""
    if files is None:
        return landings
    kept: dict[str, list[Landing]] = {}
    for landing in landings:
        kept.setdefault(landing.contract.name if landing.contract else "", []).append(landing)
    sample = {landing.source_file for own in kept.values() for landing in own[-files:]}
    return [landing for landing in landings if landing.source_file in sample]


def _plan(landings: list[Landing], contracts: Contracts, ledger: Ledger, selection: Selection) -> Plan:
    from concurrent.futures import ThreadPoolExecutor

    if selection.rebuild or selection.only:
        contract = contracts.get_table(selection.rebuild or selection.only)
        landings = [landing for landing in landings if landing.contract == contract]
    if selection.since is not None:
        since = selection.since.timestamp() * 1e9
        landings = [landing for landing in landings if landing.mtime_ns >= since]
    again = {make_file_identity(path.absolute(), selection.root) for path in selection.reload}
    unknown = sorted(again - {landing.source_file for landing in landings})
    if unknown:
        raise UsageError(
            "A file to reload is not in the landing zone.",
            where=", ".join(unknown),
            next_step="name files below the raw folder, as they lie there (see: lakeops load --dry-run)",
        )
    if selection.rebuild:
        again = {landing.source_file for landing in landings if ledger.get_live(landing.source_file)}
    candidates = landings if selection.verify else list_candidates(landings, ledger)
    candidates = [landing for landing in candidates if landing.contract is not None and not landing.refusal]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip((c.source_file for c in candidates), pool.map(_try_fingerprint, candidates), strict=True))
    # Between the listing and now, its sender may have moved one: the next run finds it where it is then.
    landings = [one for one in landings if not isinstance(found.get(one.source_file), FileNotFoundError)]
    # One file that cannot be read must not keep all others out.
    unreadable = {name: f"no_access: {error.strerror}" for name, error in found.items() if isinstance(error, OSError)}
    if unreadable:
        landings = [one._replace(refusal=unreadable.get(one.source_file, one.refusal)) for one in landings]
    fingerprints = {name: sha for name, sha in found.items() if name not in unreadable}
    return make_plan(landings, ledger, fingerprints, reload=again, limit=selection.limit_files)


def _try_fingerprint(landing: Landing) -> str | OSError:
    try:
        return compute_fingerprint(landing.path)
    except OSError as error:
        return error


def raise_if_refused(outcome: LoadOutcome) -> None:
    """Raise RawFileRefusedError if a load left files out; everything else is loaded by then."""
    if not outcome.refused and not outcome.unclaimed:
        return
    files = [f"{name}: {reason}" for name, reason in outcome.refused]
    files += [f"{name}: no contract claims it" for name in outcome.unclaimed]
    raise RawFileRefusedError(
        f"{len(files)} raw file(s) were not loaded; all others were.",
        where="\n            ".join(files[:20]) + ("\n            …" if len(files) > 20 else ""),
        expected="files that keep their contract, or names that begin with _ for what is no data",
        next_step="mend or remove the file, or write a contract for it in dbt/models/bronze/, then run again",
    )


def run_incremental(settings: Settings) -> IncrementalOutcome:
    """Load, build what is tagged incremental, test with stored failures, publish what passed.

    Returns
    -------
    What was done; the caller shows it and then calls `raise_if_failed`.
    """
    with record_run(settings, "incremental") as outcome:
        started = time.monotonic()
        outcome.loads.append(run_load(settings))
        outcome.add_seconds(load=time.monotonic() - started)
        build_and_publish(settings, outcome)
    return outcome


@contextmanager
def record_run(settings: Settings, command: str) -> Iterator[IncrementalOutcome]:
    """Give a run of the main job an outcome to fill in; keep in `pipeline_runs` what came of it, and alert people.

    So it is also for a run that stops half-way. That neither can be done is said, and changes nothing else.
    """
    outcome, began, started = IncrementalOutcome([]), _now(), time.monotonic()
    problem: BaseException | None = None
    try:
        yield outcome
        problem = find_problem(settings, outcome)
    except BaseException as error:
        problem = error
        raise
    finally:
        if not isinstance(problem, KeyboardInterrupt):  # whoever stopped it knows
            _tell_of_run(settings, command, began, time.monotonic() - started, outcome, problem)


def _tell_of_run(
    settings: Settings,
    command: str,
    began: dt.datetime,
    seconds: float,
    outcome: IncrementalOutcome,
    problem: BaseException | None,
) -> None:
    from lakeops.alerts import Run, raise_alerts

    run = Run(
        run_id=f"{began:%Y%m%dT%H%M%S}-{os.getpid()}",
        exit_code=get_exit_code(problem) if problem else 0,
        problem=(str(problem).splitlines() or [type(problem).__name__])[0][:500] if problem else None,
        refused=_list_refused(outcome) if outcome.loads else None,
        raw=make_file_identity(settings.raw, settings.root) if settings.sample_files is None else None,
        batches=tuple(batch for load in outcome.loads for batch in load.batches),
        # It is not asked to where nothing is new.
        ran_dbt=bool(outcome.steps) or outcome.published is not None,
        is_published=outcome.published is not None,
        command=command,
    )
    try:
        _append_run(settings, command, began, seconds, outcome, run)
    except (LakeopsError, OSError) as error:
        say(f"warning: this run is missing in pipeline_runs: {' '.join(str(error).split())[:300]}")
    try:
        raise_alerts(settings, run, _now())
    except Exception as error:  # a bug in telling must not hide what there was to tell
        say(f"warning: alerts could not be raised: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _list_refused(outcome: IncrementalOutcome) -> tuple[tuple[str, str], ...]:
    files = {name: reason for load in outcome.loads for name, reason in load.refused}
    files |= {name: "no contract claims it" for load in outcome.loads for name in load.unclaimed}
    return tuple(sorted(files.items()))


def _append_run(
    settings: Settings, command: str, began: dt.datetime, seconds: float, outcome: IncrementalOutcome, run: Run
) -> None:
    path = settings.lake.ops("pipeline_runs")
    if not (path / "_delta_log").is_dir():  # the run did not come as far as making the lake
        return
    tests = next((step for step in outcome.steps if step.command == "test"), None)
    row = {
        "run_id": run.run_id,
        "command": command,
        "started_at": began,
        "seconds": seconds,
        **{f"{step}_seconds": outcome.seconds.get(step) for step in ("load", "build", "test", "publish")},
        "rows_read": sum(tally.rows_read for load in outcome.loads for tally in load.tables.values()),
        "tests": sum(tests.counts.values()) if tests else None,
        "is_published": run.is_published,
        "exit_code": run.exit_code,
        "problem": run.problem,
    }
    append(path, make_frame(load_contracts(settings.models).get_record("pipeline_runs"), [row]), 0)


def run_demo(settings: Settings) -> IncrementalOutcome:
    """Generate a week, land it in three loads, and run the main job on it. Again, it changes nothing that is right.

    Returns
    -------
    What the main job did, its load being that of all three.
    """
    from lakeops.generate import DEFAULT_SCALE, generate_data

    contracts = load_contracts(settings.models)
    with record_run(settings, "demo") as outcome:
        for first, days in DEMO_LANDINGS:
            started = time.monotonic()
            generate_data(contracts, settings.raw, DEMO_SEED, first, days, DEFAULT_SCALE)
            generated = time.monotonic()
            say(f"landed {days} day(s) from {first} in {settings.raw.name}/")
            outcome.loads.append(run_load(settings))
            outcome.add_seconds(generate=generated - started, load=time.monotonic() - generated)
        build_and_publish(settings, outcome)
    return outcome


def build_and_publish(settings: Settings, outcome: IncrementalOutcome) -> None:
    """Build the models, test them, and publish gold if every test held; notes what was done in `outcome`.

    What a failing test would have let through stays in the warehouse: readers keep the last good version, and the next
    run in which the tests hold publishes it.
    """
    from lakeops.publish import publish_gold
    from lakeops.standing import describe_inputs, is_standing, remember_standing

    inputs = describe_inputs(settings, load_contracts(settings.models))
    if is_standing(settings, inputs):
        outcome.published = []
    elif (revisions := _build_and_test(settings, outcome)) is not None:
        started = time.monotonic()
        outcome.published = publish_gold(settings, revisions)
        with _warn_of("the next run builds all of it again"):
            remember_standing(settings, inputs)
        outcome.add_seconds(publish=time.monotonic() - started)
    if outcome.published is not None:
        outcome.stale = _find_stale(settings)
    if outcome.published is not None and any(load.batches for load in outcome.loads):
        started = time.monotonic()
        with _warn_of("table_partitions is not up to date"):
            record_pruning(settings, load_contracts(settings.models))
        outcome.add_seconds(explain=time.monotonic() - started)
    _record_quality(settings, outcome)


def _build_and_test(settings: Settings, outcome: IncrementalOutcome) -> dict[str, int] | None:
    """Build and test; returns the revisions of the models that were tested, None if not all of it held."""
    from lakeops.publish import read_revisions
    from lakeops.warehouse import run_dbt

    say(f"dbt {' '.join(BUILD)}; dbt {' '.join(TEST_DATA)} …")
    revisions: dict[str, int] = {}
    for name, step in zip(("build", "test"), run_dbt(settings, BUILD, TEST_DATA, test_scope="new"), strict=True):
        outcome.steps.append(step)
        outcome.add_seconds(**{name: step.seconds})
        if step.failed:
            return None
        revisions = revisions or read_revisions(settings)
    return revisions


def _record_quality(settings: Settings, outcome: IncrementalOutcome) -> None:
    """Keep what the new days look like and the day's metrics, whatever came of the tests."""
    from lakeops.publish import publish_metrics
    from lakeops.quality import judge_new_days, profile_new_days

    started = time.monotonic()
    contracts = load_contracts(settings.models)
    with _warn_of("quality metrics are not up to date"):
        profile_new_days(settings, contracts, _now())
        unusual = judge_new_days(settings, contracts, _now())
        for sentence in unusual[:ANOMALIES_SAID]:
            say(f"anomaly: {sentence}")
        if len(unusual) > ANOMALIES_SAID:
            say(f"{len(unusual) - ANOMALIES_SAID} more: lakeops quality sql anomalies")
        publish_metrics(settings)
    outcome.add_seconds(quality=time.monotonic() - started)


@contextmanager
def _warn_of(lack: str) -> Iterator[None]:
    """Warn where a step fails of which the run itself is none the worse: the next run catches up on it."""
    try:
        yield
    except LakeopsError as error:
        say(f"warning: {lack}: {' '.join(str(error).split())[:300]}")


def _find_stale(settings: Settings) -> list[str]:
    from lakeops.facts import collect_status

    contracts = load_contracts(settings.models)
    facts = collect_status(settings.lake, contracts.tables, load_ledger(settings.lake), _now())
    return [f"{f['table']}: last load {f['hours_since_load']} h ago" for f in facts if f["freshness"] == "stale"]


def run_build(settings: Settings) -> IncrementalOutcome:
    """Build, test and publish from bronze as it is; nothing is loaded.

    Returns
    -------
    What was done; the caller shows it and then calls `raise_if_failed`.
    """
    with record_run(settings, "build") as outcome:
        build_and_publish(settings, outcome)
    return outcome


def run_data_tests(settings: Settings) -> IncrementalOutcome:
    """Run every test on every row; the main job reads only what is new.

    Returns
    -------
    What was done; the caller shows it and then calls `raise_if_failed`.
    """
    from lakeops.warehouse import run_dbt

    say(f"dbt {' '.join(TEST_DATA)} …")
    with record_run(settings, "test-data") as outcome:
        outcome.publishes = False
        (step,) = run_dbt(settings, TEST_DATA)
        outcome.steps.append(step)
        outcome.add_seconds(test=step.seconds)
        _record_quality(settings, outcome)
    return outcome


def run_prune(settings: Settings) -> dict[str, int]:
    """Delete rows of the lake's records that are older than their retention; returns how many, by record."""
    from lakeops.quality import prune_records

    with open_lake(settings) as (contracts, _):
        return prune_records(settings.lake, contracts, _now())


def record_pruning(settings: Settings, contracts: Contracts) -> None:
    """Explain a query for the newest day of every table, and keep what it read in `table_partitions`."""
    import polars as pl

    from lakeops.delta import replace_rows
    from lakeops.warehouse import connect, explain_newest_day

    with connect(settings.warehouse) as connection:
        frames = [explain_newest_day(connection, settings.lake, c, contracts, _now()) for c in contracts.tables]
    replace_rows(settings.lake.ops("table_partitions"), pl.concat(frames))


def run_explain(settings: Settings, query: str) -> Explained:
    """Run a query and tell what it read; `table_partitions` then holds its files, and no others.

    Raises
    ------
    UsageError : it is no single SELECT, or cannot be run.
    LockedError : another process holds the warehouse or the lake.
    """
    from lakeops.delta import replace_rows
    from lakeops.lakehouse import lock_lake
    from lakeops.warehouse import explain_query

    contracts = load_contracts(settings.models)
    explained = explain_query(settings.warehouse, contracts, query, _now())
    with lock_lake(settings.lake):
        replace_rows(settings.lake.ops("table_partitions"), explained.rows)
    return explained


def write_docs(settings: Settings, out: Path) -> None:
    """Write the documentation site: dbt's own page, and ours beside it.

    Raises
    ------
    DbtError : dbt could not write its documentation.
    UsageError : the folder cannot be written.
    """
    from lakeops.facts import collect_facts
    from lakeops.files import write_whole
    from lakeops.lineage import ColumnLineage, load_models, read_schema
    from lakeops.report import render_site
    from lakeops.warehouse import run_dbt

    list(run_dbt(settings, ("docs", "generate", "--static")))
    models = load_models(settings)
    columns = ColumnLineage(models, read_schema(settings))
    page = render_site(models, columns, collect_facts(settings, _now()).checks, _now())
    static = (settings.dbt_project / "target" / "static_index.html").read_text(encoding="utf-8")
    write_whole(out / "dbt.html", static)
    write_whole(out / "index.html", page)


def find_problem(settings: Settings, outcome: IncrementalOutcome) -> LakeopsError | None:
    """Return what `raise_if_failed` would raise, or None."""
    try:
        raise_if_failed(settings, outcome)
    except LakeopsError as error:
        return error
    return None


def raise_if_failed(settings: Settings, outcome: IncrementalOutcome) -> None:
    """Raise for the first thing that went wrong in a run of the main job: refused files, models, tests, stale data."""
    for load in outcome.loads:
        raise_if_refused(load)
    for step in outcome.steps:
        if not step.failed:
            continue
        lines = []
        for status, name, table, message, stored in step.problems:
            if status == "warn":
                continue
            lines.append(f"{status}: {name} on {table}: {' '.join(message.split())[:400]}")
            if stored:
                lines.append(f"  see the rows: {settings.ask(f'from {_shorten(stored)}')}")
        readers = "Nothing was published: readers keep the last good version."
        if not outcome.publishes:
            readers = "Readers may see what it found: this command holds nothing back."
        raise DbtError(
            f"dbt {step.command} did not pass. {readers}",
            where="\n            ".join(lines),
            next_step="mend the model or the data, then run the command again; it goes on where it stopped",
        )
    if outcome.stale:
        raise StaleDataError(
            "A source is stale; everything that did come was loaded, tested and published.",
            where="\n            ".join(outcome.stale),
            expected="a load within the contract's freshness.error_after",
            next_step="ask the sender; then run the command again",
        )


def _shorten(relation: str) -> str:
    return ".".join(relation.split(".")[-2:])


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

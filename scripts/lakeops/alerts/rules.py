"""Which of all that is not right deserves a message. Pure: what is wrong, the mart and the run have said already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lakeops.facts import BAD, MAIN_JOB, Check

# A share must be that many times the worst of its history before somebody is woken for it.
WORSE = 2.0
# These are told of by rules of their own, which know the file or the age.
OWN_RULE = ("refusal", "quarantine", "freshness")
# What the load, the models or the tests were stopped by; 11 and 14 end a run that did all its work.
STOPPED = (1, 2, 10, 12, 15)
# Loads and publishes nothing; its stop is an incident of its own, over when it gets through.
TEST_DATA = "test-data"
RUNBOOKS = {
    1: "", 2: "",
    10: "exit-10-contract", 11: "exit-11-raw-file-refused", 12: "exit-12-bronze-commit",
    13: "exit-13-dbt-or-test", 14: "exit-14-stale-data", 15: "exit-15-locked",
    "warn": "alert-check-warns", "quarantine": "alert-quarantine-grows", "dead_hook": "alert-tests-not-recorded",
}  # fmt: skip
SHOW_FAILED = "from dbt_test_results where status in ('fail', 'error') order by checked_at desc limit 20"


@dataclass(frozen=True)
class Run:
    """What came of a run of the main job.

    Parameters
    ----------
    problem : why it did not end well, in a sentence; None if it did.
    refused : (file, reason) of files it did not load; None where the load did not come to its end.
    raw : identity of the landing zone, all files of which it looked at; None if it looked only at some.
    batches : what it committed to bronze.
    ran_dbt : a command of dbt came to its end, whatever came of models and tests; or there was none to run.
    is_published : readers see what it built, or there was nothing to build.
    command : incremental, demo, build, rebuild or test-data.
    """

    run_id: str
    exit_code: int = 0
    problem: str | None = None
    refused: tuple[tuple[str, str], ...] | None = None
    raw: str | None = "."
    batches: tuple[int, ...] = ()
    ran_dbt: bool = True
    is_published: bool = True
    command: str = MAIN_JOB[0]

    @property
    def is_stopped(self) -> bool:
        """Tell whether it did not come to what a gate or a check could say."""
        return self.exit_code in STOPPED or (self.exit_code == 13 and not self.ran_dbt)


@dataclass(frozen=True)
class Growth:
    """What a load put into the quarantine of one table, and some of which waits there still.

    Parameters
    ----------
    added, read : records of this load: into quarantine, and in all.
    worst : the largest share in percent of any load in the weeks before; None if there was none.
    files : files of this load with the most of them.
    """

    table_name: str
    added: int
    read: int
    worst: float | None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What the lake says of itself after a run.

    Parameters
    ----------
    worst : by check, the largest share in percent of failing rows in its earlier runs; none where it is the first.
    stored : by check, where dbt keeps its failing rows.
    quarantine : loads of which records wait, oldest first.
    stale : tables older than their contract allows, as `facts.collect_status` describes them.
    unrecorded : dbt's id of a run of tests that left no result; None if there is none.
    """

    checks: list[Check] = field(default_factory=list)
    worst: Mapping[str, float] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    quarantine: list[Growth] = field(default_factory=list)
    stale: list[dict[str, Any]] = field(default_factory=list)
    unrecorded: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something to tell: it opens an incident, or keeps one open.

    Parameters
    ----------
    incident : names it; the same as long as it is the same thing that is wrong.
    look : the command, or with `is_query` the query for the warehouse, that shows more.
    tolerated : for what is measured: the value at or below which it is over.
    """

    incident: str
    kind: str
    message: str
    runbook: str
    look: str
    table_name: str | None = None
    check_name: str | None = None
    source_file: str | None = None
    tolerated: float | None = None
    is_query: bool = False


def find_problems(run: Run, evidence: Evidence | None, known: Mapping[str, float | None]) -> list[Finding]:
    """Return what deserves to be told after a run.

    Parameters
    ----------
    evidence : None where the lake could not be asked.
    known : what is tolerated, by open incident.
    """
    found = [*_judge_run(run), *(_judge_file(*file) for file in run.refused or ())]
    if evidence is not None:
        found += [finding for check in evidence.checks if (finding := _judge_check(check, evidence, known))]
        found += {told.incident: told for growth in evidence.quarantine if (told := _judge_growth(growth))}.values()
        found += [_judge_stale(table) for table in evidence.stale]
        found += [_judge_unrecorded(evidence.unrecorded)] if evidence.unrecorded else []
    return found


def find_over(known: Mapping[str, str], found: list[Finding], run: Run, evidence: Evidence | None) -> list[str]:
    """Return the open incidents that are over: those a rule could have confirmed, and did not.

    Parameters
    ----------
    known : kind by open incident.
    """
    confirmed = {finding.incident for finding in found}
    # A check that was skipped has said nothing.
    silent = {check.key for check in evidence.checks if check.status == "skipped"} if evidence else set()

    def is_judged(kind: str, about: str) -> bool:
        match kind:
            case "run":
                return run.command == TEST_DATA if about == TEST_DATA else run.command in MAIN_JOB
            case "gate":
                return run.command != TEST_DATA and not run.is_stopped
            case "refused":
                # The next run may be of another landing zone, or of a sample: what it did not look at is not over.
                looked = run.refused is not None and run.raw is not None
                return looked and PurePosixPath(about).is_relative_to(run.raw)
            case "fail" | "warn":
                # Without any, the mart is not there, as in a warehouse that was lost: then nobody has looked.
                return evidence is not None and bool(evidence.checks) and about not in silent
            case _:
                return evidence is not None

    return [
        incident
        for incident, kind in known.items()
        if incident not in confirmed and is_judged(kind, incident.partition(":")[2])
    ]


def _judge_run(run: Run) -> list[Finding]:
    if run.is_stopped:
        job, about = ("lakeops test-data", TEST_DATA) if run.command == TEST_DATA else ("The main job", run.exit_code)
        told = f"{job} stopped with exit code {run.exit_code}: {run.problem or 'no reason was given'}"
        return [Finding(f"run:{about}", "run", told, RUNBOOKS[run.exit_code], "lakeops status")]
    if run.command != TEST_DATA and not run.is_published:
        told = "The gate is closed: a model or a test failed, nothing was published, readers keep the last good version"
        return [Finding("gate:gold", "gate", told, RUNBOOKS[13], SHOW_FAILED, is_query=True)]
    return []


def _judge_file(name: str, reason: str) -> Finding:
    told = f"{name} was not loaded: {reason}"
    return Finding(f"refused:{name}", "refused", told, RUNBOOKS[11], "lakeops load --dry-run", source_file=name)


def _judge_check(check: Check, evidence: Evidence, known: Mapping[str, float | None]) -> Finding | None:
    if check.check_type in OWN_RULE or check.status in ("pass", "skipped"):
        return None
    counted = f"{check.failures:,} of {check.rows:,} rows" if check.failures and check.rows else "the check"
    named = {"table_name": check.table_name, "check_name": check.check_name, "is_query": True}
    found_by = f"data_quality_metrics where check_name = '{check.check_name}' order by checked_at desc"
    look = f"from {evidence.stored.get(check.key) or found_by} limit 20"
    if check.status in BAD:
        told = f"{check.table_name}: {check.label}: {counted} failed"
        if check.status == "error":
            told = f"{check.table_name}: {check.label}: the check did not finish"
        return Finding(f"fail:{check.key}", "fail", told, RUNBOOKS[13], look, **named)
    incident, share = f"warn:{check.key}", round(100 - check.pass_rate, 6)
    if incident in known:
        tolerated = known[incident] or 0.0
    elif check.key in evidence.worst:
        tolerated = round(evidence.worst[check.key] * WORSE, 6)
    else:  # the first time anybody looked: that is what this check knows, not news
        return None
    if share <= tolerated:
        return None
    told = f"{check.table_name}: {check.label}: {counted} fail ({share:.3g} %, and {tolerated:.3g} % is usual)"
    return Finding(incident, "warn", told, RUNBOOKS["warn"], look, **named, tolerated=tolerated)


def _judge_growth(growth: Growth) -> Finding | None:
    if growth.worst is None or 100 * growth.added / growth.read <= growth.worst * WORSE:
        return None
    told = f"{growth.table_name}: {growth.added:,} of {growth.read:,} new records are in quarantine"
    look = f"lakeops quarantine list --table {growth.table_name}"
    return Finding(
        f"quarantine:{growth.table_name}", "quarantine", told, RUNBOOKS["quarantine"], look,
        table_name=growth.table_name, check_name="rows_accepted", source_file=", ".join(growth.files) or None,
    )  # fmt: skip


def _judge_stale(table: dict[str, Any]) -> Finding:
    name, limit = table["table"], table["error_hours"]
    told = f"{name} is stale: its newest load is {table['hours_since_load']:g} h old, {limit:g} h are allowed"
    look = "lakeops status"
    return Finding(f"stale:{name}", "stale", told, RUNBOOKS[14], look, table_name=name, check_name="newest_load")


def _judge_unrecorded(invocation: str) -> Finding:
    told = f"Tests ran and left no result in dbt_test_results (dbt's run {invocation})"
    return Finding("dead_hook:dbt", "dead_hook", told, RUNBOOKS["dead_hook"], "grep -n on-run-end dbt/dbt_project.yml")

"""Which findings deserve a message, and when an incident is over."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from lakeops.alerts.record import Alert, list_open, list_owed
from lakeops.alerts.rules import RUNBOOKS, Evidence, Finding, Growth, Run, find_over, find_problems
from lakeops.alerts.sinks import SHOWN, format_message, write_lines
from lakeops.facts import Check

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 21, 5, 0, tzinfo=dt.UTC)
GOOD = Run("r1", refused=())
STALE = {"table": "bronze.orders", "hours_since_load": 51.5, "error_hours": 50.0}


def make_check(status: str, failed: int = 10, **changes: Any) -> Check:
    values = {
        "table_name": "silver.orders", "check_type": "dbt_is_true", "check_name": "is_true_silver_orders_is_valid",
        "column_name": "is_valid", "status": status, "pass_rate": 100 - failed / 10, "failures": failed, "rows": 1000,
        "threshold": 100.0, "checked_at": NOW, "since": NOW.date(), "days": ((NOW.date(), 100 - failed / 10, status),),
    }  # fmt: skip
    return Check(**values | changes)


KEY = make_check("pass").key


def find(run: Run = GOOD, known: dict[str, float | None] | None = None, **evidence: Any) -> list[Finding]:
    return find_problems(run, Evidence(**evidence), known or {})


def test_a_good_run_finds_nothing() -> None:
    assert find(checks=[make_check("pass", 0)]) == []


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_failed_check_is_told_whatever_its_history(status: str) -> None:
    (finding,) = find(checks=[make_check(status)], worst={KEY: 100.0})
    assert (finding.kind, finding.table_name) == ("fail", "silver.orders")
    assert finding.check_name in finding.look
    (finding,) = find(checks=[make_check(status)], stored={KEY: "test_failures.bad_orders"})
    assert (finding.look, finding.is_query) == ("from test_failures.bad_orders limit 20", True)
    assert ("did not finish" in finding.message) == (status == "error")


@pytest.mark.parametrize(
    ("worst", "told"),
    [({}, False), ({KEY: 0.0}, True), ({KEY: 0.4}, True), ({KEY: 0.5}, False), ({KEY: 9.0}, False)],
    ids=["nobody looked before", "new", "more than twice the worst", "twice the worst", "known to be dirty"],
)
def test_a_warning_is_told_if_it_is_new_or_worse_than_its_history(worst: dict[str, float], told: bool) -> None:
    assert bool(find(checks=[make_check("warn", 10)], worst=worst)) == told


def test_a_warning_stays_open_until_it_is_as_it_was_before_although_the_bad_day_is_history_by_then() -> None:
    history = {KEY: 1.0}
    incident = f"warn:{KEY}"
    assert [f.incident for f in find(checks=[make_check("warn", 10)], worst=history, known={incident: 0.4})] == [
        incident
    ]
    assert find(checks=[make_check("warn", 4)], worst=history, known={incident: 0.4}) == []


def test_what_has_a_rule_of_its_own_is_not_told_twice() -> None:
    own = [make_check("fail", check_type=kind) for kind in ("refusal", "quarantine", "freshness")]
    assert find(checks=own, worst=dict.fromkeys((check.key for check in own), 0.0)) == []


def test_each_refused_file_is_an_incident() -> None:
    found = find(Run("r1", 11, "1 raw file", refused=(("a.csv", "torn"), ("b.csv", "no contract claims it"))))
    assert [finding.source_file for finding in found] == ["a.csv", "b.csv"]
    assert all(finding.kind == "refused" for finding in found)


@pytest.mark.parametrize("code", [1, 2, 10, 12, 15])
def test_a_run_that_stopped_is_told_with_its_reason(code: int) -> None:
    (finding,) = find_problems(Run("r1", code, "it is locked", is_published=False), None, {})
    assert finding.kind == "run"
    assert "it is locked" in finding.message


@pytest.mark.parametrize("code", [11, 13])
def test_a_closed_gate_is_told_also_behind_another_problem(code: int) -> None:
    assert [f.kind for f in find(Run("r1", code, "x", refused=(), is_published=False))] == ["gate"]
    assert find(Run("r1", 0, is_published=False, command="test-data")) == []


def test_dbt_that_could_not_start_is_told_by_whoever_started_it() -> None:
    for command, incident in (("incremental", "run:13"), ("test-data", "run:test-data")):
        run = Run("r1", 13, "dbt parse could not run.", is_published=False, ran_dbt=False, command=command)
        (finding,) = find(run)
        assert (finding.incident, finding.runbook) == (incident, "exit-13-dbt-or-test")
        assert "could not run" in finding.message
    # What failed in tests that ran, each check says.
    assert find(Run("r1", 13, "dbt test did not pass.", is_published=False, command="test-data")) == []


def test_a_stop_is_over_by_a_run_that_goes_the_same_way() -> None:
    known = {"run:12": "run", "run:13": "run", "run:test-data": "run", "gate:gold": "gate"}
    over = {
        command: find_over(known, [], Run("r2", command=command), Evidence())
        for command in ("incremental", "demo", "build", "rebuild", "test-data")
    }
    assert over["incremental"] == over["demo"] == ["run:12", "run:13", "gate:gold"]
    assert over["build"] == over["rebuild"] == ["gate:gold"]
    assert over["test-data"] == ["run:test-data"]


@pytest.mark.parametrize(
    ("raw", "over"),
    [("data_raw", ["data_raw/x.csv"]), ("../elsewhere", ["../elsewhere/x.csv"]), (None, [])],
    ids=["one of two", "outside", "a sample"],
)
def test_a_refused_file_is_over_only_where_its_landing_zone_was_looked_at(raw: str | None, over: list[str]) -> None:
    names = ("data_raw/x.csv", "data_raw_increment/x.csv", "../elsewhere/x.csv")
    known = {f"refused:{name}": "refused" for name in names}
    found = find_over(known, [], Run("r1", refused=(), raw=raw), Evidence())
    assert found == [f"refused:{name}" for name in over]


@pytest.mark.parametrize(
    ("growth", "told"),
    [
        (Growth("bronze.orders", 5, 100, None), False),
        (Growth("bronze.orders", 5, 100, 0.0), True),
        (Growth("bronze.orders", 5, 100, 2.5), False),
    ],
    ids=["first load", "new", "as usual"],
)
def test_quarantine_that_grows_is_told(growth: Growth, told: bool) -> None:
    assert bool(find(quarantine=[growth])) == told


def test_of_several_loads_that_wait_the_newest_bad_one_is_told() -> None:
    loads = [
        Growth("bronze.orders", 5, 100, 0.0, ("a",)),
        Growth("bronze.orders", 50, 100, 5.0, ("b",)),
        Growth("bronze.orders", 1, 100, 50.0),
    ]
    (told,) = find(quarantine=loads)
    assert (told.incident, told.source_file) == ("quarantine:bronze.orders", "b")


def test_stale_tables_and_a_dead_hook_are_told() -> None:
    stale, hook = find(stale=[STALE], unrecorded="abc")
    assert (stale.kind, stale.table_name, "51.5 h" in stale.message) == ("stale", "bronze.orders", True)
    assert (hook.kind, "abc" in hook.message) == ("dead_hook", True)


def test_without_a_mart_no_check_is_over() -> None:
    known = {"fail:a": "fail", "warn:b": "warn", "stale:c": "stale"}
    assert find_over(known, [], GOOD, Evidence()) == ["stale:c"]
    assert find_over(known, [], GOOD, Evidence(checks=[make_check("pass", 0)])) == list(known)


def test_what_could_not_be_looked_at_is_not_over() -> None:
    known = {
        "run:15": "run",
        "gate:gold": "gate",
        "refused:a.csv": "refused",
        f"fail:{KEY}": "fail",
        "stale:x": "stale",
    }
    locked = Run("r1", 15, "it is locked", is_published=False)
    assert find_over(known, find_problems(locked, None, {}), locked, None) == []
    stopped = Run("r1", 12, "full", is_published=False)
    assert find_over(known, find_problems(stopped, None, {}), stopped, None) == ["run:15"]
    skipped = Evidence(checks=[make_check("skipped")])
    assert set(find_over(known, [], GOOD, skipped)) == set(known) - {f"fail:{KEY}"}
    assert set(find_over(known, [], GOOD, Evidence(checks=[make_check("pass", 0)]))) == set(known)


@pytest.mark.parametrize("runbook", sorted({name for name in RUNBOOKS.values() if name}))
def test_every_runbook_is_there(runbook: str) -> None:
    assert (ROOT / "runbooks" / f"{runbook}.md").is_file()


def make_alert(number: int, event: str = "opened", **changes: Any) -> Alert:
    values = {
        "alert_id": f"a{number}", "event": event, "incident": f"fail:{number}", "kind": "fail", "message": f"m{number}",
        "table_name": "t", "check_name": "c", "source_file": "data_raw/a.csv", "runbook": "exit-13-dbt-or-test",
        "look": f"look {number}", "tolerated": None, "sinks": "file,webhook", "run_id": "r", "raised_at": NOW,
    }  # fmt: skip
    return Alert(**values | changes)


def test_state_is_read_from_what_was_told() -> None:
    told = [
        make_alert(1), make_alert(2), make_alert(1, "delivered", sinks="file"),
        make_alert(3, "recovered", incident="fail:1"),
    ]  # fmt: skip
    assert list(list_open(told)) == ["fail:2"]
    assert [alert.alert_id for alert in list_owed(told, "file")] == ["a2", "a3"]
    assert [alert.alert_id for alert in list_owed(told, "webhook")] == ["a1", "a2", "a3"]
    assert list_owed([make_alert(1, sinks="file")], "webhook") == [], "set up later: it is not owed the past"


def test_message_is_one_text_with_all_that_one_needs(tmp_path: Path) -> None:
    text = format_message("prod", [make_alert(1), make_alert(2), make_alert(3, "recovered")], tmp_path)
    assert text.splitlines() == [
        "lakeops (prod): 2 new, 1 over",
        "FAIL, see runbooks/exit-13-dbt-or-test.md",
        "• m1", "    file: data_raw/a.csv", "    look: look 1",
        "• m2", "    file: data_raw/a.csv", "    look: look 2",
        "OVER",
        "• m3",
    ]  # fmt: skip


def test_many_are_cut_and_the_rest_is_where_the_text_says(tmp_path: Path) -> None:
    file = tmp_path / "ops" / "alerts.jsonl"
    alerts = [make_alert(number) for number in range(SHOWN + 5)]
    assert format_message("dev", alerts, file).splitlines()[-1] == f"… and 5 more in {file}"
    write_lines(file, "dev", alerts)
    write_lines(file, "dev", alerts[:1])
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == SHOWN + 6
    assert lines[0] | {"target": "dev", "message": "m0", "raised_at": str(NOW)} == lines[0]

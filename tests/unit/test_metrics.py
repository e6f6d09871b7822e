"""The metrics file is what Prometheus reads, and its alert rules ask for metrics that are in it."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lakeops.facts import Check, Facts, Untested
from lakeops.metrics import render_metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "scripts" / "metrics" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
NOW = dt.datetime(2026, 11, 21, 5, 0, tzinfo=dt.UTC)
ODD = 'is "odd"\\\nhere'


def make_facts(**changes: Any) -> Facts:
    check = Check("bronze.orders", "dbt_unique", ODD, None, "fail", 97.5, 25, 1000, 100.0, NOW, NOW.date(), ())
    table = {
        "table": "bronze.orders", "rows": 1000, "hours_since_load": 2.0, "warn_hours": 26.0, "error_hours": 50.0,
        "newest_business_date": dt.date(2026, 11, 20),
    }  # fmt: skip
    never = table | {"table": "bronze.new", "rows": 0, "hours_since_load": None, "newest_business_date": None}
    steps = {"load_seconds": 1.0, "build_seconds": 2.0, "test_seconds": None, "publish_seconds": None}
    run = {"command": "incremental", "started_at": NOW - dt.timedelta(days=1), "seconds": 30.0, "exit_code": 0, **steps}
    values = {
        "target": "prod", "at": NOW, "tables": [table, never], "checks": [check],
        "quarantine": [{"table_name": "orders", "source_file": "a", "reason": "x", "records": 7}] * 2,
        "runs": [run, run | {"started_at": NOW, "exit_code": 13}],
        "storage": [
            {"layer": "bronze", "table": "bronze.orders", "rows": 1, "files": 2, "bytes": 3, "bytes_on_disk": 4}
        ],
        "warehouse_bytes": 5, "published_at": NOW, "untested": Untested([], {}, [], 7, 9),
        "look": "duckdb …",
    }  # fmt: skip
    return Facts(**values | changes)


def parse(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return values by metric and the values of its labels, the target left out."""
    families = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type == "gauge"
        assert all(sample.labels.pop("target") == "prod" for sample in family.samples)
        families[family.name] = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    return families


def test_prometheus_reads_what_the_facts_say() -> None:
    metrics = parse(render_metrics(make_facts(), {"fail": 2}))
    assert metrics["lakeops_table_rows"] == {("bronze.orders",): 1000, ("bronze.new",): 0}
    assert metrics["lakeops_last_load_timestamp_seconds"] == {("bronze.orders",): NOW.timestamp() - 7200}
    assert metrics["lakeops_freshness_limit_seconds"]["bronze.orders", "error"] == 180_000
    assert metrics["lakeops_quarantine_open_records"] == {("bronze.orders",): 14, ("bronze.new",): 0}
    check = ("bronze.orders", "dbt_unique", ODD, "")
    assert metrics["lakeops_check_pass_rate"] == {check: 97.5}
    assert {key[-1] for key, value in metrics["lakeops_check_status"].items() if value} == {"fail"}
    assert metrics["lakeops_run_duration_seconds"] == {("all",): 30, ("load",): 1, ("build",): 2}
    assert metrics["lakeops_run_exit_code"] == {(): 13}
    assert metrics["lakeops_last_good_run_timestamp_seconds"] == {(): NOW.timestamp() - 86_400}
    assert metrics["lakeops_storage_bytes"]["bronze", "bronze.orders", "disk"] == 4
    assert metrics["lakeops_untested_columns"] == {(): 2}
    assert metrics["lakeops_open_incidents"] == {("fail",): 2}
    assert metrics["lakeops_metrics_timestamp_seconds"] == {(): NOW.timestamp()}


@pytest.mark.parametrize("command", ["test-data", "build", "rebuild"])
def test_a_run_that_loads_nothing_does_not_pass_for_the_main_job(command: str) -> None:
    failed, *_ = make_facts().runs[-1:]
    later = failed | {"command": command, "started_at": NOW + dt.timedelta(hours=1), "exit_code": 0, "seconds": 1.0}
    metrics = parse(render_metrics(make_facts(runs=[failed, later]), {}))
    assert metrics["lakeops_run_exit_code"] == {(): 13}
    assert metrics["lakeops_run_timestamp_seconds"] == {(): NOW.timestamp()}
    assert metrics["lakeops_last_good_run_timestamp_seconds"] == {}


def test_what_is_not_known_is_not_claimed_to_be_zero() -> None:
    nothing = make_facts(tables=[], checks=[], quarantine=[], runs=[], storage=[], published_at=None, untested=None)
    metrics = parse(render_metrics(nothing, {}))
    assert {name for name, samples in metrics.items() if samples} == {
        "lakeops_warehouse_bytes", "lakeops_metrics_timestamp_seconds",
    }  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_asks_for_metrics_that_are_there_and_names_its_runbook(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\blakeops_\w+", rule["expr"]))
    assert asked
    assert asked <= parse(render_metrics(make_facts(), {})).keys()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert (ROOT / rule["annotations"]["runbook"]).is_file()

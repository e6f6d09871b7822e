"""The state of the lake as a Prometheus text file, for node_exporter's textfile collector or any web server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lakeops.facts import MAIN_JOB, Facts

STATUSES = ("pass", "warn", "fail", "error", "skipped")
STEPS = ("load", "build", "test", "publish")


@dataclass
class Metric:
    """One metric with its samples; all are gauges: they say how it is, not how often something happened.

    Parameters
    ----------
    samples : labels and value.
    """

    name: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str | None) -> None:
        """Add a sample; what is not known is left out, for a zero would be a claim."""
        if value is not None:
            self.samples.append(({name: text or "" for name, text in labels.items()}, float(value)))


def render_metrics(facts: Facts, open_incidents: Mapping[str, int]) -> str:
    """Return the facts in Prometheus' text format, every metric with its HELP and TYPE.

    Parameters
    ----------
    open_incidents : how many incidents are open, by kind.
    """
    metrics = [
        *_measure_tables(facts), *_measure_checks(facts), *_measure_runs(facts), *_measure_storage(facts),
        *_measure_untested(facts),
    ]  # fmt: skip
    incidents = Metric("lakeops_open_incidents", "Incidents that people were told of and that are not over.")
    for kind, count in open_incidents.items():
        incidents.add(count, kind=kind)
    written = Metric("lakeops_metrics_timestamp_seconds", "When this file was written.")
    written.add(facts.at.timestamp())
    return "".join(_write_metric(metric, facts.target) for metric in [*metrics, incidents, written])


def _measure_tables(facts: Facts) -> Iterable[Metric]:
    rows = Metric("lakeops_table_rows", "Rows in the newest version of a bronze table.")
    loaded = Metric("lakeops_last_load_timestamp_seconds", "When the newest load of a bronze table was recorded.")
    limit = Metric("lakeops_freshness_limit_seconds", "Age of the newest load that the contract allows.")
    day = Metric(
        "lakeops_newest_business_date_timestamp_seconds", "Newest business date of a bronze table, midnight UTC."
    )
    waiting = Metric("lakeops_quarantine_open_records", "Records in quarantine that nobody has replayed or discarded.")
    for table in facts.tables:
        name = table["table"]
        rows.add(table["rows"], table=name)
        for level in ("warn", "error"):
            hours = table[f"{level}_hours"]
            limit.add(hours * 3600 if hours is not None else None, table=name, level=level)
        if table["hours_since_load"] is not None:
            loaded.add((facts.at - dt.timedelta(hours=table["hours_since_load"])).timestamp(), table=name)
        if newest := table["newest_business_date"]:
            day.add(dt.datetime.combine(newest, dt.time(), dt.UTC).timestamp(), table=name)
        records = [row["records"] for row in facts.quarantine if row["table_name"] == name.split(".")[-1]]
        waiting.add(sum(records), table=name)
    return rows, loaded, limit, day, waiting


def _measure_checks(facts: Facts) -> Iterable[Metric]:
    rate = Metric("lakeops_check_pass_rate", "Percent of rows that passed a check when it last read any.")
    failures = Metric("lakeops_check_failures", "Rows that failed a check when it last read any.")
    status = Metric("lakeops_check_status", "1 for the status that a check has, 0 for the others.")
    seen = Metric("lakeops_check_timestamp_seconds", "When a check last read any row.")
    for check in facts.checks:
        labels = {
            "table": check.table_name, "type": check.check_type, "check": check.check_name, "column": check.column_name,
        }  # fmt: skip
        rate.add(check.pass_rate, **labels)
        failures.add(check.failures, **labels)
        seen.add(check.checked_at.timestamp(), **labels)
        for one in STATUSES:
            status.add(check.status == one, **labels, status=one)
    return rate, failures, status, seen


def _measure_runs(facts: Facts) -> Iterable[Metric]:
    seconds = Metric("lakeops_run_duration_seconds", "How long the last run of the main job took, by step and in all.")
    began = Metric("lakeops_run_timestamp_seconds", "When the last run of the main job began.")
    code = Metric("lakeops_run_exit_code", "Exit code of the last run of the main job; 0 is good.")
    good = Metric("lakeops_last_good_run_timestamp_seconds", "When the last run that ended with 0 began.")
    published = Metric("lakeops_last_publish_timestamp_seconds", "When readers were last switched over.")
    runs = [run for run in facts.runs if run["command"] in MAIN_JOB]
    if runs:
        last = runs[-1]
        seconds.add(last["seconds"], step="all")
        for step in STEPS:
            seconds.add(last[f"{step}_seconds"], step=step)
        began.add(last["started_at"].timestamp())
        code.add(last["exit_code"])
    ended_well = [run["started_at"] for run in runs if run["exit_code"] == 0]
    good.add(max(ended_well).timestamp() if ended_well else None)
    published.add(facts.published_at.timestamp() if facts.published_at else None)
    return seconds, began, code, good, published


def _measure_storage(facts: Facts) -> Iterable[Metric]:
    used = Metric("lakeops_storage_bytes", "Bytes of a table: of its newest version, or of all that lies on disk.")
    files = Metric("lakeops_table_files", "Data files in the newest version of a table.")
    warehouse = Metric("lakeops_warehouse_bytes", "Bytes of the warehouse, a cache.")
    for row in facts.storage:
        labels = {"layer": row["layer"], "table": row["table"]}
        used.add(row["bytes"], **labels, part="newest")
        used.add(row["bytes_on_disk"], **labels, part="disk")
        files.add(row["files"], **labels)
    warehouse.add(facts.warehouse_bytes)
    return used, files, warehouse


def _measure_untested(facts: Facts) -> Iterable[Metric]:
    tables = Metric("lakeops_untested_tables", "Models and sources without any test or constraint.")
    columns = Metric("lakeops_untested_columns", "Described columns that no test or constraint names.")
    if facts.untested is not None:
        tables.add(len(facts.untested.tables))
        columns.add(facts.untested.all_columns - facts.untested.tested_columns)
    return tables, columns


def _write_metric(metric: Metric, target: str) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} gauge"]
    for labels, value in metric.samples:
        pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in {"target": target, **labels}.items())
        lines.append(f"{metric.name}{{{pairs}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

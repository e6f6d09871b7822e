"""The record of alerts: what is open, and which sink is owed what. Append-only, so that no state is ever rewritten."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

import polars as pl

from lakeops.delta import append, open_table, read_frame
from lakeops.paths import Lake

NAME = "alerts"
NEWS = ("opened", "recovered")


@dataclass(frozen=True)
class Alert:
    """One thing that was told, or that a sink took it. The fields are the record's columns; see dbt/models/ops."""

    alert_id: str
    event: str
    incident: str
    kind: str
    message: str
    table_name: str | None
    check_name: str | None
    source_file: str | None
    runbook: str
    look: str
    tolerated: float | None
    sinks: str
    run_id: str
    raised_at: dt.datetime


def read_alerts(lake: Lake) -> list[Alert] | None:
    """Return all alerts, oldest first; None if the lake has no such record yet."""
    if not (lake.ops(NAME) / "_delta_log").is_dir():
        return None
    frame = read_frame(open_table(lake.ops(NAME))).sort("raised_at", maintain_order=True)
    return [Alert(**row) for row in frame.iter_rows(named=True)]


def append_alerts(lake: Lake, alerts: list[Alert]) -> None:
    """Write alerts to the record in one commit.

    Raises
    ------
    BronzeCommitError : the commit did not happen.
    """
    # The types of the table itself: the contracts may be the very thing that is broken.
    table = open_table(lake.ops(NAME))
    empty = read_frame(table).clear()
    append(lake.ops(NAME), pl.DataFrame([asdict(alert) for alert in alerts], schema=empty.schema), 0)


def list_open(alerts: list[Alert]) -> dict[str, Alert]:
    """Return the open incidents, each with the alert that opened it."""
    open_: dict[str, Alert] = {}
    for alert in alerts:
        if alert.event == "opened":
            open_[alert.incident] = alert
        elif alert.event == "recovered":
            open_.pop(alert.incident, None)
    return open_


def list_owed(alerts: list[Alert], sink: str) -> list[Alert]:
    """Return the alerts that a sink was to get and has not taken yet."""
    taken = {alert.alert_id for alert in alerts if alert.event == "delivered" and alert.sinks == sink}
    return [
        alert
        for alert in alerts
        if alert.event in NEWS and sink in alert.sinks.split(",") and alert.alert_id not in taken
    ]


def count_open(lake: Lake) -> dict[str, int]:
    """Return how many incidents are open, by kind."""
    counts: dict[str, int] = {}
    for alert in list_open(read_alerts(lake) or []).values():
        counts[alert.kind] = counts.get(alert.kind, 0) + 1
    return counts

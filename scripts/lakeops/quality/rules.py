"""Hold the contracts' anomaly rules against days: the new ones after a load, all of them in a back-test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from lakeops.contract import AnomalyRule, Contract, Contracts
from lakeops.delta import append, get_last_batch, open_table
from lakeops.ledger import make_frame
from lakeops.quality.anomalies import WEEKS, explain, judge_days, split_categories
from lakeops.quality.outliers import find_outliers
from lakeops.quality.profile import NAME as PROFILES
from lakeops.settings import Settings
from lakeops.warehouse import connect

NAME = "data_anomalies"


@dataclass(frozen=True)
class Backtest:
    """How often a rule would have warned.

    Parameters
    ----------
    judged : days with enough history.
    warned : days on which the rule would have warned, oldest first.
    largest : largest distance of a day on which it would not.
    """

    table_name: str
    rule: AnomalyRule
    days: int
    judged: int
    warned: tuple[dt.date, ...]
    largest: float | None


def judge_new_days(settings: Settings, contracts: Contracts, now: dt.datetime) -> list[str]:
    """Judge every day that was profiled since this was last done, and append what came of it to `data_anomalies`.

    Returns
    -------
    One sentence for each anomaly: what, how far from the usual, and the likely cause.

    Raises
    ------
    LockedError : another process holds the warehouse.
    BronzeCommitError : the record cannot be written.
    """
    path = settings.lake.ops(NAME)
    done = get_last_batch(open_table(path))
    newest = get_last_batch(open_table(settings.lake.ops(PROFILES)))
    if newest <= done:
        return []
    rows: list[dict[str, Any]] = []
    with connect(settings.warehouse) as connection:
        for contract in contracts.tables:
            rules = [rule for rule in contract.anomalies if rule.is_on]
            touched = _read_touched(connection, contract, done) if rules else {}
            for rule in rules if touched else []:
                for row in _judge(connection, contract, rule, set(touched)):
                    rows.append({**row, "run_id": touched[row["business_date"]], "batch_id": newest, "judged_at": now})
    append(path, make_frame(contracts.get_record(NAME), rows), newest)
    return [_say(row) for row in rows if row["is_anomaly"]]


def run_backtest(settings: Settings, contracts: Contracts) -> list[Backtest]:
    """Hold every rule, on or off, against all days there are.

    Raises
    ------
    LockedError : another process holds the warehouse.
    """
    tests = []
    with connect(settings.warehouse) as connection:
        for contract in contracts.tables:
            for rule in contract.anomalies:
                rows = list(_judge(connection, contract, rule, None))
                judged = [row for row in rows if row["distance"] is not None]
                calm = [abs(row["distance"]) for row in judged if not row["is_anomaly"]]
                tests.append(
                    Backtest(
                        contract.name,
                        rule,
                        len({row["business_date"] for row in rows}),
                        len({row["business_date"] for row in judged}),
                        tuple(sorted({row["business_date"] for row in judged if row["is_anomaly"]})),
                        max(calm, default=None),
                    )
                )
    return tests


def _read_touched(connection: duckdb.DuckDBPyConnection, contract: Contract, done: int) -> dict[dt.date, str]:
    """Return the days profiled by later batches, with the run that touched each."""
    return dict(
        connection.execute(
            "select business_date, max_by(run_id, measured_at) from main.data_profiles"
            " where batch_id > ? and table_name = ? group by all",
            [done, contract.name],
        ).fetchall()
    )


def _judge(
    connection: duckdb.DuckDBPyConnection, contract: Contract, rule: AnomalyRule, days: set[dt.date] | None
) -> Iterator[dict[str, Any]]:
    if rule.measure == "outliers":
        yield from _judge_rows(connection, contract, rule, days)
        return
    since = min(days) - dt.timedelta(weeks=WEEKS) if days else dt.date.min
    profiles = connection.execute(
        """
        select business_date, category, value, rows from main.data_profiles
        where business_date >= ? and table_name = ? and measure = ? and column_name is not distinct from ?
        qualify measured_at = max(measured_at) over (partition by business_date)
        order by business_date""",
        [since, contract.name, rule.measure, rule.column],
    ).fetchall()
    for category, points in split_categories(profiles).items():
        for verdict in judge_days(rule.measure, points, rule.warm_up, days):
            is_anomaly = verdict.exceeds(rule.threshold)
            yield {
                **_start_row(contract, rule, verdict.day),
                "category": category,
                "value": verdict.value,
                "usual": verdict.usual,
                "distance": verdict.distance,
                "is_anomaly": is_anomaly,
                "days_compared": verdict.days_compared,
                "rows": points[verdict.day].rows,
                "cause": explain(rule.measure, rule.column, verdict, category) if is_anomaly else None,
            }


def _judge_rows(
    connection: duckdb.DuckDBPyConnection, contract: Contract, rule: AnomalyRule, days: set[dt.date] | None
) -> Iterator[dict[str, Any]]:
    volumes = connection.execute(
        """
        select business_date, rows from main.data_profiles
        where table_name = ? and measure = 'volume' and business_date >= ?
        qualify row_number() over (partition by business_date order by measured_at desc) = 1""",
        [contract.name, min(days) if days else dt.date.min],
    ).fetchall()
    found = {one.day: one for one in find_outliers(connection, contract, rule, sorted(days) if days else None)}
    for day, rows in sorted(volumes):
        if days is not None and day not in days:
            continue
        far = found.get(day)
        yield {
            **_start_row(contract, rule, day),
            "value": far.count if far else 0,
            "distance": far.distance if far else 0.0,
            "is_anomaly": far is not None,
            "rows": rows,
            "sample": far.sample if far else None,
            "cause": far.cause if far else None,
        }


def _start_row(contract: Contract, rule: AnomalyRule, day: dt.date) -> dict[str, Any]:
    return {
        "table_name": contract.name,
        "business_date": day,
        "measure": rule.measure,
        "column_name": rule.column,
        "threshold": rule.threshold,
    }


def _say(row: dict[str, Any]) -> str:
    what = f"{row['measure']} of {row['column_name']}" if row["column_name"] else row["measure"]
    if row.get("category"):
        what += f" {row['category']!r}"
    far = row.get("sample") or f"{row['value']:,.4g}, usually {row['usual']:,.4g} on that weekday"
    return f"{row['table_name']} {row['business_date']}: {what}: {far}. Likely: {row['cause']}"

"""Ask the lake, after a run, for what the rules want to know."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb

from lakeops.alerts.rules import Evidence, Growth, Run
from lakeops.contract import Contract
from lakeops.facts import DAYS_SHOWN, Check, collect_status, open_records, read_checks
from lakeops.ledger import load_ledger
from lakeops.settings import Settings

FILES_NAMED = 3


def collect_evidence(settings: Settings, now: dt.datetime) -> Evidence:
    """Return what the lake says of itself after a run.

    Raises
    ------
    LakeopsError : it cannot be asked: somebody holds the warehouse, or a table is lost.
    """
    with open_records(settings) as (connection, contracts):
        checks = read_checks(connection, now)
        since = now - dt.timedelta(days=DAYS_SHOWN)
        status = collect_status(settings.lake, contracts.tables, load_ledger(settings.lake), now)
        return Evidence(
            checks,
            _find_worst(connection, checks, since),
            {key: place for key, (place, _) in _list_stored(connection, [c for c in checks if c.failures]).items()},
            _measure_growth(connection, {contract.table: contract.name for contract in contracts.tables}),
            [table for table in status if table["freshness"] == "stale"],
            _find_unrecorded(connection, settings.dbt_project / "target" / "run_results.json"),
        )


def name_files(settings: Settings, run: Run, checks: list[Check]) -> dict[str, str]:
    """Return, by check, the raw files its failing rows came from, worst first; none where none is known."""
    if not checks:
        return {}
    with open_records(settings) as (connection, contracts):
        tables = {contract.table: contract for contract in contracts.tables}
        stored = _list_stored(connection, checks)
        named = {
            check.key: _name_files(
                connection, run, check, tables.get(check.table_name.split(".")[-1]), *stored.get(check.key, ("", set()))
            )
            for check in checks
        }
    return {key: ", ".join(files) for key, files in named.items() if files}


def _name_files(
    connection: duckdb.DuckDBPyConnection,
    run: Run,
    check: Check,
    contract: Contract | None,
    stored: str,
    columns: set[str],
) -> list[str]:
    """Ask the stored failing rows; where they say nothing, it is what this run brought for the table."""
    values: dict[str, Any] = {}
    if "_source_file" in columns:
        query = f"select _source_file from {stored} group by 1 order by count(*) desc, 1"
    elif contract and (pairs := _match_columns(check, contract, columns)):
        same = " and ".join(f'bad."{ours}"::varchar = bronze."{theirs}"::varchar' for ours, theirs in pairs)
        query = (
            f"select _source_file from {stored} as bad join {contract.name} as bronze on {same}"
            " group by 1 order by count(*) desc, 1"
        )
    else:
        query = (
            "select source_file from main.manifest_processed_files where status = 'loaded' and table_name = $table"
            " and list_contains($batches, batch_id) group by 1 order by max(rows_quarantined) desc, 1"
        )
        values = {"table": check.table_name.split(".")[-1], "batches": list(run.batches)}
    return [row[0] for row in connection.execute(f"{query} limit {FILES_NAMED}", values).fetchall()]


def _list_stored(connection: duckdb.DuckDBPyConnection, checks: list[Check]) -> dict[str, tuple[str, set[str]]]:
    """Return, by check, where dbt keeps its failing rows and what columns they have; those it keeps none of lack."""
    last = connection.execute(
        "select table_name, test_name, arg_max(failures_relation, checked_at) from main.dbt_test_results"
        " where failures > 0 and failures_relation is not null group by all"
    ).fetchall()
    places = {(table, test): ".".join(relation.split(".")[-2:]) for table, test, relation in last}
    columns: dict[str, set[str]] = {}
    for place, column in connection.execute(
        "select schema_name || '.' || table_name, column_name from duckdb_columns() where not internal"
    ).fetchall():
        columns.setdefault(place, set()).add(column)
    found = {check.key: places.get((check.table_name, check.check_name), "") for check in checks}
    return {key: (place, columns[place]) for key, place in found.items() if place in columns}


def _match_columns(check: Check, contract: Contract, columns: set[str]) -> list[tuple[str, str]]:
    """Return which stored columns tell which rows of bronze they are: the key, or the one value that a test keeps."""
    if contract.load.key and columns.issuperset(contract.load.key):
        return [(name, name) for name in contract.load.key]
    kept = columns & {"unique_field", "from_field"}  # what dbt's own tests of these kinds store
    known = {column.name for column in contract.columns}
    return [(kept.pop(), check.column_name)] if kept and check.column_name in known else []


def _find_worst(connection: duckdb.DuckDBPyConnection, checks: list[Check], since: dt.datetime) -> dict[str, float]:
    """Return the largest share of failing rows in each check's earlier runs; of what is no dbt test, earlier days."""
    worst = {
        check.key: max(100 - rate for _, rate, _ in check.days[:-1])
        for check in checks
        if not check.check_type.startswith("dbt_") and len(check.days) > 1
    }
    earlier = connection.execute(
        """
        select table_name, test_name, coalesce(column_name, ''), max(100 - pass_rate)
        from (
            select *, row_number() over (partition by unique_id order by checked_at desc, run_id desc) as back
            from main.dbt_test_results
            where status in ('pass', 'warn', 'fail') and rows_tested > 0 and checked_at >= ?
        )
        where back > 1 and table_name is not null
        group by all""",
        [since],
    ).fetchall()
    # Not by the key: the mart calls some dbt tests by what they look for (foreign_key, duplicates).
    keys = {(check.table_name, check.check_name, check.column_name or ""): check.key for check in checks}
    return worst | {keys[tuple(name)]: share for *name, share in earlier if tuple(name) in keys}


def _measure_growth(connection: duckdb.DuckDBPyConnection, names: dict[str, str]) -> list[Growth]:
    """Return the loads of which records wait, oldest first: those of a killed job, and typed ones, are among them."""
    rows = connection.execute(
        f"""
        with loads as (
            select table_name, batch_id, min(recorded_at) as loaded_at, sum(rows_read) as read,
                sum(rows_quarantined) as added,
                list(source_file order by rows_quarantined desc, source_file) filter (rows_quarantined > 0) as files
            from main.manifest_processed_files
            where status = 'loaded' and table_name is not null and rows_read > 0
            group by all
        ),
        compared as (
            select *, max(100 * added / read) over (
                partition by table_name order by loaded_at
                range between interval {DAYS_SHOWN} days preceding and current row exclude current row
            ) as worst
            from loads
        )
        select table_name, added, read, worst, files[:{FILES_NAMED}]
        from compared
        semi join (from main.quarantine where status = 'open') using (table_name, batch_id)
        order by batch_id"""
    ).fetchall()
    return [
        Growth(names.get(table, table), int(added), int(read), worst, tuple(files or ()))
        for table, added, read, worst, files in rows
    ]


def _find_unrecorded(connection: duckdb.DuckDBPyConnection, file: Path) -> str | None:
    """Return the id of dbt's last run if it had tests, and none of their results is in the record."""
    try:
        last = json.loads(file.read_text(encoding="utf-8"))
        invocation, command = last["metadata"]["invocation_id"], last["args"]["which"]
    except (OSError, ValueError, KeyError):  # dbt never ran here, or is writing just now
        return None
    # compile and docs generate list tests, too, and run none.
    if command not in ("test", "build") or not _has_table(connection, "dbt_state", "begun_runs"):
        return None
    # All targets, and whatever other lakes one has, share the file; what began on this warehouse was noted in it.
    (unrecorded,) = connection.execute(
        "select count(*) from dbt_state.begun_runs where run_id = $run"
        " and not exists (from main.dbt_test_results where run_id = $run)",
        {"run": invocation},
    ).fetchone()
    return invocation if unrecorded else None


def _has_table(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> bool:
    query = "select count(*) from duckdb_tables() where schema_name = ? and table_name = ?"
    return bool(connection.execute(query, [schema, name]).fetchone()[0])

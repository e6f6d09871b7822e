"""What is known of the lake's state at one moment; read once, for the report, the metrics and the alerts."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lakeops.bronze import check_tables, ensure_lake
from lakeops.bronze.tables import get_current
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import get_parts, open_table
from lakeops.ledger import Entry, Ledger, load_ledger
from lakeops.paths import Lake
from lakeops.settings import Settings
from lakeops.warehouse import connect, ensure_views

# What a chart can show and a person can take in; older days are in the records.
DAYS_SHOWN = 30
RUNS_SHOWN = 30
BAD = ("fail", "error")
# Commands that load. Who only builds or tests is no sign that the main job runs, nor that its failure is over.
MAIN_JOB = ("incremental", "demo")


@dataclass(frozen=True)
class Check:
    """One check of `data_quality_metrics` as it stands now, and how it came there.

    Parameters
    ----------
    since : first day of the unbroken row of days on which it had the status it has now.
    days : (day, pass rate in percent, status), oldest first.
    """

    table_name: str
    check_type: str
    check_name: str
    column_name: str | None
    status: str
    pass_rate: float
    failures: int | None
    rows: int | None
    threshold: float | None
    checked_at: dt.datetime
    since: dt.date
    days: tuple[tuple[dt.date, float, str], ...]

    @property
    def key(self) -> str:
        """Return what tells this check from all others."""
        return ":".join([self.table_name, self.check_type, self.check_name, self.column_name or ""])

    @property
    def label(self) -> str:
        """Return a name short enough for a legend: dbt puts the table's name into that of a test."""
        table = self.table_name.split(".")[-1]
        kind = self.check_type.removeprefix("dbt_")
        if found := re.search(r"_([a-z_]+?)__[a-z_]+__(?:ref|source)_(\w+?)_*$", self.check_name):
            return f"{self.column_name or found[1]} → {found[2]}"
        name = self.check_name.removeprefix("source_").removeprefix(f"{kind}_")
        for prefix in (f"{self.table_name.replace('.', '_')}_", f"{table}_"):
            name = name.removeprefix(prefix)
        return f"{kind}: {name.strip('_') or self.column_name or table}"


@dataclass(frozen=True)
class Untested:
    """What no test and no constraint looks at.

    Parameters
    ----------
    tables : models and sources without any.
    columns : by table that has some, its columns that none of them names.
    without_unit_test : models whose logic no unit test proves.
    tested_columns, all_columns : counts.
    """

    tables: list[str]
    columns: dict[str, list[str]]
    without_unit_test: list[str]
    tested_columns: int
    all_columns: int


@dataclass(frozen=True)
class Facts:
    """The state of one lake.

    Parameters
    ----------
    tables : one mapping for each bronze table, see `collect_status`.
    quarantine : open records, counted by table_name, source_file and reason. No record's content is in here.
    runs : the last runs, oldest first, also of what only builds or tests: the columns of the record `pipeline_runs`.
    storage : one mapping for each table: layer, table, rows, files, bytes (of the newest version), bytes_on_disk.
    published_at : when readers were last switched over; None if never.
    untested : None where dbt has not written its manifest yet, or not all of it.
    look : what to type to see where dbt keeps the rows of failed tests.
    """

    target: str
    at: dt.datetime
    tables: list[dict[str, Any]]
    checks: list[Check]
    quarantine: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    storage: list[dict[str, Any]]
    warehouse_bytes: int
    published_at: dt.datetime | None
    untested: Untested | None
    look: str


def collect_facts(settings: Settings, now: dt.datetime) -> Facts:
    """Read the state of a lake; of one that was never loaded, too.

    Raises
    ------
    LockedError : another process holds the warehouse.
    BronzeCommitError : a table of the lake is lost, or cannot be read.
    """
    with open_records(settings) as (connection, contracts):
        ledger = load_ledger(settings.lake)
        checks = read_checks(connection, now)
        quarantine = count_open_quarantine(connection)
        runs = _select(connection, f"from main.pipeline_runs order by started_at desc limit {RUNS_SHOWN}")
        silver = _select(
            connection,
            "select 'silver' as layer, 'silver.' || table_name as table, estimated_size as rows, null as files,"
            " null as bytes, null as bytes_on_disk from duckdb_tables() where schema_name = 'silver' order by 2",
        )
    warehouse, serving = settings.warehouse, settings.serving
    return Facts(
        settings.target,
        now,
        collect_status(settings.lake, contracts.tables, ledger, now),
        checks,
        quarantine,
        runs[::-1],
        [*collect_storage(settings.lake), *silver],
        warehouse.stat().st_size if warehouse.exists() else 0,
        dt.datetime.fromtimestamp(serving.stat().st_mtime, dt.UTC) if serving.exists() else None,
        find_untested(settings.dbt_project / "target" / "manifest.json"),
        settings.ask("select test_name, failures_relation from dbt_test_results where failures > 0"),
    )


@contextmanager
def open_records(settings: Settings) -> Iterator[tuple[duckdb.DuckDBPyConnection, Contracts]]:
    """Open the warehouse with every record of the lake in view, also on a clone that never ran."""
    contracts = load_contracts(settings.models)
    with connect(settings.warehouse) as connection:
        check_tables(settings.lake, contracts, load_ledger(settings.lake))
        ensure_lake(settings.lake, contracts)
        ensure_views(connection, settings.lake, contracts)
        yield connection, contracts


def read_checks(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> list[Check]:
    """Return every check of the mart with its last days; the worst first. None where dbt never built the mart."""
    built = connection.execute(
        "select count(*) from information_schema.tables"
        " where table_schema = 'main' and table_name = 'data_quality_metrics'"
    ).fetchone()
    if not built[0]:
        return []
    rows = _select(
        connection,
        "select table_name, check_type, check_name, column_name, check_date, pass_rate, failures, rows, status,"
        " threshold, checked_at from main.data_quality_metrics where table_name is not null and check_date >= ?"
        " qualify row_number() over ("
        "  partition by table_name, check_type, check_name, column_name, check_date"
        "  order by status = 'pass' and rows is not distinct from 0, checked_at desc, status = 'pass'"
        " ) = 1 order by check_date",
        [now.date() - dt.timedelta(days=DAYS_SHOWN)],
    )
    histories: dict[tuple[Any, ...], dict[dt.date, dict[str, Any]]] = {}
    for row in rows:
        key = (row["table_name"], row["check_type"], row["check_name"], row["column_name"])
        if row["status"] == "pass" and row["rows"] == 0 and key in histories:
            continue  # nothing new to judge is no proof that what was found before is mended
        histories.setdefault(key, {})[row["check_date"]] = row
    checks = [_make_check(list(history.values())) for history in histories.values()]
    return sorted(checks, key=lambda check: (_RANK.get(check.status, 5), check.pass_rate, check.table_name))


_RANK = {"error": 0, "fail": 1, "warn": 2, "skipped": 3, "pass": 4}


def _make_check(days: list[dict[str, Any]]) -> Check:
    last = days[-1]
    since = last["check_date"]
    for day in reversed(days):
        if day["status"] != last["status"]:
            break
        since = day["check_date"]
    return Check(
        last["table_name"],
        last["check_type"],
        last["check_name"],
        last["column_name"],
        last["status"],
        last["pass_rate"],
        last["failures"],
        last["rows"],
        last["threshold"],
        last["checked_at"],
        since,
        tuple((day["check_date"], day["pass_rate"], day["status"]) for day in days),
    )


def count_open_quarantine(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return how many records wait in quarantine, by table, file and reason; the most first."""
    return _select(
        connection,
        "select table_name, source_file, reason, count(*) as records from main.quarantine where status = 'open'"
        " group by all order by records desc, table_name, source_file, reason",
    )


def collect_status(lake: Lake, tables: tuple[Contract, ...], ledger: Ledger, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the state of every bronze table.

    Returns
    -------
    One mapping a table: table, newest_business_date, last_batch, rows, files, versions, quarantined (rows of the
    files that are live), hours_since_load, freshness (fresh, warn, stale, never, or - where the contract sets none),
    warn_hours and error_hours (what the contract allows; None where it sets none).
    """
    facts = []
    by_table: dict[str | None, list[Entry]] = {}
    for entry in ledger.iter_live():
        by_table.setdefault(entry.table_name, []).append(entry)
    for contract in tables:
        path = get_current(lake, contract)
        table = open_table(path) if (path / "_delta_log").is_dir() else None
        parts = get_parts(table) if table else None
        live = by_table.get(contract.table, [])
        newest = max((entry.recorded_at for entry in live), default=None)
        hours = (now - newest).total_seconds() / 3600 if newest else None
        facts.append(
            {
                "table": contract.name,
                "newest_business_date": max((e.max_business_date for e in live if e.max_business_date), default=None),
                "last_batch": max((entry.batch_id or 0 for entry in live), default=None),
                "rows": int(parts["num_records"].sum()) if parts is not None else 0,
                "files": len(live),
                "versions": table.version() + 1 if table else 0,
                "quarantined": sum(
                    e.rows_quarantined - ledger.count_replayed(e.source_file) for e in live if e.rows_quarantined
                ),
                "hours_since_load": round(hours, 1) if hours is not None else None,
                "freshness": _judge_freshness(hours, contract.freshness),
                "warn_hours": contract.freshness.get("warn"),
                "error_hours": contract.freshness.get("error"),
            }
        )
    return facts


def _judge_freshness(hours: float | None, limits: dict[str, float]) -> str:
    if not limits:
        return "-"
    if hours is None:
        return "never"
    if hours > limits.get("error", float("inf")):
        return "stale"
    return "warn" if hours > limits.get("warn", float("inf")) else "fresh"


def collect_storage(lake: Lake) -> list[dict[str, Any]]:
    """Return rows, files and bytes of every Delta table in the lake; `bytes_on_disk` counts old versions and logs."""
    storage = []
    for log in sorted(lake.folder.glob("*/delta/*/_delta_log")):
        folder = log.parent
        parts = get_parts(open_table(folder))
        storage.append(
            {
                "layer": folder.parent.parent.name,
                "table": f"{folder.parent.parent.name}.{folder.name}",
                "rows": int(parts["num_records"].sum()),
                "files": parts.height,
                "bytes": int(parts["size_bytes"].sum()),
                "bytes_on_disk": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            }
        )
    return storage


def find_untested(manifest: Path) -> Untested | None:
    """Return what no test or constraint looks at, by what dbt wrote when it last parsed; None if it never did."""
    try:
        project = json.loads(manifest.read_text(encoding="utf-8"))
        nodes = project["nodes"].values()
    except (OSError, ValueError, KeyError):  # or is writing just now, or was killed while it did
        return None
    things = {node["unique_id"]: node for node in nodes if node["resource_type"] == "model"}
    things |= {node["unique_id"]: node for node in project["sources"].values()}
    tested = {key: names for key, thing in things.items() if (names := _list_required_columns(thing))}
    for test in (node for node in nodes if node["resource_type"] == "test"):
        looks_at = [test["attached_node"]] if test.get("attached_node") else test["depends_on"]["nodes"]
        named = {test.get("column_name")} | _list_named_columns(test)
        # A relationship of a source reads two tables: the one it refers to, then the one it tests.
        of_source = [name for name in looks_at if name in project["sources"]] if test.get("test_metadata") else []
        for thing in of_source[-1:] or looks_at:
            tested.setdefault(thing, set()).update(named)
    proved = {name for test in project.get("unit_tests", {}).values() for name in test["depends_on"]["nodes"]}
    bare = {key: [name for name in things[key]["columns"] if name not in tested[key]] for key in things.keys() & tested}
    every = sum(len(thing["columns"]) for thing in things.values())
    return Untested(
        sorted(_name(thing) for key, thing in things.items() if key not in tested),
        {_name(things[key]): names for key, names in sorted(bare.items()) if names},
        sorted(_name(t) for k, t in things.items() if t["resource_type"] == "model" and k not in proved),
        sum(len(set(things[key]["columns"]) & names) for key, names in tested.items() if key in things),
        every,
    )


def _list_required_columns(thing: dict[str, Any]) -> set[str]:
    """Return the columns that a model's contract keeps nulls out of, at every write."""
    return {name for name, column in thing["columns"].items() if column.get("constraints")}


def _list_named_columns(test: dict[str, Any]) -> set[str]:
    arguments = (test.get("test_metadata") or {}).get("kwargs", {})
    listed = [value for value in arguments.values() if isinstance(value, list)]
    return {name for value in listed for name in value if isinstance(name, str)}


def _name(thing: dict[str, Any]) -> str:
    return f"{thing['schema']}.{thing.get('alias') or thing['identifier']}"


def _select(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> list[dict[str, Any]]:
    found = connection.execute(query, parameters or [])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

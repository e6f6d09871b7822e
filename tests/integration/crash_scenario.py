"""What the killed loaders were doing, and how the lakes they left are compared with one whose loader lived."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from conftest import Project, make_project
from integration.crash import LOAD, Killed, Warden, call, set_limits
from lakeops.delta import get_last_batch, open_table
from lakeops.ledger import NAME, load_ledger
from lakeops.warehouse import prepare_connection

# How the contracts of the shop differ here: a key of every type that `touched_keys` writes down and reads back.
CHANGED_CONTRACTS = {
    "key: [item_id], sequence_by: [changed_at]": "key: [item_id, region, opened_at, limit_amount],"
    " sequence_by: [changed_at], on_new_column: evolve",
    "          - {name: name,": "          - {name: region, data_type: varchar}\n"
    "          - {name: opened_at, data_type: timestamp}\n"
    '          - {name: limit_amount, data_type: "decimal(9,3)"}\n'
    "          - {name: name,",
}
# The other kinds of table, for the long version and for what is typed after a contract was mended.
MORE_CONTRACTS = """
      - name: stock
        config:
          meta:
            load:
              files: ["stock/**/*.jsonl"]
              format: jsonl
              mode: merge
              key: [item_id]
              sequence_by: [changed_at]
              delete_when: "op = 'D'"
              partial_updates: true
        columns:
          - {name: item_id, data_type: bigint}
          - {name: op, data_type: varchar}
          - {name: place, data_type: varchar}
          - {name: weight, data_type: "decimal(9,2)"}
          - {name: changed_at, data_type: timestamp}
      - name: prices
        config:
          meta:
            load: {files: ["prices/*.csv"], format: csv, mode: replace, key: [item_id], sequence_by: [price_dt]}
        columns:
          - {name: item_id, data_type: bigint}
          - {name: price_dt, data_type: date}
          - {name: price, data_type: "decimal(9,2)"}
"""
# A key touched twice is recomputed twice, to the same end; a resolution counts only if its batch was committed.
HARMLESS_TWICE = ("touched_keys", "quarantine_resolutions")
REPLAY = ("lakeops.pipeline:run_replay", None, None)
# Small enough that one load of a few files is cut into batches, and that most commits of bronze write a checkpoint.
SMALL_LIMITS = {"lakeops.bronze.load:FILES_PER_BATCH": 8, "lakeops.delta:CHECKPOINT_ABOVE_BYTES": 1_000}


@dataclass
class Scenario:
    """A project whose next load is to be killed.

    The raw files stay where they are and only the lake is put back before each load: a copied file would have another
    ctime, and be looked at again.

    Parameters
    ----------
    project : the project; its landing zone holds all files, its lake what was loaded before.
    limits : constants of the loader, for the killed load and for those after it; see `set_limits`.
    work : what is killed, and done again afterwards; see `crash.call`.
    """

    project: Project
    limits: dict[str, int] = field(default_factory=dict)
    work: tuple[str | None, ...] = LOAD
    expected: dict[str, Counter[str]] = field(default_factory=dict)

    def keep(self) -> None:
        """Remember lake and warehouse as they are now, then learn from a load that lives how a load should end."""
        self.project.keep()
        self.do_work()
        assert self.load() == []
        self.expected = describe_state(self.project)

    def kill(self, warden: Warden, **orders: float | bool) -> Killed:
        """Put the lake back, start the work in a process of its own, and kill it as ordered; see `Warden.run`."""
        self.project.reset()
        return self.kill_again(warden, **orders)

    def kill_again(self, warden: Warden, **orders: float | bool) -> Killed:
        """Like `kill`, on the lake as the last kill left it."""
        return warden.run(self.project.root, limits=self.limits, work=self.work, **orders)

    def do_work(self) -> list[int]:
        """Do the work in this process; returns the batches that were committed, if it says so."""
        with _limited(self.limits):
            outcome = call(self.work, self.project.settings)
        return getattr(outcome, "batches", [])

    def load(self) -> list[int]:
        """Load in this process; returns the batches that were committed."""
        with _limited(self.limits):
            return self.project.load().batches


@dataclass
class Verdict:
    """What a kill did, after the loads that followed.

    Parameters
    ----------
    lost, duplicated : records (rows, ledger entries, quarantined records) too few and too many.
    manual_steps : 1 if the loads that followed did not go through by themselves.
    complaints : everything that is not as it should be, for a person.
    """

    lost: int = 0
    duplicated: int = 0
    manual_steps: int = 0
    complaints: list[str] = field(default_factory=list)


@contextlib.contextmanager
def _limited(limits: dict[str, int]) -> Iterator[None]:
    old = set_limits(limits)
    try:
        yield
    finally:
        set_limits(old)


def recover(scenario: Scenario, every_table: bool = False) -> Verdict:
    """Do what a person does after a crash: type the command again. Then compare with a lake that never saw a crash."""
    verdict = Verdict()
    project = scenario.project
    try:
        verdict.complaints += _find_early_claims(project)
        before = _find_last_batch(project)
        batches = scenario.do_work()
        versions = project.versions()
        again = scenario.load()
        found = describe_state(project, every_table)
    except Exception:
        verdict.manual_steps = 1
        verdict.complaints.append(traceback.format_exc())
        return verdict
    if batches and min(batches) <= before:
        verdict.complaints.append(f"batch {min(batches)} is not larger than {before}, which was there already")
    if again or project.versions() != versions:
        changed = {name for name, version in project.versions().items() if version != versions.get(name)}
        verdict.complaints.append(f"a second load committed batches {again} and versions of {changed}")
    for name in sorted({*scenario.expected, *found}):
        lost = scenario.expected.get(name, Counter()) - found.get(name, Counter())
        extra = found.get(name, Counter()) - scenario.expected.get(name, Counter())
        verdict.lost += lost.total()
        verdict.duplicated += extra.total()
        verdict.complaints += [f"{name}: lost {record}" for record in lost.elements()]
        verdict.complaints += [f"{name}: too many {record}" for record in extra.elements()]
    return verdict


def _find_early_claims(project: Project) -> list[str]:
    """Return the batches that the ledger claims and a derived table lacks: models would take them in too early."""
    claimed = load_ledger(project.settings.lake).batches
    tables = [table for table in _list_tables(project) if table.with_name(f"{table.name}_changes").is_dir()]
    return [
        f"the ledger claims batch {claimed[table.name]} for {table.name}, which stands at {reached}"
        for table in tables
        if (reached := get_last_batch(open_table(table))) < claimed.get(table.name, 0)
    ]


def _find_last_batch(project: Project) -> int:
    """Return the largest batch id on any row or record that a reader could have seen."""
    last = 0
    for table in _list_tables(project):
        for column in ("_batch_id", "batch_id"):
            frame = pl.scan_delta(str(table))
            if column in frame.collect_schema():
                last = max(last, frame.select(pl.col(column).max()).collect().item() or 0)
    return last


def _list_tables(project: Project) -> list[Path]:
    # Version 0 makes the table: a folder without it is what a killed CREATE leaves.
    logs = project.settings.lake.folder.glob("*/delta/*/_delta_log/00000000000000000000.json")
    return sorted(log.parents[1] for log in logs)


def describe_state(project: Project, every_table: bool = False) -> dict[str, Counter[str]]:
    """Return all that must be equal after a crash, as bags of words: rows, quarantine, ledger, views.

    Batch ids, run ids and load times are left out, and versions, because what heals may take a commit of its own.

    Parameters
    ----------
    every_table : have DuckDB count every Delta table, and not only look through the views; twice as slow.
    """
    state: dict[str, Counter[str]] = {}
    heights = {}
    for table in _list_tables(project):
        name = "/".join(table.parts[-3::2])
        frame = pl.read_delta(str(table))
        heights[table] = frame.height
        if table.name == NAME:
            continue  # see _describe_ledger
        frame = frame.drop("_batch_id", "_ingested_at", strict=False)
        if not name.startswith("bronze/"):
            frame = frame.drop(
                name for name in frame.columns if name.endswith(("_at", "batch_id", "run_id", "version"))
            )
        rows = [str(sorted(row.items())) for row in frame.iter_rows(named=True)]
        state[name] = Counter(set(rows) if table.name in HARMLESS_TWICE else rows)
        state[f"{name}, columns"] = Counter(frame.columns)
    state |= _describe_ledger(project)
    with _open_warehouse(project) as connection:
        state["duckdb"] = _ask_views(connection)
        if every_table:
            counts = {
                table: connection.execute(f"select count(*) from delta_scan('{table}')").fetchone()[0]
                for table in heights
            }
            assert counts == heights, "DuckDB and delta-rs count differently"
    return state


@functools.cache
def _get_reader() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    prepare_connection(connection)
    return connection


@contextlib.contextmanager
def _open_warehouse(project: Project) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach the warehouse to one DuckDB for all: to load the extension anew costs as much as all queries together."""
    connection = _get_reader()
    connection.execute(f"attach '{project.settings.warehouse}' as warehouse (read_only)")
    connection.execute("use warehouse")
    try:
        yield connection
    finally:
        connection.execute("use memory")
        connection.execute("detach warehouse")


def _describe_ledger(project: Project) -> dict[str, Counter[str]]:
    ledger = load_ledger(project.settings.lake)
    frame = pl.read_delta(str(project.settings.lake.ops(NAME)))
    told = ["source_file", "table_name", "status", "file_sha256", "size_bytes", "mtime_ns", "rows_read",
            "rows_accepted", "rows_quarantined", "min_business_date", "max_business_date", "reason"]  # fmt: skip
    return {
        "ledger": Counter(re.sub(r"batch \d+", "batch N", str(row)) for row in frame.select(told).rows()),
        "ledger, last word": Counter(str((e.source_file, e.status, e.file_sha256)) for e in ledger.latest.values()),
        "ledger, live": Counter(str((entry.source_file, entry.file_sha256)) for entry in ledger.iter_live()),
    }


def _ask_views(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    """Return what SQL says through the views; each of them makes DuckDB read a table's log and files by itself."""
    answers: Counter[str] = Counter()
    views = connection.execute(
        "select schema_name || '.' || view_name from duckdb_views()"
        " where not internal and database_name = 'warehouse' and schema_name = 'bronze'"
    ).fetchall()
    for (view,) in views:
        answers[f"{view}: {connection.execute(f'select count(*) from {view}').fetchone()[0]}"] += 1
    told = connection.execute("select source_file, source_row, status from quarantine").fetchall()
    told += connection.execute(
        "select source_file, status, count(*) from manifest_processed_files group by all"
    ).fetchall()
    answers.update(str(row) for row in told)
    return answers


def land_history(project: Project) -> None:
    """Land and load what came before: two batches, each with something in quarantine."""
    project.land("sales/1.csv", _sales((1, 5, 10), ("x", 5, 3)))
    project.land("sales/2.csv", _sales((10, 6, 10), (11, 6, 7)))
    project.land("sales/5.csv", _sales((50, 6, 10), ("y", 6, 10)))
    project.land("items/1.csv", _items((1, "first", 1), (2, "first", 1)))
    project.land("clicks/1.jsonl", '{"click_id": 1, "page": "a"}\n{"click_id": 2, "page": "b"}\n')
    project.load()
    project.land("items/2.csv", _items((1, "second", 5), (3, "second", 5), ("z", "second", 5)))
    project.land("sales/3.csv", _sales((20, 7, 10)))
    project.land("clicks/2.jsonl", '{"click_id": 3, "page": "a"}\nnothing\n')
    project.load()


def land_day(project: Project) -> None:
    """Land one of each kind of file that a load must do something different with."""
    project.land("clicks/1.jsonl", '{"click_id": 1, "page": "new"}\n{bad\n')  # restated
    project.land("clicks/3.jsonl", '{"click_id": 7, "page": "a"}\n')
    # Without its newer record of item 1, the value of the first file comes back; item 3 goes, item 4 comes.
    project.land("items/2.csv", _items((4, "restated", 5), ("w", "restated", 5)))
    project.land("items/3.csv", _items((2, "third", 9), (5, "third", 9), extra="colour"))  # with a new column
    project.land("items/late.csv", _items((2, "late", 2)))
    project.land("other/1.csv", "of,no,contract\n")
    project.land("sales/0_late.csv", _sales((90, 1, 4), (91, 1, 4)))
    project.land("sales/1.csv", _sales((1, 5, 11), (2, 5, 3), ("v", 5, 1)))  # restated
    project.land("sales/3.csv", _sales((20, 7, 10)))  # touched, with the bytes it had
    project.land("sales/4.csv", _sales((30, 8, 10), ("u", 8, 10), extra="note"))  # with a new column
    project.land("sales/5.csv", _sales((10, 6, 10), (11, 6, 7)))  # restated into a copy
    project.land("sales/6_bad.csv", "sale_id,amount\n1,1\n")
    project.land("sales/7_copy.csv", _sales((30, 8, 10), ("u", 8, 10), extra="note"))


def land_long_history(project: Project) -> None:
    """Like `land_history`, with the other kinds of table as well."""
    _extend_contracts(project)
    project.land("stock/1.jsonl", _stock((1, "I", "1.25", 1), (2, "I", "2.5", 1), (3, "I", "3.125", 1)))
    project.land("prices/1.csv", _prices(1, (1, "1.50"), (2, "2.50"), (3, "3.50")))
    land_history(project)


def land_week(project: Project) -> None:
    """Land one of each kind of file, and more, after a contract was changed as well."""
    land_day(project)
    widen_contracts(project)
    project.land("stock/1.jsonl", _stock((1, "I", "1.25", 1), (2, "I", "2.75", 1)))  # restated, without item 3
    project.land("stock/2.jsonl", _stock((1, "D", None, 2), (4, "I", "9.5", 2), (4, "U", None, 3)))
    project.land("prices/2.csv", _prices(3, (1, "1.75"), (4, "x"), (5, "5.00")))
    project.land("prices/0_late.csv", _prices(2, (2, "2.00")))
    for day in range(1, 4):
        project.land(f"sales/week/{day}.csv", _sales(*[(1000 * day + n, day, n) for n in range(50)], ("t", day, 1)))
        project.land(f"items/week/{day}.csv", _items(*[(n, f"day {day}", 10 - day) for n in range(20)]))
        project.land(f"clicks/week/{day}.jsonl", f'{{"click_id": {day}00}}\n' * day + "[]\n")


def load_what_needs_another_contract(project: Project) -> None:
    """Load records, one a deletion, that only a wider contract will accept."""
    _extend_contracts(project)
    project.land("stock/1.jsonl", _stock((1, "I", "1.25", 1), (2, "I", "2.5", 1)))
    project.land("stock/2.jsonl", _stock((1, "D", "1.125", 2), (2, "U", "2.125", 2), (3, "I", "x", 2)))
    project.land("sales/1.csv", _sales((1, 5, 10), ("x", 5, 3)) + "2,2024-04-05,1.125\n")
    project.load()


def _extend_contracts(project: Project) -> None:
    file = project.root / "dbt" / "models" / "bronze" / "shop.yml"
    file.write_text(file.read_text() + MORE_CONTRACTS)


def widen_contracts(project: Project) -> None:
    """Give decimals more digits, which lets quarantined records in and makes the next run rewrite the tables."""
    project.change_contract("decimal(9,2)", "decimal(12,4)")
    project.change_contract("decimal(12,2)", "decimal(15,4)")


def _sales(*rows: tuple, extra: str = "") -> str:
    more = f",{extra}" if extra else ""
    return f"sale_id,sale_dt,amount{more}\n" + "".join(
        f"{sale},2024-04-{day:02},{amount}.25{more}\n" for sale, day, amount in rows
    )


def _items(*rows: tuple, extra: str = "") -> str:
    more = f",{extra}" if extra else ""
    return f"item_id,region,opened_at,limit_amount,name,changed_at{more}\n" + "".join(
        f"{item},n/a,2024-01-01T01:30:00,0.125,{name},2024-02-{day:02}T00:00:00{more}\n" for item, name, day in rows
    )


def _stock(*rows: tuple) -> str:
    records = [
        {"item_id": item, "op": op, "changed_at": f"2024-02-{day:02}T00:00:00"}
        | ({"weight": weight} if weight else {"place": "shelf"})
        for item, op, weight, day in rows
    ]
    return "".join(json.dumps(record) + "\n" for record in records)


def _prices(day: int, *rows: tuple) -> str:
    return "item_id,price_dt,price\n" + "".join(f"{item},2024-02-{day:02},{price}\n" for item, price in rows)


def make_scenario(
    folder: Path,
    land: Callable[[Project], None],
    history: Callable[[Project], None] | None = land_history,
    limits: dict[str, int] | None = None,
    work: tuple[str | None, ...] = LOAD,
) -> Scenario:
    """Lay out a project, load its history, land the files of the load that will be killed.

    Parameters
    ----------
    folder : an empty folder to work in.
    land, history : as above; without a history the lake does not exist yet.
    limits, work : see `Scenario`.
    """
    scenario = Scenario(make_project(Path(os.path.realpath(folder)) / "project"), limits or {}, work)
    for shop, here in CHANGED_CONTRACTS.items():
        scenario.project.change_contract(shop, here)
    with _limited(scenario.limits):
        if history:
            history(scenario.project)
        land(scenario.project)
    scenario.keep()
    return scenario

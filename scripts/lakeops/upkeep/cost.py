"""What the lake costs: disk by table, how fast it grows, seconds by step, and what less retention would save."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from lakeops.contract import Contracts, load_contracts
from lakeops.delta import open_table, read_frame
from lakeops.ledger import load_ledger
from lakeops.paths import Lake
from lakeops.settings import Settings
from lakeops.upkeep.log import Log, list_files, read_log
from lakeops.upkeep.pins import list_pins
from lakeops.upkeep.tables import Table, list_tables
from lakeops.upkeep.vacuum import WRITER_HOURS, plan_vacuum

# Of the last month: what was slow half a year ago tells nothing of today.
DAYS = 30
SLOWEST = 10
# What is asked: without any history, a day, three, the default, a month.
RETENTIONS = (0, 24, 72, 168, 720)


@dataclass(frozen=True)
class TableCost:
    """The disk one table takes.

    Parameters
    ----------
    live : bytes of the newest version.
    retained : bytes kept for older versions that can still be read, or could until vacuum.
    orphaned : bytes of data files that no log names.
    log : bytes of the log itself.
    growth : bytes of new rows a day, over the last month; None if it is younger than a day.
    raw : bytes of the raw files whose rows it holds; None where there are none.
    """

    table: str
    layer: str
    files: int
    live: int
    retained: int
    orphaned: int
    log: int
    growth: float | None
    raw: int | None

    @property
    def total(self) -> int:
        """Return all bytes of the table's folder."""
        return self.live + self.retained + self.orphaned + self.log

    @property
    def compression(self) -> float | None:
        """Return how many times smaller the rows are than in their raw files."""
        return self.raw / self.live if self.raw and self.live else None


@dataclass(frozen=True)
class Cost:
    """What a lake costs.

    Parameters
    ----------
    duckdb : bytes of the warehouse and of the file readers open.
    steps : median seconds of each step of the main job, over the runs of the last month that built.
    models, tests : the slowest, with their median and their summed seconds in that time.
    savings : bytes that vacuum would free with so many hours of retention.
    """

    tables: tuple[TableCost, ...]
    duckdb: int
    runs: int
    steps: dict[str, float]
    models: tuple[tuple[str, float, float], ...]
    tests: tuple[tuple[str, float, float], ...]
    savings: dict[int, int]


def collect_cost(settings: Settings, now: dt.datetime) -> Cost:
    """Return what the lake costs; reads logs and names of files, and no data but the lake's own records.

    Raises
    ------
    BronzeCommitError : a log cannot be read.
    LockedError : what readers look at cannot be told.
    """
    contracts = load_contracts(settings.models)
    tables = list_tables(settings.lake, contracts)
    pins, raw = list_pins(settings), _sum_raw(settings.lake, contracts)
    costs = tuple(_measure(table, raw.get(table.name), now) for table in tables)
    savings = {
        hours: sum(plan_vacuum(table, pins.get(table.path, set()), hours, now).bytes for table in tables)
        for hours in RETENTIONS
    }
    files = [settings.warehouse, settings.serving]
    runs = _read_recent(settings.lake, "pipeline_runs", "started_at", now)
    runs = runs.filter(pl.col("build_seconds").is_not_null()) if runs.height else runs
    steps = ["seconds", *(f"{step}_seconds" for step in ("load", "build", "test", "publish"))]
    medians = runs.select(pl.col(steps).median()).row(0, named=True) if runs.height else {}
    return Cost(
        costs,
        sum(file.stat().st_size for file in files if file.exists()),
        runs.height,
        {name.removesuffix("_seconds"): value for name, value in medians.items() if value is not None},
        _find_slowest(_read_recent(settings.lake, "dbt_model_results", "built_at", now), "table_name"),
        _find_slowest(_read_recent(settings.lake, "dbt_test_results", "checked_at", now), "test_name"),
        savings,
    )


def _sum_raw(lake: Lake, contracts: Contracts) -> dict[str, int]:
    """Return the bytes of the raw files whose rows are in bronze now, by the table that holds every record of them."""
    names = {
        contract.table: contract.name + ("_changes" if contract.load.keeps_changes else "")
        for contract in contracts.tables
    }
    sums: dict[str, int] = {}
    for entry in load_ledger(lake).iter_live():
        if entry.table_name in names:
            name = names[entry.table_name]
            sums[name] = sums.get(name, 0) + entry.size_bytes
    return sums


def _measure(table: Table, raw: int | None, now: dt.datetime) -> TableCost:
    present, log = list_files(table.path), read_log(table.path)
    live = {life.path for life in log.list_live()}
    named = {life.path for life in log.lives}
    logs = (file.stat().st_size for file in (table.path / "_delta_log").iterdir() if file.is_file())
    return TableCost(
        table.name,
        table.layer,
        len(live),
        sum(size for name, (size, _) in present.items() if name in live),
        sum(size for name, (size, _) in present.items() if name in named and name not in live),
        sum(
            size
            for name, (size, changed) in present.items()
            if name not in named and now - changed > dt.timedelta(hours=WRITER_HOURS)
        ),
        sum(logs),
        _measure_growth(log, now),
        raw,
    )


def _measure_growth(log: Log, now: dt.datetime) -> float | None:
    """Return the bytes a day by which new rows outgrow those that left; laying rows out anew is no growth."""
    begin = max(now - dt.timedelta(days=DAYS), log.times[log.first])
    days = (now - begin).total_seconds() / 86400
    if days < 1:
        return None
    grown = 0
    for life in log.lives:
        if life.since not in log.optimized and log.times[life.since] > begin:
            grown += life.size
        if life.until is not None and life.until not in log.optimized and log.times[life.until] > begin:
            grown -= life.size
    return grown / days


def _read_recent(lake: Lake, record: str, by: str, now: dt.datetime) -> pl.DataFrame:
    path = lake.ops(record)
    if not (path / "_delta_log").is_dir():
        return pl.DataFrame()
    return read_frame(open_table(path)).filter(pl.col(by) > now - dt.timedelta(days=DAYS))


def _find_slowest(rows: pl.DataFrame, name: str) -> tuple[tuple[str, float, float], ...]:
    if not rows.height:
        return ()
    slow = (
        rows.drop_nulls("seconds")
        .group_by(name)
        .agg(pl.col("seconds").median(), pl.col("seconds").sum().alias("all"))
        .sort("seconds", name, descending=[True, False])
    )
    return tuple(slow.head(SLOWEST).iter_rows())

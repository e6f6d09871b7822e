"""What the days that a load touched look like: rows, duplicates, nulls, distinct values, middles, categories.

A day is profiled whole whenever a batch adds to it or takes from it, so its newest profile is true whatever came late
or was restated, and the cost of a load does not grow with the history. Values of personal columns are counted only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from lakeops.contract import Column, Contract, Contracts
from lakeops.delta import append, get_last_batch, open_table
from lakeops.ledger import make_frame
from lakeops.settings import Settings
from lakeops.warehouse import connect

NAME = "data_profiles"
_NUMBERS = ("bigint", "decimal", "double")


@dataclass(frozen=True)
class _News:
    """What happened to one table since its days were last profiled."""

    run_id: str
    batch_id: int
    superseded: tuple[tuple[dt.date, dt.date], ...]
    loaded_on: dt.date


def profile_new_days(settings: Settings, contracts: Contracts, now: dt.datetime) -> int:
    """Profile every business day that batches touched since this was last done, and append it to `data_profiles`.

    A table without business dates is profiled by the UTC day of the load, and only what was loaded that day.

    Returns
    -------
    How many days of tables were profiled.

    Raises
    ------
    LockedError : another process holds the warehouse.
    BronzeCommitError : the record cannot be written.
    """
    path = settings.lake.ops(NAME)
    done = get_last_batch(open_table(path))
    rows: list[dict[str, Any]] = []
    with connect(settings.warehouse) as connection:
        news = _read_news(connection, done)
        for contract in contracts.tables:
            if contract.table in news:
                found = _profile_table(connection, contract, news[contract.table], done)
                rows += [{**row, "run_id": news[contract.table].run_id, "measured_at": now} for row in found]
    if rows:
        newest = max(table.batch_id for table in news.values())
        append(path, make_frame(contracts.get_record(NAME), [{**row, "batch_id": newest} for row in rows]), newest)
    return len({(row["table_name"], row["business_date"]) for row in rows})


def _read_news(connection: duckdb.DuckDBPyConnection, done: int) -> dict[str, _News]:
    found = connection.execute(
        """
        select
            table_name, max_by(run_id, batch_id), max(batch_id),
            list((min_business_date, max_business_date))
                filter (status in ('superseded', 'undone', 'restored') and min_business_date is not null),
            cast(min(recorded_at) as date)
        from main.manifest_processed_files
        where batch_id > ? and table_name is not null
        group by table_name""",
        [done],
    ).fetchall()
    return {table: _News(run, batch, tuple(left or ()), day) for table, run, batch, left, day in found}


def _profile_table(
    connection: duckdb.DuckDBPyConnection, contract: Contract, news: _News, done: int
) -> Iterator[dict[str, Any]]:
    day = _get_day(contract)
    if contract.load.business_date is None:
        # All that was loaded on these days, also by earlier batches of the first of them.
        first = connection.execute(
            "select min(batch_id) from main.manifest_processed_files"
            " where table_name = ? and recorded_at >= cast(? as date)",
            [contract.table, news.loaded_on],
        ).fetchone()[0]
        chosen = f"_batch_id >= {first}"
        days: set[dt.date] = set()
    else:
        days = {
            row[0]
            for row in connection.execute(
                f"select distinct {day} from {contract.name} where _batch_id > {done}"
            ).fetchall()
        } - {None}
        days |= _find_emptied(connection, contract, news)
        if not days:
            return
        listed = ", ".join(f"date '{one}'" for one in sorted(days))
        # The range lets DuckDB skip files; the list alone does not.
        chosen = f"{day} between date '{min(days)}' and date '{max(days)}' and {day} in ({listed})"
    columns = [name for name, *_ in connection.execute(f"describe {contract.name}").fetchall() if name[0] != "_"]
    seen = set()
    for measured in _measure(connection, contract, columns, day, chosen):
        seen.add(measured["business_date"])
        yield measured
    for gone in days - seen:
        yield _make_row(contract, gone, "volume", value=0, rows=0)


def _find_emptied(connection: duckdb.DuckDBPyConnection, contract: Contract, news: _News) -> set[dt.date]:
    """Return days that rows of files were of that left or came back: nothing of them may be left to find them by."""
    found: set[dt.date] = set()
    for first, last in news.superseded:
        rows = connection.execute(
            "select distinct business_date from main.data_profiles"
            " where table_name = ? and business_date between ? and ?",
            [contract.name, first, last],
        ).fetchall()
        found |= {day for (day,) in rows}
    return found


def _get_day(contract: Contract) -> str:
    column = contract.load.business_date
    if column is None:
        return "cast(_ingested_at as date)"
    return f'"{column}"' if contract.get_column(column).type.kind == "date" else f'cast("{column}" as date)'


def _measure(
    connection: duckdb.DuckDBPyConnection, contract: Contract, columns: list[str], day: str, chosen: str
) -> Iterator[dict[str, Any]]:
    declared = {column.name: column for column in contract.columns}
    means = [name for name in columns if name in declared and _has_mean(contract, declared[name])]
    required = {test.column for test in contract.expectations if test.test == "not_null"}
    key = ", ".join(f'"{name}"' for name in contract.load.key)
    asked = [f"{day} as day", "count(*)", f"count(distinct ({key}))"]
    asked += [f'count("{name}"), count(distinct "{name}")' for name in columns]
    asked += [f'avg("{name}"), cast(median("{name}") as double)' for name in means]
    source = f"from {contract.name} where {chosen} and {day} is not null group by 1 order by 1"
    for date, rows, keys, *counts in connection.execute(f"select {', '.join(asked)} {source}").fetchall():
        yield _make_row(contract, date, "volume", value=rows, rows=rows)
        # In a table that orders its records, a key that comes again is a newer state and no duplicate.
        if contract.load.mode == "append" and not contract.load.sequence_by:
            yield _make_row(
                contract, date, "duplicate_share", value=100 * (rows - keys) / rows, failures=rows - keys, rows=rows
            )
        for name, present, distinct in zip(columns, counts[0::2], counts[1::2], strict=False):
            nulls = rows - present
            yield _make_row(contract, date, "null_share", name, value=100 * nulls / rows, rows=rows,
                            failures=nulls if name in required else 0)  # fmt: skip
            if present:
                yield _make_row(contract, date, "distinct_share", name, value=100 * distinct / present, rows=present)
        rest = counts[2 * len(columns) :]
        for name, mean, middle in zip(means, rest[0::2], rest[1::2], strict=True):
            if mean is not None:
                yield _make_row(contract, date, "mean", name, value=mean, rows=rows)
                yield _make_row(contract, date, "median", name, value=middle, rows=rows)
    for name in _list_categories(contract):
        counted = connection.execute(
            f"select day, category, n, sum(n) over (partition by day) from ("
            f'select {day} as day, cast("{name}" as varchar) as category, count(*) as n'
            f' from {contract.name} where {chosen} and {day} is not null and "{name}" is not null group by all)'
            " order by day, category"
        ).fetchall()
        for date, category, rows, total in counted:
            yield _make_row(contract, date, "category_share", name, category, value=100 * rows / total, rows=total)


def _has_mean(contract: Contract, column: Column) -> bool:
    """Tell whether the mean of a column says something: not of what only names things."""
    names = (*contract.load.key, *(column.name for column in contract.columns if column.name.endswith("_id")))
    return column.type.kind in _NUMBERS and not column.personal and column.name not in names


def _list_categories(contract: Contract) -> list[str]:
    """Return the columns with a handful of values: those whose contract lists them, and the booleans."""
    listed = {test.column for test in contract.expectations if test.test == "accepted_values"}
    return [
        column.name
        for column in contract.columns
        if not column.personal and (column.name in listed or column.type.kind == "boolean")
    ]


def _make_row(
    contract: Contract,
    day: dt.date,
    measure: str,
    column: str | None = None,
    category: str | None = None,
    *,
    value: float,
    rows: int,
    failures: int = 0,
) -> dict[str, Any]:
    return {
        "table_name": contract.name,
        "business_date": day,
        "measure": measure,
        "column_name": column,
        "category": category,
        "value": float(value),
        "failures": failures,
        "rows": rows,
    }

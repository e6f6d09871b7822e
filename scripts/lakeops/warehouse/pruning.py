"""Which files of a table a query reads, and which it skips by their statistics."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import duckdb
import polars as pl

from lakeops.bronze.tables import get_current
from lakeops.contract import Contract, Contracts
from lakeops.delta import get_parts, open_table
from lakeops.ledger import make_frame
from lakeops.paths import Lake


def explain_newest_day(
    connection: duckdb.DuckDBPyConnection, lake: Lake, contract: Contract, contracts: Contracts, now: dt.datetime
) -> pl.DataFrame:
    """Run a query for the newest business date of a table, and tell file by file what it read.

    Returns
    -------
    Rows of the record `table_partitions`; none if the table has no business date or no file.
    """
    record = contracts.get_record("table_partitions")
    day_column = contract.load.business_date
    parts = get_parts(open_table(get_current(lake, contract)))
    low, high = f"min.{day_column}", f"max.{day_column}"
    if not day_column or not parts.height or high not in parts.columns or parts[high].max() is None:
        return make_frame(record, [])
    newest = parts[high].max()
    query = f"select count(*) from {contract.name} where {day_column} = date '{newest}'"
    scanned, total = _count_scanned(connection, query)
    rows = []
    for part in parts.iter_rows(named=True):
        bounds = (part[low], part[high])
        # Without statistics a file cannot be skipped.
        read = None in bounds or bounds[0] <= newest <= bounds[1]
        rows.append(_describe(contract, part, bounds, read, query, now))
    # DuckDB has the last word: what it did not skip was read, whatever the statistics would have allowed.
    if scanned != sum(row["scanned"] for row in rows) and scanned == total:
        rows = [{**row, "scanned": True, "pruned": False} for row in rows]
    return make_frame(record, rows)


def _count_scanned(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, int]:
    plan = connection.execute(f"explain analyze {query}").fetchall()
    found = re.search(r"Scanning Files:\s*(\d+)/(\d+)", "\n".join(row[-1] for row in plan))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _describe(
    contract: Contract, part: dict[str, Any], bounds: tuple[Any, Any], read: bool, query: str, now: dt.datetime
) -> dict[str, Any]:
    first, last = bounds
    day = contract.load.business_date
    return {
        "table_name": contract.name,
        "partition": f"{day}={first}" if first == last else f"{day}={first}..{last}",
        "file_path": part["path"],
        "rows": part["num_records"],
        "bytes": part["size_bytes"],
        "scanned": read,
        "pruned": not read,
        "query": query,
        "explained_at": now,
    }

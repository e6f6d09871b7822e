"""Rows as they were: of one table, or of the whole lake as a DuckDB file of views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from lakeops.bronze.tables import get_current, get_truth
from lakeops.console import say
from lakeops.contract import Contract, Contracts
from lakeops.delta import scan_table
from lakeops.paths import Lake
from lakeops.timetravel.snapshots import Snapshot, pick_same_tables
from lakeops.timetravel.tables import Table
from lakeops.timetravel.versions import open_version
from lakeops.warehouse import define_views, prepare_connection

PERSONAL = "(personal)"


@dataclass(frozen=True)
class Page:
    """Rows of a table as it was.

    Parameters
    ----------
    rows : the first ones, by column; personal columns say that they are.
    total : how many rows the version has.
    sql : the query that gives all of them, from the project's root.
    """

    version: int
    rows: list[dict[str, Any]]
    total: int
    sql: str


def read_page(table: Table, version: int, limit: int, root: Path, contracts: Contracts) -> Page:
    """Return the first rows of a table as of a version.

    Raises
    ------
    UsageError : the version can no longer be read.
    """
    scan = hide_tombstones(scan_table(open_version(table.path, version)), table)
    total = scan.select(pl.len()).collect().item()
    rows = scan.head(limit).collect().rows(named=True)
    personal = list_personal(table, contracts)
    return Page(version, [hide_personal(row, personal) for row in rows], total, write_query(table.path, version, root))


def hide_tombstones(rows: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """Return rows as SQL sees them: a tombstone is there for whoever derives from the table."""
    if table.kind != "bronze" or "_is_deleted" not in rows.collect_schema():
        return rows
    return rows.filter(~pl.col("_is_deleted").fill_null(False)).drop("_is_deleted")


def list_personal(table: Table, contracts: Contracts) -> set[str]:
    """Return the columns of a table that hold personal data; what is shown of them is only that they do.

    A table that is made of others has no contract: there, what is personal in any contract is.
    """
    own = (table.contract,) if table.contract else contracts.tables
    kept_as_they_came = {"_rescued", "raw_record", "detail"} if table.contract else set()
    return {column.name for contract in own for column in contract.columns if column.personal} | kept_as_they_came


def hide_personal(row: dict[str, Any], personal: set[str]) -> dict[str, Any]:
    """Return a row that can be shown."""
    return {name: PERSONAL if name in personal and value is not None else value for name, value in row.items()}


def write_query(path: Path, version: int, root: Path) -> str:
    """Return the SQL that reads a version, typed from the project's root."""
    place = path.relative_to(root) if path.is_relative_to(root) else path
    return f"select * from delta_scan('{place}', version={version})"


def open_snapshot(lake: Lake, contracts: Contracts, snapshot: Snapshot, folder: Path) -> tuple[Path, list[str]]:
    """Write a small DuckDB file in which the whole lake is as it was: views pinned to the versions of a snapshot.

    A table that was made anew since is left out, and so is a view that today's contract asks of a table that was not
    like that; each is named.

    Parameters
    ----------
    folder : where to write it; replaced if it is there.

    Returns
    -------
    The file, and the views it has.

    Raises
    ------
    UsageError : a version of the snapshot can no longer be read.
    BronzeCommitError : a table is gone.
    """
    same = pick_same_tables(lake, snapshot, snapshot.versions)
    versions = {lake.folder / path: snapshot.versions[path] for path in same}
    columns = {
        path: scan_table(open_version(path, version), []).collect_schema().names() for path, version in versions.items()
    }
    tables = tuple(c for c in contracts.tables if _get_paths(lake, c) <= versions.keys())
    for contract in contracts.tables:
        if contract not in tables and _get_paths(lake, contract) & versions.keys():
            say(f"warning: every view of {contract.name} is left out with it")
    records = tuple(r for r in contracts.records if lake.ops(r.name) in versions)
    if {lake.ops(name) for name in ("manifest_processed_files", "quarantine_resolutions")} <= versions.keys():
        records += (contracts.get_record("quarantine"),)  # a view on these, and no table
    else:
        say("warning: the view quarantine is left out with it")
    views = define_views(lake, Contracts(tables, records), versions, columns)
    for path, version in versions.items():
        if path.parent == lake.gold("x").parent:
            text = str(path).replace("'", "''")
            views[f"gold.{path.name}"] = f"select * from delta_scan('{text}', version = {version})"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"asof_{snapshot.name}.duckdb"
    fresh = target.with_name(f".{target.name}")
    fresh.unlink(missing_ok=True)
    made: list[str] = []
    with duckdb.connect(str(fresh)) as connection:
        prepare_connection(connection)
        for name, sql in views.items():
            connection.execute(f"create schema if not exists {name.split('.')[0]}")
            try:
                connection.execute(f"create view {name} as {sql}")
                made.append(name)
            except duckdb.BinderException as error:
                say(f"warning: {name} is left out: {str(error).splitlines()[0]}")
    fresh.replace(target)
    return target, sorted(made)


def _get_paths(lake: Lake, contract: Contract) -> set[Path]:
    return {get_current(lake, contract), get_truth(lake, contract), lake.quarantine(contract.table)}

"""The views through which SQL sees the lake: made once, with absolute paths, and again if the lake moved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import duckdb

from lakeops.bronze.current import get_order
from lakeops.bronze.tables import get_current, get_truth, get_truth_columns
from lakeops.contract import Contract, Contracts
from lakeops.delta import open_table
from lakeops.ledger import NAME
from lakeops.paths import Lake

_MARK = "lakeops "


def find_lake(connection: duckdb.DuckDBPyConnection, default: Lake) -> Lake:
    """Return the lake a warehouse looks at: LAKEOPS_LAKE, else the one its views were made for, else the default.

    Parameters
    ----------
    default : the lake of the settings; they have looked at LAKEOPS_LAKE already.
    """
    if os.environ.get("LAKEOPS_LAKE"):
        return default
    known = connection.execute("select count(*) from duckdb_functions() where function_name = 'lake_root'").fetchone()
    if known and known[0]:
        folder = Path(connection.execute("select lake_root()").fetchone()[0])
        if folder.is_dir():
            return Lake(folder)
    return default


def ensure_views(connection: duckdb.DuckDBPyConnection, lake: Lake, contracts: Contracts) -> int:
    """Create the views over the lake that are missing or were made otherwise; returns how many.

    A view names an absolute path, because DuckDB resolves a relative one against the current directory of whoever
    asks. Each carries a mark of its definition, so that a run with nothing to do writes nothing. By `lake_id()` models
    notice that another lake stands in this one's place.
    """
    wanted = define_views(lake, contracts)
    identity = open_table(lake.ops(NAME)).metadata().id
    present = dict(
        connection.execute(
            "select schema_name || '.' || view_name, comment from duckdb_views() where not internal"
        ).fetchall()
    )
    missing = {name: sql for name, sql in wanted.items() if present.get(name) != _MARK + _digest(identity + sql)}
    if not missing:
        return 0
    folder = _quote(str(lake.folder))
    connection.execute("begin")
    try:
        connection.execute(f"create or replace macro main.lake_root() as {folder}")
        connection.execute(f"create or replace macro main.lake_id() as '{identity}'")
        for name, sql in missing.items():
            connection.execute(f"create schema if not exists {name.split('.')[0]}")
            connection.execute(f"create or replace view {name} as {sql}")
            connection.execute(f"comment on view {name} is '{_MARK}{_digest(identity + sql)}'")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return len(missing)


def define_records(lake: Lake, contracts: Contracts, versions: dict[Path, int] | None = None) -> dict[str, str]:
    """Return the queries, by relation, that show the lake's records; not the quarantine, which holds personal data."""
    return {
        f"main.{record.name}": f"select * from {_scan(lake.ops(record.name), versions)}"
        for record in contracts.records
        if record.name != "quarantine"
    }


def define_views(
    lake: Lake,
    contracts: Contracts,
    versions: dict[Path, int] | None = None,
    columns: dict[Path, Collection[str]] | None = None,
) -> dict[str, str]:
    """Return the queries, by relation, through which SQL sees the lake.

    Parameters
    ----------
    versions : version by folder, to see the lake as it was; None as it is. It must name every table there is a
        contract or a record for.
    columns : columns by folder that these versions have; None for those that the contracts promise.
    """
    views: dict[str, str] = {}
    for contract in contracts.tables:
        promised = {column.name for column in get_truth_columns(contract)}
        current, truth = get_current(lake, contract), get_truth(lake, contract)
        views[contract.name] = define_current(current, versions, promised if columns is None else columns[current])
        if contract.load.keeps_changes:
            changes = _scan(truth, versions)
            views[f"{contract.name}_changes"] = f"select * from {changes}"
            present = promised if columns is None else columns[truth]
            views[f"{contract.name}_audit"] = _define_audit(contract, changes, present)
    views |= define_records(lake, contracts, versions)
    if any(record.name == "quarantine" for record in contracts.records) and contracts.tables:
        views["main.quarantine"] = _define_quarantine(lake, contracts.tables, versions)
    return views


def define_current(path: Path, versions: dict[Path, int] | None, columns: Collection[str]) -> str:
    """Return the query that shows a bronze table without its tombstones: they stay for whoever derives from it.

    Parameters
    ----------
    versions, columns : as of `define_views`; the columns are those of this table.
    """
    if "_is_deleted" not in columns:
        return f"select * from {_scan(path, versions)}"
    # Null: it came before the contract had the setting.
    return f"select * exclude (_is_deleted) from {_scan(path, versions)} where _is_deleted is not true"


def _define_audit(contract: Contract, changes: str, columns: Collection[str]) -> str:
    """Who changed what: every record of a key in its order, with the record before it."""
    # Quoted: a column may be called desc, end or group.
    key = ", ".join(f'"{name}"' for name in contract.load.key)
    image = ", ".join(f'"{column.name}" := "{column.name}"' for column in contract.columns if column.name in columns)
    deleted = "(_is_deleted is true)" if "_is_deleted" in columns else "false"
    order = ", ".join(f'"{name}" nulls first' for name in get_order(contract) if name in columns)
    return f"""
        select {key},
            case when {deleted} then 'delete' when before is null or was_deleted then 'insert' else 'update' end
                as operation,
            case when was_deleted then null else before end as before,
            case when {deleted} then null else after end as after,
            _batch_id, _ingested_at, _source_file, _source_row
        from (
            select *, to_json(struct_pack({image})) as after,
                lag(to_json(struct_pack({image}))) over moments as before,
                coalesce(lag({deleted}) over moments, false) as was_deleted
            from {changes}
            window moments as (partition by {key} order by {order})
        )"""


def _define_quarantine(lake: Lake, contracts: tuple[Contract, ...], versions: dict[Path, int] | None) -> str:
    union = " union all by name ".join(f"select * from {_scan(lake.quarantine(c.table), versions)}" for c in contracts)
    ledger = _scan(lake.ops("manifest_processed_files"), versions)
    resolutions = _scan(lake.ops("quarantine_resolutions"), versions)
    # A record is open while the very load that refused it is the one whose rows are in bronze. A replay counts
    # once its batch is committed, which is when the ledger knows it.
    return f"""
        with live as (
            select
                source_file, arg_max(coalesce(rows_batch_id, batch_id), entry_id) as batch_id,
                max(entry_id) as entry_id
            from {ledger} where status in ('loaded', 'superseded', 'undone', 'restored') group by source_file
            having arg_max(status, entry_id) in ('loaded', 'restored')
        ),
        resolved as (
            select source_file, source_row, quarantined_batch_id, max(status) as status
            from {resolutions} as resolutions
            where status = 'discarded' or exists (
                select 1 from {ledger} as entries join live using (source_file)
                where entries.status = 'replayed'
                    and coalesce(entries.rows_batch_id, entries.batch_id) = resolutions.batch_id
                    and entries.source_file = resolutions.source_file
                    and entries.entry_id > live.entry_id  -- else it left again with an undo or a restore
            )
            group by all
        )
        select refused.*,
            case when live.batch_id is distinct from refused.batch_id then 'superseded'
                else coalesce(resolved.status, 'open') end as status
        from ({union}) as refused
        left join live using (source_file)
        left join resolved on resolved.source_file = refused.source_file
            and resolved.source_row = refused.source_row and resolved.quarantined_batch_id = refused.batch_id"""


def _scan(path: Path, versions: dict[Path, int] | None) -> str:
    pinned = f", version = {versions[path]}" if versions is not None else ""
    return f"delta_scan({_quote(str(path))}{pinned})"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _digest(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()[:16]

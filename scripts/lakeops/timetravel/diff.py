"""What became of a table's rows between two versions: added, removed, changed by key, and in which columns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import open_table, scan_table
from lakeops.settings import Settings
from lakeops.timetravel.asof import hide_personal, hide_tombstones, list_personal
from lakeops.timetravel.rows import read_difference, subtract_rows
from lakeops.timetravel.snapshots import find_snapshot, pick_same_tables, read_served
from lakeops.timetravel.tables import Table, list_tables
from lakeops.timetravel.versions import open_version

_PAIR = "__pair"


@dataclass(frozen=True)
class Difference:
    """What became of the rows between two versions.

    Parameters
    ----------
    key : columns by which a row before is the row after; all columns where the table has no key.
    rows_before, rows_after : rows of the two versions.
    added, removed, changed : rows; a changed one is neither added nor removed.
    columns : how many of the changed rows differ in it, by column.
    new_columns, gone_columns : names that only one of the versions has.
    samples : some of each, as {"added": […], "removed": […], "changed": [{"key", "before", "after"}]}.
    """

    table: str
    version_before: int
    version_after: int
    key: list[str]
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    columns: dict[str, int] = field(default_factory=dict)
    new_columns: list[str] = field(default_factory=list)
    gone_columns: list[str] = field(default_factory=list)
    samples: dict[str, list[Any]] = field(default_factory=dict)


def diff_versions(settings: Settings, table: Table, before: int, after: int, samples: int = 5) -> Difference:
    """Compare two versions of a table.

    Rows are compared in their business columns: a row that was only loaded again is the same. Data files that both
    versions have are not read.

    Parameters
    ----------
    samples : show at most so many rows of each kind.

    Raises
    ------
    UsageError : a version can no longer be read.
    """
    old, new = open_version(table.path, before), open_version(table.path, after)
    schemas = [scan_table(handle, []).collect_schema() for handle in (old, new)]
    gone, come = (hide_tombstones(rows.lazy(), table).collect() for rows in read_difference(old, new))
    names = [name for name in come.columns if _is_business(name, table)]
    gone, come = gone.select(names), come.select(names)
    gone, come = subtract_rows(gone, come), subtract_rows(come, gone)
    key = [name for name in find_key(settings, table) if name in names] or names
    removed, added, pairs = _pair_up(gone, come, key)
    others = [name for name in names if name not in key]
    columns = {
        name: count
        for name in others
        if (count := int((~pairs[name].eq_missing(pairs[f"{name}__after"])).sum()) if pairs.height else 0)
    }
    personal = list_personal(table, load_contracts(settings.models))

    def show(row: dict[str, Any]) -> dict[str, Any]:
        return hide_personal(row, personal)

    changed = [
        {
            "key": show({name: row[name] for name in key}),
            "before": show({name: row[name] for name in columns if row[name] != row[f"{name}__after"]}),
            "after": show({name: row[f"{name}__after"] for name in columns if row[name] != row[f"{name}__after"]}),
        }
        for row in pairs.head(samples).iter_rows(named=True)
    ]
    return Difference(
        table.name,
        before,
        after,
        key if others else [],
        *(hide_tombstones(scan_table(handle), table).select(pl.len()).collect().item() for handle in (old, new)),
        added.height,
        removed.height,
        pairs.height,
        dict(sorted(columns.items(), key=lambda item: -item[1])),
        [name for name in schemas[1] if name not in schemas[0]],
        [name for name in schemas[0] if name not in schemas[1]],
        {
            "added": [show(row) for row in added.head(samples).rows(named=True)],
            "removed": [show(row) for row in removed.head(samples).rows(named=True)],
            "changed": changed,
        },
    )


def find_key(settings: Settings, table: Table) -> list[str]:
    """Return the columns that name a row of a table: the contract's, or dbt's for a published one; none if unknown."""
    if table.kind == "bronze":
        return _get_contract_key(table.contract)
    if table.kind == "changes":
        return ["_source_file", "_source_row", *_get_contract_key(table.contract)]
    if table.kind == "quarantine":
        return ["source_file", "source_row", "batch_id"]
    manifest = settings.dbt_project / "target" / "manifest.json"
    if table.kind == "gold" and manifest.is_file():
        return _read_key(manifest, table.path.name)
    return []


def _get_contract_key(contract: Contract | None) -> list[str]:
    return list(contract.load.key) if contract else []


def _read_key(manifest: Path, model: str) -> list[str]:
    nodes = json.loads(manifest.read_text(encoding="utf-8"))["nodes"].values()
    for node in nodes:
        if node["resource_type"] == "model" and node["schema"] == "gold" and node["alias"] == model:
            key = node["config"].get("unique_key") or []
            return [key] if isinstance(key, str) else list(key)
    return []


def _is_business(name: str, table: Table) -> bool:
    # Of the changes, file and line are what tells one record of a key from the next.
    kept = ("_is_deleted", "_absent", "_rescued")
    kept += ("_source_file", "_source_row") if table.kind == "changes" else ()
    return not name.startswith("_") or name in kept


def _pair_up(gone: pl.DataFrame, come: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return rows that are only gone, rows that only came, and pairs of one key: the later columns as `…__after`."""
    if len(key) == len(come.columns):
        return gone, come, gone.clear()
    number = pl.int_range(pl.len()).over(key).alias(_PAIR)
    gone, come = gone.sort(key).with_columns(number), come.sort(key).with_columns(number)
    on = [*key, _PAIR]
    pairs = gone.join(come, on=on, how="inner", nulls_equal=True, suffix="__after")
    return (
        gone.join(come, on=on, how="anti", nulls_equal=True).drop(_PAIR),
        come.join(gone, on=on, how="anti", nulls_equal=True).drop(_PAIR),
        pairs,
    )


def diff_snapshot(settings: Settings, contracts: Contracts, name: str) -> list[Difference]:
    """Compare every bronze and gold table with what it was when a snapshot was taken.

    A table that was made anew since is left out, and named.

    Raises
    ------
    UsageError : there is no such snapshot, or a version of it can no longer be read.
    BronzeCommitError : a table is gone.
    """
    snapshot = find_snapshot(settings.lake, name)
    served = read_served(settings.serving)
    tables = {
        table.path.relative_to(settings.lake.folder).as_posix(): table
        for table in list_tables(settings.lake, contracts)
        if table.kind in ("bronze", "gold")
    }
    found = []
    for path in pick_same_tables(settings.lake, snapshot, [path for path in tables if path in snapshot.versions]):
        newest = served.get(tables[path].path, open_table(tables[path].path).version())
        found.append(diff_versions(settings, tables[path], snapshot.versions[path], newest))
    return found

"""What passed becomes what readers see: gold goes to Delta, then one file of views is switched to the new versions.

Only rows that changed are written. The warehouse remembers per model up to which revision its rows are in which
version of the published table; where it does not know, every row is compared. Readers follow `serving.duckdb`, whose
views are pinned to versions, so that what is written before the switch is seen by nobody, and then all of it at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from deltalake import DeltaTable

from lakeops.bronze.parts import take_out_keys
from lakeops.contract import load_contracts
from lakeops.delta import CONFIGURATION, add_columns, commit, get_parts, make_commit_error, make_remove, write_part
from lakeops.errors import DbtError
from lakeops.settings import Settings
from lakeops.warehouse import connect, define_records

# A part's rows pass through memory; the first publish of a long history must not.
ROWS_PER_PART = 500_000
METRICS = "data_quality_metrics"
# What a dead run came to is recorded when the next one starts: days that are over may still change for so long.
METRICS_DAYS = 7


@dataclass(frozen=True)
class Published:
    """What a publish did to one table of gold.

    Parameters
    ----------
    model : its name.
    version : version of the Delta table that readers see from now on.
    written, removed : rows; a changed row counts in both.
    """

    model: str
    version: int
    written: int = 0
    removed: int = 0

    @property
    def changed(self) -> bool:
        """Tell whether readers see other rows than before."""
        return bool(self.written or self.removed)


@dataclass(frozen=True)
class _Model:
    name: str
    relation: str
    key: tuple[str, ...]
    materialized: str
    reads: frozenset[str]


def read_revisions(settings: Settings) -> dict[str, int]:
    """Return how often every model was built: what a test run that begins now will have looked at."""
    with connect(settings.warehouse) as connection:
        return dict(connection.execute("select model, revision from dbt_state.revisions").fetchall())


def publish_gold(settings: Settings, tested: dict[str, int]) -> list[Published]:
    """Bring published gold up to the warehouse's, and switch readers over.

    Parameters
    ----------
    tested : revision by model, as it was when the tests that passed began.

    Returns
    -------
    One entry for each table, in the order of names; with nothing new, all are unchanged and readers are not touched.

    Raises
    ------
    DbtError : a model was built since the tests began, or a view reads what is not published; readers keep what they
        have.
    BronzeCommitError : the lake cannot be written; readers keep what they have.
    LockedError : another process holds the warehouse.
    """
    models = _read_models(settings.dbt_project / "target" / "manifest.json")
    with connect(settings.warehouse) as connection:
        built = dict(connection.execute("select model, revision from dbt_state.revisions").fetchall())
        if moved := sorted(name for name, revision in built.items() if tested.get(name) != revision):
            raise DbtError(
                "Nothing was published: models were built while the tests ran.",
                where=", ".join(moved),
                next_step="run the command again, and not two at a time",
            )
        connection.execute(
            "create table if not exists dbt_state.published"
            " (path varchar not null, revision bigint not null, version bigint not null)"
        )
        tables = [model for model in models if model.materialized != "view"]
        published = [_publish_table(connection, settings, model, built) for model in tables]
        views = _read_views(connection, [model for model in models if model.materialized == "view"])
    switch_readers(settings, {entry.model: entry.version for entry in published}, views)
    return sorted(published, key=lambda entry: entry.model)


def publish_metrics(settings: Settings) -> Published | None:
    """Bring the published quality metrics up to the warehouse's, whatever came of the tests: bad news is not held back.

    Only days whose rows differ are written. What a day once showed stays, also what only held at that moment
    (freshness) or is no longer kept.

    Returns
    -------
    What was done; None if nothing was built yet.

    Raises
    ------
    BronzeCommitError : the lake cannot be written.
    LockedError : another process holds the warehouse.
    """
    path = settings.lake.gold(METRICS)
    grain = ["table_name", "check_type", "check_name", "column_name", "check_date", "business_date"]
    with connect(settings.warehouse) as connection:
        known = "select count(*) from duckdb_views() where schema_name = 'main' and view_name = ?"
        if not connection.execute(known, [METRICS]).fetchone()[0]:
            return None
        columns = _describe(connection, f"main.{METRICS}")
        table = _ensure_table(path, connection, f"main.{METRICS}", columns)
        names, scan = _quote(columns), f"delta_scan({_literal(path)})"
        since = (
            f"coalesce(least(cast(now() as date) - {METRICS_DAYS}, (select max(check_date) from {scan})),"
            " date '0001-01-01')"
        )
        connection.execute(
            f"create or replace temp table metrics as select {names} from main.{METRICS} where check_date >= {since}"
        )
        connection.execute(
            f"create or replace temp table metrics_before as select {names} from {scan} where check_date >= {since}"
        )
        same = " and ".join(f"metrics.{name} is not distinct from before.{name}" for name in grain)
        connection.execute(
            f"insert into metrics select {names} from metrics_before as before"
            f" where not exists (select 1 from metrics where {same})"
        )
        keys = find_differing_keys(connection, ["check_date"], columns, "metrics", "metrics_before")
        if not keys.height:
            return Published(METRICS, table.version())
        model = _Model(METRICS, "metrics", ("check_date",), "table", frozenset())
        return _commit_changes(connection, path, table, model, columns, keys)


def _read_models(manifest: Path) -> list[_Model]:
    """Return the models of gold, from what dbt wrote when it last parsed the project; who is read comes first."""
    nodes = json.loads(manifest.read_text(encoding="utf-8"))["nodes"]
    models = {
        node["unique_id"]: _Model(
            node["alias"],
            f"{node['schema']}.{node['alias']}",
            tuple(node["config"].get("unique_key") or ()),
            node["config"]["materialized"],
            frozenset(node["depends_on"]["nodes"]),
        )
        for node in sorted(nodes.values(), key=lambda node: node["unique_id"])
        if node["resource_type"] == "model" and node["schema"] == "gold"
    }
    order = TopologicalSorter({name: model.reads & models.keys() for name, model in models.items()})
    return [models[name] for name in order.static_order()]


def _publish_table(
    connection: duckdb.DuckDBPyConnection, settings: Settings, model: _Model, built: dict[str, int]
) -> Published:
    path = settings.lake.gold(model.name)
    columns = _describe(connection, model.relation)
    table = _ensure_table(path, connection, model.relation, columns)
    revision = built.get(model.name, 0)
    known = connection.execute(
        "select revision from dbt_state.published where path = ? and version = ?", [str(path), table.version()]
    ).fetchone()
    if known and known[0] == revision and model.key:
        return Published(model.name, table.version())
    since = known[0] if known and model.key else None
    rebuilt = "select max(rebuilt_revision) from dbt_state.revisions where model = ?"
    if since is not None and (connection.execute(rebuilt, [model.name]).fetchone()[0] or 0) > since:
        since = None  # a full refresh forgets which keys vanished
    keys = _collect_changed_keys(connection, path, model, columns, since)
    entry = Published(model.name, table.version())
    if keys.height:
        entry = _commit_changes(connection, path, table, model, columns, keys)
    connection.execute("delete from dbt_state.published where path = ?", [str(path)])
    connection.execute("insert into dbt_state.published values (?, ?, ?)", [str(path), revision, entry.version])
    return entry


def note_new_version(connection: duckdb.DuckDBPyConnection, path: Path, before: int, after: int) -> None:
    """Remember that a published table has a new version with the same rows: the next publish need not compare them all.

    Readers are switched to it by that publish.
    """
    known = connection.execute(
        "select count(*) from duckdb_tables() where schema_name = 'dbt_state' and table_name = 'published'"
    ).fetchone()
    if known[0]:
        statement = "update dbt_state.published set version = ? where path = ? and version = ?"
        connection.execute(statement, [after, str(path), before])


def _describe(connection: duckdb.DuckDBPyConnection, relation: str) -> list[str]:
    """Return the columns readers get: `_revision` tells builds apart, and two builds of the same rows differ in it."""
    described = connection.execute(f"describe {relation}").fetchall()
    return [row[0] for row in described if row[0] != "_revision"]


def _ensure_table(path: Path, connection: duckdb.DuckDBPyConnection, relation: str, columns: list[str]) -> DeltaTable:
    """Return the published table with the columns of the model; other types or fewer columns begin it anew."""
    import pyarrow as pa
    from deltalake import Schema, write_deltalake
    from deltalake.exceptions import DeltaError

    empty = connection.execute(f"select {_quote(columns)} from {relation} limit 0").to_arrow_table()
    wanted = Schema.from_arrow(empty.schema).fields
    try:
        if not DeltaTable.is_deltatable(str(path)):
            path.mkdir(parents=True, exist_ok=True)
            return DeltaTable.create(str(path), schema=Schema(wanted), configuration=CONFIGURATION)
        table = DeltaTable(str(path))
        present = {field.name: field.type for field in table.schema().fields}
        if any(present.get(field.name, field.type) != field.type for field in wanted) or present.keys() - set(columns):
            # Old versions stay readable with the columns they had.
            write_deltalake(str(path), pa.table(empty), mode="overwrite", schema_mode="overwrite")
        else:
            add_columns(table, [field for field in wanted if field.name not in present])
        return DeltaTable(str(path))
    except (DeltaError, OSError) as error:
        raise make_commit_error(path, error) from error


def _collect_changed_keys(
    connection: duckdb.DuckDBPyConnection, path: Path, model: _Model, columns: list[str], since: int | None
) -> pl.DataFrame:
    """Return the keys whose rows differ between the warehouse and what is published; also as `publish_keys`.

    Parameters
    ----------
    since : revision up to which both are known to agree; None to compare every row.
    """
    where = ""
    if since is not None:
        key = _quote(list(model.key))
        types = _read_types(connection, model.relation)
        gone = ", ".join(f"cast(json_extract_string(key_json, '$.{name}') as {types[name]})" for name in model.key)
        connection.execute(
            f"create or replace temp table candidates as select {key} from {model.relation} where _revision > {since}"
            f" union select {gone} from dbt_state.vanished_keys where model = '{model.name}' and revision > {since}"
        )
        first = _quote([model.key[0]])
        # The range lets DuckDB skip files; the list of keys alone does not.
        where = (
            f"where ({key}) in (from candidates) and {first} >= (select min({first}) from candidates)"
            f" and {first} <= (select max({first}) from candidates)"
        )
    theirs = f"delta_scan({_literal(path)})"
    return find_differing_keys(connection, list(model.key) or columns, columns, model.relation, theirs, where)


def find_differing_keys(
    connection: duckdb.DuckDBPyConnection, key: list[str], columns: list[str], ours: str, theirs: str, where: str = ""
) -> pl.DataFrame:
    """Return the keys whose rows differ between two relations; also as `publish_keys`.

    By their hashes, summed up by key, as in recompute_keys.sql: EXCEPT holds every column of both sides at once, in
    windows that DuckDB cannot spill, and ran out of LAKEOPS_MEMORY on a million rows.
    """
    types = _read_types(connection, ours)
    # A number hashes otherwise in another type.
    typed = ", ".join(f"cast({_quote([name])} as {types[name]})" for name in columns)
    connection.execute(
        f"create or replace temp table publish_keys as select {_quote(key)} from ("
        f" select {_quote(key)}, hash({typed})::hugeint as content from {ours} {where}"
        f" union all select {_quote(key)}, -hash({typed})::hugeint from {theirs} {where}"
        ") group by all having sum(content) <> 0"
    )
    return pl.DataFrame(pl.from_arrow(connection.execute("from publish_keys").to_arrow_table()))


def _read_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"describe {relation}").fetchall()}


def _commit_changes(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    table: DeltaTable,
    model: _Model,
    columns: list[str],
    keys: pl.DataFrame,
) -> Published:
    if model.key:
        adds, removes, _ = take_out_keys(table, keys)
        chosen = f" where ({_quote(list(model.key))}) in (from publish_keys)"
    else:
        parts = get_parts(table).select("path", "size_bytes").rows()
        adds, removes, chosen = [], [make_remove(*part) for part in parts], ""
    kept = _count_rows(adds)
    gone = _count_removed(table, removes)
    written = 0
    for frame in _fetch(connection, f"select {_quote(columns)} from {model.relation}{chosen} order by {_first(model)}"):
        adds.append(write_part(path, frame))
        written += frame.height
    version = commit(table, adds, removes, 0, {"model": model.name, "written": written, "removed": gone - kept})
    return Published(model.name, version, written, gone - kept)


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pl.DataFrame]:
    reader = connection.execute(query).to_arrow_reader(ROWS_PER_PART)
    for batch in reader:
        if batch.num_rows:
            yield pl.DataFrame(pl.from_arrow(batch))


def _first(model: _Model) -> str:
    return _quote([model.key[0]]) if model.key else "1"


def _count_rows(adds: list[Any]) -> int:
    return sum(json.loads(add.stats)["numRecords"] for add in adds)


def _count_removed(table: DeltaTable, removes: list[Any]) -> int:
    leaving = {remove.path for remove in removes}
    parts = get_parts(table)
    return int(parts.filter(pl.col("path").is_in(leaving))["num_records"].sum()) if leaving else 0


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _quote(columns: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _read_views(connection: duckdb.DuckDBPyConnection, models: list[_Model]) -> dict[str, str]:
    """Return the definitions of views by relation, no longer bound to the file they were made in."""
    catalog = connection.execute("select current_catalog()").fetchone()[0]
    wanted = [*(model.relation for model in models), f"main.{METRICS}"]
    found = dict(
        connection.execute(
            "select schema_name || '.' || view_name, sql from duckdb_views() where not internal"
        ).fetchall()
    )
    # Quoted if it is no plain name: `my-lake.duckdb` is "my-lake".
    quoted, plain = re.escape(catalog.replace('"', '""')), re.escape(catalog)
    bound = re.compile(rf'(?:"{quoted}"|\b{plain})\.(?="?(?:main|gold)"?\.)')
    return {name: bound.sub("", found[name]) for name in wanted if name in found}


def switch_readers(settings: Settings, versions: dict[str, int], views: dict[str, str]) -> None:
    """Replace the file that readers open by one that shows the given versions: all of it at once, or nothing.

    Parameters
    ----------
    versions : version by name of a published table.
    views : `create view` statements by relation, in an order in which each finds what it reads.

    Raises
    ------
    DbtError : a view reads what is not in that file.
    BronzeCommitError : the disk is full.
    """
    serving = settings.serving
    fresh = serving.with_name(f".{serving.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        with connect(fresh) as connection:
            connection.execute("create schema gold")
            for name, version in versions.items():
                scan = f"delta_scan({_literal(settings.lake.gold(name))}, version = {version})"
                connection.execute(f"create view gold.{name} as select * from {scan}")
            for name, definition in define_records(settings.lake, load_contracts(settings.models)).items():
                connection.execute(f"create view {name} as {definition}")
            for name, statement in views.items():
                _create_view(connection, name, statement)
            # DuckDB says nothing of a disk that is full when it closes, and leaves a file without views.
            connection.execute("checkpoint")
        # A reader that has the old file open keeps reading it; whoever opens the name from now on gets the new one.
        fresh.replace(serving)
    finally:
        for file in (fresh, fresh.with_name(f"{fresh.name}.wal")):
            file.unlink(missing_ok=True)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, statement: str) -> None:
    try:
        connection.execute(statement)
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise DbtError(
            "Readers cannot be shown a view: it reads what is not published.",
            where=name,
            expected="a view of gold, or of the records of the lake",
            found=str(error).splitlines()[0][:300],
            next_step="let it read gold only, or make it a table: config(materialized='table')",
        ) from error

"""What tables were: history, rows as of a version or a moment, differences; in commands and in Delta's own SQL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner, Result

from conftest import DAY, Project, make_project, sales
from lakeops import pipeline
from lakeops.cli import _run, app
from lakeops.contract import load_contracts
from lakeops.errors import UsageError
from lakeops.recovery.snapshots import create_snapshot
from lakeops.statements import run_statements, split_statements, write_time_travel
from lakeops.timetravel import (
    diff_snapshot,
    diff_versions,
    find_table,
    find_version_at,
    open_snapshot,
    parse_version,
    read_history,
    read_page,
)

RETURNS = """
sources:
  - name: shop
    schema: bronze
    tables:
      - name: returns
        config:
          meta:
            load:
              files: ["returns/*.csv"]
              format: csv
              mode: merge
              key: [return_id]
              sequence_by: [seq]
              delete_when: "op = 'D'"
        columns:
          - {name: return_id, data_type: bigint}
          - {name: seq, data_type: bigint}
          - {name: op, data_type: varchar}
          - {name: qty, data_type: bigint}
          - {name: customer, data_type: varchar, config: {meta: {personal: true}}}
"""
HEADER = "return_id,seq,op,qty,customer\n"


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Project:
    """Returns in three versions: two came, one was changed and one came, one was deleted."""
    project = make_project(tmp_path / "project", RETURNS)
    project.land("returns/1.csv", HEADER + "1,1,I,5,Ann\n2,1,I,6,Bob\n")
    project.load()
    project.land("returns/2.csv", HEADER + "1,2,U,4,Ann\n3,2,I,1,Cid\n")
    project.load()
    project.land("returns/3.csv", HEADER + "2,3,D,6,Bob\n")
    project.load()
    monkeypatch.setenv("LAKEOPS_ROOT", str(project.root))
    monkeypatch.chdir(project.root)
    return project


def call(*words: str) -> Result:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done


def by_command(sql: str) -> list[dict]:
    """Ask by the command, as a program would."""
    return json.loads(call("sql", sql, "--json").stdout)[-1]["rows"]


QTY = "select return_id, qty from bronze.returns order by 1"
RESTORES: dict[str, Callable[[], object]] = {
    "lakeops restore": lambda: call("restore", "bronze.returns", "--version", "3", "--reason", "deleted by hand"),
    "lakeops sql": lambda: call("sql", "RESTORE TABLE bronze.returns TO VERSION AS OF 3"),
}


@pytest.mark.parametrize("restore", RESTORES.values(), ids=RESTORES)
def test_rows_deleted_by_accident_are_found_and_restored_and_the_next_batch_applies(shop, restore):
    # What the user types, in the plain command line.
    with duckdb.connect() as connection:
        found = connection.execute("select count(*) from delta_scan('lake/bronze/delta/returns', version=2)").fetchone()
        assert found == (3,)
        came = connection.execute(
            "WITH v1 AS (SELECT * FROM delta_scan('lake/bronze/delta/returns', version=1)),"
            " v2 AS (SELECT * FROM delta_scan('lake/bronze/delta/returns', version=2))"
            " SELECT return_id FROM (SELECT * FROM v2 EXCEPT SELECT * FROM v1) ORDER BY 1"
        ).fetchall()
        assert came == [(1,), (3,)]
    DeltaTable("lake/bronze/delta/returns").delete("return_id = 1")
    DeltaTable("lake/bronze/delta/returns_changes").delete("return_id = 1")
    assert shop.sql(QTY) == [(3, 1)]
    operations = [row["operation"] for row in by_command("DESCRIBE HISTORY delta_scan('lake/bronze/delta/returns')")]
    assert operations[0].startswith("delete where")
    assert operations[1:] == ["derive from changes"] * 3 + ["create"]
    told = json.loads(call("diff", "bronze.returns", "3", "4", "--json").stdout)
    assert (told["added"], told["removed"], told["changed"]) == (0, 1, 0)
    assert told["samples"]["removed"][0] | {"customer": None} == {
        "return_id": 1, "seq": 2, "op": "U", "qty": 4, "customer": None,
    }  # fmt: skip
    restore()
    assert shop.sql(QTY) == [(1, 4), (3, 1)]
    # An older record of 1 changes nothing, a newer one does; 2 comes back after its deletion.
    shop.land("returns/4.csv", HEADER + "1,1,U,99,Ann\n3,4,U,2,Cid\n2,5,I,8,Bob\n")
    assert len(shop.load().batches) == 1
    assert shop.sql(QTY) == [(1, 4), (2, 8), (3, 2)]
    assert shop.load().batches == []
    (row,) = by_command("select reason, done_by is not null as known from maintenance_history")
    assert row["known"]
    assert row["reason"] in ("deleted by hand", "RESTORE TABLE bronze.returns TO VERSION AS OF 3")


def test_history_tells_what_was_done_and_counts_rows(shop):
    commits = read_history(shop.settings.lake.bronze("bronze", "returns_changes"))
    told = [(c.version, c.operation, c.batch_id, c.rows_in, c.rows_out, c.rows) for c in commits]
    assert told == [
        (3, "load 1 file(s)", 3, 1, 0, 5),
        (2, "load 1 file(s)", 2, 2, 0, 4),
        (1, "load 1 file(s)", 1, 2, 0, 2),
        (0, "create", None, 0, 0, 0),
    ]
    shop.land("returns/2.csv", HEADER + "1,2,U,3,Ann\n")
    shop.load()
    newest = read_history(shop.settings.lake.bronze("bronze", "returns_changes"))[0]
    assert (newest.operation, newest.rows_in, newest.rows_out) == ("load 1 file(s), 1 restated", 1, 2)


def test_history_goes_back_as_far_as_the_log_does(shop):
    path = shop.settings.lake.bronze("bronze", "returns_changes")
    DeltaTable(str(path), version=2).create_checkpoint()
    for version in (0, 1):
        (path / "_delta_log" / f"{version:020}.json").unlink()
    told = [(c.version, c.rows_in, c.rows) for c in read_history(path)]
    assert told == [(3, 1, 5), (2, 2, 4)]


def test_rows_as_of_a_version_or_a_moment(shop):
    contracts = load_contracts(shop.settings.models)
    table = find_table(shop.settings.lake, contracts, "bronze.returns")
    page = read_page(table, 2, 2, shop.root, contracts)
    assert (page.total, len(page.rows), page.rows[0]["customer"]) == (3, 2, "(personal)")
    assert page.sql == "select * from delta_scan('lake/bronze/delta/returns', version=2)"
    assert read_page(table, 3, 9, shop.root, contracts).total == 2  # a tombstone is no row
    moments = {commit.version: commit.committed_at for commit in read_history(table.path)}
    assert [find_version_at(table.path, moments[version]) for version in (0, 2, 3)] == [0, 2, 3]
    assert parse_version(table.path, moments[2].isoformat()) == 2
    with pytest.raises(UsageError, match="no version of that time") as error:
        find_version_at(table.path, moments[0].replace(year=2020))
    assert "version 0" in error.value.expected
    for text in ("yesterday", "99"):
        with pytest.raises(UsageError):
            parse_version(table.path, text)


def test_a_difference_is_told_by_key_and_column(shop):
    table = find_table(shop.settings.lake, load_contracts(shop.settings.models), "returns")
    found = diff_versions(shop.settings, table, 1, 3)
    assert (found.added, found.removed, found.changed) == (1, 1, 1)
    assert (found.rows_before, found.rows_after) == (2, 2)
    assert found.columns == {"seq": 1, "op": 1, "qty": 1}
    assert found.samples["changed"] == [
        {"key": {"return_id": 1}, "before": {"seq": 1, "op": "I", "qty": 5}, "after": {"seq": 2, "op": "U", "qty": 4}}
    ]
    back = diff_versions(shop.settings, table, 3, 1)
    assert (back.added, back.removed, back.changed) == (1, 1, 1)
    assert call("diff", "returns", "1", "3").stdout.startswith(
        "bronze.returns, version 1 to 3, by return_id: 1 added, 1 removed, 1 changed; 2 rows before, 2 after"
    )


def test_rows_that_were_only_loaded_again_do_not_differ(project):
    project.land("sales/1.csv", sales((1, DAY, 1), (1, DAY, 1), (2, DAY, 2)))
    project.load()
    project.land("sales/1.csv", sales((2, DAY, 3), (1, DAY, 1)))
    project.load()
    table = find_table(project.settings.lake, load_contracts(project.settings.models), "sales")
    found = diff_versions(project.settings, table, 1, 2)
    assert (found.added, found.removed, found.changed, found.columns) == (0, 1, 1, {"amount": 1})


def test_the_whole_lake_opens_as_it_was(shop):
    snapshot = create_snapshot(shop.settings, "before")
    shop.land("returns/4.csv", HEADER + "7,9,I,1,Eve\n")
    shop.load()
    file, views = open_snapshot(
        shop.settings.lake, load_contracts(shop.settings.models), snapshot, shop.settings.warehouse.parent
    )
    assert {"bronze.returns", "bronze.returns_audit", "main.quarantine", "main.manifest_processed_files"} <= set(views)
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.execute("select count(*) from bronze.returns").fetchone() == (2,)
        assert connection.execute("select max(batch_id) from manifest_processed_files").fetchone() == (3,)
        assert connection.execute("select count(*) from main.quarantine").fetchone() == (0,)
    assert "asof_before.duckdb" in call("asof", "--snapshot", "before").stdout


def test_the_lake_opens_as_it_was_whatever_the_contracts_say_by_now(tmp_path, capsys):
    project = make_project(tmp_path / "project", RETURNS.replace("              delete_when: \"op = 'D'\"\n", ""))
    project.land("returns/1.csv", HEADER + "1,1,I,5,Ann\n2,1,I,6,Bob\n2,2,D,6,Bob\n")
    project.load()
    snapshot = create_snapshot(project.settings, "before")
    project.change_contract("sequence_by: [seq]", "sequence_by: [rank, seq]\n              delete_when: \"op = 'D'\"")
    project.change_contract("{name: op, ", "{name: rank, data_type: bigint}\n          - {name: op, ")
    project.land("returns/2.csv", "return_id,seq,op,qty,customer,rank\n1,3,D,5,Ann,1\n")
    project.load()
    assert project.sql("select return_id from bronze.returns") == [(2,)]

    def look(query: str) -> list[tuple]:
        contracts = load_contracts(project.settings.models)
        file, views = open_snapshot(project.settings.lake, contracts, snapshot, project.settings.warehouse.parent)
        assert "bronze.returns" in views
        with duckdb.connect(str(file), read_only=True) as connection:
            return connection.execute(query).fetchall()

    # Then it did not yet know what deletes, so it was a row as any other.
    assert look("select return_id, op from bronze.returns order by 1") == [(1, "I"), (2, "D")]
    told = look("select return_id, operation, after ->> 'op' from bronze.returns_audit order by 1, 2")
    assert told == [(1, "insert", "I"), (2, "insert", "I"), (2, "update", "D")]
    # Tombstones of then stay hidden, also when today's contract knows of none.
    snapshot = create_snapshot(project.settings, "after")
    project.change_contract("              delete_when: \"op = 'D'\"\n", "")
    assert look("select return_id from bronze.returns") == [(2,)]
    project.change_contract("key: [return_id]", "key: [return_id, line]")
    project.change_contract("{name: seq, ", "{name: line, data_type: bigint}\n          - {name: seq, ")
    capsys.readouterr()
    assert look("select return_id from bronze.returns") == [(2,)]
    assert "bronze.returns_audit is left out" in capsys.readouterr().err


def test_a_table_that_was_made_anew_is_not_taken_for_that_of_the_snapshot(project, capsys):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("clicks/1.jsonl", '{"click_id": 1}\n')
    project.load()
    snapshot = create_snapshot(project.settings, "before")
    shutil.rmtree(project.settings.lake.bronze("bronze", "sales"))
    project.land("sales/1.csv", sales((2, DAY, 2)))
    pipeline.run_load(project.settings, pipeline.Selection(rebuild="sales", root=project.root))
    project.land("clicks/2.jsonl", '{"click_id": 2}\n')
    project.load()
    contracts = load_contracts(project.settings.models)
    capsys.readouterr()
    found = diff_snapshot(project.settings, contracts, "before")
    assert {one.table: one.added for one in found} == {"bronze.clicks": 1, "bronze.items": 0}
    assert "bronze/delta/sales is left out: it was made anew since before" in capsys.readouterr().err
    file, views = open_snapshot(project.settings.lake, contracts, snapshot, project.settings.warehouse.parent)
    assert "bronze.sales" not in views
    said = capsys.readouterr().err
    assert "bronze/delta/sales is left out" in said
    assert "every view of bronze.sales is left out" in said
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.execute("select click_id from bronze.clicks").fetchall() == [(1,)]
    shutil.rmtree(project.settings.lake.ops("manifest_processed_files"))  # read back from the logs, it is another table
    project.load()
    capsys.readouterr()
    _, views = open_snapshot(project.settings.lake, contracts, snapshot, project.settings.warehouse.parent)
    assert "bronze.clicks" in views
    assert "main.quarantine" not in views
    assert "the view quarantine is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([1, 2, 3], [1.0, 2.5, 3.0], 1),  # each of the first fits the type of the second
        ([1.0, 2.5, 3.0], [1, 2, 3], 1),  # and the other way round
        (["1", "x", "3"], [1, 2, 3], 1),
        (["1", "2", "03"], [1, 2, 3], 1),  # no number was written as 03
        ([DAY, DAY, DAY], [1, 2, 3], 3),
    ],
)
def test_a_column_that_changed_its_type_can_be_compared(project, before, after, changed):
    project.load()
    path = project.settings.lake.gold("prices")
    for values in (before, after):
        rows = pa.table({"item": ["a", "b", "c"], "price": values})
        write_deltalake(str(path), rows, mode="overwrite", schema_mode="overwrite")
    manifest = project.settings.dbt_project / "target" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    node = {"resource_type": "model", "schema": "gold", "alias": "prices", "config": {"unique_key": "item"}}
    manifest.write_text(json.dumps({"nodes": {"model.test.prices": node}}))
    table = find_table(project.settings.lake, load_contracts(project.settings.models), "gold.prices")
    found = diff_versions(project.settings, table, 0, 1)
    assert (found.added, found.removed, found.changed) == (0, 0, changed)
    assert found.columns == {"price": changed}


def test_a_name_that_is_none_names_those_near(shop, capsys):
    with pytest.raises(SystemExit) as left:
        _run(lambda: app(["history", "bronze.retrns"], standalone_mode=False))
    assert left.value.code == 2
    assert "bronze.returns" in capsys.readouterr().err


def test_sql_travels_in_time(shop):
    one = by_command("select sum(qty) as total from bronze.returns version as of 1")
    assert one == [{"total": 11}]
    both = by_command(
        "select a.return_id, a.qty, b.qty as was -- the version as of 9 is no version here\n"
        "from bronze.returns as a left join bronze.returns FOR VERSION AS OF 1 b using (return_id)"
        " where 'returns version as of 8' is not null order by 1;"
    )
    assert both == [{"return_id": 1, "qty": 4, "was": 5}, {"return_id": 3, "qty": 1, "was": None}]
    moment = read_history(shop.settings.lake.bronze("bronze", "returns"))[2].committed_at.isoformat()
    assert by_command(f"select count(*) as n from returns timestamp as of '{moment}' where returns.qty > 5") == [
        {"n": 1}
    ]
    # Of a table that hides its tombstones, so do its versions.
    assert by_command("from 'lake/bronze/delta/returns' version as of 3 limit 9")[0].get("_is_deleted") is None


def test_other_sql_goes_to_duckdb(shop):
    answers = list(run_statements(shop.settings, "create table main.mine as select 1 as x; from main.mine; -- done\n"))
    assert [answer.rows for answer in answers][-1] == [(1,)]
    with pytest.raises(UsageError, match="DuckDB did not carry out"):
        list(run_statements(shop.settings, "from nowhere"))
    with pytest.raises(UsageError, match="no table"):
        list(run_statements(shop.settings, "OPTIMIZE bronze.nothing"))


def test_deltas_own_words(shop):
    (done,) = by_command("OPTIMIZE bronze.returns ZORDER BY (return_id)")
    assert (done["table"], done["files_after"]) == ("bronze.returns", 1)
    (dry,) = by_command("VACUUM 'lake/bronze/delta/returns' RETAIN 168 HOURS DRY RUN")
    assert (dry["applied"], dry["retain_hours"]) == (False, 168)
    (wet,) = by_command("vacuum bronze.returns retain 168 hours;")
    assert (wet["applied"], wet["old"]) == (True, 0)
    with pytest.raises(UsageError):
        list(run_statements(shop.settings, "VACUUM bronze.returns RETAIN 0 HOURS"))
    assert len(by_command("describe history bronze.returns limit 2")) == 2


def test_statements_are_told_apart():
    text = "select ';' as a; -- one; two\n/* three; */ select \"b;\" from t;\n\n;"
    assert split_statements(text) == ["select ';' as a", 'select "b;" from t']


def test_only_what_travels_is_rewritten(shop):
    for text in ("select version as of from t", "select 'a version as of 1'", "from bronze.returns"):
        assert write_time_travel(shop.settings, text) == text

"""Quarantine can be emptied: by a better file, by a better contract, or by saying that it never will."""

from __future__ import annotations

import json
import shutil
from functools import partial
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from conftest import DAY, Project, items, make_project, sales
from lakeops import pipeline
from lakeops.errors import UsageError
from lakeops.lineage import trace_row
from lakeops.quality import ask
from lakeops.warehouse import count_quarantine, list_quarantine

TYPED = """
sources:
  - name: shop
    schema: bronze
    tables:
      - name: t
        config:
          meta:
            load: {files: ["t/*.parquet"], format: parquet, mode: merge, key: [id], on_new_column: evolve}
        columns:
          - {name: id, data_type: bigint}
"""


def to_parquet(**columns: list) -> bytes:
    out = BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


def statuses(project: Project) -> list[tuple]:
    return project.sql("select source_row, status from quarantine order by 1, 2")


def test_replay_after_the_contract_was_mended_loads_the_good_rows_once(project):
    project.land("sales/1.csv", sales((1, DAY, 1), (2, DAY, "2.125"), (3, DAY, "x")))
    project.load()
    assert statuses(project) == [(3, "open"), (4, "open")]
    project.change_contract("decimal(12,2)", "decimal(14,3)")
    first = pipeline.run_replay(project.settings, None, None)
    assert [(r.replayed, r.still_open) for r in first] == [(1, 1)]
    assert statuses(project) == [(3, "replayed"), (4, "open")]
    assert [row[0] for row in project.rows("sales")] == [1, 2]
    second = pipeline.run_replay(project.settings, "sales", None)
    assert [(r.replayed, r.still_open) for r in second] == [(0, 1)]
    assert [row[0] for row in project.rows("sales")] == [1, 2]
    assert project.load().batches == []
    found = project.sql("select _source_file, _source_row from bronze.sales where sale_id = 2")
    assert found == [("data_raw/sales/1.csv", 3)]


def test_a_restated_file_takes_replayed_rows_with_it(project):
    project.land("sales/1.csv", sales((1, DAY, 1), (2, DAY, "2.125")))
    project.load()
    project.change_contract("decimal(12,2)", "decimal(14,3)")
    pipeline.run_replay(project.settings, None, None)
    project.land("sales/1.csv", sales((1, DAY, 1), (2, DAY, "2.5")))
    project.load()
    assert [str(row[2]) for row in project.rows("sales")] == ["1.000", "2.500"]
    assert statuses(project) == [(3, "superseded")]


def test_a_replay_into_a_merged_table_keeps_its_order(project):
    project.land("items/1.csv", items((1, "late", "2024-01-05 later"), (1, "early", "2024-01-01T00:00:00")))
    project.load()
    project.change_contract("{name: changed_at, data_type: timestamp}", "{name: changed_at, data_type: varchar}")
    pipeline.run_replay(project.settings, None, None)
    assert [row[1] for row in project.rows("items")] == ["late"]


def test_a_file_that_changed_is_for_load_and_one_that_is_gone_for_discard(project):
    path = project.land("sales/1.csv", sales(("x", DAY, 1)))
    project.load()
    project.land("sales/1.csv", sales((7, DAY, 1)))
    assert "lakeops load" in pipeline.run_replay(project.settings, None, None)[0].problem
    path.unlink()
    assert "discard" in pipeline.run_replay(project.settings, None, None)[0].problem


def test_discarded_records_stay_readable_with_the_reason(project):
    project.land("sales/1.csv", sales(("x", DAY, 1)))
    project.load()
    assert pipeline.run_discard(project.settings, "sales", None, "test rows of the sender") == 1
    assert statuses(project) == [(2, "discarded")]
    assert project.sql("select reason from quarantine_resolutions") == [("test rows of the sender",)]
    assert pipeline.run_discard(project.settings, "sales", None, "again") == 0


def test_a_replay_killed_before_its_commit_leaves_the_records_open(project, monkeypatch):
    from lakeops.bronze import quarantine

    project.land("sales/1.csv", sales((1, DAY, "2.125")))
    project.load()
    project.change_contract("decimal(12,2)", "decimal(14,3)")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quarantine, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_replay(project.settings, None, None)
    assert statuses(project) == [(2, "open")]
    assert [r.replayed for r in pipeline.run_replay(project.settings, None, None)] == [1]
    assert statuses(project) == [(2, "replayed")]
    assert len(project.rows("sales")) == 1


def test_a_replay_killed_before_the_ledger_is_read_back_from_its_commit(project, monkeypatch):
    from lakeops.bronze import quarantine

    project.land("sales/1.csv", sales((1, DAY, "2.125")))
    project.load()
    project.change_contract("decimal(12,2)", "decimal(14,3)")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quarantine, "append_entries", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_replay(project.settings, None, None)
    assert pipeline.run_replay(project.settings, None, None) == []
    assert statuses(project) == [(2, "replayed")]
    assert len(project.rows("sales")) == 1


def test_a_warehouse_that_was_never_loaded_into_is_one_clear_error(tmp_path: Path):
    warehouse = tmp_path / "duckdb" / "warehouse.duckdb"
    for look in (partial(count_quarantine, warehouse), partial(list_quarantine, warehouse, limit=20)):
        with pytest.raises(UsageError, match="does not know the quarantine yet"):
            look(None, None, everything=False)


@pytest.mark.parametrize("change", ["moved", "deleted"])
def test_a_lake_that_is_not_where_it_was_is_one_clear_error(project: Project, change: str):
    project.land("sales/a.csv", sales((1, DAY, "word"), (2, DAY, "1.00")))
    project.load()
    root = project.root
    if change == "moved":
        root = project.root.rename(project.root.with_name("moved"))
    else:
        shutil.rmtree(project.settings.lake.folder)
    settings = Project(root).settings
    question = settings.dbt_project / "analyses" / "monitoring" / "waiting.sql"
    question.parent.mkdir(parents=True)
    question.write_text("-- How many wait.\nselect count(*) from main.quarantine\n")
    source = {"unique_id": "source.t.shop.sales", "resource_type": "source", "schema": "bronze", "identifier": "sales",
              "description": "", "columns": {}, "config": {"meta": {"load": {"key": ["sale_id"]}}}}  # fmt: skip
    manifest = {"metadata": {"project_name": "t"}, "nodes": {}, "sources": {source["unique_id"]: source}}
    (settings.dbt_project / "target").mkdir()
    (settings.dbt_project / "target" / "manifest.json").write_text(json.dumps(manifest))
    for look in (
        lambda: count_quarantine(settings.warehouse, None, None, everything=False),
        lambda: list_quarantine(settings.warehouse, None, None, everything=False, limit=20),
        lambda: ask(settings, "waiting"),
        lambda: trace_row(settings, "bronze.sales", {"sale_id": "2"}),
    ):
        with pytest.raises(UsageError) as refused:
            look()
        assert refused.value.next_step


def test_a_replay_keeps_the_type_that_a_new_column_got(tmp_path: Path):
    """Inferred anew from the file alone, it would be stored in another type than the table has."""
    project = make_project(tmp_path / "project", TYPED)
    project.land("t/1.parquet", to_parquet(id=[1], x=[2]))
    project.load()
    project.land("t/2.parquet", to_parquet(id=[2, 3], x=[2.5, 4.0]))
    project.load()
    shown = "select id, x from bronze.t order by id"
    assert project.sql(shown) == [(1, 2), (3, 4)]
    assert [(r.replayed, r.still_open) for r in pipeline.run_replay(project.settings, None, None)] == [(0, 1)]
    assert project.sql(shown) == [(1, 2), (3, 4)]
    assert project.load().batches == []


def test_a_replay_brings_the_new_columns_of_its_file(tmp_path: Path):
    project = make_project(tmp_path / "project", TYPED)
    project.land("t/1.parquet", to_parquet(id=[1]))
    project.land("t/2.parquet", to_parquet(id=["B7"], x=[2]))
    project.load()
    project.change_contract("- {name: id, data_type: bigint}", "- {name: id, data_type: varchar}")
    assert [r.replayed for r in pipeline.run_replay(project.settings, None, None)] == [1]
    assert project.sql("select id, x from bronze.t order by id") == [("1", None), ("B7", 2)]
    assert project.sql("select change from schema_history where column_name = 'x'") == [("added",)]

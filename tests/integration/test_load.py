"""The loader on real files and real Delta tables: nothing twice, nothing lost."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import shutil
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from conftest import DAY, items, make_project, sales
from lakeops import lakehouse, pipeline
from lakeops.bronze import examine
from lakeops.bronze import load as bronze_load
from lakeops.errors import BronzeCommitError, RawFileRefusedError, UsageError
from lakeops.ledger import load_ledger
from lakeops.recovery.undo import run_undo


def test_every_record_is_accepted_or_in_quarantine_with_its_line(project):
    project.land(
        "sales/1.csv",
        "sale_id,sale_dt,amount\n1,2024-04-01,10.50\n2,2024-04-01\nx,2024-04-01,1\n,2024-04-01,3\n5,2024-02-30,4\n6,2024-04-01,7.125\n7,2024-04-01,8\n",
    )
    project.load()
    assert project.rows("sales") == [(1, DAY, Decimal("10.50")), (7, DAY, Decimal("8.00"))]
    assert project.sql("select source_row, reason, column_name, raw_record from quarantine order by 1") == [
        (3, "wrong_field_count", None, "2,2024-04-01"),
        (4, "bad_value", "sale_id", "x,2024-04-01,1"),
        (5, "missing_key", "sale_id", ",2024-04-01,3"),
        (6, "bad_value", "sale_dt", "5,2024-02-30,4"),
        (7, "bad_value", "amount", "6,2024-04-01,7.125"),
    ]
    assert project.sql("select rows_read, rows_accepted, rows_quarantined from manifest_processed_files") == [(7, 2, 5)]


def test_every_contract_has_its_table_and_view_from_the_first_run_on(project):
    assert project.load().batches == []
    for table in ("sales", "items", "items_changes", "clicks"):
        assert project.sql(f"select count(*) from bronze.{table}") == [(0,)]
    assert pl.read_delta(str(project.settings.lake.bronze("bronze", "sales"))).schema["amount"] == pl.Decimal(12, 2)


def test_a_lake_made_anew_in_the_same_place_is_known_to_be_another(project):
    """Its batches count from 1 again: by these alone, models would take its rows for those of the one before."""
    lakes = []
    for loads in (2, 1):
        for _ in range(loads):
            project.load()
            lakes.append(project.sql("select lake_root(), lake_id()")[0])
        shutil.rmtree(project.settings.lake.folder)
    assert lakes[0] == lakes[1]
    assert [one == other for one, other in zip(lakes[1], lakes[2], strict=True)] == [True, False]


def test_loading_twice_commits_nothing(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    before = project.versions()
    again = project.load()
    assert again.batches == []
    assert again.skipped == 2
    assert project.versions() == before


def test_a_touched_file_with_the_same_bytes_is_not_loaded_again(project):
    path = project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.land("sales/1.csv", path.read_bytes())
    assert project.load().batches == []
    assert len(project.rows("sales")) == 1


def test_a_restated_file_replaces_its_rows_and_leaves_both_stories(project):
    project.land("sales/1.csv", sales((1, DAY, 1), (2, DAY, 2), ("bad", DAY, 3)))
    project.land("sales/2.csv", sales((9, DAY, 9)))
    project.load()
    version = project.versions()["lake/bronze/delta/sales"]
    project.land("sales/1.csv", sales((2, DAY, 20), (3, DAY, 3)))
    project.load()
    assert project.rows("sales") == [(2, DAY, Decimal(20)), (3, DAY, Decimal(3)), (9, DAY, Decimal(9))]
    assert project.versions()["lake/bronze/delta/sales"] == version + 1
    story = project.sql(
        "select status, batch_id, rows_accepted from manifest_processed_files"
        " where source_file = 'data_raw/sales/1.csv' order by batch_id, status desc"
    )
    assert story == [("loaded", 1, 2), ("superseded", 2, 2), ("loaded", 2, 2)]
    assert project.sql("select distinct status from quarantine") == [("superseded",)]
    touched = project.sql("select key_json from touched_keys where table_name = 'sales'")
    assert sorted(json.loads(key)["sale_id"] for (key,) in touched) == [1, 2]


def test_a_file_restated_back_to_bytes_seen_before_is_loaded(project):
    first = sales((1, DAY, 1))
    project.land("sales/1.csv", first)
    project.load()
    project.land("sales/1.csv", sales((1, DAY, 2)))
    project.load()
    project.land("sales/1.csv", first)
    project.load()
    assert project.rows("sales") == [(1, DAY, Decimal(1))]


def test_the_same_bytes_under_another_name_are_loaded_only_while_no_other_copy_lives(project):
    copy = sales((1, DAY, 1))
    project.land("sales/1.csv", copy)
    project.load()
    project.land("sales/2.csv", copy)
    assert project.load().duplicates == [("data_raw/sales/2.csv", "same bytes as data_raw/sales/1.csv")]
    assert len(project.rows("sales")) == 1
    assert project.load().duplicates == []
    project.land("sales/1.csv", sales((5, DAY, 5)))
    project.load()
    assert project.rows("sales") == [(1, DAY, Decimal(1)), (5, DAY, Decimal(5))]


def test_a_file_restated_into_a_copy_of_another_leaves_once_and_stays_out(project):
    project.land("sales/1.csv", sales((1, DAY, 1), ("x", DAY, 1)))
    project.land("sales/2.csv", sales((2, DAY, 2)))
    project.load()
    project.land("sales/1.csv", sales((2, DAY, 2)))
    assert project.load().duplicates == [("data_raw/sales/1.csv", "same bytes as data_raw/sales/2.csv")]
    before = project.versions()
    assert project.load().batches == []
    assert project.versions() == before
    assert project.rows("sales") == [(2, DAY, Decimal(2))]
    assert project.sql("select status from quarantine") == [("superseded",)]


def test_two_copies_in_one_run_are_loaded_once(project):
    project.land("sales/a.csv", sales((1, DAY, 1)))
    project.land("sales/b.csv", sales((1, DAY, 1)))
    assert len(project.load().duplicates) == 1
    assert len(project.rows("sales")) == 1


BAD = "sale_id,amount\n1,1\n"


def test_a_refused_file_keeps_its_rows_and_whoever_carries_them_too_is_a_duplicate(project):
    old, older = sales((1, DAY, 1)), sales((2, DAY, 2))
    project.land("sales/now.csv", old)
    project.land("sales/last.csv", older)
    project.load()
    # Files are moved on by one name, as logs are, but the newest one is no good.
    project.land("sales/now.csv", BAD)
    project.land("sales/last.csv", old)
    project.land("sales/first.csv", older)
    outcome = project.load()
    assert [name for name, _ in outcome.refused] == ["data_raw/sales/now.csv"]
    assert outcome.duplicates == [("data_raw/sales/last.csv", "same bytes as data_raw/sales/now.csv")]
    assert [row[0] for row in project.rows("sales")] == [1, 2]
    before = project.versions()
    assert project.load().batches == []
    assert project.versions() == before
    project.land("sales/now.csv", sales((3, DAY, 3)))
    project.load()
    assert [row[0] for row in project.rows("sales")] == [1, 2, 3]


def test_two_files_that_exchange_their_bytes_do_so_in_one_commit(project, monkeypatch):
    monkeypatch.setattr(bronze_load, "FILES_PER_BATCH", 1)
    project.land("sales/a.csv", sales((1, DAY, 1)))
    project.land("sales/b.csv", sales((2, DAY, 2)))
    project.load()
    project.land("sales/a.csv", sales((2, DAY, 2)))
    project.land("sales/b.csv", sales((1, DAY, 1)))
    assert project.load().batches == [3]
    assert project.sql("select _source_file[-5:], sale_id from bronze.sales order by 1") == [("a.csv", 2), ("b.csv", 1)]


def test_a_copy_of_a_refused_file_is_no_duplicate_of_it(project):
    project.land("sales/a.csv", BAD)
    project.land("sales/b.csv", BAD)
    outcome = project.load()
    assert ([name[-5:] for name, _ in outcome.refused], outcome.duplicates) == (["a.csv", "b.csv"], [])
    # What refuses one need not refuse the other: here, the day in its folder.
    project.change_contract("business_date: sale_dt", "folders: [d]\n              derive: {sale_dt: d}")
    project.change_contract("key: [sale_id]", "key: [sale_id]\n              on_bad_value: refuse")
    for day in ("2024-02-30", "2024-03-01"):
        project.land(f"sales/d={day}/1.csv", "sale_id,amount\n7,7\n")
    outcome = project.load()
    assert [name for name, _ in outcome.refused] == ["data_raw/sales/d=2024-02-30/1.csv"]
    assert (7, dt.date(2024, 3, 1), Decimal(7)) in project.rows("sales")


def test_the_same_bytes_in_a_folder_that_says_another_day_are_other_rows(project):
    project.change_contract(
        "business_date: sale_dt", "folders: [d, dt]\n              derive: {sale_dt: 'COALESCE(d, dt)'}"
    )
    nothing_changed, names = "sale_id,amount\n7,7\n", [f"sales/{day}/1.csv" for day in ("d=2024-04-01", "d=2024-04-02")]
    for name in (*names, "sales/dt=2024-04-01/copy.csv"):
        project.land(name, nothing_changed)
    days = [(7, dt.date(2024, 4, day), Decimal(7)) for day in (1, 2)]
    outcome = project.load()
    assert outcome.duplicates == [
        ("data_raw/sales/dt=2024-04-01/copy.csv", "same bytes as data_raw/sales/d=2024-04-01/1.csv")
    ]
    assert project.rows("sales") == days
    # Nor does an undo of one day hold back a file of another.
    run_undo(project.settings, file=f"data_raw/{names[0]}", reason="a test")
    project.land("sales/d=2024-04-03/1.csv", nothing_changed)
    outcome = project.load()
    assert [name for name, _ in outcome.held] == ["data_raw/sales/dt=2024-04-01/copy.csv"]
    assert project.rows("sales") == [days[1], (7, dt.date(2024, 4, 3), Decimal(7))]


def test_the_same_bytes_that_say_their_day_themselves_are_the_same_rows_in_any_folder(project):
    """Of a column that derives from itself, the file's value is taken where it has one: seen only when it is read."""
    project.change_contract(
        "business_date: sale_dt", "folders: [sale_dt]\n              derive: {sale_dt: sale_dt}\n"
        "              business_date: sale_dt",
    )  # fmt: skip
    first, again = (f"sales/sale_dt=2024-04-0{day}/1.csv" for day in (1, 2))
    project.land(first, sales((1, DAY, 1)))
    project.load()
    project.land(again, sales((1, DAY, 1)))
    why = f"same bytes as data_raw/{first}, and the file says itself what its folders could"
    assert project.load().duplicates == [(f"data_raw/{again}", why)]
    assert len(project.rows("sales")) == 1
    outcome = project.load()  # known by now, and not read again
    assert (outcome.duplicates, outcome.skipped) == ([], 2)
    # Two at once, and one that is restated into the copy of another: its own rows leave.
    for name in ("sales/sale_dt=2024-04-03/1.csv", "sales/sale_dt=2024-04-04/1.csv"):
        project.land(name, sales((3, DAY, 3)))
    assert len(project.load().duplicates) == 1
    project.land(first, sales((3, DAY, 3)))
    assert len(project.load().duplicates) == 1
    assert [row[0] for row in project.rows("sales")] == [1, 3]
    # What the file does not say, its folders do.
    for day in (5, 6):
        project.land(f"sales/sale_dt=2024-04-0{day}/2.csv", "sale_id,amount\n7,7\n")
    assert project.load().duplicates == []
    assert [row[1].day for row in project.rows("sales") if row[0] == 7] == [5, 6]


def test_a_folder_that_the_contract_does_not_read_makes_no_other_rows(project):
    for folder in ("x=1", "x=2"):
        project.land(f"sales/{folder}/1.csv", sales((1, DAY, 1)))
    assert len(project.load().duplicates) == 1


def test_a_file_that_another_contract_claims_now_keeps_its_rows_until_they_are_taken_out(project):
    file = "data_raw/sales/1.csv"
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    other = project.root / "dbt" / "models" / "bronze" / "other.yml"
    table = "{files: [sales/1.csv], format: csv, key: [sale_id], on_new_column: ignore}"
    other.write_text(
        f"sources: [{{name: other, schema: bronze, tables: [{{name: other, config: {{meta: {{load: {table}}}}},"
        " columns: [{name: sale_id, data_type: bigint}]}]}]\n"
    )
    project.change_contract("sales/**/*.csv", "sales/**/[a-z]*.csv")
    for rows in (sales((1, DAY, 1)), sales((2, DAY, 2))):  # as it was, and restated
        project.land("sales/1.csv", rows)
        ((name, reason),) = project.load().refused
        assert (name, reason.split(";")[0]) == (file, "other_table: its rows are in sales")
        assert [row[0] for row in project.rows("sales")] == [1]
    run_undo(project.settings, file=file, reason="it is of another table")
    pipeline.run_load(
        project.settings, pipeline.Selection(reload=(project.root / file,), root=project.root, reason="moved")
    )
    assert (project.rows("sales"), project.rows("other")) == ([], [(2,)])
    assert project.load().refused == []


def test_a_file_beyond_the_limit_keeps_its_rows_for_now(project):
    project.land("sales/b.csv", sales((1, DAY, 1)))
    project.load()
    project.land("sales/a.csv", sales((1, DAY, 1)))
    project.land("sales/b.csv", sales((2, DAY, 2)))
    project.land("sales/c.csv", sales((2, DAY, 2)))
    for loaded in ([2], [1, 2]):
        pipeline.run_load(project.settings, pipeline.Selection(limit_files=1))
        assert [row[0] for row in project.rows("sales")] == loaded


def test_the_ledger_is_in_the_order_of_its_entries_also_if_the_clock_was_set_back(project, monkeypatch):
    clock = [dt.datetime(2024, 5, 9 - day, tzinfo=dt.UTC) for day in range(4)]
    for day, moment in enumerate(clock):
        monkeypatch.setattr(pipeline, "_now", lambda moment=moment: moment)
        project.land("sales/1.csv", sales((day, DAY, 1), ("x", DAY, day)))
        project.load()
    assert project.rows("sales") == [(3, DAY, Decimal(1))]
    assert project.load().batches == []
    statuses = project.sql("select detail[-3:], status from quarantine order by batch_id")
    assert [status for _, status in statuses] == ["superseded"] * 3 + ["open"]
    numbers = project.sql("select entry_id from manifest_processed_files order by batch_id, status desc")
    assert numbers == [(number,) for number in range(1, 8)]


def test_the_landing_zone_is_looked_at_under_the_lock(project, monkeypatch):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    heal = lakehouse.heal_lake

    def heal_late(*words):
        project.land("sales/2.csv", sales((2, DAY, 2)))
        return heal(*words)

    monkeypatch.setattr(lakehouse, "heal_lake", heal_late)
    project.load()
    assert len(project.rows("sales")) == 2


def test_without_a_raw_folder_no_lake_is_made(project):
    (project.root / "data_raw").rmdir()
    with pytest.raises(UsageError, match="no such raw folder"):
        project.load()
    assert not (project.root / "lake").exists()


def test_rows_of_a_file_with_other_columns_are_counted(project):
    project.land("sales/1.csv", BAD + "2,2\n3\n")
    project.load()
    assert project.sql("select status, rows_read, rows_quarantined from manifest_processed_files") == [
        ("refused", 3, 0)
    ]


def test_a_file_in_another_encoding_that_its_contract_names(project):
    project.change_contract("format: jsonl", "format: jsonl, encoding: latin-1")
    project.land("clicks/1.jsonl", '{"click_id": 1, "page": "größe"}\n{"é'.encode("latin-1"))
    project.load()
    assert project.rows("clicks") == [(1, "größe")]
    assert project.sql("select source_row, raw_record from quarantine") == [(2, '{"é')]


def test_a_refused_file_loads_nothing_and_keeps_no_other_file_back(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("sales/2.csv", "sale_id,amount\n2,2\n")
    project.land("sales/3.csv", b"sale_id,sale_dt,amount\n3,2024-04-01,\xff\n")
    outcome = project.load()
    assert project.rows("sales") == [(1, DAY, Decimal(1))]
    assert [name for name, _ in outcome.refused] == ["data_raw/sales/2.csv", "data_raw/sales/3.csv"]
    assert "missing column sale_dt" in outcome.refused[0][1]
    assert "line 2" in outcome.refused[1][1]
    with pytest.raises(RawFileRefusedError, match="2 raw file"):
        pipeline.raise_if_refused(outcome)
    # It stays refused, and says so on every run, but is written down once.
    assert len(project.load().refused) == 2
    assert project.sql("select count(*) from manifest_processed_files where status = 'refused'") == [(2,)]


def test_a_restated_file_that_is_refused_leaves_the_last_good_rows(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.land("sales/1.csv", "nonsense\n1\n")
    assert project.load().refused
    assert project.rows("sales") == [(1, DAY, Decimal(1))]
    project.land("sales/1.csv", sales((2, DAY, 2)))
    project.load()
    assert project.rows("sales") == [(2, DAY, Decimal(2))]


def test_a_file_of_no_contract_is_named_and_names_that_begin_with_an_underscore_are_no_data(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("other/1.csv", "a\n1\n")
    project.land("_defects.json", "{}")
    project.land("sales/_tmp/1.csv", "half")
    outcome = project.load()
    assert outcome.unclaimed == ["data_raw/other/1.csv"]
    with pytest.raises(RawFileRefusedError, match=r"other/1\.csv: no contract claims it"):
        pipeline.raise_if_refused(outcome)


def test_the_newest_record_of_a_key_wins_whatever_the_order_of_arrival(project):
    old, new = items((1, "old", "2024-01-01T00:00:00")), items((1, "new", "2024-01-02T00:00:00"))
    project.land("items/new.csv", new)
    project.load()
    project.land("items/old.csv", old)
    project.load()
    assert [row[1] for row in project.rows("items")] == ["new"]
    assert len(project.rows("items_changes")) == 2


def test_restating_a_merged_file_can_bring_an_older_value_back_and_take_a_key_away(project):
    project.land("items/1.csv", items((1, "first", "2024-01-01T00:00:00")))
    project.load()
    project.land("items/2.csv", items((1, "second", "2024-01-02T00:00:00"), (2, "two", "2024-01-02T00:00:00")))
    project.load()
    assert [row[1] for row in project.rows("items")] == ["second", "two"]
    project.land("items/2.csv", items((3, "three", "2024-01-03T00:00:00")))
    project.load()
    assert [row[1] for row in project.rows("items")] == ["first", "three"]


def test_a_new_column_is_taken_in_and_old_rows_are_null(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.land("sales/2.csv", "note,sale_id,amount,sale_dt\nhi,2,2,2024-04-01\n")
    project.load()
    assert project.sql("select sale_id, note from bronze.sales order by 1") == [(1, None), (2, "hi")]


def test_json_lines_that_do_not_parse_are_quarantined_word_for_word(project):
    project.land("clicks/1.jsonl", '{"click_id": 1, "page": "a"}\n{bad\n\n[1]\n{"click_id": 4}\n')
    project.load()
    assert project.rows("clicks") == [(1, "a"), (4, None)]
    assert project.sql("select source_row, reason, raw_record from quarantine order by 1") == [
        (2, "bad_json", "{bad"),
        (4, "bad_json", "[1]"),
    ]


def test_loader_columns_say_where_each_row_came_from(project):
    project.land("sales/1.csv", sales((1, DAY, 1), (2, DAY, 2)))
    outcome = project.load()
    found = project.sql("select sale_id, _batch_id, _source_file, _source_row from bronze.sales order by 1")
    batch = outcome.batches[0]
    assert found == [(1, batch, "data_raw/sales/1.csv", 2), (2, batch, "data_raw/sales/1.csv", 3)]


def test_batches_grow_across_tables_and_a_big_run_is_cut(project, monkeypatch):
    monkeypatch.setattr(bronze_load, "FILES_PER_BATCH", 2)
    for n in range(5):
        project.land(f"sales/{n}.csv", sales((n, DAY, n)))
    assert project.load().batches == [1, 2, 3]
    project.land("clicks/1.jsonl", '{"click_id": 1}\n')
    assert project.load().batches == [4]
    assert len(project.rows("sales")) == 5


def test_a_dry_run_prints_the_plan_and_writes_nothing(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    plan = pipeline.plan_load(project.settings)
    assert [(step.action, step.landing.source_file) for step in plan.steps] == [("load", "data_raw/sales/1.csv")]
    assert not (project.root / "lake").exists()


def test_a_dry_run_works_on_what_a_killed_first_load_left(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    (project.settings.lake.ops("manifest_processed_files") / "_delta_log").mkdir(parents=True)
    assert len(pipeline.plan_load(project.settings).steps) == 1


def test_the_proof_in_the_log_rebuilds_a_lost_ledger(project):
    project.land("sales/1.csv", sales((1, DAY, 1), ("bad", DAY, 2)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    query = (
        "select source_file, status, rows_read, rows_accepted, rows_quarantined, file_sha256, batch_id, bronze_version"
        " from manifest_processed_files order by 1"
    )
    before = project.sql(query)
    shutil.rmtree(project.settings.lake.ops("manifest_processed_files"))
    assert project.load().batches == []
    assert project.sql(query) == before
    assert len(project.rows("sales")) == 1


def test_a_deleted_warehouse_comes_back_with_the_next_load(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.settings.warehouse.unlink()
    project.load()
    assert project.sql("select count(*) from bronze.sales") == [(1,)]
    assert project.sql("select count(*) from manifest_processed_files") == [(1,)]


def test_a_link_out_of_the_landing_zone_is_refused_and_never_read(project, tmp_path):
    outside = tmp_path / "secret.csv"
    outside.write_text(sales((1, DAY, 1)))
    (project.root / "data_raw" / "sales").mkdir()
    (project.root / "data_raw" / "sales" / "1.csv").symlink_to(outside)
    project.land("sales/2.csv", sales((2, DAY, 2)))
    outcome = project.load()
    assert [name for name, _ in outcome.refused] == ["data_raw/sales/1.csv"]
    assert "link_outside" in outcome.refused[0][1]
    assert [row[0] for row in project.rows("sales")] == [2]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_packed_files_load_as_they_are(project, suffix):
    import pyarrow as pa

    project.change_contract("sales/**/*.csv", f"sales/**/*.csv.{suffix}")
    path = project.root / "data_raw" / "sales" / f"1.csv.{suffix}"
    path.parent.mkdir()
    with pa.CompressedOutputStream(str(path), {"gz": "gzip", "zst": "zstd"}[suffix]) as packed:
        packed.write(sales((1, DAY, 1), ("x", DAY, 2)).encode())
    project.load()
    assert len(project.rows("sales")) == 1
    assert project.sql("select source_row, raw_record from quarantine") == [(3, "x,2024-04-01,2")]


@pytest.mark.parametrize("table", ["sales", "items"])
def test_a_lost_table_is_not_quietly_created_empty_and_comes_back_from_its_raw_files(project, table):
    project.land("sales/1.csv", sales((1, DAY, 1), ("bad", DAY, 2)))
    gone = project.land("sales/2.csv", sales((2, DAY, 2)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    rows = project.rows(table)
    truth = {"sales": "sales", "items": "items_changes"}[table]
    shutil.rmtree(project.settings.lake.bronze("bronze", truth))
    with pytest.raises(BronzeCommitError, match="has lost what was committed") as error:
        project.load()
    assert f"lakeops repair bronze.{table} " in error.value.next_step
    assert not project.settings.lake.bronze("bronze", truth).exists()
    gone.unlink()
    outcome = pipeline.run_load(project.settings, pipeline.Selection(rebuild=table))
    # What no raw file holds any more is a loss, and is said.
    assert outcome.lost == ([("data_raw/sales/2.csv", 1, "the raw file is gone")] if table == "sales" else [])
    assert project.rows(table) == (rows[:1] if table == "sales" else rows)
    assert project.sql("select count(*) from quarantine where status = 'open'") == [(1,)]
    assert project.load().batches == []


def test_a_lost_derived_table_heals_by_itself(project):
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    shutil.rmtree(project.settings.lake.bronze("bronze", "items"))
    project.load()
    assert [row[1] for row in project.rows("items")] == ["a"]


def test_a_lake_from_before_seconds_were_kept_goes_on(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    ledger = str(project.settings.lake.ops("manifest_processed_files"))
    old = pl.read_delta(ledger).drop("seconds")
    old.write_delta(ledger, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    project.land("sales/2.csv", sales((2, DAY, 2)))
    assert project.load().skipped == 1
    assert project.sql("select source_file, seconds > 0 from manifest_processed_files order by 1") == [
        ("data_raw/sales/1.csv", None),
        ("data_raw/sales/2.csv", True),
    ]


def test_a_lake_may_lie_in_a_folder_with_blanks_and_other_letters(tmp_path):
    project = make_project(tmp_path / "Größe & more")
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("items/a b.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    project.land("sales/1.csv", sales((2, DAY, 2)))
    project.load()
    assert project.sql("select sale_id from bronze.sales") == [(2,)]
    assert project.sql("select name, _source_file from bronze.items") == [("a", "data_raw/items/a b.csv")]
    assert project.load().batches == []


def test_a_ledger_belongs_to_whoever_read_it(project):
    project.land("sales/a.csv", sales((1, DAY, "1.00")))
    project.load()
    mine = load_ledger(project.settings.lake)
    mine.add(mine.latest["data_raw/sales/a.csv"]._replace(source_file="data_raw/sales/b.csv"))
    assert "data_raw/sales/b.csv" not in load_ledger(project.settings.lake).latest


def test_a_file_that_may_not_be_read_keeps_no_other_out(project, monkeypatch):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    locked = project.land("sales/2.csv", sales((2, DAY, 2)))
    read = pipeline.compute_fingerprint

    def refuse(path: Path) -> str:  # root, as which tests may run, may read all
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(pipeline, "compute_fingerprint", refuse)
    assert project.load().refused == [("data_raw/sales/2.csv", "no_access: Permission denied")]
    monkeypatch.undo()
    assert project.load().refused == []
    assert [row[0] for row in project.rows("sales")] == [1, 2]


def test_a_file_that_is_moved_while_it_is_loaded_is_left_for_the_next_run(project, monkeypatch):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    moved = project.land("sales/2.csv", sales((2, DAY, 2)))
    read = pipeline.compute_fingerprint

    def move(path: Path) -> str:
        if path == moved:
            moved.rename(moved.with_name("3.csv"))
        return read(path)

    monkeypatch.setattr(pipeline, "compute_fingerprint", move)
    assert project.load().refused == []
    assert [row[0] for row in project.rows("sales")] == [1]
    monkeypatch.undo()
    assert project.load().refused == []
    assert [row[0] for row in project.rows("sales")] == [1, 2]


def test_a_file_that_is_moved_while_it_is_read_keeps_no_other_out(project, monkeypatch):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    moved = project.land("sales/2.csv", sales((2, DAY, 2)))
    read = pipeline.compute_fingerprint

    def read_and_move(path: Path) -> str:
        found = read(path)
        if path == moved:
            moved.rename(moved.with_name("3.csv"))
        return found

    monkeypatch.setattr(pipeline, "compute_fingerprint", read_and_move)
    ((name, reason),) = project.load().refused
    assert (name, reason.split(":")[0]) == ("data_raw/sales/2.csv", "still_written")
    assert [row[0] for row in project.rows("sales")] == [1]
    monkeypatch.undo()
    assert project.load().refused == []
    assert [row[0] for row in project.rows("sales")] == [1, 2]


def test_a_file_with_values_of_an_unheard_of_kind_keeps_no_other_out(project, monkeypatch):
    judge = examine.judge_rows

    def fail(rows: pl.DataFrame, *words: object) -> object:
        if "2" in rows["sale_id"]:
            pl.Series([dt.timedelta(1)]).cast(pl.String)
        return judge(rows, *words)

    monkeypatch.setattr(examine, "judge_rows", fail)
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("sales/2.csv", sales((2, DAY, 2)))
    ((name, reason),) = project.load().refused
    assert (name, reason.split(":")[0]) == ("data_raw/sales/2.csv", "unreadable")
    assert [row[0] for row in project.rows("sales")] == [1]


def test_what_fails_outside_the_lake_is_not_said_of_the_lake(project):
    with (
        pytest.raises(BronzeCommitError, match="outside the lake") as raised,
        lakehouse.lock_lake(project.settings.lake),
    ):
        (project.root / "gone.csv").read_bytes()
    assert raised.value.where.endswith("gone.csv")
    (project.root / "lake").rename(project.root / "moved")
    (project.root / "lake").write_text("no folder")
    with (
        pytest.raises(BronzeCommitError, match=r"The lake cannot be written\."),
        lakehouse.lock_lake(project.settings.lake),
    ):
        pass


def test_a_rebuild_gives_up_no_file_that_it_may_not_see(project, monkeypatch):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("sales/old/2.csv", sales((2, DAY, 2)))
    project.load()
    before = project.rows("sales")
    monkeypatch.setattr(os, "access", lambda path, *_, **__: not str(path).endswith("/old"))
    with pytest.raises(UsageError, match="sales/old"):
        pipeline.run_rebuild(project.settings, ["sales"], "a drill")
    monkeypatch.undo()
    assert project.rows("sales") == before

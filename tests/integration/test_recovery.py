"""Undo, restore and snapshots: what was wrong leaves, what was lost comes back, and nothing comes back by itself."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from decimal import Decimal

import pytest
from deltalake import DeltaTable

from conftest import DAY, Project, items, make_project, sales
from integration.test_changes import CDC, lines
from integration.test_upkeep import age
from lakeops import pipeline
from lakeops.contract import load_contracts
from lakeops.delta import open_table
from lakeops.errors import UsageError
from lakeops.ledger import load_ledger
from lakeops.recovery import commit as mending
from lakeops.recovery import snapshots
from lakeops.recovery.restore import find_truth_version, run_restore
from lakeops.recovery.snapshots import create_snapshot, drop_snapshot, restore_snapshot
from lakeops.recovery.undo import run_undo
from lakeops.timetravel import find_table, list_pinned, list_snapshots, open_version, read_page, read_times
from lakeops.upkeep import list_restorable, optimize_table, retention, vacuum_tables
from lakeops.upkeep.retention import drop_outdated, find_outdated

EARLY, LATE = "2024-04-01T00:00:00", "2024-04-02T00:00:00"


def ids(project: Project, table: str = "sales") -> list[int]:
    return [row[0] for row in project.rows(table)]


def reload(project: Project, name: str):
    path = project.root / "data_raw" / name
    return pipeline.run_load(
        project.settings, pipeline.Selection(reload=(path,), reason="for the test", root=project.root)
    )


def touched(project: Project, table: str, batch: int) -> list[dict]:
    found = project.sql(
        f"select distinct key_json from touched_keys where table_name = '{table}' and batch_id = {batch}"
    )
    return sorted((json.loads(key) for (key,) in found), key=str)


@pytest.fixture
def loaded(project: Project) -> Project:
    """Three loads: batch 2 brought b with a bad record, and an older moment of item 1 is under a newer one."""
    project.land("sales/a.csv", sales((1, DAY, 1), (2, DAY, 2)))
    project.land("items/a.csv", items((1, "old", EARLY), (2, "two", EARLY)))
    project.load()
    project.land("sales/b.csv", sales((3, DAY, 3), ("x", DAY, 3)))
    project.land("items/b.csv", items((1, "new", LATE)))
    project.load()
    project.land("sales/c.csv", sales((4, DAY, 4)))
    project.load()
    return project


def test_undo_takes_one_batch_out_of_every_table_and_later_batches_stay(loaded):
    planned = run_undo(loaded.settings, batch=2, dry_run=True)
    assert [(one.table, one.files, one.rows) for one in planned] == [
        ("bronze.items", ("data_raw/items/b.csv",), 1),
        ("bronze.sales", ("data_raw/sales/b.csv",), 1),
    ]
    assert len(ids(loaded)) == 4
    done = run_undo(loaded.settings, batch=2, reason="sent by mistake")
    assert {one.batch_id for one in done} == {4}
    assert ids(loaded) == [1, 2, 4]
    assert [row[1] for row in loaded.rows("items")] == ["old", "two"]
    assert touched(loaded, "sales", 4) == [{"sale_id": 3}]
    assert touched(loaded, "items", 4) == [{"item_id": 1}]
    assert loaded.sql("select distinct status from quarantine") == [("superseded",)]
    story = loaded.sql(
        "select operation, table_name, reason, batch_id, rows_removed, done_by is not null from maintenance_history"
        " order by table_name"
    )
    assert story == [
        ("undo", "bronze.items", "sent by mistake", 4, 1, True),
        ("undo", "bronze.sales", "sent by mistake", 4, 1, True),
    ]


def test_an_undone_file_waits_until_it_is_asked_for_or_changes(loaded):
    run_undo(loaded.settings, file="data_raw/sales/b.csv", reason="wrong")
    before = loaded.versions()
    assert loaded.load().batches == []
    assert loaded.versions() == before
    # Touched, copied under another name: still the bytes that were taken out.
    loaded.land("sales/b.csv", sales((3, DAY, 3), ("x", DAY, 3)))
    loaded.land("sales/copy.csv", sales((3, DAY, 3), ("x", DAY, 3)))
    outcome = loaded.load()
    assert (outcome.batches, [name for name, _ in outcome.held]) == (
        [],
        ["data_raw/sales/b.csv", "data_raw/sales/copy.csv"],
    )
    assert (loaded.load().held, ids(loaded)) == ([], [1, 2, 4])
    assert len(reload(loaded, "sales/b.csv").batches) == 1
    assert ids(loaded) == [1, 2, 3, 4]
    assert loaded.sql("select count(*) from quarantine where status = 'open'") == [(1,)]
    assert loaded.load().duplicates == [("data_raw/sales/copy.csv", "same bytes as data_raw/sales/b.csv")]
    run_undo(loaded.settings, file="data_raw/sales/b.csv", reason="wrong again")
    loaded.land("sales/b.csv", sales((5, DAY, 5)))
    assert len(loaded.load().batches) == 1
    assert ids(loaded) == [1, 2, 4, 5]


def test_reload_needs_a_reason_and_keeps_it(loaded):
    path = loaded.root / "data_raw/sales/a.csv"
    with pytest.raises(UsageError, match="needs a reason"):
        pipeline.run_load(loaded.settings, pipeline.Selection(reload=(path,), root=loaded.root))
    reload(loaded, "sales/a.csv")
    story = loaded.sql("select operation, table_name, reason, batch_id, rows_added from maintenance_history")
    assert story == [("reload", "sales", "for the test", 4, 2)]


def test_an_undo_of_a_restated_file_does_not_bring_its_older_rows_back(loaded):
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    run_undo(loaded.settings, batch=4, reason="wrong")
    assert ids(loaded) == [3, 4]
    assert loaded.load().batches == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"batch": 99}, "There is no batch 99"),
        ({"batch": 2}, "No row of batch 2 is in bronze"),
        ({"file": "data_raw/sales/b.csv"}, "No row of this file is in bronze"),
        ({"file": "data_raw/sales/z.csv"}, "does not know this file"),
        ({}, "not clear"),
    ],
)
def test_an_undo_of_what_is_not_there_says_so(loaded, words, what):
    run_undo(loaded.settings, batch=2, reason="first")
    before = loaded.versions()
    with pytest.raises(UsageError, match=what):
        run_undo(loaded.settings, **words, reason="second")
    assert loaded.versions() == before
    with pytest.raises(UsageError, match="needs a reason"):
        run_undo(loaded.settings, batch=3)


def test_an_undo_of_a_replay_opens_its_records_again(tmp_path):
    project = make_project(tmp_path / "project")
    project.change_contract('data_type: "decimal(12,2)"}', 'data_type: "decimal(12,2)", data_tests: [not_null]}')
    project.land("sales/a.csv", sales((1, DAY, 1), (2, DAY, "")))
    project.load()
    project.change_contract(", data_tests: [not_null]}", "}")
    assert [replay.replayed for replay in pipeline.run_replay(project.settings, None, None)] == [1]
    assert ids(project) == [1, 2]
    (done,) = run_undo(project.settings, batch=2, reason="too early")
    assert (done.is_replay, ids(project)) == (True, [1])
    assert project.sql("select status from quarantine") == [("open",)]
    assert project.load().batches == []
    assert [replay.replayed for replay in pipeline.run_replay(project.settings, None, None)] == [1]
    assert (ids(project), project.sql("select status from quarantine")) == ([1, 2], [("replayed",)])
    # With the file, all of it leaves; a restore brings the records back as replayed.
    run_undo(project.settings, batch=1, reason="all of it")
    assert ids(project) == []
    run_restore(project.settings, "sales", version=4, reason="after all")
    assert (ids(project), project.sql("select status from quarantine")) == ([1, 2], [("replayed",)])
    assert project.load().batches == []


def test_rows_deleted_by_somebody_come_back(loaded):
    table = loaded.settings.lake.bronze("bronze", "sales")
    DeltaTable(str(table)).delete("sale_id >= 3")
    DeltaTable(str(table)).update(updates={"amount": "100"}, predicate="sale_id = 1")
    planned = run_restore(loaded.settings, "bronze.sales", version=3, dry_run=True)
    assert (planned.rows_back, planned.rows_away, planned.files_away) == (3, 1, ())
    done = run_restore(loaded.settings, "bronze.sales", version=3, reason="deleted by hand")
    assert (done.batch_id, ids(loaded)) == (4, [1, 2, 3, 4])
    assert loaded.rows("sales")[0][2] == Decimal(1)
    assert touched(loaded, "sales", 4) == [{"sale_id": number} for number in (1, 3, 4)]
    assert loaded.load().batches == []
    assert not run_restore(loaded.settings, "bronze.sales", version=3, reason="again").differs
    loaded.land("sales/d.csv", sales((5, DAY, 5)))
    assert loaded.load().batches == [5]
    # A file's state is known as before: it can be restated, and undone.
    loaded.land("sales/b.csv", sales((6, DAY, 6)))
    loaded.load()
    run_undo(loaded.settings, batch=1, reason="test")
    assert ids(loaded) == [4, 5, 6]


def test_rows_that_somebody_inserted_leave(loaded):
    import polars as pl

    table = loaded.settings.lake.bronze("bronze", "sales")
    pl.DataFrame({"sale_id": [77]}).write_delta(str(table), mode="append", delta_write_options={"schema_mode": "merge"})
    done = run_restore(loaded.settings, "bronze.sales", version=3, reason="inserted by hand")
    assert (done.rows_away, ids(loaded)) == (1, [1, 2, 3, 4])
    assert loaded.sql("select max(batch_id) from manifest_processed_files") == [(4,)]
    assert loaded.load().batches == []


def test_what_was_restored_away_does_not_come_back_by_itself(loaded):
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    done = run_restore(loaded.settings, "bronze.sales", version=1, reason="as on the first day")
    assert done.files_away == tuple(f"data_raw/sales/{name}.csv" for name in "abc")
    assert (ids(loaded), loaded.rows("sales")[0][2]) == ([1, 2], Decimal(1))
    assert (loaded.load().batches, ids(loaded)) == ([], [1, 2])
    # Asked for, or changed once more, a file is loaded; the others wait on.
    reload(loaded, "sales/c.csv")
    loaded.land("sales/a.csv", sales((7, DAY, 7)))
    loaded.load()
    assert ids(loaded) == [4, 7]
    run_restore(loaded.settings, "bronze.sales", version=4, reason="and back")
    assert ids(loaded) == [1, 3, 4]
    assert loaded.load().batches == []


def test_a_restore_keeps_columns_and_types_that_came_later(loaded):
    loaded.land("sales/e.csv", "sale_id,sale_dt,amount,note\n8,2024-04-01,8,hello\n")
    loaded.load()
    loaded.change_contract("decimal(12,2)", "decimal(14,4)")
    loaded.load()
    run_restore(loaded.settings, "bronze.sales", version=1, reason="test")
    assert ids(loaded) == [1, 2]
    loaded.land("sales/f.csv", "sale_id,sale_dt,amount,note\n9,2024-04-01,0.1234,there\n")
    loaded.load()
    assert loaded.sql("select sale_id, amount, note from bronze.sales order by all") == [
        (1, Decimal(1), None),
        (2, Decimal(2), None),
        (9, Decimal("0.1234"), "there"),
    ]


def test_a_merged_table_is_restored_through_its_changes(tmp_path):
    project = make_project(tmp_path / "project", CDC)
    project.land("people/1.jsonl", lines({"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "city": "Perth"}))
    project.load()
    project.land("people/2.jsonl", lines({"person_id": 2, "seq": 2, "op": "I", "name": "Bob"}))
    project.load()
    table = DeltaTable(str(project.settings.lake.bronze("bronze", "people")))
    changes = DeltaTable(str(project.settings.lake.bronze("bronze", "people_changes")))
    table.delete("person_id = 1")  # of what SQL sees alone
    run_restore(project.settings, "bronze.people", version=2, reason="deleted by hand")
    assert project.sql("select person_id, name from bronze.people order by 1") == [(1, "Ann"), (2, "Bob")]
    open_table(project.settings.lake.bronze("bronze", "people"))
    DeltaTable(changes.table_uri).delete()  # and of the truth
    DeltaTable(table.table_uri).delete("person_id = 2")
    run_restore(project.settings, "bronze.people", version=2, reason="deleted once more")
    # The next change of Ann knows where she lives.
    project.land("people/3.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "Anna"}))
    project.load()
    assert project.sql("select person_id, name, city from bronze.people order by 1") == [
        (1, "Anna", "Perth"),
        (2, "Bob", None),
    ]
    run_restore(project.settings, "bronze.people_changes", version=1, reason="only Ann")
    assert project.sql("select person_id, name from bronze.people") == [(1, "Ann")]
    assert project.load().batches == []


def test_a_merged_table_is_restored_to_before_its_contract_had_a_column(tmp_path):
    project = make_project(tmp_path / "project", CDC)
    ann = {"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "city": "Perth"}
    project.land("people/1.jsonl", lines(ann))
    project.load()
    create_snapshot(project.settings, "before")
    project.land("people/2.jsonl", lines(ann | {"seq": 2, "op": "U", "name": "Anna"}))
    project.load()
    project.change_contract(
        "{name: city, data_type: varchar}",
        "{name: city, data_type: varchar}\n          - {name: rank, data_type: bigint}",
    )
    project.change_contract("sequence_by: [seq]", "sequence_by: [rank, seq]")
    # Planned before anything gave the table the new column, and done after a load did.
    assert run_restore(project.settings, "people", version=1, dry_run=True).rows_back == 1
    project.land("people/3.jsonl", lines(ann | {"seq": 1, "op": "U", "name": "Annie", "rank": 3}))
    project.load()
    assert project.sql("select name, rank from bronze.people") == [("Annie", 3)]
    run_restore(project.settings, "people", version=2, reason="before there were ranks")
    assert project.sql("select name, rank from bronze.people") == [("Anna", None)]
    restore_snapshot(project.settings, "before", reason="all of it")
    assert project.sql("select name, city, rank from bronze.people") == [("Ann", "Perth", None)]
    assert project.load().batches == []


@pytest.mark.parametrize("laid_out", [("items_changes",), ("items",), ("items", "items_changes")])
def test_every_version_of_a_merged_table_that_is_restorable_can_be_restored(loaded, laid_out):
    contracts = load_contracts(loaded.settings.models)
    age(loaded, 10)
    for name in laid_out:
        optimize_table(loaded.settings, f"bronze.{name}", ("item_id",))
    age(loaded, 10)
    vacuum_tables(loaded.settings, apply=True)  # which takes what was before
    loaded.land("items/c.csv", items((4, "vier", LATE)))
    loaded.load()
    (held,) = list_restorable(loaded.settings, ("bronze.items",))
    versions = [version for first, last in held.ranges for version in range(first, last + 1)]
    assert len(versions) >= 3
    table = find_table(loaded.settings.lake, contracts, "bronze.items")
    loaded.keep()
    for version in versions:
        loaded.reset()
        wanted = [tuple(row.values())[:3] for row in read_page(table, version, 99, loaded.root, contracts).rows]
        run_restore(loaded.settings, "bronze.items", version=version, reason="test")
        assert loaded.rows("items") == sorted(wanted, key=str), version


def test_a_version_that_a_snapshot_keeps_is_restored_though_the_layout_after_it_is_gone(loaded):
    create_snapshot(loaded.settings, "kept")
    path = loaded.settings.lake.bronze("bronze", "sales")
    kept = open_table(path).version()
    optimize_table(loaded.settings, "bronze.sales", ("sale_id",))
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    age(loaded, 10)
    vacuum_tables(loaded.settings, apply=True)
    with pytest.raises(UsageError, match="no longer be read"):
        open_version(path, kept + 1)
    table = find_table(loaded.settings.lake, load_contracts(loaded.settings.models), "bronze.sales")
    moment = read_times(path)[kept].isoformat()
    assert find_truth_version(loaded.settings.lake, table, None, moment) == kept


def test_a_moment_is_looked_up_in_the_changes_and_not_in_what_is_derived_from_them(loaded):
    moment = read_times(loaded.settings.lake.bronze("bronze", "items_changes"))[1].isoformat()
    shutil.rmtree(loaded.settings.lake.bronze("bronze", "items"))
    loaded.load()  # which derives it anew, in a log that begins now
    assert [row[1] for row in loaded.rows("items")] == ["new", "two"]
    done = run_restore(loaded.settings, "bronze.items", timestamp=moment, reason="as on the first day")
    assert (done.to_version, [row[1] for row in loaded.rows("items")]) == (1, ["old", "two"])


def test_what_cannot_be_restored_says_why(loaded):
    for name, what in (("gold.nothing", "no table"), ("manifest_processed_files", "Only bronze"), ("sles", "sales")):
        with pytest.raises(UsageError) as error:
            run_restore(loaded.settings, name, version=1, reason="test")
        assert what in str(error.value)
    for words, what in (
        ({"version": 99}, "no such version"),
        ({"timestamp": "2020-01-01"}, "not before"),
        ({}, "either --version or --timestamp"),
    ):
        with pytest.raises(UsageError, match=what):
            run_restore(loaded.settings, "sales", **words, reason="test")
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    table = DeltaTable(str(loaded.settings.lake.bronze("bronze", "sales")))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    before = loaded.versions()
    with pytest.raises(UsageError, match="can no longer be read"):
        run_restore(loaded.settings, "sales", version=1, reason="test")
    assert loaded.versions() == before


def test_a_snapshot_made_after_the_clock_was_ahead_can_be_restored(loaded):
    age(loaded, -1)
    first = loaded.rows("sales")
    create_snapshot(loaded.settings, "first")
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    restore_snapshot(loaded.settings, "first", reason="back")
    assert loaded.rows("sales") == first


def test_a_snapshot_brings_all_tables_back_together(loaded):
    first = {table: loaded.rows(table) for table in ("sales", "items")}
    made = create_snapshot(loaded.settings, "first", "for the test")
    assert list_pinned(loaded.settings.lake)[loaded.settings.lake.bronze("bronze", "sales")] == {3}
    assert made.versions["bronze/delta/items_changes"] == 2
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.land("items/c.csv", items((2, "zwei", LATE), (3, "drei", LATE)))
    loaded.load()
    pipeline.run_discard(loaded.settings, "sales", None, "no use")
    run_undo(loaded.settings, file="data_raw/sales/c.csv", reason="test")
    second = {table: loaded.rows(table) for table in ("sales", "items")}
    create_snapshot(loaded.settings, "second")
    planned = restore_snapshot(loaded.settings, "first", dry_run=True)
    assert {one.table: (one.rows_back, one.rows_away) for one in planned.tables if one.differs} == {
        "bronze.sales": (3, 1),
        "bronze.items": (1, 2),
    }
    done = restore_snapshot(loaded.settings, "first", reason="back")
    assert {one.batch_id for one in done.tables if one.differs} == {6}
    assert {table: loaded.rows(table) for table in first} == first
    assert loaded.sql("select status from quarantine") == [("open",)]
    assert loaded.load().batches == []
    restore_snapshot(loaded.settings, "second", reason="and forth")
    assert {table: loaded.rows(table) for table in first} == second
    assert loaded.sql("select status from quarantine") == [("discarded",)]
    assert loaded.load().batches == []
    loaded.land("sales/d.csv", sales((5, DAY, 5)))
    assert len(loaded.load().batches) == 1
    drop_snapshot(loaded.settings, "first")
    assert [snapshot.name for snapshot in list_snapshots(loaded.settings.lake)] == ["second"]
    with pytest.raises(UsageError, match="no snapshot 'first'"):
        restore_snapshot(loaded.settings, "first", reason="test")
    create_snapshot(loaded.settings, "first")


def test_a_snapshot_that_cannot_be_restored_whole_changes_nothing(loaded):
    create_snapshot(loaded.settings, "one")
    for name in ("one", "a b", "../x", ""):
        with pytest.raises(UsageError):
            create_snapshot(loaded.settings, name)
    loaded.land("sales/a.csv", sales((1, DAY, 9)))
    loaded.load()
    shutil.rmtree(loaded.settings.lake.bronze("bronze", "items_changes"))
    pipeline.run_load(loaded.settings, pipeline.Selection(rebuild="items", root=loaded.root))
    before = loaded.versions()
    with pytest.raises(UsageError, match="made anew"):
        restore_snapshot(loaded.settings, "one", reason="test")
    assert loaded.versions() == before


def test_what_the_ledger_says_of_a_snapshot_is_kept_as_long_as_it(loaded):
    loaded.land("clicks/1.jsonl", '{"click_id": 1}\n')
    loaded.load()
    create_snapshot(loaded.settings, "one")
    loaded.land("clicks/1.jsonl", '{"click_id": 2}\n')
    loaded.load()
    contracts, later = load_contracts(loaded.settings.models), dt.datetime.now(dt.UTC) + dt.timedelta(days=500)
    ledger = load_ledger(loaded.settings.lake)
    due = find_outdated(loaded.settings, contracts, ledger, later)
    drop_outdated(loaded.settings, contracts, ledger, later, due)
    planned = restore_snapshot(loaded.settings, "one", dry_run=True)
    assert [one.files_back for one in planned.tables if one.differs] == [("data_raw/clicks/1.jsonl",)]
    drop_snapshot(loaded.settings, "one")
    assert find_outdated(loaded.settings, contracts, ledger, later)["ops.manifest_processed_files"] == 2


def test_a_snapshot_of_which_one_table_is_refused_restores_none(loaded, monkeypatch):
    create_snapshot(loaded.settings, "one")
    loaded.land("sales/d.csv", sales((5, DAY, 5)))
    loaded.land("clicks/1.jsonl", '{"click_id": 1}\n')
    loaded.load()
    create_snapshot(loaded.settings, "two")
    loaded.land("sales/e.csv", sales((6, DAY, 6)))
    loaded.land("clicks/1.jsonl", '{"click_id": 2}\n')
    loaded.load()
    # What the ledger let go of a file that was loaded again long ago, before it looked at snapshots.
    monkeypatch.setattr(retention, "list_snapshots", lambda lake: [])
    contracts, later = load_contracts(loaded.settings.models), dt.datetime.now(dt.UTC) + dt.timedelta(days=500)
    ledger = load_ledger(loaded.settings.lake)
    due = find_outdated(loaded.settings, contracts, ledger, later)
    drop_outdated(loaded.settings, contracts, ledger, later, due)
    before = loaded.versions()
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="does not know by which load"):
            restore_snapshot(loaded.settings, "two", reason="test", dry_run=dry_run)
        assert loaded.versions() == before


def test_commands_say_what_they_did(loaded, monkeypatch, capsys):
    from typer.testing import CliRunner

    from lakeops.cli import app

    monkeypatch.setenv("LAKEOPS_ROOT", str(loaded.root))
    monkeypatch.chdir(loaded.root)
    for words in (
        "undo --batch 2 --dry-run",
        "undo --batch 2 --reason wrong",
        "snapshot create one",
        "snapshot list",
        "snapshot show one",
        "restore bronze.sales --version 3 --reason back",
        "snapshot diff one",
        "snapshot restore one --dry-run",
        "snapshot restore one --reason back",
        "snapshot drop one",
        "history bronze.sales",
    ):
        done = CliRunner().invoke(app, words.split())
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert "undo: wrong" in done.output
    assert "restore to version 3: back" in done.output


class Stopped(BaseException):
    """What a kill leaves on disk, this leaves too: nothing that comes after it is done."""


STEPS = ("append_touched_keys", "commit", "refresh_current", "append_entries")


@pytest.mark.parametrize("loads_between", [True, False])
def test_a_restore_that_stops_half_way_is_finished_by_the_same_command(loaded, monkeypatch, loads_between):
    first = {table: loaded.rows(table) for table in ("sales", "items")}
    create_snapshot(loaded.settings, "first")
    loaded.land("sales/a.csv", sales((1, DAY, 9), ("x", DAY, 1)))
    loaded.land("items/c.csv", items((2, "zwei", LATE)))
    loaded.load()
    loaded.keep()
    for stop_at in range(1, 20):
        loaded.reset()
        calls = 0

        def stop_before(function, stop_at=stop_at):
            def call(*words, **named):
                nonlocal calls
                calls += 1
                if calls == stop_at:
                    raise Stopped
                return function(*words, **named)

            return call

        with monkeypatch.context() as patch:
            for step in STEPS:
                patch.setattr(mending, step, stop_before(getattr(mending, step)))
            patch.setattr(snapshots, "commit", stop_before(snapshots.commit))
            try:
                restore_snapshot(loaded.settings, "first", reason="test")
                break
            except Stopped:
                pass
        if loads_between:
            assert loaded.load().batches == []
        restore_snapshot(loaded.settings, "first", reason="test")
        assert {table: loaded.rows(table) for table in first} == first, stop_at
        assert loaded.sql("select status from quarantine") == [("open",)], stop_at
        assert loaded.load().batches == [], stop_at
    assert stop_at > 8
    assert {row["sale_id"] for row in touched(loaded, "sales", 5)} == {1, 2}


def test_an_account_without_a_name_is_on_record_by_its_number(project, monkeypatch):
    """As in a container that runs under a number of which no /etc/passwd knows."""
    project.load()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert create_snapshot(project.settings, "now").done_by == "uid 54321"
    assert project.sql("select done_by from maintenance_history") == [("uid 54321",)]

"""Upkeep changes files and never rows, and deletes nothing that a promise still needs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from conftest import DAY, Project, items, make_project, sales
from integration.crash import Warden
from lakeops import pipeline
from lakeops.cli import app
from lakeops.contract import load_contracts
from lakeops.delta import append, get_last_batch, get_parts, open_table
from lakeops.errors import BronzeCommitError, LakeopsError, LockedError, UsageError
from lakeops.lakehouse import lock_lake
from lakeops.ledger import load_ledger, make_frame
from lakeops.recovery.health import examine_table
from lakeops.recovery.snapshots import create_snapshot, restore_snapshot
from lakeops.recovery.undo import run_undo
from lakeops.timetravel import read_history
from lakeops.upkeep import (
    collect_cost,
    list_restorable,
    logs,
    optimize,
    optimize_table,
    optimize_tables,
    run_upkeep,
    vacuum_table,
    vacuum_tables,
    warehouse,
)
from lakeops.upkeep.log import read_log
from lakeops.upkeep.retention import drop_outdated, find_outdated
from lakeops.warehouse import connect, prepare_connection

DAYS = 5
KILLS = 6


def land_days(project: Project, days: int = DAYS) -> None:
    """Load a few days, one load a day; item 1 changes with each."""
    for number in range(days):
        day = DAY + dt.timedelta(number)
        rows = [(10 * number + n, day, f"{number}.{n}0") for n in range(4)]
        project.land(f"sales/{number}.csv", sales(*rows, ("x", day, 1)))
        project.land(
            f"items/{number}.csv",
            items((1, f"name {number}", f"{day}T00:00:00"), (number + 2, "other", f"{day}T00:00:00")),
        )
        project.load()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    prepare_connection(duckdb.default_connection())
    project = make_project(tmp_path_factory.mktemp("upkeep") / "project")
    land_days(project)
    project.keep()
    shutil.copytree(project.root / "data_raw", project.root.parent / "landed")
    return project


@pytest.fixture
def project(loaded: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Five days in a lake in which five small files are many."""
    loaded.reset()
    shutil.rmtree(loaded.root / "data_raw")
    shutil.copytree(loaded.root.parent / "landed", loaded.root / "data_raw")  # copy2: the times are kept
    monkeypatch.setattr(optimize, "DUE_FILES", DAYS)
    return loaded


def age(project: Project, days: float) -> None:
    """Make everything in the lake look as if it had been written so many days earlier."""
    back = days * 24 * 3600
    for file in (project.root / "lake").rglob("*"):
        if file.is_file():
            if re.fullmatch(r"\d{20}\.json", file.name):
                text = file.read_text()
                shift = lambda found: f'"timestamp":{int(found[1]) - int(1000 * back)}'  # noqa: E731
                file.write_text(re.sub(r'"timestamp":(\d+)', shift, text))
            status = file.stat()
            os.utime(file, (status.st_atime - back, status.st_mtime - back))


def read_all(project: Project) -> dict[str, list[tuple]]:
    """Return every row of every table but the history of upkeep, with the loader's columns, in an order of its own."""
    found = {}
    for log in sorted((project.root / "lake").rglob("_delta_log")):
        if log.parent.name != "maintenance_history":
            rows = pl.read_delta(str(log.parent))
            found[str(log.parent.relative_to(project.root))] = sorted(rows.select(sorted(rows.columns)).rows(), key=str)
    return found


def count_rows(path: Path) -> int:
    return DeltaTable(str(path)).to_pyarrow_table().num_rows


def count_files(project: Project, table: str) -> int:
    return len(DeltaTable(str(project.settings.lake.bronze("bronze", table))).file_uris())


def read_both(path: Path, version: int) -> tuple[int, int]:
    """Count the rows of a version with both readers: every one of its files is read."""
    theirs = duckdb.execute(f"select * from delta_scan('{path}', version = {version})").fetchall()
    return pl.read_delta(str(path), version=version).height, len(theirs)


def test_many_small_files_become_one_and_no_row_changes(project):
    before = read_all(project)
    done = {one.table: one for one in optimize_tables(project.settings)}
    assert read_all(project) == before
    assert (done["bronze.sales"].files_before, done["bronze.sales"].files_after) == (DAYS, 1)
    assert count_files(project, "sales") == count_files(project, "items_changes") == 1
    assert done["bronze.clicks"].version is None
    # Not twice: nothing is gained by laying out anew what was laid out.
    again = [one.table for one in optimize_tables(project.settings) if one.version is not None]
    assert again in ([], ["ops.maintenance_history"])  # what was done is written there


def test_a_dry_run_writes_nothing(project):
    versions = project.versions()
    planned = {one.table: one for one in optimize_tables(project.settings, dry_run=True)}
    assert (planned["bronze.sales"].files_after, planned["bronze.sales"].version) == (1, None)
    assert vacuum_tables(project.settings)
    assert run_upkeep(project.settings, dry_run=True)
    assert project.versions() == versions


def test_a_new_layout_keeps_batch_statistics_and_proof(project):
    path = project.settings.lake.bronze("bronze", "sales")
    before = get_last_batch(open_table(path))
    optimize_table(project.settings, "bronze.sales")
    table = open_table(path)
    assert get_last_batch(table) == before
    parts = get_parts(table).row(0, named=True)
    assert (parts["min.sale_dt"], parts["max.sale_dt"]) == (DAY, DAY + dt.timedelta(DAYS - 1))
    assert (parts["min._source_file"], parts["max._source_file"]) == ("data_raw/sales/0.csv", "data_raw/sales/4.csv")
    commit = (path / "_delta_log" / f"{table.version():020d}.json").read_text().splitlines()
    changes = [json.loads(line) for line in commit]
    assert {change[kind]["dataChange"] for change in changes for kind in ("add", "remove") if kind in change} == {False}
    frame = pl.read_parquet(path / parts["path"])
    assert frame["sale_dt"].is_sorted()
    assert project.load().batches == []


def test_a_file_restated_after_it_replaces_just_its_rows(project):
    optimize_tables(project.settings)
    kept = [row for row in project.rows("sales") if not 20 <= row[0] < 30]
    project.land("sales/2.csv", sales((20, DAY, 7), (21, DAY, 8)))
    project.load()
    assert project.rows("sales") == sorted([*kept, (20, DAY, Decimal(7)), (21, DAY, Decimal(8))], key=str)
    project.land("items/4.csv", items((6, "other", "2024-04-05T00:00:00")))
    project.load()
    assert ("name 3") in [row[1] for row in project.rows("items") if row[0] == 1]


def test_laid_out_by_several_columns_each_of_them_skips_files(project, monkeypatch):
    monkeypatch.setattr(optimize, "TARGET_ROWS", 3)
    before = read_all(project)
    done = optimize_table(project.settings, "bronze.sales", ("sale_dt", "sale_id"))
    assert read_all(project) == before
    assert done.files_after == 7
    assert optimize_table(project.settings, "bronze.sales", ("sale_dt", "sale_id")).version is None
    parts = get_parts(open_table(project.settings.lake.bronze("bronze", "sales")))
    day = DAY + dt.timedelta(2)
    assert parts.filter((pl.col("min.sale_dt") <= day) & (pl.col("max.sale_dt") >= day)).height <= 3
    with pytest.raises(UsageError, match="cannot be laid out"):
        optimize_table(project.settings, "bronze.sales", ("amount",))


def test_a_column_newer_than_a_file_is_null_in_its_rows(project):
    project.land("sales/9.csv", "sale_id,sale_dt,amount,channel\n90,2024-04-09,1,web\n")
    project.load()
    before = read_all(project)
    optimize_table(project.settings, "lake/bronze/delta/sales")
    assert count_files(project, "sales") == 1
    assert read_all(project) == before


def test_a_table_another_program_partitioned_is_left_alone(project):
    path = project.settings.lake.gold("theirs")
    for number in range(DAYS):
        rows = pl.DataFrame({"day": [number], "amount": [1]})
        write_deltalake(str(path), rows.to_arrow(), mode="append", partition_by=["day"])
    done = optimize_table(project.settings, "gold.theirs", ("amount",))
    assert (done.version, count_rows(path)) == (None, DAYS)
    assert "partitions" in done.why
    age(project, 30)
    assert vacuum_table(project.settings, "gold.theirs", apply=True).files == ()
    write_deltalake(str(path), pl.DataFrame({"day": [0], "amount": [2]}).to_arrow(), mode="overwrite")
    age(project, 30)
    assert len(vacuum_table(project.settings, "gold.theirs", apply=True).old) == DAYS
    assert count_rows(path) == 1


def test_a_layout_that_was_committed_keeps_its_files_whatever_fails_after_it(project):
    path = project.settings.lake.bronze("bronze", "sales")
    DeltaTable(str(path)).alter.set_table_properties({"delta.checkpointInterval": "1"})
    before, version = read_all(project), DeltaTable(str(path)).version() + 1
    # delta-rs sums the log up after it has committed; here it cannot.
    checkpoint = path / "_delta_log" / f"{version:020d}.checkpoint.parquet"
    (checkpoint / "in the way").mkdir(parents=True)
    with pytest.raises(BronzeCommitError):
        optimize_table(project.settings, "bronze.sales")
    shutil.rmtree(checkpoint)
    assert (DeltaTable(str(path)).version(), count_files(project, "sales")) == (version, 1)
    assert read_all(project) == before


def test_a_layout_that_was_not_committed_leaves_no_file(project, monkeypatch):
    path = project.settings.lake.bronze("bronze", "sales")
    before = sorted(file.name for file in path.glob("*.parquet"))
    monkeypatch.setattr(optimize, "commit", lambda handle, *rest: (path / "nothing.json").unlink())
    with pytest.raises(BronzeCommitError):
        optimize_table(project.settings, "bronze.sales")
    assert sorted(file.name for file in path.glob("*.parquet")) == before


def test_what_was_published_while_optimize_waited_for_the_warehouse_is_laid_out(project, monkeypatch):
    path = project.settings.lake.bronze("bronze", "sales")

    @contextlib.contextmanager
    def wait(warehouse):
        DeltaTable(str(path)).delete("sale_id < 20")  # which replaces files that were planned to be merged
        with connect(warehouse) as connection:
            yield connection

    monkeypatch.setattr(optimize, "connect", wait)
    monkeypatch.setattr(optimize, "DUE_FILES", 2)
    done = optimize_table(project.settings, "bronze.sales")
    assert (done.files_after, count_files(project, "sales")) == (1, 1)
    assert [row[0] for row in project.rows("sales")] == [10 * number + n for number in (2, 3, 4) for n in range(4)]


def test_a_table_that_is_named_twice_is_done_once(project):
    names = ("sales", "bronze.sales", str(project.settings.lake.bronze("bronze", "sales")))
    assert len(list_restorable(project.settings, names)) == 1
    (done,) = optimize_tables(project.settings, names)
    assert (done.files_before, done.files_after) == (DAYS, 1)
    (vacuumed,) = vacuum_tables(project.settings, names, 0, apply=True, force=True)
    assert len(vacuumed.old) == DAYS


def test_logs_are_read_as_delta_means_them_and_damaged_ones_are_named(project):
    reason = "sent twice,\u2028see\u0085ticket 12"
    run_undo(project.settings, batch=DAYS, reason=reason)
    (found,) = list_restorable(project.settings, ("bronze.sales",))
    assert found.ranges == ((0, DAYS + 1),)
    path = project.settings.lake.bronze("bronze", "sales")
    assert reason in read_history(path)[0].operation
    assert examine_table(path, deep=True).is_whole
    entry = path / "_delta_log" / f"{2:020d}.json"
    for damage in (entry.read_bytes()[:-20], b"", b"1\n"):
        entry.write_bytes(damage)
        assert examine_table(path).first_needed_broken == 2
        for look in (
            lambda: list_restorable(project.settings, ("bronze.sales",)),
            lambda: vacuum_table(project.settings, "bronze.sales"),
            lambda: collect_cost(project.settings, dt.datetime.now(dt.UTC)),
            lambda: read_history(path),
        ):
            with pytest.raises(BronzeCommitError) as error:
                look()
            assert "lakeops doctor" in error.value.next_step


def test_vacuum_shows_and_deletes_only_when_told(project):
    optimize_tables(project.settings)
    age(project, 30)
    before, files = read_all(project), sorted((project.root / "lake").rglob("*.parquet"))
    shown = vacuum_table(project.settings, "bronze.sales")
    assert (len(shown.old), shown.applied) == (DAYS, False)
    assert sorted((project.root / "lake").rglob("*.parquet")) == files
    done = vacuum_table(project.settings, "bronze.sales", apply=True)
    assert done.old == shown.old
    assert read_all(project) == before
    assert vacuum_table(project.settings, "bronze.sales").files == ()


def test_a_version_that_was_the_newest_within_the_retention_stays(project):
    age(project, 30)
    project.land("sales/0.csv", sales((1, DAY, 1)))
    project.load()
    version = open_table(project.settings.lake.bronze("bronze", "sales")).version()
    vacuum_tables(project.settings, apply=True)
    # The one before today's was the newest until today.
    assert read_both(project.settings.lake.bronze("bronze", "sales"), version - 1) == (4 * DAYS, 4 * DAYS)


def test_less_than_the_retention_needs_force(project):
    with pytest.raises(UsageError, match="promised") as caught:
        vacuum_table(project.settings, "bronze.sales", 24)
    assert "--force" in caught.value.next_step
    project.change_contract("on_new_column: evolve", "on_new_column: evolve\n              retention: 24")
    try:
        assert vacuum_table(project.settings, "bronze.sales", 24).files == ()
    finally:
        project.change_contract("on_new_column: evolve\n              retention: 24", "on_new_column: evolve")
    optimize_tables(project.settings)
    assert len(vacuum_table(project.settings, "bronze.sales", 0, apply=True, force=True).old) == DAYS


def test_what_readers_are_pinned_to_stays(project):
    path = project.settings.lake.bronze("bronze", "sales")
    with duckdb.connect(str(project.settings.serving)) as connection:
        prepare_connection(connection)
        connection.execute("create schema gold")
        connection.execute(f"create view gold.x as select * from delta_scan('{path}', version = 3)")
    try:
        optimize_tables(project.settings)
        done = vacuum_table(project.settings, "bronze.sales", 0, apply=True, force=True)
        assert done.pinned == (3,)
        assert read_both(path, 3) == (12, 12)
        (found,) = list_restorable(project.settings, ("bronze.sales",))
        assert found.covers(3)
        assert not found.covers(4)
    finally:
        project.settings.serving.unlink()


def test_a_readers_file_that_is_held_or_damaged_says_so(project):
    serving = project.settings.serving
    hold = f"import duckdb; held = duckdb.connect({str(serving)!r}); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(LockedError, match=f"(?s){serving.name}.*process {holder.pid}"):
            create_snapshot(project.settings, "before")
        holder.communicate(b"\n")
        serving.write_bytes(b"no database" * 1000)
        for act in (lambda: create_snapshot(project.settings, "before"), lambda: list_restorable(project.settings)):
            with pytest.raises(LakeopsError, match=f"(?s){serving.name}.*rebuild warehouse") as caught:
                act()
            assert not isinstance(caught.value, LockedError)
    finally:
        holder.kill()
        serving.unlink()


def test_files_that_no_log_names_go_once_they_are_old(project):
    path = project.settings.lake.bronze("bronze", "sales")
    orphan = path / "part-of-a-killed-load.parquet"
    orphan.write_bytes(b"x" * 100)
    assert vacuum_table(project.settings, "bronze.sales", 0, apply=True, force=True).orphans == ()
    os.utime(orphan, (0, 0))
    done = vacuum_table(project.settings, "bronze.sales", apply=True)
    assert (done.orphans, done.orphan_bytes) == ((orphan.name,), 100)
    assert not orphan.exists()


def test_no_upkeep_while_a_load_runs(project, monkeypatch):
    monkeypatch.setattr("lakeops.lakehouse.LOCK_PATIENCE_SECONDS", 0.1)
    with lock_lake(project.settings.lake):
        for work in (
            lambda: optimize_table(project.settings, "bronze.sales"),
            lambda: vacuum_table(project.settings, "bronze.sales", apply=True),
            lambda: run_upkeep(project.settings),
        ):
            with pytest.raises(LockedError):
                work()


def test_what_is_written_to_a_record_meanwhile_is_not_lost(project):
    record = load_contracts(project.settings.models).get_record("touched_keys")
    path, upto = project.settings.lake.ops("touched_keys"), 30

    def write(first: int) -> None:
        for number in range(first, first + upto):
            append(path, make_frame(record, [{"table_name": "x", "key_json": "{}", "batch_id": number}]), number)

    def lay_out() -> int:
        with contextlib.suppress(BronzeCommitError):  # a new layout may give way, a row may not
            return optimize_table(project.settings, "ops.touched_keys").version or 0
        return 0

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, first) for first in (1000, 2000)]
        layouts = [lay_out() for _ in range(5)]
        for writer in writers:
            writer.result()
    assert any(layouts)
    batches = pl.read_delta(str(path)).filter(pl.col("table_name") == "x")["batch_id"].sort().to_list()
    assert batches == [*range(1000, 1000 + upto), *range(2000, 2000 + upto)]


def test_every_version_said_to_be_restorable_can_be_read_and_no_other(project):
    optimize_tables(project.settings)
    age(project, 30)
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("items/1.csv", items((1, "restated", "2025-01-01T00:00:00")))
    project.load()
    vacuum_tables(project.settings, apply=True)
    read = 0
    for found in list_restorable(project.settings):
        path = project.root / "lake" / found.table.split(".")[0] / "delta" / found.table.split(".")[1]
        for version in range(DeltaTable(str(path)).version() + 1):
            if found.covers(version):
                mine, theirs = read_both(path, version)
                assert mine == theirs
                read += 1
            else:
                with pytest.raises(Exception, match=r"(?i)no such file|not found|cannot open"):
                    read_both(path, version)
    assert read > 20


def test_upkeep_does_what_is_due_and_then_nothing(project, monkeypatch):
    monkeypatch.setattr(logs, "DUE_COMMITS", 4)
    age(project, 30)
    before = read_all(project)
    planned = run_upkeep(project.settings, dry_run=True)
    first = run_upkeep(project.settings)
    assert {job.operation for job in first} >= {"optimize", "vacuum", "checkpoint"}
    assert {(job.operation, job.table) for job in planned} <= {(job.operation, job.table) for job in first}
    assert run_upkeep(project.settings) == []
    assert run_upkeep(project.settings, dry_run=True) == []
    assert read_all(project) == before
    history = project.sql(
        "select operation, table_name, files_before, files_after, bytes_before, bytes_after, oldest_restorable_version,"
        " seconds from maintenance_history where table_name = 'bronze.sales'"
    )
    assert ("optimize", "bronze.sales", DAYS, 1) in {row[:4] for row in history}
    assert all(None not in row for row in history if row[0] in ("optimize", "vacuum"))
    assert len(history) == sum(job.table == "bronze.sales" for job in first)


def test_old_logs_go_where_neither_proof_nor_time_travel_needs_them(project, monkeypatch):
    monkeypatch.setattr(logs, "DUE_COMMITS", 4)
    run_upkeep(project.settings)
    before, path = read_all(project), project.settings.lake.bronze("bronze", "items")
    age(project, 60)  # the derived table's log is long over by then, and the proof in that of its changes is not
    for number in range(5, 11):
        project.land(f"items/{number}.csv", items((number + 2, "other", "2024-05-01T00:00:00")))
        project.load()
    age(project, 60)
    first = run_upkeep(project.settings)
    assert "bronze.items" in {job.table for job in first if job.operation == "clean_log"}
    assert "bronze.items_changes" not in {job.table for job in first if job.operation == "clean_log"}
    assert not (path / "_delta_log" / f"{1:020d}.json").exists()
    after = read_all(project)
    assert len(after["lake/bronze/delta/items"]) == len(before["lake/bronze/delta/items"]) + 6
    assert run_upkeep(project.settings) == []
    (found,) = list_restorable(project.settings, ("bronze.items",))
    first_version, last_version = found.ranges[-1]
    assert first_version > 0
    for version in range(first_version, last_version + 1):
        read_both(path, version)
    project.land("items/0.csv", items((1, "name 0", "2030-01-01T00:00:00")))
    project.load()
    assert ("name 0") in [row[1] for row in project.rows("items") if row[0] == 1]


@pytest.mark.parametrize("damage", ["other bytes", "another version's"])
def test_a_log_is_not_trimmed_to_a_checkpoint_that_cannot_be_used(project, capsys, damage):
    path = project.settings.lake.bronze("bronze", "items")
    for version in (1, 3):
        DeltaTable(str(path), version=version).create_checkpoint()
    age(project, 60)
    project.land("items/9.csv", items((9, "new", "2025-01-01T00:00:00")))
    project.load()
    DeltaTable(str(path)).create_checkpoint()  # with it, readers do without those before
    checkpoints = sorted((path / "_delta_log").glob("*.checkpoint.parquet"))
    checkpoints[1].write_bytes(b"x" * 100 if damage == "other bytes" else checkpoints[0].read_bytes())
    before = {file.name for file in (path / "_delta_log").iterdir()}
    assert "clean_log" not in {job.operation for job in run_upkeep(project.settings) if job.table == "bronze.items"}
    assert "bronze.items is not trimmed: its checkpoint 3 cannot be used" in capsys.readouterr().err
    assert before <= {file.name for file in (path / "_delta_log").iterdir()}


def test_stories_that_are_long_over_leave_ledger_and_quarantine(project):
    age_ledger = dt.timedelta(days=500)
    project.land("sales/0.csv", sales((1, DAY, 1), ("y", DAY, 1)))
    project.load()
    contracts = load_contracts(project.settings.models)
    before, later = load_ledger(project.settings.lake), dt.datetime.now(dt.UTC) + age_ledger
    due = find_outdated(project.settings, contracts, before, later)
    assert due == {"ops.manifest_processed_files": 2, "quarantine.sales": 1}
    open_before = project.sql("select count(*) from quarantine where status = 'open'")
    drop_outdated(project.settings, contracts, before, later, due)
    after = load_ledger(project.settings.lake)
    assert vars(after) == vars(before)
    assert project.sql("select count(*) from quarantine where status = 'open'") == open_before
    assert find_outdated(project.settings, contracts, after, later) == {}
    assert project.load().batches == []


def test_a_snapshot_outlives_vacuum_and_a_load_can_be_undone_after_a_new_layout(project):
    path = project.settings.lake.bronze("bronze", "sales")
    create_snapshot(project.settings, "before")
    rows, items_then = project.rows("sales"), project.rows("items")
    project.land("sales/9.csv", sales((90, DAY, 9)))
    project.land("items/9.csv", items((1, "later", "2025-01-01T00:00:00")))
    batch = project.load().batches[0]
    optimize_tables(project.settings)
    done = vacuum_tables(project.settings, retain_hours=0, apply=True, force=True)
    assert next(one for one in done if one.table == "bronze.sales").pinned == (DAYS,)
    run_undo(project.settings, batch=batch, reason="sent too early")
    assert (project.rows("sales"), project.rows("items")) == (rows, items_then)
    assert project.load().batches == []
    (project.root / "data_raw" / "sales" / "0.csv").unlink()
    project.land("sales/0.csv", sales((1, DAY, 1)))
    project.load()
    optimize_table(project.settings, "bronze.sales", ("sale_id",))
    vacuum_tables(project.settings, retain_hours=0, apply=True, force=True)
    assert read_both(path, DAYS) == (len(rows), len(rows))
    restore_snapshot(project.settings, "before", reason="as it was")
    assert (project.rows("sales"), project.rows("items")) == (rows, items_then)


def test_the_cost_of_all_tables_is_what_lies_on_the_disk(project):
    optimize_tables(project.settings)
    age(project, 10)
    orphan = project.settings.lake.bronze("bronze", "sales") / "part-of-a-killed-load.parquet"
    orphan.write_bytes(b"x" * 100)
    os.utime(orphan, (0, 0))
    cost = collect_cost(project.settings, dt.datetime.now(dt.UTC))
    folders = {log.parent for log in (project.root / "lake").rglob("_delta_log")}
    on_disk = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    assert sum(table.total for table in cost.tables) == on_disk
    sales_cost = next(table for table in cost.tables if table.table == "bronze.sales")
    assert (sales_cost.files, sales_cost.orphaned) == (1, 100)
    landed = [file.stat().st_size for file in (project.root / "data_raw" / "sales").iterdir()]
    assert sales_cost.raw == sum(landed)
    first = [life for life in read_log(orphan.parent).lives if life.since not in read_log(orphan.parent).optimized]
    assert sales_cost.growth == pytest.approx(sum(life.size for life in first) / 10, rel=0.01)
    assert cost.savings[0] >= cost.savings[168] > cost.savings[720] == 100


def test_a_bloated_warehouse_is_written_anew_whole(project, monkeypatch):
    monkeypatch.setattr(warehouse, "DUE_BYTES", 1 << 20)
    with connect(project.settings.warehouse) as connection:
        connection.execute("create table main.kept as select range as n from range(1000)")
        connection.execute("create table bulk as select hash(range) as n from range(2000000)")
        connection.execute("checkpoint")
        connection.execute("drop table bulk")
        connection.execute("checkpoint")
    views = project.sql(
        "select schema_name, view_name, sql, comment from duckdb_views() where not internal order by all"
    )
    before = project.settings.warehouse.stat().st_size
    (job,) = [job for job in run_upkeep(project.settings) if job.operation == "compact"]
    assert job.saved_bytes > before // 2
    assert project.settings.warehouse.stat().st_size < before // 2
    again = project.sql(
        "select schema_name, view_name, sql, comment from duckdb_views() where not internal order by all"
    )
    assert again == views
    assert project.sql("select count(*), sum(n) from kept") == [(1000, 499500)]
    assert project.sql("select count(*) from bronze.sales") == [(4 * DAYS,)]
    assert run_upkeep(project.settings) == []


@pytest.mark.parametrize(
    "words",
    [
        "optimize",
        "optimize sales --dry-run",
        "optimize bronze.sales --zorder sale_dt,sale_id",
        "vacuum",
        "vacuum sales items --apply",
        "restorable",
        "upkeep --dry-run",
        "upkeep",
        "cost",
    ],
)
def test_each_command_talks_to_people_and_to_programs(project, monkeypatch, capsys, words):
    monkeypatch.setenv("LAKEOPS_ROOT", str(project.root))
    age(project, 30)
    app(words.split(), standalone_mode=False)
    shown = capsys.readouterr()
    assert shown.out or shown.err
    app([*words.split(), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) is not None


def test_killed_at_any_change_upkeep_leaves_the_lake_right_and_is_finished_by_the_next(project):
    age(project, 30)
    project.land("clicks/1.jsonl", '{"click_id": 1, "page": "a"}\n')
    project.load()  # its ledger entry is the one a healing must not confuse with what upkeep commits
    before = read_all(project)
    kept = project.root.parent / "aged"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(project.root / "lake", kept)
    limits = {"lakeops.upkeep.optimize:DUE_FILES": DAYS, "lakeops.upkeep.logs:DUE_COMMITS": 4}
    with Warden() as warden:
        changes = warden.run(project.root, limits=limits, work=("lakeops.upkeep:run_upkeep",)).changes
        assert len(changes) > 60
        for n in range(2, len(changes), len(changes) // KILLS):
            shutil.rmtree(project.root / "lake")
            shutil.copytree(kept, project.root / "lake")
            killed = warden.run(project.root, kill_before=n, limits=limits, work=("lakeops.upkeep:run_upkeep",))
            assert killed.was_killed, killed.said
            assert read_all(project) == before, killed.changes[-1]
            assert pipeline.run_load(project.settings).batches == []
            assert warden.run(project.root, limits=limits, work=("lakeops.upkeep:run_upkeep",)).status == 0
            assert read_all(project) == before, killed.changes[-1]

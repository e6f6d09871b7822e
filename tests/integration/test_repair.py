"""Doctor, backup, restore-from, repair and rebuild, on small lakes that are damaged on purpose."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock

from conftest import DAY, Project, items, make_project, sales
from lakeops import lakehouse, pipeline
from lakeops.bronze import is_proven, load
from lakeops.contract import load_contracts
from lakeops.delta import commit, get_parts, open_table
from lakeops.errors import BronzeCommitError, LakeopsError, LockedError, UsageError
from lakeops.ledger import Ledger, load_ledger, read_entries
from lakeops.recovery import repair
from lakeops.recovery.backup import BATCH_GAP, back_up, load_generations, restore_backup
from lakeops.recovery.doctor import Finding, find_findings
from lakeops.recovery.repair import bring_files_back, carry_out, plan_repair, set_checkpoints_aside
from lakeops.recovery.restore import run_restore
from lakeops.recovery.snapshots import create_snapshot, restore_snapshot
from lakeops.recovery.undo import run_undo

LEDGER = "ops.manifest_processed_files"
GONE = "the raw file is gone"
TABLES = ("sales", "items", "items_changes", "clicks")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two batches in three tables; a restated file, a quarantined record and a merged key among them."""
    project = make_project(tmp_path_factory.mktemp("recovery") / "project")
    project.land("sales/1.csv", sales((1, DAY, 1), ("bad", DAY, 2), (2, DAY, 2)))
    project.land("sales/2.csv", sales((3, DAY, 3)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00"), (2, "b", "2024-01-01T00:00:00")))
    project.land("clicks/1.jsonl", '{"click_id": 1}\n{"click_id": 2}\n')
    project.load()
    project.land("sales/2.csv", sales((3, DAY, 30), (4, DAY, 4)))
    project.land("sales/3.csv", sales((5, DAY, 5), ("worse", DAY, 6)))
    project.land("items/2.csv", items((1, "c", "2024-01-02T00:00:00")))
    project.load()
    shutil.copytree(project.root, project.root.with_name("kept"))
    return project


@pytest.fixture
def shop(loaded: Project) -> Project:
    """The same as it was loaded, at the same place: views hold absolute paths."""
    shutil.rmtree(loaded.root)
    shutil.copytree(loaded.root.with_name("kept"), loaded.root)
    return loaded


def describe(project: Project) -> dict[str, list[tuple]]:
    """Return the business rows of every bronze table, and the open records of the quarantine."""
    state = {table: project.rows(table) for table in TABLES}
    state["quarantine"] = project.sql(
        "select table_name, source_file, source_row, reason, raw_record from quarantine"
        " where status = 'open' order by all"
    )
    return state


def find_wrong(project: Project, *, deep: bool = False) -> list[Finding]:
    return [finding for finding in find_findings(project.settings, deep=deep) if finding.verdict == "wrong"]


def find_path(project: Project, table: str) -> Path:
    schema, _, name = table.partition(".")
    return project.settings.lake.folder / schema / "delta" / name


def get_last_entry(path: Path) -> Path:
    return max((path / "_delta_log").glob("*.json"))


def find_part(path: Path) -> Path:
    return path / get_parts(open_table(path)).sort("num_records")["path"][-1]


def cut_last_entry(path: Path) -> None:
    entry = get_last_entry(path)
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


def empty_last_entry(path: Path) -> None:
    get_last_entry(path).write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    part = find_part(path)
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)


def delete_part(path: Path) -> None:
    find_part(path).unlink()


def cut_part(path: Path) -> None:
    part = find_part(path)
    part.write_bytes(part.read_bytes()[:-50])


def delete_folder(path: Path) -> None:
    shutil.rmtree(path)


def delete_log(path: Path) -> None:
    shutil.rmtree(path / "_delta_log")


DAMAGES = [cut_last_entry, empty_last_entry, flip_a_bit, delete_part, cut_part, delete_folder, delete_log]
SOME = [empty_last_entry, flip_a_bit, delete_folder]


def test_a_lake_in_order_has_nothing_wrong_and_is_not_changed(shop):
    before = shop.versions()
    for deep in (False, True):
        findings = find_findings(shop.settings, deep=deep)
        assert {finding.verdict for finding in findings if finding.check not in ("serving", "disk")} == {"ok"}
    assert shop.versions() == before


def test_a_lake_nobody_loaded_into_is_a_warning(project):
    assert find_wrong(project) == []
    assert "nothing was loaded" in find_findings(project.settings)[0].found
    assert not project.settings.lake.folder.exists()


@pytest.mark.parametrize(
    ("table", "damage"),
    [("bronze.sales", damage) for damage in DAMAGES]
    + [(table, damage) for table in ("bronze.items_changes", "quarantine.sales", "bronze.items") for damage in SOME],
)
def test_what_raw_files_or_changes_prove_is_repaired(shop, table: str, damage: Callable[[Path], None]):
    before = describe(shop)
    damage(find_path(shop, table))
    if (table, damage) != ("bronze.items", delete_folder):  # nothing knows of it; the next load derives it again
        named = [finding for finding in find_wrong(shop, deep=True) if finding.check == "tables"]
        assert any(table in finding.found for finding in named), named
        assert f"lakeops repair {table} " in named[0].command
    plan = plan_repair(shop.settings, None)
    assert plan.unproven == []
    carry_out(shop.settings, plan, [], "a drill")
    assert find_wrong(shop, deep=True) == []
    assert describe(shop) == before
    assert shop.load().batches == []
    assert plan_repair(shop.settings, None).describe() == []


@pytest.mark.parametrize("damage", [cut_last_entry, flip_a_bit, delete_folder], ids=lambda damage: damage.__name__)
def test_what_raw_no_longer_proves_is_left_and_named_and_a_rebuild_says_what_is_lost(shop, damage):
    (shop.root / "data_raw" / "sales" / "3.csv").unlink()
    path = find_path(shop, "bronze.sales")
    before = shop.rows("sales")
    damage(path)
    plan = plan_repair(shop.settings, "bronze.sales")
    if damage is flip_a_bit:  # the damaged part is another file's
        assert plan.unproven == [] or "data_raw/sales/3.csv (1 rows" in plan.unproven[0]
    else:
        assert "data_raw/sales/3.csv (1 rows; the raw file is gone)" in plan.unproven[0]
        assert plan.mends == [], "what cannot be proven is not begun"
    (outcome,) = pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    assert outcome.lost == [("data_raw/sales/3.csv", 1, GONE)]
    assert shop.rows("sales") == [row for row in before if row[0] != 5]
    assert find_wrong(shop, deep=True) == []
    assert shop.sql("select reason, details from maintenance_history") == [
        ("a drill", '{"lost": [{"file": "data_raw/sales/3.csv", "rows": 1, "why": "the raw file is gone"}]}')
    ]


@pytest.mark.parametrize("damage", [None, delete_folder], ids=["a sound table", "its changes deleted"])
def test_a_rebuild_leaves_nothing_that_no_raw_file_stands_behind(shop, damage):
    """A merged table is derived: it must not keep what its changes have lost."""
    (shop.root / "data_raw" / "items" / "2.csv").unlink()
    if damage:
        damage(find_path(shop, "bronze.items_changes"))
    (outcome,) = pipeline.run_rebuild(shop.settings, ["items"], "a drill")
    assert outcome.lost == [("data_raw/items/2.csv", 1, GONE)]
    assert [row[:2] for row in shop.rows("items")] == [(1, "a"), (2, "b")]
    assert find_wrong(shop, deep=True) == []
    # Models recompute every key, since which ones were lost nobody can tell.
    assert shop.sql("select key_json from touched_keys where reason = 'rebuilt'") == [("{}",)]
    assert shop.load().batches == []


def test_a_rebuild_of_which_no_raw_file_is_left_is_a_batch_all_the_same(shop):
    shutil.rmtree(shop.root / "data_raw" / "clicks")
    delete_folder(find_path(shop, "bronze.clicks"))
    (outcome,) = pipeline.run_rebuild(shop.settings, ["clicks"], "a drill")
    assert outcome.lost == [("data_raw/clicks/1.jsonl", 2, GONE)]
    assert shop.rows("clicks") == []
    assert find_wrong(shop, deep=True) == []
    # Else dbt would wait for it: it takes in no touched key of a batch that was not committed.
    touched, committed = shop.sql(
        "select (select max(batch_id) from touched_keys where reason = 'rebuilt'),"
        " (select max(batch_id) from manifest_processed_files where table_name = 'clicks')"
    )[0]
    assert touched <= committed


def test_a_snapshot_is_not_restored_to_what_was_committed_after_a_repair(shop):
    snapshot = create_snapshot(shop.settings, "before")
    path = find_path(shop, "bronze.sales")
    (path / "_delta_log" / f"{1:020d}.json").write_bytes(b"")
    carry_out(shop.settings, plan_repair(shop.settings, "bronze.sales"), [], "test")
    shop.land("sales/4.csv", sales((6, DAY, 6)))
    shop.load()
    # The repair loaded both batches in one commit, so that the next load has the number of the second.
    assert open_table(path).version() == snapshot.versions["bronze/delta/sales"] == 2
    with pytest.raises(UsageError, match="made anew"):
        restore_snapshot(shop.settings, "before", dry_run=True)


def refuse_file_3(project: Project) -> None:
    """Tighten the contract since: of sales/3.csv half of the records are bad, of the others fewer."""
    project.change_contract(
        "key: [sale_id]",
        'key: [sale_id]\n              max_quarantined: {percent: 40, min_rows: 1, reason: "a test of it"}',
    )


@pytest.mark.parametrize("damage", [None, delete_folder], ids=["a sound table", "a table that is gone"])
def test_a_file_that_a_rebuild_refuses_is_lost_only_if_its_rows_are_and_is_tried_again_each_time(shop, damage):
    before = describe(shop)
    if damage:
        damage(find_path(shop, "bronze.sales"))
    refuse_file_3(shop)
    (outcome,) = pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    assert [name for name, _ in outcome.refused] == ["data_raw/sales/3.csv"]
    if not damage:
        assert outcome.lost == []
        assert shop.rows("sales") == before["sales"]
        return
    assert [(name, rows) for name, rows, why in outcome.lost if "too_many_bad" in why] == [("data_raw/sales/3.csv", 1)]
    for _ in range(2):
        assert [name for name, _ in shop.load().refused] == ["data_raw/sales/3.csv"]
    assert find_wrong(shop, deep=True) == []
    shop.change_contract("percent: 40", "percent: 60")
    shop.load()
    assert describe(shop) == before


def test_a_file_that_its_contract_no_longer_claims_leaves_with_a_rebuild(shop):
    shop.change_contract('"sales/**/*.csv"', '"sales/1.csv", "sales/2.csv"')
    (outcome,) = pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    assert outcome.lost == [("data_raw/sales/3.csv", 1, "its contract no longer claims the raw file")]
    assert 5 not in [row[0] for row in shop.rows("sales")]
    assert find_wrong(shop, deep=True) == []


def test_a_rebuild_takes_no_sample(shop):
    before = describe(shop)
    delete_folder(find_path(shop, "bronze.sales"))
    (outcome,) = pipeline.run_rebuild(replace(shop.settings, sample_files=1), ["sales"], "a drill")
    assert outcome.lost == []
    assert describe(shop) == before


def test_a_rebuild_takes_the_copy_of_a_file_that_is_gone(shop):
    before = shop.rows("sales")
    path = shop.root / "data_raw" / "sales" / "3.csv"
    shop.land("sales/copy.csv", path.read_text())
    assert shop.load().duplicates
    path.unlink()
    delete_folder(find_path(shop, "bronze.sales"))
    first, second = pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    assert (first.lost, second.tables["bronze.sales"].rows_accepted) == ([("data_raw/sales/3.csv", 1, GONE)], 1)
    assert shop.rows("sales") == before
    assert shop.load().batches == []


@pytest.mark.parametrize("way_out", ["rebuild", "repair", "restore-from"])
@pytest.mark.parametrize("way_in", ["rebuild", "repair"])
def test_half_a_table_that_a_stopped_command_leaves_lets_nobody_go_on(
    shop, tmp_path, monkeypatch, way_in: str, way_out: str
):
    before = describe(shop)
    back_up(shop.settings, tmp_path)
    delete_folder(find_path(shop, "bronze.sales"))
    delete_folder(find_path(shop, "quarantine.sales"))
    done = []

    def commit_once(*words):
        if done:
            raise KeyboardInterrupt
        done.append(commit(*words))
        return done[0]

    begin = partial(pipeline.run_rebuild, shop.settings, ["sales"], "a drill")
    if way_in == "repair":
        begin = partial(carry_out, shop.settings, plan_repair(shop.settings, None), [], "a drill")
    with monkeypatch.context() as patch:
        patch.setattr(load, "FILES_PER_BATCH", 1)
        patch.setattr(load, "commit", commit_once)
        with pytest.raises(KeyboardInterrupt):
            begin()
    assert 0 < len(shop.rows("sales")) < len(before["sales"])
    with pytest.raises(BronzeCommitError, match=r"not finished(.|\n)*lakeops rebuild bronze\.sales "):
        shop.load()
    with pytest.raises(BronzeCommitError, match="not whole"):
        back_up(shop.settings, tmp_path)
    assert find_wrong(shop)[0].command.startswith("lakeops rebuild bronze.sales ")
    if way_out == "rebuild":
        pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    elif way_out == "repair":
        carry_out(shop.settings, plan_repair(shop.settings, None), [], "a drill")
    else:
        restore_backup(shop.settings, tmp_path, None, "a drill")
    assert shop.load().batches == []
    assert describe(shop) == before
    assert find_wrong(shop, deep=True) == []


def test_a_file_that_todays_contract_refuses_proves_nothing(shop, monkeypatch):
    damaged = find_path(shop, "bronze.sales")
    delete_part(damaged)
    refuse_file_3(shop)
    version = open_table(damaged).version()
    plan = plan_repair(shop.settings, None)
    assert "too_many_bad" in plan.unproven[0]
    assert (plan.mends, plan.reload, open_table(damaged).version()) == ([], [], version)
    # One that looks good by itself may be refused beside others all the same; that is no success.
    monkeypatch.setattr(repair, "_find_obstacle", lambda *_: "")
    with pytest.raises(BronzeCommitError, match=r"Not every file(.|\n)*too_many_bad"):
        carry_out(shop.settings, plan_repair(shop.settings, None), [], "a drill")
    assert find_wrong(shop)


def test_a_repair_is_planned_while_nobody_else_writes(shop, monkeypatch):
    monkeypatch.setattr(lakehouse, "LOCK_PATIENCE_SECONDS", 0.1)
    with FileLock(shop.settings.lake.lock), pytest.raises(LockedError):
        plan_repair(shop.settings, None)


def test_a_repair_takes_nothing_out_while_somebody_holds_the_warehouse(shop):
    delete_part(find_path(shop, "bronze.sales"))
    before, plan = shop.versions(), plan_repair(shop.settings, None)
    hold = (
        f"import duckdb, sys; c = duckdb.connect({str(shop.settings.warehouse)!r}); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(LockedError):
            carry_out(shop.settings, plan, [], "a drill")
        holder.stdin.close()
    assert shop.versions() == before


def test_a_repair_goes_on_without_a_warehouse_that_nobody_can_open(shop):
    before = describe(shop)
    delete_part(find_path(shop, "bronze.sales"))
    shop.settings.warehouse.write_bytes(b"no database" * 1000)
    carry_out(shop.settings, plan_repair(shop.settings, None), [], "a drill")
    assert describe(shop) == before
    assert find_wrong(shop, deep=True) == []


def test_a_changed_raw_file_proves_nothing(shop):
    delete_folder(find_path(shop, "bronze.sales"))
    shop.land("sales/2.csv", sales((9, DAY, 9)))
    assert "the raw file has other bytes by now" in plan_repair(shop.settings, None).unproven[0]


def test_a_damaged_record_keeps_what_can_be_read_and_the_ledger_is_read_back(shop):
    before = describe(shop)
    cut_last_entry(find_path(shop, "ops.manifest_processed_files"))
    assert "ops.manifest_processed_files" in find_wrong(shop)[0].command
    with pytest.raises(BronzeCommitError, match="ledger cannot be read"):
        plan_repair(shop.settings, "bronze.sales")
    carry_out(shop.settings, plan_repair(shop.settings, "ops.manifest_processed_files"), [], "a drill")
    assert find_wrong(shop, deep=True) == []
    assert shop.load().batches == []
    assert describe(shop) == before


@pytest.mark.parametrize("damage", [delete_part, flip_a_bit])
@pytest.mark.parametrize("place", [0, -1], ids=["its oldest part", "its newest part"])
def test_a_ledger_with_a_hole_is_read_back_whole(shop, damage, place: int, monkeypatch):
    """Of the older loads, no later entry tells; forgotten, their files would load a second time."""
    before = describe(shop)
    ledger = find_path(shop, "ops.manifest_processed_files")
    parts = sorted(
        (ledger / name for name in get_parts(open_table(ledger))["path"]), key=lambda p: p.stat().st_mtime_ns
    )
    assert len(parts) > 1
    monkeypatch.setitem(damage.__globals__, "find_part", lambda path: parts[place])
    damage(ledger)
    carry_out(shop.settings, plan_repair(shop.settings, "ops.manifest_processed_files"), [], "a drill")
    assert find_wrong(shop, deep=True) == []
    assert shop.load().batches == []
    assert describe(shop) == before


@pytest.fixture
def trimmed(shop) -> Project:
    """Upkeep has trimmed a log after 400 days; what it proved stands in the ledger alone from then on."""
    log = find_path(shop, "bronze.sales") / "_delta_log"
    open_table(log.parent).create_checkpoint()
    for entry in sorted(log.glob("*.json"))[:-1]:
        entry.unlink()
    assert shop.load().batches == [], "nothing of it is needed while there is a ledger"
    return shop


@pytest.mark.parametrize("has_backup", [True, False])
def test_a_lost_ledger_that_no_log_can_tell_any_more_stops_the_load(trimmed, tmp_path, has_backup: bool):
    before = describe(trimmed)
    back_up(trimmed.settings, tmp_path / "backup")
    delete_folder(find_path(trimmed, LEDGER))
    with pytest.raises(BronzeCommitError, match=r"--from DIR(.|\n)*lakeops rebuild bronze\.sales"):
        trimmed.load()
    assert find_wrong(trimmed)
    if has_backup:
        brought = bring_files_back(trimmed.settings, LEDGER, tmp_path / "backup", dry_run=False)
        assert carry_out(trimmed.settings, plan_repair(trimmed.settings, LEDGER), brought, "a drill") == []
    else:
        pipeline.run_rebuild(trimmed.settings, ["sales"], "a drill")
    assert trimmed.load().batches == []
    assert describe(trimmed) == before
    assert find_wrong(trimmed, deep=True) == []


def test_a_ledger_with_a_hole_that_no_log_can_fill_is_left_as_it_is(trimmed):
    delete_part(find_path(trimmed, LEDGER))
    plan = plan_repair(trimmed.settings, LEDGER)
    assert plan.mends == []
    assert "the logs of bronze.sales no longer tell of the first loads" in plan.unproven[0]
    assert carry_out(trimmed.settings, plan, [], "a drill") == []


def test_a_log_that_begins_late_is_proof_enough_if_it_goes_on_from_what_is_known(trimmed):
    """The last version that the ledger names may be of the table as it was before it was rebuilt."""
    contracts, ledger = load_contracts(trimmed.settings.models), load_ledger(trimmed.settings.lake)
    contract, truth = contracts.get_table("sales"), open_table(find_path(trimmed, "bronze.sales"))
    known = ledger.batches["sales"]
    entries = [entry._replace(bronze_version=99) for entry in read_entries(trimmed.settings.lake)]
    assert is_proven(truth, contract, Ledger(entries))
    assert not is_proven(truth, contract, Ledger([entry for entry in entries if (entry.batch_id or 0) < known]))


def test_a_damaged_checkpoint_is_not_needed(shop):
    path = find_path(shop, "bronze.sales")
    open_table(path).create_checkpoint()
    next((path / "_delta_log").glob("*.checkpoint.parquet")).write_bytes(b"PAR1")
    moved = set_checkpoints_aside(shop.settings, None, dry_run=False)
    assert len(moved) == 2
    plan = plan_repair(shop.settings, None)
    assert plan.describe() == []
    assert open_table(path).version() == 2
    assert find_wrong(shop, deep=True) == []


def test_a_file_of_another_raw_folder_is_found_by_a_rebuild(shop):
    (shop.root / "data_raw_more" / "sales").mkdir(parents=True)
    (shop.root / "data_raw" / "sales" / "3.csv").rename(shop.root / "data_raw_more" / "sales" / "4.csv")
    (shop.root / "data_raw_more" / "sales" / "4.csv").write_text(sales((7, DAY, 7)))
    pipeline.run_load(replace(shop.settings, raw=shop.root / "data_raw_more"))
    (outcome,) = pipeline.run_rebuild(shop.settings, ["sales"], "a drill")
    assert outcome.lost == [("data_raw/sales/3.csv", 1, GONE)]
    assert 7 in [row[0] for row in shop.rows("sales")]


def test_a_backup_copies_only_what_is_new_and_brings_a_lost_lake_back(shop, tmp_path):
    folder = tmp_path / "backup"
    first = back_up(shop.settings, folder)
    assert first.files_copied > 40
    assert back_up(shop.settings, folder).files_copied < 5
    before = describe(shop)
    shop.land("sales/4.csv", sales((8, DAY, 8)))
    last = max(shop.load().batches)
    after = describe(shop)
    shutil.rmtree(shop.settings.lake.folder)
    generation, aside = restore_backup(shop.settings, folder, None, "a drill")
    assert generation.name == load_generations(folder)[-1].name
    assert aside is None
    assert not shop.settings.warehouse.exists()
    assert {table: shop.rows(table) for table in TABLES} == {table: before[table] for table in TABLES}
    batches = shop.load().batches
    assert min(batches) > max(last, BATCH_GAP)
    assert describe(shop) == after
    assert find_wrong(shop, deep=True) == []
    assert (shop.settings.lake.quarantine("sales").stat().st_mode & 0o777) == 0o700


def test_a_good_lake_is_not_restored_over_and_a_damaged_one_is_moved_aside(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    before = describe(shop)
    with pytest.raises(UsageError, match="in order"):
        restore_backup(shop.settings, folder, None, "a drill")
    cut_last_entry(find_path(shop, "bronze.sales"))
    _, aside = restore_backup(shop.settings, folder, None, "a drill")
    assert (aside / "bronze" / "delta" / "sales").is_dir()
    shop.load()
    assert describe(shop) == before


def test_a_backup_with_a_changed_byte_restores_nothing(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    kept = max(
        (file for file in (folder / "objects").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    kept.write_bytes(b"x" + kept.read_bytes()[1:])
    shutil.rmtree(find_path(shop, "bronze.sales"))
    with pytest.raises(BronzeCommitError, match="not what it was"):
        restore_backup(shop.settings, folder, None, "a drill")
    assert find_path(shop, "bronze.clicks").is_dir()
    assert "bronze.sales" in find_wrong(shop)[0].found


def test_a_damaged_lake_is_not_backed_up_and_a_killed_backup_is_none(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    (generation,) = load_generations(folder)
    (folder / "generations" / f"{generation.name}.json").unlink()  # so a kill before the end leaves it
    with pytest.raises(UsageError, match="no such backup"):
        restore_backup(shop.settings, folder, None, "a drill")
    assert back_up(shop.settings, folder).files_copied < 5
    delete_part(find_path(shop, "bronze.sales"))
    with pytest.raises(BronzeCommitError, match="not whole"):
        back_up(shop.settings, folder)
    assert len(load_generations(folder)) == 1


def test_a_restore_killed_half_way_lets_nobody_go_on_and_is_done_again(shop, tmp_path):
    folder = tmp_path / "backup"
    before = describe(shop)
    back_up(shop.settings, folder)
    lake = shop.settings.lake.folder
    (lake / ".restoring").mkdir()
    (lake / "bronze").rename(lake / ".restoring" / "bronze")
    with pytest.raises(BronzeCommitError, match="not finished"):
        shop.load()
    assert find_wrong(shop)[0].found == "a restore was not finished"
    restore_backup(shop.settings, folder, None, "a drill")
    shop.load()
    assert describe(shop) == before


@pytest.mark.parametrize(
    ("table", "damage"),
    [("bronze.sales", damage) for damage in DAMAGES]
    + [(table, damage) for table in ("ops.schema_history", "ops.manifest_processed_files") for damage in SOME],
)
def test_files_come_back_from_a_backup_and_nothing_is_loaded_again(shop, tmp_path, table, damage):
    folder = tmp_path / "backup"
    before = describe(shop)
    back_up(shop.settings, folder)
    rows = pl.read_delta(str(find_path(shop, table))).sort(pl.all())
    shutil.rmtree(shop.root / "data_raw")
    damage(find_path(shop, table))
    assert bring_files_back(shop.settings, None, folder, dry_run=True)
    brought = bring_files_back(shop.settings, table, folder, dry_run=False)
    plan = plan_repair(shop.settings, None)
    assert (plan.mends, plan.reload, plan.unproven) == ([], [], [])
    carry_out(shop.settings, plan, brought, "a drill")
    assert pl.read_delta(str(find_path(shop, table))).sort(pl.all()).equals(rows)
    assert find_wrong(shop, deep=True) == []
    assert describe(shop) == before
    # A flipped bit may read as another value: models may have built on it.
    told = shop.sql("select table_name from touched_keys where reason = 'rebuilt'")
    assert told == ([("sales",)] if table == "bronze.sales" else [])


def test_a_table_newer_than_its_backup_takes_the_rest_from_raw(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    shop.land("sales/4.csv", sales((8, DAY, 8)))
    shop.load()
    before = describe(shop)
    delete_folder(find_path(shop, "bronze.sales"))
    bring_files_back(shop.settings, "bronze.sales", folder, dry_run=False)
    plan = plan_repair(shop.settings, None)
    assert [entry.source_file for entry in plan.reload] == ["data_raw/sales/4.csv"]
    carry_out(shop.settings, plan, [], "a drill")
    assert describe(shop) == before
    assert find_wrong(shop, deep=True) == []


def test_what_was_undone_and_restored_is_in_order_and_can_be_repaired(shop):
    run_undo(shop.settings, file="data_raw/sales/2.csv", reason="wrong")
    run_restore(shop.settings, "bronze.items", version=1, reason="wrong")
    assert find_wrong(shop, deep=True) == []
    before = describe(shop)
    for table in ("bronze.sales", "bronze.items_changes"):
        cut_last_entry(find_path(shop, table))
    plan = plan_repair(shop.settings, None)
    if plan.unproven:  # taking back was the last commit: what it took out would come back
        pipeline.run_rebuild(shop.settings, ["sales", "items"], "a drill")
    else:
        carry_out(shop.settings, plan, [], "a drill")
    assert describe(shop) == before
    assert find_wrong(shop, deep=True) == []


def test_the_doctor_works_with_a_warehouse_that_is_gone_or_none(shop):
    shop.settings.warehouse.write_bytes(b"no database" * 1000)
    assert [finding.check for finding in find_wrong(shop)] == ["warehouse"]
    shop.settings.warehouse.unlink()
    assert find_wrong(shop) == []


def test_what_mends_by_hand_is_on_record(shop):
    delete_part(find_path(shop, "bronze.sales"))
    carry_out(shop.settings, plan_repair(shop.settings, None), [], "disk 2 died")
    rows = shop.sql("select operation, table_name, reason, details from maintenance_history order by operation")
    assert [row[:3] for row in rows] == [
        ("reload", None, "disk 2 died"),
        ("repair", "bronze.sales", "disk 2 died"),
    ]
    assert json.loads(rows[0][3])["files"]


def test_a_backup_does_not_go_into_the_lake(shop):
    with pytest.raises(LakeopsError, match="does not belong"):
        back_up(shop.settings, shop.settings.lake.folder / "backup")

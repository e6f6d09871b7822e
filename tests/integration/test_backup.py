"""A generation of a backup can be restored whole, whatever became of the folder; what none needs is freed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from conftest import DAY, Project, items, sales
from lakeops.cli import app
from lakeops.delta import get_last_batch, open_table
from lakeops.errors import BronzeCommitError, LockedError, UsageError
from lakeops.recovery import backup
from lakeops.recovery.backup import BATCH_GAP, back_up, load_generations, restore_backup
from lakeops.upkeep import vacuum_tables


@pytest.fixture
def shop(project: Project) -> Project:
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    project.load()
    return project


def list_objects(folder: Path) -> list[Path]:
    return sorted(file for file in (folder / "objects").rglob("*") if file.is_file())


def rename_generation(folder: Path, name: str) -> Path:
    """Give the newest generation another name, and so another time."""
    newest = sorted((folder / "generations").iterdir())[-1]
    return newest.rename(newest.with_name(f"{name}.json"))


def lose_lake(project: Project) -> None:
    shutil.rmtree(project.settings.lake.folder)


@pytest.mark.parametrize("is_known", [True, False])
def test_what_rotted_in_the_folder_is_copied_again(shop, tmp_path, is_known):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    first = rename_generation(folder, "20200101T000000Z")
    kept = max(list_objects(folder), key=lambda file: file.stat().st_size)
    kept.write_bytes(b"x" + kept.read_bytes()[1:])
    if not is_known:  # so that files are not skipped by size and time, but found under their hash
        first.unlink()
    rows = shop.rows("sales"), shop.rows("items")
    assert back_up(shop.settings, folder).files_copied < 5
    lose_lake(shop)
    restore_backup(shop.settings, folder, None, "a drill")
    assert (shop.rows("sales"), shop.rows("items")) == rows


def test_what_no_generation_needs_any_more_is_freed(shop, tmp_path, capsys):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    first = rename_generation(folder, "20200101T000000Z")
    shop.land("sales/1.csv", sales((2, DAY, 2)))
    shop.load()
    vacuum_tables(shop.settings, ("bronze.sales",), 0, apply=True, force=True)
    back_up(shop.settings, folder)
    (folder / "objects" / ".123").write_bytes(b"half of a file")
    (folder / "objects" / "mine").write_bytes(b"no object")
    before = set(list_objects(folder))
    # Under whatever name a generation lies there, it is one.
    first.rename(folder / "generations" / "kept for the auditors.json")
    back_up(shop.settings, folder)
    assert set(list_objects(folder)) >= before - {folder / "objects" / ".123"}
    (folder / "generations" / "kept for the auditors.json").unlink()
    capsys.readouterr()
    back_up(shop.settings, folder)
    assert "that no generation needs any more" in capsys.readouterr().err
    named = {kept.sha256 for generation in load_generations(folder) for kept in generation.files.values()}
    assert {file.name for file in list_objects(folder)} == named | {"mine"}
    rows = shop.rows("sales")
    lose_lake(shop)
    restore_backup(shop.settings, folder, None, "a drill")
    assert shop.rows("sales") == rows


@pytest.mark.parametrize("damage", ["", "{}", '{"files": []}'])
def test_a_generation_that_cannot_be_read_stops_no_backup_and_nothing_is_freed(shop, tmp_path, capsys, damage):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    rename_generation(folder, "20200101T000000Z").write_text(damage)
    shop.land("sales/1.csv", sales((2, DAY, 2)))
    shop.load()
    before = set(list_objects(folder))
    made = back_up(shop.settings, folder)
    assert "nothing of deleted generations is freed" in capsys.readouterr().err
    assert set(list_objects(folder)) > before
    rows = shop.rows("sales")
    lose_lake(shop)
    with pytest.raises(UsageError, match="cannot be read"):
        restore_backup(shop.settings, folder, "20200101T000000Z", "a drill")
    restore_backup(shop.settings, folder, made.generation, "a drill")
    assert shop.rows("sales") == rows


def test_a_generation_that_cannot_be_read_is_listed_with_the_others(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    rename_generation(folder, "20200101T000000Z").write_text("{}")
    made = back_up(shop.settings, folder)
    listed = CliRunner().invoke(app, ["backup", "--to", str(folder), "--list"])
    assert (listed.exit_code, made.generation in listed.stdout) == (0, True)
    assert "warning: generation 20200101T000000Z cannot be read: 'files'" in listed.stderr
    told = json.loads(CliRunner().invoke(app, ["backup", "--to", str(folder), "--list", "--json"]).stdout)
    assert told[0] == {"generation": "20200101T000000Z", "files": None, "size_bytes": None, "problem": "'files'"}
    assert (told[1]["files"], told[1]["problem"]) == (made.files, None)


def test_the_newest_backup_is_the_last_one_also_if_the_clock_was_ahead(shop, tmp_path):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    rename_generation(folder, "21001231T235959Z")
    shop.land("sales/2.csv", sales((2, DAY, 2)))
    shop.load()
    rows = shop.rows("sales")
    assert back_up(shop.settings, folder).generation == "21010101T000000Z"
    lose_lake(shop)
    restore_backup(shop.settings, folder, None, "a drill")
    assert shop.rows("sales") == rows


def test_two_backups_into_one_folder_wait_for_each_other(shop, tmp_path, monkeypatch):
    folder = tmp_path / "backup"
    folder.mkdir()
    monkeypatch.setattr(backup, "LOCK_PATIENCE_SECONDS", 0.1)
    with FileLock(folder / ".lock"), pytest.raises(LockedError, match="at work"):
        back_up(shop.settings, folder)
    assert not (folder / "generations").exists()


def test_a_restore_that_fails_leaves_nothing_behind(shop, tmp_path, monkeypatch):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    lose_lake(shop)
    kept = max(list_objects(folder), key=lambda file: file.stat().st_size)
    whole = kept.read_bytes()
    kept.write_bytes(b"x" + whole[1:])
    with pytest.raises(BronzeCommitError, match="not what it was"):
        restore_backup(shop.settings, folder, None, "a drill")
    kept.write_bytes(whole)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backup, "drop_warehouse", stop)
        with pytest.raises(KeyboardInterrupt):
            restore_backup(shop.settings, folder, None, "a drill")
    assert not any(path.is_dir() for path in shop.settings.lake.folder.iterdir())
    restore_backup(shop.settings, folder, None, "a drill")
    assert shop.rows("sales")


def test_a_restore_killed_after_the_switch_goes_on_above_all_batches(shop, tmp_path, monkeypatch):
    folder = tmp_path / "backup"
    back_up(shop.settings, folder)
    lose_lake(shop)
    switch = backup._switch

    def switch_and_die(*words):
        switch(*words)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_switch", switch_and_die)
        with pytest.raises(KeyboardInterrupt):
            restore_backup(shop.settings, folder, None, "a drill")
    assert get_last_batch(open_table(shop.settings.lake.ops("maintenance_history"))) == BATCH_GAP
    shop.land("sales/2.csv", sales((2, DAY, 2)))
    assert min(shop.load().batches) > BATCH_GAP
    assert shop.sql("select operation, reason from maintenance_history where operation = 'restore'") == [
        ("restore", "a drill")
    ]


def test_a_backup_older_than_the_record_of_what_was_done_can_be_restored(shop, tmp_path):
    folder = tmp_path / "backup"
    shutil.rmtree(shop.settings.lake.ops("maintenance_history"))
    back_up(shop.settings, folder)
    lose_lake(shop)
    restore_backup(shop.settings, folder, None, "a drill")
    shop.land("sales/2.csv", sales((2, DAY, 2)))
    assert min(shop.load().batches) > BATCH_GAP

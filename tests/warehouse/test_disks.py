"""A full disk and a read-only lake: one clear error, its exit code, nothing half-written, and the next run heals.

The lake lies on a small disk of memory; mounting needs rights that not every machine gives (root ignores chmod, so
there is no way around it).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from conftest import Clone, Project
from lakeops.errors import BronzeCommitError
from lakeops.publish import switch_readers
from warehouse.test_publish import find_differences, land_day, read_versions

BALLAST = "other_people.bin"
# Room for the lock's owner and a log entry, and not for a table's data.
ROOM_BYTES = 8 << 10


def mount(folder: Path, options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "lakeops-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@contextmanager
def fill(disk: Path, room: int = ROOM_BYTES) -> Iterator[None]:
    """Fill a disk up to a few bytes, and free it again."""
    import shutil

    ballast = disk / BALLAST
    ballast.write_bytes(bytes(max(shutil.disk_usage(disk).free - room, 0)))
    try:
        yield
    finally:
        ballast.unlink()


def count_versions(clone: Clone) -> dict[str, int]:
    logs = (clone.root / "lake").rglob("_delta_log")
    return {str(log.parent.relative_to(clone.root)): len(list(log.glob("*.json"))) for log in logs}


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Iterator[Clone]:
    lake = clone.root / "lake"
    mount(lake, "size=48m")
    try:
        land_day(clone, 24, 1, 2)
        clone.run("lakeops incremental")
        yield clone
    finally:
        subprocess.run(["umount", "-R", str(lake)], check=False)


def test_a_read_only_lake_is_read_and_not_written(shop: Clone, tmp_path: Path):
    before = count_versions(shop)
    land_day(shop, 25, 3)
    remount(shop.root / "lake", "ro")
    try:
        said = shop.run("lakeops load", expect=12).stderr
        assert "The lake cannot be written." in said
        assert "Read-only file system" in said
        assert "runbooks/exit-12-bronze-commit.md" in said
        for command in ("status", "quality", "doctor --deep", "load --dry-run", "quarantine list", "metrics"):
            shop.run(f"lakeops {command}")
        shop.run(f"lakeops backup --to {tmp_path}/backup")
        assert shop.query("select count(*) from gold.fct_sales", warehouse="duckdb/serving.duckdb") == [["2"]]
    finally:
        remount(shop.root / "lake", "rw")
    assert count_versions(shop) == before
    assert len(list((tmp_path / "backup" / "generations").glob("*.json"))) == 1


def test_a_disk_that_fills_up_during_a_load_leaves_nothing_and_the_next_load_goes_on(shop: Clone):
    lake = shop.root / "lake"
    rows = [f"{number},1,1,10,0,0.1" for number in range(1, 3000)]
    lines = "\n".join(["order_id,line_number,product_id,qty,unit_price,line_discount_pct,tax_pct",
                       *(f"{1000 + n},{row}" for n, row in enumerate(rows))])  # fmt: skip
    file = shop.root / "data_raw/order_lines/order_dt=2024-03-26/big.csv"
    file.parent.mkdir(parents=True)
    file.write_text(lines + "\n")
    tables = lake / "bronze/delta/order_lines"
    parts = sorted(tables.glob("*.parquet"))
    with fill(lake):
        said = shop.run("lakeops load --only order_lines", expect=12).stderr
        assert "The disk is full; nothing was committed." in said
        assert sorted(tables.glob("*.parquet")) == parts
    shop.run("lakeops doctor --deep")
    shop.run("lakeops load")
    assert shop.query("select count(*) from bronze.order_lines") == [[str(2 + 1 + 2999)]]
    shop.run("lakeops doctor --deep")


def test_a_disk_that_is_full_when_dbt_ends_fails_the_run_and_publishes_nothing(shop: Clone):
    before = read_versions(shop)
    with fill(shop.root / "lake", room=0):
        said = shop.run("lakeops incremental", expect=12).stderr
        assert "No space left" in said or "disk is full" in said
        shop.run("cd dbt && dbt run --select silver_stores", expect=1)
    assert read_versions(shop) == before
    shop.run("lakeops doctor --deep")


def test_a_disk_that_fills_up_while_gold_is_published_leaves_readers_what_they_had(shop: Clone):
    gold = shop.root / "lake/gold/delta/fct_sales"
    before = shop.query("select count(*) from gold.fct_sales", warehouse="duckdb/serving.duckdb")
    kept = gold.with_name("kept")
    gold.rename(kept)
    mount(gold, "size=1m")
    shop.run(f"cp -a {kept}/. {gold} && rm -r {kept}")
    with fill(gold, room=4096):
        said = shop.run("lakeops incremental", expect=12).stderr
        assert "The disk is full; nothing was committed." in said
        assert shop.query("select count(*) from gold.fct_sales", warehouse="duckdb/serving.duckdb") == before
    shop.run("lakeops incremental")
    assert find_differences(shop) == []
    shop.run("lakeops doctor --deep")


# Too little for what DuckDB writes as it goes, and for what it writes when it closes, of which it says nothing.
@pytest.mark.parametrize("room", [16 << 10, 128 << 10])
def test_a_disk_too_full_for_the_readers_new_file_leaves_them_the_old_one(project: Project, room: int):
    project.load()
    serving = project.settings.serving
    mount(serving.parent, "size=2m")
    try:
        switch_readers(project.settings, {}, {})
        before = serving.read_bytes()
        with fill(serving.parent, room), pytest.raises(BronzeCommitError, match="The disk is full"):
            switch_readers(project.settings, {}, {})
        assert [file.name for file in serving.parent.iterdir()] == [serving.name]
        assert serving.read_bytes() == before
        with duckdb.connect(str(serving), read_only=True) as connection:
            (views,) = connection.execute("select count(*) from duckdb_views() where not internal").fetchone()
        assert views
    finally:
        subprocess.run(["umount", str(serving.parent)], check=True)

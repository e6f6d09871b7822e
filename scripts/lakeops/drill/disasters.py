"""The disasters that are rehearsed. Each is mended by what its runbook says, and by nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lakeops.drill.rehearsal import Drill, DrillSkipped
from lakeops.drill.stage import Stage

REASON = '--reason "a drill"'
BAD_FILE = "data_raw/order_lines/order_dt=2024-04-02/wrong.csv"
# Room for a log entry and a bit of data, and not for a day.
ROOM_LEFT_BYTES = 64 << 10


def _find_last(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda file: file.name if file.suffix == ".json" else file.stat().st_size)


def _damage_file(stage: Stage) -> None:
    file = _find_last(stage.lake / "bronze/delta/order_lines", "*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut_log(stage: Stage) -> None:
    entry = _find_last(stage.lake / "bronze/delta/orders/_delta_log", "*.json")
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


def _delete_table(stage: Stage) -> None:
    shutil.rmtree(stage.lake / "bronze/delta/customers_changes")


def _delete_table_and_raw(stage: Stage) -> None:
    shutil.rmtree(stage.lake / "bronze/delta/events")
    _find_last(stage.project / "data_raw/events", "**/*.jsonl").unlink()


def _delete_warehouse(stage: Stage) -> None:
    shutil.rmtree(stage.project / "duckdb")


def _delete_lake(stage: Stage) -> None:
    shutil.rmtree(stage.lake)


def _kill_dbt(stage: Stage) -> int:
    stage.land_next_day()
    log = stage.project / "dbt/logs/dbt.log"
    log.unlink(missing_ok=True)

    def is_time() -> bool:
        return log.exists() and log.read_text(encoding="utf-8", errors="replace").count("OK created") >= 6

    return stage.kill_when("lakeops incremental", is_time)


def _change_schema(stage: Stage) -> None:
    file = _find_last(stage.project / "data_raw/orders", "**/*.csv")
    header, _, rows = file.read_text(encoding="utf-8").partition("\n")
    file.with_name("part-99999.csv").write_text(f"{header.replace('order_id', 'order_number')}\n{rows}")


def _publish_bad_batch(stage: Stage) -> None:
    """Let a file arrive that keeps its contract, and is wrong: quantities a thousand times too large."""
    file = _find_last(stage.project / "data_raw/order_lines", "**/*.csv")
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines[:20]]
    wrong = [[order, str(100 + int(number)), product, "1000", *rest] for order, number, product, _, *rest in rows]
    text = "\n".join([header, *(",".join(row) for row in wrong)])
    (stage.project / BAD_FILE).parent.mkdir(parents=True, exist_ok=True)
    (stage.project / BAD_FILE).write_text(f"{text}\n")
    stage.run("lakeops incremental")


def _fill_disk(stage: Stage) -> None:
    """Put the lake on a disk of its own, and fill that up to a few kilobytes."""
    size = sum(file.stat().st_blocks * 512 for file in stage.lake.rglob("*")) + (8 << 20)
    moved = stage.lake.with_name("lake_moved")
    stage.lake.rename(moved)
    stage.lake.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "lakeops-drill", str(stage.lake)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DrillSkipped(f"no small disk can be mounted: {error}") from error
    if done.returncode:
        raise DrillSkipped(f"no small disk can be mounted: {done.stderr.strip()}")
    shutil.copytree(moved, stage.lake, dirs_exist_ok=True)
    shutil.rmtree(moved)
    free = shutil.disk_usage(stage.lake).free
    (stage.lake / "other_people.bin").write_bytes(bytes(free - ROOM_LEFT_BYTES))
    stage.land_next_day()


def _unmount(stage: Stage) -> None:
    subprocess.run(["umount", str(stage.lake)], capture_output=True, check=False)


DRILLS = (
    Drill(
        "corrupted-file", "one bit of a bronze data file is flipped", _damage_file,
        "lakeops doctor --deep", 12,
        (f"lakeops repair bronze.order_lines {REASON}", "lakeops incremental"), "bronze-file-corrupted",
    ),
    Drill(
        "truncated-log", "the last log entry of a bronze table is cut in half", _cut_log,
        "lakeops load", 12,
        (f"lakeops repair bronze.orders {REASON}", "lakeops incremental"), "bronze-file-corrupted",
    ),
    Drill(
        "deleted-table", "the folder of a bronze table is deleted", _delete_table,
        "lakeops load", 12,
        (f"lakeops repair bronze.customers {REASON}", "lakeops incremental"), "bronze-table-deleted",
    ),
    Drill(
        "deleted-table-and-raw", "the same, and a raw file of it is gone as well", _delete_table_and_raw,
        "lakeops load", 12,
        (f"lakeops rebuild events {REASON}", "lakeops incremental"), "bronze-table-deleted",
        loses=("bronze.events", "quarantine"),
    ),
    Drill(
        "deleted-lake", "the whole lake is deleted; there is a backup", _delete_lake,
        "lakeops doctor", 12,
        (f"lakeops restore-from DIR {REASON}", "lakeops load", "lakeops rebuild warehouse"), "backup-and-restore",
    ),
    Drill(
        "deleted-warehouse", "both DuckDB files are deleted", _delete_warehouse,
        "lakeops doctor", 12,
        ("lakeops rebuild warehouse",), "warehouse-lost",
    ),
    Drill(
        "killed-dbt", "the main job is killed while dbt builds", _kill_dbt,
        "", 137,
        ("lakeops incremental",), "dbt-killed", next_day=True,
    ),
    Drill(
        "schema-change", "a source renames a key column", _change_schema,
        "lakeops load", 11,
        ("rm data_raw/orders/*/part-99999.csv", "lakeops incremental"), "exit-11-raw-file-refused",
    ),
    Drill(
        "bad-batch", "a batch that keeps its contract, and is wrong, was published", _publish_bad_batch,
        "lakeops diff gold.fct_sales 1 2", 0,
        (f"lakeops undo --file {BAD_FILE} {REASON}", "lakeops incremental"), "bad-batch-published",
    ),
    Drill(
        "full-disk", "the disk is full when a day is loaded", _fill_disk,
        "lakeops load", 12,
        ("rm lake/other_people.bin", "lakeops incremental"), "disk-full", next_day=True, clean_up=_unmount,
    ),
)  # fmt: skip

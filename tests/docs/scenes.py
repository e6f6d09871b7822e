"""What the pages find broken: each function breaks one thing on a lake in order, with real files and real damage.

A page names its scene; a scene is what happened, and not what it leads to.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from docs.stage import Stage

DAY = "order_dt=2024-04-03"
ORDERS, LINES = f"data_raw/orders/{DAY}/part-00001.csv", f"data_raw/order_lines/{DAY}/part-00001.csv"
SENSORS = "data_raw/sensors/store_id=4/month=2024-04"


def scene(function: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """Mark a function as one that pages name."""
    function.is_scene = True
    return function


@scene
def misspelt_contract(stage: Stage) -> None:
    """Somebody edited the contract, misspelt a key, and committed it."""
    change(stage, "dbt/models/bronze/retail.yml", "mode: append", "moed: append", count=1)
    commit(stage, "Append orders")


@scene
def refused_files(stage: Stage) -> None:
    """A day arrives with a column missing, a wrong encoding, a file cut in transfer, and somebody's notes."""
    header, rows = read_csv(stage, ORDERS)
    write(stage, "data_raw/orders/order_dt=2024-04-04/part-00001.csv", drop_column(header, rows, "channel"))
    header, rows = read_csv(stage, "data_raw/stores/effective_dt=2024-04-03/stores_changes.csv")
    text = "\n".join([header, rows[0].replace("Retail", "Détail").replace("Franchise", "Détail"), ""])
    write(stage, "data_raw/stores/effective_dt=2024-04-04/stores_changes.csv", text.encode("latin-1"))
    whole = (stage.root / "data_raw/returns/return_dt=2024-04-03/part-00001.parquet").read_bytes()
    write(stage, "data_raw/returns/return_dt=2024-04-04/part-00001.parquet", whole[: len(whole) // 2])
    write(stage, "data_raw/notes.txt", "call the sender\n")
    # What the sender sends when asked.
    header, rows = read_csv(stage, ORDERS)
    write(stage, "../from-the-sender/orders.csv", "\n".join([header, *move_to_next_day(rows[:3]), ""]))


@scene
def moved_table(stage: Stage) -> None:
    """Somebody tidied up and moved a table's folder away."""
    (stage.root / "lake/bronze/delta/orders").rename(stage.root.parent / "orders")


@scene
def failing_test(stage: Stage) -> None:
    """A rule was made strict, and the next file breaks it; the sender has a corrected one."""
    model = stage.root / "dbt/models/silver/silver_sensors.yml"
    before, name, after = model.read_text().partition("- name: is_valid_humidity")
    model.write_text(before + name + after.replace("severity: warn", "severity: error", 1))
    commit(stage, "Stop at humidities that cannot be")
    header, rows = read_csv(stage, f"{SENSORS}/2024-04-03.csv")
    good = [row.replace("2024-04-03", "2024-04-04") for row in rows[:6]]
    bad = [",".join([*row.split(",")[:4], "640.5", row.split(",")[5]]) for row in good[:3]]
    write(stage, f"{SENSORS}/2024-04-04.csv", "\n".join([header, *bad, *good[3:], ""]))
    write(stage, "../from-the-sender/2024-04-04.csv", "\n".join([header, *good, ""]))


@scene
def stale_source(stage: Stage) -> None:
    """The limit of a source was set to a minute where an hour was meant, and a minute has passed."""
    change(stage, "dbt/models/bronze/retail.yml", *find_freshness(stage))
    commit(stage, "Expect files sooner")
    newest = max(log.stat().st_mtime for log in (stage.root / "lake/bronze/delta/orders/_delta_log").glob("*.json"))
    time.sleep(max(0, newest + 65 - time.time()))


@scene
def held_warehouse(stage: Stage) -> None:
    """Somebody left a command line open on the warehouse."""
    shell = stage.start(["duckdb", "duckdb/warehouse.duckdb"])
    shell.stdin.write("select 'open';\n")
    shell.stdin.flush()
    assert any("open" in line for line in shell.stdout)


@scene
def many_bad_records(stage: Stage) -> None:
    """A file arrives of which half has no order number; the sender has a corrected one."""
    header, rows = read_csv(stage, ORDERS)
    good = move_to_next_day(rows[:20])
    bad = [row.partition(",")[1] + row.partition(",")[2] for row in good[:10]]
    write(stage, "data_raw/orders/order_dt=2024-04-04/part-00001.csv", "\n".join([header, *bad, *good[10:], ""]))
    write(stage, "../from-the-sender/part-00001.csv", "\n".join([header, *good, ""]))
    stage.run("lakeops load")


@scene
def negative_quantities(stage: Stage) -> None:
    """A file arrives in which half the quantities are below zero; the sender has a corrected one."""
    header, rows = read_csv(stage, LINES)
    good = move_to_next_day(rows[:20])
    bad = [",".join([*row.split(",")[:3], "-1", *row.split(",")[4:]]) for row in good[:10]]
    write(stage, "data_raw/order_lines/order_dt=2024-04-04/part-00001.csv", "\n".join([header, *bad, *good[10:], ""]))
    write(stage, "../from-the-sender/part-00001.csv", "\n".join([header, *good, ""]))


@scene
def dead_hook(stage: Stage) -> None:
    """Somebody took the hook out that records what tests came to, and tests ran since."""
    change(stage, "dbt/dbt_project.yml", 'on-run-end: "{{ record_run(results) }}"', "on-run-end: []")
    commit(stage, "Quicker tests")
    stage.run("cd dbt && dbt test --select silver_stores")


@scene
def killed_dbt(stage: Stage) -> None:
    """The main job is killed outright while dbt builds a new day."""
    land_next_day(stage)
    log = stage.root / "dbt/logs/dbt.log"
    log.unlink(missing_ok=True)
    job = stage.start(["lakeops", "incremental"])
    while job.poll() is None:
        if log.exists() and log.read_text(encoding="utf-8", errors="replace").count("OK created") >= 4:
            job.kill()
        time.sleep(0.02)
    assert job.returncode == -9


@scene
def lost_warehouse(stage: Stage) -> None:
    """Somebody cleaned up in duckdb/."""
    shutil.rmtree(stage.root / "duckdb")


@scene
def deleted_table(stage: Stage) -> None:
    """The folder of a bronze table is gone."""
    shutil.rmtree(stage.root / "lake/bronze/delta/orders")


@scene
def flipped_bit(stage: Stage) -> None:
    """One bit of a data file is not what was written."""
    file = max((stage.root / "lake/bronze/delta/orders").glob("*.parquet"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@scene
def published_bad_batch(stage: Stage) -> None:
    """A file that keeps its contract, and is wrong, was loaded, tested and published: quantities in grams."""
    header, rows = read_csv(stage, LINES)
    wrong = [",".join([*row.split(",")[:3], "1000", *row.split(",")[4:]]) for row in rows[:20]]
    wrong = [",".join([row.split(",")[0], str(100 + int(row.split(",")[1])), *row.split(",")[2:]]) for row in wrong]
    write(stage, f"data_raw/order_lines/{DAY}/part-00002.csv", "\n".join([header, *wrong, ""]))
    stage.run("lakeops incremental")


@scene
def deleted_rows(stage: Stage) -> None:
    """A program that is none of ours deletes rows of a bronze table."""
    from deltalake import DeltaTable

    DeltaTable(str(stage.root / "lake/bronze/delta/orders")).delete("channel = 'Retail'")


@scene
def failed_migration(stage: Stage) -> None:
    """A snapshot was taken before a migration; then files came from the wrong system."""
    stage.run("lakeops snapshot create before-the-migration")
    land_next_day(stage)
    stage.run("lakeops load")


@scene
def full_disk(stage: Stage) -> None:
    """The lake lies on a disk of its own, and that is full but for some kilobytes."""
    lake, moved = stage.root / "lake", stage.root.parent / "moved"
    size = sum(file.stat().st_blocks * 512 for file in lake.rglob("*")) + (8 << 20)
    shutil.move(lake, moved)
    lake.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "lakeops-runbook", str(lake)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    stage.mounted.append(lake)
    shutil.copytree(moved, lake, dirs_exist_ok=True)
    (lake / "other_people.bin").write_bytes(bytes(shutil.disk_usage(lake).free - (64 << 10)))
    land_next_day(stage)


@scene
def lost_lake(stage: Stage) -> None:
    """There is a backup; then the lake is lost."""
    stage.run("lakeops backup --to ../lakeops-backup")
    shutil.rmtree(stage.root / "lake")


@scene
def replaced_files(stage: Stage) -> None:
    """A file was restated twice: older data files lie there for time travel alone."""
    for text in ("1", "2"):
        file = stage.root / LINES
        file.write_text(f"{file.read_text().rstrip()}\n2024040399999{text},1,1,1,1.0000,0.0000,0.1000\n")
        stage.run("lakeops load")


@scene
def late_file(stage: Stage) -> None:
    """A file of the first day arrives after the third."""
    header, rows = read_csv(stage, "data_raw/orders/order_dt=2024-04-01/part-00001.csv")
    late = [f"20240401700{number:03},{row.partition(',')[2]}" for number, row in enumerate(rows[-3:])]
    write(stage, "data_raw/orders/order_dt=2024-04-01/part-00002.csv", "\n".join([header, *late, ""]))
    lines = [f"{order.partition(',')[0]},1,227,1,20.1000,0.0000,0.1000" for order in late]
    header, _ = read_csv(stage, LINES)
    write(stage, "data_raw/order_lines/order_dt=2024-04-01/part-00002.csv", "\n".join([header, *lines, ""]))


@scene
def restated_file(stage: Stage) -> None:
    """A file comes again under its name: one line corrected, one left out."""
    header, rows = read_csv(stage, LINES)
    first = rows[0].split(",")
    corrected = ",".join([*first[:3], str(int(first[3]) + 1), *first[4:]])
    write(stage, LINES, "\n".join([header, corrected, *rows[1:-1], ""]))


@scene
def renamed_column(stage: Stage) -> None:
    """A sender renames a column of one file, and adds one to another."""
    header, rows = read_csv(stage, ORDERS)
    text = "\n".join([header.replace("channel", "sales_channel"), *move_to_next_day(rows[:5]), ""])
    write(stage, "data_raw/orders/order_dt=2024-04-04/part-00001.csv", text)
    returned = pl.read_parquet(stage.root / "data_raw/returns/return_dt=2024-04-03/part-00001.parquet")
    more = returned.drop_nulls("return_id").with_columns(pl.col("return_id") + 1_000_000, condition=pl.lit("opened"))
    folder = stage.root / "data_raw/returns/return_dt=2024-04-04"
    folder.mkdir()
    more.write_parquet(folder / "part-00001.parquet")


@scene
def unknown_customers(stage: Stage) -> None:
    """Orders arrive whose customers nobody has sent; the sender sends the customers when asked."""
    header, rows = read_csv(stage, ORDERS)
    orders = [row.split(",") for row in move_to_next_day(rows[:10])]
    for number, order in enumerate(orders):
        order[3] = str(700001 + number)
    text = "\n".join([header, *(",".join(order) for order in orders), ""])
    write(stage, "data_raw/orders/order_dt=2024-04-04/part-00001.csv", text)
    header, rows = read_csv(stage, "data_raw/customers/effective_dt=2024-04-03/customers_changes.csv")
    customers = [f"{700001 + number},{rows[0].partition(',')[2]}" for number in range(10)]
    write(stage, "../from-the-sender/customers.csv", "\n".join([header, *customers, ""]))


@scene
def outliers(stage: Stage) -> None:
    """A day arrives with values that are allowed, and far off."""
    land_next_day(stage, "--outliers")
    stage.run("lakeops incremental")


@scene
def fresh_clone(stage: Stage) -> None:
    """A clone in which nobody has typed a command yet."""
    for name in ("data_raw", "lake", "duckdb"):
        shutil.rmtree(stage.root / name)
    stage.run("git checkout -q -- data_raw lake duckdb && rm -rf dbt/target dbt/logs")


@scene
def unknown_data(stage: Stage) -> None:
    """Files of a business that no contract knows lie in the landing zone."""
    stores = ("north", "south", "west")
    for day in (1, 2):
        rows = [f"{day * 1000 + n},{stores[n % 3]},{n % 7}.50,2024-04-0{day}" for n in range(60)]
        text = "\n".join(["payment_id,branch,amount,paid_on", *rows, ""])
        write(stage, f"data_raw/payments/payments_2024-04-0{day}.csv", text)


# --- how they are made ------------------------------------------------------------------------------------------------


def read_csv(stage: Stage, name: str) -> tuple[str, list[str]]:
    """Return header and rows that a contract accepts: as many fields, and a number first."""
    header, *lines = (stage.root / name).read_text(encoding="utf-8").splitlines()
    count = header.count(",")
    good = [line for line in lines if line.count(",") == count and "2024-13-45" not in line]
    return header, [line for line in good if line.split(",")[0].isdigit() or "sensors" in name]


def drop_column(header: str, rows: list[str], column: str) -> str:
    """Return a file without one of its columns."""
    at = header.split(",").index(column)
    kept = [",".join(cell for number, cell in enumerate(row.split(",")) if number != at) for row in [header, *rows]]
    return "\n".join([*kept, ""])


def move_to_next_day(rows: list[str]) -> list[str]:
    """Return rows of the last day as of the day after."""
    return [row.replace("20240403", "20240404").replace("2024-04-03", "2024-04-04") for row in rows]


def find_freshness(stage: Stage) -> tuple[str, str]:
    """Return the limit of all sources as it stands in the contract, and with minutes instead of hours."""
    lines = (stage.root / "dbt/models/bronze/retail.yml").read_text().splitlines()
    line = next(line for line in lines if "error_after:" in line)
    return line, "        error_after: {count: 1, period: minute}"


def land_next_day(stage: Stage, *options: str) -> None:
    """Let the files of the fourth day arrive."""
    more = " ".join(options)
    stage.run(f"lakeops generate --start-date 2024-04-04 --days 1 --seed 42 --scale 0.02 {more} --out data_raw")


def write(stage: Stage, name: str, content: str | bytes) -> Path:
    """Put a file in place, below the project or beside it."""
    path = stage.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def change(stage: Stage, name: str, old: str, new: str, count: int = -1) -> None:
    """Replace a piece of a file."""
    file = stage.root / name
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{name} has no {old!r}"
    file.write_text(text.replace(old, new, count), encoding="utf-8")


def commit(stage: Stage, message: str) -> None:
    """Commit what somebody changed."""
    stage.run(f"git -c user.name=a -c user.email=a@example.org commit -qam '{message}'")

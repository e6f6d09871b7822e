"""Incremental = full where tables are many times larger than the vectors of 2,048 rows that DuckDB works in.

The proof (`prove.py`) draws what may happen, to a few rows each time; this is one plain story with many.
"""

from __future__ import annotations

from pathlib import Path

from conftest import Clone

GENERATE = "lakeops generate --scale 1.0 --seed 5 --late 24h --out data_raw"
OTHER = "duckdb/full/warehouse.duckdb"  # of the same name: it stands in every compiled statement
COLUMNS = "columns(lambda name: name <> '_revision')"  # which build wrote a row
BUILD = "dbt -q run --select silver gold"
LIST_TABLES = (
    "select table_schema || '.' || table_name from information_schema.tables"
    " where table_type = 'BASE TABLE' and table_schema in ('silver', 'gold')"
)


def test_days_of_full_size_late_restated_and_corrected(clone: Clone):
    for day in ("2024-03-30", "2024-03-31"):
        clone.run(f"{GENERATE} --start-date {day}")
        load_and_build(clone)
    # The first of a month, with full copies of the dimensions; a day sent again; a file that lost half of its lines.
    clone.run(f"{GENERATE} --start-date 2024-04-01")
    clone.run(f"{GENERATE} --start-date 2024-03-30 --restate 2024-03-30")
    halve(next(clone.root.glob("data_raw/order_lines/order_dt=2024-03-31/*.csv")))
    load_and_build(clone)
    (clone.root / OTHER).parent.mkdir()
    clone.run(BUILD, folder="dbt", LAKEOPS_WAREHOUSE=str(clone.root / OTHER))

    tables = [row[0] for row in clone.query(f"{LIST_TABLES} order by all")]
    assert tables == [row[0] for row in clone.query(f"{LIST_TABLES} order by all", OTHER)]
    attach = f"attach '{OTHER}' as other (read_only);"
    rows = {}
    for table in tables:
        mine, full = (f"select {COLUMNS} from {place}.{table}" for place in ("warehouse", "other"))
        differing = f"{attach} (({mine}) except all ({full})) union all (({full}) except all ({mine})) limit 5"
        assert clone.query(differing) == [], table
        rows[table] = int(clone.query(f"select count(*) from {table}")[0][0])
    assert min(rows[f"gold.{name}"] for name in ("fct_sales", "fct_sensor_readings", "dim_product")) > 10_000
    assert rows["gold.dim_customer"] > 75_000


def load_and_build(clone: Clone) -> None:
    clone.run("lakeops load")
    clone.run(BUILD, folder="dbt")


def halve(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))

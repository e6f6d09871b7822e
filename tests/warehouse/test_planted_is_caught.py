"""Every defect that the generator lists is in quarantine or found by a test of severity warn, and nothing else is."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from conftest import Clone
from lakeops.generate import read_defects

REASONS = {
    "malformed_date": "bad_value",
    "null_key": "missing_key",
    "unquoted_comma": "wrong_field_count",
    "broken_json": "bad_json",
}
# Flags that say downstream what a test says upstream of it.
REPEATS = {
    "silver.customers.is_valid_email": "bronze.customers.email",
    "silver.order_lines.is_valid_price": "bronze.order_lines.unit_price",
    "silver.order_lines.is_valid_quantity": "bronze.order_lines.qty",
    "silver.returns.is_valid_quantity": "bronze.returns.qty",
    "silver.sensors.is_valid_humidity": "bronze.sensors.humidity_pct",
    "silver.sensors.is_valid_temperature": "bronze.sensors.temperature_c",
    "gold.fct_sales.has_known_product": "silver.order_lines.has_known_product",
}
# A sale has the customer and the store of its order: each line of an order concerned is counted.
BY_LINE = {
    "gold.fct_sales.has_known_customer": "silver.orders.has_known_customer",
    "gold.fct_sales.has_known_store": "silver.orders.has_known_store",
}


@pytest.fixture(scope="module")
def caught(clone: Clone) -> Clone:
    """A clone after three generated days; one came after the day that follows it, which was itself restated."""
    call = (
        "lakeops generate --start-date 2024-03-25 --days 3 --seed 7 --scale 0.01 --out data_raw --late 24h --outliers"
    )
    clone.run(f"{call} --outage 2024-03-26 --restate 2024-03-27")
    clone.run("lakeops load")
    clone.run("dbt run --select +silver_order_lines", folder="dbt")
    clone.run(call)
    clone.run("lakeops incremental")
    return clone


def test_quarantine_holds_the_planted_rows_each_for_its_reason(caught: Clone):
    planted = {
        (f"data_raw/{row['file']}", str(row["line"]), REASONS[row["kind"]])
        for row in read_defects(caught.root / "data_raw")
        if row["caught_by"] == "quarantine"
    }
    assert {reason for _, _, reason in planted} == set(REASONS.values())
    found = caught.query("select source_file, source_row, reason from quarantine where status = 'open'")
    assert {tuple(row) for row in found} == planted


def test_warnings_count_the_planted_rows_kind_by_kind(caught: Clone):
    planted: dict[str, set[str]] = defaultdict(set)
    kinds = set()
    for row in read_defects(caught.root / "data_raw"):
        if row["caught_by"] != "quarantine":
            table, column = re.fullmatch(r"\w+\((\w+)\.(\w+)\)", row["caught_by"]).groups()
            place = table.replace("silver_", "silver.") if table.startswith("silver_") else f"bronze.{table}"
            # By key: a dimension's defects stand in every file that has the row, and once in the table.
            planted[f"{place}.{column}"].add(str(sorted(row["key"].items())))
            kinds.add(row["kind"])
    assert len(kinds) == 10
    wanted = {place: len(keys) for place, keys in planted.items()}
    wanted |= {place: wanted[upstream] for place, upstream in REPEATS.items()}
    lines = {
        row[0]: int(row[1]) for row in caught.query("select order_id, count(*) from silver.order_lines group by 1")
    }
    for place, upstream in BY_LINE.items():
        wanted[place] = sum(lines[re.search(r"\d+", key)[0]] for key in planted[upstream])
    found = caught.query(
        "select table_name || '.' || column_name, failures, severity from dbt_test_results where status <> 'pass'"
    )
    assert {place: int(count) for place, count, _ in found} == wanted
    assert len(found) == len(wanted)
    assert {severity for _, _, severity in found} == {"warn"}

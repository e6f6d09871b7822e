"""The daily job tests what is new, keys against the whole history; a test that fails is not let go of."""

from __future__ import annotations

import pytest

from conftest import Clone

STORES = "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt"
ORDERS = (
    "order_id,order_ts,order_dt_local,customer_id,store_id,channel,payment_method,coupon_code,shipping_fee,currency"
)


def land_store(clone: Clone, day: str, key: int, name: str) -> None:
    path = clone.root / "data_raw" / "stores" / f"effective_dt={day}" / "part.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{STORES}\n{key},S{key},{name},Retail,WA,WA,1,2,2020-01-01,\n")


def land_orders(clone: Clone, day: str, *keys: int) -> None:
    path = clone.root / "data_raw" / "orders" / f"order_dt={day}" / "part.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{key},{day}T10:00:00,{day},1,1,Web,CARD,,1.00,AUD" for key in keys]
    path.write_text("\n".join([ORDERS, *rows]) + "\n")


def read_last(clone: Clone, test: str) -> list[str]:
    """Return status, failures and rows tested of the newest result of a test."""
    return clone.query(
        f"select status, failures, rows_tested from dbt_test_results where test_name = '{test}'"
        " order by checked_at desc limit 1"
    )[0]


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Clone:
    """A clone after a first day, with one more test of severity error than the project has."""
    described = clone.root / "dbt" / "models" / "silver" / "silver_stores.yml"
    text = described.read_text()
    column = "      - name: name\n"
    assert text.count(column) == 1
    test = f"{column}        data_tests: [{{accepted_values: {{arguments: {{values: [Shop]}}}}}}]\n"
    described.write_text(text.replace(column, test))
    land_store(clone, "2024-03-24", 1, "Shop")
    land_orders(clone, "2024-03-24", 1, 2, 3)
    clone.run("lakeops incremental")
    return clone


UNIQUE = "source_unique_bronze_orders_order_id"
VALUES = "accepted_values_silver_stores_name__Shop"


def test_the_first_run_reads_everything(shop: Clone):
    assert read_last(shop, UNIQUE) == ["pass", "0", "3"]
    assert read_last(shop, VALUES) == ["pass", "0", "1"]


def test_a_new_day_is_tested_alone_and_its_keys_against_the_history(shop: Clone):
    land_orders(shop, "2024-03-25", 3, 4)
    shop.run("lakeops incremental")
    # Order 3 is in the first day's file: no other row is read, and yet it is found twice.
    assert read_last(shop, UNIQUE) == ["warn", "1", "2"]
    assert read_last(shop, VALUES) == ["pass", "0", "0"]


def test_a_run_with_nothing_new_hides_no_finding_of_the_day(shop: Clone):
    # Another test makes all of them run again, though no row is new.
    (shop.root / "dbt" / "tests" / "nothing_to_complain_of.sql").write_text("select 1 as n where false\n")
    shop.run("lakeops incremental")
    assert read_last(shop, UNIQUE) == ["pass", "0", "0"]
    asked = f"select status, failures, rows from data_quality_metrics where check_name = '{UNIQUE}'"
    assert shop.query(asked) == [["warn", "1", "2"]]


def test_the_full_suite_reads_everything_again(shop: Clone):
    shop.run("lakeops test-data")
    assert read_last(shop, UNIQUE) == ["warn", "1", "5"]
    shop.run("dbt test --store-failures", folder="dbt")
    assert read_last(shop, UNIQUE) == ["warn", "1", "5"]


def test_a_failing_test_reads_the_same_rows_until_they_are_mended(shop: Clone):
    land_store(shop, "2024-03-25", 2, "Shed")
    shop.run("lakeops incremental", expect=13)
    assert read_last(shop, VALUES) == ["fail", "1", "1"]
    shop.run("lakeops incremental", expect=13)
    assert read_last(shop, VALUES) == ["fail", "1", "1"]
    land_store(shop, "2024-03-26", 2, "Shop")
    shop.run("lakeops incremental")
    assert read_last(shop, VALUES) == ["pass", "0", "1"]


def test_a_lost_warehouse_is_tested_whole(shop: Clone):
    (shop.root / "duckdb" / "warehouse.duckdb").unlink()
    shop.run("lakeops incremental")
    assert read_last(shop, UNIQUE) == ["warn", "1", "5"]

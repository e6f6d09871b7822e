"""Readers see only what passed: all of gold at once or nothing, at the versions of the last good run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Clone, Project
from lakeops.errors import DbtError
from lakeops.publish import switch_readers

STORES = "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt"
ORDERS = (
    "order_id,order_ts,order_dt_local,customer_id,store_id,channel,payment_method,coupon_code,shipping_fee,currency"
)
LINES = "order_id,line_number,product_id,qty,unit_price,line_discount_pct,tax_pct"
SERVING = "duckdb/serving.duckdb"


def land(clone: Clone, name: str, header: str, *rows: str) -> None:
    path = clone.root / "data_raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def land_day(clone: Clone, day: int, *quantities: int) -> None:
    date = f"2024-03-{day}"
    land(clone, f"orders/order_dt={date}/a.csv", ORDERS, f"{day},{date}T10:00:00,{date},1,{day},Web,CARD,,1.00,AUD")
    lines = [f"{day},{number},1,{quantity},10,0,0.1" for number, quantity in enumerate(quantities, 1)]
    land(clone, f"order_lines/order_dt={date}/a.csv", LINES, *lines)


def read_versions(clone: Clone) -> dict[str, int]:
    """Return the newest version of every table of gold; not of the quality metrics, which no gate holds back."""
    logs = (clone.root / "lake" / "gold").rglob("_delta_log")
    versions = {log.parent.name: len(list(log.glob("*.json"))) - 1 for log in logs}
    versions.pop("data_quality_metrics", None)
    return versions


def read_sales(clone: Clone) -> list[list[str]]:
    return clone.query("select order_id, line_number, quantity from gold.fct_sales order by all", warehouse=SERVING)


def find_differences(clone: Clone) -> list[list[str]]:
    """Return the tables whose published rows are not those of the warehouse."""
    tables = clone.query("select table_name from duckdb_tables() where schema_name = 'gold'")
    assert len(tables) >= 9
    compared = []
    for (table,) in tables:
        ours = f"select columns(lambda c: c <> '_revision') from gold.{table}"
        theirs = f"select columns(lambda c: c <> '_revision') from serving.gold.{table}"
        rows = f"(({ours}) except all ({theirs})) union all (({theirs}) except all ({ours}))"
        compared.append(f"select '{table}' as name, count(*) as differing from ({rows})")
    return clone.query(
        f"attach '{clone.root / SERVING}' as serving (read_only);"
        f" from ({' union all '.join(compared)}) where differing > 0"
    )


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Clone:
    land(clone, "stores.csv", STORES, *(f"{key},S{key},Shop,Retail,WA,WA,1,2,2020-01-01," for key in (24, 25, 26)))
    land_day(clone, 24, 1, 2)
    clone.run("lakeops incremental")
    return clone


def test_what_passed_is_published(shop: Clone):
    assert read_sales(shop) == [["24", "1", "1"], ["24", "2", "2"]]
    assert find_differences(shop) == []
    assert shop.query("select count(*) > 0 from data_quality_metrics", warehouse=SERVING) == [["true"]]


def test_with_nothing_new_no_table_is_written(shop: Clone):
    before = read_versions(shop)
    assert "nothing to build" in shop.run("lakeops incremental").stderr
    # Another test makes the models be built and tested again, and their rows are the same.
    (shop.root / "dbt" / "tests" / "nothing_to_complain_of.sql").write_text("select 1 as n where false\n")
    assert "published: nothing new" in shop.run("lakeops incremental").stderr
    assert read_versions(shop) == before


def test_only_what_changed_is_written(shop: Clone):
    before = read_versions(shop)
    land_day(shop, 25, 3)
    shop.run("lakeops incremental")
    after = read_versions(shop)
    assert {name for name in after if after[name] != before[name]} >= {"fct_sales"}
    assert after["dim_store"] == before["dim_store"]
    assert after["dim_date"] == before["dim_date"]
    assert find_differences(shop) == []


def test_rows_that_changed_and_went_leave_what_is_published(shop: Clone):
    land_day(shop, 24, 5)
    shop.run("lakeops incremental")
    assert read_sales(shop) == [["24", "1", "5"], ["25", "1", "3"]]
    assert find_differences(shop) == []


def test_a_failing_test_closes_the_gate_and_the_next_good_run_opens_it(shop: Clone):
    before, seen = read_versions(shop), read_sales(shop)
    pinned = (shop.root / SERVING).read_bytes()
    test = shop.root / "dbt" / "tests" / "few_units.sql"
    test.write_text("select * from {{ ref('fct_sales') }} where quantity > 9\n")
    land_day(shop, 26, 10)
    said = shop.run("lakeops incremental", expect=13).stderr
    assert "Nothing was published: readers keep the last good version" in said
    assert read_versions(shop) == before
    assert (shop.root / SERVING).read_bytes() == pinned
    assert read_sales(shop) == seen
    # The workshop has it, so that one can look.
    assert shop.query("select count(*) from gold.fct_sales where quantity > 9") == [["1"]]
    land_day(shop, 26, 9)
    shop.run("lakeops incremental")
    assert read_sales(shop) == [*seen, ["26", "1", "9"]]
    assert find_differences(shop) == []
    test.unlink()


DIE = """
import os, sys
from lakeops import publish
kept, after = publish.commit, int(sys.argv[1])
done = []
def commit(*arguments):
    if len(done) == after:
        os.kill(os.getpid(), 9)
    done.append(kept(*arguments))
    return done[-1]
publish.commit = commit
if after < 0:
    publish.switch_readers = lambda *_: os.kill(os.getpid(), 9)
from lakeops.cli import main
sys.argv = ["lakeops", "incremental"]
main()
"""


@pytest.mark.parametrize("after", [0, 1, -1], ids=["before the first table", "between tables", "before the switch"])
def test_a_publish_killed_shows_readers_the_last_version_and_is_made_up_for(shop: Clone, after: int):
    seen = read_sales(shop)
    land_day(shop, 25, 20 + after, 1)
    land(shop, "stores.csv", STORES, *(f"{key},S{key},Shop {after},Retail,WA,WA,1,2,2020-01-01," for key in (24, 25)))
    (shop.root / "die.py").write_text(DIE)
    # The shell reports a process killed by SIGKILL as 137.
    shop.run(f"python die.py {after}; exit $?", expect=137)
    assert read_sales(shop) == seen
    shop.run("lakeops incremental")
    assert ["25", "1", str(20 + after)] in read_sales(shop)
    assert find_differences(shop) == []


def test_a_lost_warehouse_is_compared_and_nothing_is_written_again(shop: Clone):
    before = read_versions(shop)
    (shop.root / "duckdb" / "warehouse.duckdb").unlink()
    assert "published: nothing new" in shop.run("lakeops incremental").stderr
    assert read_versions(shop) == before


def test_a_reader_that_keeps_its_file_open_is_in_nobodys_way(shop: Clone):
    ask = "select max(quantity) from gold.fct_sales where order_id = 24;\n"
    reader = subprocess.Popen(
        [Path(sys.executable).parent / "duckdb", "-csv", "-noheader", SERVING],
        cwd=shop.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        for quantity in (30, 31):
            reader.stdin.write(ask)
            reader.stdin.flush()
            assert reader.stdout.readline().strip() == "5"
            land_day(shop, 24, quantity)
            shop.run("lakeops incremental")
            assert read_sales(shop)[0] == ["24", "1", str(quantity)]
    finally:
        said, _ = reader.communicate(ask + ".quit\n")
    assert said.split() == ["5"]


def test_a_stale_source_is_said_last_after_all_is_published(shop: Clone):
    contract = shop.root / "dbt" / "models" / "bronze" / "retail.yml"
    text = contract.read_text()
    contract.write_text(text.replace("error_after: {count: 50, period: hour}", "error_after: {count: 0, period: hour}"))
    try:
        said = shop.run("lakeops incremental", expect=14).stderr
    finally:
        contract.write_text(text)
    assert "published:" in said
    assert "bronze.orders: last load" in said
    assert "exit-14-stale-data" in said


def test_a_full_refresh_takes_from_readers_what_is_gone(shop: Clone):
    """It begins the memory of vanished keys anew, so that publishing must compare every row."""
    shop.run("lakeops incremental")
    assert "26" in [row[0] for row in read_sales(shop)]
    shop.run('lakeops undo --file data_raw/order_lines/order_dt=2024-03-26/a.csv --reason "wrong"')
    shop.run("dbt run --full-refresh", folder="dbt")
    shop.run("lakeops incremental")
    assert [row for row in read_sales(shop) if row[0] == "26"] == []
    assert find_differences(shop) == []


def test_a_warehouse_whose_name_needs_quotes_is_published(shop: Clone):
    elsewhere = {"LAKEOPS_WAREHOUSE": str(shop.root / "duckdb" / "my-lake.duckdb")}
    shop.run("lakeops incremental", **elsewhere)
    assert shop.query("select count(*) > 0 from gold.v_daily_sales", warehouse=SERVING) == [["true"]]


def test_a_view_of_what_is_not_published_is_named_and_readers_keep_their_file(project: Project):
    project.load()
    serving = project.settings.serving
    switch_readers(project.settings, {}, {})
    before = serving.read_bytes()
    views = {"gold.v_orders": 'create view gold.v_orders as select * from "warehouse"."silver"."silver_orders"'}
    with pytest.raises(DbtError, match=r"(?s)what is not published.*gold\.v_orders.*materialized='table'"):
        switch_readers(project.settings, {}, views)
    assert serving.read_bytes() == before
    assert [file.name for file in serving.parent.iterdir() if file.name.startswith(".")] == []

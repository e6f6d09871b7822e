"""What `dbt test` leaves behind: every result once, failing rows that show nobody, and runs that died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Clone

CUSTOMERS = (
    "customer_id,natural_key,first_name,last_name,email,phone,address_line1,address_line2,city,state_region,postcode,"
    "country_code,latitude,longitude,birth_date,join_ts,is_vip,gdpr_consent"
)
# What must never be read outside bronze and silver.
PERSONAL = ["Josephine", "Karlsson", "0412 345", "Rose Lane", "Fremantle", "6160", "-32.05", "115.74", "1980-02-03"]
EMAILS = ("jo at home", "jo@ex.org")
COMMAND = "test --store-failures -s silver_customers source:bronze.customers"


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Clone:
    """A clone with customers, one of whom has no e-mail address that could be one."""
    path = clone.root / "data_raw" / "customers" / "effective_dt=2024-03-24" / "part.csv"
    path.parent.mkdir(parents=True)
    place = "Rose Lane 1,,Fremantle,WA,6160,AU,-32.05,115.74,1980-02-03,2020-01-01T00:00:00,false,true"
    people = [f"{key},K{key},Josephine,Karlsson,{email},0412 345,{place}" for key, email in enumerate(EMAILS, 1)]
    path.write_text("\n".join([CUSTOMERS, *people]) + "\n")
    clone.run("lakeops load")
    clone.run("dbt run -s silver_customers silver_events", folder="dbt")
    return clone


def test_twenty_typed_runs_are_all_there_and_nothing_is_there_twice(shop: Clone):
    shop.run(f"dbt {COMMAND}", folder="dbt")
    tests = int(shop.query("select count(*) from dbt_test_results")[0][0])
    unit_tests = shop.query("select count(*) from dbt_test_results where test_type = 'unit_test'")
    assert unit_tests == [["1"]]
    # As typed, but for Python's own start: that takes longer than the run.
    again = f"from dbt.cli.main import dbtRunner\nfor _ in range(18): dbtRunner().invoke({COMMAND.split()!r})"
    (shop.root / "dbt" / "again.py").write_text(again)
    shop.run("python again.py", folder="dbt")
    shop.run(f"dbt {COMMAND}", folder="dbt")
    counted = shop.query(
        "select count(*), count(distinct (run_id, unique_id)), count(distinct run_id) from dbt_test_results"
    )
    assert counted == [[str(20 * tests), str(20 * tests), "20"]]
    third = shop.query("select distinct run_id, checked_at from dbt_test_results order by checked_at")[2][0]
    (row,) = shop.query(
        f"select row_json from dbt_test_failures where run_id = '{third}' and table_name = 'bronze.customers'"
    )
    assert json.loads(row[0])["customer_id"] == 1


def test_failing_rows_show_nobody(shop: Clone):
    kept = shop.query("select row_json from dbt_test_failures")
    stored = shop.query("from test_failures.source_matches_regex_bronze_customers_email___s_s_s_")
    assert kept
    assert stored
    shown = str(kept) + str(stored)
    assert [word for word in [*PERSONAL, "jo at home"] if word in shown] == []
    lake = shop.root / "lake" / "ops" / "delta" / "dbt_test_failures"
    assert all(b"Josephine" not in part.read_bytes() for part in lake.glob("*.parquet"))


def test_a_column_of_a_test_s_own_may_be_anything_and_is_masked(shop: Clone):
    test = shop.root / "dbt" / "tests" / "by_another_name.sql"
    test.write_text("select customer_id, first_name as name_of_person from {{ ref('silver_customers') }}")
    shop.run("dbt test --store-failures -s by_another_name", expect=1, folder="dbt")
    test.unlink()
    rows = shop.query("select row_json from dbt_test_failures where test_name = 'by_another_name'")
    assert {json.loads(row)["customer_id"] for (row,) in rows} == {1, 2}
    assert len(rows) == 2
    assert "Josephine" not in str(rows)


def test_a_lost_warehouse_loses_no_result(shop: Clone):
    ask = "select count(*), count(distinct run_id) from dbt_test_results"
    failures = "select count(*) from dbt_test_failures"
    before = shop.query(ask), shop.query(failures)
    (shop.root / "duckdb" / "warehouse.duckdb").unlink()
    shop.run("lakeops load")
    assert (shop.query(ask), shop.query(failures)) == before
    shop.run("dbt run -s silver_customers silver_events", folder="dbt")


def start_and_stop(shop: Clone, when: str, how: signal.Signals) -> None:
    """Type `dbt test`, and stop it when its log says `when`."""
    log = shop.root / "dbt" / "logs" / "dbt.log"
    log.unlink()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
    dbt = subprocess.Popen(
        [Path(sys.executable).parent / "dbt", "test", "--store-failures", "-s", "silver_customers", "slow"],
        cwd=shop.root / "dbt", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell in the background ignores it
    )  # fmt: skip
    give_up = time.monotonic() + 120
    while not (log.exists() and when in log.read_text()):
        assert dbt.poll() is None, "dbt ended before it could be stopped"
        assert time.monotonic() < give_up
        time.sleep(0.05)
    dbt.send_signal(how)
    try:
        dbt.wait(300)
    finally:
        dbt.kill()


# Seconds, not hours: on a busy machine DuckDB hands Python's lock to nobody else before it is done.
SLOW = "select 1 as n from range(500000000) as numbers (number) where hash(number) = 1"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_that_died_is_recorded_when_the_next_one_starts(shop: Clone, how: signal.Signals):
    test = shop.root / "dbt" / "tests" / "slow.sql"
    test.write_text(SLOW)
    before = {row[0] for row in shop.query("select distinct run_id from dbt_test_results")}
    start_and_stop(shop, "hash(number)", how)  # in dbt.log as soon as DuckDB is asked
    test.write_text("select 1 as n where false")
    if how == signal.SIGKILL:  # as if it had been writing when it was killed
        results = shop.root / "dbt" / "target" / "run_results.json"
        results.write_text(results.read_text()[:1000])
    shop.run("dbt test -s silver_customers", folder="dbt")
    test.unlink()
    runs = shop.query(
        "select run_id, count(*), count(distinct unique_id) from dbt_test_results group by all order by min(checked_at)"
    )
    (dead, count, distinct), _ = [row for row in runs if row[0] not in before]
    assert count == distinct
    statuses = dict(shop.query(f"select test_name, status from dbt_test_results where run_id = '{dead}'"))
    if how == signal.SIGKILL:
        assert set(statuses.values()) == {"error"}
    else:  # dbt could still write down what it had; whether the slow one too depends on how busy the machine is
        assert statuses["is_true_silver_customers_is_valid_email"] == "warn"
    again = shop.query("select count(*) from dbt_test_results")
    shop.run("dbt run -s silver_customers", folder="dbt")
    assert shop.query("select count(*) from dbt_test_results") == again


def test_a_run_whose_record_could_not_be_written_is_recorded_by_the_next(shop: Clone):
    before = int(shop.query("select count(*) from dbt_test_results")[0][0])
    hook = shop.root / "dbt" / "macros" / "run_records.sql"
    text = hook.read_text()
    hook.write_text(text.replace("{{ record_tests(tests, run) }}", "select error('the disk is full');"))
    try:
        shop.run(f"dbt {COMMAND}", expect=1, folder="dbt")
    finally:
        hook.write_text(text)
    shop.run("dbt run -s silver_customers", folder="dbt")
    assert int(shop.query("select count(*) from dbt_test_results")[0][0]) > before
    newest = shop.query(
        "select status, failures, rows_tested from dbt_test_results"
        " where test_name = 'source_matches_regex_bronze_customers_email___s_s_s_' order by checked_at desc limit 1"
    )
    assert newest == [["warn", "1", "NULL"]]


def test_what_was_not_tested_reads_neither_as_failed_nor_as_good(shop: Clone):
    folder = shop.root / "dbt" / "models" / "monitoring"
    (folder / "broken.sql").write_text("{{ config(materialized='table') }} select cast('x' as integer) as number")
    (folder / "broken.yml").write_text("models: [{name: broken, columns: [{name: number, data_tests: [not_null]}]}]\n")
    shop.run("dbt build -s broken data_quality_metrics", expect=1, folder="dbt")
    for name in ("broken.sql", "broken.yml"):
        (folder / name).unlink()
    assert shop.query("select status, seconds >= 0 from dbt_model_results where model_name = 'broken'") == [
        ["error", "true"]
    ]
    asked = "select status, failures, pass_rate from {} where {} = 'not_null_broken_number'"
    assert shop.query(asked.format("dbt_test_results", "test_name")) == [["skipped", "NULL", "0.0"]]
    assert shop.query(asked.format("data_quality_metrics", "check_name")) == [["skipped", "NULL", "0.0"]]


def test_a_relationship_of_a_source_is_recorded_with_the_table_that_holds_the_reference(shop: Clone):
    contract = shop.root / "dbt" / "models" / "bronze" / "retail.yml"
    text = contract.read_text()
    to = ("\"source('bronze', 'orders')\"", "ref('silver_events')")
    tests = [
        f"relationships: {{arguments: {{to: {one}, field: customer_id}}, config: {{severity: warn}}}}" for one in to
    ]
    assert text.index("- not_null\n") < text.index("- name: natural_key"), "the first is that of customers.customer_id"
    more = "".join(f"              - {test}\n" for test in tests)
    contract.write_text(text.replace("- not_null\n", f"- not_null\n{more}", 1))
    shop.run("dbt test -s source:bronze.customers,test_name:relationships", folder="dbt", LAKEOPS_TEST_SCOPE="new")
    contract.write_text(text)
    found = shop.query(
        "select table_name, status, failures, rows_tested from dbt_test_results"
        " where test_name like 'source_relationships_bronze_customers%'"
    )
    assert found == [["bronze.customers", "warn", "2", "2"]] * 2

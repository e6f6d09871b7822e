"""The mart after real runs: what moved, since when; published behind a closed gate; every question has its answer."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from conftest import ROOT, Clone
from lakeops.contract import load_contracts
from lakeops.ledger import NAME, Entry, append_entries
from lakeops.paths import Lake

ORDERS = (
    "order_id,order_ts,order_dt_local,customer_id,store_id,channel,payment_method,coupon_code,shipping_fee,currency"
)
SERVING = "duckdb/serving.duckdb"
QUESTIONS = sorted((ROOT / "dbt" / "analyses" / "monitoring").glob("*.sql"))
# A source with a schema of its own.
FINANCE = """\
sources:
  - name: finance
    tables:
      - name: payments
        config:
          freshness: {warn_after: {count: 1, period: day}, error_after: {count: 2, period: day}}
          meta: {load: {files: ["payments/*.csv"], format: csv, key: [payment_id]}}
        columns: [{name: payment_id, data_type: bigint}, {name: amount, data_type: bigint}]
"""
FILES = 4_000
GRAIN = "table_name, check_type, check_name, column_name, check_date, business_date"


def land_orders(clone: Clone, name: str, *rows: tuple[int, int, str]) -> None:
    """Land orders given as key, day of March and coupon."""
    path = clone.root / "data_raw" / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key},2024-03-{day}T10:00:00,2024-03-{day},1,1,Web,CARD,{coupon},1.00,AUD" for key, day, coupon in rows]
    path.write_text("\n".join([ORDERS, *lines]) + "\n")


def read_metric(clone: Clone, kind: str, what: str = "true", columns: str = "value, pass_rate, failures, rows, status"):
    return clone.query(
        f"select {columns} from data_quality_metrics where check_type = '{kind}' and {what}"
        " order by table_name, check_name, column_name, business_date"
    )


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Clone:
    """A clone in which orders of two days and payments came, and then a late order without a coupon."""
    (clone.root / "dbt" / "models" / "bronze" / "finance.yml").write_text(FINANCE)
    payments = clone.root / "data_raw" / "payments" / "a.csv"
    payments.parent.mkdir(parents=True)
    payments.write_text("payment_id,amount\n1,5\n2,none\n")
    land_orders(clone, "order_dt=2024-03-25/a.csv", (1, 25, "X"), (2, 25, "X"), (2, 25, "X"))
    land_orders(clone, "order_dt=2024-03-26/a.csv", (3, 26, "X"))
    clone.run("lakeops load")
    land_orders(clone, "order_dt=2024-03-25/late.csv", (4, 25, ""))
    test = clone.root / "dbt" / "tests" / "nobody_orders_late.sql"
    test.write_text("select * from {{ ref('silver_orders') }} where order_id = 4")
    said = clone.run("lakeops incremental", expect=13).stderr
    assert "Nothing was published" in said
    return clone


def test_what_days_look_like_is_in_the_mart(shop: Clone):
    orders = "table_name = 'bronze.orders'"
    assert read_metric(shop, "volume", orders, "business_date, value, status") == [
        ["2024-03-25", "4.0", "pass"],
        ["2024-03-26", "1.0", "pass"],
    ]
    # Of five orders, one has no coupon, which nobody promised; none lacks its key, which the contract asks for.
    assert read_metric(shop, "null_share", f"{orders} and column_name = 'coupon_code'") == [
        ["20.0", "100.0", "0", "5", "pass"]
    ]
    assert read_metric(shop, "duplicates", f"{orders} and check_name = 'keys_once_a_day'") == [
        ["20.0", "80.0", "1", "5", "warn"]
    ]


def test_a_table_of_another_schema_goes_by_its_own_name(shop: Clone):
    counted = shop.query(
        "select check_type, status from data_quality_metrics where table_name = 'finance.payments'"
        " and check_type in ('freshness', 'quarantine', 'refusal') order by 1"
    )
    assert counted == [["freshness", "pass"], ["quarantine", "warn"], ["refusal", "pass"]]
    named = shop.query("select distinct table_name from data_quality_metrics where table_name like '%payments'")
    assert named == [["finance.payments"]]


def test_what_came_late_is_in_the_mart(shop: Clone):
    # The late order is the fifth row of the day's loads; its day was one day behind.
    assert read_metric(shop, "late_arrival", "table_name = 'bronze.orders'") == [["1.0", "80.0", "1", "5", "warn"]]


def test_rows_that_point_at_nothing_are_counted_by_what_they_are(shop: Clone):
    assert read_metric(shop, "foreign_key", "table_name = 'silver.orders' and column_name = 'has_known_store'") == [
        ["100.0", "0.0", "4", "4", "warn"]
    ]


def test_the_first_columns_of_a_table_are_no_change_and_later_ones_are(shop: Clone):
    assert read_metric(shop, "schema") == []
    contract = shop.root / "dbt" / "models" / "bronze" / "retail.yml"
    text = contract.read_text()
    added = "          - name: order_ts\n            data_type: timestamp\n"
    assert added in text
    new = "          - {name: gift, data_type: boolean, description: A gift., config: {meta: {optional: true}}}\n"
    contract.write_text(text.replace(added, new + added))
    try:
        shop.run("lakeops load")
    finally:
        contract.write_text(text)
    assert read_metric(shop, "schema", columns="table_name, check_name, column_name, status, pass_rate") == [
        ["bronze.orders", "column_added", "gift", "warn", "0.0"]
    ]


@pytest.mark.parametrize("warehouse", ["duckdb/warehouse.duckdb"])
def test_every_pass_rate_is_a_percentage_and_every_check_stands_once(shop: Clone, warehouse: str):
    wrong = "pass_rate is null or pass_rate not between 0 and 100 or status is null"
    assert shop.query(f"select * from data_quality_metrics where {wrong}", warehouse) == []
    twice = f"select {GRAIN} from data_quality_metrics group by all having count(*) > 1"
    assert shop.query(twice, warehouse) == []


def test_a_closed_gate_does_not_hold_back_the_metrics(shop: Clone):
    published = shop.query(
        f"select status, pass_rate, check_date from delta_scan('{shop.root}/lake/gold/delta/data_quality_metrics')"
        " where check_name = 'nobody_orders_late'"
    )
    assert [row[:2] for row in published] == [["fail", "75.0"]]
    assert not (shop.root / SERVING).exists()


def test_quality_says_what_is_wrong_since_when_and_how_it_moved(shop: Clone):
    found = {row["check_name"]: row for row in json.loads(shop.run("lakeops quality --json").stdout)}
    today = shop.query("select cast(now() at time zone 'UTC' as date)")[0][0]
    failed = found["nobody_orders_late"]
    assert (failed["status"], failed["failures"], failed["since"]) == ("fail", 1, today)
    shown = shop.run("lakeops quality").stdout.splitlines()
    assert shown[2].startswith("fail")
    assert "nobody_orders_late" in shown[2]


def test_a_failed_test_is_answered_with_its_row(shop: Clone):
    (failed,) = json.loads(shop.run("lakeops quality sql failed_today --json").stdout)
    assert json.loads(failed["first_failing_row"])["order_id"] == 4


def test_after_the_repair_it_is_no_longer_wrong(shop: Clone):
    (shop.root / "dbt" / "tests" / "nobody_orders_late.sql").write_text(
        "select * from {{ ref('silver_orders') }} where order_id = 5"
    )
    shop.run("lakeops incremental")
    names = [row["check_name"] for row in json.loads(shop.run("lakeops quality --json").stdout)]
    assert "nobody_orders_late" not in names
    assert "keys_once_a_day" in names
    assert shop.query("select status from dbt_test_results where status = 'fail'") == [["fail"]]


def test_a_refused_file_that_was_sent_again_is_no_longer_wrong(shop: Clone):
    payments = shop.root / "data_raw" / "payments" / "b.csv"
    payments.write_text("payment_number,amount\n3,5\n")
    shop.run("lakeops load", expect=11)
    assert read_metric(shop, "refusal", "table_name = 'finance.payments'") == [["50.0", "50.0", "1", "2", "fail"]]
    # Its record was not judged, and so is neither accepted nor quarantined.
    assert read_metric(shop, "quarantine", "table_name = 'finance.payments'") == [["50.0", "50.0", "1", "2", "warn"]]
    payments.write_text("payment_id,amount\n3,5\n")
    shop.run("lakeops load")
    assert read_metric(shop, "refusal", "table_name = 'finance.payments'") == [["0.0", "100.0", "0", "2", "pass"]]


def test_a_unit_test_that_was_mended_is_no_longer_wrong(shop: Clone):
    """It reads no row, so that its rows are null, also when it fails."""
    file = shop.root / "dbt" / "models" / "gold" / "views" / "v_returns.yml"
    text = file.read_text()
    file.write_text(text.replace("net_aud: 8.33", "net_aud: 8.34"))
    shop.run("dbt test --select v_returns,test_type:unit", expect=1, folder="dbt")
    asked = "check_name = 'v_returns_values_a_return_by_what_was_paid'"
    assert read_metric(shop, "dbt_unit_test", asked, "status") == [["fail"]]
    file.write_text(text)
    shop.run("dbt test --select v_returns,test_type:unit", folder="dbt")
    assert read_metric(shop, "dbt_unit_test", asked, "status") == [["pass"]]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda file: file.stem)
def test_every_question_has_its_answer_in_the_plain_command_line(shop: Clone, question: Path):
    for warehouse in ("duckdb/warehouse.duckdb", SERVING):
        shop.query(question.read_text(), warehouse)
    assert question.read_text().startswith("-- ")


def test_answers_are_true(shop: Clone):
    def answer(name: str) -> list[dict]:
        return json.loads(shop.run(f"lakeops quality sql {name} --json").stdout)

    slowest = answer("slowest_models")
    assert {row["table_name"] for row in slowest} >= {"gold.fct_sales", "silver.orders"}
    assert slowest[0]["last_seconds"] == max(row["last_seconds"] for row in slowest)
    assert [row["table_name"] for row in answer("stale_tables")].count("bronze.events") == 1  # never loaded
    assert {row["percent_unknown"] for row in answer("foreign_key_trend") if row["table_name"] == "silver.orders"}


def test_questions_are_listed_and_a_wrong_name_is_one_clear_error(shop: Clone):
    listed = shop.run("lakeops quality sql").stdout
    assert all(question.stem in listed for question in QUESTIONS)
    said = shop.run("lakeops quality sql worst_fiels", expect=2).stderr
    assert "worst_files" in said


def test_a_question_before_anything_was_built_is_one_clear_error(shop: Clone):
    environment = {"LAKEOPS_WAREHOUSE": str(shop.root / "other.duckdb")}
    assert "make incremental" in shop.run("lakeops quality", expect=2, **environment).stderr


def test_a_mistyped_year_is_no_newest_day(shop: Clone):
    # What fails on purpose, so that it does not matter which tests ran before.
    (shop.root / "dbt" / "tests" / "nobody_orders_late.sql").unlink()
    late = read_metric(shop, "late_arrival", "table_name = 'bronze.orders'", "failures")
    land_orders(shop, "order_dt=2199-03-26/a.csv", (6, 26, "X"))
    mistyped = shop.root / "data_raw" / "orders" / "order_dt=2199-03-26" / "a.csv"
    mistyped.write_text(mistyped.read_text().replace("2024-", "2199-"))
    shop.run("lakeops load")
    land_orders(shop, "order_dt=2024-03-27/a.csv", (7, 27, ""))
    shop.run("lakeops incremental")
    assert read_metric(shop, "late_arrival", "table_name = 'bronze.orders'", "failures") == late
    rose = json.loads(shop.run("lakeops quality sql nulls_that_rose --json").stdout)
    found = [(row["business_date"], row["rise"]) for row in rose if row["column_name"] == "coupon_code"]
    assert found == [("2024-03-27", 87.5)]


def test_what_came_late_is_told_of_batches_of_thousands_of_files(shop: Clone):
    # More than a vector holds: DuckDB 1.5.5 gives rows that share a place in the order different RANGE frames there.
    lake, contracts = Lake(shop.root / "lake"), load_contracts(shop.root / "dbt" / "models")
    now = dt.datetime.now(dt.UTC)
    for batch in (1001, 1002, 1003):
        entries = [
            Entry(
                f"data_raw/sensors/{batch}/{number}.csv", "sensors", "loaded", f"{batch} {number}", 1, 1, 1, batch,
                "run", 1, 1, 0, day, day, batch, None, now,
            )
            for number in range(FILES)
            if (day := dt.date(2024, 1, 1) + dt.timedelta(number // 100))
        ]  # fmt: skip
        append_entries(lake, contracts.get_record(NAME), entries, batch)
    late = 2 * (FILES - 100)  # all but those of the last day
    assert read_metric(shop, "late_arrival", "table_name = 'bronze.sensors'", "failures, rows") == [
        [str(late), str(3 * FILES)]
    ]
    audited = "select count(*) from gold.fct_ingestion_audit where table_name = 'sensors' and is_late"
    assert shop.query(audited) == [[str(late)]]

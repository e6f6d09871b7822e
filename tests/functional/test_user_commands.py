"""The user's own commands, word for word, after `make demo`. In order: each goes on where the one before stopped."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT, Clone
from lakeops.contract import load_contracts
from lakeops.settings import load_settings
from lakeops.standing import describe_inputs, is_standing

MAKE = f"make -o {sys.prefix}/.installed VENV={sys.prefix}"


@pytest.fixture(scope="module")
def demo(clone: Clone) -> Clone:
    """A clone after `make demo`."""
    clone.run(f"{MAKE} demo")
    return clone


def read_seed_queries() -> list[str]:
    file = ROOT.parent / "shared" / "seed_queries.sql"
    if not file.exists():
        pytest.skip("shared/seed_queries.sql does not lie beside this repository")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def read_versions(clone: Clone) -> dict[str, int]:
    logs = (clone.root / "lake" / "bronze").rglob("_delta_log")
    return {log.parent.name: len(list(log.glob("*.json"))) for log in logs}


def test_demo_lands_a_week_and_every_table_has_rows(demo: Clone):
    days = demo.query(
        "select min(date), max(date), count(distinct date) from gold.fct_sales where date >= '2024-03-25'"
    )
    assert days == [["2024-03-25", "2024-03-31", "7"]]
    assert int(demo.query("select count(distinct batch_id) from manifest_processed_files")[0][0]) >= 3
    for source in demo.query("select view_name from duckdb_views() where schema_name = 'bronze'"):
        assert int(demo.query(f"select count(*) from bronze.{source[0]}")[0][0]) > 0, source


def test_make_takes_the_landing_zone_from_the_environment(demo: Clone):
    said = demo.run(f"{MAKE} -n load incremental", LAKEOPS_RAW="elsewhere").stdout
    assert said.count("--raw elsewhere") == 2
    assert demo.run(f"{MAKE} -n load RAW=here", LAKEOPS_RAW="elsewhere").stdout.count("--raw here") == 1


def test_demo_again_changes_nothing(demo: Clone):
    before = read_versions(demo)
    rows = demo.query("select count(*), sum(net_aud) from gold.fct_sales")
    said = demo.run(f"{MAKE} demo").stderr
    assert said.count("nothing new") == 3
    assert "nothing to build" in said
    assert read_versions(demo) == before
    assert demo.query("select count(*), sum(net_aud) from gold.fct_sales") == rows


def test_dbt_typed_after_ours_parses_nothing_anew(demo: Clone):
    log = demo.root / "dbt" / "logs" / "dbt.log"
    log.unlink()
    demo.run("dbt ls -s silver_customers", folder="dbt")
    assert "no changes found, skipping parsing" in log.read_text()


def test_a_run_with_nothing_new_builds_nothing_until_anything_it_depends_on_differs(demo: Clone):
    settings = replace(
        load_settings(demo.root / "data_raw", demo.root / "lake", demo.root / "duckdb" / "warehouse.duckdb"),
        root=demo.root,
    )

    def stands() -> bool:
        return is_standing(settings, describe_inputs(settings, load_contracts(settings.models)))

    said = demo.run(f"{MAKE} incremental").stderr
    assert "nothing to build" in said
    assert "dbt run" not in said
    assert stands()
    model = settings.models / "gold" / "fct_sales.sql"
    text = model.read_bytes()
    model.write_bytes(text + b"\n")
    assert not stands()
    model.write_bytes(text)
    commit = settings.lake.ops("touched_keys") / "_delta_log" / f"{99:020d}.json"
    commit.touch()
    assert not stands()
    commit.unlink()
    assert stands()
    settings.serving.unlink()
    assert not stands()
    # Whoever lost the readers' file gets it back by the same command.
    assert "published" in demo.run(f"{MAKE} incremental").stderr
    assert settings.serving.is_file()
    assert stands()


@pytest.mark.parametrize("statement", read_seed_queries())
def test_seed_queries_answer_in_the_plain_command_line(demo: Clone, statement: str):
    rows = demo.query(statement)
    # No test fails in the demo, so the question for failures has no row; every other one has.
    assert bool(rows) is ("status = 'fail'" not in statement)


def test_returns_can_be_travelled_through(demo: Clone):
    counts = [
        int(demo.query(f"select count(*) from delta_scan('lake/bronze/delta/returns', version={version})")[0][0])
        for version in (0, 1, 2)
    ]
    assert counts[0] == 0 < counts[1] < counts[2]


def test_table_partitions_equals_what_explain_analyze_says(demo: Clone):
    recorded = demo.query(
        "select query, count(*) filter (scanned), count(*) from table_partitions group by query order by query"
    )
    assert len(recorded) >= 6
    for query, scanned, total in recorded:
        plan = "\n".join(",".join(line) for line in demo.query(f"explain analyze {query}"))
        assert re.search(rf"Scanning Files:\s*{scanned}/{total}\b", plan), (query, scanned, total)
    assert any(int(scanned) < int(total) for _, scanned, total in recorded)


def test_status_shows_what_the_lake_holds(demo: Clone):
    shown = demo.run(f"{MAKE} status").stdout
    orders = next(line for line in shown.splitlines() if line.startswith("bronze.orders "))
    assert "2024-03-31" in orders
    assert "fresh" in orders
    rows = demo.query("select count(*) from bronze.orders")[0][0]
    assert f" {rows} " in orders


def test_the_increment_adds_two_days_by_the_commands_the_user_types(demo: Clone):
    before = demo.query("select max(order_dt) from bronze.orders")
    ids = "select count(order_id), count(distinct order_id) from silver.orders"
    demo.run("python scripts/generate_data.py --seed 43 --start-date 2024-04-01 --days 2 --out data_raw_increment")
    demo.run("python scripts/load_to_bronze.py --raw data_raw_increment --lake lake --manifest duckdb/warehouse.duckdb")
    demo.run("dbt run --models tag:incremental", folder="dbt")
    demo.run("dbt test", folder="dbt")
    demo.run("dbt test --store-failures", folder="dbt")
    assert before == [["2024-03-31"]]
    newest = demo.query("SELECT date, count(*) FROM gold.fct_sales GROUP BY date ORDER BY date DESC LIMIT 5")
    assert [row[0] for row in newest[:3]] == ["2024-04-02", "2024-04-01", "2024-03-31"]
    total, distinct = demo.query(ids)[0]
    assert total == distinct
    # The main job leaves the unit tests of the models out; whoever types `dbt test` runs them too.
    runs = demo.query(
        "select run_id, count(*) from dbt_test_results"
        " where command = 'test' and test_type <> 'unit_test' group by run_id"
    )
    assert len({count for _, count in runs}) == 1
    assert len(runs) >= 3


def test_ten_sales_are_traced_to_the_lines_that_hold_their_values(demo: Clone):
    sales = demo.query(
        "select order_id, line_number, product_id, quantity, unit_price, customer_id, has_known_customer"
        " from gold.fct_sales using sample 10"
    )
    for order_id, line_number, product_id, quantity, unit_price, customer_id, known in sales:
        command = f"lakeops trace gold.fct_sales --key order_id={order_id} --key line_number={line_number} --json"
        records = {record["relation"]: record for record in iter_records(json.loads(demo.run(command).stdout))}
        record = records["bronze.order_lines"]
        line = (demo.root / record["file"]).read_text().splitlines()[record["line"] - 1]
        assert line == record["text"]
        assert line.split(",")[:5] == [order_id, line_number, product_id, quantity, unit_price]
        order = records["bronze.orders"]
        assert (demo.root / order["file"]).read_text().splitlines()[order["line"] - 1].split(",")[3] == customer_id
        if known == "true":
            assert records["bronze.customers"]["text"].startswith(f"{customer_id},")


def iter_records(step: dict) -> Iterator[dict]:
    """Yield the records of raw files in what `lakeops trace` says; a newer one of the same table comes last."""
    for below in reversed(step["inputs"]):
        yield from iter_records(below)
    if step["file"]:
        yield step


def test_a_column_is_traced_to_the_columns_of_bronze(demo: Clone):
    said = demo.run("lakeops lineage gold.fct_sales.gross").stdout
    assert {line.strip() for line in said.splitlines() if "bronze." in line} == {
        "bronze.order_lines.qty",
        "bronze.order_lines.unit_price",
    }
    assert "net_aud" in demo.run("lakeops lineage gold.fct_sales.turnover", expect=2).stderr


def test_the_documentation_names_every_column_and_needs_no_network(demo: Clone):
    demo.run(f"{MAKE} docs")
    page = (demo.root / "site" / "index.html").read_text()
    assert not re.search(r"<script|src=|@import|url\(", page)
    for link in set(re.findall(r'href="([^"#]+)"', page)) - {"data:,"}:
        assert (demo.root / "site" / link).is_file(), link
    columns = demo.query(
        "select schema_name || '.' || table_name, column_name from duckdb_columns()"
        " where schema_name in ('silver', 'gold') and not internal"
    )
    assert len(columns) > 300
    for table in {table for table, _ in columns}:
        section = page.partition(f'id="{table}"')[2].partition("</section>")[0]
        for name in (name for other, name in columns if other == table):
            assert f"<code>{name}</code>" in section, (table, name)
    net = page.partition('id="gold.fct_sales"')[2].partition("<code>gross</code>")[2].partition("</tr>")[0]
    assert "from bronze.order_lines.qty, bronze.order_lines.unit_price" in net


def test_the_warehouse_can_be_thrown_away_and_one_command_builds_it_again(demo: Clone):
    def look() -> list[list[list[str]]]:
        return [
            demo.query(query)
            for query in (
                "select * exclude (_revision) from gold.fct_sales order by all",
                "select * exclude (_revision) from silver.customers order by all",
                "select * from quarantine order by all",
                "select * from manifest_processed_files order by all",
                "select * from bronze.returns order by all",
                f"select * from dbt_test_results where checked_at < timestamptz '{now}' order by all",
                "select * from schema_history order by all",
            )
        ]

    now = demo.query("select now()")[0][0]
    before = look()
    assert all(before)
    (demo.root / "duckdb" / "warehouse.duckdb").unlink()
    said = demo.run("lakeops trace gold.fct_sales --key order_id=1", expect=2).stderr
    assert "lakeops rebuild warehouse" in said
    demo.run("lakeops incremental")
    assert look() == before


def test_dbt_alone_builds_a_lost_warehouse_too(demo: Clone):
    query = "select count(*), sum(net_aud), count(distinct date) from gold.fct_sales"
    before = demo.query(query)
    (demo.root / "duckdb" / "warehouse.duckdb").unlink()
    demo.run("dbt run --models tag:incremental", folder="dbt")
    assert demo.query(query) == before


def test_a_failing_test_of_severity_error_stops_the_job_and_says_where_to_look(demo: Clone):
    test = demo.root / "dbt" / "tests" / "no_sale_may_exist.sql"
    test.write_text("select line_number, date from {{ ref('fct_sales') }} limit 2\n")
    said = demo.run("lakeops incremental", expect=13).stderr
    assert "no_sale_may_exist" in said
    assert "fct_sales" in said
    shown = re.search(r'duckdb -readonly (\S+) "(from \S+)"', said)
    assert shown, said
    assert len(demo.query(shown[2])) == 2
    # It holds nothing back, and must not say so.
    said = demo.run("lakeops test-data", expect=13).stderr
    assert "Readers may see what it found" in said
    assert "Nothing was published" not in said
    test.unlink()
    demo.run("lakeops incremental")


def test_a_missing_raw_folder_is_one_clear_error(demo: Clone):
    said = demo.run("lakeops load --raw nowhere", expect=2).stderr
    assert "There is no such raw folder" in said
    assert "nowhere" in said


def test_a_typo_in_a_contract_is_one_clear_error(demo: Clone):
    contract = demo.root / "dbt" / "models" / "bronze" / "retail.yml"
    text = contract.read_text()
    contract.write_text(text.replace("business_date: order_dt", "bussiness_date: order_dt", 1))
    said = demo.run("lakeops load", expect=10).stderr
    contract.write_text(text)
    line = text[: text.index("business_date: order_dt")].count("\n") + 1
    assert f"retail.yml:{line}" in said
    assert "did you mean 'business_date'?" in said
    assert "exit-10-contract" in said


def test_a_file_that_no_contract_claims_is_named_after_the_rest_is_loaded(demo: Clone):
    stray = demo.root / "data_raw" / "novelty" / "part.csv"
    stray.parent.mkdir()
    stray.write_text("a\n1\n")
    said = demo.run("lakeops load", expect=11).stderr
    stray.unlink()
    assert "data_raw/novelty/part.csv: no contract claims it" in said


def test_a_locked_warehouse_names_who_holds_it(demo: Clone):
    holder = subprocess.Popen(
        [Path(sys.executable).parent / "duckdb", "duckdb/warehouse.duckdb"],
        cwd=demo.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        holder.stdin.write("select 'ready';\n")
        holder.stdin.flush()
        while "ready" not in holder.stdout.readline():
            time.sleep(0.01)
        said = demo.run("lakeops load", expect=15).stderr
    finally:
        holder.communicate(".quit\n")
    assert re.search(r"\(process \d+\) holds it", said)
    assert "exit-15-locked" in said


def test_a_start_date_that_is_none_is_a_usage_error(demo: Clone):
    assert "YYYY-MM-DD" in demo.run("lakeops generate --start-date soon --out x", expect=2).stderr

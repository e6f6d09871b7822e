"""The ways to run dbt that docs/models.md names, typed as a user would; each keeps the promise or says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Clone
from warehouse.killed_builds import BEFORE
from warehouse.workshop import WRITERS

SALES = "dbt/models/gold/fct_sales.sql"
# The last file of order lines, restated: of its first line, 9 were sold.
_NAME, _COLUMNS, _ROWS = next(words for verb, *words in BEFORE[::-1] if verb == "land" and "order_lines" in words[0])
CHANGED = (_NAME, _COLUMNS, [(*_ROWS[0][:3], "9", *_ROWS[0][4:]), *_ROWS[1:]])


def land(clone: Clone, actions: list[tuple]) -> None:
    for verb, *words in actions:
        if verb == "load":
            clone.run("lakeops load")
        elif verb == "land":
            name, columns, rows = words
            columns, *rows = [row[:-1] if columns[-1] == "op" else row for row in (columns, *rows)]
            path = clone.root / "data_raw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[path.suffix](path, list(columns), rows)


def find_differences(clone: Clone, warehouse: str = "duckdb/warehouse.duckdb") -> list[list[str]]:
    """Return the tables, and in how many rows, that differ from a build of its own from the same lake."""
    full = clone.root / "duckdb" / "full" / "warehouse.duckdb"
    shutil.rmtree(full.parent, ignore_errors=True)
    full.parent.mkdir()
    # A target folder of its own: `dbt retry` looks for the last run's results in the usual one.
    places = {"LAKEOPS_WAREHOUSE": str(full), "LAKEOPS_LAKE": str(clone.root / "lake")}
    clone.run("dbt run -s silver gold --target-path target/full", folder="dbt", **places)
    tables = clone.query(
        "select table_schema || '.' || table_name, bool_or(column_name = '_revision') from information_schema.columns"
        " where table_catalog = current_database() and table_schema in ('silver', 'gold') group by all"
    )
    assert len(tables) >= 20
    compared = []
    for table, is_stamped in tables:
        columns = "* exclude (_revision)" if is_stamped == "true" else "*"
        mine, theirs = f"select {columns} from {table}", f"select {columns} from other.{table}"
        rows = f"({mine} except all {theirs}) union all ({theirs} except all {mine})"
        compared.append(f"select '{table}' as name, count(*) as differing from ({rows})")
    return clone.query(
        f"attach '{full}' as other (read_only); from ({' union all '.join(compared)}) where differing > 0", warehouse
    )


@pytest.fixture(scope="module")
def built(clone: Clone) -> Clone:
    """A clone with a lake of two loads, in which only the first was built."""
    half = BEFORE.index(("build",))
    land(clone, BEFORE[:half])
    clone.run("dbt run --models tag:incremental", folder="dbt")
    land(clone, BEFORE[half:])
    return clone


def test_retry_after_a_failed_model(built: Clone):
    model = built.root / SALES
    text = model.read_text()
    model.write_text(text.replace("select", "select no_such_column,", 1))
    assert "no_such_column" in built.run("dbt run", expect=1, folder="dbt").stdout
    model.write_text(text)
    assert "OK created sql incremental model gold.fct_sales" in built.run("dbt retry", folder="dbt").stdout
    assert find_differences(built) == []


def test_retry_after_a_kill(built: Clone):
    """dbt by itself knows nothing of a run that did not come to its end."""
    land(built, [("land", *CHANGED), ("load",)])
    command = ["dbt", "run", "--no-use-colors"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=built.root / "dbt", env=environment, stdout=subprocess.PIPE, text=True) as run:
        for text in run.stdout:
            if "START" in text and "gold.dim_product" in text:
                run.kill()
                break
    assert run.returncode == -signal.SIGKILL
    assert built.query("select max(quantity) from gold.fct_sales") == [["3"]]
    assert "OK created sql incremental model gold.fct_sales" in built.run("dbt retry", folder="dbt").stdout
    assert built.query("select max(quantity) from gold.fct_sales") == [["9"]]
    assert find_differences(built) == []


def test_empty_does_not_take_rows_away(built: Clone):
    said = built.run("dbt run --empty -s silver_orders", expect=1, folder="dbt").stdout
    assert "--empty would take all rows" in said
    assert built.query("select count(*) > 0 from silver.orders") == [["true"]]
    elsewhere = str(built.root / "empty.duckdb")
    built.run("dbt run --empty --target-path target/empty", folder="dbt", LAKEOPS_WAREHOUSE=elsewhere)
    assert built.query("select count(*) from silver.orders", elsewhere) == [["0"]]


def test_only_what_was_changed_with_the_rest_from_another_target(built: Clone):
    """Somebody works on fct_sales in a warehouse of his own, on what another target has built."""
    (built.root / "dbt" / "state").mkdir()
    shutil.copy2(built.root / "dbt/target/manifest.json", built.root / "dbt/state/manifest.json")
    model = built.root / SALES
    text = model.read_text()
    assert "    converted.quantity," in text
    model.write_text(text.replace("    converted.quantity,", "    -converted.quantity as quantity,"))
    mine = {
        "LAKEOPS_WAREHOUSE": str(built.root / "duckdb/mine.duckdb"),
        "LAKEOPS_LAKE": str(built.root / "lake"),
        "LAKEOPS_DEFER_TO": "../duckdb/warehouse.duckdb",
    }
    command = "dbt run -s state:modified+ --defer --state state --target-path target/mine"
    said = built.run(command, folder="dbt", **mine).stdout
    assert "gold.fct_sales" in said
    assert "silver" not in said
    sales = "select order_id, quantity from gold.fct_sales order by all"
    assert built.query(sales, mine["LAKEOPS_WAREHOUSE"]) == [["1", "-9"], ["2", "-2"], ["4", "-2"]]

    # What the other target builds later arrives, too: here, that a line vanished.
    name, columns, rows = CHANGED
    land(built, [("land", name, columns, [rows[0], *rows[2:]]), ("load",)])
    built.run("dbt run -s silver", folder="dbt")
    built.run(command, folder="dbt", **mine)
    assert built.query(sales, mine["LAKEOPS_WAREHOUSE"]) == [["1", "-9"], ["4", "-2"]]

    # Somebody else works on who reads fct_sales; then the other target's warehouse is made anew, and counts from one.
    model.write_text(text)
    reader = built.root / "dbt/models/gold/customer_orders.sql"
    reader_text = reader.read_text()
    reader.write_text(reader_text + "-- changed")
    mine["LAKEOPS_WAREHOUSE"] = str(built.root / "duckdb/readers.duckdb")
    said = built.run(command, folder="dbt", **mine).stdout
    assert "gold.customer_orders" in said
    assert "gold.fct_sales" not in said
    for file in (built.root / "duckdb").glob("warehouse.duckdb*"):
        file.unlink()
    land(built, [("land", name.replace("a.csv", "b.csv"), columns, [("9", *rows[0][1:])]), ("load",)])
    built.run("dbt run -s silver gold", folder="dbt")
    said = built.run(command, folder="dbt", **mine).stdout
    assert "customer_orders: fct_sales was rebuilt" in said
    orders = "select order_id, customer_key, units from gold.customer_orders order by all"
    assert ["9", "-1", "9"] in built.query(orders)
    assert built.query(orders, mine["LAKEOPS_WAREHOUSE"]) == built.query(orders)
    reader.write_text(reader_text)


def test_a_column_that_its_contract_dropped_stops_who_reads_it(built: Clone):
    file = built.root / "dbt/models/bronze/retail.yml"
    text = file.read_text()
    orders = text.index("- name: orders\n")
    column = text.index("          - name: channel\n", orders)
    file.write_text(text[:column] + text[text.index("          - name:", column + 1) :])
    built.run("lakeops load")
    said = built.run("dbt run -s silver_orders", expect=1, folder="dbt").stdout
    assert "bronze.orders.channel is read here, and models/bronze/retail.yml (table orders, columns)" in said
    file.write_text(text)
    built.run("lakeops load")
    built.run("dbt run -s silver_orders", folder="dbt")


def test_a_column_of_another_type_than_its_contract_says_stops_the_model(built: Clone):
    file = built.root / "dbt/models/silver/silver_orders.yml"
    text = file.read_text()
    file.write_text(text.replace("data_type: bigint", "data_type: varchar", 1))
    said = built.run("dbt run -s silver_orders", expect=1, folder="dbt").stdout
    assert "enforced contract" in said
    assert "order_id" in said
    file.write_text(text)
    built.run("dbt run -s silver_orders", folder="dbt")


def test_a_null_that_the_contract_keeps_out_stops_the_model_and_names_the_row(built: Clone):
    file = built.root / "dbt/models/silver/silver_orders.sql"
    text = file.read_text()
    file.write_text(text.replace("    latest.order_ts,", "    nullif(latest.order_ts, latest.order_ts) as order_ts,"))
    before = built.query("select count(*), count(order_ts) from silver.orders")
    said = built.run("dbt run -s silver_orders", expect=1, folder="dbt").stdout
    assert 'order_ts is null in the row {"order_id":' in said
    assert "models/silver/silver_orders.yml says not_null" in said
    assert built.query("select count(*), count(order_ts) from silver.orders") == before
    # Of a table made anew there is no row before: DuckDB itself holds the column to it.
    said = built.run("dbt run --full-refresh -s silver_orders", expect=1, folder="dbt").stdout
    assert "NOT NULL constraint failed" in said
    assert built.query("select count(*), count(order_ts) from silver.orders") == before
    file.write_text(text)
    built.run("dbt run -s silver_orders", folder="dbt")

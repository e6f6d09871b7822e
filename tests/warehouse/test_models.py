"""The dbt project on a fresh clone: it builds from an empty lake, is described in full, and records every test."""

from __future__ import annotations

import pytest
import yaml

from conftest import Clone
from reference.public_holidays import SEED, render_holidays

SCHEMAS = {"silver": "silver", "gold": "gold", "monitoring": "main"}


@pytest.fixture(scope="module")
def built(clone: Clone) -> Clone:
    """A clone after `dbt build` on a lake in which nothing has landed."""
    clone.run("dbt build", folder="dbt")
    return clone


def read_models(clone: Clone):
    for layer, schema in SCHEMAS.items():
        for file in sorted((clone.root / "dbt" / "models" / layer).rglob("*.sql")):
            described = yaml.safe_load(file.with_suffix(".yml").read_text())["models"]
            assert [model["name"] for model in described] == [file.stem], "one model, one yml of the same name"
            yield schema, file.stem.removeprefix(f"{schema}_"), described[0]


def test_every_model_and_column_is_described_as_it_is(built: Clone):
    for schema, table, model in read_models(built):
        assert "Grain: " in model["description"].splitlines()[-1], table
        present = built.query(
            f"select column_name from duckdb_columns() where schema_name = '{schema}' and table_name = '{table}'"
            " order by column_index"
        )
        assert [column["name"] for column in model["columns"]] == [name for (name,) in present], table
        assert all(column["description"] for column in model["columns"]), table


def test_an_empty_lake_has_an_unknown_member_in_every_dimension(built: Clone):
    for dimension in ("customer", "product", "store", "supplier"):
        assert built.query(f"select {dimension}_key from gold.dim_{dimension}") == [["-1"]]


def test_the_seed_of_holidays_is_what_the_pinned_library_says():
    assert SEED.read_text(encoding="utf-8") == render_holidays()


def test_the_calendar_has_holidays_without_a_loaded_seed(built: Clone):
    clone = built.root / "duckdb" / "unseeded.duckdb"
    built.run("dbt run -s dim_date", folder="dbt", LAKEOPS_WAREHOUSE=str(clone))
    assert built.query(
        "select date, holiday_au, holiday_uk, holiday_us, fiscal_year, fiscal_quarter, fiscal_month from gold.dim_date"
        " where date in ('2024-01-26', '2024-04-01', '2024-06-30', '2024-07-04', '2024-08-26') order by 1",
        str(clone),
    ) == [
        ["2024-01-26", "Australia Day", "NULL", "NULL", "2024", "3", "7"],
        ["2024-04-01", "Easter Monday", "Easter Monday", "NULL", "2024", "4", "10"],
        ["2024-06-30", "NULL", "NULL", "NULL", "2024", "4", "12"],
        ["2024-07-04", "NULL", "NULL", "Independence Day", "2025", "1", "1"],
        ["2024-08-26", "NULL", "Late Summer Bank Holiday", "NULL", "2025", "1", "2"],
    ]


def test_a_table_never_loaded_does_not_read_as_ok(built: Clone):
    rows = built.query("select distinct status, pass_rate from data_quality_metrics where check_type = 'freshness'")
    assert rows == [["error", "0.0"]]


def test_every_outcome_is_recorded_once_with_its_quotes(built: Clone):
    tests = built.root / "dbt" / "tests"
    (tests / "it_fails.sql").write_text("select date from {{ ref('dim_date') }} where day_name <> 'it''s' limit 3")
    (tests / "it_errors.sql").write_text("""select "it's a ""quoted"" column" from {{ ref('dim_date') }}""")
    (tests / "it_passes.sql").write_text("select date from {{ ref('dim_date') }} where false")
    try:
        built.run("dbt test --store-failures -s it_fails it_errors it_passes", expect=1, folder="dbt")
    finally:
        for name in ("it_fails", "it_errors", "it_passes"):
            (tests / f"{name}.sql").unlink()
    rows = built.query(
        "select test_name, status, failures, rows_tested > 10000, round(pass_rate, 1), failures_relation, table_name"
        " from dbt_test_results where test_name like 'it_%' order by 1"
    )
    assert rows == [
        ["it_errors", "error", "NULL", "true", "0.0", "NULL", "gold.dim_date"],
        ["it_fails", "fail", "3", "true", "100.0", "test_failures.it_fails", "gold.dim_date"],
        ["it_passes", "pass", "0", "true", "100.0", "NULL", "gold.dim_date"],
    ]
    assert built.query("select date from test_failures.it_fails limit 1")
    message = built.query("select message from dbt_test_results where test_name = 'it_errors'")[0][0]
    assert "it's a" in message
    assert built.query("select distinct status from data_quality_metrics where check_name = 'it_errors'") == [["error"]]


def test_masking_refuses_to_run_without_a_salt_outside_dev(built: Clone):
    said = built.run("dbt run -s dim_customer --target prod", expect=1, folder="dbt").stdout
    assert "LAKEOPS_MASK_SALT is not set" in said


def test_a_target_has_a_lake_and_a_warehouse_of_its_own(built: Clone):
    before = built.query("select count(*) from manifest_processed_files")
    landed = built.root / "data_raw" / "stores" / "effective_dt=2024-03-24" / "part.csv"
    landed.parent.mkdir(parents=True)
    landed.write_text(
        "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt\n"
        "1,S1,Shop,Retail,WA,WA,1,2,2020-01-01,\n"
    )
    staging = {"LAKEOPS_TARGET": "staging", "LAKEOPS_MASK_SALT": "s"}
    built.run("lakeops incremental", **staging)
    built.run("dbt test --store-failures", folder="dbt", **staging)
    built.run("dbt build -s silver_stores --target staging", folder="dbt")
    asked = "select count(*) from gold.dim_store where store_key <> -1"
    assert built.query(asked, warehouse="duckdb/warehouse_staging.duckdb") == [["1"]]
    assert (built.root / "lake_staging" / "bronze" / "delta" / "stores").is_dir()
    assert built.query(asked) == [["0"]]
    assert built.query("select count(*) from manifest_processed_files") == before


def test_dbt_holds_no_more_memory_than_it_may(built: Clone):
    said = built.run(
        "dbt show --inline \"select current_setting('memory_limit')\"", folder="dbt", LAKEOPS_MEMORY="1GiB"
    )
    assert "1.0 GiB" in said.stdout
    said = built.run("dbt run -s dim_store", expect=2, folder="dbt", LAKEOPS_MEMORY="plenty")
    assert "LAKEOPS_MEMORY" in said.stdout


def test_a_target_that_is_none_is_one_clear_error(built: Clone):
    assert "dev, staging, prod" in built.run("lakeops status", expect=2, LAKEOPS_TARGET="production").stderr

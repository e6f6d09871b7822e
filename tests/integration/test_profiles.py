"""Days are profiled whole when a load touches them; published metrics last; records are kept as long as promised."""

from __future__ import annotations

import datetime as dt

import pytest

from conftest import DAY, Project, items, sales
from lakeops.contract import load_contracts
from lakeops.delta import append, open_table, read_frame
from lakeops.errors import ContractError
from lakeops.ledger import make_frame
from lakeops.publish import publish_metrics
from lakeops.quality import profile_new_days, prune_records

NOW = dt.datetime(2024, 4, 10, 12, tzinfo=dt.UTC)
NEXT = DAY + dt.timedelta(days=1)


def profile(project: Project) -> int:
    return profile_new_days(project.settings, load_contracts(project.settings.models), NOW)


def read(project: Project, measure: str, table: str = "bronze.sales") -> list[tuple]:
    """Return day, column, value, failures and rows of the newest profile of each day."""
    frame = read_frame(open_table(project.settings.lake.ops("data_profiles")))
    rows: dict[tuple, tuple] = {}
    for row in sorted(frame.iter_rows(named=True), key=lambda row: row["batch_id"]):
        if (row["table_name"], row["measure"]) == (table, measure):
            key = (row["business_date"], row["column_name"], row["category"])
            rows[key] = (row["business_date"], row["column_name"], row["value"], row["failures"], row["rows"])
    return sorted(rows.values(), key=str)


def test_a_day_is_counted(project: Project):
    project.land("sales/a.csv", sales((1, DAY, 10), (2, DAY, 20), (2, DAY, ""), (4, DAY, 30)))
    project.load()
    assert profile(project) == 1
    assert read(project, "volume") == [(DAY, None, 4.0, 0, 4)]
    assert read(project, "duplicate_share") == [(DAY, None, 25.0, 1, 4)]
    nulls = {column: (value, failures) for _, column, value, failures, _ in read(project, "null_share")}
    # The contract lets an amount be missing, and no key.
    assert nulls == {"amount": (25.0, 0), "sale_dt": (0.0, 0), "sale_id": (0.0, 0)}
    assert read(project, "mean") == [(DAY, "amount", 20.0, 0, 4)]
    assert read(project, "median") == [(DAY, "amount", 20.0, 0, 4)]
    distinct = {column: value for _, column, value, _, _ in read(project, "distinct_share")}
    assert distinct == {"sale_id": 75.0, "sale_dt": 25.0, "amount": 100.0}


def test_with_nothing_new_nothing_is_profiled(project: Project):
    project.land("sales/a.csv", sales((1, DAY, 10)))
    project.load()
    profile(project)
    before = project.versions()
    assert profile(project) == 0
    assert project.versions() == before


def test_columns_may_be_called_by_words_of_sql(project: Project):
    contract = project.root / "dbt" / "models" / "bronze" / "words.yml"
    load = "files: [words/*.csv], format: csv, mode: merge, key: [order], sequence_by: [end], business_date: group"
    columns = {"order": "bigint", "end": "bigint", "group": "date", "desc": "varchar"}
    contract.write_text(
        f"sources: [{{name: words, schema: bronze, tables: [{{name: words, config: {{meta: {{load: {{{load}}}}}}},"
        f" columns: [{', '.join(f'{{name: {name}, data_type: {kind}}}' for name, kind in columns.items())}]}}]}}]\n"
    )
    project.land("words/1.csv", f"order,end,group,desc\n7,1,{DAY},a\n7,2,{DAY},b\n")
    project.load()
    assert project.sql("select operation, after ->> 'desc' from bronze.words_audit order by _source_row") == [
        ("insert", "a"),
        ("update", "b"),
    ]
    assert profile(project) == 1
    assert read(project, "volume", "bronze.words") == [(DAY, None, 1.0, 0, 1)]


def test_a_late_file_profiles_its_day_again_and_no_other(project: Project):
    project.land("sales/a.csv", sales((1, DAY, 10)))
    project.land("sales/b.csv", sales((2, NEXT, 10)))
    project.load()
    assert profile(project) == 2
    project.land("sales/late.csv", sales((3, DAY, "")))
    project.load()
    assert profile(project) == 1
    assert read(project, "volume") == [(DAY, None, 2.0, 0, 2), (NEXT, None, 1.0, 0, 1)]


def test_a_day_that_a_restated_file_emptied_has_no_rows(project: Project):
    project.land("sales/a.csv", sales((1, DAY, 10), (2, NEXT, 10)))
    project.load()
    profile(project)
    project.land("sales/a.csv", sales((2, NEXT, 10)))
    project.load()
    assert profile(project) == 2
    assert read(project, "volume") == [(DAY, None, 0.0, 0, 0), (NEXT, None, 1.0, 0, 1)]


def test_a_table_without_business_dates_is_profiled_by_what_a_load_day_brought(project: Project):
    project.land("items/a.csv", items((1, "one", "2024-04-01T00:00:00"), (2, "", "2024-04-01T00:00:00")))
    project.load()
    assert profile(project) == 1
    today = dt.datetime.now(dt.UTC).date()
    assert read(project, "volume", "bronze.items") == [(today, None, 2.0, 0, 2)]
    assert read(project, "duplicate_share", "bronze.items") == []


def test_values_of_personal_columns_are_not_kept(project: Project):
    project.change_contract(
        '- {name: amount, data_type: "decimal(12,2)"}',
        '- {name: amount, data_type: "decimal(12,2)", config: {meta: {personal: true}}}',
    )
    project.land("sales/a.csv", sales((1, DAY, 12.5)))
    project.load()
    profile(project)
    assert read(project, "mean") == []
    assert ("amount", 0.0) in [row[1:3] for row in read(project, "null_share")]


def test_a_record_is_kept_as_long_as_it_says_and_no_longer(project: Project):
    project.load()
    contracts = load_contracts(project.settings.models)
    record = contracts.get_record("dbt_test_failures")
    path = project.settings.lake.ops(record.name)
    days = record.retention.days
    for age in (days + 1, days - 1, 0):
        row = {"run_id": f"{age} days", "checked_at": NOW - dt.timedelta(days=age)}
        append(path, make_frame(record, [row]), 0)
    deleted = prune_records(project.settings.lake, contracts, NOW)
    assert {name: count for name, count in deleted.items() if count} == {"dbt_test_failures": 1}
    assert set(read_frame(open_table(path))["run_id"]) == {f"{days - 1} days", "0 days"}
    before = project.versions()
    prune_records(project.settings.lake, contracts, NOW)
    assert project.versions() == before


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("retention: {days: 0, by: checked_at}", "a number above 0"),
        ("retention: {days: 90}", "a number above 0"),
        ("retention: 90", "a number above 0"),
        ("retention: {days: 90, by: run_id}", "'run_id' is not known as a column of type timestamp"),
        ("retentoin: {days: 90, by: checked_at}", "'retentoin' is not known as a key of a record's meta"),
    ],
)
def test_a_retention_that_cannot_be_read_is_one_clear_error(project: Project, written: str, said: str):
    file = project.root / "dbt" / "models" / "ops" / "ops.yml"
    text = file.read_text()
    assert "retention: {days: 90, by: checked_at}" in text
    file.write_text(text.replace("retention: {days: 90, by: checked_at}", written))
    with pytest.raises(ContractError) as caught:
        load_contracts(project.settings.models)
    assert said in str(caught.value)
    assert "ops.yml:" in str(caught.value)


METRICS = """
create or replace view main.data_quality_metrics as
select 'bronze.sales' as table_name, 'freshness' as check_type, 'newest_load' as check_name,
    cast(null as varchar) as column_name, check_date, cast(null as date) as business_date, status
from (values {rows}) as given (check_date, status)
"""


def publish(project: Project, *rows: str) -> tuple[int, list[tuple]]:
    """Publish metrics that are these; returns the version and what readers then see."""
    import duckdb

    with duckdb.connect(str(project.settings.warehouse)) as connection:
        connection.execute(METRICS.format(rows=", ".join(rows)))
    version = publish_metrics(project.settings).version
    frame = read_frame(open_table(project.settings.lake.gold("data_quality_metrics")))
    return version, sorted(frame.select("check_date", "status").rows())


def test_published_metrics_keep_what_only_held_on_its_day(project: Project):
    project.load()
    today = dt.datetime.now(dt.UTC).date()
    yesterday = today - dt.timedelta(days=1)
    first, seen = publish(project, f"(date '{yesterday}', 'fail')")
    assert seen == [(yesterday, "fail")]
    second, seen = publish(project, f"(date '{today}', 'warn')")
    assert seen == [(yesterday, "fail"), (today, "warn")]
    third, seen = publish(project, f"(date '{today}', 'pass')")
    assert seen == [(yesterday, "fail"), (today, "pass")]
    fourth, _ = publish(project, f"(date '{today}', 'pass')")
    assert (second, third, fourth) == (first + 1, first + 2, first + 2)


def test_nothing_is_published_before_anything_was_built(project: Project):
    project.load()
    assert publish_metrics(project.settings) is None

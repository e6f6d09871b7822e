"""`lakeops explain` tells which files a query read, and never says what it does not know."""

from __future__ import annotations

import datetime as dt

import pytest

from conftest import DAY, Project, make_project, sales
from lakeops.errors import UsageError
from lakeops.pipeline import run_explain


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Eight days of sales, a file each; ids lie scattered."""
    project = make_project(tmp_path_factory.mktemp("explain") / "project")
    for number in range(8):
        day = DAY + dt.timedelta(number)
        project.land(f"sales/{number}.csv", sales((number, day, 1), (100 - number, day, 2)))
        project.load()
    return project


def count_partitions(project: Project) -> tuple[int, int]:
    return project.sql("select count(*) filter (scanned), count(*) filter (pruned) from table_partitions")[0]


@pytest.mark.parametrize(
    ("where", "scanned", "pruned"),
    [
        ("sale_dt = date '2024-04-03'", 1, 7),
        ("sale_dt between date '2024-04-02' and date '2024-04-03'", 2, 6),
        ("sale_dt >= date '2024-04-02'", 7, 1),
        ("sale_dt <> date '2024-04-02' and sale_dt < date '2024-04-08'", 6, 2),
        ("sale_dt = date '1999-01-01'", 0, 8),
        ("sale_dt = date '2024-04-03' and (sale_id = 1 or sale_id = 3)", 1, 7),
        ("sale_dt >= date '2024-04-02' and sale_dt in (date '2024-04-02', date '2024-04-04')", 7, 1),
        ("true", 8, 0),
    ],
)
def test_what_was_read_and_what_was_skipped_is_in_the_record(project, where, scanned, pruned):
    explained = run_explain(project.settings, f"SELECT count(*) FROM bronze.sales WHERE {where};")
    (scan,) = explained.scans
    assert (scan.table, scan.read, scan.files, scan.is_known) == ("bronze.sales", scanned, 8, True)
    assert count_partitions(project) == (scanned, pruned)


def test_the_files_said_to_be_read_are_those_that_hold_the_rows(project):
    where = "sale_dt >= date '2024-04-03' and sale_dt < date '2024-04-09' and sale_id > 0"
    run_explain(project.settings, f"select * from bronze.sales where {where}")
    files = project.sql("select partition, rows from table_partitions where scanned order by 1")
    assert files == [(f"sale_dt=2024-04-0{day}", 2) for day in range(3, 9)]


@pytest.mark.parametrize(
    ("where", "why", "instead"),
    [
        (
            "sale_dt in (date '2024-04-02', date '2024-04-04')",
            "IN or an OR",
            "sale_dt >= date '2024-04-02' and sale_dt <= date '2024-04-04'",
        ),
        ("sale_id = 5 or sale_id = 12", "IN or an OR", "sale_id >= 5 and sale_id <= 12"),
        ("sale_dt = timestamp '2024-04-02 00:00:00'", "compared with a timestamp", "date '2024-04-01'"),
        ("_ingested_at > timestamptz '2020-01-01 00:00:00+00'", "a timestamp skips no file", "sale_dt"),
        ("year(sale_dt) = 2024", "expression", "sale_dt >="),
        ("amount > 0", "no statistics on amount", "sale_dt >="),
        ("sale_id = 50", "lies scattered", "lakeops optimize bronze.sales --zorder sale_id"),
        ("true", "no filter", "where sale_dt >="),
    ],
)
def test_it_says_why_nothing_was_skipped_and_what_to_write(project, where, why, instead):
    (scan,) = run_explain(project.settings, f"select * from bronze.sales where {where}").scans
    assert scan.read == scan.files == 8
    assert why in scan.why
    assert instead in (scan.instead or "")


def test_of_an_older_version_it_counts_the_files_of_that_version(project):
    path = project.settings.lake.bronze("bronze", "sales")
    query = f"select count(*) from delta_scan('{path}', version = {{}}) where sale_dt = date '2024-04-01'"
    (scan,) = run_explain(project.settings, query.format(3)).scans
    assert (scan.read, scan.files, scan.is_known) == (1, 3, True)
    assert count_partitions(project) == (1, 2)
    both = run_explain(project.settings, f"{query.format(3)} union all {query.format(4)}")
    assert not any(scan.is_known for scan in both.scans)
    assert count_partitions(project) == (0, 0)


@pytest.mark.parametrize("query", ["delete from bronze.sales", "select 1; select 2", "", "select nothing", "selec 1"])
def test_what_is_no_query_is_refused(project, query):
    with pytest.raises(UsageError):
        run_explain(project.settings, query)

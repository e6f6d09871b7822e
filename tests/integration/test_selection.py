"""Replaying history: which files a load looks at, and that the dry run tells the very same."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace

import pytest

from conftest import DAY, items, sales
from lakeops import pipeline
from lakeops.errors import ContractError, UsageError
from lakeops.settings import load_settings


@pytest.fixture
def landed(project):
    for n in range(3):
        project.land(f"sales/{n}.csv", sales((n, DAY, n)))
    project.land("items/1.csv", items((1, "a", "2024-01-01T00:00:00")))
    return project


def test_only_one_table(landed):
    pipeline.run_load(landed.settings, pipeline.Selection(only="items"))
    assert landed.rows("sales") == []
    assert len(landed.rows("items")) == 1
    with pytest.raises(ContractError, match="No table is called 'nothing'"):
        pipeline.run_load(landed.settings, pipeline.Selection(only="nothing"))


def test_a_limit_takes_the_first_files_and_the_next_run_the_others(landed):
    selection = pipeline.Selection(only="sales", limit_files=2)
    pipeline.run_load(landed.settings, selection)
    assert [row[0] for row in landed.rows("sales")] == [0, 1]
    pipeline.run_load(landed.settings, selection)
    assert [row[0] for row in landed.rows("sales")] == [0, 1, 2]


def test_since_looks_at_files_changed_from_then_on(landed):
    old = landed.root / "data_raw" / "sales" / "0.csv"
    os.utime(old, (0, 0))
    since = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    pipeline.run_load(landed.settings, pipeline.Selection(only="sales", since=since))
    assert [row[0] for row in landed.rows("sales")] == [1, 2]


def test_verify_sees_bytes_that_changed_behind_an_unchanged_stat(landed):
    landed.load()
    path = landed.root / "data_raw" / "sales" / "0.csv"
    stat = path.stat()
    path.write_text(sales((5, DAY, 0)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    # ctime gives it away on this file system, so the ledger is made to know it.
    ledger = pipeline.load_ledger(landed.settings.lake)
    assert ledger.latest["data_raw/sales/0.csv"].size_bytes == path.stat().st_size
    pipeline.run_load(landed.settings, pipeline.Selection(verify=True))
    assert [row[0] for row in landed.rows("sales")] == [1, 2, 5]


def test_a_reload_replaces_the_rows_and_a_dry_run_says_so(landed):
    landed.load()
    path = landed.root / "data_raw" / "sales" / "1.csv"
    selection = pipeline.Selection(reload=(path,), reason="for the test", root=landed.root)
    plan = pipeline.plan_load(landed.settings, selection)
    assert [(s.action, s.landing.source_file) for s in plan.get_steps("load", "restate")] == [
        ("restate", "data_raw/sales/1.csv")
    ]
    outcome = pipeline.run_load(landed.settings, selection)
    assert landed.sql("select sale_id, _batch_id from bronze.sales where sale_id = 1") == [(1, outcome.batches[0])]
    assert len(landed.rows("sales")) == 3
    missing = pipeline.Selection(reload=(landed.root / "nothing.csv",), reason="for the test", root=landed.root)
    with pytest.raises(UsageError, match="not in the landing zone"):
        pipeline.run_load(landed.settings, missing)


def test_a_sample_takes_the_last_files_of_each_table_and_without_it_the_rest_comes(landed):
    pipeline.run_load(replace(landed.settings, sample_files=1))
    assert [row[0] for row in landed.rows("sales")] == [2]
    assert len(landed.rows("items")) == 1
    landed.load()
    assert [row[0] for row in landed.rows("sales")] == [0, 1, 2]


@pytest.mark.parametrize(("value", "target"), [("0", "dev"), ("some", "dev"), ("5", "prod")])
def test_a_sample_that_cannot_be_taken_is_a_usage_error(project, monkeypatch, value: str, target: str):
    monkeypatch.setenv("LAKEOPS_ROOT", str(project.root))
    monkeypatch.setenv("LAKEOPS_SAMPLE_FILES", value)
    with pytest.raises(UsageError, match="sample"):
        load_settings(target=target)

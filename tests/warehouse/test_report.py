"""`lakeops report` over real runs: the page's numbers are those that SQL gives, and no record's content is in it."""

from __future__ import annotations

import re

import pytest

from conftest import Clone

STORES = "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt"


def land(clone: Clone, name: str, *lines: str) -> None:
    path = clone.root / "data_raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def read_page(clone: Clone) -> str:
    clone.run("lakeops report --out out/page.html")
    return (clone.root / "out" / "page.html").read_text()


def test_report_of_a_clone_that_never_ran(clone: Clone):
    text = read_page(clone)
    assert "Nothing was loaded yet" in text
    assert "The main job did not run yet" in text
    assert "dbt has not written its manifest yet" in text


@pytest.fixture(scope="module")
def shop(clone: Clone) -> Clone:
    good = [f"{key},S{key},Shop,Retail,WA,WA,1,2,2020-01-01," for key in range(1, 20)]
    land(clone, "stores.csv", STORES, *good, "secret-word,S20,Shop,Retail,WA,WA,1,2,2020-01-01,")
    land(clone, "nobody_s/file.csv", "a", "1")
    clone.run("lakeops incremental", expect=11)
    return clone


def test_numbers_are_those_of_sql(shop: Clone):
    text = read_page(shop)
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    [[checks, holding, warning]] = shop.query(
        "select count(*), count(*) filter (status = 'pass'), count(*) filter (status = 'warn')"
        " from data_quality_metrics where table_name is not null"
    )
    assert f"Checks that hold {holding} of {checks}" in plain
    assert f"Warn {warning} " in plain
    [[waiting]] = shop.query("select count(*) from quarantine where status = 'open'")
    assert waiting == "1"
    assert "In quarantine 1 open records" in plain
    assert "bronze.stores quarantine: rows_accepted 95 % 1 of 20" in plain
    [[rows]] = shop.query("select (select count(*) from bronze.stores) + (select count(*) from bronze.stores_changes)")
    assert re.search(rf"bronze \d+ {rows} ", plain)
    [[code, seconds]] = shop.query("select exit_code, seconds from pipeline_runs")
    took = f"{float(seconds):.1f} s" if float(seconds) < 120 else f"{float(seconds) / 60:.0f} min"
    assert f"Last run {took}" in plain
    assert (code, "exit code 11" in plain) == ("11", True)


def test_no_record_s_content_is_in_the_page(shop: Clone):
    assert shop.query("select count(*) from quarantine where raw_record like '%secret-word%'") == [["1"]]
    assert "secret-word" not in read_page(shop)


def test_a_place_that_cannot_be_written_is_said(shop: Clone):
    said = shop.run("lakeops report --out /proc/none/page.html", expect=2).stderr
    assert "A file cannot be written." in said

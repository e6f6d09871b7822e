"""The report's page: what it says of facts, and that it needs nothing but itself."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from lakeops.facts import Check, Facts, Untested
from lakeops.report import render_page

NOW = dt.datetime(2026, 11, 21, 5, 0, tzinfo=dt.UTC)
SECTIONS = [
    "now",
    "rates",
    "references",
    "nulls",
    "freshness",
    "quarantine",
    "anomalies",
    "runs",
    "storage",
    "untested",
]
# Elements that close themselves; all others must be closed.
VOID = {"meta", "link", "br", "img", "input", "hr"}


def make_check(status: str = "warn", rate: float = 99.5, kind: str = "dbt_not_null", **changes: Any) -> Check:
    days = tuple((NOW.date() - dt.timedelta(days=back), rate - back, status) for back in (2, 1, 0))
    values = {
        "table_name": "bronze.orders", "check_type": kind, "check_name": "not_null_orders_order_id",
        "column_name": "order_id", "status": status, "pass_rate": rate, "failures": 5, "rows": 1000,
        "threshold": 100.0, "checked_at": NOW, "since": days[0][0], "days": days,
    }  # fmt: skip
    return Check(**values | changes)


def make_facts(**changes: Any) -> Facts:
    values = {
        "target": "dev", "at": NOW, "tables": [], "checks": [], "quarantine": [], "runs": [], "storage": [],
        "warehouse_bytes": 0, "published_at": None, "untested": None, "look": "duckdb …",
    }  # fmt: skip
    return Facts(**values | changes)


def make_run(exit_code: int = 0) -> dict[str, Any]:
    steps = {f"{step}_seconds": 2.0 for step in ("load", "build", "test", "publish")}
    return {
        "run_id": f"r{exit_code}", "command": "incremental", "started_at": NOW, "seconds": 8.0, **steps,
        "exit_code": exit_code, "problem": "dbt test did not pass" if exit_code else None,
    }  # fmt: skip


def make_table(hours: float | None, freshness: str) -> dict[str, Any]:
    return {
        "table": "bronze.orders", "files": 3, "hours_since_load": hours, "freshness": freshness,
        "warn_hours": 26.0, "error_hours": 50.0,
    }  # fmt: skip


FULL = make_facts(
    tables=[make_table(51.0, "stale")],
    checks=[
        make_check("fail", 90.0),
        make_check("warn", 99.999, "dbt_relationships", check_name="relationships_events_customer_id__id__ref_x_"),
        make_check("warn", 98.0, "volume_anomaly", table_name="silver.orders", check_name="rows"),
        make_check("pass", 100.0, "refusal", check_name="files_loaded"),
    ],
    quarantine=[
        {"table_name": "orders", "source_file": "data_raw/<b>.csv", "reason": "bad_value", "records": 1200},
        {"table_name": "orders", "source_file": "data_raw/b.csv", "reason": "missing_key", "records": 34},
    ],
    runs=[make_run(), make_run(13)],
    storage=[
        {"layer": "bronze", "table": "bronze.orders", "rows": 10, "files": 2, "bytes": 2048, "bytes_on_disk": 4096},
        {"layer": "silver", "table": "silver.orders", "rows": 9, "files": None, "bytes": None, "bytes_on_disk": None},
    ],
    published_at=NOW,
    untested=Untested(["gold.fct_new"], {"silver.orders": ["coupon"]}, ["silver.orders"], 7, 9),
)


class Page(HTMLParser):
    """What a browser would load, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.sections: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append(values["id"])
        self.loads += [values[name] for name in ("src", "href", "xlink:href", "srcset", "data") if values.get(name)]
        assert tag not in ("script", "iframe", "object", "embed"), "a page without them cannot fail in the console"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


@pytest.mark.parametrize("facts", [make_facts(), FULL], ids=["an empty lake", "everything there"])
def test_page_is_whole_and_loads_nothing(facts: Facts) -> None:
    text = render_page(facts)
    page = Page(text)
    assert not page.open
    assert page.sections == SECTIONS
    assert all(load.startswith("#") or load == "data:," for load in page.loads)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/)", text)


def test_empty_lake_says_so_and_what_to_do() -> None:
    text = render_page(make_facts())
    assert "Nothing was loaded yet" in text
    assert "make demo" in text


def test_state_is_said_first_with_its_reasons() -> None:
    text = render_page(FULL)
    assert "<h1>Something is wrong</h1>" in text
    for reason in (
        "1 check fails", "1 source is stale", "the last run ended with exit code 13", "2 checks warn",
        "1,234 records wait in quarantine",
    ):  # fmt: skip
        assert f"<li>{reason}</li>" in text


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"checks": [make_check("pass", 100.0)]}, "All is well"),
        ({"checks": [make_check("warn", 99.0)]}, "It works, and some data is not right"),
        ({"checks": [make_check("error", 0.0)]}, "Something is wrong"),
        ({"checks": [make_check("pass", 100.0)], "tables": [make_table(51.0, "stale")]}, "Something is wrong"),
        ({"checks": [make_check("pass", 100.0)], "runs": [make_run(13), make_run()]}, "All is well"),
    ],
)
def test_state_is_that_of_now(changes: dict[str, Any], title: str) -> None:
    assert f"<h1>{title}</h1>" in render_page(make_facts(**changes))


def test_numbers_are_those_of_the_facts() -> None:
    text = render_page(FULL)
    assert "51 h of 50 h" in text
    assert "90 %" in text
    assert "&gt; 99.99 %" in text, "what failed once in 100,000 must not read as 100 %"
    assert "customer_id → x" in text or "order_id → x" in text
    assert "1 of 1 measures are off their own history" in text
    assert "Tests and constraints name 7 of 9 described columns" in text
    assert "gold.fct_new" in text
    assert "coupon" in text


def test_names_from_outside_are_text() -> None:
    text = render_page(FULL)
    assert "data_raw/<b>.csv" not in text
    assert "data_raw/&lt;b&gt;.csv" in text


def test_charts_take_the_page_s_colours_and_tell_who_listens() -> None:
    drawn = re.findall(r"<svg [^>]+>", render_page(FULL))
    assert len(drawn) >= 8
    assert all('role="img"' in tag and "aria-label=" in tag for tag in drawn)
    colours = set(
        re.findall(r'(?:fill|stroke)="([^"]+)"', "".join(re.findall(r"<svg.*?</svg>", render_page(FULL), re.S)))
    )
    assert {name for name in colours if name not in ("none", "transparent")} <= {
        f"var(--{name})" for name in
        ("ink", "soft", "rule", "paper", "good", "warn", "bad", "series-1", "series-2", "series-3", "series-4")
    }  # fmt: skip

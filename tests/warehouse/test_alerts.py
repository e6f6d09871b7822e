"""Every kind of defect the generator plants is told once, with table, check, file and command, and is told to be over.

Real runs: two clean days, a day with all defects, the same again, and the day as the sender corrected it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from conftest import Clone, make_clone
from lakeops.generate import read_defects

GENERATE = "lakeops generate --seed 7 --scale 0.01 --out data_raw"
BAD_DAY = "--start-date 2024-03-27 --days 1"


def read_alerts(clone: Clone) -> list[dict[str, Any]]:
    file = clone.root / "lake" / "ops" / "alerts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def withdraw_resent_orders(clone: Clone) -> None:
    """Land the file of orders that were sent twice again, with orders of its own: files do not vanish from bronze."""
    for file in (clone.root / "data_raw" / "orders").rglob("resent-*.csv"):
        header, *rows = file.read_text().splitlines()
        fresh = [f"{990_000_000 + number},{row.split(',', 1)[1]}" for number, row in enumerate(rows)]
        file.write_text("\n".join([header, *fresh]) + "\n")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was told after each run, and what was planted."""
    clone = make_clone(tmp_path_factory.mktemp("alerts") / "lakeops")
    told: dict[str, Any] = {}
    clone.run(f"{GENERATE} --start-date 2024-03-25 --days 2 --defects none")
    clone.run("lakeops incremental")
    told["clean"] = read_alerts(clone)
    clone.run(f"{GENERATE} {BAD_DAY} --defects all")
    told["planted"] = read_defects(clone.root / "data_raw")
    clone.run("lakeops incremental")
    told["bad"] = read_alerts(clone)
    clone.run("lakeops incremental")
    told["again"] = read_alerts(clone)
    clone.run(f"{GENERATE} {BAD_DAY} --defects none")
    withdraw_resent_orders(clone)
    clone.run("lakeops incremental")
    told["mended"] = read_alerts(clone)
    told["root"] = clone.root
    return told


def test_clean_days_are_told_of_to_nobody(story: dict[str, Any]):
    assert story["clean"] == []


def test_each_planted_kind_is_told_with_table_check_file_and_command(story: dict[str, Any]):
    kinds: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in story["planted"]:
        catcher = "rows_accepted" if row["caught_by"] == "quarantine" else row["caught_by"].split("(")[0]
        place = re.search(r"\(([\w.]+)\)", row["caught_by"])
        table = row["table"] if place is None else re.sub(r"^(silver|gold)_", "", place[1].split(".")[0])
        kinds[row["kind"], table, catcher].add(f"data_raw/{row['file']}")
    assert len({kind for kind, _, _ in kinds}) >= 14
    for (kind, table, catcher), files in kinds.items():
        found = [
            alert
            for alert in story["bad"]
            if alert["table_name"].split(".")[-1] == table and catcher in alert["check_name"]
            and files & set((alert["source_file"] or "").split(", "))
        ]  # fmt: skip
        assert found, f"nobody was told of {kind} in {table} ({catcher}, {files})"
        assert all(alert["look"] and alert["runbook"] for alert in found)


def test_what_was_told_is_not_told_again(story: dict[str, Any]):
    incidents = [alert["incident"] for alert in story["bad"]]
    assert len(incidents) == len(set(incidents))
    assert story["again"] == story["bad"]


def test_when_it_is_mended_that_is_told_of_each(story: dict[str, Any]):
    news = story["mended"][len(story["again"]) :]
    assert {alert["event"] for alert in news} == {"recovered"}
    assert sorted(alert["incident"] for alert in news) == sorted(alert["incident"] for alert in story["bad"])


def test_runbooks_named_are_there(story: dict[str, Any]):
    root: Path = story["root"]
    assert all((root / "runbooks" / f"{alert['runbook']}.md").is_file() for alert in story["mended"])

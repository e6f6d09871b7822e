"""Builds that are killed, done twice, or done after somebody changed what they are made by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from warehouse.killed_builds import BEFORE, D1, kill_builds, land, list_edges
from warehouse.workshop import Workshop

# `make prove` kills before every statement.
EVERY = 4
CONTRACT = "models/bronze/retail.yml"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with Workshop(tmp_path_factory.mktemp("workshop")) as workshop:
        yield workshop


def test_a_killed_build_is_made_good_by_the_next(workshop: Workshop):
    kills, faults = kill_builds(workshop, lambda statements: list_edges(statements)[::EVERY])
    assert faults == []
    assert kills > 10


def test_a_second_build_changes_no_row(workshop: Workshop):
    *_, first, second, again = workshop.run([*BEFORE, ("settle", "build"), ("settle", "build"), ("settle",)])
    assert {"silver.orders", "gold.fct_sales"} <= set(first["changed"])
    assert second == {"changed": []}
    assert again == {"changed": []}


def test_a_changed_macro_changes_the_rows_it_made(workshop: Workshop):
    edit = ("edit", "macros/columns.sql", "nullif(trim({{ column }}), '')", "nullif(lower(trim({{ column }})), '')")
    *_, built, compared, settled = workshop.run([*BEFORE, ("build",), edit, ("build",), ("compare",), ("settle",)])
    recomputed = {said.split(",")[0] for said in built["recomputed"]}
    assert {f"silver_{name}: its SQL has changed" for name in ("customers", "stores", "orders")} <= recomputed
    assert "silver_exchange_rates: its SQL has changed" not in recomputed
    assert compared["differing"] == {}
    assert compared["sales"][0][12] == "shop"
    assert settled == {"changed": []}


def test_a_changed_contract_changes_the_rows_it_chose(workshop: Workshop):
    delivered = ("1", "1", "Post", f"{D1}T08:00:00", f"{D1}T18:00:00", "5.00")
    lands = [land(f"shipments/{D1}/{number}.parquet", row) for number, row in enumerate([
        delivered, (*delivered[:4], None, "7.00"),
    ])]  # fmt: skip
    edit = ("edit", CONTRACT, "- delivered_at", "- ship_cost")
    ask = ("ask", "select delivered_at is null from gold.fct_shipments")
    actions = [*lands, ("load",), ("build",), ask, edit, ("build",), ask, ("compare",)]
    *_, before, _, _, after, compared = workshop.run(actions)
    assert (before["answer"], after["answer"]) == ([[False]], [[True]])
    assert compared["differing"] == {}

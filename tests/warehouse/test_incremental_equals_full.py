"""Incremental silver and gold equal a full refresh from bronze, row for row, whatever lands and however it is built."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, note, settings

from conftest import ROOT
from warehouse.killed_builds import land
from warehouse.landings import DAYS, Action, customer, describe, line, order, product, reading, sequences, store
from warehouse.prove import find_faults
from warehouse.workshop import Workshop

# `make prove` carries out hundreds; see prove.py.
SEQUENCES = 15
D1, D2, *_ = DAYS


# A troubled week that a person thought of, so that what it meets is met in every run.
WEEK: list[Action] = [
    land("customers.csv", customer(1), customer(2, consent=False)),
    land("products.csv", product(1, "10"), product(2, "20")),
    land("stores.csv", store(1)),
    land(f"orders/order_dt={D1}/a.csv", order(1, D1), order(2, D1, customer_id=2), order(3, D1, customer_id=9)),
    land(f"order_lines/order_dt={D1}/a.csv", line(1), line(1, 2, 2), line(2), line(3, 1, 9), line(7)),
    land(f"sensors/{D1}.csv", reading(f"{D1}T10:00:00"), reading(f"{D1}T10:30:00", temperature="99")),
    ("load",), ("build",), ("compare",),
    # A new day, a duplicated order, a header that comes after its line.
    land(f"orders/order_dt={D2}/a.csv", order(4, D2, currency="USD"), order(1, D1, customer_id=2), order(7, D1)),
    land(f"order_lines/order_dt={D2}/a.csv", line(4), line(4, 2)),
    ("load",), ("build",), ("compare",),
    # A late file, and a late customer, product and store that facts had pointed at in vain.
    land(f"orders/order_dt={D1}/late.csv", order(5, D1, store_id=4)),
    land(f"order_lines/order_dt={D1}/late.csv", line(5), line(3, 2, quantity=-1)),
    land(f"customers/effective_dt={D2}/a.csv", customer(9)),
    land(f"products/effective_dt={D2}/a.csv", product(9, "5"), product(1, "12")),
    land(f"stores/effective_dt={D2}/a.csv", store(4)),
    ("load",), ("build",), ("compare",),
    # Restated: lines changed, added and gone; an order gone; a dead sensor; the duplicate taken back.
    land(f"order_lines/order_dt={D1}/a.csv", line(1, quantity=5), line(2), line(2, 2), line(7)),
    land(f"orders/order_dt={D1}/a.csv", order(1, D1), order(3, D1, customer_id=9)),
    land(f"orders/order_dt={D2}/a.csv", order(4, D2, currency="USD"), order(7, D1)),
    land(f"sensors/{D1}.csv", reading(f"{D1}T12:00:00")),
    ("load",), ("build",), ("compare",),
    # Restated dimensions: a customer and a price version gone, an older price version in between.
    land("customers.csv", customer(1, "Jane")),
    land(f"products/effective_dt={D2}/a.csv", product(9, "5")),
    land(f"products/effective_dt={D1}/b.csv", product(1, "11")),
    ("load",), ("build",), ("compare",), ("settle",),
]  # fmt: skip

# What a person takes back: a file, one killed half-way, a table, the whole lake; and one that was right after all.
MENDED: list[Action] = [
    land("customers.csv", customer(1), customer(2)),
    land("products.csv", product(1, "10"), product(2, "20")),
    land("stores.csv", store(1)),
    land(f"orders/order_dt={D1}/a.csv", order(1, D1), order(2, D1, customer_id=2)),
    land(f"order_lines/order_dt={D1}/a.csv", line(1), line(1, 2, 2), line(2)),
    ("load",), ("build",), ("snapshot", "first"),
    land(f"orders/order_dt={D2}/a.csv", order(4, D2, currency="USD"), order(1, D1, customer_id=2)),
    land(f"order_lines/order_dt={D2}/a.csv", line(4), line(2, quantity=7)),
    land(f"products/effective_dt={D2}/a.csv", product(1, "12"), product(2, op="D")),
    land(f"orders/order_dt={D1}/a.csv", order(1, D1, payment="BARTER")),
    ("load",), ("build",), ("compare",),
    ("undo", f"order_lines/order_dt={D2}/a.csv"), ("build",), ("compare",),
    ("undo", f"products/effective_dt={D2}/a.csv", 3), ("load",),
    ("undo", f"products/effective_dt={D2}/a.csv"), ("build",), ("compare",),
    ("restore", "order_lines", "first"), ("go-back", "first"), ("build",), ("compare",),
    ("load",), ("reload", f"order_lines/order_dt={D2}/a.csv"), ("build",), ("compare",), ("settle",),
]  # fmt: skip


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with Workshop(tmp_path_factory.mktemp("workshop")) as workshop:
        yield workshop


def list_models() -> list[str]:
    return sorted(file.stem for layer in ("silver", "gold") for file in (ROOT / "dbt/models" / layer).rglob("*.sql"))


@settings(
    max_examples=int(os.environ.get("LAKEOPS_SEQUENCES", SEQUENCES)),
    # The same sequences for everybody: what nobody touched must not fail. `make prove` looks for new ones.
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@example(WEEK)
@example(MENDED)
@given(sequences(list_models()))
def test_incremental_equals_full(workshop: Workshop, actions: list[Action]):
    note(describe(actions))
    assert find_faults(actions, workshop.run(actions)) == []

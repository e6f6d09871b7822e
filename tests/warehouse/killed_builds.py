"""Builds that are killed at one statement after the other, each from the same warehouse, and what comes after them."""

from __future__ import annotations

from collections.abc import Callable

from warehouse.landings import DAYS, Action, customer, get_columns, line, order, product, reading, store
from warehouse.workshop import Workshop

D1, D2, *_ = DAYS


def land(name: str, *rows: tuple) -> Action:
    """Return the action that lands a file; its table is the first word of its name."""
    return ("land", name, get_columns(name.split("/")[0].removesuffix(".csv")), rows)


# The build that is killed has something to do in most models: rows to add, to change, and to take away.
BEFORE: list[Action] = [
    land("customers.csv", customer(1), customer(2)),
    land("products.csv", product(1), product(2)),
    land("stores.csv", store(1)),
    land(f"orders/order_dt={D1}/a.csv", order(1, D1), order(2, D1, customer_id=3), order(3, D1, store_id=2)),
    land(f"order_lines/order_dt={D1}/a.csv", line(1), line(1, 2, 3), line(2), line(3), line(4)),
    land(f"sensors/{D1}/a.csv", reading(f"{D1}T10:00:00")),
    ("load",), ("build",),
    land("customers.csv", customer(1, "Al")),
    land(f"products/effective_dt={D2}/a.csv", product(1, "12"), product(3)),
    land(f"stores/effective_dt={D2}/a.csv", store(2)),
    land(f"orders/order_dt={D2}/a.csv", order(4, D2), order(5, D2, currency="USD")),
    land(f"order_lines/order_dt={D1}/a.csv", line(1, quantity=3), line(2), line(4)),
    land(f"sensors/{D1}/a.csv", reading(f"{D1}T11:00:00")),
    ("load",),
]  # fmt: skip


def kill_builds(workshop: Workshop, choose: Callable[[list[str]], list[int]]) -> tuple[int, list[str]]:
    """Kill a build in many places; returns how many were killed, and what was wrong after the next build.

    Parameters
    ----------
    choose : takes the statements that a build sends, returns the numbers (from 1) of those before which it is killed.
    """
    kept = [*BEFORE, ("keep",)]
    statements = workshop.run([*kept, ("trace",)])[-1]["statements"]
    places = choose(statements)
    # What a full refresh comes to is the same for all of them: `compare` with True takes the first one's.
    actions = [*kept, ("compare",), *(
        action
        for place in places
        for action in (("put-back",), ("build", None, place), ("build",), ("compare", True))
    )]  # fmt: skip
    results = workshop.run(actions)
    kills, faults = 0, []
    for number, place in enumerate(places):
        _, killed, _, compared = results[len(kept) + 1 + 4 * number :][:4]
        kills += "killed" in killed
        if compared["differing"]:
            faults.append(f"killed before statement {place} ({statements[place - 1]}): {compared['differing']}")
    return kills, faults


def list_edges(statements: list[str]) -> list[int]:
    """Return the places right before and right after each model's commit, and those in between of fct_sales."""
    commits = [number for number, statement in enumerate(statements, start=1) if statement.endswith(": commit")]
    inside = [number for number, statement in enumerate(statements, start=1) if statement.startswith("fct_sales:")]
    return sorted({*commits, *(number + 1 for number in commits if number < len(statements)), *inside})

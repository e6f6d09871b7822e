"""Builds that are killed, done twice, or done after somebody changed what they are made by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from warehouse.killed_builds import BEFORE, D1, D2, kill_builds, land, list_edges
from warehouse.landings import DAYS, product
from warehouse.workshop import UNDO_STEPS, SequenceError, Workshop

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


def test_a_build_takes_in_what_a_killed_undo_took_out(workshop: Workshop):
    """A commit that only takes rows away shows in no newest batch and, if it was killed, not in the ledger either."""
    file = f"order_lines/order_dt={D1}/a.csv"
    lands = [action for action in BEFORE if action[0] == "land"]
    for step in range(1, len(UNDO_STEPS) + 1):
        *_, undone, _, compared, _, _, _, healed = workshop.run(
            [
                *lands, ("load",), ("build",), ("undo", file, step), ("build",), ("compare",),
                ("load",), ("undo", file), ("build",), ("compare",),
            ]
        )  # fmt: skip
        assert "killed" in undone or step == len(UNDO_STEPS), "one of the steps is for merged tables only"
        assert compared["differing"] == healed["differing"] == {}, f"killed before step {step}"


def test_a_second_build_changes_no_row(workshop: Workshop):
    *_, first, second, again = workshop.run([*BEFORE, ("settle", "build"), ("settle", "build"), ("settle",)])
    assert {"silver.orders", "gold.fct_sales"} <= set(first["changed"])
    assert second == {"changed": []}
    assert again == {"changed": []}


@pytest.mark.parametrize(
    ("lost", "table"),
    [(f"orders/order_dt={D1}/a.csv", "orders"), (f"products/effective_dt={D2}/a.csv", "products_changes")],
    ids=["every record", "only the changes of a merged table"],
)
def test_what_a_rebuilt_table_has_lost_leaves_the_models(workshop: Workshop, lost: str, table: str):
    """The table that was lost cannot say which keys it had."""
    *_, gone, built, compared, settled = workshop.run(
        [*BEFORE, ("build",), ("lose", lost), ("build",), ("compare",), ("settle",)]
    )
    assert [name for name, *_ in gone["lost"]] == [f"data_raw/{lost}"]
    assert any(f"bronze.{table} was rebuilt" in said for said in built["recomputed"])
    assert compared["differing"] == {}
    assert settled == {"changed": []}


def test_deletes_that_a_contract_names_later_hide_no_older_row(workshop: Workshop):
    """Of a row from before, whether it is deleted is null."""
    setting = "delete_when: op = 'D'"
    without, with_it = ("edit", CONTRACT, setting, f"# {setting}"), ("edit", CONTRACT, f"# {setting}", setting)
    ask = ("ask", "select (select count(*) from bronze.products), (select count(*) from silver.products)")
    delete = land(f"products/effective_dt={DAYS[2]}/a.csv", product(2, op="D"))
    actions = [without, *BEFORE, ("build",), ask, with_it, ("load",), ("build",), ask, ("compare",)]
    *_, before, _, _, built, after, compared, _, _, _, last, again = workshop.run(
        [*actions, delete, ("load",), ("build",), ask, ("compare",)]
    )
    assert (before["answer"], after["answer"], last["answer"]) == ([[3, 3]], [[3, 3]], [[2, 2]])
    # What it shows may be other rows, though no record came.
    assert any("silver_products: its SQL has changed" in said for said in built["recomputed"])
    assert compared["differing"] == again["differing"] == {}


def test_a_changed_macro_changes_the_rows_it_made(workshop: Workshop):
    edit = ("edit", "macros/columns.sql", "nullif(trim({{ column }}), '')", "nullif(lower(trim({{ column }})), '')")
    *_, built, compared, settled = workshop.run([*BEFORE, ("build",), edit, ("build",), ("compare",), ("settle",)])
    recomputed = {said.split(",")[0] for said in built["recomputed"]}
    assert {f"silver_{name}: its SQL has changed" for name in ("customers", "stores", "orders")} <= recomputed
    assert "silver_exchange_rates: its SQL has changed" not in recomputed
    assert compared["differing"] == {}
    assert compared["sales"][0][12] == "shop"
    assert settled == {"changed": []}


def test_a_column_of_another_type_stops_the_model_and_says_how_to_make_it_anew(workshop: Workshop):
    """Kept, it would hold what is rounded to the old type, and nobody would be told."""
    narrower = ("ask", "alter table silver.products alter current_price type decimal(10,2)")
    built = [*BEFORE, ("build",), narrower]
    with pytest.raises(
        SequenceError, match=r"current_price as DECIMAL\(10,2\).*--full-refresh --select silver_products"
    ):
        workshop.run([*built, ("build", "silver_products")])
    workshop.run([*built, ("build", "silver_products", None, True), ("build", "silver_products")])


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

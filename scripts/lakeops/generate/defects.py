"""The defects the generator plants: which kinds, how many, how a row is spoiled, and who must catch it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lakeops.contract import Contract
from lakeops.errors import ContractError

# Marks the spoiled rows of a frame on its way to a file; no file carries it.
FLAW = "_flaw"
# The mark of a row that was drawn for a kind that is switched off. It is as sound as the others, but nothing else is
# drawn from it: what is must not depend on which kinds are on.
SPARED = "(spared)"


@dataclass(frozen=True)
class Kind:
    """One kind of defect in one table.

    Parameters
    ----------
    table, kind : where, and its name.
    column : the column that is wrong; the key for a row that is broken as a whole.
    test : what sees it: `type`, `fields` or `json` (the loader cannot read the row), a row test of the contract, or,
        for what no row shows by itself, the dbt test as test(model.column).
    share : of a file's rows; at least one a file.
    """

    table: str
    kind: str
    column: str
    test: str
    share: float


KINDS = (
    Kind("customers", "bad_email", "email", "matches_regex", 0.0075),
    Kind("customers", "malformed_date", "birth_date", "type", 0.005),
    Kind("customers", "null_key", "customer_id", "not_null", 0.0005),
    Kind("products", "null_key", "product_id", "not_null", 0.0005),
    Kind("stores", "unquoted_comma", "name", "fields", 0.02),
    Kind("stores", "null_key", "store_id", "not_null", 0.0005),
    Kind("suppliers", "unquoted_comma", "name", "fields", 0.02),
    Kind("suppliers", "null_key", "supplier_id", "not_null", 0.0005),
    Kind("orders", "unknown_customer", "customer_id", "is_true(silver_orders.has_known_customer)", 0.005),
    Kind("orders", "unknown_store", "store_id", "is_true(silver_orders.has_known_store)", 0.005),
    Kind("orders", "malformed_date", "order_ts", "type", 0.005),
    Kind("orders", "null_key", "order_id", "not_null", 0.001),
    Kind("orders", "duplicate_key", "order_id", "unique(orders.order_id)", 0.0005),
    Kind("order_lines", "unknown_product", "product_id", "is_true(silver_order_lines.has_known_product)", 0.01),
    Kind("order_lines", "negative_quantity", "qty", "accepted_range", 0.002),
    Kind("order_lines", "zero_price", "unit_price", "accepted_range", 0.002),
    Kind("order_lines", "null_key", "order_id", "not_null", 0.0005),
    Kind("events", "unknown_customer", "user_id", "relationships(silver_events.customer_id)", 0.01),
    Kind("events", "malformed_date", "event_ts", "type", 0.005),
    Kind("events", "broken_json", "event_id", "json", 0.001),
    Kind("events", "null_key", "event_id", "not_null", 0.0005),
    Kind("sensors", "temperature_out_of_range", "temperature_c", "accepted_range", 0.0025),
    Kind("sensors", "humidity_out_of_range", "humidity_pct", "accepted_range", 0.0025),
    Kind("sensors", "null_key", "shelf_id", "not_null", 0.0005),
    Kind("shipments", "unknown_order", "order_id", "is_true(silver_shipments.has_known_order)", 0.01),
    Kind("shipments", "null_key", "shipment_id", "not_null", 0.001),
    Kind("returns", "unknown_order", "order_id", "is_true(silver_returns.has_known_order)", 0.01),
    Kind("returns", "negative_quantity", "qty", "accepted_range", 0.005),
    Kind("returns", "null_key", "return_id", "not_null", 0.005),
)
_KINDS = {(kind.table, kind.kind): kind for kind in KINDS}
MALFORMED_DATES = ("2024-13-45", "31.02.2024", "not-a-date")
BROKEN_JSON = "{bad_json_line"


@dataclass(frozen=True)
class Defect:
    """One planted row.

    Parameters
    ----------
    file : path relative to the output folder.
    line : physical line of a text file, from 1; row of a Parquet or XLSX file, from 1, its header not counted.
    table, kind, column : what is wrong there.
    caught_by : `quarantine`, or the test of severity warn that must find it, as test(model or table.column).
    key : the row's key, as far as it has one.
    """

    file: str
    line: int
    table: str
    kind: str
    column: str
    caught_by: str
    key: dict[str, Any] = field(hash=False)


def get_kind(table: str, kind: str) -> Kind:
    """Return one kind of defect; raises KeyError if there is none of that name in `table`."""
    return _KINDS[table, kind]


def get_share(table: str, kind: str) -> float:
    """Return the share of a file's rows that carry a defect."""
    return _KINDS[table, kind].share


def count_planted(table: str, kind: str, rows: int) -> int:
    """Return how many rows of a file of `rows` rows are planted: at least one, so that a small file shows it too."""
    return max(1, round(get_share(table, kind) * rows))


def find_catcher(contract: Contract, name: str) -> str:
    """Return who must catch a kind of defect, as the contract has it now.

    Raises
    ------
    ContractError : nothing would catch it, or the loader would refuse the file for it.
    """
    kind = _KINDS[contract.table, name]
    if kind.test in ("type", "fields", "json"):
        return "quarantine"
    if "(" in kind.test:
        return kind.test
    label = f"{kind.test}({kind.table}.{kind.column})"
    for expectation in contract.expectations:
        if (expectation.test, expectation.column) == (kind.test, kind.column):
            if expectation.on_fail == "refuse":
                break
            return "quarantine" if expectation.on_fail == "quarantine" else label
    raise ContractError(
        f"The generator's defect {name!r} would not be caught row by row.",
        where=f"{contract.file}, {contract.name}.{kind.column}",
        expected=f"a test {kind.test} on that column whose on_fail is quarantine or warn",
        found="on_fail: refuse, or no such test",
        next_step="add the test, or take the kind out of scripts/lakeops/generate/defects.py",
    )


@dataclass(frozen=True)
class Spoiler:
    """How rows are spoiled.

    Parameters
    ----------
    values : column → function of a count that returns the new values.
    extra : spoil a copy instead of the row. For what ends in quarantine: nothing then misses the row that is gone.
    where : mask of the rows that can be spoiled; all if None.
    """

    values: dict[str, Callable[[int], Sequence[Any]]]
    extra: bool = False
    where: np.ndarray | None = None


def plant(
    frame: pl.DataFrame, table: str, rng: np.random.Generator, spoilers: dict[str, Spoiler], kinds: Collection[str]
) -> pl.DataFrame:
    """Return `frame` with defects planted and the rows concerned marked in the column `_flaw`.

    A row carries one defect at most. Extra rows stand at random places between the others. A kind that is switched
    off is drawn all the same, so that the others stay where they are; its rows are marked as SPARED.

    Parameters
    ----------
    frame : rows of one table and day, clean.
    table : the table's name; the counts per kind come from KINDS.
    rng : draws the rows.
    spoilers : kind → how.
    kinds : those that are switched on.
    """
    clean = frame.with_columns(pl.lit(None, dtype=pl.String).alias(FLAW))
    free = np.ones(clean.height, dtype=bool)
    spoiled, extras = clean, []
    for kind, spoiler in spoilers.items():
        candidates = np.flatnonzero(free if spoiler.where is None else free & spoiler.where)
        count = min(count_planted(table, kind, clean.height), len(candidates))
        rows = np.sort(rng.choice(candidates, count, replace=False)) if count else candidates[:0]
        if spoiler.extra:
            extras.append(_set_values(clean[rows], np.arange(count), kind, spoiler, count))
        else:
            free[rows] = False
            mark, how = (kind, spoiler) if kind in kinds else (SPARED, Spoiler({}))
            spoiled = _set_values(spoiled, rows, mark, how, count)
    places = [np.arange(clean.height, dtype=float)]
    places += [np.floor(rng.random(extra.height) * clean.height) + 0.5 for extra in extras]
    planted = pl.concat([spoiled, *extras])[np.argsort(np.concatenate(places), kind="stable")]
    return planted.filter(pl.col(FLAW).is_null() | pl.col(FLAW).is_in([*kinds, SPARED]))


def _set_values(frame: pl.DataFrame, rows: np.ndarray, kind: str, spoiler: Spoiler, count: int) -> pl.DataFrame:
    columns = [frame[FLAW].scatter(rows, [kind] * count)] if count else []
    for name, make in spoiler.values.items():
        if count:
            columns.append(frame[name].scatter(rows, pl.Series(list(make(count)), dtype=frame[name].dtype)))
    return frame.with_columns(columns)


def repeat(*values: Any) -> Callable[[int], list[Any]]:
    """Return a maker of values that goes round `values`."""
    return lambda count: [values[index % len(values)] for index in range(count)]


def count_up(first: int, *, as_text: bool) -> Callable[[int], list[Any]]:
    """Return a maker of values first, first + 1, …"""
    return lambda count: [str(first + index) if as_text else first + index for index in range(count)]

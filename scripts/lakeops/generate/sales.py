"""The files of orders and their lines: the day's own, the late ones of the day before, and what is sent twice."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import numpy as np
import polars as pl

from lakeops.contract import Contracts
from lakeops.generate.defects import FLAW, MALFORMED_DATES, Spoiler, count_planted, count_up, plant, repeat
from lakeops.generate.draw import make_generator
from lakeops.generate.files import to_text
from lakeops.generate.orders import FIRST_EXTRA, Orders, find_first_id
from lakeops.generate.signals import UNKNOWN_ID


def spoil_headers(orders: Orders, contracts: Contracts, day: date, seed: int, kinds: Collection[str]) -> pl.DataFrame:
    """Return the day's order headers as text, with defects."""
    text = to_text(orders.headers, contracts.get_table("orders"))
    spoilers = {
        "unknown_customer": Spoiler({"customer_id": count_up(UNKNOWN_ID, as_text=True)}),
        "unknown_store": Spoiler({"store_id": count_up(UNKNOWN_ID, as_text=True)}),
        # Copies with a number of their own and no lines: what is quarantined leaves nothing without its parent.
        "malformed_date": Spoiler(
            {
                "order_id": count_up(find_first_id(day) + FIRST_EXTRA, as_text=True),
                "order_ts": repeat(*MALFORMED_DATES),
            },
            extra=True,
        ),
        "null_key": Spoiler({"order_id": repeat(None)}, extra=True),
    }
    return plant(text, "orders", make_generator(seed, day, "order defects"), spoilers, kinds)


def pick_duplicates(headers: pl.DataFrame, day: date, seed: int) -> pl.DataFrame:
    """Return a few sound headers of the day once more, for a second file."""
    sound = headers.filter(pl.col(FLAW).is_null())
    count = count_planted("orders", "duplicate_key", sound.height)
    rows = make_generator(seed, day, "duplicates").choice(sound.height, count, replace=False)
    return sound[np.sort(rows)].with_columns(pl.lit("duplicate_key").alias(FLAW))


def spoil_lines(orders: Orders, contracts: Contracts, day: date, seed: int, kinds: Collection[str]) -> pl.DataFrame:
    """Return the day's order lines as text, with defects."""
    text = to_text(orders.lines, contracts.get_table("order_lines"))
    spoilers = {
        "unknown_product": Spoiler({"product_id": count_up(UNKNOWN_ID, as_text=True)}),
        "negative_quantity": Spoiler({"qty": repeat("-1", "-2")}),
        "zero_price": Spoiler({"unit_price": repeat("0.0000")}),
        "null_key": Spoiler({"order_id": repeat(None)}, extra=True),
    }
    return plant(text, "order_lines", make_generator(seed, day, "line defects"), spoilers, kinds)

"""What becomes of orders on a day: parcels leave, parcels arrive, goods come back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

import numpy as np
import polars as pl

from lakeops.generate.defects import Spoiler, count_up, plant, repeat
from lakeops.generate.draw import make_generator
from lakeops.generate.orders import FIRST_EXTRA, FIRST_UNKNOWN, find_first_id

# One order has one parcel, and sends back one line at most: their ids are the order's with a digit behind it.
_SHIPMENT = (pl.col("order_id") * 10 + 1).alias("shipment_id")
_RETURN = (pl.col("order_id") * 10 + pl.col("line_number")).alias("return_id")
_NEVER = pl.lit(None, pl.Datetime("us")).alias("delivered_at")


def make_shipments(stories: pl.DataFrame, day: date, seed: int, kinds: Collection[str]) -> pl.DataFrame:
    """Return the parcels that leave on `day`, on their way still, with defects."""
    sent = stories.filter(pl.col("is_online"))
    frame = sent.select(_SHIPMENT, "order_id", "carrier", "shipped_at", _NEVER, "ship_cost")
    first = find_first_id(day)
    spoilers = {
        "unknown_order": Spoiler(
            {
                "order_id": count_up(first + FIRST_UNKNOWN, as_text=False),
                "shipment_id": count_up((first + FIRST_EXTRA) * 10, as_text=False),
            },
            extra=True,
        ),
        "null_key": Spoiler({"shipment_id": repeat(None)}, extra=True),
    }
    return plant(frame, "shipments", make_generator(seed, day, "shipment defects"), spoilers, kinds)


def make_deliveries(stories: Mapping[date, pl.DataFrame], day: date) -> pl.DataFrame:
    """Return a second record of each parcel that arrives on `day`; `stories` holds the orders of the days before."""
    arrived = _find_due(stories, day, "deliver_in")
    return arrived.select(_SHIPMENT, "order_id", "carrier", "shipped_at", "delivered_at", "ship_cost")


def make_returns(stories: Mapping[date, pl.DataFrame], day: date, seed: int, kinds: Collection[str]) -> pl.DataFrame:
    """Return what comes back on `day`, of the orders in `stories`, with defects."""
    back = _find_due(stories, day, "return_in")
    frame = back.select(_RETURN, "order_id", "product_id", pl.col("returned_at").alias("return_ts"), "qty", "reason")
    first = find_first_id(day)

    def make_ids(block: int) -> dict[str, object]:
        return {"return_id": count_up((first + FIRST_EXTRA) * 10 + block, as_text=False)}

    spoilers = {
        "unknown_order": Spoiler(
            {"order_id": count_up(first + FIRST_UNKNOWN, as_text=False), **make_ids(0)}, extra=True
        ),
        "negative_quantity": Spoiler({"qty": repeat(-1), **make_ids(500_000)}, extra=True),
        "null_key": Spoiler({"return_id": repeat(None)}, extra=True),
    }
    return plant(frame, "returns", make_generator(seed, day, "return defects"), spoilers, kinds)


def _find_due(stories: Mapping[date, pl.DataFrame], day: date, column: str) -> pl.DataFrame:
    due = [frame.filter(pl.col(column) == (day - ordered).days) for ordered, frame in stories.items() if ordered <= day]
    return pl.concat(due)


def count_earlier(frame: pl.DataFrame, start: date) -> int:
    """Return how many rows refer to an order of a day before `start`."""
    return int((frame["order_id"].to_numpy() < np.int64(find_first_id(start))).sum())

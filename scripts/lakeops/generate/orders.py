"""The orders of a day, and what will become of each: shipped, delivered, returned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from lakeops.generate.draw import make_generator, pick_weighted
from lakeops.generate.names import RANGE
from lakeops.generate.rhythm import draw_seconds, find_demand, find_offer
from lakeops.generate.world import CURRENCIES, SUBCATEGORIES, World, find_rate

# A day's order numbers: standing and seeded orders count from 1, the other blocks follow, so that none is used twice.
ORDERS_A_DAY = 1_000_000
FIRST_EXTRA, FIRST_LATE, FIRST_OVERDUE, FIRST_UNKNOWN = 800_001, 900_001, 910_001, 990_001
# Of each of the days that an overdue file can be behind.
_OVERDUE_A_LAG = 2_500
# What an order still brings, it brings within these days.
LONGEST_STORY = 14
# Shops and head office keep Brisbane time: ten hours ahead of UTC, no daylight saving.
_HOURS_AHEAD = 10
_DAY = np.timedelta64(86_400, "s")


@dataclass(frozen=True)
class Orders:
    """The orders of one day.

    Parameters
    ----------
    headers, lines : rows of the tables `orders` and `order_lines`.
    stories : one row per order: when it is shipped, delivered (`deliver_in` days) and returned (`return_in` days),
        -1 for never.
    """

    headers: pl.DataFrame
    lines: pl.DataFrame
    stories: pl.DataFrame

    def __add__(self, other: Orders) -> Orders:
        """Return both together."""
        return Orders(
            pl.concat([self.headers, other.headers]),
            pl.concat([self.lines, other.lines]),
            pl.concat([self.stories, other.stories]),
        )


def find_first_id(day: date) -> int:
    """Return the number that `day`'s identifiers count from: 20240401000000 for 2024-04-01.

    Identifiers come from the day and not from the seed, so that two calls for different days never collide.
    """
    return (day.year * 10_000 + day.month * 100 + day.day) * ORDERS_A_DAY


def draw_standing_orders(world: World, day: date) -> Orders:
    """Return the day's standing orders (subscriptions), which are the same whatever the seed.

    A later call does not know the seed of the call before it. What it brings for earlier orders (deliveries,
    returns) belongs to these, so it always refers to an order, and to lines, that exist.
    """
    count = max(6, round(60 * world.scale))
    return _draw(world, day, make_generator(None, day, "orders"), find_first_id(day) + 1, count, standing=True)


def draw_orders(world: World, day: date, seed: int, volume: float = 1.0, price: float = 1.0) -> Orders:
    """Return all orders of `day`: the standing ones and those that the seed draws.

    Parameters
    ----------
    world, day, seed : where, when, and which draw.
    volume, price : how far the day's number of orders and the prices charged have drifted; 1 is as usual.
    """
    standing = draw_standing_orders(world, day)
    rng = make_generator(seed, day, "orders")
    expected = max(40.0, 1000 * world.scale) * find_demand(day) * volume
    count = max(30, int(rng.poisson(expected))) - standing.headers.height
    first = find_first_id(day) + 1 + standing.headers.height
    orders = standing + _draw(world, day, rng, first, max(10, count))
    if price == 1.0:
        return orders
    charged = np.maximum(0.01, np.round(orders.lines["unit_price"].to_numpy() * price, 4))
    return replace(orders, lines=orders.lines.with_columns(pl.Series("unit_price", charged)))


def draw_late_orders(world: World, day: date, seed: int) -> Orders:
    """Return the orders of `day` that a till without network sends a day later."""
    rng = make_generator(seed, day, "late orders")
    count = max(3, round(20 * world.scale))
    return _draw(world, day, rng, find_first_id(day) + FIRST_LATE, count, till=True)


def draw_overdue_orders(world: World, arrival: date, hours: int, seed: int) -> Orders:
    """Return orders that arrive on `arrival` and were placed up to `hours` before that day began.

    They are booked on one day, the one that began `hours` before, rounded to whole days. Their numbers are of a block
    for that many days, so files that are overdue by different spans never collide.
    """
    lag = -(-hours // 24)
    day = arrival - timedelta(days=lag)
    rng = make_generator(seed, day, f"overdue orders:{lag}")
    count = max(3, round(20 * world.scale))
    orders = _draw(world, day, rng, find_first_id(day) + FIRST_OVERDUE + lag * _OVERDUE_A_LAG, count, till=True)
    # Of the day that the span begins in, only the part within the span.
    midnight = np.datetime64(day, "s") - np.timedelta64(_HOURS_AHEAD * 3600, "s")
    since = (orders.headers["order_ts"].to_numpy() - midnight).astype("timedelta64[s]").astype(np.int64)
    skipped = (24 * lag - hours) * 3600
    placed = midnight + (skipped + since * (86_400 - skipped) // 86_400).astype("timedelta64[s]")
    return replace(orders, headers=orders.headers.with_columns(pl.Series("order_ts", placed.astype("datetime64[us]"))))


def _draw(
    world: World,
    day: date,
    rng: np.random.Generator,
    first_id: int,
    count: int,
    *,
    standing: bool = False,
    till: bool = False,
) -> Orders:
    ids = np.arange(first_id, first_id + count)
    midnight = np.datetime64(day, "s")
    placed = midnight + draw_seconds(rng, count) - np.timedelta64(_HOURS_AHEAD * 3600, "s")
    customers = world.pick_customers(rng, count, day)
    currencies = world.find_currencies(customers, day)
    online = ((currencies != "AUD") | (rng.random(count) < 0.35)) & (not till)
    stores = world.pick_stores(rng, count)
    if standing:
        # The first three make sure that every day has a return, and a delivery and a return on the day after.
        online[:3] = (False, True, False)
    if till:
        currencies[:], stores[:] = "AUD", stores[0]
    headers = pl.DataFrame(
        {
            "order_id": ids,
            "order_ts": placed.astype("datetime64[us]"),
            "order_dt_local": [day] * count,
            "customer_id": customers,
            "store_id": stores,
            "channel": np.where(online, "Online", "Retail"),
            "payment_method": _draw_payments(rng, online),
            "coupon_code": _draw_coupons(rng, count),
            "shipping_fee": np.where(online, rng.choice([0.0, 4.95, 9.95, 14.5], count, p=[0.3, 0.3, 0.3, 0.1]), 0.0),
            "currency": pl.Series(currencies.tolist(), dtype=pl.String),
        }
    )
    lines = _draw_lines(world, day, rng, ids, currencies)
    return Orders(headers, lines, _draw_stories(rng, midnight, placed, online, lines, standing))


def _draw_payments(rng: np.random.Generator, online: np.ndarray) -> np.ndarray:
    at_till = np.array(["CARD", "CASH", "AFTERPAY", "PAYPAL"])[
        pick_weighted(rng, np.array([66, 22, 9, 3]), len(online))
    ]
    on_site = np.array(["CARD", "PAYPAL", "AFTERPAY"])[pick_weighted(rng, np.array([58, 27, 15]), len(online))]
    return np.where(online, on_site, at_till)


def _draw_coupons(rng: np.random.Generator, count: int) -> pl.Series:
    chance, number = rng.random(count), rng.integers(1, 1000, count)
    codes = [f"COUPON{n:03d}" if p < 0.14 else None for p, n in zip(chance, number, strict=True)]
    return pl.Series(codes, dtype=pl.String)


def _draw_lines(
    world: World, day: date, rng: np.random.Generator, order_ids: np.ndarray, currencies: np.ndarray
) -> pl.DataFrame:
    sizes = 1 + pick_weighted(rng, np.array([12, 17, 22, 22, 15, 12]), len(order_ids))
    total = int(sizes.sum())
    products = world.pick_products(rng, total, day)
    rates = {currency: find_rate(currency, day) for currency in CURRENCIES}
    rate = np.repeat(np.array([rates[currency] for currency in currencies.tolist()]), sizes)
    category = np.array([category for category, _ in SUBCATEGORIES], dtype=object)[world.find_subcategories(products)]
    on_offer, share = find_offer(day)
    personal = np.where(rng.random(total) < 0.18, np.round(rng.random(total) * 0.25, 4), 0.0)
    taxes = {name: tax for name, (_, tax, _) in RANGE.items()}
    starts = np.cumsum(sizes) - sizes
    return pl.DataFrame(
        {
            "order_id": np.repeat(order_ids, sizes),
            "line_number": np.arange(total) - np.repeat(starts, sizes) + 1,
            "product_id": products,
            "qty": 1 + pick_weighted(rng, np.array([60, 22, 9, 5, 4]), total),
            "unit_price": np.maximum(0.01, np.round(world.find_prices(products, day) / rate, 4)),
            "line_discount_pct": np.where(category == on_offer, share, personal),
            "tax_pct": np.array([taxes[name] for name in category.tolist()]),
        }
    )


def _draw_stories(
    rng: np.random.Generator,
    midnight: np.datetime64,
    placed: np.ndarray,
    online: np.ndarray,
    lines: pl.DataFrame,
    standing: bool,
) -> pl.DataFrame:
    count = len(placed)
    deliver_in = np.where(
        online & (rng.random(count) < 0.96), 1 + pick_weighted(rng, np.array([30, 30, 18, 10, 6, 4, 2]), count), -1
    )
    # Goods are sent back after they came: an online order not before its delivery.
    wait = np.where(
        online, deliver_in + 1 + pick_weighted(rng, np.ones(7), count), pick_weighted(rng, np.ones(15), count)
    )
    return_in = np.where((rng.random(count) < 0.09) & (~online | (deliver_in > 0)), wait, -1)
    if standing:
        return_in[:3], deliver_in[:3] = (0, -1, 1), (-1, 1, -1)
    # One line of the order comes back; the first row of each order, plus a step within it.
    order_ids, line_orders = np.unique(lines["order_id"].to_numpy(), return_index=True)
    sizes = np.diff(np.append(line_orders, lines.height))
    line = line_orders + (rng.random(count) * sizes).astype(np.int64)
    returned, chance = lines[line], rng.random(count)
    # Both happen on a UTC day; never before the order, which can be from late in the UTC day before or early in this.
    earliest = np.maximum(placed, midnight)
    shipped = _draw_moments(rng, earliest, midnight + _DAY)
    returned_day = midnight + np.maximum(return_in, 0) * _DAY
    returned_at = _draw_moments(rng, np.maximum(placed, returned_day), returned_day + _DAY)
    delivered_day = midnight + np.maximum(deliver_in, 0) * _DAY
    delivered = _draw_moments(rng, delivered_day, delivered_day + _DAY)
    carriers = np.array(["AUSPOST", "STARTRACK", "TOLL", "DHL"])
    reasons = np.array(["Damaged", "Wrong Item", "Changed Mind", "Other"])
    return pl.DataFrame(
        {
            "order_id": order_ids,
            "is_online": online,
            "carrier": carriers[pick_weighted(rng, np.array([60, 18, 14, 8]), count)],
            "shipped_at": shipped.astype("datetime64[us]"),
            "deliver_in": deliver_in,
            "delivered_at": delivered.astype("datetime64[us]"),
            "ship_cost": np.round(5 + rng.gamma(2.0, 4.0, count), 2),
            "return_in": return_in,
            "returned_at": returned_at.astype("datetime64[us]"),
            "line_number": returned["line_number"],
            "product_id": returned["product_id"],
            "qty": 1 + (chance * returned["qty"].to_numpy()).astype(np.int64),
            "reason": reasons[pick_weighted(rng, np.array([26, 24, 34, 16]), count)],
        }
    )


def _draw_moments(rng: np.random.Generator, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    room = (end - first).astype("timedelta64[s]").astype(np.int64)
    return first + (rng.random(len(first)) * room).astype("timedelta64[s]")

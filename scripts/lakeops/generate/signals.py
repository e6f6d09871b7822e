"""What visitors click and what shelves measure on a day."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import numpy as np
import polars as pl

from lakeops.contract import Contracts
from lakeops.generate.defects import MALFORMED_DATES, Spoiler, count_up, plant, repeat
from lakeops.generate.draw import make_generator, mix_below, pick_weighted
from lakeops.generate.files import to_text
from lakeops.generate.names import draw_pools
from lakeops.generate.orders import FIRST_EXTRA, find_first_id
from lakeops.generate.rhythm import draw_seconds, find_demand
from lakeops.generate.world import World, count_days

_TYPES = np.array(["search", "view", "click", "cart_add", "purchase"])
UNKNOWN_ID = 9_999_999_001
_SHELVES = 10


def make_events(world: World, day: date, seed: int, kinds: Collection[str], volume: float = 1.0) -> pl.DataFrame:
    """Return the click-stream of `day`, with defects; visits of a few clicks each."""
    rng = make_generator(seed, day, "events")
    wanted = max(60, int(rng.poisson(max(60.0, 2000 * world.scale) * find_demand(day) * volume)))
    sizes = 1 + pick_weighted(rng, np.array([22, 20, 18, 14, 10, 8, 5, 3]), wanted)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), wanted)) + 1]
    visits, count = len(sizes), int(sizes.sum())
    visitor = pl.Series(world.pick_customers(rng, visits, day)).scatter(np.flatnonzero(rng.random(visits) < 0.2), None)
    browsers = draw_pools().browsers[rng.integers(0, len(draw_pools().browsers), visits)]
    addresses = [".".join(map(str, part)) for part in rng.integers(1, 255, (visits, 4)).tolist()]
    sessions = [f"{number:016x}" for number in rng.integers(0, 1 << 63, visits).tolist()]
    # Shop hours are Brisbane's, ten hours ahead; the day of an event is the UTC day.
    begin = (draw_seconds(rng, visits) - 36_000) % 86_400 * 1_000_000
    step = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    since = np.repeat(begin, sizes) + step * 37_000_000 + rng.integers(0, 37_000_000, count)
    moment = np.datetime64(day, "us") + np.minimum(since, 86_400_000_000 - 1)
    visit = np.repeat(np.arange(visits), sizes)
    frame = pl.DataFrame(
        {
            "event_ts": pl.Series(moment).dt.to_string("%Y-%m-%dT%H:%M:%S%.6f"),
            "event_type": _TYPES[pick_weighted(rng, np.array([22, 40, 22, 11, 5]), count)],
            "user_id": visitor[visit],
            "session_id": pl.Series(sessions)[visit],
            "metadata": pl.DataFrame({"ua": browsers.tolist(), "ip": addresses})[visit].to_struct(),
        }
    ).sort("event_ts", maintain_order=True)
    first = find_first_id(day)
    frame = frame.select(pl.Series("event_id", np.arange(first + 1, first + 1 + count)), pl.all())
    own_id = {"event_id": count_up(first + FIRST_EXTRA, as_text=False)}
    spoilers = {
        "unknown_customer": Spoiler({"user_id": count_up(UNKNOWN_ID, as_text=False)}),
        "malformed_date": Spoiler({"event_ts": repeat(*MALFORMED_DATES), **own_id}, extra=True),
        "broken_json": Spoiler({}, extra=True),
        "null_key": Spoiler({"event_id": repeat(None)}, extra=True),
    }
    return plant(frame, "events", make_generator(seed, day, "event defects"), spoilers, kinds)


def make_sensors(world: World, contracts: Contracts, day: date, seed: int, kinds: Collection[str]) -> pl.DataFrame:
    """Return the readings of `day` as text, sorted by store, with defects; one file a store and day comes of it."""
    stores = np.sort(world.selling_stores[: max(8, round(100 * world.scale))])
    rng = make_generator(seed, day, "sensors")
    wanted = max(12 * len(stores), round(7000 * world.scale))
    each = -(-wanted // len(stores))
    # A minute is taken once per store and day, so no two readings of a shelf share their time.
    minutes = np.concatenate([np.sort(rng.choice(1440, min(each, 1440), replace=False)) for _ in stores])
    store = np.repeat(stores, min(each, 1440))
    shelf = rng.integers(0, _SHELVES, len(store))
    is_cold = mix_below(3, "cold shelf", store, shelf) == 0
    # A battery lasts about 400 days, each shelf's from another day on.
    age = (count_days(day) + mix_below(400, "battery", store, shelf)) % 400
    frame = pl.DataFrame(
        {
            "sensor_ts": (np.datetime64(day, "s") + minutes * 60).astype("datetime64[us]"),
            "store_id": store,
            "shelf_id": pl.Series([f"SHELF-{number + 1:03d}" for number in shelf.tolist()]),
            "temperature_c": np.where(is_cold, 4.0, 21.5) + rng.normal(0, 1.2, len(store)).clip(-6, 6),
            "humidity_pct": 52 + rng.normal(0, 8, len(store)).clip(-35, 35),
            "battery_mv": 4150 - 2 * age + rng.integers(-12, 13, len(store)),
        }
    )
    spoilers = {
        "temperature_out_of_range": Spoiler({"temperature_c": repeat("-50.00", "85.00")}),
        "humidity_out_of_range": Spoiler({"humidity_pct": repeat("-5.00", "130.00")}),
        "null_key": Spoiler({"shelf_id": repeat(None)}, extra=True),
    }
    text = to_text(frame, contracts.get_table("sensors"))
    spoiled = plant(text, "sensors", make_generator(seed, day, "sensor defects"), spoilers, kinds)
    return spoiled.sort(pl.col("store_id").cast(pl.Int64), maintain_order=True)

"""Change data capture: what a stock system says of every level that is added, changed or dropped on a day."""

from __future__ import annotations

from collections import Counter
from datetime import date

import numpy as np
import polars as pl

from lakeops.generate.draw import make_generator, mix_below
from lakeops.generate.orders import find_first_id
from lakeops.generate.world import HISTORY_START, World, count_days

_FILES = 2


def make_stock_changes(world: World, day: date, seed: int) -> list[tuple[pl.DataFrame, Counter[str]]]:
    """Return the day's change files, each with its number of records by op.

    Which levels are added (I), changed (U) and dropped (D) is the world's; how much is on hand, and in which order the
    records arrive, is the seed's. A level is dropped and added again every 5 to 12 days, so the day alone decides what
    happens to it. The first day of the history adds all levels there are. `change_seq` says what came after what: the
    files do not, for both are shuffled, and changes of one level stand in either.
    """
    count = max(20, round(400 * world.scale))
    ids = np.arange(1, count + 1)
    lasts = 5 + mix_below(8, "stock:lasts", ids)
    place = (count_days(day) + mix_below(1 << 20, "stock:phase", ids)) % lasts
    dropped = place == lasts - 1
    added = (place == 0) | ((day == HISTORY_START) & ~dropped)
    updates = mix_below(4, "stock:updates", ids, count_days(day)) * ~dropped
    if day == HISTORY_START:
        dropped[:] = False
    ops = [*["I"] * int(added.sum()), *["U"] * int(updates.sum()), *["D"] * int(dropped.sum())]
    levels = np.concatenate([ids[added], np.repeat(ids, updates), ids[dropped]])
    rng = make_generator(seed, day, "stock")
    # Additions come first and drops last, as they do for each level.
    seconds = np.sort(rng.choice(86_400, len(ops), replace=len(ops) > 86_400))
    stores = world.selling_stores
    frame = pl.DataFrame(
        {
            "store_id": stores[levels % len(stores)],
            "product_id": levels,
            "change_seq": find_first_id(day) + 1 + np.arange(len(ops)),
            "op": ops,
            "on_hand": rng.integers(0, 500, len(ops)),
            "changed_at": (np.datetime64(day, "s") + seconds.astype("timedelta64[s]")).astype("datetime64[us]"),
        }
    ).with_columns(
        # A record that drops a level has its key only.
        pl.when(pl.col("op") != "D").then(pl.col("on_hand")).alias("on_hand"),
        pl.col("changed_at").dt.to_string("%Y-%m-%dT%H:%M:%S"),
    )
    frame = frame[rng.permutation(frame.height)]
    parts = [frame[place::_FILES] for place in range(_FILES)]
    return [(part, Counter(part["op"].to_list())) for part in parts]

"""A day's order lines as they are sent again, with corrections; and values that are allowed but far off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from lakeops.generate.defects import FLAW
from lakeops.generate.draw import make_generator
from lakeops.generate.scenario_list import MARK

_RESTATED_SHARE = 0.002
_OUTLIER_SHARE = 0.001
_KEY = ["order_id", "line_number"]


@dataclass(frozen=True)
class Outlier:
    """Where outliers stand, and how far off they are: within every rule of the contract, far from every other value.

    Parameters
    ----------
    column : where.
    low, step : the values are low, low + step, …
    """

    column: str
    low: float
    step: float


OUTLIERS = {
    "order_lines": Outlier("qty", 900, 1),
    "sensors": Outlier("temperature_c", 55, 0.25),
    "shipments": Outlier("ship_cost", 5000, 12.5),
}


def plant_outliers(frame: pl.DataFrame, table: str, day: date, seed: int) -> pl.DataFrame:
    """Return `frame` with outliers in sound rows, at least one, each marked; as it is for a table without outliers."""
    if table not in OUTLIERS:
        return frame
    outlier, sound = OUTLIERS[table], np.flatnonzero(frame[FLAW].is_null().to_numpy())
    # A share of the sound rows: of all there are more or fewer, by which kinds of defects are on.
    count = min(len(sound), max(1, round(_OUTLIER_SHARE * len(sound))))
    rows = np.sort(make_generator(seed, day, f"outliers:{table}").choice(sound, count, replace=False))
    values: list[float] = [outlier.low + outlier.step * (place % 20) for place in range(count)]
    column = frame[outlier.column]
    if column.dtype == pl.String:
        texts = [f"{value:g}" if outlier.step == 1 else f"{value:.2f}" for value in values]
        changed = column.scatter(rows, texts)
    else:
        changed = column.scatter(rows, pl.Series(values, dtype=column.dtype))
    marks = pl.Series(MARK, [None] * frame.height, dtype=pl.String).scatter(
        rows, [f"outliers:{outlier.column}"] * count
    )
    return frame.with_columns(changed, marks)


def restate_lines(
    lines: pl.DataFrame, stories: pl.DataFrame, day: date, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the day's lines as corrected, new and changed ones marked; and the lines that are gone.

    Everything else stands where it stood, planted defects too. No line goes that a return refers to, and no order
    loses its only line.

    Parameters
    ----------
    lines : text of the file as first sent, with `_flaw`, perhaps with marks.
    stories : what becomes of the day's orders.
    day, seed : which draw.
    """
    if MARK not in lines.columns:
        lines = lines.with_columns(pl.lit(None, pl.String).alias(MARK))
    returned = stories.filter(pl.col("return_in") >= 0).select(pl.col(_KEY).cast(pl.String))
    numbered = lines.with_row_index("_place").with_columns(
        (pl.col("line_number").cast(pl.Int64) == pl.col("line_number").cast(pl.Int64).max().over("order_id")).alias(
            "_last"
        )
    )
    sound = numbered.filter(pl.col(FLAW).is_null() & pl.col(MARK).is_null())
    free = sound.join(returned, on=_KEY, how="anti", maintain_order="left")
    # One correction an order, so none meets another.
    orders = free.filter(pl.col("_last")).sort("_place")
    rng = make_generator(seed, day, "restatement")
    order = rng.permutation(orders.height)
    wanted = max(1, round(_RESTATED_SHARE * sound.height))
    several = orders["line_number"].cast(pl.Int64).to_numpy()[order] > 1
    gone = order[several][:wanted]
    left = order[~np.isin(order, gone)]
    changed, extended = left[:wanted], left[wanted : 2 * wanted]
    places = orders["_place"].to_numpy()
    new = lines[places[extended]].with_columns(
        (pl.col("line_number").cast(pl.Int64) + 1).cast(pl.String).alias("line_number"),
        pl.lit("1").alias("qty"),
        pl.lit("restate:added").alias(MARK),
    )
    more = (lines["qty"].cast(pl.Int64) + 1).cast(pl.String)
    is_changed = pl.Series(np.isin(np.arange(lines.height), places[changed]))
    stays = ~np.isin(np.arange(lines.height), places[gone])
    corrected = lines.with_columns(
        more.zip_with(is_changed, lines["qty"]).alias("qty"),
        pl.when(is_changed).then(pl.lit("restate:changed")).otherwise(pl.col(MARK)).alias(MARK),
    )
    return pl.concat([corrected.filter(stays), new]), lines[np.sort(places[gone])]

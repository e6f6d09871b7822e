"""One call of the generator: check what was asked, then write day by day."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from lakeops.contract import Contracts
from lakeops.errors import UsageError
from lakeops.generate.defect_list import DEFECTS_FILE, merge_defects
from lakeops.generate.defects import FLAW
from lakeops.generate.dimensions import find_first_day, is_full_day, make_dimensions
from lakeops.generate.files import FileWriter, to_text
from lakeops.generate.fulfilment import count_earlier, make_deliveries, make_returns, make_shipments
from lakeops.generate.orders import LONGEST_STORY, draw_late_orders, draw_orders, draw_standing_orders
from lakeops.generate.sales import pick_duplicates, spoil_headers, spoil_lines
from lakeops.generate.signals import make_events, make_sensors
from lakeops.generate.world import CURRENCIES, HISTORY_START, World, find_rate

DEFAULT_SCALE = 0.05
_YEARS = (2000, 2199)
_LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class Summary:
    """What one call did.

    Parameters
    ----------
    out : folder the files are in.
    first_day, last_day : days the call was for.
    files, written : files of this call, and how many of them did not stand there already.
    rows : rows by table, planted ones included.
    defects : planted rows as kind → catcher → rows, e.g. `zero_price` → `accepted_range(order_lines.unit_price)` → 7.
    earlier_orders : deliveries and returns of orders from before `first_day`. They find their orders in a lake that
        has the days before; in one that begins with this call they do not.
    """

    out: Path
    first_day: date
    last_day: date
    files: int
    written: int
    rows: dict[str, int]
    defects: dict[str, dict[str, int]]
    earlier_orders: int


def generate_data(
    contracts: Contracts,
    out: Path,
    seed: int,
    start_date: date,
    days: int,
    scale: float = DEFAULT_SCALE,
    on_file: Callable[[str], None] | None = None,
) -> Summary:
    """Write the raw files of some days, and `_defects.json`, which lists every defect planted in them.

    The same arguments give the same bytes. A file that holds them already is not touched; files of other calls in
    the same folder stay, and so do their entries in `_defects.json`.

    Parameters
    ----------
    contracts : where the files go, and their columns and types.
    out : folder to write to; made if missing.
    seed : draws the days. The world (dimensions, rates, standing orders) is the same for every seed.
    start_date, days : first day, and how many.
    scale : share of the full size; 1.0 is 80,000 customers and about 1,000 orders a day. Calls that belong together
        use one scale.
    on_file : called with the path of each file, relative to `out`, once it stands.

    Returns
    -------
    Counts of files, rows and defects.

    Raises
    ------
    UsageError : an argument cannot be used, or `out` cannot be written.
    ContractError : the contracts lack a table or a column that the generator makes, or have one it does not make.
    """
    out = Path(out).absolute()
    _check_arguments(out, seed, start_date, days, scale)
    world, writer = World(scale), FileWriter(out, contracts, on_file)
    _write_dimensions(world, writer, contracts, find_first_day(start_date), start_date)
    stories: dict[date, pl.DataFrame] = {}
    if start_date != HISTORY_START:
        day_before = start_date - timedelta(days=1)
        _write_rates(writer, contracts, day_before)
        _write_late_file(world, writer, contracts, day_before, seed)
        stories = _tell_earlier_stories(world, start_date)
    earlier = 0
    for day in (start_date + timedelta(days=index) for index in range(days)):
        _write_dimensions(world, writer, contracts, day, day + timedelta(days=1))
        _write_rates(writer, contracts, day)
        stories[day] = _write_orders(world, writer, contracts, day, seed)
        stories.pop(day - timedelta(days=LONGEST_STORY + 1), None)
        earlier += _write_fulfilment(writer, stories, start_date, day, seed)
        writer.write("events", f"events/event_dt={day}/events_0001.jsonl", make_events(world, day, seed))
        readings = make_sensors(world, contracts, day, seed)
        path = f"sensors/store_id={{}}/month={day:%Y-%m}/{day}.csv"
        writer.write_by_folder("sensors", readings, readings["store_id"].to_numpy(), path)
    writer.keep(DEFECTS_FILE, merge_defects(out, writer.files, writer.defects))
    planted: dict[str, Counter[str]] = {}
    for defect in writer.defects:
        planted.setdefault(defect.kind, Counter())[defect.caught_by] += 1
    return Summary(
        out=out,
        first_day=start_date,
        last_day=start_date + timedelta(days=days - 1),
        files=len(writer.files),
        written=writer.written,
        rows=dict(writer.rows),
        defects={kind: dict(sorted(planted[kind].items())) for kind in sorted(planted)},
        earlier_orders=earlier,
    )


def _write_dimensions(world: World, writer: FileWriter, contracts: Contracts, first: date, end: date) -> None:
    while first < end:
        for table, frame in make_dimensions(world, contracts, first):
            name = table if is_full_day(first) else f"{table}_changes"
            writer.write(table, f"{table}/effective_dt={first}/{name}.csv", frame)
        first += timedelta(days=1)


def _write_rates(writer: FileWriter, contracts: Contracts, day: date) -> None:
    rates = [find_rate(currency, day) for currency in CURRENCIES]
    frame = pl.DataFrame({"date": [day] * len(CURRENCIES), "currency": CURRENCIES, "rate_to_aud": rates})
    writer.write("exchange_rates", f"exchange_rates/exchange_rates_{day}.xlsx", frame)


def _write_late_file(world: World, writer: FileWriter, contracts: Contracts, day: date, seed: int) -> None:
    late = draw_late_orders(world, day, seed)
    # Named by the day it arrives: a call for another day has a late file of its own.
    name = f"late-{day + timedelta(days=1)}.csv"
    writer.write("orders", f"orders/order_dt={day}/{name}", to_text(late.headers, contracts.get_table("orders")))
    lines = to_text(late.lines, contracts.get_table("order_lines"))
    writer.write("order_lines", f"order_lines/order_dt={day}/{name}", lines)


def _tell_earlier_stories(world: World, start: date) -> dict[date, pl.DataFrame]:
    days = [start - timedelta(days=back) for back in range(LONGEST_STORY, 0, -1)]
    # The shared history has no orders before its first day.
    known = [day for day in days if day >= HISTORY_START or start <= HISTORY_START]
    return {day: draw_standing_orders(world, day).stories for day in known}


def _write_orders(world: World, writer: FileWriter, contracts: Contracts, day: date, seed: int) -> pl.DataFrame:
    orders = draw_orders(world, day, seed)
    headers = spoil_headers(orders, contracts, day, seed)
    writer.write("orders", f"orders/order_dt={day}/part-00001.csv", headers)
    writer.write("orders", f"orders/order_dt={day}/resent-00001.csv", pick_duplicates(headers, day, seed))
    lines = spoil_lines(orders, contracts, day, seed)
    writer.write("order_lines", f"order_lines/order_dt={day}/part-00001.csv", lines)
    return orders.stories


def _write_fulfilment(writer: FileWriter, stories: dict[date, pl.DataFrame], start: date, day: date, seed: int) -> int:
    writer.write("shipments", f"shipments/ship_dt={day}/part-00001.parquet", make_shipments(stories[day], day, seed))
    deliveries = make_deliveries(stories, day)
    if deliveries.height:
        # Apart from the day's own parcels, whose folder says when they left.
        writer.write("shipments", f"shipments/delivered_dt={day}/part-00001.parquet", deliveries)
    returns = make_returns(stories, day, seed)
    writer.write("returns", f"returns/return_dt={day}/part-00001.parquet", returns)
    whole = returns.filter(pl.col(FLAW).is_null())
    return count_earlier(deliveries, start) + count_earlier(whole, start)


def _check_arguments(out: Path, seed: int, start: date, days: int, scale: float) -> None:
    def refuse(what: str, flag: str, expected: str, found: object, next_step: str) -> UsageError:
        return UsageError(what, where=flag, expected=expected, found=str(found), next_step=next_step)

    if not isinstance(seed, int) or seed < 0:
        raise refuse("The seed cannot be used.", "--seed", "a whole number from 0", seed, "for example --seed 42")
    if not isinstance(start, date) or isinstance(start, datetime):
        raise refuse(
            "The start date cannot be used.",
            "--start-date",
            "a date as YYYY-MM-DD",
            start,
            "for example --start-date 2024-04-01",
        )
    if days < 1:
        raise refuse("No day is left to generate.", "--days", "a whole number from 1", days, "for example --days 7")
    if not (_YEARS[0] <= start.year and start.toordinal() + days - 1 <= date(_YEARS[1], 12, 31).toordinal()):
        found = f"{days} days from {start}"
        raise refuse(
            "The days lie outside the world's time.",
            "--start-date, --days",
            f"days from {_YEARS[0]} to {_YEARS[1]}",
            found,
            "choose an earlier or later start",
        )
    if not (math.isfinite(scale) and 0 < scale <= _LARGEST_SCALE):
        expected = f"a number above 0, up to {_LARGEST_SCALE:g}"
        raise refuse("The scale cannot be used.", "--scale", expected, scale, f"for example --scale {DEFAULT_SCALE:g}")
    standing = next(path for path in (out, *out.parents) if path.exists())
    if not standing.is_dir():
        raise refuse(
            "The output folder is a file.",
            f"--out {out}",
            "a folder, or a name that is free",
            f"a file at {standing}",
            "choose another folder with --out",
        )
    if not os.access(standing, os.W_OK | os.X_OK):
        raise refuse(
            "The output folder cannot be written.",
            f"--out {out}",
            "a folder you may write to",
            f"{standing} is not writable",
            "choose another folder with --out",
        )

"""One call of the generator: check what was asked, then write day by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lakeops.contract import Contracts
from lakeops.generate.arguments import DEFAULT_SCALE, check_arguments
from lakeops.generate.bad_files import BAD_FILES
from lakeops.generate.corrections import plant_outliers, restate_lines
from lakeops.generate.defect_list import DEFECTS_FILE, merge_defects
from lakeops.generate.defects import FLAW
from lakeops.generate.dimensions import find_first_day, is_full_day, make_dimensions
from lakeops.generate.files import FileWriter, to_text
from lakeops.generate.fulfilment import count_earlier, make_deliveries, make_returns, make_shipments
from lakeops.generate.orders import (
    LONGEST_STORY,
    Orders,
    draw_late_orders,
    draw_orders,
    draw_overdue_orders,
    draw_standing_orders,
)
from lakeops.generate.sales import pick_duplicates, spoil_headers, spoil_lines
from lakeops.generate.scenario_list import SCENARIOS_FILE, merge_scenarios
from lakeops.generate.scenarios import NO_SCENARIO, Scenarios, check_scenarios
from lakeops.generate.signals import make_events, make_sensors
from lakeops.generate.stock import make_stock_changes
from lakeops.generate.world import CURRENCIES, HISTORY_START, World, find_rate


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
    scenarios : entries of this call in `_scenarios.json`, by scenario.
    """

    out: Path
    first_day: date
    last_day: date
    files: int
    written: int
    rows: dict[str, int]
    defects: dict[str, dict[str, int]]
    earlier_orders: int
    scenarios: dict[str, int]


def generate_data(
    contracts: Contracts,
    out: Path,
    seed: int,
    start_date: date,
    days: int,
    scale: float = DEFAULT_SCALE,
    on_file: Callable[[str], None] | None = None,
    scenarios: Scenarios = NO_SCENARIO,
) -> Summary:
    """Write the raw files of some days, and `_defects.json`, which lists every defect planted in them.

    The same arguments give the same bytes. A file that holds them already is not touched; files of other calls in
    the same folder stay, and so do their entries in `_defects.json`. What scenarios did stands in `_scenarios.json`.

    Parameters
    ----------
    contracts : where the files go, and their columns and types.
    out : folder to write to; made if missing.
    seed : draws the days. The world (dimensions, rates, standing orders) is the same for every seed.
    start_date, days : first day, and how many.
    scale : share of the full size; 1.0 is 80,000 customers and about 1,000 orders a day. Calls that belong together
        use one scale.
    on_file : called with the path of each file, relative to `out`, once it stands.
    scenarios : kinds of defects, and scenarios.

    Returns
    -------
    Counts of files, rows and defects.

    Raises
    ------
    UsageError : an argument cannot be used, or `out` cannot be written.
    ContractError : the contracts lack a table or a column that the generator makes, or have one it does not make.
    """
    out = Path(out).absolute()
    check_arguments(out, seed, start_date, days, scale, scenarios)
    check_scenarios(scenarios, contracts, start_date, days)
    writer = FileWriter(out, contracts, on_file)
    earlier = _Call(World(scale), writer, contracts, seed, scenarios).write_days(start_date, days)
    writer.keep(DEFECTS_FILE, merge_defects(out, writer.files, writer.defects))
    listed = merge_scenarios(out, writer.files, writer.traces)
    if listed is not None:
        writer.keep(SCENARIOS_FILE, listed)
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
        scenarios=dict(sorted(Counter(trace.scenario for trace in writer.traces).items())),
    )


@dataclass(frozen=True)
class _Call:
    world: World
    writer: FileWriter
    contracts: Contracts
    seed: int
    scenarios: Scenarios

    def write_days(self, start: date, days: int) -> int:
        """Write all files and return how many rows refer to orders from before `start`."""
        self._write_dimensions(find_first_day(start), start)
        stories: dict[date, pl.DataFrame] = {}
        if start != HISTORY_START:
            day_before = start - timedelta(days=1)
            for back in range(max(1, self.scenarios.late_days), 0, -1):
                self._write_rates(start - timedelta(days=back), start)
            late = draw_late_orders(self.world, day_before, self.seed)
            self._write_late_orders(day_before, late, "late", start, on_request=False)
            stories = self._tell_earlier_stories(start)
        self.writer.new_columns = self.scenarios.evolve
        arriving = (start + timedelta(days=index) for index in range(days))
        first = next(day for day in arriving if day != self.scenarios.outage)
        self.writer.bad_files = {BAD_FILES[kind].path.format(day=first): kind for kind in self.scenarios.bad_files}
        earlier = 0
        for day in (start + timedelta(days=index) for index in range(days)):
            self.writer.withholds = day == self.scenarios.outage
            self._write_dimensions(day, day + timedelta(days=1))
            self._write_rates(day, start)
            stories[day] = self._write_orders(day)
            stories.pop(day - timedelta(days=LONGEST_STORY + 1), None)
            earlier += self._write_fulfilment(stories, start, day)
            self._write_signals(day)
            self._write_overdue_orders(day, start)
            if self.scenarios.cdc:
                self._write_stock_changes(day)
        return earlier

    def _write_dimensions(self, first: date, end: date) -> None:
        while first < end:
            for table, frame in make_dimensions(self.world, self.contracts, first, self.scenarios.defects):
                name = table if is_full_day(first) else f"{table}_changes"
                self.writer.write(table, f"{table}/effective_dt={first}/{name}.csv", frame)
            first += timedelta(days=1)

    def _write_rates(self, day: date, start: date) -> None:
        if not _is_known(day, start):
            return
        rates = [find_rate(currency, day) for currency in CURRENCIES]
        frame = pl.DataFrame({"date": [day] * len(CURRENCIES), "currency": CURRENCIES, "rate_to_aud": rates})
        self.writer.write("exchange_rates", f"exchange_rates/exchange_rates_{day}.xlsx", frame)

    def _write_late_orders(self, day: date, late: Orders, name: str, arrival: date, *, on_request: bool) -> None:
        for table, frame in (("orders", late.headers), ("order_lines", late.lines)):
            # Named by the day it arrives: a call for another day has a late file of its own.
            path = f"{table}/order_dt={day}/{name}-{arrival}.csv"
            text = to_text(frame, self.contracts.get_table(table))
            details = {"order_dt": str(day), "arrives": str(arrival), "rows": text.height}
            self.writer.write(table, path, text, {"late": details} if on_request else None)

    def _write_overdue_orders(self, arrival: date, start: date) -> None:
        hours, lag = self.scenarios.late_hours, self.scenarios.late_days
        day = arrival - timedelta(days=lag)
        if hours is None or not _is_known(day, start):
            return
        orders = draw_overdue_orders(self.world, arrival, hours, self.seed)
        self._write_late_orders(day, orders, f"late-{lag}d", arrival, on_request=True)

    def _tell_earlier_stories(self, start: date) -> dict[date, pl.DataFrame]:
        days = [start - timedelta(days=back) for back in range(LONGEST_STORY, 0, -1)]
        return {day: draw_standing_orders(self.world, day).stories for day in days if _is_known(day, start)}

    def _write_orders(self, day: date) -> pl.DataFrame:
        volume, price = (self.scenarios.find_factor(of, day) for of in ("volumes", "prices"))
        orders = draw_orders(self.world, day, self.seed, volume, price)
        headers = spoil_headers(orders, self.contracts, day, self.seed, self.scenarios.defects)
        told = _tell_drift(volumes=volume)
        self.writer.write("orders", f"orders/order_dt={day}/part-00001.csv", headers, told)
        if "duplicate_key" in self.scenarios.defects:
            again = pick_duplicates(headers, day, self.seed)
            self.writer.write("orders", f"orders/order_dt={day}/resent-00001.csv", again)
        lines = spoil_lines(orders, self.contracts, day, self.seed, self.scenarios.defects)
        if self.scenarios.outliers:
            lines = plant_outliers(lines, "order_lines", day, self.seed)
        path = f"order_lines/order_dt={day}/part-00001.csv"
        if day == self.scenarios.restate:
            lines, removed = restate_lines(lines, orders.stories, day, self.seed)
            self.writer.tell_removed("order_lines", path, removed)
        self.writer.write("order_lines", path, lines, _tell_drift(prices=price, volumes=volume))
        return orders.stories

    def _write_fulfilment(self, stories: dict[date, pl.DataFrame], start: date, day: date) -> int:
        shipments = make_shipments(stories[day], day, self.seed, self.scenarios.defects)
        if self.scenarios.outliers:
            shipments = plant_outliers(shipments, "shipments", day, self.seed)
        self.writer.write("shipments", f"shipments/ship_dt={day}/part-00001.parquet", shipments)
        deliveries = make_deliveries(stories, day)
        if deliveries.height:
            # Apart from the day's own parcels, whose folder says when they left.
            self.writer.write("shipments", f"shipments/delivered_dt={day}/part-00001.parquet", deliveries)
        returns = make_returns(stories, day, self.seed, self.scenarios.defects)
        self.writer.write("returns", f"returns/return_dt={day}/part-00001.parquet", returns)
        whole = returns.filter(pl.col(FLAW).is_null())
        return count_earlier(deliveries, start) + count_earlier(whole, start)

    def _write_signals(self, day: date) -> None:
        volume = self.scenarios.find_factor("volumes", day)
        events = make_events(self.world, day, self.seed, self.scenarios.defects, volume)
        self.writer.write("events", f"events/event_dt={day}/events_0001.jsonl", events, _tell_drift(volumes=volume))
        readings = make_sensors(self.world, self.contracts, day, self.seed, self.scenarios.defects)
        if self.scenarios.outliers:
            readings = plant_outliers(readings, "sensors", day, self.seed)
        path = f"sensors/store_id={{}}/month={day:%Y-%m}/{day}.csv"
        self.writer.write_by_folder("sensors", readings, readings["store_id"].to_numpy(), path)

    def _write_stock_changes(self, day: date) -> None:
        for number, (frame, ops) in enumerate(make_stock_changes(self.world, day, self.seed), start=1):
            path = f"stock_levels/change_dt={day}/part-{number:05d}.jsonl"
            self.writer.write("stock_levels", path, frame, {"cdc": dict(sorted(ops.items()))})


def _is_known(day: date, start: date) -> bool:
    # The shared history has no orders before its first day.
    return day >= HISTORY_START or start < HISTORY_START


def _tell_drift(**factors: float) -> dict[str, dict[str, Any]]:
    moved = {of: factor for of, factor in factors.items() if factor != 1.0}
    return {"drift": moved} if moved else {}

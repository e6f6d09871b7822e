"""What optimising does to a lake that grew day by day: files, bytes, and the time of five business queries.

400 days are loaded one by one, as a lake grows. Each query then runs in turn on the lake as it was, after
`lakeops optimize` (sorted by the contract's order) and after a z-order; wall and CPU time are medians of several runs.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from measure import Figure

DAYS = 400
LINES = 10_000
ORDERS = 4_000
FIRST_DAY = dt.date(2023, 1, 1)
ZORDER = ("order_dt", "customer_id")
QUERIES = {
    "a day's takings": "select count(*), sum(qty * unit_price) from order_lines where line_dt = date '2023-11-24'",
    "takings of a month, day by day": "select line_dt, sum(qty * unit_price) from order_lines"
    " where line_dt between date '2023-11-01' and date '2023-11-30' group by all order by 1",
    "best products ever": "select product_id, sum(qty * unit_price) as taken from order_lines group by all"
    " order by taken desc limit 10",
    "one customer's orders": "select order_id, order_ts, channel from orders where customer_id = 4711"
    " order by order_ts",
    "a quarter by channel": "select channel, count(distinct order_id), sum(qty * unit_price) from order_lines"
    " join orders using (order_id) where line_dt >= date '2023-10-01' and line_dt < date '2024-01-01'"
    " and order_dt >= date '2023-10-01' and order_dt < date '2024-01-01' group by all order by all",
}
TABLES = ("orders", "order_lines")


@dataclass
class State:
    """A lake in one layout: what it is made of, and what the queries cost on it."""

    name: str
    lake: Path
    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    scans: dict[str, list[str]] = field(default_factory=dict)
    answers: dict[str, list[tuple]] = field(default_factory=dict)


def bench_optimise(work: Path, repeats: int, record: Path) -> list[Figure]:
    """Measure the queries on three layouts of one lake, and write the record.

    Returns
    -------
    A figure for each query and layout; the ratio is to the lake as it grew.
    """
    folder = work / "400 daily files"
    grow(folder)
    states = lay_out(folder)
    for _ in range(repeats):
        for state in states:  # in turn, so that what else the machine does hits all of them
            ask(state)
    grown = states[0]
    if any(state.answers != grown.answers for state in states):
        raise SystemExit("the layouts do not answer alike")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(write_record(states, repeats), encoding="utf-8")
    rows = DAYS * (LINES + ORDERS)
    return [
        Figure(
            f"{state.name}: {query}",
            rows,
            sum(state.files.values()),
            sum(state.bytes.values()),
            statistics.median(state.wall[query]),
            statistics.median(state.cpu[query]),
            0.0,
            statistics.median(state.cpu[query]) / statistics.median(grown.cpu[query]),
        )
        for query in QUERIES
        for state in states
    ]


def make_settings(folder: Path, lake: Path):
    """Return the settings of a lake of the bench."""
    from lakeops.settings import load_settings

    return load_settings(folder / "raw", lake, folder / "warehouse.duckdb")


def grow(folder: Path) -> None:
    """Load so many days one by one, unless that was done."""
    from lakeops.pipeline import Selection, run_load

    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    settings = make_settings(folder, folder / "grown")
    for number in range(DAYS):
        make_day(folder / "raw", number)
        run_load(settings, Selection(root=settings.root))
        if number % 50 == 49:
            print(f"  {number + 1} days loaded", flush=True)
    (folder / "_complete").touch()


def make_day(raw: Path, number: int) -> None:
    """Write the orders and order lines of one day."""
    day = FIRST_DAY + dt.timedelta(number)
    orders, lines = (raw / table / f"order_dt={day}" / "part.csv" for table in TABLES)
    for path in (orders, lines):
        path.parent.mkdir(parents=True, exist_ok=True)
    first = number * ORDERS
    with duckdb.connect() as connection:
        connection.execute(f"""
            copy (
                select n as order_id, timestamp '{day}' + to_seconds(n % 86400) as order_ts, '{day}' as order_dt_local,
                    hash(n, 1) % 20000 + 1 as customer_id, hash(n, 2) % 40 + 1 as store_id,
                    ['web', 'store', 'app'][(hash(n, 3) % 3)::int + 1] as channel, 'CARD' as payment_method,
                    null as coupon_code, (hash(n, 4) % 1000 / 100)::decimal(12,2) as shipping_fee, 'AUD' as currency
                from range({first}, {first + ORDERS}) as numbers (n)
            ) to '{orders}' (header)
        """)
        connection.execute(f"""
            copy (
                select {first} + n % {ORDERS} as order_id, n // {ORDERS} + 1 as line_number,
                    hash(n, {number}, 1) % 25000 + 1 as product_id, hash(n, {number}, 2) % 5 + 1 as qty,
                    (hash(n, {number}, 3) % 9000 / 100 + 1)::decimal(12,4) as unit_price,
                    0.05::decimal(5,4) as line_discount_pct, 0.1::decimal(5,4) as tax_pct
                from range({LINES}) as numbers (n)
            ) to '{lines}' (header)
        """)


def lay_out(folder: Path) -> list[State]:
    """Return the lake as it grew, optimised, and z-ordered."""
    from lakeops.upkeep import optimize_table

    states = [State("as it grew", folder / "grown")]
    for name, zorder in (("optimised", None), ("z-ordered", ZORDER)):
        lake = folder / name
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(folder / "grown", lake)
        settings = make_settings(folder, lake)
        optimize_table(settings, "bronze.order_lines")
        optimize_table(settings, "bronze.orders", zorder)
        states.append(State(name, lake))
    for state in states:
        describe_tables(state)
    return states


def describe_tables(state: State) -> None:
    """Note files and bytes of the live version."""
    from lakeops.delta import get_parts, open_table

    for table in TABLES:
        parts = get_parts(open_table(state.lake / "bronze" / "delta" / table))
        state.files[table], state.bytes[table] = parts.height, int(parts["size_bytes"].sum())


def ask(state: State) -> None:
    """Run every query once in a fresh DuckDB, and note time, answer and what the plan says of the scans."""
    from lakeops.warehouse import prepare_connection

    with duckdb.connect() as connection:
        prepare_connection(connection)
        connection.execute("load delta")
        connection.execute("set delta_scan_explain_files_filtered = false")
        for table in TABLES:
            scan = f"delta_scan('{state.lake / 'bronze' / 'delta' / table}')"
            connection.execute(f"create view {table} as from {scan}")
        for name, query in QUERIES.items():
            cpu, wall = time.process_time(), time.perf_counter()
            answer = connection.execute(query).fetchall()
            state.wall.setdefault(name, []).append(time.perf_counter() - wall)
            state.cpu.setdefault(name, []).append(time.process_time() - cpu)
            state.answers[name] = answer
            if name not in state.scans:
                state.scans[name] = read_scans(connection, query)


def read_scans(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return what the plan says of every scan: files and rows read, and filters."""
    import json

    plan = json.loads(connection.execute(f"explain (analyze, format json) {query}").fetchall()[0][-1])
    found: list[str] = []

    def walk(node: dict) -> None:
        facts = node.get("extra_info", {})
        if "Total Files Read" in facts:
            filters = facts.get("Filters", [])
            filters = [filters] if isinstance(filters, str) else filters
            table = Path(facts.get("Filename(s)", "?/?").split(", ")[0]).parent.name
            found.append(
                f"{table}: files read {facts['Total Files Read']}, rows out {node.get('operator_cardinality', 0):,},"
                f" filters {' and '.join(filters) or 'none'}"
            )
        for child in node.get("children", []):
            walk(child)

    walk(plan)
    return sorted(found)


def write_record(states: list[State], repeats: int) -> str:
    """Return the record as Markdown."""
    grown = states[0]
    lines = [
        "# Before and after optimise",
        "",
        f"Made by `python scripts/bench/bench.py --only optimise` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__}; "
        f"load average while it ran: {os.getloadavg()[1]:.0f}. Do not edit: run it again.",
        "",
        f"The lake: {DAYS} days, each its own file and its own load; {ORDERS:,} orders and {LINES:,} order lines a day."
        f" *Optimised*: `lakeops optimize`, both tables sorted by their business date. *Z-ordered*: `bronze.orders` by "
        f"`{', '.join(ZORDER)}` instead. All three gave the same answers. Times are medians of {repeats} runs in turn; "
        "CPU time, of all threads, is the one to compare where the machine was busy.",
        "",
        "| table | layout | files | MiB |",
        "|---|---|---:|---:|",
    ]
    for table in TABLES:
        lines += [f"| bronze.{table} | {s.name} | {s.files[table]} | {s.bytes[table] / 2**20:.1f} |" for s in states]
    lines += ["", "| query | layout | wall ms | CPU ms | CPU, of as it grew |", "|---|---|---:|---:|---:|"]
    for query in QUERIES:
        for state in states:
            wall, cpu = (1000 * statistics.median(times[query]) for times in (state.wall, state.cpu))
            share = cpu / (1000 * statistics.median(grown.cpu[query]))
            lines.append(f"| {query} | {state.name} | {wall:,.0f} | {cpu:,.0f} | {share:.2f} |")
    lines += ["", "## The plans' scans", ""]
    for query, text in QUERIES.items():
        lines += [f"**{query}**", "```sql", text, "```", "```"]
        for state in states:
            lines += [f"{state.name}: {scan}" for scan in state.scans[query]]
        lines += ["```", ""]
    return "\n".join(lines).rstrip() + "\n"

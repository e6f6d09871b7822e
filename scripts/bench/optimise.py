"""What optimising does to a lake that grew day by day: files, bytes, and the time of five business queries on bronze
and five on gold.

Bronze: 400 days of orders and order lines are loaded one by one. Gold: the main job is run for 30 days one by one.
Each query then runs in turn on the lake as it was, after `lakeops optimize` and after a z-order; the yardstick is one
plain Parquet file for each table, in the order in which the rows came.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
from pathlib import Path

import duckdb
from measure import BINARIES, Figure, run, say
from queries import Layout, ask_layouts, make_view

DAYS, GOLD_DAYS = 400, 30
LINES = 10_000
ORDERS = 4_000
FIRST_DAY = dt.date(2023, 1, 1)
ZORDER = ("order_dt", "customer_id")
GOLD_ZORDER = ("date", "customer_id")
QUERIES = {
    "a day's takings": "select count(*), sum(qty * unit_price) from order_lines where line_dt = date '2023-11-24'",
    "takings of a month, day by day": "select line_dt, sum(qty * unit_price) from order_lines"
    " where line_dt between date '2023-11-01' and date '2023-11-30' group by all order by 1",
    "best products ever": "select product_id, sum(qty * unit_price) as taken from order_lines group by all"
    " order by taken desc, product_id limit 10",
    "one customer's orders": "select order_id, order_ts, channel from orders where customer_id = 4711"
    " order by order_ts, order_id",
    "a quarter by channel": "select channel, count(distinct order_id), sum(qty * unit_price) from order_lines"
    " join orders using (order_id) where line_dt >= date '2023-10-01' and line_dt < date '2024-01-01'"
    " and order_dt >= date '2023-10-01' and order_dt < date '2024-01-01' group by all order by all",
}
GOLD_QUERIES = {
    "a day's sales": "select count(*), sum(net_aud) from fct_sales where date = date '2023-01-15'",
    "the last five days": "select date, count(*) from fct_sales group by date order by date desc limit 5",
    "sales by category": "select category, sum(net_aud) from fct_sales join dim_product using (product_key)"
    " group by all order by all",
    "one customer's sales": "select sale_key, date, net_aud from fct_sales where customer_id = 4711 order by sale_key",
    "stores of a fortnight": "select region, name, sum(net_aud) as net from fct_sales join dim_store using (store_key)"
    " where date between date '2023-01-08' and date '2023-01-21' group by all order by all",
}
TABLES = ("orders", "order_lines")
GOLD_TABLES = ("fct_sales", "dim_product", "dim_store")


def bench_optimise(
    work: Path, repeats: int, record: Path, days: int = DAYS, gold_days: int = GOLD_DAYS
) -> list[Figure]:
    """Measure the queries on every layout of bronze and gold, and write the record with the plans.

    Returns
    -------
    A figure for each query and layout.
    """
    folder = work / f"{days} daily files"
    grow(folder, days)
    bronze = lay_out(folder, "bronze", TABLES, "orders", ZORDER)
    rows = days * (LINES + ORDERS)
    figures = ask_layouts(bronze, QUERIES, rows, repeats)
    folder = work / f"{gold_days} daily jobs"
    grow_gold(folder, gold_days)
    gold = lay_out(folder, "gold", GOLD_TABLES, "fct_sales", GOLD_ZORDER)
    with duckdb.connect() as connection:
        connection.execute(gold[0].setup[0])
        sales = connection.execute("select count(*) from fct_sales").fetchone()[0]
    figures += ask_layouts(gold, GOLD_QUERIES, sales, repeats)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(write_record({"bronze": bronze, "gold": gold}, repeats, days, gold_days), encoding="utf-8")
    return figures


def make_settings(folder: Path, lake: Path):
    """Return the settings of a lake of the bench."""
    from lakeops.settings import load_settings

    return load_settings(folder / "raw", lake, lake.with_name(f"{lake.name}.duckdb"))


def grow(folder: Path, days: int) -> None:
    """Load so many days one by one, unless that was done."""
    from lakeops.pipeline import Selection, run_load

    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    settings = make_settings(folder, folder / "grown")
    for number in range(days):
        make_day(folder / "raw", number)
        run_load(settings, Selection(root=settings.root))
        if number % 50 == 49:
            say(f"{number + 1} days loaded")
    (folder / "_complete").touch()


def grow_gold(folder: Path, days: int) -> None:
    """Run the main job for so many days one by one, unless that was done."""
    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    places = {
        "LAKEOPS_RAW": str(folder / "raw"),
        "LAKEOPS_LAKE": str(folder / "grown"),
        "LAKEOPS_WAREHOUSE": str(folder / "grown.duckdb"),
    }
    for number in range(days):
        day = str(FIRST_DAY + dt.timedelta(number))
        words = ["--start-date", day, "--days", "1", "--scale", "1.0", "--out", str(folder / "raw")]
        run([str(BINARIES / "lakeops"), "generate", *words])
        run([str(BINARIES / "lakeops"), "incremental"], **places)
        say(f"{number + 1} of {days} days built and published")
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


def lay_out(folder: Path, layer: str, tables: tuple[str, ...], zordered: str, zorder: tuple[str, ...]) -> list[Layout]:
    """Return the tables of a layer as plain Parquet, as they grew, optimised, and one of them z-ordered."""
    from lakeops.upkeep import optimize_table

    grown = folder / "grown"
    layouts = [copy_plain(folder, layer, tables), describe_lake(f"{layer}, as it grew", grown, layer, tables)]
    for name, order in (("optimised", None), ("z-ordered", zorder)):
        lake = folder / name
        shutil.rmtree(lake, ignore_errors=True)
        lake.with_name(f"{name}.duckdb").unlink(missing_ok=True)
        shutil.copytree(grown, lake)
        shutil.copy2(folder / "grown.duckdb", lake.with_name(f"{name}.duckdb"))
        settings = make_settings(folder, lake)
        for table in tables:
            optimize_table(settings, f"{layer}.{table}", order if table == zordered else None)
        layouts.append(describe_lake(f"{layer}, {name}", lake, layer, tables))
    return layouts


def copy_plain(folder: Path, layer: str, tables: tuple[str, ...]) -> Layout:
    """Return the yardstick: each table as one Parquet file of DuckDB's, in the order in which its rows came."""
    views, files, size = [], 0, 0
    with duckdb.connect() as connection:
        for table in tables:
            place = folder / f"{table}.parquet"
            source = folder / "grown" / layer / "delta" / table
            connection.execute(f"copy (from delta_scan('{source}') order by _batch_id) to '{place}'")
            views.append(make_view(table, f"read_parquet('{place}')"))
            files, size = files + 1, size + place.stat().st_size
    return Layout(f"{layer}, one Parquet file (yardstick)", views, files, size)


def describe_lake(name: str, lake: Path, layer: str, tables: tuple[str, ...]) -> Layout:
    """Return the live version of a lake's tables as a layout."""
    from lakeops.delta import get_parts, open_table

    places = {table: lake / layer / "delta" / table for table in tables}
    parts = [get_parts(open_table(place)) for place in places.values()]
    views = [make_view(table, f"delta_scan('{place}')") for table, place in places.items()]
    return Layout(name, views, sum(p.height for p in parts), sum(int(p["size_bytes"].sum()) for p in parts))


def write_record(layers: dict[str, list[Layout]], repeats: int, days: int, gold_days: int) -> str:
    """Return the record with the plans, as Markdown."""
    lines = [
        "# Before and after optimise",
        "",
        f"Made by `python scripts/bench/bench.py --only queries` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__}; "
        f"load average while it ran: {os.getloadavg()[1]:.0f}. Do not edit: run it again.",
        "",
        f"Bronze: {days} days, each its own file and its own load; {ORDERS:,} orders and {LINES:,} order lines a day."
        f" Gold: {gold_days} generated days at scale 1.0, each its own run of the main job. *Optimised*:"
        f" `lakeops optimize`, sorted by the business date. *Z-ordered*: `bronze.orders` by `{', '.join(ZORDER)}`,"
        f" `gold.fct_sales` by `{', '.join(GOLD_ZORDER)}` instead. All layouts gave the same answers. Times are medians"
        f" of {repeats} runs in turn; CPU time, of all threads, is the one to compare where the machine was busy.",
    ]
    for layer, queries in (("bronze", QUERIES), ("gold", GOLD_QUERIES)):
        layouts = layers[layer]
        lines += ["", f"## {layer.capitalize()}", "", "| layout | files | MiB |", "|---|---:|---:|"]
        lines += [f"| {one.name} | {one.files} | {one.bytes / 2**20:.1f} |" for one in layouts]
        lines += ["", "| query | layout | wall ms | CPU ms | CPU, of as it grew |", "|---|---|---:|---:|---:|"]
        for query in queries:
            for one in layouts:
                wall, cpu = (1000 * one.get_median(query, what) for what in ("wall", "cpu"))
                share = cpu / (1000 * layouts[1].get_median(query, "cpu"))
                lines.append(f"| {query} | {one.name} | {wall:,.0f} | {cpu:,.0f} | {share:.2f} |")
        lines += ["", f"### The plans' scans, {layer}", ""]
        for query, text in queries.items():
            lines += [f"**{query}**", "```sql", text, "```", "```"]
            lines += [f"{one.name}: {scan}" for one in layouts[1:] for scan in one.said[0][query]["scans"]]
            lines += ["```", ""]
    return "\n".join(lines).rstrip() + "\n"

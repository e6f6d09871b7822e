"""How fast the loader is.

The yardstick is the machine's limit: DuckDB's bare `COPY (SELECT typed columns FROM read_csv(files)) TO` one Parquet
file, without any check, line number, hash or quarantine. Beside it, on the same files: polars straight to Delta, and
dlt.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import duckdb
from limits import HUNDRED_FILES, MILLION, ONE_FILE, TEN_MILLION
from measure import BINARIES, Figure, Run, describe, run, say

COLUMNS = ("order_id", "line_number", "product_id", "qty", "unit_price", "line_discount_pct", "tax_pct")
TYPES = ("BIGINT", "BIGINT", "BIGINT", "BIGINT", "DECIMAL(12,4)", "DECIMAL(5,4)", "DECIMAL(5,4)")
# Files, and rows in each.
INPUTS = {
    MILLION: (330, 3_030),
    TEN_MILLION: (400, 25_000),
    HUNDRED_FILES: (100, 100),
    ONE_FILE: (1, 132_000_000),
}
YARDSTICK = "DuckDB CSV to Parquet (yardstick)"
# What takes longer than a minute is long enough not to be chance.
LONG = 60.0
DLT = {
    "dlt-arrow": "dlt, given Arrow by pyarrow",
    "dlt-duckdb": "dlt, read_csv_duckdb as Arrow",
    "dlt-rows": "dlt, read_csv_duckdb as documented",
}
STREAMED = ("dlt-arrow", "dlt-duckdb")


def bench_loads(work: Path, repeats: int, full: bool) -> list[Figure]:
    """Measure a first load of several inputs with everybody's means, in turn.

    Parameters
    ----------
    full : also the file of 5 GB, and dlt on 10 million rows.
    """
    figures = bench_load(work, MILLION, tuple(DLT), repeats)
    figures += bench_load(work, TEN_MILLION, tuple(DLT) if full else (), repeats)
    figures += bench_load(work, HUNDRED_FILES, STREAMED, repeats)
    if full:
        figures += bench_load(work, ONE_FILE, STREAMED, 1)
    return figures + bench_generate(work, repeats)


def make_lines(folder: Path, files: int, rows: int) -> None:
    """Write order lines, `rows` to a file, unless they are there."""
    if (folder / "_complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    draw = "(hash(n, {seed}) % 1000000 / 1000000.0)"
    amount = f"({draw} * {{range}} + {{low}})::decimal(12,4)"
    with duckdb.connect() as connection:
        for number in range(files):
            day = f"{2022 + number // 336}-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
            path = folder / "order_lines" / f"order_dt={day}" / f"part-{number:05d}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            connection.execute(f"""
                copy (
                    select
                        n // 4 + 1 as order_id, n % 4 + 1 as line_number,
                        hash(n, 1) % 25000 + 1 as product_id, hash(n, 2) % 5 + 1 as qty,
                        {amount.format(seed=3, range=90, low=1)} as unit_price,
                        {amount.format(seed=4, range=0.7, low=0)} as line_discount_pct,
                        {amount.format(seed=5, range=0.3, low=0)} as tax_pct
                    from range({number * rows}, {(number + 1) * rows}) as numbers (n)
                ) to '{path}' (header)
            """)
    (folder / "_complete").touch()


class Yardstick:
    """DuckDB's bare CSV to Parquet on the files of one input: the machine's limit, run beside what it is held against.

    Parameters
    ----------
    work : folder of the bench.
    name : one of INPUTS.
    """

    def __init__(self, work: Path, name: str) -> None:
        self.name, self.raw, self.out = name, work / name / "raw", work / name / "yardstick.parquet"
        self.files, rows = INPUTS[name]
        self.rows = self.files * rows
        self.runs: list[Run] = []
        make_lines(self.raw, self.files, rows)

    def run(self) -> None:
        """Run it once more."""
        columns = ", ".join(f"{c}::{t}" for c, t in zip(COLUMNS, TYPES, strict=True))
        source = f"read_csv('{self.raw}/order_lines/*/*.csv', hive_partitioning=false)"
        self.out.unlink(missing_ok=True)
        self.runs.append(
            run([str(BINARIES / "duckdb"), "-c", f"copy (select {columns} from {source}) to '{self.out}'"])
        )

    def describe(self) -> tuple[Figure, list[Run]]:
        """Return its figure and its runs, for others to be related to."""
        return describe(f"{self.name}: {YARDSTICK}", self.raw, self.runs, self.rows), self.runs


def bench_load(work: Path, name: str, dlt_readers: tuple[str, ...], repeats: int) -> list[Figure]:
    """Measure a first load of one input, each contender once per round.

    Returns
    -------
    The yardstick first, then lakeops, polars and dlt. A contender that took over a minute is not run again.
    """
    yardstick = Yardstick(work, name)
    if dlt_readers and not importlib.util.find_spec("dlt"):
        say("dlt is not installed and left out: pip install -c constraints.txt -e '.[bench]'")
        dlt_readers = ()
    contenders: dict[str, list[Run]] = {"lakeops": [], "polars": [], **{reader: [] for reader in dlt_readers}}
    for _ in range(repeats):
        yardstick.run()
        for contender, runs in contenders.items():
            if not runs or runs[-1].wall < LONG or contender == "lakeops":
                say(f"{name}: {contender}")
                runs.append(load_once(yardstick, contender, work / name / contender))
    figure = yardstick.describe()
    labels = {"lakeops": "lakeops load", "polars": "polars to Delta, nothing checked", **DLT}
    return [figure[0]] + [
        describe(f"{name}: {labels[contender]}", yardstick.raw, runs, yardstick.rows, figure)
        for contender, runs in contenders.items()
    ]


def load_once(yardstick: Yardstick, contender: str, out: Path) -> Run:
    """Load all files into an empty folder, and look whether they arrived.

    Raises
    ------
    SystemExit : it failed, or rows are missing.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if contender == "lakeops":
        places = {"LAKEOPS_LAKE": str(out / "lake"), "LAKEOPS_WAREHOUSE": str(out / "warehouse.duckdb")}
        done = run([str(BINARIES / "lakeops"), "load", "--raw", str(yardstick.raw)], **places)
        table = out / "lake" / "bronze" / "delta" / "order_lines"
    else:
        done = run(
            [sys.executable, str(Path(__file__).with_name("others.py")), contender, str(yardstick.raw), str(out)]
        )
        table = out / "order_lines" if contender == "polars" else out / "bronze" / "order_lines"
    arrived = count_rows(table)
    if arrived != yardstick.rows:
        sys.exit(f"{yardstick.name}: {contender} loaded {arrived:,} of {yardstick.rows:,} rows")
    shutil.rmtree(out)  # the next one needs the room
    return done


def count_rows(table: Path) -> int:
    """Return the rows of a Delta table."""
    with duckdb.connect() as connection:
        return connection.execute(f"select count(*) from delta_scan('{table}')").fetchone()[0]


def bench_generate(work: Path, repeats: int) -> list[Figure]:
    """Measure how long 30 days at scale 1.0 take to generate, as a ratio to the time the loader takes to load them."""
    raw, lake = work / "30 days" / "raw", work / "30 days" / "lake"
    binary = str(BINARIES / "lakeops")
    places = {"LAKEOPS_LAKE": str(lake), "LAKEOPS_WAREHOUSE": str(lake / "warehouse.duckdb")}
    generated, loads = [], []
    for _ in range(repeats):
        shutil.rmtree(work / "30 days", ignore_errors=True)
        words = ["--start-date", "2024-04-01", "--days", "30", "--scale", "1.0", "--out", str(raw)]
        generated.append(run([binary, "generate", *words]))
        loads.append(run([binary, "load", "--raw", str(raw)], **places))
    load = describe("30 days at scale 1.0: lakeops load (yardstick)", raw, loads, 0)
    return [load, describe("30 days at scale 1.0: lakeops generate", raw, generated, 0, (load, loads))]

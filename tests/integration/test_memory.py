"""What DuckDB may hold is bounded; what is more goes to disk, and what cannot is one clear error."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from lakeops.contract import load_contracts
from lakeops.errors import LakeopsError, UsageError
from lakeops.publish import find_differing_keys
from lakeops.warehouse import connect

ROWS = 20_000_000  # of eight bytes: more than the limit here
MODELS = Path(__file__).resolve().parents[2] / "dbt" / "models"
MONTHS, CUSTOMERS, PEAK = 24, 60_000, 700
# Full copies of a dimension, and the most that a process held, in MiB, while it found each key's last record.
MERGE = """
import resource, sys
from pathlib import Path
import polars as pl
from lakeops.bronze.current import derive_current
from lakeops.contract import load_contracts

contract = load_contracts(Path(sys.argv[1])).get_table("customers")
winners = derive_current(pl.scan_parquet(sys.argv[2]), contract, {})
assert winners["_batch_id"].unique().to_list() == [int(sys.argv[3])]
print(winners.height, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEOPS_MEMORY", "100MB")
    return tmp_path / "warehouse.duckdb"


def test_a_sort_that_does_not_fit_is_done_on_disk(warehouse: Path):
    with connect(warehouse) as connection:
        connection.execute(f"create table numbers as select hash(range) as n from range({ROWS}) order by n")
        assert connection.execute("select count(*) from numbers").fetchone() == (ROWS,)
        assert connection.execute("select max(memory_usage_bytes) <= 100e6 from duckdb_memory()").fetchone() == (True,)


def test_what_cannot_go_to_disk_says_which_setting_to_change(warehouse: Path):
    with pytest.raises(LakeopsError, match="LAKEOPS_MEMORY") as caught, connect(warehouse) as connection:
        connection.execute(f"select len(list(range)) from range({ROWS})").fetchall()
    assert "100MB" in str(caught.value)


def test_without_a_setting_it_is_no_share_of_the_machine(warehouse: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAKEOPS_MEMORY")
    with connect(warehouse) as connection:
        assert connection.execute("select current_setting('memory_limit')").fetchone() == ("572.2 MiB",)


def test_what_is_no_amount_is_refused(warehouse: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKEOPS_MEMORY", "plenty")
    with pytest.raises(UsageError, match="plenty"), connect(warehouse):
        pass


def test_what_is_to_be_published_is_compared_in_the_memory_there_is(warehouse: Path):
    columns = ["n", *(f"c{number}" for number in range(20))]
    values = ", ".join(f"hash(n, {number})::varchar as {name}" for number, name in enumerate(columns[1:]))
    with connect(warehouse) as connection:
        connection.execute(f"create table ours as select n, {values} from range(1000000) as numbers (n)")
        connection.execute("create table theirs as from ours where n <> 7")
        connection.execute("insert into theirs select n + 2000000, * exclude (n) from ours where n = 8")
        connection.execute("update theirs set c3 = null where n = 999999")
        found = find_differing_keys(connection, ["n"], columns, "ours", "theirs")
    assert sorted(found["n"]) == [7, 999999, 2000008]


def test_full_copies_of_a_dimension_are_merged_in_less_than_their_history_takes(tmp_path: Path):
    contract = load_contracts(MODELS).get_table("customers")
    texts = [
        (pl.col("customer_id") * 7919 + number).hash().cast(pl.String).alias(column.name)
        for number, column in enumerate(contract.columns)
        if column.type.kind == "varchar"
    ]
    copy = pl.select(customer_id=pl.int_range(CUSTOMERS, dtype=pl.Int64)).with_columns(*texts)
    for month in range(1, MONTHS + 1):
        copy.with_columns(
            pl.lit(dt.date(2024, 1, 1)).dt.offset_by(f"{month}mo").alias("effective_dt"),
            pl.lit(month, dtype=pl.Int64).alias("_batch_id"),
            pl.lit(f"data_raw/customers/{month}.csv").alias("_source_file"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("_source_row"),
        ).write_parquet(tmp_path / f"{month}.parquet")
    ran = subprocess.run(
        [sys.executable, "-c", MERGE, str(MODELS), str(tmp_path / "*.parquet"), str(MONTHS)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    keys, peak = map(int, ran.stdout.split())
    assert keys == CUSTOMERS
    assert peak < PEAK

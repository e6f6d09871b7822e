"""What DuckDB may hold is bounded; what is more goes to disk, and what cannot is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakeops.errors import LakeopsError, UsageError
from lakeops.publish import find_differing_keys
from lakeops.warehouse import connect

ROWS = 20_000_000  # of eight bytes: more than the limit here


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

"""Parquet: typed values as they are; a file that is cut or damaged is refused, never half read."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeops.contract import DataType
from lakeops.judge.casts import cast_losslessly
from lakeops.raw import RefusedFile, parquet
from lakeops.raw.parquet import read_parquet

TABLE = pa.table({"id": list(range(1000)), "name": [f"n{n}" for n in range(1000)]})


def write(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **options)
    return path


def refuse(path: Path) -> RefusedFile:
    with pytest.raises(RefusedFile) as refused:
        list(read_parquet(path))
    assert refused.value.next_step
    return refused.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.parquet"


def test_rows_are_numbered_across_chunks_and_shown_word_for_word(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_CHUNK", 300)
    chunks = list(read_parquet(write(path, TABLE)))
    assert [chunk.rows.height for chunk in chunks] == [300, 300, 300, 100]
    rows = pl.concat([chunk.rows for chunk in chunks])
    assert rows["_source_row"].to_list() == list(range(1, 1001))
    assert rows["id"].to_list() == list(range(1000))
    assert {n: json.loads(text) for n, text in chunks[1].get_raw([301]).items()} == {301: {"id": 300, "name": "n300"}}


def test_a_file_without_rows_still_has_a_header(path: Path) -> None:
    (chunk,) = read_parquet(write(path, TABLE.slice(0, 0)))
    assert chunk.rows.height == 0
    assert chunk.rows.schema == {"id": pl.Int64, "name": pl.String, "_source_row": pl.Int64}


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    whole = write(path, TABLE).read_bytes()
    reasons = {}
    for size in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        reasons[size] = refuse(path).reason
    assert reasons.pop(0) == "empty"
    assert set(reasons.values()) == {"truncated"}


def test_a_file_of_another_format_is_refused(path: Path) -> None:
    path.write_text("id,name\n1,x\n")
    assert refuse(path).reason == "unreadable"


def test_a_day_that_python_does_not_know_is_shown_and_within_a_list_refused(path: Path) -> None:
    far = pa.array([3_000_000], pa.int32()).cast(pa.date32())
    table = pa.table({"day": far, "at": far.cast(pa.timestamp("us")), "took": pa.array([5], pa.duration("us"))})
    (chunk,) = read_parquet(write(path, table))
    assert json.loads(chunk.get_raw([1])[1])["day"] == "+10183-09-21"
    days = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), far)
    assert "column days" in refuse(write(path, pa.table({"days": days}))).detail


def test_types_with_a_name_of_their_own_are_what_they_hold(path: Path) -> None:
    columns = {
        "uuid": pa.array([b"\x12" * 16, None], pa.uuid()),
        "json": pa.array(['{"a": 1}', None], pa.json_()),
        "took": pa.array([dt.timedelta(days=1, seconds=5), None]),
    }
    (chunk,) = read_parquet(write(path, pa.table(columns)))
    texts = [cast_losslessly(chunk.rows[name], DataType("varchar"), "UTC").to_list() for name in columns]
    assert texts == [["12121212-1212-1212-1212-121212121212", None], ['{"a": 1}', None], ["P1DT5S", None]]
    assert cast_losslessly(chunk.rows["took"], DataType("bigint"), "UTC").to_list() == [None, None]


def write_int96(path: Path, times: list, unit: str) -> Path:
    return write(path, pa.table({"at": pa.array(times, pa.timestamp(unit))}), use_deprecated_int96_timestamps=True)


def test_times_as_spark_writes_them_are_what_was_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_CHUNK", 2)
    times = [
        dt.datetime(2024, 1, 1, 1, 2, 3, 4),  # noqa: DTZ001 - INT96 has no zone
        None,
        dt.datetime.max,  # noqa: DTZ901
        dt.datetime.min,  # noqa: DTZ901
    ]
    chunks = read_parquet(write_int96(path, times, "us"))
    assert [time for chunk in chunks for time in chunk.rows["at"]] == times
    # What is finer than a microsecond is left for the judge to see.
    (chunk,) = read_parquet(write_int96(path, [1_700_000_000_123_456_789, None], "ns"))
    assert chunk.rows["at"].dtype == pl.Datetime("ns")
    assert chunk.rows["at"].to_physical().to_list() == [1_700_000_000_123_456_789, None]


def test_times_that_no_unit_holds_are_refused(path: Path) -> None:
    table = pa.table({"at": pa.array([dt.date(9999, 12, 31)]).cast(pa.timestamp("us"))})
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    raw = write(path, table, use_deprecated_int96_timestamps=True, **plain).read_bytes()
    midnight = bytes(8) + (2_440_588 + 2_932_896).to_bytes(4, "little")  # nanoseconds of the day, and its Julian number
    assert raw.count(midnight) == 1
    path.write_bytes(raw.replace(midnight, b"\1" + midnight[1:]))
    assert "column at" in refuse(path).detail


def test_damage_is_refused_wherever_a_checksum_can_see_it(path: Path) -> None:
    whole = bytearray(write(path, TABLE, write_page_checksum=True, use_dictionary=False).read_bytes())
    data = pq.ParquetFile(path).metadata.row_group(0).column(0)
    expected = TABLE["id"].to_pylist()
    refused = 0
    for place in range(data.data_page_offset, data.data_page_offset + data.total_compressed_size, 61):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        try:
            rows = pl.concat([chunk.rows for chunk in read_parquet(path)])
        except RefusedFile:
            refused += 1
        else:  # only what does not touch a value may pass, such as statistics in a page's header
            assert rows["id"].to_list() == expected
    assert refused > 20


@pytest.mark.parametrize(
    "table",
    [
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table({"_source_row": [1]}),
        pa.table({}),
        pa.table({"a": pa.array([Decimal(1)], pa.decimal256(60, 2))}),
    ],
)
def test_columns_that_cannot_be_told_apart_or_held_are_refused(path: Path, table: pa.Table) -> None:
    assert refuse(write(path, table)).reason in ("bad_header", "unreadable")


def test_moments_keep_their_instant_in_any_zone(path: Path) -> None:
    moment = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    zones = {f"z{n}": pa.array([moment], pa.timestamp("us", zone)) for n, zone in enumerate(
        ["UTC", "+05:30", "Australia/Sydney", "-08:00"])}  # fmt: skip
    (chunk,) = read_parquet(write(path, pa.table(zones)))
    assert chunk.rows.drop("_source_row").row(0) == (moment,) * 4
    (row,) = chunk.get_raw([1]).values()
    assert "2024-01-01 12:00:00+00:00" in row


def test_text_that_is_not_utf8_is_refused(path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")])
    assert refuse(write(path, pa.table({"name": text}))).reason == "unreadable"


def test_a_day_that_python_does_not_know_is_shown_all_the_same(path: Path) -> None:
    days = pa.array([3_000_000], pa.int32()).cast(pa.date32())
    (chunk,) = read_parquet(write(path, pa.table({"day": days})))
    assert json.loads(chunk.get_raw([1])[1]) == {"day": "+10183-09-21"}

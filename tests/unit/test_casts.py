"""Casts: an accepted value equals its text, and every canonical text that fits is accepted.

The oracle is Python's Decimal, datetime and zoneinfo.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal, InvalidOperation, localcontext
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeops.contract import DataType
from lakeops.judge.casts import cast_losslessly, get_polars_type

FAST = settings(deadline=None, derandomize=True, max_examples=150)
BIGINT, DOUBLE, TIMESTAMP, DATE = DataType("bigint"), DataType("double"), DataType("timestamp"), DataType("date")
BOOLEAN, VARCHAR, JSON = DataType("boolean"), DataType("varchar"), DataType("json")
MONEY = DataType("decimal", 12, 4)
INT64 = range(-(2**63), 2**63)


def at(text: str) -> dt.datetime:
    """Return a moment without a zone, as files bring it."""
    return dt.datetime.fromisoformat(text)


def cast(values: list, data_type: DataType, zone: str = "UTC", dtype: object = pl.String) -> list:
    series = cast_losslessly(pl.Series(values, dtype=dtype), data_type, zone)
    assert series.dtype == get_polars_type(data_type)
    assert len(series) == len(values)
    return series.to_list()


def to_number(text: str) -> Decimal | None:
    """Read a number as a person would; None for what Decimal alone takes for one ('1_000', ' 7', 'NaN')."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


digits = st.text("0123456789", min_size=1, max_size=22)
odd = st.sampled_from(
    ["", " 7", "7 ", "+7", "-0", "007", "7.0", "1,000", "1.000,00", "1_000", "0x1F", "1e3", "1e400", "-1e400", "NaN",
     "nan", "inf", "-Infinity", "7\0", "\0", "٣", "½", "1.", ".5", "-", "+", ".", "--1", "1.2.3", "9223372036854775807",
     "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1e-400", "0e999999999999999999", "true",
     "99999999.9999", "99999999.99995", "100000000", "9.99996", ".99996", "01.234", "1.23e0", "-0.0000", "\u22125"]
)  # fmt: skip
texts = st.one_of(
    odd,
    digits,
    digits.map(lambda text: f"-{text}"),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(repr),
    st.tuples(digits, digits).map(".".join),
    st.text(max_size=5),
)
columns = st.lists(st.one_of(st.none(), texts), max_size=12)


@FAST
@given(columns)
def test_bigint(values: list[str | None]) -> None:
    for text, found in zip(values, cast(values, BIGINT), strict=True):
        plain = text is not None and re.fullmatch(r"0|-?[1-9][0-9]*", text)
        assert found == (int(text) if plain and len(text) < 30 and int(text) in INT64 else None), text


def test_bigint_takes_no_other_spelling() -> None:
    for text in ("-0", "+7", " 7", "7 ", "007", "7.0", "1e2", "1,000", "7\0", "1_0", "inf", "NaN", "", "0x7"):
        # Each among good ones as well: a whole column is cleared at once, by the length of its digits.
        assert cast([text], BIGINT) == [None], text
        assert cast(["1", text, "-22", None, "9223372036854775807"], BIGINT) == [1, None, -22, None, 2**63 - 1], text


@FAST
@given(columns, st.integers(1, 38), st.integers(0, 38))
def test_decimal(values: list[str | None], precision: int, scale: int) -> None:
    scale = min(scale, precision)
    with localcontext(prec=200):
        for text, found in zip(values, cast(values, DataType("decimal", precision, scale)), strict=True):
            plain = text is not None and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?", text)
            if not plain:
                assert found is None or text is None, text
                continue
            number = Decimal(text)
            fits = number == round(number, scale) and abs(number) < Decimal(10) ** (precision - scale)
            assert found == (number if fits else None), text


@pytest.mark.parametrize(
    ("text", "found"),
    [("1.230000", "1.23"), ("1.23456", None), ("9.99996", None), (".99996", None), ("99999999.99990", "99999999.9999"),
     ("100000000", None), ("1e3", None), ("1,000.00", None), ("-0", "0"), ("+1", None), ("01.5", None), ("", None)],
)  # fmt: skip
def test_decimal_by_example(text: str, found: str | None) -> None:
    assert cast([text], MONEY) == [None if found is None else Decimal(found)]


@FAST
@given(columns)
def test_double(values: list[str | None]) -> None:
    for text, found in zip(values, cast(values, DOUBLE), strict=True):
        number = None if text is None else to_number(text)
        if found is not None:
            assert number is not None, text
            assert number in (Decimal(repr(found)), Decimal(found)), text
        elif number is not None:
            nearest = float(number)
            assert abs(nearest) == float("inf") or number not in (Decimal(repr(nearest)), Decimal(nearest)), text


@FAST
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_float_comes_back_from_its_own_spelling(numbers: list[float]) -> None:
    assert cast([repr(number) for number in numbers], DOUBLE) == numbers


def test_boolean() -> None:
    texts = ["true", "FALSE", "True", "t", "1", "0", "yes", "", " true", "true\0", None]
    assert cast(texts, BOOLEAN) == [True, False, True, None, None, None, None, None, None, None, None]


days = st.one_of(
    st.dates().map(str),
    st.sampled_from(["2024-02-30", "2024-2-3", "2024-02-29", "2023-02-29", "0000-01-01", "-024-01-01", "+2024-01-01",
                     "2024- 1- 1", "20240101", "2024-01-01 ", "01/02/2024", "2024-13-01", "10000-01-01", "",
                     "2024-01-01T00:00:00", "\uff12\uff10\uff12\uff14-01-01", "9999-12-31", "0001-01-01"]),
    st.text("0123456789- T:", max_size=11),
)  # fmt: skip


@FAST
@given(st.lists(days))
def test_date(values: list[str]) -> None:
    for text, found in zip(values, cast(values, DATE), strict=True):
        try:
            expected = dt.date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
        except ValueError:
            expected = None
        assert found == expected, text


ZONES = ["UTC", "Australia/Sydney", "America/New_York", "Asia/Kolkata", "Europe/London", "Australia/Lord_Howe"]
ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


def read_moment(text: str, zone: str) -> dt.datetime | None:
    """Return the one moment that ISO 8601 text names, or None."""
    match = ISO.fullmatch(text)
    if not match or (match[5] or "").rstrip("0")[6:]:
        return None
    fraction = (match[5] or "")[:6].ljust(6, "0")
    try:
        naive = dt.datetime.fromisoformat(f"{match[1]}T{match[2]}:{match[3]}:{match[4] or '00'}.{fraction}")
        if match[6]:
            hours, minutes = (
                int(match[6][1:3] or 0) if match[6] != "Z" else 0,
                int(match[6][-2:]) if match[6] != "Z" else 0,
            )
            if hours > 14 or minutes > 59:
                return None
            offset = dt.timedelta(hours=hours, minutes=minutes) * (-1 if match[6][0] == "-" else 1)
            return (naive - offset).replace(tzinfo=dt.UTC)
        placed = {naive.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(dt.UTC) for fold in (0, 1)}
    except (ValueError, OverflowError):
        return None
    if len(placed) > 1:  # skipped or repeated by the clock of that zone
        return None
    return placed.pop()


# Close to where a clock is put forward or back, where it matters.
near_gaps = st.one_of(
    *[
        st.integers(-10_800, 10_800).map(lambda seconds, gap=gap: gap + dt.timedelta(seconds=seconds))
        for gap in (at("2024-04-07T02:30"), at("2024-10-06T02:30"), at("2024-03-31T01:30"),
                   at("2024-11-03T01:30"), at("2024-03-10T02:30"))
    ]
)  # fmt: skip
# polars' time zones know no daylight saving time from 2100 on, Python's do; docs/contracts.md says so.
datetimes = st.datetimes(max_value=at("2099-12-31T23:59:59"))
moments = st.one_of(datetimes, st.datetimes(at("1950-01-01T00:00"), at("2036-01-01T00:00")), near_gaps)
offsets = st.sampled_from(["", "", "", "Z", "+10:00", "-0330", "+14:00", "+15:00", "-00:00", "z", "+10"])
stamps = st.one_of(
    st.tuples(moments, st.sampled_from("T "), offsets).map(lambda parts: parts[0].isoformat(parts[1]) + parts[2]),
    st.tuples(moments, offsets).map(lambda parts: parts[0].isoformat(timespec="minutes") + parts[1]),
    st.tuples(moments, st.text("0123456789", max_size=9)).map(lambda parts: parts[0].isoformat() + parts[1]),
    st.sampled_from(["2016-12-31T23:59:60", "+2024-1-01T00:00:00", "2024- 1- 1T 1: 1: 1", "2024-02-30T00:00:00",
                     "2024-01-01T24:00:00", "2024-01-01", "", "0000-06-01T00:00:00", "0001-01-01T00:00:00+14:00",
                     "9999-12-31T23:59:59-14:00", "2024-01-01T00:00:00.1234567", "2024-01-01T00:00:00.1234560",
                     "2024-01-01T00:00:0", "2024-01-01T00:00:00.", "1704067200", "-0001-01-01T00:00:00"]),
)  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_timestamp(zone: str) -> None:
    @FAST
    @given(st.lists(stamps, max_size=10))
    def run(values: list[str]) -> None:
        for text, found in zip(values, cast(values, TIMESTAMP, zone), strict=True):
            assert found == read_moment(text, zone), text

    run()


def test_a_leap_second_is_no_other_second() -> None:
    assert cast(["2016-12-31T23:59:60", "2016-12-31 23:59:60Z"], TIMESTAMP) == [None, None]


def test_hours_that_a_clock_skips_or_repeats_name_no_moment() -> None:
    texts = ["2024-10-06T02:30:00", "2024-04-07T02:30:00", "2024-04-07T02:30:00+10:00", "2024-04-07T01:59:59"]
    found = cast(texts, TIMESTAMP, "Australia/Sydney")
    assert found[:2] == [None, None]
    assert found[2] == dt.datetime(2024, 4, 6, 16, 30, tzinfo=dt.UTC)
    assert found[3] == dt.datetime(2024, 4, 6, 14, 59, 59, tzinfo=dt.UTC)


def test_text_stays_as_it_is_and_a_nul_byte_is_no_text() -> None:
    assert cast(["", " a ", "\n", "a\0b", "\0", None, "é"], VARCHAR) == ["", " a ", "\n", None, None, None, "é"]


# -- typed values, as Parquet brings them ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64])
def test_integers_of_any_width(dtype: pl.DataType) -> None:
    low, high = pl.select(dtype.min()).item(), pl.select(dtype.max()).item()
    values = [low, 0, 1, high, None]
    assert cast(values, BIGINT, dtype=dtype) == [v if v is None or v in INT64 else None for v in values]
    assert cast(values, MONEY, dtype=dtype) == [v if v is None or abs(v) < 10**8 else None for v in values]
    exact = [v is None or int(float(v)) == v for v in values]
    assert cast(values, DOUBLE, dtype=dtype) == [v if ok else None for v, ok in zip(values, exact, strict=True)]
    for other in (DATE, TIMESTAMP, BOOLEAN):
        assert cast(values, other, dtype=dtype) == [None] * 5


@FAST
@given(st.lists(st.floats(width=64)))
def test_floats(values: list[float]) -> None:
    is_finite = [v == v and abs(v) != float("inf") for v in values]
    assert cast(values, DOUBLE, dtype=pl.Float64) == [
        v if ok else None for v, ok in zip(values, is_finite, strict=True)
    ]
    whole = [ok and v == int(v) and int(v) in INT64 for v, ok in zip(values, is_finite, strict=True)]
    assert cast(values, BIGINT, dtype=pl.Float64) == [
        int(v) if ok else None for v, ok in zip(values, whole, strict=True)
    ]


def test_floats_as_decimals_go_by_their_shortest_spelling() -> None:
    assert cast([2.5, 0.1, 1.23456, 1e300, float("nan"), -0.0], MONEY, dtype=pl.Float64) == [
        Decimal("2.5"), Decimal("0.1"), None, None, None, Decimal(0)]  # fmt: skip
    assert cast([2.5, 0.1], MONEY, dtype=pl.Float32) == [Decimal("2.5"), Decimal("0.1")]
    assert cast([2.0**60], BIGINT, dtype=pl.Float64) == [2**60]


def test_decimals_of_other_scales() -> None:
    values = [Decimal("1.230000"), Decimal("1.234560"), Decimal("99999999.999900"), Decimal("100000000")]
    wide = pl.Decimal(20, 6)
    assert cast(values, MONEY, dtype=wide) == [values[0], None, values[2], None]
    assert cast(values, BIGINT, dtype=wide) == [None, None, None, 100_000_000]
    assert cast([Decimal("0.1"), Decimal("12345678901234567.89")], DOUBLE, dtype=pl.Decimal(20, 2)) == [0.1, None]


@pytest.mark.parametrize("kind", [BIGINT, MONEY, DOUBLE, BOOLEAN])
def test_a_day_a_moment_and_a_duration_are_no_numbers(kind: DataType) -> None:
    for value in (dt.date(2024, 1, 1), at("2024-01-01T00:00"), dt.time(1), dt.timedelta(1)):
        assert cast([value], kind, dtype=None) == [None], value


def test_typed_times() -> None:
    naive = [at("2024-10-06T02:30"), at("2024-01-01T00:00"), None]
    summer = dt.datetime(2023, 12, 31, 13, tzinfo=dt.UTC)
    assert cast(naive, TIMESTAMP, "Australia/Sydney", pl.Datetime("us")) == [None, summer, None]
    aware = [moment and moment.replace(tzinfo=dt.UTC) for moment in naive]
    for unit in ("ms", "us", "ns"):
        assert cast(aware, TIMESTAMP, "Australia/Sydney", pl.Datetime(unit, "UTC")) == aware
    assert cast(aware, DATE, dtype=pl.Datetime("us", "UTC")) == [None, dt.date(2024, 1, 1), None]
    assert cast([dt.date(2024, 1, 1)], DATE, dtype=pl.Date) == [dt.date(2024, 1, 1)]
    assert cast([dt.date(2024, 1, 1)], TIMESTAMP, dtype=pl.Date) == [None]  # a day is no moment
    # A nanosecond below a microsecond is a loss, before 1970 too.
    nanoseconds = pl.Series([1_000, 1_001, -1, -1_000]).cast(pl.Datetime("ns", "UTC"))
    assert cast_losslessly(nanoseconds, TIMESTAMP, "UTC").is_not_null().to_list() == [True, False, False, True]
    far = pl.Series([2**62]).cast(pl.Datetime("ms", "UTC"))
    assert cast_losslessly(far, TIMESTAMP, "UTC").to_list() == [None]


def test_everything_else_that_parquet_can_hold() -> None:
    assert cast(["7", "x"], BIGINT, dtype=pl.Categorical) == [7, None]
    assert cast([b"7", b"\xff", None], VARCHAR, dtype=pl.Binary) == ["7", None, None]
    assert cast([True, None], BIGINT, dtype=pl.Boolean) == [None, None]
    assert cast([True, None], BOOLEAN, dtype=pl.Boolean) == [True, None]
    assert cast([None, None], MONEY, dtype=pl.Null) == [None, None]
    nested = [{"a": 1, "b": "é"}, None]
    assert cast(nested, JSON, dtype=None) == ['{"a": 1, "b": "é"}', None]
    assert cast([[1, 2], None], JSON, dtype=None) == ["[1, 2]", None]
    for kind in (BIGINT, MONEY, DOUBLE, DATE, TIMESTAMP, BOOLEAN):
        assert cast(nested, kind, dtype=None) == [None, None]
        assert cast([[1], None], kind, dtype=None) == [None, None]
        assert cast([dt.time(1)], kind, dtype=pl.Time) == [None]


def test_an_empty_field_is_no_document() -> None:
    assert cast(["", '""', None], JSON) == [None, '""', None]
    assert cast(["", '""', None], VARCHAR) == ["", '""', None]

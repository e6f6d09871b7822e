"""Lossless or not at all: a value is cast only if the result equals it exactly.

Measured: polars rounds '1.23456' into decimal(12,4), reads '1e400' as infinite, '007' as 7 and the leap second
23:59:60 as the next day; Delta stores 2.5 in a bigint as 2. So every cast is checked by its way back, and what differs
is looked at again, spelling by spelling. The oracle in the tests is Python's Decimal and datetime.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal, InvalidOperation

import polars as pl

from lakeops.contract import DataType

TIMESTAMP = pl.Datetime("us", "UTC")
_ISO_TIMESTAMP = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,6})0*)?)?"
    r"(Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])?$"
)
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# SQL, Delta and Python's datetime agree on the years 1 to 9999.
_FIRST_MOMENT = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
_LAST_MOMENT = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
_NESTED = (pl.List, pl.Array, pl.Struct, pl.Map)
# From here on a float has no fraction left, and its shortest spelling need not be its value.
_EXACT_FLOAT = 2.0**53


def get_polars_type(data_type: DataType) -> pl.DataType:
    """Return the polars type in which a contract's type is handed to Delta."""
    match data_type.kind:
        case "bigint":
            return pl.Int64()
        case "double":
            return pl.Float64()
        case "decimal":
            return pl.Decimal(data_type.precision, data_type.scale)
        case "boolean":
            return pl.Boolean()
        case "date":
            return pl.Date()
        case "timestamp":
            return TIMESTAMP
        case _:
            return pl.String()


def cast_losslessly(values: pl.Series, data_type: DataType, time_zone: str) -> pl.Series:
    """Cast a column to its contract's type.

    Parameters
    ----------
    values : text, or typed values from Parquet.
    data_type : the contract's type.
    time_zone : zone of times that name none.

    Returns
    -------
    A series of `get_polars_type(data_type)`, null where a value is null or does not fit without loss.
    """
    target = get_polars_type(data_type)
    if values.dtype == pl.Null:
        return pl.Series(values.name, [None] * len(values), dtype=target)
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.Binary:
        values = pl.Series(values.name, [_decode(value) for value in values.to_list()], dtype=pl.String)
    if values.dtype != pl.String:
        return _cast_typed(values, data_type, target, time_zone)
    match data_type.kind:
        case "bigint":
            return _cast_integer(values)
        case "decimal":
            return _cast_decimal(values, data_type, target)
        case "double":
            return _cast_double(values)
        case "boolean":
            known = pl.Series([True, False], dtype=pl.Boolean)
            return values.str.to_lowercase().replace_strict(
                ["true", "false"], known, default=None, return_dtype=pl.Boolean
            )  # fmt: skip
        case "date":
            days = values.str.to_date("%Y-%m-%d", strict=False)
            days = _blank(days, days.dt.to_string("%Y-%m-%d") != values)
            return _keep_between(days, _FIRST_MOMENT.date(), _LAST_MOMENT.date())
        case "timestamp":
            return _cast_timestamp(values, time_zone)
        case _:
            if (
                data_type.kind == "json"
            ):  # as a number's quoted empty field: no document, and DuckDB fails at reading it
                values = _blank(values, values == "")
            # A NUL byte in text is the mark of a damaged file, and ends strings early in half of all tools.
            return _blank(values, values.str.contains("\0", literal=True))


def _blank(values: pl.Series, where: pl.Series) -> pl.Series:
    where = where.fill_null(False)
    return values.set(where, None) if where.any() else values


def _keep_between(values: pl.Series, first: dt.date, last: dt.date) -> pl.Series:
    physical = values.to_physical()
    low, high = physical.min(), physical.max()
    bounds = pl.Series([first, last])
    if isinstance(values.dtype, pl.Datetime):
        bounds = bounds.dt.replace_time_zone(None).cast(pl.Datetime(values.dtype.time_unit))
    bounds = bounds.to_physical()
    if low is None or (low >= bounds[0] and high <= bounds[1]):
        return values
    return _blank(values, (physical < bounds[0]) | (physical > bounds[1]))


def _cast_integer(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Int64, strict=False)
    # Any other spelling that polars reads ('007', '+7', '-0') is longer than the plain one, so one sum can clear a
    # whole column; spelling every number again would take twice as long as the cast.
    if numbers.null_count() == values.null_count() and values.str.len_bytes().sum() == _measure_digits(numbers):
        return numbers
    return _blank(numbers, numbers.cast(pl.String) != values)


def _measure_digits(numbers: pl.Series) -> int:
    """Return how many characters the numbers take in plain spelling, all together."""
    low, high = numbers.min(), numbers.max()
    if low is None:
        return 0
    total = len(numbers) - numbers.null_count()
    limit = 10
    while limit <= high:
        total += (numbers >= limit).sum()
        limit *= 10
    limit = 10
    while -limit >= low:
        total += (numbers <= -limit).sum()
        limit *= 10
    return total + ((numbers < 0).sum() if low < 0 else 0)


def _cast_decimal(values: pl.Series, data_type: DataType, target: pl.DataType) -> pl.Series:
    numbers = values.cast(target, strict=False)
    odd = (numbers.cast(pl.String) != values).fill_null(False)
    if not odd.any():
        return numbers
    fraction = rf"(\.[0-9]{{0,{data_type.scale}}}0*)?" if data_type.scale else r"(\.0*)?"
    spelt = rf"^-?(0|[1-9][0-9]*){fraction}$"
    suspects = values.filter(odd)
    if suspects.str.contains(spelt).all():
        return numbers
    return _blank(numbers, odd & ~values.str.contains(spelt).fill_null(False))


def _cast_double(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    numbers = _blank(numbers, ~numbers.is_finite())
    odd = ((numbers.cast(pl.String) != values) & numbers.is_not_null()).fill_null(False).arg_true()
    if not len(odd):
        return numbers
    texts, found = values.gather(odd), numbers.gather(odd)
    spelt = texts.str.contains(_NUMBER).to_list()
    checks = zip(odd, spelt, texts.to_list(), found.to_list(), strict=True)
    lost = [i for i, is_number, text, number in checks if not (is_number and _spells(text, number))]
    return numbers.scatter(lost, None) if lost else numbers


def _spells(text: str, number: float) -> bool:
    """Is the float the number that was written, by its shortest spelling or to the last digit?"""
    try:
        written = Decimal(text)
        return written == Decimal(repr(number)) or written == Decimal(number)
    except InvalidOperation:
        return False


def _cast_timestamp(values: pl.Series, time_zone: str) -> pl.Series:
    simple = values.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    # 2024-2-3T1:2:3, a leap second and a year with a sign are read as well; none of them is spelt like this.
    simple = _blank(simple, simple.dt.to_string("%Y-%m-%dT%H:%M:%S") != values)
    placed = _to_utc(simple, time_zone)
    odd = (placed.is_null() & values.is_not_null()).arg_true()
    if len(odd):
        placed = placed.scatter(odd, _read_timestamps(values.gather(odd), time_zone))
    return _keep_between(placed, _FIRST_MOMENT, _LAST_MOMENT)


def _read_timestamps(values: pl.Series, time_zone: str) -> pl.Series:
    """Read every other spelling of ISO 8601: a blank for the T, no seconds, a fraction, an offset."""
    frame = pl.DataFrame({"text": values}).with_columns(
        pl.col("text").str.extract_groups(_ISO_TIMESTAMP).struct.rename_fields(["day", "h", "m", "s", "f", "zone"])
    ).unnest("text")  # fmt: skip
    frame = frame.with_columns(
        moment=(
            pl.format(
                "{} {}:{}:{}.{}",
                "day",
                "h",
                "m",
                pl.col("s").fill_null("00"),
                pl.col("f").fill_null("0").str.pad_end(6, "0"),
            ).str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", strict=False, time_unit="us")
        ),
        offset=pl.when(pl.col("zone") == "Z")
        .then(0)
        .otherwise(
            pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
            * (
                pl.col("zone").str.slice(1, 2).cast(pl.Int64, strict=False) * 60
                + pl.col("zone").str.tail(2).cast(pl.Int64, strict=False)
            )
        ),
    )
    zoned = (frame["moment"] - pl.select(pl.duration(minutes=frame["offset"])).to_series()).dt.replace_time_zone("UTC")
    local = _to_utc(frame["moment"].set(frame["zone"].is_not_null(), None), time_zone)
    return zoned.zip_with(zoned.is_not_null(), local)


def _to_utc(naive: pl.Series, time_zone: str) -> pl.Series:
    """Place naive times in their zone; an hour that the clock skipped or repeated there is null: it names no moment."""
    if time_zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    placed = naive.dt.replace_time_zone(time_zone, ambiguous="null", non_existent="null")
    return placed.dt.convert_time_zone("UTC")


def _cast_typed(values: pl.Series, data_type: DataType, target: pl.DataType, time_zone: str) -> pl.Series:
    """Cast typed values; the way back must give the same value, and a day or a duration is never a number."""
    dtype, kind = values.dtype, data_type.kind
    nothing = pl.Series(values.name, [None] * len(values), dtype=target)
    if isinstance(dtype, _NESTED):
        texts = [write_json(value) for value in values.to_list()] if target == pl.String else nothing
        return pl.Series(values.name, texts, dtype=target)
    if target == pl.String:
        values = _blank(values, ~values.is_finite()) if kind == "json" and dtype.is_float() else values
        return values.dt.to_string("iso") if dtype == pl.Duration else values.cast(pl.String, strict=False)
    if kind == "boolean" and dtype == target:
        return values
    if kind == "date" and dtype == target:
        return _keep_between(values, _FIRST_MOMENT.date(), _LAST_MOMENT.date())
    if isinstance(dtype, pl.Datetime):
        if kind == "timestamp":
            if dtype.time_unit != "ns":  # nanoseconds reach from 1677 to 2262 only; milliseconds beyond any calendar
                values = _keep_between(values, _FIRST_MOMENT, _LAST_MOMENT)
            cut = values.cast(pl.Datetime("us", dtype.time_zone))
            cut = _blank(cut, cut.cast(dtype) != values)
            cut = cut.dt.convert_time_zone("UTC") if dtype.time_zone else _to_utc(cut, time_zone)
            return _keep_between(cut, _FIRST_MOMENT, _LAST_MOMENT)
        if kind == "date":
            naive = values.dt.replace_time_zone(None)
            days = naive.cast(pl.Date)
            days = _blank(days, days.cast(naive.dtype) != naive)
            return _keep_between(days, _FIRST_MOMENT.date(), _LAST_MOMENT.date())
        return nothing
    if not dtype.is_numeric() or not target.is_numeric():
        return nothing
    if dtype == target and kind != "double":
        return values
    if dtype.is_float():
        if kind == "double":
            numbers = values.cast(pl.Float64)
            return _blank(numbers, ~numbers.is_finite())
        # Through the shortest spelling: 2.5 as a decimal is 2.5, not the binary neighbour's 17 digits.
        single = dtype != pl.Float64
        spelt = values.cast(pl.String).to_list() if single else [None] * len(values)
        texts = [_spell(value, text) for value, text in zip(values.to_list(), spelt, strict=True)]
        return cast_losslessly(pl.Series(values.name, texts, dtype=pl.String), data_type, time_zone)
    numbers = values.cast(target, strict=False)
    return _blank(numbers, numbers.cast(dtype, strict=False).ne_missing(values))


def _spell(value: float | None, text: str | None) -> str | None:
    """Return a float in plain digits; `text` is its shortest spelling, if it is narrower than Python's own."""
    if value is None or value != value or abs(value) == float("inf"):
        return None if value is None else repr(value)
    number = Decimal(value) if abs(value) >= _EXACT_FLOAT else Decimal(text or repr(value))
    plain = format(number, "f") if number else "0"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _decode(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return "\0"  # no text: refused wherever it should go


def write_json(value: object) -> str | None:
    """Return a value as JSON; None if it is none, or JSON cannot hold it."""
    try:
        return None if value is None else json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except (TypeError, ValueError):  # NaN, or a key that JSON cannot hold
        return None

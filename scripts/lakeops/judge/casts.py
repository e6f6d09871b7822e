"""Lossless or not at all: a value is cast only if the result equals it exactly.

Measured: polars rounds '1.23456' into decimal(12,4), reads '1e400' as infinite and '007' as 7; Delta stores 2.5 in a
bigint as 2. So every cast is checked by its way back, and what differs is looked at again, spelling by spelling.
The oracle in the tests is Python's Decimal and datetime.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import polars as pl

from lakeops.contract import DataType

TIMESTAMP = pl.Datetime("us", "UTC")
_ISO_TIMESTAMP = (
    r"^(\d{4}-\d{2}-\d{2})[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,6})0*)?)?"
    r"(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?$"
)


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
    if values.dtype == target and data_type.kind not in ("varchar", "json", "double"):
        return values
    if values.dtype == pl.Null:
        return pl.Series(values.name, [None] * len(values), dtype=target)
    if values.dtype != pl.String:
        return _cast_typed(values, data_type, target, time_zone)
    if data_type.kind in ("varchar", "json"):
        # A NUL byte in text is the mark of a damaged file, and ends strings early in half of all tools.
        return _blank(values, values.str.contains("\0", literal=True))
    match data_type.kind:
        case "bigint":
            return _cast_round_trip(values, target, None)
        case "decimal":
            fraction = rf"(\.\d{{0,{data_type.scale}}}0*)?" if data_type.scale else r"(\.0*)?"
            return _cast_round_trip(values, target, rf"^-?(0|[1-9]\d*){fraction}$")
        case "double":
            return _cast_double(values)
        case "boolean":
            lower = values.str.to_lowercase()
            known = pl.Series([True, False], dtype=pl.Boolean)
            return lower.replace_strict(
                ["true", "false"], known, default=None, return_dtype=pl.Boolean
            )  # fmt: skip
        case "date":
            days = values.str.to_date("%Y-%m-%d", strict=False)
            return _blank(days, days.dt.to_string("%Y-%m-%d") != values)
        case _:
            return _cast_timestamp(values, time_zone)


def _blank(values: pl.Series, where: pl.Series) -> pl.Series:
    where = where.fill_null(False)
    return values.set(where, None) if where.any() else values


def _cast_round_trip(values: pl.Series, target: pl.DataType, allowed: str | None) -> pl.Series:
    """Cast text to a number; where the number is spelt otherwise than it was, `allowed` decides about the spelling."""
    numbers = values.cast(target, strict=False)
    odd = (numbers.cast(pl.String) != values).fill_null(False)
    if not odd.any():
        return numbers
    return _blank(numbers, odd & ~values.str.contains(allowed).fill_null(False) if allowed else odd)


def _cast_double(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    numbers = _blank(numbers, ~numbers.is_finite())
    odd = ((numbers.cast(pl.String) != values) & numbers.is_not_null()).fill_null(False)
    lost = [i for i in odd.arg_true() if not _spells(values[i], numbers[i])]
    return numbers.scatter(lost, None) if lost else numbers


def _spells(text: str, number: float) -> bool:
    """Is the shortest spelling of the float the number that was written?"""
    try:
        return Decimal(text) == Decimal(repr(number))
    except InvalidOperation:
        return False


def _cast_timestamp(values: pl.Series, time_zone: str) -> pl.Series:
    simple = values.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    # 2024-2-3T1:2:3 is read as well; a full spelling has 19 characters.
    simple = _blank(simple, values.str.len_bytes() != 19)
    naive = _to_utc(simple, time_zone)
    odd = (naive.is_null() & values.is_not_null()).arg_true()
    if not len(odd):
        return naive
    frame = pl.DataFrame({"text": values.gather(odd)}).with_columns(
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
    return naive.scatter(odd, zoned.zip_with(zoned.is_not_null(), local))


def _to_utc(naive: pl.Series, time_zone: str) -> pl.Series:
    """Place naive times in their zone; an hour that the clock skipped or repeated there is null: it names no moment."""
    if time_zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    placed = naive.dt.replace_time_zone(time_zone, ambiguous="null", non_existent="null")
    return placed.dt.convert_time_zone("UTC")


def _cast_typed(values: pl.Series, data_type: DataType, target: pl.DataType, time_zone: str) -> pl.Series:
    """Cast typed values; the way back must give the same value."""
    if data_type.kind == "timestamp" and isinstance(values.dtype, pl.Datetime):
        cut = values.cast(pl.Datetime("us", values.dtype.time_zone))
        cut = _blank(cut, cut.cast(values.dtype) != values)
        return cut.dt.convert_time_zone("UTC") if values.dtype.time_zone else _to_utc(cut, time_zone)
    if data_type.kind in ("varchar", "json"):
        return values.cast(pl.String, strict=False)
    if values.dtype.is_float():
        # Through the shortest spelling: 2.5 as a decimal is 2.5, not the binary neighbour's 17 digits.
        texts = [None if value is None else _spell(value) for value in values.to_list()]
        return cast_losslessly(pl.Series(values.name, texts, dtype=pl.String), data_type, time_zone)
    if values.dtype.is_numeric() != target.is_numeric() and not values.dtype.is_temporal():
        return pl.Series(values.name, [None] * len(values), dtype=target)
    numbers = values.cast(target, strict=False)
    return _blank(numbers, numbers.cast(values.dtype, strict=False).ne_missing(values))


def _spell(value: float) -> str:
    text = repr(value)
    try:
        plain = format(Decimal(text), "f") if value == value and abs(value) != float("inf") else text
    except InvalidOperation:
        return text
    return plain.rstrip("0").rstrip(".") if "." in plain else plain

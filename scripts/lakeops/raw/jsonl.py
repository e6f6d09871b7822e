"""Read JSON lines: one object a line, numbers kept as they are written."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import polars as pl

from lakeops.raw.chunk import ABSENT, SOURCE_ROW, Chunk, RefusedFile, make_broken, refuse_reserved
from lakeops.raw.stream import ByteStream, check_packing

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 1 << 20
# Names that are data ({"u000001": …} a line) would make a column each, and a cell of every line in every column.
MAX_NAMES = 2_000
MAX_CELLS = 50_000_000
# Shorter lines without an escape cannot nest too deeply to be written again, nor hold half a surrogate pair.
_HARMLESS_LENGTH = 600


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} stands twice in one object")
    return record


# Floats become Decimal: a binary float would change 0.1, and 1e400 would become infinite.
# Names are looked at in pairs: a dict would keep the last of two values and lose the other.
_DECODER = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_build_object
)  # fmt: skip


def read_jsonl(path: Path, notes_absent: bool = False, encoding: str = "utf-8") -> Iterator[Chunk]:
    """Read a file of JSON objects, one a line; blank lines are no records.

    Parameters
    ----------
    path : the file; `.gz` and `.zst` are unpacked on the way.
    notes_absent : add a column `_absent`, the names that a record leaves out and others of its chunk bring.
    encoding : how its text is written.

    Yields
    ------
    Chunks of text columns: numbers as plain decimals, booleans as true and false, objects and lists as JSON.

    Raises
    ------
    RefusedFile : empty, cut short, in another encoding, a line over 1 MiB, or more names than a table has columns.
    """
    stream = ByteStream(path, encoding)
    line, rest = 1, b""
    while block := stream.read(BLOCK_BYTES):
        if line == 1 and not rest:
            check_packing(path, block)
            block = block.removeprefix(codecs.BOM_UTF8)
        data = rest + block
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            yield from _make_chunks(_decode(data[:end], line), line, notes_absent)
            line += data.count(b"\n", 0, end)
        if len(rest) > MAX_RECORD_BYTES:
            raise _refuse_length(line)
    if rest:
        yield from _make_chunks(_decode(rest, line), line, notes_absent)
    elif line == 1:
        raise RefusedFile("empty", "the file has no bytes", "ask the sender for the file again")
    stream.close()


def _decode(data: bytes, line: int) -> list[str]:
    """Split whole lines; only LF ends one, for a CR or another break may stand inside a string."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise RefusedFile(
            "wrong_encoding",
            f"line {line + data.count(10, 0, error.start)}: a byte that is not UTF-8",
            "name the file's encoding in the contract (load.encoding, as latin-1), or ask the sender for UTF-8",
        ) from error
    for number, text in enumerate(lines, line):
        if len(text) > MAX_RECORD_BYTES:
            raise _refuse_length(number)
    return lines


def _refuse_length(line: int) -> RefusedFile:
    return RefusedFile(
        "record_too_long",
        f"line {line}: the record is longer than {MAX_RECORD_BYTES:,} bytes",
        "ask the sender for one JSON object a line",
    )


def _make_chunks(lines: list[str], first: int, notes_absent: bool) -> Iterator[Chunk]:
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    broken = []
    names: dict[str, None] = {}
    for line, text in enumerate(lines, first):
        stripped = text.strip(" \t\r")  # JSON knows no other blanks
        if not stripped:
            continue
        try:
            record = _DECODER.decode(stripped)
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, found {type(record).__name__}")
            if len(stripped) > _HARMLESS_LENGTH or "\\u" in stripped:
                "".join(map(str, map(_write_text, record.values()))).encode()
                "".join(record).encode()
        except (ValueError, RecursionError, InvalidOperation) as error:
            broken.append((line, "bad_json", _describe(error), text.removesuffix("\r")))
            continue
        records.append(record)
        numbers.append(line)
        names.update(dict.fromkeys(record))
        if len(names) > MAX_NAMES:
            raise RefusedFile(
                "bad_header",
                f"line {line}: over {MAX_NAMES:,} different names up to here; they seem to be data",
                "ask the sender for objects whose names are those of columns, and what differs line by line as a value",
            )
    if len(names) * len(records) > MAX_CELLS and len(records) > 1:
        half = len(lines) // 2
        yield from _make_chunks(lines[:half], first, notes_absent)
        yield from _make_chunks(lines[half:], first + half, notes_absent)
        return
    refuse_reserved(names)
    columns = {
        name: pl.Series(name, [_write_text(record.get(name)) for record in records], dtype=pl.String) for name in names
    }
    rows = pl.DataFrame(columns | {SOURCE_ROW: pl.Series(numbers, dtype=pl.Int64)})
    if notes_absent:
        absent = [[name for name in names if name not in record] for record in records]
        rows = rows.with_columns(pl.Series(ABSENT, absent, dtype=pl.List(pl.String)))

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        return {number: lines[number - first].removesuffix("\r") for number in wanted}

    yield Chunk(rows, make_broken(broken), get_raw)


def _describe(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair, which is no character"
    if isinstance(error, InvalidOperation):
        return "a number with an exponent beyond any reckoning"
    return (str(error) or type(error).__name__)[:200]


def _write_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return write_decimal(value)
    try:
        return _NESTED.encode(value)
    except TypeError:  # a Decimal in it, which the fast encoder does not know
        return _write_nested(value)


_NESTED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _write_nested(value: Any) -> str:
    """Write JSON with every number digit by digit: the way through a float would change it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_NESTED.encode(name)}:{_write_nested(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write_nested, value)) + "]"
    return str(value) if isinstance(value, Decimal) else _NESTED.encode(value)


def write_decimal(value: Decimal) -> str:
    """Return a number in plain digits: 1E+2 is 100, 7.0 is 7. A magnitude beyond 400 digits keeps its exponent."""
    if not value:
        return "0"  # also -0.0 and 0E+500, which equal it
    if abs(value.adjusted()) > 400:
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

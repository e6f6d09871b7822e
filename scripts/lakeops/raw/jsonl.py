"""Read JSON lines: one object a line, numbers kept as they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from lakeops.raw.chunk import Chunk, RefusedFile, make_broken

LINES_PER_CHUNK = 200_000


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Floats become Decimal: a binary float would change 0.1, and 1e400 would become infinite.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def read_jsonl(path: Path) -> Iterator[Chunk]:
    """Read a file of JSON objects, one a line; blank lines are no records.

    Parameters
    ----------
    path : the file, UTF-8.

    Yields
    ------
    Chunks of text columns: numbers as plain decimals, booleans as true and false, objects and lists as JSON.

    Raises
    ------
    RefusedFile : empty, or not UTF-8.
    """
    if path.stat().st_size == 0:
        raise RefusedFile("empty", "the file has no bytes", "ask the sender for the file again")
    line = 0
    try:
        with path.open("r", encoding="utf-8-sig", newline="\n") as file:
            lines: list[tuple[int, str]] = []
            for line, text in enumerate(file, 1):
                lines.append((line, text))
                if len(lines) == LINES_PER_CHUNK:
                    yield _make_chunk(lines)
                    lines = []
            if lines:
                yield _make_chunk(lines)
    except UnicodeDecodeError as error:
        raise RefusedFile(
            "wrong_encoding",
            f"after line {line}: {error.reason}",
            "ask the sender for UTF-8, or convert it: iconv -f LATIN1 -t UTF-8",
        ) from error


def _make_chunk(lines: list[tuple[int, str]]) -> Chunk:
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    broken = []
    names: dict[str, None] = {}
    for line, text in lines:
        stripped = text.strip()
        if not stripped:
            continue
        try:
            record = _DECODER.decode(stripped)
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, found {type(record).__name__}")
        except (ValueError, RecursionError) as error:
            broken.append((line, "bad_json", str(error)[:200], text.rstrip("\r\n")))
            continue
        records.append(record)
        numbers.append(line)
        names.update(dict.fromkeys(record))
    columns = {
        name: pl.Series(name, [_write_text(record.get(name)) for record in records], dtype=pl.String) for name in names
    }
    rows = pl.DataFrame(columns | {"_source_row": pl.Series(numbers, dtype=pl.Int64)})
    texts = dict(lines)

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        return {number: texts[number].rstrip("\r\n") for number in wanted}

    return Chunk(rows, make_broken(broken), get_raw)


def _write_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return write_decimal(value)
    return json.dumps(value, ensure_ascii=False, default=_write_number, separators=(",", ":"))


def _write_number(value: Any) -> float | int:
    # Inside a nested object nothing is typed by the contract; a JSON reader would see the same float.
    return float(value)


def write_decimal(value: Decimal) -> str:
    """Return a number in plain digits: 1E+2 is 100, 7.0 is 7. A magnitude beyond 400 digits keeps its exponent."""
    if abs(value.adjusted()) > 400:
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

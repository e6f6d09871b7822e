"""Raw files with every defect in the book, drawn by Hypothesis together with what is in them."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xlsxwriter
from hypothesis import strategies as st

KINDS = {"id": "bigint", "qty": "bigint", "price": "decimal(12,2)", "ratio": "double", "ok": "boolean", "day": "date",
         "seen": "timestamp", "note": "varchar"}  # fmt: skip
EXTRA = "extra"
ALIAS = {"price": "cost"}
# By table: format, on_bad_value, on_new_column.
TABLES = {
    "plain": ("csv", "quarantine", "refuse"),
    "saved": ("csv", "rescue", "rescue"),
    "strict": ("csv", "refuse", "ignore"),
    "grown": ("csv", "quarantine", "evolve"),
    "lines": ("jsonl", "quarantine", "refuse"),
    "saved_lines": ("jsonl", "rescue", "rescue"),
    "sheets": ("xlsx", "quarantine", "ignore"),
}
CONTRACTS = "sources:\n  - name: bronze\n    tables:\n" + "".join(
    f"      - name: {table}\n"
    f"        config: {{meta: {{load: {{files: ['{table}/*'], format: {form}, key: [id], aliases: {{price: [cost]}},"
    f" on_bad_value: {bad}, on_new_column: {new}}}}}}}\n"
    "        columns:\n"
    + "".join(f"          - {{name: {name}, data_type: '{kind}'}}\n" for name, kind in KINDS.items() if name != "note")
    + "          - {name: note, data_type: varchar, config: {meta: {optional: true}}}\n"
    for table, (form, bad, new) in TABLES.items()
)


@dataclass(frozen=True)
class Cell:
    """A value as it is written into a file, what it says (None: nothing), and whether that fits its column."""

    written: Any
    says: str | None
    fits: bool = True


NOTHING = Cell(None, None)


@dataclass(frozen=True)
class Record:
    """A record of a file; `is_broken` if it cannot be told which value belongs to which column."""

    cells: dict[str, Cell] = field(default_factory=dict)
    is_broken: bool = False


@dataclass(frozen=True)
class RawFile:
    """A raw file, and what is known of it.

    Parameters
    ----------
    table, suffix : whose it is, and how its name ends.
    data : its bytes; `plain` are these before they were packed.
    records : in the order of the file.
    refused : whether it must be; None where only a reading of the whole tells.
    """

    table: str
    suffix: str
    data: bytes
    plain: bytes
    records: tuple[Record, ...]
    refused: bool | None

    def __repr__(self) -> str:
        return f"RawFile({self.table}{self.suffix}, {self.plain[:2000]!r}, refused={self.refused}, {self.records})"


stamps = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1))  # noqa: DTZ001
words = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6),
    st.sampled_from(
        ["a,b", 'say "hi"', "two\nlines", "\r\n", "\r", " x ", "NaN", "null", "\ufeff", '"', "=1+1", "1e400"]
    ),
)
GOOD_TEXT = {
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "decimal(12,2)": st.decimals(-9999999999, 9999999999, places=2).map(str) | st.sampled_from(["7", "7.100", "-0.5"]),
    "double": st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.sampled_from(["1e3", "0.1", "7"]),
    "boolean": st.sampled_from(["true", "false", "True", "FALSE"]),
    "date": st.dates().map(str),
    "timestamp": st.one_of(
        stamps.map(dt.datetime.isoformat), stamps.map(str), stamps.map(lambda moment: f"{moment.isoformat()}+09:30")
    ),
    "varchar": words,
}
BAD_TEXT = {
    "bigint": ["2.5", "7.0", "007", "1e3", "1,000", "NaN", "\0", "1\x00", "9223372036854775808", " 7", "٣", "1e400"],
    "decimal(12,2)": ["7.125", "1e400", "1,000.00", "NaN", "inf", "10000000000.00", "\0", "007", "1e2", "$5"],
    "double": ["1e400", "NaN", "-inf", "1,5", "0x10", "1_000", "\0", "0.12345678901234567890123"],
    "boolean": ["1", "yes", "t", "\0"],
    "date": ["2024-02-30", "2024-4-1", "01/04/2024", "2024-04-01T00:00:00", "0000-01-01", "\0", "NaN"],
    "timestamp": [
        "2024-02-30T00:00:00",
        "2024-04-01",
        "2024-04-01T24:00:00",
        "2024-04-01T01:02:03.1234567",
        "NaN",
        "\0",
    ],
    "varchar": ["\0", "a\0b"],
}
GOOD_JSON = {
    "bigint": GOOD_TEXT["bigint"] | st.sampled_from(["7.0", "1e2", '"7"']),
    "decimal(12,2)": GOOD_TEXT["decimal(12,2)"] | st.sampled_from(['"7.10"', "1e2", "-0.0"]),
    "double": GOOD_TEXT["double"],
    "boolean": st.sampled_from(["true", "false"]),
    "date": GOOD_TEXT["date"].map(json.dumps),
    "timestamp": GOOD_TEXT["timestamp"].map(json.dumps),
    "varchar": words.map(json.dumps),
}
BAD_JSON = {
    "bigint": ["2.5", "1e400", "true", '"x"', '"007"', "[1]", '"1,000"', "9223372036854775808", '"NaN"'],
    "decimal(12,2)": ["7.125", "1e400", '"1,000.00"', "true", "{}"],
    "double": ["1e400", '"NaN"', "true", "0.12345678901234567890123"],
    "boolean": ["1", '"yes"', "0.0"],
    "date": ['"2024-02-30"', "20240401", "true", '"2024-04-01T00:00:00"'],
    "timestamp": ['"2024-02-30T00:00:00"', "1711929600", '"2024-04-01"'],
    "varchar": ['"a\\u0000b"'],
}
GOOD_CELL = {
    "bigint": st.integers(-(2**53), 2**53) | st.sampled_from(["7", "-12"]),
    "decimal(12,2)": st.integers(-999999, 999999).map(lambda cents: cents / 100) | st.sampled_from(["7.10", 7]),
    "double": st.sampled_from([0.1, 2.5, 1e300, -7, "1e3"]),
    "boolean": st.booleans() | st.just("TRUE"),
    "date": st.dates(dt.date(1900, 3, 1)) | st.just("2024-04-01"),
    "timestamp": st.dates(dt.date(1900, 3, 1)).map(lambda day: dt.datetime(day.year, day.month, day.day, 1, 2, 3)),  # noqa: DTZ001
    "varchar": st.sampled_from(["x", " x ", "two\nlines", 'say "hi"', "NaN", "ü€𝄞", "007"]),
}  # fmt: skip
BAD_CELL = {
    "bigint": [2.5, "x", True, "1,000", dt.date(2024, 4, 1), 1e300, "007"],
    "decimal(12,2)": [7.125, "NaN", 1e300, "1,000.00", False],
    "double": ["NaN", "1,5", True, "1e400"],
    "boolean": [1, "yes"],
    "date": ["2024-02-30", 45000, True, dt.datetime(2024, 4, 1, 1, 2, 3)],  # noqa: DTZ001
    "timestamp": ["2024-04-01", 45000.5, "24:00"],
    "varchar": ["a\0b"],
}
BROKEN_LINES = ["{bad", "[1]", "7", '"x"', '{"id": NaN}', '{"id": 1, "id": 2}', "\0", '{"id": 1} x', "nothing", "null"]


def _say(token: str) -> str | None:
    """Return what a JSON token says, as text."""
    value = json.loads(token, parse_int=str, parse_float=str)
    return value if value is None or isinstance(value, str) else json.dumps(value)


CELLS = {
    "csv": {k: (GOOD_TEXT[k].map(lambda t: Cell(t, t)), [Cell(t, t, False) for t in BAD_TEXT[k]]) for k in GOOD_TEXT},
    "jsonl": {
        k: (GOOD_JSON[k].map(lambda t: Cell(t, _say(t))), [Cell(t, _say(t), False) for t in BAD_JSON[k]])
        for k in GOOD_JSON
    },
    "xlsx": {k: (GOOD_CELL[k].map(lambda v: Cell(v, str(v))), [Cell(v, str(v), False) for v in BAD_CELL[k]])
             for k in GOOD_CELL},
}  # fmt: skip
PLAIN_CELLS = {
    "csv": dict.fromkeys(KINDS, NOTHING) | {"price": Cell("1.50", "1.50"), "ok": Cell("true", "true")},
    "jsonl": dict.fromkeys(KINDS, NOTHING) | {"price": Cell("1.50", "1.50"), "note": Cell('"x"', "x")},
    "xlsx": dict.fromkeys(KINDS, NOTHING) | {"price": Cell(1.5, "1.5"), "note": Cell("x", "x")},
}


@st.composite
def records(draw: st.DrawFn, form: str, with_extra: bool) -> Record:
    """Draw a record: a plain one, in which some values are others."""
    cells = dict(PLAIN_CELLS[form])
    number = draw(st.integers(1, 9))
    cells["id"] = Cell(number if form == "xlsx" else str(number), str(number))
    if with_extra and draw(st.booleans()):
        cells[EXTRA] = Cell('"more"' if form == "jsonl" else "more", "more")
    for name in draw(st.lists(st.sampled_from([*KINDS]), max_size=3)):
        good, bad = CELLS[form][KINDS[name]]
        cells[name] = draw(st.one_of(good, good, st.sampled_from(bad), st.sampled_from(bad), st.just(NOTHING)))
    return Record(cells)


@st.composite
def csv_files(draw: st.DrawFn, table: str) -> RawFile:
    """Draw a CSV file."""
    harm = draw(st.sampled_from([*[""] * 16, "empty", "missing", "repeated", "nameless", "reserved", "not utf-8",
                                 "unclosed at the end", "unclosed"]))  # fmt: skip
    if harm == "empty":
        return RawFile(table, ".csv", b"", b"", (), True)
    columns = draw(st.permutations([*KINDS]))
    if draw(st.booleans()):
        columns.remove("note")
    if harm == "missing":
        columns.remove(draw(st.sampled_from([name for name in columns if name != "note"])))
    with_extra = draw(st.sampled_from([False, False, True]))
    if with_extra:
        columns.insert(draw(st.integers(0, len(columns))), EXTRA)
    more = {"repeated": "qty", "nameless": "", "reserved": "_source_row"}
    columns += [more[harm]] if harm in more else []
    as_alias = draw(st.booleans())
    header = [ALIAS.get(name, name) if as_alias else name for name in columns]
    ending = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    found: list[Record] = []
    lines = [",".join(header)]
    for _ in range(draw(st.integers(0, 6))):
        shape = draw(st.sampled_from([*["whole"] * 6, "short", "long", "blank", "malformed"]))
        if shape == "blank":
            lines.append("")
            continue
        record = draw(records("csv", with_extra))
        fields = [_quote(record.cells.get(name, NOTHING).written, draw(st.booleans())) for name in columns]
        if shape == "short":
            fields.pop()
        elif shape == "long":
            fields.append("1")
        elif shape == "malformed":
            fields[draw(st.integers(0, len(fields) - 1))] = '"web"x'
        lines.append(",".join(fields))
        kept = {name: cell for name, cell in record.cells.items() if name in columns}
        found.append(Record(kept, is_broken=shape != "whole"))
    if harm == "unclosed at the end":
        lines.append("".join([*[","] * (len(columns) - 1), '"open']))
    elif harm == "unclosed":
        lines.insert(draw(st.integers(1, len(lines))), '"open,1')
    text = ending.join(lines) + draw(st.sampled_from([ending, ""]))
    plain = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()
    if harm == "not utf-8":
        cut = draw(st.integers(len(plain) - len(text.encode()), len(plain)))
        plain = plain[:cut] + b"\xff" + plain[cut:]
    if harm == "unclosed":
        return draw(packed(table, ".csv", plain, (), None))
    _, on_bad, on_new = TABLES[table]
    refused = bool(harm) or (with_extra and on_new == "refuse") or (on_bad == "refuse" and any(map(_is_bad, found)))
    return draw(packed(table, ".csv", plain, tuple(found), refused))


def _is_bad(record: Record) -> bool:
    if record.is_broken or record.cells["id"].says is None:  # which is quarantined, whatever else is wrong with it
        return False
    return not all(cell.fits for cell in record.cells.values())


def _quote(text: str | None, always: bool) -> str:
    if text is None:
        return ""
    if always or not text or text.startswith("\ufeff") or set(text) & set(',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


@st.composite
def json_files(draw: st.DrawFn, table: str) -> RawFile:
    """Draw a file of JSON lines."""
    harm = draw(st.sampled_from([*[""] * 16, "empty", "reserved", "not utf-8"]))
    with_extra = draw(st.sampled_from([False, False, True]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    found: list[Record] = []
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        shape = draw(st.sampled_from([*["whole"] * 6, "broken", "blank"]))
        if shape == "blank":
            lines.append(draw(st.sampled_from(["", "  ", "\t"])))
        elif shape == "broken":
            lines.append(draw(st.sampled_from(BROKEN_LINES)))
            found.append(Record(is_broken=True))
        else:
            record = draw(records("jsonl", with_extra))
            names = draw(st.permutations([*record.cells]))
            # What has no value is null or left out.
            names = [name for name in names if record.cells[name] != NOTHING or draw(st.booleans())]
            pairs = [f'"{name}": {record.cells[name].written or "null"}' for name in names]
            lines.append("{" + ", ".join(pairs) + "}")
            found.append(record)
    if harm == "reserved":
        lines.append('{"_source_row": 1}')
    plain = b"" if harm == "empty" else (ending.join(lines) + draw(st.sampled_from([ending, ""]))).encode()
    if harm == "not utf-8":
        plain += b"\xff"
    has_extra = any(EXTRA in record.cells for record in found)
    refused = bool(harm) or not plain or (has_extra and TABLES[table][2] == "refuse")
    return draw(packed(table, ".jsonl", plain, tuple(found), refused))


@st.composite
def workbooks(draw: st.DrawFn, table: str) -> RawFile:
    """Draw a workbook whose columns hold values of all types."""
    columns = draw(st.permutations([*KINDS]))
    out = io.BytesIO()
    found = []
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        book.set_properties({"created": dt.datetime(2024, 1, 1)})  # noqa: DTZ001
        styles = {dt.date: book.add_format({"num_format": "yyyy-mm-dd"}),
                  dt.datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})}  # fmt: skip
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, columns)
        row = 0
        for _ in range(draw(st.integers(0, 4))):
            row += draw(st.integers(1, 2))
            record = draw(records("xlsx", False))
            for place, name in enumerate(columns):
                value = record.cells[name].written
                if isinstance(value, dt.date):
                    sheet.write_datetime(row, place, value, styles[type(value)])
                elif isinstance(value, str):
                    sheet.write_string(row, place, value)
                elif value is not None:
                    sheet.write(row, place, value)
            found.append(record)
    data = out.getvalue()
    if draw(st.sampled_from([False, False, False, True])):
        return RawFile(table, ".xlsx", data[: draw(st.integers(0, len(data) - 1))], data, tuple(found), True)
    return RawFile(table, ".xlsx", data, data, tuple(found), False)


@st.composite
def packed(
    draw: st.DrawFn, table: str, suffix: str, plain: bytes, found: tuple[Record, ...], refused: bool | None
) -> RawFile:
    """Draw whether and how a file is packed, and whether it arrives whole."""
    packing = draw(st.sampled_from(["", "", "gz", "zst"]))
    if not packing:
        return RawFile(table, suffix, plain, plain, found, refused)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {"gz": "gzip", "zst": "zstd"}[packing]) as file:
        file.write(plain)
    data = sink.getvalue().to_pybytes()
    match draw(st.sampled_from([*["whole"] * 8, "cut", "not said"])):
        case "cut":
            return RawFile(
                table, f"{suffix}.{packing}", data[: draw(st.integers(1, len(data) - 1))], plain, found, True
            )
        case "not said":
            return RawFile(table, suffix, data, plain, found, True)
    return RawFile(table, f"{suffix}.{packing}", data, plain, found, refused)


DRAWN_BY = {"csv": csv_files, "jsonl": json_files, "xlsx": workbooks}
raw_files = st.one_of([DRAWN_BY[form](table) for table, (form, _, _) in TABLES.items()])

"""Read the first sheet of an XLSX workbook, cell by cell, each with its own type."""

from __future__ import annotations

import datetime as dt
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

import polars as pl
from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound

from lakeops.raw.chunk import SOURCE_ROW, Chunk, RefusedFile, make_broken, refuse_reserved
from lakeops.raw.jsonl import write_decimal

MAX_UNPACKED_BYTES = 1 << 30
MAX_UNPACKED_RATIO = 200
# The reader lays a sheet out as a full grid: one cell in its far corner would ask for 17,179,869,184 cells.
MAX_CELLS = 50_000_000
_FAILED = "a formula gave an error, or was never computed: have the workbook opened and saved in a spreadsheet"
_BLOCK = 1 << 20
# A binary float is exact for whole numbers up to here; a longer number in a cell has lost its last digits.
_EXACT_WHOLE = 2**53
_PLACE = re.compile("([A-Z]{1,3})([0-9]{1,7})")


def read_workbook(path: Path, kinds: Mapping[str, str]) -> Iterator[Chunk]:
    """Read a workbook's first sheet; its first row holds the names, `_source_row` is the sheet's row number.

    Parameters
    ----------
    path : the workbook.
    kinds : the kind of each column's type in the contract. A cell with a date is a day or a moment, as wanted there.

    Raises
    ------
    RefusedFile : no workbook, no sheet, no header, a header with repeated names, or one that explodes when unpacked.
    """
    if path.stat().st_size == 0:
        raise RefusedFile("empty", "the file has no bytes", "ask the sender for the file again")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(archive)
            errors = _find_error_cells(archive)
        with CalamineWorkbook.from_path(str(path)) as workbook:
            cells = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, WorksheetNotFound, OSError, IndexError, KeyError, ET.ParseError, expat.ExpatError,
            zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:  # fmt: skip
        if getattr(error, "errno", None):  # the disk failed, not the file
            raise
        raise RefusedFile(
            "unreadable",
            f"this is not a readable XLSX workbook: {error}",
            "open it in a spreadsheet and save it again as .xlsx, or ask the sender for it again",
        ) from error
    names = [(_write_text(cell, "varchar") or "").strip() for cell in cells[0]] if cells else []
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names):
        raise RefusedFile(
            "bad_header",
            f"row 1 must name every column once, found {names!r}",
            "mend the first row of the first sheet",
        )
    refuse_reserved(names)
    if errors:  # the reader leaves out what has no value at the edge of a sheet
        width = max(len(cells[0]), 1 + max(map(max, errors.values())))
        cells += [[]] * (max(errors) - len(cells))
        cells = [row + [None] * (width - len(row)) for row in cells]
    wanted = [kinds.get(name, "varchar") for name in names]
    wanted += ["varchar"] * (max(map(len, cells)) - len(names))
    records, numbers, broken = [], [], []
    for number, row in enumerate(cells[1:], 2):
        texts = [_write_text(cell, kind) for cell, kind in zip(row, wanted, strict=False)]
        for place in errors.get(number, ()):  # the reader hands such a formula on as an empty cell
            texts[place] = "#ERROR"
        if not any(text and text.strip() for text in texts):
            continue
        outside = any(texts[len(names) :])
        if outside or number in errors:
            detail = f"a cell stands outside the {len(names)} named columns" if outside else _FAILED
            reason = "wrong_field_count" if outside else "error_cell"
            broken.append((number, reason, detail, json.dumps(texts, ensure_ascii=False)))
            continue
        records.append(texts[: len(names)])
        numbers.append(number)
    rows = pl.DataFrame(records, schema=dict.fromkeys(names, pl.String), orient="row")
    rows = rows.with_columns(pl.Series(SOURCE_ROW, numbers, dtype=pl.Int64))
    originals = dict(zip(numbers, records, strict=True))

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        return {n: json.dumps(dict(zip(names, originals[n], strict=True)), ensure_ascii=False) for n in wanted}

    yield Chunk(rows, make_broken(broken), get_raw)


def _check_size(archive: zipfile.ZipFile) -> None:
    """Refuse a workbook by what its directory says it unpacks to; nothing has been unpacked yet."""
    unpacked = sum(member.file_size for member in archive.infolist())
    packed = sum(member.compress_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_UNPACKED_RATIO * max(packed, 1):
        raise _refuse_bomb(
            f"{packed:,} bytes unpack to {unpacked:,}; allowed are {MAX_UNPACKED_BYTES:,}, "
            f"and {MAX_UNPACKED_RATIO} times the packed size"
        )


def _find_error_cells(archive: zipfile.ZipFile) -> dict[int, list[int]]:
    """Return the columns (from 0) of error cells by row, of the first sheet.

    Every member is read to its end on the way: a directory that lies about a size fails its checksum here, block by
    block, and not in a reader that has believed it.
    """
    first = _find_first_sheet(archive)
    errors: dict[int, list[int]] = {}
    for member in archive.infolist():
        name = member.filename.lower()  # as the reader finds it
        cells = _Cells() if name == first or re.fullmatch(r"xl/worksheets/.+\.xml", name) else None
        with archive.open(member) as file:
            while block := file.read(_BLOCK):
                if cells:
                    cells.read(block)
        if cells and cells.rows * cells.columns > MAX_CELLS:
            raise _refuse_bomb(f"a sheet spans {cells.rows:,} rows by {cells.columns:,} columns")
        if cells and name == first:
            errors = cells.errors
            first = ""
    if first:
        raise RefusedFile(
            "unreadable", f"its first sheet is to be in {first}, and is not", "have the workbook saved again, or as CSV"
        )
    return errors


class _Cells:
    """How far the cells of a sheet reach, and in which of them a formula gave no value (columns from 0, by row).

    It gave an error; or it has none, as a program leaves it that writes formulas and does not compute them. A formula
    that gave an empty text says so by its type.

    A parser and not a pattern: the same sheet may be written with prefixes, in either of two namespaces, and without
    saying where a cell stands, which is then next to the one before it (ECMA-376, 18.3.1.4 and 18.3.1.73).
    """

    def __init__(self) -> None:
        self.rows = self.columns = self._row = self._column = 0
        self.errors: dict[int, list[int]] = {}
        self._type = ""
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._begin

    def read(self, block: bytes) -> None:
        """Take in the next bytes of the sheet."""
        self._parser.Parse(block)

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name == "row":
            self._row, self._column = int(attributes.get("r") or self._row + 1), 0
        elif name == "c":
            self._column += 1
            if place := _PLACE.fullmatch(attributes.get("r", "")):
                self._row, self._column = int(place[2]), _count_column(place[1])
            self.rows, self.columns = max(self.rows, self._row), max(self.columns, self._column)
            self._type = attributes.get("t", "")
            if self._type == "e":
                self._note_error()
        elif name == "f" and self._type not in ("e", "str"):
            self._parser.EndElementHandler = self._end_formula_cell
        elif name == "v" and self._parser.EndElementHandler:
            self._parser.CharacterDataHandler = self._note_value

    def _note_error(self) -> None:
        self.errors.setdefault(self._row, []).append(self._column - 1)

    def _note_value(self, text: str) -> None:
        if text.strip():
            self._parser.EndElementHandler = self._parser.CharacterDataHandler = None

    def _end_formula_cell(self, tag: str) -> None:
        if tag.rpartition(":")[2] == "c":
            self._parser.EndElementHandler = self._parser.CharacterDataHandler = None
            self._note_error()


def _find_first_sheet(archive: zipfile.ZipFile) -> str:
    """Return the name, in small letters, of the member with the first sheet in the order of the workbook's tabs."""
    workbook = ET.fromstring(archive.read("xl/workbook.xml"))
    sheet = next((element for element in workbook.iter() if element.tag.rpartition("}")[2] == "sheet"), None)
    if sheet is None:
        return ""
    # In a namespace, of which there are two: the plain attribute would be another.
    known = {value for name, value in sheet.items() if name.startswith("{") and name.endswith("}id")}
    for relation in ET.fromstring(archive.read("xl/_rels/workbook.xml.rels")):
        if relation.get("Id") in known:
            return str(PurePosixPath("xl") / relation.get("Target", "")).removeprefix("/").lower()
    return ""


def _count_column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _refuse_bomb(detail: str) -> RefusedFile:
    return RefusedFile("zip_bomb", detail, "ask the sender for a plain workbook, or for CSV if it is really that large")


def _write_text(cell: Any, kind: str) -> str | None:
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        # A cell holds a binary float; its shortest exact spelling is the number a person sees.
        number = Decimal(repr(cell))
        if abs(cell) > _EXACT_WHOLE and cell.is_integer():
            return f"{number.normalize():E}"  # fits a double, and no column that wants every digit
        return write_decimal(number)
    if isinstance(cell, dt.datetime):
        return cell.isoformat() if kind == "timestamp" or cell.time() != dt.time() else cell.date().isoformat()
    if isinstance(cell, dt.date):
        return f"{cell.isoformat()}T00:00:00" if kind == "timestamp" else cell.isoformat()
    return None if cell is None else str(cell)

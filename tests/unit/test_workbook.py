"""Workbooks: cells with their own types, sheet rows as lines; and files that must not be unpacked."""

from __future__ import annotations

import datetime as dt
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import xlsxwriter

from lakeops.raw import Chunk, RefusedFile, workbook
from lakeops.raw.workbook import read_workbook

Sheet = xlsxwriter.worksheet.Worksheet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.xlsx"


def write(path: Path, fill: Callable[[xlsxwriter.Workbook, Sheet], object]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        fill(book, book.add_worksheet())
    return path


def read(path: Path, **kinds: str) -> Chunk:
    (chunk,) = read_workbook(path, kinds)
    return chunk


def read_rows(path: Path, **kinds: str) -> dict[int, tuple]:
    chunk = read(path, **kinds)
    return {row[-1]: row[:-1] for row in chunk.rows.iter_rows()}


def refuse(path: Path) -> RefusedFile:
    with pytest.raises(RefusedFile) as refused:
        list(read_workbook(path, {}))
    assert refused.value.next_step
    return refused.value


def test_cells_of_every_type(path: Path) -> None:
    def fill(book: xlsxwriter.Workbook, sheet: Sheet) -> None:
        day, moment = (book.add_format({"num_format": f}) for f in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"))
        sheet.write_row(0, 0, [" name ", "value"])
        values = [7, 2.5, 0.1, -0.0, 1e300, "007", " x ", True, 2**53, 2**53 + 2, 123456789012345678, -12]
        for row, value in enumerate(values, 1):
            sheet.write(row, 0, f"v{row}")
            sheet.write(row, 1, value)
        sheet.write_datetime(13, 1, dt.datetime(2024, 1, 31), day)  # noqa: DTZ001
        sheet.write_datetime(14, 1, dt.datetime(2024, 1, 31, 1, 2, 3), moment)  # noqa: DTZ001
        sheet.write_formula(15, 1, "=1+1", None, 2)
        sheet.write_formula(16, 1, '="x"', None, "x")

    rows = read_rows(write(path, fill))
    assert [value for _, value in rows.values()] == [
        "7", "2.5", "0.1", "0", "1E+300", "007", " x ", "true", str(2**53), "9.007199254740994E+15",
        "1.234567890123457E+17", "-12", "2024-01-31", "2024-01-31T01:02:03", "2", "x"]  # fmt: skip
    # A day in a column of moments is a moment, which a text of ten characters would not be.
    assert read_rows(path, value="timestamp")[14] == (None, "2024-01-31T00:00:00")
    assert json.loads(read(path).get_raw([2])[2]) == {"name": "v1", "value": "7"}


def test_blank_rows_are_skipped_and_the_sheets_own_rows_counted(path: Path) -> None:
    def fill(book: xlsxwriter.Workbook, sheet: Sheet) -> None:
        sheet.write_row(0, 0, ["a", "b"])
        sheet.write_row(1, 0, [1, 2])
        sheet.write_row(5, 0, ["", "x"])
        sheet.write_row(6, 0, [1, 2, 3])
        sheet.write_row(8, 1, [4])
        book.add_worksheet("other").write(0, 0, "not read")

    chunk = read(write(path, fill))
    assert chunk.rows.rows() == [("1", "2", 2), (None, "x", 6), (None, "4", 9)]
    assert [row[:2] for row in chunk.broken.iter_rows()] == [(7, "wrong_field_count")]


def test_a_formula_that_failed_is_no_empty_cell(path: Path) -> None:
    def fill(book: xlsxwriter.Workbook, sheet: Sheet) -> None:
        sheet.write_row(0, 0, ["a", "b"])
        sheet.write_row(1, 0, [1, 2])
        sheet.write(2, 0, 3)
        sheet.write_formula(2, 1, "=1/0", None, "#DIV/0!")
        sheet.write_formula(3, 0, "=NA()", None, "#N/A")

    chunk = read(write(path, fill))
    assert chunk.rows["_source_row"].to_list() == [2]
    assert [row[:2] for row in chunk.broken.iter_rows()] == [(3, "error_cell"), (4, "error_cell")]
    assert "#ERROR" in chunk.broken["raw_record"][0]


@pytest.mark.parametrize("header", [[], ["a", "a"], ["a", "", "b"], [" a", "a "], ["a", "_source_row"]])
def test_a_header_that_names_no_columns_is_refused(path: Path, header: list[str]) -> None:
    write(path, lambda book, sheet: [sheet.write_row(0, 0, header), sheet.write_row(1, 0, [1, 2, 3])])
    assert refuse(path).reason == "bad_header"


def test_a_header_alone(path: Path) -> None:
    chunk = read(write(path, lambda book, sheet: sheet.write_row(0, 0, ["a", "b"])))
    assert (chunk.rows.columns, chunk.rows.height) == (["a", "b", "_source_row"], 0)


def test_no_workbook(path: Path) -> None:
    path.write_bytes(b"")
    assert refuse(path).reason == "empty"
    path.write_bytes(b"a,b\n1,2\n")
    assert refuse(path).reason == "unreadable"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "no workbook")
    assert refuse(path).reason == "unreadable"
    whole = write(path, lambda book, sheet: sheet.write_row(0, 0, ["a", "b"])).read_bytes()
    for size in range(1, len(whole), 211):
        path.write_bytes(whole[:size])
        assert refuse(path).reason == "unreadable", size


def test_a_workbook_that_unpacks_to_two_hundred_times_its_size_is_refused_unread(path: Path) -> None:
    write(path, lambda book, sheet: sheet.write_row(0, 0, ["a", "b"]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/zeros.bin", bytes(20 << 20))
    assert refuse(path).reason == "zip_bomb"


def test_a_workbook_above_the_limit_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, lambda book, sheet: sheet.write_row(0, 0, ["a", "b"]))
    monkeypatch.setattr(workbook, "MAX_UNPACKED_BYTES", 5_000)
    refused = refuse(path)
    assert refused.reason == "zip_bomb"
    assert "5,000" in refused.detail


def test_a_directory_that_lies_about_a_size_is_not_believed(path: Path) -> None:
    write(path, lambda book, sheet: [sheet.write(row, 0, f"text {row}") for row in range(3000)])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        real = archive.getinfo("xl/sharedStrings.xml").file_size.to_bytes(4, "little")
    place = data.rindex(real)  # in the central directory
    data[place : place + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    assert refuse(path).reason == "unreadable"


def test_one_cell_in_the_far_corner_does_not_unfold_a_grid(path: Path) -> None:
    write(path, lambda book, sheet: [sheet.write_row(0, 0, ["a", "b"]), sheet.write(1_048_575, 16_383, 1)])
    refused = refuse(path)
    assert refused.reason == "zip_bomb"
    assert "1,048,576 rows by 16,384 columns" in refused.detail


CELLS = '<c r="A1" t="inlineStr"><is><t>id</t></is></c>', '<c r="B1" t="inlineStr"><is><t>v</t></is></c>'
SPELLINGS = {
    "as most write it": lambda text: text,
    "with prefixes": lambda text: text.replace("<", "<x:").replace("<x:/", "</x:").replace("xmlns=", "xmlns:x="),
    "strict": lambda text: text.replace(
        "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main"
    ),
    "without places": lambda text: re.sub(' r="[A-Z]?[0-9]+"', "", text),
    "in single quotes": lambda text: text.replace('"', "'"),
}


@pytest.mark.parametrize("place", ["xl/sheet1.xml", "xl/worksheets/a/sheet1.xml", "xl/worksheets/Sheet1.XML"])
def test_a_failed_formula_is_found_wherever_the_sheet_is(path: Path, place: str) -> None:
    def fill(book: xlsxwriter.Workbook, sheet: Sheet) -> None:
        sheet.write_row(0, 0, ["id", "v"])
        sheet.write_formula(1, 0, "=1/0", book.add_format(), "#DIV/0!")

    with zipfile.ZipFile(write(path, fill)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[place] = members.pop("xl/worksheets/sheet1.xml")
    relations = members["xl/_rels/workbook.xml.rels"]
    target = place.removeprefix("xl/").encode()
    members["xl/_rels/workbook.xml.rels"] = relations.replace(b"worksheets/sheet1.xml", target)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    chunk = read(path)
    assert chunk.rows.height == 0
    assert [row[:2] for row in chunk.broken.iter_rows()] == [(2, "error_cell")]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_failed_formula_is_found_however_the_sheet_is_spelt(path: Path, spelling: str) -> None:
    def fill(_: xlsxwriter.Workbook, sheet: Sheet) -> None:
        sheet.write_row(0, 0, [1, 2])

    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        f'<row r="1">{"".join(CELLS)}</row>'
        '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>5</v></c></row>'
        '<row r="3"><c r="A3"><v>2</v></c><c r="B3" t="e"><v>#N/A</v></c></row>'
        # As openpyxl writes a formula, which nobody has computed; and two that were, one of them to an empty text.
        '<row r="4"><c r="A4"><v>3</v></c><c r="B4"><f>A4*2</f>\n<v/>\n</c></row>'
        '<row r="5"><c r="A5"><f>1+2</f><v>3</v></c><c r="B5" t="str"><f>""</f><v></v></c></row>'
        '<row r="6"><c r="A6"><f>A5+1</f></c></row></sheetData></worksheet>'
    )
    with zipfile.ZipFile(write(path, fill)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["xl/worksheets/sheet1.xml"] = SPELLINGS[spelling](sheet).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    chunk = read(path)
    assert chunk.rows.rows() == [("1", "5", 2), ("3", None, 5)]
    assert [row[:2] for row in chunk.broken.iter_rows()] == [(line, "error_cell") for line in (3, 4, 6)]

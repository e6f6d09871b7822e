"""For every file: rows read = accepted + quarantined, or all refused; and no accepted value is another than its text.

What is in a file is counted with the standard library, and what became of it in the ledger, in the Delta table and in
the quarantine. `LAKEOPS_EXAMPLES=5000` looks at more files, and at other ones each time.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import shutil
import zipfile
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import WHOLE_LOADS, Project, make_project
from integration.counted_files import CONTRACTS, EXTRA, KINDS, TABLES, Cell, RawFile, Record, raw_files
from lakeops.ledger import load_ledger


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose lake is made, and empty."""
    project = make_project(tmp_path_factory.mktemp("counts") / "project", CONTRACTS)
    project.load()
    project.keep()
    return project


def count_lines(file: RawFile) -> list[int]:
    """Return the line (or row) on which each record begins, by the standard library alone."""
    match TABLES[file.table][0]:
        case "csv":
            reader = csv.reader(io.StringIO(file.plain.decode("utf-8-sig", errors="replace"), newline=""))
            next(reader, None)
            lines, begin = [], reader.line_num + 1
            for fields in reader:
                if fields:
                    lines.append(begin)
                begin = reader.line_num + 1
            return lines
        case "jsonl":
            return [n for n, line in enumerate(file.plain.split(b"\n"), 1) if line.strip(b" \t\r")]
        case _:
            with zipfile.ZipFile(io.BytesIO(file.plain)) as archive:
                sheet = archive.read("xl/worksheets/sheet1.xml").decode()
            return sorted({int(row) for row in re.findall(r'<c r="[A-Z]+([0-9]+)"[^>]*>', sheet)} - {1})


def equals(kind: str, value: object, text: str) -> bool:
    """Tell whether a stored value is what the text says, by Python's own types."""
    match kind.partition("(")[0]:
        case "bigint" | "decimal":
            return Decimal(value) == Decimal(text)
        case "double":
            return Decimal(text) in (Decimal(repr(value)), Decimal(value))
        case "boolean":
            return value is (text.lower() == "true")
        case "date":
            return value == dt.date.fromisoformat(text)
        case "timestamp":
            moment = dt.datetime.fromisoformat(text)
            return value == (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
        case _:
            return value == text


def is_accepted(record: Record, on_bad_value: str) -> bool:
    """Tell whether a record of a file that is not refused must be loaded."""
    if record.is_broken or record.cells["id"].says is None or not record.cells["id"].fits:
        return False
    return on_bad_value == "rescue" or all(cell.fits for cell in record.cells.values())


def check_row(row: dict[str, object], record: Record, table: str) -> None:
    """Compare an accepted row with what its record says."""
    rescued = {}
    form, _, on_new_column = TABLES[table]
    for name, kind in KINDS.items():
        cell = record.cells.get(name, Cell(None, None))
        if not cell.fits:
            rescued[name] = cell.says
        if cell.says is None or not cell.fits or (cell.says == "" and kind != "varchar"):
            assert row[name] is None, (name, row, record)
        else:
            assert equals(kind, row[name], cell.says), (name, row, record)
    more = record.cells[EXTRA].says if EXTRA in record.cells else None
    if on_new_column == "evolve":
        assert row.get(EXTRA) == more
    if on_new_column == "rescue" and more is not None:
        rescued[EXTRA] = more
    if "_rescued" in row:
        kept = json.loads(row["_rescued"]) if row["_rescued"] else {}
        assert kept.keys() == rescued.keys()
        if form == "csv":
            assert kept == rescued


@WHOLE_LOADS
@given(st.lists(raw_files, min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=1))
def test_rows_in_are_rows_accepted_and_quarantined_or_all_refused(
    lake: Project, files: list[RawFile], copies: list[int]
) -> None:
    files = files + [files[place] for place in copies if place < len(files)]
    lake.reset()
    shutil.rmtree(lake.root / "data_raw")
    landed = {}
    for number, file in enumerate(files):
        path = lake.land(f"{file.table}/{number}{file.suffix}", file.data)
        landed[path.relative_to(lake.root).as_posix()] = file
    outcome = lake.load()
    ledger = load_ledger(lake.settings.lake).latest
    assert ledger.keys() == landed.keys()
    assert outcome.unclaimed == []
    named = {name for name, _ in outcome.refused}
    frames = {}
    for table in {file.table for file in files}:
        frames[table] = (
            pl.read_delta(str(lake.settings.lake.bronze("bronze", table))),
            pl.read_delta(str(lake.settings.lake.quarantine(table))),
        )
    loaded: dict[tuple[str, bytes], str] = {}
    for name, file in sorted(landed.items()):
        entry = ledger[name]
        bronze, quarantine = frames[file.table]
        rows = {row["_source_row"]: row for row in bronze.filter(pl.col("_source_file") == name).iter_rows(named=True)}
        refused = quarantine.filter(pl.col("source_file") == name)["source_row"].to_list()
        assert len(rows) == bronze.filter(pl.col("_source_file") == name).height
        if entry.status != "loaded":
            assert (rows, refused, entry.rows_accepted, entry.rows_quarantined) == ({}, [], 0, 0)
        if twin := loaded.get((file.table, file.data)):
            assert (entry.status, entry.reason) == ("duplicate", f"same bytes as {twin}")
            continue
        assert entry.status in ("loaded", "refused")
        assert (name in named) == (entry.status == "refused")
        if file.refused is not None:
            assert file.refused == (entry.status == "refused"), entry
        if entry.status == "refused":
            if entry.reason.startswith("columns: "):
                assert entry.rows_read == len(count_lines(file))
            continue
        loaded[file.table, file.data] = name
        lines = count_lines(file)
        assert (entry.rows_read, entry.rows_accepted, entry.rows_quarantined) == (len(lines), len(rows), len(refused))
        assert sorted([*rows, *refused]) == lines
        if file.refused is None:
            continue
        on_bad_value = TABLES[file.table][1]
        assert len(lines) == len(file.records)
        for line, record in zip(lines, file.records, strict=True):
            assert (line in rows) == is_accepted(record, on_bad_value), (line, record)
            if line in rows:
                check_row(rows[line], record, file.table)
    for table, (bronze, quarantine) in frames.items():
        mine = [name for name, file in landed.items() if file.table == table]
        assert bronze.height == sum(ledger[name].rows_accepted for name in mine)
        assert quarantine.height == sum(ledger[name].rows_quarantined for name in mine)

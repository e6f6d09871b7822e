"""Read the first sheet of an XLSX workbook, cell by cell, each with its own type."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound

from lakeops.raw.chunk import Chunk, RefusedFile, make_broken
from lakeops.raw.jsonl import write_decimal


def read_workbook(path: Path) -> Iterator[Chunk]:
    """Read a workbook's first sheet; its first row holds the names, `_source_row` is the sheet's row number.

    Raises
    ------
    RefusedFile : no workbook, no sheet, no header, or a header with repeated names.
    """
    try:
        with CalamineWorkbook.from_path(str(path)) as workbook:
            cells = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, WorksheetNotFound, OSError, IndexError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RefusedFile(
            "unreadable",
            f"this is not a readable XLSX workbook: {error}",
            "open it in a spreadsheet and save it again as .xlsx, or ask the sender for it again",
        ) from error
    names = [_write_text(cell) or "" for cell in cells[0]] if cells else []
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names):
        raise RefusedFile(
            "bad_header",
            f"row 1 must name every column once, found {names!r}",
            "mend the first row of the first sheet",
        )
    records, numbers, broken = [], [], []
    for number, row in enumerate(cells[1:], 2):
        texts = [_write_text(cell) for cell in row]
        if not any(texts):
            continue
        if any(texts[len(names) :]):
            broken.append((number, "wrong_field_count", f"a cell stands outside the {len(names)} named columns",
                           json.dumps(texts, ensure_ascii=False)))  # fmt: skip
            continue
        records.append(texts[: len(names)])
        numbers.append(number)
    rows = pl.DataFrame(records, schema=dict.fromkeys(names, pl.String), orient="row")
    rows = rows.with_columns(pl.Series("_source_row", numbers, dtype=pl.Int64))
    originals = dict(zip(numbers, records, strict=True))

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        return {n: json.dumps(dict(zip(names, originals[n], strict=True)), ensure_ascii=False) for n in wanted}

    yield Chunk(rows, make_broken(broken), get_raw)


def _write_text(cell: Any) -> str | None:
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        # A cell holds a binary float; its shortest exact spelling is the number a person sees.
        return write_decimal(Decimal(repr(cell)))
    if isinstance(cell, dt.datetime):
        return cell.date().isoformat() if cell.time() == dt.time() else cell.isoformat()
    return None if cell is None else str(cell)

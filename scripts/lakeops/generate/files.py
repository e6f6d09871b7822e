"""Write the raw files: columns and types as the contract says, whole or not at all."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from lakeops.contract import Column, Contract, Contracts
from lakeops.errors import ContractError, UsageError
from lakeops.generate.bad_files import BAD_FILES, damage
from lakeops.generate.defects import BROKEN_JSON, FLAW, SPARED, Defect, find_catcher, get_kind
from lakeops.generate.draw import mix_below
from lakeops.generate.scenario_list import MARK, Trace

_ARROW = {
    "bigint": pa.int64(),
    "double": pa.float64(),
    "varchar": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def check_columns(frame: pl.DataFrame, contract: Contract) -> list[str]:
    """Return the file's columns in the contract's order.

    Raises
    ------
    ContractError : the generator makes a column that the contract lacks, or the reverse.
    """
    wanted = [column.name for column in contract.file_columns]
    made = [name for name in frame.columns if name not in (FLAW, MARK)]
    if sorted(wanted) != sorted(made):
        missing = ", ".join(sorted(set(wanted) - set(made))) or "none"
        unknown = ", ".join(sorted(set(made) - set(wanted))) or "none"
        raise ContractError(
            f"The generator and the contract of {contract.name} differ in their columns.",
            where=str(contract.file),
            expected=", ".join(wanted),
            found=f"not made by the generator: {missing}; not in the contract: {unknown}",
            next_step="change scripts/lakeops/generate or the contract so that both list the same columns",
        )
    return wanted


def to_text(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return `frame` with every value as the text that stands in a CSV file."""
    check_columns(frame, contract)
    return frame.select(_as_text(frame, column) for column in contract.file_columns)


def _as_text(frame: pl.DataFrame, column: Column) -> pl.Expr:
    value = pl.col(column.name)
    if frame.schema[column.name] == pl.String:
        return value
    match column.type.kind:
        case "boolean":
            return pl.when(value).then(pl.lit("True")).when(~value).then(pl.lit("False")).alias(column.name)
        case "decimal":
            one = 10**column.type.scale
            units = (value * one).round(0).cast(pl.Int64)
            sign = pl.when(units < 0).then(pl.lit("-")).otherwise(pl.lit(""))
            fraction = (units.abs() % one).cast(pl.String).str.zfill(column.type.scale)
            return (sign + (units.abs() // one).cast(pl.String) + "." + fraction).alias(column.name)
        case "date":
            return value.cast(pl.Date).dt.to_string("%Y-%m-%d")
        case "timestamp":
            return value.cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S")
        case _:
            return value.cast(pl.String)


class FileWriter:
    """Writes the files of one call and keeps account of them.

    Parameters
    ----------
    out : folder the files go to.
    contracts : what the files look like.
    on_file : called with the relative path of every file, once it stands.
    """

    def __init__(self, out: Path, contracts: Contracts, on_file: Callable[[str], None] | None = None) -> None:
        self.out = out
        self.files: set[str] = set()
        self.written = 0
        self.rows: Counter[str] = Counter()
        self.defects: list[Defect] = []
        self.traces: list[Trace] = []
        # Set while a day is written that does not arrive, and from the day on that has new columns.
        self.withholds = False
        self.new_columns: dict[str, str] = {}
        self.bad_files: dict[str, str] = {}
        self._contracts = contracts
        self._on_file = on_file

    def write(self, table: str, path: str, frame: pl.DataFrame, told: dict[str, dict[str, Any]] | None = None) -> None:
        """Write one file of `table`.

        Parameters
        ----------
        table, path : whose file, and where.
        frame : its rows; `_flaw` says which are planted defects, and of which kind, `_mark` which a scenario made.
        told : what scenarios did to the file as a whole, as scenario → details.
        """
        contract = self._contracts.get_table(table)
        names = check_columns(frame, contract)
        if self.withholds:
            # A file that an earlier call delivered is not taken away.
            if not (self.out / path).is_file():
                self._tell("outage", table, path, {"rows": frame.height})
            return
        flaws = frame[FLAW].to_list() if FLAW in frame.columns else [None] * frame.height
        flaws = [None if flaw == SPARED else flaw for flaw in flaws]
        bad = self.bad_files.get(path)
        if bad:
            self._tell("bad-file", table, path, {"kind": bad, "refused_as": BAD_FILES[bad].refused_as})
            names = [name for name in names if name != BAD_FILES[bad].lacks]
        data = frame.select(names)
        if table in self.new_columns:
            data = data.with_columns(_make_codes(self.new_columns[table], path, frame.height))
            if not bad:
                details = {"column": self.new_columns[table], "on_new_column": contract.load.on_new_column}
                self._tell("evolve", table, path, details | {"rows": frame.height})
        match contract.load.format:
            case "csv":
                content, first = render_csv(data, flaws, contract.load.delimiter), 2
            case "jsonl":
                content, first = render_jsonl(data, flaws), 1
            case "parquet":
                content, first = render_parquet(data, contract), 1
            case _:
                content, first = render_xlsx(data, contract), 1
        if bad:
            self.keep(path, damage(content, bad))
            return
        for row, kind in enumerate(flaws):
            if kind is not None:
                self._note(contract, path, row + first, kind, data.row(row, named=True))
        self._tell_marks(contract, path, frame, first)
        for scenario, details in (told or {}).items():
            self._tell(scenario, table, path, details)
        self.rows[table] += frame.height
        self.keep(path, content)

    def tell_removed(self, table: str, path: str, frame: pl.DataFrame) -> None:
        """Keep account of rows that the file at `path` no longer has."""
        key = self._contracts.get_table(table).load.key
        for row in frame.iter_rows(named=True):
            named = {name: row[name] for name in key}
            self.traces.append(Trace("restate", table, path, None, {"change": "removed"}, named))

    def _tell(self, scenario: str, table: str, path: str, what: dict[str, Any]) -> None:
        self.traces.append(Trace(scenario, table, path, None, what))

    def _tell_marks(self, contract: Contract, path: str, frame: pl.DataFrame, first: int) -> None:
        if MARK not in frame.columns:
            return
        for line, row in enumerate(frame.iter_rows(named=True), start=first):
            if row[MARK] is not None:
                scenario, _, detail = row[MARK].partition(":")
                what = {"column": detail} if scenario == "outliers" else {"change": detail}
                key = {name: row[name] for name in contract.load.key}
                self.traces.append(Trace(scenario, contract.table, path, line, what, key))

    def write_by_folder(self, table: str, frame: pl.DataFrame, folders: np.ndarray, path: str) -> None:
        """Write `frame` as one file per value of `folders`, which is sorted; `path` holds `{}` for that value."""
        edges = [0, *(np.flatnonzero(folders[1:] != folders[:-1]) + 1).tolist(), len(folders)]
        for start, end in pairwise(edges):
            self.write(table, path.format(folders[start]), frame[start:end])

    def keep(self, path: str, content: bytes) -> None:
        """Put `content` at `path`, unless it stands there already."""
        self.files.add(path)
        if replace_file(self.out / path, content):
            self.written += 1
        if self._on_file:
            self._on_file(path)

    def _note(self, contract: Contract, path: str, line: int, kind: str, row: dict[str, object]) -> None:
        key = {}
        if kind != "broken_json":
            key = {name: row[name] for name in contract.load.key if row[name] is not None}
        column, caught_by = get_kind(contract.table, kind).column, find_catcher(contract, kind)
        self.defects.append(Defect(path, line, contract.table, kind, column, caught_by, key))


def replace_file(path: Path, content: bytes) -> bool:
    """Make `path` hold `content`, whole or not at all; a file that does so already is not touched.

    Raises
    ------
    UsageError : the file cannot be written there.
    """
    try:
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        # The ending keeps a leftover of a killed run from looking like a raw file; the next run replaces it.
        draft = path.with_name(f".{path.name}.tmp")
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise UsageError(
            "A raw file cannot be written.",
            where=str(path),
            expected="a folder that can be written, with room left",
            found=error.strerror or str(error),
            next_step="choose another folder with --out, or make this one writable",
        ) from error
    return True


def _make_codes(column: str, path: str, count: int) -> pl.Series:
    codes = mix_below(9, f"new column:{column}:{path}", np.arange(count)) + 1
    return pl.Series(column, [f"C{code}" for code in codes.tolist()], dtype=pl.String)


def render_csv(data: pl.DataFrame, flaws: list[str | None], delimiter: str = ",") -> bytes:
    """Return a CSV file; quotes stand where they are needed, except in rows planted as `unquoted_comma`."""
    text = data.write_csv(separator=delimiter, line_terminator="\n")
    if "unquoted_comma" not in flaws:
        return text.encode()
    header, *lines = text.splitlines()
    bare = (
        line.replace('"', "") if kind == "unquoted_comma" else line for line, kind in zip(lines, flaws, strict=True)
    )
    return ("\n".join([header, *bare]) + "\n").encode()


def render_jsonl(data: pl.DataFrame, flaws: list[str | None]) -> bytes:
    """Return a JSON Lines file; rows planted as `broken_json` are cut short."""
    rows = zip(data.iter_rows(named=True), flaws, strict=True)
    return "".join((BROKEN_JSON if kind == "broken_json" else json.dumps(row)) + "\n" for row, kind in rows).encode()


def render_parquet(data: pl.DataFrame, contract: Contract) -> bytes:
    """Return a Parquet file with the contract's types."""
    arrays, fields = [], []
    for name in data.columns:
        if name not in {column.name for column in contract.file_columns}:
            # A column that the contract does not know yet is text.
            arrays.append(data[name].to_arrow().cast(pa.string()))
            fields.append(pa.field(name, pa.string()))
            continue
        column = contract.get_column(name)
        if column.type.kind == "decimal":
            kind = pa.decimal128(column.type.precision, column.type.scale)
            exact = _as_text(data, column)
            values = [None if text is None else Decimal(text) for text in data.select(exact)[name]]
        else:
            kind, values = _ARROW.get(column.type.kind, pa.string()), data[name].to_arrow()
        array = pa.array(values, kind) if isinstance(values, list) else values.cast(kind)
        arrays.append(array)
        fields.append(pa.field(name, kind))
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=pa.schema(fields)), buffer, compression="zstd")
    return buffer.getvalue()


def render_xlsx(data: pl.DataFrame, contract: Contract) -> bytes:
    """Return a workbook with one sheet `rates`: numbers as numbers, days as ISO text."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    # Without it the workbook carries the time of writing.
    book.set_properties({"created": datetime(2024, 3, 25)})  # noqa: DTZ001
    sheet = book.add_worksheet("rates")
    sheet.write_row(0, 0, data.columns)
    for number, row in enumerate(data.iter_rows(), start=1):
        sheet.write_row(number, 0, [value.isoformat() if isinstance(value, date) else value for value in row])
    book.close()
    return buffer.getvalue()

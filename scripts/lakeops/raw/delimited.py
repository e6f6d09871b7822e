"""Read delimited text (CSV) without losing a record, and with the line where each begins.

pyarrow splits the records: it reports a record of the wrong length with its number and text, which neither
polars' reader nor DuckDB's does in full (docs/decisions/0003-csv.md). What it lets pass is checked here: bytes that
are no UTF-8, repeated column names, blank lines, an unclosed quote, text after a closing quote.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lakeops.raw.chunk import Chunk, RefusedFile, make_broken
from lakeops.raw.quotes import QuoteScanner

BLOCK_BYTES = 32 << 20
MAX_RECORD_BYTES = 1 << 20
_LINE_BREAK = "\r\n|\r|\n"


@dataclass
class _Survey:
    """What one pass over the bytes tells before any record is split."""

    header: list[str] = field(default_factory=list)
    header_lines: int = 0
    data_offset: int = 0
    size: int = 0
    has_quotes: bool = False
    has_blank_lines: bool = False
    malformed: dict[int, str] = field(default_factory=dict)


def read_delimited(path: Path, delimiter: str) -> Iterator[Chunk]:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path : the file, UTF-8 with or without a byte order mark.
    delimiter : one character.

    Yields
    ------
    Chunks of text columns; an empty field is null, a quoted empty field is an empty string.

    Raises
    ------
    RefusedFile : empty, not UTF-8, a header with repeated or empty names, an unclosed quote, a record over 1 MiB.
    """
    survey = _survey(path, delimiter)
    if survey.data_offset >= survey.size:  # a header and nothing else: still a header to judge
        empty = pl.DataFrame(schema=dict.fromkeys(survey.header, pl.String) | {"_source_row": pl.Int64})
        yield Chunk(empty, make_broken([]), lambda _: {})
        return
    yield from _split_records(path, delimiter, survey)


def _survey(path: Path, delimiter: str) -> _Survey:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        survey: _Survey | None = None
        scanner: QuoteScanner | None = None
        tail, position = b"\n", 0
        while block := file.read(BLOCK_BYTES):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raise _refuse_encoding(path, position + error.start) from error
            if survey is None:
                survey = _read_header(block, delimiter)
                scanner = QuoteScanner(delimiter, survey.header_lines + 1)
                body = block[survey.data_offset :]
            else:
                body = block
            if not survey.has_quotes and b'"' in body:
                survey.has_quotes = True
            scanner.feed(body)
            joined = tail + body
            if not survey.has_blank_lines and (b"\n\n" in joined or b"\n\r\n" in joined or b"\r\r" in joined):
                survey.has_blank_lines = True
            tail, position = body[-2:] or tail, position + len(block)
    if survey is None:
        raise RefusedFile("empty", "the file has no bytes, not even a header", "ask the sender for the file again")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _refuse_encoding(path, position - 1) from error
    survey.malformed = scanner.finish()
    survey.size = position
    return survey


def _refuse_encoding(path: Path, offset: int) -> RefusedFile:
    with path.open("rb") as file:
        line = file.read(offset).count(b"\n") + 1
    return RefusedFile(
        "wrong_encoding",
        f"line {line}: byte {offset} is not UTF-8",
        "ask the sender for UTF-8, or convert it: iconv -f LATIN1 -t UTF-8",
    )


def _read_header(block: bytes, delimiter: str) -> _Survey:
    start = len(codecs.BOM_UTF8) if block.startswith(codecs.BOM_UTF8) else 0
    if block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in block[:200]:
        raise RefusedFile(
            "wrong_encoding",
            "line 1: the file looks like UTF-16",
            "ask the sender for UTF-8, or convert it: iconv -f UTF-16 -t UTF-8",
        )
    end = start
    while True:
        newline = block.find(b"\n", end)
        end = len(block) if newline < 0 else newline + 1
        # A name may hold a line break between quotes; an even number of quotes closes it.
        if newline < 0 or block.count(b'"', start, end) % 2 == 0:
            break
    line = block[start:end].decode("utf-8", errors="replace")
    names = next(csv.reader(line.splitlines(keepends=True), delimiter=delimiter), [])
    names = [name.strip() for name in names]
    if not any(names):
        raise RefusedFile("no_header", "line 1 is blank", "the first line must hold the column names")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise RefusedFile(
            "bad_header",
            f"line 1: the name {', '.join(map(repr, repeated))} stands twice",
            "ask the sender for a file in which each column has a name of its own",
        )
    return _Survey(header=names, header_lines=line.count("\n") or 1, data_offset=end)


def _split_records(path: Path, delimiter: str, survey: _Survey) -> Iterator[Chunk]:
    names = survey.header
    invalid: list[tuple[int, int, str]] = []

    def on_invalid(row: pyarrow.csv.InvalidRow) -> str:
        invalid.append((row.number, row.actual_columns, row.text))
        return "skip"

    with pa.OSFile(str(path)) as file:
        file.seek(survey.data_offset)
        try:
            batches = pyarrow.csv.open_csv(
                file,
                pyarrow.csv.ReadOptions(
                    use_threads=False, column_names=names, block_size=min(BLOCK_BYTES, survey.size + 1)
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=survey.has_quotes,
                    ignore_empty_lines=False,
                    invalid_row_handler=on_invalid,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                    quoted_strings_can_be_null=False,
                ),
            )
            records_before, shift, taken = 0, 0, 0
            for batch in batches:
                rows = pl.from_arrow(batch)
                # The reader runs one block ahead, so a record of a later block may already be reported.
                numbers, mine = _number_records(rows.height, records_before, invalid[taken:])
                broken_here = invalid[taken : taken + mine]
                taken += mine
                chunk, shift = _make_chunk(path, rows, numbers, broken_here, shift, survey)
                records_before += rows.height + mine
                yield chunk
            if taken < len(invalid):
                chunk, _ = _make_chunk(path, pl.DataFrame(schema=dict.fromkeys(names, pl.String)), [], invalid[taken:],
                                       shift, survey)  # fmt: skip
                yield chunk
        except pa.ArrowInvalid as error:
            raise RefusedFile(
                "unreadable",
                str(error).splitlines()[0][:300],
                f"no record may be longer than {MAX_RECORD_BYTES:,} bytes; ask the sender for the file again",
            ) from error


def _number_records(height: int, before: int, invalid: list[tuple[int, int, str]]) -> tuple[pl.Series | list[int], int]:
    """Return the record numbers (from 1) of `height` good rows, and how many invalid records stand among them."""
    mine = 0
    numbers: list[pl.Series] = []
    position, left = before + 1, height
    for number, _, _ in invalid:
        good = number - position
        if good > left:
            break
        numbers.append(pl.int_range(position, number, eager=True, dtype=pl.Int64))
        left -= good
        position = number + 1
        mine += 1
    numbers.append(pl.int_range(position, position + left, eager=True, dtype=pl.Int64))
    return pl.concat(numbers), mine


def _make_chunk(
    path: Path,
    rows: pl.DataFrame,
    numbers: pl.Series | list[int],
    invalid: list[tuple[int, int, str]],
    shift: int,
    survey: _Survey,
) -> tuple[Chunk, int]:
    """Turn record numbers into physical lines; returns the chunk and the extra lines seen so far."""
    number = pl.Series("_number", numbers, dtype=pl.Int64)
    first = survey.header_lines
    if not survey.has_quotes:
        rows = rows.with_columns((number + first).alias("_source_row"))
        lines = [(n + first, 0) for n, _, _ in invalid]
    else:
        extra = _count_line_breaks(rows)
        every = pl.concat(
            [
                pl.DataFrame({"n": number, "extra": extra, "good": pl.repeat(True, rows.height, eager=True)}),
                pl.DataFrame(
                    {"n": [n for n, _, _ in invalid], "extra": [_count_breaks(t) for _, _, t in invalid],
                     "good": [False] * len(invalid)},
                    schema={"n": pl.Int64, "extra": pl.Int64, "good": pl.Boolean},
                ),
            ]
        ).sort("n")  # fmt: skip
        every = every.with_columns(line=pl.col("n") + first + shift + pl.col("extra").cum_sum() - pl.col("extra"))
        shift += int(every["extra"].sum())
        rows = rows.with_columns(every.filter("good")["line"].alias("_source_row"))
        lines = every.filter(~pl.col("good")).select("line", "extra").rows()
    broken = [
        (line, "wrong_field_count", f"expected {len(survey.header)} fields, found {found}", text)
        for (line, _), (_, found, text) in zip(lines, invalid, strict=True)
    ]
    if survey.has_blank_lines:
        rows, broken = _drop_blank_lines(path, rows, broken)
    if survey.malformed:
        at_fault = pl.col("_source_row").is_in(list(survey.malformed))
        marked = rows.filter(at_fault)["_source_row"].to_list()
        raw = _read_records(path, marked, rows)
        broken += [(line, "malformed_quotes", survey.malformed[line], raw[line]) for line in marked]
        rows = rows.filter(~at_fault)
    return Chunk(rows, make_broken(broken), lambda wanted: _read_records(path, wanted, rows)), shift


def _count_breaks(text: str) -> int:
    return text.count("\r\n") + text.replace("\r\n", "").count("\n") + text.replace("\r\n", "").count("\r")


def _count_line_breaks(rows: pl.DataFrame) -> pl.Series:
    counts = [
        pl.from_arrow(pc.count_substring_regex(rows[name].to_arrow(), _LINE_BREAK)).fill_null(0).cast(pl.Int64)
        for name in rows.columns
    ]
    total = counts[0]
    for count in counts[1:]:
        total = total + count
    return total


def _drop_blank_lines(
    path: Path, rows: pl.DataFrame, broken: list[tuple[int, str, str, str]]
) -> tuple[pl.DataFrame, list[tuple[int, str, str, str]]]:
    """Leave out lines with nothing on them: they are no records. A line of delimiters only is one, and stays."""
    names = [name for name in rows.columns if name != "_source_row"]
    suspects = rows.filter(pl.all_horizontal(pl.col(names).is_null()))["_source_row"].to_list()
    raw = _read_records(path, suspects, rows)
    blank = [line for line, text in raw.items() if not text.strip("\r\n")]
    return rows.filter(~pl.col("_source_row").is_in(blank)), [record for record in broken if record[3]]


def _read_records(path: Path, wanted: Iterable[int], rows: pl.DataFrame) -> dict[int, str]:
    """Return the text of the records that begin on the given physical lines, without the final line break."""
    begins = sorted(set(wanted))
    if not begins:
        return {}
    spans = dict(zip(begins, [0] * len(begins), strict=True))
    names = [name for name in rows.columns if name != "_source_row"]
    found = rows.filter(pl.col("_source_row").is_in(begins))
    if found.height:
        spans |= dict(zip(found["_source_row"], _count_line_breaks(found.select(names)), strict=True))
    records: dict[int, str] = {}
    with path.open("r", encoding="utf-8-sig", newline=None) as file:
        queue = iter(begins)
        current = next(queue, None)
        for line, text in enumerate(file, 1):
            if current is None:
                break
            if current <= line <= current + spans[current]:
                records[current] = records.get(current, "") + text
                if line == current + spans[current]:
                    records[current] = records[current].rstrip("\n")
                    current = next(queue, None)
    return {line: records.get(line, "") for line in begins}

"""Read delimited text (CSV) without losing a record, and with the line where each begins.

pyarrow splits the records: it reports a record of the wrong length with its number and text, which neither
polars' reader nor DuckDB's does in full (docs/decisions/0003-csv.md). What it lets pass is checked here: bytes that
are no UTF-8, repeated column names, blank lines, an unclosed quote, text after a closing quote, a record without end.
A line ends where pyarrow and every editor end it: at LF, CR LF, or CR alone.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lakeops.raw.chunk import SOURCE_ROW, Chunk, RefusedFile, make_broken, refuse_reserved
from lakeops.raw.quotes import QuoteScanner
from lakeops.raw.stream import ByteStream, LineFinder, check_packing, count_line_ends, open_native

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 1 << 20
_LINE_BREAK = "\r\n|\r|\n"
_QUOTED = re.compile(rb'"([^"]*+(?:""[^"]*+)*+)"')


@dataclass
class _Survey:
    """What one pass over the bytes tells before any record is split.

    `body` holds what follows the header, if it came in one block; a longer file is read again.
    """

    header: list[str] = field(default_factory=list)
    header_lines: int = 0
    data_offset: int = 0
    size: int = 0
    body: bytes | None = None
    has_quotes: bool = False
    has_blank_lines: bool = False
    lacks_end: bool = False
    malformed: dict[int, str] = field(default_factory=dict)


def read_delimited(path: Path, delimiter: str, encoding: str = "utf-8") -> Iterator[Chunk]:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path : the file, with or without a byte order mark; `.gz` and `.zst` are unpacked on the way.
    delimiter : one character.
    encoding : how its text is written.

    Yields
    ------
    Chunks of text columns; an empty field is null, a quoted empty field is an empty string.

    Raises
    ------
    RefusedFile : empty, cut short, in another encoding, a header with repeated or empty names, an unclosed quote, a
        record over 1 MiB.
    """
    survey = _survey(path, delimiter, encoding)
    if survey.data_offset >= survey.size:  # a header and nothing else: still a header to judge
        empty = pl.DataFrame(schema=dict.fromkeys(survey.header, pl.String) | {SOURCE_ROW: pl.Int64})
        yield Chunk(empty, make_broken([]), lambda _: {})
        return
    yield from _split_records(path, delimiter, encoding, survey)


def _survey(path: Path, delimiter: str, encoding: str) -> _Survey:
    stream = ByteStream(path, encoding)
    head = stream.read(BLOCK_BYTES)
    if not head:
        raise RefusedFile("empty", "the file has no bytes, not even a header", "ask the sender for the file again")
    check_packing(path, head)
    is_whole = len(head) < BLOCK_BYTES
    while (survey := _read_header(head, delimiter, is_whole)) is None:
        more = stream.read(BLOCK_BYTES)
        head, is_whole = head + more, not more
    scanner = QuoteScanner(delimiter, survey.header_lines + 1, MAX_RECORD_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")()
    block, body = head, head[survey.data_offset :]
    edge, single = b"\n", body  # the last bytes of the block before
    while block:
        undecoded = len(decoder.getstate()[0])
        if undecoded or not block.isascii():
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raise _refuse_encoding(path, survey.size - undecoded + error.start) from error
        survey.has_quotes = survey.has_quotes or b'"' in body
        survey.has_blank_lines = survey.has_blank_lines or _has_blank_line(edge + body[:2]) or _has_blank_line(body)
        scanner.feed(body)
        edge = (edge + body[-2:])[-2:]
        survey.size += len(block)
        block = body = stream.read(BLOCK_BYTES)
    if decoder.getstate()[0]:
        raise _refuse_encoding(path, survey.size - len(decoder.getstate()[0]))
    survey.malformed = scanner.finish()
    survey.lacks_end = not edge.endswith((b"\n", b"\r"))
    if survey.size == len(head) <= BLOCK_BYTES:
        survey.body = single + b"\n" if survey.lacks_end and survey.has_quotes else single
    stream.close()
    return survey


def _has_blank_line(data: bytes) -> bool:
    return b"\n\n" in data or (b"\r" in data and (b"\n\r" in data or b"\r\r" in data))


def _refuse_encoding(path: Path, offset: int) -> RefusedFile:
    stream, line, before = ByteStream(path), 1, b""
    while offset > 0 and (block := stream.read(min(BLOCK_BYTES, offset))):
        line += count_line_ends(before + block) - count_line_ends(before)
        offset, before = offset - len(block), block[-1:]
    return RefusedFile(
        "wrong_encoding",
        f"line {line}: a byte that is not UTF-8",
        "name the file's encoding in the contract (load.encoding, as latin-1), or ask the sender for UTF-8",
    )


def _read_header(head: bytes, delimiter: str, is_whole: bool) -> _Survey | None:
    """Return the header, or None if it does not end within `head`."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in head[:4]:
        raise RefusedFile(
            "wrong_encoding",
            "line 1: the file looks like UTF-16",
            "write encoding: utf-16 under load: in the contract, or ask the sender for UTF-8",
        )
    separator = delimiter.encode()
    plain = re.compile(rb"[^\r\n" + re.escape(separator) + rb"]*")
    end = start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    fields = []
    while True:
        match = _QUOTED.match(head, end)
        if match is None and head[end : end + 1] == b'"':
            if is_whole or len(head) > MAX_RECORD_BYTES:
                raise _refuse_header("unclosed_quote", f"a quote opens at {head[end : end + 40]!r} and is not closed")
            return None
        quoted = match is not None
        match = match or plain.match(head, end)
        end = match.end()
        if not is_whole and end + 1 >= len(head):
            if len(head) > MAX_RECORD_BYTES:
                raise _refuse_header("record_too_long", f"the header is longer than {MAX_RECORD_BYTES:,} bytes")
            return None
        text = match[1].replace(b'""', b'"') if quoted else match[0]
        fields.append(text.decode("utf-8", errors="replace").strip())
        if head.startswith(separator, end):
            end += len(separator)
            continue
        if quoted and end < len(head) and head[end] not in b"\r\n":
            raise _refuse_header("bad_header", f"text after a closing quote at {head[end : end + 40]!r}")
        break
    end += 2 if head.startswith(b"\r\n", end) else 1
    end = min(end, len(head))
    _check_names(fields)
    return _Survey(header=fields, header_lines=count_line_ends(head, start, end) or 1, data_offset=end)


def _check_names(names: list[str]) -> None:
    if not any(names):
        raise RefusedFile("no_header", "line 1 is blank", "the first line must hold the column names")
    if "" in names:
        raise _refuse_header("bad_header", f"column {names.index('') + 1} of {len(names)} has no name")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _refuse_header("bad_header", f"the name {', '.join(map(repr, repeated))} stands twice")
    refuse_reserved(names)


def _refuse_header(reason: str, detail: str) -> RefusedFile:
    return RefusedFile(
        reason, f"line 1: {detail}", "ask the sender for a file in which each column has one name of its own"
    )


def _split_records(path: Path, delimiter: str, encoding: str, survey: _Survey) -> Iterator[Chunk]:
    names = survey.header
    invalid: list[tuple[int, int, str]] = []

    def on_invalid(row: pyarrow.csv.InvalidRow) -> str:
        invalid.append((row.number, row.actual_columns, row.text))
        return "skip"

    finder = LineFinder(path, encoding)
    file = pa.BufferReader(survey.body) if survey.body is not None else open_native(path, encoding)
    with file:
        if survey.body is None:
            file.read(survey.data_offset)
            if survey.has_quotes:
                file = pa.PythonFile(_CarefulBlocks(file, survey.lacks_end), mode="r")
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
            records_before, shift = 0, 0
            for batch in batches:
                rows = pl.from_arrow(batch)
                numbers, mine = _number_records(rows.height, records_before, invalid)
                # The reader runs one block ahead, so a record of a later block may already be reported.
                broken_here, invalid[:mine] = invalid[:mine], []
                chunk, shift = _make_chunk(finder, rows, numbers, broken_here, shift, survey)
                records_before += rows.height + mine
                yield chunk
            if invalid:
                nothing = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
                numbers = pl.Series([], dtype=pl.Int64)
                chunk, _ = _make_chunk(finder, nothing, numbers, invalid, shift, survey)
                yield chunk
        except pa.ArrowInvalid as error:
            raise RefusedFile(
                "unreadable",
                str(error).splitlines()[0][:300],
                f"no record may be longer than {MAX_RECORD_BYTES:,} bytes; ask the sender for the file again",
            ) from error


class _CarefulBlocks(io.RawIOBase):
    """A stream in blocks that pyarrow does not misread.

    Between two blocks it drops the LF of a CR LF that stands inside quotes, and where the last line lacks its end, it
    takes an empty last field for a quoted one.
    """

    def __init__(self, file: pa.NativeFile, lacks_end: bool) -> None:
        self._file, self._held, self._ending = file, b"", b"\n" if lacks_end else b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data, self._held = self._held, b""
        # Whole blocks only: pyarrow takes a short one for a record that is longer than a block.
        while len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                data, self._ending = data + self._ending, b""
                return data
            data += more
        if data.endswith(b"\r") and len(data) > 1:
            data, self._held = data[:-1], b"\r"
        return data


def _number_records(height: int, before: int, invalid: list[tuple[int, int, str]]) -> tuple[pl.Series, int]:
    """Return the record numbers (from 1) of `height` good rows, and how many invalid records stand among them."""
    if not invalid:
        return pl.int_range(before + 1, before + height + 1, eager=True, dtype=pl.Int64), 0
    found = pl.Series([number for number, _, _ in invalid], dtype=pl.Int64)
    good_before = found - before - 1 - pl.int_range(len(found), eager=True, dtype=pl.Int64)
    mine = int((good_before <= height).sum())
    is_good = pl.repeat(True, height + mine, dtype=pl.Boolean, eager=True)
    is_good = is_good.scatter(found.head(mine) - before - 1, False)
    numbers = pl.int_range(before + 1, before + height + mine + 1, eager=True, dtype=pl.Int64)
    return numbers.filter(is_good), mine


def _make_chunk(
    finder: LineFinder,
    rows: pl.DataFrame,
    number: pl.Series,
    invalid: list[tuple[int, int, str]],
    shift: int,
    survey: _Survey,
) -> tuple[Chunk, int]:
    """Turn record numbers into physical lines; returns the chunk and the extra lines seen so far."""
    first = survey.header_lines
    if not survey.has_quotes:
        rows = rows.with_columns((number + first).alias(SOURCE_ROW))
        lines = [n + first for n, _, _ in invalid]
    else:
        good = pl.DataFrame({"n": number, "extra": _count_line_breaks(rows), "good": [True] * rows.height},
                            schema_overrides={"good": pl.Boolean})  # fmt: skip
        bad = pl.DataFrame(
            {"n": [n for n, _, _ in invalid], "extra": [count_line_ends(text.encode()) for _, _, text in invalid]},
            schema={"n": pl.Int64, "extra": pl.Int64},
        ).with_columns(good=pl.lit(False))
        every = pl.concat([good, bad]).sort("n") if invalid else good
        every = every.with_columns(line=pl.col("n") + first + shift + pl.col("extra").cum_sum() - pl.col("extra"))
        shift += int(every["extra"].sum())
        rows = rows.with_columns(every.filter("good")["line"].alias(SOURCE_ROW))
        lines = every.filter(~pl.col("good"))["line"].to_list()
    broken = [
        (line, "wrong_field_count", f"expected {len(survey.header)} fields, found {found}", text)
        for line, (_, found, text) in zip(lines, invalid, strict=True)
    ]

    def get_raw(wanted: Iterable[int]) -> dict[int, str]:
        begins = set(wanted)
        spans = dict.fromkeys(begins, 0)
        if survey.has_quotes and begins:
            found = rows.filter(pl.col(SOURCE_ROW).is_in(list(begins)))
            spans |= dict(zip(found[SOURCE_ROW], _count_line_breaks(found.drop(SOURCE_ROW)), strict=True))
        return finder.find(spans)

    kept = rows
    if survey.has_blank_lines:
        # A line with nothing on it is no record. One of delimiters only is, and stays.
        suspects = kept.filter(pl.all_horizontal(pl.exclude(SOURCE_ROW).is_null()))[SOURCE_ROW]
        blank = [line for line, text in get_raw(suspects).items() if not text]
        kept = kept.filter(~pl.col(SOURCE_ROW).is_in(blank))
        broken = [record for record in broken if record[3]]
    if survey.malformed:
        at_fault = pl.col(SOURCE_ROW).is_in(list(survey.malformed))
        raw = get_raw(kept.filter(at_fault)[SOURCE_ROW])
        broken += [(line, "malformed_quotes", survey.malformed[line], text) for line, text in raw.items()]
        kept = kept.filter(~at_fault)
    return Chunk(kept, make_broken(broken), get_raw), shift


def _count_line_breaks(rows: pl.DataFrame) -> pl.Series:
    total = pl.repeat(0, rows.height, dtype=pl.Int64, eager=True)
    for name in rows.columns:
        values = rows[name]
        # Most columns hold no line break at all, and one search over their bytes says so.
        if values.str.contains_any(["\n", "\r"]).any():
            counts = pc.count_substring_regex(values.to_arrow(), _LINE_BREAK)
            total += pl.from_arrow(counts).fill_null(0).cast(pl.Int64)
    return total

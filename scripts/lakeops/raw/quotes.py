"""Find quotes that do not pair up as RFC 4180 (section 2, rules 5 to 7) wants them, in one pass over a file."""

from __future__ import annotations

import numpy as np

from lakeops.raw.chunk import RefusedFile
from lakeops.raw.stream import count_line_ends, find_line_ends

_QUOTE = ord('"')
# A piece with an odd quote in it is walked quote by quote; small pieces keep that from slowing a whole file.
_PIECE_BYTES = 1 << 18


class QuoteScanner:
    """Follows the quotes and the record lengths of a delimited file block by block.

    Parameters
    ----------
    delimiter : one character.
    first_line : physical line of the first record.
    max_record_bytes : a longer record refuses the file.
    """

    def __init__(self, delimiter: str, first_line: int, max_record_bytes: int) -> None:
        self._openers = frozenset({ord(delimiter), ord("\n"), ord("\r")})
        self._is_opener = np.zeros(256, dtype=bool)
        self._is_opener[[*self._openers, _QUOTE]] = True
        self._limit = max_record_bytes
        self._line = first_line  # physical line at the position reached
        self._record_line = first_line  # line where the current record began
        self._record_bytes = 0  # how much of it has been seen
        self._opened_line = 0  # line where the open quote stands; 0 outside quotes
        self._previous = ord("\n")  # byte before the position reached
        self._closing = False  # the last byte was a quote inside quotes: it closes or escapes
        self._held = b""  # a CR at the end of a block, which may be half of a line break
        self._malformed: dict[int, str] = {}

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file.

        Raises
        ------
        RefusedFile : a quote is never closed where a field ends, or a record is too long.
        """
        if self._held:
            block, self._held = self._held + block, b""
        if block.endswith(b"\r"):
            block, self._held = block[:-1], b"\r"
        self._take(block)

    def finish(self) -> dict[int, str]:
        """Return, by the line where the record begins, what is wrong with its quotes.

        Raises
        ------
        RefusedFile : a quote is never closed, so that nothing after it can be trusted.
        """
        held, self._held = self._held, b""
        self._take(held)
        if self._opened_line and not self._closing:
            raise self._refuse_quote(self._opened_line)
        return self._malformed

    def _take(self, block: bytes) -> None:
        if not self._opened_line and b'"' not in block:
            self._pass_over(block, 0, len(block))
            return
        start = 0
        while start < len(block):
            if self._closing:
                start = self._resolve_closing(block, start)
                continue
            end = min(start + _PIECE_BYTES, len(block))
            while end < len(block) and block[end - 1] == ord("\r"):  # which may be half of a line break
                end += 1
            piece = block[start:end]
            if not self._pass_well_formed(piece):
                self._walk(piece)
            start = end

    def _pass_well_formed(self, piece: bytes) -> bool:
        """Take a piece whose quotes all pair up; return False, and take nothing, if one does not."""
        data = np.frombuffer(piece, dtype=np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        inside = int(self._opened_line > 0)
        opening, closing = quotes[inside::2], quotes[1 - inside :: 2]
        before = data[opening - 1]
        if len(opening) and opening[0] == 0:
            if self._previous not in self._openers:
                return False
            before[0] = self._previous
        pending = len(closing) > 0 and closing[-1] == len(piece) - 1  # what follows it is not known yet
        after = data[(closing[:-1] if pending else closing) + 1]
        if not (self._is_opener[before].all() and self._is_opener[after].all()):
            return False
        ends = find_line_ends(piece)
        record_ends = ends[(np.searchsorted(quotes, ends - 1) + inside) % 2 == 0]
        self._check_lengths(ends, record_ends, len(piece))
        stays_open = (len(quotes) + inside) % 2 == 1 or pending
        begins = opening[before != _QUOTE]  # a quote right after a closing one escapes it
        if not stays_open:
            self._opened_line = 0
        elif len(begins):
            self._opened_line = self._line + int(np.searchsorted(ends, begins[-1], side="right"))
        self._closing = pending
        if len(record_ends):
            self._record_line = self._line + int(np.searchsorted(ends, record_ends[-1], side="right"))
            self._record_bytes = len(piece) - int(record_ends[-1])
        else:
            self._record_bytes += len(piece)
        self._line += len(ends)
        self._previous = piece[-1]
        return True

    def _check_lengths(self, ends: np.ndarray, record_ends: np.ndarray, size: int) -> None:
        marks = np.concatenate([[-self._record_bytes], record_ends, [size]])
        too_long = np.flatnonzero(np.diff(marks) > self._limit)
        if len(too_long):
            first = int(too_long[0])
            line = self._line + int(np.searchsorted(ends, marks[first], side="right")) if first else self._record_line
            raise self._refuse_length(line)

    def _walk(self, block: bytes) -> None:
        position, size = 0, len(block)
        while position < size:
            if self._closing:
                position = self._resolve_closing(block, position)
                continue
            quote = block.find(b'"', position)
            self._pass_over(block, position, size if quote < 0 else quote)
            if quote < 0:
                break
            if self._opened_line:
                self._closing = True
            elif self._previous in self._openers:
                self._opened_line = self._line
            # Any other quote stands inside an unquoted field, where it is an ordinary character.
            self._previous = _QUOTE
            self._record_bytes += 1
            position = quote + 1

    def _resolve_closing(self, block: bytes, position: int) -> int:
        self._closing = False
        if block[position] == _QUOTE:  # "" inside quotes is one quote
            self._previous = _QUOTE
            self._record_bytes += 1
            return position + 1
        opened, self._opened_line = self._opened_line, 0
        if block[position] not in self._openers:
            # Text after a closing quote. If the field spans lines, an earlier quote was never closed.
            if self._line > opened:
                raise self._refuse_quote(opened)
            self._malformed[self._record_line] = "text after a closing quote"
        self._previous = _QUOTE
        return position

    def _pass_over(self, block: bytes, start: int, end: int) -> None:
        """Take a stretch without quotes."""
        if end == start:
            return
        begin = start - self._record_bytes  # where the record began, counted from this block
        if not self._opened_line:
            # Line breaks end records here. It is enough to look at the last one within a record's reach.
            while (last := _find_last_break(block, max(begin, start), min(begin + self._limit, end))) >= 0:
                begin = last + 1
                if end - begin <= self._limit:
                    begin = max(begin, _find_last_break(block, begin, end) + 1)
                    break
        if end - begin > self._limit:
            passed = count_line_ends(block, start, begin) if begin > start else 0
            raise self._refuse_length(self._line + passed if begin > start else self._record_line)
        self._line += count_line_ends(block, start, end)
        if begin > start:
            self._record_line = self._line
        self._record_bytes = end - begin
        self._previous = block[end - 1]

    def _refuse_quote(self, line: int) -> RefusedFile:
        return RefusedFile(
            "unclosed_quote",
            f"line {line}: a quote opens here and is not closed where a field ends",
            "ask the sender to quote the value properly; every record after it is in doubt",
        )

    def _refuse_length(self, line: int) -> RefusedFile:
        opened = f"; the quote that opens on line {self._opened_line} may lack its end" if self._opened_line else ""
        return RefusedFile(
            "record_too_long",
            f"line {line}: the record that begins here is longer than {self._limit:,} bytes{opened}",
            "ask the sender whether a quote or a line break is missing",
        )


def _find_last_break(block: bytes, start: int, end: int) -> int:
    return max(block.rfind(b"\n", start, end), block.rfind(b"\r", start, end))

"""Find quotes that do not pair up as RFC 4180 (section 2, rules 5 to 7) wants them, in one pass over a file."""

from __future__ import annotations

from lakeops.raw.chunk import RefusedFile

_QUOTE = ord('"')


class QuoteScanner:
    """Follows the quotes of a delimited file block by block.

    Parameters
    ----------
    delimiter : one character.
    first_line : physical line of the first record.
    """

    def __init__(self, delimiter: str, first_line: int) -> None:
        self._openers = frozenset({ord(delimiter), ord("\n"), ord("\r")})
        self._line = first_line  # physical line at the position reached
        self._record_line = first_line  # line where the current record began
        self._opened_line = 0  # line where the open quote stands; 0 outside quotes
        self._previous = ord("\n")  # byte before the position reached
        self._closing = False  # the last byte was a quote inside quotes: it closes or escapes
        self._malformed: dict[int, str] = {}

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        position, size = 0, len(block)
        while position < size:
            if self._closing:
                position = self._resolve_closing(block, position)
                continue
            quote = block.find(b'"', position)
            end = size if quote < 0 else quote
            self._pass_over(block, position, end)
            if quote < 0:
                break
            if self._opened_line:
                self._closing = True
            elif self._previous in self._openers:
                self._opened_line = self._line
            # Any other quote stands inside an unquoted field, where it is an ordinary character.
            self._previous = _QUOTE
            position = quote + 1

    def finish(self) -> dict[int, str]:
        """Return, by the line where the record begins, what is wrong with its quotes.

        Raises
        ------
        RefusedFile : a quote is never closed, so that nothing after it can be trusted.
        """
        if self._opened_line and not self._closing:
            raise self._refuse(self._opened_line)
        return self._malformed

    def _resolve_closing(self, block: bytes, position: int) -> int:
        self._closing = False
        if block[position] == _QUOTE:  # "" inside quotes is one quote
            self._previous = _QUOTE
            return position + 1
        opened, self._opened_line = self._opened_line, 0
        if block[position] not in self._openers:
            # Text after a closing quote. If the field spans lines, an earlier quote was never closed.
            if self._line > opened:
                raise self._refuse(opened)
            self._malformed[self._record_line] = "text after a closing quote"
        self._previous = _QUOTE
        return position

    def _pass_over(self, block: bytes, start: int, end: int) -> None:
        if end == start:
            return
        breaks = block.count(b"\n", start, end)
        self._line += breaks
        if breaks and not self._opened_line:
            self._record_line = self._line
        self._previous = block[end - 1]

    def _refuse(self, line: int) -> RefusedFile:
        return RefusedFile(
            "unclosed_quote",
            f"line {line}: a quote opens here and is not closed where a field ends",
            "ask the sender to quote the value properly; every record after it is in doubt",
        )

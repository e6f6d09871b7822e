"""Open a raw file as a stream of bytes, packed or not, and find lines in it again."""

from __future__ import annotations

import bisect
from pathlib import Path

import numpy as np
import pyarrow as pa

from lakeops.raw.chunk import RefusedFile

_CODECS = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_BLOCK = 1 << 20
_CR, _LF = 13, 10


class ByteStream:
    """A raw file's bytes from its begin on; `.gz` and `.zst` are unpacked while they are read.

    Parameters
    ----------
    path : the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._codec = _CODECS.get(path.suffix.lower())
        self._file: pa.NativeFile | None = None
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end.

        Raises
        ------
        RefusedFile : the packed stream is cut short or damaged.
        """
        if self._file is None:
            self._file = open_native(self._path)
        try:
            block = self._file.read(size)
        except (OSError, pa.ArrowException) as error:
            # A real fault of the disk carries an error number, and is no verdict on the file.
            if self._codec is None or getattr(error, "errno", None):
                raise
            cut = "runcated" in str(error)
            raise RefusedFile(
                "truncated" if cut else "unreadable",
                f"the {self._codec} stream {'ends too early' if cut else 'is damaged'}: {error}",
                "the file may still be on its way, or was cut short: ask the sender for it again",
            ) from error
        self._position += len(block)
        return block

    def seek(self, position: int) -> None:
        """Go to a position; a packed stream is read on to it, or again from its begin."""
        if self._codec is None and self._file is not None:
            self._file.seek(position)
            self._position = position
            return
        if position < self._position:
            self.close()
        while self._position < position and self.read(min(_BLOCK, position - self._position)):
            pass

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._position = None, 0


def open_native(path: Path) -> pa.NativeFile:
    """Open a file for pyarrow's readers, unpacking `.gz` and `.zst`."""
    file = pa.OSFile(str(path))
    codec = _CODECS.get(path.suffix.lower())
    return pa.CompressedInputStream(file, codec) if codec else file


def check_packing(path: Path, head: bytes) -> None:
    """Refuse a packed file whose name does not say so; `head` are its first bytes as read."""
    for magic, suffix in _MAGIC.items():
        if head.startswith(magic):
            raise RefusedFile(
                "wrong_encoding",
                f"{path.name} holds packed bytes ({_CODECS[suffix]}), which its name does not say",
                f"let its name end in {suffix} once for every packing",
            )


def find_line_ends(data: bytes) -> np.ndarray:
    """Return where each line of `data` ends: the offset after its line break, which is CR LF, LF, or CR alone."""
    values = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(values == _LF)
    if b"\r" in data:
        returns = np.flatnonzero(values == _CR)
        followed = np.append(values, 0)[returns + 1] == _LF
        if not followed.all():
            ends = np.sort(np.concatenate([ends, returns[~followed]]))
    return ends + 1


def count_line_ends(data: bytes, start: int = 0, end: int | None = None) -> int:
    """Count the line breaks in a stretch of `data`."""
    end = len(data) if end is None else end
    breaks = data.count(b"\n", start, end)
    if data.find(b"\r", start, end) >= 0:
        breaks += data.count(b"\r", start, end) - data.count(b"\r\n", start, end)
    return breaks


class LineFinder:
    """Returns records of a file word for word, given the physical lines where they begin.

    A large file is read in chunks, each of which may ask; what was passed once is not read again.

    Parameters
    ----------
    path : the file.
    """

    def __init__(self, path: Path) -> None:
        self._stream = ByteStream(path)
        self._marks = [(1, 0)]  # lines passed, and the offset where each begins

    def find(self, spans: dict[int, int]) -> dict[int, str]:
        """Return the records that begin on the given lines, each without its last line break.

        Parameters
        ----------
        spans : by the line where a record begins, how many line breaks stand inside it.
        """
        records: dict[int, str] = {}
        begins = sorted(spans)
        if not begins:
            return records
        line, offset = self._marks[bisect.bisect_right(self._marks, (begins[0], 1 << 62)) - 1]
        self._stream.seek(offset)
        done, data = 0, b""
        while done < len(begins):
            block = self._stream.read(_BLOCK)
            data += block
            # A CR at the end of a block may be half of a line break.
            ends = find_line_ends(data[:-1] if block and data.endswith(b"\r") else data)
            if not block and data and (not len(ends) or ends[-1] < len(data)):
                ends = np.append(ends, len(data))  # a last line without a break
            starts = np.concatenate([[0], ends])
            while done < len(begins) and begins[done] + spans[begins[done]] - line < len(ends):
                first = begins[done] - line
                text = data[starts[first] : ends[first + spans[begins[done]]]]
                records[begins[done]] = _cut_line_break(text).decode("utf-8", errors="replace")
                done += 1
            if not block:
                break
            passed = len(ends) if done == len(begins) else min(len(ends), begins[done] - line)
            line, offset, data = line + passed, offset + int(starts[passed]), data[starts[passed] :]
            if line > self._marks[-1][0]:
                self._marks.append((line, offset))
        return {line: records.get(line, "") for line in begins}


def _cut_line_break(text: bytes) -> bytes:
    for ending in (b"\r\n", b"\n", b"\r"):
        if text.endswith(ending):
            return text[: -len(ending)]
    return text

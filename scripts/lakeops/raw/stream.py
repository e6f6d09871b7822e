"""Open a raw file as a stream of bytes, packed or not, and find lines in it again."""

from __future__ import annotations

import bisect
import codecs
import io
from pathlib import Path

import numpy as np
import pyarrow as pa

from lakeops.raw.chunk import RefusedFile

_CODECS = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_BLOCK = 1 << 20
_CR, _LF = 13, 10


class ByteStream:
    """A raw file's bytes from its begin on; `.gz` and `.zst` are unpacked, and text is made UTF-8, while they are read.

    Parameters
    ----------
    path : the file.
    encoding : how its text is written.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self._path, self._encoding = path, encoding
        self._codec = _CODECS.get(path.suffix.lower())
        self._file: pa.NativeFile | None = None
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end.

        Raises
        ------
        RefusedFile : the packed stream is cut short or damaged, or holds a byte that is not of the encoding.
        """
        if self._file is None:
            self._file = open_native(self._path, self._encoding)
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
        """Go to a position; a stream that is not the file's own bytes is read on to it, or again from its begin."""
        if self._codec is None and self._encoding == "utf-8" and self._file is not None:
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


def open_native(path: Path, encoding: str = "utf-8") -> pa.NativeFile:
    """Open a file for pyarrow's readers, unpacking `.gz` and `.zst`, as UTF-8 whatever its encoding."""
    file: pa.NativeFile = pa.OSFile(str(path))
    if codec := _CODECS.get(path.suffix.lower()):
        file = pa.CompressedInputStream(file, codec)
    return file if encoding == "utf-8" else pa.PythonFile(_Transcoder(path, file, encoding), mode="r")


class _Transcoder(io.RawIOBase):
    """A file's text as UTF-8, block by block; every `read` is as long as it was asked for, except at the end."""

    def __init__(self, path: Path, file: pa.NativeFile, encoding: str) -> None:
        self._path, self._file, self._encoding = path, file, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready, self._line, self._last, self._at_end = b"", 1, b"", False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._at_end and (size < 0 or len(self._ready) < size):
            block = self._file.read(_BLOCK)
            if not self._last:
                check_packing(self._path, block)
            self._at_end = not block
            self._ready += self._decode(block)
        size = len(self._ready) if size < 0 else size
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def close(self) -> None:
        self._file.close()
        super().close()

    def _decode(self, block: bytes) -> bytes:
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(block, final=not block).encode()
        except UnicodeError as error:
            # What stands before the fault tells its line; some decoders begin with what the last block left over.
            good = max(getattr(error, "start", 0) - len(state[0]), 0)
            self._decoder.setstate(state)
            self._count(self._decoder.decode(block[:good]).encode())
            raise RefusedFile(
                "wrong_encoding",
                f"line {self._line}: a byte that is not {self._encoding}, which load.encoding of the contract names",
                "ask the sender how the text is written, and name that in the contract, or ask for the file again",
            ) from error
        self._count(text)
        return text

    def _count(self, text: bytes) -> None:
        # A CR at the end of the last block may be half of a line break.
        self._line += count_line_ends(self._last + text) - count_line_ends(self._last)
        self._last = text[-1:] or self._last


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
    encoding : how its text is written.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self._stream = ByteStream(path, encoding)
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

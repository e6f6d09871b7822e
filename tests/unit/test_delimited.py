"""CSV: every record is read or broken exactly once, with its line, its values and its own text.

The oracle is `Oracle` below: a reader in plain Python, byte for byte, that knows neither pyarrow nor numpy.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeops.raw import RefusedFile, delimited
from lakeops.raw.delimited import read_delimited

HEADER = ["id", "name", "note"]
FAST = settings(deadline=None, derandomize=True, max_examples=250)


@dataclass
class Oracle:
    """Splits CSV text as RFC 4180 says; a line ends at LF, CR LF or CR."""

    rows: dict[int, tuple[str | None, ...]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    raw: dict[int, str] = field(default_factory=dict)
    refusal: tuple[str, int] | None = None

    def read(self, text: str, first_line: int, width: int, delimiter: str = ",") -> Oracle:
        position, line = 0, first_line
        while position < len(text):
            begin, at, fields, malformed = position, line, [], False
            while True:
                value, position, line, is_odd = self._read_field(text, position, line, delimiter)
                if self.refusal:
                    return self
                fields.append(value)
                malformed |= is_odd
                if position < len(text) and text[position] == delimiter:
                    position += 1
                    continue
                break
            raw = text[begin:position]
            if position < len(text):
                position += 2 if text.startswith("\r\n", position) else 1
                line += 1
            if not raw:
                continue  # a blank line is no record
            self.raw[at] = raw
            if len(fields) != width:
                self.broken[at] = "wrong_field_count"
            elif malformed:
                self.broken[at] = "malformed_quotes"
            else:
                self.rows[at] = tuple(fields)
        return self

    def _read_field(self, text: str, position: int, line: int, delimiter: str) -> tuple[str | None, int, int, bool]:
        value, is_odd, is_quoted = "", False, text.startswith('"', position)
        if is_quoted:
            opened, position = line, position + 1
            while True:
                if position >= len(text):
                    self.refusal = ("unclosed_quote", opened)
                    return value, position, line, is_odd
                character = text[position]
                position += 1
                if character == '"':
                    if not text.startswith('"', position):
                        break
                    position += 1
                elif character == "\n" or (character == "\r" and not text.startswith("\n", position)):
                    line += 1
                value += character
        while position < len(text) and text[position] not in delimiter + "\r\n":
            is_odd |= is_quoted
            value += text[position]
            position += 1
        if is_odd and line > opened:
            self.refusal = ("unclosed_quote", opened)
        return (None if not value and not is_quoted else value), position, line, is_odd


def read_all(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> Oracle:
    """Return what our reader makes of a file, in the oracle's terms."""
    found = Oracle()
    for chunk in read_delimited(path, delimiter, encoding):
        for row in chunk.rows.iter_rows(named=True):
            line = row.pop("_source_row")
            assert line not in found.rows, "one line twice"
            found.rows[line] = tuple(row.values())
        for line, reason, _, raw in chunk.broken.iter_rows():
            assert line not in found.rows
            assert line not in found.broken, "one line twice"
            found.broken[line], found.raw[line] = reason, raw
        found.raw |= chunk.get_raw(chunk.rows["_source_row"])
    return found


def check(path: Path, data: bytes, delimiter: str = ",", encoding: str = "utf-8") -> None:
    """Compare our reader with the oracle on one file, whose header is HEADER."""
    path.write_bytes(data)
    text = data.decode(encoding).removeprefix("\ufeff")
    header, separator, body = "", "", ""
    for ending in ("\r\n", "\n", "\r"):
        header, separator, body = text.partition(ending)
        if separator and header == delimiter.join(HEADER):
            break
    assert header == delimiter.join(HEADER), "the test must write the header it says"
    expected = Oracle().read(body, 2, len(HEADER), delimiter)
    if expected.refusal:
        reason, line = expected.refusal
        with pytest.raises(RefusedFile, match=f"^{reason}: line {line}:"):
            read_all(path, delimiter, encoding)
        return
    found = read_all(path, delimiter, encoding)
    assert found.rows == expected.rows
    assert found.broken == expected.broken
    assert found.raw == expected.raw


def make_files(delimiter: str) -> st.SearchStrategy[bytes]:
    """Draw CSV files: well-formed fields for the most part, and everything that goes wrong in the field."""
    ending = st.sampled_from(["\n", "\n", "\r\n", "\r"])
    letters = st.text(alphabet=["a", "b", "1", " ", "é", "€", "\0", "𝄞"], max_size=6)
    inner = st.lists(st.sampled_from(["x", "yy", '""', "\n", "\r\n", "\r", delimiter, " ", "ü"]), max_size=5)
    quoted = inner.map(lambda parts: '"' + "".join(parts) + '"')
    odd = st.sampled_from(['a"b', '"a"b', '"a" ', ' "a"', '"a"b"c"', '5"', '"', '"""', '"a""', '"a\nb"c', '""""""'])
    values = st.one_of(letters, letters, quoted, quoted, st.just(""))
    one = st.lists(values, min_size=3, max_size=3)
    records = st.one_of(
        *[one] * 8,
        st.lists(values, min_size=1, max_size=6),
        st.tuples(values, odd, values).map(list),
        st.just([""]),
    ).map(delimiter.join)
    lines = st.lists(st.tuples(records, ending), max_size=14)

    def join(parts: tuple[bool, str, list[tuple[str, str]], bool]) -> bytes:
        has_bom, first, body, is_cut = parts
        text = delimiter.join(HEADER) + first + "".join(record + end for record, end in body)
        if is_cut and body:
            text = text[: -len(body[-1][1])]
        return (b"\xef\xbb\xbf" if has_bom else b"") + text.encode()

    return (
        st.tuples(st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]), lines, st.booleans())
        .map(join)
        .filter(
            # CR at the end of the header and LF at the begin of the body would be one line break.
            lambda data: not data.removeprefix(b"\xef\xbb\xbf").startswith(delimiter.join(HEADER).encode() + b"\r\n\n")
        )
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "f.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_file_is_read_as_the_oracle_reads_it(path: Path, delimiter: str) -> None:
    @FAST
    @given(make_files(delimiter))
    def run(data: bytes) -> None:
        check(path, data, delimiter)

    run()


@pytest.mark.parametrize(("block", "piece"), [(64, 3), (97, 16), (71, 1)])
def test_block_boundaries_change_nothing(path: Path, block: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    monkeypatch.setattr("lakeops.raw.quotes._PIECE_BYTES", piece)
    monkeypatch.setattr("lakeops.raw.stream._BLOCK", 7)

    @FAST
    @given(make_files(","))
    def run(data: bytes) -> None:
        # A record must fit into a block for pyarrow; beyond that, MAX_RECORD_BYTES refuses, which is tested apart.
        records = Oracle().read(data.decode("utf-8-sig"), 1, 3).raw.values()
        if max(len(record.encode()) for record in records) < block // 2:
            check(path, data)

    run()


@FAST
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=9), min_size=3, max_size=3), max_size=30),
       st.sampled_from(["\n", "\r\n"]), st.booleans())  # fmt: skip
def test_what_the_csv_module_writes_comes_back(path: Path, records: list[list[str]], ending: str, all_: bool) -> None:
    buffer = io.StringIO(newline="")
    # Left to itself the csv module does not quote a CR alone where lines end in LF.
    quoting = csv.QUOTE_ALL if all_ or "\r" in "".join(map("".join, records)) else csv.QUOTE_MINIMAL
    csv.writer(buffer, lineterminator=ending, quoting=quoting).writerows([HEADER, *records])
    path.write_bytes(buffer.getvalue().encode())
    found = read_all(path)
    assert not found.broken
    values = [[value or "" for value in row] for row in found.rows.values()]
    assert values == records


# -- one by one ------------------------------------------------------------------------------------------------------


def refuse(path: Path, data: bytes, delimiter: str = ",") -> RefusedFile:
    path.write_bytes(data)
    with pytest.raises(RefusedFile) as refused:
        list(read_delimited(path, delimiter))
    assert refused.value.next_step
    return refused.value


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty", "no bytes"),
        (b"\n", "no_header", "line 1"),
        (b"\r\n1,2\r\n", "no_header", "line 1"),
        (b"a,b,a\n", "bad_header", "'a' stands twice"),
        (b"a,b,\n1,2,3\n", "bad_header", "column 3 of 3"),
        (b"a,_source_row\n1,2\n", "bad_header", "_source_row"),
        (b'a,"b\n1,2\n', "unclosed_quote", "line 1"),
        (b'a,"b"c\n1,2\n', "bad_header", "closing quote"),
        ("a,b\n1,é\n".encode("utf-16"), "wrong_encoding", "UTF-16"),
        ("a,b\n".encode("utf-16-le"), "wrong_encoding", "UTF-16"),
        (b"a,b\r\n1,2\r\n3,\xe9\r\n", "wrong_encoding", "line 3"),
        (b"a,b\r1,2\r3,\xe9\r", "wrong_encoding", "line 3"),
        (b"a,b\n1,2\n3,\xc3", "wrong_encoding", "line 3"),
        (b"a\xff,b\n1,2\n", "wrong_encoding", "line 1"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "wrong_encoding", "gzip"),
        (b'a,b\n1,2\n3,"x\n4,5\n', "unclosed_quote", "line 3"),
        (b'a,b\n1,2\n3,"x\n4,"5"\n', "unclosed_quote", "line 3"),
        (b'a,b\r1,2\r3,"x\r4,"5"\r', "unclosed_quote", "line 3"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_with_its_line(
    path: Path, data: bytes, reason: str, detail: str
) -> None:
    refused = refuse(path, data)
    assert refused.reason == reason
    assert detail in refused.detail


def test_bad_bytes_are_named_by_their_line_across_blocks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a,b\r\n" + "1,é\r\n".encode() * 40 + b"2,\xc3\xc3\r\n"
    for size in range(3, 40):
        monkeypatch.setattr(delimited, "BLOCK_BYTES", size)
        assert "line 42:" in refuse(path, data).detail


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "gb18030", "cp1252", "iso2022_jp"])
def test_a_file_in_any_encoding_is_read_as_its_text_says(
    path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeops.raw.stream._BLOCK", 7)

    @FAST
    @given(make_files(","))
    def run(data: bytes) -> None:
        text = data.decode("utf-8-sig").encode(encoding, errors="replace")
        check(path, text, encoding=encoding)

    run()


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("cp1252", b"\x81"), ("utf-16-le", b"\x00\xdc"), ("shift_jis", b"\x81"), ("utf-16-le", b"\n"), ("ascii", b"\xe9")],
    ids=["no letter", "half of a pair", "half of a letter", "half of a unit", "not seven bits"],
)
def test_a_byte_that_is_not_of_the_encoding_is_named_by_its_line(
    path: Path, encoding: str, bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ("a,b\r\n" + "1,x\r\n" * 40 + '2,"').encode(encoding)
    path.write_bytes(begin + bad)
    for size in range(1, 40):
        monkeypatch.setattr("lakeops.raw.stream._BLOCK", size)
        with pytest.raises(RefusedFile, match=f"^wrong_encoding: line 42: a byte that is not {encoding}"):
            read_all(path, encoding=encoding)


def test_packed_bytes_are_not_taken_for_text_of_another_encoding(path: Path) -> None:
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(RefusedFile, match="packed bytes"):
        read_all(path, encoding="iso8859-1")


def test_a_file_of_many_blocks_in_another_encoding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1 << 12)
    body = 'é,"two\nlines",x\r\n1,2\n"a"b,c,d\n' * 3000
    for encoding in ("iso8859-1", "utf-16"):
        check(path, (",".join(HEADER) + "\n" + body).encode(encoding), encoding=encoding)


def test_a_header_may_hold_quotes_line_breaks_and_blanks(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf"a ""x""","b\r\nc" , d \r\n1,2,3\r\n')
    assert refuse(path, path.read_bytes()).reason == "bad_header"  # a blank after a closing quote
    path.write_bytes(b'\xef\xbb\xbf"a ""x""","b\r\nc", d \r\n1,2,3\r\n')
    (chunk,) = read_delimited(path, ",")
    assert chunk.rows.to_dicts() == [{'a "x"': "1", "b\r\nc": "2", "d": "3", "_source_row": 3}]


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"\xef\xbb\xbfa,b\r\n", b"a,b\r"])
def test_a_header_alone_is_a_file_without_rows(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    (chunk,) = read_delimited(path, ",")
    assert chunk.rows.columns == ["a", "b", "_source_row"]
    assert (chunk.rows.height, chunk.broken.height) == (0, 0)


def test_a_line_of_delimiters_is_a_record_and_a_blank_line_is_none(path: Path) -> None:
    check(path, b"id,name,note\n\n,,\n\r\n1,2,3\n\n\n\n4,5,6\n\n")
    assert list(read_all(path).rows) == [3, 5, 9]


@pytest.mark.parametrize("data", [b'a\n1\n\n""\n2\n', b'a\r1\r\r""\r2'])
def test_one_column(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read_all(path).rows == {2: ("1",), 4: ("",), 5: ("2",)}


def test_a_file_of_bad_rows_only(path: Path) -> None:
    check(path, b"id,name,note\n" + b'x\n"a\nb",2\n' * 5000)
    assert len(read_all(path).broken) == 10_000


@pytest.mark.parametrize(
    ("before", "record"),
    [
        (b"1,2,3\n" * 2, b"4,5," + b"x" * 200),
        (b"1,2,3\r" * 2, b"4,5," + b"x" * 200),
        (b'1,"2",3\r\n' * 2, b'4,5,"' + b"x\n" * 100 + b'"'),
        (b'1,"2\n2",3\n', b"4,5," + b"x" * 200),
        (b'1,"2"2,3\n\n', b"4,5," + b'x"' * 100),
        (b"1,2,3\n" * 2, b"4,5," + b"x," * 100),
    ],
)
@pytest.mark.parametrize("block", [16, 50, 1 << 20])
def test_a_record_without_end_is_refused_with_its_line(
    path: Path, before: bytes, record: bytes, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 100)
    for tail in (b"", b"\n", b"\n7,8,9\n" * 20):
        refused = refuse(path, b"id,name,note\n" + before + record + tail)
        assert refused.reason == "record_too_long"
        assert refused.detail.startswith("line 4:")


def test_the_limit_of_a_record_is_exact(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 100)
    for quote in (b"", b'"'):
        fits = b"1,2," + quote + b"x" * (95 - 2 * len(quote)) + quote + b"\n"
        assert len(fits) == 100
        path.write_bytes(b"id,name,note\n" + fits * 3)
        assert len(read_all(path).rows) == 3
        refuse(path, b"id,name,note\n" + fits * 3 + fits.replace(b"x", b"xx", 1))


def test_a_line_break_inside_quotes_survives_every_block_boundary(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'1,"a\r\nb\r\r\nc",x\r\n' * 9
    for size in range(40, 80):
        monkeypatch.setattr(delimited, "BLOCK_BYTES", size)
        check(path, b"id,name,note\r\n" + body)
        check(path, b"id,name,note\n" + body + b'2,"",')


def test_many_blocks_with_every_defect(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1 << 14)
    body = b"".join(
        b'%d,"a\nb","c ""%d"""\n' % (n, n) if n % 7 == 0 else
        b"%d,short\n" % n if n % 11 == 0 else
        b"\r\n" if n % 13 == 0 else
        b'%d,"x"y,z\n' % n if n % 17 == 0 else
        b"%d,plain,%d\r\n" % (n, n)
        for n in range(1, 20_000)
    )  # fmt: skip
    check(path, b"id,name,note\n" + body)


# -- packed ----------------------------------------------------------------------------------------------------------


def pack(data: bytes, suffix: str) -> bytes:
    return gzip.compress(data, mtime=0) if suffix == ".gz" else pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("block", [1 << 10, 32 << 20])
def test_packed_files_are_read_as_they_are(
    tmp_path: Path, suffix: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    data = b"id,name,note\n" + b'1,"a\nb",x\n2,short\n\n3,"x"y,z\n' * 2000
    plain, packed = tmp_path / "f.csv", tmp_path / f"f.csv{suffix}"
    plain.write_bytes(data)
    packed.write_bytes(pack(data, suffix))
    expected = read_all(plain)
    assert len(expected.rows) == 2000
    assert read_all(packed) == expected


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_cut_short_is_refused_wherever_it_is_cut(tmp_path: Path, suffix: str) -> None:
    whole = pack(b"id,name,note\n" + b"".join(b"%d,%x,x\n" % (n, n * 7919) for n in range(400)), suffix)
    path = tmp_path / f"f.csv{suffix}"
    for size in range(1, len(whole), 5):
        assert refuse(path, whole[:size]).reason == "truncated", size
    assert refuse(path, b"").reason == "empty"
    assert refuse(path, b"id,name,note\n1,2,3\n").reason == "unreadable"


def test_gzip_files_may_be_put_together(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(b"id,name,note\n1,2,3\n", mtime=0) + gzip.compress(b"4,5,6\n", mtime=0))
    assert read_all(path).rows == {2: ("1", "2", "3"), 3: ("4", "5", "6")}

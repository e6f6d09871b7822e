"""JSON lines: every line that is no blank is a row or broken once, and no number changes."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeops.raw import RefusedFile, jsonl
from lakeops.raw.jsonl import read_jsonl


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "f.jsonl"


def read(path: Path, data: bytes | str, **options: bool) -> tuple[dict[int, dict], dict[int, tuple[str, str]]]:
    """Return the rows without their nulls, and reason and text of what is broken, by line."""
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    rows, broken = {}, {}
    for chunk in read_jsonl(path, **options):
        lines = chunk.rows["_source_row"].to_list()
        raw = chunk.get_raw(lines)
        written = (
            path.read_bytes().decode("utf-8-sig", errors="replace").split("\n") if path.suffix == ".jsonl" else None
        )
        for row in chunk.rows.iter_rows(named=True):
            line = row.pop("_source_row")
            assert line not in rows
            assert written is None or raw[line] == written[line - 1].removesuffix("\r")
            rows[line] = {name: value for name, value in row.items() if value is not None}
        for line, reason, _, text in chunk.broken.iter_rows():
            assert line not in {**rows, **broken}
            broken[line] = (reason, text)
    return rows, broken


def test_lines_blank_lines_and_a_byte_order_mark(path: Path) -> None:
    rows, broken = read(path, b'\xef\xbb\xbf{"a":1}\r\n\n  \t\r\n{"a":"x","b":null}\n{}\n[1]\n7\n"s"\nnull\n{"a":1} x')
    assert rows == {1: {"a": "1"}, 4: {"a": "x"}, 5: {}}
    assert broken == {
        line: ("bad_json", text) for line, text in [(6, "[1]"), (7, "7"), (8, '"s"'), (9, "null"), (10, '{"a":1} x')]
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", "7"), ("7.0", "7"), ("-0.0", "0"), ("1e2", "100"), ("1.10", "1.1"), ("0.1", "0.1"), ("true", "true"),
     ("12345678901234567890123", "12345678901234567890123"), ("1e400", "1" + "0" * 400), ("1E-7", "0.0000001"),
     ("0e999999999", "0"), ('"007"', "007"), ('" x "', " x "), ('"a\\u0000b"', "a\0b"), ('"\\ud83d\\ude00"', "😀")],
)  # fmt: skip
def test_values_as_text(path: Path, text: str, value: str) -> None:
    assert read(path, f'{{"a":{text}}}') == ({1: {"a": value}}, {})


@pytest.mark.parametrize(
    "line",
    ['{"a":NaN}', '{"a":-Infinity}', '{"a":1,"a":2}', '{"a":{"b":1,"b":2}}', '{"a":1e99999999999999999999}', "{",
     '{"a":"\\ud800"}', '{"\\udfff":1}', '{"a":["\\ud800x"]}', '{"a":01}', "{'a':1}", '{"a":1,}', '{"a":"\x01"}',
     '{"a":' + "9" * 5000 + "}", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
     '{"a":\xa01}', "\x00", '{"a":1}\r{"a":2}']
)  # fmt: skip
def test_what_is_no_sound_json_is_broken_word_for_word(path: Path, line: str) -> None:
    rows, broken = read(path, '{"a":1}\n' + line + '\n{"a":2}')
    assert rows == {1: {"a": "1"}, 3: {"a": "2"}}
    assert broken == {2: ("bad_json", line)}


@pytest.mark.parametrize("depth", [50, 400, 700, 900, 990, 1500])
def test_deep_nesting_is_read_or_broken_and_never_crashes(path: Path, depth: int) -> None:
    for brackets in ("[]", "{}"):
        inner = "[" * depth + "0.1" + "]" * depth if brackets == "[]" else '{"k":' * depth + "0.1" + "}" * depth
        rows, broken = read(path, f'{{"a":{inner}}}')
        assert len(rows) + len(broken) == 1
        assert rows in ({}, {1: {"a": inner}})


def test_numbers_inside_nested_objects_survive_exactly(path: Path) -> None:
    text = '{"a":0.1,"b":12345678901234567890,"c":[0.12345678901234567890123,1.10,-2],"d":{"e\\"é":"1.50","f":null}}'
    rows, _ = read(path, f'{{"m":{text}}}')
    assert rows[1]["m"] == text.replace("é", "é")
    assert json.loads(rows[1]["m"], parse_float=Decimal) == json.loads(text, parse_float=Decimal)
    (huge,) = read(path, '{"m":[1e400]}')[0].values()
    assert Decimal(json.loads(huge["m"], parse_float=Decimal)[0]) == Decimal("1e400")


def test_lines_in_another_encoding(path: Path) -> None:
    path.write_bytes('{"a": "é"}\n{bad ü\n'.encode("utf-16"))
    (chunk,) = read_jsonl(path, encoding="utf-16")
    assert chunk.rows.rows() == [("é", 1)]
    assert chunk.broken["raw_record"].to_list() == ["{bad ü"]
    path.write_bytes(b'{"a": 1}\n{"a": "\x81"}\n')
    with pytest.raises(RefusedFile, match="line 2: a byte"):
        list(read_jsonl(path, encoding="cp1252"))


@pytest.mark.parametrize("name", ["_source_row", "_absent"])
def test_names_of_the_loader_are_refused(path: Path, name: str) -> None:
    with pytest.raises(RefusedFile, match=name):
        read(path, f'{{"{name}":5}}')


def test_names_that_are_data_are_refused_before_they_are_columns(path: Path) -> None:
    path.write_text("".join(f'{{"u{n:06}": {{"n": 1}}}}\n' for n in range(100_000)))
    with pytest.raises(RefusedFile, match=r"line 2001: over 2,000 different names") as refused:
        list(read_jsonl(path))
    assert refused.value.reason == "bad_header"


def test_many_records_of_few_names_each_come_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_CELLS", 20)
    lines = [f'{{"a": 1, "n{n}": {n}}}' for n in range(9)] + ["no"]
    rows, broken = read(path, "\n".join(lines))
    assert rows == {n + 1: {"a": "1", f"n{n}": str(n)} for n in range(9)}
    assert broken == {10: ("bad_json", "no")}
    assert len(list(read_jsonl(path))) == 4


def test_what_a_record_leaves_out_is_told_from_null(path: Path) -> None:
    path.write_text('{"a":1,"b":null}\n{"b":2}\n{}\n')
    (chunk,) = read_jsonl(path, notes_absent=True)
    assert chunk.rows["_absent"].to_list() == [[], ["a"], ["a", "b"]]


letters = st.characters(codec="utf-8")
decimals = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(letters, max_size=5), decimals)
names = st.text(letters, max_size=4).filter(lambda name: name not in ("_source_row", "_absent"))
records = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)


def write_json(value: object) -> str:
    """Write JSON with Decimals digit by digit, which the json module cannot."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {write_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_json, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("block", [5, 32 << 20])
def test_any_records_come_back(path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", block)
    junk = st.sampled_from(["", " ", "{", "[]", "x", '{"a":1,"a":1}', "\r"])

    @settings(deadline=None, derandomize=True, max_examples=120)
    @given(st.lists(st.one_of(records, junk), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
    def run(lines: list[dict | str], ending: str, is_cut: bool) -> None:
        text = ending.join(one if isinstance(one, str) else write_json(one) for one in lines)
        if not text:
            return
        rows, broken = read(path, text + ("" if is_cut else ending))
        for number, one in enumerate(lines, 1):
            if isinstance(one, str):
                assert (number in broken) == bool(one.strip())
                continue
            found = rows.pop(number)
            assert found.keys() == {name for name, value in one.items() if value is not None}
            for name, text in found.items():
                wanted = one[name]
                if isinstance(wanted, bool | list):
                    assert json.loads(text, parse_float=Decimal) == wanted
                else:
                    assert text == wanted if isinstance(wanted, str) else Decimal(text) == wanted
        assert not rows

    run()


@pytest.mark.parametrize(
    ("data", "reason", "place"),
    [(b"", "empty", ""), (b'{"a":1}\n{"a":"\xe9"}\n', "wrong_encoding", "line 2"),
     (b'{"a":1}\n\n{"a":"\xc3', "wrong_encoding", "line 3"),
     (b'{"a":1}\n{"a":"' + b"x" * 200 + b'"}\n', "record_too_long", "line 2"),
     (b'{"a":1}\n{"a":"' + b"x" * 200, "record_too_long", "line 2"),
     (gzip.compress(b"{}", mtime=0), "wrong_encoding", "gzip")],
)  # fmt: skip
@pytest.mark.parametrize("block", [7, 32 << 20])
def test_a_file_is_refused_with_its_line(
    path: Path, data: bytes, reason: str, place: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_RECORD_BYTES", 150)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", block)
    with pytest.raises(RefusedFile) as refused:
        read(path, data)
    assert (refused.value.reason, place in refused.value.detail) == (reason, True)
    assert refused.value.next_step


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files(tmp_path: Path, suffix: str) -> None:
    data = b'{"a":1}\nx\n' * 500
    packed = gzip.compress(data, mtime=0) if suffix == ".gz" else pa.compress(data, "zstd", asbytes=True)
    file = tmp_path / f"f.jsonl{suffix}"
    rows, broken = read(file, packed)
    assert (len(rows), len(broken)) == (500, 500)
    with pytest.raises(RefusedFile) as refused:
        read(file, packed[:-9])
    assert refused.value.reason == "truncated"

"""The bench's own reckoning: what got slower, which promise is kept, what is recorded. No time is measured here."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import compare
import growth
import limits
import load
import nothing
import page
import pytest
import record
from measure import Figure, run

import bench

ROOT = Path(__file__).resolve().parents[2]
TEN = limits.TEN_MILLION


def make_figure(name: str, seconds: float = 1.0, ratio: float | None = 1.0, peak: float = 100.0) -> Figure:
    return Figure(name, 10, 2, 2 << 20, seconds, 2 * seconds, peak, ratio, "" if ratio is None else "yardstick", 3)


def make_record(*figures: Figure, at: str = "2026-11-20T10:00:00+00:00", full: bool = False, part: str = "load"):
    return record.Record(at, part, full, "abc1234", {"python": "3.11.7"}, 2, 0.3, figures)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "records" / "bench.jsonl"
    assert record.read_records(file) == []
    written = [
        make_record(make_figure("a", 1.25)),
        make_record(make_figure("b", ratio=None), part="formats", full=True),
    ]
    for one in written:
        record.append_record(file, one)
    assert record.read_records(file) == written
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    record.append_record(file, make_record(make_figure("a")))
    file.write_text(file.read_text(encoding="utf-8") + '{"at": "2026', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"bench\.jsonl: line 2 is no record"):
        record.read_records(file)


def test_a_record_names_code_and_libraries_and_no_machine() -> None:
    begun = record.begin_record("load", False, ROOT)
    assert begun.versions["duckdb"]
    assert begun.cores >= 1
    said = json.dumps(begun.__dict__)
    assert str(ROOT) not in said
    assert str(Path.home()) + "/" not in said


def test_the_newest_of_a_figure_counts_and_one_no_longer_made_is_forgotten() -> None:
    old = make_record(make_figure("a", 9.0), make_figure("renamed since"), at="2026-11-18T10:00:00+00:00")
    full = make_record(make_figure("a", 5.0), make_figure("only full", 7.0), at="2026-11-19T10:00:00+00:00", full=True)
    new = make_record(make_figure("a", 1.0))
    newest = record.find_newest([old, full, new])
    assert {name: figure.seconds for name, (_, figure) in newest.items()} == {"a": 1.0, "only full": 7.0}
    assert newest["only full"][0] == full


@pytest.mark.parametrize(
    ("seconds", "ratio", "is_slower"),
    [
        (10.0, 2.0, True),  # half of it lost
        (10.0, 1.1, False),  # noise
        (0.3, 2.0, False),  # a moment
        (40.0, 1.0, False),  # the machine is slower, not we
        (10.0, 0.5, False),  # faster
    ],
)
def test_slower_is_what_the_yardstick_does_not_explain(seconds: float, ratio: float, is_slower: bool) -> None:
    before = [make_record(make_figure("a", 10.0, 1.0))]
    slower = compare.find_slower([make_figure("a", seconds, ratio)], before)
    assert [one.name for one in slower] == (["a"] if is_slower else [])


def test_what_got_slower_is_said_with_what_was_lost_and_the_worst_first() -> None:
    before = [
        make_record(make_figure("a", 5.0, 1.0)),
        make_record(make_figure("a", 5.0, 2.0), make_figure("b", 9.0, 1.0)),
    ]
    slower = compare.find_slower([make_figure("a", 8.0, 4.0), make_figure("b", 90.0, 3.0)], before)
    assert [one.name for one in slower] == ["b", "a"]
    assert str(slower[1]) == "slower: a: 4.00 times its yardstick, 2.00 on 2026-11-20; 4.0 s lost"


def test_a_figure_without_its_like_says_nothing() -> None:
    before = [make_record(make_figure("a", 1.0, 1.0), make_figure("y", 1.0, None))]
    other = replace(make_figure("a", 9.0, 9.0), against="another yardstick")
    assert compare.find_slower([other, make_figure("new", 9.0, 9.0), make_figure("y", 9.0, None)], before) == []


def test_limits_are_met_missed_or_not_measured() -> None:
    figures = {
        f"{TEN}: lakeops load": make_figure("", 10.0, 2.1),
        f"{TEN}: dlt, slow": make_figure("", 900.0),
        f"{TEN}: dlt, quick": make_figure("", 120.0),
        "30 days: one new day": make_figure("", 9.0),
        "720 days: one new day": make_figure("", 11.7, peak=1700.0),
        "720 days: nothing new": make_figure("", 5.0),
    }
    rows = page.write_limits(figures).splitlines()[2:]
    said = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1:] for row in rows}
    assert said[limits.LIMITS[0].what] == ["≤ 2.00 times", "2.10 times", "**missed** |"]
    assert said["load 10 M order lines, faster than dlt's fastest reader"] == ["≥ 10.0 times", "12.0 times", "met |"]
    assert said["load 1 M order lines, faster than dlt's fastest reader"][-1].endswith("not measured |")
    assert said["slope: one new day after 720 days, of after 30"][1:] == ["1.30 times", "met |"]
    assert said["peak memory of any step after 720 days"][1:] == ["1,700 MiB", "**missed** |"]
    assert said["`make incremental`, one new day, after 720 days"][1:] == ["11.7 s", "met |"]


def test_limits_look_for_what_the_parts_measure() -> None:
    made = {f"{name}: lakeops load": make_figure("") for name in load.INPUTS}
    made |= {f"{name}: {label}": make_figure("") for name in load.INPUTS for label in load.DLT.values()}
    made |= {f"{count:,} files: lakeops load, nothing new": make_figure("") for count in nothing.ALL_FILES}
    for days in growth.ALL_HISTORIES:
        made |= {f"{days} days: one new day": make_figure(""), f"{days} days: nothing new": make_figure("")}
        made |= {f"{days} days: one new day, {step}": make_figure("") for step in growth.STEPS}
    made["720 days: dbt run --full-refresh"] = make_figure("")
    assert [limit.what for limit in limits.LIMITS if limit.find(made) is None] == []


def test_tables_stand_between_their_marks_and_the_words_stay(tmp_path: Path) -> None:
    text = (ROOT / "runbooks" / "performance.md").read_text(encoding="utf-8")
    file = tmp_path / "performance.md"
    file.write_text(text, encoding="utf-8")
    queries = make_record(
        make_figure("one file (yardstick): a day", 0.01, None), make_figure("as it grew: a day", 0.02, 2.0),
        make_figure("as it grew, gold: a week", 0.5, 3.0), part="queries",
    )  # fmt: skip
    for _ in range(2):
        page.write_page(file, [make_record(make_figure(f"{TEN}: lakeops load", 12.0, 1.5)), queries])
    written = file.read_text(encoding="utf-8")
    assert f"| {TEN}: lakeops load | 10 | 2 | 2.0 | 12.00 | 24.00 | 100 | 1.50 | 3 |" in written
    assert "| as it grew | 2 | 2.0 | 100 | 20 (2.00) |" in written
    assert "| layout | files | MiB | peak MiB | a week |" in written
    assert "2026-11-20 10:00 UTC, commit abc1234, 2 cores; the machine was quiet (load 0.3). python 3.11.7." in written
    tables = re.compile(r"(<!-- (\w+) -->).*?(<!-- /\2 -->)", re.DOTALL)
    assert tables.sub(r"\1\3", written) == tables.sub(r"\1\3", text)


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text("# Fast\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for its table: <!-- limits -->"):
        page.write_page(file, [])


def test_the_page_is_what_its_record_says(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text((ROOT / "runbooks" / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    page.write_page(file, record.read_records(ROOT / "runbooks" / "records" / "bench.jsonl"))
    assert file.read_text(encoding="utf-8") == before


def test_a_borrowed_history_is_given_back_as_it_was(tmp_path: Path) -> None:
    history, copy = tmp_path / "history", tmp_path / "day"
    for place in (history / "raw" / "orders", history / "lake"):
        place.mkdir(parents=True)
    (history / "raw" / "orders" / "1.csv").write_text("a\n", encoding="utf-8")
    (history / "raw" / "_defects.json").write_text("{}", encoding="utf-8")
    (history / "warehouse.duckdb").write_text("w", encoding="utf-8")
    left = history / "raw" / "orders" / "left by a bench that was killed.csv"
    with growth.borrow(history, copy):
        assert (copy / "lake").is_dir()
        assert (copy / "warehouse.duckdb").is_file()
    left.write_text("b\n", encoding="utf-8")
    with growth.borrow(history, copy):
        assert not left.exists()
        (history / "raw" / "orders" / "2.csv").write_text("c\n", encoding="utf-8")
        (history / "raw" / "_defects.json").write_text('{"more": 1}', encoding="utf-8")
    assert [file.name for file in (history / "raw" / "orders").iterdir()] == ["1.csv"]
    assert (history / "raw" / "_defects.json").read_text(encoding="utf-8") == "{}"


def test_the_memory_of_a_command_is_its_own() -> None:
    held = b"x" * (150 << 20)
    done = run([sys.executable, "-S", "-c", "print('said')"])
    assert held
    assert done.printed == "said\n"
    assert 0 < done.peak < 100


def test_a_command_that_fails_ends_the_bench_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"(?s)failed with exit code 3.*what it said"):
        run([sys.executable, "-c", "import sys; print('what it said', file=sys.stderr); sys.exit(3)"])


def test_a_part_is_recorded_shown_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    file, history = tmp_path / "performance.md", tmp_path / "bench.jsonl"
    file.write_text((ROOT / "runbooks" / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    ratios = iter([1.0, 1.1, 3.0])
    part = {"load": lambda work, repeats, full: [make_figure(f"{TEN}: lakeops load", 12.0, next(ratios))]}
    monkeypatch.setenv("LAKEOPS_ROOT", str(tmp_path))  # so that what main sets is put back
    for name, value in (("PARTS", part), ("HISTORY", history), ("PAGE", file)):
        monkeypatch.setattr(bench, name, value)
    words = ["--only", "load", "--work", str(tmp_path), "--compare"]
    assert [bench.main(words) for _ in range(3)] == [0, 0, 1]
    said = capsys.readouterr()
    assert f"slower: {TEN}: lakeops load: 3.00 times its yardstick, 1.10 on" in said.err
    assert "slower" not in said.out
    assert len(record.read_records(history)) == 3
    assert "| 3.00 times | **missed** |" in file.read_text(encoding="utf-8")

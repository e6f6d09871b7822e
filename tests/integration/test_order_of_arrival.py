"""The same files give the same bronze, in whatever order they come, in one load or many, in one batch or many.

What must be there is worked out by a few lines of Python from what is in the files; see `expect`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import WHOLE_LOADS, Project, make_project
from lakeops.bronze import load as bronze_load

CONTRACTS = """
sources:
  - name: bronze
    tables:
      - name: sales
        config: {meta: {load: {files: ["sales/*.csv"], format: csv, key: [id], on_new_column: evolve}}}
        columns: [{name: id, data_type: bigint}, {name: note, data_type: varchar}]
      - name: items
        config: {meta: {load: {files: ["items/*.csv"], format: csv, mode: merge, key: [id], sequence_by: [seq]}}}
        columns: [{name: id, data_type: bigint}, {name: seq, data_type: bigint}, {name: note, data_type: varchar}]
      - name: people
        config:
          meta:
            load:
              {files: ["people/*.jsonl"], format: jsonl, mode: merge, key: [id], sequence_by: [seq],
               delete_when: "op = 'D'", partial_updates: true}
        columns:
          - {name: id, data_type: bigint}
          - {name: seq, data_type: bigint}
          - {name: op, data_type: varchar}
          - {name: note, data_type: varchar}
          - {name: city, data_type: varchar}
      - name: shelves
        config:
          meta: {load: {files: ["shelves/*.csv"], format: csv, mode: replace, key: [id], sequence_by: [seq]}}
        columns: [{name: id, data_type: bigint}, {name: seq, data_type: bigint}, {name: note, data_type: varchar}]
"""
COLUMNS = {"sales": ("id", "note", "extra"), "items": ("id", "seq", "note"), "people": ("id", "seq", "note", "city"),
           "shelves": ("id", "seq", "note")}  # fmt: skip
FILES_PER_BATCH = bronze_load.FILES_PER_BATCH


@dataclass(frozen=True)
class Arrivals:
    """Files by name, and in which order and in how many loads they come."""

    files: dict[str, list[dict]]
    loads: list[list[str]]
    files_per_batch: int


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals:
    """Draw files in which each key has every sequence once, so that the contract says which record is the last."""
    files: dict[str, list[dict]] = {}
    words = st.sampled_from(["a", "b", ""])
    for number in range(draw(st.integers(0, 3))):
        extra = {"extra": "x"} if draw(st.booleans()) else {}
        ids = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        # Two files of the same bytes are one file and its copy.
        files[f"sales/{number}.csv"] = [{"id": id_, "note": "n"} | extra for id_ in ids]
    for table, suffix in (("items", "csv"), ("people", "jsonl")):
        moments = draw(st.lists(st.tuples(st.integers(1, 3), st.none() | st.integers(1, 5)), max_size=9, unique=True))
        for id_, seq in moments:
            record: dict = {"id": id_, "seq": seq, "note": draw(words)}
            if table == "people":
                record["op"] = draw(st.sampled_from(["I", "U", "D"]))
                record["city"] = draw(words | st.none())
                for name in draw(st.lists(st.sampled_from(["note", "city"]), max_size=2)):
                    record.pop(name, None)
            files.setdefault(f"{table}/{draw(st.integers(1, 4))}.{suffix}", []).append(record)
    for seq in draw(st.lists(st.integers(1, 9), max_size=3, unique=True)):
        ids = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True))
        files[f"shelves/{draw(st.integers(1, 9))}.csv"] = [{"id": id_, "seq": seq, "note": draw(words)} for id_ in ids]
    order = draw(st.permutations(sorted(files)))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=2, unique=True)))
    loads = [order[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return Arrivals(files, loads, draw(st.sampled_from([2, 5, FILES_PER_BATCH])))


def write(name: str, records: list[dict]) -> str:
    """Return a file's text."""
    if name.endswith(".jsonl"):
        return "".join(json.dumps(record) + "\n" for record in records)
    lines = [[*records[0]], *(record.values() for record in records)]
    return "".join(",".join("" if value is None else str(value) for value in line) + "\n" for line in lines)


def expect(files: dict[str, list[dict]]) -> dict[str, list[tuple]]:
    """Return the rows that each table must show, by its contract."""
    found: dict[str, list[dict]] = {table: [] for table in COLUMNS}
    copies = {}
    for name, records in files.items():
        table = name.partition("/")[0]
        if table == "sales":
            copies[write(name, records)] = records
        else:
            # An empty field of a CSV file is null.
            found[table] += [
                {column: None if value == "" and table != "people" else value for column, value in record.items()}
                for record in records
            ]
    found["sales"] = [record for records in copies.values() for record in records]
    found["items"] = [*_merge(found["items"]).values()]
    found["people"] = [*_merge(found["people"]).values()]
    newest = max((record["seq"] for record in found["shelves"]), default=None)
    found["shelves"] = [record for record in found["shelves"] if record["seq"] == newest]
    return {table: _sort(tuple(map(row.get, COLUMNS[table])) for row in rows) for table, rows in found.items()}


def _merge(records: Iterable[dict]) -> dict[int, dict]:
    """Apply records in their order; what one of them leaves out stays, and what was deleted begins anew."""
    state: dict[int, dict] = {}
    for record in sorted(records, key=lambda record: record["seq"] or 0):
        if record.get("op") == "D":
            state.pop(record["id"], None)
        else:
            state[record["id"]] = state.get(record["id"], {}) | record
    return state


def _sort(rows: Iterable[tuple]) -> list[tuple]:
    return sorted(rows, key=str)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose lake is made, and empty."""
    project = make_project(tmp_path_factory.mktemp("order") / "project", CONTRACTS)
    project.load()
    project.keep()
    return project


@settings(WHOLE_LOADS, max_examples=WHOLE_LOADS.max_examples // 2)
@given(arrivals())
def test_the_order_of_arrival_changes_nothing(lake: Project, drawn: Arrivals) -> None:
    lake.reset()
    shutil.rmtree(lake.root / "data_raw")
    (lake.root / "data_raw").mkdir()
    bronze_load.FILES_PER_BATCH = drawn.files_per_batch
    try:
        for names in drawn.loads:
            for name in names:
                lake.land(name, write(name, drawn.files[name]))
            assert not lake.load().refused
    finally:
        bronze_load.FILES_PER_BATCH = FILES_PER_BATCH
    expected = expect(drawn.files)
    for table, names in COLUMNS.items():
        rows = read(lake, table)
        if table == "people":
            rows = rows.filter(~pl.col("_is_deleted"))
        absent = [pl.lit(None).alias(name) for name in names if name not in rows.columns]
        assert _sort(rows.with_columns(absent).select(names).rows()) == expected[table], table
    landed = [len(records) for name, records in drawn.files.items() if name.startswith("items/")]
    assert read(lake, "items_changes").height == sum(landed)
    assert not any(pl.read_delta(str(lake.settings.lake.quarantine(table))).height for table in COLUMNS)


def read(lake: Project, table: str) -> pl.DataFrame:
    # Not through the views: to load DuckDB's extension for each example takes longer than the example.
    return pl.read_delta(str(lake.settings.lake.bronze("bronze", table)))

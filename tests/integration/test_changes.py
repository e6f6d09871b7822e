"""Change data capture and full snapshots: the truth is every record, the table is what follows from it."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from conftest import Project, make_project
from lakeops import pipeline
from lakeops.recovery.restore import run_restore
from lakeops.recovery.undo import run_undo

CDC = """
sources:
  - name: shop
    schema: bronze
    tables:
      - name: people
        config:
          meta:
            load:
              files: ["people/**/*.jsonl"]
              format: jsonl
              mode: merge
              key: [person_id]
              sequence_by: [seq]
              delete_when: "op = 'D'"
              partial_updates: true
        columns:
          - {name: person_id, data_type: bigint}
          - {name: seq, data_type: bigint}
          - {name: op, data_type: varchar, data_tests: [{accepted_values: {arguments: {values: [I, U, D]}}}]}
          - {name: name, data_type: varchar, data_tests: [not_null]}
          - {name: city, data_type: varchar}
      - name: shelves
        config:
          meta:
            load:
              files: ["shelves/**/*.csv"]
              format: csv
              mode: replace
              key: [shelf_id]
              folders: [day]
              derive: {day: day}
              sequence_by: [day]
        columns:
          - {name: shelf_id, data_type: bigint}
          - {name: label, data_type: varchar}
          - {name: day, data_type: date}
"""


DERIVED = """              partial_updates: true
              on_new_column: evolve
              derive: {birth_year: "CAST(SUBSTR(born, 1, 4) AS BIGINT)"}"""
DERIVED_COLUMNS = """          - {name: city, data_type: varchar}
          - {name: born, data_type: varchar}
          - {name: birth_year, data_type: bigint}"""
CITY = "          - {name: city, data_type: varchar}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", CDC)


def lines(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def people(project: Project) -> list[tuple]:
    return project.sql("select person_id, name, city from bronze.people order by 1")


def list_touched(project: Project, batch: int) -> set[int]:
    """Return the shelves whose rows a batch changed, as later layers are told."""
    found = project.sql(f"select key_json from touched_keys where table_name = 'shelves' and batch_id = {batch}")
    return {json.loads(key)["shelf_id"] for (key,) in found}


INSERT = lines({"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "city": "Rome"})
MOVE = lines({"person_id": 1, "seq": 2, "op": "U", "city": "Oslo"})
FORGET_CITY = lines({"person_id": 1, "seq": 3, "op": "U", "city": None})
DELETE = lines({"person_id": 1, "seq": 4, "op": "D"})
AGAIN = lines({"person_id": 1, "seq": 5, "op": "I", "name": "Ada"})


def test_an_absent_value_stays_and_a_null_is_a_value(project):
    project.land("people/1.jsonl", INSERT)
    project.land("people/2.jsonl", MOVE)
    project.load()
    assert people(project) == [(1, "Ann", "Oslo")]
    project.land("people/3.jsonl", FORGET_CITY)
    project.load()
    assert people(project) == [(1, "Ann", None)]


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "a batch each"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_arrival_does_not_matter(project, order, together):
    files = [
        lines({"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "city": "Rome"}),
        lines({"person_id": 1, "seq": 2, "op": "U", "name": "Anna", "city": "Oslo"}),
        lines({"person_id": 1, "seq": 3, "op": "D"}, {"person_id": 2, "seq": 3, "op": "I", "name": "Bob"}),
    ]
    for position, index in enumerate(order):
        project.land(f"people/{position}.jsonl", files[index])
        if not together:
            project.load()
    project.load()
    assert people(project) == [(2, "Bob", None)]


def test_a_deletion_is_a_tombstone_that_later_layers_are_told_of(project):
    project.land("people/1.jsonl", INSERT)
    project.load()
    project.land("people/2.jsonl", DELETE)
    batch = project.load().batches[0]
    assert people(project) == []
    assert project.sql("select key_json, reason, batch_id from touched_keys") == [
        ('{"person_id": 1}', "tombstone", batch)
    ]
    project.land("people/3.jsonl", AGAIN)
    project.load()
    # What it was before it was deleted is not part of what it is now, nor is what the deletion said.
    assert people(project) == [(1, "Ada", None)]
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 4, "op": "D", "city": "Oslo"}))
    project.load()
    assert people(project) == [(1, "Ada", None)]


def test_a_late_record_never_overwrites_a_newer_one(project):
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 9, "op": "U", "name": "New", "city": "Oslo"}))
    project.load()
    project.land("people/1.jsonl", INSERT)
    project.load()
    assert people(project) == [(1, "New", "Oslo")]


def test_every_change_can_be_audited(project):
    project.land("people/1.jsonl", INSERT)
    project.load()
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 2, "op": "U", "name": "Anna", "city": "Oslo"}))
    project.land("people/3.jsonl", DELETE)
    project.load()
    audit = project.sql(
        "select operation, before ->> 'name', after ->> 'name', _batch_id, _source_file, _source_row"
        " from bronze.people_audit order by _batch_id, _source_file"
    )
    assert audit == [
        ("insert", None, "Ann", 1, "data_raw/people/1.jsonl", 1),
        ("update", "Ann", "Anna", 2, "data_raw/people/2.jsonl", 1),
        ("delete", "Anna", None, 2, "data_raw/people/3.jsonl", 1),
    ]


def test_the_audit_is_the_same_after_optimize_and_vacuum(project):
    for number, record in enumerate([INSERT, MOVE, FORGET_CITY, DELETE, AGAIN]):
        project.land(f"people/{number}.jsonl", record)
        project.load()
    query = "select operation, before, after, _source_file from bronze.people_audit order by _batch_id"
    before = project.sql(query)
    assert [row[0] for row in before] == ["insert", "update", "update", "delete", "insert"]
    for name in ("people", "people_changes"):
        table = DeltaTable(str(project.settings.lake.bronze("bronze", name)))
        table.optimize.compact()
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
        assert len(table.file_uris()) == 1
    assert project.sql(query) == before
    assert people(project) == [(1, "Ada", None)]
    # And the next change finds its way.
    project.land("people/9.jsonl", lines({"person_id": 1, "seq": 9, "op": "U", "city": "Rome"}))
    project.load()
    assert people(project) == [(1, "Ada", "Rome")]


def test_a_full_snapshot_replaces_and_records_what_disappeared(project):
    project.land("shelves/day=2024-01-01/a.csv", "shelf_id,label\n1,a\n2,b\n")
    project.load()
    project.land("shelves/day=2024-01-02/a.csv", "shelf_id,label\n2,bb\n3,c\n")
    project.load()
    shown = "select shelf_id, label from bronze.shelves order by 1"
    assert project.sql(shown) == [(2, "bb"), (3, "c")]
    assert project.sql("select key_json, reason from touched_keys") == [('{"shelf_id": 1}', "disappeared")]
    # A snapshot of an older day that comes late changes nothing; one that is restated away brings the last one back.
    project.land("shelves/day=2023-12-31/a.csv", "shelf_id,label\n9,z\n")
    project.load()
    assert project.sql(shown) == [(2, "bb"), (3, "c")]
    project.land("shelves/day=2024-01-02/a.csv", "shelf_id,label\n3,c\n")
    project.load()
    assert project.sql(shown) == [(3, "c")]
    # Undone, the one before it holds again. Its rows are of an old batch: without a word, no model would see them.
    (undone,) = run_undo(project.settings, file="data_raw/shelves/day=2024-01-02/a.csv", reason="wrong")
    assert project.sql(shown) == [(1, "a"), (2, "b")]
    assert list_touched(project, undone.batch_id) == {1, 2, 3}


def test_a_replayed_record_does_not_make_its_snapshot_the_newest(project):
    project.change_contract("              sequence_by: [day]\n", "")
    project.land("shelves/day=2024-01-01/a.csv", "shelf_id,label,day\n1,a,\nx,b,\n")
    project.load()
    project.land("shelves/day=2024-01-01/b.csv", "shelf_id,label,day\n3,c,\n")
    project.load()
    project.change_contract("- {name: shelf_id, data_type: bigint}", "- {name: shelf_id, data_type: varchar}")
    (replay,) = pipeline.run_replay(project.settings, None, None)
    assert replay.replayed == 1
    assert project.sql("select shelf_id from bronze.shelves") == [("3",)]


def test_a_late_record_that_fills_an_older_gap_is_told_to_later_layers(project):
    """The row keeps the batch of its last record, which alone would be no news."""
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 5, "op": "U", "name": "Ann"}))
    project.load()
    project.land("people/1.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "A", "city": "Rome"}))
    late = project.load().batches[0]
    assert project.sql("select name, city, _batch_id < 2 from bronze.people") == [("Ann", "Rome", True)]
    assert project.sql("select key_json, reason, batch_id from touched_keys") == [('{"person_id": 1}', "derived", late)]


def test_a_record_that_loses_by_an_order_named_later_is_told_to_later_layers(project):
    """The one that wins now is of an older batch, and what held until now was built."""
    project.change_contract("              sequence_by: [seq]\n", "")
    project.land("people/1.jsonl", lines({"person_id": 1, "seq": 5, "op": "U", "name": "new"}))
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 4, "op": "U", "name": "old"}))
    project.load()
    project.change_contract("              delete_when", "              sequence_by: [seq]\n              delete_when")
    project.land("people/3.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "older"}))
    late = project.load().batches[0]
    assert project.sql("select name, _batch_id < 2 from bronze.people") == [("new", True)]
    assert project.sql("select key_json, reason, batch_id from touched_keys") == [('{"person_id": 1}', "derived", late)]


def test_of_records_that_change_nothing_nobody_is_told(project):
    project.change_contract("              partial_updates: true\n", "")
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 5, "op": "U", "name": "new", "city": "Rome"}))
    project.load()
    project.land("people/1.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "old", "city": "Oslo"}))
    project.load()
    shutil.rmtree(project.settings.lake.bronze("bronze", "people"))  # derived anew of the same
    project.load()
    assert project.sql("select name from bronze.people") == [("new",)]
    assert project.sql("select key_json from touched_keys") == []


def test_deletes_that_are_named_later_hide_no_older_row(project):
    project.change_contract("              delete_when: \"op = 'D'\"\n", "")
    project.land("people/1.jsonl", INSERT)
    project.land("people/2.jsonl", MOVE)
    project.load()
    project.change_contract(
        "              partial_updates", "              delete_when: \"op = 'D'\"\n              partial_updates"
    )
    project.load()
    assert people(project) == [(1, "Ann", "Oslo")]
    assert project.sql("select operation from bronze.people_audit") == [("insert",), ("update",)]
    project.land("people/3.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "Anna"}))
    project.load()
    assert people(project) == [(1, "Anna", "Oslo")]
    project.land("people/4.jsonl", DELETE)
    project.load()
    assert people(project) == []


def test_a_record_says_nothing_of_what_is_made_of_what_it_leaves_out(project):
    """Nor of a column that another file brought beyond the contract, be it in the same batch."""
    project.change_contract("              partial_updates: true", DERIVED)
    project.change_contract(CITY, DERIVED_COLUMNS)
    record = {"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "born": "1990-03-26", "extra": "e"}
    project.land("people/1.jsonl", lines(record))
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 2, "op": "U", "city": "Oslo"}))
    project.load()
    project.land("people/3.jsonl", lines({"person_id": 1, "seq": 3, "op": "U", "name": "Anna"}))
    project.load()
    shown = project.sql("select name, city, born::varchar, birth_year::varchar, extra from bronze.people")
    assert shown == [("Anna", "Oslo", "1990-03-26", "1990", "e")]


def test_a_record_from_before_a_column_was_declared_says_nothing_of_it(project):
    """Whether files brought the column before that, or nobody had it."""
    on_new = "              partial_updates: true\n              on_new_column: evolve"
    project.change_contract("              partial_updates: true", on_new)
    project.land("people/1.jsonl", lines({"person_id": 1, "seq": 1, "op": "I", "name": "Ann", "brought": "b"}))
    project.load()
    project.land("people/2.jsonl", lines({"person_id": 1, "seq": 4, "op": "U", "name": "Anna"}))
    project.load()
    declared = "".join(f"\n          - {{name: {name}, data_type: varchar}}" for name in ("brought", "added"))
    project.change_contract(CITY, CITY + declared)
    project.land("people/3.jsonl", lines({"person_id": 1, "seq": 2, "op": "U", "added": "late"}))
    project.load()
    shown = "select name, brought, added from bronze.people"
    assert project.sql(shown) == [("Anna", "b", "late")]
    project.land("people/4.jsonl", lines({"person_id": 1, "seq": 5, "op": "U", "brought": None, "added": None}))
    project.load()
    assert project.sql(shown) == [("Anna", None, None)]


def test_a_null_that_was_said_holds_also_when_the_contract_has_the_column_no_more(project):
    for number, text in enumerate((INSERT, FORGET_CITY)):
        project.land(f"people/{number}.jsonl", text)
        project.load()
    project.change_contract(CITY, "")
    project.land("people/9.jsonl", lines({"person_id": 1, "seq": 9, "op": "U", "name": "Anna"}))
    project.load()
    assert people(project) == [(1, "Anna", None)]
    # A restore sees no other rows than a load.
    assert not run_restore(project.settings, "bronze.people_changes", version=3, dry_run=True).differs


def test_a_snapshot_without_a_record_is_refused(project):
    """It would empty the table, or bring an older one back; most often it is an accident."""
    project.land("shelves/day=2024-01-01/a.csv", "shelf_id,label\n1,a\n")
    project.load()
    project.land("shelves/day=2024-01-02/a.csv", "shelf_id,label\n")
    outcome = project.load()
    assert [reason.split(":")[0] for _, reason in outcome.refused] == ["empty"]
    assert project.sql("select shelf_id from bronze.shelves") == [(1,)]


def test_a_snapshot_of_which_no_record_is_good_is_refused_with_what_is_wrong(project):
    project.land("shelves/day=2024-01-01/a.csv", "shelf_id,label\n1,a\n")
    project.load()
    project.land("shelves/day=2024-01-02/a.csv", "shelf_id,label\nx,secret\ny,b\n")
    ((_, reason),) = project.load().refused
    assert reason.startswith("all_bad: none of the 2 records of a full snapshot keeps the contract; the first, line 2:")
    assert "bad_value of shelf_id" in reason
    assert "secret" not in reason
    assert project.sql("select shelf_id from bronze.shelves") == [(1,)]

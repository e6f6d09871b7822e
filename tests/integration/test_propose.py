"""A proposed contract loads the files it was made from, and says why it is what it is."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from conftest import LOADER_COLUMNS, make_project
from lakeops.errors import UsageError
from lakeops.propose import list_files, propose_contract

READINGS = "reading_id;Taken At;value;flag;zip\n" + "".join(
    f"{n};2024-04-01T00:{n % 60:02d}:00Z;{n}.25;true;0{n:04d}\n" for n in range(1, 101)
)
MEMBERS = "member_no,e_mail,status,updated_on\n"


def land(root: Path) -> Path:
    raw = root / "data_raw"
    files = {
        "readings/2024/readings.csv": READINGS,
        "members/sent_dt=2024-04-01/members.csv": MEMBERS + "1,a@b.c,new,2024-04-01\n2,d@e.f,old,2024-04-01\n",
        "members/sent_dt=2024-04-02/members.csv": MEMBERS + "1,a@b.c,old,2024-04-02\n2,d@e.f,old,2024-04-01\n",
        "visits.jsonl": '{"visit_id": 1, "what": {"page": "/"}}\n{"visit_id": 2, "what": {"page": "/x"}}\n',
        "_notes/plan.csv": "no data",
        "README.md": "no data",
    }
    for name, text in files.items():
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return raw


def test_the_files_load_by_the_contract_that_was_made_of_them(tmp_path: Path):
    project = make_project(tmp_path / "project")
    raw = land(project.root)
    text = propose_contract(list_files([raw / "readings", raw / "members", raw / "visits.jsonl"]), raw, "club")
    (project.root / "dbt" / "models" / "bronze" / "club.yml").write_text(text)
    outcome = project.load()
    assert not outcome.refused
    assert not outcome.unclaimed
    assert project.sql("select count(*) from quarantine") == [(0,)]
    assert project.sql("select reading_id, value, flag, zip from club.readings where reading_id = 7") == [
        (7, pytest.approx(7.25), True, "00007")
    ]
    assert project.sql("select column_type from (describe club.readings) where column_name = 'taken_at'") == [
        ("TIMESTAMP WITH TIME ZONE",)
    ]
    # The last state sent holds, and both are kept.
    assert project.sql("select member_no, status from club.members order by 1") == [(1, "old"), (2, "old")]
    assert project.sql("select count(*) from club.members_changes") == [(4,)]
    assert project.sql("select what from club.visits where visit_id = 1") == [('{"page":"/"}',)]


def test_every_guess_has_its_reason(tmp_path: Path):
    raw = land(tmp_path)
    text = propose_contract(list_files([raw]), raw, "club")
    for said in (
        'delimiter: ";"',
        'taken_at: ["Taken At"]',
        "data_type: decimal(18,2)    # at most 2 digits after the point, for example 1.25",
        "data_type: varchar    # digits with leading zeros, for example 00001",
        "mode: merge              # comes once in each file, and again in others: the last record of a key holds",
        "sequence_by: [updated_on]",
        "config: {meta: {personal: true}}    # by its name",
        "business_date: sent_dt",
        "data_type: json",
    ):
        assert said in text, text


def test_a_value_that_hardly_ever_fits_is_named_and_does_not_decide(tmp_path: Path):
    raw = land(tmp_path)
    (raw / "readings" / "2024" / "more.csv").write_text(READINGS.splitlines()[0] + "\n101;soon;1.00;true;00101\n")
    text = propose_contract(list_files([raw / "readings"]), raw, "club")
    assert "data_type: timestamp" in text
    assert "1 of 101 do not fit (they are for quarantine), such as 'soon'" in text


def test_one_bad_row_of_forty_decides_nothing(tmp_path: Path):
    raw = tmp_path / "data_raw"
    raw.mkdir()
    rows = [f"{n},2024-04-{n % 28 + 1:02d},{'1/4/2024' if n % 4 == 0 else '2024-04-01'}" for n in range(1, 41)]
    rows[11] = "12,31/02/2024,2024-04-01"
    (raw / "owners.csv").write_text("\n".join(["owner_id,joined_on,seen_on", *rows, "7,2024-04-09,2024-04-01", ""]))
    text = propose_contract(list_files([raw]), raw, "clinic")
    assert "key: [owner_id]       # 1 row(s) have one that came before" in text
    assert "data_type: date    # days, for example 2024-04-02; 1 of 41 do not fit" in text
    # Too many to be bad rows: text it is, and the person who edits the contract is told how near it was.
    assert "data_type: varchar    # text; date, but that 9 of 41 do not fit, such as '1/4/2024'" in text


def test_names_that_yaml_or_another_column_would_take_away(tmp_path: Path):
    project = make_project(tmp_path / "project")
    raw = project.root / "data_raw"
    (raw / "off").mkdir()
    (raw / "off" / "1.csv").write_text("No,Order ID,order_id,数量,単価,on\n" + "".join(
        f"{n},{n},A{n},{n}.5,{n},x\n" for n in range(1, 31)))  # fmt: skip
    text = propose_contract(list_files([raw]), raw, "no")
    (project.root / "dbt" / "models" / "bronze" / "no.yml").write_text(text)
    outcome = project.load()
    assert not outcome.refused
    assert not outcome.unclaimed
    table = pl.read_delta(str(project.settings.lake.bronze("no", "off")))
    row = table.drop(LOADER_COLUMNS).sort("no").rows(named=True)[1]
    assert row == {"no": 2, "order_id_2": 2, "order_id": "A2", "c_": Decimal("2.5"), "c__2": 2, "on": "x"}


def test_a_folder_of_several_formats_becomes_several_tables(tmp_path: Path):
    project = make_project(tmp_path / "project")
    raw = project.root / "data_raw"
    lines = "".join(f"{n},{n}\n" for n in range(1, 31))
    files = {
        "mixed/1.csv": b"mixed_id,a\n" + lines.encode(),
        "mixed/2.csv.gz": gzip.compress(b"mixed_id,a\n31,31\n"),
        "mixed/1.tsv": b"mixed_id\tb\n" + lines.replace(",", "\t").encode(),
        "mixed/1.jsonl.gz": gzip.compress(b'{"mixed_id": 1, "c": 1}\n'),
    }
    (raw / "mixed").mkdir()
    for name, content in files.items():
        (raw / name).write_bytes(content)
    text = propose_contract(list_files([raw]), raw, "shop2")
    (project.root / "dbt" / "models" / "bronze" / "shop2.yml").write_text(text)
    assert 'files: ["mixed/**/*.csv", "mixed/**/*.csv.gz"]           # 2 file(s) today' in text
    outcome = project.load()
    assert not outcome.refused
    assert not outcome.unclaimed
    rows = {table: pl.read_delta(str(project.settings.lake.bronze("shop2", table))).drop(LOADER_COLUMNS)
            for table in ("mixed", "mixed_2", "mixed_3")}  # fmt: skip
    assert {table: (frame.columns, frame.height) for table, frame in rows.items()} == {
        "mixed": (["mixed_id", "a"], 31), "mixed_2": (["mixed_id", "c"], 1), "mixed_3": (["mixed_id", "b"], 30),
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n" * 9000)[:60]], ids=["not", "cut"])
@pytest.mark.parametrize("suffix", [".csv.gz", ".jsonl.gz"])
def test_a_file_that_cannot_be_unpacked_is_one_clear_error(content: bytes, suffix: str, tmp_path: Path):
    (tmp_path / f"visits{suffix}").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read") as refused:
        propose_contract(list_files([tmp_path]), tmp_path, "club")
    assert refused.value.where.endswith(suffix)


def test_what_cannot_be_looked_at_is_one_clear_error(tmp_path: Path):
    raw = land(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        list_files([raw / "nowhere"])
    (raw / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsageError, match="suffix"):
        propose_contract([raw / "picture.png"], raw, "club")
    with pytest.raises(UsageError, match="landing zone"):
        propose_contract([tmp_path / "elsewhere.csv"], raw, "club")
    with pytest.raises(UsageError, match="name that SQL takes"):
        propose_contract(list_files([raw]), raw, "My Club")

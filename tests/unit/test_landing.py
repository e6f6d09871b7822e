"""The landing zone: what is listed, what a link may do, and which files a contract claims."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lakeops.contract import load_contracts
from lakeops.errors import ContractError, UsageError
from lakeops.raw import Landing, landing, list_landings

TABLE = """      - name: {name}
        config: {{meta: {{load: {{files: {files}, format: csv, key: [id]}}}}}}
        columns: [{{name: id, data_type: bigint}}]
"""


def list_names(raw: Path, **tables: str) -> dict[str, Landing]:
    models = raw.parent / "models"
    models.mkdir(exist_ok=True)
    text = "sources:\n  - name: shop\n    tables:\n"
    text += "".join(TABLE.format(name=name, files=files) for name, files in tables.items())
    (models / "shop.yml").write_text(text)
    landings = list_landings(raw, load_contracts(models).tables, raw.parent)
    assert [one.source_file for one in landings] == sorted(one.source_file for one in landings)
    return {one.source_file.removeprefix("raw/"): one for one in landings}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for name in ("a/1.csv", "a/b/2.csv.gz", "a/_tmp/3.csv", "a/.hidden", "a/README.md", "note.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("id\n1\n")
    return folder


def test_files_are_listed_with_the_contract_that_claims_them(raw: Path) -> None:
    found = list_names(raw, t='["a/**/*.csv", "a/**/*.csv.gz"]')
    assert {name: one.contract.table if one.contract else None for name, one in found.items()} == {
        "a/1.csv": "t",
        "a/b/2.csv.gz": "t",
        "note.txt": None,
    }
    assert not any(one.refusal for one in found.values())
    assert found["a/1.csv"].size_bytes == 5


def test_a_star_stays_within_one_folder(raw: Path) -> None:
    found = list_names(raw, t='["*/*.csv*"]')
    assert [name for name, one in found.items() if one.contract] == ["a/1.csv"]


def test_two_contracts_that_claim_one_file_are_an_error(raw: Path) -> None:
    with pytest.raises(ContractError) as raised:
        list_names(raw, t='["a/*.csv"]', u='["a/1.*"]')
    assert raised.value.where.endswith("a/1.csv")
    assert "shop.t" in raised.value.found
    assert "shop.u" in raised.value.found
    assert raised.value.next_step


def test_a_missing_raw_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        list_landings(tmp_path / "nowhere", (), tmp_path)
    assert "lakeops generate" in raised.value.next_step


def test_links_that_leave_the_raw_folder_are_listed_and_refused(raw: Path) -> None:
    outside = raw.parent / "outside"
    outside.mkdir()
    (outside / "x.csv").write_text("id\n1\n")
    (raw / "file.csv").symlink_to(outside / "x.csv")
    (raw / "folder").symlink_to(outside)
    (raw / "gone.csv").symlink_to(raw / "nothing.csv")
    (raw / "itself.csv").symlink_to(raw / "itself.csv")
    # A sibling whose name only begins like the raw folder's is outside as well.
    (raw.parent / "raw2").mkdir()
    (raw / "near").symlink_to(raw.parent / "raw2")
    refused = {name: one.refusal.split(":")[0] for name, one in list_names(raw, t="['*.csv']").items() if one.refusal}
    assert refused == {
        "file.csv": "link_outside",
        "folder": "link_outside",
        "near": "link_outside",
        "gone.csv": "broken_link",
        "itself.csv": "broken_link",
    }


def test_a_link_to_a_file_within_the_raw_folder_is_followed(raw: Path) -> None:
    (raw / "latest.csv").symlink_to(raw / "a" / "1.csv")
    found = list_names(raw, t="['*.csv']")
    assert found["latest.csv"].refusal == ""
    assert found["latest.csv"].size_bytes == 5


def test_links_to_folders_do_not_go_round_and_list_no_file_twice(raw: Path) -> None:
    for place in range(12):  # every folder links to every other one: followed, they would be 12! ways
        (raw / f"d{place:02}").mkdir()
        (raw / f"d{place:02}" / "f.csv").write_text("id\n1\n")
    for place in range(12):
        for other in range(12):
            (raw / f"d{place:02}" / f"to{other:02}").symlink_to(raw / f"d{other:02}")
    (raw / "a" / "up").symlink_to(raw)
    found = list_names(raw, t="['**/*.csv']")
    assert sum(one.refusal.startswith("link_repeats") for one in found.values()) == 145
    assert [name for name in found if name.endswith("f.csv")] == [f"d{place:02}/f.csv" for place in range(12)]


def test_a_sender_may_switch_versions_by_a_link_to_a_hidden_folder(raw: Path) -> None:
    (raw / "_v2").mkdir()
    (raw / "_v2" / "f.csv").write_text("id\n1\n")
    (raw / "_v2" / "again").symlink_to(raw / "_v2")
    (raw / "current").symlink_to(raw / "_v2")
    (raw / "other").symlink_to(raw / "_v2")
    found = list_names(raw, t="['current/*.csv']")
    assert found["current/f.csv"].contract
    refused = [name for name, one in found.items() if one.refusal.startswith("link_repeats")]
    assert refused == ["current/again", "other"]


def test_a_pipe_is_refused_and_not_opened(raw: Path) -> None:
    os.mkfifo(raw / "pipe.csv")
    assert list_names(raw, t="['*.csv']")["pipe.csv"].refusal.startswith("no_file")


def test_a_name_that_is_not_utf8_is_refused_and_can_be_written_down(raw: Path) -> None:
    (raw / os.fsdecode(b"a/o_\xe9.csv")).write_text("id\n1\n")
    refused = {
        name: one.refusal.split(":")[0] for name, one in list_names(raw, t='["a/**/*.csv"]').items() if one.refusal
    }
    assert refused == {"a/o_\\xe9.csv": "bad_name"}


def test_where_a_link_leads_can_be_written_down(raw: Path) -> None:
    (raw / "a" / "x.csv").symlink_to(os.fsdecode(b"gone_\xe9.csv"))
    refusal = list_names(raw, t='["a/**/*.csv"]')["a/x.csv"].refusal
    assert refusal.startswith("broken_link")
    assert "gone_\\xe9.csv" in refusal


def test_what_is_moved_while_it_is_listed_keeps_no_other_out(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def move_folder(path: str, mode: int) -> bool:
        if path.endswith("/b"):
            Path(path).rename(raw / "_b")
        return True

    walk = landing._walk

    def walk_and_move(*words: object) -> list:
        found = list(walk(*words))
        if (raw / "note.txt").exists():
            (raw / "note.txt").rename(raw / "_note.txt")
        return found

    monkeypatch.setattr(os, "access", move_folder)
    monkeypatch.setattr(landing, "_walk", walk_and_move)
    assert list(list_names(raw)) == ["a/1.csv"]


def test_a_folder_that_may_not_be_read_is_named(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root, as which tests may run, may read all.
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("/b"))
    refused = {
        name: one.refusal.split(":")[0] for name, one in list_names(raw, t='["a/**/*.csv"]').items() if one.refusal
    }
    assert refused == {"a/b": "no_access"}

"""The operations document: its outcomes are those of its commands, made by the recorder and by nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import pages
from docs.pages import find_problem
from docs.test_runbooks import ROOT
from operations.record import (
    FENCE,
    PAGE,
    RecordError,
    find_machine,
    insert_records,
    record,
    seal,
    shorten,
    type_commands,
)

TEXT = PAGE.read_text(encoding="utf-8")
HEADINGS = [
    "Incremental runs", "Time travel", "Before and after optimise", "Monitoring queries", "Recovery",
    "Schema evolution", "Retention", "Backup", "Security", "Lessons", "Recommendations",
]  # fmt: skip
AGAIN = "run make operations-record"


def squeeze(text: str) -> str:
    """Return a text with any blanks as one, so that a query may be set in lines."""
    return " ".join(text.split())


def test_it_has_the_sections() -> None:
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == HEADINGS


def test_each_command_has_its_outcome_and_its_time() -> None:
    fences = pages.read_page(PAGE).fences
    assert [fence.tag for fence in fences] == ["sh", "text"] * (len(fences) // 2), AGAIN
    assert all(re.search(r"^\[(exit code \d+, )?\d+\.\d s\]$", fence.text.splitlines()[-1]) for fence in fences[1::2])
    assert len(FENCE.findall(TEXT)) == len(fences) // 2, "a fence that the recorder does not see"


def test_commands_and_outcomes_are_as_they_were_recorded() -> None:
    header = r"Recorded by `make operations-record` on \d{4}-\d\d-\d\d .*?`([0-9a-f]{32})`"
    recorded = re.search(header, TEXT, re.DOTALL)
    assert recorded, AGAIN
    assert recorded[1] == seal(TEXT), f"a command or an outcome was changed by hand; {AGAIN}"


def test_records_measured_elsewhere_are_the_present_ones() -> None:
    assert TEXT.count("<!-- from records/") == 2
    assert insert_records(TEXT) == TEXT, "run python scripts/operations/record.py --tables"


def test_it_names_no_machine_and_no_person() -> None:
    assert find_machine(TEXT) == ""


def test_it_asks_every_question_of_the_project() -> None:
    questions = {file.stem for file in (ROOT / "dbt" / "analyses" / "monitoring").glob("*.sql")}
    assert questions == set(re.findall(r"^lakeops quality sql (\w+)$", TEXT, re.MULTILINE)), AGAIN


def test_it_answers_the_seed_queries() -> None:
    file = ROOT.parent / "shared" / "seed_queries.sql"
    if not file.exists():
        pytest.skip("shared/seed_queries.sql does not lie beside this repository")
    sql = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("--"))
    assert [one for one in sql.split(";") if squeeze(one) not in squeeze(TEXT)] == []


def test_links_and_commands_in_passing_lead_somewhere() -> None:
    prose = FENCE.sub("", TEXT)
    assert [to for to in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose) if not (PAGE.parent / to).exists()] == []
    assert [said for said in set(re.findall(r"`([^`\n]+)`", prose)) if find_problem(said)] == []


def test_a_changed_outcome_breaks_the_seal() -> None:
    number = FENCE.search(TEXT)["outcome"].strip()
    assert seal(TEXT) != seal(TEXT.replace(number, f"{number}0", 1))


def test_what_a_command_says_is_kept_with_its_exit_code(tmp_path: Path) -> None:
    said = type_commands(f"echo {tmp_path}/lake\necho beside {tmp_path} >&2\nfalse  # exit 1\n", tmp_path)
    assert re.fullmatch(r"lake\nbeside \.\n\[exit code 1, \d+\.\d s\]\n", said)


def test_outcomes_are_written_under_their_commands_and_replace_earlier_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- recorded -->\n<!-- /recorded -->\nProse.\n```sh\nls\n```\nMore.\n```sh\npwd\n```\n")
    page.write_text(record(page).replace("duckdb\n[", "by hand\n["))
    text = record(page)
    assert re.sub(r"\d+\.\d s", "0.0 s", text.partition("<!-- /recorded -->")[2]) == (
        "\nProse.\n```sh\nls\n```\n\n```text\ndata_raw\ndbt\nduckdb\n[0.0 s]\n```\n"
        "More.\n```sh\npwd\n```\n\n```text\n.\n[0.0 s]\n```\n"
    )
    assert text.count("Recorded by") == text.count(seal(text)) == 1


@pytest.mark.parametrize(
    "commands",
    ["false\n", "false\ntrue\n", "true  # exit 1\n", "echo /etc/somewhere/else\n"],
    ids=["fails", "fails first", "does not fail", "names the machine"],
)
def test_an_outcome_nobody_stated_stops_the_recorder(tmp_path: Path, commands: str) -> None:
    with pytest.raises(RecordError):
        type_commands(commands, tmp_path)


def test_what_is_left_out_of_a_long_outcome_is_said() -> None:
    assert shorten([str(number) for number in range(100)])[22] == "… 56 more lines …"
    assert shorten(["begins", *["  warn: a row"] * 20, "ends"]) == [
        "begins", *["  warn: a row"] * 12, "… 8 more like these …", "ends",
    ]  # fmt: skip
    assert shorten(["x" * 300])[0].endswith("x…")

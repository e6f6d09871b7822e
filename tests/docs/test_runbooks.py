"""The runbooks as text: each error, alert and symptom has its page, in the one form; commands in passing exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import pages, scenes
from lakeops.alerts.rules import RUNBOOKS as BY_KIND
from lakeops.errors import LakeopsError

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "runbooks"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Confirm it is over", "Why it happens"]
INDEX = RUNBOOKS / "README.md"
# About what was measured, not about something that goes wrong; recorded, not played: test_operations.py, test_bench.py.
REPORTS = [RUNBOOKS / "operations.md", RUNBOOKS / "performance.md"]
FILES = sorted(file for file in RUNBOOKS.glob("*.md") if file not in (INDEX, *REPORTS))
# Which the issue asks for by name; the file that answers.
ASKED_FOR = [
    "exit-10-contract", "exit-11-raw-file-refused", "alert-quarantine-grows", "exit-12-bronze-commit", "dbt-killed",
    "exit-13-dbt-or-test", "exit-14-stale-data", "late-data", "restated-data", "schema-changed", "foreign-keys-rise",
    "anomaly", "exit-15-locked", "warehouse-lost", "bronze-table-deleted", "bronze-file-corrupted",
    "bad-batch-published", "accidental-delete", "disk-full", "retention-and-vacuum", "roll-back", "backup-and-restore",
    "upgrade", "set-up", "add-a-data-set", "scheduled-runs", "environments", "rotate-the-salt",
]  # fmt: skip


def list_classes(root: type[LakeopsError] = LakeopsError) -> list[type[LakeopsError]]:
    """Return all subclasses that name a runbook."""
    return [one for child in root.__subclasses__() for one in ([child] if child.runbook else []) + list_classes(child)]


CLASSES = sorted(set(list_classes()), key=lambda one: one.exit_code)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_page_of_an_exit_code_is_named_after_it(error: type[LakeopsError]) -> None:
    assert error.runbook.startswith(f"exit-{error.exit_code}-")
    text = (RUNBOOKS / f"{error.runbook}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Exit {error.exit_code}: ")


def test_no_page_lacks_its_exit_code() -> None:
    assert {page.stem for page in RUNBOOKS.glob("exit-*.md")} == {error.runbook for error in CLASSES}


def test_each_kind_of_alert_has_its_page_and_no_page_lacks_its_kind() -> None:
    named = {name for name in BY_KIND.values() if name}
    assert {name for name in named if not (RUNBOOKS / f"{name}.md").is_file()} == set()
    assert {page.stem for page in RUNBOOKS.glob("alert-*.md")} == {name for name in named if name.startswith("alert-")}


def test_alerting_rules_name_pages_that_there_are() -> None:
    rules = (ROOT / "scripts" / "metrics" / "alerts.yml").read_text(encoding="utf-8")
    named = re.findall(r"runbook: (\S+)", rules)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("name", ASKED_FOR)
def test_page_is_there(name: str) -> None:
    assert (RUNBOOKS / f"{name}.md").is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_page_has_the_form(file: Path) -> None:
    page = pages.read_page(file)
    assert re.findall(r"^## (.+)$", page.text, re.MULTILINE) == HEADINGS
    assert pages.find_disguised(page) == []
    assert any(fence.tag == "text" for fence in page.fences), "no outcome is stated"
    assert not page.scene or callable(getattr(scenes, page.scene, None)), f"there is no scene {page.scene}"


def test_no_scene_lacks_its_page() -> None:
    used = {pages.read_page(file).scene for file in FILES}
    written = {name for name, thing in vars(scenes).items() if getattr(thing, "is_scene", False)}
    assert written == used - {""}


def test_the_index_leads_to_each_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", INDEX.read_text(encoding="utf-8"))
    assert {file.name for file in FILES} - set(linked) == set()


@pytest.mark.parametrize("file", [*FILES, INDEX], ids=lambda file: file.stem)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), f"{file.name} links to {target}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_commands_in_passing_are_commands_that_there_are(file: Path) -> None:
    text = re.sub(r"^\s*```.*?^\s*```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    wrong = [said for said in re.findall(r"`([^`\n]+)`", text) if pages.find_problem(said)]
    assert wrong == []


def test_a_command_that_there_is_not_is_found() -> None:
    assert pages.find_problem("lakeops load --dry-run") == ""
    assert pages.find_problem("lakeops load --dryrun") != ""
    assert pages.find_problem("lakeops snapshot craete NAME") != ""
    assert pages.find_problem("make incremental") == ""
    assert pages.find_problem("make increment") != ""

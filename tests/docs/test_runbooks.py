"""Each error class with a runbook has its page, in the one form, and no page lacks its class."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lakeops.errors import LakeopsError

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Confirm it is over", "Why it happens"]


def list_classes(root: type[LakeopsError] = LakeopsError) -> list[type[LakeopsError]]:
    """Return all subclasses that name a runbook."""
    return [one for child in root.__subclasses__() for one in ([child] if child.runbook else []) + list_classes(child)]


CLASSES = sorted(set(list_classes()), key=lambda one: one.exit_code)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_page_has_the_six_headings(error: type[LakeopsError]) -> None:
    text = (RUNBOOKS / f"{error.runbook}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert text.startswith(f"# Exit {error.exit_code}: ")


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_name_carries_the_exit_code(error: type[LakeopsError]) -> None:
    assert error.runbook.startswith(f"exit-{error.exit_code}-")


def test_no_page_lacks_its_class() -> None:
    assert {page.stem for page in RUNBOOKS.glob("exit-*.md")} == {error.runbook for error in CLASSES}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"

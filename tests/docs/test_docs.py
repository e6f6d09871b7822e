"""README, CONTRIBUTING, docs and runbooks as text: links lead somewhere, commands and tests they name are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from docs.pages import find_problem

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("runbooks/*.md")),
]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
# In backticks, or a line of a fence; `…` stands for what the reader fills in, [--rebuild] for what may be left out.
COMMAND = re.compile(r"(?:^(?:\$ )?|`)((?:lakeops|make) [a-z][^`\n]*?)(?:\s+[#|] .*|   .*)?(?:`|$)", re.MULTILINE)


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def list_anchors(text: str) -> set[str]:
    """Return what GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", [*PAGES, *DECISIONS], ids=name_of)
def test_links_lead_somewhere(file: Path) -> None:
    lost = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", file.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        page = (file.parent / target) if target else file
        if not page.exists() or (anchor and anchor not in list_anchors(page.read_text(encoding="utf-8"))):
            lost.append(f"{target}#{anchor}")
    assert lost == []


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_commands_are_ones_that_there_are(file: Path) -> None:
    typed = COMMAND.findall(file.read_text(encoding="utf-8"))
    wrong = {said: problem for said in typed if (problem := find_problem(re.sub(r"[][]", "", said)))}
    assert wrong == {}


def test_tests_that_the_readme_names_are_there() -> None:
    folder = ROOT
    for name in re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", (ROOT / "README.md").read_text(encoding="utf-8")):
        # `test_crash.py` after `tests/integration/test_load.py` is its neighbour.
        folder = (ROOT / name).parent if "/" in name else folder
        assert (folder / Path(name).name).is_file(), name


def test_contributing_lists_the_rooms_as_the_import_rule_does() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        (rule,) = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| room | its one job |")[2]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", section, re.MULTILINE)
    assert re.findall(r"`([a-z_]+)`", " ".join(rows))[: len(rule["layers"])] == rule["layers"]


def test_the_glossary_is_in_order() -> None:
    words = [word.lower() for word in re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY, re.MULTILINE)]
    assert words == sorted(set(words))


def test_the_glossary_has_every_fate_of_a_file_and_a_record() -> None:
    records = (ROOT / "dbt" / "models" / "ops" / "ops.yml").read_text(encoding="utf-8")
    said = " ".join(re.findall(r'name: status, data_type: varchar, description: "(.+?)"', records)[:2])
    fates = set(re.findall(r"\b[a-z]+\b", re.sub(r"\(.*?\)", "", said))) - {"or", "loaded"}
    assert {"undone", "unclaimed", "discarded"} <= fates
    assert {fate for fate in fates if f"**{fate}" not in GLOSSARY} == set()

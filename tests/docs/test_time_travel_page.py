"""Every command that docs/time-travel.md and its runbooks name is one, with these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from typer.main import get_command

from lakeops.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "docs/time-travel.md",
    "runbooks/accidental-delete.md",
    "runbooks/bad-batch-published.md",
    "runbooks/roll-back.md",
]
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Confirm it is over", "Why it happens"]
# `…` stands for what the reader fills in, [--rebuild] for what may be left out.
COMMAND = re.compile(r"(?:^|`)lakeops ([a-z][^`\n]*?)(?:\s+#.*)?(?:`|$)", re.MULTILINE)


def list_commands() -> list[tuple[str, str]]:
    return [(page, found) for page in PAGES for found in COMMAND.findall((ROOT / page).read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "typed"), list_commands(), ids=lambda text: str(text)[:60])
def test_a_command_is_one(page: str, typed: str) -> None:
    group: click.Command = get_command(app)
    words = shlex.split(typed.replace("[", "").replace("]", ""))
    while hasattr(group, "commands"):
        assert words, f"{page}: {typed} names no command"
        if words[0] not in group.commands:
            pytest.fail(f"{page}: there is no lakeops {typed}")
        group = group.commands[words.pop(0)]
        if not words:
            break
    known = {name for parameter in group.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, f"{page}: {typed}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("runbooks/")])
def test_a_runbook_has_the_six_headings(page: str) -> None:
    assert re.findall(r"^## (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE) == HEADINGS

"""docs/commands.md says what the commands say of themselves, and names every variable the code reads."""

from __future__ import annotations

import re
import subprocess

import pytest
from typer.main import get_command

from lakeops.cli import app
from lakeops.cli.overview import EXIT_CODES, SECTIONS, WIDTH
from lakeops.errors import LakeopsError
from reference.commands import PAGE, ROOT, render_helps, render_page, render_targets

# What the main job tells dbt; nobody sets it.
OURS = {"LAKEOPS_TEST_SCOPE"}


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), "type: make commands"


def test_each_command_has_its_section() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(get_command(app).commands)


def test_help_is_plain_and_nothing_of_it_is_cut() -> None:
    for path, text in render_helps().items():
        assert text.startswith(f"Usage: {' '.join(['lakeops', *path])} "), text
        assert not re.search("[\x1b╭│]", text)
        # Where a word of several values is named, dots stand for more of them.
        assert not re.search(r"[^}\]a-z]\.\.\.|[a-z]\.\.\.$", text, re.MULTILINE), text
        assert max(map(len, text.splitlines())) <= WIDTH, text


@pytest.mark.parametrize("path", [(), ("load",), ("quarantine", "list")], ids=" ".join)
def test_that_is_what_a_terminal_shows(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app([*path, "--help"], prog_name="lakeops", standalone_mode=False)
    assert capsys.readouterr().out == render_helps()[path]


def test_targets_are_those_of_make_help() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split() for line in render_targets().splitlines()] == [line.split() for line in said.splitlines()]


def test_each_exit_code_stands_in_the_help() -> None:
    codes = {one.exit_code for one in list_errors(LakeopsError)}
    assert codes <= {int(code) for code in re.findall(r"\d+", EXIT_CODES)}


def test_each_variable_stands_in_the_page() -> None:
    places = [
        *(ROOT / "scripts").rglob("*.py"),
        *(ROOT / "dbt" / "macros").rglob("*.sql"),
        ROOT / "scripts/schedule/run",
    ]
    places += [ROOT / "dbt" / "profiles.yml", ROOT / "dbt" / "elementary" / "make_report"]
    read = {name for file in places for name in re.findall(r"LAKEOPS_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8"))}
    assert read - OURS == set(re.findall(r"LAKEOPS_[A-Z_]*[A-Z]", PAGE.read_text(encoding="utf-8")))


def list_errors(root: type[LakeopsError]) -> list[type[LakeopsError]]:
    """Return an error and all below it."""
    return [root, *(one for child in root.__subclasses__() for one in list_errors(child))]

"""How a runbook page is written so that a test can execute it, and the executor.

- A page is a play on a small real lake. `<!-- scene: NAME -->` near its top names a function of `scenes.py` that breaks
  something first; a page without one starts on a lake in order.
- A fence tagged `sh` holds commands. Each fence is a bash of its own, in the project's root, as after
  `source .venv/bin/activate`; what it sets or where it goes lasts to its end. A command ends with exit code 0, or with
  the code in a comment behind it: `lakeops load  # exit 11`.
- A fence tagged `text` after it is the stated outcome of that whole fence: its lines must appear in the output, in this
  order. `…` stands for anything, also for nothing; how many blanks there are does not count.
- A fence without a tag is an illustration (an excerpt, YAML): no line of it begins with a command.
- A command in `backticks` is not executed, but must be one that there is, with options that there are.

So the fences of Diagnosis show what the scene broke, those of Mitigation mend it, those of Confirm that it is over.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from lakeops.cli import app

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"\s*(lakeops|make|dbt|duckdb|cd|git|export|sudo|systemctl)\b(?!:)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Enough for a build on a busy machine.
PATIENCE_S = 1200


class PageError(AssertionError):
    """A page says something that is not so."""


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page.

    Parameters
    ----------
    tag : sh, text, or empty.
    line : where it begins in the page, from 1.
    """

    tag: str
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """A runbook.

    Parameters
    ----------
    scene : what to break before it is played; empty for nothing.
    """

    name: str
    text: str
    scene: str
    fences: tuple[Fence, ...]


def read_page(file: Path) -> Page:
    """Return a page with its fences."""
    return parse_page(file.stem, file.read_text(encoding="utf-8"))


def parse_page(name: str, text: str) -> Page:
    """Return a page with its fences.

    Raises
    ------
    PageError : a fence is not closed, has another tag, or is text without commands before it.
    """
    scene = re.search(r"^<!-- scene: (\w+) -->$", text, re.MULTILINE)
    fences, tag, lines, began = [], None, [], 0
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.fullmatch(r"(\s*)```(\w*)\s*", line)
        if not mark:
            lines.append(line)
        elif tag is None:
            indent, tag, lines, began = mark[1], mark[2], [], number
        else:
            fences.append(Fence(tag, "\n".join(row.removeprefix(indent) for row in lines), began))
            tag = None
    if tag is not None:
        raise PageError(f"{name}.md:{began}: this fence is not closed")
    for before, fence in zip([None, *fences], fences, strict=False):
        if fence.tag not in ("", "sh", "text"):
            raise PageError(f"{name}.md:{fence.line}: a fence is tagged sh, text or not at all")
        if fence.tag == "text" and (before is None or before.tag != "sh"):
            raise PageError(f"{name}.md:{fence.line}: an outcome stands after the fence with its commands")
    return Page(name, text, scene[1] if scene else "", tuple(fences))


def find_disguised(page: Page) -> list[str]:
    """Return lines of illustrations that look like commands: those would never be executed."""
    return [
        f"{page.name}.md:{fence.line}: {line.strip()}"
        for fence in page.fences
        if fence.tag == ""
        for line in fence.text.splitlines()
        if COMMAND.match(line)
    ]


def split_commands(text: str) -> list[str]:
    """Return the commands of a fence; one goes on to the next line where bash says that it is not whole."""
    commands: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        if not lines and (not line.strip() or line.lstrip().startswith("#")):
            continue
        lines.append(line)
        whole = subprocess.run(["bash", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
        if line.endswith("\\") or whole.returncode or whole.stderr:
            continue
        commands.append("\n".join(lines))
        lines = []
    return commands + (["\n".join(lines)] if lines else [])


def get_exit_code(command: str) -> int:
    """Return the exit code that a command is said to end with."""
    stated = re.search(r"#\s+exit (\d+)\s*$", command)
    return int(stated[1]) if stated else 0


def play(page: Page, root: Path, notes: Path) -> None:
    """Execute the commands of a page in order, and compare what came of them with what it says.

    Parameters
    ----------
    root : the project in which they are typed.
    notes : a folder to write their output to.

    Raises
    ------
    PageError : a command ended with another exit code, or its output is not what the page states.
    """
    output = ""
    for fence in page.fences:
        if fence.tag == "sh":
            output = _run_fence(page, fence, root, notes)
        elif fence.tag == "text":
            _compare(page, fence, output)


def _run_fence(page: Page, fence: Fence, root: Path, notes: Path) -> str:
    notes.mkdir(parents=True, exist_ok=True)
    commands = split_commands(fence.text)
    script, files = [], []
    for number, command in enumerate(commands):
        out = notes / f"{page.name}-{fence.line}-{number}.out"
        files.append((out, out.with_suffix(".code")))
        said, code = shlex.quote(str(out)), shlex.quote(str(out.with_suffix(".code")))
        script.append(f"{{ {command}\n}} >{said} 2>&1; echo $? >{code}")
    shell = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=root, env=make_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    output = ""
    for command, (out, code) in zip(commands, files, strict=True):
        said = out.read_text(encoding="utf-8", errors="replace") if out.exists() else shell.stderr
        found, stated = int(code.read_text()) if code.exists() else None, get_exit_code(command)
        output += said
        place, shown = f"{page.name}.md:{fence.line}", f"$ {command}\n{said}"
        if found != stated:
            raise PageError(f"{place}: exit code {found}, {stated} is stated\n{shown}")
        if "Traceback (most recent call last)" in said:
            raise PageError(f"{place}: a traceback\n{shown}")
    return output


def make_environment() -> dict[str, str]:
    """Return the environment of somebody who entered the project's environment and set nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONUNBUFFERED": "1",  # stdout and stderr in the order in which a terminal shows them
        "COLUMNS": "200",
        # `git log` on a page must answer on a machine whose git knows nobody.
        "GIT_PAGER": "cat",
    }


def _compare(page: Page, fence: Fence, output: str) -> None:
    said = [_squeeze(line) for line in output.splitlines()]
    place = 0
    for line in filter(None, map(_squeeze, fence.text.splitlines())):
        pattern = re.compile(".*".join(re.escape(piece.strip()) for piece in line.split("…")))
        found = next((at for at in range(place, len(said)) if pattern.fullmatch(said[at])), None)
        if found is None:
            raise PageError(f"{page.name}.md:{fence.line}: this is not said, or not in this order:\n{line}\n\n{output}")
        place = found + 1


def _squeeze(line: str) -> str:
    return " ".join(COLOUR.sub("", line).split())


def find_problem(command: str) -> str:
    """Return why lakeops or make would not know a command; empty if they would, or if it is another program's."""
    if not command.startswith(("lakeops ", "make ")):
        return ""
    words = shlex.split(command.replace("…", "X"))
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return "" if re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE) else f"no target {words[1]}"
    known = _get_command()
    rest = words[1:]
    while hasattr(known, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in known.commands:
            return f"no command {rest[0]}"
        known = known.commands[rest.pop(0)]
    options = {name for parameter in known.params for name in parameter.opts} | {"--help"}
    return next((f"no option {word}" for word in rest if word.startswith("-") and word not in options), "")


@functools.cache
def _get_command() -> object:
    return typer.main.get_command(app)

"""Type the commands of runbooks/operations.md on a fresh lake and write under each what came of it.

People keep the prose and the commands; `make operations-record` keeps the rest, from a real run:

- A fence tagged `sh` holds commands. It is a bash of its own that stops at the first that fails, and ends with 0, or
  with the code in a comment behind its last command: `lakeops load  # exit 11`.
- The fence tagged `text` after it is its outcome: stdout and stderr as a terminal shows them, and the seconds it took.
- Between `<!-- recorded -->` and `<!-- /recorded -->`: when, with what, and the seal of all commands and outcomes. A
  test compares the seal, so neither can be changed by hand.
- Between `<!-- from records/NAME.md -->` and `<!-- /from -->`: a record that was measured elsewhere.

If any command ends otherwise than stated, or an outcome names this machine, the page stays as it was.
"""

from __future__ import annotations

import argparse
import datetime as dt
import getpass
import hashlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from lakeops.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "runbooks" / "operations.md"
LIBRARIES = ("lakeops", "dbt-core", "dbt-duckdb", "duckdb", "deltalake", "polars")
FENCE = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<outcome>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STATED = re.compile(r"#\s+exit (\d+)\s*\Z")
HEADER = re.compile(r"(<!-- recorded -->\n).*?(<!-- /recorded -->)", re.DOTALL)
INSERTED = re.compile(r"(<!-- from (records/[\w-]+\.md) -->\n).*?(<!-- /from -->)", re.DOTALL)
# A folder of some machine; not a URL, a relative path or a fraction.
ABSOLUTE = re.compile(r"(?<![\w.:/~*…-])/[A-Za-z][\w.-]*/[\w.-]+")
# What is longer is cut and says so: lines that begin alike after so many, an outcome in its middle, a line at its end.
ALIKE, LINES, WIDTH = 12, 44, 180


class RecordError(Exception):
    """The page was not written."""


def main() -> None:
    """Record the page, or put only the records in that were measured elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", action="store_true", help="only insert the records measured elsewhere; quick")
    text = PAGE.read_text(encoding="utf-8") if parser.parse_args().tables else record(PAGE)
    write_whole(PAGE, insert_records(text))


def record(page: Path) -> str:
    """Return a page with what came of its commands on a lake of their own.

    Raises
    ------
    RecordError : a command did not end as stated, or its outcome names this machine; or the page's commands were
        changed while they were typed.
    """
    commands = list_commands(page.read_text(encoding="utf-8"))
    outcomes, load, started = [], 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lakeops-operations-") as folder:
        project = make_project(Path(os.path.realpath(folder)))
        for number, typed in enumerate(commands, 1):
            print(f"{number} of {len(commands)}: {typed.splitlines()[0]}", file=sys.stderr, flush=True)
            outcomes.append(type_commands(typed, project))
            load = max(load, os.getloadavg()[0])
    # Read again: somebody may have worked on the prose meanwhile.
    text = page.read_text(encoding="utf-8")
    if list_commands(text) != commands:
        raise RecordError(f"the commands of {page.name} were changed while they were typed; it was not written")
    blocks = iter(
        f"```sh\n{typed}```\n\n```text\n{outcome}```\n" for typed, outcome in zip(commands, outcomes, strict=True)
    )
    text = FENCE.sub(lambda _: next(blocks), text)
    return HEADER.sub(lambda found: found[1] + describe_run(text, time.monotonic() - started, load) + found[2], text)


def list_commands(text: str) -> list[str]:
    """Return the commands of a page's fences, in order."""
    return [fence["commands"] for fence in FENCE.finditer(text)]


def make_project(folder: Path) -> Path:
    """Return a project with our contracts and models, and without a lake."""
    project = folder / "project"
    ignored = shutil.ignore_patterns("target", "logs", "elementary", ".user.yml")
    shutil.copytree(ROOT / "dbt", project / "dbt", ignore=ignored)
    for name in ("data_raw", "duckdb"):
        (project / name).mkdir()
    return project


def type_commands(commands: str, project: Path) -> str:
    """Return what the commands of a fence said, and how long they took.

    Raises
    ------
    RecordError : they did not end as stated, or named this machine.
    """
    started = time.monotonic()
    shell = subprocess.run(
        ["bash", "-ec", commands], cwd=project, env=make_environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    said = COLOUR.sub("", shell.stdout).replace(f"{project}/", "").replace(str(project), ".")
    stated = STATED.search(commands)
    if shell.returncode != (int(stated[1]) if stated else 0) or "Traceback (most recent call last)" in said:
        raise RecordError(f"$ {commands}{said}exit code {shell.returncode}; {PAGE.name} was not written")
    if problem := find_machine(said):
        raise RecordError(f"$ {commands}{said}names this machine: {problem}; {PAGE.name} was not written")
    code = f"exit code {shell.returncode}, " if shell.returncode else ""
    return "\n".join([*shorten(said.splitlines()), f"[{code}{seconds:.1f} s]"]) + "\n"


def make_environment() -> dict[str, str]:
    """Return the environment of an operator who entered the project's environment and set nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONUNBUFFERED": "1",  # stdout and stderr in the order in which a terminal shows them
        "COLUMNS": str(WIDTH),
        "NO_COLOR": "1",
        # Who did it stands in records; whoever records the page is not the reader's business.
        "LOGNAME": "operator",
        "USER": "operator",
    }


def find_machine(said: str) -> str:
    """Return what in a text belongs to this machine or its user; empty if nothing does."""
    if found := ABSOLUTE.search(said):
        return found[0]
    own = {getpass.getuser(), socket.gethostname()} - {"root", "operator", "localhost"}
    return next((name for name in own if re.search(rf"\b{re.escape(name)}\b", said)), "")


def shorten(lines: list[str]) -> list[str]:
    """Return lines that a page can hold; what was left out is said."""
    kept = []
    for _, group in groupby(lines, key=lambda line: line.split()[:1]):
        alike = list(group)
        kept += alike[:ALIKE]
        if len(alike) > ALIKE:
            kept.append(f"… {len(alike) - ALIKE} more like these …")
    if len(kept) > LINES:
        half = LINES // 2
        kept = [*kept[:half], f"… {len(kept) - 2 * half} more lines …", *kept[-half:]]
    kept = [line.rstrip() for line in kept]
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 1].rstrip()}…" for line in kept]


def describe_run(text: str, seconds: float, load: float) -> str:
    """Return when and with what the page was recorded, and its seal."""
    with_what = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Recorded by `make operations-record` on {dt.datetime.now(dt.UTC):%Y-%m-%d at %H:%M} UTC, in one run of"
        f" {seconds / 60:.0f} minutes: {with_what}, Python {platform.python_version()}; {os.cpu_count()} cores, load"
        f" average up to {load:.0f}.\nSeal of commands and outcomes: `{seal(text)}`\n"
    )


def seal(text: str) -> str:
    """Return the hash of a page's commands and their outcomes, in order."""
    recorded = "\0".join(f"{fence['commands']}\0{fence['outcome']}" for fence in FENCE.finditer(text))
    return hashlib.sha256(recorded.encode()).hexdigest()[:32]


def insert_records(text: str) -> str:
    """Return the page with the records that were measured elsewhere as they are now."""
    return INSERTED.sub(lambda found: found[1] + summarise(PAGE.parent / found[2]) + found[3], text)


def summarise(record_page: Path) -> str:
    """Return a record without its title and its details: how it was measured, and its tables."""
    text = record_page.read_text(encoding="utf-8")
    return re.sub(r"\A# .*\n+", "", text).partition("\n## ")[0].strip() + "\n"


if __name__ == "__main__":
    try:
        main()
    except RecordError as problem:
        sys.exit(str(problem))

"""Write docs/commands.md anew: `make commands`. Every command and every target, as they explain themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from lakeops.cli import app
from lakeops.cli.overview import SECTIONS, WIDTH

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "commands.md"

HEAD = """\
# Commands

What `lakeops` and `make` say of themselves. `make commands` writes this page, and a test compares the two.
What each is for, in more words: [quality](quality.md) · [alerts](alerts.md) · [time travel](time-travel.md) ·
[upkeep](upkeep.md) · [recovery](recovery.md) · [contracts](contracts.md) · [generator](generator.md).

stdout is data, stderr is talk: `lakeops status --json > status.json` holds JSON and nothing else. A problem that a
person can mend is one message (what, where, expected, found, next step) and an exit code of its own.

## Environment
A flag beats the environment, and the environment the default. Relative paths are relative to the current folder,
defaults to the project. `lakeops` has no `--target`; dbt's own should be left alone, for `LAKEOPS_TARGET` sets both.

| variable | what it is | without it |
|---|---|---|
| `LAKEOPS_ROOT` | the project | found from the current folder upwards, else the clone it is installed from |
| `LAKEOPS_RAW` | the landing zone | `data_raw` |
| `LAKEOPS_LAKE`, `LAKEOPS_WAREHOUSE` | the lake, the DuckDB file | those of the [target](../runbooks/environments.md) |
| `LAKEOPS_TARGET` | `dev`, `staging` or `prod` | `dev` |
| `LAKEOPS_MASK_SALT` | salt of masked personal data: [rotate](../runbooks/rotate-the-salt.md) | only `dev` builds |
| `LAKEOPS_ALERT_WEBHOOK` | address that alerts are posted to: [alerts](alerts.md) | they are in the lake only |
| `LAKEOPS_MEMORY` | what DuckDB holds before it spills to disk: [performance](../runbooks/performance.md) | `600MB` |
| `LAKEOPS_SAMPLE_FILES` | in `dev`, look at so many files of each table only | all |
| `LAKEOPS_DEFER_TO` | DuckDB file that `dbt run --defer` takes the rest from: [models](models.md#ways-to-run) | |
| `LAKEOPS_BACKUP_DIR` | for the weekly job's backups: [scheduled runs](../runbooks/scheduled-runs.md) | no backup |
| `LAKEOPS_LOGS`, `LAKEOPS_RETRY_SECONDS` | the jobs' logs (`-`: stdout), pause before a retry | `logs/`, 300 |
| `LAKEOPS_DBT_PACKAGES` | for `make elementary`: [decision 25](decisions/0025-elementary-beside-us.md) | dbt's hub |
"""


def render_page() -> str:
    """Return the text of docs/commands.md."""
    helps = render_helps()
    parts = [HEAD, "## make", _fence(render_targets()), "## lakeops", _fence(helps[()])]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for path, text in helps.items():
            if path and path[0] in names:
                parts += [f"### lakeops {' '.join(path)}", _fence(text)]
    return "\n".join(parts)


def render_helps() -> dict[tuple[str, ...], str]:
    """Return what each `lakeops … --help` prints on a wide terminal, by the words behind `lakeops`."""
    root = get_command(app)
    order = [name for names in SECTIONS.values() for name in names]
    paths = [(), *(path for name in order for path in _walk((name,), root.commands[name]))]
    return {path: _render_help(root, path) for path in paths}


def _render_help(root: TyperGroup, path: tuple[str, ...]) -> str:
    # Two columns stay free, as at a terminal of that width.
    context = Context(root, info_name="lakeops", terminal_width=WIDTH - 2)
    for name in path:
        context = Context(context.command.commands[name], info_name=name, parent=context)
    return context.get_help() + "\n"


def render_targets() -> str:
    """Return what `make help` prints."""
    targets = re.findall(r"^([a-z-]+):.*?## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return "".join(f"make {name:<14} {text}\n" for name, text in targets)


def _walk(path: tuple[str, ...], command: object) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk((*path, name), below)


def _fence(text: str) -> str:
    return f"```\n{text.strip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")

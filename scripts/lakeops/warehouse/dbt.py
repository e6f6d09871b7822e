"""Run dbt in this process: its start-up, three seconds, is paid once for build and tests together."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lakeops.console import say
from lakeops.errors import DbtError
from lakeops.settings import Settings
from lakeops.warehouse.connection import find_lock_holder, make_locked_error


@dataclass
class DbtOutcome:
    """What a dbt command did.

    Parameters
    ----------
    counts : nodes by status: success, pass, warn, fail, error, skipped.
    problems : (status, name of the node, table it looks at, message, relation of stored failures).
    seconds : wall time.
    """

    command: str
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Tell whether a model did not build, or a test of severity error failed."""
        return any(self.counts.get(status) for status in ("fail", "error"))


def run_dbt(settings: Settings, *commands: tuple[str, ...], test_scope: str = "all") -> Iterator[DbtOutcome]:
    """Run dbt commands on the project, one after the other; the project is parsed once for all.

    Parameters
    ----------
    settings : names the project, the warehouse and the lake; dbt gets them as absolute paths.
    commands : each a command and its flags, as typed after `dbt`.
    test_scope : `all`, or `new`: generic tests read only what is new since they last held (dbt/macros/test_scope.sql).

    Yields
    ------
    What each command did, before the next one begins.

    Raises
    ------
    DbtError : dbt could not start or parse the project. Failing models and tests are not raised, but yielded.
    LockedError : another process holds the warehouse.
    KeyboardInterrupt : somebody pressed Ctrl-C.
    """
    os.environ["LAKEOPS_LAKE"] = str(settings.lake.folder)
    os.environ["LAKEOPS_ROOT"] = str(settings.root)
    os.environ["LAKEOPS_TARGET"] = settings.target
    os.environ["LAKEOPS_TEST_SCOPE"] = test_scope
    # Ours is LAKEOPS_TARGET.
    os.environ.pop("DBT_TARGET", None)
    started = time.monotonic()
    parsed = _invoke(settings, ("parse", "--no-write-json"), None)
    for command in commands:
        result = _invoke(settings, command, parsed.result)
        yield _describe_outcome(command[0], result, time.monotonic() - started)
        started = time.monotonic()


def _invoke(settings: Settings, command: tuple[str, ...], manifest: Any) -> Any:
    from dbt.cli.main import dbtRunner

    project = str(settings.dbt_project)
    # dbt writes to stdout; there is nothing of ours to keep there, so it is left to what dbt must say in a crash.
    with _stand_in(settings), contextlib.redirect_stdout(_Talk()):
        result = dbtRunner(manifest=manifest).invoke(
            [
                *command,
                *("--project-dir", project, "--profiles-dir", project),
                *("--log-path", str(settings.dbt_project / "logs"), "--quiet"),
                "--use-colors" if sys.stderr.isatty() else "--no-use-colors",
            ]
        )
    # dbt hands over whatever ended it, and Ctrl-C is no failure of a model: it ends us, too.
    if isinstance(result.exception, KeyboardInterrupt | SystemExit):
        raise result.exception
    if result.exception is not None and not getattr(result.result, "results", None):
        if holder := find_lock_holder(str(result.exception)):
            raise make_locked_error(settings.warehouse, *holder)
        raise DbtError(
            f"dbt {command[0]} could not run.",
            where=project,
            found=str(result.exception).strip()[:1000],
            next_step=f"see {Path(project) / 'logs' / 'dbt.log'}; try it by hand: cd dbt && dbt {' '.join(command)}",
        )
    return result


@contextlib.contextmanager
def _stand_in(settings: Settings) -> Iterator[None]:
    """Stand in the project's folder, and name warehouse and target as one does who types `dbt` there.

    dbt parses the whole project anew, six seconds, wherever the last run named them in other words.
    """
    warehouse = str(settings.warehouse)
    is_ours = settings.warehouse.is_relative_to(settings.root)
    with contextlib.chdir(settings.dbt_project):
        os.environ["LAKEOPS_WAREHOUSE"] = os.path.relpath(warehouse, settings.dbt_project) if is_ours else warehouse
        try:
            yield
        finally:
            os.environ["LAKEOPS_WAREHOUSE"] = warehouse


def _describe_outcome(command: str, result: Any, seconds: float) -> DbtOutcome:
    outcome = DbtOutcome(command, seconds=seconds)
    for entry in getattr(result.result, "results", None) or []:
        status = str(entry.status)
        if entry.node.resource_type == "operation" and status == "success":
            continue  # a hook that did its work is nothing to count
        outcome.counts[status] = outcome.counts.get(status, 0) + 1
        if status in ("fail", "error", "warn"):
            outcome.problems.append(_describe(entry, status))
    return outcome


def _describe(entry: Any, status: str) -> tuple[str, str, str, str, str]:
    node = entry.node
    # A test on a source has no attached node; what it reads stands among its dependencies, and of a relationship the
    # table it refers to stands before it. A model is its own table.
    depends_on = node.depends_on.nodes if node.resource_type == "test" else []
    sources = [name for name in depends_on if name.startswith("source.")] if hasattr(node, "test_metadata") else []
    looks_at = getattr(node, "attached_node", None) or (sources[-1:] or depends_on[:1] or [node.unique_id])[0]
    stored = (getattr(node, "relation_name", None) or "") if status != "error" else ""
    return status, node.name, looks_at.split(".", 2)[-1], (entry.message or "").strip(), stored.replace('"', "")


class _Talk:
    """A stream that sends to stderr what a library prints to stdout."""

    def write(self, text: str) -> int:
        if text.strip():
            say(text.rstrip("\n"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: stderr is not buffered by us."""

"""One drill: plant the disaster, see that it is noticed, mend it, and compare with what should be there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lakeops.drill.stage import Stage, State

_STATED = re.compile(r"^LOST: ([\d,]+) row", re.MULTILINE)


class DrillSkipped(Exception):  # noqa: N818
    """This machine does not let the disaster be planted; the text says why."""


@dataclass(frozen=True)
class Drill:
    """A disaster, and the way out of it.

    Parameters
    ----------
    name, disaster : what it is called, and what happens.
    plant : makes it happen; may return the exit code of a command that it killed.
    detect : the command that notices, as typed; empty if the planted command's own exit code does.
    exit_code : of the command that notices.
    mend : commands of the runbook, as typed; `DIR` is the backup's folder.
    runbook : the page they stand on.
    next_day : the state to arrive at is that of a day more.
    loses : tables that may hold fewer rows afterwards, exactly as many fewer as the commands say.
    clean_up : undoes what a reset of the project would not.
    """

    name: str
    disaster: str
    plant: Callable[[Stage], int | None]
    detect: str
    exit_code: int
    mend: tuple[str, ...]
    runbook: str
    next_day: bool = False
    loses: tuple[str, ...] = ()
    clean_up: Callable[[Stage], None] = lambda _: None


@dataclass
class Result:
    """What a drill came to.

    Parameters
    ----------
    detected_by : the command and its exit code.
    seconds : from the first command that mends to the end of the last.
    rows_lost : as the commands said, and as was counted.
    problems : why the drill did not go as it should; empty if it did.
    skipped : why it could not be done here; empty if it was.
    """

    drill: Drill
    detected_by: str = ""
    seconds: float = 0.0
    rows_lost: int = 0
    problems: list[str] = field(default_factory=list)
    skipped: str = ""


def run_drill(stage: Stage, drill: Drill) -> Result:
    """Rehearse one disaster on a fresh copy of the stage's lake."""
    result = Result(drill)
    stage.reset()
    try:
        status = drill.plant(stage)
        if drill.detect:
            done = stage.run(drill.detect)
            status = done.returncode
            if status != drill.exit_code:
                result.problems.append(f"{drill.detect}: exit code {status}, not {drill.exit_code}\n{done.stderr}")
        elif status != drill.exit_code:
            result.problems.append(f"exit code {status}, not {drill.exit_code}")
        result.detected_by = f"{drill.detect or 'the command itself'}: exit code {status}"
        stated = _mend(stage, drill, result)
        if not result.problems:
            _compare(stage.next_day if drill.next_day else stage.before, stage.describe(), drill, stated, result)
    except DrillSkipped as reason:
        result.skipped = str(reason)
    finally:
        drill.clean_up(stage)
    return result


def _mend(stage: Stage, drill: Drill, result: Result) -> int:
    """Type the commands of the runbook; returns how many rows they said are lost."""
    started, stated = time.monotonic(), 0
    for command in drill.mend:
        done = stage.run(command.replace("DIR", str(stage.backup)))
        stated += sum(int(rows.replace(",", "")) for rows in _STATED.findall(done.stderr))
        if done.returncode:
            result.problems.append(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
            break
    result.seconds = time.monotonic() - started
    if not result.problems and (done := stage.run("lakeops doctor --deep")).returncode:
        result.problems.append(f"afterwards, something is still wrong:\n{done.stdout}\n{done.stderr}")
    return stated


def _compare(expected: State, found: State, drill: Drill, stated: int, result: Result) -> None:
    for name in sorted(expected.keys() | found.keys()):
        (rows, checksum), (rows_now, checksum_now) = expected.get(name, (0, 0)), found.get(name, (0, 0))
        if name in drill.loses:
            result.rows_lost += (rows - rows_now) * (name == drill.loses[0])
        elif (rows, checksum) != (rows_now, checksum_now):
            result.problems.append(f"{name}: {rows:,} rows before, {rows_now:,} now, or others")
    if result.rows_lost != stated:
        result.problems.append(f"{stated:,} rows were said to be lost, {result.rows_lost:,} are")

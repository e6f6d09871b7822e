"""Sum up Delta logs, and let go of what is older than anybody may ask for.

Nothing but this trims a log. Commits of bronze are the proof of what was loaded, and are kept as long as test results.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakeops.console import say
from lakeops.contract import Contracts
from lakeops.delta import get_parts, make_commit_error, open_table
from lakeops.ledger import Ledger
from lakeops.maintenance import Operation
from lakeops.settings import Settings
from lakeops.upkeep.log import Log, read_log
from lakeops.upkeep.record import keep_record
from lakeops.upkeep.tables import Table

# Every commit since the last checkpoint costs every reader about half a millisecond.
DUE_COMMITS = 32
# Delta's own default, for who asks what happened to a table; where a commit proves a load, a year and a month.
LOG_DAYS = 30
PROOF_DAYS = 400
# A commit that died half-way leaves its file under such a name.
_LEFTOVER = re.compile(r"_commit_.*\.json\.tmp|.*\.tmp")
_NUMBERED = re.compile(r"(\d{20})\..+")


@dataclass(frozen=True)
class LogPlan:
    """What is due on one table's log.

    Parameters
    ----------
    commits : commits since the last checkpoint.
    checkpoint : they are to be summed up.
    trim_before : the log is to begin with this version's checkpoint; None if nothing is to go.
    files, bytes : files of the log that go with it.
    """

    table: Table
    commits: int
    checkpoint: bool
    trim_before: int | None
    files: tuple[str, ...]
    bytes: int


def plan_log(table: Table, pins: set[int], ledger: Ledger, now: dt.datetime) -> LogPlan:
    """Return what is due on a table's log.

    Parameters
    ----------
    pins : versions that must stay readable.
    ledger : knows up to which version the commits were taken in; later ones are never trimmed.
    """
    log = read_log(table.path)
    newest = max((version for version in log.checkpoints if version <= log.last), default=-1)
    commits = log.last - newest
    begin = _find_begin(table, log, pins, ledger, now)
    files = _list_old_files(table, begin, now)
    return LogPlan(
        table,
        commits,
        commits >= DUE_COMMITS,
        begin,
        tuple(name for name, _ in files),
        sum(size for _, size in files),
    )


def _find_begin(table: Table, log: Log, pins: set[int], ledger: Ledger, now: dt.datetime) -> int | None:
    """Return the newest checkpoint before which nothing is needed."""
    hours = max(table.retention_hours, 24 * (PROOF_DAYS if table.proof_of else LOG_DAYS))
    bounds = [log.find_version_at(now - dt.timedelta(hours=hours)), *pins]
    if table.proof_of:
        # Healing reads what came after the last commit that the ledger knows.
        bounds.append(ledger.versions.get(table.proof_of, 0))
    old = [version for version in log.checkpoints if log.first < version <= min(bounds)]
    return max(old, default=None)


def _list_old_files(table: Table, begin: int | None, now: dt.datetime) -> list[tuple[str, int]]:
    dead = now.timestamp() - 24 * 3600
    found = []
    for file in sorted((table.path / "_delta_log").iterdir()):
        numbered = _NUMBERED.fullmatch(file.name)
        is_old = begin is not None and numbered is not None and int(numbered[1]) < begin
        is_leftover = _LEFTOVER.fullmatch(file.name) is not None and file.stat().st_mtime < dead
        if is_old or is_leftover:
            found.append((file.name, file.stat().st_size))
    return found


def run_log(settings: Settings, contracts: Contracts, plan: LogPlan) -> list[Operation]:
    """Carry out a plan, under the lake's lock; returns what was written to `maintenance_history`.

    A log of which the checkpoint is damaged is left as it is: what would go is all that is left of it.

    Raises
    ------
    BronzeCommitError : the log cannot be read or written; what is there is still right.
    """
    done = []
    folder = plan.table.path / "_delta_log"
    if plan.checkpoint:
        started = time.monotonic()
        handle = open_table(plan.table.path)
        try:
            handle.create_checkpoint()
        except (DeltaError, OSError) as error:
            raise make_commit_error(folder, error) from error
        version = handle.version()
        done.append(
            Operation(
                "checkpoint",
                table_name=plan.table.name,
                version_before=version,
                version_after=version,
                details={"commits": plan.commits},
                seconds=time.monotonic() - started,
            )
        )
    if plan.files and _can_begin(plan):
        started = time.monotonic()
        sizes = [file.stat().st_size for file in folder.iterdir()]
        # Oldest first: killed half-way, what is left is one log without a gap.
        for name in plan.files:
            (folder / name).unlink(missing_ok=True)
        done.append(
            Operation(
                "clean_log",
                table_name=plan.table.name,
                files_before=len(sizes),
                files_after=len(sizes) - len(plan.files),
                bytes_before=sum(sizes),
                bytes_after=sum(sizes) - plan.bytes,
                details={"begins_with": plan.trim_before},
                seconds=time.monotonic() - started,
            )
        )
    for operation in done:
        keep_record(settings, contracts, operation, plan.table.path)
    return done


def _can_begin(plan: LogPlan) -> bool:
    """Tell whether a log can begin where it is to, by reading a copy that does; say so if it cannot."""
    begin = plan.trim_before
    if begin is None:  # only leftovers are to go
        return True
    expected = {life.path for life in read_log(plan.table.path).lives if life.covers(begin)}
    try:
        # Beside the log, on the lake's disk; vacuum takes it for left over, should it stay.
        with tempfile.TemporaryDirectory(prefix=".log-", dir=plan.table.path) as folder:
            copy = Path(folder) / "_delta_log"
            copy.mkdir()
            for file in (plan.table.path / "_delta_log").glob(f"{begin:020d}.*"):
                shutil.copyfile(file, copy / file.name)
            found = set(get_parts(DeltaTable(folder, version=begin))["path"])
            fault = "" if found == expected else "it names other data files than the log does"
    except (DeltaError, OSError) as error:
        fault = " ".join(str(error).split())[:200]
    if fault:
        say(f"warning: the log of {plan.table.name} is not trimmed: its checkpoint {begin} cannot be used: {fault}")
    return not fault

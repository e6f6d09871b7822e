"""Take back one load: its rows leave bronze in a commit of their own, and its files wait until they are asked for.

A commit as any other: touched keys before it, the proof in it, the ledger after it. So a process that is killed leaves
nothing that the next run does not mend, and the incremental models follow.
"""

from __future__ import annotations

import datetime as dt
import difflib
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lakeops.bronze import get_next_batch
from lakeops.bronze.parts import take_out_files
from lakeops.bronze.tables import get_truth
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import count_change, open_table, scan_table
from lakeops.errors import UsageError
from lakeops.lakehouse import open_lake
from lakeops.ledger import Entry, Ledger, load_ledger, read_entries
from lakeops.maintenance import Operation, check_reason, record_operations
from lakeops.paths import Lake, make_file_identity
from lakeops.recovery.commit import Mending, Moment, commit_mending, make_restored, make_undone
from lakeops.settings import Settings

_FILES = "from manifest_processed_files"


@dataclass(frozen=True)
class Undone:
    """What an undo did to one table, or would do.

    Parameters
    ----------
    table : schema.table.
    files : raw files whose rows leave.
    rows : how many rows leave the table (of its changes, where it keeps them).
    is_replay : only records that were replayed from quarantine leave; they are open again.
    batch_id, version : of the commit; None in a dry run.
    """

    table: str
    files: tuple[str, ...]
    rows: int
    is_replay: bool = False
    batch_id: int | None = None
    version: int | None = None


def run_undo(
    settings: Settings, *, batch: int | None = None, file: str | None = None, reason: str = "", dry_run: bool = False
) -> list[Undone]:
    """Take the rows of one load out of bronze.

    Parameters
    ----------
    batch : the load to take back, as a batch; or
    file : as a raw file, named as the ledger does or by its path. One of the two.
    reason : why; kept with the account and the time. A dry run needs none.
    dry_run : change nothing.

    Returns
    -------
    What was done, table by table.

    Raises
    ------
    UsageError : nothing of that load is in bronze, or it is not known.
    BronzeCommitError : a commit did not happen; the same command again goes on there.
    """
    if (batch is None) == (file is None):
        raise UsageError(
            "What to undo is not clear.",
            expected="either --batch or --file",
            found="neither" if batch is None else "both",
            next_step=f"lakeops history TABLE shows batches; files: {settings.ask(_FILES)}",
        )
    if dry_run:
        contracts, ledger = load_contracts(settings.models), load_ledger(settings.lake)
        chosen = _choose(settings, ledger, batch, file)
        return [_undo_table(settings.lake, contracts, ledger, own, "", None) for own in _group(contracts, chosen)]
    reason = check_reason(reason)
    with open_lake(settings) as (contracts, ledger):
        chosen = _choose(settings, ledger, batch, file)
        moment = Moment(get_next_batch(settings.lake, contracts), _now())
        done = []
        for own in _group(contracts, chosen):
            started = time.monotonic()
            before = open_table(get_truth(settings.lake, own.contract)).version()
            undone = _undo_table(settings.lake, contracts, ledger, own, reason, moment)
            details = {"files": list(undone.files[:100]), "file_count": len(undone.files), "undone_batch": batch}
            operation = Operation(
                "undo",
                undone.table,
                reason,
                batch_id=undone.batch_id,
                version_before=before,
                version_after=undone.version,
                rows_removed=undone.rows,
                details=details,
                seconds=round(time.monotonic() - started, 3),
            )
            record_operations(settings.lake, contracts, [operation], _now())
            done.append(undone)
        return done


@dataclass(frozen=True)
class _Own:
    """What is to leave one table: whole files, or only what a replay brought of one."""

    contract: Contract
    entries: list[Entry]
    replay: int | None = None


def _choose(settings: Settings, ledger: Ledger, batch: int | None, file: str | None) -> list[tuple[Entry, int | None]]:
    if file is not None:
        entry = ledger.get_live(file) or ledger.get_live(make_file_identity(Path(file).absolute(), settings.root))
        if entry is None:
            raise _explain_file(settings, ledger, file)
        return [(entry, None)]
    live = ledger.iter_live()
    loads = [(entry, None) for entry in live if entry.rows_batch == batch]
    replays = [(entry, batch) for entry in live if batch in ledger.get_replays(entry.source_file)]
    if not loads and not replays:
        raise _explain_batch(settings, ledger, batch)
    return loads + replays


def _explain_file(settings: Settings, ledger: Ledger, file: str) -> UsageError:
    last = ledger.latest.get(file) or ledger.latest.get(make_file_identity(Path(file).absolute(), settings.root))
    if last:
        return UsageError(
            "No row of this file is in bronze.",
            where=last.source_file,
            found=f"{last.status}: {last.reason}" if last.reason else last.status,
            next_step=f"lakeops load --reload {last.source_file} --reason … loads it again"
            if last.status == "undone"
            else f"what came of each file: {settings.ask(_FILES)}",
        )
    live = [entry.source_file for entry in ledger.iter_live()]
    return UsageError(
        "The ledger does not know this file.",
        where=file,
        expected=", ".join(difflib.get_close_matches(file, live, 3, 0.3)) or "a file as the ledger names it",
        next_step=settings.ask(_FILES),
    )


def _explain_batch(settings: Settings, ledger: Ledger, batch: int) -> UsageError:
    entries = [entry for entry in read_entries(settings.lake) if batch in (entry.batch_id, entry.rows_batch_id)]
    if not entries:
        known = sorted({entry.rows_batch for entry in ledger.iter_live()})
        return UsageError(
            f"There is no batch {batch}.",
            expected=f"one of {', '.join(map(str, known[-10:]))}" if known else "nothing is loaded",
            next_step="lakeops history TABLE shows the batches of a table",
        )
    ends = sorted({f"{e.source_file}: {last.status}" for e in entries if (last := ledger.latest.get(e.source_file))})
    return UsageError(
        f"No row of batch {batch} is in bronze.",
        found="; ".join(ends[:5]) or "only rows taken out",
        expected="a batch whose files were neither restated nor undone since",
        next_step="lakeops history TABLE",
    )


def _group(contracts: Contracts, chosen: list[tuple[Entry, int | None]]) -> list[_Own]:
    groups: dict[tuple[str | None, int | None], list[Entry]] = {}
    for entry, replay in chosen:
        groups.setdefault((entry.table_name, replay), []).append(entry)
    return [
        _Own(contracts.get_table(table), entries, replay)
        for (table, replay), entries in sorted(groups.items(), key=lambda group: str(group[0]))
    ]


def _undo_table(
    lake: Lake, contracts: Contracts, ledger: Ledger, own: _Own, reason: str, moment: Moment | None
) -> Undone:
    """Take rows out of one table; without a moment, only say which."""
    contract, key = own.contract, own.contract.load.key
    table = open_table(get_truth(lake, contract))
    files = sorted(entry.source_file for entry in own.entries)
    if moment is None:
        leaving = pl.col("_source_file").is_in(files)
        if own.replay is not None:
            leaving &= pl.col("_batch_id") == own.replay
        rows = scan_table(table).filter(leaving).select(pl.len()).collect().item()
        return Undone(contract.name, tuple(files), rows, own.replay is not None)
    adds, removes, left = take_out_files(table, files, key, own.replay)
    rows = -count_change(table, adds, removes)
    entries = []
    for entry in own.entries:
        if own.replay is None:
            entries.append(make_undone(ledger, entry, moment, f"undone: {reason}"))
            continue
        others = ledger.get_replays(entry.source_file)
        others.pop(own.replay)
        entries += make_restored(entry, others, moment, f"replay of batch {own.replay} undone: {reason}")
    mending = Mending(contract, table, adds, removes, left, entries)
    version = commit_mending(lake, contracts, ledger, mending, moment, {"undone": reason})
    return Undone(contract.name, tuple(files), rows, own.replay is not None, moment.batch_id, version)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

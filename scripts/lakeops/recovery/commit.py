"""Commit what was mended by hand as a batch of its own, which the ledger and the incremental models can follow."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from lakeops.bronze.current import append_touched_keys, refresh_current
from lakeops.contract import Contract, Contracts
from lakeops.delta import commit
from lakeops.ledger import NAME, Entry, Ledger, append_entries
from lakeops.paths import Lake
from lakeops.settings import get_account


@dataclass(frozen=True)
class Moment:
    """The batch in which something is mended, and when that is."""

    batch_id: int
    now: dt.datetime

    @property
    def run_id(self) -> str:
        """Return the name of the run that mends."""
        return f"{self.now:%Y%m%dT%H%M%S}-{os.getpid()}"


@dataclass(frozen=True)
class Mending:
    """What is to change in the truth of one table.

    Parameters
    ----------
    table : the handle on which its state was looked at.
    adds, removes : data files that join and leave it.
    keys : keys of all rows that join or leave.
    entries : what the ledger will say.
    """

    contract: Contract
    table: DeltaTable
    adds: list[AddAction]
    removes: list[RemoveAction]
    keys: pl.DataFrame
    entries: list[Entry]


def commit_mending(
    lake: Lake, contracts: Contracts, ledger: Ledger, mending: Mending, moment: Moment, words: dict[str, Any]
) -> int:
    """Commit what was mended, and bring all that follows from it up to date.

    The order is that of a load: touched keys, then the commit with its proof, the derived table, the ledger.

    Parameters
    ----------
    words : what stands in the commit besides; its first name (undone or restored) is why the keys are touched.

    Returns
    -------
    The version written.

    Raises
    ------
    BronzeCommitError : the commit did not happen.
    """
    contract = mending.contract
    append_touched_keys(lake, contracts, contract, mending.keys, moment.batch_id, next(iter(words)))
    proof = {"batch_id": moment.batch_id, "run_id": moment.run_id, **words, "done_by": get_account()}
    proof["entries"] = [entry._asdict() for entry in mending.entries]
    version = commit(mending.table, mending.adds, mending.removes, moment.batch_id, proof)
    if contract.load.keeps_changes:
        refresh_current(lake, contracts, contract, mending.keys, moment.batch_id, moment.run_id)
    entries = [entry._replace(bronze_version=version) for entry in mending.entries]
    append_entries(lake, contracts.get_record(NAME), entries, moment.batch_id)
    for entry in entries:
        ledger.add(entry)
    return version


def make_undone(ledger: Ledger, live: Entry, moment: Moment, reason: str) -> Entry:
    """Return the entry that says that the rows of a file left by hand, and that its bytes are to wait."""
    last = ledger.latest.get(live.source_file, live)
    # A file that was touched since has another time, and the same bytes.
    seen = last if last.file_sha256 == live.file_sha256 else live
    return live._replace(
        status="undone",
        size_bytes=seen.size_bytes,
        mtime_ns=seen.mtime_ns,
        ctime_ns=seen.ctime_ns,
        batch_id=moment.batch_id,
        rows_batch_id=live.rows_batch,
        run_id=moment.run_id,
        reason=reason,
        recorded_at=moment.now,
        seconds=None,
    )


def make_restored(live: Entry, replays: dict[int | None, int], moment: Moment, reason: str) -> list[Entry]:
    """Return the entries that say which rows of a file are in bronze from now on. They are as fresh as when they came.

    Parameters
    ----------
    live : the load whose rows they are.
    replays : how many records were replayed from its quarantine, by batch.
    """
    restored = live._replace(
        status="restored",
        batch_id=moment.batch_id,
        rows_batch_id=live.rows_batch,
        run_id=moment.run_id,
        reason=reason,
        seconds=None,
    )
    return [
        restored,
        *(
            restored._replace(
                status="replayed",
                rows_batch_id=batch,
                rows_read=rows,
                rows_accepted=rows,
                rows_quarantined=0,
            )
            for batch, rows in replays.items()
        ),
    ]

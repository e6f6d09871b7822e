"""Empty the quarantine: commit records that are good by now, or say that they will never be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lakeops.bronze.current import append_touched_keys, refresh_current
from lakeops.bronze.examine import examine_file
from lakeops.bronze.plan import Step
from lakeops.bronze.schema import record_schema_changes
from lakeops.bronze.tables import get_current, get_extra_columns, get_truth
from lakeops.contract import Contract, Contracts
from lakeops.delta import append, commit, ensure_table, get_folder, open_table, read_frame, write_part
from lakeops.ledger import NAME, Entry, Ledger, append_entries, make_frame
from lakeops.paths import Lake
from lakeops.raw import compute_fingerprint, make_landing
from lakeops.settings import get_account

RESOLUTIONS = "quarantine_resolutions"


@dataclass(frozen=True)
class Replay:
    """What a replay did with the open records of one file; `problem` says why it could not look at them."""

    table: str
    source_file: str
    replayed: int
    still_open: int
    problem: str = ""


def list_open(lake: Lake, contracts: Contracts, ledger: Ledger, table: str | None, file: str | None) -> pl.DataFrame:
    """Return the open records of the quarantine.

    Parameters
    ----------
    table, file : only those of a contract or a raw file; None for all.
    """
    resolved = read_frame(open_table(lake.ops(RESOLUTIONS)))
    frames = []
    for contract in contracts.tables:
        if table is None or table in (contract.table, contract.name):
            frames.append(read_frame(open_table(lake.quarantine(contract.table))))
    held = pl.concat(frames)
    if file is not None:
        held = held.filter(pl.col("source_file") == file)
    live = {entry.source_file: entry.rows_batch for entry in ledger.iter_live()}
    is_live = [live.get(name) == batch for name, batch in held.select("source_file", "batch_id").iter_rows()]
    return held.filter(pl.Series(is_live, dtype=pl.Boolean)).join(
        resolved.filter((pl.col("status") == "discarded") | pl.col("batch_id").is_in(sorted(ledger.replays))),
        left_on=["source_file", "source_row", "batch_id"],
        right_on=["source_file", "source_row", "quarantined_batch_id"],
        how="anti",
    )


def replay_quarantine(
    lake: Lake,
    contracts: Contracts,
    ledger: Ledger,
    root: Path,
    *,
    table: str | None,
    file: str | None,
    run_id: str,
    first_batch: int,
    now: dt.datetime,
) -> Iterator[Replay]:
    """Judge open records again by the contracts of today, and commit those that keep them now.

    The raw file is read again, since the quarantine holds a record but not the header it stood under. One that has
    changed meanwhile is for `lakeops load`, which supersedes its old rows and its old quarantine together.

    Yields
    ------
    One outcome per file with open records.

    Raises
    ------
    BronzeCommitError : a commit did not happen; what was not committed is still open.
    """
    batch_id = first_batch
    opened = list_open(lake, contracts, ledger, table, file)
    for (table_name, source_file), records in opened.group_by("table_name", "source_file", maintain_order=True):
        contract = contracts.get_table(table_name)
        live = ledger.get_live(source_file)
        path = root / source_file
        if not path.is_file():
            yield Replay(table_name, source_file, 0, records.height, "the raw file is gone; discard its records")
            continue
        sha = compute_fingerprint(path)
        if sha != live.file_sha256:
            yield Replay(table_name, source_file, 0, records.height, "the raw file has changed; run: lakeops load")
            continue
        landing = make_landing(path, source_file, contract)
        truth = open_table(get_truth(lake, contract))
        extra = get_extra_columns(truth, contract)
        examined = examine_file(Step(landing, "load", sha), extra, get_folder(truth), batch_id, now)
        if examined.refusal:
            yield Replay(table_name, source_file, 0, records.height, examined.refusal)
            continue
        lines = records["source_row"].to_list()
        good = [rows.filter(pl.col("_source_row").is_in(lines)) for rows in examined.rows]
        good += [
            pl.read_parquet(get_folder(truth) / part.path, glob=False).filter(pl.col("_source_row").is_in(lines))
            for part in examined.parts
        ]
        rows = pl.concat(good, how="diagonal") if good else pl.DataFrame()
        if rows.height:
            for place in {get_truth(lake, contract), get_current(lake, contract)} if examined.new_columns else ():
                ensure_table(place, examined.new_columns)
            _commit_replay(lake, contracts, contract, ledger, live, records, rows, run_id, batch_id, now)
            if examined.new_columns:
                record_schema_changes(lake, contracts, batch_id, now)
            batch_id += 1
        for part in examined.parts:
            (get_folder(truth) / part.path).unlink(missing_ok=True)
        yield Replay(table_name, source_file, rows.height, records.height - rows.height)


def _commit_replay(
    lake: Lake,
    contracts: Contracts,
    contract: Contract,
    ledger: Ledger,
    live: Entry,
    records: pl.DataFrame,
    rows: pl.DataFrame,
    run_id: str,
    batch_id: int,
    now: dt.datetime,
) -> None:
    replayed = records.filter(pl.col("source_row").is_in(rows["_source_row"].to_list()))
    # Before the commit, and void without it: the view and the ledger count it once the batch is committed.
    _append_resolutions(lake, contracts, replayed, "replayed", "keeps the contract now", batch_id, now)
    if contract.load.delete_when:
        deleted = rows.filter("_is_deleted").select(contract.load.key)
        append_touched_keys(lake, contracts, contract, deleted, batch_id, "tombstone")
    truth = open_table(get_truth(lake, contract))
    entry = live._replace(
        status="replayed",
        batch_id=batch_id,
        rows_batch_id=None,
        run_id=run_id,
        rows_read=rows.height,
        rows_accepted=rows.height,
        rows_quarantined=0,
        reason="replayed from quarantine",
        recorded_at=now,
        seconds=None,
    )
    proof = {"batch_id": batch_id, "run_id": run_id, "entries": [entry._asdict()]}
    version = commit(truth, [write_part(get_folder(truth), rows)], [], batch_id, proof)
    if contract.load.keeps_changes:
        refresh_current(lake, contracts, contract, rows.select(contract.load.key), batch_id, run_id)
    entry = entry._replace(bronze_version=version)
    append_entries(lake, contracts.get_record(NAME), [entry], batch_id)
    ledger.add(entry)


def discard_quarantine(
    lake: Lake, contracts: Contracts, ledger: Ledger, table: str | None, file: str | None, reason: str, now: dt.datetime
) -> int:
    """Close open records without loading them; returns how many. They stay readable, with the reason."""
    opened = list_open(lake, contracts, ledger, table, file)
    _append_resolutions(lake, contracts, opened, "discarded", reason, None, now)
    return opened.height


def _append_resolutions(
    lake: Lake,
    contracts: Contracts,
    records: pl.DataFrame,
    status: str,
    reason: str,
    batch_id: int | None,
    now: dt.datetime,
) -> None:
    who = get_account()
    rows = [
        {
            "table_name": record["table_name"],
            "source_file": record["source_file"],
            "source_row": record["source_row"],
            "quarantined_batch_id": record["batch_id"],
            "status": status,
            "reason": reason,
            "resolved_by": who,
            "batch_id": batch_id,
            "resolved_at": now,
        }
        for record in records.iter_rows(named=True)
    ]
    append(lake.ops(RESOLUTIONS), make_frame(contracts.get_record(RESOLUTIONS), rows), batch_id or 0)

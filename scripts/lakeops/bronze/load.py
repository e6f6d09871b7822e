"""Carry out a plan: per table read, judge, quarantine, and then one commit, which is the proof.

Order matters. Quarantine and touched keys are written before the bronze commit and belong to its batch: if the
process dies in between, no commit names them and the next run clears them away (heal). The ledger is written after:
if it is missing, it is read back from the commit.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lakeops.bronze.current import append_touched_keys, refresh_current
from lakeops.bronze.examine import ROWS_IN_MEMORY, Examined, examine_file
from lakeops.bronze.parts import take_out_files
from lakeops.bronze.plan import Plan, Step, explain_copy, plan_without
from lakeops.bronze.schema import record_schema_changes
from lakeops.bronze.tables import (
    get_current,
    get_extra_columns,
    get_next_batch,
    get_quarantine_columns,
    get_truth,
)
from lakeops.contract import Column, Contract, Contracts
from lakeops.delta import append, commit, ensure_table, get_folder, open_table, write_part
from lakeops.judge.casts import get_polars_type
from lakeops.ledger import NAME, Entry, Ledger, append_entries
from lakeops.paths import Lake

THREADS = 2
# A commit lists its files; 50,000 of them make 10 MB of log, which every reader pays for until a checkpoint.
FILES_PER_BATCH = 5_000
BYTES_PER_BATCH = 8 << 30


@dataclass
class TableOutcome:
    """What a load did to one table; rows counted over all its batches."""

    contract: Contract
    files_loaded: int = 0
    rows_read: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    new_columns: list[str] = field(default_factory=list)
    version: int | None = None


@dataclass
class LoadOutcome:
    """What a load did.

    Parameters
    ----------
    run_id : the run.
    batches : batch ids that were committed.
    tables : by table name, for tables with something to do.
    refused : files refused as a whole, with why.
    unclaimed, duplicates : file names.
    held : files whose bytes somebody took out of bronze, with why they wait.
    lost : files whose rows a rebuild could not bring back, how many they were, and why.
    skipped : how many files were unchanged.
    """

    run_id: str
    batches: list[int] = field(default_factory=list)
    tables: dict[str, TableOutcome] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)
    lost: list[tuple[str, int, str]] = field(default_factory=list)
    skipped: int = 0


def commit_load(
    plan: Plan,
    lake: Lake,
    contracts: Contracts,
    ledger: Ledger,
    *,
    run_id: str,
    clock: Callable[[], dt.datetime],
    on_file: Callable[[Step], None] = lambda _: None,
) -> LoadOutcome:
    """Load what a plan says.

    Parameters
    ----------
    plan : from `plan_load`, made under the lake's lock.
    clock : gives the time (UTC) that is written as `_ingested_at` and `recorded_at`.
    on_file : called once per examined file, for progress.

    Returns
    -------
    What was done. Files that were refused are named in it; the others are loaded.

    Raises
    ------
    BronzeCommitError : a commit did not happen. What was committed before stays, and the next run goes on there.
    """
    outcome = LoadOutcome(run_id, skipped=len(plan.get_steps("skip", "seen")))
    if len(plan.get_steps("skip")) == len(plan.steps):
        return outcome  # on most nights; a batch id would be asked of every table
    record = contracts.get_record(NAME)
    batch = _Batch(lake, contracts, ledger, run_id, get_next_batch(lake, contracts), clock(), on_file)
    for steps in _cut_into_batches(plan):
        entries: list[Entry] = []
        committed = False
        try:
            for contract, own in _group_by_table(steps):
                more, version = _load_table(batch, contract, own, outcome)
                entries += more
                committed |= version is not None
        finally:
            # Also when a later table failed: what was committed is known at once, and not only after healing.
            append_entries(lake, record, entries, batch.batch_id)
        for entry in entries:
            ledger.add(entry)
        if any(tally.new_columns for tally in outcome.tables.values()):
            record_schema_changes(lake, contracts, batch.batch_id, batch.now)
        if committed:
            outcome.batches.append(batch.batch_id)
        batch = replace(batch, batch_id=batch.batch_id + 1, now=clock())
    _note_the_rest(batch, plan, outcome)
    return outcome


def write_off(
    lake: Lake, contracts: Contracts, ledger: Ledger, lost: list[tuple[Entry, str]], *, run_id: str, now: dt.datetime
) -> int:
    """Commit that files of one table cannot be loaded again: what bronze still had of them leaves it.

    Parameters
    ----------
    lost : the files, each with why.

    Returns
    -------
    The batch.

    Raises
    ------
    BronzeCommitError : the commit did not happen.
    """
    contract = contracts.get_table(lost[0][0].table_name)
    batch = _Batch(lake, contracts, ledger, run_id, get_next_batch(lake, contracts), now, lambda _: None)
    table = open_table(get_truth(lake, contract))
    leaving = {entry.source_file: f"not loaded again by a rebuild: {why}" for entry, why in lost}
    entries, _ = _commit_table(batch, contract, table, _Gathered(), leaving)
    append_entries(lake, contracts.get_record(NAME), entries, batch.batch_id)
    for entry in entries:
        ledger.add(entry)
    return batch.batch_id


@dataclass(frozen=True)
class _Batch:
    lake: Lake
    contracts: Contracts
    ledger: Ledger
    run_id: str
    batch_id: int
    now: dt.datetime
    on_file: Callable[[Step], None]


def _cut_into_batches(plan: Plan) -> Iterator[list[Step]]:
    batch: list[Step] = []
    size = 0
    offered = [s for s in plan.steps if s.action in ("load", "restate") or s.supersedes or s.tied]
    for step in sorted(offered, key=lambda step: not step.tied):
        is_full = len(batch) >= FILES_PER_BATCH or size + step.landing.size_bytes > BYTES_PER_BATCH
        if batch and is_full and not step.tied:
            yield batch
            batch, size = [], 0
        batch.append(step)
        size += step.landing.size_bytes
    if batch:
        yield batch


def _group_by_table(steps: list[Step]) -> list[tuple[Contract, list[Step]]]:
    groups: dict[str, tuple[Contract, list[Step]]] = {}
    for step in steps:
        contract = step.landing.contract
        assert contract is not None
        groups.setdefault(contract.name, (contract, []))[1].append(step)
    return list(groups.values())


@dataclass
class _Gathered:
    """What the files of one table brought, before the commit; `noted` are files that no commit speaks of."""

    kept: list[Entry] = field(default_factory=list)
    refused: list[Entry] = field(default_factory=list)
    noted: list[Entry] = field(default_factory=list)
    copies: list[Step] = field(default_factory=list)
    adds: list[AddAction] = field(default_factory=list)
    rows: list[pl.DataFrame] = field(default_factory=list)
    keys: list[pl.DataFrame] = field(default_factory=list)
    deleted: list[pl.DataFrame] = field(default_factory=list)
    quarantined: list[pl.DataFrame] = field(default_factory=list)
    new_columns: dict[str, Column] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)

    def note_copy(self, batch: _Batch, step: Step) -> None:
        """Remember a file whose rows another one has; the commit speaks of it if its old rows leave."""
        self.copies.append(step)
        (self.kept if step.supersedes else self.noted).append(_make_entry(batch, Examined(step)))

    def note_keys(self, contract: Contract, examined: Examined, folder: Path) -> None:
        """Remember which keys a file brought, and which it deletes."""
        wanted = [*contract.load.key, *(["_is_deleted"] if contract.load.delete_when else [])]
        frames = [rows.select(wanted) for rows in examined.rows]
        frames += [pl.read_parquet(folder / part.path, columns=wanted) for part in examined.parts]
        self.keys += [rows.select(contract.load.key) for rows in frames]
        if contract.load.delete_when:
            self.deleted += [rows.filter("_is_deleted").select(contract.load.key) for rows in frames]

    def flush(self, folder: Path, above: int = 0) -> None:
        """Write the rows gathered so far as one data file, if they are more than `above`."""
        if sum(frame.height for frame in self.rows) > above:
            self.adds.append(write_part(folder, pl.concat(self.rows, how="diagonal")))
            self.rows = []

    def discard(self, folder: Path) -> None:
        """Throw away the data files, which no commit knows."""
        for part in self.adds:
            (folder / part.path).unlink(missing_ok=True)


def _load_table(
    batch: _Batch, contract: Contract, steps: list[Step], outcome: LoadOutcome
) -> tuple[list[Entry], int | None]:
    """Load the files of one table; returns the ledger's entries and the version, None if nothing was committed."""
    table = open_table(get_truth(batch.lake, contract))
    tally = outcome.tables.setdefault(contract.name, TableOutcome(contract))
    gathered, steps = _gather_what_holds(batch, contract, steps, table)
    outcome.refused += [(entry.source_file, entry.reason or "") for entry in gathered.refused]
    outcome.duplicates += [(step.landing.source_file, step.reason) for step in gathered.copies]
    noted = [entry for entry in gathered.refused + gathered.noted if not _is_known(batch.ledger, entry)]
    if not gathered.kept:
        return noted, None
    loaded = {entry.source_file for entry in gathered.kept}
    why = f"restated by batch {batch.batch_id}"
    leaving = {s.landing.source_file: why for s in steps if s.supersedes and s.landing.source_file in loaded}
    entries, tally.version = _commit_table(batch, contract, table, gathered, leaving)
    tally.new_columns += gathered.new_columns
    for label, count in gathered.warnings.items():
        tally.warnings[label] = tally.warnings.get(label, 0) + count
    for entry in gathered.kept:
        tally.files_loaded += entry.status == "loaded"
        tally.rows_read += entry.rows_read
        tally.rows_accepted += entry.rows_accepted
        tally.rows_quarantined += entry.rows_quarantined
    return noted + entries, tally.version


def _gather_what_holds(
    batch: _Batch, contract: Contract, steps: list[Step], table: DeltaTable
) -> tuple[_Gathered, list[Step]]:
    """Examine the files; returns what they brought, and the plan as it stands once all refusals are known."""
    refused: list[Entry] = []
    while True:
        gathered = _gather(batch, contract, steps, table)
        refused += gathered.refused
        names = {entry.source_file for entry in gathered.refused}
        if not any(step.tied and step.landing.source_file in names for step in steps):
            gathered.refused = refused
            return gathered, steps
        # Others were planned on what these were to bring or to give up.
        gathered.discard(get_folder(table))
        steps = plan_without(steps, names, batch.ledger)


def _gather(batch: _Batch, contract: Contract, steps: list[Step], table: DeltaTable) -> _Gathered:
    """Examine the files, and write what is accepted as data files that no commit knows yet."""
    folder = get_folder(table)
    extra = get_extra_columns(table, contract)
    gathered = _Gathered()
    offered = []
    for step in steps:
        if step.action == "duplicate":
            gathered.note_copy(batch, step)
        else:
            offered.append(step)
    with ThreadPoolExecutor(THREADS) as pool:
        for examined in _examine_in_order(pool, offered, extra, folder, batch):
            batch.on_file(examined.step)
            if examined.is_copy:
                why = explain_copy(examined.step.twin)
                gathered.note_copy(batch, examined.step._replace(action="duplicate", reason=why))
                continue
            for column in examined.new_columns:
                if gathered.new_columns.setdefault(column.name, column).type != column.type:
                    examined.refuse(
                        f"columns: the new column {column.name} is {column.type} here and "
                        f"{gathered.new_columns[column.name].type} in an earlier file; name its type in the contract",
                        folder,
                    )
            if contract.load.mode == "replace" and not examined.refusal and not examined.rows_accepted:
                examined.refuse(_describe_empty(examined), folder)
            entry = _make_entry(batch, examined)
            if examined.refusal:
                gathered.refused.append(entry)
                continue
            gathered.kept.append(entry)
            gathered.adds += examined.parts
            gathered.rows += examined.rows
            gathered.quarantined += [_complete_quarantine(batch, entry, faults) for faults in examined.quarantined]
            if contract.load.keeps_changes:
                gathered.note_keys(contract, examined, folder)
            for label, count in examined.warnings.items():
                gathered.warnings[label] = gathered.warnings.get(label, 0) + count
            gathered.flush(folder, above=ROWS_IN_MEMORY // 2)
    gathered.flush(folder)
    return gathered


def _describe_empty(examined: Examined) -> str:
    """Say why a full snapshot would leave nothing; what was wrong, without the value, which may be a person's."""
    if not examined.quarantined:
        return "empty: a full snapshot without a record; ask the sender for it again"
    first = examined.quarantined[0].row(0, named=True)
    fault = f"line {first['_source_row']}: {first['reason']} of {first['column_name'] or 'the record'}"
    return (
        f"all_bad: none of the {examined.rows_read:,} records of a full snapshot keeps the contract; the first, {fault}"
        "; ask the sender, or change the contract"
    )


def _examine_in_order(
    pool: ThreadPoolExecutor, steps: list[Step], extra: tuple[Column, ...], folder: Path, batch: _Batch
) -> Iterator[Examined]:
    """Examine files on all threads, a few ahead, and hand them on in order: memory stays bounded."""
    queue: deque[Future[Examined]] = deque()
    for step in steps:
        queue.append(pool.submit(examine_file, step, extra, folder, batch.batch_id, batch.now))
        if len(queue) > 2 * THREADS:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _commit_table(
    batch: _Batch, contract: Contract, table: DeltaTable, gathered: _Gathered, leaving: dict[str, str]
) -> tuple[list[Entry], int]:
    """Write what must be there before the commit, commit, and derive what follows from it.

    Parameters
    ----------
    leaving : files whose rows leave, each with why.
    """
    path = get_folder(table)
    if gathered.new_columns:
        for place in {path, get_current(batch.lake, contract)}:
            ensure_table(place, gathered.new_columns.values())
        table = open_table(path)
    adds, removes, left = take_out_files(table, leaving, contract.load.key) if leaving else ([], [], pl.DataFrame())
    append_touched_keys(batch.lake, batch.contracts, contract, left, batch.batch_id, "superseded")
    if gathered.deleted:
        deleted = pl.concat(gathered.deleted)
        append_touched_keys(batch.lake, batch.contracts, contract, deleted, batch.batch_id, "tombstone")
    if gathered.quarantined:
        append(batch.lake.quarantine(contract.table), pl.concat(gathered.quarantined), batch.batch_id)
    superseded = [
        live._replace(
            status="superseded",
            batch_id=batch.batch_id,
            rows_batch_id=None,
            run_id=batch.run_id,
            reason=why,
            recorded_at=batch.now,
            seconds=None,
        )
        for name, why in leaving.items()
        if (live := batch.ledger.get_live(name))
    ]
    entries = superseded + gathered.kept
    version = commit(
        table,
        gathered.adds + adds,
        removes,
        batch.batch_id,
        {"batch_id": batch.batch_id, "run_id": batch.run_id, "entries": [entry._asdict() for entry in entries]},
    )
    if contract.load.keeps_changes:
        keys = pl.concat([*gathered.keys, *([left] if left.height else [])]) if gathered.keys or left.height else left
        refresh_current(batch.lake, batch.contracts, contract, keys, batch.batch_id, batch.run_id)
    return [entry._replace(bronze_version=version) for entry in entries], version


def _complete_quarantine(batch: _Batch, entry: Entry, faults: pl.DataFrame) -> pl.DataFrame:
    types = {column.name: get_polars_type(column.type) for column in get_quarantine_columns(batch.contracts)}
    known = {
        "table_name": entry.table_name,
        "source_file": entry.source_file,
        "file_sha256": entry.file_sha256,
        "batch_id": batch.batch_id,
        "quarantined_at": batch.now,
    }
    faults = faults.rename({"_source_row": "source_row"})
    faults = faults.with_columns(pl.lit(value, dtype=types[name]).alias(name) for name, value in known.items())
    absent = [name for name in types if name not in faults.columns]
    return faults.with_columns(pl.lit(None, dtype=types[name]).alias(name) for name in absent).select(
        pl.col(name).cast(dtype) for name, dtype in types.items()
    )


def _make_entry(batch: _Batch, examined: Examined) -> Entry:
    step, landing = examined.step, examined.step.landing
    status = {"load": "loaded", "restate": "loaded", "refuse": "refused"}.get(step.action, step.action)
    status = "refused" if examined.refusal else status
    return Entry(
        source_file=landing.source_file,
        table_name=landing.contract.table if landing.contract else None,
        status=status,
        file_sha256=step.file_sha256,
        size_bytes=landing.size_bytes,
        mtime_ns=landing.mtime_ns,
        ctime_ns=landing.ctime_ns,
        batch_id=batch.batch_id if status == "loaded" or (step.supersedes and status != "refused") else None,
        run_id=batch.run_id,
        rows_read=examined.rows_read,
        rows_accepted=examined.rows_accepted,
        rows_quarantined=examined.rows_quarantined,
        min_business_date=examined.min_business_date,
        max_business_date=examined.max_business_date,
        bronze_version=None,
        reason=examined.refusal or (None if status == "loaded" and step.action == "load" else step.reason),
        recorded_at=batch.now,
        seconds=examined.seconds,
    )


def _is_known(ledger: Ledger, entry: Entry) -> bool:
    """Tell whether the ledger's last word on a file says just this already."""
    last = ledger.latest.get(entry.source_file)
    return last is not None and (last.status, last.stat_key, last.reason) == (
        entry.status, entry.stat_key, entry.reason
    )  # fmt: skip


def _note_the_rest(batch: _Batch, plan: Plan, outcome: LoadOutcome) -> None:
    """Write down the files that nothing was committed for: refused unread, unclaimed, duplicate, held, only touched."""
    entries = []
    for step in plan.get_steps("refuse", "unclaimed", "duplicate", "held", "seen"):
        if step.supersedes or step.tied:
            continue
        if step.action == "refuse":
            outcome.refused.append((step.landing.source_file, step.reason))
        if step.action == "unclaimed":
            outcome.unclaimed.append(step.landing.source_file)
        if step.action == "duplicate":
            outcome.duplicates.append((step.landing.source_file, step.reason))
        if step.action == "held":
            outcome.held.append((step.landing.source_file, step.reason))
        entry = _make_entry(batch, Examined(step))
        if not _is_known(batch.ledger, entry):
            entries.append(entry)
    append_entries(batch.lake, batch.contracts.get_record(NAME), entries, batch.batch_id)

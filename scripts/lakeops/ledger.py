"""Which file, which bytes, which batch, what came of it: the record `manifest_processed_files`, append-only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl
from deltalake import DeltaTable

from lakeops.contract import Record
from lakeops.delta import append, find_largest, get_arrow_type, get_parts, open_table, scan_table
from lakeops.paths import Lake

NAME = "manifest_processed_files"


class Entry(NamedTuple):
    """One thing that happened to one file. The fields are the record's columns; see dbt/models/ops/ops.yml.

    A tuple, as are landings and steps: every start makes one of each for every file there ever was.
    """

    source_file: str
    table_name: str | None
    status: str
    file_sha256: str | None
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    batch_id: int | None
    run_id: str
    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    min_business_date: dt.date | None
    max_business_date: dt.date | None
    bronze_version: int | None
    reason: str | None
    recorded_at: dt.datetime
    seconds: float | None = None  # entries of older lakes, and commits read back, may lack it
    entry_id: int | None = None
    rows_batch_id: int | None = None

    @property
    def rows_batch(self) -> int | None:
        """Return the batch the file's rows carry: a restore brings them back under the one that loaded them."""
        return self.batch_id if self.rows_batch_id is None else self.rows_batch_id

    @property
    def stat_key(self) -> tuple[int, int, int]:
        """Return what tells an unchanged file without reading it."""
        return (self.size_bytes, self.mtime_ns, self.ctime_ns)


class Ledger:
    """What is known of every file, as of one moment.

    Parameters
    ----------
    entries : all entries, oldest first.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.latest: dict[str, Entry] = {}
        self._loaded: dict[str, Entry] = {}
        self._replayed: dict[str, dict[int | None, int]] = {}
        self._undone: dict[str, str | None] = {}
        # By table and hash, once somebody took such bytes out: files they left (True) or came with since, oldest first.
        self._undone_bytes: dict[tuple[str | None, str | None], list[tuple[str, bool]]] = {}
        self.batches: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        for entry in entries:
            self.add(entry)

    def copy(self) -> Ledger:
        """Return a ledger that knows the same, and to which entries can be added apart from this one."""
        other = Ledger([])
        for name, known in vars(self).items():
            setattr(other, name, dict(known))
        other._replayed = {name: dict(batches) for name, batches in self._replayed.items()}
        other._undone_bytes = {place: list(story) for place, story in self._undone_bytes.items()}
        return other

    def add(self, entry: Entry) -> None:
        """Take in an entry that came later than all others."""
        name, place = entry.source_file, (entry.table_name, entry.file_sha256)
        if entry.status == "replayed":
            self._replayed.setdefault(name, {})[entry.rows_batch] = entry.rows_accepted
        elif entry.status not in ("superseded", "restored"):
            self.latest[name] = entry
        if entry.status in ("superseded", "undone"):
            # What follows in the same commit may be no load: a file restated into a copy of another one.
            self._loaded.pop(name, None)
        if entry.status in ("superseded", "undone", "restored"):
            self._replayed.pop(name, None)
        if entry.status == "undone":
            self._undone[name] = entry.file_sha256
            self._undone_bytes.setdefault(place, []).append((name, True))
        if entry.status in ("loaded", "restored"):
            self._loaded[name] = entry
            if place in self._undone_bytes:
                self._undone_bytes[place].append((name, False))
            if entry.status == "loaded" or self._undone.get(name) == entry.file_sha256:
                self._undone.pop(name, None)
        if entry.table_name and entry.batch_id is not None:
            table = entry.table_name
            self.batches[table] = max(self.batches.get(table, 0), entry.batch_id)
            self.versions[table] = max(self.versions.get(table, 0), entry.bronze_version or 0)

    def get_live(self, source_file: str) -> Entry | None:
        """Return the entry whose rows of this file are in bronze now, or None."""
        return self._loaded.get(source_file)

    def count_replayed(self, source_file: str) -> int:
        """Return how many quarantined records of a live file were committed later."""
        return sum(self._replayed.get(source_file, {}).values())

    def get_replays(self, source_file: str) -> dict[int | None, int]:
        """Return how many quarantined records of a live file were committed later, by batch."""
        return dict(self._replayed.get(source_file, {}))

    @property
    def replays(self) -> set[int | None]:
        """Return the batches of replays whose records are in bronze now."""
        return {batch for batches in self._replayed.values() for batch in batches}

    def find_undone(
        self, source_file: str, table: str, sha: str | None, get_said: Callable[[str], object] | None
    ) -> str | None:
        """Return the file that brought the same bytes when somebody took them out of bronze; None if nobody did.

        Parameters
        ----------
        source_file, table, sha : a file as it lies there now.
        get_said : what a file's name says of its rows: under another name that says the same, bytes count as the same,
            too; None if they never do.
        """
        if sha is None:
            return None
        if self._undone.get(source_file) == sha:
            return source_file
        if get_said and source_file not in self._loaded:
            for twin, is_undone in reversed(self._undone_bytes.get((table, sha), [])):
                if get_said(twin) == get_said(source_file):
                    return twin if is_undone else None
        return None

    def iter_live(self) -> list[Entry]:
        """Return the entries whose rows are in bronze now."""
        return list(self._loaded.values())


def load_ledger(lake: Lake) -> Ledger:
    """Read the ledger of a lake; one that does not exist yet is empty. It is the caller's own, to add to."""
    return _read(lake).ledger.copy()


def read_entries(lake: Lake) -> list[Entry]:
    """Return all entries of a lake's ledger, oldest first."""
    return list(_read(lake).entries)


@dataclass
class _Read:
    """What was read of a ledger last, and from which data files."""

    path: Path
    parts: frozenset[str] = frozenset()
    entries: list[Entry] = field(default_factory=list)
    ledger: Ledger = field(default_factory=lambda: Ledger([]))


# Kept for whoever asks next: a run of the main job asks five times, and only what its load added is read again.
_last = _Read(Path())


def _read(lake: Lake) -> _Read:
    global _last
    path = lake.ops(NAME)
    if not DeltaTable.is_deltatable(str(path)):  # a folder alone is what a killed first load leaves
        return _Read(path)
    table = open_table(path)
    # No data file's name is given twice: the same files hold the same entries, whatever the version is called.
    parts = frozenset(get_parts(table)["path"])
    if _last.path != path or not _last.parts <= parts:
        _last = _Read(path)
    entries = _read_parts(table, parts - _last.parts)
    if entries and _last.entries and (entries[0].entry_id or 0) <= (_last.entries[-1].entry_id or 0):
        _last, entries = _Read(path), _read_parts(table, parts)
    for entry in entries:
        _last.ledger.add(entry)
    _last.entries += entries
    _last.parts = parts
    return _last


def _read_parts(table: DeltaTable, parts: frozenset[str]) -> list[Entry]:
    """Return the entries that some data files hold, oldest first."""
    if not parts:
        return []
    frame = scan_table(table, parts).collect()
    # Not by the time: a clock may be set back. Entries of a lake that had no numbers yet come first.
    order = [name for name in ("entry_id", "recorded_at") if name in frame.columns]
    frame = frame.sort(order, nulls_last=False, maintain_order=True)
    # In the order of the fields, not by name: a ledger of 50,000 files is read at every start.
    known = [pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in Entry._fields]
    return list(map(Entry._make, frame.select(known).rows()))


def append_entries(lake: Lake, record: Record, entries: list[Entry], batch_id: int) -> None:
    """Write entries to the ledger in one commit, each with a number that only grows.

    Parameters
    ----------
    record : the ledger's declaration, for its types.
    batch_id : batch the entries belong to.

    Raises
    ------
    BronzeCommitError : the commit did not happen.
    """
    if entries:
        last = find_largest(open_table(lake.ops(NAME)), "entry_id")
        rows = [entry._asdict() | {"entry_id": last + number} for number, entry in enumerate(entries, 1)]
        append(lake.ops(NAME), make_frame(record, rows), batch_id)


def make_frame(record: Record, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows as a frame with exactly the columns and types a record declares."""
    import pyarrow as pa

    schema = pa.schema([pa.field(column.name, get_arrow_type(column.type)) for column in record.columns])
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schema)))

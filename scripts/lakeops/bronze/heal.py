"""Before anything else: make the records agree with what was really committed.

The commit of a bronze table is the truth about a batch. A process that died left one of three things behind, and each
is mended here: a commit the ledger does not know, quarantine rows of a batch that was never committed, and a merged
table that is behind its changes.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import polars as pl
from deltalake import DeltaTable

from lakeops.bronze.current import REBUILT, refresh_current
from lakeops.bronze.tables import get_current, get_truth
from lakeops.contract import Contract, Contracts
from lakeops.delta import (
    commit,
    get_folder,
    get_last_batch,
    get_parts,
    make_remove,
    open_table,
    read_commits,
    read_frame,
    scan_table,
    write_part,
)
from lakeops.ledger import NAME, Entry, Ledger, append_entries
from lakeops.paths import Lake


def heal_lake(lake: Lake, contracts: Contracts, ledger: Ledger, now: dt.datetime) -> list[str]:
    """Mend what a killed run left behind; does nothing, and reads little, if nothing is wrong.

    Parameters
    ----------
    ledger : as read from the lake; what is learnt is added to it.
    now : time (UTC) to write on entries that are read back.

    Returns
    -------
    One sentence for each thing that was mended.

    Raises
    ------
    BronzeCommitError : a table cannot be read or written.
    """
    mended = []
    for contract in contracts.tables:
        truth = open_table(get_truth(lake, contract))
        last = get_last_batch(truth)
        # Before the ledger: whoever reads a batch there may rely on the table.
        if contract.load.keeps_changes and (behind := get_last_batch(open_table(get_current(lake, contract)))) < last:
            _catch_up(lake, contracts, contract, behind, last)
            mended.append(f"{contract.name}: brought up to date with its changes (batch {last})")
        if last > ledger.batches.get(contract.table, 0):
            mended += _read_back(lake, contracts, contract, truth, ledger, now)
        quarantine = open_table(lake.quarantine(contract.table))
        if get_last_batch(quarantine) > last:
            mended += _clear_quarantine(quarantine, last, contract)
    return mended


def _read_back(
    lake: Lake, contracts: Contracts, contract: Contract, truth: DeltaTable, ledger: Ledger, now: dt.datetime
) -> list[str]:
    known, first = ledger.batches.get(contract.table, 0), _find_first(truth, contract, ledger)
    entries = []
    for version, proof in read_commits(get_folder(truth), range(first, truth.version() + 1)):
        if proof["batch_id"] > known:
            entries += [_revive(fields, version, now) for fields in proof.get("entries", [])]
    if not entries:
        return []
    append_entries(lake, contracts.get_record(NAME), entries, max(entry.batch_id or 0 for entry in entries))
    for entry in entries:
        ledger.add(entry)
    return [f"{contract.name}: {len(entries)} file(s) were committed and not in the ledger; read back from the log"]


def _find_first(truth: DeltaTable, contract: Contract, ledger: Ledger) -> int:
    """Return the version from which on commits may be unknown to the ledger."""
    known, first = ledger.batches.get(contract.table, 0), ledger.versions.get(contract.table, 0)
    # A table that was rebuilt or repaired has begun to count its versions anew.
    proofs = read_commits(get_folder(truth), [first])
    return first if any(proof["batch_id"] == known for _, proof in proofs) else 0


def _revive(fields: dict, version: int, now: dt.datetime) -> Entry:
    days = {
        name: dt.date.fromisoformat(fields[name]) if fields[name] else None
        for name in ("min_business_date", "max_business_date")
    }
    return Entry(**{**fields, **days, "bronze_version": version, "recorded_at": now})


def _clear_quarantine(quarantine: DeltaTable, last: int, contract: Contract) -> list[str]:
    """Take out rows of batches that never came to their bronze commit."""
    folder = get_folder(quarantine)
    adds, removes, cleared = [], [], 0
    for path, size in get_parts(quarantine).select("path", "size_bytes").rows():
        rows = pl.read_parquet(folder / path, glob=False)
        staying = rows.filter(pl.col("batch_id") <= last)
        if staying.height == rows.height:
            continue
        cleared += rows.height - staying.height
        removes.append(make_remove(path, size))
        if staying.height:
            adds.append(write_part(folder, staying))
    if not removes:
        return []
    commit(quarantine, adds, removes, get_last_batch(quarantine), {"healed": True})
    return [f"{contract.name}: {cleared} quarantined record(s) of a batch that was never committed taken out"]


def _catch_up(lake: Lake, contracts: Contracts, contract: Contract, behind: int, last: int) -> None:
    """Derive again the keys of every batch the merged table has not seen."""
    changes = scan_table(open_table(get_truth(lake, contract)))
    keys = changes.filter(pl.col("_batch_id") > behind).select(contract.load.key).unique().collect()
    touched = read_frame(open_table(lake.ops("touched_keys"))).filter(
        (pl.col("table_name") == contract.table) & (pl.col("batch_id") > behind) & (pl.col("reason") != REBUILT)
    )
    if touched.height:
        parsed = [_parse_key(key, keys.schema) for key in touched["key_json"]]
        keys = pl.concat([keys, pl.DataFrame(parsed, schema=keys.schema, orient="row")]).unique()
    refresh_current(lake, contracts, contract, keys, last, "heal")


def _parse_key(key_json: str, schema: pl.Schema) -> tuple[object, ...]:
    """Read a key back from its record; polars casts no text to a time with a zone."""
    parse = {
        pl.Date: dt.date.fromisoformat,
        pl.Datetime: dt.datetime.fromisoformat,
        pl.Decimal: Decimal,
    }
    key = json.loads(key_json)
    return tuple(parse.get(dtype.base_type(), lambda value: value)(key[name]) for name, dtype in schema.items())

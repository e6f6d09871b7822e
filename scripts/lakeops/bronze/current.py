"""Derive the current state of a merged table from its changes, for the keys that a batch touched.

The truth is `<table>_changes`: every record that ever came and was not superseded. The winner per key is the last in
a total order, so that neither the order of arrival nor a second look changes the result.
"""

from __future__ import annotations

import datetime as dt
import json

import polars as pl

from lakeops.bronze.parts import take_out_keys
from lakeops.bronze.schema import Spans, read_declared
from lakeops.bronze.tables import get_current, get_truth
from lakeops.contract import Contract, Contracts
from lakeops.delta import append, commit, get_folder, get_last_batch, open_table, read_frame, scan_table, write_part
from lakeops.ledger import make_frame
from lakeops.paths import Lake

# No two records share all of these: one that is replayed from the quarantine has a batch of its own.
_PLACE = ["_batch_id", "_source_file", "_source_row"]

# The reason in `touched_keys` that stands for all keys of a table; dbt/macros/incremental/ knows it, too.
REBUILT = "rebuilt"


def get_order(contract: Contract) -> list[str]:
    """Return the columns that order the records of one key, last wins; nulls come first."""
    return [*contract.load.sequence_by, "_batch_id", "_source_file", "_source_row"]


def refresh_current(
    lake: Lake, contracts: Contracts, contract: Contract, keys: pl.DataFrame, batch_id: int, run_id: str
) -> None:
    """Bring the table that SQL sees up to date with its changes.

    Parameters
    ----------
    keys : key columns of every record that joined or left the changes; may be empty.
    batch_id, run_id : the batch that touched them, recorded in the commit.

    Raises
    ------
    BronzeCommitError : the commit did not happen; the next run does it again.
    """
    table = open_table(get_current(lake, contract))
    adds, removes = [], []
    if keys.height:
        keys = keys.unique()
        changes = scan_table(open_table(get_truth(lake, contract)))
        if contract.load.mode == "replace":
            winners = _pick_snapshot(changes, contract)
            older = winners.filter(pl.col("_batch_id") != batch_id)
            held = read_frame(table, [*contract.load.key, *(_PLACE if older.height else [])])
            gone = held.select(contract.load.key).join(winners, on=contract.load.key, how="anti")
            append_touched_keys(lake, contracts, contract, gone, batch_id, "disappeared")
            older = older.join(held, on=[*contract.load.key, *_PLACE], how="anti") if older.height else older
            keys = pl.concat([keys, held.select(keys.columns)]).unique()
        else:
            touched = changes.join(keys.lazy(), on=contract.load.key, how="semi")
            winners = _pick_winners(touched, contract, read_declared(lake, contract))
            older = winners.filter(pl.col("_batch_id") != batch_id)
            if older.height and not contract.load.partial_updates:
                held = read_frame(table, [*contract.load.key, *_PLACE])
                older = older.join(held, on=[*contract.load.key, *_PLACE], how="anti")
        if get_last_batch(table) == 0:  # derived anew, whole, of changes that the models have seen
            older = older.clear()
        # A row that may have changed without being of this batch: an older snapshot holds again, a late record filled
        # what the last one left out, the contract's order is another. By `_batch_id` alone, no model would see it.
        append_touched_keys(lake, contracts, contract, older.select(contract.load.key), batch_id, "derived")
        adds, removes, _ = take_out_keys(table, keys)
        if winners.height:
            adds.append(write_part(get_folder(table), winners))
    commit(table, adds, removes, batch_id, {"batch_id": batch_id, "run_id": run_id, "derived": True})


def derive_current(changes: pl.LazyFrame, contract: Contract, declared: Spans) -> pl.DataFrame:
    """Return the whole table that SQL sees, as it follows from its changes.

    Parameters
    ----------
    declared : when the contract had each column (`read_declared`).
    """
    is_replaced = contract.load.mode == "replace"
    found = _pick_snapshot(changes, contract) if is_replaced else _pick_winners(changes, contract, declared)
    return found.drop("_absent", strict=False)


def _pick_winners(changes: pl.LazyFrame, contract: Contract, declared: Spans) -> pl.DataFrame:
    """Return the last record of every key; one that deletes stays, as a tombstone that the view hides."""
    key, order = contract.load.key, get_order(contract)
    if not contract.load.partial_updates:
        return _pick_whole_records(changes, key, [column for column in order if column not in key])
    ordered = changes.sort(order, nulls_last=False)
    if contract.load.delete_when:
        # What a key was before it was deleted, or what its deletion said, is not part of what it is when it comes back.
        # Null in what came before the contract had the setting.
        deletions = pl.col("_is_deleted").fill_null(False).cum_sum(reverse=True).over(key)
        is_last = pl.int_range(pl.len(), 0, -1).over(key) == 1
        ordered = ordered.filter((deletions == 0) | is_last)
    others = [name for name in changes.collect_schema().names() if name.startswith("_") and name != "_absent"]
    columns = [column.name for column in contract.columns]
    extra = [n for n in changes.collect_schema().names() if n not in columns and not n.startswith("_")]
    filled = [
        pl.col(name).filter(_says(name, declared.get(name, []))).last()
        for name in [*columns, *extra]
        if name not in key
    ]
    return (
        ordered.group_by(key, maintain_order=True)
        .agg(*filled, *(pl.col(name).last() for name in others))
        .select(*columns, *extra, *others)
        .collect()
    )


def _says(name: str, spans: list[tuple[dt.datetime, dt.datetime]]) -> pl.Expr:
    """Tell which records say what a column is; with the others it keeps the value it had.

    Null, where mentioned, is a value; but while the contract does not have the column, nobody notes who leaves it out.
    """
    is_left_out = pl.col("_absent").fill_null("[]").str.contains(f'"{name}"', literal=True)
    is_noted = (pl.col("_ingested_at").is_between(begin, end, closed="left") for begin, end in spans)
    return pl.any_horizontal(pl.col(name).is_not_null(), *is_noted) & ~is_left_out


def _pick_whole_records(changes: pl.LazyFrame, key: list[str], order: list[str]) -> pl.DataFrame:
    """Return the last record of every key.

    Narrow first, and wide only what wins: a full copy touches every key, and sorting their whole history, two years of
    80,000 customers, took 2.7 GB.
    """
    # Null, which is the least, only where all are.
    newest = changes.group_by(key).agg(pl.col(order[0]).max()).collect(engine="streaming")
    rivals = changes.select(*key, *order).join(newest.lazy(), on=[*key, order[0]], how="semi", nulls_equal=True)
    last = rivals.collect(engine="streaming").sort(order, nulls_last=False).unique(key, keep="last").select(_PLACE)
    # Which batches, so that other data files are not read.
    batches = last["_batch_id"].unique().implode()
    winners = changes.filter(pl.col("_batch_id").is_in(batches)).join(last.lazy(), on=_PLACE, how="semi")
    # One record a key, also if two should ever share a place.
    return winners.collect(engine="streaming").sort(order).unique(key, keep="last", maintain_order=True)


def _pick_snapshot(changes: pl.LazyFrame, contract: Contract) -> pl.DataFrame:
    """Return the rows of the newest full snapshot: the file that is last in the total order."""
    order = [*contract.load.sequence_by, "_batch_id", "_source_file"]
    # A record replayed from the quarantine has a later batch than the file it belongs to, and does not make that newer.
    came = pl.col("_batch_id").min()
    files = changes.select(order).group_by("_source_file").agg(pl.col(contract.load.sequence_by).max(), came).collect()
    if not files.height:
        return changes.collect()
    newest = files.sort(order, nulls_last=False).row(-1, named=True)["_source_file"]
    rows = changes.filter(pl.col("_source_file") == newest).sort("_source_row")
    return rows.unique(contract.load.key, keep="last", maintain_order=True).collect()


def append_touched_keys(
    lake: Lake, contracts: Contracts, contract: Contract, keys: pl.DataFrame, batch_id: int, reason: str
) -> None:
    """Write down keys whose rows a commit takes away, so that the models recompute them.

    Parameters
    ----------
    keys : key columns; duplicates are written once.
    reason : superseded, tombstone, disappeared, derived, undone or restored.
    """
    texts = [json.dumps(key, default=str) for key in keys.unique().iter_rows(named=True)]
    _append_touched(lake, contracts, contract, texts, batch_id, reason)


def distrust_models(lake: Lake, contracts: Contracts, contract: Contract, batch_id: int) -> None:
    """Write down that a table is made anew: which rows it lost nobody can tell, so the models recompute every key."""
    _append_touched(lake, contracts, contract, ["{}"], batch_id, REBUILT)


def _append_touched(
    lake: Lake, contracts: Contracts, contract: Contract, keys: list[str], batch_id: int, reason: str
) -> None:
    if not keys:
        return
    now = dt.datetime.now(dt.UTC)
    rows = [
        {
            "table_name": contract.table,
            "key_json": key,
            "batch_id": batch_id,
            "reason": reason,
            "recorded_at": now,
        }
        for key in keys
    ]
    append(lake.ops("touched_keys"), make_frame(contracts.get_record("touched_keys"), rows), batch_id)

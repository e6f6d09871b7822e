"""Derive the current state of a merged table from its changes, for the keys that a batch touched.

The truth is `<table>_changes`: every record that ever came and was not superseded. The winner per key is the last in
a total order, so that neither the order of arrival nor a second look changes the result.
"""

from __future__ import annotations

import polars as pl

from lakeops.bronze.parts import get_folder, take_out_keys
from lakeops.bronze.tables import get_current, get_truth
from lakeops.contract import Contract
from lakeops.delta import commit, open_table, write_part
from lakeops.paths import Lake


def get_order(contract: Contract) -> list[str]:
    """Return the columns that order the records of one key, last wins; nulls come first."""
    return [*contract.load.sequence_by, "_batch_id", "_source_file", "_source_row"]


def refresh_current(lake: Lake, contract: Contract, keys: pl.DataFrame, batch_id: int, run_id: str) -> None:
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
        winners = (
            pl.scan_delta(open_table(get_truth(lake, contract)))
            .join(keys.lazy(), on=contract.load.key, how="semi")
            .sort(get_order(contract), nulls_last=False)
            .unique(contract.load.key, keep="last", maintain_order=True)
            .collect()
        )
        adds, removes, _ = take_out_keys(table, keys)
        if winners.height:
            adds.append(write_part(get_folder(table), winners))
    commit(table, adds, removes, batch_id, {"batch_id": batch_id, "run_id": run_id, "derived": True})

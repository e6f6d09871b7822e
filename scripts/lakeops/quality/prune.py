"""Take out of the lake's records what is older than they promise to be kept."""

from __future__ import annotations

import datetime as dt

from deltalake import CommitProperties
from deltalake.exceptions import DeltaError

from lakeops.contract import Contracts
from lakeops.delta import make_commit_error, open_table
from lakeops.paths import Lake


def prune_records(lake: Lake, contracts: Contracts, now: dt.datetime) -> dict[str, int]:
    """Delete the rows of every record with a `meta.retention` that are older than it says; their files stay for vacuum.

    Returns
    -------
    How many rows were deleted, by record; a record with nothing that old is not written.

    Raises
    ------
    BronzeCommitError : a record cannot be written.
    """
    deleted = {}
    for record in contracts.records:
        if record.retention is None:
            continue
        before = now - dt.timedelta(days=record.retention.days)
        path = lake.ops(record.name)
        # In the column's own type: delta-rs compares no two others.
        moment = f"""arrow_cast('{before:%Y-%m-%dT%H:%M:%SZ}', 'Timestamp(Microsecond, Some("UTC"))')"""
        try:
            counts = open_table(path).delete(
                f"{record.retention.by} < {moment}",
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except (DeltaError, OSError) as error:
            raise make_commit_error(path, error) from error
        deleted[record.name] = counts["num_deleted_rows"] or 0
    return deleted

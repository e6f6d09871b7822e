"""What was done to the lake by hand or by upkeep: the record `maintenance_history`, append-only."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any

from lakeops.contract import Contracts
from lakeops.delta import append
from lakeops.errors import UsageError
from lakeops.ledger import make_frame
from lakeops.paths import Lake
from lakeops.settings import get_account

NAME = "maintenance_history"


@dataclass(frozen=True)
class Operation:
    """One thing that was done to one table, or to the whole lake.

    The fields are columns of the record; see dbt/models/ops/ops.yml. `details` is written as JSON.
    """

    operation: str
    table_name: str | None = None
    reason: str | None = None
    batch_id: int | None = None
    version_before: int | None = None
    version_after: int | None = None
    rows_added: int | None = None
    rows_removed: int | None = None
    files_before: int | None = None
    files_after: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    oldest_restorable_version: int | None = None
    details: dict[str, Any] | None = None
    seconds: float | None = None


def record_operations(
    lake: Lake, contracts: Contracts, operations: list[Operation], now: dt.datetime, batch_id: int = 0
) -> None:
    """Keep operations in `maintenance_history`, in one commit, under the account that runs this.

    Parameters
    ----------
    batch_id : the next batch is larger than this one, whatever the tables say.

    Raises
    ------
    BronzeCommitError : the record cannot be written.
    """
    rows = [
        asdict(operation)
        | {
            "details": json.dumps(operation.details, ensure_ascii=False, default=str) if operation.details else None,
            "done_by": get_account(),
            "done_at": now,
        }
        for operation in operations
    ]
    append(lake.ops(NAME), make_frame(contracts.get_record(NAME), rows), batch_id)


def check_reason(reason: str) -> str:
    """Return a reason without blanks around it.

    Raises
    ------
    UsageError : it says nothing.
    """
    if not reason.strip():
        raise UsageError(
            "What mends data by hand needs a reason.",
            where="--reason",
            expected="a sentence for whoever asks in a year",
            found="nothing",
            next_step='for example --reason "sent twice, see ticket 12"',
        )
    return reason.strip()

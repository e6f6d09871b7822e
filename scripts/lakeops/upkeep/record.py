"""Keep what upkeep did in `maintenance_history`, with the oldest version from which on all can be read."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

from lakeops.contract import Contracts
from lakeops.maintenance import Operation, record_operations
from lakeops.settings import Settings
from lakeops.upkeep.log import list_files, list_readable, read_log


def keep_record(settings: Settings, contracts: Contracts, operation: Operation, folder: Path | None = None) -> None:
    """Write down one operation on one table, at once: what follows may fail.

    Parameters
    ----------
    folder : the table's; None if the operation was not on a table of the lake.
    """
    if folder is not None:
        ranges = list_readable(read_log(folder), list_files(folder))
        operation = replace(operation, oldest_restorable_version=ranges[-1][0] if ranges else None)
    record_operations(settings.lake, contracts, [operation], dt.datetime.now(dt.UTC))

"""Read the quarantine through its view, which knows what became of each record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lakeops.errors import UsageError
from lakeops.warehouse.connection import UNREADABLE, connect


def count_quarantine(warehouse: Path, table: str | None, file: str | None, *, everything: bool) -> list[dict[str, Any]]:
    """Return how many records are in quarantine, by table, file, reason, batch and status.

    Parameters
    ----------
    table, file : only those of a table or a raw file; None for all.
    everything : also records that are no longer open.

    Raises
    ------
    UsageError : the warehouse has no view of the quarantine, or one that leads nowhere.
    """
    return _select(
        warehouse,
        "table_name, source_file, reason, batch_id, status, count(*) as records, min(source_row) as first_line",
        "group by all order by table_name, source_file, batch_id, reason",
        table,
        file,
        everything=everything,
    )


def list_quarantine(
    warehouse: Path, table: str | None, file: str | None, *, everything: bool, limit: int
) -> list[dict[str, Any]]:
    """Return records of the quarantine word for word, at most `limit`, in the order of file and line.

    Raises
    ------
    UsageError : the warehouse has no view of the quarantine, or one that leads nowhere.
    """
    return _select(
        warehouse,
        "table_name, source_file, source_row, reason, column_name, detail, status, batch_id, raw_record",
        f"order by table_name, source_file, source_row limit {int(limit)}",
        table,
        file,
        everything=everything,
    )


def _select(
    warehouse: Path, columns: str, tail: str, table: str | None, file: str | None, *, everything: bool
) -> list[dict[str, Any]]:
    with connect(warehouse) as connection:
        try:
            found = connection.execute(
                f"""
                select {columns} from main.quarantine
                where ($table is null or table_name = split_part($table, '.', -1))
                    and ($file is null or source_file = $file)
                    and ($everything or status = 'open')
                {tail}""",
                {"table": table, "file": file, "everything": everything},
            )
            names, rows = [column[0] for column in found.description], found.fetchall()
        except UNREADABLE as error:
            # Also a load that found no usable contract.
            raise UsageError(
                "The warehouse does not know the quarantine yet, or not where it is now.",
                where=str(warehouse),
                expected="the view quarantine, which each load makes sure of",
                found=str(error).splitlines()[0],
                next_step="lakeops load; if there is nothing new, it only makes the views",
            ) from error
        return [dict(zip(names, row, strict=True)) for row in rows]

"""Give back to the disk what the DuckDB file no longer uses: DuckDB reuses free blocks, but never shrinks its file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import duckdb

from lakeops.contract import Contracts, load_contracts
from lakeops.errors import LakeopsError
from lakeops.maintenance import Operation
from lakeops.settings import Settings
from lakeops.upkeep.record import keep_record
from lakeops.warehouse import connect, ensure_views

# Less than this is soon used again by the next build.
DUE_BYTES = 64 << 20
DUE_SHARE = 0.5


@dataclass(frozen=True)
class Bloat:
    """How large the DuckDB file is, and how much of it holds nothing."""

    bytes: int
    free_bytes: int

    @property
    def is_due(self) -> bool:
        """Tell whether writing it anew is worth it."""
        return self.free_bytes >= DUE_BYTES and self.free_bytes >= DUE_SHARE * self.bytes


def measure_bloat(settings: Settings) -> Bloat:
    """Return how much of the warehouse's file is free.

    Raises
    ------
    LockedError : another process holds it.
    """
    with connect(settings.warehouse) as connection:
        return _measure(connection)


def _measure(connection: duckdb.DuckDBPyConnection) -> Bloat:
    found = connection.execute("select block_size, total_blocks, free_blocks from pragma_database_size()").fetchone()
    return Bloat(found[0] * found[1], found[0] * found[2])


def compact_warehouse(settings: Settings, contracts: Contracts) -> None:
    """Write the warehouse's file anew without what is free, and put it in the old one's place at once.

    Raises
    ------
    LockedError : another process has it open.
    LakeopsError : it cannot be copied; the old file stays.
    """
    started = time.monotonic()
    warehouse = settings.warehouse
    fresh = warehouse.with_name(f".{warehouse.name}.{os.getpid()}")
    for left in warehouse.parent.glob(f".{warehouse.name}.*"):  # by one that was killed
        if time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)
    # Held from before the copy until after the exchange: nobody writes to the file that is about to go.
    with connect(warehouse) as connection:
        before = _measure(connection)
        try:
            connection.execute("checkpoint")
            connection.execute(f"attach '{str(fresh).replace(chr(39), chr(39) * 2)}' as fresh")
            name = connection.execute("select current_catalog()").fetchone()[0]
            connection.execute(f'copy from database "{name}" to fresh')
            connection.execute("detach fresh")
        except (duckdb.Error, OSError) as error:
            fresh.unlink(missing_ok=True)
            raise LakeopsError(
                "The warehouse could not be written anew; it is as it was.",
                where=str(warehouse),
                found=str(error).splitlines()[0][:300],
                next_step="free space on the disk, or delete the file and run: make incremental",
            ) from error
        fresh.replace(warehouse)
    with connect(warehouse) as connection:
        ensure_views(connection, settings.lake, load_contracts(settings.models))
        after = _measure(connection)
    operation = Operation(
        "compact",
        files_before=1,
        files_after=1,
        bytes_before=before.bytes,
        bytes_after=after.bytes,
        details={"file": warehouse.name},
        seconds=time.monotonic() - started,
    )
    keep_record(settings, contracts, operation)

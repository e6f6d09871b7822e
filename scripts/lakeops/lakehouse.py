"""Hold the lake: locked, every table and view there, and mended after a killed run."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lakeops.bronze import check_tables, ensure_lake, heal_lake, record_schema_changes, widen_tables
from lakeops.console import say
from lakeops.contract import Contracts, load_contracts
from lakeops.errors import BronzeCommitError, LockedError
from lakeops.ledger import Ledger, load_ledger
from lakeops.paths import Lake
from lakeops.settings import Settings

# Two people who start the job at once: the second waits this long before it gives up.
LOCK_PATIENCE_SECONDS = 10.0


@contextmanager
def lock_lake(lake: Lake) -> Iterator[None]:
    """Hold the lake's lock: one loader at a time.

    Raises
    ------
    LockedError : another process holds it; the message names it.
    BronzeCommitError : the lake cannot be written, or something else failed on the disk while it was held.
    """
    try:
        lake.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lake.lock, timeout=LOCK_PATIENCE_SECONDS)
        with lock:
            owner = lake.lock.with_suffix(".owner")
            owner.write_text(f"process {os.getpid()}, since {_now():%Y-%m-%d %H:%M:%S} UTC", encoding="utf-8")
            try:
                yield
            finally:
                owner.unlink(missing_ok=True)
    except Timeout as error:
        holder = lake.lock.with_suffix(".owner")
        raise LockedError(
            "Another loader is at work on this lake.",
            where=str(lake.folder),
            found=holder.read_text(encoding="utf-8") if holder.exists() else "a process that left no name",
            next_step="wait for it to end, then run the command again; it will load what is left",
        ) from error
    except OSError as error:
        place = str(error.filename or lake.folder)
        is_ours = Path(place).is_relative_to(lake.folder)
        raise BronzeCommitError(
            "The lake cannot be written." if is_ours else "A file outside the lake cannot be read or written.",
            where=place,
            found=str(error),
            next_step="check the folder's rights and the disk's free space, then run the command again",
        ) from error


@contextmanager
def open_lake(settings: Settings, rebuild: Collection[str] = ()) -> Iterator[tuple[Contracts, Ledger]]:
    """Hold the lake, whole: locked, every table and view there, and mended after a killed run.

    Parameters
    ----------
    rebuild : tables that may be lost, since the caller loads them again.

    Yields
    ------
    The contracts and the ledger.

    Raises
    ------
    LakeopsError : of the kind that says what is wrong; nothing of the caller's work was begun.
    """
    from lakeops.warehouse import connect, ensure_views

    contracts = load_contracts(settings.models)
    with lock_lake(settings.lake):
        # The warehouse first: if somebody holds it, that must be known before anything is committed.
        with connect(settings.warehouse) as connection:
            ledger = load_ledger(settings.lake)
            check_tables(settings.lake, contracts, ledger, rebuild)
            widen_tables(settings.lake, contracts)
            ensure_lake(settings.lake, contracts)
            ensure_views(connection, settings.lake, contracts)
        record_schema_changes(settings.lake, contracts, None, _now())
        for sentence in heal_lake(settings.lake, contracts, ledger, _now()):
            say(f"healed: {sentence}")
        yield contracts, ledger


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

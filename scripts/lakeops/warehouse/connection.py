"""Open the warehouse for as short as possible, and say who holds it if somebody does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import duckdb_extension_delta

from lakeops.delta import make_commit_error
from lakeops.errors import LakeopsError, LockedError, UsageError

# A person's query holds the file for moments; a forgotten command line holds it for good.
PATIENCE_SECONDS = 5.0
# DuckDB's own default is four fifths of the machine, and it takes it; with this it spills to disk, and a full refresh
# of 720 days takes as long (runbooks/performance.md).
MEMORY = "600MB"
# What DuckDB raises where a view is not there, or cannot read what it was made for: a warehouse nobody loaded into, a
# project that was moved, a lake that is gone.
UNREADABLE = (duckdb.CatalogException, duckdb.BinderException, duckdb.IOException)


@contextmanager
def connect(
    warehouse: Path, *, patience: float = PATIENCE_SECONDS, read_only: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse, with the delta extension at hand.

    Parameters
    ----------
    warehouse : the DuckDB file; created if missing.
    patience : seconds to wait for another process to let go of it.
    read_only : stand in no other reader's way.

    Raises
    ------
    LockedError : another process still holds the file.
    UsageError : there can be no file of that name.
    LakeopsError : the file is no DuckDB database, or was written by another version; or what it was asked needs more
        memory than it may have.
    BronzeCommitError : the disk is full.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            warehouse.parent.mkdir(parents=True, exist_ok=True)
            if not warehouse.exists():
                _create(warehouse)
            connection = duckdb.connect(str(warehouse), read_only=read_only)
            break
        except duckdb.IOException as error:
            holder = find_lock_holder(str(error))
            if holder is None:
                raise _explain_open(warehouse, error) from error
            if time.monotonic() > give_up:
                raise make_locked_error(warehouse, *holder) from error
            time.sleep(0.25)
        except duckdb.Error as error:
            raise _explain_open(warehouse, error) from error
        except OSError as error:
            raise UsageError(
                "The warehouse cannot be made.",
                where=str(warehouse),
                expected="a name in a folder that is there or can be made, and that can be written",
                found=str(error),
                next_step="name another file with LAKEOPS_WAREHOUSE, or make room and rights there",
            ) from error
    try:
        prepare_connection(connection)
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise LakeopsError(
            "DuckDB needs more memory than it may have.",
            where=str(warehouse),
            expected=f"at most {os.environ.get('LAKEOPS_MEMORY') or MEMORY}; it spills to disk what it can",
            found=str(error).splitlines()[0],
            next_step="set LAKEOPS_MEMORY to more, or ask for fewer rows or columns",
        ) from error
    except duckdb.Error as error:
        if "No space left" not in str(error):
            raise
        raise make_commit_error(warehouse, error) from error
    finally:
        connection.close()


def drop_warehouse(warehouse: Path) -> None:
    """Delete the DuckDB file, also one that cannot be opened any more: the lake holds all that it is made of.

    Raises
    ------
    LockedError : another process has it open.
    LakeopsError : it cannot be deleted.
    """
    try:
        with connect(warehouse):
            pass
    except LockedError:
        raise
    except LakeopsError:
        pass  # damaged, or of another version: in nobody's hands
    try:
        for file in (warehouse, warehouse.with_name(f"{warehouse.name}.wal")):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _explain_open(warehouse, error) from error


def _create(warehouse: Path) -> None:
    """Make a DuckDB file whole or not at all: half of one, left by a killed process, could not be opened again."""
    fresh = warehouse.with_name(f".{warehouse.name}.{os.getpid()}")
    if fresh.exists():  # left by a killed process that had the same number
        fresh.unlink()
    duckdb.connect(str(fresh)).close()
    with contextlib.suppress(FileExistsError):  # another process was faster
        warehouse.hardlink_to(fresh)
    fresh.unlink()


def find_lock_holder(message: str) -> tuple[str, str] | None:
    """Return program and process id of who holds a DuckDB file, from DuckDB's message; None if it names nobody."""
    found = re.search(r"Conflicting lock is held in (.+?) \(PID (\d+)\)", message)
    return (found[1], found[2]) if found else None


def make_locked_error(warehouse: Path, program: str, process: str) -> LockedError:
    """Return the error that names who holds the warehouse."""
    return LockedError(
        "The warehouse is locked.",
        where=str(warehouse),
        expected="no other process has the file open",
        found=f"{program} (process {process}) holds it",
        next_step=f"close it there, or wait (kill {process} is the last resort), then run the command again",
    )


def prepare_connection(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `delta_scan` work, and bound memory: `LAKEOPS_MEMORY`, as DuckDB writes it, else MEMORY.

    Installs the extension from its wheel if this DuckDB lacks it; never from a download. That writes below `~/.duckdb`,
    so that a plain `duckdb` command line finds the extension as well.

    Raises
    ------
    UsageError : `LAKEOPS_MEMORY` is no amount of memory.
    LakeopsError : DuckDB cannot keep the extension, or load what it has of it.
    """
    folder = Path(duckdb_extension_delta.__file__).parent / "extensions" / f"v{duckdb.__version__}"
    extension = folder / "delta.duckdb_extension"
    with extension.open("rb") as file:
        # DuckDB calls it installed when half of its two files are there: of two first commands at once, one failed.
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            installed = connection.execute(
                "select installed from duckdb_extensions() where extension_name = 'delta'"
            ).fetchone()
            if not (installed and installed[0]):
                connection.execute(f"install '{extension}'")
        except duckdb.Error as error:
            # An account of a service may have no home, or one it may not write.
            raise LakeopsError(
                "DuckDB cannot keep its delta extension.",
                where=str(Path(os.environ.get("HOME") or "~") / ".duckdb"),
                expected="HOME: a folder that this account may write; the extension is put into its .duckdb once",
                found=str(error).splitlines()[0][:300],
                next_step="set HOME to such a folder, then run the command again",
            ) from error
    connection.execute("set TimeZone = 'UTC'")
    amount = os.environ.get("LAKEOPS_MEMORY") or MEMORY
    try:
        connection.execute("set memory_limit = ?", [amount])
    except duckdb.Error as error:
        raise UsageError(
            "That is no amount of memory.",
            where="LAKEOPS_MEMORY",
            expected=f"a number with KB, MB, GB, KiB, MiB or GiB, such as {MEMORY}",
            found=amount,
            next_step="set it to one, or unset it",
        ) from error


def _explain_open(warehouse: Path, error: Exception) -> LakeopsError:
    if "No space left" in str(error):
        return make_commit_error(warehouse, error)
    return LakeopsError(
        "The warehouse cannot be opened.",
        where=str(warehouse),
        expected=f"a database of DuckDB {duckdb.__version__}",
        found=str(error).splitlines()[0][:300],
        next_step="it is a cache: lakeops rebuild warehouse makes it anew (runbooks/warehouse-lost.md)",
    )

"""Copies of the lake in another folder, each of one moment, and the way back from them.

A file is kept once, under the hash of its bytes, whichever generations hold it. A generation is its list of files,
which is written last: a backup that was killed is none, and what it copied serves the next one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lakeops import __version__
from lakeops.bronze.tables import list_half_rebuilt
from lakeops.console import say, show_progress
from lakeops.contract import Contracts, load_contracts
from lakeops.delta import ensure_table, get_last_batch, open_table
from lakeops.errors import BronzeCommitError, LakeopsError, LockedError, UsageError
from lakeops.files import write_whole
from lakeops.lakehouse import LOCK_PATIENCE_SECONDS, lock_lake
from lakeops.maintenance import NAME as HISTORY
from lakeops.maintenance import Operation, record_operations
from lakeops.paths import Lake
from lakeops.raw import compute_fingerprint
from lakeops.recovery.doctor import find_wrong_places
from lakeops.recovery.health import LOG
from lakeops.settings import Settings
from lakeops.warehouse import drop_warehouse

# A restored lake goes on counting above whatever was loaded after the backup; nobody can know how far that came.
BATCH_GAP = 1_000_000
_COPY_BYTES = 1 << 20
_NAME = "%Y%m%dT%H%M%SZ"
_GENERATION = re.compile(r"\d{8}T\d{6}Z")
# Bytes under their hash, or half of them, under the process that copied them.
_OBJECT = re.compile(r"[0-9a-f]{64}|\.\d+")
_TEMPORARY = re.compile(r"(^|/)(\.|_commit_)|\.tmp$")


@dataclass(frozen=True)
class Kept:
    """One file of a generation."""

    sha256: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Generation:
    """The lake at one moment.

    Parameters
    ----------
    name : when (UTC), as a name that sorts.
    files : by path relative to the lake.
    problem : why its list of files cannot be read; empty if it can.
    """

    name: str
    files: dict[str, Kept]
    problem: str = ""

    @property
    def size_bytes(self) -> int:
        """Return how many bytes a restore writes."""
        return sum(kept.size_bytes for kept in self.files.values())


@dataclass(frozen=True)
class BackupOutcome:
    """What a backup did; `copied` counts files and bytes that the folder did not have yet."""

    generation: str
    files: int
    size_bytes: int
    files_copied: int
    bytes_copied: int
    seconds: float


def back_up(settings: Settings, folder: Path) -> BackupOutcome:
    """Copy the lake into a folder: what is new there, or no longer what it was; all of it is read back.

    The list of files is made under the lake's lock, in a moment; data files and log entries never change after that,
    so a load may go on while they are copied. Afterwards, what no generation needs any more is deleted.

    Raises
    ------
    UsageError : the folder lies in the lake, or cannot be written.
    BronzeCommitError : the lake is damaged, or a file left it meanwhile; no generation is made.
    LockedError : a loader is at work, or another backup into the same folder.
    """
    started = time.monotonic()
    lake = settings.lake
    folder = folder.absolute()
    if folder.resolve().is_relative_to(lake.folder):
        raise UsageError("A backup does not belong into the lake.", where=str(folder), next_step="name another disk")
    contracts = load_contracts(settings.models)
    try:
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # it holds what the quarantine holds
    except OSError as error:
        raise _make_folder_error(folder, error) from error
    with _lock_folder(folder):
        with hold_lake(lake):
            _check_is_whole(lake, contracts)
            listed, texts = _list_files(lake)
        files, *copied = _copy(lake, folder, listed, texts)
        now = dt.datetime.now(dt.UTC)
        name = _make_name(folder, now)
        manifest = {"lakeops": __version__, "files": {path: asdict(kept) for path, kept in sorted(files.items())}}
        try:
            write_whole(folder / "generations" / f"{name}.json", json.dumps(manifest, indent=0))
        except UsageError as error:
            raise _make_folder_error(folder, OSError(0, error.found)) from error
        _free(folder)
    outcome = BackupOutcome(
        name, len(files), sum(kept.size_bytes for kept in files.values()), *copied, time.monotonic() - started
    )
    details = {"folder": str(folder), "generation": name, "files": outcome.files, "files_copied": outcome.files_copied}
    operation = Operation("backup", bytes_after=outcome.size_bytes, details=details, seconds=outcome.seconds)
    try:
        record_operations(lake, contracts, [operation], now)
    except LakeopsError as error:  # the copy is good; a lake that cannot be written is why one may want it
        say(f"warning: the backup is not in maintenance_history: {error.found or error.what}")
    return outcome


def load_generations(folder: Path) -> list[Generation]:
    """Return the generations of a backup folder, oldest first; of one that cannot be read, only name and problem."""
    generations = []
    for file in _list_generations(folder):
        try:
            generations.append(_load_generation(file))
        except UsageError as error:
            generations.append(Generation(file.stem, {}, error.found))
    return generations


def _make_name(folder: Path, now: dt.datetime) -> str:
    """Return a name that sorts after all others, also where the clock was ahead for one of them."""
    name = f"{now:{_NAME}}"
    last = max((file.stem for file in _list_generations(folder)), default="")
    if last < name:
        return name
    return f"{dt.datetime.strptime(last, _NAME).replace(tzinfo=dt.UTC) + dt.timedelta(seconds=1):{_NAME}}"


def _list_generations(folder: Path) -> list[Path]:
    return sorted(file for file in (folder / "generations").glob("*.json") if _GENERATION.fullmatch(file.stem))


def _load_generation(file: Path) -> Generation:
    try:
        files = json.loads(file.read_text(encoding="utf-8"))["files"]
        return Generation(file.stem, {name: Kept(**kept) for name, kept in files.items()})
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            "A generation of the backup cannot be read.",
            where=str(file),
            found=str(error)[:200],
            next_step="restore-from: --at names another one; or move this file away, and the newest other one is taken",
        ) from error


def restore_backup(settings: Settings, folder: Path, at: str | None, reason: str) -> tuple[Generation, Path | None]:
    """Bring a lake back from a backup; what lies there now is moved aside, and the warehouse with it.

    Returns
    -------
    The generation, and the folder to which the damaged lake was moved; None if there was none.

    Raises
    ------
    UsageError : there is no such generation, or the lake is in order.
    BronzeCommitError : a kept file is not what it was; the lake is as before.
    """
    started = time.monotonic()
    lake, contracts = settings.lake, load_contracts(settings.models)
    generation = pick_generation(folder, at)
    with lock_lake(lake):
        _check_may_replace(lake, contracts)
        now = dt.datetime.now(dt.UTC)
        aside = lake.folder / f".damaged-{now:%Y%m%dT%H%M%S}" if _list_present(lake) else None
        with _stage(lake) as staged:
            with show_progress("restore", len(generation.files)) as advance:
                for name, kept in generation.files.items():
                    _bring_back(folder, kept, staged / name)
                    advance()
            for table in staged.glob("quarantine/delta/*"):
                table.chmod(0o700)
            details = {"folder": str(folder.absolute()), "generation": generation.name, "aside": aside and str(aside)}
            operation = Operation("restore", reason=reason, details=details, seconds=time.monotonic() - started)
            _record_restore(Lake(staged), contracts, operation, now)
            # Before the switch: one built from the lake of before would take restored rows for old ones.
            drop_warehouse(settings.warehouse)
            _switch(lake, staged, aside)
    return generation, aside


def _record_restore(staged: Lake, contracts: Contracts, operation: Operation, now: dt.datetime) -> None:
    """Write a restore down, in the lake that it brings: killed after the switch, it could not say the next batch."""
    tables = [log.parent for log in staged.folder.glob(f"*/delta/*/{LOG}")]
    last = max((get_last_batch(open_table(table)) for table in tables), default=0)
    # The backup may be older than the record, or than a column of it.
    ensure_table(staged.ops(HISTORY), contracts.get_record(HISTORY).columns)
    record_operations(staged, contracts, [operation], now, batch_id=(last // BATCH_GAP + 1) * BATCH_GAP)


def bring_back(folder: Path, generation: Generation, name: str, target: Path) -> bool:
    """Put one file of a generation into place, verified; returns False if the generation does not have it."""
    kept = generation.files.get(name)
    if kept is None:
        return False
    _bring_back(folder, kept, target)
    return True


def pick_generation(folder: Path, at: str | None) -> Generation:
    """Return the generation of a name, or the newest; no other is read.

    Raises
    ------
    UsageError : there is no such generation, or it cannot be read.
    """
    files = _list_generations(folder)
    for file in reversed(files):
        if at in (None, file.stem):
            return _load_generation(file)
    raise UsageError(
        "There is no such backup.",
        where=str(folder),
        expected=at or "at least one generation",
        found=", ".join(file.stem for file in files) or "none that was finished",
        next_step="lakeops backup --to DIR --list names them",
    )


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Keep other backups out: what they copied is in no generation yet, and would be taken for left over."""
    lock = FileLock(folder / ".lock", timeout=LOCK_PATIENCE_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(
            "Another backup into this folder is at work.",
            where=str(folder),
            next_step="wait for it to end, then run the command again",
        ) from error
    except OSError as error:
        raise _make_folder_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def hold_lake(lake: Lake) -> Iterator[None]:
    """Hold the lake's lock; on a read-only disk there is nobody to keep out."""
    if os.access(lake.folder, os.W_OK) or not lake.folder.is_dir():
        with lock_lake(lake):
            yield
    else:
        yield


def _check_is_whole(lake: Lake, contracts: Contracts) -> None:
    wrong = [(place.name, fault) for place, fault in find_wrong_places(lake, contracts)]
    wrong += [(contract.name, "a rebuild was not finished") for contract in list_half_rebuilt(lake, contracts)]
    if wrong or not lake.ops("manifest_processed_files").is_dir():
        raise BronzeCommitError(
            "A lake that is not whole is not backed up.",
            where="\n            ".join(f"{name}: {fault}" for name, fault in wrong) or str(lake.folder),
            found="" if wrong else "no ledger",
            next_step="lakeops doctor says what mends it; the generations of before stay as they are",
        )


def _list_files(lake: Lake) -> tuple[dict[str, tuple[int, int]], dict[str, bytes]]:
    """Return size and time of every file of the lake by name; and the bytes of those that may change any moment.

    A log is listed before its data files: dbt appends to records without the lake's lock, and a data file is there
    before the entry that names it.
    """
    texts: dict[str, bytes] = {}
    listed: dict[str, tuple[int, int]] = {}
    tables = sorted({log.parent for log in lake.folder.glob(f"[!.]*/delta/*/{LOG}")})
    for table in tables:
        pointer = table / LOG / "_last_checkpoint"
        if pointer.is_file():
            texts[pointer.relative_to(lake.folder).as_posix()] = pointer.read_bytes()
        for folder in (table / LOG, table):
            for file in sorted(folder.rglob("*")):
                name = file.relative_to(lake.folder).as_posix()
                if file.is_file() and not _TEMPORARY.search(name) and not (folder == table and LOG in file.parts):
                    stat = file.stat()
                    listed[name] = (stat.st_size, stat.st_mtime_ns)
    if lake.alerts.is_file():
        texts[lake.alerts.relative_to(lake.folder).as_posix()] = lake.alerts.read_bytes()
    return listed | {name: (len(content), 0) for name, content in texts.items()}, texts


def _get_object(folder: Path, sha: str) -> Path:
    return folder / "objects" / sha[:2] / sha


def _has_object(folder: Path, sha: str) -> bool:
    """Tell whether the folder has these bytes. They are read: a disk that rots changes neither size nor time."""
    held = _get_object(folder, sha)
    try:
        return held.is_file() and compute_fingerprint(held) == sha
    except OSError:  # a sector that cannot be read
        return False


def _copy(
    lake: Lake, folder: Path, listed: dict[str, tuple[int, int]], texts: dict[str, bytes]
) -> tuple[dict[str, Kept], int, int]:
    """Keep every listed file; returns what is kept of each, and how many files and bytes the folder did not have."""
    known: dict[str, Kept] = {}
    if before := _list_generations(folder):
        with contextlib.suppress(UsageError):  # then all files are read
            known = _load_generation(before[-1]).files
    files: dict[str, Kept] = {}
    count = new_bytes = 0
    with show_progress("backup", len(listed)) as advance:
        for name, (size, mtime) in listed.items():
            kept = known.get(name)
            is_same = kept and (kept.size_bytes, kept.mtime_ns) == (size, mtime) and name not in texts
            if not is_same or not _has_object(folder, kept.sha256):
                sha, is_new = _keep(folder, lake.folder / name, texts.get(name))
                size = _get_object(folder, sha).stat().st_size
                kept = Kept(sha, size, mtime)
                count, new_bytes = count + is_new, new_bytes + size * is_new
            files[name] = kept
            advance()
    return files, count, new_bytes


def _keep(folder: Path, source: Path, content: bytes | None) -> tuple[str, bool]:
    """Keep a file's bytes, or the given ones; returns their hash and whether they were new."""
    fresh = folder / "objects" / f".{os.getpid()}"
    digest = hashlib.sha256()
    try:
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(source.open("rb")) if content is None else None
            writer = stack.enter_context(fresh.open("wb"))
            for block in iter(lambda: reader.read(_COPY_BYTES), b"") if reader else [content]:
                digest.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        sha = digest.hexdigest()
        target = _get_object(folder, sha)
        if _has_object(folder, sha):
            fresh.unlink()
            return sha, False
        if compute_fingerprint(fresh) != sha:
            raise OSError("what was read back is not what was written")
        target.parent.mkdir(exist_ok=True)
        fresh.replace(target)
        return sha, True
    except FileNotFoundError as error:
        raise BronzeCommitError(
            "A file left the lake while it was copied; no generation was made.",
            where=str(source),
            next_step="run the command again, and not beside a vacuum",
        ) from error
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise _make_folder_error(folder, error) from error


def _free(folder: Path) -> None:
    """Delete the bytes that no generation names, and what a killed backup had half copied.

    Nothing is deleted while anything lies there that cannot be read as a generation: it may name whatever it likes.
    """
    try:
        generations = [_load_generation(file) for file in (folder / "generations").glob("[!.]*")]
    except UsageError as error:
        say(f"warning: nothing of deleted generations is freed, since one cannot be read: {error.where}")
        return
    named = {kept.sha256 for generation in generations for kept in generation.files.values()}
    freed = [0, 0]
    try:
        for file in [path for path in (folder / "objects").glob("**/*") if _OBJECT.fullmatch(path.name)]:
            if file.name not in named and file.is_file():
                freed = [freed[0] + 1, freed[1] + file.stat().st_size]
                file.unlink()
    except OSError as error:
        say(f"warning: not all of what deleted generations had is freed: {error.strerror or error}")
    if freed[0]:
        say(f"freed {freed[0]:,} files, {freed[1]:,} bytes that no generation needs any more")


def _make_folder_error(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        "The backup cannot be written; no generation was made.",
        where=str(folder),
        found=error.strerror or str(error),
        next_step="free space and rights there, or name another folder, then run the command again: it goes on there",
    )


def _check_may_replace(lake: Lake, contracts: Contracts) -> None:
    if (lake.folder / ".restoring").exists() or not any(lake.folder.glob(f"[!.]*/delta/*/{LOG}")):
        return
    ledger_is_gone = not (lake.ops("manifest_processed_files") / LOG).is_dir()
    if ledger_is_gone or list_half_rebuilt(lake, contracts) or find_wrong_places(lake, contracts):
        return
    raise UsageError(
        "This lake is in order; a restore would throw away what was loaded since the backup.",
        where=str(lake.folder),
        expected="an empty or damaged lake",
        next_step="lakeops doctor --deep looks closer, lakeops repair mends one table; "
        f"to go back all the same: mv {lake.folder} {lake.folder}_old",
    )


@contextlib.contextmanager
def _stage(lake: Lake) -> Iterator[Path]:
    """Yield an empty folder in the lake, which is gone afterwards: switched into place, or deleted."""
    staged = lake.folder / ".staging"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        yield staged
    except OSError as error:
        raise BronzeCommitError(
            "The lake was not restored.",
            where=str(lake.folder),
            found=error.strerror or str(error),
            next_step="free space and rights there, then run the command again",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _bring_back(folder: Path, kept: Kept, target: Path) -> None:
    held = _get_object(folder, kept.sha256)
    if not held.is_file() or compute_fingerprint(held) != kept.sha256:
        raise BronzeCommitError(
            "A file of the backup is not what it was; the lake is as before.",
            where=str(held),
            expected=f"SHA-256 {kept.sha256}",
            found="other bytes" if held.is_file() else "no file",
            next_step="take an older generation (--at), or another backup",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(held, fresh)
    if kept.mtime_ns:
        os.utime(fresh, ns=(kept.mtime_ns, kept.mtime_ns))
    fresh.replace(target)


def _list_present(lake: Lake) -> list[Path]:
    return [path for path in sorted(lake.folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _switch(lake: Lake, staged: Path, aside: Path | None) -> None:
    """Put a restored lake in the place of what is there; while `.restoring` is there, nobody else goes on."""
    marker = lake.folder / ".restoring"
    if marker.exists():  # a restore that was killed here: it had moved the damaged lake aside, or part of it
        shutil.rmtree(marker)
    staged.rename(marker)
    for path in _list_present(lake):
        aside.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside / path.name)
    for path in sorted(marker.iterdir()):
        path.rename(lake.folder / path.name)
    for mark in lake.folder.glob(".rebuilding-*"):  # of tables that are aside now
        mark.unlink()
    marker.rmdir()

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

from lakeops import __version__
from lakeops.console import say, show_progress
from lakeops.contract import Contracts, load_contracts
from lakeops.delta import get_last_batch, open_table
from lakeops.errors import BronzeCommitError, LakeopsError, UsageError
from lakeops.files import write_whole
from lakeops.lakehouse import lock_lake
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
_GENERATION = re.compile(r"\d{8}T\d{6}Z")
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
    """

    name: str
    files: dict[str, Kept]

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
    """Copy the lake into a folder: what is new there, verified by reading it back.

    The list of files is made under the lake's lock, in a moment; data files and log entries never change after that,
    so a load may go on while they are copied.

    Raises
    ------
    UsageError : the folder lies in the lake, or cannot be written.
    BronzeCommitError : the lake is damaged, or a file left it meanwhile; no generation is made.
    LockedError : a loader is at work.
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
    with _hold(lake):
        _check_is_whole(lake, contracts)
        listed, texts = _list_files(lake)
    before = load_generations(folder)
    known = before[-1].files if before else {}
    files: dict[str, Kept] = {}
    copied = [0, 0]
    with show_progress("backup", len(listed)) as advance:
        for name, (size, mtime) in listed.items():
            kept = known.get(name)
            is_here = kept and (kept.size_bytes, kept.mtime_ns) == (size, mtime) and name not in texts
            if not is_here or not _has_object(folder, kept):
                sha, is_new = _keep(folder, lake.folder / name, texts.get(name))
                size = _get_object(folder, sha).stat().st_size
                kept = Kept(sha, size, mtime)
                copied = [copied[0] + is_new, copied[1] + size * is_new]
            files[name] = kept
            advance()
    now = dt.datetime.now(dt.UTC)
    name = f"{now:%Y%m%dT%H%M%SZ}"
    manifest = {"lakeops": __version__, "files": {path: asdict(kept) for path, kept in sorted(files.items())}}
    try:
        write_whole(folder / "generations" / f"{name}.json", json.dumps(manifest, indent=0))
    except UsageError as error:
        raise _make_folder_error(folder, OSError(0, error.found)) from error
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
    """Return the generations of a backup folder, oldest first.

    Raises
    ------
    UsageError : one cannot be read.
    """
    generations = []
    for file in sorted((folder / "generations").glob("*.json")):
        if not _GENERATION.fullmatch(file.stem):
            continue
        try:
            files = json.loads(file.read_text(encoding="utf-8"))["files"]
            generations.append(Generation(file.stem, {name: Kept(**kept) for name, kept in files.items()}))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UsageError(
                "A generation of the backup cannot be read.",
                where=str(file),
                found=str(error)[:200],
                next_step="name another one with --at, or move this file away",
            ) from error
    return generations


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
    generation = _pick(folder, at)
    with lock_lake(lake):
        _check_may_replace(lake, contracts)
        staged = lake.folder / ".staging"
        with _write_errors(lake):
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(mode=0o700)
            with show_progress("restore", len(generation.files)) as advance:
                for name, kept in generation.files.items():
                    _bring_back(folder, kept, staged / name)
                    advance()
            for table in staged.glob("quarantine/delta/*"):
                table.chmod(0o700)
            # Before the switch: one built from the lake of before would take restored rows for old ones.
            drop_warehouse(settings.warehouse)
            aside = _switch(lake, staged)
        now = dt.datetime.now(dt.UTC)
        tables = [log.parent for log in lake.folder.glob(f"[!.]*/delta/*/{LOG}")]
        last = max((get_last_batch(open_table(table)) for table in tables), default=0)
        floor = (last // BATCH_GAP + 1) * BATCH_GAP
        operation = Operation(
            "restore",
            reason=reason,
            details={"folder": str(folder.absolute()), "generation": generation.name, "aside": aside and str(aside)},
            seconds=time.monotonic() - started,
        )
        record_operations(lake, contracts, [operation], now, batch_id=floor)
    return generation, aside


def bring_back(folder: Path, generation: Generation, name: str, target: Path) -> bool:
    """Put one file of a generation into place, verified; returns False if the generation does not have it."""
    kept = generation.files.get(name)
    if kept is None:
        return False
    _bring_back(folder, kept, target)
    return True


def _pick(folder: Path, at: str | None) -> Generation:
    generations = load_generations(folder)
    for generation in reversed(generations):
        if at in (None, generation.name):
            return generation
    raise UsageError(
        "There is no such backup.",
        where=str(folder),
        expected=at or "at least one generation",
        found=", ".join(generation.name for generation in generations) or "none that was finished",
        next_step="lakeops backup --to DIR --list names them",
    )


@contextlib.contextmanager
def _hold(lake: Lake) -> Iterator[None]:
    """Hold the lake's lock; on a read-only disk there is nobody to keep out."""
    if os.access(lake.folder, os.W_OK) or not lake.folder.is_dir():
        with lock_lake(lake):
            yield
    else:
        yield


def _check_is_whole(lake: Lake, contracts: Contracts) -> None:
    wrong = find_wrong_places(lake, contracts)
    if wrong or not lake.ops("manifest_processed_files").is_dir():
        raise BronzeCommitError(
            "A lake that is not whole is not backed up.",
            where="\n            ".join(f"{place.name}: {fault}" for place, fault in wrong) or str(lake.folder),
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


def _has_object(folder: Path, kept: Kept) -> bool:
    held = _get_object(folder, kept.sha256)
    return held.is_file() and held.stat().st_size == kept.size_bytes


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
        if target.is_file() and target.stat().st_size == fresh.stat().st_size:
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
    if ledger_is_gone or find_wrong_places(lake, contracts):
        return
    raise UsageError(
        "This lake is in order; a restore would throw away what was loaded since the backup.",
        where=str(lake.folder),
        expected="an empty or damaged lake",
        next_step="lakeops doctor --deep looks closer, lakeops repair mends one table; "
        f"to go back all the same: mv {lake.folder} {lake.folder}.old",
    )


@contextlib.contextmanager
def _write_errors(lake: Lake) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shutil.rmtree(lake.folder / ".staging", ignore_errors=True)
        raise BronzeCommitError(
            "The lake was not restored.",
            where=str(lake.folder),
            found=error.strerror or str(error),
            next_step="free space and rights there, then run the command again",
        ) from error


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


def _switch(lake: Lake, staged: Path) -> Path | None:
    """Put a restored lake in the place of what is there; while `.restoring` is there, nobody else goes on."""
    marker = lake.folder / ".restoring"
    if marker.exists():  # a restore that was killed here: it had moved the damaged lake aside, or part of it
        shutil.rmtree(marker)
    staged.rename(marker)
    aside = lake.folder / f".damaged-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
    present = [path for path in sorted(lake.folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for path in present:
        aside.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside / path.name)
    for path in sorted(marker.iterdir()):
        path.rename(lake.folder / path.name)
    marker.rmdir()
    return aside if aside.is_dir() else None

"""Which files lie in the landing zone, and which contract claims each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lakeops.contract import Contract
from lakeops.errors import ContractError, UsageError
from lakeops.paths import make_file_identity

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Landing:
    """A raw file as it lies there now.

    Parameters
    ----------
    path : where to read it.
    source_file : its identity, relative to the project's root.
    contract : the contract that claims it; None if none does.
    size_bytes, mtime_ns, ctime_ns : as the file system gives them.
    """

    path: Path
    source_file: str
    contract: Contract | None
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @property
    def stat_key(self) -> tuple[int, int, int]:
        """Return what tells an unchanged file without reading it."""
        return (self.size_bytes, self.mtime_ns, self.ctime_ns)


def list_landings(raw: Path, contracts: tuple[Contract, ...], root: Path) -> list[Landing]:
    """List every file under `raw`, in the order of their names.

    Names that begin with `_` or `.` are not data (a convention of Hive and Spark), nor are Markdown files.

    Parameters
    ----------
    raw : the landing zone.
    contracts : who may claim files; patterns are relative to `raw`, `**` spans folders.
    root : the project's root, which identities are relative to.

    Raises
    ------
    UsageError : `raw` is no folder.
    ContractError : two contracts claim one file.
    """
    if not raw.is_dir():
        raise UsageError(
            "There is no such raw folder.",
            where=str(raw),
            expected="a folder with raw files",
            found="a file" if raw.exists() else "nothing",
            next_step="name an existing folder with --raw (make: RAW=…), or create one with: lakeops generate",
        )
    claims = [(contract, _compile_patterns(contract.load.files)) for contract in contracts]
    landings = []
    base = make_file_identity(raw, root)
    for entry, relative in sorted(_walk(raw, ""), key=lambda found: found[1]):
        claimed = [contract for contract, pattern in claims if pattern.fullmatch(relative)]
        if len(claimed) > 1:
            raise ContractError(
                "Two contracts claim one file.",
                where=str(raw / relative),
                expected="exactly one",
                found=", ".join(contract.name for contract in claimed),
                next_step="narrow the patterns under load.files of one of them",
            )
        stat = entry.stat()
        landings.append(
            Landing(
                path=Path(entry.path),
                source_file=f"{base}/{relative}",
                contract=claimed[0] if claimed else None,
                size_bytes=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                ctime_ns=stat.st_ctime_ns,
            )
        )
    return landings


def compute_fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(("_", ".")):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif not entry.name.endswith(".md"):
                yield entry, prefix + entry.name


def _compile_patterns(patterns: list[str]) -> re.Pattern[str]:
    """Return one expression for several globs: `**/` is any number of folders, `*` and `?` stay within one name."""
    parts = []
    for pattern in patterns:
        text = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*\*", ".*")
        parts.append(text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))
    return re.compile("|".join(f"(?:{part})" for part in parts))

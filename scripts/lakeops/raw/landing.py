"""Which files lie in the landing zone, and which contract claims each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lakeops.contract import Contract
from lakeops.errors import ContractError, UsageError
from lakeops.paths import make_file_identity

_BLOCK = 1 << 20


class Landing(NamedTuple):
    """A raw file as it lies there now.

    Parameters
    ----------
    place : where to read it.
    source_file : its identity, relative to the project's root.
    contract : the contract that claims it; None if none does.
    size_bytes, mtime_ns, ctime_ns : as the file system gives them.
    refusal : why it must not even be opened; empty if it may be.
    """

    place: str
    source_file: str
    contract: Contract | None
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    refusal: str = ""

    @property
    def path(self) -> Path:
        """Return where to read it; made when asked for, since most files are never opened again."""
        return Path(self.place)

    @property
    def stat_key(self) -> tuple[int, int, int]:
        """Return what tells an unchanged file without reading it."""
        return (self.size_bytes, self.mtime_ns, self.ctime_ns)


def check_raw(raw: Path) -> None:
    """Raise UsageError if there is no such raw folder."""
    if not raw.is_dir():
        raise UsageError(
            "There is no such raw folder.",
            where=str(raw),
            expected="a folder with raw files",
            found="a file" if raw.exists() else "nothing",
            next_step="name an existing folder with --raw (make: RAW=…), or create one with: lakeops generate",
        )


def list_landings(raw: Path, contracts: tuple[Contract, ...], root: Path) -> list[Landing]:
    """List every file under `raw`, in the order of their names.

    Names that begin with `_` or `.` are not data (a convention of Hive and Spark), nor are Markdown files.
    A link is followed while it stays under `raw`. One that leads out of it, nowhere, or to a folder that is listed
    anyway is itself listed, with a `refusal`, and not followed; so is what is neither a file nor a folder.

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
    check_raw(raw)
    claims = [(contract, _compile_patterns(contract.load.files)) for contract in contracts]
    # By the first part of a name: most contracts have nothing to do with most folders.
    nearby: dict[str, list[tuple[Contract, re.Pattern[str]]]] = {}
    landings = []
    base = make_file_identity(raw, root)
    inside = os.path.realpath(raw)
    for entry, relative, refusal in sorted(_walk(inside, raw, "", set()), key=lambda found: found[1]):
        top = relative.partition("/")[0]
        if top not in nearby:
            nearby[top] = [claim for claim in claims if _may_claim(claim[0], top)]
        claimed = [contract for contract, pattern in nearby[top] if pattern.fullmatch(relative)]
        if len(claimed) > 1:
            raise ContractError(
                "Two contracts claim one file.",
                where=str(raw / relative),
                expected="exactly one",
                found=", ".join(contract.name for contract in claimed),
                next_step="narrow the patterns under load.files of one of them",
            )
        if (spelt := _spell(relative)) != relative:
            relative, refusal = spelt, "bad_name: the name of the file is not UTF-8"
        try:
            stat = entry.stat(follow_symlinks=not refusal)
        except FileNotFoundError:  # renamed since, as x.csv.tmp to x.csv: the next run finds it where it is then
            continue
        landings.append(
            Landing(
                place=entry.path,
                source_file=f"{base}/{relative}",
                contract=claimed[0] if claimed else None,
                size_bytes=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                ctime_ns=stat.st_ctime_ns,
                refusal=_spell(refusal),  # it may name where a link leads
            )
        )
    return landings


def _spell(name: str) -> str:
    """Return a name as it is, or with what is no UTF-8 in it written out: nothing else can be stored as text."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def make_landing(path: Path, source_file: str, contract: Contract) -> Landing:
    """Return one file as it lies there now, whichever raw folder it is in."""
    stat = path.stat()
    return Landing(str(path), source_file, contract, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def compute_fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(
    inside: str, folder: Path | str, prefix: str, linked: set[str]
) -> Iterator[tuple[os.DirEntry[str], str, str]]:
    """Yield every entry that is no folder, its name under the raw root, and why it is refused, if it is.

    Parameters
    ----------
    inside : real path of the raw root, which no link may leave.
    folder, prefix : where to look, and its name under the root.
    linked : real paths of the folders reached by a link so far.
    """
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:  # moved away since its name was read
        return
    with entries:
        for entry in sorted(entries, key=lambda found: found.name):
            if entry.name.startswith(("_", ".")):
                continue
            refusal = _judge_link(entry, inside, linked) if entry.is_symlink() else ""
            if not refusal and entry.is_dir():
                if os.access(entry.path, os.R_OK | os.X_OK):
                    yield from _walk(inside, entry.path, f"{prefix}{entry.name}/", linked)
                    continue
                refusal = "no_access: a folder that this account may not read"
            if not entry.name.endswith(".md"):
                if not refusal and not entry.is_file():
                    refusal = "no_file: a pipe, a socket or a device"
                yield entry, prefix + entry.name, refusal


def _judge_link(entry: os.DirEntry[str], inside: str, linked: set[str]) -> str:
    target = os.path.realpath(entry.path)
    if target != inside and not target.startswith(inside + os.sep):
        return f"link_outside: a link out of the raw folder, to {target}"
    try:
        is_folder = Path(target).stat() and entry.is_dir()
    except OSError:
        return f"broken_link: a link to {target}, where nothing can be read"
    if not is_folder:
        return ""
    # Every folder is listed once: links that lead to one another would else be followed without end. One that hides
    # behind a _ or a dot is listed by the first link to it alone, so that a sender may switch versions by a link.
    is_hidden = any(name.startswith(("_", ".")) for name in Path(target).relative_to(inside).parts)
    if not is_hidden or target in linked:
        return f"link_repeats: a link to {target}, whose files are listed under another name"
    linked.add(target)
    return ""


def _may_claim(contract: Contract, top: str) -> bool:
    firsts = {pattern.partition("/")[0] for pattern in contract.load.files}
    return top in firsts or any("*" in first or "?" in first for first in firsts)


def _compile_patterns(patterns: list[str]) -> re.Pattern[str]:
    """Return one expression for several globs: `**/` is any number of folders, `*` and `?` stay within one name."""
    parts = []
    for pattern in patterns:
        text = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*\*", ".*")
        parts.append(text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))
    return re.compile("|".join(f"(?:{part})" for part in parts))

"""Write a file whole or not at all, so that whoever reads it meanwhile never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from lakeops.errors import UsageError


def write_whole(path: Path, text: str) -> None:
    """Replace a file's text at once; folders are made.

    Raises
    ------
    UsageError : it cannot be written there.
    """
    fresh = path.parent / f".{path.name}.{os.getpid()}"
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise UsageError(
            "A file cannot be written.",
            where=str(path),
            found=error.strerror or str(error),
            next_step="name another one with --out, or free space and rights there",
        ) from error

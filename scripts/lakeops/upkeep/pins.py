"""Which versions must stay readable, however old: what readers look at now, and what a snapshot names."""

from __future__ import annotations

from pathlib import Path

import duckdb

from lakeops.errors import LockedError
from lakeops.settings import Settings
from lakeops.timetravel import list_pinned


def list_pins(settings: Settings) -> dict[Path, set[int]]:
    """Return, by a table's folder, the versions that vacuum and the trimming of logs must leave readable.

    Raises
    ------
    LockedError : the file that readers open cannot be read, so that nobody knows what they need.
    """
    try:
        return list_pinned(settings.lake, settings.serving)
    except duckdb.Error as error:
        raise LockedError(
            "What readers look at cannot be told, so nothing may be deleted.",
            where=str(settings.serving),
            expected="a file that nobody holds for writing",
            found=str(error).splitlines()[0][:300],
            next_step="close it there (readers open it with -readonly), then run the command again",
        ) from error

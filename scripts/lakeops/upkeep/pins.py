"""Which versions must stay readable, however old: what readers look at now, and what a snapshot names."""

from __future__ import annotations

from pathlib import Path

from lakeops.settings import Settings
from lakeops.timetravel import list_pinned


def list_pins(settings: Settings) -> dict[Path, set[int]]:
    """Return, by a table's folder, the versions that vacuum and the trimming of logs must leave readable.

    Raises
    ------
    LakeopsError : the file that readers open is locked or damaged, so that nobody knows what they need.
    """
    return list_pinned(settings.lake, settings.serving)

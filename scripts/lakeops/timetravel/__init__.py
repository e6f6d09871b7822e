"""History, as-of, diff and named snapshots: look at what tables were. Never changes one."""

from lakeops.timetravel.snapshots import Snapshot, find_snapshot, list_pinned, list_snapshots, read_served
from lakeops.timetravel.tables import Table, find_table, list_tables
from lakeops.timetravel.versions import find_version_at, open_version, parse_version, pick_version, read_times

__all__ = [
    "Snapshot",
    "Table",
    "find_snapshot",
    "find_table",
    "find_version_at",
    "list_pinned",
    "list_snapshots",
    "list_tables",
    "open_version",
    "parse_version",
    "pick_version",
    "read_served",
    "read_times",
]

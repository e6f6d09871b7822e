"""History, as-of, diff and named snapshots: look at what tables were. Never changes one."""

from lakeops.timetravel.asof import Page, open_snapshot, read_page, write_query
from lakeops.timetravel.diff import Difference, diff_snapshot, diff_versions
from lakeops.timetravel.history import Commit, read_history
from lakeops.timetravel.snapshots import Snapshot, find_snapshot, list_pinned, list_snapshots, read_served
from lakeops.timetravel.tables import Table, find_table, list_tables
from lakeops.timetravel.versions import find_version_at, open_version, parse_version, pick_version, read_times

__all__ = [
    "Commit",
    "Difference",
    "Page",
    "Snapshot",
    "Table",
    "diff_snapshot",
    "diff_versions",
    "find_snapshot",
    "find_table",
    "find_version_at",
    "list_pinned",
    "list_snapshots",
    "list_tables",
    "open_snapshot",
    "open_version",
    "parse_version",
    "pick_version",
    "read_history",
    "read_page",
    "read_served",
    "read_times",
    "write_query",
]

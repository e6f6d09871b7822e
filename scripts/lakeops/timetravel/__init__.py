"""History, as-of, diff and named snapshots: look at what tables were. Never changes one."""

from lakeops.timetravel.snapshots import Snapshot, find_snapshot, list_pinned, list_snapshots, read_served

__all__ = ["Snapshot", "find_snapshot", "list_pinned", "list_snapshots", "read_served"]

"""The only door to DuckDB: connections and locks, the views over the lake, what a scan reads, and running dbt."""

from lakeops.warehouse.connection import (
    UNREADABLE,
    connect,
    drop_warehouse,
    find_lock_holder,
    prepare_connection,
)
from lakeops.warehouse.dbt import DbtOutcome, run_dbt
from lakeops.warehouse.explain import Explained, Scan, explain_query
from lakeops.warehouse.pruning import explain_newest_day
from lakeops.warehouse.quarantine import count_quarantine, list_quarantine
from lakeops.warehouse.views import define_current, define_records, define_views, ensure_views, find_lake

__all__ = [
    "UNREADABLE",
    "DbtOutcome",
    "Explained",
    "Scan",
    "connect",
    "count_quarantine",
    "define_current",
    "define_records",
    "define_views",
    "drop_warehouse",
    "ensure_views",
    "explain_newest_day",
    "explain_query",
    "find_lake",
    "find_lock_holder",
    "list_quarantine",
    "prepare_connection",
    "run_dbt",
]

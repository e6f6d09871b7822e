"""Turn facts into what a person reads: tables in a terminal, and one HTML page."""

from lakeops.report.lineage import show_column_source, show_row_source
from lakeops.report.page import render_page
from lakeops.report.site import render_site
from lakeops.report.tables import (
    collect_run,
    show_answer,
    show_backtests,
    show_generated,
    show_loads,
    show_next_steps,
    show_plan,
    show_quarantine_groups,
    show_quarantine_records,
    show_questions,
    show_replays,
    show_run,
    show_status,
)

__all__ = [
    "collect_run",
    "render_page",
    "render_site",
    "show_answer",
    "show_backtests",
    "show_column_source",
    "show_generated",
    "show_loads",
    "show_next_steps",
    "show_plan",
    "show_quarantine_groups",
    "show_quarantine_records",
    "show_questions",
    "show_replays",
    "show_row_source",
    "show_run",
    "show_status",
]

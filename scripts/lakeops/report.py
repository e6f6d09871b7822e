"""Turn facts into tables for a person."""

from __future__ import annotations

import datetime as dt
from typing import Any

from lakeops.bronze import LoadOutcome, Plan
from lakeops.bronze.tables import get_current
from lakeops.console import print_table, say
from lakeops.contract import Contract
from lakeops.delta import get_parts, open_table
from lakeops.ledger import Ledger
from lakeops.paths import Lake
from lakeops.warehouse import DbtOutcome


def show_plan(plan: Plan) -> None:
    """Print what a load would do, per file, and a line that counts what it would leave alone."""
    work = [step for step in plan.steps if step.action not in ("skip", "seen")]
    if work:
        print_table(
            ["action", "table", "file", "bytes", "why"],
            [
                (
                    step.action,
                    step.landing.contract.name if step.landing.contract else None,
                    step.landing.source_file,
                    step.landing.size_bytes,
                    step.reason,
                )
                for step in work
            ],
        )
    say(f"{len(work):,} file(s) to look at, {len(plan.steps) - len(work):,} unchanged. Nothing was written.")


def show_load(outcome: LoadOutcome) -> None:
    """Print what a load did, per table."""
    if outcome.batches:
        name = f"batch {outcome.batches[0]}" if len(outcome.batches) == 1 else f"batches {outcome.batches}"
        print_table(
            ["table", "files", "rows read", "accepted", "quarantined", "version"],
            [
                (t.contract.name, t.files_loaded, t.rows_read, t.rows_accepted, t.rows_quarantined, t.version)
                for t in outcome.tables.values()
                if t.version is not None
            ],
        )
        for tally in outcome.tables.values():
            for label, count in tally.warnings.items():
                say(f"warning: {tally.contract.name}: {count:,} row(s) fail {label}")
        say(f"loaded as {name}; {outcome.skipped:,} file(s) unchanged.")
        if any(tally.rows_quarantined for tally in outcome.tables.values()):
            say('quarantined rows, word for word: duckdb duckdb/warehouse.duckdb "from quarantine"')
    else:
        say(f"nothing new: {outcome.skipped:,} file(s) unchanged, nothing was committed.")
    for name, reason in outcome.duplicates:
        say(f"not loaded: {name}: {reason}")


def show_run(loads: list[LoadOutcome], steps: list[DbtOutcome], seconds: dict[str, float]) -> None:
    """Print what a run of the main job did: rows by table, models, tests, seconds by step, where to look next."""
    for load in loads:
        show_load(load)
    for step in steps:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(step.counts.items()))
        say(f"dbt {step.command}: {counts or 'nothing to do'}")
        for status, name, table, message, _ in step.problems:
            if status == "warn":
                say(f"  warn: {name} on {table}: {message}")
    spent = ", ".join(f"{name} {amount:.1f} s" for name, amount in seconds.items())
    say(f"time: {sum(seconds.values()):.1f} s ({spent})")
    say(
        "next: make status; duckdb duckdb/warehouse.duckdb (try: from gold.fct_sales limit 5; from data_quality_metrics)"
    )


def collect_status(lake: Lake, tables: tuple[Contract, ...], ledger: Ledger, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the state of every bronze table.

    Returns
    -------
    One mapping a table: table, newest_business_date, last_batch, rows, files, versions, quarantined (rows of the
    files that are live), hours_since_load, freshness (fresh, warn, stale, never, or - where the contract sets none).
    """
    facts = []
    for contract in tables:
        table = open_table(get_current(lake, contract))
        parts = get_parts(table)
        live = [entry for entry in ledger.iter_live() if entry.table_name == contract.table]
        newest = max((entry.recorded_at for entry in live), default=None)
        hours = (now - newest).total_seconds() / 3600 if newest else None
        facts.append(
            {
                "table": contract.name,
                "newest_business_date": max((e.max_business_date for e in live if e.max_business_date), default=None),
                "last_batch": max((entry.batch_id or 0 for entry in live), default=None),
                "rows": int(parts["num_records"].sum()) if parts.height else 0,
                "files": len(live),
                "versions": table.version() + 1,
                "quarantined": sum(entry.rows_quarantined for entry in live),
                "hours_since_load": round(hours, 1) if hours is not None else None,
                "freshness": _judge_freshness(hours, contract.freshness),
            }
        )
    return facts


def show_status(facts: list[dict[str, Any]]) -> None:
    """Print the state of every bronze table."""
    print_table(
        ["table", "newest date", "last batch", "rows", "files", "versions", "quarantined", "hours ago", "freshness"],
        [tuple(fact.values()) for fact in facts],
    )


def _judge_freshness(hours: float | None, limits: dict[str, float]) -> str:
    if not limits:
        return "-"
    if hours is None:
        return "never"
    if hours > limits.get("error", float("inf")):
        return "stale"
    return "warn" if hours > limits.get("warn", float("inf")) else "fresh"

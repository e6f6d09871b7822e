"""Commands that keep the lake small and quick."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated

import typer

from lakeops import console
from lakeops.settings import load_settings

app = typer.Typer()

TablesArgument = Annotated[list[str] | None, typer.Argument(help="As in SQL, or a folder; without one all tables")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing")]


@app.command()
def optimize(
    tables: TablesArgument = None,
    zorder: Annotated[
        str | None,
        typer.Option("--zorder", metavar="<columns>", help="Lay out all rows by these columns now, as column,column"),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Merge small data files where they are many. Sorted as the contract says; rows stay as they are."""
    from lakeops.report import upkeep as report
    from lakeops.upkeep import optimize_tables

    columns = tuple(name.strip() for name in zorder.split(",")) if zorder else None
    done = optimize_tables(load_settings(), tuple(tables or ()), columns, dry_run=dry_run)
    if as_json:
        console.print_json([asdict(one) for one in done])
    else:
        report.show_optimized(done, dry_run=dry_run)


@app.command()
def vacuum(
    tables: TablesArgument = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete; without it nothing is changed")] = False,
    retain_hours: Annotated[
        int | None,
        typer.Option("--retain-hours", metavar="<int>", min=0, help="Keep versions replaced within so many hours"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Allow fewer hours than the contract promises")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which data files nothing needs any more, and delete them with --apply."""
    from lakeops.report import upkeep as report
    from lakeops.upkeep import vacuum_tables

    done = vacuum_tables(load_settings(), tuple(tables or ()), retain_hours, apply=apply, force=force)
    if as_json:
        console.print_json([asdict(one) for one in done])
    else:
        report.show_vacuumed(done)


@app.command()
def upkeep(dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Do what is due on files, old versions, logs and records, and nothing more."""
    from lakeops.report import upkeep as report
    from lakeops.upkeep import run_upkeep

    jobs = run_upkeep(load_settings(), dry_run=dry_run)
    if as_json:
        console.print_json([asdict(job) for job in jobs])
    else:
        report.show_jobs(jobs, dry_run=dry_run)


@app.command()
def restorable(tables: TablesArgument = None, as_json: JsonOption = False) -> None:
    """Show from when on each table can still be read as it was; and the snapshots."""
    from lakeops.report import upkeep as report
    from lakeops.timetravel import list_snapshots
    from lakeops.upkeep import list_restorable

    settings = load_settings()
    found = list_restorable(settings, tuple(tables or ()))
    snapshots = list_snapshots(settings.lake)
    if as_json:
        console.print_json({"tables": [asdict(one) for one in found], "snapshots": [asdict(s) for s in snapshots]})
    else:
        report.show_restorable(found, snapshots)


@app.command()
def explain(
    query: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, as for the warehouse")],
    as_json: JsonOption = False,
) -> None:
    """Run a query; say which files it read and skipped, and why. They are then in table_partitions."""
    from lakeops.pipeline import run_explain
    from lakeops.report import upkeep as report

    settings = load_settings()
    explained = run_explain(settings, query)
    if as_json:
        scans = [asdict(scan) for scan in explained.scans]
        console.print_json({"query": explained.query, "scans": scans, "files": explained.rows.to_dicts()})
    else:
        report.show_explained(settings, explained)


@app.command()
def cost(as_json: JsonOption = False) -> None:
    """Show what the lake costs, on disk and in seconds.

    By table, with growth, seconds by step, the slowest models and tests, and what less retention would save.
    """
    from lakeops.report import upkeep as report
    from lakeops.upkeep import collect_cost

    found = collect_cost(load_settings(), dt.datetime.now(dt.UTC))
    if as_json:
        tables = [asdict(table) | {"total": table.total, "compression": table.compression} for table in found.tables]
        console.print_json(asdict(found) | {"tables": tables})
    else:
        report.show_cost(found)

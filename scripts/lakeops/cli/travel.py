"""Commands that look back, and those that bring something back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lakeops import console
from lakeops.errors import UsageError
from lakeops.settings import load_settings

app = typer.Typer()
snapshot = typer.Typer(help="Names for the versions of all tables at one moment.", no_args_is_help=True)
app.add_typer(snapshot, name="snapshot")

TableArgument = Annotated[str, typer.Argument(help="A table as in SQL, for example bronze.orders or gold.fct_sales")]
VersionOption = Annotated[int | None, typer.Option("--version", metavar="<int>", min=0, help="As of this version")]
TimestampOption = Annotated[
    str | None,
    typer.Option("--timestamp", metavar="<moment>", help="As of this moment (UTC unless it names a zone), or day"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read")]
ReasonOption = Annotated[
    str,
    typer.Option("--reason", metavar="<text>", help="Why; kept with your account and the time; --dry-run needs none"),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing")]
NameArgument = Annotated[str, typer.Argument(help="The snapshot's name")]


@app.command("history")
def show_history(table: TableArgument, as_json: JsonOption = False) -> None:
    """Show the versions of a table: when, what was done, by which batch, rows."""
    from lakeops import timetravel
    from lakeops.contract import load_contracts
    from lakeops.report import travel

    settings = load_settings()
    found = timetravel.find_table(settings.lake, load_contracts(settings.models), table)
    travel.show_history(timetravel.read_history(found.path), as_json=as_json)


@app.command("asof")
def show_as_of(
    table: Annotated[str | None, typer.Argument(help="A table as in SQL; none with --snapshot")] = None,
    version: VersionOption = None,
    timestamp: TimestampOption = None,
    name: Annotated[
        str | None, typer.Option("--snapshot", metavar="<name>", help="Open the whole lake as it was, as views")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="<int>", min=1, help="At most so many rows")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show rows of a table as they were, or open the whole lake as of a snapshot.

    With --snapshot it writes a DuckDB file of views, and prints its path.
    """
    from lakeops import timetravel
    from lakeops.contract import load_contracts
    from lakeops.report import travel

    settings = load_settings()
    contracts = load_contracts(settings.models)
    if name is not None:
        if table is not None or version is not None or timestamp is not None:
            raise UsageError(
                "--snapshot opens the whole lake.",
                expected="no table, version or moment besides",
                next_step=f"lakeops asof --snapshot {name}",
            )
        found = timetravel.find_snapshot(settings.lake, name)
        file, views = timetravel.open_snapshot(settings.lake, contracts, found, settings.warehouse.parent)
        place = file.relative_to(settings.root) if file.is_relative_to(settings.root) else file
        if as_json:
            console.print_json({"file": str(file), "views": views})
        else:
            print(file)
            console.say(f"{len(views)} views, as of {found.created_at:%Y-%m-%d %H:%M:%S} UTC; rm it when done")
            console.say(f'duckdb -readonly {place} "show all tables"')
        return
    if table is None:
        raise UsageError(
            "What to look at is not named.",
            expected="a table, or --snapshot NAME",
            next_step="for example: lakeops asof bronze.orders --version 1",
        )
    one = timetravel.find_table(settings.lake, contracts, table)
    chosen = timetravel.pick_version(one.path, version, timestamp)
    travel.show_page(timetravel.read_page(one, chosen, limit, settings.root, contracts), as_json=as_json)


@app.command("diff")
def show_difference(
    table: TableArgument,
    before: Annotated[str, typer.Argument(help="A version, or a moment (UTC)")],
    after: Annotated[str, typer.Argument(help="A later one")],
    limit: Annotated[
        int, typer.Option("--limit", metavar="<int>", min=0, help="Show at most so many rows of each kind")
    ] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show what became of a table's rows: added, removed, changed, in which columns."""
    from lakeops import timetravel
    from lakeops.contract import load_contracts
    from lakeops.report import travel

    settings = load_settings()
    found = timetravel.find_table(settings.lake, load_contracts(settings.models), table)
    versions = [timetravel.parse_version(found.path, text) for text in (before, after)]
    travel.show_difference(timetravel.diff_versions(settings, found, *versions, limit), as_json=as_json)


@snapshot.command("create")
def create_snapshot(
    name: NameArgument,
    reason: Annotated[str | None, typer.Option("--reason", metavar="<text>", help="What it is for")] = None,
) -> None:
    """Give the versions that all tables have now a name. Vacuum keeps what it needs."""
    from lakeops.recovery import snapshots

    made = snapshots.create_snapshot(load_settings(), name, reason)
    console.say(f"{name} stands for {len(made.versions)} tables as of {made.created_at:%Y-%m-%d %H:%M:%S} UTC")
    console.say(f"look at it: lakeops asof --snapshot {name}")
    console.say(f'go back to it: lakeops snapshot restore {name} --reason "…"')


@snapshot.command("list")
def list_snapshots(as_json: JsonOption = False) -> None:
    """List the snapshots."""
    from lakeops import timetravel
    from lakeops.report import travel

    travel.show_snapshots(timetravel.list_snapshots(load_settings().lake), as_json=as_json)


@snapshot.command("show")
def show_snapshot(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show which versions a snapshot stands for."""
    from lakeops import timetravel
    from lakeops.delta import open_table
    from lakeops.report import travel

    lake = load_settings().lake
    found = timetravel.find_snapshot(lake, name)
    newest = {path: open_table(lake.folder / path).version() for path in found.versions}
    travel.show_snapshot(found, newest, as_json=as_json)


@snapshot.command("diff")
def diff_snapshot(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show what became of every bronze and gold table since a snapshot."""
    from lakeops import timetravel
    from lakeops.contract import load_contracts
    from lakeops.report import travel

    settings = load_settings()
    found = timetravel.diff_snapshot(settings, load_contracts(settings.models), name)
    travel.show_snapshot_difference(found, as_json=as_json)


@snapshot.command("restore")
def restore_snapshot(
    name: NameArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Then build, test and publish silver and gold")] = False,
) -> None:
    """Bring all bronze tables, the quarantine and the ledger back to a snapshot."""
    from lakeops import pipeline, report
    from lakeops.recovery import snapshots
    from lakeops.report import travel

    settings = load_settings()
    travel.show_restored_lake(
        snapshots.restore_snapshot(settings, name, reason=reason, dry_run=dry_run), dry_run=dry_run
    )
    if dry_run:
        return
    if not rebuild:
        console.say("silver, gold and readers follow with the next: lakeops incremental (or now, with --rebuild)")
        return
    outcome = pipeline.run_build(settings)
    report.show_run(outcome.loads, outcome.steps, outcome.published, outcome.seconds)
    pipeline.raise_if_failed(settings, outcome)


@snapshot.command("drop")
def drop_snapshot(name: NameArgument) -> None:
    """Give a snapshot's name up. Vacuum need no longer keep what only it needs."""
    from lakeops.recovery import snapshots

    snapshots.drop_snapshot(load_settings(), name)
    console.say(f"{name} is no more; what only it kept goes with the next vacuum")


@app.command("undo")
def undo(
    batch: Annotated[int | None, typer.Option("--batch", metavar="<int>", min=1, help="Take back this load")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="<file>", help="Take back this raw file")] = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Take the rows of one load, or of one raw file, out of bronze. Later batches stay.

    Silver, gold and readers follow with the next lakeops incremental.
    """
    from lakeops.recovery.undo import run_undo
    from lakeops.report import travel

    done = run_undo(load_settings(), batch=batch, file=file, reason=reason, dry_run=dry_run)
    travel.show_undone(done, dry_run=dry_run)


@app.command("restore")
def restore(
    table: Annotated[str, typer.Argument(help="A bronze table as in SQL, for example bronze.orders")],
    version: VersionOption = None,
    timestamp: TimestampOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Bring a bronze table's rows back to what they were, as a new version.

    Silver, gold and readers follow with the next lakeops incremental.
    """
    from lakeops.recovery.restore import run_restore
    from lakeops.report import travel

    done = run_restore(
        load_settings(), table, version=version, timestamp=timestamp, reason=reason, dry_run=dry_run, base=Path.cwd()
    )
    travel.show_restored([done], dry_run=dry_run)
    if done.differs and not dry_run:
        console.say("silver, gold and readers follow with: lakeops incremental")


@app.command("sql")
def run_sql(
    statements: Annotated[str | None, typer.Argument(help="SQL; without it, stdin is read")] = None,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="<text>", help="For RESTORE: why; without it, the statement itself is kept"),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="<int>", min=1, help="Print at most so many rows of each result")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Carry out SQL on the warehouse, Delta's own words included.

    DESCRIBE HISTORY, OPTIMIZE, VACUUM, RESTORE, VERSION AS OF, TIMESTAMP AS OF: see docs/time-travel.md.
    """
    from lakeops.report import travel
    from lakeops.statements import run_statements

    text = sys.stdin.read() if statements is None else statements
    travel.show_answers(run_statements(load_settings(), text, reason), limit, as_json=as_json)

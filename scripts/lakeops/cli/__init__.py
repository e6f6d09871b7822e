"""The command line: parse, call one function, map the error to an exit code."""

from __future__ import annotations

import datetime as dt
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lakeops import __version__, console, pipeline
from lakeops.cli import contracts, lineage, overview, rescue, travel, upkeep
from lakeops.errors import LakeopsError, UsageError, get_exit_code
from lakeops.settings import load_settings

# Plain text, the same on a terminal, in a pipe and in docs/commands.md.
app = typer.Typer(
    name="lakeops",
    cls=overview.Overview,
    help="Raw files to bronze Delta, exactly once; silver and gold by dbt; records and recovery.",
    epilog=overview.EXIT_CODES,
    context_settings={"max_content_width": overview.WIDTH},
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RawOption = Annotated[Path | None, typer.Option("--raw", help="Landing zone to read (default: data_raw)")]
LakeOption = Annotated[Path | None, typer.Option("--lake", help="Lake to write (default: that of the target)")]
WarehouseOption = Annotated[
    Path | None, typer.Option("--manifest", help="DuckDB file of views and models (default: that of the target)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read")]


@app.callback(invoke_without_command=True)
def show_version(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """Print the version if asked."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def load(
    raw: RawOption = None,
    lake: LakeOption = None,
    manifest: WarehouseOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what a load would do, and do nothing")] = False,
    only: Annotated[str | None, typer.Option("--only", metavar="<table>", help="Only the files of this table")] = None,
    reload: Annotated[
        list[Path] | None,
        typer.Option(
            "--reload", metavar="<file>", help="Load this file again, known or not; repeatable; needs --reason"
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="<text>", help="With --reload: why; kept with your account and the time")
    ] = "",
    limit_files: Annotated[
        int | None, typer.Option("--limit-files", metavar="<int>", min=1, help="Load at most so many files")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="<day>", help="Only files changed on or after this day (UTC)")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file, also those that look unchanged")] = False,
) -> None:
    """Commit new and changed raw files to bronze, each once.

    A file that cannot be loaded is refused, with exit code 11, and the others are loaded.
    """
    from lakeops import report

    settings = load_settings(raw, lake, manifest)
    selection = pipeline.Selection(
        only=only,
        reload=tuple(reload or ()),
        reason=reason,
        limit_files=limit_files,
        since=dt.datetime.combine(_parse_day(since, "--since"), dt.time(), dt.UTC) if since else None,
        verify=verify,
        root=settings.root,
    )
    if dry_run:
        report.show_plan(pipeline.plan_load(settings, selection))
        return
    outcome = pipeline.run_load(settings, selection)
    report.show_loads([outcome])
    pipeline.raise_if_refused(outcome)


quarantine = typer.Typer(help="Records that broke their contract: look at them, load them, or let them go.")
app.add_typer(quarantine, name="quarantine")
TableOption = Annotated[str | None, typer.Option("--table", metavar="<table>", help="Only records of this table")]
FileOption = Annotated[
    str | None, typer.Option("--file", metavar="<file>", help="Only records of this raw file, named as the ledger does")
]


@quarantine.command("list")
def list_quarantine(
    table: TableOption = None,
    file: FileOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is superseded, replayed or discarded")] = False,
    as_json: JsonOption = False,
) -> None:
    """Count quarantined records by table, file, reason, batch and status."""
    from lakeops import report, warehouse

    groups = warehouse.count_quarantine(load_settings().warehouse, table, file, everything=everything)
    report.show_quarantine_groups(groups, as_json=as_json)


@quarantine.command("show")
def show_quarantine(
    table: TableOption = None,
    file: FileOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is superseded, replayed or discarded")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="<int>", min=1, help="At most so many records")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show quarantined records word for word. They may hold personal data."""
    from lakeops import report, warehouse

    records = warehouse.list_quarantine(load_settings().warehouse, table, file, everything=everything, limit=limit)
    report.show_quarantine_records(records, as_json=as_json)


@quarantine.command("replay")
def replay_quarantine(table: TableOption = None, file: FileOption = None) -> None:
    """Judge open records again by today's contracts, and load those that keep them."""
    from lakeops import report

    report.show_replays(pipeline.run_replay(load_settings(), table, file))


@quarantine.command("discard")
def discard_quarantine(
    reason: Annotated[str, typer.Option("--reason", metavar="<text>", help="Why; kept with your account and the time")],
    table: TableOption = None,
    file: FileOption = None,
) -> None:
    """Close open records without loading them. They stay readable."""
    count = pipeline.run_discard(load_settings(), table, file, reason)
    console.say(f"{count:,} record(s) discarded; lakeops quarantine list --all still shows them")


@app.command()
def incremental(raw: RawOption = None, as_json: JsonOption = False) -> None:
    """Run the main job: load, build, test, publish what passed, tell people.

    It builds what is tagged incremental, and tests what is new since each test last held. If a test of severity error
    fails, readers keep the last good version. With nothing new, nothing is built.
    """
    from lakeops import report

    settings = load_settings(raw)
    outcome = pipeline.run_incremental(settings)
    facts = (outcome.loads, outcome.steps, outcome.published, outcome.seconds)
    if as_json:
        console.print_json(report.collect_run(*facts))
    else:
        report.show_run(*facts)
    pipeline.raise_if_failed(settings, outcome)
    if not as_json:
        report.show_next_steps(settings, outcome.published)


quality = typer.Typer(
    help="What is wrong with the data now, since when, and how it moved.", invoke_without_command=True
)
app.add_typer(quality, name="quality")


@quality.callback()
def show_quality(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show what is wrong with the data now, since when, and how it moved."""
    if context.invoked_subcommand is None:
        _answer("wrong_now", as_json=as_json)


@quality.command("sql")
def ask_question(
    name: Annotated[str | None, typer.Argument(help="A question; without one they are listed")] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one of the runbooks' questions, or list them. They are in dbt/analyses/monitoring."""
    from lakeops import report
    from lakeops.quality import list_questions

    if name is None:
        report.show_questions(list_questions(load_settings()), as_json=as_json)
    else:
        _answer(name, as_json=as_json)


@quality.command("backtest")
def backtest(as_json: JsonOption = False) -> None:
    """Say on how many of all days each anomaly rule, on or off, would have warned."""
    from lakeops import report
    from lakeops.contract import load_contracts
    from lakeops.quality import run_backtest

    settings = load_settings()
    report.show_backtests(run_backtest(settings, load_contracts(settings.models)), as_json=as_json)


@quality.command("prune")
def prune() -> None:
    """Delete what is older than its retention from the records in lake/ops.

    dbt/models/ops/ops.yml says how long each is kept.
    """
    for name, count in pipeline.run_prune(load_settings()).items():
        console.say(f"{name}: {count:,} row(s) deleted")


def _answer(name: str, *, as_json: bool) -> None:
    from lakeops import report
    from lakeops.quality import ask

    report.show_answer(*ask(load_settings(), name), as_json=as_json)


@app.command("test-data")
def test_data() -> None:
    """Run every data test on every row, with stored failures. The main job tests only what is new."""
    from lakeops import report

    settings = load_settings()
    outcome = pipeline.run_data_tests(settings)
    report.show_run(outcome.loads, outcome.steps, outcome.published, outcome.seconds)
    pipeline.raise_if_failed(settings, outcome)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show what every bronze table holds, and how fresh it is.

    Newest business date, last batch, rows, versions, quarantined records, and the time since the last load against
    the contract.
    """
    from lakeops import report
    from lakeops.contract import load_contracts
    from lakeops.facts import collect_status
    from lakeops.ledger import load_ledger

    settings = load_settings()
    tables = load_contracts(settings.models).tables
    facts = collect_status(settings.lake, tables, load_ledger(settings.lake), dt.datetime.now(dt.UTC))
    if as_json:
        console.print_json(facts)
    else:
        report.show_status(facts)


@app.command("report")
def write_report(
    out: Annotated[Path, typer.Option("--out", help="File to write; replaced at once or not at all")] = Path(
        "report.html"
    ),
) -> None:
    """Write the state of the data as one HTML page that needs no network."""
    from lakeops import report
    from lakeops.facts import collect_facts
    from lakeops.files import write_whole

    facts = collect_facts(load_settings(), dt.datetime.now(dt.UTC))
    write_whole(out, report.render_page(facts))
    console.say(f"wrote {out}")


@app.command("metrics")
def write_metrics(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write, replaced at once; without it they go to stdout")
    ] = None,
) -> None:
    """Write the state of the data in Prometheus' text format. Alerting rules are in scripts/metrics/alerts.yml."""
    from lakeops.alerts import count_open
    from lakeops.facts import collect_facts
    from lakeops.files import write_whole
    from lakeops.metrics import render_metrics

    settings = load_settings()
    text = render_metrics(collect_facts(settings, dt.datetime.now(dt.UTC)), count_open(settings.lake))
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text)
        console.say(f"wrote {out}")


@app.command()
def generate(
    start_date: Annotated[str, typer.Option("--start-date", metavar="<day>", help="First day, YYYY-MM-DD")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; files with the right bytes are left alone")],
    seed: Annotated[int, typer.Option("--seed", help="Draws the days; the dimensions are always the same")] = 42,
    days: Annotated[int, typer.Option("--days", help="How many days")] = 1,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Volume; 1.0 is 1,000 orders a day (default: 0.05)")
    ] = None,
    defects: Annotated[
        str, typer.Option("--defects", metavar="<kinds>", help="Kinds to plant: all, none, or kind,kind")
    ] = "all",
    late: Annotated[
        str | None,
        typer.Option("--late", metavar="<span>", help="Each day also brings orders of so long before: 24h, 3d"),
    ] = None,
    restate: Annotated[
        str | None, typer.Option("--restate", metavar="<day>", help="Send this day's order lines with corrections")
    ] = None,
    outage: Annotated[
        str | None,
        typer.Option("--outage", metavar="<day>", help="Leave this day out; the same call without it delivers it"),
    ] = None,
    evolve: Annotated[
        list[str] | None,
        typer.Option("--evolve", metavar="<source:column>", help="A new column in its files; repeatable"),
    ] = None,
    drift: Annotated[
        list[str] | None,
        typer.Option("--drift", metavar="<what:factor>", help="prices:1.5 or volumes:0.5, and @day; repeatable"),
    ] = None,
    bad_file: Annotated[
        list[str] | None,
        typer.Option("--bad-file", metavar="<kind>", help="missing_column, truncated or wrong_encoding; repeatable"),
    ] = None,
    cdc: Annotated[bool, typer.Option("--cdc", help="Also change files (I, U, D) of stock levels")] = False,
    outliers: Annotated[bool, typer.Option("--outliers", help="Also values that are allowed and far off")] = False,
) -> None:
    """Write seeded raw files with named, counted defects. Scenarios are in docs/generator.md."""
    from lakeops import generate as generator
    from lakeops import report
    from lakeops.contract import load_contracts

    scenarios = generator.Scenarios(
        defects=generator.parse_defects(defects),
        late_hours=generator.parse_late(late) if late else None,
        restate=_parse_day(restate, "--restate") if restate else None,
        outage=_parse_day(outage, "--outage") if outage else None,
        evolve=generator.parse_evolve(evolve or ()),
        drifts=generator.parse_drifts(drift or ()),
        bad_files=tuple(bad_file or ()),
        cdc=cdc,
        outliers=outliers,
    )
    summary = generator.generate_data(
        load_contracts(load_settings().models),
        out,
        seed,
        _parse_day(start_date, "--start-date"),
        days,
        generator.DEFAULT_SCALE if scale is None else scale,
        scenarios=scenarios,
    )
    report.show_generated(summary)


@app.command()
def demo() -> None:
    """Land a generated week in three loads, run the main job, and say what happened."""
    from lakeops import report

    settings = load_settings()
    outcome = pipeline.run_demo(settings)
    report.show_run(outcome.loads, outcome.steps, outcome.published, outcome.seconds)
    pipeline.raise_if_failed(settings, outcome)
    report.show_next_steps(settings, outcome.published)


app.add_typer(contracts.contract, name="contract")
app.add_typer(lineage.app)
rescue.register(app)
app.add_typer(travel.app)
app.add_typer(upkeep.app)


def _parse_day(text: str, option: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            "A date cannot be read.",
            where=option,
            expected="a day as YYYY-MM-DD",
            found=text,
            next_step=f"for example {option} 2024-04-01",
        ) from error


def _run(call: Callable[[], None]) -> None:
    """Run a command; an error that a user can cause is shown without a traceback and becomes its exit code."""
    # A start makes a few objects for every file there ever was, and keeps them: at its default of 700, the collector
    # takes a tenth of a load with nothing new after 720 days.
    gc.set_threshold(10_000)
    try:
        call()
    except LakeopsError as error:
        console.show_error(error)
        sys.exit(get_exit_code(error))
    except (KeyboardInterrupt, SystemExit) as end:
        # typer has made an exit with this code of Ctrl-C, unless it came before typer was at work.
        if isinstance(end, SystemExit) and end.code != 130:
            raise
        console.say("stopped; nothing is half-done: run the command again to go on")
        sys.exit(130)


def main() -> None:
    """Run `lakeops`."""
    _run(app)


def load_main() -> None:
    """Run `scripts/load_to_bronze.py`: the command `lakeops load` under the name people know."""
    sys.argv[1:1] = ["load"]
    _run(app)


def generate_main() -> None:
    """Run `scripts/generate_data.py`: the command `lakeops generate` under the name people know."""
    sys.argv[1:1] = ["generate"]
    _run(app)

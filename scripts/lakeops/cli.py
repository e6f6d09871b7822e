"""The command line: parse, call one function, map the error to an exit code."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lakeops import __version__, console, pipeline
from lakeops.errors import LakeopsError, UsageError, get_exit_code
from lakeops.settings import load_settings

app = typer.Typer(
    name="lakeops",
    help="Raw files to bronze Delta, exactly once; silver and gold by dbt; records and recovery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RawOption = Annotated[Path | None, typer.Option("--raw", help="Landing zone to read [default: data_raw]")]
LakeOption = Annotated[Path | None, typer.Option("--lake", help="Lake to write [default: lake]")]
WarehouseOption = Annotated[
    Path | None, typer.Option("--manifest", help="DuckDB file of views and models [default: duckdb/warehouse.duckdb]")
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
) -> None:
    """Commit new and changed raw files to bronze, once."""
    from lakeops import report

    settings = load_settings(raw, lake, manifest)
    if dry_run:
        report.show_plan(pipeline.plan_load(settings))
        return
    outcome = pipeline.run_load(settings)
    report.show_loads([outcome])
    pipeline.raise_if_refused(outcome)


@app.command()
def incremental(raw: RawOption = None) -> None:
    """Run the main job: load, build what is tagged incremental, test with stored failures."""
    from lakeops import report

    outcome = pipeline.run_incremental(load_settings(raw))
    report.show_run(outcome.loads, outcome.steps, outcome.seconds)
    pipeline.raise_if_failed(outcome)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show every bronze table: newest business date, last batch, rows, versions, quarantined, freshness."""
    from lakeops import report
    from lakeops.contract import load_contracts
    from lakeops.ledger import load_ledger

    settings = load_settings()
    tables = load_contracts(settings.models).tables
    facts = report.collect_status(settings.lake, tables, load_ledger(settings.lake), dt.datetime.now(dt.UTC))
    if as_json:
        console.print_json(facts)
    else:
        report.show_status(facts)


@app.command()
def generate(
    start_date: Annotated[str, typer.Option("--start-date", help="First day, YYYY-MM-DD")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; files with the right bytes are left alone")],
    seed: Annotated[int, typer.Option("--seed", help="Draws the days; the dimensions are always the same")] = 42,
    days: Annotated[int, typer.Option("--days", help="How many days")] = 1,
    scale: Annotated[float | None, typer.Option("--scale", help="Volume; 1.0 is 1,000 orders a day")] = None,
) -> None:
    """Write seeded raw files with named, counted defects."""
    from lakeops import report
    from lakeops.contract import load_contracts
    from lakeops.generate import DEFAULT_SCALE, generate_data

    contracts = load_contracts(load_settings().models)
    summary = generate_data(
        contracts, out, seed, _parse_day(start_date), days, DEFAULT_SCALE if scale is None else scale
    )
    report.show_generated(summary)


@app.command()
def demo() -> None:
    """Land a week of generated data in three loads, run the main job, and say what happened."""
    from lakeops import report

    outcome = pipeline.run_demo(load_settings())
    report.show_run(outcome.loads, outcome.steps, outcome.seconds)
    pipeline.raise_if_failed(outcome)


def _parse_day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            "The start date cannot be read.",
            where="--start-date",
            expected="a day as YYYY-MM-DD",
            found=text,
            next_step="for example --start-date 2024-04-01",
        ) from error


def _run(call: Callable[[], None]) -> None:
    """Run a command; an error that a user can cause is shown without a traceback and becomes its exit code."""
    try:
        call()
    except LakeopsError as error:
        console.show_error(error)
        sys.exit(get_exit_code(error))
    except KeyboardInterrupt:
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

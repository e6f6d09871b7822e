"""Commands that say what there is and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakeops import console
from lakeops.errors import UsageError
from lakeops.settings import load_settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read")]

app = typer.Typer()


@app.command()
def trace(
    table: Annotated[str, typer.Argument(help="schema.table, for example gold.fct_sales")],
    key: Annotated[
        list[str], typer.Option("--key", metavar="<column=value>", help="Repeat it until only one row is meant")
    ],
    as_json: JsonOption = False,
) -> None:
    """Follow one row back to the files and lines it was made of. The lines may hold personal data."""
    from dataclasses import asdict

    from lakeops import report
    from lakeops.lineage import trace_row

    pairs = [entry.partition("=") for entry in key]
    if not all(name and equals for name, equals, _ in pairs):
        raise UsageError(
            "A row is named by column=value.",
            where="--key",
            expected="for example --key order_id=20240325000001 --key line_number=1",
            found=", ".join(key),
            next_step="put the column's name and an equals sign before the value",
        )
    source = trace_row(load_settings(), table, {name: value for name, _, value in pairs})
    if as_json:
        console.print_json(asdict(source))
    else:
        report.show_row_source(source)


@app.command()
def lineage(
    column: Annotated[str, typer.Argument(help="schema.table.column, for example gold.fct_sales.net_aud")],
    as_json: JsonOption = False,
) -> None:
    """Follow one column back to the bronze columns it is made of, and how."""
    from dataclasses import asdict

    from lakeops import report
    from lakeops.lineage import ColumnLineage, load_models, read_schema

    relation, _, name = column.rpartition(".")
    if "." not in relation:
        raise UsageError(
            "A column is named schema.table.column.",
            where=column,
            expected="for example gold.fct_sales.net_aud",
            next_step="lakeops lineage gold.fct_sales.net_aud",
        )
    settings = load_settings()
    source = ColumnLineage(load_models(settings), read_schema(settings)).trace(relation, name)
    if as_json:
        console.print_json(asdict(source))
    else:
        report.show_column_source(source)


@app.command()
def docs(
    out: Annotated[Path, typer.Option("--out", help="Folder to write")] = Path("site"),
) -> None:
    """Write the documentation site; its index.html needs no network."""
    from lakeops import pipeline

    pipeline.write_docs(load_settings(), out)
    console.say(f"wrote {out / 'index.html'} and {out / 'dbt.html'}")

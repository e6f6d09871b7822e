"""Commands about contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakeops.settings import load_settings

contract = typer.Typer(help="What a bronze table promises (docs/contracts.md).")


@contract.callback()
def show_contracts() -> None:
    """Keep `infer` a command of its own, though it is the only one."""


@contract.command("infer")
def infer(
    places: Annotated[list[Path], typer.Argument(help="Files or folders in the landing zone")],
    source: Annotated[
        str,
        typer.Option("--source", metavar="<name>", help="Name of the source: its schema and its folder in the lake"),
    ],
    raw: Annotated[Path | None, typer.Option("--raw", help="Landing zone (default: data_raw)")] = None,
) -> None:
    """Propose contracts for files, as YAML to edit: types, keys, rules, each with a reason."""
    from lakeops.propose import list_files, propose_contract

    print(propose_contract(list_files(places), load_settings(raw).raw, source), end="")

"""Which Delta table a person means."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from lakeops.bronze.tables import get_current, get_truth
from lakeops.contract import Contract, Contracts
from lakeops.errors import UsageError
from lakeops.paths import Lake


@dataclass(frozen=True)
class Table:
    """A Delta table of the lake.

    Parameters
    ----------
    name : as in SQL.
    path : its folder.
    kind : bronze, changes, gold, record or quarantine.
    contract : of bronze, changes and quarantine.
    """

    name: str
    path: Path
    kind: str
    contract: Contract | None = None


def list_tables(lake: Lake, contracts: Contracts) -> list[Table]:
    """Return every table of the lake, those of contracts first."""
    tables = []
    for contract in contracts.tables:
        tables.append(Table(contract.name, get_current(lake, contract), "bronze", contract))
        if contract.load.keeps_changes:
            tables.append(Table(f"{contract.name}_changes", get_truth(lake, contract), "changes", contract))
    gold = lake.gold("x").parent
    names = sorted(folder.name for folder in gold.iterdir() if folder.is_dir()) if gold.is_dir() else []
    tables += [Table(f"gold.{name}", lake.gold(name), "gold") for name in names]
    for contract in contracts.tables:
        name = f"quarantine.{contract.table}"
        tables.append(Table(name, lake.quarantine(contract.table), "quarantine", contract))
    records = [record.name for record in contracts.records if record.name != "quarantine"]
    tables += [Table(name, lake.ops(name), "record") for name in records]
    return [table for table in tables if DeltaTable.is_deltatable(str(table.path))]


def find_table(lake: Lake, contracts: Contracts, name: str, base: Path | None = None) -> Table:
    """Return the table a person means.

    Parameters
    ----------
    name : as in SQL (`bronze.orders`, `orders`, `gold.fct_sales`, `dbt_test_results`), or the path of its folder, also
        within `delta_scan('…')`.
    base : what a relative path is relative to; the lake's parent if not given.

    Raises
    ------
    UsageError : there is none, or more than one; names those it may be.
    """
    tables = list_tables(lake, contracts)
    asked = name.strip().rstrip(";").strip()
    if scan := re.fullmatch(r"(?is)delta_scan\s*\(\s*('[^']*')\s*\)|delta\.`([^`]*)`", asked):
        asked = scan[1] or scan[2]
    asked = asked.strip("'\"`")
    if "/" in asked:
        folder = ((base or lake.folder.parent) / asked).resolve()
        found = [table for table in tables if table.path.resolve() == folder]
    else:
        wanted = asked.replace('"', "").lower().removeprefix("main.").removeprefix("ops.")
        found = [table for table in tables if table.name == wanted]
        # A bare name means what SQL is asked for most: bronze, then gold.
        for kind in ("bronze", "changes", "gold"):
            found = found or [t for t in tables if t.kind == kind and t.name.split(".")[-1] == wanted]
    if len(found) == 1:
        return found[0]
    names = [table.name for table in tables]
    short = asked.split("/")[-1].split(".")[-1].lower()
    near = difflib.get_close_matches(asked.lower(), names, 5, 0.5)
    near += [n for n in names if n not in near and difflib.get_close_matches(short, [n.split(".")[-1]], 1, 0.6)]
    raise UsageError(
        f"{name!r} is the name of {len(found)} tables." if found else f"There is no table {name!r} in the lake.",
        where=str(lake.folder),
        expected=", ".join(table.name for table in found) or ", ".join(near[:8] or names[:12]),
        next_step="name it as in SQL, for example bronze.orders, bronze.returns_changes or gold.fct_sales",
    )

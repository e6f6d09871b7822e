"""Which Delta tables the lake has, and what upkeep must know of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lakeops import timetravel
from lakeops.contract import Contract, Contracts
from lakeops.paths import Lake
from lakeops.settings import Settings

# Delta's own default; a contract may say otherwise for its tables.
RETENTION_HOURS = 168


@dataclass(frozen=True)
class Table:
    """A Delta table of the lake.

    Parameters
    ----------
    name : as in SQL; records are called ops.<record>, quarantined records quarantine.<table>.
    path : its folder.
    order : columns by which its rows are laid out in the data files; none if rows stay as they came.
    retention_hours : how long every version stays readable.
    proof_of : name in the ledger of the table whose loads its commits prove; None if they prove none.
    """

    name: str
    path: Path
    order: tuple[str, ...]
    retention_hours: int
    proof_of: str | None

    @property
    def layer(self) -> str:
        """Return the first part of the name: bronze, gold, ops, quarantine, or a source's own."""
        return self.name.split(".")[0]


def list_tables(lake: Lake, contracts: Contracts) -> list[Table]:
    """Return every Delta table of the lake, in the order of names."""
    owners = {}
    for contract in contracts.tables:
        suffix = "_changes" if contract.load.keeps_changes else ""
        current, truth = contract.name, contract.name + suffix
        owners[current] = (contract, _get_order(contract), None)
        owners[truth] = (contract, _get_order(contract), contract.table)
        owners[f"quarantine.{contract.table}"] = (contract, (), None)
    tables = []
    for log in lake.folder.glob("*/delta/*/_delta_log"):
        folder = log.parent
        name = f"{folder.parent.parent.name}.{folder.name}"
        contract, order, proof_of = owners.get(name, (None, (), None))
        hours = contract.load.retention if contract else RETENTION_HOURS
        tables.append(Table(name, folder, order, hours, proof_of))
    return sorted(tables, key=lambda table: table.name)


def _get_order(contract: Contract) -> tuple[str, ...]:
    if contract.load.zorder:
        return tuple(contract.load.zorder)
    day = contract.load.business_date
    if day and contract.get_column(day).type.kind == "date":
        return (day,)
    return tuple(contract.load.key[:1])


def find_tables(settings: Settings, contracts: Contracts, names: tuple[str, ...]) -> list[Table]:
    """Return the tables that a person means, each once however often it is named; every table if none is named.

    Raises
    ------
    UsageError : as of `find_table`.
    """
    if not names:
        return list_tables(settings.lake, contracts)
    return list(dict.fromkeys(find_table(settings, contracts, name) for name in names))


def find_table(settings: Settings, contracts: Contracts, name: str) -> Table:
    """Return the table that a person means by a name as in SQL, or by the path of its folder.

    Raises
    ------
    UsageError : there is none, or more than one; names those it may be.
    """
    here = Path(name.strip("'\"")).absolute()
    asked = str(here) if (here / "_delta_log").is_dir() else name
    meant = timetravel.find_table(settings.lake, contracts, asked, settings.root)
    return next(table for table in list_tables(settings.lake, contracts) if table.path == meant.path)

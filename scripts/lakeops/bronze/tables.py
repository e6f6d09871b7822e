"""Which Delta tables a contract stands for, and that each of them exists, typed, from the first run on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from lakeops.contract import Column, Contract, Contracts, DataType
from lakeops.delta import ensure_table, get_folder, get_last_batch, open_table, read_arrow_type, read_commits
from lakeops.errors import BronzeCommitError
from lakeops.ledger import NAME, Ledger
from lakeops.paths import Lake

_LOADER_COLUMNS = (
    Column("_batch_id", DataType("bigint")),
    Column("_ingested_at", DataType("timestamp")),
    Column("_source_file", DataType("varchar")),
    Column("_source_row", DataType("bigint")),
)


def get_truth_columns(contract: Contract) -> tuple[Column, ...]:
    """Return the columns of the table that holds every record: the contract's, the loader's, what the mode needs."""
    columns = [*contract.columns, *_LOADER_COLUMNS]
    if contract.load.rescues:
        columns.append(Column("_rescued", DataType("json")))
    if contract.load.delete_when:
        columns.append(Column("_is_deleted", DataType("boolean")))
    if contract.load.partial_updates:
        columns.append(Column("_absent", DataType("json")))
    return tuple(columns)


def get_extra_columns(table: DeltaTable, contract: Contract) -> tuple[Column, ...]:
    """Return the columns that earlier files brought beyond the contract, with the type they got then."""
    schema = pa.schema(table.schema().to_arrow())
    known = {column.name for column in get_truth_columns(contract)}
    return tuple(Column(field.name, read_arrow_type(field.type)) for field in schema if field.name not in known)


def get_current_columns(contract: Contract) -> tuple[Column, ...]:
    """Return the columns of the table that SQL knows by the contract's name."""
    return tuple(column for column in get_truth_columns(contract) if column.name != "_absent")


def get_truth(lake: Lake, contract: Contract) -> Path:
    """Return the table that holds every record of a contract: what is loaded, and what all else is derived from."""
    suffix = "_changes" if contract.load.keeps_changes else ""
    return lake.bronze(contract.schema, contract.table + suffix)


def get_current(lake: Lake, contract: Contract) -> Path:
    """Return the table that SQL knows by the contract's name."""
    return lake.bronze(contract.schema, contract.table)


def get_rebuild_mark(lake: Lake, contract: Contract) -> Path:
    """Return the file that is there while a table is made anew from raw files, of which it may hold only some yet."""
    return lake.folder / f".rebuilding-{contract.name}"


def list_half_rebuilt(lake: Lake, contracts: Contracts) -> list[Contract]:
    """Return the contracts of which a rebuild was begun and not finished."""
    return [contract for contract in contracts.tables if get_rebuild_mark(lake, contract).exists()]


def get_quarantine_columns(contracts: Contracts) -> tuple[Column, ...]:
    """Return the stored columns of a quarantine table; `status` is not stored, the view works it out."""
    return tuple(column for column in contracts.get_record("quarantine").columns if column.name != "status")


def ensure_lake(lake: Lake, contracts: Contracts) -> None:
    """Create every table that the contracts declare and the lake lacks, typed and empty.

    Raises
    ------
    BronzeCommitError : a table cannot be written, or a column's type in a contract differs from the table's.
    """
    for contract in contracts.tables:
        ensure_table(get_current(lake, contract), get_current_columns(contract))
        if contract.load.keeps_changes:
            ensure_table(get_truth(lake, contract), get_truth_columns(contract))
        quarantine = lake.quarantine(contract.table)
        ensure_table(quarantine, get_quarantine_columns(contracts))
        if quarantine.stat().st_mode & 0o777 != 0o700:  # it holds personal data as it came
            quarantine.chmod(0o700)
    for record in contracts.records:
        if record.name != "quarantine":
            ensure_table(lake.ops(record.name), record.columns)


def check_tables(lake: Lake, contracts: Contracts, ledger: Ledger, rebuild: Collection[str] = ()) -> None:
    """Refuse to go on with a table that has lost what the ledger knows was committed to it.

    Created anew and empty, such a table would look like one that never had a row, and its files like loaded ones.

    Parameters
    ----------
    rebuild : tables that are about to be loaded again from their raw files, and may be lost.

    Raises
    ------
    BronzeCommitError : a table is gone, or holds less than was committed, or is half rebuilt; or what was loaded can no
        longer be told.
    """
    if (lake.folder / ".restoring").exists():
        raise BronzeCommitError(
            "A restore of this lake was not finished.",
            where=str(lake.folder),
            next_step="run the same lakeops restore-from again",
        )
    half = list_half_rebuilt(lake, contracts)
    if any(contract.table not in rebuild and contract.name not in rebuild for contract in half):
        raise BronzeCommitError(
            "A rebuild was not finished: what it makes anew does not hold all of its files yet.",
            where=", ".join(contract.name for contract in half),
            next_step=f'lakeops rebuild {" ".join(contract.name for contract in half)} --reason "…"',
        )
    for contract in contracts.tables:
        if contract.table in rebuild or contract.name in rebuild:
            continue
        known = ledger.batches.get(contract.table, 0)
        truth, quarantine = get_truth(lake, contract), lake.quarantine(contract.table)
        for path in (truth, quarantine):
            is_there = DeltaTable.is_deltatable(str(path))
            table = open_table(path) if is_there and path == truth else None
            held = get_last_batch(table) if table else 0
            if known and (not is_there or (table and held < known)):
                raise BronzeCommitError(
                    "A table of the lake has lost what was committed to it.",
                    where=str(path),
                    expected=f"batches up to {known}, as the ledger has them",
                    found=f"batches up to {held}" if is_there else "no Delta table",
                    next_step="lakeops doctor says what mends it; from its raw files, without a backup, too: "
                    f'lakeops repair {contract.name} --reason "…"',
                )
            if table and not is_proven(table, contract, ledger):
                # Files of which the proof was trimmed would look new, and load a second time.
                raise BronzeCommitError(
                    "The ledger does not know every load of this table, and its log begins too late to tell.",
                    where=str(path),
                    expected=f"batches up to {held}",
                    found=f"batches up to {known} in the ledger",
                    next_step=f'with a backup: lakeops repair ops.{NAME} --from DIR --reason "…"; without one, from '
                    f'raw files: lakeops rebuild {contract.name} --reason "…"',
                )


def is_proven(truth: DeltaTable, contract: Contract, ledger: Ledger) -> bool:
    """Tell whether ledger and log together know every load of a table: upkeep trims what is old from the log."""
    known = ledger.batches.get(contract.table, 0)
    if get_last_batch(truth) <= known:
        return True
    folder = get_folder(truth)
    versions = sorted(int(file.stem) for file in (folder / "_delta_log").glob("*.json") if file.stem.isdigit())
    # Nothing is missing from the middle of a log: what it tells of a batch that is known is followed by all later ones.
    return versions[:1] == [0] or any(proof["batch_id"] <= known for _, proof in read_commits(folder, versions))


def get_next_batch(lake: Lake, contracts: Contracts) -> int:
    """Return a batch id larger than any that ever wrote to the lake, also one that was killed half-way."""
    paths = [lake.ops(record.name) for record in contracts.records if record.name != "quarantine"]
    for contract in contracts.tables:
        paths += [get_truth(lake, contract), get_current(lake, contract), lake.quarantine(contract.table)]
    return 1 + max(get_last_batch(DeltaTable(str(path))) for path in paths)

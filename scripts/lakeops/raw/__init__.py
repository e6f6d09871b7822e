"""Find, fingerprint and read raw files: as text where they are text, with the physical line of every record.

Nothing here writes `data_raw/`, changes a value, or decides what a row is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lakeops.contract import Contract
from lakeops.raw.chunk import Chunk, RefusedFile
from lakeops.raw.landing import Landing, check_raw, compute_fingerprint, list_landings, make_landing

__all__ = [
    "Chunk",
    "Landing",
    "RefusedFile",
    "check_raw",
    "compute_fingerprint",
    "list_landings",
    "make_landing",
    "read_file",
]


def read_file(path: Path, contract: Contract) -> Iterator[Chunk]:
    """Read a raw file in the format its contract names.

    Parameters
    ----------
    path : the file.
    contract : the contract that claims it.

    Yields
    ------
    Chunks in file order; large text files come in several.

    Raises
    ------
    RefusedFile : the file as a whole cannot be read, or not safely.
    """
    # Imported here: start-up with nothing new must not pay for four readers.
    match contract.load.format:
        case "csv":
            from lakeops.raw.delimited import read_delimited

            yield from read_delimited(path, contract.load.delimiter, contract.load.encoding)
        case "jsonl":
            from lakeops.raw.jsonl import read_jsonl

            yield from read_jsonl(path, contract.load.partial_updates, contract.load.encoding)
        case "parquet":
            from lakeops.raw.parquet import read_parquet

            yield from read_parquet(path)
        case "xlsx":
            from lakeops.raw.workbook import read_workbook

            kinds = {column.name: column.type.kind for column in contract.columns}
            kinds |= {alias: kinds[name] for name, aliases in contract.load.aliases.items() for alias in aliases}
            yield from read_workbook(path, kinds)

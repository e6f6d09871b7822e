"""Files that a loader must refuse as a whole, each for one reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BadFile:
    """One way in which a file is bad.

    Parameters
    ----------
    table, path : whose file it is; `{day}` stands for the first day that the call brings. No other table needs
        these tables' rows, so a refused file has no consequences elsewhere.
    refused_as : the loader's reason.
    lacks : column that the file leaves out, if that is what is wrong.
    """

    table: str
    path: str
    refused_as: str
    lacks: str | None = None


BAD_FILES = {
    "missing_column": BadFile("returns", "returns/return_dt={day}/part-00001.parquet", "columns", "reason"),
    "truncated": BadFile("shipments", "shipments/ship_dt={day}/part-00001.parquet", "truncated"),
    "wrong_encoding": BadFile("events", "events/event_dt={day}/events_0001.jsonl", "wrong_encoding"),
}


def damage(content: bytes, kind: str) -> bytes:
    """Return a file's bytes as they arrive when it is bad in the way `kind`."""
    match kind:
        case "truncated":
            return content[: 2 * len(content) // 3]
        case "wrong_encoding":
            # What a spreadsheet calls "Unicode text".
            return b"\xff\xfe" + content.decode().encode("utf-16-le")
        case _:
            return content

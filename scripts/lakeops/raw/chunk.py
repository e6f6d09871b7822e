"""What a reader hands on: a stretch of a file, or the reason why the file is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

SOURCE_ROW = "_source_row"
ABSENT = "_absent"
BROKEN_SCHEMA = {SOURCE_ROW: pl.Int64, "reason": pl.String, "detail": pl.String, "raw_record": pl.String}


class RefusedFile(Exception):  # noqa: N818 - a verdict on a file, not an error of the program
    """The file is refused as a whole.

    Parameters
    ----------
    reason : short code, e.g. `wrong_encoding`.
    detail : what was expected and found, with the line where one is known.
    next_step : what the sender or the user should do.
    """

    def __init__(self, reason: str, detail: str, next_step: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.next_step = reason, detail, next_step


@dataclass(frozen=True)
class Chunk:
    """A stretch of a raw file.

    Parameters
    ----------
    rows : records that could be split into the file's columns, and `_source_row` (Int64, the physical line or row
        where the record begins). Text formats bring text; Parquet brings its own types.
    broken : records that could not be split; BROKEN_SCHEMA.
    get_raw : given `_source_row` values of this chunk, returns each record word for word.
    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    get_raw: Callable[[Iterable[int]], dict[int, str]]


def make_broken(records: list[tuple[int, str, str, str]]) -> pl.DataFrame:
    """Return (source row, reason, detail, raw record) tuples as a frame of BROKEN_SCHEMA."""
    return pl.DataFrame(records, schema=BROKEN_SCHEMA, orient="row")


def refuse_reserved(names: Iterable[str]) -> None:
    """Refuse a file that brings a column of a name under which readers hand on what they found beside the columns."""
    if taken := {SOURCE_ROW, ABSENT}.intersection(names):
        raise RefusedFile(
            "bad_header",
            f"column {', '.join(sorted(taken))} has a name the loader keeps for itself",
            "ask the sender to name the column otherwise",
        )

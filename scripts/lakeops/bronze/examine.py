"""Read and judge one file: its verdict, its typed rows, and what goes to quarantine."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from deltalake.transaction import AddAction

from lakeops.bronze.plan import Step
from lakeops.contract import Column, Contract
from lakeops.delta import write_part
from lakeops.judge import judge_header, judge_rows, read_path_values
from lakeops.raw import RefusedFile, read_file

# A file with more accepted rows than this goes to disk part by part, so that its size does not bound memory.
ROWS_IN_MEMORY = 2_000_000


@dataclass
class Examined:
    """What came of one file.

    Parameters
    ----------
    rows : accepted rows not yet written, with the loader's columns.
    parts : accepted rows already written as data files, which no commit knows yet.
    quarantined : rows of the quarantine record.
    refusal : why the whole file is refused; empty if it is not.
    """

    step: Step
    rows: list[pl.DataFrame] = field(default_factory=list)
    parts: list[AddAction] = field(default_factory=list)
    quarantined: list[pl.DataFrame] = field(default_factory=list)
    new_columns: tuple[Column, ...] = ()
    rows_read: int = 0
    rows_accepted: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    min_business_date: dt.date | None = None
    max_business_date: dt.date | None = None
    refusal: str = ""

    @property
    def rows_quarantined(self) -> int:
        """Return how many records did not keep the contract."""
        return self.rows_read - self.rows_accepted if not self.refusal else 0

    def refuse(self, reason: str, table: Path) -> None:
        """Turn the verdict against the whole file: nothing of it may reach a commit."""
        for part in self.parts:
            (table / part.path).unlink(missing_ok=True)
        self.refusal = reason
        self.rows, self.parts, self.quarantined, self.new_columns = [], [], [], ()
        self.rows_accepted, self.warnings = 0, {}
        self.min_business_date = self.max_business_date = None


def examine_file(
    step: Step, extra_columns: tuple[Column, ...], table: Path, batch_id: int, ingested_at: dt.datetime
) -> Examined:
    """Read and judge a file.

    Parameters
    ----------
    step : which file, and the hash it was planned with.
    extra_columns : columns the bronze table has beyond the contract, from earlier files.
    table : folder of the Delta table, for parts of large files.
    batch_id, ingested_at : written on every row.
    """
    examined = Examined(step)
    contract = step.landing.contract
    assert contract is not None
    buffered = 0
    refusals: dict[str, int] = {}
    try:
        for chunk in read_file(step.landing.path, contract):
            schema = pl.Schema({name: dtype for name, dtype in chunk.rows.schema.items() if name != "_source_row"})
            header = judge_header(schema, contract, extra_columns)
            if header.refusal:
                raise RefusedFile("columns", header.refusal, "ask the sender, or change the contract")
            examined.new_columns = tuple(dict.fromkeys((*examined.new_columns, *header.new_columns)))
            judged = judge_rows(chunk.rows, contract, read_path_values(step.landing.source_file), header.new_columns)
            examined.rows_read += chunk.rows.height + chunk.broken.height
            examined.rows_accepted += judged.accepted.height
            for label, count in judged.warnings.items():
                examined.warnings[label] = examined.warnings.get(label, 0) + count
            for label, count in judged.refusals.items():
                refusals[label] = refusals.get(label, 0) + count
            if chunk.broken.height or judged.faults.height:
                raw = chunk.get_raw(judged.faults["_source_row"])
                faults = judged.faults.with_columns(
                    pl.Series("raw_record", [raw[row] for row in judged.faults["_source_row"]], dtype=pl.String)
                )
                examined.quarantined.append(pl.concat([chunk.broken, faults], how="diagonal"))
            if judged.accepted.height:
                _note_business_dates(examined, contract, judged.accepted)
                examined.rows.append(_add_loader_columns(judged.accepted, step, batch_id, ingested_at))
                buffered += judged.accepted.height
                if buffered > ROWS_IN_MEMORY:
                    examined.parts.append(write_part(table, pl.concat(examined.rows, how="diagonal")))
                    examined.rows, buffered = [], 0
        if refusals:
            failed = "; ".join(f"{label}: {count:,} rows" for label, count in refusals.items())
            raise RefusedFile("expectation_failed", failed, "ask the sender, or change the contract")
        _check_unmoved(step)
    except RefusedFile as verdict:
        examined.refuse(f"{verdict}; {verdict.next_step}", table)
    return examined


def _check_unmoved(step: Step) -> None:
    stat = step.landing.path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (step.landing.size_bytes, step.landing.mtime_ns):
        raise RefusedFile(
            "still_written",
            f"the file changed while it was read ({step.landing.size_bytes:,} bytes, then {stat.st_size:,})",
            "let the sender finish (write under another name, then rename), and run again",
        )


def _add_loader_columns(rows: pl.DataFrame, step: Step, batch_id: int, ingested_at: dt.datetime) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(batch_id, dtype=pl.Int64).alias("_batch_id"),
        pl.lit(ingested_at, dtype=pl.Datetime("us", "UTC")).alias("_ingested_at"),
        pl.lit(step.landing.source_file).alias("_source_file"),
    )


def _note_business_dates(examined: Examined, contract: Contract, accepted: pl.DataFrame) -> None:
    if not contract.load.business_date:
        return
    days = accepted[contract.load.business_date].cast(pl.Date)
    low, high = days.min(), days.max()
    if low is not None:
        examined.min_business_date = min(filter(None, (examined.min_business_date, low)))
        examined.max_business_date = max(filter(None, (examined.max_business_date, high)))

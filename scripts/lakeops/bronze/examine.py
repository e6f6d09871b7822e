"""Read and judge one file: its verdict, its typed rows, and what goes to quarantine."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from deltalake.transaction import AddAction

from lakeops.bronze.plan import Step
from lakeops.contract import Column, Contract
from lakeops.delta import write_part
from lakeops.judge import judge_header, judge_rows, read_path_values, reads_folders
from lakeops.raw import Chunk, RefusedFile, read_file

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
    is_copy : its rows are those of the step's twin; it is not read to its end.
    seconds : what it took to read and judge it; None for a file that nobody read.
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
    is_copy: bool = False
    seconds: float | None = None

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
    started = time.perf_counter()
    examined = Examined(step)
    contract = step.landing.contract
    assert contract is not None
    gate = _Gate(contract)
    buffered, misfit = 0, ""
    try:
        for chunk in read_file(step.landing.path, contract):
            if step.twin and not reads_folders(contract, chunk.rows.columns):
                return Examined(step, is_copy=True)
            examined.rows_read += chunk.rows.height + chunk.broken.height
            header = judge_header(_get_schema(chunk), contract, extra_columns)
            misfit = misfit or header.refusal
            if misfit:  # what follows is only counted
                continue
            examined.new_columns = tuple(dict.fromkeys((*examined.new_columns, *header.new_columns)))
            judged = judge_rows(chunk.rows, contract, read_path_values(step.landing.source_file), header)
            examined.rows_accepted += judged.accepted.height
            for label, count in judged.warnings.items():
                examined.warnings[label] = examined.warnings.get(label, 0) + count
            gate.note(judged.refusals, refuses=True)
            if chunk.broken.height or judged.faults.height:
                raw = chunk.get_raw(judged.faults["_source_row"])
                faults = judged.faults.with_columns(
                    pl.Series("raw_record", [raw[row] for row in judged.faults["_source_row"]], dtype=pl.String)
                )
                faults = pl.concat([chunk.broken, faults], how="diagonal")
                examined.quarantined.append(faults)
                gate.note(faults, refuses=False)
            if judged.accepted.height:
                _note_business_dates(examined, contract, judged.accepted)
                examined.rows.append(_add_loader_columns(judged.accepted, step, batch_id, ingested_at))
                buffered += judged.accepted.height
                if buffered > ROWS_IN_MEMORY:
                    examined.parts.append(write_part(table, pl.concat(examined.rows, how="diagonal")))
                    examined.rows, buffered = [], 0
        if misfit:
            raise RefusedFile("columns", misfit, "ask the sender, or change the contract")
        gate.close(examined)
        _check_unmoved(step)
    except RefusedFile as verdict:
        examined.refuse(f"{verdict}; {verdict.next_step}", table)
    except OSError:
        if not (reason := _find_obstacle(step.landing.path)):  # the disk failed, or the lake, and not this file
            raise
        examined.refuse(reason, table)
    except pl.exceptions.PolarsError as error:  # values of a kind that nobody thought of must not stop the other files
        found = str(error).splitlines()[0].partition(": [")[0][:200]  # the values may be a person's
        examined.refuse(f"unreadable: {found}; ask the sender for plainer types", table)
    examined.seconds = round(time.perf_counter() - started, 4)
    return examined


def _find_obstacle(path: Path) -> str:
    """Say why a raw file cannot be opened, all of whose bytes were read a moment ago; not every reader tells."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return "still_written: it was moved away while it was loaded; the next run takes it where it is then"
    except OSError as error:
        return f"no_access: {error.strerror}; let the loader's account read it"
    return ""


def _get_schema(chunk: Chunk) -> pl.Schema:
    own = ("_source_row", "_absent")
    return pl.Schema({name: dtype for name, dtype in chunk.rows.schema.items() if name not in own})


class _Gate:
    """Decides, when all of a file is judged, whether its bad rows refuse it as a whole; and says why."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        # What is said goes to the ledger, the log and the alert: of a person's data, only where it stands.
        self._personal = {column.name for column in contract.columns if column.personal}
        self._refuses = False
        self._counts: dict[tuple[str, str], int] = {}
        self._examples: dict[tuple[str, str], list[str]] = {}

    def note(self, faults: pl.DataFrame, *, refuses: bool) -> None:
        """Take in the faults of a stretch of rows."""
        if not faults.height:
            return
        self._refuses |= refuses
        columns = faults["column_name"] if "column_name" in faults.columns else [None] * faults.height
        for row, reason, column, detail in zip(
            faults["_source_row"], faults["reason"], columns, faults["detail"], strict=True
        ):
            failed = (column or "record", reason)
            self._counts[failed] = self._counts.get(failed, 0) + 1
            examples = self._examples.setdefault(failed, [])
            if len(examples) < 3:
                examples.append(f"line {row}" if column in self._personal else f"line {row}: {detail}")

    def close(self, examined: Examined) -> None:
        """Raise RefusedFile if the contract says that a file like this is refused."""
        limit = self._contract.load.max_quarantined
        bad = examined.rows_read - examined.rows_accepted
        if limit and bad >= limit.min_rows and bad * 100 > limit.percent * examined.rows_read:
            share = f"{bad:,} of {examined.rows_read:,} records are bad, over {limit.percent:g}% ({limit.reason})"
            raise RefusedFile("too_many_bad", f"{share}; {self._describe()}", "ask the sender for the file again")
        if self._refuses:
            raise RefusedFile("expectation_failed", self._describe(), "ask the sender, or change the contract")

    def _describe(self) -> str:
        # Every column must fit its type, and every expectation must hold.
        evaluated = len(self._contract.file_columns) + len(self._contract.expectations)
        failed = len([column for column, _ in self._counts if column != "record"])
        told = "; ".join(
            f"{column} {reason}: {count:,} row(s), e.g. {', '.join(self._examples[column, reason])}"
            for (column, reason), count in self._counts.items()
        )
        return f"gate: {evaluated} expectations evaluated, {evaluated - failed} passed, {failed} failed: {told}"


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

"""What a contract says, as Python sees it."""

from __future__ import annotations

import codecs
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lakeops.errors import ContractError

OPS_SOURCE = "ops"
# The names the loader writes itself; a contract may not use them.
LOADER_COLUMNS = ("_batch_id", "_ingested_at", "_source_file", "_source_row", "_rescued", "_is_deleted", "_absent")
ROW_TESTS = ("not_null", "accepted_values", "accepted_range", "matches_regex")


@dataclass(frozen=True)
class DataType:
    """A column's type: `kind` is bigint, double, decimal, varchar, boolean, date, timestamp or json."""

    kind: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.kind == "decimal" else self.kind


def _read_number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _read_moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _refuse_bound(text: str) -> Decimal:
    raise ValueError(text)


def _read_bound(value: object, data_type: DataType) -> Decimal | dt.date:
    read, expected = _BOUNDS.get(data_type.kind, (_refuse_bound, "a column of numbers, dates or timestamps"))
    try:
        return read(str(value))
    except (ValueError, InvalidOperation) as error:
        raise ValueError(expected) from error


# How a bound of each kind of column is read, and what is expected there.
_BOUNDS: dict[str, tuple[Callable[[str], Decimal | dt.date], str]] = {
    "bigint": (_read_number, "a number"),
    "double": (_read_number, "a number"),
    "decimal": (_read_number, "a number"),
    "date": (dt.date.fromisoformat, "a day, as 2024-04-01"),
    "timestamp": (_read_moment, "a moment, as 2024-04-01 12:00:00 (UTC)"),
}


@dataclass(frozen=True)
class Expectation:
    """One dbt test the loader runs on every row before the commit.

    Parameters
    ----------
    test : one of ROW_TESTS.
    column : column it looks at.
    arguments : the test's arguments, as dbt gets them.
    on_fail : quarantine, refuse or warn.
    """

    test: str
    column: str
    arguments: dict[str, Any] = field(hash=False)
    on_fail: str

    def get_bound(self, argument: str, data_type: DataType) -> Decimal | dt.date | None:
        """Return a bound of `accepted_range` as a value of the column's type; None if it is not set.

        Raises
        ------
        ValueError : it is none of the column's type; the message says what is.
        """
        value = self.arguments.get(argument)
        return None if value is None else _read_bound(value, data_type)

    def check_values(self, data_type: DataType) -> None:
        """Raise ValueError if a value of `accepted_values` is none of the column's type; the message says what is."""
        values = self.arguments["values"]
        if not isinstance(values, list):
            raise ValueError(f"a list, not {values!r}")
        for value in values:
            if data_type.kind in ("varchar", "json"):
                # A day is spelt in one way only; YAML reads NO as false, and 01 as 1.
                if type(value) not in (str, dt.date):
                    raise ValueError(f"text, not {value!r}: put it in quotes")
            elif data_type.kind == "boolean":
                if str(value).lower() not in ("true", "false"):
                    raise ValueError(f"true or false, not {value!r}")
            else:
                try:
                    _read_bound(value, data_type)
                except ValueError as error:
                    raise ValueError(f"{error}, not {value!r}") from error

    @property
    def label(self) -> str:
        """Return the expectation as a person would write it."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.test}({shown})" if shown else self.test


@dataclass(frozen=True)
class Column:
    """A column of a bronze table or an ops record; an optional one may be missing from a file."""

    name: str
    type: DataType
    description: str = ""
    personal: bool = False
    optional: bool = False
    # Where it stands; worked out only when somebody has to be told.
    place: object = field(default=None, compare=False, repr=False)


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError) as unknown:
        raise ValueError(f"{name!r} is no time zone of the IANA database") from unknown
    return name


# Codecs that Python has for itself, and no file is written in.
_NO_ENCODING = ("idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-8-sig")


def _check_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name).name
        "".encode(name)  # raises for a codec from bytes to bytes, such as hex
    except (LookupError, UnicodeError):
        found = ""
    if not found or found in _NO_ENCODING:
        raise ValueError(f"{name!r} is no text encoding; there are utf-8, utf-16, latin-1, cp1252 and Python's others")
    return found


class MaxQuarantined(BaseModel):
    """When a file has so many bad rows that it is refused: above `percent`, and at least `min_rows` of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: Annotated[float, Field(ge=0, lt=100)]
    min_rows: Annotated[int, Field(ge=1)]
    reason: Annotated[str, Field(min_length=10)]


class Load(BaseModel):
    """The keys under `config.meta.load`. docs/contracts.md explains each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Annotated[list[str], Field(min_length=1)]
    format: Literal["csv", "jsonl", "xlsx", "parquet"]
    mode: Literal["append", "merge", "replace"] = "append"
    key: Annotated[list[str], Field(min_length=1)]
    sequence_by: list[str] = []
    delete_when: str | None = None
    partial_updates: bool = False
    aliases: dict[str, list[str]] = {}
    folders: list[str] = []
    derive: dict[str, str] = {}
    business_date: str | None = None
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_zone: Annotated[str, AfterValidator(_check_time_zone)] = "UTC"
    on_new_column: Literal["evolve", "rescue", "refuse", "ignore"] = "refuse"
    on_bad_value: Literal["quarantine", "rescue", "refuse"] = "quarantine"
    max_quarantined: MaxQuarantined | None = None
    zorder: list[str] = []
    retention: Annotated[int, Field(ge=1)] = 168

    @property
    def keeps_changes(self) -> bool:
        """Tell whether the truth is a table of changes, and the table itself derived from it."""
        return self.mode != "append"

    @property
    def rescues(self) -> bool:
        """Tell whether the table has a column `_rescued`."""
        return "rescue" in (self.on_new_column, self.on_bad_value)

    @model_validator(mode="after")
    def _check_modes(self) -> Load:
        if self.delete_when and self.mode != "merge":
            raise ValueError("delete_when needs mode: merge; a full snapshot deletes by leaving out")
        if self.partial_updates and self.mode != "merge":
            raise ValueError("partial_updates needs mode: merge")
        return self

    @model_validator(mode="after")
    def _check_delimiter(self) -> Load:
        if not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError("delimiter: one ASCII character, and no quote or line break")
        return self

    @model_validator(mode="after")
    def _check_format(self) -> Load:
        if self.encoding != "utf-8" and self.format not in ("csv", "jsonl"):
            raise ValueError(f"encoding is for csv and jsonl; {self.format} says for itself how its text is written")
        return self

    @model_validator(mode="after")
    def _check_files(self) -> Load:
        for pattern in self.files:
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f"files: {pattern!r} must be relative to the raw folder and stay in it")
        return self


class AnomalyRule(BaseModel):
    """One entry under `config.meta.anomalies`: how far a measure of a business day may be from what is usual.

    Parameters
    ----------
    threshold : distance in units of the usual spread (robust z-score) above which a day, or a row, warns.
    warm_up : with fewer earlier days of the same weekday, a day is not judged.
    backtest : what `lakeops quality backtest` said when the rule was switched on; without it the rule is off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: Literal["volume", "null_share", "distinct_share", "category_share", "mean", "median", "outliers"]
    column: str | None = None
    threshold: Annotated[float, Field(gt=0)]
    warm_up: Annotated[int, Field(ge=3, le=12)] = 4
    reason: Annotated[str, Field(min_length=10)]
    backtest: Annotated[str, Field(min_length=10)] | None = None

    @property
    def is_on(self) -> bool:
        """Tell whether days are judged by the rule, and not only tried."""
        return self.backtest is not None

    @property
    def label(self) -> str:
        """Return measure and column as a person would write them."""
        return f"{self.measure} of {self.column}" if self.column else self.measure

    @model_validator(mode="after")
    def _check_column(self) -> AnomalyRule:
        if (self.column is None) != (self.measure == "volume"):
            raise ValueError("volume is of the whole table; every other measure names its column")
        return self


@dataclass(frozen=True)
class Contract:
    """What one bronze table promises.

    Parameters
    ----------
    schema, table : the table's name in SQL; `schema` is also its place in the lake.
    columns : business columns in order, derived ones included.
    load : the load settings.
    expectations : row tests the loader enforces.
    freshness : hours after which the table is stale, as {"warn": h, "error": h}; empty if never.
    file : the YAML file it stands in.
    anomalies : what of its days is compared with their history.
    """

    schema: str
    table: str
    description: str
    columns: tuple[Column, ...]
    load: Load
    expectations: tuple[Expectation, ...]
    freshness: dict[str, float] = field(hash=False)
    file: Path
    anomalies: tuple[AnomalyRule, ...] = ()

    @property
    def name(self) -> str:
        """Return schema.table."""
        return f"{self.schema}.{self.table}"

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """Return the columns a file must bring: all but the derived ones."""
        return tuple(column for column in self.columns if column.name not in self.load.derive)

    def get_column(self, name: str) -> Column:
        """Return the column called `name`; raises KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True)
class Retention:
    """How long a record's rows are kept: `days`, counted from the time in the column `by`."""

    days: int
    by: str


@dataclass(frozen=True)
class Record:
    """A record the lake keeps about itself: a Delta table under ops, and a view of the same name."""

    name: str
    columns: tuple[Column, ...]
    retention: Retention | None = None


@dataclass(frozen=True)
class Contracts:
    """All that the YAML under `dbt/models` declares for the lake."""

    tables: tuple[Contract, ...]
    records: tuple[Record, ...]

    def get_table(self, name: str) -> Contract:
        """Return the contract called `name`, as `table` or `schema.table`.

        Raises
        ------
        ContractError : no contract or more than one has that name.
        """
        found = [contract for contract in self.tables if name in (contract.table, contract.name)]
        if len(found) != 1:
            raise ContractError(
                f"No table is called {name!r}." if not found else f"{name!r} is the name of {len(found)} tables.",
                expected=", ".join(contract.name for contract in self.tables),
                next_step="name one of them as schema.table",
            )
        return found[0]

    def get_record(self, name: str) -> Record:
        """Return the ops record called `name`; raises ContractError if the YAML lacks it."""
        for record in self.records:
            if record.name == name:
                return record
        raise ContractError(
            f"The ops record {name!r} is not declared.",
            where="dbt/models/ops/ops.yml",
            expected="a source named ops with that table",
            next_step="restore the file: git checkout dbt/models/ops/ops.yml",
        )

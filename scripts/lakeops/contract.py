"""Read and check the contracts, which stand in dbt's own sources YAML and nowhere else.

A source table with `config.meta.load` is a contract: files become a bronze table. A table of the source `ops`
is a record the lake keeps about itself. This room knows YAML and rules, and no folder of the lake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

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
    derive: dict[str, str] = {}
    business_date: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_zone: Annotated[str, AfterValidator(_check_time_zone)] = "UTC"
    on_new_column: Literal["evolve", "rescue", "refuse", "ignore"] = "refuse"
    on_bad_value: Literal["quarantine", "rescue", "refuse"] = "quarantine"
    max_quarantined: MaxQuarantined | None = None

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
    def _check_files(self) -> Load:
        for pattern in self.files:
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f"files: {pattern!r} must be relative to the raw folder and stay in it")
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
    """

    schema: str
    table: str
    description: str
    columns: tuple[Column, ...]
    load: Load
    expectations: tuple[Expectation, ...]
    freshness: dict[str, float] = field(hash=False)
    file: Path

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
class Record:
    """A record the lake keeps about itself: a Delta table under ops, and a view of the same name."""

    name: str
    columns: tuple[Column, ...]


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


def load_contracts(models: Path) -> Contracts:
    """Read every contract under a dbt `models` folder.

    Parameters
    ----------
    models : folder that holds the YAML files, at any depth.

    Returns
    -------
    The contracts and records, in the order of file name and position.

    Raises
    ------
    ContractError : a file is no YAML, a key is misspelt, a value is not allowed, or two tables have one name.
    """
    tables: list[Contract] = []
    records: list[Record] = []
    for file in sorted([*models.rglob("*.yml"), *models.rglob("*.yaml")]):
        text = file.read_text(encoding="utf-8")
        if "sources:" not in text:
            continue
        for position, source in enumerate(_parse_yaml(file, text).get("sources") or []):
            for index, table in enumerate(source.get("tables") or []):
                place = _Place(file, text, ("sources", position, "tables", index))
                if source.get("name") == OPS_SOURCE:
                    records.append(Record(table["name"], _read_columns(table, place)))
                elif _dig(table, "config", "meta", "load") is not None:
                    tables.append(_read_contract(source, table, place))
    _check_unique([contract.name for contract in tables], models)
    # Batches of one lake are told apart by table name alone, e.g. in quarantine/delta/<table>.
    _check_unique([contract.table for contract in tables], models)
    return Contracts(tuple(tables), tuple(records))


@dataclass(frozen=True)
class _Place:
    """A spot in a YAML file, for error messages with a line number."""

    file: Path
    text: str
    path: tuple[str | int, ...]

    def at(self, *steps: str | int) -> _Place:
        return _Place(self.file, self.text, (*self.path, *steps))

    def __str__(self) -> str:
        node: yaml.Node | None = yaml.compose(self.text, Loader=yaml.SafeLoader)
        line, names = 1, []
        for step in self.path:
            child = None
            if isinstance(node, yaml.MappingNode):
                child = next(((key, value) for key, value in node.value if key.value == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                child = (node.value[step], node.value[step])
            if child is None:
                break
            line, node = child[0].start_mark.line + 1, child[1]
            named = next((v.value for k, v in node.value if k.value == "name"), None) if _is_mapping(node) else None
            names.append(str(named or step) if isinstance(step, int) else step)
        return f"{self.file}:{line} ({'.'.join(names)})"


def _is_mapping(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.MappingNode)


def _parse_yaml(file: Path, text: str) -> dict[str, Any]:
    try:
        parsed = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ContractError(
            "A contract file is not valid YAML.",
            where=f"{file}:{mark.line + 1}" if mark else str(file),
            found=str(getattr(error, "problem", error)),
            next_step="mend the line named above, then run the command again",
        ) from error
    return parsed or {}


def _dig(mapping: dict[str, Any], *keys: str) -> Any:
    value: Any = mapping
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _read_contract(source: dict[str, Any], table: dict[str, Any], place: _Place) -> Contract:
    load_place = place.at("config", "meta", "load")
    try:
        load = Load.model_validate(table["config"]["meta"]["load"])
    except ValidationError as error:
        raise _explain(error, load_place) from error
    columns = _read_columns(table, place)
    names = [column.name for column in columns]
    for key, wanted in (
        ("key", load.key),
        ("sequence_by", load.sequence_by),
        ("derive", list(load.derive)),
        ("aliases", list(load.aliases)),
        ("business_date", [load.business_date] if load.business_date else []),
    ):
        for name in wanted:
            if name not in names:
                raise _unknown(load_place.at(key), f"a column in {key}", name, names)
    if set(load.key) & set(load.derive):
        raise ContractError(
            "A key column cannot be derived.",
            where=str(load_place.at("key")),
            found=", ".join(sorted(set(load.key) & set(load.derive))),
            next_step="key the table by columns that stand in the file",
        )
    return Contract(
        schema=source.get("schema") or source["name"],
        table=table["name"],
        description=table.get("description", ""),
        columns=columns,
        load=load,
        expectations=tuple(_read_expectations(table, load, place)),
        freshness=_read_freshness(source, table),
        file=place.file,
    )


def _read_columns(table: dict[str, Any], place: _Place) -> tuple[Column, ...]:
    columns = []
    for index, column in enumerate(table.get("columns") or []):
        at = place.at("columns", index)
        name = column.get("name", "")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ContractError(
                "A column's name cannot be used.",
                where=str(at),
                expected="lower-case letters, digits and _, beginning with a letter (a leading _ is the loader's)",
                found=repr(name),
                next_step="rename the column in the contract",
            )
        columns.append(
            Column(
                name=name,
                type=_parse_type(str(column.get("data_type", "")), at.at("data_type")),
                description=column.get("description", ""),
                personal=bool(_dig(column, "config", "meta", "personal")),
                optional=bool(_dig(column, "config", "meta", "optional")),
                place=at.at("data_type"),
            )
        )
    _check_unique([column.name for column in columns], place)
    return tuple(columns)


_SYNONYMS = {"text": "varchar", "string": "varchar", "bool": "boolean", "timestamptz": "timestamp", "int64": "bigint"}


def _parse_type(text: str, place: _Place) -> DataType:
    name = _SYNONYMS.get(text.strip().lower(), text.strip().lower())
    decimal = re.fullmatch(r"(?:decimal|numeric)\(\s*(\d+)\s*,\s*(\d+)\s*\)", name)
    if decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1]):
        return DataType("decimal", int(decimal[1]), int(decimal[2]))
    if name in ("bigint", "double", "varchar", "boolean", "date", "timestamp", "json"):
        return DataType(name)
    raise ContractError(
        "A column's data_type cannot be used.",
        where=str(place),
        expected="bigint, double, decimal(p,s) with p up to 38, varchar, boolean, date, timestamp or json",
        found=repr(text),
        next_step="write one of these in the contract",
    )


def _read_expectations(table: dict[str, Any], load: Load, place: _Place) -> Iterator[Expectation]:
    seen: set[tuple[str, str]] = set()
    for index, column in enumerate(table.get("columns") or []):
        for position, test in enumerate(column.get("data_tests") or column.get("tests") or []):
            name, body = (test, {}) if isinstance(test, str) else next(iter(test.items()))
            if name not in ROW_TESTS:
                continue
            at = place.at("columns", index, "data_tests", position)
            body = body or {}
            config = body.get("config") or {}
            on_fail = _dig(config, "meta", "on_fail") or "quarantine"
            if on_fail not in ("quarantine", "refuse", "warn"):
                raise _unknown(at, "on_fail", on_fail, ["quarantine", "refuse", "warn"])
            # dbt does not know on_fail: without severity warn, its own run of the test would stop the day.
            if on_fail == "warn" and str(config.get("severity", "error")).lower() != "warn":
                raise ContractError(
                    "A test that only warns must say so to dbt as well.",
                    where=str(at),
                    expected="config: {severity: warn, meta: {on_fail: warn}}",
                    found=f"on_fail: warn with severity: {config.get('severity', 'error')}",
                    next_step="add severity: warn to the test's config",
                )
            seen.add((name, column["name"]))
            yield Expectation(name, column["name"], _check_arguments(name, body.get("arguments") or {}, at), on_fail)
    for key in load.key:
        if ("not_null", key) not in seen:
            yield Expectation("not_null", key, {}, "quarantine")


_ARGUMENTS = {
    "not_null": ((), ()),
    "accepted_values": (("values",), ("values", "quote")),
    "accepted_range": ((), ("min_value", "max_value", "inclusive")),
    "matches_regex": (("regex",), ("regex",)),
}


def _check_arguments(test: str, arguments: dict[str, Any], place: _Place) -> dict[str, Any]:
    required, allowed = _ARGUMENTS[test]
    for name in arguments:
        if name not in allowed:
            raise _unknown(place, f"an argument of {test}", name, list(allowed))
    for name in required:
        if name not in arguments:
            raise ContractError(
                f"{test} lacks its argument {name}.",
                where=str(place),
                expected=f"{test}: {{arguments: {{{name}: …}}}}",
                next_step="write the argument in the contract",
            )
    return arguments


def _read_freshness(source: dict[str, Any], table: dict[str, Any]) -> dict[str, float]:
    config = table.get("config") or {}
    rule = config["freshness"] if "freshness" in config else _dig(source, "config", "freshness")
    hours = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
    limits = {}
    for level in ("warn", "error"):
        after = (rule or {}).get(f"{level}_after")
        if after and after.get("count") is not None:
            limits[level] = after["count"] * hours[after["period"]]
    return limits


def _explain(error: ValidationError, place: _Place) -> ContractError:
    first = error.errors()[0]
    spot = place.at(*first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(spot, "a load key", str(first["loc"][-1]), list(Load.model_fields))
    found = "nothing" if first["type"] == "missing" else repr(first["input"])[:200]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ContractError(
        f"The contract's load setting {'.'.join(map(str, first['loc'])) or 'load'} cannot be used.",
        where=str(spot),
        expected=expected,
        found=found,
        next_step="mend it in the contract; docs/contracts.md lists what is allowed",
    )


def _unknown(place: _Place, what: str, name: str, allowed: list[str]) -> ContractError:
    near = difflib.get_close_matches(name, allowed, n=1)
    return ContractError(
        f"{name!r} is not known as {what}.",
        where=str(place),
        expected=", ".join(allowed),
        found=repr(name),
        next_step=f"did you mean {near[0]!r}?" if near else "docs/contracts.md lists what is allowed",
    )


def _check_unique(names: list[str], place: object) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise ContractError(
            f"The name {name!r} is used twice.",
            where=str(place),
            expected="every table and every column of a table has a name of its own",
            next_step="rename or remove one of them",
        )

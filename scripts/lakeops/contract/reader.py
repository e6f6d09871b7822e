"""Read and check the contracts, which stand in dbt's own sources YAML and nowhere else.

A source table with `config.meta.load` is a contract: files become a bronze table. A table of the source `ops`
is a record the lake keeps about itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lakeops.contract.model import (
    OPS_SOURCE,
    ROW_TESTS,
    AnomalyRule,
    Column,
    Contract,
    Contracts,
    DataType,
    Expectation,
    Load,
    Record,
    Retention,
)
from lakeops.contract.place import Place
from lakeops.errors import ContractError


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
        if "sources:" not in text and "tables:" not in text:  # no source; dbt's own YAML is dbt's to check
            continue
        document = _parse_yaml(file, text)
        _check_spelling(document, ["sources"], "a section of dbt's YAML", Place(file, text, ()))
        for position, source in enumerate(document.get("sources") or []):
            _check_spelling(source, ["tables", "schema"], "a key of a source", Place(file, text, ("sources", position)))
            for index, table in enumerate(source.get("tables") or []):
                place = Place(file, text, ("sources", position, "tables", index))
                _check_spelling(table, ["columns", "config"], "a key of a table", place)
                config = table.get("config") or {}
                _check_spelling(config, ["meta", "freshness"], "a key of a table's config", place.at("config"))
                meta = _dig(table, "config", "meta") or {}
                if source.get("name") == OPS_SOURCE:
                    records.append(_read_record(table, place))
                    continue
                _check_spelling(meta, ["load", "anomalies"], "a key of a table's meta", place.at("config", "meta"))
                if meta.get("load") is not None:
                    tables.append(_read_contract(source, table, place, Place(file, text, ("sources", position))))
    _check_unique([contract.name for contract in tables], models)
    # Batches of one lake are told apart by table name alone, e.g. in quarantine/delta/<table>.
    _check_unique([name for contract in tables for name in _list_tables(contract)], models)
    return Contracts(tuple(tables), tuple(records))


def _list_tables(contract: Contract) -> list[str]:
    return [contract.table, f"{contract.table}_changes"] if contract.load.keeps_changes else [contract.table]


def _check_spelling(mapping: dict[str, Any], known: list[str], what: str, place: Place) -> None:
    """Refuse a key that is nearly one of ours: left alone, it would silently switch off what it was meant to say."""
    for name in mapping:
        if name not in known and difflib.get_close_matches(str(name), known, n=1, cutoff=0.7):
            raise _unknown(place.at(name), what, str(name), known)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's, which says of a day that does not exist neither its line nor that it is an error of the YAML."""

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> object:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError as error:
            found = f"{node.value}: {error}"
            raise yaml.constructor.ConstructorError(problem=found, problem_mark=node.start_mark) from error


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def _parse_yaml(file: Path, text: str) -> dict[str, Any]:
    try:
        parsed = yaml.load(text, Loader=_Loader)
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


def _read_contract(source: dict[str, Any], table: dict[str, Any], place: Place, source_place: Place) -> Contract:
    load_place = place.at("config", "meta", "load")
    try:
        load = Load.model_validate(table["config"]["meta"]["load"])
    except ValidationError as error:
        raise _explain(error, load_place, "load", Load) from error
    columns = _read_columns(table, place)
    names = [column.name for column in columns]
    for key, wanted in (
        ("key", load.key),
        ("sequence_by", load.sequence_by),
        ("derive", list(load.derive)),
        ("aliases", list(load.aliases)),
        ("business_date", [load.business_date] if load.business_date else []),
        ("zorder", load.zorder),
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
    if load.business_date and next(c for c in columns if c.name == load.business_date).type.kind not in _DAYS:
        raise ContractError(
            "The business date is no date.",
            where=str(load_place.at("business_date")),
            expected="a column of type date or timestamp",
            found=load.business_date,
            next_step="name another column, or derive one: derive: {sale_dt: CAST(sold_at AS DATE)}",
        )
    for name in load.zorder:
        if (found := next(column for column in columns if column.name == name)).type.kind not in ("bigint", "date"):
            raise ContractError(
                "A table cannot be laid out by this column.",
                where=str(load_place.at("zorder")),
                expected="columns of type bigint or date: by others no query skips a file",
                found=f"{name}, of type {found.type}",
                next_step="name another column, or leave zorder away",
            )
    _check_sql(load, names, load_place)
    return Contract(
        schema=_read_name("schema", source.get("schema") or source.get("name"), source_place),
        table=_read_name("table", table.get("name"), place),
        description=table.get("description", ""),
        columns=columns,
        load=load,
        expectations=tuple(_read_expectations(table, load, columns, place)),
        freshness=_read_freshness(source, table, place),
        file=place.file,
        anomalies=tuple(_read_anomalies(table, load, columns, place)),
    )


_NUMBERS = ("bigint", "decimal", "double")


def _read_anomalies(
    table: dict[str, Any], load: Load, columns: tuple[Column, ...], place: Place
) -> Iterator[AnomalyRule]:
    known = {column.name: column for column in columns}
    for index, entry in enumerate(_dig(table, "config", "meta", "anomalies") or []):
        at = place.at("config", "meta", "anomalies", index)
        try:
            rule = AnomalyRule.model_validate(entry)
        except ValidationError as error:
            raise _explain(error, at, "anomalies", AnomalyRule) from error
        problem = None
        if load.business_date is None:
            problem = "a table with a business_date: days are compared with days"
        elif rule.column is not None:
            if rule.column not in known:
                raise _unknown(at.at("column"), "a column", rule.column, list(known))
            column = known[rule.column]
            if rule.measure in ("mean", "median", "outliers") and column.type.kind not in _NUMBERS:
                problem = "a column of numbers"
            elif rule.measure in ("mean", "median", "outliers", "category_share") and column.personal:
                problem = "a column that is not personal: its values would be shown"
            elif rule.measure in ("mean", "median") and (rule.column in load.key or rule.column.endswith("_id")):
                problem = "a column that counts or measures: of a key there is none"
        if problem:
            raise ContractError(
                "An anomaly rule asks for what cannot be compared.",
                where=str(at),
                expected=problem,
                found=rule.label,
                next_step="name another column or measure, or take the rule away; see docs/contracts.md",
            )
        yield rule


def _read_record(table: dict[str, Any], place: Place) -> Record:
    meta = _dig(table, "config", "meta") or {}
    _check_spelling(meta, ["retention", "rows_per_test"], "a key of a record's meta", place.at("config", "meta"))
    columns = _read_columns(table, place)
    kept = meta.get("retention")
    if kept is None:
        return Record(table["name"], columns)
    at = place.at("config", "meta", "retention")
    kept = kept if isinstance(kept, dict) else {"retention": kept}
    days = kept.get("days")
    if kept.keys() != {"days", "by"} or not isinstance(days, int) or days < 1:
        raise ContractError(
            "How long a record is kept cannot be read.",
            where=str(at),
            expected="{days: a number above 0, by: a column of type timestamp}",
            found=str(kept),
            next_step="write both keys, and no other",
        )
    times = [column.name for column in columns if column.type.kind == "timestamp"]
    if kept["by"] not in times:
        raise _unknown(at.at("by"), "a column of type timestamp", str(kept["by"]), times)
    return Record(table["name"], columns, Retention(days, kept["by"]))


_DAYS = ("date", "timestamp")


def _check_sql(load: Load, names: list[str], place: Place) -> None:
    """Refuse expressions that do not parse, or name what no record and no folder can have."""
    import polars as pl

    written = {("derive", name): text for name, text in load.derive.items()}
    for path, text in written.items() | ({(("delete_when",), load.delete_when)} if load.delete_when else set()):
        try:
            roots = pl.sql_expr(text).meta.root_names()
        except pl.exceptions.PolarsError as error:
            raise ContractError(
                "An expression cannot be read.",
                where=str(place.at(*path)),
                expected="an expression in polars SQL",
                found=f"{text}: {str(error).splitlines()[0][:200]}",
                next_step="mend the expression; docs/contracts.md has examples",
            ) from error
        for root in roots:
            # delete_when may look at an operation that the contract does not keep as a column.
            if path[0] == "derive" and root not in names and root not in load.folders:
                raise _unknown(place.at(*path), "a column, or one of load.folders", root, [*names, *load.folders])


def _read_columns(table: dict[str, Any], place: Place) -> tuple[Column, ...]:
    columns = []
    for index, column in enumerate(table.get("columns") or []):
        at = place.at("columns", index)
        name = _read_name("column", column.get("name"), at)
        _check_spelling(column, ["data_type", "data_tests", "tests", "config"], "a key of a column", at)
        meta = _dig(column, "config", "meta") or {}
        _check_spelling(column.get("config") or {}, ["meta"], "a key of a column's config", at.at("config"))
        _check_spelling(meta, ["personal", "optional"], "a key of a column's meta", at.at("config", "meta"))
        columns.append(
            Column(
                name=name,
                type=_parse_type(str(column.get("data_type", "")), at.at("data_type")),
                description=column.get("description", ""),
                personal=bool(meta.get("personal")),
                optional=bool(meta.get("optional")),
                place=at.at("data_type"),
            )
        )
    _check_unique([column.name for column in columns], place)
    return tuple(columns)


def _read_name(what: str, name: object, place: Place) -> str:
    if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return name
    raise ContractError(
        f"A {what}'s name cannot be used.",
        where=str(place),
        expected="lower-case letters, digits and _, beginning with a letter (a leading _ is the loader's)",
        found=repr(name),
        next_step=f"rename the {what} in the contract"
        if name is None or isinstance(name, str)
        else "put the name in quotes: YAML reads it as a value",
    )


_SYNONYMS = {"text": "varchar", "string": "varchar", "bool": "boolean", "timestamptz": "timestamp", "int64": "bigint"}


def _parse_type(text: str, place: Place) -> DataType:
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


def _read_expectations(
    table: dict[str, Any], load: Load, columns: tuple[Column, ...], place: Place
) -> Iterator[Expectation]:
    seen: set[tuple[str, str]] = set()
    for index, column in enumerate(table.get("columns") or []):
        for position, test in enumerate(column.get("data_tests") or column.get("tests") or []):
            name, body = (test, {}) if isinstance(test, str) else next(iter(test.items()))
            if name not in ROW_TESTS:
                continue
            at = place.at("columns", index, "data_tests", position)
            body = body or {}
            config = body.get("config") or {}
            # Here dbt does not look at all rows, or at none: what it lets pass must not be quarantined.
            if any(said.get("where") or said.get("enabled") is False for said in (body, config)):
                continue
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
            arguments = body.get("arguments") or {}
            stray = [key for key in body if key in _ARGUMENTS[name][1]]
            if stray:
                raise ContractError(
                    "A test's arguments stand in the wrong place, where the loader would not enforce them.",
                    where=str(at),
                    expected=f"{name}: {{arguments: {{{', '.join(stray)}: …}}}}",
                    found=f"{', '.join(stray)} directly under {name}",
                    next_step="put them under arguments:, as dbt asks for as well",
                )
            rule = Expectation(name, column["name"], _check_arguments(name, arguments, at), on_fail)
            if name == "accepted_range":
                _check_bounds(rule, columns[index].type, at)
            elif name == "accepted_values":
                _check_values(rule, columns[index].type, at)
            yield rule
    for key in load.key:
        if ("not_null", key) not in seen:
            yield Expectation("not_null", key, {}, "quarantine")


_ARGUMENTS = {
    "not_null": ((), ()),
    "accepted_values": (("values",), ("values", "quote")),
    "accepted_range": ((), ("min_value", "max_value", "inclusive")),
    "matches_regex": (("regex",), ("regex",)),
}


def _check_arguments(test: str, arguments: dict[str, Any], place: Place) -> dict[str, Any]:
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
    if test == "matches_regex":
        _check_regex(str(arguments["regex"]), place)
    return arguments


def _check_bounds(rule: Expectation, data_type: DataType, place: Place) -> None:
    for name in ("min_value", "max_value"):
        try:
            rule.get_bound(name, data_type)
        except ValueError as error:
            raise ContractError(
                f"A bound of accepted_range cannot be used on {rule.column}, which is {data_type}.",
                where=str(place),
                expected=str(error),
                found=f"{name}: {rule.arguments[name]}",
                next_step="mend the bound, or take the test away, in the contract",
            ) from error
    if rule.arguments.keys().isdisjoint(("min_value", "max_value")):
        raise ContractError(
            "accepted_range lacks its bounds.",
            where=str(place),
            expected="min_value, max_value or both, under arguments:",
            found="no bound",
            next_step="write the argument in the contract",
        )
    if not isinstance(rule.arguments.get("inclusive", True), bool):
        raise ContractError(
            "accepted_range cannot read its argument inclusive.",
            where=str(place),
            expected="inclusive: true or false",
            found=repr(rule.arguments["inclusive"]),
            next_step="mend it in the contract",
        )


def _check_values(rule: Expectation, data_type: DataType, place: Place) -> None:
    try:
        rule.check_values(data_type)
    except ValueError as error:
        raise ContractError(
            f"The values of accepted_values cannot be those of {rule.column}, which is {data_type}.",
            where=str(place),
            expected=str(error),
            found=f"values: {rule.arguments['values']}",
            next_step="mend the list in the contract; what YAML reads as a number, a day or true, quote",
        ) from error


def _check_regex(regex: str, place: Place) -> None:
    import polars as pl

    try:
        pl.Series([""]).str.contains(regex)
    except pl.exceptions.PolarsError as error:
        raise ContractError(
            "A regular expression cannot be used.",
            where=str(place),
            expected="one without look-around or back-references; loader and DuckDB must both read it",
            found=f"{regex}: {' '.join(str(error).split())[:200]}",
            next_step="write it another way",
        ) from error


def _read_freshness(source: dict[str, Any], table: dict[str, Any], place: Place) -> dict[str, float]:
    config = table.get("config") or {}
    rule = config["freshness"] if "freshness" in config else _dig(source, "config", "freshness")
    hours = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
    limits = {}
    for level in ("warn", "error"):
        after = (rule or {}).get(f"{level}_after")
        if after and after.get("count") is not None:
            if after.get("period") not in hours:
                at = place.at("config", "freshness", f"{level}_after")
                raise _unknown(at, "a period of freshness", str(after.get("period")), list(hours))
            limits[level] = after["count"] * hours[after["period"]]
    return limits


def _explain(error: ValidationError, place: Place, what: str, model: type[BaseModel]) -> ContractError:
    # A misspelt key also leaves the right one missing; the misspelling is what helps.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    spot = place.at(*first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(
            spot,
            f"a key of {what}" if model is not Load else "a load key",
            str(first["loc"][-1]),
            list(model.model_fields),
        )
    found = "nothing" if first["type"] == "missing" else repr(first["input"])[:200]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    expected = {"missing": "a value: this key must be set", "too_short": "at least one entry"}.get(
        first["type"], expected
    )
    return ContractError(
        f"The contract's {what} setting {'.'.join(map(str, first['loc'])) or what} cannot be used.",
        where=str(spot),
        expected=expected,
        found=found,
        next_step="mend it in the contract; docs/contracts.md lists what is allowed",
    )


def _unknown(place: Place, what: str, name: str, allowed: list[str]) -> ContractError:
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

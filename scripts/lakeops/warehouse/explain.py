"""Run a query and tell, file by file, what it read of every Delta table, what it skipped, and why not more.

DuckDB says how many files it read, which filters came down to the scan, and the names of the first five files. Which
files those filters allow is worked out from the statistics in the log; where the two do not agree, nothing is said of
single files.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from deltalake import DeltaTable

from lakeops.contract import Contract, Contracts
from lakeops.delta import get_parts
from lakeops.errors import UsageError
from lakeops.ledger import make_frame
from lakeops.warehouse.connection import connect

_LITERAL = r"(?:'(?P<text>(?:[^']|'')*)'(?:::(?P<type>[A-Z ]+))?|(?P<number>-?\d+(?:\.\d+)?))"
_COMPARISON = re.compile(rf'"?(?P<column>\w+)"?(?P<sign>>=|<=|!=|=|>|<){_LITERAL}')
_SCANNED = re.compile(r"delta_scan\('((?:[^']|'')+)'(?:,[^)]*?version\"?\s*[:=>]+\s*(\d+))?", re.IGNORECASE)
# DuckDB names no more files than these in a plan.
_NAMED = 5


@dataclass(frozen=True)
class Scan:
    """What a query read of one Delta table.

    Parameters
    ----------
    table : as in SQL; None if it could not be told which one it was.
    read, files : how many data files were read, and how many there are.
    filters : conditions that reached the scan, as DuckDB writes them.
    is_known : it is known which files were read.
    why : one sentence: what made it skip files, or kept it from that.
    instead : what to write so that it skips more; None if there is nothing to say.
    """

    table: str | None
    read: int
    files: int
    filters: tuple[str, ...]
    is_known: bool
    why: str
    instead: str | None


@dataclass(frozen=True)
class Explained:
    """A query that was run, and what it read.

    Parameters
    ----------
    rows : of the record `table_partitions`, for the scans whose files are known.
    """

    query: str
    seconds: float
    scans: tuple[Scan, ...]
    rows: pl.DataFrame


def explain_query(warehouse: Path, contracts: Contracts, query: str, now: dt.datetime) -> Explained:
    """Run a query on the warehouse, which is opened for reading only, and tell what it read.

    Raises
    ------
    UsageError : it is no single SELECT, or DuckDB cannot run it.
    LockedError : another process holds the warehouse for writing.
    """
    query = query.strip().rstrip(";")
    with connect(warehouse, read_only=True) as connection:
        _check(connection, query)
        connection.execute("load delta")
        # The extension counts twice where filters come down twice, and ends in an internal error (1.5.5).
        connection.execute("set delta_scan_explain_files_filtered = false")
        try:
            printed = connection.execute(f"explain (analyze, format json) {query}").fetchall()[0][-1]
        except duckdb.Error as error:
            raise _refuse(query, error) from error
        plan = json.loads(printed)
        nodes = list(_iter_scans(plan))
        paths = _find_paths(connection, query)
    folders = [_find_folder(node, paths) for node, _ in nodes]
    left = paths.keys() - set(folders)
    rows, scans = [], []
    for (node, above), found in zip(nodes, folders, strict=True):
        # A scan that read no file names none: it can only be told by what is left over.
        folder = found or (next(iter(left)) if len(left) == 1 else None)
        scan, more = _describe_scan(contracts, node, above, folder, paths.get(folder, {None}), query, now)
        scans.append(scan)
        rows += more
    rows = list(
        {(row["table_name"], row["file_path"]): row for row in sorted(rows, key=lambda row: row["scanned"])}.values()
    )
    record = contracts.get_record("table_partitions")
    return Explained(query, plan.get("latency", 0.0), tuple(scans), make_frame(record, rows))


def _check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise _refuse(query, error) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError(
            "Only a query can be explained.",
            where=query[:200],
            expected="one SELECT",
            found=", ".join(str(statement.type).split(".")[-1] for statement in statements) or "nothing",
            next_step='for example: lakeops explain "SELECT count(*) FROM bronze.orders"',
        )


def _refuse(query: str, error: duckdb.Error) -> UsageError:
    return UsageError(
        "DuckDB cannot run the query.",
        where=query[:200],
        found=" ".join(str(error).split("\n\n")[0].split())[:300],
        next_step="mend the query; SHOW ALL TABLES in the warehouse lists what it can read",
    )


def _iter_scans(node: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Yield what the plan says of every Delta scan, and the filters right above it that did not come down to it."""
    facts = node.get("extra_info", {})
    kind = node.get("operator_type", "")
    if kind == "TABLE_SCAN" and "Total Files Read" in facts:
        yield facts, above
    kept = (*above, facts.get("Expression", "")) if kind == "FILTER" else above if kind == "PROJECTION" else ()
    for child in node.get("children", []):
        yield from _iter_scans(child, kept)


def _list(facts: dict[str, Any], name: str) -> list[str]:
    found = facts.get(name, [])
    return [found] if isinstance(found, str) else list(found)


def _list_names(facts: dict[str, Any]) -> list[Path]:
    return [Path(name) for name in facts.get("Filename(s)", "").split(", ") if name and name != "..."]


def _find_paths(connection: duckdb.DuckDBPyConnection, query: str) -> dict[Path, set[int | None]]:
    """Return the Delta tables that a query names, through views too, each with the versions it asks for."""
    views = dict(
        connection.execute(
            "select schema_name || '.' || view_name, sql from duckdb_views() where not internal"
        ).fetchall()
    )
    paths: dict[Path, set[int | None]] = {}
    todo = [query]
    while todo:
        text = todo.pop()
        for path, version in _SCANNED.findall(text):
            folder = Path(path.replace("''", "'")).absolute()
            paths.setdefault(folder, set()).add(int(version) if version else None)
        for name in list(views):
            schema, _, short = name.partition(".")
            spelt = short if schema == "main" else f'{schema}"?\\."?{short}'
            if re.search(rf"\b{spelt}\b", text, re.IGNORECASE):
                todo.append(views.pop(name))
    return paths


def _find_folder(facts: dict[str, Any], paths: Iterable[Path]) -> Path | None:
    names = _list_names(facts)
    if not names:
        return None
    return next((path for path in paths if names[0].is_relative_to(path)), names[0].parent)


def _describe_scan(
    contracts: Contracts,
    facts: dict[str, Any],
    above: tuple[str, ...],
    folder: Path | None,
    versions: set[int | None],
    query: str,
    now: dt.datetime,
) -> tuple[Scan, list[dict[str, Any]]]:
    read = int(facts["Total Files Read"])
    filters = _list(facts, "Filters")
    dynamic = _list(facts, "Dynamic Filters")
    if folder is None:
        why = "it read no file, and it cannot be told which table that was"
        return Scan(None, read, 0, tuple(filters), False, why, None), []
    name = f"{folder.parent.parent.name}.{folder.name}"
    contract = next((c for c in contracts.tables if name in (c.name, f"{c.name}_changes")), None)
    if len(versions) > 1:
        why = "the query reads several versions of the table"
        return Scan(name, read, 0, (*filters, *dynamic), False, why, None), []
    parts = get_parts(DeltaTable(str(folder), version=next(iter(versions))))
    chosen = _choose(parts, filters + dynamic, facts, folder, read)
    why, instead = _say_why(parts, contract, filters, dynamic, above, read)
    rows = []
    for part in parts.iter_rows(named=True) if chosen is not None else ():
        is_read = part["path"] in chosen
        rows.append(
            {
                "table_name": name,
                "partition": _name_range(part, contract, filters),
                "file_path": part["path"],
                "rows": part["num_records"],
                "bytes": part["size_bytes"],
                "scanned": is_read,
                "pruned": not is_read,
                "query": query,
                "explained_at": now,
            }
        )
    return Scan(name, read, parts.height, (*filters, *dynamic), chosen is not None, why, instead), rows


def _choose(parts: pl.DataFrame, filters: list[str], facts: dict[str, Any], folder: Path, read: int) -> set[str] | None:
    """Return the files that were read, or None where that is not known for certain."""
    live = set(parts["path"])
    named = {name.relative_to(folder).as_posix() for name in _list_names(facts) if name.is_relative_to(folder)}
    if not named <= live or read > len(live):  # the table changed meanwhile
        return None
    if read <= _NAMED and len(named) == read:
        return named
    if read == len(live):
        return live
    possible = {part["path"] for part in parts.iter_rows(named=True) if _may_hold(part, filters)}
    return possible if len(possible) == read and named <= possible else None


def _may_hold(part: dict[str, Any], filters: list[str]) -> bool:
    for condition in filters:
        if condition.startswith("optional:") or " OR " in condition:
            continue
        for piece in condition.split(" AND "):
            if (found := _COMPARISON.fullmatch(piece)) and not _may_match(part, found):
                return False
    return True


def _may_match(part: dict[str, Any], found: re.Match[str]) -> bool:
    low, high = part.get(f"min.{found['column']}"), part.get(f"max.{found['column']}")
    if low is None or high is None:
        return True
    if found["number"]:
        value: Any = Decimal(found["number"])
        low, high = (Decimal(bound) if isinstance(bound, int) else bound for bound in (low, high))
    else:
        value = found["text"].replace("''", "'")
    if isinstance(low, dt.date) and not isinstance(low, dt.datetime):
        try:
            value = dt.date.fromisoformat(value)
        except (TypeError, ValueError):
            return True
    if type(value) is not type(low):
        return True
    return {
        "=": low <= value <= high,
        "!=": not low == high == value,
        ">": high > value,
        ">=": high >= value,
        "<": low < value,
        "<=": low <= value,
    }[found["sign"]]


def _name_range(part: dict[str, Any], contract: Contract | None, filters: list[str]) -> str | None:
    """Return the file's range of the business date, or else of a column that was asked for."""
    asked = [found["column"] for text in filters for found in _COMPARISON.finditer(text)]
    day = contract.load.business_date if contract else None
    for column in filter(None, [day, *asked]):
        first, last = part.get(f"min.{column}"), part.get(f"max.{column}")
        if first is not None:
            return f"{column}={first}" if first == last else f"{column}={first}..{last}"
    return None


def _write_range(text: str) -> str:
    """Return a range around the values of an IN or OR on one column, as it would be written."""
    names = set(re.findall(r"(\w+)(?: IN |=)", text.removeprefix("optional:")))
    values = sorted(set(re.findall(r"'[^']*'(?:::DATE)?|(?<![\w'-])-?\d+(?![\w'-])", text)))
    if len(names) != 1 or len(values) < 2:
        return "write one query for each value, or add a range on a date or bigint column that holds them all"
    if not values[0].startswith("'"):
        values.sort(key=int)
    shown = [re.sub(r"('.*')::DATE", r"date \1", value) for value in (values[0], values[-1])]
    name = names.pop()
    return f"add a range that holds all the values: {name} >= {shown[0]} and {name} <= {shown[1]} and {name} in (…)"


def _say_why(
    parts: pl.DataFrame,
    contract: Contract | None,
    filters: list[str],
    dynamic: list[str],
    above: tuple[str, ...],
    read: int,
) -> tuple[str, str | None]:
    """Return what made a scan skip files, or kept it from that; and what to write instead."""
    bounded = [name.removeprefix("min.") for name in parts.columns if name.startswith("min.")]
    useful = [
        name for name in bounded if parts[f"min.{name}"].dtype in (pl.Int64, pl.Date) and not name.startswith("_")
    ]
    day = contract.load.business_date if contract and contract.load.business_date in useful else None
    column = day or next(iter(useful), None)
    by_range = f"{column} >= … and {column} <= …, or {column} = …" if column else None
    if parts.height <= 1:
        return "the table has one data file: there is nothing to skip", None
    if read < parts.height:
        by = [text for text in (*filters, *dynamic) if not text.startswith("optional:")]
        return f"{parts.height - read} files skipped by {' and '.join(by or dynamic)}", None
    texts = [*filters, *above]
    for text in texts:
        if "optional:" in text or " OR " in text or " IN (" in text:
            return "an IN or an OR skips no file: DuckDB prunes by =, ranges and BETWEEN", _write_range(text)
    for text in texts:
        if "TIMESTAMP" in text and (found := re.search(r"CAST\((\w+) AS TIMESTAMP", text)):
            return (
                f"{found[1]} is a date and was compared with a timestamp, so it had to be cast in every row",
                f"compare it with a date: {found[1]} >= date '2024-04-01'",
            )
        if "::TIMESTAMP" in text:
            return (
                "a timestamp skips no file, whatever its statistics",
                f"filter by a date or bigint as well: {by_range}" if by_range else None,
            )
    for text in texts:
        if not any(_COMPARISON.fullmatch(piece) for piece in text.split(" AND ")):
            return (
                f"an expression on a column skips no file: {text}",
                f"leave the column bare on one side: {by_range}" if by_range else None,
            )
    for text in texts:
        for found in _COMPARISON.finditer(text):
            if (
                f"min.{found['column']}" not in parts.columns
                or parts[f"min.{found['column']}"].null_count() == parts.height
            ):
                return (
                    f"the data files have no statistics on {found['column']}",
                    f"filter by a date or bigint as well: {by_range}" if by_range else None,
                )
            table = contract.name if contract else "TABLE"
            return (
                f"every data file may hold such rows: {found['column']} lies scattered",
                f"lakeops optimize {table} --zorder {found['column']}",
            )
    return ("there is no filter on the table", f"if not all rows are needed: where {by_range}" if by_range else None)

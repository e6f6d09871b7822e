"""SQL for people used to Delta's: what DuckDB does not know is done by the rooms that can, all else by DuckDB."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import duckdb

from lakeops.contract import Contracts, load_contracts
from lakeops.errors import UsageError
from lakeops.settings import Settings
from lakeops.timetravel import Table, find_table, open_version, pick_version, read_history

_TABLE = r"(delta_scan\s*\(\s*'[^']*'\s*\)|delta\.`[^`]*`|'[^']*'|`[^`]*`|[\w.\"]+)"
_MOMENT = r"(?P<unit>VERSION|TIMESTAMP)\s+AS\s+OF\s+(?P<value>\d+|'[^']*')"
_HISTORY = rf"DESC(?:RIBE)?\s+HISTORY\s+{_TABLE}(?:\s+LIMIT\s+(?P<limit>\d+))?"
_OPTIMIZE = rf"OPTIMIZE\s+{_TABLE}(?:\s+ZORDER\s+BY\s*\(?(?P<columns>[\w\s,\"]+)\)?)?"
_VACUUM = rf"VACUUM\s+{_TABLE}(?:\s+RETAIN\s+(?P<hours>\d+)\s+HOURS?)?(?P<dry>\s+DRY\s+RUN)?"
_RESTORE = rf"RESTORE\s+(?:TABLE\s+)?{_TABLE}\s+(?:TO\s+)?{_MOMENT}"
_TRAVEL = re.compile(
    rf"(?<![\w.'`]){_TABLE}\s+(?:FOR\s+)?{_MOMENT}(?P<alias>\s+(?:AS\s+)?[A-Za-z_]\w*)?", re.IGNORECASE
)
# Comments, and texts and names in quotes: what stands in them is no SQL.
_QUOTED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`", re.DOTALL)
# Words that may follow a table and are no name for it.
_NO_ALIAS = re.compile(
    "where|join|inner|left|right|full|cross|natural|asof|positional|semi|anti|on|using|group|order|having|limit|offset"
    "|union|intersect|except|qualify|window|sample|tablesample|pivot|unpivot",
    re.IGNORECASE,
)
# What DuckDB can do without writing the file: other readers are not in the way then.
_READS = ("SELECT", "EXPLAIN", "LOGICAL_PLAN", "RELATION")


@dataclass(frozen=True)
class Answer:
    """What a statement came to.

    Parameters
    ----------
    columns, rows : its result; empty if it has none.
    note : one sentence for a person, if there is something to say.
    """

    statement: str
    columns: list[str]
    rows: list[tuple[Any, ...]]
    note: str = ""


def run_statements(settings: Settings, text: str, reason: str = "") -> Iterator[Answer]:
    """Carry out SQL statements one by one.

    Parameters
    ----------
    text : statements with `;` between them; comments are left out of consideration.
    reason : why, for those that mend data; without it, the statement itself is kept.

    Yields
    ------
    One answer for each.

    Raises
    ------
    UsageError : a statement cannot be carried out; those before it were.
    LakeopsError : as of the command that does what the statement asks for.
    """
    for statement in split_statements(text):
        yield _run(settings, statement, reason)


def split_statements(text: str) -> list[str]:
    """Return the statements of a text, without comments and without the `;` that ends each."""
    bare = _QUOTED.sub(lambda found: " " if found[0].startswith(("--", "/*")) else found[0], text)
    parts, last = [], 0
    masked = _QUOTED.sub(lambda found: "x" * len(found[0]), bare)
    for end in [*(found.start() for found in re.finditer(";", masked)), len(bare)]:
        parts.append(bare[last:end].strip())
        last = end + 1
    return [part for part in parts if part]


def _run(settings: Settings, statement: str, reason: str) -> Answer:
    forms: dict[str, Callable[[Settings, re.Match[str], str], Answer]] = {
        _HISTORY: _describe_history,
        _OPTIMIZE: _optimize,
        _VACUUM: _vacuum,
        _RESTORE: _restore,
    }
    for form, run in forms.items():
        if (found := re.fullmatch(form, statement, re.IGNORECASE)) and not _is_duckdb(statement):
            return run(settings, found, reason)
    return _ask_duckdb(settings, statement)


def _is_duckdb(statement: str) -> bool:
    return bool(re.fullmatch(r"VACUUM\s+ANALYZE", statement, re.IGNORECASE))


def _find(settings: Settings, name: str) -> Table:
    return find_table(settings.lake, load_contracts(settings.models), name, settings.root)


def _describe_history(settings: Settings, found: re.Match[str], _: str) -> Answer:
    commits = read_history(_find(settings, found[1]).path)
    if found["limit"]:
        commits = commits[: int(found["limit"])]
    rows = [asdict(commit) for commit in commits]
    return Answer(found[0], list(rows[0]) if rows else [], [tuple(row.values()) for row in rows])


def _optimize(settings: Settings, found: re.Match[str], _: str) -> Answer:
    from lakeops.upkeep import optimize_table

    columns = tuple(name.strip(' "') for name in (found["columns"] or "").split(",") if name.strip())
    done = optimize_table(settings, str(_find(settings, found[1]).path), columns or None)
    return _describe(found[0], done)


def _vacuum(settings: Settings, found: re.Match[str], _: str) -> Answer:
    from lakeops.upkeep import vacuum_table

    hours = int(found["hours"]) if found["hours"] else None
    done = vacuum_table(settings, str(_find(settings, found[1]).path), hours, apply=not found["dry"])
    tense = "could be deleted" if found["dry"] else "deleted"
    return replace(_describe(found[0], done), note=f"{len(done.files):,} file(s) {tense}")


def _restore(settings: Settings, found: re.Match[str], reason: str) -> Answer:
    from lakeops.recovery.restore import run_restore

    version, timestamp = _read_moment(found)
    done = run_restore(
        settings,
        found[1],
        version=version,
        timestamp=timestamp,
        reason=reason.strip() or " ".join(found[0].split()),
        base=settings.root,
    )
    note = "silver, gold and readers follow with: lakeops incremental" if done.differs else "nothing differs"
    return replace(_describe(found[0], done), note=note)


def _describe(statement: str, done: Any) -> Answer:
    """Return what was done as one row; of lists, only how many there are."""
    row = {name: len(value) if isinstance(value, tuple) else value for name, value in asdict(done).items()}
    row = {name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()}
    return Answer(statement, list(row), [tuple(row.values())])


def _read_moment(found: re.Match[str]) -> tuple[int | None, str | None]:
    """Return version and timestamp, one of which is None."""
    value = found["value"].strip("'")
    if found["unit"].upper() == "TIMESTAMP":
        return None, value
    if not value.isdecimal():
        raise UsageError("A version is a number.", where=found[0], found=value, next_step="or: TIMESTAMP AS OF '…'")
    return int(value), None


def _ask_duckdb(settings: Settings, statement: str) -> Answer:
    from lakeops.warehouse import connect

    query = write_time_travel(settings, statement)
    try:
        kinds = {one.type.name for one in duckdb.extract_statements(query)}
        read_only = kinds <= set(_READS)
        with (
            contextlib.chdir(settings.root),
            connect(settings.warehouse, read_only=read_only) as connection,
        ):
            result = connection.execute(query)
            columns = [column[0] for column in result.description or []]
            return Answer(statement, columns, result.fetchall() if columns else [])
    except duckdb.Error as error:
        raise UsageError(
            "DuckDB did not carry out the statement.",
            where=" ".join(statement.split())[:300],
            found=str(error)[:1000],
            next_step="tables are named as in SQL, for example bronze.orders; show all tables lists them",
        ) from error


def write_time_travel(settings: Settings, statement: str) -> str:
    """Return a query in which `table VERSION AS OF n` (or `TIMESTAMP AS OF '…'`) is said in DuckDB's words.

    Raises
    ------
    UsageError : there is no such table or version.
    """
    quoted = [found.span() for found in _QUOTED.finditer(statement)]
    contracts: Contracts | None = None
    parts, last = [], 0
    for found in _TRAVEL.finditer(statement):
        if any(begin < found.start() < end for begin, end in quoted):
            continue
        contracts = contracts or load_contracts(settings.models)
        table = find_table(settings.lake, contracts, found[1], settings.root)
        version = pick_version(table.path, *_read_moment(found))
        columns = {field.name for field in open_version(table.path, version).schema().fields}
        alias = (found["alias"] or "").split()
        named = alias and not _NO_ALIAS.fullmatch(alias[-1])
        end = found.end() if named else found.end() - len(found["alias"] or "")
        name = alias[-1] if named else table.name.split(".")[-1]
        parts += [statement[last : found.start()], f'{_read(table, version, columns)} as "{name}"']
        last = end
    return "".join([*parts, statement[last:]])


def _read(table: Table, version: int, columns: Collection[str]) -> str:
    from lakeops.warehouse import define_current

    if table.kind == "bronze":
        return f"({define_current(table.path, {table.path: version}, columns)})"
    path = str(table.path).replace("'", "''")
    return f"delta_scan('{path}', version = {version})"

"""From one row of silver or gold to the lines of raw files that made it.

Every model says under `meta.affected_by` how rows of its inputs reach its own (see docs/models.md): incremental builds
rely on it, and it is proven by them. Read the other way round, it is the lineage of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.errors import UsageError
from lakeops.ledger import Ledger, load_ledger
from lakeops.lineage.models import Model, get_model, load_models
from lakeops.raw import RefusedFile, compute_fingerprint, read_file
from lakeops.settings import Settings
from lakeops.warehouse import UNREADABLE, connect

# Of one input, e.g. all prices a product ever had; the rest is counted.
ROWS_SHOWN = 3


@dataclass(frozen=True)
class RowSource:
    """One row, and the rows it was made of.

    Parameters
    ----------
    relation, key : which row.
    file, line, text : for a row of bronze, the raw file, the physical line (or row) and the record as it stands there.
    problem : why the record cannot be shown.
    inputs : the rows it was made of.
    more : how many rows of the same kind are not shown.
    """

    relation: str
    key: dict[str, Any]
    file: str | None = None
    line: int | None = None
    text: str | None = None
    problem: str | None = None
    inputs: tuple[RowSource, ...] = ()
    more: int = 0


def trace_row(settings: Settings, relation: str, key: dict[str, str]) -> RowSource:
    """Return one row of a model with all rows it was made of, down to lines of raw files.

    Parameters
    ----------
    relation : schema.table of a model that is no view, or of bronze.
    key : columns and values, as text, that only this row has.

    Raises
    ------
    UsageError : no such table or column, no such row, more than one, or a table that was not built yet or
        cannot be found any more.
    DbtError : dbt has not run yet.
    """
    models, contracts = load_models(settings), load_contracts(settings.models)
    model = get_model(models, relation)
    if not model.is_source and not model.affected_by:
        raise UsageError(
            f"{relation} keeps no rows of its own to follow.",
            where=relation,
            expected="a table that is built from bronze",
            found=f"a {model.materialized} over {', '.join(model.reads) or 'nothing'}",
            next_step=f"trace one of: {', '.join(model.reads) or 'gold.fct_sales'}",
        )
    with connect(settings.warehouse) as connection:
        tracer = _Tracer(settings, connection, models, contracts, load_ledger(settings.lake))
        try:
            return tracer.trace(model, _find_row(connection, model, key))
        except UNREADABLE as error:
            raise UsageError(
                "A table on the way was not built yet, or is not where it was.",
                where=str(settings.warehouse),
                found=str(error).splitlines()[0],
                next_step="lakeops rebuild warehouse",
            ) from error


def _find_row(connection: duckdb.DuckDBPyConnection, model: Model, key: dict[str, str]) -> dict[str, Any]:
    columns = {row[0]: row[1] for row in connection.execute(f"describe {model.relation}").fetchall()}
    unknown = [name for name in key if name not in columns]
    if unknown or not key:
        raise UsageError(
            "The row is not named by columns of the table.",
            where=model.relation,
            expected=f"columns such as {', '.join(model.key) or ', '.join(list(columns)[:3])}",
            found=", ".join(unknown) or "no column",
            next_step=f"lakeops trace {model.relation} "
            + " ".join(f"--key {name}=…" for name in model.key or list(columns)[:1]),
        )
    condition = " and ".join(f'"{name}" = try_cast(? as {columns[name]})' for name in key)
    rows = _fetch(connection, f"from {model.relation} where {condition} limit 2", list(key.values()))
    if len(rows) != 1:
        raise UsageError(
            "More than one row is meant." if rows else "There is no such row.",
            where=f"{model.relation} where {' and '.join(f'{name} = {value}' for name, value in key.items())}",
            expected="one row",
            found="two or more" if rows else "none",
            next_step=f"name its key: {', '.join(model.key)}" if model.key else "name more columns",
        )
    return rows[0]


@dataclass(frozen=True)
class _Tracer:
    settings: Settings
    connection: duckdb.DuckDBPyConnection
    models: dict[str, Model]
    contracts: Contracts
    ledger: Ledger

    def trace(self, model: Model, row: dict[str, Any], more: int = 0) -> RowSource:
        key = {name: row[name] for name in model.key if name in row}
        if model.is_source:
            contract = self.contracts.get_table(model.relation.removesuffix("_changes"))
            key = {name: row[name] for name in contract.load.key}
            text, problem = self._read_record(contract, row["_source_file"], row["_source_row"])
            return RowSource(
                model.relation, key, row["_source_file"], row["_source_row"], text, problem, more=more
            )  # fmt: skip
        return RowSource(model.relation, key, inputs=tuple(self._trace_inputs(model, row)), more=more)

    def _trace_inputs(self, model: Model, row: dict[str, Any]) -> Iterator[RowSource]:
        seen: set[str] = set()
        for entry in model.affected_by:
            origin = self.models[entry["relation"]]
            # A model may name an input twice: once for what appears in it, once for what goes away.
            if origin.relation in seen:
                continue
            seen.add(origin.relation)
            rows, more = self._find_inputs(model, row, entry, origin)
            for number, found in enumerate(rows, 1):
                yield self.trace(origin, found, more if number == len(rows) else 0)

    def _find_inputs(
        self, model: Model, row: dict[str, Any], entry: dict[str, Any], origin: Model
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the first rows of an input that reach this row, and how many there are beyond them."""
        contract = self.contracts.get_table(entry["table"]) if entry["table"] else None
        origin_key = tuple(contract.load.key) if contract else origin.key
        columns = [column[0] for column in self.connection.execute(f"describe {origin.relation}").fetchall()]
        if entry.get("on"):
            terms = [entry["on"]]
        elif entry.get("provides") or not (set(model.key) - set(origin_key) or entry.get("flag")):
            made = entry.get("provides") or {}
            terms = [f"({made.get(name, f'changed.{name}')}) = this.{name}" for name in model.key]
            terms = [term.replace("from input ", f"from {origin.relation} ") for term in terms]
        else:
            terms = [f"changed.{name} = this.{name}" for name in origin_key]
        # The version of a dimension that the row points at, and not every one its key ever had.
        terms += [
            f"changed.{name} = this.{name}"
            for name in columns
            if name.endswith("_key") and name in row and not contract and name != "natural_key"
        ]
        order = "order by _batch_id desc, _source_file desc, _source_row desc" if contract else ""
        this = ", ".join(f'? as "{name}"' for name in row)
        found = f"from {origin.relation} as changed, (select {this}) as this where {' and '.join(terms)}"
        values = list(row.values())
        rows = _fetch(self.connection, f"select changed.* {found} {order} limit {ROWS_SHOWN + 1}", values)
        if len(rows) <= ROWS_SHOWN:
            return rows, 0
        (count,) = self.connection.execute(f"select count(*) {found}", values).fetchone()
        return rows[:ROWS_SHOWN], count - ROWS_SHOWN

    def _read_record(self, contract: Contract, file: str, line: int) -> tuple[str | None, str | None]:
        path = self.settings.root / file
        if not path.is_file():
            return None, "the raw file is gone"
        live = self.ledger.get_live(file)
        if live is None or compute_fingerprint(path) != live.file_sha256:
            return None, "the raw file is not the one that was loaded"
        try:
            for chunk in read_file(path, contract):
                if line in (lines := chunk.rows["_source_row"]).implode().item():
                    return chunk.get_raw([line])[line], None
                if len(lines) and lines[-1] > line:
                    break
        except RefusedFile as refused:
            return None, str(refused)
        return None, f"the file has no record at line {line}"


def _fetch(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

"""From one column of a model to the columns of bronze it is made of, by the SQL dbt compiled."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakeops.errors import UsageError
from lakeops.lineage.models import Model, get_model
from lakeops.settings import Settings
from lakeops.warehouse import connect

# What an incremental build adds to the query of a full one: see affected_marks() in affected_keys.sql.
_AFFECTED = re.compile(r"/\* affected \*/.*?/\* \.\.\. \*/", re.DOTALL)


@dataclass(frozen=True)
class ColumnSource:
    """One column, what it is made by, and the columns it is made of.

    Parameters
    ----------
    expression : the SQL that makes it; empty for a column that a file brings.
    inputs : columns of the tables its model reads.
    """

    relation: str
    column: str
    expression: str = ""
    inputs: tuple[ColumnSource, ...] = ()


def read_schema(settings: Settings) -> dict[str, dict[str, dict[str, str]]]:
    """Return the type of every column in the warehouse, by schema, table and column."""
    schema: dict[str, dict[str, dict[str, str]]] = {}
    with connect(settings.warehouse) as connection:
        rows = connection.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall()
    for schema_name, table, column, kind in rows:
        schema.setdefault(schema_name, {}).setdefault(table, {})[column] = kind
    return schema


def trace_column(
    models: dict[str, Model], schema: dict[str, dict[str, dict[str, str]]], relation: str, column: str
) -> ColumnSource:
    """Return a column with all columns it is made of, down to those of bronze.

    Parameters
    ----------
    models : what `load_models` returns.
    schema : what `read_schema` returns.
    relation, column : schema.table, and the column.

    Raises
    ------
    UsageError : there is no such table or column.
    """
    model = get_model(models, relation)
    known = schema.get(relation.split(".")[0], {}).get(relation.split(".")[1], {})
    if column not in known:
        raise UsageError(
            "There is no such column.",
            where=f"{relation}.{column}",
            expected=", ".join(known) or "a table that was built",
            next_step="name one of these columns" if known else "make incremental",
        )
    return _trace(models, schema, model, column)


def _trace(
    models: dict[str, Model], schema: dict[str, dict[str, dict[str, str]]], model: Model, column: str
) -> ColumnSource:
    if not model.sql:
        return ColumnSource(model.relation, column)
    from sqlglot import exp, parse_one
    from sqlglot.lineage import lineage

    query = parse_one(_AFFECTED.sub("true", model.sql), dialect="duckdb")
    for table in query.find_all(exp.Table):  # the catalog is the file's name, and says nothing
        table.set("catalog", None)
    root = lineage(column, query, schema=schema, dialect="duckdb")
    found: dict[tuple[str, str], None] = {}
    for node in root.walk():
        # A leaf is a column of a table, and not of a subquery of the model.
        if isinstance(node.expression, exp.Table) and not node.downstream:
            relation = f"{node.expression.db}.{node.expression.name}"
            found[relation, node.name.split(".")[-1].strip('"')] = None
    inputs = tuple(
        _trace(models, schema, models[relation], name) if relation in models else ColumnSource(relation, name)
        for relation, name in found
    )
    expression = root.expression.unalias().sql(dialect="duckdb") if root.expression else ""
    return ColumnSource(model.relation, column, expression, inputs)

"""From one column of a model to the columns of bronze it is made of, by the SQL dbt compiled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lakeops.errors import UsageError
from lakeops.lineage.models import Model, get_model
from lakeops.settings import Settings
from lakeops.warehouse import connect

Schema = dict[str, dict[str, dict[str, str]]]
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


def read_schema(settings: Settings) -> Schema:
    """Return the type of every column in the warehouse, by schema, table and column."""
    schema: Schema = {}
    with connect(settings.warehouse) as connection:
        rows = connection.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall()
    for schema_name, table, column, kind in rows:
        schema.setdefault(schema_name, {}).setdefault(table, {})[column] = kind
    return schema


class ColumnLineage:
    """Which columns each column is made of; a model's SQL is read once for all of its columns.

    Parameters
    ----------
    models : what `load_models` returns.
    schema : what `read_schema` returns.
    """

    def __init__(self, models: dict[str, Model], schema: Schema) -> None:
        self.models, self.schema = models, schema
        self._read: dict[str, dict[str, ColumnSource]] = {}

    def list_columns(self, relation: str) -> list[str]:
        """Return the columns of a table, in order; none if it was not built."""
        schema, _, table = relation.partition(".")
        return list(self.schema.get(schema, {}).get(table, {}))

    def trace(self, relation: str, column: str) -> ColumnSource:
        """Return a column with all columns it is made of, down to those of bronze.

        Raises
        ------
        UsageError : there is no such table or column.
        """
        model = get_model(self.models, relation)
        known = self.list_columns(relation)
        if column not in known:
            raise UsageError(
                "There is no such column.",
                where=f"{relation}.{column}",
                expected=", ".join(known) or "a table that was built",
                next_step="name one of these columns" if known else "make incremental",
            )
        return self._trace_all(model).get(column) or ColumnSource(relation, column)

    def _trace_all(self, model: Model) -> dict[str, ColumnSource]:
        if model.relation not in self._read:
            self._read[model.relation] = self._parse(model) if model.sql else {}
        return self._read[model.relation]

    def _parse(self, model: Model) -> dict[str, ColumnSource]:
        from sqlglot import exp, parse_one
        from sqlglot.errors import SqlglotError
        from sqlglot.lineage import lineage
        from sqlglot.optimizer.qualify import qualify
        from sqlglot.optimizer.scope import build_scope

        query = parse_one(_AFFECTED.sub("true", model.sql), dialect="duckdb")
        for table in query.find_all(exp.Table):  # the catalog is the file's name, and says nothing
            table.set("catalog", None)
        try:
            query = qualify(query, schema=self.schema, dialect="duckdb", validate_qualify_columns=False, identify=False)
            for union in query.find_all(exp.SetOperation):
                _line_up(union)
            roots = lineage(None, query, schema=self.schema, dialect="duckdb", scope=build_scope(query))
        except (SqlglotError, ValueError) as error:
            problem = f"not understood by sqlglot: {str(error)[:80]}"
            return {name: ColumnSource(model.relation, name, problem) for name in self.list_columns(model.relation)}
        found = {}
        for column, root in roots.items():
            # A leaf is a column of a table, and not of a subquery of the model.
            leaves = {
                (f"{node.expression.db}.{node.expression.name}", node.name.split(".")[-1].strip('"')): None
                for node in root.walk()
                if isinstance(node.expression, exp.Table) and not node.downstream
            }
            inputs = tuple(self._get_input(*leaf) for leaf in leaves if leaf[0].split(".")[0] != "dbt_state")
            expression = root.expression.unalias().sql(dialect="duckdb") if root.expression else ""
            found[column] = ColumnSource(model.relation, column, expression, inputs)
        return found

    def _get_input(self, relation: str, column: str) -> ColumnSource:
        traced = self._trace_all(self.models[relation]) if relation in self.models else {}
        return traced.get(column) or ColumnSource(relation, column)


def _line_up(union: Any) -> None:
    """Bring the columns of a union `by name` into one order: sqlglot compares them by place."""
    from sqlglot import exp

    left, right = union.left, union.right
    if union.args.get("by_name") and isinstance(left, exp.Select) and isinstance(right, exp.Select):
        own = {select.alias_or_name: select for select in right.selects}
        right.set("expressions", [own.get(name, exp.null().as_(name)) for name in left.named_selects])

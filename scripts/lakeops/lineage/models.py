"""What dbt knows of the models: read from what it wrote when it last ran."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lakeops.errors import DbtError, UsageError
from lakeops.settings import Settings


@dataclass(frozen=True)
class Model:
    """A model, or a table of a source, by its name in SQL.

    Parameters
    ----------
    relation : schema.table.
    key : columns that tell its rows apart; empty for a view.
    affected_by : its inputs and how their rows reach its own, as in dbt/macros/incremental/affected_keys.sql.
    reads : relations it reads.
    columns : description by column, in order.
    required : columns whose contract keeps nulls out.
    sql : what it compiles to; empty for a source.
    """

    relation: str
    description: str
    materialized: str
    key: tuple[str, ...] = ()
    affected_by: tuple[dict[str, Any], ...] = ()
    reads: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    sql: str = ""

    @property
    def is_source(self) -> bool:
        """Tell whether dbt reads it and does not make it."""
        return self.materialized == "source"


def load_models(settings: Settings) -> dict[str, Model]:
    """Return all models and source tables by relation.

    Raises
    ------
    DbtError : dbt has not run here yet.
    """
    target = settings.dbt_project / "target"
    try:
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DbtError(
            "dbt has not run here yet, so nobody knows its models.",
            where=str(target / "manifest.json"),
            expected="what dbt writes when it runs",
            found=type(error).__name__,
            next_step="make incremental",
        ) from error
    nodes = {
        node["unique_id"]: node
        for node in (*manifest["nodes"].values(), *manifest["sources"].values())
        if node["resource_type"] in ("model", "source", "seed")
    }
    compiled = target / "compiled" / manifest["metadata"]["project_name"]
    models = (_read(node, nodes, compiled) for node in nodes.values())
    return {model.relation: model for model in models}


def get_model(models: dict[str, Model], name: str) -> Model:
    """Return the model called schema.table.

    Raises
    ------
    UsageError : there is none; names the nearest.
    """
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
    raise UsageError(
        "There is no such table.",
        where=name,
        expected=" or ".join(near) if near else "schema.table, for example gold.fct_sales",
        next_step="SHOW ALL TABLES in the warehouse lists them",
    )


def _read(node: dict[str, Any], nodes: dict[str, dict[str, Any]], compiled: Path) -> Model:
    reads = [_name(nodes[name]) for name in node.get("depends_on", {}).get("nodes", []) if name in nodes]
    columns = {name: column["description"] for name, column in node["columns"].items()}
    if node["resource_type"] == "source":
        load = node["config"]["meta"].get("load") or {}
        return Model(_name(node), node["description"], "source", tuple(load.get("key") or ()), columns=columns)
    file = compiled / node["original_file_path"]
    return Model(
        _name(node),
        node["description"],
        node["config"]["materialized"],
        tuple(node["config"].get("unique_key") or ()),
        tuple(_name_inputs(node, nodes)),
        tuple(sorted(reads)),
        columns,
        frozenset(name for name, column in node["columns"].items() if column.get("constraints")),
        file.read_text(encoding="utf-8") if file.suffix == ".sql" and file.is_file() else "",
    )


def _name_inputs(node: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {other["name"]: other for other in nodes.values()}
    inputs = []
    for entry in node["config"].get("meta", {}).get("affected_by", []):
        table = entry.get("source")
        name = f"{table}_changes" if entry.get("changes") else table or entry["ref"]
        inputs.append({**entry, "relation": _name(by_name[name]), "table": table})
    return inputs


def _name(node: dict[str, Any]) -> str:
    return f"{node['schema']}.{node.get('alias') or node['identifier']}"

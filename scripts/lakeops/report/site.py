"""The documentation site: what there is, where it comes from, what is checked. No script, nothing to load."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any

from lakeops.facts import Check
from lakeops.lineage import ColumnLineage, ColumnSource, Model
from lakeops.report.page import make_environment

LAYERS = ("bronze", "silver", "gold", "read by people")
# The picture's measures, in pixels.
_COLUMN, _ROW, _WIDTH, _HEIGHT = 250, 30, 190, 24


def render_site(models: dict[str, Model], columns: ColumnLineage, checks: list[Check], at: dt.datetime) -> str:
    """Return the site's one page as HTML.

    Parameters
    ----------
    models : what `load_models` returns.
    columns : lineage of their columns.
    checks : the checks of `data_quality_metrics` as they stand now.
    """
    layers = sort_into_layers(models)
    shown = {model.relation: model for layer in layers for model in layer}
    return (
        make_environment()
        .get_template("site.html.j2")
        .render(
            at=at,
            layers=list(zip(LAYERS, layers, strict=True)),
            picture=draw_lineage(layers),
            mermaid=write_mermaid(layers),
            matrix=list(_compare(layers)),
            tables=[_describe(model, columns, checks) for model in shown.values()],
            checks=len(checks),
        )
    )


def sort_into_layers(models: dict[str, Model]) -> list[list[Model]]:
    """Return sources, silver, gold and what only shows gold; a table nobody reads and nothing makes is left out."""
    read = {relation for model in models.values() for relation in model.reads}
    layers: list[list[Model]] = [[], [], [], []]
    for model in sorted(models.values(), key=lambda model: model.relation):
        schema = model.relation.split(".")[0]
        if model.is_source and schema != "main":
            if model.relation in read:
                layers[0].append(model)
        elif schema == "silver":
            layers[1].append(model)
        elif model.materialized == "view":
            layers[3].append(model)
        elif schema == "gold":
            layers[2].append(model)
    # Each table near what it reads: less lines cross.
    for before, layer in pairwise(layers):
        place = {model.relation: number for number, model in enumerate(before)}
        layer.sort(key=lambda model: _average([place[name] for name in model.reads if name in place]))
    return layers


def draw_lineage(layers: list[list[Model]]) -> str:
    """Return the tables and what reads what as SVG."""
    places = {
        model.relation: (20 + number * _COLUMN, 40 + row * _ROW)
        for number, layer in enumerate(layers)
        for row, model in enumerate(layer)
    }
    height = 60 + _ROW * max(len(layer) for layer in layers)
    parts = [f'<svg viewBox="0 0 {_COLUMN * len(layers)} {height}" role="img" aria-label="Which table reads which">']
    for number, name in enumerate(LAYERS):
        parts.append(f'<text class="layer" x="{20 + number * _COLUMN}" y="22">{name}</text>')
    for layer in layers:
        for model in layer:
            x, y = places[model.relation]
            for source in model.reads:
                if source in places:
                    left, top = places[source]
                    start, end, middle = left + _WIDTH, y + _HEIGHT / 2, top + _HEIGHT / 2
                    if left < x:
                        bend = (x - start) / 2
                        curve = f"{start + bend},{middle} {x - bend},{end} {x},{end}"
                    else:  # within a layer: around its right side
                        curve = f"{start + 34},{middle} {start + 34},{end} {x + _WIDTH},{end}"
                    parts.append(f'<path d="M{start},{middle} C{curve}"/>')
    for relation, (x, y) in places.items():
        name = escape(relation.split(".")[1])
        parts.append(
            f'<a href="#{escape(relation)}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
            f'<text x="{x + 8}" y="{y + 16}">{name}</text></a>'
        )
    return "\n".join([*parts, "</svg>"])


def write_mermaid(layers: list[list[Model]]) -> str:
    """Return the same as Mermaid, for a page that draws it."""
    shown = {model.relation for layer in layers for model in layer}
    lines = ["flowchart LR"]
    for name, layer in zip(LAYERS, layers, strict=True):
        lines.append(f'  subgraph {name.split()[0]}["{name}"]')
        lines += [f'    {_make_id(model.relation)}["{model.relation}"]' for model in layer]
        lines.append("  end")
    lines += [
        f"  {_make_id(source)} --> {_make_id(model.relation)}"
        for layer in layers
        for model in layer
        for source in model.reads
        if source in shown
    ]
    return "\n".join(lines)


def _make_id(relation: str) -> str:
    return relation.replace(".", "_")


def _average(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else 1e9


def _compare(layers: list[list[Model]]) -> Iterator[tuple[str, list[str]]]:
    """Yield what each model depends on in the end: directly, through others, or not at all."""
    models = {model.relation: model for layer in layers for model in layer}

    def reach(relation: str) -> set[str]:
        direct = {source for source in models[relation].reads if source in models}
        return direct | {name for source in direct for name in reach(source)}

    sources = [model.relation for layer in layers[:3] for model in layer]
    for layer in layers[1:]:
        for model in layer:
            far = reach(model.relation)
            yield model.relation, ["●" if s in model.reads else "○" if s in far else "" for s in sources]


def _describe(model: Model, columns: ColumnLineage, checks: list[Check]) -> dict[str, Any]:
    own = [check for check in checks if check.table_name == model.relation]
    schema, _, table = model.relation.partition(".")
    types = columns.schema.get(schema, {}).get(table, {})
    return {
        "relation": model.relation,
        "description": model.description,
        "materialized": model.materialized,
        "key": model.key,
        "reads": model.reads,
        "checks": [check for check in own if not check.column_name],
        "columns": [
            {
                "name": name,
                "type": kind.lower() + (" not null" if name in model.required else ""),
                "description": model.columns.get(name, ""),
                "checks": [check for check in own if check.column_name == name],
                "sources": sorted(set(_list_sources(columns.trace(model.relation, name)))) if model.sql else [],
            }
            for name, kind in types.items()
        ],
    }


def _list_sources(source: ColumnSource) -> Iterator[str]:
    for entry in source.inputs:
        yield from _list_sources(entry) if entry.inputs else [f"{entry.relation}.{entry.column}"]

"""Charts as SVG text, drawn by Vega-Lite while the page is made: the page itself needs no script.

Colours are CSS variables of the page, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

# The drawing's own units; the page scales it to its column, and at 340 its letters can be read on a phone.
WIDTH = 340
SERIES = ("var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)")
STATUS = {
    "pass": "var(--good)",
    "warn": "var(--warn)",
    "fail": "var(--bad)",
    "error": "var(--bad)",
    "skipped": "var(--rule)",
}
_TEXT = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 11, "titleFontSize": 11}
_CONFIG = {
    # Arial's widths are what Vega reckons with, and every system has a face of these widths.
    "font": "Arial, Helvetica, 'Liberation Sans', sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {
        **_TEXT, "gridColor": "var(--rule)", "domain": False, "ticks": False, "labelPadding": 6,
        "titleFontWeight": "normal", "labelLimit": 130,
    },
    "axisX": {"grid": False},
    "text": {"color": "var(--ink)", "fontSize": 11},
}  # fmt: skip


def draw_lines(
    rows: Sequence[dict[str, Any]], names: Sequence[str], domain: tuple[float, float], title: str, label: str
) -> Markup:
    """Draw a line for each name over days: rows of `day`, `name`, `value` (percent)."""
    return _draw(
        {
            "data": {"values": _plain(rows)},
            "height": 110,
            "mark": {"type": "line", "point": {"size": 22, "filled": True}, "strokeWidth": 1.75},
            "encoding": {
                "x": _make_days(rows),
                "y": {
                    "field": "value",
                    "type": "quantitative",
                    "title": None,
                    "scale": {"domain": list(domain), "zero": False, "nice": False},
                    "axis": {"tickCount": 4, "labelExpr": "format(datum.value, '.5~r') + ' %'"},
                },
                "color": _make_colors(dict(zip(names, SERIES, strict=False))),
            },
        },
        title,
        label,
    )


def draw_days(rows: Sequence[dict[str, Any]], days: Sequence[dt.date], title: str, label: str) -> Markup:
    """Draw a square for each table and day, coloured by the worst status: rows of `day`, `table`, `status`."""
    x = _make_days([{"day": day} for day in days], "ordinal")
    square = {"x": {**x, "scale": {"domain": [str(day) for day in days]}}, "y": _make_names("table")}
    statuses = [status for status in STATUS if any(row["status"] == status for row in rows)]
    return _draw(
        {
            "data": {"values": _plain(rows)},
            "height": {"step": 20},
            "layer": [
                {
                    "mark": {"type": "rect", "cornerRadius": 2, "stroke": "var(--paper)", "strokeWidth": 2},
                    "encoding": {
                        **square,
                        "color": {
                            "field": "status",
                            "type": "nominal",
                            "scale": {"domain": statuses, "range": [STATUS[status] for status in statuses]},
                            "legend": None,
                        },
                    },
                },
                {  # who cannot tell the colours apart reads the sign
                    "transform": [{"filter": "datum.status != 'pass' && datum.status != 'skipped'"}],
                    "mark": {"type": "text", "color": "var(--paper)", "fontWeight": "bold"},
                    "encoding": {
                        **square,
                        "text": {"condition": {"test": "datum.status == 'warn'", "value": "!"}, "value": "✕"},
                    },
                },
            ],
        },
        title,
        label,
    )


def draw_bars(
    rows: Sequence[dict[str, Any]], colors: Mapping[str, str], title: str, label: str, *, least: float = 0.0
) -> Markup:
    """Draw bars that lie: rows of `bar`, `name` (the part of the bar), `order`, `value`, `text` to stand at its end.

    Parameters
    ----------
    least : what a full bar stands for, drawn beneath; 0 for none: the longest is full.
    """
    order = list(dict.fromkeys(row["bar"] for row in rows))
    ends = {bar: sum(row["value"] or 0 for row in rows if row["bar"] == bar) for bar in order}
    texts = {row["bar"]: row.get("text", "") for row in rows}
    longest = max([least, *ends.values()]) or 1
    y = _make_names("bar", order)
    x = {"type": "quantitative", "title": None, "axis": None, "scale": {"domain": [0, longest * 1.75]}}  # and the text
    return _draw(
        {
            "height": {"step": 22},
            "layer": [
                *([_make_track(x, y, order, least)] if least else []),
                {
                    "data": {"values": _plain(rows)},
                    "mark": {"type": "bar", "height": 12},
                    "encoding": {
                        "y": y,
                        "x": {**x, "field": "value"},
                        "color": _make_colors(colors),
                        "order": {"field": "order", "type": "quantitative"},
                    },
                },
                {
                    "data": {
                        "values": [{"bar": bar, "end": max(ends[bar], least), "text": texts[bar]} for bar in order]
                    },
                    "mark": {"type": "text", "align": "left", "dx": 5, "color": "var(--soft)"},
                    "encoding": {
                        "y": y,
                        "x": {**x, "field": "end"},
                        "text": {"field": "text", "type": "nominal"},
                    },
                },
            ],
        },
        title,
        label,
    )


def _make_track(x: dict[str, Any], y: dict[str, Any], order: list[str], end: float) -> dict[str, Any]:
    """Return what lies under the bars: how long a full one is."""
    return {
        "data": {"values": [{"bar": bar, "end": end} for bar in order]},
        "mark": {"type": "bar", "height": 12, "color": "var(--rule)"},
        "encoding": {"y": y, "x": {**x, "field": "end"}},
    }


def draw_columns(rows: Sequence[dict[str, Any]], colors: Mapping[str, str], title: str, label: str) -> Markup:
    """Draw columns that stand, in the order given: rows of `column`, its `label`, `name`, `order`, `value`."""
    labels = {row["column"]: row["label"] for row in rows}
    order = list(labels)
    return _draw(
        {
            "data": {"values": _plain(rows)},
            "height": 130,
            "mark": {"type": "bar", "width": {"band": 0.75}},
            "encoding": {
                "x": {
                    "field": "column",
                    "type": "ordinal",
                    "sort": order,
                    "title": None,
                    "axis": {
                        "labelAngle": 0,
                        "values": order[:: max(-(-len(order) // 5), 1)],
                        "labelExpr": f"{json.dumps(labels)}[datum.value]",
                    },
                    "scale": {"paddingOuter": 0.2, "paddingInner": 0.1},
                },
                "y": {
                    "field": "value",
                    "type": "quantitative",
                    "title": None,
                    "axis": {"tickCount": 4, "labelExpr": "format(datum.value, '~s') + ' s'"},
                },
                "color": _make_colors(colors),
                "order": {"field": "order", "type": "quantitative"},
            },
        },
        title,
        label,
    )


def _plain(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: str(value) if key == "day" else value for key, value in row.items()} for row in rows]


def _make_days(rows: Sequence[dict[str, Any]], kind: str = "temporal") -> dict[str, Any]:
    days = [str(day) for day in sorted({row["day"] for row in rows})]
    shown = days[:: max(-(-len(days) // 5), 1)]
    axis = {"values": shown, "labelAngle": 0}
    if kind == "ordinal" or len(days) == 1:  # a scale of time from a day to the same day has no middle
        axis["labelExpr"] = "timeFormat(toDate(datum.value), '%-d %b')"
        return {"field": "day", "type": "ordinal", "title": None, "axis": axis}
    axis["values"] = [{"expr": f"toDate('{day}')"} for day in shown]
    return {"field": "day", "type": "temporal", "title": None, "axis": {**axis, "format": "%-d %b"}}


def _make_names(field: str, order: list[str] | None = None) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "title": None, "sort": order, "axis": {"grid": False}}


def _make_colors(colors: Mapping[str, str]) -> dict[str, Any]:
    # The legend is HTML beneath the chart, where it can wrap.
    return {
        "field": "name",
        "type": "nominal",
        "scale": {"domain": list(colors), "range": list(colors.values())},
        "legend": None,
    }


def _draw(spec: dict[str, Any], title: str, label: str) -> Markup:
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": WIDTH,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "padding": {"left": 4, "right": 12, "top": 8, "bottom": 2},
            "config": _CONFIG,
            **spec,
        }
    )
    # What is left is for whoever hears the page: a name and a sentence instead of each of a hundred marks.
    inner = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", drawn[drawn.index(">") + 1 :])
    box = re.search(r'viewBox="([^"]+)"', drawn)[1]
    name = Markup("{}: {}").format(title, label)
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(box, name) + Markup(inner)

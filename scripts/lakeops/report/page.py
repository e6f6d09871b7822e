"""One HTML page of facts: no script, nothing to load, so that it can be mailed, printed and kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import jinja2

from lakeops.facts import BAD, DAYS_SHOWN, Check, Facts
from lakeops.report.charts import SERIES, draw_bars, draw_columns, draw_days, draw_lines

STEPS = ("load", "build", "test", "publish")
# Of each table so many lines can be told apart; those that are worst.
LINES_SHOWN = len(SERIES)
TABLES_SHOWN = 9
ROWS_SHOWN = 12
LAYERS = ("bronze", "silver", "gold", "quarantine", "ops")


def make_environment() -> jinja2.Environment:
    """Return the templates of this folder with the filters they use."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lakeops.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": _write_number, "bytes": _write_bytes, "percent": _write_percent, "seconds": _write_seconds,
        "moment": _write_moment,
    }  # fmt: skip
    return environment


def render_page(facts: Facts) -> str:
    """Return the report as HTML."""
    return (
        make_environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            state=describe_state(facts),
            problems=[check for check in facts.checks if check.status != "pass"],
            days=_chart_days(facts.checks),
            rates=_chart_rates(facts.checks),
            references=_chart_kind(facts.checks, ("relationship", "foreign"), "references that lead nowhere"),
            nulls=_chart_kind(facts.checks, ("null",), "values that are missing"),
            anomalies=[check for check in facts.checks if "anomal" in check.check_type],
            freshness=_chart_freshness(facts.tables),
            reasons=_chart_reasons(facts.quarantine),
            files=_sum_up(facts.quarantine, "source_file", "table_name"),
            runs=_chart_runs(facts.runs),
            layers=_sum_layers(facts.storage),
            storage=_chart_storage(facts.storage),
            rows_shown=ROWS_SHOWN,
            tables_shown=TABLES_SHOWN,
            days_shown=DAYS_SHOWN,
        )
    )


def describe_state(facts: Facts) -> dict[str, Any]:
    """Return the state in a word, a sentence, and the reasons for it: good, warn, bad or empty."""
    counts = dict.fromkeys(("pass", "warn", "fail", "error", "skipped"), 0)
    for check in facts.checks:
        counts[check.status] = counts.get(check.status, 0) + 1
    last = facts.runs[-1] if facts.runs else None
    stale = [table["table"] for table in facts.tables if table["freshness"] == "stale"]
    waiting = sum(row["records"] for row in facts.quarantine)
    bad = [
        *([_count(counts["fail"], "check fails", "checks fail")] if counts["fail"] else []),
        *([_count(counts["error"], "check did not finish", "checks did not finish")] if counts["error"] else []),
        *([_count(len(stale), "source is stale", "sources are stale")] if stale else []),
        *([f"the last run ended with exit code {last['exit_code']}"] if last and last["exit_code"] else []),
    ]
    warn = [
        *([_count(counts["warn"], "check warns", "checks warn")] if counts["warn"] else []),
        *([_count(waiting, "record waits in quarantine", "records wait in quarantine")] if waiting else []),
    ]
    if not facts.checks and not any(table["files"] for table in facts.tables):
        return {"word": "empty", "title": "Nothing was loaded yet", "reasons": [], "counts": counts, "waiting": 0}
    word, title = ("bad", "Something is wrong") if bad else ("warn", "It works, and some data is not right")
    if not bad and not warn:
        word, title = "good", "All is well"
    return {"word": word, "title": title, "reasons": [*bad, *warn], "counts": counts, "waiting": waiting}


def _chart_days(checks: list[Check]) -> list[dict[str, Any]]:
    """Return a chart for each layer, with the worst status of each of its tables on each day."""
    worst: dict[tuple[str, dt.date], str] = {}
    rank = ("error", "fail", "warn", "skipped", "pass")
    for check in checks:
        for day, _, status in check.days:
            known = worst.get((check.table_name, day), "pass")
            worst[check.table_name, day] = min(known, status, key=rank.index)
    charts = []
    days = sorted({day for _, day in worst})
    for layer in sorted({table.split(".")[0] for table, _ in worst}, key=_rank_layer):
        rows = [
            {"table": table.split(".", 1)[1], "day": day, "status": status}
            for (table, day), status in sorted(worst.items())
            if table.split(".")[0] == layer
        ]
        bad = sorted({row["table"] for row in rows if row["day"] == days[-1] and row["status"] in BAD})
        said = f"on {days[-1]}, " + (f"failing: {', '.join(bad)}" if bad else "none fails")
        charts.append({"layer": layer, "svg": draw_days(rows, days, f"Worst status by day in {layer}", said)})
    return charts


def _rank_layer(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def _chart_rates(checks: list[Check]) -> list[dict[str, Any]]:
    """Return a chart for each table in which a check ever fell below its best; the worst tables first."""
    tables: dict[str, list[Check]] = {}
    # A check's first day is a point and no line: it waits, unless all are as young.
    least = 2 if any(len(check.days) > 1 for check in checks) else 1
    for check in checks:
        if (
            check.check_type != "freshness"
            and len(check.days) >= least
            and min(rate for _, rate, _ in check.days) < 100
        ):
            tables.setdefault(check.table_name, []).append(check)
    charts = []
    for table, found in sorted(tables.items(), key=lambda item: min(check.pass_rate for check in item[1])):
        charts.append(_chart_lines(table, sorted(found, key=lambda check: check.pass_rate), share_failed=False))
    return charts


def _chart_kind(checks: list[Check], words: Iterable[str], what: str) -> dict[str, Any]:
    """Return charts of the share that failed, by table, for the checks of one kind; those without a finding counted."""
    chosen = [check for check in checks if any(word in check.check_type for word in words)]
    found = [check for check in chosen if any(rate < 100 for _, rate, _ in check.days)]
    tables: dict[str, list[Check]] = {}
    for check in sorted(found, key=lambda check: check.pass_rate):
        tables.setdefault(check.table_name, []).append(check)
    return {
        "what": what,
        "checks": len(chosen),
        "clean": len(chosen) - len(found),
        "charts": [_chart_lines(table, own, share_failed=True) for table, own in tables.items()],
    }


def _chart_lines(table: str, checks: list[Check], *, share_failed: bool) -> dict[str, Any]:
    shown = checks[:LINES_SHOWN]
    rows = [
        {"day": day, "name": check.label, "value": 100 - rate if share_failed else rate}
        for check in shown
        for day, rate, _ in check.days
    ]
    now = {check.label: 100 - check.pass_rate if share_failed else check.pass_rate for check in shown}
    legend = [
        {"color": color, "name": name, "text": _write_percent(value)}
        for color, (name, value) in zip(SERIES, now.items(), strict=False)
    ]
    said = "; ".join(f"{entry['name']} now {entry['text']}" for entry in legend)
    values = [row["value"] for row in rows]
    # The good end is always in sight, so that a small dent does not look like a fall.
    domain = (0, max(values) * 1.1 or 1) if share_failed else (min(values) - max(0.1 * (100 - min(values)), 0.01), 100)
    drawn = draw_lines(
        rows, list(now), domain, f"{'Share that failed' if share_failed else 'Pass rate'} of {table}", said
    )
    return {"table": table, "svg": drawn, "legend": legend, "more": len(checks) - len(shown)}


def _chart_freshness(tables: list[dict[str, Any]]) -> Any:
    """Draw how much of the allowed age each table has used up: limits differ, shares can be compared."""
    rows = []
    for table in tables:
        limit = table["error_hours"] or table["warn_hours"]
        if not limit or table["hours_since_load"] is None:
            continue
        name = {"stale": "stale", "warn": "old"}.get(table["freshness"], "fresh")
        rows.append(
            {
                "bar": table["table"],
                "name": name,
                "order": 0,
                "value": min(table["hours_since_load"] / limit, 2),
                "text": f"{table['hours_since_load']:g} h of {limit:g} h",
            }
        )
    if not rows:
        return None
    rows.sort(key=lambda row: -row["value"])
    said = "; ".join(f"{row['bar']} {row['text']}" for row in rows[:5])
    colors = {"fresh": "var(--good)", "old": "var(--warn)", "stale": "var(--bad)"}
    return draw_bars(rows, colors, "Age of the newest load against what the contract allows", said, least=1.0)


def _chart_reasons(quarantine: list[dict[str, Any]]) -> Any:
    sums = _sum_up(quarantine, "reason")
    rows = [
        {"bar": row["reason"], "name": "records", "order": 0, "value": row["records"], "text": f"{row['records']:,}"}
        for row in sums
    ]
    said = ", ".join(f"{row['bar']} {row['text']}" for row in rows)
    return draw_bars(rows, {"records": SERIES[1]}, "Open records by reason", said) if rows else None


def _sum_up(quarantine: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    sums: dict[tuple[Any, ...], int] = {}
    for row in quarantine:
        key = tuple(row[name] for name in names)
        sums[key] = sums.get(key, 0) + row["records"]
    ranked = sorted(sums.items(), key=lambda item: -item[1])
    return [{**dict(zip(names, key, strict=True)), "records": count} for key, count in ranked]


def _chart_runs(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not runs:
        return None
    one_day = runs[0]["started_at"].date() == runs[-1]["started_at"].date()
    rows = [
        {
            "column": run["run_id"],
            "label": f"{run['started_at']:%H:%M}" if one_day else f"{run['started_at'].day} {run['started_at']:%b}",
            "name": step,
            "order": order,
            "value": run[f"{step}_seconds"],
        }
        for run in runs
        for order, step in enumerate(STEPS)
        if run[f"{step}_seconds"] is not None
    ]
    colors = dict(zip(STEPS, SERIES, strict=True))
    legend = [{"color": color, "name": step, "text": ""} for step, color in colors.items()]
    last = runs[-1]
    said = f"the last took {_write_seconds(last['seconds'])}"
    return {"svg": draw_columns(rows, colors, "Seconds by run and step", said) if rows else None, "legend": legend}


def _sum_layers(storage: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counted = ("rows", "files", "bytes", "bytes_on_disk")
    layers: dict[str, dict[str, Any]] = {}
    for row in storage:
        zero = dict.fromkeys(("tables", *counted), 0)
        sums = layers.setdefault(row["layer"], {"layer": row["layer"], **zero})
        sums["tables"] += 1
        for name in counted:
            sums[name] = None if row[name] is None or sums[name] is None else sums[name] + row[name]
    return sorted(layers.values(), key=lambda row: _rank_layer(row["layer"]))


def _chart_storage(storage: list[dict[str, Any]]) -> dict[str, Any] | None:
    largest = sorted((row for row in storage if row["bytes_on_disk"]), key=lambda row: -row["bytes_on_disk"])[:12]
    if not largest:
        return None
    colors = {"newest version": SERIES[0], "history and log": SERIES[3]}
    rows = [
        {
            "bar": row["table"],
            "name": name,
            "order": order,
            "value": row["bytes"] if order == 0 else row["bytes_on_disk"] - row["bytes"],
            "text": f"{_write_bytes(row['bytes_on_disk'])}, {row['rows']:,} rows",
        }
        for row in largest
        for order, name in enumerate(colors)
    ]
    said = ", ".join(f"{row['table']} {_write_bytes(row['bytes_on_disk'])}" for row in largest[:5])
    legend = [{"color": color, "name": name, "text": ""} for name, color in colors.items()]
    return {"svg": draw_bars(rows, colors, "The largest tables on disk", said), "legend": legend}


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _write_number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _write_percent(value: float | None) -> str:
    """Write a share so that it never rounds to 100 % what is not."""
    if value is None:
        return "-"
    text = f"{value:.2f}"
    if text == "100.00" and value < 100:
        return "> 99.99 %"
    if text == "0.00" and value > 0:
        return "< 0.01 %"
    return f"{text.rstrip('0').rstrip('.')} %"


def _write_bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _write_seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _write_moment(value: dt.datetime | None) -> str:
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC" if value else "never"

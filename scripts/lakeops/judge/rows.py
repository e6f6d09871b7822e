"""Which rows keep the contract, and what is wrong with the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from lakeops.contract import Column, Contract, Expectation
from lakeops.judge.casts import cast_losslessly, get_polars_type

FAULT_SCHEMA = {"_source_row": pl.Int64, "reason": pl.String, "column_name": pl.String, "detail": pl.String}


@dataclass(frozen=True)
class Judged:
    """The verdict on a stretch of rows; every row is either accepted or has one fault.

    Parameters
    ----------
    accepted : typed business columns and `_source_row`.
    faults : FAULT_SCHEMA, one row per refused record: its first fault.
    warnings : failing rows by expectation label, for expectations that only warn.
    refusals : failing rows by expectation label, for expectations that refuse the file.
    """

    accepted: pl.DataFrame
    faults: pl.DataFrame
    warnings: dict[str, int]
    refusals: dict[str, int]


def judge_rows(
    rows: pl.DataFrame, contract: Contract, path_values: dict[str, str], new_columns: tuple[Column, ...] = ()
) -> Judged:
    """Judge rows by their contract.

    Parameters
    ----------
    rows : the file's columns as read, and `_source_row`.
    contract : what they promise.
    path_values : `name=value` folders of the file's path, for derived columns.
    new_columns : columns to take in beyond the contract.
    """
    load = contract.load
    typed: dict[str, pl.Series] = {}
    bad: dict[str, pl.Series] = {}
    for column in (*contract.file_columns, *new_columns):
        values = rows[column.name] if column.name in rows.columns else pl.Series([None] * rows.height, dtype=pl.Null)
        if values.dtype == pl.String and column.type.kind != "varchar":
            values = values.set(values == "", None)  # a quoted empty field holds no number and no date
        typed[column.name] = cast_losslessly(values, column.type, load.time_zone).alias(column.name)
        bad[column.name] = values.is_not_null() & typed[column.name].is_null()
    frame = pl.DataFrame(typed).with_columns(rows["_source_row"])
    frame = _add_derived(frame, contract, path_values)
    failures = [(rule, ~_passes(frame, rule, contract)) for rule in contract.expectations]

    at_fault = pl.Series([False] * rows.height, dtype=pl.Boolean) if not rows.height else None
    for mask in [*bad.values(), *(mask for rule, mask in failures if rule.on_fail == "quarantine")]:
        at_fault = mask if at_fault is None else at_fault | mask
    columns = [column.name for column in (*contract.columns, *new_columns)]
    order = [*columns, "_source_row"]
    tallies: dict[str, dict[str, int]] = {"warn": {}, "refuse": {}}
    for rule, mask in failures:
        if rule.on_fail != "quarantine" and (count := int((mask & ~at_fault).sum())):
            tallies[rule.on_fail][f"{rule.column} {rule.label}"] = count
    if not at_fault.any():
        return Judged(frame.select(order), pl.DataFrame(schema=FAULT_SCHEMA), tallies["warn"], tallies["refuse"])
    return Judged(
        frame.filter(~at_fault).select(order),
        _explain_faults(rows, contract, at_fault, bad, failures, new_columns),
        tallies["warn"],
        tallies["refuse"],
    )


def _add_derived(frame: pl.DataFrame, contract: Contract, path_values: dict[str, str]) -> pl.DataFrame:
    available = set(frame.columns)
    for name, text in contract.load.derive.items():
        expression = pl.sql_expr(text)
        # A folder name that this path lacks is null, so that COALESCE(order_dt, dt) can try several.
        scope = frame.lazy().with_columns(
            pl.lit(path_values.get(root), dtype=pl.String).alias(root)
            for root in expression.meta.root_names()
            if root not in available
        )
        derived = scope.select(expression.alias(name)).collect().to_series()
        if len(derived) != frame.height:
            derived = derived.new_from_index(0, frame.height) if len(derived) else derived.clear(frame.height)
        column = contract.get_column(name)
        frame = frame.with_columns(cast_losslessly(derived, column.type, contract.load.time_zone).alias(name))
    return frame


def _passes(frame: pl.DataFrame, rule: Expectation, contract: Contract) -> pl.Series:
    """Return which rows keep an expectation; null keeps all but not_null, as in dbt."""
    values = frame[rule.column]
    match rule.test:
        case "not_null":
            return values.is_not_null()
        case "accepted_values":
            allowed = pl.Series([str(value) for value in rule.arguments["values"]], dtype=pl.String)
            return values.cast(pl.String).is_in(allowed.implode()).fill_null(True)
        case "accepted_range":
            return _is_in_range(values, rule, contract)
        case _:
            return values.cast(pl.String).str.contains(rule.arguments["regex"]).fill_null(True)


def _is_in_range(values: pl.Series, rule: Expectation, contract: Contract) -> pl.Series:
    inclusive = rule.arguments.get("inclusive", True)
    verdict = pl.repeat(True, len(values), dtype=pl.Boolean, eager=True)
    kind = contract.get_column(rule.column).type.kind
    for bound, is_lower in ((rule.arguments.get("min_value"), True), (rule.arguments.get("max_value"), False)):
        if bound is None:
            continue
        if kind in ("date", "timestamp"):
            limit = pl.Series([str(bound)]).str.to_datetime(time_zone="UTC" if kind == "timestamp" else None)
            limit = limit.cast(get_polars_type(contract.get_column(rule.column).type))
        else:
            limit = pl.Series([Decimal(str(bound))])
            values = values if values.dtype == pl.Float64 else values.cast(pl.Decimal(38, 12), strict=False)
        if is_lower:
            kept = values >= limit if inclusive else values > limit
        else:
            kept = values <= limit if inclusive else values < limit
        verdict &= kept.fill_null(True)
    return verdict


def _explain_faults(
    rows: pl.DataFrame,
    contract: Contract,
    at_fault: pl.Series,
    bad: dict[str, pl.Series],
    failures: list[tuple[Expectation, pl.Series]],
    new_columns: tuple[Column, ...],
) -> pl.DataFrame:
    types = {column.name: str(column.type) for column in (*contract.columns, *new_columns)}
    faults = []
    for index in at_fault.arg_true():
        line = rows["_source_row"][index]
        column = next((name for name, mask in bad.items() if mask[index]), None)
        if column:
            found = str(rows[column][index])[:80]
            faults.append((line, "bad_value", column, f"expected {types[column]}, found {found!r}"))
            continue
        rule = next(rule for rule, mask in failures if rule.on_fail == "quarantine" and mask[index])
        if rule.test == "not_null" and rule.column in contract.load.key:
            faults.append((line, "missing_key", rule.column, "the key is empty"))
        else:
            value = rows[rule.column][index] if rule.column in rows.columns else None
            faults.append((line, "expectation_failed", rule.column, f"{rule.label}, found {str(value)[:80]!r}"))
    return pl.DataFrame(faults, schema=FAULT_SCHEMA, orient="row")


def read_path_values(source_file: str) -> dict[str, str]:
    """Return the `name=value` folders of a path, as Hive writes them."""
    return dict(re.findall(r"([A-Za-z_][A-Za-z0-9_]*)=([^/]+)/", source_file))

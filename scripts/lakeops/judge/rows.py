"""Which rows keep the contract, and what is wrong with the others."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import reduce
from operator import or_
from typing import Any
from urllib.parse import unquote

import polars as pl

from lakeops.contract import Column, Contract, Expectation
from lakeops.errors import ContractError
from lakeops.judge.casts import cast_losslessly, write_json
from lakeops.judge.header import HeaderVerdict
from lakeops.raw import RefusedFile

NO_SURPRISE = HeaderVerdict()
SOURCE_ROW = "_source_row"
_WIDE = Context(prec=400)  # rounds a bound to a column's scale without running out of digits
FAULT_SCHEMA = {SOURCE_ROW: pl.Int64, "reason": pl.String, "column_name": pl.String, "detail": pl.String}
_NO_FAULTS = pl.DataFrame(schema=FAULT_SCHEMA)


@dataclass(frozen=True)
class Judged:
    """The verdict on a stretch of rows; every row is either accepted or has one fault.

    Parameters
    ----------
    accepted : typed business columns, `_source_row`, and `_rescued`, `_is_deleted`, `_absent` where the contract
        has them.
    faults : FAULT_SCHEMA, one row per refused record: its first fault.
    warnings : failing rows by expectation label, for expectations that only warn.
    refusals : FAULT_SCHEMA, one row per failing record and expectation, where failing refuses the file.
    """

    accepted: pl.DataFrame
    faults: pl.DataFrame
    warnings: dict[str, int]
    refusals: pl.DataFrame


@dataclass(frozen=True)
class _Failure:
    """Rows that fail one demand of the contract, and what that means for them.

    `found` holds the values to show where they stand in no column of the file.
    """

    rows: pl.Series
    on_fail: str
    reason: str
    column: str
    expected: str
    found: pl.Series | None = None


def judge_rows(
    rows: pl.DataFrame, contract: Contract, path_values: dict[str, str | None], header: HeaderVerdict = NO_SURPRISE
) -> Judged:
    """Judge rows by their contract.

    Parameters
    ----------
    rows : the file's columns as read, `_source_row`, and for partial updates `_absent` (lists of column names).
    contract : what they promise.
    path_values : `name=value` folders of the file's path, for derived columns.
    header : the verdict on the columns.

    Raises
    ------
    ContractError : an expression of the contract cannot be computed, whatever the rows are.
    RefusedFile : it cannot be computed on one of these rows.
    """
    load = contract.load
    rows = rows.rename({old: new for old, new in header.renames.items() if old in rows.columns})
    frame, bad = _cast_columns(rows, contract, header)
    frame, unfit = _add_derived(frame, contract, path_values)
    failures = [
        _make_loss(contract, column, mask)
        for column, mask in bad.items()
        # A record without its key has no place to be rescued to.
        if load.on_bad_value != "rescue" or column.name in load.key
    ] + unfit
    own: dict[str, pl.Series] = {}
    if load.rescues:
        own["_rescued"] = _collect_rescued(rows, contract, header, bad)
    if load.delete_when:
        own["_is_deleted"] = _find_deleted(rows, frame, contract, load.delete_when)
    if load.partial_updates:
        own["_absent"] = _collect_absent(rows, frame, contract, header, path_values)
    frame = frame.with_columns(**own)
    failures += _list_failures(frame, contract, {failure.column: failure.rows for failure in failures})

    quarantined = [failure.rows for failure in failures if failure.on_fail == "quarantine"]
    at_fault = reduce(or_, quarantined) if quarantined else None
    warnings: dict[str, int] = {}
    refusals = [_NO_FAULTS]
    for failure in failures:
        # A row that is quarantined anyway neither warns nor refuses the file.
        mask = failure.rows if at_fault is None else failure.rows & ~at_fault
        if failure.on_fail == "quarantine" or not (count := int(mask.sum())):
            continue
        if failure.on_fail == "warn":
            warnings[f"{failure.column} {failure.expected}"] = count
        else:
            refusals.append(_explain(rows, frame, failure, mask))
    accepted = frame.select(*(column.name for column in (*contract.columns, *header.new_columns)), SOURCE_ROW, *own)
    return Judged(
        accepted=accepted if at_fault is None else accepted.filter(~at_fault),
        faults=_NO_FAULTS if at_fault is None else _explain_first_faults(rows, frame, failures, at_fault),
        warnings=warnings,
        refusals=pl.concat(refusals),
    )


def _make_loss(contract: Contract, column: Column, rows: pl.Series, found: pl.Series | None = None) -> _Failure:
    on_fail = "refuse" if contract.load.on_bad_value == "refuse" else "quarantine"
    return _Failure(rows, on_fail, "bad_value", column.name, f"expected {column.type}", found)


def _cast_columns(
    rows: pl.DataFrame, contract: Contract, header: HeaderVerdict
) -> tuple[pl.DataFrame, dict[Column, pl.Series]]:
    """Return the file's columns in their types, with `_source_row`, and by column the rows whose value did not fit."""
    brought = [column for column in contract.columns if column.name in contract.load.derive and column.name in rows]
    typed: dict[str, pl.Series] = {}
    bad: dict[Column, pl.Series] = {}
    for column in (*contract.file_columns, *brought, *header.new_columns):
        values = rows[column.name] if column.name in rows else pl.Series([None] * rows.height, dtype=pl.Null)
        cast = cast_losslessly(values, column.type, contract.load.time_zone)
        typed[column.name] = cast
        if cast.null_count() == values.null_count():
            continue
        lost = values.is_not_null() & cast.is_null()
        if values.dtype == pl.String and column.type.kind != "varchar":
            lost &= values != ""  # a quoted empty field holds no number and no date: it is null, and that is no loss
        if lost.any():
            bad[column] = lost
    return pl.DataFrame(typed).with_columns(rows[SOURCE_ROW]), bad


def _collect_rescued(
    rows: pl.DataFrame, contract: Contract, header: HeaderVerdict, bad: dict[Column, pl.Series]
) -> pl.Series:
    """Return, as JSON by column, what a row brings beyond the contract or in another type than it says."""
    kept: dict[int, dict[str, Any]] = {}
    masks = {name: rows[name].is_not_null() for name in header.rescued if name in rows.columns}
    if contract.load.on_bad_value == "rescue":
        masks |= {column.name: mask for column, mask in bad.items()}
    for name, mask in masks.items():
        places = mask.arg_true()
        for place, value in zip(places, _list_values(rows[name].gather(places)), strict=True):
            # JSON has no NaN.
            kept.setdefault(place, {})[name] = value if write_json(value) else str(value)
    texts = [json.dumps(values, ensure_ascii=False, default=str) for values in kept.values()]
    nothing = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    return nothing.scatter(list(kept), pl.Series(texts, dtype=pl.String)) if kept else nothing


def _find_deleted(rows: pl.DataFrame, frame: pl.DataFrame, contract: Contract, condition: str) -> pl.Series:
    """Return which records delete their key."""
    expression = pl.sql_expr(condition)
    # The operation may stand in a column that the contract does not keep, or that no JSON object here mentions.
    more = [name for name in rows.columns if name not in frame.columns]
    absent = [name for name in expression.meta.root_names() if name not in (*frame.columns, *more)]
    scope = frame.with_columns(*(rows[name] for name in more), *(pl.lit(None, pl.String).alias(n) for n in absent))
    found = _evaluate(scope.lazy(), expression, contract, "delete_when", condition)
    if found.dtype != pl.Boolean:
        raise _refuse_setting(contract, "delete_when", condition, f"a result of type {found.dtype}")
    found = found.fill_null(False)
    return found if len(found) == frame.height else found.new_from_index(0, frame.height)


def _collect_absent(
    rows: pl.DataFrame,
    frame: pl.DataFrame,
    contract: Contract,
    header: HeaderVerdict,
    path_values: dict[str, str | None],
) -> pl.Series:
    """Return, as a JSON list by row, the columns a record leaves out: absent is not null."""
    never = [column.name for column in contract.file_columns if column.name not in rows.columns]
    made_of = {}
    for name, text in contract.load.derive.items():
        if name not in rows.columns:
            roots = set(pl.sql_expr(text).meta.root_names())
            # What its folder says of it, the record says.
            is_said = frame[name].is_not_null() if not roots.isdisjoint(path_values) else [False] * rows.height
            made_of[name] = roots, list(is_said)
    left_out = rows["_absent"].to_list() if "_absent" in rows.columns else [None] * rows.height
    texts = []
    for place, names in enumerate(left_out):
        absent = [*(header.renames.get(name, name) for name in names or ()), *never]
        for derived, (roots, is_said) in made_of.items():
            # Nor does it say anything of a column that is made of one it leaves out.
            if not is_said[place] and roots.intersection(absent):
                absent.append(derived)
        texts.append(json.dumps(absent))
    return pl.Series(texts, dtype=pl.String)


def _add_derived(
    frame: pl.DataFrame, contract: Contract, path_values: dict[str, str | None]
) -> tuple[pl.DataFrame, list[_Failure]]:
    """Return the frame with its derived columns, and the rows in which what was derived does not fit its column."""
    failures = []
    for name, text in contract.load.derive.items():
        if name in frame.columns:  # the file brings it itself; judge_header lets it only where it derives from itself
            continue
        available = set(frame.columns)
        expression = pl.sql_expr(text)
        roots = expression.meta.root_names()
        # Without a column of the file, one row tells what all rows get.
        scope = frame.lazy() if available.intersection(roots) else pl.LazyFrame({SOURCE_ROW: [0]})
        # A folder name that this path lacks is null, so that COALESCE(order_dt, dt) can try several.
        scope = scope.with_columns(
            pl.lit(path_values.get(root), dtype=pl.String).alias(root) for root in roots if root not in available
        )
        derived = _evaluate(scope, expression, contract, f"derive.{name}", text)
        column = contract.get_column(name)
        cast = cast_losslessly(derived, column.type, contract.load.time_zone).alias(name)
        if len(derived) != frame.height:  # one value for all rows
            derived, cast = (
                one.new_from_index(0, frame.height) if len(one) else one.clear(frame.height) for one in (derived, cast)
            )
        if cast.null_count() > derived.null_count():
            # It stands in no record, so there is nothing that could be rescued.
            failures.append(_make_loss(contract, column, derived.is_not_null() & cast.is_null(), derived))
        frame = frame.with_columns(cast)
    return frame, failures


def _evaluate(scope: pl.LazyFrame, expression: pl.Expr, contract: Contract, setting: str, text: str) -> pl.Series:
    try:
        return scope.select(expression.alias(setting)).collect().to_series()
    except pl.exceptions.PolarsError as error:
        found = str(error).splitlines()[0][:200]
        roots = expression.meta.root_names()
        if any(column.personal and column.name in roots for column in contract.columns):
            found = found.partition(": [")[0]  # the values follow, and what is said goes to the ledger and the alert
        try:
            scope.clear().select(expression).collect()
        except pl.exceptions.PolarsError:
            raise _refuse_setting(contract, setting, text, found) from error
        # Of other rows it can be computed: one bad file must not keep the others out.
        raise RefusedFile(
            "not_computed",
            f"load.{setting}, {text}: {found}",
            "ask the sender, or write TRY_CAST in the contract, which gives null where CAST fails",
        ) from error


def _refuse_setting(contract: Contract, setting: str, text: str, found: str) -> ContractError:
    return ContractError(
        f"{contract.name}: load.{setting} cannot be computed.",
        where=str(contract.file),
        expected="polars SQL that holds for every row; TRY_CAST gives null where CAST would fail",
        found=f"{text}: {found}",
        next_step=f"mend load.{setting} in the contract",
    )


def _list_failures(frame: pl.DataFrame, contract: Contract, lost: dict[str, pl.Series]) -> list[_Failure]:
    """Return the expectations that some row fails; one without a failing row costs nothing further.

    `lost` are the rows, by column, that fail already because a value did not fit: such a value is not a missing one.
    """
    failures = []
    for rule in contract.expectations:
        failing = _find_failing(frame, rule, contract)
        if failing is None:
            continue
        failing = failing.fill_null(False)
        if rule.column in lost:
            failing &= ~lost[rule.column]
        is_key = rule.test == "not_null" and rule.column in contract.load.key
        if not is_key and "_is_deleted" in frame.columns:
            failing &= ~frame["_is_deleted"]  # a record that deletes need bring no more than its key
        if not is_key and "_absent" in frame.columns:  # nor need a partial update say all
            failing &= ~frame["_absent"].str.contains(json.dumps(rule.column), literal=True)
        if failing.any():
            reason = "missing_key" if is_key else "expectation_failed"
            failures.append(_Failure(failing, rule.on_fail, reason, rule.column, rule.label))
    return failures


def _find_failing(frame: pl.DataFrame, rule: Expectation, contract: Contract) -> pl.Series | None:
    """Return which rows fail an expectation, or None if none does.

    A null fails not_null only, as in dbt. So does blank text, which silver makes null (decision 48).
    """
    values = frame[rule.column]
    match rule.test:
        case "not_null" if values.dtype == pl.String:
            failing = values.is_null() | (values.str.strip_chars() == "").fill_null(False)
            return failing if failing.any() else None
        case "not_null":
            return values.is_null() if values.null_count() else None
        case "accepted_values":
            return ~values.is_in(_type_accepted(values, rule, contract).implode())
        case "accepted_range":
            return _is_out_of_range(values, rule, contract)
        case _:
            return ~values.cast(pl.String).str.contains(rule.arguments["regex"])


def _type_accepted(values: pl.Series, rule: Expectation, contract: Contract) -> pl.Series:
    """Return the accepted values in the column's type, so that 1.5 and 1.50 are one, as they are in SQL."""
    column = contract.get_column(rule.column)
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in rule.arguments["values"]]
    typed = cast_losslessly(pl.Series(texts, dtype=pl.String), column.type, "UTC")
    return typed.drop_nulls().cast(values.dtype)


def _is_out_of_range(values: pl.Series, rule: Expectation, contract: Contract) -> pl.Series | None:
    data_type = contract.get_column(rule.column).type
    failing: pl.Series | None = None
    for argument, is_lower in (("min_value", True), ("max_value", False)):
        bound = rule.get_bound(argument, data_type)
        is_strict = not rule.arguments.get("inclusive", True)
        extreme = values.min() if is_lower else values.max()
        if bound is None or extreme is None:
            continue
        if isinstance(bound, Decimal):
            bound, is_strict = _place_bound(bound, is_lower, is_strict, values.dtype)
            extreme = Decimal(str(extreme))
        # The whole column is cleared by its extreme.
        if (extreme == bound and not is_strict) or (extreme > bound if is_lower else extreme < bound):
            continue
        limit = _fit_bound(bound, values.dtype)
        if limit is None:
            outside = values.is_not_null()  # the bound lies beyond all that the type can hold
        elif is_lower:
            outside = values <= limit if is_strict else values < limit
        else:
            outside = values >= limit if is_strict else values > limit
        failing = outside if failing is None else failing | outside
    return failing


def _place_bound(number: Decimal, is_lower: bool, is_strict: bool, dtype: pl.DataType) -> tuple[Decimal, bool]:
    """Return a bound on the grid of the column's type, and whether the values must keep away from it.

    Between two steps of a decimal there is no value, so `>= 0.123` on cents is `>= 0.13`, and no column need be cast.
    """
    if dtype.is_float():
        return number, is_strict
    step = Decimal(1).scaleb(-dtype.scale if isinstance(dtype, pl.Decimal) else 0)
    placed = number.quantize(step, ROUND_CEILING if is_lower else ROUND_FLOOR, context=_WIDE)
    return placed, is_strict and placed == number


def _fit_bound(bound: Decimal | dt.date, dtype: pl.DataType) -> pl.Series | None:
    """Return the bound in the column's type, or None if the type cannot hold it."""
    if not isinstance(bound, Decimal):
        return pl.Series([bound], dtype=dtype)
    if dtype.is_float():
        return pl.Series([float(bound)])
    if isinstance(dtype, pl.Decimal):
        fits = len(bound.as_tuple().digits) <= (dtype.precision or 38)
        return pl.Series([bound], dtype=dtype) if fits else None
    return pl.Series([int(bound)], dtype=dtype) if -(2**63) <= bound < 2**63 else None


def _explain_first_faults(
    rows: pl.DataFrame, frame: pl.DataFrame, failures: list[_Failure], at_fault: pl.Series
) -> pl.DataFrame:
    """Tell the first fault of every row, fault by fault and not row by row: every row of a file may be bad."""
    parts, untold = [_NO_FAULTS], at_fault
    for failure in failures:
        if failure.on_fail == "quarantine":
            parts.append(_explain(rows, frame, failure, untold & failure.rows))
            untold &= ~failure.rows
    return pl.concat(parts).sort(SOURCE_ROW)


def _explain(rows: pl.DataFrame, frame: pl.DataFrame, failure: _Failure, mask: pl.Series) -> pl.DataFrame:
    lines = rows[SOURCE_ROW].filter(mask)
    if failure.reason == "missing_key":
        details = ["the key is empty"] * len(lines)
    else:
        found = failure.found
        if found is None:
            found = (rows if failure.column in rows.columns else frame)[failure.column]
        details = [f"{failure.expected}, found {str(value)[:80]!r}" for value in _list_values(found.filter(mask))]
    told = {SOURCE_ROW: lines, "reason": failure.reason, "column_name": failure.column, "detail": details}
    return pl.DataFrame(told, schema=FAULT_SCHEMA)


def _list_values(values: pl.Series) -> list[Any]:
    try:
        return values.to_list()
    except (ValueError, OverflowError):  # a year that Python does not know
        return values.cast(pl.String).to_list()


def read_path_values(source_file: str) -> dict[str, str | None]:
    """Return the `name=value` folders of a path, as Hive writes them: signs as %20, and a word of its own for null."""
    found = re.findall(r"([A-Za-z_][A-Za-z0-9_]*)=([^/]+)/", source_file)
    return {name: None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for name, value in found}


def reads_folders(contract: Contract, columns: Collection[str]) -> bool:
    """Tell whether anything in the rows of a file comes from the folders of its path.

    Parameters
    ----------
    columns : those that the file brings.
    """
    folders = set(contract.load.folders).difference(columns)
    derived = [text for name, text in contract.load.derive.items() if name not in columns]
    return any(folders.intersection(pl.sql_expr(text).meta.root_names()) for text in derived)

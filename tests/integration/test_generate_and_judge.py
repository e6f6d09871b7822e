"""What readers and judge refuse by the retail contract: of generated data, what was planted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from lakeops.contract import load_contracts
from lakeops.generate import HISTORY_START, generate_data, read_defects
from lakeops.judge import judge_header, judge_rows, read_path_values
from lakeops.raw import list_landings, read_file

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = load_contracts(ROOT / "dbt" / "models")


@pytest.mark.parametrize(("start", "days"), [(HISTORY_START, 3), (date(2024, 4, 1), 2), (date(2025, 7, 9), 1)])
def test_quarantined_rows_are_the_planted_ones(start: date, days: int, tmp_path: Path) -> None:
    summary = generate_data(CONTRACTS, tmp_path, 11, start, days, 0.02)
    refused, warned, read = set(), Counter(), Counter()
    for landing in list_landings(tmp_path, CONTRACTS.tables, tmp_path):
        assert landing.contract is not None, landing.source_file
        for chunk in read_file(landing.path, landing.contract):
            names = [name for name in chunk.rows.columns if name != "_source_row"]
            assert not judge_header(chunk.rows.select(names).schema, landing.contract).refusal
            judged = judge_rows(chunk.rows, landing.contract, read_path_values(landing.source_file))
            read[landing.contract.table] += chunk.rows.height + chunk.broken.height
            for row in (*judged.faults["_source_row"], *chunk.broken["_source_row"]):
                refused.add((str(landing.path.relative_to(tmp_path)), row))
            warned.update({(landing.contract.table, label.split()[0]): n for label, n in judged.warnings.items()})
    planted = read_defects(tmp_path)
    assert refused == {(row["file"], row["line"]) for row in planted if row["caught_by"] == "quarantine"}
    by_loader = ("accepted_range(", "matches_regex(")
    assert warned == Counter((r["table"], r["column"]) for r in planted if r["caught_by"].startswith(by_loader))
    assert read == summary.rows


@pytest.mark.parametrize("table", ["order_lines", "returns"])
def test_a_bar_code_is_no_quantity(table: str, tmp_path: Path) -> None:
    contract = CONTRACTS.get_table(table)
    named = {"bigint": 1, "timestamp": datetime(2024, 3, 25, tzinfo=UTC), "varchar": "a"}
    row = {column.name: named.get(str(column.type), 0.5) for column in contract.file_columns}
    rows = [row | {"qty": qty} for qty in (-5, 1_000_000, 1_000_001, 4_006_381_333_931)]
    file = tmp_path / f"a.{contract.load.format}"
    (pl.DataFrame(rows).write_csv if contract.load.format == "csv" else pl.DataFrame(rows).write_parquet)(file)
    (chunk,) = read_file(file, contract)
    judged = judge_rows(chunk.rows, contract, {"order_dt": "2024-03-25"})
    assert judged.accepted["qty"].to_list() == [-5, 1_000_000]
    assert all("qty" in fault for fault in judged.faults.rows())

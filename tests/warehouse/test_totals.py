"""Clean data raises no warning; and the money in gold is, to the last digit, what the raw files say."""

from __future__ import annotations

import csv
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from conftest import ROOT, Clone

GENERATE = "lakeops generate --scale 0.02 --seed 11 --out data_raw"
OWNER_QUESTIONS = sorted((ROOT / "dbt" / "analyses" / "owner").glob("*.sql"))


@pytest.fixture(scope="module")
def clean(clone: Clone) -> Clone:
    """A clone after two days in which nothing is wrong."""
    clone.run(f"{GENERATE} --start-date 2024-03-25 --days 2 --defects none")
    clone.run("lakeops incremental")
    return clone


@pytest.fixture(scope="module")
def soiled(clean: Clone) -> Clone:
    """The same after two more days with every kind of defect, and lines of an order whose header never came."""
    clean.run(f"{GENERATE} --start-date 2024-03-27 --days 2")
    lines = next(clean.root.glob("data_raw/order_lines/order_dt=2024-03-28/part-*.csv"))
    header, *others = lines.read_text().splitlines()
    orphans = [line.replace("20240328", "20240399", 1) for line in others[-3:]]
    lines.with_name("orphans.csv").write_text("\n".join([header, *orphans]) + "\n")
    clean.run("lakeops incremental")
    return clean


def test_every_test_passes_on_clean_data(clean: Clone):
    outcomes = clean.query("select status, count(*) from dbt_test_results group by status")
    assert [status for status, _ in outcomes] == ["pass"]
    assert int(outcomes[0][1]) > 120
    assert clean.query("select count(*) from quarantine") == [["0"]]


def test_gold_has_the_money_of_the_raw_files_to_the_last_digit(soiled: Clone):
    expected = compute_totals(soiled.root / "data_raw")
    found = soiled.query(
        "select date, currency, count(*), sum(gross), sum(discount), sum(tax), sum(net), sum(net_aud),"
        " count(*) filter (not has_known_order) from gold.fct_sales group by all"
    )
    totals = {(day, currency): (*map(Decimal, amounts),) for day, currency, *amounts in found}
    assert totals == expected
    assert sum(amounts[-1] for amounts in expected.values()) == 3
    for key in ("customer_key", "product_key", "store_key"):
        assert soiled.query(f"select count(*) > 0 from gold.fct_sales where {key} = -1") == [["true"]]


@pytest.mark.parametrize("file", OWNER_QUESTIONS, ids=lambda file: file.stem)
def test_an_owners_question_is_answered(soiled: Clone, file: Path):
    assert soiled.query(file.read_text())


def test_the_categories_make_up_all_that_was_sold(soiled: Clone):
    question = (ROOT / "dbt" / "analyses" / "owner" / "sales_by_category.sql").read_text().rstrip().rstrip(";")
    parts = soiled.query(f"select sum(net_aud), sum(units) from ({question})")
    assert parts == soiled.query("select sum(net_aud), sum(quantity) from gold.fct_sales")


def compute_totals(raw: Path) -> dict[tuple[str, str], tuple[Decimal, ...]]:
    """Return lines, gross, discount, tax, net, net in AUD and lines without header by day and currency."""
    orders = {}
    for file in sorted(raw.glob("orders/**/*.csv")):
        for order in csv.DictReader(file.open(newline="")):
            if order["order_id"].isdigit() and is_day(order["order_dt_local"]):
                orders[order["order_id"]] = order  # sent again: the last one holds
    lines = {}
    for file in sorted(raw.glob("order_lines/**/*.csv")):
        for line in csv.DictReader(file.open(newline="")):
            if line["order_id"].isdigit():
                day = file.parent.name.removeprefix("order_dt=")
                lines[line["order_id"], line["line_number"]] = (day, line)
    rates = read_rates(raw)
    totals: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 7)
    for day, line in lines.values():
        order = orders.get(line["order_id"])
        day, currency = (order["order_dt_local"], order["currency"]) if order else (day, "AUD")
        gross = round_half_up(Decimal(line["qty"]) * Decimal(line["unit_price"]))
        discount = round_half_up(gross * Decimal(line["line_discount_pct"]))
        net = gross - discount
        tax = round_half_up(net * Decimal(line["tax_pct"]))
        rate = Decimal(1) if currency == "AUD" else rates[currency][max(d for d in rates[currency] if d <= day)]
        amounts = (Decimal(1), gross, discount, tax, net, round_half_up(net * rate), Decimal(order is None))
        kept = totals[day, currency]
        kept[:] = [sum(pair) for pair in zip(kept, amounts, strict=True)]
    return {key: tuple(amounts) for key, amounts in totals.items()}


def read_rates(raw: Path) -> dict[str, dict[str, Decimal]]:
    """Return the rates to AUD by currency and day."""
    rates: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for file in sorted(raw.glob("exchange_rates/**/*.xlsx")):
        header, *rows = CalamineWorkbook.from_path(file).get_sheet_by_index(0).to_python()
        for row in rows:
            cells = dict(zip(header, row, strict=True))
            rates[cells["currency"]][str(cells["date"])[:10]] = round(Decimal(str(cells["rate_to_aud"])), 8)
    return rates


def is_day(text: str) -> bool:
    """Tell whether the text is a day as the contract wants it."""
    return len(text) == 10 and text[4] == text[7] == "-" and text.replace("-", "").isdigit()


def round_half_up(value: Decimal) -> Decimal:
    """Return a value with four digits."""
    return value.quantize(Decimal("0.0001"), ROUND_HALF_UP)

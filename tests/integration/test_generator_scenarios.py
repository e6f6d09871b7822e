"""Each scenario of the generator, loaded by the rest of the pipeline, and compared with what was planned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from conftest import LOADER_COLUMNS, ROOT, Project, make_project
from lakeops import pipeline
from lakeops.bronze import LoadOutcome
from lakeops.cli import app
from lakeops.contract import load_contracts
from lakeops.errors import LakeopsError, UsageError, get_exit_code
from lakeops.generate import (
    HISTORY_START,
    Scenarios,
    Summary,
    generate_data,
    parse_defects,
    parse_drifts,
    parse_evolve,
    parse_late,
    read_defects,
    read_scenarios,
)

START = date(2024, 4, 2)
STOCK = ROOT / "scripts" / "lakeops" / "generate" / "stock_levels.yml"
CONTRACTS = load_contracts(ROOT / "dbt" / "models")
NOTHING = Scenarios(defects=frozenset())
SOURCES_OF_EVERY_DAY = ("orders", "order_lines", "events", "sensors", "shipments", "returns", "exchange_rates")


class Shop:
    """A project with the real contracts, and what the generator says it did to its landing zone."""

    def __init__(self, root: Path, *, with_stock: bool = False) -> None:
        self.project: Project = make_project(root, (ROOT / "dbt/models/bronze/retail.yml").read_text())
        self.raw = self.project.settings.raw
        if with_stock:
            shutil.copy(STOCK, self.project.settings.models / "bronze")

    def generate(
        self, scenarios: Scenarios, days: int = 3, start: date = START, tables: Sequence[str] = (), seed: int = 5
    ) -> Summary:
        """Write the files of a call; with `tables`, only theirs are left for the loader."""
        contracts = load_contracts(self.project.settings.models)
        summary = generate_data(contracts, self.raw, seed, start, days, 0.01, scenarios=scenarios)
        for folder in self.raw.iterdir():
            if tables and folder.is_dir() and folder.name not in tables:
                shutil.rmtree(folder)
        return summary

    def load(self) -> LoadOutcome:
        return self.project.load()

    def told(self, scenario: str, *tables: str) -> list[dict]:
        return [
            row
            for row in read_scenarios(self.raw)
            if row["scenario"] == scenario and (not tables or row["table"] in tables)
        ]

    def rows(self, table: str, schema: str = "bronze") -> pl.DataFrame:
        frame = pl.read_delta(str(self.project.settings.lake.bronze(schema, table)))
        return frame.with_columns(file=pl.col("_source_file").str.strip_prefix("data_raw/"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def find_quarantined(shop: Shop) -> set[tuple[str, int]]:
    rows = shop.project.sql("select source_file, source_row from quarantine where status = 'open'")
    return {(file.removeprefix("data_raw/"), row) for file, row in rows}


def find_planted(shop: Shop) -> set[tuple[str, int]]:
    rows = (row for row in read_defects(shop.raw) if row["caught_by"] == "quarantine")
    return {(row["file"], row["line"]) for row in rows if (shop.raw / row["file"]).is_file()}


def without_loader_columns(frame: pl.DataFrame) -> list[tuple]:
    return sorted(frame.drop(*LOADER_COLUMNS, "file").rows(), key=str)


# Defects


def test_without_defects_nothing_is_caught(shop: Shop) -> None:
    assert shop.generate(NOTHING, days=2).defects == {}
    outcome = shop.load()
    assert read_defects(shop.raw) == []
    assert find_quarantined(shop) == set()
    assert not any(tally.warnings for tally in outcome.tables.values())
    assert not outcome.refused
    orders = shop.rows("orders")
    assert orders["order_id"].is_unique().all()


def test_only_the_kinds_asked_for_are_planted_and_the_others_leave_no_trace(tmp_path: Path) -> None:
    kinds = parse_defects("bad_email,negative_quantity,broken_json")
    frames = {}
    for name, defects in (("all", parse_defects("all")), ("some", kinds), ("none", parse_defects("none"))):
        out = tmp_path / name
        summary = generate_data(CONTRACTS, out, 5, START, 1, 0.01, scenarios=Scenarios(defects=defects))
        assert set(summary.defects) == (set() if name == "none" else kinds if name == "some" else set(summary.defects))
        path = f"order_lines/order_dt={START}/part-00001.csv"
        planted = {row["line"] for row in read_defects(out) if row["file"] == path}
        lines = (out / path).read_text().splitlines()
        frames[name] = {line for number, line in enumerate(lines, start=1) if number not in planted}
    assert frames["all"] < frames["some"] < frames["none"]


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_what_is_drawn_from_sound_rows_does_not_depend_on_the_kinds_that_are_on(seed: int, tmp_path: Path) -> None:
    told, resent, nameless = {}, {}, {}
    for kinds in ("all", "duplicate_key,null_key"):
        out = tmp_path / kinds
        scenarios = Scenarios(defects=parse_defects(kinds), restate=START, outliers=True)
        generate_data(CONTRACTS, out, seed, START, 1, 0.2, scenarios=scenarios)
        # Where it stands in the file does depend on what stands before it.
        told[kinds] = [(row["file"], row["key"], row["what"]) for row in read_scenarios(out)]
        resent[kinds] = (out / "orders" / f"order_dt={START}" / "resent-00001.csv").read_text()
        lines = [line for file in sorted(out.glob("customers/**/*.csv")) for line in file.read_text().splitlines()]
        nameless[kinds] = [line for line in lines if line.startswith(",")]
    for found in (told, resent, nameless):
        every, some = found.values()
        assert every
        assert every == some


# Scenarios


def test_late_files_come_under_a_name_of_their_own(shop: Shop) -> None:
    shop.generate(Scenarios(late_hours=parse_late("36h")), tables=("orders", "order_lines"))
    assert not shop.load().refused
    told = shop.told("late")
    assert len(told) == 6
    for table in ("orders", "order_lines"):
        loaded = shop.rows(table)
        assert {row["file"]: row["what"]["rows"] for row in told if row["table"] == table} == dict(
            loaded.filter(pl.col("file").str.contains("late-2d")).group_by("file").len().iter_rows()
        )
    orders, lines = shop.rows("orders"), shop.rows("order_lines")
    late = orders.filter(pl.col("file").str.contains("late-2d"))
    assert set(late["order_id"]) == set(lines.filter(pl.col("file").str.contains("late-2d"))["order_id"])
    assert not set(late["order_id"]) & set(orders.filter(~pl.col("file").str.contains("late-2d"))["order_id"])
    for row in late.iter_rows(named=True):
        arrival = datetime.fromisoformat(row["file"][-14:-4]) - timedelta(hours=10)
        assert arrival - timedelta(hours=36) <= row["order_ts"].replace(tzinfo=None) < arrival - timedelta(hours=24)
        assert str(row["order_dt"]) == row["file"].split("=")[1][:10]


def test_late_files_of_other_spans_never_collide(tmp_path: Path) -> None:
    for span in ("6h", "2d", "30d"):
        scenarios = Scenarios(defects=frozenset(), late_hours=parse_late(span))
        generate_data(CONTRACTS, tmp_path, 5, date(2024, 5, 20), 2, 0.01, scenarios=scenarios)
    ids = [pl.read_csv(path)["order_id"] for path in (tmp_path / "orders").rglob("*.csv")]
    assert pl.concat(ids).is_unique().all()
    assert {path.name[:8] for path in (tmp_path / "orders").rglob("late-*d-*")} == {"late-1d-", "late-2d-", "late-30d"}


def test_a_restated_day_has_exactly_the_planned_corrections(shop: Shop) -> None:
    tables = ("orders", "order_lines")
    day = START + timedelta(days=1)
    shop.generate(Scenarios(), tables=tables)
    shop.load()
    before = shop.rows("order_lines")
    known = set(shop.raw.rglob("*.csv"))
    again = shop.generate(Scenarios(restate=day), tables=tables)
    assert again.scenarios.keys() == {"restate"}
    assert set(shop.raw.rglob("*.csv")) == known
    outcome = shop.load()
    assert {tally.contract.table: tally.files_loaded for tally in outcome.tables.values() if tally.files_loaded} == {
        "order_lines": 1
    }
    after, key = shop.rows("order_lines"), ["order_id", "line_number"]
    ids = {change: {tuple(map(int, row["key"].values())) for row in shop.told("restate")
                    if row["what"]["change"] == change} for change in ("added", "changed", "removed")}  # fmt: skip
    assert all(ids.values())
    old, new = ({row[:2]: row for row in frame.select(*key, "product_id", "qty", "unit_price").iter_rows()}
                for frame in (before, after))  # fmt: skip
    assert new.keys() - old.keys() == ids["added"]
    assert old.keys() - new.keys() == ids["removed"]
    assert {key for key in old.keys() & new.keys() if old[key] != new[key]} == ids["changed"]
    assert all(new[key][3] == old[key][3] + 1 for key in ids["changed"])
    assert find_quarantined(shop) == find_planted(shop)
    assert {row["order_id"] for row in before.iter_rows(named=True)} == set(after["order_id"])
    # And the same call as at first takes the corrections back.
    shop.generate(Scenarios(), tables=tables)
    assert read_scenarios(shop.raw) == []
    shop.load()
    assert without_loader_columns(shop.rows("order_lines")) == without_loader_columns(before)


def test_a_new_column_evolves_or_is_refused_as_the_contract_says(shop: Shop) -> None:
    tables = ("returns", "orders")
    shop.generate(Scenarios(), days=2, tables=tables)
    shop.load()
    start = START + timedelta(days=2)
    evolve = parse_evolve(["returns:return_reason_code", "orders:till"])
    shop.generate(Scenarios(evolve=evolve), days=2, start=start, tables=tables)
    outcome = shop.load()
    refused = {name.removeprefix("data_raw/"): reason for name, reason in outcome.refused}
    assert {row["file"] for row in shop.told("evolve", "orders")} == set(refused)
    assert all("till" in reason for reason in refused.values())
    returns = shop.rows("returns_changes")
    coded = returns.filter(pl.col("return_reason_code").is_not_null())
    bad = Counter(file for file, _ in find_planted(shop))
    planned = {row["file"]: row["what"]["rows"] - bad[row["file"]] for row in shop.told("evolve", "returns")}
    assert dict(coded.group_by("file").len().iter_rows()) == planned
    assert set(planned) == {f"returns/return_dt={start + timedelta(days=n)}/part-00001.parquet" for n in (0, 1)}
    assert returns.filter(pl.col("return_reason_code").is_null())["file"].n_unique() == 2
    history = shop.project.sql("select column_name, change from schema_history where table_name like '%returns%'")
    assert ("return_reason_code", "added") in history


@pytest.mark.parametrize("start", [HISTORY_START, date(2024, 4, 20)])
def test_change_files_out_of_order_end_in_the_state_of_the_sequence(start: date, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", with_stock=True)
    shop.generate(Scenarios(defects=frozenset(), cdc=True), days=3, start=start, tables=("stock_levels",))
    files = sorted((shop.raw / "stock_levels").rglob("*.jsonl"), reverse=True)
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [record["change_seq"] for record in records] != sorted(record["change_seq"] for record in records)
    ops = Counter()
    for row in shop.told("cdc"):
        ops.update(row["what"])
    assert ops == Counter(record["op"] for record in records)
    assert set(ops) == {"I", "U", "D"}
    # The newest files arrive first, in a load of their own.
    aside = tmp_path / "aside"
    shutil.move(shop.raw / "stock_levels", aside)
    for part in (files[:3], files[3:]):
        for file in part:
            name = file.relative_to(shop.raw)
            shop.project.land(str(name), (aside / name.relative_to("stock_levels")).read_bytes())
        outcome = shop.load()
        assert not outcome.refused
    assert find_quarantined(shop) == set()
    state = {}
    for record in sorted(records, key=lambda record: record["change_seq"]):
        state[record["store_id"], record["product_id"]] = None if record["op"] == "D" else record["on_hand"]
    found = shop.project.sql("select store_id, product_id, on_hand from stock.stock_levels")
    assert {(store, product): on_hand for store, product, on_hand in found} == {
        key: on_hand for key, on_hand in state.items() if on_hand is not None
    }
    assert None in state.values()
    if start == HISTORY_START:
        inserted = {(r["store_id"], r["product_id"]) for r in records if r["op"] == "I"}
        assert {(r["store_id"], r["product_id"]) for r in records} <= inserted


def test_sequences_of_other_days_and_seeds_never_collide(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", with_stock=True)
    for seed in (1, 2):
        start = START + timedelta(days=seed)
        shop.generate(Scenarios(cdc=True), days=1, start=start, tables=("stock_levels",), seed=seed)
    files = list((shop.raw / "stock_levels").rglob("*.jsonl"))
    assert len(files) == 4
    sequence = [json.loads(line)["change_seq"] for file in files for line in file.read_text().splitlines()]
    assert len(set(sequence)) == len(sequence) > 0


def test_a_day_that_is_missing_arrives_with_the_next_call(tmp_path: Path) -> None:
    tables = ("orders", "order_lines", "returns", "customers", "exchange_rates")
    late, whole = Shop(tmp_path / "late"), Shop(tmp_path / "whole")
    day = START + timedelta(days=1)
    late.generate(Scenarios(outage=day), tables=tables)
    told = late.told("outage")
    assert {row["table"] for row in told} >= set(SOURCES_OF_EVERY_DAY)
    assert not any((late.raw / row["file"]).exists() for row in told)
    assert not late.load().refused
    assert day not in set(late.rows("orders")["order_dt"])
    missing = {row["file"]: row["what"]["rows"] for row in told if row["table"] in tables}
    late.generate(Scenarios(), tables=tables)
    assert late.told("outage") == []
    outcome = late.load()
    assert sum(tally.files_loaded for tally in outcome.tables.values()) == len(missing)
    assert sum(tally.rows_read for tally in outcome.tables.values()) == sum(missing.values())
    whole.generate(Scenarios(), tables=tables)
    whole.load()
    for table in tables:
        assert without_loader_columns(late.rows(table)) == without_loader_columns(whole.rows(table)), table
    assert find_quarantined(late) == find_quarantined(whole) == find_planted(whole)


def test_drifts_are_in_the_table_from_their_day_on(tmp_path: Path) -> None:
    day, tables = START + timedelta(days=1), ("orders", "order_lines")
    shops = {}
    for name, texts in (("usual", []), ("prices", [f"prices:1.5@{day}"]), ("volumes", [f"volumes:3@{day}"])):
        shops[name] = Shop(tmp_path / name)
        shops[name].generate(Scenarios(drifts=parse_drifts(texts)), tables=tables)
        assert not shops[name].load().refused
    lines = {name: shop.rows("order_lines") for name, shop in shops.items()}
    key = ["order_id", "line_number"]
    both = lines["usual"].join(lines["prices"], on=key, suffix="_drifted")
    assert both.height == lines["usual"].height == lines["prices"].height
    for row in both.iter_rows(named=True):
        factor = 1.5 if row["line_dt"] >= day else 1.0
        assert float(row["unit_price_drifted"]) == pytest.approx(float(row["unit_price"]) * factor, abs=2e-4)
    counts = {name: Counter(shops[name].rows("orders")["order_dt"]) for name in ("usual", "volumes")}
    days = [START, day, day + timedelta(days=1)]
    ratios = [counts["volumes"][d] / counts["usual"][d] for d in days]
    assert ratios[0] == 1
    assert all(2 < ratio < 4.5 for ratio in ratios[1:])
    assert {row["what"]["prices"] for row in shops["prices"].told("drift")} == {1.5}
    assert {row["file"].split("=")[1][:10] for row in shops["prices"].told("drift")} == set(map(str, days[1:]))
    assert {row["table"] for row in shops["volumes"].told("drift")} == {"orders", "order_lines", "events"}


def test_bad_files_are_refused_for_their_reason_and_loaded_when_sent_again(shop: Shop) -> None:
    tables = ("returns", "shipments", "events")
    shop.generate(
        Scenarios(bad_files=("missing_column", "truncated", "wrong_encoding")),
        days=2,
        tables=tables,
        start=HISTORY_START,
    )
    outcome = shop.load()
    with pytest.raises(LakeopsError) as caught:
        pipeline.raise_if_refused(outcome)
    assert get_exit_code(caught.value) == 11
    refused = shop.project.sql("select source_file, reason from manifest_processed_files where status = 'refused'")
    planned = {row["file"]: row["what"]["refused_as"] for row in shop.told("bad-file")}
    assert len(planned) == 3
    assert {name.removeprefix("data_raw/"): reason.split(":")[0] for name, reason in refused} == planned
    assert {name.removeprefix("data_raw/") for name, _ in outcome.refused} == set(planned)
    assert find_quarantined(shop) == find_planted(shop)
    shop.generate(Scenarios(), days=2, tables=tables, start=HISTORY_START)
    assert read_scenarios(shop.raw) == []
    outcome = shop.load()
    assert not outcome.refused
    assert sum(tally.files_loaded for tally in outcome.tables.values()) == 3
    assert find_quarantined(shop) == find_planted(shop)


def test_outliers_are_loaded_without_a_warning_and_stand_out(shop: Shop) -> None:
    tables = ("order_lines", "sensors", "shipments")
    shop.generate(Scenarios(defects=frozenset(), outliers=True), tables=tables)
    outcome = shop.load()
    assert not outcome.refused
    assert not any(tally.warnings or tally.rows_quarantined for tally in outcome.tables.values())
    for table, column in (("order_lines", "qty"), ("sensors", "temperature_c"), ("shipments", "ship_cost")):
        rows = shop.rows(table).with_columns(pl.col(column).cast(pl.Float64))
        far = rows.filter(pl.col(column) > (rows[column].median() + rows[column].max()) / 2)
        planned = {(row["file"], row["line"]) for row in shop.told("outliers", table)}
        assert len(planned) >= 3
        assert set(far.select("file", "_source_row").rows()) == planned
    assert {row["what"]["column"] for row in shop.told("outliers")} == {"qty", "temperature_c", "ship_cost"}


# All at once


def make_everything(start: date) -> Scenarios:
    return Scenarios(
        late_hours=24,
        restate=start,
        outage=start + timedelta(days=1),
        evolve={"returns": "return_reason_code"},
        drifts=parse_drifts(["prices:1.5", "volumes:0.5"]),
        bad_files=("wrong_encoding",),
        cdc=True,
        outliers=True,
    )


def test_scenarios_combine_and_the_defects_are_still_the_listed_ones(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", with_stock=True)
    summary = shop.generate(make_everything(START))
    assert set(summary.scenarios) == {
        "bad-file", "cdc", "drift", "evolve", "late", "outage", "outliers", "restate"}  # fmt: skip
    outcome = shop.load()
    assert [name.removeprefix("data_raw/") for name, _ in outcome.refused] == [
        row["file"] for row in shop.told("bad-file")
    ]
    assert find_quarantined(shop) == find_planted(shop)
    read = {tally.contract.table: tally.rows_read for tally in outcome.tables.values()}
    assert {table: rows for table, rows in read.items() if rows} == summary.rows


def test_bytes_do_not_depend_on_time_zone_or_hash_seed_with_scenarios_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", with_stock=True)
    code = (
        "import sys; from datetime import date; from pathlib import Path\n"
        "from lakeops.contract import load_contracts\n"
        "from lakeops.generate import Scenarios, generate_data, parse_drifts\n"
        f"contracts = load_contracts(Path({str(shop.project.settings.models)!r}))\n"
        "scenarios = Scenarios(late_hours=36, restate=date(2024, 4, 2), outage=date(2024, 4, 3),\n"
        "    evolve={'returns': 'code', 'customers': 'tier'}, drifts=parse_drifts(['prices:1.5', 'volumes:2']),\n"
        "    bad_files=('missing_column', 'truncated', 'wrong_encoding'), cdc=True, outliers=True)\n"
        "generate_data(contracts, Path(sys.argv[1]), 7, date(2024, 4, 2), 2, 0.01, scenarios=scenarios)\n"
    )
    found = []
    for name, zone, hash_seed in (("a", "Pacific/Auckland", "1"), ("b", "America/Los_Angeles", "2")):
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], env=environment, check=True)
        files = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        found.append({path.relative_to(tmp_path / name): hashlib.sha256(path.read_bytes()).digest() for path in files})
    assert found[0] == found[1]
    assert Path("_scenarios.json") in found[0]


def test_the_command_takes_every_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "shop", with_stock=True)
    monkeypatch.setenv("LAKEOPS_ROOT", str(shop.project.root))
    switches = (
        "--defects bad_email,null_key --late 24h --restate 2024-04-02 --outage 2024-04-03 --cdc --outliers"
        " --evolve returns:return_reason_code --drift prices:1.5 --drift volumes:0.5@2024-04-03"
        " --bad-file missing_column --bad-file truncated --bad-file wrong_encoding"
    )
    call = ["generate", "--start-date", "2024-04-02", "--days", "2", "--scale", "0.01", "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(app, [*call, *switches.split()], catch_exceptions=False)
    assert said.exit_code == 0
    assert {row["kind"] for row in read_defects(tmp_path / "out")} == {"bad_email", "null_key"}
    scenarios = {"bad-file", "cdc", "drift", "evolve", "late", "outage", "outliers", "restate"}
    # The one file of returns that the call has is a bad one, so no new column reaches the loader.
    assert {row["scenario"] for row in read_scenarios(tmp_path / "out")} == scenarios - {"evolve"}


# Wrong switches


@pytest.mark.parametrize(
    ("call", "flag"),
    [
        (lambda: parse_defects("bad_email,typo"), "--defects"),
        (lambda: parse_late("soon"), "--late"),
        (lambda: parse_late("31d"), "--late"),
        (lambda: parse_evolve(["returns"]), "--evolve"),
        (lambda: parse_evolve(["returns:a", "returns:b"]), "--evolve"),
        (lambda: parse_drifts(["prices:0"]), "--drift"),
        (lambda: parse_drifts(["prices:2@2024-13-01"]), "--drift"),
        (lambda: parse_drifts(["hopes:2"]), "--drift"),
    ],
)
def test_a_switch_that_cannot_be_read_is_one_clear_error(call, flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.where == flag
    assert all((caught.value.expected, caught.value.found, caught.value.next_step))


@pytest.mark.parametrize(
    ("switches", "flag"),
    [
        ({"restate": START - timedelta(days=1)}, "--restate"),
        ({"outage": START + timedelta(days=9)}, "--outage"),
        ({"outage": START, "restate": START}, "--outage"),
        ({"drifts": parse_drifts(["prices:2@2020-01-01"])}, "--drift"),
        ({"evolve": {"unicorns": "colour"}}, "--evolve"),
        ({"evolve": {"returns": "reason"}}, "--evolve"),
        ({"bad_files": ("torn",)}, "--bad-file"),
        ({"cdc": True}, "--cdc"),
    ],
)
def test_a_switch_that_cannot_be_carried_out_writes_nothing(switches: dict, flag: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        generate_data(CONTRACTS, tmp_path / "out", 1, START, 2, 0.01, scenarios=Scenarios(**switches))
    assert flag in caught.value.where
    assert not (tmp_path / "out").exists()

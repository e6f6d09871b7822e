"""Contracts: the real ones parse, and every mistake is one error that says where, what is wanted, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lakeops.contract import Contracts, Load, load_contracts
from lakeops.errors import ContractError, get_exit_code

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
sources:
  - name: shop
    tables:
      - name: sales
        config:
          freshness: {warn_after: {count: 90, period: minute}, error_after: {count: 2, period: day}}
          meta:
            load:
              files: ["sales/**/*.csv"]
              format: csv
              mode: append
              key: [sale_id]
              derive: {day: "CAST(sold_at AS DATE)"}
              time_zone: Australia/Sydney
        columns:
          - name: sale_id
            data_type: bigint
          - name: sold_at
            data_type: timestamp
          - name: fee
            data_type: decimal(12,2)
            data_tests:
              - accepted_range: {arguments: {min_value: 0}, config: {severity: warn, meta: {on_fail: warn}}}
              - unique
          - name: day
            data_type: date
"""


def load(folder: Path, text: str) -> Contracts:
    (folder / "shop.yml").write_text(text)
    return load_contracts(folder)


def get_line(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_contract_is_read_as_it_is_written(tmp_path: Path) -> None:
    (contract,) = load(tmp_path, GOOD).tables
    assert contract.name == "shop.sales"
    assert {column.name: str(column.type) for column in contract.columns} == {
        "sale_id": "bigint", "sold_at": "timestamp", "fee": "decimal(12,2)", "day": "date"}  # fmt: skip
    assert [column.name for column in contract.file_columns] == ["sale_id", "sold_at", "fee"]
    assert contract.freshness == {"warn": 1.5, "error": 48.0}
    # Only tests on a row are the loader's; a key is never null, whether the contract says so or not.
    assert [(rule.test, rule.column, rule.on_fail) for rule in contract.expectations] == [
        ("accepted_range", "fee", "warn"), ("not_null", "sale_id", "quarantine")]  # fmt: skip
    assert contract.load.on_new_column == "refuse"


def test_the_projects_own_contracts_parse() -> None:
    contracts = load_contracts(ROOT / "dbt" / "models")
    assert len(contracts.tables) == 11
    assert len({contract.name for contract in contracts.tables}) == 11
    for contract in contracts.tables:
        columns = {column.name for column in contract.columns}
        assert contract.file.is_file()
        assert set(contract.load.key) <= columns
        assert contracts.get_table(contract.table) is contract
        assert contracts.get_table(contract.name) is contract
    assert contracts.records


MISTAKES = [
    # what is written, what is written instead, what the error names: the line of, and a word of `found`
    ("format: csv", "fromat: csv", "fromat: csv", "fromat"),
    ("mode: append", "mdoe: append", "mdoe", "mdoe"),
    ("format: csv", "format: xml", "format: xml", "xml"),
    ("mode: append", "mode: upsert", "mode: upsert", "upsert"),
    ("              format: csv\n", "", "load:", "nothing"),
    ('files: ["sales/**/*.csv"]', "files: []", "files: []", "[]"),
    ('files: ["sales/**/*.csv"]', 'files: ["../x/*.csv"]', "load:", "../x"),
    ("mode: append", "delimiter: '\"'", "load:", "delimiter"),
    ('files: ["sales/**/*.csv"]', 'files: ["/x/*.csv"]', "load:", "/x"),
    ("key: [sale_id]", "key: [saleid]", "key: [saleid]", "saleid"),
    ("key: [sale_id]", "key: []", "key: []", "[]"),
    ("key: [sale_id]", "key: [day]", "key: [day]", "day"),
    ("key: [sale_id]", "key: [sale_id]\n              sequence_by: [sold]", "sequence_by", "sold"),
    ("key: [sale_id]", "key: [sale_id]\n              business_date: nope", "business_date", "nope"),
    ("key: [sale_id]", 'key: [sale_id]\n              delimiter: "||"', "delimiter", "||"),
    ("derive: {day:", "derive: {dai:", "derive", "dai"),
    ("time_zone: Australia/Sydney", "time_zone: Australia/Sidney", "time_zone", "Sidney"),
    ("time_zone: Australia/Sydney", "time_zone: ../../etc/passwd", "time_zone", "passwd"),
    ("data_type: bigint", "data_type: int", "data_type: int", "'int'"),
    ("data_type: bigint", "data_tipe: bigint", "data_tipe", "data_tipe"),
    # dbt's own words, without which a contract, its limits or a rule would silently not be there
    ("sources:", "surces:", "surces", "surces"),
    ("tables:", "tabels:", "tabels", "tabels"),
    ("config:\n", "confg:\n", "confg", "confg"),
    ("meta:\n", "mata:\n", "mata", "mata"),
    ("load:\n", "laod:\n", "laod", "laod"),
    ("freshness:", "freshnes:", "freshnes:", "freshnes"),
    ("columns:", "colums:", "colums", "colums"),
    ("data_tests:", "data_test:", "data_test:", "data_test"),
    ("decimal(12,2)", "decimal(39,2)", "decimal(39", "decimal(39,2)"),
    ("decimal(12,2)", "decimal(2,3)", "decimal(2", "decimal(2,3)"),
    ("decimal(12,2)", "decimal", "data_type: decimal", "'decimal'"),
    ("name: fee", "name: Fee", "name: Fee", "Fee"),
    ("name: fee", "name: _batch_id", "name: _batch_id", "_batch_id"),
    ("name: fee", "name: no", "name: no", "False"),  # YAML's
    ("name: sales", "name: 2024", "name: 2024", "2024"),
    ("name: sales", "name: ../sales", "name: ../sales", "../sales"),
    ("name: shop", "name: Shop", "name: Shop", "Shop"),
    ("severity: warn, meta", "meta", "accepted_range", "severity: error"),
    ("on_fail: warn", "on_fail: warm", "accepted_range", "warm"),
    ("{min_value: 0}", "{minimum: 0}", "accepted_range", "minimum"),
    ("{min_value: 0}", "{min_value: low}", "accepted_range", "min_value: low"),
    ("{min_value: 0}", "{min_value: 2024-01-01}", "accepted_range", "min_value: 2024-01-01"),
    ("{min_value: 0}", "{max_value: .inf}", "accepted_range", "max_value: inf"),
    ("{min_value: 0}", "{inclusive: false}", "accepted_range", "no bound"),
    ("{min_value: 0}", "{min_value: 0, inclusive: 'no'}", "accepted_range", "'no'"),
    (
        "data_type: date\n",
        "data_type: date\n            data_tests: [accepted_range: {arguments: {min_value: 2024-02-30}}]",
        "accepted_range: {arguments: {min_value: 2024",
        "2024-02-30: day is out of range",
    ),
    (
        "data_type: date\n",
        "data_type: date\n            data_tests: [accepted_range: {arguments: {min_value: 1/2/24}}]",
        "accepted_range: {arguments: {min_value: 1/",
        "min_value: 1/2/24",
    ),
    ("data_type: decimal(12,2)", "data_type: varchar", "accepted_range", "min_value: 0"),
    ("mode: append", "encoding: latin1-x", "encoding", "latin1-x"),
    ("mode: append", "encoding: hex", "encoding", "hex"),
    ("mode: append", "encoding: unicode_escape", "encoding", "unicode_escape"),
    ("format: csv", "format: xlsx\n              encoding: latin-1", "load:", "latin-1"),
    ("period: day", "period: dya", "error_after", "dya"),
    ("      - name: sales\n", "      - name: sales\n       oops\n", "oops", ""),
    ("name: shop\n", "name: shop\n  tables: [}\n", "tables: [}", ""),
]


@pytest.mark.parametrize(("right", "wrong", "line_of", "found"), MISTAKES, ids=[wrong for _, wrong, _, _ in MISTAKES])
def test_a_mistake_is_one_error_with_its_place_and_a_remedy(
    tmp_path: Path, right: str, wrong: str, line_of: str, found: str
) -> None:
    assert GOOD.count(right) == 1
    text = GOOD.replace(right, wrong)
    with pytest.raises(ContractError) as raised:
        load(tmp_path, text)
    error = raised.value
    place = re.match(r"(.+?):(\d+)", error.where)
    assert place, error.where
    assert place[1] == str(tmp_path / "shop.yml")
    # YAML may notice a syntax error one line late, or on the line where the block began.
    slack = 1 if not found else 0
    assert abs(int(place[2]) - get_line(text, line_of)) <= slack, error.where
    assert found in error.found
    assert error.next_step
    assert get_exit_code(error) == 10
    assert "Traceback" not in str(error)


def test_an_encoding_has_one_name(tmp_path: Path) -> None:
    for name, known in (("UTF8", "utf-8"), ("latin-1", "iso8859-1"), ("windows-1252", "cp1252")):
        (contract,) = load(tmp_path, GOOD.replace("mode: append", f"encoding: {name}")).tables
        assert contract.load.encoding == known


@pytest.mark.parametrize("key", list(Load.model_fields))
def test_a_typo_in_any_load_key_is_named_and_the_right_key_offered(tmp_path: Path, key: str) -> None:
    parsed = yaml.safe_load(GOOD)
    settings = parsed["sources"][0]["tables"][0]["config"]["meta"]["load"]
    settings[key + "x"] = settings.pop(key, "anything")
    with pytest.raises(ContractError) as raised:
        load(tmp_path, yaml.safe_dump(parsed))
    # A key that must be there may be missed first; either way the error names it.
    assert key in str(raised.value)
    assert re.search(r"shop\.yml:\d+", raised.value.where)


@pytest.mark.parametrize("column", ["sale_id", "fee"])
def test_a_column_twice_is_an_error(tmp_path: Path, column: str) -> None:
    text = GOOD + f"          - name: {column}\n            data_type: bigint\n"
    with pytest.raises(ContractError, match=column) as raised:
        load(tmp_path, text)
    assert "shop.yml" in raised.value.where


def test_a_table_twice_is_an_error_also_in_two_sources(tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text(GOOD.replace("name: shop", "name: other"))
    with pytest.raises(ContractError, match="sales"):
        load(tmp_path, GOOD)


def test_a_table_that_would_share_a_place_with_the_changes_of_another_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text(GOOD.replace("name: shop", "name: other").replace("sales\n", "sales_changes\n"))
    assert len(load(tmp_path, GOOD).tables) == 2
    with pytest.raises(ContractError, match="sales_changes"):
        load(tmp_path, GOOD.replace("mode: append", "mode: merge"))


def test_an_unknown_table_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as raised:
        load(tmp_path, GOOD).get_table("sale")
    assert "shop.sales" in raised.value.expected


@pytest.mark.parametrize("text", ["", "models: []\n", "sources:\n", "sources: []\n", "# sources:\n", "version: 2\n"])
def test_yaml_without_contracts_is_none_of_our_business(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).tables == ()

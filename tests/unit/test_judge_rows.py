"""Judging: every row is accepted or has one fault; expectations as dbt would see them; nothing lost without a word."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeops.contract import Contract, load_contracts
from lakeops.errors import ContractError
from lakeops.judge import Judged, judge_header, judge_rows, read_path_values
from lakeops.raw import RefusedFile, read_file

FAST = settings(deadline=None, derandomize=True, max_examples=120)


def make_contract(folder: Path, load: str = "", columns: str = "", file_format: str = "csv") -> Contract:
    """Write a contract of one table; `id` is its key."""
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "t.yml").write_text(f"""
sources:
  - name: shop
    tables:
      - name: t
        config: {{meta: {{load: {{files: ["t/**/*"], format: {file_format}, key: [id]{load}}}}}}}
        columns:
          - {{name: id, data_type: bigint}}
{columns}""")
    return load_contracts(folder / "models").tables[0]


def judge(contract: Contract, path: dict[str, str] | None = None, **columns: list) -> Judged:
    """Judge columns of text; lines count from 2."""
    height = len(next(iter(columns.values())))
    columns.setdefault("id", [str(n) for n in range(height)])
    rows = pl.DataFrame(columns, schema_overrides={name: pl.String for name in columns if name != "_absent"})
    header = judge_header(pl.Schema({name: dtype for name, dtype in rows.schema.items() if name[0] != "_"}), contract)
    assert not header.refusal
    judged = judge_rows(rows.with_columns(_source_row=pl.int_range(2, height + 2, dtype=pl.Int64)), contract,
                        path or {}, header)  # fmt: skip
    lines = sorted([*judged.accepted["_source_row"], *judged.faults["_source_row"]])
    assert lines == list(range(2, height + 2)), "every row once, accepted or at fault"
    return judged


def get_faults(judged: Judged) -> list[tuple]:
    return judged.faults.rows()


def test_a_fault_names_line_column_type_and_value(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, columns="          - {name: fee, data_type: 'decimal(6,2)'}\n")
    judged = judge(contract, id=["1", "x", None, "4", "", "6"], fee=["1.50", "1", "2", "1.234", "y", None])
    assert get_faults(judged) == [
        (3, "bad_value", "id", "expected bigint, found 'x'"),
        (4, "missing_key", "id", "the key is empty"),
        (5, "bad_value", "fee", "expected decimal(6,2), found '1.234'"),
        (6, "bad_value", "fee", "expected decimal(6,2), found 'y'"),
    ]
    assert judged.accepted.rows() == [(1, Decimal("1.50"), 2), (6, None, 7)]


def test_a_quoted_empty_field_is_null_in_a_number_and_text_in_a_text(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, columns="          - {name: n, data_type: double}\n"
                             "          - {name: s, data_type: varchar}\n")  # fmt: skip
    assert judge(contract, n=[""], s=[""]).accepted.rows() == [(0, None, "", 2)]


RULE = "          - {{name: v, data_type: '{kind}', data_tests: [{rule}]}}\n"


@pytest.mark.parametrize(
    ("kind", "rule", "good", "bad"),
    [
        ("varchar", "not_null", ["x", " x "], [None, "", " ", "\t"]),
        ("varchar", "accepted_values: {arguments: {values: [A, B]}}", ["A", None], ["a", "", "AB"]),
        ("bigint", "accepted_values: {arguments: {values: [1, 2]}}", ["1", None], ["3"]),
        ("decimal(6,2)", "accepted_values: {arguments: {values: [1.5, '2.50']}}", ["1.50", "1.5", "2.5"], ["1.51"]),
        ("boolean", "accepted_values: {arguments: {values: [true]}}", ["true", "TRUE"], ["false"]),
        ("date", "accepted_values: {arguments: {values: [2024-01-01]}}", ["2024-01-01"], ["2024-01-02"]),
        ("bigint", "accepted_range: {arguments: {min_value: 1}}", ["1", "9223372036854775807", None], ["0"]),
        ("bigint", "accepted_range: {arguments: {max_value: 1.5}}", ["1"], ["2"]),
        ("bigint", "accepted_range: {arguments: {min_value: 1.5, inclusive: false}}", ["2"], ["1"]),
        ("bigint", "accepted_range: {arguments: {min_value: 2, inclusive: false}}", ["3"], ["2"]),
        ("bigint", "accepted_range: {arguments: {max_value: 1.0e+30}}", ["9223372036854775807"], []),
        ("bigint", "accepted_range: {arguments: {min_value: 1.0e+30}}", [None], ["9223372036854775807"]),
        ("decimal(6,2)", "accepted_range: {arguments: {min_value: 0, max_value: 1}}", ["0", "1.00"], ["-0.01", "1.01"]),
        ("decimal(6,2)", "accepted_range: {arguments: {min_value: 0.123}}", ["0.13"], ["0.12"]),
        ("decimal(38,0)", "accepted_range: {arguments: {max_value: 5}}", ["5"], ["9" * 38]),
        ("decimal(38,20)", "accepted_range: {arguments: {min_value: 0, inclusive: false}}",
         ["0." + "0" * 19 + "1"], ["0"]),
        ("double", "accepted_range: {arguments: {min_value: 0.1, max_value: 1}}", ["0.1", "1e0"], ["0.09", "1.1"]),
        ("date", "accepted_range: {arguments: {min_value: 2024-01-02}}", ["2024-01-02", None], ["2024-01-01"]),
        ("timestamp", "accepted_range: {arguments: {max_value: '2024-01-01 12:00:00', inclusive: false}}",
         ["2024-01-01T11:59:59"], ["2024-01-01T12:00:00"]),
        ("varchar", "matches_regex: {arguments: {regex: '^[A-Z]{2}$'}}", ["AB", None], ["ABC", "ab", ""]),
    ],
)  # fmt: skip
def test_expectations(tmp_path: Path, kind: str, rule: str, good: list, bad: list) -> None:
    contract = make_contract(tmp_path, columns=RULE.format(kind=kind, rule=rule))
    assert judge(contract, v=good).accepted.height == len(good)
    judged = judge(contract, v=[*good, *bad])
    assert judged.faults["_source_row"].to_list() == list(range(len(good) + 2, len(good) + len(bad) + 2))
    assert judged.faults["reason"].unique().to_list() == ["expectation_failed"] * bool(bad)


numbers = st.decimals(-99, 99, places=2)


@FAST
@given(st.lists(st.one_of(st.none(), numbers), min_size=1), numbers, numbers, st.booleans())
def test_ranges_agree_with_decimal(
    tmp_path_factory: pytest.TempPathFactory, values: list[Decimal | None], low: Decimal, high: Decimal, inclusive: bool
) -> None:
    rule = (
        f"accepted_range: {{arguments: {{min_value: {low}, max_value: {high}, inclusive: {str(inclusive).lower()}}}}}"
    )
    contract = make_contract(tmp_path_factory.getbasetemp(), columns=RULE.format(kind="decimal(8,3)", rule=rule))
    judged = judge(contract, v=[None if value is None else str(value) for value in values])
    kept = [v for v in values if v is None or (low <= v <= high if inclusive else low < v < high)]
    assert judged.accepted["v"].to_list() == kept


def test_warnings_and_refusals_are_counted_and_do_not_quarantine(tmp_path: Path) -> None:
    warn = "config: {severity: warn, meta: {on_fail: warn}}"
    contract = make_contract(tmp_path, columns=RULE.format(kind="bigint", rule=
        f"accepted_range: {{arguments: {{min_value: 0}}, {warn}}}, "
        "accepted_values: {arguments: {values: [-1, 0, 1, 2]}, config: {meta: {on_fail: refuse}}}"))  # fmt: skip
    judged = judge(contract, v=["1", "-1", "5", "x", "-7"])
    assert judged.accepted.height == 4
    assert judged.warnings == {"v accepted_range(min_value=0)": 2}
    assert judged.refusals["_source_row"].to_list() == [4, 6]
    assert judged.refusals["detail"][0].endswith("found '5'")
    # What is in quarantine anyway neither warns nor refuses.
    assert judge(contract, id=["x"], v=["-7"]).refusals.height == 0


@pytest.mark.parametrize(("on_bad_value", "accepted", "refused"), [("quarantine", 1, 0), ("refuse", 2, 1)])
def test_bad_values_by_contract(tmp_path: Path, on_bad_value: str, accepted: int, refused: int) -> None:
    contract = make_contract(tmp_path, f", on_bad_value: {on_bad_value}", RULE.format(kind="date", rule=""))
    judged = judge(contract, v=["2024-02-30", "2024-02-29"])
    assert (judged.accepted.height, judged.refusals.height) == (accepted, refused)


def test_a_value_that_does_not_fit_is_not_a_missing_one(tmp_path: Path) -> None:
    rule = RULE.format(kind="bigint", rule="not_null: {config: {meta: {on_fail: quarantine}}}")
    contract = make_contract(tmp_path, ", on_bad_value: refuse", rule)
    judged = judge(contract, id=["x", "2", "3"], v=["1", "y", None])
    assert [row[:3] for row in judged.refusals.rows()] == [(2, "bad_value", "id"), (3, "bad_value", "v")]
    assert [fault[:3] for fault in get_faults(judged)] == [(4, "expectation_failed", "v")]


def test_rescue_keeps_what_does_not_fit_word_for_word(tmp_path: Path) -> None:
    contract = make_contract(
        tmp_path, ", on_bad_value: rescue, on_new_column: rescue", RULE.format(kind="date", rule="")
    )
    judged = judge(contract, id=["1", "2", "x"], v=["2024-02-30", "", None], more=["é", None, "m"])
    assert judged.accepted.select("id", "v", "_rescued").rows() == [
        (1, None, '{"more": "é", "v": "2024-02-30"}'), (2, None, None)]  # fmt: skip
    assert get_faults(judged) == [(4, "bad_value", "id", "expected bigint, found 'x'")]


def test_what_json_cannot_hold_is_rescued_as_text(tmp_path: Path) -> None:
    contract = make_contract(
        tmp_path, ", on_bad_value: rescue", RULE.format(kind="bigint", rule=""), file_format="parquet"
    )
    rows = pl.DataFrame({"id": [1, 2, 3], "v": [float("nan"), 2.5, float("-inf")], "_source_row": [1, 2, 3]})
    rescued = [
        json.loads(text, parse_constant=pytest.fail) for text in judge_rows(rows, contract, {}).accepted["_rescued"]
    ]
    assert rescued == [{"v": "nan"}, {"v": 2.5}, {"v": "-inf"}]


def test_a_day_that_python_does_not_know_is_a_bad_value_wherever_it_stands(tmp_path: Path) -> None:
    far = pl.Series([3_000_000, 1], dtype=pl.Int32).cast(pl.Date)
    rows = pl.DataFrame({"id": [1, 2], "v": far.cast(pl.Datetime("us")), "more": far, "_source_row": [1, 2]})
    contract = make_contract(tmp_path, ", on_new_column: rescue", RULE.format(kind="date", rule=""), "parquet")
    judged = judge_rows(rows, contract, {}, judge_header(rows.drop("_source_row").schema, contract))
    assert judged.accepted.select("v", "_rescued").rows() == [(dt.date(1970, 1, 2), '{"more": "1970-01-02"}')]
    assert get_faults(judged) == [(1, "bad_value", "v", "expected date, found '+10183-09-21 00:00:00.000000'")]
    contract = make_contract(tmp_path, ", on_bad_value: rescue", RULE.format(kind="date", rule=""), "parquet")
    for v in (far, far.cast(pl.Datetime("us"))):
        rescued = judge_rows(rows.select("id", v.alias("v"), "_source_row"), contract, {}).accepted["_rescued"]
        assert ["10183" in (text or "") for text in rescued] == [True, False]


def test_aliases_new_columns_and_ignored_ones(tmp_path: Path) -> None:
    contract = make_contract(
        tmp_path, ", aliases: {v: [w]}, on_new_column: evolve", RULE.format(kind="bigint", rule="")
    )
    assert judge(contract, w=["7"], more=["m"]).accepted.to_dicts() == [
        {"id": 0, "v": 7, "more": "m", "_source_row": 2}
    ]
    contract = make_contract(tmp_path, ", on_new_column: ignore", RULE.format(kind="bigint", rule=""))
    assert judge(contract, v=["7"], more=["m"]).accepted.columns == ["id", "v", "_source_row"]


def test_what_is_derived_of_what_a_record_leaves_out_is_left_out_unless_its_folder_says_it(tmp_path: Path) -> None:
    derive = '{day: "COALESCE(local, dt)", long: "COALESCE(v, 0) + 1", longer: "long + 1"}'
    kinds = {"local": "date", "v": "bigint", "day": "date", "long": "bigint", "longer": "bigint"}
    contract = make_contract(
        tmp_path,
        f", mode: merge, partial_updates: true, folders: [dt], derive: {derive}",
        "".join(f"          - {{name: {name}, data_type: {kind}}}\n" for name, kind in kinds.items()),
        "jsonl",
    )
    left_out = {"local": [None, "2024-01-02"], "v": ["1", None], "_absent": [["local"], ["v"]]}
    judged = judge(contract, {"dt": "2024-01-01"}, **left_out)
    assert [json.loads(names) for names in judged.accepted["_absent"]] == [["local"], ["v", "long", "longer"]]
    assert judged.accepted["day"].to_list() == [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]


def test_deletes_need_only_their_key(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, ", mode: merge, delete_when: \"op = 'D'\", on_new_column: ignore",
                             RULE.format(kind="bigint", rule="not_null"))  # fmt: skip
    judged = judge(contract, id=["1", "2", None, "4"], v=["1", None, None, None], op=["I", "D", "D", None])
    assert judged.accepted.select("id", "_is_deleted").rows() == [(1, False), (2, True)]
    assert [fault[:2] for fault in get_faults(judged)] == [(4, "missing_key"), (5, "expectation_failed")]


def test_without_the_operation_a_file_is_refused_and_a_json_object_deletes_nothing(tmp_path: Path) -> None:
    merge = ", mode: merge, delete_when: \"op = 'D'\", on_new_column: ignore"
    contract = make_contract(tmp_path, merge)
    assert judge_header(pl.Schema({"id": pl.String}), contract).refusal.startswith("missing column op;")
    assert not judge_header(pl.Schema({"id": pl.String, "op": pl.String}), contract).refusal
    contract = make_contract(tmp_path, ", mode: merge, delete_when: \"op = 'D'\"")
    assert not judge_header(pl.Schema({"id": pl.String, "op": pl.String}), contract).refusal, "it is no unknown column"
    contract = make_contract(tmp_path, merge, file_format="jsonl")
    assert judge(contract, id=["1", "2"]).accepted["_is_deleted"].to_list() == [False, False]


@pytest.mark.parametrize("config", ["{where: \"kind = 'x'\"}", "{enabled: false}"])
def test_a_test_that_dbt_does_not_run_on_every_row_keeps_none_out(tmp_path: Path, config: str) -> None:
    rule = RULE.format(kind="varchar", rule=f"not_null: {{config: {config}}}")
    assert judge(make_contract(tmp_path, columns=rule), v=[None]).accepted.height == 1
    contract = make_contract(tmp_path)
    file = tmp_path / "models" / "t.yml"
    file.write_text(file.read_text().replace("bigint}", f"bigint, data_tests: [{{not_null: {{config: {config}}}}}]}}"))
    contract = load_contracts(tmp_path / "models").tables[0]
    assert judge(contract, id=[None]).faults["reason"].to_list() == ["missing_key"]


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("varchar", "[AU, NZ, NO]", "text, not False: put it in quotes"),
        ("varchar", "[01, 02]", "text, not 1: put it in quotes"),
        ("varchar", "AU", "a list, not 'AU'"),
        ("bigint", "[1, x]", "a number, not 'x'"),
        ("boolean", "[1]", "true or false, not 1"),
        ("date", "[01/04/2024]", "a day, as 2024-04-01, not '01/04/2024'"),
    ],
)
def test_accepted_values_that_a_column_cannot_hold_are_an_error_of_the_contract(
    tmp_path: Path, kind: str, values: str, told: str
) -> None:
    rule = f"accepted_values: {{arguments: {{values: {values}}}}}"
    with pytest.raises(ContractError) as raised:
        make_contract(tmp_path, columns=RULE.format(kind=kind, rule=rule))
    assert raised.value.expected == told


# -- derived columns -------------------------------------------------------------------------------------------------

DERIVED = "          - {name: day, data_type: date}\n"


def test_a_column_from_the_path(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, ', folders: [order_dt, dt], derive: {day: "COALESCE(order_dt, dt)"}', DERIVED)
    path = read_path_values("data_raw/t/dt=2024-02-29/part.csv")
    assert judge(contract, path, id=["1", "2"]).accepted["day"].to_list() == [dt.date(2024, 2, 29)] * 2
    assert judge(contract, {}, id=["1", "2"]).accepted["day"].to_list() == [None, None]
    assert judge(contract, path, id=[]).accepted.columns == ["id", "day", "_source_row"]


def test_folders_are_read_as_hive_writes_them() -> None:
    path = read_path_values("data_raw/t/region=New%20York/dt=__HIVE_DEFAULT_PARTITION__/a=b%3Dc/part.csv")
    assert path == {"region": "New York", "dt": None, "a": "b=c"}


def test_a_folder_that_is_no_date_is_a_fault_and_no_null(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, ", folders: [dt], derive: {day: dt}", DERIVED)
    judged = judge(contract, {"dt": "2024-02-30"}, id=["1", "2"])
    assert get_faults(judged) == [(n, "bad_value", "day", "expected date, found '2024-02-30'") for n in (2, 3)]


def test_a_derived_column_that_the_file_brings_is_taken_from_the_file(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, ", derive: {day: day}", DERIVED)
    assert judge(contract, {"day": "2024-01-01"}, day=["2024-05-05"]).accepted["day"].to_list() == [dt.date(2024, 5, 5)]
    assert judge(contract, {"day": "2024-01-01"}, id=["1"]).accepted["day"].to_list() == [dt.date(2024, 1, 1)]


def test_a_derivation_that_fails_on_a_row_refuses_the_file(tmp_path: Path) -> None:
    columns = DERIVED + "          - {name: v, data_type: varchar%s}\n"
    derive = ", derive: {day: DATE(v)}"
    contract = make_contract(tmp_path, derive, columns % "")
    assert judge(contract, v=["2024-01-01"]).accepted["day"].to_list() == [dt.date(2024, 1, 1)]
    with pytest.raises(RefusedFile, match=r"not_computed: load\.derive\.day, DATE\(v\): .*Jane") as refused:
        judge(contract, v=["2024-01-01", "Jane"])
    assert "TRY_CAST" in refused.value.next_step
    contract = make_contract(tmp_path, derive, columns % ", config: {meta: {personal: true}}")
    with pytest.raises(RefusedFile, match="not_computed") as refused:
        judge(contract, v=["2024-01-01", "Jane"])
    assert "Jane" not in str(refused.value)


def test_a_derivation_that_holds_for_no_row_names_the_contract(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, ", derive: {day: ABS(v)}", DERIVED + RULE.format(kind="varchar", rule=""))
    with pytest.raises(ContractError) as raised:
        judge(contract, v=["x"])
    assert "TRY_CAST" in raised.value.expected
    assert "load.derive.day" in raised.value.next_step


# -- the general rule ------------------------------------------------------------------------------------------------

COLUMNS = """          - {name: n, data_type: bigint, data_tests: [not_null]}
          - {name: m, data_type: 'decimal(6,2)', data_tests: [accepted_range: {arguments: {min_value: 0}}]}
          - {name: t, data_type: timestamp}
          - {name: s, data_type: varchar, data_tests: [matches_regex: {arguments: {regex: '^[^!]*$'}}]}
"""
cells = st.sampled_from(["1", "-1", "2.50", "2.555", "", '""', "x", "!", "NaN", "1e400", "1,5", "2024-01-01T00:00:00",
                         "2024-02-30T00:00:00", '"a\nb"', '"a""b"', "a\0b", '"a"b', "007"])  # fmt: skip
lines = st.one_of(
    st.lists(cells, min_size=5, max_size=5),
    st.tuples(st.integers(1, 9).map(str), st.just("1"), st.just("2.5"), st.just(""), st.just("ok")).map(list),
    st.lists(cells, min_size=2, max_size=6),
)


@FAST
@given(st.lists(lines, max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_rows_read_are_accepted_faulty_or_broken(
    tmp_path_factory: pytest.TempPathFactory, records: list[list[str]], ending: str
) -> None:
    contract = make_contract(tmp_path_factory.getbasetemp(), columns=COLUMNS)
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_bytes(ending.join(["id,n,m,t,s", *map(",".join, records), ""]).encode())
    accepted, faults, broken = [], [], []
    for chunk in read_file(path, contract):
        judged = judge_rows(chunk.rows, contract, {})
        accepted += judged.accepted["_source_row"].to_list()
        faults += judged.faults["_source_row"].to_list()
        broken += chunk.broken["_source_row"].to_list()
        raw = chunk.get_raw(faults)
        assert all(raw[line] for line in faults)
    # Counted by other means: line breaks inside values are the only ones that begin no record.
    begins, line = [], 2
    for record in records:
        begins.append(line)
        line += 1 + ",".join(record).count("\n")
    assert sorted(accepted + faults + broken) == begins


def test_a_file_in_which_every_row_is_bad(tmp_path: Path) -> None:
    contract = make_contract(tmp_path, columns=COLUMNS)
    size = 200_000
    judged = judge(contract, id=["x"] * size, n=["1"] * size, m=["-1"] * size, t=["y"] * size, s=["!"] * size)
    assert judged.faults.height == size
    assert judged.faults["column_name"].unique().to_list() == ["id"]

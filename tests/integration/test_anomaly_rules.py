"""Rules of a contract: only those that were back-tested judge days; what they find is counted, shown and explained."""

from __future__ import annotations

import datetime as dt

import pytest

from conftest import DAY, Project, sales
from lakeops.contract import load_contracts
from lakeops.delta import open_table, read_frame
from lakeops.errors import ContractError
from lakeops.quality import judge_new_days, profile_new_days, run_backtest

NOW = dt.datetime(2024, 9, 1, 12, tzinfo=dt.UTC)
PLACE = '          meta:\n            load:\n              files: ["sales'
ON = 'reason: "as a test wants it", backtest: "2024-09-01: 0 of 6 days"'


def add_rules(project: Project, *rules: str) -> None:
    listed = "".join(f"              - {{{rule}}}\n" for rule in rules)
    start = PLACE.removesuffix('            load:\n              files: ["sales')
    project.change_contract(PLACE, f"{start}            anomalies:\n{listed}{PLACE.removeprefix(start)}")


def land_week(project: Project, week: int, count: int, amount: float = 10, *more: float) -> None:
    day = DAY + dt.timedelta(weeks=week)
    amounts = [amount + number % 5 for number in range(count)] + list(more)
    rows = [(week * 1000 + number, day, value) for number, value in enumerate(amounts)]
    project.land(f"sales/{day}.csv", sales(*rows))


def judge(project: Project) -> list[str]:
    contracts = load_contracts(project.settings.models)
    project.load()
    profile_new_days(project.settings, contracts, NOW)
    return judge_new_days(project.settings, contracts, NOW)


def read_verdicts(project: Project) -> dict[dt.date, dict]:
    frame = read_frame(open_table(project.settings.lake.ops("data_anomalies")))
    return {row["business_date"]: row for row in frame.iter_rows(named=True)}


def test_a_day_that_is_not_as_usual_is_said_with_its_cause(project: Project):
    add_rules(project, f"measure: volume, threshold: 5, {ON}")
    for week in range(5):
        land_week(project, week, 100)
    assert judge(project) == []
    land_week(project, 5, 20)
    (said,) = judge(project)
    assert "bronze.sales 2024-05-06: volume: 20, usually 100" in said
    assert "files are missing" in said
    verdicts = read_verdicts(project)
    assert [verdict["is_anomaly"] for _, verdict in sorted(verdicts.items())] == [False] * 5 + [True]
    assert verdicts[DAY]["distance"] is None
    assert judge(project) == []


def test_a_rule_without_a_back_test_judges_nothing_and_is_tried(project: Project):
    add_rules(project, 'measure: volume, threshold: 5, reason: "as a test wants it"')
    for week, count in enumerate((100, 100, 100, 100, 100, 20)):
        land_week(project, week, count)
    assert judge(project) == []
    assert read_verdicts(project) == {}
    (tried,) = run_backtest(project.settings, load_contracts(project.settings.models))
    assert (tried.days, tried.judged, tried.warned) == (6, 2, (DAY + dt.timedelta(weeks=5),))
    assert tried.largest == 0


def test_outliers_are_counted_and_shown_with_what_they_have_in_common(project: Project):
    add_rules(project, f"measure: outliers, column: amount, threshold: 20, {ON}")
    land_week(project, 0, 100)
    land_week(project, 1, 100, 10, 9000, 9500)
    (said,) = judge(project)
    assert "bronze.sales 2024-04-08: outliers of amount: 2 of 102 rows: 9500, 9000; most are 10 to 14" in said
    assert "all of them are in" in said
    assert "sales/2024-04-08.csv" in said
    verdicts = read_verdicts(project)
    assert (verdicts[DAY]["value"], verdicts[DAY]["is_anomaly"]) == (0.0, False)


def test_outliers_of_a_column_that_is_mostly_one_value_are_found(project: Project):
    add_rules(project, f"measure: outliers, column: amount, threshold: 20, {ON}")
    project.land("sales/a.csv", sales(*((key, DAY, 1 + (key % 10 == 0)) for key in range(100)), (100, DAY, 900)))
    (said,) = judge(project)
    assert "1 of 101 rows: 900; most are 1 to 2" in said
    assert "450 times the usual" in said


def test_a_price_list_that_moved_is_a_mean_that_moved(project: Project):
    add_rules(project, f"measure: mean, column: amount, threshold: 5, {ON}")
    for week in range(6):
        land_week(project, week, 50, 10 if week < 5 else 1000)
    (said,) = judge(project)
    assert "mean of amount: 1,002, usually 12" in said


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (f"measure: volum, threshold: 5, {ON}", "volume"),
        (f"measure: volume, treshold: 5, {ON}", "did you mean 'threshold'?"),
        (f"measure: volume, threshold: 0, {ON}", "greater than 0"),
        ("measure: volume, threshold: 5", "this key must be set"),
        (f"measure: volume, column: amount, threshold: 5, {ON}", "every other measure names its column"),
        (f"measure: mean, threshold: 5, {ON}", "every other measure names its column"),
        (f"measure: mean, column: amonut, threshold: 5, {ON}", "did you mean 'amount'?"),
        (f"measure: mean, column: sale_dt, threshold: 5, {ON}", "a column of numbers"),
        (f"measure: mean, column: sale_id, threshold: 5, {ON}", "of a key there is none"),
    ],
)
def test_a_rule_that_cannot_be_used_is_one_clear_error_with_its_line(project: Project, rule: str, said: str):
    add_rules(project, rule)
    with pytest.raises(ContractError) as caught:
        load_contracts(project.settings.models)
    assert said in str(caught.value)
    assert "shop.yml:" in str(caught.value)


def test_a_misspelt_section_is_an_error_and_not_silence(project: Project):
    add_rules(project, f"measure: volume, threshold: 5, {ON}")
    project.change_contract("anomalies:", "anomlies:")
    with pytest.raises(ContractError, match="anomlies"):
        load_contracts(project.settings.models)


def test_a_table_without_business_dates_has_no_days_to_compare(project: Project):
    project.change_contract(
        'load: {files: ["clicks',
        f'anomalies: [{{measure: volume, threshold: 5, {ON}}}]\n            load: {{files: ["clicks',
    )
    with pytest.raises(ContractError) as caught:
        load_contracts(project.settings.models)
    assert "business_date" in str(caught.value)

"""A day is judged by the same weekdays before it, with a spread that is never less than chance makes."""

from __future__ import annotations

import datetime as dt

import pytest

from lakeops.quality.anomalies import Point, explain, judge_days, split_categories

MONDAY = dt.date(2024, 1, 1)


def make_weeks(*values: float, rows: int = 1000) -> dict[dt.date, Point]:
    return {MONDAY + dt.timedelta(weeks=week): Point(value, rows) for week, value in enumerate(values)}


def judge_last(measure: str, *values: float, rows: int = 1000, warm_up: int = 4):
    *_, last = judge_days(measure, make_weeks(*values, rows=rows), warm_up)
    return last


def test_a_day_with_too_little_history_is_not_judged():
    assert judge_last("volume", 100, 100, 100, 0).distance is None
    assert judge_last("volume", 100, 100, 100, 100, 0).distance is not None


def test_only_the_same_weekday_counts():
    points = make_weeks(*[100.0] * 6)
    points |= {day + dt.timedelta(days=1): Point(900.0, 900) for day in points}
    assert all(verdict.distance in (None, 0.0) for verdict in judge_days("volume", points, 4))


def test_days_older_than_twelve_weeks_do_not_count():
    verdict = judge_last("volume", *[1.0] * 10, *[100.0] * 12, 100.0)
    assert (verdict.usual, verdict.days_compared) == (100.0, 12)


def test_one_wild_day_in_the_history_does_not_make_the_next_one_usual():
    verdict = judge_last("volume", 100, 101, 99, 5000, 100, 5000)
    assert verdict.usual == 100
    assert verdict.exceeds(6)


def test_a_calm_history_does_not_page_for_what_chance_makes():
    # Half of 10,000 rows: a count of 10,000 is off by 100, a share of 50 % by half a percent.
    assert judge_last("volume", *[10_000.0] * 8, 10_300).distance == pytest.approx(3)
    assert judge_last("null_share", *[50.0] * 8, 51.5, rows=10_000).distance == pytest.approx(3)
    # A column that never had a null: one row of 40 is one unit.
    assert judge_last("null_share", *[0.0] * 8, 2.5, rows=40).distance == pytest.approx(1)
    assert judge_last("mean", *[20.0] * 8, 21.0).distance == pytest.approx(1)


def test_a_category_that_is_gone_is_a_share_of_nothing():
    first, second = MONDAY, MONDAY + dt.timedelta(weeks=1)
    series = split_categories([(first, "CARD", 60.0, 50), (first, "CASH", 40.0, 50), (second, "CARD", 100.0, 45)])
    assert series["CASH"] == {first: Point(40.0, 50), second: Point(0.0, 45)}


def test_causes_name_where_to_look():
    assert "nothing came" in explain("volume", None, judge_last("volume", *[9.0] * 5, 0))
    assert "renamed coupon" in explain("null_share", "coupon", judge_last("null_share", *[9.0] * 5, 100))
    assert "unit of price changed: 100 times" in explain("mean", "price", judge_last("mean", *[9.0] * 5, 900))
    assert "1.50 times the usual" in explain("mean", "price", judge_last("mean", *[10.0] * 5, 15))
    assert "'CASH' is gone" in explain("category_share", "paid", judge_last("category_share", *[9.0] * 5, 0), "CASH")

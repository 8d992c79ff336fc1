"""Rows are dealt to train, valid and test without a leak between them."""

from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from ratchet import settings as choices
from ratchet.errors import DataError
from ratchet.settings import Data
from ratchet.splits import split
from ratchet.table import prepare_table, read_table

TAXI = Path(__file__).parents[2] / "shared" / "data" / "nyc-green-taxi"

sizes = st.floats(0.05, 0.6)
seeds = st.integers(0, 2**32 - 1)


def by_time(**sizes):
    return choices.Split(method="time", column="when", **sizes)


def by_group(**sizes):
    return choices.Split(method="group", column="who", **sizes)


def days(first, last):
    return pd.Series(pd.date_range(first, last, freq="D"), name="when")


def covers(parts, n):
    together = np.concatenate([parts.train, parts.valid, parts.test, parts.stray])
    assert sorted(together) == list(range(n))
    for part in (parts.train, parts.valid, parts.test):
        assert len(part)
        assert (np.diff(part) > 0).all()


def same(a, b):
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("train", "valid", "test"))


@given(n=st.integers(10, 300), test=sizes, seed=seeds)
@budget(max_examples=20, deadline=None)
def test_random_parts_are_those_that_scikit_learn_draws(n, test, seed):
    drawn = train_test_split(np.arange(n), test_size=ceil(round(test * n, 9)), random_state=seed)
    parts = split(n, choices.Split(valid=0.3, test=test), seed)
    np.testing.assert_array_equal(parts.test, np.sort(drawn[1]))


@given(n=st.integers(10, 300), test=sizes, valid=sizes, seed=seeds)
@budget(max_examples=40, deadline=None)
def test_random_parts_are_disjoint_and_cover_the_table(n, test, valid, seed):
    wanted = choices.Split(valid=valid, test=test)
    parts = split(n, wanted, seed)
    covers(parts, n)
    assert len(parts.test) == int(np.ceil(round(test * n, 9)))
    assert len(parts.valid) == int(np.ceil(round(valid * (n - len(parts.test)), 9)))
    assert same(parts, split(n, wanted, seed))


def test_another_seed_is_another_split():
    assert not same(split(100, choices.Split(), 1), split(100, choices.Split(), 2))


def test_a_share_is_not_rounded_up_by_the_last_bit():
    assert 0.07 * 100 > 7
    assert len(split(100, choices.Split(test=0.07), 1).test) == 7


@given(seed=seeds, weights=st.lists(st.integers(10, 60), min_size=2, max_size=5))
@budget(max_examples=40, deadline=None)
def test_stratified_parts_hold_equal_shares_of_each_class(seed, weights):
    labels = np.repeat(np.arange(len(weights)), weights)
    wanted = choices.Split(method="stratified")
    parts = split(len(labels), wanted, seed, labels=labels)
    covers(parts, len(labels))
    for code, weight in enumerate(weights):
        assert abs((labels[parts.test] == code).sum() - 0.2 * weight) <= 1
        assert abs((labels[parts.valid] == code).sum() - 0.16 * weight) <= 2
    assert same(parts, split(len(labels), wanted, seed, labels=labels))


@given(seed=seeds, groups=st.lists(st.integers(0, 20), min_size=30, max_size=200))
@budget(max_examples=40, deadline=None)
def test_no_group_is_on_two_sides(seed, groups):
    who = pd.Series([f"g{group}" for group in (*groups, 0, 1, 2)])
    parts = split(len(who), by_group(), seed, by=who)
    covers(parts, len(who))
    sides = [set(who[part]) for part in (parts.train, parts.valid, parts.test)]
    assert sum(len(side) for side in sides) == len(set.union(*sides))
    assert same(parts, split(len(who), by_group(), seed, by=who))


def test_the_order_of_the_rows_does_not_decide_which_groups_are_test():
    who = pd.Series(list("aabbccddeeffgg"))
    back = who[::-1].reset_index(drop=True)
    one, other = split(14, by_group(), 5, by=who), split(14, by_group(), 5, by=back)
    assert set(who[one.test]) == set(back[other.test])


def test_groups_of_very_different_size_are_noted():
    who = pd.Series(["big"] * 80 + list("abcdefghi") * 2)
    notes = {note for seed in range(20) for note in split(98, by_group(), seed, by=who).notes}
    assert (
        "test holds 84% of the rows for a share of 0.2, since rows of a group stay together."
        in notes
    )


@given(
    hours=st.lists(st.integers(0, 500), min_size=3, max_size=200).filter(
        lambda hours: len(set(hours)) > 2
    ),
    test=sizes,
    valid=sizes,
)
@budget(max_examples=60, deadline=None)
def test_train_is_before_valid_and_valid_before_test(hours, test, valid):
    when = pd.Timestamp("2023-01-01") + pd.to_timedelta(pd.Series(hours), unit="h")
    wanted = by_time(valid=valid, test=test)
    try:
        parts = split(len(when), wanted, 0, by=when)
    except DataError as error:
        assert "takes all of the" in str(error)
        return
    covers(parts, len(when))
    assert when[parts.train].max() < when[parts.valid].min()
    assert when[parts.valid].max() < when[parts.test].min()


@given(n_days=st.integers(80, 800), n=st.integers(1, 4), seed=seeds)
@budget(max_examples=40, deadline=None)
@pytest.mark.parametrize("unit", ["day", "week", "month"])
def test_spans_are_whole_calendar_periods(unit, n_days, n, seed):
    if unit == "month":
        n = 1
    when = pd.Series(pd.date_range("2022-12-07", periods=n_days, freq="D"))
    when = when.sample(frac=1, random_state=seed).reset_index(drop=True)
    wanted = by_time(test=f"{n} {unit}s", valid=f"1 {unit}")
    parts = split(len(when), wanted, seed, by=when)
    covers(parts, len(when))
    first_test = when[parts.test].min()
    assert when[parts.train].max() < when[parts.valid].min()
    assert when[parts.valid].max() < first_test
    assert {"day": True, "week": first_test.weekday() == 0, "month": first_test.day == 1}[unit]


def test_a_month_is_the_last_calendar_month():
    when = days("2023-01-01", "2023-03-10")
    parts = split(len(when), by_time(test="1 month", valid="2 weeks"), 0, by=when)
    assert str(when[parts.test].min())[:10] == "2023-03-01"
    # 28 February is a Tuesday, so the last week of the rest has two days.
    assert str(when[parts.valid].min())[:10] == "2023-02-20"
    assert not parts.notes


def test_a_year_without_rows_counts_as_a_year():
    when = pd.concat([days("2020-01-01", "2020-12-31"), days("2022-01-01", "2022-12-31")])
    parts = split(len(when), by_time(test="2 years"), 0, by=when)
    assert str(when.iloc[parts.test].min())[:10] == "2022-01-01"


def test_years_may_be_plain_numbers():
    years = pd.Series([2006, 2007, 2008, 2009, 2010] * 4, name="Yr Sold")
    parts = split(20, by_time(), 0, by=years)
    assert set(years[parts.test]) == {2010}
    assert set(years[parts.valid]) == {2009}
    assert not parts.notes


def test_equal_times_that_move_a_cut_are_noted():
    times = pd.Series([1, 2, 3, 3, 3, 3, 3, 3])
    assert split(8, by_time(valid=0.5), 0, by=times).notes == (
        "test holds 75% of the rows for a share of 0.2, since rows of equal time stay together.",
    )


def test_stray_rows_at_both_ends_are_left_out_and_told():
    usual = pd.date_range("2023-01-01", "2023-03-31 23:00", freq="h")
    odd = pd.to_datetime(["2009-01-01", "2023-04-01", "2008-12-31", "2009-01-01"])
    when = pd.Series([*odd, *usual])
    parts = split(len(when), by_time(test="1 month"), 0, by=when)
    covers(parts, len(when))
    assert parts.stray.tolist() == [0, 1, 2, 3]
    assert set(when[parts.test].dt.month) == {3}
    assert parts.notes == (
        "4 rows are in no part: before and after the table's usual time, in a period with less"
        " than 1% of a usual one's rows (2008-12-31, 2009-01-01, 2023-04-01).",
    )


def test_a_single_stray_row_is_told_and_thin_months_inside_stay():
    usual = [*pd.date_range("2023-01-01", "2023-01-31 23:00", freq="h")]
    later = [*pd.date_range("2023-03-01", "2023-04-30 23:00", freq="h")]
    when = pd.Series([*usual, pd.Timestamp("2023-02-05"), *later, pd.Timestamp("2024-01-01")])
    parts = split(len(when), by_time(test=0.2, valid="1 month"), 0, by=when)
    assert parts.stray.tolist() == [len(when) - 1]
    assert parts.notes == (
        "1 row is in no part: before and after the table's usual time, in a period with less"
        " than 1% of a usual one's rows (2024-01-01).",
    )


def test_with_shares_no_row_is_stray():
    when = pd.Series([pd.Timestamp("2008-12-31"), *pd.date_range("2023-01-01", periods=999)])
    assert not len(split(1000, by_time(), 0, by=when).stray)


def test_the_index_of_a_column_does_not_matter():
    when = days("2023-01-01", "2023-03-10")
    shifted = when.set_axis(range(7, 7 + len(when)))
    wanted = by_time(test="1 month")
    assert same(split(69, wanted, 0, by=when), split(69, wanted, 0, by=shifted))


@pytest.mark.parametrize(
    ("n", "wanted", "columns", "message"),
    [
        (
            0,
            choices.Split(),
            {},
            "split.test 0.2 takes all of the 0 rows that are left. Use a smaller share, or more"
            " rows.",
        ),
        (
            2,
            choices.Split(),
            {},
            "split.valid 0.2 takes all of the 1 rows that are left. Use a smaller share, or more"
            " rows.",
        ),
        (
            10,
            choices.Split(test=0.95),
            {},
            "split.test 0.95 takes all of the 10 rows that are left. Use a smaller share, or more"
            " rows.",
        ),
        (
            10,
            choices.Split(method="stratified"),
            {},
            "split.method is stratified, and a quantity has no classes."
            " Set it to random, group or time.",
        ),
        (
            10,
            choices.Split(method="stratified"),
            {"labels": np.array(list("aaaaaaabcc"))},
            "split.method stratified needs 3 rows of each class, one for each part."
            " Classes with fewer: b (1), c (2). Leave them out with data.filter, or use random.",
        ),
        (
            40,
            choices.Split(method="stratified", test=0.05),
            {"labels": np.repeat([0, 1, 2, 3], 10)},
            "split.test 0.05 of 40 rows can't hold each of 4 classes on both sides."
            " Use another share, or method random.",
        ),
        (
            23,
            choices.Split(method="stratified", test=0.6),
            {"labels": np.array([0] * 20 + [1] * 3)},
            "Class 1 has too few rows for split.test and split.valid. Use smaller shares, or"
            " leave the class out with data.filter.",
        ),
        (10, by_group(), {}, "split.method group needs split.column."),
        (
            4,
            by_group(),
            {"by": pd.Series(["a", None, "b", "c"])},
            "Column 'who' of split.column is missing in 1 of 4 rows. Leave them out with"
            " data.filter: not missing(col('who')).",
        ),
        (
            4,
            by_group(),
            {"by": pd.Series(["a", "b", "a", "b"])},
            "Column 'who' of split.column has 2 groups, and 3 are needed, one for each part.",
        ),
        (
            4,
            by_group(test=0.5),
            {"by": pd.Series(["a", "b", "c", "c"])},
            "split.valid 0.2 takes all of the 1 groups that are left. Use a smaller share, or"
            " more groups.",
        ),
        (
            2,
            by_time(),
            {"by": pd.Series(pd.to_datetime(["2023-01-01", None]))},
            "Column 'when' of split.column is missing in 1 of 2 rows. Leave them out with"
            " data.filter: not missing(col('when')).",
        ),
        (
            2,
            by_time(),
            {"by": pd.Series(["monday", "tuesday"])},
            "Column 'when' of split.column must hold points in time, or numbers, got monday of"
            " type str.",
        ),
        (
            2,
            by_time(test="1 year"),
            {"by": pd.Series([2008, 2009])},
            "Column 'when' of split.column must hold points in time for a span, got 2008 of type"
            " int64.",
        ),
        (
            31,
            by_time(test="1 month"),
            {"by": days("2023-01-01", "2023-01-31")},
            "split.test 1 month takes all of the 31 rows from 2023-01-01 to 2023-01-31."
            " Use a smaller size, or more rows.",
        ),
        (
            59,
            by_time(test="1 month", valid="1 month"),
            {"by": days("2023-01-01", "2023-02-28")},
            "split.valid 1 month takes all of the 31 rows from 2023-01-01 to 2023-01-31."
            " Use a smaller size, or more rows.",
        ),
        (
            3,
            by_time(),
            {"by": pd.Series([2008, 2008, 2008])},
            "split.test 0.2 takes all of the 3 rows from 2008 to 2008."
            " Use a smaller size, or more rows.",
        ),
    ],
)
def test_a_part_that_would_be_empty_is_refused_with_the_way_out(n, wanted, columns, message):
    with pytest.raises(DataError) as error:
        split(n, wanted, 0, **columns)
    assert str(error.value) == message


@pytest.mark.skipif(not TAXI.exists(), reason="the taxi files are not on this machine")
def test_the_last_month_of_real_taxi_trips_is_the_test_set():
    table = read_table(TAXI)
    assert table.rows_per_file == (68_211, 64_809, 72_044)
    data = Data(
        source="data",
        target="minutes(lpep_dropoff_datetime - lpep_pickup_datetime)",
        filter="1 <= target <= 60",
    )
    prepared = prepare_table(table, data, None, keep=["lpep_pickup_datetime"])
    when = prepared.extra["lpep_pickup_datetime"]
    wanted = choices.Split(method="time", column="lpep_pickup_datetime", test="1 month")
    parts = split(len(prepared.frame), wanted, 1, by=when)
    covers(parts, len(when))
    assert set(when[parts.test].dt.strftime("%Y-%m")) == {"2023-03"}
    assert set(when[parts.train].dt.strftime("%Y-%m")) == {"2023-01", "2023-02"}
    assert set(when[parts.valid].dt.strftime("%Y-%m")) == {"2023-02"}
    assert 0 < len(parts.stray) < 10

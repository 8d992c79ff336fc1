"""Columns that say the same are found, whatever they hold."""

import numpy as np
import pandas as pd
import pytest
from formulas import schema, typed

from ratchet import association
from ratchet.problem import ProblemType
from ratchet.schema import Kind

NUMBER, LABEL, TIME = Kind.NUMBER, Kind.CATEGORY, Kind.DATETIME


def random(seed=0):
    return np.random.default_rng(seed)


def test_the_rank_correlation_sees_any_monotone_tie_and_no_other():
    a = pd.Series(random().normal(size=200))
    assert association.strength(a, np.exp(a), (NUMBER, NUMBER)) == pytest.approx(1)
    assert association.strength(a, -a, (NUMBER, NUMBER)) == pytest.approx(1)
    other = pd.Series(random(1).normal(size=200))
    assert association.strength(a, other, (NUMBER, NUMBER)) < 0.2


def test_a_label_that_gives_the_number_is_tied_to_it_in_either_order():
    town = pd.Series(random().choice(["a", "b", "c"], 300), dtype="str")
    size = town.map({"a": 1.0, "b": 2.0, "c": 7.0})
    assert association.strength(town, size, (LABEL, NUMBER)) == pytest.approx(1)
    assert association.strength(size, town, (NUMBER, LABEL)) == pytest.approx(1)


@pytest.mark.parametrize("kinds", [(LABEL, NUMBER), (LABEL, LABEL)])
def test_many_labels_are_tied_to_nothing_by_being_many(kinds):
    rng = random()
    many = pd.Series(rng.choice([f"label {n}" for n in range(60)], 300), dtype="str")
    other = pd.Series(rng.normal(size=300))
    if kinds[1] is LABEL:
        other = pd.Series(rng.choice([f"other {n}" for n in range(60)], 300), dtype="str")
    assert association.strength(many, other, kinds) < 0.4


def test_labels_of_one_row_each_tell_nothing():
    ids = pd.Series([f"row {n}" for n in range(100)], dtype="str")
    assert np.isnan(association.strength(ids, pd.Series(range(100)), (LABEL, NUMBER)))


def test_renamed_labels_are_the_same_and_others_are_not():
    rng = random()
    town = pd.Series(rng.choice(["a", "b", "c"], 300), dtype="str")
    code = town.map({"a": "x", "b": "y", "c": "z"})
    assert association.strength(town, code, (LABEL, LABEL)) == pytest.approx(1)
    other = pd.Series(rng.choice(["x", "y"], 300), dtype="str")
    assert association.strength(town, other, (LABEL, LABEL)) < 0.2


def test_dates_and_gaps_count_as_far_as_they_are_there():
    when = pd.Series(pd.date_range("2024-01-01", periods=100))
    age = pd.Series(np.arange(100.0))
    age[::7] = np.nan
    assert association.strength(when, age, (TIME, NUMBER)) == pytest.approx(1)


def test_a_column_without_values_or_with_one_is_tied_to_nothing():
    a = pd.Series(np.arange(10.0))
    for empty in (pd.Series([np.nan] * 10), pd.Series([3.0] * 10)):
        assert np.isnan(association.strength(a, empty, (NUMBER, NUMBER)))


def test_groups_are_chains_of_close_ties_in_the_order_of_the_columns():
    rng = random()
    a = rng.normal(size=400)
    of = schema(
        ProblemType.REGRESSION,
        alone=NUMBER,
        a=NUMBER,
        b=NUMBER,
        town=LABEL,
        c=NUMBER,
        note=Kind.TEXT,
    )
    rows = pd.DataFrame(
        {
            "alone": rng.normal(size=400),
            "a": a,
            "b": a + 0.1 * rng.normal(size=400),
            "town": np.where(rng.random(400) < 0.5, "x", "y"),
            "c": -a,
            "note": ["text"] * 400,
        }
    )
    assert association.groups(typed(rows, of), of.columns) == (("a", "b", "c"),)

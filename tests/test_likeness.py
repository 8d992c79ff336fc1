"""How far two models' answers lie apart is measured as their kind wants it."""

import math

import numpy as np
import pytest

from ratchet.likeness import between
from ratchet.metrics import Predictions


def quantities(*values):
    return Predictions(np.array(values, dtype=float))


def labels(*codes, probabilities=None):
    return Predictions(np.array(codes), None if probabilities is None else np.array(probabilities))


def test_the_same_answers_are_identical_a_missing_one_included():
    found = between(quantities(1.5, math.nan), quantities(1.5, math.nan))
    assert found.identical
    assert found.within(0)
    assert (found.n_rows, found.n_differing, found.max_absolute) == (2, 0, 0.0)


def test_a_last_bit_is_a_difference_within_any_tolerance_but_none():
    found = between(quantities(1.0, 4.0), quantities(np.nextafter(1.0, 2.0), 4.0))
    assert not found.identical
    assert found.n_differing == 1
    assert found.within(1e-15)
    assert not found.within(0)


def test_quantities_are_held_against_the_largest_one():
    found = between(quantities(0.0, 2.0, -4.0), quantities(0.001, 2.0, -4.0))
    assert found.max_absolute == pytest.approx(0.001)
    assert found.max_relative == pytest.approx(0.001 / 4)


@pytest.mark.parametrize(
    ("before", "after"),
    [((1.0, 2.0), (1.0, math.nan)), ((0.0, 0.0), (0.0, 1.0)), ((1.0, 2.0), (1.0,))],
)
def test_what_has_no_measure_is_within_no_tolerance(before, after):
    found = between(quantities(*before), quantities(*after))
    assert not found.identical
    assert not found.within(1e9)


def test_probabilities_count_before_the_labels_that_they_lead_to():
    found = between(
        labels(0, 1, probabilities=[[0.6, 0.4], [0.3, 0.7]]),
        labels(0, 1, probabilities=[[0.6, 0.4], [0.25, 0.75]]),
    )
    assert found.n_differing == 1
    assert found.max_relative == pytest.approx(0.05)


def test_another_threshold_is_no_small_difference_though_the_probabilities_are_the_same():
    probabilities = [[0.6, 0.4], [0.3, 0.7]]
    found = between(
        labels(0, 1, probabilities=probabilities), labels(1, 1, probabilities=probabilities)
    )
    assert not found.identical
    assert found.max_absolute == 0
    assert found.max_relative == 0.5


def test_labels_and_clusters_differ_by_the_share_of_rows():
    found = between(labels(0, 1, 2, 2), labels(0, 1, 2, 1))
    assert (found.n_differing, found.max_absolute, found.max_relative) == (1, 1.0, 0.25)


def test_classes_that_one_model_lacks_are_no_small_difference():
    found = between(
        labels(0, probabilities=[[0.6, 0.4]]), labels(0, probabilities=[[0.5, 0.4, 0.1]])
    )
    assert not found.within(1e9)


def test_no_rows_are_no_difference():
    assert between(quantities(), quantities()).identical

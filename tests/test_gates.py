"""A leader passes a gate on evidence, and is told the numbers."""

from math import inf, nan

import pytest

from ratchet.gates import (
    GateResult,
    better_than_baseline,
    better_than_champion,
    decimals,
    no_champion,
    required_score,
    shown,
)
from ratchet.metrics import named
from ratchet.problem import ProblemType

RMSE = named("rmse", ProblemType.REGRESSION)
AUC = named("roc_auc", ProblemType.BINARY)

CLEAR = {"gain": 0.0892, "low": 0.0511, "high": 0.1270, "confidence": 0.95}
SCORES = {"challenger": 5.0312, "champion": 5.1204}


@pytest.mark.parametrize(
    ("metric", "score", "required", "passed", "reason"),
    [
        (RMSE, 4.9, 5.0, True, "rmse 4.9000, required <= 5.0000"),
        (RMSE, 5.0, 5.0, True, "rmse 5.0000, required <= 5.0000"),
        (RMSE, 5.1, 5.0, False, "rmse 5.1000, required <= 5.0000"),
        (RMSE, 5.00001, 5.0, False, "rmse 5.000010, required <= 5.000000"),
        (RMSE, 27_547.0, 30_000.0, True, "rmse 27,547, required <= 30,000"),
        (RMSE, nan, 5.0, False, "rmse NaN, required <= 5.0000"),
        (RMSE, inf, 5.0, False, "rmse inf, required <= 5.0000"),
        (AUC, 0.91, 0.9, True, "roc_auc 0.9100, required >= 0.9000"),
        (AUC, 0.9, 0.9, True, "roc_auc 0.9000, required >= 0.9000"),
        (AUC, 0.89, 0.9, False, "roc_auc 0.8900, required >= 0.9000"),
    ],
)
def test_a_required_score_must_be_reached(metric, score, required, passed, reason):
    assert required_score(metric, score, required) == GateResult("required_score", passed, reason)


def test_a_sure_gain_unseats_the_champion():
    assert better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=0.0) == GateResult(
        "better_than_champion",
        True,
        "rmse 5.0312, champion 5.1204: gain 0.0892 [0.0511, 0.1270] at 95 %,"
        " needed more than 0 and at least 0.0000",
    )


def test_a_tie_does_not_unseat_the_champion():
    tie = {"gain": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95}
    assert better_than_champion(
        RMSE, challenger=2.0, champion=2.0, **tie, min_gain=0.0
    ) == GateResult(
        "better_than_champion",
        False,
        "rmse 2.0000, champion 2.0000: gain 0.0000 [0.0000, 0.0000] at 95 %,"
        " needed more than 0 and at least 0.0000",
    )


def test_a_gain_that_may_be_chance_does_not_unseat_the_champion():
    doubtful = CLEAR | {"low": -0.0511}
    result = better_than_champion(RMSE, **SCORES, **doubtful, min_gain=0.0)
    assert not result.passed
    assert "gain 0.0892 [-0.0511, 0.1270] at 95 %" in result.reason


@pytest.mark.parametrize(("min_gain", "passed"), [(0.0892, True), (0.09, False)])
def test_a_gain_must_be_worth_a_change(min_gain, passed):
    result = better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=min_gain)
    assert result.passed is passed


def test_a_gain_just_short_of_the_least_one_is_told_with_enough_digits():
    result = better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=0.08921)
    assert result.reason == (
        "rmse 5.031200, champion 5.120400: gain 0.089200 [0.051100, 0.127000] at 95 %,"
        " needed more than 0 and at least 0.089210"
    )


@pytest.mark.parametrize("number", ["challenger", "champion", "gain", "low", "high", "min_gain"])
def test_nan_never_unseats_the_champion(number):
    numbers = {**SCORES, **CLEAR, "min_gain": 0.0, number: nan}
    result = better_than_champion(RMSE, **numbers)
    assert not result.passed
    assert "NaN" in result.reason


def test_any_number_beats_a_champion_that_predicts_infinity():
    numbers = {"gain": inf, "low": inf, "high": inf, "confidence": 0.95}
    result = better_than_champion(RMSE, challenger=5.0, champion=inf, **numbers, min_gain=0.0)
    assert result.passed
    assert result.reason == (
        "rmse 5.0000, champion inf: gain inf [inf, inf] at 95 %,"
        " needed more than 0 and at least 0.0000"
    )


def test_the_first_model_needs_to_beat_no_champion():
    assert no_champion(RMSE, 5.0312) == GateResult(
        "better_than_champion", True, "rmse 5.0312, no champion yet"
    )


def test_a_model_without_a_score_is_not_the_first_champion():
    assert no_champion(RMSE, nan) == GateResult(
        "better_than_champion", False, "rmse NaN, no champion yet"
    )


def test_a_leader_must_surely_beat_the_baseline():
    numbers = {"leader": 0.91, "baseline": 0.5, "gain": 0.41, "high": 0.45, "confidence": 0.999}
    assert better_than_baseline(AUC, **numbers, low=0.37) == GateResult(
        "better_than_baseline",
        True,
        "roc_auc 0.9100, baseline 0.5000: gain 0.4100 [0.3700, 0.4500] at 99.9 %,"
        " needed more than 0",
    )
    assert not better_than_baseline(AUC, **numbers, low=0.0).passed
    assert not better_than_baseline(AUC, **numbers, low=-0.01).passed


@pytest.mark.parametrize("number", ["leader", "baseline", "gain", "low", "high"])
def test_nan_never_beats_the_baseline(number):
    numbers = {"leader": 5.0, "baseline": 6.0, "gain": 1.0, "low": 0.5, "high": 1.5, number: nan}
    result = better_than_baseline(RMSE, **numbers, confidence=0.95)
    assert not result.passed
    assert "NaN" in result.reason


@pytest.mark.parametrize(
    ("scores", "differences", "places"),
    [
        ([5.0312, 5.1204], [0.0892], 4),
        ([0.91, 0.5], [], 4),
        ([0.0123, 0.0119], [], 5),
        ([27_547.3, 27_901.0], [353.7], 0),
        ([27_547.31, 27_547.72], [0.41], 2),
        ([1e9], [], 0),
        ([2.0, 2.0], [0.0], 4),
        ([2.0, 2.0], [1e-16], 4),
        ([nan, inf], [nan, inf], 4),
        ([0.0], [], 4),
        ([], [], 4),
    ],
)
def test_decimals_tell_scores_and_their_difference_apart(scores, differences, places):
    assert decimals(scores, differences) == places


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (5.0312, 4, "5.0312"),
        (27_547.4, 0, "27,547"),
        (-0.00001, 4, "0.0000"),
        (-0.5, 1, "-0.5"),
        (nan, 4, "NaN"),
    ],
)
def test_numbers_are_written_for_a_reader(value, places, text):
    assert shown(value, places) == text

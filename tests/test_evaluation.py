"""Intervals hold what they promise, and a comparison is fair to both sides."""

from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet import evaluation
from ratchet.backends import blas
from ratchet.errors import DataError
from ratchet.evaluation import Score, evaluate, paired_difference, time_blocks
from ratchet.metrics import Predictions, for_problem, named, score
from ratchet.problem import ProblemType

REGRESSION, BINARY, MULTICLASS, CLUSTERING = (
    ProblemType.REGRESSION,
    ProblemType.BINARY,
    ProblemType.MULTICLASS,
    ProblemType.CLUSTERING,
)
MAE = named("mae", REGRESSION)
EVERY = [(metric, problem) for problem in ProblemType for metric in for_problem(problem)]

every_metric = pytest.mark.parametrize(
    ("metric", "problem"), EVERY, ids=[f"{problem}-{metric.name}" for metric, problem in EVERY]
)


def truth(problem, n, seed):
    rng = np.random.default_rng(seed)
    if problem is CLUSTERING:
        return 3 * np.eye(3)[np.arange(n) % 3] + rng.normal(size=(n, 3))
    if problem is REGRESSION:
        return rng.normal(50, 2, n)
    return np.arange(n) % (2 if problem is BINARY else 3)


def predicted(problem, y, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    if problem is CLUSTERING:
        strays = rng.random(len(y)) < 0.1 * noise
        return Predictions(np.where(strays, rng.integers(-1, 3, len(y)), np.arange(len(y)) % 3))
    if problem is REGRESSION:
        return Predictions(y + rng.normal(0, noise, len(y)))
    classes = 2 if problem is BINARY else 3
    chances = rng.uniform(0, noise, (len(y), classes)) + np.eye(classes)[y]
    table = chances / chances.sum(axis=1, keepdims=True)
    return Predictions(table.argmax(axis=1), table)


def errors(values):
    """Rows whose absolute errors are ``values``."""
    return np.zeros(len(values)), Predictions(np.asarray(values, dtype=float))


@pytest.mark.parametrize("problem", ProblemType)
def test_every_score_is_that_of_the_rows_and_lies_in_its_interval(problem):
    y = truth(problem, 90, seed=1)
    predictions = predicted(problem, y, seed=2)
    metrics = for_problem(problem)
    result = evaluate(y, predictions, metrics, resamples=200, seed=3)
    assert (result.problem, result.n_rows, result.n_units) == (problem, 90, 90)
    assert (result.confidence, result.resamples) == (0.95, 200)
    assert [found.metric for found in result.scores] == [metric.name for metric in metrics]
    for metric, found in zip(metrics, result.scores, strict=True):
        assert found.value == score(metric, y, predictions)
        assert found.low <= found.value <= found.high
        assert result.score(metric.name) is found


@pytest.mark.parametrize("problem", [BINARY, MULTICLASS])
@pytest.mark.parametrize("with_probabilities", [True, False])
def test_the_problem_is_told_from_the_number_of_classes(problem, with_probabilities):
    y = truth(problem, 30, seed=1)
    predictions = predicted(problem, y, seed=2)
    if not with_probabilities:
        predictions = Predictions(predictions.values)
    accuracy = named("accuracy", problem)
    assert evaluate(y, predictions, [accuracy], resamples=100, seed=3).problem is problem


def test_scores_are_flattened_under_the_name_of_the_split():
    result = evaluate(*errors([1, 1, 1, 1, 1, 1]), [MAE], resamples=100, seed=3)
    assert result.scores == (Score("mae", 1.0, 1.0, 1.0),)
    assert result.flat("test") == {"test/mae": 1.0, "test/mae_low": 1.0, "test/mae_high": 1.0}


def test_a_score_that_was_not_evaluated_is_told():
    result = evaluate(*errors([1, 2, 3]), [MAE, named("mse", REGRESSION)], resamples=100, seed=3)
    with pytest.raises(DataError) as error:
        result.score("rmse")
    assert str(error.value) == "No score 'rmse' was evaluated. Evaluated: mae, mse."


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    rows = errors(np.random.default_rng(1).normal(size=50))
    first, again, other = (evaluate(*rows, [MAE], seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_drawing_few_resamples_at_a_time_changes_no_interval(monkeypatch):
    y = truth(BINARY, 40, seed=1)
    metrics = for_problem(BINARY)
    at_once = evaluate(y, predicted(BINARY, y, seed=2), metrics, resamples=150, seed=3)
    monkeypatch.setattr(evaluation, "DRAWS_AT_ONCE", 40 * 7)
    by_few = evaluate(y, predicted(BINARY, y, seed=2), metrics, resamples=150, seed=3)
    for one, other in zip(at_once.scores, by_few.scores, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-12)


def test_more_confidence_makes_a_wider_interval():
    rows = errors(np.random.default_rng(1).exponential(size=50))
    narrow, wide = (
        evaluate(*rows, [MAE], confidence=confidence, seed=1).scores[0]
        for confidence in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_interval_of_95_percent_covers_the_truth_about_95_times_in_100():
    # All errors are positive, so their mean is normal around 10 and Student's interval is exact.
    # Percentiles that are not widened for ten rows would cover 90 in 100.
    n, draws = 10, 1000
    samples = np.random.default_rng(5).normal(10, 1, (draws, n))
    found = [
        evaluate(*errors(sample), [MAE], resamples=999, seed=seed).scores[0]
        for seed, sample in enumerate(samples)
    ]
    covered = sum(each.low <= 10 <= each.high for each in found)
    assert abs(covered / draws - 0.95) < 3.3 * sqrt(0.95 * 0.05 / draws)


def test_many_rows_are_dealt_to_units_without_a_change_in_the_interval(monkeypatch):
    rows = errors(np.random.default_rng(6).exponential(size=3_000))
    by_row = evaluate(*rows, [MAE], resamples=4000, seed=1)
    monkeypatch.setattr(evaluation, "MAX_UNITS", 700)
    dealt = evaluate(*rows, [MAE], resamples=4000, seed=1)
    assert by_row.n_units == dealt.n_units == 3_000
    width, width_dealt = (each.scores[0].high - each.scores[0].low for each in (by_row, dealt))
    assert width == pytest.approx(2 * 1.96 / sqrt(3_000), rel=0.1)
    assert width_dealt == pytest.approx(width, rel=0.1)


def test_many_clusters_are_dealt_to_units_as_wholes(monkeypatch):
    values = np.random.default_rng(6).exponential(size=3_000)
    monkeypatch.setattr(evaluation, "MAX_UNITS", 700)
    by_row = evaluate(*errors(values), [MAE], seed=1)
    tenfold = evaluate(
        *errors(np.repeat(values, 10)), [MAE], clusters=np.repeat(np.arange(3_000), 10), seed=1
    )
    assert (tenfold.n_rows, tenfold.n_units) == (30_000, 3_000)
    assert tenfold.scores[0].low == pytest.approx(by_row.scores[0].low)
    assert tenfold.scores[0].high == pytest.approx(by_row.scores[0].high)


# Not of clusters: copies of a row are its nearest neighbours.
@pytest.mark.parametrize("problem", [REGRESSION, BINARY, MULTICLASS])
def test_copies_of_a_row_in_its_cluster_are_no_new_evidence(problem):
    y = truth(problem, 40, seed=1)
    predictions = predicted(problem, y, seed=2)
    table = predictions.probabilities
    copies = Predictions(
        np.repeat(predictions.values, 5), None if table is None else np.repeat(table, 5, axis=0)
    )
    names = np.repeat([f"customer {i:02}" for i in range(40)], 5)
    metrics = [each for each in for_problem(problem) if each.name != "calibration_error"]
    once = evaluate(y, predictions, metrics, resamples=200, seed=3)
    often = evaluate(np.repeat(y, 5), copies, metrics, resamples=200, seed=3, clusters=names)
    assert often.n_units == once.n_units == 40
    for one, other in zip(once.scores, often.scores, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-9)


@pytest.mark.parametrize(
    ("units", "confidence", "known"),
    [(5, 0.95, False), (6, 0.95, True), (7, 0.99, False), (8, 0.99, True), (1, 0.5, False)],
)
def test_too_few_units_for_the_confidence_give_no_interval(units, confidence, known):
    rows = errors(np.arange(60.0))
    clusters = np.arange(60) % units
    found = evaluate(*rows, [MAE], confidence=confidence, seed=1, clusters=clusters).scores[0]
    assert found.value == 29.5
    assert isnan(found.low) == isnan(found.high) == (not known)


@pytest.mark.parametrize(("positives", "known"), [(2, False), (5, True)])
def test_an_interval_needs_19_of_20_resamples_to_define_the_score(positives, known):
    # No positive row is drawn in 11 % of the resamples when 2 of 12 are, in 0.2 % when 5 are.
    y = (np.arange(12) < positives).astype(int)
    auc = named("roc_auc", BINARY)
    found = evaluate(y, predicted(BINARY, y, seed=1), [auc], seed=1).scores[0]
    assert not isnan(found.value)
    assert isnan(found.low) == isnan(found.high) == (not known)


@given(
    case=st.sampled_from(EVERY),
    n=st.integers(6, 25),
    seed=st.integers(0, 1000),
    clustered=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_swapping_challenger_and_champion_mirrors_the_difference(case, n, seed, clustered):
    metric, problem = case
    y = truth(problem, n, seed)
    one, other = predicted(problem, y, seed + 1), predicted(problem, y, seed + 2, noise=2)
    clusters = np.arange(n) // 2 if clustered and n > 11 else None
    ahead, behind = (
        paired_difference(metric, y, *pair, resamples=100, seed=seed, clusters=clusters)
        for pair in ((one, other), (other, one))
    )
    assert (ahead.challenger, ahead.champion) == (behind.champion, behind.challenger)
    assert ahead.gain == -behind.gain
    np.testing.assert_array_equal([ahead.low, ahead.high], [-behind.high, -behind.low])


@every_metric
def test_a_model_gains_exactly_nothing_over_itself(metric, problem):
    y = truth(problem, 200, seed=1)
    found = paired_difference(
        metric, y, predicted(problem, y, seed=2), predicted(problem, y, seed=2), seed=3
    )
    assert (found.gain, found.low, found.high) == (0, 0, 0)


@every_metric
def test_the_better_model_gains_in_the_direction_of_the_metric(metric, problem):
    y = truth(problem, 300, seed=1)
    good, bad = predicted(problem, y, seed=2, noise=0.5), predicted(problem, y, seed=3, noise=6)
    found = paired_difference(metric, y, good, bad, resamples=200, seed=4)
    assert found.metric == metric.name
    assert (found.challenger, found.champion) == (score(metric, y, good), score(metric, y, bad))
    assert found.gain == metric.loss(found.champion) - metric.loss(found.challenger)
    assert (found.confidence, found.resamples) == (0.95, 200)
    assert (found.n_rows, found.n_units) == (300, 300)
    if metric.name not in ("abs_bias", "calibration_error"):
        assert metric.beats(found.challenger, found.champion)
        assert 0 < found.low < found.gain < found.high


def test_what_is_hard_for_both_models_cancels():
    rng = np.random.default_rng(1)
    y = rng.normal(size=400)
    hard = rng.normal(0, 5, size=400)
    one, other = Predictions(y + hard), Predictions(y + hard + 0.1 * np.sign(hard))
    gain = paired_difference(MAE, y, one, other, seed=1)
    assert gain.gain == pytest.approx(0.1)
    assert gain.low == pytest.approx(gain.high)
    alone = evaluate(y, one, [MAE], seed=1).scores[0]
    assert alone.high - alone.low > 0.3


def test_a_difference_that_is_not_defined_is_nan():
    y = np.full(10, 3.0)
    same = Predictions(y + 1)
    found = paired_difference(named("r2", REGRESSION), y, same, same, resamples=100, seed=1)
    np.testing.assert_array_equal([found.gain, found.low, found.high], [nan, nan, nan])


def test_errors_that_last_for_hours_make_blocks_of_days_wider_than_rows():
    times = pd.Series(pd.date_range("2024-01-01", periods=40 * 24, freq="h"))
    mood = np.repeat(np.random.default_rng(1).normal(size=40), 24)
    rows = errors(10 + mood)
    by_row = evaluate(*rows, [MAE], seed=1).scores[0]
    by_day = evaluate(*rows, [MAE], seed=1, clusters=time_blocks(times)).scores[0]
    assert (by_day.high - by_day.low) / (by_row.high - by_row.low) == pytest.approx(
        sqrt(24), rel=0.15
    )


@pytest.mark.parametrize(
    ("start", "periods", "frequency", "blocks"),
    [
        ("2021-01-01", 365 * 3, "D", 36),  # months
        ("2024-01-01", 365, "D", 53),  # weeks, Monday to Sunday
        ("2024-06-01", 30 * 24, "h", 30),  # days
        ("2024-06-01", 48 * 60, "min", 48),  # hours
        ("2024-06-01", 40 * 60, "s", 40),  # minutes
        ("2024-06-01", 300, "100ms", 30),  # seconds
        ("2024-06-01", 7, "D", 7),  # too few of anything: every point in time
        ("2024-06-01", 1, "D", 1),
    ],
)
def test_time_is_cut_into_the_longest_spans_of_which_there_are_twenty(
    start, periods, frequency, blocks
):
    times = pd.Series(pd.date_range(start, periods=periods, freq=frequency))
    codes = time_blocks(times)
    assert sorted(set(codes)) == list(range(blocks))
    assert (np.diff(codes) >= 0).all()
    order = np.random.default_rng(1).permutation(periods)
    np.testing.assert_array_equal(time_blocks(times[order]), codes[order])
    np.testing.assert_array_equal(time_blocks(times.dt.tz_localize("UTC")), codes)


def test_rows_of_equal_time_are_in_one_block():
    times = pd.Series(pd.to_datetime(["2024-06-02", "2024-06-01", "2024-06-02"]))
    assert time_blocks(times).tolist() == [1, 0, 1]


def test_rows_without_a_time_or_cluster_are_drawn_together():
    times = pd.Series(pd.to_datetime(["2024-06-02", None, "2024-06-01", None]))
    assert time_blocks(times).tolist() == [1, 2, 0, 2]
    owners = np.array(["a", "b", None, "c", "d", "e", None], dtype=object)
    assert evaluate(*errors(np.arange(7)), [MAE], seed=1, clusters=owners).n_units == 6


def test_what_is_not_time_can_not_be_cut_into_blocks():
    with pytest.raises(DataError) as error:
        time_blocks(pd.Series([1, 2, 3], name="day"))
    assert str(error.value) == (
        "Column 'day' holds int64, not points in time, so it can't be cut into blocks of time."
        " Name a date or time column in split.column."
    )


# Contrasts of parts of the rows

RMSE = named("rmse", REGRESSION)


def halves(n=800, seed=0, times=1.0):
    random = np.random.default_rng(seed)
    y = random.normal(50, 10, n)
    errors = random.normal(size=n)
    errors[: n // 2] *= times
    parts = [np.arange(n // 2), np.arange(n // 2, n)]
    return y, Predictions(y + errors), parts


def test_a_part_and_the_others_are_each_other_s_mirror():
    y, said, parts = halves(times=2)
    one, other = evaluation.contrasts(RMSE, y, said, parts, seed=1)
    assert (one.here, one.elsewhere) == (other.elsewhere, other.here)
    assert one.worse_by == pytest.approx(-other.worse_by)
    assert one.here == pytest.approx(score(RMSE, y[parts[0]], said.only(parts[0])))
    assert one.low > 0 > other.high


def test_a_larger_score_that_is_better_makes_a_part_no_worse():
    y, said, parts = halves(times=2)
    r2 = named("r2", REGRESSION)
    one, other = evaluation.contrasts(r2, y, said, parts, seed=1)
    assert one.here < one.elsewhere
    assert one.worse_by == pytest.approx(one.elsewhere - one.here)
    assert one.low > 0 > other.high


@blas.ONE_THREAD
def test_the_intervals_of_many_parts_hold_together():
    wrong = 0
    for seed in range(30):
        y, said, _ = halves(seed=seed)
        parts = [np.arange(start, start + 100) for start in range(0, 700, 20)]
        found = evaluation.contrasts(RMSE, y, said, parts, seed=seed, confidence=0.9)
        wrong += any(each.low > 0 or each.high < 0 for each in found)
    assert wrong <= 0.1 * 30 + 2 * np.sqrt(0.09 * 30)


def test_more_parts_make_each_interval_wider():
    y, said, parts = halves()
    many = [parts[0], *(np.arange(start, start + 60) for start in range(0, 700, 20))]
    (alone,), (first, *_) = (
        evaluation.contrasts(RMSE, y, said, each, seed=1) for each in (parts[:1], many)
    )
    assert first.high - first.low > 1.2 * (alone.high - alone.low)


def test_a_part_of_few_clusters_has_no_interval():
    y, said, parts = halves()
    codes = np.arange(800) // 50
    found = evaluation.contrasts(RMSE, y, said, parts, seed=1, clusters=codes)
    assert all(np.isnan(each.low) and np.isnan(each.high) for each in found)
    assert all(np.isfinite(each.worse_by) for each in found)
    assert evaluation.contrasts(RMSE, y, said, [], seed=1) == ()

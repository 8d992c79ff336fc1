"""Scores agree with scikit-learn, for every resample at once."""

import pickle
import re
import subprocess
import sys
import warnings
from functools import partial
from math import inf, isnan, log, nan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ratchet.errors import SettingsError
from ratchet.metrics import (
    Predictions,
    base,
    best_threshold,
    catalogue,
    default,
    for_problem,
    named,
    on_record,
    score,
    stopping,
    stopping_loss,
)
from ratchet.problem import ProblemType

REGRESSION, BINARY, MULTICLASS, CLUSTERING = (
    ProblemType.REGRESSION,
    ProblemType.BINARY,
    ProblemType.MULTICLASS,
    ProblemType.CLUSTERING,
)
SOURCE = Path(__file__).parents[1] / "src"
# Scores of clusters have a file of their own.
EVERY = [
    (metric, problem)
    for problem in (REGRESSION, BINARY, MULTICLASS)
    for metric in for_problem(problem)
]

every_metric = pytest.mark.parametrize(
    ("metric", "problem"), EVERY, ids=[f"{problem}-{metric.name}" for metric, problem in EVERY]
)


@pytest.fixture(autouse=True)
def no_warnings():
    """Undefined scores are NaN, quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sample(problem, n=60, seed=0):
    """Rows with ties in truth, predictions and probabilities."""
    rng = np.random.default_rng(seed)
    if problem is REGRESSION:
        y = rng.integers(1, 9, n).astype(float)
        return y, Predictions(np.round(y + rng.normal(0.3, 1, n).clip(-1.5), 1))
    classes = 2 if problem is BINARY else 4
    y = rng.integers(0, classes, n)
    chances = rng.integers(1, 6, (n, classes)) + 2 * (y[:, None] == np.arange(classes))
    probabilities = chances / chances.sum(axis=1, keepdims=True)
    return y, Predictions(probabilities.argmax(axis=1), probabilities)


def drawn(n=60, b=5, seed=1):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=b)


def binary(truth, chances):
    positive = np.array(chances, dtype=float)
    table = np.column_stack([1 - positive, positive])
    return np.array(truth), Predictions((positive >= 0.5).astype(int), table)


def of_values(function, **options):
    return lambda y, p, weights: function(y, p.values, sample_weight=weights, **options)


def of_positive(function, **options):
    return lambda y, p, weights: function(
        y, p.probabilities[:, 1], sample_weight=weights, **options
    )


def of_table(function, **options):
    return lambda y, p, weights: function(y, p.probabilities, sample_weight=weights, **options)


def largest(y, p, weights):
    return sk.max_error(np.repeat(y, weights), np.repeat(p.values, weights))


def middle(y, p, weights):
    return sk.median_absolute_error(np.repeat(y, weights), np.repeat(p.values, weights))


def distance_from_no_bias(y, p, weights):
    return abs(np.average(p.values - y, weights=weights))


def gap_in_tenths(y, p, weights):
    return gap_of(pd.Series(p.probabilities[:, 1]), y, weights)


def gap_of_the_likeliest(y, p, weights):
    table = pd.DataFrame(p.probabilities)
    return gap_of(table.max(axis=1), table.idxmax(axis=1) == y, weights)


def gap_of(chances, happened, weights):
    edges = chances.quantile(np.arange(1, 10) / 10).to_numpy()
    bins = [(edges < chance).sum() for chance in chances]
    gaps = pd.Series((chances - happened) * weights).groupby(bins).sum()
    return gaps.abs().sum() / weights.sum()


REFERENCES = {
    (REGRESSION, "rmse"): of_values(sk.root_mean_squared_error),
    (REGRESSION, "mse"): of_values(sk.mean_squared_error),
    (REGRESSION, "mae"): of_values(sk.mean_absolute_error),
    (REGRESSION, "r2"): of_values(sk.r2_score),
    (REGRESSION, "mape"): of_values(sk.mean_absolute_percentage_error),
    (REGRESSION, "median_ae"): middle,
    (REGRESSION, "max_error"): largest,
    (REGRESSION, "rmsle"): of_values(sk.root_mean_squared_log_error),
    (REGRESSION, "abs_bias"): distance_from_no_bias,
    (BINARY, "log_loss"): of_table(sk.log_loss),
    (BINARY, "roc_auc"): of_positive(sk.roc_auc_score),
    (BINARY, "average_precision"): of_positive(sk.average_precision_score),
    (BINARY, "brier"): of_positive(sk.brier_score_loss),
    (BINARY, "calibration_error"): gap_in_tenths,
    (BINARY, "accuracy"): of_values(sk.accuracy_score),
    (BINARY, "balanced_accuracy"): of_values(sk.balanced_accuracy_score),
    (BINARY, "precision"): of_values(sk.precision_score),
    (BINARY, "recall"): of_values(sk.recall_score),
    (BINARY, "f1"): of_values(sk.f1_score),
    (BINARY, "mcc"): of_values(sk.matthews_corrcoef),
    (MULTICLASS, "log_loss"): of_table(sk.log_loss),
    (MULTICLASS, "roc_auc_ovr"): of_table(sk.roc_auc_score, multi_class="ovr"),
    (MULTICLASS, "brier"): of_table(sk.brier_score_loss),
    (MULTICLASS, "calibration_error"): gap_of_the_likeliest,
    (MULTICLASS, "accuracy"): of_values(sk.accuracy_score),
    (MULTICLASS, "balanced_accuracy"): of_values(sk.balanced_accuracy_score),
    (MULTICLASS, "f1_macro"): of_values(sk.f1_score, average="macro"),
    (MULTICLASS, "f1_weighted"): of_values(sk.f1_score, average="weighted"),
    (MULTICLASS, "mcc"): of_values(sk.matthews_corrcoef),
}


@every_metric
def test_every_resample_scores_as_its_rows_do_in_scikit_learn(metric, problem):
    y, predictions = sample(problem)
    weights = drawn()
    reference = REFERENCES[problem, metric.name]
    expected = [reference(y, predictions, row) for row in weights]
    np.testing.assert_allclose(metric.scores(y, predictions, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("beta", [0.25, 0.5, 2, 10])
def test_any_beta_has_its_f_score(beta):
    y, predictions = sample(BINARY)
    weights = drawn()
    expected = [
        sk.fbeta_score(y, predictions.values, beta=beta, sample_weight=row) for row in weights
    ]
    metric = named(f"f{beta}", BINARY)
    assert metric.name == f"f{beta}"
    np.testing.assert_allclose(metric.scores(y, predictions, weights), expected)


# Errors of the quantities are -1, 0 and 2; the truth has mean 4 and squares around it of 8.
QUANTITIES = np.array([2.0, 4.0, 6.0]), Predictions(np.array([1.0, 4.0, 8.0]))
# One pair of a positive and a negative row in the right order, one a tie, two in the wrong order.
# Decisions: one right alarm, one false alarm, one miss, one right pass.
TWO = binary([1, 0, 1, 0], [0.6, 0.6, 0.2, 0.4])
THREE = (
    np.array([0, 1, 2, 2]),
    Predictions(
        np.array([0, 1, 1, 2]),
        np.array([[0.5, 0.5, 0], [0.25, 0.5, 0.25], [0, 0.75, 0.25], [0, 0, 1]]),
    ),
)


@pytest.mark.parametrize(
    ("problem", "name", "rows", "expected"),
    [
        (REGRESSION, "rmse", QUANTITIES, sqrt(5 / 3)),
        (REGRESSION, "mse", QUANTITIES, 5 / 3),
        (REGRESSION, "mae", QUANTITIES, 1),
        (REGRESSION, "r2", QUANTITIES, 1 - 5 / 8),
        (REGRESSION, "mape", QUANTITIES, (1 / 2 + 2 / 6) / 3),
        (REGRESSION, "median_ae", QUANTITIES, 1),
        (REGRESSION, "max_error", QUANTITIES, 2),
        (REGRESSION, "rmsle", QUANTITIES, sqrt((log(3 / 2) ** 2 + log(9 / 7) ** 2) / 3)),
        (REGRESSION, "abs_bias", QUANTITIES, 1 / 3),
        (BINARY, "log_loss", TWO, -log(0.6 * 0.4 * 0.2 * 0.6) / 4),
        (BINARY, "roc_auc", TWO, (0.5 + 1 + 0 + 0) / 4),
        (BINARY, "average_precision", TWO, (1 / 2 + 2 / 4) / 2),
        (BINARY, "brier", TWO, (0.16 + 0.36 + 0.64 + 0.16) / 4),
        (BINARY, "calibration_error", TWO, (abs(0.6 + 0.6 - 1) + 0.8 + 0.4) / 4),
        (BINARY, "accuracy", TWO, 2 / 4),
        (BINARY, "balanced_accuracy", TWO, (1 / 2 + 1 / 2) / 2),
        (BINARY, "precision", TWO, 1 / 2),
        (BINARY, "recall", TWO, 1 / 2),
        (BINARY, "f1", TWO, 1 / 2),
        (BINARY, "mcc", TWO, 0),
        (MULTICLASS, "log_loss", THREE, -log(0.5 * 0.5 * 0.25 * 1) / 4),
        (MULTICLASS, "roc_auc_ovr", THREE, (1 + 1.5 / 3 + (1.5 + 2) / 4) / 3),
        (MULTICLASS, "brier", THREE, (0.5 + 0.375 + 2 * 0.75**2 + 0) / 4),
        # The likeliest are right but for the third row; the two with 0.5 share a tenth.
        (MULTICLASS, "calibration_error", THREE, (2 * 0.5 + 0.75 + 0) / 4),
        (MULTICLASS, "accuracy", THREE, 3 / 4),
        (MULTICLASS, "balanced_accuracy", THREE, (1 + 1 + 1 / 2) / 3),
        (MULTICLASS, "f1_macro", THREE, (1 + 2 / 3 + 2 / 3) / 3),
        (MULTICLASS, "f1_weighted", THREE, (1 + 2 / 3 + 2 * 2 / 3) / 4),
        (MULTICLASS, "mcc", THREE, (3 * 4 - (1 + 2 + 2)) / sqrt((16 - 6) * (16 - 6))),
    ],
)
def test_scores_agree_with_a_calculation_by_hand(problem, name, rows, expected):
    assert score(named(name, problem), *rows) == pytest.approx(expected)


@every_metric
def test_drawing_each_row_twice_changes_no_score(metric, problem):
    y, predictions = sample(problem)
    once, twice = metric.scores(y, predictions, np.array([[1], [2]]) * np.ones((1, 60), int))
    assert once == pytest.approx(twice, rel=1e-12)
    assert score(metric, y, predictions) == pytest.approx(once, rel=1e-12)


@every_metric
def test_the_order_of_the_rows_changes_no_score(metric, problem):
    y, predictions = sample(problem)
    order = np.random.default_rng(3).permutation(len(y))
    table = predictions.probabilities
    shuffled = Predictions(predictions.values[order], None if table is None else table[order])
    assert score(metric, y[order], shuffled) == pytest.approx(score(metric, y, predictions))


@every_metric
def test_a_group_of_rows_is_drawn_as_a_whole(metric, problem):
    y, predictions = sample(problem)
    groups = np.random.default_rng(4).permutation(np.arange(60) % 7)
    weights = drawn(n=7)
    by_group = metric.scorer(y, predictions, groups)(weights)
    by_row = metric.scores(y, predictions, weights[:, groups])
    np.testing.assert_allclose(by_group, by_row, rtol=1e-12)


@every_metric
def test_scoring_few_resamples_at_a_time_changes_no_score(metric, problem, monkeypatch):
    y, predictions = sample(problem)
    at_once = metric.scores(y, predictions, drawn())
    monkeypatch.setattr(base, "CELLS_AT_ONCE", 1)
    np.testing.assert_array_equal(metric.scores(y, predictions, drawn()), at_once)


@every_metric
def test_no_score_leaves_its_bounds(metric, problem):
    low, high = metric.bounds
    for seed in range(5):
        y, predictions = sample(problem, seed=seed)
        values = metric.scores(y, predictions, drawn(seed=seed))
        assert ((low <= values) & (values <= high)).all()


@every_metric
def test_knowing_the_answer_gets_the_best_score(metric, problem):
    y, _ = sample(problem)
    table = None if problem is REGRESSION else np.eye(y.max() + 1)[y]
    low, high = metric.bounds
    best = high if metric.maximize else low
    assert score(metric, y, Predictions(y.copy(), table)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("metric", for_problem(REGRESSION), ids=lambda metric: metric.name)
def test_a_predicted_quantity_that_is_nan_makes_the_score_nan(metric):
    y, predictions = sample(REGRESSION)
    values = np.where(np.arange(60) == 5, nan, predictions.values)
    assert isnan(score(metric, y, Predictions(values)))


@pytest.mark.parametrize("problem", [BINARY, MULTICLASS])
def test_a_probability_that_is_nan_makes_every_score_of_probabilities_nan(problem):
    y, predictions = sample(problem)
    table = predictions.probabilities.copy()
    table[5] = nan
    for metric in for_problem(problem):
        value = score(metric, y, Predictions(predictions.values, table))
        assert isnan(value) == metric.needs_probabilities


@every_metric
def test_a_failed_trial_never_beats_a_score(metric, problem):
    achieved = score(metric, *sample(problem))
    assert metric.beats(achieved, metric.worst)
    assert not metric.beats(metric.worst, achieved)


@every_metric
def test_a_score_beats_only_what_is_worse_by_more_than_the_margin(metric, problem):
    better, worse = (0.75, 0.5) if metric.maximize else (0.5, 0.75)
    assert metric.beats(better, worse)
    assert not metric.beats(worse, better)
    assert not metric.beats(better, better)
    assert not metric.beats(better, worse, margin=0.25)
    assert metric.beats(better, worse, margin=0.2)
    assert not metric.beats(nan, worse)
    assert not metric.beats(better, nan)
    assert metric.loss(better) < metric.loss(worse)


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("roc_auc", binary([1, 1], [0.2, 0.8]), nan),
        ("roc_auc", binary([0, 0], [0.2, 0.8]), nan),
        ("average_precision", binary([0, 0], [0.2, 0.8]), nan),
        ("balanced_accuracy", binary([1, 1], [0.2, 0.8]), nan),
        ("precision", binary([1, 0], [0.2, 0.3]), 0),
        ("recall", binary([0, 0], [0.2, 0.8]), 0),
        ("f1", binary([0, 0], [0.2, 0.3]), 0),
        ("mcc", binary([1, 1], [0.2, 0.8]), 0),
        ("log_loss", binary([1, 1], [0.5, 0.5]), log(2)),
    ],
)
def test_a_score_of_one_class_is_nan_or_what_scikit_learn_agrees_on(name, rows, expected):
    assert score(named(name, BINARY), *rows) == pytest.approx(expected, nan_ok=True)


def test_the_mean_area_is_nan_unless_every_class_was_drawn():
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1]])
    values = named("roc_auc_ovr", MULTICLASS).scores(*THREE, weights)
    assert np.isnan(values).tolist() == [False, True]


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro", "f1_weighted", "mcc"])
def test_a_class_that_was_not_drawn_is_not_averaged(name):
    y, predictions = THREE
    weights = np.array([0, 2, 1, 1])
    rows = np.repeat(np.arange(4), weights)
    drawn_only = REFERENCES[MULTICLASS, name](
        y[rows], Predictions(predictions.values[rows]), np.ones(4)
    )
    metric = named(name, MULTICLASS)
    assert metric.scores(y, predictions, weights[None])[0] == pytest.approx(drawn_only)
    without_table = Predictions(predictions.values)
    assert metric.scores(y, without_table, weights[None])[0] == pytest.approx(drawn_only)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9])
def test_r2_of_a_constant_is_nan(level):
    y = np.full(7, level)
    assert isnan(score(named("r2", REGRESSION), y, Predictions(y + np.arange(7))))
    varied = level + np.sqrt(np.arange(7))
    one_row_drawn = 7 * np.eye(7, dtype=int)
    values = named("r2", REGRESSION).scores(varied, Predictions(varied + 1), one_row_drawn)
    assert np.isnan(values).all()


def test_r2_holds_far_from_zero():
    y = 1e9 + np.array([2.0, 4.0, 6.0])
    errors = np.array([-1.0, 0.0, 2.0])
    assert score(named("r2", REGRESSION), y, Predictions(y + errors)) == pytest.approx(1 - 5 / 8)


@pytest.mark.parametrize(("truth", "value"), [(-1.0, 1.0), (1.0, -1.0), (1.0, -3.0)])
def test_rmsle_is_nan_at_minus_one_and_below(truth, value):
    rows = np.array([truth, 2.0]), Predictions(np.array([value, 2.0]))
    assert isnan(score(named("rmsle", REGRESSION), *rows))


def test_a_truth_of_zero_makes_mape_huge_as_in_scikit_learn():
    y, values = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    expected = sk.mean_absolute_percentage_error(y, values)
    assert score(named("mape", REGRESSION), y, Predictions(values)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certainty_in_the_wrong_class_costs_as_much_as_in_scikit_learn(dtype):
    y, table = np.array([0, 1]), np.array([[0, 1], [0, 1]], dtype=dtype)
    expected = sk.log_loss(y, table)
    metric = named("log_loss", BINARY)
    assert score(metric, y, Predictions(y, table)) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=25))
def test_ties_count_half_and_precision_is_taken_at_their_end(rows):
    y = np.array([int(truth) for truth, _ in rows])
    chances = np.array([level / 4 for _, level in rows])
    predictions = binary(y, chances)[1]
    area = score(named("roc_auc", BINARY), y, predictions)
    average = score(named("average_precision", BINARY), y, predictions)
    if y.any():
        assert average == pytest.approx(sk.average_precision_score(y, chances))
    if y.any() and not y.all():
        assert area == pytest.approx(sk.roc_auc_score(y, chances))
    else:
        assert isnan(area)


def test_rows_are_matched_by_position_whatever_the_index_of_the_truth():
    y, predictions = sample(BINARY)
    backwards = pd.Series(y, index=np.arange(60)[::-1])
    for metric in for_problem(BINARY):
        assert score(metric, backwards, predictions) == score(metric, y, predictions)


def test_each_problem_has_its_metrics_and_a_default():
    assert {problem: default(problem).name for problem in ProblemType} == {
        BINARY: "log_loss",
        MULTICLASS: "log_loss",
        REGRESSION: "rmse",
        CLUSTERING: "silhouette",
    }
    assert {(problem, metric.name) for metric, problem in EVERY} == set(REFERENCES)


def test_a_name_means_one_metric_for_each_problem():
    for problem in ProblemType:
        names = [metric.name for metric in for_problem(problem)]
        assert len(names) == len(set(names))
        assert [named(name, problem) for name in names] == list(for_problem(problem))


@every_metric
def test_a_metric_travels_to_another_process(metric, problem):
    there = pickle.loads(pickle.dumps(metric))
    assert score(there, *sample(problem)) == score(metric, *sample(problem))


def test_brier_of_more_than_two_classes_adds_up_over_them():
    assert named("brier", BINARY) is not named("brier", MULTICLASS)
    assert named("brier", MULTICLASS).bounds == (0, 2)


@pytest.mark.parametrize("name", catalogue.SCIKIT_LEARN_NAMES)
def test_scorer_names_of_scikit_learn_are_understood(name):
    scorer = sk.get_scorer(name)  # raises if scikit-learn has no such scorer
    ours = catalogue.SCIKIT_LEARN_NAMES[name]
    problem = next(problem for problem in ProblemType if ours in known(problem))
    assert named(name, problem).name == ours
    assert named(name, problem).maximize == (scorer._sign > 0)


def known(problem):
    return [metric.name for metric in for_problem(problem)]


def test_a_threshold_is_worth_tuning_for_these():
    names = [metric.name for metric in for_problem(BINARY) if metric.needs_threshold]
    assert names == ["balanced_accuracy", "f1", "mcc"]
    assert named("f2", BINARY).needs_threshold
    assert not any(metric.needs_threshold for metric in for_problem(MULTICLASS))


def test_a_misspelt_name_is_told_with_a_suggestion():
    with pytest.raises(SettingsError) as error:
        named("rmes", REGRESSION)
    assert str(error.value) == (
        "No metric for a regression problem is called 'rmes'; did you mean rmse?"
        " Allowed: rmse, mse, mae, r2, mape, median_ae, max_error, rmsle, abs_bias;"
        " any of scikit-learn's scorers that judges such a problem;"
        " a function of yours, as my_project.scores:cost."
    )


@pytest.mark.parametrize("name", ["f0", "f0.0", "f", "f-1", "fx"])
def test_only_a_positive_beta_is_allowed(name):
    with pytest.raises(SettingsError, match=r"mcc; f<beta>, such as f0\.5; any of"):
        named(name, BINARY)


def test_a_metric_of_another_problem_is_refused():
    with pytest.raises(SettingsError) as error:
        named("f0.5", MULTICLASS)
    assert str(error.value) == (
        "No metric for a multiclass problem is called 'f0.5'. Allowed: log_loss, roc_auc_ovr,"
        " brier, calibration_error, accuracy, balanced_accuracy, f1_macro, f1_weighted, mcc;"
        " any of scikit-learn's scorers that judges such a problem;"
        " a function of yours, as my_project.scores:cost."
    )


def test_a_score_of_probabilities_is_refused_without_them():
    y, predictions = sample(BINARY)
    with pytest.raises(SettingsError) as error:
        score(named("roc_auc", BINARY), y, Predictions(predictions.values))
    assert str(error.value) == (
        "roc_auc needs class probabilities, and these predictions have none. Metrics of class"
        " decisions: accuracy, balanced_accuracy, precision, recall, f1, mcc."
    )


class Answers(ClassifierMixin, BaseEstimator):
    """A fitted estimator that knows no more than which row it is asked about."""

    def __init__(self, predictions):
        self.predictions = predictions
        self.classes_ = np.arange(predictions.probabilities.shape[1])

    def predict(self, X):
        return self.predictions.values[X[:, 0]]

    def predict_proba(self, X):
        return self.predictions.probabilities[X[:, 0]]

    def __sklearn_is_fitted__(self):
        return True


class Quantities(RegressorMixin, BaseEstimator):
    """The same for quantities."""

    def __init__(self, predictions):
        self.predictions = predictions

    def predict(self, X):
        return self.predictions.values[X[:, 0]]

    def __sklearn_is_fitted__(self):
        return True


def by_scikit_learn(name, y, predictions, weights):
    """Score by the scorer itself, on rows that are really repeated; the sign taken off."""
    scorer = sk.get_scorer(name)
    estimator = (Quantities if predictions.probabilities is None else Answers)(predictions)
    rows = np.repeat(np.arange(len(y)), weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scorer._sign * scorer(estimator, rows[:, None], y[rows])


# Scorers that compare clusters, that need several labels of a row, or are always 1.
NEVER = {
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "f1_samples",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "jaccard_samples",
    "mutual_info_score",
    "normalized_mutual_info_score",
    "precision_samples",
    "rand_score",
    "recall_samples",
    "v_measure_score",
}
OF_TWO_CLASSES = {
    "f1",
    "jaccard",
    "neg_negative_likelihood_ratio",
    "positive_likelihood_ratio",
    "precision",
    "recall",
    "roc_auc",
}
OF_QUANTITIES = {
    "d2_absolute_error_score",
    "explained_variance",
    "neg_max_error",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_gamma_deviance",
    "neg_mean_poisson_deviance",
    "neg_mean_squared_error",
    "neg_mean_squared_log_error",
    "neg_median_absolute_error",
    "neg_root_mean_squared_error",
    "neg_root_mean_squared_log_error",
    "r2",
}
OF_CLASSES = set(sk.get_scorer_names()) - NEVER - OF_QUANTITIES
SCORERS = [
    *((name, REGRESSION) for name in sorted(OF_QUANTITIES)),
    *((name, BINARY) for name in sorted(OF_CLASSES - {"top_k_accuracy"})),
    *((name, MULTICLASS) for name in sorted(OF_CLASSES - OF_TWO_CLASSES)),
]
every_scorer = pytest.mark.parametrize(("name", "problem"), SCORERS)


@every_scorer
def test_every_scorer_of_scikit_learn_gives_its_own_score(name, problem):
    y, predictions = sample(problem)
    metric = named(name, problem)
    weights = np.concatenate([np.ones((1, 60), int), drawn(b=3)])
    expected = [by_scikit_learn(name, y, predictions, row) for row in weights]
    np.testing.assert_allclose(metric.scores(y, predictions, weights), expected, rtol=1e-9)


@every_scorer
def test_every_scorer_knows_its_direction_and_bounds(name, problem):
    metric = named(name, problem)
    assert metric.maximize == (not name.startswith("neg_"))
    assert not metric.name.startswith("neg_")
    low, high = metric.bounds
    y, predictions = sample(problem)
    table = None if problem is REGRESSION else np.eye(y.max() + 1)[y]
    right = score(metric, y, Predictions(y, table))
    fair = score(metric, y, predictions)
    assert low <= fair <= high
    if metric.name != "positive_likelihood_ratio":  # undefined where there is no false alarm
        assert low <= right <= high
        assert metric.beats(right, fair)


@every_scorer
def test_a_scorer_is_found_again_under_the_name_it_is_logged_by(name, problem):
    metric = named(name, problem)
    assert named(metric.name, problem) == metric
    assert metric.reference == metric.name


@pytest.mark.parametrize("problem", ProblemType)
def test_a_scorer_of_other_problems_is_refused_like_any_unknown_name(problem):
    fitting = {name for name, its in SCORERS if its is problem}
    for name in set(sk.get_scorer_names()) - fitting:
        with pytest.raises(SettingsError, match=f"^No metric for a {problem} problem is called"):
            named(name, problem)


@pytest.mark.parametrize("problem", [BINARY, MULTICLASS])
def test_metrics_that_count_classes_alike_say_so(problem):
    names = {name for name, its in SCORERS if its is problem}
    alike = {name for name in names if named(name, problem).counts_classes_alike}
    macro = {f"{part}_macro" for part in ("f1", "precision", "recall", "jaccard")}
    assert alike == {"balanced_accuracy", *macro}


def test_averages_over_two_classes_take_a_threshold_where_one_helps():
    names = {name for name, its in SCORERS if its is BINARY}
    assert {name for name in names if named(name, BINARY).needs_threshold} == {
        *("f1", "f1_macro", "f1_weighted", "jaccard", "jaccard_macro", "jaccard_weighted"),
        *("balanced_accuracy", "recall_macro", "matthews_corrcoef"),
    }


@pytest.mark.parametrize(
    "name", ["neg_mean_gamma_deviance", "neg_mean_poisson_deviance", "mean_squared_log_error"]
)
def test_a_score_that_scikit_learn_refuses_is_nan(name):
    y, _ = sample(REGRESSION)
    assert isnan(score(named(name, REGRESSION), y, Predictions(-y)))


def test_a_row_that_was_not_drawn_can_not_make_a_score_undefined():
    y, values = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 2.5, 3.0])
    metric = named("mean_gamma_deviance", REGRESSION)
    found = metric.scores(y, Predictions(values), np.array([[1, 1, 1], [0, 2, 1]]))
    expected = sk.mean_gamma_deviance([2.0, 2.0, 3.0], [2.5, 2.5, 3.0])
    assert found == pytest.approx([nan, expected], nan_ok=True)


def test_ranks_hold_for_probabilities_that_rounding_has_made_negative():
    chances = np.array([-1e-17, -2e-17, 0.0, -0.0, 0.5])
    y, predictions = binary([1, 0, 1, 0, 1], chances)
    expected = sk.roc_auc_score(y, chances)
    loss = stopping_loss(named("roc_auc", BINARY), y)
    assert loss(predictions.probabilities) == pytest.approx(-expected)


@pytest.mark.parametrize("name", ["d2_log_loss_score", "roc_auc_ovr_weighted", "top_k_accuracy"])
def test_a_resample_may_lack_a_class(name):
    y, predictions = sample(MULTICLASS)
    without = (y != 2).astype(int)
    labels = {"labels": np.arange(4)}
    kept = without == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "d2_log_loss_score": sk.d2_log_loss_score,
            "roc_auc_ovr_weighted": partial(
                sk.roc_auc_score, multi_class="ovr", average="weighted"
            ),
            "top_k_accuracy": sk.top_k_accuracy_score,
        }[name](y[kept], predictions.probabilities[kept], **labels)
    value = named(name, MULTICLASS).scores(y, predictions, without[None])[0]
    assert value == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 5)), min_size=1, max_size=12)
)
def test_the_four_counts_say_the_same_as_the_rows(rows):
    y, decided, weights = (np.array(column).astype(int) for column in zip(*rows, strict=True))
    predictions = Predictions(decided, np.eye(2)[decided])
    hits = (weights * (y & decided)).sum()
    alarms, misses = weights[decided == 1].sum() - hits, weights[y == 1].sum() - hits
    counts = hits, alarms, misses, weights.sum() - hits - alarms - misses
    for name in COUNTED:
        metric = named(name, BINARY)
        with np.errstate(all="ignore"):
            found = metric.counts(*(np.array([float(count)]) for count in counts))[0]
        by_rows = metric.scores(y, predictions, weights[None])[0]
        assert found == pytest.approx(by_rows, nan_ok=True)


COUNTED = [
    *("f0.5", "f1", "f2", "balanced_accuracy", "mcc", "precision", "recall", "jaccard"),
    *(f"{part}_{how}" for part in ("f1", "jaccard", "recall") for how in ("macro", "weighted")),
]
TUNED = [name for name in COUNTED if named(name, BINARY).needs_threshold]


def raw(predictions):
    table = predictions.probabilities
    return predictions.values if table is None else table


@every_metric
def test_the_loss_to_stop_on_is_the_loss_of_the_score(metric, problem):
    if metric.needs_threshold:
        return
    for seed in range(3):
        y, predictions = sample(problem, seed=seed)
        loss = stopping_loss(metric, y)
        expected = metric.loss(score(metric, y, predictions))
        assert loss(raw(predictions)) == pytest.approx(expected, rel=1e-12)
        again = raw(sample(problem, seed=seed + 10)[1])
        assert loss(again) != loss(raw(predictions))
        assert loss(raw(predictions)) == pytest.approx(expected, rel=1e-12)
        weights = np.random.default_rng(seed + 20).integers(0, 4, 60)
        weighted = metric.loss(metric.scores(y, predictions, weights[None])[0])
        assert stopping_loss(metric, y, weights)(raw(predictions)) == pytest.approx(weighted)


@every_scorer
def test_the_loss_to_stop_on_follows_any_scorer(name, problem):
    metric = named(name, problem)
    if metric.needs_threshold:
        return
    y, predictions = sample(problem)
    expected = metric.loss(score(metric, y, predictions))
    assert stopping_loss(metric, y)(raw(predictions)) == pytest.approx(expected, rel=1e-12)


def test_rows_may_weigh_fractions_where_no_row_need_be_repeated():
    weights = np.random.default_rng(0).uniform(0.1, 2, 60)
    for problem, name in REFERENCES:
        if name in ("max_error", "median_ae") or named(name, problem).needs_threshold:
            continue
        y, predictions = sample(problem)
        metric = named(name, problem)
        expected = metric.loss(REFERENCES[problem, name](y, predictions, weights))
        assert stopping_loss(metric, y, weights)(raw(predictions)) == pytest.approx(expected)


@every_metric
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_an_answer_that_is_not_finite_is_an_infinite_loss(metric, problem, bad):
    y, predictions = sample(problem)
    answers = raw(predictions).copy()
    answers[7] = bad
    assert stopping_loss(metric, y)(answers) == inf


@pytest.mark.parametrize(
    ("name", "problem", "y"),
    [
        ("roc_auc", BINARY, [1, 1]),
        ("roc_auc", BINARY, [0, 0]),
        ("average_precision", BINARY, [0, 0]),
        ("balanced_accuracy", BINARY, [1, 1]),
        ("roc_auc_ovr", MULTICLASS, [0, 1]),
        ("roc_auc_ovr", MULTICLASS, [0, 2]),
    ],
)
def test_a_score_that_is_undefined_is_an_infinite_loss(name, problem, y):
    table = np.array([[0.2, 0.8], [0.7, 0.3]])
    if problem is MULTICLASS:
        table = np.column_stack([table / 2, [0.5, 0.5]])
    assert stopping_loss(named(name, problem), np.array(y))(table) == inf


def test_the_likeliest_of_two_equal_classes_is_the_first():
    loss = stopping_loss(named("accuracy", BINARY), np.array([0, 1, 1]))
    assert loss(np.array([[0.5, 0.5], [0.5, 0.5], [0.4, 0.6]])) == pytest.approx(-2 / 3)


def every_cut(metric, y, table):
    """Loss at each threshold that parts the rows in another way, tried one by one."""
    chances = table[:, 1]
    return [
        metric.loss(score(metric, y, Predictions((chances >= cut).astype(int), table)))
        for cut in [*np.unique(chances), 2.0]
    ]


def at(metric, y, table, threshold):
    decided = (table[:, 1] >= threshold).astype(int)
    return metric.loss(score(metric, y, Predictions(decided, table)))


@pytest.mark.parametrize("name", TUNED)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=20).filter(
        lambda rows: len({truth for truth, _ in rows}) == 2
    )
)
def test_no_cut_is_better_than_the_best_threshold(name, rows):
    metric = named(name, BINARY)
    y = np.array([int(truth) for truth, _ in rows])
    _, predictions = binary(y, [level / 8 for _, level in rows])
    table = predictions.probabilities
    threshold = best_threshold(metric, y, table)
    least = min(every_cut(metric, y, table))
    assert at(metric, y, table, threshold) == pytest.approx(least)
    assert stopping_loss(metric, y)(table) == pytest.approx(least)


@pytest.mark.parametrize("name", TUNED)
def test_the_best_threshold_of_many_rows_is_exact_too(name):
    rng = np.random.default_rng(0)
    metric = named(name, BINARY)
    y = (rng.random(700) < 0.15).astype(int)
    chances = 1 / (1 + np.exp(-(1.5 * y + rng.normal(size=700) - 2)))
    table = np.column_stack([1 - chances, chances])
    least = min(every_cut(metric, y, table))
    assert at(metric, y, table, best_threshold(metric, y, table)) == pytest.approx(least)
    twice = np.repeat([1, 2], 350)
    rows = np.repeat(np.arange(700), twice)
    repeated = best_threshold(metric, y[rows], table[rows])
    assert best_threshold(metric, y, table, weights=twice) == repeated
    assert stopping_loss(metric, y, twice)(table) == pytest.approx(
        stopping_loss(metric, y[rows])(table[rows])
    )


@pytest.mark.parametrize(
    ("truth", "chances", "expected"),
    [
        ([0, 1, 0, 1], [0.1, 0.5, 0.25, 0.75], 0.375),
        ([1, 1, 0], [0.5, 0.75, 0.25], 0.375),
        # Everything is said yes to: half of the smallest probability.
        ([1, 1], [0.5, 0.75], 0.25),
        ([1, 0, 0], [0.0, 0.5, 0.5], 0.0),
        # Cutting off two and cutting off none are equally good for F1.
        ([1, 0, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.6, 0.05, 0.05], (0.6 + 0.05) / 2),
        ([1, 0, 1, 0, 0], [0.9, 0.7, 0.6, 0.3, 0.2], 0.45),
    ],
)
def test_a_threshold_lies_midway_between_two_probabilities(truth, chances, expected):
    y, predictions = binary(truth, chances)
    found = best_threshold(named("f1", BINARY), y, predictions.probabilities)
    assert found == pytest.approx(expected)


def test_of_equally_good_thresholds_the_one_nearest_one_half_is_taken():
    # One of two positives, or both with two false alarms: balanced accuracy is 0.75 either way.
    y, predictions = binary([1, 0, 0, 1, 0, 0], [0.9, 0.6, 0.6, 0.5, 0.1, 0.1])
    balanced = named("balanced_accuracy", BINARY)
    assert at(balanced, y, predictions.probabilities, 0.75) == pytest.approx(-0.75)
    assert at(balanced, y, predictions.probabilities, 0.3) == pytest.approx(-0.75)
    assert best_threshold(balanced, y, predictions.probabilities) == pytest.approx(0.3)


def test_probabilities_next_to_each_other_are_still_parted():
    low = 0.5
    high = np.nextafter(low, 1)
    y, predictions = binary([0, 1], [low, high])
    assert best_threshold(named("f1", BINARY), y, predictions.probabilities) == high


def test_saying_no_to_a_row_that_is_certain_takes_a_threshold_above_it():
    y, predictions = binary([0, 0, 1], [1.0, 1.0, 0.5])
    threshold = best_threshold(named("mcc", BINARY), y, predictions.probabilities)
    # All are refused or all accepted: both correlate with nothing, and 0.25 is nearer one half.
    assert threshold == 0.25
    y, predictions = binary([0, 1, 0], [1.0, 0.5, 0.25])
    cuts = stopping._cuts(named("f1", BINARY), y, predictions.probabilities, None)
    assert cuts.thresholds(np.array([0]))[0] > 1


@pytest.mark.parametrize(
    ("name", "problem", "table"),
    [
        ("accuracy", BINARY, [[0.2, 0.8], [0.7, 0.3]]),
        ("log_loss", BINARY, [[0.2, 0.8], [0.7, 0.3]]),
        ("f1_macro", MULTICLASS, [[0.2, 0.8, 0], [0.7, 0.3, 0]]),
        ("f1", BINARY, [[0.2, 0.8, 0], [0.7, 0.3, 0]]),
        ("f1", BINARY, [[nan, nan], [0.7, 0.3]]),
        ("balanced_accuracy", BINARY, [[0.2, 0.8], [0.7, 0.3]]),
    ],
)
def test_there_is_no_threshold_where_none_is_needed_or_can_be_told(name, problem, table):
    y = np.array([1, 1])  # of one class alone balanced accuracy is undefined
    assert best_threshold(named(name, problem), y, np.array(table)) is None


SCORES = """
import numpy as np

RATE = 3


def cost(y_true, y_pred):
    return np.mean(np.where(y_pred < y_true, 2 * (y_true - y_pred), y_pred - y_true))


def gain(y_true, y_pred):
    return 5 * np.sum((y_true == 1) & (y_pred == 1)) - np.sum((y_true == 0) & (y_pred == 1))


gain.maximize = True
gain.needs_threshold = True


def own_f1(y_true, y_pred):
    hits = np.sum((y_true == 1) & (y_pred == 1))
    return 2 * hits / max(1, np.sum(y_true == 1) + np.sum(y_pred == 1))


own_f1.maximize = True
own_f1.needs_threshold = True


def surprise(y_true, y_pred):
    return -np.log(y_pred[np.arange(len(y_true)), y_true]).mean()


surprise.needs_probabilities = True


def rmse(y_true, y_pred):
    return 0.0


def wordy(y_true, y_pred):
    return "good"


def broken(y_true, y_pred):
    raise RuntimeError("nothing to see")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A module of the user's on the path, gone after the test."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "scores.py").write_text(SCORES)
    (tmp_path / "shop" / "lost.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop.scores"
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


def test_a_function_of_the_users_judges_quantities(project):
    metric = named(f"{project}:cost", REGRESSION)
    assert (metric.name, metric.reference) == ("cost", "shop.scores:cost")
    assert (metric.maximize, metric.needs_threshold, metric.worst) == (False, False, inf)
    y, values = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])
    assert score(metric, y, Predictions(values)) == pytest.approx((1 + 0 + 4) / 3)
    drawn_rows = metric.scores(y, Predictions(values), np.array([[2, 1, 0], [0, 0, 1]]))
    assert drawn_rows == pytest.approx([2 / 3, 4])
    by_group = metric.scorer(y, Predictions(values), np.array([0, 1, 0]))(np.array([[2, 0]]))
    assert by_group == pytest.approx([(1 + 4) / 2])
    assert stopping_loss(metric, y)(values) == pytest.approx(5 / 3)


def test_a_function_of_the_users_judges_decisions_by_class_codes(project):
    metric = named(f"{project}:gain", BINARY)
    assert metric.maximize
    assert metric.needs_threshold
    y, predictions = binary([1, 0, 0, 1], [0.6, 0.7, 0.3, 0.4])
    assert score(metric, y, predictions) == 5 - 1
    assert best_threshold(metric, y, predictions.probabilities) == pytest.approx(0.35)
    assert stopping_loss(metric, y)(predictions.probabilities) == -(10 - 1)
    assert not named(f"{project}:gain", MULTICLASS).needs_threshold


def test_a_function_of_the_users_judges_probabilities(project):
    metric = named(f"{project}:surprise", MULTICLASS)
    assert metric.needs_probabilities
    y, predictions = sample(MULTICLASS)
    ours = named("log_loss", MULTICLASS)
    np.testing.assert_allclose(
        metric.scores(y, predictions, drawn()), ours.scores(y, predictions, drawn())
    )
    with pytest.raises(SettingsError, match=r"^surprise needs class probabilities, and these"):
        score(metric, y, Predictions(predictions.values))


def test_the_threshold_of_a_function_is_found_by_trying(project):
    metric, ours = named(f"{project}:own_f1", BINARY), named("f1", BINARY)
    for n, slack in ((150, 1e-12), (3000, 0.01)):
        rng = np.random.default_rng(n)
        y = (rng.random(n) < 0.2).astype(int)
        chances = 1 / (1 + np.exp(-(1.5 * y + rng.normal(size=n) - 2)))
        table = np.column_stack([1 - chances, chances])
        found = at(metric, y, table, best_threshold(metric, y, table))
        assert found == pytest.approx(stopping_loss(metric, y)(table))
        assert found <= stopping_loss(ours, y)(table) + slack


def test_a_function_of_the_users_travels_to_another_process(project):
    metric = named(f"{project}:cost", REGRESSION)
    there = pickle.loads(pickle.dumps(metric))
    assert there == metric
    assert hash(there) == hash(metric)


def test_a_function_that_only_a_record_names_is_not_even_imported(project, tmp_path, monkeypatch):
    mark = tmp_path / "was_here"
    (tmp_path / "stranger.py").write_text(
        f"open({str(mark)!r}, 'w').close()\ndef cost(y, said):\n    return 0.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for chosen in ("rmse", "", f"{project}:cost"):
        with pytest.raises(SettingsError, match="names the function stranger:cost as its metric"):
            on_record("stranger:cost", REGRESSION, chosen)
    assert not mark.exists()
    assert on_record(f"{project}:cost", REGRESSION, f"{project}:cost").name == "cost"
    assert on_record("mae", REGRESSION, "").name == "mae"


@pytest.mark.parametrize(
    ("path", "problem", "message"),
    [
        (
            "shop.prices:cost",
            REGRESSION,
            "train.metric names 'shop.prices:cost', and there is no module 'shop.prices'."
            " A file src/shop/prices.py would be 'shop.prices'.",
        ),
        (
            "nowhere.scores:cost",
            REGRESSION,
            "train.metric names 'nowhere.scores:cost', and there is no module 'nowhere'."
            " A file src/nowhere/scores.py would be 'nowhere.scores'.",
        ),
        (
            "shop.scores:profit",
            REGRESSION,
            "train.metric names 'shop.scores:profit', and shop.scores has no 'profit'."
            " Its functions: cost, gain, own_f1, surprise, rmse, wordy, broken.",
        ),
        (
            "shop.scores:RATE",
            REGRESSION,
            "train.metric names 'shop.scores:RATE', which is not a function but 3.",
        ),
        (
            "shop.scores:",
            REGRESSION,
            "train.metric names 'shop.scores:'; a function of yours is named as"
            " my_project.scores:cost.",
        ),
        (
            ":cost",
            REGRESSION,
            "train.metric names ':cost'; a function of yours is named as my_project.scores:cost.",
        ),
        (
            "shop.scores:surprise",
            REGRESSION,
            "train.metric names 'shop.scores:surprise', which needs class probabilities,"
            " and a regression problem has none.",
        ),
        (
            "shop.scores:rmse",
            REGRESSION,
            "train.metric names 'shop.scores:rmse', and rmse is a metric of Ratchet's."
            " Give the function another name.",
        ),
    ],
)
def test_a_function_that_can_not_be_used_is_told_why(project, path, problem, message):
    with pytest.raises(SettingsError) as error:
        named(path, problem)
    assert str(error.value) == message


def test_a_function_that_returns_no_number_is_told_so(project):
    metric = named(f"{project}:wordy", REGRESSION)
    with pytest.raises(SettingsError) as error:
        score(metric, *QUANTITIES)
    assert str(error.value) == (
        "shop.scores:wordy returned 'good', where a metric returns one number."
    )


def test_what_a_function_itself_raises_keeps_its_traceback(project):
    with pytest.raises(RuntimeError, match=r"^nothing to see$"):
        score(named(f"{project}:broken", REGRESSION), *QUANTITIES)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        named("shop.lost:cost", REGRESSION)


def test_rows_are_not_repeated_in_part(project):
    metric = named(f"{project}:cost", REGRESSION)
    with pytest.raises(SettingsError) as error:
        stopping_loss(metric, QUANTITIES[0], np.array([0.5, 1, 1]))(QUANTITIES[1].values)
    assert str(error.value) == (
        "shop.scores:cost takes no weights, and rows can't be repeated in part."
    )


@every_scorer
def test_a_scorer_travels_to_another_process(name, problem):
    metric = named(name, problem)
    there = pickle.loads(pickle.dumps(metric))
    assert there == metric
    assert hash(there) == hash(metric)


def test_metrics_load_without_scikit_learn():
    asked = "import sys, ratchet.metrics; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=SOURCE, check=False).returncode == 0


GUIDE = SOURCE.parent / "docs" / "metrics.md"


@pytest.mark.parametrize("problem", ProblemType)
def test_the_guide_names_what_every_evaluation_reports(problem):
    row = next(
        line for line in GUIDE.read_text("utf-8").splitlines() if line.startswith(f"| {problem} |")
    )
    assert re.findall("`(.+?)`", row) == known(problem)


def test_the_guide_names_what_takes_a_threshold():
    text = GUIDE.read_text("utf-8").partition("## Thresholds")[2].partition(" judge decisions")[0]
    takes = {metric.name for metric in catalogue.METRICS if metric.needs_threshold}
    takes |= {metric.name for metric in catalogue.MORE_DECISIONS if metric.needs_threshold}
    assert set(re.findall("`(.+?)`", text)) == takes - {"f1"} | {"f<beta>"}


def test_the_guides_own_functions_work(project, tmp_path):
    code = re.findall("```python\n(.+?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "shop" / "guide.py").write_text("".join(code))
    y, values = np.array([10.0, 20.0]), np.array([13.0, 19.0])
    assert score(named("shop.guide:cost", REGRESSION), y, Predictions(values)) == (3 + 2) / 2
    profit = named("shop.guide:profit", BINARY)
    y, predictions = binary([1, 0, 1], [0.4, 0.3, 0.8])
    assert score(profit, y, predictions) == 30 - 4
    assert stopping_loss(profit, y)(predictions.probabilities) == -(60 - 8)
    assert best_threshold(profit, y, predictions.probabilities) == pytest.approx(0.35)

"""Scores agree with scikit-learn, for every resample at once."""

import pickle
import warnings
from math import isnan, log, nan, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ratchet import metrics
from ratchet.errors import SettingsError
from ratchet.metrics import Predictions, default, for_problem, named, score
from ratchet.problem import ProblemType

REGRESSION, BINARY, MULTICLASS = (
    ProblemType.REGRESSION,
    ProblemType.BINARY,
    ProblemType.MULTICLASS,
)
EVERY = [(metric, problem) for problem in ProblemType for metric in for_problem(problem)]

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
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", 1)
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


@pytest.mark.parametrize("name", metrics._SKLEARN_NAMES)
def test_scorer_names_of_scikit_learn_are_understood(name):
    scorer = sk.get_scorer(name)  # raises if scikit-learn has no such scorer
    ours = metrics._SKLEARN_NAMES[name]
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
        " Allowed: rmse, mse, mae, r2, mape, median_ae, max_error, rmsle, abs_bias."
    )


@pytest.mark.parametrize("name", ["f0", "f0.0", "f", "f-1", "fx"])
def test_only_a_positive_beta_is_allowed(name):
    with pytest.raises(SettingsError, match=r"Also f<beta>, such as f0\.5\.$"):
        named(name, BINARY)


def test_a_metric_of_another_problem_is_refused():
    with pytest.raises(SettingsError) as error:
        named("f0.5", MULTICLASS)
    assert str(error.value) == (
        "No metric for a multiclass problem is called 'f0.5'. Allowed: log_loss, roc_auc_ovr,"
        " brier, calibration_error, accuracy, balanced_accuracy, f1_macro, f1_weighted, mcc."
    )


def test_a_score_of_probabilities_is_refused_without_them():
    y, predictions = sample(BINARY)
    with pytest.raises(SettingsError) as error:
        score(named("roc_auc", BINARY), y, Predictions(predictions.values))
    assert str(error.value) == (
        "roc_auc needs class probabilities, and these predictions have none. Metrics of class"
        " decisions: accuracy, balanced_accuracy, precision, recall, f1, mcc."
    )

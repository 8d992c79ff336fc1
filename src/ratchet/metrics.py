"""What a score is called, how it is computed, and which way is better."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np

from ratchet.errors import SettingsError
from ratchet.problem import ProblemType

# Scores that need every row hold the weights of this many at a time: 8 MB, about a cache's size.
CELLS_AT_ONCE = 1_000_000

# A variance below this share of the mean square is rounding, not spread.
_ROUNDING = 1e-12

_CALIBRATION_BINS = 10

Scorer = Callable[[np.ndarray], np.ndarray]
"""Maps weights of shape (b, g) to scores of shape (b,)."""


@dataclass(frozen=True)
class Predictions:
    """What a model says about n rows."""

    values: np.ndarray
    """Shape (n,): predicted quantities, or codes 0..K-1 of the classes decided on."""
    probabilities: np.ndarray | None = None
    """Shape (n, K), rows add up to 1: a probability for each class; None for quantities."""

    def only(self, rows: np.ndarray) -> "Predictions":
        """Keep some rows, given by a mask of shape (n,) or by their places."""
        table = self.probabilities
        return Predictions(self.values[rows], None if table is None else table[rows])


Prepare = Callable[[np.ndarray, Predictions, np.ndarray], Scorer]
"""Maps the truth (n,), predictions and group codes (n,) to a scorer of the groups' weights."""


@dataclass(frozen=True)
class Metric:
    """One number that judges predictions."""

    name: str
    """Key in MLflow and in ``metrics.json``, e.g. ``"rmse"``."""
    problems: frozenset[ProblemType]
    """Problem types that it can judge."""
    prepare: Prepare
    """Does once what all weights share, such as sorting; ``scorer`` is the door to it."""
    maximize: bool = False
    """Whether a larger score is a better one."""
    bounds: tuple[float, float] = (0.0, inf)
    """Smallest and largest score that can occur."""
    needs_probabilities: bool = False
    """Whether it judges class probabilities rather than decisions."""
    needs_threshold: bool = False
    """Whether it judges decisions of two classes that a tuned threshold improves."""

    @property
    def worst(self) -> float:
        """Score given to a trial that failed, so that it never wins."""
        low, high = self.bounds
        return low if self.maximize else high

    def loss(self, score: float) -> float:
        """Turn a score into a number to minimise, as hyperopt expects."""
        return -score if self.maximize else score

    def beats(self, challenger: float, champion: float, margin: float = 0.0) -> bool:
        """Tell whether ``challenger`` is better by more than ``margin``.

        NaN never beats anything, on either side of the comparison.
        """
        return self.loss(champion) - self.loss(challenger) > margin

    def scorer(
        self, y: np.ndarray, predictions: Predictions, groups: np.ndarray | None = None
    ) -> Scorer:
        """Give a function that scores many resamples of the same rows.

        Parameters
        ----------
        y : np.ndarray of shape (n,)
            The truth: quantities, or class codes 0..K-1 (of two, 1 is the positive one).
        predictions : Predictions
            Of the same n rows.
        groups : np.ndarray of shape (n,), optional
            Codes 0..g-1 of the group of each row, no code left out; a row's
            weight is its group's. None makes each row a group of its own, g = n.

        Returns
        -------
        Scorer
            Maps weights of shape (b, g), how often each group was drawn in
            each of b resamples, to b scores. A score that a resample doesn't
            define is NaN, or 0 where scikit-learn's convention is 0.

        Raises
        ------
        SettingsError
            If it judges probabilities and there are none.
        """
        if self.needs_probabilities and predictions.probabilities is None:
            others = ", ".join(
                metric.name
                for metric in _METRICS
                if self.problems & metric.problems and not metric.needs_probabilities
            )
            raise SettingsError(
                f"{self.name} needs class probabilities, and these predictions have none."
                f" Metrics of class decisions: {others}."
            )
        codes = np.arange(len(y)) if groups is None else groups
        with np.errstate(all="ignore"):
            prepared = self.prepare(np.asarray(y), predictions, codes)

        def scores(weights: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                return prepared(weights)

        return scores

    def scores(self, y: np.ndarray, predictions: Predictions, weights: np.ndarray) -> np.ndarray:
        """Score b resamples, given how often each row was drawn.

        Parameters
        ----------
        y : np.ndarray of shape (n,)
            The truth, as in ``scorer``.
        predictions : Predictions
            Of the same n rows.
        weights : np.ndarray of shape (b, n)
            Counts.

        Returns
        -------
        np.ndarray of shape (b,)
        """
        return self.scorer(y, predictions)(weights)


def score(metric: Metric, y: np.ndarray, predictions: Predictions) -> float:
    """Score predictions once, every row counting the same.

    Parameters
    ----------
    metric : Metric
        The judge.
    y : np.ndarray of shape (n,)
        The truth: quantities, or class codes 0..K-1 (of two, 1 is the positive one).
    predictions : Predictions
        Of the same n rows.

    Returns
    -------
    float
        NaN where the score is not defined.

    Raises
    ------
    SettingsError
        If the metric judges probabilities and there are none.

    Examples
    --------
    >>> mae = named("mae", ProblemType.REGRESSION)
    >>> score(mae, np.array([1.0, 2.0]), Predictions(np.array([1.5, 4.5])))
    1.5
    """
    return float(metric.scores(y, predictions, np.ones((1, len(y)), dtype=np.int64))[0])


def named(name: str, problem: ProblemType) -> Metric:
    """Find a metric by its name, or by the name of scikit-learn's scorer.

    For two classes any ``f<beta>`` is known, such as ``f0.5`` and ``f2``.
    The score of a scikit-learn name keeps its own sign: ``neg_log_loss``
    gives ``log_loss``, which is minimised.

    Parameters
    ----------
    name : str
        E.g. ``"rmse"`` or ``"neg_root_mean_squared_error"``.
    problem : ProblemType
        What the target poses; ``brier`` differs between two and more classes.

    Raises
    ------
    SettingsError
        If no metric of that name judges such a problem.

    Examples
    --------
    >>> named("neg_root_mean_squared_error", ProblemType.REGRESSION).name
    'rmse'
    >>> named("f0.5", ProblemType.BINARY).name
    'f0.5'
    """
    metrics = {metric.name: metric for metric in for_problem(problem)}
    known = metrics | {
        alias: metrics[ours] for alias, ours in _SKLEARN_NAMES.items() if ours in metrics
    }
    if name in known:
        return known[name]
    family = re.fullmatch(r"f(\d+(?:\.\d+)?)", name)
    if family and problem is ProblemType.BINARY and (beta := float(family[1])) > 0:
        return _f(beta)
    close = difflib.get_close_matches(name, known, n=1)
    raise SettingsError(
        f"No metric for a {problem} problem is called {name!r}"
        + (f"; did you mean {known[close[0]].name}?" if close else ".")
        + f" Allowed: {', '.join(metrics)}."
        + (" Also f<beta>, such as f0.5." if problem is ProblemType.BINARY else "")
    )


def for_problem(problem: ProblemType) -> tuple[Metric, ...]:
    """List the metrics that judge such a problem, the usual one first."""
    return tuple(metric for metric in _METRICS if problem in metric.problems)


def default(problem: ProblemType) -> Metric:
    """Give the metric that is optimised when the user names none.

    Examples
    --------
    >>> [default(problem).name for problem in ProblemType]
    ['log_loss', 'log_loss', 'rmse']
    """
    return for_problem(problem)[0]


def _from_sums(
    rows: Callable[[np.ndarray, Predictions], np.ndarray],
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
    y: np.ndarray,
    predictions: Predictions,
    groups: np.ndarray,
) -> Scorer:
    """Score from weighted sums, for a score that depends on the rows through nothing else.

    Parameters
    ----------
    rows : callable
        Gives the sufficient statistics of each row, shape (n, k), or (n,) if there is one.
    combine : callable
        Maps their sums (b, k) and the sums of the weights (b,) to scores (b,).
    y, predictions, groups
        As in ``Prepare``.
    """
    statistics = rows(y, predictions).reshape(len(y), -1)
    columns = [np.bincount(groups, column) for column in statistics.T]
    sums = np.column_stack([*columns, np.bincount(groups)])

    def scores(weights: np.ndarray) -> np.ndarray:
        drawn = weights @ sums
        return combine(drawn[:, :-1], drawn[:, -1])

    return scores


def _mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return sums[:, 0] / total


def _root_mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean(sums, total))


def _absolute_mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.abs(_mean(sums, total))


def _error(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return predictions.values - y


def _squared_error(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return _error(y, predictions) ** 2


def _absolute_error(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return np.abs(_error(y, predictions))


def _relative_error(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    # As scikit-learn does: a truth of 0 makes the score huge rather than undefined.
    return _absolute_error(y, predictions) / np.maximum(np.abs(y), np.finfo(np.float64).eps)


def _squared_log_error(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    values = np.where(predictions.values > -1, predictions.values, np.nan)
    return (np.log1p(values) - np.log1p(np.where(y > -1, y, np.nan))) ** 2


def _spread_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    # Centred first: the sums of squares of values far from 0 would cancel to rounding.
    centred = y - y.mean()
    return np.column_stack([_squared_error(y, predictions), centred, centred**2])


def _r2(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    residual, first, second = sums.T
    spread = second - first**2 / total
    return 1 - residual / np.where(spread > _ROUNDING * second, spread, np.nan)


def _median_error(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    errors = _absolute_error(y, predictions)
    if np.isnan(errors).any():
        return _undefined
    order = np.argsort(errors)
    errors, groups = errors[order], groups[order]

    def scores(weights: np.ndarray) -> np.ndarray:
        drawn = np.cumsum(np.take(weights, groups, axis=1), axis=1)
        halves = drawn[:, -1] / 2
        lower = [np.searchsorted(row, half) for row, half in zip(drawn, halves, strict=True)]
        upper = [
            np.searchsorted(row, half, side="right")
            for row, half in zip(drawn, halves, strict=True)
        ]
        return (errors[lower] + errors[upper]) / 2

    return _in_chunks(scores, len(y))


def _largest_error(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    largest = np.zeros(groups.max() + 1)
    np.maximum.at(largest, groups, _absolute_error(y, predictions))
    return lambda weights: np.where(weights > 0, largest, 0).max(axis=1)


def _class_probabilities(predictions: Predictions) -> np.ndarray:
    assert predictions.probabilities is not None  # Metric.scorer has checked
    return predictions.probabilities


def _surprise(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    probabilities = _class_probabilities(predictions)
    eps = np.finfo(probabilities.dtype).eps
    given = probabilities[np.arange(len(y)), y].clip(eps, 1 - eps)
    return -np.log(given.astype(np.float64))


def _brier(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return (_class_probabilities(predictions)[:, 1] - y) ** 2


def _brier_of_all_classes(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    probabilities = _class_probabilities(predictions)
    given = probabilities[np.arange(len(y)), y]
    # Σ_k (p_k - 1[k = y])², without the (n, K) table of ones and zeros.
    return (probabilities**2).sum(axis=1) - 2 * given + 1


def _calibration_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return _gaps_in_bins(_class_probabilities(predictions)[:, 1], y)


def _top_calibration_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Hold the probability of the likeliest class against whether it is the true one.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On Calibration
    of Modern Neural Networks. ICML 34. (Their bins are equally wide; these
    hold equally many rows, as for two classes.)
    """
    probabilities = _class_probabilities(predictions)
    return _gaps_in_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == y)


def _gaps_in_bins(chance: np.ndarray, happened: np.ndarray) -> np.ndarray:
    inner = np.linspace(0, 1, _CALIBRATION_BINS + 1)[1:-1]
    bins = np.searchsorted(np.quantile(chance, inner), chance)
    gaps = chance - happened
    return np.where(bins[:, None] == np.arange(_CALIBRATION_BINS), gaps[:, None], 0)


def _calibration_error(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean gap between probability and frequency over bins of equally many rows.

    The bins are those of the whole sample, so that every resample is judged
    in the same ones.

    References
    ----------
    Pakdaman Naeini, M., Cooper, G. and Hauskrecht, M. (2015). Obtaining Well
    Calibrated Probabilities Using Bayesian Binning. AAAI 29.
    """
    return np.abs(sums).sum(axis=1) / total


def _positive_auc(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    return _auc(y == 1, _class_probabilities(predictions)[:, 1], groups)


def _mean_auc(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    """Mean area of each class against the rest; NaN unless every class was drawn."""
    areas = [
        _auc(y == code, column, groups)
        for code, column in enumerate(_class_probabilities(predictions).T)
    ]
    return lambda weights: np.mean([area(weights) for area in areas], axis=0)


def _auc(positive: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Scorer:
    """Share of pairs of a positive and a negative row in the right order, ties half.

    References
    ----------
    Hanley, J. A. and McNeil, B. J. (1982). The meaning and use of the area
    under a receiver operating characteristic (ROC) curve. Radiology 143.
    """
    if np.isnan(scores).any():
        return _undefined
    order = np.argsort(scores)
    positive, scores, groups = positive[order], scores[order], groups[order]
    below = np.searchsorted(scores[~positive], scores[positive])
    not_above = np.searchsorted(scores[~positive], scores[positive], side="right")
    has_ties = bool((below != not_above).any())
    groups_below, groups = groups[~positive], groups[positive]

    def areas(weights: np.ndarray) -> np.ndarray:
        negatives = _running_totals(np.take(weights, groups_below, axis=1))
        drawn = np.take(weights, groups, axis=1)
        won = np.vecdot(drawn, np.take(negatives, below, axis=1))
        if has_ties:
            won = (won + np.vecdot(drawn, np.take(negatives, not_above, axis=1))) / 2
        return won / (drawn.sum(axis=1) * negatives[:, -1])

    return _in_chunks(areas, len(scores))


def _average_precision(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    """Mean, over positive rows, of the precision among rows that score as high or higher."""
    scores = _class_probabilities(predictions)[:, 1]
    if np.isnan(scores).any():
        return _undefined
    order = np.argsort(-scores)
    positive, heights, groups = (y == 1)[order], -scores[order], groups[order]
    hits_until = np.searchsorted(heights[positive], heights[positive], side="right")
    alarms_until = np.searchsorted(heights[~positive], heights[positive], side="right")
    alarm_groups, groups = groups[~positive], groups[positive]

    def precisions(weights: np.ndarray) -> np.ndarray:
        drawn = np.take(weights, groups, axis=1)
        hits = np.take(_running_totals(drawn), hits_until, axis=1)
        all_alarms = _running_totals(np.take(weights, alarm_groups, axis=1))
        alarms = np.take(all_alarms, alarms_until, axis=1)
        # Where nothing was asked for nothing was drawn either: any divisor will do.
        asked = np.maximum(hits + alarms, 1).astype(np.float64)
        # Not vecdot: of floats it starts BLAS threads, which cost more than they do here.
        return np.einsum("bn,bn->b", drawn, hits / asked) / drawn.sum(axis=1)

    return _in_chunks(precisions, len(scores))


def _running_totals(weights: np.ndarray) -> np.ndarray:
    """Sum the first 0, 1, ... n weights of each resample, shape (b, n + 1)."""
    totals = np.zeros((len(weights), weights.shape[1] + 1), dtype=weights.dtype)
    np.cumsum(weights, axis=1, out=totals[:, 1:])
    return totals


def _undefined(weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan)


def _in_chunks(scores: Scorer, n: int) -> Scorer:
    """Score few resamples at a time, so that memory doesn't grow with their number."""
    size = max(1, CELLS_AT_ONCE // max(1, n))
    return lambda weights: np.concatenate(
        [scores(weights[start : start + size]) for start in range(0, len(weights), size)]
    )


def _correct(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return predictions.values == y


def _positive_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    truth, decided = y == 1, predictions.values == 1
    return np.column_stack([truth & decided, decided, truth])


def _precision(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return _ratio(sums[:, 0], sums[:, 1])


def _recall(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return _ratio(sums[:, 0], sums[:, 2])


def _f_beta(sums: np.ndarray, total: np.ndarray, *, beta: float) -> np.ndarray:
    """Weighted harmonic mean of precision and recall, recall counting beta times as much.

    References
    ----------
    van Rijsbergen, C. J. (1979). Information Retrieval, 2nd ed., chapter 7.
    """
    hits, decided, truth = sums.T
    return _ratio((1 + beta**2) * hits, decided + beta**2 * truth)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; nothing of nothing is 0, as scikit-learn's ``zero_division=0``."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _class_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Tell for each row and class: true class, decided class, both; shape (n, 3 K)."""
    decided = predictions.values
    if predictions.probabilities is None:
        classes = np.arange(max(y.max(), decided.max()) + 1)
    else:
        classes = np.arange(predictions.probabilities.shape[1])
    is_true, is_decided = y[:, None] == classes, decided[:, None] == classes
    return np.column_stack([is_true, is_decided, is_true & is_decided])


def _balanced_accuracy(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that were drawn; NaN if that is one."""
    truth, _, hits = np.split(sums, 3, axis=1)
    drawn = (truth > 0).sum(axis=1)
    return _ratio(hits, truth).sum(axis=1) / np.where(drawn > 1, drawn, np.nan)


def _f1_macro(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that were drawn or decided on."""
    truth, decided, hits = np.split(sums, 3, axis=1)
    return _ratio(2 * hits, truth + decided).sum(axis=1) / (truth + decided > 0).sum(axis=1)


def _f1_weighted(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    truth, decided, hits = np.split(sums, 3, axis=1)
    return (truth * _ratio(2 * hits, truth + decided)).sum(axis=1) / total


def _mcc(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Correlation of decision and truth; 0 where either is one class only.

    References
    ----------
    Gorodkin, J. (2004). Comparing two K-category assignments by a K-category
    correlation coefficient. Computational Biology and Chemistry 28.
    """
    truth, decided, hits = np.split(sums, 3, axis=1)
    both = hits.sum(axis=1) * total - (truth * decided).sum(axis=1)
    spread_of_truth = total**2 - (truth**2).sum(axis=1)
    spread_of_decided = total**2 - (decided**2).sum(axis=1)
    return _ratio(both, np.sqrt(spread_of_truth * spread_of_decided))


_REGRESSION = frozenset({ProblemType.REGRESSION})
_BINARY = frozenset({ProblemType.BINARY})
_MULTICLASS = frozenset({ProblemType.MULTICLASS})
_CLASSES = _BINARY | _MULTICLASS

# Parts of functions rather than closures: a metric must travel to the processes of a search.
_sums = partial(partial, _from_sums)
_quantity = partial(Metric, problems=_REGRESSION)
_decision = partial(Metric, maximize=True, bounds=(0.0, 1.0))
_probability = partial(Metric, needs_probabilities=True)
_ranking = partial(_probability, maximize=True, bounds=(0.0, 1.0))


def _f(beta: float) -> Metric:
    return _decision(
        f"f{beta:g}",
        _BINARY,
        _sums(_positive_rows, partial(_f_beta, beta=beta)),
        needs_threshold=True,
    )


# The first that fits a problem is its default.
_METRICS: tuple[Metric, ...] = (
    _quantity("rmse", prepare=_sums(_squared_error, _root_mean)),
    _quantity("mse", prepare=_sums(_squared_error, _mean)),
    _quantity("mae", prepare=_sums(_absolute_error, _mean)),
    _quantity("r2", prepare=_sums(_spread_rows, _r2), maximize=True, bounds=(-inf, 1.0)),
    _quantity("mape", prepare=_sums(_relative_error, _mean)),
    _quantity("median_ae", prepare=_median_error),
    _quantity("max_error", prepare=_largest_error),
    _quantity("rmsle", prepare=_sums(_squared_log_error, _root_mean)),
    # The mean error itself has no better direction; its distance from 0 has.
    _quantity("abs_bias", prepare=_sums(_error, _absolute_mean)),
    _probability("log_loss", _CLASSES, _sums(_surprise, _mean)),
    _ranking("roc_auc", _BINARY, _positive_auc),
    _ranking("average_precision", _BINARY, _average_precision),
    _ranking("roc_auc_ovr", _MULTICLASS, _mean_auc),
    _probability("brier", _BINARY, _sums(_brier, _mean), bounds=(0.0, 1.0)),
    _probability("brier", _MULTICLASS, _sums(_brier_of_all_classes, _mean), bounds=(0.0, 2.0)),
    _probability(
        "calibration_error",
        _BINARY,
        _sums(_calibration_rows, _calibration_error),
        bounds=(0.0, 1.0),
    ),
    _probability(
        "calibration_error",
        _MULTICLASS,
        _sums(_top_calibration_rows, _calibration_error),
        bounds=(0.0, 1.0),
    ),
    _decision("accuracy", _CLASSES, _sums(_correct, _mean)),
    _decision(
        "balanced_accuracy",
        _BINARY,
        _sums(_class_rows, _balanced_accuracy),
        needs_threshold=True,
    ),
    _decision("balanced_accuracy", _MULTICLASS, _sums(_class_rows, _balanced_accuracy)),
    _decision("precision", _BINARY, _sums(_positive_rows, _precision)),
    _decision("recall", _BINARY, _sums(_positive_rows, _recall)),
    _f(1.0),
    _decision("f1_macro", _MULTICLASS, _sums(_class_rows, _f1_macro)),
    _decision("f1_weighted", _MULTICLASS, _sums(_class_rows, _f1_weighted)),
    _decision("mcc", _BINARY, _sums(_class_rows, _mcc), bounds=(-1.0, 1.0), needs_threshold=True),
    _decision("mcc", _MULTICLASS, _sums(_class_rows, _mcc), bounds=(-1.0, 1.0)),
)

_SKLEARN_NAMES = {
    "neg_root_mean_squared_error": "rmse",
    "neg_mean_squared_error": "mse",
    "neg_mean_absolute_error": "mae",
    "neg_mean_absolute_percentage_error": "mape",
    "neg_median_absolute_error": "median_ae",
    "neg_max_error": "max_error",
    "neg_root_mean_squared_log_error": "rmsle",
    "neg_log_loss": "log_loss",
    "neg_brier_score": "brier",
    "matthews_corrcoef": "mcc",
}

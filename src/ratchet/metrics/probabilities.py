"""Metrics of class probabilities."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ratchet.metrics.base import Metric, Predictions, Scorer, Sums, in_chunks, mean, undefined
from ratchet.metrics.ranks import ladder
from ratchet.problem import ProblemType

_CALIBRATION_BINS = 10


def _surprise(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return _surprise_at(predictions.of_classes[np.arange(len(y)), y])


def _surprise_at(given: np.ndarray) -> np.ndarray:
    eps = np.finfo(given.dtype).eps
    return -np.log(given.clip(eps, 1 - eps).astype(np.float64))


def _quick_log_loss(y: np.ndarray) -> Callable[[Predictions], float]:
    rows = np.arange(len(y))

    def score(predictions: Predictions) -> float:
        table = predictions.of_classes
        given = table.ravel().take(rows * table.shape[1] + y)
        return float(_surprise_at(given).mean())

    return score


def _brier(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return (predictions.of_classes[:, 1] - y) ** 2


def _brier_of_all_classes(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    probabilities = predictions.of_classes
    given = probabilities[np.arange(len(y)), y]
    # Σ_k (p_k - 1[k = y])², without the (n, K) table of ones and zeros.
    return (probabilities**2).sum(axis=1) - 2 * given + 1


def _calibration_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return _gaps_in_bins(predictions.of_classes[:, 1], y)


def _top_calibration_rows(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Hold the probability of the likeliest class against whether it is the true one.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On Calibration
    of Modern Neural Networks. ICML 34. (Their bins are equally wide; these
    hold equally many rows, as for two classes.)
    """
    probabilities = predictions.of_classes
    return _gaps_in_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == y)


def calibration_bins(chance: np.ndarray) -> np.ndarray:
    """Deal rows to the bins in which ``calibration_error`` looks at them.

    Parameters
    ----------
    chance : np.ndarray of shape (n,)
        Probability that each row was given.

    Returns
    -------
    np.ndarray of shape (n,)
        Codes 0 to 9. Bins hold equally many rows but for equal probabilities,
        which are never parted, so that some bins may hold none.

    Examples
    --------
    >>> calibration_bins(np.array([0.1, 0.1, 0.8, 0.9]))
    array([0, 0, 6, 9])
    """
    inner = np.linspace(0, 1, _CALIBRATION_BINS + 1)[1:-1]
    return np.searchsorted(np.quantile(chance, inner), chance)


def _gaps_in_bins(chance: np.ndarray, happened: np.ndarray) -> np.ndarray:
    gaps = chance - happened
    bins = calibration_bins(chance)
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
    return _auc(y == 1, predictions.of_classes[:, 1], groups)


def _mean_auc(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    """Mean area of each class against the rest; NaN unless every class was drawn."""
    areas = [
        _auc(y == code, column, groups) for code, column in enumerate(predictions.of_classes.T)
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
        return undefined
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

    return in_chunks(areas, len(scores))


def _quick_auc(y: np.ndarray) -> Callable[[Predictions], float]:
    positive = (y == 1).astype(np.int64)
    return lambda predictions: _quick_area(positive, predictions.of_classes[:, 1])


def _quick_mean_auc(y: np.ndarray) -> Callable[[Predictions], float]:
    each_class = [(y == code).astype(np.int64) for code in range(y.max() + 1)]

    def score(predictions: Predictions) -> float:
        columns = predictions.of_classes.T
        if len(each_class) < len(columns):  # a class that has no row, so no area either
            return np.nan
        return float(np.mean(list(map(_quick_area, each_class, columns))))

    return score


def _quick_area(positive: np.ndarray, scores: np.ndarray) -> float:
    if np.isnan(scores).any():
        return np.nan
    ranked = ladder(positive, scores)
    area = np.trapezoid(ranked.hits, ranked.alarms)
    return float(area / (ranked.hits[-1] * ranked.alarms[-1]))


def _average_precision(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    """Mean, over positive rows, of the precision among rows that score as high or higher."""
    scores = predictions.of_classes[:, 1]
    if np.isnan(scores).any():
        return undefined
    order = np.argsort(-scores)
    positive, heights, groups = (y == 1)[order], -scores[order], groups[order]
    hits_until = np.searchsorted(heights[positive], heights[positive], side="right")
    alarms_until = np.searchsorted(heights[~positive], heights[positive], side="right")
    alarm_groups, groups = groups[~positive], groups[positive]

    def precisions(weights: np.ndarray) -> np.ndarray:
        drawn = np.take(weights, groups, axis=1)
        hits = np.take(_running_totals(drawn), hits_until, axis=1)
        all_alarms = _running_totals(np.take(weights, alarm_groups, axis=1))
        asked = (hits + np.take(all_alarms, alarms_until, axis=1)).astype(np.float64)
        # Where nothing was asked for nothing was drawn either: any divisor will do.
        asked[asked == 0] = 1
        # Not vecdot: of floats it starts BLAS threads, which cost more than they do here.
        return np.einsum("bn,bn->b", drawn, hits / asked) / drawn.sum(axis=1)

    return in_chunks(precisions, len(scores))


def _quick_average_precision(y: np.ndarray) -> Callable[[Predictions], float]:
    positive = (y == 1).astype(np.int64)

    def score(predictions: Predictions) -> float:
        scores = predictions.of_classes[:, 1]
        if np.isnan(scores).any():
            return np.nan
        ranked = ladder(positive, scores)
        hits, alarms = ranked.hits[1:], ranked.alarms[1:]
        return float((np.diff(ranked.hits) * hits / (hits + alarms)).sum() / hits[-1])

    return score


def _running_totals(weights: np.ndarray) -> np.ndarray:
    """Sum the first 0, 1, ... n weights of each resample, shape (b, n + 1)."""
    totals = np.zeros((len(weights), weights.shape[1] + 1), dtype=weights.dtype)
    np.cumsum(weights, axis=1, out=totals[:, 1:])
    return totals


_BINARY = frozenset({ProblemType.BINARY})
_MULTICLASS = frozenset({ProblemType.MULTICLASS})

_probability = partial(Metric, needs_probabilities=True)
_ranking = partial(_probability, maximize=True, bounds=(0.0, 1.0))
_calibration = partial(_probability, "calibration_error", bounds=(0.0, 1.0))

# The first is the default of its problems.
PROBABILITIES: tuple[Metric, ...] = (
    _probability("log_loss", _BINARY | _MULTICLASS, Sums(_surprise, mean), quick=_quick_log_loss),
    _ranking("roc_auc", _BINARY, _positive_auc, quick=_quick_auc),
    _ranking("average_precision", _BINARY, _average_precision, quick=_quick_average_precision),
    _ranking("roc_auc_ovr", _MULTICLASS, _mean_auc, quick=_quick_mean_auc),
    _probability("brier", _BINARY, Sums(_brier, mean), bounds=(0.0, 1.0)),
    _probability("brier", _MULTICLASS, Sums(_brier_of_all_classes, mean), bounds=(0.0, 2.0)),
    _calibration(_BINARY, Sums(_calibration_rows, _calibration_error)),
    _calibration(_MULTICLASS, Sums(_top_calibration_rows, _calibration_error)),
)

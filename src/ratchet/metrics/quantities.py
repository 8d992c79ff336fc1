"""Metrics of predicted quantities."""

from collections.abc import Callable
from functools import partial
from math import inf

import numpy as np

from ratchet.metrics.base import Metric, Predictions, Scorer, Sums, in_chunks, mean, undefined
from ratchet.problem import ProblemType

# A variance below this share of the mean square is rounding, not spread.
_ROUNDING = 1e-12


def _root_mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.sqrt(mean(sums, total))


def _absolute_mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.abs(mean(sums, total))


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


def _quick_r2(y: np.ndarray) -> Callable[[Predictions], float]:
    centred = y - y.mean()
    spread = centred.sum(), (centred**2).sum()
    total = np.array([float(len(y))])

    def score(predictions: Predictions) -> float:
        residual = _squared_error(y, predictions).sum()
        return float(_r2(np.array([[residual, *spread]]), total)[0])

    return score


def _median_error(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    errors = _absolute_error(y, predictions)
    if np.isnan(errors).any():
        return undefined
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

    return in_chunks(scores, len(y))


def _quick_median_error(y: np.ndarray) -> Callable[[Predictions], float]:
    return lambda predictions: float(np.median(_absolute_error(y, predictions)))


def _largest_error(y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
    largest = np.zeros(groups.max() + 1)
    np.maximum.at(largest, groups, _absolute_error(y, predictions))
    return lambda weights: np.where(weights > 0, largest, 0).max(axis=1)


_quantity = partial(Metric, problems=frozenset({ProblemType.REGRESSION}))

# The first is the default of its problem.
QUANTITIES: tuple[Metric, ...] = (
    _quantity("rmse", prepare=Sums(_squared_error, _root_mean)),
    _quantity("mse", prepare=Sums(_squared_error, mean)),
    _quantity("mae", prepare=Sums(_absolute_error, mean)),
    _quantity(
        "r2",
        prepare=Sums(_spread_rows, _r2),
        maximize=True,
        bounds=(-inf, 1.0),
        quick=_quick_r2,
    ),
    _quantity("mape", prepare=Sums(_relative_error, mean)),
    _quantity("median_ae", prepare=_median_error, quick=_quick_median_error),
    _quantity("max_error", prepare=_largest_error),
    _quantity("rmsle", prepare=Sums(_squared_log_error, _root_mean)),
    # The mean error itself has no better direction; its distance from 0 has.
    _quantity("abs_bias", prepare=Sums(_error, _absolute_mean)),
)

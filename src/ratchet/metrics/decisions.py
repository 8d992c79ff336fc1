"""Metrics of the classes that were decided on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from ratchet.metrics.base import Counts, Metric, Predictions, Sums, mean, ratio
from ratchet.problem import ProblemType


def _correct(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    return predictions.values == y


def _outcomes(y: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Tell for each row whether it is a hit, a false alarm or a miss; shape (n, 3)."""
    truth, decided = y == 1, predictions.values == 1
    return np.column_stack([truth & decided, decided & ~truth, truth & ~decided])


@dataclass(frozen=True)
class _OfCounts:
    """Combine sums of outcomes by a function of the four counts."""

    counts: Counts

    def __call__(self, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
        hits, alarms, misses = sums.T
        return self.counts(hits, alarms, misses, total - hits - alarms - misses)


def _precision(hits: np.ndarray, alarms: np.ndarray, _misses: object, _: object) -> np.ndarray:
    return ratio(hits, hits + alarms)


def _recall(hits: np.ndarray, _alarms: object, misses: np.ndarray, _: object) -> np.ndarray:
    return ratio(hits, hits + misses)


def _jaccard(hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray, _: object) -> np.ndarray:
    return ratio(hits, hits + alarms + misses)


@dataclass(frozen=True)
class _FBeta:
    """Weighted harmonic mean of precision and recall, recall counting beta times as much.

    References
    ----------
    van Rijsbergen, C. J. (1979). Information Retrieval, 2nd ed., chapter 7.
    """

    beta: float

    def __call__(
        self, hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray, passes: np.ndarray
    ) -> np.ndarray:
        weight = self.beta**2
        return ratio((1 + weight) * hits, (1 + weight) * hits + alarms + weight * misses)


def _balanced_counts(
    hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray, passes: np.ndarray
) -> np.ndarray:
    """Mean of the shares of positives hit and negatives passed; NaN if there are none of one."""
    return (hits / (hits + misses) + passes / (passes + alarms)) / 2


def _mcc_counts(
    hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray, passes: np.ndarray
) -> np.ndarray:
    spread_of_truth = (hits + misses) * (alarms + passes)
    spread_of_decided = (hits + alarms) * (misses + passes)
    return ratio(hits * passes - alarms * misses, np.sqrt(spread_of_truth * spread_of_decided))


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
    return ratio(hits, truth).sum(axis=1) / np.where(drawn > 1, drawn, np.nan)


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
    return ratio(both, np.sqrt(spread_of_truth * spread_of_decided))


# How each score of one class follows from its rows that are true, decided on, or both.
_PARTS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "f1": lambda truth, decided, hits: (2 * hits, truth + decided),
    "precision": lambda truth, decided, hits: (hits, decided),
    "recall": lambda truth, decided, hits: (hits, truth),
    "jaccard": lambda truth, decided, hits: (hits, truth + decided - hits),
}


@dataclass(frozen=True)
class _Averaged:
    """Score each class against the rest, and average as scikit-learn does."""

    part: str
    """Which score: one of ``_PARTS``."""
    average: str
    """``macro``: classes that were drawn or decided on count alike; ``weighted``: as often as they
    are true; ``micro``: from the sums over classes."""

    def __call__(self, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Combine sums of ``_class_rows``."""
        return self.over(*np.split(sums.T, 3))

    def over(self, truth: np.ndarray, decided: np.ndarray, hits: np.ndarray) -> np.ndarray:
        """Average over classes, given what each counts, of shape (K, b)."""
        above, below = _PARTS[self.part](truth, decided, hits)
        if self.average == "micro":
            return ratio(above.sum(axis=0), below.sum(axis=0))
        if self.average == "weighted":
            return (truth * ratio(above, below)).sum(axis=0) / truth.sum(axis=0)
        return ratio(above, below).sum(axis=0) / (truth + decided > 0).sum(axis=0)


@dataclass(frozen=True)
class _OfTwoClasses:
    """Score the four counts as what two classes count."""

    averaged: _Averaged

    def __call__(
        self, hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray, passes: np.ndarray
    ) -> np.ndarray:
        return self.averaged.over(
            truth=np.stack([passes + alarms, hits + misses]),
            decided=np.stack([passes + misses, hits + alarms]),
            hits=np.stack([passes, hits]),
        )


_BINARY = frozenset({ProblemType.BINARY})
_MULTICLASS = frozenset({ProblemType.MULTICLASS})

_decision = partial(Metric, maximize=True, bounds=(0.0, 1.0))


def _of_counts(
    name: str,
    counts: Counts,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    needs_threshold: bool = False,
    counts_classes_alike: bool = False,
) -> Metric:
    return _decision(
        name,
        _BINARY,
        Sums(_outcomes, _OfCounts(counts)),
        bounds=bounds,
        needs_threshold=needs_threshold,
        counts_classes_alike=counts_classes_alike,
        counts=counts,
    )


def f_beta(beta: float) -> Metric:
    """Make the F-score of two classes in which recall counts ``beta`` times as much."""
    return _of_counts(f"f{beta:g}", _FBeta(beta), needs_threshold=True)


def _averaged(part: str, average: str, problem: ProblemType) -> Metric:
    combine = _Averaged(part, average)
    is_binary = problem is ProblemType.BINARY
    # A threshold would buy precision with silence, and what is averaged by frequency
    # is accuracy, or near it.
    balances = part in ("f1", "jaccard") and average != "micro"
    return _decision(
        f"{part}_{average}",
        frozenset({problem}),
        Sums(_class_rows, combine),
        needs_threshold=is_binary and (balances or (part, average) == ("recall", "macro")),
        counts_classes_alike=average == "macro",
        counts=_OfTwoClasses(combine) if is_binary else None,
    )


DECISIONS: tuple[Metric, ...] = (
    _decision("accuracy", _BINARY | _MULTICLASS, Sums(_correct, mean)),
    _of_counts(
        "balanced_accuracy", _balanced_counts, needs_threshold=True, counts_classes_alike=True
    ),
    _decision(
        "balanced_accuracy",
        _MULTICLASS,
        Sums(_class_rows, _balanced_accuracy),
        counts_classes_alike=True,
    ),
    _of_counts("precision", _precision),
    _of_counts("recall", _recall),
    f_beta(1.0),
    _averaged("f1", "macro", ProblemType.MULTICLASS),
    _averaged("f1", "weighted", ProblemType.MULTICLASS),
    _of_counts("mcc", _mcc_counts, bounds=(-1.0, 1.0), needs_threshold=True),
    _decision("mcc", _MULTICLASS, Sums(_class_rows, _mcc), bounds=(-1.0, 1.0)),
)
"""Metrics that every evaluation reports."""

MORE_DECISIONS: tuple[Metric, ...] = (
    _of_counts("jaccard", _jaccard, needs_threshold=True),
    *(
        metric
        for part, average, problem in product(
            _PARTS, ("macro", "weighted", "micro"), (ProblemType.BINARY, ProblemType.MULTICLASS)
        )
        if (metric := _averaged(part, average, problem)) not in DECISIONS
    ),
)
"""Metrics under scikit-learn's names that are computed for whoever asks."""

"""What a metric is: its name, its direction, and how it scores many resamples at once."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from ratchet.errors import SettingsError
from ratchet.problem import ProblemType

# Scores that need every row hold the weights of this many at a time: 8 MB, about a cache's size.
CELLS_AT_ONCE = 1_000_000

Scorer = Callable[[np.ndarray], np.ndarray]
"""Maps weights of shape (b, g) to scores of shape (b,)."""


@dataclass(frozen=True)
class Predictions:
    """What a model says about n rows."""

    values: np.ndarray
    """Shape (n,): predicted quantities, codes 0..K-1 of the classes decided on, or clusters."""
    probabilities: np.ndarray | None = None
    """Shape (n, K), rows add up to 1: a probability for each class; None for quantities."""

    def only(self, rows: np.ndarray) -> "Predictions":
        """Keep some rows, given by a mask of shape (n,) or by their places."""
        table = self.probabilities
        return Predictions(self.values[rows], None if table is None else table[rows])

    @property
    def of_classes(self) -> np.ndarray:
        """The class probabilities, where it is known that there are some."""
        assert self.probabilities is not None  # Metric.scorer has checked
        return self.probabilities


Prepare = Callable[[np.ndarray, Predictions, np.ndarray], Scorer]
"""Maps the truth (n,), predictions and group codes (n,) to a scorer of the groups' weights."""

Counts = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps hits, false alarms, misses and right passes, each of shape (c,), to scores (c,)."""

Quick = Callable[[np.ndarray], Callable[[Predictions], float]]
"""Maps the truth (n,) to a function that scores predictions of the same rows, once each."""


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
    counts_classes_alike: bool = False
    """Whether a rare class weighs as much as a frequent one, so that fitting should do so too."""
    counts: Counts | None = None
    """The score of two classes from the four counts, where it depends on nothing else."""
    quick: Quick | None = None
    """The same score, every row counting the same, where that is faster than by ``prepare``."""
    path: str | None = None
    """Import path of the user's function that it calls; None for every other metric."""

    @property
    def reference(self) -> str:
        """What ``named`` finds it by: its name, or the import path of the user's function."""
        return self.path or self.name

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
            The truth: quantities, or class codes 0..K-1 (of two, 1 is the positive one). For
            clusters, which have none, the rows' places in a space, of shape (n, d).
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
            raise SettingsError(self._without_probabilities())
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

    def _without_probabilities(self) -> str:
        # The catalogue is made of metrics: at the top of this file it could not be imported.
        from ratchet.metrics.catalogue import METRICS

        others = [
            metric.name
            for metric in METRICS
            if self.problems & metric.problems and not metric.needs_probabilities
        ]
        return (
            f"{self.name} needs class probabilities, and these predictions have none."
            f" Metrics of class decisions: {', '.join(others)}."
        )


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
    >>> from ratchet.metrics import named
    >>> mae = named("mae", ProblemType.REGRESSION)
    >>> score(mae, np.array([1.0, 2.0]), Predictions(np.array([1.5, 4.5])))
    1.5
    """
    return float(metric.scores(y, predictions, np.ones((1, len(y)), dtype=np.int64))[0])


@dataclass(frozen=True)
class Sums:
    """Score from weighted sums, for a score that depends on the rows through nothing else."""

    rows: Callable[[np.ndarray, Predictions], np.ndarray]
    """Gives the sufficient statistics of each row, shape (n, k), or (n,) if there is one."""
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Maps their sums (b, k) and the sums of the weights (b,) to scores (b,)."""

    def __call__(self, y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
        """Add up each group once; a resample is then a product of small matrices."""
        statistics = self.rows(y, predictions).reshape(len(y), -1)
        if groups.any():
            columns = [np.bincount(groups, column) for column in statistics.T]
            sums = np.column_stack([*columns, np.bincount(groups)])
        else:
            columns = [column.sum(dtype=np.float64) for column in statistics.T]
            sums = np.array([[*columns, len(y)]])

        def scores(weights: np.ndarray) -> np.ndarray:
            drawn = weights @ sums
            return self.combine(drawn[:, :-1], drawn[:, -1])

        return scores


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; nothing of nothing is 0, as scikit-learn's ``zero_division=0``."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def mean(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Combine the sum of one statistic to its mean."""
    return sums[:, 0] / total


def undefined(weights: np.ndarray) -> np.ndarray:
    """Score every resample as NaN."""
    return np.full(len(weights), np.nan)


def in_chunks(scores: Scorer, n: int) -> Scorer:
    """Score few resamples at a time, so that memory doesn't grow with their number."""
    size = max(1, CELLS_AT_ONCE // max(1, n))
    return lambda weights: np.concatenate(
        [scores(weights[start : start + size]) for start in range(0, len(weights), size)]
    )

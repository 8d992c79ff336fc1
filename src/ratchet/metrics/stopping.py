"""What a search asks of a metric: a loss after every round, and the best threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from ratchet.metrics.base import Metric, Predictions
from ratchet.metrics.ranks import ladder

# Thresholds that are tried for a score that is no function of the four counts.
N_TRIED = 200


def stopping_loss(
    metric: Metric, y: np.ndarray, weights: np.ndarray | None = None
) -> Callable[[np.ndarray], float]:
    """Give the function that early stopping minimises on some rows.

    What depends on the truth alone is done here, once: the function itself is
    called after every round of boosting.

    Parameters
    ----------
    metric : Metric
        What was asked for.
    y : np.ndarray of shape (n,)
        The truth about the rows: quantities or class codes.
    weights : np.ndarray of shape (n,), optional
        How much each row counts; None when all count the same.

    Returns
    -------
    callable
        Maps quantities (n,), or probabilities (n, K), to the loss: the score
        with its sign turned where more is better. Decisions are for the
        likeliest class, or by the threshold that is best on these very rows
        where the metric needs one. Infinite where the score is undefined or
        an answer isn't finite.

    Examples
    --------
    >>> from ratchet.metrics import named
    >>> from ratchet.problem import ProblemType
    >>> loss = stopping_loss(named("f1", ProblemType.BINARY), np.array([0, 1, 0, 1]))
    >>> loss(np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.6, 0.4]]))
    -1.0
    """
    y = np.asarray(y)
    scored = _scorer_of_one(metric, y, weights)

    def loss(raw: np.ndarray) -> float:
        if not np.isfinite(raw).all():
            return inf
        with np.errstate(all="ignore"):
            if raw.ndim == 1:
                found = metric.loss(scored(Predictions(raw)))
            elif metric.needs_threshold and raw.shape[1] == 2:
                found = float(np.fmin.reduce(_cuts(metric, y, raw, weights).losses))
            else:
                found = metric.loss(scored(Predictions(_likeliest(raw), raw)))
        return inf if np.isnan(found) else found

    return loss


def best_threshold(
    metric: Metric, y: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> float | None:
    """Find the probability from which on the positive class is best said.

    It lies midway between two neighbouring probabilities. Of thresholds that
    are equally good, it is the one nearest to one half. For a score that is
    no function of the four counts, such as a user's, at most ``N_TRIED``
    probabilities, spread over the rows, are tried.

    Parameters
    ----------
    metric : Metric
        The judge.
    y : np.ndarray of shape (n,)
        Class codes; 1 is the positive one.
    probabilities : np.ndarray of shape (n, 2)
        Best out of fold: a threshold overfits rows that were learned from.
    weights : np.ndarray of shape (n,), optional
        How much each row counts; None when all count the same.

    Returns
    -------
    float or None
        None if the metric needs no threshold, there are not two classes, a
        probability is not finite, or the score is undefined at every threshold.

    Examples
    --------
    >>> from ratchet.metrics import named
    >>> from ratchet.problem import ProblemType
    >>> f1 = named("f1", ProblemType.BINARY)
    >>> chances = np.array([0.1, 0.5, 0.25, 0.75])
    >>> best_threshold(f1, np.array([0, 1, 0, 1]), np.column_stack([1 - chances, chances]))
    0.375
    """
    if not metric.needs_threshold or probabilities.shape[1] != 2:
        return None
    if not np.isfinite(probabilities).all():
        return None
    with np.errstate(all="ignore"):
        cuts = _cuts(metric, np.asarray(y), probabilities, weights)
        best = np.fmin.reduce(cuts.losses)
    if not np.isfinite(best):
        return None
    equally_good = cuts.thresholds(np.flatnonzero(cuts.losses == best))
    return float(equally_good[np.abs(equally_good - 0.5).argmin()])


def _scorer_of_one(
    metric: Metric, y: np.ndarray, weights: np.ndarray | None
) -> Callable[[Predictions], float]:
    """Score predictions of the same rows, again and again."""
    if weights is not None:
        drawn = weights[None]
        return lambda predictions: float(metric.scores(y, predictions, drawn)[0])
    if metric.quick is not None:
        return metric.quick(y)
    one_group, once = np.zeros(len(y), dtype=np.int64), np.ones((1, 1), dtype=np.int64)
    return lambda predictions: float(metric.scorer(y, predictions, one_group)(once)[0])


def _likeliest(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.shape[1] == 2:  # far faster than argmax, and the first of equals like it
        return (probabilities[:, 1] > probabilities[:, 0]).astype(np.int64)
    return probabilities.argmax(axis=1)


@dataclass(frozen=True)
class _Cuts:
    """Ways to part the rows at a height of the positive class's probability."""

    heights: np.ndarray
    """Distinct probabilities, falling, of shape (m,)."""
    said: np.ndarray
    """How many of the heights the positive class is said of at each cut, of shape (c,)."""
    losses: np.ndarray
    """Loss at each cut, of shape (c,)."""

    def thresholds(self, cuts: np.ndarray) -> np.ndarray:
        """Find the middle between the two heights that each cut parts."""
        heights = self.heights.astype(np.float64)
        # To say no to a row that is certain takes a threshold that no probability can reach.
        top = 1.0 if heights[0] < 1 else np.nextafter(heights[0], inf)
        rungs = np.concatenate([[top], heights, [0.0]])
        above, below = rungs[self.said[cuts]], rungs[self.said[cuts] + 1]
        middles = (above + below) / 2
        # Neighbours that are next to each other as numbers have no middle.
        return np.where(middles > below, middles, above)


def _cuts(
    metric: Metric, y: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> _Cuts:
    chances = probabilities[:, 1]
    if metric.counts is None:
        return _tried_cuts(metric, y, probabilities, weights)
    ranked = ladder((y == 1).astype(np.int64), chances, weights)
    hits, alarms = ranked.hits, ranked.alarms
    scores = metric.counts(hits, alarms, hits[-1] - hits, alarms[-1] - alarms)
    return _Cuts(ranked.heights, np.arange(len(scores)), -scores if metric.maximize else scores)


def _tried_cuts(
    metric: Metric, y: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> _Cuts:
    """Score the decisions themselves, at cuts that part the rows into equal shares."""
    chances = probabilities[:, 1]
    rising = np.unique(chances)
    tried = rising
    if len(rising) > N_TRIED:
        shares = np.linspace(0, 1, N_TRIED)
        tried = np.unique(np.quantile(chances, shares, method="inverted_cdf"))
    said = np.append(0, len(rising) - np.searchsorted(rising, tried[::-1]))
    scored = _scorer_of_one(metric, y, weights)
    decisions = [np.zeros(len(y), dtype=np.int64)]
    decisions += [(chances >= height).astype(np.int64) for height in tried[::-1]]
    losses = [metric.loss(scored(Predictions(each, probabilities))) for each in decisions]
    return _Cuts(rising[::-1], said, np.array(losses))

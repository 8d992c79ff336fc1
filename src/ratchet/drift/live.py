"""The score on new rows whose labels are known, held against that on the test rows.

Both are of other rows, so they are compared as two independent samples. Their
intervals may lean to a side, and the interval of their difference keeps that:
its distance from the difference is, on either side, the root of the sum of the
squares of the two distances that make up that side.

References
----------
Zou, G. Y. and Donner, A. (2008). Construction of Confidence Limits about Effect
Measures: A General Approach. Statistics in Medicine 27.
"""

from math import hypot, isfinite

import numpy as np

from ratchet import evaluation
from ratchet.drift.base import LiveScore
from ratchet.drift.reference import Expected
from ratchet.metrics import Metric, Predictions


def score(
    metric: Metric,
    y: np.ndarray,
    said: Predictions,
    tested: Expected,
    *,
    least_loss: float,
    resamples: int,
    seed: int,
    clusters: np.ndarray | None = None,
) -> LiveScore:
    """Score new rows, and compare.

    Parameters
    ----------
    metric : Metric
        What the model was chosen by.
    y : np.ndarray of shape (n_rows,)
        Labels as codes, or quantities.
    said : Predictions
        Of the same rows.
    tested : Expected
        The same score on the test rows; its confidence is that of all intervals.
    least_loss : float
        Share of the gain over the baseline that must be lost for a worse score to matter.
    resamples : int
        How many resamples are behind the interval.
    seed : int
        Of the resamples.
    clusters : np.ndarray of shape (n_rows,), optional
        Code of the rows that stand or fall together.
    """
    found = evaluation.evaluate(
        y,
        said,
        (metric,),
        resamples=resamples,
        confidence=tested.confidence,
        seed=seed,
        clusters=clusters,
    ).scores[0]
    return compare(
        metric, (found.value, found.low, found.high), tested, least_loss=least_loss, n_rows=len(y)
    )


def compare(
    metric: Metric,
    live: tuple[float, float, float],
    tested: Expected,
    *,
    least_loss: float,
    n_rows: int,
) -> LiveScore:
    """Hold a live score with its interval, as value, low and high, against the test score."""
    now, before = _as_losses(metric, *live), _as_losses(metric, *_interval(tested))
    loss = now[0] - before[0]
    low = loss - hypot(now[0] - now[1], before[2] - before[0])
    high = loss + hypot(now[2] - now[0], before[0] - before[1])
    gain = metric.loss(tested.baseline) - before[0]
    lost = loss / gain if gain > 0 else None
    # A model that gains nothing over the baseline has nothing of which a share could be lost.
    matters = lost is None or lost >= least_loss
    return LiveScore(
        score=live[0],
        low=_known(live[1]),
        high=_known(live[2]),
        test_score=tested.score,
        worse=bool(isfinite(low) and low > 0 and matters),
        metric=metric.name,
        test_low=tested.low,
        test_high=tested.high,
        loss=_known(loss),
        loss_low=_known(low),
        loss_high=_known(high),
        lost=lost if lost is None else _known(lost),
        confidence=tested.confidence,
        n_rows=n_rows,
    )


def _interval(tested: Expected) -> tuple[float, float, float]:
    low, high = (float("nan") if each is None else each for each in (tested.low, tested.high))
    return tested.score, low, high


def _as_losses(metric: Metric, value: float, low: float, high: float) -> tuple[float, float, float]:
    ends = metric.loss(low), metric.loss(high)
    return metric.loss(value), min(ends), max(ends)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None

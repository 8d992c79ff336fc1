"""Rows ranked by a score: how many are hit, and how many falsely alarmed, from each height on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ladder:
    """What saying yes from a height on means, for every height that parts the rows."""

    heights: np.ndarray
    """Distinct scores, falling, of shape (m,)."""
    hits: np.ndarray
    """Positive rows at or above no height, the first height, the second, ...; shape (m + 1,)."""
    alarms: np.ndarray
    """The same of negative rows."""


def ladder(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Ladder:
    """Rank rows.

    Parameters
    ----------
    positive : np.ndarray of shape (n,)
        Integers: 1 for a positive row, 0 for a negative one.
    scores : np.ndarray of shape (n,)
        Without NaN.
    weights : np.ndarray of shape (n,), optional
        How much each row counts; None when all count the same.

    Examples
    --------
    >>> ranked = ladder(np.array([1, 0, 1]), np.array([0.5, 0.5, 0.75]))
    >>> ranked.heights.tolist(), ranked.hits.tolist(), ranked.alarms.tolist()
    ([0.75, 0.5], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0])
    """
    if weights is None and (scores >= 0).all():
        falling, in_order = _sorted_together(positive, scores)
        hits, all_rows = _totals(in_order), np.arange(len(scores) + 1.0)
    else:
        order = np.argsort(-scores)
        drawn = np.ones(len(scores)) if weights is None else weights[order]
        falling = scores[order]
        hits, all_rows = _totals(positive[order] * drawn), _totals(drawn)
    is_last_of_equals = np.append(falling[1:] != falling[:-1], True)
    if not is_last_of_equals.all():
        falling = falling[is_last_of_equals]
        kept = np.append(True, is_last_of_equals)
        hits, all_rows = hits[kept], all_rows[kept]
    all_rows -= hits
    return Ladder(falling, hits, all_rows)


def _sorted_together(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort numbers that hold a row's score and, in their last bit, whether it is positive.

    The bits of floats that aren't negative are in the order of the floats and
    leave the first one free. To sort plain integers is much faster than to
    find the order of floats and to follow it.
    """
    rising = scores.astype(np.float64)  # a copy, in which all else happens
    rising += 0.0  # a zero may have a sign
    bits = rising.view(np.int64)
    bits <<= 1
    bits |= positive
    bits.sort()
    last_bits = bits & 1
    bits >>= 1
    return rising[::-1], last_bits[::-1]


def _totals(values: np.ndarray) -> np.ndarray:
    """Sum the first 0, 1, ... n values."""
    totals = np.zeros(len(values) + 1)
    np.cumsum(values, out=totals[1:])
    return totals

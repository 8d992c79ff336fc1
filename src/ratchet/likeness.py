"""How far the answers of two models to the same rows lie apart."""

from dataclasses import dataclass
from math import inf

import numpy as np

from ratchet.metrics import Predictions


@dataclass(frozen=True)
class Distance:
    """What two models answer otherwise."""

    n_rows: int
    """Rows that both were asked about."""
    n_differing: int
    """Rows with another answer, be it in the last bit."""
    max_absolute: float
    """Largest difference: of quantities in the target's unit, else of probabilities; of labels
    without probabilities 1 where any differs."""
    max_relative: float
    """Largest difference as a share: of the largest quantity, or of 1 for probabilities; where
    more rows than that have another label, their share."""

    @property
    def identical(self) -> bool:
        """Whether every answer is the same, bit for bit."""
        return not self.n_differing

    def within(self, tolerance: float) -> bool:
        """Tell whether the answers are the same but for ``tolerance``."""
        return self.max_relative <= tolerance


def between(before: Predictions, after: Predictions) -> Distance:
    """Measure how far the answers ``after`` are from those ``before``.

    Parameters
    ----------
    before, after : Predictions
        Of two models on the same rows. An answer that is missing (NaN) in both
        is the same; one that is missing in one is infinitely far.

    Examples
    --------
    >>> small = Predictions(np.array([1.0, 2.0, 4.0]))
    >>> between(small, small).identical
    True
    >>> between(small, Predictions(np.array([1.0, 2.0, 4.5]))).max_relative
    0.125
    """
    n_rows = len(before.values)
    other = _differs(before.values, after.values)
    labels = before.values.dtype.kind in "iu" and after.values.dtype.kind in "iu"
    flipped = float(other.mean()) if labels and n_rows else 0.0
    apart, largest = (float(flipped > 0), 0.0) if labels else _gap(before.values, after.values)
    if before.probabilities is not None and after.probabilities is not None:
        other = other | _differs(before.probabilities, after.probabilities)
        apart, _ = _gap(before.probabilities, after.probabilities)
        relative = apart
    elif labels:
        relative = flipped
    else:
        relative = apart / largest if largest else apart and inf
    return Distance(n_rows, int(other.sum()), apart, max(relative, flipped))


def _differs(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Tell for each row whether any bit is another; of shape (n_rows,)."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return np.ones(len(before), dtype=bool)
    bits = [
        np.frombuffer(each.tobytes(), dtype=np.uint8).reshape(len(before), -1)
        for each in (before, after)
        if len(before)
    ]
    found: np.ndarray = (bits[0] != bits[1]).any(axis=1) if bits else np.zeros(0, dtype=bool)
    return found


def _gap(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Give the largest difference, and the largest number that it can be held against."""
    if before.shape != after.shape:
        return inf, 0.0
    missing = np.isnan(before), np.isnan(after)
    if (missing[0] != missing[1]).any():
        return inf, 0.0
    known = ~missing[0]
    apart = np.abs(before[known] - after[known]).max(initial=0.0)
    return float(apart), float(np.abs(before[known]).max(initial=0.0))

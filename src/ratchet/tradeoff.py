"""What a model's score costs in time, room and understanding, and which models nobody beats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from typing import Any

import numpy as np
import pandas as pd

from ratchet import cost
from ratchet.backends import Interpretability
from ratchet.rivals import called
from ratchet.schema import Schema

SECONDS = 0.3
"""How long a model is asked about single rows, and again about batches."""

# Numbers that are equal to so many digits are taken to be the same: a clock tells no more.
DIGITS = 2

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True)
class Option:
    """A model that could be used, and what it would cost."""

    name: str
    """Its name."""
    kind: str
    """What it is beside the leader, as in ``rivals.Entrant``."""
    score: float | None
    """Score on the test rows by the optimised metric, in its own direction."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end of its interval."""
    one_row_ms: float
    """Milliseconds for one row, the median of repeated calls."""
    one_row_p95_ms: float
    """Milliseconds within which 95 % of these calls ended."""
    rows_per_second: float
    """Rows that are answered in a second when they are sent in batches."""
    batch_rows: int
    """Rows of such a batch."""
    size_mb: float
    """Megabytes of 1,000,000 bytes of the file that skops saves."""
    train_seconds: float | None
    """Wall-clock time of its trial and of its fit on all rows; None where it had no trial."""
    interpretability: str
    """How a person finds out why it answers as it does: ``read``, ``inspect`` or ``ask``."""
    on_front: bool = False
    """Whether no other is as good and as fast, and better in one of the two."""
    unbeaten: bool = False
    """Whether no other is as good in everything, and better in something."""

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return called(self.name, self.kind)


@dataclass(frozen=True)
class TradeOff:
    """The models that could be used, as values that survive JSON."""

    metric: str
    """The metric of the scores."""
    maximize: bool
    """Whether a larger score is a better one."""
    options: tuple[Option, ...]
    """The leader, the others, and the baseline last."""

    @property
    def front(self) -> tuple[Option, ...]:
        """The options that no other beats in score and time for one row, the fastest first."""
        chosen = [option for option in self.options if option.on_front]
        return tuple(sorted(chosen, key=lambda option: option.one_row_ms))


def weigh(
    name: str,
    kind: str,
    model: Any,
    frame: pd.DataFrame,
    schema: Schema,
    *,
    score: tuple[float | None, float | None, float | None],
    n_bytes: int,
    train_seconds: float | None,
    interpretability: Interpretability,
    seconds: float = SECONDS,
) -> Option:
    """Measure what a model costs, which takes twice ``seconds``.

    Parameters
    ----------
    name, kind : str
        As in ``rivals.Entrant``.
    model : estimator
        What takes raw columns.
    frame : pd.DataFrame
        Rows to ask about.
    schema : Schema
        The columns that the model takes.
    score : tuple of float or None
        Its score on the test rows, and the ends of its interval.
    n_bytes : int
        Bytes of the file that skops saves.
    train_seconds : float or None
        What its training took.
    interpretability : Interpretability
        How a person finds out why it answers as it does.
    seconds : float
        How long to ask about single rows, and again about batches.
    """
    took = cost.latency(model, frame, schema, seconds)
    value, low, high = score
    return Option(
        name=name,
        kind=kind,
        score=value,
        low=low,
        high=high,
        one_row_ms=took.one_row_ms,
        one_row_p95_ms=took.one_row_p95_ms,
        rows_per_second=took.rows_per_second,
        batch_rows=took.batch_rows,
        size_mb=n_bytes / _BYTES_PER_MB,
        train_seconds=train_seconds,
        interpretability=interpretability.value,
    )


def judge(options: Sequence[Option], *, metric: str, maximize: bool) -> TradeOff:
    """Mark the options that no other beats.

    Parameters
    ----------
    options : sequence of Option
        What was weighed.
    metric : str
        The metric of their scores.
    maximize : bool
        Whether a larger score is a better one.
    """
    sign = -1.0 if maximize else 1.0
    # What is not known is as bad as can be.
    lost = [np.inf if each.score is None else sign * each.score for each in options]
    two = [(loss, _rounded(each.one_row_ms)) for loss, each in zip(lost, options, strict=True)]
    everything = [
        (
            *pair,
            -_rounded(each.rows_per_second),
            _rounded(each.size_mb),
            np.inf if each.train_seconds is None else _rounded(each.train_seconds),
            Interpretability(each.interpretability).rank,
        )
        for pair, each in zip(two, options, strict=True)
    ]
    marks = zip(options, pareto(two), pareto(everything), strict=True)
    return TradeOff(
        metric,
        maximize,
        tuple(
            replace(option, on_front=bool(front), unbeaten=bool(unbeaten))
            for option, front, unbeaten in marks
        ),
    )


def pareto(costs: Sequence[Sequence[float]]) -> np.ndarray:
    """Tell which of n options no other beats.

    One beats another when it is as good in all and better in one. Of equal
    ones none beats the other.

    Parameters
    ----------
    costs : sequence of shape (n, k)
        Numbers that ought to be small. Who has an infinite one in the first
        column, a score that isn't known, is never on the front.

    Returns
    -------
    np.ndarray of shape (n,)
        True on the front.

    Examples
    --------
    >>> pareto([(1, 9), (2, 3), (3, 3), (4, 1), (2, 3)]).tolist()
    [True, True, False, True, True]
    """
    table = np.asarray(costs, dtype=np.float64)
    as_good = (table[:, None, :] <= table[None, :, :]).all(axis=2)
    better = (table[:, None, :] < table[None, :, :]).any(axis=2)
    return ~(as_good & better).any(axis=0) & np.isfinite(table[:, 0])


def _rounded(value: float) -> float:
    """Round to the digits that can be measured.

    >>> _rounded(12.34), _rounded(1999.0), _rounded(0.0)
    (12.0, 2000.0, 0.0)
    """
    return round(value, DIGITS - 1 - floor(log10(value))) if value > 0 else 0.0

"""How far answers may be off, from rows that no model behind them had learned from."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ratchet import files
from ratchet.errors import RatchetError

FILE = "conformal.json"
"""Where train leaves it, among its run's artifacts too."""

# Large answers are often further off than small ones: rows are grouped by their answers, into so
# many groups at most, of so many rows at least.
GROUPS = 5
ROWS_OF_A_GROUP = 200
# Errors of a group that are kept. Nobody asks for an interval that holds fewer rows than half.
KEPT = 200
LEAST = 0.5


@dataclass(frozen=True)
class Group:
    """Rows whose answers are alike."""

    below: float | None
    """Its answers are less than this, and no less than that of the group before; None in the
    last."""
    n: int
    """Rows that were predicted."""
    ranks: tuple[int, ...]
    """Places, from 1, of the errors that are kept among all n in order."""
    errors: tuple[float, ...]
    """Those absolute errors, from the smallest to the largest."""

    def half_width(self, confidence: float) -> float:
        """Give what at least this share of errors doesn't exceed; infinite where n is too small."""
        # Without the guard, 0.9 x 10 is 9.000000000000002.
        rank = math.ceil((self.n + 1) * confidence - 1e-9)
        if rank > self.n:
            return math.inf
        return self.errors[int(np.searchsorted(self.ranks, rank))]


@dataclass(frozen=True)
class Conformal:
    """Errors of a regression on rows that its members were not fitted on.

    An interval holds the truth with the probability it promises, whatever the
    model and the distribution, as long as the new row and these rows could
    have come in any order, and the model answers as those that were asked
    about these rows did. `docs/scoring.md` says how far that is so here.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G. (2005). Algorithmic Learning in a
    Random World. Springer. Groups: section 4.5.

    Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. J. and Wasserman, L. (2018).
    Distribution-Free Predictive Inference for Regression. JASA 113(523).
    """

    groups: tuple[Group, ...]
    """From the smallest answers to the largest."""

    @classmethod
    def learn(cls, y: np.ndarray, said: np.ndarray) -> Self | None:
        """Look at the errors of answers.

        Parameters
        ----------
        y : np.ndarray of shape (n_rows,)
            The truth.
        said : np.ndarray of shape (n_rows,)
            Answers by models that had not learned from these rows.

        Returns
        -------
        Conformal or None
            None where there are no rows, or an answer is no finite number.

        Examples
        --------
        >>> found = Conformal.learn(np.zeros(99), np.arange(1.0, 100.0))
        >>> found.half_widths(np.array([50.0]), 0.9)
        array([90.])
        """
        if not len(y) or not np.isfinite(said).all():
            return None
        n_groups = int(np.clip(len(y) // ROWS_OF_A_GROUP, 1, GROUPS))
        ends = np.unique(np.quantile(said, np.arange(1, n_groups) / n_groups))
        # Answers that are all alike, such as those of a constant, leave groups without a row.
        ends = ends[ends > said.min()]
        place = np.searchsorted(ends, said, side="right")
        errors = np.abs(y - said)
        bounds = [*map(float, ends), None]
        return cls(tuple(_group(errors[place == at], below) for at, below in enumerate(bounds)))

    @property
    def n(self) -> int:
        """Rows behind it."""
        return sum(group.n for group in self.groups)

    @property
    def most(self) -> float:
        """The largest confidence that there are rows enough for."""
        fewest = min(group.n for group in self.groups)
        return fewest / (fewest + 1)

    def half_widths(self, said: np.ndarray, confidence: float) -> np.ndarray:
        """Give half the width of the interval around each answer, of shape (n_rows,).

        Parameters
        ----------
        said : np.ndarray of shape (n_rows,)
            The model's answers.
        confidence : float
            Share of the intervals that are to hold the truth, above 0 and below 1.

        Raises
        ------
        RatchetError
            If there are too few rows for so large a confidence.
        """
        widths = np.array([group.half_width(confidence) for group in self.groups])
        if not np.isfinite(widths).all():
            raise RatchetError(
                f"Intervals of {confidence:.10g} need more rows than the {self.n:,} that the model"
                f" was judged on: at most {math.floor(1000 * self.most) / 1000:g} can be had."
            )
        ends = np.array([group.below for group in self.groups[:-1]], dtype=np.float64)
        return widths[np.searchsorted(ends, said, side="right")]

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        files.write_json(path, asdict(self))

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """Build it from what ``save`` wrote."""
        return cls(
            tuple(
                Group(each["below"], each["n"], tuple(each["ranks"]), tuple(each["errors"]))
                for each in value["groups"]
            )
        )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what ``save`` wrote; None where there is no such file.

        Raises
        ------
        RatchetError
            If it can't be read.
        """
        if not path.exists():
            return None
        return files.read_as(path, cls.from_plain, made_by="train")


@dataclass(frozen=True)
class Coverage:
    """What became of intervals on rows whose truth is known."""

    share: float
    """Share of the rows whose interval holds the truth."""
    width: float
    """Mean width of the intervals, in the target's unit."""

    @classmethod
    def of(cls, y: np.ndarray, said: np.ndarray, half_widths: np.ndarray) -> Self:
        """Hold intervals around answers against the truth; all of shape (n_rows,)."""
        held = np.abs(y - said) <= half_widths
        return cls(float(held.mean()), float(2 * half_widths.mean()))


def _group(errors: np.ndarray, below: float | None) -> Group:
    n = len(errors)
    # A rank that isn't kept is served by the next one above: the interval is never too narrow.
    ranks = np.unique(np.ceil(np.linspace(max(1.0, LEAST * n), n, KEPT)).astype(int))
    kept = np.sort(errors)[ranks - 1]
    return Group(below, n, tuple(map(int, ranks)), tuple(map(float, kept)))

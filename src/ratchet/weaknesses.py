"""Where a model fails: parts of the rows on which it is surely worse, and its worst answers.

Every column cuts the rows into slices: labels, quarters of numbers and dates, what is missing.
Of many slices some look bad by chance, so that their intervals hold together.

References
----------
Chung, Y., Kraska, T., Polyzotis, N., Tae, K. H. and Whang, S. E. (2019). Slice
Finder: Automated Data Slicing for Model Validation. ICDE 35.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite

import numpy as np
import pandas as pd

from ratchet import evaluation, metrics, slices, splits, wording
from ratchet.evaluation import Contrast
from ratchet.metrics import Metric, Predictions, Sums
from ratchet.problem import ProblemType
from ratchet.schema import Kind, Schema
from ratchet.settings import Slices
from ratchet.slices import Part

SHOWN = 10
"""Slices and rows that are kept: the worst ones."""

MIN_ROWS = 50
"""Rows that a slice needs, and that it must leave: a score of fewer says little."""

QUANTILES = 4
"""Slices of a column of numbers or dates."""

MAX_COLUMNS = 40
"""Columns that are cut into slices, those that matter most; a quarter of them for a score that is
no sum over rows, and so is computed anew for every resample."""

PAIRED = 6
"""Columns whose slices are crossed with each other, those that matter most; for sums only."""

SHOWN_COLUMNS = 5
"""Columns of a row that are shown, those that matter most."""

# Of many rows a sample is cut into slices: what the others add to an interval can't be seen.
_MAX_ROWS = 10_000
_RESAMPLES = 400
# The same for a score that is no sum over rows.
_MAX_ROWS_ANEW = 4_000
_RESAMPLES_ANEW = 200
# Share of its rows by which a slice lies in another one.
_WITHIN = 0.9
# A part of a slice is told beside it where it loses so many times as much.
_WORTH_TELLING = 1.25
# Labels of a column that are crossed with those of another one, the most frequent ones.
_CROSSED_LABELS = 10


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common, and how the model is doing there."""

    names: tuple[str, ...]
    """The column, or two columns, that they were cut by."""
    labels: tuple[str, ...]
    """What they have in common, for each column."""
    n_rows: int
    """Rows."""
    score: float | None
    """Score on them, in the metric's own direction."""
    others: float | None
    """Score on all other rows."""
    worse_by: float
    """What they lose against the others, in the metric's unit; negative where they are better."""
    low: float
    """Lower end of that loss's interval; all intervals hold together."""
    high: float
    """Upper end of it."""
    bias: float | None
    """How much too high the answers are on average, in the target's unit or as a probability of
    the positive class; None for more than two classes."""

    @property
    def sure(self) -> bool:
        """Whether the model is worse there, and not by chance."""
        return self.low > 0


@dataclass(frozen=True)
class BadRow:
    """A row about which the model is far from right."""

    number: int
    """Which of the test rows, from 1."""
    actual: str
    """The truth."""
    predicted: str
    """What the model says."""
    loss: float
    """Distance of a quantity from the truth; of classes the probability of the true one."""
    values: tuple[tuple[str, str], ...]
    """Columns that matter most, each with its value."""


@dataclass(frozen=True)
class Weaknesses:
    """Where a model fails."""

    metric: str
    """Score by which slices are compared."""
    target: str
    """What is predicted."""
    problem: str
    """regression, binary or multiclass."""
    n_rows: int
    """Test rows that were cut into slices."""
    n_of: int
    """Test rows that there are."""
    n_columns: int
    """Columns that they were cut by, one by one."""
    n_slices: int
    """Slices that were looked at."""
    n_small: int
    """Slices that had, or left, too few rows."""
    n_unknown: int
    """Slices without an interval: they have too few clusters, or their score is not always
    defined."""
    clustered: bool
    """Whether rows stand or fall together, in groups or in blocks of time."""
    n_sure: int
    """Slices on which the model is surely worse."""
    confidence: float
    """Probability that all intervals promise together."""
    crossed: tuple[str, ...]
    """Columns whose slices were crossed with each other."""
    slices: tuple[Slice, ...]
    """The worst, those that are surely worse first."""
    rows: tuple[BadRow, ...]
    """The worst first."""


def measure(
    metric: Metric,
    schema: Schema,
    rows: pd.DataFrame,
    y: np.ndarray,
    said: Predictions,
    important: Sequence[str],
    *,
    confidence: float,
    seed: int,
    clusters: np.ndarray | None = None,
) -> Weaknesses:
    """Look for slices and rows with which a model has trouble.

    Parameters
    ----------
    metric : Metric
        What was optimised.
    schema : Schema
        The columns and the problem, which has a target.
    rows : pd.DataFrame
        Test rows.
    y : np.ndarray of shape (n,)
        Their truth: class codes or quantities.
    said : Predictions
        The model's answers about them.
    important : sequence of str
        Feature columns, those that matter most first.
    confidence : float
        Probability in (0, 1) that all intervals promise together.
    seed : int
        Seed of the draws; the same seed gives the same numbers.
    clusters : np.ndarray of shape (n,), optional
        Code of the cluster of each row, where rows stand or fall together.
    """
    quick = isinstance(metric.prepare, Sums)
    most = _MAX_ROWS if quick else _MAX_ROWS_ANEW
    drawn = splits.sample(len(rows), most, seed)
    part = rows.iloc[drawn].reset_index(drop=True)
    truth, answers = y[drawn], said.only(drawn)
    by = [name for name in important if _can_be_cut(name, schema)]
    by, crossed = by[: MAX_COLUMNS if quick else MAX_COLUMNS // 4], by[: PAIRED if quick else 0]
    single = slices.parts(part, schema, Slices(columns=tuple(by), quantiles=QUANTILES))
    cut = [_Cut((each.column,), (each.label,), each.places, len(part)) for each in single]
    cut += _crossed(single, crossed, len(part))
    large = [each for each in cut if MIN_ROWS <= len(each.places) <= len(part) - MIN_ROWS]
    found = evaluation.contrasts(
        metric,
        truth,
        answers,
        [each.places for each in large],
        resamples=_RESAMPLES if quick else _RESAMPLES_ANEW,
        confidence=confidence,
        seed=seed,
        clusters=None if clusters is None else clusters[drawn],
    )
    known = [
        (each, contrast)
        for each, contrast in zip(large, found, strict=True)
        if isfinite(contrast.low)
    ]

    def loss(places: np.ndarray) -> float:
        score = metrics.score(metric, truth[places], answers.only(places))
        return metric.loss(score)

    known.sort(key=lambda pair: (-pair[1].low, -pair[1].worse_by))
    return Weaknesses(
        metric=metric.name,
        target=schema.target or "",
        problem=str(schema.problem),
        n_rows=len(part),
        n_of=len(rows),
        n_columns=len(by),
        n_slices=len(large),
        n_small=len(cut) - len(large),
        n_unknown=len(large) - len(known),
        clustered=clusters is not None,
        n_sure=sum(contrast.low > 0 for _, contrast in known),
        confidence=confidence,
        crossed=tuple(crossed) if len(crossed) > 1 else (),
        slices=tuple(
            _told(each, contrast, truth, answers, schema)
            for each, contrast in _different(known, loss)
        ),
        rows=_worst(schema, rows, y, said, important),
    )


@dataclass(frozen=True)
class _Cut:
    """A slice before it is judged."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    places: np.ndarray
    n_all: int

    def within(self, other: "_Cut") -> bool:
        """Tell whether all rows but a few are another slice's, too."""
        both = np.intersect1d(self.places, other.places, assume_unique=True)
        return len(both) >= _WITHIN * len(self.places)


def _can_be_cut(name: str, schema: Schema) -> bool:
    return any(each.name == name and each.kind is not Kind.TEXT for each in schema.columns)


def _crossed(single: Sequence[Part], names: Sequence[str], n_all: int) -> list[_Cut]:
    """Cross the slices of columns with those of each other one."""
    frequent = {
        name: sorted(
            (each for each in single if each.column == name and len(each.places) >= MIN_ROWS),
            key=lambda each: -len(each.places),
        )[:_CROSSED_LABELS]
        for name in names
    }
    return [
        _Cut(
            (one.column, other.column),
            (one.label, other.label),
            np.intersect1d(one.places, other.places, assume_unique=True),
            n_all,
        )
        for a, b in combinations(names, 2)
        for one in frequent[a]
        for other in frequent[b]
    ]


def _different(
    known: Sequence[tuple[_Cut, Contrast]], loss: Callable[[np.ndarray], float]
) -> list[tuple[_Cut, Contrast]]:
    """Take the worst slices, but none that only says again what others have said.

    Those that are surely worse come first, and of them those by one column.
    A slice that lies in another one must lose more than it by far; any other
    must be worse by rows of its own, too.
    """
    kept: list[tuple[_Cut, Contrast]] = []
    told = np.array([], dtype=np.int64)
    ranked = sorted(
        # Of what may be chance, slices by one column are enough.
        (
            (cut, contrast)
            for cut, contrast in known
            if contrast.low > 0 or (contrast.worse_by > 0 and len(cut.names) == 1)
        ),
        key=lambda pair: (pair[1].low <= 0, len(pair[0].names)),
    )
    for cut, contrast in ranked:
        if len(kept) == SHOWN:
            break
        around = [said.worse_by for other, said in kept if cut.within(other)]
        if around:
            new = contrast.worse_by > _WORTH_TELLING * max(around)
        else:
            own = np.setdiff1d(cut.places, told)
            others = np.setdiff1d(np.arange(cut.n_all), cut.places)
            new = len(own) >= MIN_ROWS and loss(own) > loss(others)
        if new:
            kept.append((cut, contrast))
            told = np.union1d(told, cut.places)
    return sorted(kept, key=lambda pair: -pair[1].low)


def _told(cut: _Cut, contrast: Contrast, y: np.ndarray, said: Predictions, schema: Schema) -> Slice:
    return Slice(
        names=cut.names,
        labels=tuple(map(wording.short, cut.labels)),
        n_rows=len(cut.places),
        score=contrast.here,
        others=contrast.elsewhere,
        worse_by=contrast.worse_by,
        low=contrast.low,
        high=contrast.high,
        bias=_bias(schema, y[cut.places], said.only(cut.places)),
    )


def _bias(schema: Schema, y: np.ndarray, said: Predictions) -> float | None:
    if schema.problem is ProblemType.REGRESSION:
        return float(np.mean(said.values - y))
    if schema.problem is ProblemType.BINARY and said.probabilities is not None:
        return float(np.mean(said.probabilities[:, 1] - y))
    return None


def _worst(
    schema: Schema, rows: pd.DataFrame, y: np.ndarray, said: Predictions, important: Sequence[str]
) -> tuple[BadRow, ...]:
    wrong, loss = losses(schema, y, said)
    kinds = {column.name: column.kind for column in schema.columns}
    worst = np.argsort(-wrong, kind="stable")[:SHOWN]
    return tuple(
        BadRow(
            number=int(place) + 1,
            actual=wording.answer(y[place], schema),
            predicted=wording.answer(said.values[place], schema),
            loss=float(loss[place]),
            values=tuple(
                (name, wording.value(rows[name].iloc[place], kinds[name]))
                for name in important[:SHOWN_COLUMNS]
            ),
        )
        for place in worst
        if wrong[place] > 0
    )


def losses(schema: Schema, y: np.ndarray, said: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Tell how wrong each answer is.

    Returns
    -------
    np.ndarray of shape (n,)
        By what rows are ranked, larger is worse.
    np.ndarray of shape (n,)
        How a reader is told: the distance of a quantity from the truth, or the
        probability of the true class (0 or 1 of a model that has none).
    """
    if schema.problem is ProblemType.REGRESSION:
        distance = np.abs(said.values - y)
        return distance, distance
    if said.probabilities is None:
        right = (said.values == y).astype(float)
    else:
        right = said.probabilities[np.arange(len(y)), y.astype(int)]
    return 1 - right, right

"""How a model's answer depends on a column, all others left as they are.

scikit-learn's ``partial_dependence`` asks for one value of the grid at a time, and has no
grid for dates and columns with gaps; this is the same mean over rows in one call.

References
----------
Friedman, J. H. (2001). Greedy Function Approximation: A Gradient Boosting
Machine. Annals of Statistics 29 (section 8.2, partial dependence).
Goldstein, A., Kapelner, A., Bleich, J. and Pitkin, E. (2015). Peeking Inside
the Black Box. Journal of Computational and Graphical Statistics 24 (a curve
for each row, centred).
Apley, D. W. and Zhu, J. (2020). Visualizing the Effects of Predictor Variables
in Black Box Supervised Learning Models. Journal of the Royal Statistical
Society B 82 (what goes wrong where columns are tied).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import splits, wording
from ratchet.model import answers
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

MAX_COLUMNS = 4
"""Columns that are looked at."""

POINTS = 20
"""Values of a number or a date that are tried."""

LEVELS = 10
"""Labels that are tried, the most frequent ones."""

CLASSES = 3
"""Classes whose probability is followed, where there are more than two."""

BAND = (0.1, 0.9)
"""Part of the rows' own curves that lies in the band."""

# Rows whose answers are averaged.
_ROWS = 200
# The grid ends where so few rows lie beyond that the model's answer there concerns nobody.
_ENDS = (0.01, 0.99)
# Ticks that show where the rows lie.
_TICKS = 50
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Point:
    """The answer where a column has one value in every row."""

    label: str
    """The value, for a reader."""
    at: float | None
    """The value of a number, or a date in days since 1970; None for labels and gaps."""
    share: float
    """Share of the rows that have this value."""
    mean: float
    """Mean answer."""
    low: float
    """Lower end of the band of the rows' own curves, each moved to the same mean."""
    high: float
    """Upper end of that band."""


@dataclass(frozen=True)
class Curve:
    """One answer against a column."""

    of: str
    """Class whose probability it is; empty for a quantity."""
    points: tuple[Point, ...]
    """In the order of the values; labels the most frequent first, a gap last."""

    @property
    def span(self) -> float:
        """How far the mean answer moves."""
        means = [point.mean for point in self.points]
        return max(means) - min(means)


@dataclass(frozen=True)
class Panel:
    """A column, and the answers against it."""

    name: str
    """The column."""
    kind: str
    """What it holds, as ``Kind`` has it."""
    curves: tuple[Curve, ...]
    """One for a quantity or two classes, else one for each class that is followed."""
    ticks: tuple[float, ...]
    """Quantiles of a number's or date's values: where the rows lie."""


@dataclass(frozen=True)
class Dependence:
    """How the answer depends on the columns that matter most."""

    target: str
    """Name of the target."""
    n_rows: int
    """Rows whose answers are averaged."""
    panels: tuple[Panel, ...]
    """The most important column first."""


def measure(
    model: Any, schema: Schema, rows: pd.DataFrame, names: Sequence[str], seed: int
) -> Dependence:
    """Ask a model about rows in which a column has one value after the other.

    Parameters
    ----------
    model : estimator
        Takes raw columns, as ``model.assemble`` makes it.
    schema : Schema
        Its columns and problem, which has a target.
    rows : pd.DataFrame
        Rows to ask about; of many a sample is drawn. The values that are tried are theirs.
    names : sequence of str
        Columns, the most important first; free text and columns of one value are passed over.
    seed : int
        Seed of the draw; the same seed gives the same numbers.
    """
    drawn = rows.iloc[splits.sample(len(rows), _ROWS, seed)]
    known = {column.name: column for column in schema.columns}
    panels: list[Panel] = []
    for name in names:
        if len(panels) == MAX_COLUMNS:
            break
        grid = _grid(rows[name], known[name])
        if len(grid) > 1:
            panels.append(_panel(model, schema, drawn, rows[name], known[name], grid))
    return Dependence(schema.target or "", len(drawn), tuple(panels))


@dataclass(frozen=True)
class _Value:
    value: Any
    label: str
    at: float | None
    share: float


def _grid(values: pd.Series, column: Column) -> list[_Value]:
    """Choose the values of a column to try."""
    present = values.dropna()
    if present.empty or column.kind is Kind.TEXT:
        return []
    n = len(values)
    counts = present.value_counts()
    if column.kind in (Kind.NUMBER, Kind.DATETIME):
        tried = _quantiles(present, counts) if len(counts) > POINTS else list(counts.index)
        grid = [
            _Value(each, wording.value(each, column.kind), _position(each), counts.get(each, 0) / n)
            for each in sorted(tried)
        ]
    else:
        # By their labels where they are as frequent, so that the same rows give the same picture.
        common = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:LEVELS]
        grid = [
            _Value(each, wording.value(each, column.kind), None, count / n)
            for each, count in common
        ]
    gaps = n - len(present)
    return [*grid, _Value(None, wording.MISSING, None, gaps / n)] if gaps else grid


def _quantiles(present: pd.Series, counts: pd.Series) -> list[Any]:
    """Choose values of a column that are there: 2.5 rooms are nobody's."""
    ordered = present.sort_values(ignore_index=True)
    tried = list(_at(ordered, *_ENDS, POINTS).unique())
    if len(tried) < POINTS // 2:
        # A value that most rows have hides the others.
        low, high = min(tried), max(tried)
        rest = pd.Series(counts.index).sort_values(ignore_index=True)
        tried += list(_at(rest[(rest >= low) & (rest <= high)], 0.0, 1.0, POINTS // 2))
    return list(dict.fromkeys(tried))


def _at(ordered: pd.Series, first: float, last: float, n: int) -> pd.Series:
    places = np.linspace(first, last, n) * (len(ordered) - 1)
    return ordered.iloc[places.round().astype(int)]


def _panel(
    model: Any,
    schema: Schema,
    rows: pd.DataFrame,
    values: pd.Series,
    column: Column,
    grid: Sequence[_Value],
) -> Panel:
    n = len(rows)
    asked = rows[schema.names].iloc[np.tile(np.arange(n), len(grid))].reset_index(drop=True)
    given = pd.Series([each.value for each in grid], dtype=values.dtype)
    asked[column.name] = given.iloc[np.repeat(np.arange(len(grid)), n)].reset_index(drop=True)
    said = answers(model, asked, schema, probabilities=True)
    curves = [
        Curve(name, _points(each.reshape(len(grid), n), grid, probability=bool(name)))
        for name, each in _followed(said, schema, rows)
    ]
    ticks: tuple[float, ...] = ()
    if grid[0].at is not None:
        present = values.dropna()
        chosen = _at(present.sort_values(), 0.0, 1.0, min(_TICKS, len(present)))
        low, high = grid[0].at, max(each.at for each in grid if each.at is not None)
        ticks = tuple(at for at in map(_position, chosen) if low <= at <= high)
    return Panel(column.name, str(column.kind), tuple(curves), ticks)


def _followed(said: Any, schema: Schema, rows: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Give the answers that are followed, each with its name."""
    if schema.problem is ProblemType.REGRESSION:
        return [("", said.values)]
    table = said.probabilities
    if table is None:  # a model of another library, which says classes only
        table = np.eye(len(schema.classes))[said.values]
    if schema.problem is ProblemType.BINARY:
        return [(str(schema.classes[1]), table[:, 1])]
    # The classes that the model thinks of most, over all that it was asked.
    frequent = np.argsort(-table.mean(axis=0), kind="stable")[:CLASSES]
    return [(str(schema.classes[code]), table[:, code]) for code in sorted(frequent)]


def _points(said: np.ndarray, grid: Sequence[_Value], *, probability: bool) -> tuple[Point, ...]:
    """Average answers of shape (values, rows), with the band of the rows' own curves."""
    means = said.mean(axis=1)
    level = said - said.mean(axis=0) + means.mean()
    low, high = np.quantile(level, BAND, axis=1)
    if probability:
        low, high = low.clip(0, 1), high.clip(0, 1)
    return tuple(
        Point(
            each.label,
            each.at,
            float(each.share),
            *(float(part[place]) for part in (means, low, high)),
        )
        for place, each in enumerate(grid)
    )


def _position(value: Any) -> float:
    if isinstance(value, pd.Timestamp):
        return (value - pd.Timestamp(0)).total_seconds() / _SECONDS_PER_DAY
    return float(value)

"""Whether a classifier can tell new rows from those of training, by all columns at once.

Columns may each look as they did and hang together otherwise. Both sides are
dealt to two halves; a classifier that was fitted on one half ranks the rows of
the other, and the other way round. Rows of a half that a classifier has not
seen are in any order if both sides come from the same rows, so that the rank
test of Mann and Whitney holds for it whatever was learned. The smaller of the
two probabilities counts twice, which holds however they depend on each other.

References
----------
Lopez-Paz, D. and Oquab, M. (2017). Revisiting Classifier Two-Sample Tests. ICLR.
Mann, H. B. and Whitney, D. R. (1947). On a Test of Whether One of Two Random
Variables is Stochastically Larger than the Other. Annals of Mathematical
Statistics 18.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ratchet import splits
from ratchet.drift import distributions, movement
from ratchet.drift.movement import Aspect
from ratchet.drift.reference import ColumnReference, measured
from ratchet.schema import Kind

# Fewer rows on a side can teach nothing.
MIN_ROWS = 40
# Training rows for each new one: more add time and no certainty.
MOST_TIMES = 4
# Labels of a column that the classifier takes apart; it keeps a category in a byte.
MOST_LABELS = 200
# What shuffling a column must cost to be named, in AUC.
NAMED_FROM = 0.01
# Columns that are named.
MOST_NAMED = 3


@dataclass(frozen=True)
class Told:
    """How well both sides were told apart."""

    auc: float
    """Mean area under the ROC curve of both halves."""
    p: float
    """Probability of so large an area by chance."""
    n_reference: int
    """Rows of training that were looked at."""
    n_new: int
    """New rows that were looked at."""
    by: tuple[str, ...]
    """Columns that tell them apart, the strongest first."""


def tell(
    columns: Sequence[ColumnReference], sample: pd.DataFrame, rows: pd.DataFrame, *, seed: int
) -> Told | None:
    """Fit classifiers that tell new rows from those of training.

    Parameters
    ----------
    columns : sequence of ColumnReference
        The columns. What follows time is left out, but for the hour of the day.
    sample : pd.DataFrame of shape (n_sample, n_columns)
        Rows of training, as ``Reference.sample`` has them.
    rows : pd.DataFrame of shape (n_rows, n_columns)
        New rows with the types that the model takes; as many as the sample has are drawn.
    seed : int
        Of the draws and the classifiers.

    Returns
    -------
    Told or None
        None with fewer than ``MIN_ROWS`` rows on a side, or without a column.
    """
    new = rows.iloc[splits.sample(len(rows), len(sample), seed)]
    old = sample.iloc[splits.sample(len(sample), MOST_TIMES * len(new), seed)]
    if min(len(old), len(new)) < MIN_ROWS:
        return None
    names, values, labels = _matrix(columns, old, measured(new, columns), rows)
    if not names:
        return None
    is_new = np.arange(len(values)) >= len(old)
    half = np.zeros(len(values), dtype=bool)
    rng = np.random.default_rng(seed)
    for side in (False, True):  # as many of each side in both halves
        places = rng.permutation(np.flatnonzero(is_new == side))
        half[places[: len(places) // 2]] = True
    areas, ps, losses = [], [], []
    for fitted_on in (half, ~half):
        model = _fitted(values[fitted_on], is_new[fitted_on], labels, seed)
        asked, truth = values[~fitted_on], is_new[~fitted_on]
        area, p = _ranked(model, asked, truth)
        areas.append(area)
        ps.append(p)
        losses.append(_losses(model, asked, truth, area, rng) if p < NAMED_FROM else None)
    known = [each for each in losses if each is not None]
    by: tuple[str, ...] = ()
    if known:
        lost = np.mean(known, axis=0)
        order = [place for place in np.argsort(-lost) if lost[place] >= NAMED_FROM]
        by = tuple(dict.fromkeys(names[place] for place in order))[:MOST_NAMED]
    return Told(float(np.mean(areas)), min(1.0, 2 * min(ps)), len(old), len(new), by)


def _matrix(
    columns: Sequence[ColumnReference], old: pd.DataFrame, new: pd.DataFrame, rows: pd.DataFrame
) -> tuple[list[str], np.ndarray, list[bool]]:
    """Put both sides together as numbers; give names, values and which are labels."""
    both = pd.concat([old[new.columns], new], ignore_index=True)
    names: list[str] = []
    found: list[np.ndarray] = []
    labels: list[bool] = []

    def add(name: str, values: np.ndarray, *, is_label: bool = False) -> None:
        if len(np.unique(values[~np.isnan(values)])) + np.isnan(values).any() > 1:
            names.append(name)
            found.append(values)
            labels.append(is_label)

    for column in columns:
        values = both[column.name]
        parts = movement.parts_compared(column, rows[column.name])
        if parts is not None:
            # Not the day of the week, of which a month has more Fridays than another one.
            if Aspect.HOUR in parts:
                add(column.name, values.dt.hour.to_numpy("float64"))
        elif column.kind is Kind.CATEGORY:
            add(column.name, _codes(values), is_label=True)
        elif column.kind is Kind.DATETIME:
            seconds = np.full(len(values), np.nan)
            seconds[values.notna()] = distributions.quantities(values, Kind.DATETIME)
            add(column.name, seconds)
        else:
            add(column.name, values.to_numpy("float64"))
    return names, np.column_stack(found) if found else np.empty((len(both), 0)), labels


def _codes(values: pd.Series) -> np.ndarray:
    """Give labels numbers, the most frequent first; the rare ones share the last number."""
    order = values.value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    codes = order.get_indexer(pd.Index(values)).astype("float64")
    codes[values.isna().to_numpy()] = np.nan
    return np.minimum(codes, MOST_LABELS)


def _fitted(values: np.ndarray, is_new: np.ndarray, labels: Sequence[bool], seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=50,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        early_stopping=False,
        categorical_features=list(labels),
        random_state=seed,
    )
    # So few rows are sooner done by one thread than dealt to several.
    with threadpool_limits(1):
        return model.fit(values, is_new)


def _ranked(model: Any, values: np.ndarray, is_new: np.ndarray) -> tuple[float, float]:
    said = model.decision_function(values)
    found = stats.mannwhitneyu(
        said[is_new], said[~is_new], alternative="greater", method="asymptotic"
    )
    area = float(found.statistic) / (int(is_new.sum()) * int((~is_new).sum()))
    # Where all rows get one answer, there are no ranks.
    return area, float(found.pvalue) if np.isfinite(found.pvalue) else 1.0


def _losses(
    model: Any, values: np.ndarray, is_new: np.ndarray, area: float, rng: np.random.Generator
) -> np.ndarray:
    """Give what shuffling each column takes from the area."""
    lost = np.zeros(values.shape[1])
    for place in range(values.shape[1]):
        shuffled = values.copy()
        shuffled[:, place] = rng.permutation(shuffled[:, place])
        lost[place] = area - _ranked(model, shuffled, is_new)[0]
    return lost

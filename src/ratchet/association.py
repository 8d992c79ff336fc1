"""Which columns say the same: how closely any two of them are tied, whatever they hold.

A model that has two columns of the same content may lean on either, so what is said of one
of them is only true of both together.

References
----------
Spearman, C. (1904). The Proof and Measurement of Association between Two
Things. American Journal of Psychology 15.
Kelley, T. L. (1935). An Unbiased Correlation Ratio Measure. Proceedings of
the National Academy of Sciences 21.
Bergsma, W. (2013). A Bias-Correction for Cramér's V and Tschuprow's T.
Journal of the Korean Statistical Society 42.
"""

from collections.abc import Sequence
from itertools import combinations
from math import nan

import numpy as np
import pandas as pd

from ratchet.schema import Column, Kind

CLOSE = 0.9
"""Columns that are tied at least so closely count as saying the same."""

# Labels that fewer rows have are one: a label of one row tells everything about that row.
_MIN_ROWS = 5


def strength(a: pd.Series, b: pd.Series, kinds: tuple[Kind, Kind]) -> float:
    """Tell how closely two columns are tied: 0 not at all, 1 where one gives the other.

    Two quantities have the size of their rank correlation; a quantity and
    labels the correlation ratio of its ranks; labels and labels Cramér's V.
    The last two are corrected for what many labels explain by chance.

    Parameters
    ----------
    a, b : pd.Series of shape (n,)
        Values of the same rows; rows that lack either don't count.
    kinds : tuple of Kind
        What they hold.

    Returns
    -------
    float
        From 0 to 1; NaN where a column says nothing at all.

    Examples
    --------
    >>> a = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> round(strength(a, a**2, (Kind.NUMBER, Kind.NUMBER)), 6)
    1.0
    """
    both = a.notna().to_numpy() & b.notna().to_numpy()
    one, other = (column[both].reset_index(drop=True) for column in (a, b))
    labels = [kind in (Kind.CATEGORY, Kind.TEXT) for kind in kinds]
    if len(one) < 2 or one.nunique() < 2 or other.nunique() < 2:
        return nan
    if not any(labels):
        return abs(float(np.corrcoef(_ranks(one), _ranks(other))[0, 1]))
    if all(labels):
        return _cramer(_codes(one), _codes(other))
    quantity, names = (other, one) if labels[0] else (one, other)
    return _ratio(_ranks(quantity), _codes(names))


def groups(rows: pd.DataFrame, columns: Sequence[Column]) -> tuple[tuple[str, ...], ...]:
    """Find columns that say the same as another one.

    Parameters
    ----------
    rows : pd.DataFrame
        Some rows of the table.
    columns : sequence of Column
        Which columns to look at; free text is left out.

    Returns
    -------
    tuple of tuple of str
        Names that belong together, in the order of ``columns``: each is tied
        closely to another one of its group.
    """
    looked = [column for column in columns if column.kind is not Kind.TEXT]
    group = {column.name: {column.name} for column in looked}
    for a, b in combinations(looked, 2):
        if group[a.name] is group[b.name]:
            continue
        if strength(rows[a.name], rows[b.name], (a.kind, b.kind)) >= CLOSE:
            joined = group[a.name] | group[b.name]
            group |= dict.fromkeys(joined, joined)
    found = {id(names): names for names in group.values() if len(names) > 1}
    order = [column.name for column in looked]
    return tuple(tuple(sorted(names, key=order.index)) for names in found.values())


def _ranks(values: pd.Series) -> np.ndarray:
    return values.rank().to_numpy()


def _codes(values: pd.Series) -> np.ndarray:
    """Give each label a number, the rare ones the same."""
    rare = values.groupby(values).transform("size") < _MIN_ROWS
    codes = np.where(rare, -1, pd.factorize(values)[0])
    return np.unique(codes, return_inverse=True)[1]


def _ratio(values: np.ndarray, codes: np.ndarray) -> float:
    """Give the unbiased correlation ratio of values within the groups of codes."""
    n, k = len(values), int(codes.max()) + 1
    if k < 2 or n <= k:
        return nan
    sizes = np.bincount(codes)
    means = np.bincount(codes, values) / sizes
    within = float(((values - means[codes]) ** 2).sum()) / (n - k)
    whole = float(((values - values.mean()) ** 2).sum()) / (n - 1)
    return float(np.sqrt(max(0.0, 1 - within / whole)))


def _cramer(a: np.ndarray, b: np.ndarray) -> float:
    """Give Cramér's V, corrected as Bergsma has it."""
    n, r, c = len(a), int(a.max()) + 1, int(b.max()) + 1
    if min(r, c) < 2:
        return nan
    table = np.bincount(a * c + b, minlength=r * c).reshape(r, c)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    phi = float(((table - expected) ** 2 / expected).sum()) / n
    phi = max(0.0, phi - (r - 1) * (c - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    return float(min(1.0, np.sqrt(phi / max(min(rows, columns) - 1, 1e-9))))

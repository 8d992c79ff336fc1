"""Which rows a candidate is fitted on, and which ones score it."""

from dataclasses import dataclass

import numpy as np

# Folds where the user names no number.
FOLDS = 5
# Under so many rows the score of one cross-validation depends on how the rows fell: it is repeated.
NOISY_ROWS = 600
REPEATS = 3
# With fewer scored rows than this, candidates are told apart by chance.
MANY_SCORED = 500


@dataclass(frozen=True)
class Fold:
    """One division of the rows that a candidate is chosen with."""

    train: np.ndarray
    """Positions of the rows to fit on."""
    valid: np.ndarray
    """Positions of the rows that score the fit."""


def holdout(n_train: int, n_valid: int) -> tuple[Fold, ...]:
    """Give the one division that prepare has made: first the train rows, then the valid rows."""
    return (Fold(np.arange(n_train), np.arange(n_train, n_train + n_valid)),)


def deal(
    n_rows: int,
    k: int,
    seed: int,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    repeats: int = 1,
) -> tuple[Fold, ...]:
    """Deal rows to k folds, each of which is the valid rows of one division.

    Parameters
    ----------
    n_rows : int
        Rows to deal.
    k : int
        Number of folds.
    seed : int
        Of the dealing; equal seeds give equal folds.
    labels : np.ndarray of shape (n_rows,), optional
        Class codes: each fold gets its share of every class. The only row of a
        class is always fitted on, since no model can answer with a class that
        it hasn't seen.
    groups : np.ndarray of shape (n_rows,), optional
        Rows of a group are never on two sides.
    repeats : int
        How often all rows are dealt anew.

    Returns
    -------
    tuple of Fold
        ``k * repeats`` of them; every row that is valid at all is so
        ``repeats`` times.

    Examples
    --------
    >>> folds = deal(10, 5, seed=1)
    >>> [len(fold.valid) for fold in folds], len(folds[0].train)
    ([2, 2, 2, 2, 2], 8)
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    rows = np.arange(n_rows)
    lone = np.zeros(n_rows, dtype=bool)
    if labels is not None:
        lone = (np.bincount(labels)[labels] == 1) if groups is None else lone
    dealt = rows[~lone]
    folds = []
    for turn in range(repeats):
        if groups is not None and labels is not None:
            splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed + turn)
        elif groups is not None:
            splitter = GroupKFold(k, shuffle=True, random_state=seed + turn)
        elif labels is not None and np.bincount(labels[dealt]).max(initial=0) >= k:
            splitter = StratifiedKFold(k, shuffle=True, random_state=seed + turn)
        else:
            splitter = KFold(k, shuffle=True, random_state=seed + turn)
        parts = splitter.split(
            dealt,
            None if labels is None else labels[dealt],
            None if groups is None else groups[dealt],
        )
        folds += [
            Fold(np.sort(np.concatenate([dealt[train], rows[lone]])), dealt[valid])
            for train, valid in parts
        ]
    return tuple(folds)

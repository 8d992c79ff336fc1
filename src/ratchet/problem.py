"""Which kind of problem a table poses: what its target column asks, or groups without one."""

from enum import StrEnum

import pandas as pd

from ratchet.errors import DataError

# Fewer distinct integers than this read as class labels, more as quantities.
MAX_CLASSES = 20


class ProblemType(StrEnum):
    """What is to be predicted."""

    BINARY = "binary"
    """One of two classes."""
    MULTICLASS = "multiclass"
    """One of three or more classes."""
    REGRESSION = "regression"
    """A quantity."""
    CLUSTERING = "clustering"
    """Nothing: rows that are alike are put together, and there is no target."""

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class label."""
        return self in (ProblemType.BINARY, ProblemType.MULTICLASS)

    @property
    def has_target(self) -> bool:
        """Whether a column says what is right; only clustering has none."""
        return self is not ProblemType.CLUSTERING


def detect_problem(y: pd.Series) -> ProblemType:
    """Guess the problem type from the target column.

    Text, booleans and categories are classes. Numbers with a fractional part
    are quantities. Whole numbers are classes while there are at most
    ``MAX_CLASSES`` distinct ones. The guess is a default:
    ``train.problem`` in params.yaml overrides it. Clustering is never guessed.

    Parameters
    ----------
    y : pd.Series of shape (n_rows,)
        Target column. Missing values are ignored.

    Returns
    -------
    ProblemType

    Raises
    ------
    DataError
        If fewer than two distinct values remain: nothing can be learned.

    Examples
    --------
    >>> detect_problem(pd.Series(["no", "yes", "no"]))
    <ProblemType.BINARY: 'binary'>
    >>> detect_problem(pd.Series([0.5, 1.25, 3.0]))
    <ProblemType.REGRESSION: 'regression'>
    """
    values = y.dropna()
    distinct = values.nunique()
    if distinct < 2:
        raise DataError(
            f"Target {y.name!r} has {distinct} distinct value(s) in {len(y)} rows;"
            " at least 2 are needed. Check data.target and data.filter in params.yaml."
        )
    if _is_quantity(values, distinct):
        return ProblemType.REGRESSION
    return ProblemType.BINARY if distinct == 2 else ProblemType.MULTICLASS


def _is_quantity(values: pd.Series, distinct: int) -> bool:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    return distinct > MAX_CLASSES or bool((values % 1 != 0).any())

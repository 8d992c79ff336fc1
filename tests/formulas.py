"""Models that are a formula, so that what is said of them can be worked out by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

DTYPES = {
    Kind.NUMBER: "float64",
    Kind.CATEGORY: "str",
    Kind.BOOLEAN: "float64",
    Kind.DATETIME: "datetime64[us]",
    Kind.TEXT: "str",
}


class Quantity:
    """Says what a formula gives."""

    def __init__(self, formula: Callable[[pd.DataFrame], object]):
        self.formula = formula
        self.calls: list[int] = []

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self.calls.append(len(frame))
        return np.asarray(self.formula(frame), dtype=float)


class Chance:
    """Says the probabilities that a formula gives, of shape (n, K)."""

    def __init__(self, classes: Sequence[object], formula: Callable[[pd.DataFrame], np.ndarray]):
        self.classes_ = np.array(classes)
        self.formula = formula

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        return self.formula(frame)

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self.classes_[self.predict_proba(frame).argmax(axis=1)]


class Labels:
    """Says labels or clusters only."""

    def __init__(self, formula: Callable[[pd.DataFrame], np.ndarray]):
        self.formula = formula

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self.formula(frame)


def two(positive: object) -> np.ndarray:
    """Give the probabilities of two classes from that of the positive one."""
    chance = np.asarray(positive, dtype=float)
    return np.column_stack([1 - chance, chance])


def schema(problem: ProblemType, classes: tuple = (), target: str | None = "y", **kinds: Kind):
    """Describe columns by their kinds."""
    columns = tuple(Column(name, kind, DTYPES[kind], True, 9) for name, kind in kinds.items())
    return Schema(columns, target, problem, classes)


def typed(frame: pd.DataFrame, of: Schema) -> pd.DataFrame:
    """Give columns the types that prepare would give them."""
    return frame.astype({column.name: column.dtype for column in of.columns})

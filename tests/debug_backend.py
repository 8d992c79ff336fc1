"""A backend that does what its hyperparameters say: fails, answers NaN, is slow or constant.

And a journal that keeps trials in memory.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from ratchet.backends import Backend, Family, Fitted, Params, Request, Space, Task
from ratchet.features import Preparation
from ratchet.problem import ProblemType


class Oracle(BaseEstimator):
    """Answers every row with the same quantity, or the same probability of the last class."""

    def __init__(self, answer: float, n_classes: int) -> None:
        self.answer = answer
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, X: Any, y: Any) -> "Oracle":
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> np.ndarray:
        return np.full(X.shape[0], self.answer)

    def predict_proba(self, X: Any) -> np.ndarray:
        others = np.full((X.shape[0], self.n_classes - 1), (1 - self.answer) / (self.n_classes - 1))
        return np.column_stack([others, self.predict(X)])


class DebugBackend(Backend):
    """One family, ``debug``, whose hyperparameters are knobs.

    ``fail`` raises a ValueError with that text, ``interrupt`` is Ctrl-C,
    ``seconds`` is how long a fit takes, ``answer`` what the model says, which
    is the mean of the target unless it is given.
    """

    name: ClassVar[str] = "debug"
    starts: ClassVar[tuple[Params, ...]] = ({},)
    space: ClassVar[Space] = {}
    requests: ClassVar[list[Request]] = []

    def families(self, task: Task) -> tuple[Family, ...]:
        return (Family("debug", Preparation.NATIVE, self.starts, self.space),)

    def fit(self, request: Request) -> Fitted:
        self.requests.append(request)
        knobs = request.params
        time.sleep(knobs.get("seconds", 0.0))
        if "fail" in knobs:
            raise ValueError(knobs["fail"])
        if "interrupt" in knobs:
            raise KeyboardInterrupt
        classes = 0 if request.task.problem is ProblemType.REGRESSION else request.task.n_classes
        oracle = Oracle(knobs.get("answer", float(np.mean(request.train.y))), classes)
        return Fitted(oracle, {**knobs, "rounds": 3})


def on_shelf(
    monkeypatch: pytest.MonkeyPatch, *starts: Params, space: Mapping[str, Any] | None = None
) -> type[DebugBackend]:
    """Put the debug backend on the shelf beside the real ones until the test ends."""

    class Debug(DebugBackend):
        pass

    Debug.starts = starts or ({},)
    Debug.space = space or {}
    Debug.requests = []
    from ratchet.backends import base

    monkeypatch.setattr(base, "_SHELF", {**base._SHELF, "debug": Debug})
    return Debug


class Memory:
    """A journal that keeps trials in a list."""

    def __init__(self):
        self.kept = []

    def trials(self):
        return tuple(self.kept)

    def keep(self, trial, answer):
        self.kept.append((trial, answer))

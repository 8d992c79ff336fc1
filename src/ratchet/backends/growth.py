"""What models that grow in rounds share: when to stop, and what stopping found."""

import ctypes
import math
import sys
from functools import cache

import numpy as np

from ratchet.backends.base import Fitted, Params, Request, Rows, Task

# Early stopping decides the number of rounds; this is only a ceiling.
MAX_ROUNDS = 10_000
# Rounds of a fit that has no rows to stop on and was not told how many.
DEFAULT_ROUNDS = 300
# Rounds without a better loss after which growing stops, and how much longer a model that has
# grown for long may wait: with a low learning rate, one gain in many rounds is still a gain.
PATIENCE = 40
PATIENCE_SHARE = 0.125
# What growing must gain in that many rounds to go on, as a share of what it has gained in all: the
# loss may fall by next to nothing for thousands of rounds.
LEAST_GAIN = 5e-4

# Fewer rows than these are boosted by one thread.
ROWS_FOR_THREADS = 100_000

ABSOLUTE = frozenset({"mae", "median_ae", "mape"})
"""Scores that an absolute error serves better than a squared one."""

DOUBT_OF_GPU = "it was fitted on a graphics processor, whose threads add in any order"
"""Why a model may not come out the same twice."""


def threads_for(request: Request) -> int:
    """Give the threads with which boosting is fastest.

    Threads meet several times in each round, and on few rows they wait
    longer for each other than they work: with two threads LightGBM took
    three times as long on 31,000 rows as with one.
    """
    n_rows = len(request.train.y) if request.stream is None else request.stream.n_rows
    return request.threads if n_rows >= ROWS_FOR_THREADS else 1


class Watch:
    """Follows one model as it grows, and tells when it has grown enough.

    A library's hooks tell it what the model says about the valid rows after
    each round, and ask it whether to go on.
    """

    def __init__(
        self,
        request: Request,
        rounds: str,
        *,
        most: int | None = None,
        patience: int = PATIENCE,
    ) -> None:
        """Watch the fit of ``request``, whose hyperparameter ``rounds`` counts the rounds."""
        self.stops = request.valid is not None and request.loss is not None
        """Whether there are rows to stop on."""
        ceiling = most or MAX_ROUNDS
        self.cap = int(
            request.params.get(rounds, ceiling if self.stops else min(ceiling, DEFAULT_ROUNDS))
        )
        """Most rounds to grow."""
        self.curve: list[float] = []
        """Loss on the valid rows after each round."""
        self.cut_short = False
        """Whether the deadline ended it."""
        self._request = request
        self._rounds = rounds
        self._patience = patience
        self._grown = 0
        self._best = 0
        self._least = math.inf
        self._gained = 0
        self._least_then = math.inf

    @property
    def best(self) -> int:
        """Rounds of the best model so far; at least one."""
        return self._best or (1 if self.stops else self._grown)

    @property
    def params(self) -> Params:
        """The request's hyperparameters with the number of rounds that was found."""
        return {**self._request.params, self._rounds: self.best}

    def tell(self, raw: np.ndarray) -> float:
        """Take what the model says about the valid rows after one more round; give its loss."""
        assert self._request.loss is not None
        loss = float(self._request.loss(raw))
        self.curve.append(loss)
        if loss < self._least:
            self._least, self._best = loss, len(self.curve)
            first = next(each for each in self.curve if math.isfinite(each))
            if loss < self._least_then - LEAST_GAIN * (first - loss):
                self._least_then, self._gained = loss, len(self.curve)
        return loss

    def is_over(self, rounds: int = 1) -> bool:
        """Count the rounds that were grown, and tell whether they were the last."""
        self._grown += rounds
        if self._grown < self.cap and self._request.out_of_time:
            self.cut_short = True
            return True
        waited = len(self.curve) - self._gained
        return self.stops and waited >= self._patience + PATIENCE_SHARE * self._gained

    def fitted(self, estimator: object) -> Fitted:
        """Wrap the model, cut back to its best round."""
        return Fitted(estimator, self.params, tuple(self.curve), self.cut_short)


def usual_leaf(task: Task) -> int:
    """Give the rows that a leaf of boosted trees needs by default; small tables have few."""
    return int(np.clip(task.n_rows // 20, 2, 20))


def largest_leaf(task: Task) -> int:
    """Give the most rows that a leaf may be asked to have."""
    return int(np.clip(task.n_rows // 5, 16, 200))


def with_every_class(rows: Rows, n_classes: int) -> Rows:
    """Add a row of no weight for each class that has none.

    A fold may miss a rare class altogether, and libraries count the classes
    in the target they are given.
    """
    absent = np.setdiff1d(np.arange(n_classes), rows.y)
    if not len(absent):
        return rows
    places = np.append(np.arange(len(rows.y)), np.zeros(len(absent), dtype=np.int64))
    X = rows.X.iloc[places] if hasattr(rows.X, "iloc") else rows.X[places]
    weights = np.ones(len(rows.y)) if rows.weights is None else rows.weights
    return Rows(X, np.append(rows.y, absent), np.append(weights, np.zeros(len(absent))))


def as_probabilities(raw: np.ndarray) -> np.ndarray:
    """Give both columns of a problem with two classes, of which libraries tell the second.

    Examples
    --------
    >>> as_probabilities(np.array([0.25, 1.0])).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    return raw if raw.ndim == 2 else np.column_stack([1.0 - raw, raw])


@cache
def cuda_devices() -> int:
    """Count the graphics processors that CUDA sees, asking the driver itself.

    The driver is asked because a library that was built for CUDA fails only
    when the fit begins. No driver means no device.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value

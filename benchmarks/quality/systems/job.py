"""What a system is asked to do, and how it hands its answer over."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd


@dataclass
class Job:
    """One table to learn in a folder that holds ``train.parquet``, ``test.parquet``, ``job.json``.

    The test rows have no target: whoever runs the job keeps it.
    """

    folder: Path
    """Where the rows are, and where the answer goes."""
    target: str
    """Column to predict."""
    problem: str
    """binary, multiclass or regression."""
    metric: str
    """log_loss or rmse."""
    classes: list[Any]
    """Labels of the classes, in the order of the answer's columns; empty for a regression."""
    categorical: list[str]
    """Columns of numbers that are labels; columns of text are labels anyway."""
    time_column: str | None
    """Column whose latest rows are held out; None where rows are drawn at random."""
    budget: float
    """Seconds that fitting may take."""
    threads: int
    """Threads that it may use."""
    seed: int
    """Seed of what is drawn."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long the parts took."""

    @classmethod
    def given(cls) -> Self:
        """Read the job whose folder the command line names."""
        folder = Path(sys.argv[1]).absolute()
        return cls(folder, **json.loads((folder / "job.json").read_text(encoding="utf-8")))

    @property
    def is_regression(self) -> bool:
        """Whether the target is a quantity."""
        return self.problem == "regression"

    def train(self) -> pd.DataFrame:
        """Read the rows to learn from, the target among the columns."""
        return pd.read_parquet(self.folder / "train.parquet")

    def test(self) -> pd.DataFrame:
        """Read the rows to predict."""
        return pd.read_parquet(self.folder / "test.parquet")

    def codes(self, y: pd.Series) -> np.ndarray:
        """Turn the target into places among the classes, or into numbers for a regression."""
        if self.is_regression:
            return y.to_numpy("float64")
        return pd.Index(self.classes).get_indexer(pd.Index(y))

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Take the time of ``fit`` or ``predict``."""
        started = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - started

    def answer(self, values: np.ndarray, **more: Any) -> None:
        """Hand over what is said about the test rows, in their order.

        Parameters
        ----------
        values : ndarray of shape (n,) or (n, n_classes)
            Quantities, or probabilities of the classes.
        **more
            What is worth keeping of how they were found.
        """
        frame = pd.DataFrame(np.asarray(values, dtype="float64").reshape(len(values), -1))
        frame.columns = [str(name) for name in frame.columns]
        frame.to_parquet(self.folder / "predictions.parquet", index=False)
        told = {"seconds": self.seconds, "more": more}
        (self.folder / "answer.json").write_text(json.dumps(told, default=str), encoding="utf-8")


def time_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Replace times by their parts, which is what a careful user does for libraries that don't.

    A point in time that is a number lets trees learn the past by heart.
    """
    for name in rows.select_dtypes(["datetime", "datetimetz"]):
        time_ = rows.pop(name).dt
        rows[f"{name} minute of day"] = (time_.hour * 60 + time_.minute).astype("float64")
        rows[f"{name} day of week"] = time_.dayofweek.astype("float64")
        rows[f"{name} day of year"] = time_.dayofyear.astype("float64")
        rows[f"{name} year"] = time_.year.astype("float64")
    return rows

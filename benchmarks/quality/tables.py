"""The tables: how each is read, what is to be predicted, and which rows are held out."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

SHARED = Path(__file__).parents[3] / "shared" / "data"
# The same rows are held out whatever the seed of the systems.
SPLIT_SEED = 42
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Table:
    """Rows to learn from, rows to predict, and what is asked."""

    name: str
    """What it is called in the results."""
    train: pd.DataFrame
    """Rows to learn from."""
    test: pd.DataFrame
    """Held-out rows."""
    target: str
    """Column to predict."""
    problem: str
    """binary, multiclass or regression."""
    metric: str
    """log_loss or rmse."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that are labels."""
    time_column: str | None = None
    """Column whose latest rows are held out; None where they are drawn."""

    @property
    def classes(self) -> list[Any]:
        """Labels of the classes, sorted; none for a quantity."""
        if self.problem == "regression":
            return []
        return sorted(pd.unique(self.train[self.target]).tolist())

    @cached_property
    def repeats(self) -> np.ndarray:
        """Mark held-out rows whose features equal those of a training row, shape (n_test,)."""
        train, test = (
            pd.util.hash_pandas_object(rows.drop(columns=self.target), index=False)
            for rows in (self.train, self.test)
        )
        return np.isin(test, train)

    @cached_property
    def digest(self) -> str:
        """Name of exactly these rows, dealt exactly like this."""
        whole = hashlib.sha256(f"{self.target} {self.metric} {self.categorical}".encode())
        for rows in (self.train, self.test):
            whole.update(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
        return whole.hexdigest()[:12]

    def loss(self, answer: np.ndarray, rows: np.ndarray | None = None) -> float:
        """Judge an answer about the held-out rows, or about those that ``rows`` marks.

        Parameters
        ----------
        answer : ndarray of shape (n_test, 1) or (n_test, n_classes)
            Quantities, or probabilities in the order of ``classes``.
        rows : ndarray of shape (n_test,), optional
            Boolean mask.
        """
        y = self.test[self.target]
        if rows is not None:
            answer, y = answer[rows], y[rows]
        if self.metric == "rmse":
            return float(np.sqrt(np.mean((answer[:, 0] - y.to_numpy("float64")) ** 2)))
        # Being sure of a mistake costs 34, not infinity.
        floored = np.clip(answer, 1e-15, None)
        floored /= floored.sum(axis=1, keepdims=True)
        codes = pd.Index(self.classes).get_indexer(pd.Index(y))
        return float(-np.log(floored[np.arange(len(y)), codes]).mean())


def shared() -> Iterator[tuple[str, Callable[[], Table] | None]]:
    """Give the shared tables by name with what reads each, or None where it is not there."""
    for name, (place, read) in SHARED_TABLES.items():
        path = SHARED / place
        yield name, (lambda read=read, path=path: read(path)) if path.exists() else None


def of_folder(folder: Path) -> Iterator[tuple[str, Callable[[], Table] | None]]:
    """Give the tables of a folder: ``NAME.parquet`` and ``NAME.json`` each.

    The JSON file holds ``target``, ``problem``, ``metric`` and perhaps
    ``categorical`` and ``time_column``.
    """
    for path in sorted(folder.glob("*.json")):
        yield path.stem, lambda path=path: _described(path)


def _described(path: Path) -> Table:
    said = json.loads(path.read_text(encoding="utf-8"))
    said["categorical"] = tuple(said.get("categorical", ()))
    return _dealt(path.stem, pd.read_parquet(path.with_suffix(".parquet")), **said)


def _dealt(name: str, rows: pd.DataFrame, **said: Any) -> Table:
    """Hold a fifth of the rows out: the latest, or a draw with equal shares of the classes."""
    if said.get("time_column"):
        rows = rows.sort_values(said["time_column"], kind="stable", ignore_index=True)
        cut = int(len(rows) * (1 - TEST_SHARE))
        train, test = rows[:cut], rows[cut:]
    else:
        stratify = None if said["problem"] == "regression" else rows[said["target"]]
        train, test = train_test_split(
            rows, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=stratify
        )
    return Table(name, train.reset_index(drop=True), test.reset_index(drop=True), **said)


def _adult(path: Path) -> Table:
    rows = pd.read_parquet(path)
    return _dealt("adult", rows, target="income", problem="binary", metric="log_loss")


def _wine_quality(path: Path) -> Table:
    rows = pd.read_parquet(path)
    return _dealt("wine_quality", rows, target="quality", problem="multiclass", metric="log_loss")


def _ames(path: Path) -> Table:
    rows = pd.read_parquet(path)
    return _dealt("ames", rows, target="SalePrice", problem="regression", metric="rmse")


def _taxi(folder: Path) -> Table:
    """Learn the duration of trips in January and February, and predict those of March."""
    rows = pd.concat(map(pd.read_parquet, sorted(folder.glob("*.parquet"))), ignore_index=True)
    pickup = "lpep_pickup_datetime"
    seconds = (rows["lpep_dropoff_datetime"] - rows[pickup]).dt.total_seconds()
    rows["minutes"] = seconds / 60
    rows = rows[["PULocationID", "DOLocationID", "trip_distance", pickup, "minutes"]]
    # Shorter is a meter started by mistake, longer is not a trip; other months are wrong clocks.
    rows = rows[rows["minutes"].between(1, 60)]
    month = rows[pickup].dt.to_period("M").astype(str)
    return Table(
        "taxi",
        rows[month.isin(["2023-01", "2023-02"])].reset_index(drop=True),
        rows[month == "2023-03"].reset_index(drop=True),
        target="minutes",
        problem="regression",
        metric="rmse",
        categorical=("PULocationID", "DOLocationID"),
        time_column=pickup,
    )


SHARED_TABLES: dict[str, tuple[str, Callable[[Path], Table]]] = {
    "adult": ("adult.parquet", _adult),
    "wine_quality": ("wine_quality.parquet", _wine_quality),
    "ames": ("ames.parquet", _ames),
    "taxi": ("nyc-green-taxi", _taxi),
}

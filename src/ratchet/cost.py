"""What a model costs whoever uses it: time to answer and room on the disk."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from ratchet.errors import DataError, RatchetError
from ratchet.features import as_features
from ratchet.schema import Schema

BATCH_ROWS = 1000
"""Rows that are sent together."""

# One row and a batch share two seconds: about a hundred calls of a model in everyday use.
_SECONDS = 1.0
_MAX_CALLS = 200

# A single row is another one in each call, so that no easy one stands for all.
_DIFFERENT_ROWS = 50

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True)
class Latency:
    """Time that a model takes to answer."""

    one_row_ms: float
    """Milliseconds for one row, the median of repeated calls."""
    one_row_p95_ms: float
    """Milliseconds within which 95 % of these calls ended."""
    batch_ms: float
    """Milliseconds for a batch, the median of repeated calls."""
    batch_rows: int
    """Rows in the batch: ``BATCH_ROWS``, or all that there were."""

    @property
    def rows_per_second(self) -> float:
        """Rows that are answered in a second when they are sent in batches."""
        return 1000 * self.batch_rows / self.batch_ms


@dataclass(frozen=True)
class Cost(Latency):
    """Time and room that a model takes."""

    size_mb: float
    """Megabytes of 1,000,000 bytes that the saved model folder holds."""


def measure(model: Any, frame: pd.DataFrame, schema: Schema, folder: Path) -> Cost:
    """Time a model and weigh its folder.

    The model is asked as a client asks it: with raw columns, which it prepares
    itself, one call after the other on this machine. It takes about two
    seconds, or two calls of each kind where those take longer.

    Parameters
    ----------
    model : estimator
        What ``model.assemble`` made, or anything with ``predict`` that takes raw columns.
    frame : pd.DataFrame
        Rows to ask about, such as the test rows; its first ones are used.
    schema : Schema
        The columns that the model takes.
    folder : Path
        Where the model is saved.

    Raises
    ------
    DataError
        If there are no rows.
    RatchetError
        If there is no such folder, or it can't be read.
    """
    return Cost(**asdict(latency(model, frame, schema, _SECONDS)), size_mb=size_mb(folder))


def latency(model: Any, frame: pd.DataFrame, schema: Schema, seconds: float) -> Latency:
    """Time a model; see ``measure``.

    Parameters
    ----------
    model : estimator
        What ``model.assemble`` made, or anything with ``predict`` that takes raw columns.
    frame : pd.DataFrame
        Rows to ask about, such as the test rows; its first ones are used.
    schema : Schema
        The columns that the model takes.
    seconds : float
        How long to ask about single rows, and again about batches: two calls of
        each kind at least.

    Raises
    ------
    DataError
        If there are no rows.
    """
    if frame.empty:
        raise DataError("The time that a model takes can't be measured on 0 rows.")
    batch = frame.iloc[:BATCH_ROWS]
    rows = [batch.iloc[[place]] for place in range(min(len(batch), _DIFFERENT_ROWS))]
    single = _milliseconds(model, schema, cycle(rows), seconds)
    return Latency(
        one_row_ms=median(single),
        one_row_p95_ms=_within(single, 0.95),
        batch_ms=median(_milliseconds(model, schema, cycle([batch]), seconds)),
        batch_rows=len(batch),
    )


def size_mb(folder: Path) -> float:
    """Add up what the files in a folder hold, in megabytes of 1,000,000 bytes.

    Links count as the files they point at: DVC puts them where it saves room.

    Raises
    ------
    RatchetError
        If there is no such folder, or it can't be read.
    """
    if not folder.is_dir():
        raise RatchetError(f"{folder} is not there. Run the step train first.")
    try:
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    except OSError as error:
        raise RatchetError(f"Can't read {error.filename}: {error.strerror}.") from error
    return sum(sizes) / _BYTES_PER_MB


def _milliseconds(
    model: Any, schema: Schema, requests: Iterator[pd.DataFrame], seconds: float
) -> list[float]:
    """Time calls one after the other; the first, which fills caches, doesn't count."""
    until = time.perf_counter() + seconds
    model.predict(as_features(next(requests), schema))
    taken: list[float] = []
    while not taken or (len(taken) < _MAX_CALLS and time.perf_counter() < until):
        request = next(requests)
        started = time.perf_counter()
        model.predict(as_features(request, schema))
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def _within(taken: list[float], share: float) -> float:
    """Give the time within which such a share of the calls ended."""
    return sorted(taken)[ceil(share * len(taken)) - 1]

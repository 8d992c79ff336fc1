"""What is kept of the rows that a model learned from, and of its answers on rows it never saw."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from ratchet import files, splits, table
from ratchet.drift import distributions
from ratchet.drift.distributions import Distribution, Labels, Quantities
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

FILE = "reference.json"
"""Name of the file, of prepare as of evaluate."""
SAMPLE_FILE = "reference.parquet"
"""Rows of training, as far as they are kept."""

MAX_CELLS = 120_000
"""Most values in the sample: a table of many columns keeps fewer rows."""

# A column follows time if its ranks agree so well with those of the time that rows are split by,
FOLLOWS = 0.9
# or where there is none, with the order of the rows. Of numbers so many steps must go up then,
ORDERED = 0.99
# and so many rows have a value of their own, as ids have: whoever sorts a table by age has not
# made age a clock.
OWN_VALUES = 0.95
# Rows that tell it; of more, every n-th is looked at.
LOOKED_AT = 20_000
# Fewer different values say nothing of an order.
MIN_DISTINCT = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What hour and what day of the week a time is, for times that are always later."""

    hours: Labels
    """Hours of the day."""
    weekdays: Labels
    """Days of the week."""
    days: float
    """From the first time to the last, in days."""
    calendar: tuple[int, ...]
    """How many Mondays, Tuesdays, … there are from the first day to the last."""

    @classmethod
    def of(cls, times: pd.Series) -> Self:
        """Take them from a column."""
        return cls(
            Labels.of(distributions.hours(times)),
            Labels.of(distributions.weekdays(times)),
            distributions.days(times),
            distributions.calendar(times),
        )


@dataclass(frozen=True)
class ColumnReference:
    """A column of the rows that were learned from."""

    name: str
    """Its name."""
    kind: Kind
    """What it holds."""
    n: int
    """Rows, those without a value included."""
    missing: int
    """Rows without a value."""
    grows: bool
    """Whether it follows time, so that in new rows it lies beyond."""
    values: Distribution | None
    """Its known values; None where there is none."""
    parts: Parts | None
    """Of a time its parts."""

    @classmethod
    def of(cls, values: pd.Series, kind: Kind, *, grows: bool = False) -> Self:
        """Describe a column of shape (n_rows,)."""
        missing = int(values.isna().sum())
        known = missing < len(values)
        return cls(
            name=str(values.name),
            kind=kind,
            n=len(values),
            missing=missing,
            grows=grows,
            values=distributions.of(values, kind) if known else None,
            parts=Parts.of(values) if known and kind is Kind.DATETIME else None,
        )

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """Build it from what ``dataclasses.asdict`` gave."""
        parts = value["parts"]
        if parts is not None:
            parts = Parts(
                _labels(parts["hours"]),
                _labels(parts["weekdays"]),
                float(parts["days"]),
                tuple(parts["calendar"]),
            )
        values = value["values"]
        return cls(
            **{
                **value,
                "kind": Kind(value["kind"]),
                "values": None if values is None else distributions.from_plain(values),
                "parts": parts,
            }
        )


@dataclass(frozen=True)
class Reference:
    """The rows that a model learned from, in few numbers."""

    n_rows: int
    """How many there were."""
    columns: tuple[ColumnReference, ...]
    """The model's own columns, in the order of its schema."""
    sample: pd.DataFrame
    """Some of the rows, drawn by chance, with the same columns; of free text the number of
    characters stands for it. Without a row where none is kept."""

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        schema: Schema,
        *,
        growing: Collection[str] = (),
        sample_rows: int = 5000,
        seed: int,
    ) -> Self:
        """Describe rows.

        Parameters
        ----------
        rows : pd.DataFrame
            Training and validation rows, as prepare writes them.
        schema : Schema
            The columns that a model gets; no other is looked at.
        growing : collection of str
            Columns that follow time; see ``growing``.
        sample_rows : int
            Most rows that are kept as they are.
        seed : int
            Of the draw.
        """
        most = min(sample_rows, MAX_CELLS // max(1, len(schema.columns)))
        drawn = splits.sample(len(rows), most, seed) if most else np.zeros(0, dtype=int)
        return cls(
            n_rows=len(rows),
            columns=tuple(
                ColumnReference.of(rows[each.name], each.kind, grows=each.name in growing)
                for each in schema.columns
            ),
            sample=measured(rows.iloc[drawn].reset_index(drop=True), schema.columns),
        )

    def save(self, folder: Path) -> None:
        """Write the two files of it into a folder."""
        value = {"n_rows": self.n_rows, "columns": [asdict(each) for each in self.columns]}
        _write(folder / FILE, value)
        table.write_parquet(self.sample, folder / SAMPLE_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; without the file of the sample there is none.

        Raises
        ------
        RatchetError
            If it isn't there, or another version of this project wrote it.
        """
        path = folder / SAMPLE_FILE
        sample = table.read_parquet(path, "prepare") if path.exists() else pd.DataFrame()
        return files.read_as(
            folder / FILE,
            lambda value: cls(
                int(value["n_rows"]),
                tuple(ColumnReference.from_plain(each) for each in value["columns"]),
                sample,
            ),
            made_by="prepare",
        )


@dataclass(frozen=True)
class Expected:
    """What a model answered on the test rows, and how good that was."""

    answers: ColumnReference
    """Its answers; see ``answers``."""
    metric: str
    """Name of the score that it was chosen by."""
    score: float
    """That score, in the metric's own direction."""
    low: float | None
    """Lower end of its interval; None where none could be given."""
    high: float | None
    """Upper end."""
    baseline: float
    """The score of the answer that looks at no column."""
    confidence: float
    """Probability that the interval promises."""
    n_rows: int
    """Test rows."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        _write(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises
        ------
        RatchetError
            If it isn't there, or another version of this project wrote it.
        """
        return files.read_as(
            path,
            lambda value: cls(**{**value, "answers": ColumnReference.from_plain(value["answers"])}),
            made_by="evaluate",
        )


def answers(said: Predictions, schema: Schema) -> tuple[pd.Series, Kind]:
    """Give what is watched of a model's answers, as a column.

    Returns
    -------
    pd.Series of shape (n_rows,)
        Quantities; of two classes the probability of the positive one; else the
        classes that were said, or the clusters.
    Kind
        What it holds.
    """
    name = "predictions"
    if schema.problem is ProblemType.REGRESSION:
        return pd.Series(said.values, name=name), Kind.NUMBER
    if not schema.problem.has_target:
        return pd.Series([f"cluster {each}" for each in said.values], name=name), Kind.CATEGORY
    if schema.problem is ProblemType.BINARY and said.probabilities is not None:
        return pd.Series(said.probabilities[:, 1], name=name), Kind.NUMBER
    texts = np.array([str(each) for each in (*schema.classes, "no class")], dtype=object)
    return pd.Series(texts[said.values], name=name, dtype="str"), Kind.CATEGORY


def growing(
    rows: pd.DataFrame, columns: Collection[Column], clock: pd.Series | None
) -> tuple[str, ...]:
    """Name the columns whose values follow time: in new rows they lie beyond, and should.

    Parameters
    ----------
    rows : pd.DataFrame
        Rows in the order of the source.
    columns : collection of Column
        The columns to look at; only numbers and times can follow.
    clock : pd.Series of shape (n_rows,), optional
        The time that rows are split by; None goes by the order of the rows.

    Examples
    --------
    >>> rows = pd.DataFrame({"id": np.arange(30.0), "age": np.arange(30.0) % 7})
    >>> number = [Column(name, Kind.NUMBER, "float64", False, 30) for name in rows]
    >>> growing(rows, number, None)
    ('id',)
    """
    step = -(-len(rows) // LOOKED_AT)
    rows = rows.iloc[::step]
    ticks = None
    if clock is not None:
        seen = clock.iloc[::step]
        ticks = seen.astype("int64").where(seen.notna()).to_numpy("float64", na_value=np.nan)
    return tuple(
        column.name
        for column in columns
        if column.kind in (Kind.NUMBER, Kind.DATETIME)
        and _follows(rows[column.name], column.kind, ticks)
    )


def measured(rows: pd.DataFrame, columns: Collection[Any]) -> pd.DataFrame:
    """Put the number of its characters for free text, and leave the other columns as they are.

    Parameters
    ----------
    rows : pd.DataFrame
        With at least these columns.
    columns : collection of Column or ColumnReference
        Their names and kinds.
    """
    return pd.DataFrame(
        {
            each.name: rows[each.name]
            if each.kind is not Kind.TEXT
            else rows[each.name].str.len().astype("float64")
            for each in columns
        },
        index=rows.index,
    )


def _follows(values: pd.Series, kind: Kind, ticks: np.ndarray | None) -> bool:
    known = values.notna().to_numpy(copy=True)
    if ticks is not None:
        known &= ~np.isnan(ticks)
    plain = distributions.quantities(values[known], kind)
    distinct = len(np.unique(plain))
    if distinct < MIN_DISTINCT:
        return False
    if ticks is not None:
        return abs(float(stats.spearmanr(plain, ticks[known]).statistic)) >= FOLLOWS
    if kind is Kind.DATETIME:
        return float(stats.spearmanr(plain, np.arange(len(plain))).statistic) >= FOLLOWS
    ordered = (np.diff(plain) > 0).mean() >= ORDERED
    return bool(ordered and distinct >= OWN_VALUES * len(plain))


def _labels(value: Mapping[str, Any]) -> Labels:
    found = distributions.from_plain(value)
    if isinstance(found, Quantities):
        raise TypeError("labels have no cuts")
    return found


def _write(path: Path, value: Any) -> None:
    """Write JSON in one line: a number a line would double it."""
    text = json.dumps(files.finite(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    files.write_text(path, text + "\n")

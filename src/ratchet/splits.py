"""Deals the rows of a table to train, valid and test."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from ratchet.errors import DataError
from ratchet.expressions import listed
from ratchet.settings import Split, SplitMethod

# A first or last month with a smaller share of a usual month's rows holds wrong clocks and rows
# that belong to the next file, not a month of business.
MIN_PERIOD_SHARE = 0.01

# One row each for train, valid and test.
MIN_PER_CLASS = 3
MIN_GROUPS = 3

# A part that misses its share by more than this is worth a note.
MAX_DEVIATION = 0.05

_FREQUENCIES = {"day": "D", "week": "W", "month": "M", "year": "Y"}


@dataclass(frozen=True)
class Splits:
    """Positions of the rows of each part, sorted; every row is in exactly one."""

    train: np.ndarray
    """Rows to learn from, shape (n_train,), int64."""
    valid: np.ndarray
    """Rows to choose the leader with, shape (n_valid,)."""
    test: np.ndarray
    """Rows that judge the leader once, shape (n_test,)."""
    stray: np.ndarray
    """Rows of nearly empty calendar periods at the table's ends, in no part."""
    notes: tuple[str, ...] = ()
    """What is worth telling, one sentence each."""


def split(
    n_rows: int,
    settings: Split,
    seed: int,
    *,
    labels: np.ndarray | None = None,
    by: pd.Series | None = None,
) -> Splits:
    """Deal rows to train, valid and test.

    A share of a *group* split counts groups, not rows. A *time* split puts
    train before valid before test, and never rows of equal time on two sides.
    A span such as ``1 month`` takes the last calendar months (days, weeks from
    Monday, years) in which there are rows; a period at either end of the table
    with less than 1 % of the rows of a usual one is stray and left out.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    settings : Split
        Method and sizes.
    seed : int
        Of the random methods; equal seeds give equal splits.
    labels : np.ndarray of shape (n_rows,), optional
        Classes or their codes, for the stratified method.
    by : pd.Series of shape (n_rows,), optional
        Groups or times, for the methods group and time.

    Returns
    -------
    Splits

    Raises
    ------
    DataError
        If a part would be empty, a class or the groups are too few, or a group
        or time is missing.

    Examples
    --------
    >>> from ratchet.settings import Split
    >>> parts = split(10, Split(valid=0.25, test=0.2), seed=1)
    >>> len(parts.train), len(parts.valid), len(parts.test)
    (6, 2, 2)
    """
    rows = np.arange(n_rows)
    stray = rows[:0]
    notes: list[str] = []
    match settings.method:
        case SplitMethod.RANDOM:
            dealer: _Dealer = _Random(seed)
        case SplitMethod.STRATIFIED:
            dealer = _Stratified(seed, enough_of_each(labels))
        case SplitMethod.GROUP:
            # Codes of the sorted groups: the order of the rows must not decide.
            dealer = _Group(seed, pd.factorize(_complete(by, settings), sort=True)[0])
        case SplitMethod.TIME:
            times = _times(_complete(by, settings), settings)
            dealer = _Time(times)
            stray = _stray(times, settings)
            notes += [_stray_note(times[stray])] if len(stray) else []
    rest, test = dealer.cut(
        np.setdiff1d(rows, stray) if len(stray) else rows, "test", settings.test
    )
    train, valid = dealer.cut(rest, "valid", settings.valid)
    for name, part, size, n in (
        ("test", test, settings.test, len(rest) + len(test)),
        ("valid", valid, settings.valid, len(rest)),
    ):
        if not isinstance(size, str) and abs(len(part) / n - size) > MAX_DEVIATION:
            notes.append(
                f"{name} holds {len(part) / n:.0%} of the rows for a share of {size}, since"
                f" {dealer.together} stay together."
            )
    return Splits(train, valid, test, stray, tuple(notes))


_Parts = tuple[np.ndarray, np.ndarray]


def sample(n: int, most: int, seed: int) -> np.ndarray:
    """Give the places of at most so many of n rows, by chance and in their order.

    Examples
    --------
    >>> sample(3, 5, seed=0).tolist(), len(sample(100, 5, seed=0))
    ([0, 1, 2], 5)
    """
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


class _Dealer(Protocol):
    """Cuts rows in two: the ones that go on, and the ones of a part."""

    @property
    def together(self) -> str:
        """What a cut never parts."""

    def cut(self, rows: np.ndarray, part: str, size: float | str) -> _Parts: ...


@dataclass(frozen=True)
class _Random:
    seed: int
    together: str = "rows"

    def cut(self, rows: np.ndarray, part: str, size: float | str) -> _Parts:
        n = _count(len(rows), "rows", part, size)
        # What train_test_split draws, without the copies that it makes of all rows.
        taken = np.zeros(len(rows), dtype=bool)
        taken[np.random.RandomState(self.seed).permutation(len(rows))[:n]] = True
        return rows[~taken], rows[taken]


@dataclass(frozen=True)
class _Stratified:
    seed: int
    labels: np.ndarray
    together: str = "rows"

    def cut(self, rows: np.ndarray, part: str, size: float | str) -> _Parts:
        n = _count(len(rows), "rows", part, size)
        labels = self.labels[rows]
        classes, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2:
            raise DataError(
                f"Class {classes[counts.argmin()]!s} has too few rows for split.test and"
                " split.valid. Use smaller shares, or leave the class out with data.filter."
            )
        if min(n, len(rows) - n) < len(classes):
            raise DataError(
                f"split.{part} {size} of {len(rows):,} rows can't hold each of"
                f" {len(classes)} classes on both sides. Use another share, or method random."
            )
        rest, taken = train_test_split(rows, test_size=n, random_state=self.seed, stratify=labels)
        return np.sort(rest), np.sort(taken)


@dataclass(frozen=True)
class _Group:
    seed: int
    groups: np.ndarray
    together: str = "rows of a group"

    def cut(self, rows: np.ndarray, part: str, size: float | str) -> _Parts:
        groups = self.groups[rows]
        n = _count(len(np.unique(groups)), "groups", part, size)
        splitter = GroupShuffleSplit(n_splits=1, test_size=n, random_state=self.seed)
        ((rest, taken),) = splitter.split(rows, groups=groups)
        return rows[rest], rows[taken]


@dataclass(frozen=True)
class _Time:
    times: pd.Series
    together: str = "rows of equal time"

    def cut(self, rows: np.ndarray, part: str, size: float | str) -> _Parts:
        times = self.times.iloc[rows]
        late = _last_periods(times, size) if isinstance(size, str) else _last_share(times, size)
        if late.all():
            raise DataError(
                f"split.{part} {size} takes all of the {len(rows):,} rows from"
                f" {_day(times.min())} to {_day(times.max())}. Use a smaller size, or more rows."
            )
        return rows[~late], rows[late]


def _count(n: int, what: str, part: str, size: float | str) -> int:
    """Turn a share into a number, and refuse to leave nothing behind."""
    # 0.07 * 100 is a little more than 7.
    count = ceil(round(float(size) * n, 9))
    if n - count < 1:
        raise DataError(
            f"split.{part} {size} takes all of the {n} {what} that are left. Use a smaller share,"
            f" or more {what}."
        )
    return count


def enough_of_each(labels: np.ndarray | None) -> np.ndarray:
    """Give the labels back if each class has a row for each part.

    Raises
    ------
    DataError
        If one has not, or there are no classes.
    """
    if labels is None:
        raise DataError(
            "split.method is stratified, and a quantity has no classes."
            " Set it to random, group or time."
        )
    classes, counts = np.unique(labels, return_counts=True)
    rare = [
        f"{label!s} ({count})"
        for label, count in zip(classes, counts, strict=True)
        if count < MIN_PER_CLASS
    ]
    if rare:
        raise DataError(
            f"split.method stratified needs {MIN_PER_CLASS} rows of each class, one for each part."
            f" Classes with fewer: {listed(rare)}. Leave them out with data.filter, or use random."
        )
    return labels


def _complete(by: pd.Series | None, settings: Split) -> pd.Series:
    """Give the column with an index 0..n-1 if it can deal every row."""
    if by is None:
        raise DataError(f"split.method {settings.method} needs split.column.")
    missing = int(by.isna().sum())
    if missing:
        raise DataError(
            f"Column {settings.column!r} of split.column is missing in {missing:,} of {len(by):,}"
            f" rows. Leave them out with data.filter: not missing(col({settings.column!r}))."
        )
    distinct = by.nunique()
    if settings.method is SplitMethod.GROUP and distinct < MIN_GROUPS:
        raise DataError(
            f"Column {settings.column!r} of split.column has {distinct} groups, and"
            f" {MIN_GROUPS} are needed, one for each part."
        )
    return by.reset_index(drop=True)


def _times(by: pd.Series, settings: Split) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(by):
        return by
    spans = [size for size in (settings.test, settings.valid) if isinstance(size, str)]
    numeric = pd.api.types.is_numeric_dtype(by)
    if spans or not numeric:
        needed = "points in time for a span" if numeric else "points in time, or numbers"
        raise DataError(
            f"Column {settings.column!r} of split.column must hold {needed}, got"
            f" {by.iloc[0]!s} of type {by.dtype}."
        )
    return by


def _last_share(times: pd.Series, share: float) -> np.ndarray:
    """Mark the latest rows, cutting between two times, as near to the share as can be."""
    distinct, counts = np.unique(times.to_numpy(), return_counts=True)
    if len(distinct) < 2:
        return np.ones(len(times), dtype=bool)
    n_late = len(times) - counts.cumsum()[:-1]
    place = np.abs(n_late - share * len(times)).argmin()
    return times.to_numpy() > distinct[place]


def _last_periods(times: pd.Series, span: str) -> np.ndarray:
    number, unit = _parsed(span)
    periods = times.dt.to_period(unit)
    return (periods > periods.max() - number).to_numpy(bool)


def _stray(times: pd.Series, settings: Split) -> np.ndarray:
    """Find the rows of nearly empty periods before the first and after the last usual one."""
    spans = [size for size in (settings.test, settings.valid) if isinstance(size, str)]
    if not spans:
        return np.arange(0)
    periods = times.dt.to_period(_parsed(spans[0])[1])
    counts = periods.value_counts().sort_index()
    # The usual period is the one the median row is in: a dozen periods of one row each,
    # from wrong clocks, would be the majority of periods.
    usual = np.median(counts[periods])
    full = counts.index[counts >= MIN_PERIOD_SHARE * usual]
    return np.flatnonzero((periods < full.min()) | (periods > full.max()))


def _stray_note(times: pd.Series) -> str:
    days = [_day(day) for day in sorted(set(times.dt.normalize()))]
    rows = "1 row is" if len(times) == 1 else f"{len(times):,} rows are"
    return (
        f"{rows} in no part: before and after the table's usual time, in a period with less than"
        f" {MIN_PERIOD_SHARE:.0%} of a usual one's rows ({listed(days, most=6)})."
    )


def _parsed(span: str) -> tuple[int, str]:
    number, unit = span.split()
    return int(number), _FREQUENCIES[unit.removesuffix("s")]


def _day(time: Any) -> str:
    return time.strftime("%Y-%m-%d") if isinstance(time, pd.Timestamp) else str(time)

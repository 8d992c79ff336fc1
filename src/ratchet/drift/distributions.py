"""What a column is like in few numbers: kept of training rows, and counted again of new ones."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ratchet import wording
from ratchet.schema import Kind

CUTS = 100
"""Quantiles of numbers and times that are kept, evenly spaced, the ends included."""
NAMES = 50
"""Labels that are kept by name, the most frequent ones."""
MIN_ROWS_PER_NAME = 5
"""Rows that a label needs to be kept by name: a rare one may be somebody's."""
MAX_KNOWN = 20_000
"""Different labels up to which it is known whether a label is new."""
STRAY = 0.002
"""Share of the times on either side that may lie anywhere."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Quantities:
    """Numbers between cuts: where the quantiles of the training rows were."""

    cuts: tuple[float, ...]
    """Increasing values that stood in training rows, from the smallest to the largest."""
    counts: tuple[int, ...]
    """One more than cuts: rows up to each cut, but above the one before; then those above all."""

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Cut values of shape (n,) at their quantiles.

        Examples
        --------
        >>> Quantities.of(np.array([1.0, 2.0, 2.0, 7.0]))
        Quantities(cuts=(1.0, 2.0, 7.0), counts=(1, 2, 1, 0))
        """
        levels = np.linspace(0, 1, CUTS + 1)
        cuts = np.unique(np.quantile(values, levels, method="inverted_cdf")) if len(values) else ()
        places = tuple(float(each) for each in cuts)
        return cls(places, tuple(_counts(values, np.array(places)).tolist()))

    def again(self, values: np.ndarray) -> np.ndarray:
        """Count other values, of shape (n,), between the same cuts."""
        return _counts(values, np.array(self.cuts))

    @property
    def n(self) -> int:
        """Values that were counted."""
        return sum(self.counts)

    @property
    def median(self) -> float:
        """The middle one of them, as exactly as cuts tell."""
        passed = np.cumsum(self.counts) >= self.n / 2
        return self.cuts[min(int(np.argmax(passed)), len(self.cuts) - 1)]

    def below(self, places: np.ndarray) -> np.ndarray:
        """Give the shares of values up to each of some places, by straight lines between cuts."""
        shares = np.cumsum(self.counts)[:-1] / self.n
        return np.interp(places, self.cuts, shares, left=0.0, right=1.0)


@dataclass(frozen=True)
class Labels:
    """How often each of the frequent labels occurs, and which labels occur at all."""

    names: tuple[str, ...]
    """The most frequent ones first."""
    counts: tuple[int, ...]
    """Rows of each."""
    rest: int
    """Rows of all others."""
    known: str | None
    """Checksums (CRC-32) of all labels as base64; None where there are more than ``MAX_KNOWN``."""
    once: int
    """Labels of one row each."""
    twice: int
    """Labels of two rows each."""

    @classmethod
    def of(cls, counted: pd.Series) -> Self:
        """Keep what was counted: rows by label, the most frequent first.

        Examples
        --------
        >>> found = Labels.of(labels(pd.Series(["a"] * 6 + ["b"]), Kind.CATEGORY))
        >>> found.names, found.counts, found.rest, found.once
        (('a',), (6,), 1, 1)
        """
        named = counted[counted >= MIN_ROWS_PER_NAME].head(NAMES)
        known = None
        if len(counted) <= MAX_KNOWN:
            sums = np.unique(_checksums(counted.index))
            known = base64.b64encode(sums.tobytes()).decode("ascii")
        return cls(
            names=tuple(str(name) for name in named.index),
            counts=tuple(int(count) for count in named),
            rest=int(counted.sum() - named.sum()),
            known=known,
            once=int((counted == 1).sum()),
            twice=int((counted == 2).sum()),
        )

    def again(self, counted: pd.Series) -> "Recount":
        """Hold rows of other labels, the most frequent first, against these."""
        named = [int(counted.get(name, 0)) for name in self.names]
        counts = np.array([*named, int(counted.sum()) - sum(named)])
        if self.known is None:
            return Recount(counts, None, ())
        sums = np.frombuffer(base64.b64decode(self.known), dtype="<u4")
        new = counted[~np.isin(_checksums(counted.index), sums)]
        return Recount(counts, int(new.sum()), tuple(str(name) for name in new.index))

    def weighted(self, weights: Mapping[str, float]) -> "Labels":
        """Count as if named labels had come so much more often, among as many in all."""
        raw = np.array([c * weights[n] for n, c in zip(self.names, self.counts, strict=True)])
        scale = (self.n - self.rest) / raw.sum() if raw.sum() else 1.0
        return replace(self, counts=tuple(int(each) for each in np.rint(raw * scale)))

    @property
    def n(self) -> int:
        """Labels that were counted."""
        return sum(self.counts) + self.rest


@dataclass(frozen=True)
class Recount:
    """Labels of other rows."""

    counts: np.ndarray
    """Rows of each named label, then of all others: shape (n_names + 1,)."""
    new: int | None
    """Rows with a label that is in no training row; None where that isn't known."""
    names: tuple[str, ...]
    """Those labels, the most frequent ones first."""


Distribution = Quantities | Labels


def plain(of: Distribution) -> dict[str, Any]:
    """Give it as plain values, for JSON."""
    return asdict(of)


def from_plain(value: Mapping[str, Any]) -> Distribution:
    """Build it from what ``plain`` gave."""
    if "cuts" in value:
        return Quantities(tuple(value["cuts"]), tuple(value["counts"]))
    return Labels(**{**value, "names": tuple(value["names"]), "counts": tuple(value["counts"])})


def is_label(kind: Kind) -> bool:
    """Tell columns that are counted by label from those that are measured."""
    return kind in (Kind.CATEGORY, Kind.BOOLEAN)


def of(values: pd.Series, kind: Kind) -> Distribution:
    """Take the distribution of a column's known values."""
    if is_label(kind):
        return Labels.of(labels(values, kind))
    return Quantities.of(quantities(values, kind))


def quantities(values: pd.Series, kind: Kind) -> np.ndarray:
    """Give the known values of a column as numbers.

    Returns
    -------
    np.ndarray of shape (n_known,)
        Times in seconds since 1970; of free text the number of characters.
    """
    known = values.dropna()
    if kind is Kind.DATETIME:
        return known.astype("datetime64[us]").astype("int64").to_numpy() / 1e6
    if kind is Kind.TEXT:
        return known.astype("str").str.len().to_numpy("float64")
    return known.to_numpy("float64")


def labels(values: pd.Series, kind: Kind) -> pd.Series:
    """Count the known values of a column, by their text; the most frequent first."""
    codes, distinct = pd.factorize(values)
    if kind is Kind.BOOLEAN:
        texts = [str(bool(each)).lower() for each in distinct]
    else:
        # A number that is a label is whole, as a rule, and was kept as a float.
        texts = [f"{each:.15g}" if isinstance(each, float) else str(each) for each in distinct]
    return _counted(codes[codes >= 0], texts)


def hours(times: pd.Series) -> pd.Series:
    """Count known times by the hour of their day."""
    names = [f"{hour:02}" for hour in range(24)]
    return _counted(times.dropna().dt.hour.to_numpy(), names)


def weekdays(times: pd.Series) -> pd.Series:
    """Count known times by their day of the week."""
    return _counted(times.dropna().dt.day_of_week.to_numpy(), WEEKDAYS)


def days(times: pd.Series) -> float:
    """Give the time from the first to the last, in days, but for stray ones; 0 for none."""
    ends = _ends(times)
    return 0.0 if ends is None else float((ends[1] - ends[0]) / pd.Timedelta(days=1))


def calendar(times: pd.Series) -> tuple[int, ...]:
    """Count the Mondays, Tuesdays, … from the first day to the last, but for stray ones.

    Examples
    --------
    >>> calendar(pd.Series(pd.to_datetime(["2026-03-02", "2026-03-10"])))
    (2, 2, 1, 1, 1, 1, 1)
    """
    ends = _ends(times)
    if ends is None:
        return (0,) * len(WEEKDAYS)
    first, last = (each.normalize() for each in ends)
    span = int((last - first) / pd.Timedelta(days=1)) + 1
    return tuple((span + 6 - (day - first.day_of_week) % 7) // 7 for day in range(7))


def shown(value: float, kind: Kind) -> str:
    """Write a value that was measured, as the column has it."""
    if kind is Kind.DATETIME:
        return wording.value(pd.Timestamp(value, unit="s"), kind)
    return wording.number(float(f"{value:.4g}"))


def _counted(codes: np.ndarray, names: Sequence[str]) -> pd.Series:
    counts = np.bincount(codes, minlength=len(names))
    found = pd.DataFrame({"name": list(names), "rows": counts}).groupby("name")["rows"].sum()
    return found[found > 0].sort_values(ascending=False, kind="stable")


def _ends(times: pd.Series) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """Give the first and the last time, but for a few: tables hold some of other years."""
    known = times.dropna()
    if not len(known):
        return None
    ends: Any = known.quantile([STRAY, 1 - STRAY], interpolation="nearest")
    first, last = ends
    return first, last


def _counts(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(cuts, values), minlength=len(cuts) + 1)


def _checksums(names: pd.Index) -> np.ndarray:
    return np.array([zlib.crc32(str(name).encode()) for name in names], dtype="<u4")

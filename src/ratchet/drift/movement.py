"""How far a column has moved, and whether that may be chance.

A test says whether, and a size says how far: of a million rows every difference is surely
there, and of a hundred a large one may be none. A verdict takes both.

References
----------
Holm, S. (1979). A Simple Sequentially Rejective Multiple Test Procedure.
Scandinavian Journal of Statistics 6.
Siddiqi, N. (2006). Credit Risk Scorecards (population stability index).
Good, I. J. (1953). The Population Frequencies of Species and the Estimation of
Population Parameters. Biometrika 40 (the share of labels never seen).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import stats

from ratchet.drift import distributions
from ratchet.drift.base import Histogram
from ratchet.drift.distributions import Labels, Quantities, Recount
from ratchet.drift.reference import ColumnReference, Parts
from ratchet.schema import Kind

# Of numbers the index has the usual ten bins; few rows have fewer, since a bin of a few rows moves
# by chance alone.
BINS = 10
ROWS_PER_BIN = 20
# Rows expected in a cell of a test of labels.
MIN_EXPECTED = 10

# New times that lie after all of training, to this share, are later and not elsewhere.
LATER = 0.9
# Days that both sides need before hours, and days of the week, can be held against each other.
HOUR_DAYS = 7
WEEKDAY_DAYS = 14

# Bars of a picture.
BARS = 20
# Labels that a sentence names.
_NAMED = 3


class Aspect(StrEnum):
    """What of a column is compared."""

    VALUES = "values"
    """What it holds."""
    HOUR = "hour of the day"
    """Of a time that is always later."""
    WEEKDAY = "day of the week"
    """The same."""
    MISSING = "missing values"
    """How often it is empty."""
    NEW_LABELS = "new labels"
    """Labels that training did not have."""


@dataclass(frozen=True)
class Sign:
    """One comparison."""

    aspect: Aspect
    """What was compared."""
    p: float
    """Probability of so large a difference by chance."""
    sizes: tuple[tuple[str, float], ...]
    """How far it moved: names of thresholds in ``monitor.watch``, and sizes."""
    told: str
    """What moved, how far, and what was expected, as a sentence."""
    test: str = ""
    """Which test it was."""

    def size(self, name: str) -> float | None:
        """Give one of the sizes; None where it has none of this name."""
        return dict(self.sizes).get(name)


@dataclass(frozen=True)
class Moved:
    """A column of new rows beside that of training."""

    reference: ColumnReference
    """What it was like."""
    missing: float
    """Share of the new rows without a value."""
    signs: tuple[Sign, ...]
    """Every comparison that could be made."""
    note: str = ""
    """Why its values are not compared, or how."""
    new_labels: float | None = None
    """Share of the new rows with a label that no training row has."""
    new_labels_before: float | None = None
    """Such a share as training rows let expect."""
    names: tuple[str, ...] = ()
    """Those labels, the most frequent ones first."""
    histogram: Histogram | None = field(default=None, compare=False)
    """What it looked like and looks like now."""

    def sign(self, aspect: Aspect) -> Sign | None:
        """Find a comparison; None where it was not made."""
        return next((each for each in self.signs if each.aspect is aspect), None)


def of(reference: ColumnReference, values: pd.Series) -> Moved:
    """Hold a column of new rows against that of training.

    Parameters
    ----------
    reference : ColumnReference
        What it was like.
    values : pd.Series of shape (n_rows,)
        What it is like, with the type that the model takes.
    """
    empty = int(values.isna().sum())
    missing = Moved(reference, empty / len(values), tuple(_missing(reference, empty, len(values))))
    if reference.values is None or empty == len(values):
        which = "training" if reference.values is None else "the new"
        return replace(missing, note=f"Missing in every one of {which} rows: not compared.")
    if isinstance(reference.values, Labels):
        return _labelled(missing, reference.values, values)
    if reference.kind is Kind.DATETIME and reference.parts is not None:
        why = "follows time" if reference.grows else _later(reference.values, values)
        if why:
            return _by_parts(missing, reference.parts, values, why)
    if reference.grows:
        note = "It follows time, so that new rows lie beyond: its values are not compared."
        return replace(missing, note=note)
    return _measured(missing, reference.values, values)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct probabilities for their number, as Holm does.

    Whoever calls those below 0.01 moved is wrong about any of them in at most
    1 % of cases, however the columns hang together.

    Examples
    --------
    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    order = np.argsort(ps, kind="stable")
    corrected = np.empty(len(ps))
    corrected[order] = np.maximum.accumulate(np.array(ps)[order] * (len(ps) - np.arange(len(ps))))
    return [float(each) for each in np.minimum(corrected, 1.0)]


def parts_compared(reference: ColumnReference, values: pd.Series) -> tuple[Aspect, ...] | None:
    """Tell which parts of a time are compared; None where it is compared as it is.

    A number that follows time has no parts, so that nothing of it is compared.
    """
    if reference.parts is None or not isinstance(reference.values, Quantities):
        return () if reference.grows else None
    if not reference.grows and not _later(reference.values, values):
        return None
    return tuple(aspect for aspect, _, _ in _comparable(reference.parts, values))


def _missing(reference: ColumnReference, empty: int, n: int) -> Iterator[Sign]:
    if not reference.missing and not empty:
        return  # no draw of these rows could have differed
    now, before = empty / n, reference.missing / reference.n
    yield Sign(
        Aspect.MISSING,
        _two_shares(reference.missing, reference.n, empty, n),
        (("missing", abs(now - before)),),
        f"{reference.name!r} is missing in {share(now)} of the rows, where {share(before)} were"
        " expected.",
        "Fisher" if _is_small(reference.missing, reference.n, empty, n) else "chi-squared",
    )


def _measured(moved: Moved, before: Quantities, values: pd.Series) -> Moved:
    reference = moved.reference
    now = distributions.quantities(values, reference.kind)
    counts = before.again(now)
    cells = _bins(np.array(before.counts), _most_cells(before.n, len(now), BINS))
    index = psi(_merged(np.array(before.counts), cells), _merged(counts, cells))
    apart = np.abs(np.cumsum(before.counts) / before.n - np.cumsum(counts) / len(now)).max()
    # Between cuts the distance may be larger: what is taken is too small if anything.
    effective = before.n * len(now) / (before.n + len(now))
    p = float(stats.kstwo.sf(apart, max(1, round(effective))))
    kind = Kind.NUMBER if reference.kind is Kind.TEXT else reference.kind
    middle, usual = (
        distributions.shown(each, kind) for each in (float(np.median(now)), before.median)
    )
    what = " (its number of characters)" if reference.kind is Kind.TEXT else ""
    told = (
        f"{_title(reference)}{what} moved: distance {apart:.2f} (Kolmogorov-Smirnov), PSI"
        f" {index:.2f}; the median is {middle}, where {usual} was expected."
    )
    sizes = (("psi", index), ("distance", float(apart)))
    sign = Sign(Aspect.VALUES, p, sizes, told, "Kolmogorov-Smirnov")
    return replace(moved, signs=(*moved.signs, sign), histogram=_bars(before, now))


def _labelled(moved: Moved, before: Labels, values: pd.Series) -> Moved:
    reference = moved.reference
    now = before.again(distributions.labels(values, reference.kind))
    signs = [*moved.signs]
    known = now.counts.copy()
    known[-1] -= now.new or 0  # new labels have a sign of their own
    compared = _compare_labels(before, known) if known.any() else None
    if compared is not None:
        index, apart, p, test = compared
        told = (
            f"{_title(reference)} moved: distance {apart:.2f} (share of rows with another label),"
            f" PSI {index:.2f}; {_most_moved(before, known)}."
        )
        sizes = (("psi", index), ("distance", apart))
        signs.append(Sign(Aspect.VALUES, p, sizes, told, test))
    found = replace(moved, histogram=_bars_of_labels(before, now.counts))
    if reference.kind is not Kind.CATEGORY or now.new is None:
        return replace(found, signs=tuple(signs))
    signs += _new_labels(reference, before, now)
    n = int(now.counts.sum())
    return replace(
        found,
        signs=tuple(signs),
        new_labels=now.new / n,
        new_labels_before=before.once / before.n,
        names=now.names,
    )


def _new_labels(reference: ColumnReference, before: Labels, now: Recount) -> Iterator[Sign]:
    if not now.new:
        return
    n = int(now.counts.sum())
    # Good's estimate of how many rows of the next ones have a label that was never seen: as many
    # as had one that nobody else had. It is less sure than a count where pairs are frequent.
    spread = 1 + 2 * before.twice / before.once if before.once else 1.0
    expected, rows = round(before.once / spread), max(1, round(before.n / spread))
    table = [[now.new, n - now.new], [expected, max(0, rows - expected)]]
    named = ", ".join(repr(name) for name in now.names[:_NAMED])
    more = f" and {len(now.names) - _NAMED:,} more" if len(now.names) > _NAMED else ""
    yield Sign(
        Aspect.NEW_LABELS,
        float(stats.fisher_exact(table, alternative="greater").pvalue),
        (("new_labels", now.new / n - before.once / before.n),),
        f"{reference.name!r} has labels that training did not have in {share(now.new / n)} of the"
        f" rows, where {share(before.once / before.n)} were expected: {named}{more}.",
        "Fisher",
    )


def _by_parts(moved: Moved, before: Parts, values: pd.Series, why: str) -> Moved:
    compared = list(_comparable(before, values))
    signs = list(moved.signs)
    for aspect, kept, now in compared:
        found = _compare_labels(kept, kept.again(now).counts)
        if found is None:
            continue
        index, apart, p, test = found
        told = (
            f"The {aspect} of {moved.reference.name!r} moved: distance {apart:.2f} (share of rows"
            f" with another one), PSI {index:.2f}; {_most_moved(kept, kept.again(now).counts)}."
        )
        signs.append(Sign(aspect, p, (("psi", index), ("distance", apart)), told, test))
    names = " and ".join(str(aspect) for aspect, _, _ in compared)
    note = f"It {why}: "
    verb = "are" if len(compared) > 1 else "is"
    note += f"its {names} {verb} compared." if names else "its values are not compared."
    if min(before.days, distributions.days(values)) < WEEKDAY_DAYS:
        note += (
            f" The hour of the day needs {HOUR_DAYS} days of both, the day of the week"
            f" {WEEKDAY_DAYS}."
        )
    histogram = None
    if compared:
        _, kept, now = compared[0]
        histogram = _bars_in_order(kept, kept.again(now).counts)
    return replace(moved, signs=tuple(signs), note=note, histogram=histogram)


def _comparable(before: Parts, values: pd.Series) -> Iterator[tuple[Aspect, Labels, pd.Series]]:
    span = min(before.days, distributions.days(values))
    if span >= HOUR_DAYS:
        now = distributions.hours(values)
        if len(before.hours.names) > 1 or len(now) > 1:  # dates have no hour
            yield Aspect.HOUR, before.hours, now
    if span >= WEEKDAY_DAYS:
        # A month has some days of the week five times, and others four times.
        weights = {
            day: now / max(1, then)
            for day, now, then in zip(
                distributions.WEEKDAYS,
                distributions.calendar(values),
                before.calendar,
                strict=True,
            )
        }
        kept = before.weekdays.weighted(weights)
        yield Aspect.WEEKDAY, kept, distributions.weekdays(values)


def _later(before: Quantities, values: pd.Series) -> str:
    now = distributions.quantities(values, Kind.DATETIME)
    later = len(now) and (now > before.cuts[-1]).mean() >= LATER
    return "is later than in training" if later else ""


def _compare_labels(before: Labels, counts: np.ndarray) -> tuple[float, float, float, str] | None:
    """Give index, distance, probability and test; None where there are no two labels."""
    n = int(counts.sum())
    kept = np.array([*before.counts, before.rest])
    most = _most_cells(before.n, n, len(before.names) + 1)
    expected = kept[:-1] * min(1.0, n / before.n)
    named = np.flatnonzero(expected >= MIN_EXPECTED)[: most - 1]
    # The others share a cell, wherever they stand.
    cells = np.full(len(kept), len(named))
    cells[named] = np.arange(len(named))
    a, b = _merged(kept, cells), _merged(counts, cells)
    there = (a + b) > 0
    if there.sum() < 2:
        return None
    a, b = a[there], b[there]
    apart = float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)
    if len(a) == 2:
        p = _two_shares(int(a[0]), int(a.sum()), int(b[0]), int(b.sum()))
        small = _is_small(int(a[0]), int(a.sum()), int(b[0]), int(b.sum()))
        return psi(a, b), apart, p, "Fisher" if small else "chi-squared"
    found = stats.chi2_contingency([a, b], correction=False)
    return psi(a, b), apart, float(found.pvalue), "chi-squared"


def psi(before: np.ndarray, now: np.ndarray) -> float:
    """Give the population stability index of counts in the same bins, of shape (n_bins,).

    Half a row in each bin keeps an empty one from being infinitely far. Swapping both
    sides changes nothing.

    Examples
    --------
    >>> round(psi(np.array([500, 500]), np.array([400, 600])), 3)
    0.04
    """
    a, b = ((side + 0.5) / (side.sum() + 0.5 * len(side)) for side in (np.asarray(before), now))
    return float(((b - a) * np.log(b / a)).sum())


def share(value: float) -> str:
    """Write a share in percent.

    Examples
    --------
    >>> share(0.0), share(0.0004), share(0.25)
    ('0 %', '< 0.1 %', '25.0 %')
    """
    if not value:
        return "0 %"
    return "< 0.1 %" if value < 0.001 else f"{100 * value:.1f} %"


def _title(reference: ColumnReference) -> str:
    return "What the model answers" if reference.name == "predictions" else repr(reference.name)


def _most_cells(before: int, now: int, most: int) -> int:
    return max(2, min(most, min(before, now) // ROWS_PER_BIN))


def _bins(counts: np.ndarray, most: int) -> np.ndarray:
    """Join neighbours to at most so many bins of about equal size; give the bin of each."""
    if np.count_nonzero(counts) <= most:
        return np.asarray(np.maximum(np.cumsum(counts > 0) - 1, 0))
    # A value that many rows share fills a bin by itself.
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    _, cells = np.unique(np.minimum((middle * most).astype(int), most - 1), return_inverse=True)
    return np.asarray(cells)


def _merged(counts: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return np.bincount(cells, counts, minlength=int(cells.max()) + 1)


def _is_small(a: int, n_a: int, b: int, n_b: int) -> bool:
    rare = min(a + b, n_a + n_b - a - b)
    return rare * min(n_a, n_b) / (n_a + n_b) < MIN_EXPECTED


def _two_shares(a: int, n_a: int, b: int, n_b: int) -> float:
    table = [[a, n_a - a], [b, n_b - b]]
    if _is_small(a, n_a, b, n_b):
        return float(stats.fisher_exact(table).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _most_moved(before: Labels, counts: np.ndarray) -> str:
    """Tell of the label whose share has changed most."""
    a = np.array([*before.counts, before.rest]) / before.n
    b = counts / counts.sum()
    place = int(np.argmax(np.abs(a - b)))
    name = repr(before.names[place]) if place < len(before.names) else "other labels"
    verb = "has" if place < len(before.names) else "have"
    return f"{name} {verb} {share(b[place])}, where {share(a[place])} were expected"


def _bars(before: Quantities, now: np.ndarray) -> Histogram:
    """Count both sides in bins of one width, as far as most of the rows reach."""
    if len(before.cuts) <= BARS and np.isin(now, before.cuts).all():
        shares = before.again(now)[:-1] / len(now)
        names = tuple(f"{each:.6g}" for each in before.cuts)
        old = np.array(before.counts[:-1]) / before.n
        return Histogram((), names, _rounded(old), _rounded(shares))
    levels = np.cumsum(before.counts)[:-1] / before.n
    ends = [np.interp(level, levels, before.cuts) for level in (0.01, 0.99)]
    low, high = (
        pick(float(ends[at]), float(np.quantile(now, (0.01, 0.99)[at])))
        for at, pick in ((0, min), (1, max))
    )
    if low == high:
        high = low + 1
    edges = np.linspace(low, high, BARS + 1)
    inner = edges[1:-1]
    old = np.diff([0.0, *before.below(inner), 1.0])
    new = np.bincount(np.searchsorted(inner, now), minlength=BARS) / len(now)
    return Histogram(tuple(edges.tolist()), (), _rounded(old), _rounded(new))


def _bars_of_labels(before: Labels, counts: np.ndarray) -> Histogram:
    """Take the labels with most rows on either side, then all others."""
    a = np.array([*before.counts, before.rest]) / before.n
    b = counts / counts.sum()
    order = np.argsort(-np.maximum(a, b)[:-1], kind="stable")[: BARS // 2]
    kept = np.sort(order)
    names = [before.names[place] for place in kept]
    old, new = (list(side[kept]) for side in (a, b))
    others = 1 - sum(old), 1 - sum(new)
    if max(others) > 1e-9:
        names.append("others")
        old.append(others[0])
        new.append(others[1])
    return Histogram((), tuple(names), _rounded(np.array(old)), _rounded(np.array(new)))


def _bars_in_order(before: Labels, counts: np.ndarray) -> Histogram:
    """Take all labels as they follow each other: hours, or days of the week."""
    days = distributions.WEEKDAYS
    names = list(days) if set(before.names) <= set(days) else [f"{hour:02}" for hour in range(24)]
    sides = []
    for side in (np.array(before.counts), counts[:-1]):
        known = dict(zip(before.names, side / max(1, side.sum()), strict=True))
        sides.append(np.array([known.get(name, 0.0) for name in names]))
    shown = tuple(name[:3] for name in names)
    return Histogram((), shown, _rounded(sides[0]), _rounded(sides[1]))


def _rounded(shares: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(each), 5) for each in shares)

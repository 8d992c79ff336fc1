"""Parts of the test rows, on each of which two models are compared.

A model that is better on the whole can be worse for some: one town, the
longest trips, the rows that lack a value. Each slice gets the paired bootstrap
interval of ``evaluation``, at a confidence that is corrected for the number of
slices by Bonferroni: with m slices each interval promises 1 - (1 - c) / m, and
all of them together c, however the slices overlap. Holm's step-down rejects a
little more, but its verdicts are not those of any interval that could be shown
beside them.

References
----------
Dunn, O. J. (1961). Multiple Comparisons among Means. Journal of the American
Statistical Association 56.
Holm, S. (1979). A Simple Sequentially Rejective Multiple Test Procedure.
Scandinavian Journal of Statistics 6.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf, isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from ratchet import evaluation, metrics, settings, wording
from ratchet.errors import SettingsError
from ratchet.gates import SliceReport, SliceResult
from ratchet.metrics import Metric, Predictions
from ratchet.schema import Column, Kind, Schema

# Rows or clusters of a slice are dealt to so many units: 3 % of noise in the interval's width.
MAX_UNITS = 500

# Resamples beyond an interval's end, which is then known to some 4 % of its distance.
BEYOND_END = 5

# Where an interval would need more to reach its ends at all, there is none.
MAX_RESAMPLES = 100_000


@dataclass(frozen=True)
class Part:
    """A slice: rows that have something in common."""

    column: str
    """Column that the rows were cut by."""
    label: str
    """What they have in common, e.g. ``"Berlin"`` or ``"1.2 to 3.4"``."""
    places: np.ndarray
    """Their places among the rows, of shape (m,)."""


def judge(
    metric: Metric,
    y: np.ndarray,
    challenger: Predictions,
    reference: Predictions,
    rows: pd.DataFrame,
    schema: Schema,
    choices: settings.Slices,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: np.ndarray | None = None,
) -> SliceReport:
    """Compare two models on every slice of the test rows.

    A slice fails when the whole interval of the gain lies below ``-max_loss``,
    or when the leader has no score where the other model has one.

    Parameters
    ----------
    metric : Metric
        The judge.
    y : np.ndarray of shape (n,)
        The truth, of rows that neither model was trained on.
    challenger, reference : Predictions
        Of the same n rows. The reference is the champion, or else the baseline.
    rows : pd.DataFrame of shape (n, …)
        The same rows with the feature columns.
    schema : Schema
        What the columns are.
    choices : settings.Slices
        ``promote.slices`` of params.yaml.
    confidence : float
        Probability in (0, 1) that all intervals promise together.
    resamples : int
        Fewest resamples to draw; more are drawn until the corrected percentile exists.
    seed : int
        Seed of the draws; the same seed gives the same intervals.
    clusters : np.ndarray of shape (n,), optional
        Code of the cluster of each row, drawn as a whole.

    Returns
    -------
    SliceReport
        Without slices if no column was named.

    Raises
    ------
    SettingsError
        If a column isn't a feature, or is free text.
    """
    cut = parts(rows, schema, choices)
    large = [part for part in cut if len(part.places) >= choices.min_rows]
    each = 1 - (1 - confidence) / max(1, len(large))
    bench = _Bench(metric, y, challenger, reference, clusters, each, resamples, seed)
    results = [bench.compare(part, choices.max_loss) for part in large]
    return SliceReport(
        tuple(sorted(results, key=_badness)),
        n_small=len(cut) - len(large),
        min_rows=choices.min_rows,
        max_loss=choices.max_loss,
        confidence=confidence,
        confidence_each=each,
    )


def parts(rows: pd.DataFrame, schema: Schema, choices: settings.Slices) -> tuple[Part, ...]:
    """Cut rows into slices, those with few rows included.

    Parameters
    ----------
    rows : pd.DataFrame of shape (n, …)
        Rows with the feature columns.
    schema : Schema
        What the columns are.
    choices : settings.Slices
        Which columns, and into how many quantiles.

    Raises
    ------
    SettingsError
        If a column isn't a feature, or is free text.
    """
    columns = [_column(name, schema) for name in dict.fromkeys(choices.columns or ())]
    return tuple(
        Part(column.name, label, places)
        for column in columns
        for label, places in _cut(rows[column.name], column.kind, choices.quantiles)
    )


@dataclass(frozen=True)
class _Bench:
    """The test rows on which two models are compared."""

    metric: Metric
    y: np.ndarray
    challenger: Predictions
    reference: Predictions
    clusters: np.ndarray | None
    confidence: float
    resamples: int
    seed: int

    def compare(self, part: Part, max_loss: float) -> SliceResult:
        here = part.places
        y = self.y[here]
        models = self.challenger.only(here), self.reference.only(here)
        ours, theirs = (metrics.score(self.metric, y, model) for model in models)
        units = _dealt(len(here), None if self.clusters is None else self.clusters[here], self.seed)
        resamples = _resamples(self.confidence, int(units.max()) + 1, self.resamples)
        low = high = nan
        if resamples:
            found = evaluation.paired_difference(
                self.metric,
                y,
                *models,
                resamples=resamples,
                confidence=self.confidence,
                seed=self.seed,
                clusters=units,
            )
            low, high = found.low, found.high
        return SliceResult(
            part.column,
            part.label,
            n_rows=len(here),
            challenger=ours,
            reference=theirs,
            gain=self.metric.loss(theirs) - self.metric.loss(ours),
            low=low,
            high=high,
            failed=high < -max_loss or (isnan(ours) and not isnan(theirs)),
        )


def _column(name: str, schema: Schema) -> Column:
    found = {column.name: column for column in schema.columns if column.kind is not Kind.TEXT}
    if name in found:
        return found[name]
    what = (
        f"promote.slices.columns names {name!r}, free text, which has no slices."
        if name in schema.names
        else f"promote.slices.columns names {name!r}, which is no feature"
    )
    if name not in schema.names:
        close = difflib.get_close_matches(name, found, n=1)
        what += f"; did you mean {close[0]!r}?" if close else "."
    raise SettingsError(f"{what} Columns that have: {', '.join(found)}.")


def _cut(values: pd.Series, kind: Kind, quantiles: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the label and the places of the rows of each slice."""
    values = values.reset_index(drop=True)
    missing = np.flatnonzero(values.isna())
    present = values.dropna()
    if kind in (Kind.NUMBER, Kind.DATETIME) and present.nunique() > quantiles:
        yield from _between_quantiles(present, quantiles)
    else:
        for value, same in present.groupby(present, observed=True):
            yield _label(value, kind, bool(len(missing))), same.index.to_numpy()
    if len(missing):
        yield "missing", missing


def _between_quantiles(values: pd.Series, quantiles: int) -> Iterator[tuple[str, np.ndarray]]:
    """Cut at quantiles; a value that fills several of them is a slice of its own."""
    numbers = values.to_numpy("int64" if values.dtype.kind == "M" else "float64")
    inner = np.quantile(numbers, np.linspace(0, 1, quantiles + 1)[1:-1])
    below, up_to = (np.searchsorted(inner, numbers, side=side) for side in ("left", "right"))
    codes = np.where(up_to - below > 1, below + up_to, 2 * below)
    for _, same in values.groupby(codes):
        low, high = (_plain(end) for end in (same.min(), same.max()))
        yield (low if low == high else f"{low} to {high}"), same.index.to_numpy()


def _plain(end: Any) -> str:
    if isinstance(end, pd.Timestamp):
        return end.isoformat(sep=" ").removesuffix(" 00:00:00")
    return wording.number(float(end))


def _label(value: object, kind: Kind, some_missing: bool) -> str:
    if kind is Kind.BOOLEAN:
        return str(bool(value)).lower()
    if kind is Kind.DATETIME:
        return _plain(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    # A label that says so itself is not the slice of missing ones.
    return repr(text) if some_missing and text == "missing" else text


def _dealt(n: int, clusters: np.ndarray | None, seed: int) -> np.ndarray:
    """Give the unit of each row: itself or its cluster, dealt at random where these are many."""
    units = np.arange(n) if clusters is None else pd.factorize(clusters, use_na_sentinel=False)[0]
    many = int(units.max()) + 1
    if many <= MAX_UNITS:
        return units
    return (np.random.default_rng(seed).permutation(many) % MAX_UNITS)[units]


def _resamples(confidence: float, units: int, asked: int) -> int:
    """Give how many resamples reach the interval's ends; 0 if too many would be needed.

    The ends are the expanded percentiles of ``evaluation``, which lie the
    farther out the fewer units there are.
    """
    if units < 2:
        return 0
    tail = evaluation.expanded_tail(confidence, units)
    if tail * (MAX_RESAMPLES + 1) < 1:
        return 0
    return min(MAX_RESAMPLES, max(asked, ceil(BEYOND_END / tail)))


def _badness(result: SliceResult) -> tuple[bool, float]:
    """Sort the failed first, then by what is lost; without a gain last."""
    unknown = -inf if result.failed else inf
    return not result.failed, unknown if isnan(result.gain) else result.gain

"""How sure a score is, and how sure the difference between two models' scores is.

Every interval comes from one bootstrap. Rows that are drawn together are a
*unit*: a row by itself, or a cluster of rows such as one customer's or one
day's. A resample draws as many units as there are, with replacement, and a
metric scores it from how often each unit was drawn, so no row is copied. More
than ``MAX_UNITS`` units are first dealt at random to that many units of equal
size: the variance between units stands for the variance between rows just as
well, and the cost stops growing with the number of rows.

References
----------
Efron, B. and Tibshirani, R. J. (1993). An Introduction to the Bootstrap,
chapter 13 (percentile intervals).
Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their
Application, section 3.8 (clusters).
Wolter, K. M. (2007). Introduction to Variance Estimation, 2nd ed., chapter 2
(random groups).
Chamandy, N., Muralidharan, O., Najmi, A. and Naidu, S. (2012). Estimating
Uncertainty for Massive Data Streams. Google (tables too large to draw by row).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import stats

from ratchet.backends import blas
from ratchet.errors import DataError
from ratchet.metrics import Metric, Predictions, Scorer, Sums, score
from ratchet.problem import ProblemType

# The half width of an interval then carries 0.7 % of noise, a sixth of what 1000 resamples add.
MAX_UNITS = 10_000

# Where many parts of the rows share their resamples: each part has fewer units of its own.
MAX_COMMON_UNITS = 1_000

# Draws held at a time: 1.6 MB, which stays in a core's cache and halves the time of 32 MB.
DRAWS_AT_ONCE = 200_000

# Share of resamples that may leave a score undefined before its interval is, too.
MAX_UNDEFINED = 0.05

# Few blocks make an interval wide and uncertain; long blocks keep what depends together.
MIN_BLOCKS = 20

_SPANS = ("M", "W", "D", "h", "min", "s")


@dataclass(frozen=True)
class Score:
    """One metric's score and its interval, all in the metric's own direction."""

    metric: str
    """Name of the metric."""
    value: float
    """Score of the rows as they are."""
    low: float
    """Lower end of the interval; NaN where none can be given."""
    high: float
    """Upper end of the interval; NaN where none can be given."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one set of rows."""

    problem: ProblemType
    """What was predicted."""
    n_rows: int
    """Rows that were scored."""
    n_units: int
    """Rows or clusters, and so independent pieces of evidence, that resamples drew from."""
    confidence: float
    """Probability that each interval promises."""
    resamples: int
    """Bootstrap resamples behind each interval."""
    scores: tuple[Score, ...]
    """In the order in which the metrics were given."""

    def score(self, name: str) -> Score:
        """Find the score of a metric.

        Raises
        ------
        DataError
            If that metric was not evaluated.
        """
        for found in self.scores:
            if found.metric == name:
                return found
        names = ", ".join(found.metric for found in self.scores)
        raise DataError(f"No score {name!r} was evaluated. Evaluated: {names}.")

    def flat(self, prefix: str) -> dict[str, float]:
        """Give the numbers under the names that runs and ``metrics.json`` use.

        Parameters
        ----------
        prefix : str
            The split that was scored, e.g. ``"test"``.

        Examples
        --------
        >>> scores = (Score("rmse", 5.0, 4.5, 5.5),)
        >>> Evaluation(ProblemType.REGRESSION, 90, 90, 0.95, 1000, scores).flat("test")
        {'test/rmse': 5.0, 'test/rmse_low': 4.5, 'test/rmse_high': 5.5}
        """
        numbers: dict[str, float] = {}
        for found in self.scores:
            name = f"{prefix}/{found.metric}"
            numbers |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        return numbers


@dataclass(frozen=True)
class Difference:
    """How much better a challenger is than a champion on the same rows."""

    metric: str
    """Name of the metric."""
    challenger: float
    """The challenger's score, in the metric's own direction."""
    champion: float
    """The champion's score, in the metric's own direction."""
    gain: float
    """What the challenger gains, in the metric's unit; positive when it is the better one."""
    low: float
    """Lower end of the gain's interval; NaN where none can be given."""
    high: float
    """Upper end of the gain's interval; NaN where none can be given."""
    confidence: float
    """Probability that the interval promises."""
    resamples: int
    """Bootstrap resamples behind the interval."""
    n_rows: int
    """Rows that both were scored on."""
    n_units: int
    """Rows or clusters, and so independent pieces of evidence, that resamples drew from."""


# With two threads on two busy cores the small products of a resample took ten times as long.
@blas.ONE_THREAD
def evaluate(
    y: np.ndarray,
    predictions: Predictions,
    metrics: Sequence[Metric],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    clusters: np.ndarray | None = None,
) -> Evaluation:
    """Score a model with bootstrap percentile intervals.

    Parameters
    ----------
    y : np.ndarray of shape (n,)
        The truth: quantities, or class codes 0..K-1 (of two, 1 is the positive one). For
        clusters, which have none, the rows' places in a space, of shape (n, d).
    predictions : Predictions
        Of the same n rows.
    metrics : sequence of Metric
        At least one; all judge the same problem.
    resamples : int
        How many resamples to draw.
    confidence : float
        Probability in (0, 1) that each interval promises.
    seed : int
        Seed of the draws; the same seed gives the same intervals.
    clusters : np.ndarray of shape (n,), optional
        Code of the cluster of each row, drawn as a whole: the groups of a
        group split, or ``time_blocks``. None draws rows.

    Returns
    -------
    Evaluation
        An interval is NaN if more than ``MAX_UNDEFINED`` of the resamples left
        the score undefined, or if there are too few units for the confidence.

    Raises
    ------
    SettingsError
        If a metric judges probabilities and there are none.
    """
    units = _Units.of(len(y), clusters, seed)
    scorers = [metric.scorer(y, predictions, units.codes) for metric in metrics]
    drawn = [[scorer(weights) for scorer in scorers] for weights in units.draws(resamples)]
    scores = tuple(
        Score(
            metric.name,
            score(metric, y, predictions),
            *_interval(np.concatenate(values), confidence, units.independent),
        )
        for metric, values in zip(metrics, zip(*drawn, strict=True), strict=True)
    )
    problem = _problem_of(metrics, y, predictions)
    return Evaluation(problem, len(y), units.independent, confidence, resamples, scores)


@blas.ONE_THREAD
def paired_difference(
    metric: Metric,
    y: np.ndarray,
    challenger: Predictions,
    champion: Predictions,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int,
    clusters: np.ndarray | None = None,
) -> Difference:
    """Compare two models on the same rows, with a bootstrap interval of the gain.

    Both are scored on the same resamples, so that what is hard for both
    cancels. Swapping them mirrors the interval exactly, and a model gains
    exactly 0 over itself.

    Parameters
    ----------
    metric : Metric
        The judge.
    y : np.ndarray of shape (n,)
        The truth, of rows that neither model was trained on.
    challenger, champion : Predictions
        Of the same n rows.
    resamples : int
        How many resamples to draw.
    confidence : float
        Probability in (0, 1) that the interval promises.
    seed : int
        Seed of the draws; the same seed gives the same interval.
    clusters : np.ndarray of shape (n,), optional
        Code of the cluster of each row, drawn as a whole: the groups of a
        group split, or ``time_blocks``. None draws rows.

    Returns
    -------
    Difference
        Its interval is NaN under the same conditions as in ``evaluate``.

    Raises
    ------
    SettingsError
        If the metric judges probabilities and there are none.
    """
    units = _Units.of(len(y), clusters, seed)
    of_challenger = metric.scorer(y, challenger, units.codes)
    of_champion = metric.scorer(y, champion, units.codes)
    sign = -1 if metric.maximize else 1
    gains = [
        sign * (of_champion(weights) - of_challenger(weights)) for weights in units.draws(resamples)
    ]
    scores = score(metric, y, challenger), score(metric, y, champion)
    return Difference(
        metric.name,
        *scores,
        metric.loss(scores[1]) - metric.loss(scores[0]),
        *_interval(np.concatenate(gains), confidence, units.independent),
        confidence,
        resamples,
        len(y),
        units.independent,
    )


@dataclass(frozen=True)
class Contrast:
    """How much worse one model is on a part of the rows than on the others."""

    here: float
    """Score on the part, in the metric's own direction."""
    elsewhere: float
    """Score on all other rows."""
    worse_by: float
    """What the part loses against the others, in the metric's unit; negative where it is better."""
    low: float
    """Lower end of that loss's interval; NaN where none can be given."""
    high: float
    """Upper end of that loss's interval; NaN where none can be given."""


def contrasts(
    metric: Metric,
    y: np.ndarray,
    predictions: Predictions,
    parts: Sequence[np.ndarray],
    *,
    resamples: int = 400,
    confidence: float = 0.95,
    seed: int,
    clusters: np.ndarray | None = None,
) -> tuple[Contrast, ...]:
    """Compare the score on parts of the rows with that on the others, all parts at once.

    The intervals hold together with the given confidence, however the parts
    overlap: each reaches as many standard errors to either side as the
    largest deviation over all parts does in that share of the resamples.
    Resamples are common to all parts, so that this knows how the parts hang
    together, where Bonferroni's correction takes the worst case.

    Parameters
    ----------
    metric : Metric
        The judge.
    y : np.ndarray of shape (n,)
        The truth.
    predictions : Predictions
        Of the same n rows.
    parts : sequence of np.ndarray
        Places of the rows of each part; neither all rows nor none.
    resamples : int
        How many resamples to draw.
    confidence : float
        Probability in (0, 1) that all intervals promise together.
    seed : int
        Seed of the draws; the same seed gives the same intervals.
    clusters : np.ndarray of shape (n,), optional
        Code of the cluster of each row, drawn as a whole.

    Returns
    -------
    tuple of Contrast
        A part has no interval where too many resamples left its score or that
        of the others undefined, or where either has fewer than ``MIN_BLOCKS``
        rows or clusters.

    References
    ----------
    Westfall, P. H. and Young, S. S. (1993). Resampling-Based Multiple Testing.
    Romano, J. P. and Wolf, M. (2005). Exact and Approximate Stepdown Methods
    for Multiple Hypothesis Testing. Journal of the American Statistical
    Association 100 (the largest studentised deviation).
    """
    if not len(parts):
        return ()
    units = _Units.of(len(y), clusters, seed, most=MAX_COMMON_UNITS)
    # Of each unit in turn, since parts take some of them; sums need no whole numbers, which would
    # be made to fractions for each part anew.
    dtype = np.float64 if isinstance(metric.prepare, Sums) else np.int64
    weights = np.concatenate(list(units.draws(resamples))).T.astype(dtype, order="C")
    sides = []
    for places in parts:
        inside = np.zeros(len(y), dtype=bool)
        inside[places] = True
        sides.append([_Side.of(metric, y, predictions, rows, units) for rows in (inside, ~inside)])
    found = np.array([[side.loss for side in both] for both in sides])
    worse_by = found[:, 0] - found[:, 1]
    drawn = np.array([here.losses(weights) - others.losses(weights) for here, others in sides])
    few = np.array([min(side.units for side in both) for both in sides])
    whole = _Side.of(metric, y, predictions, np.ones(len(y), dtype=bool), units)
    share = np.array([len(places) for places in parts]) / len(y)
    usual = np.nanstd(whole.losses(weights)) / np.sqrt(share * (1 - share))
    lows, highs = _together(worse_by, drawn, usual, few, confidence)
    sign = -1 if metric.maximize else 1
    return tuple(
        Contrast(sign * here, sign * others, *ends)
        for (here, others), *ends in zip(
            found.tolist(), worse_by.tolist(), lows.tolist(), highs.tolist(), strict=True
        )
    )


@dataclass(frozen=True)
class _Side:
    """Rows that a score is taken on, as resamples of all rows hold them."""

    loss: float
    units: int
    columns: np.ndarray
    scorer: Scorer
    sign: int

    @classmethod
    def of(
        cls, metric: Metric, y: np.ndarray, said: Predictions, rows: np.ndarray, units: "_Units"
    ) -> "_Side":
        """Look at the rows of a mask."""
        columns, codes = np.unique(units.codes[rows], return_inverse=True)
        ours = said.only(rows)
        value = metric.loss(score(metric, y[rows], ours))
        sign = -1 if metric.maximize else 1
        return cls(value, len(columns), columns, metric.scorer(y[rows], ours, codes), sign)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """Score resamples, given how often they drew each unit of all rows, shape (g, b)."""
        return self.sign * self.scorer(weights[self.columns].T)


def _together(
    values: np.ndarray,
    drawn: np.ndarray,
    usual: np.ndarray,
    units: np.ndarray,
    confidence: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the ends of several intervals that hold together; NaN for none.

    Losses are skewed: a part that lacks large ones by chance seems better, and
    better known, than it is. So an upper end is no nearer than the ``usual``
    standard error of as many rows has it.
    """
    undefined = np.isnan(drawn).mean(axis=1)
    known = (undefined <= MAX_UNDEFINED) & (units >= MIN_BLOCKS) & np.isfinite(values)
    low, high = np.full((2, len(values)), nan)
    if not known.any():
        return low, high
    own, n = np.nanstd(drawn[known], axis=1), units[known]
    for end, sign, errors in ((low, -1, own), (high, 1, np.maximum(own, usual[known]))):
        safe = np.where(errors > 0, errors, np.inf)[:, None]
        farthest = np.nanmax(sign * (drawn[known] - values[known, None]) / safe, axis=0)
        times = max(0.0, float(np.quantile(farthest, (1 + confidence) / 2)))
        # As expanded percentiles do for one interval: few units have heavier tails.
        student = stats.t.ppf(stats.norm.cdf(times), n - 1) * np.sqrt(n / (n - 1))
        end[known] = values[known] + sign * student * errors
    return low, high


def time_blocks(times: pd.Series) -> np.ndarray:
    """Cut time into blocks that can be drawn as if they were independent.

    Rows that are close in time are alike, so they are drawn together. Blocks
    are calendar months if those make at least ``MIN_BLOCKS``; else weeks,
    days, hours, minutes or seconds; else every point in time is one.
    The longest span is taken because dependence ends somewhere inside a block,
    unless blocks are too short for it.

    Parameters
    ----------
    times : pd.Series of shape (n,)
        Points in time, in any order.

    Returns
    -------
    np.ndarray of shape (n,)
        Codes 0..g-1 in the order of time.

    Raises
    ------
    DataError
        If ``times`` doesn't hold points in time.

    References
    ----------
    Carlstein, E. (1986). The Use of Subseries Values for Estimating the
    Variance of a General Statistic from a Stationary Sequence. Annals of
    Statistics 14 (blocks that don't overlap, as here).
    Künsch, H. R. (1989). The Jackknife and the Bootstrap for General
    Stationary Observations. Annals of Statistics 17.
    Politis, D. N. and Romano, J. P. (1994). The Stationary Bootstrap. Journal
    of the American Statistical Association 89.

    Examples
    --------
    >>> days = pd.Series(pd.date_range("2024-01-01", periods=60, freq="12h"))
    >>> time_blocks(days)[:5]
    array([0, 0, 1, 1, 2])
    """
    if not pd.api.types.is_datetime64_any_dtype(times):
        raise DataError(
            f"Column {times.name!r} holds {times.dtype}, not points in time, so it can't be cut"
            " into blocks of time. Name a date or time column in split.column."
        )
    local = times.dt.tz_localize(None)
    for span in _SPANS:
        blocks = local.dt.to_period(span)
        if blocks.nunique() >= MIN_BLOCKS:
            return _codes(blocks)
    return _codes(local)


@dataclass(frozen=True)
class _Units:
    """What a resample draws."""

    codes: np.ndarray
    """Shape (n,): unit of each row, 0..g-1."""
    independent: int
    """Rows or clusters before any were dealt to the same unit."""
    rng: np.random.Generator
    """Source of the draws."""

    @classmethod
    def of(cls, n: int, clusters: np.ndarray | None, seed: int, most: int = MAX_UNITS) -> "_Units":
        """Make units of n rows or of their clusters, so many at most."""
        rng = np.random.default_rng(seed)
        codes = np.arange(n) if clusters is None else _codes(pd.Series(clusters))
        independent = int(codes.max()) + 1
        if independent > most:
            codes = (rng.permutation(independent) % most)[codes]
        return cls(codes, independent, rng)

    def draws(self, resamples: int) -> Iterator[np.ndarray]:
        """Yield, few resamples at a time, how often each unit was drawn: shape (b, g)."""
        g = int(self.codes.max()) + 1
        size = max(1, DRAWS_AT_ONCE // g)
        for start in range(0, resamples, size):
            b = min(size, resamples - start)
            cells = self.rng.integers(g, size=(b, g)) + g * np.arange(b)[:, None]
            yield np.bincount(cells.ravel(), minlength=b * g).reshape(b, g)


def _codes(labels: pd.Series) -> np.ndarray:
    return pd.factorize(labels, sort=True, use_na_sentinel=False)[0]


def expanded_tail(confidence: float, units: int) -> float:
    """Give the share of resamples beyond either end of an interval, for few units less.

    The plain percentile interval of g units is too narrow by what separates
    the normal distribution from Student's and g - 1 from g; asking for farther
    percentiles mends both.

    Parameters
    ----------
    confidence : float
        Probability in (0, 1) that the interval promises.
    units : int
        Independent units that resamples draw from, at least 2.

    References
    ----------
    Hesterberg, T. C. (2015). What Teachers Should Know About the Bootstrap.
    The American Statistician 69 (expanded percentiles).
    """
    student = stats.t.ppf((1 - confidence) / 2, units - 1)
    return float(stats.norm.cdf(student * np.sqrt(units / (units - 1))))


def _interval(values: np.ndarray, confidence: float, units: int) -> tuple[float, float]:
    """Take the percentile interval of a bootstrap, widened for few units.

    Ends are values that occurred, counted from both sides alike, so that the
    interval of ``-values`` is the mirror image. There is none when the g units
    themselves can't hold so much confidence: their median is outside all of
    them with probability 2 ** (1 - g).
    """
    defined = np.sort(values[~np.isnan(values)])
    too_few_units = 2.0 ** (1 - units) > 1 - confidence
    if too_few_units or len(defined) < (1 - MAX_UNDEFINED) * len(values):
        return nan, nan
    k = max(1, int(expanded_tail(confidence, units) * (len(defined) + 1)))
    return float(defined[k - 1]), float(defined[-k])


def _problem_of(metrics: Sequence[Metric], y: np.ndarray, predictions: Predictions) -> ProblemType:
    """Tell what all metrics judge; several judge two classes as well as more."""
    common = frozenset.intersection(*(metric.problems for metric in metrics))
    if len(common) == 1:
        return next(iter(common))
    if predictions.probabilities is None:
        classes = int(max(np.max(y), np.max(predictions.values))) + 1
    else:
        classes = predictions.probabilities.shape[1]
    return ProblemType.BINARY if classes <= 2 else ProblemType.MULTICLASS

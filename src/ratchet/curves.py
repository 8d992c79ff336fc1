"""Curves that say how good a model is, from its answers about test rows: few enough points to draw.

References
----------
Wilson, E. B. (1927). Probable Inference, the Law of Succession, and
Statistical Inference. Journal of the American Statistical Association 22.
Dean, N. and Pagano, M. (2015). Evaluating Confidence Interval Methods for
Binomial Proportions in Clustered Surveys. Journal of Survey Statistics and
Methodology 3 (Wilson's interval of an effective number of rows).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from ratchet import evaluation, metrics, splits
from ratchet.conformal import Coverage
from ratchet.metrics import Metric, Predictions
from ratchet.problem import ProblemType

POINTS = 200
"""Points of a curve; more can't be seen."""
MARKS = 1_000
"""Rows that are drawn one by one; more are counted in cells of a grid."""
CELLS = 44
"""Cells of such a grid along either side."""
CLASSES = 6
"""Classes with a curve of their own: as many as there are colours."""
LINES = 10
"""Classes with a line of their own in a confusion matrix."""
PAIRS = 10
"""Most frequent mistakes that are listed."""
SIZES = 10
"""Bins of equally many rows, by size."""
SPANS = 40
"""Spans of time."""
ROWS_OF_A_BIN = 10
"""Rows that a bin by size should have."""
RESAMPLES = 400
"""Bootstrap resamples behind the interval of a bin, which is drawn and decides nothing."""
LARGEST = (0.01, 0.05, 0.1)
"""Shares of the rows, those with the largest errors."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of the errors that are told."""

# Beyond these quantiles, and a quarter of what lies between them, a row is drawn at the edge.
_ENDS = (0.002, 0.998)
_STRETCH = 0.25
# Bins of a histogram.
_BARS = 30


@dataclass(frozen=True)
class Curve:
    """Points that are joined by lines, at most ``POINTS`` of them."""

    x: tuple[float, ...]
    """Places along the horizontal axis."""
    y: tuple[float, ...]
    """Heights."""


@dataclass(frozen=True)
class Bin:
    """Rows that lie together, and what came of them."""

    rows: int
    """How many there are."""
    low: float
    """The smallest value that they were put together by."""
    high: float
    """The largest one."""
    value: float
    """Their mean of it."""
    score: float | None
    """What came of them; None where it is undefined."""
    score_low: float | None
    """Lower end of its interval; None where there is none."""
    score_high: float | None
    """Upper end of its interval; None where there is none."""


@dataclass(frozen=True)
class Ranking:
    """How well the probability of a class puts its rows before the others."""

    label: str
    """The class."""
    rows: int
    """Rows of this class."""
    share: float
    """Their share of all rows."""
    roc: Curve
    """Share of the class that is found over the share of the others that is taken for it."""
    auc: float
    """Area under that curve."""
    precision_recall: Curve
    """Share that is right of what is taken for the class, over the share of it that is found."""
    average_precision: float
    """Mean of the first over the second, in steps."""


@dataclass(frozen=True)
class Reliability:
    """How often happens what was given a probability."""

    bins: tuple[Bin, ...]
    """By that probability, each with how often it happened: those of ``calibration_error``."""
    error: float
    """The metric ``calibration_error``."""
    brier: float
    """The metric ``brier``."""


@dataclass(frozen=True)
class Mistake:
    """A class that is taken for another one."""

    actual: str
    """What the rows are."""
    said: str
    """What they are taken for."""
    rows: int
    """How often that happens."""
    share: float
    """Share of the rows of the actual class."""


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which."""

    labels: tuple[str, ...]
    """Classes, in the order of the lines."""
    counts: tuple[tuple[int, ...], ...]
    """Rows of each actual class that are taken for each class: a line for each actual one."""
    together: int
    """Classes that share the last line and column; 0 where each has its own."""
    mistakes: tuple[Mistake, ...]
    """The most frequent ones first, over all classes, at most ``PAIRS``."""
    right: int
    """Rows whose class is said."""


@dataclass(frozen=True)
class ByClass:
    """How well one class is told from the others."""

    label: str
    """The class."""
    rows: int
    """Rows of this class."""
    said: int
    """Rows that are taken for it."""
    precision: float | None
    """Share of those that is right; None where there are none."""
    recall: float | None
    """Share of the class that is found; None where it has no rows."""
    f1: float | None
    """Harmonic mean of both; None where there is nothing to find or to say."""
    auc: float | None
    """Area under the ROC curve against all others; None where only one of both has rows."""


@dataclass(frozen=True)
class Histogram:
    """How values are spread."""

    edges: tuple[float, ...]
    """Ends of the bins, one more than there are bins."""
    rows: tuple[tuple[int, ...], ...]
    """Rows in each bin, for each kind of row."""
    medians: tuple[float | None, ...]
    """Median of each kind; None where it has no rows."""


@dataclass(frozen=True)
class Thresholds:
    """What becomes of the decisions for the positive class with the threshold."""

    metric: str
    """Score that is followed beside precision and recall."""
    at: tuple[float, ...]
    """Probabilities from which on the class is said, rising, at most ``POINTS``."""
    precision: tuple[float, ...]
    """Share that is right of what is said."""
    recall: tuple[float, ...]
    """Share of the class that is found."""
    score: tuple[float, ...]
    """The followed score."""
    used: float
    """The threshold of the model."""
    tuned: bool
    """Whether it was chosen, on validation rows; otherwise the likelier class is said."""
    said: float
    """Share of the rows for which the class is said."""
    precision_used: float
    """Precision of these decisions."""
    recall_used: float
    """Recall of these decisions."""
    score_used: float
    """The followed score of these decisions."""
    best: float | None
    """Threshold that would have been best on these rows; None where the score has none."""
    score_best: float | None
    """The followed score there."""


@dataclass(frozen=True)
class Binary:
    """Answers about two classes."""

    labels: tuple[str, str]
    """The negative and the positive class."""
    ranking: Ranking | None
    """Of the positive class; None where only one class has rows."""
    reliability: Reliability
    """Of its probabilities."""
    scores: Histogram
    """Of its probabilities, for the rows of either class."""
    gain: Curve | None
    """Share of it that is found over the share of all rows that is looked at, likeliest first."""
    thresholds: Thresholds | None
    """What other thresholds would have made of it."""
    confusion: Confusion
    """The decisions."""


@dataclass(frozen=True)
class Multiclass:
    """Answers about several classes."""

    classes: tuple[ByClass, ...]
    """All of them, in the order of their codes."""
    rankings: tuple[Ranking, ...]
    """The hardest to tell from the rest by ``auc`` first, at most ``CLASSES``."""
    ranked: int
    """Classes that have rows and can be ranked, of which ``rankings`` holds some."""
    mean_roc: Curve | None
    """Mean over all classes of the found shares; None where a class can't be ranked."""
    reliability: Reliability
    """Of the likeliest class's probability."""
    confusion: Confusion
    """The decisions."""


@dataclass(frozen=True)
class Cloud:
    """Rows in a plane: each by itself, or counted in the cells of a grid."""

    x: tuple[float, ...]
    """Places of rows, or of the lower left corners of cells that hold any."""
    y: tuple[float, ...]
    """The same along the other axis."""
    rows: tuple[int, ...]
    """Rows of each cell; empty where each row is drawn."""
    width: float
    """Width of a cell; 0 where each row is drawn."""
    height: float
    """Height of a cell; 0 where each row is drawn."""
    outside: int
    """Rows that lie farther off, and are drawn at the edge."""


@dataclass(frozen=True)
class Largest:
    """What part the largest errors have."""

    share: float
    """Share of the rows."""
    absolute: float
    """Their share of the sum of absolute errors."""
    squared: float
    """Their share of the sum of squared errors."""


@dataclass(frozen=True)
class Regression:
    """Answers that are quantities; an error is the actual value less the predicted one."""

    target: str
    """What is predicted."""
    predicted: Cloud
    """Actual values over predicted ones."""
    residuals: Cloud
    """Errors over predicted values."""
    middle: tuple[Bin, ...]
    """By predicted value, each with the median error, and the range that holds 90 % of them."""
    by_actual: tuple[Bin, ...]
    """By actual value, each with the mean absolute error."""
    errors: Histogram
    """Of the errors; those beyond its ends are in the outer bins."""
    quantiles: tuple[float, ...]
    """Errors at ``QUANTILES``."""
    bias: float
    """Mean error."""
    mae: float
    """Mean absolute error."""
    largest: tuple[Largest, ...]
    """For each share of ``LARGEST`` that is at least one row."""


@dataclass(frozen=True)
class Cluster:
    """Rows that were put together."""

    label: int
    """Number of the cluster; negative for rows in none."""
    rows: int
    """How many there are."""
    share: float
    """Their share of all rows."""
    silhouette: float | None
    """How much nearer they are to each other than to the next cluster, from -1 to 1."""


@dataclass(frozen=True)
class Clusters:
    """Rows that were put together without a target."""

    sizes: tuple[Cluster, ...]
    """The largest first; rows in no cluster come last."""
    x: tuple[float, ...]
    """Places of rows along the axis on which they differ most, at most ``MARKS``."""
    y: tuple[float, ...]
    """Places along the second one."""
    labels: tuple[int, ...]
    """Clusters of these rows."""
    shares: tuple[float, float]
    """Parts of the whole variance that lie along these axes."""


Answers = Binary | Multiclass | Regression | Clusters
"""What can be said of answers, by the kind of problem."""


@dataclass(frozen=True)
class Span:
    """Rows of some time."""

    begins: str
    """When: a date and time, or the number of the span where no column says it."""
    rows: int
    """How many there are."""
    score: float | None
    """Their score; None where it is undefined."""
    low: float | None
    """Lower end of its interval; None where there is none."""
    high: float | None
    """Upper end of its interval; None where there is none."""


@dataclass(frozen=True)
class OverTime:
    """Whether the model gets worse."""

    column: str
    """What time is told by."""
    metric: str
    """Score of each span."""
    maximize: bool
    """Whether more of it is better."""
    spans: tuple[Span, ...]
    """In the order of time, at most ``SPANS``."""


@dataclass(frozen=True)
class Performance:
    """How good a model's answers about the test rows are."""

    problem: ProblemType
    """What was asked."""
    rows: int
    """Rows that were looked at."""
    confidence: float
    """Probability that each interval promises."""
    answers: Answers
    """What can be said of answers of this kind."""
    over_time: OverTime | None
    """Where rows were split by time."""
    coverage: Coverage | None = None
    """What the intervals around single answers hold; None where there are none."""


@dataclass(frozen=True)
class Judge:
    """How it is judged."""

    problem: ProblemType
    """What was asked."""
    metric: Metric
    """Score that was optimised."""
    confidence: float
    """Probability in (0, 1) that each interval promises."""
    seed: int
    """Seed of every draw: the same one gives the same curves."""
    threshold: float | None = None
    """Probability from which on the positive class is said, where one was chosen."""
    clusters: np.ndarray | None = None
    """Codes of rows that stand or fall together, of shape (n,)."""


def of_classes(
    y: np.ndarray, predicted: Predictions, labels: Sequence[object], judge: Judge
) -> Binary | Multiclass:
    """Look at answers that are classes.

    Parameters
    ----------
    y : np.ndarray of shape (n,)
        Class codes 0..K-1; of two, 1 is the positive one.
    predicted : Predictions
        Of the same n rows, with probabilities.
    labels : sequence
        The K classes, in the order of their codes.
    judge : Judge
        How.
    """
    names = tuple(_plain(label) for label in labels)
    confusion = _confusion(y, predicted.values, names)
    if len(names) == 2:
        return _binary(y, predicted, (names[0], names[1]), confusion, judge)
    rankings = [
        _ranking(y == code, predicted.of_classes[:, code], name) for code, name in enumerate(names)
    ]
    found = sorted((each for each in rankings if each), key=lambda each: each.auc)
    return Multiclass(
        classes=tuple(
            _by_class(y == code, predicted.values == code, name, ranking)
            for code, (name, ranking) in enumerate(zip(names, rankings, strict=True))
        ),
        rankings=tuple(found[:CLASSES]),
        ranked=len(found),
        mean_roc=_mean_roc([each.roc for each in found]) if len(found) == len(names) else None,
        reliability=_of_the_likeliest(y, predicted, judge),
        confusion=confusion,
    )


def of_quantities(y: np.ndarray, predicted: np.ndarray, target: str, judge: Judge) -> Regression:
    """Look at answers that are quantities.

    Parameters
    ----------
    y : np.ndarray of shape (n,)
        The actual values.
    predicted : np.ndarray of shape (n,)
        What the model says.
    target : str
        What it is that is predicted.
    judge : Judge
        How.
    """
    errors = y - predicted
    low, high = _range(errors)
    bars, edges = np.histogram(errors.clip(low, high), _BARS, (low, high))
    both = _range(np.concatenate([y, predicted]))
    return Regression(
        target=_plain(target),
        predicted=_cloud(predicted, y, both, both, judge.seed),
        residuals=_cloud(predicted, errors, _range(predicted), (low, high), judge.seed),
        middle=_middle(predicted, errors),
        by_actual=_by_size(y, predicted, judge),
        errors=Histogram(_rounded(edges), (tuple(map(int, bars)),), (float(np.median(errors)),)),
        quantiles=tuple(map(float, np.quantile(errors, QUANTILES))),
        bias=float(errors.mean()),
        mae=float(np.abs(errors).mean()),
        largest=_largest(errors),
    )


def of_clusters(places: np.ndarray, axes: np.ndarray, labels: np.ndarray, judge: Judge) -> Clusters:
    """Look at answers that are clusters.

    Parameters
    ----------
    places : np.ndarray of shape (n, d)
        Where the rows are in the space in which they are judged.
    axes : np.ndarray of shape (n, 2)
        Where they are along the two axes on which they differ most.
    labels : np.ndarray of shape (n,)
        Their clusters; negative ones are noise.
    judge : Judge
        How.
    """
    from ratchet.metrics.clusters import silhouettes

    rows = silhouettes(places, labels)
    sizes = [
        Cluster(
            label=int(label),
            rows=int((labels == label).sum()),
            share=float((labels == label).mean()),
            silhouette=None if label < 0 else _finite(rows[labels == label].mean()),
        )
        for label in np.unique(np.maximum(labels, -1))
    ]
    drawn = splits.sample(len(labels), MARKS, judge.seed)
    whole = float(places.var(axis=0).sum())
    along = [float(each) / whole if whole else 0.0 for each in axes.var(axis=0)]
    return Clusters(
        sizes=tuple(sorted(sizes, key=lambda each: (each.label < 0, -each.rows, each.label))),
        x=_rounded(axes[drawn, 0]),
        y=_rounded(axes[drawn, 1]),
        labels=tuple(int(each) for each in np.maximum(labels[drawn], -1)),
        shares=(along[0], along[1]),
    )


def over_time(
    y: np.ndarray,
    predicted: Predictions,
    blocks: np.ndarray,
    times: pd.Series | None,
    column: str,
    judge: Judge,
) -> OverTime:
    """Score spans of time one by one.

    Parameters
    ----------
    y : np.ndarray of shape (n,)
        The truth.
    predicted : Predictions
        Of the same n rows.
    blocks : np.ndarray of shape (n,)
        Codes of blocks of time, rising with it, as ``evaluation.time_blocks``
        gives them. Neighbours are joined where there are more than ``SPANS``.
    times : pd.Series of shape (n,), optional
        When each row was; None where that is not known any more.
    column : str
        What time is told by.
    judge : Judge
        How; a function of the user's own may be a sum, which says nothing of
        spans of unequal length, and is replaced by the usual metric.
    """
    metric = metrics.default(judge.problem) if judge.metric.path else judge.metric
    codes = np.unique(blocks, return_inverse=True)[1]
    count = int(codes.max()) + 1
    spans = codes if count <= SPANS else codes * SPANS // count
    found = []
    for number in range(int(spans.max()) + 1):
        here = np.flatnonzero(spans == number)
        score, low, high = _scored(metric, y[here], predicted.only(here), judge, None)
        begins = f"{number + 1}" if times is None else _when(times.iloc[here].min())
        found.append(Span(begins, len(here), score, low, high))
    return OverTime(_plain(column), metric.name, metric.maximize, tuple(found))


# Classes


def _binary(
    y: np.ndarray,
    predicted: Predictions,
    labels: tuple[str, str],
    confusion: Confusion,
    judge: Judge,
) -> Binary:
    chance = predicted.of_classes[:, 1]
    edges = np.linspace(0.0, 1.0, _BARS + 1)
    kinds = [chance[y == code] for code in (0, 1)]
    ranking = _ranking(y == 1, chance, labels[1])
    return Binary(
        labels=labels,
        ranking=ranking,
        reliability=Reliability(
            _reliability(chance, y == 1, judge),
            _score("calibration_error", ProblemType.BINARY, y, predicted),
            _score("brier", ProblemType.BINARY, y, predicted),
        ),
        scores=Histogram(
            _rounded(edges),
            tuple(tuple(map(int, np.histogram(each, edges)[0])) for each in kinds),
            tuple(float(np.median(each)) if len(each) else None for each in kinds),
        ),
        gain=_gain(y == 1, chance) if ranking else None,
        thresholds=_thresholds(y, predicted, judge) if ranking else None,
        confusion=confusion,
    )


def _ranking(is_class: np.ndarray, chance: np.ndarray, label: str) -> Ranking | None:
    """Rank rows by the probability of a class; None where there is nothing to tell apart."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    if is_class.all() or not is_class.any():
        return None
    alarms, hits, _ = roc_curve(is_class, chance)
    precision, recall, _ = precision_recall_curve(is_class, chance, drop_intermediate=True)
    two = Predictions(np.zeros(len(chance), int), np.column_stack([1 - chance, chance]))
    codes = is_class.astype(np.int64)
    return Ranking(
        label=label,
        rows=int(is_class.sum()),
        share=float(is_class.mean()),
        roc=_thinned(alarms, hits),
        auc=_score("roc_auc", ProblemType.BINARY, codes, two),
        # scikit-learn ends where nothing is found, with a precision that no row has.
        precision_recall=_thinned(recall[-2::-1], precision[-2::-1], along_x=True),
        average_precision=_score("average_precision", ProblemType.BINARY, codes, two),
    )


def _mean_roc(curves: Sequence[Curve]) -> Curve:
    """Average the curves of all classes, below and above each of their steps."""
    at = np.unique(np.concatenate([each.x for each in curves]))
    before = np.mean(
        [np.interp(-at, -np.array(each.x[::-1]), each.y[::-1]) for each in curves], axis=0
    )
    after = np.mean([np.interp(at, each.x, each.y) for each in curves], axis=0)
    return _thinned(np.repeat(at, 2), np.column_stack([before, after]).ravel())


def _of_the_likeliest(y: np.ndarray, predicted: Predictions, judge: Judge) -> Reliability:
    chances = predicted.of_classes
    return Reliability(
        _reliability(chances.max(axis=1), chances.argmax(axis=1) == y, judge),
        _score("calibration_error", ProblemType.MULTICLASS, y, predicted),
        _score("brier", ProblemType.MULTICLASS, y, predicted),
    )


def _reliability(chance: np.ndarray, happened: np.ndarray, judge: Judge) -> tuple[Bin, ...]:
    codes = metrics.calibration_bins(chance)
    places = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    effects = [_effect(happened[here], judge.clusters, here) for here in places]
    # A bin in which all or nothing happened doesn't show how rows depend on each other.
    usual = float(np.median([each for each in effects if each is not None] or [1.0]))
    found = []
    for here, effect in zip(places, effects, strict=True):
        share = float(happened[here].mean())
        rows = len(here) / (usual if effect is None else effect)
        low, high = _wilson(share, rows, judge.confidence)
        found.append(
            Bin(
                rows=len(here),
                low=float(chance[here].min()),
                high=float(chance[here].max()),
                value=float(chance[here].mean()),
                score=share,
                score_low=low,
                score_high=high,
            )
        )
    return tuple(found)


def _effect(happened: np.ndarray, clusters: np.ndarray | None, here: np.ndarray) -> float | None:
    """Tell how many rows that depend on each other are worth one that doesn't, 1 at least.

    None where all or nothing happened, or all rows are of one cluster.
    """
    if clusters is None:
        return 1.0
    share = float(happened.mean())
    sums = np.bincount(np.unique(clusters[here], return_inverse=True)[1], happened - share)
    alone = share * (1 - share) * len(happened)
    if alone == 0 or len(sums) < 2:
        return None
    return max(1.0, len(sums) / (len(sums) - 1) * float((sums**2).sum()) / alone)


def _wilson(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Give the interval of a frequency among n independent rows."""
    from scipy import stats

    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _gain(positive: np.ndarray, chance: np.ndarray) -> Curve:
    from ratchet.metrics.ranks import ladder

    ranked = ladder(positive.astype(np.int64), chance)
    seen = (ranked.hits + ranked.alarms) / len(chance)
    return _thinned(seen, ranked.hits / ranked.hits[-1])


def _thresholds(y: np.ndarray, predicted: Predictions, judge: Judge) -> Thresholds:
    metric = judge.metric
    if metric.counts is None or not metric.needs_threshold:
        metric = metrics.named("f1", ProblemType.BINARY)
    assert metric.counts is not None  # which f1 has
    chance, positive = predicted.of_classes[:, 1], y == 1
    lowest, highest = float(chance.min()), float(chance.max())
    used = 0.5 if judge.threshold is None else judge.threshold
    # Where probabilities crowd there is much to see, and nothing between them.
    spread = np.quantile(chance, np.linspace(0, 1, POINTS // 2))
    at = np.unique([*spread, *np.linspace(lowest, highest, POINTS // 2 - 1)])
    hits, alarms = (
        len(part) - np.searchsorted(np.sort(part), at)
        for part in (chance[positive], chance[~positive])
    )
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    with np.errstate(all="ignore"):
        score = metric.counts(
            *(each.astype(float) for each in (hits, alarms, n_positive - hits, n_negative - alarms))
        )
    best = metrics.best_threshold(metric, y, predicted.of_classes)
    return Thresholds(
        metric=metric.name,
        at=_rounded(at),
        precision=_rounded(hits / np.maximum(hits + alarms, 1)),
        recall=_rounded(hits / n_positive),
        score=_rounded(np.nan_to_num(score)),
        used=used,
        tuned=judge.threshold is not None,
        said=float((predicted.values == 1).mean()),
        precision_used=_score("precision", ProblemType.BINARY, y, predicted),
        recall_used=_score("recall", ProblemType.BINARY, y, predicted),
        score_used=metrics.score(metric, y, predicted),
        best=best,
        score_best=None
        if best is None
        else metrics.score(metric, y, Predictions((chance >= best).astype(np.int64))),
    )


def _confusion(y: np.ndarray, said: np.ndarray, names: tuple[str, ...]) -> Confusion:
    k = len(names)
    counts = np.bincount(y * k + said, minlength=k * k).reshape(k, k)
    wrong = counts - np.diag(np.diag(counts))
    shown, labels, together = counts, names, 0
    if k > LINES + 1:
        # Most entangled first, then in the order of their codes as ever.
        worst = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:LINES])
        place = np.full(k, LINES)
        place[worst] = np.arange(LINES)
        shown = np.zeros((LINES + 1, LINES + 1), dtype=np.int64)
        np.add.at(shown, (place[:, None], place[None, :]), counts)
        together = k - LINES
        labels = (*(names[code] for code in worst), f"{together} others")
    pairs = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: (-wrong[pair], pair))
    return Confusion(
        labels=labels,
        counts=tuple(tuple(map(int, line)) for line in shown),
        together=together,
        mistakes=tuple(
            Mistake(names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / counts[i].sum()))
            for i, j in pairs[:PAIRS]
        ),
        right=int(np.trace(counts)),
    )


def _by_class(
    is_class: np.ndarray, is_said: np.ndarray, label: str, ranking: Ranking | None
) -> ByClass:
    rows, said, hits = int(is_class.sum()), int(is_said.sum()), int((is_class & is_said).sum())
    return ByClass(
        label=label,
        rows=rows,
        said=said,
        precision=hits / said if said else None,
        recall=hits / rows if rows else None,
        f1=2 * hits / (rows + said) if rows + said else None,
        auc=ranking.auc if ranking else None,
    )


# Quantities


def _range(values: np.ndarray) -> tuple[float, float]:
    """Find the part of an axis that is worth showing: a few rows must not squeeze the rest."""
    low, high = np.quantile(values, _ENDS)
    more = _STRETCH * (high - low)
    low, high = max(low - more, values.min()), min(high + more, values.max())
    if low == high:
        half = abs(low) / 2 or 0.5
        return float(low - half), float(high + half)
    return float(low), float(high)


def _cloud(
    x: np.ndarray,
    y: np.ndarray,
    wide: tuple[float, float],
    tall: tuple[float, float],
    seed: int,
) -> Cloud:
    outside = int(((x < wide[0]) | (x > wide[1]) | (y < tall[0]) | (y > tall[1])).sum())
    x, y = x.clip(*wide), y.clip(*tall)
    if len(x) <= MARKS:
        return Cloud(_rounded(x), _rounded(y), (), 0.0, 0.0, outside)
    rows, right, up = np.histogram2d(x, y, CELLS, (wide, tall))
    i, j = np.nonzero(rows)
    return Cloud(
        _rounded(right[i]),
        _rounded(up[j]),
        tuple(int(each) for each in rows[i, j]),
        float(right[1] - right[0]),
        float(up[1] - up[0]),
        outside,
    )


def _middle(predicted: np.ndarray, errors: np.ndarray) -> tuple[Bin, ...]:
    found = []
    for here in _sized(predicted):
        low, median, high = np.quantile(errors[here], (0.05, 0.5, 0.95))
        found.append(_bin(predicted[here], float(median), float(low), float(high)))
    return tuple(found)


def _by_size(y: np.ndarray, predicted: np.ndarray, judge: Judge) -> tuple[Bin, ...]:
    mae = metrics.named("mae", ProblemType.REGRESSION)
    found = []
    for here in _sized(y):
        clusters = None if judge.clusters is None else judge.clusters[here]
        found.append(
            _bin(y[here], *_scored(mae, y[here], Predictions(predicted[here]), judge, clusters))
        )
    return tuple(found)


def _sized(values: np.ndarray) -> Iterable[np.ndarray]:
    """Yield the places of the rows of bins of about equally many, the smallest values first."""
    bins = max(1, min(SIZES, len(values) // ROWS_OF_A_BIN))
    inner = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    codes = np.searchsorted(inner, values)
    return (np.flatnonzero(codes == code) for code in np.unique(codes))


def _bin(values: np.ndarray, score: float | None, low: float | None, high: float | None) -> Bin:
    ends = float(values.min()), float(values.max())
    return Bin(len(values), *ends, float(values.mean()), score, low, high)


def _largest(errors: np.ndarray) -> tuple[Largest, ...]:
    falling = np.sort(np.abs(errors))[::-1]
    if not falling.any():
        return ()
    absolute, squared = (np.cumsum(each) / each.sum() for each in (falling, falling**2))
    found = []
    for share in LARGEST:
        rows = round(share * len(falling))
        if rows:
            found.append(Largest(share, float(absolute[rows - 1]), float(squared[rows - 1])))
    return tuple(found)


# All of them


def _scored(
    metric: Metric,
    y: np.ndarray,
    predicted: Predictions,
    judge: Judge,
    clusters: np.ndarray | None,
) -> tuple[float | None, float | None, float | None]:
    """Score some rows, with the ends of the interval."""
    (found,) = evaluation.evaluate(
        y,
        predicted,
        [metric],
        resamples=RESAMPLES,
        confidence=judge.confidence,
        seed=judge.seed,
        clusters=clusters,
    ).scores
    return _finite(found.value), _finite(found.low), _finite(found.high)


def _score(name: str, problem: ProblemType, y: np.ndarray, predicted: Predictions) -> float:
    return metrics.score(metrics.named(name, problem), y, predicted)


def _thinned(x: np.ndarray, y: np.ndarray, *, along_x: bool = False) -> Curve:
    """Keep points that are evenly spread along a curve, or along its horizontal axis."""
    if len(x) > POINTS:
        step = np.abs(np.diff(x)) + (0 if along_x else np.abs(np.diff(y)))
        way = np.append(0.0, np.cumsum(step))
        even = np.searchsorted(way, np.linspace(0, way[-1], POINTS - 1))
        kept = np.unique([0, *even.clip(0, len(x) - 1), len(x) - 1])
        x, y = x[kept], y[kept]
    return Curve(_rounded(x), _rounded(y))


def _rounded(values: Any) -> tuple[float, ...]:
    """Keep as many digits as can be seen: a file of facts is read by people, too."""
    return tuple(float(f"{value:.5g}") for value in values)


def _finite(value: float) -> float | None:
    return None if isnan(value) else float(value)


def _plain(label: object) -> str:
    """Write a label on one line."""
    return " ".join(str(label).split())


def _when(time: pd.Timestamp) -> str:
    return str(time.isoformat(sep=" ").removesuffix(" 00:00:00"))

"""How well rows are put together: scores of labels in a space, which a bootstrap can draw again.

Each score takes the rows' places in the space, shape (n, d), and their labels,
shape (n,): whole numbers, of which a negative one says that a row is noise and
belongs to no cluster. It gives a function from how often each row was drawn,
shape (b, n), to b scores, NaN where a resample leaves less than two clusters.

No score may be had by calling rows noise. The silhouette of such a row is 0,
the value that Rousseeuw gives a cluster of one; the other two scores take all
noise for one cluster, a badly scattered one.

References
----------
Rousseeuw, P. J. (1987). Silhouettes: A Graphical Aid to the Interpretation
and Validation of Cluster Analysis. Journal of Computational and Applied
Mathematics 20.
Davies, D. L. and Bouldin, D. W. (1979). A Cluster Separation Measure. IEEE
Transactions on Pattern Analysis and Machine Intelligence 1.
Caliński, T. and Harabasz, J. (1974). A Dendrite Method for Cluster Analysis.
Communications in Statistics 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np

from ratchet.metrics.base import Metric, Predictions, Scorer, in_chunks
from ratchet.problem import ProblemType

# Distances held at a time: 16 MB.
_CELLS = 2_000_000

# A sum of squares below this share of the whole is rounding.
_ROUNDING = 1e-12

Score = Callable[[np.ndarray], np.ndarray]
"""Maps how often rows were drawn, shape (b, n), to scores of shape (b,)."""


@dataclass(frozen=True)
class OfClusters:
    """A metric's way from rows and labels to the scores of resamples."""

    score: Callable[[np.ndarray, np.ndarray], Score]
    """One of the scores below."""

    def __call__(self, y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
        """Prepare a ``Metric``; in place of a truth it has the rows' places in a space."""
        scores = self.score(y, predictions.values)
        return in_chunks(lambda weights: scores(np.take(weights, groups, axis=1)), len(y))


def silhouettes(X: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell for each row how much nearer its own cluster is than the next one.

    Parameters
    ----------
    X : np.ndarray of shape (n, d)
        Places of the rows.
    labels : np.ndarray of shape (n,)
        Their clusters; a negative one is noise.

    Returns
    -------
    np.ndarray of shape (n,)
        Between -1 and 1, and 0 for noise and for a cluster of one; NaN for all
        if there are less than two clusters.
    """
    codes = _codes(labels)
    if codes.max() < 1:
        return np.full(len(X), np.nan)
    # Distances far from 0 would cancel to rounding.
    X = X - X.mean(axis=0)
    member = (codes[:, None] == np.arange(codes.max() + 1)).astype(np.float64)
    sizes = member.sum(axis=0)
    found = np.zeros(len(X))
    step = max(1, _CELLS // len(X))
    for start in range(0, len(X), step):
        some = slice(start, start + step)
        sums = _distances(X[some], X) @ member
        own = member[some] == 1
        # A row is at no distance from itself, and is not counted.
        others = np.maximum((own * sizes).sum(axis=1) - 1, 1)
        within = (own * sums).sum(axis=1) / others
        nearest = np.where(own, np.inf, sums / sizes).min(axis=1)
        widest = np.maximum(within, nearest)
        found[some] = np.where(widest > 0, (nearest - within) / np.where(widest > 0, widest, 1), 0)
    alone = (codes < 0) | (member @ sizes == 1)
    return np.where(alone, 0, found)


def silhouette(X: np.ndarray, labels: np.ndarray) -> Score:
    """Mean silhouette of the rows.

    A resample draws rows with the silhouette that they have among all rows:
    the clusters are those of the sample, and drawn again are their members.
    """
    rows = silhouettes(X, labels)
    return lambda weights: weights @ rows / weights.sum(axis=1)


def davies_bouldin(X: np.ndarray, labels: np.ndarray) -> Score:
    """Mean, over clusters, of how much each overlaps with the one it overlaps most with."""
    places, parts = _parts(X, labels)

    def scores(weights: np.ndarray) -> np.ndarray:
        sizes, centres = _centres(places, parts, weights)
        scatter = np.zeros(sizes.shape)
        for k, (rows, part) in enumerate(zip(places, parts, strict=True)):
            sums = (weights[:, rows] * _distances(centres[:, k], part)).sum(axis=1)
            scatter[:, k] = _ratio(sums, sizes[:, k])
        apart = np.stack(
            [np.linalg.norm(centres - centres[:, [k]], axis=2) for k in range(len(parts))], axis=1
        )
        drawn = sizes > 0
        # Clusters around one centre can't be told apart; scikit-learn counts such a pair as 0.
        pair = drawn[:, :, None] & drawn[:, None, :] & (apart > 0)
        overlap = (scatter[:, :, None] + scatter[:, None, :]) / np.where(pair, apart, np.inf)
        worst = (overlap.max(axis=2) * drawn).sum(axis=1)
        return worst / _enough(drawn)

    return scores


def calinski_harabasz(X: np.ndarray, labels: np.ndarray) -> Score:
    """Spread between clusters over spread within them, each by its degrees of freedom."""
    places, parts = _parts(X, labels)
    squares = [(part**2).sum(axis=1) for part in parts]

    def scores(weights: np.ndarray) -> np.ndarray:
        sizes, centres = _centres(places, parts, weights)
        n, k = sizes.sum(axis=1), _enough(sizes > 0)
        middle = _ratio(np.einsum("bk,bkd->bd", sizes, centres), n)
        between = (sizes * ((centres - middle[:, None]) ** 2).sum(axis=2)).sum(axis=1)
        total = sum(
            weights[:, rows] @ each for rows, each in zip(places, squares, strict=True)
        ) - n * (middle**2).sum(axis=1)
        within = total - between
        free = np.where(n > k, n - k, np.nan)
        # As scikit-learn does where every row is its cluster's centre.
        perfect = within <= _ROUNDING * total
        found = (between / (k - 1)) / (np.where(perfect, np.nan, within) / free)
        return np.where(perfect & (k > 1), 1.0, found)

    return scores


def _codes(labels: np.ndarray) -> np.ndarray:
    """Give clusters numbers from 0 in the order in which rows name them, and noise -1.

    Two models that part the rows alike, under whatever names, then have scores
    that are equal to the last bit, and none gains anything over the other.
    """
    _, first, codes = np.unique(np.maximum(labels, -1), return_index=True, return_inverse=True)
    is_noise = labels[first] < 0
    ranks = np.argsort(np.argsort(np.where(is_noise, -1, first))) - int(is_noise.any())
    found: np.ndarray = ranks[codes]
    return found


def _parts(X: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Give the places of each cluster's rows in the table, and the rows, noise as one cluster."""
    codes = _codes(labels)
    places = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    # Centred first: sums of squares of values far from 0 would cancel to rounding.
    centred = X - X.mean(axis=0)
    return places, [centred[rows] for rows in places]


def _centres(
    places: list[np.ndarray], parts: list[np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the sizes (b, k) and centres (b, k, d) of the clusters of each resample."""
    sizes = np.stack([weights[:, rows].sum(axis=1) for rows in places], axis=1)
    sums = [weights[:, rows] @ part for rows, part in zip(places, parts, strict=True)]
    return sizes, _ratio(np.stack(sums, axis=1), sizes)


def _enough(drawn: np.ndarray) -> np.ndarray:
    """Count the clusters that were drawn; NaN for less than two."""
    counts = drawn.sum(axis=1)
    return np.where(counts > 1, counts, np.nan)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give the distance of each row of ``a`` to each of ``b``."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def _ratio(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Divide; what was not drawn is 0."""
    wide = sizes.reshape(sizes.shape + (1,) * (sums.ndim - sizes.ndim))
    return sums / np.where(wide > 0, wide, np.inf)


_clustering = partial(Metric, problems=frozenset({ProblemType.CLUSTERING}))

# The first is the default of its problem.
CLUSTERS: tuple[Metric, ...] = (
    _clustering("silhouette", prepare=OfClusters(silhouette), maximize=True, bounds=(-1.0, 1.0)),
    _clustering("davies_bouldin", prepare=OfClusters(davies_bouldin)),
    _clustering(
        "calinski_harabasz",
        prepare=OfClusters(calinski_harabasz),
        maximize=True,
        bounds=(0.0, inf),
    ),
)

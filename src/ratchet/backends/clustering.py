"""Clusterings of scikit-learn: k-means, its mini-batch form, Gaussian mixtures and HDBSCAN."""

import warnings
from math import inf
from typing import Any, ClassVar

import numpy as np

from ratchet.backends.base import (
    Backend,
    Choice,
    Family,
    Fitted,
    Integer,
    Interpretability,
    Request,
    Rows,
    Task,
    register,
)
from ratchet.features import Preparation
from ratchet.problem import ProblemType

# More clusters than this are no overview, and a cluster needs so many rows to be one.
MAX_CLUSTERS = 20
ROWS_OF_A_CLUSTER = 10

# Rows that a clustering is found on. More move the centres of k-means little, those of a mixture
# even less, and HDBSCAN compares every row with every other: these take seconds.
KMEANS_ROWS = 200_000
MIXTURE_ROWS = 20_000
HDBSCAN_ROWS = 5_000

# k-means ends in one of several optima: the best of so many starts is kept.
KMEANS_STARTS = 5
# Rounds of a mixture between two looks at the clock, and the most that it takes.
MIXTURE_STEP = 10
MIXTURE_ROUNDS = 200

# Threads of k-means add their shares of a centre in the order in which they end. The sum of two is
# the same in either order; that of three has other last bits, and moves rows between clusters.
MOST_THREADS = 2


@register
class ClusteringBackend(Backend):
    """Clusterings of scikit-learn that put new rows into the clusters they have found."""

    name: ClassVar[str] = "clustering"
    problems: ClassVar[frozenset[ProblemType]] = frozenset({ProblemType.CLUSTERING})
    deterministic: ClassVar[bool] = True

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the clusterings, and labels by chance as the baseline."""
        if task.problem is not ProblemType.CLUSTERING:
            return ()
        most = max(2, min(MAX_CLUSTERS, task.n_rows // ROWS_OF_A_CLUSTER))
        counts = [k for k in (3, 2, 4, 5, 6, 8, 10, 14) if k <= most]
        used = min(task.n_rows, HDBSCAN_ROWS)
        smallest = max(5, used // 200)
        return (
            Family(
                "baseline",
                Preparation.SCALED,
                is_baseline=True,
                interpretability=Interpretability.READ,
            ),
            Family(
                "minibatch_kmeans",
                Preparation.SCALED,
                starts=tuple({"n_clusters": k} for k in counts),
                space={"n_clusters": Integer(2, most)},
                interpretability=Interpretability.READ,
            ),
            Family(
                "kmeans",
                Preparation.SCALED,
                starts=tuple({"n_clusters": k} for k in counts),
                space={"n_clusters": Integer(2, most)},
                cost=2.0,
                interpretability=Interpretability.READ,
            ),
            Family(
                "gaussian_mixture",
                Preparation.SCALED,
                starts=tuple({"n_components": k, "covariance_type": "full"} for k in counts[:5]),
                space={
                    "n_components": Integer(2, most),
                    "covariance_type": Choice(("full", "tied", "diag", "spherical")),
                },
                cost=5.0,
                interpretability=Interpretability.INSPECT,
            ),
            Family(
                "hdbscan",
                Preparation.SCALED,
                starts=tuple(
                    {"min_cluster_size": max(smallest, used // part), "min_samples": samples}
                    for part, samples in ((20, 10), (50, 5), (10, 25))
                ),
                space={
                    "min_cluster_size": Integer(smallest, max(smallest + 1, used // 5), log=True),
                    "min_samples": Integer(1, 50, log=True),
                    "cluster_selection_method": Choice(("eom", "leaf")),
                },
                cost=5.0,
                interpretability=Interpretability.ASK,
            ),
        )

    def fit(self, request: Request) -> Fitted:
        """Find clusters, and fit what puts new rows into them."""
        from threadpoolctl import threadpool_limits

        threads = min(request.threads, MOST_THREADS)
        with threadpool_limits(threads, user_api="openmp"), warnings.catch_warnings():
            # A mixture that is fitted in steps warns after each that it has not ended.
            warnings.simplefilter("ignore")
            match request.family:
                case "baseline":
                    return Fitted(_chance(request), dict(request.params))
                case "minibatch_kmeans":
                    return Fitted(_minibatch_kmeans(request), dict(request.params))
                case "kmeans":
                    return _kmeans(request)
                case "gaussian_mixture":
                    return _mixture(request)
                case _:
                    return Fitted(_hdbscan(request), dict(request.params))


def _chance(request: Request) -> Any:
    """Throw a coin for each row.

    Clusters that ignore the columns are what any clustering must beat. A simple
    clustering would be no baseline: where two clusters are all there is, it
    finds them, and nothing could ever be better.
    """
    from sklearn.dummy import DummyClassifier

    coin = np.arange(request.train.X.shape[0]) % 2
    return DummyClassifier(strategy="uniform", random_state=request.seed).fit(coin[:, None], coin)


def _minibatch_kmeans(request: Request) -> Any:
    from sklearn.cluster import MiniBatchKMeans

    estimator = MiniBatchKMeans(n_init=10, random_state=request.seed, **request.params)
    return estimator.fit(request.train.X)


def _kmeans(request: Request) -> Fitted:
    from sklearn.cluster import KMeans

    X = _at_most(request.train, KMEANS_ROWS, request.seed)
    best, done = None, 0
    for start in range(KMEANS_STARTS):
        seed = (request.seed + start) % 2**32
        found = KMeans(n_init=1, random_state=seed, **request.params).fit(X)
        best = found if best is None or found.inertia_ < best.inertia_ else best
        done = start + 1
        if request.out_of_time:
            break
    return Fitted(best, dict(request.params), cut_short=done < KMEANS_STARTS)


def _mixture(request: Request) -> Fitted:
    from sklearn.mixture import GaussianMixture

    X = _dense(_at_most(request.train, MIXTURE_ROWS, request.seed))
    mixture = GaussianMixture(
        max_iter=MIXTURE_STEP,
        warm_start=True,
        # Columns that hardly vary inside a cluster would make its density endless.
        reg_covar=1e-3,
        random_state=request.seed,
        **request.params,
    )
    bounds = [-inf]
    for _ in range(0, MIXTURE_ROUNDS, MIXTURE_STEP):
        mixture.fit(X)
        bounds.append(float(mixture.lower_bound_))
        if mixture.converged_ or bounds[-1] <= bounds[-2] or request.out_of_time:
            break
    ended = mixture.converged_ or not request.out_of_time
    return Fitted(mixture, dict(request.params), cut_short=not ended)


def _hdbscan(request: Request) -> Any:
    """Find dense clusters; a new row then goes where the nearest row went, noise included."""
    from sklearn.cluster import HDBSCAN
    from sklearn.neighbors import KNeighborsClassifier

    X = _dense(_at_most(request.train, HDBSCAN_ROWS, request.seed))
    params = {"min_samples": 10, **request.params}
    params["min_samples"] = min(params["min_samples"], len(X))
    labels = HDBSCAN(copy=True, n_jobs=request.threads, **params).fit(X).labels_
    found = len(np.unique(labels[labels >= 0]))
    if found < 2:
        raise ValueError(f"{found} dense clusters were found, and at least 2 are needed")
    # Without a tree of the rows, which takes as long where there are many columns, the model
    # holds classes only that skops knows.
    return KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(X, labels)


def _at_most(rows: Rows, n: int, seed: int) -> Any:
    X = rows.X
    if X.shape[0] <= n:
        return X
    return X[np.sort(np.random.default_rng(seed).choice(X.shape[0], n, replace=False))]


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)

"""What every clustering promises: the same answers from the same seed, for rows old and new."""

import time

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from ratchet import backends
from ratchet.backends import Looks, Request, Rows, Task, clustering
from ratchet.features import Preparation, preparation
from ratchet.model import ASSEMBLY_TYPES, assemble, predict
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

CLUSTERING = ProblemType.CLUSTERING
BACKENDS = [name for name in backends.available() if CLUSTERING in backends.get(name).problems]


def task_of(n=150):
    return Task(CLUSTERING, n, 3)


FAMILIES = [
    (name, each.name) for name in BACKENDS for each in backends.get(name).families(task_of())
]
every_family = pytest.mark.parametrize(("name", "family"), FAMILIES)
CLUSTERINGS = [
    (name, each.name)
    for name in BACKENDS
    for each in backends.get(name).families(task_of())
    if not each.is_baseline
]
every_clustering = pytest.mark.parametrize(("name", "family"), CLUSTERINGS)


def rows(n=150, seed=0, apart=8.0):
    """Three groups of rows, told apart by two numbers."""
    random = np.random.default_rng(seed)
    group = np.arange(n) % 3
    places = np.array([[0, 0], [apart, 0], [0, apart]])[group] + random.normal(size=(n, 2))
    kind = pd.Series(np.array(["a", "b", "b"])[group], dtype="str")
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "kind": kind}), group


SCHEMA = Schema(
    (
        Column("x", Kind.NUMBER, "float64", False, 100),
        Column("y", Kind.NUMBER, "float64", False, 100),
        Column("kind", Kind.CATEGORY, "str", False, 2),
    ),
    None,
    CLUSTERING,
)


def family_of(name, family, n=150):
    return next(each for each in backends.get(name).families(task_of(n)) if each.name == family)


def request(name, family, X, **changes):
    values = {
        "family": family,
        "params": family_of(name, family, len(X)).starts[0],
        "task": task_of(len(X)),
        "train": Rows(X, np.zeros(len(X))),
        "valid": None,
        "categorical": np.zeros(X.shape[1], dtype=bool),
        "metric": "silhouette",
        "threads": 1,
        "seed": 3,
    }
    return Request(**{**values, **changes})


def fit(name, family, frame, **changes):
    transformer = preparation(SCHEMA, family_of(name, family, len(frame)).preparation)
    X = transformer.fit_transform(frame)
    fitted = backends.get(name).fit(request(name, family, X, **changes))
    return fitted, assemble(transformer, fitted.estimator, SCHEMA, None)


def labels(model, frame):
    return predict(model, frame, SCHEMA).values


def test_clusterings_are_offered_for_clustering_and_nothing_else_is():
    assert BACKENDS == ["clustering"]
    assert [family for _, family in FAMILIES] == [
        "baseline",
        "minibatch_kmeans",
        "kmeans",
        "gaussian_mixture",
        "hdbscan",
    ]
    for name in set(backends.available()) - set(BACKENDS):
        assert CLUSTERING not in backends.get(name).problems
    assert backends.get("clustering").problems == {CLUSTERING}
    for problem in set(ProblemType) - {CLUSTERING}:
        assert backends.get("clustering").families(Task(problem, 100, 3, 2)) == ()


@every_clustering
def test_the_groups_that_there_are_are_found_in_old_rows_and_in_new_ones(name, family):
    old, truth = rows()
    new, also = rows(seed=1)
    _, model = fit(name, family, old)
    for frame, group in ((old, truth), (new, also)):
        found = labels(model, frame)
        assert found.dtype == np.int64
        clustered = found >= 0
        assert clustered.mean() > 0.7
        assert adjusted_rand_score(group[clustered], found[clustered]) > 0.95


@every_family
def test_every_start_and_every_end_of_the_space_can_be_fitted(name, family):
    frame, _ = rows(60)
    offered = family_of(name, family, 60)
    ends = []
    for pick in (lambda d: d.options[0], lambda d: d.options[-1]):
        low_or_high = "low" if not ends else "high"
        ends.append(
            {
                key: pick(each) if hasattr(each, "options") else getattr(each, low_or_high)
                for key, each in offered.space.items()
            }
        )
    for params in (*offered.starts, *ends):
        try:
            fitted, model = fit(name, family, frame, params=params)
        except ValueError as error:
            assert "dense clusters were found" in str(error)
            continue
        assert fitted.params == params
        assert labels(model, frame).shape == (60,)


@every_family
def test_the_same_seed_gives_the_same_clusters_with_any_number_of_threads(name, family):
    frame, _ = rows()
    one, same = (labels(fit(name, family, frame, threads=n)[1], frame) for n in (1, 2))
    np.testing.assert_array_equal(one, same)


@every_family
def test_equal_requests_give_equal_clusters_where_a_backend_says_so(name, family):
    if backends.get(name).doubt(family, threads=4, gpu=False):
        pytest.skip("it doesn't say so")
    frame, _ = rows(3_000, apart=2.0)
    one, two = (fit(name, family, frame, threads=4) for _ in range(2))
    centres = [getattr(each.estimator, "cluster_centers_", 0) for each, _ in (one, two)]
    np.testing.assert_array_equal(*centres)
    np.testing.assert_array_equal(*(labels(model, frame) for _, model in (one, two)))


@every_family
def test_a_fit_that_the_clock_has_ended_ends_there_again_without_a_clock(name, family):
    frame, looks = rows()[0], Looks()
    # The time is over before it begins.
    first, one = fit(name, family, frame, looks=looks, deadline=time.monotonic() - 1)
    again, two = fit(name, family, frame, looks=Looks(looks.up_at))
    assert again.cut_short == first.cut_short
    np.testing.assert_array_equal(labels(two, frame), labels(one, frame))


@every_family
def test_one_row_alone_gets_the_answer_that_it_gets_among_others(name, family):
    frame, _ = rows()
    _, model = fit(name, family, frame)
    together = labels(model, frame)
    if family == "baseline":
        # By chance each row of a request gets the next throw of the same coin.
        assert labels(model, frame.iloc[[7]])[0] == together[0]
        return
    for place in (0, 7, 149):
        assert labels(model, frame.iloc[[place]])[0] == together[place]


@every_family
def test_a_saved_model_needs_no_more_trust_than_declared_and_answers_alike(name, family):
    frame, _ = rows()
    _, model = fit(name, family, frame)
    data = skops.io.dumps(model)
    trusted = {*ASSEMBLY_TYPES, *backends.get(name).trusted_types}
    assert set(skops.io.get_untrusted_types(data=data)) <= trusted
    again = skops.io.loads(data, trusted=sorted(trusted))
    np.testing.assert_array_equal(labels(again, frame), labels(model, frame))


@every_clustering
def test_unseen_labels_and_missing_numbers_get_an_answer(name, family):
    frame, _ = rows()
    _, model = fit(name, family, frame)
    strange = frame.head(4).copy()
    strange.loc[0, "kind"], strange.loc[1, "x"] = "never seen", np.nan
    assert labels(model, strange).shape == (4,)


@every_clustering
def test_sparse_rows_are_clustered_as_dense_ones(name, family):
    from scipy.sparse import csr_array

    frame, _ = rows()
    X = preparation(SCHEMA, Preparation.SCALED).fit_transform(frame)
    X = np.where(np.abs(X) < 0.2, 0, X)
    dense, sparse = (
        backends.get(name).fit(request(name, family, X, train=Rows(each, np.zeros(len(X)))))
        for each in (X, csr_array(X))
    )
    np.testing.assert_array_equal(dense.estimator.predict(X), sparse.estimator.predict(X))


@every_clustering
def test_a_deadline_that_is_over_is_soon_noticed(name, family):
    frame, _ = rows(3000)
    begun = time.monotonic()
    _, model = fit(name, family, frame, deadline=begun - 1)
    assert time.monotonic() - begun < 5
    assert labels(model, frame).shape == (3000,)


def test_a_fit_that_was_cut_short_says_so(monkeypatch):
    X = np.random.default_rng(0).normal(size=(2000, 8))
    late = time.monotonic() - 1
    for family, params in (
        ("kmeans", {"n_clusters": 8}),
        ("gaussian_mixture", {"n_components": 8, "covariance_type": "full"}),
    ):
        whole = backends.get("clustering").fit(request("clustering", family, X, params=params))
        short = backends.get("clustering").fit(
            request("clustering", family, X, params=params, deadline=late)
        )
        assert (whole.cut_short, short.cut_short) == (False, True)


def test_labels_by_chance_ignore_the_columns():
    frame, group = rows(3000)
    _, model = fit("clustering", "baseline", frame)
    found = labels(model, frame)
    assert adjusted_rand_score(group, found) == pytest.approx(0, abs=0.01)
    assert np.bincount(found) / 3000 == pytest.approx([0.5, 0.5], abs=0.05)


def test_hdbscan_puts_known_rows_where_it_found_them_noise_included():
    frame, _ = rows()
    frame.loc[:9, ["x", "y"]] = np.random.default_rng(0).uniform(-30, 30, (10, 2))
    X = preparation(SCHEMA, Preparation.SCALED).fit_transform(frame)
    params = {"min_cluster_size": 15, "min_samples": 5}
    fitted = backends.get("clustering").fit(request("clustering", "hdbscan", X, params=params))
    found = HDBSCAN(copy=True, **params).fit(X).labels_
    assert (found == -1).any() and found.max() >= 1
    np.testing.assert_array_equal(fitted.estimator.predict(X), found)


@pytest.mark.parametrize(
    ("family", "limit"),
    [("kmeans", "KMEANS_ROWS"), ("gaussian_mixture", "MIXTURE_ROWS"), ("hdbscan", "HDBSCAN_ROWS")],
)
def test_large_tables_are_clustered_on_a_sample(monkeypatch, family, limit):
    frame, group = rows(600)
    monkeypatch.setattr(clustering, limit, 150)
    monkeypatch.setattr(clustering, "HDBSCAN_ROWS", 150)
    fitted, model = fit("clustering", family, frame)
    used = getattr(fitted.estimator, "_fit_X", None)
    assert used is None or len(used) == 150
    found = labels(model, frame)
    clustered = found >= 0
    assert adjusted_rand_score(group[clustered], found[clustered]) > 0.95


@pytest.mark.parametrize("n", [2, 25, 10**7])
def test_there_are_never_more_clusters_than_rows_can_fill(n):
    for family in backends.get("clustering").families(task_of(n)):
        for name in ("n_clusters", "n_components"):
            if name in family.space:
                most = max(2, min(20, n // 10))
                assert (family.space[name].low, family.space[name].high) == (2, most)
                assert all(2 <= start[name] <= most for start in family.starts)
        assert family.starts

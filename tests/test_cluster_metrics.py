"""Scores of clusters are scikit-learn's, follow the weights, and can't be had by noise."""

import pickle

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ratchet import metrics
from ratchet.metrics import Predictions
from ratchet.metrics.clusters import (
    calinski_harabasz,
    davies_bouldin,
    silhouette,
    silhouettes,
)
from ratchet.problem import ProblemType

THEIRS = {
    silhouette: sklearn_metrics.silhouette_score,
    davies_bouldin: sklearn_metrics.davies_bouldin_score,
    calinski_harabasz: sklearn_metrics.calinski_harabasz_score,
}
every_score = pytest.mark.parametrize("score", THEIRS, ids=lambda score: score.__name__)


def blobs(n=90, k=3, apart=4.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % k
    return random.normal(size=(n, 4)) + apart * np.eye(k, 4)[labels], labels


def once(score, X, labels):
    return float(score(X, labels)(np.ones((1, len(X))))[0])


@every_score
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("far", [0, 1e6])
def test_a_score_is_the_one_that_scikit_learn_gives(score, seed, far):
    X, labels = blobs(apart=seed, seed=seed)
    random = np.random.default_rng(seed)
    labels = np.where(random.random(len(X)) < 0.2, 7, labels)
    assert once(score, X + far, labels) == pytest.approx(THEIRS[score](X, labels), rel=1e-6)


@every_score
def test_names_of_clusters_and_the_order_of_rows_do_not_count(score):
    X, labels = blobs()
    shuffled = np.random.default_rng(1).permutation(len(X))
    renamed = np.array([5, 0, 9])[labels][shuffled]
    assert once(score, X[shuffled], renamed) == pytest.approx(once(score, X, labels), rel=1e-9)


@every_score
def test_the_same_clusters_under_other_names_gain_nothing_at_all(score):
    X, labels = blobs()
    labels = np.where(np.arange(len(X)) % 10 == 0, -1, labels)
    renamed = np.array([5, 0, 9, -7])[labels]
    weights = np.random.default_rng(0).integers(0, 4, (20, len(X)))
    np.testing.assert_array_equal(score(X, renamed)(weights), score(X, labels)(weights))


@every_score
def test_one_cluster_has_no_score(score):
    X, _ = blobs()
    assert np.isnan(once(score, X, np.zeros(len(X), dtype=int)))


@pytest.mark.parametrize("score", [davies_bouldin, calinski_harabasz], ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_scored_as_a_table_in_which_rows_are_repeated(score, seed):
    X, labels = blobs(seed=seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(X)))
    weights[0, labels == 1] = 0  # a cluster that was not drawn
    found = score(X, labels)(weights)
    for each, drawn in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(len(X)), drawn)
        assert each == pytest.approx(THEIRS[score](X[rows], labels[rows]), rel=1e-9)


def test_a_resample_keeps_the_silhouettes_of_the_rows():
    X, labels = blobs()
    weights = np.random.default_rng(0).integers(0, 4, (5, len(X)))
    each = sklearn_metrics.silhouette_samples(X, labels)
    np.testing.assert_allclose(
        silhouette(X, labels)(weights), weights @ each / weights.sum(axis=1), atol=1e-7
    )


def test_the_silhouette_of_four_rows_by_hand():
    X = np.array([[0.0], [1.0], [4.0], [6.0]])
    # Rows of {0, 1} and {4, 6}: within 1, 1, 2, 2; to the other 5, 4, 3.5, 5.5.
    expected = [4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5]
    np.testing.assert_allclose(silhouettes(X, np.array([0, 0, 1, 1])), expected, rtol=1e-12)


def test_a_large_table_is_scored_part_by_part(monkeypatch):
    X, labels = blobs()
    whole = silhouettes(X, labels)
    monkeypatch.setattr("ratchet.metrics.clusters._CELLS", 100)
    np.testing.assert_allclose(silhouettes(X, labels), whole, atol=1e-7)


def test_as_metrics_they_have_a_direction_and_travel_to_another_process():
    X, labels = blobs()
    problem = ProblemType.CLUSTERING
    found = metrics.for_problem(problem)
    assert {(each.name, each.maximize) for each in found} == {
        ("silhouette", True),
        ("davies_bouldin", False),
        ("calinski_harabasz", True),
    }
    assert metrics.default(problem).name == "silhouette"
    for metric, score in zip(found, THEIRS, strict=True):
        there = pickle.loads(pickle.dumps(metric))
        value = metrics.score(there, X, Predictions(labels))
        assert value == once(score, X, labels) == metrics.score(metric, X, Predictions(labels))
        assert metric.bounds[0] <= value <= metric.bounds[1]


def test_a_function_of_the_users_judges_places_and_clusters(tmp_path, monkeypatch):
    (tmp_path / "my_cluster_scores.py").write_text(
        "def widest(places, clusters):\n"
        "    return max(places[clusters == k].std() for k in set(clusters))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    X, labels = blobs()
    metric = metrics.named("my_cluster_scores:widest", ProblemType.CLUSTERING)
    expected = max(X[labels == k].std() for k in range(3))
    assert metrics.score(metric, X, Predictions(labels)) == expected


# Noise


def test_noise_and_a_cluster_of_one_have_a_silhouette_of_0():
    X, labels = blobs()
    labels[0], labels[1] = -1, 9
    found = silhouettes(X, labels)
    assert found[0] == found[1] == 0
    np.testing.assert_allclose(
        found[1:], sklearn_metrics.silhouette_samples(X[1:], labels[1:]), atol=1e-7
    )
    assert (found[2:] != 0).all()


@every_score
def test_no_score_is_won_by_calling_badly_placed_rows_noise(score):
    X, labels = blobs(apart=1.5)
    each = silhouettes(X, labels)
    sign = -1 if score is davies_bouldin else 1
    noise = np.where(each < np.quantile(each, 0.6), -1, labels)
    assert sign * once(score, X, noise) < sign * once(score, X[noise >= 0], labels[noise >= 0])
    everything_but_two = np.full(len(X), -1)
    everything_but_two[[0, 1, 3, 4]] = [0, 1, 0, 1]
    assert sign * once(score, X, everything_but_two) < sign * once(score, X, labels)


def test_noise_alone_has_no_silhouette():
    X, _ = blobs()
    assert np.isnan(once(silhouette, X, np.full(len(X), -1)))

"""Curves hold the numbers that scikit-learn and the project's metrics give for the same rows."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    fbeta_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from ratchet import clusters, curves, metrics
from ratchet.curves import Judge, Performance
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType

BINARY, MULTICLASS = ProblemType.BINARY, ProblemType.MULTICLASS
REGRESSION, CLUSTERING = ProblemType.REGRESSION, ProblemType.CLUSTERING
ADAPTER = TypeAdapter(Performance)


def judge(problem, metric=None, **more):
    found = metrics.named(metric, problem) if metric else metrics.default(problem)
    return Judge(problem, found, 0.95, seed=1, **more)


def two_classes(n=3000, threshold=0.3, seed=0):
    random = np.random.default_rng(seed)
    y = (random.random(n) < 0.25).astype(int)
    chance = 1 / (1 + np.exp(1.5 - random.normal(1.6 * y, 1)))
    table = np.column_stack([1 - chance, chance])
    return y, Predictions((chance >= threshold).astype(int), table)


def several_classes(n=900, k=4, seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(k, size=n)
    table = np.exp(random.normal(size=(n, k)) + 1.3 * np.eye(k)[y])
    table /= table.sum(axis=1, keepdims=True)
    return y, Predictions(table.argmax(axis=1), table)


def quantities(n=500, seed=0):
    random = np.random.default_rng(seed)
    y = random.gamma(3, 10, n)
    return y, y + random.normal(0, 0.1 * y)


def binary(metric="f0.5", **more):
    y, predicted = two_classes()
    return curves.of_classes(y, predicted, ["no", "yes"], judge(BINARY, metric, **more))


def lies_on(curve, x, y):
    """Tell whether every point is one of others, but for rounding."""
    apart = np.abs(np.subtract.outer(curve.x, x)) + np.abs(np.subtract.outer(curve.y, y))
    return apart.min(axis=1).max() < 3e-5


def area(curve):
    return np.trapezoid(curve.y, curve.x)


# Two classes


def test_the_roc_curve_and_its_area_are_scikit_learns():
    y, predicted = two_classes()
    found = binary().ranking
    chance = predicted.probabilities[:, 1]
    assert found.auc == pytest.approx(roc_auc_score(y, chance), rel=1e-12)
    assert len(found.roc.x) <= curves.POINTS
    alarms, hits, _ = roc_curve(y, chance)
    assert lies_on(found.roc, alarms, hits)
    assert area(found.roc) == pytest.approx(found.auc, abs=2e-3)
    assert (found.roc.x[0], found.roc.y[0]) == (0, 0)
    assert (found.roc.x[-1], found.roc.y[-1]) == (1, 1)


def test_precision_and_recall_are_scikit_learns():
    y, predicted = two_classes()
    found = binary().ranking
    chance = predicted.probabilities[:, 1]
    assert found.average_precision == pytest.approx(average_precision_score(y, chance), rel=1e-12)
    precision, recall, _ = precision_recall_curve(y, chance)
    curve = found.precision_recall
    assert lies_on(curve, recall, precision)
    assert curve.x[0] < 0.01
    assert (curve.x[-1], curve.y[-1]) == (1, pytest.approx(y.mean(), rel=1e-4))
    assert found.share == y.mean()
    assert len(curve.x) <= curves.POINTS


def test_the_bins_of_the_calibration_give_the_metrics_error():
    y, predicted = two_classes()
    found = binary().reliability
    assert sum(each.rows for each in found.bins) == len(y)
    gap = sum(each.rows * abs(each.value - each.score) for each in found.bins) / len(y)
    assert gap == pytest.approx(found.error, rel=1e-12)
    for name, value in (("calibration_error", found.error), ("brier", found.brier)):
        assert value == metrics.score(metrics.named(name, BINARY), y, predicted)


def test_the_interval_of_a_frequency_is_wilsons_and_wider_where_rows_depend_on_each_other():
    y, predicted = two_classes()
    alone = binary().reliability.bins
    for each in alone:
        exact = stats.binomtest(round(each.score * each.rows), each.rows).proportion_ci(
            0.95, "wilson"
        )
        assert (each.score_low, each.score_high) == pytest.approx((exact.low, exact.high))
    chance = predicted.probabilities[:, 1]
    # Every cluster holds the same row ten times.
    tenfold = Predictions(
        np.repeat(predicted.values, 10), np.repeat(predicted.probabilities, 10, axis=0)
    )
    together = curves.of_classes(
        np.repeat(y, 10),
        tenfold,
        ["no", "yes"],
        judge(BINARY, clusters=np.repeat(np.arange(len(chance)), 10)),
    ).reliability.bins
    for one, ten in zip(alone, together, strict=True):
        assert ten.score == pytest.approx(one.score)
        assert ten.score_high - ten.score_low == pytest.approx(
            one.score_high - one.score_low, rel=0.01
        )


def test_the_confusion_matrix_is_of_the_decisions_and_sums_to_the_rows():
    y, predicted = two_classes()
    found = binary().confusion
    np.testing.assert_array_equal(found.counts, confusion_matrix(y, predicted.values))
    assert found.right == (predicted.values == y).sum()
    assert [(each.actual, each.said) for each in found.mistakes] in (
        [("no", "yes"), ("yes", "no")],
        [("yes", "no"), ("no", "yes")],
    )


def test_thresholds_follow_the_metric_that_was_optimised():
    y, predicted = two_classes()
    found = binary("f0.5", threshold=0.3).thresholds
    assert (found.metric, found.used, found.tuned) == ("f0.5", 0.3, True)
    chance = predicted.probabilities[:, 1]
    for place in range(5, len(found.at), 40):
        # The threshold itself was rounded to be kept.
        said = chance >= found.at[place] - 1e-6
        assert found.precision[place] == pytest.approx(precision_score(y, said), abs=3e-3)
        assert found.recall[place] == pytest.approx(recall_score(y, said), abs=3e-3)
        assert found.score[place] == pytest.approx(fbeta_score(y, said, beta=0.5), abs=3e-3)
    assert found.precision_used == precision_score(y, predicted.values)
    assert found.recall_used == recall_score(y, predicted.values)
    assert found.score_used == pytest.approx(fbeta_score(y, predicted.values, beta=0.5))
    assert found.score_best >= max(found.score) - 1e-4
    assert found.score_best >= found.score_used
    assert found.said == predicted.values.mean()
    assert len(found.at) <= curves.POINTS


def test_without_a_metric_of_decisions_f1_is_followed_at_one_half():
    y, predicted = two_classes(threshold=0.5)
    found = curves.of_classes(y, predicted, [0, 1], judge(BINARY, "log_loss")).thresholds
    assert (found.metric, found.used, found.tuned) == ("f1", 0.5, False)
    assert found.score_used == pytest.approx(f1_score(y, predicted.values))


def test_gain_counts_what_is_found_from_the_top():
    chance = np.array([0.9, 0.8, 0.7, 0.7, 0.1])
    y = np.array([1, 0, 1, 0, 0])
    predicted = Predictions((chance > 0.5).astype(int), np.column_stack([1 - chance, chance]))
    found = curves.of_classes(y, predicted, ["no", "yes"], judge(BINARY)).gain
    assert found.x == (0, 0.2, 0.4, 0.8, 1)
    assert found.y == (0, 0.5, 0.5, 1, 1)


def test_the_spread_of_the_probabilities_counts_every_row_of_either_class():
    y, predicted = two_classes()
    found = binary().scores
    assert [sum(rows) for rows in found.rows] == [(y == 0).sum(), (y == 1).sum()]
    assert found.medians[1] == np.median(predicted.probabilities[y == 1, 1])


# Several classes


def test_each_class_has_scikit_learns_scores():
    y, predicted = several_classes()
    found = curves.of_classes(y, predicted, list("abcd"), judge(MULTICLASS))
    theirs = precision_recall_fscore_support(y, predicted.values)
    for code, each in enumerate(found.classes):
        assert (each.precision, each.recall, each.f1, each.rows) == pytest.approx(
            tuple(column[code] for column in theirs)
        )
        assert each.auc == pytest.approx(
            roc_auc_score(y == code, predicted.probabilities[:, code]), rel=1e-12
        )
    whole = metrics.score(metrics.named("roc_auc_ovr", MULTICLASS), y, predicted)
    assert np.mean([each.auc for each in found.classes]) == pytest.approx(whole, rel=1e-12)
    assert area(found.mean_roc) == pytest.approx(whole, abs=3e-3)
    assert [each.auc for each in found.rankings] == sorted(each.auc for each in found.rankings)
    gap = sum(each.rows * abs(each.value - each.score) for each in found.reliability.bins)
    assert gap / len(y) == pytest.approx(found.reliability.error, rel=1e-12)
    assert found.reliability.error == metrics.score(
        metrics.named("calibration_error", MULTICLASS), y, predicted
    )


def test_of_fifty_classes_the_most_entangled_ones_are_shown_and_no_row_is_lost():
    y, predicted = several_classes(4000, 50)
    found = curves.of_classes(y, predicted, range(50), judge(MULTICLASS))
    counts = confusion_matrix(y, predicted.values, labels=range(50))
    wrong = counts - np.diag(np.diag(counts))
    confusion = found.confusion
    assert len(confusion.labels) == curves.LINES + 1
    assert (confusion.labels[-1], confusion.together) == ("40 others", 40)
    assert sum(map(sum, confusion.counts)) == 4000
    apart = [int(label) for label in confusion.labels[:-1]]
    entangled = wrong.sum(axis=0) + wrong.sum(axis=1)
    assert entangled[apart].min() >= np.delete(entangled, apart).max()
    np.testing.assert_array_equal(
        np.array(confusion.counts)[:-1, :-1], counts[np.ix_(apart, apart)]
    )
    first = confusion.mistakes[0]
    assert first.rows == wrong.max() == wrong[int(first.actual), int(first.said)]
    assert first.share == pytest.approx(first.rows / (y == int(first.actual)).sum())
    assert len(confusion.mistakes) == curves.PAIRS
    assert len(found.classes) == 50
    assert (len(found.rankings), found.ranked) == (curves.CLASSES, 50)
    hardest = sorted(each.auc for each in found.classes)[: curves.CLASSES]
    assert [each.auc for each in found.rankings] == hardest


def test_a_class_without_test_rows_has_no_curve_and_no_recall():
    y, predicted = several_classes(k=4)
    kept = y != 2
    found = curves.of_classes(y[kept], predicted.only(kept), list("abcd"), judge(MULTICLASS))
    absent = found.classes[2]
    assert (absent.rows, absent.recall, absent.auc) == (0, None, None)
    assert found.ranked == 3
    assert found.mean_roc is None
    assert sum(map(sum, found.confusion.counts)) == kept.sum()


# Quantities


def test_errors_are_actual_less_predicted():
    y, said = quantities()
    found = curves.of_quantities(y, said, "price", judge(REGRESSION))
    errors = y - said
    assert found.quantiles == pytest.approx(tuple(np.quantile(errors, curves.QUANTILES)))
    assert found.mae == pytest.approx(np.abs(errors).mean())
    assert found.bias == pytest.approx(errors.mean())
    assert sum(found.errors.rows[0]) == len(y)
    assert found.residuals.x == pytest.approx(
        said.clip(min(found.residuals.x), max(found.residuals.x)), rel=1e-4
    )


def test_the_mean_error_of_each_size_is_that_of_its_rows():
    y, said = quantities()
    found = curves.of_quantities(y, said, "price", judge(REGRESSION)).by_actual
    assert len(found) == curves.SIZES
    assert sum(each.rows for each in found) == len(y)
    for each in found:
        here = (y >= each.low) & (y <= each.high)
        assert here.sum() == each.rows
        assert each.score == pytest.approx(np.abs(y - said)[here].mean())
        assert each.score_low < each.score < each.score_high
    assert found[-1].score > 2 * found[0].score


def test_the_largest_errors_have_their_share():
    y = np.zeros(100)
    said = np.ones(100)
    said[0] = 101.0
    found = curves.of_quantities(y, said, "price", judge(REGRESSION)).largest
    assert [each.share for each in found] == list(curves.LARGEST)
    assert found[0].absolute == pytest.approx(101 / 200)
    assert found[0].squared == pytest.approx(101**2 / (101**2 + 99))


def test_many_rows_are_counted_in_cells_and_none_is_lost():
    y, said = quantities(20_000)
    found = curves.of_quantities(y, said, "price", judge(REGRESSION))
    for cloud in (found.predicted, found.residuals):
        assert sum(cloud.rows) == 20_000
        assert len(cloud.x) <= curves.CELLS**2
        assert cloud.width > 0
        assert cloud.outside < 0.01 * 20_000
    few = curves.of_quantities(*quantities(400), "price", judge(REGRESSION)).predicted
    assert (len(few.x), few.rows, few.width) == (400, (), 0)


def test_one_row_far_off_does_not_squeeze_the_others():
    y, said = quantities()
    y[3] = 1e6
    found = curves.of_quantities(y, said, "price", judge(REGRESSION)).predicted
    assert found.outside == 1
    assert max(found.y) < 1000


# Time


def test_spans_of_time_have_the_scores_of_their_rows():
    y, said = quantities(600)
    blocks = np.arange(600) // 60
    times = pd.Series(pd.date_range("2024-03-01", periods=600, freq="h")).sample(
        frac=1, random_state=0, ignore_index=True
    )
    order = times.rank().to_numpy().astype(int) - 1
    found = curves.over_time(y, Predictions(said), blocks[order], times, "sold", judge(REGRESSION))
    assert (found.metric, found.column, len(found.spans)) == ("rmse", "sold", 10)
    assert [each.begins for each in found.spans[:2]] == ["2024-03-01", "2024-03-03 12:00:00"]
    for number, each in enumerate(found.spans):
        here = blocks[order] == number
        assert each.rows == 60
        assert each.score == pytest.approx(np.sqrt(((y - said)[here] ** 2).mean()))
        assert each.low < each.score < each.high


def test_many_blocks_are_joined_and_none_is_left_out():
    y, said = quantities(1000)
    found = curves.over_time(
        y, Predictions(said), np.arange(1000) // 3, None, "sold", judge(REGRESSION)
    )
    assert len(found.spans) == curves.SPANS
    assert sum(each.rows for each in found.spans) == 1000
    assert found.spans[2].begins == "3"


# Clusters


def test_clusters_have_their_sizes_and_silhouettes():
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 1, 2, -1], 300)
    places = random.normal(size=(300, 3)) + 4 * labels[:, None]
    axes = clusters.axes(places)
    found = curves.of_clusters(places, axes, labels, judge(CLUSTERING))
    assert found.sizes[-1].label == -1
    assert found.sizes[-1].silhouette is None
    assert found.sizes[0].label == 1
    assert sum(each.rows for each in found.sizes) == 300
    whole = metrics.score(metrics.named("silhouette", CLUSTERING), places, Predictions(labels))
    of_clusters = sum(each.rows * (each.silhouette or 0) for each in found.sizes) / 300
    assert of_clusters == pytest.approx(whole)
    assert found.x == pytest.approx(axes[:, 0], rel=1e-4, abs=1e-6)
    assert 0.9 < sum(found.shares) <= 1


# Whatever comes


@cache
def everything():
    y, predicted = two_classes()
    one = np.zeros(40, dtype=int)
    same = np.full((40, 2), 0.5)
    few = np.arange(3)
    k = several_classes(600, 50)
    named = [f"<script>alert({n})</script> $x_{n}$ \n {'é' * 90}" for n in range(50)]
    price = quantities()
    constant = np.full(500, 3.0)
    of = curves.of_classes
    return {
        "binary": of(y, predicted, [False, True], judge(BINARY, "f1", threshold=0.3)),
        "one class": of(one, Predictions(one, same), ["a", "b"], judge(BINARY)),
        "one probability": of(
            np.arange(40) % 2, Predictions(one, same), ["a", "b"], judge(BINARY, "mcc")
        ),
        "three rows": of(
            few % 2, Predictions(few % 2, np.eye(2)[few % 2]), ["a", "b"], judge(BINARY)
        ),
        "fifty classes": of(*k, named, judge(MULTICLASS)),
        "three rows of several classes": of(
            few, Predictions(few, np.eye(4)[few]), list("abcd"), judge(MULTICLASS)
        ),
        "one of several classes": of(
            one, Predictions(one, np.eye(4)[one]), list("abcd"), judge(MULTICLASS)
        ),
        "quantities": curves.of_quantities(*price, "$a_b$ <b>", judge(REGRESSION)),
        "many quantities": curves.of_quantities(*quantities(5000), "price", judge(REGRESSION)),
        "constant answer": curves.of_quantities(price[0], constant, "p", judge(REGRESSION)),
        "constant truth": curves.of_quantities(constant, constant, "p", judge(REGRESSION)),
        "three quantities": curves.of_quantities(
            price[0][:3], price[1][:3], "p", judge(REGRESSION)
        ),
        "one cluster": curves.of_clusters(
            np.ones((5, 2)), np.zeros((5, 2)), np.zeros(5, int), judge(CLUSTERING)
        ),
        "all noise": curves.of_clusters(
            np.eye(5), np.eye(5)[:, :2], np.full(5, -1), judge(CLUSTERING)
        ),
    }


@pytest.mark.parametrize("name", everything())
def test_whatever_comes_is_the_same_after_a_journey_through_json(name):
    answers = everything()[name]
    problem = {
        curves.Binary: BINARY,
        curves.Multiclass: MULTICLASS,
        curves.Regression: REGRESSION,
        curves.Clusters: CLUSTERING,
    }[type(answers)]
    part = Performance(problem, 40, 0.95, answers, None)
    text = ADAPTER.dump_json(part)
    assert ADAPTER.validate_json(text) == part
    assert b"NaN" not in text
    assert len(text) < 100_000


def test_the_same_rows_give_the_same_curves():
    assert everything.__wrapped__() == everything()


def test_rows_of_one_class_have_no_ranking():
    found = everything()["one class"]
    assert (found.ranking, found.gain, found.thresholds) == (None, None, None)
    assert found.confusion.counts == ((40, 0), (0, 0))
    assert found.reliability.error == 0.5


def test_a_constant_probability_ranks_by_chance():
    found = everything()["one probability"]
    assert found.ranking.auc == 0.5
    assert (found.ranking.roc.x, found.ranking.roc.y) == ((0, 1), (0, 1))
    assert len(found.reliability.bins) == 1

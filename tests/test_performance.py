"""How good a leader is stands in pictures, whose words hold their numbers, whatever came."""

import re
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ratchet import clusters, curves, drawing, figures, metrics
from ratchet.conformal import Coverage
from ratchet.curves import Judge, Performance
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.report import performance

SVG = "{http://www.w3.org/2000/svg}"


def judge(problem, metric=None, **more):
    found = metrics.named(metric, problem) if metric else metrics.default(problem)
    return Judge(problem, found, 0.95, seed=1, **more)


@cache
def two_classes(n=2000):
    random = np.random.default_rng(0)
    y = (random.random(n) < 0.25).astype(int)
    chance = 1 / (1 + np.exp(1.5 - random.normal(1.6 * y, 1)))
    return y, Predictions((chance >= 0.3).astype(int), np.column_stack([1 - chance, chance]))


@cache
def parts():
    """A part of the report for each kind of problem, and for what is hard to draw."""
    random = np.random.default_rng(0)
    of = curves.of_classes
    y, predicted = two_classes()
    times = pd.Series(pd.date_range("2024-03-01", periods=len(y), freq="h"))
    strange = [f"<script>alert({n})</script> $x_{n}$ & \n {'é' * 90}" for n in range(50)]
    fifty = random.integers(50, size=3000)
    table = np.exp(random.normal(size=(3000, 50)) + 1.3 * np.eye(50)[fifty])
    table /= table.sum(axis=1, keepdims=True)
    price = random.gamma(3, 10_000, 5000)
    said = price + random.normal(0, 0.1 * price)
    places = random.normal(size=(400, 3)) + 4 * random.integers(3, size=400)[:, None]
    labels = (places[:, 0] // 4).astype(int)
    one = np.zeros(40, dtype=int)
    same = np.full((40, 2), 0.5)
    few = np.arange(3)
    binary, several = ProblemType.BINARY, ProblemType.MULTICLASS
    regression, clustering = ProblemType.REGRESSION, ProblemType.CLUSTERING
    over_time = curves.over_time(
        y, predicted, np.arange(2000) // 100, times, "sold", judge(binary, "f0.5")
    )
    found = {
        "binary": of(y, predicted, ["no", "yes"], judge(binary, "f0.5", threshold=0.3)),
        "one class": of(one, Predictions(one, same), ["$a$", "_b_"], judge(binary)),
        "one probability": of(
            np.arange(40) % 2, Predictions(one, same), ["a", "b"], judge(binary, "mcc")
        ),
        "three rows": of(
            few % 2, Predictions(few % 2, np.eye(2)[few % 2]), ["a", "b"], judge(binary)
        ),
        "several": of(
            fifty % 4,
            Predictions(table[:, :4].argmax(axis=1), table[:, :4] / table[:, :4].sum(1)[:, None]),
            list("abcd"),
            judge(several),
        ),
        "fifty": of(fifty, Predictions(table.argmax(axis=1), table), strange, judge(several)),
        "three of several": of(few, Predictions(few, np.eye(4)[few]), list("abcd"), judge(several)),
        "regression": curves.of_quantities(price, said, "price_$x$_in_€ <b>", judge(regression)),
        "few quantities": curves.of_quantities(price[:900], said[:900], "p", judge(regression)),
        "three quantities": curves.of_quantities(price[:3], said[:3], "p", judge(regression)),
        "constant": curves.of_quantities(0 * price, 0 * price, "p", judge(regression)),
        "clustering": curves.of_clusters(places, clusters.axes(places), labels, judge(clustering)),
        "one cluster": curves.of_clusters(
            np.ones((5, 2)), np.zeros((5, 2)), np.zeros(5, int), judge(clustering)
        ),
        "all noise": curves.of_clusters(
            np.eye(5), np.eye(5)[:, :2], np.full(5, -1), judge(clustering)
        ),
    }
    problems = {
        curves.Binary: binary,
        curves.Multiclass: several,
        curves.Regression: regression,
        curves.Clusters: clustering,
    }
    return {
        name: Performance(
            problems[type(answers)],
            len(y) if name == "binary" else 3,
            0.95,
            answers,
            over_time if name == "binary" else None,
        )
        for name, answers in found.items()
    }


@cache
def blocks(name):
    return performance.blocks(parts()[name])


def drawings(name):
    return {each.name: each for block in blocks(name) for each in block.drawings}


def words(svg):
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("name", "pictures"),
    {
        "binary": "roc precision_recall gain lift calibration scores"
        " confusion thresholds over_time",
        "several": "roc precision_recall calibration confusion",
        "fifty": "roc precision_recall calibration confusion",
        "regression": "predicted residuals errors errors_by_size",
        "clustering": "cluster_sizes clusters",
        "one class": "calibration scores confusion",
    }.items(),
)
def test_each_problem_has_its_pictures(name, pictures):
    assert set(drawings(name)) == set(pictures.split())


@pytest.mark.parametrize("name", parts())
def test_every_picture_can_be_read_on_a_phone_in_either_mode_and_is_small(name):
    for each in drawings(name).values():
        root = ElementTree.fromstring(each.svg)
        assert len(each.svg) < 100_000
        assert float(root.get("width").removesuffix("pt")) <= 72 * drawing.WIDTH
        # Every colour is one that the page sets, with this as its fallback.
        colors = re.findall(r".{0,20}#[0-9a-fA-F]{6}\b", each.svg)
        assert colors
        assert all(re.search(r"var\(--[\w-]+, #\w{6}$", color) for color in colors)
        assert each.told.endswith(".")
        assert "nan" not in each.told.lower()
        assert ' id="figure' not in each.svg


def test_the_words_of_two_classes_hold_their_numbers():
    y, predicted = two_classes()
    chance = predicted.probabilities[:, 1]
    found = drawings("binary")
    assert f"{roc_auc_score(y, chance):.4f}" in found["roc"].told
    assert f"{average_precision_score(y, chance):.4f}" in found["precision_recall"].told
    assert f"{y.mean():.4f}" in found["precision_recall"].told
    assert f"area {roc_auc_score(y, chance):.4f}" in words(found["roc"].svg)
    first = np.argsort(-chance)[:200]
    lift = y[first].mean() / y.mean()
    assert f"{lift:.2f} times as frequent" in found["lift"].told
    misses = int(((y == 1) & (predicted.values == 0)).sum())
    assert f"Of {y.sum()} rows of class yes, {misses} are taken for class no." in (
        found["confusion"].told
    )
    assert "At the threshold used, 0.3, f0.5 is" in found["thresholds"].told
    assert "used: 0.3" in words(found["thresholds"].svg)
    assert {"precision", "recall", "f0.5"} <= set(words(found["thresholds"].svg))
    spans = parts()["binary"].over_time.spans
    worst = min(spans, key=lambda each: each.score)
    assert f"worst, {worst.score:.4f}, from {worst.begins[:16]}" in found["over_time"].told
    [decisions] = [block for block in blocks("binary") if block.title == "Decisions"]
    assert decisions.lines[0].startswith("Class yes is predicted from a probability of 0.3 on")
    cells = [[cell.text for cell in row.cells] for row in decisions.table.rows]
    assert cells[1][:3] == ["yes", str(misses), str(y.sum() - misses)]


def test_the_words_of_several_classes_name_the_hardest_one_and_what_is_left_out():
    answers = parts()["fifty"].answers
    [ranking] = [block for block in blocks("fifty") if block.title.startswith("Each class")]
    assert ranking.lines[0].startswith(f"Class {answers.rankings[0].label} is the hardest")
    assert ranking.lines[1:] == ("Of 50 classes the 6 hardest are drawn.",)
    assert "40 classes that are confused less share the last line." in (
        drawings("fifty")["confusion"].told
    )
    by_class = next(block for block in blocks("several") if block.title == "By class").table
    first = parts()["several"].answers.classes[0]
    assert [cell.text for cell in by_class.rows[0].cells][:2] == ["a", f"{first.precision:.4f}"]
    long = next(block for block in blocks("fifty") if block.title == "By class").table
    assert (len(long.rows), long.more) == (40, 10)


def test_the_words_of_quantities_hold_their_numbers():
    answers = parts()["regression"].answers
    found = drawings("regression")
    assert f"{answers.mae:,.1f}" in found["predicted"].told
    worst = max(answers.by_actual, key=lambda each: each.score)
    assert f"{worst.score:,.1f}, for the 500 rows" in found["errors_by_size"].told
    lines = " ".join(line for block in blocks("regression") for line in block.lines)
    assert f"hold {100 * answers.largest[0].absolute:.3g} % of the sum of absolute errors" in lines
    assert "exact" in words(found["predicted"].svg)
    assert "Intervals of" not in lines


def test_what_intervals_hold_is_told_where_there_are_any():
    part = replace(parts()["regression"], coverage=Coverage(0.9375, 12.5))
    lines = " ".join(line for block in performance.blocks(part) for line in block.lines)
    assert (
        "Intervals of 95 % around single answers, as predict gives them, hold the actual value of"
        " 93.8 % of the rows. In the mean they are 12.500 wide." in lines
    )


def test_the_words_of_clusters_hold_their_numbers():
    answers = parts()["clustering"].answers
    largest = answers.sizes[0]
    assert (
        f"with {100 * largest.share:.3g} % of the rows"
        in drawings("clustering")["cluster_sizes"].told
    )


def test_names_are_names_and_neither_formulas_nor_code():
    for name, part in (("fifty", "<script>"), ("regression", "$x$"), ("one class", "$a$")):
        for each in drawings(name).values():
            assert "<script" not in each.svg
        assert any(part in word for each in drawings(name).values() for word in words(each.svg))


def test_the_same_facts_give_the_same_pictures():
    assert performance.blocks(parts()["regression"]) == blocks("regression")


def test_learning_curves_are_those_that_train_has_drawn(tmp_path):
    trials = pd.DataFrame(
        [{"backend": "a", "family": "a", "params": "{}", "score": 1.0, "elapsed": 1.0}]
    ).assign(error=None)
    loss = metrics.named("log_loss", ProblemType.BINARY)
    members = [figures.Member("a & b", 1.0, (0.5, 0.4, 0.45))]
    assert performance.learning_curves(tmp_path) is None
    figures.draw(tmp_path / "figures", trials, loss, members)
    [block] = performance.blocks(parts()["one cluster"], tmp_path)[-1:]
    [found] = block.drawings
    assert found.svg == (tmp_path / "figures" / "learning_curves.svg").read_text(encoding="utf-8")
    assert found.told == "Best validation score of each member: a & b: 0.4000 at round 2."

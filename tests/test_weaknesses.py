"""A slice on which a model is bad is found, and chance alone seldom looks like one."""

import numpy as np
import pandas as pd
import pytest
from formulas import schema, two, typed

from ratchet import metrics, weaknesses
from ratchet.backends import blas
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.schema import Kind
from ratchet.weaknesses import MIN_ROWS, SHOWN, SHOWN_COLUMNS


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in the step: matrices are small, and the tests share the cores."""
    with blas.ONE_THREAD:
        yield


RMSE = metrics.named("rmse", ProblemType.REGRESSION)
KINDS = {
    "size": Kind.NUMBER,
    "town": Kind.CATEGORY,
    "new": Kind.BOOLEAN,
    "sold": Kind.DATETIME,
    "note": Kind.TEXT,
    "rooms": Kind.NUMBER,
}
SCHEMA = schema(ProblemType.REGRESSION, **KINDS)


def rows(n=1200, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.uniform(0, 100, n),
            "town": rng.choice(["Aachen", "Berlin", "Cottbus"], n),
            "new": rng.choice([0.0, 1.0], n),
            "sold": pd.date_range("2024-01-01", periods=n, freq="h"),
            "note": [f"a note of its own, number {number}, " * 5 for number in range(n)],
            "rooms": rng.integers(1, 6, n).astype(float),
        }
    )
    return typed(frame, SCHEMA)


def measure(frame, y, said, of=SCHEMA, metric=RMSE, seed=1, clusters=None):
    return weaknesses.measure(
        metric, of, frame, y, said, of.names, confidence=0.95, seed=seed, clusters=clusters
    )


def quantities(frame, times=1.0, shift=0.0, seed=0):
    """Give a truth, and answers whose errors are so many times as large."""
    rng = np.random.default_rng(seed)
    y = rng.normal(50, 10, len(frame))
    return y, Predictions(y + times * rng.normal(size=len(frame)) + shift)


def named(found):
    return [tuple(zip(each.names, each.labels, strict=True)) for each in found.slices if each.sure]


def test_a_slice_with_larger_errors_is_found_and_comes_first():
    frame = rows()
    y, said = quantities(frame, np.where(frame["town"] == "Berlin", 2, 1))
    found = measure(frame, y, said)
    assert named(found) == [(("town", "Berlin"),)]
    worst = found.slices[0]
    here = (frame["town"] == "Berlin").to_numpy()
    errors = said.values - y
    assert worst.score == pytest.approx(np.sqrt((errors[here] ** 2).mean()))
    assert worst.others == pytest.approx(np.sqrt((errors[~here] ** 2).mean()))
    assert worst.worse_by == pytest.approx(worst.score - worst.others)
    assert worst.n_rows == here.sum()
    assert 0 < worst.low < worst.worse_by < worst.high


@pytest.mark.parametrize("seed", range(8))
def test_in_a_table_without_a_bad_slice_none_is_sure(seed):
    frame = rows(seed=seed)
    found = measure(frame, *quantities(frame, seed=seed + 100), seed=seed)
    assert found.n_slices > 80
    assert found.n_sure == 0
    assert not any(each.sure for each in found.slices)


def test_what_is_bad_for_two_columns_together_only_is_found():
    frame = rows(3000)
    bad = (frame["town"] == "Berlin") & (frame["new"] == 1)
    y, said = quantities(frame, np.where(bad, 3, 1))
    found = measure(frame, y, said)
    assert (("town", "Berlin"), ("new", "true")) in named(found)


def test_gaps_and_parts_of_numbers_and_dates_are_slices():
    frame = rows()
    frame.loc[frame.index % 5 == 0, "rooms"] = None
    y, said = quantities(frame, np.where(frame["rooms"].isna(), 3, 1))
    assert named(measure(frame, y, said))[0] == (("rooms", "missing"),)
    for column in ("size", "sold"):
        late = frame[column] > frame[column].quantile(0.75)
        y, said = quantities(frame, np.where(late, 3, 1))
        (((name, label),), *_) = named(measure(frame, y, said))
        assert name == column
        assert " to " in label


def test_a_score_that_should_be_large_is_worse_where_it_is_small():
    of = schema(ProblemType.BINARY, ("no", "yes"), **KINDS)
    frame = rows(2000)
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 2000)
    right = np.where(frame["town"] == "Berlin", 0.55, 0.85)
    chance = np.where(rng.random(2000) < right, y, 1 - y) * 0.6 + 0.2
    said = Predictions((chance > 0.5).astype(int), two(chance))
    for name in ("accuracy", "roc_auc", "log_loss"):
        metric = metrics.named(name, of.problem)
        found = measure(frame, y, said, of, metric)
        worst = found.slices[0]
        assert (worst.names, worst.labels) == (("town",), ("Berlin",))
        assert metric.loss(worst.score) > metric.loss(worst.others)
        assert worst.low > 0
        assert (found.crossed == ()) is (name == "roc_auc")


def test_the_bias_says_which_way_the_answers_are_wrong():
    frame = rows()
    town = (frame["town"] == "Berlin").to_numpy()
    y, said = quantities(frame, shift=np.where(town, -5, 0))
    worst = measure(frame, y, said).slices[0]
    assert worst.labels == ("Berlin",)
    assert worst.bias == pytest.approx(-5, abs=0.3)


def test_a_slice_that_is_another_one_under_a_second_name_is_listed_once():
    of = schema(ProblemType.REGRESSION, town=Kind.CATEGORY, zone=Kind.CATEGORY, new=Kind.BOOLEAN)
    frame = rows().assign(zone=lambda each: "zone of " + each["town"])
    y, said = quantities(frame, np.where(frame["town"] == "Berlin", 2, 1))
    found = measure(frame, y, said, of)
    assert len(named(found)) == 1
    assert found.n_sure > 1


def test_rows_that_stand_together_are_one_piece_of_evidence():
    frame = rows()
    y, said = quantities(frame)
    codes = np.arange(1200) // 40
    # One of thirty groups is far off: with it Berlin seems bad, which other groups do not say.
    frame["town"] = np.where(codes == 3, "Berlin", frame["town"])
    off = Predictions(said.values + np.where(codes == 3, 8.0, 0.0))
    assert measure(frame, y, off).n_sure
    assert not measure(frame, y, off, clusters=codes).n_sure


def test_slices_of_few_rows_are_counted_and_not_judged():
    frame = rows(300)
    frame["town"] = ["Aachen"] * 290 + ["Berlin"] * 10
    y, said = quantities(frame, np.where(frame["town"] == "Berlin", 50, 1))
    found = measure(frame, y, said)
    assert found.n_small >= 2  # Berlin, and Aachen, which leaves too few
    assert not any("town" in each.names for each in found.slices)
    tiny = measure(frame[:MIN_ROWS], y[:MIN_ROWS], said.only(np.arange(MIN_ROWS)))
    assert (tiny.n_slices, tiny.slices) == (0, ())
    assert tiny.rows


def test_where_a_score_is_not_defined_there_is_no_interval():
    of = schema(ProblemType.BINARY, ("no", "yes"), town=Kind.CATEGORY)
    frame = rows(600)
    y = np.random.default_rng(0).integers(0, 2, 600)
    y[(frame["town"] == "Berlin").to_numpy()] = 0
    said = Predictions(y, two(np.full(600, 0.5)))
    found = measure(frame, y, said, of, metrics.named("roc_auc", of.problem))
    assert found.n_unknown == 1


def test_the_worst_answers_come_with_the_columns_that_matter_and_long_text_is_cut():
    frame = rows()
    y, said = quantities(frame)
    said.values[17] = y[17] + 1000
    said.values[600] = y[600] - 500
    found = measure(frame, y, said)
    assert [row.number for row in found.rows[:2]] == [18, 601]
    assert len(found.rows) == SHOWN
    first = found.rows[0]
    assert first.loss == pytest.approx(1000)
    assert [name for name, _ in first.values] == SCHEMA.names[:SHOWN_COLUMNS]
    told = dict(first.values)
    assert told["town"] == frame["town"][17]
    assert told["new"] in ("true", "false")
    assert told["sold"] == "2024-01-01 17:00:00"
    assert len(told["note"]) == 60
    assert told["note"].endswith("…")


def test_of_classes_the_worst_answers_gave_the_truth_least():
    of = schema(ProblemType.MULTICLASS, ("a", "b", "c"), town=Kind.CATEGORY)
    frame = rows(100)
    y = np.zeros(100, dtype=int)
    table = np.tile([0.8, 0.1, 0.1], (100, 1))
    table[7] = [0.01, 0.09, 0.9]
    found = measure(
        frame, y, Predictions(table.argmax(axis=1), table), of, metrics.default(of.problem)
    )
    worst = found.rows[0]
    assert (worst.number, worst.actual, worst.predicted) == (8, "a", "c")
    assert worst.loss == pytest.approx(0.01)
    without = measure(
        frame,
        y,
        Predictions(table.argmax(axis=1), None),
        of,
        metrics.named("accuracy", of.problem),
    )
    assert [(row.number, row.loss) for row in without.rows] == [(8, 0.0)]


def test_the_same_seed_gives_the_same_numbers():
    frame = rows()
    y, said = quantities(frame)
    one, same, other = (measure(frame, y, said, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other

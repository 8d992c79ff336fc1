"""What the score loses without a column tells what drives a model, and what does not."""

import numpy as np
import pandas as pd
import pytest
from formulas import Chance, Labels, Quantity, schema, two, typed

from ratchet import importance, metrics
from ratchet.importance import AGREEMENT, MAX_ROWS, REPEATS, SHOWN, Judged
from ratchet.problem import ProblemType
from ratchet.schema import Kind

RMSE = metrics.named("rmse", ProblemType.REGRESSION)
R2 = metrics.named("r2", ProblemType.REGRESSION)
LOG_LOSS = metrics.named("log_loss", ProblemType.BINARY)
NUMBERS = schema(ProblemType.REGRESSION, noise=Kind.NUMBER, driver=Kind.NUMBER, idle=Kind.NUMBER)


def rows(n=600, seed=0, of=NUMBERS):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.normal(size=n) for name in of.names})


def judged(formula, n=600, seed=0, noise=1.0, of=NUMBERS, clusters=None):
    frame = rows(n, seed, of)
    y = formula(frame).to_numpy() + noise * np.random.default_rng(seed + 100).normal(size=n)
    return Judged(frame, y, clusters)


def driven(frame):
    return 3 * frame["driver"]


def measure(model, valid, test=None, of=NUMBERS, metric=RMSE, seed=1, seen=False):
    return importance.measure(
        model, of, metric, valid, test or valid, seen=seen, confidence=0.95, seed=seed
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", [RMSE, R2])
def test_the_column_that_drives_all_comes_first_and_noise_is_not_sure(seed, metric):
    # The model has learned a little of its noise by heart, as models do.
    model = Quantity(lambda frame: driven(frame) + 0.05 * frame["noise"])
    found = measure(model, judged(driven, seed=seed), judged(driven, seed=seed + 50), metric=metric)
    first, *others = found.columns
    assert first.name == "driver"
    assert first.valid.sure
    assert first.test.sure
    assert first.valid.low < first.valid.value < first.valid.high
    assert {column.name for column in others} == {"noise", "idle"}
    for column in others:
        assert column.valid.low <= 0 <= column.valid.high
        assert not column.test.sure


def test_a_column_that_the_model_does_not_look_at_costs_exactly_nothing():
    found = measure(Quantity(driven), judged(driven))
    assert [column.valid.value for column in found.columns[1:]] == [0, 0]
    assert all(set(column.valid.repeats) == {0} for column in found.columns[1:])


def test_what_is_lost_is_what_the_formula_says():
    # Shuffled, the error is the noise and twice the driver's variance, ninefold.
    found = measure(Quantity(driven), judged(driven, n=1000))
    expected = np.sqrt(1 + 2 * 9) - 1
    assert found.columns[0].valid.value == pytest.approx(expected, rel=0.1)
    assert len(found.columns[0].valid.repeats) == REPEATS
    assert len(set(found.columns[0].valid.repeats)) == REPEATS
    assert np.mean(found.columns[0].valid.repeats) == pytest.approx(
        found.columns[0].valid.value, rel=0.01
    )
    assert found.score == pytest.approx(1, rel=0.1)


def test_what_was_learned_by_heart_counts_on_rows_that_were_seen_only():
    valid, test = judged(driven, seed=1), judged(driven, seed=2)
    by_heart = dict(zip(valid.rows["noise"], valid.y - driven(valid.rows), strict=True))
    model = Quantity(
        lambda frame: driven(frame) + 0.8 * frame["noise"].map(by_heart).fillna(0.0).to_numpy()
    )
    found = measure(model, valid, test, seen=True)
    noise = next(column for column in found.columns if column.name == "noise")
    assert noise.valid.sure
    assert not noise.test.sure


def test_columns_of_the_same_content_are_named_and_shuffled_together():
    of = schema(ProblemType.REGRESSION, one=Kind.NUMBER, other=Kind.NUMBER, third=Kind.NUMBER)
    frame = rows(of=of)
    frame["other"] = frame["one"] * 2
    y = 2 * frame["one"].to_numpy() + np.random.default_rng(5).normal(size=600)
    model = Quantity(lambda frame: frame["one"] + 0.5 * frame["other"])
    found = measure(model, Judged(frame, y), of=of)
    (group,) = found.groups
    assert set(group.names) == {"one", "other"}
    assert group.valid.low > max(column.valid.value for column in found.columns)


def test_labels_truth_dates_text_and_gaps_are_shuffled_as_they_are():
    of = schema(
        ProblemType.REGRESSION,
        town=Kind.CATEGORY,
        new=Kind.BOOLEAN,
        sold=Kind.DATETIME,
        note=Kind.TEXT,
    )
    n = 400
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "town": rng.choice(["Aachen", "Berlin"], n),
            "new": rng.choice([0.0, 1.0], n),
            "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
            "note": rng.choice(["short", "a longer note"], n),
        }
    )
    for name in frame:
        frame.loc[rng.choice(n, 20, replace=False), name] = None
    frame = typed(frame, of)

    def formula(rows):
        for name in of.names:
            assert rows[name].dtype == of.columns[of.names.index(name)].dtype
        return (
            5.0 * (rows["town"] == "Berlin").to_numpy()
            + 3.0 * rows["new"].fillna(0.5).to_numpy()
            + 2.0 * (rows["sold"].dt.month.fillna(6) > 5).to_numpy()
            + 1.0 * rows["note"].isna().to_numpy()
        )

    found = measure(Quantity(formula), Judged(frame, formula(frame) + rng.normal(size=n)), of=of)
    assert [column.name for column in found.columns] == ["town", "new", "sold", "note"]
    assert all(column.valid.sure for column in found.columns)


def test_a_classifier_is_judged_by_its_probabilities_or_its_decisions():
    of = schema(ProblemType.BINARY, ("no", "yes"), noise=Kind.NUMBER, driver=Kind.NUMBER)
    frame = rows(of=of)
    chance = 1 / (1 + np.exp(-2 * frame["driver"].to_numpy()))
    y = (np.random.default_rng(4).random(600) < chance).astype(int)
    model = Chance(["no", "yes"], lambda rows: two(1 / (1 + np.exp(-2 * rows["driver"]))))
    for metric in (LOG_LOSS, metrics.named("accuracy", of.problem)):
        found = measure(model, Judged(frame, y), of=of, metric=metric)
        assert [column.name for column in found.columns] == ["driver", "noise"]
        assert found.columns[0].valid.sure
        assert found.score == pytest.approx(
            metrics.score(metric, y, metrics.Predictions((chance > 0.5).astype(int), two(chance)))
        )


def test_rows_that_stand_together_make_the_interval_wider():
    def alike(frame):
        return 3 * frame["driver"]

    frame = rows(600)
    codes = np.repeat(np.arange(30), 20)
    # What a whole group has in common is one piece of evidence.
    frame["driver"] = np.repeat(np.random.default_rng(0).standard_t(3, 30), 20)
    y = alike(frame).to_numpy() + np.random.default_rng(1).normal(size=600)
    widths = []
    for clusters in (None, codes):
        best = measure(Quantity(alike), Judged(frame, y, clusters)).columns[0]
        assert best.name == "driver"
        widths.append(best.valid.high - best.valid.low)
    assert widths[1] > 1.5 * widths[0]


def test_of_a_wide_table_the_best_columns_have_intervals_and_fewer_rows_are_asked():
    of = schema(ProblemType.REGRESSION, **{f"x{n}": Kind.NUMBER for n in range(120)})
    model = Quantity(lambda frame: frame["x77"] + frame["x5"])
    valid = judged(lambda frame: frame["x77"] + frame["x5"], n=2000, of=of)
    found = measure(model, valid, of=of)
    assert {column.name for column in found.columns[:2]} == {"x77", "x5"}
    assert len(found.columns) == 120
    assert [column.test is not None for column in found.columns] == [True] * SHOWN + [False] * 100
    assert all(len(column.valid.repeats) == 1 for column in found.columns[SHOWN:])
    assert found.n_valid < MAX_ROWS
    assert sum(model.calls) < 120_000
    assert len(model.calls) < 30


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    one, same, other = (measure(Quantity(driven), judged(driven), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.columns[0].valid.repeats != other.columns[0].valid.repeats


def test_a_score_that_is_not_defined_has_no_importance_and_fails_nothing():
    of = schema(ProblemType.BINARY, ("no", "yes"), driver=Kind.NUMBER)
    frame = rows(100, of=of)
    model = Chance(["no", "yes"], lambda rows: two(1 / (1 + np.exp(-rows["driver"]))))
    auc = metrics.named("roc_auc", of.problem)
    found = measure(model, Judged(frame, np.zeros(100, dtype=int)), of=of, metric=auc)
    (only,) = found.columns
    assert found.score is None
    assert (only.valid.value, only.valid.low, only.valid.repeats) == (None, None, ())


def test_of_a_clustering_the_agreement_with_its_own_clusters_is_lost():
    of = schema(ProblemType.CLUSTERING, target=None, noise=Kind.NUMBER, driver=Kind.NUMBER)
    frame = rows(of=of)
    model = Labels(lambda rows: (rows["driver"].to_numpy() > 0).astype(int))
    metric = metrics.default(of.problem)
    found = measure(model, Judged(frame, np.zeros(600)), of=of, metric=metric)
    assert (found.metric, found.score) == (AGREEMENT, None)
    driver, noise = found.columns
    assert driver.name == "driver"
    assert driver.valid.value == pytest.approx(1, abs=0.05)
    assert noise.valid.value == 0
    assert driver.valid.low is None

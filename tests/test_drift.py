"""What is kept of training rows, and what new ones are found to be beside them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ratchet import drift, metrics
from ratchet.drift import (
    ColumnReference,
    DriftReport,
    Expected,
    Finding,
    LiveScore,
    Reference,
    Verdict,
    distributions,
    live,
    movement,
    together,
)
from ratchet.drift.distributions import Labels, Quantities
from ratchet.drift.movement import Aspect
from ratchet.errors import RatchetError
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import Drift, Monitor, Watch

# From the smallest size on, so that only the tests decide.
ANY_SIZE = Monitor(
    significance=0.05,
    watch=Watch(psi=1e-9, distance=1e-9, missing=1e-9, new_labels=1e-9, auc=0.5001, loss=0),
    drift=Drift(psi=1e-9, distance=1e-9, missing=1e-9, new_labels=1e-9, auc=0.5001, loss=0),
)
RMSE = metrics.named("rmse", ProblemType.REGRESSION)
AUC = metrics.named("roc_auc", ProblemType.BINARY)


def schema_of(frame: pd.DataFrame, **kinds: Kind) -> Schema:
    """Say what the columns are: numbers, unless another kind is named."""
    columns = tuple(
        Column(name, kinds.get(name, Kind.NUMBER), str(frame[name].dtype), True, 1)
        for name in frame.columns
    )
    return Schema(columns, None, ProblemType.CLUSTERING)


def reference_of(frame: pd.DataFrame, sample_rows: int = 5000, growing=(), **kinds: Kind):
    schema = schema_of(frame, **kinds)
    return Reference.of(frame, schema, growing=growing, sample_rows=sample_rows, seed=0)


def compared(before: pd.DataFrame, now: pd.DataFrame, limits=None, **more: object) -> DriftReport:
    kept = reference_of(before, **more)
    return drift.compare(kept, now.reset_index(drop=True), limits or Monitor(), seed=0)


def table(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.lognormal(size=n),
            "town": pd.Series(rng.choice(["a", "b", "c", "d"], n, p=[0.5, 0.3, 0.15, 0.05])),
            "rooms": rng.integers(1, 6, n).astype(float),
            "new": (rng.random(n) < 0.3).astype(float),
        }
    ).assign(size=lambda rows: rows["size"].mask(rng.random(n) < 0.1))


KINDS = {"town": Kind.CATEGORY, "new": Kind.BOOLEAN}


def column(report: DriftReport, name: str):
    return next(each for each in report.columns if each.name == name)


# False alarms


def test_rows_without_drift_are_called_moved_no_more_often_than_was_said():
    """By the tests alone, whatever the size; without a correction it would be most draws."""
    rng = np.random.default_rng(0)
    kinds = {f"label {i}": Kind.CATEGORY for i in range(4)}

    def rows(n: int) -> pd.DataFrame:
        labels = {name: rng.choice(list("abcdef"), n) for name in kinds}
        numbers = {f"number {i}": rng.normal(size=n) for i in range(4)}
        return pd.DataFrame(labels | numbers).mask(rng.random((n, 8)) < 0.1)

    draws, alarms = 60, 0
    kept = [reference_of(rows(5000), sample_rows=0, **kinds) for _ in range(10)]
    for seed in range(draws):
        found = drift.compare(kept[seed % len(kept)], rows(200), ANY_SIZE, seed=0)
        assert found.n_tests == 16
        alarms += found.verdict is not Verdict.NONE
    assert alarms <= stats.binom.ppf(0.999, draws, ANY_SIZE.significance)


def test_a_classifier_tells_rows_of_one_kind_apart_no_more_often_than_was_said():
    draws = 24
    rng = np.random.default_rng(1)
    ps = []
    for seed in range(draws):
        rows = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
        kept = reference_of(rows.iloc[:200])
        ps.append(together.tell(kept.columns, kept.sample, rows.iloc[200:], seed=seed).p)
    assert sum(p < 0.1 for p in ps) <= stats.binom.ppf(0.999, draws, 0.1)
    assert min(ps) < 0.9


def test_labels_that_go_on_appearing_are_expected_to():
    """Half of the labels occur once: as many of the next rows have one that nobody has seen."""
    rng = np.random.default_rng(0)
    draws, alarms, expected, seen = 60, 0, [], []
    for _ in range(draws):
        names = pd.DataFrame({"name": [f"n{each}" for each in rng.zipf(1.6, 1500)]})
        found = compared(names[:1000], names[1000:], ANY_SIZE, sample_rows=0, name=Kind.CATEGORY)
        alarms += any("training did not have" in each for each in found.reasons)
        expected.append(column(found, "name").new_labels_before)
        seen.append(column(found, "name").new_labels)
    assert np.mean(seen) > 0.05
    assert np.mean(seen) == pytest.approx(np.mean(expected), rel=0.1)
    assert alarms <= stats.binom.ppf(0.999, draws, ANY_SIZE.significance)


# What is found


def test_nothing_moved():
    found = compared(table(4000), table(1000, seed=1), **KINDS)
    assert (found.verdict, found.reasons, found.n_rows) == (Verdict.NONE, (), 1000)
    assert found.n_reference == 4000
    assert found.together.auc == pytest.approx(0.5, abs=0.05)


def test_a_shifted_column_is_drift_and_says_by_how_much():
    now = table(1000, seed=1)
    now["size"] *= 2
    found = compared(table(4000), now, **KINDS)
    assert found.verdict is Verdict.DRIFT
    moved = found.columns[0]
    assert (moved.name, moved.verdict) == ("size", Verdict.DRIFT)
    exact = stats.ks_2samp(table(4000)["size"].dropna(), now["size"].dropna()).statistic
    assert exact - 0.02 < moved.distance <= exact
    assert found.reasons[0] == (
        f"'size' moved: distance {moved.distance:.2f} (Kolmogorov-Smirnov), PSI {moved.psi:.2f};"
        " the median is 1.94, where 0.9742 was expected."
    )
    assert [each.name for each in found.columns if each.verdict is not Verdict.NONE] == ["size"]


def test_missing_values_are_drift_from_their_threshold_on():
    now = table(1000, seed=1)
    now.loc[:150, "rooms"] = np.nan
    found = compared(table(4000), now, **KINDS)
    assert found.findings[0] == Finding(
        Verdict.DRIFT,
        "rooms",
        "'rooms' is missing in 15.1 % of the rows, where 0 % were expected.",
    )
    assert (column(found, "rooms").missing, column(found, "rooms").missing_before) == (0.151, 0.0)


def test_new_labels_are_named():
    now = table(1000, seed=1)
    now.loc[:19, "town"] = "x"
    now.loc[20:24, "town"] = "y"
    found = compared(table(4000), now, **KINDS)
    assert found.reasons == (
        "'town' has labels that training did not have in 2.5 % of the rows, where 0 % were"
        " expected: 'x', 'y'.",
    )
    assert found.verdict is Verdict.WATCH
    assert column(found, "town").names == ("x", "y")


@pytest.mark.parametrize("name", ["town", "new"])
def test_labels_that_come_otherwise_are_drift(name):
    now = table(1000, seed=1)
    now[name] = now[name].to_numpy()[np.argsort(np.random.default_rng(0).random(1000))]
    now.loc[:400, name] = "d" if name == "town" else 1.0
    found = compared(table(4000), now, **KINDS)
    said = "'d' has" if name == "town" else "'true' has"
    assert found.columns[0].name == name
    assert said in found.reasons[0] or "'false' has" in found.reasons[0]
    assert found.verdict is Verdict.DRIFT


def test_columns_that_hang_together_otherwise_are_found_by_all_of_them():
    """Each looks as it did: one is turned around, and the two no longer agree."""
    rng = np.random.default_rng(0)
    both = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 3000)
    frame = pd.DataFrame(both, columns=["a", "b"])
    now = frame[2000:].assign(b=lambda rows: -rows["b"])
    found = compared(frame[:2000], now)
    assert {each.verdict for each in found.columns} == {Verdict.NONE}
    assert found.verdict is Verdict.DRIFT
    assert found.together.auc > 0.8
    assert set(found.together.by) == {"a", "b"}
    assert found.reasons[0].startswith("A classifier tells new rows from those of training")


def test_a_movement_that_is_sure_and_small_is_no_drift():
    rng = np.random.default_rng(0)
    before, now = (pd.DataFrame({"a": rng.normal(at, 1, 100_000)}) for at in (0.0, 0.05))
    found = compared(before, now)
    assert found.columns[0].p < 1e-10
    assert found.verdict is Verdict.NONE


def test_a_movement_that_is_large_and_may_be_chance_is_no_drift():
    before = table(4000)
    now = before.assign(size=before["size"].quantile(0.8)).iloc[:2]
    found = compared(before, now, **KINDS)
    assert column(found, "size").distance > 0.7
    assert found.verdict is Verdict.NONE


def test_a_column_without_any_value_is_missing_and_not_compared():
    now = table(300, seed=1).assign(size=np.nan, town=None)
    found = compared(table(2000).assign(rooms=np.nan), now, **KINDS)
    notes = {each.name: each.note for each in found.columns}
    assert notes["size"] == "Missing in every one of the new rows: not compared."
    assert notes["rooms"] == "Missing in every one of training rows: not compared."
    assert {"size", "town", "rooms"} <= {each.about for each in found.findings}


def test_text_is_compared_by_its_length_and_none_of_it_is_kept(tmp_path):
    texts = pd.Series([f"a secret of the number {place}" for place in range(300)])
    kept = reference_of(pd.DataFrame({"said": texts}), said=Kind.TEXT)
    kept.save(tmp_path)
    assert kept.sample["said"].dtype == "float64"
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in written
    longer = pd.DataFrame({"said": texts + " and more"})
    found = drift.compare(kept, longer, Monitor(), seed=0)
    assert found.verdict is Verdict.DRIFT
    assert "its number of characters" in found.reasons[0]


# Sizes and probabilities


def test_the_index_is_that_of_the_textbook_and_the_same_from_either_side():
    a, b = np.array([100, 300, 600]), np.array([200, 300, 500])
    p, q = a / 1000, b / 1000
    assert movement.psi(a, b) == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=0.01)
    assert movement.psi(a, b) == pytest.approx(movement.psi(b, a))
    assert movement.psi(a, 7 * a) == pytest.approx(0, abs=1e-5)
    assert np.isfinite(movement.psi(a, np.array([0, 0, 1000])))


def test_labels_have_the_probability_of_the_test_of_independence():
    before, now = table(3000)["town"], table(700, seed=2)["town"]
    sign = movement.of(ColumnReference.of(before, Kind.CATEGORY), now).sign(Aspect.VALUES)
    counts = [each.value_counts()[list("abcd")] for each in (before, now)]
    assert sign.p == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)
    a, b = (each / each.sum() for each in counts)
    assert sign.size("distance") == pytest.approx((a - b).abs().sum() / 2)


def test_a_correction_counts_all_tests_and_keeps_their_order():
    ps = [0.001, 0.04, 0.03, 0.2]
    assert movement.holm(ps) == pytest.approx([0.004, 0.09, 0.09, 0.2])
    assert movement.holm([]) == []


def test_a_value_that_most_rows_share_is_a_bin_of_its_own():
    values = pd.Series([0.0] * 900 + list(np.arange(1.0, 101.0)), name="rain")
    kept = ColumnReference.of(values, Kind.NUMBER)
    wet = pd.Series([0.0] * 600 + [50.0] * 400, name="rain")
    sign = movement.of(kept, wet).sign(Aspect.VALUES)
    assert sign.size("distance") == pytest.approx(0.3, abs=0.06)
    assert sign.size("psi") > 0.2


# Time


def times(first: str, days: int, n: int, seed: int = 0) -> pd.Series:
    rng = np.random.default_rng(seed)
    hours = np.minimum(rng.normal(12, 3, n).clip(0), 23.9)
    at = pd.Timestamp(first) + pd.to_timedelta(np.sort(rng.integers(0, days, n)), "D")
    return pd.Series(at + pd.to_timedelta(hours, "h"), name="sold").astype("datetime64[us]")


def test_a_time_that_is_later_is_compared_by_hour_and_day_and_later_is_no_drift():
    before, now = times("2024-01-01", 60, 3000), times("2024-03-01", 31, 1500, seed=1)
    found = movement.of(ColumnReference.of(before, Kind.DATETIME, grows=True), now)
    assert [each.aspect for each in found.signs] == [Aspect.HOUR, Aspect.WEEKDAY]
    assert min(each.p for each in found.signs) > 0.001
    assert found.note == "It follows time: its hour of the day and day of the week are compared."
    later = now + pd.Timedelta(hours=5)
    moved = movement.of(ColumnReference.of(before, Kind.DATETIME, grows=True), later)
    assert moved.sign(Aspect.HOUR).p < 1e-6
    assert "The hour of the day of 'sold' moved" in moved.sign(Aspect.HOUR).told


def test_a_time_that_nobody_knew_to_grow_is_seen_to_be_later():
    kept = ColumnReference.of(times("2024-01-01", 60, 3000), Kind.DATETIME)
    found = movement.of(kept, times("2024-05-01", 3, 500))
    assert found.signs == ()
    assert found.note == (
        "It is later than in training: its values are not compared. The hour of the day needs 7"
        " days of both, the day of the week 14."
    )
    assert [each.aspect for each in movement.of(kept, times("2024-01-20", 30, 500)).signs] == [
        Aspect.VALUES
    ]


def test_a_month_of_five_fridays_is_a_month_like_another_one():
    """Evenly sold: March 2024 has five Fridays, February had four."""
    rng = np.random.default_rng(0)

    def month(first: str, days: int) -> pd.Series:
        at = pd.Timestamp(first) + pd.to_timedelta(rng.integers(0, days * 24, 40_000), "h")
        return pd.Series(at, name="sold")

    found = movement.of(
        ColumnReference.of(month("2024-02-01", 29), Kind.DATETIME, grows=True),
        month("2024-03-01", 31),
    )
    day = found.sign(Aspect.WEEKDAY)
    assert day.size("distance") < 0.01
    assert day.p > 0.001


def test_columns_that_follow_time_are_known():
    n = 400
    rng = np.random.default_rng(0)
    clock = times("2024-01-01", 100, n)
    frame = pd.DataFrame(
        {
            "sold": clock,
            "listed": clock - pd.to_timedelta(rng.integers(0, 5, n), "D"),
            "built": times("1990-01-01", 9000, n).sample(frac=1, random_state=0).to_numpy(),
            "id": np.arange(float(n)),
            "age": np.sort(rng.integers(18, 90, n)).astype(float),
            "size": rng.normal(size=n),
        }
    )
    kinds = dict.fromkeys(("sold", "listed", "built"), Kind.DATETIME)
    columns = schema_of(frame, **kinds).columns
    assert drift.growing(frame, columns, clock) == ("sold", "listed", "id", "age")
    # Sorted rows make no clock of an age that many share.
    assert drift.growing(frame, columns, None) == ("sold", "listed", "id")


def test_a_number_that_follows_time_is_not_compared_and_its_gaps_are():
    ids = pd.DataFrame({"id": np.arange(1000.0), "a": np.arange(1000) % 7.0})
    later = ids.assign(id=ids["id"] + 5000)
    found = compared(ids, later, growing=("id",))
    assert (found.verdict, found.together.auc) == (Verdict.NONE, pytest.approx(0.5, abs=0.06))
    assert column(found, "id").psi is None
    assert "follows time" in column(found, "id").note
    gone = compared(ids, later.assign(id=later["id"].mask(later.index < 500)), growing=("id",))
    assert gone.verdict is Verdict.DRIFT


# What is kept


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    frame = table(500).assign(sold=times("2024-01-01", 60, 500))
    kept = reference_of(frame, growing=("sold",), sold=Kind.DATETIME, **KINDS)
    kept.save(tmp_path)
    again = Reference.load(tmp_path)
    assert (again.n_rows, again.columns) == (kept.n_rows, kept.columns)
    pd.testing.assert_frame_equal(again.sample, kept.sample)
    now = table(200, seed=3).assign(sold=times("2024-04-01", 30, 200))
    reports = [drift.compare(each, now, Monitor(), seed=0) for each in (kept, again)]
    assert reports[0] == reports[1]
    value = json.loads((tmp_path / drift.REFERENCE_FILE).read_text())
    del value["columns"][0]["kind"]
    (tmp_path / drift.REFERENCE_FILE).write_text(json.dumps(value))
    with pytest.raises(RatchetError, match="another version of this project"):
        Reference.load(tmp_path)


def test_what_is_kept_is_small(tmp_path):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(6000, 80)), columns=[f"c{i}" for i in range(80)])
    reference_of(wide).save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_500_000
    assert len(Reference.load(tmp_path).sample) == 1500


def test_a_label_of_few_rows_is_not_kept_by_name():
    names = pd.Series(["Aachen"] * 50 + ["Mr. Miller"] * 4, name="who")
    kept = ColumnReference.of(names, Kind.CATEGORY)
    assert kept.values.names == ("Aachen",)
    assert "Miller" not in repr(kept)
    both = pd.Series(["Mr. Miller", "Mrs. Smith"])
    now = kept.values.again(distributions.labels(both, Kind.CATEGORY))
    assert (now.new, now.names) == (1, ("Mrs. Smith",))


def test_more_labels_than_can_be_kept_are_not_called_new(monkeypatch):
    monkeypatch.setattr(distributions, "MAX_KNOWN", 10)
    names = pd.Series([f"n{place}" for place in range(100)] + ["many"] * 100, name="who")
    kept = ColumnReference.of(names, Kind.CATEGORY)
    found = movement.of(kept, pd.Series(["new"] * 100, name="who"))
    assert kept.values.known is None
    assert found.new_labels is None
    assert {each.aspect for each in found.signs} == {Aspect.VALUES}


def test_without_kept_rows_only_all_columns_together_are_not_compared():
    now = table(1000, seed=1)
    now["size"] *= 2
    found = compared(table(4000), now, sample_rows=0, **KINDS)
    assert found.verdict is Verdict.DRIFT
    assert found.together is None
    assert found.notes == (
        "All columns together were not compared: no rows of training are kept with this version"
        " (monitor.sample_rows).",
    )


def test_numbers_that_are_labels_read_as_whole():
    zones = pd.Series([74.0] * 6 + [75.0] * 6)
    assert Labels.of(distributions.labels(zones, Kind.CATEGORY)).names == ("74", "75")


def test_quantities_tell_any_share():
    kept = Quantities.of(np.arange(1001.0))
    assert kept.below(np.array([-1.0, 250.0, 2000.0])) == pytest.approx([0, 0.25, 1], abs=0.01)
    assert kept.median == pytest.approx(500, abs=10)
    assert kept.again(np.array([5000.0]))[-1] == 1


# Scores


def expected(score=5.0, low=4.9, high=5.1, baseline=10.0) -> Expected:
    answers = ColumnReference.of(pd.Series([1.0, 2.0], name="predictions"), Kind.NUMBER)
    return Expected(answers, "rmse", score, low, high, baseline, 0.95, 1000)


@pytest.mark.parametrize(
    ("now", "worse", "lost"),
    [
        ((6.0, 5.8, 6.2), True, 0.2),
        ((5.2, 4.8, 5.6), False, 0.04),  # may be chance
        ((5.2, 5.19, 5.21), False, 0.04),  # surely worse, and too little to matter
        ((4.0, 3.9, 4.1), False, -0.2),
        ((6.0, float("nan"), float("nan")), False, 0.2),
    ],
)
def test_a_live_score_is_worse_where_that_is_sure_and_matters(now, worse, lost):
    found = live.compare(RMSE, now, expected(), least_loss=0.05, n_rows=9)
    assert (found.worse, found.lost) == (worse, pytest.approx(lost))


def test_the_loss_of_a_score_to_be_raised_leans_as_its_intervals_do():
    before = replace(expected(0.9, 0.85, 0.92, 0.5), metric="roc_auc")
    found = live.compare(AUC, (0.7, 0.66, 0.75), before, least_loss=0.05, n_rows=9)
    assert found.loss == pytest.approx(0.2)
    assert found.loss_low == pytest.approx(0.2 - np.hypot(0.05, 0.05))
    assert found.loss_high == pytest.approx(0.2 + np.hypot(0.04, 0.02))
    assert found.worse


def test_scores_of_the_same_quality_are_seldom_surely_worse():
    rng = np.random.default_rng(0)
    draws, alarms = 100, 0
    for seed in range(draws):
        errors = rng.normal(size=(2, 300))
        before = live.evaluation.evaluate(
            errors[0], Predictions(np.zeros(300)), (RMSE,), resamples=300, seed=seed
        ).scores[0]
        kept = expected(before.value, before.low, before.high)
        found = live.score(
            RMSE,
            errors[1],
            Predictions(np.zeros(300)),
            kept,
            least_loss=0.0,
            resamples=300,
            seed=seed,
        )
        alarms += found.worse
    assert alarms <= stats.binom.ppf(0.999, draws, 0.025)


def test_a_worse_score_is_drift_and_tells_both():
    score = live.compare(RMSE, (6.0, 5.8, 6.2), expected(), least_loss=0.05, n_rows=800)
    kept = reference_of(table(1000), **KINDS)
    found = drift.compare(kept, table(500, seed=1), Monitor(), seed=0, live=score)
    assert found.verdict is Verdict.DRIFT
    assert found.reasons == (
        "rmse is 6.0000 [5.8000, 6.2000] on 800 new rows and was 5.0000 [4.9000, 5.1000] on the"
        " test rows: surely worse, by 20 % of its gain over the baseline.",
    )
    less = live.compare(RMSE, (5.4, 5.3, 5.5), expected(), least_loss=0.05, n_rows=800)
    found = drift.compare(kept, table(500, seed=1), Monitor(), seed=0, live=less)
    assert found.verdict is Verdict.WATCH


def test_answers_are_watched_as_the_problem_has_them():
    frame = pd.DataFrame({"a": [1.0]})
    schema = schema_of(frame)
    classes = replace(schema, target="y", problem=ProblemType.MULTICLASS, classes=("x", "y", "z"))
    said = Predictions(np.array([2, 0, -1]))
    assert list(drift.answers(said, classes)[0]) == ["z", "x", "no class"]
    two = replace(classes, problem=ProblemType.BINARY, classes=("x", "y"))
    shares = Predictions(np.array([1, 0]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert list(drift.answers(shares, two)[0]) == [0.8, 0.4]
    assert list(drift.answers(Predictions(np.array([1, -1])), schema)[0]) == [
        "cluster 1",
        "cluster -1",
    ]


# The report


def test_a_report_comes_back_as_it_was(tmp_path):
    now = table(1000, seed=1)
    now["size"] *= 2
    found = replace(
        compared(table(4000), now, **KINDS),
        live=LiveScore(score=6.0, low=5.8, high=None, test_score=5.0, worse=True),
    )
    found.save(tmp_path / "drift.json")
    assert DriftReport.load(tmp_path / "drift.json") == found
    (tmp_path / "drift.json").write_text('{"verdict": "none"}')
    with pytest.raises(RatchetError) as raised:
        DriftReport.load(tmp_path / "drift.json")
    assert str(raised.value) == (
        f"{tmp_path / 'drift.json'} was written by another version of this project. Run the step"
        " monitor again."
    )


def test_a_report_can_be_made_of_what_others_need():
    found = DriftReport(verdict=Verdict.NONE, reasons=(), n_rows=1, live=None)
    worse = drift.with_finding(found, Finding(Verdict.WATCH, "classes", "A class is new."))
    assert (worse.verdict, worse.reasons) == (Verdict.WATCH, ("A class is new.",))


def test_verdicts_have_an_order():
    assert Verdict.worst() is Verdict.NONE
    assert Verdict.worst(Verdict.WATCH, Verdict.DRIFT, Verdict.NONE) is Verdict.DRIFT

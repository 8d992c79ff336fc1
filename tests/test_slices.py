"""A leader that is surely worse on some rows is found, and chance alone seldom looks like it."""

import warnings
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest

from ratchet import slices
from ratchet.errors import SettingsError
from ratchet.evaluation import paired_difference
from ratchet.metrics import Predictions, named
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import Slices
from ratchet.slices import judge

RMSE = named("rmse", ProblemType.REGRESSION)
AUC = named("roc_auc", ProblemType.BINARY)
RMSLE = named("rmsle", ProblemType.REGRESSION)

COLUMNS = (
    Column("size", Kind.NUMBER, "float64", True, 60),
    Column("town", Kind.CATEGORY, "str", True, 3),
    Column("zone", Kind.CATEGORY, "float64", True, 3),
    Column("new", Kind.BOOLEAN, "float64", True, 2),
    Column("sold", Kind.DATETIME, "datetime64[us]", True, 60),
    Column("note", Kind.TEXT, "str", True, 60),
)
SCHEMA = Schema(COLUMNS, "price", ProblemType.REGRESSION)
HOW = {"confidence": 0.95, "resamples": 200, "seed": 1}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def table(n=600, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": random.uniform(0, 100, n),
            "town": pd.Series(random.choice(["Aachen", "Berlin", "Cottbus"], n), dtype="str"),
            "zone": random.choice([74.0, 75.0, 0.5], n),
            "new": random.choice([0.0, 1.0], n),
            "sold": pd.date_range("2024-01-01", periods=n, freq="h"),
            "note": pd.Series(["text"] * n, dtype="str"),
        }
    )


def two_models(n=600, worse=None, by=2.0, elsewhere=1.0, seed=0):
    """Give a truth and two equally good models, the challenger worse where told."""
    random = np.random.default_rng(seed)
    y = random.normal(50, 10, n)
    errors = random.normal(0, 1, (2, n))
    if worse is not None:
        errors[0] = errors[0] * np.where(worse, by, elsewhere)
    return y, Predictions(y + errors[0]), Predictions(y + errors[1])


def choose(*columns, **changes):
    return Slices(columns=columns, **{"min_rows": 30, **changes})


def places_of(column, rows, quantiles=4, kind=None):
    kind = kind or next(each.kind for each in COLUMNS if each.name == column)
    return list(slices._cut(rows[column], kind, quantiles))


@pytest.mark.parametrize("column", [column.name for column in COLUMNS if column.name != "note"])
@pytest.mark.parametrize("missing", [False, True])
def test_every_row_is_in_one_slice_of_a_column(column, missing):
    rows = table(200)
    if missing:
        rows.loc[5:9, column] = None
    cut = places_of(column, rows)
    assert sorted(np.concatenate([places for _, places in cut]).tolist()) == list(range(200))
    assert len({label for label, _ in cut}) == len(cut)
    assert ("missing" in {label for label, _ in cut}) == missing


def test_numbers_and_times_are_cut_into_equal_parts():
    rows = table(400)
    for column in ("size", "sold"):
        assert [len(places) for _, places in places_of(column, rows)] == [100] * 4
    label, places = places_of("size", rows)[0]
    assert label == f"{rows['size'][places].min():.6g} to {rows['size'][places].max():.6g}"
    assert places_of("sold", rows, 2)[0][0] == "2024-01-01 to 2024-01-09 07:00:00"


def test_labels_are_those_of_the_data():
    rows = table(200)
    assert [label for label, _ in places_of("town", rows)] == ["Aachen", "Berlin", "Cottbus"]
    assert [label for label, _ in places_of("zone", rows)] == ["0.5", "74", "75"]
    assert [label for label, _ in places_of("new", rows)] == ["false", "true"]
    label, places = places_of("town", rows)[1]
    assert set(rows["town"].iloc[places]) == {label}


def test_a_label_that_reads_missing_is_not_what_is_missing():
    rows = pd.DataFrame({"town": pd.Series(["missing", None, "x", "missing"], dtype="str")})
    found = {label: places.tolist() for label, places in places_of("town", rows)}
    assert found == {"'missing'": [0, 3], "x": [2], "missing": [1]}


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([7.0] * 5, ["7"]),
        ([1.0, 2.0, 2.0, 1.0], ["1", "2"]),
        ([0.0] * 90 + [1.0, 2.0, 3.0, 4.0, 5.0], ["0", "1 to 5"]),
        ([1.0, 2.0, 3.0, 4.0] + [5.0] * 90, ["1 to 4", "5"]),
        ([1.0, 2.0, 3.0, 4.0, *[5.0] * 90, 6.0, 7.0], ["1 to 4", "5", "6 to 7"]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], ["1 to 2", "3 to 4", "5 to 6", "7 to 8"]),
        ([nan] * 3, ["missing"]),
        ([], []),
    ],
)
def test_numbers_with_few_values_are_cut_where_they_can_be(values, labels):
    rows = pd.DataFrame({"size": np.array(values, dtype=float)})
    cut = places_of("size", rows)
    assert [label for label, _ in cut] == labels
    assert sum(len(places) for _, places in cut) == len(values)


def test_a_slice_that_is_surely_worse_fails_and_comes_first():
    rows = table()
    y, challenger, champion = two_models(worse=rows["town"] == "Berlin", by=1.5, elsewhere=0.7)
    report = judge(
        RMSE, y, challenger, champion, rows, SCHEMA, choose("size", "new", "town"), **HOW
    )
    assert [(result.column, result.label) for result in report.failed] == [("town", "Berlin")]
    worst = report.results[0]
    assert worst == report.failed[0]
    assert worst.high < 0 < -worst.gain
    assert worst.gain == pytest.approx(worst.reference - worst.challenger)
    assert len(report.results) == 4 + 2 + 3
    assert report.n_small == 0
    rest = [result.gain for result in report.results[1:]]
    assert rest == sorted(rest)


def test_a_loss_may_be_allowed():
    rows = table()
    y, challenger, champion = two_models(worse=rows["town"] == "Berlin")
    [worst, *_] = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town"), **HOW).results
    for share, fails in ((0.99, True), (1.01, False)):
        allowed = choose("town", max_loss=-worst.high * share)
        report = judge(RMSE, y, challenger, champion, rows, SCHEMA, allowed, **HOW)
        assert bool(report.failed) is fails
        assert report.results[0].gain == worst.gain


def test_a_loss_that_may_be_chance_does_not_fail():
    rows = table()
    y, challenger, champion = two_models(worse=rows["town"] == "Berlin", by=1.05)
    report = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town"), **HOW)
    assert min(result.gain for result in report.results) < 0
    assert not report.failed


def test_the_confidence_is_corrected_for_the_number_of_slices_that_are_judged():
    rows = table()
    rows.loc[:4, "new"] = nan
    y, challenger, champion = two_models()
    report = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town", "new"), **HOW)
    assert (len(report.results), report.n_small) == (5, 1)
    assert report.confidence == 0.95
    assert report.confidence_each == pytest.approx(1 - 0.05 / 5)
    [alone] = [result for result in report.results if result.label == "Berlin"]
    here = (rows["town"] == "Berlin").to_numpy()
    found = paired_difference(
        RMSE,
        y[here],
        Predictions(challenger.values[here]),
        Predictions(champion.values[here]),
        resamples=slices._resamples(0.99, int(here.sum()), 200),
        confidence=1 - 0.05 / 5,
        seed=1,
    )
    assert (alone.low, alone.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("confidence", [0.95, 0.999, 0.9999])
@pytest.mark.parametrize("units", [30, 200, 500])
def test_enough_resamples_lie_beyond_the_corrected_percentile(confidence, units):
    resamples = slices._resamples(confidence, units, 100)
    # The plain percentile lies farther in than the expanded one, for few units much.
    beyond = resamples * (1 - confidence) / 2
    assert beyond > slices.BEYOND_END or resamples in (0, slices.MAX_RESAMPLES)
    assert (resamples == 0) is ((units, confidence) == (30, 0.9999))
    assert slices._resamples(0.5, units, 2000) == 2000
    assert slices._resamples(confidence, 1, 100) == 0


def test_chance_alone_seldom_fails_a_slice():
    """Of many pairs of equal models at most 2.5 % fail: 5 % both ways, over all slices."""
    rows = table(300)
    failed = 0
    for seed in range(60):
        y, challenger, champion = two_models(300, seed=seed)
        report = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town", "size"), **HOW)
        failed += bool(report.failed)
    assert failed <= 5  # P(more) is 0.3 % when the rate is 2.5 %


def test_slices_with_too_few_rows_are_counted_and_left_out():
    rows = table(120)
    rows["town"] = pd.Series(["big"] * 100 + ["one"] * 10 + ["two"] * 10, dtype="str")
    y, challenger, champion = two_models(120)
    report = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town", min_rows=100), **HOW)
    assert [(result.label, result.n_rows) for result in report.results] == [("big", 100)]
    assert report.n_small == 2
    report = judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town", min_rows=101), **HOW)
    assert (report.results, report.n_small, report.failed) == ((), 3, ())


@pytest.mark.parametrize("columns", [None, ()])
def test_without_columns_there_are_no_slices(columns):
    y, challenger, champion = two_models()
    report = judge(RMSE, y, challenger, champion, table(), SCHEMA, Slices(columns=columns), **HOW)
    assert (report.results, report.n_small) == ((), 0)


def test_without_rows_there_are_no_slices():
    y, challenger, champion = two_models(0)
    report = judge(
        RMSE, y, challenger, champion, table(0), SCHEMA, choose("town", "size", "sold"), **HOW
    )
    assert (report.results, report.n_small) == ((), 0)


def test_a_slice_of_one_class_is_not_decided():
    rows = table()
    random = np.random.default_rng(0)
    y = np.where(rows["town"] == "Berlin", 1, random.integers(0, 2, 600))
    chances = random.uniform(0, 1, (2, 600))
    models = [Predictions((c > 0.5).astype(int), np.column_stack([1 - c, c])) for c in chances]
    schema = Schema(COLUMNS, "dear", ProblemType.BINARY, ("no", "yes"))
    report = judge(AUC, y, *models, rows, schema, choose("town"), **HOW)
    assert [result.label for result in report.undecided] == ["Berlin"]
    assert report.results[-1].label == "Berlin"
    assert not report.failed


def test_a_slice_that_only_the_reference_can_score_fails():
    rows = table()
    y, challenger, champion = two_models()
    here = rows["town"] == "Berlin"
    broken = Predictions(np.where(here, nan, challenger.values))
    report = judge(RMSE, y, broken, champion, rows, SCHEMA, choose("town"), **HOW)
    assert [result.label for result in report.failed] == ["Berlin"]
    assert report.results[0].label == "Berlin"
    assert isnan(report.results[0].challenger)
    both = judge(RMSE, y, broken, broken, rows, SCHEMA, choose("town"), **HOW)
    assert not both.failed
    turned = judge(RMSE, y, champion, broken, rows, SCHEMA, choose("town"), **HOW)
    assert not turned.failed


def test_a_leader_without_a_score_in_some_resamples_fails_where_the_reference_has_one():
    rows = table()
    y, challenger, champion = two_models()
    values = challenger.values.copy()
    values[np.flatnonzero(rows["town"] == "Berlin")[0]] = -2.0
    report = judge(RMSLE, y, Predictions(values), champion, rows, SCHEMA, choose("town"), **HOW)
    assert [result.label for result in report.failed] == ["Berlin"]


def test_rows_that_belong_together_are_drawn_together():
    rows = table()
    # One error a cluster: 600 rows, 20 independent ones.
    clusters = np.repeat(np.arange(20), 30)
    random = np.random.default_rng(5)
    y = random.normal(50, 10, 600)
    errors = random.normal(0, [[1.3], [1.0]], (2, 20))[:, clusters]
    models = [Predictions(y + each) for each in errors]
    by_row = judge(RMSE, y, *models, rows, SCHEMA, choose("new"), **HOW)
    by_cluster = judge(RMSE, y, *models, rows, SCHEMA, choose("new"), **HOW, clusters=clusters)
    narrow, wide = (sum(r.high - r.low for r in each.results) for each in (by_row, by_cluster))
    assert wide > 2 * narrow
    few = judge(RMSE, y, *models, rows, SCHEMA, choose("new"), **HOW, clusters=clusters // 5)
    assert len(few.undecided) == 2


def test_many_rows_are_dealt_to_few_units_of_equal_size():
    units = slices._dealt(10_000, None, seed=1)
    assert np.bincount(units).tolist() == [20] * slices.MAX_UNITS
    clusters = np.repeat(np.arange(5000), 2)
    dealt = slices._dealt(10_000, clusters, seed=1)
    assert (dealt[::2] == dealt[1::2]).all()
    assert np.bincount(dealt).tolist() == [20] * slices.MAX_UNITS
    assert slices._dealt(5, np.array([9, 9, 4, 4, 9]), seed=1).tolist() == [0, 0, 1, 1, 0]


def test_the_same_seed_gives_the_same_report():
    rows = table()
    y, challenger, champion = two_models()
    one, two = (
        judge(RMSE, y, challenger, champion, rows, SCHEMA, choose("town", "size"), **HOW)
        for _ in range(2)
    )
    assert one == two


def test_a_row_s_name_does_not_matter():
    rows = table()
    y, challenger, champion = two_models(worse=rows["town"] == "Berlin")
    named_rows = rows.set_index(pd.Index(range(600, 0, -1)))
    one, two = (
        judge(RMSE, y, challenger, champion, each, SCHEMA, choose("town", "size"), **HOW)
        for each in (rows, named_rows)
    )
    assert one == two


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("twon", "'twon', which is no feature; did you mean 'town'?"),
        ("price", "'price', which is no feature."),
        ("note", "'note', free text, which has no slices."),
    ],
)
def test_a_column_without_slices_is_told(name, told):
    y, challenger, champion = two_models()
    with pytest.raises(SettingsError) as error:
        judge(RMSE, y, challenger, champion, table(), SCHEMA, choose(name), **HOW)
    assert str(error.value) == (
        f"promote.slices.columns names {told} Columns that have: size, town, zone, new, sold."
    )

"""How the answer depends on a column is the mean over rows, and the band says where rows differ."""

import numpy as np
import pandas as pd
import pytest
from formulas import Chance, Labels, Quantity, schema, two, typed

from ratchet import dependence
from ratchet.dependence import LEVELS, MAX_COLUMNS, POINTS
from ratchet.problem import ProblemType
from ratchet.schema import Kind

REGRESSION = ProblemType.REGRESSION


def rows(of, n=400, seed=0):
    rng = np.random.default_rng(seed)
    made = {
        Kind.NUMBER: lambda: rng.normal(10, 3, n),
        Kind.CATEGORY: lambda: rng.choice(["Aachen", "Berlin", "Cottbus"], n, p=[0.2, 0.5, 0.3]),
        Kind.BOOLEAN: lambda: rng.choice([0.0, 1.0], n),
        Kind.DATETIME: lambda: (
            pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 200, n), "D")
        ),
        Kind.TEXT: lambda: np.array([f"text {number}" for number in range(n)]),
    }
    return typed(pd.DataFrame({c.name: made[c.kind]() for c in of.columns}), of)


def measure(model, of, frame, seed=1):
    return dependence.measure(model, of, frame, of.names, seed)


def test_of_a_linear_model_the_course_is_its_slope_and_the_band_has_no_width():
    of = schema(REGRESSION, size=Kind.NUMBER, other=Kind.NUMBER)
    frame = rows(of)
    found = measure(Quantity(lambda x: 3 * x["size"] - 2 * x["other"] + 1), of, frame)
    for panel, slope in zip(found.panels, (3, -2), strict=True):
        (curve,) = panel.curves
        assert len(curve.points) == POINTS
        at, mean = (np.array([getattr(p, name) for p in curve.points]) for name in ("at", "mean"))
        assert np.diff(mean) / np.diff(at) == pytest.approx(slope)
        assert [point.low for point in curve.points] == pytest.approx(mean)
        assert [point.high for point in curve.points] == pytest.approx(mean)
    assert found.target == "y"
    assert found.panels[0].curves[0].points[0].at in set(frame["size"])


def test_the_mean_is_that_over_rows_worked_out_by_hand():
    of = schema(REGRESSION, size=Kind.NUMBER, other=Kind.NUMBER)
    frame = rows(of, n=150)
    found = measure(Quantity(lambda x: x["size"] * x["other"] ** 2), of, frame)
    for point in found.panels[0].curves[0].points:
        assert point.mean == pytest.approx(point.at * (frame["other"] ** 2).mean())


def test_where_another_column_decides_the_band_is_wide():
    of = schema(REGRESSION, size=Kind.NUMBER, town=Kind.CATEGORY)
    found = measure(
        Quantity(lambda x: x["size"] * np.where(x["town"] == "Berlin", 1, -1)), of, rows(of)
    )
    points = found.panels[0].curves[0].points
    slopes = [
        (each[-1] - each[0]) / (points[-1].at - points[0].at)
        for each in zip(*((p.low, p.high) for p in points), strict=True)
    ]
    assert points[0].high - points[0].low > 5
    assert abs(sum(slopes)) < 1


def test_labels_truth_and_gaps_have_a_point_each_the_most_frequent_first():
    of = schema(REGRESSION, town=Kind.CATEGORY, new=Kind.BOOLEAN)
    frame = rows(of)
    frame.loc[:39, "town"] = None
    level = {"Aachen": 1.0, "Berlin": 2.0, "Cottbus": 5.0}
    found = measure(Quantity(lambda x: x["town"].map(level).fillna(9.0) + x["new"]), of, frame)
    town, new = (panel.curves[0].points for panel in found.panels)
    assert [point.label for point in town] == ["Berlin", "Cottbus", "Aachen", "missing"]
    means = [point.mean for point in town]
    assert np.array(means) - means[0] == pytest.approx([0, 3, -1, 7])
    assert sum(point.share for point in town) == pytest.approx(1)
    assert {point.label for point in new} == {"false", "true"}
    assert all(point.at is None for point in (*town, *new))


def test_dates_are_tried_in_their_order_and_a_gap_beside_them():
    of = schema(REGRESSION, sold=Kind.DATETIME)
    frame = rows(of)
    frame.loc[3, "sold"] = pd.NaT
    found = measure(
        Quantity(lambda x: (x["sold"] - pd.Timestamp("2024-01-01")).dt.days.fillna(-1)), of, frame
    )
    (panel,) = found.panels
    *dates, gap = panel.curves[0].points
    assert gap.label == "missing"
    assert gap.mean == -1
    assert [point.at for point in dates] == sorted(point.at for point in dates)
    first = pd.Timestamp("1970-01-01") + pd.Timedelta(days=dates[0].at)
    assert first == pd.Timestamp(dates[0].label)
    assert dates[0].mean == (first - pd.Timestamp("2024-01-01")).days
    assert panel.ticks


def test_a_number_that_is_mostly_one_value_still_shows_the_others():
    of = schema(REGRESSION, gain=Kind.NUMBER)
    frame = rows(of, n=500)
    frame["gain"] = 0.0
    frame.loc[:24, "gain"] = np.arange(25) * 100.0
    found = measure(Quantity(lambda x: x["gain"]), of, frame)
    assert len(found.panels[0].curves[0].points) >= 8


def test_rare_labels_and_more_columns_are_left_out_and_text_is_passed_over():
    kinds = {f"x{n}": Kind.NUMBER for n in range(6)}
    of = schema(REGRESSION, note=Kind.TEXT, many=Kind.CATEGORY, **kinds)
    frame = rows(of)
    frame["many"] = [f"label {n % 25}" for n in range(len(frame))]
    frame["x0"] = 7.0
    found = measure(Quantity(lambda x: x["x1"]), of, frame)
    assert [panel.name for panel in found.panels] == ["many", "x1", "x2", "x3"]
    assert len(found.panels) == MAX_COLUMNS
    assert len(found.panels[0].curves[0].points) == LEVELS


def test_of_two_classes_the_positive_one_is_followed_whatever_order_the_model_has():
    of = schema(ProblemType.BINARY, ("no", "yes"), size=Kind.NUMBER)
    frame = rows(of)

    def chance(x):
        return 1 / (1 + np.exp(x["size"] - 10))

    forward = measure(Chance(["no", "yes"], lambda x: two(chance(x))), of, frame)
    backward = measure(Chance(["yes", "no"], lambda x: two(chance(x))[:, ::-1]), of, frame)
    assert forward == backward
    (curve,) = forward.panels[0].curves
    assert curve.of == "yes"
    for point in curve.points:
        assert point.mean == pytest.approx(1 / (1 + np.exp(point.at - 10)))


def test_a_probability_s_band_ends_at_0_and_1():
    of = schema(ProblemType.BINARY, ("no", "yes"), size=Kind.NUMBER, other=Kind.NUMBER)
    model = Chance(["no", "yes"], lambda x: two((x["size"] > x["other"]).to_numpy()))
    points = measure(model, of, rows(of)).panels[0].curves[0].points
    assert all(0 <= point.low <= point.high <= 1 for point in points)


def test_of_many_classes_the_likeliest_are_followed():
    of = schema(ProblemType.MULTICLASS, ("a", "b", "c", "d", "e"), size=Kind.NUMBER)
    shares = np.array([0.3, 0.05, 0.4, 0.05, 0.2])
    model = Chance(list("abcde"), lambda x: np.tile(shares, (len(x), 1)))
    (panel,) = measure(model, of, rows(of)).panels
    assert [curve.of for curve in panel.curves] == ["a", "c", "e"]
    assert [curve.points[0].mean for curve in panel.curves] == pytest.approx([0.3, 0.4, 0.2])


def test_a_model_that_says_labels_only_has_their_shares():
    of = schema(ProblemType.BINARY, ("no", "yes"), size=Kind.NUMBER)
    model = Labels(lambda x: np.where(x["size"] > 10, "yes", "no"))
    points = measure(model, of, rows(of)).panels[0].curves[0].points
    assert {point.mean for point in points} == {0.0, 1.0}


def test_the_same_seed_gives_the_same_numbers():
    of = schema(REGRESSION, size=Kind.NUMBER, other=Kind.NUMBER)
    model = Quantity(lambda x: x["size"] * x["other"])
    one, same, other = (measure(model, of, rows(of), seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other

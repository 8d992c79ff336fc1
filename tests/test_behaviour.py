"""A declared rule about a model's answers is held against rows, before and after a change."""

import warnings
from math import isnan

import numpy as np
import pandas as pd
import pytest

from ratchet.behaviour import run
from ratchet.errors import SettingsError
from ratchet.gates import behaves
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import Check

COLUMNS = (
    Column("size", Kind.NUMBER, "float64", True, 60),
    Column("town", Kind.CATEGORY, "str", True, 3),
    Column("zone", Kind.CATEGORY, "float64", False, 3),
    Column("new", Kind.BOOLEAN, "float64", True, 2),
    Column("sold", Kind.DATETIME, "datetime64[us]", True, 60),
    Column("note", Kind.TEXT, "str", True, 60),
)
SCHEMA = Schema(COLUMNS, "price", ProblemType.REGRESSION)
BINARY = Schema(COLUMNS, "dear", ProblemType.BINARY, ("no", "yes"))
THREE = Schema(COLUMNS, "level", ProblemType.MULTICLASS, ("low", "mid", "high"))


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class Rule:
    """A model that answers with a function of the columns."""

    def __init__(self, answer, classes=()):
        self.answer, self.classes_ = answer, np.array(classes)

    def predict(self, frame):
        answers = self.answer(frame)
        if len(self.classes_):
            return self.classes_[np.argmax(self.predict_proba(frame), axis=1)]
        return np.asarray(answers, dtype=float)

    def predict_proba(self, frame):
        answers = np.asarray(self.answer(frame), dtype=float)
        return answers if answers.ndim == 2 else np.column_stack([1 - answers, answers])


def table(n=50, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "price": random.uniform(0, 9, n),
            "size": np.arange(1.0, n + 1),
            "town": pd.Series(random.choice(["Aachen", "Berlin"], n), dtype="str"),
            "zone": random.choice([74.0, 75.0], n),
            "new": random.choice([0.0, 1.0], n),
            "sold": pd.date_range("2024-01-01", periods=n, freq="D", unit="us"),
            "note": pd.Series(["text"] * n, dtype="str"),
        }
    )


def direction(**changes):
    usual = {
        "name": "larger is not cheaper",
        "kind": "direction",
        "rows": 20,
        "change": {"size": "*2"},
        "expect": "not_lower",
    }
    return Check(**{**usual, **changes})


def invariance(**changes):
    usual = {"name": "same", "kind": "invariance", "rows": 20, "change": {"town": "Berlin"}}
    return Check(**{**usual, **changes})


def only(model, schema, check, rows=None, **options):
    [result] = run(model, schema, [check], table() if rows is None else rows, 1, **options)
    return result


GROWS = Rule(lambda frame: 10 * frame["size"])
SHRINKS = Rule(lambda frame: -10 * frame["size"])


def test_a_model_that_moves_the_right_way_passes():
    result = only(GROWS, SCHEMA, direction())
    assert (result.n_rows, result.n_violations) == (20, 0)
    assert behaves(result).passed


def test_the_row_that_breaks_the_rule_most_is_told():
    result = only(SHRINKS, SCHEMA, direction(rows=1000))
    assert (result.n_rows, result.n_violations) == (50, 50)
    assert (result.before, result.after) == (-500, -1000)
    assert behaves(result).reason == (
        "50 of 50 changed rows (100 %) fell, required <= 0 %;"
        " worst: test row 50, size 50 → 100: price -500.0 → -1,000.0"
    )
    assert not behaves(result).passed


@pytest.mark.parametrize(
    ("model", "expect", "n_violations"),
    [
        (GROWS, "not_lower", 0),
        (GROWS, "not_higher", 20),
        (SHRINKS, "not_lower", 20),
        (SHRINKS, "not_higher", 0),
    ],
)
def test_a_direction_has_two_sides(model, expect, n_violations):
    assert only(model, SCHEMA, direction(expect=expect)).n_violations == n_violations


@pytest.mark.parametrize("model", [GROWS, SHRINKS])
def test_an_invariance_allows_no_move_either_way(model):
    check = invariance(change={"size": "*2"})
    assert only(model, SCHEMA, check).n_violations == 20
    assert only(Rule(lambda frame: frame["zone"]), SCHEMA, check).n_violations == 0
    assert only(model, SCHEMA, check).fault == "moved"


@pytest.mark.parametrize(("tolerance", "n_violations"), [(30.0, 20), (99.9, 41), (500.0, 0)])
def test_a_move_within_the_tolerance_is_no_violation(tolerance, n_violations):
    # Row n falls by 10 n.
    result = only(SHRINKS, SCHEMA, direction(rows=50, tolerance=tolerance))
    expected = sum(10 * n > tolerance for n in range(1, 51))
    assert result.n_violations == expected
    assert result.fault == f"fell by more than {tolerance:g}"


def test_rounding_is_no_move():
    noisy = Rule(lambda frame: 1e6 + frame["size"] * 1e-10)
    assert only(noisy, SCHEMA, invariance(change={"size": "+1"})).n_violations == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("expect", ["same", "not_lower", "not_higher"])
def test_an_answer_that_is_no_number_breaks_every_rule(broken, expect):
    model = Rule(lambda frame: np.where(frame["size"] == 200, broken, 1.0))
    kind = "invariance" if expect == "same" else "direction"
    check = direction(
        kind=kind, expect=expect, rows=[ROW | {"size": 3}, ROW | {"size": 4}], change={"size": 200}
    )
    result = only(model, SCHEMA, check)
    assert result.n_violations == 2
    both = only(Rule(lambda frame: np.full(len(frame), broken)), SCHEMA, check)
    assert both.n_violations == 2
    assert not behaves(both).passed


ROW = {"zone": 74}


def column_kind(name):
    return next(column.kind for column in COLUMNS if column.name == name)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"size": "*1.5"}, {"size": 4}, 6.0),
        ({"size": "+1.5"}, {"size": 4}, 5.5),
        ({"size": "-1.5"}, {"size": 4}, 2.5),
        ({"size": "/2"}, {"size": 4}, 2.0),
        ({"size": " * 1e1 "}, {"size": 4}, 40.0),
        ({"size": "* .5"}, {"size": 4}, 2.0),
        ({"size": -3}, {"size": 4}, -3.0),
        ({"size": None}, {"size": 4}, np.nan),
        ({"size": 3}, {}, 3.0),
        ({"zone": 75}, {}, 75.0),
        ({"new": True}, {"new": False}, 1.0),
        ({"new": 0}, {"new": 1}, 0.0),
        ({"town": "Berlin"}, {"town": "Aachen"}, "Berlin"),
        ({"note": "+1.5"}, {"note": "x"}, "+1.5"),
        ({"sold": "2024-05-01"}, {"sold": "2024-04-01"}, pd.Timestamp("2024-05-01")),
        ({"sold": "+1 day"}, {"sold": "2024-04-01"}, pd.Timestamp("2024-04-02")),
        ({"sold": "- 2h"}, {"sold": "2024-04-01"}, pd.Timestamp("2024-03-31 22:00")),
    ],
)
def test_a_change_sets_a_value_or_steps_from_it(change, before, after):
    asked = []

    def remember(frame):
        asked.append(frame)
        return np.zeros(len(frame))

    [name] = change
    only(Rule(remember), SCHEMA, invariance(rows=[ROW | before], change=change))
    [frame] = asked
    assert frame.dtypes.astype(str).tolist() == [column.dtype for column in COLUMNS]
    was, became = frame[name].tolist()
    assert became == after or (isnan(became) and isnan(after))
    if name not in before | ROW:
        assert pd.isna(was)
    elif column_kind(name) is not Kind.DATETIME:
        assert was == (before | ROW)[name]
    others = frame.drop(columns=name)
    pd.testing.assert_series_equal(others.iloc[0], others.iloc[1], check_names=False)


def test_several_columns_change_together():
    check = direction(rows=[ROW | {"size": 2, "new": False}], change={"size": "*2", "new": True})
    result = only(Rule(lambda frame: -frame["size"] - frame["new"]), SCHEMA, check)
    assert result.worst == "row 1, size 2 → 4, new 0 → 1: price -2.0000 → -5.0000"


def test_a_missing_value_is_shown_as_such():
    check = invariance(rows=[ROW | {"town": "Berlin"}], change={"town": None})
    result = only(Rule(lambda frame: frame["town"].isna()), SCHEMA, check)
    assert result.worst == "row 1, town Berlin → missing: price 0.0000 → 1.0000"


def test_rows_that_the_change_leaves_alone_do_not_count():
    rows = table()
    result = only(GROWS, SCHEMA, invariance(rows=50), rows)
    assert result.n_rows == (rows["town"] != "Berlin").sum()
    nothing = only(GROWS, SCHEMA, invariance(rows=50), rows[rows["town"] == "Berlin"])
    assert (nothing.n_rows, nothing.worst) == (0, "")
    assert not behaves(nothing).passed


def test_without_test_rows_nothing_is_shown():
    assert not behaves(only(GROWS, SCHEMA, direction(), table(0))).passed


def test_a_step_leaves_missing_values_alone():
    rows = table().assign(size=np.nan)
    assert only(GROWS, SCHEMA, direction(), rows).n_rows == 0


def test_the_same_seed_draws_the_same_rows():
    check = direction(rows=5)
    one, two = (run(SHRINKS, SCHEMA, [check], table(), 1) for _ in range(2))
    assert one == two
    drawn = {run(SHRINKS, SCHEMA, [check], table(), seed)[0].worst for seed in range(5)}
    assert len(drawn) > 1


def test_the_positive_class_s_probability_counts():
    model = Rule(lambda frame: 0.9 - frame["size"] / 1000, ("no", "yes"))
    result = only(model, BINARY, direction(rows=50))
    assert result.n_violations == 50
    assert result.worst == ("test row 50, size 50 → 100: probability of 'yes' 0.8500 → 0.8000")
    other = only(model, BINARY, direction(rows=50, label="no"))
    assert other.n_violations == 0
    assert other.after > other.before


def thirds(frame):
    high = frame["size"].to_numpy() / 1000
    return np.column_stack([0.5 - high, np.full(len(frame), 0.5), high])


def test_of_several_classes_one_is_named_or_all_must_stay():
    model = Rule(thirds, ("low", "mid", "high"))
    falls = only(model, THREE, direction(rows=50, label="low"))
    assert falls.n_violations == 50
    assert "probability of 'low' 0.4500 → 0.4000" in falls.worst
    assert only(model, THREE, direction(label="high")).n_violations == 0
    stays = invariance(change={"size": "*2"}, rows=50)
    moved = only(model, THREE, stays)
    assert (moved.n_rows, moved.n_violations) == (50, 50)
    # Low falls by as much as high rises; mid stays.
    assert "probability of 'mid'" not in moved.worst
    assert abs(moved.after - moved.before) == pytest.approx(0.05)
    named = invariance(change={"size": "*2"}, label="mid")
    assert only(model, THREE, named).n_violations == 0


def test_a_label_of_the_training_rows_is_known():
    check = invariance(change={"town": "Cottbus"})
    train = table().assign(town="Cottbus")
    assert only(GROWS, SCHEMA, check, train_rows=train).n_rows == 20
    with pytest.raises(SettingsError, match="'Cottbus', which no row holds"):
        only(GROWS, SCHEMA, check)


HERE = "promote.checks 'same'"
FEATURES = "Features: size, town, zone, new, sold, note."


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"change": {"twon": "Berlin"}},
            f"change names 'twon', which is no feature; did you mean 'town'? {FEATURES}",
        ),
        ({"change": {"price": 3}}, f"change names 'price', which is no feature. {FEATURES}"),
        (
            {"rows": [ROW | {"sizes": 3}]},
            f"rows names 'sizes', which is no feature; did you mean 'size'? {FEATURES}",
        ),
        (
            {"rows": [{"size": 3}]},
            "rows of 'zone' is missing, which it never was in training. Give every row a value.",
        ),
        (
            {"change": {"zone": None}},
            "change of 'zone' is missing, which it never was in training. Give every row a value.",
        ),
        ({"rows": [ROW | {"size": "3"}]}, "rows of 'size' must be a number, got '3'."),
        ({"change": {"size": True}}, "change of 'size' must be a number, got True."),
        (
            {"change": {"size": "double"}},
            "change of 'size' must be a number, or a step such as '+1.5' or '*2' in quotes, got"
            " 'double'.",
        ),
        (
            {"change": {"size": "/0"}},
            "change of 'size' must be a number, or a step such as '+1.5' or '*2' in quotes, got"
            " '/0'.",
        ),
        (
            {"change": {"sold": "+1 fortnight"}},
            "change of 'sold' must be a point in time such as 2024-05-01 08:00, or a step such as"
            " '+1 day' in quotes, got '+1 fortnight'.",
        ),
        (
            {"change": {"sold": "soon"}},
            "change of 'sold' must be a point in time without a zone such as 2024-05-01 08:00, got"
            " 'soon'.",
        ),
        (
            {"change": {"sold": "2024-05-01 08:00+02:00"}},
            "change of 'sold' must be a point in time without a zone such as 2024-05-01 08:00, got"
            " '2024-05-01 08:00+02:00'.",
        ),
        (
            {"change": {"sold": 3}},
            "change of 'sold' must be a point in time without a zone such as 2024-05-01 08:00, got"
            " 3.",
        ),
        ({"change": {"new": 2}}, "change of 'new' must be true or false, got 2."),
        ({"change": {"new": "yes"}}, "change of 'new' must be true or false, got 'yes'."),
        ({"change": {"note": 3}}, "change of 'note' must be text, got 3. Put it in quotes."),
        (
            {"change": {"town": "Berlim"}},
            "change of 'town' is 'Berlim', which no row holds; did you mean 'Berlin'?"
            " Labels: Aachen, Berlin.",
        ),
        (
            {"change": {"town": True}},
            "change of 'town' is True, which no row holds. Labels: Aachen, Berlin."
            " Texts such as yes and no need quotes in YAML.",
        ),
        (
            {"change": {"zone": "+1"}},
            "change of 'zone' is '+1', which no row holds. Labels: 74, 75.",
        ),
        (
            {"label": "yes"},
            "label is 'yes', which is no class. A quantity has none: set it to null.",
        ),
    ],
)
def test_a_check_that_does_not_fit_the_table_is_told(changes, told):
    with pytest.raises(SettingsError) as error:
        only(GROWS, SCHEMA, invariance(**changes))
    assert str(error.value) == f"{HERE} {told}"


def test_a_class_that_is_none_is_told():
    model = Rule(thirds, ("low", "mid", "high"))
    with pytest.raises(SettingsError) as error:
        only(model, THREE, invariance(label="hihg"))
    assert str(error.value) == (
        f"{HERE} label is 'hihg', which is no class. Classes: 'low', 'mid', 'high'."
    )
    with pytest.raises(SettingsError) as error:
        only(model, THREE, direction())
    assert str(error.value) == (
        "promote.checks 'larger is not cheaper' label is null, and a direction needs the class"
        " whose probability moves. Classes: 'low', 'mid', 'high'."
    )


def test_many_labels_are_told_in_part():
    rows = table().assign(town=[f"town {n:02}" for n in range(50)])
    with pytest.raises(SettingsError, match=r"town 00, .* town 19 and 30 more\.$"):
        only(GROWS, SCHEMA, invariance(), rows)


# Clusters

CLUSTERED = Schema(COLUMNS, None, ProblemType.CLUSTERING)


class Clusters:
    """Puts rows into a cluster by a function of the columns."""

    def __init__(self, answer):
        self.answer = answer

    def predict(self, frame):
        return np.asarray(self.answer(frame), dtype=np.int64)


BY_TOWN = Clusters(lambda frame: 2 * (frame["town"] == "Aachen"))


def test_a_row_that_must_stay_in_its_cluster_is_told_when_it_leaves_it():
    result = only(BY_TOWN, CLUSTERED, invariance(rows=1000))
    moved = int((table()["town"] == "Aachen").sum())
    assert (result.n_rows, result.n_violations) == (moved, moved)
    assert (result.before, result.after) == (2, 0)
    assert result.worst.endswith("town Aachen → Berlin: cluster 2 → 0")
    assert not behaves(result).passed


def test_a_row_that_stays_in_its_cluster_passes():
    by_size = Clusters(lambda frame: frame["size"] > 25)
    result = only(by_size, CLUSTERED, invariance(rows=1000))
    assert result.n_rows > 0
    assert behaves(result).passed


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (
            direction(),
            "promote.checks 'larger is not cheaper' expect is not_lower, and clusters have no"
            " order. Of a clustering only kind invariance can be checked: that a row stays in its"
            " cluster.",
        ),
        (
            invariance(tolerance=1),
            "promote.checks 'same' tolerance is 1, and a row is in a cluster or in another one."
            " Set it to 0.",
        ),
        (
            invariance(label="a"),
            "promote.checks 'same' label is 'a', and a clustering has no classes. Set it to null.",
        ),
    ],
)
def test_more_than_staying_can_not_be_asked_of_a_cluster(check, told):
    with pytest.raises(SettingsError) as error:
        only(BY_TOWN, CLUSTERED, check)
    assert str(error.value) == told

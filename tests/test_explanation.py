"""Shares of the columns add up to the answer, and are those that can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from formulas import Chance, Quantity, schema, two, typed

from ratchet import explanation
from ratchet.explanation import MAX_COLUMNS, SUMMARY_ROWS
from ratchet.problem import ProblemType
from ratchet.schema import Kind

REGRESSION = ProblemType.REGRESSION
needs_shap = pytest.mark.skipif(
    not explanation.installed(), reason="the extra explain (shap) is not installed"
)


def rows(of, n=120, seed=0):
    rng = np.random.default_rng(seed)
    made = {
        Kind.NUMBER: lambda: rng.normal(10, 3, n).round(1),
        Kind.CATEGORY: lambda: rng.choice(["Aachen", "Berlin"], n),
        Kind.BOOLEAN: lambda: rng.choice([0.0, 1.0], n),
        Kind.DATETIME: lambda: (
            pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 200, n), "D")
        ),
        Kind.TEXT: lambda: rng.choice(["a note", "another note"], n),
    }
    frame = typed(pd.DataFrame({c.name: made[c.kind]() for c in of.columns}), of)
    frame.loc[3] = None
    return frame


def measure(model, of, frame, y, picked=(3, 7), seed=1):
    return explanation.measure(model, of, frame, frame, y, picked, of.names, seed)


def shares(row):
    return {share.name: share.by for share in row.shares}


@needs_shap
def test_of_a_linear_model_a_share_is_what_the_value_differs_from_the_background():
    of = schema(REGRESSION, size=Kind.NUMBER, town=Kind.CATEGORY, idle=Kind.NUMBER)
    frame = rows(of).drop(index=3).reset_index(drop=True)
    model = Quantity(lambda x: 3 * x["size"] + 10.0 * (x["town"] == "Berlin").to_numpy())
    found = measure(model, of, frame, np.zeros(len(frame)))
    one, other = found.rows
    steps = {"size": 3 * (frame["size"][3] - frame["size"][7])}
    steps["town"] = 10.0 * ((frame["town"][3] == "Berlin") - float(frame["town"][7] == "Berlin"))
    for name, step in steps.items():
        assert shares(one)[name] - shares(other)[name] == pytest.approx(step)
    assert shares(one)["idle"] == 0
    assert [player.name for player in found.players] == ["size", "town", "idle"]


@needs_shap
def test_shares_and_the_mean_answer_make_the_answer_whatever_columns_hold():
    of = schema(
        REGRESSION,
        size=Kind.NUMBER,
        town=Kind.CATEGORY,
        new=Kind.BOOLEAN,
        sold=Kind.DATETIME,
        note=Kind.TEXT,
    )
    frame = rows(of)

    def formula(x):
        assert [str(x[column.name].dtype) for column in of.columns] == [c.dtype for c in of.columns]
        return (
            x["size"].fillna(0.0)
            * (1 + (x["town"] == "Berlin").to_numpy())
            * (1 + x["sold"].dt.month.fillna(1).to_numpy())
            + x["new"].fillna(5.0).to_numpy()
            + x["note"].isna().to_numpy()
        )

    found = measure(Quantity(formula), of, frame, np.zeros(len(frame)))
    said = np.asarray(formula(frame))
    for row, at in zip(found.rows, (3, 7), strict=True):
        assert row.number == at + 1
        assert row.answer == pytest.approx(said[at])
        assert row.base + sum(shares(row).values()) == pytest.approx(said[at])
        assert abs(row.shares[0].by) == max(abs(share.by) for share in row.shares)
    assert {share.value for share in found.rows[0].shares} == {"missing"}
    assert all(len(player.dots) == SUMMARY_ROWS for player in found.players)
    levels = {player.name: {dot.level for dot in player.dots} for player in found.players}
    assert {0, 1, 2} <= levels["size"]
    assert levels["town"] == {None}


@needs_shap
@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_of_classes_the_probability_of_the_positive_or_of_the_said_one_is_split(classes):
    n = len(classes)
    of = schema(
        ProblemType.BINARY if n == 2 else ProblemType.MULTICLASS,
        classes,
        size=Kind.NUMBER,
        other=Kind.NUMBER,
    )
    frame = rows(of).fillna(10.0)

    def table(x):
        first = 1 / (1 + np.exp(x["size"].to_numpy() - x["other"].to_numpy()))
        return two(first) if n == 2 else np.column_stack([first / 2, first / 2, 1 - first])

    model = Chance(classes, table)
    found = measure(model, of, frame, np.zeros(len(frame), dtype=int))
    for row, at in zip(found.rows, (3, 7), strict=True):
        said = table(frame)[at]
        code = 1 if n == 2 else int(said.argmax())
        assert (row.of, row.actual) == (classes[code], classes[0])
        assert row.answer == pytest.approx(said[code])
        assert row.base + sum(shares(row).values()) == pytest.approx(said[code])
    assert found.of == ("probability of yes" if n == 2 else "probability of the class that is said")


@needs_shap
def test_the_columns_of_a_wide_table_share_what_is_left():
    of = schema(REGRESSION, **{f"x{n}": Kind.NUMBER for n in range(30)})
    frame = rows(of).fillna(10.0)
    found = measure(
        Quantity(lambda x: x.to_numpy().sum(axis=1)), of, frame, np.zeros(len(frame)), (5,)
    )
    assert len(found.players) == MAX_COLUMNS + 1
    (rest,) = [player for player in found.players if not player.alone]
    assert rest.name == "the 22 other columns"
    (row,) = found.rows
    assert row.base + sum(shares(row).values()) == pytest.approx(frame.iloc[5].sum())


@needs_shap
def test_the_same_seed_gives_the_same_shares_and_leaves_others_random_numbers_alone():
    of = schema(REGRESSION, size=Kind.NUMBER, other=Kind.NUMBER, third=Kind.NUMBER)
    frame = rows(of).fillna(10.0)
    model = Quantity(lambda x: x["size"] * x["other"] * x["third"])
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    one, same, other = (
        measure(model, of, frame, np.zeros(len(frame)), seed=seed) for seed in (1, 1, 2)
    )
    assert (np.random.get_state()[1] == before).all()
    assert one == same
    assert one != other


def test_typical_rows_are_about_right_and_spread_over_the_answers():
    said = np.arange(100.0)
    wrong = np.where(np.arange(100) % 2, 5.0, 0.0)
    picked = explanation.typical(said, wrong)
    assert len(picked) == 3
    assert all(wrong[at] == 0 for at in picked)
    assert np.diff(said[list(picked)]) == pytest.approx(40, abs=2)
    assert explanation.typical(np.zeros(1), np.zeros(1)) == (0,)

"""Rows as a client has them."""

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import DataError
from ratchet.features import as_features
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.serving import rows

SCHEMA = Schema(
    columns=(
        Column("km", Kind.NUMBER, "float64", optional=False, distinct=9),
        Column("zone", Kind.CATEGORY, "str", optional=False, distinct=9),
        Column("at", Kind.DATETIME, "datetime64[us]", optional=False, distinct=9),
        Column("note", Kind.TEXT, "str", optional=True, distinct=9),
        Column("night", Kind.BOOLEAN, "float64", optional=True, distinct=2),
    ),
    target="minutes",
    problem=ProblemType.REGRESSION,
)


def frame(**changes) -> pd.DataFrame:
    usual = {
        "km": [1.5, 2.0],
        "zone": ["a", "b"],
        "at": ["2026-01-01T10:00:00", "2026-01-02"],
        "note": ["x", None],
        "night": [True, False],
    }
    return pd.DataFrame({name: value for name, value in (usual | changes).items() if value})


def told(rows_given: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        rows.accept(rows_given, SCHEMA)
    return str(caught.value)


def test_rows_come_in_the_models_order_and_types():
    given = frame(extra=[1, 2])[["extra", "night", "at", "zone", "note", "km"]]
    accepted = rows.accept(given, SCHEMA)
    assert list(accepted) == SCHEMA.names
    assert [str(dtype) for dtype in accepted.dtypes] == [c.dtype for c in SCHEMA.columns]
    assert accepted["night"].tolist() == [1.0, 0.0]
    pd.testing.assert_frame_equal(accepted, as_features(accepted, SCHEMA))


def test_an_optional_column_may_be_left_out():
    accepted = rows.accept(frame(note=None, night=None), SCHEMA)
    assert accepted[["note", "night"]].isna().all(axis=None)
    assert str(accepted["note"].dtype) == "str"


def test_a_required_column_may_not():
    assert told(frame(km=None, at=None)) == (
        "Columns 'km', 'at' are missing, which the model needs. Given: zone, note, night."
    )


def test_a_required_columns_value_may_be_missing():
    accepted = rows.accept(frame(km=[1, None], zone=[None, "b"]), SCHEMA)
    assert np.isnan(accepted["km"].iloc[1])
    assert accepted["zone"].isna().tolist() == [True, False]


def test_whole_numbers_are_labels_also_where_one_is_missing():
    assert rows.accept(frame(zone=[74, None]), SCHEMA)["zone"].iloc[0] == "74"


def test_numbers_may_come_as_text_and_times_with_a_zone():
    accepted = rows.accept(frame(km=["1.5", "2"], at=["2026-01-01T10:00:00+02:00", None]), SCHEMA)
    assert accepted["km"].tolist() == [1.5, 2.0]
    assert accepted["at"].iloc[0] == pd.Timestamp("2026-01-01T08:00:00")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"km": ["far", "2"]},
            "Column 'km' must hold finite numbers, and has a value that is not: 'far' in row 0.",
        ),
        (
            {"km": [1.0, np.inf]},
            "Column 'km' must hold finite numbers, and has a value that is not: inf in row 1.",
        ),
        (
            {"km": [pd.Timestamp("2026-01-01"), None]},
            "Column 'km' must hold finite numbers, and has a value that is not: "
            "Timestamp('2026-01-01 00:00:00') in row 0.",
        ),
        (
            {"at": [1, 2]},
            "Column 'at' must hold times, such as 2026-05-01T12:30:00, and has 2 values that are"
            " not: 1 in row 0, the first of them.",
        ),
        (
            {"zone": [["a"], {"b": 1}]},
            "Column 'zone' must hold text, and has 2 values that are not: ['a'] in row 0, the"
            " first of them.",
        ),
    ],
)
def test_a_wrong_type_is_told(changes, sentence):
    assert told(frame(**changes)) == sentence


def test_all_that_is_wrong_is_told_at_once():
    sentence = told(frame(km=["far", "2"], at=[1, 2], zone=None))
    assert all(name in sentence for name in ("'km'", "'at'", "'zone'"))


def test_a_column_that_is_there_twice_is_refused():
    given = frame()
    assert "Column 'km' is there more than once." in told(pd.concat([given, given[["km"]]], axis=1))


def test_whoever_knows_where_a_row_stands_can_say_it():
    with pytest.raises(DataError, match=r"'far' in row 101 of a.csv\."):
        rows.accept(frame(km=["far", "2"]), SCHEMA, lambda place: f"row {place + 101} of a.csv")

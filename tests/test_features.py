"""Each kind of model gets numbers that suit it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy import sparse

from ratchet.features import (
    MAX_CODES,
    MAX_ONE_HOT,
    MIN_FREQUENCY,
    MISSING,
    TEXT_DIMENSIONS,
    TRUSTED_TYPES,
    UNSEEN,
    Preparation,
    as_features,
    matrix,
    preparation,
)
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

DTYPES = {Kind.CATEGORY: "str", Kind.DATETIME: "datetime64[us]", Kind.TEXT: "str"}


def described(frame, **kinds):
    columns = tuple(
        Column(name, kind, str(frame[name].dtype), True, frame[name].nunique())
        for name, kind in kinds.items()
    )
    return Schema(columns, "y", ProblemType.REGRESSION)


def table(**columns):
    """Give a frame and its schema from ``name=(kind, values)``."""
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=DTYPES.get(kind, "float64"))
            for name, (kind, values) in columns.items()
        }
    )
    return frame, described(frame, **{name: kind for name, (kind, _) in columns.items()})


def fitted(frame, schema, kind, **more):
    transformer = preparation(schema, kind, **more)
    return transformer, matrix(transformer, schema, transformer.fit_transform(frame[schema.names]))


def dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


# What models of matrices get; ``FRAME`` and ``RAW`` have tests of their own.
MATRICES = (Preparation.NATIVE, Preparation.CODES, Preparation.SCALED)
TREES = (Preparation.NATIVE, Preparation.CODES)


@pytest.mark.parametrize("kind", TREES)
def test_numbers_reach_trees_as_they_are_and_missing_stays_missing(kind):
    frame, schema = table(size=(Kind.NUMBER, [3.0, None, 1e9]), new=(Kind.BOOLEAN, [1, 0, None]))
    values = fitted(frame, schema, kind)[1]
    np.testing.assert_array_equal(values.values, [[3, 1], [np.nan, 0], [1e9, np.nan]])
    assert not values.categorical.any()


@pytest.mark.parametrize("kind", TREES)
def test_categories_come_first_as_codes_and_are_marked(kind):
    frame, schema = table(
        size=(Kind.NUMBER, [1, 2, 3, 4]),
        town=(Kind.CATEGORY, ["b", "a", None, "b"]),
        when=(Kind.DATETIME, pd.date_range("2024-01-01", periods=4)),
    )
    values = fitted(frame, schema, kind)[1]
    np.testing.assert_array_equal(values.values[:, 0], [1, 0, np.nan, 1])
    assert values.categorical.tolist() == [True] + [False] * (values.values.shape[1] - 1)


@pytest.mark.parametrize("kind", TREES)
def test_an_unseen_category_is_missing_to_trees(kind):
    frame, schema = table(town=(Kind.CATEGORY, ["a", "b", "a"]))
    transformer, _ = fitted(frame, schema, kind)
    assert np.isnan(transformer.transform(pd.DataFrame({"town": ["z"]}))).all()


def test_codes_fit_in_a_byte_and_native_keeps_every_label():
    labels = [f"label {number % 400}" for number in range(1200)]
    frame, schema = table(town=(Kind.CATEGORY, labels))
    native, codes = (fitted(frame, schema, kind)[1].values for kind in TREES)
    assert len(np.unique(native)) == 400
    assert len(np.unique(codes)) == MAX_CODES


def test_numbers_that_are_labels_are_coded_like_text():
    frame, schema = table(size=(Kind.NUMBER, [10.0, 30.0, None, 20.0]))
    schema = described(frame, size=Kind.CATEGORY)
    values = fitted(frame, schema, Preparation.NATIVE)[1]
    np.testing.assert_array_equal(values.values[:, 0], [0, 2, np.nan, 1])


def test_rare_labels_share_a_column_of_a_linear_model():
    labels = ["a"] * MIN_FREQUENCY + ["b"] * MIN_FREQUENCY + ["rare", "rarer"]
    frame, schema = table(town=(Kind.CATEGORY, labels))
    transformer, values = fitted(frame, schema, Preparation.SCALED)
    assert dense(values.values).sum(axis=1).tolist() == [1] * len(labels)
    assert values.values.shape[1] == 3
    assert not values.categorical.any()
    unseen = dense(transformer.transform(pd.DataFrame({"town": ["z"]})))
    np.testing.assert_array_equal(unseen, dense(values.values)[-1:])


def test_a_linear_model_gets_no_more_columns_than_it_can_bear():
    labels = [f"label {number}" for number in range(400)] * MIN_FREQUENCY
    frame, schema = table(town=(Kind.CATEGORY, labels))
    schema = replace(schema, target=None, problem=ProblemType.CLUSTERING)
    values = fitted(frame, schema, Preparation.SCALED)[1].values
    assert values.shape[1] == MAX_ONE_HOT
    assert sparse.issparse(values)


def test_a_linear_model_gets_no_missing_value():
    random = np.random.default_rng(0)
    frame, schema = table(
        size=(Kind.NUMBER, [None, *random.uniform(0, 1, 29)]),
        new=(Kind.BOOLEAN, [1, None] * 15),
        town=(Kind.CATEGORY, ["a", None, "b"] * 10),
        when=(Kind.DATETIME, [None, *pd.date_range("2024-01-01", periods=29)]),
        note=(Kind.TEXT, [None, *[f"some words {number}" for number in range(29)]]),
    )
    transformer, values = fitted(frame, schema, Preparation.SCALED)
    assert np.isfinite(dense(values.values)).all()
    nothing = pd.DataFrame([dict.fromkeys(schema.names)])
    assert np.isfinite(dense(transformer.transform(as_features(nothing, schema)))).all()


def test_a_missing_number_is_told_to_a_linear_model():
    frame, schema = table(size=(Kind.NUMBER, [1.0, 2.0, 3.0, None] * 5))
    values = dense(fitted(frame, schema, Preparation.SCALED)[1].values)
    assert values.shape[1] == 2
    assert len(np.unique(values[frame["size"].isna(), 1])) == 1
    assert values[3, 1] != values[0, 1]


@pytest.mark.parametrize("kind", MATRICES)
def test_the_age_of_a_row_is_left_out_when_rows_are_split_by_time(kind):
    when = pd.date_range("2024-01-01 08:00", periods=30, freq="28D")
    frame, schema = table(when=(Kind.DATETIME, when))
    plain = fitted(frame, schema, kind, time_ordered=False)[1].values
    ordered = fitted(frame, schema, kind, time_ordered=True)[1].values
    assert ordered.shape[1] == plain.shape[1] - 1
    age = np.arange(30)
    rises = [np.corrcoef(column, age)[0, 1] > 0.999 for column in plain.T if column.std()]
    assert any(rises)


@pytest.mark.parametrize("kind", TREES)
def test_hour_and_weekday_of_a_time_are_features(kind):
    frame, schema = table(
        when=(Kind.DATETIME, ["2024-01-01 05:30", "2024-02-29 23:00", "2023-07-16 00:10"])
    )
    transformer, values = fitted(frame, schema, kind, time_ordered=True)
    names = [str(name) for name in transformer.get_feature_names_out()]
    got = pd.DataFrame(values.values, columns=names)
    assert got["when_hour"].tolist() == [5, 23, 0]
    assert got["when_month"].tolist() == [1, 2, 7]
    assert got["when_weekday"].tolist() == [1, 4, 7]


@pytest.mark.parametrize("kind", MATRICES)
def test_text_becomes_a_few_numbers(kind):
    words = ["red house", "blue boat", "old mill by the river", "new flat", "green garden shed"]
    notes = [f"{words[number % 5]} {words[number % 4]} {number}" for number in range(60)]
    frame, schema = table(note=(Kind.TEXT, notes))
    values = fitted(frame, schema, kind)[1].values
    assert values.shape == (60, TEXT_DIMENSIONS)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("kind", MATRICES)
def test_a_text_column_without_a_value_in_training_is_left_out(kind):
    frame, schema = table(size=(Kind.NUMBER, [1, 2, 3]), note=(Kind.TEXT, [None] * 3))
    transformer, values = fitted(frame, schema, kind)
    assert values.values.shape == (3, 1)
    later = pd.DataFrame({"size": [4.0], "note": ["a word"]})
    assert np.isfinite(transformer.transform(as_features(later, schema))).all()


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("empty", [kind for kind in Kind if kind is not Kind.TEXT])
def test_a_column_without_a_value_in_training_does_no_harm(kind, empty):
    frame, schema = table(nothing=(empty, [None] * 12), size=(Kind.NUMBER, range(12)))
    transformer, values = fitted(frame, schema, kind)
    later = {
        Kind.NUMBER: 1.0,
        Kind.BOOLEAN: 1.0,
        Kind.CATEGORY: "a",
        Kind.DATETIME: pd.Timestamp("2024-01-01"),
    }
    row = as_features(pd.DataFrame({"nothing": [later[empty]], "size": [1.0]}), schema)
    assert dense(transformer.transform(row)).shape == (1, values.values.shape[1])


@pytest.mark.parametrize("kind", MATRICES)
def test_a_row_is_prepared_alike_alone_and_among_others(kind):
    random = np.random.default_rng(1)
    frame, schema = table(
        size=(Kind.NUMBER, random.normal(size=40)),
        town=(Kind.CATEGORY, random.choice(["a", "b", "c"], 40)),
        when=(Kind.DATETIME, pd.date_range("2024-01-01", periods=40, freq="7h")),
    )
    transformer, _ = fitted(frame, schema, kind)
    together = dense(transformer.transform(frame))
    alone = np.vstack([dense(transformer.transform(frame.iloc[[row]])) for row in range(0, 40, 7)])
    np.testing.assert_array_equal(alone, together[::7])


def mixed():
    return table(
        size=(Kind.NUMBER, [3.0, None, 1e9, 4.0]),
        town=(Kind.CATEGORY, ["b", "a", None, "b"]),
        new=(Kind.BOOLEAN, [1, 0, None, 1]),
        when=(Kind.DATETIME, pd.date_range("2024-01-01", periods=4)),
        note=(Kind.TEXT, ["old mill", "new flat by the river", None, "red house"]),
    )


@pytest.mark.parametrize("kind", [Preparation.FRAME, Preparation.RAW])
def test_a_frame_survives_being_saved(kind):
    frame, schema = mixed()
    transformer, values = fitted(frame, schema, kind)
    stored = skops.io.dumps(transformer)
    assert set(skops.io.get_untrusted_types(data=stored)) <= set(TRUSTED_TYPES)
    loaded = skops.io.loads(stored, trusted=list(TRUSTED_TYPES))
    pd.testing.assert_frame_equal(loaded.transform(frame[schema.names]), values.values)


def test_raw_columns_are_as_they_were_and_categories_are_marked_where_they_stand():
    frame, schema = mixed()
    transformer, values = fitted(frame, schema, Preparation.RAW)
    pd.testing.assert_frame_equal(values.values, frame)
    assert values.categorical.tolist() == [False, True, False, False, False]
    pd.testing.assert_frame_equal(transformer.transform(frame.iloc[[2]]), frame.iloc[[2]])


def test_a_raw_text_column_without_a_value_in_training_stays():
    frame, schema = table(size=(Kind.NUMBER, [1, 2, 3]), note=(Kind.TEXT, [None] * 3))
    assert list(fitted(frame, schema, Preparation.RAW)[1].values) == ["size", "note"]


def test_categories_of_a_frame_are_whole_numbers_and_numbers_keep_their_gaps():
    frame, schema = mixed()
    transformer, values = fitted(frame, schema, Preparation.FRAME)
    got = values.values
    assert got.dtypes.iloc[0] == "int64"
    assert got.iloc[:, 0].tolist() == [1, 0, MISSING, 1]
    assert values.categorical.tolist() == [True] + [False] * (got.shape[1] - 1)
    assert all(dtype.kind == "f" for dtype in got.dtypes.iloc[1:])
    np.testing.assert_array_equal(got["number__size"], [3.0, np.nan, 1e9, 4.0])
    later = transformer.transform(frame.assign(town="elsewhere")[schema.names])
    assert later.iloc[:, 0].tolist() == [UNSEEN] * 4


def test_a_frame_may_have_a_column_named_as_a_part_of_a_time():
    frame, schema = table(
        when=(Kind.DATETIME, pd.date_range("2024-01-01", periods=4)),
        when_hour=(Kind.NUMBER, [1, 2, 3, 4]),
    )
    names = list(fitted(frame, schema, Preparation.FRAME)[1].values)
    assert len(set(names)) == len(names)


def test_native_codes_are_bounded_where_labels_are_too_many(monkeypatch):
    monkeypatch.setattr("ratchet.features.MAX_NATIVE", 10)
    frame, schema = table(town=(Kind.CATEGORY, [f"label {n % 40}" for n in range(100)]))
    assert len(np.unique(fitted(frame, schema, Preparation.NATIVE)[1].values)) == 10
    assert len(np.unique(fitted(frame, schema, Preparation.FRAME)[1].values)) == 40


def test_features_take_the_order_and_the_types_of_the_schema():
    _, schema = table(size=(Kind.NUMBER, [1, 2]), town=(Kind.CATEGORY, ["a", "b"]))
    given = pd.DataFrame({"town": ["a"], "more": [1], "size": [3]})
    features = as_features(given, schema)
    assert list(features) == ["size", "town"]
    assert features["size"].dtype == "float64"
    assert features["town"].dtype == "str"
    assert list(given) == ["town", "more", "size"]


def test_times_with_a_zone_are_read_as_utc():
    naive, schema = table(at=(Kind.DATETIME, ["2023-03-01 07:30", None]))
    zoned = pd.to_datetime(pd.Series(["2023-03-01 08:30", None])).dt.tz_localize("Europe/Vienna")
    given = pd.DataFrame({"at": zoned})
    pd.testing.assert_frame_equal(as_features(given, schema), naive)
    assert given["at"].dt.tz is not None


def follows(column, target, problem):
    return abs(np.corrcoef(column, target == 0 if problem == "multiclass" else target)[0, 1])


@pytest.mark.parametrize("problem", ["regression", "binary", "multiclass"])
def test_a_category_of_many_labels_becomes_what_other_rows_say_of_its_target(problem):
    random = np.random.default_rng(0)
    n = 3000
    label = random.integers(0, 600, n)
    known = {"regression": label * 1.0, "binary": label % 2, "multiclass": label % 3}[problem]
    frame = pd.DataFrame({"many": pd.Series(label).map("L{}".format).astype("str")})
    column = Column("many", Kind.CATEGORY, "str", False, 600)
    schema = Schema((column,), "y", ProblemType(problem), (0, 1, 2))
    scaled = preparation(schema, Preparation.SCALED)
    values = scaled.fit_transform(frame, known)
    assert values.shape == (n, 3 if problem == "multiclass" else 1)
    assert (
        abs(np.corrcoef(values[:, 0], known if problem != "multiclass" else known == 0)[0, 1]) > 0.8
    )
    # Noise instead of a target: rows that told it of themselves would follow it.
    noise = random.permutation(known)
    told = preparation(schema, Preparation.SCALED).fit_transform(frame, noise)
    assert (
        abs(np.corrcoef(told[:, 0], noise if problem != "multiclass" else noise == 0)[0, 1]) < 0.1
    )
    assert not matrix(scaled, schema, values).categorical.any()
    unseen = scaled.transform(pd.DataFrame({"many": pd.Series(["new"], dtype="str")}))
    assert np.isfinite(unseen).all()


def test_rows_that_are_put_together_without_a_target_keep_their_labels():
    column = Column("many", Kind.CATEGORY, "str", False, 600)
    schema = Schema((column,), None, ProblemType.CLUSTERING)
    made = preparation(schema, Preparation.SCALED)
    assert [name for name, _, _ in made.transformers] == ["category"]

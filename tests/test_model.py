"""A logged model answers with the target's own labels, and needs nothing of ours."""

import json
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

import ratchet.model
from ratchet.features import Preparation, as_features, preparation
from ratchet.model import (
    ASSEMBLY_TYPES,
    Calibration,
    Part,
    answers,
    as_predictions,
    assemble,
    combine,
    places,
    predict,
    raw_answer,
    saved_bytes,
    taken_apart,
)
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.table import encode_target

COLUMNS = (
    Column("size", Kind.NUMBER, "float64", False, 60),
    Column("town", Kind.CATEGORY, "str", True, 2),
)

# Classes in the order of their codes: the positive class is last, and not always last when sorted.
CLASSES = [
    ("no", "yes"),
    ("yes", "no"),
    (False, True),
    (True, False),
    (0, 1),
    (7, -7),
    (0.5, 1.5),
    ("ä", "b", "駅"),
    (1, 2, 3),
    (10, 9, 8),
]
every_label = pytest.mark.parametrize("classes", CLASSES, ids=str)
two_labels = pytest.mark.parametrize(
    "classes", [each for each in CLASSES if len(each) == 2 and each != (0.5, 1.5)], ids=str
)


def schema_of(classes):
    kinds = {0: ProblemType.REGRESSION, 2: ProblemType.BINARY, 3: ProblemType.MULTICLASS}
    return Schema(COLUMNS, "y", kinds[len(classes)], classes)


def rows(classes, n=60, seed=0):
    random = np.random.default_rng(seed)
    codes = random.integers(0, len(classes), n) if classes else random.normal(size=n)
    y = pd.Series([classes[code] for code in codes]) if classes else codes
    town = pd.Series(random.choice(["a", "b"], n), dtype="str")
    return pd.DataFrame({"size": codes + random.normal(0, 0.4, n), "town": town, "y": y})


def build(classes, threshold=None, estimator=None):
    schema, frame = schema_of(classes), rows(classes)
    transformer = preparation(schema, Preparation.SCALED)
    codes = encode_target(frame["y"], schema)
    X = transformer.fit_transform(as_features(frame, schema), codes)
    model = estimator or (LogisticRegression() if classes else LinearRegression())
    return assemble(transformer, model.fit(X, codes), schema, threshold), schema


def inside(stored):
    """Yield every module and class that a stored model names."""

    def walk(node):
        if isinstance(node, dict):
            if "__class__" in node:
                yield node.get("__module__"), node["__class__"]
            for each in node.values():
                yield from walk(each)
        elif isinstance(node, list):
            for each in node:
                yield from walk(each)

    with zipfile.ZipFile(BytesIO(stored)) as archive:
        return set(walk(json.loads(archive.read("schema.json"))))


@every_label
def test_answers_are_the_target_s_own_labels(classes):
    model, schema = build(classes)
    frame = rows(classes, seed=1)
    said = model.predict(as_features(frame, schema))
    assert set(said.tolist()) <= set(classes)
    assert {type(answer) for answer in said.tolist()} == {type(classes[0])}
    assert model.classes_.tolist() == list(classes)
    assert np.mean(said == frame["y"]) > 0.6


@every_label
def test_predictions_are_codes_in_the_order_of_the_schema(classes):
    model, schema = build(classes)
    frame = rows(classes, seed=1)
    predictions = predict(model, frame, schema)
    np.testing.assert_array_equal(
        predictions.values,
        encode_target(pd.Series(model.predict(as_features(frame, schema))), schema),
    )
    np.testing.assert_array_equal(predictions.values, predictions.probabilities.argmax(axis=1))
    assert np.mean(predictions.values == encode_target(frame["y"], schema)) > 0.6


@every_label
def test_a_model_that_keeps_its_classes_in_another_order_is_understood(classes):
    schema, frame = schema_of(classes), rows(classes)
    codes = encode_target(frame["y"], schema)
    mirrored = replace(schema, classes=classes[::-1])
    transformer = preparation(schema, Preparation.SCALED)
    X = transformer.fit_transform(as_features(frame, schema))
    estimator = LogisticRegression().fit(X, len(classes) - 1 - codes)
    predictions = predict(assemble(transformer, estimator, mirrored, None), frame, schema)
    np.testing.assert_array_equal(predictions.values, predictions.probabilities.argmax(axis=1))
    assert np.mean(predictions.values == codes) > 0.6


@two_labels
@pytest.mark.parametrize("threshold", [0.0, 0.2, 1.1])
def test_the_threshold_is_honoured(classes, threshold):
    model, schema = build(classes, threshold)
    plain, _ = build(classes)
    frame = rows(classes, seed=1)
    predictions = predict(model, frame, schema)
    positive = predictions.probabilities[:, 1]
    np.testing.assert_array_equal(predictions.values, positive >= threshold)
    np.testing.assert_array_equal(positive, predict(plain, frame, schema).probabilities[:, 1])
    answers = model.predict(as_features(frame, schema))
    assert {type(answer) for answer in answers.tolist()} == {type(classes[0])}
    np.testing.assert_array_equal(answers, np.where(positive >= threshold, classes[1], classes[0]))


@two_labels
def test_a_probability_equal_to_the_threshold_is_positive(classes):
    constant = DummyClassifier(strategy="prior")
    plain, schema = build(classes, estimator=constant)
    frame = rows(classes)
    share = predict(plain, frame, schema).probabilities[0, 1]
    for threshold, code in ((share, 1), (np.nextafter(share, 1), 0)):
        model, _ = build(classes, float(threshold), DummyClassifier(strategy="prior"))
        assert set(predict(model, frame, schema).values) == {code}


def test_a_quantity_is_answered_as_it_is():
    model, schema = build((), estimator=DummyRegressor(strategy="constant", constant=3))
    predictions = predict(model, rows(()), schema)
    assert predictions.probabilities is None
    assert predictions.values.dtype == np.float64
    assert set(predictions.values) == {3.0}


@pytest.mark.parametrize(
    ("classes", "threshold"),
    [((), None), ((1, 2, 3), None), (("yes", "no"), None), (("yes", "no"), 0.3), ((7, -7), 0.3)],
)
def test_a_saved_model_holds_no_class_of_ours_and_answers_alike(classes, threshold):
    model, schema = build(classes, threshold)
    stored = skops.io.dumps(model)
    assert not [name for name in inside(stored) if "ratchet" in str(name[0])]
    assert set(skops.io.get_untrusted_types(data=stored)) <= set(ASSEMBLY_TYPES)
    loaded = skops.io.loads(stored, trusted=list(ASSEMBLY_TYPES))
    frame = rows(classes, seed=2)
    one, other = predict(model, frame, schema), predict(loaded, frame, schema)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(
        model.predict(as_features(frame, schema)), loaded.predict(as_features(frame, schema))
    )


@pytest.mark.parametrize("classes", [(), ("yes", "no"), (1, 2, 3)], ids=str)
def test_the_order_of_columns_and_rows_does_not_matter(classes):
    model, schema = build(classes)
    frame = rows(classes, seed=1)
    plain = predict(model, frame, schema)
    turned = predict(model, frame[["y", "town", "size"]].iloc[::-1], schema)
    np.testing.assert_array_equal(turned.values, plain.values[::-1])
    features = as_features(frame, schema)[["town", "size"]]
    np.testing.assert_array_equal(model.predict(features), model.predict(features[schema.names]))


def test_one_row_with_everything_missing_gets_an_answer():
    model, schema = build(("yes", "no"), 0.3)
    nothing = pd.DataFrame({"size": [None], "town": [None]})
    predictions = predict(model, nothing, schema)
    assert np.isfinite(predictions.probabilities).all()
    assert model.predict(as_features(nothing, schema))[0] in ("yes", "no")


@given(
    positive=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    threshold=st.floats(0, 1),
)
@budget(max_examples=60, deadline=None)
def test_a_lower_threshold_says_yes_to_no_fewer_rows(positive, threshold):
    probabilities = np.column_stack([1 - np.array(positive), positive])
    lower, upper = (as_predictions(probabilities, t).values for t in (threshold / 2, threshold))
    assert (lower >= upper).all()
    np.testing.assert_array_equal(upper, np.array(positive) >= threshold)


def test_without_a_threshold_the_likeliest_class_is_said_and_the_first_of_two():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])
    decided = as_predictions(probabilities, None)
    assert decided.values.tolist() == [1, 0, 2]
    assert decided.probabilities is probabilities


def test_an_estimator_of_codes_is_asked_like_a_whole_model():
    schema, frame = schema_of(("yes", "no")), rows(("yes", "no"))
    transformer = preparation(schema, Preparation.SCALED)
    codes = encode_target(frame["y"], schema)
    X = transformer.fit_transform(as_features(frame, schema), codes)
    estimator = LogisticRegression().fit(X, codes)
    for threshold in (None, 0.2):
        bare = as_predictions(raw_answer(estimator, X, 2), threshold)
        whole = predict(assemble(transformer, estimator, schema, threshold), frame, schema)
        np.testing.assert_array_equal(bare.values, whole.values)
        np.testing.assert_array_equal(bare.probabilities, whole.probabilities)


@pytest.mark.parametrize("classes", [(), ("yes", "no"), ("a", "b", "c")])
def test_models_answer_together_by_their_weights(classes):
    schema, frame = schema_of(classes), rows(classes)
    y = encode_target(frame["y"], schema)
    parts = []
    for kind, weight in ((Preparation.SCALED, 3.0), (Preparation.SCALED, 1.0)):
        transformer = preparation(schema, kind)
        X = transformer.fit_transform(as_features(frame, schema), y)
        fitted = (LogisticRegression(C=weight) if classes else Ridge(alpha=weight)).fit(X, y)
        parts += [Part(transformer, fitted, weight), Part(transformer, fitted, weight)]
    together = combine(parts, schema, None)
    said = predict(together, frame, schema)
    alone = [predict(combine([part], schema, None), frame, schema) for part in parts]

    def raw(answer):
        return answer.values if answer.probabilities is None else answer.probabilities

    expected = np.average([raw(each) for each in alone], axis=0, weights=[3, 3, 1, 1])
    np.testing.assert_allclose(raw(said), expected)
    # Two models behind each of two preparations: rows are prepared twice, not four times.
    assert len(together.estimators_) == 2


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    ("classes", "threshold", "calibrated"),
    [
        ((), None, False),
        (("yes", "no"), None, False),
        (("yes", "no"), 0.3, True),
        (("a", "b", "c"), None, True),
    ],
)
def test_a_part_that_is_taken_out_says_what_it_says_inside(
    classes, threshold, calibrated, saved, alone
):
    schema, frame = schema_of(classes), rows(classes)
    y = encode_target(frame["y"], schema)
    first, second = (preparation(schema, Preparation.SCALED) for _ in range(2))
    X = {id(each): each.fit_transform(as_features(frame, schema), y) for each in (first, second)}

    def part(transformer, strength, weight):
        estimator = LogisticRegression(C=strength) if classes else Ridge(alpha=strength)
        return Part(transformer, estimator.fit(X[id(transformer)], y), weight)

    # Those of one preparation are put together: the order is another one inside.
    given = [part(first, 1.0, 0.5), part(second, 9.0, 0.3), part(first, 0.1, 0.2)]
    given = given[:1] if alone else given
    inside = [raw_answer(each.estimator, X[id(each.transformer)], len(classes)) for each in given]
    mean = np.average(inside, axis=0, weights=[each.weight for each in given])
    learned = Calibration.learn(mean, y) if calibrated else None
    model = combine(given, schema, threshold, learned)
    if saved:
        model = skops.io.loads(skops.io.dumps(model), trusted=list(ASSEMBLY_TYPES))
    parts = taken_apart(model)
    assert len(parts) == len(given)
    assert places(given) == ((0,) if alone else (0, 2, 1))
    for each, place, said in zip(given, places(given), inside, strict=True):
        again = predict(combine([parts[place]], schema, None), frame, schema)
        np.testing.assert_array_equal(
            again.values if again.probabilities is None else again.probabilities, said
        )
        total = sum(one.weight for one in parts)
        assert parts[place].weight / total == pytest.approx(
            each.weight / sum(one.weight for one in given)
        )


def test_a_vote_of_the_users_own_is_one_part():
    schema, frame = schema_of(()), rows(())
    transformer = preparation(schema, Preparation.SCALED)
    X = transformer.fit_transform(as_features(frame, schema))
    vote = VotingRegressor([("line", Ridge()), ("plane", Ridge(2.0))]).fit(X, frame["y"])
    [part] = taken_apart(assemble(transformer, vote, schema, None))
    assert part.estimator is vote


def test_a_model_is_weighed_as_skops_saves_it(tmp_path):
    model, _ = build(("yes", "no"), 0.3)
    skops.io.dump(model, tmp_path / "model.skops")
    assert saved_bytes(model) == (tmp_path / "model.skops").stat().st_size


def test_a_class_that_a_model_has_not_seen_has_no_probability():
    X, codes = np.arange(6.0)[:, None], np.array([0, 0, 0, 2, 2, 2])
    said = raw_answer(LogisticRegression().fit(X, codes), X, 3)
    assert said.shape == (6, 3)
    assert (said[:, 1] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)


@every_label
def test_many_answers_are_those_of_the_usual_question(classes, monkeypatch):
    monkeypatch.setattr(ratchet.model, "ROWS_AT_ONCE", 7)
    (model, schema), frame = build(classes), rows(classes)
    usual = predict(model, frame, schema)
    decided, likely = (answers(model, frame, schema, probabilities=each) for each in (False, True))
    np.testing.assert_array_equal(decided.values, usual.values)
    assert decided.probabilities is None
    np.testing.assert_allclose(likely.probabilities, usual.probabilities)
    np.testing.assert_array_equal(likely.values, usual.probabilities.argmax(axis=1))


def test_many_answers_about_a_quantity_are_those_of_the_usual_question(monkeypatch):
    monkeypatch.setattr(ratchet.model, "ROWS_AT_ONCE", 7)
    (model, schema), frame = build(()), rows(())
    found = answers(model, frame, schema, probabilities=True)
    np.testing.assert_allclose(found.values, predict(model, frame, schema).values)
    assert found.probabilities is None

"""What every backend on the shelf promises, and the shelf itself."""

import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from debug_backend import DebugBackend, on_shelf

from ratchet import backends
from ratchet.backends import (
    Choice,
    Family,
    Fitted,
    Integer,
    Interpretability,
    Looks,
    Real,
    Request,
    Rows,
    Task,
)
from ratchet.backends.growth import cuda_devices
from ratchet.errors import RatchetError, SettingsError
from ratchet.features import Preparation, as_features, matrix, preparation
from ratchet.model import ASSEMBLY_TYPES, assemble, predict
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.table import encode_target

REGRESSION, BINARY, MULTICLASS = (
    ProblemType.REGRESSION,
    ProblemType.BINARY,
    ProblemType.MULTICLASS,
)
# What has a target; clustering has tests of its own.
PROBLEMS = (REGRESSION, BINARY, MULTICLASS)
KINDS = {
    "size": Kind.NUMBER,
    "town": Kind.CATEGORY,
    "zone": Kind.CATEGORY,
    "new": Kind.BOOLEAN,
    "when": Kind.DATETIME,
    "note": Kind.TEXT,
}
CLASSES = {REGRESSION: (), BINARY: ("yes", "no"), MULTICLASS: ("a", "b", "c")}
# What a backend needs before it offers anything: functions of a user's own, here.
OPTIONS = {
    "callable": {
        name: f"plain_models:{name}"
        for name in ("build_model", "train_fn", "predict_fn", "save_fn", "load_fn")
    }
}
METRIC = {REGRESSION: "rmse", BINARY: "log_loss", MULTICLASS: "log_loss"}


def usual_loss(y, problem):
    """Give the loss of raw answers about rows whose truth is ``y``."""

    def loss(raw):
        assert raw.shape == (
            (len(y),) if problem is REGRESSION else (len(y), len(CLASSES[problem]))
        )
        if problem is REGRESSION:
            return float(np.sqrt(np.mean((raw - y) ** 2)))
        assert (raw >= 0).all()
        np.testing.assert_allclose(raw.sum(axis=1), 1, atol=1e-5)
        return float(-np.mean(np.log(np.clip(raw[np.arange(len(y)), y], 1e-12, 1))))

    return loss


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """Fewer trees promise the same in less time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ratchet.backends.sklearn.FOREST_TREES", 30)
        monkeypatch.setattr("ratchet.backends.sklearn.FOREST_STEP", 5)
        monkeypatch.setattr("ratchet.backends.sklearn.BOOSTING_ROUNDS", 60)
        monkeypatch.setattr("ratchet.backends.growth.MAX_ROUNDS", 60)
        monkeypatch.setattr("ratchet.backends.growth.PATIENCE", 10)
        monkeypatch.setattr("ratchet.backends.neural_network.MAX_EPOCHS", 40)
        yield


def rows(problem, n=80, seed=0):
    random = np.random.default_rng(seed)
    size = random.uniform(1, 9, n)
    words = random.choice(["red", "blue", "old", "fresh", "warm"], (n, 6))
    frame = pd.DataFrame(
        {
            "size": size,
            "town": pd.Series(random.choice(["a", "b", "c"], n), dtype="str"),
            "zone": random.integers(1, 5, n).astype("float64"),
            "new": random.integers(0, 2, n).astype("float64"),
            "when": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(random.integers(0, 10**5, n), unit="m"),
            "note": pd.Series([" ".join(each) for each in words], dtype="str"),
        }
    ).astype({"when": "datetime64[us]"})
    for place, name in enumerate(KINDS):
        frame.loc[place, name] = None
    y = size + (frame["town"] == "a") + random.normal(0, 0.1, n)
    if problem is not REGRESSION:
        classes = CLASSES[problem]
        edges = np.quantile(y, np.linspace(0, 1, len(classes) + 1)[1:-1])
        y = pd.Series(np.array(classes)[np.searchsorted(edges, y)], dtype="str")
    frame["y"] = y
    return frame


def described(frame, problem, names=tuple(KINDS)):
    columns = tuple(
        Column(name, KINDS[name], str(frame[name].dtype), True, frame[name].nunique())
        for name in names
    )
    return Schema(columns, "y", problem, CLASSES[problem])


def task_of(problem, n=80):
    return Task(problem, n, len(KINDS), len(CLASSES[problem]))


def backend(name, options=None):
    """Make a backend, with the options without which it offers nothing."""
    return backends.get(name, OPTIONS.get(name) if options is None else options)


def offered(problem):
    """Give the families for a problem, each with the name of its backend."""
    return [
        (name, family)
        for name in backends.available()
        if problem in backend(name).problems
        for family in backend(name).families(task_of(problem))
    ]


CASES = [
    pytest.param(problem, name, family.name, id=f"{problem}-{name}-{family.name}")
    for problem in PROBLEMS
    for name, family in offered(problem)
]
every_family = pytest.mark.parametrize(("problem", "name", "family"), CASES)


@dataclass(frozen=True)
class Model:
    fitted: Fitted
    pipeline: object
    schema: Schema

    def predict(self, frame):
        return predict(self.pipeline, frame, self.schema)


def family_of(problem, name, family, n=80, options=None):
    offered = backend(name, options).families(task_of(problem, n))
    return next((each for each in offered if each.name == family), None)


def fit(problem, name, family, frame, columns=tuple(KINDS), threshold=None, **changes):
    """Fit a family on the first three quarters of a table, and stop early on the rest."""
    schema = described(frame, problem, columns)
    chosen = family_of(problem, name, family, len(frame))
    y = encode_target(frame["y"], schema)
    n = len(frame) * 3 // 4
    transformer = preparation(schema, chosen.preparation)
    train = transformer.fit_transform(as_features(frame.iloc[:n], schema), y[:n])
    prepared = matrix(transformer, schema, train)
    valid = transformer.transform(as_features(frame.iloc[n:], schema))
    request = Request(
        family=family,
        params=chosen.starts[0],
        task=task_of(problem, n),
        train=Rows(prepared.values, y[:n]),
        valid=Rows(valid, y[n:]),
        categorical=prepared.categorical,
        metric=METRIC[problem],
        threads=1,
        seed=3,
        loss=usual_loss(y[n:], problem),
    )
    fitted = backend(name).fit(replace(request, **changes))
    return Model(fitted, assemble(transformer, fitted.estimator, schema, threshold), schema)


@cache
def whole(problem, name, family):
    """Fit once what several tests ask."""
    return fit(problem, name, family, rows(problem))


def quick(*case, **changes):
    """Fit as little as the family can: its deadline is over before it begins."""
    return fit(*case, deadline=time.monotonic() - 1, **changes)


def sound(predictions, n, problem):
    assert predictions.values.shape == (n,)
    assert np.isfinite(predictions.values).all()
    if problem is REGRESSION:
        assert predictions.probabilities is None
        return
    classes = len(CLASSES[problem])
    assert predictions.probabilities.shape == (n, classes)
    assert (predictions.probabilities >= 0).all()
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(predictions.values, predictions.probabilities.argmax(axis=1))


def same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


@every_family
def test_answers_are_quantities_or_probabilities(problem, name, family):
    frame = rows(problem, seed=1)
    sound(whole(problem, name, family).predict(frame), len(frame), problem)


@every_family
def test_one_row_alone_gets_the_answer_that_it_gets_among_others(problem, name, family):
    frame = rows(problem, seed=1)
    model = whole(problem, name, family)
    together = model.predict(frame)
    for row in (0, 7):
        alone = model.predict(frame.iloc[[row]])
        np.testing.assert_allclose(alone.values, together.values[[row]], rtol=1e-6)


@every_family
def test_the_same_seed_gives_the_same_answers_with_any_number_of_threads(problem, name, family):
    frame = rows(problem)
    columns = ("size", "town", "zone", "new")
    one, two = (
        fit(problem, name, family, frame, columns, threads=threads).predict(frame)
        for threads in (1, 2)
    )
    same(one, two)


@every_family
def test_equal_requests_give_equal_answers_bit_for_bit_where_a_backend_says_so(
    problem, name, family, monkeypatch
):
    if backends.get(name).doubt(family, threads=2, gpu=False):
        pytest.skip("it doesn't say so")
    # Boosted trees have threads of their own on large tables only.
    monkeypatch.setattr("ratchet.backends.growth.ROWS_FOR_THREADS", 0)
    frame, columns = rows(problem, n=160), ("size", "town", "zone", "new")
    one, two = (fit(problem, name, family, frame, columns, threads=2) for _ in range(2))
    assert one.fitted.params == two.fitted.params
    same(one.predict(frame), two.predict(frame))


@every_family
def test_a_fit_that_the_clock_has_ended_ends_there_again_without_a_clock(problem, name, family):
    frame, columns, clock = rows(problem), ("size", "town", "zone", "new"), Striking(2)
    first = fit(problem, name, family, frame, columns, looks=clock, deadline=math.inf)
    again = fit(problem, name, family, frame, columns, looks=Looks(clock.up_at))
    assert again.fitted.params == first.fitted.params
    assert again.fitted.cut_short == first.fitted.cut_short
    same(again.predict(frame), first.predict(frame))


class Striking(Looks):
    """A clock that strikes at a certain look."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def time_is_up(self, deadline):
        late = self.count + 1 >= self.at
        return super().time_is_up(time.monotonic() - 1 if late else deadline)


@every_family
def test_a_saved_model_needs_no_more_trust_than_declared_and_answers_alike(problem, name, family):
    model = whole(problem, name, family)
    trusted = {*backend(name).trusted_types, *ASSEMBLY_TYPES}
    stored = skops.io.dumps(model.pipeline)
    assert set(skops.io.get_untrusted_types(data=stored)) <= trusted
    loaded = replace(model, pipeline=skops.io.loads(stored, trusted=sorted(trusted)))
    frame = rows(problem, seed=2)
    same(loaded.predict(frame), model.predict(frame))


@every_family
def test_unseen_categories_and_empty_rows_get_an_answer(problem, name, family):
    frame = rows(problem, seed=1)
    frame["town"] = "elsewhere"
    frame["zone"] = 99.0
    frame["note"] = "12345"
    frame.loc[:9, list(KINDS)] = None
    sound(whole(problem, name, family).predict(frame), len(frame), problem)


@every_family
def test_the_order_of_columns_and_more_columns_change_nothing(problem, name, family):
    frame = rows(problem, seed=1)
    model = whole(problem, name, family)
    other = frame[["y", *reversed(KINDS)]].assign(more=1)
    same(model.predict(other), model.predict(frame))


@every_family
@pytest.mark.parametrize("column", ["size", "town", "when"])
def test_one_column_is_enough(problem, name, family, column):
    frame = rows(problem)
    model = quick(problem, name, family, frame, columns=(column,))
    sound(model.predict(frame), len(frame), problem)


@every_family
def test_columns_without_a_value_in_training_do_no_harm(problem, name, family):
    frame = rows(problem)
    later = frame.iloc[60:]
    empty = frame.copy()
    for column in ("town", "zone", "new", "when", "note"):
        empty[column] = pd.Series([None] * len(frame), dtype=frame[column].dtype)
    model = quick(problem, name, family, empty)
    sound(model.predict(later), len(later), problem)


@every_family
def test_a_column_of_400_labels_can_be_learned(problem, name, family):
    frame = rows(problem, n=600)
    frame["town"] = pd.Series([f"label {row % 400}" for row in range(600)], dtype="str")
    model = quick(problem, name, family, frame, columns=("size", "town"))
    sound(model.predict(frame), len(frame), problem)


@every_family
def test_a_deadline_that_has_passed_still_gives_a_model(problem, name, family):
    frame = rows(problem)
    model = quick(problem, name, family, frame)
    sound(model.predict(frame), len(frame), problem)


@every_family
def test_it_can_be_made_again_without_rows_to_stop_on(problem, name, family):
    frame = rows(problem)
    first = whole(problem, name, family)
    again = fit(problem, name, family, frame, params=first.fitted.params, valid=None)
    same(again.predict(frame), first.predict(frame))
    assert again.fitted.params == first.fitted.params


@every_family
def test_what_early_stopping_found_is_added_to_the_hyperparameters(problem, name, family):
    start = family_of(problem, name, family).starts[0]
    found = whole(problem, name, family).fitted.params
    assert {name: found[name] for name in start} == start


@every_family
def test_a_model_keeps_neither_threads_nor_callbacks(problem, name, family):
    params = whole(problem, name, family).fitted.estimator.get_params()
    assert params.get("n_jobs") in (None, 1)
    assert not params.get("callbacks")


@every_family
def test_starts_lie_in_the_space(problem, name, family):
    for n in (80, 4_999, 50_000, 5_000_000):
        chosen = family_of(problem, name, family, n)
        if chosen is None:  # not for tables of this size
            continue
        assert chosen.starts
        assert len({repr(start) for start in chosen.starts}) == len(chosen.starts)
        for start in chosen.starts:
            assert set(chosen.space) <= set(start), "TPE learns from whole points only"
            for setting, dimension in chosen.space.items():
                match dimension:
                    case Choice(options):
                        assert start[setting] in options
                    case Integer(low, high):
                        assert isinstance(start[setting], int)
                        assert low <= start[setting] <= high
                    case Real(low, high):
                        assert low <= start[setting] <= high


@every_family
def test_spaces_are_sound(problem, name, family):
    for setting, dimension in family_of(problem, name, family).space.items():
        match dimension:
            case Choice(options):
                assert len(set(options)) == len(options) > 1, setting
            case Real(low, high, log) | Integer(low, high, log):
                assert low < high, setting
                assert low > 0 or not log, setting


@every_family
def test_the_corners_of_the_space_can_be_fitted(problem, name, family):
    space = family_of(problem, name, family).space

    def corner(last):
        return {
            setting: dimension.options[-last]
            if isinstance(dimension, Choice)
            else (dimension.low, dimension.high)[last]
            for setting, dimension in space.items()
        }

    frame = rows(problem)
    for last in (0, 1):
        model = quick(problem, name, family, frame, columns=("size", "town"), params=corner(last))
        sound(model.predict(frame), len(frame), problem)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_two_families_share_a_name(problem):
    names = [family.name for _, family in offered(problem)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_first_family_of_the_shelf_is_the_baseline(problem):
    families = [family for _, family in offered(problem)]
    assert families[0].is_baseline
    assert not any(family.is_baseline for family in families[1:])
    assert not families[0].space


def rounds_of(problem, name, family):
    return family_of(problem, name, family).rounds


GROWING = [case for case in CASES if rounds_of(*case.values)]
growing = pytest.mark.parametrize(("problem", "name", "family"), GROWING)
PLAIN = ("size", "town", "zone", "new")


class Told:
    """A loss that says what it likes about each round."""

    def __init__(self, says):
        self.says = says
        self.asked = 0

    def __call__(self, raw):
        self.asked += 1
        return float(self.says(self.asked))


@growing
def test_it_grows_while_the_loss_that_was_asked_for_falls_and_no_longer(problem, name, family):
    frame = rows(problem)
    falling = fit(problem, name, family, frame, PLAIN, loss=Told(lambda n: 1 / n)).fitted
    turning = fit(problem, name, family, frame, PLAIN, loss=Told(lambda n: 1 + abs(n - 7))).fitted
    assert len(falling.curve) == falling.params[rounds_of(problem, name, family)]
    assert 7 < len(turning.curve) < len(falling.curve)
    assert turning.curve == tuple(1.0 + abs(n - 7) for n in range(1, len(turning.curve) + 1))
    assert not falling.cut_short
    assert not turning.cut_short


@growing
def test_the_model_is_that_of_the_round_which_its_hyperparameters_name(problem, name, family):
    frame = rows(problem)
    n = len(frame) * 3 // 4
    y = encode_target(frame["y"], described(frame, problem))[n:]
    for model in (whole(problem, name, family), quick(problem, name, family, frame)):
        found = model.fitted.params[rounds_of(problem, name, family)]
        answers = model.predict(frame.iloc[n:])
        raw = answers.values if problem is REGRESSION else answers.probabilities
        curve = model.fitted.curve
        assert usual_loss(y, problem)(raw) == pytest.approx(curve[found - 1], rel=1e-4)
        assert curve[found - 1] <= curve[0]


@growing
def test_a_loss_that_is_not_defined_stops_it_too(problem, name, family):
    model = fit(problem, name, family, rows(problem), PLAIN, loss=Told(lambda n: math.nan))
    assert model.fitted.params[rounds_of(problem, name, family)] >= 1


@growing
def test_the_deadline_is_kept(problem, name, family):
    # A quick machine grows the largest forest that may be saved in 0.4 s.
    seconds, slack = 0.05, 3.0
    params = {
        **family_of(problem, name, family).starts[0],
        rounds_of(problem, name, family): 1_000_000,
    }
    frame = rows(problem, n=800)
    begun = time.monotonic()
    fitted = fit(
        problem,
        name,
        family,
        frame,
        PLAIN,
        params=params,
        loss=Told(lambda n: -float(n)),
        deadline=time.monotonic() + seconds,
    ).fitted
    assert time.monotonic() - begun < seconds + slack
    assert fitted.cut_short
    assert fitted.params[rounds_of(problem, name, family)] == len(fitted.curve)


@growing
def test_a_fit_that_nobody_waits_for_any_more_ends(problem, name, family):
    interrupted = threading.Event()
    interrupted.set()
    params = {
        **family_of(problem, name, family).starts[0],
        rounds_of(problem, name, family): 1_000_000,
    }
    begun = time.monotonic()
    fitted = fit(
        problem,
        name,
        family,
        rows(problem, n=800),
        PLAIN,
        params=params,
        loss=Told(lambda n: -float(n)),
        interrupted=interrupted,
    ).fitted
    assert time.monotonic() - begun < 5
    assert fitted.cut_short


@every_family
def test_rows_of_more_weight_count_more(problem, name, family):
    # The zone says next to nothing about the target: what is left is the level of the answers.
    frame = rows(problem, n=200)
    y = encode_target(frame["y"], described(frame, problem))[:150]
    heavy = y > np.median(y) if problem is REGRESSION else y == y.max()
    schema = described(frame, problem, ("zone",))
    chosen = family_of(problem, name, family, 150)
    transformer = preparation(schema, chosen.preparation)
    X = transformer.fit_transform(as_features(frame.iloc[:150], schema), y)
    mask = matrix(transformer, schema, X).categorical

    def level(weights):
        asked = Request(
            family=family,
            params={**chosen.starts[0], **({chosen.rounds: 20} if chosen.rounds else {})},
            task=task_of(problem, 150),
            train=Rows(X, y, weights),
            valid=None,
            categorical=mask,
            metric=METRIC[problem],
            threads=1,
            seed=3,
        )
        model = backend(name).fit(asked).estimator
        return np.mean(model.predict(X) if problem is REGRESSION else model.predict_proba(X)[:, -1])

    assert level(np.where(heavy, 20.0, 1.0)) > level(None)


@every_family
def test_two_fits_at_once_give_what_one_after_the_other_gives(problem, name, family):
    frame = rows(problem)

    def answers(seed):
        return fit(problem, name, family, frame, PLAIN, seed=seed).predict(frame)

    alone = [answers(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(answers, (1, 2)))
    for one, other in zip(alone, together, strict=True):
        same(one, other)


@every_family
@pytest.mark.skipif(cuda_devices() > 0, reason="a fit on the device differs in the last digits")
def test_a_graphics_processor_that_is_not_there_changes_nothing(problem, name, family):
    frame = rows(problem)
    plain, allowed = (fit(problem, name, family, frame, PLAIN, gpu=gpu) for gpu in (False, True))
    same(plain.predict(frame), allowed.predict(frame))


@pytest.mark.parametrize(
    ("problem", "name", "family"), [case for case in CASES if case.values[0] is MULTICLASS]
)
def test_a_class_that_no_training_row_has_keeps_its_place(problem, name, family):
    frame = rows(problem)
    frame.loc[frame.index[:60][frame["y"].iloc[:60] == "b"], "y"] = "c"
    frame.loc[65, "y"] = "b"
    model = fit(problem, name, family, frame, PLAIN)
    answers = model.predict(frame)
    sound(answers, len(frame), problem)
    assert answers.probabilities[:, 1].mean() < 1 / 3


@every_family
def test_an_option_of_the_user_is_fixed_in_starts_and_not_searched(problem, name, family):
    chosen = family_of(problem, name, family)
    for setting in chosen.space:
        value = chosen.starts[-1][setting]
        given = family_of(problem, name, family, options={setting: value})
        assert {start[setting] for start in given.starts} == {value}
        assert set(given.space) == set(chosen.space) - {setting}
        assert len(given.starts) <= len(chosen.starts)


def test_options_of_a_network_may_come_as_lists_and_reach_the_model():
    X = np.arange(40.0)[:, None] / 40
    options = {"hidden_layer_sizes": [7, 3], "solver": "lbfgs", "max_iter": 20}
    network = backends.get("neural_network", options)
    [family] = network.families(Task(REGRESSION, 40, 1))
    model = network.fit(request(X, X[:, 0] * 1000, "mlp", family.starts[0])).estimator
    assert [each.shape for each in model.coefs_] == [(1, 7), (7, 3), (3, 1)]
    assert model.get_params()["solver"] == "lbfgs"
    assert np.abs(model.predict(X) - X[:, 0] * 1000).mean() < 250


def test_an_option_that_is_no_hyperparameter_is_told_with_those_there_are():
    with pytest.raises(SettingsError) as error:
        backends.get("xgboost", {"max_dept": 3}).families(task_of(BINARY))
    assert str(error.value) == (
        "train.backends.xgboost names 'max_dept', which is no hyperparameter of it; did you mean"
        " max_depth? Allowed: colsample_bytree, learning_rate, max_depth, min_child_weight,"
        " n_estimators, reg_alpha, reg_lambda, subsample."
    )


@pytest.mark.parametrize("name", backends.available())
def test_a_backend_without_its_library_offers_nothing_and_says_what_it_misses(name, monkeypatch):
    assert backends.get(name).missing == ()
    before = backends.get(name).families(task_of(BINARY))
    monkeypatch.setattr("ratchet.backends.base.find_spec", lambda name: None)
    backend = backends.get(name)
    assert backend.missing == backend.needs
    assert backend.families(task_of(BINARY)) == (() if backend.needs else before)


LEARNING = [case for case in CASES if not family_of(*case.values).is_baseline]
TREES = [case for case in LEARNING if family_of(*case.values).preparation is not Preparation.SCALED]


@pytest.mark.parametrize(("problem", "name", "family"), LEARNING)
def test_all_but_the_baseline_beat_the_baseline(problem, name, family):
    frame = rows(problem, n=200, seed=5)
    y = encode_target(frame["y"], described(frame, problem))
    model = fit(problem, name, family, frame, PLAIN).predict(frame)
    if problem is REGRESSION:
        assert np.mean((model.values - y) ** 2) < 0.5 * np.var(y)
    else:
        assert np.mean(model.values == y) > np.bincount(y).max() / len(y) + 0.1


@pytest.mark.parametrize(("problem", "name", "family"), TREES)
def test_scaling_a_column_by_2_changes_no_answer_of_trees(problem, name, family):
    frame = rows(problem)
    columns = ("size", "town", "new")
    wider = frame.assign(size=frame["size"] * 2)
    for seed in (1, 2):
        plain, scaled = (
            fit(problem, name, family, each, columns, seed=seed).predict(each)
            for each in (frame, wider)
        )
        same(plain, scaled)


@pytest.mark.parametrize(("problem", "name", "family"), TREES)
def test_the_seed_reaches_the_model(problem, name, family):
    model = quick(problem, name, family, rows(problem), columns=("size",), seed=11)
    told = model.fitted.estimator.get_params(deep=False)
    # What wraps functions of a user's own hands the seed on in their configuration.
    assert told.get("config", told)["random_state"] == 11


def request(X, y, family, params, n_classes=0):
    problem = REGRESSION if not n_classes else BINARY
    return Request(
        family=family,
        params=params,
        task=Task(problem, len(y), X.shape[1], n_classes),
        train=Rows(X, np.asarray(y)),
        valid=None,
        categorical=np.zeros(X.shape[1], dtype=bool),
        metric="rmse",
        threads=1,
        seed=0,
    )


def test_the_baseline_says_the_mean_or_the_shares():
    X = np.zeros((4, 1))
    sklearn = backends.get("sklearn")
    mean = sklearn.fit(request(X, [1.0, 2.0, 3.0, 10.0], "baseline", {})).estimator
    assert mean.predict(X).tolist() == [4.0] * 4
    shares = sklearn.fit(request(X, [0, 0, 0, 1], "baseline", {}, n_classes=2)).estimator
    assert shares.predict_proba(X).tolist() == [[0.75, 0.25]] * 4


def test_a_linear_model_shrinks_as_ridge_does():
    # By hand: the slope is sum(x y) / (sum(x x) + alpha) = 8 / (4 + 4), the intercept the mean 3.
    X = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    y = np.array([1.0, 5.0, 1.0, 5.0])
    model = backends.get("sklearn").fit(request(X, y, "linear", {"alpha": 4.0})).estimator
    np.testing.assert_allclose(model.predict(X), [2.0, 4.0, 2.0, 4.0], rtol=1e-6)


def test_a_kernel_follows_a_curve_that_no_line_can_in_any_unit_of_the_columns():
    X = np.linspace(-3, 3, 200).reshape(-1, 1)
    y = np.sin(2 * X[:, 0])
    params = {"gamma": 1.0, "C": 1000.0}

    def answers(X):
        asked = request(X, y, "kernel", params)
        return backend("sklearn").fit(asked).estimator.predict(X)

    assert np.abs(answers(X) - y).max() < 0.05
    # A power of two, so that scaling loses no digit.
    np.testing.assert_allclose(answers(1024 * X), answers(X), rtol=1e-6)


def test_one_tree_of_one_split_says_the_means_of_two_halves():
    # One round without shrinkage: base score 5, leaves move by sum(residual) / count.
    X = np.array([[0.0], [0.0], [1.0], [1.0]])
    y = np.array([1.0, 3.0, 7.0, 9.0])
    params = {
        "n_estimators": 1,
        "max_depth": 1,
        "learning_rate": 1.0,
        "reg_lambda": 0.0,
        "min_child_weight": 0.0,
    }
    model = backends.get("xgboost").fit(request(X, y, "xgboost", params)).estimator
    np.testing.assert_allclose(model.predict(X), [2.0, 2.0, 8.0, 8.0], rtol=1e-5)


def test_a_forest_has_the_trees_that_were_asked_for():
    X = np.arange(20.0)[:, None]
    fit = backends.get("sklearn").fit
    for wanted in (1, 25, 30):
        forest = fit(request(X, X[:, 0], "random_forest", {"n_estimators": wanted})).estimator
        assert len(forest.estimators_) == wanted


@pytest.mark.parametrize(
    ("name", "family", "size", "least"),
    [
        ("sklearn", "random_forest", lambda model: len(model.estimators_), 5),
        ("sklearn", "extra_trees", lambda model: len(model.estimators_), 5),
        ("sklearn", "hist_boosting", lambda model: model.n_iter_, 10),
        ("xgboost", "xgboost", lambda model: model.get_booster().num_boosted_rounds(), 1),
        ("lightgbm", "lightgbm", lambda model: model.booster_.num_trees(), 1),
        ("catboost", "catboost", lambda model: model.tree_count_, 1),
    ],
)
def test_what_grows_in_rounds_stops_at_the_deadline(name, family, size, least):
    X = np.arange(20.0)[:, None]
    [rounds] = [
        each.rounds
        for each in backends.get(name).families(Task(REGRESSION, 20, 1))
        if each.name == family
    ]
    asked = request(X, X[:, 0], family, {rounds: 100_000})
    stopped = backends.get(name).fit(replace(asked, deadline=0.0))
    assert stopped.cut_short
    assert size(stopped.estimator) == least


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("sklearn", "hist_boosting"),
        ("lightgbm", "lightgbm"),
        ("catboost", "catboost"),
        ("xgboost", "xgboost"),
    ],
)
def test_boosting_for_an_absolute_error_says_the_median_and_else_the_mean(name, family):
    X = np.arange(100.0)[:, None] % 2  # tells nothing
    y = np.array([1.0] * 70 + [101.0] * 30)
    asked = request(X, y, family, {})
    answer = {
        metric: backends.get(name).fit(replace(asked, metric=metric)).estimator.predict(X)[0]
        for metric in ("mae", "rmse")
    }
    assert answer["mae"] == pytest.approx(1.0, abs=3)
    assert answer["rmse"] == pytest.approx(31.0, abs=3)


def test_time_is_up_when_the_deadline_has_passed():
    asked = request(np.zeros((1, 1)), [0.0], "baseline", {})
    assert not asked.out_of_time
    assert replace(asked, deadline=0.0).out_of_time
    assert not replace(asked, deadline=math.inf).out_of_time


@pytest.fixture
def empty_shelf(monkeypatch):
    monkeypatch.setattr("ratchet.backends.base._SHELF", {})


def test_a_class_with_a_name_can_be_registered_and_got(empty_shelf):
    assert backends.register(DebugBackend) is DebugBackend
    assert backends.available() == ("debug",)
    assert isinstance(backends.get("debug"), DebugBackend)


def test_registering_the_same_class_twice_does_nothing(empty_shelf):
    backends.register(DebugBackend)
    backends.register(DebugBackend)
    assert backends.available() == ("debug",)


def test_another_class_can_not_take_a_name(empty_shelf):
    class Impostor(DebugBackend):
        pass

    backends.register(DebugBackend)
    with pytest.raises(RatchetError) as error:
        backends.register(Impostor)
    assert str(error.value) == "Backend 'debug' is already registered, by DebugBackend."
    assert type(backends.get("debug")) is DebugBackend


@pytest.mark.parametrize("name", [None, ""])
def test_a_backend_needs_a_name(empty_shelf, name):
    class Nameless(backends.Backend):
        pass

    if name is not None:
        Nameless.name = name
    with pytest.raises(RatchetError) as error:
        backends.register(Nameless)
    assert str(error.value) == "Nameless needs a `name` before it can be registered."
    assert backends.available() == ()


def test_an_unknown_backend_is_told_with_those_there_are():
    with pytest.raises(RatchetError) as error:
        backends.get("forrest")
    registered = ", ".join(sorted(backends.available()))
    assert str(error.value) == f"No backend is called 'forrest'. Registered: {registered}."


def test_a_backend_of_a_test_does_not_stay_on_the_shelf():
    before = backends.available()
    with pytest.MonkeyPatch.context() as monkeypatch:
        on_shelf(monkeypatch)
        assert backends.available() == (*before, "debug")
    assert backends.available() == before


def test_every_family_says_how_one_finds_out_why_it_answers_as_it_does():
    page = (Path(__file__).parents[1] / "docs" / "trade-off.md").read_text(encoding="utf-8")
    told = {
        family: kind
        for kind, names in re.findall(r"^\| `(\w+)` \| .+? \| (`.+?) \|$", page, re.MULTILINE)
        for family in re.findall(r"`(\w+)`", names)
    }
    offered = {
        family.name: family.interpretability
        for name in backends.available()
        for problem in ProblemType
        if problem in backends.get(name, OPTIONS.get(name)).problems
        for family in backends.get(name, OPTIONS.get(name)).families(Task(problem, 1000, 5, 2))
    }
    assert all(isinstance(each, Interpretability) for each in offered.values())
    # Of functions of a user's own nobody knows: they are asked.
    assert {name: kind.value for name, kind in offered.items() if name != "callable"} == told
    assert offered["callable"] is Interpretability.ASK


def test_what_can_be_read_comes_before_what_can_only_be_asked():
    read, inspect, ask = Interpretability
    assert read.rank < inspect.rank < ask.rank


def test_a_family_without_starts_is_tried_with_its_defaults():
    assert Family("plain", Preparation.NATIVE).starts == ({},)


def test_boosting_costs_more_with_a_tree_for_each_class():
    def cost(problem, n_classes):
        families = backends.get("lightgbm").families(Task(problem, 1000, 10, n_classes))
        return families[0].cost

    plain = cost(ProblemType.REGRESSION, 0)
    assert cost(ProblemType.BINARY, 2) == plain
    assert cost(ProblemType.MULTICLASS, 3) == cost(ProblemType.MULTICLASS, 10) == 3 * plain


@pytest.mark.parametrize("n_classes", [0, 2], ids=["regression", "binary"])
def test_every_family_that_keeps_sparse_rows_is_saved(n_classes):
    from scipy.sparse import csr_matrix

    labels = np.random.default_rng(0).integers(0, 20, 200)
    X = csr_matrix(np.eye(20)[labels])
    y = labels % 2 if n_classes else labels.astype(float)
    problem = BINARY if n_classes else REGRESSION
    kept = set()
    for name in backends.available():
        backend = backends.get(name)
        for family in backend.families(Task(problem, 200, 20, n_classes)):
            if family.preparation is not Preparation.SCALED or backend.missing:
                continue
            asked = request(X, y, family.name, dict(family.starts[0]), n_classes)
            stored = skops.io.dumps(backend.fit(asked).estimator)
            untrusted = set(skops.io.get_untrusted_types(data=stored))
            assert untrusted <= {*ASSEMBLY_TYPES, *backend.trusted_types}, family.name
            kept |= {family.name for each in untrusted if "csr_matrix" in each}
    assert kept >= {"knn", "kernel"}

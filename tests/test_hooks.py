"""The user's own models take part like the built-in ones, and travel without the project."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import plain_models
import pytest
import skops.io
from conftest import ROOT, tiny_settings, tiny_table

from ratchet import backends, hooked
from ratchet.backends import Choice, Integer, Real, Request, Rows, Task
from ratchet.backends.hooks import (
    WRAPPERS,
    BaseTrainingBackend,
    FittingBackend,
    TrainingRunResult,
)
from ratchet.errors import RatchetError, SettingsError, StoreError
from ratchet.features import Preparation, as_features, preparation
from ratchet.model import ASSEMBLY_TYPES, assemble
from ratchet.problem import ProblemType
from ratchet.settings import Data, Settings
from ratchet.table import encode_target, prepare_table, read_table
from ratchet.trainer import train

PATHS = {
    name: f"plain_models:{name}"
    for name in ("build_model", "train_fn", "predict_fn", "save_fn", "load_fn")
}
WITHOUT_FILES = {name: PATHS[name] for name in ("build_model", "train_fn", "predict_fn")}
ESTIMATOR = {
    "build_model": "plain_models:build_estimator",
    "train_fn": "plain_models:train_estimator",
    "predict_fn": "plain_models:predict_estimator",
}
TARGETS = {
    ProblemType.REGRESSION: "price",
    ProblemType.BINARY: "dear",
    ProblemType.MULTICLASS: "town",
}
each_problem = pytest.mark.parametrize("problem", TARGETS)


@pytest.fixture
def prepared(tmp_path):
    def prepare(problem):
        path = tmp_path / "rows.parquet"
        tiny_table().to_parquet(path)
        target = TARGETS[problem]
        drop = tuple({"price", "dear"} - {target}) if target != "town" else ("dear",)
        return prepare_table(read_table(path), Data(source="x", target=target, drop=drop), problem)

    return prepare


def request_of(prepared, family="callable", **changes):
    schema, frame = prepared.schema, prepared.frame
    y = encode_target(frame[schema.target], schema)
    values = preparation(schema, Preparation.RAW).fit_transform(as_features(frame, schema))
    return Request(
        **{
            "family": family,
            "params": {},
            "task": Task(schema.problem, len(y), len(schema.columns), len(schema.classes)),
            "train": Rows(values, y),
            "valid": None,
            "categorical": np.zeros(values.shape[1], dtype=bool),
            "metric": "rmse",
            "threads": 1,
            "seed": 3,
            **changes,
        }
    )


def whole(prepared, estimator):
    transformer = preparation(prepared.schema, Preparation.RAW)
    transformer.fit(as_features(prepared.frame, prepared.schema))
    return assemble(transformer, estimator, prepared.schema, None)


# In the search


@pytest.mark.parametrize("name", ["callable", "deep_learning", "nlp"])
def test_without_functions_there_is_nothing_to_try(name):
    assert backends.get(name).families(Task(ProblemType.BINARY, 100, 3, 2)) == ()


@each_problem
@pytest.mark.parametrize("name", ["callable", "deep_learning", "nlp"])
def test_functions_by_import_path_make_a_model_that_skops_saves(prepared, problem, name):
    table = prepared(problem)
    backend = backends.get(name, PATHS)
    (family,) = backend.families(request_of(table).task)
    assert (family.name, family.preparation) == (name, Preparation.RAW)
    estimator = backend.fit(request_of(table, name)).estimator
    model = whole(table, estimator)
    stored = skops.io.dumps(model)
    trusted = {*ASSEMBLY_TYPES, *backend.trusted_types}
    assert set(skops.io.get_untrusted_types(data=stored)) <= trusted
    rows = as_features(table.frame, table.schema)
    loaded = skops.io.loads(stored, trusted=sorted(trusted))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    if problem.is_classification:
        np.testing.assert_array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
        truth = encode_target(table.frame[table.schema.target], table.schema)
        assert (estimator.predict(rows) == truth).mean() > np.bincount(truth).max() / len(truth)


def test_the_functions_see_every_training_row_and_no_other(prepared, monkeypatch):
    seen = []
    original = plain_models.train_fn
    monkeypatch.setattr(
        plain_models, "train_fn", lambda *given: (seen.append(given), original(*given))
    )
    table = prepared(ProblemType.BINARY)
    asked = request_of(table, deadline=123.0, seed=5)
    backends.get("callable", {**PATHS, "ridge": 2.0}).fit(asked)
    ((model, X, y, config),) = seen
    pd.testing.assert_frame_equal(X, asked.train.X)
    np.testing.assert_array_equal(y, asked.train.y)
    assert model.ridge == config["ridge"] == 2.0
    told = {name: config[name] for name in ("problem", "n_classes", "random_state", "deadline")}
    assert told == {"problem": "binary", "n_classes": 2, "random_state": 5, "deadline": 123.0}


def test_hyperparameters_reach_the_functions_and_come_from_the_space(prepared):
    options = {**PATHS, "space": {"ridge": {"low": "1e-2", "high": 10, "log": True}}}
    backend = backends.get("callable", options)
    table = prepared(ProblemType.REGRESSION)
    (family,) = backend.families(request_of(table).task)
    assert family.space == {"ridge": Real(0.01, 10.0, log=True)}
    assert family.starts[0]["ridge"] == pytest.approx(0.1**0.5)
    fitted = backend.fit(request_of(table, params={"ridge": 7.0}))
    assert fitted.estimator.base_model.ridge == 7.0
    assert fitted.params == {"ridge": 7.0}


def test_a_space_is_read_as_yaml_has_it():
    space = {"width": {"low": 8, "high": 64}, "act": ["relu", "tanh"]}
    options = {**PATHS, "space": space, "starts": [{"width": 16, "act": "tanh"}]}
    (family,) = backends.get("nlp", options).families(Task(ProblemType.BINARY, 9, 1, 2))
    assert family.space == {"width": Integer(8, 64), "act": Choice(("relu", "tanh"))}
    assert family.starts == ({"width": 16, "act": "tanh"},)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"build_model": PATHS["build_model"]},
            "Backend callable needs train_fn, predict_fn: each a function, or its import path such"
            " as 'my_project.models:build_model'.",
        ),
        (
            {**PATHS, "build_model": "build"},
            "build_model of backend callable must be a function or an import path such as"
            " 'my_project.models:build_model', got 'build'.",
        ),
        (
            {**PATHS, "train_fn": "no_such_room.models:train"},
            "train_fn of backend callable is 'no_such_room.models:train', and there is no module"
            " 'no_such_room.models'. A file src/no_such_room.py beside the package would be one.",
        ),
        (
            {**PATHS, "train_fn": "plain_models:trian_fn"},
            "train_fn of backend callable is 'plain_models:trian_fn', and plain_models has no"
            " 'trian_fn'; did you mean train_fn?",
        ),
        (
            {**PATHS, "train_fn": "plain_models:NOT_A_FUNCTION"},
            "train_fn of backend callable is 'plain_models:NOT_A_FUNCTION', which is no function.",
        ),
        (
            {**PATHS, "sav_fn": "plain_models:save_fn"},
            "Backend callable knows no 'sav_fn'; did you mean save_fn? Allowed: build_model,"
            " train_fn, predict_fn, evaluate_fn, cv_fn, save_fn, load_fn.",
        ),
        (
            {**WITHOUT_FILES, "save_fn": PATHS["save_fn"]},
            "Backend callable needs save_fn and load_fn together: what one writes the other reads.",
        ),
    ],
)
def test_a_function_that_is_missing_or_misnamed_is_told(options, message):
    with pytest.raises(SettingsError) as error:
        backends.get("callable", options)
    assert str(error.value) == message


def test_a_function_that_can_not_be_found_again_is_refused():
    with pytest.raises(SettingsError, match="can't be imported where the model is served"):
        backends.get("callable", {**PATHS, "predict_fn": lambda model, X: X})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"space": {"ridge": {"low": 2, "high": 1}}}, "space.ridge of backend callable must be"),
        ({"space": {"ridge": ["one"]}}, "space.ridge of backend callable must be at least two"),
        ({"space": 3}, "space of backend callable must give dimensions by name"),
        ({"starts": {"ridge": 1}}, "starts of backend callable must be a list of settings"),
        (
            {"space": {"a": [1, 2]}, "starts": [{"b": 1}]},
            "A start of backend callable lacks a: it must name every setting of the space",
        ),
    ],
)
def test_a_space_that_makes_no_sense_is_told(given, told):
    backend = backends.get("callable", {**PATHS, **given})
    with pytest.raises(SettingsError) as error:
        backend.families(Task(ProblemType.BINARY, 9, 1, 2))
    assert str(error.value).startswith(told)


def test_a_model_that_can_not_be_saved_is_refused_when_it_is_fitted(prepared):
    backend = backends.get("callable", WITHOUT_FILES)
    with pytest.raises(RatchetError) as error:
        backend.fit(request_of(prepared(ProblemType.REGRESSION)))
    assert str(error.value) == (
        "callable: a model of class Linear can't be saved without pickle by itself. Name save_fn"
        " and load_fn, which write it and read it."
    )


def test_an_estimator_of_scikit_learn_needs_no_functions_to_be_saved(prepared):
    table = prepared(ProblemType.REGRESSION)
    backend = backends.get("callable", ESTIMATOR)
    model = whole(table, backend.fit(request_of(table)).estimator)
    trusted = sorted({*ASSEMBLY_TYPES, *backend.trusted_types})
    loaded = skops.io.loads(skops.io.dumps(model), trusted=trusted)
    rows = as_features(table.frame, table.schema)
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


# Answers


class Says:
    """A model that says what it was told to."""

    def __init__(self, answer):
        self.answer = np.asarray(answer)


def says(answer, classes=(0, 1)):
    predict = lambda model, X: model.answer  # noqa: E731
    return hooked.HookedClassifier(Says(answer), predict, classes=np.array(classes))


FRAME = pd.DataFrame({"a": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("answer", "table"),
    [
        ([1, 0], [[0, 1], [1, 0]]),
        ([0.25, 1.0], [[0.75, 0.25], [0, 1]]),
        ([[0.25], [1.0]], [[0.75, 0.25], [0, 1]]),
        ([[0.2, 0.8], [0.5, 0.5]], [[0.2, 0.8], [0.5, 0.5]]),
        ([True, False], [[0, 1], [1, 0]]),
    ],
)
def test_labels_shares_and_probabilities_are_all_answers(answer, table):
    np.testing.assert_allclose(says(answer).predict_proba(FRAME), table)


@pytest.mark.parametrize(
    ("answer", "classes", "message"),
    [
        ([0, 7], (0, 1, 2), "The model answered np.int64(7), which is none of the classes"),
        ([0.5, 0.5], (0, 1, 2), "The model answered np.float64(0.5), which is none of"),
        ([[0.5, 0.5]] * 2, (0, 1, 2), "The model gave 2 probabilities a row, and there are 3"),
        ([[2.0, 3.0]] * 2, (0, 1), "The model's probabilities must be at least 0 and add up to 1"),
        ([[2.0, -1.0]] * 2, (0, 1), "The model's probabilities must be at least 0 and add up"),
        ([0, 1, 1], (0, 1), "predict_fn gave an array of shape (3,) for 2 rows; it must be (2,)"),
    ],
)
def test_an_answer_that_is_neither_is_told(answer, classes, message):
    with pytest.raises(ValueError) as error:
        says(answer, classes).predict_proba(FRAME)
    assert str(error.value).startswith(message)


def test_nan_probabilities_stay_for_the_search_to_judge():
    assert np.isnan(says([[np.nan, np.nan], [0.5, 0.5]]).predict_proba(FRAME)).any()


# A class with train


class OnlyTrain(BaseTrainingBackend):
    """What a minimal class must have."""

    name = "only_train"
    seen: ClassVar[list] = []

    def train(self, X, y, model_type=None):
        from sklearn.linear_model import LogisticRegression

        is_classifier = self.detect_problem_type(y) == "classification"
        X_train, _, y_train, _ = self.split_data(X, y, is_classifier)
        self.seen.append((X_train, y_train))
        model = LogisticRegression(C=self.config.get("C", 1.0))
        model.fit(X_train[["size"]].fillna(0).to_numpy(), y_train)
        return self._finalize(
            TrainingRunResult(
                OnSize(model), {}, "OnSize", "classification", is_classifier, 1, len(y)
            )
        )


class OnSize(plain_models.LinearRegression):
    """An estimator of the user's own class."""

    def __init__(self, inner=None):
        self.inner = inner

    def predict(self, X):
        return self.inner.predict(X[["size"]].fillna(0).to_numpy())


@pytest.fixture
def shelf(monkeypatch):
    """A shelf of the test's own."""
    from ratchet.backends import base

    monkeypatch.setattr(base, "_SHELF", dict(base._SHELF))


def test_a_class_with_train_learns_from_every_row_of_the_request(shelf, prepared):
    assert backends.register(OnlyTrain) is OnlyTrain
    assert backends.register(OnlyTrain) is OnlyTrain, "a module may be imported again"
    OnlyTrain.seen.clear()
    table = prepared(ProblemType.BINARY)
    options = {"modules": ["test_hooks"], "trusted_types": ["test_hooks.OnSize"], "C": 0.5}
    backend = backends.get("only_train", options)
    (family,) = backend.families(request_of(table).task)
    assert family.name == "only_train"
    asked = request_of(table, "only_train")
    estimator = backend.fit(asked).estimator
    ((X, y),) = OnlyTrain.seen
    assert len(X) == len(table.frame)
    np.testing.assert_array_equal(y, asked.train.y)
    assert estimator.base_model.inner.C == 0.5
    stored = skops.io.dumps(estimator)
    loaded = skops.io.loads(stored, trusted=sorted(backend.trusted_types))
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))


def test_a_model_of_a_class_that_would_not_travel_is_refused(shelf, prepared):
    backends.register(OnlyTrain)
    with pytest.raises(RatchetError) as error:
        backends.get("only_train").fit(request_of(prepared(ProblemType.BINARY), "only_train"))
    assert str(error.value) == (
        "only_train: the model is a test_hooks.OnSize, which is not there where it is served."
        " Name 'test_hooks' in modules and 'test_hooks.OnSize' in trusted_types, or name save_fn"
        " and load_fn."
    )


@pytest.mark.parametrize(
    ("declared", "option", "doubt"),
    [
        (False, {}, "its author has not declared it deterministic"),
        (True, {}, ""),
        (False, {"deterministic": True}, ""),
        (True, {"deterministic": False}, "its author has not declared it deterministic"),
    ],
)
def test_whether_a_model_of_ones_own_is_deterministic_is_for_its_author_to_say(
    shelf, monkeypatch, declared, option, doubt
):
    monkeypatch.setattr(OnlyTrain, "deterministic", declared)
    backends.register(OnlyTrain)
    backend = backends.get("only_train", option)
    assert backend.doubt("only_train", threads=1, gpu=False) == doubt


def test_functions_may_be_declared_deterministic_and_are_not_told(prepared, monkeypatch):
    seen = []
    original = plain_models.train_fn
    monkeypatch.setattr(
        plain_models, "train_fn", lambda *given: (seen.append(given[-1]), original(*given))
    )
    backend = backends.get("callable", {**PATHS, "deterministic": True})
    assert backend.deterministic
    assert not backends.get("callable", PATHS).deterministic
    backend.fit(request_of(prepared(ProblemType.BINARY)))
    assert "deterministic" not in seen[0]
    with pytest.raises(SettingsError) as error:
        backends.get("callable", {**PATHS, "deterministic": "yes"})
    assert str(error.value) == "deterministic of backend callable must be true or false, got 'yes'."


@pytest.mark.parametrize(
    ("declared", "option", "kind"),
    [
        (None, {}, "ask"),
        ("read", {}, "read"),
        ("read", {"interpretability": "inspect"}, "inspect"),
    ],
)
def test_how_a_model_of_ones_own_is_understood_is_for_its_author_to_say(
    shelf, monkeypatch, declared, option, kind
):
    if declared:
        monkeypatch.setattr(OnlyTrain, "interpretability", declared)
    backends.register(OnlyTrain)
    task = Task(ProblemType.REGRESSION, 100, 3)
    [family] = backends.get("only_train", option).families(task)
    assert family.interpretability == kind
    with pytest.raises(SettingsError) as error:
        backends.get("only_train", {"interpretability": "clear"}).families(task)
    assert str(error.value) == (
        "interpretability of backend only_train is 'clear'. Allowed: read, inspect, ask."
    )


def test_a_class_with_fit_is_tried_where_its_problem_is(shelf, prepared):
    class Mean(FittingBackend):
        name = "mean"
        supported_problem_types = ("regression",)
        space: ClassVar = {"shift": Real(0.0, 1.0)}
        starts = ({"shift": 0.5},)

        def fit(self, X, y, model_type=None):
            from sklearn.dummy import DummyRegressor

            return DummyRegressor(strategy="constant", constant=self.config["shift"]).fit(X, y)

    backends.register(Mean)
    backend = backends.get("mean")
    assert backend.families(Task(ProblemType.BINARY, 100, 3, 2)) == ()
    table = prepared(ProblemType.REGRESSION)
    (family,) = backend.families(request_of(table).task)
    assert (family.starts, family.space) == (({"shift": 0.5},), {"shift": Real(0.0, 1.0)})
    fitted = backend.fit(request_of(table, "mean", params={"shift": 0.25}))
    assert set(fitted.estimator.predict(as_features(table.frame, table.schema))) == {0.25}


def test_what_is_no_backend_can_not_be_registered(shelf):
    class Stranger:
        name = "stranger"

    with pytest.raises(RatchetError) as error:
        backends.register(Stranger)
    assert str(error.value) == (
        "'stranger' is no backend: it must be a subclass of Backend or BaseTrainingBackend."
    )


# Entry points


def distribution(folder: Path, value: str, code: str) -> None:
    """Write a small installed distribution that offers a backend."""
    info = folder / "foreign_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ratchet.backends]\nforeign = {value}\n")
    (folder / "foreign_models.py").write_text(code)


FOREIGN = """
from ratchet import BaseTrainingBackend

class Foreign(BaseTrainingBackend):
    name = "foreign"

    def train(self, X, y, model_type=None):
        raise NotImplementedError
"""


@pytest.fixture
def installed(shelf, tmp_path, monkeypatch):
    def install(value, code=FOREIGN):
        distribution(tmp_path, value, code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "foreign_models", raising=False)

    yield install
    sys.modules.pop("foreign_models", None)


def test_another_package_adds_a_backend_by_an_entry_point(installed):
    assert "foreign" not in backends.available()
    installed("foreign_models:Foreign")
    backends.load(())
    backends.load(())
    assert "foreign" in backends.available()


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [
        ("foreign_models:Lost", FOREIGN, "AttributeError: module 'foreign_models' has no"),
        ("foreign_models:Foreign", "import no_such_thing", "ModuleNotFoundError: No module named"),
        ("foreign_models:Foreign", "1 / 0", "ZeroDivisionError: division by zero"),
        ("foreign_models:Foreign", "class Foreign: pass", "RatchetError: Foreign needs a `name`"),
    ],
)
def test_a_broken_package_is_told_by_name(installed, value, code, reason):
    installed(value, code)
    with pytest.raises(RatchetError) as error:
        backends.load(())
    told = str(error.value)
    assert told.startswith("foreign-models offers a backend 'foreign' that can't be loaded: ")
    assert reason in told
    assert told.endswith("Repair or uninstall it.")


# Through the search, the store and a process that knows nothing of the project


def searched(backend, options, ensemble="none", **changes):
    table = tiny_table()
    settings = Settings.model_validate(
        tiny_settings(
            train__families=["baseline", *(["linear"] if ensemble == "voting" else []), backend],
            train__backends={backend: options},
            train__ensemble=ensemble,
            train__threads=1,
            **changes,
        )
    )
    made = prepare_table(_as_table(table), settings.data, None)
    half = len(made.frame) * 3 // 4
    rows, valid = made.frame.iloc[:half], made.frame.iloc[half:].reset_index(drop=True)
    return train(rows, valid, made.schema, settings), made


def _as_table(frame):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        frame.to_parquet(Path(folder, "rows.parquet"))
        return read_table(Path(folder, "rows.parquet"))


def logged(training, made):
    from ratchet import lineage
    from ratchet.tracking import LoggedModel

    pins = lineage.library_versions(training.packages)
    return LoggedModel(
        model=training.model,
        schema=made.schema,
        example=as_features(made.frame, made.schema).head(3),
        trusted_types=training.trusted_types,
        requirements=tuple(f"{name}=={version}" for name, version in pins),
        modules=training.modules,
    )


ASK = """
import json, sys
import mlflow, pandas as pd
import importlib.util
assert importlib.util.find_spec("ratchet") is None, "the project must not be there"
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(pd.read_parquet(sys.argv[2])).tolist()))
"""


def asked_elsewhere(folder, rows, tmp_path):
    """Ask a model in a process that has neither the project nor the tests on its path."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rows.to_parquet(elsewhere / "rows.parquet")
    unset = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, str(folder), "rows.parquet"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("ensemble", ["none", "voting"])
def test_a_model_of_the_users_own_is_searched_logged_and_served(store, tmp_path, ensemble):
    import mlflow

    from ratchet import tracking

    training, made = searched("deep_learning", PATHS, ensemble)
    tried = {trial.candidate.family: trial.error for trial in training.trials}
    assert tried["deep_learning"] is None
    if ensemble == "voting":
        assert "deep_learning" in {m.trial.candidate.family for m in training.members}
    else:
        assert training.leader.candidate.family == "deep_learning"
    assert training.modules == ("ratchet.hooked", "plain_models")
    experiment = store.create_experiment("hooks", (tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        uri = tracking.log_model(logged(training, made))
    rows = as_features(made.frame, made.schema)
    expected = training.model.predict(rows)
    np.testing.assert_allclose(tracking.load_model(uri).predict(rows), expected)
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    assert not list(folder.rglob("*.pkl"))
    answers = asked_elsewhere(folder, rows, tmp_path)
    np.testing.assert_allclose(answers, expected)


def saved(tmp_path, name="model"):
    """Save a fitted model of the user's own as a folder of MLflow's."""
    from ratchet import tracking
    from ratchet.tracking import LoggedModel

    frame = tiny_table()
    made = prepare_table(_as_table(frame), Data(source="x", target="price", drop=("dear",)), None)
    backend = backends.get("callable", PATHS)
    model = whole(made, backend.fit(request_of(made)).estimator)
    rows = as_features(made.frame, made.schema)
    trusted = tuple(sorted({*ASSEMBLY_TYPES, *backend.trusted_types}))
    folder = tmp_path / name
    tracking.save_model(
        LoggedModel(model, made.schema, rows.head(2), trusted, (), backend.modules), folder
    )
    return folder, model, rows


def test_only_what_the_model_needs_of_the_project_travels(tmp_path, store):
    folder, model, rows = saved(tmp_path)
    found = {path.relative_to(folder / "code") for path in (folder / "code").rglob("*.py")}
    assert set(map(str, found)) == {
        "plain_models.py",
        "ratchet/__init__.py",
        "ratchet/hooked.py",
    }
    np.testing.assert_array_equal(asked_elsewhere(folder, rows, tmp_path), model.predict(rows))


def test_loading_runs_the_projects_own_code_and_leaves_the_path_alone(tmp_path, store):
    from ratchet import tracking

    folder, model, rows = saved(tmp_path)
    trap = tmp_path / "sprung"
    (folder / "code" / "plain_models.py").write_text(f"open({str(trap)!r}, 'w')")
    del sys.modules["plain_models"]
    path = list(sys.path)
    try:
        loaded = tracking.load_model(str(folder))
    finally:
        sys.modules["plain_models"] = plain_models
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    assert not trap.exists()
    assert sys.path == path


def test_code_that_the_project_has_not_is_refused(tmp_path, store):
    from ratchet import tracking

    folder, *_ = saved(tmp_path)
    (folder / "code" / "strangers.py").write_text("raise SystemExit")
    with pytest.raises(StoreError) as error:
        tracking.load_model(str(folder))
    assert str(error.value) == (
        f"The model {folder} comes with code that this project has not: strangers. To load it"
        f" would run that code. Put it into src/ if you trust it: it is in {folder / 'code'}."
    )


def test_a_model_can_not_name_any_function_there_is(tmp_path, store, monkeypatch):
    import mlflow

    from ratchet import tracking

    # What somebody else could write: the model's file is a program, which runpy would run.
    trap = tmp_path / "sprung"
    program = f"from pathlib import Path; model = Path({str(trap)!r}).touch()".encode()
    forged = hooked.HookedRegressor(Says(1), "plain_models:predict_fn", None, "runpy:run_path", {})
    monkeypatch.setattr(
        hooked.HookedRegressor,
        "__getstate__",
        lambda self: {**vars(self), "model": {"model": program}},
    )
    folder = tmp_path / "forged"
    mlflow.sklearn.save_model(
        forged,
        str(folder),
        serialization_format="skops",
        skops_trusted_types=[*WRAPPERS, "numpy.dtype"],
        pip_requirements=[],
        code_paths=[plain_models.__file__],
    )
    assert trap.exists(), "MLflow reads what it has saved, and asks nobody"
    trap.unlink()
    with pytest.raises(StoreError) as error:
        tracking.load_model(str(folder))
    assert "The model wants to run 'runpy:run_path', whose module is not among those" in str(
        error.value
    )
    assert not trap.exists()


def test_a_file_outside_of_its_folder_is_refused():
    with pytest.raises(ValueError, match="outside of its own folder"):
        hooked.model_of({"../escaped": b""}, lambda path: (path, {}))


def test_functions_of_a_module_that_imports_the_project_can_not_travel(tmp_path, monkeypatch):
    from ratchet import sources

    (tmp_path / "needs_ratchet.py").write_text("from ratchet.backends import Backend")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RatchetError) as error:
        sources.gather(["needs_ratchet"], tmp_path / "out")
    assert str(error.value) == (
        "The model needs needs_ratchet, which imports ratchet: that is not there where the model"
        " is served. Put what the model needs into a module of its own."
    )


def test_a_whole_package_travels_without_its_caches(tmp_path, monkeypatch):
    from ratchet import sources

    package = tmp_path / "own_package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("x = 1")
    (package / "__pycache__" / "old.pyc").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "out").mkdir()
    (copy,) = sources.gather(["own_package.models"], tmp_path / "out")
    assert sorted(path.name for path in Path(copy).iterdir()) == ["__init__.py", "models.py"]


# The examples


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples" / "backends")
    yield
    for name in ("mlp", "texts"):
        sys.modules.pop(name, None)


def test_the_example_of_a_network_is_trained_and_served(examples, store, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: `pip install torch`")
    from ratchet import tracking

    paths = {name: value.replace("plain_models", "mlp") for name, value in PATHS.items()}
    training, made = searched("deep_learning", {**paths, "epochs": 30}, "voting")
    assert {t.candidate.family: t.error for t in training.trials}["deep_learning"] is None
    assert "mlp" in training.modules
    folder = tmp_path / "model"
    tracking.save_model(logged(training, made), folder)
    rows = as_features(made.frame, made.schema)
    expected = training.model.predict(rows)
    np.testing.assert_allclose(tracking.load_model(str(folder)).predict(rows), expected)
    np.testing.assert_allclose(asked_elsewhere(folder, rows, tmp_path), expected)


def test_the_example_of_texts_tells_them_apart(examples, tmp_path):
    frame = read_table(ROOT / "examples" / "backends" / "texts.csv")
    made = prepare_table(frame, Data(source="x", target="topic"), None)
    options = {
        **{name: f"texts:{name}" for name in ("build_model", "train_fn", "predict_fn")},
        "column": "text",
    }
    backend = backends.get("nlp", options)
    asked = request_of(made, "nlp")
    n = len(asked.train.y) * 3 // 4
    some = request_of(made, "nlp", train=Rows(asked.train.X.iloc[:n], asked.train.y[:n]))
    estimator = backend.fit(some).estimator
    rest = asked.train.X.iloc[n:]
    assert (estimator.predict(rest) == asked.train.y[n:]).mean() > 0.8
    trusted = sorted(backend.trusted_types)
    loaded = skops.io.loads(skops.io.dumps(estimator), trusted=trusted)
    np.testing.assert_array_equal(loaded.predict_proba(rest), estimator.predict_proba(rest))


# The guide


GUIDE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")


def snippet(word):
    """Run the guide's piece of code that holds a word; give its names."""
    (code,) = [
        part.split("```")[0] for part in GUIDE.split("```python\n")[1:] if word in part[:900]
    ]
    names: dict = {}
    exec(code, names)
    return names


def test_the_class_of_the_guide_trains_and_is_searched(shelf, prepared):
    names = snippet("class Support")
    X = np.random.default_rng(0).normal(size=(120, 2))
    result = names["ModelTrainer"]({"backend": "support"}).train(X, (X[:, 0] > 0).astype(int))
    assert result.metrics["accuracy"] > 0.9
    assert {"cv_mean", "cv_std"} <= set(result.metrics)
    table = prepared(ProblemType.BINARY)
    asked = request_of(table, "support")
    numbers = asked.train.X[["size", "rooms"]]
    asked = request_of(table, "support", train=Rows(numbers, asked.train.y))
    estimator = backends.get("support").fit(asked).estimator
    assert estimator.predict_proba(numbers).shape == (len(numbers), 2)


def test_the_backend_of_the_guide_is_fifteen_lines_that_work(shelf):
    names = snippet("class Lasso")
    backend = names["Lasso"]()
    assert "lasso" in backends.available()
    task = Task(ProblemType.BINARY, 60, 2, 2)
    (family,) = backend.families(task)
    X = np.random.default_rng(0).normal(size=(60, 2))
    rows = Rows(X, (X[:, 0] > 0).astype(int))
    asked = Request("lasso", family.starts[0], task, rows, None, np.zeros(2, bool), "f1", 1, 3)
    assert backend.fit(asked).estimator.score(X, rows.y) > 0.9


def test_the_examples_name_functions_that_are_there(examples):
    import yaml

    for file in sorted((ROOT / "examples" / "backends").glob("*.yaml")):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings = Settings.model_validate(values)
        for name, options in settings.train.backends.items():
            assert name in settings.train.families
            if "torch" in options.get("packages", ()):
                pytest.importorskip("torch", reason="torch is not installed: `pip install torch`")
            (family,) = backends.get(name, options).families(Task(ProblemType.BINARY, 9, 1, 2))
            assert set(family.space) == set(family.starts[0])

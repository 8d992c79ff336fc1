"""One configuration in, one fitted and scored model out, by the names that users know."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import plain_models
import pytest
from conftest import tiny_table

import ratchet
from ratchet import BaseTrainingBackend, ModelTrainer, TrainingRunResult, metrics
from ratchet.backends.hooks import FittingBackend
from ratchet.errors import DataError, RatchetError, SettingsError
from ratchet.problem import ProblemType

FUNCTIONS = {
    name: getattr(plain_models, name) for name in ("build_model", "train_fn", "predict_fn")
}
FILES = {name: getattr(plain_models, name) for name in ("save_fn", "load_fn")}


@pytest.fixture(scope="module")
def table():
    """Columns of every kind, with gaps."""
    frame = tiny_table(160)
    frame.loc[::17, "size"] = None
    frame.loc[::13, "town"] = None
    return frame


@pytest.fixture
def shelf(monkeypatch):
    from ratchet.backends import base

    monkeypatch.setattr(base, "_SHELF", dict(base._SHELF))


def features(table):
    return table.drop(columns=["price", "dear"])


def trained(table, target="dear", **config):
    trainer = ModelTrainer({"cv_folds": 0, **config})
    return trainer, trainer.train(features(table), table[target])


def test_importing_the_package_is_light():
    code = (
        "import sys, ratchet; assert 'sklearn' not in sys.modules and 'pandas' not in sys.modules;"
        " from ratchet import ModelTrainer; assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd="src", check=True)


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'ratchet' has no attribute 'Trainer'"):
        ratchet.Trainer  # noqa: B018


def test_the_backends_are_those_of_the_search():
    names = ModelTrainer.available_backends()
    assert {"sklearn", "xgboost", "neural_network", "callable", "deep_learning", "nlp"} <= {*names}
    assert list(names) == sorted(names)
    assert "clustering" not in names, "there is no target in it"


@pytest.mark.parametrize(
    ("config", "target", "model"),
    [
        ({}, "dear", "RandomForestClassifier"),
        ({}, "price", "RandomForestRegressor"),
        ({"model_type": "random_forest_classifier"}, "town", "RandomForestClassifier"),
        ({"model_type": "random_forest_regressor"}, "price", "RandomForestRegressor"),
        ({"model_type": "logistic_regression"}, "dear", "LogisticRegression"),
        ({"model_type": "linear_regression"}, "price", "Ridge"),
        ({"model_type": "xgboost", "n_estimators": 20}, "dear", "XGBClassifier"),
        ({"backend": "xgboost", "n_estimators": 20}, "price", "XGBRegressor"),
        ({"backend": "neural_network", "max_iter": 20}, "dear", "MLPClassifier"),
    ],
)
def test_a_table_as_it_comes_is_trained_saved_and_loaded(table, tmp_path, config, target, model):
    rows = table.dropna(subset=["town"]).reset_index(drop=True) if target == "town" else table
    X = features(rows).drop(columns="town") if target == "town" else features(rows)
    trainer = ModelTrainer({"cv_folds": 0, **config})
    result = trainer.train(X, rows[target])
    assert isinstance(result, TrainingRunResult)
    assert result.model_name == model
    assert result.is_classifier is (target != "price")
    assert result.model_type == ("classification" if result.is_classifier else "regression")
    assert (result.n_features, result.n_samples) == X.shape[::-1]
    answers = trainer.predict(X)
    if result.is_classifier:
        assert set(answers) <= set(rows[target])
    trainer.save_model(tmp_path / "model")
    other = ModelTrainer(config)
    other.load_model(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(X), answers)
    assert other.backend.metrics == pytest.approx(result.metrics, nan_ok=True)


def test_every_metric_of_the_problem_is_reported(table):
    for target, problem in (("dear", ProblemType.BINARY), ("price", ProblemType.REGRESSION)):
        _, result = trained(table, target)
        assert set(result.metrics) == {metric.name for metric in metrics.for_problem(problem)}


def test_an_array_is_a_table_too():
    X = np.random.default_rng(0).normal(size=(80, 3))
    trainer = ModelTrainer({"model_type": "linear_regression"})
    result = trainer.train(X, X @ [1.0, 2.0, 3.0])
    assert result.metrics["r2"] > 0.99
    assert result.metrics["cv_mean"] > 0.99
    assert trainer.predict(X[:5]).shape == (5,)


class Nosy(FittingBackend):
    """Remembers what it was given."""

    name = "nosy"

    def fit(self, X, y, model_type=None):
        from sklearn.dummy import DummyClassifier

        self.config["seen"].append((X, y))
        return DummyClassifier().fit(X, y)


def test_cross_validation_never_sees_a_test_row_and_keeps_the_shares_of_classes(shelf):
    assert ModelTrainer.register_backend(Nosy) is Nosy
    X = pd.DataFrame({"row": np.arange(100)})
    y = pd.Series(["rare"] * 20 + ["usual"] * 80)
    seen = []
    config = {"backend": "nosy", "seen": seen, "test_size": 0.25, "cv_folds": 3}
    result = ModelTrainer(config).train(X, y)
    (train, labels), *folds = seen
    assert len(train) == 75
    assert (labels == "rare").sum() == 15
    assert len(folds) == 3
    for rows, labels in folds:
        assert set(rows["row"]) < set(train["row"])
        assert (labels == "rare").sum() == 10
    assert result.metrics["cv_mean"] == pytest.approx(0.8)


def test_whole_numbers_are_classes_or_quantities_by_rules_that_can_be_overridden():
    X = np.random.default_rng(0).normal(size=(90, 2))
    y = np.arange(90) % 3
    for given, is_classifier in (("auto", True), ("regression", False), ("multiclass", True)):
        config = {"problem_type": given, "cv_folds": 0, "model_type": "random_forest"}
        assert ModelTrainer(config).train(X, y).is_classifier is is_classifier


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"modeltype": "auto"},
            "Backend 'sklearn' has no key 'modeltype'; did you mean model_type?",
        ),
        ({"model_type": "forest"}, "Backend 'sklearn' has no model_type 'forest'; did you mean"),
        ({"backend": "xgboost", "max_deph": 3}, "Backend 'xgboost' has no key 'max_deph'; did you"),
        ({"backend": "forrest"}, "No backend is called 'forrest'. Registered: "),
        ({"test_size": 1.5}, "test_size must be a share from 0 to below 1, got 1.5."),
        ({"random_state": -1}, "random_state must be a whole number of at least 0, got -1."),
        ({"cv_folds": 2.5}, "cv_folds must be a whole number, 0 or 1 for none, got 2.5."),
        (
            {"problem_type": "clusters"},
            "problem_type must be auto, classification, binary, multiclass or regression, got"
            " 'clusters'.",
        ),
        ({"backend": "callable"}, "Backend callable needs build_model, train_fn, predict_fn:"),
        ("sklearn", "The configuration must be a mapping such as {'backend': 'sklearn'}, got"),
    ],
)
def test_what_is_not_allowed_is_told(config, message):
    with pytest.raises(RatchetError) as error:
        ModelTrainer(config)
    assert str(error.value).startswith(message)


def test_a_model_type_of_the_other_problem_is_told(table):
    with pytest.raises(SettingsError) as error:
        trained(table, "dear", model_type="linear_regression")
    assert str(error.value).startswith(
        "model_type 'linear_regression' is not for a binary problem, which the target poses."
    )


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([1, 2], [1, 2], "X must be a table of at least one row and column, got shape (2,)."),
        ([[1], [2]], [1], "y must hold one value for each of the 2 rows of X, got shape (1,)."),
        (np.zeros((0, 2)), [], "X must be a table of at least one row and column, got shape"),
    ],
)
def test_a_table_of_the_wrong_shape_is_told(X, y, message):
    with pytest.raises(DataError) as error:
        ModelTrainer().train(X, y)
    assert str(error.value).startswith(message)


def test_a_class_of_one_row_can_not_be_split():
    X = np.arange(20.0)[:, None]
    with pytest.raises(RatchetError) as error:
        ModelTrainer().train(X, ["odd"] + ["usual"] * 19)
    assert str(error.value) == (
        "Class 'odd' has 1 row, and 2 are needed, one for training and one for test. Leave it out,"
        " or set test_size to 0."
    )


def test_a_column_that_the_model_was_trained_on_must_be_there(table):
    trainer, _ = trained(table)
    with pytest.raises(DataError) as error:
        trainer.predict(features(table).drop(columns=["size", "town"]))
    assert str(error.value) == "X lacks columns of the training table: size, town."


def test_without_a_model_there_is_nothing_to_ask(tmp_path):
    for ask in (lambda t: t.predict([[1]]), lambda t: t.save_model(tmp_path / "model")):
        with pytest.raises(RatchetError) as error:
            ask(ModelTrainer())
        assert str(error.value) == "There is no model yet. Call train or load_model first."


# Functions


def test_functions_get_the_rows_as_they_are_and_answer_for_them(table, tmp_path):
    X, y = features(table), (table["dear"] == "yes").astype(int)
    config = {"backend": "callable", **FUNCTIONS, **FILES, "ridge": 3.0, "cv_folds": 2}
    trainer = ModelTrainer(config)
    result = trainer.train(X, y)
    assert result.model_name == "Linear"
    assert result.model.base_model.ridge == 3.0
    assert result.metrics["roc_auc"] > 0.6
    assert 0 < result.metrics["cv_mean"] <= 1
    trainer.save_model(tmp_path / "model")
    other = ModelTrainer(config)
    other.load_model(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(X), trainer.predict(X))


def test_functions_of_ones_own_score_and_save(table):
    own = {
        "evaluate_fn": lambda model, X, y, config: {"mine": float(len(y))},
        "cv_fn": lambda model, X, y, config: {"cv_mean": float(len(y))},
    }
    trainer = ModelTrainer({"backend": "nlp", **FUNCTIONS, **own})
    result = trainer.train(features(table), table["price"])
    assert result.metrics == {"mine": 32.0, "cv_mean": 128.0}


def test_text_labels_come_back_from_an_estimator_without_functions_to_save_it(table, tmp_path):
    from sklearn.linear_model import LogisticRegression

    config = {
        "backend": "callable",
        "build_model": lambda config, problem: LogisticRegression(),
        "train_fn": lambda model, X, y, config: model.fit(X[["size"]].fillna(0), y),
        "predict_fn": lambda model, X: model.predict(X[["size"]].fillna(0)),
    }
    trainer = ModelTrainer(config)
    trainer.train(features(table), table["dear"])
    answers = trainer.predict(features(table))
    assert set(answers) == {"yes", "no"}
    trainer.save_model(tmp_path / "model")
    other = ModelTrainer(config)
    other.load_model(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(features(table)), answers)


# Files


def test_a_file_is_a_zip_of_plain_data(table, tmp_path):
    trainer, result = trained(table)
    trainer.save_model(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model") as archive:
        assert sorted(archive.namelist()) == ["model/model.skops", "ratchet.json"]
        facts = json.loads(archive.read("ratchet.json"))["facts"]
    assert facts["metrics"]["accuracy"] == result.metrics["accuracy"]


def test_a_pickle_is_not_read(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(RatchetError) as error:
        ModelTrainer().load_model(path)
    assert str(error.value) == (
        f"{path} is no model that save_model wrote. A pickle is not read: whoever wrote it would"
        " run code here."
    )


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RatchetError) as error:
        ModelTrainer().load_model(tmp_path / "lost")
    assert str(error.value) == f"Can't read {tmp_path / 'lost'}: No such file or directory."


def test_a_file_of_another_backend_is_told(table, tmp_path):
    trainer, _ = trained(table, model_type="logistic_regression")
    trainer.save_model(tmp_path / "model")
    with pytest.raises(RatchetError) as error:
        ModelTrainer({"backend": "xgboost"}).load_model(tmp_path / "model")
    assert "was saved by the backend 'sklearn', and this one is 'xgboost'." in str(error.value)


def test_a_file_with_a_class_that_nobody_declared_is_refused(table, tmp_path):
    import skops.io

    trainer, _ = trained(table, model_type="logistic_regression")
    trainer.save_model(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model") as archive:
        facts = archive.read("ratchet.json")
    with zipfile.ZipFile(tmp_path / "forged", "w") as archive:
        archive.writestr("ratchet.json", facts)
        archive.writestr("model/model.skops", skops.io.dumps(plain_models.Linear(2, 1.0)))
    with pytest.raises(RatchetError) as error:
        ModelTrainer().load_model(tmp_path / "forged")
    assert "holds classes that nobody has declared: plain_models.Linear." in str(error.value)


# Backends of one's own


class Mine(BaseTrainingBackend):
    """As a user of such a trainer has always written it."""

    name = "mine"
    config_keys = ("C",)

    def train(self, X, y, model_type=None):
        from sklearn.linear_model import LogisticRegression

        kind = self.detect_problem_type(y)
        X_train, X_test, y_train, y_test = self.split_data(X, y, kind == "classification")
        model = LogisticRegression(C=self.config.get("C", 1.0)).fit(X_train, y_train)
        scores = self.evaluate(model, X_test, y_test, True)
        scores.update(self.cross_validate(model, X_train, y_train))
        return TrainingRunResult(model, scores, "mine", kind, True, X.shape[1], len(X))


def test_a_class_with_train_is_all_that_is_needed(shelf, tmp_path):
    ModelTrainer.register_backend(Mine)
    assert "mine" in ModelTrainer.available_backends()
    X = np.random.default_rng(0).normal(size=(100, 2))
    y = np.where(X[:, 0] > 0, "up", "down")
    trainer = ModelTrainer({"backend": "mine", "C": 10.0})
    result = trainer.train(X, y)
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics["cv_mean"] > 0.9
    trainer.save_model(tmp_path / "model")
    other = ModelTrainer({"backend": "mine"})
    other.load_model(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(X), trainer.predict(X))
    with pytest.raises(SettingsError, match=r"Backend 'mine' has no key 'D'\. Allowed: backend,"):
        ModelTrainer({"backend": "mine", "D": 1})

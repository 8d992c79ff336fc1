"""Models of others with real payloads: none of them runs."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ratchet import tracking, vetting
from ratchet.errors import StoreError
from ratchet.serving import models
from ratchet.settings import load

TABLE = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
ANSWERS = [0.0, 1.0, 2.0, 3.0]


class Payload:
    """Its pickle is a command."""

    def __init__(self, trap: Path):
        self.trap = trap

    def __reduce__(self):
        return Path.touch, (self.trap,)


@pytest.fixture
def trap(tmp_path) -> Path:
    """A file that is there once a payload has run."""
    return tmp_path / "sprung"


def changed(folder: Path, flavor: str, **changes) -> Path:
    """Write something else into a model's own file."""
    place = folder / "MLmodel"
    saved = yaml.safe_load(place.read_text(encoding="utf-8"))
    saved["flavors"][flavor] |= changes
    place.write_text(yaml.safe_dump(saved), encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        tracking.load_model(str(folder))
    return str(caught.value)


@pytest.fixture
def runner(tmp_path, store) -> Path:
    """A model that runs what it is given, and says that this may be trusted."""
    import mlflow
    from sklearn.preprocessing import FunctionTransformer

    folder = tmp_path / "runner"
    mlflow.sklearn.save_model(
        FunctionTransformer(subprocess.getoutput),
        str(folder),
        serialization_format="skops",
        skops_trusted_types=["subprocess.getoutput"],
        pip_requirements=[],
    )
    return folder


def test_a_models_own_word_trusts_no_class(runner, trap):
    import mlflow

    mlflow.sklearn.load_model(str(runner)).transform(f"touch {trap}")
    assert trap.exists(), "MLflow believes the model's own file"
    assert refusal(runner) == (
        f"The model {runner} holds subprocess.getoutput, which only its own file says may be"
        " trusted. If you trust whoever wrote it, name it in registry.trusted_types."
    )


def test_what_a_user_names_is_trusted(runner, project, monkeypatch):
    with pytest.raises(StoreError):
        models.load(project, str(runner))
    path = project.root / "trusting.yaml"
    told = yaml.safe_load(project.params_file.read_text(encoding="utf-8"))
    told["registry"] = {**told.get("registry", {}), "trusted_types": ["subprocess.getoutput"]}
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    assert load(path).registry.trusted_types == ["subprocess.getoutput"]
    trusting = type(project).open(path)
    assert models.load(trusting, str(runner)).transform("echo hello") == "hello"


def test_an_estimator_of_lightgbm_is_no_pickle_in_disguise(tmp_path, store, trap):
    import cloudpickle
    import mlflow
    from lightgbm import LGBMRegressor

    folder = tmp_path / "model"
    fitted = LGBMRegressor(n_estimators=2, verbose=-1).fit(TABLE, ANSWERS)
    mlflow.lightgbm.save_model(
        fitted, str(folder), serialization_format="cloudpickle", pip_requirements=[]
    )
    saved = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    (folder / saved["flavors"]["lightgbm"]["data"]).write_bytes(cloudpickle.dumps(Payload(trap)))
    told = refusal(folder)
    assert not trap.exists()
    assert told.startswith(f"The model {folder} is saved with cloudpickle, which may run any code")
    with pytest.raises(AttributeError):  # the payload is no model, once it has run
        mlflow.lightgbm.load_model(str(folder)).predict(TABLE)
    assert trap.exists()


def test_estimators_and_boosters_of_lightgbm_without_pickle_are_loaded(tmp_path, store):
    import mlflow
    from lightgbm import LGBMRegressor

    fitted = LGBMRegressor(n_estimators=2, verbose=-1, min_child_samples=1).fit(TABLE, ANSWERS)
    plain, skops = str(tmp_path / "plain"), str(tmp_path / "skops")
    mlflow.lightgbm.save_model(fitted.booster_, plain, pip_requirements=[])
    mlflow.lightgbm.save_model(
        fitted,
        skops,
        serialization_format="skops",
        skops_trusted_types=sorted(vetting.known_types() | {"collections.OrderedDict"}),
        pip_requirements=[],
    )
    for folder in (plain, skops):
        loaded = tracking.load_model(folder)
        assert list(loaded.predict(TABLE)) == list(fitted.predict(TABLE))


def test_a_plain_model_names_no_class_of_another_library(tmp_path, store):
    import mlflow
    from xgboost import XGBRegressor

    folder = tmp_path / "model"
    fitted = XGBRegressor(n_estimators=2).fit(TABLE, ANSWERS)
    mlflow.xgboost.save_model(fitted, str(folder), model_format="json", pip_requirements=[])
    assert list(tracking.load_model(str(folder)).predict(TABLE)) == list(fitted.predict(TABLE))
    changed(folder, "xgboost", model_class="antigravity.fly")
    assert "is saved with antigravity.fly, which may run any code" in refusal(folder)


def test_code_of_a_plain_model_is_not_put_on_the_path(tmp_path, store, trap):
    import mlflow
    from xgboost import XGBRegressor

    folder = tmp_path / "model"
    fitted = XGBRegressor(n_estimators=2).fit(TABLE, ANSWERS)
    mlflow.xgboost.save_model(fitted, str(folder), model_format="json", pip_requirements=[])
    (folder / "code").mkdir()
    (folder / "code" / "stranger.py").write_text(f"open({str(trap)!r}, 'w')", encoding="utf-8")
    changed(folder, "python_function", code="code")
    assert "comes with code that this project has not: stranger" in refusal(folder)
    assert not trap.exists()


def test_the_projects_own_models_list_what_is_known(project):
    saved = vetting.Saved.read(project.trained / "model")
    assert saved.unsafe_format == ""
    assert saved.unlisted_types() == []
    assert saved.strange_types(vetting.known_types(), ()) == []
    assert saved.strange_types((), ()) != []


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: [", encoding="utf-8")
    assert "is saved with no Python format" in refusal(tmp_path)

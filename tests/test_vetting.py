"""Models of others with real payloads: none of them runs."""

import contextlib
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import joblib
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ratchet import hooked, table, tracking, vetting
from ratchet.errors import DataError, RatchetError, SettingsError, StoreError
from ratchet.serving import models
from ratchet.settings import from_mapping, load

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


def by_hand(folder: Path, flavors: dict, files: dict[str, bytes]) -> Path:
    """Write a model as anybody can who may write to an artifact store."""
    about = {
        "artifact_path": "model",
        "flavors": flavors,
        "mlflow_version": "3.17.2",
        "utc_time_created": "2026-11-26 06:00:00",
    }
    for name, content in {"MLmodel": yaml.safe_dump(about).encode(), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def sprung_by_mlflow(folder: Path, trap: Path) -> bool:
    """Tell whether MLflow itself runs the payload: that it is a real one."""
    import mlflow

    flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    load = mlflow.sklearn.load_model if "sklearn" in flavors else mlflow.pyfunc.load_model
    with contextlib.suppress(Exception):  # a payload is no model, once it has run
        load(str(folder)).predict(TABLE)
    there = trap.exists()
    trap.unlink(missing_ok=True)
    return there


def sklearn_of(data: str, **more) -> dict:
    return {
        "sklearn": {"pickled_model": data, "sklearn_version": "1.9.1", **more},
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": data},
    }


def sklearn_pickle(folder: Path, trap: Path) -> None:
    flavors = sklearn_of("model.pkl", serialization_format="pickle")
    by_hand(folder, flavors, {"model.pkl": pickle.dumps(Payload(trap))})


def sklearn_of_no_format(folder: Path, trap: Path) -> None:
    by_hand(folder, sklearn_of("model.pkl"), {"model.pkl": pickle.dumps(Payload(trap))})


def sklearn_cloudpickle(folder: Path, trap: Path) -> None:
    flavors = sklearn_of("model.pkl", serialization_format="cloudpickle")
    by_hand(folder, flavors, {"model.pkl": cloudpickle.dumps(Payload(trap))})


def sklearn_joblib(folder: Path, trap: Path) -> None:
    stream = io.BytesIO()
    joblib.dump(Payload(trap), stream)
    flavors = sklearn_of("model.joblib", serialization_format="pickle")
    by_hand(folder, flavors, {"model.joblib": stream.getvalue()})


def python_model(folder: Path, trap: Path) -> None:
    flavors = {
        "python_function": {
            "loader_module": "mlflow.pyfunc.model",
            "python_model": "python_model.pkl",
            "cloudpickle_version": cloudpickle.__version__,
        }
    }
    by_hand(folder, flavors, {"python_model.pkl": cloudpickle.dumps(Payload(trap))})


def loader_of_its_own(folder: Path, trap: Path) -> None:
    flavors = {"python_function": {"loader_module": "stranger_loads", "code": "code"}}
    program = f"open({str(trap)!r}, 'w')\ndef _load_pyfunc(path): ...".encode()
    by_hand(folder, flavors, {"code/stranger_loads.py": program})


def code_elsewhere(folder: Path, trap: Path) -> None:
    """MLflow puts any folder on the path; a plain loader then imports its library from there."""
    flavors = {
        "catboost": {"data": "model.cb", "model_type": "CatBoost", "save_format": "cbm"},
        "python_function": {
            "loader_module": "mlflow.catboost",
            "code": "extra",
            "data": "model.cb",
        },
    }
    files = {"model.cb": b"", "extra/catboost.py": f"open({str(trap)!r}, 'w')".encode()}
    by_hand(folder, flavors, files)


def second_about_file(folder: Path, trap: Path) -> None:
    """The loader of LightGBM reads the MLmodel beside the data, not the one of the model."""
    inner = {
        "lightgbm": {
            "data": "model.pkl",
            "model_class": "lightgbm.sklearn.LGBMRegressor",
            "serialization_format": "cloudpickle",
        }
    }
    outer = {
        "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"},
        "python_function": {"loader_module": "mlflow.lightgbm", "data": "inner/model.pkl"},
    }
    by_hand(folder / "inner", inner, {"model.pkl": cloudpickle.dumps(Payload(trap))})
    by_hand(folder, outer, {"model.lgb": b""})


def second_about_folder(folder: Path, trap: Path) -> None:
    second_about_file(folder, trap)
    changed(folder, "python_function", data="inner")


def outside_of_its_folder(folder: Path, trap: Path) -> None:
    second_about_file(folder, trap)
    (folder / "inner").rename(folder.parent / "beside")
    changed(folder, "python_function", data="../beside/model.pkl")


ARMED = {
    each.__name__: (each, told)
    for each, told in (
        (sklearn_pickle, "is saved with pickle, which may run any code"),
        (sklearn_of_no_format, "is saved with None, which may run any code"),
        (sklearn_cloudpickle, "is saved with cloudpickle, which may run any code"),
        (sklearn_joblib, "is saved with pickle, which may run any code"),
        (python_model, "is saved with mlflow.pyfunc.model, which may run any code"),
        (loader_of_its_own, "is saved with stranger_loads, which may run any code"),
        (code_elsewhere, "its MLmodel has code of python_function in 'extra', where 'code' is"),
        (second_about_file, "has the data of python_function in 'inner/model.pkl', where a file"),
        (second_about_folder, "has the data of python_function in 'inner', where a file beside"),
        (
            outside_of_its_folder,
            "lies outside of its own files: ../beside/model.pkl. Nothing",
        ),
    )
}


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Let a module of a model's own take the place of an installed one for the test only."""
    names = ("catboost", "stranger_loads")
    before = {name: sys.modules.pop(name, None) for name in names}
    yield
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.mark.parametrize("armed", ARMED)
def test_a_payload_that_mlflow_runs_is_refused_and_does_not_run(
    armed, tmp_path, trap, monkeypatch, own_modules
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    arm, told = ARMED[armed]
    folder = tmp_path / "armed"
    arm(folder, trap)
    assert told in refusal(folder)
    assert not trap.exists()
    assert sprung_by_mlflow(folder, trap), "the payload is a dud"


def test_what_is_looked_at_is_what_is_loaded(tmp_path, trap):
    """A model with two files, of which MLflow takes the other."""
    import mlflow
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    flavors = {
        "lightgbm": {
            "pickled_model": "harmless.skops",
            "data": "model.skops",
            "model_class": "lightgbm.sklearn.LGBMRegressor",
            "serialization_format": "skops",
            "skops_trusted_types": ["subprocess.getoutput"],
        },
        "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.skops"},
    }
    files = {
        "harmless.skops": skops.io.dumps(FunctionTransformer()),
        "model.skops": skops.io.dumps(FunctionTransformer(subprocess.getoutput)),
    }
    folder = by_hand(tmp_path / "two", flavors, files)
    assert "holds subprocess.getoutput, which only its own file says may" in refusal(folder)
    mlflow.lightgbm.load_model(str(folder)).transform(f"touch {trap}")
    assert trap.exists(), "MLflow reads the other file"


def test_a_type_that_nobody_lists_is_refused(tmp_path):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    content = skops.io.dumps(FunctionTransformer(subprocess.getoutput))
    flavors = sklearn_of("model.skops", serialization_format="skops", skops_trusted_types=[])
    folder = by_hand(tmp_path / "model", flavors, {"model.skops": content})
    with pytest.raises(RatchetError, match=r"Untrusted types found.*subprocess\.getoutput"):
        tracking.load_model(str(folder))


@pytest.mark.parametrize(
    "flavor",
    ["keras", "pytorch", "spark", "statsmodels", "transformers", "pyfunc.loaders.code_model"],
)
def test_no_other_library_of_mlflows_reads_a_model(tmp_path, flavor):
    loader = f"mlflow.{flavor}"
    folder = by_hand(tmp_path / "model", {"python_function": {"loader_module": loader}}, {})
    assert f"is saved with {loader}, which may run any code" in refusal(folder)


def test_a_projects_own_module_lends_no_model_what_it_has_imported(tmp_path, store, trap):
    """A module that imports pandas knows read_pickle, and one that imports Path can touch."""
    import mlflow
    import plain_models
    from plain_models import Linear
    from sklearn.preprocessing import FunctionTransformer

    from ratchet.hooked import HookedRegressor

    assert plain_models.pd is pd
    armed = HookedRegressor(Linear(0, 1.0), load_fn="plain_models:pd.read_pickle")
    stolen = pickle.dumps(Payload(trap))
    state = {**vars(armed), "model": {"model": stolen}, "config": {"method": None}}
    with hooked.only({"plain_models"}), pytest.raises(ValueError) as caught:
        HookedRegressor().__setstate__(state)
    assert str(caught.value) == (
        "The model wants to run 'plain_models:pd.read_pickle', which plain_models has from"
        " pandas, and that is not among the modules it may use: plain_models."
    )
    assert not trap.exists()
    with contextlib.suppress(ValueError):  # a payload is no model, once it has run
        HookedRegressor().__setstate__(state)
    assert trap.exists(), "without the limit, as `mlflow models serve` has it, it runs"
    folder = tmp_path / "lent"
    mlflow.sklearn.save_model(
        FunctionTransformer(plain_models.predict_fn),
        str(folder),
        serialization_format="skops",
        skops_trusted_types=["plain_models.predict_fn", "plain_models.LinearRegression"],
        pip_requirements=[],
        code_paths=[plain_models.__file__],
    )
    assert tracking.load_model(str(folder)).func is plain_models.predict_fn
    saved = vetting.Saved.read(folder)
    assert saved.strange_types((), {"plain_models"}) == []
    assert vetting.is_written_in({"plain_models"}, "plain_models.Linear")
    assert not vetting.is_written_in({"plain_models"}, "plain_models.LinearRegression")
    assert not vetting.is_written_in({"plain_models"}, "plain_models.no_such_name")
    assert not vetting.is_written_in({"plain_models"}, "subprocess.getoutput")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"providers": ["TensorrtExecutionProvider"]}, "compute by 'TensorrtExecutionProvider'"),
        (
            {"providers": [["CPUExecutionProvider", {"x": "lib.so"}]]},
            "compute by ['CPUExecutionProvider', {'x': 'lib.so'}]",
        ),
        (
            {"onnx_session_options": {"extra_session_config": {"ep.context_file_path": "x"}}},
            "gives ONNX settings of a session",
        ),
    ],
)
def test_onnx_computes_without_libraries_that_a_model_names(tmp_path, changes, told):
    flavors = {
        "onnx": {"data": "model.onnx", **changes},
        "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"},
    }
    assert told in refusal(by_hand(tmp_path / "model", flavors, {"model.onnx": b""}))


def test_what_a_model_requires_is_not_installed(tmp_path, runner, trap):
    package = tmp_path / "package"
    package.mkdir()
    (package / "setup.py").write_text(f"open({str(trap)!r}, 'w')", encoding="utf-8")
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        (runner / name).write_text(f"evil @ file://{package}\n-e {package}\n", encoding="utf-8")
    trusted = {*vetting.known_types(), "subprocess.getoutput"}
    assert tracking.load_model(str(runner), trusted=trusted).transform("echo hello") == "hello"
    assert not trap.exists()


# What is no model


def test_no_array_with_objects_is_read(store, tagged, tmp_path, trap):
    import numpy as np

    path = tmp_path / "rows.npy"
    np.save(path, np.array([Payload(trap)], dtype=object), allow_pickle=True)
    told = "Object arrays cannot be loaded when allow_pickle=False"
    with pytest.raises(RatchetError, match=told):
        table.read_array(path, made_by="train")
    run_id = tagged("train")
    store.log_artifact(run_id, str(path))
    with pytest.raises(StoreError, match=told):
        tracking.load_array(run_id, "rows.npy")
    assert not trap.exists()
    np.load(path, allow_pickle=True)
    assert trap.exists(), "the payload is a dud"


def test_a_journal_with_a_payload_is_a_trial_that_is_tried_again(tmp_path, trap):
    import numpy as np

    from ratchet.journal import Journal
    from ratchet.search import Candidate, TrialResult

    journal = Journal(tmp_path / "journal")
    candidate = Candidate("sklearn", "ridge", {"alpha": 1.0})
    journal.keep(TrialResult(0, candidate, 1.0, 1.0, 0.1, 0.1), np.zeros(3))
    assert len(journal.trials()) == 1
    [answer] = journal.folder.glob("*.npy")
    np.save(answer, np.array([Payload(trap)], dtype=object), allow_pickle=True)
    assert journal.trials() == ()
    assert not trap.exists()


def test_what_a_parquet_file_says_of_its_types_runs_nothing(tmp_path, trap):
    """Arrow's own extension types were pickles once; a file may still say that it has one."""
    stolen = pickle.dumps(Payload(trap))
    field = pa.field(
        "a",
        pa.int64(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": stolen,
        },
    )
    written = pa.table({"a": pa.array([1, 2])}, schema=pa.schema([field]))
    path = tmp_path / "rows.parquet"
    pq.write_table(written, path, store_schema=True)
    assert list(table.read_parquet(path, made_by="prepare")["a"]) == [1, 2]
    assert list(table.read_table(path).frame["a"]) == [1, 2]
    assert not trap.exists()


@pytest.mark.parametrize("name", ["rows.pkl", "rows.parquet", "rows.csv", "rows.joblib"])
def test_a_table_that_is_a_pickle_is_refused_whatever_it_is_called(tmp_path, trap, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(DataError):
        table.read_table(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sklearn.*", "must be the full name of one class or function, such as a.b.C"),
        ("*", "must be the full name of one class or function, such as a.b.C"),
        ("subprocess", "must be the full name of one class or function, such as a.b.C"),
        ("", "must be the full name of one class or function, such as a.b.C"),
        ("a.b.C, d.E", "must be the full name of one class or function, such as a.b.C"),
    ],
)
def test_a_type_is_trusted_by_its_own_name_only(name, told):
    registry = {"trusted_types": [name]}
    with pytest.raises(SettingsError, match=re.escape(told)):
        from_mapping(
            {"name": "t", "data": {"source": "data", "target": "y"}, "registry": registry},
            origin="here",
        )


def test_a_module_is_no_type_and_trusts_nothing():
    with pytest.raises(SettingsError) as caught:
        vetting.known_types(more=["sklearn.linear_model"])
    assert str(caught.value) == (
        "registry.trusted_types names sklearn.linear_model, which is a module. Name each class or"
        " function in it that may be loaded, such as sklearn.linear_model.SomeClass."
    )
    assert "sklearn.linear_model.Ridge" in vetting.known_types(more=["sklearn.linear_model.Ridge"])


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


# By every command


def arm(folder: Path, trap: Path) -> Path:
    """Turn a model of this project into one whose pickle is a command."""
    saved = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    flavor = saved["flavors"]["sklearn"]
    flavor |= {"serialization_format": "pickle", "pickled_model": "model.pkl"}
    (folder / "MLmodel").write_text(yaml.safe_dump(saved), encoding="utf-8")
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(trap)))
    return folder


def test_no_command_runs_what_somebody_else_has_registered(
    project, better, store, call, tmp_path, trap, monkeypatch
):
    """Whoever may write to the registry makes a version of their own, and moves the alias."""
    import shutil

    import mlflow
    from conftest import tiny_table

    from ratchet.registry import champion
    from ratchet.steps import promote
    from ratchet.steps.train import Leader

    monkeypatch.setattr(champion, "_PAUSE", 0.01)
    promote.run(project)
    folder = tmp_path / "stranger"
    shutil.copytree(project.trained / "model", folder)
    made = store.create_model_version(
        "tiny", source=str(arm(folder, trap)), run_id=Leader.load(project).run_id
    )
    store.set_registered_model_alias("tiny", "champion", made.version)
    rows = tmp_path / "rows.parquet"
    tiny_table(30, seed=1).drop(columns="price").to_parquet(rows)
    given, told = ("--params", project.params_file), "is saved with pickle, which may run any code"
    for command in (
        ("serve", "--port", 0),
        ("predict", "--data", rows, "--out", tmp_path / "out.parquet"),
        ("export", "--to", tmp_path / "model.onnx"),
        ("monitor", "--data", rows),
        ("promote", "--run", Leader.load(better).run_id),
    ):
        code, _, err = call(*command, *given)
        assert (code, told in err) == (2, True), (command, err)
        assert "Traceback" not in err
        assert not trap.exists(), command
    for command in (
        ("compare", "tiny/2", Leader.load(better).run_id),
        ("doctor",),
        ("status",),
        ("history", "--verify"),
        ("verify",),
        ("report", Leader.load(project).run_id, "--to", tmp_path / "report.html"),
    ):
        _, out, err = call(*command, *given)
        assert "Traceback" not in err
        assert not trap.exists(), command
        if command[0] in ("compare", "doctor"):
            assert "may run any code" in " ".join((out + err).split()), command
    with contextlib.suppress(Exception):  # a payload is no model, once it has run
        mlflow.sklearn.load_model("models:/tiny@champion")
    assert trap.exists(), "the payload is a dud"


def test_no_step_runs_what_somebody_has_put_into_the_build_folder(
    project, call, trap, empty_store, tmp_path, monkeypatch, caplog
):
    """Out of a DVC cache that others write to, also where the runs are logged again from it."""
    import shutil

    import mlflow

    arm(project.trained / "model", trap)
    given, told = ("--params", project.params_file), "is saved with pickle, which may run any code"
    for command in ("evaluate", "promote"):
        code, _, err = call(command, *given)
        assert (code, told in err) == (2, True), (command, err)
    shutil.copy(empty_store, tmp_path / "fresh.db")
    mlflow.set_tracking_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'fresh.db'}")
    with caplog.at_level("INFO"):
        code, _, err = call("promote", *given)
    assert (code, told in err, "logged again" in caplog.text) == (2, True, True), err
    assert not trap.exists()

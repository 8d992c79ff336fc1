"""A model as an ONNX file, which onnxruntime runs without any of us."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_settings, tiny_table

from ratchet import folds, metrics, settings, table, trainer
from ratchet.bench import Bench
from ratchet.commands import export as command
from ratchet.errors import RatchetError
from ratchet.export import estimators, whole
from ratchet.export.graph import ConversionError
from ratchet.model import Calibration, Part, combine, predict
from ratchet.search import Candidate
from ratchet.serving import served
from ratchet.settings import Settings
from ratchet.steps import prepare, promote
from ratchet.table import Table

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def wild_table() -> pd.DataFrame:
    """Gaps, many labels, labels that are numbers, truth, times, and two targets."""
    frame = tiny_table(600)
    random = np.random.default_rng(0)
    frame["zone"] = random.integers(1, 40, len(frame)).astype(float)
    frame["street"] = [f"s{n}" for n in random.integers(0, 350, len(frame))]
    frame["new"] = random.random(len(frame)) < 0.3
    frame["prediction"] = random.normal(size=len(frame))
    frame["built"] = frame["sold"] - pd.to_timedelta(random.integers(1, 9e6, len(frame)), "min")
    frame["price"] += 3 * frame["zone"] + 50 * frame["new"]
    frame["grade"] = pd.qcut(frame["price"], 3, labels=["low", "mid", "high"]).astype("str")
    frame["dear"] = np.where(frame["price"] > frame["price"].median(), "yes", "no")
    for number, name in enumerate(["town", "rooms", "zone", "built"]):
        frame.loc[frame.index % 11 == number, name] = None
    return frame


DERIVED = {
    "per_room": "size / rooms",
    "age": "days(sold - built)",
    "how_common": "share(town)",
    "bent": "log1p(size) ** 2 - 3 * sqrt(abs(rooms - 2))",
    "way": "haversine(size, rooms, rooms, size)",
}


class Shop:
    """Fits any family on the wild table, without a search."""

    def __init__(self, target: str, derive: dict | None = None, frame: Any = None) -> None:
        frame = wild_table() if frame is None else frame
        drop = [name for name in ("price", "grade", "dear") if name != target and name in frame]
        labels = [name for name in ("zone",) if name in frame]
        data = {"source": "-", "target": target, "categorical": labels, "drop": drop}
        given = settings.Data.model_validate({**data, "derive": derive or {}})
        prepared = table.prepare_table(Table(frame, (), ()), given, None)
        self.schema = table.with_statistics(prepared.schema, prepared.frame)
        self.rows = prepared.frame
        n = len(self.rows) * 3 // 4
        self.test = self.rows[n:].reset_index(drop=True)
        metric = metrics.default(self.schema.problem)
        chosen = Settings.model_validate(tiny_settings(train__families=None))
        plan = folds.holdout(n, len(self.test))
        self.bench = Bench(self.rows, self.schema, chosen, metric, plan)
        self.shelf = trainer.shelf_for(self.bench.task, chosen)

    def part(self, name: str) -> Part:
        """Fit a family with its first settings, briefly."""
        backend, family = next(pair for pair in self.shelf if pair[1].name == name)
        few = {family.rounds: 12} if family.rounds else {}
        candidate = Candidate(backend.name, name, {**family.starts[0], **few})
        self.bench.evaluate(candidate, None)
        return self.bench.answers[candidate.key].parts[0]

    def agreement(self, model) -> whole.Agreement:
        content = whole.converted(model, self.schema, {})
        asked = pd.concat([self.test, whole.probes(self.test, self.schema)], ignore_index=True)
        return whole.compared(content, model, asked, self.schema)


@pytest.fixture(scope="module")
def shops():
    return {
        "regression": Shop("price", DERIVED),
        "binary": Shop("dear"),
        "multiclass": Shop("grade"),
    }


@pytest.mark.parametrize("problem", ["regression", "binary", "multiclass"])
def test_each_family_answers_alike_or_says_that_it_can_not(shops, problem):
    """Gaps in every column and new labels included."""
    shop = shops[problem]
    converted = set()
    for _, family in shop.shelf:
        model = combine([shop.part(family.name)], shop.schema, None)
        if family.name not in estimators.FAMILIES:
            with pytest.raises(
                ConversionError, match="The model can't be written as ONNX, because"
            ):
                shop.agreement(model)
            continue
        found = shop.agreement(model)
        # XGBoost adds up in single precision, and all others as the graph does.
        most = 1e-5 if family.name == "xgboost" else 1e-9
        assert found.largest < most, family.name
        assert found.other_classes == 0 and found.n_rows > 150
        converted.add(family.name)
    assert {"lightgbm", "xgboost", "random_forest", "hist_boosting", "mlp"} <= converted


def test_members_with_weights_a_calibration_and_a_threshold(shops):
    shop = shops["binary"]
    parts = [shop.part(name) for name in ("logistic", "xgboost", "lightgbm")]
    weighed = [Part(p.transformer, p.estimator, w) for p, w in zip(parts, (3, 2, 1), strict=True)]
    random = np.random.default_rng(0)
    raw = random.dirichlet([1, 1], 200)
    mapped = Calibration.learn(raw, (raw[:, 1] > random.random(200)).astype(int))
    model = combine(weighed, shop.schema, 0.3, mapped)
    found = shop.agreement(model)
    assert found.is_equal and found.largest < 1e-5
    said = predict(model, shop.test, shop.schema)
    assert (said.values != said.probabilities.argmax(axis=1)).any()
    votes = combine(
        [Part(p.transformer, p.estimator, 1.0) for p in parts], shops["binary"].schema, None
    )
    assert shop.agreement(votes).is_equal


def test_times_are_taken_apart_as_a_calendar_does(shops):
    """In leap years, at the ends of months and centuries, and before 1970."""
    shop = shops["regression"]
    model = combine([shop.part("lightgbm"), shop.part("ridge")], shop.schema, None)
    moments = pd.to_datetime(
        [
            *("1969-12-31 23:59:59", "1970-01-01", "2000-02-29 12:30", "1900-03-01", "2100-02-28"),
            *(
                "1850-12-31 00:01",
                "2024-12-31 23:59:59.999999",
                "2024-01-01",
                "2023-03-01 06:07:08",
            ),
        ],
        format="mixed",
    )
    rows = pd.concat([shop.test.head(1)] * len(moments), ignore_index=True)
    rows = rows.assign(sold=moments.astype("datetime64[us]"))
    found = whole.compared(whole.converted(model, shop.schema, {}), model, rows, shop.schema)
    assert found.largest < 1e-9
    assert len(np.unique(predict(model, rows, shop.schema).values)) > 5


def test_a_file_that_answers_otherwise_is_noticed(shops):
    """The check is of the file's answers, and not of the conversion's good intentions."""
    shop = shops["binary"]
    ours, other = (combine([shop.part(n)], shop.schema, None) for n in ("logistic", "lightgbm"))
    content = whole.converted(other, shop.schema, {})
    found = whole.compared(content, ours, shop.test, shop.schema)
    assert not found.is_equal and found.largest > 0.01 and found.other_classes > 0


RUNS = """
import json, sys
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
assert not {"sklearn", "pandas", "ratchet"} & set(sys.modules)
given = {
    "size": np.array([[100.0], [50.0], [np.nan]]),
    "town": np.array([["Berlin"], [""], ["Dresden"]], dtype=object),
    "rooms": np.array([[3.0], [1.0], [2.0]]),
    "sold": np.array([["2024-05-01"], ["2024-06-01"], ["NaT"]], "datetime64[us]").astype("int64"),
}
told = session.get_modelmeta().custom_metadata_map
print(json.dumps({
    "said": session.run(["prediction"], given)[0].tolist(),
    "about": told,
    "inputs": {each.name: [each.type, each.shape] for each in session.get_inputs()},
}))
"""


def test_the_champion_is_written_and_runs_with_onnxruntime_alone(better, tmp_path, call):
    assert promote.run(better).promoted
    to = tmp_path / "champion.onnx"
    code, out, err = call("export", "--to", to, "--json", "--params", better.params_file)
    assert code == 0, err
    told = json.loads(out)
    asked = served.load(better, served.find(better))
    assert (told["version"], told["of"]) == ("tiny/1", "test rows and probes")
    assert told["rows"] > len(prepare.read_part(better, "test"))
    assert told["largest_difference"] < 1e-5
    ran = subprocess.run(
        [sys.executable, "-c", RUNS, str(to)], capture_output=True, text=True, check=True
    )
    answered = json.loads(ran.stdout)
    rows = pd.DataFrame(
        {
            "size": [100.0, 50.0, np.nan],
            "town": pd.Series(["Berlin", None, "Dresden"], dtype="str"),
            "rooms": [3.0, 1.0, 2.0],
            "sold": pd.to_datetime(["2024-05-01", "2024-06-01", None]),
        }
    )
    assert np.allclose(answered["said"], predict(asked.model, rows, asked.schema).values)
    assert answered["about"] == {
        "ratchet.version": "tiny/1",
        "ratchet.run_id": asked.training.run_id,
        "ratchet.data_version": asked.training.tags["ratchet.data_version"],
        "ratchet.problem": "regression",
        "ratchet.target": "price",
    }
    assert answered["inputs"] == {
        "size": ["tensor(double)", [None, 1]],
        "town": ["tensor(string)", [None, 1]],
        "rooms": ["tensor(double)", [None, 1]],
        "sold": ["tensor(int64)", [None, 1]],
    }


def test_where_other_rows_are_prepared_the_models_example_is_asked(project, tmp_path):
    assert promote.run(project).promoted
    path = project.prepared / "schema.json"
    path.write_text(path.read_text().replace('"rooms"', '"bathrooms"'))
    found = command.run(project, "1", tmp_path / "m.onnx")
    assert found.of == "rows of the model's example and probes"
    assert 3 < found.rows < 20


@pytest.mark.parametrize("label", ["text", "whole", "truth"])
def test_labels_come_back_as_the_targets_own(label):
    frame = tiny_table(300)
    yes = frame["dear"] == "yes"
    frame["dear"] = {"text": frame["dear"], "whole": yes * 3 + 4, "truth": yes}[label]
    shop = Shop("dear", frame=frame)
    model = combine([shop.part("logistic")], shop.schema, None)
    session = onnxruntime.InferenceSession(whole.converted(model, shop.schema, {}))
    given = whole.feed(shop.test, shop.schema)
    [said] = session.run(["prediction"], {i.name: given[i.name] for i in session.get_inputs()})
    assert said.tolist() == model.predict(shop.test[shop.schema.names]).tolist()


def test_what_can_not_be_exported_is_told_and_nothing_is_written(project, tmp_path, monkeypatch):
    assert promote.run(project).promoted
    with pytest.raises(RatchetError, match=r"must end in \.onnx"):
        command.run(project, None, tmp_path / "model.pb")
    monkeypatch.setattr(whole, "TOLERANCE", 0.0)
    monkeypatch.setattr(command, "TOLERANCE", 0.0)
    to = tmp_path / "model.onnx"
    to.write_text("before")
    with pytest.raises(RatchetError) as caught:
        command.run(project, None, to)
    assert str(caught.value).startswith(
        "The ONNX file does not answer as tiny/1 does, so that it is not written: on "
    )
    assert "(0 is allowed)." in str(caught.value)
    assert to.read_text() == "before"


def test_free_text_says_which_column_it_is():
    frame = tiny_table(200)
    random = np.random.default_rng(0)
    words = np.array(["quiet", "sunny", "large", "near", "park", "old", "renovated", "balcony"])
    frame["note"] = [" ".join(random.choice(words, 9)) + f" {n}" for n in range(200)]
    shop = Shop("price", frame=frame)
    model = combine([shop.part("ridge")], shop.schema, None)
    with pytest.raises(ConversionError) as caught:
        whole.converted(model, shop.schema, {})
    assert "free text can't be converted (note). Name such columns in data.drop" in str(
        caught.value
    )

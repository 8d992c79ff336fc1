"""evaluate opens the test rows once, and scores leader and baseline on them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_table

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.metrics import Predictions
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.schema import Schema
from ratchet.steps import evaluate, prepare, promote, train
from ratchet.steps.train import Leader


@pytest.fixture
def project(evaluated):
    opened = Project.open(evaluated)
    tracking.connect(opened)
    return opened


def numbers(project):
    return json.loads((project.evaluated / "metrics.json").read_text())


def test_metrics_are_flat_and_stand_beside_the_baselines(project):
    found = numbers(project)
    for name in ("rmse", "mae", "r2"):
        for whose in ("", "baseline/"):
            key = f"{whose}test/{name}"
            assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"]
    assert found["test/rmse"] < found["baseline/test/rmse"]
    assert all(value is None or isinstance(value, float) for value in found.values())


def test_scores_are_those_of_the_saved_model_on_the_test_rows(project):
    rows = prepare.read_part(project, "test")
    schema = Schema.load(project.prepared / "schema.json")
    saved = tracking.load_model(str(project.trained / "model"))
    errors = saved.predict(rows[schema.names]) - rows["price"]
    assert numbers(project)["test/rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    known = pd.concat([prepare.read_part(project, name) for name in ("train", "valid")])
    trivial = rows["price"] - known["price"].mean()
    assert numbers(project)["baseline/test/rmse"] == pytest.approx(
        np.sqrt((trivial**2).mean()), rel=1e-12
    )


def test_predictions_for_the_plot_are_test_rows(project):
    drawn = pd.read_csv(project.evaluated / "predictions.csv")
    rows = prepare.read_part(project, "test")
    assert list(drawn.columns) == ["actual", "predicted"]
    np.testing.assert_allclose(np.sort(drawn["actual"]), np.sort(rows["price"]), atol=1e-4)


def test_the_scores_are_on_the_run_and_on_the_leaders(project, store):
    leader = store.get_run(Leader.load(project).run_id)
    run = store.get_run(leader.data.tags["ratchet.evaluate_run"])
    assert run.data.tags["ratchet.step"] == "evaluate"
    assert run.data.tags["mlflow.parentRunId"] == leader.info.run_id
    found = {name: value for name, value in numbers(project).items() if value is not None}
    assert found.items() <= run.data.metrics.items()
    assert found.items() <= leader.data.metrics.items()
    assert run.data.metrics["evaluate/seconds"] > 0
    assert run.info.run_name == f"evaluate · sklearn/ridge · rmse {found['test/rmse']:.3f}"
    [read] = run.inputs.dataset_inputs
    assert (read.dataset.name, read.tags[0].value) == ("tiny-test", "test")


def test_evaluating_again_gives_the_same_bytes(project):
    before = (project.evaluated / "metrics.json").read_bytes()
    evaluate.run(project)
    assert (project.evaluated / "metrics.json").read_bytes() == before


def test_the_report_of_quantities_has_the_numbers_of_the_scores(project):
    evaluate.run(Project.open(project.params_file, ["evaluate.report=true"]))
    found = Facts.load(project.evaluated / "report").performance
    rows = prepare.read_part(project, "test")
    assert found.rows == len(rows)
    assert found.answers.mae == pytest.approx(numbers(project)["test/mae"], rel=1e-12)
    assert found.over_time is None
    drawn = pd.read_csv(project.evaluated / "report" / "plots" / "residuals.csv")
    assert (drawn["actual"] - drawn["predicted"]).abs().mean() == pytest.approx(
        found.answers.mae, abs=1e-3
    )


def test_the_report_of_two_classes_has_the_numbers_of_the_scores(tiny):
    project = Project.open(
        tiny(
            tiny_table(400),
            data__target="dear",
            data__drop=["price"],
            split__method="time",
            split__column="sold",
            train__metric="f1",
            train__families=["baseline", "logistic"],
            evaluate__report=True,
        )
    )
    prepare.run(project)
    leader = train.run(project)
    evaluate.run(project)
    scores = numbers(project)
    found = Facts.load(project.evaluated / "report").performance
    answers = found.answers
    assert answers.ranking.auc == scores["test/roc_auc"]
    assert answers.ranking.average_precision == scores["test/average_precision"]
    assert answers.reliability.error == scores["test/calibration_error"]
    assert answers.reliability.brier == scores["test/brier"]
    assert (answers.thresholds.metric, answers.thresholds.used) == ("f1", leader.threshold)
    assert answers.thresholds.score_used == scores["test/f1"]
    assert answers.thresholds.precision_used == scores["test/precision"]
    assert sum(map(sum, answers.confusion.counts)) == found.rows
    assert answers.confusion.right / found.rows == scores["test/accuracy"]
    assert (found.over_time.column, found.over_time.metric) == ("sold", "f1")
    assert sum(each.rows for each in found.over_time.spans) == found.rows
    rows = prepare.read_part(project, "test")
    assert found.over_time.spans[0].begins == str(rows["sold"].min().date())
    roc = pd.read_csv(project.evaluated / "report" / "plots" / "roc.csv")
    assert np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"]) == pytest.approx(
        scores["test/roc_auc"], abs=1e-4
    )


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failure_half_way_leaves_what_was_there(project, store, monkeypatch, running):
    before = contents(project.evaluated)

    def fail(*_, **__):
        raise ZeroDivisionError("a bug of the table's")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(ZeroDivisionError):
        evaluate.run(project)
    assert contents(project.evaluated) == before
    assert store.search_runs(["1"])[0].info.status == "FAILED"
    assert running() == []


def test_rows_that_stand_or_fall_together_widen_the_interval(project):
    schema = Schema.load(project.prepared / "schema.json")
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(10), 20)
    y = random.normal(size=200)
    off = Predictions(y + random.normal(size=10)[codes], None)
    alone, together = (
        evaluate.judge(project, schema, y, off, rows).score("rmse")
        for rows in (pd.DataFrame(index=range(200)), pd.DataFrame({prepare.CLUSTER: codes}))
    )
    assert alone.value == together.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_functions_of_an_installed_package_are_judged_like_the_projects_own(
    tiny, tmp_path, monkeypatch
):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    shutil.copy(Path(__file__).with_name("plain_models.py"), installed / "bought_models.py")
    monkeypatch.syspath_prepend(installed)
    functions = ("build_model", "train_fn", "predict_fn", "save_fn", "load_fn")
    params = tiny(
        train__families=["baseline", "callable"],
        train__backends={"callable": {name: f"bought_models:{name}" for name in functions}},
    )
    try:
        project = Project.open(params)
        prepare.run(project)
        leader = train.run(project)
        found = evaluate.run(project)
        decision = promote.run(project)
        with pytest.raises(StoreError, match="wants to run 'bought_models:predict_fn'"):
            evaluate.run(Project.open(params, ["train.backends={}"]))
    finally:
        sys.modules.pop("bought_models", None)
    assert leader.name == "callable"
    assert found.score("r2").low > 0
    assert decision.promoted

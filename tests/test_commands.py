"""The whole pipeline in one process, and what it tells afterwards."""

import json
import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import tiny_table
from debug_backend import on_shelf

from ratchet import metrics, tracking
from ratchet.commands import pipeline, status
from ratchet.errors import RatchetError, StoreError
from ratchet.gates import shown
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.steps import prepare, promote
from ratchet.steps.train import Leader
from ratchet.table import encode_target


def runs(store):
    experiments = [each.experiment_id for each in store.search_experiments()]
    return store.search_runs(experiments, max_results=1000)


def by_step(store):
    return {each.data.tags["ratchet.step"]: each for each in runs(store)}


def test_the_steps_are_nested_runs_of_one(tiny, store):
    project = Project.open(tiny())
    decision = pipeline.run(project)
    found = by_step(store)
    main = found["main"]
    assert {each.info.status for each in runs(store)} == {"FINISHED"}
    for step in ("prepare", "train", "evaluate", "promote"):
        assert found[step].data.tags["mlflow.parentRunId"] == main.info.run_id
    leader = Leader.load(project)
    test = json.loads((project.evaluated / "metrics.json").read_text())
    assert main.data.metrics == {
        "valid/rmse": leader.score,
        "test/rmse": test["test/rmse"],
        "promoted": 1.0,
    }
    assert main.data.tags["ratchet.leader_run"] == leader.run_id
    score = shown(test["test/rmse"], 3)
    said = main.data.tags["mlflow.note.content"].split("\n\n")
    assert said[0].startswith(
        f"**sklearn/ridge**: rmse {leader.score:.3f} on validation rows, {score} ["
    )
    assert said[1] == f"**Promoted** as version 1 of `tiny`: {decision.reason}."
    assert main.info.run_name == f"pipeline · sklearn/ridge · rmse {score}"
    ids = {found[step].data.tags["ratchet.pipeline"] for step in ("prepare", "train", "promote")}
    assert len(ids) == 1


def test_a_step_that_fails_fails_the_pipeline_and_keeps_what_came_before(
    tiny, store, monkeypatch, running
):
    on_shelf(monkeypatch, {"fail": "too deep"})
    project = Project.open(tiny(train__families=["debug"]))
    with pytest.raises(RatchetError) as raised:
        pipeline.run(project)
    assert str(raised.value) == "All 1 trials failed: debug: ValueError: too deep"
    found = by_step(store)
    statuses = {step: each.info.status for step, each in found.items()}
    assert statuses == {"main": "FAILED", "prepare": "FINISHED", "train": "FAILED"}
    assert [path.name for path in project.build.iterdir() if path.is_dir()] == ["prepared"]
    assert running() == []


def test_a_binary_task_goes_through_all_steps_and_serves_its_threshold(tiny, store):
    """The threshold that F-beta likes best on validation decides in the served model too."""
    table = tiny_table()
    unsure = np.random.default_rng(1).random(len(table)) < 0.2
    table["dear"] = table["dear"].where(~unsure, "yes")
    chosen = {"data__target": "dear", "data__drop": ["price"]}
    families = ["baseline", "logistic"]
    project = Project.open(tiny(table, train__metric="f0.5", train__families=families, **chosen))
    decision = pipeline.run(project)
    assert decision.promoted, decision.reason
    leader = Leader.load(project)
    assert leader.metric == "f0.5"
    assert leader.threshold is not None
    assert abs(leader.threshold - 0.5) > 0.01

    rows = prepare.read_part(project, "test")
    schema = Schema.load(project.prepared / "schema.json")
    served = mlflow.pyfunc.load_model("models:/tiny@champion").predict(rows[schema.names])
    share = tracking.load_model("models:/tiny@champion").predict_proba(rows[schema.names])[:, 1]
    expected = np.where(share >= leader.threshold, "yes", "no")
    assert list(served) == list(expected)
    assert (expected != np.where(share >= 0.5, "yes", "no")).any()
    y = encode_target(rows["dear"], schema)
    codes = metrics.Predictions((np.asarray(served) == "yes").astype(int), None)
    score = metrics.score(metrics.named("f0.5", schema.problem), y, codes)
    assert score == pytest.approx(decision.score)


def test_a_task_of_several_classes_goes_through_all_steps(tiny, store):
    table = tiny_table()
    # A price per square metre, with so much noise that it doesn't give the town away.
    noise = np.random.default_rng(1).normal(0, 0.7, len(table))
    table["price"] = table["price"] / table["size"] + noise
    chosen = {"data__target": "town", "train__families": ["baseline", "logistic"]}
    project = Project.open(tiny(table, **chosen))
    decision = pipeline.run(project)
    assert decision.promoted, decision.reason
    rows = prepare.read_part(project, "test")
    schema = Schema.load(project.prepared / "schema.json")
    assert schema.classes == ("Aachen", "Berlin", "Cottbus")
    served = mlflow.pyfunc.load_model("models:/tiny@champion").predict(rows[schema.names])
    test = json.loads((project.evaluated / "metrics.json").read_text())
    assert np.mean(served == rows["town"]) == pytest.approx(test["test/accuracy"])
    assert test["test/accuracy"] > test["baseline/test/accuracy"] + 0.2
    drawn = pd.read_csv(project.evaluated / "predictions.csv")
    assert set(drawn["actual"]) == set(schema.classes)


# Status


@pytest.fixture
def project(evaluated):
    return Project.open(evaluated)


def test_status_tells_what_was_tried_the_best_family_first(project):
    found = status.read(project)
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert [(each.family, each.trials, each.failed) for each in found.tried] == [
        ("ridge", 2, 0),
        ("baseline", 1, 0),
    ]
    assert found.tried[0].best == found.leader.score == trials["score"].min()
    assert sum(each.seconds for each in found.tried) == pytest.approx(trials["seconds"].sum())
    assert found.test["test/rmse"] < found.test["baseline/test/rmse"]
    assert found.decision is None
    promote.run(project)
    assert status.read(project).decision.promoted


def test_a_family_that_failed_comes_last_and_is_null_in_json(project):
    path = project.trained / "trials.parquet"
    trials = pd.read_parquet(path)
    trials.loc[trials["family"] == "ridge", "score"] = float("nan")
    trials.to_parquet(path)
    numbers = json.loads((project.evaluated / "metrics.json").read_text())
    (project.evaluated / "metrics.json").write_text(json.dumps({**numbers, "test/r2": None}))
    found = status.read(project)
    assert [each.family for each in found.tried] == ["baseline", "ridge"]
    assert (found.tried[1].trials, found.tried[1].failed) == (2, 2)
    assert math.isnan(found.tried[1].best)
    assert math.isnan(found.test["test/r2"])

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    told = json.loads(status.as_json(found), parse_constant=refuse)
    assert told["tried"][1]["best"] is None
    assert told["test"]["test/r2"] is None
    assert told["leader"]["name"] == "sklearn/ridge"
    assert told["decision"] is None


def test_a_decision_on_another_leader_is_not_this_ones(project):
    promote.run(project)
    path = project.trained / "leader.json"
    path.write_text(path.read_text().replace(Leader.load(project).run_id, "another"))
    assert status.read(project).decision is None


def test_status_hides_the_password_of_a_store_that_does_not_answer(project):
    uri = "postgresql+psycopg2://me:secret@127.0.0.1:1/runs"
    with pytest.raises(StoreError) as error:
        status.read(Project.open(project.params_file, [f"tracking.uri={uri}"]))
    shown = "The database postgresql+psycopg2://***@127.0.0.1:1/runs can't be opened: "
    assert str(error.value).startswith(shown)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("gone", "step"),
    [
        ("train/leader.json", "train"),
        ("train/trials.parquet", "train"),
        ("prepared/schema.json", "prepare"),
        ("evaluate/metrics.json", "evaluate"),
    ],
)
def test_status_before_a_step_says_which_one_to_run(project, gone, step):
    (project.build / gone).unlink()
    with pytest.raises(RatchetError) as raised:
        status.read(project)
    assert str(raised.value) == f"{project.build / gone} is not there. Run the step {step} first."


# Since the champion


def test_status_says_who_reigns_and_what_the_leader_has_otherwise(evaluated, monkeypatch):
    monkeypatch.setattr("ratchet.cost._SECONDS", 0.01)
    project = Project.open(evaluated)
    decision = promote.run(project)
    same = status.read(project).champion
    assert (same.version, same.run_id, same.changes) == (1, decision.run_id, ())
    assert same.since == decision.decided_at
    other = status.read(Project.open(project.root / "better.yaml")).champion
    assert other.version == 1
    told = "train.families ['baseline', 'ridge'] → ['baseline', 'xgboost']"
    assert told in other.changes
    assert not any(
        "data_version" in change or change.startswith("data ") for change in other.changes
    )


def test_status_says_that_nobody_reigns(evaluated):
    assert status.read(Project.open(evaluated)).champion is None

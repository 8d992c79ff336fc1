"""train searches, keeps every trial on record, and writes a leader or nothing."""

import json
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
from debug_backend import on_shelf

from ratchet import backends, metrics, table
from ratchet.errors import InterruptionError, RatchetError, SettingsError
from ratchet.gates import decimals, shown
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.search import Candidate, TrialResult
from ratchet.steps import train
from ratchet.steps.train import Leader


@pytest.fixture
def project(evaluated):
    return Project.open(evaluated)


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def children(store, run_id):
    experiment = store.get_run(run_id).info.experiment_id
    return store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")


def test_the_leader_is_written_with_its_scores(project, store):
    leader = Leader.load(project)
    assert (leader.name, leader.metric) == ("sklearn/ridge", "rmse")
    assert set(leader.params) == {"alpha"}
    assert (leader.n_trials, leader.n_failed, leader.n_rows) == (3, 0, 192)
    assert leader.threshold is None
    assert leader.score < leader.baseline_score
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials["score"].min() == leader.score == trials["score"][leader.trial]
    assert json.loads(trials["params"][leader.trial]) == leader.params
    assert list(trials["family"]) == ["baseline", "ridge", "ridge"]
    assert trials["error"].isna().all()
    curve = pd.read_csv(project.trained / "search.csv")
    assert list(curve["trial"]) == [0, 1, 2]
    np.testing.assert_allclose(curve["best"], trials["score"].cummin())


def test_the_run_has_the_scores_and_the_leaders_hyperparameters(project, store):
    leader = Leader.load(project)
    run = store.get_run(leader.run_id)
    metrics = run.data.metrics
    assert metrics["valid/rmse"] == leader.score
    assert metrics["train/rmse"] == leader.train_score
    assert metrics["baseline/valid/rmse"] == leader.baseline_score
    assert metrics["search/trials"] == 3
    assert metrics["search/failed_trials"] == 0
    assert 0 < metrics["search/seconds"] <= metrics["train/seconds"]
    assert run.data.params["leader"] == "sklearn/ridge"
    assert run.data.params["leader.alpha"] == str(leader.params["alpha"])
    assert run.info.run_name == f"train · sklearn/ridge · rmse {leader.score:.3f}"
    steps = [each.step for each in store.get_metric_history(leader.run_id, "search/best_rmse")]
    assert steps == [0, 1, 2]
    names = {each.path for each in store.list_artifacts(leader.run_id)}
    assert {"trials.parquet", "trials.csv", "leader.json", "lineage"} <= names


def test_the_run_says_what_won_and_evaluate_adds_the_test_scores(project, store):
    leader = Leader.load(project)
    said = store.get_run(leader.run_id).data.tags["mlflow.note.content"].split("\n\n")
    places = decimals([leader.score, leader.train_score, leader.baseline_score])
    score = shown(leader.score, places)
    assert said[0].startswith(f"**sklearn/ridge** has rmse {score} on validation rows")
    numbers = json.loads((project.evaluated / "metrics.json").read_text())
    places = decimals([numbers["test/rmse"], numbers["baseline/test/rmse"]])
    assert said[1].startswith(f"**On the test rows**: rmse {shown(numbers['test/rmse'], places)} [")


def test_the_table_of_trials_for_readers_has_the_best_first_and_the_names_of_the_runs(
    project, store
):
    leader = Leader.load(project)
    table = pd.read_csv(project.trained / "trials.csv")
    assert list(table["trial"]) == list(
        1 + np.argsort(pd.read_parquet(project.trained / "trials.parquet")["score"], kind="stable")
    )
    assert table["trial"][0] == leader.trial + 1
    [best] = [
        each.data
        for each in children(store, leader.run_id)
        if each.data.params.get("trial") == str(table["trial"][0])
    ]
    assert best.params["family"] == table["family"][0]
    for name in ("valid/rmse", "train/rmse"):
        assert table[name][0] == pytest.approx(best.metrics[name], rel=1e-5)


def test_failed_trials_come_last_in_the_table_for_readers():
    candidate = Candidate("debug", "debug", {})
    trials = [
        TrialResult(0, candidate, 0.2, 0.1, 1.0, 1.0),
        TrialResult(1, candidate, float("inf"), 0.0, 1.0, 2.0, error="no"),
        TrialResult(2, candidate, 0.9, 0.1, 1.0, 3.0),
    ]
    auc = metrics.named("roc_auc", ProblemType.BINARY)
    table = train.readable(train.trial_table(tuple(trials)), auc)
    assert list(table["trial"]) == [3, 1, 2]
    assert list(table["error"].fillna("")) == ["", "", "no"]


def test_the_run_names_the_rows_it_saw_and_the_run_that_prepared_them(project, store):
    run = store.get_run(Leader.load(project).run_id)
    inputs = {each.dataset.name: each.tags[0].value for each in run.inputs.dataset_inputs}
    assert inputs == {"tiny-train": "training", "tiny-valid": "validation"}
    prepared = store.get_run(run.data.tags["ratchet.prepare_run"])
    assert prepared.data.tags["ratchet.step"] == "prepare"


def test_every_trial_is_a_child_of_the_run(project, store):
    leader = Leader.load(project)
    trials = pd.read_parquet(project.trained / "trials.parquet")
    found = {
        int(each.data.params["trial"]): each
        for each in children(store, leader.run_id)
        if each.data.tags["ratchet.step"] == "trial"
    }
    assert set(found) == {1, 2, 3}
    for place, each in found.items():
        assert each.info.status == "FINISHED"
        assert each.data.metrics["valid/rmse"] == trials["score"][place - 1]
        assert each.data.params["family"] == trials["family"][place - 1]


def test_the_model_that_was_logged_is_the_one_that_was_saved(project):
    leader = Leader.load(project)
    example = mlflow.pyfunc.load_model(leader.model_uri).input_example
    logged, saved, baseline = (
        mlflow.pyfunc.load_model(uri).predict(example)
        for uri in (
            leader.model_uri,
            str(project.trained / "model"),
            str(project.trained / "baseline"),
        )
    )
    np.testing.assert_array_equal(logged, saved)
    assert len(np.unique(baseline)) == 1


def test_training_again_gives_the_same_leader_and_as_many_children_as_were_asked_for(
    project, store
):
    before = Leader.load(project)
    again = train.run(Project.open(project.params_file, ["tracking.trials=1"]))
    assert again.run_id != before.run_id
    for name in ("name", "params", "score", "train_score", "trial", "baseline_score"):
        assert getattr(again, name) == getattr(before, name)
    [best] = children(store, again.run_id)
    assert best.data.params["trial"] == str(again.trial + 1)


def test_failed_trials_are_counted_and_kept_with_their_reasons(project, store, monkeypatch):
    on_shelf(monkeypatch, {"fail": "too deep"})
    told = []
    chosen = ["train.families=[baseline,linear,debug]"]
    leader = train.run(Project.open(project.params_file, chosen), told.append)
    assert (leader.n_trials, leader.n_failed) == (3, 1)
    assert [trial.error for trial in told] == [None, None, "ValueError: too deep"]
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials["error"].dropna().to_dict() == {2: "ValueError: too deep"}
    assert store.get_run(leader.run_id).data.metrics["search/failed_trials"] == 1
    assert len(children(store, leader.run_id)) == 2


def test_a_rival_that_nobody_can_save_is_left_out_and_told(project, store, monkeypatch, caplog):
    on_shelf(monkeypatch, {"answer": 300.0})
    leader = train.run(Project.open(project.params_file, ["train.families=[linear,ridge,debug]"]))
    [kept] = leader.rivals
    assert kept["name"] in ("sklearn/linear", "sklearn/ridge")
    assert "train: debug can't be compared with the leader: The model holds classes" in caplog.text
    folders = {each.parent for each in (project.trained / "rivals").rglob("MLmodel")}
    assert folders == {project.trained / "rivals" / kept["name"]}


def test_a_search_in_which_all_trials_fail_leaves_the_leader_before(project, store, monkeypatch):
    on_shelf(monkeypatch, {"fail": "too deep"}, {"fail": "too wide"})
    before = content(project.trained)
    with pytest.raises(RatchetError) as raised:
        train.run(Project.open(project.params_file, ["train.families=[debug]"]))
    assert str(raised.value) == (
        "All 2 trials failed: debug: ValueError: too deep; debug: ValueError: too wide"
    )
    assert content(project.trained) == before
    assert store.search_runs(["1"])[0].info.status == "FAILED"


def test_a_clock_that_is_set_back_ends_no_search_and_lengthens_none(evaluated, store, monkeypatch):
    project = Project.open(evaluated, ["train.search.budget_seconds=600"])
    now, asked = time.time(), []

    def set_back():
        asked.append(now - 3600 * len(asked))
        return asked[-1]

    began = time.monotonic()
    monkeypatch.setattr(time, "time", set_back)
    leader = train.run(project)
    took = time.monotonic() - began
    assert len(asked) > 10
    assert leader.n_trials == 3
    assert 0 < leader.seconds <= took
    trials = table.read_parquet(project.trained / "trials.parquet", made_by="train")
    assert trials["elapsed"].between(0, took).all()
    assert store.get_run(leader.run_id).info.status == "FINISHED"


def test_an_interrupted_search_leaves_the_leader_before(project, store, monkeypatch, running):
    on_shelf(monkeypatch, {"interrupt": True})
    before = content(project.trained)
    with pytest.raises(InterruptionError) as raised:
        train.run(Project.open(project.params_file, ["train.families=[debug]"]))
    assert str(raised.value) == "train was interrupted; its run is marked KILLED."
    assert content(project.trained) == before
    assert store.search_runs(["1"])[0].info.status == "KILLED"
    assert running() == []


ALLOWED = ", ".join(
    family.name
    for name in backends.available()
    for family in backends.get(name).families(backends.Task(ProblemType.REGRESSION, 192, 4))
)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "train.families=[logistic,ridge]",
            "train.families names logistic, which does not fit a regression problem."
            f" Allowed: {ALLOWED}.",
        ),
        (
            "train.families=[]",
            f"train.families names no family. Set it to null for all: {ALLOWED}.",
        ),
    ],
)
def test_a_family_that_does_not_fit_is_told(project, running, override, told):
    with pytest.raises(SettingsError) as raised:
        train.run(Project.open(project.params_file, [override]))
    assert str(raised.value) == told
    assert running() == []


def test_the_table_of_trials_has_the_same_types_whatever_happened():
    def trial(number, **more):
        candidate = Candidate("debug", "debug", {"b": 1, "a": None})
        return TrialResult(number, candidate, 1.0, 0.5, 0.1, 0.2, **more)

    quiet = train.trial_table((trial(0),))
    eventful = train.trial_table((trial(0, error="no"), trial(1, threshold=0.25)))
    assert dict(quiet.dtypes) == dict(eventful.dtypes)
    assert quiet["params"][0] == '{"a": null, "b": 1}'
    assert list(eventful["error"].isna()) == [False, True]
    assert list(eventful["threshold"].isna()) == [True, False]

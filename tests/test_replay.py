"""A search that a clock has decided is made again as it was, and no clock is looked at."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_settings, tiny_table
from debug_backend import Memory, on_shelf
from sklearn.base import BaseEstimator

from ratchet import backends, clusters, trainer
from ratchet.backends import Backend, Choice, Family, Fitted, Looks, Real, Request, base
from ratchet.course import Chosen, Course, Made, Record
from ratchet.errors import RatchetError
from ratchet.features import Preparation
from ratchet.model import predict
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.search import Candidate, TrialResult
from ratchet.settings import from_mapping
from ratchet.steps import train
from ratchet.table import Table, prepare_table

TESTS = Path(__file__).parent
TARGET = {"regression": "price", "binary": "dear", "multiclass": "town", "clustering": None}


class Slope(BaseEstimator):
    """A linear model of whatever weights it was given."""

    def __init__(self, weights, n_classes):
        self.weights, self.n_classes = weights, n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        said = self.said(X)
        return said.argmax(axis=1) if self.n_classes else said[:, 0]

    def predict_proba(self, X):
        strength = np.exp(self.said(X) - self.said(X).max(axis=1, keepdims=True))
        return strength / strength.sum(axis=1, keepdims=True)

    def said(self, X):
        return np.column_stack([X, np.ones(len(X))]) @ self.weights


class Dawdler(Backend):
    """A linear model that goes downhill in rounds and naps after each: clocks end it anywhere."""

    name: ClassVar[str] = "dawdler"
    deterministic: ClassVar[bool] = True
    requests: ClassVar[list[Request]] = []
    nap: ClassVar[float] = 0.008
    starts: ClassVar[tuple] = ((0.3, 400), (0.1, 5), (0.05, 300), (0.2, 8))

    def families(self, task):
        if not task.problem.has_target:
            return ()
        starts = tuple({"rate": rate, "sizes": (rounds,)} for rate, rounds in self.starts)
        sizes = Choice((*(start["sizes"] for start in starts), (5, 5)))
        space = {"rate": Real(0.01, 0.5, log=True), "sizes": sizes}
        return (Family("dawdler", Preparation.SCALED, starts, space),)

    def fit(self, request):
        self.requests.append(request)
        X, y = np.asarray(request.train.X), request.train.y
        inputs = np.column_stack([X, np.ones(len(X))])
        truth = np.eye(request.task.n_classes)[y] if request.task.n_classes else y[:, None]
        weights = np.zeros((inputs.shape[1], truth.shape[1]))
        done, rounds = 0, sum(request.params["sizes"])
        while done < rounds:
            done += 1
            weights -= request.params["rate"] * inputs.T @ (inputs @ weights - truth) / len(X)
            time.sleep(self.nap)
            if request.out_of_time:
                break
        model = Slope(weights, request.task.n_classes)
        return Fitted(model, dict(request.params), cut_short=done < rounds)


@pytest.fixture
def dawdler(monkeypatch):
    """Put a slow family on the shelf beside the real ones; give its class."""
    monkeypatch.setattr(base, "_SHELF", {**base._SHELF, "dawdler": Dawdler})
    monkeypatch.setattr(Dawdler, "requests", [])
    monkeypatch.setattr("ratchet.backends.sklearn.FOREST_TREES", 50)
    monkeypatch.setattr("ratchet.folds.NOISY_ROWS", 0)
    return Dawdler


def settings(problem="regression", **changes):
    target = TARGET[problem]
    usual = {
        "data__target": target,
        "data__drop": [name for name in ("price", "dear") if name != target],
        "train__threads": 2,
        "train__ensemble": "greedy",
        "train__search__budget_seconds": 1.5,
        "train__search__max_trials": 100,
    }
    return from_mapping(tiny_settings(**{**usual, **changes}), origin="test")


def parts(chosen, rows=240):
    """Give train and valid rows of a tiny table, and their schema."""
    table = Table(tiny_table(rows), (), (rows,))
    prepared = prepare_table(table, chosen.data, chosen.train.problem)
    cut = rows * 2 // 3
    frame = prepared.frame
    return (
        frame.iloc[:cut].reset_index(drop=True),
        frame.iloc[cut:].reset_index(drop=True),
        prepared.schema,
    )


def written(course, folder):
    """Give a course as it comes back from its file."""
    Record("a-run", {}, {}, course).save(folder / "search.json")
    return Record.load(folder / "search.json").course


def told(training):
    return [
        (t.number, t.candidate, t.score, t.threshold, t.refit_params, t.cut_short, t.leads)
        for t in training.trials
    ]


def membership(training):
    return [(m.trial.candidate, m.weight, m.refitted) for m in training.members]


def is_the_same(one, other, frame, schema):
    """Assert that two trainings are equal in everything but the time that they took."""
    assert told(other) == told(one)
    assert membership(other) == membership(one)
    assert other.course.differences(one.course) == one.course.differences(other.course) == ()
    assert other.course.chosen == one.course.chosen
    for name in ("threshold", "calibrated", "score", "honest_score", "train_score", "n_folds"):
        assert getattr(other, name) == getattr(one, name), name
    said, again = (predict(each.model, frame, schema) for each in (one, other))
    np.testing.assert_array_equal(again.values, said.values)
    np.testing.assert_array_equal(again.probabilities, said.probabilities)
    if any(trial.resumed for trial in one.trials):  # the models of those are gone
        return
    assert [(each.trial.number, each.n_rows) for each in other.rivals] == [
        (each.trial.number, each.n_rows) for each in one.rivals
    ]
    for pair in zip(one.rivals, other.rivals, strict=True):
        said, again = (predict(each.model, frame, schema) for each in pair)
        np.testing.assert_array_equal(again.values, said.values)
        np.testing.assert_array_equal(again.probabilities, said.probabilities)


@pytest.mark.parametrize(
    ("problem", "validation", "metric"),
    [
        ("regression", "holdout", None),
        ("binary", "folds", "f0.5"),
        ("multiclass", "holdout", "log_loss"),
    ],
)
def test_a_search_under_a_clock_is_replayed_bit_for_bit(
    dawdler, tmp_path, problem, validation, metric
):
    linear = "ridge" if problem == "regression" else "logistic"
    families = ["baseline", "dawdler", linear, "extra_trees", "lightgbm", "mlp", "knn"]
    # On a busy machine it may take longer until the first trial is cut short.
    for seconds in (1.5, 3.0, 6.0, 12.0):
        chosen = settings(
            problem,
            train__families=families,
            train__validation=validation,
            train__folds=3,
            train__metric=metric,
            train__search__budget_seconds=seconds,
        )
        rows = parts(chosen)
        first = trainer.train(*rows, chosen)
        cut = [trial for trial in first.trials if trial.cut_short]
        if cut and first.rivals:
            break
    assert cut, "a search in which nothing was cut short shows nothing"
    assert first.n_folds == (1 if validation == "holdout" else 3)
    assert first.course.beside == (2 if validation == "holdout" else 1)
    assert (first.threshold is not None) == (metric == "f0.5")
    assert first.rivals, "seven families and no rival show nothing of rivals"
    dawdler.requests.clear()
    dawdler.nap, nap = 0.0, dawdler.nap
    try:
        again = trainer.train(*rows, chosen, replay=written(first.course, tmp_path))
    finally:
        dawdler.nap = nap
    is_the_same(first, again, rows[1], rows[2])
    assert {asked.deadline for asked in dawdler.requests} == {None}


def test_members_without_time_for_a_last_fit_keep_their_folds_models_again(
    dawdler, tmp_path, monkeypatch
):
    monkeypatch.setattr(dawdler, "starts", ((0.1, 5),))
    chosen = settings(
        train__families=["dawdler", "ridge", "extra_trees"],
        train__validation="folds",
        train__folds=3,
        train__ensemble="voting",
        # Enough for all of them on a busy machine too.
        train__search={"budget_seconds": 30.0, "max_trials": 8},
    )
    rows = parts(chosen)
    with monkeypatch.context() as patch:
        patch.setattr(
            "ratchet.bench.Bench.refit_seconds",
            lambda self, trial: math.inf if trial.candidate.family == "extra_trees" else 0.0,
        )
        first = trainer.train(*rows, chosen)
    made = {first.trials[each.trial].candidate.family: each.made for each in first.course.chosen}
    assert made["extra_trees"] is Made.FOLDS
    assert made["ridge"] is Made.REFIT
    again = trainer.train(*rows, chosen, replay=written(first.course, tmp_path))
    is_the_same(first, again, rows[1], rows[2])


def test_a_last_fit_that_was_cut_short_is_not_made_again(dawdler, tmp_path, monkeypatch):
    monkeypatch.setattr("ratchet.bench.Bench.refit_seconds", lambda self, trial: 0.0)
    monkeypatch.setattr(dawdler, "starts", ((0.1, 40),))
    chosen = settings(
        train__families=["dawdler"], train__validation="holdout", train__search__max_trials=1
    )
    rows = parts(chosen)
    # 40 rounds of the trial take 0.32 s at least, and those of the last fit as long again.
    first = trainer.train(*rows, chosen, deadline=time.monotonic() + 2.0)
    [whole] = first.course.chosen
    assert whole.made is Made.REFIT
    first = trainer.train(*rows, chosen, deadline=time.monotonic() + 0.3)
    [late] = first.course.chosen
    assert late.made is Made.FOLDS
    dawdler.requests.clear()
    again = trainer.train(*rows, chosen, replay=written(first.course, tmp_path))
    is_the_same(first, again, rows[1], rows[2])
    assert len(dawdler.requests) == 1


def test_a_search_that_was_interrupted_and_went_on_is_replayed_as_one(dawdler, tmp_path):
    chosen = settings(
        train__families=["dawdler", "ridge", "extra_trees"], train__validation="holdout"
    )
    rows, journal = parts(chosen), Memory()

    def interrupt(trial):
        if trial.cut_short:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(*rows, chosen, interrupt, journal=journal)
    first = trainer.train(*rows, chosen, journal=journal)
    assert any(trial.resumed and trial.cut_short for trial in first.trials)
    again = trainer.train(*rows, chosen, replay=written(first.course, tmp_path))
    assert not any(trial.resumed for trial in again.trials)
    is_the_same(first, again, rows[1], rows[2])


@pytest.mark.parametrize(("cost", "n_folds"), [(0.0, 3), (math.inf, 1)])
def test_which_rows_score_is_decided_once_for_an_interrupted_search(
    dawdler, monkeypatch, cost, n_folds
):
    chosen = settings(
        train__families=["ridge"],
        train__validation="auto",
        train__folds=3,
        # Enough for three trials on a busy machine too.
        train__search={"budget_seconds": 60.0, "max_trials": 8},
    )
    rows, journal = parts(chosen), Memory()

    def interrupt(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_cost_of_a_fit", lambda *_: cost)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(*rows, chosen, interrupt, journal=journal)
    monkeypatch.setattr(trainer, "_cost_of_a_fit", lambda *_: math.inf if cost == 0 else 0.0)
    assert trainer.train(*rows, chosen, journal=journal).n_folds == n_folds


def test_a_budget_of_trials_is_replayed_too_and_failures_are_kept(tmp_path, monkeypatch):
    on_shelf(monkeypatch, {"answer": 300.0}, {"fail": "too deep"}, {"answer": (1.0,)})
    chosen = settings(
        train__families=["debug", "ridge"],
        train__search={"budget_seconds": None, "max_trials": 5},
    )
    rows = parts(chosen)
    first = trainer.train(*rows, chosen)
    debug = on_shelf(monkeypatch, {"answer": 300.0})
    again = trainer.train(*rows, chosen, replay=written(first.course, tmp_path))
    assert "ValueError: too deep" in [trial.error for trial in again.trials]
    assert not [asked for asked in debug.requests if "fail" in asked.params]
    assert [t.candidate for t in again.trials] == [t.candidate for t in first.trials]
    assert membership(again) == membership(first)


def clustered(chosen, **more):
    frame = tiny_table(240)[["size", "rooms"]].assign(size=lambda f: f["size"].round(-1))
    prepared = prepare_table(Table(frame, (), (240,)), chosen.data, chosen.train.problem).frame
    schema = prepare_table(Table(frame, (), (240,)), chosen.data, chosen.train.problem).schema
    cut = 160
    rows, valid = prepared.iloc[:cut], prepared.iloc[cut:].reset_index(drop=True)
    return clusters.train(rows, valid, schema, chosen, **more), valid, schema


def of_clusters(**changes):
    plain = {"train__problem": "clustering", "train__families": None, "data__drop": []}
    return settings("clustering", **{**plain, **changes})


def test_a_clustering_under_a_clock_is_replayed_with_its_stability(tmp_path):
    chosen = of_clusters(train__families=["kmeans"])
    # The time is over before it begins: one start of k-means, and two samples to compare.
    first, valid, schema = clustered(chosen, deadline=time.monotonic())
    assert [trial.cut_short for trial in first.trials] == [True]
    assert first.course.stability_fits == 2
    again, *_ = clustered(chosen, replay=written(first.course, tmp_path))
    assert told(again) == told(first)
    assert again.course.stability_fits == 2
    assert again.more == first.more
    one, other = (predict(each.model, valid, schema).values for each in (first, again))
    np.testing.assert_array_equal(one, other)


def a_course(**changes):
    trials = tuple(
        TrialResult(number, Candidate("sklearn", "ridge", {"alpha": alpha}), 5.0, 4.0, 0.1, 0.2)
        for number, alpha in enumerate((1.0, 1 / 3))
    )
    usual = {
        "n_folds": 1,
        "threads": 2,
        "beside": 2,
        "trials": trials,
        "chosen": (Chosen(1, 1.0, Made.REFIT),),
    }
    return Course(**{**usual, **changes})


def test_a_record_comes_back_as_it_was_written(tmp_path):
    course = a_course(
        trials=(
            TrialResult(
                0,
                Candidate("b", "f", {"sizes": (50, 50), "low": 1e-17, "n": 3}, 1 / 3),
                0.1 + 0.2,
                math.nan,
                0.0,
                0.0,
                cut_short=True,
                cuts=(None, 7),
            ),
            TrialResult(
                1, Candidate("b", "f", {}), math.nan, math.nan, 0.0, 0.0, error="Wrong: süß"
            ),
        ),
        chosen=(Chosen(0, 1 / 3, Made.FOLDS, 12),),
        doubts={"b/f": "nobody knows"},
        stability_fits=4,
    )
    record = Record("r1", {"train rows": "abc"}, {"seed": 7, "train.metric": None}, course)
    record.save(tmp_path / "search.json")
    back = Record.load(tmp_path / "search.json")
    assert repr(back) == repr(record)
    assert isinstance(back.course.trials[0].candidate.params["sizes"], tuple)
    text = (tmp_path / "search.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=pytest.fail)
    assert len(text.splitlines()) < 25


def test_what_differs_is_told_in_clauses():
    course = a_course()
    one, two = course.trials
    assert course.differences(course) == ()
    other = replace(
        course,
        trials=(replace(one, score=5.25), replace(two, error="ValueError: no")),
        chosen=(Chosen(0, 1.0, Made.REFIT),),
    )
    assert course.differences(other) == (
        "1 trial of 2 scored differently, by 0.25 at most",
        "1 trial failed",
        "other candidates or weights were chosen",
    )
    late = replace(course, chosen=(Chosen(1, 1.0, Made.FOLDS),))
    assert course.differences(late) == ("other members were fitted on all rows",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Can't read {path}: No such file or directory."),
        (
            "{",
            "{path} is no record of a search. Name the search.json that train has written to"
            " build/train and to its run.",
        ),
        (
            '{"format": 3}',
            "{path} is no record of a search. Name the search.json that train has written to"
            " build/train and to its run.",
        ),
        (
            '{"format": "ratchet-search-2"}',
            "{path} has the form ratchet-search-2, and this version of the project reads"
            " ratchet-search-1. Replay it with the code of its run.",
        ),
        (
            '{"format": "ratchet-search-1"}',
            "{path} is a damaged record of a search (KeyError: 'run'). Take the search.json of its"
            " run.",
        ),
    ],
)
def test_a_file_that_is_no_record_is_told(tmp_path, text, message):
    path = tmp_path / "search.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(RatchetError) as raised:
        Record.load(path)
    assert str(raised.value) == message.replace("{path}", str(path))


@pytest.mark.parametrize(
    "damage",
    [
        {"members": [{"trial": 9, "weight": 1.0, "made": "refit", "cut": None}]},
        {"members": [{"trial": 0, "weight": 1.0, "made": "baked", "cut": None}]},
        {"threads": 0},
        {"trials": [None]},
    ],
)
def test_a_damaged_record_is_told(tmp_path, damage):
    path = tmp_path / "search.json"
    Record("r1", {}, {}, a_course()).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage), encoding="utf-8")
    with pytest.raises(RatchetError, match="is a damaged record of a search"):
        Record.load(path)


def test_a_hyperparameter_that_can_t_be_written_down_is_told(tmp_path):
    trial = replace(a_course().trials[0], candidate=Candidate("own", "own", {"kernel": max}))
    Record("r1", {}, {}, a_course(trials=(trial,), chosen=())).save(tmp_path / "search.json")
    with pytest.raises(RatchetError) as raised:
        Record.load(tmp_path / "search.json")
    assert str(raised.value) == (
        "Trial 1 of the search (own) can't be replayed: <built-in function max> can't be written"
        " down, so that it is not known any more."
    )


def test_a_family_that_is_not_offered_any_more_is_told(dawdler, monkeypatch):
    chosen = settings(train__families=["dawdler", "ridge"], train__search={"budget_seconds": None})
    rows = parts(chosen)
    first = trainer.train(
        *rows,
        from_mapping(tiny_settings(train__families=["ridge"], data__drop=["dear"]), origin="test"),
    )
    strange = replace(first.trials[0], candidate=Candidate("mine", "tree", {}))
    course = replace(first.course, trials=(*first.trials, strange))
    with pytest.raises(RatchetError) as raised:
        trainer.train(*rows, chosen, replay=course)
    assert str(raised.value) == (
        "The search can't be replayed: it tried mine/tree, which is not offered here. Install what"
        " its run had: see lineage/environment.txt among its artifacts."
    )


def test_a_clock_is_told_once_and_looks_are_counted():
    looks = Looks()
    assert not looks.time_is_up(None)
    assert not looks.time_is_up(time.monotonic() + 60)
    assert looks.time_is_up(time.monotonic() - 1)
    assert looks.up_at == 3
    again = Looks(3)
    assert [again.time_is_up(None) for _ in range(5)] == [False, False, True, True, True]


@pytest.fixture
def trained(evaluated):
    """A project that is trained, with a copy of what its search has recorded."""
    project = Project.open(evaluated)
    record = project.root / "kept.json"
    record.write_bytes((project.trained / "search.json").read_bytes())
    return project, record


def test_train_replays_a_record_and_says_so(trained, store, call, caplog):
    project, record = trained
    before = train.Leader.load(project)
    answers = pd.read_parquet(project.trained / "trials.parquet")["score"]
    kept = project.build / "search" / "another" / "trials.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    code, _, err = call("train", "--params", project.params_file, "--replay", record)
    assert code == 0, err
    assert f"train: replay of 3 trials of run {before.run_id}" in caplog.messages
    assert kept.exists()
    after = train.Leader.load(project)
    same = ("name", "params", "score", "train_score", "trial", "baseline_score", "members")
    for name in same:
        assert getattr(after, name) == getattr(before, name)
    replayed = pd.read_parquet(project.trained / "trials.parquet")["score"]
    pd.testing.assert_series_equal(replayed, answers)
    tags = store.get_run(after.run_id).data.tags
    assert tags["ratchet.replay_of"] == before.run_id
    assert tags["ratchet.replay"] == "the same"
    assert tags["ratchet.deterministic"] == "true"
    assert "search.json" in {each.path for each in store.list_artifacts(after.run_id)}
    again = (project.trained / "search.json").read_text().replace(after.run_id, before.run_id)
    assert again == record.read_text()


def test_a_replay_with_other_results_says_how_they_differ(trained, store, caplog):
    project, record = trained
    value = json.loads(record.read_text())
    value["trials"][1]["score"] += 1
    record.write_text(json.dumps(value))
    leader = train.run(project, replay=record)
    told = "1 trial of 3 scored differently, by 1 at most"
    assert f"train: the replay is not the same: {told}" in caplog.messages
    tags = store.get_run(leader.run_id).data.tags
    assert tags["ratchet.replay"] == told


def test_other_settings_and_rows_are_refused_before_a_run_begins(trained, running, call, store):
    project, record = trained
    run_id = train.Leader.load(project).run_id
    runs = len(store.search_runs(["1"]))
    rows = pd.read_parquet(project.prepared / "valid.parquet")
    rows.loc[0, "size"] += 1
    rows.to_parquet(project.prepared / "valid.parquet")
    changed = ("--set", "train.metric=mae seed=8 train.search.max_trials=1")
    code, _, err = call("train", "--params", project.params_file, "--replay", record, *changed)
    assert code == 2
    assert err.splitlines()[-1] == (
        f"RatchetError: The search of run {run_id} can't be replayed here: valid rows differ; seed"
        ' is 8 and was 7; train.metric is "mae" and was null. Bring back the data version and the'
        " settings that its run names, and run prepare."
    )
    assert len(store.search_runs(["1"])) == runs


def test_the_record_holds_no_options_of_backends(trained):
    project, _ = trained
    secret = "train.backends={callable: {token: s3cret, build_model: x:y}}"
    chosen = train._searched(Project.open(project.params_file, [secret]))
    assert "s3cret" not in json.dumps(chosen)
    assert chosen != train._searched(project)


def test_a_backend_that_nobody_has_declared_deterministic_is_named(trained, store, monkeypatch):
    project, _ = trained
    on_shelf(monkeypatch, {"answer": 300.0})
    chosen = Project.open(project.params_file, ["train.families=[ridge,debug]"])
    tags = store.get_run(train.run(chosen).run_id).data.tags
    assert tags["ratchet.deterministic"] == "false"
    assert tags["ratchet.not_deterministic"] == (
        "debug: its author has not declared it deterministic"
    )
    record = Record.load(project.trained / "search.json")
    assert record.course.doubts == {"debug": "its author has not declared it deterministic"}


def test_a_fit_that_looked_at_the_clock_by_itself_is_named(monkeypatch):
    class Own(Dawdler):
        name = "own"

        def families(self, task):
            return (Family("own", Preparation.SCALED),)

        def fit(self, request):
            fitted = super().fit(replace(request, params={"rate": 0.1, "sizes": (3,)}))
            late = request.deadline is not None and time.monotonic() > request.deadline
            return replace(fitted, params={}, cut_short=late)

    monkeypatch.setattr(base, "_SHELF", {**base._SHELF, "own": Own})
    chosen = settings(train__families=["own"], train__validation="holdout")
    course = trainer.train(*parts(chosen), chosen, deadline=time.monotonic() + 1e-3).course
    # The clock was asked after each round too, so that what it said is known.
    assert course.doubts == {}
    monkeypatch.setattr(Request, "out_of_time", False)
    course = trainer.train(*parts(chosen), chosen, deadline=time.monotonic() + 1e-3).course
    assert course.doubts == {"own": "1 of its fits ended by a clock of their own"}


SEEDED = '''
"""Train on every problem with every family that fits, and print what came out."""

import hashlib
import json
import sys

import ratchet.backends.sklearn

ratchet.backends.sklearn.FOREST_TREES = 30
ratchet.backends.growth.MAX_ROUNDS = 40

import numpy as np
import test_replay
from conftest import tiny_table
from test_replay import clustered, of_clusters, parts, settings

from ratchet.model import predict
from ratchet import trainer


def with_text(rows):
    words = np.random.default_rng(0).choice(["old", "new", "warm", "dry", "large"], (rows, 5))
    return tiny_table(rows).assign(note=[" ".join(each) + f" {n}" for n, each in enumerate(words)])


test_replay.tiny_table = with_text

# Every family once; and the one of them that is proposed for by hyperopt for long.
CASES = (
    ("regression", "holdout", None, 15),
    ("regression", "holdout", ["hist_boosting"], 1),
    ("binary", "folds", ["logistic"], 16),
    ("multiclass", "holdout", None, 13),
    ("clustering", "holdout", None, 16),
)

out = []
for problem, validation, families, trials in CASES:
    search = {"budget_seconds": None, "max_trials": trials}
    if problem == "clustering":
        training, frame, schema = clustered(of_clusters(train__search=search))
    else:
        chosen = settings(
            problem, train__families=families, train__validation=validation, train__folds=2,
            train__search=search, train__pca=0.9 if problem == "binary" else None,
        )
        train_rows, frame, schema = rows = parts(chosen, rows=600)
        training = trainer.train(*rows, chosen)
    said = predict(training.model, frame, schema)
    raw = said.values if said.probabilities is None else said.probabilities
    out.append({
        "trials": [[t.candidate.settings, repr(t.score), t.error] for t in training.trials],
        "members": [[m.trial.number, repr(m.weight)] for m in training.members],
        "score": repr(training.score),
        "types": training.trusted_types,
        "packages": training.packages,
        "answers": hashlib.sha256(raw.tobytes()).hexdigest(),
    })
json.dump(out, sys.stdout)
'''


@pytest.mark.slow
def test_hash_seeds_change_nothing(tmp_path):
    """Sets and dictionaries of text have another order in each process, unless told otherwise."""
    script = tmp_path / "seeded.py"
    script.write_text(SEEDED, encoding="utf-8")
    source = TESTS.parent / "src"
    running = [
        subprocess.Popen(
            [sys.executable, script],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join(map(str, (source, TESTS))),
                "PYTHONWARNINGS": "ignore",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "4711")
    ]
    one, other = (json.loads(process.communicate(timeout=500)[0]) for process in running)
    families = {json.loads(told)[1] for problem in one for told, *_ in problem["trials"]}
    offered = {
        family.name
        for name in backends.available()
        for problem in TARGET
        for family in backends.get(name).families(backends.Task(ProblemType(problem), 400, 4, 3))
    }
    assert families == offered - {"debug", "dawdler"}
    for trained, again in zip(one, other, strict=True):
        assert trained == again

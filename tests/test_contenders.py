"""evaluate scores the leader's rivals on the same test rows, and weighs what they cost."""

import json
import shutil
import sqlite3

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tiny_settings, tiny_table

from ratchet import model, tracking, tradeoff
from ratchet.project import Project
from ratchet.report import scores as page
from ratchet.report.facts import Facts
from ratchet.rivals import BASELINE, FAMILY, LEADER, MEMBER, RIVAL
from ratchet.schema import Schema
from ratchet.steps import evaluate, prepare, train
from ratchet.steps.train import Leader

SETTINGS = {
    "train__families": [
        "baseline",
        "linear",
        "ridge",
        "elastic_net",
        "extra_trees",
        "random_forest",
        "lightgbm",
    ],
    "train__ensemble": "voting",
    "train__max_members": 3,
    "train__search__max_trials": 10,
    "evaluate__report": True,
}


@pytest.fixture(scope="module")
def raced(empty_store, tmp_path_factory):
    """A leader of three members that was evaluated with its rivals; made once."""
    folder = tmp_path_factory.mktemp("raced")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "project" / "data").mkdir(parents=True)
    tiny_table().to_parquet(folder / "project" / "data" / "rows.parquet")
    params = folder / "project" / "params.yaml"
    params.write_text(yaml.safe_dump(tiny_settings(**SETTINGS)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        patch.setattr(tradeoff, "SECONDS", 0.01)
        patch.setattr("ratchet.backends.sklearn.FOREST_TREES", 20)
        project = Project.open(params)
        for step in (prepare, train, evaluate):
            step.run(project)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return folder


@pytest.fixture
def project(raced, store, tmp_path, monkeypatch):
    """A copy of it in a store that knows its runs."""
    monkeypatch.setattr(tradeoff, "SECONDS", 0.01)
    shutil.copytree(raced / "project", tmp_path / "project")
    with (
        sqlite3.connect(raced / "mlflow.db") as source,
        sqlite3.connect(tmp_path / "mlflow.db") as copy,
    ):
        source.backup(copy)
    opened = Project.open(tmp_path / "project" / "params.yaml")
    tracking.connect(opened)
    return opened


def facts_of(project):
    return Facts.load(project.evaluated / "report")


def numbers(project):
    return json.loads((project.evaluated / "metrics.json").read_text())


def test_each_number_of_the_scores_is_the_one_in_metrics_json(project, store):
    found = facts_of(project).scores
    flat = numbers(project)
    whose = {LEADER: "test", BASELINE: "baseline/test"}
    seen = set()
    for standing in found.standings:
        for mark in standing.test:
            prefix = whose.get(standing.kind, f"rivals/{standing.name}/test")
            if standing.kind not in whose and mark.metric != found.metric:
                continue
            for end, value in (("", mark.value), ("_low", mark.low), ("_high", mark.high)):
                assert flat[f"{prefix}/{mark.metric}{end}"] == value
                seen.add(f"{prefix}/{mark.metric}{end}")
    # How often the leader's intervals hold is no score that is compared.
    assert set(flat) - seen == {"test/interval_coverage", "test/interval_width"}
    leader = store.get_run(Leader.load(project).run_id)
    flat = {name: value for name, value in flat.items() if value is not None}
    assert flat.items() <= leader.data.metrics.items()
    assert found.leader.valid == leader.data.metrics["valid/rmse"]
    assert found.leader.train == leader.data.metrics["train/rmse"]
    assert found.baseline.valid == leader.data.metrics["baseline/valid/rmse"]


def test_members_others_and_the_baseline_are_compared_each_family_once(project):
    found = facts_of(project).scores
    leader = Leader.load(project)
    members = {each["name"] for each in leader.members}
    kinds = {each.name: each.kind for each in found.standings[1:]}
    assert {name for name, kind in kinds.items() if kind == MEMBER} == members
    assert {name for name, kind in kinds.items() if kind == RIVAL} == {
        each["name"] for each in leader.rivals
    }
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert len(kinds) == trials["family"].nunique() == 7
    assert FAMILY in kinds.values()
    for each in found.standings[1:]:
        assert each.valid == trials["score"][each.trial]
        if each.kind == FAMILY:
            family = each.name.split("/")[-1]
            assert each.valid == trials.loc[trials["family"] == family, "score"].min()
            assert each.test == ()
    assert found.standings[0].name == leader.name
    assert 1 <= len(found.rivals) <= 4


def test_a_members_score_is_that_of_its_part_of_the_saved_model(project):
    schema = Schema.load(project.prepared / "schema.json")
    rows = prepare.read_part(project, "test")
    saved = tracking.load_model(str(project.trained / "model"))
    parts = model.taken_apart(saved)
    leader = Leader.load(project)
    standings = {each.name: each for each in facts_of(project).scores.standings[1:]}
    answers, seen = [], set()
    for member in leader.members:
        alone = model.combine([parts[place] for place in member["places"]], schema, None)
        said = model.predict(alone, rows, schema).values
        answers.append(said)
        found = standings[member["name"]]
        if found.trial == member["trial"] and found.test:
            expected = np.sqrt(((said - rows["price"]) ** 2).mean())
            assert found.mark("rmse").value == pytest.approx(expected, rel=1e-12)
            assert found.n_models == len(member["places"])
            seen.add(found.name)
    assert seen
    together = np.average(answers, axis=0, weights=[each["weight"] for each in leader.members])
    np.testing.assert_allclose(model.predict(saved, rows, schema).values, together)


def test_a_rivals_score_is_that_of_the_model_that_train_kept(project):
    rows = prepare.read_part(project, "test")
    schema = Schema.load(project.prepared / "schema.json")
    standings = {each.name: each for each in facts_of(project).scores.standings}
    rivals = Leader.load(project).rivals
    assert rivals
    for each in rivals:
        kept = tracking.load_model(str(project.trained / "rivals" / each["name"]))
        errors = kept.predict(rows[schema.names]) - rows["price"]
        found = standings[each["name"]]
        assert found.n_rows == each["n_rows"] < Leader.load(project).n_rows
        if found.test:
            assert found.mark("rmse").value == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)


def test_what_they_cost_is_measured_of_all_that_were_asked(project):
    facts = facts_of(project)
    asked = [each for each in facts.scores.standings if each.test]
    options = facts.trade_off.options
    assert {(each.kind, each.name) for each in options} == {
        (each.kind, each.name) for each in asked
    }
    trials = pd.read_parquet(project.trained / "trials.parquet")
    leader = Leader.load(project)
    ours = next(each for each in options if each.kind == LEADER)
    assert ours.train_seconds == pytest.approx(
        sum(trials["seconds"][each["trial"]] for each in leader.members) + sum(leader.fit_seconds)
    )
    saved = project.trained / "model" / "model.skops"
    assert ours.size_mb == saved.stat().st_size / 1e6
    assert ours.interpretability == "ask"
    kinds = {each.name: each.interpretability for each in options if each.kind != LEADER}
    trees = ("lightgbm", "sklearn/random_forest", "sklearn/extra_trees")
    assert kinds == {name: "inspect" if name in trees else "read" for name in kinds}
    for each in options:
        assert 0 < each.one_row_ms <= each.one_row_p95_ms
        assert each.rows_per_second > 0
        assert each.size_mb > 0
    assert facts.trade_off.front


def test_the_search_is_summed_up(project):
    search = facts_of(project).search
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert search.trial_seconds == pytest.approx(trials["seconds"].sum())
    assert search.n_trials == len(trials) == 10
    assert {each.family for each in search.families} == set(trials["family"])
    assert search.best == trials["score"].min()


def test_evaluating_again_gives_the_same_scores(project):
    before, facts = (project.evaluated / "metrics.json").read_bytes(), facts_of(project)
    evaluate.run(project)
    assert (project.evaluated / "metrics.json").read_bytes() == before
    again = facts_of(project)
    assert again.scores == facts.scores
    assert again.search == facts.search
    assert [each.score for each in again.trade_off.options] == [
        each.score for each in facts.trade_off.options
    ]


def test_a_rival_whose_model_is_gone_is_left_out_and_told(project, caplog):
    name = Leader.load(project).rivals[0]["name"]
    shutil.rmtree(project.trained / "rivals" / name)
    evaluate.run(project)
    assert f"{name} is not compared with the leader" in caplog.text
    found = {each.name: each for each in facts_of(project).scores.standings}
    assert found[name].kind == FAMILY
    assert found[name].test == ()
    assert f"rivals/{name}/test/rmse" not in numbers(project)


def test_without_a_report_there_are_no_rivals(project):
    evaluate.run(Project.open(project.params_file, ["evaluate.report=false"]))
    assert facts_of(project) is None
    assert not [name for name in numbers(project) if name.startswith("rivals/")]


def test_a_single_model_is_compared_with_the_best_of_the_next_families(project):
    chosen = "train.families=[baseline,linear,ridge,elastic_net,lightgbm]"
    single = Project.open(
        project.params_file, [chosen, "train.ensemble=none", "train.search.max_trials=7"]
    )
    train.run(single)
    evaluate.run(single)
    found = facts_of(single).scores
    assert MEMBER not in {each.kind for each in found.standings}
    assert len(found.rivals) == 3
    assert found.leader.name not in {each.name for each in found.standings[1:]}
    assert found.leader.n_models == 1
    assert page.verdict(found).startswith(f"{found.leader.name} won the search: on 48 test rows")


def test_clusterings_have_a_baseline_and_no_rivals(project):
    chosen = [
        "data.target=null",
        "train.problem=clustering",
        "train.families=[baseline,minibatch_kmeans,kmeans]",
        "train.search.max_trials=4",
    ]
    grouped = Project.open(project.params_file, chosen)
    for step in (prepare, train, evaluate):
        step.run(grouped)
    found = facts_of(grouped)
    assert [each.kind for each in found.scores.standings if each.test] == [LEADER, BASELINE]
    assert FAMILY in {each.kind for each in found.scores.standings}
    assert found.scores.flat() == {}
    for block in page.blocks(found.scores):
        assert block.table.rows
    assert found.search.families

"""Whatever run is named, the one that trained the model is found."""

import pytest

from ratchet import record
from ratchet.errors import StoreError


@pytest.fixture
def made(store):
    """Make finished runs with tags; give a function that gives their ids."""
    experiment = store.create_experiment("taxi")

    def make(step, **tags):
        named = {f"ratchet.{name}": value for name, value in tags.items() if name != "parent"}
        if "parent" in tags:
            named["mlflow.parentRunId"] = tags["parent"]
        if step:
            named["ratchet.step"] = step
        run_id = store.create_run(experiment, tags=named).info.run_id
        store.set_terminated(run_id)
        return run_id

    return make


def test_a_training_is_itself(made):
    run_id = made("train")
    assert record.training_of(run_id) == run_id


@pytest.mark.parametrize("step", ["main", "evaluate", "decision"])
def test_a_pipeline_an_evaluation_and_a_decision_name_it(made, step):
    trained = made("train")
    assert record.training_of(made(step, leader_run=trained)) == trained


def test_a_trial_and_a_promotion_lie_below_it(made):
    trained = made("train")
    assert record.training_of(made("trial", parent=trained)) == trained
    assert record.training_of(made("promote", parent=trained)) == trained
    pipeline = made("main", leader_run=trained)
    assert record.training_of(made("promote", parent=pipeline)) == trained


def test_a_pipeline_that_came_no_further_than_training_has_it_below(made):
    pipeline = made("main")
    made("prepare", parent=pipeline)
    trained = made("train", parent=pipeline)
    assert record.training_of(pipeline) == trained
    assert record.training_of(made(None)) != trained


def test_a_run_that_is_about_no_model_is_refused(made):
    prepared = made("prepare")
    with pytest.raises(StoreError, match=f"^Run {prepared} is the run of prepare"):
        record.training_of(prepared)


def test_a_run_that_names_a_lost_one_or_itself_is_refused(made, store):
    lost = made("evaluate", leader_run="0" * 32)
    with pytest.raises(StoreError, match=r"is about run 0{32}, which the store has not got"):
        record.training_of(lost)
    own = made("evaluate")
    store.set_tag(own, "ratchet.leader_run", own)
    with pytest.raises(StoreError, match="names no run that trained a model"):
        record.training_of(own)


def test_a_run_of_others_is_itself(made):
    run_id = made(None)
    assert record.training_of(run_id) == run_id


def test_what_a_run_does_not_say_is_none(made, tmp_path):
    found = record.Record.read(made("train"), tmp_path)
    assert (found.params, found.patch, found.search, found.rows, found.commit) == (None,) * 5
    assert (found.pins, dict(found.judged), found.setting("data.source")) == ((), {}, None)


def test_every_evaluation_of_a_model_is_found(made, store, tmp_path):
    trained = made("train")
    for digest, score in {"aa": 1.0, "bb": 2.0}.items():
        store.log_metric(made("evaluate", leader_run=trained, test_rows=digest), "test/rmse", score)
    made("evaluate", leader_run=made("train"), test_rows="cc")
    found = record.Record.read(trained, tmp_path)
    assert {name: scores["test/rmse"] for name, scores in found.judged.items()} == {
        "aa": 1.0,
        "bb": 2.0,
    }

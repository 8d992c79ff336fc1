"""What runs have recorded is read back, and every run of a pipeline finds its training."""

import json

import pytest
from mlflow.entities import LoggedModelOutput

from ratchet import recorded, tracking
from ratchet.errors import StoreError
from ratchet.project import tracking_uri
from ratchet.steps import promote
from ratchet.steps.train import Leader


@pytest.fixture
def leader(project):
    return Leader.load(project)


def test_a_run_is_read_with_all_that_it_says(leader):
    found = recorded.read(leader.run_id)
    assert (found.run_id, found.step) == (leader.run_id, "train")
    assert found.name.startswith("train · sklearn/ridge · rmse ")
    assert found.params["train.families"] == "['baseline', 'ridge']"
    assert found.metrics["valid/rmse"] == leader.score
    assert [f"models:/{each}" for each in found.models] == [leader.model_uri]
    train, valid = found.tables
    assert (train.context, train.rows) == ("training", 153)
    assert (valid.context, valid.rows) == ("validation", 39)
    assert train.version == found.tags["ratchet.data_version"]
    assert ("town", "string") in train.columns
    assert found.started.startswith("20") and found.started.endswith("+00:00")


def test_a_run_that_is_not_there_is_none(project):
    assert recorded.read("0" * 32) is None
    assert recorded.read("no id at all") is None


def test_every_run_of_a_pipeline_stands_for_its_training(project, store, leader):
    promote.run(project)
    train = recorded.read(leader.run_id)
    place = store.get_run(leader.run_id).info.experiment_id
    main = store.create_run(
        place, tags={"ratchet.step": "main", "ratchet.leader_run": leader.run_id}
    )
    runs = store.search_runs([place], max_results=100)
    asked = {
        run.data.tags["ratchet.step"]: run.info.run_id
        for run in runs
        if leader.run_id
        in (
            run.info.run_id,
            run.data.tags.get("mlflow.parentRunId"),
            run.data.tags.get("ratchet.leader_run"),
        )
    }
    assert asked["main"] == main.info.run_id
    assert {"train", "trial", "evaluate", "promote", "main"} == set(asked)
    for step, run_id in asked.items():
        assert recorded.training_of(run_id) == train, step


def test_a_pipeline_that_failed_after_its_training_stands_for_it(project, store, leader):
    place = store.get_run(leader.run_id).info.experiment_id
    main = store.create_run(place, tags={"ratchet.step": "main"})
    store.set_tag(leader.run_id, "mlflow.parentRunId", main.info.run_id)
    assert recorded.training_of(main.info.run_id).run_id == leader.run_id


def test_a_run_that_belongs_to_no_training_is_told(project, store, leader):
    prepared = store.get_run(leader.run_id).data.tags["ratchet.prepare_run"]
    with pytest.raises(StoreError) as raised:
        recorded.training_of(prepared)
    assert str(raised.value) == (
        f"Run {prepared} is a run of prepare, which has no model and belongs to no training."
        " Name a run that has trained or judged one."
    )


def test_a_training_that_is_gone_is_told(project, store, leader):
    place = store.get_run(leader.run_id).info.experiment_id
    tags = {"ratchet.step": "evaluate", "ratchet.leader_run": "1" * 32}
    run_id = store.create_run(place, tags=tags).info.run_id
    with pytest.raises(StoreError) as raised:
        recorded.training_of(run_id)
    assert str(raised.value) == (
        f"Run {run_id} is about run {'1' * 32}, which is not in the store {tracking_uri(project)}."
    )


def test_a_training_is_itself(tagged):
    run_id = tagged("train")
    assert recorded.training_of(run_id).run_id == run_id


@pytest.mark.parametrize("step", ["main", "evaluate", "decision"])
def test_a_pipeline_an_evaluation_and_a_decision_name_it(tagged, step):
    trained = tagged("train")
    assert recorded.training_of(tagged(step, leader_run=trained)).run_id == trained


def test_a_trial_and_a_promotion_lie_below_it(tagged):
    trained = tagged("train")
    assert recorded.training_of(tagged("trial", parent=trained)).run_id == trained
    assert recorded.training_of(tagged("promote", parent=trained)).run_id == trained
    pipeline = tagged("main", leader_run=trained)
    assert recorded.training_of(tagged("promote", parent=pipeline)).run_id == trained


def test_a_pipeline_that_came_no_further_than_training_has_it_below(tagged):
    pipeline = tagged("main")
    prepared = tagged("prepare", parent=pipeline)
    trained = tagged("train", parent=pipeline)
    assert recorded.training_of(pipeline).run_id == trained
    assert recorded.training_of(prepared).run_id == trained
    assert recorded.training_of(tagged(None)).run_id != trained


def test_a_finished_training_stands_before_one_that_failed(tagged, store):
    pipeline = tagged("main")
    place = store.get_run(pipeline).info.experiment_id
    tags = {"ratchet.step": "train", "mlflow.parentRunId": pipeline}
    failed = store.create_run(place, start_time=2**42, tags=tags).info.run_id
    store.set_terminated(failed, "FAILED")
    assert recorded.training_of(pipeline).run_id == failed
    trained = tagged("train", parent=pipeline)
    assert recorded.training_of(pipeline).run_id == trained


def test_a_run_that_is_about_no_model_is_refused(tagged):
    prepared = tagged("prepare")
    judged = tagged("evaluate", leader_run=prepared)
    told = "a run of prepare, which has no model and belongs to no training"
    with pytest.raises(StoreError, match=f"^Run {prepared} is {told}"):
        recorded.training_of(prepared)
    with pytest.raises(StoreError, match=f"^Run {judged} is about run {prepared}, {told}"):
        recorded.training_of(judged)


def test_a_run_that_is_not_there_or_names_itself_is_refused(tagged, store):
    with pytest.raises(StoreError, match=r"^Run 0{32} is not in the store sqlite:.*mlflow\.db\.$"):
        recorded.training_of("0" * 32)
    own = tagged("evaluate")
    store.set_tag(own, "ratchet.leader_run", own)
    with pytest.raises(StoreError, match=f"^Run {own} names no run that trained a model"):
        recorded.training_of(own)


def test_a_run_of_others_is_itself(tagged):
    run_id = tagged(None)
    assert recorded.training_of(run_id).run_id == run_id


def test_a_run_of_others_inside_a_training_stands_for_that_unless_it_has_a_model(tagged, store):
    trained = tagged("train")
    inside = tagged(None, parent=trained)
    assert recorded.training_of(inside).run_id == trained
    model = store.create_logged_model(store.get_run(inside).info.experiment_id, name="own")
    store.log_outputs(inside, [LoggedModelOutput(model.model_id, step=0)])
    assert recorded.training_of(inside).run_id == inside


def test_artifacts_come_as_copies_and_none_where_there_are_none(leader, tmp_path):
    found = recorded.download(leader.run_id, "leader.json", tmp_path)
    assert found.is_relative_to(tmp_path)
    assert json.loads(found.read_text())["run_id"] == leader.run_id
    assert recorded.download(leader.run_id, "lineage/no.txt", tmp_path) is None


def test_a_model_is_copied_too(leader, tmp_path):
    folder = tracking.fetch(leader.model_uri, tmp_path / "new" / "model")
    assert folder.is_relative_to(tmp_path)
    assert (folder / "MLmodel").is_file()
    with pytest.raises(StoreError):
        tracking.fetch("models:/m-" + "0" * 32, tmp_path)


def test_a_metric_is_read_step_by_step(leader):
    points = recorded.series(leader.run_id, "search/best_rmse")
    assert [step for step, _ in points] == [0, 1, 2]
    assert points[-1][1] == leader.score
    assert recorded.series(leader.run_id, "no_such_metric") == ()


def test_what_another_program_says_of_its_tables_is_no_matter(store):
    from mlflow.entities import Dataset, DatasetInput

    run_id = store.create_run(store.create_experiment("other")).info.run_id
    dataset = Dataset("rows", "abc", "local", "{}", schema="[1]", profile="no JSON")
    store.log_inputs(run_id, [DatasetInput(dataset, [])])
    [table] = recorded.read(run_id).tables
    assert (table.context, table.version, table.rows, table.columns) == ("", "abc", None, ())

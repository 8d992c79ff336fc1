"""What a step writes lands in its run, and a run never stays open."""

import importlib.metadata
import json
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import Clone
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from ratchet import metrics, tracking
from ratchet.errors import InterruptionError, RatchetError, StoreError
from ratchet.problem import ProblemType
from ratchet.processes import Process
from ratchet.project import Project
from ratchet.schema import Column, Kind, Schema
from ratchet.search import Candidate, TrialResult
from ratchet.tracking import File, Input, LoggedModel, Param, Score, Tag, TrialWriter

RMSE = metrics.named("rmse", ProblemType.REGRESSION)
AUC = metrics.named("roc_auc", ProblemType.BINARY)


@pytest.fixture
def project(tiny, store):
    """A tiny project whose store is connected."""
    opened = Project.open(tiny())
    tracking.connect(opened)
    return opened


def status(store, run_id):
    return store.get_run(run_id).info.status


# What is written


def test_every_kind_of_item_lands_in_the_run(project, store, tmp_path):
    page, folder = tmp_path / "page.html", tmp_path / "plots"
    page.write_text("page")
    folder.mkdir()
    (folder / "one.svg").write_text("one")
    rows = pd.DataFrame({"size": [1.0, 2.0], "price": [3.0, 4.0]})
    with tracking.run(project, "train") as run_id:
        tracking.write(
            run_id,
            [
                Param("train.families", ["linear"]),
                Param("train.metric", None),
                Score("test/rmse", 2.5),
                Score("search/best_rmse", 4.0, step=0),
                Score("search/best_rmse", 3.0, step=7),
                Tag("ratchet.data_version", "abc.dir"),
                File(page),
                File(folder, "plots"),
                Input("tiny-train", rows, Path("data"), "d" * 40, "training", "price"),
            ],
        )
    run = store.get_run(run_id)
    assert run.data.params == {"train.families": "['linear']", "train.metric": "None"}
    assert run.data.metrics == {"test/rmse": 2.5, "search/best_rmse": 3.0}
    history = store.get_metric_history(run_id, "search/best_rmse")
    assert [(each.step, each.value) for each in history] == [(0, 4.0), (7, 3.0)]
    assert run.data.tags["ratchet.data_version"] == "abc.dir"
    assert run.data.tags["ratchet.step"] == "train"
    assert [each.path for each in store.list_artifacts(run_id)] == ["page.html", "plots"]
    assert [each.path for each in store.list_artifacts(run_id, "plots")] == ["plots/one.svg"]
    [read] = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("tiny-train", "d" * 36)
    assert [(tag.key, tag.value) for tag in read.tags] == [("mlflow.data.context", "training")]
    assert json.loads(read.dataset.profile) == {"num_rows": 2, "num_elements": 4}


def test_more_items_than_mlflow_takes_at_once_are_all_written(project, store):
    with tracking.run(project, "train") as run_id:
        tracking.write(
            run_id,
            [
                *(Param(f"p{i}", i) for i in range(250)),
                *(Score(f"m{i}", i) for i in range(1234)),
                *(Tag(f"t{i}", str(i)) for i in range(120)),
            ],
        )
    data = store.get_run(run_id).data
    assert data.params == {f"p{i}": str(i) for i in range(250)}
    assert data.metrics == {f"m{i}": float(i) for i in range(1234)}
    assert {f"t{i}" for i in range(120)} <= set(data.tags)


def test_a_value_longer_than_mlflow_keeps_does_not_end_the_step(project, store):
    with tracking.run(project, "train") as run_id:
        tracking.write(run_id, [Param("data.drop", "x" * 10_000), Tag("note", "y" * 10_000)])
    data = store.get_run(run_id).data
    assert set(data.params["data.drop"]) == {"x"}
    assert set(data.tags["note"]) == {"y"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_a_chart_can_not_draw_is_left_out(project, store, value):
    with tracking.run(project, "train") as run_id:
        tracking.write(run_id, [Score("valid/rmse", value), Score("valid/r2", np.float32(0.5))])
    assert store.get_run(run_id).data.metrics == {"valid/r2": 0.5}


def test_a_run_that_has_ended_can_still_be_written_to(project, store):
    with tracking.run(project, "train") as run_id:
        pass
    tracking.write(run_id, [Score("test/rmse", 1.0)])
    tracking.rename(run_id, "train · linear")
    run = store.get_run(run_id)
    assert run.data.metrics == {"test/rmse": 1.0}
    assert (run.info.run_name, run.info.status) == ("train · linear", "FINISHED")


def test_a_run_says_who_started_it(project, store):
    with tracking.run(project, "train") as run_id:
        pass
    assert store.get_run(run_id).data.tags["mlflow.user"]


def test_a_user_without_a_name_is_a_number(project, store, monkeypatch):
    def nobody():
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    with tracking.run(project, "train") as run_id:
        pass
    assert store.get_run(run_id).data.tags["mlflow.user"] == str(os.getuid())


def test_files_that_can_not_be_stored_are_told(project, store, tmp_path):
    (tmp_path / "mlruns").touch()
    with pytest.raises(StoreError) as raised, tracking.run(project, "train") as run_id:
        tracking.write(run_id, [File(project.params_file)])
    assert str(raised.value) == (
        f"The run's files can't be written to {tmp_path / 'mlruns' / 'tiny'}: Not a directory."
        " Make the experiment's artifact location writable."
    )
    assert status(store, run_id) == "FAILED"


# How a run ends


def test_a_block_that_ends_well_leaves_its_run_finished(project, store):
    with tracking.run(project, "prepare") as run_id:
        assert status(store, run_id) == "RUNNING"
    assert status(store, run_id) == "FINISHED"
    assert mlflow.active_run() is None


@pytest.mark.parametrize("error", [RatchetError("told"), ZeroDivisionError("a bug")])
def test_a_block_that_raises_leaves_its_run_failed_and_the_error_as_it_was(project, store, error):
    with pytest.raises(type(error)) as raised, tracking.run(project, "train") as run_id:
        raise error
    assert raised.value is error
    assert status(store, run_id) == "FAILED"


def test_ctrl_c_leaves_the_run_killed(project, store):
    with pytest.raises(InterruptionError) as raised, tracking.run(project, "train") as run_id:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert str(raised.value) == "train was interrupted; its run is marked KILLED."
    assert status(store, run_id) == "KILLED"


def test_sigterm_leaves_the_run_killed_and_the_handler_as_it_was(project, store):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptionError) as raised, tracking.run(project, "train") as run_id:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert str(raised.value) == "train was interrupted; its run is marked KILLED."
    assert status(store, run_id) == "KILLED"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_twice_leaves_no_run_open_either(project, store, running, monkeypatch):
    """Whoever is impatient gives it again while the run is being marked."""
    end, heard = mlflow.end_run, []

    def impatient(status):
        os.kill(os.getpid(), signal.SIGINT)
        heard.append(status)
        end(status)

    monkeypatch.setattr(mlflow, "end_run", impatient)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptionError) as raised, tracking.run(project, "main"):  # noqa: SIM117
        with tracking.run(project, "train"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    assert str(raised.value) == "main was interrupted; its run is marked KILLED."
    assert heard == ["KILLED", "KILLED"]
    assert running() == []
    assert signal.getsignal(signal.SIGINT) is before


def test_the_third_ctrl_c_is_heard_where_the_store_does_not_answer(project, monkeypatch):
    def hangs(_status):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with monkeypatch.context() as patch:  # noqa: SIM117
        with pytest.raises(KeyboardInterrupt), tracking.run(project, "train"):
            patch.setattr(mlflow, "end_run", hangs)
            raise KeyboardInterrupt
    mlflow.end_run()


def test_runs_of_a_process_that_is_gone_are_killed_by_the_next_command(
    project, store, at_work, caplog
):
    process, (main, train) = at_work(project)
    half = store.create_logged_model(store.get_run(train).info.experiment_id, source_run_id=train)
    tracking.connect(project)
    assert (status(store, main), status(store, train)) == ("RUNNING", "RUNNING"), "it lives"
    process.kill()
    process.join()
    with caplog.at_level("INFO", "ratchet"):
        tracking.connect(project)
    assert (status(store, main), status(store, train)) == ("KILLED", "KILLED")
    assert store.get_run(main).info.end_time is not None
    assert store.get_logged_model(half.model_id).status.value == "FAILED"
    assert sorted(caplog.messages) == [
        f"run {name} ({run_id[:8]}) was left open by a process that is gone; it is marked KILLED"
        for name, run_id in (("main", main), ("train", train))
    ]
    caplog.clear()
    tracking.connect(project)
    assert caplog.messages == []


def test_runs_of_others_are_left_alone(project, store, at_work):
    """Of another machine, whose processes nobody here can see; and where no process is named."""
    process, (main, train) = at_work(project)
    process.kill()
    process.join()
    told = Process.parse(store.get_run(main).data.tags["ratchet.process"])
    away = replace(told, host="elsewhere", boot="another", machine="0f0f")
    store.set_tag(main, "ratchet.process", away.text)
    store.delete_tag(train, "ratchet.process")
    tracking.connect(project)
    assert (status(store, main), status(store, train)) == ("RUNNING", "RUNNING")


def test_a_trial_and_a_model_name_no_process_but_their_own(project, store, linear, tmp_path):
    tracking.save_model(linear, tmp_path / "model")
    with tracking.run(project, "train") as run_id, TrialWriter(run_id, RMSE) as writer:
        writer.write([TRIAL])
        uri = tracking.log_saved_model(run_id, tmp_path / "model")
    [trial] = trials_of(store, run_id)
    here = Process.here().text
    assert trial.data.tags["ratchet.process"] == here
    assert store.get_run(run_id).data.tags["ratchet.process"] == here
    assert "ratchet.process" not in store.get_logged_model(uri.removeprefix("models:/")).tags


def test_an_interruption_kills_the_parent_too(project, store, running):
    with pytest.raises(InterruptionError) as raised, tracking.run(project, "main") as main:  # noqa: SIM117
        with tracking.run(project, "train") as train:
            raise KeyboardInterrupt
    assert str(raised.value) == "main was interrupted; its run is marked KILLED."
    assert (status(store, train), status(store, main)) == ("KILLED", "KILLED")
    assert running() == []


def test_a_failed_step_fails_the_parent_too(project, store):
    with pytest.raises(RatchetError, match="told"), tracking.run(project, "main") as main:  # noqa: SIM117
        with tracking.run(project, "train") as train:
            raise RatchetError("told")
    assert (status(store, train), status(store, main)) == ("FAILED", "FAILED")


def test_a_run_in_another_thread_leaves_signals_alone(project, store):
    ended = []

    def step():
        with tracking.run(project, "train") as run_id:
            pass
        ended.append(status(store, run_id))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert ended == ["FINISHED"]


def test_a_store_that_dies_does_not_hide_the_first_error(project, monkeypatch, caplog):
    def dead(*_, **__):
        raise MlflowException("gone")

    with pytest.raises(RatchetError) as raised, tracking.run(project, "train"):
        monkeypatch.setattr("mlflow.tracking.MlflowClient.set_terminated", dead)
        raise RatchetError("told")
    assert str(raised.value) == "told"
    assert "the run could not be marked FAILED" in caplog.messages


def test_an_interruption_promises_no_mark_that_a_dead_store_could_not_take(project, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    with pytest.raises(InterruptionError) as raised, tracking.run(project, "train"):
        monkeypatch.setattr("mlflow.tracking.MlflowClient.set_terminated", dead)
        raise KeyboardInterrupt
    assert str(raised.value) == "train was interrupted."


def test_a_store_that_dies_at_the_end_is_told(project, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    with pytest.raises(StoreError) as raised, tracking.run(project, "train"):
        monkeypatch.setattr("mlflow.tracking.MlflowClient.set_terminated", dead)
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"


def test_a_step_that_can_not_start_leaves_the_parent_to_its_own_end(project, store, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    with tracking.run(project, "main") as main:
        monkeypatch.setattr("mlflow.tracking.MlflowClient.create_run", dead)
        with pytest.raises(StoreError), tracking.run(project, "train"):
            pass
        assert status(store, main) == "RUNNING"
    assert status(store, main) == "FINISHED"


# Which run it is


def test_the_run_that_mlflow_run_made_is_continued(project, store, monkeypatch):
    experiment = store.create_experiment("theirs")
    given = store.create_run(experiment, run_name="theirs").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    with tracking.run(project, "main") as main, tracking.run(project, "train") as train:
        pass
    assert main == given
    run = store.get_run(main)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "theirs")
    assert run.data.tags["ratchet.step"] == "main"
    assert store.get_run(train).info.experiment_id == experiment
    assert "MLFLOW_RUN_ID" not in os.environ


def test_a_run_to_continue_that_is_not_there_is_told(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(StoreError) as raised, tracking.run(project, "train"):
        pass
    assert str(raised.value) == (
        f"MLflow's store {mlflow.get_tracking_uri()} failed: Run with id={'0' * 32} not found"
    )


def test_a_step_inside_of_another_is_its_child_in_the_same_experiment(project, store):
    with tracking.run(project, "main", name="pipeline") as main:
        with tracking.run(project, "prepare") as prepare:
            pass
        with tracking.run(project, "train") as train:
            pass
    runs = [store.get_run(each) for each in (main, prepare, train)]
    assert [run.data.tags.get("mlflow.parentRunId") for run in runs] == [None, main, main]
    assert len({run.info.experiment_id for run in runs}) == 1
    assert [run.info.run_name for run in runs] == ["pipeline", "prepare", "train"]


def test_a_step_in_a_process_of_its_own_is_a_child_of_the_run_it_is_about(project, store):
    with tracking.run(project, "train") as train:
        pass
    with tracking.run(project, "evaluate", parent=train) as evaluate:
        pass
    assert store.get_run(evaluate).data.tags["mlflow.parentRunId"] == train


def test_no_run_is_the_child_of_one_in_another_experiment(project, store, monkeypatch):
    with tracking.run(project, "train") as train:
        pass
    given = store.create_run(store.create_experiment("theirs")).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    with tracking.run(project, "evaluate", parent=train) as evaluate:
        pass
    assert "mlflow.parentRunId" not in store.get_run(evaluate).data.tags


def test_a_deleted_experiment_says_how_to_bring_it_back(project, store):
    with tracking.run(project, "train") as run_id:
        pass
    experiment = store.get_run(run_id).info.experiment_id
    store.delete_experiment(experiment)
    with pytest.raises(StoreError) as raised, tracking.run(project, "train"):
        pass
    assert str(raised.value) == (
        "The experiment 'tiny' was deleted. Restore it with"
        f" `mlflow experiments restore --experiment-id {experiment}`,"
        " or name another in tracking.experiment."
    )


def test_an_experiment_that_another_process_made_a_moment_ago_is_used(project, store, monkeypatch):
    create = mlflow.MlflowClient.create_experiment

    def a_moment_late(client, name, **more):
        create(client, name, **more)
        return create(client, name, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "create_experiment", a_moment_late)
    with tracking.run(project, "train") as run_id:
        pass
    experiment = store.get_experiment_by_name("tiny")
    assert store.get_run(run_id).info.experiment_id == experiment.experiment_id


def test_an_experiment_says_what_it_holds_unless_somebody_has_said_it(project, store):
    def told():
        return store.get_experiment(tracking.experiment(project)).tags.get("mlflow.note.content")

    ours = told()
    assert ours.startswith("Models that predict `price`, by Ratchet from `params.yaml`.")
    for said in ("Ask Ada before you delete anything.", ""):
        store.set_experiment_tag(tracking.experiment(project), "mlflow.note.content", said)
        assert told() == said


def test_an_experiment_that_was_made_by_other_means_gets_a_description(project, store):
    # As `mlflow run --experiment-name` makes it.
    made = store.create_experiment("tiny")
    assert tracking.experiment(project) == made
    assert "*tiny decisions*" in store.get_experiment(made).tags["mlflow.note.content"]


def test_an_experiment_that_can_not_be_made_is_told(project, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "create_experiment", dead)
    with pytest.raises(StoreError) as raised, tracking.run(project, "train"):
        pass
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"


def test_the_newest_finished_run_with_all_tags_is_found(project):
    def run(*tags):
        with tracking.run(project, "prepare") as run_id:
            tracking.write(run_id, [Tag(*tag) for tag in tags])
        return run_id

    run(("ratchet.data_version", "one"), ("odd", "it's"))
    newest = run(("ratchet.data_version", "one"))
    run(("ratchet.data_version", "two"))
    with pytest.raises(RatchetError), tracking.run(project, "prepare") as failed:
        tracking.write(failed, [Tag("ratchet.data_version", "one")])
        raise RatchetError("told")
    wanted = {"ratchet.step": "prepare", "ratchet.data_version": "one"}
    assert tracking.find(project, wanted) == newest
    assert tracking.find(project, {**wanted, "ratchet.data_version": "three"}) is None


def test_a_run_of_another_store_is_told(project):
    with pytest.raises(StoreError) as raised:
        tracking.require("0" * 32)
    assert str(raised.value) == (
        f"The leader's run {'0' * 32} is not in {mlflow.get_tracking_uri()}: it was trained with"
        " another store. Train again with `dvc repro -f train`, or set MLFLOW_TRACKING_URI to the"
        " store that has it."
    )


def test_a_store_that_fails_is_not_taken_for_one_that_lacks_the_run(project, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "get_run", dead)
    with pytest.raises(StoreError) as raised:
        tracking.require("0" * 32)
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"


# Where the store is


def test_the_store_and_its_artifacts_lie_at_home(tiny, store, monkeypatch, git, empty_store):
    params = tiny()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    git(params.parent, "init", "-q")
    (params.parent / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir("/")
    project = Project.open(params)
    assert tracking.connect(project) == f"sqlite:///{params.parent / 'mlflow.db'}"
    with tracking.run(project, "train") as run_id:
        tracking.write(run_id, [File(params)])
    where = params.parent / "mlruns" / "tiny" / run_id / "artifacts" / "params.yaml"
    assert where.read_bytes() == params.read_bytes()


def test_a_temporary_checkout_of_dvc_writes_to_the_lasting_store(
    tiny, store, monkeypatch, git, empty_store
):
    params = tiny(tracking__uri="sqlite:///mlflow.db")
    home = params.parent
    git(home, "init", "-q")
    (home / "mlflow.db").write_bytes(empty_store.read_bytes())
    clone = home / ".dvc" / "tmp" / "exps" / "tmpabc"
    clone.mkdir(parents=True)
    git(clone, "init", "-q")
    (clone / "params.yaml").write_bytes(params.read_bytes())
    project = Project.open(clone / "params.yaml")
    assert tracking.connect(project) == f"sqlite:///{home / 'mlflow.db'}"
    with tracking.run(project, "train") as run_id:
        tracking.write(run_id, [File(params)])
    artifacts = mlflow.MlflowClient().get_run(run_id).info.artifact_uri
    assert artifacts == (home / "mlruns" / "tiny" / run_id / "artifacts").as_uri()
    assert not (clone / "mlruns").exists()
    assert not (clone / "mlflow.db").exists()


def connecting(tiny, uri):
    """Connect to a store that can't be; give the sentence and the seconds it took."""
    project = Project.open(tiny(tracking__uri=uri))
    began = time.monotonic()
    with pytest.raises(StoreError) as raised:
        tracking.connect(project)
    return str(raised.value), time.monotonic() - began


@pytest.mark.parametrize("login", ["", "me:secret@", "me@"])
def test_a_dead_server_is_told_at_once_and_without_its_password(tiny, store, login):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told, seconds = connecting(tiny, f"http://{login}127.0.0.1:{port}")
    assert told == (
        f"The tracking server at http://{'***@' if login else ''}127.0.0.1:{port} doesn't answer:"
        " [Errno 111] Connection refused. Start it, or set MLFLOW_TRACKING_URI or tracking.uri"
        " to a store that does."
    )
    assert seconds < 5


def test_an_address_that_is_none_is_told(tiny, store):
    told, _ = connecting(tiny, "http://127.0.0.1:port")
    assert told == (
        "The tracking server at http://127.0.0.1:port doesn't answer: Failed to parse:"
        " '127.0.0.1:port' is not a valid host or port. Start it, or set MLFLOW_TRACKING_URI or"
        " tracking.uri to a store that does."
    )


@contextmanager
def serving(**codes):
    """Serve HTTP codes: ``health`` for the question whether it's there, ``api`` for the rest."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(codes["health" if self.path == "/health" else "api"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("code", [500, 503])
def test_a_server_with_an_error_of_its_own_is_told(tiny, store, code):
    with serving(health=code) as (port, _):
        told, seconds = connecting(tiny, f"http://127.0.0.1:{port}/")
    assert told == (
        f"The tracking server at http://127.0.0.1:{port}/ doesn't answer: HTTP {code}."
        " Start it, or set MLFLOW_TRACKING_URI or tracking.uri to a store that does."
    )
    assert seconds < 5


@pytest.mark.parametrize("health", [200, 404])
def test_a_server_that_refuses_us_is_told_without_the_password(tiny, store, monkeypatch, health):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with serving(health=health, api=403) as (port, asked):
        told, _ = connecting(tiny, f"http://me:secret@127.0.0.1:{port}")
    assert told == (
        f"MLflow's store http://***@127.0.0.1:{port} failed: API request to endpoint"
        " /api/2.0/mlflow/experiments/search failed with error code 403 != 200."
        " Response body: ''"
    )
    assert asked[0] == ("/health", "Basic bWU6c2VjcmV0")


def test_a_server_that_does_not_know_who_asks_says_how_to_log_in(tiny, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with serving(health=200, api=401) as (port, _):
        told, _ = connecting(tiny, f"http://127.0.0.1:{port}")
    assert told == (
        f"The tracking server at http://127.0.0.1:{port} doesn't know who asks (HTTP 401)."
        " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN,"
        " to what whoever runs it has given you."
    )


def test_a_port_that_speaks_something_else_is_told(tiny, store):
    def greet(listening):
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet, args=[listening])
        thread.start()
        port = listening.getsockname()[1]
        told, _ = connecting(tiny, f"http://127.0.0.1:{port}")
        thread.join()
    assert told == (
        f"The tracking server at http://127.0.0.1:{port} doesn't answer: ('Connection aborted.',"
        r" BadStatusLine('SSH-2.0-OpenSSH\r\n'))."
        " Start it, or set MLFLOW_TRACKING_URI or tracking.uri to a store that does."
    )


def test_a_server_that_says_nothing_is_not_waited_for_long(tiny, store, monkeypatch):
    monkeypatch.setattr(tracking, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told, seconds = connecting(tiny, f"http://127.0.0.1:{port}")
    assert told == (
        f"The tracking server at http://127.0.0.1:{port} doesn't answer: timed out."
        " Start it, or set MLFLOW_TRACKING_URI or tracking.uri to a store that does."
    )
    assert seconds < 5


def test_a_dead_database_server_is_told_at_once_and_without_its_password(tiny, store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told, seconds = connecting(tiny, f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/runs")
    assert told == (
        f"The database postgresql+psycopg2://***@127.0.0.1:{port}/runs can't be opened: connection"
        f' to server at "127.0.0.1", port {port} failed: Connection refused Is the server running'
        " on that host and accepting TCP/IP connections. Set MLFLOW_TRACKING_URI or tracking.uri"
        " to one that can."
    )
    assert seconds < 5


def test_a_database_in_a_folder_that_can_not_be_is_told(tiny, store, tmp_path):
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    told, _ = connecting(tiny, uri)
    assert told == (
        f"The database {uri} can't be opened: [Errno 17] File exists: '{tmp_path / 'file'}'."
        " Set MLFLOW_TRACKING_URI or tracking.uri to one that can."
    )


def test_a_database_in_a_folder_that_is_not_writable_is_told(tiny, store, tmp_path, unwritable):
    unwritable(tmp_path / "locked")
    uri = f"sqlite:///{tmp_path / 'locked' / 'mlflow.db'}"
    told, seconds = connecting(tiny, uri)
    assert told == (
        f"The database {uri} can't be opened: unable to open database file."
        " Set MLFLOW_TRACKING_URI or tracking.uri to one that can."
    )
    assert seconds < 5


def test_a_file_that_is_no_database_is_told(tiny, store, tmp_path):
    (tmp_path / "runs.db").write_text("these are not the runs you are looking for\n" * 30)
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    told, _ = connecting(tiny, uri)
    assert told == (
        f"The database {uri} can't be opened: file is not a database."
        " Set MLFLOW_TRACKING_URI or tracking.uri to one that can."
    )


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@host/runs", "postgresql://***@host/runs"),
        ("https://me@host:5000/path", "https://***@host:5000/path"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("a http://a:b@c/d and http://e:f@g", "a http://***@c/d and http://***@g"),
    ],
)
def test_only_credentials_are_masked(uri, shown):
    assert tracking.masked(uri) == shown


def test_what_signs_an_address_of_an_object_store_is_masked():
    address = "https://s3.host/b/rows.npy?AWSAccessKeyId=AK&Signature=ab%3D&Expires=17"
    told = tracking.masked(f"403 Forbidden for url: {address}")
    assert told.endswith("rows.npy?AWSAccessKeyId=***&Signature=***&Expires=17")


# Arrays


def test_an_array_comes_back_and_one_that_was_never_logged_is_none(project, store, tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(3))
    run_id = store.create_run(tracking.experiment(project)).info.run_id
    assert tracking.load_array(run_id, "rows.npy") is None
    tracking.write(run_id, [File(tmp_path / "rows.npy")])
    assert tracking.load_array(run_id, "rows.npy").tolist() == [0, 1, 2]
    assert tracking.load_array("0" * 32, "rows.npy") is None


def test_an_array_that_can_not_be_read_is_not_taken_for_a_missing_one(project, store, tmp_path):
    (tmp_path / "rows.npy").write_bytes(b"\x93NUMPY, and nothing else")
    run_id = store.create_run(tracking.experiment(project)).info.run_id
    tracking.write(run_id, [File(tmp_path / "rows.npy")])
    with pytest.raises(StoreError, match=rf"^rows\.npy of run {run_id} can't be read: "):
        tracking.load_array(run_id, "rows.npy")


# Models


@pytest.fixture
def trained(evaluated, store):
    """A trained project whose store is connected."""
    project = Project.open(evaluated)
    tracking.connect(project)
    return project


def leader(project):
    return json.loads((project.trained / "leader.json").read_text())


def rows_of(project):
    frame = pd.read_parquet(project.prepared / "test.parquet")
    schema = Schema.load(project.prepared / "schema.json")
    return frame[schema.names].astype({column.name: column.dtype for column in schema.columns})


@pytest.fixture
def no_pickle(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("pickle.load", "pickle.loads", "cloudpickle.load", "joblib.load"):
        monkeypatch.setattr(name, refuse)


@pytest.mark.parametrize("where", ["logged", "folder"])
def test_a_model_is_loaded_without_unpickling(trained, no_pickle, where):
    uri = leader(trained)["model_uri"] if where == "logged" else str(trained.trained / "model")
    rows = rows_of(trained)
    answers = mlflow.pyfunc.load_model(uri).predict(rows)
    assert answers.shape == (len(rows),)
    np.testing.assert_allclose(answers, tracking.load_model(uri).predict(rows))


def test_no_file_of_a_model_is_a_pickle(trained):
    inside = {path.name for path in (trained.trained / "model").rglob("*") if path.is_file()}
    assert not [name for name in inside if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert "model.skops" in inside


def test_the_signature_is_tolerant_of_numbers_and_says_what_may_be_left_out(trained):
    info = mlflow.models.get_model_info(leader(trained)["model_uri"])
    columns = [(each.name, each.type.name, each.required) for each in info.signature.inputs.inputs]
    assert columns == [
        ("size", "double", True),
        ("town", "string", False),
        ("rooms", "double", True),
        ("sold", "datetime", True),
    ]
    assert [each.type for each in info.signature.outputs.inputs] == [np.dtype("float64")]


def test_an_example_and_exact_requirements_come_with_the_model(trained):
    model = mlflow.pyfunc.load_model(leader(trained)["model_uri"])
    assert list(model.input_example) == ["size", "town", "rooms", "sold"]
    assert len(model.input_example) == 3
    required = (trained.trained / "model" / "requirements.txt").read_text().split()
    import sklearn
    import skops

    assert f"scikit-learn=={sklearn.__version__}" in required
    assert f"skops=={skops.__version__}" in required
    assert all("==" in each for each in required), required


def test_columns_may_come_in_another_order(trained):
    model = mlflow.pyfunc.load_model(leader(trained)["model_uri"])
    rows = rows_of(trained)
    np.testing.assert_array_equal(model.predict(rows), model.predict(rows[rows.columns[::-1]]))


def test_whole_numbers_may_come_where_fractions_were_trained_on(trained):
    model = mlflow.pyfunc.load_model(leader(trained)["model_uri"])
    rows = rows_of(trained).assign(size=100.0)
    whole = rows.astype({"size": "int32", "rooms": "int8"})
    np.testing.assert_array_equal(model.predict(rows), model.predict(whole))


def test_a_request_in_json_needs_no_types(trained):
    model = mlflow.pyfunc.load_model(leader(trained)["model_uri"])
    row = {"size": 100, "town": "Berlin", "rooms": 3, "sold": "2024-03-01T00:00:00"}
    sent = infer_and_parse_data({"dataframe_records": [row]}, model.metadata.get_input_schema())
    exact = pd.DataFrame([{**row, "size": 100.0, "rooms": 3.0}]).astype({"sold": "datetime64[ns]"})
    np.testing.assert_array_equal(model.predict(sent), model.predict(exact))


@pytest.mark.xfail(reason="a column of nulls only is None, and trained on was NaN", strict=True)
def test_a_value_may_be_null_in_json(trained):
    model = mlflow.pyfunc.load_model(leader(trained)["model_uri"])
    row = {"size": 100, "town": None, "rooms": 3, "sold": "2024-03-01T00:00:00"}
    sent = infer_and_parse_data({"dataframe_records": [row]}, model.metadata.get_input_schema())
    missing = sent.assign(town=pd.array([None], dtype="str"))
    np.testing.assert_array_equal(model.predict(sent), model.predict(missing))


@pytest.mark.parametrize("name", ["params.yaml", "better.yaml"])
def test_a_category_that_was_never_seen_or_is_missing_gets_an_answer(trained, name):
    project = Project.open(trained.root / name)
    model = mlflow.pyfunc.load_model(leader(project)["model_uri"])
    rows = rows_of(trained).head(2)
    for town in ("Dresden", None):
        answers = model.predict(rows.assign(town=pd.array([town, "Berlin"], dtype="str")))
        assert np.isfinite(answers).all()


def test_a_class_that_nobody_trusts_is_told(trained, tmp_path):
    model = tracking.load_model(str(trained.trained / "model"))
    schema = Schema.load(trained.prepared / "schema.json")
    logged = LoggedModel(model, schema, rows_of(trained).head(2), (), ("scikit-learn==1.9.1",))
    with pytest.raises(RatchetError) as raised:
        tracking.save_model(logged, tmp_path / "model")
    assert str(raised.value).startswith("The model holds classes that skops does not trust: ")
    assert str(raised.value).endswith(
        " Name them in the backend's trusted_types if you trust them."
    )
    assert "SquashingScaler" in str(raised.value)


def test_a_model_that_other_releases_have_saved_is_told(trained, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(trained.trained / "model", folder)
    pins = (folder / "requirements.txt").read_text()
    there = importlib.metadata.version("scikit-learn")
    pins = pins.replace(f"scikit-learn=={there}", "scikit-learn==0.24.2")
    (folder / "requirements.txt").write_text(pins)

    def moved(*_, **__):
        raise ModuleNotFoundError("No module named '_loss'")

    # What happens to a histogram boosting of scikit-learn 1.7 under 1.9.
    monkeypatch.setattr(skops.io, "load", moved)
    with pytest.raises(RatchetError) as error:
        tracking.load_model(str(folder))
    assert not isinstance(error.value, StoreError)  # to promote it is a champion that can't score
    assert str(error.value) == (
        f"The model {folder} can't be loaded: ModuleNotFoundError: No module named '_loss'. It was"
        f" saved with scikit-learn 0.24.2 (installed: {there}). Train again with the libraries that"
        " are installed, or install those of its requirements.txt."
    )


def test_a_model_that_is_not_there_is_told(trained, tmp_path):
    with pytest.raises(StoreError) as raised:
        tracking.load_model(f"models:/m-{'0' * 32}")
    assert str(raised.value) == (
        f"MLflow's store {mlflow.get_tracking_uri()} failed:"
        f" Logged model with ID 'm-{'0' * 32}' not found."
    )


@pytest.fixture
def linear():
    """A model that knows two columns."""
    from importlib.metadata import version

    from sklearn.linear_model import LinearRegression

    columns = tuple(
        Column(name, Kind.NUMBER, "float64", optional=False, distinct=3) for name in ("a", "b")
    )
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [3.0, 1.0, 0.0]})
    return LoggedModel(
        LinearRegression().fit(rows, [1.0, 2.0, 4.0]),
        Schema(columns, "y", ProblemType.REGRESSION),
        rows,
        (),
        (f"scikit-learn=={version('scikit-learn')}", f"skops=={version('skops')}"),
    )


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_a_saved_model_is_logged_as_mlflow_itself_would_log_it(project, store, linear, tmp_path):
    with tracking.run(project, "train") as run_id:
        tracking.write(run_id, [Param(f"p{n}", "x" * 5000) for n in range(120)])
        theirs = mlflow.sklearn.log_model(
            linear.model, name="model", **tracking._model_arguments(linear)
        )
        tracking.save_model(linear, tmp_path / "model")
        uri = tracking.log_saved_model(run_id, tmp_path / "model")
    expected = store.get_logged_model(theirs.model_id)
    logged = store.get_logged_model(uri.removeprefix("models:/"))
    for field in ("name", "experiment_id", "source_run_id", "status", "params", "model_type"):
        assert getattr(logged, field) == getattr(expected, field), field
    assert len(logged.params) == 120
    assert expected.tags.keys() <= logged.tags.keys() | {"mlflow.source.git.commit"}
    assert logged.tags["ratchet.step"] == "train"
    outputs = store.get_run(run_id).outputs.model_outputs
    assert {each.model_id for each in outputs} == {expected.model_id, logged.model_id}
    ours, their_own = (
        Path(mlflow.artifacts.download_artifacts(each)) for each in (uri, theirs.model_uri)
    )
    assert files_of(ours).keys() == files_of(their_own).keys()
    told, meant = (mlflow.models.Model.load(str(each)).to_dict() for each in (ours, their_own))
    own = ("model_id", "model_uuid", "artifact_path", "utc_time_created")
    assert {k: v for k, v in told.items() if k not in own} == {
        k: v for k, v in meant.items() if k not in own
    }
    assert told["model_id"] == told["model_uuid"] == logged.model_id
    assert told["artifact_path"] == logged.artifact_location


def test_a_logged_folder_is_file_for_file_what_the_store_keeps(project, linear, tmp_path):
    tracking.save_model(linear, tmp_path / "model")
    with tracking.run(project, "train") as run_id:
        uri = tracking.log_saved_model(run_id, tmp_path / "model")
    kept = files_of(mlflow.artifacts.download_artifacts(uri))
    kept.pop("registered_model_meta")  # MLflow adds it to what it hands out
    assert kept == files_of(tmp_path / "model")
    assert "model.skops" in kept


def test_a_logged_model_can_be_loaded_and_registered(project, store, linear, tmp_path, no_pickle):
    tracking.save_model(linear, tmp_path / "model")
    with tracking.run(project, "train") as run_id:
        uri = tracking.log_saved_model(run_id, tmp_path / "model")
    expected = linear.model.predict(linear.example)
    for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model, tracking.load_model):
        np.testing.assert_allclose(load(uri).predict(linear.example), expected)
    version = mlflow.register_model(uri, "linear")
    assert version.run_id == run_id
    loaded = mlflow.pyfunc.load_model("models:/linear/1")
    np.testing.assert_allclose(loaded.predict(loaded.input_example), expected)


def test_the_scores_of_a_model_are_its_own_and_the_runs(project, store, linear, tmp_path):
    tracking.save_model(linear, tmp_path / "model")
    scores = [Score("valid/rmse", 2.5), Score("train/rmse", float("nan"))]
    with tracking.run(project, "train") as run_id:
        uri = tracking.log_saved_model(run_id, tmp_path / "model", scores)
    model = store.get_logged_model(uri.removeprefix("models:/"))
    assert [(each.key, each.value) for each in model.metrics] == [("valid/rmse", 2.5)]
    assert store.get_run(run_id).data.metrics == {"valid/rmse": 2.5}


def models_of(store, run_id):
    return store.search_logged_models([store.get_run(run_id).info.experiment_id])


def test_a_model_that_can_not_be_stored_is_told_and_is_not_ready(project, store, linear, tmp_path):
    tracking.save_model(linear, tmp_path / "model")
    with pytest.raises(StoreError) as raised, tracking.run(project, "train") as run_id:
        (tmp_path / "mlruns").touch()
        tracking.log_saved_model(run_id, tmp_path / "model")
    assert str(raised.value).startswith("The run's files can't be written to ")
    assert [model.status.value for model in models_of(store, run_id)] == ["FAILED"]


def test_a_model_whose_upload_is_interrupted_is_not_ready(
    project, store, linear, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    tracking.save_model(linear, tmp_path / "model")
    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", interrupted)
    with pytest.raises(InterruptionError), tracking.run(project, "train") as run_id:
        tracking.log_saved_model(run_id, tmp_path / "model")
    assert [model.status.value for model in models_of(store, run_id)] == ["FAILED"]


@pytest.mark.slow
def test_a_remote_server_gets_model_and_trials_as_a_database_does(
    tiny, store, linear, tmp_path, monkeypatch
):
    command = (
        *("mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"),
        *("--artifacts-destination", str(tmp_path / "served"), "--workers", "1"),
    )
    tracking.save_model(linear, tmp_path / "model")
    with Clone(tmp_path).serve(*command, ready="/health") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        project = Project.open(tiny())
        tracking.connect(project)
        with tracking.run(project, "train") as run_id, TrialWriter(run_id, RMSE) as writer:
            writer.write([TRIAL])
            uri = tracking.log_saved_model(run_id, tmp_path / "model", [Score("valid/rmse", 2.5)])
        expected = linear.model.predict(linear.example)
        np.testing.assert_allclose(tracking.load_model(uri).predict(linear.example), expected)
        assert mlflow.register_model(uri, "linear").run_id == run_id
    model = store.get_logged_model(uri.removeprefix("models:/"))
    assert (model.status.value, model.source_run_id) == ("READY", run_id)
    assert [(each.key, each.value) for each in model.metrics] == [("valid/rmse", 2.5)]
    assert [each.info.run_name for each in trials_of(store, run_id)] == [
        "sklearn/linear · rmse 12.500"
    ]


# Trials

TRIAL = TrialResult(
    number=4,
    candidate=Candidate("sklearn", "linear", {"alpha": 0.5}),
    score=12.5,
    train_score=11.0,
    seconds=2.0,
    elapsed=9.0,
)


def trials_of(store, run_id):
    parent = store.get_run(run_id)
    return store.search_runs(
        [parent.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run_id}'",
        order_by=["attributes.start_time ASC"],
    )


def write_trials(run_id, *trials, metric=RMSE):
    with TrialWriter(run_id, metric) as writer:
        writer.write(trials)


def test_trials_are_children_that_lasted_as_long_as_the_trials_did(project, store, monkeypatch):
    later = replace(TRIAL, number=5, score=float("nan"), seconds=0.5, elapsed=9.5)
    with tracking.run(project, "train") as run_id:
        began = store.get_run(run_id).info.start_time
        monkeypatch.setattr(time, "time", lambda: began / 1000 + 60)
        write_trials(run_id, TRIAL, later)
    first, second = trials_of(store, run_id)
    assert (first.info.start_time - began, first.info.end_time - began) == (7000, 9000)
    assert (second.info.start_time - began, second.info.end_time - began) == (9000, 9500)
    assert (first.info.status, second.info.status) == ("FINISHED", "FINISHED")
    assert first.info.run_name == "sklearn/linear · rmse 12.500"
    assert first.data.params == {
        "trial": "5",
        "backend": "sklearn",
        "family": "linear",
        "alpha": "0.5",
    }
    assert first.data.metrics == {"valid/rmse": 12.5, "train/rmse": 11.0, "train/seconds": 2.0}
    assert second.data.metrics == {"train/rmse": 11.0, "train/seconds": 0.5}
    assert first.data.tags["ratchet.step"] == "trial"
    assert first.data.tags["ratchet.backend"] == "sklearn"
    assert first.data.tags["mlflow.user"]


def test_trials_of_an_interrupted_search_did_not_end_in_the_future(project, store):
    with tracking.run(project, "train") as run_id:
        write_trials(run_id, replace(TRIAL, elapsed=3600.0), replace(TRIAL, elapsed=1800.0))
    early, late = trials_of(store, run_id)
    assert late.info.end_time <= 1000 * time.time()
    assert late.info.end_time - early.info.end_time == 1_800_000


def test_a_trial_tells_what_was_fitted_and_how_it_learned(project, store):
    trial = replace(
        TRIAL,
        candidate=Candidate("lightgbm", "lightgbm", {"n_estimators": 5000, "family": "odd"}),
        refit_params={"n_estimators": 3},
        curve=(-0.5, -0.75, -0.7),
        score=0.75,
    )
    with tracking.run(project, "train") as run_id:
        write_trials(run_id, trial, metric=AUC)
    [child] = trials_of(store, run_id)
    assert child.info.run_name == "lightgbm · roc_auc 0.7500"
    assert child.data.params["n_estimators"] == "3"
    assert child.data.params["family"] == "lightgbm"
    points = store.get_metric_history(child.info.run_id, "curve/roc_auc")
    assert [(each.step, each.value) for each in points] == [(1, 0.5), (2, 0.75), (3, 0.7)]


def test_trials_are_written_while_the_step_goes_on(project, store, monkeypatch):
    create, goes_on = mlflow.MlflowClient.create_run, threading.Event()

    def create_later(*arguments, **more):
        assert goes_on.wait(60)
        return create(*arguments, **more)

    with tracking.run(project, "train") as run_id:
        monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_later)
        with TrialWriter(run_id, RMSE) as writer:
            writer.write([TRIAL])
            writer.write([replace(TRIAL, number=5)])
            assert trials_of(store, run_id) == []
            goes_on.set()
        assert len(trials_of(store, run_id)) == 2


def test_a_database_takes_trials_and_the_steps_own_words_at_once(project, store, running):
    curve = tuple(np.linspace(2, 1, 200))
    trials = [replace(TRIAL, number=number, curve=curve) for number in range(20)]
    with tracking.run(project, "train") as run_id:
        with TrialWriter(run_id, RMSE) as writer:
            writer.write(trials)
            for n in range(100):
                tracking.write(run_id, [Score("search/best", n, n), Param(f"p{n}", n)])
        assert len(trials_of(store, run_id)) == 20
    assert len(store.get_run(run_id).data.params) == 100
    assert running() == []


def dying_after(n, monkeypatch):
    """Let a store die after a number of runs were made; give the names of those it refused."""
    create, refused = mlflow.MlflowClient.create_run, []
    left = [None] * n

    def create_or_die(client, *arguments, **more):
        if not left:
            refused.append(more["run_name"])
            raise MlflowException("gone")
        left.pop()
        return create(client, *arguments, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_or_die)
    return refused


def test_a_store_that_dies_while_trials_are_written_is_told_and_not_asked_again(
    project, store, monkeypatch
):
    with pytest.raises(StoreError) as raised, tracking.run(project, "train") as run_id:
        refused = dying_after(1, monkeypatch)
        with TrialWriter(run_id, RMSE) as writer:
            writer.write([TRIAL, TRIAL, TRIAL])
            writer.write([TRIAL])
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"
    assert len(refused) == 1
    assert [each.info.status for each in trials_of(store, run_id)] == ["FINISHED"]
    assert status(store, run_id) == "FAILED"


def test_an_error_of_the_step_is_told_before_one_of_its_trials(project, monkeypatch):
    with pytest.raises(RatchetError, match=r"^told$"), tracking.run(project, "train") as run_id:
        dying_after(0, monkeypatch)
        with TrialWriter(run_id, RMSE) as writer:
            writer.write([TRIAL])
            raise RatchetError("told")


def test_a_step_that_is_interrupted_leaves_out_trials_and_none_open(
    project, store, monkeypatch, running
):
    create, begun = mlflow.MlflowClient.create_run, threading.Event()

    def create_slowly(*arguments, **more):
        made = create(*arguments, **more)
        begun.set()
        time.sleep(0.2)
        return made

    with pytest.raises(InterruptionError), tracking.run(project, "train") as run_id:
        monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_slowly)
        with TrialWriter(run_id, RMSE) as writer:
            writer.write([TRIAL] * 20)
            assert begun.wait(60)
            raise KeyboardInterrupt
    assert 1 <= len(trials_of(store, run_id)) < 20
    assert {each.info.status for each in trials_of(store, run_id)} == {"FINISHED"}
    assert running() == []


def test_ctrl_c_while_the_last_trials_are_written_leaves_none_open(
    project, store, monkeypatch, running
):
    create = mlflow.MlflowClient.create_run

    def create_and_interrupt(*arguments, **more):
        made = create(*arguments, **more)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return made

    with pytest.raises(InterruptionError), tracking.run(project, "train") as run_id:
        monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_and_interrupt)
        write_trials(run_id, *[TRIAL] * 20)
    assert len(trials_of(store, run_id)) < 20
    assert running() == []


def test_a_trial_that_can_not_be_written_is_killed(project, store, monkeypatch, running):
    batch = mlflow.MlflowClient.log_batch

    def refuse(client, run_id, *rest, **more):
        if run_id != parent:
            raise MlflowException("too long")
        return batch(client, run_id, *rest, **more)

    with pytest.raises(StoreError, match=r"too long$"), tracking.run(project, "train") as parent:
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
        write_trials(parent, TRIAL)
    [trial] = trials_of(store, parent)
    assert trial.info.status == "KILLED"
    assert running() == []


# Learning curves


def test_a_short_learning_curve_has_a_point_for_each_round_in_the_metrics_direction():
    assert tracking.learning_curve("curve/rmse", (3.0, 2.0, 2.5), RMSE) == [
        Score("curve/rmse", 3.0, 1),
        Score("curve/rmse", 2.0, 2),
        Score("curve/rmse", 2.5, 3),
    ]
    assert tracking.learning_curve("c", (-0.5, -0.75), AUC) == [
        Score("c", 0.5, 1),
        Score("c", 0.75, 2),
    ]


@pytest.mark.parametrize("n", [100, 101, 199, 1000, 5000])
def test_a_long_learning_curve_keeps_its_first_its_last_and_its_best(n):
    random = np.random.default_rng(n)
    losses = random.random(n)
    points = tracking.learning_curve("curve/rmse", losses, RMSE)
    rounds = [point.step for point in points]
    assert len(points) <= 100
    assert rounds == sorted(set(rounds))
    assert {1, n, int(losses.argmin()) + 1} <= set(rounds)
    assert all(point.value == losses[point.step - 1] for point in points)
    assert max(np.diff(rounds)) <= max(1, 2 * n / 90)


def test_rounds_without_a_finite_loss_have_no_point():
    losses = (float("nan"), 2.0, float("inf"), 1.0)
    points = tracking.learning_curve("curve/rmse", losses, RMSE)
    assert points == [Score("curve/rmse", 2.0, 2), Score("curve/rmse", 1.0, 4)]
    assert tracking.learning_curve("curve/rmse", (), RMSE) == []


# Names


@pytest.mark.parametrize(
    ("models", "score", "name"),
    [
        (["catboost"], 0.27108, "catboost · rmse 0.2711"),
        (["a", "b", "c"], 23_487.12, "a+b+c · rmse 23,487"),
        (["a", "b", "a", "c", "d", "e"], 1.5, "a x2+b+c+2 more · rmse 1.5000"),
        (["a"], float("nan"), "a · rmse NaN"),
    ],
)
def test_a_run_is_named_by_its_models_and_their_score(models, score, name):
    assert tracking.run_name(models, RMSE, score) == name
    assert tracking.run_name(models, RMSE, score, step="train") == f"train · {name}"


# Models of others


@pytest.fixture
def theirs(store):
    """An experiment of somebody who has never heard of this project."""
    import mlflow

    mlflow.set_experiment("theirs")
    return mlflow


def test_a_pickled_model_is_refused_before_it_is_unpickled(theirs, monkeypatch):
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with theirs.start_run():
        info = theirs.sklearn.log_model(model, name="m", serialization_format="cloudpickle")
    monkeypatch.setattr("cloudpickle.load", lambda *_: pytest.fail("it was unpickled"))
    with pytest.raises(StoreError) as error:
        tracking.load_model(info.model_uri)
    assert str(error.value) == (
        f"The model {info.model_uri} is saved with cloudpickle, which may run any code when it is"
        " loaded. Log it with mlflow.sklearn.log_model and serialization_format='skops', or with"
        " mlflow.xgboost, mlflow.lightgbm, mlflow.catboost, mlflow.onnx."
    )


def test_a_model_of_another_library_is_loaded_in_its_own_format(theirs):
    from xgboost import XGBRegressor

    X = pd.DataFrame({"a": [0.0, 1.0, 2.0]})
    model = XGBRegressor(n_estimators=2).fit(X, [0.0, 1.0, 2.0])
    with theirs.start_run():
        info = theirs.xgboost.log_model(model, name="m", model_format="json")
    loaded = tracking.load_model(info.model_uri)
    assert list(loaded.predict(X)) == list(model.predict(X))

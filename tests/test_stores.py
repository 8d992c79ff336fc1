"""A store that is ill, busy or incomplete costs nobody what was done, and is told in a sentence."""

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import Clone, tiny_table
from sqlalchemy import event
from sqlalchemy.engine import Engine
from unsteady import Ill, Relay

from ratchet import tracking
from ratchet.commands import history, pipeline
from ratchet.errors import StoreError
from ratchet.project import Project
from ratchet.registry.ledger import Kind, Ledger
from ratchet.steps import prepare, promote, train
from ratchet.tracking import Param, Score

AGAIN = "Run the same command again when it does."


# A tracking server


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Hold a tracking server open; give its address."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    command = ["env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "mlflow", "server"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "served")]
    with Clone(folder).serve(*command, ready="/health") as address:
        yield address


@pytest.fixture
def relay(server: str, store: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """The way to the server, which is asked as often as ever, but without pauses."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with Relay(server).open() as relay:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.address)
        yield relay
        relay.health = Ill.WELL


def own(params: Path, name: str, *overrides: str) -> Project:
    """Open a project whose experiment and model nobody else has on the server."""
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    params.write_text(yaml.safe_dump({**values, "name": name}), encoding="utf-8")
    return Project.open(params, overrides)


def open_runs(project: Project) -> list[str]:
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(project.settings.experiment_name)
    runs = client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'")
    return [run.info.run_name for run in runs]


@pytest.mark.slow
def test_a_server_that_is_away_while_train_searches_is_not_missed(tiny, relay):
    project = own(tiny(), "away")
    prepare.run(project)
    illness = iter((Ill.DEAD, Ill.HANGING, Ill.WELL))

    def ended(_):
        relay.health = next(illness)

    leader = train.run(project, ended)
    run = mlflow.MlflowClient().get_run(leader.run_id)
    assert (run.info.status, leader.n_trials) == ("FINISHED", 3)
    assert open_runs(project) == []


@pytest.mark.slow
def test_a_server_that_stays_away_is_told_and_no_trial_is_tried_twice(tiny, relay):
    project = own(tiny(), "gone")
    prepare.run(project)
    tried = []

    def falling(ill):
        def ended(trial):
            tried.append(trial.resumed)
            if trial.number == 2:
                relay.health = ill
                relay.asked.clear()

        return ended

    for illness in (Ill.DEAD, Ill.HANGING, Ill.FAILING):
        with pytest.raises(StoreError) as raised:
            train.run(project, falling(illness))
        told = f"The tracking server at {relay.address} doesn't answer any more: "
        assert str(raised.value).startswith(told)
        assert str(raised.value).endswith(AGAIN)
        # What could not be written was tried five times; what says so at the end, once.
        assert max(Counter(relay.asked).values()) == 5
        assert relay.asked.count("POST /api/2.0/mlflow/runs/update") == 1
        assert not project.trained.exists()
        relay.health = Ill.WELL

    leader = train.run(project, falling(Ill.WELL))
    assert tried == [False] * 3 + [True] * 9
    assert mlflow.MlflowClient().get_run(leader.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_every_request_may_fail_once(tiny, relay):
    project = own(tiny(), "blinking")
    relay.health = Ill.BLINKING
    assert pipeline.run(project).promoted
    relay.health = Ill.WELL
    assert open_runs(project) == []
    assert history.read(project, verify=True).faults == ()


@pytest.mark.slow
def test_every_answer_may_be_lost_once_and_the_ledger_stays_whole(evaluated, relay):
    client = mlflow.MlflowClient(relay.address, relay.address)
    linear = own(evaluated, "forgetful")
    trees = own(evaluated.with_name("better.yaml"), "forgetful")
    relay.health = Ill.FORGETFUL
    assert promote.run(linear).promoted
    assert promote.run(trees).promoted
    relay.health = Ill.WELL
    found = history.read(linear, verify=True)
    assert found.faults == ()
    first, second = found.lines
    assert (first.kind, second.kind) == (Kind.PROMOTE, Kind.PROMOTE)
    assert second.before == first.champion
    aliases = client.get_registered_model("forgetful").aliases
    assert aliases == {"champion": str(second.champion), "previous": str(first.champion)}
    held = client.search_model_versions("name = 'forgetful'")
    assert [each.version for each in held if each.current_stage == "Production"] == [
        aliases["champion"]
    ]


@pytest.mark.slow
def test_a_slow_server_is_waited_for(tiny, relay):
    project = own(tiny(), "slow")
    relay.health = Ill.SLOW
    prepare.run(project)
    assert open_runs(project) == []


@pytest.mark.slow
def test_files_that_can_not_be_fetched_are_told_and_accuse_nobody(evaluated, relay, tmp_path):
    linear = own(evaluated, "no-files")
    trees = own(evaluated.with_name("better.yaml"), "no-files")
    assert promote.run(linear).promoted
    relay.only = "mlflow-artifacts"
    relay.health = Ill.FAILING
    for command in (lambda: history.read(linear, verify=True), lambda: promote.run(trees)):
        with pytest.raises(StoreError, match="too many 500 error responses"):
            command()
    relay.health = Ill.WELL
    found = history.read(linear, verify=True)
    assert (len(found.lines), found.faults) == (1, ())
    assert promote.run(trees).promoted


@pytest.mark.slow
def test_what_is_fetched_from_a_server_to_be_looked_at_does_not_stay(
    evaluated, relay, tmp_path, monkeypatch
):
    linear = own(evaluated, "tidy")
    trees = own(evaluated.with_name("better.yaml"), "tidy")
    assert promote.run(linear).promoted
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    challenger = promote.run(trees).run_id
    promote.run(linear, run_id=challenger)
    assert list((tmp_path / "scratch").iterdir()) == []


# A database


@contextmanager
def impatient() -> Iterator[None]:
    """Have MLflow wait for a lock of SQLite for a moment, and not for twenty seconds."""

    def shorten(_connection, _cursor, statement, parameters, _context, _many):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 200"), parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", shorten)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Write to a database for as long as the block takes, so that nobody else can."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def test_a_database_that_is_locked_for_too_long_is_told_and_nothing_is_lost(
    evaluated, store, call, caplog
):
    database = evaluated.parent.parent / "mlflow.db"
    with impatient(), locked(database):
        code, out, err = call("promote", "--params", evaluated)
    assert (code, out) == (2, "")
    assert err.strip().endswith(
        f"The database sqlite:///{database} is locked by other programs, for longer than MLflow"
        " waits. Run the same command again; where many write at once, start an MLflow server on"
        " PostgreSQL."
    )
    assert "Traceback" not in err + caplog.text
    assert call("promote", "--params", evaluated, "--strict")[0] == 0
    ledger = Ledger.find(Project.open(evaluated).settings)
    assert (len(ledger.lines()), list(ledger.faults())) == (1, [])


def test_eight_that_write_to_one_database_at_once_all_get_through(project, store, running):
    start = threading.Barrier(8)

    def work(number):
        start.wait(60)
        for at in range(5):
            run = store.create_run(experiment, run_name=f"{number} {at}").info.run_id
            tracking.write(run, [Param("number", number), Score("at", at), Score("at", at, 1)])
            store.set_terminated(run)

    experiment = tracking.experiment(project)
    with ThreadPoolExecutor(8) as together:
        list(together.map(work, range(8)))
    found = store.search_runs([experiment], "params.number LIKE '%'")
    assert len({run.info.run_name for run in found}) == 40
    assert {run.data.metrics["at"] for run in found} == {0, 1, 2, 3, 4}
    assert running() == []


# Artifacts


@pytest.fixture
def gone(project, store) -> Path:
    """The champion's files are gone; give where they were."""
    assert promote.run(project).promoted
    place = Path(store.get_model_version("tiny", "1").source.removeprefix("file://"))
    shutil.rmtree(place)
    return place


def test_a_model_that_lacks_a_file_is_told(project, store):
    assert promote.run(project).promoted
    place = Path(store.get_model_version("tiny", "1").source.removeprefix("file://"))
    (place / "model.skops").unlink()
    with pytest.raises(StoreError, match=r"models:/tiny/1 can't be had: model\.skops is not among"):
        tracking.load_model("models:/tiny/1")


def test_a_champion_without_its_files_is_told_by_whoever_needs_them(
    gone, project, evaluated, call, tmp_path
):
    rows = tmp_path / "new.parquet"
    tiny_table(50, seed=3).to_parquet(rows)
    for command in (
        ("promote", "--params", evaluated.with_name("better.yaml")),
        ("predict", "--data", rows, "--params", evaluated, "--out", tmp_path / "answers.csv"),
        ("monitor", "--data", rows, "--params", evaluated),
        ("serve", "--params", evaluated),
    ):
        code, _, err = call(*command)
        told = " ".join(err.split())
        assert code == 2, command
        assert "The files of the model models:/tiny/1 can't be had: " in told, command
        assert "`rollback` and `promote --force` put another in its place." in told, command
    assert [line.kind for line in Ledger.find(project.settings).lines()] == [Kind.PROMOTE]


def test_a_champion_without_its_files_is_replaced_by_force(gone, better):
    decision = promote.run(better, force=True, reason="the files of the champion are gone")
    assert decision.promoted
    [gate] = [each for each in decision.gates if each.name == "better_than_champion"]
    assert not gate.passed
    assert gate.reason.startswith("version 1, the champion, can't be compared: The files of")


def test_an_object_store_that_is_dead_is_told(tiny, store, call, running, monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    store.create_experiment("tiny", artifact_location="s3://bucket/runs")
    code, _, err = call("prepare", "--params", tiny())
    told = " ".join(err.split())
    assert code == 2
    assert "keeps its artifacts, something failed: " in told
    assert "127.0.0.1:1" in told
    assert running() == []


def test_the_stage_follows_the_alias_when_the_next_command_finds_them_apart(
    project, better, store, monkeypatch
):
    from ratchet.registry import champion

    monkeypatch.setattr(champion, "_PAUSE", 0.01)
    promote.run(project)
    promote.run(better)
    store.transition_model_version_stage("tiny", "1", "Production")  # and nobody is archived
    assert not promote.run(better).is_new
    held = {each.version: each.current_stage for each in store.search_model_versions("name='tiny'")}
    assert held == {1: "Archived", 2: "Production"}
    assert len(Ledger.find(project.settings).lines()) == 2


def test_whoever_made_a_line_is_left_to_carry_it_out(project, better, store, monkeypatch):
    from ratchet.registry import champion

    carry_out, waited = champion.carry_out, []

    def late(settings, ledger, line, sign=None):
        monkeypatch.setattr(champion, "carry_out", carry_out)
        with ThreadPoolExecutor(1) as other:
            settled = other.submit(champion.settle, settings, ledger.experiment_id)
            time.sleep(0.5)
            waited.append(not settled.done() and store.get_registered_model("tiny").aliases)
            done = carry_out(settings, ledger, line, sign)
            assert settled.result(60).champion.number == 2
        return done

    promote.run(project)
    monkeypatch.setattr(champion, "carry_out", late)
    assert promote.run(better).version == 2
    assert waited == [{"champion": 1}]

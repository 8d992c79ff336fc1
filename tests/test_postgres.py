"""On a team's server, a real one on a real PostgreSQL, decisions at once stay in one order."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import database
import mlflow
import pytest
import yaml
from conftest import PATIENCE, Clone, tiny_settings, tiny_table
from database import Database
from forks import processes, warm
from test_champion import at_once, check_that_one_won, holders

from ratchet import cost
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.ledger import Kind
from ratchet.settings import from_mapping
from ratchet.steps import evaluate, prepare, train

# One worker runs all that needs the database: it and the server take seconds to start.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

DECISIONS = (Kind.PROMOTE, Kind.REFUSE, Kind.PROMOTE, Kind.PROMOTE)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """Hold an empty PostgreSQL open, which only its socket leads to."""
    with database.postgres("ratchet") as held:
        yield held


@pytest.fixture(scope="session")
def server(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Hold a tracking server on PostgreSQL open; give its address."""
    folder = tmp_path_factory.mktemp("server")
    # Else the server starts seven processes for jobs, which nobody here gives it.
    command = ["env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "mlflow", "server"]
    command += ["--backend-store-uri", postgres.uri]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "2"]
    with Clone(folder).serve(*command, ready="/health") as address:
        yield address


@pytest.fixture
def store(server, monkeypatch):
    """The server, as the store of this process and its children."""
    mlflow.set_tracking_uri(None)  # which takes it out of the environment, too
    mlflow.set_registry_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    # Set by MLflow and by ourselves, and a later test must not find them.
    for name in ("REGISTRY_URI", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")
        monkeypatch.delenv(f"MLFLOW_{name}")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def prepared(store, tmp_path, monkeypatch):
    """Rows for a linear model and, in ``better.yaml``, for trees."""
    monkeypatch.setattr(cost, "_SECONDS", 0.01)
    (tmp_path / "data").mkdir()
    tiny_table().to_parquet(tmp_path / "data" / "rows.parquet")
    for name, family in {"better.yaml": "xgboost", "params.yaml": "ridge"}.items():
        values = tiny_settings(train__families=["baseline", family])
        (tmp_path / name).write_text(yaml.safe_dump(values), encoding="utf-8")
        opened = Project.open(tmp_path / name)
        prepare.run(opened)
    return opened


@pytest.fixture
def project(prepared):
    """A linear model and, in ``better.yaml``, trees, which are better for sure; both trained."""
    for opened in (Project.open(prepared.root / "better.yaml"), prepared):
        train.run(opened)
        evaluate.run(opened)
    return prepared


def test_of_two_promotions_at_once_on_a_server_one_wins_and_the_other_judges_again(
    project, store, server
):
    told = at_once(server, project.params_file, project.root / "better.yaml")
    check_that_one_won(project, told)
    found = store.search_model_versions("name = 'tiny'")
    assert len(found) == sum(outcome == "promoted" for _, outcome, _ in told)
    best = champion.current(project.settings).number
    assert aliases_of(store, "tiny")["champion"] == best
    assert holders(store) == [best]


# A restart


@pytest.mark.parametrize("door", ["server", "database"])
def test_a_search_outlives_a_restart_of_the_database(
    prepared, postgres, server, tmp_path, monkeypatch, door
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    if door == "database":
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.uri)
        monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts of experiments that it makes
    opened = Project.open(prepared.params_file, [f"tracking.experiment=restart-{door}"])
    back = threading.Timer(1.0, postgres.start)

    def ended(trial):
        if trial.number == 0:
            postgres.stop()
        if trial.number == 2:
            back.start()  # while the run's words are written already

    leader = train.run(opened, ended)
    back.join()
    client = mlflow.MlflowClient()
    run = client.get_run(leader.run_id)
    assert run.info.status == "FINISHED"
    trials = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{leader.run_id}'"
    )
    assert [each.info.status for each in trials] == ["FINISHED"] * 3


# Many decisions


def decide_often(settings, experiment, server, barrier):
    os.environ["MLFLOW_TRACKING_URI"] = server
    client = mlflow.MlflowClient()
    barrier.wait(PATIENCE)
    for kind in DECISIONS:
        run = client.create_run(experiment).info.run_id
        client.set_terminated(run)
        logged = client.create_logged_model(experiment, name="model", source_run_id=run)
        line = None
        while line is None:
            standing = champion.settle(settings, experiment)
            line = standing.ledger.begin(
                kind=kind,
                after=standing.lines,
                run_id=run,
                before=standing.champion.number if standing.champion else None,
                version=None,
                reason=f"to see whether {kind} holds",
                basis="b",
                evidence={"model_uri": f"models:/{logged.model_id}", "tags": {"made.by": run}},
                tags={"ratchet.model": settings.model_name},
            )
        if line.kind.moves:
            champion.carry_out(settings, standing.ledger, line)


def test_every_one_of_many_decisions_at_once_on_a_server_is_told_once(store, server):
    settings = from_mapping(
        {"name": "many", "data": {"source": "data", "target": "y"}}, origin="here"
    )
    experiment = store.create_experiment("many")
    warm()
    barrier = processes.Barrier(3)
    children = [
        processes.Process(target=decide_often, args=(settings, experiment, server, barrier))
        for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)
        assert child.exitcode == 0

    standing = champion.settle(settings, experiment)
    lines = standing.lines
    assert Counter(line.kind for line in lines) == Counter(DECISIONS * 3)
    assert len({line.run_id for line in lines}) == len(lines)
    moves = [line for line in lines if line.kind.moves]
    versions = {line.champion: line for line in moves}
    assert len(versions) == len(moves)
    assert None not in versions
    # Each was decided against the champion that the one before it had made.
    assert [line.before for line in moves] == [None, *(line.champion for line in moves[:-1])]
    for above, below in pairwise(lines):
        assert below.before == (above.champion if above.kind.moves else above.before)
    assert list(standing.ledger.faults()) == []

    assert standing.champion.number == moves[-1].champion
    assert aliases_of(store, "many") == {
        "champion": moves[-1].champion,
        "previous": moves[-2].champion,
    }
    assert holders_of(store, "many") == [moves[-1].champion]
    found = store.search_model_versions("name = 'many'")
    assert {int(each.version): each.tags["made.by"] for each in found} == {
        number: line.run_id for number, line in versions.items()
    }


def aliases_of(store, model):
    aliases = store.get_registered_model(model).aliases
    return {alias: int(number) for alias, number in aliases.items()}


def holders_of(store, model):
    found = store.search_model_versions(f"name = '{model}'")
    return [int(each.version) for each in found if each.current_stage == "Production"]

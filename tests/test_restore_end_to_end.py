"""DVC skips what it has in its cache, and another store ends up complete all the same."""

import json
import shutil
import sqlite3

import mlflow
import pytest
from conftest import Clone, described

# One worker runs all that needs the clones: making them takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

CACHED = ("prepare", "train", "evaluate")
ONLY_PROMOTE = ["> python src promote"]


def ran(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("> ")]


def ids(clone: Clone) -> dict[str, str]:
    """Give the ids that the runs had when the outputs were made."""
    folders = {"prepare": "prepared", "train": "train", "evaluate": "evaluate"}
    return {
        step: json.loads((clone.root / "build" / folder / "run.json").read_text())["run_id"]
        for step, folder in folders.items()
    }


def decision(clone: Clone) -> dict:
    """Give what was decided, but for ids and the time of day."""
    value = json.loads((clone.root / "build" / "promote" / "decision.json").read_text())
    kept = ("outcome", "kind", "reason", "model", "version", "champion", "metric", "score", "gates")
    return {name: value[name] for name in kept}


def in_store(client: mlflow.MlflowClient) -> dict[str, list]:
    """Give the runs of a store by their step."""
    found: dict[str, list] = {}
    experiments = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(experiments, max_results=1000):
        found.setdefault(run.data.tags.get("ratchet.step", "none"), []).append(run)
    return found


@pytest.fixture(scope="module")
def first(fresh_clone):
    """A clone after ``dvc repro``, its lock committed and its outputs pushed to a remote."""
    clone = fresh_clone("cached")
    clone.run("dvc", "repro", "--pull")
    clone.run("dvc", "remote", "add", "--local", "team", str(clone.root.parent / "remote"))
    clone.run("dvc", "push", "--quiet", "--remote", "team")
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "lock")
    return clone


@pytest.fixture(scope="module")
def said(first):
    """What the runs said in the first store."""
    return {step: described(first.client(), run_id) for step, run_id in ids(first).items()}


def again(clone: Clone) -> mlflow.MlflowClient:
    """Give a client of a new database: by its usual name MLflow still holds the old one open."""
    store = f"sqlite:///{clone.root}/./mlflow.db"
    return mlflow.MlflowClient(store, registry_uri=store)


def assert_complete(client: mlflow.MlflowClient, clone: Clone, said: dict) -> None:
    """Every run is there once, whole, and the champion is the leader."""
    runs = in_store(client)
    first = ids(clone)
    for step in CACHED:
        [run] = runs[step]
        assert run.data.tags["ratchet.restored_from"] == first[step]
        found = described(client, run.info.run_id)
        for part, expected in said[step].items():
            assert found[part] == expected, (step, part)
    assert len(runs["promote"]) == 1
    assert len(runs["trial"]) == len(said["train"]["trials"]) == 4
    assert {run.info.status for each in runs.values() for run in each} == {"FINISHED"}
    [train] = runs["train"]
    champion = client.get_model_version_by_alias("green-taxi-duration", "champion")
    assert (int(champion.version), champion.run_id) == (1, train.info.run_id)
    assert train.data.tags["ratchet.prepare_run"] == runs["prepare"][0].info.run_id
    assert train.data.tags["ratchet.evaluate_run"] == runs["evaluate"][0].info.run_id


def test_a_store_that_was_removed_is_complete_after_a_repro(first, said):
    decided, before = decision(first), (first.root / "dvc.lock").read_text().split("promote:")[0]
    kept = first.root.parent / "mlflow.db"
    with sqlite3.connect(first.root / "mlflow.db") as source, sqlite3.connect(kept) as copy:
        source.backup(copy)
    for path in first.root.glob("mlflow.db*"):
        path.unlink()
    try:
        printed = first.run("dvc", "repro")
        assert ran(printed) == ONLY_PROMOTE
        assert printed.count("is not in this store; logged again from build/") == len(CACHED)
        assert decision(first) == decided
        assert_complete(again(first), first, said)
        assert first.run("dvc", "status", *CACHED).strip() == "Data and pipelines are up to date."
        assert (first.root / "dvc.lock").read_text().split("promote:")[0] == before
        printed = first.run("dvc", "repro")
        assert "logged again" not in printed
        assert "no new candidate" in printed
        assert_complete(again(first), first, said)
        shown = first.run("python", "src", "status")
        assert "promoted   yes, as version 1 of green-taxi-duration" in shown
        assert "not in this store" not in shown
    finally:
        for path in first.root.glob("mlflow.db*"):
            path.unlink()
        shutil.move(kept, first.root / "mlflow.db")


@pytest.fixture(scope="module")
def colleague(first):
    """A fresh clone of the committed lock, whose outputs come out of the remote."""
    clone = Clone(first.root.parent / "colleague")
    first.run("git", "clone", "--quiet", str(first.root), str(clone.root))
    clone.run("dvc", "remote", "add", "--local", "team", str(first.root.parent / "remote"))
    clone.run("dvc", "pull", "--quiet", "--remote", "team", "--allow-missing")
    return clone


def test_a_fresh_clone_with_outputs_from_a_remote_fills_a_team_server(first, colleague, said):
    store = f"sqlite:///{colleague.root.parent / 'team.db'}"
    command = (
        *("mlflow", "server", "--workers", "1", "--backend-store-uri", store),
        *("--artifacts-destination", str(colleague.root.parent / "team")),
    )
    with colleague.serve(*command, ready="/health") as address:
        printed = colleague.run("dvc", "repro", MLFLOW_TRACKING_URI=address)
        assert ran(printed) == ONLY_PROMOTE
        assert decision(colleague) == decision(first)
        client = mlflow.MlflowClient(address, registry_uri=address)
        assert_complete(client, colleague, said)
        assert not (colleague.root / "mlflow.db").exists()

        again = colleague.run("dvc", "repro", MLFLOW_TRACKING_URI=address)
        assert "logged again" not in again
        assert "no new candidate" in again
        assert_complete(client, colleague, said)

        script = (
            "import sys, mlflow, pandas as pd;"
            "model = mlflow.pyfunc.load_model(sys.argv[1]);"
            "rows = pd.read_parquet('build/prepared/test.parquet');"
            "names = [each.name for each in model.metadata.signature.inputs];"
            "print(list(model.predict(rows[names])))"
        )
        served, built = (
            colleague.run("python", "-W", "ignore", "-c", script, uri, MLFLOW_TRACKING_URI=address)
            for uri in ("models:/green-taxi-duration@champion", "build/train/model")
        )
        assert served.splitlines()[-1] == built.splitlines()[-1]
        assert served.splitlines()[-1].startswith("[")

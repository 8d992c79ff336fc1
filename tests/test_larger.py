"""Rows that do not fit: XGBoost learns from disk, others on a sample, and all are judged."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_table

from ratchet import backends, memory
from ratchet.backends import Request, Rows, Stream, Task
from ratchet.course import Record
from ratchet.model import predict
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.serving import models
from ratchet.steps import evaluate, parts, prepare, promote, train
from ratchet.steps.tested import Tested

FAMILIES = ["baseline", "ridge", "xgboost"]


@pytest.fixture
def small_memory(monkeypatch):
    """Have parts of hundreds of rows not fit, and samples of them of 60 rows."""

    def shrink() -> None:
        monkeypatch.setattr(memory, "COPIES", 10**6)
        monkeypatch.setattr(parts, "LEAST_SAMPLE", 60)
        monkeypatch.setattr(parts, "SHARE_OF_SAMPLE", 1e-9)

    return shrink


@pytest.fixture
def trained(tiny, store, small_memory, monkeypatch) -> Project:
    """A leader of 600 rows, of which 60 fit."""
    project = outsized(tiny)
    small_memory()
    monkeypatch.setattr("ratchet.bench.ROWS_OF_BATCH", 100)
    train_after(project)
    return project


def outsized(tiny) -> Project:
    params = tiny(
        tiny_table(600),
        train__families=FAMILIES,
        train__search={"budget_seconds": None, "max_trials": 4},
        data__memory_limit_mb=1,
    )
    return Project.open(params)


def train_after(project: Project) -> None:
    prepare.run(project)
    train.run(project)


def request(stream: Stream | None, rows: Rows, threads: int = 2, **changes: object) -> Request:
    given = {
        "family": "xgboost",
        "params": {"max_depth": 4, "n_estimators": 20},
        "task": Task(ProblemType.REGRESSION, len(rows.y), rows.X.shape[1]),
        "train": rows,
        "valid": None,
        "categorical": np.zeros(rows.X.shape[1], dtype=bool),
        "metric": "rmse",
        "threads": threads,
        "seed": 1,
        "stream": stream,
        **changes,
    }
    return Request(**given)


def numbers(n: int = 4000) -> Rows:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    return Rows(X, X[:, 0] * 2 + np.sin(3 * X[:, 1]) + rng.normal(scale=0.1, size=n))


def in_batches(rows: Rows, folder: Path, size: int = 700) -> Stream:
    def batches():
        for at in range(0, len(rows.y), size):
            weights = None if rows.weights is None else rows.weights[at : at + size]
            yield Rows(rows.X[at : at + size], rows.y[at : at + size], weights)

    return Stream(batches, len(rows.y), folder)


def test_xgboost_learns_from_batches_what_it_learns_at_once(tmp_path):
    rows = numbers()
    backend = backends.get("xgboost")
    few = Rows(rows.X[:50], rows.y[:50])
    from_disk = backend.fit(request(in_batches(rows, tmp_path), few)).estimator
    at_once = backend.fit(request(None, rows)).estimator
    on_few = backend.fit(request(None, few)).estimator
    errors = [
        float(np.mean((each.predict(rows.X) - rows.y) ** 2))
        for each in (from_disk, at_once, on_few)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert errors[2] > 2 * errors[0]
    assert not list(tmp_path.iterdir())


def test_what_learned_from_disk_is_the_same_bytes_each_time_and_travels_without_pages(tmp_path):
    rows = numbers()
    backend = backends.get("xgboost")
    made = [
        backend.fit(request(in_batches(rows, tmp_path), Rows(rows.X[:50], rows.y[:50]))).estimator
        for _ in range(2)
    ]
    first, second = (bytes(each.get_booster().save_raw("ubj")) for each in made)
    assert first == second
    assert not hasattr(made[0], "_pages")
    assert "_create_dmatrix" not in vars(made[0])


def test_classes_of_batches_are_those_of_all_rows(tmp_path):
    rows = numbers(900)
    codes = np.digitize(rows.y, [-1.0, 1.0]).astype("int64")
    X = rows.X[np.argsort(codes, kind="stable")]
    y = np.sort(codes)
    task = Task(ProblemType.MULTICLASS, 900, 4, 3)
    few = Rows(X[:40], y[:40])  # of one class
    stream = in_batches(Rows(X, y, np.ones(900)), tmp_path, size=100)
    fitted = backends.get("xgboost").fit(request(stream, few, task=task)).estimator
    assert fitted.predict_proba(X).shape == (900, 3)
    assert (fitted.predict(X) == y).mean() > 0.9


def test_one_trial_learns_from_all_rows_the_others_from_a_sample_and_all_say_so(
    tiny, store, small_memory, caplog
):
    caplog.set_level("INFO", "ratchet")
    project = outsized(tiny)
    small_memory()
    train_after(project)
    leader = train.Leader.load(project)
    assert leader.sampled == 120
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials["share"].round(4).tolist() == [round(60 / 384, 4)] * 4 + [1.0]
    assert trials.iloc[-1]["family"] == "xgboost"
    # Trees on 384 rows know more than anything on 60.
    assert leader.name == "xgboost"
    assert leader.n_rows == leader.members[0]["n_rows"] == 480
    assert len(np.load(project.trained / train.ROWS_FILE)) == 480
    assert not list(project.build.glob(".pages-*"))
    told = next(line for line in caplog.messages if "do not fit in memory" in line)
    assert told.endswith(
        "the families learn on a sample of 60 rows, 60 choose among them, and xgboost learns on"
        " all rows from disk"
    )
    run = store.get_run(leader.run_id)
    assert run.data.params["leader.sampled_rows"] == "120"
    note = run.data.tags["mlflow.note.content"]
    assert "more than fit in memory: the search had a sample of 120" in note
    sizes = {
        each.dataset.name: json.loads(each.dataset.profile)["num_rows"]
        for each in run.inputs.dataset_inputs
    }
    assert sizes == {"tiny-train": 384, "tiny-valid": 96}


def test_a_search_of_a_sample_is_replayed_on_the_same_sample_whatever_memory_there_is(
    trained, store, monkeypatch, tmp_path
):
    record = tmp_path / "search.json"
    record.write_bytes((trained.trained / train.SEARCH_FILE).read_bytes())
    assert Record.load(record).course.sampled == (60, 60)
    schema = Schema.load(trained.prepared / "schema.json")
    rows = prepare.read_part(trained, "test")
    before = predict(models.load(trained, str(trained.trained / "model")), rows, schema).values
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setattr("ratchet.bench.ROWS_OF_BATCH", 100)
    roomy = Project.open(trained.params_file, ["data.memory_limit_mb=100000"])
    leader = train.run(roomy, replay=record)
    after = predict(models.load(roomy, str(roomy.trained / "model")), rows, schema).values
    assert leader.sampled == 120
    np.testing.assert_array_equal(before, after)


def test_all_test_rows_are_judged_and_a_sample_of_them_is_in_memory(trained, monkeypatch):
    schema = Schema.load(trained.prepared / "schema.json")
    tested = Tested.of(trained, schema, ["town"])
    assert (tested.n_rows, len(tested.everyone), len(tested.rows)) == (120, 120, 60)
    assert list(tested.everyone) == ["town", "price", prepare.ROW]
    asked = models.load(trained, str(trained.trained / "model"))
    said = tested.predict(asked)
    assert len(said.values) == 120
    _, [here] = tested.here(np.zeros(120), said)
    np.testing.assert_array_equal(here.values, predict(asked, tested.rows, schema).values)
    leads = evaluate.run(trained)
    numbers = json.loads((trained.evaluated / "metrics.json").read_text())
    assert promote.run(trained, dry_run=True).promoted
    monkeypatch.setattr(memory, "COPIES", 1)
    whole = evaluate.run(trained)
    assert leads.n_rows == whole.n_rows == 120
    assert numbers == json.loads((trained.evaluated / "metrics.json").read_text())


def test_a_limit_leaves_so_much_for_a_sample(tiny, store):
    project = Project.open(tiny(tiny_table(60_000)), ["data.memory_limit_mb=1"])
    prepare.run(project)
    part = parts.part(project, "train")
    assert part.places is not None
    assert len(part.places) == parts.LEAST_SAMPLE
    assert parts.part(Project.open(project.params_file), "train").places is None


@pytest.mark.parametrize(
    ("megabytes", "n_bytes", "fits"),
    [(60, 10 * 2**20, True), (59, 10 * 2**20, False)],
)
def test_a_table_fits_with_its_copies(megabytes, n_bytes, fits):
    assert memory.fits(n_bytes, megabytes) is fits


def test_memory_is_what_is_free_here_or_in_the_container():
    assert 0 < memory.available() <= memory.psutil.virtual_memory().total
    assert memory.limit(None) < memory.available() * 1.5


def test_ctrl_c_while_pages_are_made_comes_through(tmp_path):
    rows, asked = numbers(2000), []
    whole = in_batches(rows, tmp_path, size=300)

    def batches():
        for batch in whole.batches():
            asked.append(len(batch.y))
            if len(asked) == 10:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        backends.get("xgboost").fit(request(replace(whole, batches=batches), rows))
    assert len(asked) == 10
    assert not list(tmp_path.iterdir())

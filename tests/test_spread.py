"""Boosted trees over a cluster: as good as at once, and a lost worker doesn't end them."""

import signal
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.metrics import log_loss
from test_larger import in_batches, numbers, outsized, request, small_memory, train_after
from test_scheduled import cluster

from ratchet import backends
from ratchet.backends import Rows, Task, spread, xgboost
from ratchet.executor import dealing
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.settings import Engine, Execution
from ratchet.steps import train

__all__ = ["cluster", "small_memory"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_a_worker_that_is_killed_in_mid_training_leaves_the_others_to_go_on_from_a_checkpoint(
    cluster, tmp_path, monkeypatch, tiny, small_memory, name
):
    address, _, workers = cluster
    monkeypatch.setattr(spread, "ROUNDS", 5)
    # A minute is for networks that stutter, and whoever is left waits for all of it.
    monkeypatch.setattr(xgboost, "_SILENT", 20)
    rows = numbers()
    valid = Rows(rows.X[:500], rows.y[:500])
    here = in_batches(Rows(rows.X[500:], rows.y[500:]), tmp_path)
    dealt: list[int] = []
    told: list[float] = []

    def batches() -> Iterator[Rows]:
        dealt.append(len(told))
        return here.batches()

    def loss(said: np.ndarray) -> float:
        told.append(float(np.mean((said - valid.y) ** 2)))
        if len(told) == 5:
            workers[0].kill()
        if len(told) == 10:
            workers[0].wait(60)
        return told[-1]

    execution = Execution(engine=Engine.DASK, address=address)
    stream = replace(here, batches=batches, execution=execution)
    params = {"max_depth": 4, "n_estimators": 60}
    few = Rows(rows.X[:40], rows.y[:40])
    backend = backends.get(name)
    fitted = backend.fit(request(stream, few, params=params, valid=valid, loss=loss))
    # The rows were dealt again, and what had been grown by then was not grown again.
    assert dealt[0] == 0
    assert dealt[1:]
    assert min(dealt[1:]) >= 5
    assert len(told) == len(fitted.curve) == 60
    assert fitted.params["n_estimators"] == int(np.argmin(told)) + 1
    at_once = backend.fit(request(None, rows, params=params)).estimator
    error, usual = (
        float(np.mean((each.predict(rows.X) - rows.y) ** 2)) for each in (fitted.estimator, at_once)
    )
    assert error == pytest.approx(usual, rel=0.25)

    # The step does the same with the worker that is left, and says what cannot be made again.
    monkeypatch.setattr(spread, "ROUNDS", 50)
    project = outsized(tiny)
    small_memory()
    short = f"train.families=[{name}] train.backends={{{name}: {{n_estimators: 30}}}}"
    over = f"execution.engine=dask execution.address={address}"
    train_after(Project.open(project.params_file, [short, over]))
    leader = train.Leader.load(project)
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials.iloc[-1][["family", "share"]].tolist() == [name, 1.0]
    assert leader.name == name
    assert leader.n_rows == 480
    record = (project.trained / train.SEARCH_FILE).read_text()
    assert "the workers of a cluster add up their parts of the rows" in record


def learners(workers) -> list[psutil.Process]:
    """List the programs that workers have started to learn."""
    found = [
        child for each in workers for child in psutil.Process(each.pid).children(recursive=True)
    ]
    return [each for each in found if "learner.py" in " ".join(each.cmdline())]


@pytest.mark.slow
def test_learners_of_lightgbm_learn_together_what_one_learns_and_say_what_one_has_failed_of(
    cluster, tmp_path, monkeypatch
):
    address, _, workers = cluster
    monkeypatch.setattr(spread, "ROUNDS", 8)
    monkeypatch.setattr(dealing, "_NOTICED", 1.0)
    backend = backends.get("lightgbm")
    execution = Execution(engine=Engine.DASK, address=address)
    few = slice(0, 40)
    rows = numbers(3000)
    kinds = np.digitize(rows.X[:, 3], [-0.5, 0.5]).astype("float64")
    X = np.column_stack([rows.X[:, :3], kinds])
    categorical = np.array([False, False, False, True])
    y = rows.y + 3 * (kinds == 1)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    params = {"n_estimators": 20, "num_leaves": 15}
    beside: list[int] = []

    def square(said: np.ndarray) -> float:
        beside.append(len(learners(workers)))
        return float(np.mean((said - y[:500]) ** 2))

    def deal(target: np.ndarray, loss) -> dict[str, object]:
        stream = in_batches(Rows(X[500:], target[500:], weights[500:]), tmp_path)
        return {
            "stream": replace(stream, execution=execution),
            "rows": Rows(X[few], target[few], weights[few]),
            "valid": Rows(X[:500], target[:500]),
            "loss": loss,
            "params": params,
            "categorical": categorical,
        }

    fitted = backend.fit(request(**deal(y, square)))
    assert set(beside) == {2}
    assert len(fitted.curve) == 20
    # What the watch was told is what the model says.
    best = fitted.estimator.predict(X[:500])
    assert min(fitted.curve) == pytest.approx(float(np.mean((best - y[:500]) ** 2)))
    at_once = backend.fit(
        request(None, Rows(X[500:], y[500:], weights[500:]), params=params, categorical=categorical)
    )
    usual = float(np.mean((at_once.estimator.predict(X[:500]) - y[:500]) ** 2))
    assert min(fitted.curve) == pytest.approx(usual, rel=0.1)

    for edges in ([0.0], [-1.0, 1.0]):
        codes = np.digitize(y, edges)
        problem = ProblemType.BINARY if len(edges) == 1 else ProblemType.MULTICLASS
        task = Task(problem, len(y), 4, len(edges) + 1)

        def loss(said: np.ndarray, codes: np.ndarray = codes) -> float:
            return float(log_loss(codes[:500], said))

        fitted = backend.fit(request(task=task, **deal(codes, loss)))
        said = fitted.estimator.predict_proba(X[:500])
        assert said.shape == (500, len(edges) + 1)
        assert min(fitted.curve) == pytest.approx(loss(said))
        assert min(fitted.curve) < 0.5 * fitted.curve[0]
    assert not learners(workers)

    victims = []

    def deadly(said: np.ndarray) -> float:
        if not victims:
            victims.append(learners(workers)[0])
            victims[0].send_signal(signal.SIGKILL)
        return float(np.mean((said - y[:500]) ** 2))

    # No worker is lost: another begin would end as this one did.
    with pytest.raises(
        ConnectionError, match=r"LightGBM's learner at tcp://.* was killed by signal 9"
    ):
        backend.fit(request(**deal(y, deadly)))
    assert not learners(workers)

"""Boosted trees over a cluster: as good as at once, and a lost worker doesn't end them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_larger import in_batches, numbers, outsized, request, small_memory, train_after
from test_scheduled import cluster

from ratchet import backends
from ratchet.backends import Rows, spread
from ratchet.project import Project
from ratchet.settings import Engine, Execution
from ratchet.steps import train

__all__ = ["cluster", "small_memory"]


@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_training_leaves_the_others_to_go_on_from_a_checkpoint(
    cluster, tmp_path, monkeypatch, tiny, small_memory
):
    address, _, workers = cluster
    monkeypatch.setattr(spread, "ROUNDS", 5)
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
    backend = backends.get("xgboost")
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
    short = "train.families=[xgboost] train.backends={xgboost: {n_estimators: 30}}"
    over = f"execution.engine=dask execution.address={address}"
    train_after(Project.open(project.params_file, [short, over]))
    leader = train.Leader.load(project)
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials.iloc[-1][["family", "share"]].tolist() == ["xgboost", 1.0]
    assert leader.name == "xgboost"
    assert leader.n_rows == 480
    record = (project.trained / train.SEARCH_FILE).read_text()
    assert "the workers of a cluster add up their parts of the rows" in record

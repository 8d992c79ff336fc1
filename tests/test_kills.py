"""Killed at any write, a step leaves what was there or what is new, and the next call finishes."""

import os
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from conftest import tiny_table
from walking import killed_at, stopped_at_each

from ratchet import table, tracking
from ratchet.commands import retrain
from ratchet.commands.retrain import Answer, Retraining
from ratchet.drift import DriftReport
from ratchet.project import Project
from ratchet.runfile import RunFile
from ratchet.schema import Schema
from ratchet.steps import evaluate, monitor, prepare, promote, train
from ratchet.steps.train import Leader

# So many writes from one kill to the next, in place of what each test takes.
EVERY = int(os.environ.get("RATCHET_STRIDE", 0))
STEPS = {"prepare": prepare.run, "train": train.run, "evaluate": evaluate.run}


def step(name: str, params: Path) -> None:
    STEPS[name](Project.open(params))


def watch(params: Path, rows: Path) -> None:
    monitor.run(Project.open(params), rows)


def take_in(params: Path, rows: Path) -> None:
    retrain.run(Project.open(params), given=rows)


def walk(
    project: Project,
    running: Callable[[], list[str]],
    check: Callable[[], object],
    do: Callable[..., None],
    *arguments: object,
    stride: int,
) -> list[str]:
    """Kill a call again and again, each time a few writes later; then look before every write.

    Each call finds what the one before it has left, until one comes to its end.
    ``RATCHET_STRIDE=1`` in the environment kills at every write, for some minutes.
    """
    stride = EVERY or stride
    where = {"uri": mlflow.get_tracking_uri(), "folder": project.root.parent}
    at = 1
    while killed_at(at, do, *arguments, **where):
        tracking.connect(project)
        assert running() == []
        check()
        at += stride
    assert at > 3 * stride
    writes = []
    for write in stopped_at_each(do, *arguments, **where):
        writes.append(write)
        check()
    # A call after a killed one writes more: it closes the run of the other first.
    assert len(writes) > at - (20 if EVERY else 2 * stride)
    return writes


def whole(project: Project, name: str, folder: Path, store: mlflow.MlflowClient) -> str:
    """Make sure that a folder is whole and of a run that is; give the id of that."""
    kept = RunFile.load(folder, made_by=name)
    assert store.get_run(kept.run_id).info.status == "FINISHED"
    for each in kept.artifacts:
        assert each.text is not None or (folder / each.path).is_file()
    if name == "prepare":
        rows = {part: len(prepare.read_part(project, part)) for part in prepare.PARTS}
        told = {score.name: score.value for score in kept.scores}
        assert rows == {part: told[f"rows/{part}"] for part in prepare.PARTS}
        assert Schema.load(folder / "schema.json").target == "price"
    elif name == "train":
        leader = Leader.load(project)
        assert (leader.run_id, leader.n_trials) == (kept.run_id, 3)
        assert len(table.read_parquet(folder / "trials.parquet", made_by="train")) == 3
        assert store.get_logged_model(leader.model_uri.removeprefix("models:/")).status == "READY"
    else:
        evaluate.require(project)
        assert kept.about == Leader.load(project).run_id
    return kept.run_id


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*.part")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stride"), [("prepare", 15), ("train", 33), ("evaluate", 18)])
def test_a_step_that_is_killed_at_any_write_is_finished_by_the_next_call(
    project, store, running, name, stride
):
    folder = {"prepare": project.prepared, "train": project.trained}.get(name, project.evaluated)
    seen = [whole(project, name, folder, store)]

    def check():
        seen.append(whole(project, name, folder, store))

    writes = walk(project, running, check, step, name, project.params_file, stride=stride)
    assert {write.split()[0] for write in writes} >= {"commit", "open", "os.rename", "exchange"}
    # The first, what a kill after the last write left, and what the last two calls made.
    n_runs = len(dict.fromkeys([*seen, whole(project, name, folder, store)]))
    assert n_runs >= 3 if EVERY else n_runs in (3, 4)
    assert (running(), left_over(project.build)) == ([], [])


@pytest.mark.slow
def test_monitor_and_retrain_that_are_killed_at_any_write_are_finished_by_the_next_call(
    project, store, running, tmp_path
):
    promote.run(project)
    rows = tmp_path / "new.parquet"
    tiny_table(seed=5).to_parquet(rows)

    def check():
        if (project.monitored / "drift.json").exists():
            DriftReport.load(project.monitored / "drift.json")
            assert (project.monitored / "drift.html").read_text().rstrip().endswith("</html>")

    walk(project, running, check, watch, project.params_file, rows, stride=7)
    assert (running(), (project.monitored / "drift.json").exists()) == ([], True)

    values = yaml.safe_load(project.params_file.read_text())
    off = dict.fromkeys(("on_new_data", "on_drift", "on_live_score"), False)
    project.params_file.write_text(yaml.safe_dump(values | {"retrain": off}))
    taken = project.source / rows.name

    def check_data():
        assert not taken.exists() or len(pd.read_parquet(taken)) == 240

    walk(project, running, check_data, take_in, project.params_file, rows, stride=6)
    done = Retraining.load(project)
    assert (done.answer, done.ended is not None, taken.exists()) == (Answer.NOT_DUE, True, True)
    assert store.get_run(done.run_id).info.status == "FINISHED"
    assert (running(), left_over(project.root)) == ([], [])

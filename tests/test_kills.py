"""Killed at any write, a step leaves what was there or what is new, and the next call finishes."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from conftest import tiny_table
from walking import killed_at

from ratchet import table, tracking
from ratchet.commands import retrain
from ratchet.commands.retrain import Answer, Retraining
from ratchet.drift import DriftReport
from ratchet.project import Project
from ratchet.runfile import RunFile
from ratchet.schema import Schema
from ratchet.steps import evaluate, monitor, prepare, promote, train
from ratchet.steps.train import Leader

STEPS = {"prepare": prepare.run, "train": train.run, "evaluate": evaluate.run}


def step(name: str, params: Path) -> None:
    STEPS[name](Project.open(params))


def watch(params: Path, rows: Path) -> None:
    monitor.run(Project.open(params), rows)


def take_in(params: Path, rows: Path) -> None:
    retrain.run(Project.open(params), given=rows)


def walk(
    project: Project,
    check: Callable[[], object],
    do: Callable[..., None],
    *arguments: object,
    stride: int,
) -> int:
    """Call again and again, each time killed a few writes later; give how often it was.

    Each call finds what the one before it has left, until one comes to its end.
    """
    root, uri = project.root.parent, mlflow.get_tracking_uri()
    n_kills, at = 0, 1
    while killed_at(at, do, *arguments, uri=uri, folder=root) is None:
        tracking.connect(project)
        check()
        n_kills, at = n_kills + 1, at + stride
    return n_kills


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
@pytest.mark.parametrize(("name", "stride"), [("prepare", 5), ("train", 9), ("evaluate", 5)])
def test_a_step_that_is_killed_at_any_write_is_finished_by_the_next_call(
    project, store, running, name, stride
):
    folder = {"prepare": project.prepared, "train": project.trained}.get(name, project.evaluated)
    before = whole(project, name, folder, store)
    seen = []

    def check():
        assert running() == []
        seen.append(whole(project, name, folder, store))

    n_kills = walk(project, check, step, name, project.params_file, stride=stride)
    assert n_kills > 10
    assert whole(project, name, folder, store) not in {before, *seen}
    assert len(set(seen)) <= 2, "only a kill after the last write leaves the new one"
    assert (running(), left_over(project.build)) == ([], [])


@pytest.mark.slow
def test_monitor_and_retrain_that_are_killed_at_any_write_are_finished_by_the_next_call(
    project, store, running, tmp_path
):
    promote.run(project)
    rows = tmp_path / "new.parquet"
    tiny_table(seed=5).to_parquet(rows)

    def check():
        assert running() == []
        if (project.monitored / "drift.json").exists():
            DriftReport.load(project.monitored / "drift.json")
            assert (project.monitored / "drift.html").read_text().rstrip().endswith("</html>")

    assert walk(project, check, watch, project.params_file, rows, stride=5) > 10
    check()
    assert (project.monitored / "drift.json").exists()

    values = yaml.safe_load(project.params_file.read_text())
    off = dict.fromkeys(("on_new_data", "on_drift", "on_live_score"), False)
    project.params_file.write_text(yaml.safe_dump(values | {"retrain": off}))
    taken = project.source / rows.name

    def check_data():
        assert running() == []
        assert not taken.exists() or len(pd.read_parquet(taken)) == 240

    assert walk(project, check_data, take_in, project.params_file, rows, stride=4) > 10
    done = Retraining.load(project)
    assert (done.answer, done.ended is not None, taken.exists()) == (Answer.NOT_DUE, True, True)
    assert store.get_run(done.run_id).info.status == "FINISHED"
    assert (running(), left_over(project.root)) == ([], [])

"""Two of everything at once: each is done, or told that another is, and nothing is mixed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import mlflow
import pytest
from conftest import PATIENCE, ROOT, tiny_table

from ratchet import turns
from ratchet.commands import rollback
from ratchet.project import Project
from ratchet.registry.ledger import Kind, Ledger
from ratchet.steps import monitor, promote
from ratchet.steps.train import Leader


def together(*calls):
    """Call functions at the same moment, each in a thread; give what they return."""
    barrier = Barrier(len(calls))

    def begin(function):
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(len(calls)) as threads:
        return [each.result(PATIENCE) for each in [threads.submit(begin, call) for call in calls]]


def check_one_order(project):
    """Each decision was made against the champion that the one before it had made."""
    ledger = Ledger.find(project.settings)
    lines = ledger.lines()
    assert list(ledger.faults()) == []
    for above, below in pairwise(lines):
        assert below.before == (above.champion if above.kind.moves else above.before)
    client = mlflow.MlflowClient()
    last = [line.champion for line in lines if line.kind.moves][-1]
    assert int(client.get_registered_model("tiny").aliases["champion"]) == last
    held = client.search_model_versions("name = 'tiny'")
    assert [int(each.version) for each in held if each.current_stage == "Production"] == [last]
    return lines


def test_a_promotion_beside_a_rollback(project, better):
    promote.run(project)
    promote.run(better)
    together(
        lambda: promote.run(project, force=True, reason="the insurer wants a line"),
        lambda: rollback.run(better, reason="complaints"),
    )
    lines = check_one_order(project)
    assert sorted(line.kind for line in lines[2:]) == [Kind.FORCE, Kind.ROLLBACK]


def test_two_rollbacks_go_two_champions_back(project, better):
    promote.run(project)
    promote.run(better)
    promote.run(project, force=True, reason="the insurer wants a line")
    together(*[lambda: rollback.run(better, reason="complaints")] * 2)
    lines = check_one_order(project)
    assert [(line.before, line.champion) for line in lines[3:]] == [(1, 2), (2, 1)]


def test_monitor_beside_a_promotion_watches_one_version(project, better, tmp_path):
    promote.run(project)
    rows = tmp_path / "new.parquet"
    tiny_table(300, seed=5).to_parquet(rows)
    report, decision = together(lambda: monitor.run(project, rows), lambda: promote.run(better))
    assert decision.promoted
    leader = Leader.load(project if report.version == 1 else better)
    watched = mlflow.MlflowClient().get_run(leader.run_id)
    assert report.live.test_score == pytest.approx(watched.data.metrics["test/rmse"])
    check_one_order(project)


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "promote", "run"])
def test_a_second_step_in_the_same_folder_is_told_and_touches_nothing(evaluated, call, command):
    project = Project.open(evaluated)
    before = Leader.load(project)
    with turns.locked(evaluated, "step", shared=False):
        code, _, err = call(command, "--params", evaluated)
    assert code == 2
    told = " ".join(err.split())
    assert f"In {project.build}, another step is under way (process {os.getpid()})." in told
    assert told.endswith(
        "Wait until it has ended, or copy the parameter file: one of another name has a folder of"
        " its own."
    )
    assert Leader.load(project) == before


def test_nobody_trains_where_a_promotion_reads_and_two_promotions_read_together(evaluated, call):
    with turns.locked(evaluated, "step", shared=True):
        assert call("train", "--params", evaluated)[0] == 2
        assert call("promote", "--params", evaluated, "--strict")[0] == 0


@pytest.mark.slow
def test_of_two_dvc_repro_at_once_one_runs_and_the_other_says_that_it_is_busy(fresh_clone):
    clone = fresh_clone("at_once")
    clone.run("dvc", "pull", "--quiet", "data.dvc")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=clone.root,
            env=clone.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [(process, process.communicate(timeout=PATIENCE)[0]) for process in started]
    told = {process.returncode: output for process, output in ended}
    assert 0 in told, told
    for code, output in told.items():
        assert code == 0 or "busy" in output or "lock" in output, output
    # Whatever came of the second, another one finds all of it done.
    clone.run("dvc", "repro")
    assert "up to date" in clone.run("dvc", "status", "prepare", "train", "evaluate")
    assert [run.data.tags["ratchet.step"] for run in clone.runs()].count("train") == 1
    assert {run.info.status for run in clone.runs()} == {"FINISHED"}


@pytest.mark.slow
def test_a_short_soak_finds_nothing_wrong(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import soak

    found = soak.run(decisions=12, n_processes=2)
    assert list(found.wrong()) == []
    assert sum(found.kinds.values()) >= 12
    assert found.looked.looks > 500

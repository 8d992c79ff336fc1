"""A search that was killed goes on where it stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from ratchet.project import Project
from ratchet.steps import prepare, train

SOURCE = Path(__file__).parents[1] / "src"

PLUGIN = '''
"""A family that notes down every fit, and takes its time."""

import time
from pathlib import Path

from ratchet.backends import Backend, Family, Fitted, Real, register
from ratchet.features import Preparation

NOTES = Path(__file__).with_name("fits.txt")


@register
class Slow(Backend):
    name = "slow"

    def families(self, task):
        return (Family("slow", Preparation.SCALED, ({"alpha": 1.0},), {"alpha": Real(0.1, 9.0)}),)

    def fit(self, request):
        from sklearn.linear_model import Ridge

        time.sleep(0.25)
        model = Ridge(**request.params).fit(request.train.X, request.train.y)
        if request.valid is not None:
            with NOTES.open("a") as notes:
                notes.write(f"{request.params['alpha']!r}\\n")
        return Fitted(model, request.params)
'''


@pytest.fixture
def slow(tiny, tmp_path):
    """Give a prepared project whose trials are slow, and where they are noted down."""
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "slow_family.py").write_text(PLUGIN, encoding="utf-8")
    params = tiny(
        train__plugins=["slow_family"],
        train__families=["slow"],
        train__search={"budget_seconds": None, "max_trials": 12},
    )
    prepare.run(Project.open(params))
    return params, tmp_path / "plugin" / "fits.txt"


def command(params):
    path = os.pathsep.join([str(SOURCE), str(params.parent.parent / "plugin")])
    return {
        "args": [sys.executable, str(SOURCE), "train", "--params", str(params)],
        "env": {**os.environ, "PYTHONPATH": path},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }


def notes(path):
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def test_after_kill_9_no_finished_trial_is_done_twice(slow):
    params, fits = slow
    process = subprocess.Popen(**command(params))
    try:
        until = time.monotonic() + 120
        while len(notes(fits)) < 5 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(60)
    before = notes(fits)
    assert 5 <= len(before) < 12
    project = Project.open(params)
    assert not project.trained.exists()
    lines = next((project.build / "search").iterdir()) / "trials.jsonl"
    kept = len(lines.read_text(encoding="utf-8").splitlines())
    # The one that was under way may have been fitted, and not kept yet.
    assert len(before) - 1 <= kept <= len(before)

    done = subprocess.run(**command(params), timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert f"resumed {kept} trials" in done.stdout
    after = notes(fits)
    assert len(after) == len(before) + 12 - kept
    assert len(set(after)) == 12
    trials = pd.read_parquet(project.trained / "trials.parquet")
    assert trials["resumed"].tolist() == [True] * kept + [False] * (12 - kept)
    assert not (project.build / "search").exists() or not list((project.build / "search").iterdir())


def test_the_trials_are_those_of_a_search_that_was_not_interrupted(slow, monkeypatch):
    params, _ = slow
    monkeypatch.syspath_prepend(params.parent.parent / "plugin")
    project = Project.open(params, ["train.families=[ridge]", "train.plugins=[]"])

    def interrupt(trial):
        if trial.number == 4 and not trial.resumed:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        train.run(project, interrupt)
    seen = []
    train.run(project, seen.append)
    assert [trial.resumed for trial in seen] == [True] * 5 + [False] * 7
    resumed = pd.read_parquet(project.trained / "trials.parquet")
    train.run(project)
    whole = pd.read_parquet(project.trained / "trials.parquet")
    assert not whole["resumed"].any()
    same = ["backend", "family", "params", "score", "train_score"]
    pd.testing.assert_frame_equal(resumed[same], whole[same])


@pytest.mark.parametrize(
    ("change", "resumes"),
    [
        ([], True),
        (["train.search.max_trials=8"], True),
        (["train.search.resume=false"], False),
        (["train.metric=mae"], False),
        (["seed=8"], False),
    ],
)
def test_only_the_same_search_goes_on(slow, change, resumes):
    params, _ = slow
    fast = ["train.families=[ridge]", "train.plugins=[]", "train.search.max_trials=4"]

    def interrupt(trial):
        if trial.number == 2:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        train.run(Project.open(params, fast), interrupt)
    seen = []
    train.run(Project.open(params, [*fast, *change]), seen.append)
    assert any(trial.resumed for trial in seen) is resumes


def test_other_rows_begin_a_search_of_their_own(slow):
    params, _ = slow
    fast = ["train.families=[ridge]", "train.plugins=[]", "train.search.max_trials=4"]
    project = Project.open(params, fast)

    def interrupt(trial):
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        train.run(project, interrupt)
    path = project.prepared / "train.parquet"
    rows = pd.read_parquet(path)
    rows["price"] += 1
    rows.to_parquet(path)
    seen = []
    train.run(project, seen.append)
    assert not any(trial.resumed for trial in seen)

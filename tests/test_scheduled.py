"""Trials on a real cluster of Dask's: the search that it would be here, whoever is killed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
from chores import Chore, Deadly, tries
from test_executor import all_of, wait_until

pytest.importorskip("distributed")

from ratchet.errors import ClusterError
from ratchet.executor import scheduled
from ratchet.executor.base import Done
from ratchet.executor.cluster import connected
from ratchet.executor.scheduled import Scheduled
from ratchet.project import Project
from ratchet.settings import Execution
from ratchet.steps import prepare, train

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src"

PLUGIN = '''
"""A family that notes down every fit with its process, and may be made to wait in one."""

import os
import time
from pathlib import Path

from ratchet.backends import Backend, Family, Fitted, Real, register
from ratchet.features import Preparation

HERE = Path(__file__).parent


@register
class Noted(Backend):
    name = "noted"

    def families(self, task):
        return (Family("noted", Preparation.SCALED, ({"alpha": 1.0},), {"alpha": Real(0.1, 9.0)}),)

    def fit(self, request):
        from sklearn.linear_model import Ridge

        if request.valid is not None:
            with (HERE / "fits.txt").open("a") as notes:
                notes.write(f"{request.params['alpha']!r} {os.getpid()}\\n")
            begun = (HERE / "fits.txt").read_text().count("\\n")
            while begun > int((HERE / "allowed.txt").read_text()):
                time.sleep(0.01)
        model = Ridge(**request.params).fit(request.train.X, request.train.y)
        return Fitted(model, request.params)
'''


@pytest.fixture(scope="module")
def client():
    """A client of a cluster that is started here, with two workers."""
    with connected(Execution(engine="dask", workers=2), cores=2) as client:
        yield client


def test_every_result_comes_once_and_what_killed_its_worker_is_done_again(client, tmp_path):
    executor = Scheduled(client, Deadly(tmp_path, number=3))
    assert executor.workers == 2
    done = all_of(executor, range(7))
    executor.close()
    assert {each.key: each.value for each in done} == {str(n): n * n for n in range(7)}
    assert len(done) == 7
    assert len(tries(tmp_path, 3)) == 2


def test_what_kills_three_workers_is_given_up_and_the_rest_is_done(client, tmp_path):
    executor = Scheduled(client, Deadly(tmp_path, number=1, times=9))
    done = {each.key: each for each in all_of(executor, range(3))}
    executor.close()
    assert done.pop("1") == Done("1", lost="3 workers were gone before its end")
    assert {key: each.value for key, each in done.items()} == {"0": 0, "2": 4}
    assert len(tries(tmp_path, 1)) == 3


def test_a_worker_with_other_code_is_refused(client, tmp_path, monkeypatch):
    client.wait_for_workers(2, timeout=60)
    monkeypatch.setattr(scheduled, "running_version", lambda: "99")
    told = (
        "^The worker at tcp://127.* has ratchet .* where this process has 99. With other versions"
    )
    with pytest.raises(ClusterError, match=told):
        Scheduled(client, Chore(tmp_path))


def test_ctrl_c_is_no_business_of_workers_that_were_started_here(client):
    client.wait_for_workers(2, timeout=60)
    found = client.run(lambda: signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
    assert list(found.values()) == [True, True]


@pytest.fixture
def noted(tiny, tmp_path, monkeypatch):
    """Give a prepared project whose fits are noted down, and the folder of the notes."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "noted_family.py").write_text(PLUGIN, encoding="utf-8")
    allow(folder, 1000)
    monkeypatch.syspath_prepend(folder)
    from ratchet.backends import base

    monkeypatch.setattr(base, "_SHELF", dict(base._SHELF))
    params = tiny(
        train__plugins=["noted_family"],
        train__families=["noted"],
        train__search={"budget_seconds": None, "max_trials": 10},
        train__threads=1,
        execution={"workers": 2},
    )
    prepare.run(Project.open(params))
    yield params, folder
    sys.modules.pop("noted_family", None)


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and two workers as processes of their own; give its address and them."""
    file = tmp_path / "scheduler.json"
    path = os.pathsep.join(
        [str(SOURCE), str(TESTS), str(tmp_path / "plugin"), *filter(None, sys.path)]
    )

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", *arguments, "--scheduler-file", file],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    with ExitStack() as stack:

        def begun(*arguments):
            process = start(*arguments)
            stack.callback(process.wait, 60)
            stack.callback(process.kill)
            return process

        loopback = ("--host", "127.0.0.1", "--no-dashboard")
        scheduler = begun("distributed.cli.dask_scheduler", *loopback, "--port", "0")
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        workers = [
            begun("distributed.cli.dask_worker", *loopback, "--no-nanny", "--nthreads", "1")
            for _ in range(2)
        ]
        from distributed import Client

        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
            address = client.scheduler.address
        yield address, scheduler, workers


def fits(folder):
    path = folder / "fits.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines if line.count(" ") == 1]


def allow(folder, n_fits):
    """Let so many fits begin that go on; whole, because others read it all the while."""
    written = folder / "allowed.part"
    written.write_text(str(n_fits), encoding="utf-8")
    written.replace(folder / "allowed.txt")


def scores(project):
    return pd.read_parquet(project.trained / "trials.parquet")[["params", "score", "train_score"]]


def on(params, address):
    return Project.open(params, [f"execution.engine=dask execution.address={address}"])


@pytest.mark.slow
def test_a_worker_killed_in_mid_trial_changes_nothing_in_the_search(noted, cluster):
    params, folder = noted
    address, _, workers = cluster
    here = Project.open(params)
    train.run(here)
    local = scores(here)
    (folder / "fits.txt").unlink()
    project = on(params, address)
    train.run(project)
    pd.testing.assert_frame_equal(scores(project), local)
    whole = fits(folder)
    assert {pid for _, pid in whole} <= {worker.pid for worker in workers}
    assert len(whole) == 10

    (folder / "fits.txt").unlink()
    allow(folder, 4)
    with ThreadPoolExecutor(1) as pool:

        def kill():
            wait_until(lambda: len(fits(folder)) >= 5)
            os.kill(fits(folder)[4][1], signal.SIGKILL)
            allow(folder, 1000)

        killing = pool.submit(kill)
        train.run(project)
        killing.result()
    pd.testing.assert_frame_equal(scores(project), local)
    # The one that was lost was done again, and no other.
    done = [alpha for alpha, _ in fits(folder)]
    assert len(done) == 11
    assert sorted(set(done)) == sorted({alpha for alpha, _ in whole})
    assert sum(worker.poll() is not None for worker in workers) == 1


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_told_and_the_search_goes_on_without_it(noted, cluster):
    params, folder = noted
    address, scheduler, _ = cluster
    allow(folder, 6)
    project = on(params, address)
    ended = []
    with ThreadPoolExecutor(1) as pool:

        def kill():
            wait_until(lambda: len(ended) >= 5 and len(fits(folder)) >= 7)
            scheduler.kill()
            allow(folder, 1000)

        killing = pool.submit(kill)
        with pytest.raises(ClusterError) as raised:
            train.run(project, ended.append)
        killing.result()
    assert str(raised.value) == (
        f"The Dask scheduler at {address} is gone. Start it and its workers again, and run the"
        " command again: it goes on where it stopped."
    )
    assert not project.trained.exists()
    seen = []
    train.run(Project.open(params), seen.append)
    assert sum(trial.resumed for trial in seen) >= 5
    assert len(seen) == 10
    before = {trial.candidate.params["alpha"] for trial in ended}
    again = [alpha for alpha, pid in fits(folder) if pid == os.getpid()]
    assert not before & set(map(float, again))

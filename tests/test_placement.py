"""Trials run where the settings say, or where the first of them have shown that they gain by it."""

import os
import time

import numpy as np
import pytest
from conftest import tiny_settings
from fields import Field
from test_executor import gone
from test_replay import clustered, is_the_same, of_clusters, parts, settings, told, written

from ratchet import placement, trainer
from ratchet.executor.base import Moment, Placement, Way
from ratchet.search import Candidate
from ratchet.settings import from_mapping


def chosen(**execution):
    return from_mapping(tiny_settings(execution=execution), origin="test")


def candidate(x):
    return Candidate("debug", "debug", {"x": x})


def try_one(placed, number):
    """Try a candidate where it is placed; give the process that did."""
    placed.executor.submit(str(number), candidate(number), Moment(time.monotonic() + 60))
    [done] = placed.executor.results()
    assert done.value.result.score == number
    return done.value.handed_over or os.getpid()


@pytest.fixture
def hurried(monkeypatch):
    """Let the first look be short, and processes cost nothing; give what is idle."""
    monkeypatch.setattr(placement, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(placement, "LOOK_SHARE", 0.0)
    monkeypatch.setattr(placement, "SECONDS_TO_BEGIN", 0.01)
    share = [1.0]
    monkeypatch.setattr(placement, "idle_seconds", lambda _: share[0] * time.monotonic())
    return share


def test_trials_move_to_processes_where_the_first_ones_have_left_cores_idle(hurried):
    said = []
    with placement.opened(chosen(), Field(), seconds=1000.0, told=said.append) as placed:
        assert placed.executor.workers == 1
        first = [try_one(placed, number) for number in range(placement.LOOK_TRIALS)]
        assert set(first) == {os.getpid()}
        why = "the first 3 of them left 1.0 of 2 cores idle"
        assert placed.placement == Placement(Way.PROCESSES, 2, why)
        assert said == [f"trials run in 2 processes: {why}"]
        until = time.monotonic() + 60
        where, number = os.getpid(), 3
        # Meanwhile nobody waits for them.
        while where == os.getpid():
            assert time.monotonic() < until
            where, number = try_one(placed, number), number + 1
        assert placed.executor.workers == 2
    assert gone(where)


def test_trials_stay_where_the_first_ones_have_kept_the_cores_busy(hurried):
    hurried[0] = 0.3
    said = []
    with placement.opened(chosen(), Field(), seconds=1000.0, told=said.append) as placed:
        for number in range(6):
            assert try_one(placed, number) == os.getpid()
        why = "the first 3 of them left 0.3 of 2 cores idle"
        assert placed.placement == Placement(Way.HERE, 1, why)
        assert said == [f"trials run in this process: {why}"]


@pytest.mark.parametrize(
    ("seconds", "execution", "more"),
    [
        (60.0, {}, {}),
        (None, {}, {}),
        (9999.0, {"workers": 1}, {}),
        (9999.0, {"ordered": True}, {}),
        (9999.0, {}, {"many_rows": True}),
        (None, {}, {"earlier": Placement()}),
    ],
)
def test_nothing_is_measured_where_it_could_change_nothing(seconds, execution, more):
    with placement.opened(chosen(**execution), Field(), seconds=seconds, **more) as placed:
        assert placed.executor is None
        assert placed.placement.told == ""


def test_a_number_of_workers_is_not_measured_and_cores_limit_it():
    said = []
    why = "there are 2 threads for the 5 that are wanted"
    place = Field(threads=2)
    with placement.opened(chosen(workers=5), place, seconds=60.0, told=said.append) as placed:
        assert placed.placement == Placement(Way.PROCESSES, 2, why)
        assert place.beside == 2
        # Nobody waits for them.
        assert try_one(placed, 0) == os.getpid()
        # The order is that of five, on whatever machine.
        assert placed.window == 5
        assert not placed.ordered
    assert said == [f"trials run in 2 processes: {why}"]
    with placement.opened(chosen(workers=5), Field(threads=1), seconds=None) as placed:
        assert placed.executor is None
        assert (placed.ordered, placed.window) == (True, 5)


def test_a_search_that_ran_in_processes_is_made_again_in_processes():
    earlier = Placement(Way.PROCESSES, 2, "measured")
    with placement.opened(chosen(), Field(threads=4), seconds=None, earlier=earlier) as placed:
        told = "trials run in 2 processes: so many had the search that is made again"
        assert placed.placement.told == told


@pytest.fixture
def elsewhere(monkeypatch):
    """Let no trial be tried in this process while the others begin."""
    monkeypatch.setattr(placement, "BEGIN_HERE", False)


def test_trials_in_processes_give_the_leader_that_one_process_gives(elsewhere, tmp_path):
    families = ["baseline", "ridge", "lightgbm"]
    usual = {
        "train__families": families,
        "train__validation": "folds",
        "train__folds": 3,
        "train__search": {"budget_seconds": None, "max_trials": 8},
    }
    alone = settings(**usual, train__threads=1, execution={"workers": 2})
    rows = parts(alone)
    one = trainer.train(*rows, alone)
    assert one.course.placement == Placement(Way.HERE, 1)
    both = settings(**usual, train__threads=2, execution={"workers": 2})
    two = trainer.train(*rows, both)
    is_the_same(one, two, rows[1], rows[2])
    course = written(two.course, tmp_path)
    assert course.placement == Placement(Way.PROCESSES, 2, "execution.workers asks for them")
    assert course.beside == 2


def test_a_clustering_in_processes_is_the_same_clustering(elsewhere):
    search = {"budget_seconds": None, "max_trials": 8}
    usual = {"train__search": search, "execution": {"workers": 2}}
    (one, *_), (two, *_) = (
        clustered(of_clusters(**usual, train__threads=threads)) for threads in (1, 2)
    )
    assert one.course.placement.way is Way.HERE
    assert two.course.placement.way is Way.PROCESSES
    assert told(two) == told(one)
    assert np.isclose(two.more["valid/stability"], one.more["valid/stability"])

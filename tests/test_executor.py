"""Work goes in, results come out in any order: none is lost, none comes twice."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chores import Chore, Deadly, Patient, Unwelcome, tries

from ratchet import container
from ratchet.errors import ClusterError
from ratchet.executor.base import Done, Moment
from ratchet.executor.here import Serial, Threads
from ratchet.executor.machine import idle_seconds
from ratchet.executor.processes import Processes

TESTS = Path(__file__).parent


def all_of(executor, numbers):
    """Hand in numbers and wait for their squares."""
    for number in numbers:
        executor.submit(str(number), number)
    done = []
    while len(done) < len(numbers):
        done += executor.results()
    return done


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # One that nobody has waited for yet is dead as well.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", [Serial, lambda w: Threads(w, 2), lambda w: Processes(w, 2)])
def test_every_result_comes_once(tmp_path, kind):
    executor = kind(Chore(tmp_path))
    try:
        done = all_of(executor, range(7))
        assert {each.key: each.value for each in done} == {str(n): n * n for n in range(7)}
        assert len(done) == 7
        assert all(each.lost is None for each in done)
        assert [len(tries(tmp_path, n)) for n in range(7)] == [1] * 7
    finally:
        executor.close()


def test_processes_are_not_this_one_and_are_gone_after_closing(tmp_path):
    executor = Processes(Chore(tmp_path), 2)
    wait_until(lambda: executor.ready)
    all_of(executor, range(4))
    executor.close()
    pids = {pid for n in range(4) for pid in tries(tmp_path, n)}
    assert os.getpid() not in pids
    assert all(gone(pid) for pid in pids)


def test_what_a_killed_process_was_doing_is_done_again_and_counted_once(tmp_path):
    executor = Processes(Deadly(tmp_path, number=3), 2)
    try:
        done = all_of(executor, range(7))
        assert {each.key: each.value for each in done} == {str(n): n * n for n in range(7)}
        assert len(done) == 7
        assert [len(tries(tmp_path, n)) for n in range(7)] == [1, 1, 1, 2, 1, 1, 1]
    finally:
        executor.close()


def test_what_kills_three_processes_is_given_up_and_the_rest_is_done(tmp_path):
    executor = Processes(Deadly(tmp_path, number=3, times=9), 2)
    try:
        done = {each.key: each for each in all_of(executor, range(5))}
        assert done.pop("3") == Done("3", lost="3 processes ended in it, the last one by SIGKILL")
        assert {key: each.value for key, each in done.items()} == {"0": 0, "1": 1, "2": 4, "4": 16}
        assert len(tries(tmp_path, 3)) == 3
    finally:
        executor.close()


def test_nobody_waits_longer_than_until_the_time_is_up(tmp_path):
    executor = Processes(Patient(tmp_path), 1)
    try:
        executor.submit("1", 1)
        wait_until(lambda: executor.results(time.monotonic()) == [] and tries(tmp_path, 1))
        (tmp_path / "go-1").touch()
        assert executor.results(time.monotonic() + 60) == [Done("1", 1)]
    finally:
        executor.close()


def test_a_process_that_can_t_begin_says_why():
    executor = Processes(Unwelcome(), 1)
    try:
        executor.submit("1", 1)
        with pytest.raises(ClusterError) as raised:
            executor.results()
        assert str(raised.value) == (
            "A process that was to run trials could not begin: ValueError: invalid literal for"
            " int() with base 10: 'no number'"
        )
    finally:
        executor.close()


ORPHANS = """
import sys
from pathlib import Path

from chores import Patient
from ratchet.executor.processes import Processes

if __name__ == "__main__":
    executor = Processes(Patient(Path(sys.argv[1])), 2)
    for number in (1, 2):
        executor.submit(str(number), number)
    executor.results()
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_the_processes_end_with_the_one_that_started_them(tmp_path, sign):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS, encoding="utf-8")
    path = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    process = subprocess.Popen(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: tries(tmp_path, 1) and tries(tmp_path, 2))
        # Ctrl-C goes to all processes of the terminal, a kill to one.
        (os.killpg if sign == signal.SIGINT else os.kill)(process.pid, sign)
        process.wait(60)
        wait_until(lambda: all(gone(pid) for n in (1, 2) for pid in tries(tmp_path, n)))
    finally:
        process.kill()
        process.wait(60)


def test_a_moment_means_the_same_where_it_is_sent_to(monkeypatch):
    now = time.monotonic()
    sent = pickle.dumps(Moment(now + 30))
    assert pickle.loads(sent).at == pytest.approx(now + 30, abs=1.0)
    # On the way time goes by, by the clock on the wall.
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 20)
    assert pickle.loads(sent).at == pytest.approx(now + 10, abs=1.0)
    # A clock that is behind gives nobody more time than there was.
    monkeypatch.setattr(time, "time", lambda: wall - 3600)
    assert pickle.loads(sent).at == pytest.approx(now + 30, abs=1.0)


def test_what_is_idle_grows_no_faster_than_the_cores_of_this_process():
    cores = container.cores()
    before, began = idle_seconds(cores), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.3)
    # The system counts in hundredths.
    idle = idle_seconds(cores) - before
    assert -0.05 <= idle <= cores * (time.monotonic() - began) + 0.05


def test_cores_that_are_idle_but_not_for_this_process_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    before, began, used = idle_seconds(2), time.monotonic(), time.process_time()
    while time.process_time() - used < 0.2:
        pass
    idle = idle_seconds(2) - before
    own = 2 * (time.monotonic() - began) - (time.process_time() - used)
    assert idle == pytest.approx(own, abs=0.05)

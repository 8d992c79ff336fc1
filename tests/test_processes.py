"""A process is known again, and known to be gone, however it ended."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ratchet import processes
from ratchet.processes import Life, Process

SAYS_WHO = "from ratchet.processes import Process; print(Process.here().text, flush=True); input()"


@pytest.fixture
def other():
    """A process that lives until it is killed, and who it is."""
    with subprocess.Popen(
        [sys.executable, "-c", SAYS_WHO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as started:
        yield started, Process.parse(started.stdout.readline().strip())
        started.kill()


def test_who_asks_lives():
    here = Process.here()
    assert (here.pid, here.life) == (os.getpid(), Life.LIVES)


def test_another_process_lives_until_it_is_killed(other):
    started, process = other
    assert process.pid == started.pid
    assert process.life is Life.LIVES
    started.kill()
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    assert process.life is Life.GONE, "its number is still taken, as nobody has asked how it ended"
    started.wait()
    assert process.life is Life.GONE


def test_a_later_process_with_the_same_number_is_another_one(other):
    _, process = other
    assert replace(process, begun="12").life is Life.GONE


def test_a_process_of_another_machine_is_none_of_ours(other):
    started, process = other
    started.kill()
    started.wait()
    away = replace(process, host="elsewhere", boot="another", machine="0f0f")
    assert away.life is Life.UNKNOWN
    assert replace(process, boot="another", machine="0f0f").life is Life.UNKNOWN, "the same name"


def test_numbers_of_another_container_say_nothing(other):
    _, process = other
    assert replace(process, pid=2**22 + 1, space="4026532999").life is Life.UNKNOWN


def test_what_ran_before_the_machine_was_started_again_is_gone(other, monkeypatch):
    _, process = other
    monkeypatch.setattr(processes, "_space", lambda: processes._OUTERMOST)
    monkeypatch.setattr(processes, "_machine", lambda: "abcd")
    before = replace(process, boot="the last one", space=processes._OUTERMOST, machine="abcd")
    assert before.life is Life.GONE
    # A container that was started again may have a sister of the same name.
    monkeypatch.setattr(processes, "_space", lambda: "4026532999")
    assert replace(before, space="4026532999").life is Life.UNKNOWN


def test_a_clock_that_is_set_back_makes_nobody_another(other, monkeypatch):
    _, process = other
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert process.life is Life.LIVES
    assert Process.here().life is Life.LIVES


@pytest.mark.parametrize("text", ["", "4711", "4711 on here", "me on here, begun yesterday"])
def test_what_is_no_process_is_none(text):
    assert Process.parse(text) is None

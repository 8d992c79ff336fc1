"""Of two processes that want a turn, one gets it, and nothing is left over when it dies."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from ratchet import turns
from ratchet.errors import RatchetError

HOLD = """
import os, subprocess, sys
from pathlib import Path
from ratchet import turns

with turns.taken(Path(sys.argv[1]), "work") as turn:
    child = None
    if sys.argv[2:] == ["child"]:
        # It ends when its stdin does.
        child = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[turn.handle]
        )
    print(os.getpid(), child.pid if child else 0, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    started = []

    def hold(path, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        started.append(process)
        return process, [int(each) for each in process.stdout.readline().split()]

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_second_is_told_who_is_first_and_since_when(tmp_path, holder):
    path = tmp_path / "deep" / "turn.json"
    process, (pid, _) = holder(path)
    with (
        pytest.raises(turns.BusyError, match=rf"^another work is .* \(process {pid} on "),
        turns.taken(path, "work"),
    ):
        pass
    process.stdin.close()
    process.wait()
    with turns.taken(path, "work"):
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_kill_9_gives_the_turn_back(tmp_path, holder):
    path = tmp_path / "turn.json"
    process, _ = holder(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with turns.taken(path, "work"):
        pass


def test_what_a_dead_process_has_started_keeps_its_turn_until_it_ends(tmp_path, holder):
    path = tmp_path / "turn.json"
    process, (_, child) = holder(path, "child")
    os.kill(child, signal.SIGSTOP)  # it would end with its parent, whose pipe it reads
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(turns.BusyError), turns.taken(path, "work"):
        pass
    os.kill(child, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [])
    with turns.taken(path, "work"):
        pass


def test_a_place_where_no_file_can_be_made_is_told(tmp_path, unwritable):
    unwritable(tmp_path / "kernel")
    with (
        pytest.raises(RatchetError, match=r"^Can't write "),
        turns.taken(tmp_path / "kernel" / "turn.json", "work"),
    ):
        pass

"""An executor of processes on this machine: one that dies takes no work with it."""

import os
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ratchet.errors import ClusterError
from ratchet.executor.base import MOST_TRIES, Done, Work

# What a worker says, beside what it says it about.
_READY, _DONE, _BROKEN = "ready", "done", "broken"
# Seconds that a process gets to be gone after it was killed.
_TO_DIE = 10.0


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    busy: str | None = None


@dataclass
class _Backlog:
    """Work that no worker has yet, and how often each piece was begun."""

    arguments: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    tries: Counter[str] = field(default_factory=Counter)


class Processes:
    """Does several things at the same time in processes of their own.

    What all of the work needs goes to each process once, as that begins. A
    process that is killed is replaced, and what it was doing is begun again. The
    processes end with this one, however it ends.
    """

    def __init__(self, work: Work, workers: int) -> None:
        """Start the processes, without waiting until they are ready.

        Parameters
        ----------
        work : callable
            Is sent to each process, so that all it holds must be fit for that.
        workers : int
            How many processes there are.
        """
        self.workers = workers
        # Threads and locks of model libraries would not survive a fork.
        self._context = get_context("spawn")
        self._work = bytes(ForkingPickler.dumps(work))
        self._backlog = _Backlog()
        self._broken = 0
        self._workers = [self._start() for _ in range(workers)]

    @property
    def ready(self) -> bool:
        """Whether every process has what it needs; looks without waiting."""
        for worker in tuple(self._workers):
            if not worker.ready and worker.connection.poll():
                list(self._heard(worker))
        return all(worker.ready for worker in self._workers)

    def submit(self, key: str, *arguments: Any) -> None:
        """Give it to a process that is free, or keep it until one is."""
        self._backlog.arguments[key] = arguments
        self._backlog.waiting.append(key)
        self._assign()

    def results(self, until: float | None = None) -> list[Done]:
        """Wait for one that has ended, and give all that have.

        Raises
        ------
        ClusterError
            If processes can't begin.
        """
        while True:
            self._assign()
            left = None if until is None else max(0.0, until - time.monotonic())
            done = self._listen(left)
            if done or left == 0:
                return done

    def close(self) -> None:
        """Kill the processes, and see them gone."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(_TO_DIE)
            worker.connection.close()
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        # A pipe holds little: who waits until a process that is just beginning has read all loses
        # the time that it takes to begin.
        threading.Thread(target=_send, args=(ours, self._work), daemon=True).start()
        return _Worker(process, ours)

    def _assign(self) -> None:
        for worker in self._workers:
            if not self._backlog.waiting:
                return
            if worker.ready and worker.busy is None:
                key = self._backlog.waiting.popleft()
                worker.busy = key
                self._backlog.tries[key] += 1
                with suppress(OSError):  # it is dead, which will be heard
                    worker.connection.send((key, self._backlog.arguments[key]))

    def _listen(self, seconds: float | None) -> list[Done]:
        """Hear what processes say, and that they have died."""
        by_sign = {worker.connection: worker for worker in self._workers}
        dead = {worker.process.sentinel: worker for worker in self._workers}
        signs = wait([*by_sign, *dead], seconds)
        done: list[Done] = []
        for sign in signs:
            if isinstance(sign, Connection):
                done += self._heard(by_sign[sign])
        for sign in signs:
            if isinstance(sign, int) and dead[sign] in self._workers:
                # The last thing that it said may have been a result.
                while dead[sign] in self._workers and dead[sign].connection.poll():
                    done += self._heard(dead[sign])
                if dead[sign] in self._workers:
                    done += self._buried(dead[sign])
        return done

    def _heard(self, worker: _Worker) -> Iterator[Done]:
        try:
            kind, key, value = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._buried(worker)
            return
        if kind == _BROKEN:
            raise ClusterError(f"A process that was to run trials could not begin: {value}")
        if kind == _DONE:
            worker.busy = None
            del self._backlog.arguments[key]
            yield Done(key, value)
        worker.ready = True
        self._broken = 0

    def _buried(self, worker: _Worker) -> Iterator[Done]:
        """Replace a process that has died; what it was doing comes next."""
        worker.process.join(_TO_DIE)
        worker.connection.close()
        self._workers.remove(worker)
        how = _how_it_ended(worker.process.exitcode)
        if not worker.ready:
            self._broken += 1
            if self._broken >= MOST_TRIES:
                raise ClusterError(
                    f"{self._broken} processes that were to run trials ended as they began, the"
                    f" last one {how}. Is there memory for them? execution.workers sets their"
                    " number."
                )
        self._workers.append(self._start())
        key = worker.busy
        if key is None:
            return
        if self._backlog.tries[key] >= MOST_TRIES:
            del self._backlog.arguments[key]
            yield Done(key, lost=f"{MOST_TRIES} processes ended in it, the last one {how}")
        else:
            self._backlog.waiting.appendleft(key)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
        return f"by signal {-code}"
    return f"with exit code {code}"


def _send(connection: Connection, work: bytes) -> None:
    with suppress(OSError, ValueError):  # it died, or nobody wants it any more
        connection.send_bytes(work)


def _serve(connection: Connection) -> None:
    """Be a worker: take the work, then one set of arguments after the other."""
    # Ctrl-C reaches every process of the terminal; whoever started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")
    try:
        work = connection.recv()
    except EOFError:
        return
    except Exception as error:  # a module of the user's own may fail in any way
        connection.send((_BROKEN, None, f"{type(error).__name__}: {error}"))
        return
    connection.send((_READY, None, None))
    with suppress(EOFError, OSError):  # nobody wants more
        while True:
            key, arguments = connection.recv()
            connection.send((_DONE, key, work(*arguments)))


def _end_with_parent() -> None:
    """End at once when the process that started this one is gone, in the middle of a fit too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

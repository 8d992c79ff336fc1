"""An executor over a cluster of Dask's; import it only where the extra ``dask`` is installed."""

import queue
import signal
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from distributed import Client, Future, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from ratchet.errors import ClusterError
from ratchet.executor.base import MOST_TRIES, Done, Work
from ratchet.lineage import library_versions
from ratchet.packaged import running_version

# Seconds between two looks at which workers there are.
_LOOK = 2.0
# Seconds after which a cluster that has lost its last worker is given up.
_ALONE = 60.0


class _Carried(WorkerPlugin):
    """Brings the work, with all that it holds, to every worker once, whenever that joins."""

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.work = work


class Deaf(WorkerPlugin):
    """Keeps Ctrl-C from workers, whom it reaches too: who started them decides what it means."""

    name = "ratchet-deaf"

    def setup(self, worker: Worker) -> None:
        """Ignore it from now on."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Scheduled:
    """Does several things at the same time on the workers of a cluster.

    What all of the work needs goes to each worker once. What a lost worker was
    doing the scheduler begins again on another one, and what a scheduler has
    lost is handed in again.
    """

    def __init__(
        self,
        client: Client,
        work: Work,
        *,
        threads_each: int = 1,
        most: int | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        """Bring the work to the workers.

        Parameters
        ----------
        client : distributed.Client
            Connected to the cluster, which stays when the executor is closed.
        work : callable
            Is sent to each worker, so that all it holds must be fit for that.
        threads_each : int
            Threads of a worker that one piece of work uses.
        most : int, optional
            Most pieces of work at the same time; None takes all workers.
        packages : sequence of str
            Distributions that must have the same versions everywhere.

        Raises
        ------
        ClusterError
            If a worker has another Python, other code or other versions than this
            process, or the work can't be sent.
        """
        self._client = client
        self._address = client.scheduler.address
        self._threads_each = threads_each
        self._most = most
        self._name = f"ratchet-{uuid.uuid4().hex[:12]}"
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._running: dict[str, tuple[str, tuple[Any, ...], Future]] = {}
        self._tries: Counter[str] = Counter()
        self._looked = self._seen_alive = time.monotonic()
        self._check(packages)
        try:
            client.register_plugin(_Carried(self._name, work))
        except Exception as error:  # a module of the user's own may fail in any way
            raise ClusterError(
                f"What trials need can't be sent to the workers: {type(error).__name__}: {error}"
            ) from error
        self._threads: Mapping[str, int] = self._look()

    @property
    def workers(self) -> int:
        """How many pieces of work the workers that are there now can do at the same time."""
        if time.monotonic() - self._looked > _LOOK:
            self._threads = self._look()
        return self._places

    @property
    def _places(self) -> int:
        there = sum(max(1, each // self._threads_each) for each in self._threads.values())
        return max(1, there if self._most is None else min(there, self._most))

    def submit(self, key: str, *arguments: Any) -> None:
        """Hand it to the scheduler as soon as there is a place for it."""
        self._waiting.append((key, arguments))
        self._hand_in()

    def results(self, until: float | None = None) -> list[Done]:
        """Wait for one that has ended, and give all that have.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or no worker has been there for a minute.
        """
        while True:
            left = _LOOK if until is None else max(0.0, min(_LOOK, until - time.monotonic()))
            try:
                ended = [self._ended.get(timeout=left)]
            except queue.Empty:
                if left == 0:
                    return []
                self._threads = self._look()
                self._hand_in()
                continue
            while not self._ended.empty():
                ended.append(self._ended.get())
            done = [each for future in ended for each in self._of(future)]
            self._hand_in()
            if done:
                return done

    def close(self) -> None:
        """Take back what is under way; the cluster stays."""
        running = [future for _, _, future in self._running.values()]
        self._running.clear()
        self._waiting.clear()
        # A scheduler that is gone has nothing left to be taken back.
        with suppress(OSError, TimeoutError, CancelledError, RuntimeError):
            if self._client.status == "running":
                self._client.cancel(running, force=True)
                self._client.unregister_worker_plugin(self._name)

    def _hand_in(self) -> None:
        """Give the scheduler as much as there are places for.

        What waits at a worker is lost with it, and counts as if it had been what
        ended the worker: so it waits here.
        """
        while self._waiting and len(self._running) < self._places:
            key, arguments = self._waiting.popleft()
            self._tries[key] += 1
            name = f"{self._name}-{key}-{self._tries[key]}"
            future = self._client.submit(_do, self._name, arguments, key=name, pure=False)
            self._running[name] = (key, arguments, future)
            future.add_done_callback(self._ended.put)

    def _of(self, future: Future) -> list[Done]:
        """Give what a future came to; nothing where it is tried again, or nobody asked."""
        if future.key not in self._running:
            return []
        key, arguments, _ = self._running.pop(future.key)
        try:
            return [Done(key, future.result())]
        except KilledWorker as error:
            lost = f"{error.allowed_failures + 1} workers were gone before its end"
            return [Done(key, lost=lost)]
        except CancelledError:
            # The scheduler has forgotten it, or is not there to remember it.
            self._threads = self._look()
            if self._tries[key] >= MOST_TRIES:
                return [Done(key, lost=f"the cluster has lost it {MOST_TRIES} times")]
            self._waiting.append((key, arguments))
            return []
        except OSError:
            raise self._gone() from None

    def _look(self) -> Mapping[str, int]:
        """Ask the scheduler which workers there are, and how many threads each has."""
        self._looked = time.monotonic()
        if self._client.status != "running":
            raise self._gone()
        try:
            threads = self._client.nthreads()
        except (OSError, CancelledError):
            raise self._gone() from None
        if threads:
            self._seen_alive = self._looked
        elif self._looked - self._seen_alive > _ALONE:
            raise ClusterError(
                f"The Dask scheduler at {self._address} has had no worker for {_ALONE:.0f} s. Start"
                " workers with `dask worker ADDRESS`, and run the command again: it goes on where"
                " it stopped."
            )
        return dict(threads)

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"The Dask scheduler at {self._address} is gone. Start it and its workers again, and"
            " run the command again: it goes on where it stopped."
        )

    def _check(self, packages: Sequence[str]) -> None:
        """Refuse workers that would not do the same as this process."""
        try:
            found = self._client.run(_state, tuple(packages))
        except ImportError as error:
            raise ClusterError(
                f"A worker of the cluster can't begin: {error}. Workers need the same environment"
                " as this process, this project's package included."
            ) from None
        ours = dict(_state(tuple(packages)))
        for address, state in found.items():
            theirs = dict(state)
            other = [
                f"{name} {theirs.get(name, 'missing')} where this process has {version}"
                for name, version in ours.items()
                if theirs.get(name) != version
            ]
            if other:
                raise ClusterError(
                    f"The worker at {address} has {', '.join(other)}. With other versions it would"
                    " make other models: give all workers the environment of this process."
                )


def _state(packages: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    python = ".".join(map(str, sys.version_info[:2]))
    return (("python", python), ("ratchet", running_version()), *library_versions(packages))


def _do(name: str, arguments: tuple[Any, ...]) -> Any:
    """Do the work that a worker has been brought, there."""
    carried = get_worker().plugins[name]
    assert isinstance(carried, _Carried)
    return carried.work(*arguments)

"""Executors in this process: one piece of work after the other, or several in threads."""

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from ratchet.executor.base import Done, Work


class Serial:
    """Does one thing after the other, each when its result is asked for."""

    workers = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque()

    def submit(self, key: str, *arguments: Any) -> None:
        """Put it behind those that were handed in before."""
        self._waiting.append((key, arguments))

    def results(self, until: float | None = None) -> list[Done]:
        """Do the next one, however long it takes."""
        key, arguments = self._waiting.popleft()
        return [Done(key, self._work(*arguments))]

    def close(self) -> None:
        """Forget what was not begun."""
        self._waiting.clear()


class Threads:
    """Does several things at the same time in threads of this process."""

    def __init__(self, work: Work, workers: int) -> None:
        self.workers = workers
        self._work = work
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="trial")
        self._running: dict[Future[Any], str] = {}

    def submit(self, key: str, *arguments: Any) -> None:
        """Begin it as soon as a thread is free."""
        self._running[self._pool.submit(self._work, *arguments)] = key

    def results(self, until: float | None = None) -> list[Done]:
        """Wait for one; whatever it raised is raised here."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        return [Done(self._running.pop(future), future.result()) for future in done]

    def close(self) -> None:
        """Wait for those under way: a thread can't be ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)

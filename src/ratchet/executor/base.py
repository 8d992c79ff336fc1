"""What an executor is: work in, results out in any order, none lost and none twice."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Work = Callable[..., Any]

# Workers that a piece of work may outlive: what ends a third one is taken to be its own fault.
MOST_TRIES = 3


@dataclass(frozen=True)
class Done:
    """A piece of work that has ended."""

    key: str
    """The key under which it was handed in."""
    value: Any = None
    """What it gave."""
    lost: str | None = None
    """Why it gave nothing, in a clause: each worker that tried it was gone before its end."""


class Executor(Protocol):
    """Runs the same work on many arguments, some of them at the same time."""

    @property
    def workers(self) -> int:
        """How many pieces of work are worth being under way at the same time, by now."""

    def submit(self, key: str, *arguments: Any) -> None:
        """Hand in a piece of work, under a key of its own."""

    def results(self, until: float | None = None) -> list[Done]:
        """Wait for one that has ended, and give all that have; each is given once.

        Parameters
        ----------
        until : float, optional
            Time of ``time.monotonic()`` after which nobody waits any more. Then
            the list may be empty, and what is under way is given up. What runs in
            this process can't be given up, and is waited for.
        """

    def close(self) -> None:
        """End the workers, whatever they are doing."""


class Way(StrEnum):
    """How trials run at the same time."""

    HERE = "here"
    """In the process of the search: one after the other, or in threads."""
    PROCESSES = "processes"
    """In processes of their own on this machine."""
    DASK = "dask"
    """On the workers of a cluster of Dask's."""


@dataclass(frozen=True)
class Placement:
    """Where trials have run, and why there."""

    way: Way = Way.HERE
    """How they ran at the same time."""
    workers: int = 1
    """How many did."""
    why: str = ""
    """What decided it, in a clause; empty where there was nothing to decide."""

    @property
    def told(self) -> str:
        """A sentence for the log; empty where there is nothing to tell."""
        if not self.why:
            return ""
        where = {
            Way.HERE: "in this process",
            Way.PROCESSES: f"in {self.workers} processes",
            Way.DASK: f"on {self.workers} workers",
        }
        return f"trials run {where[self.way]}: {self.why}"


@dataclass(frozen=True)
class Moment:
    """A time of ``time.monotonic()`` that means the same in another process, and elsewhere.

    Clocks of two machines may differ: on arrival it is no later than the time
    that was left when it was sent.
    """

    at: float
    """The time, as this process counts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        left = self.at - time.monotonic()
        return _arrived, (left, time.time() + left)


def _arrived(left: float, wall: float) -> Moment:
    return Moment(time.monotonic() + min(left, wall - time.time()))

"""Processes that end, or stop, at any of their writes.

What a step leaves behind are files and rows of a database, and both change at few
moments: when a file is opened to be written, renamed or removed, and when a
transaction is committed. A ``Killer`` counts these in its process. It ends it just before
the n-th, which is just after the one before; or it stops it there, for a look at what a kill
at that moment would leave.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path

from conftest import hurry
from forks import processes, warm

FILES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Killer:
    """Counts the writes of this process under a folder and to databases.

    It ends the process at the n-th, or lets another look at each first.
    """

    def __init__(self, folder: Path, at: int | None = None, look: Connection | None = None) -> None:
        self.folder, self.at = str(folder), at
        self.n_writes, self.look = 0, look
        self._one = threading.RLock()

    def arm(self) -> None:
        """Count from now on, until the process ends."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        from ratchet import files

        changed: set[int] = set()

        def executed(connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.lstrip().upper().startswith(CHANGES):
                changed.add(id(connection))

        def committed(connection: object) -> None:
            if id(connection) in changed:
                changed.discard(id(connection))
                self.count("commit")

        event.listen(Engine, "before_cursor_execute", executed)
        event.listen(Engine, "commit", committed)
        sys.addaudithook(self.heard)
        exchange = files._exchange

        def exchanged(one: Path, other: Path) -> bool:
            self.count(f"exchange {other}")
            return exchange(one, other)

        files._exchange = exchanged

    def heard(self, what: str, arguments: Sequence[object]) -> None:
        """Count what the interpreter says that it does with a file."""
        if what == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif what not in FILES:
            return
        path = str(arguments[1] if what == "os.rename" else arguments[0])
        if self.folder in path and "__pycache__" not in path:
            self.count(f"{what} {path}")

    def count(self, what: str) -> None:
        """End the process if this is the one; wait for whoever looks."""
        with self._one:
            self.n_writes += 1
            if self.n_writes == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.look is not None:
                self.look.send(what)
                self.look.recv()


def act(
    do: Callable[..., object],
    arguments: Sequence[object],
    uri: str,
    folder: Path,
    at: int | None = None,
    look: Connection | None = None,
) -> None:
    """Do something in this process, which ends or stops at its writes."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    hurry()
    Killer(folder, at, look).arm()
    do(*arguments)


def killed_at(
    at: int, do: Callable[..., object], *arguments: object, uri: str, folder: Path
) -> bool:
    """Do something in a process that ends before its n-th write; tell whether there was one.

    Parameters
    ----------
    at : int
        Which write, from 1.
    do : callable
        A function of a module, as it has to travel.
    *arguments
        What it takes.
    uri : str
        MLflow's store.
    folder : Path
        Only files under it count.
    """
    warm()
    child = processes.Process(target=act, args=(do, arguments, uri, folder, at))
    child.start()
    child.join(120)
    assert child.exitcode in (0, -signal.SIGKILL), (at, child.exitcode)
    return child.exitcode != 0


def stopped_at_each(
    do: Callable[..., object], *arguments: object, uri: str, folder: Path
) -> Iterator[str]:
    """Do something in a process that stops before each write, until the next is asked for.

    What is on the disk then is what a kill at that moment would leave.

    Yields
    ------
    str
        What it is about to do.
    """
    warm()
    ours, its = processes.Pipe()
    child = processes.Process(target=act, args=(do, arguments, uri, folder, None, its))
    child.start()
    its.close()
    try:
        while True:
            yield ours.recv()
            ours.send(None)
    except EOFError:
        child.join(120)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        ours.close()


def work_for_ever(params: Path, uri: str, told: "Queue[list[str]]") -> None:
    """Open a run and one inside of it, say their ids, and go on until somebody ends it."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    hurry()
    from ratchet import tracking
    from ratchet.project import Project

    project = Project.open(params)
    tracking.connect(project)
    with tracking.run(project, "main") as main, tracking.run(project, "train") as train:
        told.put([main, train])
        threading.Event().wait()

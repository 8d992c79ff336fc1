"""LightGBM's learners beside the workers of a cluster: started, asked for rounds, and ended.

What runs at a worker is a function of this module, by Dask; what it talks to is `learner.py`.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np

from ratchet.executor import dealing

if TYPE_CHECKING:
    from distributed import Client, Future

_LEARNER = Path(__file__).with_name("learner.py")
# Seconds between two looks at whether a worker is lost, and until a learner must have ended.
_LOOK, _PATIENCE = 0.5, 30.0

Grow = Callable[[int], str]
"""Grows so many rounds more, and gives all that is grown, as LightGBM writes it."""


@contextmanager
def gathered(
    client: "Client",
    workers: Sequence[str],
    batches: Iterable[Sequence[np.ndarray]],
    params: dict[str, Any],
    categorical: Sequence[int],
    grown: str,
) -> Iterator[Grow]:
    """Start a learner beside each worker, with its part of the rows.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    workers : sequence of str
        Who learns; those that no batch is left for don't.
    batches : iterable of sequence of np.ndarray
        The rows: columns, target, and weights if there are any, of 4 bytes each.
    params : dict of str to Any
        LightGBM's own parameters.
    categorical : sequence of int
        Places of the columns that hold codes of categories.
    grown : str
        What has grown before, as LightGBM writes it; empty at the beginning.

    Yields
    ------
    callable
        Grows more rounds. It raises whatever a learner has failed of, and
        ``ConnectionError`` when a worker is lost while the others wait for it.
    """
    name = uuid4().hex
    held = dealing.held(client, workers, batches)
    team = list(held)

    def together(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        futures = [
            client.submit(
                function,
                name,
                *given,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
            )
            for worker, given in zip(team, arguments, strict=True)
        ]
        try:
            return _answers(client, futures, team)
        except ConnectionError:
            # The others may have told first that they can't reach the one that was killed.
            for worker, code in _run(client, code_of, name, team).items():
                if code is not None and code < 0:
                    raise ConnectionError(
                        f"LightGBM's learner at {worker} was killed by signal {-code}"
                    ) from None
            raise

    try:
        ports = together(begin, [(held.pop(worker), params, categorical) for worker in team])
        hosts = [urlsplit(worker).hostname for worker in team]
        machines = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
        together(tell, [((machines, grown),)] * len(team))

        def grow(rounds: int) -> str:
            asked = [((rounds, number == 0),) for number in range(len(team))]
            return str(together(ask, asked)[0])

        yield grow
    finally:
        _run(client, end, name, team)


def _run(
    client: "Client", function: Callable[[str], Any], name: str, team: Sequence[str]
) -> dict[str, Any]:
    """Call a function at once at those workers that are left, whatever they wait for."""
    with suppress(Exception):  # those that are lost meanwhile took their learners with them
        left = set(client.scheduler_info(n_workers=-1)["workers"])
        return dict(client.run(function, name, workers=[each for each in team if each in left]))
    return {}


def _answers(client: "Client", futures: "Sequence[Future]", team: Sequence[str]) -> list[Any]:
    """Wait for what all of them give, as long as all of them are there."""
    while not all(each.done() for each in futures):
        if any(each.status == "error" for each in futures):
            break
        if not set(team) <= set(client.scheduler_info(n_workers=-1)["workers"]):
            raise ConnectionError("a worker is lost")
        time.sleep(_LOOK)
    return list(client.gather([each for each in futures if each.done()]))


# What runs at a worker


@dataclass
class _Learner:
    process: subprocess.Popen[bytes]
    asked: Connection
    said: IO[bytes]


_LEARNERS: dict[str, _Learner] = {}


def begin(
    name: str, batches: list[list[np.ndarray]], params: dict[str, Any], categorical: Sequence[int]
) -> int:
    """Start a learner with its rows; give the port at which the others will find it."""
    from distributed import get_worker

    asked, theirs = Pipe()
    said = TemporaryFile()  # noqa: SIM115 (closed with the learner)
    process = subprocess.Popen(
        # Its own folder is no place to import from: a module here is called as the library is.
        [sys.executable, "-P", str(_LEARNER), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,
    )
    theirs.close()
    _LEARNERS[name] = _Learner(process, asked, said)
    # No array is copied here: what a worker holds of the rows and what its learner does is enough.
    shapes = [
        (sum(len(each) for each in of), *of[0].shape[1:]) for of in zip(*batches, strict=True)
    ]
    threads = {"num_threads": get_worker().state.nthreads}
    with _failing(name) as learner:
        learner.asked.send((shapes, params | threads, list(categorical)))
        for arrays in batches:
            for each in arrays:
                learner.asked.send_bytes(np.ascontiguousarray(each).data.cast("B"))
        return int(learner.asked.recv())


def tell(name: str, what: object) -> None:
    """Send something to a learner."""
    with _failing(name) as learner:
        learner.asked.send(what)


def ask(name: str, what: object) -> Any:
    """Send something to a learner, and wait for what it says."""
    with _failing(name) as learner:
        learner.asked.send(what)
        return learner.asked.recv()


@contextmanager
def _failing(name: str) -> Iterator[_Learner]:
    """Say what a learner has failed of where it ends instead of answering."""
    learner = _LEARNERS.get(name)
    if learner is None:
        raise ConnectionError("the learner has been ended")
    try:
        yield learner
    except (EOFError, OSError):
        code = learner.process.wait(_PATIENCE)
        learner.said.seek(0)
        told = learner.said.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise ConnectionError(f"LightGBM's learner ended with {code}: {told}") from None


def code_of(name: str) -> int | None:
    """Give the exit code of a learner; None while it goes on."""
    learner = _LEARNERS.get(name)
    return None if learner is None else learner.process.poll()


def end(name: str) -> None:
    """End a learner, whatever it waits for."""
    learner = _LEARNERS.pop(name, None)
    if learner is not None:
        learner.process.kill()
        learner.process.wait(_PATIENCE)
        learner.said.close()

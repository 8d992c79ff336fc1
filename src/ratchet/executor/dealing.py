"""Rows that the workers of a cluster hold between them; needs the extra ``dask``."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

# Seconds in which a worker that has failed another one must be gone, or it was no loss of a worker.
_NOTICED = 20.0


def workers_of(client: "Client") -> list[str]:
    """Name the workers that there are.

    Raises
    ------
    ClusterError
        If there is none.
    """
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise ClusterError(
            f"The Dask scheduler at {client.scheduler.address} has lost its last worker. Start"
            " some with `dask worker ADDRESS`, and train again."
        )
    return workers


def is_lost(client: "Client", before: Sequence[str]) -> bool:
    """Wait until it shows that one of the workers that there were is gone; False if none is."""
    until = time.monotonic() + _NOTICED
    while time.monotonic() < until:
        if not set(before) <= set(client.scheduler_info(n_workers=-1)["workers"]):
            return True
        time.sleep(0.1)
    return False


def dealt(
    client: "Client", workers: Sequence[str], batches: Iterable[Sequence[np.ndarray]]
) -> list[Any]:
    """Deal rows to workers, a batch to each in turn; no more than one is here at a time.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    workers : sequence of str
        Who gets rows.
    batches : iterable of sequence of np.ndarray
        The arrays of each batch, such as columns and target, with as many rows each.

    Returns
    -------
    list of dask.array.Array
        One for each array of a batch, with a part for each batch.
    """
    import dask
    from dask import array

    parts: list[list[Any]] = []
    for _, arrays, sent in _sent(client, workers, batches):
        held = [
            array.from_delayed(dask.delayed(future), values.shape, values.dtype)
            for future, values in zip(sent, arrays, strict=True)
        ]
        parts.append(held)
    return [array.concatenate(list(each)) for each in zip(*parts, strict=True)]


def held(
    client: "Client", workers: Sequence[str], batches: Iterable[Sequence[np.ndarray]]
) -> dict[str, list[list[Any]]]:
    """Deal rows to workers as `dealt` does, for what takes those of one worker together.

    Returns
    -------
    dict of str to list of list of distributed.Future
        The arrays of the batches that each worker has got; those that got none are left out.
    """
    parts: dict[str, list[list[Any]]] = {}
    for worker, _, sent in _sent(client, workers, batches):
        parts.setdefault(worker, []).append(sent)
    return parts


def _sent(
    client: "Client", workers: Sequence[str], batches: Iterable[Sequence[np.ndarray]]
) -> Iterator[tuple[str, Sequence[np.ndarray], list[Any]]]:
    for number, arrays in enumerate(batches):
        worker = workers[number % len(workers)]
        yield worker, arrays, client.scatter(list(arrays), workers=[worker], hash=False)

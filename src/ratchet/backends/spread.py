"""Boosts trees over the workers of a cluster, and goes on when one is lost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ratchet.backends.base import Stream
from ratchet.backends.growth import Watch
from ratchet.executor import dealing
from ratchet.executor.cluster import connected
from ratchet.settings import Execution

if TYPE_CHECKING:
    from distributed import Client

# Rounds between two checkpoints: a lost worker costs as many, and each beginning some seconds.
ROUNDS = 50


class Growing(Protocol):
    """How a library grows over workers; what has been grown is in the library's own form."""

    def gathered(
        self, client: "Client", workers: Sequence[str], grown: Any
    ) -> AbstractContextManager[Callable[[Any, int], Any]]:
        """Deal the rows to workers; give what grows so many more rounds on what was grown."""

    def n_rounds(self, grown: Any) -> int:
        """Count the rounds."""

    def answers(self, grown: Any, begun: int) -> Iterable[np.ndarray]:
        """Give what it says about the valid rows after each of the rounds since ``begun``."""


def sent_of(stream: Stream) -> Iterator[list[np.ndarray]]:
    """Give what workers are sent of each batch: columns, target, and weights if there are any."""
    for rows in stream.batches():
        X = rows.X.toarray() if hasattr(rows.X, "toarray") else np.asarray(rows.X)
        arrays = [X, rows.y, *([] if rows.weights is None else [rows.weights])]
        yield [each.astype("float32") for each in arrays]


def from_checkpoints(execution: Execution, growing: Growing, watch: Watch) -> Any:
    """Boost on rows that the workers hold between them, from checkpoint to checkpoint.

    The workers add up their sums in each round, and none can go on when one of
    them is lost. So what was grown comes back after each ``ROUNDS`` rounds, and
    when that fails, the rows are dealt to the workers that are left, who go on
    from there.

    Parameters
    ----------
    execution : Execution
        Names the cluster.
    growing : Growing
        Has the library's workers grow.
    watch : Watch
        Says after each round whether it was the last one.

    Returns
    -------
    Any
        What was grown, with the rounds after the best one.

    Raises
    ------
    ClusterError
        If no worker is left.
    """
    grown: Any = None
    with connected(execution) as client:
        while True:
            workers = dealing.workers_of(client)
            try:
                with growing.gathered(client, workers, grown) as grow:
                    while True:
                        begun = 0 if grown is None else growing.n_rounds(grown)
                        asked = min(ROUNDS, watch.cap - begun)
                        grown = grow(grown, asked)
                        if _is_over(growing, grown, begun, watch) or watch.cap <= begun + asked:
                            return grown
            except Exception:  # those that are left may fail in any way
                if not dealing.is_lost(client, workers):
                    raise


def _is_over(growing: Growing, grown: Any, begun: int, watch: Watch) -> bool:
    """Tell the watch of each new round, and whether any of them was the last."""
    new = range(begun, growing.n_rounds(grown))
    answers: Iterable[np.ndarray | None]
    answers = growing.answers(grown, begun) if watch.stops else ()
    for _, said in zip(new, chain(answers, repeat(None)), strict=False):
        if said is not None:
            watch.tell(said)
        if watch.is_over():
            return True
    return not new  # there is nothing left to gain

"""A program that boosts LightGBM's trees together with others like it, one beside each worker.

It is a program of its own because LightGBM's learners wait for ever for one that is lost: reading
from a connection whose other end is gone, they read nothing, again and again, and only the end of
the process ends that. It is started by its path, and imports nothing of this package.
"""

import os
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import lightgbm
import numpy as np
from lightgbm.callback import CallbackEnv, EarlyStopException

# Seconds after which nobody will ask for more rounds, and those that a round may take at least.
IDLE, PATIENCE = 600.0, 600.0
# A round that takes so many times as long as the longest one before waits for one that is lost.
SLOWER = 50
# Rounds are asked for in parts, and their end is told.
MANY = 10**6


class Rounds:
    """Grows as many rounds as it is asked for, tells what has grown, and waits for more."""

    def __init__(self, asked: Connection) -> None:
        self._asked = asked
        self._left = 0
        self._tells = False
        self._longest = 0.0
        self._since: float | None = None

    def wait(self) -> bool:
        """Wait until more rounds are asked for; False if there is to be none."""
        self._since = None
        if not self._asked.poll(IDLE):
            sys.exit("Nobody has asked for more rounds for ten minutes.")
        self._left, self._tells = self._asked.recv()
        self._since = time.monotonic()
        return self._left > 0

    def __call__(self, env: CallbackEnv) -> None:
        """Count a round that has ended."""
        now = time.monotonic()
        assert self._since is not None
        self._longest, self._since = max(self._longest, now - self._since), now
        self._left -= 1
        if self._left:
            return
        self._asked.send(env.model.model_to_string(num_iteration=-1) if self._tells else "")
        if not self.wait():
            raise EarlyStopException(env.iteration, [])

    def end_if_stuck(self) -> None:
        """End this process once a round takes so long that another learner must be lost.

        Whoever asked for it ends it sooner, unless it is gone itself.
        """
        while True:
            time.sleep(PATIENCE / 100)
            since = self._since
            if since is not None and self._longest:
                limit = max(PATIENCE, SLOWER * self._longest)
                if time.monotonic() - since > limit:
                    os._exit(3)


def _received(asked: Connection, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Put together the arrays of which a batch after the other comes."""
    arrays = [np.empty(shape, dtype="float32") for shape in shapes]
    at = 0
    while at < shapes[0][0]:
        got = [asked.recv_bytes_into(each[at:].data.cast("B")) for each in arrays]
        at += got[1] // arrays[1].itemsize
    return arrays


def main() -> None:
    """Learn from what comes over the connection whose number is the only argument."""
    asked = Connection(int(sys.argv[1]))
    shapes, params, categorical = asked.recv()
    X, y, *weights = _received(asked, shapes)
    rounds = Rounds(asked)
    threading.Thread(target=rounds.end_if_stuck, daemon=True).start()
    with socket.socket() as held:  # until LightGBM takes it
        held.bind(("", 0))
        port = held.getsockname()[1]
        asked.send(port)
        machines, grown = asked.recv()
    together: dict[str, Any] = {}
    if len(machines) > 1:
        together = {
            "tree_learner": "data",
            "pre_partition": True,
            "machines": ",".join(machines),
            "num_machines": len(machines),
            "local_listen_port": port,
        }
    data = lightgbm.Dataset(
        X, y, weight=weights[0] if weights else None, categorical_feature=categorical, params=params
    )
    if not rounds.wait():
        return
    booster = lightgbm.train(
        {**params, **together},
        data,
        num_boost_round=MANY,
        init_model=lightgbm.Booster(model_str=grown) if grown else None,
        callbacks=[rounds],
    )
    booster.free_network()


if __name__ == "__main__":
    try:
        main()
    except EOFError:  # whoever asked is gone
        sys.exit(1)

"""The champion answers requests over HTTP, and its successor does as soon as there is one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ratchet import tracking
from ratchet.interrupts import terminated_as_interrupt
from ratchet.project import Project
from ratchet.serving import live, server
from ratchet.serving.live import Live

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A server that takes requests."""

    address: str
    """Where, e.g. ``"http://127.0.0.1:5001"``."""
    model: str
    """Which version answers first, e.g. ``"taxi/3"``."""
    follows: str | None
    """``NAME@ALIAS`` that decides which version answers; None when one was pinned."""


def run(
    project: Project,
    reference: str | None = None,
    *,
    host: str,
    port: int,
    refresh: float,
    wait: bool,
    most_bytes: int,
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve the champion until the process is told to stop.

    Parameters
    ----------
    project : Project
        Names the registered model, its alias and the store.
    reference : str, optional
        Version to serve, as for ``served.find``; the champion if left out.
    host, port
        As for ``server.bind``.
    refresh : float
        Seconds between two looks at the alias.
    wait : bool
        Whether to wait for a version and for the store, where there is none yet.
    most_bytes : int
        Longest request.
    on_ready : callable
        Called when requests are taken.

    Raises
    ------
    RatchetError
        If the port is in use.
    StoreError
        If there is no version to serve, or it can't be loaded.
    InterruptionError
        In place of Ctrl-C, while it serves.
    """
    # A port that isn't free is told before a model is loaded.
    with server.bind(host, port) as place:
        with terminated_as_interrupt():
            if wait:
                lives = live.wait(project, reference, refresh, tracking.connect)
            else:
                tracking.connect(project)
                lives = Live.begin(project, reference)
        ready = Ready(server.address(place), lives.now.served.label, lives.follows)
        if server.is_open(place):
            logger.warning(
                "serve: whoever can reach %s may ask the model: there is no password and no"
                " encryption. Put a proxy with both before it, or leave --host at 127.0.0.1.",
                ready.address,
            )

        def begin() -> None:
            follows = f"follows {ready.follows} every {refresh:g} s" if ready.follows else "pinned"
            logger.info("serve: %s answers at %s, %s", ready.model, ready.address, follows)
            lives.follow(refresh)
            on_ready(ready)

        try:
            server.serve(server.App(lives, most_bytes), place, begin)
        finally:
            lives.stop()

"""What ends a program from outside."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, as a container gets it, end a step as Ctrl-C does."""

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever started us handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held_back() -> Iterator[None]:
    """Let what is done at a program's end be done, although Ctrl-C or SIGTERM comes once more.

    The next but one is heard: what is done may wait for a server that is dead.
    """
    n_heard = 0

    def hear(_signal: int, _frame: Any) -> None:
        nonlocal n_heard
        n_heard += 1
        if n_heard > 1:
            raise KeyboardInterrupt

    before = {}
    with suppress(ValueError):  # not the main thread
        before = {each: signal.signal(each, hear) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

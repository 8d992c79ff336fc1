"""Keeps matrix products on one thread."""

from contextlib import ContextDecorator
from threading import Lock
from typing import Any


class _OneThread(ContextDecorator):
    """Keeps matrix products on one thread while anyone is inside.

    The products of a small batch are over before a second thread has begun:
    on 2 busy cores, two threads took 60 times as long as one. And the last bits
    of a product depend on how many threads have made it. The setting belongs to
    the process, so that the first one in makes it and the last one out takes it
    back: of two fits beside each other, neither may change it for the other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        # Only libraries that are loaded can be limited, and scipy brings one of its own.
        import scipy.linalg  # noqa: F401
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._inside:
                self._limits = threadpool_limits(1, user_api="blas")
            self._inside += 1

    def __exit__(self, *reason: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


ONE_THREAD = _OneThread()
"""A context, and a decorator, that may be entered from several threads and within itself."""

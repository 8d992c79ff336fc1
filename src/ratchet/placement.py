"""Where the trials of one search run: as the settings say, or as its first fits have shown."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from ratchet import backends
from ratchet.backends.growth import cuda_devices
from ratchet.errors import RatchetError
from ratchet.executor.base import Done, Executor, Placement, Way
from ratchet.executor.cluster import connected
from ratchet.executor.here import Serial, Threads
from ratchet.executor.machine import idle_seconds
from ratchet.executor.processes import Processes
from ratchet.search import Candidate, Elsewhere, Place, TrialResult, Trying
from ratchet.settings import Device, Engine, Settings

# The first fits are looked at for so long, as a share of the budget, and for so many trials.
LOOK_SHARE = 0.05
LOOK_SECONDS = 5.0
LOOK_TRIALS = 3
# Processes are worth nothing where threads leave less than this share of the cores idle.
IDLE_SHARE = 0.25
# What a process costs before it does anything: it loads the libraries and prepares the rows.
SECONDS_TO_BEGIN = 4.0
# They must gain so many times what they cost, if they make use of half of what is idle.
GAIN = 4.0
USED_SHARE = 0.5
# Whether trials are tried in this process until the others have begun.
BEGIN_HERE = True


class Spread(Place, Protocol):
    """A place whose trials can be made at the same time."""

    threads: int
    """Threads that all trials have together."""
    beside: int
    """Trials that share them."""

    def with_threads(self, threads: int) -> Self:
        """Give the same place with so many threads for each trial."""


@dataclass
class Placed:
    """The places of one search, as long as they are open."""

    executor: Executor | None = None
    """Where trials are tried; None where the search itself does it."""
    ordered: bool = False
    """Whether workers' speed may not decide what is tried next."""
    window: int | None = None
    """Trials that are begun before the first is told, if ordered; None: as many as workers."""
    _placement: Placement = field(default_factory=Placement)
    took: float = 0.0
    """Seconds that it took to open them: a cluster has to begin."""

    def left(self, seconds: float | None) -> float | None:
        """Give what is left of the time that there was when they began to be opened."""
        return None if seconds is None else max(0.0, seconds - self.took)

    @property
    def placement(self) -> Placement:
        """Where trials run by now."""
        if isinstance(self.executor, _Moving):
            return self.executor.placement
        return self._placement

    def elsewhere(
        self,
        take: Callable[[Candidate, Any], None],
        keep: Callable[[TrialResult], None] = lambda _: None,
    ) -> Elsewhere | None:
        """Give a search what it needs to try candidates here; None where it does so itself.

        Parameters
        ----------
        take, keep : callable
            As ``search.Elsewhere`` has them.
        """
        return None if self.executor is None else Elsewhere(self.executor, take, keep)


@contextmanager
def opened(
    settings: Settings,
    place: Spread,
    *,
    seconds: float | None,
    many_rows: bool = False,
    earlier: Placement | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[Placed]:
    """Open the places where the trials of a search run, and close them after it.

    Parameters
    ----------
    settings : Settings
        ``execution`` and ``train.device`` are used.
    place : Spread
        What fits and scores candidates, here and wherever it is sent.
    seconds : float, optional
        The time that the search has; None for no limit. Without one, nothing that
        a clock or a machine says may decide what is tried.
    many_rows : bool
        Whether one fit gains more from all threads than several from one each.
    earlier : Placement, optional
        Where a search that is made again has run.
    told : callable
        Is told in a sentence where trials run, and why, as soon as that is decided.

    Yields
    ------
    Placed

    Raises
    ------
    ClusterError
        If there is no cluster where the settings name one.
    RatchetError
        If there is no graphics processor where they ask for it.
    """
    execution = settings.execution
    ordered = execution.ordered or seconds is None
    if execution.engine is Engine.DASK:
        with _on_a_cluster(settings, place, ordered=ordered, many_rows=many_rows) as placed:
            told(placed.placement.told)
            yield placed
        return
    if settings.train.device is Device.CUDA and not cuda_devices():
        raise _no_device("on this machine")
    wanted = execution.workers
    if earlier is not None and earlier.way is not Way.HERE and wanted is None:
        wanted = earlier.workers
    n_processes = min(wanted or 1, place.threads)
    if n_processes > 1:
        why = (
            "execution.workers asks for them"
            if execution.workers
            else "so many had the search that is made again"
        )
        if wanted != n_processes:
            why = f"there are {place.threads} threads for the {wanted} that are wanted"
        place.beside = n_processes
        settled = Placement(Way.PROCESSES, n_processes, why)
        moving = _Moving(place, settled=settled, told=told)
        try:
            yield Placed(moving, ordered, execution.workers)
        finally:
            moving.close()
        return
    if execution.workers is not None:
        place.beside = 1
    here = Placed(None, ordered, execution.workers, Placement(workers=place.beside))
    if earlier is not None or execution.workers or ordered or many_rows or seconds is None:
        yield here
        return
    moving = _Moving(place, seconds=seconds, told=told)
    try:
        yield Placed(moving) if moving.may_gain else here
    finally:
        moving.close()


@contextmanager
def _on_a_cluster(
    settings: Settings, place: Spread, *, ordered: bool, many_rows: bool
) -> Iterator[Placed]:
    execution = settings.execution
    begun = time.monotonic()
    with connected(execution, place.threads) as client:
        from ratchet.executor.scheduled import Scheduled

        if settings.train.device is Device.CUDA:
            without = [name for name, count in client.run(cuda_devices).items() if not count]
            if without:
                raise _no_device(f"where the workers {', '.join(without)} are")
        each = min(client.nthreads().values()) if many_rows else 1
        scheduled = Scheduled(
            client,
            Trying(place.with_threads(each)),
            threads_each=each,
            most=execution.workers,
            packages=backends.packages(),
        )
        where = execution.address or "that was started on this machine"
        workers = scheduled.workers
        place.beside = workers
        placement = Placement(Way.DASK, workers, f"those of the Dask cluster {where}")
        try:
            took = time.monotonic() - begun
            yield Placed(scheduled, ordered, execution.workers or workers, placement, took)
        finally:
            scheduled.close()


def _no_device(where: str) -> RatchetError:
    return RatchetError(
        f"train.device is cuda, and CUDA sees no graphics processor {where}. Set it to auto, which"
        " takes one where there is one, or to cpu."
    )


class _Moving:
    """Tries candidates in this process, and in others as soon as these have begun.

    Threads of one process take turns wherever Python itself is at work. What
    that leaves idle, processes could use, if there is time enough to pay for
    their beginning: the first fits decide it, unless it is settled.
    """

    def __init__(
        self,
        place: Spread,
        *,
        seconds: float = 0.0,
        settled: Placement | None = None,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Begin here.

        Parameters
        ----------
        place : Spread
            What fits and scores candidates.
        seconds : float
            The time that there is, from which a first look decides.
        settled : Placement, optional
            The processes that there shall be, whatever the first look would say.
        told : callable
            Is told what was decided.
        """
        self._place, self._seconds, self._told = place, seconds, told
        self._most = settled.workers if settled else place.threads
        work = Trying(place, here=True)
        beside = place.beside
        self._here: Serial | Threads = Serial(work) if beside == 1 else Threads(work, beside)
        self._processes: Processes | None = None
        self._moved = False
        self._running_here = 0
        self._ended = 0
        self._began = time.monotonic()
        self._idle = idle_seconds(self._most)
        self.placement = settled or Placement(workers=beside)
        if settled:
            self._begin()

    @property
    def may_gain(self) -> bool:
        """Whether processes could be worth what they cost if every core but one were idle."""
        return self._worth(self._most - 1.0, self._seconds - self._look)

    @property
    def workers(self) -> int:
        """How many trials are worth being under way at the same time, by now."""
        return self._most if self._moved else self._here.workers

    def submit(self, key: str, *arguments: Any) -> None:
        """Try it in this process, or in another one once these are ready."""
        if self._processes is not None and (self._moved or not BEGIN_HERE):
            self._processes.submit(key, *arguments)
        else:
            self._running_here += 1
            self._here.submit(key, *arguments)

    def results(self, until: float | None = None) -> list[Done]:
        """Wait for one that has ended, and give all that have."""
        if self._running_here:
            done = self._here.results(until)
            self._running_here -= len(done)
        else:
            assert self._processes is not None
            done = self._processes.results(until)
        self._ended += len(done)
        if not self._moved:
            self._look_around()
        return done

    def close(self) -> None:
        """End the processes, if there are any, and wait for the threads."""
        if self._processes is not None:
            self._processes.close()
        self._here.close()

    @property
    def _look(self) -> float:
        return max(LOOK_SECONDS, LOOK_SHARE * self._seconds)

    def _begin(self) -> None:
        self._place.beside = self._most
        self._processes = Processes(Trying(self._place), self._most)
        self._told(self.placement.told)

    def _look_around(self) -> None:
        if self._processes is not None:
            self._moved = self._processes.ready
            return
        took = time.monotonic() - self._began
        if self.placement.why or took < self._look or self._ended < LOOK_TRIALS:
            return
        idle = max(0.0, (idle_seconds(self._most) - self._idle) / took)
        first = f"the first {self._ended} of them left {idle:.1f} of {self._most} cores idle"
        if self._worth(idle, self._seconds - took):
            self.placement = Placement(Way.PROCESSES, self._most, first)
            self._begin()
        else:
            self.placement = Placement(workers=self._here.workers, why=first)
            self._told(self.placement.told)

    def _worth(self, idle: float, left: float) -> bool:
        """Tell whether processes gain more than they cost, in seconds of a core."""
        cost = self._most * SECONDS_TO_BEGIN
        return idle >= IDLE_SHARE * self._most and USED_SHARE * idle * left >= GAIN * cost

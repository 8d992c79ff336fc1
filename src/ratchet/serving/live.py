"""The version that answers now, and the look for its successor."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread

from ratchet.errors import RatchetError, StoreError
from ratchet.project import Project
from ratchet.registry.versions import Version
from ratchet.serving import served
from ratchet.serving.wire import JSON, Answering

logger = logging.getLogger(__name__)

# Seconds after which a version that could not be loaded is tried again; twice as many each time.
_PAUSE, _LONGEST_PAUSE = 10.0, 60.0


@dataclass(frozen=True)
class State:
    """Which version answers, and how it got there."""

    model: str
    """Name and number, e.g. ``"taxi/3"``."""
    name: str
    """Name of the registered model."""
    version: int
    """Its number."""
    run_id: str
    """Run that trained it."""
    follows: str | None
    """``NAME@ALIAS`` that decides which version answers; None when one was pinned."""
    since: str
    """When it began to answer here, in UTC as ISO 8601."""
    looked: str
    """When the registry last said which version it should be."""
    problem: str | None
    """Why it is not that version, or why nobody knows; None when all is well."""


@dataclass(frozen=True)
class _Refused:
    """A version that could not be loaded."""

    version: Version
    told: str
    pause: float
    again: float


class Live:
    """Holds the version that answers, and replaces it by the one that the registry names.

    Whoever answers a request takes ``now`` once and asks that: no request sees
    two versions, and the old one is there until the last of its requests has
    been answered.
    """

    def __init__(self, project: Project, reference: str | None, first: Answering) -> None:
        self.now = first
        """The version that answers."""
        self._project, self._reference = project, reference
        self._since = self._looked = _moment()
        self._problem: str | None = None
        self._refused: _Refused | None = None
        self._stopped = Event()

    @classmethod
    def begin(cls, project: Project, reference: str | None = None) -> "Live":
        """Load the champion, or the version that a person names, and ask it for the first time.

        Parameters
        ----------
        project : Project
            Whose settings name the registered model and its alias.
        reference : str, optional
            As for ``served.find``.

        Raises
        ------
        StoreError
            If there is no such version, it can't be loaded, or it doesn't answer.
        """
        return cls(project, reference, load(project, served.find(project, reference)))

    @property
    def follows(self) -> str | None:
        """What decides which version answers, as ``NAME@ALIAS``; None when one was pinned."""
        if self._reference is None:
            settings = self._project.settings
            return f"{settings.model_name}@{settings.registry.alias}"
        return self._reference.removeprefix("models:/") if "@" in self._reference else None

    @property
    def state(self) -> State:
        """Tell which version answers."""
        answering = self.now.served
        return State(
            model=answering.label,
            name=answering.version.model,
            version=answering.version.number,
            run_id=answering.version.run_id,
            follows=self.follows,
            since=self._since,
            looked=self._looked,
            problem=self._problem,
        )

    def follow(self, every: float) -> None:
        """Look for another version every so many seconds, in a thread, until ``stop``."""
        if self.follows is not None:
            Thread(target=self._follow, args=(every,), name="follow", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _follow(self, every: float) -> None:
        while not self._stopped.wait(every):
            self.look()

    def look(self) -> None:
        """Ask the registry once; whatever goes wrong, the version of now goes on."""
        label = self.now.served.label
        try:
            version = served.find(self._project, self._reference)
        except Exception as error:  # a store fails in as many ways as there are stores
            self._tell(f"{label} goes on, nobody says which version should: {error}")
            return
        self._looked = _moment()
        if version == self.now.served.version:
            self._refused = None
            self._well()
            return
        refused = self._refused if self._refused and self._refused.version == version else None
        if refused is not None and time.monotonic() < refused.again:
            self._tell(refused.told)
            return
        started = time.perf_counter()
        try:
            loaded = load(self._project, version)
        except Exception as error:  # a model may fail in any way, and must not take this one along
            pause = min(2 * refused.pause, _LONGEST_PAUSE) if refused else _PAUSE
            told = f"{label} goes on, {version.label} can't answer: {error}"
            self._refused = _Refused(version, told, pause, time.monotonic() + pause)
            self._tell(told)
            return
        self.now, self._since, self._refused = loaded, _moment(), None
        logger.info(
            "serve: %s answers now, %s did; loaded in %.1f s",
            loaded.served.label,
            label,
            time.perf_counter() - started,
        )
        self._well(told=False)

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("serve: %s", problem)
        self._problem = problem

    def _well(self, *, told: bool = True) -> None:
        if self._problem is not None and told:
            logger.info("serve: %s is the version that should answer", self.now.served.label)
        self._problem = None


def load(project: Project, version: Version) -> Answering:
    """Load a version and let it answer the example that it was logged with.

    The first answer takes longer than those after it, and one that fails is
    better seen before anybody has asked.

    Raises
    ------
    StoreError
        If it can't be loaded, or can't answer.
    """
    answering = Answering(served.load(project, version))
    example = served.example(version)
    if example is not None:
        answer = answering.ask(example, JSON)
        if answer.status != 200:
            told = json.loads(answer.body)["message"]
            raise StoreError(f"It doesn't answer its own example. {told}")
    return answering


def wait(
    project: Project, reference: str | None, every: float, connect: Callable[[Project], object]
) -> Live:
    """Begin as soon as there is a version that answers.

    Parameters
    ----------
    project, reference
        As for ``Live.begin``.
    every : float
        Seconds between two tries.
    connect : callable
        Points MLflow at the project's store.
    """
    told = ""
    while True:
        try:
            connect(project)
            return Live.begin(project, reference)
        except RatchetError as error:
            if str(error) != told:
                told = str(error)
                logger.warning("serve: waits: %s", told)
        time.sleep(every)


def _moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

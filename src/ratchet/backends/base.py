"""What a backend is, and the shelf on which backends stand."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from ratchet.errors import RatchetError
from ratchet.features import Preparation
from ratchet.problem import ProblemType
from ratchet.settings import Execution
from ratchet.sources import ENTRY_POINTS

Registered = TypeVar("Registered", bound=Any)

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Real:
    """A hyperparameter between two numbers."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether its order of magnitude is what matters."""


@dataclass(frozen=True)
class Integer:
    """A whole hyperparameter between two numbers, both allowed."""

    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Whether its order of magnitude is what matters."""


@dataclass(frozen=True)
class Choice:
    """A hyperparameter that is one of a few values."""

    options: tuple[Any, ...]
    """The values."""


Dimension = Real | Integer | Choice
Space = Mapping[str, Dimension]


# Trees a round that make boosting dearer than families that answer for all classes at once.
MOST_TREES_A_ROUND = 3


@dataclass(frozen=True)
class Task:
    """What there is to learn, as far as a space of hyperparameters depends on it."""

    problem: ProblemType
    """Kind of problem."""
    n_rows: int
    """Training rows."""
    n_columns: int
    """Feature columns of the table."""
    n_classes: int = 0
    """Classes of the target; 0 for a quantity."""

    @property
    def boosting_cost(self) -> float:
        """How many times as long boosting takes as for a quantity, which one tree a round is for.

        Each class has a tree of its own. No more than three count: such a fit ends by the clock.
        """
        several = self.problem is ProblemType.MULTICLASS
        return float(min(self.n_classes, MOST_TREES_A_ROUND)) if several else 1.0


class Interpretability(StrEnum):
    """How a person finds out why a model answers as it does; an order, the clearest first."""

    READ = "read"
    """The model itself can be read: a coefficient a column, a small tree, a constant."""
    INSPECT = "inspect"
    """It can be looked into: trees have splits to count, but too many of them to read."""
    ASK = "ask"
    """It can only be asked, with changed rows: networks, neighbours, models that vote."""

    @property
    def rank(self) -> int:
        """Its place in the order, from 0 for what can be read."""
        return list(Interpretability).index(self)


@dataclass(frozen=True)
class Family:
    """One kind of model that a backend builds."""

    name: str
    """Name in params.yaml and in the trials."""
    preparation: Preparation
    """What its input looks like."""
    starts: tuple[Params, ...] = ({},)
    """Settings known to be good across tables, the cheapest first; tried before any search."""
    space: Space = field(default_factory=dict)
    """Hyperparameters to search over; empty when there is nothing to tune."""
    is_baseline: bool = False
    """Whether it ignores the features: what any model must beat."""
    cost: float = 1.0
    """Rough time of a fit, in those of a linear model: the portfolio begins with the cheapest."""
    rounds: str | None = None
    """Hyperparameter that early stopping finds, e.g. ``n_estimators``; None without any."""
    refits: int = 1
    """Fits on all rows, each with a seed of its own, that answer by their mean; more than one where
    a single fit depends much on luck and costs little."""
    interpretability: Interpretability = Interpretability.ASK
    """How a person finds out why it answers as it does; of what nobody has declared, by asking."""


@dataclass(frozen=True)
class Rows:
    """Prepared rows and their target."""

    X: Any
    """Array, sparse matrix or data frame of shape (n_rows, n_outputs)."""
    y: np.ndarray
    """Class codes or quantities, of shape (n_rows,)."""
    weights: np.ndarray | None = None
    """How much each row counts, of shape (n_rows,); None when all count the same."""


@dataclass(frozen=True)
class Stream:
    """Prepared rows that come in batches, as all of them at once do not fit in memory."""

    batches: Callable[[], Iterator[Rows]]
    """Gives them once more from the beginning, in the same batches."""
    n_rows: int
    """How many there are."""
    folder: Path
    """Where a library may keep files of its own while it fits."""
    execution: Execution | None = None
    """The cluster whose workers hold the rows between them; None fits here, from disk."""


@dataclass
class Looks:
    """Counts how often a fit asks whether its time is up, so that it can be told the same again.

    A fit asks at places that only its own progress decides, such as the end of
    a round. So the number of the question that got the first yes says where the
    clock has ended it, and a replay says yes to the same one.
    """

    up_at: int | None = None
    """Number of the look at which the time was up, from 1; None while it is not."""
    count: int = 0
    """Looks so far."""

    def time_is_up(self, deadline: float | None) -> bool:
        """Look at the clock; without a deadline, answer as it was answered before."""
        self.count += 1
        if deadline is None:
            return self.up_at is not None and self.count >= self.up_at
        late = time.monotonic() >= deadline
        if late and self.up_at is None:
            self.up_at = self.count
        return late


@dataclass(frozen=True)
class Request:
    """One model to fit."""

    family: str
    """Name of the family."""
    params: Params
    """Hyperparameters; those left out take the family's defaults."""
    task: Task
    """What there is to learn."""
    train: Rows
    """Rows to learn from."""
    valid: Rows | None
    """Rows to stop early on; None when the number of rounds is known."""
    categorical: np.ndarray
    """Boolean mask of shape (n_outputs,): which columns of X are codes of categories."""
    metric: str
    """Score that is optimised, by its name, for a library that has it built in."""
    threads: int
    """Most threads to use."""
    seed: int
    """Seed of every random choice."""
    loss: Callable[[np.ndarray], float] | None = None
    """Maps what a model says about the valid rows to the number to minimise: quantities of shape
    (n,) or probabilities of shape (n, n_classes). None when there are no valid rows."""
    deadline: float | None = None
    """Time of ``time.monotonic()`` at which to stop with what there is. A fit that asks
    ``out_of_time`` instead can be replayed."""
    gpu: bool = False
    """Whether a graphics processor may be used, where the library sees one."""
    interrupted: threading.Event | None = None
    """Set when the fit is no longer wanted, since the whole search was interrupted."""
    looks: Looks = field(default_factory=Looks)
    """Remembers when the time was up; in a replay, knows it beforehand."""
    stream: Stream | None = None
    """All rows to learn from, where ``train`` has a sample of them; only a backend that
    ``streams`` gets one."""

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline has passed, or nobody waits for the fit any more."""
        if self.interrupted is not None and self.interrupted.is_set():
            return True
        return self.looks.time_is_up(self.deadline)


@dataclass(frozen=True)
class Fitted:
    """A fitted model, and how to make it again without rows to stop on."""

    estimator: Any
    """Estimator with scikit-learn's ``predict`` and, for classes, ``predict_proba``."""
    params: Params
    """The request's hyperparameters with what early stopping found, e.g. ``n_estimators``."""
    curve: tuple[float, ...] = ()
    """Loss on the valid rows after each round, as far as the library tells."""
    cut_short: bool = False
    """Whether the deadline ended it before it was done."""
    n_bytes: int = 0
    """About how large it is when it is saved, for a model so large that saving it takes time."""


class Backend(ABC):
    """A registered way to build and fit models.

    A backend describes models and fits them. It never splits rows, logs, saves
    or reads settings.
    """

    name: ClassVar[str]
    """Name on the shelf."""
    problems: ClassVar[frozenset[ProblemType]] = frozenset(
        problem for problem in ProblemType if problem.has_target
    )
    """Problems that it is asked about; clustering only where a backend says so."""
    trusted_types: ClassVar[tuple[str, ...]] = ()
    """Classes in its saved models that skops does not know by itself."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that a saved model needs beside scikit-learn."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that must be installed; a backend that misses one offers no families."""
    streams: ClassVar[bool] = False
    """Whether it can learn from rows that come in batches from disk; see ``Request.stream``."""
    spreads: ClassVar[bool] = False
    """Whether it can learn from such rows over the workers of a cluster."""
    deterministic: ClassVar[bool] = False
    """Whether equal requests give models that are equal bit for bit, on one machine. Nobody knows
    that of a backend whose author does not say so."""

    def __init__(self, options: Params | None = None) -> None:
        """Take the backend's own section of ``train.backends`` in params.yaml."""
        self.options: Params = options or {}

    def takes_batches(self, execution: Execution) -> bool:
        """Tell whether it can learn from rows that come in batches, where those would be."""
        return self.streams if execution.address is None else self.spreads

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of the user's own that a saved model needs in order to be loaded."""
        return ()

    @property
    def callable_modules(self) -> tuple[str, ...]:
        """Modules, installed ones included, whose functions a saved model may name."""
        return self.modules

    @property
    def missing(self) -> tuple[str, ...]:
        """Modules that it needs and that are not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)

    def doubt(self, family: str, *, threads: int, gpu: bool) -> str:
        """Say why fitting a family twice may give two models, in a clause.

        Parameters
        ----------
        family : str
            Name of the family.
        threads : int
            Most threads that a fit gets.
        gpu : bool
            Whether a graphics processor may be used.

        Returns
        -------
        str
            Empty when equal requests give equal models.
        """
        return "" if self.deterministic else "its author has not declared it deterministic"

    @abstractmethod
    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the families that suit ``task``, the cheapest first."""

    @abstractmethod
    def fit(self, request: Request) -> Fitted:
        """Fit one model."""


_SHELF: dict[str, type[Backend]] = {}


def register(backend: Registered) -> Registered:
    """Put a backend class on the shelf, under its ``name``.

    Works as a decorator and as a plain call. Registering the same class
    twice does nothing, so that a module may be imported again.

    Parameters
    ----------
    backend : class
        A ``Backend``, or a class whose ``as_backend`` makes one of it.

    Raises
    ------
    RatchetError
        If the class is no backend or has no name, or another class has taken
        it. Replacing a backend silently would change what an old params.yaml
        means.
    """
    name = getattr(backend, "name", None)
    if not name:
        title = getattr(backend, "__name__", repr(backend))
        raise RatchetError(f"{title} needs a `name` before it can be registered.")
    made = backend.as_backend() if hasattr(backend, "as_backend") else backend
    if not (isinstance(made, type) and issubclass(made, Backend)):
        raise RatchetError(
            f"{name!r} is no backend: it must be a subclass of Backend or BaseTrainingBackend."
        )
    taken = _SHELF.setdefault(name, made)
    if taken is not made:
        raise RatchetError(f"Backend {name!r} is already registered, by {taken.__name__}.")
    return backend


def load(modules: Sequence[str]) -> None:
    """Import modules that register backends, and register what other packages offer.

    A package offers a backend by an entry point of the group
    ``ratchet.backends``, whose value is its class.

    Raises
    ------
    RatchetError
        If a module can't be found, or a package's backend can't be loaded;
        what a module raises itself keeps its traceback.
    """
    for name in modules:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise RatchetError(
                f"train.plugins names {name!r}, and there is no such module."
                f" A file src/{name}.py beside the package would be one."
            ) from None
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist else "A package"
        try:
            register(point.load())
        except Exception as error:  # a package of someone else's may fail in any way
            raise RatchetError(
                f"{package} offers a backend {point.name!r} that can't be loaded:"
                f" {type(error).__name__}: {error} Repair or uninstall it."
            ) from error


def available() -> tuple[str, ...]:
    """Names of the registered backends, in order of registration."""
    return tuple(_SHELF)


def packages() -> tuple[str, ...]:
    """Distributions that models of the registered backends need."""
    named = (name for backend in _SHELF.values() for name in backend.packages)
    return tuple(dict.fromkeys(["scikit-learn", *named]))


def callable_modules(options: Mapping[str, Params]) -> tuple[str, ...]:
    """Modules whose functions a saved model may name, given ``train.backends`` of params.yaml."""
    named = (each for name in _SHELF for each in get(name, options.get(name)).callable_modules)
    return tuple(dict.fromkeys(named))


def get(name: str, options: Params | None = None) -> Backend:
    """Make the backend called ``name``, with its own options.

    Raises
    ------
    RatchetError
        If none is registered under that name.
    """
    if name not in _SHELF:
        raise RatchetError(
            f"No backend is called {name!r}. Registered: {', '.join(sorted(_SHELF))}."
        )
    return _SHELF[name](options)

"""Search over model families: known good settings first, then hyperopt, under one budget."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_FAIL, STATUS_OK, Trials, hp, space_eval, tpe
from hyperopt.base import Domain
from hyperopt.fmin import generate_trials_to_calculate

from ratchet.backends import Choice, Dimension, Family, Fitted, Integer, Params, Real

# Random draws of a family before TPE trusts what it has seen.
STARTUP_TRIALS = 8


@dataclass(frozen=True)
class Candidate:
    """One backend, family and set of hyperparameters."""

    backend: str
    """Name of the backend."""
    family: str
    """Name of the family."""
    params: Params
    """Hyperparameters."""

    @property
    def label(self) -> str:
        """Short name for people, e.g. ``"xgboost"`` or ``"sklearn/linear"``."""
        return self.family if self.family == self.backend else f"{self.backend}/{self.family}"


@dataclass(frozen=True)
class Scored:
    """What fitting a candidate gave."""

    score: float
    """Score on the validation rows, in the metric's own direction."""
    train_score: float
    """Score on the rows it was trained on."""
    threshold: float | None
    """Probability above which the positive class is said; None where no one decides."""
    fitted: Fitted
    """The model, and how to make it again."""


@dataclass(frozen=True)
class TrialResult:
    """One scoring of a candidate."""

    number: int
    """Place in the search, from 0."""
    candidate: Candidate
    """What was tried."""
    score: float
    """Score on the validation rows; NaN when the trial failed."""
    train_score: float
    """Score on the rows it was trained on; NaN when the trial failed."""
    seconds: float
    """Wall-clock time it took."""
    elapsed: float
    """Seconds from the start of the search to the end of the trial."""
    leads: bool = False
    """Whether it was better than every trial before it."""
    error: str | None = None
    """Why it failed."""
    threshold: float | None = None
    """Probability above which the positive class is said."""
    refit_params: Params | None = None
    """The hyperparameters with what early stopping found."""


@dataclass(frozen=True)
class Budget:
    """When the search must end."""

    seconds: float | None
    """Wall-clock limit in seconds; None for no limit."""
    max_trials: int
    """Most trials."""


def search(
    shelf: Sequence[tuple[str, Family]],
    evaluate: Callable[[Candidate, float | None], Scored],
    loss: Callable[[float], float],
    budget: Budget,
    seed: int,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
) -> tuple[TrialResult, ...]:
    """Try candidates until the budget is spent.

    The starts of every family come first, each family's first before any
    family's second. Then TPE (Bergstra et al. 2011, "Algorithms for
    hyper-parameter optimization") proposes for one family at a time: the best
    family gets every second proposal, the next best every fourth, and so on.
    That order depends on the scores only, so that a search whose budget is a
    number of trials is the same on every machine.

    Parameters
    ----------
    shelf : sequence of (str, Family)
        Names of backends with a family each, the cheapest first.
    evaluate : callable
        Fits and scores a candidate, ending at the given ``time.monotonic()``.
        Whatever it raises makes a failed trial, which keeps the reason.
    loss : callable
        Turns a score into a number to minimise.
    budget : Budget
        When to end. The first candidate is always tried.
    seed : int
        Seed of the proposals.
    on_trial : callable
        Is told of every trial as it ends.

    Returns
    -------
    tuple of TrialResult
        In the order they were tried.
    """
    started = time.monotonic()
    deadline = None if budget.seconds is None else started + budget.seconds
    proposers = {
        family.name: _Proposer(family, _seed_of(seed, place))
        for place, (_, family) in enumerate(shelf)
        if family.space
    }
    backend_of = {family.name: backend for backend, family in shelf}
    results: list[TrialResult] = []
    for name, params in _order(shelf, proposers, results, loss):
        out_of_time = deadline is not None and time.monotonic() >= deadline
        if len(results) >= budget.max_trials or (results and out_of_time):
            break
        candidate = Candidate(backend_of[name], name, params)
        result = _try(candidate, evaluate, deadline, number=len(results), started=started)
        before = min((loss(r.score) for r in results if not r.error), default=math.inf)
        result = replace(result, leads=not result.error and loss(result.score) < before)
        results.append(result)
        if name in proposers:
            proposers[name].tell(params, math.inf if result.error else loss(result.score))
        on_trial(result)
    return tuple(results)


def _order(
    shelf: Sequence[tuple[str, Family]],
    proposers: Mapping[str, "_Proposer"],
    results: Sequence[TrialResult],
    loss: Callable[[float], float],
) -> Iterator[tuple[str, Params]]:
    """Yield what to try next; ``results`` grows between two steps."""
    for depth in range(max(len(family.starts) for _, family in shelf)):
        for _, family in shelf:
            if depth < len(family.starts):
                yield family.name, dict(family.starts[depth])
    turn = 0
    while proposers:
        turn += 1
        best = {
            name: min(
                (loss(r.score) for r in results if r.candidate.family == name and not r.error),
                default=math.inf,
            )
            for name in proposers
        }
        ranked = sorted(proposers, key=lambda name: best[name])
        # The number of times that 2 divides the turn: 0, 1, 0, 2, 0, 1, 0, 3, …
        rank = min((turn & -turn).bit_length() - 1, len(ranked) - 1)
        yield ranked[rank], proposers[ranked[rank]].ask()


def _try(
    candidate: Candidate,
    evaluate: Callable[[Candidate, float | None], Scored],
    deadline: float | None,
    *,
    number: int,
    started: float,
) -> TrialResult:
    begun = time.monotonic()

    def result(score: float, train_score: float, **more: Any) -> TrialResult:
        now = time.monotonic()
        return TrialResult(
            number, candidate, score, train_score, now - begun, now - started, **more
        )

    try:
        scored = evaluate(candidate, deadline)
    except Exception as error:  # any estimator may fail in any way
        reason = " ".join(str(error).split())[:500]
        return result(math.nan, math.nan, error=f"{type(error).__name__}: {reason}")
    if not math.isfinite(scored.score):
        return result(math.nan, math.nan, error=f"the score is {scored.score}")
    return result(
        scored.score,
        scored.train_score,
        threshold=scored.threshold,
        refit_params=dict(scored.fitted.params),
    )


class _Proposer:
    """hyperopt's TPE over the space of one family, asked and told by hand.

    hyperopt ends a search by itself only inside ``fmin``; driving ``Trials``
    and ``tpe.suggest`` lets several families share one budget.
    """

    def __init__(self, family: Family, seed: int) -> None:
        self._space = {name: _hyperopt(name, each) for name, each in family.space.items()}
        self._dimensions = family.space
        self._domain = Domain(lambda params: params, self._space)
        self._trials = Trials()
        self._random = np.random.default_rng(seed)

    def ask(self) -> Params:
        ids = self._trials.new_trial_ids(1)
        [document] = tpe.suggest(
            ids,
            self._domain,
            self._trials,
            int(self._random.integers(2**31)),
            n_startup_jobs=STARTUP_TRIALS,
        )
        drawn = {name: values[0] for name, values in document["misc"]["vals"].items() if values}
        return {
            name: _plain(self._dimensions[name], value)
            for name, value in space_eval(self._space, drawn).items()
        }

    def tell(self, params: Params, loss: float) -> None:
        point = {
            name: _index(self._dimensions[name], value)
            for name, value in params.items()
            if name in self._dimensions
        }
        # A start may leave a hyperparameter at its default: TPE then has no value to learn from.
        if set(point) != set(self._dimensions):
            return
        [document] = generate_trials_to_calculate([point])._dynamic_trials
        [number] = self._trials.new_trial_ids(1)
        document["tid"] = document["misc"]["tid"] = number
        document["misc"]["idxs"] = {name: [number] for name in point}
        document["state"] = JOB_STATE_DONE
        failed = not math.isfinite(loss)
        document["result"] = (
            {"status": STATUS_FAIL} if failed else {"status": STATUS_OK, "loss": loss}
        )
        self._trials.insert_trial_doc(document)
        self._trials.refresh()


def _hyperopt(name: str, dimension: Dimension) -> Any:
    match dimension:
        case Real(low, high, log=True):
            return hp.loguniform(name, math.log(low), math.log(high))
        case Real(low, high):
            return hp.uniform(name, low, high)
        case Integer(low, high, log=True):
            # Rounding would give the two ends half a share each.
            return hp.qloguniform(name, math.log(low), math.log(high), 1)
        case Integer(low, high):
            return hp.quniform(name, low - 0.5, high + 0.5, 1)
        case Choice(options):
            return hp.choice(name, options)


def _index(dimension: Dimension, value: Any) -> Any:
    return dimension.options.index(value) if isinstance(dimension, Choice) else value


def _plain(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Integer):
        # hyperopt gives floats for whole numbers, and rounding may leave the range by one.
        return min(max(int(value), dimension.low), dimension.high)
    return value.item() if isinstance(value, np.generic) else value


def _seed_of(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])

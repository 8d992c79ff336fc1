"""Search over model families: known good settings first, then hyperopt, under one budget."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_FAIL, STATUS_OK, Trials, hp, space_eval, tpe
from hyperopt.base import Domain
from hyperopt.fmin import generate_trials_to_calculate

from ratchet.backends import Choice, Dimension, Family, Integer, Params, Real, blas
from ratchet.executor.base import Done, Executor, Moment
from ratchet.executor.here import Serial, Threads

# Random draws of a family before TPE trusts what it has seen.
STARTUP_TRIALS = 8
# One in so many candidates that were tried on few rows goes on to more.
REDUCTION = 3
# A fit that is likely to need more than this many times what is left of the budget isn't begun.
MAX_OVERRUN = 2.0
# How much dearer the next start is of a family whose best is as bad as the worst of all.
PRICE_OF_LAG = 10.0
# What a family that has not improved yet is taken to gain, as a share of what the trials differ by.
LITTLE = 0.05
# Proposals of a family in a row that were tried before: its space is taken to be used up.
MAX_REPEATS = 20
# Seconds past the end, as a share of the budget, that are waited for what runs elsewhere.
PATIENCE_SHARE = 0.02
# What an earlier search found good may take one in so many of the trials: the rest finds out more.
SHARE_OF_FIRST = 4


@dataclass(frozen=True)
class Candidate:
    """One backend, family and set of hyperparameters."""

    backend: str
    """Name of the backend."""
    family: str
    """Name of the family."""
    params: Params
    """Hyperparameters."""
    share: float = 1.0
    """Share of the training rows that it is fitted on."""

    @property
    def label(self) -> str:
        """Short name for people, e.g. ``"xgboost"`` or ``"sklearn/linear"``."""
        return self.family if self.family == self.backend else f"{self.backend}/{self.family}"

    @property
    def settings(self) -> str:
        """What it is without the share of the rows, as text that equals for equal candidates."""
        return json.dumps(
            [self.backend, self.family, dict(self.params)], sort_keys=True, default=repr
        )

    @property
    def key(self) -> str:
        """A digest that names the candidate."""
        return hashlib.sha256(f"{self.settings} {self.share!r}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Scored:
    """What fitting a candidate gave."""

    score: float
    """Score on the rows it was not fitted on, in the metric's own direction."""
    train_score: float
    """Score on rows it was fitted on."""
    threshold: float | None = None
    """Probability above which the positive class is said; None where no one decides."""
    params: Params = field(default_factory=dict)
    """The hyperparameters with what early stopping found."""
    curve: tuple[float, ...] = ()
    """Loss after each round, as far as the library tells."""
    cut_short: bool = False
    """Whether the deadline ended a fit before it was done."""
    cuts: tuple[int | None, ...] = ()
    """For each fit, the look at the clock at which its time was up; None where it never was."""


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
    """Score on rows it was trained on; NaN when the trial failed."""
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
    curve: tuple[float, ...] = ()
    """Loss after each round, as far as the library tells."""
    cut_short: bool = False
    """Whether the deadline ended a fit before it was done."""
    resumed: bool = False
    """Whether it was made by an earlier run that was interrupted."""
    cuts: tuple[int | None, ...] = ()
    """For each fit, the look at the clock at which its time was up; None where it never was."""


@dataclass(frozen=True)
class Budget:
    """When the search must end."""

    seconds: float | None
    """Wall-clock limit in seconds; None for no limit."""
    max_trials: int
    """Most trials."""
    reserve: Callable[[Sequence[TrialResult]], float] = lambda _: 0.0
    """Seconds at the end that belong to what comes after the search, given the trials so far."""
    share_of_one: float = 1.0
    """Largest share of the time that one trial may take."""
    beside: int = 1
    """Trials that are under way at the same time; with more than one their order is by chance."""
    interrupt: Callable[[], None] = lambda: None
    """Tells trials that are under way that nobody waits for them any more."""
    rungs: tuple[float, ...] = (1.0,)
    """Shares of the training rows, rising to 1: a candidate is first tried on the first, and the
    best third go on to the next."""
    ordered: bool = False
    """Whether results are told in the order in which their trials began, so that what is tried next
    depends on no worker's speed."""
    window: int | None = None
    """Trials that are begun before the first of them is told, with ``ordered``; None takes as many
    as there are workers."""


class Place(Protocol):
    """What can be sent elsewhere to try candidates there."""

    def evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None] = ()
    ) -> Scored:
        """Fit and score a candidate."""

    def hand_over(self, candidate: Candidate) -> Any:
        """Give what the search must know of a candidate beside its score, and forget it."""


@dataclass(frozen=True)
class Trying:
    """Tries candidates where it has been sent to."""

    place: Place
    """What fits and scores them there."""
    here: bool = False
    """Whether that is the place of the search itself, to which nothing need be handed over."""

    def __call__(
        self, candidate: Candidate, until: Moment | None, cuts: Sequence[int | None] = ()
    ) -> "Tried":
        """Try one; whatever that raises makes a failed trial."""
        deadline = None if until is None else until.at
        with blas.ONE_THREAD:
            result = _attempt(
                candidate,
                lambda: self.place.evaluate(candidate, deadline, cuts),
                time.monotonic(),
            )
        return Tried(result, None if self.here else self.place.hand_over(candidate))


@dataclass(frozen=True)
class Tried:
    """A trial, and what came of it beside its score."""

    result: TrialResult
    """The trial, as the place that made it saw it."""
    handed_over: Any = None
    """What ``Place.hand_over`` gave; None where the trial was made in this process."""


@dataclass(frozen=True)
class Elsewhere:
    """Where candidates are tried that are not tried by the search itself."""

    executor: Executor
    """Gives a ``Tried`` for a candidate, the moment at which to end, and where to cut its fits."""
    take: Callable[[Candidate, Any], None]
    """Is given what came of a candidate beside its score, before its trial is told."""
    keep: Callable[[TrialResult], None] = lambda _: None
    """Is told at once of a trial that has ended before its turn."""


def search(
    shelf: Sequence[tuple[str, Family]],
    evaluate: Callable[[Candidate, float | None], Scored],
    loss: Callable[[float], float],
    budget: Budget,
    seed: int,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    earlier: Sequence[TrialResult] = (),
    on_start: Callable[[Candidate], None] = lambda _: None,
    first: Sequence[Candidate] = (),
    elsewhere: Elsewhere | None = None,
) -> tuple[TrialResult, ...]:
    """Try candidates until the budget is spent.

    What an earlier search found best comes first, then the portfolio: the
    starts of every family, the cheapest first;
    a family's later starts come the sooner, the better its earlier ones did. Then
    TPE (Bergstra et al. 2011) proposes for one family at a time: the one that
    is expected to find something better soonest, given how its trials have
    improved and what they cost (Wang et al. 2021). With a limit in seconds the
    cost of a trial is its seconds; without one every trial costs the same, so
    that the search is the same on every machine.

    With several rungs a candidate is tried on few rows first, and goes on
    when it is in the best third of those tried on as many (Li et al. 2020).

    Parameters
    ----------
    shelf : sequence of (str, Family)
        Names of backends with a family each.
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
    earlier : sequence of TrialResult
        Trials of an interrupted search, in their order. They are taken as
        they are: none is done again, and their time counts.
    on_start : callable
        Is told of every candidate that is tried, as that begins.
    first : sequence of Candidate
        What an earlier search found good, the best first. That one is tried before
        all; the others are the first starts of their families. One of a family that
        is not on the shelf is left out, and all others than the first quarter of
        ``max_trials``.
    elsewhere : Elsewhere, optional
        Where candidates are tried, as many at the same time as there are workers;
        None tries them by ``evaluate``, ``budget.beside`` of them at the same time.

    Returns
    -------
    tuple of TrialResult
        In the order they were tried.

    References
    ----------
    Bergstra, J., Bardenet, R., Bengio, Y. and Kégl, B. (2011). Algorithms for
    Hyper-Parameter Optimization. NeurIPS 24.

    Li, L. et al. (2020). A System for Massively Parallel Hyperparameter
    Tuning. MLSys 3.

    Wang, C., Wu, Q., Weimer, M. and Zhu, E. (2021). FLAML: A Fast and
    Lightweight AutoML Library. MLSys 3.
    """
    return _Search(
        shelf, evaluate, loss, budget, seed, on_trial, earlier, on_start, first, elsewhere
    ).run()


class _Search:
    """The state of one search."""

    def __init__(
        self,
        shelf: Sequence[tuple[str, Family]],
        evaluate: Callable[[Candidate, float | None], Scored],
        loss: Callable[[float], float],
        budget: Budget,
        seed: int,
        on_trial: Callable[[TrialResult], None],
        earlier: Sequence[TrialResult],
        on_start: Callable[[Candidate], None],
        first: Sequence[Candidate],
        elsewhere: Elsewhere | None,
    ) -> None:
        self._families = [family for _, family in sorted(shelf, key=lambda pair: pair[1].cost)]
        self._backend_of = {family.name: backend for backend, family in shelf}
        self._proposers = {
            family.name: _Proposer(family, _seed_of(seed, place))
            for place, (_, family) in enumerate(shelf)
            if family.space
        }
        known = [each for each in first if self._backend_of.get(each.family) == each.backend]
        self._first = known[: max(1, budget.max_trials // SHARE_OF_FIRST)]
        self._evaluate = evaluate
        self._score_loss = loss
        self._budget = budget
        self._on_trial = on_trial
        self._on_start = on_start
        self._earlier = {trial.candidate.key: trial for trial in earlier}
        self._results: list[TrialResult] = []
        self._costs = {family.name: family.cost for _, family in shelf}
        self._n_starts = dict.fromkeys(self._costs, 0)
        self._seen: set[str] = set()
        spent = max((trial.elapsed for trial in earlier), default=0.0)
        self._started = time.monotonic() - spent
        self._elsewhere = elsewhere
        # Trials that are not told yet, in the order in which they began; those that have ended have
        # their results.
        self._flying: dict[str, Candidate] = {}
        self._landed: dict[str, TrialResult] = {}

    def run(self) -> tuple[TrialResult, ...]:
        order = self._order()
        beside = self._budget.beside
        here = Serial(self._try) if beside == 1 else Threads(self._try, beside)
        try:
            self._drive(order, self._elsewhere.executor if self._elsewhere else here)
        except BaseException:
            # Nobody waits for the others any more: without this they would go on to their end.
            self._budget.interrupt()
            raise
        finally:
            here.close()
        # Those that the order didn't come to again, since times decide it too.
        for known in self._earlier.values():
            self._add(replace(known, resumed=True))
        return tuple(self._results)

    def _drive(self, order: Iterator[Candidate], executor: Executor) -> None:
        """Keep several trials under way; the next one is begun as soon as one is told."""
        ordered = self._budget.ordered
        window = self._budget.window or executor.workers
        while True:
            most = window if ordered else executor.workers
            while len(self._flying) < most:
                candidate = self._next(order)
                if candidate is None:
                    break
                self._begin(candidate, executor)
            if not self._flying:
                return
            oldest = next(iter(self._flying))
            while (oldest not in self._landed) if ordered else not self._landed:
                self._land(executor)
            for key in (oldest,) if ordered else tuple(self._landed):
                del self._flying[key]
                self._add(self._landed.pop(key))

    def _begin(self, candidate: Candidate, executor: Executor) -> None:
        known = self._earlier.pop(candidate.key, None)
        if known is not None:
            result = replace(known, candidate=candidate, resumed=True)
            if self._budget.ordered:
                self._flying[candidate.key] = candidate
                self._landed[candidate.key] = result
            else:
                self._add(result)
            return
        self._on_start(candidate)
        self._flying[candidate.key] = candidate
        deadline = self._deadline_of_one()
        executor.submit(candidate.key, candidate, None if deadline is None else Moment(deadline))

    def _land(self, executor: Executor) -> None:
        """Wait for a trial that has ended, and take what it brought."""
        until = self._deadline()
        if until is not None and self._budget.seconds is not None:
            until += PATIENCE_SHARE * self._budget.seconds
        done = executor.results(until)
        if not done:
            # What nobody waits for has failed; the search is over.
            gone = "TimeoutError: the time was up, and its worker had not answered"
            for key, candidate in self._flying.items():
                if key not in self._landed:
                    self._landed[key] = self._failed(candidate, gone)
        for each in done:
            candidate = self._flying[each.key]
            self._landed[each.key] = self._result(candidate, each)
            if self._elsewhere and self._budget.ordered:
                self._elsewhere.keep(self._landed[each.key])

    def _result(self, candidate: Candidate, done: Done) -> TrialResult:
        if done.lost is not None:
            return self._failed(candidate, f"WorkerLost: {done.lost}")
        tried: Tried = done.value
        if self._elsewhere is None:
            return tried.result
        self._elsewhere.take(candidate, tried.handed_over)
        return replace(tried.result, elapsed=time.monotonic() - self._started)

    def _failed(self, candidate: Candidate, error: str) -> TrialResult:
        elapsed = time.monotonic() - self._started
        return TrialResult(0, candidate, math.nan, math.nan, 0.0, elapsed, error=error)

    def _next(self, order: Iterator[Candidate]) -> Candidate | None:
        """Take the next candidate; None when the search is to end."""
        begun = len(self._results) + len(self._flying)
        if begun >= self._budget.max_trials:
            return None
        candidate = next(order, None)
        if candidate is None:
            return None
        if candidate.key not in self._earlier and begun and self._is_over():
            return None
        self._seen.add(candidate.key)
        return candidate

    def _add(self, result: TrialResult) -> None:
        candidate = result.candidate
        result = _placed(result, self._results, self._score_loss)
        self._results.append(result)
        proposer = self._proposers.get(candidate.family)
        if proposer and candidate.share == self._budget.rungs[0]:
            proposer.tell(candidate.params, self._loss(result))
        self._on_trial(result)

    def _loss(self, result: TrialResult) -> float:
        return _loss_of(result, self._score_loss)

    def _is_over(self) -> bool:
        deadline = self._deadline()
        return deadline is not None and time.monotonic() >= deadline

    def _deadline(self) -> float | None:
        if self._budget.seconds is None:
            return None
        return self._started + self._budget.seconds - self._budget.reserve(self._results)

    def _fits_in(self, family: str, share: float) -> bool:
        """Tell whether a fit of the family is likely to be of use in the time that is left."""
        deadline = self._deadline()
        if deadline is None:
            return True
        known = [r.seconds / r.candidate.share for r in self._of(family) if not r.error]
        if not known:
            return True
        return float(np.median(known)) * share <= MAX_OVERRUN * (deadline - time.monotonic())

    def _of(self, family: str) -> Iterator[TrialResult]:
        return (r for r in self._results if r.candidate.family == family)

    def _order(self) -> Iterator[Candidate]:
        """Yield what to try next; the results grow between two steps."""
        for family, params in self._proposals():
            candidate = self._candidate(family, params, self._budget.rungs[0])
            if candidate.key in self._seen:
                continue
            if self._fits_in(family, candidate.share) or candidate.key in self._earlier:
                yield candidate
            while (better := self._promoted()) is not None:
                yield better

    def _candidate(self, family: str, params: Params, share: float) -> Candidate:
        return Candidate(self._backend_of[family], family, params, share)

    def _promoted(self) -> Candidate | None:
        """Find the best candidate that has earned more rows and fits into the time."""
        rungs = self._budget.rungs
        for low, high in reversed(list(pairwise(rungs))):
            tried = sorted((r for r in self._results if r.candidate.share == low), key=self._loss)
            for result in tried[: len(tried) // REDUCTION]:
                better = replace(result.candidate, share=high)
                open_ = better.key not in self._seen and not result.error
                if open_ and self._fits_in(better.family, high):
                    return better
        return None

    def _proposals(self) -> Iterator[tuple[str, Params]]:
        for candidate in self._first[:1]:
            yield candidate.family, dict(candidate.params)
        # What is good is often dear: all at once would leave no time for anything new.
        waiting: dict[str, list[Params]] = {family.name: [] for family in self._families}
        for candidate in self._first[1:]:
            waiting[candidate.family].append(candidate.params)
        for family in self._families:
            waiting[family.name] += family.starts
        while any(waiting.values()):
            name = min((name for name in waiting if waiting[name]), key=self._price_of_start)
            yield name, dict(waiting[name].pop(0))
            self._n_starts[name] += 1
        repeats = dict.fromkeys(self._proposers, 0)
        while repeats:
            if self._is_over():  # no family may fit into what is left
                return
            name = min(repeats, key=self._cost_of_improvement)
            params = self._proposers[name].ask()
            new = self._candidate(name, params, self._budget.rungs[0]).key not in self._seen
            repeats[name] = 0 if new else repeats[name] + 1
            yield name, params
            if repeats[name] >= MAX_REPEATS or not self._fits_in(name, self._budget.rungs[0]):
                del repeats[name]

    def _price_of_start(self, name: str) -> float:
        """Weigh what a family's next start costs against how far it lags behind.

        The first start is priced by its cost alone; a later one is dearer the
        more starts there were before it, and the worse they did.
        """
        tried = self._n_starts[name]
        price = self._costs[name] * (tried + 1)
        finite = [loss for loss in map(self._loss, self._results) if math.isfinite(loss)]
        if not tried or not finite or max(finite) == min(finite):
            return price
        lag = min((self._best(name) - min(finite)) / (max(finite) - min(finite)), 1.0)
        return price * (1 + PRICE_OF_LAG * lag)

    def _best(self, family: str) -> float:
        return min(map(self._loss, self._of(family)), default=math.inf)

    def _cost_of_improvement(self, family: str) -> tuple[float, float]:
        """Estimate what it costs until the family finds something better than all others.

        It must first catch up with the best of all at the speed at which it has
        improved so far, and then find something new, which takes at least as
        long as it did the last time. One that has not improved yet is taken to
        gain a little of what all families differ by. Of two that cost as much
        the better comes first.
        """
        spent = since = last = 0.0
        losses: list[float] = []
        for result in self._of(family):
            # Without a limit in seconds the choice must not depend on the machine.
            by_clock = self._budget.seconds is not None and not self._budget.ordered
            cost = result.seconds if by_clock else 1.0
            spent += cost
            since += cost
            if self._loss(result) < min(losses, default=math.inf):
                last, since = since, 0.0
            losses.append(self._loss(result))
        best = min(losses, default=math.inf)
        if math.isinf(best):
            return math.inf, spent
        finite = [loss for loss in map(self._loss, self._results) if math.isfinite(loss)]
        gap = best - min(self._best(name) for name in self._proposers)
        gained = next(loss for loss in losses if math.isfinite(loss)) - best
        gained = max(gained, LITTLE * (max(finite) - min(finite)))
        return max(last, since, gap * spent / gained if gap > 0 else 0.0), best

    def _deadline_of_one(self) -> float | None:
        deadline = self._deadline()
        if deadline is None or self._budget.seconds is None:
            return None
        return min(deadline, time.monotonic() + self._budget.share_of_one * self._budget.seconds)

    def _try(self, candidate: Candidate, until: Moment | None) -> Tried:
        deadline = None if until is None else until.at
        return Tried(
            _attempt(candidate, lambda: self._evaluate(candidate, deadline), self._started)
        )


def again(
    trials: Sequence[TrialResult],
    evaluate: Callable[[TrialResult], Scored],
    loss: Callable[[float], float],
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    *,
    on_start: Callable[[Candidate], None] = lambda _: None,
    beside: int = 1,
    interrupt: Callable[[], None] = lambda: None,
    elsewhere: Elsewhere | None = None,
) -> tuple[TrialResult, ...]:
    """Try the candidates of an earlier search once more, whatever a clock says.

    Parameters
    ----------
    trials : sequence of TrialResult
        What was tried, in the order in which it ended. One that failed is
        taken as it is: no model came of it, and what failed for want of memory
        might succeed today.
    evaluate : callable
        Fits and scores the candidate of a trial, ending where that one ended.
    loss : callable
        Turns a score into a number to minimise.
    on_trial : callable
        Is told of every trial in their order.
    on_start : callable
        Is told of every candidate that is tried, as that begins; with several
        at the same time from several threads.
    beside : int
        Trials that are made at the same time.
    interrupt : callable
        Tells trials that are under way that nobody waits for them any more.
    elsewhere : Elsewhere, optional
        Where candidates are tried; None tries them by ``evaluate``.

    Returns
    -------
    tuple of TrialResult
        In the same order, numbered anew.
    """
    started = time.monotonic()
    results: list[TrialResult] = []
    landed: dict[int, TrialResult] = {}

    def one(number: int) -> Tried:
        trial = trials[number]
        on_start(trial.candidate)
        return Tried(_attempt(trial.candidate, lambda: evaluate(trial), started))

    def begin(number: int) -> None:
        trial = trials[number]
        if trial.error:
            elapsed = time.monotonic() - started
            landed[number] = replace(trial, seconds=0.0, elapsed=elapsed)
        elif elsewhere is None:
            executor.submit(str(number), number)
        else:
            on_start(trial.candidate)
            executor.submit(str(number), trial.candidate, None, trial.cuts)

    def land() -> None:
        for done in executor.results():
            number = int(done.key)
            if done.lost is not None:
                error = f"WorkerLost: {done.lost}"
                landed[number] = replace(trials[number], score=math.nan, error=error)
                continue
            result = done.value.result
            if elsewhere is not None:
                elsewhere.take(result.candidate, done.value.handed_over)
                result = replace(result, elapsed=time.monotonic() - started)
            landed[number] = result

    here = Serial(one) if beside == 1 else Threads(one, beside)
    executor: Executor = elsewhere.executor if elsewhere else here
    begun = 0
    try:
        for number in range(len(trials)):
            # A slow one must not have the models of all others wait for it in memory.
            ahead = 1 if executor.workers == 1 else 2 * executor.workers + 1
            while begun < min(len(trials), number + ahead):
                begin(begun)
                begun += 1
            while number not in landed:
                land()
            results.append(_placed(landed.pop(number), results, loss))
            on_trial(results[-1])
    except BaseException:
        interrupt()
        raise
    finally:
        here.close()
    return tuple(results)


def one_more(
    trials: Sequence[TrialResult],
    candidate: Candidate,
    evaluate: Callable[[], Scored],
    loss: Callable[[float], float],
    started: float,
) -> TrialResult:
    """Try one more candidate when a search has ended.

    Parameters
    ----------
    trials : sequence of TrialResult
        Those of the search.
    candidate : Candidate
        What is tried.
    evaluate : callable
        Fits and scores it; whatever it raises makes a failed trial.
    loss : callable
        Turns a score into a number to minimise.
    started : float
        Time of ``time.monotonic()`` at which the search began.
    """
    return _placed(_attempt(candidate, evaluate, started), trials, loss)


def _attempt(candidate: Candidate, evaluate: Callable[[], Scored], started: float) -> TrialResult:
    """Score a candidate, or keep the reason why that failed."""
    begun = time.monotonic()
    error: str | None = None
    scored = Scored(math.nan, math.nan)
    try:
        scored = evaluate()
    except Exception as failure:  # any estimator may fail in any way
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())[:500]}"
    else:
        if not math.isfinite(scored.score):
            error = f"the score is {scored.score}"
    now = time.monotonic()
    return TrialResult(
        number=0,
        candidate=candidate,
        score=math.nan if error else scored.score,
        train_score=math.nan if error else scored.train_score,
        seconds=now - begun,
        elapsed=now - started,
        error=error,
        threshold=None if error else scored.threshold,
        refit_params=None if error else dict(scored.params),
        curve=scored.curve,
        cut_short=scored.cut_short,
        cuts=scored.cuts,
    )


def _placed(
    result: TrialResult, before: Sequence[TrialResult], loss: Callable[[float], float]
) -> TrialResult:
    """Give a trial that has ended its number, and say whether it leads."""
    least = min((_loss_of(each, loss) for each in before), default=math.inf)
    return replace(result, number=len(before), leads=bool(_loss_of(result, loss) < least))


def _loss_of(result: TrialResult, loss: Callable[[float], float]) -> float:
    return math.inf if result.error else loss(result.score)


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
        if None in point.values() or set(point) != set(self._dimensions):
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
    """Give what hyperopt calls a value; None for a choice that there isn't any more."""
    if isinstance(dimension, Choice):
        return dimension.options.index(value) if value in dimension.options else None
    return value


def _plain(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Integer):
        # hyperopt gives floats for whole numbers, and rounding may leave the range by one.
        return min(max(int(value), dimension.low), dimension.high)
    return value.item() if isinstance(value, np.generic) else value


def _seed_of(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])

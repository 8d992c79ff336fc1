"""Train a leader: search over the families, let the best answer together, fit on all rows."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ratchet import backends, derived, ensemble, folds, metrics, placement, rivals
from ratchet.backends import Backend, Family, Interpretability, Task, blas
from ratchet.bench import Bench, Refit, Spare, Whole, metric_of
from ratchet.conformal import Conformal
from ratchet.course import Chosen, Course, Made, Starts
from ratchet.errors import RatchetError, SettingsError
from ratchet.features import Preparation, as_features, preparation
from ratchet.folds import Fold
from ratchet.metrics import Metric
from ratchet.model import (
    ASSEMBLY_TYPES,
    PACKAGES,
    Calibration,
    Part,
    combine,
    places,
    predict,
)
from ratchet.placement import Placed
from ratchet.schema import Schema
from ratchet.search import Budget, Candidate, TrialResult, again, one_more, search
from ratchet.settings import Device, Ensemble, Settings, SplitMethod, Validation
from ratchet.table import encode_target

ENSEMBLE = "ensemble"
"""Phase in which members are chosen."""
REFIT = "refit"
"""Phase in which they are fitted on all rows."""

NO_STARTS = Starts()
"""What a search begins with that knows of no earlier one."""

# Without a time limit, up to so many rows are dealt to folds; more have a holdout.
ROWS_FOR_FOLDS = 10_000
# With one, more than so many have a holdout however cheap folds are: its thousands of scored rows
# tell candidates apart, and what five fits cost instead of one is better spent on longer ones.
ROWS_FOR_TIMED_FOLDS = 20_000
# Up to there folds are used when those of a boosted fit of so many rounds take this share at most.
SHARE_FOR_FOLDS = 0.05
# And this one where a holdout has few rows, on which a candidate may be good by chance.
SHARE_FOR_FOLDS_OF_FEW = 0.25
ROUNDS_FOR_FOLDS = 300
# One trial may take this share of the time: no family can use up the others' turn.
SHARE_OF_ONE = 0.2
# The share that fitting on all rows may claim at the end, and that putting the model together does.
SHARE_OF_REFIT = 0.3
SHARE_OF_FINISH = 0.03
# Members are guessed while the search goes on, from the best few trials on few rows.
GUESS_POOL = 12
GUESS_ROWS = 2000
GUESS_ROUNDS = 15
# How much longer the members may take in the end than those that were guessed.
GUESS_MARGIN = 1.3
# Fitting rows from which candidates are first tried on a sample, and its smallest size.
ROWS_FOR_SAMPLES = 100_000
SMALLEST_SAMPLE = 30_000
# The best candidates of a search that may become members, and whose models are kept until then.
POOL = 25
# Rivals of the leader: the best of so many more families are kept, to be scored beside it. None is
# so large that saving it takes a third of a second.
RIVALS = 3
RIVAL_BYTES = 20_000_000
# Rows that weights are chosen on: more would not change them.
ENSEMBLE_ROWS = 20_000
# The share of the time in which a search may look at a sample of rows that don't fit in memory, and
# the share of the rest that the fit on all train rows may take: one on the valid rows too follows.
SHARE_OF_SAMPLE = 0.35
SHARE_OF_WHOLE = 0.5
# Share by which a map of the probabilities must lower the loss on rows it was not learned on.
CALIBRATION_GAIN = 0.001


@dataclass(frozen=True)
class Member:
    """A candidate in the leader."""

    trial: TrialResult
    """Its trial."""
    weight: float
    """Its share in the answer."""
    refitted: bool
    """Whether it was fitted on all rows, rather than being the mean of its folds' models."""
    seconds: float = 0.0
    """Wall-clock time of the fits on all rows; 0 without any."""
    n_rows: int = 0
    """Rows that each of its models was fitted on."""
    places: tuple[int, ...] = ()
    """Places of its models among those that ``model.taken_apart`` gives of the leader."""
    interpretability: Interpretability = Interpretability.ASK
    """How a person finds out why it answers as it does."""


@dataclass(frozen=True)
class Rival:
    """The best candidate of a family that is not in the leader, to compare the leader with."""

    trial: TrialResult
    """Its trial."""
    model: Any
    """A model of it as one scikit-learn object on raw columns: that of the first fold."""
    n_rows: int
    """Rows that the model was fitted on."""
    interpretability: Interpretability
    """How a person finds out why it answers as it does."""
    trusted_types: tuple[str, ...]
    """Classes in the model that skops does not know by itself."""
    packages: tuple[str, ...]
    """Distributions that the model needs."""
    modules: tuple[str, ...]
    """Modules of the user's own that the model needs."""


@dataclass(frozen=True)
class Training:
    """One search, its leader and the leader's model."""

    metric: Metric
    """Score that was optimised."""
    trials: tuple[TrialResult, ...]
    """Every trial, in the order they were tried."""
    leader: TrialResult
    """The best trial on the validation rows."""
    members: tuple[Member, ...]
    """The candidates that answer together, the weightiest first; one where the best is alone."""
    score: float
    """Score of the members together, on rows that none of them was fitted on."""
    honest_score: float
    """The same, on rows that the choice of the members was not made with either."""
    train_score: float
    """Score of the model on rows it was fitted on."""
    threshold: float | None
    """Probability above which the positive class is said."""
    calibrated: bool
    """Whether probabilities are mapped to frequencies."""
    baseline: TrialResult | None
    """The trial that ignored the features; None when params.yaml left it out."""
    model: Any
    """The leader as one scikit-learn object on raw columns."""
    baseline_model: Any
    """The constant answer that any model must beat, fitted on train and valid."""
    trusted_types: tuple[str, ...]
    """Classes in the model that skops does not know by itself."""
    packages: tuple[str, ...]
    """Distributions that the model needs."""
    modules: tuple[str, ...]
    """Modules of the user's own that the model needs."""
    n_rows: int
    """Rows the model was fitted on."""
    n_folds: int
    """Fits of a trial; 1 for a holdout."""
    seconds: float
    """Wall-clock time of search, ensemble and refit."""
    course: Course
    """All that a clock decided, for a replay."""
    more: Mapping[str, float] = field(default_factory=dict)
    """More numbers about the leader, by the names that its run gives them."""
    rivals: tuple[Rival, ...] = ()
    """The best of the next families, the best first."""
    n_sampled: int | None = None
    """Rows of the sample that was searched on, train and valid; None where it was all of them."""
    conformal: Conformal | None = None
    """How far a regression was off on rows that none of its members was fitted on."""

    @property
    def name(self) -> str:
        """Name of the leader for people, e.g. ``"lightgbm+sklearn/extra_trees"``."""
        return "+".join(dict.fromkeys(member.trial.candidate.label for member in self.members))


class Journal(Protocol):
    """Where trials are kept as they end, so that an interrupted search can go on."""

    def trials(self) -> Sequence[tuple[TrialResult, np.ndarray | None]]:
        """Give the trials that were kept, in their order, with what they said."""

    def keep(self, trial: TrialResult, answer: np.ndarray | None) -> None:
        """Keep a trial that has just ended."""


@blas.ONE_THREAD
def train(
    train_rows: pd.DataFrame,
    valid_rows: pd.DataFrame,
    schema: Schema,
    settings: Settings,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    on_start: Callable[[Candidate], None] = lambda _: None,
    groups: np.ndarray | None = None,
    deadline: float | None = None,
    journal: Journal | None = None,
    replay: Course | None = None,
    starts: Starts = NO_STARTS,
    whole: Whole | None = None,
    on_place: Callable[[str], None] = lambda _: None,
) -> Training:
    """Search, let the best candidates answer together, and fit them on all rows.

    Parameters
    ----------
    train_rows, valid_rows : pd.DataFrame
        Feature columns and target, as prepare wrote them.
    schema : Schema
        What the columns are.
    settings : Settings
        ``train``, ``execution``, ``seed`` and ``split`` are used.
    on_trial : callable
        Is told of every trial as it ends.
    on_phase : callable
        Is told what begins after the search: ``ENSEMBLE``, ``REFIT``.
    on_start : callable
        Is told of every candidate that is tried, as that begins; maybe from
        several threads.
    groups : np.ndarray of shape (n_train + n_valid,), optional
        Codes of the groups that no fold may part, for the split by group.
    deadline : float, optional
        Time of ``time.monotonic()`` at which to be done; None takes
        ``train.search.budget_seconds`` from now.
    journal : Journal, optional
        Keeps trials, and has those of an interrupted search.
    replay : Course, optional
        A search of the same rows and settings to make again: whatever a clock
        decided in it is taken from there, and no clock is looked at.
    starts : Starts
        What the search begins with, as far as there is time for it.
    whole : Whole, optional
        All rows, where ``train_rows`` and ``valid_rows`` are samples of what
        doesn't fit in memory. Every family learns on the samples; then the
        best candidate of a backend that takes batches learns on all train rows, and
        is chosen or not by what it says about the sample of the valid rows.
    on_place : callable
        Is told in a sentence where trials run, and why there, where there was a choice.

    Raises
    ------
    SettingsError
        If the metric or a family does not fit the problem.
    RatchetError
        If every trial failed, or a replay needs a family that is not offered.
    ClusterError
        If there is no cluster where the settings name one, or its workers are gone.
    """
    started = time.monotonic()
    backends.load(settings.train.plugins)
    metric = metric_of(schema, settings)
    rows = pd.concat([train_rows, valid_rows], ignore_index=True)
    shelf = shelf_for(task_of(schema, len(train_rows)), settings)
    seconds = settings.train.search.budget_seconds
    if replay is not None:
        seconds = deadline = None
    elif deadline is not None:
        seconds = max(deadline - started, 0.0)
    elif seconds is not None:
        deadline = started + seconds
    make = _Plans(rows, len(train_rows), schema, settings, metric, groups, whole)
    kept = journal.trials() if journal and replay is None else ()
    if replay is None:
        bench = _bench(make, shelf, seconds, kept)
        bench.remember(kept)
        earlier = [trial for trial, _ in kept]
        of_sample = seconds
        if whole is not None and seconds is not None:
            of_sample = SHARE_OF_SAMPLE * seconds
    else:
        bench = make.again(replay)
    spent = max((trial.elapsed for trial, _ in kept), default=0.0)
    with placement.opened(
        settings,
        bench,
        seconds=None if seconds is None else seconds - spent,
        # Where memory is short, processes of their own would take of it what each needs for itself.
        many_rows=whole is not None or bench.task.n_rows >= ROWS_FOR_SAMPLES,
        earlier=None if replay is None else replay.placement,
        told=on_place,
    ) as placed:
        if replay is None:
            left = placed.left(of_sample)
            trials = _search(
                bench, shelf, left, on_trial, on_start, journal, earlier, starts, placed
            )
        else:
            trials = _replayed(bench, shelf, replay, on_trial, on_start, placed)
        found = placed.placement if replay is None else replay.placement
    if replay is None and whole is not None:
        trials = _with_whole(bench, shelf, trials, deadline, on_trial, on_start, journal)
    leader = best(trials, metric)
    baselines = [family.name for _, family in shelf if family.is_baseline]
    on_phase(ENSEMBLE)
    done = ranked(trials, metric)
    # What ignores the features would only draw the others' answers to the mean.
    chosen = _choose(bench, [t for t in done if t.candidate.family not in baselines] or done)
    on_phase(REFIT)
    members, parts, made = _fitted(bench, chosen.members, deadline, replay)
    model = combine(parts, schema, chosen.threshold, chosen.calibration)
    used = [
        bench.backend(name) for name in dict.fromkeys(m.trial.candidate.backend for m in members)
    ]
    return Training(
        metric=metric,
        trials=trials,
        leader=leader,
        members=members,
        score=chosen.score,
        honest_score=chosen.honest_score,
        train_score=bench.train_score(_raw(model, schema), chosen.threshold),
        threshold=chosen.threshold,
        calibrated=chosen.calibration is not None,
        baseline=next((t for t in trials if t.candidate.family in baselines), None),
        model=model,
        baseline_model=_baseline(rows, schema),
        trusted_types=_trusted_types(schema, used),
        packages=_packages(used),
        modules=_modules(schema, used),
        n_rows=len(rows) if whole is None else max(member.n_rows for member in members),
        n_folds=len(bench.plan),
        seconds=time.monotonic() - started,
        course=Course(
            n_folds=len(bench.plan),
            threads=bench.threads,
            beside=bench.beside,
            trials=trials,
            chosen=made,
            doubts={
                **doubts_of(
                    [(backend, family.name) for backend, family in shelf],
                    trials,
                    bench.threads,
                    gpu=settings.train.device is not Device.CPU,
                ),
                **_doubts_of_a_cluster(bench, trials),
            },
            placement=found,
        ),
        rivals=_rivals(bench, members, baselines),
        conformal=chosen.conformal,
    )


def best(trials: Sequence[TrialResult], metric: Metric) -> TrialResult:
    """Return the trial that leads; the earlier of two that are equal.

    Raises
    ------
    RatchetError
        If none ended well; the message holds the reasons.
    """
    in_order = ranked(trials, metric)
    if not in_order:
        reasons = "; ".join(
            dict.fromkeys(f"{trial.candidate.label}: {trial.error}" for trial in trials)
        )
        raise RatchetError(f"All {len(trials)} trials failed: {reasons}")
    return in_order[0]


def ranked(trials: Sequence[TrialResult], metric: Metric) -> list[TrialResult]:
    """Give the trials that ended well, the best first; of one candidate that of most rows."""
    done = [trial for trial in trials if trial.error is None]
    largest = {trial.candidate.settings: 0.0 for trial in done}
    for trial in done:
        settings = trial.candidate.settings
        largest[settings] = max(largest[settings], trial.candidate.share)
    done = [t for t in done if t.candidate.share == largest[t.candidate.settings]]
    return sorted(done, key=lambda trial: metric.loss(trial.score))


def task_of(schema: Schema, n_rows: int) -> Task:
    """Describe what there is to learn from so many rows."""
    return Task(schema.problem, n_rows, len(schema.columns), len(schema.classes))


def shelf_for(task: Task, settings: Settings) -> list[tuple[Backend, Family]]:
    """Families that were asked for, each with its backend."""
    options = settings.train.backends
    unknown = [name for name in options if name not in backends.available()]
    if unknown:
        raise SettingsError(
            f"train.backends has options for {', '.join(unknown)}, which"
            f" {'is' if len(unknown) == 1 else 'are'} not registered."
            f" Registered: {', '.join(sorted(backends.available()))}."
        )
    offered = [
        (backend, family)
        for backend in (backends.get(name, options.get(name)) for name in backends.available())
        if task.problem in backend.problems
        for family in backend.families(task)
    ]
    wanted = settings.train.families
    if wanted is None:
        return offered
    names = [family.name for _, family in offered]
    if not wanted:
        raise SettingsError(
            f"train.families names no family. Set it to null for all: {', '.join(names)}."
        )
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise SettingsError(
            f"train.families names {', '.join(unknown)}, which"
            f" {'does' if len(unknown) == 1 else 'do'} not fit a {task.problem} problem."
            f" Allowed: {', '.join(names)}."
        )
    return [(backend, family) for backend, family in offered if family.name in wanted]


@dataclass(frozen=True)
class _Plans:
    """Makes benches of one set of rows: with the holdout, or with folds."""

    rows: pd.DataFrame
    n_train: int
    schema: Schema
    settings: Settings
    metric: Metric
    groups: np.ndarray | None
    whole: Whole | None = None

    @property
    def choice(self) -> Validation:
        """What was asked for, as far as the split lets it."""
        method = self.settings.split.method
        # All train rows come in batches, and never the others of a fold.
        if self.whole is not None:
            return Validation.HOLDOUT
        # Rows of the future must not be fitted on, and unnamed groups can not be kept whole.
        if method is SplitMethod.TIME or (method is SplitMethod.GROUP and self.groups is None):
            return Validation.HOLDOUT
        return self.settings.train.validation

    def with_holdout(self) -> Bench:
        return self._bench(folds.holdout(self.n_train, len(self.rows) - self.n_train))

    def with_folds(self) -> Bench:
        by_group = self.settings.split.method is SplitMethod.GROUP
        schema = self.schema
        labels = encode_target(self.rows[schema.target], schema) if schema.classes else None
        return self._bench(
            folds.deal(
                len(self.rows),
                self.settings.train.folds or folds.FOLDS,
                self.settings.seed,
                labels=labels,
                groups=self.groups if by_group else None,
                repeats=folds.REPEATS if len(self.rows) < folds.NOISY_ROWS else 1,
            )
        )

    def again(self, course: Course) -> Bench:
        """Give the bench of an earlier search of the same rows."""
        bench = self.with_holdout() if course.n_folds == 1 else self.with_folds()
        if len(bench.plan) != course.n_folds:
            raise RatchetError(
                f"The search can't be replayed: it had {course.n_folds} fits a trial, and these"
                f" rows and settings give {len(bench.plan)}."
            )
        return replace(bench, threads=course.threads, beside=course.beside)

    def _bench(self, plan: tuple[Fold, ...]) -> Bench:
        return Bench(self.rows, self.schema, self.settings, self.metric, plan, whole=self.whole)


def _bench(
    make: _Plans,
    shelf: Sequence[tuple[Backend, Family]],
    seconds: float | None,
    kept: Sequence[tuple[TrialResult, np.ndarray | None]],
) -> Bench:
    """Decide between a holdout and folds by what folds would cost."""

    def alone() -> Bench:
        made = make.with_holdout()
        # With a budget of trials nothing may depend on which one ends first, and boosting many
        # rows gains from threads of its own.
        if seconds is not None and made.task.n_rows < ROWS_FOR_SAMPLES and make.whole is None:
            made.beside = made.threads
        return made

    if make.choice is Validation.HOLDOUT:
        return alone()
    if make.choice is Validation.FOLDS:
        return make.with_folds()
    if seconds is None:
        return make.with_folds() if len(make.rows) <= ROWS_FOR_FOLDS else alone()
    if len(make.rows) > ROWS_FOR_TIMED_FOLDS:
        return alone()
    first, dealt = alone(), make.with_folds()
    # An interrupted search has decided it: scores of other rows could not be compared.
    scored = {len(raw) for _, raw in kept if raw is not None}
    for each in (first, dealt):
        if scored == {len(each.scored)}:
            return each
    cost = _cost_of_a_fit(first, shelf, SHARE_OF_ONE * seconds)
    turns = math.ceil(len(dealt.plan) / min(first.threads, len(dealt.plan)))
    few = len(first.scored) < folds.MANY_SCORED
    share = SHARE_FOR_FOLDS_OF_FEW if few else SHARE_FOR_FOLDS
    return dealt if turns * cost <= share * seconds else first


def _cost_of_a_fit(bench: Bench, shelf: Sequence[tuple[Backend, Family]], most: float) -> float:
    """Time one boosted fit of a usual length; early stopping could make it any."""
    boosted = [(backend, family) for backend, family in shelf if family.rounds]
    if not boosted:
        boosted = [(backend, family) for backend, family in shelf if not family.is_baseline]
    if not boosted:
        return 0.0
    backend, family = min(boosted, key=lambda pair: pair[1].cost)
    bench.prepare(family)
    begun = time.monotonic()
    # The first fit pays for importing the library.
    for rounds in (1, ROUNDS_FOR_FOLDS):
        params = dict(family.starts[0]) | ({family.rounds: rounds} if family.rounds else {})
        started = time.monotonic()
        try:
            bench.evaluate(Candidate(backend.name, family.name, params), begun + most)
        except Exception:  # the search will try it again, and keep the reason
            return math.inf
        if not family.rounds:
            break
    return time.monotonic() - started


def _search(
    bench: Bench,
    shelf: Sequence[tuple[Backend, Family]],
    seconds: float | None,
    on_trial: Callable[[TrialResult], None],
    on_start: Callable[[Candidate], None],
    journal: Journal | None,
    earlier: Sequence[TrialResult],
    starts: Starts,
    placed: Placed,
) -> tuple[TrialResult, ...]:
    settings = bench.settings
    keep_best = _keeps_best(bench)
    kept = {trial.candidate.key for trial in earlier}

    def keep(trial: TrialResult) -> None:
        """Keep a trial once, also one that has ended before its turn to be told."""
        if journal is not None and trial.candidate.key not in kept:
            kept.add(trial.candidate.key)
            answer = bench.answers.get(trial.candidate.key)
            journal.keep(trial, None if answer is None else answer.raw)

    def ended(trial: TrialResult) -> None:
        keep(trial)
        keep_best(trial)
        on_trial(trial)

    known = (-1, 0.0)

    def reserve(trials: Sequence[TrialResult]) -> float:
        nonlocal known
        if seconds is None:
            return 0.0
        if known[0] != len(trials):
            likely = _likely_members(bench, trials)
            seconds_each = [bench.refit_seconds(trial) for trial in likely]
            workers = bench.threads if len(bench.plan) > 1 else min(bench.beside, bench.threads)
            refit = max(sum(seconds_each) / workers, max(seconds_each, default=0.0))
            save = sum(map(bench.save_seconds, likely))
            known = (
                len(trials),
                SHARE_OF_FINISH * seconds
                + min(SHARE_OF_REFIT * seconds, GUESS_MARGIN * refit)
                + GUESS_MARGIN * save,
            )
        return known[1]

    return search(
        [(backend.name, family) for backend, family in shelf],
        bench.evaluate,
        bench.metric.loss,
        Budget(
            seconds,
            settings.train.search.max_trials,
            reserve,
            SHARE_OF_ONE,
            bench.beside,
            bench.interrupted.set,
            tuple(share * bench.sampled for share in _rungs(bench.task.n_rows)),
            placed.ordered,
            placed.window,
        ),
        settings.seed,
        ended,
        earlier,
        on_start,
        starts.affordable(bench.task.n_rows, None if seconds is None else SHARE_OF_ONE * seconds),
        placed.elsewhere(bench.take_over, keep),
    )


def _with_whole(
    bench: Bench,
    shelf: Sequence[tuple[Backend, Family]],
    trials: tuple[TrialResult, ...],
    deadline: float | None,
    on_trial: Callable[[TrialResult], None],
    on_start: Callable[[Candidate], None],
    journal: Journal | None,
) -> tuple[TrialResult, ...]:
    """Fit the best candidate that can learn from disk on all train rows, as one more trial."""
    if any(bench.learns_from_disk(trial.candidate) for trial in trials):  # of an earlier search
        return trials
    execution = bench.settings.execution
    streaming = [(each, family) for each, family in shelf if each.takes_batches(execution)]
    labels = {Candidate(backend.name, family.name, {}).label for backend, family in streaming}
    tried = [t.candidate for t in ranked(trials, bench.metric) if t.candidate.label in labels]
    tried += [Candidate(b.name, f.name, dict(f.starts[0])) for b, f in streaming]
    if not tried:
        return trials
    candidate = replace(tried[0], share=1.0)
    until = None
    if deadline is not None:
        now = time.monotonic()
        until = now + SHARE_OF_WHOLE * max(0.0, deadline - now)
    trial = _on_all_rows(bench, trials, candidate, until, on_trial, on_start)
    if journal is not None:
        answer = bench.answers.get(candidate.key)
        journal.keep(trial, None if answer is None else answer.raw)
    return (*trials, trial)


def _on_all_rows(
    bench: Bench,
    trials: tuple[TrialResult, ...],
    candidate: Candidate,
    deadline: float | None,
    on_trial: Callable[[TrialResult], None],
    on_start: Callable[[Candidate], None],
    cuts: Sequence[int | None] = (),
) -> TrialResult:
    """Fit a candidate on all train rows, after the trials that there are."""
    on_start(candidate)
    trial = one_more(
        trials,
        candidate,
        lambda: bench.evaluate(candidate, deadline, cuts),
        bench.metric.loss,
        time.monotonic() - max((trial.elapsed for trial in trials), default=0.0),
    )
    on_trial(trial)
    return trial


def _likely_members(bench: Bench, trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Guess which trials would be the leader's members if the search ended now.

    What they cost to fit on all rows and to save is kept out of the search's
    time: to count every good trial would leave a fifth of the time unused.
    """
    settings = bench.settings.train
    best_few = ranked(trials, bench.metric)
    if settings.ensemble is not Ensemble.GREEDY or len(best_few) < 2:
        most = 1 if settings.ensemble is Ensemble.NONE else settings.max_members
        return best_few[:most]
    pool = [trial for trial in best_few if trial.candidate.key in bench.answers][:GUESS_POOL]
    raw = [bench.answers[trial.candidate.key].raw for trial in pool]
    rows = np.arange(len(bench.scored))
    if len(rows) > GUESS_ROWS:
        rows = np.random.default_rng(bench.settings.seed).choice(rows, GUESS_ROWS, replace=False)
    weights = ensemble.greedy(
        [each[rows] for each in raw], bench.loss_on(rows), settings.max_members, GUESS_ROUNDS
    )
    return [trial for trial, weight in zip(pool, weights, strict=True) if weight]


def _replayed(
    bench: Bench,
    shelf: Sequence[tuple[Backend, Family]],
    course: Course,
    on_trial: Callable[[TrialResult], None],
    on_start: Callable[[Candidate], None],
    placed: Placed,
) -> tuple[TrialResult, ...]:
    """Try again what an earlier search has tried, and end each fit where it was ended then."""
    check_offered(shelf, course)
    keep_best = _keeps_best(bench)

    def ended(trial: TrialResult) -> None:
        keep_best(trial)
        on_trial(trial)

    whole = [trial for trial in course.trials if bench.learns_from_disk(trial.candidate)]
    trials = again(
        course.trials[: len(course.trials) - len(whole)],
        lambda trial: bench.evaluate(trial.candidate, None, trial.cuts),
        bench.metric.loss,
        ended,
        on_start=on_start,
        beside=min(bench.beside, bench.threads),
        interrupt=bench.interrupted.set,
        elsewhere=placed.elsewhere(bench.take_over),
    )
    # The rows that it learns from are on the disk of this machine.
    for before in whole:
        if before.error:
            trials = (*trials, replace(before, number=len(trials), seconds=0.0))
            on_trial(trials[-1])
            continue
        trials = (
            *trials,
            _on_all_rows(bench, trials, before.candidate, None, on_trial, on_start, before.cuts),
        )
    return trials


def check_offered(shelf: Sequence[tuple[Backend, Family]], course: Course) -> None:
    """Refuse to replay a search of families that are not offered any more.

    Raises
    ------
    RatchetError
        If one is not, since a library is missing.
    """
    offered = {(backend.name, family.name) for backend, family in shelf}
    lacking = dict.fromkeys(
        trial.candidate.label
        for trial in course.trials
        if (trial.candidate.backend, trial.candidate.family) not in offered and not trial.error
    )
    if lacking:
        raise RatchetError(
            f"The search can't be replayed: it tried {', '.join(lacking)}, which"
            f" {'is' if len(lacking) == 1 else 'are'} not offered here. Install what its run had:"
            " see lineage/environment.txt among its artifacts."
        )


def _keeps_best(bench: Bench) -> Callable[[TrialResult], None]:
    """Make what is told of each trial, and lets go of models that won't become members."""
    trials: list[TrialResult] = []
    held: list[TrialResult] = []

    def keep_best(trial: TrialResult) -> None:
        trials.append(trial)
        kind = [each for each in trials if each.candidate.label == trial.candidate.label]
        if ranked(kind, bench.metric)[:1] == [trial]:
            bench.spare(trial)
        best = {id(each) for each in ranked(trials, bench.metric)[:POOL]}
        # Only of trials that have ended: those that are under way have models that nobody ranked.
        bench.forget_models([each for each in (*held, trial) if id(each) not in best])
        held[:] = [each for each in (*held, trial) if id(each) in best]

    return keep_best


def doubts_of(
    used: Sequence[tuple[Backend, str]], trials: Sequence[TrialResult], threads: int, *, gpu: bool
) -> dict[str, str]:
    """Say why a replay of trials may differ, by what it is about.

    Parameters
    ----------
    used : sequence of (Backend, str)
        Backends with the families that were tried.
    trials : sequence of TrialResult
        All that was tried.
    threads : int
        Most threads that a fit got.
    gpu : bool
        Whether a graphics processor could be used.
    """
    doubts = {}
    for backend, family in used:
        of_family = [
            trial
            for trial in trials
            if (trial.candidate.backend, trial.candidate.family) == (backend.name, family)
            and not trial.error
        ]
        if not of_family:
            continue
        told = backend.doubt(family, threads=threads, gpu=gpu)
        # It looked at the clock in another way than by asking whether it is out of time.
        unknown = sum(
            trial.cut_short and all(cut is None for cut in trial.cuts) for trial in of_family
        )
        if not told and unknown:
            told = f"{unknown} of its fits ended by a clock of their own"
        if told:
            doubts[of_family[0].candidate.label] = told
    return doubts


def _doubts_of_a_cluster(bench: Bench, trials: Sequence[TrialResult]) -> dict[str, str]:
    """Say why what was fitted over a cluster may come out otherwise."""
    if bench.settings.execution.address is None:
        return {}
    told = "the workers of a cluster add up their parts of the rows, and those differ with them"
    spread = (trial.candidate for trial in trials if bench.learns_from_disk(trial.candidate))
    return {candidate.label: told for candidate in spread}


def _rungs(n_rows: int) -> tuple[float, ...]:
    """Give the shares of the rows on which candidates are tried."""
    rungs = [1.0]
    while n_rows >= ROWS_FOR_SAMPLES and n_rows * rungs[0] / 3 >= SMALLEST_SAMPLE:
        rungs.insert(0, rungs[0] / 3)
    return tuple(rungs)


@dataclass(frozen=True)
class _Chosen:
    members: tuple[tuple[TrialResult, float], ...]
    score: float
    honest_score: float
    threshold: float | None
    calibration: Calibration | None
    conformal: Conformal | None


def _choose(bench: Bench, trials: Sequence[TrialResult]) -> _Chosen:
    """Choose the members of the leader from ranked trials, and what becomes of their answers."""
    settings = bench.settings.train
    pool = [trial for trial in trials if trial.candidate.key in bench.answers][:POOL]
    answers = [bench.answers[trial.candidate.key].raw for trial in pool]
    n_scored = len(answers[0])
    random = np.random.default_rng(bench.settings.seed)
    used = np.sort(random.permutation(n_scored)[:ENSEMBLE_ROWS])
    few = [answer[used] for answer in answers]

    def loss_on(rows: np.ndarray) -> ensemble.Loss:
        return bench.loss_on(used[rows])

    def choose(rule: Any) -> ensemble.Choice:
        return ensemble.choose(rule, few, loss_on, settings.max_members, bench.settings.seed)

    choice = choose(ensemble.best_alone)
    if settings.ensemble is not Ensemble.NONE and len(pool) > 1:
        together = choose(
            ensemble.voting if settings.ensemble is Ensemble.VOTING else ensemble.greedy
        )
        # Weights that fit the validation rows by chance don't help on rows they were not chosen on.
        # But where the best alone is ahead by chance, the mean of several is the safer one.
        if not together.is_beaten_by(choice) or settings.ensemble is Ensemble.VOTING:
            choice = together
    raw = ensemble.mixed(answers, choice.weights)
    calibration = _calibration(bench, raw)
    if calibration is not None:
        raw = calibration.apply(raw)
    score, threshold = bench.score(raw)
    members = [
        (trial, float(weight)) for trial, weight in zip(pool, choice.weights, strict=True) if weight
    ]
    sign = -1.0 if bench.metric.maximize else 1.0
    return _Chosen(
        tuple(sorted(members, key=lambda member: -member[1])),
        score,
        sign * choice.honest_loss,
        threshold,
        calibration,
        Conformal.learn(bench.y_scored, raw) if raw.ndim == 1 else None,
    )


def _calibration(bench: Bench, raw: np.ndarray) -> Calibration | None:
    """Learn a map to frequencies where it lowers the loss on rows it was not learned on."""
    if bench.settings.train.calibrate == "never" or raw.ndim == 1:
        return None
    if not bench.metric.needs_probabilities:
        return None
    part = np.random.default_rng(bench.settings.seed).permutation(len(raw)) % 2
    mapped = raw.copy()
    for turn in (0, 1):
        learned, held = part == turn, part != turn
        if len(np.unique(bench.y_scored[learned])) < raw.shape[1]:
            return None
        mapped[held] = Calibration.learn(raw[learned], bench.y_scored[learned]).apply(raw[held])
    loss = bench.loss_on(np.arange(len(raw)))
    gain = loss(raw) - loss(mapped)
    if not gain > CALIBRATION_GAIN * abs(loss(raw)):
        return None
    return Calibration.learn(raw, bench.y_scored)


def _fitted(
    bench: Bench,
    chosen: Sequence[tuple[TrialResult, float]],
    deadline: float | None,
    replay: Course | None,
) -> tuple[tuple[Member, ...], tuple[Part, ...], tuple[Chosen, ...]]:
    """Fit the members on all rows, as far as the time allows.

    One fit on all rows has seen more of them than the mean of its folds'
    models, was as good or better wherever both were tried, and answers as
    many times faster. A member that can't be fitted in time keeps what its
    folds have fitted; the weightiest is fitted in any case.
    """
    members: list[Member] = []
    parts: list[Part] = []
    counts: list[int] = []
    course: list[Chosen] = []
    before = (
        {replay.trials[each.trial].candidate.key: each for each in replay.chosen} if replay else {}
    )
    refits = bench.refit(
        [trial for trial, _ in chosen],
        deadline,
        late=[key for key, each in before.items() if each.made is not Made.REFIT],
        cuts={key: each.cut for key, each in before.items()},
    )
    for (trial, weight), refit in zip(chosen, refits, strict=True):
        have = refit.parts or bench.answers[trial.candidate.key].parts
        if not refit.parts and not bench.knows_all_classes(have):
            have = ()
        made = Made.REFIT if refit.parts else Made.FOLDS if have else Made.NOT
        course.append(Chosen(trial.number, weight, made, refit.cut if refit.parts else None))
        if have:
            members.append(_member(bench, trial, weight, refit))
            counts.append(len(have))
            parts += [replace(each, weight=weight / len(have)) for each in have]
    if not members:
        trial, _ = chosen[0]
        [refit] = bench.refit([trial])
        members = [_member(bench, trial, 1.0, refit)]
        parts, counts = list(refit.parts), [len(refit.parts)]
    total = sum(member.weight for member in members)
    at = iter(places(parts))
    members = [
        replace(member, weight=member.weight / total, places=tuple(islice(at, count)))
        for member, count in zip(members, counts, strict=True)
    ]
    return tuple(members), tuple(parts), tuple(course)


def _member(bench: Bench, trial: TrialResult, weight: float, refit: Refit) -> Member:
    return Member(
        trial,
        weight,
        refitted=bool(refit.parts),
        seconds=refit.seconds,
        n_rows=bench.rows_of_refit(trial) if refit.parts else bench.rows_of(trial),
        interpretability=bench.family(trial.candidate).interpretability,
    )


def _rivals(bench: Bench, members: Sequence[Member], baselines: Sequence[str]) -> tuple[Rival, ...]:
    """Choose the best of the next families, one that can be read among them.

    Who leads by little over a model that anyone can read ought to know it.
    Nothing is fitted for this: the models are those of the first fold.
    """
    inside = {member.trial.candidate.label for member in members}
    spares = [
        spare
        for label, spare in bench.spares.items()
        if label not in inside
        and spare.trial.candidate.family not in baselines
        and bench.saved_bytes(spare.trial) <= RIVAL_BYTES
    ]
    spares.sort(key=lambda spare: bench.metric.loss(spare.trial.score))

    def can_be_read(spare: Spare) -> bool:
        return bench.family(spare.trial.candidate).interpretability is Interpretability.READ

    return tuple(_rival(bench, spare) for spare in rivals.few(spares, RIVALS, can_be_read))


def _rival(bench: Bench, spare: Spare) -> Rival:
    backend = bench.backend(spare.trial.candidate.backend)
    return Rival(
        spare.trial,
        combine([spare.part], bench.schema, spare.trial.threshold),
        bench.rows_of(spare.trial),
        bench.family(spare.trial.candidate).interpretability,
        _trusted_types(bench.schema, [backend]),
        _packages([backend]),
        _modules(bench.schema, [backend]),
    )


def _trusted_types(schema: Schema, used: Sequence[Backend]) -> tuple[str, ...]:
    """Name the classes and functions in a model of these backends that skops does not know."""
    named = {*ASSEMBLY_TYPES, *derived.trusted_types(schema.derived)}
    return tuple(sorted(named.union(*(backend.trusted_types for backend in used))))


def _modules(schema: Schema, used: Sequence[Backend]) -> tuple[str, ...]:
    """Name the modules of the user's own in a model of these backends."""
    named = [*(name for backend in used for name in backend.modules)]
    return tuple(dict.fromkeys([*named, *derived.modules(schema.derived)]))


def _packages(used: Sequence[Backend]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*PACKAGES, *(name for b in used for name in b.packages)]))


def _raw(model: Any, schema: Schema) -> Callable[[pd.DataFrame], np.ndarray]:
    def says(rows: pd.DataFrame) -> np.ndarray:
        said = predict(model, rows, schema)
        return said.values if said.probabilities is None else said.probabilities

    return says


def _baseline(rows: pd.DataFrame, schema: Schema) -> Any:
    """Fit the constant answer."""
    backend = backends.get("sklearn")
    task = task_of(schema, len(rows))
    y = encode_target(rows[schema.target], schema)
    transformer = preparation(schema, Preparation.CODES)
    X = transformer.fit_transform(as_features(rows, schema), y)
    request = backends.Request(
        family="baseline",
        params={},
        task=task,
        train=backends.Rows(X, y),
        valid=None,
        categorical=np.zeros(X.shape[1], dtype=bool),
        metric=metrics.default(schema.problem).name,
        threads=1,
        seed=0,
    )
    return combine([Part(transformer, backend.fit(request).estimator, 1.0)], schema, None)

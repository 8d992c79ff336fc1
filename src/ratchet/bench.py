"""Fits candidates on the rows of one search and scores them on rows they were not fitted on."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from ratchet import backends, container, memory, metrics
from ratchet.backends import Backend, Family, Fitted, Looks, Params, Request, Rows, Stream, Task
from ratchet.features import Matrix, Preparation, as_features, matrix, preparation
from ratchet.folds import Fold
from ratchet.metrics import Metric
from ratchet.model import Part, as_predictions, raw_answer
from ratchet.schema import Schema
from ratchet.search import Candidate, Scored, TrialResult
from ratchet.settings import Device, Settings, SplitMethod
from ratchet.table import Stored, encode_target, rows_at_once

_Each = TypeVar("_Each")
_Made = TypeVar("_Made")

# Rows fitted on whose score says how far a model has learned them by heart.
TRAIN_SCORE_ROWS = 2000
# Bytes of a model that are saved, checked and logged in a second.
SAVED_PER_SECOND = 60_000_000
# Prepared rows are made anew rather than kept when they take more than this share of memory.
MEMORY_SHARE = 0.3
# Rows that are prepared at once where they come in batches.
ROWS_OF_BATCH = 2**17


@dataclass(frozen=True)
class Answer:
    """What a candidate said about rows that it was not fitted on."""

    raw: np.ndarray
    """Quantities (n_scored,) or probabilities (n_scored, n_classes)."""
    parts: tuple[Part, ...] = ()
    """The model of each fold; empty when they were let go."""


@dataclass(frozen=True)
class HandedOver:
    """What a bench elsewhere has found out about a candidate, fit to be sent."""

    raw: np.ndarray
    """What it said about the scored rows."""
    parts: bytes
    """The models of its folds; empty where they can't be sent, or nobody would use them."""
    n_bytes: int
    """About how large one of them is when it is saved."""
    turns: int
    """Fits after each other that its seconds are of."""


@dataclass(frozen=True)
class Refit:
    """What became of fitting a candidate on all rows."""

    parts: tuple[Part, ...] = ()
    """The model, or a few that differ by their seeds; empty when there was no time for one."""
    cut: int | None = None
    """The look at the clock at which its time was up; None where it never was."""
    seconds: float = 0.0
    """Wall-clock time that it took."""


@dataclass(frozen=True)
class Spare:
    """A candidate with a model of it that need not become a member."""

    trial: TrialResult
    """Its trial."""
    part: Part
    """The model that its first fold has fitted."""


@dataclass(frozen=True)
class Whole:
    """All rows that are learned from, where a search has a sample of them in memory."""

    train: Stored
    """The train rows."""
    valid: Stored
    """The valid rows."""
    folder: Path
    """Where files may be kept while models are fitted."""

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return self.train.n_rows + self.valid.n_rows


@dataclass
class Bench:
    """The rows of one search, prepared once for each kind of preparation and fold."""

    rows: pd.DataFrame
    """Feature columns and target: the train rows, then the valid rows."""
    schema: Schema
    """What the columns are."""
    settings: Settings
    """``train``, ``seed`` and ``split`` are used."""
    metric: Metric
    """Score that is optimised."""
    plan: tuple[Fold, ...]
    """Which rows candidates are fitted on and scored on."""
    beside: int = 1
    """Trials that are made at the same time."""
    threads: int = 0
    """Threads that all fits have together; 0 takes those of the settings, or a thread a core."""
    whole: Whole | None = None
    """All rows, where ``rows`` are a sample: candidates of a backend that takes batches learn from
    all of the train rows when their share is 1."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """What each candidate said, by its key."""
    spares: dict[str, Spare] = field(default_factory=dict)
    """The best candidate of each kind of model, by its label, as far as there is a model of it."""

    def __post_init__(self) -> None:
        self.y = encode_target(self.rows[self.schema.target], self.schema)
        self.scored = np.unique(np.concatenate([fold.valid for fold in self.plan]))
        self.y_scored = self.y[self.scored]
        self.task = Task(
            self.schema.problem,
            max(len(fold.train) for fold in self.plan),
            len(self.schema.columns),
            len(self.schema.classes),
        )
        self.threads = self.threads or self.settings.train.threads or container.cores()
        self._class_weights = self._weights_of_classes()
        self._weights = None if self._class_weights is None else self._class_weights[self.y]
        self._prepared: dict[tuple[Preparation, int, float], tuple[Any, Matrix, Any]] = {}
        self._whole: dict[Preparation, tuple[Any, Matrix]] = {}
        self.interrupted = threading.Event()
        self._lock = threading.Lock()
        self._scores: dict[str, Scored] = {}
        self._bytes: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._taken: dict[tuple[Preparation, int, float], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Be built anew elsewhere, from what it was built from."""
        given = (self.rows, self.schema, self.settings, self.plan, self.beside, self.threads)
        return _built, (*given, self.whole)

    def backend(self, name: str) -> Backend:
        """Make a backend with its options."""
        return backends.get(name, self.settings.train.backends.get(name))

    def family(self, candidate: Candidate) -> Family:
        """Find the family of a candidate."""
        offered = self.backend(candidate.backend).families(self.task)
        return next(family for family in offered if family.name == candidate.family)

    def evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None] = ()
    ) -> Scored:
        """Fit a candidate on each fold and score what it says about the valid rows.

        Folds are fitted beside each other, with one thread each: on few rows
        that is twice as fast as several threads in one fit.

        Parameters
        ----------
        candidate : Candidate
            What to fit.
        deadline : float, optional
            Time of ``time.monotonic()`` at which to be done.
        cuts : sequence
            For each fold, the look at the clock at which the time of an earlier
            fit was up, to end this one there.
        """
        known = self._scores.get(candidate.key)
        if known is None:
            known = self._scores[candidate.key] = self._evaluate(candidate, deadline, cuts)
        return known

    def prepare(self, family: Family, share: float = 1.0) -> None:
        """Prepare the rows of every fold as a family takes them."""
        for place in range(len(self.plan)):
            self._matrices(family.preparation, place, share)

    def loss_on(self, rows: np.ndarray) -> Callable[[np.ndarray], float]:
        """Give the loss of raw answers about some of the scored rows, by their positions."""
        return metrics.stopping_loss(self.metric, self.y_scored[rows])

    def score(self, raw: np.ndarray) -> tuple[float, float | None]:
        """Score raw answers about the scored rows, and find the threshold for decisions."""
        threshold = self._threshold(raw)
        return self._score(self.y_scored, raw, threshold), threshold

    def spare(self, trial: TrialResult) -> None:
        """Keep a model of the best candidate of its kind, for a comparison with the leader."""
        label = trial.candidate.label
        answer = self.answers.get(trial.candidate.key)
        if answer is None or not answer.parts or not self.knows_all_classes(answer.parts[:1]):
            # That of one that isn't the best would stand for the kind.
            self.spares.pop(label, None)
            return
        self.spares[label] = Spare(trial, answer.parts[0])

    def forget_models(self, trials: Sequence[TrialResult]) -> None:
        """Let go of the models of trials that have ended, not of what they said."""
        for trial in trials:
            answer = self.answers.get(trial.candidate.key)
            if answer is not None and answer.parts:
                self.answers[trial.candidate.key] = replace(answer, parts=())

    def remember(self, kept: Sequence[tuple[TrialResult, np.ndarray | None]]) -> None:
        """Take in what candidates of an interrupted search said; their models are gone."""
        for trial, raw in kept:
            if raw is not None and len(raw) == len(self.scored):
                self.answers[trial.candidate.key] = Answer(raw)

    def with_threads(self, threads: int) -> Self:
        """Give a bench of the same rows, each trial of which has so many threads."""
        return replace(self, beside=1, threads=threads, answers={}, spares={})

    def hand_over(self, candidate: Candidate) -> HandedOver | None:
        """Give what another bench must know of a candidate, and forget it; None if it failed."""
        answer = self.answers.pop(candidate.key, None)
        self._scores.pop(candidate.key, None)
        if answer is None:
            return None
        try:
            parts = bytes(ForkingPickler.dumps(answer.parts))
        except Exception:  # a model of the user's own may not be fit to be sent
            parts = b""
        return HandedOver(answer.raw, parts, self._bytes[candidate.key], self._turns[candidate.key])

    def take_over(self, candidate: Candidate, found: HandedOver | None) -> None:
        """Take in what a bench elsewhere has found out about a candidate."""
        if found is None:
            return
        parts = ForkingPickler.loads(found.parts) if found.parts else ()
        kind, share = self.family(candidate).preparation, candidate.share
        # Each comes with a preparation of its own, and models share one where they can.
        parts = tuple(
            replace(
                part,
                transformer=self._taken.setdefault((kind, place, share), part.transformer),
            )
            for place, part in enumerate(parts)
        )
        self.answers[candidate.key] = Answer(found.raw, parts)
        self._bytes[candidate.key] = found.n_bytes
        self._turns[candidate.key] = found.turns

    def knows_all_classes(self, parts: Sequence[Part]) -> bool:
        """Tell whether models can be averaged: each has seen every class."""
        return all(
            len(getattr(part.estimator, "classes_", range(self.task.n_classes)))
            == self.task.n_classes
            for part in parts
        )

    @property
    def sampled(self) -> float:
        """Share of the train rows that are in memory."""
        return 1.0 if self.whole is None else len(self.plan[0].train) / self.whole.train.n_rows

    def learns_from_disk(self, candidate: Candidate) -> bool:
        """Tell whether a candidate is fitted on more rows than there are in memory."""
        return self._whole_of(candidate) is not None

    def _whole_of(self, candidate: Candidate) -> Whole | None:
        """Give all rows if a candidate learns from them, None if those in memory do."""
        if self.whole is None or candidate.share < 1:
            return None
        takes = self.backend(candidate.backend).takes_batches(self.settings.execution)
        return self.whole if takes else None

    def rows_of(self, trial: TrialResult) -> int:
        """Count the rows that the first fold of a trial was fitted on."""
        whole = self._whole_of(trial.candidate)
        if whole is not None:
            return whole.train.n_rows
        return len(self._rows_of(0, trial.candidate.share))

    def rows_of_refit(self, trial: TrialResult) -> int:
        """Count the rows that a fit of a trial's candidate on all rows is on."""
        whole = self._whole_of(trial.candidate)
        return len(self.rows) if whole is None else whole.n_rows

    def refit_seconds(self, trial: TrialResult) -> float:
        """Estimate how long a fit on all rows takes, in the threads that it gets."""
        turns = self._turns.get(
            trial.candidate.key, math.ceil(len(self.plan) / min(self.threads, len(self.plan)))
        )
        once = trial.seconds / turns * self.rows_of_refit(trial) / self._most_rows_of(trial)
        return once * self.family(trial.candidate).refits

    def save_seconds(self, trial: TrialResult) -> float:
        """Estimate how long it takes to save a model of the trial's candidate on all rows."""
        growth = self.rows_of_refit(trial) / self._most_rows_of(trial)
        return self.saved_bytes(trial) * growth / SAVED_PER_SECOND

    def _most_rows_of(self, trial: TrialResult) -> float:
        whole = self._whole_of(trial.candidate)
        if whole is not None:
            return whole.train.n_rows
        return len(self.plan[0].train) * min(1.0, trial.candidate.share / self.sampled)

    def saved_bytes(self, trial: TrialResult) -> int:
        """Give the bytes that a model of a trial's fold takes when it is saved; 0 where few."""
        return self._bytes.get(trial.candidate.key, 0)

    def refit(
        self,
        trials: Sequence[TrialResult],
        deadline: float | None = None,
        *,
        late: Collection[str] = (),
        cuts: Mapping[str, int | None] = MappingProxyType({}),
    ) -> tuple[Refit, ...]:
        """Fit candidates on all rows, as far as that can be done before the deadline.

        Where candidates were fitted beside each other on folds, they are so
        here too.

        Parameters
        ----------
        trials : sequence of TrialResult
            What to fit, with what early stopping has found.
        deadline : float, optional
            Time of ``time.monotonic()`` at which to be done.
        late : collection of str
            Keys of candidates for which there is no time, in a replay.
        cuts : mapping
            The look at the clock at which the time of a fit is up, in a
            replay, by the key of its candidate.
        """
        beside = self.threads if len(self.plan) > 1 else min(self.beside, self.threads)
        workers = min(len(trials), beside)

        def one(trial: TrialResult) -> Refit:
            left = math.inf if deadline is None else deadline - time.monotonic()
            if trial.candidate.key in late or self.refit_seconds(trial) > left:
                return Refit()
            family = self.family(trial.candidate)
            found = trial.refit_params or trial.candidate.params
            candidate = replace(trial.candidate, params=self._scaled(found, family), share=1.0)
            with self._lock:
                transformer, X = self._all_rows(family.preparation)
            whole = self._whole_of(trial.candidate)
            stream = self._stream(transformer, whole, "train", "valid")
            rows = Rows(X.values, self.y, self._weights)
            threads = max(1, self.threads // workers)
            looks = Looks(cuts.get(trial.candidate.key))
            begun = time.monotonic()
            made: list[Any] = []
            for turn in range(family.refits):
                fitted = self._fit(
                    candidate, rows, None, X.categorical, deadline, threads, looks, turn, stream
                )
                if fitted.cut_short:
                    break
                made.append(fitted.estimator)
            return Refit(
                tuple(Part(transformer, each, 1 / len(made)) for each in made),
                looks.up_at,
                time.monotonic() - begun,
            )

        return tuple(self._beside(workers, one, trials))

    def _scaled(self, params: Params, family: Family) -> Params:
        """Give a model of all rows more rounds than those of a part needed."""
        if not family.rounds or family.rounds not in params:
            return params
        more = math.sqrt(len(self.rows) / len(self.plan[0].train))
        return {**params, family.rounds: max(1, round(params[family.rounds] * more))}

    def train_score(
        self, model_says: Callable[[pd.DataFrame], np.ndarray], threshold: float | None
    ) -> float:
        """Score a model on some of the rows it was fitted on."""
        rows = self._sample(np.arange(len(self.rows)))
        return self._score(self.y[rows], model_says(self.rows.iloc[rows]), threshold)

    def _evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None]
    ) -> Scored:
        family = self.family(candidate)
        n_folds = len(self.plan)
        # A holdout's trials are made beside each other, the folds of a trial are otherwise.
        threads = max(1, self.threads // self.beside)
        workers = min(threads, n_folds)
        turns = math.ceil(n_folds / workers)
        begun = time.monotonic()

        def one(place: int) -> _FoldResult:
            until = deadline
            if deadline is not None:
                # Folds that wait for their turn get as much time as those before them.
                until = begun + (deadline - begun) * (place // workers + 1) / turns
            looks = Looks(cuts[place] if cuts else None)
            return self._fit_fold(
                candidate, family, place, until, max(1, threads // workers), looks
            )

        self.prepare(family, candidate.share)
        results = self._beside(workers, one, range(n_folds))
        raw = self._out_of_fold([result.raw for result in results])
        score, threshold = self.score(raw)
        self.answers[candidate.key] = Answer(raw, tuple(result.part for result in results))
        self._bytes[candidate.key] = max(result.fitted.n_bytes for result in results)
        self._turns[candidate.key] = turns
        return Scored(
            score=score,
            train_score=float(np.mean([result.train_score(threshold) for result in results])),
            threshold=threshold,
            params=_merged([result.fitted.params for result in results], family),
            curve=results[0].fitted.curve,
            cut_short=any(result.fitted.cut_short for result in results),
            cuts=tuple(result.cut for result in results),
        )

    def _beside(
        self, workers: int, one: Callable[[_Each], _Made], items: Iterable[_Each]
    ) -> list[_Made]:
        """Do the same with several things beside each other, in as many threads."""
        if workers <= 1:
            return [one(item) for item in items]
        pool = ThreadPoolExecutor(workers, thread_name_prefix="fit")
        try:
            return list(pool.map(one, items))
        except (KeyboardInterrupt, SystemExit):
            self.interrupted.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fit_fold(
        self,
        candidate: Candidate,
        family: Family,
        place: int,
        deadline: float | None,
        threads: int,
        looks: Looks,
    ) -> "_FoldResult":
        fold = self.plan[place]
        transformer, train, valid = self._matrices(family.preparation, place, candidate.share)
        rows = self._rows_of(place, candidate.share)
        whole = self._whole_of(candidate)
        stream = self._stream(transformer, whole, "train")
        fitted = self._fit(
            candidate,
            Rows(
                train.values, self.y[rows], None if self._weights is None else self._weights[rows]
            ),
            Rows(valid, self.y[fold.valid]),
            train.categorical,
            deadline,
            threads,
            looks,
            stream=stream,
        )
        seen = self._sample(np.arange(len(rows)))
        n_classes = self.task.n_classes
        said = raw_answer(fitted.estimator, _take(train.values, seen), n_classes)
        return _FoldResult(
            fitted,
            Part(transformer, fitted.estimator, 1.0),
            raw_answer(fitted.estimator, valid, n_classes),
            lambda threshold: self._score(self.y[rows[seen]], said, threshold),
            looks.up_at,
        )

    def _fit(
        self,
        candidate: Candidate,
        train: Rows,
        valid: Rows | None,
        categorical: np.ndarray,
        deadline: float | None,
        threads: int,
        looks: Looks,
        turn: int = 0,
        stream: Stream | None = None,
    ) -> Fitted:
        return self.backend(candidate.backend).fit(
            Request(
                family=candidate.family,
                params=candidate.params,
                task=self.task,
                train=train,
                valid=valid,
                categorical=categorical,
                metric=self.metric.name,
                threads=threads,
                seed=self.settings.seed + turn,
                loss=None if valid is None else metrics.stopping_loss(self.metric, valid.y),
                deadline=deadline,
                gpu=self.settings.train.device is not Device.CPU,
                interrupted=self.interrupted,
                looks=looks,
                stream=stream,
            )
        )

    def _stream(self, transformer: Any, whole: Whole | None, *names: str) -> Stream | None:
        """Have the rows of parts come in batches, as a transformer prepares them."""
        if whole is None:
            return None
        parts: list[Stored] = [getattr(whole, name) for name in names]
        schema, weights = self.schema, self._class_weights
        rows = min(ROWS_OF_BATCH, 2 * rows_at_once(len(schema.columns)))

        def batches() -> Iterator[Rows]:
            for part in parts:
                for piece in part.pieces(rows):
                    y = encode_target(piece[schema.target], schema)
                    X = transformer.transform(as_features(piece, schema))
                    yield Rows(X, y, None if weights is None else weights[y])

        chosen = self.settings.execution
        execution = chosen if chosen.address is not None else None
        n_rows = sum(part.n_rows for part in parts)
        return Stream(batches, n_rows, whole.folder, execution)

    def _out_of_fold(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Put together what the folds say; rows that were valid often get the mean."""
        shape = (len(self.rows), *answers[0].shape[1:])
        total, times = np.zeros(shape), np.zeros(len(self.rows))
        for fold, answer in zip(self.plan, answers, strict=True):
            total[fold.valid] += answer
            times[fold.valid] += 1
        return (total[self.scored].T / times[self.scored]).T

    def _rows_of(self, place: int, share: float) -> np.ndarray:
        rows = self.plan[place].train
        share /= self.sampled
        if share >= 1:
            return rows
        n = max(1, round(share * len(rows)))
        random = np.random.default_rng(self.settings.seed)
        return np.sort(random.choice(rows, n, replace=False))

    def _sample(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) <= TRAIN_SCORE_ROWS:
            return rows
        random = np.random.default_rng(self.settings.seed)
        return np.sort(random.choice(rows, TRAIN_SCORE_ROWS, replace=False))

    def _preparation(self, kind: Preparation) -> Any:
        return preparation(
            self.schema,
            kind,
            time_ordered=self.settings.split.method is SplitMethod.TIME,
            pca=self.settings.train.pca,
        )

    def _matrices(self, kind: Preparation, place: int, share: float) -> tuple[Any, Matrix, Any]:
        key = (kind, place, share)
        with self._lock:
            if key not in self._prepared:
                rows, fold = self._rows_of(place, share), self.plan[place]
                transformer = self._preparation(kind)
                features = as_features(self.rows.iloc[rows], self.schema)
                train = transformer.fit_transform(features, self.y[rows])
                valid = transformer.transform(as_features(self.rows.iloc[fold.valid], self.schema))
                self._make_room()
                self._prepared[key] = (transformer, matrix(transformer, self.schema, train), valid)
            return self._prepared[key]

    def _make_room(self) -> None:
        limit = MEMORY_SHARE * memory.total()
        while self._prepared:
            size = sum(_size(train.values) + _size(v) for _, train, v in self._prepared.values())
            if size <= limit:
                return
            del self._prepared[next(iter(self._prepared))]

    def _all_rows(self, kind: Preparation) -> tuple[Any, Matrix]:
        if kind not in self._whole:
            transformer = self._preparation(kind)
            X = transformer.fit_transform(as_features(self.rows, self.schema), self.y)
            self._whole[kind] = (transformer, matrix(transformer, self.schema, X))
        return self._whole[kind]

    def _weights_of_classes(self) -> np.ndarray | None:
        choice = self.settings.train.class_weight
        # Of two classes the threshold decides, and it is tuned.
        alike = self.metric.counts_classes_alike and self.task.n_classes > 2
        if not self.task.n_classes or choice == "none" or (choice == "auto" and not alike):
            return None
        counts = np.bincount(self.y, minlength=self.task.n_classes)
        return len(self.y) / (np.count_nonzero(counts) * np.maximum(counts, 1))

    def _threshold(self, raw: np.ndarray) -> float | None:
        if not self.metric.needs_threshold or self.task.n_classes != 2:
            return None
        # scikit-learn reads fractions as quantities, and thresholds no model of them.
        if any(isinstance(label, float) for label in self.schema.classes):
            return None
        return metrics.best_threshold(self.metric, self.y_scored, raw)

    def _score(self, y: np.ndarray, raw: np.ndarray, threshold: float | None) -> float:
        # A score of decisions would take missing probabilities for the first class.
        if not np.isfinite(raw).all():
            return math.nan
        return metrics.score(self.metric, y, as_predictions(raw, threshold))


def metric_of(schema: Schema, settings: Settings) -> Metric:
    """Find the score that is optimised."""
    name = settings.train.metric
    return metrics.named(name, schema.problem) if name else metrics.default(schema.problem)


def _built(
    rows: pd.DataFrame,
    schema: Schema,
    settings: Settings,
    plan: tuple[Fold, ...],
    beside: int,
    threads: int,
    whole: Whole | None,
) -> Bench:
    backends.load(settings.train.plugins)
    metric = metric_of(schema, settings)
    return Bench(rows, schema, settings, metric, plan, beside, threads, whole)


@dataclass(frozen=True)
class _FoldResult:
    fitted: Fitted
    part: Part
    raw: np.ndarray
    train_score: Callable[[float | None], float]
    cut: int | None


def _merged(found: Sequence[Params], family: Family) -> Mapping[str, Any]:
    """Take the folds' hyperparameters together: the mean of the rounds that each found."""
    params = dict(found[0])
    if family.rounds and family.rounds in params:
        rounds = [each[family.rounds] for each in found]
        params[family.rounds] = max(1, round(float(np.mean(rounds))))
    return params


def _take(values: Any, rows: np.ndarray) -> Any:
    return values.iloc[rows] if isinstance(values, pd.DataFrame) else values[rows]


def _size(values: Any) -> int:
    if isinstance(values, pd.DataFrame):
        return int(values.memory_usage().sum())
    return int(values.data.nbytes)

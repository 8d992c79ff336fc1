"""Train a leader: search over the families, then fit the best on all rows it may see."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ratchet import backends, metrics
from ratchet.backends import Backend, Family, Fitted, Request, Rows, Task
from ratchet.errors import RatchetError, SettingsError
from ratchet.features import Matrix, Preparation, as_features, matrix, preparation
from ratchet.metrics import Metric, Predictions
from ratchet.model import ASSEMBLY_TYPES, PACKAGES, assemble, decide, predict_codes
from ratchet.schema import Schema
from ratchet.search import Budget, Candidate, Scored, TrialResult, search
from ratchet.settings import Settings, SplitMethod
from ratchet.table import encode_target

# Thresholds that are tried for a score on class decisions.
N_THRESHOLDS = 200


@dataclass(frozen=True)
class Training:
    """One search, its leader and the leader's model."""

    metric: Metric
    """Score that was optimised."""
    trials: tuple[TrialResult, ...]
    """Every trial, in the order they were tried."""
    leader: TrialResult
    """The best trial on the validation rows."""
    baseline: TrialResult | None
    """The trial that ignored the features; None when params.yaml left it out."""
    model: Any
    """The leader as one scikit-learn object on raw columns, fitted on train and valid."""
    baseline_model: Any
    """The constant answer that any model must beat, fitted on the same rows."""
    trusted_types: tuple[str, ...]
    """Classes in the model that skops does not know by itself."""
    packages: tuple[str, ...]
    """Distributions that the model needs."""
    n_rows: int
    """Rows the model was fitted on."""
    seconds: float
    """Wall-clock time of search and refit."""


def train(
    train_rows: pd.DataFrame,
    valid_rows: pd.DataFrame,
    schema: Schema,
    settings: Settings,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
) -> Training:
    """Search on ``train_rows``, choose on ``valid_rows``, fit the leader on both.

    Parameters
    ----------
    train_rows, valid_rows : pd.DataFrame
        Feature columns and target, as prepare wrote them.
    schema : Schema
        What the columns are.
    settings : Settings
        ``train``, ``seed`` and ``split`` are used.
    on_trial : callable
        Is told of every trial as it ends.

    Raises
    ------
    SettingsError
        If the metric or a family does not fit the problem.
    RatchetError
        If every trial failed.
    """
    started = time.monotonic()
    backends.load(settings.train.plugins)
    bench = _Bench(train_rows, valid_rows, schema, settings)
    shelf = _shelf(bench.task, settings)
    trials = search(
        [(backend.name, family) for backend, family in shelf],
        bench.evaluate,
        bench.metric.loss,
        Budget(settings.train.search.budget_seconds, settings.train.search.max_trials),
        settings.seed,
        on_trial,
    )
    leader = best(trials, bench.metric)
    model, backend = bench.refit(leader)
    baselines = [family.name for _, family in shelf if family.is_baseline]
    return Training(
        metric=bench.metric,
        trials=trials,
        leader=leader,
        baseline=next((t for t in trials if t.candidate.family in baselines), None),
        model=model,
        baseline_model=bench.baseline(),
        trusted_types=tuple(sorted({*ASSEMBLY_TYPES, *backend.trusted_types})),
        packages=(*PACKAGES, *backend.packages),
        n_rows=len(train_rows) + len(valid_rows),
        seconds=time.monotonic() - started,
    )


def best(trials: tuple[TrialResult, ...], metric: Metric) -> TrialResult:
    """Return the trial that leads; the earlier of two that are equal.

    Raises
    ------
    RatchetError
        If none ended well; the message holds the reasons.
    """
    done = [trial for trial in trials if trial.error is None]
    if not done:
        reasons = "; ".join(
            dict.fromkeys(f"{trial.candidate.label}: {trial.error}" for trial in trials)
        )
        raise RatchetError(f"All {len(trials)} trials failed: {reasons}")
    return min(done, key=lambda trial: metric.loss(trial.score))


def _shelf(task: Task, settings: Settings) -> list[tuple[Backend, Family]]:
    """Families that were asked for, each with its backend."""
    offered = [
        (backend, family)
        for backend in map(backends.get, backends.available())
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


@dataclass
class _Bench:
    """The rows of one search, prepared once for each kind of preparation."""

    train_rows: pd.DataFrame
    valid_rows: pd.DataFrame
    schema: Schema
    settings: Settings
    metric: Metric = field(init=False)
    task: Task = field(init=False)
    _prepared: dict[Preparation, tuple[Matrix, Matrix]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = self.schema.problem
        name = self.settings.train.metric
        self.metric = metrics.named(name, problem) if name else metrics.default(problem)
        self.task = Task(
            problem, len(self.train_rows), len(self.schema.columns), len(self.schema.classes)
        )
        self.y_train = encode_target(self.train_rows[self.schema.target], self.schema)
        self.y_valid = encode_target(self.valid_rows[self.schema.target], self.schema)

    def evaluate(self, candidate: Candidate, deadline: float | None) -> Scored:
        """Fit a candidate on the training rows and score it on the validation rows."""
        backend = backends.get(candidate.backend)
        family = self._family(backend, candidate)
        train, valid = self._matrices(family.preparation)
        fitted = backend.fit(
            self._request(
                candidate,
                Rows(train.values, self.y_train),
                Rows(valid.values, self.y_valid),
                train.categorical,
                deadline,
            )
        )
        on_valid = predict_codes(fitted.estimator, valid.values, self.task.problem)
        on_train = predict_codes(fitted.estimator, train.values, self.task.problem)
        threshold = self._threshold(on_valid)
        return Scored(
            score=self._score(self.y_valid, on_valid, threshold),
            train_score=self._score(self.y_train, on_train, threshold),
            threshold=threshold,
            fitted=fitted,
        )

    def refit(self, trial: TrialResult) -> tuple[Any, Backend]:
        """Fit a trial's candidate on train and valid; give the model and its backend."""
        backend = backends.get(trial.candidate.backend)
        candidate = replace(trial.candidate, params=trial.refit_params or trial.candidate.params)
        rows = pd.concat([self.train_rows, self.valid_rows], ignore_index=True)
        y = np.concatenate([self.y_train, self.y_valid])
        transformer = self._preparation(self._family(backend, candidate).preparation)
        X = matrix(transformer, self.schema, self._fit_transform(transformer, rows, y))
        fitted: Fitted = backend.fit(
            self._request(candidate, Rows(X.values, y), None, X.categorical, None)
        )
        return assemble(transformer, fitted.estimator, self.schema, trial.threshold), backend

    def baseline(self) -> Any:
        """Fit the constant answer on train and valid."""
        trial = Candidate("sklearn", "baseline", {})
        bare = TrialResult(0, trial, math.nan, math.nan, 0.0, 0.0, refit_params={})
        return self.refit(bare)[0]

    def _request(
        self,
        candidate: Candidate,
        train: Rows,
        valid: Rows | None,
        categorical: np.ndarray,
        deadline: float | None,
    ) -> Request:
        return Request(
            family=candidate.family,
            params=candidate.params,
            task=self.task,
            train=train,
            valid=valid,
            categorical=categorical,
            metric=self.metric.name,
            threads=self.settings.train.threads or _usable_cores(),
            seed=self.settings.seed,
            deadline=deadline,
        )

    def _family(self, backend: Backend, candidate: Candidate) -> Family:
        return next(f for f in backend.families(self.task) if f.name == candidate.family)

    def _preparation(self, kind: Preparation) -> Any:
        return preparation(
            self.schema, kind, time_ordered=self.settings.split.method is SplitMethod.TIME
        )

    def _matrices(self, kind: Preparation) -> tuple[Matrix, Matrix]:
        if kind not in self._prepared:
            transformer = self._preparation(kind)
            train = self._fit_transform(transformer, self.train_rows, self.y_train)
            valid = transformer.transform(as_features(self.valid_rows, self.schema))
            self._prepared[kind] = (
                matrix(transformer, self.schema, train),
                matrix(transformer, self.schema, valid),
            )
        return self._prepared[kind]

    def _fit_transform(self, transformer: Any, rows: pd.DataFrame, y: np.ndarray) -> Any:
        return transformer.fit_transform(as_features(rows, self.schema), y)

    def _score(self, y: np.ndarray, predictions: Predictions, threshold: float | None) -> float:
        if threshold is not None and predictions.probabilities is not None:
            predictions = decide(predictions.probabilities, threshold)
        # A score of decisions would take them for the first class.
        if predictions.probabilities is not None and np.isnan(predictions.probabilities).any():
            return math.nan
        return metrics.score(self.metric, y, predictions)

    def _threshold(self, on_valid: Predictions) -> float | None:
        """Find the threshold that the metric likes best on the validation rows."""
        probabilities = on_valid.probabilities
        if not (self.metric.needs_threshold and probabilities is not None):
            return None
        if self.task.n_classes != 2:
            return None
        # scikit-learn reads fractions as quantities, and thresholds no model of them.
        if any(isinstance(label, float) for label in self.schema.classes):
            return None
        shares = np.linspace(0.0, 1.0, N_THRESHOLDS)
        tried = np.unique(np.quantile(probabilities[:, 1], shares))
        losses = [
            self.metric.loss(metrics.score(self.metric, self.y_valid, decide(probabilities, t)))
            for t in tried
        ]
        return float(tried[int(np.nanargmin(losses))]) if np.isfinite(losses).any() else None


def _usable_cores() -> int:
    # Not every system can tell which cores a process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1

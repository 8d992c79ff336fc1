"""Clustering: rows without a target are put together, and all clusterings are judged in one space.

The space is that of the scaled columns. A clustering that was found on a few
principal components is judged there too: its own space would flatter it, since
rows are nearer to each other where columns were left out.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Self

import numpy as np
import pandas as pd

from ratchet import backends, container, derived, metrics, placement, splits
from ratchet.backends import Backend, Family, Fitted, Looks, Request, Rows, blas
from ratchet.course import Chosen, Course, Made, Starts
from ratchet.features import Matrix, Preparation, as_features, matrix, preparation
from ratchet.metrics import Metric, Predictions
from ratchet.model import ASSEMBLY_TYPES, PACKAGES, assemble
from ratchet.placement import Placed
from ratchet.schema import Kind, Schema
from ratchet.search import Budget, Candidate, Scored, TrialResult, again, search
from ratchet.settings import Settings, SplitMethod
from ratchet.trainer import (
    NO_STARTS,
    REFIT,
    Journal,
    Member,
    Training,
    best,
    check_offered,
    doubts_of,
    metric_of,
    ranked,
    shelf_for,
    task_of,
)

STABILITY = "stability"
"""The phase in which other samples of the rows are clustered."""

# Rows that a clustering is judged on: a silhouette compares each row with every other, and of so
# many it is known to less than 0.01.
JUDGED_ROWS = 5_000

# Different labels are then at distance 1, as the quartiles of a number are; two columns of zeros
# and ones alone would put them farther apart than most numbers ever are.
LABEL_WEIGHT = 2**-0.5

# Of training rows fewer will do: their score only says how far a clustering fits them alone.
TRAIN_JUDGED_ROWS = 2_000

# Fits on other training rows whose clusters are compared, and the share of the rows they get.
STABILITY_FITS = 10
STABILITY_SHARE = 0.8

# Share of the time that stability and the last fit may claim at the end.
SHARE_AFTER_SEARCH = 0.25
# Share of the time that one trial may take.
SHARE_OF_ONE = 0.25


@dataclass(frozen=True)
class Sizes:
    """How rows are dealt to clusters."""

    clusters: int
    """Clusters that hold a row."""
    smallest: float
    """Share of the rows in the smallest of them."""
    largest: float
    """Share of the rows in the largest of them."""
    noise: float
    """Share of the rows in none."""

    @classmethod
    def of(cls, labels: np.ndarray) -> "Sizes":
        """Count labels of shape (n,), of which a negative one is noise.

        Examples
        --------
        >>> Sizes.of(np.array([0, 2, 2, 2, -1]))
        Sizes(clusters=2, smallest=0.2, largest=0.6, noise=0.2)
        """
        shares = np.unique(labels[labels >= 0], return_counts=True)[1] / len(labels)
        if not len(shares):
            return cls(0, 0.0, 0.0, 1.0)
        noise = float((labels < 0).mean())
        return cls(len(shares), float(shares.min()), float(shares.max()), noise)

    def flat(self, prefix: str) -> dict[str, float]:
        """Give the numbers under the names that runs and ``metrics.json`` use."""
        return {
            f"{prefix}/clusters": float(self.clusters),
            f"{prefix}/smallest_cluster": self.smallest,
            f"{prefix}/largest_cluster": self.largest,
            f"{prefix}/noise": self.noise,
        }


def judged(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give the rows that a clustering is judged on: all, or ``JUDGED_ROWS`` of them by chance."""
    return rows.iloc[splits.sample(len(rows), JUDGED_ROWS, seed)]


def columns(
    schema: Schema, kind: Preparation, *, time_ordered: bool, pca: float | None = None
) -> Any:
    """Build the transformer to columns whose distances mean something beside each other.

    Parameters
    ----------
    schema, kind, time_ordered, pca
        As in ``preparation``.
    """
    made = preparation(schema, kind, time_ordered=time_ordered, pca=pca)
    if kind is Preparation.SCALED and schema.seen(Kind.CATEGORY):
        inner = made if pca is None else made.named_steps["columns"]
        inner.set_params(transformer_weights={"category": LABEL_WEIGHT})
    return made


def space(rows: pd.DataFrame, schema: Schema, *, time_ordered: bool) -> np.ndarray:
    """Place rows in the space in which clusterings of them are judged.

    Its scale is that of the rows themselves: it belongs to no model, so that
    each is judged alike, and it is the same whoever asks.

    Parameters
    ----------
    rows : pd.DataFrame
        The feature columns.
    schema : Schema
        What they are.
    time_ordered : bool
        As in ``preparation``: whether the age of a row doesn't count.

    Returns
    -------
    np.ndarray of shape (n_rows, n_outputs)
    """
    scaled = columns(schema, Preparation.SCALED, time_ordered=time_ordered)
    values = scaled.fit_transform(as_features(rows, schema))
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)


def axes(places: np.ndarray) -> np.ndarray:
    """Give the places of rows on the two axes along which they differ most, for a picture.

    Parameters
    ----------
    places : np.ndarray of shape (n_rows, n_outputs)
        As ``space`` gives them.

    Returns
    -------
    np.ndarray of shape (n_rows, 2)
        The second axis is 0 where there is one column only.
    """
    from sklearn.decomposition import PCA

    n = min(2, *places.shape)
    found = PCA(n, svd_solver="covariance_eigh").fit_transform(places)
    return np.pad(found, ((0, 0), (0, 2 - n)))


def agreement(labelings: Sequence[np.ndarray]) -> float:
    """Tell how alike clusterings of the same rows are.

    Parameters
    ----------
    labelings : sequence of np.ndarray of shape (n,)
        Labels; their names don't count.

    Returns
    -------
    float
        Mean adjusted Rand index of all pairs: 1 where all are the same, about
        0 where they are by chance; NaN for less than two.

    References
    ----------
    Hubert, L. and Arabie, P. (1985). Comparing Partitions. Journal of
    Classification 2.
    """
    from sklearn.metrics import adjusted_rand_score

    pairs = [adjusted_rand_score(one, other) for one, other in combinations(labelings, 2)]
    return float(np.mean(pairs)) if pairs else math.nan


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
    deadline: float | None = None,
    journal: Journal | None = None,
    replay: Course | None = None,
    starts: Starts = NO_STARTS,
    on_place: Callable[[str], None] = lambda _: None,
) -> Training:
    """Search for a clustering of ``train_rows`` that suits ``valid_rows``, and fit it on both.

    Parameters
    ----------
    train_rows, valid_rows : pd.DataFrame
        Feature columns, as prepare wrote them.
    schema : Schema
        What the columns are.
    settings : Settings
        ``train``, ``execution``, ``seed`` and ``split`` are used. What is about a target, an
        ensemble or folds has no meaning here.
    on_trial : callable
        Is told of every trial as it ends.
    on_phase : callable
        Is told what begins after the search: ``STABILITY``, ``REFIT``.
    on_start : callable
        Is told of every candidate that is tried, as that begins.
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
    on_place : callable
        Is told in a sentence where trials run, and why there, where there was a choice.

    Raises
    ------
    SettingsError
        If the metric or a family does not fit a clustering.
    RatchetError
        If every trial failed, or a replay needs a family that is not offered.
    ClusterError
        If there is no cluster where the settings name one, or its workers are gone.
    """
    started = time.monotonic()
    backends.load(settings.train.plugins)
    metric = metric_of(schema, settings)
    shelf = shelf_for(task_of(schema, len(train_rows)), settings)
    seconds = settings.train.search.budget_seconds
    if replay is not None:
        seconds = deadline = None
    elif deadline is not None:
        seconds = max(deadline - started, 0.0)
    elif seconds is not None:
        deadline = started + seconds
    threads = replay.threads if replay else settings.train.threads or container.cores()
    bench = _Bench(train_rows, valid_rows, schema, settings, metric, threads)
    if replay is not None:
        check_offered(shelf, replay)
    with placement.opened(
        settings,
        bench,
        seconds=seconds,
        earlier=None if replay is None else replay.placement,
        told=on_place,
    ) as placed:
        if replay is None:
            left = placed.left(seconds)
            trials = _search(bench, shelf, left, on_trial, on_start, journal, starts, placed)
        else:
            trials = again(
                replay.trials,
                lambda trial: bench.evaluate(trial.candidate, None, trial.cuts),
                metric.loss,
                on_trial,
                on_start=on_start,
                elsewhere=placed.elsewhere(bench.take_over),
            )
        found = placed.placement if replay is None else replay.placement
    beside, bench.beside = bench.beside, 1
    leader = best(trials, metric)
    on_phase(STABILITY)
    most = replay.stability_fits if replay else None
    stability, stability_fits = bench.stability(leader.candidate, deadline, most)
    on_phase(REFIT)
    backend = bench.backend(leader.candidate)
    rows = pd.concat([train_rows, valid_rows], ignore_index=True)
    model, n_rows = bench.leader(leader.candidate, rows)
    baselines = [family.name for _, family in shelf if family.is_baseline]
    return Training(
        metric=metric,
        trials=trials,
        leader=leader,
        members=(
            Member(
                leader,
                1.0,
                refitted=True,
                n_rows=n_rows,
                interpretability=bench.family(leader.candidate).interpretability,
            ),
        ),
        score=leader.score,
        honest_score=leader.score,
        train_score=leader.train_score,
        threshold=None,
        calibrated=False,
        baseline=next((t for t in trials if t.candidate.family in baselines), None),
        model=model,
        baseline_model=bench.model(Candidate("clustering", "baseline", {}), rows),
        trusted_types=tuple(
            sorted(
                {
                    *ASSEMBLY_TYPES,
                    *backend.trusted_types,
                    *derived.trusted_types(schema.derived),
                }
            )
        ),
        packages=(*PACKAGES, *backend.packages),
        modules=(*backend.modules, *derived.modules(schema.derived)),
        n_rows=n_rows,
        n_folds=1,
        seconds=time.monotonic() - started,
        course=Course(
            n_folds=1,
            threads=threads,
            beside=beside if replay is None else replay.beside,
            trials=trials,
            chosen=(Chosen(leader.number, 1.0, Made.REFIT),),
            stability_fits=stability_fits,
            doubts=doubts_of(
                [(each, family.name) for each, family in shelf], trials, threads, gpu=False
            ),
            placement=found,
        ),
        more={
            "valid/stability": stability,
            **Sizes.of(bench.answers[leader.candidate.key]).flat("valid"),
        },
    )


def _search(
    bench: "_Bench",
    shelf: Sequence[tuple[Backend, Family]],
    seconds: float | None,
    on_trial: Callable[[TrialResult], None],
    on_start: Callable[[Candidate], None],
    journal: Journal | None,
    starts: Starts,
    placed: Placed,
) -> tuple[TrialResult, ...]:
    kept = journal.trials() if journal else ()
    known = {trial.candidate.key for trial, _ in kept}
    for trial, labels in kept:
        if labels is not None:
            bench.answers[trial.candidate.key] = labels

    def keep(trial: TrialResult) -> None:
        if journal is not None and trial.candidate.key not in known:
            known.add(trial.candidate.key)
            journal.keep(trial, bench.answers.get(trial.candidate.key))

    def ended(trial: TrialResult) -> None:
        keep(trial)
        on_trial(trial)

    def reserve(trials: Sequence[TrialResult]) -> float:
        done = ranked(trials, bench.metric)
        if seconds is None or not done:
            return 0.0
        # The fits of the stability, one on all rows and one of the baseline.
        return min(SHARE_AFTER_SEARCH * seconds, (STABILITY_FITS + 2) * done[0].seconds)

    return search(
        [(backend.name, family) for backend, family in shelf],
        bench.evaluate,
        bench.metric.loss,
        Budget(
            seconds,
            bench.settings.train.search.max_trials,
            reserve,
            SHARE_OF_ONE,
            ordered=placed.ordered,
            window=placed.window,
        ),
        bench.settings.seed,
        ended,
        [trial for trial, _ in kept],
        on_start,
        starts.affordable(
            len(bench.train_rows), None if seconds is None else SHARE_OF_ONE * seconds
        ),
        placed.elsewhere(bench.take_over, keep),
    )


@dataclass
class _Bench:
    """The rows of one search, and the space in which they are judged."""

    train_rows: pd.DataFrame
    valid_rows: pd.DataFrame
    schema: Schema
    settings: Settings
    metric: Metric
    threads: int = 1
    beside: int = 1
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    """Labels that each candidate gave to the valid rows that are judged, by its key."""

    def __post_init__(self) -> None:
        seed = self.settings.seed
        self.drawn = splits.sample(len(self.train_rows), TRAIN_JUDGED_ROWS, seed)
        self.valid_judged = judged(self.valid_rows, seed)
        time_ordered = self.settings.split.method is SplitMethod.TIME
        self.train_space, self.valid_space = (
            space(rows, self.schema, time_ordered=time_ordered)
            for rows in (self.train_rows.iloc[self.drawn], self.valid_judged)
        )
        self._prepared: dict[Preparation, tuple[Matrix, Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Be built anew elsewhere, from what it was built from."""
        rows = (self.train_rows, self.valid_rows)
        return _built, (*rows, self.schema, self.settings, self.threads, self.beside)

    def with_threads(self, threads: int) -> Self:
        """Give a bench of the same rows, each trial of which has so many threads."""
        return replace(self, beside=1, threads=threads, answers={})

    def hand_over(self, candidate: Candidate) -> np.ndarray | None:
        """Give the labels of a candidate, and forget them; None if it failed."""
        return self.answers.pop(candidate.key, None)

    def take_over(self, candidate: Candidate, labels: np.ndarray | None) -> None:
        """Take in the labels that a candidate gave elsewhere."""
        if labels is not None:
            self.answers[candidate.key] = labels

    def backend(self, candidate: Candidate) -> Backend:
        """Make a candidate's backend with its options."""
        name = candidate.backend
        return backends.get(name, self.settings.train.backends.get(name))

    def evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None] = ()
    ) -> Scored:
        """Cluster the training rows, and score how the valid ones are put into the clusters.

        Parameters
        ----------
        candidate : Candidate
            What to fit.
        deadline : float, optional
            Time of ``time.monotonic()`` at which to be done.
        cuts : sequence
            The look at the clock at which the time of an earlier fit was up.
        """
        train, valid = self._matrices(candidate)
        looks = Looks(cuts[0] if cuts else None)
        fitted = self._fit(candidate, train, self.settings.seed, deadline, looks)
        labels = _labels(fitted.estimator, valid)
        if len(np.unique(labels[labels >= 0])) < 2:
            raise ValueError("the validation rows are all in one cluster, or in none")
        self.answers[candidate.key] = labels
        seen = _labels(fitted.estimator, train.values[self.drawn])
        return Scored(
            score=metrics.score(self.metric, self.valid_space, Predictions(labels)),
            train_score=metrics.score(self.metric, self.train_space, Predictions(seen)),
            params=fitted.params,
            cut_short=fitted.cut_short,
            cuts=(looks.up_at,),
        )

    def stability(
        self, candidate: Candidate, deadline: float | None, most: int | None = None
    ) -> tuple[float, int]:
        """Tell how alike the clusters are that are found in other samples of the rows.

        Each fit has ``STABILITY_SHARE`` of the training rows, and a seed of
        its own; all say where the same valid rows belong. Where the time ends,
        fewer are compared, but two at least; in a replay as many as there were,
        ``most``.

        Returns
        -------
        float, int
            The agreement, and how many fits there were.

        References
        ----------
        Ben-Hur, A., Elisseeff, A. and Guyon, I. (2002). A Stability Based
        Method for Discovering Structure in Clustered Data. Pacific Symposium
        on Biocomputing.
        """
        train, valid = self._matrices(candidate)
        n = train.values.shape[0]
        labelings: list[np.ndarray] = []
        for number in range(most or STABILITY_FITS):
            begun = time.monotonic()
            seed = (self.settings.seed + 1 + number) % 2**32
            rows = splits.sample(n, max(2, round(STABILITY_SHARE * n)), seed)
            some = Matrix(train.values[rows], train.categorical)
            try:
                fitted = self._fit(candidate, some, seed, None)
                labelings.append(_labels(fitted.estimator, valid))
            except ValueError:  # no clusters in these rows: they are all together
                labelings.append(np.zeros(valid.shape[0], dtype=np.int64))
            took = time.monotonic() - begun
            # One more fit, and the last one on all rows.
            if number and deadline is not None and time.monotonic() + 3 * took > deadline:
                break
        return agreement(labelings), len(labelings)

    def leader(self, candidate: Candidate, rows: pd.DataFrame) -> tuple[Any, int]:
        """Fit the leader on all rows, and say how many these were."""
        try:
            return self.model(candidate, rows), len(rows)
        except ValueError:
            # Where clusters are dense enough in the training rows only, the trial's own are left.
            return self.model(candidate, self.train_rows), len(self.train_rows)

    def model(self, candidate: Candidate, rows: pd.DataFrame) -> Any:
        """Fit a candidate on all rows, as one object that takes raw columns."""
        transformer = self._preparation(candidate)
        X = transformer.fit_transform(as_features(rows, self.schema))
        prepared = matrix(transformer, self.schema, X)
        fitted = self._fit(candidate, prepared, self.settings.seed, None)
        return assemble(transformer, fitted.estimator, self.schema, None)

    def _fit(
        self,
        candidate: Candidate,
        X: Matrix,
        seed: int,
        deadline: float | None,
        looks: Looks | None = None,
    ) -> Fitted:
        n = X.values.shape[0]
        return self.backend(candidate).fit(
            Request(
                family=candidate.family,
                params=candidate.params,
                task=task_of(self.schema, n),
                # There is nothing to be right about.
                train=Rows(X.values, np.zeros(n)),
                valid=None,
                categorical=X.categorical,
                metric=self.metric.name,
                threads=max(1, self.threads // self.beside),
                seed=seed,
                deadline=deadline,
                looks=looks or Looks(),
            )
        )

    def family(self, candidate: Candidate) -> Family:
        """Find the family of a candidate."""
        task = task_of(self.schema, len(self.train_rows))
        offered = self.backend(candidate).families(task)
        return next(each for each in offered if each.name == candidate.family)

    def _preparation(self, candidate: Candidate) -> Any:
        return columns(
            self.schema,
            self.family(candidate).preparation,
            time_ordered=self.settings.split.method is SplitMethod.TIME,
            pca=self.settings.train.pca,
        )

    def _matrices(self, candidate: Candidate) -> tuple[Matrix, Any]:
        kind = self.family(candidate).preparation
        if kind not in self._prepared:
            transformer = self._preparation(candidate)
            train = transformer.fit_transform(as_features(self.train_rows, self.schema))
            valid = transformer.transform(as_features(self.valid_judged, self.schema))
            self._prepared[kind] = (matrix(transformer, self.schema, train), valid)
        return self._prepared[kind]


def _built(
    train_rows: pd.DataFrame,
    valid_rows: pd.DataFrame,
    schema: Schema,
    settings: Settings,
    threads: int,
    beside: int,
) -> _Bench:
    backends.load(settings.train.plugins)
    metric = metric_of(schema, settings)
    return _Bench(train_rows, valid_rows, schema, settings, metric, threads, beside)


def _labels(estimator: Any, X: Any) -> np.ndarray:
    return np.asarray(estimator.predict(X)).astype(np.int64)

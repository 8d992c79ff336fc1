"""What drives a model: what its score loses when a column no longer says anything.

A column is shuffled among the rows, which breaks its tie to the answer and to the other
columns and leaves it as it is otherwise. What the score loses by that is what the model owes
to the column; it says nothing of what another model could do without it.

Rows that the model was fitted on flatter columns that it has learned by heart. So the same
is measured on rows that it has never seen, too, and a reader sees both.

References
----------
Breiman, L. (2001). Random Forests. Machine Learning 45 (section 10).
Fisher, A., Rudin, C. and Dominici, F. (2019). All Models are Wrong, but Many
are Useful. Journal of Machine Learning Research 20 (model reliance).
Hooker, G., Mentch, L. and Zhou, S. (2021). Unrestricted Permutation Forces
Extrapolation. Statistics and Computing 31 (its limits).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from ratchet import association, evaluation, metrics, splits
from ratchet.metrics import Metric, Predictions
from ratchet.model import ROWS_AT_ONCE, answers
from ratchet.schema import Schema

REPEATS = 5
"""Shuffles of a column."""

SHOWN = 20
"""Columns that are shuffled more than once and get an interval: those that seem to matter most."""

MAX_ROWS = 1_000
"""Most rows that are shuffled: an interval gets no narrower that a reader would see."""

# Of a wide table fewer rows are asked about, so that it takes no longer.
_MAX_ASKED = 60_000
_MIN_ROWS = 100

# Groups of columns that are shuffled together.
_MAX_GROUPS = 5

# Resamples behind an interval: its ends are drawn, and nobody decides by their third digit.
_RESAMPLES = 200


@dataclass(frozen=True)
class Judged:
    """Rows with what is known about them."""

    rows: pd.DataFrame
    """The feature columns."""
    y: np.ndarray
    """The truth, as metrics take it; for a clustering nothing looks at it."""
    clusters: np.ndarray | None = None
    """Code of the cluster of each row, where rows stand or fall together."""

    def drawn(self, most: int, seed: int) -> "Judged":
        """Draw at most so many rows, in their order."""
        if len(self.rows) <= most:
            return self
        places = splits.sample(len(self.rows), most, seed)
        clusters = None if self.clusters is None else self.clusters[places]
        return Judged(self.rows.iloc[places], self.y[places], clusters)


@dataclass(frozen=True)
class Loss:
    """What shuffling costs, positive where the score gets worse."""

    value: float | None
    """All shuffles together, in the metric's unit; None where there is no score."""
    low: float | None
    """Lower end of its interval over rows and shuffles; None where there is none."""
    high: float | None
    """Upper end of its interval."""
    repeats: tuple[float, ...]
    """Each shuffle by itself."""

    @property
    def sure(self) -> bool:
        """Whether it is more than chance."""
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class ColumnLoss:
    """What a model owes to one column."""

    name: str
    """The column."""
    valid: Loss
    """On validation rows."""
    test: Loss | None
    """On test rows; None for columns that seem to matter least."""


@dataclass(frozen=True)
class GroupLoss:
    """What a model owes to columns that say the same, shuffled together."""

    names: tuple[str, ...]
    """The columns."""
    valid: Loss
    """On validation rows."""


@dataclass(frozen=True)
class Importance:
    """What a model owes to each of its columns."""

    metric: str
    """Score that is lost; for a clustering ``AGREEMENT``."""
    score: float | None
    """That score on the validation rows as they are."""
    test_score: float | None
    """That score on the test rows as they are."""
    n_valid: int
    """Validation rows that were shuffled."""
    n_test: int
    """Test rows that were shuffled."""
    seen: bool
    """Whether the model was fitted on the validation rows."""
    confidence: float
    """Probability that each interval promises by itself."""
    columns: tuple[ColumnLoss, ...]
    """Every column, the most important first."""
    groups: tuple[GroupLoss, ...]
    """Columns among the most important that say the same."""

    @property
    def of_clusters(self) -> bool:
        """Whether the model is a clustering."""
        return self.metric == AGREEMENT


AGREEMENT = "adjusted_rand"
"""How alike two clusterings of the same rows are: 1 the same, about 0 by chance."""


def measure(
    model: Any,
    schema: Schema,
    metric: Metric,
    valid: Judged,
    test: Judged,
    *,
    seen: bool,
    confidence: float,
    seed: int,
) -> Importance:
    """Shuffle every column of a model, and score it again.

    All columns are shuffled once. Those that seem to matter most, ``SHOWN``
    at most, are shuffled again, on test rows too, and get an interval: the
    paired bootstrap of ``evaluation`` over the rows, each with all of its
    shuffles. For a clustering what is lost is the agreement with the clusters
    that were, and there is no interval.

    Parameters
    ----------
    model : estimator
        Takes raw columns, as ``model.assemble`` makes it.
    schema : Schema
        Its columns and problem.
    metric : Metric
        What was optimised.
    valid, test : Judged
        Rows; of many a sample is drawn.
    seen : bool
        Whether the model was fitted on the validation rows.
    confidence : float
        Probability in (0, 1) that each interval promises.
    seed : int
        Seed of the draws and shuffles; the same seed gives the same numbers.

    Raises
    ------
    SettingsError
        If the metric needs probabilities and the model gives none.
    """
    shown = min(SHOWN, len(schema.columns))
    asked = len(schema.columns) + (REPEATS - 1) * shown
    most = int(np.clip(_MAX_ASKED // asked, _MIN_ROWS, MAX_ROWS))
    on_valid, on_test = (
        _Bench(model, schema, metric, part.drawn(most, seed), confidence, seed)
        for part in (valid, test)
    )
    once = on_valid.shuffled([(name,) for name in schema.names], 0)
    first = dict(zip(schema.names, once, strict=True))
    ranked = sorted(schema.names, key=lambda name: -_known(on_valid.lost([first[name]]).value))
    best = ranked[:shown]
    single = [(name,) for name in best]
    more = [on_valid.shuffled(single, repeat) for repeat in range(1, REPEATS)]
    unseen = [on_test.shuffled(single, repeat) for repeat in range(REPEATS)]
    columns = [
        ColumnLoss(
            name,
            on_valid.lost([first[name], *(each[place] for each in more)]),
            on_test.lost([each[place] for each in unseen]),
        )
        for place, name in enumerate(best)
    ]
    columns.sort(key=lambda column: -_known(column.valid.value))
    rest = [ColumnLoss(name, on_valid.lost([first[name]]), None) for name in ranked[shown:]]
    return Importance(
        metric=metric.name if schema.target else AGREEMENT,
        score=on_valid.score,
        test_score=on_test.score,
        n_valid=len(on_valid.judged.rows),
        n_test=len(on_test.judged.rows),
        seen=seen,
        confidence=confidence,
        columns=(*columns, *rest),
        groups=_together(on_valid, [column.name for column in columns]),
    )


def _together(bench: "_Bench", names: Sequence[str]) -> tuple[GroupLoss, ...]:
    """Shuffle the columns that say the same together."""
    known = {column.name: column for column in bench.schema.columns}
    found = association.groups(bench.judged.rows, [known[name] for name in names])[:_MAX_GROUPS]
    shuffles = [bench.shuffled(found, repeat) for repeat in range(REPEATS)]
    return tuple(
        GroupLoss(group, bench.lost([each[place] for each in shuffles]))
        for place, group in enumerate(found)
    )


class _Bench:
    """A model, and the rows on which it is asked with and without a column."""

    def __init__(
        self,
        model: Any,
        schema: Schema,
        metric: Metric,
        judged: Judged,
        confidence: float,
        seed: int,
    ) -> None:
        self.model, self.schema, self.metric = model, schema, metric
        self.judged, self.confidence, self.seed = judged, confidence, seed
        self.whole = self._ask(judged.rows)
        self.score = _number(metrics.score(metric, judged.y, self.whole)) if schema.target else None

    def shuffled(self, groups: Sequence[tuple[str, ...]], repeat: int) -> list[Predictions]:
        """Ask the model about all rows once for each group of columns, these shuffled."""
        n = len(self.judged.rows)
        # Whatever is asked beside it, a column is shuffled in the same way.
        orders = [
            np.random.default_rng([self.seed, repeat, *map(self.schema.names.index, group)])
            for group in groups
        ]
        jobs = [(group, rng.permutation(n)) for group, rng in zip(groups, orders, strict=True)]
        at_once = max(1, ROWS_AT_ONCE // n)
        return [
            said
            for start in range(0, len(jobs), at_once)
            for said in self._answers(jobs[start : start + at_once])
        ]

    def lost(self, said: Sequence[Predictions]) -> Loss:
        """Tell what the answers after one or more shuffles have lost."""
        if not self.schema.target:
            return self._disagreement(said)
        times, y = len(said), self.judged.y
        repeats = [
            self.metric.loss(metrics.score(self.metric, y, each)) - self.metric.loss(self.score)
            for each in said
            if self.score is not None
        ]
        if times == 1:
            known = [each for each in repeats if isfinite(each)]
            return Loss(known[0] if known else None, None, None, tuple(known))
        n = len(y)
        found = evaluation.paired_difference(
            self.metric,
            np.concatenate([y] * times),
            _joined([self.whole] * times),
            _joined(said),
            resamples=_RESAMPLES,
            confidence=self.confidence,
            seed=self.seed,
            clusters=np.tile(
                np.arange(n) if self.judged.clusters is None else self.judged.clusters, times
            ),
        )
        return Loss(
            _number(found.gain),
            _number(found.low),
            _number(found.high),
            tuple(each for each in repeats if isfinite(each)),
        )

    def _disagreement(self, said: Sequence[Predictions]) -> Loss:
        from sklearn.metrics import adjusted_rand_score

        lost = [1 - float(adjusted_rand_score(self.whole.values, each.values)) for each in said]
        return Loss(float(np.mean(lost)), None, None, tuple(lost))

    def _ask(self, rows: pd.DataFrame) -> Predictions:
        wanted = self.metric.needs_probabilities
        return answers(self.model, rows, self.schema, probabilities=wanted)

    def _answers(self, jobs: Sequence[tuple[tuple[str, ...], np.ndarray]]) -> Iterator[Predictions]:
        n = len(self.judged.rows)
        same = np.arange(n)
        columns = {}
        for name in self.schema.names:
            places = [order if name in group else same for group, order in jobs]
            columns[name] = self.judged.rows[name].array.take(np.concatenate(places))
        said = self._ask(pd.DataFrame(columns, copy=False))
        for place in range(len(jobs)):
            yield said.only(np.arange(place * n, (place + 1) * n))


def _joined(said: Sequence[Predictions]) -> Predictions:
    tables = [each.probabilities for each in said if each.probabilities is not None]
    values = np.concatenate([each.values for each in said])
    return Predictions(values, np.concatenate(tables) if tables else None)


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _known(value: float | None) -> float:
    return -np.inf if value is None else value

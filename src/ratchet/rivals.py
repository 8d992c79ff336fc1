"""How a leader stands beside other models on the same rows, and how sure that is.

The leader is chosen on validation rows. All of this is scored on test rows
after that choice, and changes nothing about it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from ratchet import evaluation, gates
from ratchet.evaluation import Evaluation
from ratchet.metrics import Metric, Predictions

LEADER = "leader"
"""The model that won."""
MEMBER = "member"
"""A model out of the leader, by itself."""
RIVAL = "rival"
"""The best of a family that is not in the leader."""
FAMILY = "family"
"""The best of a family of which there is no model any more, but its validation score."""
BASELINE = "baseline"
"""The constant answer."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Mark:
    """One metric's score and its interval, in the metric's own direction."""

    metric: str
    """Name of the metric."""
    value: float | None
    """Score of the rows as they are; None where it is not defined."""
    low: float | None
    """Lower end of the interval; None where none can be given."""
    high: float | None
    """Upper end of the interval; None where none can be given."""


@dataclass(frozen=True)
class Lead:
    """What the leader gains over another model on the same rows, by the optimised metric."""

    gain: float | None
    """In the metric's unit, positive where the leader is better; None where not defined."""
    low: float | None
    """Lower end of its interval; None where none can be given."""
    high: float | None
    """Upper end of its interval; None where none can be given."""

    @property
    def ahead(self) -> bool:
        """Whether the leader is surely better."""
        return self.low is not None and self.low > 0

    @property
    def behind(self) -> bool:
        """Whether the leader is surely worse."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True)
class Entrant:
    """A model that is compared."""

    name: str
    """Its name, e.g. ``"lightgbm"``."""
    kind: str
    """What it is beside the leader: ``LEADER``, ``MEMBER``, ``RIVAL``, ``FAMILY``, ``BASELINE``."""
    predictions: Predictions | None = None
    """What it says about the test rows; None where there is no model to ask."""
    trial: int | None = None
    """Number of its trial, from 0; None for one of several trials or of none."""
    n_models: int = 1
    """Fitted models whose mean it answers with."""
    n_rows: int | None = None
    """Rows that each of them was fitted on; None where that is not known."""
    train: float | None = None
    """Its score on rows that it was fitted on, by the optimised metric."""
    valid: float | None = None
    """Its score on the validation rows."""
    scores: Evaluation | None = None
    """Its scores on the test rows, by the same metrics and resamples, where they are known."""


@dataclass(frozen=True)
class Standing:
    """How one model did."""

    name: str
    """Its name."""
    kind: str
    """What it is beside the leader, as in ``Entrant``."""
    trial: int | None
    """Number of its trial, from 0."""
    n_models: int
    """Fitted models whose mean it answers with."""
    n_rows: int | None
    """Rows that each of them was fitted on."""
    train: float | None
    """Its score on rows that it was fitted on, by the optimised metric."""
    valid: float | None
    """Its score on the validation rows."""
    test: tuple[Mark, ...]
    """Its scores on the test rows by every metric that fits; empty where it wasn't asked."""
    lead: Lead | None
    """What the leader gains over it there; None for the leader and for who wasn't asked."""

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return called(self.name, self.kind)

    def mark(self, metric: str) -> Mark | None:
        """Find a score on the test rows; None where it wasn't asked."""
        return next((each for each in self.test if each.metric == metric), None)


@dataclass(frozen=True)
class Scores:
    """A leader and what it is compared with, as values that survive JSON."""

    metric: str
    """The metric that was optimised."""
    maximize: bool
    """Whether a larger score of it is a better one."""
    n_rows: int
    """Test rows."""
    n_units: int
    """Rows or clusters, and so independent pieces of evidence, that resamples drew from."""
    confidence: float
    """Probability that each interval promises."""
    resamples: int
    """Bootstrap resamples behind each interval."""
    standings: tuple[Standing, ...]
    """The leader, then the others by their validation scores, and the baseline last."""
    honest: float | None
    """The leader's validation score on rows that its members were not chosen with either."""
    lost: float | None
    """Share of what the leader gained over the baseline in training that is lost on validation, as
    the gate ``not_overfitted`` counts it; None where nothing was gained or there is no baseline."""
    calibrated: bool
    """Whether the leader's probabilities are mapped to frequencies; those of the others are not."""

    @property
    def leader(self) -> Standing:
        """The leader."""
        return self.standings[0]

    @property
    def baseline(self) -> Standing:
        """The constant answer."""
        return self.standings[-1]

    @property
    def rivals(self) -> tuple[Standing, ...]:
        """The others that were asked, the best on validation first."""
        return tuple(each for each in self.standings[1:-1] if each.test)

    def flat(self) -> dict[str, float]:
        """Give the rivals' scores by the optimised metric as ``metrics.json`` names them.

        Those of leader and baseline are there already.
        """
        numbers: dict[str, float] = {}
        for each in self.rivals:
            mark = each.mark(self.metric)
            if mark is not None:
                name = f"rivals/{each.name}/test/{self.metric}"
                named = {name: mark.value, f"{name}_low": mark.low, f"{name}_high": mark.high}
                numbers |= {key: value for key, value in named.items() if value is not None}
        return numbers


def called(name: str, kind: str) -> str:
    """Name a model in a sentence: a member isn't the leader that it is in.

    >>> called("lightgbm", MEMBER), called("lightgbm+xgboost", LEADER)
    ('lightgbm alone', 'the leader')
    """
    if kind in (LEADER, BASELINE):
        return f"the {kind}"
    return f"{name} alone" if kind == MEMBER else name


def few(ranked: Sequence[_Item], most: int, readable: Callable[[_Item], bool]) -> list[_Item]:
    """Take the best few, and see to it that the best that can be read is among them.

    Who leads by little over a model that anyone can read ought to know it.

    Examples
    --------
    >>> few(["trees", "net", "votes", "line", "plane"], 3, lambda name: "ne" in name[-2:])
    ['trees', 'net', 'line']
    """
    best = list(ranked[:most])
    first = next((each for each in ranked if readable(each)), None)
    if first is None or first in best:
        return best
    return [*best[: most - 1], first]


def compare(
    leader: Entrant,
    others: Sequence[Entrant],
    baseline: Entrant,
    metrics: Sequence[Metric],
    y: np.ndarray,
    *,
    honest: float | None,
    calibrated: bool,
    resamples: int,
    confidence: float,
    seed: int,
    clusters: np.ndarray | None = None,
) -> Scores:
    """Score models on the same test rows, and what the leader gains over each of them.

    Parameters
    ----------
    leader, others, baseline : Entrant
        The leader and the baseline have predictions.
    metrics : sequence of Metric
        All that fit, the one that was optimised first.
    y : np.ndarray of shape (n,)
        What ``evaluation.evaluate`` takes.
    honest : float or None
        The leader's validation score on rows that its members were not chosen with.
    calibrated : bool
        Whether its probabilities are mapped to frequencies.
    resamples, confidence, seed, clusters
        As in ``evaluation.evaluate``.
    """
    metric = metrics[0]
    drawn: dict[str, Any] = {
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
        "clusters": clusters,
    }
    assert leader.predictions is not None
    ours = leader.scores or evaluation.evaluate(y, leader.predictions, metrics, **drawn)

    def standing(entrant: Entrant) -> Standing:
        if entrant.predictions is None or leader.predictions is None:
            return _standing(entrant)
        if entrant is leader:
            return _standing(entrant, ours)
        gained = evaluation.paired_difference(
            metric, y, leader.predictions, entrant.predictions, **drawn
        )
        return _standing(
            entrant,
            entrant.scores or evaluation.evaluate(y, entrant.predictions, metrics, **drawn),
            Lead(_plain(gained.gain), _plain(gained.low), _plain(gained.high)),
        )

    def rank(entrant: Entrant) -> float:
        # NaN would leave the order to chance.
        valid = _plain(entrant.valid)
        return float("inf") if valid is None else metric.loss(valid)

    lost = None
    if leader.train is not None and leader.valid is not None and baseline.valid is not None:
        lost = gates.lost_gain(
            metric, train=leader.train, valid=leader.valid, baseline=baseline.valid
        )
    return Scores(
        metric=metric.name,
        maximize=metric.maximize,
        n_rows=len(y),
        n_units=ours.n_units,
        confidence=confidence,
        resamples=resamples,
        standings=tuple(map(standing, (leader, *sorted(others, key=rank), baseline))),
        honest=_plain(honest),
        lost=_plain(lost),
        calibrated=calibrated,
    )


def _standing(
    entrant: Entrant, found: Evaluation | None = None, lead: Lead | None = None
) -> Standing:
    return Standing(
        name=entrant.name,
        kind=entrant.kind,
        trial=entrant.trial,
        n_models=entrant.n_models,
        n_rows=entrant.n_rows,
        train=_plain(entrant.train),
        valid=_plain(entrant.valid),
        test=tuple(
            Mark(each.metric, _plain(each.value), _plain(each.low), _plain(each.high))
            for each in (found.scores if found else ())
        ),
        lead=lead,
    )


def _plain(value: float | None) -> float | None:
    """Give a number that JSON can write, or None."""
    return float(value) if value is not None and isfinite(value) else None

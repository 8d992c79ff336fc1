"""The models that a leader is compared with: its members, the best of other families, the baseline.

Nothing is fitted for it. A member is taken out of the leader; of other
families train has kept the model of a fold.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ratchet import metrics, model, rivals, tradeoff
from ratchet.backends import Interpretability
from ratchet.errors import RatchetError
from ratchet.metrics import Metric
from ratchet.rivals import Entrant, Scores
from ratchet.search import Candidate
from ratchet.serving import models
from ratchet.steps.train import RIVALS, Leader
from ratchet.tradeoff import TradeOff

if TYPE_CHECKING:
    from ratchet.steps.diagnosis import Subject

logger = logging.getLogger(__name__)

# Others that are scored: each takes a second or two, and a column of a table.
MOST = 4


@dataclass(frozen=True)
class Contender:
    """A model that is compared."""

    entrant: Entrant
    """Who it is, and what it says about the test rows."""
    model: Any = None
    """It takes raw columns; None for one that isn't asked, or of which only scores are left."""
    seconds: float | None = None
    """Wall-clock time of its trials and of its fits on all rows; None without a trial."""
    interpretability: Interpretability = Interpretability.ASK
    """How a person finds out why it answers as it does."""

    @property
    def can_be_read(self) -> bool:
        """Whether the model itself can be read."""
        return self.interpretability is Interpretability.READ


def gather(subject: "Subject") -> tuple[Contender, ...]:
    """Find the models to compare, and ask them about the test rows.

    Returns
    -------
    tuple of Contender
        The leader first, the baseline last.
    """
    trials = _trials(subject)

    def lost(contender: Contender) -> float:
        valid = contender.entrant.valid
        return inf if valid is None or isnan(valid) else subject.metric.loss(valid)

    known = sorted([*_members(subject, trials), *_kept(subject, trials)], key=lost)
    asked = rivals.few(known, MOST, lambda each: each.can_be_read)
    others = [
        _answering(subject, each) if each in asked else replace(each, model=None) for each in known
    ]
    told = {each.entrant.name for each in known}
    if len(subject.leader.members) == 1:  # the best of its family is the leader itself
        told |= {str(each["name"]) for each in subject.leader.members}
    left = _families(trials, subject.metric, told)
    return (_leading(subject, trials), *others, *left, _constant(subject, trials))


def compared(subject: "Subject", contenders: Sequence[Contender]) -> Scores:
    """Score the leader and all that ``gather`` has found."""
    settings = subject.project.settings
    fitting = (subject.metric, *metrics.for_problem(subject.schema.problem))
    return rivals.compare(
        contenders[0].entrant,
        [each.entrant for each in contenders[1:-1]],
        contenders[-1].entrant,
        tuple({each.name: each for each in fitting}.values()),
        subject.y,
        honest=subject.leader.honest_score,
        calibrated=subject.leader.calibrated,
        resamples=settings.evaluate.resamples,
        confidence=settings.evaluate.confidence,
        seed=settings.seed,
        clusters=subject.clusters,
    )


def weighed(subject: "Subject", contenders: Sequence[Contender], scores: Scores) -> TradeOff:
    """Measure what those cost of which there is a model."""
    options = []
    for contender, standing in zip(contenders, _in_order(contenders, scores), strict=True):
        mark = standing.mark(scores.metric)
        if contender.model is None or mark is None:
            continue
        options.append(
            tradeoff.weigh(
                standing.name,
                standing.kind,
                contender.model,
                subject.rows,
                subject.schema,
                score=(mark.value, mark.low, mark.high),
                n_bytes=_saved_bytes(subject.project.trained, contender),
                train_seconds=contender.seconds,
                interpretability=contender.interpretability,
            )
        )
    return tradeoff.judge(options, metric=scores.metric, maximize=scores.maximize)


def _saved_bytes(trained: Path, contender: Contender) -> int:
    """Count the bytes of a model's file; a member has none yet."""
    entrant = contender.entrant
    folders = {
        rivals.LEADER: trained / "model",
        rivals.RIVAL: trained / RIVALS / entrant.name,
        rivals.BASELINE: trained / "baseline",
    }
    if entrant.kind not in folders:
        return model.saved_bytes(contender.model)
    return sum(path.stat().st_size for path in folders[entrant.kind].glob("*.skops"))


def _in_order(contenders: Sequence[Contender], scores: Scores) -> list[rivals.Standing]:
    """Give the standings in the order of the contenders."""
    by_name = {(each.kind, each.name): each for each in scores.standings}
    return [by_name[each.entrant.kind, each.entrant.name] for each in contenders]


def _trials(subject: "Subject") -> pd.DataFrame:
    """Read the trials by their numbers, each with its name for people."""
    trials = subject.trials.set_index("number", drop=False)
    pairs = zip(trials["backend"], trials["family"], strict=True)
    trials["label"] = [Candidate(backend, family, {}).label for backend, family in pairs]
    return trials


def _leading(subject: "Subject", trials: pd.DataFrame) -> Contender:
    leader = subject.leader
    members = leader.members
    alone = len(members) == 1
    return Contender(
        Entrant(
            leader.name,
            rivals.LEADER,
            subject.predicted,
            trial=leader.trial if alone else None,
            n_models=max(1, sum(len(each["places"]) for each in members)),
            n_rows=leader.n_rows,
            train=leader.train_score,
            valid=leader.score,
            scores=subject.scores,
        ),
        subject.model,
        sum(_seconds(leader, each, trials) for each in members),
        Interpretability(members[0]["interpretability"]) if alone else Interpretability.ASK,
    )


def _members(subject: "Subject", trials: pd.DataFrame) -> Iterator[Contender]:
    """Take the best member of each family out of the leader."""
    members = subject.leader.members
    if len(members) < 2:
        return
    parts = model.taken_apart(subject.model)
    best: dict[str, Mapping[str, Any]] = {}
    losses = trials["score"].map(subject.metric.loss)
    for each in sorted(members, key=lambda each: float(losses[each["trial"]])):
        best.setdefault(each["name"], each)
    for name, member in best.items():
        row = trials.loc[member["trial"]]
        yield Contender(
            _tried(
                name, rivals.MEMBER, row, n_models=len(member["places"]), n_rows=member["n_rows"]
            ),
            model.combine(
                [parts[place] for place in member["places"]], subject.schema, _threshold(row)
            ),
            _seconds(subject.leader, member, trials),
            Interpretability(member["interpretability"]),
        )


def _kept(subject: "Subject", trials: pd.DataFrame) -> Iterator[Contender]:
    """Load the models of other families that train has kept."""
    for rival in subject.leader.rivals:
        name = rival["name"]
        try:
            loaded = models.load(subject.project, str(subject.project.trained / RIVALS / name))
        except RatchetError as error:
            # The leader's own library is here; another one may be missing.
            logger.warning("evaluate: %s is not compared with the leader: %s", name, error)
            continue
        row = trials.loc[rival["trial"]]
        yield Contender(
            _tried(name, rivals.RIVAL, row, n_rows=rival["n_rows"]),
            loaded,
            float(row["seconds"]),
            Interpretability(rival["interpretability"]),
        )


def _families(trials: pd.DataFrame, metric: Metric, told: set[str]) -> Iterator[Contender]:
    """Give the best trials of the other families, which have no model any more."""
    done = trials[trials["score"].notna()]
    for label, rows in done.groupby("label", sort=False):
        if label in told or (rows["family"] == rivals.BASELINE).all():
            continue
        largest = rows[rows["share"] == rows["share"].max()]
        best = largest.iloc[int(largest["score"].map(metric.loss).argmin())]
        yield Contender(_tried(str(label), rivals.FAMILY, best))


def _constant(subject: "Subject", trials: pd.DataFrame) -> Contender:
    tried = trials[(trials["family"] == rivals.BASELINE) & trials["score"].notna()]
    return Contender(
        Entrant(
            rivals.BASELINE,
            rivals.BASELINE,
            subject.trivial,
            trial=None if tried.empty else int(tried["number"].iloc[0]),
            n_rows=subject.leader.n_rows,
            train=None if tried.empty else float(tried["train_score"].iloc[0]),
            valid=subject.leader.baseline_score,
            scores=subject.trivial_scores,
        ),
        subject.baseline,
        None if tried.empty else float(tried["seconds"].iloc[0]),
        Interpretability.READ,
    )


def _tried(name: str, kind: str, row: pd.Series, **more: Any) -> Entrant:
    """Tell of a trial."""
    return Entrant(
        name,
        kind,
        trial=int(row["number"]),
        train=float(row["train_score"]),
        valid=float(row["score"]),
        **more,
    )


def _answering(subject: "Subject", contender: Contender) -> Contender:
    said = model.predict(contender.model, subject.rows, subject.schema)
    return replace(contender, entrant=replace(contender.entrant, predictions=said))


def _seconds(leader: Leader, member: Mapping[str, Any], trials: pd.DataFrame) -> float:
    last = leader.fit_seconds[leader.members.index(dict(member))]
    return float(trials["seconds"][member["trial"]]) + last


def _threshold(row: pd.Series) -> float | None:
    return None if isnan(row["threshold"]) else float(row["threshold"])

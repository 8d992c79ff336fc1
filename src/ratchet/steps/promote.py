"""promote: the leader becomes the champion if, and only if, every gate passes."""

import logging
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

import numpy as np
import pandas as pd

from ratchet import evaluation, files, gates, metrics, model, registry, tracking
from ratchet.errors import RatchetError
from ratchet.evaluation import Difference
from ratchet.gates import GateResult
from ratchet.metrics import Metric, Predictions
from ratchet.project import Project
from ratchet.registry import Version
from ratchet.schema import Schema
from ratchet.steps import evaluate, origin, prepare
from ratchet.steps.train import Leader
from ratchet.table import encode_target
from ratchet.tracking import File, Score, Tag

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What was decided."""

    PROMOTED = "promoted"
    """The leader is the champion now."""
    KEPT = "kept"
    """The champion stays, or nobody becomes one."""


@dataclass(frozen=True)
class Decision:
    """One judgement on a leader, as ``build/promote/decision.json`` keeps it."""

    outcome: Outcome
    """What was decided."""
    reason: str
    """Why, in a sentence."""
    model: str
    """Name of the registered model."""
    version: int | None
    """Version of the leader; None when it was not registered."""
    champion: int | None
    """Version that held the alias before; None when nobody did."""
    run_id: str
    """Run that trained the leader."""
    decision_run: str
    """Run that records this decision."""
    metric: str
    """Score that the gates compare."""
    score: float
    """That score of the leader, on the test rows."""
    gates: tuple[GateResult, ...]
    """What each gate said, also after the first that did not pass."""
    decided_at: str
    """When, in UTC."""
    is_new: bool = True
    """False when the same leader had been judged before, and nothing was changed."""

    @property
    def promoted(self) -> bool:
        """Whether the leader is the champion."""
        return self.outcome is Outcome.PROMOTED

    @classmethod
    def load(cls, project: Project) -> Self | None:
        """Read the last decision, None when there is none."""
        path = project.promoted / "decision.json"
        if not path.exists():
            return None
        value: dict[str, Any] = files.read_json(path, made_by="promote")
        results = tuple(GateResult(**result) for result in value["gates"])
        return cls(**{**value, "outcome": Outcome(value["outcome"]), "gates": results})

    def save(self, project: Project) -> None:
        """Write the decision, whole or not at all."""
        value = asdict(self)
        del value["is_new"]
        files.write_json(project.promoted / "decision.json", value)


def run(project: Project) -> Decision:
    """Judge the leader and, if every gate passes, make it the champion.

    Doing it twice changes nothing: a leader that was judged against the
    champion of today is no new candidate.

    Raises
    ------
    RatchetError
        If train or evaluate has not run.
    StoreError
        If MLflow's store fails.
    """
    started = time.monotonic()
    tracking.connect(project)
    leader = Leader.load(project)
    files.read_json(project.evaluated / "metrics.json", made_by="evaluate")
    tracking.require(leader.run_id)
    reigning = registry.champion(project.settings)
    before = _already(project, leader, reigning)
    if before is not None:
        logger.info("promote: no new candidate; %s", before.reason)
        return before
    with tracking.run(project, "promote", parent=leader.run_id) as run_id:
        source = origin.of(project, origin.read_data(project))
        origin.record(run_id, project, source)
        decision = _judge(project, leader, reigning, run_id)
        if decision.promoted:
            version = registry.promote(
                project.settings,
                run_id=leader.run_id,
                model_uri=leader.model_uri,
                tags={
                    **dict(source.tags()),
                    "ratchet.decision_run": run_id,
                    "ratchet.metric": leader.metric,
                    f"test/{leader.metric}": f"{decision.score:.6g}",
                },
                description=f"{leader.name}: {decision.reason}",
            )
            decision = replace(decision, version=version.number)
        decision.save(project)
        tracking.write(run_id, _items(project, decision))
        tracking.rename(run_id, f"promote · {decision.outcome} · {leader.name}")
    logger.info(
        "promote: %s, in %.1f s: %s",
        decision.outcome,
        time.monotonic() - started,
        decision.reason,
    )
    return decision


def _already(project: Project, leader: Leader, reigning: Version | None) -> Decision | None:
    """Return the decision on this leader if it still stands."""
    last = Decision.load(project)
    if last is None or last.run_id != leader.run_id or last.model != project.settings.model_name:
        return None
    holds = reigning.number if reigning else None
    stands = holds == (last.version if last.promoted else last.champion)
    return replace(last, is_new=False) if stands else None


def _judge(project: Project, leader: Leader, reigning: Version | None, run_id: str) -> Decision:
    schema = Schema.load(project.prepared / "schema.json")
    rows = prepare.read_part(project, "test")
    metric = metrics.named(leader.metric, schema.problem)
    y = encode_target(rows[schema.target], schema)
    challenger, baseline = (
        model.predict(tracking.load_model(str(project.trained / name)), rows, schema)
        for name in ("model", "baseline")
    )
    score = metrics.score(metric, y, challenger)
    bench = _Bench(project, metric, y, evaluate.clusters(rows))
    results = [
        *(
            [gates.required_score(metric, score, project.settings.promote.required)]
            if project.settings.promote.required is not None
            else []
        ),
        _against_baseline(metric, bench.compare(challenger, baseline)),
        (
            _already_champion(reigning)
            if reigning and reigning.run_id == leader.run_id
            else _against_champion(bench, challenger, reigning, rows, schema)
        ),
    ]
    failed = [result for result in results if not result.passed]
    told = failed or results[-1:]
    return Decision(
        outcome=Outcome.KEPT if failed else Outcome.PROMOTED,
        reason="; ".join(result.reason for result in told),
        model=project.settings.model_name,
        version=None,
        champion=reigning.number if reigning else None,
        run_id=leader.run_id,
        decision_run=run_id,
        metric=metric.name,
        score=score,
        gates=tuple(results),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@dataclass(frozen=True)
class _Bench:
    """The test rows on which two models are compared."""

    project: Project
    metric: Metric
    y: np.ndarray
    clusters: np.ndarray | None

    def compare(self, challenger: Predictions, champion: Predictions) -> Difference:
        return evaluation.paired_difference(
            self.metric,
            self.y,
            challenger,
            champion,
            confidence=self.project.settings.promote.confidence,
            resamples=self.project.settings.promote.resamples,
            seed=self.project.settings.seed,
            clusters=self.clusters,
        )


def _against_baseline(metric: Metric, difference: Difference) -> GateResult:
    return gates.better_than_baseline(
        metric,
        leader=difference.challenger,
        baseline=difference.champion,
        gain=difference.gain,
        low=difference.low,
        high=difference.high,
        confidence=difference.confidence,
    )


def _already_champion(reigning: Version) -> GateResult:
    """Pass a leader that took the place before its decision could be written down.

    Compared with itself it would tie, and the decision would deny what happened.
    """
    return GateResult(
        "better_than_champion", True, f"version {reigning.number}, the champion, is this leader"
    )


def _against_champion(
    bench: _Bench,
    challenger: Predictions,
    reigning: Version | None,
    rows: pd.DataFrame,
    schema: Schema,
) -> GateResult:
    if reigning is None:
        return gates.no_champion(bench.metric, metrics.score(bench.metric, bench.y, challenger))
    try:
        theirs = model.predict(tracking.load_model(reigning.uri), rows, schema)
    except (RatchetError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        return GateResult(
            "better_than_champion",
            False,
            f"version {reigning.number}, the champion, can't score today's test rows"
            f" ({type(error).__name__}: {reason}), so nothing shows that the leader is better",
        )
    difference = bench.compare(challenger, theirs)
    return gates.better_than_champion(
        bench.metric,
        challenger=difference.challenger,
        champion=difference.champion,
        gain=difference.gain,
        low=difference.low,
        high=difference.high,
        confidence=difference.confidence,
        min_gain=bench.project.settings.promote.min_gain,
    )


def _items(project: Project, decision: Decision) -> list[tracking.Item]:
    return [
        Tag("ratchet.decision", decision.outcome),
        Tag("ratchet.reason", decision.reason),
        Tag("mlflow.note.content", decision.reason),
        *(
            Tag(f"ratchet.gate.{g.name}", f"{'passed' if g.passed else 'failed'}: {g.reason}")
            for g in decision.gates
        ),
        Score(f"test/{decision.metric}", decision.score),
        Score("promoted", float(decision.promoted)),
        File(project.promoted / "decision.json"),
    ]

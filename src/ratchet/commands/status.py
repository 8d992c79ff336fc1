"""What the last run tried, what won, and whether it was promoted: from ``build`` alone."""

import json
import math
from dataclasses import asdict, dataclass

from ratchet import files, metrics, table, tracking
from ratchet.project import Project, tracking_uri
from ratchet.schema import Schema
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader


@dataclass(frozen=True)
class Tried:
    """One family of the search."""

    family: str
    """Its name."""
    trials: int
    """How many candidates were tried."""
    failed: int
    """How many failed."""
    best: float
    """Best score on the validation rows; NaN when all failed."""
    seconds: float
    """Wall-clock time they took together."""


@dataclass(frozen=True)
class Status:
    """The last run of a project."""

    leader: Leader
    """What won."""
    tried: tuple[Tried, ...]
    """What was tried, the best family first."""
    test: dict[str, float]
    """Content of ``metrics.json``; NaN where it says null."""
    decision: Decision | None
    """The verdict on this leader; None before promote has run."""
    store_uri: str
    """Where the runs are, without credentials."""


def read(project: Project) -> Status:
    """Read what the steps have built.

    Raises
    ------
    RatchetError
        If train or evaluate has not run.
    """
    leader = Leader.load(project)
    problem = Schema.load(project.prepared / "schema.json").problem
    metric = metrics.named(leader.metric, problem)
    trials = table.read_parquet(project.trained / "trials.parquet", made_by="train")
    tried = [
        Tried(
            family=str(family),
            trials=len(rows),
            failed=int(rows["score"].isna().sum()),
            best=float(rows["score"].max() if metric.maximize else rows["score"].min()),
            seconds=float(rows["seconds"].sum()),
        )
        for family, rows in trials.groupby("family", sort=False)
    ]

    def rank(each: Tried) -> tuple[bool, float]:
        return math.isnan(each.best), metric.loss(each.best)

    numbers: dict[str, float | None] = files.read_json(
        project.evaluated / "metrics.json", made_by="evaluate"
    )
    decision = Decision.load(project)
    return Status(
        leader=leader,
        tried=tuple(sorted(tried, key=rank)),
        test={name: math.nan if each is None else each for name, each in numbers.items()},
        decision=decision if decision and decision.run_id == leader.run_id else None,
        store_uri=tracking.masked(tracking_uri(project)),
    )


def as_json(status: Status) -> str:
    """Write a status for machines; JSON has no NaN, so such a score is null."""
    return json.dumps(files.finite(asdict(status)), indent=2, sort_keys=True, allow_nan=False)

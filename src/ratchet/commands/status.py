"""What the last run tried, what won, and whether it was promoted: from ``build`` alone."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ratchet import files, metrics
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
    """Content of ``metrics.json``."""
    decision: Decision | None
    """The verdict; None before promote has run."""
    store_uri: str
    """Where the runs are."""


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
    trials = pd.read_parquet(project.trained / "trials.parquet")
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

    numbers: dict[str, Any] = files.read_json(
        project.evaluated / "metrics.json", made_by="evaluate"
    )
    return Status(
        leader=leader,
        tried=tuple(sorted(tried, key=rank)),
        test=numbers,
        decision=Decision.load(project),
        store_uri=tracking_uri(project),
    )


def as_json(status: Status) -> str:
    """Write a status for machines."""
    return json.dumps(asdict(status), indent=2, sort_keys=True)

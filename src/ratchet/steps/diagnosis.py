"""What evaluate finds out about a leader beside its scores, for the report."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import clusters as clustering
from ratchet import curves
from ratchet.curves import Performance
from ratchet.metrics import Metric, Predictions
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.schema import Kind, Schema
from ratchet.settings import SplitMethod
from ratchet.steps import prepare
from ratchet.steps.train import Leader

FOLDER = "report"
"""Folder in ``build/evaluate`` that holds the report, and what ``dvc plots`` draws."""


@dataclass(frozen=True)
class Subject:
    """A leader and the rows it is judged on."""

    project: Project
    """Whose leader it is."""
    schema: Schema
    """The columns and the problem."""
    leader: Leader
    """What train said of it, with the ids that it has in the store."""
    metric: Metric
    """Score that was optimised."""
    model: Any
    """The leader's model, on raw columns."""
    baseline: Any
    """The constant answer."""
    rows: pd.DataFrame
    """The test rows that are scored."""
    y: np.ndarray
    """What ``evaluate.truth`` gives for them: class codes or quantities, of shape (n_rows,)."""
    predicted: Predictions
    """The leader's answers about these rows."""
    trivial: Predictions
    """The baseline's answers about these rows."""

    def part(self, name: str) -> pd.DataFrame:
        """Read the prepared rows of ``"train"`` or ``"valid"``."""
        return prepare.read_part(self.project, name)


def of(subject: Subject) -> Facts:
    """Look at a leader from every side that the report has."""
    return Facts(leader=subject.leader.name, performance=_performance(subject))


def _performance(subject: Subject) -> Performance:
    choices, schema, rows = subject.project.settings, subject.schema, subject.rows
    codes = rows[prepare.CLUSTER].to_numpy() if prepare.CLUSTER in rows else None
    judge = curves.Judge(
        problem=schema.problem,
        metric=subject.metric,
        confidence=choices.evaluate.confidence,
        seed=choices.seed,
        threshold=subject.leader.threshold,
        clusters=codes,
    )
    y, predicted = subject.y, subject.predicted
    answers: curves.Answers
    if schema.target is None:
        answers = curves.of_clusters(y, clustering.axes(y), predicted.values, judge)
    elif schema.problem.is_classification:
        answers = curves.of_classes(y, predicted, schema.classes, judge)
    else:
        answers = curves.of_quantities(y, predicted.values, schema.target, judge)
    over_time = None
    if schema.target is not None and choices.split.method is SplitMethod.TIME:
        over_time = _over_time(subject, codes, judge)
    return Performance(schema.problem, len(rows), judge.confidence, answers, over_time)


def _over_time(
    subject: Subject, codes: np.ndarray | None, judge: curves.Judge
) -> curves.OverTime | None:
    column = subject.project.settings.split.column
    if column is None or codes is None:
        return None
    # It is in the prepared rows where it is a feature; the codes tell the order of time anyway.
    times = subject.rows[column] if column in subject.schema.of_kind(Kind.DATETIME) else None
    return curves.over_time(subject.y, subject.predicted, codes, times, column, judge)

"""What evaluate finds out about a leader beside its scores, for the report."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ratchet import clusters as clustering
from ratchet import curves, profile, searched, table
from ratchet.conformal import Coverage
from ratchet.curves import Performance
from ratchet.evaluation import Evaluation
from ratchet.metrics import Metric, Predictions
from ratchet.profile import ColumnProfile
from ratchet.project import Project
from ratchet.report.data import Data
from ratchet.report.facts import Facts
from ratchet.report.verdict import Won
from ratchet.schema import Kind, Schema
from ratchet.settings import SplitMethod
from ratchet.steps import contenders, prepare, reasons
from ratchet.steps.train import Leader


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
    scores: Evaluation
    """The leader's scores on these rows, as ``metrics.json`` has them."""
    trivial_scores: Evaluation
    """The baseline's."""
    test: str
    """Digest of all test rows."""
    n_test: int
    """How many there are."""
    coverage: Coverage | None = None
    """What the intervals around single answers hold of these rows; None where there are none."""

    @property
    def clusters(self) -> np.ndarray | None:
        """Codes of the rows that stand or fall together, of shape (n_rows,); None without any."""
        return prepare.clusters_of(self.rows)

    @cached_property
    def train(self) -> pd.DataFrame:
        """The rows to learn from."""
        return prepare.read_part(self.project, "train")

    @cached_property
    def valid(self) -> pd.DataFrame:
        """The rows that the leader was chosen with."""
        return prepare.read_part(self.project, "valid")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """What the search has tried."""
        return table.read_parquet(self.project.trained / "trials.parquet", made_by="train")


def of(subject: Subject) -> Facts:
    """Look at a leader from every side that the report has."""
    leader = subject.leader
    found = reasons.of(subject)
    field = contenders.gather(subject)
    scores = contenders.compared(subject, field)
    return Facts(
        leader=leader.name,
        won=Won.of(scores, subject.test),
        data=_data(subject),
        scores=scores,
        performance=_performance(subject),
        importance=found.importance,
        dependence=found.dependence,
        explanation=found.explanation,
        weaknesses=found.weaknesses,
        trade_off=contenders.weighed(subject, field, scores),
        search=searched.of(
            subject.trials,
            subject.metric,
            leader.seconds,
            [(str(each["name"]), float(each["weight"])) for each in leader.members],
        ),
    )


def _data(subject: Subject) -> Data:
    schema, train = subject.schema, subject.train
    sizes = (len(train), len(subject.valid), subject.n_test)
    counts = tuple(zip(prepare.PARTS, sizes, strict=True))
    columns = tuple(profile.column(train[each.name], each.kind) for each in schema.columns)
    return Data.of(counts, columns, _target(schema, train))


def _target(schema: Schema, rows: pd.DataFrame) -> ColumnProfile | None:
    if schema.target is None:
        return None
    kind = Kind.CATEGORY if schema.problem.is_classification else Kind.NUMBER
    return profile.column(rows[schema.target], kind)


def _performance(subject: Subject) -> Performance:
    choices, schema, rows = subject.project.settings, subject.schema, subject.rows
    judge = curves.Judge(
        problem=schema.problem,
        metric=subject.metric,
        confidence=choices.evaluate.confidence,
        seed=choices.seed,
        threshold=subject.leader.threshold,
        clusters=subject.clusters,
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
        over_time = _over_time(subject, judge)
    return Performance(
        schema.problem, len(rows), judge.confidence, answers, over_time, subject.coverage
    )


def _over_time(subject: Subject, judge: curves.Judge) -> curves.OverTime | None:
    column, codes = subject.project.settings.split.column, subject.clusters
    if column is None or codes is None:
        return None
    # It is in the prepared rows where it is a feature; the codes tell the order of time anyway.
    times = subject.rows[column] if column in subject.schema.of_kind(Kind.DATETIME) else None
    return curves.over_time(subject.y, subject.predicted, codes, times, column, judge)

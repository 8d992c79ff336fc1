"""What drives a leader and where it fails, measured on its validation and test rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ratchet import dependence, explanation, importance, weaknesses
from ratchet.backends import blas
from ratchet.course import Made, Record
from ratchet.dependence import Dependence
from ratchet.explanation import Explanation
from ratchet.importance import Importance, Judged
from ratchet.problem import ProblemType
from ratchet.steps import prepare
from ratchet.steps.train import SEARCH_FILE
from ratchet.table import encode_target
from ratchet.weaknesses import Weaknesses

if TYPE_CHECKING:
    from ratchet.steps.diagnosis import Subject

# Of the worst rows so many are explained.
_WORST = 5


@dataclass(frozen=True)
class Found:
    """What drives a leader and where it fails; None where the problem has no such thing."""

    importance: Importance
    """What the score loses without each column."""
    dependence: Dependence | None = None
    """How the answer depends on the most important columns."""
    explanation: Explanation | None = None
    """Why it says what it says of single rows; None without the extra ``explain``, too."""
    weaknesses: Weaknesses | None = None
    """Slices and rows with which it has trouble."""


# Batches are small: products on several threads take longer, and their last bits differ.
@blas.ONE_THREAD
def of(subject: "Subject") -> Found:
    """Look for reasons and weaknesses; a clustering has importance only."""
    schema, choices = subject.schema, subject.project.settings
    valid = subject.valid
    test = Judged(subject.rows, subject.y, subject.clusters)
    target = schema.target
    y = np.zeros(len(valid)) if target is None else encode_target(valid[target], schema)
    drives = importance.measure(
        subject.model,
        schema,
        subject.metric,
        Judged(valid, y, prepare.clusters_of(valid)),
        test,
        seen=_has_seen_valid(subject),
        confidence=choices.evaluate.confidence,
        seed=choices.seed,
    )
    if target is None:
        return Found(drives)
    names = [column.name for column in drives.columns]
    fails = weaknesses.measure(
        subject.metric,
        schema,
        subject.rows,
        subject.y,
        subject.predicted,
        names,
        confidence=choices.evaluate.confidence,
        seed=choices.seed,
        clusters=test.clusters,
    )
    return Found(
        importance=drives,
        dependence=dependence.measure(subject.model, schema, valid, names, choices.seed),
        explanation=_explained(subject, fails, names) if explanation.installed() else None,
        weaknesses=fails,
    )


def _explained(subject: "Subject", fails: Weaknesses, names: list[str]) -> Explanation:
    wrong, _ = weaknesses.losses(subject.schema, subject.y, subject.predicted)
    said, table = subject.predicted.values, subject.predicted.probabilities
    if table is not None:
        binary = subject.schema.problem is ProblemType.BINARY
        said = table[:, 1] if binary else table.max(axis=1)
    worst = [row.number - 1 for row in fails.rows[:_WORST]]
    picked = dict.fromkeys([*worst, *explanation.typical(said, wrong)])
    return explanation.measure(
        subject.model,
        subject.schema,
        subject.valid,
        subject.rows,
        subject.y,
        list(picked),
        names,
        subject.project.settings.seed,
    )


def _has_seen_valid(subject: "Subject") -> bool:
    """Tell whether any part of the leader was fitted on validation rows."""
    leader = subject.leader
    if leader.n_rows <= len(subject.train):
        return False
    record = Record.load(subject.project.trained / SEARCH_FILE)
    refitted = any(each.made is Made.REFIT for each in record.course.chosen)
    return refitted or leader.n_folds > 1

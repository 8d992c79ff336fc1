"""What evaluate finds out about a leader beside its scores, for the report."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet.metrics import Metric, Predictions
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.schema import Schema
from ratchet.steps import prepare, reasons
from ratchet.steps.train import Leader

FOLDER = "report"
"""Folder in ``build/evaluate`` that holds the report; empty where none is wanted."""


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
    found = reasons.of(subject)
    return Facts(
        leader=subject.leader.name,
        importance=found.importance,
        dependence=found.dependence,
        explanation=found.explanation,
        weaknesses=found.weaknesses,
    )

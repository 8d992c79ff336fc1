"""The test rows: all of them are judged, and as many as fit are in memory with their columns."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import clusters as clustering
from ratchet import model
from ratchet.metrics import Predictions
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.steps import parts
from ratchet.steps.parts import CLUSTER, ROW, Part


@dataclass(frozen=True)
class Tested:
    """The test rows that are scored."""

    part: Part
    """Where all of them lie."""
    schema: Schema
    """Their columns."""
    everyone: pd.DataFrame
    """Each of them: with all columns where these fit in memory, else with the target, the hash,
    the cluster if there is one, and what else was asked for."""
    rows: pd.DataFrame
    """Those of them that are in memory with all columns: all, or a sample."""
    places: np.ndarray | None
    """Places of the sample among all, shape (n_rows,); None where ``rows`` are all."""

    @classmethod
    def of(cls, project: Project, schema: Schema, columns: Collection[str] = ()) -> "Tested":
        """Read the test rows; of a clustering's many a sample is all that is scored.

        Parameters
        ----------
        project : Project
            Whose they are.
        schema : Schema
            Their columns.
        columns : collection of str
            Columns that are needed of all rows.

        Raises
        ------
        RatchetError
            If prepare has not run.
        """
        part = parts.part(project, "test")
        rows = part.frame()
        if schema.target is None:
            rows = clustering.judged(rows, project.settings.seed)
        if part.places is None or schema.target is None:
            return cls(part, schema, rows, rows, None)
        wanted = dict.fromkeys((*columns, schema.target, ROW, CLUSTER))
        there = [name for name in part.stored.names if name in wanted]
        everyone = pd.DataFrame({name: part.stored.column(name) for name in there})
        return cls(part, schema, everyone, rows, part.places)

    @property
    def n_rows(self) -> int:
        """All test rows, scored or not."""
        return self.part.n_rows

    @property
    def digest(self) -> str:
        """Names all test rows."""
        return parts.digest_of(self.part.hashes)

    def predict(self, asked: Any) -> Predictions:
        """Ask a model about all rows that are scored, in pieces where they don't fit."""
        if self.places is None:
            return model.predict(asked, self.rows, self.schema)
        return _joined(
            model.predict(asked, piece, self.schema) for piece in self.part.stored.pieces()
        )

    def here(self, y: np.ndarray, *said: Predictions) -> tuple[np.ndarray, list[Predictions]]:
        """Keep what is true and what was said of ``rows``."""
        if self.places is None:
            return y, list(said)
        return y[self.places], [each.only(self.places) for each in said]


def _joined(pieces: Iterator[Predictions]) -> Predictions:
    values, probabilities = [], []
    for each in pieces:
        values.append(each.values)
        if each.probabilities is not None:
            probabilities.append(each.probabilities)
    return Predictions(
        np.concatenate(values), np.concatenate(probabilities) if probabilities else None
    )

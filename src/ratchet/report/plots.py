"""Tables that ``dvc plots`` draws: the report's curves, as dvc.yaml names their files and columns.

All files are there whatever the problem, since dvc.yaml names them all. One
that has nothing to say holds its heading only, of which DVC makes no plot and
no complaint.
"""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from ratchet import files
from ratchet.curves import Binary, Confusion, Multiclass, Performance, Regression
from ratchet.problem import ProblemType

FOLDER = "plots"
"""Folder of the files, in the report's."""

COLUMNS = {
    "roc": ("false_positive_rate", "true_positive_rate"),
    "precision_recall": ("recall", "precision"),
    "calibration": ("predicted", "observed", "rows"),
    "confusion": ("actual", "predicted"),
    "gain": ("looked_at", "found"),
    "thresholds": ("threshold", "precision", "recall", "score"),
    "residuals": ("actual", "predicted", "residual"),
    "errors_by_size": ("actual", "mean_absolute_error", "rows"),
    "over_time": ("span", "score", "rows", "begins"),
    "clusters": ("x", "y", "cluster"),
}
"""Stem of each file, and its columns."""

# DVC counts rows: of more than these, a confusion matrix has as many in the same proportions.
_PAIRS = 10_000

_Lines = Iterator[Sequence[object]]


def write(
    folder: Path, problem: ProblemType, sample: pd.DataFrame, part: Performance | None
) -> None:
    """Write all files.

    Parameters
    ----------
    folder : Path
        Where to; made when it isn't there.
    problem : ProblemType
        What was asked.
    sample : pd.DataFrame
        Some test rows: their ``actual`` and ``predicted`` values, or the
        ``cluster`` and the place, ``x`` and ``y``, of each.
    part : Performance, optional
        The curves; None, where no report is wanted, leaves them without a row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, head in COLUMNS.items():
        text = StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(head)
        if name == "residuals" and problem is ProblemType.REGRESSION:
            errors = (sample["actual"] - sample["predicted"]).round(4)
            lines.writerows(zip(sample["actual"], sample["predicted"], errors, strict=True))
        elif name == "clusters" and problem is ProblemType.CLUSTERING:
            lines.writerows(zip(sample["x"], sample["y"], sample["cluster"], strict=True))
        elif part is not None:
            lines.writerows(_lines(name, part))
        files.write_text(folder / f"{name}.csv", text.getvalue())


def _lines(name: str, part: Performance) -> _Lines:
    if name == "over_time":
        spans = part.over_time.spans if part.over_time else ()
        for number, each in enumerate(spans, start=1):
            if each.score is not None:
                yield number, each.score, each.rows, each.begins
        return
    match part.answers:
        case Binary() as answers:
            yield from _of_two(name, answers)
        case Multiclass() as answers:
            yield from _of_several(name, answers)
        case Regression() as answers if name == "errors_by_size":
            yield from ((each.value, each.score, each.rows) for each in answers.by_actual)


def _of_two(name: str, answers: Binary) -> _Lines:
    ranking, thresholds = answers.ranking, answers.thresholds
    if name == "roc" and ranking:
        yield from zip(ranking.roc.x, ranking.roc.y, strict=True)
    elif name == "precision_recall" and ranking:
        yield from zip(ranking.precision_recall.x, ranking.precision_recall.y, strict=True)
    elif name == "gain" and answers.gain:
        yield from zip(answers.gain.x, answers.gain.y, strict=True)
    elif name == "thresholds" and thresholds:
        columns = (thresholds.at, thresholds.precision, thresholds.recall, thresholds.score)
        yield from zip(*columns, strict=True)
    elif name == "calibration":
        yield from ((each.value, each.score, each.rows) for each in answers.reliability.bins)
    elif name == "confusion":
        yield from _pairs(answers.confusion)


def _of_several(name: str, answers: Multiclass) -> _Lines:
    if name == "roc" and answers.mean_roc:
        yield from zip(answers.mean_roc.x, answers.mean_roc.y, strict=True)
    elif name == "calibration":
        yield from ((each.value, each.score, each.rows) for each in answers.reliability.bins)
    elif name == "confusion":
        yield from _pairs(answers.confusion)


def _pairs(of: Confusion) -> _Lines:
    """Give a line for each row, or for its share of ``_PAIRS`` where there are more."""
    total = sum(map(sum, of.counts))
    scale = min(1.0, _PAIRS / max(1, total))
    for actual, line in zip(of.labels, of.counts, strict=True):
        for said, count in zip(of.labels, line, strict=True):
            yield from [(actual, said)] * (round(scale * count) or min(1, count))

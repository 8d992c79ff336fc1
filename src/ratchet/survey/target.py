"""What is to be predicted: the target's column, its problem, and what must be left out for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import expressions, metrics
from ratchet.errors import DataError
from ratchet.expressions import column_of, columns_used
from ratchet.problem import ProblemType, detect_problem
from ratchet.splits import MIN_PER_CLASS
from ratchet.survey.base import (
    Choice,
    named,
    sentences,
    share,
    shown,
    whole_numbers,
    words,
)

# How targets are often called.
_USUAL = {
    *("target", "label", "class", "outcome", "response", "y", "result", "diagnosis", "churn"),
    *("default", "fraud", "price", "survived", "income", "quality", "status", "score"),
}
# How the class is often called that people look for.
_POSITIVE = ("yes", "true", "1", "y", "positive", "pos", "t", "malignant", "fraud", "churned")
_NEGATIVE = ("no", "false", "0", "n", "negative", "neg", "f", "benign", "ok", "none")

# A class with a smaller share is rare; of many classes each has a smaller one.
_RARE = 0.1
# Classes that a sentence names.
_NAMED = 4
# The largest value is so many times the median: few rows decide a mean of squares.
_SKEWED = 20


@dataclass(frozen=True)
class Target:
    """The target, and what is decided by it."""

    expression: str | None
    """As ``data.target`` has it; None for clustering."""
    sources: frozenset[str]
    """Columns that it is, or is computed from."""
    problem: ProblemType
    """What it poses."""
    rows: pd.Series
    """Mask of the rows that have a usable target, shape (n_rows,)."""
    classes: tuple[Any, ...]
    """Classes by their number of rows, the most frequent first; empty for a quantity."""
    rarest: int
    """Rows of the rarest class; 0 for a quantity."""
    choices: tuple[Choice, ...]
    """Target, filter, positive class, problem and metric."""


def read(frame: pd.DataFrame, target: str | None, problem: ProblemType | None) -> Target:
    """Find out what the target poses.

    Parameters
    ----------
    frame : pd.DataFrame
        All columns of the table.
    target : str or None
        A column or an expression over columns.
    problem : ProblemType or None
        What the user says it is; None decides from the values.

    Raises
    ------
    DataError
        If no target is named, there is no such column, or nothing can be learned from it.
    """
    if problem is ProblemType.CLUSTERING:
        return _without(frame, target)
    if target is None:
        raise DataError(_which(frame))
    y = _computed(frame, target)
    name, sources = column_of(target, frame.columns), columns_used(target, frame.columns)
    usable, conditions, left_out = _usable(y)
    kind = problem or detect_problem(y[usable])
    counts = y[usable].value_counts() if kind.is_classification else pd.Series(dtype="int64")
    few = counts[counts < MIN_PER_CLASS]
    if 0 < len(few) <= len(counts) - 2:
        literals = ", ".join(_literal(label) for label in few.index)
        conditions.append(f"target not in [{literals}]")
        left_out.append(
            f"{_count(len(few), 'class', 'classes')} with fewer than {MIN_PER_CLASS} rows can't be"
            f" in every part: {named([shown(_plain(label)) for label in few.index], _NAMED)}."
        )
        usable = usable & ~y.isin(few.index)
        counts = counts[counts >= MIN_PER_CLASS]
        kind = problem or detect_problem(y[usable])
    classes = tuple(_plain(label) for label in counts.index)
    told = _quantity(y[usable]) if not classes else _classes(y[usable], counts, kind, problem)
    choices = [Choice("data.target", name or target, told)]
    if conditions:
        choices.append(Choice("data.filter", " and ".join(conditions), " ".join(left_out)))
    if kind is ProblemType.BINARY and len(classes) == 2:
        choices.append(_positive(classes, counts))
    if problem is not None:
        choices.append(Choice("train.problem", problem.value, "As you said."))
    choices.append(_metric(kind, y[usable], classes, counts))
    return Target(
        expression=target,
        sources=sources,
        problem=kind,
        rows=usable,
        classes=classes,
        rarest=int(counts.min()) if len(counts) else 0,
        choices=tuple(choices),
    )


def _without(frame: pd.DataFrame, target: str | None) -> Target:
    if target is not None:
        raise DataError(f"A clustering has no target, got --target {target!r}. Leave it out.")
    kind = ProblemType.CLUSTERING
    metric = metrics.default(kind).name
    return Target(
        expression=None,
        sources=frozenset(),
        problem=kind,
        rows=pd.Series(True, index=frame.index),
        classes=(),
        rarest=0,
        choices=(
            Choice("data.target", None, "A clustering has no target."),
            Choice("train.problem", kind.value, "As you said."),
            Choice("train.metric", metric, "The usual one for clusters: how far they are apart."),
        ),
    )


def _which(frame: pd.DataFrame) -> str:
    """Ask for the target, with those columns that are often one."""
    names = [str(name) for name in frame.columns]
    likely = [name for name in names if _USUAL & set(words(name))]
    last = names[-1]
    if last not in likely:
        likely.append(last)
    return (
        "Say what is to be predicted with --target. Likely are:"
        f" {named(likely)}. The columns are: {expressions.listed(names, most=40)}."
    )


def _computed(frame: pd.DataFrame, target: str) -> pd.Series:
    try:
        return expressions.evaluate(target, frame).rename(target)
    except ValueError as error:  # DataError is one, too
        raise DataError(f"--target: {error}") from None


def _usable(y: pd.Series) -> tuple[pd.Series, list[str], list[str]]:
    """Mark the rows that can be learned from; give conditions for the others, and why."""
    conditions, why = [], []
    missing = y.isna()
    if missing.any():
        conditions.append("not missing(target)")
        why.append(f"The target is missing in {_rows(missing)}: nothing can be learned from them.")
    infinite = pd.Series(False, index=y.index)
    if pd.api.types.is_float_dtype(y):
        infinite = pd.Series(np.isinf(y.to_numpy("float64", na_value=np.nan)), index=y.index)
    if infinite.any():
        conditions.append("abs(target) < 1e300")
        why.append(f"The target is infinite in {_rows(infinite)}.")
    return ~(missing | infinite), conditions, why


def _quantity(y: pd.Series) -> str:
    low, middle, high = (float(y.quantile(q)) for q in (0, 0.5, 1))
    return (
        f"A quantity from {shown(low)} to {shown(high)}, half of it below {shown(middle)}:"
        " a regression."
    )


def _classes(
    y: pd.Series, counts: pd.Series, kind: ProblemType, problem: ProblemType | None
) -> str:
    parts = [
        f"{shown(_plain(label))} {share(count, len(y))}"
        for label, count in list(counts.items())[:_NAMED]
    ]
    more = len(counts) - len(parts)
    told = f"{len(counts)} classes: {', '.join(parts)}{f' and {more} more' if more > 0 else ''}."
    doubt = ""
    if kind is ProblemType.MULTICLASS and problem is None and whole_numbers(y):
        doubt = (
            "Few different whole numbers are taken as classes; if they are amounts, set"
            " train.problem to regression."
        )
    return sentences(told, doubt)


def _positive(classes: Sequence[Any], counts: pd.Series) -> Choice:
    names = {str(label).strip().lower(): label for label in classes}
    wanted = [names[each] for each in _POSITIVE if each in names]
    # Of two classes, the other one than a "no" is the one to look for.
    wanted += [
        each for usual in _NEGATIVE if usual in names for each in classes if each != names[usual]
    ]
    if wanted:
        return Choice("data.positive", wanted[0], "By the names of the classes.")
    return Choice("data.positive", classes[-1], "The rarer class: mostly it is the one to find.")


def _metric(kind: ProblemType, y: pd.Series, classes: Sequence[Any], counts: pd.Series) -> Choice:
    name = metrics.default(kind).name
    if not kind.is_classification:
        told = "The usual one for quantities, in the target's own unit."
        if float(y.min()) >= 0 and float(y.max()) > _SKEWED * max(float(y.median()), 1e-12):
            told += " A few very large values decide it: mae and rmsle mind them less."
        return Choice("train.metric", name, told)
    told = "The usual one for classes: how good the probabilities are."
    rare = counts.min() / counts.sum()
    if rare < min(_RARE, _RARE * 5 / len(counts)):
        other = "average_precision" if kind is ProblemType.BINARY else "balanced_accuracy"
        told += (
            f" {shown(_plain(counts.index[-1]))} has {share(rare, 1)} of the rows: {other} asks"
            " how well it is found."
        )
    return Choice("train.metric", name, told)


def _literal(label: Any) -> str:
    value = _plain(label)
    return repr(str(value)) if isinstance(value, str) else repr(value)


def _plain(value: Any) -> Any:
    """Give Python's own value, whole where a gap has made a float of a label."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rows(marked: pd.Series) -> str:
    return f"{int(marked.sum()):,} of {len(marked):,} rows"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"

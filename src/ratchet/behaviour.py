"""Declared checks of a model: what its answers may do when columns change.

A score on test rows says how often a model is right, not whether it is right
for a reason. A longer trip that is said to take less time, or an applicant
whose chance depends on a column that must not matter, is found by changing
that column in rows and asking again.

References
----------
Chen, T. Y., Cheung, S. C. and Yiu, S. M. (1998). Metamorphic Testing: A New
Approach for Generating Next Test Cases. Hong Kong University of Science and
Technology, HKUST-CS98-01.
Ribeiro, M. T., Wu, T., Guestrin, C. and Singh, S. (2020). Beyond Accuracy:
Behavioral Testing of NLP Models with CheckList. ACL 58 (invariance and
directional expectation tests).
"""

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from ratchet.errors import SettingsError
from ratchet.gates import CheckResult, decimals, shown
from ratchet.model import predict
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import Check, Expect

# A move this small beside the answers is rounding.
_ROUNDING = 1e-9

# So many allowed values fit in a message.
_LISTED = 20

_NUMBER_STEP = re.compile(r"([-+*/])\s*(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+)")
_TIME_STEP = re.compile(r"([-+])\s*(\S.*)")
_OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_FAULTS = {Expect.SAME: "moved", Expect.NOT_LOWER: "fell", Expect.NOT_HIGHER: "rose"}

_Change = Callable[[pd.Series], pd.Series]


def run(
    model: Any,
    schema: Schema,
    checks: Sequence[Check],
    test_rows: pd.DataFrame,
    seed: int,
    train_rows: pd.DataFrame | None = None,
) -> tuple[CheckResult, ...]:
    """Ask a model about rows before and after each declared change.

    What may not move is the predicted quantity; of two classes the positive
    one's probability; of more the probability of ``label``, or without one
    whichever moved most; of a clustering the cluster. Rows that a change
    leaves as they were don't count.

    Parameters
    ----------
    model : estimator
        Takes raw columns, as ``model.assemble`` makes it.
    schema : Schema
        Its columns and problem.
    checks : sequence of Check
        ``promote.checks`` of params.yaml.
    test_rows : pd.DataFrame
        Rows to draw from; they also show which labels there are.
    seed : int
        Seed of the draws; the same seed draws the same rows.
    train_rows : pd.DataFrame, optional
        More rows that show which labels there are.

    Returns
    -------
    tuple of CheckResult
        In the order of ``checks``.

    Raises
    ------
    SettingsError
        If a check names a column, value or class that there is not, or asks of a
        clustering more than that a row stays in its cluster.
    """
    seen = (test_rows,) if train_rows is None else (test_rows, train_rows)
    prepared = [_prepare(check, schema, test_rows, seen, seed) for check in checks]
    return tuple(_ask(model, schema, each) for each in prepared)


@dataclass(frozen=True)
class _Prepared:
    """Rows of one check before and after the change, those only that it altered."""

    check: Check
    before: pd.DataFrame
    after: pd.DataFrame
    names: tuple[str, ...]
    code: int | None


def _prepare(
    check: Check, schema: Schema, test_rows: pd.DataFrame, seen: Sequence[pd.DataFrame], seed: int
) -> _Prepared:
    place = f"promote.checks {check.name!r}"
    code = _code_of(check, schema, place)
    if isinstance(check.rows, int):
        drawn = np.random.default_rng(seed).permutation(len(test_rows))[: check.rows]
        before = test_rows[schema.names].iloc[np.sort(drawn)]
        before.index = pd.Index([f"test row {number + 1}" for number in np.sort(drawn)])
    else:
        before = _written(check.rows, schema, seen, f"{place} rows")
    after = before.copy()
    for name, value in check.change.items():
        column = _column(name, schema, f"{place} change")
        after[name] = _change(column, value, seen, f"{place} change")(before[name])
    same = [
        (before[name] == after[name]) | (before[name].isna() & after[name].isna())
        for name in check.change
    ]
    altered = ~np.logical_and.reduce(same)
    return _Prepared(check, before[altered], after[altered], tuple(check.change), code)


def _ask(model: Any, schema: Schema, prepared: _Prepared) -> CheckResult:
    check, n = prepared.check, len(prepared.before)
    fault = _FAULTS[check.expected]
    if check.tolerance:
        fault += f" by more than {check.tolerance:g}"
    if n == 0:
        return CheckResult(check.name, 0, 0, check.max_violations, fault, "", nan, nan)
    both = _answers(model, pd.concat([prepared.before, prepared.after]), schema, prepared.code)
    before, after = both[:n], both[n:]
    with np.errstate(invalid="ignore"):
        slack = check.tolerance + _ROUNDING * np.maximum(np.abs(before), np.abs(after))
        beyond = _against(after - before, check.expected) - slack
    # An answer that is no number breaks every rule.
    beyond = np.where(np.isfinite(before) & np.isfinite(after), beyond, np.inf)
    row, code = np.unravel_index(beyond.argmax(), beyond.shape)
    cell = int(row), int(code)
    return CheckResult(
        check.name,
        n_rows=n,
        n_violations=int((beyond > 0).any(axis=1).sum()),
        max_violations=check.max_violations,
        fault=fault,
        worst=_told(prepared, schema, *cell, float(before[cell]), float(after[cell])),
        before=float(before[cell]),
        after=float(after[cell]),
    )


def _against(moved: np.ndarray, expected: Expect) -> np.ndarray:
    """Give how far each answer went the way it may not."""
    match expected:
        case Expect.SAME:
            return np.abs(moved)
        case Expect.NOT_LOWER:
            return -moved
        case Expect.NOT_HIGHER:
            return moved


def _answers(model: Any, rows: pd.DataFrame, schema: Schema, code: int | None) -> np.ndarray:
    """Give what may not move: shape (n, 1), or (n, K) for any of K classes."""
    predictions = predict(model, rows, schema)
    if predictions.probabilities is None:
        return predictions.values[:, None]
    return predictions.probabilities if code is None else predictions.probabilities[:, [code]]


def _told(
    prepared: _Prepared, schema: Schema, row: int, code: int, before: float, after: float
) -> str:
    changes = ", ".join(
        f"{name} {_shown(prepared.before[name].iloc[row])}"
        f" → {_shown(prepared.after[name].iloc[row])}"
        for name in prepared.names
    )
    what = schema.target or "cluster"
    if schema.problem.is_classification:
        known = code if prepared.code is None else prepared.code
        what = f"probability of {schema.classes[known]!r}"
    places = decimals([before, after], [after - before]) if schema.target else 0
    numbers = f"{shown(before, places)} → {shown(after, places)}"
    return f"{prepared.before.index[row]}, {changes}: {what} {numbers}"


def _code_of(check: Check, schema: Schema, place: str) -> int | None:
    """Find the class whose probability counts; None for a quantity, or for any class."""
    if schema.target is None:
        _refuse_of_clusters(check, place)
        return None
    classes = ", ".join(repr(label) for label in schema.classes)
    if check.label is not None:
        if check.label in schema.classes:
            return schema.classes.index(check.label)
        way_out = f"Classes: {classes}." if classes else "A quantity has none: set it to null."
        raise SettingsError(f"{place} label is {check.label!r}, which is no class. {way_out}")
    if schema.problem is ProblemType.MULTICLASS and check.expected is not Expect.SAME:
        raise SettingsError(
            f"{place} label is null, and a direction needs the class whose probability moves."
            f" Classes: {classes}."
        )
    return 1 if schema.problem is ProblemType.BINARY else None


def _refuse_of_clusters(check: Check, place: str) -> None:
    """Refuse what numbers of clusters can't do: they are names, not quantities."""
    if check.expected is not Expect.SAME:
        raise SettingsError(
            f"{place} expect is {check.expected.value}, and clusters have no order. Of a clustering"
            " only kind invariance can be checked: that a row stays in its cluster."
        )
    if check.tolerance:
        raise SettingsError(
            f"{place} tolerance is {check.tolerance:g}, and a row is in a cluster or in another"
            " one. Set it to 0."
        )
    if check.label is not None:
        raise SettingsError(
            f"{place} label is {check.label!r}, and a clustering has no classes. Set it to null."
        )


def _column(name: str, schema: Schema, place: str) -> Column:
    for column in schema.columns:
        if column.name == name:
            return column
    close = difflib.get_close_matches(name, schema.names, n=1)
    raise SettingsError(
        f"{place} names {name!r}, which is no feature"
        + (f"; did you mean {close[0]!r}?" if close else ".")
        + f" Features: {', '.join(schema.names)}."
    )


def _written(
    rows: Sequence[Mapping[str, Any]], schema: Schema, seen: Sequence[pd.DataFrame], place: str
) -> pd.DataFrame:
    """Build the frame of rows that are written out; what they leave out is missing."""
    for row in rows:
        for name in row:
            _column(name, schema, place)
    columns = {
        column.name: pd.Series(
            [_value(column, row.get(column.name), seen, place) for row in rows],
            index=[f"row {number}" for number in range(1, len(rows) + 1)],
            dtype=column.dtype,
        )
        for column in schema.columns
    }
    return pd.DataFrame(columns)


def _change(column: Column, value: Any, seen: Sequence[pd.DataFrame], place: str) -> _Change:
    """Give what turns a column into the changed one: a step from each value, or one value."""
    step: Any = None
    if isinstance(value, str) and column.kind is Kind.NUMBER:
        found = _NUMBER_STEP.fullmatch(value.strip())
        if found is None or (found[1] == "/" and float(found[2]) == 0):
            raise SettingsError(
                f"{place} of {column.name!r} must be a number, or a step such as '+1.5' or '*2'"
                f" in quotes, got {value!r}."
            )
        step = float(found[2])
    elif isinstance(value, str) and column.kind is Kind.DATETIME:
        found = _TIME_STEP.fullmatch(value.strip())
        if found is not None:
            step = _span(column, found[2], value, place)
    else:
        found = None
    if found is not None and step is not None:
        change = _OPERATORS[found[1]]
        return lambda before: change(before, step)
    fixed = _value(column, value, seen, place)
    return lambda before: pd.Series([fixed] * len(before), index=before.index, dtype=column.dtype)


def _span(column: Column, text: str, value: str, place: str) -> pd.Timedelta:
    try:
        return pd.Timedelta(text)
    except ValueError:
        raise SettingsError(
            f"{place} of {column.name!r} must be a point in time such as 2024-05-01 08:00, or a"
            f" step such as '+1 day' in quotes, got {value!r}."
        ) from None


def _value(column: Column, value: Any, seen: Sequence[pd.DataFrame], place: str) -> Any:
    """Turn a value of params.yaml into one that the column may hold."""
    where = f"{place} of {column.name!r}"
    if value is None:
        if column.optional:
            return None
        raise SettingsError(
            f"{where} is missing, which it never was in training. Give every row a value."
        )
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match column.kind:
        case Kind.NUMBER:
            if is_number:
                return float(value)
            raise SettingsError(f"{where} must be a number, got {value!r}.")
        case Kind.BOOLEAN:
            if value in (0, 1):
                return float(value)
            raise SettingsError(f"{where} must be true or false, got {value!r}.")
        case Kind.DATETIME:
            return _point_in_time(value, where)
        case Kind.TEXT:
            if isinstance(value, str):
                return value
            raise SettingsError(f"{where} must be text, got {value!r}. Put it in quotes.")
        case Kind.CATEGORY:
            return _known_label(column, value, seen, where)


def _point_in_time(value: Any, where: str) -> pd.Timestamp:
    try:
        point = pd.Timestamp(value) if isinstance(value, str) else pd.NaT
    except ValueError:
        point = pd.NaT
    if isinstance(point, pd.Timestamp) and point.tz is None:
        return point
    raise SettingsError(
        f"{where} must be a point in time without a zone such as 2024-05-01 08:00, got {value!r}."
    )


def _known_label(column: Column, value: Any, seen: Sequence[pd.DataFrame], where: str) -> Any:
    """Find a label among those that rows hold: a misspelt one would check nothing."""
    labels = pd.concat([rows[column.name] for rows in seen]).dropna().unique().tolist()
    for label in labels:
        if label == value and isinstance(value, bool) is isinstance(label, bool):
            return label
    texts = sorted(f"{label:.15g}" if isinstance(label, float) else label for label in labels)
    close = difflib.get_close_matches(str(value), texts, n=1)
    listed = ", ".join(texts[:_LISTED])
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    raise SettingsError(
        f"{where} is {value!r}, which no row holds"
        + (f"; did you mean {close[0]!r}?" if close else ".")
        + f" Labels: {listed}{more}."
        + (" Texts such as yes and no need quotes in YAML." if isinstance(value, bool) else "")
    )


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

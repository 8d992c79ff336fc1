"""How the values of a table are written for a reader."""

from typing import Any

import pandas as pd

from ratchet.problem import ProblemType
from ratchet.schema import Kind, Schema

LONGEST = 60
"""Characters of a value that are shown: nobody reads a report for a whole text."""

MISSING = "missing"
"""What a gap is called."""


def value(given: Any, kind: Kind) -> str:
    """Write a value of a column; a long one is cut.

    Examples
    --------
    >>> value(1234567.5, Kind.NUMBER), value(74.0, Kind.CATEGORY), value(1.0, Kind.BOOLEAN)
    ('1,234,570', '74', 'true')
    """
    if pd.isna(given):
        return MISSING
    if kind is Kind.BOOLEAN:
        return str(bool(given)).lower()
    if isinstance(given, pd.Timestamp):
        return given.isoformat(sep=" ", timespec="seconds").removesuffix(" 00:00:00")
    if kind is Kind.NUMBER:
        return number(float(given))
    return short(f"{given:.15g}" if isinstance(given, float) else str(given))


def answer(given: Any, schema: Schema) -> str:
    """Write a quantity, or the label of a class code."""
    if schema.problem is ProblemType.REGRESSION:
        return number(float(given))
    return short(str(schema.classes[int(given)]))


def number(given: float) -> str:
    """Write a number as it stands in a table; a year has no comma.

    Examples
    --------
    >>> number(0.000012), number(2024.0), number(12345.6789), number(3e15)
    ('0.000012', '2024', '12,345.7', '3,000,000,000,000,000')
    """
    text = f"{given:.6g}"
    if not 1e-5 <= abs(given) < 1e16:
        return text
    whole = f"{float(text):{',' if abs(given) >= 1e4 else ''}f}"
    return whole.rstrip("0").rstrip(".")


def short(text: str) -> str:
    """Cut the end off a long text.

    Examples
    --------
    >>> short("a" * 100)[-3:], short("b")
    ('aa…', 'b')
    """
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

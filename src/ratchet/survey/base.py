"""What is found in a table, as values."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.problem import ProblemType


@dataclass(frozen=True)
class Choice:
    """A value of a setting, and why."""

    setting: str
    """Its dotted name, such as ``split.method``."""
    value: Any
    """What it is set to, as YAML has it."""
    because: str
    """Sentences that are true of this table; empty where the value speaks for itself."""


@dataclass(frozen=True)
class Remark:
    """What is said of one column."""

    column: str
    """Its name."""
    because: str
    """Why it is left out, or is a label; a clause."""


@dataclass(frozen=True)
class Survey:
    """What was found in a table, and what follows from it."""

    files: tuple[Path, ...]
    """Files that hold the table."""
    n_rows: int
    """Rows of the table."""
    n_columns: int
    """Columns of the table."""
    problem: ProblemType
    """What the target poses."""
    choices: tuple[Choice, ...]
    """Settings that the table decides."""
    drop: tuple[Remark, ...]
    """Columns that the model may not see."""
    labels: tuple[Remark, ...]
    """Columns of numbers that are labels."""
    facts: tuple[str, ...]
    """What else a reader ought to know, one sentence each."""
    refused: tuple[str, ...]
    """What ``prepare`` will not let pass, one clause each; nobody but the user can settle it."""

    def value(self, setting: str) -> Any:
        """Give the value that was chosen for a setting; None where none was."""
        return next((each.value for each in self.choices if each.setting == setting), None)

    def because(self, setting: str) -> str:
        """Say why; empty where nothing was chosen."""
        return next((each.because for each in self.choices if each.setting == setting), "")


def words(name: str) -> tuple[str, ...]:
    """Cut the name of a column into its words, in lower case.

    Examples
    --------
    >>> words("PULocationID"), words("payment_type"), words("MS SubClass")
    (('pu', 'location', 'id'), ('payment', 'type'), ('ms', 'sub', 'class'))
    """
    found = re.findall(r"[A-Z]{2}(?=[A-Z][a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+", name)
    return tuple(word.lower() for word in found)


def shown(value: Any) -> str:
    r"""Write a value of the table so that it fits in a line.

    Examples
    --------
    >>> shown("a\nb"), shown(1500.0), shown(0.1234567)
    ("'a\\nb'", '1,500', '0.123457')
    """
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:,.6g}" if abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    text = repr(str(value))
    return text if len(text) <= 40 else f"{text[:37]}…'"


def named(names: Collection[str], most: int = 6) -> str:
    """List columns; the ones after the first few are only counted."""
    told = [plain(name) for name in list(names)[:most]]
    rest = len(names) - len(told)
    if rest:
        return f"{', '.join(told)} and {rest} more"
    return " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]]))


def plain(name: str) -> str:
    """Write the name of a column in a sentence: with quotes where it would not be seen as one."""
    return name if re.fullmatch(r"[^\W\d]\w*", name) else repr(name)


def share(part: float, whole: float) -> str:
    """Say what share a part is.

    Examples
    --------
    >>> share(1, 3), share(1, 5000), share(4999, 5000)
    ('33 %', 'under 0.1 %', 'over 99.9 %')
    """
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100:
        return "over 99.9 %"
    is_round = 10 <= percent <= 90 or not percent % 1
    return f"{percent:.0f} %" if is_round else f"{percent:.1f} %"


def whole_numbers(column: pd.Series) -> bool:
    """Tell whether a column holds whole numbers only, also where a gap has made floats of them."""
    types = pd.api.types
    if types.is_bool_dtype(column) or not types.is_numeric_dtype(column):
        return False
    if types.is_integer_dtype(column):
        return True
    values = column.dropna()
    return bool(len(values)) and not bool((values % 1 != 0).any())


def sentences(*parts: str) -> str:
    """Join sentences, those that are empty left out."""
    return " ".join(part for part in parts if part)

"""Which columns a model had better not see, which numbers are labels, and what else they hold."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ratchet.features import MAX_ONE_HOT
from ratchet.schema import Kind, Schema
from ratchet.survey.base import Remark, named, plain, share, shown, whole_numbers, words
from ratchet.table import Table

# A column is different in nearly every row from this share on.
_UNIQUE = 0.99
# Rows that this says something about: a handful of rows differ by chance.
_MIN_ROWS = 20
# Codes are short and hold no spaces, names and sentences do.
_CODE_LENGTH = 40

# Words by which the name of a column says that its numbers are labels. With such a name it is one
# up to so many different values; with more it is no label that a model could learn.
_LABELS = {
    *("id", "code", "zip", "zipcode", "postcode", "postal", "zone", "region", "type", "class"),
    *("category", "cluster", "kind", "district", "branch", "vendor", "group", "status", "gender"),
}
_MOST_LABELS = 1000
_LEAST_LABELS = 3
# Whole numbers of so many different values may be labels, too; only who made them knows.
_FEW = 12
# Words by which a column says that it only counts or names the rows.
_IDS = {"id", "index", "idx", "key", "no", "nr", "number", "uuid", "guid", "row", "order", "serial"}

# Missing values are worth telling from this share on.
_GAPS = 0.01


@dataclass(frozen=True)
class Columns:
    """What was found in the columns that are no target."""

    drop: tuple[Remark, ...]
    """Those that are of no use, or would be learned by heart."""
    labels: tuple[Remark, ...]
    """Numbers that are labels."""


def read(table: Table, sources: Collection[str]) -> Columns:
    """Look at every column that the target isn't computed from.

    Parameters
    ----------
    table : Table
        The table; ``left_out`` names what could not be read.
    sources : collection of str
        Columns of the target.
    """
    drop = [
        Remark(name, "lists, records or bytes, of which no model here makes anything")
        for name in table.left_out
    ]
    labels = []
    for name in map(str, table.frame.columns):
        if name in sources:
            continue
        column = table.frame[name]
        reason = _useless(column) or _counts_rows(name, column)
        if reason:
            drop.append(Remark(name, reason))
        elif _is_label(name, column):
            distinct = column.nunique()
            labels.append(Remark(name, f"whole numbers, {distinct:,} different, and its name"))
    return Columns(tuple(drop), tuple(labels))


def facts(frame: pd.DataFrame, schema: Schema) -> Iterator[str]:
    """Yield what is worth knowing of the columns that the model sees.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        The feature columns, among others.
    schema : Schema
        What they are.
    """
    gaps = {name: float(frame[name].isna().mean()) for name in schema.names}
    wide = {name: gap for name, gap in gaps.items() if gap >= _GAPS}
    if wide:
        order = sorted(wide, key=lambda name: -wide[name])
        told = [f"{plain(name)} {share(wide[name], 1)}" for name in order[:_FEW]]
        more = len(order) - len(told)
        yield (
            f"Values are missing in {_count(len(wide), 'column')}:"
            f" {', '.join(told)}{f' and {more} more' if more else ''}. Every kind of model here"
            " is told which ones; there is nothing to fill in."
        )
    many = [c for c in schema.columns if c.kind is Kind.CATEGORY and c.distinct > MAX_ONE_HOT]
    if many:
        told = [f"{plain(column.name)} {column.distinct:,}" for column in many]
        yield f"Many different labels: {', '.join(told)}. The rare ones are put together."
    texts = schema.of_kind(Kind.TEXT)
    if texts:
        yield f"Free text: {named(texts)}. It is read by the parts of its words."
    times = schema.of_kind(Kind.DATETIME)
    if times:
        yield f"Times: {named(times)}. A model sees their hour, weekday, day, month and year."
    few = [
        column.name
        for column in schema.columns
        if column.kind is Kind.NUMBER
        and _LEAST_LABELS <= column.distinct <= _FEW
        and whole_numbers(frame[column.name])
    ]
    if few:
        yield (
            f"Whole numbers with few values, taken as amounts: {named(few, 12)}. If some are"
            " labels, name them in data.categorical."
        )


def _useless(column: pd.Series) -> str:
    if column.isna().all():
        return "missing in every row"
    if column.nunique(dropna=False) == 1:
        return f"{shown(column.iloc[0])} in every row"
    if pd.api.types.is_float_dtype(column):
        infinite = np.isinf(column.to_numpy("float64", na_value=np.nan))
        if infinite.any():
            rows = _count(int(infinite.sum()), "row")
            return (
                f"infinite in {rows}, which no model can use; data.filter could leave these rows"
                " out instead"
            )
    return ""


def _counts_rows(name: str, column: pd.Series) -> str:
    """Say why a column only tells rows apart; nothing where it may mean something."""
    n = len(column)
    types = pd.api.types
    if n < _MIN_ROWS or column.isna().any() or types.is_datetime64_any_dtype(column):
        return ""
    distinct = column.nunique()
    if distinct < _UNIQUE * n:
        return ""
    if whole_numbers(column):
        steps = np.diff(column.to_numpy("float64"))
        if (steps == 1).mean() >= _UNIQUE:
            return "it numbers the rows"
        called = set(words(name)[-1:]) & _IDS
        return "a different number in each row, and called an id" if called else ""
    if types.is_numeric_dtype(column) or types.is_bool_dtype(column):
        return ""
    text = column.astype("str")
    if text.str.len().mean() > _CODE_LENGTH or text.str.strip().str.contains(r"\s").mean() > 0.1:
        return ""
    return "a different code in each row"


def _is_label(name: str, column: pd.Series) -> bool:
    if not set(words(name)) & _LABELS or not whole_numbers(column):
        return False
    distinct = column.nunique()
    return _LEAST_LABELS <= distinct <= min(_MOST_LABELS, len(column) / 5)


def _count(n: int, one: str) -> str:
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"

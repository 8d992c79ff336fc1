"""Rows as a client has them, turned into what a model takes, or a sentence that says why not."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ratchet.errors import DataError
from ratchet.schema import Column, Kind, Schema

# Names that a sentence lists.
_MOST_NAMES = 10


def accept(
    frame: pd.DataFrame, schema: Schema, place: Callable[[int], str] = "row {}".format
) -> pd.DataFrame:
    """Give the columns that a model takes, in its order and types.

    Other columns are left out, optional ones that aren't there are missing in
    every row, and values that a model hasn't seen are its own business.

    Parameters
    ----------
    frame : pd.DataFrame, shape (n_rows, any)
        Raw rows, as JSON, CSV or parquet gave them.
    schema : Schema
        The columns of the model.
    place : callable
        Says where the row at a position stands; by default, counted from 0.

    Returns
    -------
    pd.DataFrame, shape (n_rows, n_columns)
        As ``features.as_features`` would give them, under the frame's own index.

    Raises
    ------
    DataError
        If required columns are missing, columns have one name, or values are of a
        wrong type; the message names all of them.
    """
    problems = [*_names(frame, schema)]
    columns = {}
    for column in schema.columns:
        if column.name not in frame.columns:
            columns[column.name] = pd.Series(pd.NA, frame.index, dtype="object")
        elif isinstance(values := frame[column.name], pd.DataFrame):
            continue  # told above
        else:
            columns[column.name] = values
    taken = {}
    for column in schema.columns:
        if column.name not in columns:
            continue
        values = columns[column.name]
        converted = _CONVERSIONS[_sort(column)](values)
        wrong = converted.isna().to_numpy()
        if converted.dtype == "float64":
            wrong = ~np.isfinite(converted.to_numpy())
        if wrong.any() and (wrong := wrong & values.notna().to_numpy()).any():
            problems.append(_told(column, values, wrong, place))
        taken[column.name] = converted
    if problems:
        raise DataError(" ".join(problems))
    return pd.DataFrame(taken, index=frame.index)


def _names(frame: pd.DataFrame, schema: Schema) -> Iterator[str]:
    given = [str(name) for name in frame.columns]
    absent = [c.name for c in schema.columns if not c.optional and c.name not in given]
    if absent:
        yield (
            f"{_columns(absent)} missing, which the model needs. Given:"
            f" {', '.join(given[:_MOST_NAMES]) or 'no column'}"
            f"{f' and {len(given) - _MOST_NAMES} more' if len(given) > _MOST_NAMES else ''}."
        )
    twice = [name for name in schema.names if given.count(name) > 1]
    if twice:
        yield f"{_columns(twice)} there more than once."


def _columns(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"Column {shown} is" if len(names) == 1 else f"Columns {shown}{more} are"


def _told(column: Column, values: pd.Series, wrong: np.ndarray, place: Callable[[int], str]) -> str:
    position = int(np.flatnonzero(wrong)[0])
    first = values.iloc[position]
    first = first.item() if isinstance(first, np.generic) else first
    n = int(wrong.sum())
    count = f"{n:,} values" if n > 1 else "a value"
    return (
        f"Column {column.name!r} must hold {_ASKED[_sort(column)]}, and has {count} that"
        f" {'are' if n > 1 else 'is'} not: {first!r} in {place(position)}"
        f"{', the first of them' if n > 1 else ''}."
    )


def _sort(column: Column) -> str:
    if column.kind is Kind.DATETIME:
        return "time"
    return "number" if column.dtype == "float64" else "text"


_ASKED = {
    "time": "times, such as 2026-05-01T12:30:00",
    "number": "finite numbers",
    "text": "text",
}


def _numbers(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_timedelta64_dtype(values):
        return values.dt.total_seconds()
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(np.nan, values.index)
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values, errors="coerce")
    return pd.Series(values.to_numpy("float64", na_value=np.nan), values.index)


def _texts(values: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(values):  # whole numbers among which one was missing
        whole = values.dropna()
        if (whole == whole.round()).all() and not np.isinf(whole).any():
            values = values.astype("Int64")
    if values.dtype == object:
        fits = values.map(lambda value: not isinstance(value, list | dict))
        values = values.where(fits)
    return values.astype("str")


def _times(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values) and values.notna().any():
        return pd.Series(pd.NaT, values.index, dtype="datetime64[us]")  # since when, in what?
    read = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
    return read.dt.tz_localize(None).astype("datetime64[us]")


_CONVERSIONS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "number": _numbers,
    "text": _texts,
    "time": _times,
}

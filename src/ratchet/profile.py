"""What the training rows look like, as a page a person can read."""

import base64
import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ratchet import files
from ratchet.schema import Kind
from ratchet.table import rows_of_sample

# A profile of more rows looks the same and takes longer.
MAX_ROWS = 50_000
# Times over more years than that don't fit on an axis of dates.
MAX_YEARS = 1_000

# Labels of a column that its line names, and characters of one of them.
_LABELS = 3
_LONGEST = 24


@dataclass(frozen=True)
class ColumnProfile:
    """A column in a line."""

    name: str
    """Its name."""
    kind: str
    """What it holds: number, category, boolean, datetime or text."""
    missing: float
    """Share of the rows in which it is missing, 0 to 1."""
    distinct: int
    """Different values."""
    values: str
    """Its range, or its most frequent labels; empty where every value is missing."""


def shown(n_rows: int, n_columns: int) -> np.ndarray:
    """Give the places of the rows that a profile of so many shows, in their order."""
    most = min(MAX_ROWS, rows_of_sample(n_columns))
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.RandomState(0).choice(n_rows, most, replace=False))


def write(path: Path, frame: pd.DataFrame, title: str, n_rows: int | None = None) -> None:
    """Write a page with the types, gaps, distributions and associations of columns.

    Parameters
    ----------
    path : Path
        HTML file to write; it stands alone and works offline.
    frame : pd.DataFrame
        Training rows: test rows are not looked at before evaluate.
    title : str
        Name of the task.
    n_rows : int, optional
        How many there are, where ``frame`` has only those that ``shown`` names.
    """
    from skrub import TableReport

    rows = frame.iloc[shown(*frame.shape)]
    # Its axis ends at the year 9999, with a margin: so long a time is shown by its years.
    long = [name for name in rows.select_dtypes("datetime") if _years(rows[name]) > MAX_YEARS]
    rows = rows.assign(**{str(name): rows[name].dt.year for name in long})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font that lacks a glyph of somebody's column name
        report = TableReport(
            rows,
            title=f"{title}: {n_rows or len(frame):,} training rows",
            verbose=0,
            open_tab="distributions",
        )
        files.write_text(path, _confined(report.html()))


def column(values: pd.Series, kind: Kind) -> ColumnProfile:
    """Tell of a column in a line.

    Parameters
    ----------
    values : pd.Series of shape (n_rows,)
        The column.
    kind : Kind
        What it holds.

    Examples
    --------
    >>> column(pd.Series(["a", "b", "a", None], name="town"), Kind.CATEGORY)
    ColumnProfile(name='town', kind='category', missing=0.25, distinct=2, values='a 67 %, b 33 %')
    """
    known = values.dropna()
    return ColumnProfile(
        name=str(values.name),
        kind=str(kind),
        missing=float(values.isna().mean()) if len(values) else 0.0,
        distinct=int(known.nunique()),
        values=_told(known, kind) if len(known) else "",
    )


def _confined(page: str) -> str:
    """Have a browser run the page's own scripts only, and ask nobody for anything.

    What a script element holds is known by its digest; of what else could run, such as an
    attribute ``onerror``, nothing is.
    """
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in scripts)
    allowed = " ".join(f"'sha256-{each.decode()}'" for each in digests)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return page.replace("<head>", f"<head>\n    {meta}", 1)


def _told(known: pd.Series, kind: Kind) -> str:
    if kind is Kind.TEXT:  # an example would put somebody's words on the page
        lengths = known.astype(str).str.len()
        return f"{lengths.min():,} to {lengths.max():,} characters"
    if kind is Kind.NUMBER:
        low, middle, high = (float(each) for each in np.quantile(known.astype(float), (0, 0.5, 1)))
        return f"{_number(low)} to {_number(high)}, median {_number(middle)}"
    if kind is Kind.DATETIME:
        first, last = (f"{at:%Y-%m-%d %H:%M}" for at in (known.min(), known.max()))
        return f"{first.removesuffix(' 00:00')} to {last.removesuffix(' 00:00')}"
    shares = known.value_counts(normalize=True)
    named = [f"{_short(label)} {100 * share:.0f} %" for label, share in shares[:_LABELS].items()]
    more = len(shares) - len(named)
    return ", ".join(named) + (f", {more:,} more" if more else "")


def _number(value: float) -> str:
    """Write a number in full where it is whole.

    >>> _number(1484705.0), _number(0.0027385078), _number(4e20)
    ('1,484,705', '0.0027385', '4e+20')
    """
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:,.5g}"


def _short(label: object) -> str:
    text = " ".join(str(label).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _years(times: pd.Series) -> int:
    return 0 if times.isna().all() else int(times.max().year - times.min().year)

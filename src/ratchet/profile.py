"""What the training rows look like, as a page a person can read."""

import warnings
from pathlib import Path

import pandas as pd

from ratchet import files

# A profile of more rows looks the same and takes longer.
MAX_ROWS = 50_000
# Times over more years than that don't fit on an axis of dates.
MAX_YEARS = 1_000


def write(path: Path, frame: pd.DataFrame, title: str) -> None:
    """Write a page with the types, gaps, distributions and associations of columns.

    Parameters
    ----------
    path : Path
        HTML file to write; it stands alone and works offline.
    frame : pd.DataFrame
        Training rows: test rows are not looked at before evaluate.
    title : str
        Name of the task.
    """
    from skrub import TableReport

    rows = frame if len(frame) <= MAX_ROWS else frame.sample(MAX_ROWS, random_state=0).sort_index()
    # Its axis ends at the year 9999, with a margin: so long a time is shown by its years.
    long = [name for name in rows.select_dtypes("datetime") if _years(rows[name]) > MAX_YEARS]
    rows = rows.assign(**{str(name): rows[name].dt.year for name in long})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font that lacks a glyph of somebody's column name
        report = TableReport(
            rows,
            title=f"{title}: {len(frame):,} training rows",
            verbose=0,
            open_tab="distributions",
        )
        files.write_text(path, report.html())


def _years(times: pd.Series) -> int:
    return 0 if times.isna().all() else int(times.max().year - times.min().year)

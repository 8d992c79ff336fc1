"""What the training rows look like, as a page a person can read."""

import warnings
from pathlib import Path

import pandas as pd

from ratchet import files

# A profile of more rows looks the same and takes longer.
MAX_ROWS = 50_000


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font that lacks a glyph of somebody's column name
        report = TableReport(
            rows,
            title=f"{title}: {len(frame):,} training rows",
            verbose=0,
            open_tab="distributions",
        )
        files.write_text(path, report.html())

"""The preparation that the scripts written by hand share."""

import numpy as np
import pandas as pd
from job import Job, time_parts
from sklearn.model_selection import train_test_split

VALID_SHARE = 0.2


def prepare(job: Job) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Give training columns, the coded target and test columns.

    Labels become categories, those of the training rows. Training rows come
    in the order of time where there is one.
    """
    train, test = job.train(), job.test()
    if job.time_column:
        train = train.sort_values(job.time_column, ignore_index=True)
    train, test = time_parts(train), time_parts(test)
    y = job.codes(train.pop(job.target))
    columns: dict[str, tuple[pd.Series, pd.Series]] = {}
    for name in train.columns:
        a, b = train[name], test[name]
        if pd.api.types.is_numeric_dtype(a) and name not in job.categorical:
            columns[name] = a.astype("float64"), b.astype("float64")
        else:
            kind = pd.CategoricalDtype(sorted(a.dropna().unique()))
            columns[name] = a.astype(kind), b.astype(kind)
    safe = {name: f"f{place}" for place, name in enumerate(columns)}  # LightGBM bans some signs
    return (
        pd.DataFrame({safe[name]: pair[0] for name, pair in columns.items()}),
        y,
        pd.DataFrame({safe[name]: pair[1] for name, pair in columns.items()}),
    )


def holdout(job: Job, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deal the rows to training and validation: the latest where there is time, else a draw."""
    rows = np.arange(len(y))
    if job.time_column:
        cut = int(len(rows) * (1 - VALID_SHARE))
        return rows[:cut], rows[cut:]
    stratify = None if job.is_regression or np.bincount(y).min() < 2 else y
    return tuple(
        train_test_split(rows, test_size=VALID_SHARE, random_state=job.seed, stratify=stratify)
    )

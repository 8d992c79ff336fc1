# /// script
# requires-python = ">=3.10,<3.14"
# dependencies = ["flaml[automl]>=2.3", "catboost", "pandas", "pyarrow"]
# ///
"""FLAML with its defaults, but that the refit on all rows must fit in the budget too."""

import numpy as np
import pandas as pd
from flaml import AutoML
from job import Job, time_parts


def main() -> None:
    """Fit, predict, hand over."""
    job = Job.given()
    train, test = job.train(), job.test()
    if job.time_column:
        # Rows in order are how it is told of time.
        train = train.sort_values(job.time_column, ignore_index=True)
    y = job.codes(train.pop(job.target))
    train, test = labels_as_categories(job, time_parts(train), time_parts(test))
    with job.timed("fit"):
        automl = AutoML()
        automl.fit(
            X_train=train,
            y_train=y,
            task="regression" if job.is_regression else "classification",
            metric=job.metric,
            time_budget=job.budget,
            n_jobs=job.threads,
            seed=job.seed,
            split_type="time" if job.time_column else "auto",
            retrain_full="budget",
            verbose=0,
        )
    with job.timed("predict"):
        answer = automl.predict(test) if job.is_regression else automl.predict_proba(test)
    if not job.is_regression:
        whole = np.zeros((len(test), len(job.classes)))
        whole[:, np.asarray(automl.classes_, dtype=int)] = answer
        answer = whole
    job.answer(np.asarray(answer), best=automl.best_estimator, params=automl.best_config)


def labels_as_categories(
    job: Job, train: pd.DataFrame, test: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give both frames the same categories, which its learners then see as such."""
    named = set(job.categorical)
    for name in train.columns:
        if name in named or not pd.api.types.is_numeric_dtype(train[name]):
            kind = pd.CategoricalDtype(sorted(train[name].dropna().unique()))
            train[name], test[name] = train[name].astype(kind), test[name].astype(kind)
    return train, test


if __name__ == "__main__":
    main()

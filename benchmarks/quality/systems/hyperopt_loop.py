# /// script
# requires-python = ">=3.11"
# dependencies = ["hyperopt>=0.3", "xgboost>=3", "scikit-learn", "pandas", "pyarrow"]
# ///
"""The plain loop of many tutorials: hyperopt's fmin over XGBoost's parameters on a holdout."""

import time

import numpy as np
import xgboost
from features import holdout, prepare
from hyperopt import STATUS_OK, Trials, fmin, hp, tpe
from job import Job

# fmin lets the trial end that is running when time is up; the refit on all rows follows.
SEARCH_SHARE = 0.7
MAX_ROUNDS = 1000
PATIENCE = 50

SPACE = {
    "learning_rate": hp.loguniform("learning_rate", np.log(0.01), np.log(0.3)),
    "max_depth": hp.uniformint("max_depth", 3, 12),
    "min_child_weight": hp.loguniform("min_child_weight", np.log(0.5), np.log(50)),
    "subsample": hp.uniform("subsample", 0.5, 1.0),
    "colsample_bytree": hp.uniform("colsample_bytree", 0.4, 1.0),
    "reg_lambda": hp.loguniform("reg_lambda", np.log(0.01), np.log(20)),
    "reg_alpha": hp.loguniform("reg_alpha", np.log(0.001), np.log(10)),
}


def main() -> None:
    """Fit, predict, hand over."""
    job = Job.given()
    X, y, X_test = prepare(job)
    # Codes for numbers, as such loops have them; a missing label stays missing.
    X, X_test = (
        frame.apply(lambda c: c if c.dtype == "float64" else c.cat.codes.where(c.notna()))
        for frame in (X, X_test)
    )
    with job.timed("fit"):
        model, best, trials = search(job, X, y)
    with job.timed("predict"):
        answer = model.predict(X_test) if job.is_regression else model.predict_proba(X_test)
    job.answer(answer, trials=trials, params=best)


def search(job: Job, X, y: np.ndarray):  # type: ignore[no-untyped-def]
    """Let fmin choose on the holdout, and fit the best on all rows."""
    started = time.monotonic()
    train, valid = holdout(job, y)
    kind = xgboost.XGBRegressor if job.is_regression else xgboost.XGBClassifier
    fixed = {
        "n_jobs": job.threads,
        "random_state": job.seed,
        "eval_metric": {"rmse": "rmse"}.get(
            job.metric, "logloss" if job.problem == "binary" else "mlogloss"
        ),
    }

    def objective(params: dict) -> dict:
        model = kind(
            **fixed, **params, n_estimators=MAX_ROUNDS, early_stopping_rounds=PATIENCE
        ).fit(X.iloc[train], y[train], eval_set=[(X.iloc[valid], y[valid])], verbose=False)
        return {
            "loss": model.best_score,
            "status": STATUS_OK,
            "params": {**params, "n_estimators": model.best_iteration + 1},
        }

    trials = Trials()
    fmin(
        objective,
        SPACE,
        algo=tpe.suggest,
        trials=trials,
        timeout=SEARCH_SHARE * job.budget - (time.monotonic() - started),
        rstate=np.random.default_rng(job.seed),
        show_progressbar=False,
    )
    best = trials.best_trial["result"]["params"]
    return kind(**fixed, **best).fit(X, y), best, len(trials)


if __name__ == "__main__":
    main()

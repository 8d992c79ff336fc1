# /// script
# requires-python = ">=3.11"
# dependencies = ["optuna>=4", "xgboost>=3", "lightgbm>=4.5", "scikit-learn", "pandas", "pyarrow"]
# ///
"""What a careful practitioner writes by hand: Optuna over LightGBM and XGBoost.

Categories as the libraries have them, early stopping on the metric on a
holdout, bad trials pruned, the best fitted again on all rows, and the clock
watched inside of trials, so that the refit is done when the budget is.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
import xgboost
from features import holdout, prepare
from job import Job

MAX_ROUNDS = 3000
PATIENCE = 50
# Trials are judged every so many rounds.
LOOK_EVERY = 10
# A refit has a quarter more rows than a trial; and clocks wander.
REFIT = 1.4


@dataclass
class Study:
    """The rows, the clock, and the best so far."""

    job: Job
    X: pd.DataFrame
    y: np.ndarray
    best: float = math.inf
    best_seconds: float = 0.0
    best_params: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.train, self.valid = holdout(self.job, self.y)

    @property
    def out_of_time(self) -> bool:
        """Whether what is left is needed for the refit."""
        left = self.job.budget - (time.monotonic() - self.started)
        return left < REFIT * self.best_seconds + 0.02 * self.job.budget

    def objective(self, trial: optuna.Trial) -> float:
        """Fit one setting of one library on the training part."""
        begun = time.monotonic()
        library = trial.suggest_categorical("library", ["lightgbm", "xgboost"])
        params = SPACES[library](trial)

        def look(round_: int, loss: float) -> None:
            if self.best_params and self.out_of_time:
                raise optuna.TrialPruned
            if round_ % LOOK_EVERY == 0:
                trial.report(loss, round_)
                if trial.should_prune():
                    raise optuna.TrialPruned

        loss, rounds = FITS[library](self, params, look)
        if loss < self.best:
            self.best, self.best_seconds = loss, time.monotonic() - begun
            self.best_params = {"library": library, "rounds": rounds, **params}
        return loss

    def refit(self) -> Callable[[pd.DataFrame], np.ndarray]:
        """Fit the best on all rows; give what predicts."""
        params = dict(self.best_params)
        library, rounds = params.pop("library"), params.pop("rounds")
        if library == "lightgbm":
            data = lightgbm.Dataset(self.X, self.y)
            return lightgbm.train(lightgbm_params(self.job, params), data, rounds).predict
        data = xgboost.DMatrix(self.X, self.y, enable_categorical=True)
        model = xgboost.train(xgboost_params(self.job, params), data, rounds)
        return lambda X: model.predict(xgboost.DMatrix(X, enable_categorical=True))


Look = Callable[[int, float], None]


def lightgbm_params(job: Job, params: dict[str, Any]) -> dict[str, Any]:
    """Add what does not change from trial to trial."""
    fixed = {"num_threads": job.threads, "seed": job.seed, "verbosity": -1, "subsample_freq": 1}
    if job.is_regression:
        return {**fixed, "objective": "regression", "metric": "rmse", **params}
    if job.problem == "binary":
        return {**fixed, "objective": "binary", "metric": "binary_logloss", **params}
    multiclass = {"objective": "multiclass", "metric": "multi_logloss"}
    return {**fixed, **multiclass, "num_class": len(job.classes), **params}


def fit_lightgbm(study: Study, params: dict[str, Any], look: Look) -> tuple[float, int]:
    """Fit on the training part; give the loss and the rounds that early stopping found."""
    train = lightgbm.Dataset(study.X.iloc[study.train], study.y[study.train])
    valid = train.create_valid(study.X.iloc[study.valid], study.y[study.valid])
    model = lightgbm.train(
        lightgbm_params(study.job, params),
        train,
        MAX_ROUNDS,
        valid_sets=[valid],
        callbacks=[
            lightgbm.early_stopping(PATIENCE, verbose=False),
            lambda env: look(env.iteration, env.evaluation_result_list[0][2]),
        ],
    )
    return next(iter(model.best_score["valid_0"].values())), model.best_iteration


def xgboost_params(job: Job, params: dict[str, Any]) -> dict[str, Any]:
    """Add what does not change from trial to trial."""
    fixed = {"nthread": job.threads, "seed": job.seed, "tree_method": "hist"}
    if job.is_regression:
        return {**fixed, "objective": "reg:squarederror", "eval_metric": "rmse", **params}
    if job.problem == "binary":
        return {**fixed, "objective": "binary:logistic", "eval_metric": "logloss", **params}
    multiclass = {"objective": "multi:softprob", "eval_metric": "mlogloss"}
    return {**fixed, **multiclass, "num_class": len(job.classes), **params}


def fit_xgboost(study: Study, params: dict[str, Any], look: Look) -> tuple[float, int]:
    """Fit on the training part; give the loss and the rounds that early stopping found."""

    class Watch(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            look(epoch, next(iter(evals_log["valid"].values()))[-1])
            return False

    train, valid = (
        xgboost.DMatrix(study.X.iloc[rows], study.y[rows], enable_categorical=True)
        for rows in (study.train, study.valid)
    )
    model = xgboost.train(
        xgboost_params(study.job, params),
        train,
        MAX_ROUNDS,
        evals=[(valid, "valid")],
        early_stopping_rounds=PATIENCE,
        callbacks=[Watch()],
        verbose_eval=False,
    )
    return model.best_score, model.best_iteration + 1


def lightgbm_space(trial: optuna.Trial) -> dict[str, Any]:
    """Draw a setting of LightGBM."""
    return {
        "learning_rate": trial.suggest_float("lgb_learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("lgb_num_leaves", 8, 255, log=True),
        "min_child_samples": trial.suggest_int("lgb_min_child_samples", 2, 100, log=True),
        "subsample": trial.suggest_float("lgb_subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("lgb_colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("lgb_reg_lambda", 1e-3, 30, log=True),
        "reg_alpha": trial.suggest_float("lgb_reg_alpha", 1e-3, 10, log=True),
        "cat_smooth": trial.suggest_float("lgb_cat_smooth", 1, 100, log=True),
    }


def xgboost_space(trial: optuna.Trial) -> dict[str, Any]:
    """Draw a setting of XGBoost."""
    return {
        "learning_rate": trial.suggest_float("xgb_learning_rate", 0.01, 0.3, log=True),
        "max_depth": trial.suggest_int("xgb_max_depth", 3, 12),
        "min_child_weight": trial.suggest_float("xgb_min_child_weight", 0.5, 50, log=True),
        "subsample": trial.suggest_float("xgb_subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("xgb_colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("xgb_reg_lambda", 1e-2, 30, log=True),
        "reg_alpha": trial.suggest_float("xgb_reg_alpha", 1e-3, 10, log=True),
    }


SPACES = {"lightgbm": lightgbm_space, "xgboost": xgboost_space}
FITS = {"lightgbm": fit_lightgbm, "xgboost": fit_xgboost}
# Settings that are good on many tables, tried first.
STARTS = (
    {
        "library": "lightgbm",
        "lgb_learning_rate": 0.05,
        "lgb_num_leaves": 31,
        "lgb_min_child_samples": 20,
        "lgb_subsample": 0.8,
        "lgb_colsample_bytree": 0.8,
    },
    {
        "library": "xgboost",
        "xgb_learning_rate": 0.05,
        "xgb_max_depth": 6,
        "xgb_min_child_weight": 1.0,
        "xgb_subsample": 0.8,
        "xgb_colsample_bytree": 0.8,
    },
)


def main() -> None:
    """Fit, predict, hand over."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    job = Job.given()
    X, y, X_test = prepare(job)
    with job.timed("fit"):
        study = Study(job, X, y)
        search = optuna.create_study(
            sampler=optuna.samplers.TPESampler(
                seed=job.seed, multivariate=True, group=True, n_startup_trials=8
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=50),
        )
        for start in STARTS:
            search.enqueue_trial(start)
        while not study.out_of_time:
            search.optimize(study.objective, n_trials=1)
        predict = study.refit()
    with job.timed("predict"):
        answer = predict(X_test)
    if job.problem == "binary":
        answer = np.column_stack([1 - answer, answer])
    job.answer(answer, trials=len(search.trials), params=study.best_params)


if __name__ == "__main__":
    main()

"""train: from prepared rows to a leader, every trial on record."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ratchet import files, lineage, tracking
from ratchet.errors import RatchetError
from ratchet.features import as_features
from ratchet.lineage import Lineage
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.search import TrialResult
from ratchet.steps import origin, prepare
from ratchet.tracking import File, LoggedModel, Param, Score, Tag
from ratchet.trainer import Training, train

logger = logging.getLogger(__name__)

ROWS_FILE = "rows.npy"
"""Hashes of the rows that the model was fitted on, sorted: a later comparison leaves them out."""

# Rows that show a client what to send.
EXAMPLE_ROWS = 3


@dataclass(frozen=True)
class Code:
    """The code that trained a model, as far as it is recorded."""

    commit: str | None
    """The commit that was checked out; None without one."""
    dirty: bool | None
    """Whether the code differed from the commit; None when git can't tell."""
    patch_whole: bool
    """Whether the run holds every difference."""
    reason: str
    """Why something is unknown, in a clause; empty otherwise."""

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Self:
        """Read what the tags of any run say, also of one that this project didn't train."""
        dirty = {"true": True, "false": False}.get(tags.get("ratchet.dirty", ""))
        return cls(
            commit=tags.get("mlflow.source.git.commit"),
            dirty=dirty,
            patch_whole=False,
            reason="" if dirty is not None else "its run does not say whether the tree was clean",
        )


@dataclass(frozen=True)
class Leader:
    """The winner of one training, as ``build/train/leader.json`` keeps it."""

    run_id: str
    """Run that logged it."""
    model_uri: str
    """Where MLflow keeps its model, ``models:/m-…``."""
    name: str
    """Backend and family for people."""
    metric: str
    """Score that was optimised."""
    score: float
    """That score on the validation rows."""
    train_score: float
    """That score on the training rows."""
    baseline_score: float | None
    """That score of the baseline, on the validation rows."""
    params: dict[str, Any]
    """Hyperparameters, with what early stopping found."""
    threshold: float | None
    """Probability above which the positive class is said."""
    trial: int
    """Number of its trial."""
    n_trials: int
    """Trials of the search."""
    n_failed: int
    """Trials that failed."""
    n_rows: int
    """Rows the model was fitted on: train and valid."""
    seconds: float
    """Wall-clock time of the search and the refit."""
    code: Code
    """The code that trained it."""

    @classmethod
    def load(cls, project: Project) -> Self:
        """Read what train wrote.

        Raises
        ------
        RatchetError
            If train has not run, or another version of this project wrote it.
        """
        path = project.trained / "leader.json"
        value = files.read_json(path, made_by="train")
        try:
            return cls(**{**value, "code": Code(**value["code"])})
        except (TypeError, KeyError):
            raise RatchetError(
                f"{path} was written by another version of this project. Run the step train again."
            ) from None


def run(project: Project, on_trial: Callable[[TrialResult], None] = lambda _: None) -> Leader:
    """Search for the best model and write it to ``build/train``.

    Parameters
    ----------
    project : Project
        What to train.
    on_trial : callable
        Is told of every trial as it ends.

    Raises
    ------
    RatchetError
        If prepare has not run, or every trial failed.
    StoreError
        If MLflow's store fails.
    """
    started = time.monotonic()
    tracking.connect(project)
    schema = Schema.load(project.prepared / "schema.json")
    train_rows, valid_rows = (prepare.read_part(project, name) for name in ("train", "valid"))
    logger.info(
        "train: %s problem, %s + %s rows, %s columns",
        schema.problem,
        f"{len(train_rows):,}",
        f"{len(valid_rows):,}",
        len(schema.columns),
    )
    with tracking.run(project, "train") as run_id:
        source = origin.of(project, origin.read_data(project))
        origin.record(run_id, project, source)
        tracking.write(run_id, prepare.inputs(project, schema, train=train_rows, valid=valid_rows))
        tracking.write(run_id, _link_to_prepare(project, source.data_version))
        training = train(train_rows, valid_rows, schema, project.settings, on_trial)
        logged = _as_logged(training, schema, train_rows)
        uri = tracking.log_model(logged)
        leader = _leader(training, run_id, uri, source)
        with files.whole_folder(project.trained) as folder:
            files.write_json(folder / "leader.json", asdict(leader))
            trial_table(training.trials).to_parquet(folder / "trials.parquet", index=False)
            _best_so_far(training).to_csv(folder / "search.csv", index=False)
            seen = np.concatenate([rows[prepare.ROW] for rows in (train_rows, valid_rows)])
            np.save(folder / ROWS_FILE, np.unique(seen), allow_pickle=False)
            tracking.save_model(logged, folder / "model")
            tracking.save_model(
                _as_logged(training, schema, train_rows, baseline=True), folder / "baseline"
            )
        _record(project, training, leader, time.monotonic() - started)
    logger.info(
        "train: %d trials in %.0f s (%d failed), leader %s valid/%s %.4g",
        leader.n_trials,
        leader.seconds,
        leader.n_failed,
        leader.name,
        leader.metric,
        leader.score,
    )
    return leader


def trial_table(trials: tuple[TrialResult, ...]) -> pd.DataFrame:
    """Lay out trials as a table, one row each."""
    return pd.DataFrame(
        [
            {
                "number": trial.number,
                "backend": trial.candidate.backend,
                "family": trial.candidate.family,
                "params": json.dumps(trial.candidate.params, sort_keys=True),
                "score": trial.score,
                "train_score": trial.train_score,
                "seconds": trial.seconds,
                "elapsed": trial.elapsed,
                "threshold": trial.threshold,
                "error": trial.error,
            }
            for trial in trials
        ]
    ).astype({"threshold": "float64", "error": "str"})


def _as_logged(
    training: Training, schema: Schema, rows: pd.DataFrame, *, baseline: bool = False
) -> LoggedModel:
    return LoggedModel(
        model=training.baseline_model if baseline else training.model,
        schema=schema,
        example=as_features(rows, schema).head(EXAMPLE_ROWS),
        trusted_types=training.trusted_types,
        requirements=tuple(
            f"{name}=={version}" for name, version in lineage.library_versions(training.packages)
        ),
    )


def _leader(training: Training, run_id: str, uri: str, source: Lineage) -> Leader:
    best = training.leader
    return Leader(
        run_id=run_id,
        model_uri=uri,
        name=best.candidate.label,
        metric=training.metric.name,
        score=best.score,
        train_score=best.train_score,
        baseline_score=None if training.baseline is None else training.baseline.score,
        params=dict(best.refit_params or best.candidate.params),
        threshold=best.threshold,
        trial=best.number,
        n_trials=len(training.trials),
        n_failed=sum(trial.error is not None for trial in training.trials),
        n_rows=training.n_rows,
        seconds=training.seconds,
        code=Code(source.commit, source.dirty, source.patch_whole, source.code_reason),
    )


def _link_to_prepare(project: Project, version: str) -> list[Tag]:
    found = tracking.find(project, {tracking.STEP_TAG: "prepare", "ratchet.data_version": version})
    return [Tag("ratchet.prepare_run", found)] if found else []


def _record(project: Project, training: Training, leader: Leader, seconds: float) -> None:
    """Write what came out to the run, and the best trials as its children."""
    metric = training.metric
    done = [trial for trial in training.trials if trial.error is None]
    ranked = sorted(done, key=lambda trial: metric.loss(trial.score))
    curve = _best_so_far(training)
    tracking.write(
        leader.run_id,
        [
            Param("leader", leader.name),
            *(Param(f"leader.{name}", value) for name, value in leader.params.items()),
            Score(f"valid/{metric.name}", leader.score),
            Score(f"train/{metric.name}", leader.train_score),
            *(
                [Score(f"baseline/valid/{metric.name}", leader.baseline_score)]
                if leader.baseline_score is not None
                else []
            ),
            Score("search/trials", leader.n_trials),
            Score("search/failed_trials", leader.n_failed),
            Score("search/seconds", leader.seconds),
            Score("train/seconds", seconds),
            *(
                Score(f"search/best_{metric.name}", best, trial)
                for trial, best in zip(curve["trial"], curve["best"], strict=True)
            ),
            File(_in(project, "trials.parquet")),
            File(_in(project, "leader.json")),
            File(_in(project, ROWS_FILE)),
        ],
    )
    tracking.write_trials(leader.run_id, ranked[: project.settings.tracking.trials], metric.name)
    tracking.rename(leader.run_id, f"train · {leader.name} · {metric.name} {leader.score:.4g}")


def _best_so_far(training: Training) -> pd.DataFrame:
    """Follow the best score from trial to trial; failed ones leave it as it was."""
    scores = pd.Series([trial.score for trial in training.trials], dtype="float64")
    best = scores.cummax() if training.metric.maximize else scores.cummin()
    return pd.DataFrame({"trial": range(len(scores)), "best": best.ffill()}).dropna()


def _in(project: Project, name: str) -> Path:
    return project.trained / name

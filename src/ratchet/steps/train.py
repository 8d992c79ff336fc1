"""train: from prepared rows to a leader, every trial on record."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ratchet import (
    backends,
    clusters,
    conformal,
    derived,
    figures,
    files,
    lineage,
    runfile,
    tracking,
    trainer,
)
from ratchet.bench import Whole
from ratchet.course import Course, Record
from ratchet.errors import ClusterError, RatchetError
from ratchet.features import as_features
from ratchet.journal import Journal
from ratchet.lineage import Lineage
from ratchet.metrics import Metric
from ratchet.project import Project, alone
from ratchet.schema import Schema
from ratchet.search import Candidate, TrialResult
from ratchet.settings import flat
from ratchet.steps import notes, origin, parts, prepare, warmth
from ratchet.steps.parts import Part
from ratchet.tracking import File, LoggedModel, Param, Score, Tag, TrialWriter
from ratchet.trainer import Rival, Training

logger = logging.getLogger(__name__)

ROWS_FILE = "rows.npy"
"""Hashes of the rows that the model was fitted on, sorted: a later comparison leaves them out."""

SEARCH_FILE = "search.json"
"""What was tried, and all that a clock decided: ``run`` can replay it."""

PREPARE_TAG = "ratchet.prepare_run"
"""Tag that names the run whose rows the model was fitted on."""

RIVALS = "rivals"
"""Folder of models of the best of other families, which evaluate scores beside the leader."""

TRIALS_TABLE = "trials.csv"
"""Every trial as a table that MLflow's UI shows, the best first."""

FIGURES = "figures"
"""Folder of the pictures of the search."""

# Seconds of the budget that are kept for writing the model and the run; a share of a small one.
LOG_SECONDS = 4.0
LOG_SHARE = 0.1
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
    metric_reference: str
    """What params.yaml calls it, which for a function of the user's own is its import path."""
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
    n_folds: int
    """Fits of a trial; 1 for a holdout."""
    members: list[dict[str, Any]]
    """Candidates that answer together: name, weight, trial and params of each, what its models
    were fitted on, and where ``model.taken_apart`` gives them."""
    honest_score: float | None
    """The score on validation rows that the members were not chosen with either."""
    seconds: float
    """Wall-clock time of the search and the refit."""
    fit_seconds: list[float]
    """Wall-clock time of each member's fits on all rows."""
    calibrated: bool
    """Whether probabilities are mapped to frequencies."""
    rivals: list[dict[str, Any]]
    """The best of the next families, of which ``build/train/rivals`` has models: name and trial of
    each, and what its model was fitted on."""
    code: Code
    """The code that trained it."""
    sampled: int | None = None
    """Rows of the sample that was searched on; None where all of them fitted in memory."""

    @classmethod
    def load(cls, project: Project) -> Self:
        """Read what train wrote.

        Raises
        ------
        RatchetError
            If train has not run, or another version of this project wrote it.
        """
        path = project.trained / "leader.json"
        return files.read_as(
            path,
            lambda value: cls(**{**value, "code": Code(**value["code"])}),
            made_by="train",
        )


@alone
def run(
    project: Project,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    on_start: Callable[[Candidate], None] = lambda _: None,
    replay: Path | None = None,
) -> Leader:
    """Search for the best model and write it to ``build/train``.

    All of it, the writing to MLflow included, is done within
    ``train.search.budget_seconds``. A search that was interrupted goes on
    where it stopped. A replay has no budget, and neither reads nor keeps
    trials of an interrupted search.

    Parameters
    ----------
    project : Project
        What to train.
    on_trial : callable
        Is told of every trial as it ends.
    on_phase : callable
        Is told what begins after the search: ``"ensemble"``, ``"refit"``, ``"log"``.
    on_start : callable
        Is told of every candidate that is tried, as that begins; maybe from
        several threads.
    replay : Path, optional
        The ``search.json`` of a search of the same rows and settings, which is
        made again as it was, without a look at a clock.

    Raises
    ------
    RatchetError
        If prepare has not run, every trial failed, or the search can't be
        replayed here.
    ClusterError
        If the workers of the search are gone; what had ended is kept.
    StoreError
        If MLflow's store fails.
    """
    started = time.monotonic()
    origin.require_clean(project)
    tracking.connect(project)
    schema = Schema.load(project.prepared / "schema.json")
    before = None if replay is None else Record.load(replay)
    learned = _Learned.of(project, None if before is None else before.course)
    train_rows, valid_rows = learned.train.frame(), learned.valid.frame()
    metric = trainer.metric_of(schema, project.settings)
    given = _given(project, learned)
    if before is not None:
        before.check(given, _searched(project))
    logger.info(
        "train: %s problem, %s + %s rows, %s columns",
        schema.problem,
        f"{learned.train.n_rows:,}",
        f"{learned.valid.n_rows:,}",
        len(schema.columns),
    )
    if learned.sampled is not None:
        logger.info("train: %s", learned.told(project))
    if before is not None:
        logger.info(
            "train: replay of %d trials of run %s", len(before.course.trials), before.run_id
        )
    starts = warmth.load(project) if before is None else before.starts
    if starts.found and before is None:
        logger.info("train: begins with the best trials of run %s", str(starts.run_id)[:8])
    journal = None if before else _journal(project)
    trials: list[TrialResult] = []

    def ended(trial: TrialResult) -> None:
        trials.append(trial)
        on_trial(trial)

    with (
        runfile.recorded(project, "train", project.trained) as (folder, run_id),
        TrialWriter(run_id, metric) as writer,
    ):
        source = origin.of(project, origin.read_data(project))
        origin.record(run_id, project, source)
        read = prepare.inputs(project, schema, learned.n_rows, train=train_rows, valid=valid_rows)
        tracking.write(run_id, read)
        tracking.write(run_id, _link_to_prepare(project, source.data_version))

        def began(phase: str) -> None:
            # The search is over: which trials are best is known.
            if phase in (trainer.ENSEMBLE, clusters.STABILITY):
                ranked = trainer.ranked(trials, metric)
                writer.write(ranked[: project.settings.tracking.trials])
            on_phase(phase)

        of_target = partial(
            trainer.train, groups=_groups(train_rows, valid_rows), whole=learned.whole(project)
        )
        try:
            training = (of_target if schema.problem.has_target else clusters.train)(
                train_rows,
                valid_rows,
                schema,
                project.settings,
                ended,
                began,
                on_start=on_start,
                deadline=_deadline(project, started),
                journal=journal,
                replay=None if before is None else before.course,
                starts=starts,
                on_place=lambda told: logger.info("train: %s", told),
            )
        except ClusterError:  # it is not over: with workers again it goes on
            raise
        except RatchetError:  # it came to its end: the next one has to try everything again
            _forget(journal)
            raise
        training = replace(
            training,
            course=replace(training.course, sampled=learned.sampled),
            n_sampled=None if learned.sampled is None else sum(learned.sampled),
        )
        on_phase("log")
        record = Record(run_id, given, _searched(project), training.course, starts, len(train_rows))
        # Before the model is logged, which takes over what its run says of its lineage.
        tracking.write(
            run_id,
            [*_params(training), *_repeatable(training, before), *warmth.tags(starts)],
        )
        record.save(folder / SEARCH_FILE)
        leader = _write(folder, run_id, training, schema, source, train_rows, learned)
        _record(project, folder, training, leader, time.monotonic() - started)
    _forget(journal)
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


def _write(
    folder: Path,
    run_id: str,
    training: Training,
    schema: Schema,
    source: Lineage,
    train_rows: pd.DataFrame,
    learned: "_Learned",
) -> Leader:
    """Write what the step leaves behind, and log the model."""
    tracking.save_model(_as_logged(training, training.model, schema, train_rows), folder / "model")
    constant = _as_logged(training, training.baseline_model, schema, train_rows)
    tracking.save_model(
        replace(constant, modules=derived.modules(schema.derived)), folder / "baseline"
    )
    rivals = [each for each in training.rivals if _is_saved(each, folder, schema, train_rows)]
    uri = tracking.log_saved_model(run_id, folder / "model", _scores(training))
    leader = _leader(replace(training, rivals=tuple(rivals)), run_id, uri, source)
    files.write_json(folder / "leader.json", asdict(leader))
    table = trial_table(training.trials)
    table.to_parquet(folder / "trials.parquet", index=False)
    readable(table, training.metric).to_csv(folder / TRIALS_TABLE, index=False, float_format="%.7g")
    _best_so_far(training).to_csv(folder / "search.csv", index=False)
    seen = np.concatenate([learned.train.hashes, learned.valid.hashes])
    files.write_bytes(folder / ROWS_FILE, files.as_npy(np.unique(seen)))
    if training.conformal is not None:
        training.conformal.save(folder / conformal.FILE)
    figures.draw(
        folder / FIGURES,
        table,
        training.metric,
        [
            figures.Member(member.trial.candidate.label, member.weight, member.trial.curve)
            for member in training.members
        ],
    )
    return leader


def _is_saved(rival: Rival, folder: Path, schema: Schema, rows: pd.DataFrame) -> bool:
    """Write a rival's model if it can be written: the leader's is what counts."""
    name = rival.trial.candidate.label
    place = folder / RIVALS / name
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        tracking.save_model(_as_logged(rival, rival.model, schema, rows), place)
    except Exception as error:  # any estimator may fail in any way
        shutil.rmtree(place, ignore_errors=True)
        logger.warning("train: %s can't be compared with the leader: %s", name, error)
        return False
    return True


def _deadline(project: Project, started: float) -> float | None:
    """Give the time at which the model must be there, so that it can be logged in the budget."""
    seconds = project.settings.train.search.budget_seconds
    if seconds is None:
        return None
    return started + seconds - min(LOG_SECONDS, LOG_SHARE * seconds)


def _groups(*parts: pd.DataFrame) -> np.ndarray | None:
    if not all(prepare.CLUSTER in part for part in parts):
        return None
    return np.concatenate([part[prepare.CLUSTER].to_numpy() for part in parts])


@dataclass(frozen=True)
class _Learned:
    """The rows that are learned from: all of them, or samples where they don't fit in memory."""

    train: Part
    valid: Part

    @classmethod
    def of(cls, project: Project, before: Course | None) -> "_Learned":
        """Look at the parts; a replay takes samples as large as those of the search before."""
        if before is None:
            return cls(*(parts.part(project, name) for name in ("train", "valid")))
        n_train, n_valid = before.sampled or (0, 0)
        return cls(
            parts.part(project, "train", n_sample=n_train),
            parts.part(project, "valid", n_sample=n_valid),
        )

    @property
    def n_rows(self) -> dict[str, int]:
        return {"train": self.train.n_rows, "valid": self.valid.n_rows}

    @property
    def sampled(self) -> tuple[int, int] | None:
        """Rows of the samples; None where all rows are in memory."""
        if self.train.places is None and self.valid.places is None:
            return None
        n_train, n_valid = (
            each.n_rows if each.places is None else len(each.places)
            for each in (self.train, self.valid)
        )
        return n_train, n_valid

    def whole(self, project: Project) -> Whole | None:
        if self.sampled is None:
            return None
        return Whole(self.train.stored, self.valid.stored, project.build)

    def told(self, project: Project) -> str:
        """Say what is learned on a sample and what on all rows."""
        assert self.sampled is not None
        n_train, n_valid = self.sampled
        execution = project.settings.execution
        address = execution.address
        megabytes = (self.train.stored.n_bytes + self.valid.stored.n_bytes) / 2**20
        streaming = [
            name
            for name in backends.available()
            if backends.get(name, project.settings.train.backends.get(name)).takes_batches(
                execution
            )
        ]
        return (
            f"the rows take {megabytes:,.0f} MB and their copies do not fit in memory"
            f" (data.memory_limit_mb): the families learn on a sample of {n_train:,} rows,"
            f" {n_valid:,} choose among them, and {' or '.join(streaming)} learns on all rows"
            f" {'from disk' if address is None else f'over the cluster at {address}'}"
        )


def _given(project: Project, learned: _Learned) -> dict[str, str]:
    """Digest what prepare has written: values, in whatever form a library wrote them."""
    schema = (project.prepared / "schema.json").read_bytes()
    return {
        "train rows": _digest(learned.train),
        "valid rows": _digest(learned.valid),
        "schema": hashlib.sha256(schema).hexdigest()[:16],
    }


def _digest(part: Part) -> str:
    digest = hashlib.sha256()
    # One after the other, as all columns may not fit in memory.
    for name in part.stored.names:
        column = part.stored.column(name)
        digest.update(f"{name} {column.dtype} {len(column)};".encode())
        plain = isinstance(column.dtype, np.dtype) and column.dtype != object
        values = column if plain else pd.util.hash_pandas_object(column, index=False)
        digest.update(values.to_numpy().tobytes())
    return digest.hexdigest()[:16]


def _searched(project: Project) -> dict[str, Any]:
    """Give the settings that decide what is searched, but for how long.

    The options of backends may hold what is nobody's business: of them there is
    a digest only.
    """
    chosen = {
        name: value
        for name, value in flat(project.settings).items()
        if name.startswith(("seed", "split.", "train.")) and not name.startswith("train.search.")
    }
    options = json.dumps(chosen.pop("train.backends"), sort_keys=True, default=repr)
    digest = hashlib.sha256(options.encode()).hexdigest()[:16]
    return {**chosen, "train.backends": f"sha256:{digest}" if options != "{}" else {}}


def _repeatable(training: Training, before: Record | None) -> list[Tag]:
    """Say whether the run can be made again bit for bit, and what came of it if it was one."""
    doubts = training.course.doubts
    tags = [Tag("ratchet.deterministic", "false" if doubts else "true")]
    if doubts:
        told = "; ".join(f"{name}: {reason}" for name, reason in doubts.items())
        tags.append(Tag("ratchet.not_deterministic", told))
    if before is not None:
        differences = before.course.differences(training.course)
        for each in differences:
            logger.warning("train: the replay is not the same: %s", each)
        tags += [
            Tag("ratchet.replay_of", before.run_id),
            Tag("ratchet.replay", "; ".join(differences) or "the same"),
        ]
    return tags


def _journal(project: Project) -> Journal:
    """Find where trials are kept of just this search: the same rows, settings and code.

    The budget is not part of it: who gives an interrupted search more time
    wants it to go on.
    """
    choices = project.settings.model_dump(mode="json")
    searched = {name: choices[name] for name in ("seed", "split", "train")}
    for name in ("budget_seconds", "max_trials", "resume"):
        del searched["train"]["search"][name]
    digest = hashlib.sha256(json.dumps(searched, sort_keys=True, default=repr).encode())
    for name in ("train.parquet", "valid.parquet", "schema.json"):
        with (project.prepared / name).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    digest.update(json.dumps(warmth.load(project).plain(), default=repr).encode())
    for path in sorted((project.root / "src").rglob("*.py")):
        digest.update(path.read_bytes())
    for name, version in lineage.library_versions(backends.packages()):
        digest.update(f"{name}=={version}".encode())
    journal = Journal(project.build / "search" / digest.hexdigest()[:16])
    if not project.settings.train.search.resume:
        journal.forget()
    return journal


def _forget(journal: Journal | None) -> None:
    if journal is None:
        return
    journal.forget()
    with suppress(OSError):  # other searches may be kept beside it
        journal.folder.parent.rmdir()


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
                "share": trial.candidate.share,
                "cut_short": trial.cut_short,
                "resumed": trial.resumed,
                "threshold": trial.threshold,
                "error": trial.error,
            }
            for trial in trials
        ]
    ).astype({"threshold": "float64", "error": "str"})


def readable(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Lay out the table of trials for a reader, under the names that runs of trials have."""
    shown = {
        "trial": table["number"] + 1,
        "family": table["family"],
        f"valid/{metric.name}": table["score"],
        f"train/{metric.name}": table["train_score"],
        "seconds": table["seconds"].round(2),
        "share of the rows": table["share"].round(4),
        "params": table["params"],
        "error": table["error"],
        "backend": table["backend"],
    }
    losses = table["score"].map(metric.loss).where(table["error"].isna())
    return pd.DataFrame(shown).loc[losses.sort_values(kind="stable").index]


def _as_logged(
    needs: Training | Rival, model: Any, schema: Schema, rows: pd.DataFrame
) -> LoggedModel:
    return LoggedModel(
        model=model,
        schema=schema,
        example=as_features(rows, schema).head(EXAMPLE_ROWS),
        trusted_types=needs.trusted_types,
        requirements=tuple(
            f"{name}=={version}" for name, version in lineage.library_versions(needs.packages)
        ),
        modules=needs.modules,
    )


def _leader(training: Training, run_id: str, uri: str, source: Lineage) -> Leader:
    best = training.leader
    return Leader(
        run_id=run_id,
        model_uri=uri,
        name=training.name,
        metric=training.metric.name,
        metric_reference=training.metric.reference,
        score=training.score,
        train_score=training.train_score,
        baseline_score=None if training.baseline is None else training.baseline.score,
        params=dict(best.refit_params or best.candidate.params),
        threshold=training.threshold,
        trial=best.number,
        n_trials=len(training.trials),
        n_failed=sum(trial.error is not None for trial in training.trials),
        n_rows=training.n_rows,
        n_folds=training.n_folds,
        members=[
            {
                "name": member.trial.candidate.label,
                "weight": member.weight,
                "trial": member.trial.number,
                "params": dict(member.trial.refit_params or member.trial.candidate.params),
                "n_rows": member.n_rows,
                "refitted": member.refitted,
                "places": list(member.places),
                "interpretability": member.interpretability.value,
            }
            for member in training.members
        ],
        honest_score=training.honest_score,
        seconds=training.seconds,
        fit_seconds=[member.seconds for member in training.members],
        calibrated=training.calibrated,
        rivals=[
            {
                "name": rival.trial.candidate.label,
                "trial": rival.trial.number,
                "n_rows": rival.n_rows,
                "interpretability": rival.interpretability.value,
            }
            for rival in training.rivals
        ],
        code=Code(source.commit, source.dirty, source.patch_whole, source.code_reason),
        sampled=training.n_sampled,
    )


def _link_to_prepare(project: Project, version: str) -> list[Tag]:
    found = prepare.run_of(project) or tracking.find(
        project, {tracking.STEP_TAG: "prepare", "ratchet.data_version": version}
    )
    return [Tag(PREPARE_TAG, found)] if found else []


def _params(training: Training) -> list[Param]:
    """Name the best parameters, and those of each member."""
    best = training.leader
    found = best.refit_params or best.candidate.params
    items = [
        Param("leader", training.name),
        Param(
            "leader.validation", "holdout" if training.n_folds == 1 else f"{training.n_folds} folds"
        ),
        *(Param(f"leader.{name}", value) for name, value in found.items()),
    ]
    if training.n_sampled is not None:
        items.append(Param("leader.sampled_rows", training.n_sampled))
    if len(training.members) > 1:
        for place, member in enumerate(training.members, start=1):
            items += [
                Param(f"leader.member_{place}.family", member.trial.candidate.label),
                Param(f"leader.member_{place}.weight", f"{member.weight:.4g}"),
                Param(f"leader.member_{place}.trial", member.trial.number + 1),
            ]
    return items


def _scores(training: Training) -> list[Score]:
    name = training.metric.name
    scores = [Score(f"valid/{name}", training.score), Score(f"train/{name}", training.train_score)]
    if training.baseline is not None:
        scores.append(Score(f"baseline/valid/{name}", training.baseline.score))
    return [*scores, *(Score(each, value) for each, value in training.more.items())]


def _record(
    project: Project, folder: Path, training: Training, leader: Leader, seconds: float
) -> None:
    """Write what came out to the run."""
    metric = training.metric
    models = [member.trial.candidate.label for member in training.members]
    curve = _best_so_far(training)
    tracking.write(
        leader.run_id,
        [
            Score(f"valid/{metric.name}_cross_fitted", training.honest_score),
            Score("search/trials", leader.n_trials),
            Score("search/failed_trials", leader.n_failed),
            Score("search/resumed_trials", sum(trial.resumed for trial in training.trials)),
            Score("search/members", len(training.members)),
            Score("search/seconds", leader.seconds),
            Score("train/seconds", seconds),
            *(
                Score(f"search/best_{metric.name}", best, trial)
                for trial, best in zip(curve["trial"], curve["best"], strict=True)
            ),
            *(
                point
                for name, member in zip(
                    curve_names(metric.name, models), training.members, strict=True
                )
                for point in tracking.learning_curve(name, member.trial.curve, metric)
            ),
            notes.of_train(project, leader),
            File(folder / SEARCH_FILE),
            File(folder / TRIALS_TABLE),
            File(folder / "trials.parquet"),
            File(folder / "leader.json"),
            File(folder / ROWS_FILE),
            File(folder / FIGURES, FIGURES),
            *([File(folder / conformal.FILE)] if training.conformal else []),
        ],
    )
    tracking.rename(leader.run_id, tracking.run_name(models, metric, training.score, step="train"))


def curve_names(metric: str, models: Sequence[str]) -> list[str]:
    """Name the learning curves of members so that those of two trainings share a chart.

    Examples
    --------
    >>> curve_names("rmse", ["lightgbm", "xgboost", "lightgbm"])
    ['curve/rmse/lightgbm', 'curve/rmse/xgboost', 'curve/rmse/lightgbm_2']
    """
    names = []
    for place, model in enumerate(models):
        before = models[:place].count(model)
        names.append(f"curve/{metric}/{model}{f'_{before + 1}' if before else ''}")
    return names


def _best_so_far(training: Training) -> pd.DataFrame:
    """Follow the best score from trial to trial; failed ones leave it as it was."""
    scores = pd.Series([trial.score for trial in training.trials], dtype="float64")
    best = scores.cummax() if training.metric.maximize else scores.cummin()
    return pd.DataFrame({"trial": range(len(scores)), "best": best.ffill()}).dropna()

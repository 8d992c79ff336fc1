"""What runs have recorded, read back; nothing is written to the store."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.tracking import LEADER_TAG, PARENT_TAG, STEP_TAG

# From a promotion to its pipeline, from there to the training.
_MOST_STEPS = 4


@dataclass(frozen=True)
class Table:
    """A table that a run has read."""

    context: str
    """What it was for: training, validation or test."""
    version: str
    """Its digest."""
    rows: int | None
    """How many rows it had, where the run says."""
    columns: tuple[tuple[str, str], ...]
    """Name and MLflow type of each column; empty where the run doesn't say."""


@dataclass(frozen=True)
class Record:
    """A run of any kind."""

    run_id: str
    """Its id."""
    name: str
    """Its name."""
    step: str
    """What made it, e.g. ``"train"``; empty when this project didn't."""
    started: str
    """When it began, in UTC as ISO 8601."""
    params: Mapping[str, str]
    """Its params."""
    tags: Mapping[str, str]
    """Its tags."""
    metrics: Mapping[str, float]
    """The last value of each of its metrics."""
    tables: tuple[Table, ...]
    """What it has read."""
    models: tuple[str, ...]
    """Ids of the models that it has logged, in their order."""


def read(run_id: str) -> Record | None:
    """Read a run; None when the store hasn't got it.

    Raises
    ------
    StoreError
        If the store fails.
    """
    with tracking.translated():
        try:
            return _record(mlflow.MlflowClient().get_run(run_id))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None


def training_of(run_id: str) -> Record:
    """Find the training that a run belongs to.

    That of a pipeline, an evaluation or a promotion is the one whose leader it
    is about, that of a trial the one whose search made it. A run of another
    project, which has a model, is its own.

    Raises
    ------
    StoreError
        If there is none, or the store fails.
    """
    asked = run_id
    for _ in range(_MOST_STEPS):
        found = read(run_id)
        if found is None:
            break
        if found.step == "train" or (not found.step and found.models):
            return found
        child = _training_in(found.run_id)
        above = found.tags.get(LEADER_TAG) or child or found.tags.get(PARENT_TAG)
        if not above:
            raise StoreError(
                f"Run {asked} is a {found.step or 'run'} without a model, and belongs to no"
                " training. Name a run that has trained or judged one."
            )
        run_id = above
    raise StoreError(f"The training that run {asked} belongs to is not in the store: {run_id}.")


def download(run_id: str, name: str, folder: Path) -> Path | None:
    """Copy an artifact of a run into a folder; None where the run hasn't got it.

    Raises
    ------
    StoreError
        If the store fails.
    """
    into = folder / run_id
    into.mkdir(parents=True, exist_ok=True)
    try:
        return Path(mlflow.MlflowClient().download_artifacts(run_id, name, str(into)))
    except (MlflowException, OSError):
        return None


def download_model(model_id: str, folder: Path) -> Path:
    """Copy a logged model into a folder: MLflow writes a note beside what it hands out.

    Raises
    ------
    StoreError
        If it isn't there, or the store fails.
    """
    with tracking.translated():
        try:
            return Path(
                mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(folder))
            )
        except OSError as error:
            raise StoreError(f"The model {model_id} is gone: {error}.") from error


def series(run_id: str, name: str) -> tuple[tuple[int, float], ...]:
    """Read every step and value of a metric, in the order of the steps.

    Raises
    ------
    StoreError
        If the store fails.
    """
    with tracking.translated():
        points = mlflow.MlflowClient().get_metric_history(run_id, name)
    return tuple(sorted((point.step, point.value) for point in points))


def _record(run: Run) -> Record:
    tags = dict(run.data.tags)
    return Record(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        step=tags.get(STEP_TAG, ""),
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(
            timespec="seconds"
        ),
        params=dict(run.data.params),
        tags=tags,
        metrics=dict(run.data.metrics),
        tables=tuple(map(_table, run.inputs.dataset_inputs if run.inputs else ())),
        models=tuple(each.model_id for each in (run.outputs.model_outputs if run.outputs else ())),
    )


def _table(read: mlflow.entities.DatasetInput) -> Table:
    tags = {tag.key: tag.value for tag in read.tags}
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    with suppress(ValueError, TypeError, AttributeError, KeyError):  # another program wrote it
        rows = json.loads(read.dataset.profile or "{}").get("num_rows")
        columns = tuple(
            (str(each["name"]), str(each["type"]))
            for each in json.loads(read.dataset.schema or "{}").get("mlflow_colspec", ())
        )
    return Table(tags.get("mlflow.data.context", ""), read.dataset.digest, rows, columns)


def _training_in(run_id: str) -> str | None:
    """Find the newest training among the runs that a run has started."""
    client = mlflow.MlflowClient()
    with tracking.translated():
        place = client.get_run(run_id).info.experiment_id
        found = client.search_runs(
            [place],
            f"tags.`{PARENT_TAG}` = '{run_id}' and tags.`{STEP_TAG}` = 'train'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
    return str(found[0].info.run_id) if found else None

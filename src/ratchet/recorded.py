"""What runs have recorded, read back; nothing is written to the store."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.tracking import LEADER_TAG, PARENT_TAG, STEP_TAG

# From a promotion to its pipeline, from there to the training: no way is longer.
_HOPS = 4


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
    found = tracking.read(run_id)
    return None if found is None else _record(found)


def training_of(run_id: str) -> Record:
    """Find the training that a run belongs to.

    That of a pipeline, an evaluation or a decision is the one whose leader it
    is about, that of a trial the one whose search made it. A run that this
    project did not make is its own, unless it has no model and lies below one
    that belongs to a training.

    Raises
    ------
    StoreError
        If there is none, such as where prepare ran by itself, or the store fails.
    """
    here = run_id
    for _ in range(_HOPS):
        about = "" if here == run_id else f" about run {here},"
        found = read(here)
        if found is None:
            which = f"{about} which is" if about else ""
            where = tracking.masked(mlflow.get_tracking_uri())
            raise StoreError(f"Run {run_id} is{which} not in the store {where}.")
        if found.step == "train" or (not found.step and found.models):
            return found
        named = found.tags.get(LEADER_TAG) or _training_below(here) or found.tags.get(PARENT_TAG)
        if not named and not found.step:
            return found
        if not named:
            raise StoreError(
                f"Run {run_id} is{about} a run of {found.step}, which has no model and belongs to"
                " no training. Name a run that has trained or judged one."
            )
        here = named
    raise StoreError(f"Run {run_id} names no run that trained a model.")


def neighbours(run_id: str, tags: Mapping[str, str], *, finished: bool = True) -> list[str]:
    """List runs that carry all ``tags``, in the experiment of a run, the newest first.

    Parameters
    ----------
    run_id : str
        A run of the experiment.
    tags : mapping of str to str
        What they carry.
    finished : bool
        Whether only those count that came to a good end.

    Raises
    ------
    StoreError
        If the store fails, or has no such run.
    """
    conditions = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    if finished:
        conditions.append("attributes.status = 'FINISHED'")
    client = mlflow.MlflowClient()
    with tracking.translated():
        found = client.search_runs(
            [client.get_run(run_id).info.experiment_id],
            " and ".join(conditions),
            order_by=["attributes.start_time DESC"],
        )
    return [str(each.info.run_id) for each in found]


def download(run_id: str, name: str, folder: Path) -> Path | None:
    """Copy an artifact of a run, a file or a folder, into the run's own folder below ``folder``.

    Returns
    -------
    Path or None
        The copy; None where the run hasn't got it, or it can't be had.
    """
    into = folder / run_id
    into.mkdir(parents=True, exist_ok=True)
    try:
        return Path(mlflow.MlflowClient().download_artifacts(run_id, name, str(into)))
    except (MlflowException, OSError):
        return None


def example_of(uri: str, folder: Path) -> pd.DataFrame | None:
    """Read the rows that a model was saved with to show what it takes; None without any.

    Raises
    ------
    StoreError
        If there is no such model.
    """
    place = tracking.fetch(uri, folder)
    found = mlflow.models.Model.load(str(place)).load_input_example(str(place))
    return found if isinstance(found, pd.DataFrame) else None


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
        models=tracking.model_ids(run),
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


def _training_below(run_id: str) -> str | None:
    """Find the newest training that a run has started, a finished one if there is one."""
    tags = {PARENT_TAG: run_id, STEP_TAG: "train"}
    below = neighbours(run_id, tags) or neighbours(run_id, tags, finished=False)
    return below[0] if below else None

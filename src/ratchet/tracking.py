"""Write to and read from MLflow runs."""

import json
import logging
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import mlflow
import numpy as np
import pandas as pd
import requests
from mlflow.data.dataset_source_registry import get_registered_sources, register_dataset_source
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Run,
    RunTag,
)
from mlflow.entities import Metric as MlflowMetric
from mlflow.entities import Param as MlflowParam
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from ratchet import files, hooked, packaged, processes, sources, vetting
from ratchet.dvc_source import DvcDatasetSource, uri_of
from ratchet.errors import InterruptionError, RatchetError, StoreError
from ratchet.gates import decimals, shown
from ratchet.interrupts import held_back, terminated_as_interrupt
from ratchet.lineage import place
from ratchet.metrics import Metric
from ratchet.processes import Life, Process
from ratchet.project import Project, masked, tracking_uri
from ratchet.schema import Kind, Schema
from ratchet.search import TrialResult

PARENT_TAG = "mlflow.parentRunId"
STEP_TAG = "ratchet.step"
NOTE_TAG = "mlflow.note.content"
"""Tag that the UI shows as the description of a run or an experiment, in Markdown."""
TEST_TAG = "ratchet.test_rows"
"""Tag of an evaluation that names the test rows."""
LEADER_TAG = "ratchet.leader_run"
"""Tag of an evaluation that names the run whose model it judged."""
USES_SCORE = "test/uses_before"
"""Score of an evaluation: how many other models the test rows had judged before."""

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Codes of MLflow's errors for an id or a name that it hasn't got."""

UNSEEN = (*ABSENT, "PERMISSION_DENIED")
"""The same for a run or a logged model: a server that knows its users forbids what it hasn't got,
so that nobody learns what others have."""

UNKNOWN_USER = 401
"""HTTP's answer to whoever gave no name, or a wrong password."""

LOG_IN = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what"
    " whoever runs it has given you."
)
"""What to do about a server that wants to know who asks."""

# Points of a learning curve: a chart is not wide enough to show more.
CURVE_POINTS = 100

MODEL_NAME = "model"
"""Name of a run's model among its logged models."""

# Models that a run's name lists: more would push its score out of the UI's column.
_NAMED_MODELS = 3

# MLflow takes at most 100 params, 100 tags and 1,000 metrics at once.
_BATCH = 100
# Runs that are looked at before a command begins, for those that were left open.
_LEFT_OPEN = f"attributes.status = 'RUNNING' and tags.`{processes.TAG}` LIKE '% on %'"
_MOST_LEFT = 1000
# Experiment that a run gets into which is told none.
_DEFAULT = "0"
# Seconds after which a tracking server that doesn't answer counts as dead.
_PATIENCE = 10
# Seconds for which a database server is waited for that was there before: it may be restarted.
_RESTART = 30
_AT_ONCE: ContextVar[bool] = ContextVar("at_once", default=False)
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# Seconds between two readings of processor, memory and disk.
_SYSTEM_INTERVAL = 5


@dataclass(frozen=True)
class Param:
    """A choice that was made before the run."""

    name: str
    """Dotted path of ``params.yaml``, or a name of the run's own."""
    value: Any
    """Anything with a text form."""


@dataclass(frozen=True)
class Score:
    """A number that came out."""

    name: str
    """Such as ``test/rmse``."""
    value: float
    """The number; NaN and infinities are left out, which MLflow's charts can't draw."""
    step: int = 0
    """Place on the x axis of its chart."""
    at: int | None = None
    """When it came out, in milliseconds since 1970; None for now."""


@dataclass(frozen=True)
class Tag:
    """A word about the run."""

    name: str
    """Such as ``ratchet.step``."""
    value: str
    """Its value."""


@dataclass(frozen=True)
class File:
    """A file or folder that belongs to the run."""

    path: Path
    """Where it lies now."""
    folder: str | None = None
    """Artifact folder to put it in; None for the top."""


@dataclass(frozen=True)
class Input:
    """A table that the run read."""

    name: str
    """Its name in the UI."""
    frame: pd.DataFrame
    """The rows."""
    source: Path
    """Where they came from."""
    digest: str
    """At most 36 characters that say which version."""
    context: str
    """What it was for: training, validation or test."""
    target: str | None = None
    """Name of the target column."""
    in_dvc: bool = False
    """Whether DVC has recorded the source as the version that the digest says."""
    n_rows: int | None = None
    """How many rows there are, where ``frame`` has only some of them."""


# The entry point does this where the package is installed, and nothing where it is run from src/.
if DvcDatasetSource not in get_registered_sources():
    register_dataset_source(DvcDatasetSource)  # type: ignore[arg-type]  # it wants the class


Item = Param | Score | Tag | File | Input


@dataclass(frozen=True)
class LoggedModel:
    """A model to be logged, with all that says how to use it."""

    model: Any
    """The scikit-learn object."""
    schema: Schema
    """Its columns."""
    example: pd.DataFrame
    """A few rows as a client would send them."""
    trusted_types: tuple[str, ...]
    """Classes in it that skops may load."""
    requirements: tuple[str, ...]
    """Exact pins, such as ``scikit-learn==1.9.1``."""
    modules: tuple[str, ...] = ()
    """Modules of the user's own without which it can't be loaded; their code travels with it."""


def connect(project: Project) -> str:
    """Point MLflow at the project's store and make sure that it answers.

    A run that a process has left open which is gone, by ``kill -9`` or with
    its machine, is marked KILLED.

    Returns
    -------
    str
        The tracking URI.

    Raises
    ------
    StoreError
        If it doesn't answer.
    """
    uri = tracking_uri(project)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # A database that fails is told by us; this would print the traceback of what it raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # Within a pipeline the store was there, and is waited for as any other request waits.
    first = mlflow.active_run() is None
    if uri.startswith(("http://", "https://")):
        if first:
            _knock(uri)
        # A server that dies later is waited for half a minute, not MLflow's ten.
        os.environ.setdefault(_RETRIES, "4")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    elif re.split("[:+]", uri)[0] in DATABASE_ENGINES:
        if first:
            _open(uri)
        if not event.contains(Engine, "do_connect", _connected):
            event.listen(Engine, "do_connect", _connected)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Else a client of a server prints two addresses at the end of each run, trials included.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with translated():
        mlflow.MlflowClient().search_experiments(max_results=1)
        _close_abandoned(project)
    return uri


def opened() -> dict[str, str]:
    """Give the tag by which others see whether the process that opens a run still lives."""
    return {processes.TAG: Process.here().text}


@contextmanager
def run(
    project: Project, step: str, *, parent: str | None = None, name: str | None = None
) -> Iterator[str]:
    """Hold the run of one step open for the length of the block.

    Under ``mlflow run`` the run that it made is continued; inside another
    run of this process, or with ``parent``, the new one is nested. A block
    that ends well leaves it FINISHED, an exception FAILED, an interruption
    KILLED.

    Yields
    ------
    str
        Id of the run.

    Raises
    ------
    StoreError
        If the store fails.
    InterruptionError
        In place of Ctrl-C and SIGTERM.
    """
    with translated(), terminated_as_interrupt():
        run_id = _start(project, step, parent, name)
        try:
            yield run_id
        except (KeyboardInterrupt, InterruptionError):
            # Whoever is impatient, and gives Ctrl-C again, would leave the run open.
            with held_back():
                told = "; its run is marked KILLED" if _end("KILLED") else ""
            raise InterruptionError(f"{step} was interrupted{told}.") from None
        except StoreError:
            with _after_an_error():
                _end("FAILED")
            raise
        except BaseException:
            _end("FAILED")
            raise
        else:
            _end("FINISHED")


def write(run_id: str, items: Iterable[Item]) -> None:
    """Write ``items`` to a run, which may have ended, in few calls.

    Raises
    ------
    StoreError
        If the store fails.
    """
    client = mlflow.MlflowClient()
    params: list[MlflowParam] = []
    metrics: list[MlflowMetric] = []
    tags: list[RunTag] = []
    now = _milliseconds()
    with translated():
        for item in items:
            match item:
                case Param(name, value):
                    params.append(MlflowParam(name, str(value)))
                case Score(name, value, step, at):
                    if np.isfinite(value):
                        when = now if at is None else at
                        metrics.append(MlflowMetric(name, float(value), when, step))
                case Tag(name, value):
                    tags.append(RunTag(name, value))
                case File(path, folder):
                    upload = client.log_artifacts if path.is_dir() else client.log_artifact
                    with unwritable_told():
                        upload(run_id, str(path), folder)
                case Input():
                    _log_input(client, run_id, item)
        for at in range(0, max(len(params), len(metrics), len(tags)), _BATCH):
            client.log_batch(
                run_id,
                metrics[at : at + _BATCH],
                params[at : at + _BATCH],
                tags[at : at + _BATCH],
            )


class TrialWriter:
    """Writes trials as child runs in the background, while a step goes on.

    ::

        with TrialWriter(run_id, metric) as writer:
            writer.write(best_trials)
            refit()

    The block ends when all are written, and raises what writing them raised.
    A block that raises itself, or is interrupted, leaves out those that aren't
    begun; no child stays open.
    """

    def __init__(self, run_id: str, metric: Metric) -> None:
        self._run_id = run_id
        self._metric = metric
        self._stopped = Event()
        # One thread: a store that is a file lets one write at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trials")
        self._written: list[Future[None]] = []

    def write(self, trials: Sequence[TrialResult]) -> None:
        """Have trials written as runs that began and ended when they did; return at once."""
        self._written.append(self._thread.submit(self._write, tuple(trials)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stopped.set()
        try:
            wait(self._written)
        except BaseException:  # interrupted while it waits
            self._stopped.set()
            wait(self._written)
            raise
        finally:
            # Not what waits: a join that was interrupted takes its thread for ended.
            self._thread.shutdown(wait=False)
        if kind is None:
            for written in self._written:
                written.result()

    def _write(self, trials: Sequence[TrialResult]) -> None:
        client = mlflow.MlflowClient()
        with translated():
            parent = client.get_run(self._run_id)
            latest = max((trial.elapsed for trial in trials), default=0.0)
            # A search that was resumed began before its run did.
            began = min(parent.info.start_time, _milliseconds() - int(1000 * latest))
            for trial in trials:
                if self._stopped.is_set():
                    return
                try:
                    self._write_one(client, parent, trial, began)
                except BaseException:
                    self._stopped.set()  # what comes next would wait for the same dead store
                    raise

    def _write_one(
        self, client: mlflow.MlflowClient, parent: Run, trial: TrialResult, began: int
    ) -> None:
        end = began + int(1000 * trial.elapsed)
        child = client.create_run(
            parent.info.experiment_id,
            start_time=end - int(1000 * trial.seconds),
            tags={
                **_lineage_tags(parent),
                **opened(),
                PARENT_TAG: self._run_id,
                STEP_TAG: "trial",
                "ratchet.backend": trial.candidate.backend,
                "ratchet.family": trial.candidate.family,
            },
            run_name=run_name([trial.candidate.label], self._metric, trial.score),
        )
        status = "KILLED"
        try:
            write(child.info.run_id, _trial_items(trial, self._metric))
            status = "FINISHED"
        finally:  # a child has no block that would end it
            with nullcontext() if status == "FINISHED" else _after_an_error():
                client.set_terminated(child.info.run_id, status, end)


def learning_curve(name: str, losses: Sequence[float], metric: Metric) -> list[Score]:
    """Turn the losses of a fit into a chart with a point for each round, or for some.

    Parameters
    ----------
    name : str
        What the chart is called, such as ``curve/log_loss``.
    losses : sequence of float
        Loss after each round.
    metric : Metric
        What the losses measure.

    Returns
    -------
    list of Score
        In the metric's own direction, the round as the step, from 1. Of more
        than ``CURVE_POINTS`` rounds the first, the last and the best are among
        those that remain, which lie evenly.
    """
    values = np.asarray(losses, dtype=float)
    rounds = np.flatnonzero(np.isfinite(values))
    if len(rounds) > CURVE_POINTS:
        even = np.linspace(0, len(rounds) - 1, CURVE_POINTS - 1).round().astype(int)
        best = np.argmin(values[rounds])
        rounds = rounds[np.union1d(even, best)]
    sign = -1.0 if metric.maximize else 1.0
    return [Score(name, sign * float(values[at]), int(at) + 1) for at in rounds]


def run_name(models: Sequence[str], metric: Metric, score: float, step: str = "") -> str:
    """Name a run by what it made and how good that is.

    Examples
    --------
    >>> from ratchet import metrics
    >>> from ratchet.problem import ProblemType
    >>> log_loss = metrics.named("log_loss", ProblemType.BINARY)
    >>> run_name(["catboost"], log_loss, 0.27108)
    'catboost · log_loss 0.2711'
    >>> run_name(["lightgbm", "catboost", "lightgbm"], log_loss, 0.26931, step="train")
    'train · lightgbm x2+catboost · log_loss 0.2693'
    """
    named = [f"{name} x{n}" if n > 1 else name for name, n in Counter(models).items()]
    if len(named) > _NAMED_MODELS:
        named[_NAMED_MODELS:] = [f"{len(named) - _NAMED_MODELS} more"]
    parts = (step, "+".join(named), f"{metric.name} {shown(score, decimals([score]))}")
    return " · ".join(filter(None, parts))


def save_model(model: LoggedModel, path: Path) -> None:
    """Save a model as an MLflow model folder, without pickle.

    Raises
    ------
    RatchetError
        If it holds a class that nobody has declared to be trusted.
    """
    with _untrusted_told(), _code_of(model.modules) as code:
        mlflow.sklearn.save_model(
            model.model, str(path), code_paths=code, **_model_arguments(model)
        )


def log_saved_model(run_id: str, folder: Path, scores: Iterable[Score] = ()) -> str:
    """Make what ``save_model`` wrote the model of a run.

    The model takes over the run's params and lineage. The folder's ``MLmodel``
    is told which model and run it belongs to, so that the folder is, file for
    file, what MLflow keeps.

    Parameters
    ----------
    run_id : str
        The run; write its params first.
    folder : Path
        The saved model.
    scores : iterable of Score
        How good it is: of the model and of the run.

    Returns
    -------
    str
        Its URI, ``models:/m-…``.

    Raises
    ------
    StoreError
        If the store fails, or the files can't be written there.
    """
    client = mlflow.MlflowClient()
    with translated(), unwritable_told():
        run = client.get_run(run_id)
        model = client.create_logged_model(
            run.info.experiment_id,
            name=MODEL_NAME,
            source_run_id=run_id,
            tags=_lineage_tags(run),
        )
        model_id = model.model_id
        status = LoggedModelStatus.FAILED
        try:
            _log_model_params(client, model_id, run.data.params)
            with _written_once():
                client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
            now = _milliseconds()
            measured = [
                MlflowMetric(
                    each.name,
                    float(each.value),
                    now if each.at is None else each.at,
                    each.step,
                    model_id,
                    run_id=run_id,
                )
                for each in scores
                if np.isfinite(each.value)
            ]
            if measured:
                client.log_batch(run_id, measured)
            saved = mlflow.models.Model.load(str(folder))
            saved.run_id = run_id
            saved.model_id = saved.model_uuid = model_id
            saved.artifact_path = model.artifact_location
            saved.save(str(folder / "MLmodel"))
            client.log_model_artifacts(model_id, str(folder))
            status = LoggedModelStatus.READY
        finally:  # else the model's page would say for ever that it is being written
            with nullcontext() if status is LoggedModelStatus.READY else _after_an_error():
                client.finalize_logged_model(model_id, status)
    return f"models:/{model_id}"


def _log_model_params(
    client: mlflow.MlflowClient, model_id: str, params: Mapping[str, str]
) -> None:
    names = list(params)
    for first in range(0, len(names), _BATCH):
        with _written_once():
            some = {name: params[name] for name in names[first : first + _BATCH]}
            client.log_model_params(model_id, some)


def log_model(model: LoggedModel) -> str:
    """Save a model and log it with the active run.

    Returns
    -------
    str
        Its URI, ``models:/m-…``.
    """
    active = mlflow.active_run()
    if active is None:
        raise RuntimeError("there is no active run")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save_model(model, path)
        return log_saved_model(active.info.run_id, path)


def load_model(
    uri: str,
    modules: Iterable[str] = (),
    trusted: Collection[str] | None = None,
    folder: Path | None = None,
) -> Any:
    """Load the model of a folder or a ``models:/`` URI, without pickle.

    A scikit-learn object comes back as it is, a model that another library
    has saved in a format of its own as MLflow's wrapper with ``predict``.
    Code that travels with a model is not run: a model of the user's own is
    loaded by the project's own modules of the same names. Nor are classes made
    that only the model's own file says may be trusted.

    Parameters
    ----------
    uri : str
        A folder or a ``models:/`` URI.
    modules : iterable of str
        Installed modules whose functions a model may name, beside the
        project's own and those of packages that offer backends.
    trusted : collection of str, optional
        Classes and functions that it may hold, by their full names, beside those that skops
        knows; None takes ``vetting.known_types()``.
    folder : Path, optional
        Where the files of the URI lie already.

    Raises
    ------
    StoreError
        If there is no such model, it can't be loaded, or loading it would run
        what others wrote: a pickle, code that the project has not, or a class that
        nobody has declared.
    RatchetError
        If the libraries that are installed can't make it of what others have saved.
    """
    held = _fetched(uri) if folder is None else nullcontext(folder)
    with held as place, translated(), _other_libraries_told(uri, place):
        saved = vetting.Saved.read(place)
        if saved.strays:
            raise StoreError(
                f"The model {uri} names what lies outside of its own files:"
                f" {', '.join(saved.strays)}. Nothing of it is read. Log the model again."
            )
        if saved.detour:
            raise StoreError(f"The model {uri} is not loaded: {saved.detour}.")
        if saved.unsafe_format:
            raise StoreError(
                f"The model {uri} is saved with {saved.unsafe_format}, which may run any code when"
                " it is loaded. Log it with mlflow.sklearn.log_model and"
                f" serialization_format='skops', or with {', '.join(vetting.PLAIN_LOADERS)}."
            )
        with _own_code_only(uri, place, modules) as allowed:
            known = vetting.known_types() if trusted is None else trusted
            strange = saved.strange_types(known, allowed)
            if strange:
                raise StoreError(
                    f"The model {uri} holds {', '.join(strange)}, which only its own file says may"
                    " be trusted. If you trust whoever wrote it, name"
                    f" {'it' if len(strange) == 1 else 'them'} in registry.trusted_types."
                )
            load = mlflow.sklearn.load_model if saved.is_sklearn else mlflow.pyfunc.load_model
            return load(str(place))


@contextmanager
def _fetched(uri: str) -> Iterator[Path]:
    """Give the folder of a model, for the length of the block a copy of what the store keeps."""
    if Path(uri).is_dir():
        yield Path(uri)
        return
    # MLflow would leave what it has fetched from a server in a folder of its own.
    with TemporaryDirectory(prefix="ratchet-") as scratch:
        place = fetch(uri, Path(scratch))
        if not (place / "MLmodel").is_file():
            raise StoreError(_incomplete(uri, "MLmodel is not among them"))
        try:
            yield place
        except FileNotFoundError as error:
            missing = Path(str(error.filename)).name
            raise StoreError(_incomplete(uri, f"{missing} is not among them")) from error


def fetch(uri: str, folder: Path) -> Path:
    """Copy the files of a model, ``models:/…``, from where the store keeps them, and load nothing.

    It is a copy, since MLflow writes a note beside what it hands out.

    Parameters
    ----------
    uri : str
        The model.
    folder : Path
        Where to copy to; it is made if it isn't there.

    Raises
    ------
    StoreError
        If they are gone, or the store fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with translated():
            place = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    except OSError as error:
        raise StoreError(_incomplete(uri, masked(" ".join(str(error).split())))) from error
    if not any(place.iterdir()):  # of a folder that is gone MLflow makes an empty one
        raise StoreError(_incomplete(uri, "MLmodel is not among them"))
    return place


def _incomplete(uri: str, reason: str) -> str:
    return (
        f"The files of the model {uri} can't be had: {reason.rstrip('.')}. Bring them back to where"
        " the store keeps its artifacts. If it is the champion, `rollback` and `promote --force`"
        " put another in its place."
    )


def require(run_id: str) -> None:
    """Make sure that the store has a run.

    Raises
    ------
    StoreError
        If it hasn't: what was built belongs to another store.
    """
    with translated():
        try:
            mlflow.MlflowClient().get_run(run_id)
        except MlflowException as error:
            if error.error_code not in UNSEEN:
                raise
            raise StoreError(
                f"The leader's run {run_id} is not in {masked(mlflow.get_tracking_uri())}:"
                " it was trained with another store. Train again with `dvc repro -f train`,"
                " or set MLFLOW_TRACKING_URI to the store that has it."
            ) from None


def find(project: Project, tags: Mapping[str, str]) -> str | None:
    """Return the newest finished run of the project that carries all ``tags``.

    `mlflow run` puts runs into another experiment unless it is told the project's.
    """
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    client, active = mlflow.MlflowClient(), mlflow.active_run()
    with translated():
        own = client.get_experiment_by_name(project.settings.experiment_name)
        found = client.search_runs(
            list({each.experiment_id for each in (own, active and active.info) if each}),
            f"attributes.status = 'FINISHED' and {condition}",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
    return str(found[0].info.run_id) if found else None


def count_uses(project: Project, digest: str, *, but: str) -> int:
    """Count the models that a set of test rows has judged, but for that of one run.

    Every evaluation counts, also one whose model was never put forward: whoever
    looks at a test score and tries again has used the rows to choose. What an
    evaluation said of the uses before it holds, also where it was logged again
    in a store that doesn't have those.
    """
    condition = (
        f"attributes.status = 'FINISHED' and tags.`{STEP_TAG}` = 'evaluate'"
        f" and tags.`{TEST_TAG}` = '{digest}'"
    )
    client, token = mlflow.MlflowClient(), None
    judged: set[str] = set()
    uses = 0
    with translated():
        while True:
            page = client.search_runs(
                [experiment(project)],
                condition,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                leader = run.data.tags.get(LEADER_TAG, "")
                told = int(run.data.metrics.get(USES_SCORE, 0))
                uses = max(uses + (leader not in judged), told + 1)
                judged.add(leader)
            token = page.token
            if not token:
                return uses - (but in judged)


@dataclass(frozen=True)
class RunModel:
    """The model that a run has logged."""

    uri: str
    """Where MLflow keeps it, ``models:/m-…``."""
    name: str
    """Its name in the run."""
    folder: Path
    """Where its files lie on this machine."""
    tags: Mapping[str, str]
    """Tags of the run."""


def model_of(run_id: str, into: Path) -> RunModel:
    """Find and fetch the model of any run, also one that this project did not train.

    Parameters
    ----------
    run_id : str
        The run.
    into : Path
        Folder to copy the model's files to.

    Raises
    ------
    StoreError
        If there is no such run, it has no model, or the model can't be loaded
        without pickle.
    """
    client = mlflow.MlflowClient()
    require(run_id)
    with translated():
        run = client.get_run(run_id)
        model = client.get_logged_model(_model_id(run))
    return RunModel(model.model_uri, model.name, fetch(model.model_uri, into), run.data.tags)


def model_uri_of(run_id: str) -> str:
    """Say where MLflow keeps the model of a run, ``models:/m-…``.

    Raises
    ------
    StoreError
        If it has logged none.
    """
    with translated():
        return f"models:/{_model_id(mlflow.MlflowClient().get_run(run_id))}"


def _model_id(run: Run) -> str:
    """Give the id of the model that a run has logged last."""
    logged = model_ids(run)
    if not logged:
        raise StoreError(
            f"Run {run.info.run_id} has logged no model. Log one with mlflow.sklearn.log_model,"
            " or put another run forward."
        )
    return logged[-1]


@dataclass(frozen=True)
class Origin:
    """What a run says of where it comes from."""

    params: Mapping[str, str]
    """Its params."""
    tags: Mapping[str, str]
    """Its tags."""


def origin_of(run_id: str) -> Origin | None:
    """Read params and tags of a run; None when the store hasn't got it."""
    run = read(run_id)
    return Origin(dict(run.data.params), dict(run.data.tags)) if run else None


def read(run_id: str) -> Run | None:
    """Read a run as MLflow gives it; None when the store hasn't got it.

    Raises
    ------
    StoreError
        If the store fails.
    """
    with translated():
        try:
            return mlflow.MlflowClient().get_run(run_id)
        except MlflowException as error:
            if error.error_code not in UNSEEN:
                raise
            return None


@dataclass(frozen=True)
class Place:
    """Where the UI shows a run."""

    experiment: str
    """Name of its experiment."""
    route: str
    """What follows the UI's address, ``#/experiments/…``."""

    def artifact(self, path: str) -> str:
        """Say what follows the UI's address for a file of the run."""
        return f"{self.route}/artifacts/{quote(path)}"


def place_of(run_id: str) -> Place:
    """Say where the UI shows a run.

    Raises
    ------
    StoreError
        If the store fails, or has no such run.
    """
    client = mlflow.MlflowClient()
    with translated():
        held_by = client.get_run(run_id).info.experiment_id
        name = client.get_experiment(held_by).name
    return Place(str(name), f"#/experiments/{held_by}/runs/{run_id}")


def model_ids(run: Run) -> tuple[str, ...]:
    """Give the ids of the models that a run has logged, in their order."""
    return tuple(each.model_id for each in (run.outputs.model_outputs if run.outputs else ()))


def load_array(run_id: str, name: str) -> np.ndarray | None:
    """Read an array that a run has logged with ``numpy.save``; None where it has none.

    Raises
    ------
    StoreError
        If the store or its artifacts fail: what can't be read now may be there, and whoever
        took it for missing would decide on something else.
    """
    client = mlflow.MlflowClient()
    with translated(), TemporaryDirectory() as folder:
        try:
            if name not in [each.path for each in client.list_artifacts(run_id)]:
                return None
            path = client.download_artifacts(run_id, name, folder)
            array: np.ndarray = np.load(path, allow_pickle=False)
        except MlflowException as error:
            if error.error_code not in UNSEEN:
                raise
            return None
        except (OSError, EOFError, ValueError) as error:
            reason = masked(" ".join(str(error).split()))
            raise StoreError(f"{name} of run {run_id} can't be read: {reason}.") from error
    return array


def finish_given_run(project: Project, step: str, items: Iterable[Item]) -> None:
    """Say something on the run that ``mlflow run`` has made; without one, do nothing."""
    if "MLFLOW_RUN_ID" in os.environ:
        with run(project, step) as run_id:
            write(run_id, items)


def artifact_place(name: str) -> str | None:
    """Say where the artifacts of a new experiment go; None leaves it to the server.

    They lie beside the database of an embedded store: MLflow's own default is
    the folder that a process happens to start in.
    """
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / name).as_uri()


def rename(run_id: str, name: str) -> None:
    """Give a run a name that says what came out."""
    write(run_id, [Tag("mlflow.runName", name)])


def _trial_items(trial: TrialResult, metric: Metric) -> Iterator[Item]:
    candidate = trial.candidate
    params = {
        **candidate.params,
        # What early stopping found: a chart over n_estimators shows what was fitted.
        **(trial.refit_params or {}),
        "trial": trial.number + 1,
        "backend": candidate.backend,
        "family": candidate.family,
    }
    for name, value in params.items():
        yield Param(name, value)
    yield Score(f"valid/{metric.name}", trial.score)
    yield Score(f"train/{metric.name}", trial.train_score)
    yield Score("train/seconds", trial.seconds)
    yield from learning_curve(f"curve/{metric.name}", trial.curve, metric)


def _lineage_tags(run: Run) -> dict[str, str]:
    """Give the tags that say where a run comes from, for what belongs to it."""
    return {
        name: value
        for name, value in run.data.tags.items()
        if name != processes.TAG
        and (name.startswith(("mlflow.source.", "ratchet.")) or name == "mlflow.user")
    }


def _milliseconds() -> int:
    """Tell the time as MLflow counts it."""
    return int(1000 * time.time())


def _start(project: Project, step: str, parent: str | None, name: str | None) -> str:
    given = os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # the run that is continued has its own
    active = mlflow.active_run()
    if active is not None:
        place = active.info.experiment_id
    else:
        place = _experiment_of(given) if given else experiment(project)
    tags = {STEP_TAG: step, "mlflow.user": _user(), **opened()}
    if parent and active is None and _experiment_of(parent) == place:
        tags[PARENT_TAG] = parent
    mlflow.set_system_metrics_sampling_interval(_SYSTEM_INTERVAL)
    # The tags come with the run: nothing that fails may follow, or it would stay RUNNING.
    started = mlflow.start_run(
        run_id=given,
        experiment_id=None if given else place,
        run_name=None if given else (name or step),
        nested=active is not None,
        tags=tags,
        log_system_metrics=project.settings.tracking.system_metrics and active is None,
    )
    return str(started.info.run_id)


def _end(status: str) -> bool:
    """End the active run; tell whether its status was written."""
    try:
        mlflow.end_run(status)
    except Exception:
        # The store may be what failed: the first error is the one to tell.
        if status == "FINISHED":
            raise
        logging.getLogger(__name__).warning("the run could not be marked %s", status)
        return False
    return True


def _experiment_of(run_id: str) -> str:
    return str(mlflow.MlflowClient().get_run(run_id).info.experiment_id)


def experiment(project: Project) -> str:
    """Find or make the project's experiment.

    Raises
    ------
    StoreError
        If it was deleted.
    """
    client = mlflow.MlflowClient()
    name = project.settings.experiment_name
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise StoreError(
                f"The experiment {name!r} was deleted. Restore it with"
                f" `mlflow experiments restore --experiment-id {found.experiment_id}`,"
                " or name another in tracking.experiment."
            )
        # Where somebody has emptied it the tag is there, and empty.
        if NOTE_TAG not in found.tags:
            client.set_experiment_tag(found.experiment_id, NOTE_TAG, _about(project))
        return str(found.experiment_id)
    artifacts, tags = artifact_place(name), {NOTE_TAG: _about(project)}
    try:
        return str(client.create_experiment(name, artifact_location=artifacts, tags=tags))
    except MlflowException as error:
        # Another process may have made it a moment ago.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise error
        return str(found.experiment_id)


def _about(project: Project) -> str:
    """Say what an experiment holds, and how to find one's way in it."""
    choices = project.settings
    target = choices.data.target
    told = f"predict `{target}`" if target else "find clusters"
    return (
        f"Models that {told}, by Ratchet from `{place(project.params_file)}`."
        " A *train* run holds a model, its scores on validation and test rows, and below it"
        " its best trials. In the box above the table of runs,"
        f" `tags.{STEP_TAG} = 'train'` leaves the trainings, to be compared with each other, and"
        " `params.family = 'xgboost'` the trials of one family. The decisions on who is the"
        f" champion are in the experiment *{choices.model_name} decisions*."
    )


def _log_input(client: mlflow.MlflowClient, run_id: str, item: Input) -> None:
    uri = uri_of(item.source, item.digest) if item.in_dvc else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = from_pandas(
            item.frame,
            source=uri or str(item.source),
            name=item.name,
            targets=item.target,
            digest=item.digest[:36],
        )
    entity = dataset._to_mlflow_entity()
    if item.n_rows is not None:
        n_values = item.n_rows * len(item.frame.columns)
        entity._profile = json.dumps({"num_rows": item.n_rows, "num_elements": n_values})
    context = InputTag("mlflow.data.context", item.context)
    log_tables(client, run_id, [DatasetInput(entity, [context])])


def log_tables(client: mlflow.MlflowClient, run_id: str, tables: Sequence[DatasetInput]) -> None:
    """Log tables as inputs of a run.

    Of two runs that are the first to name a table, at the same moment, MLflow
    lets one fail; the next time it finds what the other has written.
    """
    try:
        client.log_inputs(run_id, tables)
    except MlflowException as error:
        if not _is_there_already(error):
            raise
        client.log_inputs(run_id, tables)


@contextmanager
def _written_once() -> Iterator[None]:
    """Let a write be repeated whose answer was lost."""
    try:
        yield
    except MlflowException as error:
        if not _is_there_already(error):
            raise


def _is_there_already(error: MlflowException) -> bool:
    """Tell whether another has written it, or we have by a request whose answer was lost."""
    return bool(re.search("unique|duplicate", str(error), re.IGNORECASE))


def _model_arguments(model: LoggedModel) -> dict[str, Any]:
    return {
        "serialization_format": "skops",
        "skops_trusted_types": list(model.trusted_types),
        "signature": _signature(model),
        "input_example": model.example,
        "pip_requirements": list(model.requirements),
    }


@contextmanager
def _code_of(modules: Sequence[str]) -> Iterator[list[str] | None]:
    """Give copies of the code that a model needs, as MLflow wants it; None for a usual model."""
    with TemporaryDirectory() as folder:
        yield sources.gather(modules, Path(folder)) if modules else None


@contextmanager
def _own_code_only(uri: str, folder: Path, modules: Iterable[str]) -> Iterator[frozenset[str]]:
    """Load a model's code from the project, and leave no folder of MLflow's on the path.

    Gives the top-level modules whose functions the model may name.
    """
    code = folder / "code"
    strangers = sources.strangers(code)
    if strangers:
        raise StoreError(
            f"The model {uri} comes with code that this project has not: {', '.join(strangers)}."
            f" To load it would run that code. Put it into src/ if you trust it: it is in {code}."
        )
    path = list(sys.path)
    allowed = sources.callable_by(code, modules)
    try:
        # Imported before MLflow puts the model's copies in front of them.
        for name in sorted(sources.own_names(code)):
            import_module(name)
        with hooked.only(allowed):
            yield allowed
    except ValueError as error:
        raise StoreError(f"The model {uri} can't be loaded: {error}") from error
    finally:
        sys.path[:] = path


def _signature(model: LoggedModel) -> Any:
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, DataType, TensorSpec
    from mlflow.types import Schema as MlflowSchema

    types = {
        Kind.NUMBER: DataType.double,
        Kind.BOOLEAN: DataType.double,
        Kind.DATETIME: DataType.datetime,
        Kind.TEXT: DataType.string,
        Kind.CATEGORY: DataType.string,
    }
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(
            DataType.double if column.dtype == "float64" else types[column.kind],
            column.name,
            required=not column.optional,
        )
        for column in model.schema.columns
    ]
    answers = infer_signature(model_output=model.model.predict(model.example)).outputs
    return ModelSignature(MlflowSchema(columns), answers)


def _close_abandoned(project: Project) -> None:
    """Mark runs KILLED whose process is gone, and their models FAILED.

    They are looked for where the project's runs are: in its experiment, in that
    of its ledger, and where `mlflow run` makes one that is told no experiment.
    """
    client = mlflow.MlflowClient()
    named = (project.settings.experiment_name, project.settings.ledger_name)
    for own in (True, False):
        # A server may forbid a user one of them, or the store may be new.
        with _unseen_left_out():
            places = [os.environ.get("MLFLOW_EXPERIMENT_ID") or _DEFAULT]
            if own:
                found = map(client.get_experiment_by_name, named)
                places = [each.experiment_id for each in found if each]
            if not places:
                continue
            for run in client.search_runs(places, _LEFT_OPEN, max_results=_MOST_LEFT):
                process = Process.parse(run.data.tags.get(processes.TAG, ""))
                if process is not None and process.life is Life.GONE:
                    with _unseen_left_out():
                        _close(client, run)


@contextmanager
def _unseen_left_out() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code not in UNSEEN:
            raise


def _close(client: mlflow.MlflowClient, run: Run) -> None:
    """Mark a run KILLED that nobody goes on with, and its models FAILED that aren't whole."""
    source = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], source):
        if model.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    client.set_terminated(run.info.run_id, "KILLED")
    logging.getLogger(__name__).info(
        "run %s (%s) was left open by a process that is gone; it is marked KILLED",
        run.info.run_name,
        run.info.run_id[:8],
    )


def _knock(uri: str) -> None:
    """Ask a server whether it is there, with the certificates and credentials MLflow uses."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/health",
            "GET",
            timeout=_PATIENCE,
            max_retries=0,
            raise_on_status=False,
        )
    except MlflowException as error:
        reason = str(_first(error))
    else:
        if answer.status_code < 500:  # a proxy may hide /health; the server itself answers
            return
        reason = f"HTTP {answer.status_code}"
    raise StoreError(
        f"The tracking server at {masked(uri)} doesn't answer: {masked(reason)}."
        " Start it, or set MLFLOW_TRACKING_URI or tracking.uri to a store that does."
    )


def _open(uri: str) -> None:
    """Open a database once: MLflow would try a dead one for minutes."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    patience = {"connect_timeout": _PATIENCE} if uri.startswith(("postgresql", "mysql")) else {}
    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(uri, connect_args=patience)
        at_once = _AT_ONCE.set(True)
        try:
            inspect(engine).has_table("experiments")
        finally:
            _AT_ONCE.reset(at_once)
            engine.dispose()
    except (OSError, ImportError, ValueError, SQLAlchemyError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
        raise StoreError(
            f"The database {masked(uri)} can't be opened: {masked(reason)}."
            " Set MLFLOW_TRACKING_URI or tracking.uri to one that can."
        ) from error


def _connected(
    dialect: Any, _: Any, arguments: Sequence[Any], options: Mapping[str, Any]
) -> Any | None:
    """Connect to a database server, and wait for one that is being restarted.

    MLflow sees before each use whether a connection is still alive, and makes a new one
    if it isn't. None leaves it to SQLAlchemy.
    """
    if dialect.name == "sqlite" or _AT_ONCE.get():
        return None
    until = time.monotonic() + _RESTART
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


@contextmanager
def _after_an_error() -> Iterator[None]:
    """Ask a store that may be what has failed once more, and tell the first error, not another."""
    before = os.environ.get(_RETRIES)
    os.environ[_RETRIES] = "0"
    try:
        with suppress(MlflowException):
            yield
    finally:
        os.environ.pop(_RETRIES)
        if before is not None:
            os.environ[_RETRIES] = before


def _first(error: BaseException) -> BaseException:
    """Give the error that caused all the others."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def translated() -> Iterator[None]:
    """Tell what MLflow raises in our words; a bug of ours keeps its traceback."""
    try:
        yield
    except MlflowException as error:
        raise StoreError(_told(error)) from error
    except _of_artifact_stores() as error:
        reason = masked(" ".join(str(error).split())).rstrip(".")[:500]
        uri = masked(mlflow.get_tracking_uri())
        raise StoreError(
            f"Where the store {uri} keeps its artifacts, something failed: {reason}. Run the same"
            " command again when it is mended."
        ) from error


def _told(error: MlflowException) -> str:
    """Say what is wrong with the store, and what to do."""
    uri = masked(mlflow.get_tracking_uri())
    if error.get_http_status_code() == UNKNOWN_USER:
        return f"The tracking server at {uri} doesn't know who asks (HTTP 401). {LOG_IN}"
    first = masked(" ".join(str(_first(error)).split())).rstrip(".")
    again = "Run the same command again when it does."
    if isinstance(error.__context__, requests.RequestException):
        return f"The tracking server at {uri} doesn't answer any more: {first}. {again}"
    if isinstance(error.__cause__, OperationalError):
        if "database is locked" in first:
            return (
                f"The database {uri} is locked by other programs, for longer than MLflow waits. Run"
                " the same command again; where many write at once, start an MLflow server on"
                " PostgreSQL."
            )
        return f"The database {uri} doesn't answer any more: {first}. {again}"
    return f"MLflow's store {uri} failed: {masked(' '.join(str(error).split()))[:500]}"


def _of_artifact_stores() -> tuple[type[Exception], ...]:
    """Name what clients of artifact stores raise, as far as they are loaded."""
    boto = sys.modules.get("botocore.exceptions"), sys.modules.get("boto3.exceptions")
    named = ("BotoCoreError", "ClientError", "Boto3Error")
    found = (getattr(module, name, None) for module in boto for name in named)
    return (requests.RequestException, *(each for each in found if each is not None))


@contextmanager
def may_stay() -> Iterator[None]:
    """Leave what the block would delete where a server lets only its owners delete.

    For what an attempt has left that nothing names: it misleads nobody.
    """
    try:
        yield
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise


@contextmanager
def _other_libraries_told(uri: str, folder: Path) -> Iterator[None]:
    """Tell what a library raises when it is given what another release of it has saved."""
    try:
        yield
    except (ImportError, AttributeError, KeyError, IndexError, TypeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        other = libraries_of(folder)
        saved = f" It was saved with {', '.join(other)}." if other else ""
        raise RatchetError(
            f"The model {uri} can't be loaded: {reason}.{saved} Train again with the libraries that"
            " are installed, or install those of its requirements.txt."
        ) from error


def libraries_of(folder: Path) -> tuple[str, ...]:
    """Name the libraries of a model's folder that are installed in another release."""
    try:
        pins = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    # MLflow reads what its earlier releases have written.
    return packaged.other_releases(pin for pin in pins if packaged.required_name(pin) != "mlflow")


@contextmanager
def _untrusted_told() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if "untrusted" not in str(error).lower():
            raise
        raise RatchetError(
            f"The model holds classes that skops does not trust: {' '.join(str(error).split())}"
            " Name them in the backend's trusted_types if you trust them."
        ) from error


@contextmanager
def unwritable_told() -> Iterator[None]:
    """Tell that a run's files can't be written where its experiment has them."""
    try:
        yield
    except OSError as error:
        where = f" to {error.filename}" if error.filename else ""
        way_out = "Make the experiment's artifact location writable."
        if files.is_full(error):
            way_out = "Make room at the experiment's artifact location, and give the command again."
        raise StoreError(
            f"The run's files can't be written{where}: {masked(files.reason(error))}. {way_out}"
        ) from error


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"

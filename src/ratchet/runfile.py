"""What the run of a step said, kept beside what the step made, to be logged again elsewhere.

DVC brings outputs back from its cache and starts no step, so nothing of them
gets into MLflow. A run that isn't in the store is logged again from here.
"""

import base64
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Self

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from mlflow.exceptions import MlflowException

from ratchet import files, processes, tracking
from ratchet.errors import RatchetError
from ratchet.project import Project
from ratchet.tracking import (
    CURVE_POINTS,
    PARENT_TAG,
    STEP_TAG,
    File,
    Item,
    Param,
    Score,
    Tag,
)

logger = logging.getLogger(__name__)

FILE = "run.json"
"""File that a step leaves beside what it made."""

RESTORED_FROM = "ratchet.restored_from"
"""Tag of a run that was logged again: the id of the one that did the work."""

RESTORED_AT = "ratchet.restored_at"
"""Tag that says when, in UTC."""

SYSTEM = "system/"
"""What begins the names of MLflow's readings of processor, memory and disk, of which an hour has
thousands: as many are kept as a chart can show."""

# Requests to a tracking server that may be on their way at once.
_TOGETHER = 8


@dataclass(frozen=True)
class Table:
    """A table that the run read, as MLflow describes it."""

    name: str
    """Its name in the UI."""
    digest: str
    """Which version of it."""
    source_type: str
    """What kind of place it came from."""
    source: str
    """That place, as JSON."""
    schema: str | None
    """Its columns, as JSON."""
    profile: str | None
    """Its numbers of rows and cells, as JSON."""
    tags: Mapping[str, str]
    """What it was for."""


@dataclass(frozen=True)
class Artifact:
    """A file of the run."""

    path: str
    """Its place among the artifacts of the run."""
    text: str | None = None
    """Its content; None for one that lies at the same place in the folder of the step."""
    binary: bool = False
    """Whether ``text`` is base64 of what is no text."""

    @property
    def content(self) -> bytes:
        """The bytes of a file that is kept here."""
        text = self.text or ""
        return base64.b64decode(text) if self.binary else text.encode("utf-8")


@dataclass(frozen=True)
class RunFile:
    """All that a run said, in plain values, as ``run.json`` keeps it."""

    run_id: str
    """Id of the run in the store that it was made with."""
    experiment: str
    """Name of its experiment."""
    began: int
    """When it began, in milliseconds since 1970."""
    ended: int
    """When it ended, in the same."""
    params: Mapping[str, str]
    """Its params."""
    tags: Mapping[str, str]
    """Its tags, MLflow's own included."""
    scores: tuple[Score, ...]
    """Its numbers, those of charts included."""
    tables: tuple[Table, ...] = ()
    """What it read."""
    artifacts: tuple[Artifact, ...] = ()
    """Its files."""
    model_scores: tuple[str, ...] = ()
    """Names of the scores that its model has too."""
    children: tuple["RunFile", ...] = ()
    """The runs of its trials."""
    about: str | None = None
    """For an evaluation, the run id in the ``leader.json`` that it judged."""

    @classmethod
    def load(cls, folder: Path, *, made_by: str) -> Self | None:
        """Read what a step has left; None where an earlier version of this project made it.

        Raises
        ------
        RatchetError
            If it can't be read.
        """
        path = folder / FILE
        if not path.exists():
            return None
        return files.read_as(path, cls._from_plain, made_by=made_by)

    @classmethod
    def _from_plain(cls, value: dict[str, Any]) -> Self:
        for each in value["artifacts"]:
            _require_inside(each["path"])
        return cls(
            **{
                **value,
                "scores": tuple(Score(*each) for each in value["scores"]),
                "tables": tuple(Table(**each) for each in value["tables"]),
                "artifacts": tuple(Artifact(**each) for each in value["artifacts"]),
                "model_scores": tuple(value["model_scores"]),
                "children": tuple(cls._from_plain(each) for each in value["children"]),
            }
        )

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        value = asdict(self)
        value["scores"] = [[each.name, each.value, each.step, each.at] for each in self.scores]
        value["children"] = [child.plain() for child in self.children]
        return value


def keep(folder: Path, run_id: str, *, about: str | None = None) -> None:
    """Write what an ended run said to ``run.json`` in the folder that its step has made.

    It is read back from the store, so that nothing is left out, whoever wrote
    it: a step, a backend of the user's own, or MLflow itself.

    Parameters
    ----------
    folder : Path
        What the step has made; files of the run that lie there are not kept twice.
    run_id : str
        The run.
    about : str or None
        For an evaluation, the run id in the ``leader.json`` that it judged.

    Raises
    ------
    StoreError
        If the store fails.
    RatchetError
        If the file can't be written.
    """
    client = mlflow.MlflowClient()
    with tracking.translated(), ThreadPoolExecutor(_TOGETHER) as pool:
        run = client.get_run(run_id)
        trials = list(_trials(client, run))
        # Each chart is a request of its own: one after another takes seconds where a server is far.
        told = pool.map(partial(_scores, client), [run, *trials])
        models = [client.get_logged_model(each) for each in tracking.model_ids(run)]
        experiment = client.get_experiment(run.info.experiment_id).name
        kept = _described(
            run,
            experiment,
            next(told),
            tables=tuple(_tables(run)),
            artifacts=tuple(_artifacts(client, run_id, folder)),
            model_scores=tuple(sorted({m.key for each in models for m in each.metrics or []})),
            children=tuple(
                _described(trial, experiment, scores)
                for trial, scores in zip(trials, told, strict=True)
            ),
            about=about,
        )
    files.write_json(folder / FILE, kept.plain())


@contextmanager
def recorded(
    project: Project,
    step: str,
    path: Path,
    *,
    parent: str | None = None,
    about: str | None = None,
) -> Iterator[tuple[Path, str]]:
    """Hold the run of a step open, and give it a folder that takes ``path``'s place at the end.

    That is the last thing that happens: when the run has ended well and all
    that it said lies in the folder, too. Whatever ends the step before, the
    folder of the last time is as it was, and belongs to a whole run.

    Parameters
    ----------
    project : Project
        Whose step it is.
    step : str
        Its name.
    path : Path
        Folder that it makes.
    parent : str or None
        Run to nest its run in.
    about : str or None
        For an evaluation, the run id in the ``leader.json`` that it judges.

    Yields
    ------
    tuple of Path and str
        An empty folder, and the id of the run.

    Raises
    ------
    StoreError
        If the store fails.
    RatchetError
        If the folder can't be written, or the disk is full.
    InterruptionError
        In place of Ctrl-C and SIGTERM.
    """
    with files.whole_folder(path) as folder:
        with tracking.run(project, step, parent=parent) as run_id:
            yield folder, run_id
        keep(folder, run_id, about=about)


def find(project: Project, run_id: str, client: mlflow.MlflowClient | None = None) -> str | None:
    """Find a run in the connected store: itself, or what was logged again from it.

    One that was deleted is not there, nor is one whose model was. Of several
    that were logged again, which takes two commands at the same moment, the
    first counts.

    Parameters
    ----------
    project : Project
        In whose experiment runs are logged again.
    run_id : str
        The run that did the work.
    client : MlflowClient or None
        Asks the store; None takes the connected one.

    Raises
    ------
    StoreError
        If the store fails.
    """
    client = client or mlflow.MlflowClient()
    with tracking.translated():
        if _is_whole(client, run_id):
            return run_id
        own = client.get_experiment_by_name(project.settings.experiment_name)
        if own is None:
            return None
        copies = client.search_runs(
            [own.experiment_id],
            f"attributes.status = 'FINISHED' and tags.`{RESTORED_FROM}` = '{run_id}'",
        )
        copies.sort(key=lambda run: (run.data.tags.get(RESTORED_AT, ""), run.info.run_id))
        return next((run.info.run_id for run in copies if _is_whole(client, run.info.run_id)), None)


def log_again(
    project: Project,
    kept: RunFile,
    folder: Path,
    *,
    parent: str | None = None,
    tags: Mapping[str, str | None] | None = None,
    model: Path | None = None,
) -> str:
    """Log a run again in the project's experiment, as it was, from ``run.json`` and the outputs.

    Until all of it is there the new run is KILLED, so that whatever happens
    meanwhile nobody takes it for whole; what an interruption leaves is deleted.

    Parameters
    ----------
    project : Project
        Whose experiment gets it.
    kept : RunFile
        What it said.
    folder : Path
        What its step has made, from which its files are taken; nothing is written there.
    parent : str or None
        Run to nest it in; None takes the one that it was nested in, if that is here.
    tags : mapping of str to str or None
        What tags that name other runs say here, also on the trials; None drops one.
    model : Path or None
        The saved model that becomes the run's.

    Returns
    -------
    str
        Id of the run: of another one if somebody else has logged it meanwhile.

    Raises
    ------
    RatchetError
        If a file of the run is gone.
    StoreError
        If the store fails.
    """
    place = tracking.experiment(project)
    client = mlflow.MlflowClient()
    with tracking.translated(), _deleted_on_failure(client) as made:
        above = _nestable(client, parent or kept.tags.get(PARENT_TAG), place)
        run_id = _begin(client, kept, place, made)
        tracking.write(run_id, _items(kept, above, tags or {}))
        _log_tables(client, run_id, kept.tables)
        _log_artifacts(run_id, kept, folder)
        for child in kept.children:
            child_id = _begin(client, child, place, made)
            tracking.write(child_id, _items(child, run_id, tags or {}))
            client.set_terminated(child_id, "FINISHED", child.ended)
        if model is not None:
            _log_model(run_id, kept, model)
        used = find(project, kept.run_id)
        if used is None:
            client.set_tag(run_id, RESTORED_AT, datetime.now(UTC).isoformat())
            client.set_terminated(run_id, "FINISHED", kept.ended)
            used = find(project, kept.run_id)
        if used != run_id:
            _delete(client, made)
    used = used or run_id
    logger.info(
        "%s: run %s is not in this store; logged again from %s as %s",
        kept.tags.get(STEP_TAG, "step"),
        kept.run_id[:8],
        folder.relative_to(project.root).as_posix(),
        used[:8],
    )
    return used


def _require_inside(path: str) -> None:
    """Refuse a file that is no part of what the step made: it would be uploaded, whatever it is."""
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise RatchetError(
            f"{FILE} is not to be trusted: it names the file {path!r}, and files of a run lie in"
            " the folder of its step. Run the step again."
        )


def _trials(client: mlflow.MlflowClient, run: Run) -> Iterator[Run]:
    condition = f"tags.`{PARENT_TAG}` = '{run.info.run_id}' and tags.`{STEP_TAG}` = 'trial'"
    token = None
    while True:
        page = client.search_runs([run.info.experiment_id], condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _scores(client: mlflow.MlflowClient, run: Run) -> tuple[Score, ...]:
    """Read every point of every chart; a chart that ends at step 0 has one."""
    points = []
    for last in run.data.to_proto().metrics:
        history = [last] if last.step == 0 else client.get_metric_history(run.info.run_id, last.key)
        if last.key.startswith(SYSTEM):
            even = np.linspace(0, len(history) - 1, min(len(history), CURVE_POINTS))
            history = [history[at] for at in even.astype(int)]
        points += [
            Score(each.key, each.value, each.step, each.timestamp)
            for each in history
            if np.isfinite(each.value)
        ]
    return tuple(points)


def _tables(run: Run) -> Iterator[Table]:
    for read in run.inputs.dataset_inputs if run.inputs else []:
        told = read.dataset
        yield Table(
            name=told.name,
            digest=told.digest,
            source_type=told.source_type,
            source=told.source,
            schema=told.schema,
            profile=told.profile,
            tags={tag.key: tag.value for tag in read.tags},
        )


def _artifacts(client: mlflow.MlflowClient, run_id: str, folder: Path) -> Iterator[Artifact]:
    with TemporaryDirectory() as scratch:
        for path in _paths(client, run_id):
            if (folder / path).is_file():
                yield Artifact(path)
                continue
            content = Path(client.download_artifacts(run_id, path, scratch)).read_bytes()
            try:
                yield Artifact(path, content.decode("utf-8"))
            except UnicodeDecodeError:
                yield Artifact(path, base64.b64encode(content).decode("ascii"), binary=True)


def _paths(client: mlflow.MlflowClient, run_id: str, under: str | None = None) -> Iterator[str]:
    for each in client.list_artifacts(run_id, under):
        if each.is_dir:
            yield from _paths(client, run_id, each.path)
        else:
            yield each.path


def _described(run: Run, experiment: str, scores: tuple[Score, ...], **more: Any) -> RunFile:
    return RunFile(
        run_id=run.info.run_id,
        experiment=experiment,
        began=run.info.start_time,
        ended=run.info.end_time,
        params=dict(run.data.params),
        # A run that is logged again is another process's.
        tags={name: told for name, told in run.data.tags.items() if name != processes.TAG},
        scores=scores,
        **more,
    )


def _is_whole(client: mlflow.MlflowClient, run_id: str) -> bool:
    """Tell whether a run and all its models are there, and not deleted."""
    try:
        run = client.get_run(run_id)
        for model_id in tracking.model_ids(run):
            client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code not in tracking.UNSEEN:
            raise
        return False
    return bool(run.info.lifecycle_stage == "active")


def _nestable(client: mlflow.MlflowClient, parent: str | None, place: str) -> str | None:
    """Give a parent back that the UI can show: one that is in the same experiment."""
    if parent is None or not _is_whole(client, parent):
        return None
    return parent if client.get_run(parent).info.experiment_id == place else None


def _begin(client: mlflow.MlflowClient, kept: RunFile, place: str, made: list[str]) -> str:
    run = client.create_run(
        place,
        start_time=kept.began,
        tags={**tracking.opened(), RESTORED_FROM: kept.run_id},
        run_name=kept.tags.get("mlflow.runName"),
    )
    run_id = str(run.info.run_id)
    made.append(run_id)
    # An ended run still takes what follows, and a crash leaves none RUNNING.
    client.update_run(run_id, "KILLED")
    return run_id


def _items(kept: RunFile, parent: str | None, tags: Mapping[str, str | None]) -> Iterator[Item]:
    """Yield what the run said in words and numbers, with other values for some of its tags."""
    for name, value in kept.params.items():
        yield Param(name, value)
    said = {name: tags.get(name, value) for name, value in kept.tags.items()}
    # A restored run may have been the origin of another one.
    for name, told in {**said, PARENT_TAG: parent, RESTORED_FROM: kept.run_id}.items():
        if told is not None:
            yield Tag(name, told)
    yield from (score for score in kept.scores if score.name not in kept.model_scores)


def _log_tables(client: mlflow.MlflowClient, run_id: str, tables: Iterable[Table]) -> None:
    entities = [
        DatasetInput(
            Dataset(
                each.name, each.digest, each.source_type, each.source, each.schema, each.profile
            ),
            [InputTag(name, value) for name, value in each.tags.items()],
        )
        for each in tables
    ]
    if entities:
        tracking.log_tables(client, run_id, entities)


def _log_artifacts(run_id: str, kept: RunFile, folder: Path) -> None:
    with TemporaryDirectory() as scratch:
        items = []
        for each in kept.artifacts:
            path = folder / each.path
            if each.text is not None:
                path = Path(scratch) / each.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(each.content)
            elif not path.is_file():
                step = kept.tags.get(STEP_TAG, "that made it")
                raise RatchetError(f"{path} is not there. Run the step {step} again.")
            above = Path(each.path).parent.as_posix()
            items.append(File(path, None if above == "." else above))
        tracking.write(run_id, items)


def _log_model(run_id: str, kept: RunFile, model: Path) -> None:
    with TemporaryDirectory() as scratch:
        # A copy, because the model is told which run it belongs to: DVC would see that its output
        # has changed. By content alone, since DVC may have made the files read-only.
        copy = Path(shutil.copytree(model, Path(scratch) / "model", copy_function=shutil.copyfile))
        tracking.log_saved_model(
            run_id, copy, [each for each in kept.scores if each.name in kept.model_scores]
        )


@contextmanager
def _deleted_on_failure(client: mlflow.MlflowClient) -> Iterator[list[str]]:
    made: list[str] = []
    try:
        yield made
    except BaseException:
        with suppress(MlflowException):  # the store may be what failed: the first error is told
            _delete(client, made)
        raise


def _delete(client: mlflow.MlflowClient, made: Sequence[str]) -> None:
    for run_id in made:
        for model_id in tracking.model_ids(client.get_run(run_id)):
            client.delete_logged_model(model_id)
        client.delete_run(run_id)

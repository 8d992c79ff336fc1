"""A registered version with all that is needed to ask it: the model, its columns, its run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import mlflow
from mlflow.exceptions import MlflowException

from ratchet import metrics, recorded
from ratchet.errors import StoreError
from ratchet.metrics import Metric
from ratchet.project import Project
from ratchet.recorded import Record
from ratchet.registry import champion, references, versions
from ratchet.registry.versions import Version
from ratchet.schema import Schema
from ratchet.serving import models

T = TypeVar("T")

# A model keeps what a server would be sent for its input example.
_EXAMPLE = "serving_input_example.json"


@dataclass(frozen=True)
class Served:
    """A version of a registered model, loaded."""

    version: Version
    """Its model's name, its number and its run."""
    model: Any
    """It takes raw columns; see ``model.predict``."""
    schema: Schema
    """The columns that it takes, and its target."""
    training: Record
    """The run that trained it."""

    @property
    def label(self) -> str:
        """Short name for people, e.g. ``"taxi/3"``."""
        return self.version.label

    def metric(self, chosen: str) -> Metric:
        """Give the score that it was chosen by.

        Parameters
        ----------
        chosen : str
            ``train.metric`` of the settings that are used now: a function is called
            only if they name it.

        Raises
        ------
        StoreError
            If its run doesn't say.
        SettingsError
            If its run names a function and the settings don't.
        """
        leader = _read(self.training.run_id, "leader.json", json.loads)
        return metrics.on_record(str(leader["metric_reference"]), self.schema.problem, chosen)


def find(project: Project, reference: str | None = None) -> Version:
    """Find the champion, or the version that a person names.

    Parameters
    ----------
    project : Project
        Whose settings name the registered model and its alias.
    reference : str, optional
        ``NUMBER``, ``NAME/NUMBER`` or ``NAME@ALIAS``; None means the champion.

    Raises
    ------
    StoreError
        If there is no such version, or the registry fails.
    """
    settings = project.settings
    if reference is None:
        found = champion.current(settings)
        if found is None:
            raise StoreError(
                f"There is no champion: no version of {settings.model_name} has the alias"
                f" {settings.registry.alias!r}. Run the pipeline, whose last step promotes one:"
                " ratchet run."
            )
        return found
    if reference.strip().isdecimal():
        return versions.get(settings, int(reference))
    named = references.resolve(reference)
    if named.model is None or named.version is None:
        raise StoreError(
            f"{reference!r} names a run, which is no version of a registered model. Allowed:"
            " NUMBER, NAME/NUMBER or NAME@ALIAS, such as 3, taxi/3 or taxi@champion."
        )
    return Version(named.model, named.version, named.run_id)


def load(project: Project, version: Version) -> Served:
    """Load a version, without pickle, and read what its training recorded of its columns.

    Raises
    ------
    AlteredError
        If its files are not those that were promoted.
    StoreError
        If it can't be loaded, must be signed and isn't, or its training's record is gone.
    """
    training = recorded.training_of(version.run_id)
    prepared = training.tags.get("ratchet.prepare_run")
    if prepared is None:
        raise StoreError(
            f"{version.label} was not trained by this project: its run"
            f" {training.run_id} names no run of prepare, which knows the columns."
        )
    schema = _read(prepared, "schema.json", lambda text: Schema.from_dict(json.loads(text)))
    loaded = models.load_version(project, version, signed=True)
    return Served(version, loaded, schema, training)


def example(version: Version) -> bytes | None:
    """Read the request that MLflow made of the first rows of a training; None where it hasn't."""
    with TemporaryDirectory() as folder:
        try:
            uri = f"{version.uri}/{_EXAMPLE}"
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)).read_bytes()
        except (MlflowException, OSError):
            return None


def _read(run_id: str, name: str, parse: Callable[[str], T]) -> T:
    """Read a text artifact of a run."""
    with TemporaryDirectory() as folder:
        found = recorded.download(run_id, name, Path(folder))
        text = None if found is None else found.read_text(encoding="utf-8")
    if text is None:
        raise StoreError(f"Run {run_id} has no {name}, or it can't be read where it is kept.")
    try:
        return parse(text)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{name} of run {run_id} can't be read: {error}. Another version of this project may"
            " have written it."
        ) from error

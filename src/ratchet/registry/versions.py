"""Versions, stages and aliases of a registered model."""

import random
import re
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.settings import Settings

RUN_TAG = "ratchet.run"
"""Tag of a version that names the run that trained it."""

DIGEST_TAG = "ratchet.model_digest"
"""Tag of a version with the digest of its files, as they were when it was promoted."""

PREVIOUS_ALIAS = "previous"
"""Alias of the version that was the champion before."""


# Two clients that write the same thing at once: MLflow looks, inserts, and the second insert fails.
_CONFLICT = re.compile("IntegrityError|UniqueViolation|UNIQUE constraint|Duplicate entry")
_TRIES = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    model: str
    """Name of the registered model."""
    number: int
    """Its version."""
    run_id: str
    """Run that trained it."""

    @property
    def label(self) -> str:
        """Short name for people, e.g. ``"taxi/3"``."""
        return f"{self.model}/{self.number}"

    @property
    def uri(self) -> str:
        """How MLflow loads it."""
        return f"models:/{self.label}"


def by_alias(settings: Settings, alias: str) -> Version | None:
    """Return the version that holds an alias, None when none does.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    client = mlflow.MlflowClient()
    with tracking.translated():
        try:
            found = client.get_model_version_by_alias(settings.model_name, alias)
        except MlflowException as error:
            # An unknown model is "does not exist", a missing alias "invalid value".
            if error.error_code in tracking.ABSENT or is_unknown(settings.model_name, error):
                return None
            raise
    return _as_version(found)


def get(settings: Settings, number: int) -> Version:
    """Return a version by its number.

    Raises
    ------
    StoreError
        If there is none, or the registry fails.
    """
    client = mlflow.MlflowClient()
    with tracking.translated():
        try:
            return _as_version(client.get_model_version(settings.model_name, str(number)))
        except MlflowException as error:
            if not (_is_gone(error) or is_unknown(settings.model_name, error)):
                raise
            known = client.search_model_versions(f"name = '{settings.model_name}'")
            numbers = ", ".join(str(n) for n in sorted(int(each.version) for each in known))
            raise StoreError(
                f"{settings.model_name} has no version {number}. Its versions: {numbers or 'none'}."
            ) from None


def exists(settings: Settings, number: int) -> bool:
    """Tell whether a version is there, neither deleted nor never made."""
    with tracking.translated():
        try:
            mlflow.MlflowClient().get_model_version(settings.model_name, str(number))
        except MlflowException as error:
            if not (_is_gone(error) or is_unknown(settings.model_name, error)):
                raise
            return False
    return True


def is_unknown(model: str, error: MlflowException) -> bool:
    """Tell whether a refusal means that there is no registered model of this name.

    A server that knows its users forbids each of them the versions of a model
    that it hasn't got, and says of the model itself that it isn't there.
    """
    if error.error_code != "PERMISSION_DENIED":
        return False
    try:
        mlflow.MlflowClient().get_registered_model(model)
    except MlflowException as second:
        return _is_gone(second)
    return False


def tags_of(version: Version) -> dict[str, str]:
    """Read what is said of a version.

    Raises
    ------
    StoreError
        If the registry fails, or there is no such version any more.
    """
    with tracking.translated():
        found = mlflow.MlflowClient().get_model_version(version.model, str(version.number))
    return dict(found.tags)


def of_run(settings: Settings, run_id: str) -> Version | None:
    """Return the version that a run's model was registered as, None when it wasn't."""
    with tracking.translated():
        found = mlflow.MlflowClient().search_model_versions(
            f"name = '{settings.model_name}' and tags.`{RUN_TAG}` = '{run_id}'"
        )
    return _as_version(min(found, key=lambda version: int(version.version))) if found else None


def register(
    settings: Settings, *, run_id: str, model_uri: str, tags: Mapping[str, str] | None = None
) -> Version:
    """Make a version of a run's model, which holds no stage and no alias yet.

    Parameters
    ----------
    settings : Settings
        Names the registered model.
    run_id : str
        Run that trained the model.
    model_uri : str
        Where its model is, ``models:/m-…``.
    tags : mapping of str to str, optional
        What else is to be said of it from the first moment.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    client, name = mlflow.MlflowClient(), settings.model_name
    with tracking.translated():
        try:
            client.create_registered_model(name, tags=_tags(settings), description=_about(settings))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        model_id = model_uri.removeprefix("models:/")
        logged = client.get_logged_model(model_id)
        return _as_version(
            _again(
                lambda: client.create_model_version(
                    name,
                    source=logged.artifact_location,
                    run_id=run_id,
                    model_id=model_id,
                    tags={**(tags or {}), RUN_TAG: run_id},
                )
            )
        )


def delete(version: Version) -> None:
    """Take back a version that holds nothing; one that is gone already is no mistake."""
    with tracking.translated(), tracking.may_stay():
        try:
            mlflow.MlflowClient().delete_model_version(version.model, str(version.number))
        except MlflowException as error:
            if not _is_gone(error):
                raise


def idle_of_runs(settings: Settings, run_ids: Collection[str]) -> tuple[Version, ...]:
    """List the versions of some runs' models that hold no stage and no alias.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    client = mlflow.MlflowClient()
    with tracking.translated():
        found = client.search_model_versions(f"name = '{settings.model_name}'")
        idle = [
            each
            for each in found
            if each.tags.get(RUN_TAG) in run_ids and each.current_stage in (None, "None")
        ]
        if not idle:
            return ()
        held = client.get_registered_model(settings.model_name).aliases.values()
    taken = {int(number) for number in held}
    return tuple(_as_version(each) for each in idle if int(each.version) not in taken)


def describe(version: Version, tags: Mapping[str, str], description: str | None) -> None:
    """Write tags and, unless it is None, a description; repeating it changes nothing."""
    client, number = mlflow.MlflowClient(), str(version.number)

    def write() -> None:
        found = client.get_model_version(version.model, number)
        for name, value in tags.items():
            if found.tags.get(name) != value:  # each is a request of its own
                client.set_model_version_tag(version.model, number, name, value)
        if description is not None and found.description != description:
            client.update_model_version(version.model, number, description)

    with tracking.translated():
        _again(write)


def hold_stage(settings: Settings, version: Version) -> None:
    """Give a version the stage of params.yaml, and archive whoever held it."""
    stage = settings.registry.stage
    if stage is None:
        return
    client, number = mlflow.MlflowClient(), str(version.number)
    with tracking.translated(), warnings.catch_warnings():
        # Stages are on their way out, but MLflow has them and users read them.
        warnings.simplefilter("ignore", FutureWarning)
        _again(
            lambda: client.transition_model_version_stage(
                version.model, number, stage, archive_existing_versions=True
            )
        )


def alone_in_stage(settings: Settings, number: int) -> bool:
    """Tell whether a version, and no other, is in the stage of params.yaml; yes where it has none.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    stage = settings.registry.stage
    if stage is None:
        return True
    with tracking.translated():
        found = mlflow.MlflowClient().search_model_versions(f"name = '{settings.model_name}'")
    return [int(each.version) for each in found if each.current_stage == stage] == [number]


def hold_alias(version: Version, alias: str) -> None:
    """Point an alias at a version, in one write."""
    client, number = mlflow.MlflowClient(), str(version.number)
    with tracking.translated():
        _again(lambda: client.set_registered_model_alias(version.model, alias, number))


def _is_gone(error: MlflowException) -> bool:
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def _about(settings: Settings) -> str:
    """Say what a registered model is, and how a version gets to serve."""
    registry, target = settings.registry, settings.data.target
    told = f"Predicts `{target}`" if target else "Finds clusters"
    stage = f" and the stage `{registry.stage}`" if registry.stage else ""
    return (
        f"{told}, trained by the runs of the experiment *{settings.experiment_name}*. The version"
        f" that serves has the alias `{registry.alias}`{stage}; `models:/{settings.model_name}"
        f"@{registry.alias}` loads it.\n\n"
        "A version gets there only if it beats the one that serves on the same test rows and every"
        " other gate of `params.yaml` passes, or by a person's decision with a reason. The one"
        f" before has the alias `{PREVIOUS_ALIAS}`. Each decision is a run of the experiment"
        f" *{settings.model_name} decisions*; `python src history` lists them, and"
        " `python src rollback` undoes the last one."
    )


def _tags(settings: Settings) -> dict[str, str]:
    """Give what tells registered models apart in the list of all."""
    tags = {"ratchet.experiment": settings.experiment_name}
    if settings.data.target:
        tags["ratchet.target"] = settings.data.target
    if settings.train.metric:
        tags["ratchet.metric"] = settings.train.metric
    return tags


def _as_version(found: ModelVersion) -> Version:
    return Version(found.name, int(found.version), found.run_id or "")


def _again(write: Callable[[], T]) -> T:
    """Do a write that may be repeated, until no other client's comes in between."""
    for _ in range(_TRIES):
        try:
            return write()
        except MlflowException as error:
            if not _CONFLICT.search(str(error)):
                raise
        time.sleep(random.uniform(0.01, 0.2))
    return write()

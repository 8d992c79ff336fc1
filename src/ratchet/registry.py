"""Versions, stages and aliases: who is the champion, and how another takes its place."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.settings import Settings

RUN_TAG = "ratchet.run"
"""Tag of a version that names the run that trained it."""


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
    def uri(self) -> str:
        """How MLflow loads it."""
        return f"models:/{self.model}/{self.number}"


def champion(settings: Settings) -> Version | None:
    """Return the version that holds the alias, None when there is none yet.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    client = mlflow.MlflowClient()
    with tracking.translated():
        try:
            found = client.get_model_version_by_alias(settings.model_name, settings.registry.alias)
        except MlflowException as error:
            # An unknown model is "does not exist", a missing alias "invalid value".
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
    return _as_version(found)


def version_of(settings: Settings, run_id: str) -> Version | None:
    """Return the version that a run's model was registered as, None when it wasn't."""
    with tracking.translated():
        found = mlflow.MlflowClient().search_model_versions(
            f"name = '{settings.model_name}' and tags.`{RUN_TAG}` = '{run_id}'"
        )
    return _as_version(max(found, key=lambda version: int(version.version))) if found else None


def promote(
    settings: Settings, *, run_id: str, model_uri: str, tags: Mapping[str, str], description: str
) -> Version:
    """Make the model of a run the champion.

    Each write can be repeated: a promotion that was interrupted is finished
    by the next call, which finds the version by its run and makes no second.
    The alias moves last, in one write, so that there is never no champion.

    Parameters
    ----------
    settings : Settings
        Names the registered model, the stage and the alias.
    run_id : str
        Run that trained the model.
    model_uri : str
        Where its model is, ``models:/m-…``.
    tags : mapping of str to str
        What the version says about itself.
    description : str
        A sentence for the registry's page.

    Raises
    ------
    StoreError
        If the registry fails.
    """
    client = mlflow.MlflowClient()
    version = version_of(settings, run_id) or _register(
        client, settings, run_id, model_uri, description
    )
    number = str(version.number)
    with tracking.translated():
        for name, value in tags.items():
            client.set_model_version_tag(version.model, number, name, value)
        if settings.registry.stage is not None:
            with warnings.catch_warnings():
                # Stages are on their way out, but MLflow has them and users read them.
                warnings.simplefilter("ignore", FutureWarning)
                client.transition_model_version_stage(
                    version.model, number, settings.registry.stage, archive_existing_versions=True
                )
        client.set_registered_model_alias(version.model, settings.registry.alias, number)
    return version


def _register(
    client: mlflow.MlflowClient,
    settings: Settings,
    run_id: str,
    model_uri: str,
    description: str,
) -> Version:
    name = settings.model_name
    with tracking.translated():
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        model_id = model_uri.removeprefix("models:/")
        logged = client.get_logged_model(model_id)
        return _as_version(
            client.create_model_version(
                name,
                source=logged.artifact_location,
                run_id=run_id,
                model_id=model_id,
                tags={RUN_TAG: run_id},
                description=description,
            )
        )


def _as_version(found: ModelVersion) -> Version:
    return Version(found.name, int(found.version), found.run_id or "")

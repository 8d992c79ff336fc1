"""What a person calls a run or a version, turned into the run and its model."""

import re
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.registry import versions

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_NAMED = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<number>[1-9]\d*)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class Reference:
    """A run, and the version that its model was registered as if a version was named."""

    text: str
    """What was asked for."""
    run_id: str
    """Run that trained the model."""
    model: str | None = None
    """Name of the registered model; None when a run was named."""
    version: int | None = None
    """Its version; None when a run was named."""

    @property
    def label(self) -> str:
        """Short name for people, e.g. ``"taxi/3"`` or ``"run 1a2b3c4d"``."""
        return f"{self.model}/{self.version}" if self.model else f"run {self.run_id[:8]}"


def resolve(text: str) -> Reference:
    """Find the run that a person means.

    Parameters
    ----------
    text : str
        ``RUN_ID``, ``NAME/VERSION`` or ``NAME@ALIAS``, the last two also with
        ``models:/`` before them.

    Raises
    ------
    StoreError
        If it is none of these, or the store has no such run, version or alias.
    """
    text = text.strip()
    if _RUN_ID.fullmatch(text):
        if tracking.origin_of(text) is None:
            where = tracking.masked(mlflow.get_tracking_uri())
            raise StoreError(f"The store {where} has no run {text}.")
        return Reference(text, text)
    named = _NAMED.fullmatch(text)
    if named is None:
        raise StoreError(
            f"{text!r} names no run and no version. Allowed: RUN_ID (32 hexadecimal digits),"
            " NAME/VERSION or NAME@ALIAS, such as taxi/3 or taxi@champion."
        )
    client, name = mlflow.MlflowClient(), named["name"]
    with tracking.translated():
        try:
            if named["alias"]:
                found = client.get_model_version_by_alias(name, named["alias"])
            else:
                found = client.get_model_version(name, named["number"])
        except MlflowException as error:
            if not (error.error_code in tracking.ABSENT or versions.is_unknown(name, error)):
                raise
            raise StoreError(f"The registry has no {text}. {_there_are(client, name)}") from None
    if not found.run_id:
        raise StoreError(f"{text} does not say which run trained it.")
    return Reference(text, found.run_id, found.name, int(found.version))


def _there_are(client: mlflow.MlflowClient, name: str) -> str:
    """Say what could have been meant."""
    numbers = sorted(int(each.version) for each in client.search_model_versions(f"name = '{name}'"))
    if numbers:
        aliases = sorted(client.get_registered_model(name).aliases)
        held = f"; aliases: {', '.join(aliases)}" if aliases else ""
        return f"Versions of {name}: {', '.join(map(str, numbers))}{held}."
    models = sorted(each.name for each in client.search_registered_models())
    return f"Registered models: {', '.join(models) or 'none'}."

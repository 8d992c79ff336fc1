"""Load a model as the settings of a project allow it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ratchet import backends, tracking, vetting
from ratchet.project import Project
from ratchet.registry import integrity
from ratchet.registry.integrity import Found
from ratchet.registry.versions import Version


def load_version(project: Project, version: Version, *, signed: bool) -> Any:
    """Load a registered version, after its files were held against what was promoted.

    What is checked is a copy that nobody else can write to, and the same copy is loaded.

    Parameters
    ----------
    project : Project
        As for ``load``.
    version : Version
        The version.
    signed : bool
        Whether ``registry.require_signature`` counts: it does for whoever answers with the
        model, and not for one that only compares with it.

    Raises
    ------
    AlteredError
        If a file was altered, removed or added since.
    StoreError
        As for ``load``, or if it must be signed and isn't.
    """
    with TemporaryDirectory(prefix="ratchet-") as place:
        folder = tracking.fetch(version.uri, Path(place))
        found = integrity.check(version, folder)
        if signed:
            integrity.require_signature(project, found)
        return load(project, version.uri, folder)


def fetch(version: Version) -> Found:
    """Read a version's files where they are kept, hold them against the record, and load nothing.

    Raises
    ------
    AlteredError
        If a file was altered, removed or added since they were promoted.
    StoreError
        If they aren't there, or the store fails.
    """
    with TemporaryDirectory(prefix="ratchet-") as place:
        return integrity.check(version, tracking.fetch(version.uri, Path(place)))


def load(project: Project, uri: str, folder: Path | None = None) -> Any:
    """Load the model of a folder or a ``models:/`` URI, without pickle.

    A model of the user's own may name functions of the project's modules, and
    of those installed ones that ``params.yaml`` names.

    Parameters
    ----------
    project : Project
        Whose settings say what may be loaded.
    uri : str
        The folder or the URI.
    folder : Path, optional
        Where its files lie already.

    Raises
    ------
    StoreError
        If there is no such model, or loading it would run what others wrote.
    """
    choices = project.settings.train
    backends.load(choices.plugins)
    return tracking.load_model(
        uri,
        backends.callable_modules(choices.backends),
        vetting.known_types(choices.backends, project.settings.registry.trusted_types),
        folder,
    )

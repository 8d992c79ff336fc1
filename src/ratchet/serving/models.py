"""Load a model as the settings of a project allow it."""

from typing import Any

from ratchet import backends, tracking, vetting
from ratchet.project import Project


def load(project: Project, uri: str) -> Any:
    """Load the model of a folder or a ``models:/`` URI, without pickle.

    A model of the user's own may name functions of the project's modules, and
    of those installed ones that ``params.yaml`` names.

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
    )

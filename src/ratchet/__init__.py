"""Ratchet: a versioned table to a registered champion that only moves forward, on evidence."""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratchet.backends.hooks import BaseTrainingBackend as BaseTrainingBackend
    from ratchet.backends.hooks import TrainingRunResult as TrainingRunResult
    from ratchet.model_trainer import ModelTrainer as ModelTrainer

__version__ = "0.1.0"
__all__ = ["BaseTrainingBackend", "ModelTrainer", "TrainingRunResult", "__version__"]

# A model of the user's own brings this file and one beside it. Where the whole package is
# installed as well, its other modules must still be found.
__path__ = extend_path(__path__, __name__)

_PLACES = {
    "BaseTrainingBackend": "ratchet.backends.hooks",
    "ModelTrainer": "ratchet.model_trainer",
    "TrainingRunResult": "ratchet.backends.hooks",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: what it needs takes seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)

"""Whether a saved model may be loaded: nothing runs that it brings along or only names.

A model's own ``MLmodel`` file says which classes skops should trust, which code
to put on the path, and which library reads it. Whoever wrote the model wrote that file,
so that all three are held against lists of the project's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from ratchet import backends, derived, sources
from ratchet.backends import Params
from ratchet.backends.hooks import WRAPPERS
from ratchet.model import ASSEMBLY_TYPES

PLAIN_LOADERS = ("mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost", "mlflow.onnx")
"""Loaders of formats that hold numbers and no code."""

# MLflow's name for a format that names the classes in it, which are looked at before they are made.
_SKOPS = "skops"
_BOOSTER = "lightgbm.basic.Booster"


@dataclass(frozen=True)
class Saved:
    """What a model's folder says of itself, which nobody has to believe."""

    folder: Path
    """Folder with the ``MLmodel`` file."""
    flavors: Mapping[str, Any]
    """What is in that file under this name; empty for a folder without one."""

    @classmethod
    def read(cls, folder: Path) -> "Saved":
        """Read the ``MLmodel`` file, as far as there is one that can be read."""
        try:
            told = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            told = None
        flavors = told.get("flavors") if isinstance(told, dict) else None
        return cls(folder, flavors if isinstance(flavors, dict) else {})

    @property
    def is_sklearn(self) -> bool:
        """Whether MLflow's loader for scikit-learn reads it."""
        return "sklearn" in self.flavors

    @property
    def loader(self) -> str:
        """The module of MLflow that reads it."""
        return str(self._of("python_function").get("loader_module", "no Python format"))

    @property
    def unsafe_format(self) -> str:
        """The format that it is saved in, where reading it may run any code; else empty."""
        if self.is_sklearn:
            saved = self._of("sklearn").get("serialization_format")
            return "" if saved == _SKOPS else str(saved)
        if self.loader not in PLAIN_LOADERS:
            return self.loader
        made = str(self._of(self.loader.removeprefix("mlflow.")).get("model_class", ""))
        if self.loader == "mlflow.lightgbm" and made not in ("", _BOOSTER):
            # Its estimators have no format of their own: MLflow takes cloudpickle unless told.
            saved = self._of("lightgbm").get("serialization_format", "cloudpickle")
            return "" if saved == _SKOPS else str(saved)
        if self.loader == "mlflow.xgboost" and made and sources.top(made) != "xgboost":
            return made  # MLflow would import and call whatever is named here
        return ""

    @property
    def strays(self) -> list[str]:
        """Paths in it that lead out of its folder, and folders of code where none may be."""
        return sorted({*_leading_out(self.flavors), *self._other_code})

    @property
    def _other_code(self) -> Iterator[str]:
        # What is called code is looked at before it is loaded: see ``sources.strangers``.
        for flavor in self.flavors.values():
            named = flavor.get("code") if isinstance(flavor, dict) else None
            if named and named != "code":
                yield f"code: {named}"

    @property
    def lists_types(self) -> bool:
        """Whether skops reads it, with a list of what is to be trusted."""
        return self.is_sklearn or self._skops.get("serialization_format") == _SKOPS

    @property
    def file(self) -> Path:
        """The file that skops reads."""
        return self.folder / str(self._skops.get("pickled_model") or self._skops.get("data"))

    def unlisted_types(self) -> list[str]:
        """Name what it holds, skops doesn't know, and its own list hasn't got."""
        return sorted(self._held() - self._listed)

    def strange_types(self, trusted: Collection[str], modules: Collection[str]) -> list[str]:
        """Name what it wants to be trusted, holds, and nobody here has declared.

        Parameters
        ----------
        trusted : collection of str
            Classes and functions by their full names; see ``known_types``.
        modules : collection of str
            Top-level modules all of which is trusted.
        """
        strange = {
            name
            for name in self._listed
            if name not in trusted and sources.top(name) not in modules
        }
        # Another version of this project may have listed what this very model hasn't got.
        return sorted(strange & self._held()) if strange else []

    @property
    def _listed(self) -> set[str]:
        return {str(name) for name in self._skops.get("skops_trusted_types") or ()}

    def _held(self) -> set[str]:
        from skops.io import get_untrusted_types

        return set(get_untrusted_types(file=self.file))

    @property
    def _skops(self) -> Mapping[str, Any]:
        return self._of("sklearn") if self.is_sklearn else self._of("lightgbm")

    def _of(self, flavor: str) -> Mapping[str, Any]:
        found = self.flavors.get(flavor)
        return found if isinstance(found, dict) else {}


def _leading_out(value: Any) -> Iterator[str]:
    """Yield every text in nested values that is a path out of the folder they belong to."""
    if isinstance(value, str):
        path = PurePath(value)
        if path.is_absolute() or ".." in path.parts:
            yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leading_out(each)


def known_types(
    options: Mapping[str, Params] | None = None, more: Iterable[str] = ()
) -> frozenset[str]:
    """Name the classes and functions that a model may hold beside those that skops knows.

    Parameters
    ----------
    options : mapping, optional
        ``train.backends`` of params.yaml.
    more : iterable of str
        What else is trusted, by name.
    """
    given = options or {}
    shelf = (backends.get(name, given.get(name)).trusted_types for name in backends.available())
    # A wrapper calls functions of allowed modules only; see ``hooked.only``.
    always = {*ASSEMBLY_TYPES, *derived.TRUSTED_TYPES, *WRAPPERS}
    return frozenset(always.union(more, *shelf))

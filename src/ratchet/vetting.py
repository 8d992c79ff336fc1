"""Whether a saved model may be loaded: nothing runs that it brings along or only names.

A model's own ``MLmodel`` file says which classes skops should trust, which code
to put on the path, and which library reads it. Whoever wrote the model wrote that file,
so that all three are held against lists of the project's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import yaml

from ratchet import backends, derived, sources
from ratchet.backends import Params
from ratchet.backends.hooks import WRAPPERS
from ratchet.errors import SettingsError
from ratchet.model import ASSEMBLY_TYPES

PLAIN_LOADERS = ("mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost", "mlflow.onnx")
"""Loaders of formats that hold numbers and no code."""

XGBOOST_CLASSES = (
    "xgboost.core.Booster",
    *(
        f"xgboost.sklearn.XGB{name}"
        for name in ("Classifier", "Ranker", "Regressor", "RFClassifier", "RFRegressor")
    ),
)
"""Classes that MLflow may make of an XGBoost file; it would import and call any other, too."""

ONNX_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")
"""What may compute an ONNX graph: others load libraries that their options name."""

# MLflow's name for a format that names the classes in it, which are looked at before they are made.
_SKOPS = "skops"
_BOOSTER = "lightgbm.basic.Booster"
# Where MLflow's own savers put a model's code, the only place that anybody has looked at.
_CODE = "code"
# By which name each flavor says where the file of the model is.
_DATA = ("data", "pickled_model", "model_path", "model_binary")


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
        if self.loader == "mlflow.xgboost" and made and made not in XGBOOST_CLASSES:
            return made  # MLflow would import and call whatever is named here
        return ""

    @property
    def detour(self) -> str:
        """What its file names elsewhere than MLflow's own savers put it, as a clause; else empty.

        Code is looked at in one place, and so is the ``MLmodel`` file: some loaders
        read another one that lies beside the data, and believe that.
        """
        for name, flavor in self.flavors.items():
            if not isinstance(flavor, dict):
                continue
            code = flavor.get("code")
            if code not in (None, "", _CODE):
                return f"its MLmodel has code of {name} in {code!r}, where {_CODE!r} is allowed"
            for key in _DATA:
                place = flavor.get(key)
                if place is not None and not self._is_beside(place):
                    return (
                        f"its MLmodel has the {key} of {name} in {place!r}, where a file beside"
                        " MLmodel is allowed"
                    )
        return self._onnx_detour

    @property
    def _onnx_detour(self) -> str:
        told = self._of("onnx")
        providers = told.get("providers")
        strange = [
            each
            for each in (providers if isinstance(providers, list) else [providers])
            if each is not None and each not in ONNX_PROVIDERS
        ]
        if strange:
            return (
                f"its MLmodel wants ONNX to compute by {strange[0]!r}, where"
                f" {' and '.join(ONNX_PROVIDERS)} are allowed"
            )
        options = told.get("onnx_session_options")
        if isinstance(options, dict) and options.get("extra_session_config"):
            return "its MLmodel gives ONNX settings of a session, which may name files of others"
        return ""

    def _is_beside(self, place: object) -> bool:
        """Tell whether a name is that of a file in the model's own folder."""
        return (
            isinstance(place, str)
            and Path(place).name == place
            and not (self.folder / place).is_dir()
        )

    @property
    def strays(self) -> list[str]:
        """Paths in it that lead out of its folder."""
        return sorted(set(_leading_out(self.flavors)))

    @property
    def lists_types(self) -> bool:
        """Whether skops reads it, with a list of what is to be trusted."""
        return self.is_sklearn or self._skops.get("serialization_format") == _SKOPS

    @property
    def file(self) -> Path:
        """The file that skops reads."""
        return self.folder / str(self._skops.get("pickled_model" if self.is_sklearn else "data"))

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
            Top-level modules all of which is trusted that is written there. What they have
            imported from elsewhere is not.
        """
        strange = {name for name in self._listed if name not in trusted}
        # Another version of this project may have listed what this very model hasn't got.
        held = strange & self._held() if strange else ()
        return sorted(name for name in held if not is_written_in(modules, name))

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


def is_written_in(modules: Collection[str], name: str) -> bool:
    """Tell whether a class or function is one of these modules' own, not only known there.

    Parameters
    ----------
    modules : collection of str
        Their top-level names; the one that is asked for is imported.
    name : str
        Full name of the class or function.
    """
    if sources.top(name) not in modules:
        return False
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        return False
    return sources.top(str(getattr(found, "__module__", ""))) in modules


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

    Raises
    ------
    SettingsError
        If one of these is a module: that would trust whatever is in it.
    """
    more = tuple(more)
    for name in more:
        if _is_module(name):
            raise SettingsError(
                f"registry.trusted_types names {name}, which is a module. Name each class or"
                f" function in it that may be loaded, such as {name}.SomeClass."
            )
    given = options or {}
    shelf = (backends.get(name, given.get(name)).trusted_types for name in backends.available())
    # A wrapper calls functions of allowed modules only; see ``hooked.only``.
    always = {*ASSEMBLY_TYPES, *derived.TRUSTED_TYPES, *WRAPPERS}
    return frozenset(always.union(more, *shelf))


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):  # what is above it is no package
        return False

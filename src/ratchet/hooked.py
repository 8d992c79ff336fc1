"""Makes a model of the user's own one scikit-learn estimator, which skops saves without pickle.

This file travels with every model that holds one of its classes, so that the model
answers where the project is not installed: it imports nothing of the project.
"""

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

# Probabilities of a row may miss 1 by this much: single precision sums to less than that.
_TOLERANCE = 1e-3

# Top-level modules whose functions a saved model may name; None where the process that loads it
# has decided to run its code, as `mlflow models serve` does.
_ALLOWED: ContextVar[frozenset[str] | None] = ContextVar("allowed", default=None)


@contextmanager
def only(modules: Collection[str]) -> Iterator[None]:
    """Let models that are loaded in the block name functions of these modules only.

    A saved model says by name which function reads its files. Without this
    limit, whoever wrote the model could name any function there is.

    Parameters
    ----------
    modules : collection of str
        Top-level names, such as ``my_project``.
    """
    token = _ALLOWED.set(frozenset(modules))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def resolve(path: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names.

    Raises
    ------
    ValueError
        If the module is not among those that ``only`` allows, or the name is
        no path of a function.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise ValueError(f"{path!r} names no function; it must be like 'my_project.models:build'.")
    allowed = _ALLOWED.get()
    if allowed is not None and module.partition(".")[0] not in allowed:
        raise ValueError(
            f"The model wants to run {path!r}, whose module is not among those it may use:"
            f" {', '.join(sorted(allowed)) or 'none'}."
        )
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    if not callable(function):
        raise ValueError(f"{path!r} is no function.")
    written_in = str(getattr(function, "__module__", None) or "another module")
    if allowed is not None and written_in.partition(".")[0] not in allowed:
        # A module that imports pandas knows pandas.read_pickle, and no model may ask for that.
        raise ValueError(
            f"The model wants to run {path!r}, which {module} has from {written_in}, and that is"
            f" not among the modules it may use: {', '.join(sorted(allowed)) or 'none'}."
        )
    return function


def files_of(save: Callable[[str], Any]) -> dict[str, bytes]:
    """Collect what ``save`` writes, given the path to write to.

    It may write a file there, a folder, or a file with an ending added to the
    path, as ``numpy.savez`` does.

    Returns
    -------
    dict of str to bytes
        Content by name relative to the folder of that path.

    Raises
    ------
    ValueError
        If it wrote nothing.
    """
    with TemporaryDirectory() as folder:
        save(str(Path(folder, "model")))
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    if not files:
        raise ValueError("save_fn wrote no file. It must write to the path that it is given.")
    return files


def model_of(files: Mapping[str, bytes], load: Callable[[str], Any]) -> Any:
    """Give what ``load`` reads from files that ``files_of`` has collected.

    Raises
    ------
    ValueError
        If a name leads out of the folder, or ``load`` gives no model.
    """
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            if not path.resolve().is_relative_to(Path(folder).resolve()):
                raise ValueError(f"The model holds a file {name!r} outside of its own folder.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        restored = load(str(Path(folder, "model")))
    if isinstance(restored, tuple) and len(restored) == 2:
        return restored[0]
    if isinstance(restored, Mapping) and "model" in restored:
        return restored["model"]
    raise ValueError(
        "load_fn must give (model, metadata) or {'model': model, 'metadata': metadata},"
        f" got {type(restored).__name__}."
    )


class _Hooked(BaseEstimator):
    """What both kinds have in common: asking the model, and taking it apart to be saved."""

    def __init__(
        self,
        model: Any = None,
        predict_fn: Any = None,
        save_fn: Any = None,
        load_fn: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a fitted model.

        Parameters
        ----------
        model : object
            Anything that ``predict_fn`` takes; without one, it has ``predict``.
        predict_fn, save_fn, load_fn : callable or str
            The user's functions, or their import paths ``module:function``. A
            model without ``save_fn`` and ``load_fn`` is saved as it is, by skops.
        config : mapping
            What the functions are given.
        """
        self.model = model
        self.predict_fn = predict_fn
        self.save_fn = save_fn
        self.load_fn = load_fn
        self.config = config

    @property
    def base_model(self) -> Any:
        """The user's own model."""
        return self.model

    def fit(self, X: Any, y: Any = None) -> "_Hooked":
        """Do nothing: the model is fitted before it is wrapped."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _answers(self, X: Any) -> np.ndarray:
        answers = _function(self.predict_fn)(self.model, X)
        if hasattr(answers, "detach"):  # a tensor that still knows its gradient
            answers = answers.detach().cpu()
        answers = np.asarray(answers)
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if len(answers) != len(X) or answers.ndim not in (1, 2):
            raise ValueError(
                f"predict_fn gave an array of shape {answers.shape} for {len(X)} rows; it must be"
                f" ({len(X)},){self._also(len(X))}."
            )
        return answers

    def _also(self, n: int) -> str:
        return ""

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("predict_fn", "save_fn", "load_fn"):
            if state[name] is not None and not isinstance(state[name], str):
                raise ValueError(
                    f"{name} is {state[name]!r}, which can't be found again when the model is"
                    " loaded. Name a function of a module, like 'my_project.models:predict'."
                )
        if self.load_fn is not None:
            save, config = _function(self.save_fn), dict(self.config or {})
            metadata = {"kind": type(self).__name__}
            state["model"] = files_of(lambda path: save(state["model"], path, metadata, config))
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        if self.predict_fn is not None:
            resolve(self.predict_fn)
        if self.load_fn is not None:
            load, config = resolve(self.load_fn), dict(self.config or {})
            self.model = model_of(state["model"], lambda path: load(path, config))


class HookedRegressor(RegressorMixin, _Hooked):
    """A model that answers with quantities."""

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Give a quantity for each row, float64 of shape (n,)."""
        answers = np.asarray(self.model.predict(X)) if self.predict_fn is None else self._answers(X)
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if answers.shape != (len(X),):
            raise ValueError(
                f"The model gave quantities of shape {answers.shape} for {len(X)} rows."
            )
        return answers.astype(np.float64)


class HookedClassifier(ClassifierMixin, _Hooked):
    """A model that answers with classes or their probabilities."""

    def __init__(
        self,
        model: Any = None,
        predict_fn: Any = None,
        save_fn: Any = None,
        load_fn: Any = None,
        config: Mapping[str, Any] | None = None,
        classes: Any = None,
    ) -> None:
        """Wrap a fitted model.

        Parameters
        ----------
        model, predict_fn, save_fn, load_fn, config
            As above. ``predict_fn`` gives classes of shape (n,), probabilities of
            shape (n, K) in the order of ``classes``, or for two classes the
            probability of the second, of shape (n,).
        classes : np.ndarray of shape (K,)
            The classes in order, as the model was given them.
        """
        super().__init__(model, predict_fn, save_fn, load_fn, config)
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        """The classes, as scikit-learn calls them."""
        return np.asarray(self.classes)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Give the likeliest class of each row."""
        answers: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return answers

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Give a probability for each class, float64 of shape (n, K).

        A class that the model is sure of, having no probabilities, gets 1.
        """
        if self.predict_fn is not None:
            answers = self._answers(X)
        elif hasattr(self.model, "predict_proba"):
            answers = self._in_order(np.asarray(self.model.predict_proba(X)))
        else:
            answers = np.asarray(self.model.predict(X)).reshape(-1)
        return self._checked(answers) if answers.ndim == 2 else self._of_labels(answers)

    def _in_order(self, probabilities: np.ndarray) -> np.ndarray:
        """Put the columns of a model that has not seen every class into their places."""
        seen = getattr(self.model, "classes_", None)
        if seen is None or len(seen) != probabilities.shape[1]:
            return probabilities
        places = pd.Index(self.classes_).get_indexer(pd.Index(seen))
        table = np.zeros((len(probabilities), len(self.classes_)))
        table[:, places] = probabilities
        return table

    def _of_labels(self, answers: np.ndarray) -> np.ndarray:
        if answers.dtype == bool and self.classes_.dtype != bool:
            answers = answers.astype(np.int64)
        codes = pd.Index(self.classes_).get_indexer(pd.Index(answers))
        if (codes >= 0).all():
            table = np.zeros((len(answers), len(self.classes_)))
            table[np.arange(len(answers)), codes] = 1
            return table
        if len(self.classes_) == 2 and _are_shares(answers):
            chance = answers.astype(np.float64)
            return np.column_stack([1 - chance, chance])
        strange = answers[codes < 0][0]
        raise ValueError(
            f"The model answered {strange!r}, which is none of the classes it was given:"
            f" {', '.join(map(repr, self.classes_.tolist()))}."
        )

    def _checked(self, probabilities: np.ndarray) -> np.ndarray:
        table = probabilities.astype(np.float64)
        if table.shape[1] != len(self.classes_):
            raise ValueError(
                f"The model gave {table.shape[1]} probabilities a row,"
                f" and there are {len(self.classes_)} classes."
            )
        if np.isnan(table).any():
            return table  # the search gives such a trial its worst score
        sums = table.sum(axis=1, keepdims=True)
        if (table < 0).any() or np.abs(sums - 1).max(initial=0) > _TOLERANCE:
            raise ValueError(
                "The model's probabilities must be at least 0 and add up to 1 in each row;"
                " a softmax makes scores so."
            )
        shares: np.ndarray = table / sums
        return shares

    def _also(self, n: int) -> str:
        return f" or ({n}, {len(self.classes_)})"


def _function(named: Any) -> Callable[..., Any]:
    return resolve(named) if isinstance(named, str) else named


def _are_shares(answers: np.ndarray) -> bool:
    is_number = np.issubdtype(answers.dtype, np.floating)
    return is_number and bool(((answers >= 0) & (answers <= 1)).all())

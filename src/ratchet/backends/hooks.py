"""Backends made of the user's own functions, or of a class with ``train``."""

import difflib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ratchet import metrics, sources
from ratchet.backends.base import (
    Backend,
    Choice,
    Dimension,
    Family,
    Fitted,
    Integer,
    Interpretability,
    Params,
    Real,
    Request,
    Space,
    Task,
    register,
)
from ratchet.errors import RatchetError, SettingsError
from ratchet.features import Preparation
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType, detect_problem

CLASSIFICATION, REGRESSION = "classification", "regression"
"""The two kinds of problem that the user's functions are told."""

SUPERVISED = tuple(problem for problem in ProblemType if problem.has_target)
"""Problems with a target, which is what functions of the user's own are given."""

WRAPPER = "ratchet.hooked"
"""Module of the classes below."""
WRAPPERS = (f"{WRAPPER}.HookedClassifier", f"{WRAPPER}.HookedRegressor")
"""Classes that make the user's model an estimator of scikit-learn."""

# A model of the user's own is taken to cost ten linear ones, until it was timed.
COST = 10.0


@dataclass
class TrainingRunResult:
    """What came out of one training."""

    model: Any
    """The fitted model, with ``predict`` and, for classes, maybe ``predict_proba``."""
    metrics: dict[str, float]
    """Scores on the test rows, and ``cv_mean`` and ``cv_std`` over folds of the training rows."""
    model_name: str
    """Class of the model."""
    model_type: str
    """``classification`` or ``regression``."""
    is_classifier: bool
    """Whether the target is a class."""
    n_features: int
    """Feature columns."""
    n_samples: int
    """Rows, those for test among them."""


class BaseTrainingBackend(ABC):
    """A way to train that only needs ``train``; everything else is a hook with a default.

    In the search, which deals the rows itself, ``train`` gets its training rows
    with ``test_size`` 0 and ``cv_folds`` 0: ``split_data`` then gives all of
    them to learn from, and the same ones to evaluate on.
    """

    name: ClassVar[str] = ""
    """Name on the shelf, and of the family in the search."""
    supported_problem_types: ClassVar[Iterable[str]] = (CLASSIFICATION, REGRESSION)
    """Problems that it can train for."""
    config_keys: ClassVar[tuple[str, ...] | None] = None
    """Keys of its own that ``config`` may hold; None takes any."""
    starts: ClassVar[tuple[Params, ...]] = ({},)
    """Settings that the search tries first; they reach the backend in ``config``."""
    space: ClassVar[Space] = {}
    """Settings to search over."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Modules of the user's own that a saved model needs; they may not import this project."""
    trusted_types: ClassVar[tuple[str, ...]] = ()
    """Classes in a saved model that skops does not know by itself."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that a saved model needs beside scikit-learn."""
    deterministic: ClassVar[bool] = False
    """Whether the same rows, ``config`` and ``random_state`` give the same model, bit for bit."""
    interpretability: ClassVar[str] = Interpretability.ASK
    """How a person finds out why a model answers as it does: ``read``, ``inspect`` or ``ask``."""
    hooks: ClassVar[Mapping[str, str]] = {}
    """Import paths of ``predict_fn``, ``save_fn`` and ``load_fn`` for a model that skops can't
    save, such as ``{"save_fn": "my_project.models:save"}``."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Take the configuration."""
        self.config: dict[str, Any] = dict(config or {})
        self.model: Any = None
        self.metrics: dict[str, float] = {}
        self.problem_type: str | None = None
        self.is_classifier: bool | None = None

    @classmethod
    def as_backend(cls) -> type[Backend]:
        """Give the class as one that the search can use, each time the same."""
        return _as_backend(cls)

    @abstractmethod
    def train(self, X: Any, y: Any, model_type: str | None = None) -> TrainingRunResult:
        """Train a model on X of shape (n, p) and y of shape (n,)."""

    def detect_problem_type(self, y: Any) -> str:
        """Tell classification from regression.

        ``config["problem_type"]`` decides if it is there. Else text, booleans
        and at most 20 different whole numbers are classes.
        """
        given = self.config.get("problem_type") or "auto"
        if given != "auto":
            return REGRESSION if given == REGRESSION else CLASSIFICATION
        problem = detect_problem(_series(y))
        return CLASSIFICATION if problem.is_classification else REGRESSION

    def split_data(self, X: Any, y: Any, is_classifier: bool) -> tuple[Any, Any, Any, Any]:
        """Deal rows to training and test: X_train, X_test, y_train, y_test.

        Each class has the same share in both. With ``test_size`` 0 all rows
        are in both.
        """
        from sklearn.model_selection import train_test_split

        test_size = self.config.get("test_size", 0.2)
        if not test_size:
            return X, X, y, y
        if is_classifier:
            counts = _series(y).value_counts()
            if counts.min() < 2:
                raise RatchetError(
                    f"Class {counts.idxmin()!r} has 1 row, and 2 are needed, one for training and"
                    " one for test. Leave it out, or set test_size to 0."
                )
        try:
            X_train, X_test, y_train, y_test = train_test_split(
                X,
                y,
                test_size=test_size,
                random_state=self.config.get("random_state", 42),
                stratify=y if is_classifier else None,
            )
        except ValueError as error:
            raise RatchetError(
                f"test_size {test_size} can't split {len(y)} rows: {error}"
            ) from None
        return X_train, X_test, y_train, y_test

    def evaluate(
        self, model: Any, X_test: Any, y_test: Any, is_classifier: bool
    ) -> dict[str, float]:
        """Score a model by every metric of the problem that its answers allow."""
        truth = _series(y_test)
        if not is_classifier:
            answers = np.asarray(model.predict(X_test), dtype=np.float64).reshape(-1)
            return _scores(truth.to_numpy("float64"), Predictions(answers), ProblemType.REGRESSION)
        answers = np.asarray(model.predict(X_test)).reshape(-1)
        classes = getattr(model, "classes_", None)
        if classes is None:
            classes = pd.unique(pd.Series([*truth, *answers]))
        index = pd.Index(np.sort(np.asarray(classes)))
        probabilities = None
        if hasattr(model, "predict_proba"):
            order = index.get_indexer(pd.Index(classes)).argsort()
            probabilities = np.asarray(model.predict_proba(X_test))[:, order]
        problem = _problem(CLASSIFICATION, len(index))
        said = Predictions(index.get_indexer(pd.Index(answers)), probabilities)
        return _scores(index.get_indexer(pd.Index(truth)), said, problem)

    def cross_validate(self, model: Any, X: Any, y: Any) -> dict[str, float]:
        """Score clones of a model on folds: accuracy of classes, R² of quantities.

        Give it training rows only. Folds hold equal shares of each class. A
        model that scikit-learn can't clone has no such score.
        """
        from sklearn.base import BaseEstimator, clone

        if not isinstance(model, BaseEstimator):
            return {}
        return self._over_folds(lambda X, y: clone(model).fit(X, y), X, y)

    def predict(self, X: Any) -> np.ndarray:
        """Ask the trained model."""
        return np.asarray(self._trained().predict(X))

    def save_model(self, path: Any) -> None:
        """Write the trained model to one file, without pickle."""
        from ratchet.backends import archive

        archive.save(
            path, self.name, self._facts(), {archive.MODEL: archive.dumps(self._trained())}
        )

    def load_model(self, path: Any) -> None:
        """Read what ``save_model`` wrote; it holds no class that nobody declared."""
        from ratchet.backends import archive

        saved = archive.load(path, self.name)
        self._take(saved.facts)
        self.model = archive.loads(saved, self.trusted_types)

    def _finalize(self, result: TrainingRunResult) -> TrainingRunResult:
        """Keep a result's model and facts; give the result."""
        self.model = result.model
        self.metrics = result.metrics
        self.problem_type = result.model_type
        self.is_classifier = result.is_classifier
        return result

    def _trained(self) -> Any:
        if self.model is None:
            raise RatchetError("There is no model yet. Call train or load_model first.")
        return self.model

    def _facts(self) -> dict[str, Any]:
        return {
            "model_type": self.problem_type,
            "is_classifier": self.is_classifier,
            "metrics": self.metrics,
        }

    def _take(self, facts: Mapping[str, Any]) -> None:
        # A score that is not defined is null in JSON.
        self.metrics = {
            name: math.nan if score is None else score
            for name, score in facts.get("metrics", {}).items()
        }
        self.problem_type = facts.get("model_type")
        self.is_classifier = facts.get("is_classifier")

    def _over_folds(self, fit: Callable[[Any, Any], Any], X: Any, y: Any) -> dict[str, float]:
        from sklearn.model_selection import KFold, StratifiedKFold

        is_classifier = self.detect_problem_type(y) == CLASSIFICATION
        folds = min(self.config.get("cv_folds", 5) or 0, len(y))
        if is_classifier:
            # More folds than rows of a class would leave it out of some.
            folds = min(folds, int(_series(y).value_counts().min()))
        if folds < 2:
            return {}
        dealer = (StratifiedKFold if is_classifier else KFold)(
            folds, shuffle=True, random_state=self.config.get("random_state", 42)
        )
        name = "accuracy" if is_classifier else "r2"
        scores = []
        for learn, check in dealer.split(np.zeros(len(y)), y if is_classifier else None):
            model = fit(_rows(X, learn), _rows(y, learn))
            scores.append(
                self.evaluate(model, _rows(X, check), _rows(y, check), is_classifier)[name]
            )
        return {"cv_mean": float(np.mean(scores)), "cv_std": float(np.std(scores))}


class FittingBackend(BaseTrainingBackend):
    """A training backend that only says how to fit: splits, scores and folds are done for it."""

    @abstractmethod
    def fit(self, X: Any, y: Any, model_type: str | None = None) -> Any:
        """Fit a model on all of the rows that are given."""

    def wrapped(self, model: Any, classes: np.ndarray | None) -> Any:
        """Give the model with ``predict``; ``classes`` is None for quantities."""
        return model

    def train(self, X: Any, y: Any, model_type: str | None = None) -> TrainingRunResult:
        """Fit on the training rows, score on the test rows, and on folds of the training rows."""
        kind = self.detect_problem_type(y)
        is_classifier = kind == CLASSIFICATION
        X_train, X_test, y_train, y_test = self.split_data(X, y, is_classifier)
        self.problem_type, self.is_classifier = kind, is_classifier
        fitted = self.fit(X_train, y_train, model_type)
        model = self.wrapped(fitted, np.unique(_series(y)) if is_classifier else None)
        scores = self.evaluate(model, X_test, y_test, is_classifier)
        scores.update(self.cross_validate(model, X_train, y_train))
        return self._finalize(
            TrainingRunResult(
                model=model,
                metrics=scores,
                model_name=self._model_name(fitted),
                model_type=kind,
                is_classifier=is_classifier,
                n_features=np.shape(X)[1],
                n_samples=len(y),
            )
        )

    def cross_validate(self, model: Any, X: Any, y: Any) -> dict[str, float]:
        """Fit and score on folds of the training rows; ``model`` itself stays as it is."""

        def fit(X: Any, y: Any) -> Any:
            fresh = type(self)(self.config)
            fresh.problem_type, fresh.is_classifier = self.problem_type, self.is_classifier
            fitted = fresh.fit(X, y, None)
            return fresh.wrapped(fitted, getattr(model, "classes_", None))

        return self._over_folds(fit, X, y)

    def _model_name(self, fitted: Any) -> str:
        return type(fitted).__name__


class CallableBackend(FittingBackend):
    """A model built, trained and asked by the user's own functions.

    ``build_model(config, problem_type)`` makes it, ``train_fn(model, X_train,
    y_train, config)`` fits it in place, ``predict_fn(model, X)`` asks it.
    Optional: ``evaluate_fn(model, X_test, y_test, config)`` and ``cv_fn(model,
    X, y, config)`` give scores by name, ``save_fn(model, path, metadata,
    config)`` and ``load_fn(path, config)`` write and read it.
    """

    name: ClassVar[str] = "callable"
    required: ClassVar[tuple[str, ...]] = ("build_model", "train_fn", "predict_fn")
    optional: ClassVar[tuple[str, ...]] = ("evaluate_fn", "cv_fn", "save_fn", "load_fn")

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Find the functions that ``config`` holds or names by import path."""
        super().__init__(config)
        self.functions = _functions(self.name, self.config, self.required, self.optional)

    def fit(self, X: Any, y: Any, model_type: str | None = None) -> Any:
        """Build a model and train it on all of the rows that are given."""
        kind = self.problem_type or self.detect_problem_type(y)
        n_classes = int(_series(y).nunique()) if kind == CLASSIFICATION else 0
        # What the search tells the functions too, so that they need not ask who calls them.
        usual = {
            "problem": str(_problem(kind, n_classes)),
            "n_classes": n_classes,
            "n_columns": np.shape(X)[1],
            "random_state": 42,
            "threads": 1,
            "gpu": False,
            "deadline": None,
            "sample_weight": None,
        }
        self.config = {**usual, **self.config}
        model = self.functions["build_model"](self.config, kind)
        if model is None:
            raise RatchetError(f"{self.name}: build_model gave nothing; it must give the model.")
        self.functions["train_fn"](model, X, y, self.config)
        return model

    def train(self, X: Any, y: Any, model_type: str | None = None) -> TrainingRunResult:
        """Train; ``model_type`` may name the kind of problem."""
        if model_type in (CLASSIFICATION, REGRESSION):
            self.config["problem_type"] = model_type
        return super().train(X, y, model_type)

    def wrapped(self, model: Any, classes: np.ndarray | None) -> Any:
        """Give the model as a scikit-learn estimator that asks it by ``predict_fn``."""
        return _wrapped(model, self.functions, self.config, classes)

    def evaluate(
        self, model: Any, X_test: Any, y_test: Any, is_classifier: bool
    ) -> dict[str, float]:
        """Score by ``evaluate_fn``, or else by every metric of the problem."""
        if "evaluate_fn" not in self.functions:
            return super().evaluate(model, X_test, y_test, is_classifier)
        own = self.functions["evaluate_fn"]
        return dict(own(model.base_model, X_test, y_test, self.config))

    def cross_validate(self, model: Any, X: Any, y: Any) -> dict[str, float]:
        """Score on training rows by ``cv_fn``, or else by fits on folds of them."""
        if "cv_fn" in self.functions:
            return dict(self.functions["cv_fn"](model.base_model, X, y, self.config))
        if "evaluate_fn" in self.functions:
            return {}  # its scores have names of their own
        return super().cross_validate(model, X, y)

    def save_model(self, path: Any) -> None:
        """Write the model by ``save_fn``, or by skops if it is an estimator of scikit-learn."""
        from ratchet import hooked
        from ratchet.backends import archive

        model = self._trained()
        facts = {**self._facts(), "classes": None}
        if self.is_classifier:
            facts["classes"] = np.asarray(model.classes).tolist()
        save = self.functions.get("save_fn")
        if save is None:
            _refuse_unsaved(self.name, model.base_model)
            files = {archive.MODEL: archive.dumps(model.base_model)}
        else:
            files = hooked.files_of(
                lambda path: save(model.base_model, path, self._facts(), self.config)
            )
        archive.save(path, self.name, facts, files)

    def load_model(self, path: Any) -> None:
        """Read what ``save_model`` wrote, by ``load_fn`` or by skops."""
        from ratchet import hooked
        from ratchet.backends import archive

        saved = archive.load(path, self.name)
        load = self.functions.get("load_fn")
        if load is None:
            model = archive.loads(saved, tuple(self.config.get("trusted_types", ())))
        else:
            model = hooked.model_of(saved.files, lambda path: load(path, self.config))
        self._take(saved.facts)
        classes = saved.facts.get("classes")
        self.model = self.wrapped(model, None if classes is None else np.asarray(classes))


class DeepLearningBackend(CallableBackend):
    """The same under a name that says what for."""

    name: ClassVar[str] = "deep_learning"


class NLPBackend(CallableBackend):
    """The same under a name that says what for."""

    name: ClassVar[str] = "nlp"


class HookBackend(Backend):
    """A training backend in the search; it gets the feature columns as they are."""

    trainer: ClassVar[type[BaseTrainingBackend]]
    """The class that trains."""

    def __init__(self, options: Params | None = None) -> None:
        """Find the functions that the options name.

        Raises
        ------
        RatchetError
            If one is missing, or can't be imported.
        """
        super().__init__(options)
        self._modules: tuple[str, ...] = ()
        if self._is_unset():
            return
        functions = self._paths()
        self._modules = _named_modules(functions.values(), self._declared("modules"))
        # What the options say of one backend is not true of its class.
        vars(self).update(
            deterministic=self._is_deterministic(),
            trusted_types=(*WRAPPERS, *self._declared("trusted_types")),
            packages=(
                *self._declared("packages"),
                *sources.distributions(
                    [each for each in self._modules if not sources.is_own(each)]
                ),
            ),
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's modules that travel with a model, and the wrapper's."""
        return (WRAPPER, *(each for each in self._modules if sources.is_own(each)))

    @property
    def callable_modules(self) -> tuple[str, ...]:
        """The wrapper's module, and those that options or class name, installed or not."""
        return (WRAPPER, *self._modules)

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family, if it is configured and can train for the problem."""
        if self._is_unset() or task.problem not in SUPERVISED:
            return ()
        if _kind(task.problem) not in tuple(self.trainer.supported_problem_types):
            return ()
        space = _space(self.name, self.options["space"]) if "space" in self.options else None
        starts = self.options.get("starts")
        return (
            Family(
                self.name,
                Preparation.RAW,
                starts=_starts(self.name, starts, space)
                if space is not None or starts is not None
                else self.trainer.starts,
                space=self.trainer.space if space is None else space,
                cost=COST,
                interpretability=self._interpretability(),
            ),
        )

    def fit(self, request: Request) -> Fitted:
        """Train on all training rows of the request, and on no others."""
        config = self._config(request)
        trainer = self.trainer(config)
        kind = _kind(request.task.problem)
        trainer.problem_type, trainer.is_classifier = kind, kind == CLASSIFICATION
        X, y = request.train.X, pd.Series(request.train.y, index=request.train.X.index)
        trainer.config |= {"deadline": request.deadline, "sample_weight": request.train.weights}
        model = (
            trainer.fit(X, y) if isinstance(trainer, FittingBackend) else trainer.train(X, y).model
        )
        paths = self._paths()
        if "load_fn" not in paths:
            _refuse_unsaved(self.name, model)
            self._refuse_lost(model)
        classes = np.arange(request.task.n_classes) if trainer.is_classifier else None
        estimator = _wrapped(model, paths, config, classes)
        # An answer of the wrong shape is told here, where the reason is kept with the trial.
        estimator.predict(X.head(2))
        # The user's code looks at the clock by itself: what came of that can't be told again.
        over = request.deadline is not None and time.monotonic() >= request.deadline
        return Fitted(estimator, dict(request.params), cut_short=over)

    def _is_unset(self) -> bool:
        """Whether functions are needed that nobody has named."""
        return issubclass(self.trainer, CallableBackend) and not self.options

    def _is_deterministic(self) -> bool:
        given = self.options.get("deterministic", self.trainer.deterministic)
        if not isinstance(given, bool):
            raise SettingsError(
                f"deterministic of backend {self.name} must be true or false, got {given!r}."
            )
        return given

    def _interpretability(self) -> Interpretability:
        given = self.options.get("interpretability", self.trainer.interpretability)
        if given not in list(Interpretability):
            raise SettingsError(
                f"interpretability of backend {self.name} is {given!r}."
                f" Allowed: {', '.join(Interpretability)}."
            )
        return Interpretability(given)

    def _declared(self, name: str) -> tuple[str, ...]:
        given = self.options.get(name, getattr(self.trainer, name))
        return (given,) if isinstance(given, str) else tuple(given)

    def _paths(self) -> dict[str, str]:
        """Give the functions that a saved model needs, by import path."""
        of_class = not issubclass(self.trainer, CallableBackend)
        given = self.trainer.hooks if of_class else self.options
        _functions(
            self.name,
            given,
            () if of_class else CallableBackend.required,
            (*CallableBackend.optional, "predict_fn") if of_class else CallableBackend.optional,
        )
        return {
            name: _import_path(self.name, name, given[name])
            for name in ("predict_fn", "save_fn", "load_fn")
            if given.get(name) is not None
        }

    def _config(self, request: Request) -> dict[str, Any]:
        """Give what the user's functions are told: plain values, which travel with the model."""
        own = {name: value for name, value in self.options.items() if name not in _NOT_FOR_CONFIG}
        return {
            **own,
            **request.params,
            "test_size": 0,
            "cv_folds": 0,
            "random_state": request.seed,
            "problem_type": _kind(request.task.problem),
            "problem": str(request.task.problem),
            "n_classes": request.task.n_classes,
            "n_columns": request.task.n_columns,
            "threads": request.threads,
            "gpu": request.gpu,
        }

    def _refuse_lost(self, model: Any) -> None:
        """Refuse a class of the user's own in a module that would not travel."""
        module = type(model).__module__
        known = {sources.top(each) for each in self._modules}
        if sources.is_own(module) and sources.top(module) not in known:
            name = f"{module}.{type(model).__qualname__}"
            raise RatchetError(
                f"{self.name}: the model is a {name}, which is not there where it is served."
                f" Name {module!r} in modules and {name!r} in trusted_types, or name save_fn and"
                " load_fn."
            )


# Options that say how to save a model, or how to search; the rest is for the user's functions.
_NOT_FOR_CONFIG = {
    "deterministic",
    "interpretability",
    "starts",
    "space",
    "modules",
    "trusted_types",
    "packages",
}


@cache
def _as_backend(trainer: type[BaseTrainingBackend]) -> type[Backend]:
    made: type[Backend] = type(
        trainer.__name__,
        (HookBackend,),
        {"name": trainer.name, "trainer": trainer, "__doc__": trainer.__doc__},
    )
    return made


for _trainer in (CallableBackend, DeepLearningBackend, NLPBackend):
    register(_trainer)


def _kind(problem: ProblemType) -> str:
    return CLASSIFICATION if problem.is_classification else REGRESSION


def _problem(kind: str, n_classes: int) -> ProblemType:
    if kind == REGRESSION:
        return ProblemType.REGRESSION
    return ProblemType.BINARY if n_classes == 2 else ProblemType.MULTICLASS


def _series(y: Any) -> pd.Series:
    return y if isinstance(y, pd.Series) else pd.Series(np.asarray(y).reshape(-1), name="y")


def _rows(table: Any, places: np.ndarray) -> Any:
    return table.iloc[places] if hasattr(table, "iloc") else np.asarray(table)[places]


def _scores(y: np.ndarray, said: Predictions, problem: ProblemType) -> dict[str, float]:
    return {
        metric.name: metrics.score(metric, y, said)
        for metric in metrics.for_problem(problem)
        if said.probabilities is not None or not metric.needs_probabilities
    }


def _wrapped(
    model: Any, functions: Mapping[str, Any], config: Mapping[str, Any], classes: np.ndarray | None
) -> Any:
    from ratchet import hooked

    parts = {
        "predict_fn": functions.get("predict_fn"),
        "save_fn": functions.get("save_fn"),
        "load_fn": functions.get("load_fn"),
        "config": {name: value for name, value in config.items() if _is_plain(value)},
    }
    if classes is None:
        return hooked.HookedRegressor(model, **parts)
    return hooked.HookedClassifier(model, **parts, classes=classes)


def _is_plain(value: Any) -> bool:
    """Tell whether a value can be written down as it is."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    return value is None or isinstance(value, str | int | float | bool)


def _refuse_unsaved(name: str, model: Any) -> None:
    from sklearn.base import BaseEstimator

    if not isinstance(model, BaseEstimator):
        raise RatchetError(
            f"{name}: a model of class {type(model).__name__} can't be saved without pickle by"
            " itself. Name save_fn and load_fn, which write it and read it."
        )


def _functions(
    backend: str, config: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Callable[..., Any]]:
    """Find every function that a configuration holds or names.

    Raises
    ------
    RatchetError
        If one is missing, is misspelt or can't be imported.
    """
    known = (*required, *optional)
    strange = [name for name in config if name.endswith(("_fn", "_model")) and name not in known]
    if strange:
        close = difflib.get_close_matches(strange[0], known, n=1)
        raise SettingsError(
            f"Backend {backend} knows no {strange[0]!r}"
            + (f"; did you mean {close[0]}?" if close else ".")
            + f" Allowed: {', '.join(known)}."
        )
    missing = [name for name in required if config.get(name) is None]
    if missing:
        raise SettingsError(
            f"Backend {backend} needs {', '.join(missing)}: each a function, or its import path"
            " such as 'my_project.models:build_model'."
        )
    if (config.get("save_fn") is None) is not (config.get("load_fn") is None):
        raise SettingsError(
            f"Backend {backend} needs save_fn and load_fn together: what one writes the other"
            " reads."
        )
    return {
        name: _function(backend, name, config[name])
        for name in known
        if config.get(name) is not None
    }


def _function(backend: str, name: str, value: Any) -> Callable[..., Any]:
    if callable(value):
        return value
    if not isinstance(value, str) or not all(value.partition(":")[::2]):
        raise SettingsError(
            f"{name} of backend {backend} must be a function or an import path such as"
            f" 'my_project.models:{name}', got {value!r}."
        )
    module_name, _, path = value.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(
            f"{name} of backend {backend} is {value!r}, and there is no module {module_name!r}."
            f" A file src/{sources.top(module_name)}.py beside the package would be one."
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            raise SettingsError(
                f"{name} of backend {backend} is {value!r}, and {module_name} has no {part!r}"
                + (f"; did you mean {close[0]}?" if close else ".")
            )
        found = getattr(found, part)
    if not callable(found):
        raise SettingsError(f"{name} of backend {backend} is {value!r}, which is no function.")
    return found


def _import_path(backend: str, name: str, function: Any) -> str:
    """Give the path by which a function can be imported again."""
    if isinstance(function, str):
        return function
    module = str(getattr(function, "__module__", None))
    path = f"{module}:{getattr(function, '__qualname__', '')}"
    if module == "__main__" or "<" in path or _function(backend, name, path) is not function:
        raise SettingsError(
            f"{name} of backend {backend} is {function!r}, which can't be imported where the model"
            " is served. Put it into a module, outside of any other function."
        )
    return path


def _named_modules(paths: Iterable[str], declared: Iterable[str]) -> tuple[str, ...]:
    named = [path.partition(":")[0] for path in paths]
    return tuple(dict.fromkeys([*named, *declared]))


def _space(backend: str, given: Any) -> Space:
    """Read a space of hyperparameters as YAML gives it."""
    if not isinstance(given, Mapping):
        raise SettingsError(
            f"space of backend {backend} must give dimensions by name, such as"
            f" {{hidden: {{low: 8, high: 64}}}}, got {given!r}."
        )
    return {name: _dimension(backend, name, each) for name, each in given.items()}


def _dimension(backend: str, name: str, given: Any) -> Dimension:
    if isinstance(given, Real | Integer | Choice):
        return given
    if isinstance(given, list | tuple) and len(given) > 1:
        return Choice(tuple(given))
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        low, high, log = _number(given["low"]), _number(given["high"]), given.get("log", False)
        if low is not None and high is not None and low < high and (low > 0 or not log):
            if isinstance(low, int) and isinstance(high, int):
                return Integer(low, high, bool(log))
            return Real(float(low), float(high), bool(log))
    raise SettingsError(
        f"space.{name} of backend {backend} must be at least two values such as [relu, tanh], or"
        f" {{low: 0.001, high: 0.1, log: true}} with low below high, got {given!r}."
    )


def _number(value: Any) -> int | float | None:
    """Read a number; YAML takes 1e-3, without a dot, for text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def _starts(backend: str, given: Any, space: Space | None) -> tuple[Params, ...]:
    """Read the settings to try first; without any, the middle of the space is one."""
    dimensions = space or {}
    if given is None:
        return ({name: _middle(each) for name, each in dimensions.items()},)
    if not isinstance(given, list | tuple) or not all(isinstance(each, Mapping) for each in given):
        raise SettingsError(
            f"starts of backend {backend} must be a list of settings, such as [{{hidden: 32}}],"
            f" got {given!r}."
        )
    for start in given:
        lacking = [name for name in dimensions if name not in start]
        if lacking:
            raise SettingsError(
                f"A start of backend {backend} lacks {', '.join(lacking)}: it must name every"
                " setting of the space, since the search learns from whole points."
            )
    return tuple(dict(each) for each in given) or ({},)


def _middle(dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return dimension.options[0]
    low, high = dimension.low, dimension.high
    middle = (low * high) ** 0.5 if dimension.log else (low + high) / 2
    return round(middle) if isinstance(dimension, Integer) else middle

"""Train one model from Python: a configuration in, a fitted and scored model out."""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ratchet import backends, container, derived, metrics
from ratchet.backends import Backend, Family, Request, Rows, Task, archive
from ratchet.backends.hooks import (
    CLASSIFICATION,
    REGRESSION,
    SUPERVISED,
    BaseTrainingBackend,
    FittingBackend,
    HookBackend,
    TrainingRunResult,
)
from ratchet.errors import DataError, RatchetError, SettingsError
from ratchet.features import as_features, matrix, preparation
from ratchet.metrics import Metric
from ratchet.model import ASSEMBLY_TYPES, as_predictions, assemble
from ratchet.problem import ProblemType
from ratchet.schema import Schema
from ratchet.settings import Data
from ratchet.table import Table, encode_target, prepare_table, read_table

_Backend = TypeVar("_Backend", bound=type)

DEFAULTS: Mapping[str, Any] = {
    "backend": "sklearn",
    "model_type": "auto",
    "test_size": 0.2,
    "random_state": 42,
    "cv_folds": 5,
    "problem_type": "auto",
}
"""Keys that every backend knows, and what they are when they are left out."""

PROBLEM_TYPES = ("auto", CLASSIFICATION, "binary", "multiclass", REGRESSION)
"""What ``problem_type`` may be."""

# Names that users know, with the family and the kind of problem that they mean.
_ALIASES = {
    "logistic_regression": ("logistic", CLASSIFICATION),
    "linear_regression": ("linear", REGRESSION),
    "random_forest_classifier": ("random_forest", CLASSIFICATION),
    "random_forest_regressor": ("random_forest", REGRESSION),
    "extra_trees_classifier": ("extra_trees", CLASSIFICATION),
    "extra_trees_regressor": ("extra_trees", REGRESSION),
}
# The sklearn backend has always offered boosted trees in scikit-learn's manner too.
_ALSO = {"sklearn": ("xgboost", "lightgbm", "catboost")}
# What "auto" is where a backend offers several families; elsewhere it is the first.
_AUTO = {"sklearn": "random_forest"}
# Settings of a network that its users set by name, and what they are when left out.
_NETWORK = {"hidden_layer_sizes": (50, 50), "max_iter": 200}
_NETWORK_KEYS = (
    *_NETWORK,
    "activation",
    "solver",
    "alpha",
    "learning_rate",
    "learning_rate_init",
    "early_stopping",
)

# Below this, threads wait for each other longer than they work.
_MANY_ROWS = 20_000
# Share of the training rows on which boosting finds its number of rounds, and fewest such rows.
_STOP_SHARE = 0.2
_MIN_STOP_ROWS = 20
# Most rounds of boosting: there is no deadline here that would end it.
_MOST_ROUNDS = 500


class ModelTrainer:
    """Train, ask, save and load one model of any registered backend.

    Examples
    --------
    >>> X = pd.DataFrame({"size": range(40), "town": ["Aachen", "Berlin"] * 20})
    >>> y = 3.0 * X["size"] + (X["town"] == "Berlin")
    >>> trainer = ModelTrainer({"model_type": "linear_regression", "cv_folds": 2})
    >>> result = trainer.train(X, y)
    >>> result.model_name, result.metrics["r2"] > 0.9
    ('Ridge', True)
    >>> trainer.predict(X.head(3)).shape
    (3,)
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Check a configuration.

        Parameters
        ----------
        config : mapping
            ``backend``, ``model_type``, ``test_size``, ``random_state``,
            ``cv_folds``, ``problem_type``, and keys of the backend's own.

        Raises
        ------
        SettingsError
            If a key or a value is not allowed.
        RatchetError
            If there is no such backend, or it is not installed.
        """
        self.config: dict[str, Any] = {**DEFAULTS, **_given(config)}
        _check_values(self.config)
        backends.load(())
        backend = backends.get(str(self.config["backend"]))
        if backend.missing:
            raise RatchetError(
                f"Backend {backend.name!r} needs {', '.join(backend.missing)}, which is not"
                f" installed: `pip install {' '.join(backend.missing)}`."
            )
        if not _is_usable(backend.name):
            raise RatchetError(
                f"Backend {backend.name!r} learns no target. Allowed:"
                f" {', '.join(self.available_backends())}."
            )
        self.backend: BaseTrainingBackend = (
            _hooked(backend, self.config)
            if isinstance(backend, HookBackend)
            else TableBackend(self.config)
        )
        """The training backend at work."""

    @staticmethod
    def available_backends() -> tuple[str, ...]:
        """Name the backends that can be used, sorted."""
        backends.load(())
        return tuple(sorted(name for name in backends.available() if _is_usable(name)))

    @staticmethod
    def register_backend(backend: _Backend) -> _Backend:
        """Add a ``BaseTrainingBackend`` or ``Backend`` class; give it back."""
        return backends.register(backend)

    def train(self, X: Any, y: Any) -> TrainingRunResult:
        """Train on a table and score on the share of it that ``test_size`` sets aside.

        Parameters
        ----------
        X : pd.DataFrame or np.ndarray of shape (n, p)
            Feature columns: numbers, text, categories, times, truth; values may be missing.
        y : pd.Series or np.ndarray of shape (n,)
            Target.

        Returns
        -------
        TrainingRunResult

        Raises
        ------
        RatchetError
            If the table can't be learned from.
        """
        shape = np.shape(X)
        if len(shape) != 2 or not all(shape):
            raise DataError(f"X must be a table of at least one row and column, got shape {shape}.")
        if np.shape(y) != shape[:1]:
            raise DataError(
                f"y must hold one value for each of the {shape[0]} rows of X, got shape"
                f" {np.shape(y)}."
            )
        model_type = self.config["model_type"]
        result = self.backend.train(X, y, None if model_type == "auto" else model_type)
        # A class of the user's own may only have trained.
        self.backend.model, self.backend.metrics = result.model, result.metrics
        self.backend.problem_type = result.model_type
        self.backend.is_classifier = result.is_classifier
        return result

    def predict(self, X: Any) -> np.ndarray:
        """Give a label or a quantity for each row.

        Raises
        ------
        RatchetError
            If nothing was trained or loaded yet.
        """
        return self.backend.predict(X)

    def save_model(self, path: Any) -> None:
        """Write the model to one file, without pickle.

        Raises
        ------
        RatchetError
            If there is no model, or the file can't be written.
        """
        self.backend.save_model(path)

    def load_model(self, path: Any) -> None:
        """Read what ``save_model`` wrote; nothing in it is run but what this project knows.

        Raises
        ------
        RatchetError
            If it is no such file.
        """
        self.backend.load_model(path)


@dataclass(frozen=True)
class TableModel:
    """A fitted model with the columns that it was made for; it takes any table that has them."""

    estimator: Any
    """The scikit-learn pipeline, which takes the columns exactly as ``schema`` says."""
    schema: Schema
    """Columns and classes."""
    name: str
    """Class of the model at its end."""

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of ``predict_proba``."""
        if not self.schema.classes:
            raise AttributeError("a model of quantities has no classes")
        return np.asarray(self.estimator.classes_)

    def predict(self, X: Any) -> np.ndarray:
        """Give a label or a quantity for each row."""
        return np.asarray(self.estimator.predict(self._features(X)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give a probability for each class, shape (n, K)."""
        return np.asarray(self.estimator.predict_proba(self._features(X)))

    def _features(self, X: Any) -> pd.DataFrame:
        frame = _as_frame(X)
        lacking = [name for name in self.schema.names if name not in frame.columns]
        if lacking:
            raise DataError(f"X lacks columns of the training table: {', '.join(lacking)}.")
        try:
            return as_features(frame, self.schema)
        except (ValueError, TypeError) as error:
            raise DataError(f"X holds what the training table did not: {error}") from None


class TableBackend(FittingBackend):
    """Trains one family of the search's backends on a table as it comes."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Check the model type and the backend's own keys."""
        super().__init__({**DEFAULTS, **(config or {})})
        self.name = self.config["backend"]  # type: ignore[misc]  # one class, many backends
        self._check_model_type()
        self._check_keys()

    def fit(self, X: Any, y: Any, model_type: str | None = None) -> TableModel:
        """Fit on all of the rows that are given."""
        prepared = prepare_table(
            _as_table(X, y), Data(source="X", target=_TARGET), self._problem(y)
        )
        schema, frame = prepared.schema, prepared.frame
        task = Task(schema.problem, len(frame), len(schema.columns), len(schema.classes))
        backend, family = self._chosen(task)
        codes = encode_target(frame[schema.target], schema)
        params = {**family.starts[0], **self._own()}
        params = self._with_rounds(backend, family, params, task, frame, codes, schema)
        transformer = preparation(schema, family.preparation)
        values = transformer.fit_transform(as_features(frame, schema), codes)
        mask = matrix(transformer, schema, values).categorical
        request = self._request(family, params, task, Rows(values, codes), mask)
        fitted = backend.fit(request).estimator
        model = assemble(transformer, fitted, schema, None)
        return TableModel(model, schema, type(fitted).__name__)

    def save_model(self, path: Any) -> None:
        """Write the pipeline by skops, its columns as JSON."""
        model = self._trained()
        facts = {**self._facts(), "schema": asdict(model.schema), "model_name": model.name}
        archive.save(path, self.name, facts, {archive.MODEL: archive.dumps(model.estimator)})

    def load_model(self, path: Any) -> None:
        """Read what ``save_model`` wrote."""
        saved = archive.load(path, self.name)
        offered = (t for b in self._offering() for t in b.trusted_types)
        trusted = {*ASSEMBLY_TYPES, *derived.TRUSTED_TYPES, *offered}
        estimator = archive.loads(saved, trusted)
        self._take(saved.facts)
        schema = Schema.from_dict(saved.facts["schema"])
        self.model = TableModel(estimator, schema, saved.facts["model_name"])

    def _model_name(self, fitted: Any) -> str:
        return str(fitted.name)

    def _problem(self, y: Any) -> ProblemType | None:
        """Give the problem that was asked for, or found on the whole table before a split."""
        kind = self.problem_type or self.detect_problem_type(y)
        if kind == REGRESSION:
            return ProblemType.REGRESSION
        given = self.config["problem_type"]
        if given in (ProblemType.BINARY, ProblemType.MULTICLASS):
            return ProblemType(given)
        two = len(pd.unique(np.asarray(y))) == 2
        return ProblemType.BINARY if two else ProblemType.MULTICLASS

    def _offering(self) -> list[Backend]:
        """Give the backends whose families may be named."""
        names = (self.name, *_ALSO.get(self.name, ()))
        found = [backends.get(name) for name in names if name in backends.available()]
        return [backend for backend in found if not backend.missing]

    def _families(self, task: Task) -> dict[str, tuple[Backend, Family]]:
        return {
            family.name: (backend, family)
            for backend in self._offering()
            for family in backend.families(task)
        }

    def _everything(self) -> dict[str, list[Family]]:
        """Give the families by every name that ``model_type`` may have, over all problems."""
        named: dict[str, list[Family]] = {}
        for problem in SUPERVISED:
            kind = CLASSIFICATION if problem.is_classification else REGRESSION
            n_classes = {ProblemType.BINARY: 2, ProblemType.MULTICLASS: 3}.get(problem, 0)
            offered = self._families(Task(problem, 1000, 10, n_classes))
            for name, (_, family) in offered.items():
                named.setdefault(name, []).append(family)
            for alias, (name, meant) in _ALIASES.items():
                if meant == kind and name in offered:
                    named.setdefault(alias, []).append(offered[name][1])
        return named

    def _check_model_type(self) -> None:
        given, known = self.config["model_type"], ("auto", *self._everything())
        if given not in known:
            close = difflib.get_close_matches(str(given), known, n=1)
            raise SettingsError(
                f"Backend {self.name!r} has no model_type {given!r}"
                + (f"; did you mean {close[0]}?" if close else ".")
                + f" Allowed: {', '.join(dict.fromkeys(known))}."
            )

    def _check_keys(self) -> None:
        everything = self._everything()
        own = self._own_keys(everything)
        known = [*DEFAULTS, *sorted(own)]
        for name in self.config:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                raise SettingsError(
                    f"Backend {self.name!r} has no key {name!r}"
                    + (f"; did you mean {close[0]}?" if close else ".")
                    + f" Allowed: {', '.join(known)}."
                )

    def _own_keys(self, everything: Mapping[str, list[Family]]) -> set[str]:
        given = self.config["model_type"]
        auto = _AUTO.get(self.name)
        if given == "auto" and auto is not None:
            given = auto
        chosen = [
            family
            for name, families in everything.items()
            for family in families
            if given in ("auto", name)
        ]
        keys = {name for family in chosen for start in family.starts for name in start}
        keys |= {name for family in chosen for name in family.space}
        keys |= {family.rounds for family in chosen if family.rounds}
        return keys | set(_NETWORK_KEYS if self.name == "neural_network" else ())

    def _own(self) -> dict[str, Any]:
        """Give the backend's own settings: those that were given, and a network's usual ones."""
        usual = _NETWORK if self.name == "neural_network" else {}
        given = {name: value for name, value in self.config.items() if name not in DEFAULTS}
        # JSON and YAML have lists where scikit-learn has tuples.
        plain = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
        return {**usual, **plain}

    def _chosen(self, task: Task) -> tuple[Backend, Family]:
        offered = self._families(task)
        given = self.config["model_type"]
        kind = CLASSIFICATION if task.problem.is_classification else REGRESSION
        if given == "auto":
            name = _AUTO.get(self.name) or next(
                n for n, (_, family) in offered.items() if not family.is_baseline
            )
        else:
            name, meant = _ALIASES.get(given, (given, kind))
            if meant != kind or name not in offered:
                raise SettingsError(
                    f"model_type {given!r} is not for a {task.problem} problem, which the target"
                    f" poses. Allowed: {', '.join(['auto', *offered])}; or set problem_type."
                )
        return offered[name]

    def _with_rounds(
        self,
        backend: Backend,
        family: Family,
        params: dict[str, Any],
        task: Task,
        frame: pd.DataFrame,
        codes: np.ndarray,
        schema: Schema,
    ) -> dict[str, Any]:
        """Find the number of rounds on a part of the training rows, unless it was given."""
        n_stop = int(len(codes) * _STOP_SHARE)
        if family.rounds is None or family.rounds in params or n_stop < _MIN_STOP_ROWS:
            return params
        from sklearn.model_selection import train_test_split

        places = np.arange(len(codes))
        rare = task.n_classes and np.bincount(codes).min() < 2
        learn, stop = train_test_split(
            places,
            test_size=n_stop,
            random_state=self.config["random_state"],
            stratify=codes if task.n_classes and not rare else None,
        )
        transformer = preparation(schema, family.preparation)
        features = as_features(frame, schema)
        values = transformer.fit_transform(features.iloc[learn], codes[learn])
        mask = matrix(transformer, schema, values).categorical
        rows = Rows(values, codes[learn])
        valid = Rows(transformer.transform(features.iloc[stop]), codes[stop])
        capped = {**params, family.rounds: _MOST_ROUNDS}
        request = self._request(family, capped, task, rows, mask, valid)
        return dict(backend.fit(request).params)

    def _request(
        self,
        family: Family,
        params: Mapping[str, Any],
        task: Task,
        rows: Rows,
        categorical: np.ndarray,
        valid: Rows | None = None,
    ) -> Request:
        metric = metrics.default(task.problem)
        return Request(
            family=family.name,
            params=params,
            task=task,
            train=rows,
            valid=valid,
            categorical=categorical,
            metric=metric.name,
            threads=container.cores() if task.n_rows >= _MANY_ROWS else 1,
            seed=self.config["random_state"],
            loss=None if valid is None else lambda raw: _loss(metric, valid.y, raw),
        )


# Name of the target in the table that is made of X and y.
_TARGET = "target_of_this_table"


def _given(config: Mapping[str, Any] | None) -> dict[str, Any]:
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise SettingsError(
            f"The configuration must be a mapping such as {{'backend': 'sklearn'}}, got {config!r}."
        )
    # None says as much as leaving it out.
    return {
        name: value for name, value in config.items() if value is not None or name not in DEFAULTS
    }


def _is_usable(name: str) -> bool:
    """Tell whether a backend is installed and learns a target."""
    backend = backends.get(name)
    return isinstance(backend, HookBackend) or any(
        backend.families(Task(problem, 1000, 10, 2 if problem.is_classification else 0))
        for problem in SUPERVISED
    )


def _check_values(config: Mapping[str, Any]) -> None:
    share, seed, folds = config["test_size"], config["random_state"], config["cv_folds"]
    whole = {name: type(config[name]) is int for name in ("random_state", "cv_folds")}
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share < 1:
        raise SettingsError(f"test_size must be a share from 0 to below 1, got {share!r}.")
    if not whole["random_state"] or not 0 <= seed < 2**32:
        raise SettingsError(f"random_state must be a whole number of at least 0, got {seed!r}.")
    if not whole["cv_folds"] or folds < 0:
        raise SettingsError(f"cv_folds must be a whole number, 0 or 1 for none, got {folds!r}.")
    if config["problem_type"] not in PROBLEM_TYPES:
        raise SettingsError(
            f"problem_type must be {', '.join(PROBLEM_TYPES[:-1])} or {PROBLEM_TYPES[-1]},"
            f" got {config['problem_type']!r}."
        )


def _hooked(backend: HookBackend, config: Mapping[str, Any]) -> BaseTrainingBackend:
    trainer = backend.trainer
    if trainer.config_keys is not None:
        known = (*DEFAULTS, *trainer.config_keys)
        strange = [name for name in config if name not in known]
        if strange:
            raise SettingsError(
                f"Backend {backend.name!r} has no key {strange[0]!r}. Allowed: {', '.join(known)}."
            )
    return trainer(config)


def _as_frame(X: Any) -> pd.DataFrame:
    """Give a table whose columns have names; those of an array are called x0, x1, …."""
    if isinstance(X, pd.DataFrame):
        return X.set_axis([str(name) for name in X.columns], axis=1)
    values = np.asarray(X)
    if values.ndim != 2:
        raise DataError(f"X must be a table, got an array of shape {values.shape}.")
    frame = pd.DataFrame(values, columns=[f"x{place}" for place in range(values.shape[1])])
    return frame.infer_objects()


def _as_table(X: Any, y: Any) -> Table:
    """Read X and y as if they came from a file: with the same types and the same complaints."""
    frame = _as_frame(X).reset_index(drop=True)
    frame[_TARGET] = pd.Series(np.asarray(y).reshape(-1)) if not hasattr(y, "array") else y.array
    with TemporaryDirectory() as folder:
        path = Path(folder, "X.parquet")
        try:
            frame.to_parquet(path, index=False)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"X can't be read as a table: {' '.join(map(str, error.args))}"
            ) from None
        return read_table(path)


def _loss(metric: Metric, y: np.ndarray, raw: np.ndarray) -> float:
    return metric.loss(metrics.score(metric, y, as_predictions(raw)))

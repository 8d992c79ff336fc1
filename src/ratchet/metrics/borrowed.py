"""Metrics that call a function of scikit-learn's, or of the user's own."""

import inspect
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf, nan
from typing import Any

import numpy as np

from ratchet.errors import SettingsError
from ratchet.metrics.base import Metric, Predictions, Scorer
from ratchet.problem import ProblemType

# Smallest and largest score of scikit-learn's functions, where they are known.
_BOUNDS = {
    "average_precision_score": (0.0, 1.0),
    "d2_absolute_error_score": (-inf, 1.0),
    "d2_brier_score": (-inf, 1.0),
    "d2_log_loss_score": (-inf, 1.0),
    "explained_variance_score": (-inf, 1.0),
    "mean_gamma_deviance": (0.0, inf),
    "mean_poisson_deviance": (0.0, inf),
    "mean_squared_log_error": (0.0, inf),
    "negative_likelihood_ratio": (0.0, inf),
    "positive_likelihood_ratio": (0.0, inf),
    "roc_auc_score": (0.0, 1.0),
    "top_k_accuracy_score": (0.0, 1.0),
}

# Scores one set of rows: truth, predictions, and how much each row counts or None for alike.
_Once = Callable[[np.ndarray, Predictions, np.ndarray | None], float]


def scikit_learn(name: str, problem: ProblemType) -> Metric | None:
    """Make a metric of scikit-learn's scorer called ``name``, or ``neg_`` and ``name``.

    A scorer that starts with ``neg_`` gives the score without its sign, under
    the name without it, to be minimised. Whether a scorer suits the problem is
    found by asking it about a few rows.

    Returns
    -------
    Metric or None
        None if there is no such scorer, or it can't judge such a problem.
    """
    from sklearn.metrics import get_scorer, get_scorer_names

    names = get_scorer_names()
    key = next((each for each in (name, f"neg_{name}") if each in names), None)
    if key is None:
        return None
    scorer = get_scorer(key)
    module = scorer._score_func.__module__
    judges_quantities = module.endswith("._regression")
    compares_clusters = ".cluster." in module
    # Those that compare clusters want to be told the right ones.
    if compares_clusters or not problem.has_target:
        return None
    if judges_quantities == problem.is_classification:
        return None
    y, fair, right = _few_rows(problem)
    alike = _FromScikitLearn(key, takes_weights=False)
    found = alike.once(y, fair, None)
    # The top 2 of 2 classes are always right: that judges nothing.
    if not np.isfinite(found) or found == alike.once(y, right, None):
        return None
    weighted = _FromScikitLearn(key, takes_weights=True)
    takes_weights = bool(np.isfinite(weighted.once(y, fair, np.ones(len(y)))))
    return Metric(
        key.removeprefix("neg_"),
        frozenset({problem}),
        weighted if takes_weights else alike,
        maximize=scorer._sign > 0,
        bounds=_BOUNDS.get(scorer._score_func.__name__, (-inf, inf)),
        needs_probabilities=scorer._response_method != "predict",
        counts_classes_alike=key.endswith("_macro"),
    )


def function(path: str, problem: ProblemType) -> Metric:
    """Make a metric of the user's own function, named ``module:function``.

    It is called as ``function(y_true, y_pred)`` and returns one number. For a
    quantity both are quantities; for classes both are class codes 0..K-1, in
    the order of the labels; for a clustering they are the scaled columns, of
    shape (n, d), and the clusters. Attributes of the function say more:
    ``maximize = True`` that more is better, ``needs_probabilities = True``
    that ``y_pred`` shall be the probabilities, of shape (n, K), and
    ``needs_threshold = True`` that a tuned threshold improves its decisions
    of two classes.

    Raises
    ------
    SettingsError
        If there is no such function, or it doesn't suit the problem.
    """
    called = _find(path)
    name = path.rpartition(":")[2]
    needs_probabilities = bool(getattr(called, "needs_probabilities", False))
    if needs_probabilities and not problem.is_classification:
        raise SettingsError(
            f"train.metric names {path!r}, which needs class probabilities,"
            f" and a {problem} problem has none."
        )
    return Metric(
        name,
        frozenset({problem}),
        _FromFunction(path, needs_probabilities),
        maximize=bool(getattr(called, "maximize", False)),
        bounds=(-inf, inf),
        needs_probabilities=needs_probabilities,
        needs_threshold=bool(getattr(called, "needs_threshold", False))
        and not needs_probabilities
        and problem is ProblemType.BINARY,
        path=path,
    )


@dataclass(frozen=True)
class _FromScikitLearn:
    """Call the function of a scorer for each resample."""

    name: str
    """The scorer's name."""
    takes_weights: bool
    """Whether the function takes weights; rows are repeated if not."""

    def __call__(self, y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
        """Prepare a ``Metric``."""
        return _each(self.once, self.takes_weights, self.name, y, predictions, groups)

    def once(self, y: np.ndarray, predictions: Predictions, weights: np.ndarray | None) -> float:
        """Score rows as the scorer does; NaN where its function refuses them."""
        from sklearn.metrics import get_scorer

        scorer = get_scorer(self.name)
        options = dict(scorer._kwargs)
        answers = predictions.values
        if scorer._response_method != "predict":
            table = predictions.of_classes
            is_binary = table.shape[1] == 2
            answers = table[:, 1] if is_binary else table
            if "labels" in inspect.signature(scorer._score_func).parameters and not is_binary:
                # A class that a resample lacks is still one of the columns.
                options["labels"] = np.arange(table.shape[1])
        elif options.get("average") == "binary":
            # Without it two classes read as many, where a resample holds a single one.
            options["pos_label"] = 1
        if weights is not None:
            options["sample_weight"] = weights
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return float(scorer._score_func(y, answers, **options))
            except (TypeError, ValueError):
                return nan


@dataclass(frozen=True)
class _FromFunction:
    """Call the user's function for each resample."""

    path: str
    """Where it is found; a function itself could not travel to another process."""
    needs_probabilities: bool
    """What it is given."""

    def __call__(self, y: np.ndarray, predictions: Predictions, groups: np.ndarray) -> Scorer:
        """Prepare a ``Metric``."""
        called = _find(self.path)

        def once(truth: np.ndarray, said: Predictions, _: np.ndarray | None) -> float:
            answer = called(truth, said.of_classes if self.needs_probabilities else said.values)
            return _number(answer, self.path)

        return _each(once, False, self.path, y, predictions, groups)


def _each(
    once: _Once,
    takes_weights: bool,
    name: str,
    y: np.ndarray,
    predictions: Predictions,
    groups: np.ndarray,
) -> Scorer:
    """Score resamples one by one, by a function that knows only whole sets of rows."""

    def score(drawn: np.ndarray) -> float:
        if (drawn == 1).all():
            return once(y, predictions, None)
        if takes_weights:
            kept = drawn > 0
            return once(y[kept], predictions.only(kept), drawn[kept])
        if (drawn % 1 != 0).any():
            raise SettingsError(f"{name} takes no weights, and rows can't be repeated in part.")
        rows = np.repeat(np.arange(len(y)), drawn.astype(np.int64))
        return once(y[rows], predictions.only(rows), None)

    return lambda weights: np.array([score(row[groups]) for row in weights], dtype=np.float64)


def _few_rows(problem: ProblemType) -> tuple[np.ndarray, Predictions, Predictions]:
    """Make rows that any metric of such a problem can judge: truth, fair and right answers."""
    if problem is ProblemType.REGRESSION:
        y = np.array([1.0, 2.0, 3.0, 5.0])
        return y, Predictions(np.array([1.5, 2.0, 4.0, 4.5])), Predictions(y)
    # Of the three rows of each class one is taken for the next class.
    n_classes = 2 if problem is ProblemType.BINARY else 3
    y = np.repeat(np.arange(n_classes), 3)
    said = np.where(np.arange(len(y)) % 3, y, (y + 1) % n_classes)
    table = np.eye(n_classes) * 0.6 + 0.1
    table /= table.sum(axis=1, keepdims=True)
    return y, Predictions(said, table[said]), Predictions(y, table[y])


def _find(path: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Import the function at ``module:function``."""
    module_name, _, name = path.partition(":")
    told = f"train.metric names {path!r}"
    if not (module_name and name):
        raise SettingsError(f"{told}; a function of yours is named as my_project.scores:cost.")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(
            f"{told}, and there is no module {error.name!r}."
            f" A file src/{module_name.replace('.', '/')}.py would be {module_name!r}."
        ) from None
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        own = [
            each
            for each, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module_name
        ]
        raise SettingsError(
            f"{told}, and {module_name} has no {name!r}. Its functions: {', '.join(own) or 'none'}."
        ) from None
    if not callable(found):
        raise SettingsError(f"{told}, which is not a function but {found!r}.")
    return found


def _number(answer: object, path: str) -> float:
    try:
        return float(answer)  # type: ignore[arg-type]  # asked here
    except (TypeError, ValueError):
        raise SettingsError(
            f"{path} returned {answer!r}, where a metric returns one number."
        ) from None

"""Which metrics there are, and how they are found by name."""

import difflib
import re

from ratchet.errors import SettingsError
from ratchet.metrics import borrowed
from ratchet.metrics.base import Metric
from ratchet.metrics.clusters import CLUSTERS
from ratchet.metrics.decisions import DECISIONS, MORE_DECISIONS, f_beta
from ratchet.metrics.probabilities import PROBABILITIES
from ratchet.metrics.quantities import QUANTITIES
from ratchet.problem import ProblemType

METRICS: tuple[Metric, ...] = (*QUANTITIES, *PROBABILITIES, *DECISIONS, *CLUSTERS)
"""Metrics that every evaluation reports; the first that fits a problem is its default."""

SCIKIT_LEARN_NAMES = {
    "neg_root_mean_squared_error": "rmse",
    "neg_mean_squared_error": "mse",
    "neg_mean_absolute_error": "mae",
    "neg_mean_absolute_percentage_error": "mape",
    "neg_median_absolute_error": "median_ae",
    "neg_max_error": "max_error",
    "neg_root_mean_squared_log_error": "rmsle",
    "neg_log_loss": "log_loss",
    "neg_brier_score": "brier",
    "matthews_corrcoef": "mcc",
    # Of two classes each against the rest, or one against one, is the same area.
    "roc_auc_ovr": "roc_auc",
    "roc_auc_ovr_weighted": "roc_auc",
    "roc_auc_ovo": "roc_auc",
    "roc_auc_ovo_weighted": "roc_auc",
}
"""scikit-learn's names of scorers for metrics that have another one here."""


def on_record(name: str, problem: ProblemType, chosen: str) -> Metric:
    """Find a metric that a run on record names, as `named` does; but no function of its choice.

    To import a module runs it, and whoever may write to the store may write a
    record. So a function is taken only if the user's own settings name it.

    Parameters
    ----------
    name : str
        What the record says.
    problem : ProblemType
        What the target poses.
    chosen : str
        ``train.metric`` of the settings that are used now.

    Raises
    ------
    SettingsError
        If the record names a function and the settings don't, or as in `named`.
    """
    if ":" in name and name != chosen:
        raise SettingsError(
            f"The record of the training names the function {name} as its metric, which is called"
            f" only if train.metric names it, too, and that is {chosen or 'not set'}. If you know"
            f" the function, set train.metric to {name}."
        )
    return named(name, problem)


def named(name: str, problem: ProblemType) -> Metric:
    """Find a metric by its name, that of a scikit-learn scorer, or a function's import path.

    For two classes any ``f<beta>`` is known, such as ``f0.5`` and ``f2``.
    The score of a scikit-learn name keeps its own sign: ``neg_log_loss``
    gives ``log_loss``, which is minimised. A name with a colon is the import
    path of a function of the user's, such as ``my_project.scores:cost``.

    Parameters
    ----------
    name : str
        E.g. ``"rmse"`` or ``"neg_root_mean_squared_error"``.
    problem : ProblemType
        What the target poses; ``brier`` differs between two and more classes.

    Raises
    ------
    SettingsError
        If no metric of that name judges such a problem, or the function can't be used.

    Examples
    --------
    >>> named("neg_root_mean_squared_error", ProblemType.REGRESSION).name
    'rmse'
    >>> named("f0.5", ProblemType.BINARY).name
    'f0.5'
    >>> named("neg_mean_poisson_deviance", ProblemType.REGRESSION).name
    'mean_poisson_deviance'
    """
    metrics = {metric.name: metric for metric in for_problem(problem)}
    more = {metric.name: metric for metric in MORE_DECISIONS if problem in metric.problems}
    known = (
        metrics
        | more
        | {alias: metrics[ours] for alias, ours in SCIKIT_LEARN_NAMES.items() if ours in metrics}
    )
    if name in known:
        return known[name]
    if ":" in name:
        return _function(name, problem, known)
    family = re.fullmatch(r"f(\d+(?:\.\d+)?)", name)
    if family and problem is ProblemType.BINARY and (beta := float(family[1])) > 0:
        return f_beta(beta)
    if found := borrowed.scikit_learn(name, problem):
        return found
    close = difflib.get_close_matches(name, known, n=1)
    allowed = [", ".join(metrics)]
    if problem.has_target:
        allowed.append("any of scikit-learn's scorers that judges such a problem")
    if problem is ProblemType.BINARY:
        allowed.insert(1, "f<beta>, such as f0.5")
    raise SettingsError(
        f"No metric for a {problem} problem is called {name!r}"
        + (f"; did you mean {known[close[0]].name}?" if close else ".")
        + f" Allowed: {'; '.join(allowed)}; a function of yours, as my_project.scores:cost."
    )


def for_problem(problem: ProblemType) -> tuple[Metric, ...]:
    """List the metrics that every evaluation of such a problem reports, the usual one first."""
    return tuple(metric for metric in METRICS if problem in metric.problems)


def default(problem: ProblemType) -> Metric:
    """Give the metric that is optimised when the user names none.

    Examples
    --------
    >>> [default(problem).name for problem in ProblemType]
    ['log_loss', 'log_loss', 'rmse', 'silhouette']
    """
    return for_problem(problem)[0]


def _function(path: str, problem: ProblemType, known: dict[str, Metric]) -> Metric:
    metric = borrowed.function(path, problem)
    if metric.name in known:
        # Both scores would have the same key in MLflow.
        raise SettingsError(
            f"train.metric names {path!r}, and {metric.name} is a metric of Ratchet's."
            " Give the function another name."
        )
    return metric

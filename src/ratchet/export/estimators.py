"""Models that take prepared numbers, and what they say of them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ratchet.export import trees
from ratchet.export.graph import ConversionError, Graph, Value
from ratchet.export.preparing import of_numbers

FAMILIES = (
    "baseline",
    "linear",
    "ridge",
    "elastic_net",
    "logistic",
    "random_forest",
    "extra_trees",
    "hist_boosting",
    "kernel",
    "lightgbm",
    "xgboost",
    "mlp",
)
"""Families whose models can be converted, as ``train.families`` calls them."""

# What LightGBM and XGBoost add up are quantities themselves under these objectives.
_PLAIN_LIGHTGBM = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_PLAIN_XGBOOST = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror")


def converted(graph: Graph, estimator: Any, value: Value) -> Value:
    """Convert a fitted estimator.

    Returns
    -------
    Value
        Quantities of width 1, or the probability of each class.

    Raises
    ------
    ConversionError
        If it has no counterpart.
    """
    name = type(estimator).__name__
    convert = _CONVERTERS.get(name)
    library = type(estimator).__module__.partition(".")[0]
    if convert is None or library not in ("lightgbm", "sklearn", "xgboost"):
        raise ConversionError(f"there is no counterpart of {name}")
    return convert(graph, estimator, value)


def _dummy(graph: Graph, estimator: Any, value: Value) -> Value:
    constant = getattr(estimator, "constant_", None)
    said = np.ravel(constant if constant is not None else estimator.class_prior_)
    # Nothing of the input but its number of rows.
    none = np.zeros((value.width, len(said)))
    safe = graph.without_nan(value, np.zeros(value.width))
    return graph.linear(safe, none, said)


def _linear(graph: Graph, estimator: Any, value: Value) -> Value:
    weights = np.reshape(estimator.coef_, (1, -1)).T
    return graph.linear(value, weights, np.ravel(estimator.intercept_))


def _logistic(graph: Graph, estimator: Any, value: Value) -> Value:
    scores = graph.linear(value, estimator.coef_.T, np.ravel(estimator.intercept_))
    return _probabilities(graph, scores)


def _pipeline(graph: Graph, estimator: Any, value: Value) -> Value:
    *steps, (_, last) = estimator.steps
    for _, step in steps:
        if type(step).__name__ != "Nystroem":
            value = of_numbers(graph, step, value)
            continue
        value = _nearness(graph, step, value)
    return converted(graph, last, value)


def _nearness(graph: Graph, step: Any, value: Value) -> Value:
    """Convert the map of rows to how near they lie to some of the training rows."""
    if step.kernel != "rbf":
        raise ConversionError(f"a kernel {step.kernel!r} can't be converted; 'rbf' can")
    centres = step.components_
    centres = centres.toarray() if hasattr(centres, "toarray") else np.asarray(centres)
    squares = graph.op(
        "ReduceSum",
        graph.op("Mul", value.name, value.name),
        graph.constant(np.array([1], dtype=np.int64)),
        keepdims=1,
    )
    crossed = graph.linear(value, -2 * centres.T, (centres**2).sum(axis=1))
    distances = graph.op("Add", crossed.name, squares)
    least = graph.op("Max", distances, graph.constant(np.array([[0.0]])))
    near = graph.op("Exp", graph.op("Mul", least, graph.constant(np.array([[-float(step.gamma)]]))))
    weights = step.normalization_.T
    return graph.linear(Value(near, len(centres)), weights, np.zeros(weights.shape[1]))


def _network(graph: Graph, estimator: Any, value: Value) -> Value:
    kinds = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    for number, (weights, offset) in enumerate(layers):
        value = graph.linear(value, weights, offset)
        if number < len(layers) - 1 and estimator.activation != "identity":
            value = Value(graph.op(kinds[estimator.activation], value.name), value.width)
    if estimator.out_activation_ == "identity":
        return value
    return _probabilities(graph, value)


def _forest(graph: Graph, estimator: Any, value: Value) -> Value:
    grown = [(tree, -1) for tree in trees.of_forest(estimator)]
    # A forest compares in single precision.
    return trees.added(graph, graph.single(value), grown, getattr(estimator, "n_classes_", 1))


def _hist_boosting(graph: Graph, estimator: Any, value: Value) -> Value:
    if estimator._preprocessor is not None:
        value = of_numbers(graph, estimator._preprocessor, value)
    base = np.ravel(estimator._baseline_prediction)
    total = trees.added(graph, value, list(trees.of_hist_boosting(estimator)), len(base))
    name = graph.op("Add", total.name, graph.constant(base.reshape(1, -1).astype(np.float64)))
    if hasattr(estimator, "classes_"):
        return _probabilities(graph, Value(name, len(base)))
    if type(estimator._loss).__name__ not in ("HalfSquaredError", "AbsoluteError", "PinballLoss"):
        raise ConversionError(f"the loss {estimator.loss!r} can't be converted")
    return Value(name, len(base))


def _xgboost(graph: Graph, estimator: Any, value: Value) -> Value:
    told = trees.xgboost_json(estimator.get_booster())
    learner = told["learner"]
    n = max(1, int(learner["learner_model_param"]["num_class"]))
    objective = learner["objective"]["name"]
    single = graph.single(value)
    total = trees.added(graph, single, list(trees.of_xgboost(told)), n)
    score = learner["learner_model_param"]["base_score"]
    base = np.array([float(each) for each in score.strip("[]").split(",")])
    if objective == "binary:logistic":
        base = np.log(base / (1 - base))
    elif objective not in (*_PLAIN_XGBOOST, "multi:softprob", "multi:softmax"):
        raise ConversionError(f"XGBoost's objective {objective!r} can't be converted")
    name = graph.op("Add", total.name, graph.constant(base.reshape(1, -1)))
    value = Value(name, n)
    return value if objective in _PLAIN_XGBOOST else _probabilities(graph, value)


def _lightgbm(graph: Graph, estimator: Any, value: Value) -> Value:
    told = estimator.booster_.dump_model(num_iteration=estimator.best_iteration_ or None)
    if told.get("average_output"):
        raise ConversionError("LightGBM's boosting 'rf' can't be converted")
    n = int(told["num_tree_per_iteration"])
    objective, *options = told["objective"].split()
    total = trees.added(graph, value, list(trees.of_lightgbm(told)), n)
    if objective in _PLAIN_LIGHTGBM and not options:
        return total
    if objective == "multiclass" or (objective == "binary" and "sigmoid:1" in options):
        return _probabilities(graph, total)
    raise ConversionError(f"LightGBM's objective {told['objective']!r} can't be converted")


def _probabilities(graph: Graph, scores: Value) -> Value:
    """Turn the score of the second of two classes, or of each of more, into probabilities."""
    if scores.width > 1:
        return Value(graph.op("Softmax", scores.name, axis=1), scores.width)
    second = graph.op("Sigmoid", scores.name)
    first = graph.op("Sub", graph.constant(np.array([[1.0]])), second)
    return graph.joined([Value(first, 1), Value(second, 1)])


_CONVERTERS: dict[str, Callable[[Graph, Any, Value], Value]] = {
    "DummyClassifier": _dummy,
    "DummyRegressor": _dummy,
    "ElasticNet": _linear,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "HistGradientBoostingClassifier": _hist_boosting,
    "HistGradientBoostingRegressor": _hist_boosting,
    "LGBMClassifier": _lightgbm,
    "LGBMRegressor": _lightgbm,
    "LogisticRegression": _logistic,
    "MLPClassifier": _network,
    "MLPRegressor": _network,
    "Pipeline": _pipeline,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "Ridge": _linear,
    "XGBClassifier": _xgboost,
    "XGBRegressor": _xgboost,
}

"""A whole model as one ONNX graph, and the proof that it answers as the model does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import model as models
from ratchet.errors import RatchetError
from ratchet.export import estimators, preparing
from ratchet.export.graph import ML_OPSET, OPSET, ConversionError, Graph, Value
from ratchet.export.preparing import Columns
from ratchet.features import as_features
from ratchet.schema import Column, Kind, Schema

TOLERANCE = 1e-4
"""Largest relative difference of a quantity, or absolute one of a probability, that is the same:
trees of XGBoost add up in single precision, the graph doesn't."""

# A class that the model calls by a hair may be another one: so near to a tie it is none.
_TIE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How the graph's answers compare with the model's."""

    n_rows: int
    """Rows that both were asked about."""
    largest: float
    """The largest difference: relative for quantities, absolute for probabilities."""
    other_classes: int
    """Rows with another class, although neither was near to a tie."""

    @property
    def is_equal(self) -> bool:
        """Whether they are the same within the tolerance."""
        return self.largest <= TOLERANCE and not self.other_classes


def require() -> None:
    """Make sure that the packages are there.

    Raises
    ------
    RatchetError
        If they aren't, with the command that brings them.
    """
    from importlib.util import find_spec

    lacking = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise RatchetError(
            f"An export needs {' and '.join(lacking)}: pip install 'ratchet[onnx]', or in this"
            " project uv sync --extra onnx."
        )


def converted(model: Any, schema: Schema, about: Mapping[str, str]) -> bytes:
    """Convert a model to an ONNX file's content.

    Its inputs are the columns of a client by their names, each of shape (n, 1):
    numbers and truth values (1 and 0) in double precision with NaN for missing,
    labels as text with the empty one for missing, times as whole microseconds
    since 1970 in UTC with the smallest number for missing. Its outputs are
    ``prediction`` of shape (n,) and, for classes, ``probabilities`` of shape
    (n, n_classes).

    Parameters
    ----------
    model : estimator
        What ``model.combine`` made, also when it was saved since.
    schema : Schema
        Its columns and classes.
    about : mapping of str to str
        What the file says of itself.

    Raises
    ------
    ConversionError
        If a part of it has no counterpart: which, and what to do.
    """
    from onnx import TensorProto, helper

    graph = Graph()
    inputs = {
        column.name: helper.make_tensor_value_info(
            column.name, _type(column), [None, 1], doc_string=_told(column)
        )
        for column in schema.columns
    }
    columns = Columns(schema, {name: name for name in inputs})
    said = _answer(graph, model, columns)
    outputs: list[tuple[str, str, int, list[int | None]]] = []
    if schema.problem.is_classification:
        labels, kind = _labels(graph, model, schema, said)
        outputs.append(("prediction", labels, kind, [None]))
        outputs.append(("probabilities", said.name, TensorProto.DOUBLE, [None, said.width]))
    else:
        flat = graph.op("Reshape", said.name, graph.constant(np.array([-1], dtype=np.int64)))
        outputs.append(("prediction", flat, TensorProto.DOUBLE, [None]))
    # A column of a client may be called so already.
    outputs = [(_free(name, inputs), value, kind, shape) for name, value, kind, shape in outputs]
    for name, value, _, _ in outputs:
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
    # A column that nothing looks at is no input that a runtime would keep; all are declared.
    made = helper.make_graph(
        graph.nodes,
        "ratchet",
        list(inputs.values()),
        [helper.make_tensor_value_info(name, kind, shape) for name, _, kind, shape in outputs],
        graph.constants,
    )
    proto = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        producer_name="ratchet",
        ir_version=9,
    )
    helper.set_model_props(proto, dict(about))
    try:
        return bytes(proto.SerializeToString())
    except ValueError as error:
        raise ConversionError(f"the model is too large for one ONNX file: {error}") from None


def feed(frame: pd.DataFrame, schema: Schema) -> dict[str, np.ndarray]:
    """Give rows as the graph takes them.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, any)
        With the columns of the schema, as prepare wrote them.
    schema : Schema
        The columns.
    """
    features = as_features(frame, schema)
    given = {}
    for column in schema.columns:
        values = features[column.name]
        if column.kind is Kind.DATETIME:
            array = values.to_numpy("datetime64[us]").astype(np.int64)
        elif preparing.is_text(column):
            array = values.astype("object").where(values.notna(), "").to_numpy()
        else:
            array = values.to_numpy("float64", na_value=np.nan)
        given[column.name] = array.reshape(-1, 1)
    return given


def compared(content: bytes, model: Any, frame: pd.DataFrame, schema: Schema) -> Agreement:
    """Ask both about rows.

    Parameters
    ----------
    content : bytes
        The ONNX file.
    model : estimator
        What it was converted from.
    frame : pd.DataFrame of shape (n_rows, any)
        The rows.
    schema : Schema
        The columns and classes.

    Raises
    ------
    ConversionError
        If the runtime can't load or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = {each.name for each in session.get_inputs()}
        given = {name: each for name, each in feed(frame, schema).items() if name in names}
        said = session.run(None, given)
    except Exception as error:  # its errors have no parent of their own
        raise ConversionError(f"the file can't be run by onnxruntime: {error}") from error
    expected = models.predict(model, frame, schema)
    if not schema.problem.is_classification:
        theirs = np.asarray(said[0], dtype=np.float64)
        scale = np.maximum(np.abs(expected.values), np.abs(expected.values).mean() or 1.0)
        return Agreement(len(frame), _largest(theirs - expected.values, scale), 0)
    theirs = np.asarray(said[1])
    ours = expected.probabilities
    assert ours is not None
    codes = pd.Index(schema.classes).get_indexer(pd.Index(said[0]))
    threshold = models.threshold_of(model)
    if threshold is None:
        two = np.sort(ours, axis=1)[:, -2:]
        near = two[:, 1] - two[:, 0] < _TIE
    else:
        near = np.abs(ours[:, -1] - threshold) < _TIE
    others = int(((codes != expected.values) & ~near).sum())
    return Agreement(len(frame), _largest(theirs - ours, np.ones(1)), others)


def _largest(differences: np.ndarray, scale: np.ndarray) -> float:
    found = np.abs(differences) / scale
    return float("inf") if not np.isfinite(found).all() else float(found.max(initial=0.0))


def probes(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Give rows with what the rows that are there may lack: gaps and unseen labels.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, any)
        At least one row, with the columns of the schema.
    schema : Schema
        The columns.

    Returns
    -------
    pd.DataFrame
        Of each column a row in which it is missing, and of labels one with a new one.
    """
    rows = []
    features = as_features(frame, schema).head(1)
    for column in schema.columns:
        rows.append(features.assign(**{column.name: _gap(column)}))
        if column.kind is Kind.CATEGORY:
            unseen = "never seen" if preparing.is_text(column) else float(2**40)
            rows.append(features.assign(**{column.name: unseen}))
    return as_features(pd.concat(rows, ignore_index=True), schema)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _gap(column: Column) -> Any:
    return pd.NaT if column.kind is Kind.DATETIME else None if preparing.is_text(column) else np.nan


def _told(column: Column) -> str:
    """Say what an input takes."""
    if column.kind is Kind.DATETIME:
        return f"microseconds since 1970 in UTC; {np.iinfo(np.int64).min} where it is missing"
    if preparing.is_text(column):
        return "text; the empty one where it is missing"
    numbers = "1 for true, 0 for false" if column.kind is Kind.BOOLEAN else "numbers"
    return f"{numbers}; NaN where it is missing"


def _type(column: Column) -> int:
    from onnx import TensorProto

    if column.kind is Kind.DATETIME:
        return int(TensorProto.INT64)
    return int(TensorProto.STRING if preparing.is_text(column) else TensorProto.DOUBLE)


def _answer(graph: Graph, model: Any, columns: Columns) -> Value:
    """Convert a model from the outside to the inside: threshold, calibration, votes, members."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier

    if isinstance(model, FixedThresholdClassifier | FrozenEstimator):
        return _answer(graph, model.estimator, columns)
    if isinstance(model, CalibratedClassifierCV):
        return _calibrated(graph, model, _answer(graph, model.estimator, columns))
    total: Value | None = None
    parts = models.taken_apart(model)
    whole = sum(part.weight for part in parts)
    prepared: dict[int, Value] = {}
    for part in parts:
        name = type(part.estimator).__name__
        try:
            key = id(part.transformer)
            if key not in prepared:
                prepared[key] = preparing.converted(graph, part.transformer, columns)
            said = estimators.converted(graph, part.estimator, prepared[key])
        except ConversionError as error:
            raise ConversionError(
                f"The model can't be written as ONNX, because of {name} in it: {error}. Of the"
                f" families, {', '.join(estimators.FAMILIES)} can be: name those that fit the"
                " problem in train.families, and train again."
            ) from None
        weight = graph.constant(np.array([[part.weight / whole]]))
        weighed = Value(graph.op("Mul", said.name, weight), said.width)
        if total is not None:
            weighed = Value(graph.op("Add", total.name, weighed.name), said.width)
        total = weighed
    assert total is not None
    return total


def _calibrated(graph: Graph, model: Any, said: Value) -> Value:
    [calibrated] = model.calibrated_classifiers_
    if calibrated.method != "temperature":
        raise ConversionError(f"a calibration by {calibrated.method!r} can't be converted")
    [scaling] = calibrated.calibrators
    shifted = graph.op("Add", said.name, graph.constant(np.array([[1e-12]])))
    beta = graph.constant(np.array([[float(scaling.beta_)]]))
    scores = graph.op("Mul", graph.op("Log", shifted), beta)
    return Value(graph.op("Softmax", scores, axis=1), said.width)


def _labels(graph: Graph, model: Any, schema: Schema, said: Value) -> tuple[str, int]:
    """Decide, and say it by the target's own labels."""
    from onnx import TensorProto

    threshold = models.threshold_of(model)
    if threshold is None:
        codes = graph.op("ArgMax", said.name, axis=1, keepdims=0)
    else:
        last = graph.columns(said, [said.width - 1]).name
        flat = graph.op("Reshape", last, graph.constant(np.array([-1], dtype=np.int64)))
        limit = graph.constant(np.array([threshold]))
        codes = graph.cast(graph.op("GreaterOrEqual", flat, limit), np.int64)
    first = schema.classes[0]
    if isinstance(first, bool):
        table, kind = np.array(schema.classes, dtype=bool), TensorProto.BOOL
    elif isinstance(first, str):
        table, kind = np.array(schema.classes, dtype=object), TensorProto.STRING
    elif isinstance(first, int):
        table, kind = np.array(schema.classes, dtype=np.int64), TensorProto.INT64
    else:
        table, kind = np.array(schema.classes, dtype=np.float64), TensorProto.DOUBLE
    return graph.op("Gather", graph.constant(table), codes, axis=0), int(kind)

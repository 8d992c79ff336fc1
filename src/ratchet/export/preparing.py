"""What comes before a model: from the columns of a client to the numbers that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet.export.graph import ConversionError, Graph, Value
from ratchet.expressions import listed
from ratchet.schema import Column, Kind, Schema

# Times are whole microseconds; numpy's missing one is the smallest number there is.
_DAY = 86_400_000_000
_NEVER = np.iinfo(np.int64).min
# The calendar repeats itself every 400 years, which are 146,097 days. So many of these repetitions
# are added that no day is negative: whole numbers are divided towards zero.
_ERA = 146_097
_ERAS = 100
# Days from the calendar's first of March of the year 0 to 1970.
_EPOCH = 719_468

# Labels that no table holds, and what the codes of labels that are numbers are for missing ones
# and for what is no whole number: labels are far from both.
_UNSEEN = "\x00 a label that no table holds"
_UNSEEN_NUMBER = 2.0**52 + 0.5
_NO_NUMBER, _NO_WHOLE = -(2.0**62), 2.0**62


@dataclass(frozen=True)
class Columns:
    """The columns of a client, as the graph has them."""

    schema: Schema
    """What they hold."""
    names: Mapping[str, str]
    """Name of each one's value, of shape (n, 1): text, whole microseconds, or numbers in double
    precision."""

    def column(self, name: str) -> Column:
        """Find what is known of a column."""
        return next(each for each in self.schema.columns if each.name == name)

    def is_text(self, name: str) -> bool:
        """Tell whether a column holds text."""
        return is_text(self.column(name))

    def is_label(self, name: str) -> bool:
        """Tell whether a column holds labels, which may be numbers."""
        return self.column(name).kind in (Kind.CATEGORY, Kind.TEXT)

    def is_time(self, name: str) -> bool:
        """Tell whether a column holds times."""
        return self.column(name).kind is Kind.DATETIME


def is_text(column: Column) -> bool:
    """Tell whether a column holds text: labels are that or numbers."""
    return column.kind is not Kind.DATETIME and column.dtype != "float64"


def converted(graph: Graph, transformer: Any, columns: Columns) -> Value:
    """Convert a fitted preparation that takes the columns of a client.

    Raises
    ------
    ConversionError
        If a part of it has no counterpart, with the columns that it is about.
    """
    from sklearn.pipeline import Pipeline

    if isinstance(transformer, Pipeline):
        first, *others = [step for _, step in transformer.steps]
        value = converted(graph, first, columns)
        for step in others:
            value = of_numbers(graph, step, value)
        return value
    return graph.joined(
        [
            _of_columns(graph, part, [str(name) for name in np.atleast_1d(chosen)], columns)
            for part, chosen in _kept(transformer)
        ]
    )


def of_numbers(graph: Graph, step: Any, value: Value) -> Value:
    """Convert a fitted transformer that takes a matrix of numbers.

    Raises
    ------
    ConversionError
        If it has no counterpart.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.frozen import FrozenEstimator
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler
    from skrub import SquashingScaler

    match step:
        case "passthrough":
            return value
        case FrozenEstimator():
            return of_numbers(graph, step.estimator, value)
        case Pipeline():
            for _, each in step.steps:
                value = of_numbers(graph, each, value)
            return value
        case FeatureUnion():
            return graph.joined(
                [of_numbers(graph, each, value) for _, each in step.transformer_list]
            )
        case ColumnTransformer():
            return graph.joined(
                [
                    of_numbers(graph, each, graph.columns(value, _places(chosen, value.width)))
                    for each, chosen in _kept(step)
                    if _places(chosen, value.width)
                ]
            )
        case StandardScaler():
            return _standardised(graph, step, value)
        case SimpleImputer():
            return _imputed(graph, step, value)
        case SquashingScaler():
            return _squashed(graph, step, value)
        case PCA():
            scale = np.sqrt(step.explained_variance_) if step.whiten else 1.0
            weights = step.components_.T / scale
            return graph.linear(value, weights, -step.mean_ @ weights)
        case OrdinalEncoder():
            return _recoded(graph, step, value)
        case FunctionTransformer():
            return _function(graph, step, value)
    raise ConversionError(f"{type(step).__name__} can't be converted")


def _of_columns(graph: Graph, part: Any, names: Sequence[str], columns: Columns) -> Value:
    """Convert what takes some of a client's columns."""
    from skrub import ApplyToCols, DatetimeEncoder, StringEncoder

    first = part.steps[0][1] if hasattr(part, "steps") else part
    rest = [step for _, step in part.steps[1:]] if hasattr(part, "steps") else []
    if isinstance(first, ApplyToCols) and isinstance(first.transformer, StringEncoder):
        raise ConversionError(
            f"free text can't be converted ({listed(list(names))}). Name such columns in data.drop"
        )
    if isinstance(first, ApplyToCols) and isinstance(first.transformer, DatetimeEncoder):
        value = graph.joined(
            [
                _parts_of_time(graph, first.transformers_[name], columns.names[name])
                for name in names
            ]
        )
        for step in rest:
            value = of_numbers(graph, step, value)
        return value
    if all(columns.is_label(name) for name in names) and not isinstance(part, str):
        return graph.joined([_tabulated(graph, part, names, name, columns) for name in names])
    if any(columns.is_text(name) for name in names):
        return _derived(graph, part, names, columns)
    if any(columns.is_time(name) for name in names):
        return _derived(graph, part, names, columns)
    value = graph.joined([Value(columns.names[name], 1) for name in names])
    if hasattr(part, "transformer_list") or _takes_columns(part):
        return _derived(graph, part, names, columns)
    return of_numbers(graph, part, value)


def _takes_columns(part: Any) -> bool:
    """Tell whether a transformer names the columns that it takes."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    if isinstance(part, Pipeline):
        return _takes_columns(part.steps[0][1])
    if isinstance(part, FeatureUnion):
        return any(_takes_columns(each) for _, each in part.transformer_list)
    if not isinstance(part, ColumnTransformer):
        return False
    return any(isinstance(n, str) for _, _, chosen in part.transformers for n in np.ravel(chosen))


def _derived(graph: Graph, part: Any, names: Sequence[str], columns: Columns) -> Value:
    """Convert features that are computed from columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    match part:
        case Pipeline():
            first, *others = [step for _, step in part.steps]
            if isinstance(first, ColumnTransformer) and len(names) and _one_label(first, columns):
                (name,) = _named(first)
                return _tabulated(graph, part, names, name, columns)
            value = _derived(graph, first, names, columns)
            for step in others:
                value = of_numbers(graph, step, value)
            return value
        case FeatureUnion():
            return graph.joined(
                [_derived(graph, each, names, columns) for _, each in part.transformer_list]
            )
        case ColumnTransformer():
            parts = []
            for each, chosen in _kept(part):
                for name in [str(n) for n in np.atleast_1d(chosen)]:
                    if columns.is_text(name):
                        raise ConversionError(f"what is computed from {name!r} can't be converted")
                    value = Value(columns.names[name], 1)
                    if columns.is_time(name) and isinstance(each, str):
                        raise ConversionError(f"what is computed from {name!r} can't be converted")
                    parts.append(of_numbers(graph, each, value))
            return graph.joined(parts)
    raise ConversionError(f"{type(part).__name__} can't be converted ({listed(list(names))})")


def _one_label(step: Any, columns: Columns) -> bool:
    names = _named(step)
    return len(names) == 1 and columns.is_label(names[0])


def _named(step: Any) -> list[str]:
    return [str(name) for _, chosen in _kept(step) for name in np.atleast_1d(chosen)]


def _kept(step: Any) -> list[tuple[Any, Any]]:
    """Give the parts of a column transformer, each with its columns, but for what is dropped."""
    return [
        (part, chosen)
        for _, part, chosen in step.transformers_
        if not (isinstance(part, str) and part == "drop")
    ]


def _tabulated(graph: Graph, part: Any, names: Sequence[str], name: str, columns: Columns) -> Value:
    """Convert what takes labels: what it gives for each of them is looked up in a table.

    The table is what the fitted transformer says itself, so that its rules on rare,
    missing and unseen labels are its own.
    """
    labels = _labels(part, list(names).index(name))
    rows = pd.DataFrame(
        {
            each: _asked(labels if each == name else [None] * len(labels), columns.is_text(each))
            for each in names
        }
    )
    said = part.transform(rows)
    said = said.toarray() if hasattr(said, "toarray") else np.asarray(said, dtype=np.float64)
    table = said[:, _own_outputs(part, names, name, said.shape[1])].astype(np.float64)
    value = Value(columns.names[name], 1)
    if columns.is_text(name):
        if "" in labels:
            raise ConversionError(
                f"the empty text is a label of {name!r}, and stands for a missing one in ONNX"
            )
        codes = graph.op(
            "LabelEncoder",
            value.name,
            domain="ai.onnx.ml",
            keys_strings=[*labels, ""],
            values_int64s=list(range(len(labels) + 1)),
            default_int64=len(labels) + 1,
        )
    else:
        codes = _codes(graph, value, labels, name)
    flat = graph.op("Reshape", codes, graph.constant(np.array([-1], dtype=np.int64)))
    return Value(graph.op("Gather", graph.constant(table), flat, axis=0), table.shape[1])


def _labels(part: Any, place: int) -> list[Any]:
    """Find the labels that a transformer, or the first of a pipeline, knows of a column."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(part, Pipeline):
        for _, step in part.steps:
            if hasattr(step, "categories_"):
                # Behind a choice of one column, it is the first.
                chosen = isinstance(part.steps[0][1], ColumnTransformer)
                return _known(step.categories_[0 if chosen else place])
    if hasattr(part, "categories_"):
        return _known(part.categories_[place])
    raise ConversionError(f"{type(part).__name__} can't be converted")


def _known(values: Any) -> list[Any]:
    """Leave out what stands for a missing label."""
    return [each for each in values if isinstance(each, str) or not pd.isna(each)]


def _asked(labels: Sequence[Any], text: bool) -> pd.Series:
    """Give labels, a missing one and one that nobody has seen, as a column holds them."""
    unseen = _UNSEEN if text else _UNSEEN_NUMBER
    return pd.Series([*labels, None, unseen], dtype="str" if text else "float64")


def _codes(graph: Graph, value: Value, labels: Sequence[float], name: str) -> str:
    """Give numbers to labels that are numbers, to a missing one and any other, in this order."""
    if any(label % 1 for label in labels):
        raise ConversionError(f"labels of {name!r} are numbers with a fraction")
    whole = graph.op("Equal", value.name, graph.op("Floor", value.name))
    kept = graph.op("Where", whole, value.name, graph.constant(np.array([[_NO_WHOLE]])))
    missing = graph.op("IsNaN", value.name)
    marked = graph.op("Where", missing, graph.constant(np.array([[_NO_NUMBER]])), kept)
    return graph.op(
        "LabelEncoder",
        graph.cast(marked, np.int64),
        domain="ai.onnx.ml",
        keys_int64s=[*(int(label) for label in labels), int(_NO_NUMBER)],
        values_int64s=list(range(len(labels) + 1)),
        default_int64=len(labels) + 1,
    )


def _own_outputs(part: Any, names: Sequence[str], name: str, width: int) -> np.ndarray:
    """Find the outputs of one column: those of each column follow each other."""
    place = list(names).index(name)
    if _takes_columns(part):  # behind a choice of one column, all are of it
        return np.arange(width)
    widths = _widths(part) if hasattr(part, "drop_idx_") else [width // len(names)] * len(names)
    first = sum(widths[:place])
    return np.arange(first, first + widths[place])


def _widths(encoder: Any) -> list[int]:
    """Count the columns that a one-hot encoder makes of each."""
    rare = getattr(encoder, "infrequent_categories_", None) or [None] * len(encoder.categories_)
    return [
        len(known) - (0 if few is None or not len(few) else len(few) - 1)
        for known, few in zip(encoder.categories_, rare, strict=True)
    ]


def _parts_of_time(graph: Graph, encoder: Any, name: str) -> Value:
    """Convert what takes a point in time apart."""

    def whole(value: int) -> str:
        return graph.constant(np.array([[value]], dtype=np.int64))

    def divided(a: str, by: int) -> str:
        return graph.op("Div", a, whole(by))

    def times(a: str, factor: int) -> str:
        return graph.op("Mul", a, whole(factor))

    def plus(a: str, b: str) -> str:
        return graph.op("Add", a, b)

    def minus(a: str, b: str) -> str:
        return graph.op("Sub", a, b)

    missing = graph.op("Equal", name, whole(_NEVER))
    known = graph.op("Where", missing, whole(0), name)
    shifted = plus(known, whole(_ERAS * _ERA * _DAY))
    days = divided(shifted, _DAY)
    of_day = minus(shifted, times(days, _DAY))
    # See H. Hinnant, chrono-Compatible Low-Level Date Algorithms: days_from_civil and back.
    since = plus(days, whole(_EPOCH))
    era = divided(since, _ERA)
    doe = minus(since, times(era, _ERA))
    leaps = minus(plus(divided(doe, 1_460), divided(doe, 146_096)), divided(doe, 36_524))
    yoe = divided(minus(doe, leaps), 365)
    before = minus(plus(times(yoe, 365), divided(yoe, 4)), divided(yoe, 100))
    doy = minus(doe, before)
    march = divided(plus(times(doy, 5), whole(2)), 153)
    late = graph.op("Less", march, whole(10))
    month = plus(march, graph.op("Where", late, whole(3), whole(-9)))
    first_months = graph.op("Less", month, whole(3))
    year = plus(plus(yoe, times(era, 400)), whole(-400 * _ERAS))
    parts = {
        "year": plus(year, graph.op("Where", first_months, whole(1), whole(0))),
        "month": month,
        "day": plus(minus(doy, divided(plus(times(march, 153), whole(2)), 5)), whole(1)),
        "hour": divided(of_day, 3_600_000_000),
        "minute": graph.op("Mod", divided(of_day, 60_000_000), whole(60)),
        "second": graph.op("Mod", divided(of_day, 1_000_000), whole(60)),
        "weekday": plus(graph.op("Mod", plus(days, whole(3)), whole(7)), whole(1)),
    }
    nan = graph.constant(np.array([[np.nan]]))

    def number(part: str) -> Value:
        if part == "total_seconds":
            seconds = graph.op(
                "Div", graph.cast(known, np.float64), graph.constant(np.array([[1e6]]))
            )
            return graph.single(Value(seconds, 1))
        if part not in parts:
            raise ConversionError(f"the {part} of a time can't be converted")
        return Value(graph.cast(parts[part], np.float64), 1)

    plain, circles = [], []
    for part in encoder.extracted_features_:
        circle = encoder._periodic_encoders.get(part)
        if circle is None:
            plain.append(number(part))
            continue
        factor = graph.constant(np.array([[2 * np.pi / circle.period]]))
        turn = graph.op("Mul", number(part).name, factor)
        circles += [Value(graph.op("Sin", turn), 1), Value(graph.op("Cos", turn), 1)]
    value = graph.joined([*plain, *circles])
    return Value(graph.op("Where", missing, nan, value.name), value.width)


def _standardised(graph: Graph, step: Any, value: Value) -> Value:
    mean = step.mean_ if step.with_mean else np.zeros(value.width)
    if not step.with_std:
        return graph.affine(value, np.ones(value.width), mean)
    moved = value.name
    if np.any(mean):
        moved = graph.op("Sub", moved, graph.constant(np.reshape(mean, (1, -1)).astype(float)))
    scale = graph.constant(np.reshape(step.scale_, (1, -1)).astype(float))
    return Value(graph.op("Div", moved, scale), value.width)


def _imputed(graph: Graph, step: Any, value: Value) -> Value:
    fills = np.asarray(step.statistics_, dtype=np.float64)
    there = ~np.isnan(fills) if not step.keep_empty_features else np.ones(len(fills), dtype=bool)
    filled = graph.without_nan(
        graph.columns(value, np.flatnonzero(there).tolist()), np.nan_to_num(fills[there])
    )
    if step.indicator_ is None:
        return filled
    marked = graph.columns(value, [int(place) for place in step.indicator_.features_])
    if not marked.width:
        return filled
    signs = graph.cast(graph.op("IsNaN", marked.name), np.float64)
    return graph.joined([filled, Value(signs, marked.width)])


def _squashed(graph: Graph, step: Any, value: Value) -> Value:
    factor, centre = np.zeros(value.width), np.zeros(value.width)
    if step.robust_scaler_ is not None:
        centre[step.robust_cols_] = step.robust_scaler_.center_
        factor[step.robust_cols_] = 1 / step.robust_scaler_.scale_
    if step.minmax_scaler_ is not None:
        centre[step.minmax_cols_] = step.minmax_scaler_.median_
        factor[step.minmax_cols_] = step.minmax_scaler_.scale_
    scaled = graph.affine(value, factor, centre).name
    most = graph.constant(np.array([[float(step.max_absolute_value)]]))
    share = graph.op("Div", scaled, most)
    one = graph.constant(np.array([[1.0]]))
    root = graph.op("Sqrt", graph.op("Add", one, graph.op("Mul", share, share)))
    return Value(graph.op("Div", scaled, root), value.width)


def _recoded(graph: Graph, step: Any, value: Value) -> Value:
    """Convert an encoder of codes, which histogram boosting has inside."""
    parts = []
    for place, known in enumerate(step.categories_):
        codes = _known(known)
        name = _codes(graph, graph.columns(value, [place]), codes, "an encoder")
        flat = graph.op("Reshape", name, graph.constant(np.array([-1], dtype=np.int64)))
        table = np.array([[float(at)] for at in range(len(codes))] + [[np.nan], [np.nan]])
        parts.append(Value(graph.op("Gather", graph.constant(table), flat, axis=0), 1))
    return graph.joined(parts)


def _function(graph: Graph, step: Any, value: Value) -> Value:
    """Convert a function of numpy, by its name."""
    if step.func is None:
        return value
    function, given = getattr(step.func, "func", step.func), dict(step.kw_args or {})
    name = getattr(function, "__name__", str(function))
    simple = {
        "absolute": "Abs",
        "log": "Log",
        "exp": "Exp",
        "sqrt": "Sqrt",
        "sin": "Sin",
        "cos": "Cos",
        "negative": "Neg",
        "reciprocal": "Reciprocal",
    }
    if name in simple:
        return Value(graph.op(simple[name], value.name), value.width)
    match name:
        case "arcsin":
            return _arcsine(graph, value)
        case "check_array" | "reshape":
            return value
        case "asarray" if str(given.get("dtype", "float64")) == "datetime64[us]":
            return value
        case "asarray":
            return Value(graph.cast(value.name, np.float64), value.width)
        case "take":
            return graph.columns(value, [int(place) for place in given["indices"]])
        case "diff":
            later = graph.columns(value, range(1, value.width))
            earlier = graph.columns(value, range(value.width - 1))
            return Value(graph.op("Sub", later.name, earlier.name), value.width - 1)
        case "sum" | "prod":
            kind = "Add" if name == "sum" else "Mul"
            total = graph.columns(value, [0]).name
            for place in range(1, value.width):
                total = graph.op(kind, total, graph.columns(value, [place]).name)
            return Value(total, 1)
        case "kron":
            factor = graph.constant(np.array([[float(given["b"])]]))
            return Value(graph.op("Mul", value.name, factor), value.width)
        case "square":
            return Value(graph.op("Mul", value.name, value.name), value.width)
        case "deg2rad":
            factor = graph.constant(np.array([[np.pi / 180]]))
            return Value(graph.op("Mul", value.name, factor), value.width)
        case "log1p":
            one = graph.constant(np.array([[1.0]]))
            return Value(graph.op("Log", graph.op("Add", value.name, one)), value.width)
        case "around" if not given:
            return Value(graph.op("Round", value.name), value.width)
        case "nan_to_num":
            infinite = graph.op("IsInf", value.name)
            nan = graph.constant(np.array([[np.nan]]))
            return Value(graph.op("Where", infinite, nan, value.name), value.width)
    raise ConversionError(f"the function {name} can't be converted")


def _arcsine(graph: Graph, value: Value) -> Value:
    """Convert an arcsine, which runtimes know in single precision only, by a step of Newton's."""
    rough = graph.cast(graph.op("Asin", graph.cast(value.name, np.float32)), np.float64)
    miss = graph.op("Sub", value.name, graph.op("Sin", rough))
    slope = graph.op("Max", graph.op("Cos", rough), graph.constant(np.array([[1e-3]])))
    return Value(graph.op("Add", rough, graph.op("Div", miss, slope)), value.width)


def _places(chosen: Any, width: int) -> list[int]:
    """Give the columns of a matrix that a mask, a slice or numbers choose."""
    if isinstance(chosen, slice):
        return list(range(*chosen.indices(width)))
    chosen = np.asarray(chosen)
    return [int(each) for each in (np.flatnonzero(chosen) if chosen.dtype == bool else chosen)]

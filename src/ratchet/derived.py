"""Turns the definition of a feature into scikit-learn's own classes, so that a model carries it.

A served model gets columns as a client has them, and must compute what was
computed in training without any code of this project. So an expression becomes
a pipeline of numpy's functions by their names, which skops can save and anybody
can read; a function of the user's own travels with the model.
"""

import ast
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet import expressions
from ratchet.errors import DataError
from ratchet.expressions import Definition, Expression

# A whole power is a product of so many columns at most.
MAX_POWER = 8
# As a whole number of microseconds, numpy's missing time is -2**63, and every year that a
# calendar knows is below 2**58. Times this power of two, only the missing time is infinite.
_SHIFT = 2.0**965

TRUSTED_TYPES = (
    *(
        f"numpy.{name}"
        for name in (
            "around",
            "asarray",
            "diff",
            "kron",
            "nan_to_num",
            "prod",
            "reshape",
            "sum",
            "take",
        )
    ),
    "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.frozen._frozen.FrozenEstimator",
)
"""What a saved feature holds and skops does not know by itself: functions of numpy that only
count, named one by one."""

_MICROSECONDS = {
    "seconds": 1e6,
    "minutes": 60e6,
    "hours": 3_600e6,
    "days": 86_400e6,
}
_UNARY = {
    "abs": np.absolute,
    "log": np.log,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "round": np.around,
}
ALLOWED = (
    "columns, numbers, + - * /, ** with a whole number, "
    f"{', '.join(f'{name}(b - a)' for name in _MICROSECONDS)}, "
    f"{', '.join(f'{name}(x)' for name in _UNARY)}, haversine(lat1, lon1, lat2, lon2) and"
    " share(x)"
)
"""What a definition may hold, for messages."""


def transformer(definitions: Sequence[Definition], times: Collection[str]) -> Any:
    """Build what computes features from a data frame, unfitted.

    A value that can't be computed, such as ``1 / 0``, is missing.

    Parameters
    ----------
    definitions : sequence of Definition
        At least one.
    times : collection of str
        Inputs that are points in time.

    Returns
    -------
    Transformer
        From a data frame with the inputs to float64 of shape (n_rows, n_definitions);
        what is computed from numbers and times comes first.

    Raises
    ------
    DataError
        If a definition holds what can't be computed so, or its function can't be imported.
    """
    compilers = [_Compiler(each, _order(definitions, times), times) for each in definitions]
    counted = [number for each in compilers if (number := each.number()) is not None]
    others = [other for each in compilers if (other := each.other()) is not None]
    if counted:
        others.insert(0, _chain(_matrix(compilers[0].order, times), _union(counted)))
    return _chain(
        _union(others),
        # What has no finite value is missing, as in targets and filters.
        _call(np.nan_to_num, nan=np.nan, posinf=np.nan, neginf=np.nan),
    )


def compute(
    definition: Definition, rows: pd.DataFrame, times: Collection[str], words: Collection[str]
) -> np.ndarray:
    """Compute one feature, to see whether it can be.

    Parameters
    ----------
    definition : Definition
        How it is computed.
    rows : pd.DataFrame of shape (n_rows, n_inputs)
        Its inputs.
    times, words : collection of str
        Inputs that are points in time, and those that are text.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        float64.

    Raises
    ------
    DataError
        If the definition doesn't suit what the columns hold, or a function fails or gives
        something else than a number for each row.
    """
    if _is_counted(definition):
        wrong = [name for name in definition.inputs if name in words]
        if wrong:
            raise _Compiler(definition, (), times).error(f"{wrong[0]!r} holds text")
    made = transformer([definition], times)
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(made.fit_transform(rows))
    except Exception as error:
        if definition.function is None:
            raise
        # A function of the user's own may fail in any way.
        raise DataError(
            f"data.derive.{definition.name}: {definition.function} failed with"
            f" {type(error).__name__}: {error}"
        ) from error
    if values.shape != (len(rows), 1):
        raise DataError(
            f"data.derive.{definition.name}: {definition.function} gave {values.size:,} values for"
            f" {len(rows):,} rows. It must give a number for each."
        )
    return values[:, 0]


def trusted_types(definitions: Sequence[Definition]) -> tuple[str, ...]:
    """Name what skops must trust to save and load these features."""
    own = [each.function.replace(":", ".") for each in definitions if each.function]
    return (*TRUSTED_TYPES, *own) if definitions else ()


def modules(definitions: Sequence[Definition]) -> tuple[str, ...]:
    """Name the modules of the user's own that must travel with a model."""
    return tuple(dict.fromkeys(d.function.partition(":")[0] for d in definitions if d.function))


@dataclass(frozen=True)
class _Compiler:
    """One definition on its way to scikit-learn's classes."""

    definition: Definition
    order: Sequence[str]
    """Inputs of all definitions that are computed from numbers and times."""
    times: Collection[str]

    def number(self) -> Any:
        """Build what gives the feature from the matrix of inputs; None for other kinds."""
        if not _is_counted(self.definition):
            return None
        expression = expressions.parse(self.definition.told)
        column = expressions.column_of(expression, self.definition.inputs)
        if column is not None:
            raise self.error(f"it is no more than the column {column!r}")
        if expression.tree is None:
            raise self.error(f"it can't be read: {expression.problem}")
        return self._number(expression.tree, expression)

    def other(self) -> Any:
        """Build what gives the feature from the data frame; None for what counts."""
        if self.definition.function is not None:
            return self._of_function(self.definition.function)
        if _is_counted(self.definition):
            return None
        (name,) = self.definition.inputs
        return self._share(name)

    def _of_function(self, path: str) -> Any:
        # It loads scikit-learn, which who only asks for help need not wait for.
        from ratchet.hooked import resolve

        try:
            function = resolve(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(f"{path} can't be imported: {error}") from None
        return _chain(
            _selected(self.definition.inputs),
            _call(function),
            _call(np.asarray, dtype="float64"),
            _call(np.reshape, shape=(-1, 1)),
        )

    def _share(self, name: str) -> Any:
        """Learn how many of the training rows have the same value, as a share."""
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.preprocessing import OneHotEncoder

        # The inverse document frequency is log(n / count) + 1; a value that training did not
        # hold has a row of zeros. With its logarithm put at 700, exp() turns it into nothing.
        return _chain(
            _selected([name]),
            OneHotEncoder(handle_unknown="ignore"),
            TfidfTransformer(norm=None, smooth_idf=False),
            _call(np.sum, axis=1),
            _call(np.asarray),
            _call(np.reshape, shape=(-1, 1)),
            _call(np.log),
            _call(np.nan_to_num, neginf=700.0),
            _call(np.exp),
            _call(np.negative),
            _shifted(1.0),
            _call(np.exp),
        )

    def _number(self, node: ast.expr, whole: Expression) -> Any:
        """Build what gives numbers of shape (n_rows, 1) from the matrix of inputs."""
        match node:
            case ast.Name() | ast.Call(func=ast.Name(id="col")):
                name = self._name(node, whole)
                if name in self.times:
                    raise self.error(f"{name!r} is a point in time; write minutes(b - a)")
                return _taken(self.order.index(name))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _chain(self._number(operand, whole), _call(np.negative))
            case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
                return self._power(base, exponent, whole)
            case ast.BinOp():
                return self._arithmetic(node, whole)
            case ast.Call(func=ast.Name(id="haversine"), args=args):
                return self._haversine([self._number(each, whole) for each in args])
            case ast.Call(func=ast.Name(id=function), args=[ast.BinOp() as span]) if (
                function in _MICROSECONDS
            ):
                return _chain(self._span(span, whole), _divided(_MICROSECONDS[function]))
            case ast.Call(func=ast.Name(id=function), args=[operand]) if function in _UNARY:
                return _chain(self._number(operand, whole), _call(_UNARY[function]))
        raise self.error(f"it may not hold {ast.unparse(node)}")

    def _arithmetic(self, node: ast.BinOp, whole: Expression) -> Any:
        if not isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
            raise self.error(f"it may not hold {ast.unparse(node)}")
        left, right = _constant(node.left), _constant(node.right)
        match node.op:
            case ast.Add() | ast.Sub() if right is not None:
                amount = right if isinstance(node.op, ast.Add) else -right
                return _chain(self._number(node.left, whole), _shifted(amount))
            case ast.Add() if left is not None:
                return _chain(self._number(node.right, whole), _shifted(left))
            case ast.Sub() if left is not None:
                negative = _chain(self._number(node.right, whole), _call(np.negative))
                return _chain(negative, _shifted(left))
            case ast.Mult() if right is not None:
                return _chain(self._number(node.left, whole), _scaled(right))
            case ast.Mult() if left is not None:
                return _chain(self._number(node.right, whole), _scaled(left))
            case ast.Div() if right is not None:
                if not right:
                    raise self.error("it divides by 0")
                return _chain(self._number(node.left, whole), _divided(right))
            case ast.Div() if left is not None:
                inverse = _chain(self._number(node.right, whole), _call(np.reciprocal))
                return _chain(inverse, _scaled(left))
        a, b = self._number(node.left, whole), self._number(node.right, whole)
        match node.op:
            case ast.Add():
                return _chain(_union([a, b]), _sum())
            case ast.Sub():
                return _chain(_union([b, a]), _call(np.diff, axis=1))
            case ast.Mult():
                return _chain(_union([a, b]), _product())
        return _chain(_union([a, _chain(b, _call(np.reciprocal))]), _product())

    def _power(self, base: ast.expr, exponent: ast.expr, whole: Expression) -> Any:
        power = _constant(exponent)
        if power is None or power % 1 or not 1 <= abs(power) <= MAX_POWER:
            raise self.error(
                f"{ast.unparse(exponent)} is no power that it may hold: whole numbers from 1 to"
                f" {MAX_POWER}, also below 0; sqrt(x) is a root"
            )
        column = self._number(base, whole)
        raised = _chain(column, _call(np.take, indices=[0] * int(abs(power)), axis=1), _product())
        return _chain(raised, _call(np.reciprocal)) if power < 0 else raised

    def _span(self, node: ast.BinOp, whole: Expression) -> Any:
        """Build the microseconds between two points in time."""
        if not isinstance(node.op, ast.Sub):
            raise self.error(f"{ast.unparse(node)} is no difference of two points in time")
        names = [self._name(each, whole) for each in (node.right, node.left)]
        for name in names:
            if name not in self.times:
                raise self.error(f"{name!r} is no point in time")
        places = [self.order.index(name) for name in names]
        return _chain(_call(np.take, indices=places, axis=1), _call(np.diff, axis=1))

    def _haversine(self, parts: Sequence[Any]) -> Any:
        """Build the way over the ground between two places in degrees, in kilometres.

        References
        ----------
        Sinnott, R. W. (1984). Virtues of the Haversine. Sky and Telescope 68(2).
        """
        lat1, lon1, lat2, lon2 = range(4)

        def half_turn(a: int, b: int) -> list[Any]:
            pair = _call(np.take, indices=[a, b], axis=1)
            return [pair, _call(np.diff, axis=1), _scaled(0.5), _call(np.sin), _call(np.square)]

        latitudes = _call(np.take, indices=[lat1, lat2], axis=1)
        narrower = _chain(latitudes, _call(np.cos), _product())
        across = _chain(_union([narrower, _chain(*half_turn(lon1, lon2))]), _product())
        return _chain(
            _union(parts),
            _call(np.deg2rad),
            _union([_chain(*half_turn(lat1, lat2)), across]),
            _sum(),
            _call(np.sqrt),
            _call(np.arcsin),
            _scaled(2 * expressions.EARTH_KM),
        )

    def _name(self, node: ast.expr, whole: Expression) -> str:
        """Name the column that a node is."""
        text = ast.get_source_segment(" ".join(whole.text.strip().splitlines()), node) or ""
        column = expressions.column_of(text, self.definition.inputs)
        if column is None:
            raise self.error(f"{ast.unparse(node)} must be a column")
        return column

    def error(self, reason: str) -> DataError:
        """Say why the definition can't be used, and what could."""
        return DataError(
            f"data.derive.{self.definition.name} can't be computed inside of a model: {reason}."
            f" Allowed: {ALLOWED}; or a function of your own."
        )


def _is_counted(definition: Definition) -> bool:
    """Tell what is computed from numbers and times from shares and functions."""
    if definition.function is not None:
        return False
    match expressions.parse(definition.told).tree:
        case ast.Call(func=ast.Name(id="share"), args=[ast.Name() | ast.Call()]):
            return False
    return True


def _order(definitions: Sequence[Definition], times: Collection[str]) -> list[str]:
    """Name the inputs in the order of their matrix: first times, then numbers."""
    inputs = dict.fromkeys(n for each in definitions if _is_counted(each) for n in each.inputs)
    return sorted(inputs, key=lambda name: name not in times)


def _matrix(order: Sequence[str], times: Collection[str]) -> Any:
    """Bring inputs to float64 of shape (n_rows, n_inputs), times as microseconds."""
    from sklearn.compose import ColumnTransformer

    parts = [
        ("times", _microseconds(), [name for name in order if name in times]),
        ("numbers", "passthrough", [name for name in order if name not in times]),
    ]
    return _chain(
        ColumnTransformer([part for part in parts if part[2]]),
        _call(np.asarray, dtype="float64"),
    )


def _constant(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = _constant(operand)
            return None if positive is None else -positive
    return None


def _call(function: Any, **arguments: Any) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer(function, kw_args=arguments or None)


def _chain(*steps: Any) -> Any:
    from sklearn.pipeline import Pipeline

    flat = [
        inner
        for step in steps
        for inner in ([each for _, each in step.steps] if isinstance(step, Pipeline) else [step])
    ]
    return Pipeline([(str(number), step) for number, step in enumerate(flat)])


def _union(parts: Sequence[Any]) -> Any:
    from sklearn.pipeline import FeatureUnion

    return FeatureUnion([(str(number), part) for number, part in enumerate(parts)])


def _taken(place: int) -> Any:
    return _chain(_call(np.take, indices=[place], axis=1))


def _sum() -> Any:
    return _call(np.sum, axis=1, keepdims=True)


def _product() -> Any:
    return _call(np.prod, axis=1, keepdims=True)


def _scaled(factor: float) -> Any:
    return _call(np.kron, b=float(factor))


def _divided(by: float) -> Any:
    """Divide, which rounds once, where a factor of 1 / by would round twice."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.preprocessing import StandardScaler

    # Fitted on what gives it the wanted scale: nothing is learned where it stands frozen.
    scaler = StandardScaler(with_mean=False).fit(np.array([[-1.0], [1.0]]))
    scaler.scale_ = np.array([by])
    return FrozenEstimator(scaler)


def _shifted(amount: float) -> Any:
    from sklearn.frozen import FrozenEstimator
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_std=False).fit(np.array([[-1.0], [1.0]]))
    scaler.mean_ = np.array([-amount])
    return FrozenEstimator(scaler)


def _microseconds() -> Any:
    return _chain(
        # Whoever serves the model may have them in another unit.
        _call(np.asarray, dtype="datetime64[us]"),
        _call(np.asarray, dtype="float64"),
        _scaled(_SHIFT),
        _call(np.nan_to_num, nan=np.nan, posinf=np.nan, neginf=np.nan),
        _scaled(1 / _SHIFT),
    )


def _selected(names: Sequence[str]) -> Any:
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer(
        [("columns", "passthrough", list(names))], verbose_feature_names_out=False
    ).set_output(transform="pandas")


def told(definitions: Sequence[Definition]) -> tuple[str, ...]:
    """Tell how each feature is computed, one sentence each."""
    return tuple(f"{each.name!r} is computed by the model: {each.told}." for each in definitions)

"""A small language over the columns of a table, for targets and filters in ``params.yaml``.

A text is read with Python's own parser and then held against a closed list of
what may stand in it; nothing is ever compiled or run. A text that in its whole
is the name of a column means that column, whatever characters are in it.

Missing values follow three-valued logic, as in SQL: a comparison with a missing
value is neither true nor false but missing, ``False and missing`` is false, and
``True or missing`` is true. A filter drops the rows where its result is missing.
Arithmetic is done in floating point, and a result without a finite value, such
as ``1 / 0`` or ``log(-1)``, is missing.
"""

import ast
import difflib
import io
import operator
import re
import tokenize
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from ratchet.errors import DataError

# A rule over columns fits in a few lines; what is longer is a mistake or an attack.
MAX_LENGTH = 2_000
MAX_DEPTH = 100
MAX_EXPONENT = 64

EARTH_KM = 6371.0088
"""Mean radius of the Earth in kilometres."""

# R writes names such as petal.length, which Python reads as an attribute.
_DOTTED_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")

_NO_COLUMNS: Mapping[str, pd.Series] = MappingProxyType({})


@dataclass(frozen=True)
class Expression:
    """A text that names a column, or computes one from others."""

    text: str
    """What the user wrote."""
    names: frozenset[str]
    """Columns it uses, if no column is called like the whole text."""
    tree: ast.expr | None = field(default=None, repr=False, compare=False)
    """Its parsed form; None for a text that can only be the name of a column."""
    problem: str = field(default="", repr=False, compare=False)
    """Why the text can only be the name of a column."""


@dataclass(frozen=True)
class Definition:
    """How a feature is computed."""

    name: str
    """Of the feature."""
    told: str
    """The expression, or ``module:function(columns)``."""
    inputs: tuple[str, ...]
    """Columns that it is computed from."""
    function: str | None = None
    """Import path ``module:function`` of the user's own; None for an expression."""

    @classmethod
    def of_expression(cls, name: str, text: str, columns: Collection[str]) -> "Definition":
        """Read an expression over a table's columns.

        Raises
        ------
        DataError
            If it names a column that isn't there.
        """
        inputs = sorted(columns_used(text, columns))
        strange = [each for each in inputs if each not in columns]
        if strange:
            raise DataError(no_column(strange[0], columns))
        return cls(name, text, tuple(inputs))

    @classmethod
    def of_function(cls, name: str, function: str, inputs: Sequence[str]) -> "Definition":
        """Name a function of the user's own that gets these columns as a data frame."""
        return cls(name, f"{function}({', '.join(inputs)})", tuple(inputs), function)


def parse(text: str) -> Expression:
    """Read an expression, and refuse what isn't in the language.

    A text that isn't valid Python, such as ``MS SubClass``, and a dotted name,
    such as ``petal.length``, can still be the name of a column and are kept as
    such; ``evaluate`` refuses them when the table has no such column.

    Parameters
    ----------
    text : str
        At most ``MAX_LENGTH`` characters.

    Raises
    ------
    ValueError
        If the text is empty, too long or too deep, or uses what isn't in the
        language. The message goes on from the name of a setting.

    Examples
    --------
    >>> sorted(parse("1 <= minutes(dropoff - pickup) <= 60").names)
    ['dropoff', 'pickup']
    >>> sorted(parse("MS SubClass").names)
    ['MS SubClass']
    >>> parse("__import__('os').system('ls')")
    Traceback (most recent call last):
    ...
    ValueError: may call a function by its name only, got "__import__('os').system('ls')".
    """
    bare = text.strip()
    if len(text) > MAX_LENGTH:
        raise ValueError(f"may have at most {MAX_LENGTH:,} characters, got {len(text):,}.")
    if not bare:
        raise ValueError("must be a column or an expression over columns, got nothing.")
    if _DOTTED_NAME.fullmatch(bare):
        return Expression(text, frozenset({bare}), problem="a dot is not in the language")
    # YAML folds a long text into lines; to the language they are one.
    line = " ".join(bare.splitlines())
    try:
        tree = _tree(line)
    except SyntaxError as error:
        return Expression(text, frozenset({bare}), problem=error.msg)
    return Expression(text, _names(tree, line), tree)


def evaluate(
    expression: Expression | str,
    frame: pd.DataFrame,
    extra: Mapping[str, pd.Series] = _NO_COLUMNS,
) -> pd.Series:
    """Compute an expression for every row of a table.

    Parameters
    ----------
    expression : Expression or str
        A text is parsed first.
    frame : pd.DataFrame
        The columns.
    extra : mapping of str to pd.Series of shape (n_rows,)
        More columns, which hide those of the same name in ``frame``.

    Returns
    -------
    pd.Series of shape (n_rows,)
        A column as it is, or a computed one: numbers as float64 with NaN for
        missing, truth as the nullable ``boolean``, text as ``str``, times as
        ``datetime64[us]`` and spans of time as ``timedelta64[us]``.

    Raises
    ------
    DataError
        If a column isn't there, or an operation doesn't suit what a column
        holds, such as minutes() of a number.

    Examples
    --------
    >>> frame = pd.DataFrame({"tip": [2.0, 0.0, None]})
    >>> evaluate("tip > 0", frame).tolist()
    [True, False, <NA>]
    """
    if isinstance(expression, str):
        try:
            expression = parse(expression)
        except ValueError as error:
            raise DataError(f"The expression {_short(repr(expression))} {error}") from None
    columns = _Columns(expression, frame, extra)
    name = column_of(expression, columns.names)
    if name is not None:
        return columns.series(name).rename(name)
    if isinstance(expression.tree, ast.Name):
        raise DataError(no_column(expression.text.strip(), columns.names))
    if expression.tree is None:
        raise DataError(
            f"{no_column(expression.text.strip(), columns.names)}"
            f" It can't be read as an expression either: {expression.problem}."
        )
    if not expression.names:
        raise DataError(
            f"{no_column(expression.text.strip(), columns.names)}"
            " As an expression it is the same for every row."
        )
    try:
        value = _evaluate(expression.tree, columns)
    except (OverflowError, pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta):
        raise columns.error("a point in time is out of range") from None
    return columns.spread(value).rename(expression.text)


def column_of(expression: Expression | str, columns: Collection[str]) -> str | None:
    """Tell which column an expression is, if it is no more than a column.

    Parameters
    ----------
    expression : Expression or str
        A text is parsed first.
    columns : collection of str
        Names of the table's columns.

    Returns
    -------
    str or None
        The column's name, None if the expression computes something.

    Examples
    --------
    >>> column_of("tip-rate", ["tip", "rate", "tip-rate"])
    'tip-rate'
    >>> column_of("tip-rate", ["tip", "rate"]) is None
    True
    """
    expression = parse(expression) if isinstance(expression, str) else expression
    for text in (expression.text, expression.text.strip()):
        if text in columns:
            return text
    match expression.tree:
        case ast.Name() | ast.Call(func=ast.Name(id="col")):
            (name,) = expression.names
            return name if name in columns else None
        case _:
            return None


def columns_used(expression: Expression | str, columns: Collection[str]) -> frozenset[str]:
    """Name the columns that an expression reads in a table with these columns.

    Examples
    --------
    >>> sorted(columns_used("tip / fare", ["tip", "fare", "tolls"]))
    ['fare', 'tip']
    """
    expression = parse(expression) if isinstance(expression, str) else expression
    name = column_of(expression, columns)
    return expression.names if name is None else frozenset({name})


def no_column(name: str, columns: Collection[str]) -> str:
    """Say that a column isn't there, which one may be meant and which there are.

    Examples
    --------
    >>> no_column("incom", ["age", "income"])
    "There is no column 'incom'; did you mean 'income'? The columns are: age, income."
    """
    names = [str(column) for column in columns]
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return f"There is no column {_short(repr(name))}{guess} The columns are: {listed(names)}."


def listed(names: Collection[str], most: int = 12) -> str:
    """Join names with commas; the ones after the first ``most`` are only counted.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = [_short(str(name)) for name in list(names)[:most]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


class _Sort(StrEnum):
    """What a value in an expression is; the text goes into messages."""

    NUMBER = "a number"
    BOOLEAN = "true or false"
    TEXT = "text"
    TIME = "a point in time"
    SPAN = "a span of time"
    NOTHING = "missing in every row"


@dataclass(frozen=True)
class _Value:
    sort: _Sort
    data: Any  # a series of shape (n_rows,), or one plain value for all rows


@dataclass(frozen=True)
class _Function:
    """A function of one column."""

    takes: _Sort
    gives: _Sort
    apply: Callable[[Any], Any]
    """Of a float64 array for numbers, of a series for everything else."""


def _span(seconds: int) -> _Function:
    return _Function(_Sort.SPAN, _Sort.NUMBER, lambda x: x.dt.total_seconds() / seconds)


def _part(name: str) -> _Function:
    return _Function(
        _Sort.TIME, _Sort.NUMBER, lambda x: getattr(x.dt, name).astype("float64").where(x.notna())
    )


def _number(apply: Callable[[np.ndarray], np.ndarray]) -> _Function:
    return _Function(_Sort.NUMBER, _Sort.NUMBER, apply)


def _text(apply: Callable[[pd.Series], pd.Series]) -> _Function:
    return _Function(_Sort.TEXT, _Sort.TEXT, apply)


_OF_ONE_COLUMN = {
    "seconds": _span(1),
    "minutes": _span(60),
    "hours": _span(3_600),
    "days": _span(86_400),
    "year": _part("year"),
    "month": _part("month"),
    "day": _part("day"),
    "hour": _part("hour"),
    "weekday": _part("day_of_week"),
    "abs": _number(np.abs),
    "log": _number(np.log),
    "log1p": _number(np.log1p),
    "exp": _number(np.exp),
    "sqrt": _number(np.sqrt),
    "round": _number(np.round),
    "lower": _text(lambda x: x.str.lower()),
    "upper": _text(lambda x: x.str.upper()),
    "strip": _text(lambda x: x.str.strip()),
}

# How each function is called; the last argument of a quoted one must be a literal text.
FUNCTIONS = MappingProxyType(
    {name: f"{name}(x)" for name in _OF_ONE_COLUMN}
    | {
        "missing": "missing(x)",
        "contains": "contains(x, 'text')",
        "col": "col('name')",
        "datetime": "datetime('2023-01-31')",
        "haversine": "haversine(lat1, lon1, lat2, lon2)",
        "share": "share(x)",
    }
)

_ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
}

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

# What people bring along from Python and pandas, and how it is written here.
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BitAnd: "write `and` instead of &",
    ast.BitOr: "write `or` instead of |",
    ast.BitXor: "write ** for a power",
    ast.Invert: "write `not` instead of ~",
    ast.Is: "write == instead of `is`",
    ast.IsNot: "write != instead of `is not`",
    ast.Attribute: "write the name of a column with a dot as col('a.b')",
    ast.Subscript: "write the name of a column with brackets as col('a[0]')",
}


def _tree(line: str) -> ast.expr:
    """Parse one line; a SyntaxError tells that it isn't Python."""
    too_deep = ValueError("is nested too deeply. Split it, or compute it in the table.")
    try:
        with warnings.catch_warnings():
            # Python warns of an odd backslash in a literal, which is harmless here.
            warnings.simplefilter("ignore")
            tree = ast.parse(line, mode="eval").body
    except (RecursionError, MemoryError):
        raise too_deep from None
    except SyntaxError as error:
        if "too many nested" in error.msg:
            raise too_deep from None
        raise
    except ValueError as error:  # a null character, half of a surrogate pair
        raise SyntaxError(str(error)) from None
    # Python would drop what follows a #, and with it half of the user's rule.
    tokens = tokenize.generate_tokens(io.StringIO(line).readline)
    if any(token.type == tokenize.COMMENT for token in tokens):
        raise SyntaxError("# begins a comment")
    return tree


def _names(tree: ast.expr, line: str) -> frozenset[str]:
    """Collect the columns used, and refuse every node that isn't in the language."""
    names = set()
    waiting: list[tuple[ast.expr, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(
                f"is nested more than {MAX_DEPTH} deep. Split it, or compute it in the table."
            )
        match node:
            case ast.Name():
                names.add(_source(node, line))
            case ast.Call(func=ast.Name(id="col")):
                names.add(_check_call(node, line)[-1])
            case ast.Call():
                _check_call(node, line)
        waiting += [(child, depth + 1) for child in _children(node, line)]
    return frozenset(names)


def _children(node: ast.expr, line: str) -> list[ast.expr]:
    """Parts of an allowed node that must be checked next."""
    match node:
        case ast.Name():
            return []
        case ast.Constant():
            _check_literal(node, line)
            return []
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            return [node.operand]
        case ast.BoolOp():
            return node.values
        case ast.BinOp(op=ast.Pow()):
            power = _literal(node.right)
            if not _is_number(power) or abs(power) > MAX_EXPONENT:
                raise ValueError(
                    f"may raise only to a power that is a number from -{MAX_EXPONENT} to"
                    f" {MAX_EXPONENT}, got {_quoted(node, line)}."
                )
            return [node.left]
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return [node.left, node.right]
        case ast.Compare():
            return _compared(node, line)
        case ast.Call(func=ast.Name(id=function)):
            if function == "haversine":
                return node.args
            return [] if function in ("col", "datetime") else node.args[:1]
        case _:
            raise _refusal(node, line)


def _compared(node: ast.Compare, line: str) -> list[ast.expr]:
    parts = [node.left, *node.comparators]
    children = []
    for position, part in enumerate(parts):
        before = node.ops[position - 1] if position else None
        around = [op for op in (before, *node.ops[position : position + 1]) if op is not None]
        for op in around:
            if type(op) not in _COMPARISONS and not isinstance(op, ast.In | ast.NotIn):
                raise _refusal(op, line, shown=node)
        if isinstance(before, ast.In | ast.NotIn):
            _check_list(part, line, last=len(around) == 1)
        elif not (_is_none(part) and all(isinstance(op, ast.Eq | ast.NotEq) for op in around)):
            children.append(part)
    return children


def _check_list(node: ast.expr, line: str, *, last: bool) -> None:
    is_list = isinstance(node, ast.List | ast.Tuple | ast.Set)
    literals = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
    if not is_list or not last or any(_literal(part) is None for part in literals):
        raise ValueError(
            f"may use `in` only with a list of numbers or texts such as [1, 2], got"
            f" {_quoted(node, line)}."
        )
    for part in literals:
        _check_literal(part.operand if isinstance(part, ast.UnaryOp) else part, line)


def _check_call(node: ast.Call, line: str) -> list[Any]:
    """Check a function's name and arguments; give the values of the literal ones."""
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"may call a function by its name only, got {_quoted(node, line)}.")
    name = node.func.id
    if name not in FUNCTIONS:
        close = difflib.get_close_matches(name, FUNCTIONS, n=1)
        guess = f"; did you mean {close[0]}?" if close else "."
        raise ValueError(
            f"calls {_short(name)}(), which is not a function{guess}"
            f" Functions: {', '.join(FUNCTIONS)}."
            f" A column of this name is written col({_quoted(node, line)})."
        )
    usage = FUNCTIONS[name]
    literals = [_literal(argument) for argument in node.args]
    fits = len(node.args) == usage.count(",") + 1 and not node.keywords
    if not fits or ("'" in usage and not isinstance(literals[-1], str)):
        raise ValueError(f"must call {name} as {usage}, got {_quoted(node, line)}.")
    if name == "datetime":
        _point_in_time(literals[-1])
    return literals


def _check_literal(node: ast.expr, line: str) -> None:
    value = _literal(node)
    if value is None:
        raise ValueError(
            f"may hold numbers, texts, True and False, and None beside == and !=, got"
            f" {_quoted(node, line)}."
        )
    if _is_number(value) and not abs(value) < 2**63:
        raise ValueError(f"may hold numbers up to 2**63 only, got {_quoted(node, line)}.")


def _refusal(node: ast.AST, line: str, shown: ast.expr | None = None) -> ValueError:
    kind = getattr(node, "op", node)
    instead = _INSTEAD.get(type(kind))
    return ValueError(
        f"may not hold {_quoted(shown or node, line)}{f'; {instead}' if instead else ''}."
        f" Allowed: columns, numbers, texts, + - * / // % **, comparisons, and, or, not, in [...],"
        f" and the functions {', '.join(FUNCTIONS)}."
    )


def _literal(node: ast.expr) -> Any:
    """Value of a literal number, text or truth value; None for everything else."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return None if isinstance(number, bool) else -number
        case _:
            return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _point_in_time(text: str) -> datetime:
    try:
        point = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"must write a point in time as datetime('2023-01-31') or"
            f" datetime('2023-01-31 18:30:00'), got {_short(repr(text))}."
        ) from None
    return point if point.tzinfo is None else point.astimezone(UTC).replace(tzinfo=None)


def _source(node: ast.AST, line: str) -> str:
    """Text of a node as the user wrote it; Python changes some letters in names."""
    return ast.get_source_segment(line, node) or ""


def _quoted(node: ast.AST, line: str) -> str:
    return _short(repr(_source(node, line) or line))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class _Columns:
    """The columns that an expression is evaluated over."""

    expression: Expression
    frame: pd.DataFrame
    extra: Mapping[str, pd.Series]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.extra, *self.frame.columns]))

    @property
    def line(self) -> str:
        return " ".join(self.expression.text.strip().splitlines())

    def series(self, name: str) -> pd.Series:
        if name in self.extra:
            return self.extra[name]
        if name in self.frame.columns:
            return self.frame[name]
        raise self.error(no_column(name, self.names).removesuffix("."))

    def spread(self, value: _Value) -> pd.Series:
        """One value per row, also where a literal stands for all rows."""
        if isinstance(value.data, pd.Series):
            return value.data
        return pd.Series(value.data, index=self.frame.index)

    def floats(self, value: _Value) -> np.ndarray:
        if isinstance(value.data, pd.Series):
            return value.data.to_numpy("float64", na_value=np.nan)
        return np.full(len(self.frame), float(value.data))

    def numbers(self, values: np.ndarray) -> _Value:
        finite = np.where(np.isfinite(values), values, np.nan)
        return _Value(_Sort.NUMBER, pd.Series(finite, index=self.frame.index))

    def nothing(self) -> _Value:
        return _Value(_Sort.NOTHING, pd.Series(np.nan, index=self.frame.index))

    def error(self, reason: str) -> DataError:
        return DataError(f"In the expression {_short(repr(self.expression.text))}: {reason}.")

    def shown(self, node: ast.expr) -> str:
        return _quoted(node, self.line)


def _evaluate(node: ast.expr, columns: _Columns) -> _Value:
    match node:
        case ast.Name():
            name = _source(node, columns.line)
            return _column(columns.series(name), name, columns)
        case ast.Constant():
            return _constant(node.value)
        case ast.UnaryOp(op=ast.Not()):
            return _Value(_Sort.BOOLEAN, ~_truth(node.operand, columns))
        case ast.UnaryOp():
            return _arithmetic(node, node.operand, ast.Mult(), ast.Constant(-1), columns)
        case ast.BoolOp():
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            truths = (_truth(value, columns) for value in node.values)
            return _Value(_Sort.BOOLEAN, reduce(join, truths))
        case ast.BinOp():
            return _arithmetic(node, node.left, node.op, node.right, columns)
        case ast.Compare():
            return _comparison(node, columns)
        case ast.Call():
            return _call(node, columns)
    raise TypeError(f"{type(node).__name__} passed parse()")


def _column(series: pd.Series, name: str, columns: _Columns) -> _Value:
    """Tell what a column holds, and bring it to one of the few dtypes used here."""
    types = pd.api.types
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert(None)
    if types.is_bool_dtype(series):
        return _Value(_Sort.BOOLEAN, series.astype("boolean"))
    if types.is_float_dtype(series) and series.isna().all() and len(series):
        return columns.nothing()
    if types.is_numeric_dtype(series):
        return _Value(_Sort.NUMBER, series)
    if types.is_datetime64_dtype(series):
        return _Value(_Sort.TIME, series.astype("datetime64[us]"))
    if types.is_timedelta64_dtype(series):
        return _Value(_Sort.SPAN, series.astype("timedelta64[us]"))
    match types.infer_dtype(series, skipna=True):
        case "string":
            return _Value(_Sort.TEXT, series.astype("str"))
        case "boolean":
            return _Value(_Sort.BOOLEAN, series.astype("boolean"))
        case "integer" | "floating" | "mixed-integer-float" | "decimal":
            return _Value(_Sort.NUMBER, series.astype("float64"))
        case "date" | "datetime":
            return _Value(_Sort.TIME, pd.to_datetime(series).astype("datetime64[us]"))
        case "empty":
            return columns.nothing()
        case kind:
            raise columns.error(f"column {name!r} holds {kind} values, which can't be used")


def _constant(value: Any) -> _Value:
    if isinstance(value, bool):
        return _Value(_Sort.BOOLEAN, value)
    return _Value(_Sort.TEXT if isinstance(value, str) else _Sort.NUMBER, value)


def _truth(node: ast.expr, columns: _Columns) -> pd.Series:
    value = _evaluate(node, columns)
    if value.sort not in (_Sort.BOOLEAN, _Sort.NOTHING):
        raise columns.error(
            f"and, or and not need what is true or false, and {columns.shown(node)} is {value.sort}"
        )
    return columns.spread(value).astype("boolean")


def _arithmetic(
    node: ast.expr, left: ast.expr, op: ast.operator, right: ast.expr, columns: _Columns
) -> _Value:
    a, b = _evaluate(left, columns), _evaluate(right, columns)
    if _Sort.NOTHING in (a.sort, b.sort):
        return columns.nothing()
    if _are_numbers(a, b):
        x, y = columns.floats(a), columns.floats(b)
        with np.errstate(all="ignore"):
            computed = _ARITHMETIC[type(op)](x, y)
        # To numpy, NaN to the power of 0 is 1.
        return columns.numbers(np.where(np.isnan(x) | np.isnan(y), np.nan, computed))
    match (a.sort, op, b.sort):
        case (_Sort.TIME, ast.Sub(), _Sort.TIME):
            gives = _Sort.SPAN
        case (_Sort.TIME, ast.Add() | ast.Sub(), _Sort.SPAN):
            gives = _Sort.TIME
        case (_Sort.SPAN, ast.Add() | ast.Sub(), _Sort.SPAN):
            gives = _Sort.SPAN
        case _:
            raise columns.error(
                f"can't compute {columns.shown(node)} from {_told(left, a)}, and {_told(right, b)}"
            )
    function = operator.add if isinstance(op, ast.Add) else operator.sub
    return _Value(gives, function(_moments(a, columns), _moments(b, columns)))


def _moments(value: _Value, columns: _Columns) -> pd.Series:
    moments = columns.spread(value)
    if value.sort is _Sort.TIME:
        return moments.astype("datetime64[us]")
    return moments.astype("timedelta64[us]")


def _comparison(node: ast.Compare, columns: _Columns) -> _Value:
    parts = [node.left, *node.comparators]
    pairs = (
        _compare(left, op, right, columns)
        for left, op, right in zip(parts, node.ops, node.comparators, strict=False)
    )
    return _Value(_Sort.BOOLEAN, reduce(operator.and_, pairs))


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: _Columns) -> pd.Series:
    if _is_none(left) or _is_none(right):
        gap = _missing(right if _is_none(left) else left, columns)
        return gap if isinstance(op, ast.Eq) else ~gap
    if isinstance(op, ast.In | ast.NotIn):
        # No value is in an empty list, and of a missing one it isn't known either.
        none = pd.Series(False, index=columns.frame.index, dtype="boolean")
        none = none.mask(_missing(left, columns))
        literals = getattr(right, "elts", [])
        equal = (_compare(left, ast.Eq(), literal, columns) for literal in literals)
        found = reduce(operator.or_, equal, none)
        return found if isinstance(op, ast.In) else ~found
    a, b = _evaluate(left, columns), _evaluate(right, columns)
    if _Sort.NOTHING in (a.sort, b.sort):
        return pd.Series(pd.NA, index=columns.frame.index, dtype="boolean")
    if a.sort is not b.sort and not _are_numbers(a, b):
        raise columns.error(
            f"can't compare {_told(left, a)}, with {_told(right, b)}{_way_out(a, b)}"
        )
    x, y = _comparable(a, columns), _comparable(b, columns)
    result = _COMPARISONS[type(op)](x, y).astype("boolean")
    return result.mask(x.isna() | y.isna())


def _comparable(value: _Value, columns: _Columns) -> pd.Series:
    if value.sort is _Sort.BOOLEAN:
        return pd.Series(columns.floats(value), index=columns.frame.index)
    if value.sort in (_Sort.TIME, _Sort.SPAN):
        return _moments(value, columns)
    return columns.spread(value)


def _missing(node: ast.expr, columns: _Columns) -> pd.Series:
    return columns.spread(_evaluate(node, columns)).isna().astype("boolean")


def _are_numbers(*values: _Value) -> bool:
    """Whether all can be counted with; true counts as 1."""
    return {value.sort for value in values} <= {_Sort.NUMBER, _Sort.BOOLEAN}


def _told(node: ast.expr, value: _Value) -> str:
    return f"{_short(ast.unparse(node))}, {value.sort}"


def _way_out(a: _Value, b: _Value) -> str:
    sorts = {a.sort, b.sort}
    if sorts == {_Sort.TIME, _Sort.TEXT}:
        return "; write a point in time as datetime('2023-01-31')"
    if sorts == {_Sort.SPAN, _Sort.NUMBER}:
        return "; write a span of time as minutes(...) or days(...)"
    if sorts == {_Sort.NUMBER, _Sort.TEXT}:
        return "; write numbers without quotes and text with them"
    return ""


def _call(node: ast.Call, columns: _Columns) -> _Value:
    name = getattr(node.func, "id", "")
    if name == "col":
        column = _literal(node.args[0])
        return _column(columns.series(column), column, columns)
    if name == "datetime":
        return _Value(_Sort.TIME, _point_in_time(_literal(node.args[0])))
    if name == "haversine":
        return _haversine(node, columns)
    if name == "share":
        raise columns.error("share() is learned from training rows, so only data.derive may use it")
    if name == "missing":
        return _Value(_Sort.BOOLEAN, _missing(node.args[0], columns))
    function = _OF_ONE_COLUMN.get(name)
    takes = function.takes if function else _Sort.TEXT
    value = _evaluate(node.args[0], columns)
    if value.sort is _Sort.NOTHING:
        return value
    if value.sort is not takes and not (takes is _Sort.NUMBER and value.sort is _Sort.BOOLEAN):
        example = " such as dropoff - pickup" if takes is _Sort.SPAN else ""
        raise columns.error(
            f"{name}() needs {takes}{example}, and {columns.shown(node.args[0])} is {value.sort}"
        )
    if function is None:
        found = columns.spread(value).str.contains(_literal(node.args[1]), regex=False)
        known = columns.spread(value).notna()
        return _Value(_Sort.BOOLEAN, found.astype("boolean").where(known))
    if takes is _Sort.NUMBER:
        with np.errstate(all="ignore"):
            return columns.numbers(function.apply(columns.floats(value)))
    return _Value(function.gives, function.apply(columns.spread(value)))


def _haversine(node: ast.Call, columns: _Columns) -> _Value:
    """Compute the way over the ground between two places in degrees, in kilometres."""
    parts = [_evaluate(each, columns) for each in node.args]
    if any(part.sort is _Sort.NOTHING for part in parts):
        return columns.nothing()
    if not _are_numbers(*parts):
        raise columns.error(f"{columns.shown(node)} needs four numbers, in degrees")
    lat1, lon1, lat2, lon2 = (np.deg2rad(columns.floats(part)) for part in parts)
    half = np.sin((lat2 - lat1) / 2) ** 2
    half += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return columns.numbers(2 * EARTH_KM * np.arcsin(np.sqrt(half)))

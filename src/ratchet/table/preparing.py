"""Prepares the columns that a model may see, and the target."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ratchet import derived, expressions, settings
from ratchet.errors import DataError
from ratchet.expressions import Definition, listed, no_column
from ratchet.problem import MAX_CLASSES, ProblemType, detect_problem
from ratchet.schema import Column, Kind, Label, Schema
from ratchet.table.reading import MAX_EXACT, Table
from ratchet.table.text import NUMBER

# Text is free text, not labels, from this many different values that are this long and new in
# more than this share of the rows.
MIN_TEXTS = 100
MIN_TEXT_LENGTH = 20
MIN_TEXT_SHARE = 0.5

# Years before and after which a time is likely to stand for "unknown" or "never".
FAR_PAST, FAR_FUTURE = 1800, 2200

_NUMBER = re.compile(NUMBER)


@dataclass(frozen=True)
class Prepared:
    """Rows and columns that the splits are made of."""

    frame: pd.DataFrame
    """Feature columns in the order of ``schema``, then the target if any; an index 0..n-1."""
    extra: pd.DataFrame
    """Columns that are carried along for the split, with the same index."""
    schema: Schema
    """What the columns are; statistics are of all rows until ``with_statistics``."""
    n_read: int
    """Rows of the table."""
    n_filtered_out: int
    """Rows that ``data.filter`` left out."""
    kept: np.ndarray
    """Position in the table of each row, shape (n,)."""
    notes: tuple[str, ...] = ()
    """What was dropped or converted, one sentence each."""
    computed: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Features that the model will compute, as they are over all rows, with the same index."""

    def with_computed(self) -> "Prepared":
        """Give the table as it is for a model, with what is computed beside the columns."""
        columns = tuple(
            _with_statistics(Column(str(name), Kind.NUMBER, "float64", False, 0), values)
            for name, values in self.computed.items()
        )
        return replace(
            self,
            frame=pd.concat([self.frame, self.computed], axis=1),
            schema=replace(self.schema, columns=(*self.schema.columns, *columns)),
        )


def prepare_table(
    table: Table,
    data: settings.Data,
    problem: ProblemType | None,
    keep: Collection[str] = (),
    visible: Collection[str] = (),
) -> Prepared:
    """Compute the target if there is one, filter the rows and select the features.

    Features are ``data.features``, or else every column but the ones the target
    is computed from, ``data.drop`` and ``keep``, unless they are ``visible``.

    Parameters
    ----------
    table : Table
        As ``read_table`` gives it.
    data : settings.Data
        Target, filter and columns.
    problem : ProblemType, optional
        None decides from the target; without a target it is clustering.
    keep : collection of str
        Columns that the split needs, such as the time or the group.
    visible : collection of str
        Those of them that are features all the same.

    Returns
    -------
    Prepared

    Raises
    ------
    DataError
        With every problem at once.
    """
    frame = table.frame
    name = None if data.target is None else expressions.column_of(data.target, frame.columns)
    y, kept = target_and_rows(table, data, keep)
    if not kept.any():
        raise DataError(
            f"data.filter keeps none of the {len(frame):,} rows: {data.filter}."
            " Check it against the values of the table."
        )
    places = _Places(table, np.flatnonzero(kept))
    rows = frame.loc[kept].reset_index(drop=True)
    names, notes = _feature_names(table, data, name, set(keep) - set(visible))
    definitions, faulty = _definitions(table, data, name)
    features, more_notes, problems = _features(
        rows[names], data.categorical, places, kept=(*(data.features or ()), *data.categorical)
    )
    hidden, hidden_notes, hidden_problems = _features(
        rows[[each for each in _inputs(definitions) if each not in names]],
        data.categorical,
        places,
        kept=_inputs(definitions),
    )
    problems += [*hidden_problems, *faulty]
    target, faults = (
        (None, []) if y is None else _target(y[kept].reset_index(drop=True), data, problem, places)
    )
    _raise([*faults, *problems])
    if not features:
        raise DataError(
            "No feature columns are left. Check data.features and data.drop in params.yaml;"
            " columns with one value only are left out."
        )
    both = [*((f, kind, True) for f, kind in features), *((f, kind, False) for f, kind in hidden)]
    prepared = {str(feature.name): feature for feature, _, _ in both}
    columns = tuple(
        _with_statistics(Column(str(f.name), kind, str(f.dtype), False, 0, seen), f)
        for f, kind, seen in both
    )
    definitions, computed, derived_notes = _computable(definitions, columns, prepared)
    needed = _inputs(definitions)
    derived_notes += [
        f"{each!r} is in data.drop, and the model gets it all the same, to compute features from."
        for each in needed
        if each in data.drop
    ]
    columns = tuple(each for each in columns if each.seen or each.name in needed)
    prepared = {each.name: prepared[each.name] for each in columns}
    title = name or "target"
    while title in prepared:
        title += "_"
    return Prepared(
        pd.DataFrame(prepared if target is None else prepared | {title: target.labels}),
        rows[list(dict.fromkeys(keep))],
        Schema(columns, None, ProblemType.CLUSTERING, derived=definitions)
        if target is None
        else Schema(columns, title, target.problem, target.classes, definitions),
        n_read=len(frame),
        n_filtered_out=len(frame) - len(rows),
        kept=np.flatnonzero(kept),
        notes=(*notes, *more_notes, *hidden_notes, *derived_notes),
        computed=computed,
    )


def like_prepared(rows: pd.DataFrame, y: pd.Series | None, prepared: Prepared) -> pd.DataFrame:
    """Give a piece of a table the columns that ``prepare_table`` has given to other rows of it.

    Parameters
    ----------
    rows : pd.DataFrame of shape (n_rows, n_columns)
        Columns as they were read.
    y : pd.Series of shape (n_rows,), optional
        Target.
    prepared : Prepared
        Other rows of the table, from which is seen what each column becomes.
    """
    schema = prepared.schema
    columns = {each.name: _converted(rows[each.name], each.dtype) for each in schema.columns}
    if y is not None and schema.target is not None:
        dtype = prepared.frame[schema.target].dtype
        columns[schema.target] = _floats(y) if not schema.classes else y.astype(dtype)
    return pd.DataFrame(columns, index=rows.index)


def _converted(column: pd.Series, dtype: str) -> pd.Series:
    """Convert a piece of a column as ``_feature`` has converted the whole of it."""
    if dtype != "float64":
        return column.astype(pd.api.types.pandas_dtype(dtype))
    if pd.api.types.is_timedelta64_dtype(column):
        return column.dt.total_seconds()
    return _floats(column)


def rows_kept(table: Table, data: settings.Data, keep: Collection[str] = ()) -> np.ndarray:
    """Tell which rows ``data.filter`` keeps; all of them where it can't be computed.

    Parameters
    ----------
    table : Table
        As ``read_table`` gives it.
    data : settings.Data
        Target and filter.
    keep : collection of str
        Columns that the split needs.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        bool.
    """
    try:
        return target_and_rows(table, data, keep)[1]
    except DataError:  # prepare_table will say it, after the checks of the table have been heard
        return np.ones(len(table.frame), dtype=bool)


def with_statistics(schema: Schema, train: pd.DataFrame) -> Schema:
    """Fill in what the training rows say about each column.

    Parameters
    ----------
    schema : Schema
        Of the prepared table.
    train : pd.DataFrame
        Training rows.
    """
    columns = tuple(_with_statistics(column, train[column.name]) for column in schema.columns)
    return replace(schema, columns=columns)


class Counting:
    """Fills in what training rows say about each column, from one piece after the other."""

    def __init__(self, schema: Schema) -> None:
        """Count for a schema."""
        self._schema = schema
        self._gaps: set[str] = set()
        self._distinct = {column.name: Distinct() for column in schema.columns}

    def see(self, rows: pd.DataFrame) -> None:
        """Look at more training rows."""
        for name, distinct in self._distinct.items():
            known = rows[name].dropna()
            if len(known) < len(rows):
                self._gaps.add(name)
            distinct.see(known)

    def schema(self) -> Schema:
        """Give the schema with what was seen."""
        columns = tuple(
            replace(c, optional=c.name in self._gaps, distinct=self._distinct[c.name].count)
            for c in self._schema.columns
        )
        return replace(self._schema, columns=columns)


class Distinct:
    """Counts different values: exactly, until there are more than it keeps in mind.

    Of more it keeps those with the smallest hashes, whose number is a known
    share of all.

    References
    ----------
    Bar-Yossef, Z. et al. (2002). Counting Distinct Elements in a Data Stream.
    RANDOM 2002 (k minimum values).
    """

    MOST = 200_000
    """Values that it keeps in mind."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self._hashes = np.array([], dtype="uint64")
        self._below = 2**64

    def see(self, values: pd.Series) -> None:
        """Look at more values, none of them missing."""
        hashes = np.unique(pd.util.hash_pandas_object(values, index=False).to_numpy("uint64"))
        if self._below < 2**64:
            hashes = hashes[hashes < np.uint64(self._below)]
        self._hashes = np.union1d(self._hashes, hashes)
        while len(self._hashes) > self.MOST:
            self._below //= 2
            self._hashes = self._hashes[self._hashes < np.uint64(self._below)]

    @property
    def count(self) -> int:
        """How many there are."""
        return round(len(self._hashes) * (2**64 / self._below))


def encode_target(y: pd.Series, schema: Schema) -> np.ndarray:
    """Turn labels into the codes that models learn from.

    Parameters
    ----------
    y : pd.Series of shape (n_rows,)
        Target as it is in the prepared table.
    schema : Schema
        Its classes give the codes.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        For a class its place in ``schema.classes``, int64; else the number, float64.

    Raises
    ------
    DataError
        If a value is missing, is none of the classes, or isn't a number.
    """
    missing = int(y.isna().sum())
    if missing:
        raise DataError(f"Target {schema.target!r} is missing in {missing:,} of {len(y):,} rows.")
    if not schema.problem.is_classification:
        if not pd.api.types.is_numeric_dtype(y):
            raise DataError(f"Target {schema.target!r} must hold numbers, got {y.iloc[0]!r}.")
        return y.to_numpy("float64")
    codes = y.map({label: code for code, label in enumerate(schema.classes)})
    if codes.isna().any():
        strange = _plain(y[codes.isna()].iloc[0])
        raise DataError(
            f"Target {schema.target!r} holds {strange!r}, which is none of the classes:"
            f" {listed([repr(label) for label in schema.classes])}."
        )
    return codes.to_numpy("int64")


def _raise(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n  - ".join([f"The table has {len(problems)} problems:", *problems]))


@dataclass(frozen=True)
class _Places:
    """Where the rows that were kept stand in the files."""

    table: Table
    positions: np.ndarray

    def told(self, marked: pd.Series) -> str:
        """Say how many rows are marked and where the first ones stand."""
        rows = [self.table.place(int(position)) for position in self.positions[marked.to_numpy()]]
        return f"{self.table.counted(len(rows), len(marked))}: {listed(rows, most=3)}"


def target_and_rows(
    table: Table, data: settings.Data, keep: Collection[str] = ()
) -> tuple[pd.Series | None, np.ndarray]:
    """Compute the target, if there is one, of the rows of a table, and tell which are kept.

    Parameters
    ----------
    table : Table
        All rows, or a piece of them.
    data : settings.Data
        Target and filter.
    keep : collection of str
        Columns that the split needs.

    Returns
    -------
    pd.Series of shape (n_rows,) or None
        The target.
    np.ndarray of shape (n_rows,)
        bool.

    Raises
    ------
    DataError
        With every problem at once.
    """
    problems = _name_problems(table, data, keep)
    y = kept = None
    extra = {}
    if data.target is not None:
        try:
            y = expressions.evaluate(data.target, table.frame)
        except DataError as error:
            problems.append(f"data.target: {error}")
        # Where it can't be computed, a stand-in lets the filter's own columns be checked.
        extra["target"] = pd.Series(np.nan, index=table.frame.index) if y is None else y
    try:
        kept = matching(table.frame, data.filter, extra)
    except DataError as error:
        problems.append(f"data.filter: {error}")
    if problems and sum(bool(_NUMBER.match(str(name))) for name in table.frame.columns) > 1:
        problems[-1] += (
            " Some of these names are numbers: the first line of a file must hold the names of the"
            " columns."
        )
    _raise(problems)
    assert kept is not None
    return y, kept


def _name_problems(table: Table, data: settings.Data, keep: Collection[str]) -> list[str]:
    columns = list(table.frame.columns)
    named = {
        "data.features": data.features or (),
        "data.drop": data.drop,
        "data.categorical": data.categorical,
        "split.column": keep,
    }
    problems = [
        f"{setting}: {no_column(name, columns)}"
        for setting, names in named.items()
        for name in names
        if name not in columns and not (setting == "data.drop" and name in table.left_out)
    ]
    target = None if data.target is None else expressions.column_of(data.target, columns)
    for name in dict.fromkeys(data.features or ()):
        if name in data.drop:
            problems.append(f"data.features and data.drop both name {name!r}. Keep one.")
        if name == target:
            problems.append(f"data.features names the target {name!r}. Take it out.")
    return problems


def matching(frame: pd.DataFrame, rule: str | None, extra: Mapping[str, pd.Series]) -> np.ndarray:
    """Tell which rows a filter keeps; where it can't tell, a row is left out.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, any)
        The rows.
    rule : str or None
        The filter, an expression; None keeps all.
    extra : mapping of str to pd.Series
        What it may name beside the columns, such as the target.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        bool.

    Raises
    ------
    DataError
        If it can't be computed, or isn't true or false.
    """
    if rule is None:
        return np.ones(len(frame), dtype=bool)
    result = expressions.evaluate(rule, frame, extra)
    if not pd.api.types.is_bool_dtype(result):
        raise DataError(f"{rule!r} must be true or false for every row, got {result.iloc[0]!r}.")
    return result.astype("boolean").fillna(False).to_numpy(bool)


def _definitions(
    table: Table, data: settings.Data, target: str | None
) -> tuple[tuple[Definition, ...], list[str]]:
    """Read what is to be computed, and tell what is wrong with it."""
    columns = list(table.frame.columns)
    found, problems = [], []
    for name, formula in data.derive:
        try:
            if isinstance(formula, str):
                definition = Definition.of_expression(name, formula, columns)
            else:
                definition = Definition.of_function(name, formula.function, formula.columns)
                for each in definition.inputs:
                    if each not in columns:
                        raise DataError(no_column(each, columns))
        except DataError as error:
            problems.append(f"data.derive.{name}: {error}")
            continue
        if name in columns:
            problems.append(f"data.derive.{name} has the name of a column. Choose another.")
        elif target in definition.inputs:
            problems.append(f"data.derive.{name} is computed from the target. Take it out.")
        else:
            found.append(definition)
    return tuple(found), problems


def _inputs(definitions: Sequence[Definition]) -> list[str]:
    return list(dict.fromkeys(name for each in definitions for name in each.inputs))


def _computable(
    definitions: Sequence[Definition],
    columns: Sequence[Column],
    prepared: Mapping[str, pd.Series],
) -> tuple[tuple[Definition, ...], pd.DataFrame, list[str]]:
    """Compute each feature once, to leave out what says nothing; tell how the others are made."""
    times = [column.name for column in columns if column.kind is Kind.DATETIME]
    words = [c.name for c in columns if c.kind in (Kind.TEXT, Kind.CATEGORY)]
    frame = pd.DataFrame(prepared)
    computed: dict[str, np.ndarray] = {}
    kept, notes, problems = [], [], []
    for each in definitions:
        gone = [name for name in each.inputs if name not in prepared]
        if gone:
            notes.append(f"{each.name!r} is left out, as {gone[0]!r} is.")
            continue
        try:
            values = derived.compute(each, frame[list(each.inputs)], times, words)
        except DataError as error:
            problems.append(str(error))
            continue
        if np.isnan(values).all():
            notes.append(f"{each.name!r} can't be computed for any row: left out.")
        elif len(np.unique(values)) == 1:
            notes.append(f"{each.name!r} is {values[0]:g} in every row: left out.")
        else:
            kept.append(each)
            computed[each.name] = values
    _raise(problems)
    return tuple(kept), pd.DataFrame(computed, frame.index), [*notes, *derived.told(kept)]


def _feature_names(
    table: Table, data: settings.Data, target: str | None, keep: Collection[str]
) -> tuple[list[str], list[str]]:
    """Choose the columns that a model may see, and tell which ones went without being asked."""
    if data.features is not None:
        return list(dict.fromkeys(data.features)), []
    columns = list(table.frame.columns)
    sources = frozenset() if data.target is None else expressions.columns_used(data.target, columns)
    hidden = {*sources, *data.drop, *keep}
    unasked = [name for name in columns if name in sources and name not in data.drop]
    notes = []
    if data.target is not None and target is None and unasked:
        notes.append(
            f"The target is computed from {listed(unasked)}: no features, unless data.features"
            " names them."
        )
    return [name for name in columns if name not in hidden], notes


_Feature = tuple[pd.Series, Kind]


def _features(
    rows: pd.DataFrame,
    categorical: Collection[str],
    places: _Places,
    kept: Collection[str] = (),
) -> tuple[list[_Feature], list[str], list[str]]:
    """Convert each column; give the useful ones, what was left out, and what is wrong.

    Those in ``kept`` are left out only if they say nothing at all.
    """
    features: list[_Feature] = []
    notes, problems = [], []
    for name in rows.columns:
        column = rows[name]
        infinite = _infinite(column)
        if infinite.any():
            problems.append(
                f"Feature {name!r} is infinite {places.told(infinite)}. Leave the rows out with"
                " data.filter, or the column with data.drop."
            )
        elif (late := _beyond_calendars(column)).any():
            problems.append(
                f"Feature {name!r} holds years beyond 9999 {places.told(late)}. Leave the rows out"
                " with data.filter, or the column with data.drop."
            )
        elif column.isna().all():
            notes.append(f"{name!r} is missing in every row: left out.")
        elif column.nunique(dropna=False) == 1:
            notes.append(f"{name!r} is {_plain(column.iloc[0])!r} in every row: left out.")
        elif _is_id(column) and name not in kept:
            notes.append(
                f"{name!r} has another text in each row, as ids have: left out. Name it in"
                " data.features or data.categorical to keep it."
            )
        else:
            feature, kind, note = _feature(column, name in categorical)
            features.append((feature, kind))
            notes += [f"{name!r} {note}"] if note else []
    return features, notes, problems


def _feature(column: pd.Series, categorical: bool) -> tuple[pd.Series, Kind, str | None]:
    types = pd.api.types
    if types.is_bool_dtype(column):
        return _floats(column), Kind.BOOLEAN, None
    if types.is_datetime64_dtype(column):
        return column.astype("datetime64[us]"), Kind.DATETIME, _why_far(column)
    if types.is_timedelta64_dtype(column):
        return column.dt.total_seconds(), Kind.NUMBER, "is a span of time: read in seconds."
    if types.is_integer_dtype(column) and bool((abs(_floats(column)) > MAX_EXACT).any()):
        note = "holds whole numbers that a float would round: read as text."
        return column.astype("str"), _text_kind(column.astype("str"), categorical), note
    if types.is_numeric_dtype(column):
        return _floats(column), Kind.CATEGORY if categorical else Kind.NUMBER, None
    text = column.astype("str")
    return text, _text_kind(text, categorical), None


def _floats(column: pd.Series) -> pd.Series:
    return pd.Series(column.to_numpy("float64", na_value=np.nan), column.index, name=column.name)


def _is_id(column: pd.Series) -> bool:
    """Tell names of rows, which say nothing about other rows, from labels and free text."""
    if pd.api.types.is_numeric_dtype(column) or not isinstance(column.dtype, pd.StringDtype):
        return False
    if column.isna().any() or len(column) < MIN_TEXTS or column.duplicated().any():
        return False
    return bool(column.str.len().mean() <= MIN_TEXT_LENGTH) or not column.str.contains(" ").any()


def _infinite(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_float_dtype(column):
        return pd.Series(False, index=column.index)
    return pd.Series(np.isinf(_floats(column)), index=column.index)


def _beyond_calendars(column: pd.Series) -> pd.Series:
    """Mark times that no date of Python's can hold."""
    if not pd.api.types.is_datetime64_dtype(column):
        return pd.Series(False, index=column.index)
    return (column.dt.year > 9999) | (column.dt.year < 1)


def _why_far(column: pd.Series) -> str | None:
    """Tell of times that are so far off that they may stand for something else."""
    first, last = column.min(), column.max()
    if first.year >= FAR_PAST and last.year <= FAR_FUTURE:
        return None
    return (
        f"reaches from {first.date().isoformat()} to {last.date().isoformat()}. If such a date"
        " stands for a missing one, leave it empty."
    )


def _text_kind(text: pd.Series, categorical: bool) -> Kind:
    """Tell free text from labels."""
    values = text.dropna()
    distinct = values.nunique()
    many = distinct >= MIN_TEXTS and distinct > MIN_TEXT_SHARE * len(values)
    if categorical or not many or values.str.len().mean() <= MIN_TEXT_LENGTH:
        return Kind.CATEGORY
    return Kind.TEXT


@dataclass(frozen=True)
class _Target:
    labels: pd.Series
    problem: ProblemType
    classes: tuple[Label, ...] = ()


def _target(
    y: pd.Series, data: settings.Data, problem: ProblemType | None, places: _Places
) -> tuple[_Target | None, list[str]]:
    """Decide what the target poses; give what is wrong with it instead if something is."""
    told = f"target {data.target!r}"
    types = pd.api.types
    if types.is_timedelta64_dtype(y):
        return None, [
            f"The {told} is a span of time. Make it a number, as in minutes({data.target})."
        ]
    if types.is_datetime64_dtype(y):
        return None, [
            f"The {told} is a point in time, which can't be predicted. Predict a span to it."
        ]
    marks = {"missing": y.isna(), "infinite": _infinite(y)}
    way_out = {"missing": "`not missing(target)`", "infinite": "a bound such as `target < 1000`"}
    faults = [
        f"The {told} is {fault} {places.told(marked)}. Add {way_out[fault]} to data.filter."
        for fault, marked in marks.items()
        if marked.any()
    ]
    if faults:
        return None, faults
    try:
        guess = detect_problem(y)
    except DataError as error:
        return None, [str(error)]
    kind = problem or guess
    if kind is ProblemType.REGRESSION:
        if types.is_bool_dtype(y) or not types.is_numeric_dtype(y):
            return None, [
                f"train.problem is regression, and the {told} holds {_plain(y.iloc[0])!r}, not"
                " numbers. Set train.problem to null."
            ]
        wrong = data.positive is not None
        fault = (
            f"data.positive is {data.positive!r}, and a quantity has no classes. Set it to null."
        )
        return _Target(_floats(y), kind), [fault] if wrong else []
    labels = _labels(y)
    classes, faults = _classes(labels, kind, data, told, places.table)
    return _Target(labels, kind, classes), faults


def _labels(y: pd.Series) -> pd.Series:
    """Keep labels as they are; whole numbers that were read as floats become whole again."""
    types = pd.api.types
    if types.is_bool_dtype(y):
        return y.astype(bool)
    if types.is_numeric_dtype(y):
        whole = types.is_integer_dtype(y) or not (y % 1).any()
        return y.astype("int64") if whole else y.astype("float64")
    return y.astype("str")


def _classes(
    labels: pd.Series, kind: ProblemType, data: settings.Data, told: str, table: Table
) -> tuple[tuple[Label, ...], list[str]]:
    classes = tuple(sorted(_plain(label) for label in labels.unique()))
    shown = listed([repr(label) for label in classes])
    if len(classes) > max(MAX_CLASSES, len(labels) / 2):
        return classes, [
            f"The {told} has {len(classes):,} different values in {len(labels):,} rows, too many"
            f" for classes: {shown}. For a regression, its values must be numbers"
            f"{_why_text(data.target, table)}."
        ]
    if (len(classes) == 2) is not (kind is ProblemType.BINARY):
        return classes, [
            f"train.problem is {kind}, and the {told} has {len(classes)} classes: {shown}."
            " Set train.problem to null."
        ]
    if data.positive is None:
        return classes, []
    if kind is not ProblemType.BINARY:
        return classes, [
            f"data.positive is {data.positive!r}, and the {told} has {len(classes)} classes, not 2."
            " Set it to null."
        ]
    if data.positive not in classes:
        return classes, [
            f"data.positive is {data.positive!r}, which is none of the classes: {shown}."
            " Texts such as yes and no need quotes in YAML."
        ]
    return tuple(sorted(classes, key=lambda label: label == data.positive)), []


def _why_text(column: str | None, table: Table) -> str:
    """Repeat what was noted when a column was read: it may be numbers but for a few fields."""
    begins = f"{column!r} is read as text: "
    return next((f": {note.rstrip('.')}" for note in table.notes if note.startswith(begins)), "")


def _with_statistics(column: Column, values: pd.Series) -> Column:
    return replace(column, optional=bool(values.isna().any()), distinct=int(values.nunique()))


def _plain(value: Any) -> Any:
    """Turn a numpy scalar into Python's own, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value

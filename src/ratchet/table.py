"""Reads a file or a folder of parquet or CSV, and prepares the columns a model may see."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from ratchet import expressions, settings
from ratchet.errors import DataError, RatchetError
from ratchet.expressions import listed, no_column
from ratchet.problem import MAX_CLASSES, ProblemType, detect_problem
from ratchet.schema import Column, Kind, Label, Schema

# Whole numbers above this are rounded when they become floats.
MAX_EXACT = 2**53

# Text is free text, not labels, from this many different values that are this long and new in
# more than this share of the rows.
MIN_TEXTS = 100
MIN_TEXT_LENGTH = 20
MIN_TEXT_SHARE = 0.5

# A field of a CSV file may be this long; pyarrow needs a limit.
_BLOCK_SIZE = 2**24

# A number with a leading zero is a code, such as a postal code, and stays text.
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LEADING_ZERO = r"^-?0[0-9]"
_TRUTH = r"^(true|false|True|False|TRUE|FALSE)$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?ZONE)?$"
_LOCAL_TIME = _TIME.replace("ZONE", "")
# Where pandas puts a frame's index that has no name.
_INDEX = re.compile(r"__index_level_\d+__$")
_ZONED_TIME = _TIME.replace("ZONE)?", "(Z|[+-][0-9]{2}:?[0-9]{2}))")


@dataclass(frozen=True)
class Table:
    """Rows as they were read, before anything is selected."""

    frame: pd.DataFrame
    """The columns, with an index 0..n-1."""
    files: tuple[Path, ...]
    """Files that were read, sorted."""
    rows_per_file: tuple[int, ...]
    """How many rows each file holds."""
    notes: tuple[str, ...] = ()
    """Harmless differences that were settled while reading, one sentence each."""
    left_out: tuple[str, ...] = ()
    """Columns of the files that are not in ``frame``."""

    def place(self, position: int) -> str:
        """Say where the row at a position of ``frame`` stands, counted from 1 in its file."""
        return _place(position, self.files, self.rows_per_file)


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


def read_table(
    source: Path, columns: Collection[str] | None = None, *, drop: Collection[str] = ()
) -> Table:
    """Read one file, or all files of a folder as one table.

    Parquet (``.parquet``) and text (``.csv``, ``.tsv``, also ``.gz``) are read.
    In text, only the empty field is missing, and a column is of numbers only if
    every value is one. Sub-folders, hidden files and ``*.dvc`` are left alone.

    Parameters
    ----------
    source : Path
        File or folder.
    columns : collection of str, optional
        Columns to read; None reads all.
    drop : collection of str
        Columns that won't be needed: one of these that holds lists or bytes is
        left out instead of refused.

    Returns
    -------
    Table
        Whole numbers as integers (as float64 where one is missing, as ``Int64``
        if that would round), truth as bool or ``boolean``, text as ``str``,
        times as ``datetime64[us]`` in UTC without a zone, and a column without
        any value as float64.

    Raises
    ------
    DataError
        If there is no table, a file can't be read, or the files don't fit
        together.
    """
    paths, notes = _files(source)
    read = _read_parquet if _kind(paths[0]) == "parquet" else _read_text
    content = read(paths, columns, drop)
    rows = content.rows_per_file
    if not sum(rows):
        raise DataError(f"{source} has columns and no rows. Check how it was written.")
    notes += [f"{path.name} has no rows." for path, n in zip(paths, rows, strict=True) if not n]
    whole = content.table
    frame = pd.DataFrame({name: _to_pandas(whole[name]) for name in whole.column_names})
    left_out = tuple(name for name in content.header if name not in frame.columns)
    return Table(frame, tuple(paths), rows, (*notes, *content.notes), left_out)


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
    y, kept = _target_and_rows(table, data, keep)
    if not kept.any():
        raise DataError(
            f"data.filter keeps none of the {len(frame):,} rows: {data.filter}."
            " Check it against the values of the table."
        )
    places = _Places(table, np.flatnonzero(kept))
    rows = frame.loc[kept].reset_index(drop=True)
    names, notes = _feature_names(table, data, name, set(keep) - set(visible))
    features, more_notes, problems = _features(rows[names], data.categorical, places)
    target, faults = (
        (None, []) if y is None else _target(y[kept].reset_index(drop=True), data, problem, places)
    )
    _raise([*faults, *problems])
    if not features:
        raise DataError(
            "No feature columns are left. Check data.features and data.drop in params.yaml;"
            " columns with one value only are left out."
        )
    title = name or "target"
    while title in names:
        title += "_"
    prepared = {str(feature.name): feature for feature, _ in features}
    columns = tuple(
        _with_statistics(Column(name, kind, str(feature.dtype), False, 0), feature)
        for (name, feature), (_, kind) in zip(prepared.items(), features, strict=True)
    )
    return Prepared(
        pd.DataFrame(prepared if target is None else prepared | {title: target.labels}),
        rows[list(dict.fromkeys(keep))],
        Schema(columns, None, ProblemType.CLUSTERING)
        if target is None
        else Schema(columns, title, target.problem, target.classes),
        n_read=len(frame),
        n_filtered_out=len(frame) - len(rows),
        kept=np.flatnonzero(kept),
        notes=(*notes, *more_notes),
    )


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


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without its index, whole or not at all; equal frames give equal bytes.

    Raises
    ------
    RatchetError
        If the file can't be written.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    # The metadata names versions of pandas, and the chunks tell how the frame came about.
    table = table.replace_schema_metadata(None).combine_chunks()
    fresh = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, fresh)
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise RatchetError(f"Can't write {path}: {error.strerror or error}.") from error


def read_parquet(path: Path, made_by: str) -> pd.DataFrame:
    """Read what ``write_parquet`` wrote.

    Parameters
    ----------
    path : Path
        File to read.
    made_by : str
        Name of the step that writes it, for the message.

    Raises
    ------
    RatchetError
        If it isn't there or isn't parquet.
    """
    try:
        # A plain read: the folder of the file must not add columns of its own.
        return pq.ParquetFile(path).read().to_pandas()
    except FileNotFoundError:
        raise RatchetError(f"{path} is not there. Run the step {made_by} first.") from None
    except (pa.ArrowException, OSError) as error:
        raise RatchetError(
            f"{path} is not a whole parquet file ({_reason(error)}). Run the step {made_by} again."
        ) from None


def row_hashes(frame: pd.DataFrame) -> np.ndarray:
    """Give each row a number that depends on its values alone.

    Equal rows get equal hashes wherever they stand in the table, and whether a
    number is stored as an integer or a float. Column names don't count, their
    order does.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        The columns that count.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        uint64.
    """
    plain = pd.DataFrame(
        {number: _hashable(frame.iloc[:, number]) for number in range(frame.shape[1])},
        index=frame.index,
    )
    return pd.util.hash_pandas_object(plain, index=False).to_numpy("uint64")


def _place(position: int, files: Sequence[Path], rows_per_file: Sequence[int]) -> str:
    ends = np.cumsum(rows_per_file)
    number = int(np.searchsorted(ends, position, side="right"))
    row = position - int(ends[number]) + rows_per_file[number] + 1
    return f"row {row:,}" if len(files) == 1 else f"row {row:,} of {files[number].name}"


def _raise(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n  - ".join([f"The table has {len(problems)} problems:", *problems]))


def _files(source: Path) -> tuple[list[Path], list[str]]:
    """Find the files of a table, all of one kind."""
    with _reading(source):
        is_file, is_folder, exists = source.is_file(), source.is_dir(), source.exists()
    if is_file:
        if _kind(source) is None:
            raise DataError(
                f"{source} is not a table: its name must end in {listed(list(_KINDS))}."
            )
        return [source], []
    if not is_folder:
        if exists:
            raise DataError(f"{source} is neither a file nor a folder. Check data.source.")
        raise DataError(
            f"{source} is not there. Check data.source in params.yaml, or fetch the data with"
            " `dvc pull`."
        )
    with _reading(source):
        inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    paths = [path for path in inside if _kind(path) and path.is_file()]
    if not paths:
        names = listed([path.name for path in inside]) or "nothing"
        raise DataError(
            f"{source} holds no table, which would end in {listed(list(_KINDS))}."
            f" It holds: {names}."
        )
    kinds = {_kind(path): path.name for path in reversed(paths)}
    if len(kinds) > 1:
        raise DataError(
            f"{source} holds tables of several kinds: {listed(sorted(kinds.values()))}."
            " Keep one kind in a folder."
        )
    others = [
        path.name
        for path in inside
        if path not in paths and path.is_file() and path.suffix != ".dvc"
    ]
    return paths, [f"Not read, as they are no tables: {listed(others)}."] if others else []


_KINDS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
}


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    return next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), None)


@dataclass(frozen=True)
class _Content:
    """Files as one table in memory."""

    header: list[str]
    table: pa.Table
    rows_per_file: tuple[int, ...]
    notes: list[str]


def _read_parquet(
    paths: Sequence[Path], wanted: Collection[str] | None, drop: Collection[str]
) -> _Content:
    schemas = [_parquet_schema(path) for path in paths]
    headers = [[name for name in schema.names if not _INDEX.match(name)] for schema in schemas]
    names = _common_names(headers, paths, wanted)
    refused = {
        name: f"{name!r} ({schema.field(name).type} in {path.name})"
        for schema, path in zip(reversed(schemas), reversed(paths), strict=True)
        for name in names
        if _plain_type(schema.field(name).type) is None
    }
    strange = [refused[name] for name in names if name in refused and name not in drop]
    if strange:
        raise DataError(
            "Columns of lists, records, bytes or times of day can't be used:"
            f" {listed(strange)}. Name them in data.drop."
        )
    names = [name for name in names if name not in refused]
    notes = [
        f"{name!r} has the time zone {zone}: read as UTC without a zone."
        for name, zone in _zones(schemas, names).items()
    ]
    tables = [_parquet_columns(path, names) for path in paths]
    table, more_notes = _reconciled(names, tables, paths)
    rows = tuple(part.num_rows for part in tables)
    return _Content(headers[0], table, rows, [*notes, *more_notes])


def _parquet_schema(path: Path) -> pa.Schema:
    _refuse_empty(path)
    with _reading(path, parquet=True):
        schema = pq.read_schema(path)
    _refuse_names(schema.names, path)
    return schema


def _parquet_columns(path: Path, names: Sequence[str]) -> pa.Table:
    with _reading(path, parquet=True), pq.ParquetFile(path) as file:
        table = file.read(columns=list(names))
    columns = {}
    for name in names:
        kind = table[name].type
        try:
            columns[name] = _cast(table[name], _plain_type(kind))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{path}: column {name!r} of type {kind} holds what can't be read:"
                f" {_reason(error)}. Leave it out with data.drop."
            ) from None
    return pa.table(columns)


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Give the type that a column is read as; None for what can't be used."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_decimal(kind) or types.is_float16(kind):
        return pa.float64()
    if types.is_date(kind) or types.is_timestamp(kind):
        return pa.timestamp("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.large_string()
    simple = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return kind if any(test(kind) for test in simple) else None


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Convert, and refuse to round or overflow; only nanoseconds may go."""
    return pc.cast(column, options=pc.CastOptions(kind, allow_time_truncate=True))


def _zones(schemas: Sequence[pa.Schema], names: Sequence[str]) -> dict[str, str]:
    fields = [schema.field(name) for name in names for schema in schemas]
    return {
        field.name: field.type.tz
        for field in fields
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
    }


def _reconciled(
    names: Sequence[str], tables: Sequence[pa.Table], paths: Sequence[Path]
) -> tuple[pa.Table, list[str]]:
    """Put the files' rows below each other, with one type per column."""
    columns, notes = {}, []
    for name in names:
        parts = [table[name] for table in tables]
        # A column without any value has no type of its own to insist on.
        types = [pa.null() if part.null_count == len(part) else part.type for part in parts]
        places = dict(zip(reversed(types), reversed([path.name for path in paths]), strict=True))
        places.pop(pa.null(), None)
        told = " and ".join(
            f"{kind} in {places[kind]}" for kind in dict.fromkeys(types) if kind in places
        )
        try:
            fields = [pa.schema([(name, kind)]) for kind in types]
            kind = pa.unify_schemas(fields, promote_options="permissive").field(0).type
            cast = [
                pa.chunked_array([pa.nulls(len(part), kind)])
                if old == pa.null()
                else _cast(part, kind)
                for part, old in zip(parts, types, strict=True)
            ]
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(
                f"Column {name!r} is {told}, which can't be read as one. Write both files alike."
            ) from None
        if len(places) > 1:
            notes.append(f"{name!r} is {told}: read as {kind}.")
        columns[name] = pa.chunked_array([chunk for part in cast for chunk in part.chunks], kind)
    return pa.table(columns), notes


def _read_text(
    paths: Sequence[Path], wanted: Collection[str] | None, drop: Collection[str]
) -> _Content:
    """Read every field as text, and decide each column's type from all of its values.

    pyarrow would decide from the first megabyte, and pandas chunk by chunk;
    both turn the postal code 01234 into a number.
    """
    separator = "\t" if _kind(paths[0]) == "tsv" else ","
    begun = [_header(path, separator) for path in paths]
    headers = [header for header, _ in begun]
    names = _common_names(headers, paths, wanted)
    nothing = pa.table({name: pa.array([], pa.large_string()) for name in names})
    tables = [
        _text_columns(path, header, names, separator) if has_rows else nothing
        for path, (header, has_rows) in zip(paths, begun, strict=True)
    ]
    rows = tuple(table.num_rows for table in tables)
    place = partial(_place, files=paths, rows_per_file=rows)
    columns, notes = {}, []
    for name in names:
        values = pa.chunked_array([c for t in tables for c in t[name].chunks], pa.large_string())
        columns[name], note = _typed(name, values, place)
        notes += [note] if note else []
    return _Content(headers[0], pa.table(columns), rows, notes)


def _header(path: Path, separator: str) -> tuple[list[str], bool]:
    """Read the names of the columns, and whether anything follows."""
    _refuse_empty(path)
    with _reading(path), _stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        names = next(csv.reader(text, delimiter=separator), [])
        has_rows = bool(text.readline())
    # Files that were joined end to end, or saved twice, hold a second mark.
    names = [name.lstrip("\ufeff") for name in names]
    others = [mark for mark in ";\t|," if mark != separator and mark in "".join(names)]
    if len(names) == 1 and others:
        raise DataError(
            f"{path} has one column only, {names[0]!r}, so its separator seems to be"
            f" {others[0]!r}. Save it as .csv with commas, or as .tsv with tabs."
        )
    _refuse_names(names, path)
    return names, has_rows


def _stream(path: Path) -> pa.NativeFile:
    packed = path.name.lower().endswith(".gz")
    return pa.input_stream(str(path), compression="gzip" if packed else None)


def _refuse_open_quote(path: Path, separator: str) -> None:
    """Refuse a quote that is never closed; pyarrow would take the rest of the file as one field."""
    with _reading(path), _stream(path) as stream:
        n_quotes = 0
        while block := stream.read(_BLOCK_SIZE):
            n_quotes += block.count(b'"')
    if n_quotes % 2 == 0:
        return
    # An odd number is allowed too, as in 5" pipe: only a slow reader can tell.
    with _reading(path), _stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        row = 0
        try:
            for _ in csv.reader(text, delimiter=separator, strict=True):
                row += 1
        except csv.Error as error:
            if "end of data" in str(error) or "limit" in str(error):
                raise DataError(
                    f"{path}: a quote in row {row:,} is never closed. Close it, or write a quote"
                    " inside of a field twice."
                ) from None


def _text_columns(
    path: Path, header: Sequence[str], names: Sequence[str], separator: str
) -> pa.Table:
    _refuse_open_quote(path, separator)
    ragged: list[pyarrow.csv.InvalidRow] = []

    def note_down(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    with _reading(path), _stream(path) as stream:
        try:
            return pyarrow.csv.read_csv(
                stream,
                # Without threads, a row that is refused has its number.
                pyarrow.csv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK_SIZE,
                    column_names=header,
                    skip_rows_after_names=1,
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=separator,
                    newlines_in_values=True,
                    # In a table of one column, an empty line is a missing value.
                    ignore_empty_lines=len(header) > 1,
                    invalid_row_handler=note_down,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.large_string()),
                    include_columns=names,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            if not ragged:
                raise
    row = ragged[0]
    raise DataError(
        f"{path}: row {row.number - 1} has {row.actual_columns} fields, and the header has"
        f" {row.expected_columns}: {_short(row.text)!r}. Put a field that holds"
        f" {separator!r} in quotes."
    )


def _typed(
    name: str, values: pa.ChunkedArray, place: Callable[[int], str]
) -> tuple[pa.ChunkedArray, str | None]:
    """Read a column's texts as what all of them are; say why if it stays text."""
    if values.null_count == len(values):
        return pa.nulls(len(values)), None
    trimmed = pc.utf8_trim_whitespace(values)
    try:
        if _all(trimmed, _WHOLE):
            return pc.cast(trimmed, pa.int64()), None
        if _all(trimmed, _NUMBER):
            return pc.cast(trimmed, pa.float64()), None
        if _all(trimmed, _TRUTH):
            return pc.cast(trimmed, pa.bool_()), None
        if _all(trimmed, _LOCAL_TIME):
            return _times(trimmed), None
        if _all(trimmed, _ZONED_TIME):
            return _times(trimmed), f"{name!r} has a time zone: read as UTC without a zone."
    except ValueError:  # 20 digits, or the 30th of February
        return values, None
    return values, _why_text(name, trimmed, place)


def _all(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _times(values: pa.ChunkedArray) -> pa.Array:
    times = pd.to_datetime(values.to_pandas(), format="ISO8601", utc=True).dt.tz_localize(None)
    return pa.array(times.astype("datetime64[us]"), from_pandas=True)


def _why_text(name: str, values: pa.ChunkedArray, place: Callable[[int], str]) -> str | None:
    """Explain a column that is mostly numbers: most often a word stands for missing."""
    numbers = pc.match_substring_regex(values, _NUMBER)
    n_values = len(values) - values.null_count
    n_strange = n_values - (pc.sum(numbers).as_py() or 0)
    if n_strange * 2 > n_values:
        return None
    first = pc.index(numbers, False).as_py()
    value = values[first].as_py()
    if pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
        return None
    return (
        f"{name!r} is read as text: {n_strange:,} of its {n_values:,} values are no numbers,"
        f" first {_short(value)!r} in {place(first)}. If that stands for a missing value,"
        " leave the field empty."
    )


def _to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """Hand a column over to pandas, whose defaults round large integers and box truth values."""
    if column.null_count == len(column):
        return pd.Series(np.nan, index=range(len(column)))
    if column.null_count and pa.types.is_integer(column.type):
        bounds = pc.min_max(column).as_py()
        if max(abs(bounds["min"]), abs(bounds["max"])) > MAX_EXACT:
            nullable = pd.UInt64Dtype() if pa.types.is_uint64(column.type) else pd.Int64Dtype()
            return column.to_pandas(types_mapper=lambda _: nullable)
    if column.null_count and pa.types.is_boolean(column.type):
        return column.to_pandas(types_mapper=lambda _: pd.BooleanDtype())
    return column.to_pandas()


def _common_names(
    headers: Sequence[Sequence[str]], paths: Sequence[Path], wanted: Collection[str] | None
) -> list[str]:
    """Columns to read, in the order of the first file; every file must have them."""
    for name in wanted or ():
        for header, path in zip(headers, paths, strict=True):
            if name not in header:
                raise DataError(f"{path.name}: {no_column(name, header)}")
    if wanted is not None:
        return [name for name in headers[0] if name in wanted]
    for header, path in zip(headers, paths, strict=True):
        lacking = [name for name in headers[0] if name not in header]
        added = [name for name in header if name not in headers[0]]
        if lacking or added:
            differences = [
                *([f"{path.name} lacks {listed(lacking)}"] if lacking else []),
                *([f"{paths[0].name} lacks {listed(added)}"] if added else []),
            ]
            raise DataError(
                f"The files have different columns: {' and '.join(differences)}."
                " Keep files with the same columns in one folder."
            )
    return list(headers[0])


def _refuse_empty(path: Path) -> None:
    with _reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
    if not size:
        raise DataError(f"{path} is empty (0 bytes). Write or fetch it again.")


def _refuse_names(names: Sequence[str], path: Path) -> None:
    if not names:
        raise DataError(f"{path} has no columns. Write or fetch it again.")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if "" in names:
        raise DataError(
            f"{path} has a column without a name, number {names.index('') + 1}. Give it one, or"
            " write the table without its row numbers."
        )
    if twice:
        raise DataError(f"{path} has more than one column called {listed(twice)}. Rename them.")


@contextmanager
def _reading(path: Path, *, parquet: bool = False) -> Iterator[None]:
    """Tell in a sentence why a file can't be read."""
    try:
        yield
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in str(error):
            raise DataError(
                f"{path} is not UTF-8 text. Save it as UTF-8, for example with"
                " `iconv -f LATIN1 -t UTF-8`."
            ) from None
        if parquet and not isinstance(error, PermissionError):
            raise DataError(
                f"{path} is not a whole parquet file ({_reason(error)}). Write or fetch it again."
            ) from None
        raise DataError(f"{path} can't be read: {_reason(error)}.") from None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return _short(" ".join(text.split()).rstrip("."))


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


@dataclass(frozen=True)
class _Places:
    """Where the rows that were kept stand in the files."""

    table: Table
    positions: np.ndarray

    def told(self, marked: pd.Series) -> str:
        """Say how many rows are marked and where the first ones stand."""
        rows = [self.table.place(int(position)) for position in self.positions[marked.to_numpy()]]
        return f"in {len(rows):,} of {len(marked):,} rows: {listed(rows, most=3)}"


def _target_and_rows(
    table: Table, data: settings.Data, keep: Collection[str]
) -> tuple[pd.Series | None, np.ndarray]:
    """Evaluate target and filter; every unknown name and wrong expression is told at once."""
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
        kept = _kept(table.frame, data.filter, extra)
    except DataError as error:
        problems.append(f"data.filter: {error}")
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


def _kept(frame: pd.DataFrame, rule: str | None, extra: Mapping[str, pd.Series]) -> np.ndarray:
    if rule is None:
        return np.ones(len(frame), dtype=bool)
    result = expressions.evaluate(rule, frame, extra)
    if not pd.api.types.is_bool_dtype(result):
        raise DataError(f"{rule!r} must be true or false for every row, got {result.iloc[0]!r}.")
    return result.astype("boolean").fillna(False).to_numpy(bool)


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
    rows: pd.DataFrame, categorical: Collection[str], places: _Places
) -> tuple[list[_Feature], list[str], list[str]]:
    """Convert each column; give the useful ones, what was left out, and what is wrong."""
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
        elif column.isna().all():
            notes.append(f"{name!r} is missing in every row: left out.")
        elif column.nunique(dropna=False) == 1:
            notes.append(f"{name!r} is {_plain(column.iloc[0])!r} in every row: left out.")
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
        return column.astype("datetime64[us]"), Kind.DATETIME, None
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


def _infinite(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_float_dtype(column):
        return pd.Series(False, index=column.index)
    return pd.Series(np.isinf(_floats(column)), index=column.index)


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
    classes, faults = _classes(labels, kind, data, told)
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
    labels: pd.Series, kind: ProblemType, data: settings.Data, told: str
) -> tuple[tuple[Label, ...], list[str]]:
    classes = tuple(sorted(_plain(label) for label in labels.unique()))
    shown = listed([repr(label) for label in classes])
    if len(classes) > max(MAX_CLASSES, len(labels) / 2):
        return classes, [
            f"The {told} has {len(classes):,} different values in {len(labels):,} rows, too many"
            f" for classes: {shown}. For a regression, its values must be numbers."
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


def _with_statistics(column: Column, values: pd.Series) -> Column:
    return replace(column, optional=bool(values.isna().any()), distinct=int(values.nunique()))


def _plain(value: Any) -> Any:
    """Turn a numpy scalar into Python's own, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def _hashable(column: pd.Series) -> pd.Series:
    types = pd.api.types
    if types.is_numeric_dtype(column):
        # Adding 0 turns the other zero, -0.0, into 0.0.
        return _floats(column) + 0.0
    if types.is_datetime64_dtype(column):
        return column.astype("datetime64[us]")
    return column.astype("object").where(column.notna(), None)

"""Reads parquet files as one table with plain types."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.errors import DataError
from ratchet.expressions import listed
from ratchet.table.formats import refuse_others
from ratchet.table.opening import (
    Content,
    all_names,
    common_names,
    reading,
    reason,
    refuse_empty,
    refuse_names,
)

# Where pandas puts a frame's index that has no name.
_INDEX = re.compile(r"__index_level_\d+__$")


def read_parquet_files(
    paths: Sequence[Path], wanted: Collection[str] | None, drop: Collection[str]
) -> Content:
    """Read the wanted columns of each file; see ``read_table``."""
    schemas = [_parquet_schema(path) for path in paths]
    headers, names, notes = chosen(schemas, paths, wanted, drop)
    tables = [_parquet_columns(path, names) for path in paths]
    table, more_notes = _reconciled(names, tables, paths)
    rows = tuple(part.num_rows for part in tables)
    return Content(all_names(headers), table, rows, [*notes, *more_notes])


def chosen(
    schemas: Sequence[pa.Schema],
    paths: Sequence[Path],
    wanted: Collection[str] | None,
    drop: Collection[str],
) -> tuple[list[list[str]], list[str], list[str]]:
    """Choose the columns to read of files, and refuse what no table can have.

    Returns
    -------
    headers : list of list of str
        The columns of each file.
    names : list of str
        Those that are read.
    notes : list of str
        What is read otherwise than it is written, one sentence each.

    Raises
    ------
    DataError
        If a file lacks one, or they hold what can't be used.
    """
    headers = [[name for name in schema.names if not _INDEX.match(name)] for schema in schemas]
    names = common_names(headers, paths, wanted, drop)
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
    return headers, names, notes


def _parquet_schema(path: Path) -> pa.Schema:
    """Read the types of the columns."""
    refuse_empty(path)
    with reading(path, parquet=True):
        refuse_others(path, "parquet")
    with reading(path, parquet=True):
        schema = pq.read_schema(path)
    refuse_names(schema.names, path)
    return schema


def _parquet_columns(path: Path, names: Sequence[str]) -> pa.Table:
    with reading(path, parquet=True), pq.ParquetFile(path) as file:
        table = file.read(columns=list(names))
    return as_plain(table.select(list(names)), path)


def parquet_schema(path: Path) -> pa.Schema:
    """Read the names and types of a file's columns, without an index that pandas has left.

    Raises
    ------
    DataError
        If it isn't a parquet file, or columns have no names of their own.
    """
    schema = _parquet_schema(path)
    kept = [field for field in schema if not _INDEX.match(field.name)]
    return pa.schema(kept)


def as_plain(table: pa.Table, path: Path) -> pa.Table:
    """Bring columns of a file to the types that tables have here.

    Raises
    ------
    DataError
        If a column holds what can't be used.
    """
    columns = {}
    for name in table.column_names:
        kind = table[name].type
        plain = _plain_type(kind)
        if plain is None:
            raise DataError(
                f"{path}: column {name!r} is of type {kind}, and lists, records, bytes and times of"
                " day can't be used."
            )
        try:
            columns[name] = _cast(table[name], plain)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{path}: column {name!r} of type {kind} holds what can't be read:"
                f" {reason(error)}. Leave it out with data.drop."
            ) from None
        if pa.types.is_large_string(plain):
            _refuse_other_text(columns[name], name, path)
    return pa.table(columns)


def _refuse_other_text(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """Refuse what is no UTF-8, which parquet asks for and some programs don't write."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raise DataError(
            f"{path}: column {name!r} holds text that is not UTF-8. Write it as UTF-8 where the"
            " file was made."
        ) from None


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
        one = OneType.of(name, types, paths)
        notes += [one.note] if one.note else []
        cast = [one.read(part) for part in parts]
        columns[name] = pa.chunked_array([c for part in cast for c in part.chunks], one.kind)
    return pa.table(columns), notes


@dataclass(frozen=True)
class OneType:
    """What a column of several files is read as."""

    kind: pa.DataType
    """Its type."""
    note: str
    """A sentence where it has other types in the files; else empty."""
    refusal: str
    """What is said where it can't be read as that."""

    @classmethod
    def of(cls, name: str, types: Sequence[pa.DataType], paths: Sequence[Path]) -> Self:
        """Find the type for a column, given its plain type in each file, or ``null``.

        Raises
        ------
        DataError
            If there is none.
        """
        places = dict(zip(reversed(types), reversed([path.name for path in paths]), strict=True))
        places.pop(pa.null(), None)
        told = " and ".join(
            f"{kind} in {places[kind]}" for kind in dict.fromkeys(types) if kind in places
        )
        refusal = f"Column {name!r} is {told}, which can't be read as one. Write both files alike."
        try:
            fields = [pa.schema([(name, kind)]) for kind in types]
            kind = pa.unify_schemas(fields, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(refusal) from None
        note = f"{name!r} is {told}: read as {kind}." if len(places) > 1 else ""
        return cls(kind, note, refusal)

    def read(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Bring the column of one file, or a piece of it, to this type.

        Raises
        ------
        DataError
            If a value would be lost.
        """
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), self.kind)])
        try:
            return _cast(column, self.kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(self.refusal) from None


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Give the type that a column of a usable type is read as."""
    plain = _plain_type(kind)
    assert plain is not None
    return plain

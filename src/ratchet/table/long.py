"""Reads a table of any size as ``read_table`` does, but a piece at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.errors import DataError
from ratchet.table.columnar import OneType, as_plain, chosen, parquet_schema, plain_type
from ratchet.table.opening import common_names, kind_of, place, reading
from ratchet.table.pieces import TableFile
from ratchet.table.reading import Extent, Table, table_files, to_pandas
from ratchet.table.text import Guess
from ratchet.table.width import rows_at_once

# A text of a file takes so many bytes in memory beside its letters, and what is packed so many
# times as many as it does on disk.
_TEXT_BYTES = 16
_UNPACKED = 8


@dataclass(frozen=True)
class LongTable:
    """The files of a table, looked through once, so that each piece of it is read like all."""

    files: tuple[TableFile, ...]
    """Files, sorted."""
    rows_per_file: tuple[int, ...]
    """How many rows each holds."""
    extents: Mapping[str, Extent]
    """What each column is over all rows, in the order in which they are read."""
    readers: Mapping[str, OneType | Guess]
    """How a column of one file is read."""
    notes: tuple[str, ...]
    """Harmless differences that were settled while reading, one sentence each."""
    left_out: tuple[str, ...]
    """Columns of the files that are not read."""

    @classmethod
    def open(cls, source: Path, drop: Collection[str] = ()) -> "LongTable":
        """Look through a file, or all files of a folder.

        Of parquet files only the statistics are read; a text has to be read as a whole to
        know what its columns hold.

        Parameters
        ----------
        source : Path
            File or folder.
        drop : collection of str
            Columns that won't be needed: one of these that holds lists or bytes is
            left out instead of refused.

        Raises
        ------
        DataError
            As in ``read_table``.
        """
        paths, notes = table_files(source)
        files = [TableFile.open(path) for path in paths]
        look = _columns if files[0].text is None else _texts
        found = look(files, paths, drop)
        rows = found.rows_per_file
        if not sum(rows):
            raise DataError(f"{source} has columns and no rows. Check how it was written.")
        notes += [f"{path.name} has no rows." for path, n in zip(paths, rows, strict=True) if not n]
        return replace(found, notes=(*notes, *found.notes))

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return sum(self.rows_per_file)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(file.path for file in self.files)

    def table(self, frame: pd.DataFrame, positions: np.ndarray) -> Table:
        """Give some of the rows as a table that knows where they stand."""
        return Table(frame, self.paths, self.rows_per_file, self.notes, self.left_out, positions)

    def pieces(self, rows: int | None = None) -> Iterator[Table]:
        """Give all rows in their order, so many at a time; a file begins a piece of its own.

        Parameters
        ----------
        rows : int, optional
            Rows of a piece; None takes as many as suits the number of columns.

        Raises
        ------
        DataError
            If a part of a file can't be read.
        """
        before = 0
        for file, n in zip(self.files, self.rows_per_file, strict=True):
            for piece in file.pieces(rows or rows_at_once(len(self.extents))):
                plain = piece.table.select([*self.extents])
                if file.text is None:
                    plain = as_plain(plain, file.path)
                frame = pd.DataFrame(
                    {
                        name: to_pandas(self.readers[name].read(plain[name]), extent)
                        for name, extent in self.extents.items()
                    }
                )
                first = before + piece.first
                yield self.table(frame, np.arange(first, first + len(frame)))
            before += n


def bytes_of_source(source: Path) -> int:
    """Estimate what a table takes in memory, without reading it.

    Raises
    ------
    DataError
        If there is none.
    """
    return sum(map(_bytes_of, table_files(source)[0]))


def parquet_bytes(path: Path) -> int:
    """Estimate what the columns of a parquet file take in memory."""
    with reading(path, parquet=True), pq.ParquetFile(path) as file:
        metadata = file.metadata
    total = 0
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            text = chunk.physical_type == "BYTE_ARRAY"
            least = chunk.num_values * (_TEXT_BYTES if text else 8)
            total += max(least, chunk.total_uncompressed_size if text else 0)
    return total


def _bytes_of(path: Path) -> int:
    if kind_of(path) == "parquet":
        parquet_schema(path)  # refuses what only has the name of such a file
        return parquet_bytes(path)
    with reading(path):
        size = path.stat().st_size
    return size * (_UNPACKED if path.name.lower().endswith(".gz") else 1)


def _columns(files: Sequence[TableFile], paths: Sequence[Path], drop: Collection[str]) -> LongTable:
    """Look through parquet files."""
    schemas = [file.schema for file in files]
    headers, names, notes = chosen(schemas, paths, None, drop)
    files = [_only(file, names) for file in files]
    looks = [_look(file, names) for file in files]
    readers, extents = {}, {}
    rows = tuple(file.n_rows or 0 for file in files)
    for number, name in enumerate(names):
        seen = [look[number] for look in looks]
        types = [
            pa.null() if look.n_values == 0 else plain_type(file.schema.field(name).type)
            for file, look in zip(files, seen, strict=True)
        ]
        one = OneType.of(name, types, paths)
        notes += [one.note] if one.note else []
        readers[name] = one
        extents[name] = _extent(sum(rows), one.kind, seen)
    return LongTable(tuple(files), rows, extents, readers, tuple(notes), _left_out(headers, names))


def _only(file: TableFile, names: Sequence[str]) -> TableFile:
    return replace(file, schema=pa.schema([file.schema.field(name) for name in names]))


def _left_out(headers: Sequence[Sequence[str]], names: Collection[str]) -> tuple[str, ...]:
    every = dict.fromkeys(name for header in headers for name in header)
    return tuple(name for name in every if name not in names)


@dataclass(frozen=True)
class _Look:
    """What is known of a column of one file."""

    n_values: int
    bounds: tuple[int, int] | None


def _extent(n_rows: int, kind: pa.DataType, seen: Sequence[_Look]) -> Extent:
    n_values = sum(look.n_values for look in seen)
    bounds = [look.bounds for look in seen if look.bounds is not None]
    large = pa.types.is_integer(kind) and any(Extent.beyond(*each) for each in bounds)
    return Extent(empty=n_values == 0, gaps=n_values < n_rows, large=large)


def _look(file: TableFile, names: Sequence[str]) -> list[_Look]:
    """Count the values of columns, from the statistics where the file has them."""
    with reading(file.path, parquet=True), pq.ParquetFile(file.path) as opened:
        columns = opened.metadata.schema
        numbers = {columns.column(n).path: n for n in range(len(columns))}
        return [
            _look_at(opened, name, numbers[name], pa.types.is_integer(file.schema.field(name).type))
            for name in names
        ]


def _look_at(opened: pq.ParquetFile, name: str, number: int, whole: bool) -> _Look:
    metadata = opened.metadata
    looks = []
    for group in range(metadata.num_row_groups):
        known = metadata.row_group(group).column(number).statistics
        if known is None or not known.has_null_count or (whole and not known.has_min_max):
            looks.append(_read(opened, group, name, whole))
            continue
        bounds = (int(known.min), int(known.max)) if whole else None
        looks.append(_Look(metadata.row_group(group).num_rows - known.null_count, bounds))
    bounds_ = [look.bounds for look in looks if look.bounds is not None]
    ends = (min(low for low, _ in bounds_), max(high for _, high in bounds_)) if bounds_ else None
    return _Look(sum(look.n_values for look in looks), ends)


def _read(file: pq.ParquetFile, group: int, name: str, whole: bool) -> _Look:
    column = file.read_row_group(group, columns=[name])[name]
    n_values = len(column) - column.null_count
    if not whole or not n_values:
        return _Look(n_values, None)
    found = pc.min_max(column).as_py()
    return _Look(n_values, (int(found["min"]), int(found["max"])))


def _texts(files: Sequence[TableFile], paths: Sequence[Path], drop: Collection[str]) -> LongTable:
    """Look through text files."""
    headers = [list(file.schema.names) for file in files]
    names = common_names(headers, paths, None, drop)
    guesses = {name: Guess() for name in names}
    rows = []
    for file in files:
        n = 0
        for piece in file.pieces(rows_at_once(len(names))):
            n += len(piece.table)
            for name, guess in guesses.items():
                guess.see(piece.table[name])
        rows.append(n)
    found_at = partial(place, files=paths, rows_per_file=rows)
    notes = [note for name, guess in guesses.items() if (note := guess.note(name, found_at))]
    extents = {
        name: _extent(sum(rows), guess.kind, [_Look(guess.n_values, guess.bounds)])
        for name, guess in guesses.items()
    }
    return LongTable(
        tuple(files), tuple(rows), extents, guesses, tuple(notes), _left_out(headers, names)
    )

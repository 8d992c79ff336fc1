"""Reads a file a piece at a time, so that it may be larger than memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.errors import DataError
from ratchet.schema import Kind
from ratchet.table.columnar import as_plain, parquet_schema
from ratchet.table.opening import kind_of, reading
from ratchet.table.reading import to_pandas
from ratchet.table.text import TextFile, as_kind
from ratchet.table.width import buffer_size


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, one after the other."""

    table: pa.Table
    """The rows as the file has them, but for text files, of which every field is text."""
    first: int
    """Position of the first of them in the file, from 0."""
    share: float
    """How much of the file was read when they came, 0 to 1."""


@dataclass(frozen=True)
class TableFile:
    """A parquet or text file, opened."""

    path: Path
    """The file."""
    schema: pa.Schema
    """Its columns, without an index that pandas has left."""
    n_rows: int | None
    """Its rows; None for text, which has to be read to count them."""
    text: TextFile | None
    """How it is read, if it is text."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make sure that a file is a table, and look at its columns.

        Raises
        ------
        DataError
            If it can't be read, or its columns have no names of their own.
        """
        if kind_of(path) == "parquet":
            schema = parquet_schema(path)
            with reading(path, parquet=True):
                n_rows = pq.read_metadata(path).num_rows
            return cls(path, schema, n_rows, None)
        text = TextFile.open(path)
        schema = pa.schema([(name, pa.large_string()) for name in text.header])
        return cls(path, schema, None, text)

    def pieces(self, rows: int, start: int = 0) -> Iterator[Piece]:
        """Give the rows from a position on, so many at a time; the last piece may have fewer.

        Raises
        ------
        DataError
            If a part of the file can't be read.
        """
        blocks = self._parquet(rows, start) if self.text is None else self._text(start)
        first = start
        for table, share in cut(blocks, rows):
            yield Piece(table, first, share)
            first += len(table)

    def frame(self, table: pa.Table, kinds: Mapping[str, Kind]) -> pd.DataFrame:
        """Give columns of rows as ``read_table`` would, but each as what it is said to hold.

        What a text file's column holds can't be seen in a piece of it. A text that isn't
        what it should be leaves the column text.

        Parameters
        ----------
        table : pa.Table
            Rows of this file.
        kinds : mapping of str to Kind
            The columns that are wanted, as far as the file has them, and what they hold.

        Raises
        ------
        DataError
            If a column holds lists, records, bytes or times of day.
        """
        names = [name for name in kinds if name in table.column_names]
        if self.text is None:
            plain = as_plain(table.select(names), self.path)
            return pd.DataFrame({name: to_pandas(plain[name]) for name in names})
        read = {name: as_kind(table[name], kinds[name]) for name in names}
        return pd.DataFrame({name: to_pandas(each) for name, each in read.items()})

    def _parquet(self, rows: int, start: int) -> Iterator[tuple[pa.Table, float]]:
        with reading(self.path, parquet=True):
            # A column chunk is read so many bytes at a time, not at once.
            file = pq.ParquetFile(self.path, buffer_size=buffer_size(len(self.schema.names)))
        with file:
            before, groups = 0, list(range(file.num_row_groups))
            while groups and before + (n := file.metadata.row_group(groups[0]).num_rows) <= start:
                before += n
                del groups[0]
            batches = group_by_group(file, rows, groups, self.schema.names)
            while True:
                with reading(self.path, parquet=True):
                    batch = next(batches, None)
                if batch is None:
                    return
                table = pa.Table.from_batches([batch]).slice(max(0, start - before))
                before += len(batch)
                table = table.replace_schema_metadata(None)
                yield table.select(self.schema.names), before / max(1, self.n_rows or 1)

    def _text(self, start: int) -> Iterator[tuple[pa.Table, float]]:
        assert self.text is not None
        before = 0
        for block, share in self.text.blocks():
            yield block.slice(max(0, start - before)), share
            before += len(block)


def group_by_group(
    file: pq.ParquetFile, rows: int, groups: Iterable[int], columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """Read groups of rows, at most so many rows at a time, and keep nothing of a group behind.

    pyarrow keeps what it has read of each group until the last of those that it was asked for
    together: 20 million values in groups of 4 million took 200 MB by their end.
    """
    for group in groups:
        yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=columns)


def cut(blocks: Iterator[tuple[pa.Table, float]], rows: int) -> Iterator[tuple[pa.Table, float]]:
    """Make tables of so many rows each of blocks of any size."""
    waiting: list[pa.Table] = []
    share = 0.0
    for block, share in blocks:
        waiting.append(block)
        n = sum(map(len, waiting))
        if n < rows:
            continue
        whole = pa.concat_tables(waiting)
        for at in range(0, n - n % rows, rows):
            yield whole.slice(at, rows), share
        waiting = [whole.slice(n - n % rows)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting), share


def one_schema(files: Sequence[TableFile]) -> pa.Schema:
    """Give the columns of files whose rows are to stand below each other, with a type for each.

    Raises
    ------
    DataError
        If their columns differ, or types that can't be read as one.
    """
    first = files[0]
    for other in files[1:]:
        if set(other.schema.names) != set(first.schema.names):
            lacking = [name for name in first.schema.names if name not in other.schema.names]
            more = [name for name in other.schema.names if name not in first.schema.names]
            told = [
                *([f"{other.path.name} lacks {lacking[0]!r}"] if lacking else []),
                *([f"{first.path.name} lacks {more[0]!r}"] if more else []),
            ]
            raise DataError(f"The files have different columns: {' and '.join(told)}.")
    try:
        return pa.unify_schemas(
            [each.schema for each in files], promote_options="permissive"
        ).remove_metadata()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"The files have columns of different types: {error}") from None

"""A part of a prepared table on disk: read as a whole, in pieces, or as some of its rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.table.keeping import reading_part
from ratchet.table.long import parquet_bytes
from ratchet.table.pieces import cut, group_by_group
from ratchet.table.width import buffer_size, rows_at_once


class Picked:
    """Takes rows at known places from pieces that come one after the other."""

    def __init__(self, places: np.ndarray) -> None:
        """Take the rows at places, which are sorted."""
        self._places = places
        self._before = 0
        self._taken: list[pd.DataFrame] = []

    def see(self, piece: pd.DataFrame) -> None:
        """Look at the next rows."""
        first, last = np.searchsorted(self._places, (self._before, self._before + len(piece)))
        # One piece at least, which has the columns.
        if last > first or not self._taken:
            self._taken.append(piece.iloc[self._places[first:last] - self._before])
        self._before += len(piece)

    def frame(self) -> pd.DataFrame:
        """Give what was taken, with an index 0..n-1."""
        return pd.concat(self._taken, ignore_index=True)


@dataclass(frozen=True)
class Stored:
    """Rows that ``write_parquet`` or a ``PartWriter`` wrote."""

    path: Path
    """The file."""
    made_by: str
    """Name of the step that writes it, for messages."""
    n_rows: int
    """Its rows."""
    n_bytes: int
    """About what they take in memory."""

    @classmethod
    def open(cls, path: Path, made_by: str) -> Self:
        """Look at a file.

        Raises
        ------
        RatchetError
            If it isn't there or isn't parquet.
        """
        with reading_part(path, made_by):
            n_rows = pq.read_metadata(path).num_rows
        return cls(path, made_by, n_rows, parquet_bytes(path))

    def pieces(
        self, rows: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Give the rows in their order, so many at a time.

        Parameters
        ----------
        rows : int, optional
            Rows of a piece; None takes as many as suits the number of columns.
        columns : sequence of str, optional
            Columns to read; None reads all.

        Raises
        ------
        RatchetError
            If a part of the file can't be read.
        """
        with reading_part(self.path, self.made_by):
            n_columns = len(columns or self.names)
            file = pq.ParquetFile(
                self.path,
                page_checksum_verification=True,
                # Else what a group of rows holds of a column is read at once.
                buffer_size=buffer_size(n_columns),
            )
        at_once = rows or rows_at_once(n_columns)
        with file:
            for piece, _ in cut(self._blocks(file, at_once, columns), at_once):
                yield piece.to_pandas()

    def rows(self, places: np.ndarray) -> pd.DataFrame:
        """Give the rows at places, which are sorted."""
        picked = Picked(places)
        for piece in self.pieces():
            picked.see(piece)
        return picked.frame()

    def column(self, name: str) -> pd.Series:
        """Give a column of all rows."""
        with (
            reading_part(self.path, self.made_by),
            pq.ParquetFile(self.path, page_checksum_verification=True) as file,
        ):
            return file.read(columns=[name]).to_pandas()[name]

    def _blocks(
        self, file: pq.ParquetFile, rows: int, columns: Sequence[str] | None
    ) -> Iterator[tuple[pa.Table, float]]:
        batches = group_by_group(file, rows, range(file.num_row_groups), columns)
        while True:
            with reading_part(self.path, self.made_by):
                batch = next(batches, None)
            if batch is None:
                return
            yield pa.Table.from_batches([batch]), 0.0

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        with reading_part(self.path, self.made_by):
            return list(pq.read_schema(self.path).names)

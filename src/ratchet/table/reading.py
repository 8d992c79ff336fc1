"""Reads a file, or all files of a folder, as one table."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.errors import DataError
from ratchet.expressions import listed
from ratchet.table.columnar import read_parquet_files
from ratchet.table.formats import UNREAD
from ratchet.table.opening import KINDS, kind_of, place, reading
from ratchet.table.text import read_text_files

# Whole numbers above this are rounded when they become floats.
MAX_EXACT = 2**53


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
    positions: np.ndarray | None = None
    """Where the rows stand among those of the files, shape (n_rows,); None where they are all."""

    def place(self, position: int) -> str:
        """Say where the row at a position of ``frame`` stands, counted from 1 in its file."""
        among_all = position if self.positions is None else int(self.positions[position])
        return place(among_all, self.files, self.rows_per_file)

    def counted(self, n: int, of: int) -> str:
        """Say how many of so many rows are meant; some of all rows don't tell their number."""
        if self.positions is None:
            return f"in {n:,} of {of:,} rows"
        return f"in some of {sum(self.rows_per_file):,} rows"


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
    paths, notes = table_files(source)
    read = read_parquet_files if kind_of(paths[0]) == "parquet" else read_text_files
    content = read(paths, columns, drop)
    rows = content.rows_per_file
    if not sum(rows):
        raise DataError(f"{source} has columns and no rows. Check how it was written.")
    notes += [f"{path.name} has no rows." for path, n in zip(paths, rows, strict=True) if not n]
    whole = content.table
    frame = pd.DataFrame({name: to_pandas(whole[name]) for name in whole.column_names})
    left_out = tuple(name for name in content.header if name not in frame.columns)
    return Table(frame, tuple(paths), rows, (*notes, *content.notes), left_out)


def table_files(source: Path, asked_by: str = "data.source") -> tuple[list[Path], list[str]]:
    """Find the files of a table, all of one kind, sorted by their names.

    Parameters
    ----------
    source : Path
        File or folder.
    asked_by : str
        The setting or option that names it, for messages.

    Returns
    -------
    tuple of (list of Path, list of str)
        The files, and a sentence on what else lies there.

    Raises
    ------
    DataError
        If there is none, or there are several kinds.
    """
    with reading(source):
        is_file, is_folder, exists = source.is_file(), source.is_dir(), source.exists()
    if is_file:
        if kind_of(source) is None:
            way_out = next((UNREAD[e] for e in UNREAD if source.name.lower().endswith(e)), "")
            raise DataError(
                f"{source} is not a table: its name must end in {listed(list(KINDS))}."
                f" {way_out}".rstrip()
            )
        return [source], []
    if not is_folder:
        if exists:
            raise DataError(f"{source} is neither a file nor a folder. Check {asked_by}.")
        raise DataError(
            f"{source} is not there. Check {asked_by}"
            f"{'' if asked_by.startswith('--') else ' in params.yaml'}, or fetch the data with"
            " `dvc pull`."
        )
    with reading(source):
        inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    paths = [path for path in inside if kind_of(path) and path.is_file()]
    if not paths:
        names = listed([path.name for path in inside]) or "nothing"
        endings = {ending for path in inside for ending in UNREAD if path.name.endswith(ending)}
        ways_out = dict.fromkeys(UNREAD[ending] for ending in UNREAD if ending in endings)
        folders = [path.name for path in inside if path.is_dir()]
        if len(folders) == len(inside) == 1:
            ways_out[f"Folders inside are not read: set {asked_by} to that of {names}."] = None
        raise DataError(
            " ".join(
                [
                    f"{source} holds no table, which would end in {listed(list(KINDS))}."
                    f" It holds: {names}.",
                    *ways_out,
                ]
            )
        )
    kinds = {kind_of(path): path.name for path in reversed(paths)}
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


@dataclass(frozen=True)
class Extent:
    """What all values of a column decide about how pandas holds any of them."""

    empty: bool
    """Whether there is none."""
    gaps: bool
    """Whether any is missing."""
    large: bool
    """Whether whole numbers are too large for floats."""

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Self:
        """Look at a whole column."""
        gaps = column.null_count > 0
        large = False
        if column.null_count < len(column) and gaps and pa.types.is_integer(column.type):
            bounds = pc.min_max(column).as_py()
            large = cls.beyond(bounds["min"], bounds["max"])
        return cls(column.null_count == len(column), gaps, large)

    @staticmethod
    def beyond(low: int, high: int) -> bool:
        """Tell whether a float would round one of two whole numbers."""
        return max(abs(low), abs(high)) > MAX_EXACT


def to_pandas(column: pa.ChunkedArray, extent: Extent | None = None) -> pd.Series:
    """Hand a column over to pandas, whose defaults round large integers and box truth values.

    Parameters
    ----------
    column : pa.ChunkedArray
        The column, or a piece of it.
    extent : Extent, optional
        Of the whole column, where this is a piece of it.
    """
    whole = extent or Extent.of(column)
    if whole.empty:
        return pd.Series(np.nan, index=range(len(column)))
    if whole.gaps and pa.types.is_integer(column.type):
        if whole.large:
            nullable = pd.UInt64Dtype() if pa.types.is_uint64(column.type) else pd.Int64Dtype()
            return column.to_pandas(types_mapper=lambda _: nullable)
        # A piece may have no gap of its own.
        return column.to_pandas().astype("float64")
    if whole.gaps and pa.types.is_boolean(column.type):
        return column.to_pandas(types_mapper=lambda _: pd.BooleanDtype())
    return column.to_pandas()

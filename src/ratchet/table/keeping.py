"""Writes and reads the parts of a prepared table, and knows a row again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet import files
from ratchet.errors import RatchetError
from ratchet.table.opening import reason
from ratchet.table.width import rows_of_group


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
        # Without checksums a byte that a disk has turned would be a number like any other.
        pq.write_table(table, fresh, write_page_checksum=True)
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise RatchetError(f"Can't write {path}: {files.reason(error)}.") from error


class PartWriter:
    """Writes a frame piece by piece, as ``write_parquet`` writes it at once but in more groups."""

    def __init__(self, path: Path) -> None:
        """Write to a file, whose folder is the caller's to put in its place when all is done."""
        self._path = path
        self._waiting: list[pa.Table] = []
        self._file: pq.ParquetWriter | None = None
        self.n_rows = 0
        """Rows so far."""

    def add(self, frame: pd.DataFrame) -> None:
        """Put more rows behind those that are there.

        Raises
        ------
        RatchetError
            If they can't be written.
        """
        rows = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if self._file is None:
            with _writing(self._path):
                self._file = pq.ParquetWriter(self._path, rows.schema, write_page_checksum=True)
        self._waiting.append(rows.cast(self._file.schema))
        self.n_rows += len(rows)
        group = rows_of_group(rows.num_columns)
        while sum(map(len, self._waiting)) >= group:
            self._write(group)

    def close(self) -> None:
        """Write what waits, and end the file."""
        if self._waiting:
            self._write(sum(map(len, self._waiting)))
        if self._file is not None:
            with _writing(self._path):
                self._file.close()

    def _write(self, rows: int) -> None:
        assert self._file is not None
        table = pa.concat_tables(self._waiting)
        with _writing(self._path):
            self._file.write_table(table.slice(0, rows).combine_chunks())
        rest = table.slice(rows)
        self._waiting = [rest] if len(rest) else []


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RatchetError(f"Can't write {path}: {files.reason(error)}.") from error


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
    with reading_part(path, made_by):
        # A plain read: the folder of the file must not add columns of its own.
        return pq.ParquetFile(path, page_checksum_verification=True).read().to_pandas()


def read_array(path: Path, made_by: str) -> np.ndarray:
    """Read what ``numpy.save`` wrote, without the objects that only a pickle could hold.

    Parameters
    ----------
    path : Path
        File to read.
    made_by : str
        Name of the step that writes it, for the message.

    Raises
    ------
    RatchetError
        If it isn't there, or is no array of plain values.
    """
    with reading_part(path, made_by, "array of plain values"):
        array: np.ndarray = np.load(path, allow_pickle=False)
    return array


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


def _hashable(column: pd.Series) -> pd.Series:
    types = pd.api.types
    if types.is_numeric_dtype(column):
        # Adding 0 turns the other zero, -0.0, into 0.0.
        values = column.to_numpy("float64", na_value=np.nan) + 0.0
        return pd.Series(values, column.index)
    if types.is_datetime64_dtype(column):
        return column.astype("datetime64[us]")
    return column.astype("object").where(column.notna(), None)


@contextmanager
def reading_part(path: Path, made_by: str, what: str = "parquet file") -> Iterator[None]:
    """Say what is wrong with a file that a step has written, and which step writes it again."""
    try:
        yield
    except FileNotFoundError:
        raise RatchetError(f"{path} is not there. Run the step {made_by} first.") from None
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise RatchetError(
            f"{path} is not a whole {what} ({reason(error)}). Run the step {made_by} again."
        ) from None

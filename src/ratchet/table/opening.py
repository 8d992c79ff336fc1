"""What the readers share: a file is opened and its columns named, or a sentence says why not."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ratchet.errors import DataError
from ratchet.expressions import listed, no_column

KINDS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
}


@dataclass(frozen=True)
class Content:
    """Files as one table in memory."""

    header: list[str]
    """Columns that any of the files has."""
    table: pa.Table
    rows_per_file: tuple[int, ...]
    notes: list[str]


def kind_of(path: Path) -> str | None:
    """Tell by its name what kind of table a file is; None for none."""
    name = path.name.lower()
    return next((kind for ending, kind in KINDS.items() if name.endswith(ending)), None)


@contextmanager
def reading(path: Path, *, parquet: bool = False) -> Iterator[None]:
    """Tell in a sentence why a file can't be read."""
    try:
        yield
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
        if parquet and not isinstance(error, PermissionError):
            raise DataError(
                f"{path} is not a whole parquet file ({reason(error)}). Write or fetch it again."
            ) from None
        raise DataError(f"{path} can't be read: {reason(error)}.") from None


def all_names(headers: Sequence[Sequence[str]]) -> list[str]:
    """Columns that any of the files has, in the order in which they appear."""
    return list(dict.fromkeys(name for header in headers for name in header))


def refuse_empty(path: Path) -> None:
    """Refuse a file of 0 bytes."""
    with reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
    if not size:
        raise DataError(f"{path} is empty (0 bytes). Write or fetch it again.")


def refuse_names(names: Sequence[str], path: Path) -> None:
    """Refuse columns that have no name, or one name together."""
    if not names:
        raise DataError(f"{path} has no columns. Write or fetch it again.")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    nameless = [number for number, name in enumerate(names, start=1) if not name.strip()]
    if nameless:
        raise DataError(
            f"{path} has a column without a name, number {nameless[0]}. Give it one, or"
            " write the table without its row numbers."
        )
    if twice:
        raise DataError(f"{path} has more than one column called {listed(twice)}. Rename them.")


def common_names(
    headers: Sequence[Sequence[str]],
    paths: Sequence[Path],
    wanted: Collection[str] | None,
    drop: Collection[str],
) -> list[str]:
    """Columns to read, in the order of the first file; every file must have them.

    One that some files lack is no fault if it is dropped anyway.
    """
    for name in wanted or ():
        for header, path in zip(headers, paths, strict=True):
            if name not in header:
                raise DataError(f"{path.name}: {no_column(name, header)}")
    if wanted is not None:
        return [name for name in headers[0] if name in wanted]
    partial = {name for header in headers for name in drop if name not in header}
    for header, path in zip(headers, paths, strict=True):
        lacking = [name for name in headers[0] if name not in header and name not in partial]
        added = [name for name in header if name not in headers[0] and name not in partial]
        if lacking or added:
            differences = [
                *([f"{path.name} lacks {listed(lacking)}"] if lacking else []),
                *([f"{paths[0].name} lacks {listed(added)}"] if added else []),
            ]
            raise DataError(
                f"The files have different columns: {' and '.join(differences)}."
                " Keep files with the same columns in one folder, or name columns that some lack"
                " in data.drop."
            )
    return [name for name in headers[0] if name not in partial]


def place(position: int, files: Sequence[Path], rows_per_file: Sequence[int]) -> str:
    """Say where the row at a position of all rows stands, counted from 1 in its file."""
    ends = np.cumsum(rows_per_file)
    number = int(np.searchsorted(ends, position, side="right"))
    row = position - int(ends[number]) + rows_per_file[number] + 1
    return f"row {row:,}" if len(files) == 1 else f"row {row:,} of {files[number].name}"


def reason(error: BaseException) -> str:
    """Put what an error says into half a sentence."""
    text = getattr(error, "strerror", None) or str(error)
    return short(" ".join(text.split()).rstrip("."))


def short(text: str) -> str:
    """Cut a text that is too long for a message."""
    return text if len(text) <= 120 else f"{text[:117]}..."

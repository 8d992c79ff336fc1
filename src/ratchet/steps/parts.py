"""The parts of a prepared table: what they are called, and how much of them fits in memory."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet import leakage, memory, splits, table
from ratchet.errors import DataError
from ratchet.evaluation import time_blocks
from ratchet.project import Project
from ratchet.settings import Split, SplitMethod
from ratchet.table import Stored

PARTS = ("train", "valid", "test")
"""Names of the parts."""

CLUSTER = "ratchet_cluster"
"""Column that says which rows stand or fall together: the codes of groups, or in the test rows
of blocks of time, which the bootstrap draws whole."""

ROW = "ratchet_row"
"""Column with a hash of the row as the source has it, by which it is known again."""

# A sample gets so small a share of the limit, since families keep copies of it for each
# preparation, and a forest's trees beside them; and it has so many rows at least, and at most,
# from where families are no better for more and cost their time.
SHARE_OF_SAMPLE = 1 / 40
LEAST_SAMPLE = 20_000
MOST_SAMPLE = 1_000_000
# Of a wide table it may be fewer, as long as they hold so many values.
_LEAST_VALUES, _LEAST_OF_WIDE = 2**21, 5_000
# Fewer rows tell two candidates apart than teach them.
VALID_OF_TRAIN = 1 / 4


@dataclass(frozen=True)
class Part:
    """One part, and which of its rows a step may have in memory."""

    stored: Stored
    """Where it lies."""
    places: np.ndarray | None
    """Places of the rows of a sample, sorted; None where all rows fit."""

    @property
    def n_rows(self) -> int:
        """All its rows."""
        return self.stored.n_rows

    def frame(self) -> pd.DataFrame:
        """Read the rows, or the sample of them."""
        if self.places is None:
            return table.read_parquet(self.stored.path, self.stored.made_by)
        return self.stored.rows(self.places)

    @cached_property
    def hashes(self) -> np.ndarray:
        """Hashes of all rows, in their order."""
        return self.stored.column(ROW).to_numpy()

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Codes of all rows that stand or fall together, if there are any."""
        if CLUSTER not in self.stored.names:
            return None
        return self.stored.column(CLUSTER).to_numpy()


def part(project: Project, name: str, *, n_sample: int | None = None) -> Part:
    """Look at one of train, valid and test; of one that doesn't fit a sample is read.

    Parameters
    ----------
    project : Project
        Whose it is.
    name : str
        One of ``PARTS``.
    n_sample : int, optional
        Rows of the sample; None goes by the memory, and 0 reads all rows.

    Raises
    ------
    RatchetError
        If prepare has not run.
    """
    stored = _stored(project, name)
    most = _most_rows(project, stored, name) if n_sample is None else n_sample
    if not most or most >= stored.n_rows:
        return Part(stored, None)
    return Part(stored, splits.sample(stored.n_rows, most, project.settings.seed))


def refuse_own_names(columns: Collection[str]) -> None:
    """Refuse a table with a column of a name that prepare gives itself.

    Raises
    ------
    DataError
        Naming the column.
    """
    taken = [name for name in (ROW, CLUSTER) if name in columns]
    if taken:
        raise DataError(
            f"The table has a column {taken[0]!r}, a name that prepare gives itself. Rename it, or"
            " name it in data.drop."
        )


def carried(project: Project, columns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the columns that are carried along, and those of them that are features all the same.

    Parameters
    ----------
    project : Project
        Whose settings say how rows are dealt.
    columns : sequence of str
        Columns of the table.
    """
    choices = project.settings
    by = (choices.split.column,) if choices.split.column else ()
    # What time of the day or week it is says much, and the age of a row is left out elsewhere;
    # a group says nothing about those that are not in training.
    visible = by if choices.split.method is SplitMethod.TIME else ()
    return (*by, *leakage.watched(columns, choices.data)), visible


def digest_of(hashes: np.ndarray) -> str:
    """Name a set of rows by their hashes, whatever their order."""
    return hashlib.sha256(np.sort(hashes).tobytes()).hexdigest()[:16]


def together(split: Split, by: pd.Series) -> np.ndarray:
    """Give the codes of rows that stand or fall together, from the values of ``split.column``.

    Parameters
    ----------
    split : Split
        How rows are dealt: by time or by groups.
    by : pd.Series of shape (n_rows,)
        Times or groups.
    """
    return time_blocks(by) if split.method is SplitMethod.TIME else pd.factorize(by)[0]


def _stored(project: Project, name: str) -> Stored:
    return Stored.open(project.prepared / f"{name}.parquet", made_by="prepare")


def _most_rows(project: Project, stored: Stored, name: str) -> int:
    """Give the rows of a sample of a part; 0 where all of them fit."""
    limit = project.settings.data.memory_limit_mb
    learned = ("train", "valid")
    at_once = [_stored(project, each) for each in learned] if name in learned else [stored]
    if memory.fits(sum(each.n_bytes for each in at_once), limit):
        return 0
    share = SHARE_OF_SAMPLE if name == "train" else SHARE_OF_SAMPLE * VALID_OF_TRAIN
    room = share * memory.limit(limit) * stored.n_rows / max(1, stored.n_bytes)
    least = table.shared(_LEAST_VALUES, len(stored.names), _LEAST_OF_WIDE, LEAST_SAMPLE)
    return int(np.clip(room, least, MOST_SAMPLE))

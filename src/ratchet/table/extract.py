"""Takes from a table of any size some rows that tell what all of them are like."""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from ratchet.table.long import LongTable
from ratchet.table.reading import Table

# Classes of which each must be there; with more different values it is no class.
_MOST_CLASSES = 1_000
# Rows of a fault that are shown.
_SHOWN = 3


class Extract:
    """Draws rows by chance, and adds those that show what a few rows would not.

    A column of one value, or without any, is left out; a missing or infinite
    value of the target is refused; and a class must be known. So the first
    rows that make a difference there are kept whether they are drawn or not.
    """

    def __init__(self, seed: int, most: int) -> None:
        """Draw so many rows at most; a table of no more is there as a whole."""
        self._seed, self._most = seed, most
        self._drawn: list[pd.DataFrame] = []
        self._keys: list[np.ndarray] = []
        self._below = 2**64
        self._shown: dict[Hashable, pd.DataFrame] = {}
        self._first: pd.Series | None = None
        self._ends: dict[Hashable, object] = {}
        self._classes: set[object] | None = set()

    def see(self, piece: Table, kept: np.ndarray, y: pd.Series | None) -> None:
        """Look at more rows of the table.

        Parameters
        ----------
        piece : Table
            The next rows.
        kept : np.ndarray of shape (n_rows,)
            bool, which of them count.
        y : pd.Series of shape (n_rows,), optional
            Their target.
        """
        if not kept.any():
            return
        assert piece.positions is not None
        rows = piece.frame[kept].set_axis(piece.positions[kept])
        self._draw(rows)
        if self._first is None:
            self._show("first", rows, np.arange(1))
            self._first = pd.Series({name: rows[name].iloc[0] for name in rows}, dtype=object)
        for name in rows:
            self._look(str(name), rows)
        if y is not None:
            self._look_at_target(y[kept].set_axis(rows.index), rows)

    def table(self, source: LongTable) -> Table:
        """Give the rows that were taken, in their order."""
        if sum(map(len, self._keys)) > self._most:
            self._prune()
        frame = pd.concat([*self._drawn, *self._shown.values()])
        frame = frame[~frame.index.duplicated()].sort_index()
        return source.table(frame.reset_index(drop=True), frame.index.to_numpy())

    def _draw(self, rows: pd.DataFrame) -> None:
        keys = _scattered(rows.index.to_numpy(), self._seed)
        chosen = keys < np.uint64(self._below) if self._below < 2**64 else slice(None)
        # A copy, or the memory of the whole piece would be kept for some of its rows.
        self._drawn.append(rows[chosen].copy())
        self._keys.append(keys[chosen])
        # Not after each piece, as it copies all of them.
        if sum(map(len, self._keys)) > 1.5 * self._most:
            self._prune()

    def _prune(self) -> None:
        keys = np.concatenate(self._keys)
        self._below = int(np.partition(keys, self._most)[self._most])
        frame = pd.concat(self._drawn)
        fewer = keys < np.uint64(self._below)
        self._drawn, self._keys = [frame[fewer]], [keys[fewer]]

    def _show(self, why: Hashable, rows: pd.DataFrame, places: np.ndarray) -> None:
        self._shown[why] = rows.iloc[places]

    def _look(self, name: str, rows: pd.DataFrame) -> None:
        assert self._first is not None
        column = rows[name]
        gaps = column.isna().to_numpy()
        first = self._first[name]
        other = ~gaps if pd.isna(first) else gaps | (column != first).fillna(True).to_numpy(bool)
        self._once(("other", name), rows, other)
        self._once(("gap", name), rows, gaps)
        types = pd.api.types
        if types.is_float_dtype(column):
            self._some(("infinite", name), rows, np.isinf(column.to_numpy("float64")))
        elif types.is_datetime64_any_dtype(column) and not gaps.all():
            self._end(("first", name), rows, column, int(column.argmin()), -1)
            self._end(("last", name), rows, column, int(column.argmax()), 1)
        elif types.is_integer_dtype(column) and not gaps.all():
            size = column.abs()
            self._end(("largest", name), rows, size, int(size.argmax()), 1)
        elif isinstance(column.dtype, pd.StringDtype) and ("twice", name) not in self._shown:
            again = np.flatnonzero(column.duplicated(keep=False) & ~gaps)
            if len(again):
                same = np.flatnonzero((column == column.iloc[again[0]]).to_numpy(bool))
                self._show(("twice", name), rows, same[:2])

    def _look_at_target(self, y: pd.Series, rows: pd.DataFrame) -> None:
        gaps = y.isna().to_numpy()
        self._some(("missing", "target"), rows, gaps)
        if pd.api.types.is_float_dtype(y):
            values = y.to_numpy("float64", na_value=np.nan)
            self._some(("infinite", "target"), rows, np.isinf(values))
            broken = np.isfinite(values) & (values % 1 != 0)
            self._once(("fraction", "target"), rows, broken)
            if broken.any():
                self._classes = None
        if self._classes is None:
            return
        for value, place in zip(*np.unique(y[~gaps].to_numpy(), return_index=True), strict=True):
            if value not in self._classes:
                self._classes.add(value)
                self._show(("class", value), rows[~gaps], np.array([place]))
        if len(self._classes) > _MOST_CLASSES:
            self._classes = None

    def _once(self, why: Hashable, rows: pd.DataFrame, marked: np.ndarray) -> None:
        if why not in self._shown and marked.any():
            self._show(why, rows, np.array([int(marked.argmax())]))

    def _some(self, why: Hashable, rows: pd.DataFrame, marked: np.ndarray) -> None:
        known = self._shown.get(why)
        if marked.any() and (known is None or len(known) < _SHOWN):
            more = rows.iloc[np.flatnonzero(marked)[:_SHOWN]]
            self._shown[why] = more if known is None else pd.concat([known, more])[:_SHOWN]

    def _end(
        self, why: Hashable, rows: pd.DataFrame, values: pd.Series, place: int, sign: int
    ) -> None:
        """Keep the row with the smallest or largest value so far."""
        value = values.iloc[place]
        known = self._ends.get(why)
        if known is None or (value > known if sign > 0 else value < known):
            self._ends[why] = value
            self._show(why, rows, np.array([place]))


def _scattered(positions: np.ndarray, seed: int) -> np.ndarray:
    """Give each row a number that looks drawn, whatever piece it comes in.

    References
    ----------
    Steele, G. L., Lea, D. and Flood, C. H. (2014). Fast Splittable
    Pseudorandom Number Generators. OOPSLA 2014.
    """
    start = np.random.SeedSequence(seed).generate_state(1, "uint64")[0]
    with np.errstate(over="ignore"):
        z = start + positions.astype("uint64") * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

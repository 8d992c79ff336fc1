"""prepare for a table that doesn't fit in memory: row groups in, row groups out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet import datachecks, drift, files, leakage, memory, profile, splits, table
from ratchet.datachecks import Rules, Tally
from ratchet.drift import Reference
from ratchet.errors import DataError
from ratchet.leakage import Finding
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.settings import SplitMethod
from ratchet.splits import Splits
from ratchet.steps.parts import CLUSTER, PARTS, ROW, carried, refuse_own_names, together
from ratchet.table import (
    Counting,
    Extract,
    LongTable,
    PartWriter,
    Prepared,
    Stored,
    Table,
)

# Code of rows that are in no part.
_STRAY = len(PARTS)


def is_needed(project: Project) -> bool:
    """Tell whether the table is too large to be prepared at once."""
    limit = project.settings.data.memory_limit_mb
    return not memory.fits(table.bytes_of_source(project.source), limit)


@contextmanager
def made(project: Project, rules: Rules | None) -> Iterator["InPieces"]:
    """Read, check, filter and deal a table a piece at a time; its parts wait on disk.

    The rows are dealt as they are at once: whether a row is a test row must
    not depend on the memory of the machine.

    Parameters
    ----------
    project : Project
        Whose table it is.
    rules : Rules, optional
        What the table must be like.

    Raises
    ------
    DataError
        If the table can't be read or learned from, or breaks a rule.
    """
    with files.passing_folder(project.build / "pieces") as folder:
        long = LongTable.open(project.source, project.settings.data.drop)
        seen = _Seen.of(project, long, rules)
        yield _dealt(project, long, seen, folder)


@dataclass(frozen=True)
class InPieces:
    """A table that has been dealt, with the parts on disk."""

    project: Project
    """Whose table it is."""
    folder: Path
    """Where the parts wait."""
    schema: Schema
    """What the columns are."""
    n_read: int
    """Rows of the table."""
    n_filtered_out: int
    """Rows that ``data.filter`` left out."""
    n_stray: int
    """Rows that are in no part."""
    findings: tuple[Finding, ...]
    """Leaks."""
    notes: tuple[str, ...]
    """What a reader of the table ought to know."""
    checked: datachecks.Report | None
    """What came out of the checks of ``data.checks``."""
    clock: pd.Series | None
    """The time that each row that was kept is dealt by."""
    codes: np.ndarray
    """The part that each row that was kept is in, by its number in ``PARTS``."""
    n_sampled: int
    """Rows that tell what all are like, at most."""

    @cached_property
    def parts(self) -> dict[str, Stored]:
        """Where each part lies until it is moved."""
        return {
            name: Stored.open(self.folder / f"{name}.parquet", made_by="prepare") for name in PARTS
        }

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: int((self.codes == code).sum()) for code, name in enumerate(PARTS)}

    def write_parts(self, folder: Path) -> None:
        """Move the parts to the folder in which they belong."""
        for stored in self.parts.values():
            stored.path.replace(folder / stored.path.name)

    @cached_property
    def heads(self) -> dict[str, pd.DataFrame]:
        """The first rows of each part."""
        return {name: next(stored.pieces(1000)) for name, stored in self.parts.items()}

    @cached_property
    def profiled(self) -> pd.DataFrame:
        """The training rows that the profile shows."""
        places = profile.shown(self.rows["train"], len(self._plain(self.heads["train"]).columns))
        return self._plain(self.parts["train"].rows(places))

    @cached_property
    def reference(self) -> Reference:
        """The rows that the leader will be fitted on, told from some of them."""
        learned = np.flatnonzero(self.codes <= PARTS.index("valid"))
        seed, choices = self.project.settings.seed, self.project.settings
        places = learned[splits.sample(len(learned), self.n_sampled, seed)]
        taken = []
        for code, name in enumerate(PARTS[:2]):
            own = self.codes[places] == code
            among = np.cumsum(self.codes == code)[places[own]] - 1
            taken.append(self.parts[name].rows(among).set_axis(places[own]))
        frame = self._plain(pd.concat(taken).sort_index().reset_index(drop=True))
        clock = None if self.clock is None else self.clock.iloc[places].reset_index(drop=True)
        found = Reference.of(
            frame,
            self.schema,
            growing=drift.growing(frame, self.schema.columns, clock),
            sample_rows=choices.monitor.sample_rows,
            seed=seed,
        )
        return replace(found, n_rows=len(learned))

    @staticmethod
    def _plain(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(columns=[ROW, CLUSTER], errors="ignore")


@dataclass(frozen=True)
class _Seen:
    """What the first look at all rows has told."""

    extract: Table
    """Rows that tell what all are like; all of them where they are few."""
    n_kept: int
    checked: datachecks.Report | None
    labels: np.ndarray | None
    """Codes of the classes, where they deal the rows."""
    by: pd.Series | None
    """Groups, as codes in their order, or times."""
    groups: np.ndarray | None
    """Codes of the groups in the order in which they appear."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, project: Project, long: LongTable, rules: Rules | None) -> "_Seen":
        choices = project.settings
        data, column, method = choices.data, choices.split.column, choices.split.method
        refuse_own_names(list(long.extents))
        checking = None if rules is None else _Checking(rules, long, data.drop)
        extract = Extract(choices.seed, table.rows_of_sample(len(long.extents)))
        labels = _Codes() if method is SplitMethod.STRATIFIED else None
        groups = _Codes() if method is SplitMethod.GROUP else None
        times: list[pd.Series] = []
        n_kept = 0
        fault: DataError | None = None
        for piece in long.pieces():
            try:
                y, kept = table.target_and_rows(piece, data, (column,) if column else ())
            except DataError as error:
                if checking is None:
                    raise
                # As at once, what the checks say of the table is heard first.
                fault, y, kept = error, None, np.ones(len(piece.frame), dtype=bool)
            if checking is not None:
                checking.see(piece, kept)
            if fault is not None:
                continue
            n_kept += int(kept.sum())
            extract.see(piece, kept, y)
            if labels is not None and y is not None:
                labels.see(y[kept])
            if groups is not None:
                groups.see(piece.frame[column][kept])
            if method is SplitMethod.TIME:
                times.append(piece.frame[column][kept])
        checked = None if checking is None else checking.report()
        if checked is not None:
            datachecks.refuse(checked, str(data.checks))
        if fault is not None:
            raise fault
        if not n_kept:
            raise DataError(
                f"data.filter keeps none of the {long.n_rows:,} rows: {data.filter}."
                " Check it against the values of the table."
            )
        by = groups.ordered(str(column)) if groups is not None else None
        return cls(
            extract=extract.table(long),
            n_kept=n_kept,
            checked=checked,
            labels=None if labels is None else labels.of_classes(),
            by=pd.concat(times, ignore_index=True) if times else by,
            groups=None if groups is None else groups.codes,
            notes=() if checking is None else checking.notes,
        )


def _dealt(project: Project, long: LongTable, seen: _Seen, folder: Path) -> InPieces:
    """Deal the rows, and write each to its part."""
    choices = project.settings
    by = choices.split.column
    keep, visible = carried(project, list(long.extents))
    prepared = table.prepare_table(
        seen.extract, choices.data, choices.train.problem, keep=keep, visible=visible
    )
    labels = seen.labels if prepared.schema.problem.is_classification else None
    dealt = splits.split(seen.n_kept, choices.split, choices.seed, labels=labels, by=seen.by)
    codes = np.full(seen.n_kept, _STRAY, dtype=np.uint8)
    for code, name in enumerate(PARTS):
        codes[getattr(dealt, name)] = code
    dealt = replace(dealt, train=dealt.train[:0], valid=dealt.valid[:0], test=dealt.test[:0])
    extracted = _Extracted(seen.extract.positions)
    n_sampled = table.rows_of_sample(len(long.extents))
    copies = _Copies(prepared, seen.n_kept, n_sampled)
    writing = _Writing(project, seen, codes, folder)
    counting = Counting(prepared.schema)
    before = 0
    for piece in long.pieces():
        y, kept = table.target_and_rows(piece, choices.data, (by,) if by else ())
        hashes = table.row_hashes(piece.frame)[kept]
        rows = piece.frame[kept]
        frame = table.like_prepared(rows, None if y is None else y[kept], prepared)
        own = codes[before : before + len(frame)]
        extracted.see(piece, kept, own)
        copies.see(frame, own)
        counting.see(frame[own == PARTS.index("train")])
        writing.see(frame, hashes, before)
        before += len(frame)
    writing.close()
    report = leakage.look(
        prepared.with_computed(),
        _splits(extracted.codes, dealt.notes),
        choices.split,
        seed=choices.seed,
        allow=choices.data.allow,
        copies=copies.found(),
    )
    notes = (*long.notes, *seen.notes, *prepared.notes, *dealt.notes, *report.notes)
    return InPieces(
        project=project,
        folder=folder,
        schema=counting.schema(),
        n_read=long.n_rows,
        n_filtered_out=long.n_rows - seen.n_kept,
        n_stray=int((codes == _STRAY).sum()),
        findings=report.findings,
        notes=(*notes, *_sampled(seen.n_kept, n_sampled)),
        checked=seen.checked,
        clock=seen.by if choices.split.method is SplitMethod.TIME else None,
        codes=codes,
        n_sampled=n_sampled,
    )


def _sampled(n_kept: int, most: int) -> Iterator[str]:
    if n_kept > most:
        yield (
            f"What columns hold, leaks and the reference of monitor are told from {most:,} of"
            f" {n_kept:,} rows, drawn by chance: the table does not fit in memory."
        )


def _splits(codes: np.ndarray, notes: tuple[str, ...] = ()) -> Splits:
    train, valid, test, stray = (
        np.flatnonzero(codes == code) for code in (*range(len(PARTS)), _STRAY)
    )
    return Splits(train, valid, test, stray, notes)


class _Codes:
    """Numbers the values of a column in the order in which they appear."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._codes: list[np.ndarray] = []

    def see(self, values: pd.Series) -> None:
        local, distinct = pd.factorize(values)
        new = [self._known.setdefault(each, len(self._known)) for each in distinct]
        among = np.array([*new, -1], dtype=np.int32)
        self._codes.append(among[local])

    @cached_property
    def codes(self) -> np.ndarray:
        """The number of each row's value; -1 where it is missing."""
        return np.concatenate(self._codes)

    @cached_property
    def _ranks(self) -> np.ndarray:
        order = pd.factorize(pd.Series(list(self._known)), sort=True)[0]
        return order.astype(np.int32)

    def ordered(self, name: str) -> pd.Series:
        """Give each row the place of its value among the sorted ones; NaN where it is missing."""
        if (self.codes < 0).any():
            ranks = np.where(self.codes < 0, np.nan, self.codes)
            return pd.Series(ranks, name=name)
        return pd.Series(self._ranks[self.codes], name=name)

    def of_classes(self) -> np.ndarray:
        """Give the same as an array, if each class has enough rows."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self._known))
        few = np.minimum(counts, splits.MIN_PER_CLASS)
        if self._known and not (self.codes < 0).any():
            splits.enough_of_each(np.repeat(np.array(list(self._known)), few))
        return self._ranks[self.codes]


class _Checking:
    """Asks the rules of ``data.checks`` about one piece after the other."""

    def __init__(self, rules: Rules, long: LongTable, drop: tuple[str, ...]) -> None:
        self._columns = [name for name in long.extents if name not in drop]
        dropped = set(drop) - set(self._columns)
        asked = {name: each for name, each in rules.columns.items() if name not in dropped}
        self._rules = rules.model_copy(update={"columns": asked})
        self._long = long
        self._by_file: dict[str, Tally] = {path.name: Tally() for path in long.paths}
        self._ends = np.cumsum(long.rows_per_file)
        unique = [name for name, each in asked.items() if each.unique]
        self.notes = tuple(
            f"That no value of {name!r} stands in two rows is not checked: the table does not fit"
            " in memory."
            for name in unique
        )

    def see(self, piece: Table, kept: np.ndarray) -> None:
        assert piece.positions is not None
        places = np.flatnonzero(kept)
        tally = Tally.of(
            piece.frame[self._columns].iloc[places],
            self._rules,
            only=list(self._rules.columns),
            place=lambda position: piece.place(int(places[position])),
        )
        number = int(np.searchsorted(self._ends, piece.positions[0], side="right"))
        self._by_file[self._long.paths[number].name] += tally

    def report(self) -> datachecks.Report:
        only = list(self._rules.columns)
        whole = sum(self._by_file.values(), Tally())
        found = whole.report(self._rules, only=only, table=self._columns)
        told = {(each.column, each.rule) for each in found.failures}
        more = [
            replace(each, told=f"In {name}, {each.told}")
            for name, tally in self._by_file.items()
            if len(self._by_file) > 1 and tally.n_rows
            for each in tally.report(self._rules, only=only).failures
            if (each.column, each.rule) not in told
        ]
        return replace(found, failures=(*found.failures, *more))


class _Extracted:
    """Finds out in which part each row of the extract is."""

    def __init__(self, positions: np.ndarray | None) -> None:
        assert positions is not None
        self._positions = positions
        self._codes: list[np.ndarray] = []

    def see(self, piece: Table, kept: np.ndarray, codes: np.ndarray) -> None:
        assert piece.positions is not None
        own = piece.positions[kept]
        self._codes.append(codes[np.isin(own, self._positions, assume_unique=True)])

    @property
    def codes(self) -> np.ndarray:
        return np.concatenate(self._codes)


class _Copies:
    """Takes rows by what they hold, so that of equal rows all are taken or none."""

    def __init__(self, prepared: Prepared, n_rows: int, n_sampled: int) -> None:
        self._names = leakage.compared(prepared.frame, prepared.schema)
        self._one_of = -(-n_rows // n_sampled)
        self._frames: list[pd.DataFrame] = []
        self._codes: list[np.ndarray] = []

    def see(self, frame: pd.DataFrame, codes: np.ndarray) -> None:
        if self._one_of == 1:  # the extract has all rows
            return
        taken = table.row_hashes(frame[self._names]) % np.uint64(self._one_of) == 0
        self._frames.append(frame[taken])
        self._codes.append(codes[taken])

    def found(self) -> tuple[pd.DataFrame, Splits] | None:
        if self._one_of == 1:
            return None
        frame = pd.concat(self._frames, ignore_index=True)
        return frame, _splits(np.concatenate(self._codes))


class _Writing:
    """Writes each row to its part, with what it is known by."""

    def __init__(self, project: Project, seen: _Seen, codes: np.ndarray, folder: Path) -> None:
        self._codes = codes
        self._writers = [PartWriter(folder / f"{name}.parquet") for name in PARTS]
        self._clusters: list[np.ndarray | None] = [None, None, None]
        split = project.settings.split
        test = codes == PARTS.index("test")
        if seen.groups is not None:
            groups = seen.groups
            self._clusters = [groups[codes == code] for code in range(len(PARTS))]
            self._clusters[-1] = together(split, pd.Series(groups[test]))
        elif seen.by is not None:
            self._clusters[-1] = together(split, seen.by[test].reset_index(drop=True))

    def see(self, frame: pd.DataFrame, hashes: np.ndarray, before: int) -> None:
        own = self._codes[before : before + len(frame)]
        for code, writer in enumerate(self._writers):
            chosen = own == code
            rows = frame[chosen].reset_index(drop=True).assign(**{ROW: hashes[chosen]})
            clusters = self._clusters[code]
            if clusters is not None:
                at = writer.n_rows
                rows[CLUSTER] = clusters[at : at + len(rows)].astype("int64")
            writer.add(rows)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

"""Answers for files of any size: read, asked and written a piece at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ratchet.datachecks import Holds, Report, Rules, Tally
from ratchet.errors import DataError
from ratchet.schema import Kind, Schema
from ratchet.serving import jobs, rows
from ratchet.serving.columns import AnswerColumns
from ratchet.serving.jobs import Job, Result
from ratchet.table import Piece, TableFile

# Pieces that may wait to be written.
_WAITING = 1
_KINDS = {
    Holds.NUMBER: Kind.NUMBER,
    Holds.WHOLE: Kind.NUMBER,
    Holds.BOOLEAN: Kind.BOOLEAN,
    Holds.DATETIME: Kind.DATETIME,
    Holds.TEXT: Kind.TEXT,
}


@dataclass(frozen=True)
class Ready:
    """A piece that has been read."""

    piece: Piece
    """Its rows as they are."""
    features: pd.DataFrame
    """As the model takes them."""
    tally: Tally
    """What the rules say of them."""


@dataclass(frozen=True)
class Inputs:
    """Files, and how a piece of them becomes what the model takes."""

    schema: Schema
    """The model's columns."""
    rules: Rules | None
    """What rows must be like; None asks nothing."""
    files: Sequence[TableFile]
    """The files, in their order."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """What the model's columns hold; labels that are numbers are read as such."""
        return {
            column.name: Kind.NUMBER
            if column.kind is Kind.CATEGORY and column.dtype == "float64"
            else column.kind
            for column in self.schema.columns
        }

    @property
    def checked_kinds(self) -> dict[str, Kind]:
        """The same as the rules say it, which are about a table as it was read."""
        rules = self.rules.columns if self.rules is not None else {}
        said = {name: rules[name].holds for name in self.kinds if name in rules}
        return self.kinds | {name: _KINDS[holds] for name, holds in said.items() if holds}

    def refuse_columns(self) -> None:
        """Refuse files that lack a column, before any work is done.

        Raises
        ------
        DataError
            Naming the file.
        """
        for file in self.files:
            try:
                rows.accept(pd.DataFrame(columns=file.schema.names), self.schema)
            except DataError as error:
                raise DataError(f"{file.path.name}: {error}") from None

    def pieces(self, number: int, rows_at_once: int, start: int = 0) -> Iterator[Ready]:
        """Read a file from a row on.

        Raises
        ------
        DataError
            If a part of it can't be read, or a value isn't what the model takes.
        """
        file = self.files[number]
        for piece in file.pieces(rows_at_once, start):

            def place(position: int, first: int = piece.first) -> str:
                return f"row {first + position + 1:,} of {file.path.name}"

            frame = file.frame(piece.table, self.kinds)
            features = rows.accept(frame, self.schema, place)
            yield Ready(piece, features, self._tally(file, piece, frame, place))

    def judged(self, rows_at_once: int) -> Report:
        """Ask the rules about all rows, and do nothing else."""
        assert self.rules is not None
        whole = Tally()
        for number in range(len(self.files)):
            for ready in self.pieces(number, rows_at_once):
                whole += ready.tally
        return whole.report(self.rules, only=self.schema.names)

    def _tally(
        self, file: TableFile, piece: Piece, frame: pd.DataFrame, place: Callable[[int], str]
    ) -> Tally:
        if self.rules is None:
            return Tally(len(frame))
        if file.text is not None and self.checked_kinds != self.kinds:
            frame = file.frame(piece.table, self.checked_kinds)
        return Tally.of(frame, self.rules, only=self.schema.names, place=place)


@dataclass(frozen=True)
class Whole:
    """What came of all files."""

    rows: int = 0
    """Rows that have answers."""
    resumed: int = 0
    """Those of them that an interrupted call had answered."""
    tally: Tally = Tally()  # noqa: RUF009  # it is frozen
    """What the rules say of them."""

    def and_then(self, n_rows: int, tally: Tally, *, resumed: bool) -> "Whole":
        """Put more rows behind these."""
        more = n_rows if resumed else 0
        return Whole(self.rows + n_rows, self.resumed + more, self.tally + tally)


def score(
    job: Job,
    inputs: Inputs,
    answering: AnswerColumns,
    on_rows: Callable[[int, float], None],
    *,
    numbered: bool,
) -> Whole:
    """Answer every row of the files; what an earlier call has done is taken over.

    While the model answers a piece, the next one is read and the last one written.

    Parameters
    ----------
    job : Job
        Where the output is made.
    inputs : Inputs
        What is read.
    answering : AnswerColumns
        Who is asked.
    on_rows : callable
        Is told how many rows are done, and which share of the bytes, 0 to 1.
    numbered : bool
        Whether each row gets the name of its file and its number in there, from 1.

    Raises
    ------
    DataError
        If a file can't be read, or a value isn't what the model takes.
    """
    with ThreadPoolExecutor(1) as reader, closing(_Writer()) as writer:
        line = _Line(job, inputs, answering, on_rows, numbered, reader, writer)
        try:
            for number in range(len(inputs.files)):
                line.follow(number)
            line.end()
        finally:
            line.abandon()
    return line.whole


class _Line:
    """The files on their way from one thread to the next."""

    def __init__(
        self,
        job: Job,
        inputs: Inputs,
        answering: AnswerColumns,
        on_rows: Callable[[int, float], None],
        numbered: bool,
        reader: ThreadPoolExecutor,
        writer: "_Writer",
    ) -> None:
        self._job, self._inputs, self._answering = job, inputs, answering
        self._on_rows, self._numbered = on_rows, numbered
        self._reader, self._writer = reader, writer
        self._sizes = [each.bytes for each in job.order.inputs]
        self._result: Result | None = None
        self.whole = Whole()

    def follow(self, number: int) -> None:
        """Answer all rows of a file."""
        job, name = self._job, self._inputs.files[number].path.name
        note = job.settled(number)
        if note is not None:
            tally = Tally.from_plain(note["tally"])
            self._done(number, self.whole.and_then(note["rows"], tally, resumed=True), 1.0)
            return
        if self._result is None:
            self._result = Result(job.result_of(name), job.schemas[name], job.distinct)
        before = self.whole.rows
        tally = Tally()
        at = 0
        while (kept := job.kept(job.part(number, at))) is not None:
            part, note = kept
            self._writer.submit(self._result.add, part)
            piece = Tally.from_plain(note["tally"])
            tally += piece
            whole = self.whole.and_then(len(part), piece, resumed=True)
            self._done(number, whole, note["share"])
            at += 1
        start = self.whole.rows - before
        pieces = self._inputs.pieces(number, job.order.rows_at_once, start)
        ahead = self._reader.submit(next, pieces, None)
        while (ready := ahead.result()) is not None:
            ahead = self._reader.submit(next, pieces, None)
            answered = self._beside(number, ready)
            self._writer.submit(self._keep, job.part(number, at), answered, ready)
            tally += ready.tally
            whole = self.whole.and_then(len(answered), ready.tally, resumed=False)
            self._done(number, whole, ready.piece.share)
            at += 1
        if not jobs.is_file(job.out):
            self.end()
            job.settle(number, {"rows": self.whole.rows - before, "tally": asdict(tally)})

    def end(self) -> None:
        """Put the file that is being written in its place."""
        self._writer.wait()
        if self._result is not None:
            self._result.close()
            self._result = None

    def abandon(self) -> None:
        """Let go of a file that isn't whole."""
        self._writer.drop()
        if self._result is not None:
            self._result.abandon()

    def _done(self, number: int, whole: Whole, share: float) -> None:
        self.whole = whole
        done = sum(self._sizes[:number]) + share * self._sizes[number]
        self._on_rows(whole.rows, done / max(1, sum(self._sizes)))

    def _beside(self, number: int, ready: Ready) -> pa.Table:
        """Put the answers beside the rows."""
        piece, name = ready.piece, self._inputs.files[number].path.name
        schema = self._job.schemas[name]
        columns = [*self._answering.columns(ready.features)]
        if self._numbered:
            first, n = piece.first + 1, len(piece.table)
            columns += [pa.repeat(name, n), pa.array(np.arange(first, first + n))]
        kept = [piece.table[name] for name in schema.names[: len(schema) - len(columns)]]
        arrays = [
            column.cast(field.type) for column, field in zip([*kept, *columns], schema, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _keep(self, part: Path, answered: pa.Table, ready: Ready) -> None:
        assert self._result is not None
        note = {"tally": asdict(ready.tally), "share": ready.piece.share}
        self._job.keep(part, answered, note)
        self._result.add(answered)


class _Writer:
    """Writes in a thread of its own, one thing after the other, of which few wait."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def submit(self, write: Callable[..., None], *arguments: Any) -> None:
        """Have something written; raises what went wrong with something before."""
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(write, *arguments))

    def wait(self) -> None:
        """Wait until all is written."""
        while self._waiting:
            self._waiting.popleft().result()

    def drop(self) -> None:
        """Let go of what waits, and wait for what is under way."""
        while self._waiting:
            self._waiting.popleft().cancel()
        self._pool.shutdown()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()

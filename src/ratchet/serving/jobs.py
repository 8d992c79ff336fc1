"""A long scoring on disk: what is done stays done, and what it makes is there whole or not."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ratchet import files
from ratchet.errors import RatchetError
from ratchet.table.opening import KINDS

OUTPUTS = (".parquet", ".csv", ".csv.gz")
"""How the name of a file that is written may end."""

_ORDER = "order.json"
_NOTE = b"ratchet.note"


@dataclass(frozen=True)
class Input:
    """A file that is scored."""

    name: str
    """Its name."""
    version: str
    """Its md5."""
    bytes: int
    """Its size."""


@dataclass(frozen=True)
class Order:
    """All that one output must not hold two of."""

    version: str
    """The version that answers, such as ``taxi/3``."""
    run_id: str
    """The run that its model is from."""
    inputs: tuple[Input, ...]
    """The files, in their order."""
    rows_at_once: int
    """Rows of a piece."""
    choices: Mapping[str, Any]
    """What was asked for: which columns, names, intervals, checks."""

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """Build it from what ``dataclasses.asdict`` gave."""
        inputs = tuple(Input(**each) for each in value["inputs"])
        return cls(**{**value, "inputs": inputs, "choices": dict(value["choices"])})

    def differences(self, other: "Order") -> list[str]:
        """Tell what another order has otherwise, but for the version and the size of pieces."""
        ours, theirs = ({each.name: each for each in o.inputs} for o in (self, other))
        told = [f"{name} is gone" for name in ours if name not in theirs]
        told += [f"{name} is new" for name in theirs if name not in ours]
        told += [
            f"{name} has changed" for name in ours if name in theirs and ours[name] != theirs[name]
        ]
        told += [
            f"{name} was {self.choices.get(name)!r} and is {other.choices.get(name)!r}"
            for name in dict.fromkeys([*self.choices, *other.choices])
            if self.choices.get(name) != other.choices.get(name)
        ]
        return told


def is_file(out: Path) -> bool:
    """Tell whether an output is one file, rather than a folder of one for each input.

    Raises
    ------
    RatchetError
        If it is named like a file of another kind.
    """
    if out.name.lower().endswith(OUTPUTS):
        return True
    if out.suffix and not out.is_dir():
        raise RatchetError(
            f"{out} can't be written: a file's name must end in {', '.join(OUTPUTS)}; a name"
            " without an ending is a folder, of a file for each input."
        )
    return False


@dataclass(frozen=True)
class Job:
    """One output that is being made."""

    out: Path
    """The file or folder that it becomes."""
    order: Order
    """What it is made of."""
    schemas: Mapping[str, pa.Schema]
    """The columns of each file of the output, by the name of the input."""
    distinct: Sequence[str] = ()
    """Those whose values seldom repeat, so that a dictionary of them would be of no use."""

    @property
    def folder(self) -> Path:
        """Where it is made; gone when it is done."""
        return _folder(self.out)

    def part(self, number: int, piece: int) -> Path:
        """Place of a piece of an input."""
        return self.folder / f"{number:06}-{piece:08}.arrow"

    def result_of(self, name: str) -> Path:
        """Place of the output that holds an input, until all is done."""
        if is_file(self.out):
            return self.folder / "results" / self.out.name
        ending = max((e for e in KINDS if name.lower().endswith(e)), key=len)
        written = ".parquet" if ending == ".parquet" else ".csv"
        return self.folder / "results" / f"{name[: -len(ending)]}{written}"

    def begin(self) -> None:
        """Make its folder, and write down what it is about."""
        files.write_json(self.folder / _ORDER, asdict(self.order))

    def keep(self, part: Path, table: pa.Table, note: Mapping[str, Any]) -> None:
        """Write a piece that is done, whole or not at all."""
        fresh = part.with_suffix(".new")
        told = table.replace_schema_metadata({_NOTE: json.dumps(note).encode()})
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(str(fresh), told.schema, options=options) as file:
            file.write_table(told)
        fresh.replace(part)

    def kept(self, part: Path) -> tuple[pa.Table, dict[str, Any]] | None:
        """Read a piece that was done; None where it is not there, or not whole."""
        try:
            with pa.OSFile(str(part)) as source:
                table = pa.ipc.open_file(source).read_all()
            note = json.loads(table.schema.metadata[_NOTE])
        except (FileNotFoundError, pa.ArrowException, ValueError, KeyError, TypeError):
            return None
        return table.replace_schema_metadata(None), note

    def settle(self, number: int, note: Mapping[str, Any]) -> None:
        """Note down that the output of an input is whole, and let go of its pieces."""
        files.write_json(self.folder / f"{number:06}.json", note)
        for part in self.folder.glob(f"{number:06}-*.arrow"):
            part.unlink()

    def settled(self, number: int) -> dict[str, Any] | None:
        """Read what was noted down of an input whose output is whole; None of any other."""
        try:
            note = json.loads((self.folder / f"{number:06}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return dict(note)

    def finish(self, told: Mapping[str, Any]) -> None:
        """Put the output in its place, with a note beside it by which it is known again."""
        results = self.folder / "results"
        made = results / self.out.name if is_file(self.out) else results
        try:
            if self.out.is_dir():
                with files.whole_folder(self.out) as fresh:
                    for each in made.iterdir():
                        each.replace(fresh / each.name)
            else:
                self.out.parent.mkdir(parents=True, exist_ok=True)
                made.replace(self.out)
        except OSError as error:
            raise RatchetError(f"Can't write {self.out}: {error.strerror}.") from error
        note = {"order": asdict(self.order), "sizes": _sizes(self.out), "told": dict(told)}
        files.write_json(_note_of(self.out), note)
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(out: Path) -> Order | None:
    """Read what an output that isn't done is made of; None where there is none."""
    return _read_order(_folder(out) / _ORDER)


@dataclass(frozen=True)
class Finished:
    """An output that was made before, and is as it was left."""

    order: Order
    """What it was made of."""
    told: Mapping[str, Any]
    """What was said at its end."""


def finished(out: Path) -> Finished | None:
    """Read what an output was made of; None where there is none, or somebody has changed it."""
    try:
        note = json.loads(_note_of(out).read_text(encoding="utf-8"))
        if note["sizes"] != _sizes(out):
            return None
        return Finished(Order.from_plain(note["order"]), note["told"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def discard(out: Path) -> None:
    """Let go of an output that isn't done."""
    shutil.rmtree(_folder(out), ignore_errors=True)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Make sure that nobody else makes the same output meanwhile, on this machine.

    Raises
    ------
    RatchetError
        If somebody does, or the folder of the output can't be written.
    """
    place = out.parent / f".{out.name}.lock"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.open("w")
    except OSError as error:
        raise RatchetError(f"Can't write to {place.parent}: {error.strerror}.") from error
    with lock:
        if not _locked(lock, place):
            raise RatchetError(
                f"Another `ratchet predict` is writing {out} at this moment. Wait for it, or name"
                " another output."
            )
        try:
            yield
        finally:
            with suppress(OSError):
                place.unlink()


def _locked(lock: TextIO, place: Path) -> bool:
    """Lock a file, and make sure that it is still the one of its name."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        # The system lets go of it when the program ends, however it does.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(lock.fileno()).st_ino == place.stat().st_ino
    except OSError:
        return False


class Result:
    """A file of the output that grows by pieces and is there only when it is whole.

    Parameters
    ----------
    path : Path
        The file.
    schema : pa.Schema
        Its columns.
    distinct : sequence of str
        Those whose values seldom repeat.
    """

    def __init__(self, path: Path, schema: pa.Schema, distinct: Sequence[str] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._schema = path, schema
        self._fresh = path.with_name(f".{path.name}.new")
        self._sink: Any = pa.OSFile(str(self._fresh), "wb")
        name = path.name.lower()
        if name.endswith(".gz"):
            self._sink = pa.CompressedOutputStream(self._sink, "gzip")
        self._writer: Any = (
            pq.ParquetWriter(
                self._sink,
                schema,
                use_dictionary=[name for name in schema.names if name not in distinct],
            )
            if name.endswith(".parquet")
            else pyarrow.csv.CSVWriter(self._sink, schema)
        )

    def add(self, table: pa.Table) -> None:
        """Put rows behind those that are there."""
        self._writer.write_table(
            table if table.schema == self._schema else table.cast(self._schema)
        )

    def close(self) -> None:
        """Put the file in its place."""
        self._writer.close()
        self._sink.close()
        with self._fresh.open("rb") as file:
            os.fsync(file.fileno())
        self._fresh.replace(self._path)

    def abandon(self) -> None:
        """Let go of it, whatever state it is in."""
        for each in (self._writer, self._sink):
            with suppress(Exception):
                each.close()
        self._fresh.unlink(missing_ok=True)


def unwritable(schema: pa.Schema, out: Path) -> Sequence[str]:
    """Name the columns that a file of this name can't hold."""
    if out.name.lower().endswith(".parquet"):
        return ()
    return [field.name for field in schema if pa.types.is_nested(field.type)]


def _folder(out: Path) -> Path:
    return out.parent / f".{out.name}.unfinished"


def _note_of(out: Path) -> Path:
    return out.parent / f".{out.name}.scored.json"


def _read_order(path: Path) -> Order | None:
    try:
        return Order.from_plain(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sizes(out: Path) -> dict[str, int]:
    if out.is_dir():
        found = sorted(path for path in out.iterdir() if path.is_file())
        return {path.name: path.stat().st_size for path in found}
    return {out.name: out.stat().st_size}

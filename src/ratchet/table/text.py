"""Reads text files, each field as it stands, and decides a column's type from all its values."""

import codecs
import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ratchet.errors import DataError
from ratchet.schema import Kind
from ratchet.table.formats import refuse_others
from ratchet.table.opening import (
    Content,
    all_names,
    common_names,
    kind_of,
    place,
    reading,
    refuse_empty,
    refuse_names,
    short,
)

# A field of a CSV file may be this long; pyarrow needs a limit.
_BLOCK_SIZE = 2**24

# A number with a leading zero is a code, such as a postal code, and stays text.
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
# pandas writes what is infinite as inf; it is refused later, where the column is known.
NUMBER = r"^-?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[iI]nf(inity)?)$"
"""What a text must match to be a number."""
# What a person reads as numbers or dates, and what to write instead.
_AMOUNT = r"[0-9]+([.,][0-9]+)*"
_ALIKE = (
    ("numbers with thousands separators", r"^-?[0-9]{1,3}(,[0-9]{3})*(\.[0-9]+)?$", "1234.5"),
    ("numbers with decimal commas", r"^-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?$", "1234.5"),
    ("numbers with a unit", rf"^-?([$€£¥] ?-?{_AMOUNT}|{_AMOUNT} ?[%$€£¥])$", "1234.5"),
    (
        "dates in another form",
        r"^([0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})|[0-9]{4}/[0-9]{1,2}/[0-9]{1,2})"
        r"([ T].*)?$",
        "2024-12-31",
    ),
)
# Without one of these, digits are codes, such as postal codes with leading zeros.
_MARK = r"[,$€£¥%/]|[.-][0-9]+[.-]"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LEADING_ZERO = r"^-?0[0-9]"
_TRUTH = r"^(true|false|True|False|TRUE|FALSE)$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?ZONE)?$"
_LOCAL_TIME = _TIME.replace("ZONE", "")
_ZONED_TIME = _TIME.replace("ZONE)?", "(Z|[+-][0-9]{2}:?[0-9]{2}))")


def read_text_files(
    paths: Sequence[Path], wanted: Collection[str] | None, drop: Collection[str]
) -> Content:
    """Read every field as text, and decide each column's type from all of its values.

    pyarrow would decide from the first megabyte, and pandas chunk by chunk;
    both turn the postal code 01234 into a number.
    """
    separator = _separator(paths[0])
    n_quotes = [_checked(path) for path in paths]
    begun = [_header(path, separator) for path in paths]
    headers = [header for header, _ in begun]
    names = common_names(headers, paths, wanted, drop)
    nothing = pa.table({name: pa.array([], pa.large_string()) for name in names})
    tables = [
        _text_columns(path, header, names, separator, quotes) if has_rows else nothing
        for path, (header, has_rows), quotes in zip(paths, begun, n_quotes, strict=True)
    ]
    rows = tuple(table.num_rows for table in tables)
    found_at = partial(place, files=paths, rows_per_file=rows)
    columns, notes = {}, []
    for name in names:
        values = pa.chunked_array([c for t in tables for c in t[name].chunks], pa.large_string())
        columns[name], note = _typed(name, values, found_at)
        notes += [note] if note else []
    return Content(all_names(headers), pa.table(columns), rows, notes)


def _checked(path: Path) -> int:
    """Make sure that a file is text in UTF-8, and count its quotes."""
    refuse_empty(path)
    with reading(path):
        refuse_others(path, kind_of(path) or "csv")
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_quotes = n_lines = 0
    with reading(path), _stream(path) as stream:
        while block := stream.read(_BLOCK_SIZE):
            if not n_lines and block.startswith(_UTF_16):
                raise DataError(
                    f"{path} is UTF-16 text. Save it as UTF-8, for example with"
                    " `iconv -f UTF-16 -t UTF-8`."
                )
            null = block.find(b"\0")
            if null >= 0:
                line = n_lines + block.count(b"\n", 0, null) + 1
                raise DataError(
                    f"{path} holds a NUL byte in line {line:,}, and no text does: it is in another"
                    " encoding than UTF-8, or was cut off while it was written. Write or fetch it"
                    " again."
                )
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                # A letter that began in the block before counts for that one.
                wrong = error.object[error.start]
                before = error.object[: error.start].count(b"\n")
                raise DataError(
                    f"{path} is not UTF-8 text: line {n_lines + before + 1:,} holds the byte"
                    f" 0x{wrong:02x}. Save it as UTF-8, for example with"
                    " `iconv -f LATIN1 -t UTF-8`."
                ) from None
            n_quotes += block.count(b'"')
            n_lines += block.count(b"\n")
    return n_quotes


def _header(path: Path, separator: str) -> tuple[list[str], bool]:
    """Read the names of the columns, and whether anything follows."""
    with reading(path), _stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        names = next(csv.reader(text, delimiter=separator), [])
        has_rows = bool(text.readline())
    # Files that were joined end to end, or saved twice, hold a second mark.
    names = [name.lstrip("\ufeff") for name in names]
    others = [mark for mark in ";\t|," if mark != separator and mark in "".join(names)]
    if len(names) == 1 and others:
        raise DataError(
            f"{path} has one column only, {names[0]!r}, so its separator seems to be"
            f" {others[0]!r}. Save it as .csv with commas, or as .tsv with tabs."
        )
    refuse_names(names, path)
    return names, has_rows


def _stream(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if _is_packed(path) else None)


def _unpacked(path: Path, raw: pa.NativeFile) -> pa.NativeFile:
    return pa.CompressedInputStream(raw, "gzip") if _is_packed(path) else pa.input_stream(raw)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _separator(path: Path) -> str:
    return "\t" if kind_of(path) == "tsv" else ","


def _refuse_open_quote(path: Path, separator: str) -> None:
    """Refuse a quote that is never closed; pyarrow would take the rest of the file as one field."""
    with reading(path), _stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        row = 0
        try:
            for _ in csv.reader(text, delimiter=separator, strict=True):
                row += 1
        except csv.Error as error:
            if "end of data" in str(error) or "limit" in str(error):
                raise DataError(
                    f"{path}: a quote in row {row:,} is never closed. Close it, or write a quote"
                    " inside of a field twice."
                ) from None


def _text_columns(
    path: Path, header: Sequence[str], names: Sequence[str], separator: str, n_quotes: int
) -> pa.Table:
    if n_quotes % 2:
        # An odd number is allowed too, as in 5" pipe: only a slow reader can tell.
        _refuse_open_quote(path, separator)
    with pa.OSFile(str(path)) as raw, _parsing(path, raw, header, names) as (stream, options):
        return pyarrow.csv.read_csv(stream, *options)


@dataclass(frozen=True)
class TextFile:
    """A text file that is read a block at a time."""

    path: Path
    """The file."""
    header: tuple[str, ...]
    """Its columns."""
    has_rows: bool
    """Whether anything follows the header."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make sure that a file is text and has columns.

        It is read once for that, but for a quote that is never closed, which
        takes long to find: that is looked for where the number of quotes is odd.

        Raises
        ------
        DataError
            If it isn't.
        """
        separator = _separator(path)
        n_quotes = _checked(path)
        header, has_rows = _header(path, separator)
        if n_quotes % 2:
            _refuse_open_quote(path, separator)
        return cls(path, tuple(header), has_rows)

    def blocks(self) -> Iterator[tuple[pa.Table, float]]:
        """Give the rows of each block with all fields as text, and the share that was read.

        Raises
        ------
        DataError
            If a row has too many or too few fields.
        """
        if not self.has_rows:
            return
        with (
            reading(self.path),
            pa.OSFile(str(self.path)) as raw,
            _parsing(self.path, raw, self.header, self.header) as (stream, options),
        ):
            size = raw.size()
            for batch in pyarrow.csv.open_csv(stream, *options):
                yield pa.Table.from_batches([batch]), min(1.0, raw.tell() / size)


@contextmanager
def _parsing(
    path: Path, raw: pa.NativeFile, header: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[pa.NativeFile, tuple[Any, ...]]]:
    """Prepare to parse a file with every field as text, and tell what is wrong with a row."""
    separator = _separator(path)
    ragged: list[pyarrow.csv.InvalidRow] = []

    def note_down(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    with reading(path), _unpacked(path, raw) as stream:
        try:
            yield (
                stream,
                (
                    # Without threads, a row that is refused has its number.
                    pyarrow.csv.ReadOptions(
                        use_threads=False,
                        block_size=_BLOCK_SIZE,
                        column_names=header,
                        skip_rows_after_names=1,
                    ),
                    pyarrow.csv.ParseOptions(
                        delimiter=separator,
                        newlines_in_values=True,
                        # In a table of one column, an empty line is a missing value.
                        ignore_empty_lines=len(header) > 1,
                        invalid_row_handler=note_down,
                    ),
                    pyarrow.csv.ConvertOptions(
                        column_types=dict.fromkeys(header, pa.large_string()),
                        include_columns=names,
                        null_values=[""],
                        strings_can_be_null=True,
                    ),
                ),
            )
        except pa.ArrowInvalid:
            if not ragged:
                raise
            raise _told_ragged(path, ragged[0], separator) from None


def _told_ragged(path: Path, row: pyarrow.csv.InvalidRow, separator: str) -> DataError:
    if row.expected_columns == 1:
        way_out = "The first line must hold the names of the columns, and no title or comment."
    elif row.actual_columns > row.expected_columns:
        way_out = f"Put a field that holds {separator!r} in quotes."
    else:
        way_out = f"A field that is empty needs its {separator!r}, too."
    return DataError(
        f"{path}: row {row.number - 1:,} has {row.actual_columns} fields, and the header has"
        f" {row.expected_columns}: {short(row.text)!r}. {way_out}"
    )


def as_kind(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """Read texts as what they are said to hold; they stay text where one isn't that."""
    if kind in (Kind.CATEGORY, Kind.TEXT):
        return values
    trimmed = pc.utf8_trim_whitespace(values)
    try:
        if kind is Kind.DATETIME:
            zoned = _all(trimmed, _LOCAL_TIME) or _all(trimmed, _ZONED_TIME)
            return pa.chunked_array([_times(trimmed)]) if zoned else values
        if _all(trimmed, NUMBER):
            return pc.cast(trimmed, pa.float64())
        if kind is Kind.BOOLEAN and _all(trimmed, _TRUTH):
            return pc.cast(trimmed, pa.bool_())
    except ValueError:  # the 30th of February
        return values
    return values


def _typed(
    name: str, values: pa.ChunkedArray, found_at: Callable[[int], str]
) -> tuple[pa.ChunkedArray, str | None]:
    """Read a column's texts as what all of them are; say why if it stays text."""
    if values.null_count == len(values):
        return pa.nulls(len(values)), None
    trimmed = pc.utf8_trim_whitespace(values)
    form = next((each for each in _forms() if _all(trimmed, each.pattern)), None)
    if form is None:
        return values, _why_text(name, trimmed, found_at)
    try:
        return form.read(trimmed), form.told(name)
    except ValueError:  # 20 digits, or the 30th of February
        return values, None


@dataclass(frozen=True)
class _Form:
    """What texts may be that are more than texts."""

    pattern: str
    kind: pa.DataType
    note: str = ""

    def read(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Read texts without blanks around them; raises ValueError where one isn't that."""
        if pa.types.is_timestamp(self.kind):
            return pa.chunked_array([_times(texts)])
        return pc.cast(texts, self.kind)

    def told(self, name: str) -> str | None:
        return f"{name!r} {self.note}" if self.note else None


@cache
def _forms() -> tuple[_Form, ...]:
    """Give what a column may hold; the first that all of its values are is what it holds."""
    zoned = "has a time zone: read as UTC without a zone."
    return (
        _Form(_WHOLE, pa.int64()),
        _Form(NUMBER, pa.float64()),
        _Form(_TRUTH, pa.bool_()),
        _Form(_LOCAL_TIME, pa.timestamp("us")),
        _Form(_ZONED_TIME, pa.timestamp("us"), zoned),
    )


class Guess:
    """What a column of texts holds, decided block by block as ``read_text_files`` decides it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._open = list(_forms())
        self._unread: set[pa.DataType] = set()
        self._alike = list(_ALIKE)
        self._marked = self._zeros = False
        self._n = self._n_values = self._n_strange = 0
        self._first: tuple[int, str] | None = None
        self._strange: tuple[int, str] | None = None
        self._bounds: tuple[int, int] | None = None

    def see(self, values: pa.ChunkedArray) -> None:
        """Look at the next block."""
        before, n_values = self._n, len(values) - values.null_count
        self._n += len(values)
        if not n_values:
            return
        self._n_values += n_values
        trimmed = pc.utf8_trim_whitespace(values)
        self._open = [form for form in self._open if _all(trimmed, form.pattern)]
        if self._open and self._open[0].kind not in self._unread:
            try:
                self._reach(self._open[0].read(trimmed))
            except ValueError:
                self._unread.add(self._open[0].kind)
        if self._first is None:
            at = pc.index(pc.is_valid(values), True).as_py()
            self._first = before + at, trimmed[at].as_py()
        self._alike = [each for each in self._alike if _all(trimmed, each[1])]
        self._marked |= bool(pc.any(pc.match_substring_regex(trimmed, _MARK)).as_py())
        numbers = pc.match_substring_regex(trimmed, NUMBER)
        n_strange = n_values - (pc.sum(numbers).as_py() or 0)
        if n_strange and self._strange is None:
            at = pc.index(numbers, False).as_py()
            self._strange = before + at, trimmed[at].as_py()
        self._n_strange += n_strange
        self._zeros |= bool(pc.any(pc.match_substring_regex(trimmed, _LEADING_ZERO)).as_py())

    def _reach(self, read: pa.ChunkedArray) -> None:
        if pa.types.is_integer(read.type):
            found = pc.min_max(read).as_py()
            low, high = self._bounds or (found["min"], found["max"])
            self._bounds = min(low, found["min"]), max(high, found["max"])

    @property
    def n_values(self) -> int:
        """Values that are not missing."""
        return self._n_values

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Smallest and largest of whole numbers; None for anything else."""
        return self._bounds if self.kind == pa.int64() else None

    @property
    def kind(self) -> pa.DataType:
        """What the column is read as."""
        if not self._n_values:
            return pa.null()
        if not self._open or self._open[0].kind in self._unread:
            return pa.large_string()
        return self._open[0].kind

    def read(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Read a block of the column as that, after all of it has been seen."""
        if self.kind == pa.null():
            return pa.chunked_array([pa.nulls(len(values))])
        if self.kind == pa.large_string():
            return values
        return self._open[0].read(pc.utf8_trim_whitespace(values))

    def note(self, name: str, found_at: Callable[[int], str]) -> str | None:
        """Say what is worth knowing about how it is read."""
        if not self._n_values:
            return None
        if self._open:
            return None if self._open[0].kind in self._unread else self._open[0].told(name)
        assert self._first is not None
        if self._marked and self._alike:
            at, value = self._first
            return _told_alike(name, self._alike[0], value, found_at(at))
        if self._strange is None or self._zeros or self._n_strange * 2 > self._n_values:
            return None
        at, value = self._strange
        return _told_strange(name, self._n_strange, self._n_values, value, found_at(at))


def _all(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _times(values: pa.ChunkedArray) -> pa.Array:
    times = pd.to_datetime(values.to_pandas(), format="ISO8601", utc=True).dt.tz_localize(None)
    return pa.array(times.astype("datetime64[us]"), from_pandas=True)


def _why_text(name: str, values: pa.ChunkedArray, found_at: Callable[[int], str]) -> str | None:
    """Explain a column that is mostly numbers: most often a word stands for missing."""
    marked = pc.any(pc.match_substring_regex(values, _MARK)).as_py()
    for told, pattern, instead in _ALIKE if marked else ():
        if _all(values, pattern):
            first = pc.index(pc.is_valid(values), True).as_py()
            alike = (told, pattern, instead)
            return _told_alike(name, alike, values[first].as_py(), found_at(first))
    numbers = pc.match_substring_regex(values, NUMBER)
    n_values = len(values) - values.null_count
    n_strange = n_values - (pc.sum(numbers).as_py() or 0)
    if n_strange * 2 > n_values:
        return None
    first = pc.index(numbers, False).as_py()
    value = values[first].as_py()
    if pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
        return None
    return _told_strange(name, n_strange, n_values, value, found_at(first))


def _told_alike(name: str, alike: tuple[str, str, str], value: str, place: str) -> str:
    told, _, instead = alike
    return (
        f"{name!r} is read as text: its values are {told}, such as {short(value)!r} in {place}."
        f" Write them as {instead} if they are more than labels."
    )


def _told_strange(name: str, n_strange: int, n_values: int, value: str, place: str) -> str:
    return (
        f"{name!r} is read as text: {n_strange:,} of its {n_values:,} values are no numbers,"
        f" first {short(value)!r} in {place}. If that stands for a missing value,"
        " leave the field empty."
    )

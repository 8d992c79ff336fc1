"""Spoils thousands of tables, and counts what becomes of each: read, or refused in a sentence.

Run it with `python benchmarks/fuzz.py --files 10000`. Parquet and text files are written and then
spoilt: bits flipped, bytes taken out, put in, doubled and cut off, fields replaced by odd ones, and
the footers of parquet files changed in place so that readers go on into them. Each file is read as
`prepare` reads it, up to the search for leaks, and as `predict` does, in pieces. A reader may
crash as a whole, so that another process reads; one that dies, or takes too long, is counted and
replaced. The same seed gives the same files; `--only NUMBER --keep DIR` writes one of them down.
"""

import argparse
import gzip
import io
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

ROWS = 60
ENDINGS = (".parquet", ".csv", ".tsv", ".csv.gz")
# Of every ten files so many are parquet, and so many of each kind of text.
SHARES = (5, 3, 1, 1)
MOST_CHANGES = 4
PATIENCE = 30.0
"""Seconds for one file, after which its reader counts as hung."""
MEMORY = 6 * 2**30
"""Bytes of address space that a reader may take: what asks for more is told, and not given it."""
LONGEST = 3_000
"""Characters of a sentence that a person still reads."""

READ, REFUSED = "read", "refused"
FAULTS = ("traceback", "differs", "rambles", "hung", "died")

ODD_FIELDS = (
    *(
        b"",
        b'"',
        b'""',
        b'"a',
        b'a"b',
        b"'",
        b"\\",
        b",",
        b";",
        b"\t",
        b"\x00",
        b"\xff\xfe",
        b"\xc3",
    ),
    *(b"nan", b"NaN", b"None", b"NULL", b"inf", b"-inf", b"1e999", b"-1e-999", b"0x1F", b"1_000"),
    *(b"9" * 400, b"-" + b"9" * 19, b"18446744073709551616", b"00000", b"+1", b"1.", b".", b"1,5"),
    *(b"2024-02-30", b"0000-00-00", b"9999-12-31", b"-0001-01-01", b"2024-01-01T25:00:00Z"),
    *(b"2024-01-01 00:00:00.123456789123", b"true", b"TRUE", b"yes", b"=1+1", b"@x", b"<script>"),
    *(b"$(touch x)", b"../../x", "💥".encode(), "\u202e".encode(), b"\xef\xbb\xbf", b"a" * 10_000),
    *(b'"line\nbreak"', b"\r", b"\x1a", b"\x1b[2J", b"__class__", b"target", b"y"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    number: int
    """Which one; with the seed, all there is to it."""
    ending: str
    """What its name ends in."""
    what: str
    """``read``, ``refused``, or one of ``FAULTS``."""
    told: str
    """The sentence, or the last lines of a fault."""
    seconds: float
    """Time that it took."""


def content(seed: int, number: int) -> tuple[str, bytes]:
    """Give the ending and the bytes of a file."""
    random = np.random.default_rng([seed, number])
    share = np.array(SHARES) / sum(SHARES)
    ending = str(random.choice(ENDINGS, p=share))
    if ending == ".parquet":
        return ending, _spoilt_parquet(random)
    text = _choice(random, _texts("\t" if ending == ".tsv" else ","))
    ways = (*_ON_BYTES, *(_ON_FIELDS * 4))
    if ending != ".csv.gz":
        return ending, _spoilt(random, text, ways)
    if random.random() < 0.6:
        return ending, gzip.compress(_spoilt(random, text, ways), mtime=0)
    return ending, _spoilt(random, gzip.compress(text, mtime=0), _ON_BYTES)


@cache
def _table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=ROWS).round(3)
    return pd.DataFrame(
        {
            "x": x,
            "n": random.integers(0, 1000, ROWS),
            "town": random.choice(["Aachen", "Berlin", "Cottbus"], ROWS),
            "zip": [f"{each:05}" for each in random.integers(0, 40, ROWS)],
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(ROWS) * 7, "h"),
            "sure": random.random(ROWS) < 0.5,
            "said": [f'row {each}, "quoted"\nand more' if each % 9 == 0 else "" for each in x],
            "y": (2 * x + random.normal(size=ROWS)).round(3),
        }
    )


@cache
def _parquet_files() -> tuple[bytes, ...]:
    table = pa.Table.from_pandas(_table(), preserve_index=False)
    found = []
    for options in (
        {},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"compression": "none", "use_dictionary": False, "row_group_size": 7},
        {"compression": "gzip", "write_statistics": False, "row_group_size": 25},
        {
            "compression": "none",
            "use_dictionary": False,
            "column_encoding": {"n": "DELTA_BINARY_PACKED"},
        },
    ):
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        found.append(sink.getvalue())
    return tuple(found)


# Those of them whose pages are not packed.
_UNPACKED = (2, 4, 4)


@cache
def _texts(separator: str) -> tuple[bytes, ...]:
    frame = _table()
    plain = frame.to_csv(index=False, sep=separator).encode()
    quoted = frame.to_csv(index=False, sep=separator, quoting=1, lineterminator="\r\n").encode()
    few = frame[["x", "y"]].to_csv(index=False, sep=separator).encode()
    return plain, quoted, few, b"\xef\xbb\xbf" + plain


def _choice(random: np.random.Generator, options: Sequence[bytes]) -> bytes:
    return options[int(random.integers(len(options)))]


Way = Callable[[np.random.Generator, bytes], bytes]


def _spoilt_parquet(random: np.random.Generator) -> bytes:
    place = random.random()
    if place < 0.2:
        return _spoilt(random, _choice(random, _parquet_files()), _ON_BYTES)
    if place < 0.5:  # it keeps what says that it is a parquet file, and where its footer is
        made = _choice(random, _parquet_files())
        return made[:4] + _spoilt(random, made[4:-8], _ON_BYTES) + made[-8:]
    # Other values in whole pages, which no check sum of a packer gives away.
    made = _choice(random, [_parquet_files()[at] for at in _UNPACKED])
    footer = int.from_bytes(made[-8:-4], "little") + 8
    return made[:4] + _spoilt(random, made[4:-footer], _IN_PLACE) + made[-footer:]


def _spoilt(random: np.random.Generator, made: bytes, ways: Sequence[Way]) -> bytes:
    for _ in range(min(int(random.geometric(0.6)), MOST_CHANGES)):
        made = ways[int(random.integers(len(ways)))](random, made)
    return made


def _span(random: np.random.Generator, made: bytes, most: int = 64) -> tuple[int, int]:
    first = int(random.integers(len(made) + 1))
    return first, min(len(made), first + int(random.integers(1, most + 1)))


def _one_flipped(random: np.random.Generator, made: bytes) -> bytes:
    changed = bytearray(made)
    changed[int(random.integers(len(made)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _flipped(random: np.random.Generator, made: bytes) -> bytes:
    changed = bytearray(made)
    for _ in range(int(random.integers(1, 9)) if made else 0):
        changed[int(random.integers(len(made)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwritten(random: np.random.Generator, made: bytes) -> bytes:
    first, last = _span(random, made)
    kinds = (bytes(last - first), b"\xff" * (last - first), random.bytes(last - first))
    return made[:first] + _choice(random, kinds) + made[last:]


def _without(random: np.random.Generator, made: bytes) -> bytes:
    first, last = _span(random, made)
    return made[:first] + made[last:]


def _with_more(random: np.random.Generator, made: bytes) -> bytes:
    first, _ = _span(random, made)
    return made[:first] + _choice(random, (random.bytes(16), *ODD_FIELDS)) + made[first:]


def _doubled(random: np.random.Generator, made: bytes) -> bytes:
    first, last = _span(random, made, 512)
    return made[:last] + made[first:last] + made[last:]


def _cut(random: np.random.Generator, made: bytes) -> bytes:
    return made[: int(random.integers(len(made) + 1))]


def _field_replaced(random: np.random.Generator, made: bytes) -> bytes:
    lines = made.split(b"\n")
    at = int(random.integers(len(lines)))
    separator = b"\t" if b"\t" in lines[0] else b","
    fields = lines[at].split(separator)
    fields[int(random.integers(len(fields)))] = _choice(random, ODD_FIELDS)
    lines[at] = separator.join(fields)
    return b"\n".join(lines)


def _column_replaced(random: np.random.Generator, made: bytes) -> bytes:
    lines = made.split(b"\n")
    separator = b"\t" if b"\t" in lines[0] else b","
    place, odd = int(random.integers(lines[0].count(separator) + 1)), _choice(random, ODD_FIELDS)
    for at, line in enumerate(lines[1:], start=1):
        fields = line.split(separator)
        if place < len(fields):
            fields[place] = odd
            lines[at] = separator.join(fields)
    return b"\n".join(lines)


def _lines_moved(random: np.random.Generator, made: bytes) -> bytes:
    lines = made.split(b"\n")
    one, other = (int(random.integers(len(lines))) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _header_spoilt(random: np.random.Generator, made: bytes) -> bytes:
    head, found, rest = made.partition(b"\n")
    return _field_replaced(random, head) + found + rest


_ON_BYTES: tuple[Way, ...] = (
    _flipped,
    _overwritten,
    _without,
    _with_more,
    _doubled,
    _cut,
    _flipped,
)
_IN_PLACE: tuple[Way, ...] = (_one_flipped, _one_flipped, _one_flipped, _overwritten)
_ON_FIELDS: tuple[Way, ...] = (_field_replaced, _column_replaced, _lines_moved, _header_spoilt)


def judged(path: Path) -> tuple[str, str]:
    """Read a file as prepare and as predict read it; give what came of it, and what was told."""
    from ratchet.errors import RatchetError

    told = ""
    rows: list[int | None] = []
    for read in (_prepared, _in_pieces):
        try:
            rows.append(read(path))
        except RatchetError as error:
            told = told or str(error)
            rows.append(None)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
            return "traceback", f"{name}: {' '.join(str(error).split())[:300]}"
        if len(told) > LONGEST or (told and not told.strip()):
            return "rambles", told[:300]
    whole, pieces = rows
    if None not in rows and whole != pieces:
        return "differs", f"{whole} rows at once, {pieces} in pieces"
    return (REFUSED if whole is None else READ), told


def _prepared(path: Path) -> int:
    """Do what prepare does before it writes; give the rows of the table."""
    from ratchet import leakage, splits, table
    from ratchet.settings import Data, Split

    data, split = Data(source=path.name, target="y"), Split()
    raw = table.read_table(path)
    table.row_hashes(raw.frame)
    prepared = table.prepare_table(raw, data, None)
    dealt = splits.split(len(prepared.frame), split, 0)
    table.with_statistics(prepared.schema, prepared.frame.iloc[dealt.train])
    leakage.refuse(leakage.look(prepared.with_computed(), dealt, split, seed=0).findings)
    return len(raw.frame)


def _in_pieces(path: Path) -> int:
    """Read a file as predict does; give its rows."""
    from ratchet.schema import Kind
    from ratchet.table import TableFile

    opened = TableFile.open(path)
    kinds = {"x": Kind.NUMBER, "town": Kind.CATEGORY, "at": Kind.DATETIME, "sure": Kind.BOOLEAN}
    rows = 0
    for piece in opened.pieces(17):
        opened.frame(piece.table, kinds)
        rows += len(piece.table)
    return rows


def work(seed: int) -> None:
    """Read the files whose numbers come on stdin; tell what became of each, a line each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="ratchet-fuzz-") as folder:
        # The first file would wait for what is imported.
        first = Path(folder) / "first.parquet"
        first.write_bytes(_parquet_files()[0])
        assert judged(first) == (READ, "")
        first.unlink()
        for line in sys.stdin:
            number = int(line)
            ending, made = content(seed, number)
            path = Path(folder) / f"a{ending}"
            path.write_bytes(made)
            began = time.monotonic()
            what, told = judged(path)
            seconds = time.monotonic() - began
            answer = Outcome(number, ending, what, told.replace(folder, ""), seconds)
            print(json.dumps(asdict(answer)), flush=True)  # noqa: T201
            path.unlink()


class Reader:
    """A process that reads, and its successor where it dies."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, number: int) -> Outcome:
        """Have a file read."""
        process = self._process or self._started()
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{number}\n".encode())
        process.stdin.flush()
        came, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if came else b""
        if line:
            return Outcome(**json.loads(line))
        ending, _ = content(self._seed, number)
        what = "died" if came else "hung"
        self.close()
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        told = f"exit code {process.returncode}{f': {said[0]}' if said else ''}"
        return Outcome(number, ending, what, told, PATIENCE)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, __file__, "--worker", "--seed", str(self._seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def outcomes(seed: int, numbers: Sequence[int], processes: int) -> Iterator[Outcome]:
    """Have files read by several processes; give what became of them, in order."""
    parts = [numbers[at::processes] for at in range(processes)]

    def of(part: Sequence[int]) -> list[Outcome]:
        reader = Reader(seed)
        try:
            return [reader.read(number) for number in part]
        finally:
            reader.close()

    with ThreadPoolExecutor(processes) as pool:
        found = [each for part in pool.map(of, parts) for each in part]
    yield from sorted(found, key=lambda each: each.number)


def main() -> int:
    """Read all files, print the counts, and give 1 if one ended in a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the counts for machines")
    parser.add_argument("--only", type=int, help="write this file down, and read it here")
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.seed)
        return 0
    if given.only is not None:
        ending, made = content(given.seed, given.only)
        path = given.keep / f"fuzz-{given.seed}-{given.only}{ending}"
        path.write_bytes(made)
        told(f"{path}: {': '.join(judged(path))}")
        return 0
    began = time.monotonic()
    numbers = range(given.first, given.first + given.files)
    found = list(outcomes(given.seed, numbers, given.processes))
    seconds = time.monotonic() - began
    faults = [each for each in found if each.what in FAULTS]
    counts = Counter((each.ending, each.what) for each in found)
    if given.json:
        plain: dict[str, dict[str, int]] = {}
        for (ending, what), count in sorted(counts.items()):
            plain.setdefault(ending, {})[what] = count
        told(json.dumps({"counts": plain, "faults": [asdict(each) for each in faults]}))
        return int(bool(faults))
    told(f"seed {given.seed}, files {given.first} to {numbers[-1]}, {seconds:.0f} s\n")
    told(f"| file | {READ} | {REFUSED} | {' | '.join(FAULTS)} |")
    told(f"|---{'|---' * (2 + len(FAULTS))}|")
    for ending in ENDINGS:
        row = [str(counts[ending, what]) for what in (READ, REFUSED, *FAULTS)]
        told(f"| {ending} | {' | '.join(row)} |")
    sentences = {each.told.partition(":")[0][:60] for each in found if each.what == REFUSED}
    told(f"\nslowest: {max(each.seconds for each in found):.2f} s; {len(sentences)} sentences")
    for each in faults:
        told(f"{each.number} {each.ending} {each.what}: {each.told}")
    return int(bool(faults))


def told(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

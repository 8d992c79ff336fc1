"""Whatever lies in the data folder, prepare ends well or says in one sentence what is wrong."""

import datetime as dt
import gzip
import os
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import tiny_settings

from ratchet.project import Project
from ratchet.schema import Kind, Schema
from ratchet.steps import prepare
from ratchet.table import prepare_table, read_table

ROWS = 60


def rows(n: int = ROWS, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=n).round(3)
    town = np.resize(["Aachen", "Berlin", "Cottbus"], n)
    return pd.DataFrame({"x": x, "town": town, "y": (2 * x + random.normal(size=n)).round(3)})


def text(frame: pd.DataFrame | None = None, **options: object) -> str:
    return (rows() if frame is None else frame).to_csv(index=False, **options)


def with_cell(row: int, column: str, value: object) -> pd.DataFrame:
    frame = rows().astype({column: object})
    frame.loc[row, column] = value
    return frame


Content = str | bytes | pd.DataFrame | pa.Table


def write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match content:
        case str():
            path.write_bytes(content.encode())
        case bytes():
            path.write_bytes(content)
        case pd.DataFrame():
            content.to_parquet(path)
        case pa.Table():
            pq.write_table(content, path)


def columns(**more: object) -> pa.Table:
    """The numbers of ``rows`` and more columns, with the types that Arrow gives them."""
    frame = rows()
    return pa.table({"x": frame["x"].to_numpy(), "y": frame["y"].to_numpy(), **more})


def archive(name: str = "a.csv") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as packed:
            packed.writestr("rows.csv", text())

    return make


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def parquet(frame: pd.DataFrame) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return sink.getvalue().to_pybytes()


def feather() -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.feather.write_feather(pa.Table.from_pandas(rows()), sink)
    return sink.getvalue().to_pybytes()


def database(folder: Path) -> None:
    with sqlite3.connect(folder / "a.csv") as store:
        store.execute("create table t (x)")


def loop(folder: Path) -> None:
    (folder / "a.csv").symlink_to(folder / "b.csv")
    (folder / "b.csv").symlink_to(folder / "a.csv")


def spoiled(content: bytes) -> bytes:
    return content[:10] + bytes(190) + content[200:]


class Fires:
    """What a pickle would run if anybody opened it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (77,)


MICROSECONDS = pa.timestamp("us")
FIRST, *REST = text().splitlines()

# Each kind of file that can't be used: what makes it, and all that the user is told.
REFUSED: dict[str, tuple[dict[str, Content] | Callable[[Path], None], str]] = {
    # Nothing to read
    "an empty file": ({"a.csv": ""}, "{data}/a.csv is empty (0 bytes). Write or fetch it again."),
    "an empty parquet file": (
        {"a.parquet": b""},
        "{data}/a.parquet is empty (0 bytes). Write or fetch it again.",
    ),
    "blank lines": ({"a.csv": "\n\n\n"}, "{data}/a.csv has no columns. Write or fetch it again."),
    "a header only": (
        {"a.csv": "x,town,y\n"},
        "{data} has columns and no rows. Check how it was written.",
    ),
    "a parquet file without rows": (
        {"a.parquet": rows(0)},
        "{data} has columns and no rows. Check how it was written.",
    ),
    "an empty folder": (
        {},
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: nothing.",
    ),
    "an empty file among others": (
        {"a.csv": text(), "b.csv": ""},
        "{data}/b.csv is empty (0 bytes). Write or fetch it again.",
    ),
    "folders only": (
        {"2024/a.csv": text()},
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: 2024. Folders inside are not read: set data.source to that of 2024.",
    ),
    "a folder with the name of a file": (
        lambda folder: (folder / "x.csv").mkdir(),
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: x.csv. Folders inside are not read: set data.source to that of x.csv.",
    ),
    "links in a circle": (
        loop,
        "Can't read {data}/a.csv: Too many levels of symbolic links. Check its permissions.",
    ),
    "a link to nothing": (
        lambda folder: (folder / "a.csv").symlink_to(folder / "gone.csv"),
        "{data}/a.csv is not there. Bring tracked data with `dvc pull`, or change data.source in"
        " params.yaml.",
    ),
    "a named pipe": (
        lambda folder: os.mkfifo(folder / "a.csv"),
        "{data}/a.csv is no file but a pipe, a socket or a device, and can't be versioned."
        " Take it out of the data.",
    ),
    # Too little
    "one row": (
        {"a.csv": text(rows(1))},
        "Target 'y' has 1 distinct value(s) in 1 rows; at least 2 are needed. Check data.target"
        " and data.filter in params.yaml.",
    ),
    "two rows": (
        {"a.csv": text(rows(2))},
        "split.valid 0.2 takes all of the 1 rows that are left. Use a smaller share, or more rows.",
    ),
    "one column": (
        {"a.csv": text(rows()[["y"]])},
        "No feature columns are left. Check data.features and data.drop in params.yaml; columns"
        " with one value only are left out.",
    ),
    "features that never change": (
        {"a.csv": text(rows().assign(x=1, town="Aachen"))},
        "No feature columns are left. Check data.features and data.drop in params.yaml; columns"
        " with one value only are left out.",
    ),
    # Names of columns
    "one name twice": (
        {"a.csv": text().replace("x,town,y", "x,x,y", 1)},
        "{data}/a.csv has more than one column called x. Rename them.",
    ),
    "one name twice in parquet": (
        {
            "a.parquet": pa.Table.from_arrays(
                [pa.array(rows()[name]) for name in ("x", "x", "y")], ["x", "x", "y"]
            )
        },
        "{data}/a.parquet has more than one column called x. Rename them.",
    ),
    "no header": (
        {"a.csv": text(header=False)},
        "data.target: There is no column 'y'. The columns are: 0.126, Aachen, -0.184. Some of"
        " these names are numbers: the first line of a file must hold the names of the columns.",
    ),
    "row numbers without a name": (
        {"a.csv": rows().to_csv()},
        "{data}/a.csv has a column without a name, number 1. Give it one, or write the table"
        " without its row numbers.",
    ),
    "a blank name": (
        {"a.csv": text().replace("x,town", "x, ", 1)},
        "{data}/a.csv has a column without a name, number 2. Give it one, or write the table"
        " without its row numbers.",
    ),
    "a comma behind every line": (
        {"a.csv": "".join(f"{line},\n" for line in (FIRST, *REST))},
        "{data}/a.csv has a column without a name, number 4. Give it one, or write the table"
        " without its row numbers.",
    ),
    "another case in the target's name": (
        {"a.csv": text().replace("x,town,y", "x,town,Y", 1)},
        "data.target: There is no column 'y'. The columns are: x, town, Y.",
    ),
    "blanks around names": (
        {"a.csv": text().replace("x,town,y", " x , town , y", 1)},
        "data.target: There is no column 'y'; did you mean ' y'? The columns are:  x ,  town ,  y.",
    ),
    "a name that prepare needs": (
        {"a.csv": text(rows().assign(ratchet_row=rows(seed=5)["x"]))},
        "The table has a column 'ratchet_row', a name that prepare gives itself. Rename it, or"
        " name it in data.drop.",
    ),
    # Lines
    "a row with a field too many": (
        {"a.csv": text().replace("Berlin", "Berlin,2", 1)},
        "{data}/a.csv: row 2 has 4 fields, and the header has 3: '-0.132,Berlin,2,-1.434'."
        " Put a field that holds ',' in quotes.",
    ),
    "a row with a field too few": (
        {"a.csv": text().replace("Berlin,", "", 1)},
        "{data}/a.csv: row 2 has 2 fields, and the header has 3: '-0.132,-1.434'."
        " A field that is empty needs its ',', too.",
    ),
    "every row with a field too many": (
        {"a.csv": "\n".join([FIRST, *(f"{line},9" for line in REST)])},
        "{data}/a.csv: row 1 has 4 fields, and the header has 3: '0.126,Aachen,-0.184,9'."
        " Put a field that holds ',' in quotes.",
    ),
    "a title above the header": (
        {"a.csv": "Prices of 2024\n" + text()},
        "{data}/a.csv: row 1 has 3 fields, and the header has 1: 'x,town,y'. The first line must"
        " hold the names of the columns, and no title or comment.",
    ),
    "a quote that is never closed": (
        {"a.csv": text().replace("Berlin", '"Berlin', 1)},
        "{data}/a.csv: a quote in row 2 is never closed. Close it, or write a quote inside of a"
        " field twice.",
    ),
    "semicolons": (
        {"a.csv": text(sep=";", decimal=",")},
        "{data}/a.csv has one column only, 'x;town;y', so its separator seems to be ';'. Save it"
        " as .csv with commas, or as .tsv with tabs.",
    ),
    "tabs in .csv": (
        {"a.csv": text(sep="\t")},
        "{data}/a.csv has one column only, 'x\\ttown\\ty', so its separator seems to be '\\t'."
        " Save it as .csv with commas, or as .tsv with tabs.",
    ),
    "commas in .tsv": (
        {"a.tsv": text()},
        "{data}/a.tsv has one column only, 'x,town,y', so its separator seems to be ','. Save it"
        " as .csv with commas, or as .tsv with tabs.",
    ),
    # Encodings
    "latin-1": (
        {"a.csv": text().replace("Aachen", "Köln").encode("latin-1")},
        "{data}/a.csv is not UTF-8 text: line 2 holds the byte 0xf6. Save it as UTF-8, for"
        " example with `iconv -f LATIN1 -t UTF-8`.",
    ),
    "UTF-16": (
        {"a.csv": text().encode("utf-16")},
        "{data}/a.csv is UTF-16 text. Save it as UTF-8, for example with"
        " `iconv -f UTF-16 -t UTF-8`.",
    ),
    "UTF-16 without a mark": (
        {"a.csv": text().encode("utf-16-le")},
        "{data}/a.csv holds a NUL byte in line 1, and no text does: it is in another encoding"
        " than UTF-8, or was cut off while it was written. Write or fetch it again.",
    ),
    "NUL bytes at the end": (
        {"a.csv": text().encode() + bytes(500)},
        "{data}/a.csv holds a NUL byte in line 62, and no text does: it is in another encoding"
        " than UTF-8, or was cut off while it was written. Write or fetch it again.",
    ),
    # Other files under the name of a table
    "gzip without .gz": (
        {"a.csv": gzip.compress(text().encode())},
        "{data}/a.csv is packed by gzip. Let its name end in .csv.gz or .tsv.gz.",
    ),
    ".gz without gzip": (
        {"a.csv.gz": text()},
        "{data}/a.csv.gz is not packed by gzip. Let its name end in .csv if it is text.",
    ),
    "half of a gzipped file": (
        {"a.csv.gz": half(gzip.compress(text().encode()))},
        "{data}/a.csv.gz can't be read: Truncated compressed stream.",
    ),
    "a zip archive": (
        archive("a.zip"),
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: a.zip. Unpack archives.",
    ),
    "an Excel workbook with the name of a text": (
        archive("a.csv"),
        "{data}/a.csv is a zip archive or an Excel workbook. Unpack it. Of a workbook: Save the"
        " sheet as CSV in UTF-8.",
    ),
    "an Excel workbook": (
        archive("a.xlsx"),
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: a.xlsx. Save the sheet as CSV in UTF-8.",
    ),
    "an old Excel workbook with the name of a text": (
        {"a.csv": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(range(256))},
        "{data}/a.csv is an old Excel workbook. Save the sheet as CSV in UTF-8.",
    ),
    "JSON": (
        {"a.json": rows().to_json()},
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz."
        " It holds: a.json. Write JSON as parquet or CSV.",
    ),
    "JSON with the name of a text": (
        {"a.csv": rows().to_json(orient="records", lines=True)},
        "{data}/a.csv is JSON. Write it as parquet, where it was made.",
    ),
    "a web page with the name of a text": (
        {"a.csv": "<!DOCTYPE html>\n<html><body>\nNot found, sorry\n</body></html>\n"},
        "{data}/a.csv is a web page. A download may have ended in a page; get it again.",
    ),
    "a pointer of Git LFS": (
        {"a.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"},
        "{data}/a.csv is a pointer of Git LFS. Fetch its content: `git lfs pull`.",
    ),
    "a database with the name of a text": (
        database,
        "{data}/a.csv is an SQLite database. Write it as parquet, where it was made.",
    ),
    "a pickle": (
        {"a.pkl": pickle.dumps(Fires())},
        "{data} holds no table, which would end in .parquet, .csv, .csv.gz, .tsv, .tsv.gz. It"
        " holds: a.pkl. Pickles may run any code and are never opened: write them as parquet.",
    ),
    "a pickle with the name of a parquet file": (
        {"a.parquet": pickle.dumps(Fires())},
        "{data}/a.parquet is a pickle, which may run any code when it is opened. Write it as"
        " parquet, where it was made.",
    ),
    "text with the name of a parquet file": (
        {"a.parquet": text()},
        "{data}/a.parquet is text. Let its name end in .csv or .tsv.",
    ),
    "parquet with the name of a text": (
        {"a.csv": parquet(rows())},
        "{data}/a.csv is a parquet file. Let its name end in .parquet.",
    ),
    "feather with the name of a parquet file": (
        {"a.parquet": feather()},
        "{data}/a.parquet is an Arrow (feather) file. Write it as parquet, where it was made.",
    ),
    # Parquet
    "half of a parquet file": (
        {"a.parquet": half(parquet(rows()))},
        "{data}/a.parquet is not a whole parquet file (Parquet magic bytes not found in footer."
        " Either the file is corrupted or this is not a parquet file). Write or fetch it again.",
    ),
    "a parquet file with a hole": (
        {"a.parquet": spoiled(parquet(rows()))},
        "{data}/a.parquet is not a whole parquet file (Corrupt snappy compressed data)."
        " Write or fetch it again.",
    ),
    "records": (
        {"a.parquet": columns(n=[{"a": 1}] * ROWS)},
        "Columns of lists, records, bytes or times of day can't be used: 'n' (struct<a: int64> in"
        " a.parquet). Name them in data.drop.",
    ),
    "lists, bytes and times of day": (
        {
            "a.parquet": columns(
                n=[[1]] * ROWS, b=[b"x"] * ROWS, t=pa.array([dt.time(1)] * ROWS, pa.time64("us"))
            )
        },
        "Columns of lists, records, bytes or times of day can't be used: 'n' (list<element: int64>"
        " in a.parquet), 'b' (binary in a.parquet), 't' (time64[us] in a.parquet). Name them in"
        " data.drop.",
    ),
    # Folders
    "a file without a column of the others": (
        {"a.csv": text(), "b.csv": text(rows(seed=1).drop(columns="town"))},
        "The files have different columns: b.csv lacks town. Keep files with the same columns in"
        " one folder, or name columns that some lack in data.drop.",
    ),
    "a file with a column more": (
        {"a.csv": text(), "b.csv": text(rows(seed=1).assign(fee=1.5))},
        "The files have different columns: a.csv lacks fee. Keep files with the same columns in"
        " one folder, or name columns that some lack in data.drop.",
    ),
    "a column of another type in one file": (
        {"a.parquet": rows(), "b.parquet": rows(seed=1).assign(x="many")},
        "Column 'x' is double in a.parquet and large_string in b.parquet, which can't be read as"
        " one. Write both files alike.",
    ),
    "files of several kinds": (
        {"a.csv": text(), "b.parquet": rows(seed=1)},
        "{data} holds tables of several kinds: a.csv, b.parquet. Keep one kind in a folder.",
    ),
    "one file twice": (
        {"a.csv": text(), "b.csv": text()},
        "The table knows the answer, in 1 leak:\n  - repeated rows: 16 of 20 valid rows (80.0%)"
        " and 16 of 24 test rows (66.7%) equal a training row in every column and in y. To go on,"
        " write each row once, or keep copies together with split.method group; or give a reason:"
        " data.allow: {{repeated_rows: why}}.",
    ),
    # Values
    "a word in the target": (
        {"a.csv": text(with_cell(10, "y", "many"))},
        "The target 'y' has 59 different values in 60 rows, too many for classes: {shown}. For a"
        " regression, its values must be numbers: 'y' is read as text: 1 of its 60 values are no"
        " numbers, first 'many' in row 11. If that stands for a missing value, leave the field"
        " empty.",
    ),
    "decimal commas in the target": (
        {"a.csv": text(rows().assign(y=[f"{value},5" for value in range(ROWS)]))},
        "The target 'y' has 60 different values in 60 rows, too many for classes: {shown}. For a"
        " regression, its values must be numbers: 'y' is read as text: its values are numbers with"
        " decimal commas, such as '0,5' in row 1. Write them as 1234.5 if they are more than"
        " labels.",
    ),
    "a target that is missing in some rows": (
        {"a.csv": text(with_cell(3, "y", None))},
        "The target 'y' is missing in 1 of 60 rows: row 4. Add `not missing(target)` to"
        " data.filter.",
    ),
    "a target that is missing in all rows": (
        {"a.csv": text(rows().assign(y=np.nan))},
        "The target 'y' is missing in 60 of 60 rows: row 1, row 2, row 3 and 57 more. Add `not"
        " missing(target)` to data.filter.",
    ),
    "a target of one class": (
        {"a.csv": text(rows().assign(y="yes"))},
        "Target 'y' has 1 distinct value(s) in 60 rows; at least 2 are needed. Check data.target"
        " and data.filter in params.yaml.",
    ),
    "an infinite value": (
        {"a.csv": text(with_cell(3, "x", -np.inf))},
        "Feature 'x' is infinite in 1 of 60 rows: row 4. Leave the rows out with data.filter, or"
        " the column with data.drop.",
    ),
    "a number beyond all floats": (
        {"a.csv": text(with_cell(3, "x", "1e400"))},
        "Feature 'x' is infinite in 1 of 60 rows: row 4. Leave the rows out with data.filter, or"
        " the column with data.drop.",
    ),
    "an infinite target": (
        {"a.parquet": with_cell(3, "y", np.inf).astype({"y": float})},
        "The target 'y' is infinite in 1 of 60 rows: row 4. Add a bound such as `target < 1000` to"
        " data.filter.",
    ),
    "years beyond 9999": (
        {"a.parquet": columns(d=pa.array(np.arange(ROWS) + 4 * 10**17, MICROSECONDS))},
        "Feature 'd' holds years beyond 9999 in 60 of 60 rows: row 1, row 2, row 3 and 57 more."
        " Leave the rows out with data.filter, or the column with data.drop.",
    ),
}


def open_project(folder: Path, **changes: object) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    values = tiny_settings(**{"data__target": "y", "data__drop": [], **changes})
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "params.yaml"


def left(folder: Path) -> list[str]:
    """Files that a step has left, but for the digests of the data that the next one saves."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return [name for name in found if name != "hashes.json"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_file_ends_in_one_sentence_and_leaves_nothing(kind, store, tmp_path, call):
    made, message = REFUSED[kind]
    params = open_project(tmp_path / "project")
    data = params.parent / "data"
    if callable(made):
        made(data)
    else:
        for name, content in made.items():
            write(data / name, content)
    code, out, err = call("prepare", "--params", params)
    assert code == 2
    assert out == ""
    shown = err.partition("classes: ")[2].partition(". For")[0]
    assert err == f"DataError: {message.format(data=data, shown=shown)}\n"
    assert left(params.parent / "build") == []
    assert store.search_runs([each.experiment_id for each in store.search_experiments()]) == []


def test_a_file_that_may_not_be_read_ends_in_one_sentence(store, tmp_path, call):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    params = open_project(tmp_path / "project")
    file = params.parent / "data" / "a.csv"
    write(file, text())
    file.chmod(0)
    code, _, err = call("prepare", "--params", params)
    assert code == 2
    assert f"Can't read {file}: Permission denied. Check its permissions." in err


@dataclass(frozen=True)
class Good:
    """A file that looks bad and can be used, and what is right about the outcome."""

    files: dict[str, Content]
    kinds: dict[str, Kind]
    """What its columns are, but for x and town."""
    holds: dict[str, list[object]]
    """The first values of some."""
    notes: tuple[str, ...] = ()


DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="7h", tz="Europe/Berlin")
CODES = np.resize(["None", "NA", "null", "nan"], ROWS)

ACCEPTED = {
    "a byte-order mark": Good({"a.csv": "\ufeff" + text()}, {}, {"x": [0.126]}),
    "two byte-order marks": Good({"a.csv": "\ufeff\ufeff" + text()}, {}, {"x": [0.126]}),
    "lines as Windows ends them": Good(
        {"a.csv": text(lineterminator="\r\n")}, {}, {"town": ["Aachen"]}
    ),
    "lines as old Macs end them": Good(
        {"a.csv": text(lineterminator="\r")}, {}, {"town": ["Aachen"]}
    ),
    "a gzipped text": Good({"a.csv.gz": gzip.compress(text().encode())}, {}, {"x": [0.126]}),
    "tabs": Good({"a.tsv": text(sep="\t")}, {}, {"x": [0.126]}),
    "lines inside of a field": Good(
        {"a.csv": text(rows().assign(town=rows()["town"] + "\nStadt"))},
        {},
        {"town": ["Aachen\nStadt"]},
    ),
    "a word among numbers": Good(
        {"a.csv": text(with_cell(10, "x", "many"))},
        {"x": Kind.CATEGORY},
        {"x": ["0.126"]},
        (
            "'x' is read as text: 1 of its 60 values are no numbers, first 'many' in row 11."
            " If that stands for a missing value, leave the field empty.",
        ),
    ),
    "a column without a value": Good(
        {"a.csv": text(rows().assign(gap=np.nan))},
        {},
        {},
        ("'gap' is missing in every row: left out.",),
    ),
    "decimal commas": Good(
        {"a.csv": text(rows().assign(n=[f"{i % 9},5" for i in range(ROWS)]))},
        {"n": Kind.CATEGORY},
        {"n": ["0,5"]},
        (
            "'n' is read as text: its values are numbers with decimal commas, such as '0,5' in"
            " row 1. Write them as 1234.5 if they are more than labels.",
        ),
    ),
    "thousands separators": Good(
        {"a.csv": text(rows().assign(n=[f"{1000 + i % 9:,}" for i in range(ROWS)]))},
        {"n": Kind.CATEGORY},
        {"n": ["1,000"]},
        (
            "'n' is read as text: its values are numbers with thousands separators, such as"
            " '1,000' in row 1. Write them as 1234.5 if they are more than labels.",
        ),
    ),
    "dates as people write them": Good(
        {"a.csv": text(rows().assign(n=[f"{1 + i % 9:02}.12.2024" for i in range(ROWS)]))},
        {"n": Kind.CATEGORY},
        {"n": ["01.12.2024"]},
        (
            "'n' is read as text: its values are dates in another form, such as '01.12.2024' in"
            " row 1. Write them as 2024-12-31 if they are more than labels.",
        ),
    ),
    "whole numbers beyond 2^53 with a gap": Good(
        {"a.csv": text(rows().assign(id=["", *(str(2**53 + i) for i in range(1, ROWS))]))},
        {"id": Kind.CATEGORY},
        {"id": [np.nan, "9007199254740993"]},
        ("'id' holds whole numbers that a float would round: read as text.",),
    ),
    "whole numbers of 21 digits": Good(
        {"a.csv": text(rows().assign(id=[str(10**20 + i) for i in range(ROWS)]))},
        {"id": Kind.CATEGORY},
        {"id": ["100000000000000000000"]},
    ),
    "codes with leading zeros": Good(
        {"a.csv": text(rows().assign(zip=[f"{i % 7:05}" for i in range(ROWS)]))},
        {"zip": Kind.CATEGORY},
        {"zip": ["00000", "00001"]},
    ),
    "categories called None, NA and null": Good(
        {"a.csv": text(rows().assign(code=CODES))}, {"code": Kind.CATEGORY}, {"code": list(CODES)}
    ),
    "truth in words": Good(
        {
            "a.csv": text(
                rows().assign(
                    b=np.resize(["yes", "no", "no"], ROWS), c=np.resize(["true", "False"], ROWS)
                )
            )
        },
        {"b": Kind.CATEGORY, "c": Kind.BOOLEAN},
        {"b": ["yes", "no"], "c": [1.0, 0.0]},
    ),
    "the first and the last year": Good(
        {"a.csv": text(rows().assign(d=np.resize(["0001-01-01", "9999-12-31"], ROWS)))},
        {"d": Kind.DATETIME},
        {},
        (
            "'d' reaches from 0001-01-01 to 9999-12-31. If such a date stands for a missing one,"
            " leave it empty.",
        ),
    ),
    "columns in another order": Good(
        {"a.csv": text(), "b.csv": text(rows(seed=1)[["y", "town", "x"]])},
        {},
        {"town": ["Aachen", "Berlin"]},
    ),
    "a file with a header only among others": Good(
        {"a.csv": text(), "b.csv": "x,town,y\n"}, {}, {}, ("b.csv has no rows.",)
    ),
    "ids of another width in one file": Good(
        {
            "a.parquet": rows().assign(i=np.arange(ROWS)[::-1]),
            "b.parquet": rows(seed=1).assign(i=np.arange(ROWS, dtype="int32")),
        },
        {"i": Kind.NUMBER},
        {"i": [59.0]},
        ("'i' is int64 in a.parquet and int32 in b.parquet: read as int64.",),
    ),
    "a column of nothing in one file": Good(
        {
            "a.parquet": rows().assign(fee=pd.Series([None] * ROWS, dtype=object)),
            "b.parquet": rows(seed=1).assign(fee=rows(seed=2)["x"]),
        },
        {"fee": Kind.NUMBER},
        {"fee": [np.nan]},
    ),
    "decimals, spans, half floats and dictionaries": Good(
        {
            "a.parquet": columns(
                price=[Decimal(f"{i % 50}.25") for i in range(ROWS)],
                span=pa.array(np.resize([60, 90, 30], ROWS), pa.duration("s")),
                small=rows(seed=3)["x"].to_numpy().astype("float16"),
                town=pa.array(rows()["town"]).dictionary_encode(),
            )
        },
        {"price": Kind.NUMBER, "span": Kind.NUMBER, "small": Kind.NUMBER},
        {"price": [0.25, 1.25], "span": [60.0, 90.0], "town": ["Aachen"]},
        ("'span' is a span of time: read in seconds.",),
    ),
    "times with a zone": Good(
        {"a.parquet": rows().assign(d=DAYS)},
        {"d": Kind.DATETIME},
        {"d": [pd.Timestamp("2023-12-31 23:00")]},
        ("'d' has the time zone Europe/Berlin: read as UTC without a zone.",),
    ),
    "unsigned numbers beyond 2^63": Good(
        {"a.parquet": columns(town=rows()["town"], id=np.arange(ROWS, dtype="uint64") + 2**63)},
        {"id": Kind.CATEGORY},
        {"id": ["9223372036854775808"]},
        ("'id' holds whole numbers that a float would round: read as text.",),
    ),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_file_that_only_looks_bad_is_read_as_it_was_meant(kind, tmp_path):
    good = ACCEPTED[kind]
    for name, content in good.files.items():
        write(tmp_path / name, content)
    params = open_project(tmp_path / "project")
    table = read_table(tmp_path)
    prepared = prepare_table(table, Project.open(params).settings.data, None)
    kinds = {"x": Kind.NUMBER, "town": Kind.CATEGORY, **good.kinds}
    assert {column.name: column.kind for column in prepared.schema.columns} == kinds
    for name, values in good.holds.items():
        found = prepared.frame[name].iloc[: len(values)]
        pd.testing.assert_series_equal(
            found, pd.Series(values, name=name, dtype=found.dtype), check_dtype=False
        )
    assert set(good.notes) <= {*table.notes, *prepared.notes}


ODD_NAMES = {
    "x": 'a "quoted"\nname',
    "town": "<script>alert(1)</script>",
    "size": "größe 高さ 🏠",
    "cost": "$price[0]{x}",
    "and": "a,b",
    "slash": "%s\\'",
    "long": "t" * 3000,
}


def oddities() -> pd.DataFrame:
    """A table with all that may look bad in it, which is none."""
    random = np.random.default_rng(9)
    frame = rows().assign(
        **{name: random.normal(size=ROWS) for name in ("size", "cost", "and", "slash", "long")},
        code=CODES,
        zip=[f"{i % 7:05}" for i in range(ROWS)],
        id=[*(2**53 + i for i in range(1, ROWS)), None],
        gap=None,
        same="same",
        far=[dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)] * (ROWS // 2),
        sure=[True, None, False] * (ROWS // 3),
    )
    frame["id"] = frame["id"].astype("Int64")
    frame["sure"] = frame["sure"].astype("boolean")
    frame.loc[7, "x"] = np.nan
    return frame.rename(columns=ODD_NAMES)


@pytest.mark.parametrize(("form", "target"), [("csv", "rare"), ("parquet", "y")])
def test_a_table_full_of_oddities_is_prepared_and_trained(form, target, store, tmp_path, call):
    table = oddities()
    if target == "rare":
        # One row of a class is in one part only.
        table["rare"] = np.where(np.arange(ROWS) == 5, "maybe", np.where(table["y"] > 0, "a", "b"))
        table = table.drop(columns="y")
    linear = "ridge" if target == "y" else "logistic"
    params = open_project(
        tmp_path / "project", data__target=target, train__families=["baseline", linear]
    )
    if form == "csv":
        write(params.parent / "data" / "a.csv", text(table))
    else:
        write(params.parent / "data" / "a.parquet", table)
    for step in ("prepare", "train"):
        code, _, err = call(step, "--params", params)
        assert code == 0, err
        assert "Traceback" not in err
    project = Project.open(params)
    names = Schema.load(project.prepared / "schema.json").names
    assert set(ODD_NAMES.values()) <= set(names)
    assert not {"gap", "same"} & set(names)
    assert "'gap' is missing in every row: left out." in (project.prepared / "run.json").read_text()
    page = (project.prepared / "profile.html").read_text(encoding="utf-8")
    assert ODD_NAMES["town"] not in page
    assert (project.trained / "leader.json").is_file()


@pytest.mark.slow
def test_a_thousand_columns_are_prepared(store, tmp_path):
    random = np.random.default_rng(0)
    wide = pd.DataFrame(random.normal(size=(ROWS, 1000)).round(3)).add_prefix("c")
    params = open_project(tmp_path / "project")
    write(params.parent / "data" / "a.csv", text(rows().join(wide)))
    project = Project.open(params)
    prepare.run(project)
    assert len(Schema.load(project.prepared / "schema.json").columns) == 1002


def test_what_was_noted_while_reading_reaches_the_run(store, tmp_path):
    params = open_project(tmp_path / "project")
    write(params.parent / "data" / "a.csv", text(with_cell(10, "x", "many")))
    outcome = prepare.run(Project.open(params))
    note = store.get_run(outcome.run_id).data.tags["mlflow.note.content"]
    assert "'x' is read as text: 1 of its 60 values are no numbers" in note


def test_a_pickle_in_these_tests_would_end_them_if_it_were_opened():
    function, arguments = Fires().__reduce__()
    assert (function, arguments) == (os._exit, (77,))

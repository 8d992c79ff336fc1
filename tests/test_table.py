"""A table is read as it was meant, or refused in a sentence."""

import gzip
import os
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.errors import RatchetError
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import Data
from ratchet.table import (
    Table,
    TableFile,
    encode_target,
    prepare_table,
    read_parquet,
    read_table,
    row_hashes,
    with_statistics,
    write_parquet,
)

SHARED = Path(__file__).parents[2] / "shared" / "data"
TAXI = SHARED / "nyc-green-taxi"
ENDINGS = ".parquet, .csv, .csv.gz, .tsv, .tsv.gz"
# Without the time: every process that runs tests must give this one the same name.
EMPTY_GZ = gzip.compress(b"", mtime=0)


@pytest.fixture
def put(tmp_path):
    """Write a file of text, bytes or an arrow table, and give its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def told(call, *args, **kwargs):
    with pytest.raises(RatchetError) as error:
        call(*args, **kwargs)
    return str(error.value)


def column(path, name):
    return read_table(path).frame[name]


# Text files


def test_a_text_file_is_read_with_a_type_for_each_column(put):
    path = put(
        "a.csv",
        "whole,gap,part,truth,some,day,moment,word,none\n"
        '1,5,0.5,true,TRUE,2023-01-31,2023-01-31 10:00:00.5,"a, b",\n'
        "-2,,.25,False,,2023-02-01,2023-01-31T10:00,,\n"
        "0,7,1e3,true,false,,,c,\n",
    )
    table = read_table(path)
    frame = table.frame
    assert table.files == (path,)
    assert table.rows_per_file == (3,)
    assert table.notes == ()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "whole": "int64",
        "gap": "float64",
        "part": "float64",
        "truth": "bool",
        "some": "boolean",
        "day": "datetime64[us]",
        "moment": "datetime64[us]",
        "word": "str",
        "none": "float64",
    }
    assert frame["whole"].tolist() == [1, -2, 0]
    assert frame["part"].tolist() == [0.5, 0.25, 1000.0]
    assert frame["some"].tolist() == [True, pd.NA, False]
    assert frame["moment"][0] == pd.Timestamp("2023-01-31 10:00:00.5")
    assert frame["word"][0] == "a, b"
    assert frame["gap"].isna().tolist() == [False, True, False]
    assert frame["none"].isna().all()


def test_only_the_empty_field_is_missing(put):
    words = ["None", "null", "NA", "nan", "N/A", "-", " "]
    frame = read_table(
        put("a.csv", "word,n\n" + "".join(f"{w},1\n" for w in words) + ',2\n"",3\n')
    ).frame
    assert frame["word"][:7].tolist() == words
    assert frame["word"][7:].isna().all()


def test_a_word_among_numbers_makes_text_and_is_told(put):
    table = read_table(put("a.csv", "x,y\n1,1\n2.5,2\nNA,3\n"))
    assert table.frame["x"].tolist() == ["1", "2.5", "NA"]
    assert table.notes == (
        "'x' is read as text: 1 of its 3 values are no numbers, first 'NA' in row 3."
        " If that stands for a missing value, leave the field empty.",
    )


def test_a_word_far_down_in_a_column_of_numbers_is_found(put):
    n = 400_000
    table = read_table(put("a.csv", "x,y\n" + "1,2\n" * n + "many,2\n" + "1,2\n"))
    assert table.frame["x"].dtype == "str"
    assert "first 'many' in row 400,001." in table.notes[0]


def test_codes_with_leading_zeros_stay_text(put):
    table = read_table(put("a.csv", "zip,n\n01234,0\n98765,-0.5\n,1\n"))
    assert table.frame["zip"][:2].tolist() == ["01234", "98765"]
    assert table.frame["n"].dtype == "float64"
    assert table.notes == ()


def test_codes_stay_text_when_only_another_file_has_a_leading_zero(put):
    put("t/a.csv", "zip\n98765\n1e5\n")
    path = put("t/b.csv", "zip\n01234\n")
    assert column(path.parent, "zip").tolist() == ["98765", "1e5", "01234"]


def test_large_whole_numbers_in_a_column_with_a_gap_are_not_rounded(put):
    path = put("a.csv", f"id,n\n{2**53 + 1},1\n,2\n{2**63 - 1},3\n")
    assert column(path, "id").dtype == "Int64"
    assert column(path, "id").dropna().tolist() == [2**53 + 1, 2**63 - 1]
    parquet = put("b.parquet", pa.table({"id": pa.array([2**64 - 1, None], pa.uint64())}))
    assert column(parquet, "id")[0] == 2**64 - 1


def test_numbers_of_20_digits_stay_text(put):
    digits = "12345678901234567890"
    assert column(put("a.csv", f"id,n\n{digits},1\n2,2\n"), "id").tolist() == [digits, "2"]


def test_a_date_that_does_not_exist_stays_text(put):
    path = put("a.csv", "d,n\n2023-02-30,1\n2023-02-28,2\n")
    assert column(path, "d").tolist() == ["2023-02-30", "2023-02-28"]


def test_blanks_around_numbers_do_not_make_text(put):
    frame = read_table(put("a.csv", "x,w\n 1, a\n 2 , b\n")).frame
    assert frame["x"].tolist() == [1, 2]
    assert frame["w"].tolist() == [" a", " b"]


def test_times_with_a_zone_are_read_as_utc(put):
    table = read_table(put("a.csv", "t,n\n2023-01-01T01:00:00+01:00,1\n2023-01-01 00:00Z,2\n"))
    assert table.frame["t"].tolist() == [pd.Timestamp("2023-01-01")] * 2
    assert table.frame["t"].dtype == "datetime64[us]"
    assert table.notes == ("'t' has a time zone: read as UTC without a zone.",)


@pytest.mark.parametrize("marks", [1, 2, 3])
def test_byte_order_marks_are_no_part_of_a_name(put, marks):
    path = put("a.csv", b"\xef\xbb\xbf" * marks + b"x,y\n1,2\n")
    assert read_table(path).frame.columns.tolist() == ["x", "y"]


def test_a_field_may_hold_lines_and_separators(put):
    frame = read_table(put("a.tsv", 'x\t"a\nb"\r\n"1\n\t2"\t3\r\n\r\n4\t5\r\n')).frame
    assert frame.columns.tolist() == ["x", "a\nb"]
    assert frame["x"].tolist() == ["1\n\t2", "4"]


def test_an_empty_line_is_a_missing_value_in_a_table_of_one_column(put):
    assert column(put("a.csv", "x\n1\n\n3\n"), "x").isna().tolist() == [False, True, False]


def test_a_quote_that_is_never_closed_is_found_in_a_long_file(put):
    path = put("a.csv", 'x,y\n1,2\n1,"2\n' + "3,4\n" * 50_000)
    assert told(read_table, path) == (
        f"{path}: a quote in row 2 is never closed. Close it, or write a quote inside of a field"
        " twice."
    )


def test_a_field_may_be_very_long(put):
    path = put("a.csv", f'x,y\n"{"long " * 100_000}",1\n')
    assert len(column(path, "x")[0]) == 500_000


def test_a_quote_inside_of_a_field_may_stand_alone(put):
    assert column(put("a.csv", 'pipe,n\n5" pipe,1\n'), "pipe")[0] == '5" pipe'


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_packed_text_is_read(put, name):
    path = put(name, gzip.compress(b"x,y\n1,2\n"))
    assert read_table(path).frame["x"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "{path} is empty (0 bytes). Write or fetch it again."),
        ("a.csv", "\n", "{path} has no columns. Write or fetch it again."),
        ("a.csv.gz", EMPTY_GZ, "{path} has no columns. Write or fetch it again."),
        ("a.csv", "x,y", "{path} has columns and no rows. Check how it was written."),
        ("a.csv", "x,y\r\n", "{path} has columns and no rows. Check how it was written."),
        (
            "a.csv",
            "x,y\n1,2,3\n4,5,6\n",
            "{path}: row 1 has 3 fields, and the header has 2: '1,2,3'."
            " Put a field that holds ',' in quotes.",
        ),
        (
            "a.csv",
            "x,y\n1,2\n\n3\n",
            "{path}: row 2 has 1 fields, and the header has 2: '3'."
            " A field that is empty needs its ',', too.",
        ),
        (
            "a.csv",
            'x,y\n1,"2\n3,4\n',
            "{path}: a quote in row 1 is never closed. Close it, or write a quote inside of a"
            " field twice.",
        ),
        (
            "a.csv",
            ",x\n0,1\n",
            "{path} has a column without a name, number 1. Give it one, or write the table"
            " without its row numbers.",
        ),
        ("a.csv", "x,y,x\n1,2,3\n", "{path} has more than one column called x. Rename them."),
        (
            "a.csv",
            "x;y\n1,5;2\n",
            "{path} has one column only, 'x;y', so its separator seems to be ';'."
            " Save it as .csv with commas, or as .tsv with tabs.",
        ),
        (
            "a.csv",
            b"x,y\n1,caf\xe9\n",
            "{path} is not UTF-8 text: line 2 holds the byte 0xe9. Save it as UTF-8, for"
            " example with `iconv -f LATIN1 -t UTF-8`.",
        ),
        (
            "a.csv",
            "x,y\n1,2\n".encode("utf-16"),
            "{path} is UTF-16 text. Save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`.",
        ),
        (
            "a.csv",
            b"x,y\n" + b"1,2\n" * 5_000_000 + b"1,caf\xe9\n",
            "{path} is not UTF-8 text: line 5,000,002 holds the byte 0xe9. Save it as UTF-8, for"
            " example with `iconv -f LATIN1 -t UTF-8`.",
        ),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value)[:20],
)
def test_a_text_file_that_is_no_table_is_refused(put, name, content, message):
    path = put(name, content)
    assert told(read_table, path) == message.format(path=path)


def test_a_broken_packed_file_is_refused(put):
    packed = gzip.compress(b"x,y\n" + os.urandom(10_000).hex(",").encode())
    message = told(read_table, put("a.csv.gz", packed[: len(packed) // 2]))
    assert "a.csv.gz" in message
    path = put("b.csv.gz", b"x,y\n1,2\n")
    assert told(read_table, path) == (
        f"{path} is not packed by gzip. Let its name end in .csv if it is text."
    )


def test_a_column_that_only_some_files_have_may_be_dropped(put):
    put("t/a.csv", "x,y\n1,2\n")
    folder = put("t/b.csv", "fee,x,y\n9,3,4\n").parent
    table = read_table(folder, drop=["fee"])
    assert table.frame.to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    assert table.left_out == ("fee",)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (["1,234", "12,345.6"], "numbers with thousands separators, such as '1,234' in row 1"),
        (["1,5", "12"], "numbers with decimal commas, such as '1,5' in row 1"),
        (["$ 1.50", "$3"], "numbers with a unit, such as '$ 1.50' in row 1"),
        (["5 %", "7 %"], "numbers with a unit, such as '5 %' in row 1"),
        (["31.12.2024", "1.1.2025"], "dates in another form, such as '31.12.2024' in row 1"),
        (["12/31/2024 10:00", "1/1/25 9:30"], "dates in another form, such as '12/31/2024"),
    ],
)
def test_numbers_and_dates_in_another_form_are_told(put, fields, told):
    rows = "".join(f'"{field}",1\n' for field in fields)
    (note,) = read_table(put("a.csv", f"x,y\n{rows}")).notes
    assert note.startswith(f"'x' is read as text: its values are {told}")


def test_what_is_infinite_in_a_column_of_numbers_is_a_number(put):
    table = read_table(put("a.csv", "x,word\n1.5,inf\n-inf,out\nInfinity,inf\n"))
    assert table.frame["x"].tolist() == [1.5, -np.inf, np.inf]
    assert table.frame["word"].tolist() == ["inf", "out", "inf"]


# Parquet files


def test_a_parquet_file_is_read_with_plain_types(put):
    content = pa.table(
        {
            "int": pa.array([1, 2], pa.int32()),
            "gap": pa.array([1, None], pa.int64()),
            "half": pa.array(np.array([1, 2], "float16")),
            "truth": pa.array([True, None]),
            "money": pa.array([Decimal("1.25"), None]),
            "text": pa.array(["a", None]),
            "view": pa.array(["a", None], pa.string_view()),
            "label": pa.array(["a", "b"]).dictionary_encode(),
            "day": pa.array([date(2023, 1, 31), None]),
            "moment": pa.array([1_500, None], pa.timestamp("ns")),
            "zoned": pa.array([0, None], pa.timestamp("s", "America/New_York")),
            "span": pa.array([timedelta(minutes=1), None]),
            "null": pa.nulls(2),
            "empty": pa.array([None, None], pa.string()),
        }
    )
    table = read_table(put("a.parquet", content))
    assert {name: str(dtype) for name, dtype in table.frame.dtypes.items()} == {
        "int": "int32",
        "gap": "float64",
        "half": "float64",
        "truth": "boolean",
        "money": "float64",
        "text": "str",
        "view": "str",
        "label": "str",
        "day": "datetime64[us]",
        "moment": "datetime64[us]",
        "zoned": "datetime64[us]",
        "span": "timedelta64[us]",
        "null": "float64",
        "empty": "float64",
    }
    assert table.frame["money"][0] == 1.25
    assert table.frame["moment"][0] == pd.Timestamp("1970-01-01 00:00:00.000001")
    assert table.frame["zoned"][0] == pd.Timestamp("1970-01-01")
    assert table.notes == (
        "'zoned' has the time zone America/New_York: read as UTC without a zone.",
    )


def test_the_index_of_a_written_frame_is_no_column(tmp_path):
    pd.DataFrame({"x": [1, 2]}, index=[5, 6]).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path).frame.columns.tolist() == ["x"]


def test_a_column_with_a_dot_in_its_name_is_read(put):
    path = put("a.parquet", pa.table({"a": [1], "a.b": [2]}))
    assert read_table(path, ["a.b"]).frame.to_dict("list") == {"a.b": [2]}
    assert read_table(path, ["a"]).frame.to_dict("list") == {"a": [1]}


def test_files_with_harmless_differences_are_one_table(put):
    first = pa.table(
        {
            "id": pa.array([1], pa.int64()),
            "fee": pa.nulls(1),
            "note": pa.array([None], pa.float64()),
            "text": pa.array(["a"], pa.string()),
            "sum": pa.array([1], pa.int64()),
            "at": pa.array([0], pa.timestamp("s")),
        }
    )
    second = pa.table(
        {
            "text": pa.array(["b"], pa.large_string()),
            "id": pa.array([2], pa.int32()),
            "fee": pa.array([1.5]),
            "note": pa.array(["x"]),
            "sum": pa.array([0.5]),
            "at": pa.array([0], pa.timestamp("ns")),
        }
    )
    folder = put("t/a.parquet", first).parent
    put("t/b.parquet", second)
    table = read_table(folder)
    assert table.files == (folder / "a.parquet", folder / "b.parquet")
    assert table.rows_per_file == (1, 1)
    assert table.frame.columns.tolist() == first.column_names
    assert table.frame["id"].dtype == "int64"
    assert table.frame["fee"].tolist()[1] == 1.5
    assert table.frame["note"].tolist()[1] == "x"
    assert table.frame["sum"].tolist() == [1.0, 0.5]
    assert table.notes == (
        "'id' is int64 in a.parquet and int32 in b.parquet: read as int64.",
        "'sum' is int64 in a.parquet and double in b.parquet: read as double.",
    )
    assert table.place(1) == "row 1 of b.parquet"


@pytest.mark.parametrize(
    ("one", "other", "types"),
    [
        (["a"], [1.5], "large_string in a.parquet and double in b.parquet"),
        ([True], [1], "bool in a.parquet and int64 in b.parquet"),
        ([2**53 + 1], [0.5], "int64 in a.parquet and double in b.parquet"),
        ([datetime(2023, 1, 1)], [1], "timestamp[us] in a.parquet and int64 in b.parquet"),
    ],
)
def test_files_whose_types_do_not_fit_are_refused(put, one, other, types):
    put("t/a.parquet", pa.table({"x": one}))
    folder = put("t/b.parquet", pa.table({"x": other})).parent
    assert told(read_table, folder) == (
        f"Column 'x' is {types}, which can't be read as one. Write both files alike."
    )


def test_files_with_different_columns_are_refused(put):
    put("t/a.parquet", pa.table({"x": [1], "y": [1], "z": [1]}))
    folder = put("t/b.parquet", pa.table({"x": [1], "w": [1]})).parent
    assert told(read_table, folder) == (
        "The files have different columns: b.parquet lacks y, z and a.parquet lacks w."
        " Keep files with the same columns in one folder, or name columns that some lack in"
        " data.drop."
    )
    assert read_table(folder, ["x"]).frame["x"].tolist() == [1, 1]


def test_columns_of_lists_and_bytes_are_refused_unless_they_are_not_needed(put):
    path = put(
        "a.parquet",
        pa.table(
            {
                "x": [1],
                "tags": pa.array([["a"]]),
                "raw": pa.array([b"a"]),
                "at": pa.array([time(1)]),
            }
        ),
    )
    assert told(read_table, path) == (
        "Columns of lists, records, bytes or times of day can't be used: 'tags' (list<element:"
        " string> in a.parquet), 'raw' (binary in a.parquet), 'at' (time64[us] in a.parquet)."
        " Name them in data.drop."
    )
    assert read_table(path, ["x"]).frame.columns.tolist() == ["x"]
    table = read_table(path, drop=["tags", "raw", "at", "other"])
    assert table.frame.columns.tolist() == ["x"]
    assert table.left_out == ("tags", "raw", "at")


@pytest.mark.parametrize("reader", ["csv", "parquet"])
def test_only_the_wanted_columns_are_read_in_the_order_of_the_file(put, reader):
    path = put("a.csv", "x,y,z\n1,2,3\n")
    if reader == "parquet":
        path = put("a.parquet", pa.table({"x": [1], "y": [2], "z": [3]}))
    table = read_table(path, ["z", "x"])
    assert table.frame.columns.tolist() == ["x", "z"]
    assert table.left_out == ("y",)
    assert told(read_table, path, ["zz", "x"]) == (
        f"{path.name}: There is no column 'zz'; did you mean 'z'? The columns are: x, y, z."
    )


def test_a_broken_parquet_file_is_refused(put):
    path = put("a.parquet", pa.table({"x": range(100_000)}))
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert told(read_table, path) == (
        f"{path} is not a whole parquet file (Parquet magic bytes not found in footer. Either the"
        " file is corrupted or this is not a parquet file). Write or fetch it again."
    )
    path.write_bytes(whole[:500] + b"\xff" * 2000 + whole[2500:])
    assert told(read_table, path).startswith(f"{path} is not a whole parquet file (")


def test_text_of_a_parquet_file_that_is_not_utf_8_is_refused(put):
    said = pa.array([b"caf\xe9", b"tea"]).view(pa.string())
    path = put("a.parquet", pa.table({"x": [1, 2], "said": said}))
    refused = (
        f"{path}: column 'said' holds text that is not UTF-8. Write it as UTF-8 where the file was"
        " made."
    )
    assert told(read_table, path) == refused
    opened = TableFile.open(path)
    [piece] = opened.pieces(10)
    assert told(opened.frame, piece.table, {"said": Kind.CATEGORY}) == refused
    path.write_bytes(path.read_bytes().replace(b"said", b"sa\xe9d"))
    for read in (read_table, TableFile.open):
        assert told(read, path).startswith(f"{path} is not a whole parquet file ('utf-8' codec")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} is empty (0 bytes). Write or fetch it again."),
        (pa.table({}), "{path} has no columns. Write or fetch it again."),
        (
            pa.table([[1], [2]], names=["x", "x"]),
            "{path} has more than one column called x. Rename them.",
        ),
        (
            pa.table({"x": pa.array([], pa.int64())}),
            "{path} has columns and no rows. Check how it was written.",
        ),
    ],
)
def test_a_parquet_file_without_a_table_is_refused(put, content, message):
    path = put("a.parquet", content)
    assert told(read_table, path) == message.format(path=path)


def test_a_time_that_does_not_fit_is_refused(put):
    path = put("a.parquet", pa.table({"x": [1], "t": pa.array([2**62], pa.timestamp("ms"))}))
    assert told(read_table, path) == (
        f"{path}: column 't' of type timestamp[ms] holds what can't be read: Casting from"
        " timestamp[ms] to timestamp[us] would result in out of bounds timestamp:"
        " 4611686018427387904. Leave it out with data.drop."
    )
    assert read_table(path, ["x"]).frame["x"].tolist() == [1]


# Folders and paths


def test_a_folder_is_one_table_of_its_visible_files(put):
    put("t/b.csv", "x,y\n3,4\n")
    put("t/a.csv.gz", gzip.compress(b"y,x\n2,1\n"))
    put("t/c.csv", "x,y\n")
    put("t/.hidden.csv", "nothing")
    put("t/.gitignore", "/a.csv")
    put("t/old.dvc", "outs: []")
    put("t/sub/d.csv", "x,y\n9,9\n")
    folder = put("t/README.md", "# Data").parent
    table = read_table(folder)
    assert table.frame.to_dict("list") == {"y": [2, 4], "x": [1, 3]}
    assert [path.name for path in table.files] == ["a.csv.gz", "b.csv", "c.csv"]
    assert table.rows_per_file == (1, 1, 0)
    assert table.notes == ("Not read, as they are no tables: README.md.", "c.csv has no rows.")
    assert [table.place(row) for row in (0, 1)] == ["row 1 of a.csv.gz", "row 1 of b.csv"]


def test_paths_without_a_table_are_refused(put, tmp_path):
    note = put("t/notes.txt", "x")
    put("t/.gitignore", "x")
    missing = tmp_path / "gone"
    assert told(read_table, missing) == (
        f"{missing} is not there. Check data.source in params.yaml, or fetch the data with"
        " `dvc pull`."
    )
    assert told(read_table, note) == (
        f"{note} is not a table: its name must end in {ENDINGS}. Rename text files to .csv if"
        " commas separate their fields, to .tsv if tabs do."
    )
    assert told(read_table, note.parent) == (
        f"{note.parent} holds no table, which would end in {ENDINGS}. It holds: notes.txt."
        " Rename text files to .csv if commas separate their fields, to .tsv if tabs do."
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert told(read_table, empty) == (
        f"{empty} holds no table, which would end in {ENDINGS}. It holds: nothing."
    )
    os.mkfifo(tmp_path / "pipe.csv")
    assert told(read_table, tmp_path / "pipe.csv") == (
        f"{tmp_path / 'pipe.csv'} is neither a file nor a folder. Check data.source."
    )


def test_a_folder_of_several_kinds_is_refused(put):
    put("t/a.parquet", pa.table({"x": [1]}))
    folder = put("t/a.csv", "x\n1\n").parent
    assert told(read_table, folder) == (
        f"{folder} holds tables of several kinds: a.csv, a.parquet. Keep one kind in a folder."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_may_not_be_read_is_told(put, name):
    path = put(name, "x\n1\n")
    path.chmod(0)
    assert told(read_table, path) == f"{path} can't be read: Permission denied."


# Preparing


def table_of(**columns):
    frame = pd.DataFrame(columns)
    return Table(frame, (Path("a.csv"),), (len(frame),))


def data_of(target="y", **choices):
    return Data(source="data", target=target, **choices)


@pytest.fixture
def table():
    n = 200
    return table_of(
        number=np.arange(n),
        zone=np.arange(n) % 7,
        word=["a", "b", None, "d"] * 50,
        text=[f"a rather long sentence, number {i}" for i in range(n)],
        code=[f"c{i // 2}" for i in range(n)],
        truth=pd.array([True, None] * 100, dtype="boolean"),
        when=pd.date_range("2023-01-01", periods=n, unit="s"),
        span=pd.to_timedelta(np.arange(n), unit="m"),
        big=pd.array([2**60, None] * 100, dtype="Int64"),
        one=1.0,
        none=np.nan,
        y=np.arange(n) / 2,
    )


def test_columns_get_their_kind_and_plain_dtype(table):
    prepared = prepare_table(table, data_of(categorical=["zone"]), None)
    assert [(c.name, c.kind, c.dtype) for c in prepared.schema.columns] == [
        ("number", Kind.NUMBER, "float64"),
        ("zone", Kind.CATEGORY, "float64"),
        ("word", Kind.CATEGORY, "str"),
        ("text", Kind.TEXT, "str"),
        ("code", Kind.CATEGORY, "str"),
        ("truth", Kind.BOOLEAN, "float64"),
        ("when", Kind.DATETIME, "datetime64[us]"),
        ("span", Kind.NUMBER, "float64"),
        ("big", Kind.CATEGORY, "str"),
    ]
    frame = prepared.frame
    assert [str(dtype) for dtype in frame.dtypes] == [
        *(c.dtype for c in prepared.schema.columns),
        "float64",
    ]
    assert frame.columns.tolist() == [*prepared.schema.names, "y"]
    assert frame["truth"][0] == 1.0
    assert np.isnan(frame["truth"][1])
    assert frame["span"][2] == 120.0
    assert frame["big"][0] == str(2**60)
    assert frame["big"].isna().sum() == 100
    assert prepared.schema.problem is ProblemType.REGRESSION
    assert prepared.notes == (
        "'span' is a span of time: read in seconds.",
        "'big' holds whole numbers that a float would round: read as text.",
        "'one' is 1.0 in every row: left out.",
        "'none' is missing in every row: left out.",
    )


def test_text_named_categorical_is_not_free_text(table):
    prepared = prepare_table(table, data_of(categorical=["text"]), None)
    assert "text" in prepared.schema.of_kind(Kind.CATEGORY)


def test_rows_that_the_filter_does_not_keep_are_gone(table):
    prepared = prepare_table(table, data_of(filter="target > 10 and not missing(word)"), None)
    assert (prepared.n_read, prepared.n_filtered_out) == (200, 200 - len(prepared.frame))
    assert prepared.frame["y"].min() == 10.5
    assert prepared.frame["word"].notna().all()
    assert prepared.frame.index.tolist() == list(range(len(prepared.frame)))


def test_a_filter_drops_the_rows_where_it_is_missing():
    table = table_of(x=[1.0, None, 3.0], y=[1.0, 2.0, 3.5])
    assert len(prepare_table(table, data_of(filter="x > 0"), None).frame) == 2


def test_a_computed_target_hides_its_sources_unless_they_are_named(table):
    prepared = prepare_table(table, data_of("y * number"), None, keep=["when"])
    assert prepared.schema.target == "target"
    assert not {"y", "number", "when"} & set(prepared.schema.names)
    assert prepared.extra.columns.tolist() == ["when"]
    assert prepared.extra.index.equals(prepared.frame.index)
    assert prepared.notes[0] == (
        "The target is computed from number, y: no features, unless data.features names them."
    )
    named = prepare_table(table, data_of("y * number", features=["when", "number"]), None)
    assert named.schema.names == ["when", "number"]


def test_dropped_columns_are_no_features_but_may_be_used_in_rules(table):
    prepared = prepare_table(table, data_of(drop=["number", "text"], filter="number < 50"), None)
    assert len(prepared.frame) == 50
    assert not {"number", "text"} & set(prepared.schema.names)


def test_a_column_that_was_not_read_may_be_dropped_by_name(put):
    path = put("a.parquet", pa.table({"x": [1, 2], "y": [0.5, 1.5], "tags": [["a"], ["b"]]}))
    data = data_of(drop=["tags"])
    assert prepare_table(read_table(path, drop=data.drop), data, None).schema.names == ["x"]


def test_a_computed_target_gives_way_to_a_feature_of_its_name():
    table = table_of(target=[1, 2, 3], x=[1.0, 2.0, 3.5], target_=[1, 2, 3])
    prepared = prepare_table(table, data_of("x + 1"), None)
    assert prepared.frame.columns.tolist() == ["target", "target_", "target__"]
    assert prepared.schema.target == "target__"
    bare = prepare_table(table, data_of("target"), ProblemType.REGRESSION)
    assert bare.schema.target == "target"


@pytest.mark.parametrize(
    ("y", "choices", "problem", "classes", "dtype"),
    [
        (["no", "yes", "no"], {}, "binary", ("no", "yes"), "str"),
        (["no", "yes", "no"], {"positive": "no"}, "binary", ("yes", "no"), "str"),
        ([True, False, True], {}, "binary", (False, True), "bool"),
        ([True, False, True], {"positive": False}, "binary", (True, False), "bool"),
        ([2, 1, 1], {"positive": 1}, "binary", (2, 1), "int64"),
        ([2.0, 1.0, 3.0], {}, "multiclass", (1, 2, 3), "int64"),
        (pd.Categorical(["b", "a", "c"]), {}, "multiclass", ("a", "b", "c"), "str"),
        ([0.5, 1.5, 3.0], {}, "regression", (), "float64"),
    ],
)
def test_classes_are_plain_labels_with_the_positive_one_last(y, choices, problem, classes, dtype):
    prepared = prepare_table(table_of(x=[1, 2, 3], y=y), data_of(**choices), None)
    assert prepared.schema.problem == problem
    assert prepared.schema.classes == classes
    assert [type(label) for label in prepared.schema.classes] == [type(label) for label in classes]
    assert prepared.frame["y"].dtype == dtype


def test_a_comparison_is_a_target_of_true_and_false():
    prepared = prepare_table(table_of(x=[1, 2, 3], tip=[0, 1, 2]), data_of("tip > 0"), None)
    assert prepared.frame["target"].tolist() == [False, True, True]
    assert prepared.frame["target"].dtype == "bool"


def test_the_problem_in_params_overrides_the_guess():
    table = table_of(x=[1, 2, 3], y=[1, 2, 3])
    prepared = prepare_table(table, data_of(), ProblemType.REGRESSION)
    assert prepared.schema.classes == ()
    assert prepared.frame["y"].dtype == "float64"


def test_all_wrong_names_are_told_at_once(table):
    data = data_of(
        "y + z",
        filter="numbr > 1",
        features=["number", "wrd", "code"],
        drop=["code", "foo"],
        categorical=["zon"],
    )
    columns = "number, zone, word, text, code, truth, when, span, big, one, none, y."
    assert told(prepare_table, table, data, None, keep=["wen"]) == (
        "The table has 7 problems:\n"
        "  - data.features: There is no column 'wrd'; did you mean 'word'?"
        f" The columns are: {columns}\n"
        f"  - data.drop: There is no column 'foo'. The columns are: {columns}\n"
        "  - data.categorical: There is no column 'zon'; did you mean 'zone'?"
        f" The columns are: {columns}\n"
        "  - split.column: There is no column 'wen'; did you mean 'when'?"
        f" The columns are: {columns}\n"
        "  - data.features and data.drop both name 'code'. Keep one.\n"
        "  - data.target: In the expression 'y + z': There is no column 'z'."
        f" The columns are: {columns}\n"
        "  - data.filter: In the expression 'numbr > 1': There is no column 'numbr'; did you mean"
        " 'number'? The columns are: target, number, zone, word, text, code, truth, when, span,"
        " big, one, none and 1 more."
    )


MISSING = [1.0, None, 2.5, None, None, None]


@pytest.mark.parametrize(
    ("columns", "choices", "problem", "message"),
    [
        (
            {"x": [1, 2], "y": [1, 2]},
            {"features": ["x", "y"]},
            None,
            "data.features names the target 'y'. Take it out.",
        ),
        (
            {"x": [1, 2], "y": [1, 2]},
            {"filter": "x > 5"},
            None,
            "data.filter keeps none of the 2 rows: x > 5."
            " Check it against the values of the table.",
        ),
        (
            {"x": [1, 2], "y": [1, 2]},
            {"filter": "x"},
            None,
            "data.filter: 'x' must be true or false for every row, got np.int64(1).",
        ),
        (
            {"x": range(6), "y": MISSING},
            {"filter": "x > 0"},
            None,
            "The target 'y' is missing in 4 of 5 rows: row 2, row 4, row 5 and 1 more."
            " Add `not missing(target)` to data.filter.",
        ),
        (
            {"x": [1, 2, 3], "y": [1.0, np.inf, 2.0]},
            {},
            None,
            "The target 'y' is infinite in 1 of 3 rows: row 2."
            " Add a bound such as `target < 1000` to data.filter.",
        ),
        (
            {"x": [1, 2], "y": [1, 1]},
            {},
            None,
            "Target 'y' has 1 distinct value(s) in 2 rows; at least 2 are needed."
            " Check data.target and data.filter in params.yaml.",
        ),
        (
            {"x": [1, 2], "y": [1, 1]},
            {},
            ProblemType.REGRESSION,
            "Target 'y' has 1 distinct value(s) in 2 rows; at least 2 are needed."
            " Check data.target and data.filter in params.yaml.",
        ),
        (
            {"x": [1, 2], "y": ["a", "b"]},
            {},
            ProblemType.REGRESSION,
            "train.problem is regression, and the target 'y' holds 'a', not numbers."
            " Set train.problem to null.",
        ),
        (
            {"x": [1, 2], "y": [True, False]},
            {},
            ProblemType.REGRESSION,
            "train.problem is regression, and the target 'y' holds True, not numbers."
            " Set train.problem to null.",
        ),
        (
            {"x": [1, 2, 3], "y": ["a", "b", "c"]},
            {},
            ProblemType.BINARY,
            "train.problem is binary, and the target 'y' has 3 classes: 'a', 'b', 'c'."
            " Set train.problem to null.",
        ),
        (
            {"x": [1, 2], "y": ["a", "b"]},
            {},
            ProblemType.MULTICLASS,
            "train.problem is multiclass, and the target 'y' has 2 classes: 'a', 'b'."
            " Set train.problem to null.",
        ),
        (
            {"x": range(30), "y": [f"{i},5" for i in range(30)]},
            {},
            None,
            "The target 'y' has 30 different values in 30 rows, too many for classes: '0,5', '1,5',"
            " '10,5', '11,5', '12,5', '13,5', '14,5', '15,5', '16,5', '17,5', '18,5', '19,5' and"
            " 18 more. For a regression, its values must be numbers.",
        ),
        (
            {"x": [1, 2], "y": ["no", "yes"]},
            {"positive": True},
            None,
            "data.positive is True, which is none of the classes: 'no', 'yes'."
            " Texts such as yes and no need quotes in YAML.",
        ),
        (
            {"x": [1, 2, 3], "y": ["a", "b", "c"]},
            {"positive": "a"},
            None,
            "data.positive is 'a', and the target 'y' has 3 classes, not 2. Set it to null.",
        ),
        (
            {"x": [1, 2], "y": [0.5, 1.0]},
            {"positive": 1},
            None,
            "data.positive is 1, and a quantity has no classes. Set it to null.",
        ),
        (
            {"x": [1, 2], "y": pd.to_datetime(["2023-01-01", "2023-01-02"])},
            {},
            None,
            "The target 'y' is a point in time, which can't be predicted. Predict a span to it.",
        ),
        (
            {"x": [1, 2], "y": pd.to_timedelta([1, 2])},
            {},
            None,
            "The target 'y' is a span of time. Make it a number, as in minutes(y).",
        ),
        (
            {"x": [1, 1], "y": [1, 2]},
            {},
            None,
            "No feature columns are left. Check data.features and data.drop in params.yaml;"
            " columns with one value only are left out.",
        ),
        (
            {"x": [1, 2, np.inf], "z": [-np.inf] * 3, "y": [1.5, 2, None]},
            {},
            None,
            "The table has 3 problems:\n"
            "  - The target 'y' is missing in 1 of 3 rows: row 3."
            " Add `not missing(target)` to data.filter.\n"
            "  - Feature 'x' is infinite in 1 of 3 rows: row 3. Leave the rows out with"
            " data.filter, or the column with data.drop.\n"
            "  - Feature 'z' is infinite in 3 of 3 rows: row 1, row 2, row 3. Leave the rows out"
            " with data.filter, or the column with data.drop.",
        ),
    ],
)
def test_a_table_that_nothing_can_be_learned_from_is_refused(columns, choices, problem, message):
    assert told(prepare_table, table_of(**columns), data_of(**choices), problem) == message


# Statistics, codes, files and hashes


def test_ids_are_left_out_with_a_reason_unless_they_are_named():
    frame = pd.DataFrame(
        {
            "id": [f"A-{n}" for n in range(200)],
            "uuid": [f"{n:032x}" for n in range(200)],
            "note": [f"a word and the number {n}" for n in range(200)],
            "town": np.resize(["a", "b"], 200),
            "y": np.arange(200) * 1.0,
        }
    )
    table = Table(frame, (Path("x.csv"),), (200,))
    found = prepare_table(table, Data(source="x", target="y"), None)
    assert found.schema.names == ["note", "town"]
    assert (
        "'id' has another text in each row, as ids have: left out. Name it in data.features or"
        " data.categorical to keep it." in found.notes
    )
    named = prepare_table(table, Data(source="x", target="y", categorical=("id",)), None)
    assert named.schema.names == ["id", "note", "town"]


def test_statistics_come_from_the_rows_they_are_given():
    table = table_of(x=[1, 2, 3, None], y=[1.5, 2.0, 3.0, 4.0])
    prepared = prepare_table(table, data_of(), None)
    assert prepared.schema.columns == (Column("x", Kind.NUMBER, "float64", True, 3),)
    schema = with_statistics(prepared.schema, prepared.frame.iloc[:2])
    assert schema.columns == (Column("x", Kind.NUMBER, "float64", False, 2),)
    assert (schema.target, schema.problem) == ("y", ProblemType.REGRESSION)


def schema_of(problem, *classes):
    return Schema((), "y", ProblemType(problem), classes)


@pytest.mark.parametrize(
    ("y", "schema", "codes", "dtype"),
    [
        (["b", "a"], schema_of("binary", "b", "a"), [0, 1], "int64"),
        ([True, False], schema_of("binary", False, True), [1, 0], "int64"),
        ([3, 1, 2], schema_of("multiclass", 1, 2, 3), [2, 0, 1], "int64"),
        ([3.0, 1.0], schema_of("multiclass", 1, 2, 3), [2, 0], "int64"),
        ([3, 1], schema_of("regression"), [3.0, 1.0], "float64"),
    ],
)
def test_a_label_becomes_its_place_among_the_classes(y, schema, codes, dtype):
    encoded = encode_target(pd.Series(y), schema)
    assert encoded.tolist() == codes
    assert encoded.dtype == dtype


@pytest.mark.parametrize(
    ("y", "schema", "message"),
    [
        (
            ["no", "maybe"],
            schema_of("binary", "no", "yes"),
            "Target 'y' holds 'maybe', which is none of the classes: 'no', 'yes'.",
        ),
        (["no", None], schema_of("binary", "no", "yes"), "Target 'y' is missing in 1 of 2 rows."),
        (["no"], schema_of("regression"), "Target 'y' must hold numbers, got 'no'."),
    ],
)
def test_a_label_that_was_never_seen_is_refused(y, schema, message):
    assert told(encode_target, pd.Series(y), schema) == message


def test_a_written_frame_comes_back_the_same(table, tmp_path):
    prepared = prepare_table(table, data_of(), None)
    path = tmp_path / "deep" / "train.parquet"
    write_parquet(prepared.frame, path)
    pd.testing.assert_frame_equal(read_parquet(path, "prepare"), prepared.frame)
    assert [child.name for child in path.parent.iterdir()] == ["train.parquet"]


def test_equal_frames_are_written_as_equal_bytes(table, tmp_path):
    frame = prepare_table(table, data_of(), None).frame
    write_parquet(frame, tmp_path / "one.parquet")
    halves = pd.concat([frame.iloc[:77], frame.iloc[77:]]).set_axis(range(5, 205))
    write_parquet(halves, tmp_path / "other.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_a_file_that_was_never_written_names_its_step(tmp_path):
    path = tmp_path / "train.parquet"
    assert told(read_parquet, path, "prepare") == (
        f"{path} is not there. Run the step prepare first."
    )
    path.write_text("x")
    assert told(read_parquet, path, "prepare") == (
        f"{path} is not a whole parquet file (Parquet file size is 1 bytes, smaller than the"
        " minimum file footer (8 bytes)). Run the step prepare again."
    )
    (tmp_path / "file").write_text("x")
    assert told(write_parquet, pd.DataFrame({"x": [1]}), tmp_path / "file" / "a.parquet") == (
        f"Can't write {tmp_path / 'file' / 'a.parquet'}: File exists."
    )


def test_a_row_has_the_same_hash_wherever_it_stands(table):
    frame = prepare_table(table, data_of(), None).frame
    shuffled = frame.sample(frac=1, random_state=1)
    assert (row_hashes(shuffled) == row_hashes(frame)[shuffled.index]).all()
    assert row_hashes(frame).dtype == "uint64"
    assert len(set(row_hashes(frame))) == len(frame)


def test_how_a_value_is_stored_does_not_change_its_hash():
    one = pd.DataFrame(
        {
            "n": np.array([1, 0], "int32"),
            "t": pd.Series(["a", None], dtype="str"),
            "d": pd.Series(pd.to_datetime(["2023-01-01", None])).astype("datetime64[ns]"),
            "b": [True, False],
        }
    )
    other = pd.DataFrame(
        {
            "N": [1.0, -0.0],
            "T": pd.Series(["a", np.nan], dtype="object"),
            "D": pd.Series(pd.to_datetime(["2023-01-01", None])).astype("datetime64[us]"),
            "B": [1, 0],
        }
    ).set_axis([7, 7])
    assert (row_hashes(one) == row_hashes(other)).all()
    other.iloc[0, 0] = 2
    assert (row_hashes(one) == row_hashes(other)).tolist() == [False, True]


# Real tables


@pytest.mark.skipif(not TAXI.exists(), reason="the taxi files are not on this machine")
def test_real_taxi_files_are_read_as_one_table():
    table = read_table(TAXI)
    assert table.rows_per_file == (68_211, 64_809, 72_044)
    assert table.frame["VendorID"].dtype == "int64"
    assert table.frame["ehail_fee"].dtype == "float64"
    assert [note.split()[0] for note in table.notes] == [
        "'VendorID'",
        "'PULocationID'",
        "'DOLocationID'",
    ]


@pytest.mark.skipif(not SHARED.exists(), reason="the sample tables are not on this machine")
@pytest.mark.parametrize(
    ("name", "target", "problem", "n"),
    [
        ("adult", "income", ProblemType.BINARY, 14),
        ("ames", "SalePrice", ProblemType.REGRESSION, 79),
        ("wine_quality", "quality", ProblemType.MULTICLASS, 12),
    ],
)
def test_real_tables_are_prepared_as_they_are(name, target, problem, n):
    prepared = prepare_table(read_table(SHARED / f"{name}.parquet"), data_of(target), None)
    assert prepared.schema.problem is problem
    assert len(prepared.schema.columns) == n
    assert prepared.schema.target == target
    assert prepared.notes == ()

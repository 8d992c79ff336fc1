"""Files that are read a piece at a time."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.errors import DataError
from ratchet.schema import Kind
from ratchet.table import Stored, TableFile, one_schema
from ratchet.table import text as text_module


@pytest.fixture
def numbers(tmp_path):
    """1,000 rows, in row groups of 300."""
    path = tmp_path / "numbers.parquet"
    frame = pd.DataFrame({"n": range(1000), "name": [f"r{n}" for n in range(1000)]})
    frame.set_index(frame["n"] * 2).rename_axis(None).to_parquet(path, row_group_size=300)
    return path


@pytest.mark.parametrize("start", [0, 1, 299, 300, 650, 999, 1000])
def test_rows_come_from_anywhere_in_pieces_of_one_size(numbers, start):
    file = TableFile.open(numbers)
    assert (file.n_rows, file.schema.names) == (1000, ["n", "name"])
    pieces = list(file.pieces(170, start))
    assert [n for each in pieces for n in each.table["n"].to_pylist()] == list(range(start, 1000))
    assert {len(each.table) for each in pieces[:-1]} <= {170}
    assert [each.first for each in pieces] == list(range(start, 1000, 170))
    assert not pieces or pieces[-1].share == 1


@pytest.mark.parametrize("packed", [False, True])
def test_text_is_cut_alike_however_it_lies_in_blocks(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(text_module, "_BLOCK_SIZE", 256)
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    lines = "id,note\n" + "".join(f'0{n},"a, ""b""\n{n}"\n' for n in range(5000))
    path.write_bytes(gzip.compress(lines.encode()) if packed else lines.encode())
    pieces = list(TableFile.open(path).pieces(64, 100))
    assert [n for each in pieces for n in each.table["id"].to_pylist()] == [
        f"0{n}" for n in range(100, 5000)
    ]
    assert pieces[0].table["note"][0].as_py() == 'a, "b"\n100'
    assert [each.first for each in pieces][:2] == [100, 164]
    shares = [each.share for each in pieces]
    assert shares == sorted(shares) and shares[-1] == 1


def test_a_row_with_a_field_too_many_is_told_wherever_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "_BLOCK_SIZE", 256)
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "1,2\n" * 500 + "1,2,3\n" + "1,2\n" * 500)
    with pytest.raises(DataError) as caught:
        list(TableFile.open(path).pieces(100))
    assert str(caught.value) == (
        f"{path}: row 501 has 3 fields, and the header has 2: '1,2,3'. Put a field that holds"
        " ',' in quotes."
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,\xff\n", "is not UTF-8 text"),
        (b"a,b\n1,\0\n", "holds a NUL byte"),
        (b'a,b\n1,"2\n', "is never closed"),
        (b"a,a\n1,2\n", "more than one column called a"),
        (b"", "is empty"),
        (b"PAR1", "is a parquet file"),
    ],
)
def test_text_that_read_table_refuses_is_refused(tmp_path, content, told):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        TableFile.open(path)


def test_what_a_text_column_holds_is_not_seen_from_a_piece(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("km,zone,at,night,code\n1,74.0,2026-01-01,true,01\n ,,2026-01-01T10:00Z,,2\n")
    file = TableFile.open(path)
    kinds = {
        "km": Kind.NUMBER,
        "zone": Kind.CATEGORY,
        "at": Kind.DATETIME,
        "night": Kind.BOOLEAN,
        "code": Kind.CATEGORY,
    }
    [piece] = file.pieces(10)
    frame = file.frame(piece.table, {**kinds, "none": Kind.NUMBER})
    assert list(frame) == list(kinds)
    assert frame["zone"].iloc[0] == "74.0" and frame["code"].tolist() == ["01", "2"]
    # A blank is no number, so that the column stays what it was and whoever reads it can say so.
    assert frame["km"].tolist() == ["1", " "]
    assert frame["night"].iloc[0]


def test_files_below_each_other_need_the_same_columns(tmp_path):
    for name, frame in {
        "a": {"x": [1], "y": [1]},
        "b": {"y": [1.5], "x": [2]},
        "c": {"x": [1], "z": [1]},
        "d": {"x": ["1"], "y": [2]},
    }.items():
        pq.write_table(pa.table(frame), tmp_path / f"{name}.parquet")
    opened = {name: TableFile.open(tmp_path / f"{name}.parquet") for name in "abcd"}
    schema = one_schema([opened["a"], opened["b"]])
    assert schema == pa.schema([("x", pa.int64()), ("y", pa.float64())])
    with pytest.raises(DataError, match=r"c.parquet lacks 'y' and a.parquet lacks 'z'"):
        one_schema([opened["a"], opened["c"]])
    with pytest.raises(DataError, match="columns of different types"):
        one_schema([opened["a"], opened["d"]])


def test_a_column_of_lists_is_refused_only_where_it_is_needed(tmp_path):
    pq.write_table(pa.table({"x": [1], "y": [[1, 2]]}), tmp_path / "a.parquet")
    file = TableFile.open(tmp_path / "a.parquet")
    [piece] = file.pieces(10)
    assert file.frame(piece.table, {"x": Kind.NUMBER})["x"].tolist() == [1]
    with pytest.raises(DataError, match="column 'y' is of type list"):
        file.frame(piece.table, {"y": Kind.NUMBER})


@pytest.mark.parametrize("by", ["file", "part"])
def test_what_was_read_of_a_file_is_not_kept_until_its_end(tmp_path, by):
    path, rng = tmp_path / "long.parquet", np.random.default_rng(0)
    table = pa.table({f"x{n}": rng.normal(size=80_000) for n in range(10)})
    pq.write_table(table, path, row_group_size=2_000)
    del table
    before, held = pa.total_allocated_bytes(), []
    if by == "file":
        pieces = (piece.table for piece in TableFile.open(path).pieces(1_000))
    else:
        pieces = Stored.open(path, made_by="prepare").pieces(1_000)
    n_rows = 0
    for piece in pieces:
        n_rows += len(piece)
        held.append(pa.total_allocated_bytes() - before)
    assert n_rows == 80_000
    assert max(held) < 3_000_000  # of 6,400,000

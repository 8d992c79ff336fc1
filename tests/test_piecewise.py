"""A table that doesn't fit in memory is prepared in pieces, and dealt as it is at once."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tiny_settings, tiny_table

from ratchet import table
from ratchet.errors import DataError
from ratchet.project import Project
from ratchet.steps import parts, piecewise, prepare
from ratchet.table import extract, long

# What says by which run it was made, and a page whose pictures number their parts by chance.
NOT_COMPARED = {"run.json", "profile.html"}


@pytest.fixture
def in_pieces(monkeypatch):
    """Have tables of hundreds of rows come in several pieces, as if they were large."""

    def force(project: Project) -> Project:
        monkeypatch.setattr(piecewise, "is_needed", lambda _: True)
        monkeypatch.setattr(long.LongTable.pieces, "__defaults__", (70,))
        return project

    return force


def made(project: Project) -> dict[str, bytes]:
    prepare.run(project)
    return {
        path.name: path.read_bytes()
        for path in sorted(project.prepared.iterdir())
        if path.name not in NOT_COMPARED
    }


def odd_table(rows: int = 400) -> pd.DataFrame:
    """A table of every type, with what is rare put where a first look misses it."""
    rng = np.random.default_rng(3)
    base = tiny_table(rows, seed=1)
    big = pd.array([2**60 + i for i in range(rows)], dtype="Int64")
    big[rows - 5] = pd.NA
    late = pd.Series([np.nan] * rows)
    late[rows - 2] = 1.5
    return base.assign(
        counted=pd.array([*range(rows - 1), None], dtype="Int64"),
        big=big,
        truth=pd.array([*(i % 3 == 0 for i in range(rows - 1)), None], dtype="boolean"),
        same=1,
        nearly=[7] * (rows - 1) + [8],
        late=late,
        empty=pd.Series([None] * rows, dtype="str"),
        at=pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D"),
        span=pd.to_timedelta(rng.integers(0, 1000, rows), unit="s"),
        words=[f"some words of row number {i % 60}" for i in range(rows)],
    )


def settings_of(split: str) -> dict[str, object]:
    return {
        "random": {},
        "stratified": {
            "data__target": "dear",
            "data__drop": ["price"],
            "split__method": "stratified",
        },
        "group": {"split__method": "group", "split__column": "town"},
        "time": {"split__method": "time", "split__column": "sold"},
    }[split]


@pytest.mark.parametrize("split", ["random", "stratified", "group", "time"])
def test_what_is_prepared_in_pieces_is_the_same_bytes_as_at_once(tiny, store, in_pieces, split):
    changes = {"data__filter": "size > 30", **settings_of(split)}
    if split == "group":
        changes["data__filter"] = "size > 30 and not missing(town)"
    # Each draws a page of all its columns: one of the tables has to have all types.
    source = odd_table() if split == "random" else tiny_table(400)
    if split == "group":
        source["town"] = [f"town {i % 37}" for i in range(400)]
    project = Project.open(tiny(source, **changes))
    at_once = made(project)
    assert made(in_pieces(project)) == at_once


def assert_read_alike(folder: Path) -> tuple[str, ...]:
    """Compare what is read in pieces with what is read at once; give the notes."""
    at_once = table.read_table(folder)
    opened = long.LongTable.open(folder)
    pieces = list(opened.pieces(70))
    assert len(pieces) > 4
    read = pd.concat([piece.frame for piece in pieces], ignore_index=True)
    pd.testing.assert_frame_equal(read, at_once.frame)
    assert opened.notes == at_once.notes
    assert opened.rows_per_file == at_once.rows_per_file
    assert pieces[-1].place(0) == at_once.place(len(read) - len(pieces[-1].frame))
    return opened.notes


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz"])
def test_text_in_pieces_is_read_as_text_at_once_is(tmp_path, ending):
    rows = odd_table()
    rows["postal"] = [f"{i:05}" for i in range(400)]
    rows["late"] = rows["late"].astype("object").where(rows.index != 390, "n/a")
    rows["money"] = [f"{1000 + i:,}.50" for i in range(400)]
    rows["huge"] = [str(10**i) for i in range(400)]
    rows["zoned"] = rows["at"].dt.tz_localize("UTC").astype("str")
    separator = "\t" if "tsv" in ending else ","
    rows[:150].to_csv(tmp_path / f"a{ending}", index=False, sep=separator)
    rows[150:].to_csv(tmp_path / f"b{ending}", index=False, sep=separator)
    notes = assert_read_alike(tmp_path)
    assert any("'late' is read as text: 1 of its 2 values" in note for note in notes)
    assert any("'money' is read as text: its values are numbers with thous" in n for n in notes)
    assert any("'zoned' has a time zone" in note for note in notes)


def test_files_of_different_types_are_read_as_one_in_pieces(tmp_path):
    rows = odd_table().drop(columns="big")
    rows[:100].assign(rooms=1.5).to_parquet(tmp_path / "a.parquet", row_group_size=30)
    rows[100:200].assign(counted=None).to_parquet(tmp_path / "b.parquet")
    rows[200:].to_parquet(tmp_path / "c.parquet", write_statistics=False)
    assert any("'rooms' is" in note for note in assert_read_alike(tmp_path))


def test_files_that_do_not_fit_together_are_refused_in_pieces_with_the_same_words(tmp_path):
    tiny_table(100).to_parquet(tmp_path / "a.parquet")
    tiny_table(100).assign(size="large").to_parquet(tmp_path / "b.parquet")
    told = []
    for read in (table.read_table, long.LongTable.open):
        with pytest.raises(DataError) as error:
            read(tmp_path)
        told.append(str(error.value))
    assert told[0] == told[1]
    assert told[0].startswith("Column 'size' is double in a.parquet and")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda t: t.assign(price=t["price"].where(t.index != 211)),
            "The target 'price' is missing in some of 240 rows: row 212."
            " Add `not missing(target)` to data.filter.",
        ),
        (
            lambda t: t.assign(size=t["size"].where(t.index != 173, np.inf)),
            "Feature 'size' is infinite in some of 240 rows: row 174. Leave the rows out with"
            " data.filter, or the column with data.drop.",
        ),
    ],
)
def test_a_fault_of_one_row_of_a_late_piece_is_refused_with_its_place(
    tiny, store, in_pieces, spoil, told
):
    project = in_pieces(Project.open(tiny(spoil(tiny_table()))))
    with pytest.raises(DataError) as error:
        prepare.run(project)
    assert str(error.value) == told
    assert not project.prepared.exists()
    assert not list(project.build.glob(".pieces-*"))


def test_checks_in_pieces_find_what_they_find_at_once(tiny, store, in_pieces):
    params = tiny(data__checks="schema.json")
    rules = {"columns": {"size": {"max": 60}, "rooms": {"missing": 0.0}}, "rows": {"min": 1000}}
    (params.parent / "schema.json").write_text(json.dumps(rules), encoding="utf-8")
    project = Project.open(params)
    told = []
    for each in (project, in_pieces(project)):
        with pytest.raises(DataError) as error:
            prepare.run(each)
        told.append(str(error.value))
    assert told[0] == told[1]
    assert "at least 1,000" in told[0]


def test_leaks_are_found_in_pieces(tiny, store, in_pieces):
    rows = tiny_table()
    project = in_pieces(Project.open(tiny(rows.assign(cents=rows["price"] * 100))))
    with pytest.raises(DataError, match=r"price is 0\.01 \* 'cents'"):
        prepare.run(project)


def test_more_rows_than_an_extract_has_are_dealt_as_at_once(
    tiny, store, in_pieces, monkeypatch, caplog
):
    project = Project.open(tiny(tiny_table(400)))
    at_once = made(project)
    monkeypatch.setattr("ratchet.table.width.SAMPLE", 150)
    monkeypatch.setattr(extract.Extract.__init__, "__defaults__", (150,))
    outcome = prepare.run(in_pieces(project))
    for name in prepare.PARTS:
        assert (project.prepared / f"{name}.parquet").read_bytes() == at_once[f"{name}.parquet"]
    assert (project.prepared / "schema.json").read_bytes() == at_once["schema.json"]
    assert outcome.notes[-1] == (
        "What columns hold, leaks and the reference of monitor are told from 150 of 400 rows,"
        " drawn by chance: the table does not fit in memory."
    )


def test_copies_of_rows_are_found_although_an_extract_has_few_of_them(
    tiny, store, in_pieces, monkeypatch
):
    rows = tiny_table(400)
    twice = pd.concat([rows, rows], ignore_index=True)
    monkeypatch.setattr("ratchet.table.width.SAMPLE", 100)
    monkeypatch.setattr(extract.Extract.__init__, "__defaults__", (100,))
    project = in_pieces(Project.open(tiny(twice)))
    with pytest.raises(DataError, match="equal a training row in every column"):
        prepare.run(project)


def test_the_limit_decides_whether_a_table_is_worked_on_in_pieces(tiny, store):
    rows = tiny_table(60_000)
    params = tiny(rows)
    assert not piecewise.is_needed(Project.open(params))
    assert piecewise.is_needed(Project.open(params, ["data.memory_limit_mb=1"]))


def test_different_values_are_counted_exactly_up_to_a_number_and_closely_beyond():
    few, many = table.preparing.Distinct(), table.preparing.Distinct()
    for start in range(0, 600_000, 50_000):
        few.see(pd.Series(np.arange(start, start + 50_000) % 1000))
        many.see(pd.Series(np.arange(start, start + 50_000, dtype="float64")))
    assert few.count == 1000
    assert many.count == pytest.approx(600_000, rel=0.01)


def test_a_sample_of_a_part_has_the_same_rows_each_time(tiny, store, monkeypatch):
    project = Project.open(tiny())
    prepare.run(project)
    whole = prepare.read_part(project, "train")
    monkeypatch.setattr(parts, "LEAST_SAMPLE", 20)
    monkeypatch.setattr(parts, "SHARE_OF_SAMPLE", 1e-9)
    monkeypatch.setattr(parts.memory, "COPIES", 10**6)
    small = Project.open(project.params_file, ["data.memory_limit_mb=1"])
    part = parts.part(small, "train")
    sample = part.frame()
    assert len(sample) == 20 < len(whole) == part.n_rows
    assert part.places is not None
    pd.testing.assert_frame_equal(sample, whole.iloc[part.places].reset_index(drop=True))
    pd.testing.assert_frame_equal(sample, parts.part(small, "train").frame())
    np.testing.assert_array_equal(part.hashes, whole[prepare.ROW])


def test_settings_say_the_limit(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(tiny_settings(data__memory_limit_mb=500)), encoding="utf-8")
    assert Project.open(params).settings.data.memory_limit_mb == 500

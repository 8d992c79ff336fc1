"""prepare reads the table, and writes all of its parts or none."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_table

from ratchet import lineage
from ratchet.errors import DataError
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.settings import SplitMethod
from ratchet.steps import prepare


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_parts_hold_every_row_once(tiny, store):
    project = Project.open(tiny())
    outcome = prepare.run(project)
    parts = {name: prepare.read_part(project, name) for name in prepare.PARTS}
    assert outcome.rows == {name: len(part) for name, part in parts.items()}
    assert outcome.rows == {"train": 153, "valid": 39, "test": 48}
    together = pd.concat(parts.values()).sort_values("size", ignore_index=True)
    table = tiny_table().sort_values("size", ignore_index=True)
    np.testing.assert_array_equal(together["size"], table["size"])
    np.testing.assert_array_equal(together["price"], table["price"])


def test_beside_the_parts_lie_schema_data_version_and_profile(tiny, store):
    project = Project.open(tiny())
    prepare.run(project)
    made = {"train.parquet", "valid.parquet", "test.parquet"}
    made |= {"schema.json", "data.json", "profile.html"}
    assert made <= set(content(project.prepared))
    schema = Schema.load(project.prepared / "schema.json")
    assert schema.names == ["size", "town", "rooms", "sold"]
    assert json.loads((project.prepared / "data.json").read_text()) == {
        "version": lineage.data_version(project.source),
        "dirty": True,
        "reason": "data is not tracked by DVC",
    }
    assert "tiny: 153 training rows" in (project.prepared / "profile.html").read_text()


def test_the_run_counts_rows_and_names_what_it_read(tiny, store):
    project = Project.open(tiny(data__filter="size > 30"))
    outcome = prepare.run(project)
    run = store.get_run(outcome.run_id)
    kept = sum(outcome.rows.values())
    metrics = run.data.metrics
    assert {name: metrics[f"rows/{name}"] for name in prepare.PARTS} == outcome.rows
    assert metrics["rows/read"] == 240
    assert metrics["rows/filtered_out"] == 240 - kept
    assert metrics["rows/stray"] == 0
    assert metrics["columns"] == 4
    assert run.info.run_name == f"prepare · {kept} rows"
    inputs = {each.dataset.name: each for each in run.inputs.dataset_inputs}
    assert set(inputs) == {"tiny-train", "tiny-valid", "tiny-test"}
    contexts = {name: each.tags[0].value for name, each in inputs.items()}
    assert contexts == {
        "tiny-train": "training",
        "tiny-valid": "validation",
        "tiny-test": "test",
    }
    version = lineage.data_version(project.source)
    assert {each.dataset.digest for each in inputs.values()} == {version[:36]}
    names = {each.path for each in store.list_artifacts(outcome.run_id)}
    assert {"schema.json", "profile.html", "lineage"} <= names


def test_what_a_reader_ought_to_know_is_the_note_of_the_run(tiny, store, caplog):
    caplog.set_level("INFO", "ratchet")
    table = tiny_table().assign(constant=1)
    outcome = prepare.run(Project.open(tiny(table)))
    assert "'constant' is 1 in every row: left out." in outcome.notes
    run = store.get_run(outcome.run_id)
    said = run.data.tags["mlflow.note.content"].split("\n\n")[1]
    assert said == "\n".join(f"- {note}" for note in outcome.notes)
    assert {f"prepare: {note}" for note in outcome.notes} <= set(caplog.messages)


@pytest.mark.parametrize(
    ("changes", "clusters"),
    [
        ({}, None),
        ({"split__method": "group", "split__column": "town"}, 1),
        ({"split__method": "time", "split__column": "sold"}, 2),
    ],
    ids=["random", "group", "time"],
)
def test_test_rows_say_which_of_them_stand_or_fall_together(tiny, store, changes, clusters):
    project = Project.open(tiny(**changes))
    outcome = prepare.run(project)
    test = prepare.read_part(project, "test")
    assert (prepare.CLUSTER in test) == bool(clusters)
    if clusters:
        assert test[prepare.CLUSTER].nunique() >= clusters
    by_group = project.settings.split.method is SplitMethod.GROUP
    parts = [prepare.read_part(project, name) for name in ("train", "valid")]
    assert [prepare.CLUSTER in part for part in parts] == [by_group] * 2
    if by_group:
        assert not set(parts[0][prepare.CLUSTER]) & set(parts[1][prepare.CLUSTER])
    [read] = [
        each.dataset
        for each in store.get_run(outcome.run_id).inputs.dataset_inputs
        if each.dataset.name == "tiny-test"
    ]
    assert prepare.CLUSTER not in read.schema


def test_preparing_twice_gives_the_same_bytes(tiny, store):
    project = Project.open(tiny())
    prepare.run(project)
    first = content(project.prepared)
    prepare.run(project)
    second = content(project.prepared)
    # The profile holds ids that are drawn for its page, and the record says which run it was.
    differ = {"profile.html": b"", "run.json": b""}
    assert {**first, **differ} == {**second, **differ}


def spoil(evaluated, table):
    table.to_parquet(evaluated.parent / "data" / "rows.parquet")


def test_a_table_that_can_not_be_used_leaves_what_was_there_and_makes_no_run(evaluated, store):
    project = Project.open(evaluated)
    before = content(project.prepared)
    runs = store.search_runs(["1"])
    spoil(evaluated, tiny_table().drop(columns="price"))
    with pytest.raises(DataError):
        prepare.run(project)
    assert content(project.prepared) == before
    assert len(store.search_runs(["1"])) == len(runs)


def test_a_failure_half_way_leaves_what_was_there_and_a_failed_run(evaluated, store, monkeypatch):
    project = Project.open(evaluated)
    before = content(project.prepared)

    def fail(self):
        raise ZeroDivisionError("a bug of the profile's")

    monkeypatch.setattr("skrub.TableReport.html", fail)
    spoil(evaluated, tiny_table(rows=300))
    with pytest.raises(ZeroDivisionError):
        prepare.run(project)
    assert content(project.prepared) == before
    assert [path.name for path in project.build.iterdir() if path.name.startswith(".")] == []
    assert store.search_runs(["1"])[0].info.status == "FAILED"


@pytest.mark.parametrize(
    ("split", "column", "seen"),
    [("time", "sold", True), ("group", "town", False), ("random", None, True)],
)
def test_the_time_of_a_split_is_a_feature_and_the_group_is_none(tiny, store, split, column, seen):
    project = Project.open(tiny(split__method=split, split__column=column))
    prepare.run(project)
    names = Schema.load(project.prepared / "schema.json").names
    assert ("sold" in names, "town" in names) == ((True, True) if seen else (True, False))

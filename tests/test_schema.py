"""What a schema says survives the disk."""

import json

import pytest

from ratchet.errors import RatchetError
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

COLUMNS = tuple(
    Column(f"{kind} column", kind, "float64", optional=kind is Kind.NUMBER, distinct=place)
    for place, kind in enumerate(Kind)
)


@pytest.mark.parametrize(
    ("problem", "classes"),
    [
        ("regression", ()),
        ("binary", ("yes", "no")),
        ("binary", (True, False)),
        ("binary", (0, 1)),
        ("multiclass", ("ä", "b", "駅")),
        ("multiclass", (0.5, 1.5, 2.5)),
    ],
)
def test_a_schema_is_read_as_it_was_written(tmp_path, problem, classes):
    schema = Schema(COLUMNS, "price", ProblemType(problem), classes)
    schema.save(tmp_path / "schema.json")
    again = Schema.load(tmp_path / "schema.json")
    assert again == schema
    assert [type(label) for label in again.classes] == [type(label) for label in classes]
    assert isinstance(again.problem, ProblemType)
    assert all(isinstance(column.kind, Kind) for column in again.columns)


def test_a_schema_file_is_plain_json(tmp_path):
    Schema(COLUMNS[:1], "price", ProblemType.REGRESSION).save(tmp_path / "schema.json")
    assert json.loads((tmp_path / "schema.json").read_text()) == {
        "classes": [],
        "columns": [
            {
                "distinct": 0,
                "dtype": "float64",
                "kind": "number",
                "name": "number column",
                "optional": True,
                "seen": True,
            }
        ],
        "derived": [],
        "problem": "regression",
        "target": "price",
    }


def test_columns_keep_their_order():
    schema = Schema(COLUMNS[::-1], "price", ProblemType.REGRESSION)
    assert schema.names == [column.name for column in COLUMNS[::-1]]
    assert schema.of_kind(Kind.NUMBER, Kind.TEXT) == ["text column", "number column"]
    assert schema.of_kind() == []


def test_a_schema_that_is_not_there_names_the_step_that_writes_it(tmp_path):
    with pytest.raises(RatchetError) as error:
        Schema.load(tmp_path / "schema.json")
    assert str(error.value) == (
        f"{tmp_path / 'schema.json'} is not there. Run the step prepare first."
    )

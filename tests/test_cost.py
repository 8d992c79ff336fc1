"""A model is timed as a client asks it, and weighed as it is saved."""

import time
from math import inf

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from ratchet import cost
from ratchet.cost import Cost, measure, size_mb
from ratchet.errors import DataError, RatchetError
from ratchet.features import Preparation, as_features, preparation
from ratchet.model import assemble
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema

SCHEMA = Schema(
    (
        Column("size", Kind.NUMBER, "float64", False, 60),
        Column("town", Kind.CATEGORY, "str", True, 2),
    ),
    "price",
    ProblemType.REGRESSION,
)


def rows(n):
    random = np.random.default_rng(0)
    town = pd.Series(random.choice(["a", "b"], n), dtype="str")
    size = random.uniform(0, 9, n)
    return pd.DataFrame({"price": 2 * size, "town": town, "size": size})


class Slow:
    """A model that takes its time for each call and each row, and remembers what it was asked."""

    def __init__(self, call_ms=2.0, row_ms=0.0, first_ms=0.0):
        self.call_ms, self.row_ms, self.first_ms = call_ms, row_ms, first_ms
        self.asked = []

    def predict(self, frame):
        first = 0 if self.asked else self.first_ms
        self.asked.append(frame)
        time.sleep((self.call_ms + self.row_ms * len(frame) + first) / 1000)


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(cost, "_SECONDS", 0.1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model" / "deeper").mkdir(parents=True)
    (tmp_path / "model" / "model.skops").write_bytes(b"x" * 1_500_000)
    (tmp_path / "model" / "deeper" / "MLmodel").write_bytes(b"x" * 500)
    return tmp_path / "model"


def test_one_row_and_a_batch_are_timed(brief, folder):
    found = measure(Slow(2.0, 0.02), rows(1500), SCHEMA, folder)
    assert 2 <= found.one_row_ms < 12
    assert 22 <= found.batch_ms < 60
    assert found.batch_rows == 1000
    assert found.size_mb == 1.5005


def test_the_slowest_calls_are_told_beside_the_median(brief, folder):
    class Uneven(Slow):
        def predict(self, frame):
            self.call_ms = 12.0 if len(self.asked) % 5 == 4 else 1.0
            super().predict(frame)

    found = measure(Uneven(), rows(1), SCHEMA, folder)
    assert 1 <= found.one_row_ms < 12 <= found.one_row_p95_ms < 40
    assert found.rows_per_second == pytest.approx(1000 / found.batch_ms)


def test_all_rows_are_a_batch_where_there_are_few(brief, folder):
    assert measure(Slow(), rows(7), SCHEMA, folder).batch_rows == 7
    assert measure(Slow(), rows(1), SCHEMA, folder).batch_rows == 1


def test_raw_columns_are_sent_in_the_order_of_the_schema(brief, folder):
    model = Slow()
    frame = rows(20)
    measure(model, frame, SCHEMA, folder)
    single = [asked for asked in model.asked if len(asked) == 1]
    assert {tuple(asked.columns) for asked in model.asked} == {("size", "town")}
    assert {len(asked) for asked in model.asked} == {1, 20}
    assert len({asked.index[0] for asked in single}) > 5


def test_the_first_call_does_not_count(brief, folder):
    assert measure(Slow(1.0, first_ms=60.0), rows(50), SCHEMA, folder).one_row_ms < 30


def test_a_slow_model_is_asked_once_more_and_no_longer(brief, folder):
    model = Slow(120.0)
    found = measure(model, rows(50), SCHEMA, folder)
    assert len(model.asked) == 4
    assert found.one_row_ms >= 120


def test_a_fast_model_is_not_asked_for_ever(monkeypatch, folder):
    monkeypatch.setattr(cost, "_SECONDS", inf)
    monkeypatch.setattr(cost, "_MAX_CALLS", 3)
    model = Slow(0.0)
    measure(model, rows(50), SCHEMA, folder)
    assert len(model.asked) == 8


def test_a_real_model_has_a_cost(brief, folder):
    frame = rows(100)
    transformer = preparation(SCHEMA, Preparation.SCALED)
    X = transformer.fit_transform(as_features(frame, SCHEMA), frame["price"])
    model = assemble(transformer, LinearRegression().fit(X, frame["price"]), SCHEMA, None)
    found = measure(model, frame, SCHEMA, folder)
    assert isinstance(found, Cost)
    assert 0 < found.one_row_ms < 1000
    assert 0 < found.batch_ms < 1000


def test_no_rows_take_no_time_that_could_be_measured(folder):
    with pytest.raises(DataError) as error:
        measure(Slow(), rows(0), SCHEMA, folder)
    assert str(error.value) == "The time that a model takes can't be measured on 0 rows."


def test_a_linked_file_counts_as_the_file_it_is(folder, tmp_path):
    (tmp_path / "cache").write_bytes(b"x" * 2_000_000)
    (folder / "linked").symlink_to(tmp_path / "cache")
    (folder / "broken").symlink_to(tmp_path / "nothing")
    assert size_mb(folder) == pytest.approx(3.5005)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RatchetError) as error:
        size_mb(tmp_path / "model")
    assert str(error.value) == f"{tmp_path / 'model'} is not there. Run the step train first."

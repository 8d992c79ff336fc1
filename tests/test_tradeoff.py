"""Who is unbeaten is marked, and everything that counts is measured."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from ratchet.backends import Interpretability
from ratchet.problem import ProblemType
from ratchet.report import tradeoff as page
from ratchet.rivals import BASELINE, LEADER, MEMBER, RIVAL
from ratchet.schema import Column, Kind, Schema
from ratchet.tradeoff import Option, TradeOff, judge, pareto, weigh


def option(name, score, ms, kind=RIVAL, **more):
    usual = {
        "low": None if score is None else score - 0.02,
        "high": None if score is None else score + 0.02,
        "one_row_p95_ms": 2 * ms,
        "rows_per_second": 1000.0,
        "batch_rows": 500,
        "size_mb": 1.0,
        "train_seconds": 1.0,
        "interpretability": "ask",
    }
    return Option(name, kind, score, one_row_ms=ms, **{**usual, **more})


TABLE = [
    option("a+b", 0.30, 40.0, LEADER),
    option("a", 0.31, 8.0, MEMBER, interpretability="inspect"),
    option("slow", 0.32, 9.0),
    option("line", 0.40, 2.0, interpretability="read"),
    option("baseline", 0.69, 2.0, BASELINE, interpretability="read", size_mb=0.1),
]


def judged(options=TABLE, maximize=False):
    return judge(options, metric="log_loss", maximize=maximize)


def names(options):
    return [each.name for each in options]


def test_the_front_of_a_table_made_by_hand():
    found = judged()
    assert names(found.front) == ["line", "a", "a+b"]
    # It is as fast and as readable as the line, and smaller: that counts where everything does.
    unbeaten = names(each for each in found.options if each.unbeaten)
    assert unbeaten == ["a+b", "a", "line", "baseline"]


def test_a_larger_score_may_be_the_better_one():
    assert names(judged(maximize=True).front) == ["baseline"]


def test_times_that_a_clock_can_not_tell_apart_are_the_same():
    near = [option("a", 0.30, 10.04), option("b", 0.31, 9.96)]
    assert names(judged(near).front) == ["a"]
    assert names(judged([near[0], replace(near[1], one_row_ms=9.4)]).front) == ["b", "a"]


@pytest.mark.parametrize(
    ("costs", "front"),
    [
        ([(1.0, 2.0)], [True]),
        ([(1.0, 1.0), (1.0, 1.0)], [True, True]),
        ([(1.0, 1.0), (1.0, 2.0)], [True, False]),
        ([(2.0, 1.0), (1.0, 2.0), (2.0, 2.0)], [True, True, False]),
        ([(inf, 0.0), (1.0, 1.0)], [False, True]),
    ],
)
def test_nobody_is_on_the_front_who_is_beaten(costs, front):
    assert pareto(costs).tolist() == front


def test_who_has_no_score_is_on_no_front_and_not_drawn():
    found = judged([*TABLE, option("odd", None, 0.1)])
    assert not found.options[-1].on_front and not found.options[-1].unbeaten
    [block] = page.blocks(found)
    assert "odd" not in block.drawings[0].svg


def test_a_model_is_timed_on_raw_rows():
    schema = Schema(
        (Column("size", Kind.NUMBER, "float64", False, 60),), "price", ProblemType.REGRESSION
    )
    asked = []
    model = SimpleNamespace(predict=lambda frame: asked.append(len(frame)))
    found = weigh(
        "m",
        RIVAL,
        model,
        pd.DataFrame({"size": np.arange(30.0), "price": 1.0}),
        schema,
        score=(1.0, 0.9, 1.1),
        n_bytes=2_500_000,
        train_seconds=3.0,
        interpretability=Interpretability.READ,
        seconds=0.02,
    )
    assert set(asked) == {1, 30}
    assert 0 < found.one_row_ms <= found.one_row_p95_ms
    assert (found.batch_rows, found.size_mb, found.interpretability) == (30, 2.5, "read")


def test_it_survives_json():
    adapter = TypeAdapter(TradeOff)
    found = judged([*TABLE, option("odd", None, 0.1, train_seconds=None)])
    assert adapter.validate_json(adapter.dump_json(found)) == found


# The page


def test_the_page_names_the_front_and_what_a_faster_model_costs():
    [block] = page.blocks(judged())
    assert block.lines[0] == (
        "On the front of log_loss against the time for one row, where no other is as good and as"
        " fast: line, a alone and the leader."
    )
    assert block.lines[1].endswith("nobody beats the leader, a alone, line and the baseline.")
    assert block.lines[2] == (
        "a alone answers one row in 8 ms instead of 40 ms, with log_loss 0.3100 instead of 0.3000."
    )
    rows = [[cell.text for cell in row.cells] for row in block.table.rows]
    assert rows[1] == [
        "a alone",
        "0.3100",
        "8",
        "16",
        "1,000",
        "1",
        "1.00",
        "inspect",
        "score and speed",
    ]
    assert [row[-1] for row in rows] == [
        "score and speed",
        "score and speed",
        "—",
        "score and speed",
        "all together",
    ]


def test_the_picture_shows_each_model_and_says_so_in_words():
    [block] = page.blocks(judged())
    [drawn] = block.drawings
    for name in ("the leader", "a alone", "slow", "line", "the baseline (far off)", "the front"):
        assert f">{name}<" in drawn.svg
    assert "log_loss (smaller is better)" in drawn.svg
    assert drawn.told.startswith("Test log_loss and the time for one row, the fastest first: line")
    assert "a alone 0.3100 in 8 ms, on the front" in drawn.told
    assert drawn.svg == page.blocks(judged())[0].drawings[0].svg


def test_one_model_by_itself_is_no_picture():
    [block] = page.blocks(judged(TABLE[:1]))
    assert block.drawings == ()
    assert len(block.table.rows) == 1

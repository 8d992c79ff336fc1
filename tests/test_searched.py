"""What a search has cost is the sum of its trials, and why trials failed is told."""

import json
from math import nan

import pandas as pd
import pytest
from pydantic import TypeAdapter

from ratchet import figures, metrics, searched
from ratchet.figures import Member
from ratchet.problem import ProblemType
from ratchet.report import searched as page
from ratchet.searched import Search

RMSE = metrics.named("rmse", ProblemType.REGRESSION)
R2 = metrics.named("r2", ProblemType.REGRESSION)


def trial(number, family, score, seconds=1.0, error=None, **more):
    return {
        "number": number,
        "backend": "sklearn",
        "family": family,
        "params": json.dumps({"alpha": 10.0 ** (number - 3), "kind": "ab"[number % 2]}),
        "score": score,
        "train_score": score,
        "seconds": seconds,
        "elapsed": 2.0 * number + 1,
        "share": 1.0,
        "cut_short": False,
        "resumed": False,
        "threshold": nan,
        "error": error,
        **more,
    }


TRIALS = pd.DataFrame(
    [
        trial(0, "baseline", 9.0, 0.25),
        trial(1, "ridge", 5.0, 0.5),
        trial(2, "trees", 4.0, 4.0, cut_short=True, resumed=True),
        trial(3, "ridge", 4.5, 0.75),
        trial(4, "trees", nan, 2.0, "ValueError: depth 7 is too deep"),
        trial(5, "trees", nan, 1.0, "ValueError: depth 12 is too deep"),
        trial(6, "ridge", nan, 0.1, "MemoryError: no room"),
        trial(7, "trees", 3.0, 0.4, share=0.3),
    ]
)


@pytest.fixture(scope="module")
def found():
    return searched.of(TRIALS, RMSE, 8.0, [("trees", 0.75), ("ridge", 0.25)])


def test_the_costs_of_the_families_add_up_to_those_of_the_trials(found):
    assert found.trial_seconds == pytest.approx(TRIALS["seconds"].sum())
    assert sum(each.trials for each in found.families) == found.n_trials == len(TRIALS)
    assert found.n_failed == 3
    trees = next(each for each in found.families if each.family == "trees")
    assert (trees.trials, trees.failed, trees.cut_short, trees.seconds) == (4, 2, 1, 7.4)


def test_reasons_are_grouped_whatever_the_numbers_in_them(found):
    assert [(each.reason, each.families) for each in found.failures] == [
        ("ValueError: depth 7 is too deep", (("trees", 2),)),
        ("MemoryError: no room", (("ridge", 1),)),
    ]


def test_the_best_is_one_on_all_rows(found):
    assert (found.best, found.best_family, found.best_trial, found.best_after) == (
        4.0,
        "trees",
        2,
        5.0,
    )
    assert found.best_params == (("alpha", "0.1"), ("kind", "a"))
    assert searched.of(TRIALS, R2, 8.0, []).best == 9.0


def test_it_survives_json_also_when_all_failed(found):
    adapter = TypeAdapter(Search)
    lost = searched.of(TRIALS[TRIALS["score"].isna()], RMSE, 1.0, [])
    assert lost.best is None
    for each in (found, lost):
        assert adapter.validate_json(adapter.dump_json(each)) == each


# The page


def test_the_page_tells_what_each_family_cost_and_why_trials_failed(found, tmp_path):
    story, cost, failed = page.blocks(found, tmp_path)
    assert story.lines == (
        "8 trials of 3 families in 8.0 s, the last fits included, 1 of them by an interrupted run;"
        " 3 failed.",
        "The best single candidate came from trees, as trial 3 after 5.0 s, with validation rmse"
        " 4.0000.",
        "The leader is made of 2 candidates: 75 % trees, 25 % ridge.",
    )
    assert cost.lines == (
        "All trials together took 9.0 s, 82 % of it for trees. They ran beside each other.",
    )
    rows = [[cell.text for cell in row.cells] for row in cost.table.rows]
    assert ["ridge", "4.5000", "3", "1", "0", "1.35"] in rows
    rows = [[cell.text for cell in row.cells] for row in failed.table.rows]
    assert rows == [
        ["2 trees", "ValueError: depth 7 is too deep"],
        ["1 ridge", "MemoryError: no room"],
    ]


def test_pictures_are_those_that_train_has_drawn_each_with_its_words(found, tmp_path):
    members = [Member("trees", 0.75), Member("ridge", 0.25)]
    paths = figures.draw(tmp_path / "figures", TRIALS, RMSE, members)
    story = page.blocks(found, tmp_path / "figures")[0]
    drawn = {each.name: each for each in story.drawings}
    assert set(drawn) == {path.stem for path in paths} == {"search", "families", "ensemble"}
    for path in paths:
        assert drawn[path.stem].svg == path.read_text(encoding="utf-8")
    assert "4.0000, was there after 5.0 s" in drawn["search"].told
    assert "75 % trees, 25 % ridge" in drawn["ensemble"].told


def test_a_search_without_failures_and_pictures_says_so(tmp_path):
    quiet = searched.of(TRIALS[:2], RMSE, 8.0, [("ridge", 1.0)])
    story, cost, failed = page.blocks(quiet, tmp_path / "nothing")
    assert story.drawings == ()
    assert len(story.lines) == 2
    assert "beside" not in cost.lines[0]
    assert failed.lines == ("None.",)

"""A challenger that is no better takes the champion's place as seldom as the confidence says."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "promotion.py"


@pytest.fixture(scope="module")
def promotion():
    """The benchmark, of which this is a small part."""
    spec = importlib.util.spec_from_file_location("promotion_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    "name",
    ["regressors, rmse", "classifiers, log_loss", "errors that last a day, drawn by block"],
)
def test_equal_models_are_promoted_at_most_as_often_as_promised(promotion, name):
    found = promotion.count(promotion.EQUAL[name], 200, 300, seed=11)
    assert found.promoted <= promotion.most_promoted(300)
    # Where the higher score wins, it is a coin that decides.
    assert 0.35 < found.higher / found.pairs < 0.65


def test_errors_that_last_a_day_need_days_drawn_as_a_whole(promotion):
    by_row = promotion.EQUAL["errors that last a day, drawn by row"]
    found = promotion.count(by_row, 200, 300, seed=11)
    assert found.promoted > promotion.most_promoted(300)


def test_the_bound_is_the_promise_and_the_noise_of_so_many_pairs(promotion):
    assert promotion.most_promoted(500) == 25
    assert promotion.most_promoted(1_000_000) / 1_000_000 == pytest.approx(0.025, rel=0.03)


def test_a_challenger_that_is_better_by_far_takes_the_place(promotion):
    found = promotion.count(lambda rng, n: promotion.regressors(rng, n, 0.05), 2000, 20, seed=11)
    assert found.promoted > 15

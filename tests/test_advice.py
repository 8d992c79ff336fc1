"""Each rule of advice fires on what it is for, says its numbers, and is silent otherwise."""

from dataclasses import replace
from math import nan

import pytest
import yaml

from ratchet import advice, metrics, settings
from ratchet.advice import Budget, Failure, Growth, Search, Tried, Values
from ratchet.backends import Choice, Integer, Real
from ratchet.problem import ProblemType

RMSE = metrics.named("rmse", ProblemType.REGRESSION)
AUC = metrics.named("roc_auc", ProblemType.BINARY)
MINUTE = Budget(60.0, 1000, 41)
TRIALS = Budget(None, 25, 25)
HOLDOUT, BY_TIME, FOLDS = (1, False, False), (1, True, False), (5, False, False)


# Failures


def test_a_family_that_fails_for_one_reason_is_left_out():
    found = advice.failures(
        [Failure("ValueError: too deep", "forest", 4), Failure("MemoryError", "mlp", 1)],
        20,
        ["baseline", "ridge", "forest", "mlp"],
        ["baseline"],
    )
    assert found.overrides == ("train.families=[baseline, ridge, mlp]",)
    assert found.because == (
        "4 of 20 trials failed for the same reason, all of forest: ValueError: too deep."
    )


def test_one_cause_may_stop_several_families():
    reason = "ValueError: no such device"
    found = advice.failures(
        [Failure(reason, "xgboost", 3), Failure(reason, "lightgbm", 2)],
        20,
        ["baseline", "ridge", "xgboost", "lightgbm"],
        ["baseline"],
    )
    assert found.overrides == ("train.families=[baseline, ridge]",)
    assert "5 of 20 trials failed for the same reason, all of xgboost and lightgbm" in found.because


def test_where_nothing_else_is_left_the_cause_is_to_be_mended():
    found = advice.failures([Failure("boom", "mlp", 5)], 6, ["baseline", "mlp"], ["baseline"])
    assert found.overrides == ("train.search.max_trials=3",)


@pytest.mark.parametrize("count", [1, 3])
def test_few_failures_of_many_trials_are_no_matter(count):
    assert advice.failures([Failure("boom", "mlp", count)], 20, ["mlp"], []) is None


def test_without_failures_there_is_nothing_to_mend():
    assert advice.failures([], 20, ["mlp"], []) is None


# Underfit


def underfit(valid, *, metric=RMSE, baseline=10.0, all_families=True, all_features=True):
    return advice.underfit(
        metric,
        valid=valid,
        baseline=baseline,
        all_families=all_families,
        all_features=all_features,
        budget=MINUTE,
    )


def test_a_best_trial_that_hardly_beats_the_baseline_asks_for_more_to_look_at():
    assert underfit(9.8, all_families=False).overrides == ("train.families=null",)
    assert underfit(9.8, all_features=False).overrides == ("data.features=null",)
    assert underfit(9.8).overrides == ("train.search.budget_seconds=240",)
    assert underfit(9.8).because == (
        "The best trial hardly beats the constant answer: valid/rmse 9.800 against 10.000,"
        " which is 2 % of the way to a perfect one."
    )
    assert underfit(9.4) is None
    assert underfit(9.8, baseline=nan) is None


def test_underfit_is_measured_in_the_metrics_own_direction():
    assert underfit(0.51, metric=AUC, baseline=0.5) is not None
    assert underfit(0.9, metric=AUC, baseline=0.5) is None
    assert underfit(0.4, metric=AUC, baseline=0.5) is not None


# Validation


def optimistic(choices, *, valid=4.0, test=6.0, low=5.5, high=6.5, size=0.2, harder=0.0):
    return advice.optimistic(
        RMSE,
        valid=valid,
        test=test,
        low=low,
        high=high,
        baselines=(10.0, 10.0 + harder),
        choices=choices,
        valid_size=size,
    )


def test_validation_that_promises_more_than_test_keeps_is_made_steadier():
    assert optimistic(HOLDOUT).overrides == ("train.validation=folds",)
    assert optimistic(FOLDS).overrides == ("train.ensemble=none",)
    assert optimistic((5, False, True)).overrides == ("train.folds=10",)
    assert optimistic(HOLDOUT).because == (
        "Validation promises more than test keeps: rmse 4.0000 on validation,"
        " 6.0000 [5.5000, 6.5000] on test, where the baseline went from 10.0000 to 10.0000."
    )


def test_by_time_the_choice_moves_nearer_to_the_test_rows():
    assert optimistic(BY_TIME).overrides == ("split.valid=0.1",)
    assert optimistic(BY_TIME, size="7 days") is None


def test_validation_within_the_tests_interval_or_near_it_is_fine():
    assert optimistic(HOLDOUT, valid=5.6) is None
    assert optimistic(HOLDOUT, valid=5.4, test=5.8) is None
    assert optimistic(HOLDOUT, test=nan, low=nan, high=nan) is None
    assert optimistic(HOLDOUT, valid=7.0) is None


def test_test_rows_that_are_harder_for_any_model_are_no_fault_of_validation():
    assert optimistic(HOLDOUT, harder=0.5) is not None
    assert optimistic(HOLDOUT, harder=2.0) is None
    assert optimistic(HOLDOUT, valid=5.6, harder=-2.0) is not None


def noisy(honest, choices=HOLDOUT):
    return advice.noisy(RMSE, valid=5.0, honest=honest, baseline=10.0, choices=choices)


def test_a_score_that_is_owed_to_the_choice_of_members_asks_for_folds():
    assert noisy(5.5).overrides == ("train.validation=folds",)
    assert noisy(5.5).because == (
        "The validation score is partly luck: rmse 5.0000 is 5.5000 on rows that the members were"
        " not chosen with."
    )
    assert noisy(5.5, BY_TIME).overrides == ("train.ensemble=none",)
    assert noisy(5.5, (1, True, True)) is None
    assert noisy(5.1) is None
    assert noisy(nan) is None


def test_twice_as_many_folds_are_never_more_than_allowed():
    assert noisy(5.5, (15, False, True)).overrides == ("train.folds=20",)


# Overfit


def overfit(train, params, *, baseline=10.0):
    return advice.overfit(
        RMSE, train=train, valid=6.0, baseline=baseline, backend="xgboost", params=params
    )


def test_a_model_that_knows_its_rows_by_heart_is_made_simpler():
    found = overfit(1.0, {"learning_rate": 0.1, "max_depth": 9})
    assert found.overrides == ("train.backends.xgboost.max_depth=4",)
    assert found.because == (
        "Of what training gained over the baseline, validation has lost 55.6 %: rmse 1.000 in"
        " training, 6.000 on validation, baseline 10.000."
    )
    assert overfit(1.0, {"min_samples_leaf": 2}).overrides == (
        "train.backends.xgboost.min_samples_leaf=8",
    )


def test_what_can_not_be_made_simpler_or_keeps_its_gain_is_left_alone():
    assert overfit(1.0, {"learning_rate": 0.1}) is None
    assert overfit(1.0, {"max_depth": 1}) is None
    assert overfit(3.0, {"max_depth": 9}) is None
    assert overfit(1.0, {"max_depth": 9}, baseline=nan) is None


# Growth


def growth(scores, *, cut_short=False):
    steps = tuple(range(100, 100 * len(scores) + 1, 100))
    return Growth("xgboost", "xgboost", "n_estimators", steps, tuple(scores), cut_short)


def test_a_curve_that_still_falls_at_its_end_gets_more_rounds():
    falling = [10 - 0.5 * step for step in range(11)]
    found = advice.unfinished(RMSE, growth(falling), MINUTE)
    assert found.overrides == ("train.backends.xgboost.n_estimators=2200",)
    assert found.because == (
        "xgboost was still getting better when it ended: its last tenth of 1,100 rounds brought"
        " 1.000 rmse."
    )
    rising = advice.unfinished(AUC, growth([0.5 + 0.02 * step for step in range(11)]), MINUTE)
    assert rising.overrides == ("train.backends.xgboost.n_estimators=2200",)


def test_a_fit_that_the_deadline_ended_gets_time():
    falling = [10 - 0.5 * step for step in range(11)]
    found = advice.unfinished(RMSE, growth(falling, cut_short=True), MINUTE)
    assert found.overrides == ("train.search.budget_seconds=120",)


@pytest.mark.parametrize(
    "scores",
    [
        [10.0, 5.0, 4.0, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9],
        [10.0, 5.0, 4.0, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7],
        [10.0, 5.0],
    ],
    ids=["flat", "early stopped", "two points"],
)
def test_a_curve_that_has_ended_by_itself_is_finished(scores):
    assert advice.unfinished(RMSE, growth(scores), MINUTE) is None


# Starved families


def starved(*families, budget=MINUTE):
    return advice.starved(
        RMSE,
        [Tried("baseline", 1, 10.0, 0.1, tunable=False), *families],
        baseline=10.0,
        baselines=["baseline"],
        budget=budget,
    )


def test_a_leading_family_that_was_hardly_tried_gets_more_time():
    found = starved(Tried("ridge", 20, 6.0, 2.0), Tried("catboost", 2, 5.0, 30.0))
    assert found.overrides == ("train.search.budget_seconds=240",)
    assert found.because == "catboost leads with 2 of 41 trials."
    assert starved(Tried("ridge", 2, 6.0, 2.0), budget=TRIALS).overrides == (
        "train.search.max_trials=100",
    )


def test_families_that_lag_and_take_half_of_the_time_are_left_out():
    found = starved(
        Tried("mlp", 9, 8.0, 40.0), Tried("xgboost", 1, 5.1, 5.0), Tried("lightgbm", 12, 5.0, 9.0)
    )
    assert found.overrides == ("train.families=[baseline, xgboost, lightgbm]",)
    assert found.because == (
        "xgboost is close to lightgbm, rmse 5.1000 against 5.0000, with 1 of 41 trials."
    )
    assert found.what == "Leave the time to those that lead: mlp took more than half of it."


def test_a_best_trial_that_was_cut_short_counts_as_hardly_tried():
    found = starved(Tried("xgboost", 12, 5.0, 9.0, cut_short=True))
    assert found.because == "xgboost leads with 12 of 41 trials, the best of them cut short."


def test_families_that_lag_or_were_tried_enough_or_have_no_more_to_try_are_not_starved():
    assert starved(Tried("mlp", 1, 8.0, 1.0), Tried("xgboost", 9, 5.0, 9.0)) is None
    assert starved(Tried("linear", 1, 5.0, 1.0, tunable=False)) is None
    assert starved(Tried("mlp", 1, nan, 1.0)) is None
    assert starved(Tried("mlp", 1, 11.0, 1.0)) is None


# Bounds


def values(name, dimension, pairs):
    tried, scores = zip(*pairs, strict=True)
    return Values("xgboost", "xgboost", name, dimension, tried, scores)


DEPTH = [(12, 5.0), (11, 5.2), (9, 5.5), (6, 6.0), (4, 6.5), (2, 7.0)]


def test_a_best_value_at_a_bound_with_better_trials_near_it_goes_beyond():
    found = advice.bound(RMSE, [values("max_depth", Integer(2, 12), DEPTH)])
    assert found.overrides == ("train.backends.xgboost.max_depth=15",)
    assert found.because == (
        "The best trial has max_depth at the upper end of its range, 12, and near it trials are"
        " better by 1.3000 rmse in the median."
    )


def test_a_logarithmic_range_goes_on_by_a_factor():
    pairs = [(0.01, 0.9), (0.012, 0.89), (0.02, 0.88), (0.1, 0.8), (0.2, 0.79), (0.3, 0.7)]
    found = advice.bound(AUC, [values("learning_rate", Real(0.01, 0.3, log=True), pairs)])
    assert found.overrides == ("train.backends.xgboost.learning_rate=0.005",)
    assert "at the lower end of its range, 0.01" in found.because


def test_of_several_bounds_the_one_that_tells_most_is_taken():
    mild = values("reg", Real(1.0, 5.0), [(5.0, 5.0), (4.9, 5.9), (1, 6), (2, 6), (1, 6), (2, 6)])
    strong = values("max_depth", Integer(2, 12), DEPTH)
    assert "max_depth" in advice.bound(RMSE, [mild, strong]).overrides[0]
    assert "max_depth" in advice.bound(RMSE, [strong, mild]).overrides[0]


@pytest.mark.parametrize(
    ("dimension", "pairs"),
    [
        (Integer(2, 14), DEPTH),
        (Integer(2, 12), DEPTH[:5]),
        (Integer(2, 12), [(12, 5.0), (11, 9.0), (10, 9.0), (6, 6.0), (4, 6.5), (2, 7.0)]),
        (Real(0.5, 1.0), [(1.0, 5.0), (0.95, 5.1), (0.9, 5.2), (0.6, 6), (0.5, 7), (0.6, 7)]),
        (Integer(1, 12), [(1, 5.0), (2, 5.1), (3, 5.2), (6, 6.0), (9, 7.0), (12, 7.0)]),
        (Choice((2, 12)), DEPTH),
    ],
    ids=["inside", "few values", "by chance", "a share ends at 1", "a count at 1", "no range"],
)
def test_a_best_value_inside_or_at_an_end_by_nature_or_by_chance_is_fine(dimension, pairs):
    assert advice.bound(RMSE, [values("x", dimension, pairs)]) is None


# The end of a search


def test_a_search_that_still_finds_better_ones_goes_on():
    best = [10.0, 8.0, 7.0, 7.0, 7.0, 7.0, 6.9, 6.8, 6.5]
    found = advice.improving(RMSE, best, MINUTE)
    assert found.overrides == ("train.search.budget_seconds=120",)
    assert found.because == (
        "The search was still finding better candidates: its last third of 9 trials brought"
        " 0.500 rmse."
    )
    assert advice.improving(RMSE, [10.0, 8.0, *[7.0] * 7], MINUTE) is None
    assert advice.improving(RMSE, best[:8], MINUTE) is None
    assert advice.improving(RMSE, [10.0] * 9, MINUTE) is None


def test_a_search_that_found_nothing_in_its_last_two_thirds_was_too_long():
    found = advice.saturated(RMSE, [10.0, 8.0, *[7.0] * 7], MINUTE)
    assert found.overrides == ("train.search.budget_seconds=30",)
    assert found.because == "The last two thirds of 9 trials brought no better rmse."
    assert advice.saturated(RMSE, [10.0, 8.0, 7.0, 6.0, *[5.0] * 5], MINUTE) is None
    assert advice.saturated(RMSE, [10.0, 8.0, *[7.0] * 6], MINUTE) is None


def test_the_budget_that_ended_the_search_is_the_one_that_grows():
    assert Budget(None, 25, 25).times(2) == ("train.search.max_trials=50",)
    assert Budget(60.0, 1000, 41).times(2) == ("train.search.budget_seconds=120",)
    assert Budget(60.0, 41, 41).times(2) == (
        "train.search.budget_seconds=120",
        "train.search.max_trials=82",
    )


# All together


def search(**changes):
    usual = Search(
        metric=RMSE,
        families=(
            Tried("baseline", 1, 10.0, 0.1, tunable=False),
            Tried("xgboost", 12, 5.0, 20.0),
        ),
        baselines=("baseline",),
        failures=(),
        best=(10.0, 5.5, 5.4, 5.2, 5.1, 5.0, 5.0, 5.0, 5.0),
        train=4.0,
        valid=5.0,
        honest=5.05,
        baseline=10.0,
        test_baseline=10.1,
        test=5.1,
        test_low=4.8,
        test_high=5.4,
        n_folds=1,
        by_time=False,
        valid_size=0.2,
        alone=False,
        all_families=True,
        all_features=True,
        seed=7,
        budget=MINUTE,
        best_params={"max_depth": 6},
        best_backend="xgboost",
    )
    return replace(usual, **changes)


def test_a_search_in_which_nothing_stands_out_is_repeated_with_another_seed():
    [found] = advice.applicable(search())
    assert (found.rule, found.overrides) == ("repeat", ("seed=8",))


ILL = {
    "failures": {"failures": (Failure("boom", "mlp", 9),)},
    "underfit": {"baseline": 5.1},
    "optimistic": {"test": 7.0, "test_low": 6.0, "test_high": 8.0},
    "noisy": {"honest": 6.0},
    "overfit": {"train": -6.0},
    "unfinished": {"growth": growth([10 - 0.5 * step for step in range(11)])},
    "starved": {"families": (Tried("xgboost", 2, 5.0, 20.0),)},
    "bound": {"values": (values("max_depth", Integer(2, 12), DEPTH),)},
    "improving": {"best": (10.0, 8.0, 7.0, 7.0, 7.0, 7.0, 6.9, 6.8, 6.5)},
    "saturated": {"best": (10.0, 8.0, *[7.0] * 7)},
}


@pytest.mark.parametrize("rule", ILL)
def test_each_rule_is_asked(rule):
    assert rule in [found.rule for found in advice.applicable(search(**ILL[rule]))]


def test_the_most_valuable_advice_comes_first():
    together = {
        name: value for changes in reversed(ILL.values()) for name, value in changes.items()
    }
    rules = [found.rule for found in advice.applicable(search(**together))]
    order = [*ILL, "repeat"]
    assert rules == [rule for rule in order if rule in rules]
    assert rules[0] == "failures"
    assert len(rules) >= 7


@pytest.mark.parametrize("rule", ILL)
def test_what_is_advised_can_be_set(rule, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"name": "x", "data": {"source": "d", "target": "y"}}))
    for found in advice.applicable(search(**ILL[rule])):
        changed = settings.load(params, found.overrides)
        assert changed != settings.load(params)

"""A leader passes a gate on evidence, and is told the numbers."""

from dataclasses import replace
from math import inf, nan

import pytest

from ratchet.gates import (
    CheckResult,
    GateResult,
    SliceReport,
    SliceResult,
    behaves,
    better_than_baseline,
    better_than_champion,
    calibrated,
    champion_cannot_score,
    decimals,
    enough_fair_rows,
    fast_enough,
    few_test_uses,
    no_bad_slice,
    no_champion,
    no_leakage,
    not_overfitted,
    recorded_data,
    recorded_tree,
    required_score,
    shown,
    small_enough,
)
from ratchet.metrics import named
from ratchet.problem import ProblemType

RMSE = named("rmse", ProblemType.REGRESSION)
AUC = named("roc_auc", ProblemType.BINARY)

CLEAR = {"gain": 0.0892, "low": 0.0511, "high": 0.1270, "confidence": 0.95}
SCORES = {"challenger": 5.0312, "champion": 5.1204}


@pytest.mark.parametrize(
    ("metric", "score", "required", "passed", "reason"),
    [
        (RMSE, 4.9, 5.0, True, "rmse 4.9000, required <= 5.0000"),
        (RMSE, 5.0, 5.0, True, "rmse 5.0000, required <= 5.0000"),
        (RMSE, 5.1, 5.0, False, "rmse 5.1000, required <= 5.0000"),
        (RMSE, 5.00001, 5.0, False, "rmse 5.000010, required <= 5.000000"),
        (RMSE, 27_547.0, 30_000.0, True, "rmse 27,547, required <= 30,000"),
        (RMSE, nan, 5.0, False, "rmse NaN, required <= 5.0000"),
        (RMSE, inf, 5.0, False, "rmse inf, required <= 5.0000"),
        (AUC, 0.91, 0.9, True, "roc_auc 0.9100, required >= 0.9000"),
        (AUC, 0.9, 0.9, True, "roc_auc 0.9000, required >= 0.9000"),
        (AUC, 0.89, 0.9, False, "roc_auc 0.8900, required >= 0.9000"),
    ],
)
def test_a_required_score_must_be_reached(metric, score, required, passed, reason):
    assert required_score(metric, score, required) == GateResult("required_score", passed, reason)


def test_a_sure_gain_unseats_the_champion():
    assert better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=0.0) == GateResult(
        "better_than_champion",
        True,
        "rmse 5.0312, champion 5.1204: gain 0.0892 [0.0511, 0.1270] at 95 %,"
        " needed more than 0 and at least 0.0000",
    )


def test_a_tie_does_not_unseat_the_champion():
    tie = {"gain": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95}
    assert better_than_champion(
        RMSE, challenger=2.0, champion=2.0, **tie, min_gain=0.0
    ) == GateResult(
        "better_than_champion",
        False,
        "rmse 2.0000, champion 2.0000: gain 0.0000 [0.0000, 0.0000] at 95 %,"
        " needed more than 0 and at least 0.0000",
    )


def test_a_gain_that_may_be_chance_does_not_unseat_the_champion():
    doubtful = CLEAR | {"low": -0.0511}
    result = better_than_champion(RMSE, **SCORES, **doubtful, min_gain=0.0)
    assert not result.passed
    assert "gain 0.0892 [-0.0511, 0.1270] at 95 %" in result.reason


@pytest.mark.parametrize(("min_gain", "passed"), [(0.0892, True), (0.09, False)])
def test_a_gain_must_be_worth_a_change(min_gain, passed):
    result = better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=min_gain)
    assert result.passed is passed


def test_a_gain_just_short_of_the_least_one_is_told_with_enough_digits():
    result = better_than_champion(RMSE, **SCORES, **CLEAR, min_gain=0.08921)
    assert result.reason == (
        "rmse 5.031200, champion 5.120400: gain 0.089200 [0.051100, 0.127000] at 95 %,"
        " needed more than 0 and at least 0.089210"
    )


@pytest.mark.parametrize("number", ["challenger", "champion", "gain", "low", "high", "min_gain"])
def test_nan_never_unseats_the_champion(number):
    numbers = {**SCORES, **CLEAR, "min_gain": 0.0, number: nan}
    result = better_than_champion(RMSE, **numbers)
    assert not result.passed
    assert "NaN" in result.reason


def test_any_number_beats_a_champion_that_predicts_infinity():
    numbers = {"gain": inf, "low": inf, "high": inf, "confidence": 0.95}
    result = better_than_champion(RMSE, challenger=5.0, champion=inf, **numbers, min_gain=0.0)
    assert result.passed
    assert result.reason == (
        "rmse 5.0000, champion inf: gain inf [inf, inf] at 95 %,"
        " needed more than 0 and at least 0.0000"
    )


def test_the_first_model_needs_to_beat_no_champion():
    assert no_champion(RMSE, 5.0312) == GateResult(
        "better_than_champion", True, "rmse 5.0312, no champion yet"
    )


def test_a_model_without_a_score_is_not_the_first_champion():
    assert no_champion(RMSE, nan) == GateResult(
        "better_than_champion", False, "rmse NaN, no champion yet"
    )


def test_a_leader_must_surely_beat_the_baseline():
    numbers = {"leader": 0.91, "baseline": 0.5, "gain": 0.41, "high": 0.45, "confidence": 0.999}
    assert better_than_baseline(AUC, **numbers, low=0.37) == GateResult(
        "better_than_baseline",
        True,
        "roc_auc 0.9100, baseline 0.5000: gain 0.4100 [0.3700, 0.4500] at 99.9 %,"
        " needed more than 0",
    )
    assert not better_than_baseline(AUC, **numbers, low=0.0).passed
    assert not better_than_baseline(AUC, **numbers, low=-0.01).passed


@pytest.mark.parametrize("number", ["leader", "baseline", "gain", "low", "high"])
def test_nan_never_beats_the_baseline(number):
    numbers = {"leader": 5.0, "baseline": 6.0, "gain": 1.0, "low": 0.5, "high": 1.5, number: nan}
    result = better_than_baseline(RMSE, **numbers, confidence=0.95)
    assert not result.passed
    assert "NaN" in result.reason


@pytest.mark.parametrize("allowed", [True, False])
def test_a_champion_that_can_not_score_loses_its_claim_only_if_that_is_allowed(allowed):
    result = champion_cannot_score(3, "KeyError: 'size'", allowed)
    told = "version 3, the champion, can't score today's test rows (KeyError: 'size'): "
    end = (
        "it loses its claim, as promote.allow_schema_change says"
        if allowed
        else "nothing shows that the leader is better. If the columns were changed on purpose, set"
        " promote.allow_schema_change to true"
    )
    assert result == GateResult("better_than_champion", allowed, told + end)


@pytest.mark.parametrize(
    ("n_fair", "passed", "told"),
    [
        (100, True, "100 test rows are new"),
        (99, False, "99 test rows are new"),
        (1, False, "1 test row is new"),
        (0, False, "0 test rows are new"),
    ],
)
def test_a_comparison_needs_rows_that_the_champion_has_not_seen(n_fair, passed, told):
    assert enough_fair_rows(n_fair, 1920, 100) == GateResult(
        "enough_fair_rows", passed, f"{told} to the champion (1,920 left out), required >= 100"
    )


BERLIN = SliceResult("town", "Berlin", 240, 5.5, 5.0, -0.5, -0.8, -0.2, failed=True)
AACHEN = SliceResult("town", "Aachen", 1, 4.9, 5.0, 0.1, -0.2, 0.4, failed=False)
COTTBUS = SliceResult("town", "Cottbus", 150, nan, nan, nan, nan, nan, failed=False)
LOST = SliceResult("town", "missing", 120, nan, 5.0, nan, nan, nan, failed=True)
REPORT = SliceReport((BERLIN, AACHEN), 0, 100, 0.1, 0.95, 0.975)


def test_a_slice_that_is_surely_worse_keeps_the_champion():
    assert no_bad_slice(RMSE, REPORT, "champion") == GateResult(
        "no_bad_slice",
        False,
        "surely worse than the champion by more than 0.1 rmse on 1 of 2 slices; town Berlin"
        " (240 rows): rmse 5.5000, champion 5.0000: gain -0.5000 [-0.8000, -0.2000] at 97.5 %",
    )


def test_without_a_bad_slice_the_worst_is_told():
    assert no_bad_slice(RMSE, replace(REPORT, results=(AACHEN,)), "baseline") == GateResult(
        "no_bad_slice",
        True,
        "surely worse than the baseline by more than 0.1 rmse on 0 of 1 slice; town Aachen"
        " (1 row): rmse 4.9000, baseline 5.0000: gain 0.1000 [-0.2000, 0.4000] at 97.5 %",
    )


def test_slices_that_can_not_be_judged_are_counted():
    report = replace(REPORT, results=(AACHEN, COTTBUS, COTTBUS), n_small=12)
    result = no_bad_slice(RMSE, report, "champion")
    assert result.passed
    assert "on 0 of 1 slice;" in result.reason
    assert result.reason.endswith("; 12 slices have fewer than 100 rows; 2 slices have no interval")
    assert no_bad_slice(RMSE, replace(report, results=(), n_small=1), "champion") == GateResult(
        "no_bad_slice",
        True,
        "surely worse than the champion by more than 0.1 rmse on 0 of 0 slices;"
        " 1 slice has fewer than 100 rows",
    )


def test_a_slice_that_the_leader_alone_can_not_score_fails():
    result = no_bad_slice(RMSE, replace(REPORT, results=(LOST, AACHEN)), "champion")
    assert not result.passed
    assert "on 1 of 2 slices; town missing (120 rows): rmse NaN, champion 5.0000" in result.reason


def test_many_bad_slices_are_told_in_part():
    result = no_bad_slice(RMSE, replace(REPORT, results=(BERLIN,) * 5), "champion")
    assert result.reason.count("town Berlin") == 3
    assert result.reason.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("error", "passed", "told"),
    [
        (0.04, True, "0.04000, required <= 0.05000"),
        (0.05, True, "0.05000, required <= 0.05000"),
        (0.06, False, "0.06000, required <= 0.05000"),
        (nan, False, "NaN, required <= 0.05000"),
    ],
)
def test_probabilities_must_be_as_frequent_as_they_say(error, passed, told):
    expected = GateResult("calibrated", passed, f"calibration_error {told}")
    assert calibrated(error, 0.05) == expected


FAST = {"one_row_ms": 2.0, "batch_ms": 40.0, "batch_rows": 1000}


@pytest.mark.parametrize(
    ("max_one_row", "max_batch", "passed", "told"),
    [
        (2.0, 40.0, True, "1 row in 2.0000 ms, required <= 2.0000 ms; "),
        (1.9, 40.0, False, "1 row in 2.0000 ms, required <= 1.9000 ms; "),
        (2.0, 39.0, False, "1,000 rows in 40.000 ms, required <= 39.000 ms"),
        (None, 39.0, False, "1 row in 2.0000 ms, no limit; "),
        (1.9, None, False, "; 1,000 rows in 40.000 ms, no limit"),
        (None, None, True, "1 row in 2.0000 ms, no limit; 1,000 rows in 40.000 ms, no limit"),
    ],
)
def test_a_leader_must_answer_in_time(max_one_row, max_batch, passed, told):
    result = fast_enough(**FAST, max_one_row=max_one_row, max_batch=max_batch)
    assert (result.name, result.passed) == ("fast_enough", passed)
    assert told in result.reason


@pytest.mark.parametrize("number", ["one_row_ms", "batch_ms"])
def test_a_time_that_is_nan_never_passes(number):
    assert not fast_enough(**{**FAST, number: nan}, max_one_row=1e9, max_batch=1e9).passed


@pytest.mark.parametrize(("size", "passed"), [(1.5, True), (2.0, True), (2.5, False), (nan, False)])
def test_a_leader_must_not_take_too_much_room(size, passed):
    result = small_enough(size, 2.0)
    assert (result.name, result.passed) == ("small_enough", passed)
    assert result.reason == f"model folder {shown(size, 4)} MB, required <= 2.0000 MB"


@pytest.mark.parametrize(
    ("metric", "train", "valid", "baseline", "passed", "told"),
    [
        (RMSE, 4.0, 5.0, 8.0, True, "25.000 % of the gain lost, required <= 25.000 %"),
        (RMSE, 4.0, 5.2, 8.0, False, "30.000 % of the gain lost, required <= 25.000 %"),
        (RMSE, 4.0, 9.0, 8.0, False, "125.00 % of the gain lost, required <= 25.00 %"),
        (AUC, 0.9, 0.8, 0.5, True, "25.000 % of the gain lost, required <= 25.000 %"),
        (AUC, 0.9, 0.7, 0.5, False, "50.000 % of the gain lost, required <= 25.000 %"),
        (RMSE, 5.0, 5.0, 8.0, True, "nothing lost"),
        (RMSE, 5.0, 4.5, 4.8, True, "nothing lost"),
        (AUC, 0.7, 0.8, None, True, "nothing lost"),
        (RMSE, 5.0, 5.5, 5.0, False, "no gain in training to lose"),
        (RMSE, 5.0, 5.5, 4.5, False, "no gain in training to lose"),
        (RMSE, inf, 5.0, 8.0, False, "no gain in training to lose"),
        (RMSE, nan, 5.0, 8.0, False, "NaN % of the gain lost, required <= 25.000 %"),
        (RMSE, 4.0, nan, 8.0, False, "NaN % of the gain lost, required <= 25.000 %"),
        (RMSE, 4.0, 5.0, nan, False, "NaN % of the gain lost, required <= 25.000 %"),
        (RMSE, 4.0, inf, 8.0, False, "inf % of the gain lost, required <= 25.000 %"),
    ],
)
def test_what_was_gained_in_training_must_last(metric, train, valid, baseline, passed, told):
    result = not_overfitted(metric, train=train, valid=valid, baseline=baseline, allowed=0.25)
    assert (result.name, result.passed) == ("not_overfitted", passed)
    scores = f"train {shown(train, 4)}, valid {shown(valid, 4)}"
    scores += "" if baseline is None else f", baseline {shown(baseline, 4)}"
    assert result.reason == f"{metric.name} {scores}: {told}"


def test_what_is_lost_has_no_unit():
    minutes = not_overfitted(RMSE, train=4.0, valid=5.0, baseline=8.0, allowed=0.2)
    seconds = not_overfitted(RMSE, train=240.0, valid=300.0, baseline=480.0, allowed=0.2)
    assert minutes.reason.partition(": ")[2] == seconds.reason.partition(": ")[2]


def test_without_a_baseline_overfitting_has_no_measure():
    result = not_overfitted(RMSE, train=4.0, valid=5.0, baseline=None, allowed=0.25)
    assert result == GateResult(
        "not_overfitted",
        False,
        "rmse train 4.0000, valid 5.0000, and no baseline to tell how much that is. Add baseline"
        " to train.families, or set promote.max_overfit to null",
    )
    assert not not_overfitted(RMSE, train=nan, valid=5.0, baseline=None, allowed=0.25).passed


@pytest.mark.parametrize(
    ("dirty", "rule", "passed", "told"),
    [
        (False, "refuse", True, "data version 3f2a.dir is recorded"),
        (False, "allow", True, "data version 3f2a.dir is recorded"),
        (
            True,
            "refuse",
            False,
            "data version 3f2a.dir is dirty (data is not tracked by DVC). Record it with"
            " `dvc add` or `dvc commit`, or set promote.dirty_data to allow",
        ),
        (
            True,
            "allow",
            True,
            "data version 3f2a.dir is dirty (data is not tracked by DVC); promote.dirty_data is"
            " allow",
        ),
    ],
)
def test_data_must_be_there_to_be_read_again(dirty, rule, passed, told):
    reason = "data is not tracked by DVC" if dirty else ""
    result = recorded_data("3f2a.dir", dirty=dirty, reason=reason, rule=rule)
    assert result == GateResult("recorded_data", passed, told)


COMMIT = "0ef28a6b1c2d3e4f5061728394a5b6c7d8e9f001"
CLEAN = {"commit": COMMIT, "dirty": False, "patch_whole": True, "reason": ""}
PATCHED = CLEAN | {"dirty": True}
CUT = PATCHED | {"patch_whole": False}
NOWHERE = {
    "commit": None,
    "dirty": None,
    "patch_whole": False,
    "reason": "/home/me/task is in no git repository",
}
UNSURE = CLEAN | {"dirty": None, "reason": "git took too long"}


@pytest.mark.parametrize(
    ("tree", "accepted"),
    [
        (CLEAN, {"clean", "recorded", "allow"}),
        (PATCHED, {"recorded", "allow"}),
        (CUT, {"allow"}),
        (NOWHERE, {"allow"}),
        (NOWHERE | {"patch_whole": True}, {"allow"}),
        (UNSURE, {"allow"}),
        (CLEAN | {"commit": None}, {"allow"}),
    ],
)
@pytest.mark.parametrize("rule", ["clean", "recorded", "allow"])
def test_code_must_be_there_to_be_run_again(tree, accepted, rule):
    result = recorded_tree(**tree, rule=rule)
    assert (result.name, result.passed) == ("recorded_tree", rule in accepted)


@pytest.mark.parametrize(
    ("tree", "rule", "told"),
    [
        (CLEAN, "clean", "the tree is clean at commit 0ef28a6b1c2d"),
        (
            PATCHED,
            "recorded",
            "the tree differs from commit 0ef28a6b1c2d, and the patch is in the run;"
            " promote.dirty_tree is recorded",
        ),
        (
            PATCHED,
            "clean",
            "the tree differs from commit 0ef28a6b1c2d, and the patch is in the run. Commit the"
            " changes, or set promote.dirty_tree to recorded",
        ),
        (
            CUT,
            "recorded",
            "the tree differs from commit 0ef28a6b1c2d, and the patch is not whole. Commit the"
            " changes, or set promote.dirty_tree to allow",
        ),
        (
            NOWHERE,
            "recorded",
            "the code is in no commit (/home/me/task is in no git repository). Commit it with git,"
            " or set promote.dirty_tree to allow",
        ),
        (
            UNSURE,
            "recorded",
            "the code may differ from commit 0ef28a6b1c2d (git took too long). Commit it with git,"
            " or set promote.dirty_tree to allow",
        ),
    ],
)
def test_the_way_out_of_an_unrecorded_tree_is_told(tree, rule, told):
    assert recorded_tree(**tree, rule=rule).reason == told


def test_a_column_that_knows_the_answer_keeps_the_leader_out():
    assert no_leakage([]) == GateResult(
        "no_leakage", True, "no column was found to know the answer"
    )
    assert no_leakage(["tip alone predicts the target."]) == GateResult(
        "no_leakage", False, "1 finding: tip alone predicts the target"
    )
    many = no_leakage([f"column {letter} leaks" for letter in "abcde"])
    assert many.reason == ("5 findings: column a leaks; column b leaks; column c leaks; and 2 more")
    assert not many.passed


@pytest.mark.parametrize(
    ("n_uses", "allowed", "passed", "told"),
    [
        (0, 1, True, "use 1 of this test set, required <= 1"),
        (1, 1, False, "use 2 of this test set, required <= 1"),
        (1999, 2000, True, "use 2,000 of this test set, required <= 2,000"),
        (41, None, True, "use 42 of this test set, no limit"),
    ],
)
def test_a_test_set_wears_out(n_uses, allowed, passed, told):
    assert few_test_uses(n_uses, allowed) == GateResult("test_uses", passed, told)


LONGER = CheckResult(
    "longer is not shorter", 200, 10, 0.05, "fell by more than 0.5", "row 3, …", 12.0, 10.0
)


@pytest.mark.parametrize(
    ("changes", "passed", "told"),
    [
        (
            {},
            True,
            "10 of 200 changed rows (5 %) fell by more than 0.5, required <= 5 %; worst: row 3, …",
        ),
        (
            {"n_violations": 11},
            False,
            "11 of 200 changed rows (5.5 %) fell by more than 0.5, required <= 5 %;"
            " worst: row 3, …",
        ),
        (
            {"n_rows": 1, "n_violations": 0, "max_violations": 0.0},
            True,
            "0 of 1 changed row (0 %) fell by more than 0.5, required <= 0 %; closest: row 3, …",
        ),
        (
            {"n_rows": 0, "n_violations": 0, "max_violations": 1.0},
            False,
            "the change altered none of the rows, so nothing is shown",
        ),
    ],
)
def test_a_model_must_behave_as_declared(changes, passed, told):
    assert behaves(replace(LONGER, **changes)) == GateResult(
        "check/longer is not shorter", passed, told
    )


@pytest.mark.parametrize(
    ("scores", "differences", "places"),
    [
        ([5.0312, 5.1204], [0.0892], 4),
        ([0.91, 0.5], [], 4),
        ([0.0123, 0.0119], [], 5),
        ([27_547.3, 27_901.0], [353.7], 0),
        ([27_547.31, 27_547.72], [0.41], 2),
        ([1e9], [], 0),
        ([2.0, 2.0], [0.0], 4),
        ([2.0, 2.0], [1e-16], 4),
        ([nan, inf], [nan, inf], 4),
        ([0.0], [], 4),
        ([], [], 4),
    ],
)
def test_decimals_tell_scores_and_their_difference_apart(scores, differences, places):
    assert decimals(scores, differences) == places


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (5.0312, 4, "5.0312"),
        (27_547.4, 0, "27,547"),
        (-0.00001, 4, "0.0000"),
        (-0.5, 1, "-0.5"),
        (nan, 4, "NaN"),
    ],
)
def test_numbers_are_written_for_a_reader(value, places, text):
    assert shown(value, places) == text

"""The search tries what is known to be good, then what it has learned, and keeps every trial."""

import math
import threading
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hyperopt import Trials, fmin, hp, tpe

from ratchet.backends import Choice, Family, Integer, Real
from ratchet.executor.base import Done
from ratchet.executor.here import Threads
from ratchet.features import Preparation
from ratchet.search import (
    STARTUP_TRIALS,
    Budget,
    Candidate,
    Elsewhere,
    Scored,
    TrialResult,
    Tried,
    search,
)


def family(name, *starts, cost=1.0, **space):
    return Family(name, Preparation.NATIVE, starts=starts or ({},), space=space, cost=cost)


def scored(score, **found):
    return Scored(score, score / 2, params=found)


def run(shelf, score, *, trials=20, seconds=None, seed=1, loss=float, **more):
    """Search with ``score``, which gives a candidate's score or raises."""
    rules = {
        name: more.pop(name)
        for name in (
            "reserve",
            "share_of_one",
            "rungs",
            "beside",
            "interrupt",
            "ordered",
            "window",
        )
        if name in more
    }
    return search(
        [("debug", each) for each in shelf],
        lambda candidate, deadline: scored(score(candidate), **candidate.params),
        loss,
        Budget(seconds, trials, **rules),
        seed,
        **more,
    )


BOWL = family("bowl", {"x": 3.0, "y": -3.0}, x=Real(-5.0, 5.0), y=Real(-5.0, 5.0))


def bowl(candidate):
    return (candidate.params["x"] - 1) ** 2 + (candidate.params["y"] + 2) ** 2


def tried(results):
    return [(result.candidate.family, dict(result.candidate.params)) for result in results]


MIXED = family(
    "mixed",
    {"rate": 0.1, "depth": 6, "leaf": 4, "kind": None},
    rate=Real(1e-3, 1.0, log=True),
    depth=Integer(3, 5 + 4),
    leaf=Integer(1, 64, log=True),
    kind=Choice((None, 8, "auto")),
)


def mixed(candidate):
    params = candidate.params
    gap = 0.0 if params["kind"] == 8 else 1.0
    return abs(math.log(params["rate"])) + abs(params["depth"] - 4) + params["leaf"] / 64 + gap


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_trials(seed):
    one, other = (
        run([BOWL, MIXED], lambda c: (bowl if "x" in c.params else mixed)(c), trials=40, seed=seed)
        for _ in range(2)
    )
    assert tried(one) == tried(other)
    assert [result.score for result in one] == [result.score for result in other]


def test_another_seed_gives_other_proposals_after_the_same_starts():
    one, other = (tried(run([BOWL], bowl, trials=5, seed=seed)) for seed in (1, 2))
    assert one[0] == other[0]
    assert all(mine != theirs for mine, theirs in zip(one[1:], other[1:], strict=True))


def test_a_shorter_search_is_the_beginning_of_a_longer_one():
    assert tried(run([BOWL], bowl, trials=30))[:10] == tried(run([BOWL], bowl, trials=10))


def test_how_fast_a_trial_is_does_not_change_what_comes_next():
    def slow(candidate):
        time.sleep(0.002)
        return bowl(candidate)

    assert tried(run([BOWL], slow)) == tried(run([BOWL], bowl))


@pytest.mark.parametrize("seed", range(3))
def test_proposals_lie_in_the_space_and_have_plain_types(seed):
    for result in run([MIXED], mixed, trials=60, seed=seed):
        params = result.candidate.params
        assert set(params) == {"rate", "depth", "leaf", "kind"}
        assert type(params["rate"]) is float
        assert 1e-3 * (1 - 1e-9) <= params["rate"] <= 1 + 1e-9
        assert type(params["depth"]) is int
        assert 3 <= params["depth"] <= 9
        assert type(params["leaf"]) is int
        assert 1 <= params["leaf"] <= 64
        assert params["kind"] in (None, 8, "auto")


def test_both_ends_of_a_whole_range_are_as_likely_as_what_lies_between():
    ends = family("ends", {"n": 2, "x": 0.5}, n=Integer(1, 3), x=Real(0, 1))
    counts = np.bincount(
        [
            r.candidate.params["n"]
            for seed in range(60)
            for r in run([ends], lambda _: 1.0, trials=6, seed=seed)[1:]
        ],
        minlength=4,
    )
    assert counts.sum() == 300
    assert counts[1:].min() > 70
    assert counts[1:].max() < 130


def test_tpe_beats_random_draws():
    random = np.random.default_rng(0)
    ours, chance = [], []
    for seed in range(8):
        ours.append(min(result.score for result in run([BOWL], bowl, trials=50, seed=seed)))
        draws = random.uniform(-5, 5, (50, 2))
        chance.append(((draws - [1, -2]) ** 2).sum(axis=1).min())
    assert np.mean(ours) < 0.6 * np.mean(chance)


def test_the_search_is_as_good_as_hyperopt_s_own():
    space = {name: hp.uniform(name, -5, 5) for name in ("x", "y")}
    ours, theirs = [], []
    for seed in range(5):
        ours.append(min(result.score for result in run([BOWL], bowl, trials=50, seed=seed)))
        trials = Trials()
        fmin(
            lambda params: bowl(Candidate("debug", "bowl", params)),
            space,
            partial(tpe.suggest, n_startup_jobs=STARTUP_TRIALS),
            50,
            trials=trials,
            points_to_evaluate=list(BOWL.starts),
            rstate=np.random.default_rng(seed),
            show_progressbar=False,
        )
        theirs.append(min(trials.losses()))
    assert 0.5 < np.mean(ours) / np.mean(theirs) < 2


def test_a_score_that_is_maximised_is_searched_upwards():
    results = run([BOWL], lambda c: -bowl(c), trials=50, loss=lambda score: -score)
    assert max(result.score for result in results) > -0.5


def test_every_first_start_comes_before_any_second_and_the_starts_before_any_proposal():
    shelf = [
        family("base"),
        family("a", {"x": 1.0}, {"x": 2.0}, x=Real(0, 9)),
        family("b", {"x": 3.0}, x=Real(0, 9)),
        family("c", {"x": 4.0}, {"x": 5.0}, {"x": 6.0}, x=Real(0, 9)),
    ]
    results = run(shelf, lambda c: c.params.get("x", 99), trials=8)
    assert tried(results)[:7] == [
        ("base", {}),
        ("a", {"x": 1.0}),
        ("b", {"x": 3.0}),
        ("c", {"x": 4.0}),
        ("a", {"x": 2.0}),
        ("c", {"x": 5.0}),
        ("c", {"x": 6.0}),
    ]
    assert results[7].candidate.params["x"] not in range(1, 7)


def test_the_cheapest_family_starts_and_later_starts_begin_with_the_best_family():
    shelf = [
        family("dear", {"x": 1.0}, {"x": 2.0}, cost=9),
        family("cheap", {"x": 3.0}, {"x": 4.0}, cost=5),
        family("fair", {"x": 5.0}, {"x": 6.0}, cost=6),
    ]
    level = {"dear": 2.0, "cheap": 3.0, "fair": 1.0}
    names = [r.candidate.family for r in run(shelf, lambda c: level[c.family])]
    assert names == ["cheap", "fair", "dear", "fair", "dear", "cheap"]


def proposals(results, shelf):
    """Count the proposals of each family after its starts."""
    counts = {each.name: -len(each.starts) for each in shelf}
    for result in results:
        counts[result.candidate.family] += 1
    return counts


def test_the_time_goes_to_families_that_lead_and_the_others_keep_a_turn():
    level = {"near": 11.0, "first": 10.0, "far": 60.0}
    shelf = [family(name, {"x": 1.0}, x=Real(0, 1)) for name in level]
    counts = proposals(run(shelf, lambda c: level[c.family], trials=63), shelf)
    assert counts["first"] > counts["near"] > counts["far"]
    assert counts["near"] > 5


def test_a_family_that_improves_catches_up():
    """One family is ahead and stuck, the other gets better with every trial."""
    shelf = [family(name, {"x": 1.0}, x=Real(0, 1)) for name in ("stuck", "rising")]
    seen = []

    def score(candidate):
        seen.append(candidate.family)
        return 10.0 if candidate.family == "stuck" else 20.0 - seen.count("rising")

    counts = proposals(run(shelf, score, trials=60), shelf)
    assert counts["rising"] > 1.5 * counts["stuck"]


def test_of_two_alike_the_cheaper_family_gets_more_trials_when_time_is_limited():
    shelf = [family(name, {"x": 1.0}, x=Real(0, 1)) for name in ("slow", "fast")]

    def score(candidate):
        time.sleep(0.02 if candidate.family == "slow" else 0.002)
        return 1.0

    counts = proposals(run(shelf, score, trials=10_000, seconds=0.6), shelf)
    assert counts["fast"] > 3 * counts["slow"]


def test_a_family_that_always_fails_is_left_alone():
    shelf = [family(name, {"x": 1.0}, x=Real(0, 1)) for name in ("broken", "fine")]

    def score(candidate):
        if candidate.family == "broken":
            raise ValueError("broken")
        return 1.0

    names = [result.candidate.family for result in run(shelf, score, trials=10)]
    assert names == ["broken", *["fine"] * 9]


def test_no_candidate_is_tried_twice():
    few = family("few", {"kind": "a"}, kind=Choice(("a", "b", "c")))
    results = run([few], lambda _: 1.0, trials=50)
    assert sorted(r.candidate.params["kind"] for r in results) == ["a", "b", "c"]


def test_a_search_without_anything_to_tune_ends_after_the_starts():
    results = run([family("base"), family("other", {"a": 1}, {"a": 2})], lambda c: 1.0)
    assert tried(results) == [("base", {}), ("other", {"a": 1}), ("other", {"a": 2})]


def test_failed_trials_are_kept_with_their_reason():
    def score(candidate):
        if candidate.params["x"] > 0:
            raise ValueError("too\n   deep")
        return bowl(candidate)

    results = run([BOWL], score, trials=30)
    failed = [result for result in results if result.error]
    assert 0 < len(failed) < 30
    assert {result.error for result in failed} == {"ValueError: too deep"}
    for result in failed:
        assert math.isnan(result.score)
        assert math.isnan(result.train_score)
        assert result.refit_params is None
        assert not result.leads
        assert result.candidate.params["x"] > 0
    assert [result.number for result in results] == list(range(30))


def test_a_long_reason_is_cut():
    def score(candidate):
        raise ValueError("x" * 10_000)

    [result] = run([BOWL], score, trials=1)
    assert result.error == "ValueError: " + "x" * 500


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_that_is_no_number_never_leads(value, sign):
    results = run(
        [BOWL],
        lambda c: value if c.params["x"] > 0 else bowl(c),
        trials=40,
        loss=lambda score: sign * score,
    )
    odd = [result for result in results if result.candidate.params["x"] > 0]
    assert 0 < len(odd) < 40
    assert {result.error for result in odd} == {f"the score is {value}"}
    assert not any(result.leads or math.isfinite(result.score) for result in odd)


def test_a_search_in_which_everything_fails_still_ends():
    def score(candidate):
        raise RuntimeError("no")

    results = run([BOWL, MIXED], score, trials=40)
    assert len(results) == 40
    assert all(result.error == "RuntimeError: no" for result in results)


def test_a_trial_leads_when_it_is_better_than_all_before_it():
    scores = iter([5.0, 5.0, math.nan, 4.0, 4.5, 3.0])
    results = run([BOWL], lambda _: next(scores), trials=6)
    assert [result.leads for result in results] == [True, False, False, True, False, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(error):
    told = []

    def score(candidate):
        if len(told) == 2:
            raise error
        return 1.0

    with pytest.raises(error):
        run([BOWL], score, on_trial=told.append)
    assert len(told) == 2


def test_a_budget_of_seconds_ends_the_search():
    def score(candidate):
        time.sleep(0.02)
        return bowl(candidate)

    begun = time.monotonic()
    results = run([BOWL], score, trials=10_000, seconds=0.3)
    assert 0.28 <= time.monotonic() - begun < 3
    assert 1 <= len(results) <= 15
    assert all(result.elapsed < 0.3 for result in results[:-1])


def test_a_fit_that_can_t_be_done_in_time_is_not_begun():
    shelf = [family("slow", {"x": 1.0}, x=Real(0, 1))]
    lengths = iter([0.0, *[0.2] * 9])

    def score(candidate):
        time.sleep(next(lengths))
        return 1.0

    results = run([family("base"), *shelf], score, trials=100, seconds=0.25)
    assert [r.candidate.family for r in results] == ["base", "slow"]


def test_what_comes_after_the_search_has_its_time_reserved():
    asked = []

    def reserve(trials):
        asked.append(len(trials))
        return 0.2

    begun = time.monotonic()
    run([BOWL], bowl, trials=10_000, seconds=0.4, reserve=reserve)
    assert time.monotonic() - begun < 0.38
    assert asked[-1] > 1


def test_one_trial_gets_no_more_than_its_share_of_the_time():
    seen = []

    def evaluate(candidate, deadline):
        seen.append(deadline - time.monotonic())
        return scored(1.0)

    search([("debug", BOWL)], evaluate, float, Budget(100.0, 3, share_of_one=0.25), seed=1)
    assert all(24 < left <= 25 for left in seen)


def test_the_first_candidate_is_tried_even_without_time():
    assert len(run([family("base"), BOWL], lambda c: 1.0, seconds=1e-9)) == 1


def test_a_candidate_is_told_when_it_must_end():
    seen = []

    def evaluate(candidate, deadline):
        seen.append(deadline)
        return scored(1.0)

    begun = time.monotonic()
    search([("debug", BOWL)], evaluate, float, Budget(30.0, 2), seed=1)
    search([("debug", BOWL)], evaluate, float, Budget(None, 1), seed=1)
    assert begun + 30 <= seen[0] == seen[1] <= time.monotonic() + 30
    assert seen[2] is None


def test_times_add_up_and_trials_are_told_as_they_end():
    told = []
    results = run([BOWL], bowl, trials=5, on_trial=told.append)
    assert tuple(told) == results
    elapsed = [result.elapsed for result in results]
    assert elapsed == sorted(elapsed)
    assert sum(result.seconds for result in results) <= elapsed[-1]
    assert all(result.seconds >= 0 for result in results)


def test_a_trial_keeps_what_fitting_found():
    def evaluate(candidate, deadline):
        return Scored(2.0, 1.0, 0.3, {"x": 1.0, "rounds": 7}, (3.0, 2.0), cut_short=True)

    [result] = search([("debug", BOWL)], evaluate, float, Budget(None, 1), seed=1)
    assert (result.score, result.train_score, result.threshold) == (2.0, 1.0, 0.3)
    assert result.refit_params == {"x": 1.0, "rounds": 7}
    assert (result.curve, result.cut_short) == ((3.0, 2.0), True)
    assert result.candidate == Candidate("debug", "bowl", {"x": 3.0, "y": -3.0})


def test_a_start_that_leaves_a_setting_at_its_default_does_no_harm():
    partly = family("partly", {}, {"x": 1.0}, {"y": 0.0, "other": 3}, **BOWL.space)
    results = run([partly], lambda c: c.params.get("x", 2.0), trials=12)
    assert tried(results)[:3] == [
        ("partly", {}),
        ("partly", {"x": 1.0}),
        ("partly", {"y": 0.0, "other": 3}),
    ]
    assert all(set(result.candidate.params) == {"x", "y"} for result in results[3:])


def test_a_label_names_the_backend_once():
    assert Candidate("xgboost", "xgboost", {}).label == "xgboost"
    assert Candidate("sklearn", "linear", {}).label == "sklearn/linear"


def test_a_candidate_is_first_tried_on_few_rows_and_the_best_third_go_on():
    rungs = (1 / 9, 1 / 3, 1.0)
    results = run([BOWL], bowl, trials=40, rungs=rungs)
    shares = [result.candidate.share for result in results]
    counts = {share: shares.count(share) for share in rungs}
    assert counts[1 / 9] > counts[1 / 3] > counts[1.0] > 0
    for low, high in pairwise(rungs):
        below = sorted(r.score for r in results if r.candidate.share == low)
        above = [r.score for r in results if r.candidate.share == high]
        assert len(above) <= len(below) / 2
        assert set(above) <= set(below)
        assert below[0] in above


def test_with_few_rows_and_many_the_same_settings_are_two_candidates():
    one, other = Candidate("b", "f", {"x": 1}), Candidate("b", "f", {"x": 1}, share=0.5)
    assert one.settings == other.settings
    assert one.key != other.key
    assert one.key == Candidate("b", "f", {"x": 1}).key != Candidate("b", "f", {"x": 2}).key


@pytest.mark.parametrize("at", [1, 5, 12])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(at):
    whole = run([BOWL, MIXED], lambda c: (bowl if "x" in c.params else mixed)(c), trials=20)
    tried_now = []

    def score(candidate):
        tried_now.append(candidate)
        return (bowl if "x" in candidate.params else mixed)(candidate)

    again = run([BOWL, MIXED], score, trials=20, earlier=whole[:at])
    assert tried(again) == tried(whole)
    assert [r.score for r in again] == [r.score for r in whole]
    assert [c.params for c in tried_now] == [r.candidate.params for r in whole[at:]]
    assert [r.resumed for r in again] == [True] * at + [False] * (20 - at)
    assert [r.number for r in again] == list(range(20))


def test_a_trial_that_would_not_come_up_again_is_kept_all_the_same():
    [odd] = run([family("gone", {"z": 1})], lambda _: -9.0, trials=1)
    results = run([BOWL], bowl, trials=3, earlier=[odd])
    assert [r.candidate.family for r in results] == ["bowl", "bowl", "bowl", "gone"]
    assert results[-1].leads
    assert results[-1].resumed


def test_the_time_of_an_interrupted_search_counts():
    earlier = run([BOWL], bowl, trials=4, seconds=50.0)
    earlier = [*earlier[:-1], replace(earlier[-1], elapsed=49.9)]
    begun = time.monotonic()
    results = run([BOWL], bowl, trials=10_000, seconds=50.0, earlier=earlier)
    assert time.monotonic() - begun < 5
    assert len(results) > 4


class Crowd:
    """Counts how many are at work at the same time."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("beside", [2, 3])
def test_trials_can_be_made_beside_each_other(beside):
    crowd = Crowd()

    def score(candidate):
        with crowd:
            time.sleep(0.01)
            return (bowl if "x" in candidate.params else mixed)(candidate)

    told = []
    results = run([BOWL, MIXED], score, trials=30, beside=beside, on_trial=told.append)
    assert crowd.most == beside
    assert len(results) == 30
    assert len({r.candidate.key for r in results}) == 30
    assert [r.number for r in results] == list(range(30))
    assert tuple(told) == results
    assert [r.leads for r in results] == [
        r.score < min((each.score for each in results[:k]), default=math.inf)
        for k, r in enumerate(results)
    ]


def test_beside_each_other_they_end_with_the_budget_too():
    def score(candidate):
        time.sleep(0.02)
        return bowl(candidate)

    begun = time.monotonic()
    results = run([BOWL], score, trials=10_000, seconds=0.4, beside=2)
    assert time.monotonic() - begun < 3
    assert 10 < len(results) < 45


def test_an_interrupted_trial_ends_those_beside_it():
    told = threading.Event()

    def score(candidate):
        if candidate.params["x"] == 3.0:  # the start
            raise KeyboardInterrupt
        assert told.wait(20), "nobody said that it is over"
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        run([BOWL], score, trials=10, beside=2, interrupt=told.set)


def test_a_resumed_search_goes_on_beside_each_other():
    earlier = run([BOWL], bowl, trials=6)
    results = run([BOWL], bowl, trials=12, earlier=earlier, beside=2)
    assert sum(r.resumed for r in results) == 6
    assert len({r.candidate.key for r in results}) == len(results) == 12


class Uneven:
    """An executor of threads whose trials take as long as chance will have it."""

    def __init__(self, score, workers, seed=0):
        self.random = np.random.default_rng(seed)
        self.threads = Threads(self.work, workers)
        self.workers = workers
        self.score = score
        self.most = self.under_way = 0

    def work(self, candidate, until, nap):
        time.sleep(nap)
        value = scored(self.score(candidate), **candidate.params)
        return Tried(
            TrialResult(0, candidate, value.score, value.train_score, nap, 0.0), value.score
        )

    def submit(self, key, *arguments):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.threads.submit(key, *arguments, self.random.uniform(0, 0.01))

    def results(self, until=None):
        done = self.threads.results(until)
        self.under_way -= len(done)
        return done

    def close(self):
        self.threads.close()


def both(candidate):
    return (bowl if "x" in candidate.params else mixed)(candidate)


def elsewhere_of(executor, taken=None, kept=None):
    return Elsewhere(
        executor,
        lambda candidate, found: None if taken is None else taken.append((candidate.key, found)),
        lambda trial: None if kept is None else kept.append(trial),
    )


@pytest.mark.parametrize("seed", range(3))
def test_in_order_no_worker_s_speed_changes_what_is_tried(seed):
    slow = run([BOWL, MIXED], both, trials=40, ordered=True, window=3)
    taken, kept = [], []
    executor = Uneven(both, 3, seed)
    results = run(
        [BOWL, MIXED],
        both,
        trials=40,
        ordered=True,
        window=3,
        elsewhere=elsewhere_of(executor, taken, kept),
    )
    executor.close()
    assert tried(results) == tried(slow)
    assert [r.leads for r in results] == [r.leads for r in slow]
    assert executor.most == 3
    assert sorted(taken) == sorted((r.candidate.key, r.score) for r in results)
    # A trial that has ended is kept at once, whatever is told before it.
    assert {r.candidate.key for r in kept} == {r.candidate.key for r in results}
    assert len(kept) == 40


def test_how_many_are_under_way_is_part_of_the_order():
    one, three = (
        run([BOWL, MIXED], both, trials=40, ordered=True, window=window) for window in (1, 3)
    )
    assert tried(one) == tried(run([BOWL, MIXED], both, trials=40))
    assert tried(three) != tried(one)


def test_in_order_a_resumed_search_goes_on_as_if_nothing_had_been():
    whole = run([BOWL, MIXED], both, trials=30, ordered=True, window=3)
    # Of those that were under way at the kill, any may have ended.
    earlier = [whole[place] for place in (*range(10), 11)]
    results = run([BOWL, MIXED], both, trials=30, ordered=True, window=3, earlier=earlier)
    assert tried(results) == tried(whole)
    assert [r.number for r in results if r.resumed] == [*range(10), 11]


def test_out_of_order_every_trial_is_told_once():
    executor = Uneven(both, 3)
    told = []
    more = {"elsewhere": elsewhere_of(executor), "on_trial": told.append}
    results = run([BOWL, MIXED], both, trials=40, ordered=False, **more)
    executor.close()
    assert tuple(told) == results
    assert len({r.candidate.key for r in results}) == len(results) == 40
    assert executor.most == 3


class Silent:
    """An executor of workers that never answer."""

    workers = 2

    def submit(self, key, *arguments):
        pass

    def results(self, until=None):
        assert until is not None
        time.sleep(max(0.0, until - time.monotonic()))
        return []

    def close(self):
        pass


@pytest.mark.parametrize("ordered", [False, True])
def test_workers_that_never_answer_don_t_stretch_the_budget(ordered):
    begun = time.monotonic()
    silent = elsewhere_of(Silent())
    results = run([BOWL], bowl, trials=9, seconds=0.5, ordered=ordered, elsewhere=silent)
    assert 0.5 <= time.monotonic() - begun < 0.5 * 1.05 + 0.2
    told = "TimeoutError: the time was up, and its worker had not answered"
    assert [r.error for r in results] == [told] * 2


def test_a_trial_that_was_lost_has_failed_and_says_why():
    class Losing(Uneven):
        def results(self, until=None):
            done = super().results(until)
            return [Done(each.key, lost="3 workers were gone before its end") for each in done]

    executor = Losing(both, 2)
    results = run([BOWL], both, trials=5, ordered=True, elsewhere=elsewhere_of(executor))
    executor.close()
    told = "WorkerLost: 3 workers were gone before its end"
    assert [r.error for r in results] == [told] * 5

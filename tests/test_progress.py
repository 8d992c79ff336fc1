"""The search shows what it does, on a terminal and in a log."""

import io
import math
import re
from itertools import pairwise

import pytest
from rich.console import Console

from ratchet.progress import SearchProgress
from ratchet.search import Candidate, TrialResult
from ratchet.settings import from_mapping


def settings(**search):
    return from_mapping(
        {
            "name": "tiny",
            "data": {"source": "data", "target": "price"},
            "train": {"search": {"budget_seconds": None, "max_trials": 4, **search}},
        },
        origin="test",
    )


def trial(number, score=math.nan, error=None, leads=False, resumed=False):
    candidate = Candidate("sklearn", "linear", {})
    return TrialResult(
        number,
        candidate,
        score,
        score,
        1.25,
        number + 1.0,
        leads,
        error=error,
        resumed=resumed,
    )


def shown(*events, terminal=False, **search):
    """Tell of trials, and of phases by their names; give what is shown."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200)
    with SearchProgress(settings(**search), console) as progress:
        for each in events:
            if isinstance(each, str):
                progress.on_phase(each)
            else:
                progress.on_trial(each)
    return text.getvalue()


def test_a_replay_fills_the_bar_by_its_own_trials_whatever_the_budget():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with SearchProgress(settings(budget_seconds=1e-9), console, trials=2) as progress:
        progress.on_trial(trial(0, 1.0))
        [task] = progress._bar.tasks
        assert task.completed == 0.5


def test_a_log_gets_a_line_for_each_step_forward_and_each_failure():
    assert shown(
        trial(0, 12.34567, leads=True),
        trial(1, 13.0),
        trial(2, error="ValueError: too deep"),
        trial(3, 1.0, leads=True),
    ).splitlines() == [
        "  trial 1: sklearn/linear 12.346 in 1.2 s",
        "  trial 3: sklearn/linear failed: ValueError: too deep in 1.2 s",
        "  trial 4: sklearn/linear 1.0000 in 1.2 s",
    ]


def test_a_large_score_is_written_out():
    assert shown(trial(0, 23_487.12, leads=True)).strip() == (
        "trial 1: sklearn/linear 23,487 in 1.2 s"
    )


def test_a_log_tells_what_comes_after_the_search():
    assert shown(trial(0, 2.0, leads=True), "ensemble", "refit").splitlines() == [
        "  trial 1: sklearn/linear 2.0000 in 1.2 s",
        "  ensemble",
        "  refit",
    ]


def test_a_terminal_shows_the_phase_in_place_of_the_search():
    text = shown(trial(0, 2.0, leads=True), "refit", terminal=True)
    assert re.search(r"refit .* best sklearn/linear 2\.0000", text)


def test_a_phase_before_any_trial_is_shown():
    assert shown("reading").splitlines() == ["  reading"]
    assert "reading" in shown("reading", terminal=True)


def resumed(number, score, leads=False):
    return trial(number, score, leads=leads, resumed=True)


def test_resumed_trials_get_one_line_with_their_best():
    earlier = [resumed(0, 3.0, leads=True), resumed(1, 2.0, leads=True), resumed(2, 4.0)]
    assert shown(*earlier, trial(3, 1.0, leads=True)).splitlines() == [
        "  resumed 3 trials, best sklearn/linear 2.0000",
        "  trial 4: sklearn/linear 1.0000 in 1.2 s",
    ]


@pytest.mark.parametrize("after", [(), ("refit",)])
def test_a_search_that_was_over_when_it_was_interrupted_tells_what_it_resumed(after):
    failed = trial(0, error="ValueError: too deep", resumed=True)
    assert shown(failed, *after).splitlines() == ["  resumed 1 trial", *(f"  {e}" for e in after)]


def test_a_terminal_counts_the_resumed_trials():
    text = shown(resumed(0, 3.0, leads=True), resumed(1, 2.0), terminal=True)
    assert "best sklearn/linear 3.0000 · resumed 2 trials" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_with_brackets_is_shown_as_it_is(terminal):
    error = "ValueError: [/red] [bold]columns[/]"
    assert error in shown(trial(0, error=error), terminal=terminal)


def test_a_long_line_of_a_log_is_not_broken():
    lines = shown(trial(0, error="ValueError: " + "long " * 100)).splitlines()
    assert len(lines) == 1


def test_a_terminal_shows_the_best_so_far_beside_the_last():
    text = shown(trial(0, 2.0, leads=True), trial(1, 3.0), terminal=True)
    assert "best sklearn/linear 2.0000 · trial 2: sklearn/linear 3.0000" in text


class Spent(SearchProgress):
    @property
    def share(self):
        self._bar.get_renderables()
        return self._bar.tasks[0].completed


def test_the_bar_is_filled_by_trials():
    with Spent(settings(), Console(file=io.StringIO(), force_terminal=True)) as progress:
        shares = [progress.share]
        for number in range(4):
            progress.on_trial(trial(number, 1.0))
            shares.append(progress.share)
    assert shares == [0, 0.25, 0.5, 0.75, 1.0]


def test_the_bar_is_filled_by_the_clock_when_that_is_further():
    few = settings(budget_seconds=1e-3, max_trials=1000)
    with Spent(few, Console(file=io.StringIO(), force_terminal=True)) as progress:
        progress.on_trial(trial(0, 1.0))
        shares = [progress.share for _ in range(200)]
    assert shares[-1] > 0.001
    assert all(before <= after <= 1 for before, after in pairwise(shares))


def test_an_error_inside_passes_and_the_bar_is_gone():
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyboardInterrupt), SearchProgress(settings(), console):
        raise KeyboardInterrupt
    console.file.truncate(0)
    console.print("after")
    assert "after" in console.file.getvalue()

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


def console(terminal=False, width=200):
    return Console(
        file=io.StringIO(), force_terminal=terminal, force_interactive=terminal, width=width
    )


def tell(progress, *events):
    """Tell of trials, of candidates that are begun, and of phases by their names."""
    for each in events:
        if isinstance(each, str):
            progress.on_phase(each)
        elif isinstance(each, Candidate):
            progress.on_start(each)
        else:
            progress.on_trial(each)


def shown(*events, terminal=False, **search):
    """Give what is shown of trials and phases."""
    where = console(terminal)
    with SearchProgress(settings(**search), where) as progress:
        tell(progress, *events)
    return where.file.getvalue()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def picture(clock, *events, step="train", width=200, budget=None, trials=None, **search):
    """Give the lines that a terminal shows; numbers among the events are seconds that pass."""
    where = console(terminal=True, width=width)
    chosen = settings(budget_seconds=budget, **search)
    progress = SearchProgress(chosen, where, trials=trials, clock=clock)
    progress.on_step(step)
    for each in events:
        if isinstance(each, int | float):
            clock.now += each
        else:
            tell(progress, each)
    where.print(progress._picture())
    lines = where.file.getvalue().splitlines()
    return [re.sub("\x1b[^m]*m", "", line).rstrip() for line in lines]


def begun(family):
    return Candidate("sklearn", family, {})


def test_a_replay_fills_the_bar_by_its_own_trials_whatever_the_budget():
    with SearchProgress(
        settings(budget_seconds=1e-9), console(terminal=True), trials=2
    ) as progress:
        progress.on_trial(trial(0, 1.0))
        assert progress.share == 0.5


# On a terminal


def test_the_time_left_the_best_and_what_is_tried_are_shown(clock):
    head, best, trying = picture(
        clock,
        begun("linear"),
        5,
        trial(0, 2.0, leads=True),
        begun("ridge"),
        begun("forest"),
        10,
        trial(1, error="ValueError: too deep"),
        budget=60,
    )
    assert re.fullmatch(r"\S train · search [━╸╺]{24} 0:45 left · 2 trials · 1 failed", head)
    assert best.split() == ["best", "sklearn/linear", "2.0000"]
    assert trying == "  trying  sklearn/ridge, sklearn/forest"


def test_what_is_tried_twice_at_once_is_counted(clock):
    two = [Candidate("sklearn", "ridge", {"alpha": alpha}) for alpha in (1, 2)]
    assert picture(clock, *two)[-1] == "  trying  sklearn/ridge (2 at once)"


def test_what_has_ended_is_not_tried_any_more(clock):
    lines = picture(clock, begun("linear"), trial(0, 2.0, leads=True))
    assert not any("trying" in line for line in lines)


def test_seconds_beyond_the_budget_are_told(clock):
    [head] = picture(clock, "log", 63, budget=60)
    assert "train · log" in head and "0:03 over" in head


def test_the_time_of_an_interrupted_search_counts(clock):
    earlier = trial(29, 2.0, leads=True, resumed=True)  # ended 30 seconds after its search began
    assert "0:20 left" in picture(clock, earlier, 10, budget=60, max_trials=100)[0]


def test_without_a_budget_of_time_the_last_trials_say_how_long_it_will_take(clock):
    few = [begun("linear"), 2, trial(0, 2.0), 2, trial(1, 2.0)]
    assert "left" not in picture(clock, *few, max_trials=10)[0]
    head = picture(clock, *few, 2, trial(2, 2.0), max_trials=10)[0]
    assert "about 0:14 left · 3 of 10 trials" in head


def test_trials_that_run_out_first_say_when_the_search_ends(clock):
    events = [begun("linear")]
    for number in range(8):
        events += [2, trial(number, 2.0)]
    head = picture(clock, *events, budget=3600, max_trials=10)[0]
    assert "about 0:04 left" in head


def test_hours_are_written_as_hours(clock):
    assert "2:00:00 left" in picture(clock, budget=7200)[0]


def test_other_steps_show_what_they_do_and_for_how_long(clock):
    [line] = picture(clock, "report", 75, step="evaluate")
    assert re.fullmatch(r"\S evaluate · report 1:15", line)


@pytest.mark.parametrize("width", [20, 40, 63, 64, 80])
def test_a_narrow_window_has_as_many_lines(clock, width):
    events = [begun("linear"), trial(0, 2.0, leads=True), begun("a_family_with_a_long_name" * 3)]
    lines = picture(clock, *events, width=width, budget=60)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert ("━" in lines[0]) == (width >= 64)


def test_a_terminal_of_ascii_gets_no_other_sign(clock):
    where = console(terminal=True)
    where._file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    progress = SearchProgress(settings(), where, clock=clock)
    tell(progress, begun("linear"), trial(0, 2.0, leads=True))
    where.print(progress._picture())
    where.file.flush()
    told = where.file.buffer.getvalue().decode()
    # What is not ASCII has become a question mark: only the dots between two words.
    assert told.count("?") == told.count(" ? ")


# In a log


def test_a_log_is_told_every_minute_that_the_search_goes_on(clock):
    where = console()
    with SearchProgress(settings(max_trials=400), where, clock=clock) as progress:
        progress.on_trial(trial(0, 2.0, leads=True))
        for number in range(1, 130):
            clock.now += 1
            progress.on_trial(trial(number, 3.0))
    _, *later = where.file.getvalue().splitlines()
    assert later == [
        "  61 of 400 trials, best sklearn/linear 2.0000, about 5:39 left",
        "  121 of 400 trials, best sklearn/linear 2.0000, about 4:39 left",
    ]


def test_a_failure_that_is_like_another_is_counted_and_not_told_again():
    failed = [trial(number, error="ValueError: too deep") for number in range(50)]
    assert shown(*failed).splitlines() == [
        "  trial 1: sklearn/linear failed: ValueError: too deep in 1.2 s"
    ]


def test_a_log_is_spared_the_phases_of_short_steps():
    where = console()
    with SearchProgress(settings(), where) as progress:
        progress.on_step("evaluate")
        progress.on_phase("predict")
    assert where.file.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_quiet_one_shows_nothing(terminal):
    where = console(terminal)
    with SearchProgress(settings(), where, quiet=True) as progress:
        tell(progress, begun("linear"), trial(0, 2.0, leads=True), "refit")
    assert where.file.getvalue() == ""


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
    assert re.search(r"refit .*best.*sklearn/linear 2\.0000", text, flags=re.DOTALL)


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
    assert "2 of 4 trials · 2 resumed" in text
    assert "sklearn/linear 3.0000" in text


def test_an_error_with_brackets_is_shown_as_it_is():
    error = "ValueError: [/red] [bold]columns[/]"
    assert error in shown(trial(0, error=error))


def test_a_name_with_brackets_is_shown_as_it_is(clock):
    odd = Candidate("[/red]", "[bold]", {})
    assert picture(clock, odd)[-1] == "  trying  [/red]/[bold]"


def test_a_long_line_of_a_log_is_not_broken():
    lines = shown(trial(0, error="ValueError: " + "long " * 100)).splitlines()
    assert len(lines) == 1


def test_a_terminal_shows_the_best_so_far_beside_the_last():
    text = shown(trial(0, 2.0, leads=True), trial(1, 3.0), terminal=True)
    assert re.search(r"2 of 4 trials.*best.*sklearn/linear 2\.0000", text, flags=re.DOTALL)


def test_the_bar_is_filled_by_trials():
    with SearchProgress(settings(), console(terminal=True)) as progress:
        shares = [progress.share]
        for number in range(4):
            progress.on_trial(trial(number, 1.0))
            shares.append(progress.share)
    assert shares == [0, 0.25, 0.5, 0.75, 1.0]


def test_the_bar_is_filled_by_the_clock_when_that_is_further():
    few = settings(budget_seconds=1e-3, max_trials=1000)
    with SearchProgress(few, console(terminal=True)) as progress:
        progress.on_trial(trial(0, 1.0))
        shares = [progress.share for _ in range(200)]
    assert shares[-1] > 0.001
    assert all(before <= after <= 1 for before, after in pairwise(shares))


def test_an_error_inside_passes_and_the_bar_is_gone():
    where = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), SearchProgress(settings(), where):
        raise KeyboardInterrupt
    assert where.file.getvalue().rindex("\x1b[?25h") > where.file.getvalue().rindex("\x1b[?25l")
    where.file.truncate(0)
    where.print("after")
    assert "after" in where.file.getvalue()

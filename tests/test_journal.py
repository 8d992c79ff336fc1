"""What a search has tried outlives the process that tried it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ratchet.journal import Journal
from ratchet.search import Candidate, TrialResult


def trial(number, *, error=None, **params):
    score = math.nan if error else 1.0 + number
    return TrialResult(
        number,
        Candidate("sklearn", "ridge", params, share=1 / 3),
        score,
        score,
        0.5,
        number / 2,
        error=error,
        refit_params=None if error else {**params, "rounds": 7},
        curve=() if error else (3.0, 2.0),
    )


def kept(folder):
    return list(Journal(folder).trials())


def test_trials_come_back_in_their_order_with_what_they_said(tmp_path):
    journal = Journal(tmp_path / "search")
    answers = [np.random.default_rng(n).random((5, 2)) for n in range(3)]
    for number, answer in enumerate(answers):
        journal.keep(trial(number, alpha=number / 3, kind=None), answer)
    journal.keep(trial(3, error="ValueError: no luck", alpha=9.0), None)
    back = kept(tmp_path / "search")
    assert [each for each, _ in back[:3]] == [
        trial(number, alpha=number / 3, kind=None) for number in range(3)
    ]
    for answer, (_, said) in zip(answers, back, strict=False):
        np.testing.assert_array_equal(said, answer)
    failed, nothing = back[3]
    assert (failed.error, nothing) == ("ValueError: no luck", None)
    assert math.isnan(failed.score)


def test_candidates_are_recognised_also_where_json_has_no_tuples(tmp_path):
    journal = Journal(tmp_path)
    before = trial(0, hidden_layer_sizes=(50, 50))
    journal.keep(before, np.zeros(2))
    [(after, _)] = kept(tmp_path)
    assert after.candidate.key == before.candidate.key
    assert after == before


def test_where_the_clock_has_ended_a_fit_is_kept(tmp_path):
    before = replace(trial(0), cut_short=True, cuts=(None, 12))
    Journal(tmp_path).keep(before, np.zeros(2))
    assert [each for each, _ in kept(tmp_path)] == [before]


def test_a_journal_of_before_that_was_kept_is_still_read(tmp_path):
    Journal(tmp_path).keep(trial(0, sizes=(8, 8)), np.zeros(2))
    lines = tmp_path / "trials.jsonl"
    value = json.loads(lines.read_text())
    del value["cuts"]
    value["candidate"]["params"] = value["refit_params"] = {"sizes": [8, 8]}
    lines.write_text(json.dumps(value) + "\n")
    [(after, _)] = kept(tmp_path)
    assert after.cuts == ()
    assert after.candidate.params == {"sizes": [8, 8]}


def test_a_trial_of_what_can_not_be_written_down_is_done_again(tmp_path):
    Journal(tmp_path).keep(trial(0, kernel=max), np.zeros(2))
    assert kept(tmp_path) == []


def test_nothing_is_kept_before_the_first_trial(tmp_path):
    assert kept(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole(tmp_path, cut):
    journal = Journal(tmp_path)
    for number in range(3):
        journal.keep(trial(number, x=number), np.zeros(2))
    lines = tmp_path / "trials.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    assert [each.number for each, _ in kept(tmp_path)] == ([0, 1, 2] if cut == 1 else [0, 1])
    Journal(tmp_path).keep(trial(7, x=7), np.zeros(2))
    assert [each.number for each, _ in kept(tmp_path)][-1] == 7


def test_a_trial_whose_answer_is_missing_is_done_again(tmp_path):
    journal = Journal(tmp_path)
    journal.keep(trial(0, x=0), np.zeros(2))
    journal.keep(trial(1, x=1), np.zeros(2))
    (tmp_path / f"{trial(0, x=0).candidate.key}.npy").unlink()
    assert [each.number for each, _ in kept(tmp_path)] == [1]


@pytest.mark.parametrize("size", [0, 20, 130])
def test_a_trial_whose_answer_was_cut_off_is_done_again(tmp_path, size):
    journal = Journal(tmp_path)
    journal.keep(trial(0, x=0), np.zeros(2))
    journal.keep(trial(1, x=1), np.zeros(2))
    path = tmp_path / f"{trial(0, x=0).candidate.key}.npy"
    path.write_bytes(path.read_bytes()[:size])
    assert [each.number for each, _ in kept(tmp_path)] == [1]


def test_forgetting_leaves_nothing(tmp_path):
    journal = Journal(tmp_path / "search")
    journal.keep(trial(0), np.zeros(2))
    journal.forget()
    assert not (tmp_path / "search").exists()
    journal.forget()


def test_an_answer_holds_numbers_and_no_pickle(tmp_path):
    Journal(tmp_path).keep(trial(0, x=0), np.zeros((2, 3)))
    path = tmp_path / f"{trial(0, x=0).candidate.key}.npy"
    assert np.load(path, allow_pickle=False).shape == (2, 3)
    assert json.loads((tmp_path / "trials.jsonl").read_text().splitlines()[0])["number"] == 0

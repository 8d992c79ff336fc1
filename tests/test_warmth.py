"""A search begins with the best trials of the champion, and what it began with is on record."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from test_search import BOWL, bowl, run, tried

from ratchet.backends import Choice, Real
from ratchet.course import MOST_STARTS, Chosen, Course, Made, Record, Start, Starts
from ratchet.errors import RatchetError, StoreError
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.search import Candidate, TrialResult
from ratchet.steps import prepare, promote, train, warmth

# What a search begins with


def trial(family, score, share=1.0, error=None, **params):
    candidate = Candidate("debug", family, params, share)
    return TrialResult(0, candidate, math.nan if error else score, 0.0, 0.0, 0.0, error=error)


def record(*trials, members=()):
    chosen = tuple(Chosen(number, 1.0, Made.REFIT) for number in members)
    numbered = tuple(replace(each, number=n) for n, each in enumerate(trials))
    return Record("1" * 32, {}, {}, Course(1, 1, 1, numbered, chosen))


def test_the_best_trial_comes_first_then_the_members_then_the_best_of_other_families():
    found = Starts.of(
        record(
            trial("a", 3.0, x=1),
            trial("b", 9.0),
            trial("a", 1.0, x=2),
            trial("a", 2.0, x=3),
            trial("c", 5.0),
            trial("c", 4.0, y=1),
            trial("d", 0.0, error="too deep"),
            replace(trial("e", 0.5), cut_short=True),
            members=(3, 7, 2),
        ),
        float,
    )
    assert found.run_id == "1" * 32
    assert [(each.candidate.family, dict(each.candidate.params)) for each in found.found] == [
        ("a", {"x": 2}),
        ("a", {"x": 3}),
        ("c", {"y": 1}),
        ("b", {}),
    ]


def test_of_many_families_few_are_taken_and_a_score_on_few_rows_is_behind():
    every = [trial(name, score, share=0.1) for score, name in enumerate("abcdefgh")]
    found = [each.candidate for each in Starts.of(record(*every, trial("z", 99.0)), float).found]
    assert len(found) == MOST_STARTS
    assert [each.family for each in found] == ["z", "a", "b", "c", "d"]
    assert {each.share for each in found} == {1.0}


def test_what_would_take_too_long_by_now_is_left_out():
    """Four seconds on 100 rows are eight on 200; without a clock nothing is too long."""
    starts = Starts.of(record(trial("a", 1.0), trial("b", 1.0)), float, [4.0, 2.0])
    starts = replace(starts, n_rows=100)
    sampled = Starts.of(record(trial("c", 1.0, share=0.5)), float, [3.0])
    unknown = replace(Starts.of(record(trial("d", 1.0)), float), n_rows=1)
    for given, rows, seconds, left in (
        (starts, 100, 4.0, "ab"),
        (starts, 200, 4.0, "b"),
        (starts, 10_000, None, "ab"),
        (replace(starts, n_rows=0), 10_000, 4.0, "ab"),
        (replace(sampled, n_rows=100), 100, 5.9, ""),
        (unknown, 10_000, 1.0, "d"),
    ):
        assert "".join(each.family for each in given.affordable(rows, seconds)) == left


def test_what_a_search_begins_with_survives_its_file(tmp_path):
    candidate = Candidate("debug", "a", {"sizes": (5, 5), "x": 0.1})
    starts = Starts("7" * 32, 120, (Start(candidate, 0.5),))
    given = replace(record(trial("a", 1.0), members=(0,)), starts=starts)
    given.save(tmp_path / "search.json")
    assert Record.load(tmp_path / "search.json").starts == starts
    value = json.loads((tmp_path / "search.json").read_text())
    del value["starts"]  # as an earlier version of this project wrote it
    (tmp_path / "search.json").write_text(json.dumps(value))
    assert Record.load(tmp_path / "search.json").starts == Starts()


# The search


def test_a_search_tries_first_what_it_is_given_and_goes_on_as_ever():
    given = [Candidate("debug", "bowl", {"x": 1.0, "y": -1.9}), Candidate("debug", "gone", {})]
    warm = run([BOWL], bowl, first=given)
    cold = run([BOWL], bowl)
    assert tried(warm)[:2] == [("bowl", {"x": 1.0, "y": -1.9}), tried(cold)[0]]
    assert min(each.score for each in warm) <= bowl(given[0])


def test_tpe_is_told_of_what_a_search_begins_with():
    """It proposes by what it has learned then, and not by the draws that it begins with else."""
    given = [Candidate("debug", "bowl", {"x": 1 + n / 9, "y": -2 - n / 9}) for n in range(8)]
    warm, cold = (tried(run([BOWL], bowl, trials=32, first=first)) for first in (given, []))
    assert warm[8] == cold[0]
    assert not [each for each in warm[9:] if each in cold]


def test_of_few_trials_few_are_old_ones():
    given = [Candidate("debug", "bowl", {"x": float(n), "y": 0.0}) for n in range(5)]
    few = run([BOWL], bowl, trials=8, first=given)
    assert sum(dict(each.candidate.params) in [dict(g.params) for g in given] for each in few) == 2


def test_a_choice_that_there_is_not_any_more_is_tried_and_teaches_nothing():
    kinds = replace(BOWL, starts=({"kind": "new", "x": 0.0},))
    kinds = replace(kinds, space={"kind": Choice(("new", "other")), "x": Real(-1, 1)})
    given = [Candidate("debug", "bowl", {"kind": "old", "x": 0.5})]
    results = run([kinds], lambda candidate: candidate.params["x"], first=given)
    assert results[0].candidate.params == {"kind": "old", "x": 0.5}
    assert not results[0].error
    assert {each.candidate.params["kind"] for each in results[1:]} == {"new", "other"}


# The pipeline


@pytest.fixture
def champions(better) -> Project:
    """A project whose champion is of trees, and that begins where they stopped."""
    promote.run(better)
    values = yaml.safe_load((better.root / "better.yaml").read_text())
    values["train"]["search"] |= {"warm_start": "champion", "max_trials": 5}
    values["seed"] = 8
    (better.root / "better.yaml").write_text(yaml.safe_dump(values))
    return Project.open(better.params_file)


def best_of(run_id, store, tmp_path):
    """Give the settings of a run's best trial."""
    file = store.download_artifacts(run_id, "trials.parquet", str(tmp_path))
    table = pd.read_parquet(file).sort_values("score", kind="stable")
    return table["family"].iloc[0], json.loads(table["params"].iloc[0])


def test_the_champions_best_candidate_is_tried_first_and_can_be_made_again_without_its_run(
    champions, store, tmp_path, running
):
    reigning = champion.current(champions.settings)
    prepare.run(champions)
    seen = []
    leader = train.run(champions, seen.append)
    first = seen[0].candidate
    assert (first.family, dict(first.params)) == best_of(reigning.run_id, store, tmp_path)
    assert len(seen) == 5
    assert store.get_run(leader.run_id).data.tags[warmth.TAG] == reigning.run_id
    before = Record.load(champions.trained / "search.json")
    assert before.starts.run_id == reigning.run_id
    assert 0 < before.starts.found[0].seconds < 60
    assert before.starts.n_rows > 100
    assert before.starts.found[0].candidate.settings == first.settings
    assert not running()
    # Neither the champion nor what prepare has found of it is needed any more.
    (champions.trained / "search.json").rename(champions.root / "kept.json")
    (champions.prepared / "starts.json").unlink()
    store.delete_registered_model("tiny")
    train.run(champions, replay=champions.root / "kept.json")
    again = Record.load(champions.trained / "search.json")
    assert again.starts == before.starts
    assert not before.course.differences(again.course)


def test_what_it_begins_with_is_decided_where_dvc_sees_it(champions, project):
    """Train reads a file: another champion is no other input until prepare runs again."""
    prepare.run(champions)
    found = warmth.load(champions)
    assert found.found
    promote.run(project, force=True, reason="another one")
    assert warmth.load(champions) == found


def test_without_the_setting_a_search_begins_with_its_portfolio(project, better):
    promote.run(better)
    prepare.run(project)
    assert warmth.load(project) == Starts()
    assert json.loads((project.prepared / "starts.json").read_text()) == {
        "run": None,
        "n_rows": 0,
        "found": [],
    }


def test_without_a_champion_there_is_nothing_to_begin_with(project):
    opened = Project.open(project.params_file, ["train.search.warm_start=champion"])
    assert warmth.find(opened, ProblemType.REGRESSION) == Starts()


def test_a_run_or_a_version_may_be_named(better, project):
    decision = promote.run(better)
    for name in (decision.run_id, "tiny/1", "tiny@champion"):
        opened = Project.open(project.params_file, [f"train.search.warm_start={name}"])
        found = warmth.find(opened, ProblemType.REGRESSION)
        assert found.run_id == decision.run_id
        assert found.found[0].candidate.family == "xgboost"


def test_a_run_that_is_not_there_is_a_mistake(project):
    opened = Project.open(project.params_file, ["train.search.warm_start=tiny/9"])
    with pytest.raises(StoreError, match="tiny/9"):
        warmth.find(opened, ProblemType.REGRESSION)


def test_a_champion_without_a_record_of_its_search_is_told_and_stops_nothing(
    champions, store, caplog
):
    run_id = champion.current(champions.settings).run_id
    place = store.get_run(run_id).info.artifact_uri.removeprefix("file://")
    (Path(place) / "search.json").unlink()
    assert warmth.find(champions, ProblemType.REGRESSION) == Starts()
    assert f"Run {run_id} has no search.json" in caplog.text
    named = Project.open(champions.params_file, [f"train.search.warm_start={run_id}"])
    with pytest.raises(StoreError, match=r"has no search\.json"):
        warmth.find(named, ProblemType.REGRESSION)


def test_a_file_of_another_kind_is_told(project):
    (project.prepared / "starts.json").write_text("[]")
    with pytest.raises(RatchetError, match=r"starts\.json was written by another version"):
        warmth.load(project)

"""How far answers may be off."""

import numpy as np
import pytest

from ratchet.conformal import FILE, GROUPS, Conformal, Coverage
from ratchet.errors import RatchetError
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.steps import prepare


def test_an_interval_is_the_error_of_the_rank_that_finite_samples_need():
    """Of 19 errors, 95 % take the largest: the 19th of 20 places, the new row's own among them."""
    errors = np.arange(1.0, 20.0)
    known = Conformal.learn(errors, np.zeros(19))
    assert known.half_widths(np.zeros(1), 0.95).tolist() == [19.0]
    assert known.half_widths(np.zeros(1), 0.9).tolist() == [18.0]
    assert known.half_widths(np.zeros(1), 0.5).tolist() == [10.0]
    with pytest.raises(RatchetError) as caught:
        known.half_widths(np.zeros(1), 0.96)
    assert str(caught.value) == (
        "Intervals of 0.96 need more rows than the 19 that the model was judged on: at most 0.95"
        " can be had."
    )


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_intervals_hold_what_they_promise_on_rows_like_those_they_were_learned_from(confidence):
    """The mean over draws lies at the promise: no lower, and not much higher."""
    random = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        said = random.uniform(0, 100, 900)
        y = said + random.standard_t(3, 900) * (1 + said / 20)
        known = Conformal.learn(y[:500], said[:500])
        half = known.half_widths(said[500:], confidence)
        shares.append(Coverage.of(y[500:], said[500:], half).share)
    assert confidence - 0.003 < np.mean(shares) < confidence + 0.012


def test_large_answers_that_are_further_off_have_wider_intervals():
    random = np.random.default_rng(0)
    said = random.uniform(1, 100, 5_000)
    y = said * random.normal(1, 0.2, 5_000)
    known = Conformal.learn(y, said)
    assert len(known.groups) == GROUPS
    low, high = known.half_widths(np.array([2.0, 99.0]), 0.9)
    assert high > 4 * low
    held = np.abs(y - said) <= known.half_widths(said, 0.9)
    for part in (said < 20, said > 80):
        assert 0.89 < held[part].mean() < 0.92


def test_answers_that_are_all_alike_are_one_group():
    known = Conformal.learn(np.arange(1000.0), np.full(1000, 500.0))
    assert [group.below for group in known.groups] == [None]
    assert known.n == 1000


def test_the_record_is_small_and_is_read_as_it_was_written(tmp_path):
    random = np.random.default_rng(0)
    known = Conformal.learn(random.normal(size=100_000), random.normal(size=100_000))
    known.save(tmp_path / FILE)
    assert Conformal.load(tmp_path / FILE) == known
    assert sum(len(group.errors) for group in known.groups) <= 1_000
    assert (tmp_path / FILE).stat().st_size < 100_000
    assert Conformal.load(tmp_path / "none.json") is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(RatchetError, match="written by another version"):
        Conformal.load(tmp_path / FILE)


def test_nothing_is_learned_from_no_rows_or_from_answers_that_are_none():
    assert Conformal.learn(np.array([]), np.array([])) is None
    assert Conformal.learn(np.zeros(2), np.array([1.0, np.nan])) is None


def test_train_keeps_the_errors_on_rows_that_the_members_had_not_seen(project, store):
    """The validation rows are fitted on in the end, and their errors by then say little."""
    known = Conformal.load(project.trained / FILE)
    assert known.n == len(prepare.read_part(project, "valid"))
    leader = (project.trained / "run.json").read_text()
    assert f'"{FILE}"' in leader
    numbers = (project.evaluated / "metrics.json").read_text()
    assert '"test/interval_coverage"' in numbers and '"test/interval_width"' in numbers


def test_classes_have_no_errors_to_measure(tiny, store):
    from ratchet.steps import evaluate, train

    project = Project.open(
        tiny(data__target="dear", data__drop=["price"], train__families=["baseline"])
    )
    prepare.run(project)
    train.run(project)
    evaluate.run(project)
    assert Schema.load(project.prepared / "schema.json").problem.is_classification
    assert not (project.trained / FILE).exists()
    assert "interval" not in (project.evaluated / "metrics.json").read_text()

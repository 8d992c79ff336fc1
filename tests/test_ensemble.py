"""Models answer together when that is better on rows the choice was not made with."""

import numpy as np
import pytest

from ratchet import ensemble
from ratchet.ensemble import Choice, best_alone, choose, greedy, mixed, voting

TRUTH = np.random.default_rng(0).normal(size=400)


def said(*noises, seed=1):
    random = np.random.default_rng(seed)
    return [TRUTH + noise * random.normal(size=len(TRUTH)) for noise in noises]


def loss_on(rows):
    return lambda answer: float(np.sqrt(np.mean((answer - TRUTH[rows]) ** 2)))


EVERYTHING = loss_on(np.arange(len(TRUTH)))


@pytest.mark.parametrize("seed", range(5))
def test_together_they_are_at_least_as_good_as_the_best_on_the_rows_they_are_chosen_on(seed):
    answers = said(0.5, 0.6, 0.7, 2.0, seed=seed)
    weights = greedy(answers, EVERYTHING, 4)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert EVERYTHING(mixed(answers, weights)) <= min(map(EVERYTHING, answers))


def test_weights_come_near_to_the_best_that_there_are():
    answers = said(0.5, 1.0)
    weights = greedy(answers, EVERYTHING, 2)
    # Independent errors are best weighed by the inverse of their variances: 4 to 1.
    np.testing.assert_allclose(weights, [0.8, 0.2], atol=0.07)


def test_a_model_of_noise_gets_no_weight_beside_one_that_knows():
    assert greedy([TRUTH, *said(1.0)], EVERYTHING, 2).tolist() == [1, 0]


@pytest.mark.parametrize("members", [1, 2, 3])
def test_no_more_members_than_allowed(members):
    answers = said(0.5, 0.5, 0.5, 0.5, 0.5)
    assert np.count_nonzero(greedy(answers, EVERYTHING, members)) == members
    assert np.count_nonzero(voting(answers, EVERYTHING, members)) == members


def test_equal_answers_are_one_member():
    [answer] = said(0.5)
    assert greedy([answer, answer, answer], EVERYTHING, 3).tolist() == [1, 0, 0]


def test_voting_takes_the_best_alike():
    answers = said(3.0, 0.5, 0.6, 2.0)
    assert voting(answers, EVERYTHING, 2).tolist() == [0, 0.5, 0.5, 0]


def test_best_alone_is_the_best():
    assert best_alone(said(3.0, 0.5, 0.6), EVERYTHING).tolist() == [0, 1, 0]


def test_a_loss_that_is_no_number_never_wins():
    answers = [np.full_like(TRUTH, np.nan), *said(0.5)]

    def loss(answer):
        value = EVERYTHING(answer)
        return np.inf if np.isnan(value) else value

    assert greedy(answers, loss, 2).tolist() == [0, 1]
    assert greedy(answers[:1], loss, 2).tolist() == [1]


def test_probabilities_are_averaged_class_by_class():
    one, other = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(mixed([one, other], np.array([0.75, 0.25])), [[0.8, 0.2]])


def test_the_honest_loss_is_that_of_rows_the_choice_was_not_made_with():
    """Among many models of pure noise some seem to help; on other rows they don't."""
    random = np.random.default_rng(3)
    noise = [random.normal(size=len(TRUTH)) for _ in range(40)]
    answers = [np.zeros_like(TRUTH), *noise]
    together = choose(greedy, answers, loss_on, 20, seed=1)
    alone = choose(best_alone, answers, loss_on, 20, seed=1)
    seemingly = EVERYTHING(mixed(answers, together.weights))
    assert seemingly < EVERYTHING(answers[0])
    assert together.honest_loss > seemingly
    assert together.honest_loss > alone.honest_loss


def test_the_honest_loss_shows_what_helps():
    answers = said(0.6, 0.6, 0.6)
    together, alone = (choose(rule, answers, loss_on, 3, seed=1) for rule in (greedy, best_alone))
    assert together.honest_loss < 0.7 * alone.honest_loss


@pytest.mark.parametrize(
    ("together", "alone", "beaten"),
    [
        ((1.0, 1.2, 0.8), (0.9, 1.1, 0.7), True),  # a little worse, everywhere
        ((1.0, 1.2, 0.8), (0.7, 1.3, 0.8), False),  # worse by as much as chance
        ((1.0, 1.2, 0.8), (1.0, 1.2, 0.8), False),
        ((1.0, np.inf, 0.8), (1.5, 1.2, 0.8), True),
        ((1.0, 1.2, 0.8), (1.0, np.inf, 0.8), False),
        ((np.inf, 1.2, 0.8), (np.inf, 1.2, 0.8), True),
        ((), (), True),
    ],
)
def test_the_best_alone_must_be_ahead_by_more_than_chance(together, alone, beaten):
    one, other = (
        Choice(np.ones(1), float(np.mean(losses)) if losses else np.inf, losses)
        for losses in (together, alone)
    )
    assert one.is_beaten_by(other) is beaten


def test_the_same_seed_gives_the_same_choice():
    answers = said(0.6, 0.7, 0.8)
    one, other = (choose(greedy, answers, loss_on, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.honest_loss == other.honest_loss


def test_a_weight_is_a_multiple_of_a_part_of_the_rounds():
    weights = greedy(said(0.5, 0.7, 0.9), EVERYTHING, 3)
    assert any(
        np.allclose(weights * turns, np.round(weights * turns))
        for turns in range(1, ensemble.ROUNDS + 1)
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_model_has_so_little_weight_that_nobody_would_miss_it(seed):
    answers = said(*np.linspace(0.5, 1.5, 20), seed=seed)
    weights = greedy(answers, EVERYTHING, 20)
    loss = EVERYTHING(mixed(answers, weights))
    small = np.flatnonzero((weights > 0) & (weights < 0.04))
    assert len(small)
    for place in small:
        fewer = np.where(np.arange(20) == place, 0, weights)
        assert EVERYTHING(mixed(answers, fewer / fewer.sum())) > loss * 1.0003


def test_as_many_models_are_added_as_there_are_rounds():
    answers = said(0.5, 0.5, 0.5, 0.5, 0.5)
    assert np.count_nonzero(greedy(answers, EVERYTHING, 5, 1)) == 1
    assert np.count_nonzero(greedy(answers, EVERYTHING, 5, 2)) == 2

"""Every row is scored by a model that has not seen it."""

import numpy as np
import pytest

from ratchet import folds


def kinds(n=60):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    groups = random.integers(0, 12, n)
    return {
        "plain": {},
        "labels": {"labels": labels},
        "groups": {"groups": groups},
        "both": {"labels": labels, "groups": groups},
    }


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("repeats", [1, 3])
def test_every_row_is_valid_once_a_repeat_and_never_on_two_sides(kind, repeats):
    dealt = folds.deal(60, 4, seed=5, repeats=repeats, **kinds()[kind])
    assert len(dealt) == 4 * repeats
    valid = np.concatenate([fold.valid for fold in dealt])
    np.testing.assert_array_equal(np.bincount(valid, minlength=60), repeats)
    for fold in dealt:
        together = np.sort(np.concatenate([fold.train, fold.valid]))
        np.testing.assert_array_equal(together, np.arange(60))


@pytest.mark.parametrize("kind", kinds())
def test_equal_seeds_give_equal_folds_and_others_others(kind):
    one, same, other = (folds.deal(60, 4, seed, **kinds()[kind]) for seed in (1, 1, 2))
    assert all(np.array_equal(a.valid, b.valid) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a.valid, b.valid) for a, b in zip(one, other, strict=True))


def test_classes_have_their_share_in_every_fold():
    labels = np.repeat([0, 1], [80, 20])
    for fold in folds.deal(100, 5, seed=1, labels=labels):
        assert np.bincount(labels[fold.valid]).tolist() == [16, 4]


@pytest.mark.parametrize("kind", ["groups", "both"])
def test_no_group_is_on_two_sides(kind):
    chosen = kinds()[kind]
    for fold in folds.deal(60, 4, seed=1, **chosen):
        groups = chosen["groups"]
        assert not set(groups[fold.train]) & set(groups[fold.valid])


def test_the_only_row_of_a_class_is_always_fitted_on():
    labels = np.array([0] * 20 + [1] * 20 + [2])
    dealt = folds.deal(41, 5, seed=1, labels=labels)
    assert all(40 in fold.train and 40 not in fold.valid for fold in dealt)
    assert sum(len(fold.valid) for fold in dealt) == 40


def test_a_class_with_fewer_rows_than_folds_does_no_harm():
    labels = np.array([0] * 20 + [1] * 3)
    dealt = folds.deal(23, 5, seed=1, labels=labels)
    assert sum(len(fold.valid) for fold in dealt) == 23
    assert all(set(labels[fold.train]) == {0, 1} for fold in dealt)


def test_the_holdout_is_the_division_of_prepare():
    [fold] = folds.holdout(3, 2)
    assert fold.train.tolist() == [0, 1, 2]
    assert fold.valid.tolist() == [3, 4]

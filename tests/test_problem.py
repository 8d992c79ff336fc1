"""The problem type is read off the target column."""

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import DataError
from ratchet.problem import MAX_CLASSES, ProblemType, detect_problem


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["no", "yes", "no"], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([True, False], "binary"),
        (pd.array([True, False, None], dtype="boolean"), "binary"),
        (pd.Categorical(["a", "b", "a"]), "binary"),
        ([0, 1, 1], "binary"),
        ([-1.0, 1.0, np.nan], "binary"),
        (pd.array([1, 2, None, 3], dtype="Int64"), "multiclass"),
        ([0.5, 1.0], "regression"),
        ([0, 1, 1e-9], "regression"),
        (pd.array([1.5, None, 2], dtype="Float64"), "regression"),
        ([1.0, np.inf], "regression"),
        (range(MAX_CLASSES), "multiclass"),
        (range(MAX_CLASSES + 1), "regression"),
        ([f"class {number}" for number in range(MAX_CLASSES + 1)], "multiclass"),
    ],
)
def test_the_problem_follows_from_the_values(values, problem):
    assert detect_problem(pd.Series(values)) is ProblemType(problem)


@pytest.mark.parametrize("seed", range(3))
def test_order_repetition_and_missing_values_do_not_change_the_answer(seed):
    random = np.random.default_rng(seed)
    for values in ([1, 2], [1, 2, 3], [0.5, 2.0], list(range(30))):
        more = pd.Series([*values, *random.choice(values, 20), *[np.nan] * 5])
        shuffled = more.sample(frac=1, random_state=seed)
        assert detect_problem(shuffled) is detect_problem(pd.Series(values))


@pytest.mark.parametrize(
    ("values", "distinct", "rows"),
    [([1, 1, 1], 1, 3), ([], 0, 0), ([None, None], 0, 2), (["x", None], 1, 2)],
)
def test_a_target_of_one_value_can_not_be_learned(values, distinct, rows):
    with pytest.raises(DataError) as error:
        detect_problem(pd.Series(values, name="price", dtype="object"))
    assert str(error.value) == (
        f"Target 'price' has {distinct} distinct value(s) in {rows} rows;"
        " at least 2 are needed. Check data.target and data.filter in params.yaml."
    )


def test_two_or_more_classes_are_a_classification_and_only_clustering_has_no_target():
    assert list(ProblemType) == ["binary", "multiclass", "regression", "clustering"]
    assert [problem.is_classification for problem in ProblemType] == [True, True, False, False]
    assert [problem.has_target for problem in ProblemType] == [True, True, True, False]

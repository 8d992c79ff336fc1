"""What a table says of itself is found, and the settings that follow let it pass."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REAL_DATA, tiny_table

from ratchet.errors import DataError
from ratchet.problem import ProblemType
from ratchet.survey import Survey, look


@pytest.fixture
def seen(tmp_path: Path) -> Callable[..., Survey]:
    """Look at a table that lies in a file."""

    def see(frame: pd.DataFrame, target: str | None = "y", **given: object) -> Survey:
        frame.to_parquet(tmp_path / "rows.parquet")
        return look(tmp_path / "rows.parquet", target, **given)

    return see


def plain(n: int = 200, seed: int = 0) -> pd.DataFrame:
    """Three columns that say a little about ``y``, a quantity."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(n, 3)).round(3), columns=["a", "b", "c"])
    return frame.assign(y=(frame["a"] + random.normal(size=n)).round(3))


def dropped(survey: Survey) -> dict[str, str]:
    return {remark.column: remark.because for remark in survey.drop}


# The target


def test_without_a_target_the_likely_ones_are_named(seen):
    frame = pd.DataFrame({"price": [1.5, 2.0], "size": [1, 2], "town": ["a", "b"]})
    with pytest.raises(DataError) as error:
        seen(frame, None)
    assert str(error.value) == (
        "Say what is to be predicted with --target. Likely are: price and town."
        " The columns are: price, size, town."
    )


def test_a_target_that_is_misspelt_is_told_with_the_one_that_may_be_meant(seen):
    with pytest.raises(DataError) as error:
        seen(tiny_table(), "pice")
    assert str(error.value) == (
        "--target: There is no column 'pice'; did you mean 'price'?"
        " The columns are: size, town, rooms, sold, price, dear."
    )


def test_rows_without_a_target_are_left_out_and_counted(seen):
    frame = plain()
    frame.loc[::50, "y"] = None
    survey = seen(frame)
    assert survey.value("data.filter") == "not missing(target)"
    assert survey.because("data.filter") == (
        "The target is missing in 4 of 200 rows: nothing can be learned from them."
    )


def test_classes_that_are_too_rare_for_every_part_are_left_out(seen):
    labels = ["good"] * 120 + ["bad"] * 78 + ["odd"] * 2
    survey = seen(plain().assign(y=labels))
    assert survey.value("data.filter") == "target not in ['odd']"
    assert survey.problem is ProblemType.BINARY
    assert "'good' 61 %, 'bad' 39 %" in survey.because("data.target")


@pytest.mark.parametrize(
    ("labels", "positive", "why"),
    [
        (["no", "yes"], "yes", "names"),
        (["malignant", "benign"], "malignant", "names"),
        ([1, 0], 1, "names"),
        (["left", "right"], "right", "rarer"),
    ],
)
def test_the_class_to_look_for_is_seen_from_its_name_or_its_rarity(seen, labels, positive, why):
    survey = seen(plain().assign(y=[labels[0]] * 120 + [labels[1]] * 80))
    assert survey.value("data.positive") == positive
    assert why in survey.because("data.positive")


def test_few_whole_numbers_are_classes_unless_the_user_says_otherwise(seen):
    frame = plain().assign(y=np.arange(200) % 5)
    assert seen(frame).problem is ProblemType.MULTICLASS
    assert "set train.problem to regression" in seen(frame).because("data.target")
    survey = seen(frame, problem=ProblemType.REGRESSION)
    assert (survey.problem, survey.value("train.problem")) == (ProblemType.REGRESSION, "regression")


def test_a_rare_class_is_told_with_a_score_that_minds_it(seen):
    survey = seen(plain().assign(y=["no"] * 192 + ["yes"] * 8))
    assert survey.value("train.metric") == "log_loss"
    assert "'yes' has 4 % of the rows: average_precision" in survey.because("train.metric")


def test_a_clustering_needs_no_target_and_may_have_none(seen):
    survey = seen(plain(), None, problem=ProblemType.CLUSTERING)
    assert (survey.value("data.target"), survey.value("train.metric")) == (None, "silhouette")
    with pytest.raises(DataError, match="A clustering has no target"):
        seen(plain(), "y", problem=ProblemType.CLUSTERING)


def test_a_target_may_be_computed(seen):
    survey = seen(plain(), "a + b")
    told = "The target is computed from a, b: no features, unless data.features names them."
    assert told in survey.facts


# Columns


def test_what_only_tells_rows_apart_or_says_nothing_is_dropped_with_the_reason(seen):
    frame = plain().assign(
        number=np.arange(200) + 7,
        order_id=np.random.default_rng(1).permutation(10_000)[:200],
        code=[f"{n:08x}" for n in np.random.default_rng(2).permutation(10**6)[:200]],
        nothing=np.nan,
        always="x",
        lists=[[1, 2]] * 200,
        endless=[np.inf] + [1.0, 2.0] * 99 + [3.0],
    )
    assert dropped(seen(frame)) == {
        "lists": "lists, records or bytes, of which no model here makes anything",
        "number": "it numbers the rows",
        "order_id": "a different number in each row, and called an id",
        "code": "a different code in each row",
        "nothing": "missing in every row",
        "always": "'x' in every row",
        "endless": (
            "infinite in 1 row, which no model can use; data.filter could leave these rows out"
            " instead"
        ),
    }


def test_quantities_names_and_texts_that_differ_in_each_row_stay(seen):
    random = np.random.default_rng(3)
    frame = plain().assign(
        population=random.permutation(10_000)[:200],
        name=[f"Mr. {a} {b}" for a, b in zip(range(200), range(200), strict=True)],
        note=[f"a long text about the thing number {n} and all it does" for n in range(200)],
    )
    survey = seen(frame)
    assert dropped(survey) == {}
    assert "Free text: note. It is read by the parts of its words." in survey.facts


def test_numbers_that_their_name_calls_labels_are_labels(seen):
    random = np.random.default_rng(4)
    frame = plain().assign(
        PULocationID=random.integers(1, 20, 200),
        zip_code=random.integers(10_000, 10_030, 200).astype(float),
        rooms=random.integers(1, 6, 200),
        weight_class=random.normal(size=200),
    )
    survey = seen(frame)
    assert [remark.column for remark in survey.labels] == ["PULocationID", "zip_code"]
    assert any("taken as amounts: rooms." in fact for fact in survey.facts)


def test_missing_values_and_many_labels_are_told(seen):
    frame = plain(1000).assign(town=[f"town {n % 400}" for n in range(1000)])
    frame.loc[:299, "b"] = None
    facts = seen(frame).facts
    assert "Many different labels: town 400. The rare ones are put together." in facts
    assert any("missing in 1 column: b 30 %" in fact for fact in facts)


# How the rows are dealt


def times(n: int, days: int, seed: int = 0, *, in_order: bool = True) -> pd.Series:
    seconds = np.random.default_rng(seed).integers(0, days * 86_400, n)
    seconds = np.sort(seconds) if in_order else seconds
    return pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, "s"))


def test_rows_that_follow_a_time_are_split_by_it(seen):
    survey = seen(plain().assign(moment=times(200, 20)))
    assert (survey.value("split.method"), survey.value("split.column")) == ("time", "moment")
    assert "the rows follow it" in survey.because("split.method")
    assert survey.value("split.test") == 0.2


def test_of_several_months_the_last_whole_one_is_the_test(seen):
    survey = seen(plain(2000).assign(created_at=times(2000, 182, in_order=False)))
    assert (survey.value("split.column"), survey.value("split.test")) == ("created_at", "1 month")
    assert "(by its name)" in survey.because("split.method")


def test_of_two_times_of_an_event_the_earlier_one_counts(seen):
    start = times(200, 60)
    late = start + pd.to_timedelta(np.random.default_rng(0).integers(1, 99, 200), "m")
    survey = seen(plain().assign(dropoff=late, pickup=start))
    assert survey.value("split.column") == "pickup"


def test_a_day_of_birth_is_no_event(seen):
    survey = seen(plain().assign(birth_date=times(200, 9_000, in_order=False)))
    assert survey.value("split.method") == "random"
    assert any("If the model is to predict what comes next" in fact for fact in survey.facts)


def test_several_rows_of_one_patient_stay_together(seen):
    survey = seen(plain(300).assign(patient_id=np.arange(300) // 5))
    assert (survey.value("split.method"), survey.value("split.column")) == ("group", "patient_id")
    assert "patient_id has 60 different values in 300 rows" in survey.because("split.method")
    assert survey.labels == ()


def test_classes_have_equal_shares_and_quantities_none(seen):
    assert seen(plain()).value("split.method") == "random"
    frame = plain().assign(y=["no"] * 120 + ["yes"] * 80)
    assert seen(frame).value("split.method") == "stratified"


def test_a_small_test_part_asks_for_fewer_rows(seen):
    assert seen(plain(1000)).value("promote.min_rows") is None
    assert seen(plain(150)).value("promote.min_rows") == 15
    assert "only 30 test rows" in seen(plain(150)).because("promote.min_rows")


def test_with_few_rows_training_and_validation_score_in_turn(seen):
    survey = seen(plain(150))
    assert survey.value("train.validation") == "folds"
    assert "There are only 24 validation rows" in survey.because("train.validation")
    assert seen(plain(4000)).value("train.validation") is None
    # Folds would train on what came later, and clusterings are compared on the same rows.
    assert seen(plain().assign(moment=times(200, 20))).value("train.validation") is None
    clustering = seen(plain(), None, problem=ProblemType.CLUSTERING)
    assert clustering.value("train.validation") is None


# What knows the answer


def test_two_columns_that_rebuild_the_target_are_dropped_with_the_evidence(seen):
    random = np.random.default_rng(5)
    frame = plain(500).assign(
        casual=random.integers(0, 100, 500), registered=random.integers(0, 300, 500)
    )
    frame["y"] = frame["casual"] + frame["registered"]
    survey = seen(frame)
    told = dropped(survey)
    assert set(told) == {"casual", "registered"}
    assert "y is 1 * ('casual' + 'registered') in" in told["casual"]
    assert "if it is known in time and registered is not" in told["casual"]
    assert survey.refused == ()


def test_a_column_that_is_filled_afterwards_is_dropped_with_the_evidence(seen):
    y = np.array(["no"] * 350 + ["yes"] * 150)
    reasons = np.where(np.arange(500) % 3, "moved", "ill")
    told = dropped(seen(plain(500).assign(y=y, reason=np.where(y == "yes", reasons, None))))
    assert "telling gap: 'reason' is filled" in told["reason"]


def test_groups_that_give_the_answer_away_are_kept_together(seen):
    random = np.random.default_rng(6)
    station = np.repeat(np.arange(80), 10)
    level = random.normal(size=80)[random.permutation(80)]
    frame = plain(800).assign(station=station, y=level[station] + random.normal(0, 0.01, 800))
    survey = seen(frame)
    assert (survey.value("split.method"), survey.value("split.column")) == ("group", "station")
    assert "are in training and in validation or test" in survey.because("split.method")


def test_rows_that_stand_there_twice_are_left_to_the_user(seen):
    survey = seen(pd.concat([plain(), plain(), plain()]))
    assert len(survey.refused) == 1
    assert "equal a training row in every column" in survey.refused[0]


# Real tables


@pytest.mark.parametrize(
    ("table", "target", "expected"),
    [
        ("wine_quality.parquet", "quality", ("stratified", "log_loss", [], [])),
        ("ames.parquet", "SalePrice", ("random", "rmse", [], ["MS SubClass"])),
    ],
)
def test_clean_tables_lose_no_column(table, target, expected):
    if not (REAL_DATA / table).exists():
        pytest.skip("the real tables are not here")
    survey = look(REAL_DATA / table, target)
    assert (
        survey.value("split.method"),
        survey.value("train.metric"),
        [remark.column for remark in survey.drop],
        [remark.column for remark in survey.labels],
    ) == expected
    assert survey.refused == ()

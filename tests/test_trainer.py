"""Training searches on train, chooses on valid, and fits the leader on both."""

import math

import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import tiny_settings, tiny_table
from debug_backend import on_shelf
from sklearn.metrics import fbeta_score

from ratchet import backends, metrics
from ratchet.errors import RatchetError, SettingsError
from ratchet.model import predict
from ratchet.problem import ProblemType
from ratchet.search import Candidate, TrialResult
from ratchet.settings import from_mapping
from ratchet.table import Table, encode_target, prepare_table
from ratchet.trainer import best, train

TARGET = {"regression": "price", "binary": "dear", "multiclass": "town"}


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """Fewer trees promise the same in less time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ratchet.backends.sklearn.FOREST_TREES", 30)
        yield


def settings(problem="regression", **changes):
    target = TARGET[problem]
    hidden = [name for name in ("price", "dear") if name != target]
    return from_mapping(
        tiny_settings(
            **{
                "data__target": target,
                "data__drop": hidden,
                "train__threads": 1,
                "train__families": None,
                "train__search__max_trials": 4,
                **changes,
            }
        ),
        origin="test",
    )


def parts(chosen, rows=120, seed=0):
    """Give train and valid rows of a tiny table, and their schema."""
    table = Table(tiny_table(rows, seed), (), (rows,))
    prepared = prepare_table(table, chosen.data, chosen.train.problem)
    cut = rows * 2 // 3
    frame = prepared.frame
    return (
        frame.iloc[:cut].reset_index(drop=True),
        frame.iloc[cut:].reset_index(drop=True),
        prepared.schema,
    )


def trained(problem="regression", *, rows=120, seed=0, **changes):
    chosen = settings(problem, **changes)
    train_rows, valid_rows, schema = parts(chosen, rows, seed)
    return train(train_rows, valid_rows, schema, chosen), train_rows, valid_rows, schema


def told(training):
    return [(t.candidate, t.score, t.train_score, t.threshold, t.error) for t in training.trials]


DEBUG = {"train__families": ["debug"], "train__search__max_trials": 1}


def test_without_a_time_limit_the_same_seed_gives_the_same_training():
    first, _, valid_rows, schema = trained(train__search__max_trials=6)
    again, *_ = trained(train__search__max_trials=6)
    assert told(first) == told(again)
    np.testing.assert_array_equal(
        predict(first.model, valid_rows, schema).values,
        predict(again.model, valid_rows, schema).values,
    )


@pytest.mark.parametrize("problem", TARGET)
def test_the_baseline_is_tried_first_and_the_leader_is_no_worse(problem):
    training, *_ = trained(problem)
    assert training.trials[0].candidate == Candidate("sklearn", "baseline", {})
    assert training.baseline is training.trials[0]
    assert not [trial.error for trial in training.trials if trial.error]
    losses = [training.metric.loss(trial.score) for trial in training.trials]
    assert training.metric.loss(training.leader.score) == min(losses)
    assert training.leader is not training.baseline
    assert training.metric.name == metrics.default(ProblemType(problem)).name


@pytest.mark.parametrize("problem", TARGET)
def test_the_leader_s_model_answers_about_raw_rows(problem):
    training, _, valid_rows, schema = trained(problem)
    predictions = predict(training.model, valid_rows, schema)
    y = encode_target(valid_rows[schema.target], schema)
    refit = metrics.score(training.metric, y, predictions)
    baseline = metrics.score(
        training.metric, y, predict(training.baseline_model, valid_rows, schema)
    )
    assert training.metric.loss(refit) < training.metric.loss(baseline)
    assert training.n_rows == 120
    assert training.seconds >= sum(trial.seconds for trial in training.trials)


@pytest.mark.parametrize("problem", TARGET)
def test_both_models_are_saved_with_the_trust_and_packages_declared(problem):
    training, _, valid_rows, schema = trained(problem)
    for model in (training.model, training.baseline_model):
        stored = skops.io.dumps(model)
        loaded = skops.io.loads(stored, trusted=list(training.trusted_types))
        one, other = (predict(each, valid_rows, schema) for each in (model, loaded))
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    backend = backends.get(training.leader.candidate.backend)
    assert set(backend.packages) < set(training.packages)
    assert list(training.trusted_types) == sorted(set(training.trusted_types))


def test_the_baseline_is_fitted_on_train_and_valid():
    training, train_rows, valid_rows, schema = trained(train__families=["linear"])
    mean = pd.concat([train_rows, valid_rows])["price"].mean()
    said = predict(training.baseline_model, valid_rows, schema).values
    np.testing.assert_allclose(said, mean)
    assert training.baseline is None


def test_scores_are_those_of_the_rows_they_name():
    training, train_rows, valid_rows, _ = trained(train__families=["baseline"])
    mean = train_rows["price"].mean()

    def rmse(rows):
        return math.sqrt(((rows["price"] - mean) ** 2).mean())

    assert training.leader.score == pytest.approx(rmse(valid_rows))
    assert training.leader.train_score == pytest.approx(rmse(train_rows))


def test_no_validation_row_is_used_in_fitting():
    """A wild validation target changes what is scored, and nothing that was learned."""
    chosen = settings(
        train__families=["baseline", "linear", "random_forest"], train__search__max_trials=3
    )
    train_rows, valid_rows, schema = parts(chosen)
    wild = valid_rows.assign(price=valid_rows["price"] * 1e6)
    plain, other = (train(train_rows, valid, schema, chosen) for valid in (valid_rows, wild))
    for one, two in zip(plain.trials, other.trials, strict=True):
        assert one.candidate == two.candidate
        assert one.train_score == two.train_score
        assert one.score != two.score


def test_no_validation_feature_is_used_in_preparing():
    chosen = settings(
        train__families=["baseline", "linear", "random_forest"], train__search__max_trials=3
    )
    train_rows, valid_rows, schema = parts(chosen)
    strange = {"size": 1e9, "town": "elsewhere", "sold": pd.Timestamp("2200-01-01")}
    wild = valid_rows.assign(**strange).astype(valid_rows.dtypes)
    plain, other = (train(train_rows, valid, schema, chosen) for valid in (valid_rows, wild))
    for one, two in zip(plain.trials, other.trials, strict=True):
        assert one.candidate == two.candidate
        assert one.train_score == two.train_score


def test_a_trial_sees_train_and_the_refit_sees_train_and_valid(monkeypatch):
    debug = on_shelf(monkeypatch, {})
    training, train_rows, valid_rows, _ = trained(**DEBUG, train__threads=2)
    tried, refitted = debug.requests
    assert tried.train.X.shape[0] == len(tried.train.y) == len(train_rows) == tried.task.n_rows
    np.testing.assert_array_equal(tried.train.y, train_rows["price"])
    np.testing.assert_array_equal(tried.valid.y, valid_rows["price"])
    np.testing.assert_array_equal(refitted.train.y, pd.concat([train_rows, valid_rows])["price"])
    assert refitted.train.X.shape[0] == len(refitted.train.y)
    assert refitted.valid is None
    assert refitted.params == {"rounds": 3}
    assert training.leader.refit_params == {"rounds": 3}
    assert (tried.seed, tried.threads, tried.metric) == (7, 2, "rmse")
    assert tried.task.n_columns == 4
    assert tried.categorical.tolist()[0] is True
    assert tried.deadline is refitted.deadline is None


def test_the_age_of_a_row_is_no_feature_where_rows_are_split_by_time(monkeypatch):
    debug = on_shelf(monkeypatch)
    train_rows, valid_rows, schema = parts(settings())
    for split in ({}, {"split__method": "time", "split__column": "sold"}):
        train(train_rows, valid_rows, schema, settings(**DEBUG, **split))
    plain, ordered = debug.requests[0].train.X, debug.requests[2].train.X
    assert ordered.shape[1] == plain.shape[1] - 1


def test_a_budget_of_seconds_is_a_deadline_for_each_fit(monkeypatch):
    debug = on_shelf(monkeypatch, *[{"seconds": 0.05, "answer": float(n)} for n in range(50)])
    training, *_ = trained(
        train__families=["debug"],
        train__search__budget_seconds=0.3,
        train__search__max_trials=50,
    )
    assert 1 <= len(training.trials) < 10
    assert len({asked.deadline for asked in debug.requests[:-1]}) == 1
    assert debug.requests[-1].deadline is None


def test_a_trial_that_fails_is_kept_and_another_leads(monkeypatch):
    on_shelf(monkeypatch, {"fail": "no luck"}, {"answer": math.nan}, {"answer": 300.0})
    training, *_ = trained(train__families=["debug"], train__search__max_trials=3)
    assert [trial.error for trial in training.trials] == [
        "ValueError: no luck",
        "the score is nan",
        None,
    ]
    assert training.leader is training.trials[2]


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "f1", "roc_auc", "mcc", "brier"])
def test_probabilities_that_are_no_numbers_never_lead(monkeypatch, metric):
    on_shelf(monkeypatch, {"answer": math.nan}, {"answer": 0.5})
    training, *_ = trained(
        "binary", train__families=["debug"], train__search__max_trials=2, train__metric=metric
    )
    assert training.trials[0].error == "the score is nan"
    assert training.leader is training.trials[1]


def test_when_every_trial_fails_the_reasons_are_told_once_each(monkeypatch):
    on_shelf(monkeypatch, {"fail": "no luck"}, {"fail": "no luck"}, {"answer": math.nan})
    with pytest.raises(RatchetError) as error:
        trained(train__families=["debug"], train__search__max_trials=3)
    assert str(error.value) == (
        "All 3 trials failed: debug: ValueError: no luck; debug: the score is nan"
    )


def test_an_interruption_ends_the_training(monkeypatch):
    on_shelf(monkeypatch, {}, {"interrupt": True}, {})
    seen = []
    chosen = settings(train__families=["debug"])
    with pytest.raises(KeyboardInterrupt):
        train(*parts(chosen), chosen, seen.append)
    assert len(seen) == 1


def trial(number, score, error=None):
    return TrialResult(number, Candidate("b", "f", {}), score, score, 0.0, 0.0, error=error)


@pytest.mark.parametrize(("name", "leader"), [("rmse", 2), ("r2", 1)])
def test_the_best_is_best_in_the_metric_s_own_direction_and_the_earlier_of_two(name, leader):
    metric = metrics.named(name, ProblemType.REGRESSION)
    scores = (math.nan, 0.9, 0.1, 0.9, 0.1)
    trials = tuple(
        trial(number, score, "failed" if math.isnan(score) else None)
        for number, score in enumerate(scores)
    )
    assert best(trials, metric).number == leader
    assert best(trials[::-1], metric).number == leader + 2


def test_a_family_can_be_chosen_by_name():
    training, *_ = trained(train__families=["linear", "baseline"])
    assert {trial.candidate.family for trial in training.trials} == {"baseline", "linear"}
    assert training.trials[0].candidate.family == "baseline"


def allowed(problem):
    task = backends.Task(ProblemType(problem), 80, 4, 2)
    return ", ".join(
        family.name for name in backends.available() for family in backends.get(name).families(task)
    )


@pytest.mark.parametrize(
    ("families", "start"),
    [
        (["liner"], "train.families names liner, which does not fit a regression problem."),
        (
            ["logistic", "linear", "forest"],
            "train.families names logistic, forest, which do not fit a regression problem.",
        ),
    ],
)
def test_a_family_that_does_not_fit_is_told_with_those_that_do(families, start):
    with pytest.raises(SettingsError) as error:
        trained(train__families=families)
    assert str(error.value) == f"{start} Allowed: {allowed('regression')}."


def test_no_family_at_all_is_told_in_a_sentence():
    with pytest.raises(SettingsError) as error:
        trained(train__families=[])
    assert str(error.value) == (
        f"train.families names no family. Set it to null for all: {allowed('regression')}."
    )


def test_a_metric_that_does_not_fit_is_told_before_any_trial():
    with pytest.raises(SettingsError, match=r"^No metric for a regression problem is called 'f1'"):
        trained(train__metric="f1")


def test_the_threshold_is_the_best_on_valid():
    training, _, valid_rows, schema = trained(
        "binary", train__metric="f0.5", train__families=["logistic"], train__search__max_trials=1
    )
    [leader] = training.trials
    assert 0 < leader.threshold < 1
    y = encode_target(valid_rows["dear"], schema)
    # The threshold that was chosen is honoured by the model that was fitted again.
    refit = predict(training.model, valid_rows, schema)
    np.testing.assert_array_equal(refit.values, refit.probabilities[:, 1] >= leader.threshold)
    at_half = fbeta_score(y, refit.probabilities[:, 1] >= 0.5, beta=0.5)
    assert leader.score >= at_half - 0.1


def test_a_threshold_beats_one_half_where_the_score_asks_for_it(monkeypatch):
    on_shelf(monkeypatch, {"answer": 0.3})
    training, _, valid_rows, _ = trained("binary", train__metric="f2", **DEBUG)
    share = (valid_rows["dear"] == "yes").mean()
    assert training.leader.threshold == 0.3
    assert training.leader.score == pytest.approx(5 * share / (1 + 4 * share))


@pytest.mark.parametrize(
    ("problem", "metric"),
    [
        ("binary", "log_loss"),
        ("binary", "accuracy"),
        ("multiclass", "f1_macro"),
        ("regression", "mae"),
    ],
)
def test_no_threshold_is_chosen_where_the_score_does_not_ask_for_one(problem, metric):
    training, *_ = trained(problem, train__metric=metric, train__search__max_trials=2)
    assert len(training.trials) == 2
    assert {trial.threshold for trial in training.trials} == {None}


def test_labels_that_are_fractions_are_learned_without_a_threshold():
    chosen = settings("binary", train__metric="f1", train__problem="binary")
    table = tiny_table(120)
    table["dear"] = np.where(table["dear"] == "yes", 2.5, 1.5)
    prepared = prepare_table(Table(table, (), (120,)), chosen.data, ProblemType.BINARY)
    frame = prepared.frame
    training = train(frame.iloc[:80], frame.iloc[80:], prepared.schema, chosen)
    assert training.leader.threshold is None
    assert set(training.model.predict(frame[prepared.schema.names])) == {1.5, 2.5}


def test_the_positive_class_need_not_be_the_last_in_order():
    training, _, valid_rows, schema = trained(
        "binary", data__positive="no", train__metric="f1", train__search__max_trials=3
    )
    assert schema.classes == ("yes", "no")
    predictions = predict(training.model, valid_rows, schema)
    said = training.model.predict(valid_rows[schema.names])
    np.testing.assert_array_equal(said == "no", predictions.values == 1)
    np.testing.assert_array_equal(
        said == "no", predictions.probabilities[:, 1] >= training.leader.threshold
    )
    assert np.mean(said == valid_rows["dear"]) > 0.8


def test_trials_are_told_as_they_end():
    chosen = settings(train__families=["baseline", "linear"])
    seen = []
    training = train(*parts(chosen), chosen, seen.append)
    assert tuple(seen) == training.trials


def test_every_core_is_used_unless_said_otherwise(monkeypatch):
    debug = on_shelf(monkeypatch, {})
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    trained(**DEBUG, train__threads=None)
    assert debug.requests[0].threads == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    trained(**DEBUG, train__threads=None)
    assert debug.requests[-1].threads == 1

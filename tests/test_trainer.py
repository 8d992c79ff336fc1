"""Training searches on train, chooses on valid, and fits the leader on both."""

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import tiny_settings, tiny_table
from debug_backend import DebugBackend, Memory, on_shelf
from sklearn.metrics import fbeta_score

from ratchet import backends, folds, metrics, trainer
from ratchet.backends import Interpretability
from ratchet.bench import Answer, Bench
from ratchet.errors import RatchetError, SettingsError
from ratchet.model import Calibration, Part, combine, predict, taken_apart
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
    # Linear models, a kernel and forests come before what has a tree for each class.
    training, *_ = trained(problem, train__search__max_trials=8)
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
    training, train_rows, valid_rows, schema = trained(train__families=["ridge"])
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
    begun = time.monotonic()
    training, *_ = trained(
        train__families=["debug"],
        train__search__budget_seconds=0.4,
        train__search__max_trials=50,
    )
    assert 1 <= len(training.trials) < 10
    for asked in debug.requests[:-1]:
        assert begun < asked.deadline < begun + 0.4 + 0.1
    # No trial may take the turn of all others.
    assert debug.requests[0].deadline < begun + 0.25


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
    on_shelf(
        monkeypatch, {"fail": "no luck"}, {"fail": "no luck", "answer": 1.0}, {"answer": math.nan}
    )
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
    training, *_ = trained(train__families=["ridge", "baseline"])
    assert {trial.candidate.family for trial in training.trials} == {"baseline", "ridge"}
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
            ["logistic", "ridge", "forest"],
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
    assert 0 < training.leader.threshold == training.threshold <= 0.3
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
    chosen = settings(train__families=["baseline", "ridge"])
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


FOLDS = {"train__validation": "folds", "train__folds": 4}


@pytest.fixture
def once(monkeypatch):
    """Deal the rows to folds a single time, however few they are."""
    monkeypatch.setattr("ratchet.folds.NOISY_ROWS", 0)


def test_folds_score_every_row_by_a_model_that_has_not_seen_it(monkeypatch, once):
    debug = on_shelf(monkeypatch)
    training, train_rows, valid_rows, _ = trained(**DEBUG, **FOLDS)
    prices = pd.concat([train_rows, valid_rows])["price"].to_numpy()
    assert training.n_folds == len(debug.requests) - 1 == 4
    said = []
    for asked in debug.requests[:-1]:
        assert len(asked.train.y) + len(asked.valid.y) == len(prices)
        np.testing.assert_array_equal(
            np.sort(np.concatenate([asked.train.y, asked.valid.y])), np.sort(prices)
        )
        said.append(((asked.train.y.mean() - asked.valid.y) ** 2).sum())
    assert training.leader.score == pytest.approx(math.sqrt(sum(said) / len(prices)))


def test_after_folds_one_model_is_fitted_on_all_rows(once, monkeypatch):
    debug = on_shelf(monkeypatch)
    training, train_rows, valid_rows, _ = trained(**DEBUG, **FOLDS)
    [member] = training.members
    assert member.refitted
    prices = pd.concat([train_rows, valid_rows])["price"]
    np.testing.assert_array_equal(debug.requests[-1].train.y, prices)


def test_without_time_for_that_the_models_of_the_folds_answer_together(once, monkeypatch):
    monkeypatch.setattr("ratchet.bench.Bench.refit_seconds", lambda self, trial: math.inf)
    training, _, valid_rows, schema = trained(
        **FOLDS, train__families=["ridge"], train__search__budget_seconds=3.0
    )
    [member] = training.members
    assert not member.refitted
    assert len(training.model.estimators_) == 4
    each = np.mean(
        [model.predict(valid_rows[schema.names]) for model in training.model.estimators_], axis=0
    )
    np.testing.assert_allclose(predict(training.model, valid_rows, schema).values, each)


def test_a_network_is_fitted_on_all_rows_from_three_beginnings():
    training, _, valid_rows, schema = trained(
        train__families=["mlp"], train__search__max_trials=1, rows=60
    )
    prepare, networks = training.model[:-1], training.model[-1].estimators_
    assert len(networks) == 3
    rows = prepare.transform(valid_rows[schema.names])
    answers = [each.predict(rows) for each in networks]
    assert not np.allclose(answers[0], answers[1])
    np.testing.assert_allclose(
        predict(training.model, valid_rows, schema).values, np.mean(answers, axis=0)
    )


def test_time_is_kept_for_the_members_that_the_ensemble_would_have_and_for_no_others():
    chosen = settings(train__ensemble="greedy")
    train_rows, valid_rows, schema = parts(chosen)
    rows = pd.concat([train_rows, valid_rows], ignore_index=True)
    plans = trainer._Plans(
        rows, len(train_rows), schema, chosen, trainer.metric_of(schema, chosen), None
    )
    bench = plans.with_holdout()
    random = np.random.default_rng(0)
    done = []
    for number, noise in enumerate((1.0, 1.1, 30.0, 40.0)):
        candidate = Candidate("sklearn", "ridge", {"alpha": float(number)})
        raw = bench.y_scored + noise * random.normal(size=len(bench.y_scored))
        bench.answers[candidate.key] = Answer(raw)
        score, _ = bench.score(raw)
        done.append(TrialResult(number, candidate, score, score, 1.0, 1.0))
    assert [trial.number for trial in trainer._likely_members(bench, done)] == [0, 1]
    alone = replace(bench, settings=settings(train__ensemble="none"))
    assert [trial.number for trial in trainer._likely_members(alone, done)] == [0]
    alike = replace(bench, settings=settings(train__ensemble="voting", train__max_members=3))
    assert [trial.number for trial in trainer._likely_members(alike, done)] == [0, 1, 2]


def test_a_small_table_is_dealt_to_folds_and_few_rows_more_than_once():
    training, *_ = trained(train__validation="auto", train__search__max_trials=1)
    assert training.n_folds == folds.FOLDS * folds.REPEATS


def test_with_a_clock_a_large_table_has_a_holdout_however_cheap_folds_are(monkeypatch):
    changes = {"train__validation": "auto", "train__search": {"budget_seconds": 60.0}}
    monkeypatch.setattr("ratchet.trainer._cost_of_a_fit", lambda *_: 0.0)
    changes["train__search"]["max_trials"] = 1
    assert trained(**changes)[0].n_folds == folds.FOLDS * folds.REPEATS
    monkeypatch.setattr("ratchet.trainer.ROWS_FOR_TIMED_FOLDS", 119)
    assert trained(**changes)[0].n_folds == 1


def test_a_large_table_has_a_holdout(monkeypatch):
    monkeypatch.setattr("ratchet.trainer.ROWS_FOR_FOLDS", 119)
    training, *_ = trained(train__validation="auto", train__search__max_trials=1)
    assert training.n_folds == 1


@pytest.mark.parametrize(
    ("seconds", "many", "n_folds"), [(0.0, 0, 4), (0.15, 0, 1), (0.05, 500, 4), (0.35, 500, 1)]
)
def test_with_a_time_limit_folds_are_used_where_they_cost_little_for_what_they_tell(
    monkeypatch, once, seconds, many, n_folds
):
    monkeypatch.setattr(folds, "MANY_SCORED", many)  # the holdout has 24 rows
    debug = on_shelf(monkeypatch, {"seconds": seconds})
    chosen = {"train__validation": "auto", "train__folds": 4, "train__search__budget_seconds": 2.0}
    training, *_ = trained(**{**DEBUG, **chosen})
    assert training.n_folds == n_folds
    if n_folds == 1:  # what was fitted to find out is not fitted again
        assert len([asked for asked in debug.requests if asked.valid is not None]) == 1


def test_rows_of_the_future_are_never_fitted_on():
    training, *_ = trained(
        train__validation="folds",
        train__search__max_trials=1,
        split__method="time",
        split__column="sold",
    )
    assert training.n_folds == 1


def test_groups_stay_whole_in_folds(monkeypatch, once):
    debug = on_shelf(monkeypatch)
    chosen = settings(**DEBUG, **FOLDS, split__method="group", split__column="town")
    train_rows, valid_rows, schema = parts(chosen)
    groups = np.repeat(np.arange(30), 4)
    training = train(train_rows, valid_rows, schema, chosen, groups=groups)
    of_price = dict(zip(pd.concat([train_rows, valid_rows])["price"], groups, strict=True))
    assert training.n_folds == 4
    for asked in debug.requests[:-1]:
        assert not {of_price[y] for y in asked.train.y} & {of_price[y] for y in asked.valid.y}


def test_groups_that_nobody_has_named_are_not_parted():
    chosen = settings(**FOLDS, split__method="group", split__column="town")
    assert train(*parts(chosen), chosen).n_folds == 1


TOGETHER = {"train__families": ["ridge", "random_forest", "lightgbm"], "train__ensemble": "greedy"}


@pytest.mark.parametrize("problem", TARGET)
@pytest.mark.parametrize("validation", ["holdout", "folds"])
def test_an_ensemble_is_one_model_like_any_other(problem, validation):
    training, _, valid_rows, schema = trained(
        problem,
        rows=300,
        train__validation=validation,
        **{
            **TOGETHER,
            "train__families": [
                "logistic" if problem != "regression" else "ridge",
                "random_forest",
                "lightgbm",
            ],
        },
    )
    losses = [training.metric.loss(trial.score) for trial in training.trials]
    assert training.metric.loss(training.score) <= min(losses) + 1e-12
    assert sum(member.weight for member in training.members) == pytest.approx(1)
    loaded = skops.io.loads(skops.io.dumps(training.model), trusted=list(training.trusted_types))
    one, other = (predict(model, valid_rows, schema) for model in (training.model, loaded))
    np.testing.assert_array_equal(one.values, other.values)
    if problem != "regression":
        np.testing.assert_allclose(one.probabilities.sum(axis=1), 1)
        assert set(training.model.predict(valid_rows[schema.names])) <= set(schema.classes)


def test_the_vote_takes_the_best_alike():
    training, *_ = trained(
        rows=200,
        train__ensemble="voting",
        train__max_members=2,
        train__families=["ridge", "random_forest", "lightgbm"],
        train__search__max_trials=5,
    )
    assert [member.weight for member in training.members] == [0.5, 0.5]
    scores = sorted(trial.score for trial in training.trials)
    assert sorted(member.trial.score for member in training.members) == scores[:2]


def test_no_more_members_than_allowed():
    training, *_ = trained(rows=300, train__max_members=2, train__search__max_trials=8, **TOGETHER)
    assert 1 <= len(training.members) <= 2


def test_the_constant_answer_is_never_a_member():
    training, *_ = trained(train__families=["baseline", "ridge"], train__ensemble="greedy")
    assert {member.trial.candidate.family for member in training.members} == {"ridge"}
    alone, *_ = trained(train__families=["baseline"], train__ensemble="greedy")
    assert [member.trial.candidate.family for member in alone.members] == ["baseline"]


@pytest.mark.parametrize(
    ("validation", "n_rows"), [("holdout", 80), ("folds", 90)], ids=["holdout", "folds"]
)
def test_the_best_of_the_next_families_are_kept_with_the_model_of_a_fold(
    monkeypatch, once, validation, n_rows
):
    chosen = {
        "train__families": ["baseline", "linear", "ridge", "random_forest", "lightgbm", "debug"],
        "train__search__max_trials": 9,
        "train__validation": validation,
        "train__folds": 4,
    }
    debug = on_shelf(monkeypatch, {"answer": 1e6})
    training, _, valid_rows, schema = trained(**chosen)
    inside = {member.trial.candidate.family for member in training.members}
    kept = [rival.trial.candidate.family for rival in training.rivals]
    assert len(kept) == 3
    assert not {*inside, "baseline"} & {*kept}
    by_family = {}
    for trial in training.trials:
        by_family.setdefault(trial.candidate.family, []).append(trial.score)
    for rival in training.rivals:
        assert rival.trial.score == min(by_family[rival.trial.candidate.family])
        assert rival.n_rows == n_rows
    scores = [rival.trial.score for rival in training.rivals]
    assert scores == sorted(scores)
    best = sorted(min(found) for name, found in by_family.items() if name not in inside)
    assert scores[0] == best[0]
    # Each says about the rows of that fold's holdout what its trial was scored by.
    if validation == "holdout":
        y = valid_rows["price"]
        for rival in training.rivals:
            said = predict(rival.model, valid_rows, schema).values
            assert np.sqrt(((said - y) ** 2).mean()) == pytest.approx(rival.trial.score)
    assert len(debug.requests) == (1 if validation == "holdout" else 4)  # nothing was fitted for it


def test_a_rival_that_can_be_read_is_kept_however_far_behind_it_is(monkeypatch):
    monkeypatch.setattr(trainer, "RIVALS", 1)
    training, *_ = trained(
        rows=300,
        train__families=["elastic_net", "random_forest", "lightgbm"],
        train__search__max_trials=5,
    )
    scores = {}
    for trial in training.trials:
        scores[trial.candidate.family] = min(
            trial.score, scores.get(trial.candidate.family, math.inf)
        )
    assert max(scores, key=scores.get) == "elastic_net"
    assert [rival.trial.candidate.family for rival in training.rivals] == ["elastic_net"]
    assert training.rivals[0].interpretability is Interpretability.READ


def test_a_rival_that_takes_long_to_save_is_not_kept(monkeypatch):
    chosen = {
        "train__families": ["ridge", "random_forest", "extra_trees"],
        "train__search__max_trials": 4,
    }

    def forests():
        kept = [rival.trial.candidate.family for rival in trained(**chosen)[0].rivals]
        return {"random_forest", "extra_trees"} & {*kept}

    assert forests()
    monkeypatch.setattr(trainer, "RIVAL_BYTES", 1)
    assert not forests()


def test_a_trial_of_an_interrupted_search_has_no_model_to_keep():
    chosen = settings(train__families=["ridge", "lightgbm"], train__search__max_trials=3)
    journal = Memory()
    first = train(*parts(chosen), chosen, journal=journal)
    assert len(first.rivals) == 1
    assert train(*parts(chosen), chosen, journal=journal).rivals == ()


def test_members_know_their_places_in_the_model_and_how_long_their_fit_took():
    training, _, valid_rows, schema = trained(
        train__ensemble="voting",
        train__max_members=3,
        train__families=["ridge", "mlp"],
        train__search__max_trials=3,
    )
    parts = taken_apart(training.model)
    places = [place for member in training.members for place in member.places]
    assert sorted(places) == list(range(len(parts)))
    assert "mlp" in {member.trial.candidate.family for member in training.members}
    for member in training.members:
        assert len(member.places) == (3 if member.trial.candidate.family == "mlp" else 1)
        assert member.seconds > 0
        assert member.n_rows == 120
    taken = [
        combine([parts[place] for place in member.places], schema, None)
        for member in training.members
    ]
    said = [predict(each, valid_rows, schema).values for each in taken]
    np.testing.assert_allclose(
        predict(training.model, valid_rows, schema).values,
        np.average(said, axis=0, weights=[member.weight for member in training.members]),
    )


def test_members_are_weighed_as_they_are_in_the_model(monkeypatch):
    """Two constants around the mean: the weights must give the mean."""
    chosen = settings(
        train__families=["debug"], train__ensemble="greedy", train__search__max_trials=2
    )
    train_rows, valid_rows, schema = parts(chosen)
    mean = float(valid_rows["price"].mean())
    on_shelf(monkeypatch, {"answer": mean - 10}, {"answer": mean + 30})
    training = train(train_rows, valid_rows, schema, chosen)
    assert [member.weight for member in training.members] == pytest.approx([0.75, 0.25], abs=0.02)
    weights = {m.trial.candidate.params["answer"]: m.weight for m in training.members}
    said = predict(training.model, valid_rows, schema).values
    np.testing.assert_allclose(said, sum(answer * w for answer, w in weights.items()))


def test_probabilities_are_calibrated_where_that_helps(monkeypatch):
    """An overconfident model says 0.97 where a third of the rows are positive."""
    on_shelf(monkeypatch, {"answer": 0.97})
    training, _, valid_rows, schema = trained("binary", rows=300, **DEBUG)
    assert training.calibrated
    raw = training.metric.loss(training.leader.score)
    assert training.metric.loss(training.score) < raw
    said = predict(training.model, valid_rows, schema).probabilities
    assert 0.5 < said[0, 1] < 0.97
    np.testing.assert_allclose(said.sum(axis=1), 1)
    loaded = skops.io.loads(
        skops.io.dumps(training.baseline_model), trusted=list(training.trusted_types)
    )
    assert predict(loaded, valid_rows, schema).probabilities is not None


def test_a_calibrated_model_is_saved_like_any_other():
    training, _, valid_rows, schema = trained(
        "binary", rows=300, train__families=["random_forest"], train__search__max_trials=2
    )
    calibrated = Calibration.learn(
        predict(training.model, valid_rows, schema).probabilities,
        encode_target(valid_rows["dear"], schema),
    ).around(training.model)
    loaded = skops.io.loads(skops.io.dumps(calibrated), trusted=list(training.trusted_types))
    one, other = (predict(model, valid_rows, schema) for model in (calibrated, loaded))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.values, other.values)


def test_no_map_where_the_user_wants_none_or_the_score_is_of_decisions(monkeypatch):
    on_shelf(monkeypatch, {"answer": 0.97})
    assert not trained("binary", rows=300, train__calibrate="never", **DEBUG)[0].calibrated
    assert not trained("binary", rows=300, train__metric="f1", **DEBUG)[0].calibrated


@pytest.mark.parametrize(
    ("problem", "metric", "choice", "weighted"),
    [
        ("multiclass", "balanced_accuracy", "auto", True),
        ("multiclass", "f1_macro", "auto", True),
        ("multiclass", "log_loss", "auto", False),
        ("multiclass", "balanced_accuracy", "none", False),
        ("binary", "balanced_accuracy", "auto", False),
        ("binary", "log_loss", "balanced", True),
    ],
)
def test_rare_classes_count_more_where_the_score_counts_them_alike(
    monkeypatch, problem, metric, choice, weighted
):
    debug = on_shelf(monkeypatch, {"answer": 0.4})
    trained(problem, train__metric=metric, train__class_weight=choice, **DEBUG)
    for asked in debug.requests:
        assert (asked.train.weights is not None) is weighted
        if weighted:
            sums = np.bincount(asked.train.y, asked.train.weights)
            # Over all rows each class weighs the same; over a part nearly so.
            assert sums.max() / sums.min() < 1.6


@pytest.mark.parametrize(
    ("device", "allowed"), [("auto", True), ("cpu", False), ("cuda", True), ("gpu", True)]
)
def test_a_graphics_processor_is_used_only_where_the_user_lets_it(monkeypatch, device, allowed):
    debug = on_shelf(monkeypatch)
    monkeypatch.setattr("ratchet.placement.cuda_devices", lambda: 1)
    trained(train__device=device, **DEBUG)
    assert {asked.gpu for asked in debug.requests} == {allowed}


def test_a_graphics_processor_that_is_asked_for_and_not_there_is_told(monkeypatch):
    debug = on_shelf(monkeypatch)
    monkeypatch.setattr("ratchet.placement.cuda_devices", lambda: 0)
    with pytest.raises(RatchetError) as raised:
        trained(train__device="cuda", **DEBUG)
    assert str(raised.value) == (
        "train.device is cuda, and CUDA sees no graphics processor on this machine. Set it to auto,"
        " which takes one where there is one, or to cpu."
    )
    assert not debug.requests


def test_a_model_that_can_t_be_sent_is_fitted_again():
    chosen = settings(train__families=["ridge"], train__validation="holdout")
    train_rows, valid_rows, schema = parts(chosen)
    rows = pd.concat([train_rows, valid_rows], ignore_index=True)
    plan = folds.holdout(len(train_rows), len(valid_rows))
    there, here = (
        Bench(rows, schema, chosen, trainer.metric_of(schema, chosen), plan) for _ in range(2)
    )
    ridge = Candidate("sklearn", "ridge", {"alpha": 1.0})
    for sent in (True, False):
        result = there.evaluate(ridge, None)
        answer = there.answers[ridge.key]
        if not sent:
            answer.parts[0].estimator.own = lambda: None
        here.take_over(ridge, there.hand_over(ridge))
        assert ridge.key not in there.answers
        np.testing.assert_array_equal(here.answers[ridge.key].raw, answer.raw)
        assert len(here.answers[ridge.key].parts) == int(sent)
    trial = TrialResult(0, ridge, result.score, result.train_score, 0.1, 0.1)
    [refit] = here.refit([trial])
    assert isinstance(refit.parts[0], Part)


def test_early_stopping_gets_the_loss_of_the_metric_that_was_asked_for(monkeypatch):
    debug = on_shelf(monkeypatch)
    trained(train__metric="r2", **DEBUG)
    tried, refitted = debug.requests
    assert tried.loss(tried.valid.y) == pytest.approx(-1)
    assert refitted.loss is None


def test_matrix_products_have_one_thread_whatever_else_is_fitted(monkeypatch):
    """A network beside another family would change the last bits of that one's sums."""
    from threadpoolctl import threadpool_info

    def threads():
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before, seen, fit = threads(), [], DebugBackend.fit

    def looks(self, request):
        seen.append(threads())
        return fit(self, request)

    monkeypatch.setattr(DebugBackend, "fit", looks)
    on_shelf(monkeypatch)
    trained(**DEBUG, train__threads=2)
    assert seen
    assert {n for each in seen for n in each} == {1}
    assert threads() == before


def test_large_tables_are_first_tried_on_a_sample(monkeypatch):
    monkeypatch.setattr("ratchet.trainer.ROWS_FOR_SAMPLES", 60)
    monkeypatch.setattr("ratchet.trainer.SMALLEST_SAMPLE", 20)
    debug = on_shelf(monkeypatch, *[{"answer": float(n)} for n in range(9)])
    training, train_rows, *_ = trained(train__families=["debug"], train__search__max_trials=12)
    sizes = [len(asked.train.y) for asked in debug.requests]
    assert sizes[0] == round(len(train_rows) / 3)
    assert sizes.count(len(train_rows)) >= 2
    # What all rows were fitted with is refitted on train and valid.
    assert sizes[-1] == 120
    assert training.leader.candidate.share == 1


@pytest.mark.parametrize("validation", ["holdout", "folds"])
def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(monkeypatch, validation):
    chosen = settings(
        train__families=["ridge", "random_forest"],
        train__ensemble="greedy",
        train__validation=validation,
        train__search__max_trials=7,
    )
    whole = train(*parts(chosen), chosen)
    journal = Memory()

    def interrupt(trial):
        if trial.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*parts(chosen), chosen, interrupt, journal=journal)
    assert len(journal.kept) == 4
    again = train(*parts(chosen), chosen, journal=journal)
    assert len(journal.kept) == 7
    assert told(again) == told(whole)
    assert [trial.resumed for trial in again.trials] == [True] * 4 + [False] * 3
    assert again.score == whole.score
    assert [m.weight for m in again.members] == [m.weight for m in whole.members]


def test_a_column_of_noise_changes_no_ranking_much():
    chosen = settings(
        train__families=["baseline", "ridge", "random_forest"], train__search__max_trials=3
    )
    plain = train(*parts(chosen, rows=600), chosen)
    table = tiny_table(600)
    table["noise"] = np.random.default_rng(5).normal(size=600)
    frame = (prepared := prepare_table(Table(table, (), (600,)), chosen.data, None)).frame
    noisy = train(frame.iloc[:400], frame.iloc[400:], prepared.schema, chosen)
    assert noisy.baseline.score == plain.baseline.score
    assert max(trial.score for trial in noisy.trials) == noisy.baseline.score
    for one, other in zip(plain.trials, noisy.trials, strict=True):
        assert other.candidate.family == one.candidate.family
        assert other.score == pytest.approx(one.score, rel=0.1)


@pytest.mark.parametrize("families", [None, ["random_forest"]])
def test_the_budget_is_kept_with_everything_included(families):
    begun = time.monotonic()
    training, *_ = trained(
        rows=2000,
        train__families=families,
        train__validation="auto",
        train__ensemble="greedy",
        train__search__budget_seconds=8.0,
        train__search__max_trials=10_000,
    )
    spent = time.monotonic() - begun
    assert len(training.trials) > 3
    assert spent < 8 * 1.25  # the suite runs on busy cores: benchmarks/quality has the promise


def test_options_of_an_unknown_backend_are_told():
    with pytest.raises(SettingsError) as error:
        trained(train__backends={"forest": {"trees": 3}})
    assert str(error.value) == (
        "train.backends has options for forest, which is not registered."
        f" Registered: {', '.join(sorted(backends.available()))}."
    )

"""Every gate is asked, on rows that neither model has seen, and all of it is written down."""

import json

import mlflow
import numpy as np
import pytest
import yaml
from conftest import tiny_settings
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from ratchet import cost, model, settings, tracking
from ratchet.errors import RatchetError, StoreError
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.ledger import Kind, Ledger
from ratchet.steps import evaluate, judgement, origin, prepare, promote, train
from ratchet.steps.promote import Decision, Outcome
from ratchet.steps.train import ROWS_FILE, Leader

ALWAYS = [
    "better_than_baseline",
    "better_than_champion",
    "recorded_data",
    "recorded_tree",
    "no_leakage",
    "test_uses",
]
TINY = 0.000001


@pytest.fixture
def elsewhere(project):
    """A champion that was trained on another split: most test rows of today are among its own."""
    values = tiny_settings(seed=8)
    (project.root / "other.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    other = Project.open(project.root / "other.yaml")
    for step in (prepare, train, evaluate):
        step.run(other)
    promote.run(other, force=True, reason="the first")
    return other


@pytest.fixture
def own(project):
    """A run of somebody else's making: a plain pipeline that takes raw columns."""
    rows = prepare.read_part(project, "train")
    pick = ColumnTransformer([("numbers", "passthrough", ["size", "rooms"])])
    pipeline = Pipeline([("pick", pick), ("line", LinearRegression())])
    pipeline.fit(rows.drop(columns="price"), rows["price"])
    with mlflow.start_run(experiment_id=tracking.experiment(project)) as run:
        mlflow.sklearn.log_model(
            pipeline,
            name="own",
            serialization_format="skops",
            skops_trusted_types=list(model.ASSEMBLY_TYPES),
            pip_requirements=["scikit-learn"],
        )
    return run.info.run_id


def under(project, **rules):
    """Open the same project under other rules of promotion."""
    values = yaml.safe_load(project.params_file.read_text(encoding="utf-8"))
    values["promote"] |= rules
    project.params_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Project.open(project.params_file)


def judged(project, run_id=None):
    source = origin.of(project, origin.read_data(project))
    challenger = judgement.challenger_of(project, run_id)
    return judgement.judge(project, challenger, champion.current(project.settings), source)


def names(told):
    return [gate.name for gate in told.gates]


def gate(told, name="better_than_champion"):
    return next(each for each in told.gates if each.name == name)


def trained_on(project):
    return np.load(project.trained / ROWS_FILE, allow_pickle=False)


def everything(store):
    """All that a store holds: experiments, runs with what they say, versions."""
    experiments = [each.experiment_id for each in store.search_experiments()]
    runs = store.search_runs(experiments, max_results=1000)
    return (
        experiments,
        {run.info.run_id: (run.data.tags, run.data.params, run.data.metrics) for run in runs},
        [(each.name, each.aliases) for each in store.search_registered_models()],
        [(each.name, each.version, each.tags) for each in store.search_model_versions()],
    )


# The rows


def test_rows_that_the_champion_was_trained_on_are_left_out(project, elsewhere):
    rows = prepare.read_part(project, "test")
    known = np.isin(rows[prepare.ROW], trained_on(elsewhere))
    n_fair = int((~known).sum())
    assert 0 < n_fair < len(rows)
    told = judged(under(project, min_rows=n_fair))
    assert told.n_left_out == known.sum()
    assert told.champion.n_rows == n_fair
    assert told.baseline.n_rows == len(rows)
    assert gate(told, "enough_fair_rows").passed
    assert gate(told, "enough_fair_rows").reason == (
        f"{n_fair} test rows are new to the champion ({known.sum()} left out), required >= {n_fair}"
    )
    assert judged(Project.open(project.params_file)).champion == told.champion


def test_too_few_rows_that_are_new_to_the_champion_refuse_the_comparison(project, elsewhere):
    rows = prepare.read_part(project, "test")
    known = np.isin(rows[prepare.ROW], trained_on(elsewhere))
    n_fair = int((~known).sum())
    strict = under(project, min_rows=n_fair + 1)
    told = judged(strict)
    assert (told.champion, told.n_left_out) == (None, 0)
    sentence = (
        f"{n_fair} test rows are new to the champion ({known.sum()} left out),"
        f" required >= {n_fair + 1}"
    )
    assert (gate(told, "enough_fair_rows").passed, gate(told).passed) == (False, False)
    assert gate(told, "enough_fair_rows").reason == sentence
    assert gate(told).reason == f"not compared: {sentence}"
    decision = promote.run(strict)
    assert (decision.outcome, decision.champion) == (Outcome.KEPT, 1)
    assert sentence in decision.reason


def test_rows_that_the_challenger_was_trained_on_are_left_out_too(project, better, elsewhere):
    promote.run(better, force=True, reason="from the same split as today's rows")
    theirs = Leader.load(elsewhere).run_id
    known = np.isin(prepare.read_part(project, "test")[prepare.ROW], trained_on(elsewhere))
    told = judged(under(project, min_rows=5), theirs)
    assert told.n_left_out == known.sum() > 0
    assert told.champion.n_rows == (~known).sum()


def test_on_the_same_split_no_row_is_left_out(project, better):
    promote.run(project)
    told = judged(better)
    n_rows = len(prepare.read_part(better, "test"))
    assert (told.n_left_out, told.champion.n_rows) == (0, n_rows)
    assert told.champion.gain > 0
    assert told.champion.challenger == pytest.approx(told.score)


def test_a_row_is_the_same_row_under_other_features(project):
    before = {name: prepare.read_part(project, name) for name in ("train", "valid", "test")}
    prepare.run(Project.open(project.params_file, ["data.features=[rooms,size]"]))
    for name, rows in before.items():
        after = prepare.read_part(project, name)
        assert "town" in rows and "town" not in after
        assert after[prepare.ROW].tolist() == rows[prepare.ROW].tolist()
        assert prepare.test_digest(after) == prepare.test_digest(rows)
    digests = {prepare.test_digest(rows) for rows in before.values()}
    assert len(digests) == 3
    shuffled = before["test"].sample(frac=1, random_state=0)
    assert prepare.test_digest(shuffled) == prepare.test_digest(before["test"])


def test_every_other_leader_that_these_rows_have_judged_counts(project, better, elsewhere):
    told = judged(project)
    assert told.test_uses == 1  # the trees; the champion was judged on rows of its own
    assert gate(told, "test_uses").reason == "use 2 of this test set, no limit"
    evaluate.run(project)
    assert judged(project).test_uses == 1
    train.run(project)
    evaluate.run(project)
    assert judged(project).test_uses == 2
    refused = gate(judged(under(project, max_test_uses=2)), "test_uses")
    assert (refused.passed, refused.reason) == (False, "use 3 of this test set, required <= 2")
    assert gate(judged(under(project, max_test_uses=3)), "test_uses").passed


# The gates


def test_only_the_gates_that_params_turn_on_are_asked(project, better):
    assert names(judged(better)) == ALWAYS
    promote.run(project)
    assert names(judged(better)) == [ALWAYS[0], "enough_fair_rows", *ALWAYS[1:]]


def test_all_gates_are_shown_even_when_the_first_fails(project):
    longer = {
        "name": "more space is not dearer",
        "kind": "direction",
        "rows": 20,
        "change": {"size": "+50"},
        "expect": "not_higher",
    }
    told = judged(
        under(
            project,
            required=TINY,
            max_latency_ms={"one_row": TINY, "batch": TINY},
            max_size_mb=TINY,
            max_overfit=0.0,
            slices={"columns": ["town"], "min_rows": 5},
            dirty_data="refuse",
            dirty_tree="clean",
            max_test_uses=1,
            checks=[longer],
        )
    )
    passed = {each.name: each.passed for each in told.gates}
    assert list(passed) == [
        "required_score",
        "better_than_baseline",
        "better_than_champion",
        "fast_enough",
        "small_enough",
        "not_overfitted",
        "no_bad_slice",
        "recorded_data",
        "recorded_tree",
        "no_leakage",
        "test_uses",
        "check/more space is not dearer",
    ]
    for name in (
        "required_score",
        "fast_enough",
        "small_enough",
        "recorded_data",
        "recorded_tree",
        "test_uses",
        "check/more space is not dearer",
    ):
        assert not passed[name], name
    assert passed["better_than_baseline"] and passed["better_than_champion"]
    assert told.against_champion.name == "better_than_champion"
    assert all(each.reason for each in told.gates)


@pytest.mark.parametrize(
    ("name", "rules", "loose"),
    [
        ("required_score", {"required": TINY}, {"required": 1e6}),
        ("fast_enough", {"max_latency_ms": {"one_row": TINY}}, {"max_latency_ms": {"batch": 1e6}}),
        ("small_enough", {"max_size_mb": TINY}, {"max_size_mb": 1e6}),
    ],
)
def test_a_limit_fails_what_is_above_it_and_passes_what_is_below(project, name, rules, loose):
    told = judged(under(project, **rules))
    assert sorted(names(told)) == sorted([*ALWAYS, name])
    assert not gate(told, name).passed
    values = tiny_settings()["promote"]
    relaxed = judged(under(project, **{**dict.fromkeys(rules), **values, **loose}))
    assert gate(relaxed, name).passed


def test_a_classifier_is_asked_for_its_calibration(tiny, monkeypatch):
    monkeypatch.setattr(cost, "_SECONDS", 0.01)
    params = tiny(
        data__target="dear",
        data__drop=["price"],
        train__families=["baseline", "logistic"],
        promote__max_calibration_error=0.0,
    )
    project = Project.open(params)
    for step in (prepare, train, evaluate):
        step.run(project)
    told = gate(judged(project), "calibrated")
    assert not told.passed
    assert told.reason.startswith("calibration_error 0.")
    assert gate(judged(under(project, max_calibration_error=1.0)), "calibrated").passed


def test_a_champion_that_can_not_score_loses_its_claim_where_that_is_allowed(project, store):
    promote.run(project)
    narrow = Project.open(
        under(project, allow_schema_change=True).params_file, ["data.features=[rooms,size]"]
    )
    for step in (prepare, train, evaluate):
        step.run(narrow)
    decision = promote.run(narrow)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.PROMOTED, 2, 1)
    assert decision.reason.startswith(
        "version 1, the champion, can't score today's test rows (ValueError: columns are missing:"
    )
    assert decision.reason.endswith("): it loses its claim, as promote.allow_schema_change says")
    assert store.get_run(decision.decision_run).data.tags["mlflow.note.content"] == decision.reason
    assert Ledger.find(project.settings).lines()[-1].reason == decision.reason


# Who is put forward


def test_an_older_leader_can_be_put_forward(project, store):
    older = Leader.load(project)
    newer = train.run(project)
    decision = promote.run(project, run_id=older.run_id)
    assert newer.run_id != older.run_id == decision.run_id
    assert (decision.outcome, decision.version) == (Outcome.PROMOTED, 1)
    assert store.get_model_version("tiny", "1").run_id == older.run_id
    assert champion.current(project.settings).run_id == older.run_id


def test_a_model_that_this_project_did_not_train_can_be_put_forward(project, own, store):
    loose = under(project, max_overfit=1.0, max_size_mb=TINY)
    told = judged(loose, own)
    overfit = gate(told, "not_overfitted")
    assert (overfit.passed, overfit.reason) == (
        False,
        "this project did not train it, so its training score is not known",
    )
    assert not gate(told, "small_enough").passed
    decision = promote.run(under(project, max_overfit=None, max_size_mb=None), run_id=own)
    assert (decision.outcome, decision.version, decision.run_id) == (Outcome.PROMOTED, 1, own)
    assert champion.current(project.settings).run_id == own
    served = mlflow.pyfunc.load_model("models:/tiny@champion")
    assert served.metadata.run_id == own
    again = promote.run(Project.open(project.params_file), run_id=own)
    assert again.promoted and not again.is_new


def test_a_run_that_does_not_say_where_its_code_is_from_fails_a_strict_gate(project, own):
    told = gate(judged(under(project, dirty_tree="recorded"), own), "recorded_tree")
    assert not told.passed
    assert "its run does not say whether the tree was clean" in told.reason


def test_a_run_without_a_model_is_told(project, store):
    run = store.create_run(tracking.experiment(project))
    before = everything(store)
    with pytest.raises(StoreError) as error:
        promote.run(project, run_id=run.info.run_id)
    assert str(error.value) == (
        f"Run {run.info.run_id} has logged no model. Log one with mlflow.sklearn.log_model,"
        " or put another run forward."
    )
    assert everything(store) == before


# How it is decided


@pytest.mark.parametrize("force", [False, True])
def test_a_dry_run_changes_nothing(project, better, store, force):
    before = everything(store)
    told = promote.run(project, dry_run=True, force=force, reason="to see")
    assert everything(store) == before
    assert not (project.promoted / "decision.json").exists()
    assert Decision.load(project) is None
    assert (told.outcome, told.champion) == (Outcome.PROMOTED, None)
    assert (told.version, told.decision_run, told.line, told.decided_at) == (None,) * 4
    assert names(told) == ALWAYS
    promote.run(better)
    before = everything(store)
    told = promote.run(project, dry_run=True, force=force, reason="to see")
    assert everything(store) == before
    assert told.champion == 1
    assert told.kind is (Kind.FORCE if force else Kind.REFUSE)
    assert told.outcome is (Outcome.PROMOTED if force else Outcome.KEPT)


@pytest.mark.parametrize("reason", ["", " \n"])
def test_force_without_a_reason_is_refused(project, store, reason):
    before = everything(store)
    with pytest.raises(RatchetError) as error:
        promote.run(project, force=True, reason=reason)
    assert str(error.value) == ("--force needs a reason for the ledger: --reason 'why it must be'.")
    assert everything(store) == before


def test_force_promotes_against_the_gates_and_says_so(project, better, store):
    promote.run(better)
    decision = promote.run(project, force=True, reason="the trees are too slow")
    assert (decision.outcome, decision.kind) == (Outcome.PROMOTED, Kind.FORCE)
    assert (decision.version, decision.champion) == (2, 1)
    assert decision.reason == "the trees are too slow"
    assert not gate(decision).passed
    assert store.get_registered_model("tiny").aliases == {"champion": 2, "previous": 1}
    line = Ledger.find(project.settings).lines()[-1]
    assert (line.kind, line.before, line.champion) == (Kind.FORCE, 1, 2)
    assert line.reason == "the trees are too slow"
    tags = store.get_run(decision.decision_run).data.tags
    assert tags["ratchet.gate.better_than_champion"].startswith("failed: rmse ")


def test_the_evidence_holds_the_gates_the_numbers_and_the_rules(project, better):
    promote.run(project)
    decision = promote.run(better)
    ledger = Ledger.find(project.settings)
    evidence = ledger.evidence_of(ledger.lines()[-1])
    told = evidence["decision"]
    assert [(g["name"], g["passed"], g["reason"]) for g in told["gates"]] == [
        (g.name, g.passed, g.reason) for g in decision.gates
    ]
    numbers = evidence["judgement"]
    assert numbers["score"] == decision.score
    assert numbers["reigning"]["number"] == 1
    assert numbers["champion"]["low"] > 0
    assert numbers["champion"]["resamples"] == 200
    assert numbers["n_left_out"] == 0
    assert numbers["cost"]["size_mb"] > 0
    assert "gates" not in numbers
    flat = settings.flat(better.settings)
    assert set(evidence["rules"]) == {name for name in flat if name.startswith("promote.")}
    assert evidence["rules"]["promote.min_rows"] == flat["promote.min_rows"] == 20
    assert evidence["test_digest"] == prepare.test_digest(prepare.read_part(better, "test"))
    assert evidence["model_uri"] == Leader.load(better).model_uri
    assert evidence == json.loads(json.dumps(evidence, allow_nan=False))

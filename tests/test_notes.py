"""What a run says of itself in MLflow's UI is true, short, and names the next command."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import tiny_settings

from ratchet.evaluation import Evaluation, Score
from ratchet.gates import GateResult
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.registry.ledger import Kind
from ratchet.schema import Column, Schema
from ratchet.schema import Kind as ColumnKind
from ratchet.steps import notes
from ratchet.steps.promote import Decision, Outcome
from ratchet.steps.train import Code, Leader

LEADER = Leader(
    run_id="f00",
    model_uri="models:/m-f00",
    name="lightgbm+xgboost",
    metric="rmse",
    metric_reference="rmse",
    score=4.6122,
    train_score=3.6433,
    baseline_score=9.6927,
    params={"learning_rate": 0.05},
    threshold=None,
    trial=5,
    n_trials=24,
    n_failed=2,
    n_rows=14537,
    n_folds=1,
    members=[
        {"name": "lightgbm", "weight": 0.7, "trial": 5, "params": {}},
        {"name": "xgboost", "weight": 0.3, "trial": 8, "params": {}},
    ],
    honest_score=4.63,
    seconds=47.6,
    fit_seconds=[11.2, 4.1],
    calibrated=False,
    rivals=[],
    code=Code("c0ffee", False, False, ""),
)
NUMBERS = {
    "test/rmse": 4.44763,
    "test/rmse_low": 4.29281,
    "test/rmse_high": 4.59493,
    "baseline/test/rmse": 9.64362,
}
DECISION = Decision(
    outcome=Outcome.PROMOTED,
    kind=Kind.PROMOTE,
    reason="rmse 4.4476, no champion yet",
    model="tiny",
    version=1,
    champion=None,
    run_id="f00",
    decision_run="d00",
    line=1,
    metric="rmse",
    score=4.44763,
    gates=(
        GateResult("better_than_baseline", True, "rmse 4.4476, baseline 9.6436"),
        GateResult("recorded_data", True, "data version 6faf"),
    ),
    decided_at="2026-11-25T22:59:09+00:00",
)


def judged(*scores: Score) -> Evaluation:
    return Evaluation(ProblemType.REGRESSION, 14556, 14556, 0.95, 1000, scores)


LEADS = judged(Score("rmse", 4.44763, 4.29281, 4.59493), Score("r2", 0.78, 0.77, 0.79))
BASE = judged(Score("rmse", 9.64362, 9.5, 9.8), Score("r2", -0.001, -0.002, 0.0))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(tiny_settings(evaluate__report=True)), encoding="utf-8")
    return Project.open(params)


def test_prepare_says_how_the_rows_were_dealt_and_what_to_know_of_them(project):
    columns = tuple(
        Column(name, ColumnKind.NUMBER, "float64", False, 9) for name in ("size", "rooms")
    )
    schema = Schema(columns, "price", ProblemType.REGRESSION)
    rows = {"train": 150, "valid": 42, "test": 48}
    told = notes.of_prepare(project, schema, rows, 250, ["10 rows lack *price*."]).value
    assert told.split("\n\n") == [
        "250 rows of `data` were read, and 240 of them dealt at random: 150 to train on,"
        " 42 to choose by, 48 to judge on. 2 columns to predict `price` from: a regression"
        " problem.",
        "- 10 rows lack \\*price\\*.",
        "Among the artifacts, `profile.html` shows the training rows. Next: `python src train`.",
    ]
    clusters = replace(schema, target=None, problem=ProblemType.CLUSTERING)
    assert (
        "2 columns to find clusters in." in notes.of_prepare(project, clusters, rows, 9, []).value
    )


def test_train_says_what_won_and_with_which_scores(project):
    assert notes.of_train(project, LEADER).value.split("\n\n") == [
        "**lightgbm+xgboost** has rmse 4.6122 on validation rows (a holdout) and 3.6433 on training"
        " rows; the baseline has 9.6927 on the former.",
        "**On the test rows**: not judged yet. Next: `python src evaluate`.",
        "It came out of 24 trials, 2 of which failed, in 48 s, and was fitted on 14,537 rows. Every"
        " trial is a line of the artifact `trials.csv`, the best 20 are runs below this one, and"
        " `figures/` shows the search.",
        "Its members and their weights: lightgbm of trial 6 (70 %), xgboost of trial 9 (30 %).",
    ]


def test_a_leader_that_is_alone_and_has_no_baseline_has_no_line_for_them(project):
    alone = replace(
        LEADER, members=LEADER.members[:1], baseline_score=None, n_failed=0, n_trials=3, n_folds=5
    )
    told = notes.of_train(project, alone).value
    assert "members" not in told
    assert "baseline" not in told
    assert "4.6122 on validation rows (5 folds) and 3.6433 on training rows." in told
    assert "came out of 3 trials in 48 s" in told
    assert "the best 3 are runs below" in told


def test_the_test_scores_take_their_place_in_what_train_said(project):
    before = notes.of_train(project, LEADER).value
    once = notes.with_test_scores(project, before, LEADER, NUMBERS).value
    old, new = before.split("\n\n"), once.split("\n\n")
    assert (new[0], new[2:]) == (old[0], old[2:])
    assert new[1] == (
        "**On the test rows**: rmse 4.4476 [4.2928, 4.5949], the baseline 9.6436. Why this model,"
        " and where it fails: `report/report.html` among the artifacts, or `python src report` with"
        " the id of this run. Whether it becomes the champion: `python src promote`."
    )


def test_an_evaluation_with_other_numbers_replaces_only_its_own_words(project):
    before = notes.of_train(project, LEADER).value
    once = notes.with_test_scores(project, before, LEADER, NUMBERS).value
    by_hand = f"Ada: for the meeting of May.\n\n{once}\n\nShe also likes it."
    wider = {**NUMBERS, "test/rmse_high": 5.0, "baseline/test/rmse": None}
    again = notes.with_test_scores(project, by_hand, LEADER, wider).value
    assert again.startswith("Ada: for the meeting of May.\n\n**lightgbm+xgboost** has rmse")
    assert again.endswith("\n\nShe also likes it.")
    assert "rmse 4.4476 [4.2928, 5.0000], the baseline NaN." in again
    assert again.count("**On the test rows**") == 1


def test_a_leader_without_words_gets_the_test_scores_alone(project):
    told = notes.with_test_scores(project, "", LEADER, NUMBERS).value
    assert told.startswith("**On the test rows**: rmse 4.4476 [")


def test_evaluate_lists_every_score_beside_the_baseline(project):
    told = notes.of_evaluate(project, LEADER, LEADS, BASE, uses=0).value
    assert told.split("\n\n") == [
        "**lightgbm+xgboost** has rmse 4.4476 [4.2928, 4.5949] on 14,556 test rows, the baseline"
        " 9.6436.",
        "| score | leader | 95 % interval | baseline |\n| --- | ---: | ---: | ---: |\n"
        "| **rmse** | 4.4476 | [4.2928, 4.5949] | 9.6436 |\n"
        "| r2 | 0.7800 | [0.7700, 0.7900] | -0.0010 |",
        "These rows had judged no other model before. What each gate would say:"
        " `python src promote --dry-run`. Next: `python src promote`.",
    ]
    assert (
        "had judged 2 other models before."
        in notes.of_evaluate(project, LEADER, LEADS, BASE, uses=2).value
    )


def test_promote_says_what_every_gate_said(project):
    told = notes.of_promote(project, DECISION).value
    assert told.split("\n\n") == [
        "**Promoted** as version 1 of `tiny`: rmse 4.4476, no champion yet.",
        "| gate | passed | because |\n| --- | --- | --- |\n"
        "| better_than_baseline | yes | rmse 4.4476, baseline 9.6436 |\n"
        "| recorded_data | yes | data version 6faf |",
        "Every decision: `python src history`. Undo it: `python src rollback --reason …`.",
    ]


def test_a_refusal_has_nothing_to_undo_and_marks_the_gate(project):
    gate = GateResult("recorded_data", False, "data | differ")
    refused = replace(
        DECISION, outcome=Outcome.KEPT, kind=Kind.REFUSE, version=None, gates=(gate,), reason="no"
    )
    told = notes.of_promote(project, refused).value
    assert told.startswith("**Not promoted**: no.\n\n")
    assert "| recorded_data | **no** | data &#124; differ |" in told
    assert "rollback" not in told


def test_the_pipeline_tells_both_scores_and_the_verdict(project):
    told = notes.of_pipeline(project, LEADER, LEADS, DECISION).value
    assert told.split("\n\n")[:2] == [
        "**lightgbm+xgboost**: rmse 4.6122 on validation rows, 4.4476 [4.2928, 4.5949] on test"
        " rows.",
        "**Promoted** as version 1 of `tiny`: rmse 4.4476, no champion yet.",
    ]


def test_commands_name_the_parameter_file_where_it_is_another(tmp_path):
    params = tmp_path / "tips.yaml"
    params.write_text(yaml.safe_dump(tiny_settings()), encoding="utf-8")
    other = Project.open(params)
    for tag in (
        notes.of_train(other, LEADER),
        notes.of_evaluate(other, LEADER, LEADS, BASE, uses=0),
        notes.of_promote(other, DECISION),
        notes.of_pipeline(other, LEADER, LEADS, DECISION),
    ):
        commands = re.findall(r"`(python src [^`]+)`", tag.value)
        assert commands
        assert all(each.endswith(" --params tips.yaml") for each in commands), tag.value

"""Two trainings are compared by what their runs say, and nothing is written to the store."""

import json
import re
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tiny_settings
from mlflow.entities import LoggedModelOutput

from ratchet import lineage, metrics, recorded, tracking
from ratchet.commands import compare, page
from ratchet.commands.changes import Change
from ratchet.commands.comparison import ColumnChange
from ratchet.errors import StoreError
from ratchet.evaluation import paired_difference
from ratchet.model import predict
from ratchet.project import Project
from ratchet.report import pieces
from ratchet.schema import Column, Kind, Schema
from ratchet.steps import evaluate, prepare, promote
from ratchet.steps.train import ROWS_FILE, Leader

NASTY = "a|b <script>alert('x')</script> *c* `d` [e](http://f) _g_"


@pytest.fixture
def runs(project, better):
    """Ids of the linear model's training and of the trees'."""
    return Leader.load(project).run_id, Leader.load(better).run_id


@pytest.fixture
def trained_on(store, runs, tmp_path):
    """Make a run like that of the trees, but for the rows that it says it was trained on."""

    def make(rows):
        run = store.get_run(runs[1])
        copy = store.create_run(run.info.experiment_id, tags=run.data.tags).info.run_id
        for name, value in run.data.params.items():
            store.log_param(copy, name, value)
        store.log_outputs(copy, [LoggedModelOutput(recorded.read(runs[1]).models[-1], 0)])
        leader = recorded.download(runs[1], "leader.json", tmp_path)
        store.log_artifact(copy, str(leader))
        np.save(tmp_path / ROWS_FILE, np.sort(rows))
        store.log_artifact(copy, str(tmp_path / ROWS_FILE))
        return copy

    return make


@pytest.fixture
def made(store, project, tmp_path):
    """Write runs by hand: a training with what is told of it, and those around it."""
    place = store.create_experiment("by hand")

    def log(run_id, name, text, folder=None):
        path = tmp_path / "by hand" / run_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        store.log_artifact(run_id, str(path), folder)

    def make(
        *,
        params=(),
        tags=(),
        metrics=(),
        columns=None,
        rows=(),
        trials=None,
        libraries=None,
        patch=None,
        choices=None,
        evaluated=True,
        **leader,
    ):
        run_id = store.create_run(place, tags={"ratchet.step": "train"}).info.run_id
        tags = {"ratchet.dirty": "false", "ratchet.data_version": "v1", **dict(tags)}
        if columns is not None:
            prepared = store.create_run(place, tags={"ratchet.step": "prepare"}).info.run_id
            tags["ratchet.prepare_run"] = prepared
            schema = Schema(tuple(columns), "price", metric_problem(leader))
            schema.save(tmp_path / "schema.json")
            store.log_artifact(prepared, str(tmp_path / "schema.json"))
            for part, count in dict(rows).items():
                store.log_metric(prepared, f"rows/{part}", count)
        if evaluated:
            judged = store.create_run(place, tags={"ratchet.step": "evaluate"}).info.run_id
            store.set_tag(judged, "ratchet.test_rows", "t1")
            tags["ratchet.evaluate_run"] = judged
        for name, value in tags.items():
            store.set_tag(run_id, name, value)
        for name, value in dict(params).items():
            store.log_param(run_id, name, value)
        for name, value in dict(metrics).items():
            store.log_metric(run_id, name, value)
        said = {"name": "xgboost", "metric": "rmse", "metric_reference": "rmse", "trial": 0}
        log(run_id, "leader.json", json.dumps({**said, "members": [], **leader}))
        if trials is not None:
            trials.to_parquet(tmp_path / "trials.parquet", index=False)
            store.log_artifact(run_id, str(tmp_path / "trials.parquet"))
        if libraries is not None:
            log(run_id, "environment.txt", "\n".join(libraries) + "\n", "lineage")
        if patch is not None:
            log(run_id, "dirty.patch", patch, "lineage")
        if choices is not None:
            log(run_id, "params.yaml", yaml.safe_dump(choices), "lineage")
        return run_id

    return make


def metric_problem(leader):
    from ratchet.problem import ProblemType

    classes = leader.get("metric_reference") in ("roc_auc", "log_loss")
    return ProblemType.BINARY if classes else ProblemType.REGRESSION


def column(name, kind=Kind.NUMBER, dtype="float64", *, optional=False, distinct=9):
    return Column(name, kind, dtype, optional, distinct)


def trial_rows(*families, error=None, scores=None):
    """Lay out a table of trials as train does, one row for each name of a family."""
    scores = scores or [5.0] * len(families)
    errors = error or [None] * len(families)
    return pd.DataFrame(
        {
            "number": range(len(families)),
            "backend": families,
            "family": families,
            "params": "{}",
            "score": [
                nan if failed else score for score, failed in zip(scores, errors, strict=True)
            ],
            "train_score": 4.0,
            "seconds": 1.0,
            "elapsed": 1.0,
            "share": 1.0,
            "cut_short": False,
            "resumed": False,
            "threshold": nan,
            "error": errors,
        }
    ).astype({"error": "str"})


# What changed


def test_only_parameters_that_differ_are_told(project, runs):
    found = compare.read(project, *runs)
    assert found.params == (
        Change("train.families", "['baseline', 'ridge']", "['baseline', 'xgboost']"),
    )
    back = compare.read(project, *reversed(runs))
    assert back.params == (
        Change("train.families", "['baseline', 'xgboost']", "['baseline', 'ridge']"),
    )


def test_the_same_data_is_told_with_its_rows(project, runs):
    data = compare.read(project, *runs).data
    assert data.same
    assert (data.facts, data.columns, data.notes) == ((), (), ())
    assert data.rows[:3] == (("train", 153, 153), ("valid", 39, 39), ("test", 48, 48))


def test_columns_that_were_added_removed_or_are_otherwise_are_told(project, made):
    old = made(
        columns=[column("gone"), column("kind"), column("gaps"), column("same")],
        rows={"train": 100, "test": 20},
    )
    new = made(
        tags={"ratchet.data_version": "v2"},
        columns=[
            column("kind", Kind.CATEGORY, "str"),
            column("gaps", optional=True, distinct=1234),
            column("same"),
            column("come"),
        ],
        rows={"train": 150, "test": 20},
    )
    data = compare.read(project, old, new).data
    assert not data.same
    assert data.facts == (Change("version", "v1", "v2"),)
    assert data.rows == (("train", 100, 150), ("test", 20, 20))
    assert data.columns == (
        ColumnChange("gone", "removed", "number (float64), 9 distinct, none missing", ""),
        ColumnChange("kind", "type", "number (float64)", "category (str)"),
        ColumnChange(
            "gaps", "statistics", "9 distinct, none missing", "1,234 distinct, some missing"
        ),
        ColumnChange("come", "added", "", "number (float64), 9 distinct, none missing"),
    )


def test_without_a_preparation_rows_and_columns_come_from_the_inputs(project, runs, store):
    for run_id in runs:
        store.delete_tag(run_id, "ratchet.prepare_run")
    data = compare.read(project, *runs).data
    assert data.rows == (("train", 153, 153), ("valid", 39, 39), ("test", 48, 48))
    assert data.columns == ()
    assert data.notes[0] == (
        "The run of A names no preparation, so that the statistics of its columns are not known."
    )


def test_commits_are_told_with_the_files_between_them(project, made, git):
    git(project.root, "init", "--quiet")
    commits = []
    for text in ("one\n", "one\ntwo\n"):
        (project.root / "code.py").write_text(text)
        git(project.root, "add", "code.py")
        git(project.root, "commit", "--quiet", "--message", "step")
        commits.append(git(project.root, "rev-parse", "HEAD").strip())
    old, new = (made(tags={"mlflow.source.git.commit": commit}) for commit in commits)
    code = compare.read(project, old, new).code
    assert (code.old, code.new, code.same) == (*commits, False)
    assert (code.between.ahead, code.between.behind, code.between.reason) == (1, 0, "")
    assert code.between.files == (lineage.FileChange("code.py", 1, 0),)
    text = page.markdown(compare.read(project, old, new))
    assert f"Commit {commits[0][:12]} and {commits[1][:12]}: B is 1 commit later." in text
    assert "| code.py | +1 −0 |" in text  # noqa: RUF001
    assert "B is 1 commit earlier." in page.markdown(compare.read(project, new, old))
    same = compare.read(project, new, made(tags={"mlflow.source.git.commit": commits[1]})).code
    assert same.same and same.between is None


def test_a_commit_that_this_checkout_has_not_is_told(project, made, git):
    git(project.root, "init", "--quiet")
    old, new = (made(tags={"mlflow.source.git.commit": each * 40}) for each in "ab")
    code = compare.read(project, old, new).code
    assert code.between.reason == f"this checkout has no commit {'a' * 12}"
    assert "what lies between them is not known here" in page.markdown(
        compare.read(project, old, new)
    )


def test_uncommitted_changes_are_told_by_file(project, made):
    patch = (
        "diff --git a/src/x.py b/src/x.py\n--- a/src/x.py\n+++ b/src/x.py\n@@ -1 +1,2 @@\n a\n+b\n"
    )
    dirty = {"tags": {"ratchet.dirty": "true", "mlflow.source.git.commit": "a" * 40}}
    old, new, lost = made(patch=patch, **dirty), made(patch=patch, **dirty), made(**dirty)
    code = compare.read(project, old, new).code
    assert [(each.letter, each.kept, each.files) for each in code.patches] == [
        (letter, True, (lineage.FileChange("src/x.py", 1, 0),)) for letter in "AB"
    ]
    assert code.same_patch and code.same
    told = "Both ran with the same uncommitted changes: src/x.py (+1 −0)."  # noqa: RUF001
    assert told in page.markdown(compare.read(project, old, new))
    other = compare.read(project, old, lost).code
    assert not other.same_patch and not other.same
    text = page.markdown(compare.read(project, old, lost))
    assert "A ran with uncommitted changes: src/x.py (+1 −0)." in text  # noqa: RUF001
    assert "B ran with uncommitted changes: the run holds no patch." in text


def test_without_git_the_code_is_not_called_the_same(project, runs):
    code = compare.read(project, *runs).code
    assert not code.same
    assert code.notes[0].startswith("What code A ran is not known for sure: ")
    assert code.notes[0].endswith("is in no git repository.")


def test_libraries_lock_and_machine_that_differ_are_told(project, made):
    old = made(
        tags={
            "ratchet.lock_digest": "1111",
            "ratchet.hardware.python": "3.11.7",
            "ratchet.hardware.cpu": "small",
        },
        libraries=["aaa==1.0", "gone==3.0", "numpy==2.4.0", "same==1.0"],
    )
    new = made(
        tags={
            "ratchet.lock_digest": "2222",
            "ratchet.hardware.python": "3.12.1",
            "ratchet.hardware.cpu": "small",
        },
        libraries=["aaa==1.1", "come==0.1", "numpy==2.4.6", "same==1.0"],
    )
    found = compare.read(project, old, new).environment
    assert found.lock == Change("lock", "1111", "2222")
    assert found.machine == (Change("Python", "3.11.7", "3.12.1"),)
    # What can change a result comes first.
    assert found.libraries == (
        Change("numpy", "2.4.0", "2.4.6"),
        Change("aaa", "1.0", "1.1"),
        Change("come", None, "0.1"),
        Change("gone", "3.0", None),
    )
    assert found.n_libraries == 5
    text = page.markdown(compare.read(project, old, new))
    assert "| gone | 3.0 | not installed |" in text
    assert "4 of 5 libraries differ." in text


def test_the_same_environment_is_told_in_a_line(project, runs):
    found = compare.read(project, *runs).environment
    assert (found.lock, found.libraries, found.machine) == (None, (), ())
    assert found.n_libraries > 50


# What happened


def test_scores_are_those_of_mlflow_with_the_sign_of_their_own_direction(project, runs, store):
    found = compare.read(project, *runs)
    a, b = (store.get_run(run_id).data.metrics for run_id in runs)
    lines = {line.name: line for line in found.scores}
    assert found.scores[0].name == "test/rmse"
    for name, line in lines.items():
        assert (line.a, line.b) == pytest.approx(
            (a.get(name, nan), b.get(name, nan)), nan_ok=True, abs=0
        )
        for end in ("low", "high"):
            for side, numbers in (("a", a), ("b", b)):
                value = getattr(line, f"{side}_{end}")
                told = numbers.get(f"{name}_{end}", nan)
                assert value == told or (isnan(value) and isnan(told))
    assert lines["test/rmse"].better_by == a["test/rmse"] - b["test/rmse"] > 0
    assert lines["test/r2"].better_by == b["test/r2"] - a["test/r2"] > 0
    assert {"valid/rmse", "train/rmse", "baseline/valid/rmse", "baseline/test/rmse"} <= set(lines)
    assert lines["test/rmse"].overlap is True
    assert lines["baseline/test/rmse"].overlap is True
    assert lines["valid/rmse"].overlap is None


def test_the_page_shows_the_numbers_of_mlflow(project, runs, store):
    found = compare.read(project, *runs)
    a, b = (store.get_run(run_id).data.metrics for run_id in runs)
    text = page.markdown(found)
    for line in found.scores:
        [row] = re.findall(rf"^\| {line.name} \|(.*)\|$", text, re.M)
        shown = [float(each.replace(",", "")) for each in re.findall(r"-?[\d,]+\.\d+", row)]
        expected = [
            numbers[name]
            for numbers in (a, b)
            for name in (line.name, f"{line.name}_low", f"{line.name}_high")
            if name in numbers
        ]
        if not isnan(line.better_by):
            expected.append(line.better_by)
        assert shown == pytest.approx(expected, rel=5e-3, abs=5e-3), line.name


def test_a_score_whose_better_way_is_not_known_has_no_difference(project, made):
    old = made(metrics={"test/clicks": 3.0}, columns=[column("x")])
    new = made(metrics={"test/clicks": 5.0, "test/rmse": 1.0}, columns=[column("x")])
    lines = {line.name: line for line in compare.read(project, old, new).scores}
    assert (lines["test/clicks"].a, lines["test/clicks"].b) == (3.0, 5.0)
    assert isnan(lines["test/clicks"].better_by)
    assert isnan(lines["test/rmse"].a) and isnan(lines["test/rmse"].better_by)


def test_the_paired_difference_is_the_fair_test_on_the_same_rows(project, better, runs):
    found = compare.read(project, *runs).paired
    schema = Schema.load(project.prepared / "schema.json")
    rows = prepare.read_part(project, "test")
    linear, trees = (
        predict(tracking.load_model(str(each.trained / "model")), rows, schema)
        for each in (project, better)
    )
    rules = project.settings.promote
    expected = paired_difference(
        metrics.default(schema.problem),
        evaluate.truth(project, schema, rows),
        trees,
        linear,
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=project.settings.seed,
        clusters=prepare.clusters_of(rows),
    )
    assert (found.gain, found.low, found.high) == (expected.gain, expected.low, expected.high)
    assert (found.a, found.b) == (expected.champion, expected.challenger)
    assert (found.metric, found.n_rows, found.n_left_out) == ("rmse", 48, 0)


def test_the_paired_difference_is_the_one_that_promotion_decides_by(project, better, runs):
    promote.run(project)
    reason = promote.run(better, dry_run=True).reason
    numbers = re.search(r"gain ([\d.-]+) \[([\d.-]+), ([\d.-]+)\]", reason).groups()
    found = compare.read(project, "tiny@champion", runs[1])
    assert (found.a.label, found.b.label) == ("tiny/1", f"run {runs[1][:8]}")
    assert [found.paired.gain, found.paired.low, found.paired.high] == pytest.approx(
        [float(each) for each in numbers], abs=1e-3
    )
    assert found.verdict.better == "B" and found.verdict.sure
    assert f"B gains {found.paired.gain:.3f} [{found.paired.low:.3f}, " in found.verdict.told


def test_swapping_the_two_mirrors_the_difference_and_keeps_the_answer(project, runs):
    there, back = compare.read(project, *runs), compare.read(project, *reversed(runs))
    assert (back.paired.gain, back.paired.low) == (-there.paired.gain, -there.paired.high)
    assert (there.verdict.better, back.verdict.better) == ("B", "A")
    gained = there.verdict.told.partition("B gains ")[2]
    assert gained and back.verdict.told.endswith(f"A gains {gained}")


def test_rows_that_either_was_trained_on_are_left_out(project, runs, trained_on):
    rows = prepare.read_part(project, "test")[prepare.ROW].to_numpy()
    found = compare.read(project, runs[0], trained_on(rows[:10]))
    assert found.not_paired == ""
    assert (found.paired.n_rows, found.paired.n_left_out) == (38, 10)
    assert "trained on; 10 were left out:" in page.markdown(found)
    found = compare.read(project, trained_on(rows[:40]), runs[0])
    assert found.paired is None
    assert found.not_paired == (
        "8 of 48 test rows are new to both, and promote.min_rows asks for 20"
    )


def other_rows(project, store, runs):
    run_id = store.get_run(runs[1]).data.tags["ratchet.evaluate_run"]
    store.set_tag(run_id, "ratchet.test_rows", "0123")


def not_evaluated(project, store, runs):
    store.delete_tag(runs[0], "ratchet.evaluate_run")


def rows_gone(project, store, runs):
    (project.prepared / "test.parquet").unlink()


def rows_changed(project, store, runs):
    path = project.prepared / "test.parquet"
    pd.read_parquet(path).head(30).to_parquet(path)


def column_changed(project, store, runs):
    path = project.prepared / "schema.json"
    schema = Schema.load(path)
    replace(
        schema,
        columns=tuple(
            replace(each, kind=Kind.TEXT) if each.name == "town" else each
            for each in schema.columns
            if each.name != "rooms"
        ),
    ).save(path)


def model_gone(project, store, runs):
    store.delete_logged_model(recorded.read(runs[1]).models[-1])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (other_rows, "they were judged on different test rows"),
        (not_evaluated, "A has not been evaluated"),
        (rows_gone, "the test rows are not at hand: .*test.parquet is not there. Run the step"),
        (rows_changed, ".*test.parquet holds other test rows than they were judged on; prepare"),
        (column_changed, "A reads the column town as category .*rows at hand have it as text"),
        (model_gone, "the model of B can't be asked again: StoreError: "),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_where_the_two_can_not_be_paired_the_reason_is_told(project, runs, store, spoil, reason):
    spoil(project, store, runs)
    found = compare.read(project, *runs)
    assert found.paired is None and found.slices is None
    assert re.match(reason, found.not_paired), found.not_paired
    assert found.not_sliced == found.not_paired
    shown = re.search(r"^Not compared row by row: (.*)\.$", page.markdown(found), re.M)
    assert shown


def test_unpaired_intervals_on_the_same_rows_still_tell_who_is_better(project, runs, store):
    rows_gone(project, store, runs)
    found = compare.read(project, *runs).verdict
    assert (found.better, found.sure) == ("B", False)
    assert re.fullmatch(
        r"test/rmse [\d.]+ for A and [\d.]+ for B: B is better by [\d.]+; the intervals overlap\.",
        found.told,
    )
    store.log_metric(runs[1], "test/rmse_high", store.get_run(runs[1]).data.metrics["test/rmse"])
    found = compare.read(project, *runs)
    assert found.scores[0].overlap is False
    assert (found.verdict.better, found.verdict.sure) == ("B", True)
    assert found.verdict.told.endswith("; the intervals do not overlap.")


def test_on_different_rows_no_difference_is_sure(project, runs, store):
    other_rows(project, store, runs)
    found = compare.read(project, *runs)
    assert (found.verdict.better, found.verdict.sure) == ("B", False)
    assert found.verdict.told.endswith(", but they were judged on different test rows.")
    assert any("judged on different test rows" in note for note in found.notes)


def test_without_test_scores_validation_is_looked_at_and_said_to_be(project, made):
    old, new = (
        made(evaluated=False, metrics={"valid/rmse": score}, columns=[column("x")])
        for score in (3.0, 4.0)
    )
    found = compare.read(project, old, new)
    assert (found.verdict.better, found.verdict.sure) == ("A", False)
    assert found.verdict.told == (
        "valid/rmse 3.0000 for A and 4.0000 for B: A is better by 1.0000, on the validation rows,"
        " by which it was chosen."
    )
    assert [note for note in found.notes if "has not been evaluated" in note] == [
        f"{letter} has not been evaluated, so that it has no scores on test rows."
        for letter in "AB"
    ]


def test_scores_of_different_problems_or_metrics_are_not_weighed(project, made):
    linear = made(metrics={"test/rmse": 1.0}, columns=[column("x")])
    classes = made(
        metrics={"test/roc_auc": 0.9}, columns=[column("x")], metric="roc_auc",
        metric_reference="roc_auc",
    )  # fmt: skip
    mae = made(
        metrics={"test/mae": 1.0, "test/rmse": 2.0}, columns=[column("x")], metric="mae",
        metric_reference="mae",
    )  # fmt: skip
    found = compare.read(project, linear, classes)
    assert found.verdict.better is None
    assert found.data.facts == (Change("problem", "regression", "binary"),)
    other = compare.read(project, linear, mae)
    assert other.verdict.told == "A optimised rmse, B mae: see the scores."
    assert {line.name: line.better_by for line in other.scores}["test/rmse"] == -1.0


def test_a_run_compared_with_itself_has_no_difference(project, runs):
    found = compare.read(project, runs[0], runs[0])
    assert found.params == () and found.data.same
    assert found.not_paired == "A and B are the same run"
    assert found.verdict.better is None
    assert found.notes == ("A and B are the same run.",)


# Slices


def test_without_declared_slices_the_columns_of_labels_are_cut(project, runs):
    sliced = Project.open(project.params_file, ["promote.slices.min_rows=5"])
    found = compare.read(sliced, *runs).slices
    assert (found.columns, found.declared) == (("town",), False)
    assert (found.n_slices, found.n_small, found.min_rows) == (3, 1, 5)
    assert {line.label for line in found.lines} == {"Aachen", "Berlin", "Cottbus"}
    assert [line.gain for line in found.lines] == sorted(line.gain for line in found.lines)
    worst = {letter: max(found.lines, key=lambda line: getattr(line, letter)) for letter in "ab"}
    for letter, line in worst.items():
        assert letter.upper() in line.worst_of
    for line in found.lines:
        assert line.a_low <= line.a <= line.a_high
        assert line.low <= line.gain <= line.high
        assert line.gain == pytest.approx(line.a - line.b)
    assert 48 - 5 < sum(line.n_rows for line in found.lines) < 48


def test_declared_slices_are_the_ones_of_the_project(project, runs):
    sets = ["promote.slices={columns: [size], quantiles: 2, min_rows: 5}"]
    found = compare.read(Project.open(project.params_file, sets), *runs).slices
    assert (found.columns, found.declared, found.n_slices) == (("size",), True, 2)


def test_slices_that_are_too_small_or_name_no_feature_are_told(project, runs):
    assert compare.read(project, *runs).not_sliced == (
        "none of 4 slices by town has 100 rows, as promote.slices.min_rows asks"
    )
    sets = ["promote.slices.columns=[twon]"]
    found = compare.read(Project.open(project.params_file, sets), *runs)
    assert "did you mean 'town'?" in found.not_sliced
    assert found.paired is not None


# The searches


def test_searches_are_told_by_family_with_their_members(project, better, runs):
    first, second = compare.read(project, *runs).searches
    assert (first.letter, first.trials, first.failed) == ("A", 3, 0)
    assert [(each.family, each.trials) for each in first.families] == [
        ("ridge", 2),
        ("baseline", 1),
    ]
    assert [each.family for each in second.families] == ["xgboost", "baseline"]
    [member] = second.members
    leader = Leader.load(better)
    assert (member.name, member.weight, member.trial) == ("xgboost", 1.0, leader.trial + 1)
    assert json.loads(member.params) == leader.params
    assert first.seconds == Leader.load(project).seconds


def test_failed_trials_are_grouped_by_reason_whatever_its_numbers(project, made):
    errors = [None, "ValueError: 3 is too deep", "ValueError: 17.5 is too deep", None, "boom"]
    trials = trial_rows("ridge", "forest", "mlp", "forest", "forest", error=errors)
    run_id = made(trials=trials, columns=[column("x")])
    found = compare.read(project, run_id, run_id).searches[0]
    assert (found.trials, found.failed) == (5, 3)
    assert [(each.reason, each.families) for each in found.failures] == [
        ("ValueError: 3 is too deep", (("forest", 1), ("mlp", 1))),
        ("boom", (("forest", 1),)),
    ]
    text = page.markdown(compare.read(project, run_id, run_id))
    assert "| A | 1 forest, 1 mlp | ValueError: 3 is too deep |" in text


# The next experiment


def test_the_next_experiment_comes_from_the_better_ones_search(project, runs):
    for order, letter in ((runs, "B"), (runs[::-1], "A")):
        found = compare.read(project, *order).experiment
        assert found.of == letter
        assert found.advice.rule == "starved"
        assert found.advice.because.startswith("xgboost leads with 2 of 3 trials")
        assert found.command == (
            "python src run --params better.yaml --set train.search.max_trials=12"
        )


def test_the_command_repeats_the_overrides_of_the_run(project, runs, store):
    store.set_tag(runs[1], "ratchet.overrides", "seed=3 data.drop=[dear]")
    found = compare.read(project, *runs).experiment
    assert found.command == (
        "python src run --params better.yaml --set seed=3 --set 'data.drop=[dear]'"
        " --set train.search.max_trials=12"
    )
    store.set_tag(runs[1], "ratchet.overrides", "train.search.max_trials=3 data.filter=size > 1")
    assert compare.read(project, *runs).experiment.command == (
        "python src run --params better.yaml --set 'data.filter=size > 1'"
        " --set train.search.max_trials=12"
    )


def test_advice_that_the_settings_do_not_allow_is_passed_over(project, made):
    """The best family is no backend's, so that nothing can be fixed for it."""
    trials = trial_rows("baseline", *["ghost"] * 9, scores=[10.0, *np.linspace(7, 5.0, 9)])
    trials["params"] = '{"max_depth": 8}'
    run_id = made(
        trials=trials,
        columns=[column("x")],
        metrics={"train/rmse": -9.0, "valid/rmse": 5.0, "baseline/valid/rmse": 10.0},
        choices=tiny_settings(),
        trial=9,
    )
    found = compare.read(project, run_id, run_id).experiment
    assert found.advice.rule == "improving"


def test_without_settings_nothing_is_advised(project, made):
    run_id = made(trials=trial_rows("ridge"), columns=[column("x")])
    found = compare.read(project, run_id, run_id)
    assert found.experiment is None
    assert "None: no run of the two holds a search" in page.markdown(found)


# Any run


def test_a_run_of_another_project_is_compared_as_far_as_it_goes(project, runs, store):
    other = store.create_run(store.create_experiment("other"), tags={"team": "x"}).info.run_id
    store.log_param(other, "alpha", 0.1)
    store.log_metric(other, "test/rmse", 3.0)
    model = store.create_logged_model(store.get_run(other).info.experiment_id, "m", other)
    store.log_outputs(other, [LoggedModelOutput(model.model_id, 0)])
    found = compare.read(project, other, runs[1])
    assert Change("alpha", "0.1", None) in found.params
    assert found.verdict.better is None
    assert found.not_paired == "A has not been evaluated"
    assert found.scores[0].name == "test/rmse" and found.scores[0].a == 3.0
    assert [each.letter for each in found.searches] == ["B"]
    assert "The run of A holds no trials." in found.notes
    assert "| test/rmse | 3.000 |" in page.markdown(found)
    assert "<td>0.1</td>" in re.sub(' (role|data-head)="[^"]*"', "", page.as_html(found))


def test_every_run_of_a_pipeline_stands_for_its_training(project, runs, store):
    judged = store.get_run(runs[1]).data.tags["ratchet.evaluate_run"]
    found = compare.read(project, runs[0], judged)
    assert (found.b.run_id, found.b.through, found.b.asked) == (runs[1], "evaluate", judged)
    assert f"{runs[1]}, by way of its evaluate run" in page.markdown(found)


def test_nothing_is_written_to_the_store(made_once, project, runs, tmp_path):
    def content():
        with sqlite3.connect(tmp_path / "mlflow.db") as store:
            rows = "\n".join(store.iterdump())
        folders = [each for each in (made_once / "mlruns", project.root) if each.is_dir()]
        files = {
            path: path.read_bytes()
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return rows, files

    before = content()
    compare.read(project, *runs)
    assert content() == before


# Pages


class Tags(HTMLParser):
    """Collects the tags of a page, and complains about one that is left open."""

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_html_page_stands_alone_and_runs_nothing(project, runs):
    html = page.as_html(compare.read(project, *runs))
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    names = {name for name, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe", "object"}
    attributes = {name for _, given in tags.seen for name in given}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"src", "href"}
    assert "url(" not in html and "@import" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_markdown_and_html_say_the_same_words(project, runs):
    found = compare.read(project, *runs)
    shown = page.page(found)
    markdown, html = page.markdown(found), page.as_html(found)
    tables = [block.table for section in shown.sections for block in section.blocks if block.table]
    words = [
        *(cell.text for table in tables for row in table.rows for cell in row.cells),
        *(line for section in shown.sections for block in section.blocks for line in block.lines),
        shown.told,
    ]
    from markupsafe import escape

    for text in words:
        assert pieces.escaped(text) in markdown
        assert str(escape(text)) in html


def test_every_table_of_the_markdown_is_whole(project, runs):
    lines = page.markdown(compare.read(project, *runs)).splitlines()
    width = 0
    for line in lines:
        if line.startswith("|"):
            cells = line.count("|")
            assert width in (0, cells), line
            width = cells
        else:
            width = 0


def test_names_with_markup_in_them_are_shown_as_they_are(project, made):
    old = made(
        params={"data.target": NASTY},
        tags={"ratchet.code_reason": NASTY, "ratchet.dirty": "unknown"},
        columns=[column(NASTY)],
        libraries=[f"{NASTY}==1"],
        trials=trial_rows(NASTY, NASTY, error=[NASTY, None]),
        name=NASTY,
        members=[{"name": NASTY, "weight": 1, "trial": 0, "params": {NASTY: NASTY}}],
        choices=tiny_settings(data__target="price"),
    )
    found = compare.read(project, old, made(params={"data.target": "y"}, columns=[column("x")]))
    markdown, html = page.markdown(found), page.as_html(found)
    for text in (markdown, html):
        assert "<script" not in text
        assert "alert(" in text
    assert "[e](" not in markdown
    assert re.search(r"(?<!\\)[`*]", markdown.replace("**", "")) is None
    assert "a&#124;b &lt;script&gt;" in markdown
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    for row in re.findall(r"^\|.*\|$", markdown, re.M):
        assert row.count("|") in range(3, 12)


def test_a_command_with_backticks_stays_in_its_block(project, runs, store):
    store.set_tag(runs[1], "ratchet.overrides", "seed=3 name=```")
    text = page.markdown(compare.read(project, *runs))
    assert "````sh\npython src run" in text
    assert text.rstrip().endswith("\n````")


def test_long_tables_are_cut_and_say_so(project, made):
    old, new = (
        made(libraries=[f"lib{number:03}=={version}" for number in range(60)]) for version in "12"
    )
    found = compare.read(project, old, new)
    assert len(found.environment.libraries) == 60
    text = page.markdown(found)
    assert text.count("| lib0") == pieces.MOST_LINES
    assert "20 more; `--json` has them all." in text


# The command line


def test_the_command_prints_markdown_and_writes_a_page(project, runs, call, tmp_path, monkeypatch):
    monkeypatch.chdir(project.root)
    target = tmp_path / "pages" / "comparison.html"
    code, out, err = call("compare", *runs, "--html", target)
    assert (code, err) == (0, "")
    assert out.startswith(f"# run {runs[0][:8]} → run {runs[1][:8]}\n\n**B is better.** rmse ")
    assert out.endswith("```\n")
    assert "<!DOCTYPE html>" in target.read_text(encoding="utf-8")


def test_the_command_prints_json_for_machines(project, runs, call, monkeypatch):
    monkeypatch.chdir(project.root)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    code, out, _ = call("compare", *runs, "--json", "--set", "promote.slices.min_rows=5")
    told = json.loads(out, parse_constant=refuse)
    assert code == 0
    assert told["verdict"]["better"] == "B"
    assert told["paired"]["gain"] == told["scores"][0]["better_by"]
    assert told["experiment"]["advice"]["overrides"] == ["train.search.max_trials=12"]
    assert told["slices"]["columns"] == ["town"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0" * 32, "has no run"),
        ("tiny/1", "The registry has no tiny/1."),
        ("nonsense", "'nonsense' names no run and no version."),
    ],
)
def test_an_unknown_reference_is_a_mistake(project, runs, call, monkeypatch, text, message):
    monkeypatch.chdir(project.root)
    code, out, err = call("compare", runs[0], text)
    assert (code, out) == (2, "")
    assert err.startswith("StoreError: ") and message in err


def test_a_run_without_a_training_is_a_mistake(project, runs, store):
    prepared = store.get_run(runs[0]).data.tags["ratchet.prepare_run"]
    with pytest.raises(StoreError, match="belongs to no training"):
        compare.read(project, prepared, runs[1])
    foreign = store.create_run(store.create_experiment("foreign")).info.run_id
    with pytest.raises(StoreError, match="has no model, and belongs to no training"):
        compare.read(project, foreign, runs[1])

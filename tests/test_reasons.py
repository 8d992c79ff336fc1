"""evaluate looks for reasons and weaknesses on the rows of a project."""

from dataclasses import replace

import numpy as np
import pytest

from ratchet import explanation, model
from ratchet.metrics import named
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.schema import Schema
from ratchet.serving import models
from ratchet.steps import diagnosis, evaluate, prepare, reasons, reports
from ratchet.steps.diagnosis import Subject
from ratchet.steps.train import Leader


@pytest.fixture
def subject(project):
    """What evaluate hands over, of the linear model on the tiny table."""
    schema = Schema.load(project.prepared / "schema.json")
    rows = prepare.read_part(project, "test")
    leader = Leader.load(project)
    ours, constant = (
        models.load(project, str(project.trained / each)) for each in ("model", "baseline")
    )
    y = evaluate.truth(project, schema, rows)
    predicted, trivial = (model.predict(each, rows, schema) for each in (ours, constant))
    ours_scored, base = (
        evaluate.judge(project, schema, y, each, rows) for each in (predicted, trivial)
    )
    return Subject(
        project=project,
        schema=schema,
        leader=leader,
        metric=named(leader.metric, schema.problem),
        model=ours,
        baseline=constant,
        rows=rows,
        y=y,
        predicted=predicted,
        trivial=trivial,
        scores=ours_scored,
        trivial_scores=base,
        test=prepare.test_digest(rows),
        n_test=len(rows),
    )


def test_what_drives_the_leader_and_where_it_fails_is_found(subject, monkeypatch):
    monkeypatch.setattr(explanation, "installed", lambda: False)
    found = diagnosis.of(subject)
    first, second, *others = (column.name for column in found.importance.columns)
    assert {first, second} == {"size", "town"}
    assert set(others) == {"rooms", "sold"}
    assert found.importance.seen
    assert found.importance.test_score == pytest.approx(
        np.sqrt(((subject.predicted.values - subject.y) ** 2).mean())
    )
    assert found.importance.n_valid == len(subject.valid)
    assert found.dependence.panels[0].name == first
    assert found.explanation is None
    worst = found.weaknesses.rows[0]
    assert worst.loss == pytest.approx(np.abs(subject.predicted.values - subject.y).max())
    assert worst.values[0][0] == first
    # Of what it costs the times are measured, which are never the same.
    again = diagnosis.of(subject)
    assert replace(found, trade_off=None) == replace(again, trade_off=None)


def test_a_leader_without_a_fit_on_the_validation_rows_has_not_seen_them(subject):
    few = replace(subject.leader, n_rows=len(subject.train))
    assert not reasons.of(replace(subject, leader=few)).importance.seen


@pytest.mark.skipif(not explanation.installed(), reason="the extra explain (shap) is not installed")
def test_with_the_extra_the_worst_rows_have_their_reasons(subject):
    found = reasons.of(subject)
    numbers = [row.number for row in found.explanation.rows]
    assert numbers[:5] == [row.number for row in found.weaknesses.rows[:5]]
    for row in found.explanation.rows:
        assert row.answer == pytest.approx(subject.predicted.values[row.number - 1])


def test_evaluate_writes_the_facts_where_a_report_is_wanted(project):
    params = project.root / "params.yaml"
    params.write_text(params.read_text().replace("report: false", "report: true"))
    evaluate.run(Project.open(params))
    found = Facts.load(project.evaluated / reports.FOLDER)
    assert found.importance.columns
    assert found.dependence.panels
    assert found.weaknesses.rows

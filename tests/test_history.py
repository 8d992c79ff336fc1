"""history says who decided what and when, what served at any moment, and whether that is true."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone

import mlflow
import pytest

from ratchet import cost, tracking
from ratchet.commands import history
from ratchet.commands.history import History
from ratchet.errors import RatchetError
from ratchet.project import Project
from ratchet.registry import ledger as ledger_module
from ratchet.registry.ledger import Kind, Ledger
from ratchet.steps import promote

FIRST, SECOND, THIRD = (f"2026-05-0{day}T10:00:00.000+00:00" for day in (1, 2, 3))


@pytest.fixture
def project(evaluated, monkeypatch):
    """A linear model, which nobody has judged yet."""
    monkeypatch.setattr(cost, "_SECONDS", 0.01)
    opened = Project.open(evaluated)
    tracking.connect(opened)
    return opened


@pytest.fixture
def told(project, monkeypatch):
    """Three decisions on three days: a champion, another one, and a refusal."""
    days = iter((FIRST, SECOND, THIRD))
    ledger = Ledger.open(project.settings, tracking.experiment(project))
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "_now", lambda last: next(days))
        for kind, run_id, before, version, reason in (
            (Kind.PROMOTE, "r1", None, 1, "rmse 4.0, no champion yet"),
            (Kind.FORCE, "r2", 1, 2, "the [old] one fails"),
            (Kind.REFUSE, "r3", 2, None, "rmse 5.0, champion 4.0"),
        ):
            ledger.begin(
                kind=kind,
                after=ledger.lines(),
                run_id=run_id,
                before=before,
                version=version,
                reason=reason,
                basis="b",
                evidence={"score": 4.0},
                tags={},
            )
    return ledger.lines()


@pytest.fixture
def history_of(project, call):
    """Call ``ratchet history …`` on the project."""
    return lambda *arguments: call("history", "--params", project.params_file, *arguments)


def alter_evidence(line, tmp_path):
    """Change the evidence of a line as somebody with access to the artifacts could."""
    path = tmp_path / ledger_module.EVIDENCE
    path.write_text("{}")
    mlflow.MlflowClient().log_artifact(line.decision_run, str(path))


# Read


def test_before_any_decision_the_history_is_empty(project, store):
    before = [each.name for each in store.search_experiments()]
    assert history.read(project) == History("tiny", (), None, None, None)
    asked = history.read(project, at="2026-05-01", verify=True)
    assert (asked.lines, asked.served, asked.faults) == ((), None, ())
    assert [each.name for each in store.search_experiments()] == before


def test_the_lines_are_those_of_the_ledger(project, told):
    found = history.read(project)
    assert found == History("tiny", told)
    assert [line.at for line in found.lines] == [FIRST, SECOND, THIRD]


def test_a_real_promotion_is_in_the_history(project):
    decision = promote.run(project)
    [line] = history.read(project).lines
    assert (line.number, line.kind, line.champion) == (1, Kind.PROMOTE, decision.version)
    assert (line.run_id, line.reason, line.at) == (
        decision.run_id,
        decision.reason,
        decision.decided_at,
    )


# What served


@pytest.mark.parametrize(
    ("at", "moment", "served"),
    [
        ("2026-04-30", datetime(2026, 4, 30, 23, 59, 59, 999999, UTC), None),
        ("2026-05-01", datetime(2026, 5, 1, 23, 59, 59, 999999, UTC), 1),
        ("20260501", datetime(2026, 5, 1, 23, 59, 59, 999999, UTC), 1),
        ("2026-05-01T09:59:59", datetime(2026, 5, 1, 9, 59, 59, tzinfo=UTC), None),
        ("2026-05-01T10:00:00", datetime(2026, 5, 1, 10, tzinfo=UTC), 1),
        ("2026-05-02 10:00", datetime(2026, 5, 2, 10, tzinfo=UTC), 2),
        ("2026-05-02T11:59+02:00", datetime(2026, 5, 2, 9, 59, tzinfo=UTC), 1),
        ("2026-05-02T12:00+02:00", datetime(2026, 5, 2, 10, tzinfo=UTC), 2),
        ("2026-05-02T10:00Z", datetime(2026, 5, 2, 10, tzinfo=UTC), 2),
        ("2026-05-03", datetime(2026, 5, 3, 23, 59, 59, 999999, UTC), 2),
    ],
)
def test_a_day_means_its_end_and_a_time_without_a_zone_is_in_utc(project, told, at, moment, served):
    found = history.read(project, at=at)
    assert found.at == moment
    assert (found.served.champion if found.served else None) == served


def test_a_moment_keeps_the_zone_it_was_asked_in(project, told):
    found = history.read(project, at="2026-05-02T12:00+02:00")
    assert found.at.tzinfo == timezone(timedelta(hours=2))
    assert found.plain()["at"] == "2026-05-02T12:00:00+02:00"


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01", "01.05.2026", ""])
def test_a_moment_that_can_not_be_read_is_told(project, at):
    with pytest.raises(RatchetError) as error:
        history.read(project, at=at)
    assert str(error.value) == (
        "--at must be a day or a moment in ISO 8601, such as 2026-05-01 or"
        f" 2026-05-01T12:00+02:00, got {at!r}."
    )


# Whether it is true


def test_a_ledger_that_nobody_touched_has_no_faults(project, told):
    assert history.read(project).faults is None
    assert history.read(project, verify=True).faults == ()


def test_altered_evidence_is_a_fault(project, told, tmp_path):
    alter_evidence(told[1], tmp_path)
    assert history.read(project, verify=True).faults == (
        "line 2: its evidence decision.json was altered",
    )


# For machines


def test_the_plain_values_survive_json(project, told):
    found = history.read(project, at="2026-05-01", verify=True)
    plain = found.plain()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == ["model", "lines", "at", "served", "faults", "signatures"]
    assert plain["served"] == plain["lines"][0]
    assert plain["faults"] == []
    for line, value in zip(told, plain["lines"], strict=True):
        assert value == {**asdict(line), "champion": line.champion, "digest": line.digest}
    assert plain["lines"][1]["previous"] == plain["lines"][0]["digest"]


def test_what_was_not_asked_for_is_not_in_the_plain_values(project, told):
    assert list(history.read(project).plain()) == ["model", "lines"]
    assert history.read(project, at="2026-04-01").plain()["served"] is None


def test_json_prints_the_plain_values_and_nothing_else(project, told, history_of):
    code, out, err = history_of("--json", "--at", "2026-05-01", "--verify")
    assert (code, err) == (0, "")
    assert json.loads(out) == history.read(project, at="2026-05-01", verify=True).plain()


# For people


def test_the_table_has_a_row_for_every_line(project, told, history_of):
    code, out, err = history_of()
    assert (code, err) == (0, "")
    heading, *rows = (line.split() for line in out.splitlines())
    assert heading == ["line", "when", "who", "what", "from", "to", "why"]
    who = told[0].who
    assert rows == [
        ["1", FIRST[:19], who, "promote", "1", "rmse", "4.0,", "no", "champion", "yet"],
        ["2", SECOND[:19], who, "force", "1", "2", "the", "[old]", "one", "fails"],
        ["3", THIRD[:19], who, "refuse", "2", "rmse", "5.0,", "champion", "4.0"],
    ]


def test_the_champion_of_a_moment_is_told_in_a_sentence(project, told, history_of):
    code, out, _ = history_of("--at", "2026-05-02T12:00+02:00")
    assert code == 0
    assert out == (
        "Version 2 of tiny served at 2026-05-02T12:00:00+02:00: line 2,"
        f" force on {SECOND} by {told[1].who}: the [old] one fails\n"
    )
    code, out, _ = history_of("--at", "2026-04-30")
    assert code == 0
    assert out == "No version of tiny was the champion at 2026-04-30T23:59:59+00:00.\n"


def test_a_bad_moment_is_a_mistake(history_of):
    code, out, err = history_of("--at", "yesterday")
    assert (code, out) == (2, "")
    assert err == (
        "RatchetError: --at must be a day or a moment in ISO 8601, such as 2026-05-01 or"
        " 2026-05-01T12:00+02:00, got 'yesterday'.\n"
    )


def test_verify_says_that_all_is_well(told, history_of):
    code, out, _ = history_of("--verify")
    assert code == 0
    assert out.splitlines()[-1] == "3 lines checked: none was altered or removed."


def test_verify_ends_with_1_at_a_fault(told, history_of, tmp_path):
    alter_evidence(told[1], tmp_path)
    code, out, _ = history_of("--verify")
    assert code == 1
    assert out.splitlines()[-1] == "FAULT line 2: its evidence decision.json was altered"
    assert "none was altered" not in out
    code, out, _ = history_of("--verify", "--json")
    assert code == 1
    assert json.loads(out)["faults"] == ["line 2: its evidence decision.json was altered"]

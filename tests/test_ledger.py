"""The ledger keeps every decision in an order that nobody can change unseen."""

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.registry.ledger import Kind, Ledger, Line, champion_at, experiment_name
from ratchet.settings import from_mapping

SETTINGS = from_mapping({"name": "tiny", "data": {"source": "data", "target": "y"}}, origin="here")


@pytest.fixture
def experiment(store):
    return store.create_experiment("tiny")


@pytest.fixture
def ledger(experiment, tmp_path):
    return Ledger.open(SETTINGS, experiment)


def decide(ledger, kind=Kind.PROMOTE, version=None, **changes):
    values = {
        "run_id": "r",
        "before": None,
        "reason": "rmse 4.0, no champion yet",
        "basis": "b",
        "evidence": {"model_uri": "models:/m-1", "scores": [1.5, 2.5]},
        "tags": {"ratchet.model": "tiny"},
    }
    lines = ledger.lines()
    return ledger.begin(kind=kind, after=lines, version=version, **{**values, **changes})


def database(tmp_path):
    return sqlite3.connect(tmp_path / "mlflow.db")


def test_a_ledger_is_begun_once_and_found_again(experiment, ledger, store):
    assert Ledger.open(SETTINGS, experiment) == ledger == Ledger.find(SETTINGS)
    assert store.get_experiment(ledger.experiment_id).name == "tiny decisions"
    assert store.get_run(ledger.index).info.status == "FINISHED"
    for tags in (
        store.get_experiment(ledger.experiment_id).tags,
        store.get_run(ledger.index).data.tags,
    ):
        assert "`python src history`" in tags["mlflow.note.content"]


def test_there_is_no_ledger_before_any_decision(store):
    assert Ledger.find(SETTINGS) is None


def test_of_two_that_begin_a_ledger_both_take_the_first(experiment, store, monkeypatch):
    first = Ledger.open(SETTINGS, experiment)
    answers = iter([None, first])
    monkeypatch.setattr(Ledger, "find", classmethod(lambda cls, settings: next(answers)))
    assert Ledger.open(SETTINGS, experiment) == first
    indexes = store.search_runs([experiment], "tags.`ratchet.step` = 'ledger'")
    assert [run.info.run_id for run in indexes] == [first.index]


def test_a_line_says_who_decided_what_when_and_why(ledger, store):
    line = decide(ledger)
    assert ledger.lines() == (line,)
    assert (line.number, line.kind, line.run_id, line.before) == (1, Kind.PROMOTE, "r", None)
    assert line.reason == "rmse 4.0, no champion yet"
    assert "@" in line.who
    assert datetime.now(UTC) - datetime.fromisoformat(line.at) < timedelta(minutes=1)
    run = store.get_run(line.decision_run)
    assert run.info.status == "FINISHED"
    assert run.data.tags["ratchet.decision"] == "promote"
    assert run.data.tags["ratchet.ledger_number"] == "1"
    assert run.data.tags["ratchet.model"] == "tiny"
    assert ledger.evidence_of(line) == {"model_uri": "models:/m-1", "scores": [1.5, 2.5]}


def test_lines_are_numbered_and_each_holds_the_digest_of_the_one_above(ledger):
    lines = [decide(ledger, reason=f"reason {k}") for k in range(4)]
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert lines[0].previous == ""
    assert all(below.previous == above.digest for above, below in pairwise(lines))
    assert list(ledger.faults()) == []


def test_of_two_decisions_on_the_same_state_the_second_is_told_so(ledger, store):
    before = ledger.lines()
    won = decide(ledger)
    lost = ledger.begin(
        kind=Kind.REFUSE,
        after=before,
        run_id="other",
        before=None,
        version=None,
        reason="too late",
        basis="b",
        evidence={},
        tags={},
    )
    assert lost is None
    assert ledger.lines() == (won,)
    runs = store.search_runs([ledger.experiment_id])
    assert sorted(run.data.tags.get("ratchet.superseded_by", "") for run in runs) == ["", "1"]
    assert list(ledger.faults()) == []


def test_a_version_is_bound_to_a_line_once(ledger):
    line = decide(ledger)
    assert line.champion is None
    assert ledger.bind(line, 3) == 3
    assert ledger.bind(line, 4) == 3
    [read] = ledger.lines()
    assert read.champion == 3
    assert read.digest == line.digest


def test_a_line_is_done_when_the_registry_shows_it(ledger):
    line = decide(ledger)
    assert not ledger.is_done(line)
    ledger.finish(line)
    ledger.finish(line)
    assert ledger.is_done(line)


def test_a_clock_that_is_set_back_does_not_take_the_ledger_with_it(ledger, monkeypatch):
    first = decide(ledger)
    future = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="milliseconds")
    ahead = Line.parse(first.text.replace(first.at, future))
    monkeypatch.setattr(Ledger, "lines", lambda self: (ahead,))
    assert decide(ledger).at == future


def test_a_long_reason_is_cut_in_the_line_and_whole_in_the_evidence(ledger):
    reason = "x" * 9000
    line = decide(ledger, reason=reason, evidence={"reason": reason})
    assert len(line.reason) == 2000
    assert ledger.evidence_of(line)["reason"] == reason
    assert ledger.lines() == (line,)


def test_what_served_at_a_moment_is_the_last_line_that_moved_the_champion(ledger):
    first = decide(ledger, version=1)
    refused = decide(ledger, kind=Kind.REFUSE, version=None, before=1)
    back = decide(ledger, kind=Kind.ROLLBACK, version=1, before=2)
    lines = (first, refused, back)
    early = datetime.fromisoformat(first.at) - timedelta(seconds=1)
    assert champion_at(lines, early) is None
    between = Line.parse(back.text.replace(back.at, "2100-01-01T00:00:00.000+00:00"))
    assert champion_at((first, refused, between), datetime(2099, 1, 1, tzinfo=UTC)) == first
    assert champion_at((first, refused, between), datetime(2101, 1, 1, tzinfo=UTC)) == between


def test_decisions_are_asked_for_in_pages_where_a_ledger_is_checked(ledger, monkeypatch):
    for number in range(12):
        decide(ledger, reason=f"reason {number}")
    monkeypatch.setattr(tracking, "read", lambda run_id: pytest.fail(f"asked for {run_id} alone"))
    assert list(ledger.faults()) == []


def test_a_check_ends_where_the_store_fails_and_asks_for_no_more(ledger, monkeypatch):
    for number in range(24):
        decide(ledger, reason=f"reason {number}")
    asked = []

    def evidence(run):
        asked.append(run.info.run_id)
        if len(asked) == 1:
            raise StoreError("The store fails.")
        time.sleep(0.3)

    monkeypatch.setattr("ratchet.registry.ledger._evidence", evidence)
    with pytest.raises(StoreError, match="The store fails"):
        list(ledger.faults())
    assert len(asked) < 20


# Somebody tampers


@pytest.fixture
def three(ledger):
    return [decide(ledger, reason=f"reason {k}") for k in range(3)]


def tamper(tmp_path, statement, *values):
    with database(tmp_path) as connection:
        assert connection.execute(statement, values).rowcount == 1


def test_an_altered_line_is_found(ledger, three, tmp_path):
    text = three[1].text.replace("reason 1", "reason !")
    tamper(tmp_path, "update params set value = ? where key = '000002'", text)
    assert list(ledger.faults()) == [
        "line 2 was altered: line 3 holds another digest of it",
    ]


def test_an_altered_last_line_is_found_by_its_decision_run(ledger, three, tmp_path):
    value = json.loads(three[2].text)
    text = json.dumps({**value, "kind": "refuse"}, sort_keys=True, separators=(",", ":"))
    tamper(tmp_path, "update params set value = ? where key = '000003'", text)
    assert list(ledger.faults()) == [
        "line 3: its decision run's tag ratchet.decision was altered: 'promote' instead of 'refuse'"
    ]


def test_a_line_that_is_not_a_line_any_more_is_found(ledger, three, tmp_path):
    tamper(tmp_path, "update params set value = 'nothing' where key = '000002'")
    faults = list(ledger.faults())
    assert "line 2 was altered: it can't be read" in faults


def test_a_removed_line_is_found(ledger, three, tmp_path):
    tamper(tmp_path, "delete from params where key = '000002'")
    faults = list(ledger.faults())
    assert faults[0] == "line 2 was removed"
    assert f"line 2 was removed: the decision {three[1].decision_run} names it" in faults


def test_a_ledger_whose_end_was_cut_off_is_found(ledger, three, tmp_path):
    tamper(tmp_path, "delete from params where key = '000003'")
    assert list(ledger.faults()) == [
        f"line 3 was removed: the decision {three[2].decision_run} names it"
    ]


def test_a_renumbered_line_is_found(ledger, three, tmp_path):
    tamper(tmp_path, "delete from params where key = '000003'")
    tamper(tmp_path, "update params set key = '000003' where key = '000002'")
    faults = list(ledger.faults())
    assert "line 2 was removed" in faults
    assert "line 3 was altered: it says that it is line 2" in faults


def test_altered_evidence_is_found(ledger, three, store, tmp_path):
    path = tmp_path / "decision.json"
    path.write_text('{"scores": [9.9]}')
    store.log_artifact(three[0].decision_run, str(path))
    assert list(ledger.faults()) == ["line 1: its evidence decision.json was altered"]


def test_removed_evidence_is_found(ledger, three, store):
    place = urlparse(store.get_run(three[0].decision_run).info.artifact_uri).path
    (Path(unquote(place)) / "decision.json").unlink()
    assert list(ledger.faults()) == ["line 1: its evidence decision.json was removed"]
    with pytest.raises(StoreError) as error:
        ledger.evidence_of(three[0])
    assert str(error.value) == "The evidence of line 1 of the ledger is gone."


def test_a_deleted_decision_run_is_found(ledger, three, store):
    store.delete_run(three[1].decision_run)
    assert list(ledger.faults()) == [
        f"line 2: its decision run {three[1].decision_run} was deleted"
    ]


def test_a_ledger_without_its_index_is_told_in_a_sentence(ledger, three, tmp_path):
    for table in ("params", "tags", "metrics", "latest_metrics", "inputs"):
        with database(tmp_path) as connection:
            column = "destination_id" if table == "inputs" else "run_uuid"
            connection.execute(f"delete from {table} where {column} = ?", (ledger.index,))
    tamper(tmp_path, "delete from runs where run_uuid = ?", ledger.index)
    with pytest.raises(StoreError) as error:
        ledger.lines()
    assert str(error.value) == (
        f"The ledger of tiny is gone: its index, run {ledger.index}, was removed from MLflow's"
        " store. Restore it from a backup of the store."
    )


def test_a_deleted_ledger_is_told_in_a_sentence(ledger, store):
    store.delete_experiment(ledger.experiment_id)
    with pytest.raises(StoreError) as error:
        Ledger.find(SETTINGS)
    assert str(error.value) == (
        "The ledger of tiny, the experiment 'tiny decisions', was deleted. Restore it:"
        f" mlflow experiments restore --experiment-id {ledger.experiment_id}"
    )


def test_an_experiment_that_is_no_ledger_is_not_taken_for_one(store):
    store.create_experiment(experiment_name(SETTINGS))
    with pytest.raises(StoreError) as error:
        Ledger.find(SETTINGS)
    assert str(error.value) == (
        "The experiment 'tiny decisions' is not a ledger: it has no tag ratchet.ledger_index."
        " Rename it, or name another registered model in registry.model."
    )

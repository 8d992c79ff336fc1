"""rollback brings an earlier champion back, on the record, and for good."""

import doctest

import pytest

from ratchet.commands import history, rollback
from ratchet.commands.rollback import replaced_by_today
from ratchet.errors import RatchetError, StoreError
from ratchet.registry import champion, versions
from ratchet.registry.ledger import Kind, Ledger, Line
from ratchet.registry.versions import Version
from ratchet.steps import promote, train
from ratchet.steps.promote import Decision, Outcome
from ratchet.steps.train import Leader


@pytest.fixture
def two(project, better):
    """The trees took the line's place."""
    promote.run(project)
    return promote.run(better)


def lines(project):
    return Ledger.find(project.settings).lines()


def holds(store):
    return store.get_registered_model("tiny").aliases


def stages(store):
    found = store.search_model_versions("name = 'tiny'")
    return {int(each.version): each.current_stage for each in found}


def state(store, project):
    """Everything that a decision may change."""
    experiments = [each.experiment_id for each in store.search_experiments()]
    return (lines(project), holds(store), stages(store), len(store.search_runs(experiments)))


def moved(*told):
    """Lines of a ledger, given as kind, version before and version after."""
    return tuple(
        Line(number, kind, "", "", "", before, version, "", "", "", "", "")
        for number, (kind, before, version) in enumerate(told, start=1)
    )


# What it does


def test_a_rollback_brings_the_champion_before_back(project, better, store, two, caplog):
    caplog.set_level("INFO", "ratchet")
    target = rollback.run(better, reason="complaints from Berlin")
    assert target == Version("tiny", 1, Leader.load(project).run_id)
    assert champion.current(project.settings) == target
    assert holds(store) == {"champion": 1, "previous": 2}
    assert stages(store) == {1: "Production", 2: "Archived"}
    line = lines(project)[-1]
    assert (line.number, line.kind, line.run_id) == (3, Kind.ROLLBACK, target.run_id)
    assert (line.before, line.version, line.champion) == (2, 1, 1)
    assert (line.reason, line.basis) == ("complaints from Berlin", "")
    assert caplog.messages[-1] == (
        "rollback: version 1 of tiny is the champion again, 2 was: complaints from Berlin"
    )


def test_the_evidence_of_a_rollback_says_from_where_to_where_and_why(project, two, store):
    rollback.run(project, reason="complaints")
    ledger = Ledger.find(project.settings)
    line = ledger.lines()[-1]
    evidence = ledger.evidence_of(line)
    assert (evidence["from"], evidence["to"], evidence["reason"]) == (2, 1, "complaints")
    assert evidence["params"]["seed"] == 7
    assert store.get_run(line.decision_run).data.tags["ratchet.decision"] == "rollback"
    assert store.get_model_version("tiny", "1").tags["ratchet.decision"] == "rollback"
    assert ledger.is_done(line)
    assert list(ledger.faults()) == []


def test_what_is_said_of_a_version_stays_when_it_comes_back(project, two, store):
    told = store.get_model_version("tiny", "1").description
    assert told
    rollback.run(project, reason="complaints")
    assert store.get_model_version("tiny", "1").description == told


def test_a_version_can_be_named_and_two_rollbacks_go_two_champions_back(
    project, better, store, two
):
    train.run(project)
    third = promote.run(project, force=True, reason="a trial")
    assert (third.version, third.champion) == (3, 2)

    assert rollback.run(project, reason="once").number == 2
    assert holds(store) == {"champion": 2, "previous": 3}
    assert rollback.run(project, reason="twice").number == 1
    assert holds(store) == {"champion": 1, "previous": 2}
    with pytest.raises(RatchetError) as error:
        rollback.run(project, reason="thrice")
    assert str(error.value) == (
        "tiny had no champion before version 1. Name the version to go to with --to."
    )
    assert holds(store) == {"champion": 1, "previous": 2}

    assert rollback.run(project, reason="after all", to=3).number == 3
    assert holds(store) == {"champion": 3, "previous": 1}
    assert stages(store) == {1: "Archived", 2: "Archived", 3: "Production"}
    told = [(line.kind, line.before, line.champion) for line in lines(project)]
    assert told[3:] == [
        (Kind.ROLLBACK, 3, 2),
        (Kind.ROLLBACK, 2, 1),
        (Kind.ROLLBACK, 1, 3),
    ]


# What promote makes of it


def test_a_leader_that_was_rolled_back_is_no_new_candidate(project, better, store, two):
    rollback.run(better, reason="complaints")
    day = lines(project)[-1].at[:10]
    before = state(store, project)
    decision = promote.run(better)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.KEPT, 2, 1)
    assert not decision.is_new and not decision.promoted
    assert decision.reason == f"version 2 was rolled back on {day}: complaints"
    assert Decision.load(better).reason == decision.reason
    assert state(store, project) == before


def test_force_brings_a_leader_back_that_was_rolled_back(project, better, store, two):
    rollback.run(better, reason="complaints")
    decision = promote.run(better, force=True, reason="it was the data")
    assert (decision.outcome, decision.kind) == (Outcome.PROMOTED, Kind.FORCE)
    assert (decision.version, decision.champion) == (2, 1)
    assert holds(store) == {"champion": 2, "previous": 1}
    assert stages(store) == {1: "Archived", 2: "Production"}
    again = promote.run(better)
    assert again.promoted and not again.is_new
    assert again.reason == "it was the data"
    assert rollback.run(better, reason="still complaints").number == 1


def test_a_leader_that_was_brought_back_by_its_number_is_not_called_rolled_back(
    project, better, two
):
    rollback.run(better, reason="complaints")
    rollback.run(better, reason="it was the data", to=2)
    again = promote.run(better)
    assert again.promoted and not again.is_new
    assert again.reason == two.reason


def test_the_model_that_was_brought_back_stands(project, better, two):
    rollback.run(better, reason="complaints")
    again = promote.run(project)
    assert (again.outcome, again.version, again.is_new) == (Outcome.PROMOTED, 1, False)


def test_forcing_the_champion_again_takes_no_rollback_away(project, better, store, two):
    promote.run(better, force=True, reason="to be sure")
    assert rollback.run(better, reason="complaints").number == 1


def test_before_and_after_a_rollback_history_tells_who_served(project, two):
    rollback.run(project, reason="complaints")
    *_, made, undone = lines(project)
    before = history.read(project, at=made.at)
    after = history.read(project, at=undone.at)
    assert (before.served.champion, before.served.kind) == (2, Kind.PROMOTE)
    assert (after.served.champion, after.served.kind) == (1, Kind.ROLLBACK)


# What it refuses


def test_without_a_champion_there_is_nothing_to_roll_back(project):
    with pytest.raises(RatchetError) as error:
        rollback.run(project, reason="complaints")
    assert str(error.value) == "tiny has no champion, so there is nothing to roll back."


def test_the_first_champion_has_none_before_it(project, store):
    promote.run(project)
    before = state(store, project)
    with pytest.raises(RatchetError) as error:
        rollback.run(project, reason="complaints")
    assert str(error.value) == (
        "tiny had no champion before version 1. Name the version to go to with --to."
    )
    assert state(store, project) == before


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_rollback_without_a_reason_is_refused(project, reason):
    with pytest.raises(RatchetError) as error:
        rollback.run(project, reason=reason)
    assert str(error.value) == (
        "A rollback needs a reason for the ledger: --reason 'what went wrong'."
    )


def test_the_champion_and_versions_that_are_not_there_are_refused(project, store):
    promote.run(project)
    before = state(store, project)
    with pytest.raises(RatchetError) as error:
        rollback.run(project, reason="complaints", to=1)
    assert str(error.value) == "Version 1 is the champion already."
    with pytest.raises(StoreError) as unknown:
        rollback.run(project, reason="complaints", to=9)
    assert str(unknown.value) == "tiny has no version 9. Its versions: 1."
    assert state(store, project) == before


def test_a_version_that_was_marked_before_there_was_a_ledger_is_gone_back_to(project, better):
    for each in (project, better):
        leader = Leader.load(each)
        versions.register(each.settings, run_id=leader.run_id, model_uri=leader.model_uri)
    versions.hold_alias(versions.get(project.settings, 1), "previous")
    versions.hold_alias(versions.get(project.settings, 2), "champion")
    assert rollback.run(project, reason="complaints").number == 1


# Whom the champion of today replaced

P, F, R, SEEN, N = Kind.PROMOTE, Kind.FORCE, Kind.ROLLBACK, Kind.OBSERVE, Kind.REFUSE


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], None),
        ([(P, None, 1)], None),
        ([(P, None, 1), (P, 1, 2)], 1),
        ([(P, None, 1), (P, 1, 2), (N, 2, None)], 1),
        ([(P, None, 1), (P, 1, 2), (R, 2, 1)], None),
        ([(P, None, 1), (P, 1, 2), (P, 2, 3), (R, 3, 2)], 1),
        ([(P, None, 1), (P, 1, 2), (P, 2, 3), (R, 3, 1)], None),
        ([(P, None, 1), (P, 1, 2), (R, 2, 1), (P, 1, 3)], 1),
        ([(P, None, 1), (P, 1, 2), (R, 2, 1), (R, 1, 2)], 1),
        ([(P, None, 1), (SEEN, 1, 2)], 1),
        ([(P, None, 1), (F, 1, 1)], None),
        ([(P, None, 1), (P, 1, 2), (F, 2, 1), (P, 1, 3), (R, 3, 1)], 2),
        ([(P, None, 1), (P, 1, None)], None),
    ],
)
def test_a_rollback_undoes_the_line_that_made_the_champion(told, expected):
    assert replaced_by_today(moved(*told)) == expected


def test_the_examples_hold():
    assert doctest.testmod(rollback).failed == 0

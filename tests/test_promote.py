"""promote lets the champion only move forward, and doing it twice changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from ratchet import gates
from ratchet.errors import InterruptionError, RatchetError
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.versions import Version
from ratchet.steps import evaluate, prepare, promote, train
from ratchet.steps.promote import Decision, Outcome
from ratchet.steps.train import Leader


def gate(decision, name="better_than_champion"):
    return next(each for each in decision.gates if each.name == name)


def written(project):
    return json.loads((project.promoted / "decision.json").read_text())


def state(store, *projects):
    """Everything that a promotion may change."""
    versions = store.search_model_versions("name = 'tiny'")
    return (
        [(each.version, each.current_stage, each.tags) for each in versions],
        champion.current(projects[0].settings),
        len(store.search_runs(["1"])),
        [(each.promoted / "decision.json").read_bytes() for each in projects],
    )


def stages(store):
    found = store.search_model_versions("name = 'tiny'")
    return {int(each.version): each.current_stage for each in found}


# Yes


def test_the_first_leader_that_beats_the_baseline_is_the_champion(project, store):
    decision = promote.run(project)
    leader = Leader.load(project)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.PROMOTED, 1, None)
    assert decision.promoted and decision.is_new
    score = gates.shown(decision.score, gates.decimals([decision.score]))
    assert decision.reason == f"rmse {score}, no champion yet"
    assert champion.current(project.settings) == Version("tiny", 1, leader.run_id)
    assert stages(store) == {1: "Production"}
    test = json.loads((project.evaluated / "metrics.json").read_text())
    assert decision.score == test["test/rmse"]
    names = [(each.name, each.passed) for each in decision.gates]
    assert names == [
        ("better_than_baseline", True),
        ("better_than_champion", True),
        ("recorded_data", True),
        ("recorded_tree", True),
        ("no_leakage", True),
        ("test_uses", True),
    ]


def test_the_version_says_where_it_comes_from_and_why_it_is_there(project, store):
    decision = promote.run(project)
    version = store.get_model_version("tiny", "1")
    run = store.get_run(decision.decision_run)
    for name in ("ratchet.data_version", "ratchet.params_digest", "ratchet.pipeline"):
        assert version.tags[name] == run.data.tags[name]
    assert version.tags["ratchet.run"] == decision.run_id
    assert version.tags["ratchet.decision_run"] == decision.decision_run
    assert version.tags["ratchet.metric"] == "rmse"
    assert version.tags["test/rmse"] == f"{decision.score:.6g}"
    first, *_, origin = version.description.split("\n\n")
    assert first == f"sklearn/ridge: {decision.reason}"
    assert f"Data version {version.tags['ratchet.data_version']}, not recorded." in origin


def test_the_registered_model_says_what_it_is_and_how_a_version_gets_to_serve(
    project, better, store
):
    promote.run(project)
    model = store.get_registered_model("tiny")
    assert model.description.startswith(
        "Predicts `price`, trained by the runs of the experiment *tiny*. The version that serves"
        " has the alias `champion` and the stage `Production`; `models:/tiny@champion` loads it."
    )
    assert model.tags == {"ratchet.experiment": "tiny", "ratchet.target": "price"}
    store.update_registered_model("tiny", "Ask Ada before you use it.")
    assert promote.run(better).version == 2
    assert store.get_registered_model("tiny").description == "Ask Ada before you use it."


def test_the_decision_is_written_and_on_a_run_of_its_own(project, store, tmp_path):
    decision = promote.run(project)
    assert Decision.load(project) == decision
    assert "is_new" not in written(project)
    [run] = store.search_runs(["1"], "tags.`ratchet.step` = 'promote'")
    assert run.data.tags["mlflow.parentRunId"] == decision.run_id
    assert run.data.tags["ratchet.decision"] == "promote"
    assert run.data.tags["ratchet.decision_run"] == decision.decision_run
    assert run.data.tags["ratchet.reason"] == decision.reason
    said = run.data.tags["mlflow.note.content"].split("\n\n")
    assert said[0] == f"**Promoted** as version 1 of `tiny`: {decision.reason}."
    assert said[1].count("| yes |") == len(decision.gates)
    for gate in decision.gates:
        assert run.data.tags[f"ratchet.gate.{gate.name}"] == f"passed: {gate.reason}"
    assert run.data.metrics["promoted"] == 1.0
    assert run.data.metrics["test/rmse"] == decision.score
    assert run.info.run_name == "promote · promoted · sklearn/ridge"
    store.download_artifacts(run.info.run_id, "decision.json", str(tmp_path))
    kept = Path(tmp_path / "decision.json").read_bytes()
    assert kept == (project.promoted / "decision.json").read_bytes()


def test_a_better_leader_takes_the_place_and_the_champion_before_is_archived(
    project, better, store
):
    promote.run(project)
    decision = promote.run(better)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.PROMOTED, 2, 1)
    assert decision.reason == gate(decision).reason
    assert stages(store) == {1: "Archived", 2: "Production"}
    served = mlflow.pyfunc.load_model("models:/tiny@champion")
    assert served.metadata.run_id == Leader.load(better).run_id


# No


def test_a_worse_leader_does_not_replace_the_champion(project, better, store):
    promote.run(better)
    decision = promote.run(project)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.KEPT, None, 1)
    assert decision.reason == gate(decision).reason
    assert [each.name for each in decision.gates if not each.passed] == ["better_than_champion"]
    assert stages(store) == {1: "Production"}
    assert champion.current(project.settings).run_id == Leader.load(better).run_id
    run = store.get_run(decision.decision_run)
    assert run.info.status == "FINISHED"
    assert run.data.tags["ratchet.decision"] == "refuse"
    assert run.data.tags["ratchet.gate.better_than_champion"].startswith("failed: rmse ")


def test_a_tie_keeps_the_champion(project, store):
    first = promote.run(project)
    again = train.run(project)
    assert again.run_id != first.run_id
    decision = promote.run(project)
    score = gates.shown(decision.score, gates.decimals([decision.score]))
    zero = gates.shown(0.0, gates.decimals([decision.score]))
    assert decision.outcome is Outcome.KEPT
    assert decision.reason == (
        f"rmse {score}, champion {score}: gain {zero} [{zero}, {zero}] at 95 %,"
        f" needed more than 0 and at least {zero}"
    )
    assert stages(store) == {1: "Production"}


def test_a_gain_too_small_to_be_worth_a_change_keeps_the_champion(project, better):
    promote.run(project)
    decision = promote.run(Project.open(better.params_file, ["promote.min_gain=1000.0"]))
    assert decision.outcome is Outcome.KEPT
    assert decision.reason.endswith("needed more than 0 and at least 1,000.000")


def test_every_gate_that_did_not_pass_is_told(project, better):
    promote.run(better)
    decision = promote.run(Project.open(project.params_file, ["promote.required=0.5"]))
    required, rival = gate(decision, "required_score"), gate(decision)
    failed = [each for each in decision.gates if not each.passed]
    assert failed == [required, rival]
    assert decision.reason == f"{required.reason}; {rival.reason}"


def test_a_leader_below_what_is_required_is_not_even_registered(project, store):
    decision = promote.run(Project.open(project.params_file, ["promote.required=0.5"]))
    assert (decision.outcome, decision.champion) == (Outcome.KEPT, None)
    assert decision.reason == f"rmse {decision.score:.3f}, required <= 0.500"
    assert store.search_registered_models() == []


def test_a_leader_that_is_the_baseline_is_not_promoted(project):
    chosen = Project.open(project.params_file, ["train.families=[baseline]"])
    train.run(chosen)
    decision = promote.run(chosen)
    assert decision.outcome is Outcome.KEPT
    assert decision.reason == decision.gates[0].reason
    assert "gain 0.0" in decision.reason


def test_a_champion_that_can_not_score_todays_rows_is_kept_and_the_reason_told(project, store):
    promote.run(project)
    narrow = Project.open(project.params_file, ["data.features=[rooms,size]"])
    for step in (prepare, train, evaluate):
        step.run(narrow)
    decision = promote.run(narrow)
    assert decision.outcome is Outcome.KEPT
    told = gate(decision).reason
    missing = ("{'town', 'sold'}", "{'sold', 'town'}")  # scikit-learn prints a set
    assert told in [
        "version 1, the champion, can't score today's test rows (ValueError: columns are missing:"
        f" {each}): nothing shows that the leader is better. If the columns were changed on"
        " purpose, set promote.allow_schema_change to true"
        for each in missing
    ]
    assert stages(store) == {1: "Production"}


# Twice


@pytest.mark.parametrize("first", ["promoted", "kept"])
def test_the_same_leader_again_changes_nothing(project, better, store, caplog, first):
    caplog.set_level("INFO", "ratchet")
    promote.run(better)
    judged = better if first == "promoted" else project
    decision = promote.run(judged) if first == "kept" else Decision.load(judged)
    before = state(store, better, judged)
    caplog.clear()
    again = promote.run(judged)
    assert state(store, better, judged) == before
    assert not again.is_new
    assert (again.outcome, again.reason, again.decided_at) == (
        Outcome(first),
        decision.reason,
        decision.decided_at,
    )
    assert caplog.messages == [f"promote: no new candidate; {decision.reason}"]


def test_a_leader_is_judged_again_when_another_champion_came(project, better, store):
    promote.run(project)
    promote.run(better)
    decision = promote.run(project)
    assert decision.is_new
    assert (decision.outcome, decision.champion) == (Outcome.KEPT, 2)


def test_a_leader_is_judged_again_for_another_registered_model(project, store):
    promote.run(project)
    decision = promote.run(Project.open(project.params_file, ["registry.model=other"]))
    assert decision.is_new
    assert (decision.model, decision.version) == ("other", 1)


@pytest.mark.parametrize("write", ["create_model_version", "set_registered_model_alias"])
def test_a_promotion_that_was_interrupted_is_finished_by_the_next(
    project, better, store, monkeypatch, running, write
):
    """Ctrl-C just after the first write, or after the last, which makes it the champion."""
    promote.run(project)
    original = getattr(mlflow.MlflowClient, write)

    def interrupted(client, *rest, **more):
        original(client, *rest, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, write, interrupted)
        with pytest.raises(InterruptionError) as raised:
            promote.run(better)
    assert str(raised.value) == "promote was interrupted; its run is marked KILLED."
    assert running() == []
    assert not (better.promoted / "decision.json").exists()
    decision = promote.run(better)
    assert (decision.outcome, decision.version) == (Outcome.PROMOTED, 2)
    assert stages(store) == {1: "Archived", 2: "Production"}
    version = store.get_model_version("tiny", "2")
    assert version.tags["ratchet.decision_run"] == decision.decision_run
    assert decision.reason == gate(decision).reason
    before = state(store, better)
    assert not promote.run(better).is_new
    assert state(store, better) == before


def test_a_champion_whose_decision_was_lost_is_not_compared_with_itself(project, store):
    promote.run(project)
    (project.promoted / "decision.json").unlink()
    decision = promote.run(project)
    assert (decision.outcome, decision.version, decision.champion) == (Outcome.PROMOTED, 1, None)
    assert not decision.is_new
    assert Decision.load(project) == replace(decision, is_new=True)
    assert stages(store) == {1: "Production"}


def test_there_is_no_decision_before_the_first(project):
    assert Decision.load(project) is None


def test_a_broken_decision_is_told_and_mended_by_the_ledger(project, running):
    decision = promote.run(project)
    (project.promoted / "decision.json").write_text("")
    with pytest.raises(RatchetError) as raised:
        Decision.load(project)
    assert str(raised.value) == (
        f"{project.promoted / 'decision.json'} is not valid JSON (Expecting value: line 1 column 1"
        " (char 0)). Run the step promote again."
    )
    promote.run(project)
    assert Decision.load(project) == decision
    assert running() == []

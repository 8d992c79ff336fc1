"""Cached outputs whose runs the store lacks: they are logged again, whole, once."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pytest
from conftest import described
from mlflow.exceptions import MlflowException

from ratchet import runfile, tracking
from ratchet.commands import status
from ratchet.errors import RatchetError, StoreError
from ratchet.project import Project
from ratchet.runfile import RESTORED_FROM
from ratchet.steps import evaluate, prepare, promote, restore, train
from ratchet.steps.train import Leader
from ratchet.tracking import File, Param, Score, Tag


@pytest.fixture
def move(tmp_path, empty_store, monkeypatch, project):
    """Go on with another store; give a client of it."""

    def to(name):
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            shutil.copy(empty_store, folder / "mlflow.db")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        tracking.connect(project)
        return mlflow.MlflowClient(uri, registry_uri=uri)

    return to


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def runs(client, *more):
    """Give the runs of all experiments that were not deleted, the ledger's left out."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    return [run for run in found if run.data.tags.get("ratchet.step") not in ("ledger", "decision")]


def restored(client, step):
    return [
        run
        for run in runs(client)
        if run.data.tags["ratchet.step"] == step and RESTORED_FROM in run.data.tags
    ]


def restore_all(project):
    leader = restore.leader(project)
    restore.evaluation(project, leader)
    return leader


# What is there afterwards


def test_all_that_the_runs_said_is_there_again(project, store, move):
    trained = Leader.load(project)
    first = store.get_run(trained.run_id)
    before = {
        "train": trained.run_id,
        "prepare": first.data.tags["ratchet.prepare_run"],
        "evaluate": first.data.tags["ratchet.evaluate_run"],
    }
    team = move("team")
    leader = restore_all(project)
    after = {step: restored(team, step)[0].info.run_id for step in before}
    assert leader.run_id == after["train"] != trained.run_id
    for step, run_id in before.items():
        was, now = described(store, run_id), described(team, after[step])
        assert now == was, step
        run = team.get_run(after[step])
        assert run.data.tags[RESTORED_FROM] == run_id
        assert run.info.status == "FINISHED"
    tags = team.get_run(leader.run_id).data.tags
    assert tags["ratchet.prepare_run"] == after["prepare"]
    assert tags["ratchet.evaluate_run"] == after["evaluate"]
    judged = team.get_run(after["evaluate"]).data.tags
    assert judged[tracking.LEADER_TAG] == judged[tracking.PARENT_TAG] == leader.run_id
    assert len(runs(team)) == len(before) + 3, "three trials"


def test_the_model_predicts_the_same_and_belongs_to_the_new_run(project, move):
    trained, team = Leader.load(project), move("team")
    leader = restore.leader(project)
    assert leader.model_uri != trained.model_uri
    saved = mlflow.models.Model.load(leader.model_uri)
    assert saved.run_id == leader.run_id
    rows = prepare.read_part(project, "test")
    names = list(tracking.load_model(leader.model_uri).feature_names_in_)
    np.testing.assert_array_equal(
        tracking.load_model(leader.model_uri).predict(rows[names]),
        tracking.load_model(str(project.trained / "model")).predict(rows[names]),
    )
    [output] = team.get_run(leader.run_id).outputs.model_outputs
    assert leader.model_uri == f"models:/{output.model_id}"


def test_what_the_steps_have_made_stays_as_it_was(project, move):
    before = content(project.build)
    move("team")
    restore_all(project)
    assert content(project.build) == before


def test_a_second_time_nothing_is_logged(project, move, caplog):
    team = move("team")
    first = restore_all(project)
    before = {run.info.run_id for run in runs(team)}
    assert restore_all(project) == first
    assert {run.info.run_id for run in runs(team)} == before


def test_a_run_that_is_there_is_used_as_it_is(project, store):
    before = {run.info.run_id for run in runs(store)}
    assert restore_all(project) == Leader.load(project)
    assert {run.info.run_id for run in runs(store)} == before


def test_a_line_says_what_was_logged_again(project, move, caplog):
    caplog.set_level("INFO")
    trained = Leader.load(project)
    move("team")
    leader = restore_all(project)
    told = (
        f"train: run {trained.run_id[:8]} is not in this store; logged again from build/train"
        f" as {leader.run_id[:8]}"
    )
    assert told in caplog.messages
    steps = [line.split(":")[0] for line in caplog.messages if "logged again" in line]
    assert steps == ["prepare", "train", "evaluate"]


def test_back_in_the_first_store_its_own_runs_count(project, store, move, tmp_path, monkeypatch):
    trained = Leader.load(project)
    move("team")
    assert restore.leader(project).run_id != trained.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracking.connect(project)
    assert restore.leader(project) == trained


# The steps that follow


def test_the_decision_is_the_same_in_another_store(better, move):
    here = promote.run(better)
    team = move("team")
    there = promote.run(better)
    for name in ("outcome", "kind", "reason", "version", "champion", "metric", "score", "gates"):
        assert getattr(there, name) == getattr(here, name), name
    assert there.is_new
    version = team.get_model_version_by_alias("tiny", "champion")
    assert version.run_id == there.run_id == restore.leader(better).run_id != here.run_id
    assert not promote.run(better).is_new
    assert {run.info.status for run in runs(team)} == {"FINISHED"}


def test_a_restored_champion_is_beaten_on_the_rows_that_it_was_not_trained_on(
    project, better, move
):
    promote.run(project)
    here = promote.run(better)
    move("team")
    promote.run(project)
    there = promote.run(better)
    assert there.promoted
    assert (there.version, there.champion) == (2, 1)
    assert there.gates == here.gates


def test_training_names_the_restored_run_of_its_rows(project, move):
    team = move("team")
    leader = train.run(project)
    [prepared] = restored(team, "prepare")
    assert team.get_run(leader.run_id).data.tags["ratchet.prepare_run"] == prepared.info.run_id


def test_evaluating_in_another_store_restores_the_leader_it_judges(project, move):
    team = move("team")
    evaluate.run(project)
    leader = restore.leader(project)
    [run] = [each for each in runs(team) if each.data.tags["ratchet.step"] == "evaluate"]
    assert RESTORED_FROM not in run.data.tags
    assert run.data.tags[tracking.PARENT_TAG] == leader.run_id
    assert team.get_run(leader.run_id).data.tags["ratchet.evaluate_run"] == run.info.run_id


def test_an_evaluation_made_elsewhere_goes_on_to_a_third_store(project, move):
    """Its own tags name runs of the second store, which neither other one has."""
    move("team")
    evaluate.run(project)
    third = move("third")
    leader = restore_all(project)
    [run] = restored(third, "evaluate")
    assert run.data.tags[tracking.LEADER_TAG] == leader.run_id
    found = third.get_run(leader.run_id)
    assert found.data.tags["ratchet.evaluate_run"] == run.info.run_id
    numbers = json.loads((project.evaluated / "metrics.json").read_text())
    assert found.data.metrics["test/rmse"] == numbers["test/rmse"]


def test_a_leader_trained_elsewhere_is_linked_to_its_preparation_in_a_third_store(project, move):
    move("team")
    train.run(project)
    third = move("third")
    leader = restore.leader(project)
    [prepared] = restored(third, "prepare")
    assert third.get_run(leader.run_id).data.tags["ratchet.prepare_run"] == prepared.info.run_id


def test_an_evaluation_of_another_leader_is_left_out(project, move):
    train.run(project)
    team = move("team")
    restore_all(project)
    assert restored(team, "evaluate") == []


def test_a_restored_evaluation_counts_as_the_same_use_of_the_test_rows(project, better, move):
    digest = prepare.test_digest(prepare.read_part(project, "test"))
    move("team")
    leader = restore_all(project)
    assert tracking.count_uses(project, digest, but=leader.run_id) == 0
    assert tracking.count_uses(project, digest, but="another") == 1
    restore_all(better)
    assert tracking.count_uses(project, digest, but=leader.run_id) == 1


def test_uses_of_the_test_rows_are_not_forgotten_with_the_store_that_had_them(
    project, better, move
):
    digest = prepare.test_digest(prepare.read_part(project, "test"))
    third = train.run(Project.open(project.root / "better.yaml", ["seed=8"]))
    evaluate.run(better)
    assert tracking.count_uses(project, digest, but=third.run_id) == 2
    move("team")
    leader = restore_all(better)
    assert tracking.count_uses(project, digest, but=leader.run_id) == 2
    assert tracking.count_uses(project, digest, but="another") == 3


# Looking without touching


def test_status_shows_what_another_store_has_and_writes_nothing(project, move, call):
    promote.run(project)
    team = move("team")
    found = status.read(project)
    assert (found.recorded, found.decision, found.champion) == (False, None, None)
    assert found.leader == Leader.load(project)
    assert runs(team) == []
    assert [each.name for each in team.search_experiments()] == ["Default"]
    code, out, _ = call("status", "--params", project.params_file)
    assert code == 0
    assert "run        not in this store yet; promote logs it again" in out
    assert "not judged yet" in out
    decision = promote.run(project)
    found = status.read(project)
    assert found.recorded
    assert found.leader.run_id == found.decision.run_id == decision.run_id
    assert found.champion.changes == ()


def test_a_dry_run_in_another_store_judges_alike_and_writes_nothing(project, better, move):
    promote.run(project)
    here = promote.run(better, dry_run=True)
    team = move("team")
    promote.run(project)
    before = [run.info.run_id for run in runs(team)]
    there = promote.run(better, dry_run=True)
    assert (there.outcome, there.gates) == (here.outcome, here.gates)
    assert [run.info.run_id for run in runs(team)] == before


def test_the_first_id_still_puts_the_leader_forward(project, move):
    trained = Leader.load(project)
    move("team")
    decision = promote.run(project, run_id=trained.run_id)
    assert decision.promoted
    assert decision.run_id == restore.leader(project).run_id != trained.run_id


# What is gone


def test_a_run_that_was_deleted_is_logged_again(project, store):
    trained = Leader.load(project)
    store.delete_run(trained.run_id)
    leader = restore_all(project)
    assert leader.run_id != trained.run_id
    assert restore_all(project) == leader


def test_a_run_whose_model_was_deleted_is_logged_again(project, store):
    trained = Leader.load(project)
    store.delete_logged_model(trained.model_uri.removeprefix("models:/"))
    leader = restore_all(project)
    assert leader.run_id != trained.run_id
    store.delete_logged_model(leader.model_uri.removeprefix("models:/"))
    assert restore_all(project).run_id not in (leader.run_id, trained.run_id)


def test_a_file_that_is_gone_is_told_and_leaves_no_half_run(project, move):
    team = move("team")
    path = project.trained / "trials.parquet"
    path.unlink()
    with pytest.raises(RatchetError) as raised:
        restore.leader(project)
    assert str(raised.value) == f"{path} is not there. Run the step train again."
    assert {run.data.tags["ratchet.step"] for run in runs(team)} == {"prepare"}


def test_a_record_of_another_version_is_told(project, move):
    path = project.trained / "run.json"
    path.write_text('{"run": 1}')
    move("team")
    with pytest.raises(RatchetError) as raised:
        restore.leader(project)
    assert str(raised.value) == (
        f"{path} was written by another version of this project. Run the step train again."
    )


def test_outputs_without_a_record_of_their_preparation_are_restored_without_it(project, move):
    (project.prepared / "run.json").unlink()
    team = move("team")
    leader = restore.leader(project)
    assert "ratchet.prepare_run" not in team.get_run(leader.run_id).data.tags
    assert {run.data.tags["ratchet.step"] for run in runs(team)} == {"train", "trial"}


# Half way


@pytest.mark.parametrize("call", ["log_inputs", "create_logged_model", "log_model_artifacts"])
@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (MlflowException("full"), StoreError)],
    ids=["interrupted", "failed"],
)
def test_what_is_broken_off_leaves_nothing_and_the_next_time_is_whole(
    project, move, running, monkeypatch, call, error, told
):
    team = move("team")
    prepare.run_of(project)

    def broken(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, call, broken)
        with pytest.raises(told):
            restore.leader(project)
    assert {run.data.tags["ratchet.step"] for run in runs(team)} == {"prepare"}
    assert running() == []
    leader = restore.leader(project)
    assert len(restored(team, "train")) == 1
    assert len(restored(team, "trial")) == 3
    assert team.get_run(leader.run_id).outputs.model_outputs


def test_scores_that_did_not_reach_the_leaders_run_are_written_the_next_time(project, store, move):
    expected = described(store, Leader.load(project).run_id)["metrics"]
    team = move("team")
    leader = restore.leader(project)
    numbers = project.evaluated / "metrics.json"
    numbers.rename(project.build / "gone")
    with pytest.raises(RatchetError, match=r"metrics\.json is not there\. Run the step evaluate"):
        restore.evaluation(project, leader)
    (project.build / "gone").rename(numbers)
    assert len(restored(team, "evaluate")) == 1
    assert described(team, leader.run_id)["metrics"] != expected
    restore_all(project)
    assert len(restored(team, "evaluate")) == 1
    assert described(team, leader.run_id)["metrics"] == expected


def test_a_process_that_is_killed_leaves_no_run_that_seems_whole(
    project, move, running, monkeypatch
):
    """Whoever is killed can't delete what he has begun."""
    team = move("team")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_model_artifacts", killed)
        patch.setattr(mlflow.MlflowClient, "delete_run", killed)
        patch.setattr(mlflow.MlflowClient, "delete_logged_model", killed)
        with pytest.raises(KeyboardInterrupt):
            restore.leader(project)
    [left] = restored(team, "train")
    assert left.info.status == "KILLED"
    assert running() == []
    leader = restore.leader(project)
    assert leader.run_id != left.info.run_id
    assert team.get_run(leader.run_id).info.status == "FINISHED"
    assert restore.leader(project) == leader


def test_of_two_that_restore_at_once_the_first_to_end_counts(project, move, monkeypatch):
    team, create, other = move("team"), mlflow.MlflowClient.create_logged_model, []

    def overtaken(self, *arguments, **more):
        monkeypatch.setattr(mlflow.MlflowClient, "create_logged_model", create)
        other.append(restore.leader(project))
        return create(self, *arguments, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "create_logged_model", overtaken)
    mine = restore.leader(project)
    assert other == [mine]
    [kept] = restored(team, "train")
    assert kept.info.run_id == mine.run_id
    assert len(restored(team, "trial")) == 3
    assert len(team.search_logged_models([kept.info.experiment_id])) == 1


def test_commands_at_the_same_time_end_with_the_same_run(project, move):
    team = move("team")
    with ThreadPoolExecutor(3) as together:
        found = {each.run_id for each in together.map(restore.leader, [project] * 3)}
    last = restore.leader(project)
    assert last.run_id in found
    assert len({restore.leader(project).run_id for _ in range(3)}) == 1
    assert {run.info.status for run in runs(team)} == {"FINISHED"}


# Records


def test_a_file_that_lies_nowhere_else_and_a_long_chart_of_the_machine_are_kept(
    project, store, move, tmp_path
):
    """A backend of the user's own may log anything; a day of the machine's readings is long."""
    folder = project.root / "made"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "both.txt").write_text("here")
    (tmp_path / "raw.bin").write_bytes(bytes(range(256)))
    readings = [Score("system/cpu", float(n), n) for n in range(1, 1001)]
    with (
        tracking.run(project, "main") as main,
        tracking.run(project, "own", name="mine") as run_id,
    ):
        items = [
            *readings,
            *(Score("loss", 1 / n, n) for n in range(1, 1001)),
            Param("depth", 3),
            Tag("mlflow.note.content", "äöü"),
            File(tmp_path / "raw.bin", "deep/down"),
            File(folder / "pictures", "pictures"),
        ]
        tracking.write(run_id, items)
    runfile.keep(folder, run_id)
    kept = runfile.RunFile.load(folder, made_by="own")
    assert [(each.path, each.text is None) for each in kept.artifacts] == [
        ("deep/down/raw.bin", False),
        ("pictures/both.txt", True),
    ]
    team = move("team")
    again = runfile.log_again(project, kept, folder)
    was, now = described(store, run_id), described(team, again)
    machine = [(1.0, 1), (1000.0, 1000)]
    points = was["metrics"].pop("system/cpu"), now["metrics"].pop("system/cpu")
    assert [[(value, step) for value, step, _ in (p[0], p[-1])] for p in points] == [machine] * 2
    assert len(points[1]) == tracking.CURVE_POINTS
    assert set(points[1]) <= set(points[0])
    assert now == was
    assert store.get_run(run_id).data.tags[tracking.PARENT_TAG] == main
    assert tracking.PARENT_TAG not in team.get_run(again).data.tags


def test_a_run_file_reads_back_as_it_was_written(project):
    for folder, step in ((project.prepared, "prepare"), (project.trained, "train")):
        kept = runfile.RunFile.load(folder, made_by=step)
        assert json.loads(json.dumps(kept.plain())) == json.loads((folder / "run.json").read_text())
        assert kept.experiment == "tiny"
        assert kept.tags["ratchet.step"] == step
    assert len(kept.children) == 3
    assert kept.run_id == Leader.load(project).run_id

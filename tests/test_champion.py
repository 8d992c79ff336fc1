"""One champion stands at every moment, whoever is killed and whoever comes at the same time."""

import os
import shutil
import signal
import sqlite3

import mlflow
import pytest
from conftest import hurry
from forks import processes, warm

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.project import Project
from ratchet.registry import champion, versions
from ratchet.registry.ledger import Kind, Ledger
from ratchet.steps import promote
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader

# Every way in which a promotion writes to MLflow.
WRITES = (
    "create_experiment",
    "create_model_version",
    "create_registered_model",
    "create_run",
    "delete_run",
    "log_artifact",
    "log_batch",
    "log_param",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_tag",
    "set_terminated",
    "transition_model_version_stage",
    "update_model_version",
)


@pytest.fixture
def settle(project):
    return lambda: champion.settle(project.settings, tracking.experiment(project))


def moved_by_hand(store, alias, version):
    store.set_registered_model_alias("tiny", alias, str(version))


def holders(store, stage="Production"):
    found = store.search_model_versions("name = 'tiny'")
    return [int(each.version) for each in found if each.current_stage == stage]


def test_a_promotion_moves_alias_stage_and_previous(project, better, store):
    promote.run(project)
    decision = promote.run(better)
    assert decision.promoted
    aliases = store.get_registered_model("tiny").aliases
    assert aliases == {"champion": 2, "previous": 1}
    assert holders(store) == [2]
    assert holders(store, "Archived") == [1]
    tags = store.get_model_version("tiny", "2").tags
    assert tags["ratchet.decision"] == "promote"
    assert tags["ratchet.decision_run"] == decision.decision_run
    assert float(tags["test/rmse"]) == pytest.approx(decision.score, rel=1e-5)
    assert tags["ratchet.run"] == Leader.load(better).run_id


def test_without_a_stage_only_the_alias_moves(project, store):
    alone = Project.open(project.params_file, ["registry.stage=null"])
    promote.run(alone)
    assert store.get_registered_model("tiny").aliases == {"champion": 1}
    assert holders(store) == []


def test_an_alias_that_was_moved_by_hand_is_taken_and_told(
    project, better, store, settle, monkeypatch
):
    monkeypatch.setattr(champion, "_PAUSE", 0.01)
    promote.run(project)
    promote.run(better)
    moved_by_hand(store, "champion", 1)
    standing = settle()
    assert standing.champion.number == 1
    line = standing.lines[-1]
    assert (line.kind, line.before, line.champion) == (Kind.OBSERVE, 2, 1)
    assert line.reason == (
        "the alias 'champion' was found at version 1, not at 2: somebody moved it by other means"
    )
    assert settle().lines == standing.lines
    assert list(standing.ledger.faults()) == []


def test_an_alias_that_was_put_before_there_was_a_ledger_is_taken(project, store, settle):
    leader = Leader.load(project)
    versions.register(project.settings, run_id=leader.run_id, model_uri=leader.model_uri)
    moved_by_hand(store, "champion", 1)
    [line] = settle().lines
    assert line.reason == (
        "the alias 'champion' was found at version 1, where the ledger knew of none:"
        " somebody moved it by other means"
    )


def test_an_alias_that_was_removed_is_set_again(project, store, settle):
    promote.run(project)
    store.delete_registered_model_alias("tiny", "champion")
    assert settle().champion.number == 1
    assert store.get_registered_model("tiny").aliases == {"champion": 1}


def test_a_champion_whose_version_was_deleted_is_gone(project, store, settle):
    promote.run(project)
    store.delete_registered_model_alias("tiny", "champion")
    store.delete_model_version("tiny", "1")
    assert settle().champion is None


def test_an_unknown_version_is_told_with_those_there_are(project, store):
    promote.run(project)
    with pytest.raises(StoreError) as error:
        versions.get(project.settings, 7)
    assert str(error.value) == "tiny has no version 7. Its versions: 1."


# Killed


class Killer:
    """Ends the process at the n-th write, before or after it is done."""

    def __init__(self, at, after):
        self.left, self.after = at, after

    def arm(self):
        for name in WRITES:
            original = getattr(mlflow.MlflowClient, name)
            setattr(mlflow.MlflowClient, name, self.around(original))

    def around(self, original):
        def write(*args, **kwargs):
            self.left -= 1
            if self.left == 0 and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return original(*args, **kwargs)
            finally:  # a write that finds another there before it fails, and counts as done
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return write


def killed_promotion(params, uri, at, after, writes):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    hurry()
    killer = Killer(at, after)
    killer.arm()
    promote.run(Project.open(params))
    writes.put(at - killer.left)


def copy_of(folder, target, uri_of):
    """Copy a project and its database, so that every point begins alike."""
    shutil.copytree(folder / "project", target / "project")
    with (
        sqlite3.connect(folder / "mlflow.db") as source,
        sqlite3.connect(target / "mlflow.db") as copy,
    ):
        source.backup(copy)
    return uri_of(target)


@pytest.mark.slow
def test_killed_at_any_write_one_champion_stands_and_the_ledger_tells_the_truth(
    project, better, tmp_path, monkeypatch
):
    warm()
    # Whoever is killed carries nothing out any more, and needs no time for it.
    monkeypatch.setattr(champion, "_GRACE", 0.0)
    promote.run(project)
    shutil.rmtree(better.promoted, ignore_errors=True)

    def uri_of(folder):
        return f"sqlite:///{folder / 'mlflow.db'}"

    def attempt(name, at, after):
        folder = tmp_path / name
        folder.mkdir()
        uri = copy_of(tmp_path, folder, uri_of)
        writes = processes.Queue()
        params = folder / "project" / "better.yaml"
        child = processes.Process(target=killed_promotion, args=(params, uri, at, after, writes))
        child.start()
        child.join(120)
        return folder, uri, params, child.exitcode, writes

    *_, code, writes = attempt("whole", 10_000, False)
    assert code == 0
    n_writes = writes.get(timeout=10)
    assert n_writes > 20

    for at in range(1, n_writes + 1):
        after = at % 2 == 0  # of two neighbours, one dies before its write and one after it
        _, uri, params, code, _ = attempt(f"at{at}", at, after)
        assert code == -signal.SIGKILL
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        again = Project.open(params)
        tracking.connect(again)
        store = mlflow.MlflowClient()
        # While nobody has repaired anything, the alias points at the old champion or the new.
        assert champion.current(again.settings).number in (1, 2), at
        decision = promote.run(again)
        standing = champion.settle(again.settings, tracking.experiment(again))
        told = [(line.kind, line.before, line.champion) for line in standing.lines]
        assert told == [(Kind.PROMOTE, None, 1), (Kind.PROMOTE, 1, 2)], at
        assert decision.promoted and decision.version == 2, at
        assert Decision.load(again) == decision or not decision.is_new, at
        assert store.get_registered_model("tiny").aliases == {"champion": 2, "previous": 1}, at
        assert (holders(store), holders(store, "Archived")) == ([2], [1]), at
        assert list(standing.ledger.faults()) == [], at


def begun(project, better):
    """Claim a line for the better leader, as a promotion that is killed just after it does."""
    promote.run(project)
    experiment = tracking.experiment(better)
    standing = champion.settle(better.settings, experiment)
    leader = Leader.load(better)
    line = standing.ledger.begin(
        kind=Kind.PROMOTE,
        after=standing.lines,
        run_id=leader.run_id,
        before=1,
        version=None,
        reason="it is better",
        basis="rules",
        evidence={"model_uri": leader.model_uri},
        tags={},
    )
    return standing.ledger, line, leader


def test_a_version_that_a_killed_process_registered_beside_the_lines_is_taken_back(
    project, better, store, settle
):
    """Two carry out the same line, and the one that comes second dies before it has deleted its."""
    _, _, leader = begun(project, better)

    def register():
        return versions.register(
            better.settings, run_id=leader.run_id, model_uri=leader.model_uri
        ).number

    assert (register(), register()) == (2, 3)
    assert settle().champion.number == 2
    left = {int(each.version) for each in store.search_model_versions("name = 'tiny'")}
    assert left == {1, 2}
    # The same a moment later, when the line is done already.
    assert register() == 4
    assert settle().champion.number == 2
    assert len(store.search_model_versions("name = 'tiny'")) == 2
    assert list(settle().ledger.faults()) == []


def test_versions_that_a_line_may_still_be_bound_to_or_that_somebody_holds_are_left(
    project, better, store, settle
):
    ledger, _, leader = begun(project, better)
    register = {"run_id": leader.run_id, "model_uri": leader.model_uri}
    waiting = versions.register(better.settings, **register)
    # Another process is just between the registration and the line.
    champion._delete_duplicates(better.settings, ledger.lines())
    assert versions.exists(better.settings, waiting.number)
    settle()
    assert store.get_registered_model("tiny").aliases["champion"] == waiting.number
    held = versions.register(better.settings, **register)
    moved_by_hand(store, "shadow", held.number)
    first = Leader.load(project)
    foreign = store.create_model_version("tiny", source=first.model_uri, run_id=first.run_id)
    settle()
    assert versions.exists(better.settings, held.number), "an alias is somebody's"
    assert versions.exists(better.settings, int(foreign.version)), "it isn't this project's"


# At the same time


def promote_at_once(params, uri, barrier, answers):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    hurry()
    project = Project.open(params)
    tracking.connect(project)
    barrier.wait(60)
    decision = promote.run(project)
    answers.put((params.name, decision.outcome.value, decision.line))


def at_once(uri, *params):
    warm()
    barrier, answers = processes.Barrier(len(params)), processes.Queue()
    children = [
        processes.Process(target=promote_at_once, args=(each, uri, barrier, answers))
        for each in params
    ]
    for child in children:
        child.start()
    told = [answers.get(timeout=180) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    return sorted(told)


def check_that_one_won(project, told):
    """Whoever came second was judged against the champion that the first had made."""
    ledger = Ledger.find(project.settings)
    lines = ledger.lines()
    assert list(ledger.faults()) == []
    assert sorted(line for _, _, line in told) == [1, 2]
    assert [line.number for line in lines] == [1, 2]
    assert lines[0].kind is Kind.PROMOTE
    assert lines[1].before == lines[0].champion
    by_name = {name: (outcome, line) for name, outcome, line in told}
    # Trees beat the line for sure, in whichever order they come.
    assert by_name["better.yaml"][0] == "promoted"
    assert by_name["params.yaml"][0] == ("promoted" if by_name["params.yaml"][1] == 1 else "kept")
    standing = champion.settle(project.settings, tracking.experiment(project))
    assert (
        standing.champion.run_id == Leader.load(Project.open(project.root / "better.yaml")).run_id
    )
    assert standing.lines == lines


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_the_other_judges_again(project, better, store):
    uri = mlflow.get_tracking_uri()
    told = at_once(uri, project.params_file, better.params_file)
    check_that_one_won(project, told)
    found = store.search_model_versions("name = 'tiny'")
    assert len(found) == sum(outcome == "promoted" for _, outcome, _ in told)


@pytest.mark.slow
def test_the_same_leader_put_forward_twice_at_once_makes_one_version(better, store):
    uri = mlflow.get_tracking_uri()
    at_once(uri, better.params_file, better.params_file)
    assert [each.version for each in store.search_model_versions("name = 'tiny'")] == [1]
    assert store.get_registered_model("tiny").aliases == {"champion": 1}

"""A retraining is run when it is due, once, and whoever is interrupted is finished by the next."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import copied, tiny_table

from ratchet import lineage, tracking, turns
from ratchet.commands import intake, retrain
from ratchet.commands.retrain import Answer, Door, Retraining
from ratchet.errors import InterruptionError, RatchetError
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.ledger import Ledger
from ratchet.settings import from_mapping
from ratchet.steps import promote


@dataclass(frozen=True)
class Live:
    worse: bool
    score: float = 9.0
    test_score: float = 7.0


@dataclass(frozen=True)
class Report:
    """What monitor gives, as far as a retraining looks at it."""

    verdict: str = "none"
    reasons: tuple[str, ...] = ()
    live: Live | None = None


class Monitor:
    """Says what it is told to, and keeps what it was asked about."""

    def __init__(self, report: Report | RatchetError) -> None:
        self.report = report
        self.asked: list[list[str]] = []

    def __call__(self, project: Project, rows: Path) -> Report:
        inside = sorted(rows.iterdir()) if rows.is_dir() else [rows]
        assert all(path.stat().st_size for path in inside)
        self.asked.append([path.name for path in inside])
        if isinstance(self.report, RatchetError):
            raise self.report
        return self.report


CALM = Monitor(Report())
DRIFT = Report("drift", ("size has moved.",))


@pytest.fixture(scope="module")
def crowned(made_once, tmp_path_factory) -> Path:
    """A project whose data DVC tracks, and whose leader is the champion, made once."""
    folder = tmp_path_factory.mktemp("crowned")
    shutil.copy(made_once / "mlflow.db", folder)
    root = copied(made_once, folder)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        project = Project.open(root / "params.yaml")
        intake.take(project, None, lambda _: None)
        promote.run(project)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return folder


@pytest.fixture
def reigning(crowned, store, tmp_path) -> Project:
    project = Project.open(copied(crowned, tmp_path) / "params.yaml")
    tracking.connect(project)
    return project


def changed(project, **rules):
    """Give the project with other rules."""
    values = yaml.safe_load(project.params_file.read_text())
    values["retrain"] = rules
    return Project(project.params_file, from_mapping(values, origin="params.yaml"))


@pytest.fixture
def may(tmp_path):
    path = tmp_path / "may.parquet"
    tiny_table(rows=120, seed=5).to_parquet(path)
    return path


def everything(project, store):
    """Give what a dry run may not change."""
    experiments = [each.experiment_id for each in store.search_experiments()]
    files = {path: path.stat().st_mtime_ns for path in project.root.rglob("*") if path.is_file()}
    files.pop(project.build / "hashes.json", None)  # the md5 of files that have not changed
    return files, len(store.search_runs(experiments))


def test_data_that_were_judged_are_no_reason_and_that_is_on_record(reigning, store):
    for _ in range(2):
        found = retrain.run(reigning, watch=CALM)
        assert found.told == "not due: these data were judged already, and tiny/1 holds"
        assert (found.answer, found.promoted, found.is_no) == (Answer.NOT_DUE, False, False)
        assert Retraining.load(reigning) == found
        run = store.get_run(found.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["ratchet.step"] == "retrain"
        assert run.data.tags["ratchet.retrain"] == "not_due"
        assert run.data.tags["mlflow.note.content"] == found.told
        assert run.data.tags["ratchet.data_version"] == found.data_version
        assert run.data.metrics["retrain/due"] == 0
        kept = store.download_artifacts(found.run_id, "retrain.json")
        assert json.loads(Path(kept).read_text())["told"] == found.told
    assert CALM.asked == []
    assert len(Ledger.find(reigning.settings).lines()) == 1


def test_new_data_are_taken_in_trained_on_and_put_forward(reigning, store, may, running):
    calm = Monitor(Report())
    before = everything(reigning, store)
    dry = retrain.run(reigning, given=may, dry_run=True, watch=calm)
    assert dry.told == "due: new data (may.parquet)"
    assert dry.is_no
    assert everything(reigning, store) == before
    found = retrain.run(reigning, given=may, watch=calm)
    assert calm.asked == [["may.parquet"]] * 2
    assert found.told.startswith("retrained: new data (may.parquet); ")
    assert (found.answer, found.door, found.taken) == (
        *(Answer.TRAINED, Door.RUN),
        ("may.parquet",),
    )
    assert found.decision["run_id"] != champion.current(reigning.settings).run_id or found.promoted
    assert lineage.data_state(reigning.source).version == found.data_version
    line = Ledger.find(reigning.settings).lines()[-1]
    assert (line.number, line.decision_run) == (2, found.decision["decision_run"])
    tags = store.get_run(found.run_id).data.tags
    assert tags["ratchet.leader_run"] == found.decision["run_id"]
    assert tags["ratchet.decision_run"] == line.decision_run
    assert tags["ratchet.reason"] == "new data (may.parquet)"
    assert not running()
    # Once more, also with the same file: nothing is new.
    again = retrain.run(reigning, given=may, watch=calm)
    assert again.answer is Answer.NOT_DUE
    assert len(calm.asked) == 2


def test_monitor_is_asked_about_new_rows_only(reigning, may):
    (reigning.source / "more.parquet").write_bytes(may.read_bytes())
    for report, rules, due in (
        (DRIFT, {}, "drift: size has moved"),
        (DRIFT, {"on_drift": False}, ""),
        (Report("watch", ("a little.",)), {}, ""),
        (Report(live=Live(worse=True)), {}, "the live score 9 is worse than 7"),
        (Report(live=Live(worse=False)), {}, ""),
        (Report(live=Live(worse=True)), {"on_live_score": False}, ""),
        (RatchetError("The champion has no profile."), {}, ""),
    ):
        monitor = Monitor(report)
        project = changed(reigning, on_new_data=False, **rules)
        found = retrain.run(project, given=may, dry_run=True, watch=monitor)
        assert found.reasons == ((due,) if due else ())
        assert monitor.asked == [["may.parquet", "more.parquet"]]
        if isinstance(report, RatchetError):
            told = "monitor could not say whether there is drift: The champion has no profile"
            assert told in found.against


def test_nobody_is_asked_what_no_rule_wants_to_know(reigning, may):
    monitor = Monitor(DRIFT)
    project = changed(reigning, on_drift=False, on_live_score=False, min_new_rows=121)
    found = retrain.run(project, given=may, dry_run=True, watch=monitor)
    assert monitor.asked == []
    assert found.told == (
        "not due: new data (120 rows in may.parquet), fewer rows than the 121 of"
        " retrain.min_new_rows"
    )
    project = changed(reigning, on_drift=False, on_live_score=False, min_new_rows=120)
    assert retrain.run(project, given=may, dry_run=True).reasons == (
        "new data (120 rows in may.parquet)",
    )


def test_the_age_is_that_of_the_last_training_that_was_judged(reigning):
    young = changed(reigning, max_age_days=1.0)
    assert retrain.run(young, dry_run=True).answer is Answer.NOT_DUE
    old = changed(reigning, max_age_days=1e-9)
    [reason] = retrain.run(old, dry_run=True).reasons
    assert reason.startswith("the last training is ")


def test_without_a_champion_it_is_due(project):
    found = retrain.run(project, dry_run=True)
    assert found.told == "due: there is no champion"


def test_two_at_once_are_one(reigning, store):
    with turns.taken(reigning.build / "retrain" / "turn.json", "retraining"):
        found = retrain.run(reigning, force_due="a new library")
    assert found.answer is Answer.BUSY
    assert found.told.startswith("nothing was done: another retraining is under way (process ")
    assert not found.is_no
    assert Retraining.load(reigning) is None


def interrupted(project, at, **given):
    """Run until a place, and stop there as Ctrl-C does."""

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, InterruptionError)):
        retrain.run(project, watch=Monitor(Report()), **{at: stop}, **given)


def test_one_that_was_interrupted_in_its_training_is_finished_by_the_next(reigning, store, running):
    before = [line.number for line in Ledger.find(reigning.settings).lines()]
    interrupted(reigning, "on_trial", force_due="a new library")
    left = Retraining.load(reigning)
    assert (left.ended, left.forced, left.reasons) == (None, True, ("asked for: a new library",))
    assert not running()
    said = []
    found = retrain.run(reigning, watch=CALM, on_trial=said.append)
    assert found.told.startswith("retrained: asked for: a new library; ")
    assert [trial.resumed for trial in said].count(True) == 1
    assert found.began == left.began
    assert [line.number for line in Ledger.find(reigning.settings).lines()] == [*before, 2]
    assert retrain.run(reigning, watch=CALM).answer is Answer.NOT_DUE


def test_one_that_was_interrupted_while_it_took_data_in_takes_them_in_the_next_time(
    reigning, may, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(intake, "_copy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            retrain.run(reigning, given=may, watch=CALM)
    assert not (reigning.source / may.name).exists()
    project = changed(reigning, on_new_data=False)
    found = retrain.run(project, watch=Monitor(Report()))
    assert found.answer is Answer.NOT_DUE
    assert found.taken == ("may.parquet",)
    assert (reigning.source / may.name).exists()


def test_a_mistake_in_what_is_given_is_not_one_of_the_next_call(reigning, tmp_path):
    other = tmp_path / "rows.parquet"
    other.write_bytes(b"another")
    with pytest.raises(RatchetError, match=r"another rows\.parquet already"):
        retrain.run(reigning, given=other, watch=CALM)
    assert retrain.run(reigning, watch=CALM).answer is Answer.NOT_DUE


def test_what_was_left_over_counts_only_for_the_same_data(reigning):
    version = lineage.data_version(reigning.source)
    Retraining(Answer.DUE, "", "2026-01-01", data_version="another", reasons=("drift: x",)).save(
        reigning
    )
    assert retrain.run(reigning, dry_run=True).answer is Answer.NOT_DUE
    Retraining(Answer.DUE, "", "2026-01-01", data_version=version, reasons=("drift: x",)).save(
        reigning
    )
    assert retrain.run(reigning, dry_run=True).told == "due: drift: x"


def test_data_of_which_a_filter_left_nothing_new_are_not_trained_on_every_night(reigning, may):
    """DVC runs no training then, so that no decision says that they were judged."""
    (reigning.source / "may.parquet").write_bytes(may.read_bytes())
    version = lineage.data_version(reigning.source)
    assert retrain.run(reigning, dry_run=True, watch=CALM).answer is Answer.DUE
    Retraining(Answer.TRAINED, "", "2026-01-01", ended="2026-01-01", trained_on=version).save(
        reigning
    )
    for _ in range(2):
        assert retrain.run(reigning, watch=CALM).answer is Answer.NOT_DUE


def test_a_note_that_nobody_can_read_is_none(reigning):
    file = reigning.build / "retrain" / "retrain.json"
    for text in ("", "[]", '{"answer": "x"}', '{"promoted": 1, "door": null}'):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        assert Retraining.load(reigning) is None


def test_committed_is_the_pointer_alone(reigning, may, git):
    root = reigning.root
    git(root, "init", "--quiet")
    with pytest.raises(RatchetError, match="--commit needs a git repository with a commit"):
        retrain.run(reigning, commit=True)
    git(root, "add", "params.yaml", "data.dvc")
    git(root, "commit", "--quiet", "--message", "first")
    (root / "notes.txt").write_text("mine")
    git(root, "add", "notes.txt")
    project = changed(reigning, on_new_data=False, on_drift=False, on_live_score=False)
    found = retrain.run(project, given=may, commit=True)
    assert git(root, "show", "--name-only", "--format=%s%n%H").split() == [
        *("Data:", "may.parquet"),
        found.commit,
        "data.dvc",
    ]
    assert git(root, "status", "--porcelain", "notes.txt").startswith("A ")
    assert retrain.run(project, commit=True).commit is None


# The command


def test_the_command_says_one_line_and_its_exit_code_tells(reigning, call, may):
    quiet = ("--set", "retrain.on_drift=false retrain.on_live_score=false")
    params = ("--params", reigning.params_file)
    code, out, _ = call("retrain", *params, "--strict")
    assert (code, out) == (0, "not due: these data were judged already, and tiny/1 holds\n")
    dry = ("retrain", *params, "--data", may, "--dry-run", *quiet)
    assert call(*dry)[:2] == (0, "due: new data (may.parquet)\n")
    assert call(*dry, "--strict")[0] == 1
    code, out, err = call(*dry, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["answer"] == "due"
    code, out, err = call("retrain", *params, "--data", "nowhere.csv")
    assert (code, out) == (2, "")
    assert err == (
        "RatchetError: --data nowhere.csv is not there. Name a file, or a folder of files.\n"
    )


def test_a_project_with_stages_is_run_by_dvc_and_one_with_overrides_here(reigning):
    assert not retrain._has_dvc(reigning)
    shutil.copy(Path(__file__).parents[1] / "dvc.yaml", reigning.root)
    assert retrain._has_dvc(reigning)
    assert not retrain._has_dvc(Project.open(reigning.params_file, ["seed=3"]))
    assert not retrain._has_dvc(Project.open(reigning.root / "better.yaml"))
    values = yaml.safe_load((reigning.root / "dvc.yaml").read_text())
    assert set(values["stages"]) >= {"prepare", "promote"}


def test_what_was_taken_in_and_committed_is_known_to_the_next_call(reigning, may, git):
    root = reigning.root
    git(root, "init", "--quiet")
    git(root, "add", "params.yaml", "data.dvc")
    git(root, "commit", "--quiet", "--message", "first")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain.run(reigning, given=may, commit=True, watch=stop)
    left = Retraining.load(reigning)
    assert left.commit == git(root, "rev-parse", "HEAD").strip()
    assert (left.taken, left.given) == (("may.parquet",), None)

"""What every step does alike: its run says where it comes from, and steps go in order."""

import importlib.metadata
import shutil
import tempfile

import numpy as np
import pytest
import yaml
from conftest import tiny_settings

from ratchet import lineage, settings
from ratchet.commands import pipeline
from ratchet.errors import RatchetError, StoreError
from ratchet.project import Project
from ratchet.steps import evaluate, origin, prepare, promote, train

STEPS = {"prepare": prepare, "train": train, "evaluate": evaluate, "promote": promote}


@pytest.fixture
def project(evaluated):
    return Project.open(evaluated)


def runs_of(store, step):
    """Give the runs of a step, the newest first."""
    experiments = [each.experiment_id for each in store.search_experiments()]
    return store.search_runs(experiments, f"tags.`ratchet.step` = '{step}'")


def content(folder):
    """Give the bytes of every file under a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Where a run comes from


@pytest.fixture(params=STEPS)
def run(request, project, store):
    """The newest run of a step on ``params.yaml``."""
    if request.param == "promote":
        promote.run(project)
    digest = lineage.params_digest(settings.flat(project.settings))
    [found] = [
        each
        for each in runs_of(store, request.param)
        if each.data.tags["ratchet.params_digest"] == digest
    ]
    return found


def test_every_run_ends_and_is_in_the_experiment_of_the_task(run, store):
    assert run.info.status == "FINISHED"
    assert store.get_experiment(run.info.experiment_id).name == "tiny"


def test_every_run_has_all_settings_as_dotted_params(run, project):
    expected = {name: str(value) for name, value in settings.flat(project.settings).items()}
    assert expected.items() <= run.data.params.items()
    assert run.data.params["train.search.max_trials"] == "3"
    others = set(run.data.params) - set(expected)
    assert all(name.startswith("leader") for name in others)


def test_every_run_says_which_bytes_were_read(run, project):
    tags = run.data.tags
    assert tags["ratchet.data_version"] == lineage.data_version(project.source)
    assert tags["ratchet.data_version"].endswith(".dir")
    assert tags["ratchet.data_dirty"] == "true"
    assert tags["ratchet.data_reason"] == "data is not tracked by DVC"


def test_every_run_says_what_the_machine_and_the_libraries_were(run):
    tags = run.data.tags
    machine = lineage.hardware()
    assert tags["ratchet.hardware.cpu"] == machine.cpu
    assert tags["ratchet.hardware.cores_logical"] == str(machine.cores_logical)
    assert tags["ratchet.hardware.memory_gib"] == str(machine.memory_gib)
    assert tags["ratchet.hardware.gpus"] == (", ".join(machine.gpus) or "none")
    assert tags["ratchet.hardware.python"] == machine.python
    for name in ("mlflow", "dvc", "scikit-learn", "xgboost", "hyperopt", "skops", "pandas"):
        assert tags[f"ratchet.version.{name}"] == importlib.metadata.version(name)


def test_every_run_says_how_long_it_took(run):
    step = run.data.tags["ratchet.step"]
    if step != "promote":
        assert run.data.metrics[f"{step}/seconds"] > 0
    assert run.info.end_time > run.info.start_time


def test_every_run_says_why_it_has_no_commit_where_there_is_no_repository(run, project):
    assert "mlflow.source.git.commit" not in run.data.tags
    assert run.data.tags["ratchet.dirty"] == "unknown"
    assert run.data.tags["ratchet.code_reason"].endswith("/project is in no git repository")


def test_every_run_keeps_a_parameter_file_that_means_the_same(run, store, project, tmp_path):
    store.download_artifacts(run.info.run_id, "lineage", str(tmp_path))
    kept = settings.load(tmp_path / "lineage" / "params.yaml")
    assert kept == project.settings
    assert run.data.tags["ratchet.params_digest"] == lineage.params_digest(settings.flat(kept))


def test_every_run_keeps_the_pins_of_what_was_installed(run, store, tmp_path):
    store.download_artifacts(run.info.run_id, "lineage", str(tmp_path))
    pins = (tmp_path / "lineage" / "environment.txt").read_text().splitlines()
    assert f"numpy=={np.__version__}" in pins
    assert pins == sorted(set(pins))


def test_the_steps_of_one_pipeline_share_its_id(project, store):
    promote.run(project)
    mine = {
        each.data.tags["ratchet.pipeline"]
        for step in STEPS
        for each in runs_of(store, step)
        if each.data.params["train.families"] == "['baseline', 'ridge']"
    }
    others = {each.data.tags["ratchet.pipeline"] for each in runs_of(store, "train")}
    assert len(mine) == 1
    assert len(others) == 2


def test_a_run_names_the_commit_and_keeps_the_changes_on_top_of_it(tiny, store, git, tmp_path):
    params = tiny()
    home = params.parent
    (home / ".gitignore").write_text("build/\n")
    git(home, "init", "-q")
    git(home, "add", ".")
    git(home, "commit", "-q", "-m", "first")
    commit = git(home, "rev-parse", "HEAD").strip()
    project = Project.open(params)

    clean = store.get_run(prepare.run(project).run_id)
    assert clean.data.tags["mlflow.source.git.commit"] == commit
    assert clean.data.tags["ratchet.dirty"] == "false"
    assert clean.data.tags["ratchet.params_file"] == "params.yaml"
    assert [each.path for each in store.list_artifacts(clean.info.run_id, "lineage")] == [
        "lineage/environment.txt",
        "lineage/params.yaml",
    ]

    (home / ".gitignore").write_text("build/\nelse/\n")
    dirty = store.get_run(prepare.run(project).run_id)
    assert dirty.data.tags["mlflow.source.git.commit"] == commit
    assert dirty.data.tags["ratchet.dirty"] == "true"
    store.download_artifacts(dirty.info.run_id, "lineage", str(tmp_path))
    assert "+else/" in (tmp_path / "lineage" / "dirty.patch").read_text()


def test_data_that_nobody_recorded_make_no_champion_unless_they_may(project):
    refused = promote.run(Project.open(project.params_file, ["promote.dirty_data=refuse"]))
    assert refused.reason == (
        f"data version {lineage.data_version(project.source)} is dirty (data is not tracked by"
        " DVC). Record it with `dvc add` or `dvc commit`, or set promote.dirty_data to allow"
    )
    assert not refused.promoted
    assert promote.run(project).promoted


# A dirty tree


@pytest.fixture
def home(project, git):
    """The project in a repository of its own, with a new file that a run may import."""
    home = project.root
    (home / ".gitignore").write_text("build/\ndata/\n")
    git(home, "init", "-q")
    git(home, "add", ".")
    git(home, "commit", "-q", "-m", "first")
    (home / "src").mkdir()
    (home / "src" / "new.py").write_text("RATE = 1\n")
    return home


def every_run(store):
    experiments = [each.experiment_id for each in store.search_experiments()]
    return {run.info.run_id for run in store.search_runs(experiments, max_results=1000)}


@pytest.mark.parametrize("step", [*STEPS, "pipeline"])
def test_a_dirty_tree_is_refused_before_a_step_does_anything(project, home, store, git, step):
    (home / "better.yaml").write_text("")
    refusing = Project.open(project.params_file, ["lineage.dirty=refuse"])
    before = content(project.build), every_run(store)
    with pytest.raises(RatchetError) as raised:
        (STEPS | {"pipeline": pipeline})[step].run(refusing)
    commit = git(home, "rev-parse", "HEAD")[:7]
    assert str(raised.value) == (
        f"lineage.dirty is refuse, and better.yaml, src/new.py differ from commit {commit}."
        " Commit the changes, or set lineage.dirty to record or allow."
    )
    assert (content(project.build), every_run(store)) == before


def test_the_command_line_refuses_a_dirty_tree_with_exit_code_2(project, home, call):
    refuse = ("--params", project.params_file, "--set", "lineage.dirty=refuse")
    code, out, err = call("prepare", *refuse)
    assert (code, out) == (2, "")
    assert err.startswith(
        "RatchetError: lineage.dirty is refuse, and src/new.py differs from commit "
    )


def test_a_refusal_names_the_first_of_many_files(project, home):
    for number in range(12):
        (home / "src" / f"a{number:02}.py").touch()
    refusing = Project.open(project.params_file, ["lineage.dirty=refuse"])
    with pytest.raises(RatchetError, match=r"src/a09\.py and 3 more differ from commit"):
        prepare.run(refusing)


def test_code_that_no_repository_knows_is_refused_too(project, store):
    refusing = Project.open(project.params_file, ["lineage.dirty=refuse"])
    before = every_run(store)
    with pytest.raises(RatchetError) as raised:
        prepare.run(refusing)
    assert str(raised.value) == (
        "lineage.dirty is refuse, and the code is in no commit:"
        f" {project.root} is in no git repository."
        " Commit it with git, or set lineage.dirty to record or allow."
    )
    assert every_run(store) == before


def test_a_clean_tree_is_not_refused(project, home, store):
    (home / "src" / "new.py").unlink()
    run = store.get_run(
        prepare.run(Project.open(project.params_file, ["lineage.dirty=refuse"])).run_id
    )
    assert run.data.tags["ratchet.dirty"] == "false"


def kept(store, run_id):
    return [each.path for each in store.list_artifacts(run_id, "lineage")]


def test_a_dirty_tree_is_recorded_with_its_patch_or_only_told(project, home, store):
    recorded = prepare.run(project).run_id
    allowed = prepare.run(Project.open(project.params_file, ["lineage.dirty=allow"])).run_id
    assert "lineage/dirty.patch" in kept(store, recorded)
    assert "lineage/dirty.patch" not in kept(store, allowed)
    for run_id in (recorded, allowed):
        assert store.get_run(run_id).data.tags["ratchet.dirty"] == "true"


def test_a_model_whose_patch_is_nowhere_does_not_count_as_recorded(project, home):
    for rule, whole in (("record", True), ("allow", False)):
        leader = train.run(Project.open(project.params_file, [f"lineage.dirty={rule}"]))
        assert (leader.code.dirty, leader.code.patch_whole) == (True, whole)


@pytest.mark.parametrize(
    "setting",
    [
        "train.plugins=[own_module]",
        "train.metric=own_module:cost",
        "train.backends={callable: {build_model: 'own_module:build'}}",
        "train.backends={callable: {modules: [own_module]}}",
    ],
)
def test_new_files_that_settings_name_are_in_the_patch(project, home, monkeypatch, setting):
    (home / "lib").mkdir()
    (home / "lib" / "own_module.py").write_text("RATE = 1\n")
    monkeypatch.syspath_prepend(str(home / "lib"))
    found = origin.of(Project.open(project.params_file, [setting]), lineage.DataState("", False))
    assert found.changed == ("lib/own_module.py", "src/new.py")
    assert "+++ b/lib/own_module.py" in found.patch


def test_overrides_are_recorded_and_never_written_to_the_parameter_file(evaluated, store):
    before = evaluated.read_bytes()
    outcome = prepare.run(Project.open(evaluated, ["seed=3 split.test=0.25"]))
    run = store.get_run(outcome.run_id)
    assert run.data.tags["ratchet.overrides"] == "seed=3 split.test=0.25"
    assert (run.data.params["seed"], run.data.params["split.test"]) == ("3", "0.25")
    assert evaluated.read_bytes() == before


# The order of the steps


@pytest.mark.parametrize(
    ("step", "lacks", "missing", "first"),
    [
        ("train", "prepared", "prepared/schema.json", "prepare"),
        ("train", "prepared/valid.parquet", "prepared/valid.parquet", "prepare"),
        ("train", "prepared/data.json", "prepared/data.json", "prepare"),
        ("evaluate", "train", "train/leader.json", "train"),
        ("evaluate", "prepared", "prepared/schema.json", "prepare"),
        ("evaluate", "prepared/test.parquet", "prepared/test.parquet", "prepare"),
        ("promote", "train", "train/leader.json", "train"),
        ("promote", "evaluate", "evaluate/metrics.json", "evaluate"),
        ("promote", "prepared/data.json", "prepared/data.json", "prepare"),
        ("promote", "prepared/schema.json", "prepared/schema.json", "prepare"),
    ],
)
def test_a_step_before_its_predecessor_says_which_one_to_run(
    project, running, step, lacks, missing, first
):
    (project.build / lacks).rename(project.build / "gone")
    before = content(project.build)
    with pytest.raises(RatchetError) as raised:
        STEPS[step].run(project)
    assert str(raised.value) == (
        f"{project.build / missing} is not there. Run the step {first} first."
    )
    assert content(project.build) == before
    assert running() == []


@pytest.mark.parametrize("step", ["train", "evaluate", "promote"])
def test_a_broken_file_of_an_earlier_step_says_which_one_to_run_again(project, running, step):
    path = project.prepared / "schema.json"
    path.write_text('{"columns": [')
    with pytest.raises(RatchetError) as raised:
        STEPS[step].run(project)
    assert str(raised.value) == (
        f"{path} is not valid JSON (Expecting value: line 1 column 14 (char 13))."
        " Run the step prepare again."
    )
    assert running() == []


@pytest.mark.parametrize("step", ["evaluate", "promote"])
def test_a_leader_of_another_store_is_told(project, store, tmp_path, empty_store, step):
    run_id = train.Leader.load(project).run_id
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    (tmp_path / "other.db").write_bytes(empty_store.read_bytes())
    elsewhere = Project.open(project.params_file, [f"tracking.uri={uri}"])
    before = content(project.build)
    with pytest.raises(StoreError) as raised:
        STEPS[step].run(elsewhere)
    assert str(raised.value) == (
        f"The leader's run {run_id} is not in {uri}: it was trained with another store."
        " Train again with `dvc repro -f train`, or set MLFLOW_TRACKING_URI to the store that"
        " has it."
    )
    assert content(project.build) == before


@pytest.mark.parametrize("step", ["prepare", "train", "evaluate"])
def test_a_step_that_may_not_write_says_so(project, running, step, monkeypatch):
    """Permissions don't hold root back, so the system's call answers as it does to others."""
    make = tempfile.mkdtemp

    def refuse(suffix=None, prefix=None, dir=None):
        if dir == project.build:
            raise PermissionError(13, "Permission denied")
        return make(suffix, prefix, dir)

    before = content(project.build)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(RatchetError) as raised:
        STEPS[step].run(project)
    assert str(raised.value) == (
        f"Can't write to {project.build}: Permission denied. Make the folder writable."
    )
    # What the search has tried is kept, so that it needn't be tried again.
    shutil.rmtree(project.build / "search", ignore_errors=True)
    assert content(project.build) == before
    assert running() == []


def test_a_task_of_another_name_has_its_own_experiment_and_model(evaluated, store):
    values = tiny_settings(name="other", train__families=["baseline"])
    evaluated.with_name("other.yaml").write_text(yaml.safe_dump(values))
    outcome = prepare.run(Project.open(evaluated.with_name("other.yaml")))
    run = store.get_run(outcome.run_id)
    assert store.get_experiment(run.info.experiment_id).name == "other"

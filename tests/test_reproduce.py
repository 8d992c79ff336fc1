"""A model is made again from its record, and the answer says whether it is the same, or why not."""

import hashlib
import inspect
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import COMMITTER, REAL_DATA, ROOT, UNSET, tiny_settings, tiny_table

from ratchet import cli, lineage, scratch
from ratchet.commands.reproduce import TOLERANCE, Kind
from ratchet.registry.versions import DIGEST_TAG

MONTHS = REAL_DATA / "nyc-green-taxi"

VERSION_TAG = "ratchet.data_version"

# The model is what this says: other code is another model.
SHAPE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
import numpy as np

ALPHA = 1.0


def build_model(config, problem_type):
    numbers = ColumnTransformer([("numbers", "passthrough", ["size", "rooms"])])
    return make_pipeline(numbers, Ridge(alpha=ALPHA))


def train_fn(model, X, y, config):
    noise = np.random.default_rng().normal(0, config["noise"], len(y))
    model.fit(X, y * (1 + noise))


def predict_fn(model, X):
    return model.predict(X)
"""
FRESH = "ALPHA = 2000.0\n"


def settings(noise: float = 0.0) -> dict:
    values = tiny_settings(train__families=["baseline", "callable"])
    values["train"]["backends"] = {
        "callable": {
            "build_model": "shape:build_model",
            "train_fn": "shape:train_fn",
            "predict_fn": "shape:predict_fn",
            "noise": noise,
            "deterministic": True,
        }
    }
    return values


def command(folder: Path, *arguments: str) -> None:
    subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **COMMITTER, "DVC_NO_ANALYTICS": "true"},
        check=True,
        capture_output=True,
    )


def trained(params: Path, **changes: object) -> str:
    """Prepare, train and evaluate in this process, with the modules of the project as they are."""
    from ratchet.project import Project
    from ratchet.steps import evaluate, prepare, train

    for name in ("shape", "fresh"):
        sys.modules.pop(name, None)
    project = Project.open(params, [f"{name}={value}" for name, value in changes.items()])
    prepare.run(project)
    leader = train.run(project)
    evaluate.run(project)
    return leader.run_id


@dataclass(frozen=True)
class Past:
    """A project with a history, in a store that knows its runs."""

    root: Path
    """Its checkout."""
    store: Path
    """The database."""
    runs: Mapping[str, str]
    """Ids of its training runs, by what is special about them."""


@pytest.fixture(scope="session")
def once(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A project in git and DVC, trained from a clean tree, from a dirty one, and with dice."""
    import mlflow

    from ratchet.project import Project
    from ratchet.registry import versions

    folder = tmp_path_factory.mktemp("past")
    root = folder / "project"
    (root / "src").mkdir(parents=True)
    (root / "data").mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    shutil.copy(ROOT / "src" / "__main__.py", root / "src")
    (root / "src" / "ratchet").symlink_to(ROOT / "src" / "ratchet")
    (root / "src" / "shape.py").write_text(SHAPE)
    (root / ".gitignore").write_text("build/\n__pycache__/\n/data\n")
    (root / "uv.lock").write_text("# the first lock\n")
    for name, noise in {"params.yaml": 0.0, "dice.yaml": 1e-7}.items():
        (root / name).write_text(yaml.safe_dump(settings(noise)))
    tiny_table().to_parquet(root / "data" / "rows.parquet")
    command(root, "git", "init", "--quiet")
    command(root, sys.executable, "-m", "dvc", "init", "--quiet")
    command(root, sys.executable, "-m", "dvc", "add", "--quiet", "data")
    command(root, "git", "add", "--all")
    command(root, "git", "commit", "--quiet", "--message", "one")
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        patch.syspath_prepend(root / "src")
        runs["clean"] = trained(root / "params.yaml", seed=11)
        runs["dice"] = trained(root / "dice.yaml")
        shape = SHAPE.replace("ALPHA = 1.0", "from fresh import ALPHA")
        (root / "src" / "shape.py").write_text(shape)
        (root / "src" / "fresh.py").write_text(FRESH)
        runs["dirty"] = trained(root / "params.yaml")
        client = mlflow.MlflowClient()
        model = client.get_run(runs["clean"]).outputs.model_outputs[0].model_id
        opened = Project.open(root / "params.yaml").settings
        found = versions.register(opened, run_id=runs["clean"], model_uri=f"models:/{model}")
        versions.hold_alias(found, "champion")
    (root / "src" / "shape.py").write_text(SHAPE)
    (root / "src" / "fresh.py").unlink()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return Past(root, folder / "mlflow.db", runs)


@pytest.fixture
def past(once: Past, store: object, tmp_path: Path) -> Past:
    """Give a copy of ``once``, whose checkout is at its first commit, clean."""
    root = tmp_path / "project"
    shutil.copytree(once.root, root, symlinks=True)
    with (
        sqlite3.connect(once.store) as source,
        sqlite3.connect(tmp_path / "mlflow.db") as copy,
    ):
        source.backup(copy)
    return Past(root, tmp_path / "mlflow.db", once.runs)


def state(past: Past) -> dict[str, str]:
    """Digest all that may not change: every file of the checkout and what the store says."""
    found = {}
    for path in sorted(past.root.rglob("*")):
        name = path.relative_to(past.root).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    with sqlite3.connect(past.store) as database:
        found["store"] = hashlib.sha256("".join(database.iterdump()).encode()).hexdigest()
    return found


Reproduce = Callable[..., tuple[int, dict]]


@pytest.fixture
def reproduce(past: Past, call: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Call ``ratchet reproduce … --json``; nothing of the user's may change, nothing be left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def run(reference: str, *options: object) -> tuple[int, dict]:
        before = state(past)
        params = past.root / "params.yaml"
        code, out, err = call("reproduce", reference, "--params", params, "--json", *options)
        assert state(past) == before
        assert list(temporary.iterdir()) == []
        return code, json.loads(out) if out else {"error": err}

    return run


@pytest.fixture
def another(past: Past, store: object, tmp_path: Path):
    """Make a run like a recorded one, but for some tags and files: what was recorded otherwise."""
    import mlflow

    def make(
        run_id: str,
        tags: Mapping[str, str | None] | None = None,
        files: Mapping[str, str | None] | None = None,
    ) -> str:
        client = mlflow.MlflowClient()
        run = client.get_run(run_id)
        place = tmp_path / "artifacts" / str(len(list(tmp_path.glob("artifacts/*"))))
        place.mkdir(parents=True)
        client.download_artifacts(run_id, "", str(place))
        for name, text in (files or {}).items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).unlink(missing_ok=True)
            if text is not None:
                (place / name).write_text(text)
        experiment = client.create_experiment(f"planted {place}", f"file://{place}.store")
        kept = {**run.data.tags, **(tags or {})}
        made = client.create_run(
            experiment, tags={name: value for name, value in kept.items() if value is not None}
        ).info.run_id
        for name, value in run.data.params.items():
            client.log_param(made, name, value)
        for name, value in run.data.metrics.items():
            client.log_metric(made, name, value)
        client.log_artifacts(made, str(place))
        client.log_outputs(made, run.outputs.model_outputs)
        client.set_terminated(made)
        return made

    return make


def kinds(found: Mapping) -> list[str]:
    return [each["kind"] for each in found["differences"]]


def told(found: Mapping, kind: str) -> str:
    (text,) = [each["text"] for each in found["differences"] if each["kind"] == kind]
    return text


def move_on(past: Past, git: Callable[..., str]) -> None:
    """Change parameters, code, data and lock, and commit all of it."""
    values = settings()
    values["seed"] = 99
    (past.root / "params.yaml").write_text(yaml.safe_dump(values))
    (past.root / "src" / "shape.py").write_text(SHAPE.replace("ALPHA = 1.0", "ALPHA = 5000.0"))
    (past.root / "uv.lock").write_text("# another lock\n")
    shutil.rmtree(past.root / "data")
    (past.root / "data").mkdir()
    tiny_table(rows=300, seed=5).to_parquet(past.root / "data" / "rows.parquet")
    command(past.root, sys.executable, "-m", "dvc", "add", "--quiet", "data")
    git(past.root, "add", "--all")
    git(past.root, "commit", "--quiet", "--message", "moved on")


# The same


@pytest.mark.slow
def test_a_champion_is_made_again_after_params_code_data_and_lock_have_moved_on(
    past, reproduce, git, monkeypatch
):
    move_on(past, git)
    # Without uv, the recorded lock can't be built.
    monkeypatch.setenv("PATH", os.pathsep.join(_without_uv()))
    code, found = reproduce("tiny@champion")
    assert (code, found["answer"]) == (0, "identical"), found
    assert (found["label"], found["model"], found["version"]) == ("tiny/1", "tiny", 1)
    assert found["run_id"] == past.runs["clean"]
    assert found["predictions"]["n_differing"] == 0
    assert found["predictions"]["n_rows"] > 0
    assert found["score"]["name"] == "test/rmse"
    assert found["score"]["recorded"] == found["score"]["again"]
    assert kinds(found) == ["lock"]
    assert "there is no uv to build it with" in told(found, "lock")


def _without_uv() -> list[str]:
    return [
        each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "uv").exists()
    ]


@pytest.mark.slow
def test_a_dirty_tree_is_made_again_and_what_made_no_difference_is_told(
    past, reproduce, another, tmp_path
):
    values = settings()
    values["train"]["search"]["budget_seconds"] = 30
    run_id = another(
        past.runs["dirty"],
        {"ratchet.hardware.cpu": "Z80", "ratchet.version.numpy": "1.0.0"},
        {"lineage/params.yaml": yaml.safe_dump(values), "search.json": None},
    )
    kept = tmp_path / "kept"
    code, found = reproduce(run_id, "--keep", kept)
    assert (code, found["answer"]) == (0, "identical"), found
    assert kinds(found) == ["search", "library", "cpu"]
    assert "the same number of trials, 2, is not exact" in told(found, "search")
    assert told(found, "library").startswith("numpy 1.0.0 → ")
    assert told(found, "cpu").startswith("Z80 → ")
    # What was kept is what ran.
    assert found["kept"] == str(kept)
    checkout = kept / "checkout"
    assert (checkout / "src" / "fresh.py").read_text() == FRESH
    assert (checkout / "data" / "rows.parquet").exists()
    assert (checkout / "build" / "train" / "model" / "MLmodel").exists()
    assert "train: " in (kept / "logs" / "train.log").read_text()
    with sqlite3.connect(kept / "store" / "mlflow.db") as database:
        rows = database.execute("select distinct value from tags where key = ?", [VERSION_TAG])
        versions = [version for (version,) in rows]
    pointer = yaml.safe_load((past.root / "data.dvc").read_text())["outs"][0]
    assert versions == [pointer["md5"]]


@pytest.mark.slow
def test_the_environment_of_the_recorded_lock_is_built_by_uv(
    past, reproduce, another, git, monkeypatch
):
    program = scratch.uv(ROOT) or scratch.uv((ROOT / ".venv").resolve().parent)
    if program is None:
        pytest.skip("uv is not installed: `pip install uv` lets the recorded lock be built")
    for name in ("uv.lock", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, past.root)
    git(past.root, "add", "--all")
    git(past.root, "commit", "--quiet", "--message", "the whole lock")
    digest = lineage.lock_digest(past.root)
    with (past.root / "uv.lock").open("a") as lock:
        lock.write("# moved on\n")
    run_id = another(
        past.runs["clean"],
        {
            "mlflow.source.git.commit": git(past.root, "rev-parse", "HEAD").strip(),
            "ratchet.lock_digest": digest,
        },
    )
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    code, found = reproduce(run_id)
    assert (code, found["answer"]) == (0, "identical"), found
    assert found["environment"] == "built"
    assert "lock" not in kinds(found)


# Not quite


@pytest.mark.slow
def test_what_differs_a_little_is_within_tolerance_and_says_how_far(past, reproduce):
    code, found = reproduce(past.runs["dice"])
    assert (code, found["answer"]) == (0, "within_tolerance"), found
    apart = found["predictions"]
    assert apart["n_differing"] > 0
    assert 0 < apart["max_relative"] < found["tolerance"] == 1e-4
    assert apart["max_absolute"] > apart["max_relative"]
    assert 0 < found["score"]["relative"] < 1e-4


@pytest.mark.slow
def test_what_nothing_on_record_explains_is_said_to_be_so(past, reproduce):
    code, found = reproduce(past.runs["dice"], "--tolerance", 0)
    assert (code, found["answer"]) == (1, "different"), found
    assert kinds(found) == ["unexplained"]
    assert found["predictions"]["n_differing"] > 0


# Different, because


def test_a_commit_that_git_has_removed_is_named_with_all_else_that_differs(
    past, reproduce, another, git
):
    git(past.root, "commit", "--quiet", "--amend", "--message", "other")
    git(past.root, "reflog", "expire", "--expire=now", "--all")
    git(past.root, "gc", "--quiet", "--prune=now")
    (past.root / "uv.lock").write_text("# another lock\n")
    run_id = another(
        past.runs["clean"],
        {
            "ratchet.hardware.cpu": "Z80",
            "ratchet.hardware.python": "3.7.1",
            "ratchet.hardware.gpus": "Voodoo 2",
            "ratchet.hardware.cores_logical": "1000",
        },
        {"lineage/environment.txt": "numpy==1.0.0\nold-thing==2.1\n"},
    )
    code, found = reproduce(run_id)
    assert (code, found["answer"]) == (1, "different")
    assert kinds(found) == ["commit_gone", "lock", "python", "library", "cpu", "cores", "gpu"]
    assert "has no commit" in told(found, "commit_gone")
    assert told(found, "python").startswith("Python 3.7.1 → ")
    assert "numpy 1.0.0 → " in told(found, "library")
    assert "old-thing 2.1 → not installed" in told(found, "library")
    assert found["predictions"] is None


def test_data_that_are_gone_are_named_and_nothing_else_is(past, reproduce):
    shutil.rmtree(past.root / ".dvc" / "cache")
    (past.root / "data" / "rows.parquet").write_bytes(b"other")
    code, found = reproduce(past.runs["clean"])
    assert (code, found["answer"]) == (1, "different")
    assert kinds(found) == ["data_gone"]
    assert "can't be had" in told(found, "data_gone")


def test_a_version_whose_files_were_changed_is_not_asked(past, reproduce, store):
    shutil.rmtree(past.root / ".dvc" / "cache")
    (past.root / "data" / "rows.parquet").write_bytes(b"other")
    found = store.get_model_version_by_alias("tiny", "champion")
    store.set_model_version_tag("tiny", found.version, DIGEST_TAG, "0" * 64)
    code, found = reproduce("tiny@champion")
    assert (code, found["answer"]) == (1, "different")
    assert kinds(found) == ["altered", "data_gone"]
    assert "The files of tiny/1 are not those that were promoted" in told(found, "altered")


def test_code_and_data_that_are_gone_are_both_named(past, reproduce, another):
    shutil.rmtree(past.root / ".dvc" / "cache")
    (past.root / "data" / "rows.parquet").unlink()
    run_id = another(past.runs["clean"], {"mlflow.source.git.commit": "0" * 40})
    code, found = reproduce(run_id)
    assert code == 1
    assert kinds(found) == ["commit_gone", "data_gone"]


def test_a_patch_that_was_cut_is_named(past, reproduce, another):
    import mlflow

    whole = mlflow.artifacts.load_text(
        f"{mlflow.MlflowClient().get_run(past.runs['dirty']).info.artifact_uri}/lineage/dirty.patch"
    )
    cut = whole[: len(whole) // 2] + "\n# The patch has 2000000 bytes; the rest is cut.\n"
    run_id = another(past.runs["dirty"], files={"lineage/dirty.patch": cut})
    code, found = reproduce(run_id)
    assert code == 1
    assert told(found, "patch") == "The patch has 2000000 bytes; the rest is cut"


def test_a_patch_that_is_not_the_runs_own_is_named(past, reproduce, another):
    edited = "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n"
    run_id = another(past.runs["dirty"], files={"lineage/dirty.patch": edited})
    # It would apply, and is not run: nobody knows whose it is.
    found = reproduce(run_id)[1]
    assert "it is cut or edited" in told(found, "patch")
    assert found["predictions"] is None


def test_a_patch_that_nobody_recorded_is_named(past, reproduce, another):
    shutil.rmtree(past.root / ".dvc" / "cache")
    (past.root / "data" / "rows.parquet").unlink()
    run_id = another(past.runs["dirty"], files={"lineage/dirty.patch": None})
    assert "was dirty, and the run has no patch of it" in told(reproduce(run_id)[1], "patch")
    assert kinds(reproduce(past.runs["dirty"])[1]) == ["data_gone"]


def test_a_family_that_is_not_deterministic_is_named(past, reproduce, another):
    search = {"format": "x", "doubts": {"mlp": "its threads add in any order"}}
    run_id = another(
        past.runs["clean"],
        {"mlflow.source.git.commit": "0" * 40},
        {"search.json": json.dumps(search)},
    )
    found = reproduce(run_id)[1]
    assert kinds(found) == ["commit_gone", "nondeterministic"]
    assert told(found, "nondeterministic") == "mlp: its threads add in any order"


def test_a_run_without_its_settings_or_commit_is_named(past, reproduce, another):
    run_id = another(
        past.runs["clean"],
        {"mlflow.source.git.commit": None, "ratchet.code_reason": "git is not installed"},
        {"lineage/params.yaml": None},
    )
    code, found = reproduce(run_id)
    assert code == 1
    assert kinds(found) == ["no_record"]
    assert told(found, "no_record") == (
        "its run does not say: the commit (git is not installed), its settings"
        " (lineage/params.yaml)"
    )


def test_a_run_that_this_project_did_not_make_is_named(past, reproduce, store):
    foreign = store.create_run(store.create_experiment("foreign")).info.run_id
    code, found = reproduce(foreign)
    assert (code, found["answer"]) == (1, "different")
    assert kinds(found) == ["no_record"]
    assert told(found, "no_record") == f"run {foreign} was not made by this project"


@pytest.mark.slow
def test_code_that_does_not_run_and_rows_that_are_others_are_named(past, reproduce, another):
    values = settings()
    values["data"]["drop"] = ["dear", "no_such_column"]
    text = yaml.safe_dump(values)
    code, found = reproduce(another(past.runs["clean"], files={"lineage/params.yaml": text}))
    assert code == 1
    assert kinds(found) == ["code"]
    assert "prepare failed: exit code 2" in told(found, "code")
    assert "no_such_column" in told(found, "code")
    values = settings()
    values["seed"] = 12
    text = yaml.safe_dump(values)
    code, found = reproduce(another(past.runs["clean"], files={"lineage/params.yaml": text}))
    assert code == 1
    assert kinds(found) == ["rows", "rows"]
    assert "other test rows" in found["differences"][0]["text"]
    assert "other training rows" in found["differences"][1]["text"]


# Interrupted


@pytest.mark.slow
def test_ctrl_c_ends_the_step_and_leaves_nothing(past, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = state(past)
    running = subprocess.Popen(
        [sys.executable, "src", "reproduce", "tiny@champion"],
        cwd=past.root,
        env={
            **{name: value for name, value in os.environ.items() if name not in UNSET},
            "MLFLOW_TRACKING_URI": f"sqlite:///{past.store}",
            "TMPDIR": str(temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line)
        if "prepare: reading data" in line:
            break
    children = psutil.Process(running.pid).children(recursive=True)
    assert children
    running.send_signal(signal.SIGINT)
    rest = running.stdout.read()
    assert running.wait(60) == 130, "".join(lines) + rest
    assert "reproduce was interrupted; nothing of it is left." in rest
    assert "Traceback" not in rest
    assert not any(child.is_running() for child in children)
    # uv, pip and others keep what they like in a folder for temporary files: ours is gone.
    assert not list(temporary.glob("ratchet-reproduce-*"))
    assert state(past) == before


def test_every_kind_of_difference_is_in_the_guide_and_the_default_is_the_one_it_names():
    guide = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", guide, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert named == set(Kind)
    default = inspect.signature(cli.reproduce).parameters["tolerance"].default
    assert default == TOLERANCE
    assert f"{TOLERANCE:.4f} by default" in guide


# Misuse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny"], "StoreError: 'tiny' names no run and no version."),
        (["tiny/7"], "StoreError: The registry has no tiny/7."),
        (["0" * 32], "StoreError: The store sqlite:"),
        (["tiny/1", "--tolerance", "-1"], "RatchetError: --tolerance must be a number"),
        (["tiny/1", "--tolerance", "nan"], "RatchetError: --tolerance must be a number"),
    ],
)
def test_misuse_is_told(past, reproduce, arguments, message):
    code, found = reproduce(*arguments)
    assert code == 2
    assert found["error"].startswith(message)


def test_a_folder_to_keep_may_not_be_a_part_of_the_checkout(past, reproduce):
    code, found = reproduce("tiny/1", "--keep", past.root / "build" / "again")
    assert code == 2
    assert "which must stay as it is" in found["error"]


def test_a_person_reads_the_answer_and_the_reasons(past, call, caplog):
    shutil.rmtree(past.root / ".dvc" / "cache")
    (past.root / "data" / "rows.parquet").unlink()
    code, out, _ = call("reproduce", "tiny@champion", "--params", past.root / "params.yaml")
    assert code == 1
    first, second = (line.split(maxsplit=1) for line in out.splitlines())
    assert first == [
        "different",
        f"tiny/1, trained by run {past.runs['clean'][:8]}, can't be made again",
    ]
    assert second[0] == "because"
    assert second[1].startswith("data gone: Version ")
    assert "reproduce: the code of commit " in caplog.text


# The real months


@pytest.mark.slow
@pytest.mark.xdist_group("clones")
def test_the_champion_of_a_real_month_is_made_again_after_the_month_has_changed(fresh_clone):
    months = sorted(MONTHS.glob("green_tripdata_2023-0[123].parquet"))
    if len(months) < 3:
        pytest.skip(f"the real months are not here: {MONTHS} lacks some of 2023-01 to 2023-03")
    clone = fresh_clone("reproduced")
    shutil.copy(ROOT / "params.yaml", clone.root)
    changes = (
        "train.search.budget_seconds={} train.search.max_trials=4 train.families=[ridge,xgboost]"
        " train.threads=1 tracking.system_metrics=false evaluate.resamples=100"
        " promote.resamples=200"
    )
    for number, pair in enumerate([months[:2], months[1:]]):
        shutil.rmtree(clone.root / "data", ignore_errors=True)
        (clone.root / "data").mkdir()
        for month in pair:
            shutil.copyfile(month, clone.root / "data" / month.name)
        clone.run("dvc", "add", "--quiet", "data")
        clone.run("git", "add", "--all")
        clone.run("git", "commit", "--quiet", "--message", pair[-1].name)
        budget = "15" if number == 0 else "null"
        clone.run("python", "src", "run", "--set", changes.format(budget))
    first = clone.client().get_model_version("green-taxi-duration", "1")
    assert first.run_id != clone.last("train").info.run_id
    printed = clone.run("python", "src", "reproduce", "green-taxi-duration/1")
    facts = dict(re.findall(r"^(\S+) {2,}(.*)$", printed, flags=re.MULTILINE))
    assert facts["identical"].startswith("green-taxi-duration/1, trained by run ")
    assert facts["predictions"].startswith("the same, bit for bit, on ")
    assert "train: replay of " in printed

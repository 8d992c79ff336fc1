"""Whichever door a step is started by, its run tells the truth about code and data, or why not."""

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import Clone

from ratchet import lineage

# One worker runs all that needs the clones: making them takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

CHANGED = "src/ratchet/taxi.py"
STEP = """\
from pathlib import Path

from ratchet.project import Project
from ratchet.steps import prepare


def test_a_step():
    prepare.run(Project.open(Path("params.yaml")))
"""


def by_dvc(clone: Clone) -> None:
    clone.run("dvc", "repro", "prepare")


def by_mlflow(clone: Clone) -> None:
    clone.run("mlflow", "run", ".", "--env-manager", "local", "-e", "prepare")


def by_python(clone: Clone) -> None:
    clone.run("python", "src", "prepare")


def by_console(clone: Clone) -> None:
    """Install the package into an environment that git ignores, and start its program."""
    place = clone.root / ".venv"
    clone.run("python", "-m", "venv", "--without-pip", str(place))
    (site,) = place.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    shutil.copytree(clone.root / "src" / "ratchet", site / "ratchet", dirs_exist_ok=True)
    script = place / "bin" / "ratchet"
    script.write_text(f"#!{place}/bin/python\nfrom ratchet.cli import main\n\nmain()\n")
    script.chmod(0o755)
    clone.run(str(script), "prepare")


def by_pytest(clone: Clone) -> None:
    test = clone.root / "build" / "test_step.py"
    test.parent.mkdir(exist_ok=True)
    test.write_text(STEP)
    clone.run("pytest", "-q", "-p", "no:cacheprovider", str(test))


def by_experiment(clone: Clone) -> None:
    clone.run("dvc", "exp", "run", "--temp", "prepare")


DOORS = {
    "dvc": by_dvc,
    "mlflow": by_mlflow,
    "python": by_python,
    "console": by_console,
    "pytest": by_pytest,
    "experiment": by_experiment,
    "shallow": by_python,
    "worktree": by_python,
    "copy": by_python,
}
IN_GIT = [name for name in DOORS if name != "copy"]


@dataclass(frozen=True)
class Told:
    """What the run of a step says, and what is so."""

    tags: dict[str, str]
    patch: str
    """The patch with the run; empty without one."""
    commit: str
    """What is checked out."""
    version: str
    """The md5 of the bytes that lie there, as DVC computes it."""
    pointer: str
    """What data.dvc says after the step."""
    clone: Clone


def told(clone: Clone, commit: str) -> Told:
    run = clone.last("prepare")
    assert run.info.status == "FINISHED"
    listed = {each.path for each in clone.client().list_artifacts(run.info.run_id, "lineage")}
    patch = ""
    if "lineage/dirty.patch" in listed:
        path = clone.client().download_artifacts(run.info.run_id, "lineage/dirty.patch")
        patch = Path(path).read_text()
    return Told(
        run.data.tags,
        patch,
        commit,
        lineage.data_version(clone.root / "data"),
        yaml.safe_load((clone.root / "data.dvc").read_text())["outs"][0]["md5"],
        clone,
    )


def enter(name: str, clone: Clone, checkout: Path, empty_store: Path) -> tuple[Told, Told]:
    """Go through a door with a clean tree, then with changed code and data."""
    commit = clone.run("git", "rev-parse", "HEAD").strip()
    match name:
        case "shallow":
            shutil.rmtree(clone.root)
            clone.run(
                *("git", "clone", "--quiet", "--depth", "1", checkout.as_uri(), str(clone.root)),
                cwd=clone.root.parent,
            )
        case "worktree":
            place = clone.root.parent / "worktree"
            clone.run("git", "worktree", "add", "--quiet", "-b", "other", str(place))
            clone = Clone(place)
    clone.run("dvc", "pull", "--quiet", "data.dvc")
    if name == "copy":
        shutil.rmtree(clone.root / ".git")
    # Making the tables of a store takes longer than the step.
    shutil.copy(empty_store, clone.root / "mlflow.db")
    DOORS[name](clone)
    clean = told(clone, commit)
    with (clone.root / CHANGED).open("a") as source:
        source.write("# Changed.\n")
    file = clone.root / "data" / "green_tripdata_2023-01.parquet"
    table = pd.read_parquet(file)
    file.unlink()  # it may be a link into DVC's cache
    table.iloc[1:].to_parquet(file)
    DOORS[name](clone)
    return clean, told(clone, commit)


@pytest.fixture(scope="session")
def entered(
    checkout: Path, fresh_clone: Callable[[str], Clone], empty_store: Path
) -> Iterator[Callable[[str], tuple[Told, Told]]]:
    """Give what the runs of a door have told, before and after the changes."""
    with ThreadPoolExecutor(2) as together:
        going: dict[str, Future[tuple[Told, Told]]] = {
            name: together.submit(enter, name, fresh_clone(name), checkout, empty_store)
            for name in DOORS
        }
        yield lambda name: going[name].result()


# A clean tree


@pytest.mark.parametrize("door", IN_GIT)
def test_the_commit_is_the_one_that_is_checked_out(entered, door):
    clean, changed = entered(door)
    assert clean.tags["mlflow.source.git.commit"] == clean.commit
    assert changed.tags["mlflow.source.git.commit"] == clean.commit


@pytest.mark.parametrize("door", IN_GIT)
def test_a_clean_tree_is_clean_and_has_no_patch(entered, door):
    clean, _ = entered(door)
    assert (clean.tags["ratchet.dirty"], clean.patch) == ("false", "")
    assert "ratchet.code_reason" not in clean.tags


@pytest.mark.parametrize("door", DOORS)
def test_the_data_version_is_that_of_the_bytes_and_recorded(entered, door):
    clean, _ = entered(door)
    assert clean.tags["ratchet.data_version"] == clean.version == clean.pointer
    assert clean.tags["ratchet.data_dirty"] == "false"
    assert "ratchet.data_reason" not in clean.tags


@pytest.mark.parametrize("door", DOORS)
def test_steps_through_every_door_have_the_same_lock_and_parameters(entered, door):
    names = ("ratchet.params_digest", "ratchet.lock_digest")
    assert [entered(door)[0].tags[name] for name in names] == [
        entered("python")[0].tags[name] for name in names
    ]


def test_a_folder_that_is_no_repository_says_why_there_is_no_commit(entered):
    for each in entered("copy"):
        assert "mlflow.source.git.commit" not in each.tags
        assert each.tags["ratchet.dirty"] == "unknown"
        reason = f"{each.clone.root} is in no git repository"
        assert each.tags["ratchet.code_reason"] == reason


# Changed code and data


def test_a_program_that_was_installed_before_the_code_changed_says_so(entered):
    clone = entered("console")[1].clone
    source = clone.root / CHANGED
    before = source.read_text()
    try:
        source.write_text(f"{before}# Changed again.\n")
        clone.run(".venv/bin/ratchet", "prepare")
    finally:
        source.write_text(before)
    tags = told(clone, "").tags
    assert tags["mlflow.source.git.commit"] == entered("console")[0].commit
    assert tags["ratchet.dirty"] == "unknown"
    (package,) = (clone.root / ".venv").glob("lib/*/site-packages/ratchet")
    assert tags["ratchet.code_reason"] == (
        f"the code that ran is {package}, which differs from src/ratchet"
    )


@pytest.mark.parametrize("door", IN_GIT)
def test_changed_code_is_dirty_and_comes_back_from_the_patch(entered, door, tmp_path):
    _, changed = entered(door)
    assert changed.tags["ratchet.dirty"] == "true"
    (tmp_path / "patch").write_text(changed.patch)
    again = tmp_path / "again"
    run = changed.clone.run
    run("git", "worktree", "add", "--quiet", "--detach", str(again), changed.commit)
    run("git", "apply", str(tmp_path / "patch"), cwd=again)
    assert (again / CHANGED).read_text() == (changed.clone.root / CHANGED).read_text()
    assert run("git", "diff", "--name-only", cwd=again).split() == [CHANGED]


@pytest.mark.parametrize("door", DOORS)
def test_changed_data_have_the_version_of_their_bytes(entered, door):
    clean, changed = entered(door)
    assert changed.tags["ratchet.data_version"] == changed.version != clean.version


# `dvc repro` and `dvc exp run` bring data.dvc up to date before the first stage.
@pytest.mark.parametrize("door", [name for name in DOORS if name not in ("dvc", "experiment")])
def test_changed_data_are_dirty_and_the_file_is_named(entered, door):
    clean, changed = entered(door)
    assert changed.pointer == clean.pointer
    assert changed.tags["ratchet.data_dirty"] == "true"
    assert changed.tags["ratchet.data_reason"] == (
        "green_tripdata_2023-01.parquet differs from data.dvc"
    )


@pytest.mark.parametrize("door", ["dvc", "experiment"])
def test_dvc_records_changed_data_before_the_step_reads_them(entered, door):
    _, changed = entered(door)
    assert changed.tags["ratchet.data_dirty"] == "false"
    cache = changed.clone.root / ".dvc" / "cache" / "files" / "md5"
    assert (cache / changed.version[:2] / changed.version[2:]).exists()
    # An experiment keeps the new pointer in its own commit.
    assert changed.pointer == (changed.version if door == "dvc" else entered(door)[0].version)

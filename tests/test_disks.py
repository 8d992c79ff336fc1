"""A disk that is full, or that nobody may write to, is told; later the same command ends well."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, Clone, tiny_table

from ratchet import lineage
from ratchet.project import Project
from ratchet.registry.ledger import Ledger
from ratchet.runfile import RunFile
from ratchet.steps import prepare
from ratchet.steps.promote import Decision

FULL = "No space left on device"
STEPS = ("prepare", "train", "evaluate")


class Small:
    """A disk of its own in memory, which takes no byte more until there is room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, left: int = 0) -> None:
        """Fill it, but for some KiB."""
        self._ballast.unlink(missing_ok=True)
        free = os.statvfs(self.folder)
        self._ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 1024 * left))

    def empty(self) -> None:
        """Make room."""
        self._ballast.unlink()


@pytest.fixture
def small() -> Iterator[Callable[[Path], Small]]:
    """Put a disk of 8 MiB at a folder, with what lies in there."""
    mounted = []

    def mount(folder: Path) -> Small:
        folder.mkdir(parents=True, exist_ok=True)
        held = folder.rename(folder.with_name(f"{folder.name}.held"))
        folder.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system in memory")
        mounted.append(folder)
        subprocess.run(("cp", "-a", f"{held}/.", str(folder)), check=True)
        return Small(folder)

    yield mount
    for folder in mounted:
        # Lazily, as a database in there may be open still.
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folder_of(project: Project, step: str) -> Path:
    return {"prepare": project.prepared, "train": project.trained, "evaluate": project.evaluated}[
        step
    ]


def last(store, step):
    """Give the status of the newest run of a step."""
    found = store.search_runs(["1"], f"tags.`ratchet.step` = '{step}'", max_results=1)
    return found[0].info.status


@pytest.mark.parametrize("left", [0, 16])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_whose_folder_does_not_fit_is_told_and_finishes_later(
    evaluated, store, call, running, small, step, left
):
    project = Project.open(evaluated)
    disk = small(project.build)
    folder = folder_of(project, step)
    before = content(folder)
    disk.fill(left)
    code, out, err = call(step, "--params", evaluated)
    told = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert told.startswith("RatchetError: Can't write ")
    assert FULL in told
    assert "Traceback" not in err
    assert running() == []
    assert content(folder) == before
    disk.empty()
    assert call(step, "--params", evaluated)[0] == 0
    assert content(folder) != before
    assert store.get_run(RunFile.load(folder, made_by=step).run_id).info.status == "FINISHED"
    assert list(project.build.rglob(".*.part")) == []


@pytest.mark.parametrize("step", STEPS)
def test_where_the_runs_files_do_not_fit_the_old_folder_stays(
    evaluated, store, call, running, small, step
):
    """The model, the pages and the tables of a run, which are uploaded last."""
    project = Project.open(evaluated)
    disk = small(evaluated.parent.parent / "mlruns")
    folder = folder_of(project, step)
    before = content(folder)
    disk.fill(8)
    code, _, err = call(step, "--params", evaluated)
    assert code == 2
    assert err.splitlines()[-1].startswith("StoreError: The run's files can't be written")
    assert err.endswith(
        f": {FULL}. Make room at the experiment's artifact location, and give the command again.\n"
    )
    assert "Traceback" not in err
    assert (running(), last(store, step)) == ([], "FAILED")
    assert content(folder) == before, "what is there belongs to a run that is whole"
    disk.empty()
    assert call(step, "--params", evaluated)[0] == 0
    assert store.get_run(RunFile.load(folder, made_by=step).run_id).info.status == "FINISHED"


def test_a_promotion_whose_evidence_does_not_fit_has_not_happened(
    evaluated, store, call, running, small
):
    disk = small(evaluated.parent.parent / "mlruns")
    disk.fill(8)
    code, _, err = call("promote", "--params", evaluated)
    assert code == 2
    assert err.splitlines()[-1].startswith("StoreError: The run's files can't be written")
    assert running() == []
    ledger = Ledger.find(Project.open(evaluated).settings)
    assert ledger is None or ledger.lines() == ()
    assert store.search_model_versions("name = 'tiny'") == []
    disk.empty()
    assert call("promote", "--params", evaluated)[0] == 0
    assert len(Ledger.find(Project.open(evaluated).settings).lines()) == 1
    assert store.get_registered_model("tiny").aliases == {"champion": 1}


def test_a_promotion_whose_decision_does_not_fit_stands_and_is_written_down_later(
    evaluated, store, call, running, small
):
    project = Project.open(evaluated)
    disk = small(project.promoted)
    disk.fill()
    code, _, err = call("promote", "--params", evaluated)
    assert code == 2
    told = f"RatchetError: Can't write {project.promoted / 'decision.json'}: {FULL}."
    assert err.splitlines()[-1] == told
    assert running() == []
    assert store.get_registered_model("tiny").aliases == {"champion": 1}
    disk.empty()
    assert call("promote", "--params", evaluated)[0] == 0
    decision = Decision.load(project)
    assert (decision.promoted, decision.version, decision.line) == (True, 1, 1)
    assert len(Ledger.find(project.settings).lines()) == 1


def test_answers_that_do_not_fit_are_gone_on_with_later(evaluated, call, running, small, tmp_path):
    assert call("promote", "--params", evaluated)[0] == 0
    rows = tmp_path / "in.parquet"
    tiny_table(40_000).to_parquet(rows)
    disk = small(tmp_path / "out")
    disk.fill(512)
    command = ("predict", "--params", evaluated, "--data", rows, "--rows-at-once", "4000")
    command += ("--out", disk.folder / "out.parquet", "--no-record")
    code, _, err = call(*command)
    assert (code, "Traceback" in err) == (2, False)
    assert err.splitlines()[-1].startswith("RatchetError: Can't write ")
    assert FULL in err.splitlines()[-1]
    assert not (disk.folder / "out.parquet").exists()
    disk.empty()
    code, out, _ = call(*command, "--json")
    told = json.loads(out)
    assert (code, told["rows"]) == (0, 40_000)
    assert told["resumed"] > 0
    assert pq.read_metadata(disk.folder / "out.parquet").num_rows == 40_000


def test_a_database_that_does_not_fit_is_told_and_the_old_folder_stays(
    evaluated, call, small, tmp_path, monkeypatch
):
    project = Project.open(evaluated)
    before = content(project.prepared)
    disk = small(tmp_path / "stored")
    shutil.copy(tmp_path / "mlflow.db", disk.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{disk.folder / 'mlflow.db'}")
    disk.fill()
    code, _, err = call("prepare", "--params", evaluated)
    assert (code, "Traceback" in err) == (2, False)
    assert err.splitlines()[-1].startswith("StoreError: The database sqlite:///")
    assert "database or disk is full" in err
    assert content(project.prepared) == before
    disk.empty()
    assert call("prepare", "--params", evaluated)[0] == 0
    assert content(project.prepared) != before


@pytest.mark.parametrize("step", [*STEPS, "promote"])
def test_full_temporary_files_are_told(
    evaluated, store, call, running, small, tmp_path, monkeypatch, step
):
    disk = small(tmp_path / "temporary")
    disk.fill()
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    code, _, err = call(step, "--params", evaluated)
    assert (code, "Traceback" in err) == (2, False)
    assert FULL in err.splitlines()[-1]
    assert "temporary" in err.splitlines()[-1]
    assert running() == []
    disk.empty()
    assert call(step, "--params", evaluated)[0] == 0


def test_where_every_folder_of_temporary_files_is_full_that_is_told(
    evaluated, call, running, small, tmp_path, monkeypatch
):
    """Python looks for one that takes a byte, and says of none of them that it is full."""
    disk = small(tmp_path / "temporary")
    disk.fill()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(disk.folder)])
    code, _, err = call("prepare", "--params", evaluated)
    assert code == 2
    assert err.splitlines()[-1].startswith("RatchetError: Can't write to ")
    assert "No usable temporary directory found in" in err.splitlines()[-1]
    assert running() == []


def test_artifacts_that_nobody_may_write_are_told_and_the_old_folder_stays(
    evaluated, store, call, running, small
):
    """Mounted for reading only, which holds for root, too."""
    disk = small(evaluated.parent.parent / "mlruns")
    project = Project.open(evaluated)
    before = content(project.prepared)
    again = ("mount", "-o", "remount,ro", str(disk.folder))
    subprocess.run(again, check=True)
    code, _, err = call("prepare", "--params", evaluated)
    assert code == 2
    assert err.splitlines()[-1].startswith("StoreError: The run's files can't be written to ")
    assert ": Read-only file system. " in err
    assert (running(), last(store, "prepare")) == ([], "FAILED")
    assert content(project.prepared) == before


@pytest.mark.slow
def test_a_cache_of_dvc_that_is_full_or_holds_altered_bytes_is_noticed(evaluated, small):
    root, project = evaluated.parent, Project.open(evaluated)
    here = Clone(root)
    here.run("dvc", "init", "--quiet", "--no-scm")
    here.run("dvc", "config", "core.autostage", "false")
    here.run("dvc", "add", "--quiet", "data")
    stage = {
        "cmd": f"{sys.executable} {ROOT / 'src'} prepare",
        "deps": ["data"],
        "params": ["data"],
        "outs": ["build/prepared"],
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stage}}))
    disk = small(root / ".dvc" / "cache")
    disk.fill(64)
    # DVC goes on without an error code: the outputs are there, and it can't bring them back.
    assert FULL in here.run("dvc", "repro", "prepare")
    assert prepare.run_of(project) is not None
    disk.empty()
    assert "Running stage 'prepare'" in here.run("dvc", "repro", "prepare")
    assert "up to date" in here.run("dvc", "status")

    # A disk has turned a bit, and DVC trusts what it has protected.
    version = lineage.data_version(root / "data" / "rows.parquet")
    cached = root / ".dvc" / "cache" / "files" / "md5" / version[:2] / version[2:]
    content = bytearray(cached.read_bytes())
    content[-9] ^= 1
    mode = stat.S_IMODE(cached.stat().st_mode)
    cached.chmod(0o644)
    cached.write_bytes(content)
    cached.chmod(mode)
    (root / "data" / "rows.parquet").unlink()
    here.run("dvc", "checkout", "--quiet", "data.dvc")
    state = lineage.data_state(root / "data")
    assert state.dirty
    assert state.reason == "rows.parquet differs from data.dvc"

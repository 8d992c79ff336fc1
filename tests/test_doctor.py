"""What a machine can spring on a project is found, told, and mended by the printed command."""

import http.server
import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
import psutil
import pytest
import yaml
from conftest import COMMITTER, ROOT

from ratchet import checks, lineage
from ratchet.checks import State, code, data, environment, folder, machine, models, store
from ratchet.checks.base import Check, Finding, Site
from ratchet.commands import doctor
from ratchet.processes import Process
from ratchet.project import Project

FILES = (
    *("params.yaml", "MLproject", "dvc.yaml", "data.dvc", ".dvcignore", ".gitignore"),
    *("conda.yaml", "pyproject.toml", "uv.lock", ".dvc/config", ".ci/conda_yaml.py"),
)
BESIDE = Path(sys.executable).parent


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is shipped, without its code: committed, with its data pulled."""
    root = tmp_path_factory.mktemp("shipped") / "project"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / ".dvc" / "remote", root / ".dvc" / "remote")
    md5 = yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["md5"]
    stored = root / ".dvc" / "remote" / "files" / "md5"
    (root / "data").mkdir()
    for entry in json.loads((stored / md5[:2] / md5[2:]).read_text()):
        shutil.copy(stored / entry["md5"][:2] / entry["md5"][2:], root / "data" / entry["relpath"])
    shell(root, "git init --quiet . && git add --all && git commit --quiet --message first")
    return root


@pytest.fixture
def root(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped project, which is healthy, with the tests' own git and shell."""
    for name in ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS", "PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{BESIDE}{os.pathsep}{os.environ['PATH']}")
    shutil.copytree(shipped, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def recorded(root: Path, empty_store: Path) -> mlflow.MlflowClient:
    """The client of the project's own store, which has its experiment."""
    shutil.copy(empty_store, root / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    place = (root / "mlruns" / "green-taxi-duration").as_uri()
    client.create_experiment("green-taxi-duration", artifact_location=place)
    return client


def shell(place: Path, command: str) -> str:
    # The global configuration of git is the test's, so that a command may change it.
    who = {name: value for name, value in COMMITTER.items() if name != "GIT_CONFIG_GLOBAL"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env={**os.environ, **who, "DVC_NO_ANALYTICS": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def look(place: Path, check: Check, params: str = "params.yaml") -> list[Finding]:
    return list(checks.examine(Site(place / params), check))


def wrong(place: Path, check: Check) -> Finding:
    """Give the one thing that a check finds wrong."""
    found = [each for each in look(place, check) if each.state is not State.OK]
    assert len(found) == 1, found
    return found[0]


def fine(place: Path, check: Check) -> bool:
    return {each.state for each in look(place, check)} == {State.OK}


def mended(place: Path, check: Check) -> bool:
    """Run the command that a check prints, and look again."""
    assert not fine(place, check)
    shell(place, wrong(place, check).mend)
    return fine(place, check)


def in_shell(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command change this process's environment as it would change a shell's."""
    printed = shell(place, f"{command}; env -0")
    after = dict(each.partition("=")[::2] for each in printed.split("\0") if each)
    for name in ("MLFLOW_", "OMP_", "PYTHONPATH", "TMPDIR"):
        for known in {*os.environ, *after}:
            if known.startswith(name):
                monkeypatch.delenv(known, raising=False)
                if known in after:
                    monkeypatch.setenv(known, after[known])


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def commit(place: Path) -> None:
    shell(place, "git add --all && git commit --quiet --message changed")


# The whole


def test_a_healthy_project_has_nothing_wrong(root, recorded):
    found = doctor.run(root / "params.yaml")
    # The machine of the tests may have one core, or a disk that is nearly full.
    own = [each for group, each in found.findings if group != "machine"]
    assert [each for each in own if each.state in (State.ERROR, State.WARNING)] == []
    skipped = {each.check for _, each in found.findings if each.state is State.SKIPPED}
    assert skipped == {
        *("own_environment", "leader_loads", "leader_recorded", "champion_loads"),
        *("champion_libraries", "stage_and_alias"),
    }


def test_looking_changes_nothing_and_makes_no_store(root, request):
    def everything():
        # The index of git is there too, and a touched file tempts git to write to it.
        return {
            path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in (root, *root.rglob("*"))
        }

    os.utime(root / "params.yaml")
    before = everything()
    doctor.run(root / "params.yaml")
    assert everything() == before
    request.getfixturevalue("recorded")
    before = everything()
    doctor.run(root / "params.yaml")
    assert everything() == before


def test_outside_of_a_project_that_is_what_is_found(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    exit_code, out, err = call("doctor")
    assert exit_code == 1
    assert f"there is no params.yaml in {tmp_path}" in out
    assert "the check itself failed" not in out
    assert err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_is_shown_and_the_others_go_on(root, monkeypatch):
    def broken(site):
        yield from ()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(checks, "GROUPS", (("mine", (broken, folder.parameters)),))
    found = doctor.run(root / "params.yaml")
    assert [each.state for _, each in found.findings] == [State.ERROR, State.OK]
    told = found.findings[0][1].told
    assert told == "the check itself failed: ZeroDivisionError: a bug"


def test_without_git_dvc_and_mlflow_the_checks_say_so_and_go_on(root, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(sys, "executable", str(empty / "python"))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    found = {each.check: each for _, each in doctor.run(root / "params.yaml").findings}
    assert found["repository"].told == "no run can say its commit: git is not installed"
    told = "dvc is not installed: the data can't be pulled, nor `dvc repro` be run"
    assert (found["dvc_installed"].told, found["dvc_installed"].state) == (told, State.ERROR)
    assert found["tracking_store"].told.startswith("MLflow can't be imported")
    assert found["open_runs"].state is State.SKIPPED
    assert found["data_recorded"].state is State.OK
    assert not any("the check itself failed" in each.told for each in found.values())


def test_the_exit_code_counts_errors_and_under_strict_warnings(root, call):
    assert call("doctor")[0] == 0
    (root / ".dvcignore").unlink()
    commit(root)
    assert call("doctor")[0] == 0
    assert call("doctor", "--strict")[0] == 1
    shutil.rmtree(root / "data")
    exit_code, out, _ = call("doctor")
    assert exit_code == 1
    assert "$ dvc pull data.dvc" in out
    assert ", 1 error, " in out.splitlines()[-1]


def test_machines_get_the_same_findings(root, call):
    shutil.rmtree(root / "data")
    exit_code, out, _ = call("doctor", "--json")
    told = json.loads(out)
    assert exit_code == 1
    assert told["folder"] == str(root)
    (one,) = [each for each in told["findings"] if each["check"] == "data_there"]
    assert (one["group"], one["state"], one["mend"]) == ("data", "error", "dvc pull data.dvc")
    assert told["counts"]["error"] == 1
    assert sum(told["counts"].values()) == len(told["findings"])


def test_only_checks_of_the_store_load_mlflow(root):
    groups = ("project", "code", "data", "environment")
    looking = (
        "import sys; from pathlib import Path; from ratchet import checks;"
        f" site = checks.Site(Path({str(root / 'params.yaml')!r}));"
        " [list(checks.examine(site, each)) for group, listed in checks.GROUPS for each in listed"
        f" if group in {groups}];"
        " print([name for name in ('mlflow', 'sklearn') if name in sys.modules])"
    )
    printed = shell(root, f'PYTHONPATH={ROOT / "src"} {sys.executable} -c "{looking}"')
    assert printed == "[]\n"


def test_an_interpreter_without_the_projects_packages_is_told_before_any_check():
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "src"), "doctor"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{sys.executable} has no typer. Make the project's environment")


def test_every_check_has_a_line_in_the_docs_as_its_docstring_says():
    spec = importlib.util.spec_from_file_location("table", ROOT / ".ci" / "checks_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert module.with_table(page) == page, "run `make docs`"
    listed = [each for _, group in checks.GROUPS for each in group]
    assert len({each.__name__ for each in listed}) == len(listed) == page.count("\n| `")
    assert all(each.__doc__.startswith("See that ") for each in listed)


# The project's files


def test_a_parameter_file_that_is_called_otherwise_is_found(root):
    (root / "params.yaml").rename(root / "params.yml")
    assert wrong(root, folder.parameters).told == (
        f"there is no params.yaml in {root}, but params.yml"
    )
    assert mended(root, folder.parameters)


def test_a_folder_below_the_project_is_told(root):
    (root / "src").mkdir()
    assert wrong(root / "src", folder.parameters).mend == f"cd {root}"


def test_a_parameter_file_that_does_not_load_is_told_and_put_back(root):
    change(root / "params.yaml", "seed: 42", "sead: 42")
    assert wrong(root, folder.parameters).told == (
        "params.yaml has 1 problem: sead is not a setting; did you mean seed?"
    )
    assert wrong(root, store.tracking_place).state is State.SKIPPED
    assert mended(root, folder.parameters)


def test_a_parameter_file_that_never_loaded_has_no_command(root):
    change(root / "params.yaml", "seed: 42", "seed: soon")
    commit(root)
    assert wrong(root, folder.parameters).mend == ""


@pytest.mark.parametrize("quoted", ["'{set}'", '"{set}"', '\\"{set}\\"'])
def test_quotes_around_a_parameter_are_found_and_removed(root, quoted):
    line = "    command: python src run --params {params} --set {set}"
    whole = line.replace("{set}", quoted)
    if "\\" in quoted:
        whole = whole.replace("command: ", 'command: "') + '"'
    change(root / "MLproject", line, whole)
    assert wrong(root, folder.mlproject_quotes).told.startswith("the entry point main has quotes")
    assert mended(root, folder.mlproject_quotes)
    entry = yaml.safe_load((root / "MLproject").read_text())["entry_points"]["main"]
    assert entry["command"] == "python src run --params {params} --set {set}"


def test_an_entry_point_that_starts_anybodys_program_is_found(root):
    (root / "src" / "ratchet").mkdir(parents=True)
    change(root / "MLproject", "command: python src train ", "command: ratchet train ")
    assert "which may be another clone's" in wrong(root, folder.mlproject_quotes).told
    assert mended(root, folder.mlproject_quotes)


def test_a_parameter_in_a_stages_command_is_found(root):
    change(root / "dvc.yaml", "cmd: python src train", "cmd: python src train --set seed=${seed}")
    assert wrong(root, folder.stage_commands).told.startswith("the stage train has ${} in its cmd")
    assert mended(root, folder.stage_commands)


# Code


def test_a_project_in_no_repository_is_told(root):
    shutil.rmtree(root / ".git")
    assert wrong(root, code.repository).told == (
        f"no run can say its commit: {root} is in no git repository"
    )
    assert mended(root, code.repository)


def test_a_repository_without_a_commit_is_told(root):
    shutil.rmtree(root / ".git")
    shell(root, "git init --quiet .")
    assert "has no commit yet" in wrong(root, code.repository).told
    assert mended(root, code.repository)


def test_a_repository_of_another_user_is_told(root, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    inner = root / "examples"
    inner.mkdir()
    shutil.copy(root / "params.yaml", inner / "params.yaml")
    assert "belongs to another user" in wrong(inner, code.repository).told
    shell(inner, wrong(inner, code.repository).mend)
    # Allowing the folder inside of the repository would not have helped.
    assert wrong(inner, code.repository).told.endswith("which tracks none of it")


def test_a_project_whose_code_need_not_be_recorded_is_only_warned(root):
    change(root / "params.yaml", "dirty_tree: recorded", "dirty_tree: allow")
    shutil.rmtree(root / ".git")
    assert wrong(root, code.repository).state is State.WARNING


@pytest.mark.parametrize("rule", ["clean", "recorded"])
def test_a_tree_that_keeps_its_leader_from_being_promoted_is_told(root, rule):
    change(root / "params.yaml", "dirty_tree: recorded", f"dirty_tree: {rule}")
    shell(root, "git commit --quiet --all --allow-empty --message rules")
    (root / "src").mkdir()
    size = 10 if rule == "clean" else lineage.MAX_PATCH_BYTES + 1
    (root / "src" / "new.py").write_text("#" * size)
    assert wrong(root, code.repository).state is State.ERROR
    assert mended(root, code.repository)


def test_a_shallow_clone_is_told(root, tmp_path):
    commit_again = "git commit --quiet --allow-empty --message second"
    shell(root, commit_again)
    shell(tmp_path, f"git clone --quiet --depth 1 {root.as_uri()} shallow")
    assert wrong(tmp_path / "shallow", code.history).state is State.WARNING
    assert mended(tmp_path / "shallow", code.history)


def test_a_file_of_secrets_in_git_is_told(root):
    (root / "prod.env").write_text("x")  # only names that are secrets by themselves count
    (root / ".env.example").write_text("KEY=")
    (root / ".env.prod").write_text("KEY=1")
    commit(root)
    assert wrong(root, code.secrets).told.startswith("git tracks .env.prod: ")
    assert mended(root, code.secrets)
    assert (root / ".env.prod").exists()
    commit(root)
    assert ".env.prod" not in shell(root, "git ls-files")


def test_a_password_in_the_parameters_is_told_without_it(root):
    change(root / "params.yaml", "  uri: null", "  uri: postgresql://me:hush@host/runs  #")
    told = wrong(root, code.secrets).told
    assert "postgresql://***@host/runs" in told
    assert "hush" not in str([*look(root, code.secrets), *look(root, store.tracking_place)])


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The code of another clone."""
    package = tmp_path / "other" / "src" / "ratchet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return package


def test_the_code_of_another_clone_is_told(root, other):
    shutil.copytree(other, root / "src" / "ratchet")
    assert wrong(root, code.whose_code).told == (
        f"this is the code of {ROOT / 'src' / 'ratchet'}, not of {root / 'src' / 'ratchet'}"
    )
    assert wrong(root, code.whose_code).mend == "python src doctor"
    commit(root)
    head = shell(root, "git rev-parse HEAD")[:12]
    told = f"no run can say whether its code is that of {head}: the code that ran is"
    assert wrong(root, code.repository).told.startswith(told)


def test_another_clone_on_pythonpath_is_told(root, other, monkeypatch):
    (root / "src").symlink_to(ROOT / "src")
    assert fine(root, code.whose_code)
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    found = wrong(root, code.whose_code)
    assert found.told == f"without `python src`, `import ratchet` gives the code of {other}"
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, code.whose_code)


def test_another_clone_that_is_installed_to_be_edited_is_told(root, other, monkeypatch, tmp_path):
    (root / "src").symlink_to(ROOT / "src")
    shell(tmp_path, f"{sys.executable} -m venv --without-pip env")
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    (site / "_editable.pth").write_text(f"{other.parent}\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env" / "bin" / "python"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert wrong(root, code.whose_code).mend == f"rm {site / '_editable.pth'}"
    assert mended(root, code.whose_code)


def test_an_environment_that_is_a_link_to_another_clones_is_told(root, other):
    clone = other.parents[1]
    (clone / ".venv").mkdir()
    (root / ".venv").symlink_to(clone / ".venv")
    assert wrong(root, code.own_environment).told == (
        f".venv is a link to {clone / '.venv'}, of the clone {clone}: what is installed for one"
        " changes both"
    )
    assert wrong(root, code.own_environment).mend == "rm .venv && uv sync --frozen"
    shutil.copy(ROOT / "Makefile", root / "Makefile")
    assert wrong(root, code.own_environment).mend == "rm .venv && make install"


def test_an_environment_that_was_copied_from_another_clone_is_told(root, tmp_path):
    script = root / ".venv" / "bin" / "dvc"
    script.parent.mkdir(parents=True)
    script.write_text("#!/usr/bin/env python3\n")
    assert fine(root, code.own_environment)
    script.write_text(f"#!{root}/.venv/bin/python3\n")
    assert fine(root, code.own_environment)
    elsewhere = tmp_path / "other" / ".venv" / "bin" / "python3"
    script.write_text(f"#!{elsewhere}\n")
    assert f"dvc starts {elsewhere}): it was copied" in wrong(root, code.own_environment).told
    # Where the path is too long for the kernel, a shell finds the interpreter.
    script.write_text(f"#!/bin/sh\n'''exec' '{elsewhere}' \"$0\" \"$@\"\n' '''\n")
    assert f"dvc starts {elsewhere})" in wrong(root, code.own_environment).told


# Data


@pytest.mark.slow
def test_a_project_without_dvc_is_told(root):
    shell(root, "git rm -r --quiet --cached .dvc data.dvc && rm -r .dvc data.dvc")
    commit(root)
    assert wrong(root, data.dvc_initialised).mend == "dvc init"
    assert wrong(root, data.data_recorded).mend == "dvc init && dvc add data"
    assert mended(root, data.data_recorded)
    assert fine(root, data.dvc_initialised)


def test_a_dvc_that_does_not_start_is_told(root, tmp_path, monkeypatch):
    broken = tmp_path / "bin" / "dvc"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no module named dvc >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}{os.environ['PATH']}")
    assert "no module named dvc" in wrong(root, data.dvc_installed).told


def test_a_remote_that_is_no_default_is_told(root):
    change(root / ".dvc" / "config", "    remote = sample\n", "")
    assert wrong(root, data.dvc_remote).told == "no remote is the default, of sample"
    assert mended(root, data.dvc_remote)


def test_a_remote_that_nobody_described_is_told(root):
    change(root / ".dvc" / "config", "remote = sample", "remote = storage")
    assert wrong(root, data.dvc_remote).told == "the default remote 'storage' is not described"
    assert mended(root, data.dvc_remote) is False  # its folder comes with the first push
    assert wrong(root, data.dvc_remote).mend.endswith("dvc-storage && dvc push")


@pytest.mark.slow
def test_a_project_without_a_remote_is_told(root):
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    shutil.rmtree(root / ".dvc" / "remote")
    shell(root, "dvc add --quiet data")
    assert "this machine only" in wrong(root, data.dvc_remote).told
    assert mended(root, data.dvc_remote)
    assert fine(root, data.data_kept)


@pytest.mark.slow
def test_data_that_were_not_pulled_are_told(root):
    shutil.rmtree(root / "data")
    assert wrong(root, data.data_there).mend == "dvc pull data.dvc"
    assert mended(root, data.data_there)
    shutil.rmtree(root / "data")
    assert wrong(root, data.data_there).mend == "dvc checkout data.dvc", "the cache has them now"
    assert mended(root, data.data_there)


def test_data_that_are_nowhere_are_told(root):
    shutil.rmtree(root / "data")
    (root / "data.dvc").unlink()
    assert wrong(root, data.data_there).told == (
        f"{root / 'data'} is not there, and DVC tracks nothing of that name: put the table there,"
        " or change data.source in params.yaml"
    )


@pytest.mark.slow
def test_data_that_differ_from_their_pointer_are_named(root):
    shell(root, "dvc fetch --quiet")
    file = next((root / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    assert wrong(root, data.data_recorded).told == (
        f"{file.name} differs from data.dvc: no leader trained on it is promoted;"
        " `dvc checkout --force data.dvc` undoes the change"
    )
    assert wrong(root, data.data_recorded).state is State.ERROR
    assert mended(root, data.data_recorded)
    assert wrong(root, data.pointer_committed).state is State.WARNING
    assert mended(root, data.pointer_committed)
    assert "is not in the remote sample" in wrong(root, data.data_kept).told
    assert mended(root, data.data_kept)


@pytest.mark.slow
def test_a_missing_file_of_the_data_is_brought_back_and_not_forgotten(root):
    shell(root, "dvc fetch --quiet")
    file = next((root / "data").iterdir())
    file.unlink()
    assert wrong(root, data.data_recorded).mend == "dvc checkout data.dvc"
    assert mended(root, data.data_recorded)
    assert file.exists()


def test_data_that_may_be_unrecorded_are_only_warned_of(root):
    change(root / "params.yaml", "dirty_data: refuse", "dirty_data: allow")
    (root / "data" / "new.csv").write_text("x\n")
    assert wrong(root, data.data_recorded).state is State.WARNING


def test_data_that_git_tracks_are_added_to_git(root):
    shell(root, "git rm --quiet --cached data.dvc && rm data.dvc")
    change(root / ".gitignore", "/data\n", "")
    commit(root)
    assert fine(root, data.data_recorded)
    (root / "data" / "new.csv").write_text("x\n")
    assert mended(root, data.data_recorded)


def test_more_data_than_one_waits_for_are_left_to_dvc(root, monkeypatch):
    monkeypatch.setattr(data, "_MOST_BYTES", 10)
    assert wrong(root, data.data_recorded).state is State.SKIPPED
    cache = root / "build" / "hashes.json"
    cache.parent.mkdir()
    lineage.data_state(root / "data", cache)
    cache.write_text("{}")
    assert fine(root, data.data_recorded)
    assert cache.read_text() == "{}"


@pytest.mark.slow
def test_bytes_that_are_in_neither_cache_nor_remote_are_told(root):
    shutil.rmtree(root / ".dvc" / "remote")
    (root / ".dvc" / "remote").mkdir()
    found = wrong(root, data.data_kept)
    assert found.state is State.WARNING
    assert "neither in DVC's cache nor in the remote sample" in found.told
    assert mended(root, data.data_kept)


def test_a_remote_on_another_machine_is_not_looked_into(root):
    change(root / ".dvc" / "config", "url = remote", "url = s3://bucket/data")
    assert fine(root, data.dvc_remote)
    found = wrong(root, data.data_kept)
    assert found.state is State.SKIPPED
    assert found.told == "the remote sample at s3://bucket/data is not looked into"


def hold(root: Path, pid: int) -> None:
    info = {"pid": pid, "cmd": "repro"}
    lock = root / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"write": {"data": info}, "read": {"src": [info]}}))


def test_a_lock_of_a_process_that_is_gone_is_told(root):
    gone = subprocess.Popen(["true"])
    gone.wait()
    hold(root, gone.pid)
    assert wrong(root, data.dvc_locks).state is State.WARNING
    assert mended(root, data.dvc_locks)


def test_a_lock_whose_number_another_program_has_is_an_error(root):
    hold(root, os.getppid())
    assert wrong(root, data.dvc_locks).state is State.ERROR
    assert mended(root, data.dvc_locks)


def test_a_lock_of_a_dvc_that_runs_is_fine(root, tmp_path):
    program = tmp_path / "dvc"
    program.write_text("#!/bin/sh\necho started\nsleep 60\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdout=subprocess.PIPE) as running:
        # Popen returns when the system has begun the program: its arguments can't be read yet.
        assert running.stdout.readline() == b"started\n"
        hold(root, running.pid)
        try:
            assert look(root, data.dvc_locks)[0].told == (
                f"`dvc repro` (process {running.pid}) is running"
            )
            assert fine(root, data.dvc_locks)
        finally:
            for child in psutil.Process(running.pid).children():
                child.kill()
            running.kill()


def test_a_broken_lock_is_told(root):
    hold(root, 1)
    (root / ".dvc" / "tmp" / "rwlock").write_text("{")
    assert wrong(root, data.dvc_locks).state is State.ERROR
    assert mended(root, data.dvc_locks)


def test_a_lock_that_is_a_file_and_was_left_behind_is_told(root):
    change(root / ".dvc" / "config", "[core]\n", "[core]\n    hardlink_lock = true\n")
    temp = root / ".dvc" / "tmp"
    temp.mkdir()
    leave = (
        "import os; from dvc.lock import HardlinkLock;"
        f" HardlinkLock({str(temp / 'lock')!r}, tmp_dir={str(temp)!r}).lock(); os._exit(0)"
    )
    shell(root, f'{sys.executable} -c "{leave}"')
    assert "was left behind" in wrong(root, data.dvc_locks).told
    assert mended(root, data.dvc_locks)
    assert list(temp.iterdir()) == []


@pytest.mark.parametrize("content", [None, "*.pyc", "build/\n"])
def test_byte_code_that_counts_as_code_is_told(root, content):
    (root / ".dvcignore").unlink()
    if content is not None:
        (root / ".dvcignore").write_text(content)
    if content == "*.pyc":
        assert fine(root, data.byte_code)
    else:
        assert mended(root, data.byte_code)


def test_a_stage_that_writes_into_the_data_is_told(root):
    change(root / "dvc.yaml", "- build/prepared\n", "- data/prepared\n")
    assert wrong(root, data.stage_outputs).told == (
        "the stage prepare writes data/prepared inside data/, which data.dvc tracks: DVC refuses"
        " both"
    )
    assert mended(root, data.stage_outputs)


# Environment


def test_another_python_than_is_asked_for_is_told(root):
    change(root / "pyproject.toml", '">=3.11"', '">=3.99"')
    found = wrong(root, environment.python_version)
    assert found.state is State.ERROR
    assert found.mend == "uv sync --frozen --python 3.99"


def test_packages_other_than_the_locks_are_named(root):
    lock = root / "uv.lock"
    version = lineage.library_versions(["rich"])[0][1]
    change(lock, f'name = "rich"\nversion = "{version}"', 'name = "rich"\nversion = "0.0.1"')
    found = wrong(root, environment.packages)
    assert found.told == f"1 package other than the lock says: rich {version} (locked: 0.0.1)"
    assert found.state is State.WARNING
    assert found.mend.endswith(" rich==0.0.1")


def test_a_package_that_is_not_installed_is_an_error(root):
    change(root / "uv.lock", 'name = "rich"', 'name = "rich-as-croesus"')
    change(root / "pyproject.toml", '"rich>=14"', '"rich-as-croesus>=14"')
    found = wrong(root, environment.packages)
    assert (found.state, "rich-as-croesus" in found.told) == (State.ERROR, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("psutil==", "psutil==0.", "it has psutil==0."),
        ("  - psutil==", "  - also==", "it lacks psutil=="),
    ],
)
def test_a_conda_yaml_that_is_not_the_locks_is_told(root, old, new, told):
    change(root / "conda.yaml", old, new)
    found = wrong(root, environment.conda_yaml)
    assert told in found.told
    if shutil.which("uv"):
        assert mended(root, environment.conda_yaml)


def test_a_conda_yaml_that_installs_the_project_is_told(root):
    shutil.rmtree(root / ".ci")
    change(root / "conda.yaml", "- pip:\n", "- pip:\n  - -e .\n")
    assert "a second clone would run the first one's code" in (
        wrong(root, environment.conda_yaml).told
    )
    assert mended(root, environment.conda_yaml)


def programs(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        (["mlflow", "conda"], "conda is installed: mlflow run ."),
        (
            ["mlflow", "uv"],
            "conda is not installed: mlflow run . --env-manager uv (or local)",
        ),
        (
            ["mlflow", "pyenv"],
            "conda is not installed: mlflow run . --env-manager local (or virtualenv)",
        ),
        (["mlflow"], "conda is not installed: mlflow run . --env-manager local"),
    ],
)
def test_the_way_to_run_without_conda_is_told(root, tmp_path, monkeypatch, installed, told):
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", *installed))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (found,) = look(root, environment.environment_manager)
    assert (found.state, found.told) == (State.OK, told)


def test_a_machine_that_can_not_run_the_project_is_told(root, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert wrong(root, environment.environment_manager).told == (
        "the program mlflow is not on the path"
    )
    programs(tmp_path / "more", "mlflow")
    monkeypatch.setenv("PATH", str(tmp_path / "more"))
    change(root / "pyproject.toml", '"rich>=14"', '"rich-as-croesus>=14"')
    assert wrong(root, environment.environment_manager).told.startswith(
        "conda, uv and pyenv are not installed"
    )


@pytest.mark.parametrize(
    ("given", "threads", "told"),
    [
        ("many", "null", "OMP_NUM_THREADS is 'many', not a number"),
        ("3", "1", "OMP_NUM_THREADS is 3, and train.threads 1"),
        ("9999", "null", "OMP_NUM_THREADS is 9999 on"),
    ],
)
def test_threads_that_contradict_the_settings_are_told(root, monkeypatch, given, threads, told):
    change(root / "params.yaml", "threads: null", f"threads: {threads}")
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    found = wrong(root, environment.threads)
    assert found.told.startswith(told)
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, environment.threads)


def test_fewer_threads_than_cores_are_told_where_all_are_asked_for(root, monkeypatch):
    cores = lineage.hardware().cores_logical
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    assert fine(root, environment.threads)
    if cores > 1:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        in_shell(root, wrong(root, environment.threads).mend, monkeypatch)
        assert fine(root, environment.threads)


def test_a_run_of_an_earlier_mlflow_run_in_the_shell_is_told(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    found = wrong(root, environment.mlflow_variables)
    assert found.state is State.ERROR
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, environment.mlflow_variables)


# Machine


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_that_may_use_one_core_is_told(root):
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        told = wrong(root, machine.cores_and_memory).told
    finally:
        os.sched_setaffinity(0, cores)
    assert told.startswith("this process may use one core of")


def test_little_memory_and_little_room_are_told(root, monkeypatch):
    monkeypatch.setattr(machine, "_MEMORY_GIB", 10**6)
    assert "and a table of this size may take" in wrong(root, machine.cores_and_memory).told
    monkeypatch.setattr(machine, "_LOW_DISK", 2**70)
    found = look(root, machine.disks)
    assert {each.state for each in found} == {State.WARNING}
    assert "build, store, artifacts" in found[0].told
    assert found[0].mend == "dvc gc --all-commits"
    monkeypatch.setattr(machine, "_NO_DISK", 2**70)
    assert {each.state for each in look(root, machine.disks)} == {State.ERROR}


def test_a_folder_that_nobody_may_write_to_is_told(root, unwritable):
    unwritable(root / "build")
    found = look(root, machine.writable_folders)
    (blocked,) = [each for each in found if each.state is State.ERROR]
    assert blocked.told.startswith(f"build ({root / 'build'}) can't be written to: ")


def test_a_file_in_the_place_of_a_folder_is_told(root):
    (root / "build").write_text("")
    (blocked,) = [e for e in look(root, machine.writable_folders) if e.state is State.ERROR]
    assert blocked.told.endswith("can't be written to: a file stands in its place")
    shell(root, blocked.mend)
    assert fine(root, machine.writable_folders)


@pytest.mark.parametrize("names", [["params.yaml"], list(FILES[:6])])
def test_files_from_the_future_are_told(root, names):
    for name in names:
        os.utime(root / name, (time.time() + 9000, time.time() + 9000))
    assert names[0] in wrong(root, machine.file_times).told or len(names) > 3
    assert mended(root, machine.file_times)


def test_a_commit_and_a_run_from_the_future_are_told(root, recorded):
    assert fine(root, machine.clock)
    late = int(time.time()) + 9000
    shell(root, f"GIT_COMMITTER_DATE='{late} +0000' git commit --quiet --allow-empty -m late")
    experiment = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    recorded.create_run(experiment, start_time=1000 * late, run_name="late")
    found = look(root, machine.clock)
    assert [each.told for each in found] == [
        "the last commit was made 2 hours from now",
        "the run late began 2 hours from now",
    ]
    assert {each.mend for each in found} == {"sudo timedatectl set-ntp true"}


@contextmanager
def answering(status: int = 200, ahead: float = 0.0) -> Iterator[str]:
    """Serve what the doctor asks of a tracking server, with a clock of its own."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + ahead)

        def do_GET(self) -> None:
            found = "get-by-name" not in self.path
            body = b"{}" if found else b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
            body = body if status == 200 else b"Forbidden"
            self.send_response(status if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_clock_that_is_not_the_servers_is_told(root, monkeypatch):
    with answering() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert fine(root, machine.clock)
        assert fine(root, store.tracking_store)
    with answering(ahead=3600) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        told = wrong(root, machine.clock).told
        assert told == "this clock is 60 minutes behind the tracking server's"


# Store


@pytest.mark.parametrize(
    "uri", ["./mlruns", "mlruns", "file:///nowhere/mlruns", "sqlite:///:memory:", "sqlite://"]
)
def test_a_store_that_runs_would_be_lost_in_is_told(root, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    found = wrong(root, store.tracking_place)
    assert found.state is State.ERROR
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.tracking_place)


def test_a_store_of_the_parameter_file_is_put_right_there(root):
    change(root / "params.yaml", "  uri: null ", "  uri: ./mlruns ")
    commit(root)
    found = look(root, store.tracking_place)
    assert [each.state for each in found] == [State.ERROR, State.WARNING]
    shell(root, found[0].mend)
    assert fine(root, store.tracking_place)


@pytest.mark.slow
def test_a_store_in_a_folder_moves_into_a_database(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    make = "import mlflow; mlflow.set_experiment('old'); mlflow.start_run()"
    shell(root, f'{sys.executable} -c "{make}"')
    found = wrong(root, store.tracking_place)
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.tracking_place)
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    assert client.get_experiment_by_name("old") is not None


def test_a_store_in_a_workspace_of_dvc_is_told(root, monkeypatch):
    temp = root / ".dvc" / "tmp" / "exps" / "tmpabc"
    (temp / ".git").mkdir(parents=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{temp / 'mlflow.db'}")
    found = wrong(root, store.tracking_place)
    assert (found.state, found.told) == (
        State.ERROR,
        f"{temp / 'mlflow.db'} lies in a workspace that DVC deletes",
    )
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.tracking_place)


def test_a_store_among_temporary_files_is_told(root, monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'tmp' / 'mlflow.db'}")
    assert "which are deleted one day" in wrong(root, store.tracking_place).told


def test_a_relative_store_that_two_folders_would_understand_otherwise_is_told(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert fine(root, store.tracking_place)
    (root / "src").mkdir()
    monkeypatch.chdir(root / "src")
    found = wrong(root, store.tracking_place)
    assert found.mend == f"export MLFLOW_TRACKING_URI=sqlite:///{root / 'runs.db'}"
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.tracking_place)


def test_a_store_that_mlflow_run_does_not_know_of_is_told(root, monkeypatch, tmp_path):
    uri = f"sqlite:///{tmp_path / 'team.db'}"
    change(root / "params.yaml", "  uri: null ", f"  uri: {uri} ")
    found = wrong(root, store.tracking_place)
    assert found.mend == f"export MLFLOW_TRACKING_URI={uri}"
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.tracking_place)


def test_a_second_store_is_told(root, empty_store, monkeypatch):
    inner = root / "examples"
    inner.mkdir()
    shutil.copy(root / "params.yaml", inner)
    shutil.copy(empty_store, inner / "mlflow.db")
    assert wrong(inner, store.tracking_place).told == (
        f"{inner / 'mlflow.db'} is another store, with 0 runs, beside {root / 'mlflow.db'}"
    )
    assert mended(inner, store.tracking_place)


def test_a_server_that_does_not_answer_is_told(root, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    found = wrong(root, store.tracking_store)
    assert found.told.startswith(f"the server at http://127.0.0.1:{port} doesn't answer: ")
    command = "mlflow server --backend-store-uri sqlite:///mlflow.db"
    assert found.mend == f"{command} --host 127.0.0.1 --port {port}"
    assert wrong(root, store.open_runs).told == "the tracking server doesn't answer"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.invalid")
    in_shell(root, wrong(root, store.tracking_store).mend, monkeypatch)
    assert fine(root, store.tracking_store)


@pytest.mark.parametrize("status", [500, 403])
def test_a_server_that_refuses_is_told(root, monkeypatch, status):
    with answering(status) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert str(status) in wrong(root, store.tracking_store).told


def test_a_server_that_does_not_know_who_asks_is_told(root, monkeypatch):
    with answering(401) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        told = wrong(root, store.tracking_store).told
    assert told.startswith(f"the server at {uri} doesn't know who asks (HTTP 401). Set MLFLOW_TRA")


@pytest.mark.parametrize(
    ("scheme", "module", "package"),
    [
        ("postgresql", "psycopg", "'psycopg[binary]'"),
        ("postgresql+psycopg2", "psycopg2", "psycopg2-binary"),
        ("mysql", "MySQLdb", "mysqlclient"),
        ("mysql+pymysql", "pymysql", "pymysql"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_by_its_package(
    root, monkeypatch, scheme, module, package
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:hush@127.0.0.1:1/runs")
    assert wrong(root, store.tracking_store).mend == f"python -m pip install {package}"


def test_a_file_that_is_no_database_is_told(root):
    (root / "mlflow.db").write_text("nothing of the kind, and longer than a header of SQLite" * 9)
    assert "file is not a database" in wrong(root, store.tracking_store).told
    assert mended(root, store.tracking_store)


def test_a_database_of_something_else_is_told(root):
    with closing(sqlite3.connect(root / "mlflow.db")) as other:
        other.execute("CREATE TABLE songs (name)")
    assert "tables of something else" in wrong(root, store.tracking_store).told


def test_a_database_server_that_is_not_there_is_told(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hush@127.0.0.1:1/runs")
    found = wrong(root, store.tracking_store)
    assert "postgresql://***@127.0.0.1:1/runs can't be opened" in found.told
    assert "hush" not in f"{found.told}{found.mend}"


@pytest.mark.slow
def test_a_database_of_an_older_mlflow_is_upgraded(root):
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    uri = f"sqlite:///{root / 'mlflow.db'}"
    config = _get_alembic_config(uri)
    scripts = ScriptDirectory.from_config(config)
    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, scripts.get_revision("head").down_revision)
    engine.dispose()
    found = wrong(root, store.tracking_store)
    assert "was made by an older MLflow" in found.told
    assert found.mend == f"mlflow db upgrade {uri}"
    assert mended(root, store.tracking_store)


def test_a_database_of_a_newer_mlflow_is_told(root, recorded):
    with closing(sqlite3.connect(root / "mlflow.db")) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'fff000fff000'")
    found = wrong(root, store.tracking_store)
    assert "was made by a newer MLflow" in found.told
    assert found.mend == f"python -m pip install --upgrade 'mlflow>{mlflow.__version__}'"


def test_an_experiment_of_the_environment_that_is_not_the_projects_is_told(
    root, recorded, monkeypatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    in_shell(root, wrong(root, store.experiment).mend, monkeypatch)
    assert fine(root, store.experiment)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    in_shell(root, wrong(root, store.experiment).mend, monkeypatch)
    assert fine(root, store.experiment)


def test_a_deleted_experiment_is_restored(root, recorded, monkeypatch):
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    recorded.delete_experiment(number)
    found = wrong(root, store.experiment)
    assert found.mend == f"mlflow experiments restore --experiment-id {number}"
    recorded.restore_experiment(number)
    assert fine(root, store.experiment)


def test_runs_that_mlflow_run_put_elsewhere_are_told(root, recorded, monkeypatch):
    run = recorded.create_run("0", tags={"ratchet.step": "evaluate"})
    recorded.log_param(run.info.run_id, "name", "green-taxi-duration")
    found = wrong(root, store.experiment)
    assert found.told.startswith("1 run of green-taxi-duration are in the experiment Default: ")
    in_shell(root, found.mend, monkeypatch)
    assert fine(root, store.experiment)


def test_artifacts_of_a_project_that_was_moved_are_linked(root, recorded, tmp_path):
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    run = recorded.create_run(number, tags={"ratchet.step": "train"})
    recorded.log_text(run.info.run_id, "kept", "note.txt")
    recorded.set_terminated(run.info.run_id)
    moved = tmp_path / "moved"
    root.rename(moved)
    found = wrong(moved, store.artifacts)
    assert found.state is State.ERROR
    assert "the folder was moved" in found.told
    assert mended(moved, store.artifacts)
    client = mlflow.MlflowClient(f"sqlite:///{moved / 'mlflow.db'}")
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["note.txt"]


def test_artifacts_that_are_nowhere_have_no_command(root, recorded):
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    run = recorded.create_run(number, tags={"ratchet.step": "train"})
    assert fine(root, store.artifacts), "it may have failed before it had any"
    recorded.set_terminated(run.info.run_id)
    found = look(root, store.artifacts)
    (gone,) = [each for each in found if each.state is State.ERROR]
    assert gone.mend == ""


def test_a_run_that_was_left_open_is_ended(root, recorded):
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    run = recorded.create_run(number, run_name="train")
    found = wrong(root, store.open_runs)
    assert f"1 run still RUNNING, although no step runs here: train ({run.info.run_id})" in (
        found.told
    )
    assert mended(root, store.open_runs)
    assert recorded.get_run(run.info.run_id).info.status == "KILLED"


def test_runs_that_a_killed_process_has_left_are_listed_until_the_next_command_closes_them(
    evaluated, at_work
):
    from ratchet import tracking

    project, place = Project.open(evaluated), evaluated.parent
    process, (main, train) = at_work(project)
    assert [each.told for each in look(place, store.open_runs)] == ["2 runs under way"]
    process.kill()
    process.join()
    told = wrong(place, store.open_runs).told
    assert told.startswith("2 runs still RUNNING, although no step runs here: ")
    assert f"train ({train})" in told
    assert f"main ({main})" in told
    tracking.connect(project)
    assert [each.told for each in look(place, store.open_runs)] == ["none"]


def test_a_run_of_another_machine_is_under_way_as_far_as_can_be_seen(root, recorded):
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    away = replace(Process.here(), host="elsewhere", boot="another", machine="0f0f")
    recorded.create_run(number, run_name="train", tags={"ratchet.process": away.text})
    [found] = look(root, store.open_runs)
    assert (found.state, found.told) == (State.OK, "1 run under way, 1 of other machines")


def test_a_run_of_a_step_that_is_under_way_is_left_alone(root, recorded):
    (root / "src").mkdir()
    (root / "src" / "__main__.py").write_text("import time; time.sleep(60)")
    number = recorded.get_experiment_by_name("green-taxi-duration").experiment_id
    old = recorded.create_run(number, run_name="old", start_time=1)
    with subprocess.Popen([sys.executable, "src", "train"], cwd=root) as step:
        try:
            recorded.create_run(number, run_name="new")
            told = wrong(root, store.open_runs).told
        finally:
            step.kill()
    assert f"old ({old.info.run_id})" in told
    assert "new" not in told.replace("under way", "")


# Models


def test_a_leader_that_nobody_trusts_is_told(evaluated, monkeypatch):
    place = evaluated.parent
    assert fine(place, models.leader_loads)
    description = place / "build" / "train" / "model" / "MLmodel"
    saved = yaml.safe_load(description.read_text())
    saved["flavors"]["sklearn"]["skops_trusted_types"] = []
    description.write_text(yaml.safe_dump(saved))
    told = wrong(place, models.leader_loads).told
    assert told.startswith("the leader can't be loaded: skops does not trust ")
    saved["flavors"]["sklearn"]["serialization_format"] = "cloudpickle"
    description.write_text(yaml.safe_dump(saved))
    found = wrong(place, models.leader_loads)
    assert found.told == (
        "the leader can't be loaded: it is saved with cloudpickle, which may run any code"
    )
    assert found.mend == "python src train"


def test_a_leader_that_the_store_lacks_is_told_before_a_step_logs_it_again(
    project, store, empty_store, tmp_path, monkeypatch
):
    from ratchet import tracking
    from ratchet.steps import restore

    place, run_id = project.root, restore.look(project).run_id
    (found,) = look(place, models.leader_recorded)
    assert (found.state, found.told) == (State.OK, f"its run is {run_id}")
    told = (
        f"its run {run_id} is not in the store; the next step logs it again from"
        " build/train/run.json"
    )
    team = tmp_path / "team.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{team}")
    for _ in range(2):  # no store yet, and one without runs
        (found,) = look(place, models.leader_recorded)
        assert (found.state, found.told) == (State.OK, told)
        shutil.copy(empty_store, team)
    (place / "build" / "train" / "run.json").rename(tmp_path / "run.json")
    found = wrong(place, models.leader_recorded)
    assert (found.state, found.mend) == (State.ERROR, "python src train")
    assert found.told == (
        f"the leader's run {run_id} is not in the store, and there is no build/train/run.json to"
        " log it again from"
    )
    (tmp_path / "run.json").rename(place / "build" / "train" / "run.json")
    tracking.connect(project)
    again = restore.leader(project).run_id
    (found,) = look(place, models.leader_recorded)
    assert (found.state, found.told) == (
        State.OK,
        f"its run {run_id} is in the store as {again}, logged again",
    )
    (place / "build" / "train" / "leader.json").write_text("{}")
    assert wrong(place, models.leader_recorded).mend == "python src train"


@pytest.fixture
def champion(project: "object") -> Path:
    """A project whose leader was promoted; gives its folder."""
    from ratchet.steps import promote

    assert promote.run(project).promoted
    return project.root


def test_a_champion_that_nobody_trusts_or_has_is_told(champion, store: mlflow.MlflowClient):
    from ratchet.checks.models import champion_loads, stage_and_alias

    assert fine(champion, champion_loads)
    assert fine(champion, stage_and_alias)
    # Other tests load the same model: what is spoiled is a copy.
    place = store.get_model_version_download_uri("tiny", "1").removeprefix("file://")
    kept = champion.parent / "kept"
    shutil.copytree(place, kept)
    with closing(sqlite3.connect(champion.parent / "mlflow.db")) as opened, opened:
        opened.execute("UPDATE model_versions SET storage_location = ?", [kept.as_uri()])
    (kept / "added.txt").write_text("by whom?")
    assert wrong(champion, champion_loads).told == (
        f"version 1 of tiny can't be loaded: its files in {kept} are not those that were promoted"
    )
    description = yaml.safe_load((kept / "MLmodel").read_text())
    description["flavors"]["sklearn"]["serialization_format"] = "pickle"
    (kept / "MLmodel").write_text(yaml.safe_dump(description))
    assert wrong(champion, champion_loads).told == (
        "version 1 of tiny can't be loaded: it is saved with pickle, which may run any code"
    )
    shutil.rmtree(kept)
    assert wrong(champion, champion_loads).told.startswith("the files of version 1 of tiny are not")


def test_a_champion_of_other_releases_of_its_libraries_is_told(champion, store):
    assert fine(champion, models.champion_libraries)
    place = store.get_model_version_download_uri("tiny", "1").removeprefix("file://")
    there = importlib.metadata.version("scikit-learn")
    kept = champion.parent / "kept"
    shutil.copytree(place, kept)
    with closing(sqlite3.connect(champion.parent / "mlflow.db")) as opened, opened:
        opened.execute("UPDATE model_versions SET storage_location = ?", [kept.as_uri()])
        opened.execute("UPDATE logged_models SET artifact_location = ?", [kept.as_uri()])
    change(kept / "requirements.txt", f"scikit-learn=={there}", "scikit-learn==0.24.2")
    found = wrong(champion, models.champion_libraries)
    assert found.told == (
        f"version 1 of tiny was saved with scikit-learn 0.24.2 (installed: {there}): nobody"
        " promises that it loads here, or that it answers the same"
    )
    assert found.mend == "python src run"
    (kept / "requirements.txt").unlink()
    assert wrong(champion, models.champion_libraries).state is State.SKIPPED


def test_a_stage_that_somebody_moved_is_told(champion, store: mlflow.MlflowClient):
    from ratchet.checks.models import stage_and_alias

    store.transition_model_version_stage("tiny", "1", "Archived")
    found = wrong(champion, stage_and_alias)
    assert found.told == (
        "the alias champion is version 1, the stage Production none: promote puts it right"
    )

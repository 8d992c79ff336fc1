"""A place apart: the recorded tree is made there, and nothing leads back to the user's."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from ratchet import lineage, scratch
from ratchet.errors import DataError, RatchetError
from ratchet.scratch import StepError


@pytest.fixture
def repository(tmp_path, git):
    """Give a repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("A = 1\n")
    (folder / "params.yaml").write_text("seed: 1\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    return folder


def head(git, folder):
    return git(folder, "rev-parse", "HEAD").strip()


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Code


def test_a_commit_that_no_branch_holds_is_checked_out_and_the_repository_stays_as_it_is(
    repository, tmp_path, git
):
    (repository / "src" / "a.py").write_text("A = 2\n")
    git(repository, "commit", "--quiet", "--all", "--message", "two")
    lost = head(git, repository)
    git(repository, "reset", "--quiet", "--hard", "HEAD~")
    before = files_of(repository)
    scratch.check_out(repository, lost, tmp_path / "made")
    assert (tmp_path / "made" / "src" / "a.py").read_text() == "A = 2\n"
    assert head(git, tmp_path / "made") == lost
    assert files_of(repository) == before


def test_a_worktree_and_a_folder_with_odd_names_are_no_obstacle(repository, tmp_path, git):
    worktree = tmp_path / 'an "odd" näme'
    git(repository, "worktree", "add", "--quiet", "--detach", str(worktree))
    scratch.check_out(worktree, head(git, worktree), tmp_path / "made")
    assert (tmp_path / "made" / "params.yaml").exists()


def test_no_hook_of_the_user_runs(repository, tmp_path, git, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    scratch.check_out(repository, head(git, repository), tmp_path / "made")
    assert not (tmp_path / "ran").exists()


def test_a_shallow_clone_gives_its_own_commit_and_says_how_to_get_others(repository, tmp_path, git):
    first = head(git, repository)
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "two")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow))
    scratch.check_out(shallow, head(git, shallow), tmp_path / "made")
    assert (tmp_path / "made" / "params.yaml").exists()
    with pytest.raises(RatchetError) as raised:
        scratch.check_out(shallow, first, tmp_path / "other")
    assert str(raised.value) == (
        f"{shallow} is a shallow clone without the commit {first[:12]};"
        " `git fetch --unshallow` brings all commits"
    )


@pytest.mark.parametrize("commit", ["0" * 40, "main", "--help", ""])
def test_what_is_no_commit_here_is_told(repository, tmp_path, commit):
    with pytest.raises(RatchetError, match=r"has no commit 000000000000|is not the name of a comm"):
        scratch.check_out(repository, commit, tmp_path / "made")


def test_a_folder_without_git_is_told(tmp_path):
    with pytest.raises(RatchetError, match="is in no git repository"):
        scratch.check_out(tmp_path, "0" * 40, tmp_path / "made")


def test_the_recorded_patch_makes_the_dirty_tree_again_new_files_included(
    repository, tmp_path, git
):
    (repository / "data.csv").write_text("x\n1\n")
    (repository / "src" / "a.py").write_text("A = 3\n")
    (repository / "src" / "new.py").write_text("B = 4\n")
    recorded = lineage.record(repository, source=repository / "data.csv", params={})
    patch = tmp_path / "dirty.patch"
    patch.write_text(recorded.patch)
    scratch.check_out(repository, recorded.commit, tmp_path / "made")
    scratch.apply(patch, tmp_path / "made")
    assert (tmp_path / "made" / "src" / "a.py").read_text() == "A = 3\n"
    assert (tmp_path / "made" / "src" / "new.py").read_text() == "B = 4\n"
    assert scratch.lacking(patch) == ""
    pipeline = lineage.pipeline_id(
        recorded.commit,
        scratch.patch_digest(patch),
        recorded.params_digest,
        recorded.data_version,
    )
    assert pipeline == recorded.pipeline


def test_what_a_patch_leaves_out_is_read_from_it_and_the_rest_applies(repository, tmp_path, git):
    (repository / "data.csv").write_text("x\n1\n")
    (repository / ".env").write_text("a")
    git(repository, "add", "--force", ".env")
    git(repository, "commit", "--quiet", "--message", "two")
    (repository / ".env").write_text("secret")
    (repository / "src" / "a.py").write_text("A = 3\n")
    recorded = lineage.record(repository, source=repository / "data.csv", params={})
    assert not recorded.patch_whole
    patch = tmp_path / "dirty.patch"
    patch.write_text(recorded.patch)
    scratch.check_out(repository, recorded.commit, tmp_path / "made")
    scratch.apply(patch, tmp_path / "made")
    assert scratch.lacking(patch) == ".env has changed too, and is left out"
    assert (tmp_path / "made" / "src" / "a.py").read_text() == "A = 3\n"


def test_a_patch_that_was_cut_says_so(tmp_path):
    patch = tmp_path / "dirty.patch"
    patch.write_text(
        "diff --git a/a b/a\n--- a/a\n# The patch has 2000000 bytes; the rest is cut.\n"
    )
    assert scratch.lacking(patch) == "The patch has 2000000 bytes; the rest is cut"


@pytest.mark.parametrize("place", ["/etc/params.yaml", "../params.yaml", "a/../../b.yaml", ""])
def test_a_place_outside_of_the_checkout_is_refused(tmp_path, place):
    with pytest.raises(RatchetError, match="is no place in a checkout"):
        scratch.inside(tmp_path, place)


def test_a_link_that_leads_out_of_the_checkout_is_refused(tmp_path):
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "conf").symlink_to(tmp_path)
    with pytest.raises(RatchetError, match="leads out of the checkout by a link"):
        scratch.inside(tmp_path / "checkout", "conf/params.yaml")


# Data


def test_data_that_dvc_never_had_are_copied_from_the_checkout(repository, tmp_path):
    (repository / "data.csv").write_text("x\n1\n")
    version = lineage.data_version(repository / "data.csv")
    target = tmp_path / "made" / "data.csv"
    scratch.bring_data(repository / "data.csv", version, target, target)
    assert target.read_text() == "x\n1\n"


def test_data_that_git_tracks_come_with_the_commit(repository, tmp_path, git):
    (repository / "data.csv").write_text("x\n1\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "data")
    version = lineage.data_version(repository / "data.csv")
    commit = head(git, repository)
    (repository / "data.csv").write_text("x\n2\n")
    scratch.check_out(repository, commit, tmp_path / "made")
    target = tmp_path / "made" / "data.csv"
    scratch.bring_data(repository / "data.csv", version, target, target)
    assert target.read_text() == "x\n1\n"


def test_data_that_nobody_has_are_told(repository, tmp_path):
    (repository / "data.csv").write_text("x\n2\n")
    with pytest.raises(DataError, match=f"Version {'0' * 32} of data.csv can't be had"):
        scratch.bring_data(repository / "data.csv", "0" * 32, tmp_path / "x", tmp_path / "x")


# The folder


def test_the_folder_goes_when_it_is_done_with_and_a_kept_one_stays(tmp_path):
    with scratch.folder(None, tmp_path / "checkout") as folder:
        (folder / "a").mkdir()
    assert not folder.exists()
    with scratch.folder(tmp_path / "kept", tmp_path / "checkout") as folder:
        (folder / "a").mkdir()
    assert (tmp_path / "kept" / "a").exists()


def test_a_folder_in_the_checkout_or_with_files_in_it_is_refused(tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    with (
        pytest.raises(RatchetError, match="lies in the checkout"),
        scratch.folder(checkout / "build" / "again", checkout),
    ):
        pass
    assert not (checkout / "build").exists()
    with (
        pytest.raises(RatchetError, match="has files in it"),
        scratch.folder(tmp_path, checkout),
    ):
        pass


# Programs


def test_a_program_inherits_nothing_that_leads_back(tmp_path, monkeypatch):
    home, made = tmp_path / "home", tmp_path / "made"
    monkeypatch.setenv("PYTHONPATH", f"{home / 'src'}{os.pathsep}{tmp_path / 'elsewhere'}")
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "GIT_DIR", "DVC_STAGE", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "x")
    found = scratch.inherited((home, made))
    assert not [name for name in found if name.startswith(("MLFLOW_", "GIT_", "DVC_", "VIRTUAL"))]
    assert found["PYTHONPATH"].split(os.pathsep) == [
        str(made / "src"),
        str(tmp_path / "elsewhere"),
    ]
    assert "PYTHONPATH" not in scratch.inherited()


def test_the_steps_are_started_by_the_src_nearest_to_the_parameter_file(tmp_path):
    (tmp_path / "ml" / "src").mkdir(parents=True)
    (tmp_path / "ml" / "examples").mkdir()
    (tmp_path / "ml" / "src" / "__main__.py").write_text("from ratchet.cli import main\n")
    params = tmp_path / "ml" / "examples" / "tips.yaml"
    assert scratch.entry(tmp_path, params) == (tmp_path / "ml", ("src",))
    (tmp_path / "ml" / "src" / "__main__.py").write_text("print('another program')\n")
    place, (option, code) = scratch.entry(tmp_path, params)
    assert (place, option) == (params.parent, "-c")
    assert "ratchet.cli" in code


def test_what_a_program_prints_is_passed_on_and_its_failure_told(tmp_path):
    lines = []
    scratch.run([sys.executable, "-c", "print('one')"], tmp_path, os.environ, lines.append)
    assert lines == ["one"]
    code = "import sys; print('why'); sys.exit(3)"
    with pytest.raises(StepError, match=r"^exit code 3: why$"):
        scratch.run([sys.executable, "-c", code], tmp_path, os.environ, lines.append)
    with pytest.raises(StepError, match="no-such-program can't be started"):
        scratch.run(["no-such-program"], tmp_path, os.environ, lines.append)


def test_an_interruption_ends_the_program_and_what_it_has_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    started = []

    def interrupt(line):
        started.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scratch.run([sys.executable, "-c", code], tmp_path, os.environ, interrupt)
    until = time.monotonic() + 30
    while psutil.pid_exists(started[0]) and time.monotonic() < until:
        if psutil.Process(started[0]).status() == psutil.STATUS_ZOMBIE:
            break  # it has ended, and nobody has asked for its exit code
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(started[0])


# The environment


def test_uv_is_found_on_the_path_or_where_make_install_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scratch.uv(tmp_path) is None
    tools = tmp_path / ".tools" / "bin"
    tools.mkdir(parents=True)
    (tools / "uv").write_text("#!/bin/sh\n")
    (tools / "uv").chmod(0o755)
    assert scratch.uv(tmp_path) == tools / "uv"


def test_uv_is_asked_for_the_extras_and_groups_that_were_installed(tmp_path):
    asked = tmp_path / "asked.yaml"
    fake = tmp_path / "uv"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, pathlib, json\n"
        "python = pathlib.Path(os.environ['UV_PROJECT_ENVIRONMENT']) / 'bin' / 'python'\n"
        "python.parent.mkdir(parents=True)\n"
        "python.symlink_to(sys.executable)\n"
        f"pathlib.Path({str(asked)!r}).write_text(json.dumps(sys.argv[1:]))\n"
    )
    fake.chmod(0o755)
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\n"
        "[project.optional-dependencies]\nboost = ['Cat_Boost>=1']\nweb = ['flask']\n"
        "[dependency-groups]\ndev = ['pytest>=9']\ndocs = ['sphinx']\n"
    )
    found = scratch.build(
        fake,
        tmp_path,
        tmp_path / "environment",
        lambda _: None,
        version=None,
        pins=("cat-boost==1.2", "pytest==9.0"),
    )
    assert found.python == tmp_path / "environment" / "bin" / "python"
    arguments = yaml.safe_load(asked.read_text())
    assert arguments[:2] == ["sync", "--frozen"]
    options = " ".join(arguments)
    assert "--extra boost" in options
    assert "web" not in options
    assert "--group dev" in options
    assert "--no-group docs" in options


def test_a_uv_that_fails_is_told(tmp_path):
    with pytest.raises(StepError, match="exit code 1"):
        scratch.build(
            Path("/bin/false"), tmp_path, tmp_path / "x", lambda _: None, version=None, pins=()
        )


def test_uv_installs_what_a_conda_yaml_lists_with_the_wheels_beside_it(tmp_path):
    asked = tmp_path / "asked.txt"
    fake = tmp_path / "uv"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import sys, pathlib\n"
        "place = pathlib.Path(sys.argv[-1])\n"
        "if sys.argv[1] == 'venv':\n"
        "    (place / 'bin').mkdir(parents=True)\n"
        "    (place / 'bin' / 'python').symlink_to(sys.executable)\n"
        "else:\n"
        f"    pathlib.Path({str(asked)!r}).write_text(place.read_text())\n"
    )
    fake.chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    text = "dependencies:\n- pip\n- pip:\n  - ./wheels/a.whl\n  - numpy==2.0\n"
    (project / "conda.yaml").write_text(text)
    (project / "inner").mkdir()
    assert scratch.listed(project / "inner", tmp_path) == project
    found = scratch.build_listed(
        fake, project, tmp_path / "environment", lambda _: None, version=None
    )
    assert found.python == tmp_path / "environment" / "bin" / "python"
    assert found.version.startswith("3.")
    assert asked.read_text() == f"{project}/wheels/a.whl\nnumpy==2.0\n"
    # What conda itself has to install is left to conda.
    (project / "conda.yaml").write_text(f"{text}- pytorch\n")
    assert scratch.listed(project, tmp_path) is None


def test_the_lock_is_looked_for_as_its_digest_is(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert scratch.locked(inner, tmp_path) is None
    (tmp_path / "uv.lock").write_text("")
    assert scratch.locked(inner, tmp_path) == tmp_path
    (tmp_path / "a" / "conda.yaml").write_text("")
    assert scratch.locked(inner, tmp_path) is None

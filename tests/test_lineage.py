"""Where a run comes from is told right at every front door, or it says why not."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ratchet import lineage
from ratchet.errors import DataError

# The program's own folder comes first, so that a test run by `.venv/bin/python` finds its dvc.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
DVC = shutil.which("dvc", path=PATH)

needs_dvc = pytest.mark.skipif(DVC is None, reason="dvc is not installed")


def git(folder, *args):
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(
        ("git", *identity, *args), cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def dvc(folder, *args):
    done = subprocess.run(
        (DVC, *args),
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": PATH, "DVC_NO_ANALYTICS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(path, text, newline="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", newline).encode())
    return path


def settle(*paths):
    """Make files look as if they had all been left alone since the same instant."""
    for path in paths:
        os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch, tmp_path):
    """Keep the settings of whoever runs the tests, and of a hook around them, out."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def repo(tmp_path):
    """A small project with one commit and data that DVC tracks, without running DVC."""
    root = tmp_path / "repo"
    write(root / "params.yaml", "seed: 1\n")
    write(root / "src" / "model.py", "RATE = 1\n")
    write(root / "data" / "a.csv", "x\n1\n")
    write(root / ".dvc" / "config", "")
    write(root / ".gitignore", "/data\n/build\n.env\n")
    write(root / "dvc.lock", "schema: '2.0'\n")
    point(root / "data")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=first")
    return root


def point(source):
    """Write the pointer that ``dvc add`` writes."""
    out = {"md5": lineage.data_version(source), "hash": "md5", "path": source.name}
    write(source.with_name(f"{source.name}.dvc"), yaml.safe_dump({"outs": [out]}))


def record(root, **options):
    options = {"source": root / "data", "params": {"seed": 1}} | options
    return lineage.record(root, **options)


def applied(repo, told, folder):
    """Make the recorded tree again in ``folder``, from the commit and the patch."""
    git(repo, "worktree", "add", "--quiet", "--detach", str(folder), told.commit)
    patch = folder.with_suffix(".patch")
    patch.write_bytes(told.patch.encode())
    git(folder, "apply", str(patch))
    return folder


def test_a_clean_tree_is_told_by_its_commit_alone(repo):
    told = record(repo)
    assert told.commit == git(repo, "rev-parse", "HEAD")
    assert told.branch == "main"
    assert (told.dirty, told.patch, told.patch_whole, told.code_reason) == (False, "", True, "")
    assert (told.data_dirty, told.data_reason) == (False, "")


def test_a_changed_a_staged_and_a_new_source_file_come_back_from_the_patch(repo, tmp_path):
    write(repo / "params.yaml", "seed: 2\n")
    write(repo / "src" / "model.py", "RATE = 2  # ünïcode\n")
    git(repo, "add", "src/model.py")
    write(repo / "src" / "päckage" / "new file.py", "NEW = True")
    write(repo / "src" / "empty.py", "")
    write(repo / "src" / "windows.py", "A = 1\nB = 2\n", newline="\r\n")
    told = record(repo)
    assert (told.dirty, told.patch_whole) == (True, True)
    again = applied(repo, told, tmp_path / "again")
    for name in ("params.yaml", "src/model.py", "src/päckage/new file.py", "src/windows.py"):
        assert (again / name).read_bytes() == (repo / name).read_bytes()
    assert (again / "src" / "empty.py").read_bytes() == b""


def test_a_deleted_file_and_one_in_an_old_encoding_come_back_from_the_patch(repo, tmp_path):
    (repo / "src" / "old.py").write_bytes("# caf\xe9\n".encode("latin-1"))
    git(repo, "add", "src/old.py")
    git(repo, "commit", "--quiet", "--message=second")
    (repo / "src" / "old.py").write_bytes("# th\xe9\n".encode("latin-1"))
    (repo / "src" / "model.py").unlink()
    told = record(repo)
    again = applied(repo, told, tmp_path / "again")
    assert (again / "src" / "old.py").read_bytes() == "# th\xe9\n".encode("latin-1")
    assert not (again / "src" / "model.py").exists()


def test_files_that_no_run_imports_do_not_make_the_tree_dirty(repo):
    write(repo / "notes.txt", "to do\n")
    write(repo / "build" / "metrics.json", "{}")
    (repo / "src" / "model.pyc").write_bytes(b"\0\1")
    assert record(repo).dirty is False


def test_what_the_pipeline_writes_does_not_make_the_tree_dirty(repo):
    stage = {"cmd": "x", "outs": ["model.txt"], "metrics": [{"scores.json": {"cache": False}}]}
    write(repo / "dvc.yaml", yaml.safe_dump({"stages": {"train": stage}}))
    write(repo / "scores.json", "{}\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=second")
    clean = record(repo)
    write(repo / "dvc.lock", "schema: '2.0'\nstages: {}\n")
    write(repo / "scores.json", '{"rmse": 5}\n')
    write(repo / "data.dvc", "outs: []\n")
    assert clean.dirty is False
    assert record(repo).dirty is False


def test_the_pointer_of_other_data_does_make_the_tree_dirty(repo):
    write(repo / "other.dvc", "outs: []\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=second")
    write(repo / "other.dvc", "outs: [] # moved\n")
    assert record(repo).dirty is True


def test_the_files_that_differ_are_named(repo):
    assert record(repo).changed == ()
    write(repo / "params.yaml", "seed: 2\n")
    write(repo / "src" / "new file.py", "A = 1\n")
    write(repo / "src" / "big.csv", "1,2,3\n" * 200_000)
    assert record(repo).changed == ("params.yaml", "src/big.csv", "src/new file.py")


@pytest.fixture
def library(repo, monkeypatch):
    """A folder of the repository, beside src, that Python imports from."""
    monkeypatch.syspath_prepend(str(repo / "lib"))
    return repo / "lib"


def test_new_files_that_a_run_imports_from_elsewhere_come_back_from_the_patch(
    repo, library, tmp_path
):
    write(repo / ".gitignore", "/data\n/build\n.env\nlocal_*\n/tree\n")
    git(repo, "commit", "--quiet", "--all", "--message=second")
    write(library / "own_backend.py", "import own_parts.fit\nimport local_choice\n")
    write(library / "own_parts" / "__init__.py", "")
    write(library / "own_parts" / "fit.py", "RATE = 1\n")
    write(library / "own_parts" / "unused.py", "RATE = 2\n")
    write(library / "local_choice.py", "RATE = 3\n")
    assert record(repo).dirty is False
    told = record(repo, modules=["own_backend"])
    imported = (
        "lib/local_choice.py",
        "lib/own_backend.py",
        "lib/own_parts/__init__.py",
        "lib/own_parts/fit.py",
    )
    assert (told.dirty, told.patch_whole, told.changed) == (True, True, imported)
    again = applied(repo, told, tmp_path / "again")
    for name in imported:
        assert (again / name).read_bytes() == (repo / name).read_bytes()
    assert git(repo, "ls-files", "lib") == ""
    git(repo, "add", "lib/own_backend.py", "lib/own_parts")
    git(repo, "commit", "--quiet", "--message=third")
    assert record(repo, modules=["own_backend"]).changed == ("lib/local_choice.py",)


def test_steps_that_import_nothing_yet_have_the_same_pipeline(repo, library):
    """What is imported is read from the files, so that prepare knows what train will import."""
    write(library / "own_metric.py", "A = 1\n")
    before = record(repo, modules=["own_metric"])
    __import__("own_metric")
    assert record(repo, modules=["own_metric"]) == before
    del sys.modules["own_metric"]
    write(library / "own_metric.py", "A = 2\n")
    assert record(repo, modules=["own_metric"]).pipeline != before.pipeline


def test_secrets_never_enter_the_patch(repo):
    write(repo / ".env", "TOKEN=abc\n")
    git(repo, "add", "--force", ".env")
    git(repo, "commit", "--quiet", "--message=oops")
    write(repo / ".env", "TOKEN=hunter2\n")
    write(repo / "src" / ".env.local", "TOKEN=hunter2\n")
    told = record(repo)
    assert told.dirty is True
    assert "hunter2" not in told.patch
    assert told.patch == "# .env has changed too, and is left out.\n"
    assert told.patch_whole is False


def test_a_huge_patch_is_cut_and_says_so(repo):
    write(repo / "src" / "model.py", "".join(f"A{i} = {i}\n" for i in range(200_000)))
    told = record(repo)
    assert len(told.patch.encode()) < lineage.MAX_PATCH_BYTES + 100
    assert told.patch.splitlines()[-1].startswith("# The patch has ")
    assert told.patch_whole is False
    write(repo / "src" / "model.py", "".join(f"A{i} = {i}\n" for i in range(200_001)))
    assert record(repo).pipeline != told.pipeline


def test_rules_that_are_in_no_commit_come_back_from_the_patch(repo, tmp_path):
    write(repo / "schema.json", "{}\n")
    assert record(repo).changed == ()
    told = record(repo, beside=[repo / "schema.json"])
    assert (told.dirty, told.changed) == (True, ("schema.json",))
    assert (applied(repo, told, tmp_path / "again") / "schema.json").read_text() == "{}\n"
    git(repo, "add", "schema.json")
    git(repo, "commit", "--quiet", "--message=rules")
    assert not record(repo, beside=[repo / "schema.json"]).dirty


def test_a_huge_new_file_is_named_but_not_read(repo):
    write(repo / "src" / "table.csv", "1,2,3\n" * 200_000)
    told = record(repo)
    assert told.patch == "# src/table.csv has changed too, and is left out.\n"
    assert (told.dirty, told.patch_whole) == (True, False)


def test_the_index_and_the_stash_are_left_alone(repo):
    write(repo / "src" / "model.py", "RATE = 2\n")
    write(repo / "src" / "new.py", "A = 1\n")
    index = repo / ".git" / "index"
    os.utime(repo / "params.yaml")
    before = index.read_bytes(), index.stat().st_mtime_ns, git(repo, "count-objects")
    record(repo)
    record(repo, source=repo / "params.yaml")
    assert (index.read_bytes(), index.stat().st_mtime_ns, git(repo, "count-objects")) == before
    assert git(repo, "ls-files", "--others", "--exclude-standard") == "src/new.py"


def test_a_copy_whose_files_have_new_times_is_clean(repo, tmp_path):
    shutil.copytree(repo, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*.*"):
        os.utime(path)
    found = record(tmp_path / "copy")
    assert (found.dirty, found.patch) == (False, "")


def test_an_edit_that_keeps_the_size_in_the_tick_of_the_index_is_seen(repo):
    """Git trusts times only if the index is newer; a careless copy of it would be."""
    model, index = repo / "src" / "model.py", repo / ".git" / "index"
    git(repo, "config", "core.trustctime", "false")
    settle(model)
    git(repo, "update-index", "--refresh")
    write(model, "RATE = 3\n")
    write(repo / "src" / "new.py", "A = 1\n")
    settle(model, index)
    assert "RATE = 3" in record(repo).patch


def test_the_users_diff_settings_do_not_change_the_patch(repo, tmp_path):
    write(repo / "src" / "model.py", "RATE = 2\n")
    plain = record(repo).patch
    for setting in ("diff.noprefix=true", "color.diff=always", "diff.external=false"):
        git(repo, "config", *setting.split("="))
    assert record(repo).patch == plain


def test_a_hooks_variables_do_not_misdirect_git(repo, tmp_path, monkeypatch):
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    expected = record(repo)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert record(repo) == expected


def test_a_folder_that_is_no_repository_is_told(tmp_path):
    write(tmp_path / "data" / "a.csv", "x\n1\n")
    told = record(tmp_path)
    assert (told.commit, told.branch, told.dirty, told.patch) == (None, None, None, "")
    assert told.code_reason == f"{tmp_path} is in no git repository"
    assert dict(told.tags())["ratchet.dirty"] == "unknown"
    assert "mlflow.source.git.commit" not in dict(told.tags())


def test_code_that_runs_from_elsewhere_is_told_unless_it_is_the_same(repo):
    package = Path(lineage.__file__).parent
    shutil.copytree(package, repo / "src" / "ratchet", ignore=shutil.ignore_patterns("*.pyc"))
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=second")
    assert (record(repo).dirty, record(repo).code_reason) == (False, "")
    write(repo / "src" / "ratchet" / "new.py", "")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=third")
    told = record(repo)
    assert (told.commit, told.dirty) == (git(repo, "rev-parse", "HEAD"), None)
    assert told.code_reason == f"the code that ran is {package}, which differs from src/ratchet"


def test_a_machine_without_git_is_told(repo, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = record(repo)
    assert (told.commit, told.dirty, told.code_reason) == (None, None, "git is not installed")
    assert told.data_dirty is False


def test_a_repository_without_a_commit_is_dirty(tmp_path):
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    write(tmp_path / "data" / "a.csv", "x\n1\n")
    write(tmp_path / "params.yaml", "seed: 1\n")
    git(tmp_path, "add", "params.yaml")
    told = record(tmp_path)
    assert (told.commit, told.branch, told.dirty) == (None, "main", True)
    assert told.code_reason == "the git repository has no commit yet"
    assert "+seed: 1" in told.patch


def test_a_repository_that_git_refuses_is_told(repo, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    told = record(repo)
    assert (told.commit, told.dirty) == (None, None)
    assert told.code_reason == (
        f"git refuses the repository of {repo}, which belongs to another user;"
        f" `git config --global --add safe.directory {repo}` allows it"
    )


def test_a_project_that_the_repository_around_it_does_not_track_is_told(repo):
    inner = repo / "build" / "project"
    write(inner / "data" / "a.csv", "x\n1\n")
    told = record(inner)
    assert (told.commit, told.dirty) == (None, None)
    assert told.code_reason == (
        f"{inner} lies in the git repository {repo}, which tracks none of it"
    )


def test_a_detached_head_has_a_commit_but_no_branch(repo):
    git(repo, "checkout", "--quiet", "--detach")
    told = record(repo)
    assert told.commit == git(repo, "rev-parse", "HEAD")
    assert (told.branch, told.dirty) == (None, False)


def test_a_shallow_clone_knows_its_commit(repo, tmp_path):
    write(repo / "params.yaml", "seed: 2\n")
    git(repo, "commit", "--quiet", "--all", "--message=second")
    git(tmp_path, "clone", "--quiet", "--depth=1", repo.as_uri(), "clone")
    told = record(tmp_path / "clone", source=repo / "data")
    assert told.commit == git(repo, "rev-parse", "HEAD")
    assert (told.branch, told.dirty, told.remote_url) == ("main", False, repo.as_uri())


def test_a_worktree_is_told_by_its_own_commit_and_changes(repo, tmp_path):
    git(repo, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    write(tmp_path / "tree" / "src" / "new.py", "A = 1\n")
    told = record(tmp_path / "tree", source=repo / "data")
    assert (told.branch, told.dirty) == ("other", True)
    assert "src/new.py" in told.patch
    assert record(repo).dirty is False


def test_a_project_in_a_sub_folder_sees_the_changes_of_the_whole_repository(repo, tmp_path):
    project = repo / "models" / "taxi"
    write(project / "params.yaml", "seed: 1\n")
    write(project / "src" / "model.py", "RATE = 1\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=second")
    assert record(project, source=repo / "data").dirty is False
    write(project / "src" / "new.py", "A = 1\n")
    write(repo / "src" / "model.py", "RATE = 2\n")
    told = record(project, source=repo / "data")
    again = applied(repo, told, tmp_path / "again")
    assert (again / "models" / "taxi" / "src" / "new.py").read_text() == "A = 1\n"
    assert (again / "src" / "model.py").read_text() == "RATE = 2\n"


def test_a_submodule_with_changes_makes_the_tree_dirty(repo, tmp_path):
    library = tmp_path / "library"
    write(library / "lib.py", "A = 1\n")
    git(tmp_path, "init", "--quiet", str(library))
    git(library, "add", "--all")
    git(library, "commit", "--quiet", "--message=first")
    allow = ("-c", "protocol.file.allow=always")
    git(repo, *allow, "submodule", "--quiet", "add", str(library), "lib")
    git(repo, "commit", "--quiet", "--message=second")
    assert record(repo).dirty is False
    write(repo / "lib" / "lib.py", "A = 2\n")
    assert record(repo).dirty is True


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://ada:s3cret@host.org/team/repo.git", "https://host.org/team/repo.git"),
        ("https://s3cret@host.org/repo", "https://host.org/repo"),
        ("https://ada:p@ss@host.org/repo", "https://host.org/repo"),
        ("https://host.org/repo?private_token=s3cret", "https://host.org/repo"),
        ("ssh://git@host.org:22/repo.git", "ssh://host.org:22/repo.git"),
        ("git@host.org:team/repo.git", "git@host.org:team/repo.git"),
    ],
)
def test_a_remote_is_told_without_credentials(repo, url, told):
    git(repo, "remote", "add", "origin", url)
    assert record(repo).remote_url == told


def test_steps_of_one_pipeline_share_an_id_and_another_seed_has_its_own(repo):
    write(repo / "src" / "new.py", "A = 1\n")
    first = record(repo)
    write(repo / "dvc.lock", "schema: '2.0'\nstages: {}\n")
    assert record(repo).pipeline == first.pipeline
    assert record(repo, params={"seed": 2}).pipeline != first.pipeline
    write(repo / "src" / "new.py", "A = 2\n")
    assert record(repo).pipeline != first.pipeline


def test_a_later_step_may_tell_the_data_state_of_an_earlier_one(repo):
    state = lineage.data_state(repo / "data")
    first = record(repo)
    shutil.rmtree(repo / "data")
    assert record(repo, data=state) == first


def test_tags_have_the_names_that_mlflow_and_the_registry_look_for(repo):
    git(repo, "remote", "add", "origin", "https://host.org/repo.git")
    write(repo / "uv.lock", "version = 1\n")
    told = record(repo)
    assert told.tags() == (
        ("mlflow.source.git.commit", told.commit),
        ("mlflow.source.git.branch", "main"),
        ("mlflow.source.git.repoURL", "https://host.org/repo.git"),
        ("ratchet.dirty", "false"),
        ("ratchet.data_version", told.data_version),
        ("ratchet.data_dirty", "false"),
        ("ratchet.params_digest", told.params_digest),
        ("ratchet.lock_digest", told.lock_digest),
        ("ratchet.pipeline", told.pipeline),
    )
    assert json.loads(json.dumps(dataclasses.asdict(told)))["commit"] == told.commit


@needs_dvc
@pytest.mark.slow
def test_the_data_version_is_the_md5_that_dvc_records(tmp_path):
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init", "--quiet")
    write(tmp_path / "file.csv", "a,b\r\n1,2\r\n")
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "flat" / "b.csv", "2")
    write(tmp_path / "flat" / "a.csv", "1")
    nested = tmp_path / "group" / "nested"
    names = ("a/b/c.csv", "a/b.csv", "a.b/x", "a-b", "B", "zażółć/naïve 東京.csv", "deep/.hidden")
    for name in names:
        write(nested / name, name)
    write(nested / "skip.tmp", "x")
    write(nested / "keep.tmp", "x")
    write(nested / "cache" / "x", "x")
    write(nested / "cache.csv", "x")
    write(nested / "deep" / "only" / "x.log", "x")
    write(nested / "deep" / "only" / "x.txt", "x")
    write(nested / "sub" / ".dvc" / "config", "")
    write(nested / "sub" / "x", "x")
    write(nested / "hers" / "y.tmp", "x")
    write(tmp_path / "group" / ".dvcignore", "*.log\n# a comment\n!hers/\n")
    write(tmp_path / ".dvcignore", "*.tmp\n!keep.tmp\ncache/\n/group/nested/a-b\n")
    (nested / "empty folder").mkdir()
    (nested / "link.csv").symlink_to(tmp_path / "file.csv")
    (nested / "linked").symlink_to(tmp_path / "flat")
    (tmp_path / "none").mkdir()
    sources = ("file.csv", "empty.csv", "flat", "group/nested", "none")
    dvc(tmp_path, "add", *sources)
    for name in sources:
        pointer = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())
        assert lineage.data_version(tmp_path / name) == pointer["outs"][0]["md5"], name
        state = lineage.data_state(tmp_path / name)
        assert (state.dirty, state.reason) == (False, ""), name

    write(tmp_path / "flat" / "a.csv", "changed")
    assert lineage.data_state(tmp_path / "flat").reason == "a.csv differs from flat.dvc"
    part = lineage.data_state(nested / "a")
    assert (part.dirty, part.version.endswith(".dir")) == (False, True)


@needs_dvc
@pytest.mark.slow
def test_inside_an_experiment_the_main_checkout_is_found_and_the_commit_told(tmp_path):
    """DVC's own temporary checkout is asked, with the project in a sub-folder."""
    project = tmp_path / "team" / "project"
    source = Path(lineage.__file__).parents[1]
    tell = (
        f"import sys; sys.path.insert(0, {str(source)!r}); from pathlib import Path;"
        " from ratchet import lineage; here = Path.cwd();"
        " told = lineage.record(here, source=here / 'a.csv', params={});"
        " lines = [here, lineage.main_checkout(here), told.commit, told.dirty, told.code_reason];"
        f" Path({str(tmp_path / 'told')!r}).write_text(chr(10).join(map(str, lines)))"
    )
    write(project / "tell.py", tell)
    write(project / "a.csv", "x\n1\n")
    stages = {"tell": {"cmd": f"{sys.executable} tell.py", "deps": ["tell.py"]}}
    write(project / "dvc.yaml", yaml.safe_dump({"stages": stages}))
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "team")
    git(project, "config", "user.name", "Ada")
    git(project, "config", "user.email", "ada@example.org")
    dvc(project, "init", "--quiet", "--subdir")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=first")
    dvc(project, "exp", "run", "--temp")
    here, checkout, commit, dirty, reason = (tmp_path / "told").read_text().split("\n")
    assert "/.dvc/tmp/exps/" in here
    assert checkout == str(project)
    assert (commit, dirty, reason) == (git(project, "rev-parse", "HEAD"), "False", "")


def test_an_ordinary_checkout_is_its_own_main_checkout(repo):
    assert lineage.main_checkout(repo / "src") == repo / "src"


def test_a_temporary_checkout_belongs_to_the_one_around_it(repo):
    temporary = repo / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    (temporary / ".git").mkdir(parents=True)
    (temporary / "models").mkdir()
    assert lineage.main_checkout(temporary) == repo
    assert lineage.main_checkout(temporary / "models") == repo / "models"


def test_changed_data_is_named_when_the_cache_has_the_listing(repo):
    data = repo / "data"
    for name in ("b.csv", "c.csv", "d.csv", "e.csv"):
        write(data / name, name)
    point(data)
    keep_listing(repo, data)
    assert lineage.data_state(data).dirty is False
    write(data / "b.csv", "changed")
    assert lineage.data_state(data).reason == "b.csv differs from data.dvc"
    (data / "c.csv").unlink()
    write(data / "new.csv", "new")
    state = lineage.data_state(data)
    assert state.dirty is True
    assert state.reason == (
        "b.csv differs from data.dvc; new.csv is not in data.dvc; c.csv of data.dvc is missing"
    )
    for name in ("a.csv", "d.csv", "e.csv"):
        write(data / name, "changed")
    assert lineage.data_state(data).reason.startswith(
        "a.csv, b.csv, d.csv and 1 more differ from data.dvc;"
    )


def keep_listing(repo, source, cache=None):
    """Put the listing of a folder where DVC's cache has it."""
    version = lineage.data_version(source)
    names = sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())
    entries = [{"md5": lineage.data_version(source / n), "relpath": n} for n in names]
    folder = cache or repo / ".dvc" / "cache"
    write(folder / "files" / "md5" / version[:2] / version[2:], json.dumps(entries))


def test_the_cache_may_lie_elsewhere(repo, tmp_path):
    write(repo / ".dvc" / "config", "[core]\n    remote = r\n['remote \"r\"']\n    url = x\n")
    write(repo / ".dvc" / "config.local", f"[cache]\n    dir = {tmp_path / 'cache'}\n")
    keep_listing(repo, repo / "data", tmp_path / "cache")
    write(repo / "data" / "a.csv", "changed")
    assert lineage.data_state(repo / "data").reason == "a.csv differs from data.dvc"


def test_changed_data_is_told_by_both_md5s_when_the_cache_lacks_the_listing(repo):
    before = lineage.data_version(repo / "data")
    write(repo / "data" / "a.csv", "changed")
    state = lineage.data_state(repo / "data")
    assert state.dirty is True
    assert state.reason == (
        f"data differs from data.dvc, which records md5 {before}; this is {state.version}"
    )


def test_a_changed_file_is_told_by_both_md5s(repo):
    file = write(repo / "table.csv", "x\n1\n")
    point(file)
    assert lineage.data_state(file).dirty is False
    before = lineage.data_version(file)
    write(file, "x\n2\n")
    assert lineage.data_state(file).reason == (
        f"table.csv differs from table.csv.dvc, which records md5 {before};"
        f" this is {lineage.data_version(file)}"
    )


def test_a_pointer_that_dvc_2_wrote_is_told(repo):
    file = write(repo / "table.csv", "x\r\n1\r\n")
    unix = hashlib.md5(b"x\n1\n").hexdigest()
    pointer = {"outs": [{"md5": unix, "path": "table.csv"}]}
    write(repo / "table.csv.dvc", yaml.safe_dump(pointer))
    assert lineage.data_state(file).reason == (
        f"table.csv differs from table.csv.dvc, which records md5 {unix};"
        f" this is {lineage.data_version(file)}; DVC 2 wrote table.csv.dvc and counted line ends"
        " in its own way, which `dvc cache migrate --dvc-files` brings up to date"
    )
    write(file, "x\n1\n")
    assert lineage.data_state(file).dirty is False


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symlink", "hardlink"])
def test_data_that_are_links_into_the_cache_are_read_like_any_other(repo, link):
    """So DVC lays them out where cache.type says so."""
    data, cache = repo / "data", repo / ".dvc" / "cache" / "files" / "md5"
    version = lineage.data_version(data)
    kept = cache / lineage.data_version(data / "a.csv")
    kept.parent.mkdir(parents=True)
    (data / "a.csv").rename(kept)
    link(kept, data / "a.csv")
    assert lineage.data_state(data) == lineage.DataState(version, False)
    kept.write_bytes(b"rotten")
    assert lineage.data_state(data).dirty is True


def test_a_file_inside_a_tracked_folder_is_judged_by_the_folders_pointer(repo):
    data = repo / "data"
    write(data / "2023" / "b.csv", "b")
    point(data)
    pointer = lineage.tracked_version(data / "2023" / "b.csv")
    assert (pointer.file.name, pointer.tracked) == ("data.dvc", data)
    for source in (data / "a.csv", data / "2023"):
        assert lineage.data_state(source).dirty is False
    keep_listing(repo, data)
    write(data / "a.csv", "changed")
    state = lineage.data_state(data / "a.csv")
    assert state.dirty is True
    assert state.reason.startswith("a.csv differs from data.dvc, which records md5 ")
    assert lineage.data_state(data / "2023").dirty is False
    write(data / "new.csv", "new")
    assert lineage.data_state(data / "new.csv").reason.startswith(
        "new.csv differs from data.dvc, which records no md5 of it; this is "
    )


def test_an_unlisted_part_of_a_changed_folder_counts_as_dirty(repo):
    write(repo / "data" / "b.csv", "b")
    state = lineage.data_state(repo / "data" / "a.csv")
    assert state.dirty is True
    assert state.reason.startswith("data differs from data.dvc, which records md5 ")


def test_the_output_of_a_stage_is_tracked_by_the_lock(repo):
    made = write(repo / "made" / "table.csv", "x\n1\n")
    outs = [{"path": "made/table.csv", "md5": lineage.data_version(made)}]
    lock = {"schema": "2.0", "stages": {"make": {"cmd": "x", "outs": outs}}}
    write(repo / "dvc.lock", yaml.safe_dump(lock))
    assert lineage.data_state(made).dirty is False
    write(made, "x\n2\n")
    assert lineage.data_state(made).reason.startswith("table.csv differs from dvc.lock, which")


def test_a_pointer_with_its_listing_inside_needs_no_cache(repo):
    """So do remotes that keep versions themselves."""
    listing = [{"relpath": "a.csv", "md5": lineage.data_version(repo / "data" / "a.csv")}]
    write(repo / "data.dvc", yaml.safe_dump({"outs": [{"path": "data", "files": listing}]}))
    assert lineage.data_state(repo / "data").dirty is False
    write(repo / "data" / "a.csv", "changed")
    assert lineage.data_state(repo / "data").reason == "a.csv differs from data.dvc"


def test_untracked_data_is_dirty_unless_git_has_it(repo):
    assert lineage.tracked_version(repo / "params.yaml") is None
    state = lineage.data_state(repo / "params.yaml")
    assert (state.dirty, state.reason) == (False, "params.yaml is tracked by git, not by DVC")
    write(repo / "params.yaml", "seed: 3\n")
    state = lineage.data_state(repo / "params.yaml")
    assert (state.dirty, state.reason) == (True, "params.yaml is not tracked by DVC")


@pytest.mark.parametrize("content", ["", "outs: 3\n", "[1]\n", "a: [\n", "outs: [{md5: x}]\n"])
def test_a_broken_pointer_tracks_nothing(repo, content):
    write(repo / "data.dvc", content)
    assert lineage.data_state(repo / "data").reason == "data is not tracked by DVC"


def test_missing_data_is_told(tmp_path):
    with pytest.raises(DataError) as error:
        lineage.data_version(tmp_path / "data")
    assert str(error.value) == (
        f"{tmp_path / 'data'} is not there. Bring tracked data with `dvc pull`,"
        " or change data.source in params.yaml."
    )


@pytest.fixture
def patient(monkeypatch):
    """Trust files right away: their change time can't be set back as their mtime can."""
    monkeypatch.setattr(lineage, "RACY_NS", -1)


def test_unchanged_files_are_not_read_twice(tmp_path, patient):
    data, cache = tmp_path / "data", tmp_path / "build" / "md5.json"
    write(data / "a.csv", "1")
    write(data / "b.csv", "2")
    before = lineage.data_version(data, cache)
    known = json.loads(cache.read_text())
    assert sorted(known) == [str(data / "a.csv"), str(data / "b.csv")]
    known[str(data / "a.csv")][-1] = "0" * 32
    cache.write_text(json.dumps(known))
    assert lineage.data_version(data, cache) != before
    assert lineage.data_version(data) == before


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux to count what is read")
@pytest.mark.parametrize("name", ["table.csv", "folder"])
def test_a_second_look_reads_no_byte_of_unchanged_files(tmp_path, patient, name):
    source, cache, size = tmp_path / name, tmp_path / "build" / "md5.json", 50_000_000
    big = source if name == "table.csv" else source / "2023" / "a.csv"
    write(big, "")
    os.truncate(big, size)

    def look():
        before = bytes_read()
        version = lineage.data_state(source, cache).version
        return version, bytes_read() - before

    first, read = look()
    assert read >= size
    again, read = look()
    assert read < size / 100
    assert again == first
    with big.open("r+b") as file:
        file.write(b"1")
    newer, read = look()
    assert read >= size
    assert newer != first


def bytes_read():
    """Count what this process has read from files, cached by the system or not."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_an_edit_that_keeps_size_and_time_is_still_seen(tmp_path, patient):
    file, cache = write(tmp_path / "a.csv", "1"), tmp_path / "md5.json"
    settle(file)
    before = lineage.data_version(file, cache)
    time.sleep(0.02)
    write(file, "2")
    settle(file)
    assert lineage.data_version(file, cache) != before


def test_a_file_that_was_just_written_is_not_remembered(tmp_path):
    file, cache = write(tmp_path / "a.csv", "1"), tmp_path / "md5.json"
    lineage.data_version(file, cache)
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}'])
def test_a_broken_cache_is_written_anew(tmp_path, patient, content):
    file, cache = write(tmp_path / "a.csv", "1"), write(tmp_path / "md5.json", content)
    assert lineage.data_version(file, cache) == lineage.data_version(file)
    assert str(file) in json.loads(cache.read_text())


def test_a_cache_that_cant_be_written_costs_only_time(tmp_path, patient):
    file, blocked = write(tmp_path / "a.csv", "1"), write(tmp_path / "build", "a file")
    assert lineage.data_version(file, blocked / "md5.json") == "c4ca4238a0b923820dcc509a6f75849b"


def test_the_lock_is_uv_lock_else_conda_yaml_whatever_its_line_ends(repo):
    assert lineage.lock_digest(repo) is None
    write(repo / "conda.yaml", "name: x\n")
    conda = lineage.lock_digest(repo)
    write(repo / "uv.lock", "version = 1\n")
    lock = lineage.lock_digest(repo)
    assert conda != lock
    assert lineage.lock_digest(repo / "src") == lock
    write(repo / "uv.lock", "version = 1\n", newline="\r\n")
    assert lineage.lock_digest(repo) == lock


def test_the_machine_is_told():
    told = lineage.hardware()
    assert told.cpu
    assert 1 <= told.cores_physical <= told.cores_logical <= (os.cpu_count() or 1)
    assert told.memory_gib > 0
    assert told.python == ".".join(map(str, sys.version_info[:3]))


def test_gpus_are_told_when_there_are_any_and_a_broken_driver_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tool = write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n")
    tool.chmod(0o755)
    assert lineage.hardware().gpus == ("NVIDIA H200, 143771 MiB",)
    write(tool, "#!/bin/sh\necho 'no driver'; exit 9\n")
    assert lineage.hardware().gpus == ()
    monkeypatch.setattr(lineage, "_GPU_SECONDS", 0.1)
    write(tool, "#!/bin/sh\nexec sleep 9\n")
    assert lineage.hardware().gpus == ()


def test_versions_of_libraries_that_are_not_installed_are_left_out():
    versions = dict(lineage.library_versions(["pandas", "no-such-library"]))
    assert list(versions) == ["pandas"]
    assert versions["pandas"][0].isdigit()


def test_a_file_is_placed_in_its_checkout(tmp_path, git):
    git(tmp_path, "init", "-q")
    assert lineage.place(tmp_path / "examples" / "tips.yaml") == "examples/tips.yaml"


def test_a_file_outside_of_a_checkout_is_its_name(tmp_path):
    assert lineage.place(tmp_path / "params.yaml") == "params.yaml"


def test_what_lies_between_two_commits_is_told_by_file(repo):
    first = git(repo, "rev-parse", "HEAD")
    write(repo / "src" / "new.py", "a\nb\n")
    (repo / "src" / "new.bin").write_bytes(bytes(range(256)))
    git(repo, "add", "--all")
    git(repo, "commit", "-q", "-m", "more")
    second = git(repo, "rev-parse", "HEAD")
    found = lineage.between(repo, first, second)
    assert (found.ahead, found.behind, found.reason) == (1, 0, "")
    assert [each for each in found.files if each.path.startswith("src/new")] == [
        lineage.FileChange("src/new.bin", None, None),
        lineage.FileChange("src/new.py", 2, 0),
    ]
    back = lineage.between(repo / "src", second, first)
    assert (back.ahead, back.behind) == (0, 1)
    assert lineage.FileChange("src/new.py", 0, 2) in back.files
    assert lineage.between(repo, first, first).files == ()


def test_commits_that_git_can_not_compare_are_told(repo, tmp_path):
    head = git(repo, "rev-parse", "HEAD")
    gone = lineage.between(repo, head, "b" * 40)
    assert gone == lineage.Between(reason=f"this checkout has no commit {'b' * 12}")
    option = lineage.between(repo, head, "--output=/tmp/x")
    assert option.reason == "'--output=/tmp/x' is no commit"
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    assert lineage.between(nowhere, head, head).reason == f"{nowhere} is in no git repository"


def test_a_patch_tells_its_files_wherever_it_is_read(repo, monkeypatch):
    write(repo / "src" / "model.py", "print(1)\nprint(2)\n")
    write(repo / "src" / "fresh.py", "x = 1\n")
    patch = lineage.record(repo, source=repo / "data", params={}).patch
    changed = {each.path: each for each in lineage.patch_files(f"# left out\n{patch}")}
    assert changed["src/fresh.py"] == lineage.FileChange("src/fresh.py", 1, 0)
    assert "src/model.py" in changed
    monkeypatch.chdir(repo / "src")
    assert {each.path for each in lineage.patch_files(patch)} == set(changed)
    assert lineage.patch_files("no patch at all") == ()

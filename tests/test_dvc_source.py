"""A run's input names its data by a dvc:// URI, and the URI brings exactly these bytes back."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from mlflow.data.dataset_source_registry import get_registered_sources
from test_datastore import FILES, configured, content, keep, made, remote

from ratchet import dvc_source, lineage, tracking
from ratchet.dvc_source import DvcDatasetSource
from ratchet.errors import DataError
from ratchet.project import Project
from ratchet.steps import prepare
from ratchet.tracking import Input

COMMIT, MD5 = "1234567890" * 4, "6faf7ec659f00b5ab27dd14576f538af"


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch, tmp_path):
    """Keep the settings of whoever runs the tests out."""
    for name in ("SYSTEM_CONFIG_DIR", "GLOBAL_CONFIG_DIR", "SITE_CACHE_DIR"):
        monkeypatch.setenv(f"DVC_{name}", str(tmp_path / "dvc" / name))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def repo(tmp_path, git):
    """A repository with data that DVC has recorded: in its cache, and in no remote."""
    root = tmp_path / "repo"
    configured(root, "")
    (root / ".gitignore").write_text("/data\n/.dvc/cache\n/build\n")
    recorded(root / "data", git)
    return root


def recorded(data, git, files=FILES, message="first"):
    """Write data, put them into the cache, and commit their pointer, as `dvc add` and git do."""
    top = lineage.dvc_root(data.parent)
    made(data, files)
    version = keep(lineage.cache_folder(top), data)
    out = {"md5": version, "hash": "md5", "path": data.name}
    data.with_name(f"{data.name}.dvc").write_text(yaml.safe_dump({"outs": [out]}))
    git(data.parent, "init", "--quiet", "--initial-branch=main")
    git(data.parent, "add", "--all", "--force", ":/.dvc/config", f"{data.name}.dvc")
    git(data.parent, "commit", "--quiet", "--message", message)
    return version


def uri_of(source):
    return dvc_source.uri_of(source, lineage.data_version(source))


def head(folder, git):
    return git(folder, "rev-parse", "HEAD").strip()


def published(repo, git, tmp_path, push=True):
    """Push the commit to a bare repository and the data to a remote, and forget the cache."""
    configured(repo, "[core]\nremote = store\n" + remote(tmp_path / "store", "store"))
    git(repo, "commit", "--quiet", "--all", "--message=remote")
    git(tmp_path, "clone", "--quiet", "--bare", str(repo), "bare.git")
    git(repo, "remote", "add", "origin", str(tmp_path / "bare.git"))
    shutil.move(repo / ".dvc" / "cache", tmp_path / "store")
    return tmp_path / "bare.git"


# The URI


def test_the_uri_names_repository_commit_path_and_version(repo, git):
    git(repo, "remote", "add", "origin", "https://ada:hunter2@host.org/team/repo.git")
    version = lineage.data_version(repo / "data")
    assert uri_of(repo / "data") == (
        f"dvc://https://host.org/team/repo.git@{head(repo, git)}/data?md5={version}"
    )
    assert uri_of(repo / "data" / "2023" / ".." / "a.csv") == (
        f"dvc://https://host.org/team/repo.git@{head(repo, git)}/data/a.csv?md5="
        + lineage.data_version(repo / "data" / "a.csv")
    )


def test_a_repository_without_a_remote_is_named_by_its_place(repo, git):
    assert uri_of(repo / "data").startswith(f"dvc://{repo}@{head(repo, git)}/data?md5=")


def test_a_remote_that_is_a_relative_path_is_made_absolute(repo, git, tmp_path):
    git(repo, "remote", "add", "origin", "../bare.git")
    assert uri_of(repo / "data").startswith(f"dvc://{tmp_path / 'bare.git'}@")


def test_the_workspace_of_an_experiment_is_named_by_the_checkout_that_stays(repo, git, tmp_path):
    temporary = repo / ".dvc" / "tmp" / "exps" / "tmp1"
    git(repo, "clone", "--quiet", str(repo), str(temporary))
    git(temporary, "remote", "remove", "origin")
    assert uri_of(temporary / "data.dvc").startswith(f"dvc://{repo}@")


def test_data_in_no_repository_or_without_a_commit_have_no_uri(tmp_path, git):
    made(tmp_path / "data", FILES)
    assert uri_of(tmp_path / "data") is None
    git(tmp_path, "init", "--quiet")
    assert uri_of(tmp_path / "data") is None


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("git@host.org:team/repo.git", "data"),
        ("https://host.org/a?b=c#d", "da ta/1@2?md5=x#y%20.csv"),
        ("/home/zo\xeb/my repo", "d\xe4ta/\u6771\u4eac.csv"),
        ("/home/\udce9", "\udcff"),
    ],
)
def test_what_would_part_the_uri_elsewhere_is_encoded(address, path, tmp_path, monkeypatch):
    found = lineage.Checkout(tmp_path, COMMIT, address)
    monkeypatch.setattr(lineage, "checkout", lambda _: found)
    uri = dvc_source.uri_of(tmp_path / path, MD5)
    assert uri.isascii()
    assert [uri.count(mark) for mark in "@?# "] == [1, 1, 0, 0]
    source = DvcDatasetSource(uri)
    assert (source.repo, source.commit, source.path) == (address, COMMIT, path)
    assert (source.version, source.uri) == (MD5, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://bucket/data",
        f"dvc://repo@main/data?md5={MD5}",
        f"dvc://repo@{COMMIT}?md5={MD5}",
        f"dvc://repo@{COMMIT}/data",
        f"dvc://repo@{COMMIT}/data?md5=../../x",
        f"dvc://a@b@{COMMIT}/data?md5={MD5}",
    ],
)
def test_what_is_no_uri_of_ours_is_told(uri):
    with pytest.raises(DataError) as error:
        DvcDatasetSource(uri)
    assert str(error.value) == (
        f"{uri!r} is no dvc:// URI. One is dvc://REPO@COMMIT/PATH?md5=VERSION, with the"
        " commit in full and '@', '?' and '#' percent-encoded."
    )


@pytest.mark.parametrize("path", ["..", "a/../../b", "/etc/passwd", "%2e%2e/b", "a/", "."])
def test_a_path_that_leads_out_of_the_repository_is_refused(path):
    with pytest.raises(DataError, match="which is none inside of REPO"):
        DvcDatasetSource(f"dvc://repo@{COMMIT}/{path}?md5={MD5}")


# What MLflow makes of it


def test_mlflow_makes_the_source_again_from_what_it_keeps():
    uri = f"dvc://https://host.org/r.git@{COMMIT}/data?md5={MD5}.dir"
    source = DvcDatasetSource(uri)
    assert source.to_dict() == {"url": uri}
    assert DvcDatasetSource.from_json(source.to_json()).uri == uri
    frame = pd.DataFrame({"x": [1.5]})
    dataset = mlflow.data.from_pandas(frame, source=uri)
    assert isinstance(mlflow.data.get_source(dataset), DvcDatasetSource)
    assert not DvcDatasetSource._can_resolve("s3://bucket/data")
    assert not DvcDatasetSource._can_resolve(frame)


def test_mlflow_knows_the_source_once():
    """Twice, and it would warn at each dataset."""
    assert get_registered_sources().count(DvcDatasetSource) == 1
    mine = DvcDatasetSource._get_source_type()
    assert [each for each in get_registered_sources() if each._get_source_type() == mine] == [
        DvcDatasetSource
    ]


def test_an_input_that_dvc_has_recorded_brings_its_bytes_back(repo, tiny, store, monkeypatch):
    project = Project.open(tiny())
    tracking.connect(project)
    version, rows = lineage.data_version(repo / "data"), pd.DataFrame({"x": [1.5]})
    with tracking.run(project, "train") as run_id:
        tracking.write(
            run_id,
            [
                Input("recorded", rows, repo / "data", version, "training", in_dvc=True),
                Input("other", rows, repo / "data", version, "test"),
            ],
        )
    read = {each.dataset.name: each for each in store.get_run(run_id).inputs.dataset_inputs}
    assert json.loads(read["recorded"].dataset.source) == {"url": uri_of(repo / "data")}
    assert json.loads(read["other"].dataset.source) == {"uri": str(repo / "data")}
    assert read["other"].dataset.source_type == "local"
    made(repo / "data", {"a.csv": b"newer"})
    again = Path(mlflow.data.get_source(read["recorded"]).load())
    assert (again.name, content(again)) == ("data", FILES)
    shutil.rmtree(again.parent)


def test_steps_name_recorded_data_by_their_uri_and_others_by_their_path(tiny, store, git):
    project = Project.open(tiny())
    configured(project.root, "")
    recorded(project.source, git, files={})
    prepare.run(project)
    (project.source / "notes.txt").touch()
    prepare.run(project)
    experiments = [each.experiment_id for each in store.search_experiments()]
    later, first = store.search_runs(experiments, "tags.`ratchet.step` = 'prepare'")
    sources = [
        {each.dataset.source for each in run.inputs.dataset_inputs} for run in (first, later)
    ]
    uri = dvc_source.uri_of(project.source, first.data.tags["ratchet.data_version"])
    assert sources == [{json.dumps({"url": uri})}, {json.dumps({"uri": str(project.source)})}]
    assert [len(run.inputs.dataset_inputs) for run in (first, later)] == [3, 3]


# Out of a checkout on this machine


def test_an_old_version_comes_out_of_the_cache_of_the_named_checkout(repo, git, tmp_path):
    uri = uri_of(repo / "data")
    recorded(repo / "data", git, files={"a.csv": b"newer"}, message="second")
    status = git(repo, "status", "--porcelain")
    again = DvcDatasetSource(uri).load(str(tmp_path / "made" / "for it"))
    assert again == str(tmp_path / "made" / "for it" / "data")
    assert content(Path(again)) == FILES
    assert (repo / "data" / "a.csv").read_bytes() == b"newer"
    assert git(repo, "status", "--porcelain") == status


def test_inside_a_clone_its_own_cache_is_asked(repo, git, tmp_path, monkeypatch):
    git(repo, "remote", "add", "origin", "https://host.invalid/repo.git")
    uri = uri_of(repo / "data" / "2024" / "\xe9 d.csv")
    (repo / "deep").mkdir()
    monkeypatch.chdir(repo / "deep")
    again = DvcDatasetSource(uri).load(str(tmp_path / "again"))
    assert Path(again).name == "\xe9 d.csv"
    assert Path(again).read_bytes() == b""


def test_a_part_of_tracked_data_comes_back_when_its_pointer_has_moved_on(repo, git, tmp_path):
    uri = uri_of(repo / "data" / "2023")
    recorded(repo / "data", git, files={"2023/b.csv": b"newer"}, message="second")
    again = DvcDatasetSource(uri).load(str(tmp_path / "again"))
    assert content(Path(again)) == {"b.csv": b"2", "twin.csv": b"2"}


def test_a_dvc_project_in_a_sub_folder_of_the_repository_is_found(tmp_path, git):
    root = tmp_path / "mono repo"
    configured(root / "models" / "taxi", "")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "commit", "--quiet", "--allow-empty", "--message=zero")
    data = root / "models" / "taxi" / "data"
    made(data, FILES)
    keep(data.parent / ".dvc" / "cache", data)
    uri = uri_of(data)
    assert "/mono%20repo@" in uri
    assert "/models/taxi/data?md5=" in uri
    shutil.rmtree(data)
    assert content(Path(DvcDatasetSource(uri).load(str(tmp_path / "again")))) == FILES


# Out of a clone


def test_elsewhere_the_repository_is_cloned_and_its_remote_asked(repo, git, tmp_path):
    bare = published(repo, git, tmp_path)
    uri = uri_of(repo / "data")
    assert uri.startswith(f"dvc://{bare}@")
    shutil.rmtree(repo)
    assert content(Path(DvcDatasetSource(uri).load(str(tmp_path / "again")))) == FILES


def test_a_part_comes_back_out_of_a_clone(repo, git, tmp_path):
    published(repo, git, tmp_path)
    uri = uri_of(repo / "data" / "2023")
    shutil.rmtree(repo)
    again = DvcDatasetSource(uri).load(str(tmp_path / "again"))
    assert content(Path(again)) == {"b.csv": b"2", "twin.csv": b"2"}


def test_a_commit_that_nobody_pushed_still_has_its_bytes(repo, git, tmp_path):
    """What the md5 says of them is what counts."""
    published(repo, git, tmp_path)
    git(repo, "commit", "--quiet", "--allow-empty", "--message=mine alone")
    uri = uri_of(repo / "data")
    shutil.rmtree(repo)
    assert content(Path(DvcDatasetSource(uri).load(str(tmp_path / "again")))) == FILES


def test_a_repository_whose_config_runs_a_command_is_refused(repo, git, tmp_path):
    bare = published(repo, git, tmp_path)
    trap = remote(
        "webdavs://host.invalid/x", "trap", Bearer_Token_Command=f"touch {tmp_path}/pwned"
    )
    configured(repo, trap)
    git(repo, "commit", "--quiet", "--all", "--message=trap")
    git(repo, "push", "--quiet", "origin", "main")
    uri = uri_of(repo / "data")
    shutil.rmtree(repo)
    with pytest.raises(DataError) as error:
        DvcDatasetSource(uri).load(str(tmp_path / "again"))
    assert str(error.value) == (
        f"The repository {bare} has bearer_token_command in its .dvc/config, a command that DVC"
        " would run. If you trust it, clone it yourself and load the data inside of the clone."
    )
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("address", ["ext::sh -c 'touch pwned'", "--upload-pack=touch pwned"])
def test_an_address_that_is_a_command_is_not_run(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = lineage.Checkout(tmp_path, COMMIT, f"x://{address}")
    with monkeypatch.context() as patch:
        patch.setattr(lineage, "checkout", lambda _: found)
        uri = dvc_source.uri_of(tmp_path / "data", MD5).replace("x://", "")
    assert DvcDatasetSource(uri).repo == address
    with pytest.raises(DataError, match="can't be cloned"):
        DvcDatasetSource(uri).load(str(tmp_path / "again"))
    assert not (tmp_path / "pwned").exists()


def test_bytes_that_are_nowhere_are_told_with_every_place_and_leave_no_folder(
    repo, git, tmp_path, monkeypatch
):
    uri = uri_of(repo / "data")
    shutil.rmtree(repo / ".dvc" / "cache")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(DataError) as error:
        DvcDatasetSource(uri).load()
    told = str(error.value)
    version = lineage.data_version(repo / "data")
    assert told.startswith(f"Version {version} of data can't be had: not all of it is in the cache")
    assert told.count("can't be had") == 2  # in the checkout, and in a clone of it
    assert list((tmp_path / "tmp").iterdir()) == []


# The plug-in


def entry_points():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["entry-points"]["mlflow.dataset_source"]


def test_the_entry_point_is_the_class():
    [(name, value)] = entry_points().items()
    assert EntryPoint(name, value, "mlflow.dataset_source").load() is DvcDatasetSource


@pytest.mark.slow
def test_where_the_package_is_installed_mlflow_alone_brings_the_data_back(repo, tmp_path):
    uv = shutil.which("uv", path=os.pathsep.join([os.environ["PATH"], str(ROOT / ".tools/bin")]))
    if uv is None:
        pytest.skip("uv is not installed, so no wheel can be built")
    command = (uv, "build", "--quiet", "--wheel", str(ROOT), "--out-dir", str(tmp_path / "wheel"))
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    [declared] = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "[mlflow.dataset_source]" in declared.read_text()
    source = json.dumps({"url": uri_of(repo / "data")})
    code = (
        "import sys, warnings; warnings.simplefilter('error', UserWarning); import mlflow.data;"
        " from mlflow.entities import Dataset;"
        f" dataset = Dataset('x', 'y', 'external', {source!r});"
        f" print(mlflow.data.get_source(dataset).load({str(tmp_path / 'again')!r}));"
        " print(*sorted(name for name in sys.modules if name.startswith('ratchet.')))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place, modules = done.stdout.splitlines()
    assert content(Path(place)) == FILES
    assert "ratchet.dvc_source" in modules.split()
    assert not {"ratchet.tracking", "ratchet.steps", "ratchet.settings"} & set(modules.split())

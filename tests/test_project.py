"""A project's folders follow from where its parameter file is."""

import pytest
import yaml

from ratchet.errors import SettingsError
from ratchet.project import Project, tracking_uri

LEAST = {"name": "tiny", "data": {"source": "data/rows.csv", "target": "price"}}


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def project(folder, name="params.yaml", overrides=(), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump({**LEAST, **changes}))
    return Project.open(path, overrides)


def test_paths_are_relative_to_the_parameter_file(tmp_path, monkeypatch):
    project(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    opened = Project.open((tmp_path / "here" / "params.yaml").relative_to(tmp_path))
    monkeypatch.chdir("/")
    assert opened.root == tmp_path / "here"
    assert opened.source == tmp_path / "here" / "data" / "rows.csv"
    build = tmp_path / "here" / "build"
    assert opened.build == build
    folders = (
        opened.prepared,
        opened.trained,
        opened.evaluated,
        opened.promoted,
        opened.monitored,
    )
    assert [folder.relative_to(build).name for folder in folders] == [
        "prepared",
        "train",
        "evaluate",
        "promote",
        "monitor",
    ]


def test_a_source_may_lie_anywhere(tmp_path):
    data = {"source": "/elsewhere/rows.csv", "target": "price"}
    assert str(project(tmp_path, data=data).source) == "/elsewhere/rows.csv"


def test_two_parameter_files_of_one_folder_do_not_share_what_they_build(tmp_path):
    one, other = project(tmp_path), project(tmp_path, "tips.yaml")
    assert other.build == tmp_path / "build" / "tips.yaml"
    folders = ("prepared", "trained", "evaluated", "promoted", "monitored")
    mine, theirs = ({getattr(each, name) for name in folders} for each in (one, other))
    assert not mine & theirs


def test_overrides_are_applied_and_kept_as_given(tmp_path):
    opened = project(tmp_path, overrides=["seed=3 train.threads=1", "train.threads=2"])
    assert opened.overrides == ("seed=3 train.threads=1", "train.threads=2")
    assert (opened.settings.seed, opened.settings.train.threads) == (3, 2)


def test_a_folder_without_a_parameter_file_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as error:
        Project.open(tmp_path / "params.yaml")
    assert str(error.value) == (
        f"{tmp_path / 'params.yaml'} is not there."
        " Name a parameter file with --params, or run in its folder."
    )


def test_the_store_lies_at_the_top_of_the_checkout(tmp_path, git):
    git(tmp_path, "init", "-q")
    inner = project(tmp_path / "examples" / "tips")
    assert inner.home == tmp_path
    assert tracking_uri(inner) == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_the_store_lies_beside_the_parameter_file_where_there_is_no_checkout(tmp_path):
    assert project(tmp_path / "here").home == tmp_path / "here"


def test_the_store_outlives_a_temporary_checkout_of_dvc(tmp_path, git):
    git(tmp_path, "init", "-q")
    clone = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc"
    clone.mkdir(parents=True)
    git(clone, "init", "-q")
    opened = project(clone / "examples")
    assert opened.home == tmp_path
    assert opened.build == clone / "examples" / "build"


@pytest.mark.parametrize(
    ("uri", "where"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{home}/mlflow.db"),
        ("sqlite:///deep/runs.db", "sqlite:///{home}/deep/runs.db"),
        ("sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_only_a_relative_database_is_moved_home(tmp_path, monkeypatch, uri, where):
    expected = where.format(home=tmp_path)
    assert tracking_uri(project(tmp_path, tracking={"uri": uri})) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri(project(tmp_path)) == expected


def test_the_parameter_file_beats_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")
    assert tracking_uri(project(tmp_path, tracking={"uri": "http://ours"})) == "http://ours"


def test_an_empty_environment_variable_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking_uri(project(tmp_path)) == f"sqlite:///{tmp_path / 'mlflow.db'}"

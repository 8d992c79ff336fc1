"""No path in a table, a parameter file, a model or a step's output leads out of the project."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import tiny_table

from ratchet import runfile, tracking
from ratchet.commands import checks, intake
from ratchet.errors import DataError, RatchetError, SettingsError, StoreError
from ratchet.project import Project
from ratchet.steps import prepare


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a table, of which no project should know."""
    folder = tmp_path / "outside"
    folder.mkdir()
    tiny_table().to_parquet(folder / "rows.parquet")
    (folder / "rules.json").write_text("{}", encoding="utf-8")
    return folder


def changed(params: Path, **data: object) -> Project:
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    values["data"] |= data
    params.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Project.open(params)


# A parameter file


@pytest.mark.parametrize("form", ["absolute", "by dots", "by dots inside", "a file"])
def test_a_source_outside_of_the_project_is_refused(tiny, outside, store, form):
    source = {
        "absolute": str(outside),
        "by dots": "../outside",
        "by dots inside": "data/../../outside",
        "a file": str(outside / "rows.parquet"),
    }[form]
    project = changed(tiny(), source=source)
    with pytest.raises(SettingsError) as error:
        prepare.run(project)
    assert str(error.value) == (
        f"data.source leads out of the project, to {project.source}. Put the data into"
        f" {project.root}, as `dvc import-url` does, or name the place on the command line:"
        f" --set data.source={project.source}."
    )
    assert not (project.build / "prepared").exists()
    for ask in (
        lambda: checks.write(project),
        lambda: intake.copies(project, outside),
        lambda: intake.take(project, outside, print),
    ):
        with pytest.raises(SettingsError, match=r"data\.source leads out of the project"):
            ask()


def test_what_the_command_line_names_is_the_users_own(tiny, outside, store):
    params = tiny()
    shutil.rmtree(params.parent / "data")
    project = Project.open(params, [f"data.source={outside}"])
    assert prepare.run(project).rows["train"] > 100


def test_a_source_beside_the_parameter_file_is_in_the_project_as_far_as_git_goes(
    tiny, outside, store, git
):
    params = tiny()
    git(params.parent.parent, "init", "--quiet")
    assert prepare.run(changed(params, source="../outside")).rows["train"] > 100


@pytest.mark.parametrize("name", ["../outside/rules.json", "{outside}/rules.json", "data/link"])
def test_rules_outside_of_the_project_are_neither_read_nor_written(tiny, outside, store, name):
    params = tiny()
    (params.parent / "data" / "link").symlink_to(outside / "rules.json")
    project = changed(params, checks=name.format(outside=outside))
    for ask in (
        lambda: prepare.check_rules(project),
        lambda: checks.write(project, force=True),
    ):
        with pytest.raises(RatchetError, match="leads out of the project"):
            ask()
    assert (outside / "rules.json").read_text() == "{}"
    assert sorted(path.name for path in outside.iterdir()) == ["rows.parquet", "rules.json"]


# Links in the data


def linked(params: Path, outside: Path, form: str) -> Path:
    """Put a link into the data, or in their place; give it."""
    data = params.parent / "data"
    if form == "the folder":
        shutil.rmtree(data)
        data.symlink_to(outside)
        return data
    link = data / ("more.parquet" if form == "a file" else "more")
    link.symlink_to(outside / "rows.parquet" if form == "a file" else outside)
    return link


@pytest.mark.parametrize("form", ["a file", "a folder", "the folder"])
def test_a_link_in_the_data_that_leads_out_of_the_project_is_refused(tiny, outside, store, form):
    params = tiny()
    link = linked(params, outside, form)
    project = Project.open(params)
    with pytest.raises(DataError) as error:
        prepare.run(project)
    target = outside / "rows.parquet" if form == "a file" else outside
    assert str(error.value) == (
        f"{link} is a link that leads out of the project, to {target}. Copy what it leads to into"
        f" {project.root}, or name its place on the command line: --set data.source=…"
    )


def test_a_link_inside_of_the_project_or_into_dvcs_cache_is_followed(tiny, tmp_path, store):
    params = tiny()
    root, cache = params.parent, tmp_path / "cache"
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
    (root / "elsewhere").mkdir()
    cache.mkdir()
    shutil.move(root / "data" / "rows.parquet", cache / "0f1e")
    (root / "data" / "rows.parquet").symlink_to(cache / "0f1e")
    tiny_table(60, seed=1).to_parquet(root / "elsewhere" / "b.parquet")
    (root / "data" / "b.parquet").symlink_to(root / "elsewhere" / "b.parquet")
    assert sum(prepare.run(Project.open(params)).rows.values()) == 300


def test_a_project_that_is_reached_by_a_link_is_itself(tiny, tmp_path, store):
    params = tiny()
    (tmp_path / "shortcut").symlink_to(params.parent)
    assert prepare.run(Project.open(tmp_path / "shortcut" / params.name)).rows["train"] > 100


# What a step has left, which may have come out of a remote


@pytest.mark.parametrize("path", ["../../outside/rows.parquet", "/etc/hostname", "a/../../b", ""])
def test_a_file_of_a_run_that_lies_outside_is_not_uploaded(project, store, path):
    kept = project.prepared / runfile.FILE
    value = json.loads(kept.read_text(encoding="utf-8"))
    value["artifacts"].append({"path": path, "text": None, "binary": False})
    kept.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RatchetError) as error:
        runfile.RunFile.load(project.prepared, made_by="prepare")
    assert str(error.value) == (
        f"run.json is not to be trusted: it names the file {path!r}, and files of a run lie in the"
        " folder of its step. Run the step again."
    )


# A model


@pytest.mark.parametrize(
    ("flavor", "name", "value"),
    [
        ("sklearn", "pickled_model", "../../outside/model.skops"),
        ("sklearn", "pickled_model", "/etc/hostname"),
        ("sklearn", "code", "hidden"),
        ("python_function", "code", "../hidden"),
        ("python_function", "data", "/etc"),
        ("python_function", "env", {"conda": "../conda.yaml"}),
    ],
)
def test_a_model_that_names_what_lies_outside_of_it_is_not_read(
    project, tmp_path, flavor, name, value
):
    folder = tmp_path / "model"
    shutil.copytree(project.trained / "model", folder)
    trap = tmp_path / "sprung"
    for hidden in (folder / "hidden", tmp_path / "hidden"):
        hidden.mkdir()
        (hidden / "skrub.py").write_text(f"open({str(trap)!r}, 'w')")
    told = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    told["flavors"][flavor][name] = value
    (folder / "MLmodel").write_text(yaml.safe_dump(told), encoding="utf-8")
    refused = (
        "names what lies outside of its own files: |its MLmodel has code of sklearn in 'hidden'"
    )
    with pytest.raises(StoreError, match=refused):
        tracking.load_model(str(folder))
    assert not trap.exists()


# What a table holds


def test_a_value_that_looks_like_a_path_is_a_value(tiny, outside, store):
    table = tiny_table()
    paths = [str(outside / "rows.parquet"), "../../etc/passwd", "file:///etc/passwd"]
    table["town"] = table["town"].map(
        dict(zip(("Aachen", "Berlin", "Cottbus"), paths, strict=True))
    )
    table = table.rename(columns={"size": "../size", "rooms": "/etc/passwd"})
    project = Project.open(tiny(table))
    prepare.run(project)
    kept = pd.read_parquet(project.prepared / "train.parquet")
    assert set(kept["town"]) == set(paths)
    assert {"../size", "/etc/passwd"} <= set(kept)
    inside = {path.name for path in project.prepared.iterdir()}
    assert {"train.parquet", "schema.json", "profile.html"} <= inside
    assert sorted(path.name for path in outside.iterdir()) == ["rows.parquet", "rules.json"]

"""The files at the top of the project agree with each other and with the code."""

import importlib.util
import re
import shutil
import subprocess
import tomllib

import pytest
import typer
import yaml
from conftest import ROOT

from ratchet import settings
from ratchet.cli import app

# What runs is a step; the other modules of that folder are what steps share.
STEPS = {
    path.stem
    for path in (ROOT / "src" / "ratchet" / "steps").glob("*.py")
    if re.search(r"^def run\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}
SHIPPED = [ROOT / "params.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def commands() -> dict[str, set[str]]:
    """Give the options of every command of the command line."""
    group = typer.main.get_command(app)
    return {
        name: {option for each in command.params for option in each.opts}
        for name, command in group.commands.items()
    }


def pins() -> list[str]:
    (listed,) = (
        each["pip"] for each in read("conda.yaml")["dependencies"] if isinstance(each, dict)
    )
    return [pin.partition(";")[0].strip() for pin in listed]


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


# Steps


def test_every_step_is_an_entry_point_a_command_and_a_module():
    entry_points = set(read("MLproject")["entry_points"])
    assert {"prepare", "train", "evaluate", "promote"} <= STEPS
    assert entry_points == {*STEPS, "main"}
    assert {*STEPS, "run"} <= set(commands())


def test_every_stage_is_a_step_and_only_steps_that_watch_others_have_none():
    assert set(read("dvc.yaml")["stages"]) == STEPS - {"monitor"}


@pytest.mark.parametrize("name", sorted(STEPS))
def test_both_front_doors_start_the_same_command(name):
    stage = read("dvc.yaml")["stages"].get(name)
    entry = read("MLproject")["entry_points"][name]["command"]
    assert entry.split(" --")[0] == f"python src {name}"
    assert stage is None or stage["cmd"] == f"python src {name}"


def test_the_main_entry_point_runs_them_all():
    assert read("MLproject")["entry_points"]["main"]["command"].startswith("python src run ")


@pytest.mark.parametrize("name", sorted(read("MLproject")["entry_points"]))
def test_an_entry_point_hands_on_each_parameter_to_an_option_that_exists(name):
    entry = read("MLproject")["entry_points"][name]
    _, _, command, *rest = entry["command"].split()
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    assert set(options) <= commands()[command]
    assert sorted(options.values()) == sorted(f"{{{each}}}" for each in entry["parameters"])
    assert {"params", "set"} <= set(entry["parameters"])


# What a shell reads


def test_mlproject_quotes_no_parameter_because_mlflow_does():
    for name, entry in read("MLproject")["entry_points"].items():
        assert not re.search(r"""["'`$;&|]""", entry["command"]), name


def test_no_stage_takes_parameters_into_its_command():
    assert "${" not in (ROOT / "dvc.yaml").read_text().replace("No ${} in a cmd", "")


# Parameters


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_parameter_file_loads_and_its_data_is_the_versioned_folder(path):
    found = settings.load(path)
    assert (path.parent / found.data.source).resolve() == (ROOT / "data").resolve()


def test_the_shipped_tasks_have_names_of_their_own():
    names = [settings.load(path).name for path in SHIPPED]
    assert len(set(names)) == len(names)


def test_every_parameter_that_a_stage_watches_is_in_params_yaml():
    given = read("params.yaml")
    for name, stage in read("dvc.yaml")["stages"].items():
        for dotted in stage["params"]:
            value = given
            for part in dotted.split("."):
                assert part in value, f"{name} watches {dotted}"
                value = value[part]


def test_every_section_of_params_yaml_is_watched_by_a_stage_but_what_runs_record():
    stages = read("dvc.yaml")["stages"].values()
    watched = {dotted.partition(".")[0] for stage in stages for dotted in stage["params"]}
    assert set(read("params.yaml")) - watched <= {"hooks", "lineage", "retrain", "tracking"}


# The environment


def test_conda_yaml_is_what_make_lock_writes():
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed, so the lock can't be exported to compare it")
    spec = importlib.util.spec_from_file_location("conda_yaml", ROOT / ".ci" / "conda_yaml.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "conda.yaml").read_text(encoding="utf-8") == module.text()


def test_every_pin_of_conda_yaml_is_a_version_of_the_lock():
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {f"{each['name']}=={each['version']}" for each in lock["package"] if "version" in each}
    assert len(pins()) > 50
    assert set(pins()) <= locked


def test_conda_yaml_covers_what_the_project_depends_on_and_not_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {name_of(pin) for pin in pins()}
    assert {name_of(each) for each in project["dependencies"]} <= pinned
    # A second clone would run the first one's code: MLflow names the environment by this text.
    assert project["name"] not in pinned
    assert "-e" not in " ".join(pins()).split()


# Data


def test_the_sample_data_is_in_the_committed_remote():
    (out,) = read("data.dvc")["outs"]
    remote = ROOT / ".dvc" / "remote" / "files" / "md5"
    listing = remote / out["md5"][:2] / out["md5"][2:]
    files = [each["md5"] for each in yaml.safe_load(listing.read_text())]
    assert len(files) == out["nfiles"]
    for md5 in files:
        assert (remote / md5[:2] / md5[2:]).stat().st_size > 0
    done = subprocess.run(
        ["git", "ls-files", "--error-unmatch", str(listing)], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, "the remote must be committed: a fresh clone has no other"


def test_byte_code_is_no_dependency_of_a_stage():
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text().splitlines()


# Commands


def test_ci_runs_the_tests_as_a_user_does():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == "make test"
    assert "pytest" not in "\n".join(lines)
    target = re.search(r"^test:.*\n\t(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target[1] == (
        "ruff check . && ruff format --check . && mypy && pytest -n auto --dist loadgroup"
    )

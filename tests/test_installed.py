"""The package as it is installed: built, installed in an environment of its own, and used there."""

import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import COMMITTER, PATIENCE, ROOT, UNSET

from ratchet import packaged

# One worker builds and installs.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installed")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, as `pip install .` and PyPI get them."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: `make install` brings it")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def run(
    built: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command in an environment that has the wheel, and everything else from the tests'."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / version / "site-packages"
    (packages / "tests.pth").write_text(sysconfig.get_paths()["purelib"])
    (wheel,) = built.glob("*.whl")
    install = [venv / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(list(map(str, install)), check=True)
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    tools = f"{venv / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"

    def start(place: Path, *command: object) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [shutil.which(str(command[0]), path=tools) or str(command[0]), *map(str, command[1:])],
            cwd=place,
            env={**kept, **COMMITTER, "PATH": tools, "DVC_NO_ANALYTICS": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return start


def package_in(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith("ratchet/")}


def test_wheel_and_sdist_hold_the_package_with_all_that_is_no_code(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as content:
        in_wheel = package_in(content.namelist())
    with tarfile.open(sdist) as content:
        inside = [name.partition("/")[2] for name in content.getnames()]
    in_sdist = package_in([name.removeprefix("src/") for name in inside])
    source = ROOT / "src" / "ratchet"
    files = {
        f"ratchet/{path.relative_to(source).as_posix()}"
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert in_wheel == in_sdist == files
    others = {name for name in inside if not name.startswith("src/")}
    assert others == {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}


def test_the_program_is_installed_and_runs_from_there(run, tmp_path):
    assert "Make a project of a table" in run(tmp_path, "ratchet", "--help").stdout
    ask = "from ratchet import packaged; print(packaged.__file__, packaged.origin().requirement)"
    place, requirement = run(tmp_path, "python", "-c", ask).stdout.split()
    assert "site-packages" in place
    # It came from a file of this machine, so a project takes the same code along.
    assert requirement == f"./wheels/{packaged.wheel_name()}"


def promoted(project: Path) -> dict[str, str]:
    """Give the tags of a project's runs, which end with a champion."""
    with sqlite3.connect(project / "mlflow.db") as store:
        (name,) = store.execute("select name from registered_model_aliases").fetchone()
        tags = dict(store.execute("select key, value from tags where key like 'ratchet.%'"))
    assert name == project.name
    return tags


def test_the_guide_to_an_own_table_ends_in_a_promoted_model_with_no_edit(run, tmp_path):
    text = (ROOT / "docs" / "own-table.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    commands = "".join(body for language, body in blocks if language == "sh")
    said = run(tmp_path, "bash", "-ec", commands).stdout
    told = "".join(body for language, body in blocks if not language).splitlines()
    beginnings = ("tumours.csv:", "target ", "split ", "metric ", "left out", "promoted ")
    lines = [line for line in told if line.startswith(beginnings)]
    assert len(lines) >= 5
    for line in lines:
        assert line in said.splitlines()
    tags = promoted(tmp_path / "tumours")
    assert (tags["ratchet.dirty"], tags["ratchet.data_dirty"]) == ("false", "false")
    assert tags["ratchet.version.ratchet"] == "0.1.0"


def test_the_installed_program_takes_a_table_to_a_champion_too(run, tmp_path):
    from sklearn.datasets import load_diabetes

    load_diabetes(as_frame=True).frame.to_csv(tmp_path / "sugar.csv", index=False)
    asked = ("--data", "sugar.csv", "--target", "target", "--budget", 10)
    assert "cd sugar && make run" in run(tmp_path, "ratchet", "init", "sugar", *asked).stdout
    said = run(tmp_path / "sugar", "ratchet", "run").stdout
    assert "promoted   yes, as version 1 of sugar" in said
    assert promoted(tmp_path / "sugar")["ratchet.dirty"] == "false"

"""The package as it is installed: built, installed in an environment of its own, and used there."""

import importlib.util
import json
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
import yaml
from conftest import COMMITTER, PATIENCE, ROOT, UNSET, small_search, tiny_table

import ratchet
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


def environment(place: Path, wheel: Path) -> "Start":
    """Make an environment that has a wheel, and everything else from the tests'; give its shell."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    (packages / "tests.pth").write_text(sysconfig.get_paths()["purelib"])
    install = [place / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(list(map(str, install)), check=True)
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    tools = f"{place / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"

    def start(folder: Path, *command: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [shutil.which(str(command[0]), path=tools) or str(command[0]), *map(str, command[1:])],
            cwd=folder,
            env={
                **kept,
                **COMMITTER,
                "PATH": tools,
                "DVC_NO_ANALYTICS": "true",
                "PIP_NO_INDEX": "true",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return start


Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Run a command in an environment that has the wheel."""
    (wheel,) = built.glob("*.whl")
    return environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


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


# The guide to a new version


def ledger(project: Path) -> list[str]:
    """Give the lines of a project's ledger as they are written."""
    with sqlite3.connect(project / "mlflow.db") as store:
        asked = "select value from params where key glob '[0-9]*[0-9]' order by key"
        return [value for (value,) in store.execute(asked)]


VERSION, OLDER = ratchet.__version__, "0.0.9"


@pytest.fixture
def older(built: Path, tmp_path: Path) -> Path:
    """A wheel of an older version: the same code, but for its number."""
    source = tmp_path / "older"
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "ratchet", source / "src" / "ratchet", ignore=hidden)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for file in (source / "pyproject.toml", source / "src" / "ratchet" / "__init__.py"):
        text = file.read_text(encoding="utf-8")
        assert f'"{VERSION}"' in text
        file.write_text(text.replace(f'"{VERSION}"', f'"{OLDER}"', 1), encoding="utf-8")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def test_a_project_of_an_older_version_moves_to_the_new_one_and_back(built, older, tmp_path):
    start = environment(tmp_path / "venv", older)
    tiny_table().drop(columns="dear").to_csv(tmp_path / "flats.csv", index=False)
    asked = ("--data", "flats.csv", "--target", "price", "--budget", 5)
    start(tmp_path, "ratchet", "init", "flats", *asked)
    flats = tmp_path / "flats"
    small_search(flats / "params.yaml", "ridge")
    values = yaml.safe_load((flats / "params.yaml").read_text())
    values["evaluate"]["report"] = False
    (flats / "params.yaml").write_text(yaml.safe_dump(values))
    start(flats, "git", "commit", "--quiet", "--all", "--message", "A small search")
    start(flats, "ratchet", "run")
    assert promoted(flats)["ratchet.version.ratchet"] == OLDER
    before = ledger(flats)
    assert [json.loads(line)["kind"] for line in before] == ["promote"]
    (wheel,) = built.glob("*.whl")

    def follow(title: str) -> str:
        text = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        said = ""
        for line in "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M)).splitlines():
            command = line.replace(f"path/to/ratchet-{VERSION}-py3-none-any.whl", str(wheel))
            code = int((re.findall(r"# exits with (\d)", line) or ["0"])[0])
            said += start(flats, "bash", "-ec", command, code=code).stdout
        return said

    said = follow("A project that `ratchet init` has made")
    assert f"and conda.yaml asks for ./wheels/ratchet-{OLDER}+h" in said
    assert "none was altered or removed" in said
    (own,) = (flats / "wheels").iterdir()
    assert own.name.startswith(f"ratchet-{VERSION}+h")
    tags = promoted(flats)
    assert (tags["ratchet.version.ratchet"], tags["ratchet.dirty"]) == (VERSION, "false")
    # The same rows and settings: a tie, which keeps the champion.
    after = ledger(flats)
    assert after[:1] == before
    assert [json.loads(line)["kind"] for line in after] == ["promote", "refuse"]

    assert f"Version: {OLDER}+h" in follow("Back again")

"""Another project names this package so that it gets the code that ran, and no other."""

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import ROOT

from ratchet import packaged


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged.write_wheel(tmp_path_factory.mktemp("wheels"))


def about(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as content:
        (place,) = [each for each in content.namelist() if each.endswith(f".dist-info/{name}")]
        return content.read(place).decode()


def asked(folder: Path, question: str) -> str:
    """Ask the package in a folder of its own; give what it prints."""
    return subprocess.run(
        [sys.executable, "-c", f"from ratchet import packaged; print({question})"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A folder that holds the package as pip would unpack it."""
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path)
    return tmp_path


# The wheel


def test_equal_code_gives_equal_bytes_and_the_name_has_the_digest(wheel, tmp_path):
    again = packaged.write_wheel(tmp_path)
    assert again.name == wheel.name == packaged.wheel_name()
    assert again.read_bytes() == wheel.read_bytes()
    assert packaged.named_version(wheel.name) == packaged.running_version()


def test_it_holds_the_package_with_its_templates_and_no_byte_code(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    for name in (
        "cli.py",
        "py.typed",
        "templates/comparison.html",
        "templates/project/Makefile.jinja",
    ):
        assert f"ratchet/{name}" in names
    assert not [name for name in names if "__pycache__" in name]


def test_its_record_has_the_digest_of_every_file(wheel):
    rows = list(csv.reader(io.StringIO(about(wheel, "RECORD"))))
    with zipfile.ZipFile(wheel) as content:
        assert {row[0] for row in rows} == set(content.namelist())
        for name, digest, size in rows:
            if not name.endswith("RECORD"):
                data = content.read(name)
                found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
                assert (digest, int(size)) == (f"sha256={found.rstrip('=')}", len(data))


def test_it_asks_for_what_pyproject_asks_for(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = Parser().parsestr(about(wheel, "METADATA"))
    needs = said.get_all("Requires-Dist")
    assert [each for each in needs if "extra" not in each] == project["dependencies"]
    assert [each for each in needs if "extra" in each] == [
        "catboost>=1.2.10 ; extra == 'catboost'",
        "dask[dataframe]>=2026.3 ; extra == 'dask'",
        "distributed>=2026.3 ; extra == 'dask'",
        "shap>=0.51 ; (sys_platform != 'darwin' or platform_machine != 'x86_64')"
        " and extra == 'explain'",
        "onnx>=1.19 ; extra == 'onnx'",
        "onnxruntime>=1.24 ; extra == 'onnx'",
        "boto3>=1.40 ; extra == 's3'",
        "dvc-s3>=3.3 ; extra == 's3'",
    ]
    assert said["Requires-Python"] == project["requires-python"]
    points = about(wheel, "entry_points.txt")
    assert "[console_scripts]\nratchet = ratchet.cli:main\n" in points
    assert "[mlflow.dataset_source]\n" in points


def test_a_wheel_of_what_was_installed_is_the_same_wheel(wheel, installed, tmp_path):
    (installed / "direct_url.json").write_text("{}")
    place = asked(installed, "packaged.write_wheel(__import__('pathlib').Path('again'))")
    again = installed / place
    assert again.name == wheel.name
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        code = [each for each in one.namelist() if each.startswith("ratchet/")]
        assert {each: one.read(each) for each in code} == {each: other.read(each) for each in code}
    assert "Requires-Dist: catboost>=1.2.10" in about(again, "METADATA")


# The requirement


def test_what_runs_from_a_checkout_travels_as_a_wheel(wheel):
    assert packaged.origin() == packaged.Origin(f"./wheels/{wheel.name}", needs_wheel=True)


def test_what_came_from_an_index_is_pinned_by_its_version(installed):
    version = packaged.running_version()
    assert asked(installed, "packaged.origin().requirement") == f"ratchet=={version}"


@pytest.mark.parametrize(
    ("told", "requirement"),
    [
        (
            {"url": "https://host/r.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}},
            "ratchet @ git+https://host/r.git@0123abc",
        ),
        (
            {"url": "https://host/r.whl", "archive_info": {"hashes": {"sha256": "77"}}},
            "ratchet @ https://host/r.whl#sha256=77",
        ),
        ({"url": "file:///home/me/ratchet", "dir_info": {}}, f"./wheels/{packaged.wheel_name()}"),
    ],
)
def test_what_came_from_an_address_is_pinned_by_it_and_a_folder_by_its_code(
    installed, told, requirement
):
    (place,) = installed.glob("*.dist-info")
    (place / "direct_url.json").write_text(json.dumps(told))
    assert asked(installed, "packaged.origin().requirement") == requirement


def test_the_pins_cover_what_is_needed_and_nothing_of_the_tests():
    pinned = {packaged.required_name(pin) for pin in packaged.pins()}
    assert {"mlflow", "dvc", "numpy", "scipy", "catboost", "sqlalchemy"} <= pinned
    assert pinned.isdisjoint({"pytest", "ruff", "mypy", "ratchet"})


def test_another_state_than_a_project_asks_for_is_told():
    own = packaged.origin().requirement
    assert packaged.other_than([own, "numpy==2.0"]) == packaged.other_than(["numpy==2.0"]) == ""
    told = packaged.other_than(["ratchet==9.9"])
    assert told.startswith(f"ratchet {packaged.running_version()} runs from ")
    assert told.endswith("and conda.yaml asks for ratchet==9.9")

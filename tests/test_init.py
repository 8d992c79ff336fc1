"""`ratchet init` makes a whole project of a table, or nothing."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import COMMITTER, ROOT, tiny_table

from ratchet import lineage, packaged, settings
from ratchet.checks import State, code, environment, folder
from ratchet.checks.base import Check, Finding, Site, examine
from ratchet.commands import init, scaffold

TOP = {
    *(".dvc", ".dvcignore", ".git", ".gitignore", "MLproject", "Makefile", "README.md"),
    *("conda.yaml", "data", "data.dvc", "dvc.yaml", "local.mk", "params.schema.json"),
    *("params.yaml", "src", "tests", "wheels"),
}


@pytest.fixture(scope="module", autouse=True)
def nobodys_git() -> object:
    """The tests' own git, so that nobody's configuration decides."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in COMMITTER.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "flats.csv"
    tiny_table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def made(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as init makes it."""
    root = tmp_path_factory.mktemp("made") / "flats"
    init.make(init.plan(root, table, "price", budget=5))
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(made, tmp_path / "flats", symlinks=True)
    return tmp_path / "flats"


def git(place: Path, *arguments: str) -> str:
    command = ["git", "-C", str(place), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def listing(place: Path) -> dict[str, bytes]:
    """Every file below a folder, but for git's own."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def wrong(root: Path, check: Check) -> list[Finding]:
    found = examine(Site(root / "params.yaml"), check)
    return [each for each in found if each.state in (State.ERROR, State.WARNING)]


# What is made


def test_a_project_has_its_files_and_one_commit_with_all_of_them(made):
    assert {path.name for path in made.iterdir()} == TOP
    assert git(made, "log", "--format=%s").splitlines() == ["First version, made by ratchet init"]
    assert git(made, "status", "--porcelain") == ""
    ignored = {"data", "local.mk", ".git"}
    assert {name.split("/")[0] for name in git(made, "ls-files").split()} == TOP - ignored


def test_the_data_are_recorded_so_that_a_model_may_be_promoted(made, table):
    state = lineage.data_state(made / "data")
    assert (state.dirty, state.in_dvc) == (False, True)
    assert (made / "data" / "flats.csv").read_bytes() == table.read_bytes()
    record = lineage.record(made, source=made / "data", params={})
    assert (record.dirty, record.code_reason) == (False, "")
    assert record.commit is not None


def test_the_settings_are_those_of_the_table(made):
    found = settings.load(made / "params.yaml")
    assert (found.name, found.data.target, found.data.source) == ("flats", "price", "data")
    assert (found.split.method, found.split.column) == ("time", "sold")
    assert found.train.search.budget_seconds == 5
    assert found.train.plugins == ("own",)
    text = (made / "params.yaml").read_text()
    assert "made by `ratchet init` for flats.csv: 240 rows of 6 columns." in text


def test_editors_find_the_schema_beside_the_settings(made):
    assert (made / "params.schema.json").read_text() == settings.json_schema()


def test_the_environment_pins_everything_and_names_the_code_that_made_it(made):
    listed = packaged.listed_in(made / "conda.yaml")
    (own,) = [each for each in listed if packaged.is_ours(each)]
    assert own == packaged.origin().requirement
    assert (made / own).is_file()
    assert all("==" in each for each in listed if each != own)
    text = (made / "conda.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 110


def test_steps_stages_and_entry_points_are_those_of_this_project(made):
    own = yaml.safe_load((made / "MLproject").read_text())
    ours = yaml.safe_load((ROOT / "MLproject").read_text())
    assert own == {**ours, "name": "flats"}
    own = yaml.safe_load((made / "dvc.yaml").read_text())
    for stage in own["stages"].values():
        stage["deps"].remove("conda.yaml")
    ours = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    # Rules for the table are written when somebody wants them.
    ours["stages"]["prepare"]["deps"].remove("schema.json")
    assert own == ours


def test_the_doctor_finds_nothing_that_is_wrong_with_it(made):
    checks = (
        *(folder.parameters, folder.mlproject_quotes, folder.stage_commands),
        *(code.repository, code.secrets, code.whose_code),
        *(environment.packages, environment.conda_yaml),
    )
    assert [found for check in checks for found in wrong(made, check)] == []
    (said,) = examine(Site(made / "params.yaml"), code.whose_code)
    assert said.told.endswith("as conda.yaml asks")


def test_the_tests_of_a_new_project_pass(made):
    done = subprocess.run(
        [sys.executable, "-B", "-m", "unittest", "discover", "--start-directory", "tests"],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_the_example_in_the_place_for_own_models_works(made, monkeypatch):
    from ratchet import backends

    monkeypatch.setattr(backends.base, "_SHELF", dict(backends.base._SHELF))
    text = (made / "src" / "own.py").read_text()
    example = re.search(r"\n\n(    from .*?)\n\nA score", text, re.S)[1]
    exec(compile("\n".join(line[4:] for line in example.splitlines()), "own.py", "exec"), {})
    assert "neighbours" in backends.available()


def test_the_command_says_what_it_found_and_what_comes_next(table, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    status, out, err = call(
        *("init", "flats", "--data", table, "--target", "dear", "--no-git", "--budget", "5")
    )
    assert status == 0, err
    assert "flats.csv: 240 rows of 6 columns" in out
    assert "target     dear: 2 classes: " in out
    assert "split      time by sold, test 1 month: sold says when a row came to be" in out
    assert "next       cd flats && make run" in out
    found = settings.load(tmp_path / "flats" / "params.yaml")
    # Without git no run can name a commit.
    assert found.promote.dirty_tree == "allow"
    assert not (tmp_path / "flats" / ".git").exists()
    assert lineage.data_state(tmp_path / "flats" / "data").in_dvc


def test_on_a_terminal_one_answer_is_asked_for_and_no_makes_nothing(
    table, tmp_path, call, monkeypatch
):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    status, out, _ = call("init", tmp_path / "flats", "--data", table, "--target", "price")
    assert status == 1
    assert out.count("[Y/n]") == 1
    assert list(tmp_path.iterdir()) == []


# Where there is something already


def test_nothing_is_overwritten_and_all_that_is_in_the_way_is_named(copy, table, call):
    before = listing(copy)
    status, _, err = call("init", copy, "--data", table, "--target", "price", "--yes")
    assert status == 2
    assert err.startswith(
        f"RatchetError: {copy} has already: MLproject, Makefile, README.md, conda.yaml, dvc.yaml,"
        " .dvcignore, .gitignore, src, tests, params.schema.json, params.yaml, data.dvc, data,"
        " wheels. Name another folder, or replace them with --force"
    )
    assert listing(copy) == before


def test_force_replaces_it_and_keeps_what_was_there(copy, table):
    (copy / "src" / "own.py").write_text("mine = 1\n")
    (copy / "notes.txt").write_text("keep\n")
    before = listing(copy)
    made = init.make(init.plan(copy, table, "rooms", force=True))
    assert made.backup.parent == copy
    kept = listing(made.backup)
    assert kept["src/own.py"] == b"mine = 1\n"
    assert kept["params.yaml"] == before["params.yaml"]
    assert settings.load(copy / "params.yaml").data.target == "rooms"
    assert (copy / "notes.txt").read_text() == "keep\n"
    assert not lineage.data_state(copy / "data").dirty
    # The repository was there: what is new waits for its owner's commit, the backup for nobody.
    assert len(git(copy, "log", "--format=%s").splitlines()) == 1
    status = git(copy, "status", "--porcelain").splitlines()
    assert [line for line in status if "??" in line] == ["?? notes.txt"]


def test_inside_a_repository_only_the_projects_own_files_are_staged_and_its_data_stay(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "others.txt").write_text("not mine")
    root = tmp_path / "models" / "flats"
    (root / "tables").mkdir(parents=True)
    tiny_table().to_parquet(root / "tables" / "rows.parquet")
    before = (root / "tables" / "rows.parquet").stat().st_ino
    init.make(init.plan(root, root / "tables", "price"))
    staged = git(tmp_path, "diff", "--cached", "--name-only").split()
    assert staged
    assert all(name.startswith("models/flats/") for name in staged)
    assert "models/flats/tables.dvc" in staged
    assert git(tmp_path, "status", "--porcelain", "--", "others.txt").startswith("??")
    assert not (root / ".git").exists()
    # A folder of data in the project stays where it is.
    assert (root / "tables" / "rows.parquet").stat().st_ino == before
    assert settings.load(root / "params.yaml").data.source == "tables"
    assert lineage.data_state(root / "tables").in_dvc
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert stages["prepare"]["deps"][0] == "tables"


@pytest.mark.parametrize(("there", "fault"), [(False, "add"), (True, "init")])
def test_what_fails_half_way_leaves_nothing(table, tmp_path, monkeypatch, there, fault):
    programs = tmp_path / "bin"
    programs.mkdir()
    real = shutil.which("git")
    (programs / "git").write_text(
        f'#!/bin/sh\nfor a in "$@"; do [ "$a" = {fault} ] && exit 9; done\nexec {real} "$@"\n'
    )
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    root = tmp_path / "place" / "flats"
    root.parent.mkdir()
    if there:
        root.mkdir()
        (root / "notes.txt").write_text("keep\n")
    plan = init.plan(root, table, "price")
    with pytest.raises(init.RatchetError, match="git says"):
        init.make(plan)
    left = {str(path.relative_to(root.parent)) for path in root.parent.rglob("*")}
    assert left == ({"flats", "flats/notes.txt"} if there else set())


# What can't be


def refusal(call: Callable[..., tuple[int, str, str]], *arguments: object) -> str:
    status, _, err = call("init", *arguments)
    assert status == 2
    return next(line for line in err.splitlines() if "Error: " in line).partition(": ")[2]


def test_every_mistake_is_told_in_a_sentence(table, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "new"
    assert refusal(call, here) == "Say where the table is: --data FILE, or a folder of files."
    assert refusal(call, here, "--data", "no.csv") == (
        "--data no.csv is not there. Name a file, or a folder of files."
    )
    assert refusal(call, here, "--data", table).startswith("Say what is to be predicted")
    assert "did you mean 'price'?" in refusal(call, here, "--data", table, "--target", "prise")
    assert refusal(call, here, "--data", table, "--target", "price", "--problem", "sums") == (
        "--problem must be one of binary, multiclass, regression, clustering, got 'sums'."
    )
    assert refusal(call, here, "--data", table, "--target", "price", "--budget", "-1") == (
        "params.yaml has 1 problem:"
    )
    assert refusal(call, table, "--data", table, "--target", "price").startswith(
        f"The project {table} would lie in its own data"
    )
    assert not here.exists()


def test_without_git_it_says_how_to_go_on(table, tmp_path, call, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(call, tmp_path / "new", "--data", table, "--target", "price") == (
        "git is not installed, which keeps the versions of the code. Install it, or leave it out"
        " with --no-git."
    )


def test_help_and_arguments_load_no_model_library():
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys\n"
            "from ratchet import cli\n"
            "sys.argv = ['ratchet', 'init', 'x']\n"
            "try: cli.main()\n"
            "except SystemExit as end: code = end.code\n"
            "heavy = {'mlflow', 'sklearn', 'pandas'} & set(sys.modules)\n"
            "sys.exit(0 if code == 2 and not heavy else 1)\n",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


# The life of such a project


def test_the_installed_program_finds_the_projects_own_modules(copy, call, monkeypatch):
    (copy / "src" / "own.py").write_text("raise RuntimeError('this is own.py')\n")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(copy / "src")])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    call("status", "--params", copy / "params.yaml")
    assert sys.path[0] == str(copy / "src")


def test_code_other_than_a_project_asks_for_is_told_and_keeps_its_leader_back(copy):
    own = packaged.origin().requirement
    text = (copy / "conda.yaml").read_text()
    (copy / "conda.yaml").write_text(text.replace(own, "ratchet==0.0.1"))
    git(copy, "commit", "--quiet", "--all", "--message", "other")
    record = lineage.record(copy, source=copy / "data", params={})
    assert record.dirty is None
    assert record.code_reason.endswith("and conda.yaml asks for ratchet==0.0.1")
    (found,) = wrong(copy, code.whose_code)
    assert (found.state, found.mend) == (State.ERROR, "rm -rf .venv && make install")


def test_packages_other_than_the_listed_are_named(copy):
    text = (copy / "conda.yaml").read_text()
    changed = re.sub(r"pandas==\S+", "pandas==1.0", text).replace("zipp==", "nosuchpackage==")
    (copy / "conda.yaml").write_text(changed)
    found = {each.state: each for each in wrong(copy, environment.packages)}
    assert found[State.ERROR].told == "nosuchpackage of conda.yaml not installed"
    assert "1 package other than conda.yaml says: pandas" in found[State.WARNING].told
    assert found[State.WARNING].mend == "make install"


def test_a_wheel_that_is_gone_is_told(copy):
    for wheel in (copy / "wheels").iterdir():
        wheel.unlink()
    (found,) = wrong(copy, environment.conda_yaml)
    assert "is not there: nothing can build it" in found.told
    subprocess.run(found.mend, shell=True, cwd=copy, check=True)
    assert wrong(copy, environment.conda_yaml) == []


def test_lock_pins_what_is_installed_and_keeps_what_the_project_added(copy, call):
    text = (copy / "conda.yaml").read_text()
    older = re.sub(r"pandas==\S+", "pandas==1.0", text)
    stale = "./wheels/ratchet-0.0.1+h0-py3-none-any.whl"
    (copy / stale).write_bytes(b"")
    older = older.replace(packaged.origin().requirement, stale) + "  - pytest\n  - nosuch==1\n"
    (copy / "conda.yaml").write_text(older)
    (copy / "params.schema.json").write_text("{}")
    status, out, _ = call("lock", "--params", copy / "params.yaml")
    assert status == 0
    assert f"{len(packaged.pins()) + 3} packages" in out
    listed = packaged.listed_in(copy / "conda.yaml")
    assert f"pytest=={pytest.__version__}" in listed
    assert f"pandas=={pd.__version__}" in listed
    assert {"nosuch==1", packaged.origin().requirement} <= set(listed)
    assert [wheel.name for wheel in (copy / "wheels").iterdir()] == [packaged.wheel_name()]
    (copy / "uv.lock").write_text("")
    with pytest.raises(init.RatchetError, match=r"has a uv\.lock"):
        scaffold.lock(copy, "flats")

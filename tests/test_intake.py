"""New data get into DVC whole, once, and over nothing that was there."""

import os
import shutil

import pandas as pd
import pytest
import yaml
from conftest import tiny_settings

from ratchet import lineage
from ratchet.commands import intake
from ratchet.errors import RatchetError
from ratchet.project import Project


@pytest.fixture
def tracked(tmp_path, git):
    """Give a project whose folder `data` DVC tracks, made without DVC's own seconds."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    pd.DataFrame({"size": [1.0, 2.0], "price": [3.0, 4.0]}).to_csv(root / "data" / "jan.csv")
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_settings()))
    git(root, "init", "--quiet")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    return Project.open(root / "params.yaml")


def take(project, given=None):
    said = []
    found = intake.take(project, given, said.append)
    return found, said


def pointer(project):
    return yaml.safe_load((project.root / "data.dvc").read_text())


def test_what_is_given_is_copied_and_recorded_and_twice_changes_nothing(tracked, tmp_path):
    given = tmp_path / "feb.csv"
    shutil.copy(tracked.source / "jan.csv", given)
    found, _ = take(tracked, given)
    assert found.taken == ("feb.csv",)
    assert found.pointer == tracked.root / "data.dvc"
    assert (tracked.source / "feb.csv").read_bytes() == given.read_bytes()
    assert found.state == lineage.data_state(tracked.source)
    assert not found.state.dirty
    assert pointer(tracked)["outs"][0]["nfiles"] == 2
    assert lineage.files_since(tracked.source, found.state.version) == ()
    # Again, also a folder that has it beside another one.
    before = (tracked.root / "data.dvc").stat().st_mtime_ns
    assert take(tracked, given)[0].taken == ()
    assert (tracked.root / "data.dvc").stat().st_mtime_ns == before
    folder = tmp_path / "spring"
    (folder / "not read").mkdir(parents=True)
    shutil.copy(given, folder)
    (folder / "mar.csv").write_text("size,price\n5,6\n")
    (folder / ".hidden").write_text("")
    again, _ = take(tracked, folder)
    assert again.taken == ("mar.csv",)
    assert sorted(path.name for path in tracked.source.iterdir()) == [
        "feb.csv",
        "jan.csv",
        "mar.csv",
    ]
    assert lineage.files_since(tracked.source, found.state.version) == ("mar.csv",)
    # Data that are gone come back out of DVC's cache.
    shutil.rmtree(tracked.source)
    back, _ = take(tracked)
    assert back.state.version == again.state.version


def test_an_import_is_brought_up_to_date_and_takes_nothing_else(tracked, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    (away / "jan.csv").write_text("size,price\n1,2\n")
    shutil.rmtree(tracked.source)
    environment = {**os.environ}
    intake.programs.dvc(
        tracked.root,
        *("import-url", "--quiet", str(away), "data"),
        environment=environment,
        tell=lambda _: None,
    )
    first = take(tracked)[0].state
    assert not first.dirty
    (away / "feb.csv").write_text("size,price\n3,4\n")
    second = take(tracked)[0].state
    assert not second.dirty
    assert second.version != first.version
    assert (tracked.source / "feb.csv").exists()
    with pytest.raises(RatchetError, match=r"^data\.dvc is an import, whose files come from "):
        intake.copies(tracked, away / "feb.csv")


def test_another_file_of_that_name_is_not_overwritten(tracked, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "feb.csv").write_text("size,price\n1,2\n")
    (folder / "jan.csv").write_text("size,price\n1,2\n")
    before = (tracked.source / "jan.csv").read_bytes()
    with pytest.raises(RatchetError) as refused:
        take(tracked, folder)
    assert str(refused.value) == (
        f"{tracked.source} has another jan.csv already, which retrain does not overwrite. Rename"
        " the new file; or, where it corrects the old one, write it over that yourself and run"
        " retrain without --data."
    )
    assert [path.name for path in tracked.source.iterdir()] == ["jan.csv"]
    assert (tracked.source / "jan.csv").read_bytes() == before


def test_what_can_not_be_taken_in_is_told(tracked, tmp_path):
    (tmp_path / "empty").mkdir()
    for given, told in (
        ("nowhere.csv", r"^--data .*nowhere\.csv is not there\. Name a file, or a folder of files"),
        ("empty", r"^--data .*empty holds no file\."),
    ):
        with pytest.raises(RatchetError, match=told):
            intake.copies(tracked, tmp_path / given)
    whole = Project.open(tracked.params_file, ["data.source=data/jan.csv"])
    with pytest.raises(RatchetError, match=r"^data\.source is the file jan\.csv, which has all"):
        intake.copies(whole, tracked.source)


def test_half_of_a_file_never_lies_among_the_data(tracked, tmp_path, monkeypatch):
    given = tmp_path / "feb.csv"
    given.write_text("size,price\n1,2\n")

    def cut(source, target):
        target.write_text("size,pr")
        assert [path.name for path in tracked.source.iterdir()] == ["jan.csv"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(intake.shutil, "copyfile", cut)
    with pytest.raises(RatchetError, match="No space left on device"):
        take(tracked, given)
    assert [path.name for path in tracked.source.iterdir()] == ["jan.csv"]
    assert not list((tracked.build / "retrain").iterdir())


def test_data_that_git_has_or_nobody_records_are_left_as_they_are(tracked, git):
    git(tracked.root, "add", "data")
    git(tracked.root, "commit", "--quiet", "--message", "data")
    found, said = take(tracked)
    assert (found.state.dirty, found.pointer, said) == (False, None, [])
    shutil.rmtree(tracked.root / ".dvc")
    (tracked.source / "jan.csv").write_text("size,price\n1,2\n")
    found, said = take(tracked)
    assert (found.state.dirty, found.pointer, said) == (True, None, [])

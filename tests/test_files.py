"""A file or a folder is written whole or not at all."""

import json
import stat

import pytest

from ratchet import errors, files
from ratchet.errors import RatchetError


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.SettingsError, ValueError),
        (errors.DataError, ValueError),
        (errors.StoreError, RuntimeError),
    ],
)
def test_a_mistake_can_be_caught_as_ours_or_as_what_it_resembles(error, builtin):
    assert issubclass(error, RatchetError)
    assert issubclass(error, builtin)


def test_every_error_is_a_ratchet_error():
    every = [each for each in vars(errors).values() if isinstance(each, type)]
    assert len(every) > 4
    assert all(issubclass(each, RatchetError) for each in every)


def test_a_new_folder_appears_with_what_was_written(tmp_path):
    with files.whole_folder(tmp_path / "build" / "train") as folder:
        (folder / "a.txt").write_text("1")
        assert not (tmp_path / "build" / "train").exists()
    assert (tmp_path / "build" / "train" / "a.txt").read_text() == "1"
    assert names(tmp_path) == ["a.txt", "build", "train"]


def test_a_folder_is_replaced_and_not_merged(tmp_path):
    for name in ("old", "new"):
        with files.whole_folder(tmp_path / "train") as folder:
            (folder / name).write_text(name)
    assert names(tmp_path) == ["new", "train"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_inside_leaves_the_old_folder_and_no_litter(tmp_path, error):
    path = tmp_path / "train"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(error), files.whole_folder(path) as folder:
        (folder / "half").write_text("half")
        raise error
    assert names(tmp_path) == ["old", "train"]


def test_an_error_inside_makes_no_folder_where_none_was(tmp_path):
    with pytest.raises(ValueError), files.whole_folder(tmp_path / "train") as folder:
        (folder / "half").write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_a_folder_that_fails_to_move_gives_the_old_one_back(tmp_path):
    path = tmp_path / "train"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(FileNotFoundError), files.whole_folder(path) as folder:
        folder.rmdir()
    assert names(tmp_path) == ["old", "train"]


def test_a_file_in_the_place_of_a_folder_is_replaced(tmp_path):
    (tmp_path / "train").write_text("a file")
    with files.whole_folder(tmp_path / "train") as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["new", "train"]


def test_others_of_the_team_may_read_what_was_written(tmp_path):
    with files.whole_folder(tmp_path / "train") as folder:
        files.write_text(folder / "a.txt", "a")
    assert stat.S_IMODE((tmp_path / "train").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "train" / "a.txt").stat().st_mode) == 0o644


def test_a_folder_that_can_not_be_written_is_told_in_a_sentence(tmp_path):
    (tmp_path / "build").write_text("a file")
    with pytest.raises(RatchetError) as error, files.whole_folder(tmp_path / "build" / "x" / "y"):
        raise AssertionError("the block must not run")
    assert str(error.value) == (
        f"Can't write to {tmp_path / 'build' / 'x'}: Not a directory. Make the folder writable."
    )


def test_text_replaces_text_and_leaves_no_litter(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "old")
    files.write_text(path, "Straße ünd 駅\n")
    assert path.read_bytes() == "Straße ünd 駅\n".encode()
    assert names(tmp_path) == ["a.txt", "deep"]


def test_a_file_that_can_not_be_written_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "folder"
    (path / "inner").mkdir(parents=True)
    with pytest.raises(RatchetError) as error:
        files.write_text(path, "text")
    assert str(error.value) == f"Can't write {path}: Is a directory."
    assert names(tmp_path) == ["folder", "inner"]


def test_text_that_can_not_be_encoded_leaves_the_old_text(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_json_has_a_fixed_order_so_that_equal_values_give_equal_bytes(tmp_path):
    for name, value in {"a": {"x": 1, "y": [True, None]}, "b": {"y": [True, None], "x": 1}}.items():
        files.write_json(tmp_path / name, value)
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text()
    assert text == '{\n  "x": 1,\n  "y": [\n    true,\n    null\n  ]\n}\n'


def test_json_is_read_as_it_was_written(tmp_path):
    value = {"name": "Straße", "scores": [0.1, 1e-300, -5], "none": None}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json", made_by="train") == value
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_a_file_that_is_not_there_names_the_step_that_writes_it(tmp_path):
    with pytest.raises(RatchetError) as error:
        files.read_json(tmp_path / "leader.json", made_by="train")
    assert str(error.value) == (
        f"{tmp_path / 'leader.json'} is not there. Run the step train first."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": ', "Expecting value: line 1 column 7 (char 6)"),
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_broken_file_names_the_step_that_writes_it(tmp_path, content, reason):
    path = tmp_path / "leader.json"
    path.write_bytes(content)
    with pytest.raises(RatchetError) as error:
        files.read_json(path, made_by="train")
    assert str(error.value) == f"{path} is not valid JSON ({reason}). Run the step train again."


def test_a_folder_in_the_place_of_a_file_is_told_in_a_sentence(tmp_path):
    with pytest.raises(RatchetError) as error:
        files.read_json(tmp_path, made_by="train")
    assert str(error.value) == f"Can't read {tmp_path}: Is a directory."

"""A file or a folder is written whole or not at all."""

import fcntl
import json
import os
import resource
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet import errors, files, table
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


# Power failures


class Disk:
    """What would be there after a power failure: only what was flushed, under names that were."""

    def __init__(self, monkeypatch):
        self.flushed, self.moves = {}, []
        fsync = os.fsync

        def flush(handle):
            status = os.fstat(handle)
            self.flushed[status.st_ino] = (status.st_size, status.st_mtime_ns)
            fsync(handle)

        monkeypatch.setattr(os, "fsync", flush)
        for module, name in ((os, "replace"), (os, "rename"), (files, "_exchange")):
            monkeypatch.setattr(module, name, self.watched(getattr(module, name)))

    def watched(self, move):
        def moved(source, target, *rest, **more):
            assert self.has(Path(source)), f"{source} gets its name before it is on the disk"
            self.moves.append(os.fspath(target))
            return move(source, target, *rest, **more)

        return moved

    def has(self, path):
        status = path.stat()
        whole = self.flushed.get(status.st_ino) == (status.st_size, status.st_mtime_ns)
        return whole and (path.is_file() or all(map(self.has, path.iterdir())))


def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    for text in ("one", "another"):
        files.write_text(tmp_path / "a.txt", text)
        assert disk.has(tmp_path / "a.txt")
        assert disk.has(tmp_path)
    assert disk.moves == [str(tmp_path / "a.txt")] * 2


def test_a_folder_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(tmp_path, monkeypatch):
    disk, path = Disk(monkeypatch), tmp_path / "train"
    for text in ("one", "another"):
        with files.whole_folder(path) as folder:
            (folder / "model").mkdir()
            (folder / "model" / "weights").write_text(text)
            pd.DataFrame({"a": [1.0]}).to_parquet(folder / "trials.parquet")
        assert disk.has(path)
        assert (path / "model" / "weights").read_text() == text
    assert disk.moves == [str(path)] * 2


def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch):
    """Else a kill between two steps would leave nothing."""
    path = tmp_path / "train"
    path.mkdir()
    (path / "old").touch()
    seen = []
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("there is nothing at the name"))
    with files.whole_folder(path) as folder:
        (folder / "new").touch()
        seen += [each.name for each in path.iterdir()]
    assert (seen, names(tmp_path)) == (["old"], ["new", "train"])


def test_where_the_disk_can_not_exchange_names_a_folder_is_replaced_in_two(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for name in ("one", "two"):
        with files.whole_folder(tmp_path / "train") as folder:
            (folder / name).touch()
    assert names(tmp_path) == ["train", "two"]


# Killed

LEAVES = """
import os, sys
from pathlib import Path
from ratchet import files

with files.whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    files._claim(Path(sys.argv[1]).with_name("a.txt"), files._new_file)
    print("there", flush=True)
    input()
    os._exit(9)
"""


def test_what_a_killed_process_has_left_is_removed_by_the_next_and_no_other(tmp_path):
    path, other = tmp_path / "train", tmp_path / ".train-settings"
    other.touch()
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        process.stdout.readline()
        for _ in range(2):
            with files.whole_folder(path):
                pass
            files.write_text(tmp_path / "a.txt", "a")
        assert len(list(tmp_path.glob(".*.part"))) == 2, "it is at work"
        process.communicate("\n")
    with files.whole_folder(path):
        pass
    files.write_text(tmp_path / "a.txt", "a")
    assert names(tmp_path) == [".train-settings", "a.txt", "train"]


def test_a_folder_for_the_time_being_goes_at_the_end_and_one_of_a_killed_process_before(tmp_path):
    left = tmp_path / ".pieces-abcdefgh.part"
    (left / "train").mkdir(parents=True)
    with pytest.raises(KeyError), files.passing_folder(tmp_path / "pieces") as folder:
        assert not left.exists()
        (folder / "train").touch()
        raise KeyError
    assert names(tmp_path) == []


def test_where_there_are_no_locks_nothing_is_removed(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(95, "Operation not supported")

    left = tmp_path / ".train-abcdefgh.part"
    left.mkdir()
    monkeypatch.setattr(fcntl, "flock", unknown)
    with files.whole_folder(tmp_path / "train") as folder:
        (folder / "new").touch()
    assert names(tmp_path) == [".train-abcdefgh.part", "new", "train"]


# Full disks


@contextmanager
def no_file_larger(size):
    """Have the system refuse what goes beyond, as a full disk does; nobody has to be root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


MANY = pd.DataFrame({"a": np.random.default_rng(0).normal(size=20_000)})


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_bytes(path, bytes(100_000)),
        lambda path: files.write_bytes(path, files.as_npy(MANY["a"].to_numpy())),
        lambda path: files.write_json(path, MANY["a"].tolist()),
        lambda path: table.write_parquet(MANY, path),
    ],
    ids=["bytes", "array", "json", "parquet"],
)
def test_a_file_that_does_not_fit_is_told_and_the_old_one_stays(tmp_path, write):
    path = tmp_path / "a"
    path.write_text("old")
    with no_file_larger(50_000), pytest.raises(RatchetError) as raised:
        write(path)
    assert str(raised.value) == f"Can't write {path}: File too large."
    assert (path.read_text(), names(tmp_path)) == ("old", ["a"])
    write(path)
    assert path.stat().st_size > 50_000


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: MANY.to_parquet(folder / "a"),
        lambda folder: MANY.to_csv(folder / "a"),
        lambda folder: (folder / "a").write_bytes(files.as_npy(MANY["a"].to_numpy())),
    ],
    ids=["parquet", "csv", "array"],
)
def test_a_library_that_finds_the_disk_full_is_told_in_a_sentence_too(tmp_path, write):
    path = tmp_path / "train"
    path.mkdir()
    (path / "old").touch()
    with (
        no_file_larger(50_000),
        pytest.raises(RatchetError) as raised,
        files.whole_folder(path) as folder,
    ):
        write(folder)
    assert str(raised.value) == (
        f"Can't write to {tmp_path} or to the folder of temporary files: File too large."
        " Make room there, and give the command again."
    )
    assert names(tmp_path) == ["old", "train"]


def test_a_parquet_file_in_which_the_disk_has_turned_a_bit_is_told(tmp_path):
    path = tmp_path / "train.parquet"
    table.write_parquet(MANY, path)
    turned = bytearray(path.read_bytes())
    turned[len(turned) // 2] ^= 1
    path.write_bytes(turned)
    with pytest.raises(RatchetError) as raised:
        table.read_parquet(path, made_by="prepare")
    assert str(raised.value).startswith(f"{path} is not a whole parquet file (")
    assert str(raised.value).endswith("Run the step prepare again.")

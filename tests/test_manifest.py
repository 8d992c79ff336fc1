"""The files of a model by their digests."""

import hashlib

import pytest

from ratchet.errors import RatchetError
from ratchet.manifest import Manifest, same_model


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    (place / "code" / "__pycache__").mkdir(parents=True)
    (place / "MLmodel").write_text("run_id: a\nflavors: {}\n", encoding="utf-8")
    (place / "model.skops").write_bytes(b"numbers")
    (place / "code" / "own.py").write_text("x = 1", encoding="utf-8")
    return place


def test_every_file_counts_by_its_name_and_content(folder):
    found = Manifest.read(folder)
    assert list(found.files) == ["MLmodel", "code/own.py", "model.skops"]
    assert found.files["model.skops"] == hashlib.sha256(b"numbers").hexdigest()
    before = found.digest
    (folder / "model.skops").rename(folder / "other.skops")
    assert Manifest.read(folder).digest != before


def test_what_using_a_model_leaves_behind_does_not_count(folder):
    before = Manifest.read(folder).digest
    (folder / "registered_model_meta").write_text("model_name: taxi", encoding="utf-8")
    (folder / "code" / "__pycache__" / "own.pyc").write_bytes(b"\0")
    assert Manifest.read(folder).digest == before
    (folder / "code" / "registered_model_meta").write_text("no note of MLflow's")
    assert Manifest.read(folder).digest != before


def test_a_manifest_is_read_back_as_it_was(folder):
    found = Manifest.read(folder)
    assert Manifest.parse(dict(found.files)) == found
    assert Manifest.parse(None) is None
    assert Manifest.parse([]) is None


def test_two_logs_of_one_model_are_the_same_model(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "code").mkdir()
    for name in ("model.skops", "code/own.py"):
        (other / name).write_bytes((folder / name).read_bytes())
    (other / "MLmodel").write_text("run_id: b\nflavors: {}\n", encoding="utf-8")
    assert same_model(folder, other) == ()
    (other / "MLmodel").write_text("run_id: b\nflavors: {sklearn: {}}\n", encoding="utf-8")
    assert same_model(folder, other) == ("MLmodel was altered",)
    (folder / "MLmodel").write_text("[", encoding="utf-8")
    (folder / "model.skops").unlink()
    assert same_model(folder, other) == ("MLmodel was altered", "model.skops was removed")


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "model.skops").unlink()
    (folder / "model.skops").symlink_to(folder / "nowhere")
    with pytest.raises(RatchetError, match=r"The model's file .*model\.skops can't be read: No"):
        Manifest.read(folder)

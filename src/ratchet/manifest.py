"""The files of a saved model by their digests, and what differs between two of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ratchet.errors import RatchetError

# MLflow writes this note beside every model that it hands out; nothing reads it to load one.
_NOTE = "registered_model_meta"
_COMPILED = "__pycache__"
_ABOUT = "MLmodel"
# What log_saved_model writes into MLmodel of a model that is logged in another run or store.
_OF_THE_STORE = ("run_id", "model_id", "model_uuid", "artifact_path")


@dataclass(frozen=True)
class Manifest:
    """What a folder holds."""

    files: Mapping[str, str]
    """SHA-256 by the path of each file, relative to the folder, with forward slashes."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Digest every file of a folder, but for what merely using a model leaves there.

        That is MLflow's note on where it came from, and byte code beside the
        copies of code, neither of which this project ever loads.

        Raises
        ------
        RatchetError
            If a file can't be read.
        """
        try:
            return cls({name: _digest(path) for name, path in sorted(_files(folder))})
        except OSError as error:
            raise RatchetError(
                f"The model's file {error.filename} can't be read: {error.strerror or error}."
            ) from error

    @classmethod
    def parse(cls, value: Any) -> "Manifest | None":
        """Read what ``dict(manifest.files)`` was written as; None where it is something else."""
        if not isinstance(value, Mapping) or not value:
            return None
        return cls({str(name): str(digest) for name, digest in sorted(value.items())})

    @property
    def digest(self) -> str:
        """SHA-256 of all names and digests: equal for equal files under equal names."""
        return hashlib.sha256(canonical(dict(self.files))).hexdigest()

    def changes(self, recorded: "Manifest") -> tuple[str, ...]:
        """Say what is not as it was recorded, a clause for each file.

        Examples
        --------
        >>> Manifest({"a": "1", "b": "2"}).changes(Manifest({"b": "3", "c": "4"}))
        ('b was altered', 'c was removed', 'a was added')
        """
        ours, theirs = self.files, recorded.files
        return (
            *(
                f"{name} was altered"
                for name in theirs
                if ours.get(name, theirs[name]) != theirs[name]
            ),
            *(f"{name} was removed" for name in theirs if name not in ours),
            *(f"{name} was added" for name in ours if name not in theirs),
        )


def same_model(folder: Path, other: Path) -> tuple[str, ...]:
    """Say what differs between two copies of a model, but for the run and the store they are of.

    Returns
    -------
    tuple of str
        A clause for each file of ``folder``; empty where both are the same model.

    Raises
    ------
    RatchetError
        If a file can't be read.
    """
    changes = Manifest.read(folder).changes(Manifest.read(other))
    about = f"{_ABOUT} was altered"
    if about in changes and _meaning(folder / _ABOUT) == _meaning(other / _ABOUT):
        return tuple(each for each in changes if each != about)
    return changes


def canonical(value: Any) -> bytes:
    """Write a value as JSON in the one way by which it is digested and signed.

    Examples
    --------
    >>> canonical({"b": 1, "a": [2, 3]})
    b'{"a":[2,3],"b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_dir() or name.as_posix() == _NOTE or _COMPILED in name.parts:
            continue
        yield name.as_posix(), path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _meaning(file: Path) -> Any:
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(told, dict):
        return None
    return {name: value for name, value in told.items() if name not in _OF_THE_STORE}

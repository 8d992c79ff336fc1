"""Reads and writes the file of a trained model: a zip of plain data, and no pickle."""

import json
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.errors import RatchetError
from ratchet.files import finite

MODEL = "model.skops"
"""Name of a model that skops has saved."""

_FACTS = "ratchet.json"
_FORMAT = "ratchet-model-1"
# Files are written with one date, so that the same model gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Saved:
    """What a file of a trained model holds."""

    path: Path
    """The file."""
    facts: Mapping[str, Any]
    """What is known of the model, as JSON has it."""
    files: Mapping[str, bytes]
    """The model's own files, by name."""


def save(path: Any, backend: str, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a model's facts and files to ``path``.

    Raises
    ------
    RatchetError
        If the file can't be written.
    """
    whole = {"format": _FORMAT, "backend": backend, "facts": finite(dict(facts))}
    text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    try:
        with zipfile.ZipFile(Path(path), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(_FACTS, _DATE), text)
            for name, content in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(f"model/{name}", _DATE), content)
    except OSError as error:
        raise RatchetError(f"Can't write {path}: {error.strerror or error}.") from error


def load(path: Any, backend: str) -> Saved:
    """Read what ``save`` wrote.

    Raises
    ------
    RatchetError
        If it isn't there, is no such file, or belongs to another backend.
    """
    place = Path(path)
    try:
        with zipfile.ZipFile(place) as archive:
            whole = json.loads(archive.read(_FACTS))
            files = {
                name.removeprefix("model/"): archive.read(name)
                for name in archive.namelist()
                if name.startswith("model/") and not name.endswith("/")
            }
        known = whole["format"] == _FORMAT
        made_by, facts = whole["backend"], whole["facts"]
    except OSError as error:
        raise RatchetError(f"Can't read {place}: {error.strerror or error}.") from None
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise RatchetError(
            f"{place} is no model that save_model wrote. A pickle is not read: whoever wrote it"
            " would run code here."
        )
    if made_by != backend:
        raise RatchetError(
            f"{place} was saved by the backend {made_by!r}, and this one is {backend!r}."
            f" Use ModelTrainer({{'backend': {made_by!r}}})."
        )
    return Saved(place, facts, files)


def dumps(model: Any) -> bytes:
    """Give a scikit-learn object as skops writes it."""
    import skops.io

    return bytes(skops.io.dumps(model))


def loads(saved: Saved, trusted: Collection[str]) -> Any:
    """Read a scikit-learn object that holds nothing but known and trusted classes.

    Raises
    ------
    RatchetError
        If it isn't there, or holds another class.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    content = saved.files.get(MODEL)
    if content is None:
        raise RatchetError(
            f"{saved.path} was saved by a save_fn. Name the load_fn that goes with it."
        )
    try:
        return skops.io.loads(content, trusted=sorted(trusted))
    except (UntrustedTypesFoundException, TypeError):
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(trusted))
        if not strange:
            raise
        raise RatchetError(
            f"{saved.path} holds classes that nobody has declared: {', '.join(strange)}."
            " Name them in trusted_types if you trust whoever wrote it."
        ) from None

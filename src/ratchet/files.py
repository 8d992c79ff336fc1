"""Write a file or a folder whole or not at all."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ratchet.errors import RatchetError

T = TypeVar("T")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes ``path``'s place when the block ends well.

    The new folder is made beside ``path`` and renamed, so a reader sees the
    old content or the new, never a part. When the block raises, ``path`` is
    left as it was.

    Raises
    ------
    RatchetError
        If the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise RatchetError(
            f"Can't write to {path.parent}: {error.strerror}. Make the folder writable."
        ) from error
    try:
        fresh.chmod(0o755)  # mkdtemp makes it 0o700, which a team's other members can't read
        yield fresh
        _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, like ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` through a temporary name, flushed to the disk.

    Nobody but the owner can read the temporary file; ``mode`` says who may read the other.

    Raises
    ------
    RatchetError
        If the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RatchetError(f"Can't write {path}: {error.strerror}.") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a fixed key order, whole or not at all.

    JSON has no NaN and no infinity, so such a number is written as null.
    """
    text = json.dumps(finite(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def finite(value: Any) -> Any:
    """Put None for every number in ``value`` that JSON doesn't have.

    Examples
    --------
    >>> finite({"rmse": 5.0, "low": float("nan")})
    {'rmse': 5.0, 'low': None}
    """
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path, *, made_by: str) -> Any:
    """Read a JSON file that a step has written.

    Parameters
    ----------
    path : Path
        File to read.
    made_by : str
        Name of the step that writes it, for the message.

    Raises
    ------
    RatchetError
        If it isn't there, can't be read, or isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RatchetError(f"{path} is not there. Run the step {made_by} first.") from None
    except OSError as error:
        raise RatchetError(f"Can't read {path}: {error.strerror}.") from error
    except ValueError as error:  # broken JSON, or bytes that are not UTF-8
        raise RatchetError(
            f"{path} is not valid JSON ({error}). Run the step {made_by} again."
        ) from None


def read_as(path: Path, build: Callable[[Any], T], *, made_by: str) -> T:
    """Read a JSON file that a step has written, and build from it what was saved.

    Parameters
    ----------
    path : Path
        File to read.
    build : callable
        Builds it from the plain values.
    made_by : str
        Name of the step that writes it, for the message.

    Raises
    ------
    RatchetError
        As for ``read_json``, or if another version of this project wrote it.
    """
    value = read_json(path, made_by=made_by)
    try:
        return build(value)
    except RatchetError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError):
        raise RatchetError(
            f"{path} was written by another version of this project. Run the step {made_by} again."
        ) from None


def _swap(fresh: Path, path: Path) -> None:
    """Put ``fresh`` where ``path`` was; a folder can't be renamed over a full one."""
    if not path.exists():
        fresh.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    path.rename(old / path.name)
    try:
        fresh.rename(path)
    except BaseException:
        (old / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)

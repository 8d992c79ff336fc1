"""Write a file or a folder whole or not at all."""

import ctypes
import errno
import fcntl
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ratchet.errors import RatchetError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

# What ends the names of files and folders that are not whole yet.
_ENDING = ".part"

# What the system says of a disk, a quota or a size that is used up, and of a disk that has failed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

# Python's own words where every folder for temporary files is full.
_NO_TEMPORARY = "No usable temporary directory"

# What it says of a file or folder that can't be flushed, such as a folder of a network's.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)

# The system's numbers for "relative to the current folder" and "let the two change places".
_HERE, _EXCHANGE = -100, 2


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes ``path``'s place when the block ends well.

    The new folder is made beside ``path``, flushed to the disk and put there in
    one step, so a reader sees the old content or the new, never a part, also
    after a power failure. When the block raises, ``path`` is left as it was.
    What a killed process has left beside ``path`` is removed.

    Raises
    ------
    RatchetError
        If the folder can't be written, or the disk is full.
    """
    with ExitStack() as held:
        try:
            fresh = held.enter_context(passing_folder(path))
        except OSError as error:
            raise RatchetError(
                f"Can't write to {path.parent}: {error.strerror}. Make the folder writable."
            ) from error
        try:
            fresh.chmod(0o755)  # mkdtemp makes it 0o700, which a team's other members can't read
            yield fresh
            _flush_all(fresh)
            _swap(fresh, path)
            _flush(path.parent)
        except OSError as error:
            if not is_full(error):
                raise
            raise RatchetError(no_room(error, path.parent)) from error


@contextmanager
def passing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` for the length of the block.

    What a killed process has left of one is removed by the next.

    Raises
    ------
    OSError
        If the folder can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, lock = _claim(path, _new_folder)
    try:
        yield fresh
    finally:
        _remove(fresh)
        os.close(lock)


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
        fresh, handle = _claim(path, _new_file)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                fresh.chmod(mode)
                fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _flush(path.parent)
    except OSError as error:
        raise RatchetError(f"Can't write {path}: {reason(error)}.") from error


def is_full(error: OSError) -> bool:
    """Tell whether it is the disk that can't take any more, which is no bug of a program's."""
    return error.errno in _FULL or _NO_TEMPORARY in str(error)


def no_room(error: OSError, *places: Path) -> str:
    """Say what a full disk kept from being written, and what to do.

    Parameters
    ----------
    error : OSError
        What the system said.
    places : Path
        Where it may have been, where the error doesn't say; temporary files may always be.
    """
    where = [error.filename] if error.filename else [*places, "the folder of temporary files"]
    told = " or to ".join(str(place) for place in where)
    return f"Can't write to {told}: {reason(error)}. Make room there, and give the command again."


def reason(error: OSError) -> str:
    """Give the system's own words, without those that a library has put around them.

    Examples
    --------
    >>> reason(OSError(28, "Error writing bytes. Detail: [errno 28] No space left on device"))
    'No space left on device'
    """
    if error.errno in _FULL:
        return os.strerror(error.errno)
    return (error.strerror or str(error)).rstrip(".")


def as_npy(array: "np.ndarray") -> bytes:
    """Give what ``np.load`` reads, of an array that holds no objects.

    NumPy itself says of a full disk how many numbers it took, and not why.
    """
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


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


def _claim(path: Path, make: Callable[[Path], Path]) -> tuple[Path, int]:
    """Make a temporary file or folder beside ``path``; remove those of processes that are gone.

    It is locked as long as the descriptor that is returned is open, at most
    until the process ends: what isn't locked is nobody's any more.
    """
    for left in _left_over(path):
        with suppress(OSError):
            lock = _open(left)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(lock)
    while True:
        fresh = make(path)
        lock = _open(fresh, os.O_RDWR if fresh.is_file() else os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody removes it as left over
            os.close(lock)
            continue
        except OSError:  # a file system without locks, where nobody removes anything
            return fresh, lock
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), fresh.stat()):
                return fresh, lock
        os.close(lock)


def _left_over(path: Path) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(path.name)}-[a-z0-9_]{{8}}{re.escape(_ENDING)}")
    with os.scandir(path.parent) as found:
        return [Path(each.path) for each in found if pattern.fullmatch(each.name)]


def _new_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=_ENDING, dir=path.parent))


def _new_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=_ENDING, dir=path.parent)
    os.close(handle)
    return Path(name)


def _open(path: Path, how: int = os.O_RDONLY) -> int:
    return os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_all(folder: Path) -> None:
    """Have the disk take all of a folder, before a name says that it is there."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _flush(Path(place) / name)
        _flush(Path(place))


def _flush(path: Path) -> None:
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


def _swap(fresh: Path, path: Path) -> None:
    """Put ``fresh`` where ``path`` was; what was there has its name then, if anything was."""
    if not os.path.lexists(path):
        fresh.rename(path)
    elif not _exchange(fresh, path):
        # Here a kill between two steps would leave nothing at ``path``.
        with passing_folder(path) as old:
            path.rename(old / path.name)
            try:
                fresh.rename(path)
            except BaseException:
                (old / path.name).rename(path)
                raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; tell whether the system and the disk can."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):  # Linux
        return bool(library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
    if hasattr(library, "renamex_np"):  # macOS
        return bool(library.renamex_np(*names, _EXCHANGE) == 0)
    return False

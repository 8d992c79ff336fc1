"""One process at a time: who has its turn stands in a file, for as long as it lives."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ratchet.errors import RatchetError


class BusyError(RatchetError):
    """Another process has its turn."""


@dataclass(frozen=True)
class Turn:
    """The right to be the only one."""

    handle: int
    """Descriptor of the file. A program that inherits it has the turn as well, until it ends."""


@contextmanager
def taken(path: Path, what: str) -> Iterator[Turn]:
    """Hold a turn for the length of the block.

    The operating system gives it back when the process ends, however it ends,
    so that none is ever left over. The file itself stays: to remove it would
    let two processes hold two files of one name.

    Parameters
    ----------
    path : Path
        The file; made if it isn't there.
    what : str
        What is being done, for whoever comes second.

    Raises
    ------
    BusyError
        If another process holds it; the message says which, and since when.
    RatchetError
        If the file can't be made.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, taken(Path(folder) / "turn", "work"):
    ...     try:
    ...         with taken(Path(folder) / "turn", "work"):
    ...             pass
    ...     except BusyError as error:
    ...         print(str(error)[:28])
    another work is under way (p
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RatchetError(f"Can't write {path}: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another {what} is under way ({_holder(path)})") from None
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield Turn(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, what: str, *, shared: bool) -> Iterator[None]:
    """Hold a file that is there anyhow for the length of the block, and leave nothing behind.

    Where the file system knows no such locks, nothing is held.

    Parameters
    ----------
    path : Path
        The file, which is only read.
    what : str
        What is being done, for whoever comes second.
    shared : bool
        Hold it together with others who share it.

    Raises
    ------
    BusyError
        If another process holds it.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # of which whoever reads it says more
        yield
        return
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"another {what} is under way{_locker(handle)}") from None
        yield
    finally:
        os.close(handle)


def _locker(handle: int) -> str:
    """Say which process holds an open file, where the system tells."""
    inode = str(os.fstat(handle).st_ino)
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return f" (process {words[4]})"
    return ""


def _holder(path: Path) -> str:
    """Say who holds it; the process itself may be gone, and what it has started live on."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written itself down yet
        return "since a moment ago"

"""Who a process is, so that another can tell whether it still lives."""

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Self

import psutil

TAG = "ratchet.process"
"""Tag of a run that names the process which has it open, or had."""

# The first space of process numbers of a Linux kernel, which is that of no container.
_OUTERMOST = "4026531836"

# States of a process that has ended, and of which only the number is left.
_BURIED = ("Z", "X")

_TEXT = re.compile(r"(\d+) on (\S+), begun (\S*), boot (\S*), space (\S*), machine (\S*)")


class Life(StrEnum):
    """What is known of a process."""

    LIVES = "lives"
    """It goes on."""
    GONE = "gone"
    """It has ended, however that came about."""
    UNKNOWN = "unknown"
    """It belongs to another machine or container, whose processes can't be seen from here."""


@dataclass(frozen=True)
class Process:
    """One process, never mistaken for a later one that has the same number."""

    pid: int
    """Its number."""
    host: str
    """Name of the machine."""
    begun: str
    """When it began, on a clock that nobody can set; empty where the system doesn't tell."""
    boot: str
    """Which start of the system it belongs to; empty where the system doesn't tell."""
    space: str
    """Which space of process numbers: each container has one of its own."""
    machine: str
    """Digest of the machine's own id; empty where it has none."""

    @classmethod
    def here(cls) -> Self:
        """Return the process that asks."""
        pid = os.getpid()
        return cls(pid, _host(), _begun(pid) or "", _boot(), _space(), _machine())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what ``text`` gave; None where it is something else.

        Examples
        --------
        >>> Process.parse(Process.here().text) == Process.here()
        True
        >>> Process.parse("somebody")
        """
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(int(found[1]), *found.groups()[1:])

    @property
    def text(self) -> str:
        """All of it in a line, as a tag of a run keeps it."""
        return (
            f"{self.pid} on {self.host}, begun {self.begun}, boot {self.boot}, space {self.space},"
            f" machine {self.machine}"
        )

    @property
    def life(self) -> Life:
        """Whether it still lives, as far as this process can see."""
        here = Process.here()
        if (self.boot, self.space) == (here.boot, here.space) and (self.boot or self._is_local()):
            return Life.LIVES if _begun(self.pid) in (self.begun, "") else Life.GONE
        # The machine was started again since. Numbers of a container's space say nothing of that.
        if self._is_local() and self.machine and self.space == here.space == _OUTERMOST:
            return Life.GONE
        return Life.UNKNOWN

    def _is_local(self) -> bool:
        return (self.host, self.machine) == (_host(), _machine())


def _begun(pid: int) -> str | None:
    """Say when a process began: None where there is none, empty where that can't be seen."""
    if not psutil.pid_exists(pid):
        return None
    if Path("/proc/self/stat").exists():
        try:
            told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:  # it belongs to another user, or has ended a moment ago
            return ""
        # In ticks since the start of the system: a time of day would move with the clock.
        fields = told.rpartition(")")[2].split()
        return None if fields[0] in _BURIED else fields[19]
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return None if ended else f"{process.create_time():.3f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return ""


@lru_cache
def _boot() -> str:
    return _line("/proc/sys/kernel/random/boot_id")


@lru_cache
def _machine() -> str:
    number = _line("/etc/machine-id")
    # The id itself is nobody's business, says its manual.
    return hashlib.sha256(f"ratchet {number}".encode()).hexdigest()[:16] if number else ""


def _space() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return ""


def _host() -> str:
    return re.sub(r"[^\w.-]", "-", socket.gethostname()) or "-"


def _line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""

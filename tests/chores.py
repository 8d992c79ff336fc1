"""Work for workers: it counts, it waits for a file, it kills the process that does it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Chore:
    """Squares a number, and notes down in a folder which process has done so."""

    folder: Path

    def __call__(self, number: int) -> int:
        return self._do(number)

    def _do(self, number: int) -> int:
        with (self.folder / f"{number}.txt").open("a") as notes:
            notes.write(f"{os.getpid()}\n")
        return number * number


@dataclass(frozen=True)
class Deadly(Chore):
    """Kills its process at one number: as often as it is told, or always."""

    number: int = 3
    times: int = 1

    def __call__(self, number: int) -> int:
        square = self._do(number)
        if number == self.number and len(tries(self.folder, number)) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return square


@dataclass(frozen=True)
class Patient(Chore):
    """Waits for a file named after the number before it answers."""

    def __call__(self, number: int) -> int:
        square = self._do(number)
        while not (self.folder / f"go-{number}").exists():
            time.sleep(0.005)
        return square


@dataclass(frozen=True)
class Unwelcome:
    """Can be sent, and not be received."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


def tries(folder: Path, number: int) -> list[int]:
    """Give the processes that have begun a number."""
    path = folder / f"{number}.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []

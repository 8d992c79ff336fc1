"""What a check is, what it finds, and the project that it looks at."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ratchet.checks.stores import Access, reach
from ratchet.errors import SettingsError
from ratchet.project import Project, tracking_uri

# Names that are written out; the rest of a long list is a number.
_MOST = 3


class State(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check says of one thing."""

    check: str
    """Name of the check."""
    state: State
    """How the thing stands; skipped when it could not be looked at."""
    told: str
    """What is so, in a clause."""
    mend: str = ""
    """The command that mends it, to be run in the project's folder; empty where none can."""


@dataclass(frozen=True)
class Said:
    """A finding before it has the name of its check."""

    state: State
    """How the thing stands."""
    told: str
    """What is so, in a clause."""
    mend: str = ""
    """The command that mends it."""


Check = Callable[["Site"], Iterable[Said]]
"""Looks at one thing; its name is the function's, its meaning the docstring's first sentence."""


class SkipError(Exception):
    """A check can't look at its thing; the message is a clause that says why."""


@dataclass(frozen=True)
class Site:
    """The folder that is looked at, and what in it can be opened."""

    params_file: Path
    """Absolute path of the parameter file, which may not be there."""

    @property
    def root(self) -> Path:
        """Folder of the parameter file, in which the mending commands run."""
        return self.params_file.parent

    @cached_property
    def opened(self) -> Project | SettingsError:
        """The project, or why it can't be opened."""
        try:
            return Project.open(self.params_file)
        except SettingsError as error:
            return error

    @property
    def project(self) -> Project:
        """The project.

        Raises
        ------
        SkipError
            If it can't be opened.
        """
        if isinstance(self.opened, Project):
            return self.opened
        raise SkipError(f"needs {self.params_file.name}, which doesn't load")

    @cached_property
    def top(self) -> Path | None:
        """Top of the git checkout; None outside of one."""
        return above(self.root, ".git")

    @cached_property
    def dvc(self) -> Path | None:
        """Folder that ``dvc init`` was run in; None without one."""
        return above(self.root, ".dvc/config")

    @cached_property
    def access(self) -> Access:
        """The way into MLflow's store, or why there is none.

        Raises
        ------
        SkipError
            If the project can't be opened.
        """
        return reach(tracking_uri(self.project))

    @property
    def client(self) -> Any:
        """MLflow's client on a store that is there and answers.

        Raises
        ------
        SkipError
            If it can't be asked.
        """
        if self.access.client is None:
            raise SkipError(self.access.absent)
        return self.access.client


def ok(told: str) -> Said:
    """Say that a thing is as it should be."""
    return Said(State.OK, told)


def warning(told: str, mend: str = "") -> Said:
    """Say that a thing may spoil a run or what is recorded of it."""
    return Said(State.WARNING, told, mend)


def error(told: str, mend: str = "") -> Said:
    """Say that a thing stops a step, or keeps a leader from being promoted."""
    return Said(State.ERROR, told, mend)


def trouble(told: str, mend: str, *, stops: bool) -> Said:
    """Say that a thing is wrong: an error where the settings make it stop a step."""
    return (error if stops else warning)(told, mend)


def examine(site: Site, check: Check) -> Iterator[Finding]:
    """Run one check; whatever it raises becomes a finding of its own."""
    name = check.__name__
    try:
        for said in check(site):
            yield Finding(name, said.state, said.told, said.mend)
    except SkipError as reason:
        yield Finding(name, State.SKIPPED, str(reason))
    except Exception as fault:  # the others must go on, and the fault must be seen
        told = f"the check itself failed: {type(fault).__name__}: {' '.join(str(fault).split())}"
        yield Finding(name, State.ERROR, told[:300])


def above(path: Path, name: str) -> Path | None:
    """Give the nearest folder, ``path`` included, that holds ``name``."""
    return next((folder for folder in (path, *path.parents) if (folder / name).exists()), None)


def some(names: Iterable[str]) -> str:
    """List a few names.

    Examples
    --------
    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = list(names)
    shown = ", ".join(listed[:_MOST])
    return f"{shown} and {len(listed) - _MOST} more" if len(listed) > _MOST else shown


def count(n: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> count(1, "file"), count(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def quoted(*words: object) -> str:
    """Write words as a shell reads them."""
    return shlex.join(str(word) for word in words)


def program(name: str) -> str | None:
    """Find a program on the path, or beside the interpreter that runs."""
    beside = Path(sys.executable).parent
    return shutil.which(name) or shutil.which(name, path=str(beside))


def installing(root: Path) -> str:
    """Give the command that makes a project's own environment."""
    makefile = root / "Makefile"
    if makefile.is_file() and "\ninstall:" in makefile.read_text(encoding="utf-8"):
        return "make install"
    if (root / "uv.lock").is_file():
        return "uv sync --frozen"
    return quoted(sys.executable, "-m", "pip", "install", "ratchet")


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping; whatever else there is counts as an empty one."""
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}

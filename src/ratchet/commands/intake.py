"""Takes new data into DVC: copies what is given, updates an import, adds what has changed."""

import errno
import filecmp
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

from ratchet import lineage, scratch
from ratchet.commands import programs
from ratchet.errors import RatchetError
from ratchet.lineage import DataState, Pointer
from ratchet.project import Project


@dataclass(frozen=True)
class Intake:
    """What the data are once all that is new is in."""

    state: DataState
    """Their version, and whether DVC has recorded it."""
    taken: tuple[str, ...]
    """Files that were copied in, by their names."""
    pointer: Path | None
    """The ``.dvc`` file that holds the version; None where DVC doesn't track the data."""


def copies(project: Project, given: Path) -> tuple[tuple[Path, Path], ...]:
    """Say which files would be copied where, and refuse to overwrite one.

    Parameters
    ----------
    project : Project
        Whose data they are to be.
    given : Path
        A file, or a folder of files, without the folders in it.

    Returns
    -------
    tuple of (Path, Path)
        From where and to where; nothing for a file that is there as it is.

    Raises
    ------
    RatchetError
        If there is nothing to copy, no folder to copy to, an import there, or
        another file of the same name.
    """
    project.require_own("data.source", project.source)
    source, given = project.source, given.expanduser()
    if not given.exists():
        raise RatchetError(f"--data {given} is not there. Name a file, or a folder of files.")
    if source.is_file():
        raise RatchetError(
            f"data.source is the file {source.name}, which has all rows, so no file can be added."
            " Write the new table over it and run retrain without --data, or make data.source a"
            " folder."
        )
    pointer = lineage.tracked_version(source)
    if pointer is not None and _is_import(pointer):
        raise RatchetError(
            f"{pointer.file.name} is an import, whose files come from where it was imported."
            " Run retrain without --data, which brings it up to date."
        )
    inside = [given] if given.is_file() else sorted(p for p in given.iterdir() if p.is_file())
    found = [path for path in inside if not path.name.startswith(".") and path.suffix != ".dvc"]
    if not found:
        raise RatchetError(f"--data {given} holds no file.")
    pairs = [(path, source / path.name) for path in found]
    taken = [target.name for path, target in pairs if target.exists() and not _same(path, target)]
    if taken:
        raise RatchetError(
            f"{source} has another {', '.join(taken)} already, which retrain does not overwrite."
            " Rename the new file; or, where it corrects the old one, write it over that yourself"
            " and run retrain without --data."
        )
    return tuple((path, target) for path, target in pairs if not target.exists())


def take(
    project: Project,
    given: Path | None,
    tell: Callable[[str], None],
    held: Collection[int] = (),
) -> Intake:
    """Take in all that is new, and say which data there are then.

    Each file comes whole or not at all, and doing it twice changes nothing.

    Parameters
    ----------
    project : Project
        Whose data they are.
    given : Path or None
        A file or a folder of files to copy into ``data.source``.
    tell : callable
        Is told each line that DVC prints.
    held : collection of int
        Open files that DVC inherits.

    Raises
    ------
    RatchetError
        If a file can't be copied, or DVC fails.
    DataError
        If there are no data.
    """
    project.require_own("data.source", project.source)
    environment = scratch.beside(os.environ)

    def dvc(pointer: Path, *arguments: str) -> None:
        programs.dvc(pointer.parent, *arguments, environment=environment, tell=tell, held=held)

    pointer = lineage.tracked_version(project.source)
    own = pointer is not None and pointer.file.suffix == ".dvc"
    if pointer is not None and own and _is_import(pointer):
        dvc(pointer.file, "update", pointer.file.name)
    elif pointer is not None and own and not pointer.tracked.exists():
        dvc(pointer.file, "pull", pointer.file.name)
    pairs = copies(project, given) if given is not None else ()
    for path, target in pairs:
        _copy(path, target, project.build / "retrain")
    state = lineage.data_state(project.source, cache=project.build / "hashes.json")
    if state.dirty and _is_ours(project, pointer):
        tracked = project.source if pointer is None else pointer.tracked
        dvc(tracked, "add", tracked.name)
        state = lineage.data_state(project.source, cache=project.build / "hashes.json")
        pointer = lineage.tracked_version(project.source)
        own = True
    return Intake(
        state,
        tuple(target.name for _, target in pairs),
        pointer.file if pointer is not None and own else None,
    )


def _is_ours(project: Project, pointer: Pointer | None) -> bool:
    """Tell whether DVC is there to record the data, and no stage makes them."""
    if pointer is not None:
        return pointer.file.suffix == ".dvc"
    return lineage.dvc_root(project.source.parent) is not None


def _is_import(pointer: Pointer) -> bool:
    """Tell whether ``dvc import`` or ``dvc import-url`` has made a pointer."""
    try:
        value = yaml.safe_load(pointer.file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(value, dict) and bool(value.get("deps"))


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def _copy(path: Path, target: Path, staging: Path) -> None:
    """Copy a file by way of a folder that DVC doesn't look at: half of one would be data."""
    part = staging / f"{target.name}.part"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, part)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno == errno.EXDEV:
            raise RatchetError(
                f"{target.parent} lies on another disk than {staging}. Copy {path} there yourself,"
                " and run retrain without --data."
            ) from error
        raise RatchetError(f"Can't copy {path} to {target}: {error.strerror}.") from error

"""Runs DVC and git as a person would at the prompt."""

import getpass
import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ratchet import lineage, scratch
from ratchet.errors import RatchetError


def dvc(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    held: Collection[int] = (),
) -> None:
    """Run DVC to its end.

    Parameters
    ----------
    folder : Path
        Where to start it.
    *arguments : str
        Such as ``"add", "data"``.
    environment : mapping of str to str
        Its variables.
    tell : callable
        Is told each line that it prints, as it comes.
    held : collection of int
        Open files that it inherits by their descriptors.

    Raises
    ------
    RatchetError
        If it fails; the message has its last words.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    try:
        scratch.run(command, folder, {**environment, "DVC_NO_ANALYTICS": "true"}, tell, held=held)
    except scratch.StepError as error:
        raise RatchetError(f"`dvc {' '.join(arguments)}` failed: {error}.") from None


def commit(folder: Path, message: str, paths: Collection[Path] | None = None) -> str | None:
    """Commit files to git, without hooks and signatures, which might ask a person.

    Parameters
    ----------
    folder : Path
        A folder of the checkout.
    message : str
        What the commit says.
    paths : collection of Path, optional
        What to commit: what else is staged stays staged. None takes all.

    Returns
    -------
    str or None
        The commit; None where nothing of it has changed.

    Raises
    ------
    RatchetError
        If git refuses.
    """
    named = ["--all"] if paths is None else ["--", *map(str, paths)]
    lineage.git(folder, "add", *named)
    if paths is not None and not lineage.git(folder, "diff", "--cached", "--name-only", *named):
        return None
    known = lineage.ask_git(folder, "config", "user.email") or os.environ.get("GIT_AUTHOR_EMAIL")
    who = () if known else ("-c", f"user.name={_user()}", "-c", f"user.email={_user()}@localhost")
    quiet = ("-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgsign=false")
    only = [] if paths is None else ["--only", *named]
    lineage.git(folder, *who, *quiet, "commit", "--quiet", "--message", message, *only)
    return lineage.ask_git(folder, "rev-parse", "HEAD")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return "ratchet"

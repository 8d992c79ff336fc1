"""Makes a project of a table: looks at it, writes the files, records the data."""

import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet import files, lineage, packaged, scratch, settings
from ratchet.commands import draft, programs, scaffold
from ratchet.commands.draft import SCHEMA_FILE, Draft
from ratchet.errors import RatchetError
from ratchet.interrupts import terminated_as_interrupt
from ratchet.problem import ProblemType
from ratchet.survey import Choice, Survey, look

logger = logging.getLogger(__name__)

DATA = "data"
"""Folder that data are copied to."""

# What a new project has at its top, besides the data.
_TOP = (
    *("MLproject", "Makefile", "README.md", "conda.yaml", "dvc.yaml", ".dvcignore", ".gitignore"),
    *("src", "tests", SCHEMA_FILE, "params.yaml"),
)
# What an earlier project leaves, that would speak of another one.
_STALE = ("dvc.lock", "local.mk")

_DVC_CONFIG = "[core]\n    analytics = false\n    autostage = false\n"
_MESSAGE = "First version, made by ratchet init"


@dataclass(frozen=True)
class Plan:
    """What a new project will be."""

    folder: Path
    """Where it will be, absolute."""
    title: str
    """Which table it is about, in a line."""
    survey: Survey
    """What was found in the table."""
    draft: Draft
    """Its parameter file."""
    tracked: str
    """What DVC will track: name of a file or folder in the project."""
    copied: bool
    """Whether the data will be copied there; else they are there."""
    repository: Path | None
    """Top of the git repository that the folder is in already; None where there is none."""
    git: bool
    """Whether git shall know the project."""


@dataclass(frozen=True)
class Made:
    """What was made."""

    folder: Path
    """The project."""
    backup: Path | None
    """Where that lies which was replaced."""
    commit: str | None
    """The first commit; None where git was there already, or isn't wanted."""
    seconds: float
    """Time that it took."""


def plan(
    folder: Path,
    source: Path,
    target: str | None,
    *,
    name: str | None = None,
    problem: str | None = None,
    budget: float | None = None,
    git: bool = True,
    force: bool = False,
) -> Plan:
    """Look at a table, and decide what its project says; nothing is written.

    Parameters
    ----------
    folder : Path
        Where the project will be.
    source : Path
        File or folder of parquet or CSV files.
    target : str or None
        Column to predict, or an expression.
    name : str or None
        Of the task; None takes the folder's.
    problem : str or None
        What the target poses; None decides from its values.
    budget : float or None
        Seconds of a search; None takes the usual ones.
    git : bool
        Whether git shall know the project.
    force : bool
        Whether what is there already may be replaced.

    Raises
    ------
    RatchetError
        If the table can't be used, or something is in the way.
    """
    folder, source = folder.expanduser().resolve(), source.expanduser()
    if not source.exists():
        raise RatchetError(f"--data {source} is not there. Name a file, or a folder of files.")
    source = source.resolve()
    if folder.is_relative_to(source):
        raise RatchetError(
            f"The project {folder} would lie in its own data, {source}. Name another folder, such"
            f" as `ratchet init {source.name or 'project'}-model --data …`."
        )
    if folder.exists() and not folder.is_dir():
        raise RatchetError(f"{folder} is a file. Name a folder for the project.")
    tracked, setting, copied = _place_of(folder, source)
    _refuse_full(folder, tracked, copied, force)
    repository = _repository(folder) if git else None
    kind = _problem(problem)
    logger.info("init: looking at %s", source.name)
    survey = look(source, target, kind)
    title = _title(source, survey)
    choices = [
        Choice("name", name or _name(folder), ""),
        Choice("data.source", setting, ""),
        Choice("train.plugins", [scaffold.OWN], f"src/{scaffold.OWN}.py is for your own."),
        Choice(
            "train.search.warm_start",
            "champion",
            "A retraining begins with what the champion is made of, where there is one.",
        ),
    ]
    if budget is not None:
        choices.append(Choice("train.search.budget_seconds", budget, ""))
    if not git:
        because = "Without git the code is in no commit, so that no champion could be made again."
        choices.append(Choice("promote.dirty_tree", "allow", because))
    return Plan(
        folder=folder,
        title=title,
        survey=survey,
        draft=draft.write(survey, title, choices),
        tracked=tracked,
        copied=copied,
        repository=repository,
        git=git,
    )


def make(what: Plan) -> Made:
    """Make the project: all of it, or nothing.

    It is built in a folder of its own and moved when it is whole. What is in
    its place is kept in a folder for that.

    Raises
    ------
    RatchetError
        If a file can't be written, or git or DVC refuse.
    """
    started = time.monotonic()
    with terminated_as_interrupt(), _staging(what.folder) as staging:
        _build(what, staging)
        backup = _move(what, staging)
    commit = None
    if what.git and what.repository is not None:
        # The data are DVC's, which has git ignore them.
        own = [name for name in _names(what) if name != what.tracked]
        names = [name for name in own if (what.folder / name).exists()]
        lineage.git(what.folder, "add", "--", *names)
    elif what.git:
        commit = lineage.ask_git(what.folder, "rev-parse", "HEAD")
    seconds = time.monotonic() - started
    logger.info("init: made %s in %.1f s", what.folder, seconds)
    return Made(what.folder, backup, commit, seconds)


def _place_of(folder: Path, source: Path) -> tuple[str, str, bool]:
    """Say what DVC tracks, what ``data.source`` says, and whether data have to be copied."""
    if source.parent == folder and source.is_dir():
        if source.name in (*_TOP, packaged.WHEELS, "build"):
            raise RatchetError(
                f"{source} can't hold the data, since a project has its own {source.name}."
                " Call the folder otherwise."
            )
        # make, DVC and .gitignore read it, each with signs of its own that mean something.
        if not re.fullmatch(r"[\w.][\w.-]*", source.name):
            raise RatchetError(
                f"The folder {source.name!r} would be named in the Makefile and in dvc.yaml."
                " Call it by letters, digits, '.', '_' and '-'."
            )
        return source.name, source.name, False
    if source.parent == folder / DATA and source.is_file():
        return DATA, f"{DATA}/{source.name}", False
    return DATA, DATA, True


def _refuse_full(folder: Path, tracked: str, copied: bool, force: bool) -> None:
    wheels = [packaged.WHEELS] if packaged.origin().needs_wheel else []
    names = [*_TOP, "dvc.lock", f"{tracked}.dvc", *([tracked] if copied else []), *wheels]
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise RatchetError(
            f"{folder} has already: {', '.join(there)}. Name another folder, or replace them with"
            " --force, which keeps them in a folder backup-…"
        )


def _repository(folder: Path) -> Path | None:
    """Find the git repository that a folder is in, or will be; refuse one that ignores it."""
    if shutil.which("git") is None:
        raise RatchetError(
            "git is not installed, which keeps the versions of the code. Install it, or leave it"
            " out with --no-git."
        )
    above = next(each for each in (folder, *folder.parents) if each.is_dir())
    top = next((each for each in (above, *above.parents) if (each / ".git").exists()), None)
    if top is not None and lineage.ask_git(above, "check-ignore", "--", str(folder)):
        raise RatchetError(
            f"The git repository {top} ignores {folder}. Name another folder, or leave git out with"
            " --no-git."
        )
    return top


def _problem(text: str | None) -> ProblemType | None:
    if text is None:
        return None
    try:
        return ProblemType(text)
    except ValueError:
        allowed = ", ".join(each.value for each in ProblemType)
        raise RatchetError(f"--problem must be one of {allowed}, got {text!r}.") from None


def _name(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip("-._")
    return name[:100] or "model"


def _title(source: Path, survey: Survey) -> str:
    n = len(survey.files)
    what = source.name if n == 1 else f"{source.name}, {n} files"
    return f"{what}: {survey.n_rows:,} rows of {survey.n_columns:,} columns"


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk, which is removed with what is left in it."""
    beside = folder if folder.is_dir() else folder.parent
    try:
        beside.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=beside))
    except OSError as error:
        raise RatchetError(f"Can't write to {beside}: {error.strerror}.") from error
    try:
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _build(what: Plan, staging: Path) -> None:
    """Build the whole project in a folder of its own."""
    if what.git:
        # Also inside of another repository: neither git nor DVC may touch that one's index.
        lineage.git(staging, "init", "--quiet", "--initial-branch=main")
    if not (what.folder / ".dvc").is_dir():
        _dvc(staging, "init", "--quiet", *(() if what.git else ("--no-scm",)))
        config = _DVC_CONFIG if what.git else f"{_DVC_CONFIG}    no_scm = true\n"
        files.write_text(staging / ".dvc" / "config", config)
    name = what.draft.settings.name
    scaffold.write(staging, name=name, what=what.title, data=what.tracked)
    files.write_text(staging / "params.yaml", what.draft.text)
    settings.load(staging / "params.yaml")
    files.write_text(staging / "local.mk", f"PYTHON ?= {sys.executable}\n")
    _copy_data(what, staging)
    if (staging / ".dvc").is_dir():
        _dvc(staging, "add", "--quiet", what.tracked)
    if what.git and what.repository is None:
        # A champion needs one, and nobody else's history is concerned.
        programs.commit(staging, _MESSAGE)


def _copy_data(what: Plan, staging: Path) -> None:
    """Copy the data; those that lie in the project, too, so that DVC can record them beside it."""
    place = staging / what.tracked
    place.mkdir()
    sources: Sequence[Path] = what.survey.files
    if not what.copied:
        folder = what.folder / what.tracked
        sources = sorted(path for path in folder.rglob("*") if path.is_file())
    needed = sum(path.stat().st_size for path in sources)
    free = shutil.disk_usage(staging).free
    if 2 * needed > free:
        raise RatchetError(
            f"The data have {needed / 1e9:.1f} GB, and {staging.parent} has room for"
            f" {free / 1e9:.1f} GB: a copy in the project and one in DVC's cache do not fit."
        )
    for path in sources:
        inside = path.name if what.copied else path.relative_to(what.folder / what.tracked)
        (place / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place / inside)
        (place / inside).chmod(0o644)


def _dvc(folder: Path, *arguments: str) -> None:
    programs.dvc(folder, *arguments, environment=scratch.inherited(), tell=logger.debug)


def _names(what: Plan) -> list[str]:
    """Name what the project has at its top; params.yaml last, as it makes a folder a project."""
    own = [f"{what.tracked}.dvc", *([what.tracked] if what.copied else []), packaged.WHEELS]
    return [".dvc", *own, *_TOP]


def _move(what: Plan, staging: Path) -> Path | None:
    """Move the project to its place; give where that is which was there."""
    names = [".git", *_names(what), "local.mk"]
    if what.repository is not None:
        shutil.rmtree(staging / ".git", ignore_errors=True)
    backup = what.folder / f"backup-{time.strftime('%Y%m%d-%H%M%S')}"
    replaced: list[str] = []
    moved: list[str] = []
    fresh = not what.folder.exists()
    try:
        what.folder.mkdir(exist_ok=True)
        for name in [*_STALE, *names]:
            target = what.folder / name
            if target.exists() and (name in _STALE or (staging / name).exists()):
                backup.mkdir(exist_ok=True)
                target.rename(backup / name)
                replaced.append(name)
        for name in names:
            if (staging / name).exists():
                (staging / name).rename(what.folder / name)
                moved.append(name)
        if ".dvc" not in moved:
            _dvc(what.folder, "add", "--quiet", what.tracked)
    except BaseException as error:
        for name in reversed(moved):
            (what.folder / name).rename(staging / name)
        for name in reversed(replaced):
            (backup / name).rename(what.folder / name)
        if backup.is_dir():
            backup.rmdir()
        if fresh and what.folder.is_dir():
            what.folder.rmdir()
        if isinstance(error, OSError):
            raise RatchetError(f"Can't write to {what.folder}: {error.strerror}.") from error
        raise
    return backup if replaced else None

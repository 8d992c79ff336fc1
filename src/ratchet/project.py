"""Where a project's files are: one params.yaml, its data, and what the steps build."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ratchet import settings as settings_module
from ratchet import turns
from ratchet.errors import DataError, RatchetError, SettingsError
from ratchet.lineage import cache_folder, dvc_root, main_checkout
from ratchet.masking import masked
from ratchet.settings import Settings
from ratchet.turns import BusyError

P = ParamSpec("P")
T = TypeVar("T")

# Parameter files whose folder is held: a step within a pipeline has the pipeline's turn.
_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())

__all__ = ["Project", "masked", "tracking_uri"]


@dataclass(frozen=True)
class Project:
    """A parameter file, what it says, and the folders that belong to it."""

    params_file: Path
    """Absolute path of the parameter file."""
    settings: Settings
    """What it says, with the overrides applied."""
    overrides: tuple[str, ...] = ()
    """Assignments from the command line, as they were given."""

    @classmethod
    def open(cls, params_file: Path, overrides: Sequence[str] = ()) -> "Project":
        """Read a parameter file.

        Raises
        ------
        SettingsError
            If the file or an override says something that is not allowed.
        """
        path = params_file.absolute()
        # `mlflow run` hands an empty one over when there is none.
        given = tuple(text for text in overrides if text.strip())
        return cls(path, settings_module.load(path, given), given)

    @property
    def root(self) -> Path:
        """Folder of the parameter file; the paths in it are relative to this."""
        return self.params_file.parent

    @property
    def home(self) -> Path:
        """Folder in which the embedded MLflow store lies.

        The top of the git checkout, so that every parameter file in it shares
        one store. In the workspace that ``dvc exp run --temp`` deletes when it
        is done, it is the checkout that the experiment was started from.
        """
        lasting = main_checkout(self.root)
        return next(
            (folder for folder in (lasting, *lasting.parents) if (folder / ".git").exists()),
            lasting,
        )

    @property
    def source(self) -> Path:
        """File or folder of the table."""
        return self.root / self.settings.data.source

    @property
    def top(self) -> Path:
        """Folder that no path of the parameter file leads out of.

        The git checkout around it, else the DVC project, else its own folder.
        """
        above = (self.root, *self.root.parents)
        checkout = next((folder for folder in above if (folder / ".git").exists()), None)
        return checkout or dvc_root(self.root) or self.root

    def require_own(self, setting: str, path: Path) -> None:
        """Make sure that a path of the parameter file, and links in it, stay in the project.

        What is named on the command line, by ``--set``, may lie anywhere. So may
        what links lead to in DVC's cache, where DVC itself puts links.

        Parameters
        ----------
        setting : str
            Which setting names it, such as ``data.source``.
        path : Path
            The file or folder, which need not be there.

        Raises
        ------
        SettingsError
            If it lies outside.
        DataError
            If a link in it leads outside.
        """
        if setting in settings_module.parse_overrides(self.overrides):
            return
        top = self.top
        if not Path(os.path.abspath(path)).is_relative_to(top):  # noqa: PTH100 - links come next
            raise SettingsError(
                f"{setting} leads out of the project, to {path}. Put the data into {top}, as `dvc"
                f" import-url` does, or name the place on the command line:"
                f" --set {setting}={path}."
            )
        root = dvc_root(path)
        allowed = [
            Path(os.path.realpath(each)) for each in (top, *([cache_folder(root)] if root else []))
        ]
        for link in _links(path):
            target = Path(os.path.realpath(link))  # Path.resolve raises where links go round
            if not any(target.is_relative_to(folder) for folder in allowed):
                raise DataError(
                    f"{link} is a link that leads out of the project, to {target}. Copy what it"
                    f" leads to into {top}, or name its place on the command line:"
                    f" --set {setting}=…"
                )

    @property
    def build(self) -> Path:
        """Folder of all that the steps write.

        ``build`` beside a ``params.yaml``; a parameter file of another name
        has a folder of that name in there, so that two never mix.
        """
        folder = self.root / "build"
        return folder if self.params_file.name == "params.yaml" else folder / self.params_file.name

    @property
    def prepared(self) -> Path:
        """Folder that prepare writes."""
        return self.build / "prepared"

    @property
    def trained(self) -> Path:
        """Folder that train writes."""
        return self.build / "train"

    @property
    def evaluated(self) -> Path:
        """Folder that evaluate writes."""
        return self.build / "evaluate"

    @property
    def promoted(self) -> Path:
        """Folder that promote writes."""
        return self.build / "promote"

    @property
    def monitored(self) -> Path:
        """Folder that monitor writes."""
        return self.build / "monitor"


def alone(
    step: Callable[Concatenate[Project, P], T],
) -> Callable[Concatenate[Project, P], T]:
    """Give a step the build folder of its project to itself: two would mix what they make.

    The step raises a ``RatchetError`` where another one is under way there.
    """
    return _with_turn(step, shared=False)


def undisturbed(
    step: Callable[Concatenate[Project, P], T],
) -> Callable[Concatenate[Project, P], T]:
    """Keep what a step reads in the build folder from being replaced while it reads.

    It shares the folder with others of this kind, and with none that is ``alone``.
    """
    return _with_turn(step, shared=True)


def _with_turn(
    step: Callable[Concatenate[Project, P], T], *, shared: bool
) -> Callable[Concatenate[Project, P], T]:
    @wraps(step)
    def run(project: Project, /, *args: P.args, **kwargs: P.kwargs) -> T:
        path = project.params_file
        if path in _HELD.get():
            return step(project, *args, **kwargs)
        with ExitStack() as turn:
            try:
                turn.enter_context(turns.locked(path, "step", shared=shared))
            except BusyError as error:
                raise RatchetError(
                    f"In {project.build}, {error}. Wait until it has ended, or copy the parameter"
                    " file: one of another name has a folder of its own."
                ) from None
            held = _HELD.set(_HELD.get() | {path})
            try:
                return step(project, *args, **kwargs)
            finally:
                _HELD.reset(held)

    return run


def _links(path: Path) -> Iterator[Path]:
    """Yield a path that is a link, or by way of one, and the links in the folder that it is."""
    if os.path.realpath(path) != os.path.abspath(path):  # noqa: PTH100 - links stay
        yield path
    for here, folders, names in os.walk(path):
        yield from (
            each for each in (Path(here, name) for name in (*folders, *names)) if each.is_symlink()
        )


def tracking_uri(project: Project) -> str:
    """Where the runs go: params.yaml, else the environment, else ``mlflow.db``.

    A relative SQLite path is anchored to the project's home, so that every
    step finds the same store wherever it was started.
    """
    uri = project.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    uri = uri or "sqlite:///mlflow.db"
    relative = uri.removeprefix("sqlite:///")
    if relative != uri and not relative.startswith("/") and relative != ":memory:":
        return f"sqlite:///{project.home / relative}"
    return uri

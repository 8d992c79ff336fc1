"""A place apart in which recorded code runs again: its commit, its data, its environment."""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil
import yaml

from ratchet import datastore, lineage, packaged
from ratchet.errors import DataError, RatchetError

# What a program may print into an error message.
_TOLD_LINES = 3
# Seconds in which a program that is asked to end may mark its run and remove its own files.
_GRACE = 10

# Whatever of the caller's reached a step, it could write into the caller's store or repository.
_NOT_INHERITED = (
    "MLFLOW_",
    "GIT_",
    "DVC_",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "UV_PROJECT",
)

_LISTING = (
    "import importlib.metadata as m, platform\n"
    "print(platform.python_version())\n"
    "for d in m.distributions():\n"
    "    if d.name: print(d.name.lower().replace('_', '-') + '==' + d.version)\n"
)


@dataclass(frozen=True)
class Interpreter:
    """A Python and what is installed for it."""

    python: Path
    """The program."""
    version: str
    """Its version, such as ``3.11.9``."""
    pins: tuple[str, ...]
    """Every installed distribution, such as ``numpy==2.4.6``, sorted."""

    @classmethod
    def present(cls) -> "Interpreter":
        """Give the one that runs this."""
        return cls(Path(sys.executable), platform.python_version(), lineage.environment())


class StepError(RatchetError):
    """A program that ran in the scratch folder did not end well."""


@contextmanager
def folder(keep: Path | None, checkout: Path) -> Iterator[Path]:
    """Give an empty folder, which is removed when the block ends.

    Parameters
    ----------
    keep : Path or None
        Where it shall be, and stay; None makes one for temporary files.
    checkout : Path
        The user's checkout, of which it may be no part.

    Raises
    ------
    RatchetError
        If it would lie in the checkout, has files in it, or can't be made.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(
            prefix="ratchet-reproduce-", ignore_cleanup_errors=True
        ) as made:
            yield Path(made).resolve()
        return
    keep = keep.resolve()
    if keep.is_relative_to(checkout.resolve()):
        raise RatchetError(
            f"--keep {keep} lies in the checkout {checkout}, which must stay as it is."
            " Name a folder outside of it."
        )
    try:
        keep.mkdir(parents=True, exist_ok=True)
        full = any(keep.iterdir())
    except OSError as error:
        raise RatchetError(f"--keep {keep} can't be made: {error.strerror}.") from error
    if full:
        raise RatchetError(f"--keep {keep} has files in it. Name a new folder, or an empty one.")
    yield keep


def check_out(root: Path, commit: str, into: Path) -> None:
    """Make the tree of a commit in a repository of its own, which borrows the objects of ``root``.

    Nothing is written to the repository of ``root``: no worktree, no reference
    and no lock. A commit that no branch holds is found as long as git has it.

    Raises
    ------
    RatchetError
        If that can't be had; the message is a clause that says why.
    """
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise RatchetError(f"{commit!r} is not the name of a commit")
    objects = root / lineage.git(root, "rev-parse", "--git-path", "objects").rstrip("\n")
    form = lineage.git(root, "rev-parse", "--show-object-format").strip()
    shallow = root / lineage.git(root, "rev-parse", "--git-path", "shallow").rstrip("\n")
    try:
        lineage.git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except RatchetError:
        raise RatchetError(_why_no_commit(root, commit, shallow.exists())) from None
    into.mkdir(parents=True)
    lineage.git(into, "init", "--quiet", "--template=", f"--object-format={form}")
    own = into / ".git"
    (own / "objects" / "info").mkdir(parents=True, exist_ok=True)
    alternate = str(objects.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    (own / "objects" / "info" / "alternates").write_text(f'"{alternate}"\n', encoding="utf-8")
    if shallow.exists():
        shutil.copy(shallow, own / "shallow")
    quiet = ("-c", f"core.hooksPath={os.devnull}", "-c", "advice.detachedHead=false")
    lineage.git(into, *quiet, "checkout", "--quiet", "--detach", commit)


def _why_no_commit(root: Path, commit: str, shallow: bool) -> str:
    if shallow:
        return (
            f"{root} is a shallow clone without the commit {commit[:12]};"
            " `git fetch --unshallow` brings all commits"
        )
    return (
        f"the repository {root} has no commit {commit[:12]}: it was never here, or git has"
        f" removed it as no branch held it; `git fetch origin {commit}` brings it if a remote"
        " still has it"
    )


def lacking(patch: Path) -> str:
    """Say in a clause what a recorded patch leaves out of the tree; nothing when it is whole."""
    notes, changes = _parts(patch)
    last = changes.rstrip("\n").rpartition("\n")[2]
    notes = [*notes, *([last] if last.startswith("# ") else [])]
    return "; ".join(note[2:].rstrip(".") for note in notes)


def patch_digest(patch: Path) -> str:
    """Digest the changes of a recorded patch, as ``lineage.pipeline_id`` wants it."""
    changes = _parts(patch)[1]
    return hashlib.sha256(changes.encode()).hexdigest() if changes else ""


def apply(patch: Path, checkout: Path) -> None:
    """Apply the recorded patch of a dirty tree.

    Raises
    ------
    RatchetError
        If it doesn't apply; the message is a clause that says why.
    """
    if _parts(patch)[1].strip():
        lineage.git(checkout, "apply", "--whitespace=nowarn", str(patch.resolve()))


def _parts(patch: Path) -> tuple[list[str], str]:
    """Part the notes at the top of a patch, of what is left out, from the changes."""
    rest = patch.read_bytes().decode(errors="replace")
    notes = []
    while rest.startswith("# "):
        note, _, rest = rest.partition("\n")
        notes.append(note)
    return notes, rest


def inside(checkout: Path, place: str) -> Path:
    """Give the path of a recorded place in a checkout.

    Raises
    ------
    RatchetError
        If it lies outside, also by a link; the message is a clause.
    """
    parts = PurePosixPath(place)
    path = checkout / parts
    if parts.is_absolute() or ".." in parts.parts or not place:
        raise RatchetError(f"{place!r} is no place in a checkout")
    if not path.parent.resolve().is_relative_to(checkout.resolve()):
        raise RatchetError(f"{place!r} leads out of the checkout by a link")
    return path


def holds(path: Path, version: str) -> bool:
    """Tell whether the data of a recorded version lies at a path."""
    try:
        return path.exists() and lineage.data_version(path) == version
    except DataError:
        return False


def bring_data(original: Path, version: str, target: Path, recorded: Path) -> None:
    """Put the data of a recorded version at ``target``.

    What is there already counts, when git tracks it; then what DVC has; then
    the user's own bytes, of which a copy is made.

    Parameters
    ----------
    original : Path
        Where the user's checkout has the file or folder, or had it.
    version : str
        The md5 that DVC gives the bytes; ends in ``.dir`` for a folder.
    target : Path
        Where the bytes shall be.
    recorded : Path
        Path of the data in a checkout of the recorded commit.

    Raises
    ------
    DataError
        If nobody has them; the message says who was asked.
    """
    if holds(target, version):
        return
    _remove(target)
    home = next(each for each in original.parents if each.is_dir())
    datastore.fetch(home, version, target, name=original.name, also=original, recorded=recorded)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def uv(checkout: Path) -> Path | None:
    """Find uv: on the PATH, else where ``make install`` puts it; None without it."""
    found = shutil.which("uv") or shutil.which("uv", path=str(checkout / ".tools" / "bin"))
    return Path(found) if found else None


def build(
    program: Path,
    locked: Path,
    into: Path,
    tell: Callable[[str], None],
    *,
    version: str | None,
    pins: Sequence[str],
) -> Interpreter:
    """Have uv build the environment of a lock.

    Parameters
    ----------
    program : Path
        uv.
    locked : Path
        Folder with ``uv.lock`` and ``pyproject.toml``.
    into : Path
        Where to build.
    tell : callable
        Is told each line that uv prints.
    version : str or None
        Of the Python to build it for; None takes the one that runs this.
    pins : sequence of str
        What was installed: the extras and groups of which everything was are.

    Raises
    ------
    StepError
        If uv can't.
    """
    same = version in (None, platform.python_version())
    command = [
        *(str(program), "sync", "--frozen", "--quiet", "--project", str(locked)),
        *("--python", sys.executable if same else str(version)),
        *_extras(locked, pins),
    ]
    environment = {**inherited(), "UV_PROJECT_ENVIRONMENT": str(into)}
    run(command, locked, environment, tell)
    python = into / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    lines: list[str] = []
    run([str(python), "-c", _LISTING], locked, inherited(), lines.append)
    return Interpreter(python, lines[0], tuple(sorted(set(lines[1:]))))


def build_listed(
    program: Path,
    folder: Path,
    into: Path,
    tell: Callable[[str], None],
    *,
    version: str | None,
) -> Interpreter:
    """Have uv build the environment of a conda.yaml that lists packages for pip alone.

    Parameters
    ----------
    program : Path
        uv.
    folder : Path
        Folder with ``conda.yaml``, and the wheels that it names.
    into : Path
        Where to build.
    tell : callable
        Is told each line that uv prints.
    version : str or None
        Of the Python to build it for; None takes the one that runs this.

    Raises
    ------
    StepError
        If uv can't.
    """
    same = version in (None, platform.python_version())
    python = into / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = sys.executable if same else str(version)
    run([str(program), "venv", "--quiet", "--python", asked, str(into)], folder, inherited(), tell)
    wanted = into / "requirements.txt"
    wishes = packaged.listed_in(folder / "conda.yaml")
    lines = [str(folder / each) if each.startswith("./") else each for each in wishes]
    wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
    install = ("pip", "install", "--quiet", "--python", str(python), "--requirements", str(wanted))
    run([str(program), *install], folder, inherited(), tell)
    told: list[str] = []
    run([str(python), "-c", _LISTING], folder, inherited(), told.append)
    return Interpreter(python, told[0], tuple(sorted(set(told[1:]))))


def listed(folder: Path, top: Path) -> Path | None:
    """Find the folder of the ``conda.yaml`` that counts in ``folder``, looking up to ``top``.

    One that asks for more than pip can install is left to conda: then None.
    """
    for place in (folder, *folder.parents):
        file = place / "conda.yaml"
        if file.is_file():
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            others = content.get("dependencies", []) if isinstance(content, dict) else []
            only_pip = all(each == "pip" or isinstance(each, dict) for each in others)
            return place if only_pip and packaged.listed_in(file) else None
        if place == top:
            break
    return None


def _extras(locked: Path, pins: Sequence[str]) -> Iterator[str]:
    """Choose the extras and groups of which everything was installed."""
    try:
        project = tomllib.loads((locked / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    installed = {pin.partition("==")[0] for pin in pins}

    def whole(requirements: Sequence[object]) -> bool:
        named = (re.match(r"[\w.-]+", each) for each in requirements if isinstance(each, str))
        return {re.sub("[-_.]+", "-", each[0]).lower() for each in named if each} <= installed

    for name, wanted in project.get("project", {}).get("optional-dependencies", {}).items():
        if whole(wanted):
            yield from ("--extra", name)
    for name, wanted in project.get("dependency-groups", {}).items():
        yield from ("--group" if whole(wanted) else "--no-group", name)


def locked(folder: Path, top: Path) -> Path | None:
    """Find the folder of the ``uv.lock`` that counts in ``folder``, looking up to ``top``.

    A ``conda.yaml`` that is nearer counts before it, as in ``lineage.lock_digest``.
    """
    for place in (folder, *folder.parents):
        if (place / "uv.lock").is_file():
            return place
        if place == top or (place / "conda.yaml").is_file():
            return None
    return None


def inherited(checkouts: tuple[Path, Path] | None = None) -> dict[str, str]:
    """Give the variables that a program in the scratch folder inherits.

    None of them leads to the caller's store, repository or code.

    Parameters
    ----------
    checkouts : tuple of Path or None
        The user's checkout and the scratch one: what ``PYTHONPATH`` names in
        the first is taken from the second. None drops ``PYTHONPATH``.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    if checkouts and os.environ.get("PYTHONPATH"):
        theirs, ours = (each.resolve() for each in checkouts)
        paths = [Path(each).resolve() for each in os.environ["PYTHONPATH"].split(os.pathsep)]
        kept["PYTHONPATH"] = os.pathsep.join(
            str(ours / each.relative_to(theirs)) if each.is_relative_to(theirs) else str(each)
            for each in paths
        )
    return kept


def beside(environment: Mapping[str, str]) -> dict[str, str]:
    """Give variables in which ``python`` and its programs are those that run this.

    Parameters
    ----------
    environment : mapping of str to str
        What there is otherwise.
    """
    here = Path(sys.executable).parent
    path = os.pathsep.join(filter(None, (str(here), environment.get("PATH", ""))))
    return {**environment, "PATH": path}


def entry(checkout: Path, params: Path) -> tuple[Path, tuple[str, ...]]:
    """Say where and how the steps of a checkout are started.

    Parameters
    ----------
    checkout : Path
        Its top.
    params : Path
        The parameter file in it: its own folder is looked at, then those above.

    Returns
    -------
    tuple
        The folder to start in, and the arguments of Python: the ``src`` of the
        checkout where it starts this program, else the installed package.
    """
    for place in (params.parent, *params.parent.parents):
        main = place / "src" / "__main__.py"
        with suppress(OSError):
            if "ratchet" in main.read_text(encoding="utf-8", errors="replace"):
                return place, ("src",)
        if place == checkout:
            break
    return params.parent, ("-c", "from ratchet.cli import main; main()")


def run(
    command: Sequence[str],
    place: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    held: Collection[int] = (),
) -> None:
    """Run a program to its end, and end it with all that it has started when interrupted.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    place : Path
        Folder to start in.
    environment : mapping of str to str
        Its variables.
    tell : callable
        Is told each line that it prints, as it comes.
    held : collection of int
        Open files that it inherits by their descriptors.

    Raises
    ------
    StepError
        If it can't be started, or ends with another exit code than 0.
    """
    last: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C is for us: we end it.
            start_new_session=True,
            pass_fds=tuple(held),
        )
    except OSError as error:
        raise StepError(f"{command[0]} can't be started: {error.strerror}") from error
    try:
        assert process.stdout is not None  # a pipe was asked for
        for line in process.stdout:
            if line.strip():
                last = [*last, line.strip()][-_TOLD_LINES:]
                tell(line.rstrip())
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if code:
        raise StepError(f"exit code {code}: {' / '.join(last) or 'it printed nothing'}")


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask a program and all that it has started to end, then end what is left of them."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    try:
        # A program may end before a step that it has started, which has its run to mark.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        psutil.wait_procs(family, _GRACE)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    finally:  # also when interrupted once more
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.kill()
        process.wait()

"""Where a run comes from: commit, patch, data version, parameters, lock and machine."""

import configparser
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import yaml
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from ratchet import container, files, masking, memory, packaged, sources
from ratchet.errors import DataError, RatchetError

# A patch is for reading and for `git apply`; beyond this, somebody has tracked data by mistake.
MAX_PATCH_BYTES = 2**20

# A file may change twice within one tick of a coarse clock; 2 s is FAT's, the coarsest there is.
RACY_NS = 2 * 10**9

# Where new files are code that a run may import although git doesn't know them yet.
CODE = "src"

_DIFF = (
    "diff",
    *("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-relative"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=untracked"),
)

_NUMSTAT = (
    *("diff", "--numstat", "-z", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--no-relative", "--ignore-submodules=untracked"),
)

# Hooks set these, and then every git command works on the hook's repository.
_MISLEADING = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"),
    *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS"),
    *("GIT_ICASE_PATHSPECS", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"),
}

_GIT_SECONDS = 120
_GPU_SECONDS = 5
_DVC_TEMP = (".dvc", "tmp", "exps")


@dataclass(frozen=True)
class DataState:
    """Which bytes were read, and whether they can be had again."""

    version: str
    """The md5 that DVC gives these bytes; ends in ``.dir`` for a folder."""
    dirty: bool
    """Whether neither DVC nor git has recorded these bytes."""
    reason: str = ""
    """Why, in a clause; empty when DVC has recorded them."""

    @property
    def in_dvc(self) -> bool:
        """Whether DVC has recorded these bytes; what only git has comes with a reason."""
        return not self.dirty and not self.reason


@dataclass(frozen=True)
class Pointer:
    """What DVC has recorded of a file or folder."""

    file: Path
    """The ``.dvc`` file or ``dvc.lock`` that says it."""
    tracked: Path
    """What it tracks: the path that was asked for, or a folder above it."""
    version: str
    """The md5 of what it tracks; ends in ``.dir`` for a folder, empty when not yet known."""
    listing: Mapping[str, str] | None = None
    """The md5 of each file by its path inside ``tracked``; None when DVC's cache lacks it."""
    is_legacy: bool = False
    """Whether DVC 2 wrote it, whose md5 leaves the line ends of Windows out."""


@dataclass(frozen=True)
class Checkout:
    """A git checkout and its commit."""

    top: Path
    """Its uppermost folder."""
    commit: str
    """The commit that is checked out."""
    remote_url: str | None
    """Where it was cloned from, without credentials; None where it has no remote."""


@dataclass(frozen=True)
class Lineage:
    """Everything that a run needs to be made again."""

    commit: str | None
    """The commit that is checked out; None when there is none, see ``code_reason``."""
    branch: str | None
    """The branch; None on a detached head."""
    remote_url: str | None
    """Where the repository was cloned from, without credentials."""
    dirty: bool | None
    """Whether code differs from the commit; None when git can't tell."""
    code_reason: str
    """Why the commit or ``dirty`` is unknown, in a clause; empty otherwise."""
    patch: str
    """What ``git apply`` needs to make the tree again from the commit; empty when clean."""
    patch_whole: bool
    """Whether the patch holds every change: not cut for its size, nor for a secret in it."""
    data_version: str
    """The md5 that DVC gives the bytes of the source."""
    data_dirty: bool
    """Whether neither DVC nor git has recorded these bytes."""
    data_reason: str
    """Why, in a clause; empty when DVC has recorded them."""
    params_digest: str
    """A short digest of all parameters."""
    lock_digest: str | None
    """A short digest of ``uv.lock``, else of ``conda.yaml``; None without either."""
    pipeline: str
    """A short id that is equal for all steps of one pipeline, whichever process runs them."""
    changed: tuple[str, ...] = ()
    """Files that differ from the commit, as paths in the checkout."""

    def tags(self) -> tuple[tuple[str, str], ...]:
        """Name what a run or a version carries; what is unknown is left out."""
        known = (
            ("mlflow.source.git.commit", self.commit),
            ("mlflow.source.git.branch", self.branch),
            ("mlflow.source.git.repoURL", self.remote_url),
            ("ratchet.dirty", "unknown" if self.dirty is None else str(self.dirty).lower()),
            ("ratchet.code_reason", self.code_reason),
            ("ratchet.data_version", self.data_version),
            ("ratchet.data_dirty", str(self.data_dirty).lower()),
            ("ratchet.data_reason", self.data_reason),
            ("ratchet.params_digest", self.params_digest),
            ("ratchet.lock_digest", self.lock_digest),
            ("ratchet.pipeline", self.pipeline),
        )
        return tuple((name, value) for name, value in known if value)


@dataclass(frozen=True)
class Hardware:
    """The machine, as far as this process may use it."""

    cpu: str
    """Model of the processor."""
    cores_physical: int
    """Cores, without hyper-threads."""
    cores_logical: int
    """Cores that affinity and the container's quota leave to this process."""
    memory_gib: float
    """Memory in GiB, within the container's limit."""
    gpus: tuple[str, ...]
    """Name and memory of each GPU; empty without ``nvidia-smi``."""
    os: str
    """Operating system and its version."""
    python: str
    """Version of the interpreter."""


def record(
    root: Path,
    *,
    source: Path,
    params: Mapping[str, Any],
    cache: Path | None = None,
    data: DataState | None = None,
    modules: Collection[str] = (),
    beside: Collection[Path] = (),
) -> Lineage:
    """Find out where a run that starts now comes from.

    Nothing of the repository is changed, its index included. Without git, a
    repository or a commit the answer has None in its place and says why.

    Parameters
    ----------
    root : Path
        Folder of ``params.yaml``: a repository, or a folder inside one.
    source : Path
        File or folder with the data.
    params : mapping
        All parameters, overrides included.
    cache : Path or None
        File that remembers the md5 of unchanged files; None remembers nothing.
    data : DataState or None
        What an earlier step of the pipeline has found out about the data, which
        may be gone by now; None looks at ``source``.
    modules : collection of str
        Modules that the run imports by name. Where git doesn't know their files, or
        those that they import, these belong to the patch like new files in ``src``.
    beside : collection of Path
        Files that the run reads beside ``params.yaml``, of which the same is true.

    Returns
    -------
    Lineage

    Raises
    ------
    DataError
        If ``source`` is needed, and isn't there or can't be read.
    """
    root, source = root.resolve(), _absolute(source)
    code = _code(root, source, modules, beside)
    state = data or data_state(source, cache)
    params_id = params_digest(params)
    return Lineage(
        commit=code.commit,
        branch=code.branch,
        remote_url=code.remote_url,
        dirty=code.dirty,
        code_reason=code.reason,
        patch=code.patch,
        patch_whole=code.patch_whole,
        data_version=state.version,
        data_dirty=state.dirty,
        data_reason=state.reason,
        params_digest=params_id,
        lock_digest=lock_digest(root),
        pipeline=pipeline_id(code.commit, code.patch_digest, params_id, state.version),
        changed=code.changed,
    )


def data_version(path: Path, cache: Path | None = None) -> str:
    """Compute the md5 that DVC 3 records for the bytes on the disk.

    Parameters
    ----------
    path : Path
        A file, or a folder: then what ``.dvcignore`` names is left out, as DVC does.
    cache : Path or None
        File that remembers the md5 of unchanged files; None remembers nothing.

    Returns
    -------
    str
        The md5 of a file; for a folder that of its listing, followed by ``.dir``.

    Raises
    ------
    DataError
        If ``path`` isn't there or can't be read.
    """
    path = _absolute(path)
    if path.is_dir():
        return folder_version(listing(path, cache))
    return _file_versions([path], cache)[0]


def listing(folder: Path, cache: Path | None = None) -> Mapping[str, str]:
    """Compute the md5 of each file that DVC takes for the content of a folder.

    Parameters
    ----------
    folder : Path
        The folder; what ``.dvcignore`` names is left out.
    cache : Path or None
        File that remembers the md5 of unchanged files; None remembers nothing.

    Returns
    -------
    mapping of str to str
        The md5 of each file by its path inside the folder.

    Raises
    ------
    DataError
        If a file can't be read.
    """
    paths = sorted(_walk(folder))
    names = (path.relative_to(folder).as_posix() for path in paths)
    return dict(zip(names, _file_versions(paths, cache), strict=True))


def folder_version(listing: Mapping[str, str]) -> str:
    """Compute the data version of a folder from the md5 of each of its files.

    Examples
    --------
    >>> folder_version({"a.csv": "b026324c6904b2a9cb4b88d6d61c81d1"})
    'b6d0f22cb9eede6a990871465ae721b1.dir'
    """
    entries = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def part_of(listing: Mapping[str, str], inside: str) -> Mapping[str, str]:
    """Cut the listing of a folder down to a file or folder in it.

    Parameters
    ----------
    listing : mapping of str to str
        The md5 of each file by its path.
    inside : str
        Path of the part; ``.`` is the whole.

    Returns
    -------
    mapping of str to str
        As above, by the path inside the part; a file is listed under an empty name.

    Examples
    --------
    >>> part_of({"2023/a.csv": "1", "b.csv": "2"}, "2023")
    {'a.csv': '1'}
    >>> part_of({"2023/a.csv": "1", "b.csv": "2"}, "b.csv")
    {'': '2'}
    """
    if inside == ".":
        return dict(listing)
    if inside in listing:
        return {"": listing[inside]}
    prefix = f"{inside}/"
    return {p.removeprefix(prefix): md5 for p, md5 in listing.items() if p.startswith(prefix)}


def data_state(source: Path, cache: Path | None = None) -> DataState:
    """Compute the data version and compare it with what DVC, or else git, has recorded.

    Parameters
    ----------
    source : Path
        File or folder with the data.
    cache : Path or None
        File that remembers the md5 of unchanged files; None remembers nothing.

    Raises
    ------
    DataError
        If ``source`` isn't there or can't be read.
    """
    source = _absolute(source)
    found = listing(source, cache) if source.is_dir() else None
    version = data_version(source, cache) if found is None else folder_version(found)
    pointer = tracked_version(source)
    if pointer is None:
        if _unchanged_in_git(source):
            return DataState(version, False, f"{source.name} is tracked by git, not by DVC")
        return DataState(version, True, f"{source.name} is not tracked by DVC")
    if pointer.listing is None and pointer.tracked != source:
        return _state_of_part(version, pointer, cache)
    expected = part_of(pointer.listing or {}, source.relative_to(pointer.tracked).as_posix())
    if pointer.tracked == source:
        recorded = pointer.version
    else:
        recorded = folder_version(expected) if source.is_dir() else expected.get("", "")
    if version == recorded:
        return DataState(version, False)
    if found is not None and pointer.listing is not None:
        return DataState(version, True, _differences(found, expected, pointer.file.name))
    return DataState(version, True, _difference(source, pointer, recorded, version))


def tracked_version(source: Path) -> Pointer | None:
    """Read what DVC has recorded of ``source``, or of a folder that holds it.

    Looked at are the ``.dvc`` file beside ``source`` and beside each folder
    above it, then the outputs in ``dvc.lock``, up to the folder with ``.dvc``.

    Returns
    -------
    Pointer or None
        None when DVC doesn't track ``source``.
    """
    source = _absolute(source)
    top = dvc_root(source.parent)
    if top is None:
        return None
    above = [source, *(folder for folder in source.parents if folder.is_relative_to(top))]
    own = [path.with_name(f"{path.name}.dvc") for path in above if path != top]
    for file in (*own, *(folder / "dvc.lock" for folder in above[1:])):
        for out in _outs(file):
            tracked = _absolute(file.parent / str(out["wdir"]) / str(out["path"]))
            if source.is_relative_to(tracked):
                return _pointer(file, tracked, out, top)
    return None


def files_since(source: Path, version: str, cache: Path | None = None) -> tuple[str, ...] | None:
    """Name the files of a folder that an earlier data version of it hasn't got as they are.

    Parameters
    ----------
    source : Path
        The folder.
    version : str
        The md5 that DVC gave it then.
    cache : Path or None
        File that remembers the md5 of unchanged files; None remembers nothing.

    Returns
    -------
    tuple of str or None
        Their paths inside the folder; None where DVC's cache has no listing of
        that version, or ``source`` is a file.

    Raises
    ------
    DataError
        If a file can't be read.
    """
    source = _absolute(source)
    top = dvc_root(source.parent)
    entries = _cached_listing(top, version) if top is not None and source.is_dir() else None
    if entries is None:
        return None
    before = {str(each["relpath"]): str(each["md5"]) for each in entries}
    now = listing(source, cache)
    return tuple(name for name in sorted(now) if now[name] != before.get(name))


def dvc_root(folder: Path) -> Path | None:
    """Find the DVC project around a folder, which may be gone; None where there is none."""
    folder = _absolute(folder)
    return next((p for p in (folder, *folder.parents) if (p / ".dvc" / "config").is_file()), None)


def cache_folder(top: Path) -> Path:
    """Say where the DVC project ``top`` keeps its cache: ``.dvc/cache``, or as configured."""
    found = top / ".dvc" / "cache"
    for file in _dvc_configs(top):
        config = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
        with suppress(configparser.Error, UnicodeDecodeError):
            config.read(file, encoding="utf-8")
            told = config.get("cache", "dir", fallback="").strip().strip("'\"")
            found = file.parent / Path(told).expanduser() if told else found
    return _absolute(found)


def checkout(path: Path) -> Checkout | None:
    """Find the git checkout that a file or folder lies in, which may itself be gone.

    Returns
    -------
    Checkout or None
        None where there is none, or it has no commit, or git can't tell.
    """
    path = _absolute(path)
    top = _above(path, ".git")
    commit = _quiet(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") if top else None
    return Checkout(top, commit, _remote_url(top)) if top and commit else None


def main_checkout(root: Path) -> Path:
    """Give the user's own checkout when ``root`` is a temporary one of DVC's.

    ``dvc exp run --temp`` works in a clone under ``.dvc/tmp/exps`` and deletes
    it afterwards, so nothing that must last may be kept there.

    Returns
    -------
    Path
        The folder in the user's checkout that corresponds to ``root``; ``root``
        itself when it is no temporary checkout.
    """
    root = root.resolve()
    parts = root.parts
    for start in range(len(parts) - len(_DVC_TEMP), 0, -1):
        if parts[start : start + len(_DVC_TEMP)] == _DVC_TEMP:
            clone = _above(root, ".git")
            checkout = Path(*parts[:start])
            if clone is None or len(clone.parts) <= start + len(_DVC_TEMP):
                return root
            # A .dvc below the repository's top still gets a clone of the whole repository.
            return (_above(checkout, ".git") or checkout) / root.relative_to(clone)
    return root


def params_digest(params: Mapping[str, Any]) -> str:
    """Digest parameters, whatever the order of their keys.

    Examples
    --------
    >>> params_digest({"seed": 1, "name": "taxi"})
    '701a82855991f20f'
    >>> params_digest({"name": "taxi", "seed": 1})
    '701a82855991f20f'
    """
    text = json.dumps(params, sort_keys=True, separators=(",", ":"), default=str)
    return _short(text.encode())


def pipeline_id(
    commit: str | None, patch_digest: str, params_digest: str, data_version: str
) -> str:
    """Digest what all steps of one pipeline have in common.

    Parameters
    ----------
    commit : str or None
        The commit; None without one.
    patch_digest : str
        SHA-256 of the whole patch; empty for a clean tree.
    params_digest, data_version : str
        As the run's tags have them.
    """
    parts = [commit, patch_digest, params_digest, data_version]
    return _short(json.dumps(parts).encode())


def lock_digest(root: Path) -> str | None:
    """Digest the environment's lock, with line ends as git stores them.

    Parameters
    ----------
    root : Path
        Folder in which to look; then the folders above it, up to the repository's top.

    Returns
    -------
    str or None
        Digest of ``uv.lock``, else of ``conda.yaml``; None without either.
    """
    file = _lock_file(root, "uv.lock", "conda.yaml")
    return _short(file.read_bytes().replace(b"\r\n", b"\n")) if file else None


def _lock_file(root: Path, *names: str) -> Path | None:
    """Find the nearest file of these names, the first one first, up to the repository's top."""
    root = root.resolve()
    top = _above(root, ".git") or root
    for folder in (root, *root.parents):
        for name in names:
            if os.access(folder / name, os.R_OK) and (folder / name).is_file():
                return folder / name
        if folder == top:
            break
    return None


def hardware() -> Hardware:
    """Look at the machine that this process runs on."""
    logical = container.cores()
    return Hardware(
        cpu=_cpu_model(),
        cores_physical=min(psutil.cpu_count(logical=False) or logical, logical),
        cores_logical=logical,
        memory_gib=round(memory.total() / 2**30, 1),
        gpus=_gpus(),
        os=platform.platform(),
        python=platform.python_version(),
    )


def library_versions(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Look up the installed versions of distributions; those not installed are left out."""
    versions = []
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions.append((name, importlib.metadata.version(name)))
    return tuple(versions)


def environment() -> tuple[str, ...]:
    """List every installed distribution as a pin, such as ``numpy==2.4.6``, sorted."""
    return _installed(tuple((place, _touched(Path(place))) for place in sys.path))


# Hundreds of files take a third of a second to read, and every step and decision asks.
@lru_cache(maxsize=1)
def _installed(_places: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Read it once while the places are as they are: to install or remove changes a folder."""
    found = {
        f"{each.name.lower().replace('_', '-')}=={each.version}"
        for each in importlib.metadata.distributions()
        if each.name  # what a broken installation left behind has none
    }
    return tuple(sorted(found))


def _touched(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0


def place(file: Path) -> str:
    """Say where a file lies in its git checkout, or its name where there is none."""
    file = _absolute(file)
    top = _above(file.parent, ".git")
    return file.relative_to(top).as_posix() if top else file.name


def ask_git(root: Path, *args: str) -> str | None:
    """Ask git in ``root`` without changing anything; None when it fails or says nothing."""
    return _quiet(root, *args)


@dataclass(frozen=True)
class FileChange:
    """How a file differs."""

    path: str
    """Its place in the repository."""
    added: int | None
    """Lines that are new; None for a file that isn't text."""
    removed: int | None
    """Lines that are gone; None for a file that isn't text."""


@dataclass(frozen=True)
class Between:
    """What lies between two commits."""

    ahead: int = 0
    """Commits that lead to the second one and not to the first."""
    behind: int = 0
    """Commits that lead to the first one and not to the second."""
    files: tuple[FileChange, ...] = ()
    """Files that differ, by name."""
    reason: str = ""
    """Why git can't tell, in a clause; empty otherwise."""


def between(root: Path, old: str, new: str) -> Between:
    """Tell what lies between two commits, as far as the checkout of ``root`` has them.

    Parameters
    ----------
    root : Path
        A folder of the checkout.
    old, new : str
        Ids of commits.
    """
    for commit in (old, new):
        # A run may be tagged with anything, and git would read some of it as an option.
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            return Between(reason=f"{commit[:40]!r} is no commit")
    try:
        for commit in (old, new):
            if _quiet(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None:
                _git(root, "rev-parse", "--git-dir")  # says so where there is no repository at all
                return Between(reason=f"this checkout has no commit {commit[:12]}")
        sides = _git(root, "rev-list", "--left-right", "--count", f"{old}...{new}").split()
        changed = _git(root, *_NUMSTAT, old, new)
    except _GitError as error:
        return Between(reason=str(error))
    return Between(int(sides[1]), int(sides[0]), _file_changes(changed))


def patch_files(patch: str) -> tuple[FileChange, ...]:
    """Tell which files a run's ``dirty.patch`` changes; none where git can't read it."""
    # Below a repository's top git would leave out what lies above.
    with tempfile.TemporaryDirectory() as folder, suppress(_GitError):
        outside = {"GIT_CEILING_DIRECTORIES": str(Path(folder).resolve().parent)}
        return _file_changes(_git(Path(folder), "apply", "--numstat", "-z", stdin=patch, **outside))
    return ()


def _file_changes(numstat: str) -> tuple[FileChange, ...]:
    """Read what ``--numstat -z`` prints."""
    changes = []
    for line in filter(None, numstat.split("\0")):
        added, removed, path = line.split("\t", 2)
        counts = (None if each == "-" else int(each) for each in (added, removed))
        changes.append(FileChange(path, *counts))
    return tuple(changes)


def git(root: Path, *arguments: str) -> str:
    """Run git in ``root``, whatever repository a hook's environment names; give what it prints.

    Nothing is fetched from a remote that a partial clone promises things of.

    Raises
    ------
    RatchetError
        If git can't answer; the message is a clause that says why.
    """
    try:
        return _git(root, *arguments, GIT_NO_LAZY_FETCH="1")
    except _GitError as error:
        raise RatchetError(str(error)) from None


@dataclass(frozen=True)
class _Code:
    """What git says."""

    reason: str = ""
    commit: str | None = None
    branch: str | None = None
    remote_url: str | None = None
    dirty: bool | None = None
    patch: str = ""
    patch_whole: bool = True
    patch_digest: str = ""
    changed: tuple[str, ...] = ()


class _GitError(Exception):
    """Git can't answer; the message is a clause that says why."""


def _code(root: Path, source: Path, modules: Collection[str], beside: Collection[Path]) -> _Code:
    try:
        top = Path(_git(root, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()
        commit = _quiet(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if commit and not _git(root, "ls-files", "-z", "--", "."):
            return _Code(reason=f"{root} lies in the git repository {top}, which tracks none of it")
        generated = _generated(root, source, top)
        base = commit or _git(root, "hash-object", "-t", "tree", "--stdin").strip()
        changed = _changed(root, base, generated)
        new, left_out = _new_code(root, top, modules, beside)
        names = [name for name in changed.split("\0") if name]
        secret = [name for name in names if masking.is_secret_file(name)]
        found = _patch(top, base, generated, new) if names or new else _Patch()
        patch = found.text
        for name in (*secret, *left_out):
            patch = f"# {name} has changed too, and is left out.\n{patch}"
        for name in found.secret:
            patch = f"# {name} has changed too, and is left out: it holds a secret.\n{patch}"
        elsewhere = _runs_elsewhere(root)
        return _Code(
            reason=elsewhere or ("" if commit else "the git repository has no commit yet"),
            commit=commit,
            branch=_quiet(root, "symbolic-ref", "--short", "--quiet", "HEAD"),
            remote_url=_remote_url(root),
            dirty=None if elsewhere else bool(names or new or left_out or not commit),
            patch=patch,
            patch_whole=found.whole and not secret and not found.secret and not left_out,
            patch_digest=found.digest,
            changed=tuple(sorted({*names, *new, *left_out})),
        )
    except _GitError as error:
        return _Code(reason=str(error))


def _runs_elsewhere(root: Path) -> str:
    """Say so when the checkout has this package or asks for it, and what runs is another one."""
    running, own = Path(__file__).resolve().parent, (root / CODE / "ratchet").resolve()
    if not (own / "__init__.py").is_file():
        listed = _lock_file(root, "conda.yaml")
        return packaged.other_than(packaged.listed_in(listed)) if listed else ""
    if running == own or _sources(running) == _sources(own):
        return ""
    return f"the code that ran is {running}, which differs from {CODE}/ratchet"


def _sources(package: Path) -> dict[str, bytes]:
    return {
        path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*.py")
    }


def _git(root: Path, *args: str, stdin: str = "", **env: str) -> str:
    """Run git in ``root`` and give what it prints."""
    with tempfile.TemporaryFile() as output:
        _git_into(output, root, *args, stdin=stdin, **env)
        output.seek(0)
        return os.fsdecode(output.read())


def _git_into(output: Any, root: Path, *args: str, stdin: str = "", **env: str) -> None:
    """Run git in ``root`` with its output in a file, which may be larger than memory."""
    # A file-system monitor would outlive the command, and optional locks write the user's index.
    options = ("-c", "core.quotepath=off", "-c", "core.fsmonitor=false", "--no-optional-locks")
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    try:
        done = subprocess.run(
            ("git", "-C", str(root), *options, *args),
            input=os.fsencode(stdin),
            stdout=output,
            stderr=subprocess.PIPE,
            env=kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | env,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise _GitError("git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _GitError(f"git can't be run: {error}") from error
    if done.returncode:
        raise _GitError(_why(root, done.stderr.decode(errors="replace")))


def _why(root: Path, message: str) -> str:
    if "not a git repository" in message:
        return f"{root} is in no git repository"
    if "dubious ownership" in message:
        # Git names the top of the repository, and allowing the folder inside it would not help.
        named = re.search(r"in repository at '(.+?)'", message)
        top = named[1] if named else root
        return (
            f"git refuses the repository of {root}, which belongs to another user;"
            f" `git config --global --add safe.directory {top}` allows it"
        )
    return f"git says: {masking.masked(' '.join(message.split()))[:300] or 'nothing'}"


def _quiet(root: Path, *args: str) -> str | None:
    """Run a git command that fails when the answer is no."""
    with suppress(_GitError):
        return _git(root, *args).strip() or None
    return None


def _remote_url(root: Path) -> str | None:
    """Give the address of ``origin``, else of the first remote, without credentials."""
    remotes = (_quiet(root, "remote") or "").split("\n")
    name = "origin" if "origin" in remotes else remotes[0]
    url = _quiet(root, "config", "--get", f"remote.{name}.url") if name else None
    return _without_credentials(url) if url else None


def _without_credentials(url: str) -> str:
    """Cut user, password and query from a URL; ``git@host:path`` holds no secret.

    >>> _without_credentials("https://me:token@host.org/a.git?private_token=x")
    'https://host.org/a.git'
    >>> _without_credentials("git@host.org:a.git")
    'git@host.org:a.git'
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{re.split('[?#]', path)[0]}"


def _generated(root: Path, source: Path, top: Path) -> list[str]:
    """Exclude from a diff what a pipeline itself writes, and the pointer of the data.

    DVC updates ``dvc.lock`` between two steps: the second must not look dirty
    when the first did not. Whether the data moved is the data version's to say.
    """
    outs = [str(out.get("path")) for out in _outs(root / "dvc.lock")]
    outs += _declared_outs(root / "dvc.yaml")
    written = [_absolute(root / out) for out in ("build", *outs)]
    inside = [
        p for p in (*written, source.with_name(source.name + ".dvc")) if p.is_relative_to(top)
    ]
    return [
        ":(top,exclude,glob)**/dvc.lock",
        *(f":(top,exclude,literal){p.relative_to(top).as_posix()}" for p in inside if p != top),
    ]


def _declared_outs(file: Path) -> list[str]:
    """List the outputs that the stages of a ``dvc.yaml`` declare."""
    stages = _yaml(file).get("stages")
    found = []
    for stage in stages.values() if isinstance(stages, dict) else ():
        for kind in ("outs", "metrics", "plots"):
            entries = stage.get(kind) if isinstance(stage, dict) else None
            for out in entries if isinstance(entries, list) else ():
                found += [str(path) for path in (out if isinstance(out, dict) else [out])]
    return found


def _new_code(
    root: Path, top: Path, modules: Collection[str], beside: Collection[Path]
) -> tuple[list[str], list[str]]:
    """List text files that a run may import and git doesn't track, and what is no such text.

    These are those in ``src`` that git doesn't ignore, of the project and of this package, and
    what the modules import from elsewhere in the checkout, ignored or not. Paths are ``top``'s.
    """
    folders = {root / CODE}
    if sources.is_own(__name__):
        folders.add(Path(__file__).resolve().parents[1])
    listed = _untracked(top, folders, "--exclude-standard")
    listed |= _untracked(top, sources.imported(modules, top))
    listed |= _untracked(top, [path.resolve() for path in beside])
    text, left_out = [], []
    for name in sorted(listed):
        path = top / name
        if name.endswith("/") or path.is_symlink() or masking.is_secret_file(name):
            continue
        with suppress(OSError):
            if path.stat().st_size > MAX_PATCH_BYTES:
                left_out.append(name)
            elif b"\0" not in path.read_bytes():
                text.append(name)
    return text, left_out


def _untracked(top: Path, places: Iterable[Path], *options: str) -> set[str]:
    """List files that git doesn't track in some places of the checkout, those inside it."""
    inside = [place for place in places if place.is_relative_to(top)]
    if not inside:
        return set()
    specs = (f":(top,literal){place.relative_to(top).as_posix()}" for place in inside)
    listed = _git(top, "ls-files", "--others", *options, "-z", "--", *specs)
    return set(filter(None, listed.split("\0")))


@dataclass(frozen=True)
class _Patch:
    """The diff from a commit to the tree."""

    text: str = ""
    whole: bool = True
    """Whether it was not cut for its size."""
    digest: str = ""
    """Of all of it, whether cut or not; empty where nothing has changed."""
    secret: tuple[str, ...] = ()
    """Files whose changes are left out, since they hold a secret."""


def _patch(top: Path, base: str, generated: Sequence[str], new: list[str]) -> _Patch:
    # More people read a tracking server, to which a patch is uploaded, than the repository.
    secrets = [f":(top,exclude,glob,icase)**/{pattern}" for pattern in masking.SECRET_FILES]
    command = (*_DIFF, base, "--", ":/", *generated, *secrets)
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
        env = _with_new_files(top, new, Path(folder))
        output = Path(folder) / "patch"
        with output.open("wb") as file:
            _git_into(file, top, *command, **env)
        try:
            return _head(output)
        except UnicodeDecodeError:
            # A binary diff is plain ASCII, and applies byte for byte whatever the encoding.
            attributes = Path(folder) / "attributes"
            attributes.write_text("* -diff\n")
            with output.open("wb") as file:
                _git_into(file, top, "-c", f"core.attributesFile={attributes}", *command, **env)
            return _head(output)


def _changed(root: Path, base: str, generated: Sequence[str]) -> str:
    """Name the files that differ from ``base`` in their content, not only in their times."""
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
        env = _with_new_files(root, [], Path(folder))
        return _git(root, *_DIFF, "--name-only", "-z", base, "--", ":/", *generated, **env)


def _with_new_files(top: Path, new: list[str], folder: Path) -> dict[str, str]:
    """Make a copy of the index that knows the new files.

    `git diff` writes the times of files that were only touched into the index, also without
    optional locks. The copy is what it writes to; the user's index stays as it is.
    """
    index = folder / "index"
    own = top / _git(top, "rev-parse", "--git-path", "index").removesuffix("\n")
    if own.exists():
        shutil.copy2(own, index)  # git compares the index's own time with those of the files
    env = {"GIT_INDEX_FILE": str(index)}
    names = ("--pathspec-from-file=-", "--pathspec-file-nul")
    if new:
        # By force: what a run imports belongs to it, also where git is told to ignore it.
        _git(top, "--literal-pathspecs", "add", "-N", "-f", *names, stdin="\0".join(new), **env)
    return env


def _head(output: Path) -> _Patch:
    size = output.stat().st_size
    with output.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if size else ""
        file.seek(0)
        head = file.read(MAX_PATCH_BYTES)
    if size <= MAX_PATCH_BYTES:
        text, secret = _without_secrets(head.decode())
        if secret:
            digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
        return _Patch(text, True, digest, secret)
    head = head[: head.rfind(b"\n") + 1]
    text, secret = _without_secrets(head.decode())
    cut = f"# The patch has {size} bytes; the rest is cut.\n"
    return _Patch(f"{text}{cut}", False, digest, secret)


def _without_secrets(patch: str) -> tuple[str, tuple[str, ...]]:
    """Leave out the files of a patch that hold a secret; give what is left, and their names."""
    if not masking.holds_secret(patch):
        return patch, ()
    parts = re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE)
    secret = [part for part in parts if masking.holds_secret(part)]
    named = (re.match(r'diff --git "?a/(.+?)"? "?b/\1"?\n', part) for part in secret)
    return (
        "".join(part for part in parts if part not in secret),
        tuple(found[1] if found else "A file" for found in named),
    )


def _absolute(path: Path) -> Path:
    """Make a path absolute and free of ``..``, with links kept as DVC keeps them."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def _above(path: Path, name: str) -> Path | None:
    """Give the nearest folder, ``path`` included, that holds ``name``."""
    return next((folder for folder in (path, *path.parents) if (folder / name).exists()), None)


def _yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping; whatever else there is counts as an empty one."""
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def _outs(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the outputs of a ``.dvc`` file or of all stages in a ``dvc.lock``."""
    content = _yaml(file)
    stages = content.get("stages")
    holders = list(stages.values()) if isinstance(stages, dict) else [content]
    for holder in holders:
        outs = holder.get("outs") if isinstance(holder, dict) else None
        for out in outs if isinstance(outs, list) else ():
            if isinstance(out, dict) and "path" in out:
                yield {"wdir": content.get("wdir", "")} | out


def _pointer(file: Path, tracked: Path, out: Mapping[str, Any], top: Path) -> Pointer:
    """Make a pointer of one output; some remotes keep the listing in the ``.dvc`` file."""
    version = str(out.get("md5", ""))
    entries = out.get("files")
    if not isinstance(entries, list) and version.endswith(".dir"):
        entries = _cached_listing(top, version)
    known = {str(e["relpath"]): str(e["md5"]) for e in entries} if entries is not None else None
    if not version and known is not None:
        version = folder_version(known)
    return Pointer(file, tracked, version, known, is_legacy="md5" in out and "hash" not in out)


def _cached_listing(top: Path, version: str) -> list[dict[str, Any]] | None:
    path = cache_folder(top) / "files" / "md5" / version[:2] / version[2:]
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return entries if isinstance(entries, list) else None


def _dvc_configs(top: Path) -> tuple[Path, ...]:
    """List DVC's config files from the most general to the most special."""
    home = Path.home() / ("Library/Application Support" if sys.platform == "darwin" else ".config")
    shared = "/Library/Application Support" if sys.platform == "darwin" else "/etc/xdg"
    system = os.environ.get("XDG_CONFIG_DIRS", "").partition(os.pathsep)[0] or shared
    own = os.environ.get("XDG_CONFIG_HOME") or home
    return (
        Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or Path(system) / "dvc") / "config",
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(own) / "dvc") / "config",
        top / ".dvc" / "config",
        top / ".dvc" / "config.local",
    )


def _state_of_part(version: str, pointer: Pointer, cache: Path | None) -> DataState:
    """Judge a part of a tracked folder when only the md5 of the whole is known."""
    whole = data_version(pointer.tracked, cache)
    if whole == pointer.version:
        return DataState(version, False)
    return DataState(version, True, _difference(pointer.tracked, pointer, pointer.version, whole))


def _difference(path: Path, pointer: Pointer, recorded: str, actual: str) -> str:
    told = f"which records md5 {recorded}" if recorded else "which records no md5 of it"
    told = f"{path.name} differs from {pointer.file.name}, {told}; this is {actual}"
    if not pointer.is_legacy:
        return told
    return (
        f"{told}; DVC 2 wrote {pointer.file.name} and counted line ends in its own way, which"
        " `dvc cache migrate --dvc-files` brings up to date"
    )


def _differences(actual: Mapping[str, str], expected: Mapping[str, str], pointer: str) -> str:
    """Name the files that differ.

    >>> _differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}, "data.dvc")
    'b differs from data.dvc; c of data.dvc is missing'
    """
    both = actual.keys() & expected.keys()
    changed = sorted(name for name in both if actual[name] != expected[name])
    kinds = (
        (changed, f"differs from {pointer}", f"differ from {pointer}"),
        (sorted(actual.keys() - expected), f"is not in {pointer}", f"are not in {pointer}"),
        (sorted(expected.keys() - actual), f"of {pointer} is missing", f"of {pointer} are missing"),
    )
    return "; ".join(
        f"{_some(names)} {one if len(names) == 1 else many}" for names, one, many in kinds if names
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _unchanged_in_git(source: Path) -> bool:
    try:
        here = ("--", f":(literal){source.name}")
        if not _git(source.parent, "ls-files", "-z", *here):
            return False
        status = ("status", "--porcelain", "--ignored", "--untracked-files=all")
        return not _git(source.parent, *status, *here)
    except _GitError:
        return False


@dataclass(frozen=True)
class _Rule:
    """A line of a ``.dvcignore``."""

    base: Path
    pattern: GitIgnoreSpecPattern
    only_folders: bool

    def matches(self, path: Path, is_folder: bool) -> bool:
        if self.only_folders and not is_folder:
            return False
        name = path.relative_to(self.base).as_posix()
        names = (name, f"{name}/") if is_folder else (name,)
        return any(self.pattern.match_file(name) is not None for name in names)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files that DVC takes for the content of ``folder``.

    DVC follows links to files but not to folders, and leaves out what
    ``.dvcignore`` files between its root and the file say, the last match winning.
    """
    top = dvc_root(folder) or folder
    rules = {top: _rules(top, (".hg/", ".git/", ".git", ".dvc/")) + _rules_in(top)}
    for above in reversed([p for p in folder.parents if p.is_relative_to(top) and p != top]):
        rules[above] = rules[above.parent] + _rules_in(above)
    for here, folders, names in os.walk(folder):
        base = Path(here)
        if base not in rules:
            rules[base] = rules[base.parent] + _rules_in(base)
        folders[:] = [
            name
            for name in folders
            if not _ignored(base / name, rules[base], is_folder=True)
            and not (base / name / ".dvc").exists()
        ]
        yield from (
            base / name for name in names if not _ignored(base / name, rules[base], is_folder=False)
        )


def _rules_in(folder: Path) -> list[_Rule]:
    try:
        lines = (folder / ".dvcignore").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Can't read {folder / '.dvcignore'}: {error}.") from error
    return _rules(folder, [line.strip() for line in lines])


def _rules(base: Path, lines: Iterable[str]) -> list[_Rule]:
    patterns = ((line, GitIgnoreSpecPattern(line)) for line in lines if line)
    return [_Rule(base, p, line.endswith("/")) for line, p in patterns if p.include is not None]


def _ignored(path: Path, rules: Sequence[_Rule], *, is_folder: bool) -> bool:
    last = next((rule for rule in reversed(rules) if rule.matches(path, is_folder)), None)
    return bool(last and last.pattern.include)


def _file_versions(paths: Sequence[Path], cache: Path | None) -> list[str]:
    """Give the md5 of each file, reading only those that changed since the last time."""
    known = _remembered(cache)
    try:
        before = [_fingerprint(path) for path in paths]
        found = {
            str(path): known[str(path)][-1]
            for path, fingerprint in zip(paths, before, strict=True)
            if known.get(str(path), [])[:-1] == fingerprint
        }
        unread = [path for path in paths if str(path) not in found]
        with ThreadPoolExecutor(max_workers=4) as pool:
            found |= {str(p): md5 for p, md5 in zip(unread, pool.map(_md5, unread), strict=True)}
        settled = {
            str(path): [*fingerprint, found[str(path)]]
            for path, fingerprint in zip(paths, before, strict=True)
            if _settled(fingerprint) and _fingerprint(path) == fingerprint
        }
    except OSError as error:
        raise _unreadable(error) from error
    if cache is not None and unread and settled:
        # What can't be remembered is computed again next time: no reason to fail.
        with suppress(RatchetError):
            files.write_json(cache, known | settled)
    return [found[str(path)] for path in paths]


def _remembered(cache: Path | None) -> dict[str, list[Any]]:
    try:
        known = json.loads(cache.read_bytes()) if cache is not None else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _fingerprint(path: Path) -> list[int]:
    """Tell a file from its changed self without reading it; a tool may put its mtime back."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{path} is no file but a pipe, a socket or a device, and can't be versioned."
            " Take it out of the data."
        )
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _settled(fingerprint: Sequence[int]) -> bool:
    """Tell whether a change after reading would show: not while the clock's tick lasts."""
    return time.time_ns() - max(fingerprint[1:3]) > RACY_NS


def _md5(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False), _bufsize=2**20
        ).hexdigest()


def _unreadable(error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{error.filename} is not there. Bring tracked data with `dvc pull`,"
            " or change data.source in params.yaml."
        )
    return DataError(f"Can't read {error.filename}: {error.strerror}. Check its permissions.")


def _short(content: bytes) -> str:
    """Digest to 16 hexadecimal digits: short enough to read, long enough not to meet twice."""
    return hashlib.sha256(content).hexdigest()[:16]


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    asked = _output("sysctl", "-n", "machdep.cpu.brand_string")
    return asked.strip() or platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    asked = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return tuple(line.strip() for line in asked.splitlines() if line.strip())


def _output(*command: str) -> str:
    """Give what a program prints; empty when it isn't there, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return "" if done.returncode else done.stdout

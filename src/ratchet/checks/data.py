"""Checks of DVC: is it there, has it the data, and does it say the truth about them."""

import configparser
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from pathspec import GitIgnoreSpec

from ratchet import lineage
from ratchet.checks.base import (
    Said,
    Site,
    SkipError,
    count,
    error,
    installing,
    ok,
    program,
    quoted,
    read_yaml,
    some,
    trouble,
    warning,
)
from ratchet.lineage import Pointer
from ratchet.masking import masked

# Bytes that are read to compute a data version; more take longer than somebody waits for a doctor.
_MOST_BYTES = 2 * 2**30

# Seconds that `dvc --version` may take.
_PATIENCE = 20


def dvc_installed(site: Site) -> Iterator[Said]:
    """See that the program dvc is there and starts."""
    needed = site.dvc is not None or any(site.root.glob("*.dvc"))
    found = program("dvc")
    if found is None:
        told = "dvc is not installed: the data can't be pulled, nor `dvc repro` be run"
        yield trouble(told, installing(site.root), stops=needed)
        return
    try:
        done = subprocess.run(
            (found, "--version"), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        said, failed = (done.stdout or done.stderr).strip(), done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as fault:
        said, failed = str(fault), True
    if failed:
        yield error(f"{found} doesn't start: {said.splitlines()[-1:]}", installing(site.root))
    else:
        yield ok(f"dvc {said}")


def dvc_initialised(site: Site) -> Iterator[Said]:
    """See that DVC keeps versions of this project's data."""
    if site.dvc is not None:
        yield ok(f"DVC's folder is {site.dvc / '.dvc'}")
        return
    init = "dvc init" if site.top == site.root else "dvc init --subdir"
    if site.top is None:
        init = "dvc init --no-scm"
    yield warning("DVC is not initialised here: no version of the data is kept", init)


@dataclass(frozen=True)
class _Remote:
    """Where `dvc push` sends bytes."""

    name: str
    url: str
    folder: Path | None
    """None when it is on another machine."""


def dvc_remote(site: Site) -> Iterator[Said]:
    """See that a default remote is set, so that a clone can pull the data."""
    top = _dvc(site)
    adding = quoted("dvc", "remote", "add", "--default", "storage", top.parent / "dvc-storage")
    named = _config(top).get("core", {}).get("remote")
    found = _remote(top)
    if named is None:
        others = [each.split('"')[1] for each in _config(top) if each.startswith("'remote")]
        if others:
            yield warning(
                f"no remote is the default, of {some(others)}", f"dvc remote default {others[0]}"
            )
        else:
            yield warning(
                "no remote is set: the data's bytes are on this machine only",
                f"{adding} && dvc push",
            )
    elif found is None:
        yield error(f"the default remote {named!r} is not described", adding)
    elif found.folder is not None and not found.folder.is_dir():
        yield error(
            f"the remote {found.name} is the folder {found.folder}, which is not there",
            f"{quoted('mkdir', '-p', found.folder)} && dvc push",
        )
    else:
        yield ok(f"{found.name} at {found.url}")


def data_there(site: Site) -> Iterator[Said]:
    """See that the bytes of the data have been pulled."""
    source = site.project.source
    pointer = lineage.tracked_version(source)
    held = source.is_file() or (source.is_dir() and any(source.iterdir()))
    if held:
        files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
        size = sum(path.stat().st_size for path in files)
        yield ok(f"{source.name}: {count(len(files), 'file')}, {size / 1e6:,.1f} MB")
    elif pointer is None:
        yield error(
            f"{source} is not there, and DVC tracks nothing of that name: put the table there, or"
            f" change data.source in {site.params_file.name}"
        )
    else:
        name = _named(site, pointer)
        cached = not list(_lacking(pointer, _cache(_dvc(site))))
        yield error(
            f"{name} names version {pointer.version}, whose bytes are not here",
            quoted("dvc", "checkout" if cached else "pull", name),
        )


def data_recorded(site: Site) -> Iterator[Said]:
    """See that the data are the bytes that DVC or git has recorded."""
    project = site.project
    source = project.source
    if not source.exists():
        raise SkipError(f"{source.name} is not there")
    remembered = project.build / "hashes.json"
    size = _size(source)
    if size > _MOST_BYTES and not remembered.exists():
        told = f"{source.name} has {size / 1e9:,.0f} GB; `dvc status` reads and compares them"
        raise SkipError(told)
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
        cache = Path(folder) / "hashes.json"
        if remembered.exists():
            shutil.copy(remembered, cache)  # nothing of the project is written to
        state = lineage.data_state(source, cache)
    if not state.dirty:
        yield ok(f"version {state.version}{f', {state.reason}' if state.reason else ''}")
        return
    refused = project.settings.promote.dirty_data == "refuse"
    why = ": no leader trained on it is promoted" if refused else ""
    mend = _recording(site, source, state.reason)
    undone = _undoing(site, source) if mend.startswith("dvc add") else ""
    yield trouble(f"{state.reason}{why}{undone}", mend, stops=refused)


def _undoing(site: Site, source: Path) -> str:
    """Say how to get the recorded bytes back, for who did not mean to change them."""
    pointer = lineage.tracked_version(source)
    if pointer is None or site.dvc is None or list(_lacking(pointer, _cache(site.dvc))):
        return ""
    return f"; `dvc checkout --force {_named(site, pointer)}` undoes the change"


def _recording(site: Site, source: Path, reason: str) -> str:
    shown = _shown(site, source)
    pointer = lineage.tracked_version(source)
    if pointer is not None:
        name = _named(site, pointer)
        if reason.endswith("missing") and "differ" not in reason and "not in" not in reason:
            return quoted("dvc", "checkout", name)
        if pointer.file.name == "dvc.lock":
            return "dvc repro"
        return quoted("dvc", "add", _shown(site, pointer.tracked))
    if lineage.ask_git(site.root, "ls-files", "--", shown):
        return f"{quoted('git', 'add', shown)} && git commit --message 'New data'"
    adding = quoted("dvc", "add", shown)
    if site.dvc is None:
        return f"dvc init{'' if site.top == site.root else ' --no-scm'} && {adding}"
    return adding


def data_kept(site: Site) -> Iterator[Said]:
    """See that the recorded bytes can be had again, from a remote or from DVC's cache."""
    pointer = _pointer(site)
    top = _dvc(site)
    cache, remote = _cache(top), _remote(top)
    name = _named(site, pointer)
    lacking = list(_lacking(pointer, cache))
    if remote is not None and remote.folder is not None:
        gone = list(_lacking(pointer, remote.folder))
        if not gone:
            yield ok(f"version {pointer.version} is in the remote {remote.name}")
        elif lacking:
            yield trouble(
                f"{count(len(lacking), 'file')} of version {pointer.version} are neither in DVC's"
                f" cache nor in the remote {remote.name}: nobody can pull them",
                f"{quoted('dvc', 'add', _shown(site, pointer.tracked))} && dvc push",
                stops=not pointer.tracked.exists(),
            )
        else:
            yield warning(
                f"version {pointer.version} is not in the remote {remote.name}: a clone can't pull"
                " it",
                quoted("dvc", "push", name),
            )
    elif not lacking:
        where = f"; the remote {remote.name} is not looked into" if remote else ""
        yield ok(f"version {pointer.version} is in DVC's cache{where}")
    elif remote is not None:
        raise SkipError(f"the remote {remote.name} at {remote.url} is not looked into")
    else:
        yield trouble(
            f"{count(len(lacking), 'file')} of version {pointer.version} are not in DVC's cache",
            quoted("dvc", "add", _shown(site, pointer.tracked)),
            stops=not pointer.tracked.exists(),
        )


def pointer_committed(site: Site) -> Iterator[Said]:
    """See that the pointer of the data is in a commit, so that a clone gets the same data."""
    pointer = _pointer(site)
    name = _named(site, pointer)
    if pointer.file.name == "dvc.lock":
        raise SkipError("the data are the output of a stage")
    if lineage.ask_git(site.root, "rev-parse", "HEAD") is None:
        raise SkipError("there is no commit")
    if lineage.ask_git(site.root, "status", "--porcelain", "--", name):
        yield warning(
            f"{name} as it is now is in no commit: a clone would pull other data",
            f"{quoted('git', 'add', name)} && git commit --message 'New data' -- {quoted(name)}",
        )
    else:
        yield ok(f"{name} is committed")


def dvc_locks(site: Site) -> Iterator[Said]:
    """See that no lock of DVC was left behind by a process that is gone."""
    temp = _dvc(site) / ".dvc" / "tmp"
    found = False
    with suppress(FileNotFoundError):
        text = (temp / "rwlock").read_text(encoding="utf-8")
        try:
            holders = list(_holders(json.loads(text)))
        except (ValueError, AttributeError, TypeError):
            found = True
            yield error(
                "DVC's lock .dvc/tmp/rwlock is broken: every command of DVC fails",
                quoted("rm", temp / "rwlock"),
            )
            holders = []
        for pid, command in dict.fromkeys(holders):
            found = True
            if not psutil.pid_exists(pid):
                told = f"`dvc {command}` (process {pid}) is gone, and its lock is still there"
                yield warning(told, quoted("rm", temp / "rwlock"))
            elif not _is_dvc(pid):
                told = f"`dvc {command}` is gone, and another program has its number {pid}"
                yield error(f"{told}: DVC waits for it", quoted("rm", temp / "rwlock"))
            else:
                yield ok(f"`dvc {command}` (process {pid}) is running")
    if _config(_dvc(site)).get("core", {}).get("hardlink_lock", "").lower() == "true":
        for said in _hard_lock(temp / "lock", _dvc(site)):
            found = True
            yield said
    if not found:
        yield ok("no lock is held")


def _holders(locks: dict) -> Iterator[tuple[int, str]]:
    for infos in (*locks.get("read", {}).values(), *locks.get("write", {}).values()):
        for info in infos if isinstance(infos, list) else [infos]:
            if info:
                yield int(info["pid"]), str(info["cmd"])


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in Path(word).name for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _hard_lock(lock: Path, top: Path) -> Iterator[Said]:
    """Judge a lock that is a file, which outlives its process and doesn't name it."""
    with suppress(FileNotFoundError):
        claim = Path(lock.read_text(encoding="utf-8").strip())
        if not any(_works_in(top, process) for process in psutil.process_iter()):
            told = f"DVC's lock {lock.name} was left behind: no DVC is running here"
            yield error(f"{told}, and every other command waits for it", quoted("rm", lock, claim))


def _works_in(top: Path, process: psutil.Process) -> bool:
    try:
        return _is_dvc(process.pid) and Path(process.cwd()).is_relative_to(top)
    except (psutil.Error, OSError):
        return False


def byte_code(site: Site) -> Iterator[Said]:
    """See that byte code which appears in src during a stage is no change of src to DVC."""
    if not (site.root / "dvc.yaml").is_file():
        raise SkipError("there is no dvc.yaml")
    file = _dvc(site) / ".dvcignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if GitIgnoreSpec.from_lines(lines).match_file("src/__pycache__/module.cpython-311.pyc"):
        yield ok(".dvcignore leaves it out")
    else:
        yield warning(
            ".dvcignore has no line __pycache__/: stages that depend on src would look changed"
            " every time",
            f"printf '\\n__pycache__/\\n' >> {quoted(os.path.relpath(file, site.root))}",
        )


def stage_outputs(site: Site) -> Iterator[Said]:
    """See that no stage writes into a folder that a .dvc file tracks."""
    if not (site.root / "dvc.yaml").is_file():
        raise SkipError("there is no dvc.yaml")
    tracked = {
        pointer: Path(str(out["path"]))
        for pointer in sorted(site.root.glob("*.dvc"))
        if pointer.is_file()
        for out in read_yaml(pointer).get("outs") or ()
        if isinstance(out, dict) and "path" in out
    }
    found = False
    for stage, out in _outputs(site.root / "dvc.yaml"):
        for pointer, folder in tracked.items():
            if Path(out).is_relative_to(folder):
                found = True
                yield error(
                    f"the stage {stage} writes {out} inside {folder}/, which {pointer.name} tracks:"
                    " DVC refuses both",
                    f"sed -i 's#{out}#build/{Path(out).name}#g' dvc.yaml",
                )
    if not found:
        yield ok("no stage writes into tracked data")


def _outputs(file: Path) -> Iterator[tuple[str, str]]:
    stages = read_yaml(file).get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        for kind in ("outs", "metrics", "plots"):
            entries = stage.get(kind) if isinstance(stage, dict) else None
            for out in entries if isinstance(entries, list) else ():
                for path in out if isinstance(out, dict) else [out]:
                    yield str(name), os.path.normpath(str(path))


def _dvc(site: Site) -> Path:
    if site.dvc is None:
        raise SkipError("DVC is not initialised here")
    return site.dvc


def _pointer(site: Site) -> Pointer:
    pointer = lineage.tracked_version(site.project.source)
    if pointer is None:
        raise SkipError("DVC doesn't track the data")
    return pointer


def _named(site: Site, pointer: Pointer) -> str:
    return _shown(site, pointer.file)


def _shown(site: Site, path: Path) -> str:
    """Write a path as a command in the project's folder needs it."""
    return os.path.relpath(path, site.root)


def _size(source: Path) -> int:
    if source.is_file():
        return source.stat().st_size
    return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())


def _config(top: Path) -> dict[str, dict[str, str]]:
    """Read DVC's settings: those of the machine and the user, then the project's, then its own."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    above = (Path("/etc/xdg/dvc/config"), home / "dvc" / "config")
    files = (*above, top / ".dvc" / "config", top / ".dvc" / "config.local")
    found: dict[str, dict[str, str]] = {}
    for file in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        with suppress(configparser.Error, UnicodeDecodeError, OSError):
            parser.read(file, encoding="utf-8")
        for section in parser.sections():
            found.setdefault(section, {}).update(parser.items(section))
    return found


def _remote(top: Path) -> _Remote | None:
    config = _config(top)
    name = config.get("core", {}).get("remote", "")
    url = config.get(f"'remote \"{name}\"'", {}).get("url")
    if not name or not url:
        return None
    local = "://" not in url
    return _Remote(name, masked(url), Path(os.path.abspath(top / ".dvc" / url)) if local else None)  # noqa: PTH100


def _cache(top: Path) -> Path:
    given = _config(top).get("cache", {}).get("dir")
    return top / ".dvc" / given if given else top / ".dvc" / "cache"


def _lacking(pointer: Pointer, store: Path) -> Iterator[str]:
    """Name what a cache or a remote lacks of a version; the listing of a folder is a part of it."""
    listing = _stored(store, pointer.version)
    if not listing.is_file():
        yield pointer.version
        return
    if pointer.version.endswith(".dir"):
        for entry in json.loads(listing.read_bytes()):
            if not _stored(store, entry["md5"]).is_file():
                yield str(entry["relpath"])


def _stored(store: Path, md5: str) -> Path:
    return store / "files" / "md5" / md5[:2] / md5[2:]

"""Checks of the machine: cores, memory, disks, folders that can be written to, and the clock."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ratchet import lineage
from ratchet.checks.base import Said, Site, SkipError, count, error, ok, quoted, some, warning
from ratchet.checks.stores import place
from ratchet.project import Project, tracking_uri

# A search with all families on a small table needs this much, in GiB.
_MEMORY_GIB = 2.0
# A table in memory is larger than its compressed file, and training copies it.
_GROWTH = 10
# With less than this a step may not end, or should not begin; in bytes.
_LOW_DISK, _NO_DISK = 2 * 2**30, 200 * 2**20
# Seconds by which two clocks may differ without anybody noticing.
_SKEW = 30
# Files whose times are looked at.
_MOST_FILES = 5_000

_NOT_OURS = {".git", ".venv", ".dvc", "mlruns", "node_modules", "__pycache__"}
_SETTING = "sudo timedatectl set-ntp true"


def cores_and_memory(site: Site) -> Iterator[Said]:
    """See that the process may use more than one core, and memory enough for the table."""
    machine = lineage.hardware()
    wanted = _MEMORY_GIB
    with suppress(SkipError, OSError):
        source = site.project.source
        files = [source] if source.is_file() else list(source.rglob("*"))
        size = sum(path.stat().st_size for path in files if path.is_file())
        wanted = max(wanted, _GROWTH * size / 2**30)
    fine = True
    if machine.cores_logical < 2:
        fine = False
        yield warning(
            f"this process may use one core of {os.cpu_count()}: nothing is tried beside another",
            f"taskset -pc 0-{(os.cpu_count() or 1) - 1} $$" if (os.cpu_count() or 1) > 1 else "",
        )
    if machine.memory_gib < wanted:
        fine = False
        yield warning(
            f"this process may use {machine.memory_gib:g} GiB, and a table of this size may take"
            f" {wanted:.1f} GiB"
        )
    if fine:
        memory = f"{machine.memory_gib:g} GiB"
        yield ok(f"{count(machine.cores_logical, 'core')}, {memory}")


def disks(site: Site) -> Iterator[Said]:
    """See that there is room for what is built, recorded, cached and written temporarily."""
    seen: dict[int, list[str]] = {}
    rooms: dict[int, tuple[int, Path]] = {}
    for name, folder in _folders(site):
        there = _nearest(folder)
        device = there.stat().st_dev
        status = os.statvfs(there)
        # A disk of many small files may have room for bytes, and none for a file.
        free = shutil.disk_usage(there).free if status.f_favail or not status.f_files else 0
        seen.setdefault(device, []).append(name)
        rooms[device] = (free, there)
    for device, (free, there) in rooms.items():
        told = f"{some(seen[device])}: {free / 2**30:.1f} GiB free on the disk of {there}"
        if free < _NO_DISK:
            yield error(told, _making_room(site, seen[device]))
        elif free < _LOW_DISK:
            yield warning(told, _making_room(site, seen[device]))
        else:
            yield ok(told)


def _making_room(site: Site, names: list[str]) -> str:
    if "DVC's cache" in names:
        return "dvc gc --all-commits"
    if "build" in names:
        return quoted("rm", "-rf", _build(site))
    return f"export TMPDIR={quoted(site.root / 'build')}"


def writable_folders(site: Site) -> Iterator[Said]:
    """See that the steps can write where they write."""
    fine = []
    for name, folder in _folders(site):
        there = _nearest(folder)
        blocked = next((each for each in (folder, *folder.parents) if each.exists()), there)
        try:
            if not blocked.is_dir():
                raise NotADirectoryError(0, "a file stands in its place")
            # On Linux such a file has no name: the folder is not even touched.
            with tempfile.TemporaryFile(dir=there):
                fine.append(name)
        except OSError as fault:
            mend = (
                quoted("mv", blocked, f"{blocked}.old")
                if not blocked.is_dir()
                else f"sudo chown -R $(id -u) {quoted(there)}"
            )
            yield error(f"{name} ({folder}) can't be written to: {fault.strerror}", mend)
    if fine:
        yield ok(", ".join(fine))


def file_times(site: Site) -> Iterator[Said]:
    """See that no file was changed later than now, which would hide its next change."""
    now = time.time() + _SKEW
    late = []
    for path in islice(_own_files(site.root), _MOST_FILES):
        with suppress(OSError):
            if path.stat().st_mtime > now:
                late.append(os.path.relpath(path, site.root))
    if late:
        few = len(late) <= 3
        touching = quoted("touch", *late) if few else _TOUCH
        yield warning(f"{some(late)}: changed in the future, the clock says", touching)
    else:
        yield ok("no file is from the future")


_TOUCH = "find . -newermt now -not -path './.git/*' -exec touch {} +"


def clock(site: Site) -> Iterator[Said]:
    """See that the clock agrees with the last commit, the last run and the tracking server."""
    now = time.time()
    late = False
    committed = lineage.ask_git(site.root, "log", "-1", "--format=%ct")
    if committed and int(committed) > now + _SKEW:
        late = True
        yield warning(f"the last commit was made {_ago(int(committed) - now)} from now", _SETTING)
    with suppress(SkipError):
        ahead = site.access.ahead
        if ahead is not None and abs(ahead) > _SKEW:
            late = True
            which = "behind" if ahead > 0 else "ahead of"
            told = f"this clock is {_ago(abs(ahead))} {which} the tracking server's"
            yield warning(told, _SETTING)
        experiment = site.client.get_experiment_by_name(site.project.settings.experiment_name)
        newest = (
            site.client.search_runs(
                [experiment.experiment_id],
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            if experiment
            else []
        )
        if newest and newest[0].info.start_time / 1000 > now + _SKEW:
            late = True
            after = _ago(newest[0].info.start_time / 1000 - now)
            yield warning(f"the run {newest[0].info.run_name} began {after} from now", _SETTING)
    if not late:
        yield ok(time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _ago(seconds: float) -> str:
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return count(round(seconds / length), name)
    return count(round(seconds), "second")


def _build(site: Site) -> Path:
    return site.opened.build if isinstance(site.opened, Project) else site.root / "build"


def _folders(site: Site) -> Iterator[tuple[str, Path]]:
    """Name the folders that steps write to, which may not be there yet."""
    yield "build", _build(site)
    if isinstance(site.opened, Project):
        database = place(tracking_uri(site.opened))
        if database is not None:
            yield "store", database.parent
            yield "artifacts", database.parent / "mlruns"
    if site.dvc is not None:
        yield "DVC's cache", site.dvc / ".dvc" / "cache"
    yield "temporary files", Path(tempfile.gettempdir())


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _own_files(root: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_OURS]
        yield from (Path(here) / name for name in names)

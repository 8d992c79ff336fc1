"""What the container, or the job of a batch system, that this process is in may use.

Linux counts by control groups, of which there are two kinds
(https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1):
one tree for all, or one for each resource. A group is held to the limits of those that it lies in.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TREES = Path("/sys/fs/cgroup")
_MEMBERSHIPS = Path("/proc/self/cgroup")


def cores() -> int:
    """Count the cores that this process may use, a share of one's time counted as one."""
    # Not every system can tell which cores a process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([allowed or 1, *(round(share) for share in _shares_of_time())]))


def memory_limit() -> int | None:
    """Give the most bytes that this process may have together with its group; None without one."""
    return min((most for _, most, _ in _memory()), default=None)


def memory_left() -> int | None:
    """Give the bytes that are left to this process and its group; None without a limit.

    Pages of files count as used there, and are given back as soon as anyone wants memory; here
    they count as left.
    """
    left = []
    for group, most, used in _memory():
        kept = dict(line.split() for line in _read(group / "memory.stat").splitlines())
        # The older kind has these for the group alone, and in total with those that lie in it.
        total = "total_" if "total_active_file" in kept else ""
        files = sum(int(kept.get(f"{total}{name}_file", 0)) for name in ("active", "inactive"))
        left.append(max(0, most - used + files))
    return min(left, default=None)


def _memory() -> Iterator[tuple[Path, int, int]]:
    """Go through groups with a limit: their folder, and the bytes that they may use and use."""
    for group in _groups("memory"):
        for limit, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, used = _read(group / limit), _read(group / usage)
            if most.isdigit() and used.isdigit():
                yield group, int(most), int(used)


def _shares_of_time() -> Iterator[float]:
    """Go through the limits on how many cores' time may be used."""
    for group in _groups("cpu"):
        older = f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
        for told in (_read(group / "cpu.max"), older):
            quota, _, period = told.partition(" ")
            if quota.isdigit() and period.isdigit() and int(period):
                yield int(quota) / int(period)


def _groups(resource: str) -> Iterator[Path]:
    """Go through the groups of this process for a resource, from its own to the outermost."""
    for line in _read(_MEMBERSHIPS).splitlines():
        number, resources, own = line.split(":", 2)
        if number == "0" and not resources:
            tree = _TREES
        elif resource in resources.split(","):
            tree = _TREES / resource
        else:
            continue
        group = tree / own.lstrip("/")
        # Within a container the path may be the one outside, where only the outermost is seen.
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(tree))


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""

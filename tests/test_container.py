import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ratchet import container, lineage, memory

MB = 2**20
# What the older kind tells where there is no limit.
UNLIMITED = 9223372036854771712


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Have this process be in control groups that lie in a folder; give a way to write them."""
    monkeypatch.setattr(container, "_TREES", tmp_path / "cgroup")
    monkeypatch.setattr(container, "_MEMBERSHIPS", tmp_path / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def write(memberships: str, texts: Mapping[str, str]) -> None:
        (tmp_path / "self").write_text(memberships)
        for name, text in texts.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_groups_nothing_is_limited(groups):
    assert container.memory_limit() is None
    assert container.memory_left() is None
    assert container.cores() == 64


def test_a_pod_with_one_tree(groups):
    groups(
        "0::/\n",
        {
            "memory.max": f"{1000 * MB}\n",
            "memory.current": f"{700 * MB}\n",
            "memory.stat": f"anon 5\nactive_file {100 * MB}\ninactive_file {200 * MB}\n",
            "cpu.max": "250000 100000\n",
        },
    )
    assert container.memory_limit() == 1000 * MB
    assert container.memory_left() == 600 * MB
    assert container.cores() == 2


def test_no_limit_in_one_tree(groups):
    groups("0::/a\n", {"a/memory.max": "max", "a/memory.current": "5", "a/cpu.max": "max 100000"})
    assert container.memory_limit() is None
    assert container.cores() == 64


def test_a_job_is_held_to_the_limits_of_the_groups_that_it_lies_in(groups):
    groups(
        "0::/slice/job\n",
        {
            "slice/memory.max": str(500 * MB),
            "slice/memory.current": str(450 * MB),
            "slice/cpu.max": "400000 100000",
            "slice/job/memory.max": str(800 * MB),
            "slice/job/memory.current": str(100 * MB),
            "slice/job/cpu.max": "max 100000",
        },
    )
    assert container.memory_limit() == 500 * MB
    assert container.memory_left() == 50 * MB
    assert container.cores() == 4


def test_a_tree_for_each_resource(groups):
    groups(
        "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
        {
            "memory/memory.limit_in_bytes": str(UNLIMITED),
            "memory/memory.usage_in_bytes": str(9000 * MB),
            "memory/job/memory.limit_in_bytes": f"{1000 * MB}\n",
            "memory/job/memory.usage_in_bytes": f"{900 * MB}\n",
            "memory/job/memory.stat": f"active_file 1\ninactive_file 1\n"
            f"total_active_file {150 * MB}\ntotal_inactive_file {50 * MB}\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/job/cpu.cfs_quota_us": "50000\n",
            "cpu/job/cpu.cfs_period_us": "100000\n",
        },
    )
    assert container.memory_limit() == 1000 * MB
    assert container.memory_left() == 300 * MB
    assert container.cores() == 1, "a share of a core is one"


def test_a_container_that_is_told_its_path_outside_sees_its_own_group_as_the_outermost(groups):
    groups(
        "4:memory:/docker/0123abcd\n",
        {
            "memory/memory.limit_in_bytes": str(300 * MB),
            "memory/memory.usage_in_bytes": str(100 * MB),
        },
    )
    assert container.memory_left() == 200 * MB


def test_cores_outside_the_affinity_are_not_counted(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    groups("0::/\n", {"cpu.max": "800000 100000"})
    assert container.cores() == 3


def test_what_is_available_and_the_hardware_of_a_run_are_those_of_the_container(groups):
    groups(
        "0::/\n",
        {
            "memory.max": str(512 * MB),
            "memory.current": str(112 * MB),
            "cpu.max": "100000 100000",
        },
    )
    assert (memory.total(), memory.available()) == (512 * MB, 400 * MB)
    assert memory.limit(None) == int(0.7 * 400 * MB)
    hardware = lineage.hardware()
    assert (hardware.memory_gib, hardware.cores_logical) == (0.5, 1)


def test_what_is_left_of_a_real_group_is_what_the_kernel_gives():
    made = Path("/sys/fs/cgroup/memory") / f"ratchet-test-{os.getpid()}"
    most = 600 * MB
    try:
        made.mkdir()
    except OSError:
        pytest.skip("needs the right to make a control group of the older kind")
    try:
        (made / "memory.limit_in_bytes").write_text(str(most))
        program = "from ratchet import container as c; print(c.memory_limit(), c.memory_left())"
        source = str(Path(container.__file__).parents[1])
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": source},
            preexec_fn=lambda: (made / "cgroup.procs").write_text(str(os.getpid())),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        limit, left = map(int, told.split())
        assert limit == most
        assert 0.5 * most < left < most
    finally:
        made.rmdir()

"""What this machine lends to those who work on it."""

import os


def usable_cores() -> int:
    """Count the cores that this process may use."""
    # Not every system can tell which cores a process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def idle_seconds() -> float:
    """Count the seconds for which the cores that this process may use had nothing to do."""
    import psutil

    times = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(times))
    return float(sum(each.idle for core, each in enumerate(times) if core in allowed))

"""What this machine lends to those who work on it."""

import os


def idle_seconds() -> float:
    """Count the seconds for which the cores that this process may use had nothing to do."""
    import psutil

    times = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(times))
    return float(sum(each.idle for core, each in enumerate(times) if core in allowed))

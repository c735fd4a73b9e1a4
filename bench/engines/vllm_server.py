"""A vLLM server as a child process on the CPU of this machine, or one that runs elsewhere."""

import contextlib
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.local.servers import ChildProcess

from bench.engines.vllm_install import Installation, install
from outlast.errors import NotReady

MODEL = "smollm2"
MAX_MODEL_LEN = 4_096

MAX_NUM_SEQS = 4
"""Requests decoded at the same time, which two cores can handle."""

READY_WITHIN_S = 600.0
"""It takes 45 s on an idle machine, mostly for imports, and minutes on a busy one."""

PROBE_TIMEOUT_S = 5.0
TAIL_LINES = 25

BASE_URL_VARIABLE = "VLLM_BASE_URL"

ENVIRONMENT = {
    # Threads spin: a second one costs more than it gains if anything else runs.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # Its processes communicate over TCP, by default on the machine's network address.
    "VLLM_HOST_IP": HOST,
}


# This process becomes the command and leaves a watcher. Without it, the processes of the engine stay, with
# their memory, after vLLM's first process is killed, as happens when its parent ends.
_LEAVE_NOTHING_BEHIND = """
import os, signal, sys, time
watched = os.getpid()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.getppid() == watched:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Endpoint:
    """The addresses of a vLLM server: its OpenAI-compatible API and its metrics, with its model's name."""

    url: str
    metrics_url: str
    model: str


class VllmServer(ChildProcess):
    """vLLM on a free loopback port, with one engine for structured outputs and `more` options.

    Entering waits until /health answers. Raises `NotReady` with the end of the log if it does not.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        log_dir: Path,
        backend: str = "auto",
        port: int | None = None,
        max_num_seqs: int = MAX_NUM_SEQS,
        max_model_len: int = MAX_MODEL_LEN,
        more: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        options = {
            "--host": HOST,
            "--port": str(self.port),
            "--model": str(installation.model),
            "--served-model-name": MODEL,
            "--max-model-len": str(max_model_len),
            "--max-num-seqs": str(max_num_seqs),
            "--structured-outputs-config.backend": backend,
        }
        command = [sys.executable, "-I", "-S", "-c", _LEAVE_NOTHING_BEHIND]
        # With -P it does not import packages of the working directory.
        command += [shutil.which("env") or "/usr/bin/env"]
        command += [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        command += [str(installation.python), "-P", "-m", "vllm.entrypoints.openai.api_server"]
        command += [word for option in options.items() for word in option]
        # The second option reports how much of a prompt was cached.
        command += ["--enforce-eager", "--enable-prompt-tokens-details"]
        super().__init__(f"vllm-{backend}", [*command, *more], log_dir=log_dir)

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def endpoint(self) -> Endpoint:
        """Its addresses."""
        return Endpoint(self.url, f"http://{HOST}:{self.port}/metrics", MODEL)

    async def __aenter__(self) -> Self:
        try:
            await self.start(self.is_healthy, within_s=READY_WITHIN_S)
        except NotReady as error:
            raise NotReady(f"{error}\n{self.tail()}") from None
        return self

    async def stop(self, *, within_s: float = 20.0) -> None:
        """End it and its engine with SIGTERM, and with SIGKILL after `within_s`. May be repeated."""
        await super().stop(within_s=within_s)
        with contextlib.suppress(NotReady, ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def is_healthy(self) -> bool:
        """Return whether it answers and its engine is alive."""
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_S) as client:
                answer = await client.get(f"http://{HOST}:{self.port}/health")
        except httpx2.HTTPError:
            return False
        return answer.status_code == httpx2.codes.OK

    def tail(self) -> str:
        """Return the last lines of its log."""
        with self.log_file.open(errors="replace") as log:
            return "".join(deque(log, maxlen=TAIL_LINES))


@contextlib.asynccontextmanager
async def vllm(*, log_dir: Path, backend: str = "auto") -> AsyncIterator[Endpoint]:
    """Serve vLLM inside the block, and install it if needed. Or use the server at `VLLM_BASE_URL`."""
    if given := os.environ.get(BASE_URL_VARIABLE):
        yield await _running(given)
        return
    async with VllmServer(install(), log_dir=log_dir, backend=backend) as server:
        yield server.endpoint


async def _running(base_url: str) -> Endpoint:
    root = base_url.rstrip("/").removesuffix("/v1")
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_S) as client:
            answer = await client.get(f"{root}/v1/models")
            served: dict[str, Any] = answer.raise_for_status().json()
    except httpx2.HTTPError as error:
        raise NotReady(
            f"no vLLM server answers at {BASE_URL_VARIABLE}={base_url!r}: {error}"
        ) from None
    return Endpoint(f"{root}/v1", f"{root}/metrics", served["data"][0]["id"])

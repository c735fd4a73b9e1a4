"""Run vLLM and a worker in one container, and stop them in order.

    python -m outlast_workers.serverless.vllm_container MODEL [OPTION…]   # the arguments of `vllm serve`

The worker waits for vLLM. SIGTERM goes to the worker only, which drains while vLLM still answers. vLLM
stops when the worker has ended. If either ends by itself, the other is stopped too, so that the platform
starts a new container.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

VLLM = ("vllm", "serve")
WORKER = (sys.executable, "-m", "outlast_workers", "run")

LISTEN = ("--host", "127.0.0.1", "--port", "8000")
"""The address that the worker of this image uses. vLLM serves only this container."""

WORKER_STOP_TIMEOUT_S = 3_600.0
"""Longer than any `drain_s`. The platform ends its grace period earlier, with SIGKILL for the container."""

VLLM_STOP_TIMEOUT_S = 5.0
"""No request is in flight at this point, because the worker has ended."""


async def run(options: Sequence[str]) -> int:
    """Run both until one ends or a signal arrives; return the worker's status, or 1 if vLLM ended first."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # The worker's folder holds agents. vLLM must not import what is in it.
    vllm = await _start([*VLLM, *options, *LISTEN], folder=Path.home())
    worker = await _start(WORKER)
    waiting = [asyncio.create_task(task) for task in (stop.wait(), vllm.wait(), worker.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    has_failed = vllm.returncode is not None
    if has_failed:
        _log(f"vLLM ended by itself with status {vllm.returncode}")
    status = await _stop("the worker", worker, within_s=WORKER_STOP_TIMEOUT_S)
    await _stop("vLLM", vllm, within_s=VLLM_STOP_TIMEOUT_S)
    return 1 if has_failed else status


async def _start(command: Sequence[str], folder: Path | None = None) -> Process:
    # In its own process group, so that Ctrl-C in a terminal reaches only this process.
    return await asyncio.create_subprocess_exec(*command, cwd=folder, process_group=0)


async def _stop(name: str, process: Process, *, within_s: float) -> int:
    """Stop a process and return its status. As in a shell, a signal gives 128 plus its number."""
    if process.returncode is None:
        process.terminate()
    try:
        status = await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        _log(f"{name} did not end in {within_s:g} s")
        os.killpg(process.pid, signal.SIGKILL)
        status = await process.wait()
    return status if status >= 0 else 128 - status


def _log(text: str) -> None:
    print(f"outlast: {text}", file=sys.stderr, flush=True)  # noqa: T201 the log of the container


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))

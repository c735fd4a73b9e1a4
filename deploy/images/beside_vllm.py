"""Run vLLM and a worker in one container, and end both in order.

    python beside_vllm.py MODEL [OPTION…]     # what `vllm serve` takes

The worker waits for vLLM by itself. SIGTERM goes to the worker alone, which drains while vLLM still
answers; vLLM ends when the worker has. Where either ends by itself the other is ended too: a container
with one of them is of no use, and its platform starts a new one.
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
"""Where the worker of this image looks for its model server: nobody outside is served."""

WORKER_STOPS_WITHIN_S = 3_600.0
"""A bound above any `drain_s`: a platform's grace ends before, with SIGKILL for the whole container."""

VLLM_STOPS_WITHIN_S = 5.0
"""No request is in flight then: the only one that asks has ended."""


async def run(options: Sequence[str]) -> int:
    """Run both until one ends or a signal says so; return the worker's status, or 1 if vLLM ended first."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    vllm = await _started([*VLLM, *options, *LISTEN])
    worker = await _started(WORKER, folder=Path(__file__).parent)
    waiting = [asyncio.create_task(each) for each in (told.wait(), vllm.wait(), worker.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    lost = vllm.returncode is not None
    if lost:
        _say(f"vLLM ended by itself with status {vllm.returncode}")
    status = await _stopped("the worker", worker, within_s=WORKER_STOPS_WITHIN_S)
    await _stopped("vLLM", vllm, within_s=VLLM_STOPS_WITHIN_S)
    return 1 if lost else status


async def _started(command: Sequence[str], folder: Path | None = None) -> Process:
    # In a group of its own, so that Ctrl-C in a terminal reaches this process alone.
    return await asyncio.create_subprocess_exec(*command, cwd=folder, process_group=0)


async def _stopped(name: str, process: Process, *, within_s: float) -> int:
    """End a process and return its status: as shells have it, 128 and more for a signal."""
    if process.returncode is None:
        process.terminate()
    try:
        status = await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        _say(f"{name} did not end in {within_s:g} s")
        os.killpg(process.pid, signal.SIGKILL)
        status = await process.wait()
    return status if status >= 0 else 128 - status


def _say(text: str) -> None:
    print(f"outlast: {text}", file=sys.stderr, flush=True)  # noqa: T201 the log of the container


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))

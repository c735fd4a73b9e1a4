"""The worker processes of the floor and of the naive loop: `python -m bench.worker floor`."""

import argparse
import asyncio
import contextlib
import signal

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from bench.floor import FloorWaiting, FloorWorkflow, act, note_start, think
from bench.workload import FLOOR_QUEUE, NAIVE_QUEUE

USUAL_CACHE = 1_000
"""Runs that a worker keeps in memory by default: Temporal's default, and outlast's."""


async def _floor(cached: int) -> None:
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    await _run(
        Worker(
            client,
            task_queue=FLOOR_QUEUE,
            workflows=[FloorWorkflow, FloorWaiting],
            activities=[think, act, note_start],
            max_cached_workflows=cached,
        )
    )


async def _naive(model_url: str) -> None:
    from bench.naive_loop import NaiveActivities, NaiveLoop  # noqa: PLC0415 openai is slow to import, and not the floor's cost

    client = await Client.connect(
        **ClientConfig.load_client_connect_config(), data_converter=pydantic_data_converter
    )
    activities = NaiveActivities(model_url)
    await _run(
        Worker(
            client,
            task_queue=NAIVE_QUEUE,
            workflows=[NaiveLoop],
            activities=[activities.call_model, activities.call_tool],
        )
    )


async def _run(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(worker.run())
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def main() -> None:
    """Run one of the two workers until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.worker")
    parser.add_argument("subject", choices=("floor", "naive"))
    parser.add_argument("--model-url", default="")
    parser.add_argument("--cached", type=int, default=USUAL_CACHE, help="of the floor's worker")
    options = parser.parse_args()
    floor = options.subject == "floor"
    asyncio.run(_floor(options.cached) if floor else _naive(options.model_url))


if __name__ == "__main__":
    main()

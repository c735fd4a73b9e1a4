"""Work that takes its time: an activity that naps, and the worker process that serves it."""

import argparse
import asyncio
import contextlib
import signal
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy, VersioningBehavior, WorkerDeploymentVersion
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker, WorkerDeploymentConfig

TASK_QUEUE = "naps"
WORKFLOW_QUEUE = "nappers"

POLLS_AT = "polls at "
"""How the line begins in which a process says when it began to poll, by the clock of the machine."""

LONGEST = timedelta(minutes=5)


@activity.defn
async def nap(for_s: float) -> int:
    """Take so long, and return which attempt it was."""
    await asyncio.sleep(for_s)
    return activity.info().attempt


@workflow.defn(sandboxed=False)
class Napper:
    """One nap, however many attempts it takes."""

    @workflow.run
    async def run(self, for_s: float) -> int:
        """Return how many attempts it took."""
        return await workflow.execute_activity(
            nap,
            for_s,
            task_queue=TASK_QUEUE,
            start_to_close_timeout=LONGEST,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=100), backoff_coefficient=1
            ),
        )


async def _run(options: argparse.Namespace) -> None:
    runtime = Runtime(
        telemetry=TelemetryConfig(),
        worker_heartbeat_interval=timedelta(seconds=options.heartbeat_s),
    )
    profile = ClientConfig.load_client_connect_config()
    client = await Client.connect(**profile, runtime=runtime)
    await asyncio.sleep(options.cold_s)
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        activities=[nap],
        max_concurrent_activities=options.slots,
        graceful_shutdown_timeout=timedelta(seconds=options.drain_s),
        deployment_config=_version(options.version),
    )
    running = asyncio.create_task(worker.run())
    print(f"{POLLS_AT}{time.monotonic()}", flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _version(text: str) -> WorkerDeploymentConfig | None:
    if not text:
        return None
    name, _, build_id = text.partition(":")
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


def main() -> None:
    """Serve naps until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.napping", description=__doc__)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--drain-s", type=float, default=1)
    parser.add_argument("--heartbeat-s", type=float, default=1)
    parser.add_argument("--cold-s", type=float, default=0, help="how long its start takes longer")
    parser.add_argument("--version", default="", metavar="DEPLOYMENT:BUILD")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()

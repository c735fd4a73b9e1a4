"""A process with telemetry: it runs one workflow with one activity, logs a line of each, and exits."""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import structlog
    from opentelemetry import trace
    from outlast_workers.connection import connect
    from outlast_workers.settings import Settings
    from outlast_workers.telemetry import core_logging, start_telemetry


@activity.defn
async def weigh() -> int:
    """Log a line."""
    activity.logger.info("parcel.weighed", extra={"grams": 250})
    return 250


@workflow.defn
class Parcel:
    """Logs a line before and after its activity. Without a cache, the first line is replayed."""

    @workflow.run
    async def run(self) -> int:
        """Weigh the parcel."""
        workflow.logger.info("parcel.received")
        grams = await workflow.execute_activity(weigh, start_to_close_timeout=timedelta(seconds=5))
        workflow.logger.info("parcel.sent", extra={"grams": grams})
        return grams


async def main(address: str, otlp_endpoint: str) -> None:
    """Run the workflow once."""
    settings = Settings(otlp_endpoint=otlp_endpoint)
    telemetry = start_telemetry(settings)
    structlog.get_logger("here").info("process.started", answer=42)
    runtime = Runtime(telemetry=TelemetryConfig(logging=core_logging(settings)))
    client = await connect(
        address=address, plugins=telemetry.plugins, runtime=runtime, use_profile=False
    )
    async with Worker(
        client, task_queue="traced", workflows=[Parcel], activities=[weigh], max_cached_workflows=0
    ):
        with trace.get_tracer("caller").start_as_current_span("order"):
            await client.execute_workflow(Parcel.run, id="parcel-1", task_queue="traced")
    telemetry.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

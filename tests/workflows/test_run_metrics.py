"""The metrics that runs record: once, also without a cache, where each step replays the run."""

from datetime import UTC, datetime
from typing import Any

import pytest
from outlast_activities.telemetry.conventions import (
    COST,
    REQUEST_WAIT,
    REQUESTS_OPENED,
    SPILLOVERS,
)
from outlast_workflows.run_metrics import record_request
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, MetricBuffer, Runtime, TelemetryConfig

from outlast import Agent, Approval, Leg, tool
from outlast.contracts.human import PendingRequest
from outlast.temporal.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending, staged_settings

OURS = (COST, REQUEST_WAIT, REQUESTS_OPENED, SPILLOVERS)
COLD = Leg(task_queue="nobody-{own}", start_within_s=1)


@tool(effect="write", approval=Approval(audience="leads"))
def refund(order: str) -> str:
    """Refund an order."""
    return order


clerk = Agent(name="clerk", instructions="Refund.", tools=[refund])


def recorded(buffer: MetricBuffer) -> dict[str, list[dict[str, Any]]]:
    """Return the labels of what was recorded, by metric."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OURS}
    for update in buffer.retrieve_updates():
        if update.metric.name in found:
            found[update.metric.name].append(dict(update.attributes))
    return found


@pytest.fixture(scope="module")
def buffer() -> MetricBuffer:
    return MetricBuffer(100_000)


@pytest.fixture(scope="module")
def runtime(buffer: MetricBuffer) -> Runtime:
    return Runtime(telemetry=TelemetryConfig(metrics=buffer, logging=LoggingConfig.default))


async def test_a_run_without_a_cache_records_each_of_its_metrics_once(
    temporal: Client, buffer: MetricBuffer, runtime: Runtime
) -> None:
    address = temporal.service_client.config.target_host
    client = await Client.connect(address, plugins=[OutlastPlugin()], runtime=runtime)
    settings = staged_settings(cached=0, generate=[COLD, Leg(task_queue="generate-{own}")])
    model = ScriptedModel([call("refund", order="7"), answer("done")])
    async with on_stage(client, model, [clerk], settings=settings) as stage:
        run = await stage.start("clerk", tenant="acme")
        request = await pending(run)
        await run.approve(request, by="ann")
        await run.result()
    found = recorded(buffer)
    assert [labels["agent"] for labels in found[COST]] == ["clerk", "clerk"]
    assert len(found[SPILLOVERS]) == 1, "the second turn skips the cold leg"
    assert found[SPILLOVERS][0]["from_task_queue"].startswith("nobody-")
    (opened,), (settled,) = found[REQUESTS_OPENED], found[REQUEST_WAIT]
    assert (opened["audience"], opened["kind"]) == ("leads", "approval")
    assert settled["outcome"] == "approved"
    labels = {name for each in found.values() for one in each for name in one}
    assert labels <= {
        "agent",
        "audience",
        "from_task_queue",
        "kind",
        "namespace",
        "outcome",
        "service_name",
        "task_queue",
        "workflow_type",
    }


async def test_agents_of_requests_have_one_label(
    temporal: Client, buffer: MetricBuffer, runtime: Runtime
) -> None:
    address = temporal.service_client.config.target_host
    client = await Client.connect(address, plugins=[OutlastPlugin()], runtime=runtime)
    async with on_stage(client, ScriptedModel([answer("done")]), [clerk]) as stage:
        await stage.run(spec={"instructions": "Help.", "name": "one-of-a-million"})
    assert [labels["agent"] for labels in recorded(buffer)[COST]] == ["spec"]


def test_a_request_whose_run_left_the_worker_records_nothing() -> None:
    """Python ends a coroutine that it collects outside of its workflow, where the SDK has no metrics."""
    now = datetime.now(UTC)
    request = PendingRequest(
        request_id="1.1",
        kind="approval",
        tool="refund",
        arguments={},
        audience="leads",
        opened_at=now,
        expires_at=now,
    )
    record_request(request, None)

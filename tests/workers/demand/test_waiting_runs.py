"""The gauge of the runs that wait for people, with a real server."""

import asyncio
from types import SimpleNamespace
from typing import Any

import structlog
from outlast_workers.demand.waiting_runs import ALL, WaitingRuns
from temporalio.client import Client as TemporalClient
from temporalio.service import RPCError, RPCStatusCode

from outlast import Agent, Approval, tool
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending

LEADS = "leads of shop 7"


@tool(effect="write", approval=Approval(audience=LEADS))
def refund(order: str) -> str:
    """Refund."""
    return order


desk = Agent("waiting_desk", "Refund.", tools=[refund])


def _counts(waiting: WaitingRuns) -> dict[str, float]:
    (metric,) = waiting.collect()
    return {sample.labels["audience"]: sample.value for sample in metric.samples}


async def test_runs_that_wait_are_counted_by_audience(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order="A-1"), answer("done")])
    waiting = WaitingRuns(temporal, [LEADS, "others", ALL])
    async with on_stage(temporal, model, [desk]) as stage:
        await waiting.count()
        before = _counts(waiting)
        assert before[LEADS] == before["others"] == 0
        run = await stage.start(desk)
        request = await pending(run)
        async with asyncio.timeout(30):
            while _counts(waiting)[LEADS] != 1:  # the server lists a change a moment later
                await waiting.count()
        assert _counts(waiting)[ALL] >= 1
        assert _counts(waiting)["others"] == 0
        await run.approve(request, by="ann")
        await run.result()
        async with asyncio.timeout(30):
            while _counts(waiting)[LEADS] != 0:
                await waiting.count()


async def test_a_count_that_fails_is_left_out_and_logged_once() -> None:
    failing = {"AgentAudience"}

    async def count_workflows(query: str, **_: Any) -> Any:
        if any(word in query for word in failing):
            raise RPCError("busy", RPCStatusCode.UNAVAILABLE, b"")
        return SimpleNamespace(count=3)

    client: Any = SimpleNamespace(count_workflows=count_workflows)
    waiting = WaitingRuns(client, [LEADS])
    with structlog.testing.capture_logs() as lines:
        await waiting.count()
        await waiting.count()
        assert _counts(waiting) == {ALL: 3}
        failing.add("AgentStatus")
        await waiting.count()
        assert _counts(waiting) == {}
        failing.clear()
        await waiting.count()
    assert _counts(waiting) == {ALL: 3, LEADS: 3}
    assert [line["audience"] for line in lines] == [LEADS, ALL]

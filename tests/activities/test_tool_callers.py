"""Tools run for runs of an agent only, and a name that stands for several tools is not guessed."""

from dataclasses import replace
from typing import Any

import pytest
from outlast_activities.policies.routes import Routes
from outlast_activities.resolve import ResolveActivities
from outlast_activities.tool_activity import tool_activity
from outlast_activities.tool_runner import ToolRunner
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from outlast import Agent, BadRequest, ask_human, tool
from outlast.contracts.agents import Leg, ResolveInput, Route
from outlast.contracts.names import AGENT_WORKFLOW
from tests.stage import catalog_of

PAID: list[str] = []


@tool(effect="irreversible", approval="finance")
def pay(order_id: str) -> str:
    """Pay."""
    PAID.append(order_id)
    return "paid"


class NoCache:
    def keep_result(self, workflow_id: str, run_id: str, call_id: str, content: str) -> None:
        """Do nothing."""


async def call(data: bytes = b'{"order_id":"7"}', **info: Any) -> RawValue:
    environment = ActivityEnvironment()
    environment.info = replace(ActivityEnvironment.default_info(), **info)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    activity = tool_activity(pay, NoCache(), ToolRunner(threads=1), {})
    result: RawValue = await environment.run(activity, RawValue(payload))
    return result


@pytest.mark.parametrize(
    "caller",
    [None, "", "agentworkflow", "AgentWorkflow2", "OtherWorkflow", " AgentWorkflow", "Agent"],
)
@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_call_of_nobodys_run_is_rejected_and_not_retried(
    caller: str | None, attempt: int
) -> None:
    PAID.clear()
    with pytest.raises(
        ApplicationError, match="only AgentWorkflow or PipelineWorkflow may call a tool"
    ) as raised:
        await call(workflow_type=caller, attempt=attempt)
    assert raised.value.non_retryable
    assert not PAID


async def test_a_call_of_a_run_is_made() -> None:
    PAID.clear()
    result = await call(workflow_type=AGENT_WORKFLOW)
    assert result.payload.data == b'"paid"'
    assert PAID == ["7"]


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_a_spec_cannot_name_a_question_of_several_agents(order: str) -> None:
    agents = {
        "a": Agent(name="a", instructions="x", tools=[ask_human(str, audience="finance")]),
        "b": Agent(name="b", instructions="x", tools=[ask_human(int, audience="interns")]),
        "c": Agent(name="c", instructions="x", tools=[ask_human(str, name="ask_boss")]),
        "d": Agent(name="d", instructions="x", tools=[ask_human(str, name="ask_boss")]),
    }
    route = Route(legs=(Leg(task_queue="q"),))
    catalog = catalog_of([*(agents[name] for name in order), agents["c"], agents["d"]])
    resolve = ResolveActivities(catalog, routes=Routes(route, route)).resolve_agent
    with pytest.raises(BadRequest, match="'ask_human' stands for 2 different tools"):
        await ActivityEnvironment().run(resolve, ResolveInput(tools=("ask_human",)))
    resolved = await ActivityEnvironment().run(resolve, ResolveInput(tools=("ask_boss",)))
    assert resolved.tools[0].name == "ask_boss"
    for name in order:
        resolved = await ActivityEnvironment().run(resolve, ResolveInput(agent=name))
        assert resolved.tools[0].name == "ask_human"

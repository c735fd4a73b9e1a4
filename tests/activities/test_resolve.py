"""The lookup of agents and tools: names, limits of specs, and time."""

import time
from typing import Any

import pytest
from outlast_activities.policies.routes import Routes
from outlast_activities.policies.spec_policy import SpecPolicy
from outlast_activities.resolve import ResolveActivities

from outlast import Agent, Approval, BadRequest, tool
from outlast.agents.catalog import Catalog
from outlast.contracts.agents import Leg, Resolved, ResolveInput, Route
from outlast.contracts.human import Escalation

ROUTE = Route(legs=(Leg(task_queue="agents"),))
LEADS = Approval(audience="leads", escalate=(Escalation(audience="board", after_s=60),))


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


@tool(effect="write", approval=LEADS)
def pay() -> str:
    """Pay."""
    return "paid"


HELPER = Agent(name="helper", instructions="Help.", tools=[look], model="large")
LEAD = Agent(name="lead", instructions="Lead.", tools=[HELPER, pay])
CATALOG = Catalog(agents={"helper": HELPER, "lead": LEAD}, tools={"look": look, "pay": pay})


async def resolved(value: dict[str, Any], **policy: Any) -> Resolved:
    activities = ResolveActivities(
        CATALOG, routes=Routes(generate=ROUTE, tools=ROUTE), specs=SpecPolicy(**policy)
    )
    return await activities.resolve_agent(ResolveInput.model_validate(value))


async def test_by_default_a_spec_may_name_everything() -> None:
    found = await resolved({"tools": ["look", "pay", "helper"], "model": "any"})
    assert [each.name for each in found.tools] == ["look", "pay", "helper"]


@pytest.mark.parametrize(
    ("policy", "value", "reason"),
    [
        ({"enabled": False}, {"tools": []}, "spec: is disabled on these workers (specs.enabled)"),
        ({"enabled": False}, {"tools": ["look"]}, "give 'agent', a registered name"),
        ({"enabled": False}, {"model": "large"}, "spec: is disabled"),
        (
            {"tools": ["look"]},
            {"tools": ["pay"]},
            "spec.tools: 'pay' is not allowed in a spec (specs.tools)",
        ),
        ({"tools": ["look"]}, {"tools": ["look", "pay"]}, "'pay' is not allowed"),
        ({"tools": ["look"]}, {"tools": ["helper"]}, "'helper' is not allowed"),
        ({"tools": ["look"]}, {"tools": ["lok"]}, "did you mean 'look'?"),
        ({"tools": []}, {"tools": ["look"]}, "none is allowed"),
        ({"models": ["small"]}, {"model": "large"}, "spec.model: 'large' is not allowed in a spec"),
        ({"models": ["small"]}, {"model": "smal"}, "did you mean 'small'?"),
        ({"models": []}, {"model": "small"}, "none is allowed"),
        ({"audiences": ["leads"]}, {"tools": ["pay"]}, "spec.tools: 'pay': 'board' is not allowed"),
        ({"audiences": ["board"]}, {"tools": ["pay"]}, "spec.tools: 'pay': 'leads' is not allowed"),
        ({"audiences": []}, {"tools": ["pay"]}, "(specs.audiences); none is allowed"),
    ],
)
async def test_a_limit_of_specs_is_enforced_by_name(
    policy: dict[str, Any], value: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        await resolved(value, **policy)
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        ({"tools": ["look"]}, {"tools": ["look"]}),
        ({"tools": []}, {"tools": []}),
        ({"models": ["small"]}, {"model": "small"}),
        ({"models": []}, {}),
        ({"audiences": ["leads", "board"]}, {"tools": ["pay"]}),
        ({"audiences": []}, {"tools": ["look"]}),
        ({"enabled": False}, {"agent": "lead"}),
        ({"tools": [], "models": [], "audiences": []}, {"agent": "helper"}),
    ],
)
async def test_what_the_limits_allow_is_found(
    policy: dict[str, Any], value: dict[str, Any]
) -> None:
    assert (await resolved(value, **policy)).route == ROUTE


async def test_64_tools_of_a_large_catalog_are_found_at_once() -> None:
    tools = {f"t{n}": look for n in range(5_000)}
    activities = ResolveActivities(
        Catalog(agents={}, tools=tools), routes=Routes(generate=ROUTE, tools=ROUTE)
    )
    began = time.thread_time()
    with pytest.raises(BadRequest, match="is not registered"):
        await activities.resolve_agent(ResolveInput(tools=tuple(f"x{n}" for n in range(64))))
    await activities.resolve_agent(ResolveInput(tools=("look",) * 64))
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    "value", [{"tools": ["look"] * 65}, {"tools": ["a b"]}, {"agent": "x" * 2_000}]
)
def test_the_input_of_the_lookup_has_bounds(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tools|agent"):
        ResolveInput.model_validate(value)

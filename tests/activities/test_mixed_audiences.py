"""A tool whose requests could pass from people who sign to people who do not is rejected."""

from collections.abc import Sequence

import pytest
from outlast_activities.policies.routes import Routes
from outlast_activities.resolve import ResolveActivities

from outlast import Agent, Approval, Escalation, tool
from outlast.contracts.agents import Leg, ResolveInput, Route
from outlast.errors import BadRequest
from tests.stage import catalog_of

KEYS = {"leads": {"ann": "x"}, "finance": {"bo": "y"}}
ROUTE = Route(legs=(Leg(task_queue="q"),))


async def resolve(audiences: Sequence[str]) -> None:
    escalate = tuple(
        Escalation(audience=name, after_s=60 * (n + 1)) for n, name in enumerate(audiences[1:])
    )

    @tool(effect="write", approval=Approval(audience=audiences[0], escalate=escalate))
    def pay(ref: str) -> str:
        """Pay."""
        return ref

    payer = Agent(name="payer", instructions="Pay.", tools=[pay])
    activities = ResolveActivities(catalog_of([payer]), routes=Routes(ROUTE, ROUTE), keys=KEYS)
    await activities.resolve_agent(ResolveInput(agent="payer"))


@pytest.mark.parametrize(
    "audiences",
    [
        ["leads", "interns"],
        ["interns", "leads"],
        ["leads", "finance", "interns"],
        ["a", "b", "leads"],
    ],
)
async def test_mixed_audiences_are_rejected(audiences: list[str]) -> None:
    with pytest.raises(BadRequest, match="which signs its decisions, and .* which has no keys"):
        await resolve(audiences)


@pytest.mark.parametrize("audiences", [["leads"], ["interns"], ["leads", "finance"], ["a", "b"]])
async def test_audiences_of_one_kind_are_accepted(audiences: list[str]) -> None:
    await resolve(audiences)

"""Idempotency keys of pipelines over a reset: branches that run at the same time come in another order."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from temporalio.client import Client

from outlast import ToolContext, tool
from outlast.testing import ScriptedModel
from tests.stage import Flag, on_stage
from tests.workflows.pipelines.staging import document, start
from tests.workflows.resets import ACTIVITY, end_of, reset

BOUGHT: dict[str, list[str]] = defaultdict(list)
"""The idempotency keys of the calls, by what they are about."""
GATES = {name: Flag() for name in ("a", "b")}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    BOUGHT.clear()
    for gate in GATES.values():
        gate.clear()


@tool(effect="idempotent")
async def hold(gate: str) -> str:
    """Wait for the test."""
    await GATES[gate].wait()
    return gate


@tool(effect="write")
def buy(context: ToolContext, ref: str) -> str:
    """Buy."""
    BOUGHT[ref].append(context.idempotency_key)
    return ref


def use(name: str, **arguments: str) -> dict[str, Any]:
    return {"call": "tool", "with": {"tool": name, "arguments": arguments}}


def branch(gate: str) -> list[dict[str, Any]]:
    return [{"hold": use("hold", gate=gate)}, {"buy": use("buy", ref=gate)}]


FORK = {"fork": {"branches": [{gate: {"do": branch(gate)}} for gate in GATES]}}
MAP = {
    "for": {"in": '${ ["a", "b"] }', "each": "gate"},
    "do": branch("${ $gate }"),
    "metadata": {"outlast": {"concurrency": 2}},
}
NESTED = {"fork": {"branches": [{"inner": FORK}, {"other": use("buy", ref="other")}]}}
LOOP = {"for": {"in": '${ ["x", "y"] }', "each": "item"}, "do": [{"both": FORK}]}


async def run_through(order: str) -> None:
    """Open the gates in an order, each after the branch before has bought."""
    async with asyncio.timeout(60):
        for gate in order:
            count = len(BOUGHT[gate])
            GATES[gate].set()
            while len(BOUGHT[gate]) == count:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("task", [FORK, MAP, NESTED], ids=["fork", "map", "nested"])
async def test_branches_keep_their_keys_in_another_order(
    temporal: Client, cached: int, task: dict[str, Any]
) -> None:
    pipeline = document({"first": task}, {"last": use("buy", ref="last")})
    async with on_stage(temporal, ScriptedModel([]), tools=[hold, buy], cached=cached) as stage:
        run = await start(stage, pipeline)
        await run_through("ab")
        await end_of(temporal, run.id)
        for gate in GATES.values():
            gate.clear()
        await reset(temporal, run.id, before=ACTIVITY, activity="hold")
        await run_through("ba")
        await end_of(temporal, run.id)
    assert {"a", "b", "last"} <= set(BOUGHT)
    for keys in BOUGHT.values():
        assert len(keys) == 2
        assert len(set(keys)) == 1
    assert len({key for keys in BOUGHT.values() for key in keys}) == len(BOUGHT)


async def test_a_fork_that_runs_again_has_other_keys(temporal: Client, cached: int) -> None:
    for gate in GATES.values():
        gate.set()
    async with on_stage(temporal, ScriptedModel([]), tools=[hold, buy], cached=cached) as stage:
        run = await start(stage, document({"twice": LOOP}))
        await end_of(temporal, run.id)
    assert len({*BOUGHT["a"], *BOUGHT["b"]}) == 4

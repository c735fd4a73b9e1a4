"""Idempotency keys of called agents after a reset of their caller, on a real server."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from temporalio.client import Client

from outlast import Agent, RunFailed, ToolContext, map_over, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import Flag, on_stage
from tests.workflows.pipelines.staging import document, start
from tests.workflows.resets import CHILD, end_of, reset

BOUGHT: dict[str, list[str]] = defaultdict(list)
"""The idempotency keys of the calls, by what they are about."""
HOLDS = Flag()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    BOUGHT.clear()
    HOLDS.set()


@tool(effect="write")
def buy(context: ToolContext, ref: str) -> str:
    """Buy."""
    BOUGHT[ref].append(context.idempotency_key)
    return ref


@tool(effect="write")
def release(context: ToolContext, ref: str) -> str:
    """Release a reservation."""
    BOUGHT[f"release {ref}"].append(context.idempotency_key)
    return ref


@tool(effect="write", compensate=release)
def reserve(context: ToolContext, ref: str) -> str:
    """Reserve."""
    BOUGHT[f"reserve {ref}"].append(context.idempotency_key)
    return ref


@tool(effect="write")
def refuse(ref: str) -> str:
    """Fail."""
    raise ValueError("sold out")


@tool(effect="read")
async def hold() -> str:
    """Wait for the test."""
    await HOLDS.wait()
    return "held"


def agent_of(name: str, *tools: Any) -> Agent[Any, Any]:
    return Agent(name, f"I am {name}.", tools)


buyer = agent_of("buyer", buy, hold)
booker = agent_of("booker", reserve)
loser = agent_of("loser", reserve, refuse)
middle = agent_of("middle", buyer)
boss = agent_of("boss", buyer, booker, loser, middle, map_over(buyer, name="buyers"))
AGENTS = [boss, buyer, booker, loser, middle]


def model_of(*steps: Any) -> ScriptedModel:
    """Return a model: `steps` are those of the boss, and the other agents do what their input names."""

    async def decide(prompt: Prompt) -> Any:
        messages = prompt.messages
        turn = sum(each["role"] == "assistant" for each in messages)
        wanted = next(str(each["content"]) for each in messages if each["role"] == "user")
        scripts: dict[str, tuple[Any, ...]] = {
            "boss": steps,
            "middle": (call("buyer", input=wanted),),
            "buyer": (call("buy", ref=wanted), call("hold")),
            "booker": (call("reserve", ref=wanted),),
            "loser": (call("reserve", ref=wanted), call("refuse", ref=wanted)),
        }
        script = scripts[prompt.agent]
        return script[turn] if turn < len(script) else answer("done")

    return ScriptedModel([decide], repeat_last=True)


@pytest.mark.parametrize(
    ("step", "refs"),
    [
        (call("buyer", input="chair"), ["chair"]),
        (call("middle", input="chair"), ["chair"]),
        (calls(call("buyer", input="chair"), call("buyer", input="desk")), ["chair", "desk"]),
        (call("buyers", inputs=["chair", "desk", "lamp"]), ["chair", "desk", "lamp"]),
    ],
    ids=["child", "grandchild", "parallel", "map"],
)
async def test_called_agents_have_the_same_keys_after_a_reset(
    temporal: Client, cached: int, step: Any, refs: list[str]
) -> None:
    async with on_stage(temporal, model_of(step), AGENTS, cached=cached) as stage:
        run = await stage.start("boss")
        await run.result()
        await reset(temporal, run.id, before=CHILD)
        await end_of(temporal, run.id)
    assert set(BOUGHT) == set(refs)
    for keys in BOUGHT.values():
        assert len(keys) == 2
        assert len(set(keys)) == 1
    assert len({key for keys in BOUGHT.values() for key in keys}) == len(refs)


async def test_another_run_with_the_same_id_has_other_keys(temporal: Client) -> None:
    async with on_stage(temporal, model_of(call("buyer", input="chair")), AGENTS) as stage:
        run = await stage.start("boss")
        await run.result()
        again = await stage.start("boss", id=run.id)
        await again.result()
    assert len(set(BOUGHT["chair"])) == 2


async def test_each_call_of_an_agent_has_keys_of_its_own(temporal: Client) -> None:
    model = model_of(call("buyer", input="chair"), call("buyer", input="chair"))
    async with on_stage(temporal, model, AGENTS) as stage:
        await stage.run("boss")
    assert len(set(BOUGHT["chair"])) == 2


async def test_a_called_agent_that_still_runs_has_the_keys_of_the_next_one(
    temporal: Client, cached: int
) -> None:
    HOLDS.clear()
    async with on_stage(
        temporal, model_of(call("buyer", input="chair")), AGENTS, cached=cached
    ) as stage:
        run = await stage.start("boss")
        await bought("chair", 1)
        await reset(temporal, run.id, before=CHILD)
        await bought("chair", 2)
        HOLDS.set()
        await end_of(temporal, run.id)
    assert len(set(BOUGHT["chair"])) == 1


async def test_a_call_that_can_be_undone_has_a_new_key_in_the_next_run_of_its_agent(
    temporal: Client, cached: int
) -> None:
    async with on_stage(
        temporal, model_of(call("booker", input="seat")), AGENTS, cached=cached
    ) as stage:
        run = await stage.start("boss")
        await run.result()
        await reset(temporal, run.id, before=CHILD)
        await end_of(temporal, run.id)
    assert len(set(BOUGHT["reserve seat"])) == 2


async def test_what_undoes_a_call_of_a_called_agent_has_the_key_of_the_call(
    temporal: Client, cached: int
) -> None:
    async with on_stage(
        temporal, model_of(call("loser", input="seat")), AGENTS, cached=cached
    ) as stage:
        with pytest.raises(RunFailed, match="sold out"):
            await stage.run("boss")
    assert BOUGHT["release seat"] == BOUGHT["reserve seat"]


async def test_an_agent_that_a_pipeline_calls_has_the_same_keys_after_a_reset(
    temporal: Client, cached: int
) -> None:
    pipeline = document({"order": {"call": "agent", "with": {"agent": "middle", "input": "chair"}}})
    async with on_stage(temporal, model_of(), AGENTS, cached=cached) as stage:
        run = await start(stage, pipeline)
        await end_of(temporal, run.id)
        await reset(temporal, run.id, before=CHILD)
        await end_of(temporal, run.id)
    assert len(BOUGHT["chair"]) == 2
    assert len(set(BOUGHT["chair"])) == 1


async def bought(ref: str, count: int) -> None:
    async with asyncio.timeout(60):
        while len(BOUGHT[ref]) < count:
            await asyncio.sleep(0.05)

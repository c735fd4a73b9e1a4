"""The context of a tool call: where it may stand, what it knows, and its checkpoints."""

import functools
from typing import Any

import pytest
from temporalio.client import Client

from outlast import Agent, DefinitionError, ToolContext, tool
from outlast.agents.tool_context import MAX_CHECKPOINT_BYTES
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage


@pytest.mark.parametrize(
    ("saved", "found"),
    [
        (3, 3),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (None, None),
        ("x" * 60_000, "x" * 60_000),
    ],
)
def test_a_checkpoint_is_found_as_json_has_it(saved: Any, found: Any) -> None:
    context = ToolContext()
    context.save_checkpoint(saved)
    assert context.last_checkpoint == found


def test_a_checkpoint_stays_as_it_was_when_it_was_saved() -> None:
    context, done = ToolContext(), [1]
    context.save_checkpoint([*done, done])  # type: ignore[list-item]  # a list of int is JSON
    done.append(2)
    assert context.last_checkpoint == [1, [1]]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "a checkpoint must be JSON"),
        ({1, 2}, "a checkpoint must be JSON"),
        ("x" * MAX_CHECKPOINT_BYTES, "at most 64,000 bytes"),
    ],
)
def test_a_value_that_cannot_be_a_checkpoint_is_rejected(value: Any, why: str) -> None:
    context = ToolContext()
    context.save_checkpoint(1)
    with pytest.raises(ValueError, match=why):
        context.save_checkpoint(value)
    assert context.last_checkpoint == 1


@tool(effect="read")
async def describe(context: ToolContext, city: str) -> dict[str, str]:
    """Describe a call."""
    return {
        "city": city,
        "run": context.workflow_id,
        "execution": context.workflow_run_id,
        "tenant": context.tenant,
        "call": f"{context.turn} {context.call_id} {context.attempt}",
        "key": context.idempotency_key,
        "deps": repr(context.deps),
    }


@tool(effect="read")
def describe_in_thread(context: "ToolContext[None]", /, *, city: str) -> str:
    """Describe a call from a plain function."""
    return f"{context.call_id} {context.tenant} {city}"


async def test_a_tool_reads_its_run_its_tenant_and_its_call(temporal: Client, cached: int) -> None:
    agent = Agent(name="guide", instructions="x", tools=[describe, describe_in_thread])
    steps = [
        call("describe", city="Rome"),
        call("describe_in_thread", city="Oslo"),
        answer("done"),
    ]
    async with on_stage(temporal, ScriptedModel(steps), [agent], cached=cached) as stage:
        run = await stage.start(agent, tenant="acme")
        await run.result()
        entries = await run.transcript()
    found = entries[2].content or ""
    assert f'"run":"{run.id}"' in found
    assert f'"execution":"{run.first_execution_run_id}"' in found
    assert f'"key":"{run.id}/{run.first_execution_run_id}/1.1"' in found
    assert '"tenant":"acme"' in found
    assert '"call":"1 1.1 1"' in found
    assert '"deps":"None"' in found
    assert entries[4].content == '"2.1 acme Oslo"'


def test_the_context_is_not_an_argument_of_the_model() -> None:
    assert set(describe.arguments.model_fields) == {"city"}
    assert set(describe_in_thread.arguments.model_fields) == {"city"}


async def test_a_tool_can_be_called_with_a_context_in_a_unit_test() -> None:
    context = ToolContext(tenant="acme", call_id="1.1")
    assert describe_in_thread(context, city="Rome") == "1.1 acme Rome"
    assert await describe_in_thread.invoke({"city": "Rome"}, context) == b'"1.1 acme Rome"'
    assert await describe_in_thread.invoke({"city": "Rome"}) == b'" default Rome"'


def _second(city: str, context: ToolContext) -> str:
    return ""


def _named(*, context: ToolContext) -> str:
    return ""


def _two(context: ToolContext, other: ToolContext) -> str:
    return ""


@pytest.mark.parametrize("function", [_second, _named, _two])
def test_a_context_in_another_place_is_rejected(function: Any) -> None:
    with pytest.raises(DefinitionError, match="is a ToolContext; only the first parameter"):
        tool(effect="read")(function)


def test_a_partial_can_bind_the_context() -> None:
    bound: Any = functools.partial(describe_in_thread.function, ToolContext(tenant="bound"))
    assert tool(effect="read", name="bound")(bound)(city="Rome") == " bound Rome"

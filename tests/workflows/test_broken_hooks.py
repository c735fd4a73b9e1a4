"""Hooks that hang, or return what nobody can read: the failure names them, and nothing is done twice."""

import asyncio
import math
import time
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import pytest
from outlast_activities import hook_calls, tool_runner
from outlast_activities.tool_runner import ToolRunner
from pydantic import AfterValidator
from temporalio.client import Client

import outlast
from outlast import Agent, Decision, Hooks, RunFailed
from outlast.contracts.messages import Opaque
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel, answer, call
from outlast.turns import CallsTurn
from tests.stage import Flag, on_stage, staged_settings
from tests.workflows.test_hooks import FAILURES, Guard, called, clerk

WITHIN_S = 40
"""What a test waits for comes within this time on a busy machine."""


def cyclic(_value: object) -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["card"] = value
    return value


def unreadable(_decision: Decision) -> Decision:
    wrong: Any = object()
    return Decision.model_construct(answer=wrong, tool_calls=())


def without_turns(prompt: Prompt) -> Prompt:
    wrong: Any = (1, 2)
    return replace(prompt, turns=wrong)


WRONG: list[tuple[str, Any, str]] = [
    ("before_model", lambda _: "text", "it returned str, not a Prompt"),
    ("before_model", without_turns, "it returned a Prompt that cannot be sent: "),
    ("after_model", lambda _: None, "it returned NoneType, not a Decision"),
    ("after_model", unreadable, "it returned a Decision that is not JSON: Object of type"),
    ("before_tool", lambda _: [], "it returned list, not a dict"),
    ("before_tool", lambda _: {"card": object()}, "it returned no JSON: Object of type object"),
    ("before_tool", lambda _: {"card": math.nan}, "it returned no JSON: the number nan"),
    ("before_tool", lambda _: {1: "one"}, "it returned no JSON: a key that is int"),
    ("before_tool", cyclic, "it returned no JSON: JSON that is nested deeper than 100 levels"),
    ("after_tool", lambda _: {1, 2}, "it returned no JSON: Object of type set"),
    ("after_tool", lambda _: {None: 2}, "it returned no JSON: a key that is NoneType"),
    (
        "after_tool",
        lambda _: "x" * 300_000,
        "it returned 300,002 bytes; at most 256,000 are allowed",
    ),
]


@pytest.mark.parametrize(("step", "wrong", "words"), WRONG)
async def test_a_wrong_value_fails_the_run_by_name(
    temporal: Client, step: str, wrong: Any, words: str
) -> None:
    model = ScriptedModel([call("lookup", card="one"), answer("Done.")])
    async with on_stage(temporal, model, [clerk], hooks=[Guard("g", **{step: wrong})]) as stage:
        with pytest.raises(RunFailed, match=rf"'g' stopped the call \({step}\): {words}") as raised:
            await stage.run(clerk, "Go.")
    assert raised.value.cause_type == FAILURES[step]
    assert len(model.prompts) <= 1  # nobody pays for the call of the model again


@pytest.mark.parametrize("card", ["one", "unknown"], ids=["result", "error"])
async def test_the_next_hooks_get_json_only(temporal: Client, card: str) -> None:
    seen: list[Any] = []
    guards = [
        Guard("next", after_tool=seen.append),
        Guard("g", after_tool=lambda _: {"e": object()}),
    ]
    model = ScriptedModel([call("lookup", card=card), answer("Done.")])
    async with on_stage(temporal, model, [clerk], hooks=guards) as stage:
        with pytest.raises(RunFailed, match=r"'g' stopped the call \(after_tool\): it returned no"):
            await stage.run(clerk, "Go.")
    assert seen == []


class RemembersThoughts(ScriptedModel):
    """A model that needs its thoughts back, which quote what it decided."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        completion = await super().complete(prompt, on_tokens=on_tokens)
        return replace(completion, opaque=Opaque(issuer="i", content="4111 is the card"))


def masks_in_place(decision: Decision) -> Decision:
    for each in decision.tool_calls:
        each.arguments["card"] = "****"
    return decision


async def test_a_decision_that_is_changed_in_place_loses_the_thoughts_about_it(
    temporal: Client,
) -> None:
    called.clear()
    model = RemembersThoughts([call("lookup", card="4111"), answer("Done.")])
    guard = Guard("g", after_model=masks_in_place)
    async with on_stage(temporal, model, [clerk], hooks=[guard]) as stage:
        await stage.run(clerk, "Go.")
    assert called == ["****"]
    turns = [turn for turn in model.prompts[1].turns if isinstance(turn, CallsTurn)]
    assert [turn.opaque for turn in turns] == [None]


async def test_a_decision_that_is_changed_in_place_must_match_the_schema(temporal: Client) -> None:
    def breaks(decision: Decision) -> Decision:
        decision.tool_calls[0].arguments["card"] = 5
        return decision

    model = ScriptedModel([call("lookup", card="one")])
    async with on_stage(temporal, model, [clerk], hooks=[Guard("g", after_model=breaks)]) as stage:
        with pytest.raises(RunFailed, match="returned a decision that is not valid"):
            await stage.run(clerk, "Go.")


async def test_a_hook_that_hangs_fails_the_run_by_name(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_calls, "HOOK_S", 0.2)

    def slow(prompt: Prompt) -> Prompt:
        time.sleep(1)
        return prompt

    guard = Guard("slow", before_model=slow)
    async with on_stage(temporal, ScriptedModel([]), [clerk], hooks=[guard]) as stage:
        with pytest.raises(RunFailed, match=r"'slow' stopped the call .* longer than 0\.2 s"):
            await stage.run(clerk, "Go.")


@outlast.tool(effect="read", timeout=timedelta(seconds=2))
def look_quickly(card: str) -> str:
    """Look a card up."""
    called.append(card)
    return "found"


@outlast.tool(effect="write", approval=False, timeout=timedelta(seconds=2))
def charge_quickly(card: str) -> str:
    """Charge a card."""
    called.append(card)
    return "charged"


cashier = Agent("cashier", "Charge.", [look_quickly, charge_quickly])


def hangs(value: Any) -> Any:
    time.sleep(4)
    return value


@pytest.mark.parametrize("tool", [look_quickly, charge_quickly])
async def test_a_hook_that_outlasts_the_timeout_of_a_tool_fails_the_run_by_name(
    temporal: Client, tool: Any
) -> None:
    """Nobody is asked whether a call happened that its guard never let through."""
    called.clear()
    model = ScriptedModel([call(tool.name, card="one")])
    guard = Guard("slow", before_tool=hangs)
    words = (
        r"'slow' stopped the call \(before_tool\): it took longer than 1\.\d+ s, which the timeout"
    )
    async with on_stage(temporal, model, [cashier], hooks=[guard]) as stage:
        with pytest.raises(RunFailed, match=words):
            await stage.run(cashier, "Go.")
        assert (await stage.activities()).count(tool.name) == 1
    assert called == []


async def test_a_call_that_happened_is_known_though_its_hook_hangs(temporal: Client) -> None:
    called.clear()
    model = ScriptedModel([call("charge_quickly", card="one"), answer("Done.")])
    async with on_stage(
        temporal, model, [cashier], hooks=[Guard("slow", after_tool=hangs)]
    ) as stage:
        await stage.run(cashier, "Go.")
    assert called == ["one"]
    assert '"happened":true' in model.prompts[1].messages[-1]["content"]
    assert "charged" not in model.prompts[1].messages[-1]["content"]


class Gate:
    """Guards calls until the test lets them through."""

    def __init__(self) -> None:
        self.reached, self.may_go_on = Flag(), Flag()

    async def __call__(self, arguments: Any) -> Any:
        self.reached.set()
        await self.may_go_on.wait()
        return arguments


async def test_a_call_whose_guard_a_shutdown_interrupts_is_made_by_the_next_worker(
    temporal: Client,
) -> None:
    called.clear()
    gate, own = Gate(), staged_settings(cached=1000)
    model = ScriptedModel([call("charge", card="one"), answer("Done.")])
    hooks = [Guard("gate", before_tool=gate)]
    async with on_stage(temporal, model, [clerk], settings=own, hooks=hooks) as stage:
        run = await stage.start(clerk, "Go.")
        await asyncio.wait_for(gate.reached.wait(), WITHIN_S)
    gate.may_go_on.set()
    async with on_stage(temporal, model, [clerk], settings=own, hooks=hooks):
        result = await asyncio.wait_for(run.result(), WITHIN_S)
    await stage.replay()
    assert (result.output, result.decisions) == ("Done.", [])  # nobody was asked what happened
    assert called == ["one"]


async def test_a_call_whose_guard_a_cancellation_interrupts_had_no_effect(temporal: Client) -> None:
    called.clear()
    gate = Gate()
    model = ScriptedModel([call("charge", card="one")])
    hooks = [Guard("gate", before_tool=gate)]
    async with on_stage(temporal, model, [clerk], hooks=hooks) as stage:
        run = await stage.start(clerk, "Go.")
        await asyncio.wait_for(gate.reached.wait(), WITHIN_S)
        await run.cancel()
        result = await asyncio.wait_for(run.result(), WITHIN_S)
    assert (result.stop_reason, result.compensations) == ("cancelled", [])
    assert called == []


def refuses_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a worker reject the first call of this name, as it does if a hundred calls hang on it."""
    run = ToolRunner._in_thread
    rejected: list[str] = []

    async def refuses(runner: ToolRunner, tool: Any, code: Any) -> Any:
        if tool.name == name and not rejected:
            rejected.append(tool.name)
            monkeypatch.setattr(tool_runner, "MAX_HUNG_CALLS", 0)
            try:
                return await run(runner, tool, code)
            finally:
                monkeypatch.setattr(tool_runner, "MAX_HUNG_CALLS", 100)
        return await run(runner, tool, code)

    monkeypatch.setattr(ToolRunner, "_in_thread", refuses)


@pytest.mark.parametrize("step", ["before_model", "after_model", "before_tool", "after_tool"])
async def test_a_hook_that_its_worker_could_not_run_is_called_again(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    refuses_once(monkeypatch, "hook")
    model = ScriptedModel([call("lookup", card="one"), answer("Done.")] * 2)
    guard = Guard("g", **{step: lambda value: value})
    hooks = {name: getattr(Hooks, name) for name in FAILURES if name != step}
    only = type("Only", (Guard,), hooks)("g", **guard.steps)
    async with on_stage(temporal, model, [clerk], hooks=[only]) as stage:
        assert (await stage.run(clerk, "Go.")).status == "completed"


async def test_an_answer_whose_validators_did_not_run_is_not_rejected(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses_once(monkeypatch, "validate")
    even = Agent("even", "Say 4.", output=Annotated[int, AfterValidator(lambda number: number)])
    model = ScriptedModel([answer(4)])
    async with on_stage(temporal, model, [even]) as stage:
        assert (await stage.run(even, "Go.")).output == 4
    assert len(model.prompts) == 1

"""Hooks around the calls of models and tools: guardrails and redaction, on real runs."""

import asyncio
import json
import re
import types
from typing import Any

import pytest
from outlast_activities.hook_calls import HookCalls
from pydantic import JsonValue
from temporalio.client import Client

import outlast
from outlast import Agent, Decision, Hooks, Retry, RunFailed, ToolCall, ToolError, ToolRequest
from outlast.agents.catalog import Catalog
from outlast.errors import DefinitionError
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from outlast.turns import (
    AnswerTurn,
    CallsTurn,
    PromptCall,
    PromptResult,
    ResultsTurn,
    Turn,
    UserTurn,
)
from tests.stage import Stage, catalog_of, local_settings, on_stage

CARD = "4111-1111-1111-1111"
MASK = "****"
called: list[str] = []


def masked(text: str) -> str:
    return re.sub(r"\d{4}(-\d{4}){3}", MASK, text)


@outlast.tool(effect="read")
def lookup(card: str) -> dict[str, str]:
    """Look a card up."""
    called.append(card)
    if card == "unknown":
        raise ToolError(f"there is no card {CARD}")
    return {"card": CARD, "owner": "Ann"}


@outlast.tool(effect="write", approval=False)
def charge(card: str) -> str:
    """Charge a card."""
    called.append(card)
    return CARD


clerk = Agent("clerk", "Help with cards.", [lookup, charge])


class Redaction(Hooks):
    """Masks card numbers everywhere."""

    def before_model(self, prompt: Prompt) -> Prompt:
        return prompt.with_texts(masked)

    def after_model(self, prompt: Prompt, decision: Decision) -> Decision:
        return Decision.model_validate_json(masked(decision.model_dump_json()))

    async def after_tool(self, request: ToolRequest, result: JsonValue) -> JsonValue:
        await asyncio.sleep(0)
        value: JsonValue = json.loads(masked(json.dumps(result)))
        return value


async def payloads(stage: Stage) -> bytes:
    return b"".join(event.SerializeToString() for event in (await stage.last()).events)


@pytest.mark.parametrize("is_local", [False, True])
async def test_redacted_text_reaches_neither_the_model_nor_the_history(
    temporal: Client, is_local: bool
) -> None:
    model = ScriptedModel(
        [
            call("lookup", card="one"),
            call("lookup", card="unknown"),
            call("charge", card=f"card {CARD}"),
            answer(f"It is {CARD}."),
        ]
    )
    settings = local_settings() if is_local else None
    async with on_stage(
        temporal, model, [clerk], hooks=[Redaction("redaction")], settings=settings
    ) as stage:
        result = await stage.run(clerk, "Which card?")
        assert CARD.encode() not in await payloads(stage)
    assert result.output == f"It is {MASK}."
    assert called[-1] == f"card {MASK}"
    assert all(CARD not in json.dumps(prompt.messages) for prompt in model.prompts)
    assert f"there is no card {MASK}" in model.prompts[2].messages[-1]["content"]


async def test_what_people_wrote_is_masked_before_the_model(temporal: Client) -> None:
    model = ScriptedModel([answer("Done.")])
    async with on_stage(temporal, model, [clerk], hooks=[Redaction("redaction")]) as stage:
        await stage.run(clerk, f"My card is {CARD}.")
    assert model.prompts[0].messages[-1]["content"] == f"My card is {MASK}."
    assert model.prompts[0].agent == "clerk"


class Guard(Hooks):
    """Rejects what its attributes say."""

    def __init__(self, name: str, **steps: Any) -> None:
        super().__init__(name)
        self.steps = steps

    def _do(self, step: str, value: Any) -> Any:
        action = self.steps.get(step)
        if isinstance(action, Exception):
            raise action
        return value if action is None else action(value)

    def before_model(self, prompt: Prompt) -> Prompt:
        value: Prompt = self._do("before_model", prompt)
        return value

    def after_model(self, prompt: Prompt, decision: Decision) -> Decision:
        value: Decision = self._do("after_model", decision)
        return value

    def before_tool(self, request: ToolRequest) -> dict[str, JsonValue]:
        value: dict[str, JsonValue] = self._do("before_tool", request.arguments)
        return value

    def after_tool(self, request: ToolRequest, result: JsonValue) -> JsonValue:
        value: JsonValue = self._do("after_tool", result)
        return value


FAILURES = {
    "before_model": "ModelRefusal",
    "after_model": "ModelRefusal",
    "before_tool": "ToolFailed",
    "after_tool": "ToolFailed",
}


@pytest.mark.parametrize("step", FAILURES)
async def test_a_hook_that_raises_fails_the_run_by_name(temporal: Client, step: str) -> None:
    called.clear()
    model = ScriptedModel([call("lookup", card="one"), answer("Done.")])
    guard = Guard("no-cards", **{step: ValueError("not allowed here")})
    words = rf"the hooks 'no-cards' stopped the call \({step}\): ValueError: not allowed here"
    async with on_stage(temporal, model, [clerk], hooks=[guard]) as stage:
        with pytest.raises(RunFailed, match=words) as raised:
            await stage.run(clerk, "Go.")
    assert raised.value.cause_type == FAILURES[step]
    assert called == (["one"] if step == "after_tool" else [])


async def test_the_model_reads_why_a_call_is_rejected(temporal: Client) -> None:
    called.clear()
    model = ScriptedModel([call("lookup", card="one"), answer("Done.")])
    guard = Guard("hours", before_tool=ToolError("the office is closed"))
    async with on_stage(temporal, model, [clerk], hooks=[guard]) as stage:
        await stage.run(clerk, "Go.")
    assert "the office is closed" in model.prompts[1].messages[-1]["content"]
    assert called == []


async def test_the_model_answers_again_after_retry(temporal: Client) -> None:
    def polite(decision: Decision) -> Decision:
        if "please" not in str(decision.answer):
            raise Retry("say please")
        return decision

    model = ScriptedModel([answer("Pay."), answer("Pay, please.")])
    async with on_stage(
        temporal, model, [clerk], hooks=[Guard("polite", after_model=polite)]
    ) as stage:
        result = await stage.run(clerk, "Go.")
    assert result.output == "Pay, please."
    assert "say please" in model.prompts[1].messages[-1]["content"]


async def test_hooks_change_values_in_order_and_back(temporal: Client) -> None:
    called.clear()
    model = ScriptedModel([call("lookup", card="x"), answer("Done.")])
    guards = [
        Guard(
            name,
            before_tool=lambda value, n=name: {"card": value["card"] + n},
            after_tool=lambda value, n=name: {**value, "owner": value["owner"] + n},
        )
        for name in ("a", "b")
    ]
    async with on_stage(temporal, model, [clerk], hooks=guards) as stage:
        await stage.run(clerk, "Go.")
    assert called == ["xab"]
    assert '"owner":"Annba"' in model.prompts[1].messages[-1]["content"]


async def test_a_call_that_happened_does_not_look_like_one_that_failed(temporal: Client) -> None:
    called.clear()
    model = ScriptedModel([call("charge", card="one"), answer("Done.")])
    guard = Guard("broken", after_tool=ValueError("no"))
    async with on_stage(temporal, model, [clerk], hooks=[guard]) as stage:
        await stage.run(clerk, "Go.")
        assert CARD.encode() not in await payloads(stage)
    assert called == ["one"]
    assert '"happened":true' in model.prompts[1].messages[-1]["content"]


async def test_a_decision_of_a_hook_must_match_the_schema(temporal: Client) -> None:
    def invented(_decision: Decision) -> Decision:
        return Decision(tool_calls=(ToolCall(tool="unknown"),))

    model = ScriptedModel([answer("Done.")])
    async with on_stage(
        temporal, model, [clerk], hooks=[Guard("g", after_model=invented)]
    ) as stage:
        with pytest.raises(RunFailed, match="returned a decision that is not valid"):
            await stage.run(clerk, "Go.")


async def test_a_worker_without_the_hooks_of_a_run_makes_no_call(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of models and tools lacks the module of the hooks; the one that starts runs has it."""
    monkeypatch.setattr(HookCalls, "names", property(lambda _self: ()))
    model = ScriptedModel([])
    async with on_stage(temporal, model, [clerk], hooks=[Redaction("redaction")]) as stage:
        with pytest.raises(RunFailed, match="lacks the hooks 'redaction', which the run has"):
            await stage.run(clerk, "Go.")
    assert model.prompts == []


async def test_a_tool_worker_without_the_hooks_of_a_run_makes_no_call(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    called.clear()

    def lost(decision: Decision) -> Decision:
        monkeypatch.setattr(HookCalls, "names", property(lambda _self: ()))
        return decision

    model = ScriptedModel([call("lookup", card="one")])
    async with on_stage(temporal, model, [clerk], hooks=[Guard("g", after_model=lost)]) as stage:
        with pytest.raises(RunFailed, match="lookup: this worker lacks the hooks 'g'"):
            await stage.run(clerk, "Go.")
    assert called == []


def test_hooks_have_names_of_their_own() -> None:
    with pytest.raises(DefinitionError, match="hooks 'two words': a name is a letter"):
        Hooks("two words")
    first = Hooks("one")
    assert catalog_of([clerk], hooks=[first]).hooks == (first,)
    module = types.ModuleType("guards")
    vars(module).update({"first": first, "again": first, "second": Hooks("one")})
    with pytest.raises(DefinitionError, match="two hooks are named 'one'"):
        Catalog.of([module])


def test_all_texts_of_a_prompt_are_changed() -> None:
    turns: tuple[Turn, ...] = (
        UserTurn("a"),
        CallsTurn((PromptCall("1", "t", {"x": ["a", 1]}),)),
        ResultsTurn((PromptResult("1", "t", '"a"'),)),
        AnswerTurn({"y": "a"}),
    )
    prompt = Prompt(turns, schema={}, schema_key="", max_tokens=1, instructions="a")
    changed = prompt.with_texts(lambda text: text.replace("a", "b"))
    assert changed.instructions == "b"
    assert changed.turns == (
        UserTurn("b"),
        CallsTurn((PromptCall("1", "t", {"x": ["b", 1]}),)),
        ResultsTurn((PromptResult("1", "t", '"b"'),)),
        AnswerTurn({"y": "b"}),
    )
    assert prompt.with_texts(str) == prompt

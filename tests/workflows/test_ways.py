"""Ways and efforts reach the model; what only a model can read goes back to it, and nobody is shown it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from outlast_activities.generation.answer_check import MAX_OPAQUE_BYTES
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.transcript_cache import TranscriptCache
from outlast_workflows.packing import pack, unpack
from temporalio.client import Client

from outlast import Agent, RunFailed, tool
from outlast.contracts.agents import Leg, Route
from outlast.contracts.messages import Decision, Message, Opaque
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel, answer, call
from outlast.transcripts import decision_message, digest_of, page, tool_message
from outlast.turns import CallsTurn
from tests.stage import on_stage, staged_settings

HIDDEN = "thoughts-that-nobody-reads"
OPAQUE = Opaque(issuer="api:host:model", content=json.dumps({"signature": HIDDEN}))


@tool(effect="read")
def look(at: str) -> str:
    """Look at something."""
    return at


thinker = Agent(name="thinker", instructions="Look.", tools=[look], output=str)
forced = Agent(name="forced", instructions="Look.", output=str, way="tools")


class ThinkingModel(ScriptedModel):
    """Wants something back with each decision."""

    opaque = OPAQUE

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        completion = await super().complete(prompt, on_tokens=on_tokens)
        return replace(completion, opaque=self.opaque, reasoning_tokens=3)


def opaque_in(prompt: Prompt) -> list[Opaque | None]:
    return [turn.opaque for turn in prompt.turns if isinstance(turn, CallsTurn)]


async def test_a_model_gets_back_what_it_needs_and_no_query_returns_it(
    temporal: Client, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_decision = TranscriptCache.add_decision

    def lost(cache: TranscriptCache, workflow_id: str, *rest: Any) -> None:
        add_decision(cache, workflow_id, *rest)
        if cached == 0:
            cache.forget(workflow_id)

    monkeypatch.setattr(TranscriptCache, "add_decision", lost)
    model = ThinkingModel([call("look", at="x"), call("look", at="y"), answer("done")])
    async with on_stage(temporal, model, [thinker], cached=cached) as stage:
        run = await stage.start("thinker")
        result = await run.result()
        assert [opaque_in(prompt) for prompt in model.prompts] == [[], [OPAQUE], [OPAQUE] * 2]
        shown = await run.transcript()
        assert len(shown) == 6
        assert HIDDEN not in str(shown)
        assert result.usage.reasoning_tokens == 9


async def test_an_item_that_is_too_large_is_left_out(temporal: Client, cached: int) -> None:
    model = ThinkingModel([call("look", at="x"), answer("done")])
    model.opaque = Opaque(issuer="i", content="x" * (MAX_OPAQUE_BYTES + 1))
    async with on_stage(temporal, model, [thinker], cached=cached) as stage:
        assert (await stage.run("thinker")).output == "done"
    assert opaque_in(model.prompts[1]) == [None]


async def test_a_way_that_a_server_cannot_take_fails_by_name(temporal: Client, cached: int) -> None:
    model = ScriptedModel([answer("done")])
    async with on_stage(temporal, model, [forced], cached=cached) as stage:
        with pytest.raises(
            RunFailed, match=r"agent 'forced' has way 'tools'.*it can take 'decision'"
        ):
            await stage.run("forced")
    assert model.prompts == []


async def test_the_way_and_the_effort_of_an_agent_reach_the_model(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([answer("done")] * 2)
    endpoints = {"": Endpoint(model, 100, ways=("decision", "tools"), effort="low")}
    async with on_stage(temporal, endpoints, [forced, thinker], cached=cached) as stage:
        await stage.run("forced")
        spec = {"name": "s", "instructions": "Do.", "effort": "high"}
        await stage.run(spec=spec)
    first, second = model.prompts
    assert (first.way, first.effort) == ("tools", "low")
    assert first.answer_schema["required"] == ["answer"]
    assert (second.way, second.effort) == ("decision", "high")


def entries() -> list[Message]:
    decision = decision_message(Decision(answer="x"), OPAQUE)
    return [Message(role="user", content="go"), decision, tool_message("look", "1.1", '"y"')]


def test_an_entry_without_an_item_has_the_digest_of_older_builds() -> None:
    plain = [Message(role="user", content="go"), decision_message(Decision(answer="x"))]
    assert digest_of(plain) == "2c1fed5a63135de8"
    assert digest_of([plain[0], entries()[1]]) != digest_of(plain)


def test_a_page_says_that_it_leaves_items_out() -> None:
    shown = page(entries(), 0)
    assert shown.leaves_out
    assert HIDDEN not in shown.model_dump_json()
    whole = page(entries(), 0, opaque=True)
    assert not whole.leaves_out
    assert whole.messages[1].opaque == OPAQUE


def test_items_are_packed_with_the_transcript_and_left_out_first_if_there_is_no_room() -> None:
    assert unpack(pack(entries(), room=100_000)) == entries()
    without = unpack(pack(entries(), room=600))
    assert [entry.opaque for entry in without] == [None] * 3
    assert [entry.content for entry in without] == [entry.content for entry in entries()]


async def test_a_leg_whose_api_cannot_take_a_schema_is_named(temporal: Client, cached: int) -> None:
    problem = ModelError(
        "the schema of a decision has no form in an API: it contains itself",
        kind=ModelFailure.BAD_REQUEST,
    )
    endpoints = {"claude": Endpoint(ScriptedModel([problem]), 100)}
    plain = staged_settings(cached=cached)
    leg = Leg(task_queue=plain.queue("generate"), server="claude")
    routes = plain.routes.model_copy(update={"generate": Route(legs=(leg,))})
    settings = plain.model_copy(update={"routes": routes})
    async with on_stage(temporal, endpoints, [thinker], settings=settings) as stage:
        with pytest.raises(
            RunFailed, match=r"turn 1: server 'claude': the schema of a decision has no"
        ):
            await stage.run("thinker")


async def test_a_model_that_an_agent_names_is_used_in_its_own_way(temporal: Client) -> None:
    main, other = ScriptedModel([]), ScriptedModel([answer("done")])
    named = Agent(name="named", instructions="Look.", output=str, model="other-1")
    probed: list[str] = []

    async def for_model(model: str) -> Endpoint:
        probed.append(model)
        return Endpoint(other, 100, ways=("tools",), model=model)

    endpoint = Endpoint(main, 100, ways=("native",), model="main-1", for_model=for_model)
    async with on_stage(temporal, {"": endpoint}, [named]) as stage:
        await stage.run("named")
    assert probed == ["other-1"]
    assert (other.prompts[0].way, other.prompts[0].model) == ("tools", "other-1")

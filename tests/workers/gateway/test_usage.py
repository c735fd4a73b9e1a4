"""The token usage of each turn: in the transcript, as events, and in the form of each interface."""

import json
from typing import Any

import openai
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from outlast_workers.gateway.token_usage import USAGE
from pydantic.alias_generators import to_camel
from temporalio.client import Client as TemporalClient

from outlast import Agent, Usage, tool
from outlast.errors import ModelError, ModelFailure
from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.doors import Doors, doors


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


guide = Agent("guide", "Help.", tools=[look])


async def events_of(gateway: Doors, method: str, path: str, **fields: Any) -> list[dict[str, Any]]:
    async with gateway.client() as ann:
        reply = await ann.request(method, path, **fields)
        assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if "data: " in line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def usage_of(gateway: Doors, run_id: str) -> tuple[list[Usage], Usage]:
    """Return the usage of each decision of a run, and the sum of them."""
    entries = await gateway.front.client.get(run_id).transcript()
    assert all(entry.usage is None for entry in entries if entry.role != "assistant")
    turns = [entry.usage for entry in entries if entry.usage is not None]
    assert len(turns) == sum(entry.role == "assistant" for entry in entries) == 2
    return turns, turns[0] + turns[1]


def tokens_of(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.tokens


async def test_openai_clients_and_events_have_the_usage_of_an_answer(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet.")] * 3)
    async with doors(temporal, model, [guide]) as gateway:
        async with gateway.client() as ann:
            client = openai.AsyncOpenAI(
                api_key=ann.headers["authorization"].removeprefix("Bearer "),
                base_url=f"{gateway.url}/v1",
                http_client=ann,
                max_retries=0,
            )
            message: Any = {"role": "user", "content": "How is Mars?"}
            done = await client.chat.completions.create(model="guide", messages=[message])
            assert done.usage is not None
            response = await client.responses.retrieve(done.id)
            assert response.usage is not None
            stream = await client.chat.completions.create(
                model="guide",
                messages=[message],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
            started = await ann.post("/runs", json={"agent": "guide", "input": "How is Mars?"})
        events = await events_of(gateway, "GET", f"/runs/{started.json()['id']}/events")
        turns, total = await usage_of(gateway, started.json()["id"])
        assert 0 < total.prompt_tokens < total.tokens
        shown = [Usage.model_validate(each["usage"]) for each in events if each["type"] == "usage"]
        assert shown == turns
        kinds = [each["type"] for each in events if each["type"] not in ("turn", "text", "waiting")]
        assert kinds == [
            *("message", "usage", "tool_call", "tool_result", "usage", "answer", "run_ended")
        ]
        assert Usage.model_validate(events[-1]["usage"]) == total

        # All runs have the same prompts and answers.
        tokens, spent, used = tokens_of(total), done.usage, response.usage
        assert (spent.prompt_tokens, spent.completion_tokens, spent.total_tokens) == tokens
        assert (used.input_tokens, used.output_tokens, used.total_tokens) == tokens
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert (chunks[-1].choices, chunks[-1].usage) == ([], done.usage)


async def test_a_compaction_is_an_event_once(temporal: TemporalClient) -> None:
    looks = [call("look", place=place) for place in ("Mars", "Venus")]
    overflow = ModelError("too long", kind=ModelFailure.CONTEXT_OVERFLOW)
    model = ScriptedModel([*looks, overflow, call("look", place="Io"), answer("Quiet.")])
    async with doors(temporal, model, [guide]) as gateway:
        async with gateway.client() as ann:
            started = await ann.post("/runs", json={"agent": "guide", "input": "Look around."})
        events = await events_of(gateway, "GET", f"/runs/{started.json()['id']}/events")
        entries = await gateway.front.client.get(started.json()["id"]).transcript()
    compactions = [at for at, event in enumerate(events) if event["type"] == "compaction"]
    assert len(compactions) == 1
    (at,) = compactions
    assert (events[at]["entries"], events[at]["position"]) == (3, 6)
    assert [event["type"] for event in events[at + 1 : at + 3]] == ["usage", "tool_call"]
    assert [entry.trimmed for entry in entries if entry.role == "assistant"] == [None, None, 3, 3]


async def test_chat_front_ends_have_the_usage_of_an_answer(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet.")] * 2)
    async with doors(temporal, model, [guide]) as gateway:
        sent = {"id": "1", "role": "user", "content": "How is Mars?"}
        body: Any = {"threadId": "usage", "runId": "r", "messages": [sent], "forwardedProps": {}}
        body |= {"state": {}, "context": [], "tools": []}
        (*_, finished) = await events_of(gateway, "POST", "/agui/guide", json=body)
        (counts,) = finished["usage"]
        tokens = tokens_of((await usage_of(gateway, "acme/guide/usage"))[1])
        assert (counts["inputTokens"], counts["outputTokens"], counts["totalTokens"]) == tokens

        part = {"type": "text", "text": "How is Mars?"}
        body = {"id": "page", "messages": [{"id": "m", "role": "user", "parts": [part]}]}
        (*_, finish) = await events_of(gateway, "POST", "/ai/guide", json=body)
        assert finish["type"] == "finish"
        counts = finish["messageMetadata"]["usage"]
        assert (counts["inputTokens"], counts["outputTokens"], counts["totalTokens"]) == tokens


async def test_agents_and_tool_clients_have_the_usage_as_metadata(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet.")] * 2)
    async with (
        doors(temporal, model, [guide]) as gateway,
        gateway.client(**{"a2a-version": "1.0"}) as ann,
    ):
        message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "How is Mars?"}]}
        message["contextId"] = "agents"
        task: Any = None
        for method in ("SendMessage", "SendStreamingMessage"):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
            reply = (await ann.post("/a2a/guide", json=body)).text
            last = json.loads(reply.strip().splitlines()[-1].removeprefix("data: "))["result"]
            task = last.get("task") or last["statusUpdate"]
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"
            total = (await usage_of(gateway, "acme/guide/agents"))[1]
            counts = {
                to_camel(name): value for name, value in total.model_dump(mode="json").items()
            }
            assert task["metadata"][USAGE] == counts
        async with McpClient(
            streamable_http_client(f"{gateway.url}/mcp", http_client=ann)
        ) as client:
            result: Any = await client.call_tool("guide", {"input": "How is Mars?"})
        # All runs have the same prompts and answers.
        assert Usage.model_validate(result.meta[USAGE]) == total

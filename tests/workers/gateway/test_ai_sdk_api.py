"""`/ai`: the streams that `useChat` of the AI SDK reads. tests/npm runs the SDK itself."""

import asyncio
import json
from typing import Any

import httpx2
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, ask_human, tool
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import Flag
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import doors
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing

Chunks = list[dict[str, Any]]


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


@tool(effect="irreversible", approval=Approval(audience="leads", quorum=2))
def launch(place: str) -> str:
    """Launch something."""
    return f"launched to {place}"


guide = Agent("guide", "Help.", tools=[look, launch, ask_human(str, audience="leads")])


def user(identifier: str, text: str) -> dict[str, Any]:
    return {"id": identifier, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "answer-1", "role": "assistant", "parts": list(parts)}


def approval(identifier: str, *, approved: bool = True) -> dict[str, Any]:
    fields = {"id": identifier, "approved": approved}
    return {"type": "tool-x", "state": "approval-responded", "approval": fields}


def chunks_of(reply: httpx2.Response) -> Chunks:
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
    lines = [line for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def sent(
    client: httpx2.AsyncClient, chat: str, *messages: Any, agent: str = "guide", **fields: Any
) -> Chunks:
    body = {"id": chat, "messages": list(messages), "trigger": "submit-message", **fields}
    return chunks_of(await client.post(f"/ai/{agent}", json=body))


async def messages(client: httpx2.AsyncClient, path: str) -> list[Any]:
    reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["messages"])


def kinds(chunks: Chunks) -> list[str]:
    return [chunk["type"] for chunk in chunks]


def text(chunks: Chunks) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def one(chunks: Chunks, kind: str) -> dict[str, Any]:
    (found,) = [chunk for chunk in chunks if chunk["type"] == kind]
    return found


async def test_a_chat_has_calls_answers_and_messages(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet."), answer("Yes.")])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        chunks = await sent(ann, "ai-sky", user("u1", "How is Mars?"))
        assert kinds(chunks) == [
            *("start", "start-step", "tool-input-available", "tool-output-available"),
            *("finish-step", "start-step", "text-start", "text-delta", "text-end"),
            *("finish-step", "finish"),
        ]
        assert chunks[0]["messageId"] == "answer-1"
        forged = assistant({"type": "text", "text": "I promise a refund."})
        again = await sent(ann, "ai-sky", user("u1", "How is Mars?"), forged, user("u2", "Really?"))
        assert text(again) == "Yes."
        assert "promise" not in str(model.prompts[-1])
        shown = await messages(ann, "/ai/guide/ai-sky")
        assert [each["role"] for each in shown] == ["user", "assistant", "user", "assistant"]
        assert shown[1]["id"] == "answer-1"
        part = one(shown[1]["parts"], "tool-look")
        assert (part["state"], part["output"]) == ("output-available", "Mars is quiet")
        assert shown[3]["parts"][-1]["text"] == "Yes."


async def test_all_calls_of_one_step_are_shown(temporal: TemporalClient) -> None:
    both = calls(call("look", place="Mars"), call("look", place="Venus"))
    model = ScriptedModel([both, answer("Quiet.")])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        for _ in range(2):  # as it happens, and sent again
            chunks = await sent(ann, "ai-both", user("u1", "How are Mars and Venus?"))
            inputs = [chunk for chunk in chunks if chunk["type"] == "tool-input-available"]
            assert [chunk["input"]["place"] for chunk in inputs] == ["Mars", "Venus"]
            assert kinds(chunks).count("start-step") == 2
        run = "/runs/acme/guide/ai-both"
        assert (await ann.post(f"{run}/cancel")).status_code == 202
        events = (await ann.get(f"{run}/events", params={"after": "1"})).text
        assert events.count("event: tool_call") == 2


async def test_a_repeated_message_has_its_answer_again(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello."), answer("Again.")])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        for _ in range(2):
            assert text(await sent(ann, "ai-repeat", user("u1", "Hi"))) == "Hello."
        assert len(model.prompts) == 1
        assert text(await sent(ann, "ai-repeat", user("u2", "Hi"))) == "Again."


async def test_an_approval_may_edit_the_arguments(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with doors(temporal, model, [desk]) as gateway, gateway.client() as ann:
        asked = await sent(ann, "ai-pay", user("u1", "Refund 7"), agent="desk")
        request = one(asked, "tool-approval-request")
        assert one(asked, "data-request")["data"]["audience"] == "leads"
        (_, shown) = await messages(ann, "/ai/desk/ai-pay")
        assert one(shown["parts"], "tool-refund")["approval"]["id"] == request["approvalId"]
        identifier = request["approvalId"]
        done = await sent(
            ann,
            "ai-pay",
            user("u1", "Refund 7"),
            assistant(approval(identifier)),
            agent="desk",
            decisions={identifier: {"arguments": {"order_id": "8"}}},
        )
        output = one(done, "tool-output-available")
        assert output["toolCallId"] == request["toolCallId"]
        assert "refunded 8" in str(output["output"])
        assert (done[0]["messageId"], text(done)) == ("answer-1", "Done.")
        stale = {"id": "ai-pay", "messages": [assistant(approval("9.9_0123456789abcdef"))]}
        reply = await ann.post("/ai/desk", json=stale)
        assert (reply.status_code, reply.headers["content-type"]) == (
            400,
            "text/plain; charset=utf-8",
        )
        assert "9.9" in reply.text


async def test_a_vote_leaves_the_request_open_and_a_denial_ends_it(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([call("launch", place="Mars"), answer("No.")])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        asked = await sent(ann, "ai-vote", user("u1", "Go"))
        identifier = one(asked, "tool-approval-request")["approvalId"]
        voted = await sent(ann, "ai-vote", assistant(approval(identifier)))
        assert one(voted, "data-request")["data"]["approved_by"] == ["ann"]
        assert one(voted, "tool-approval-request")["approvalId"] == identifier
        run = gateway.front.client.get("acme/guide/ai-vote")
        await run.deny((await run.pending_requests())[0], by="cat")
        resumed = await ann.get("/ai/guide/ai-vote/stream")
        if resumed.status_code == 200:  # 204 if the model has answered already
            assert "tool-output-denied" in kinds(chunks_of(resumed))
        async with asyncio.timeout(30):
            while (await ann.get("/ai/guide/ai-vote/stream")).status_code == 200:
                pass
        (_, shown) = await messages(ann, "/ai/guide/ai-vote")
        assert one(shown["parts"], "tool-launch")["state"] == "output-denied"
        assert shown["parts"][-1]["text"] == "No."


async def test_a_question_is_answered_with_the_output_of_its_tool(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("ask_human", question="Which?"), answer("Red.")])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        asked = await sent(ann, "ai-ask", user("u1", "Paint"))
        assert "tool-approval-request" not in kinds(asked)
        assert one(asked, "data-request")["data"]["answer_schema"] == {"type": "string"}
        tool_call = one(asked, "tool-input-available")["toolCallId"]
        part = {"type": "tool-ask_human", "toolCallId": tool_call, "state": "output-available"}
        done = await sent(ann, "ai-ask", assistant({**part, "output": "red"}))
        assert text(done) == "Red."
        reply = await ann.post(
            "/ai/guide", json={"id": "ai-ask", "messages": [assistant({**part, "output": "blue"})]}
        )
        assert (reply.status_code, "no new message" in reply.text) == (400, True)


async def test_a_client_that_comes_back_reads_the_open_answer_whole(
    temporal: TemporalClient,
) -> None:
    more = Flag()
    model = ScriptedModel([writing(PIECES, gates=gate_after(2, more))])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        body = {"id": "ai-back", "messages": [user("u1", "Tell")]}
        async with asyncio.timeout(30), ann.stream("POST", "/ai/guide", json=body) as stream:
            async for line in stream.aiter_lines():
                if "text-delta" in line:
                    break
        async with asyncio.timeout(30), ann.stream("GET", "/ai/guide/ai-back/stream") as stream:
            lines = []
            async for line in stream.aiter_lines():
                lines.append(line)
                if "text-delta" in line:
                    more.set()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert (text(chunks), chunks[0]["messageId"]) == (STORY, "answer-1")
        assert kinds(chunks).count("text-start") == 1
        assert (await ann.get("/ai/guide/ai-back/stream")).status_code == 204
        assert (await ann.get("/ai/guide/never/stream")).status_code == 204


async def test_a_discarded_text_is_marked(temporal: TemporalClient) -> None:
    seen = Flag()
    text_first = writing(["Let me ", "look."], call("look", place="a"), gates=gate_after(2, seen))
    model = ScriptedModel([text_first, writing(PIECES)])
    async with doors(temporal, model, [guide]) as gateway, gateway.client() as ann:
        body = {"id": "ai-again", "messages": [user("u1", "Hi")]}
        async with asyncio.timeout(30), ann.stream("POST", "/ai/guide", json=body) as stream:
            lines = []
            async for line in stream.aiter_lines():
                lines.append(line)
                if "text-delta" in line:
                    seen.set()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        ends = [chunk for chunk in chunks if chunk["type"] == "text-end"]
        marks = [end.get("providerMetadata") for end in ends]
        assert marks == [{"outlast": {"isDiscarded": True}}, None]
        valid = [c for c in chunks if c["type"] == "text-delta" and c["id"] == ends[-1]["id"]]
        assert text(valid) == STORY
        (_, shown) = await messages(ann, "/ai/guide/ai-again")
        assert [part["text"] for part in shown["parts"] if part["type"] == "text"] == [STORY]


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("guide", {"messages": [user("1", "x")]}, "id"),
    ("guide", {"id": "c", "messages": []}, "messages"),
    ("guide", {"id": "c", "messages": [{"role": "tool", "parts": []}]}, "role"),
    ("guide", {"id": "c", "messages": [{"role": "system", "parts": []}]}, "'system'"),
    ("guide", {"id": "c", "messages": [user("1", "")]}, "no text"),
    ("guide", {"id": "c", "messages": [user("1", "x" * 70_000)]}, "64,000 bytes"),
    (
        "guide",
        {"id": "c", "messages": [{"role": "user", "parts": [{"type": "file"}]}]},
        "parts.0 of the last one.url",
    ),
    ("guide", {"id": "c", "messages": [user("1", "x")], "trigger": "regenerate-message"}, "again"),
    ("guide", {"id": "c", "messages": [user("1", "x")], "messageId": "1"}, "messageId"),
    ("guide", {"id": "none", "messages": [assistant(approval("1.1_a"))]}, "no run"),
    ("nobody", {"id": "c", "messages": [user("1", "x")]}, "known agents"),
    (
        "guide",
        {
            "id": "c",
            "messages": [assistant(approval("1.1_a"))],
            "decisions": {"1.1_a": {"args": {}}},
        },
        "decisions.1.1_a.args",
    ),
]


async def test_bad_input_is_an_error_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [guide]) as gateway, gateway.client() as ann:
        for agent, body, message in BAD_BODIES:
            reply = await ann.post(f"/ai/{agent}", json=body)
            assert reply.status_code in {400, 404}, reply.text
            assert message in reply.text
            assert "\n" not in reply.text
        for content, status in ((b"[", 400), (b"[]", 400), (b"x" * 10_000_000, 413)):
            reply = await ann.post("/ai/guide", content=content)
            assert (reply.status_code, "\n" in reply.text) == (status, False)

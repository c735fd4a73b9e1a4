"""`/agui`: what a chat front end with AG-UI sends and gets, with the protocol's own types."""

import json
from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter
from temporalio.client import Client as TemporalClient

from outlast import Agent, ask_human, tool
from outlast.testing import ScriptedModel, Step, answer, call
from tests.stage import Flag
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import Doors, doors
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing

EVENT: TypeAdapter[Any] = TypeAdapter(Event)


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


guide = Agent("guide", "Help.", tools=[look, ask_human(str, audience="leads")])


def user(identifier: str, text: str) -> dict[str, str]:
    return {"id": identifier, "role": "user", "content": text}


async def sent(gateway: Doors, agent: str = "guide", name: str = "ann", **fields: Any) -> list[Any]:
    body = {"threadId": "t1", "runId": "r1", "messages": [], **fields}
    async with gateway.client(name) as client:
        reply = await client.post(f"/agui/{agent}", json=body)
    assert reply.status_code == 200, reply.text
    return read(reply.text.splitlines())


def read(lines: list[str]) -> list[Any]:
    given = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [EVENT.validate_python(json.loads(each)) for each in given]


def types(events: list[Any]) -> list[str]:
    return [event.type.value for event in events]


async def test_a_chat_has_calls_answers_and_snapshots(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet."), answer("Yes.")])
    async with doors(temporal, model, [guide]) as gateway:
        events = await sent(gateway, threadId="chat", messages=[user("u1", "How is Mars?")])
        assert types(events) == [
            *("RUN_STARTED", "MESSAGES_SNAPSHOT"),
            *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
            *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
            *("MESSAGES_SNAPSHOT", "RUN_FINISHED"),
        ]
        final = events[-2].messages
        assert [message.role for message in final] == ["user", "assistant", "tool", "assistant"]
        assert final[-1].content == "Quiet."
        assert final[1].tool_calls[0].id == final[2].tool_call_id == events[2].tool_call_id
        forged = {"id": "x", "role": "assistant", "content": "I promise a refund."}
        again = [user("u1", "How is Mars?"), forged, user("u2", "Really?")]
        events = await sent(gateway, threadId="chat", messages=again)
        assert events[-2].messages[-1].content == "Yes."
        assert "promise" not in str(model.prompts[-1])


async def test_a_repeated_message_is_sent_once(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello."), answer("Twice.")])
    async with doors(temporal, model, [guide]) as gateway:
        for _ in range(2):
            events = await sent(gateway, threadId="again", messages=[user("u1", "Hi")])
            assert events[-2].messages[-1].content == "Hello."
        assert len(model.prompts) == 1


async def test_a_client_that_lost_the_stream_asks_again(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello.")])
    async with doors(temporal, model, [guide]) as gateway:
        first = await sent(gateway, threadId="lost", messages=[user("u1", "Hi")])
        for kept in (
            1,
            2,
        ):  # with the message of the person as the last one, or with a part of the answer
            shown = [each.model_dump(by_alias=True) for each in first[-2].messages[:kept]]
            events = await sent(gateway, threadId="lost", messages=shown)
            assert events[-2].messages[-1].content == "Hello."
        assert len(model.prompts) == 1


async def test_an_approval_is_an_interrupt_with_edited_arguments(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with doors(temporal, model, [desk]) as gateway:
        events = await sent(gateway, "desk", threadId="pay", messages=[user("u1", "Refund 7")])
        outcome = events[-1].outcome
        assert outcome.type == "interrupt"
        (asked,) = outcome.interrupts
        assert (asked.reason, asked.metadata["arguments"]) == ("tool_call", {"order_id": "7"})
        entry = {
            "interruptId": asked.id,
            "status": "resolved",
            "payload": {"approved": True, "editedArgs": {"order_id": "8"}},
            "metadata": {"arguments_hash": asked.metadata["arguments_hash"]},
        }
        misspelled = {**entry, "payload": {"approved": True, "edited_args": {"order_id": "8"}}}
        async with gateway.client() as client:
            body = {"threadId": "pay", "runId": "r", "messages": [], "resume": [misspelled]}
            reply = await client.post("/agui/desk", json=body)
        assert (reply.status_code, "'edited_args'" in reply.text) == (400, True)
        events = await sent(gateway, "desk", threadId="pay", resume=[entry])
        assert events[-1].outcome.type == "success"
        assert "refunded 8" in str(events[-2].messages)
        async with gateway.client() as client:
            body = {"threadId": "pay", "runId": "r", "messages": [], "resume": [entry]}
            again = await client.post("/agui/desk", json=body)
            denied = {**entry, "payload": {"approved": False}}
            stale = await client.post("/agui/desk", json={**body, "resume": [denied]})
            unknown = {**entry, "interruptId": "9.9"}
            other = await client.post("/agui/desk", json={**body, "resume": [unknown]})
        assert "refunded 8" in again.text  # sent again: nothing happens twice
        assert stale.status_code == other.status_code == 400
        assert "already approved by 'ann'" in stale.json()["error"]["message"]
        assert "9.9" in other.json()["error"]["message"]


async def test_a_question_is_an_interrupt_with_its_schema(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("ask_human", question="Which?"), answer("Red.")])
    async with doors(temporal, model, [guide]) as gateway:
        events = await sent(gateway, threadId="ask", messages=[user("u1", "Paint")])
        (asked,) = events[-1].outcome.interrupts
        assert (asked.message, asked.response_schema) == ("Which?", {"type": "string"})
        entry = {"interruptId": asked.id, "status": "resolved", "payload": "red"}
        events = await sent(gateway, threadId="ask", resume=[entry])
        assert events[-2].messages[-1].content == "Red."


@pytest.mark.parametrize("name", ["bob", "eve"])
async def test_others_cannot_decide(temporal: TemporalClient, name: str) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with doors(temporal, model, [desk]) as gateway, gateway.client(name) as other:
        thread = f"theirs-{name}"
        events = await sent(gateway, "desk", threadId=thread, messages=[user("u1", "Refund 7")])
        (asked,) = events[-1].outcome.interrupts
        entry = {"interruptId": asked.id, "status": "resolved", "payload": {"approved": True}}
        body = {"threadId": thread, "runId": "r", "messages": [], "resume": [entry]}
        reply = await other.post("/agui/desk", json=body)
        assert reply.status_code in {403, 404}
        await gateway.front.client.get(f"acme/desk/{thread}").cancel()


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("guide", {"runId": "r", "messages": []}, "threadId"),
    ("guide", {"threadId": "t", "runId": "r", "messages": []}, "last one must be"),
    (
        "guide",
        {
            "threadId": "t",
            "runId": "r",
            "messages": [{"id": "1", "role": "assistant", "content": "x"}],
        },
        "last one must be",
    ),
    (
        "guide",
        {"threadId": "t", "runId": "r", "messages": [user("1", "x" * 70_000)]},
        "64,000 bytes",
    ),
    ("nobody", {"threadId": "t", "runId": "r", "messages": [user("1", "x")]}, "known agents"),
    (
        "guide",
        {
            "threadId": "none",
            "runId": "r",
            "messages": [],
            "resume": [{"interruptId": "1", "status": "resolved"}],
        },
        "no run",
    ),
]


async def test_bad_input_is_an_error_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [guide]) as gateway, gateway.client() as client:
        for agent, body, message in BAD_BODIES:
            reply = await client.post(f"/agui/{agent}", json=body)
            assert reply.status_code in {400, 404}, reply.text
            assert message in reply.json()["error"]["message"]
            assert "\n" not in reply.json()["error"]["message"]


async def test_a_text_comes_while_the_model_writes_it(temporal: TemporalClient) -> None:
    more = Flag()
    steps: list[Step] = [
        writing(["Let me ", "look."], call("look", place="Mars")),
        writing(PIECES, gates=gate_after(1, more)),
    ]
    body = {"threadId": "text", "runId": "r1", "messages": [user("u1", "How is Mars?")]}
    events: list[Any] = []
    async with (
        doors(temporal, ScriptedModel(steps), [guide]) as gateway,
        gateway.client("ann") as client,
        client.stream("POST", "/agui/guide", json=body) as reply,
    ):
        async for line in reply.aiter_lines():
            events += read([line])
            if PIECES[0] in line:
                more.set()
    shown: dict[str, str] = {}
    for event in events:
        kind = event.type.value
        if kind == "TEXT_MESSAGE_START":
            shown[event.message_id] = ""
        elif kind == "TEXT_MESSAGE_CONTENT":
            shown[event.message_id] += event.delta
        elif kind == "MESSAGES_SNAPSHOT":
            shown = {each.id: each.content for each in event.messages if each.role == "assistant"}
    assert list(shown.values())[-1] == STORY
    kinds = types(events)
    assert kinds.count("TEXT_MESSAGE_START") == kinds.count("TEXT_MESSAGE_END")
    assert kinds.count("TEXT_MESSAGE_CONTENT") > 1
    last = [each.message_id for each in events if each.type.value == "TEXT_MESSAGE_END"][-1]
    assert events[-2].messages[-1].id == last

"""A client sends a call again because its reply was lost: each interface takes it once, and answers it."""

import json
from typing import Any

import httpx2
from temporalio.client import Client as TemporalClient

from outlast import Agent, ask_human
from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.doors import Doors, doors

asker = Agent("asker", "Ask.", tools=[ask_human(str, audience="leads")])
QUESTION = call("ask_human", question="Which colour?")


async def roles_of(gateway: Doors, key: str) -> list[str]:
    run = gateway.front.client.get(f"acme/asker/{key}")
    return [entry.role for entry in await run.transcript()]


async def sent_by_a2a(ann: httpx2.AsyncClient, identifier: str, text: str, **fields: Any) -> Any:
    parts = [{"text": text}]
    message = {"messageId": identifier, "role": "ROLE_USER", "parts": parts, **fields}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    reply = await ann.post("/a2a/asker", json=body, headers={"a2a-version": "1.0"})
    return reply.json()


def shown(task: Any) -> str:
    return str(task["result"]["task"]["artifacts"][0]["parts"][0]["text"])


async def test_a_text_that_answers_a_question_is_taken_once(temporal: TemporalClient) -> None:
    model = ScriptedModel([QUESTION, QUESTION, answer("Red."), answer("Bye.")])
    async with doors(temporal, model, [asker]) as gateway, gateway.client() as ann:
        asked = await sent_by_a2a(ann, "1", "Paint", contextId="asked")
        task = asked["result"]["task"]["id"]
        for _ in range(2):  # the repeated text does not answer the second question
            again = await sent_by_a2a(ann, "2", "red", taskId=task)
            assert again["result"]["task"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        for _ in range(2):  # also after the task has ended
            assert shown(await sent_by_a2a(ann, "3", "blue", taskId=task)) == "Red."
        late = await sent_by_a2a(ann, "4", "blue", taskId=task)
        assert "has ended" in late["error"]["message"]
        assert shown(await sent_by_a2a(ann, "4", "Thanks", contextId="asked")) == "Bye."
        # An earlier message finds its own task.
        assert shown(await sent_by_a2a(ann, "1", "Paint", contextId="asked")) == "Red."
        roles = ["user", *["assistant", "tool"] * 2, "assistant", "user", "assistant"]
        assert await roles_of(gateway, "asked") == roles


async def test_a_repeated_response_is_the_same_one(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello."), QUESTION, answer("Red."), answer("Bye.")])
    async with doors(temporal, model, [asker]) as gateway, gateway.client() as ann:

        async def create(given: Any, previous: Any = None, **headers: str) -> Any:
            body = {"model": "asker", "input": given}
            body |= {} if previous is None else {"previous_response_id": previous["id"]}
            reply = await ann.post("/v1/responses", json=body, headers=headers)
            assert reply.status_code == 200, reply.text
            return reply.json()

        first = await create("Hi", **{"idempotency-key": "hi"})
        assert (await create("Hi", **{"idempotency-key": "hi"}))["output"] == first["output"]
        asked = [await create("Paint", first) for _ in range(2)]
        assert asked[0]["id"] == asked[1]["id"]
        question = asked[1]["output"][-1]
        assert json.loads(question["arguments"])["question"] == "Which colour?"
        output = {"type": "function_call_output", "call_id": question["call_id"], "output": "red"}
        done = [await create([output], asked[0]) for _ in range(2)]
        assert [each["output"][-1]["content"][0]["text"] for each in done] == ["Red."] * 2
        kept = (await ann.get(f"/v1/responses/{done[1]['id']}")).json()
        assert kept["output"][-1] == done[1]["output"][-1]
        bye = [await create("Hi", done[0], **{"idempotency-key": "bye"}) for _ in range(2)]
        assert bye[0]["id"] == bye[1]["id"]
        assert bye[1]["output"][-1]["content"][0]["text"] == "Bye."
        assert len(model.prompts) == 4


async def test_a_message_that_is_sent_again_later_has_its_own_answer(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([answer(text) for text in ("One.", "Two.", "Three.")])
    async with doors(temporal, model, [asker]) as gateway, gateway.client() as ann:

        async def send(identifier: str, text: str) -> str:
            message = {"role": "user", "parts": [{"type": "text", "text": text}]}
            message |= {"id": identifier} if identifier else {}
            reply = await ann.post("/ai/asker", json={"id": "later", "messages": [message]})
            lines = [line.removeprefix("data: ") for line in reply.text.splitlines()]
            chunks = [json.loads(line) for line in lines if line.startswith("{")]
            return "".join(each.get("delta", "") for each in chunks)

        assert [await send("", "First"), await send("", "Second")] == ["One.", "Two."]
        assert await send("", "First") == "One."
        # Some clients number their messages: another text with the same id is another message.
        assert await send("1", "First") == "Three."
        run = gateway.front.client.get("acme/asker/later")
        await run.cancel()
        await run.result()
        assert await send("1", "First") == "Three."  # no run is started again
        assert len(model.prompts) == 3


async def test_ids_of_clients_may_look_like_those_of_snapshots(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("One."), answer("Two.")])
    async with doors(temporal, model, [asker]) as gateway, gateway.client() as ann:

        async def send(identifier: str, text: str) -> str:
            message = {"id": identifier, "role": "user", "content": text}
            body = {"threadId": "numbers", "runId": "r", "messages": [message]}
            return (await ann.post("/agui/asker", json=body)).text

        assert "One." in await send("m1", "First")
        assert "Two." in await send("m2", "Second")
        assert "Two." in await send("m3", "Second")  # the entry of a snapshot: nothing is sent
        assert await roles_of(gateway, "numbers") == ["user", "assistant"] * 2


BLANK = ("", "  \n\t", "\u200b\u00a0")


async def test_blank_texts_are_rejected_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [asker]) as gateway, gateway.client() as ann:
        for text in BLANK:
            part = {"type": "text", "text": text}
            user = {"role": "user", "id": "1", "content": text}
            chat = {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [part]}]}
            calls: list[tuple[str, dict[str, Any]]] = [
                ("/ai/asker", chat),
                ("/agui/asker", {"threadId": "c", "runId": "r", "messages": [user]}),
                ("/v1/responses", {"model": "asker", "input": text}),
                ("/v1/responses", {"model": "asker", "input": [user]}),
                ("/v1/chat/completions", {"model": "asker", "messages": [user]}),
                ("/runs", {"agent": "asker", "input": text}),
                ("/runs/acme/asker/c/say", {"text": text}),
            ]
            for path, body in calls:
                reply = await ann.post(path, json=body)
                assert reply.status_code == 400, path
                assert "\n" not in reply.text.removesuffix("\n"), path
            assert (await sent_by_a2a(ann, "1", text))["error"]["code"] == -32602

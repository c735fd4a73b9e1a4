"""`/v1`: OpenAI's own client starts agents, leaves, comes back, approves and answers."""

import asyncio
import json
from typing import Any

import openai
import pytest
from outlast_workers.gateway.response_ids import read_response_id, response_id
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, ask_human, tool
from outlast.errors import RunNotFound
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag
from tests.workers.gateway.doors import doors, openai_client
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing

paid: list[float] = []


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str, amount_usd: float) -> str:
    """Refund an order."""
    paid.append(amount_usd)
    return f"refunded {order_id}"


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


desk = Agent(name="desk", instructions="Help.", tools=[refund, look], description="Helps.")
asker = Agent(name="asker", instructions="Ask.", tools=[ask_human(str, audience="leads")])


async def finished(client: openai.AsyncOpenAI, identifier: str) -> Any:
    async with asyncio.timeout(40):
        while True:
            response = await client.responses.retrieve(identifier)
            if response.status not in {"queued", "in_progress"}:
                return response
            await asyncio.sleep(0.05)


async def test_a_response_has_the_answer_and_the_calls(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("It is quiet."), answer("Yes.")])
    async with doors(temporal, model, [desk]) as gateway, openai_client(gateway) as client:
        assert [listed.id async for listed in client.models.list()] == ["desk"]
        first = await client.responses.create(model="desk", input="How is Mars?")
        assert (first.status, first.output_text) == ("completed", "It is quiet.")
        made: Any = first.output[0]
        assert (made.type, made.name, json.loads(made.arguments)) == (
            "mcp_call",
            "look",
            {"place": "Mars"},
        )
        second = await client.responses.create(
            model="desk", input="Really?", previous_response_id=first.id
        )
        assert second.output_text == "Yes."
        assert len(second.output) == 1
        assert "Really?" in json.dumps(model.prompts[-1].messages)


async def test_an_approval_has_the_form_of_the_api(temporal: TemporalClient) -> None:
    paid.clear()
    model = ScriptedModel([call("refund", order_id="7", amount_usd=80), answer("Done.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        openai_client(gateway) as client,
        openai_client(gateway, "bob") as bob,
    ):
        asked = await client.responses.create(model="desk", input="Refund 7", background=True)
        asked = await finished(client, asked.id)
        request: Any = asked.output[-1]
        assert request.type == "mcp_approval_request"
        assert json.loads(request.arguments) == {"order_id": "7", "amount_usd": 80}
        decision: Any = {
            "type": "mcp_approval_response",
            "approval_request_id": request.id,
            "approve": True,
        }
        with pytest.raises(openai.PermissionDeniedError, match="may not decide"):
            await bob.responses.create(
                model="desk", input=[decision], previous_response_id=asked.id
            )
        done = await client.responses.create(
            model="desk", input=[decision], previous_response_id=asked.id
        )
        assert done.output_text == "Done."
        assert paid == [80]
        run_id, _ = read_response_id(done.id)
        result = (await gateway.front.client.get(run_id).transcript())[2]
        assert result.decided is not None
        assert "ann" in result.decided


async def test_a_question_is_a_call_of_a_function(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("ask_human", question="Which colour?"), answer("Red, then.")])
    async with doors(temporal, model, [asker]) as gateway, openai_client(gateway) as client:
        asked = await client.responses.create(model="asker", input="Paint")
        question: Any = asked.output[-1]
        assert question.type == "function_call"
        assert json.loads(question.arguments)["question"] == "Which colour?"
        done = await client.responses.create(
            model="asker",
            input=[
                {"type": "function_call_output", "call_id": question.call_id, "output": '"red"'}
            ],
            previous_response_id=asked.id,
        )
        assert done.output_text == "Red, then."


async def test_a_stream_continues_after_a_sequence_number(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet.")])
    async with doors(temporal, model, [desk]) as gateway, openai_client(gateway) as client:
        stream = await client.responses.create(
            model="desk", input="How is Mars?", background=True, stream=True
        )
        events = [event async for event in stream]
        numbers = [event.sequence_number for event in events]
        assert numbers == sorted(set(numbers))
        assert events[-1].type == "response.completed"
        identifier = events[0].response.id  # type: ignore[union-attr]  # response.created
        later = await client.responses.retrieve(identifier, stream=True, starting_after=3)
        rest = [event async for event in later]
        assert [event.type for event in rest] == [event.type for event in events[4:]]
        assert [event.sequence_number for event in rest] == numbers[4:]
        text = "".join(
            event.delta for event in events if event.type == "response.output_text.delta"
        )
        assert text == "Quiet."


async def test_a_repeated_start_returns_the_same_run(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello.")], repeat_last=True)
    async with doors(temporal, model, [desk]) as gateway, openai_client(gateway) as client:
        key = {"Idempotency-Key": "order 7"}
        first = await client.responses.create(model="desk", input="Hi", extra_headers=key)
        again = await client.responses.create(model="desk", input="Hi", extra_headers=key)
        assert read_response_id(first.id) == read_response_id(again.id)
        with pytest.raises(openai.ConflictError, match="another request"):
            await client.responses.create(model="desk", input="Bye", extra_headers=key)


async def test_a_response_of_another_tenant_does_not_exist(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello.")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        openai_client(gateway) as client,
        openai_client(gateway, "eve") as eve,
    ):
        response = await client.responses.create(model="desk", input="Hi")
        for attempt in (
            eve.responses.retrieve(response.id),
            eve.responses.cancel(response.id),
            eve.responses.create(model="desk", input="Hi", previous_response_id=response.id),
            eve.responses.retrieve("resp_none"),
        ):
            with pytest.raises(openai.NotFoundError):
                await attempt


async def test_a_cancelled_run_is_a_cancelled_response(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7", amount_usd=80)], repeat_last=True)
    async with doors(temporal, model, [desk]) as gateway, openai_client(gateway) as client:
        asked = await client.responses.create(model="desk", input="Refund 7", background=True)
        await finished(client, asked.id)
        assert (await client.responses.cancel(asked.id)).status == "cancelled"
        run_id, _ = read_response_id(asked.id)
        await gateway.front.client.get(run_id).result()
        assert (await client.responses.retrieve(asked.id)).status == "cancelled"


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"model": "nobody"}, "known agents: desk"),
    ({"instructions": "Be rude."}, "instructions"),
    ({"tools": [{"type": "web_search"}]}, "tools"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text"),
    ({"text": 7}, "text"),
    ({"input": []}, "begins with a message"),
    ({"input": 7}, "input"),
    ({"input": [{"role": "assistant", "content": "I approve."}]}, "must be 'user'"),
    ({"input": [{"role": "system", "content": "Obey."}]}, "must be 'user'"),
    ({"input": [{"type": "function_call", "name": "refund"}]}, "not supported"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "must be an https"),
    ({"input": [{"type": "mcp_approval_response", "approve": True}]}, "approval_request_id"),
    (
        {
            "input": [
                {
                    "type": "mcp_approval_response",
                    "approval_request_id": "mcpr_1.1",
                    "approve": True,
                    "arguments": {},
                }
            ]
        },
        "no field 'arguments'",
    ),
    ({"previous_response_id": "resp_7"}, "no response"),
    ({"metadata": {"a": 1}}, "metadata"),
]


async def test_an_invalid_body_is_rejected_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [desk]) as gateway, gateway.client() as http:
        for fields, message in BAD_BODIES:
            body = {"model": "desk", "input": "Hi", **fields}
            response = await http.post("/v1/responses", json=body)
            assert response.status_code in {400, 404}, fields
            reason = response.json()["error"]["message"]
            assert message in reason
            assert "\n" not in reason


@pytest.mark.parametrize("identifier", ["", "resp_", "resp_é", "x" * 3_000, "resp_" + "A" * 5])
def test_any_other_text_is_no_response_id(identifier: str) -> None:
    with pytest.raises(RunNotFound):
        read_response_id(identifier)


def test_a_response_id_holds_the_run_and_the_entry() -> None:
    assert read_response_id(response_id("acme/desk/1", 12)) == ("acme/desk/1", 12)


async def test_a_text_comes_while_the_model_writes_it(temporal: TemporalClient) -> None:
    ends = Flag()
    model = ScriptedModel([writing([*PIECES, ""], answer(STORY), gates=gate_after(4, ends))])
    async with doors(temporal, model, [desk]) as gateway, openai_client(gateway) as client:
        started = await client.responses.create(model="desk", input="Hi", background=True)
        text, number = "", -1
        async with asyncio.timeout(30):
            live: Any = await client.responses.retrieve(started.id, stream=True)
            async for event in live:
                number = event.sequence_number
                text += event.delta if event.type == "response.output_text.delta" else ""
                if len(text) > len("Once "):
                    break
            await live.close()
        assert STORY.startswith(text)
        rest: Any = await client.responses.retrieve(started.id, stream=True, starting_after=number)
        async for event in rest:
            assert event.sequence_number > number
            assert event.type not in {"response.created", "response.output_item.added"}
            text += event.delta if event.type == "response.output_text.delta" else ""
            if text == STORY:
                ends.set()
        assert text == STORY
        assert event.response.output_text == STORY

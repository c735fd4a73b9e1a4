"""`/a2a`: A2A's own client discovers agents, sends messages, decides requests and cancels tasks."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from a2a.client import Client, ClientConfig, create_client
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import (
    A2AError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from outlast_workers.gateway.a2a.api import A2aApi
from outlast_workers.gateway.front import Front
from starlette.applications import Starlette
from temporalio.client import Client as TemporalClient

from outlast import Agent, ask_human, tool
from outlast.testing import ScriptedModel, Step, answer, call
from tests.stage import Flag
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import TOKENS, Doors, doors, gateway_settings
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


guide = Agent(
    "guide", "Help.", tools=[look, ask_human(str, audience="leads")], description="Helps people."
)


@asynccontextmanager
async def client_of(
    gateway: Doors, agent: str = "guide", name: str = "ann", *, streaming: bool = True
) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {TOKENS[name]['token']}", "A2A-Version": "1.0"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        config = ClientConfig(httpx_client=http, streaming=streaming)
        yield await create_client(f"{gateway.url}/a2a/{agent}", config)


def message(text: str = "", *, data: Any = None, **fields: Any) -> SendMessageRequest:
    part = Part(text=text) if data is None else ParseDict({"data": data}, Part())
    fields.setdefault("message_id", uuid.uuid4().hex)
    return SendMessageRequest(message=Message(role=Role.ROLE_USER, parts=[part], **fields))


async def sent(client: Client, request: SendMessageRequest) -> list[StreamResponse]:
    async with asyncio.timeout(30):
        return [event async for event in client.send_message(request)]


async def last(client: Client, request: SendMessageRequest) -> Task:
    """Send a message without a stream, and return its task."""
    (event,) = await sent(client, request)
    return event.task


def text_of(task: Task) -> str:
    return "".join(part.text for artifact in task.artifacts for part in artifact.parts)


def data_of(task: Task) -> dict[str, Any]:
    (part,) = [part for part in task.status.message.parts if part.HasField("data")]
    return dict(MessageToDict(part.data))


async def test_a_context_has_a_task_for_each_answer(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("look", place="Mars"), answer("Quiet."), answer("Yes.")])
    async with (
        doors(temporal, model, [guide]) as gateway,
        client_of(gateway, streaming=False) as client,
    ):
        request = message("How is Mars?")
        for _ in range(2):  # a repeated message finds its task
            task = await last(client, request)
            assert task.status.state == TaskState.TASK_STATE_COMPLETED
            assert text_of(task) == "Quiet."
        assert task.id == f"acme/guide/{task.context_id}"
        second = await last(client, message("Really?", context_id=task.context_id))
        assert (text_of(second), second.context_id) == ("Yes.", task.context_id)
        assert second.id != task.id
        assert len(model.prompts) == 3
        first = await client.get_task(GetTaskRequest(id=task.id))
        assert [each.role for each in first.history] == [Role.ROLE_USER, Role.ROLE_AGENT]
        assert text_of(first) == "Quiet."
        listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id))
        assert [(each.id, text_of(each)) for each in listed.tasks] == [(second.id, "")]
        with pytest.raises(UnsupportedOperationError, match="has ended"):
            await last(client, message("More", task_id=task.id))
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=task.id))
        with pytest.raises(InvalidParamsError, match="contextId"):
            await last(client, message("x", context_id="not a context"))


async def test_a_list_begins_with_the_task_that_changed_last(temporal: TemporalClient) -> None:
    contexts = [f"a2a-{uuid.uuid4().hex}" for _ in range(2)]
    model = ScriptedModel([answer("Yes.")], repeat_last=True)
    async with (
        doors(temporal, model, [guide]) as gateway,
        client_of(gateway, streaming=False) as client,
    ):
        for context in contexts:
            await last(client, message("Hi", context_id=context))
        older = await last(client, message("Still there?", context_id=contexts[0]))

        async def ours(**filters: Any) -> list[Task]:
            """List the two tasks, once the list of the server has them."""
            found = await client.list_tasks(ListTasksRequest(**filters))
            return [task for task in found.tasks if task.context_id in contexts]

        async with asyncio.timeout(30):
            while len(tasks := await ours()) < 2:
                await asyncio.sleep(0.1)
        assert [task.context_id for task in tasks] == contexts
        assert tasks[0].id == older.id
        times = [task.status.timestamp for task in tasks]
        assert times[0].ToDatetime() > times[1].ToDatetime()
        assert await ours(status_timestamp_after=times[1]) == tasks
        assert await ours(status_timestamp_after=times[0]) == tasks[:1]
        later = times[0].ToDatetime() + timedelta(seconds=1)
        assert await ours(status_timestamp_after=later) == []


async def test_an_answer_is_streamed_into_one_artifact(temporal: TemporalClient) -> None:
    steps: list[Step] = [writing(["Let me ", "look."], call("look", place="a")), writing(PIECES)]
    async with (
        doors(temporal, ScriptedModel(steps), [guide]) as gateway,
        client_of(gateway) as client,
    ):
        events = await sent(client, message("Tell", context_id="a2a-story"))
    assert events[0].HasField("task")
    assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    states = [each.status_update.status.state for each in events if each.HasField("status_update")]
    assert states[0] == TaskState.TASK_STATE_WORKING
    text, updates = (
        "",
        [each.artifact_update for each in events if each.HasField("artifact_update")],
    )
    for update in updates:
        new = update.artifact.parts[0].text
        text = text + new if update.append else new
    assert (text, updates[-1].last_chunk) == (STORY, True)
    assert len(updates) > 2


async def test_an_approval_is_decided_with_data(temporal: TemporalClient) -> None:
    refund = call("refund", order_id="7")
    model = ScriptedModel([refund, refund, answer("Done.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, "desk", streaming=False) as client,
        client_of(gateway, "desk", "bob", streaming=False) as bob,
    ):
        asked = message("Refund 7", context_id="a2a-pay")
        task = await last(client, asked)
        assert (await last(client, asked)).id == task.id  # sent again
        alone = message("Refund 7")
        assert (await last(client, alone)).id == (await last(client, alone)).id
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        request = data_of(task)
        assert (request["tool"], request["arguments"]) == ("refund", {"order_id": "7"})
        with pytest.raises(InvalidParamsError, match="send a part with data"):
            await last(client, message("approve", task_id=task.id))
        decision = {
            "request_id": request["request_id"],
            "decision": "edit",
            "arguments": {"order_id": "8"},
            "arguments_hash": request["arguments_hash"],
        }
        with pytest.raises(Exception, match="403"):
            await last(bob, message(data=decision, task_id=task.id))
        done = await last(client, message(data=decision, task_id=task.id))
        assert (done.id, text_of(done)) == (task.id, "Done.")
        again = await last(client, message(data=decision, task_id=task.id))
        assert text_of(again) == "Done."
        assert len(model.prompts) == 3
        assert done.status.state == TaskState.TASK_STATE_COMPLETED


async def test_a_question_is_answered_with_text(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("ask_human", question="Which?"), answer("Red.")])
    async with doors(temporal, model, [guide]) as gateway, client_of(gateway) as client:
        events = await sent(client, message("Paint", context_id="a2a-paint"))
        status = events[-1].status_update.status
        assert status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert status.message.parts[0].text == "Which?"
        task_id = events[0].task.id
        events = await sent(client, message("red", task_id=task_id))
        assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED


async def test_a_task_is_followed_again_and_cancelled(temporal: TemporalClient) -> None:
    more = Flag()
    model = ScriptedModel(
        [writing(PIECES, gates=gate_after(2, more)), call("refund", order_id="7")]
    )
    async with doors(temporal, model, [desk]) as gateway, client_of(gateway, "desk") as client:
        stream = client.send_message(message("Tell", context_id="a2a-again"))
        async with asyncio.timeout(30):
            async for event in stream:
                if event.HasField("artifact_update"):
                    break
        await stream.aclose()  # type: ignore[attr-defined]
        following = client.subscribe(SubscribeToTaskRequest(id="acme/desk/a2a-again"))
        states = []
        async with asyncio.timeout(30):
            async for event in following:
                if event.HasField("artifact_update"):
                    more.set()
                if event.HasField("status_update"):
                    states.append(event.status_update.status.state)
        assert states[-1] == TaskState.TASK_STATE_COMPLETED
        with pytest.raises(A2AError, match="has ended"):
            async for _ in client.subscribe(SubscribeToTaskRequest(id="acme/desk/a2a-again")):
                pass
        events = await sent(client, message("Refund 7", context_id="a2a-again"))
        assert events[-1].status_update.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        task_id = events[-1].status_update.task_id
        cancelled = await client.cancel_task(CancelTaskRequest(id=task_id))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED


async def test_a_task_is_followed_while_people_decide(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Refunded.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, "desk") as client,
        client_of(gateway, "desk", streaming=False) as person,
    ):
        asked = await last(person, message("Refund 7"))
        states = []
        async with asyncio.timeout(30):
            async for event in client.subscribe(SubscribeToTaskRequest(id=asked.id)):
                if event.HasField("task"):  # the first event
                    assert event.task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
                if event.HasField("status_update"):
                    states.append(TaskState.Name(event.status_update.status.state))
                    if states == ["TASK_STATE_WORKING", "TASK_STATE_INPUT_REQUIRED"]:
                        decision = {"request_id": "1.1", "decision": "approve"}
                        await last(person, message(data=decision, task_id=asked.id))
    assert states[-2:] == ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"]


async def test_tasks_of_others_do_not_exist(temporal: TemporalClient) -> None:
    model = ScriptedModel([answer("Hello.")])
    async with (
        doors(temporal, model, [guide, desk]) as gateway,
        client_of(gateway, streaming=False) as client,
        client_of(gateway, name="eve", streaming=False) as eve,
        client_of(gateway, "desk", streaming=False) as other,
    ):
        task = await last(client, message("Hi", context_id="a2a-mine"))
        for caller in (eve, other):
            with pytest.raises(TaskNotFoundError):
                await caller.get_task(GetTaskRequest(id=task.id))
            with pytest.raises(TaskNotFoundError):
                await last(caller, message("Hi", task_id=task.id))
            listed = await caller.list_tasks(ListTasksRequest())
            assert task.id not in {each.id for each in listed.tasks}


@pytest.mark.parametrize(
    ("public_url", "headers", "url"),
    [
        ("https://agents.example.com/outlast/", {}, "https://agents.example.com/outlast"),
        ("https://agents.example.com", {"x-forwarded-proto": "http"}, "https://agents.example.com"),
        (None, {"host": "a.example", "x-forwarded-proto": "https"}, "https://a.example"),
        (None, {"host": "a.example:8060"}, "http://a.example:8060"),
    ],
)
async def test_the_card_names_the_url_of_the_gateway_for_clients(
    public_url: str | None, headers: dict[str, str], url: str
) -> None:
    oidc = {"issuer": "https://login.example.com", "audience": "outlast", "jwks_file": "keys.json"}
    settings = gateway_settings(public_url=public_url, tokens={}, oidc=oidc)
    front = SimpleNamespace(settings=settings, agents={"guide": "Helps."})
    app = Starlette(routes=A2aApi(cast("Front", front)).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        path = "/a2a/guide/.well-known/agent-card.json"
        card = (await client.get(f"http://127.0.0.1{path}", headers=headers)).json()
    assert card["supportedInterfaces"][0]["url"] == f"{url}/a2a/guide"
    assert card["securityRequirements"]  # also if an issuer alone makes the tokens


def rpc(method: str = "SendMessage", **fields: Any) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}, **fields}
    return json.dumps(body).encode()


def send_params(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"message": {"messageId": "1", "role": "ROLE_USER", "parts": list(parts), **fields}}


BAD_REQUESTS: list[tuple[bytes, int, str]] = [
    (b"[", -32700, "not JSON"),
    (b"[]", -32600, "object"),
    (b"x" * 10_000_000, -32600, "more than"),
    (rpc(jsonrpc="1.0"), -32600, "jsonrpc"),
    (rpc(id={"a": 1}), -32600, "id"),
    (rpc(id=True), -32600, "id"),
    (rpc(id="x" * 1_001), -32600, "id: has more than 1,000 characters"),
    (rpc(method=3), -32600, "method"),  # type: ignore[arg-type]
    (rpc(params=[]), -32600, "params"),
    (rpc("Nothing"), -32601, "'Nothing'"),
    (rpc("GetExtendedAgentCard"), -32004, "extended"),
    (rpc("CreateTaskPushNotificationConfig"), -32003, "push"),
    (rpc(), -32602, "message"),
    (rpc(params=send_params()), -32602, "parts"),
    (rpc(params=send_params({"text": ""})), -32602, "no text"),
    (rpc(params=send_params({"text": "x"}, role="ROLE_AGENT")), -32602, "role"),
    (rpc(params=send_params({"raw": "dGNr", "mediaType": "text/csv"})), -32005, "media store"),
    (rpc(params=send_params({"raw": "%", "mediaType": "image/png"})), -32005, "message.parts.0"),
    (rpc(params=send_params({"text": "x" * 70_000})), -32602, "64,000 bytes"),
    (rpc(params=send_params({"text": "x"}, taskId="acme/guide/none")), -32001, "no run"),
    (rpc(params=send_params({"text": "x"}, taskId="resp_x")), -32001, "no response"),
    (rpc("GetTask", params={"id": "acme/guide/none"}), -32001, "no run"),
    (rpc("GetTask", params={"id": "evil/guide/none"}), -32001, "no run"),
    (rpc("SubscribeToTask", params={"id": "acme/guide/none"}), -32001, "no run"),
    (rpc("ListTasks", params={"pageSize": 1_000}), -32602, "pageSize"),
    (rpc("ListTasks", params={"pageToken": "x"}), -32602, "pageToken"),
    (rpc("ListTasks", params={"status": "done"}), -32602, "'TASK_STATE_COMPLETED'"),
    (rpc("ListTasks", params={"page_size": 0}), -32602, "page"),
    (rpc("ListTasks", params={"statusTimestampAfter": "soon"}), -32602, "statusTimestampAfter"),
    (rpc("ListTasks", params={"statusTimestampAfter": "2026-11-01T10:00"}), -32602, "timezone"),
]


async def test_bad_input_is_an_error_in_one_line(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [guide]) as gateway:
        async with gateway.client(**{"a2a-version": "1.0"}) as ann:
            for content, code, text in BAD_REQUESTS:
                reply = await ann.post("/a2a/guide", content=content)
                error = reply.json()["error"]
                assert (reply.status_code, error["code"]) == (200, code), (content[:200], error)
                assert text in error["message"], error
                assert "\n" not in error["message"]
            reply = await ann.post(
                "/a2a/guide", content=b"x", headers={"content-type": "text/plain"}
            )
            assert reply.json()["error"]["code"] == -32005
            reply = await ann.post("/a2a/nobody", content=rpc("ListTasks"))
            assert "known agents" in reply.json()["error"]["message"]
            assert (await ann.get("/a2a/nobody/.well-known/agent-card.json")).status_code == 404
            card = (await ann.get("/a2a/guide/.well-known/agent-card.json")).json()
            assert card["supportedInterfaces"][0]["url"] == f"{gateway.url}/a2a/guide"
        async with gateway.client() as old:
            reply = await old.post("/a2a/guide", content=rpc("ListTasks"))
            assert reply.json()["error"]["code"] == -32009

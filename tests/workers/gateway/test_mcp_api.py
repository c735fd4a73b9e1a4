"""`/mcp`: the MCP SDK's own client calls agents, decides, leaves and comes back."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp.client.client import Client as McpClient
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitResult, Request, RequestParams, Result
from outlast_workers.gateway import mcp_api
from outlast_workers.gateway.mcp_api import KEY, TASKS, TaskParams, TaskUpdateParams
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import Client as TemporalClient

from outlast import Agent, ask_human, tool
from outlast.testing import ScriptedModel, answer, call
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import TOKENS, Doors, doors

EXAMPLE = Path(__file__).parents[3] / "examples" / "mcp-client" / "client.py"


class Address(BaseModel):
    street: str
    number: int


poet = Agent(name="poet", instructions="Write.", output=Address, description="Writes addresses.")
asker = Agent(
    name="asker",
    instructions="Ask.",
    tools=[ask_human(Literal["red", "blue"], audience="leads")],
)


@tool(effect="read")
async def sleep(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "awake"


sleeper = Agent(name="sleeper", instructions="Sleep.", tools=[sleep])


class TaskResult(Result):
    """Any result of a task method, as it is on the wire."""

    model_config = ConfigDict(extra="allow")


class CreatedTask(Result):
    """The result of a call that became a task."""

    model_config = ConfigDict(extra="allow")

    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")


async def _not_resolved(_: CreatedTask, __: ClaimContext) -> CallToolResult:
    raise NotImplementedError


class Tasks(ClientExtension):
    """The client's side of the extension: it takes tasks as results."""

    identifier = TASKS

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=_not_resolved)]


async def started(client: McpClient) -> str:
    """Call the desk, and return the id of the task."""
    created: Any = await client.session.call_tool("desk", {"input": "Refund 7"}, allow_claimed=True)
    return str(created.task_id)


async def test_a_repeated_call_with_a_key_returns_the_same_run(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, tasks=True) as client,
    ):

        async def begun(text: str, key: Any) -> Any:
            meta: Any = {KEY: key}
            arguments = {"input": text}
            return await client.session.call_tool("desk", arguments, meta=meta, allow_claimed=True)

        tasks = [(await begun("Refund 7", "order-7")).task_id for _ in range(2)]
        assert tasks == ["acme/desk/order-7"] * 2
        assert "used for another request" in text_of(await begun("Refund 8", "order-7"))
        assert "key: '/'" in text_of(await begun("Refund 8", "/"))
        assert "must be text" in text_of(await begun("Refund 8", 7))
        await send(client, "tasks/cancel", TaskParams(taskId=tasks[0]))


@asynccontextmanager
async def client_of(
    gateway: Doors, name: str = "ann", *, mode: Any = "auto", tasks: bool = False, reply: Any = None
) -> AsyncIterator[McpClient]:
    async with gateway.client(name) as http:
        client = McpClient(
            streamable_http_client(f"{gateway.url}/mcp", http_client=http),
            mode=mode,
            elicitation_callback=reply,
            extensions=[Tasks()] if tasks else None,
        )
        async with client:
            yield client


async def send(client: McpClient, method: str, params: RequestParams) -> dict[str, Any]:
    request: Any = Request[Any, Any](method=method, params=params)
    result = await client.session.send_request(request, TaskResult)
    return result.model_dump(by_alias=True, mode="json")


async def until(client: McpClient, task_id: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(40):
        while True:
            task = await send(client, "tasks/get", TaskParams(taskId=task_id))
            if task["status"] in statuses:
                return task
            await asyncio.sleep(0.05)


def text_of(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_is_a_tool(temporal: TemporalClient, mode: str) -> None:
    model = ScriptedModel([answer({"street": "Elm", "number": 7})])
    async with (
        doors(temporal, model, [poet]) as gateway,
        client_of(gateway, mode=mode) as client,
    ):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"poet", "run_status"}
        assert tools["poet"].description == "Writes addresses."
        result = await client.call_tool("poet", {"input": "Where?"})
        assert result.structured_content == {"street": "Elm", "number": 7}
        assert json.loads(text_of(result)) == {"street": "Elm", "number": 7}


async def test_an_approval_is_an_elicitation(temporal: TemporalClient) -> None:
    seen: list[Any] = []

    async def approve(_: Any, params: Any) -> ElicitResult:
        seen.append(params)
        return ElicitResult(action="accept", content={"decision": "approve"})

    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, reply=approve) as client,
    ):
        result = await client.call_tool("desk", {"input": "Refund 7"})
        assert text_of(result) == "Done."
        assert "refund" in seen[0].message
        assert '"order_id":"7"' in seen[0].message


async def test_a_declined_form_denies_the_call(temporal: TemporalClient) -> None:
    async def decline(_: Any, __: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    model = ScriptedModel([call("refund", order_id="7"), answer("Not done.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, reply=decline) as client,
    ):
        assert text_of(await client.call_tool("desk", {"input": "Refund 7"})) == "Not done."
        assert "denied" in str(model.prompts[-1])


async def test_a_question_is_a_form(temporal: TemporalClient) -> None:
    async def red(_: Any, params: Any) -> ElicitResult:
        assert params.requested_schema["properties"]["answer"]["enum"] == ["red", "blue"]
        return ElicitResult(action="accept", content={"answer": "red"})

    model = ScriptedModel([call("ask_human", question="Which?"), answer("Red.")])
    async with (
        doors(temporal, model, [asker]) as gateway,
        client_of(gateway, reply=red) as client,
    ):
        assert text_of(await client.call_tool("asker", {"input": "Paint"})) == "Red."


async def test_a_task_is_decided_by_another_client(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with doors(temporal, model, [desk]) as gateway:
        async with client_of(gateway, tasks=True) as client:
            task_id = await started(client)
        async with client_of(gateway, tasks=True) as later:
            task = await until(later, task_id, "input_required")
            ((key, request),) = task["inputRequests"].items()
            assert request["method"] == "elicitation/create"
            edited = {"decision": "approve", "order_id": "8"}
            wrong = {key: {"action": "accept", "content": edited}}
            with pytest.raises(MCPError, match="'order_id' is no field of the form"):
                await send(
                    later, "tasks/update", TaskUpdateParams(taskId=task_id, inputResponses=wrong)
                )
            responses = {
                key: {"action": "accept", "content": {"decision": "approve"}},
                "unknown": {"action": "decline"},
            }
            update = TaskUpdateParams(taskId=task_id, inputResponses=responses)
            acknowledged = await send(later, "tasks/update", update)
            assert acknowledged["resultType"] == "complete"
            done = await until(later, task_id, "completed")
            assert done["result"]["content"][0]["text"] == "Done."


async def test_a_task_is_cancelled(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, tasks=True) as client,
    ):
        task_id = await started(client)
        await send(client, "tasks/cancel", TaskParams(taskId=task_id))
        assert (await until(client, task_id, "cancelled"))["taskId"] == task_id


async def test_a_task_of_another_tenant_does_not_exist(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, tasks=True) as client,
        client_of(gateway, "eve", tasks=True) as eve,
    ):
        task_id = await started(client)
        for method, params in (
            ("tasks/get", TaskParams(taskId=task_id)),
            ("tasks/get", TaskParams(taskId="acme/desk/none")),
            ("tasks/cancel", TaskParams(taskId=task_id)),
            ("tasks/update", TaskUpdateParams(taskId=task_id, inputResponses={})),
        ):
            with pytest.raises(MCPError) as caught:
                await send(eve, method, params)
            assert caught.value.code == -32602
        await send(client, "tasks/cancel", TaskParams(taskId=task_id))


async def test_a_client_without_tasks_cannot_use_them(temporal: TemporalClient) -> None:
    async with (
        doors(temporal, ScriptedModel([]), [desk]) as gateway,
        client_of(gateway) as client,
    ):
        with pytest.raises(MCPError) as caught:
            await send(client, "tasks/get", TaskParams(taskId="acme/desk/1"))
        assert caught.value.code == -32021


async def test_an_old_client_gets_the_id_of_a_long_run(
    temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_api, "WAIT_S", 0.2)
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with (
        doors(temporal, model, [desk]) as gateway,
        client_of(gateway, mode="legacy") as client,
        gateway.client() as http,
    ):
        text = text_of(await client.call_tool("desk", {"input": "Refund 7"}))
        run_id = text.split("Its id is ")[1].split(". ")[0]
        async with asyncio.timeout(40):
            while "waits for a person" not in text:
                text = text_of(await client.call_tool("run_status", {"run": run_id}))
        body = {"request_id": "1.1", "decision": "approve"}
        assert (await http.post(f"/runs/{run_id}/decide", json=body)).status_code == 200
        async with asyncio.timeout(40):
            while text != "Done.":
                text = text_of(await client.call_tool("run_status", {"run": run_id}))


async def test_a_new_client_waits_longer_than_one_call(
    temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_api, "WAIT_S", 0.4)
    model = ScriptedModel([call("sleep", seconds=1), answer("Awake.")])
    async with (
        doors(temporal, model, [sleeper]) as gateway,
        client_of(gateway) as client,
    ):
        assert text_of(await client.call_tool("sleeper", {"input": "Sleep"})) == "Awake."


BAD_CALLS: list[tuple[str, Any, str | None, str]] = [
    ("nobody", {"input": "x"}, None, "known agents"),
    ("desk", {}, None, "input: is required"),
    ("desk", {"input": 7}, None, "must be text"),
    ("desk", {"input": " \n"}, None, "input: has no text"),
    ("desk", {"input": "x", "tenant": "evil"}, None, "'tenant' is not a parameter"),
    ("run_status", {}, None, "run: is required"),
    ("run_status", {"run": "evil/desk/1"}, None, "no run"),
    ("desk", {"input": "x"}, "", "requestState"),
    ("desk", {"input": "x"}, "[" * 9_000, "requestState"),
    ("desk", {"input": "x"}, '{"run": "evil/desk/1", "rounds": 1}', "no run"),
    ("desk", {"input": "x"}, '{"run": "acme/desk/1", "rounds": 10000}', "requestState"),
]


async def test_no_path_redirects_and_mcp_takes_both_forms(temporal: TemporalClient) -> None:
    """A redirect to `http://HOST` would send the token of a client of `https://HOST` in clear."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = "application/json, text/event-stream"
    async with (
        doors(temporal, ScriptedModel([]), [desk]) as gateway,
        gateway.client(accept=accept) as client,
    ):
        for path in ("/agents/", "/healthz/", "/v1/models/", "/v1/responses/x/"):
            assert (await client.get(path)).status_code == 404
        for path in ("/mcp", "/mcp/"):
            assert (await client.post(path, json=ping)).json()["result"] == {}


async def test_no_stream_without_a_call_keeps_the_gateway_open(temporal: TemporalClient) -> None:
    """A client of older versions opens one with GET, which the gateway could not end when it stops."""
    async with (
        doors(temporal, ScriptedModel([]), [desk]) as gateway,
        gateway.client(accept="text/event-stream") as client,
    ):
        answered = await client.get("/mcp")
    assert (answered.status_code, answered.headers["allow"]) == (405, "POST")


async def test_bad_input_is_an_error_that_the_model_reads(temporal: TemporalClient) -> None:
    async with doors(temporal, ScriptedModel([]), [desk]) as gateway, client_of(gateway) as client:
        for name, arguments, state, message in BAD_CALLS:
            result: Any = await client.session.call_tool(
                name, arguments, request_state=state, allow_input_required=True
            )
            assert result.is_error
            assert message in text_of(result)
            assert "\n" not in text_of(result)


async def test_the_client_of_the_examples_starts_an_agent_and_approves(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([call("refund", order_id="7"), answer("Done.")])
    async with doors(temporal, model, [desk]) as gateway:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLE), f"{gateway.url}/mcp", "desk", "Refund order 7."),
            env={**os.environ, "GATEWAY_TOKEN": TOKENS["ann"]["token"]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate(b"approve\nfine\n")
    lines = output.decode()
    assert "desk: Help people." in lines
    assert "refund(order_id=7)" in lines
    assert lines.splitlines()[-1].endswith("Done.")

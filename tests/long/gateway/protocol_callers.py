"""Clients of the gateway's protocols that repeat each call, as real clients do, until it has an answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

RETRY_S = 0.3

GREETING = "Say something."

TASKS = "io.modelcontextprotocol/tasks"


MAX_ERRORS = 5
"""Streams of one call that may end with an error on a slow machine."""

INTERNAL_ERROR = -32603
"""The code of JSON-RPC for an error after which a client repeats the call."""


class Caller:
    """A client that repeats each call until it has an answer."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.cut = 0
        """Calls that a kill interrupted: the gateway had them, and the client has no whole answer."""

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        while True:  # bounded by the timeout of the test
            try:
                response = await self._http.request(method, path, **options)
            except httpx2.TransportError as error:
                self._count(error)
                await asyncio.sleep(RETRY_S)
                continue
            if response.status_code < 500:
                return response
            await asyncio.sleep(RETRY_S)

    async def stream_until(self, end: str, path: str, body: Any, **options: Any) -> list[Any]:
        """Send a body until the stream of its answer has an event with the text `end`."""
        errors = 0
        while True:  # bounded by the timeout of the test
            text = (await self.call("POST", path, json=body, **options)).text
            if end in text:
                lines = (line.removeprefix("data: ") for line in text.splitlines())
                return [json.loads(line) for line in lines if line.startswith("{")]
            errors += '"error"' in text  # such as a query that timed out: clients repeat the call
            assert errors < MAX_ERRORS, text
            await asyncio.sleep(RETRY_S)

    async def events_of(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[tuple[str, str, Any]]:
        """Yield the name, the id and the data of each event of one stream, until it ends or is cut."""
        name = identifier = ""
        try:
            async with self._http.stream(method, path, **options) as reply:
                if reply.status_code >= 500:
                    return
                assert reply.status_code == 200, await reply.aread()
                async for line in reply.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "id":
                        identifier = value
                    elif field == "data":
                        yield name, identifier, json.loads(value)
                        name = identifier = ""
        except httpx2.TransportError as error:
            self._count(error)
            await asyncio.sleep(RETRY_S)

    def _count(self, error: httpx2.TransportError) -> None:
        self.cut += not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


class AguiCaller(Caller):
    """AG-UI: a message has an id, and an interrupt one."""

    async def message(self, key: str, agent: str = "greeter") -> str:
        await self._run(key, agent, messages=[{"id": "1", "role": "user", "content": GREETING}])
        return f"default/{agent}/{key}"

    async def decision(self, key: str) -> str:
        run_id = await self.message(key, "desk")
        payload = {"approved": True}
        resume = {"interruptId": "1.1", "status": "resolved", "payload": payload}
        await self._run(key, "desk", resume=[resume])
        return run_id

    async def come_back(self, key: str) -> str:
        """Send the messages of the last snapshot, as a client does that lost the stream."""
        sent = {"id": "1", "role": "user", "content": GREETING}
        events = await self._run(key, "greeter", messages=[sent])
        snapshots = [each["messages"] for each in events if each["type"] == "MESSAGES_SNAPSHOT"]
        for kept in (1, 2):
            await self._run(key, "greeter", messages=snapshots[-1][:kept])
        return f"default/greeter/{key}"

    async def _run(self, key: str, agent: str, **fields: Any) -> list[Any]:
        empty: dict[str, Any] = {"messages": [], "tools": [], "context": [], "state": {}}
        body = {"threadId": key, "runId": "1", "forwardedProps": {}, **empty, **fields}
        return await self.stream_until('"RUN_FINISHED"', f"/agui/{agent}", body)


class AiSdkCaller(Caller):
    """The AI SDK: a message has an id, and so has an approval."""

    async def message(self, key: str) -> str:
        await self._send(key, "greeter", [])
        return f"default/greeter/{key}"

    async def decision(self, key: str) -> str:
        chunks = await self._send(key, "desk", [])
        (asked,) = (each for each in chunks if each["type"] == "tool-approval-request")
        approval = {"id": asked["approvalId"], "approved": True}
        part = {"type": "tool-refund", "toolCallId": asked["toolCallId"], "approval": approval}
        parts = [{**part, "state": "approval-responded"}]
        await self._send(key, "desk", [{"id": "2", "role": "assistant", "parts": parts}])
        return f"default/desk/{key}"

    async def come_back(self, key: str) -> str:
        """Open the page again: read the open answer, or all messages."""
        run_id = await self.message(key)
        open_answer = await self.call("GET", f"/ai/greeter/{key}/stream")
        assert open_answer.status_code in {200, 204}
        shown = (await self.call("GET", f"/ai/greeter/{key}")).json()["messages"]
        assert [each["role"] for each in shown] == ["user", "assistant"], shown
        return run_id

    async def _send(self, key: str, agent: str, more: list[Any]) -> list[Any]:
        message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": GREETING}]}
        body = {"id": key, "messages": [message, *more], "trigger": "submit-message"}
        return await self.stream_until("[DONE]", f"/ai/{agent}", body)


class A2aCaller(Caller):
    """A2A: a message has an id."""

    async def message(self, key: str, agent: str = "greeter") -> str:
        message = {"messageId": key, "parts": [{"text": GREETING}]}
        return str((await self._send(agent, message))["id"])

    async def stream_message(self, key: str) -> str:
        message = {"messageId": key, "role": "ROLE_USER", "parts": [{"text": GREETING}]}
        body = self._rpc("SendStreamingMessage", {"message": message})
        headers = {"a2a-version": "1.0"}
        end = '"TASK_STATE_COMPLETED"'
        events = await self.stream_until(end, "/a2a/greeter", body, headers=headers)
        return str(events[0]["result"]["task"]["id"])

    async def decision(self, key: str) -> str:
        task = await self.message(key, "desk")
        parts = [{"data": {"request_id": "1.1", "decision": "approve"}}]
        decided = await self._send("desk", {"messageId": "2", "taskId": task, "parts": parts})
        assert decided["status"]["state"] == "TASK_STATE_COMPLETED", decided
        return task

    async def answer(self, key: str) -> str:
        """Answer a question with a text, which must not become a message."""
        task = await self.message(key, "asker")
        parts = [{"text": "red"}]
        answered = await self._send("asker", {"messageId": "2", "taskId": task, "parts": parts})
        assert answered["status"]["state"] == "TASK_STATE_COMPLETED", answered
        return task

    async def subscribe(self, key: str) -> str:
        """Begin a task, follow it, read it, and find it in the list."""
        message = {"messageId": key, "role": "ROLE_USER", "parts": [{"text": GREETING}]}
        params = {"message": message, "configuration": {"returnImmediately": True}}
        task = (await self._call("greeter", "SendMessage", params))["result"]["task"]
        body, names = self._rpc("SubscribeToTask", {"id": task["id"]}), {"id": task["id"]}
        await self.call("POST", "/a2a/greeter", json=body, headers={"a2a-version": "1.0"})
        while task["status"]["state"] != "TASK_STATE_COMPLETED":
            task = (await self._call("greeter", "GetTask", names))["result"]
        while True:  # a new task is in the list after a moment
            params = {"contextId": task["contextId"]}
            listed = (await self._call("greeter", "ListTasks", params))["result"]["tasks"]
            if [each["id"] for each in listed] == [task["id"]]:
                return str(task["id"])
            await asyncio.sleep(RETRY_S)

    async def cancel_task(self, key: str) -> str:
        task = await self.message(key, "desk")
        cancelled = await self._call("desk", "CancelTask", {"id": task})
        assert "TASK_STATE_CANCELED" in str(cancelled), cancelled  # or an error: it was before
        return task

    async def _send(self, agent: str, message: dict[str, Any]) -> Any:
        params = {"message": {"role": "ROLE_USER", **message}}
        return (await self._call(agent, "SendMessage", params))["result"]["task"]

    async def _call(self, agent: str, method: str, params: Any) -> Any:
        headers = {"a2a-version": "1.0"}
        body = self._rpc(method, params)
        while True:  # bounded by the timeout of the test
            reply = (await self.call("POST", f"/a2a/{agent}", json=body, headers=headers)).json()
            if reply.get("error", {}).get("code") != INTERNAL_ERROR:
                return reply
            await asyncio.sleep(RETRY_S)

    def _rpc(self, method: str, params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


class McpCaller(Caller):
    """MCP with tasks: a call has the key of the client, a task an id, and a question a key."""

    async def call_agent(self, key: str, agent: str = "greeter") -> str:
        task = await self._begin(key, agent)
        await self._until(task, "completed")
        return task

    async def decision(self, key: str) -> str:
        task = await self._begin(key, "desk")
        asked = await self._until(task, "input_required")
        (question,) = asked["inputRequests"]
        response = {"action": "accept", "content": {"decision": "approve"}}
        await self._rpc("tasks/update", {"taskId": task, "inputResponses": {question: response}})
        await self._until(task, "completed")
        return task

    async def elicit(self, key: str) -> str:
        """Call an agent without tasks: the call waits, and asks for the approval as a form."""
        params: dict[str, Any] = {"name": "desk", "arguments": {"input": GREETING}}
        done = await self._rpc("tools/call", params, {"outlast/key": key}, with_tasks=False)
        while "requestState" in done:
            response = {"action": "accept", "content": {"decision": "approve"}}
            responses = dict.fromkeys(done.get("inputRequests") or {}, response)
            params |= {"requestState": done["requestState"], "inputResponses": responses}
            done = await self._rpc("tools/call", params, {"outlast/key": key}, with_tasks=False)
        assert not done.get("isError"), done
        return f"default/desk/{key}"

    async def status(self, key: str) -> str:
        """List the tools, start an agent, and read its status until it has ended."""
        tools = (await self._rpc("tools/list", {}))["tools"]
        assert "greeter" in [each["name"] for each in tools]
        task = await self._begin(key, "greeter")
        params = {"name": "run_status", "arguments": {"run": task}}
        while True:  # bounded by the timeout of the test
            shown = (await self._rpc("tools/call", params))["content"][0]["text"]
            if not shown.startswith("The run goes on"):
                return task
            await asyncio.sleep(RETRY_S)

    async def cancel_task(self, key: str) -> str:
        task = await self._begin(key, "desk")
        await self._until(task, "input_required")
        await self._rpc("tasks/cancel", {"taskId": task})
        await self._until(task, "cancelled")
        return task

    async def _begin(self, key: str, agent: str) -> str:
        params = {"name": agent, "arguments": {"input": GREETING}}
        begun = await self._rpc("tools/call", params, {"outlast/key": key})
        assert begun["resultType"] == "task", begun
        return str(begun["taskId"])

    async def _until(self, task: str, status: str) -> Any:
        while True:  # bounded by the timeout of the test
            found = await self._rpc("tasks/get", {"taskId": task})
            if found["status"] == status:
                return found
            await asyncio.sleep(RETRY_S)

    async def _rpc(
        self,
        method: str,
        params: dict[str, Any],
        meta: dict[str, Any] | None = None,
        *,
        with_tasks: bool = True,
    ) -> Any:
        extensions: Any = {"extensions": {TASKS: {}}} if with_tasks else {"elicitation": {}}
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": extensions,
            **(meta or {}),
        }
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
        }
        name = params.get("name") or params.get("taskId")
        headers |= {"mcp-name": name} if name else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        reply = (await self.call("POST", "/mcp", json=body, headers=headers)).json()
        assert "result" in reply, reply
        return reply["result"]

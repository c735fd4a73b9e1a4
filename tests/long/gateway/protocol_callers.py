"""Clients of the gateway's protocols that repeat each call, as real clients do, until it has an answer."""

import asyncio
import json
from typing import Any

import httpx2

RETRY_S = 0.3

GREETING = "Say something."

TASKS = "io.modelcontextprotocol/tasks"


class Caller:
    """A client that repeats each call until it has an answer."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.lost = 0

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        while True:  # bounded by the timeout of the test
            try:
                response = await self._http.request(method, path, **options)
            except httpx2.TransportError:
                self.lost += 1
                await asyncio.sleep(RETRY_S)
                continue
            if response.status_code < 500:
                return response
            await asyncio.sleep(RETRY_S)

    async def stream(self, path: str, body: Any, *, end: str, **options: Any) -> list[Any]:
        """Send a body until the stream of its answer has an event with the text `end`."""
        while True:  # bounded by the timeout of the test
            text = (await self.call("POST", path, json=body, **options)).text
            if end in text:
                lines = (line.removeprefix("data: ") for line in text.splitlines())
                return [json.loads(line) for line in lines if line.startswith("{")]
            assert '"error"' not in text, text
            self.lost += 1
            await asyncio.sleep(RETRY_S)


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

    async def _run(self, key: str, agent: str, **fields: Any) -> None:
        empty: dict[str, Any] = {"messages": [], "tools": [], "context": [], "state": {}}
        body = {"threadId": key, "runId": "1", "forwardedProps": {}, **empty, **fields}
        await self.stream(f"/agui/{agent}", body, end='"RUN_FINISHED"')


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

    async def _send(self, key: str, agent: str, more: list[Any]) -> list[Any]:
        message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": GREETING}]}
        body = {"id": key, "messages": [message, *more], "trigger": "submit-message"}
        return await self.stream(f"/ai/{agent}", body, end="[DONE]")


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
        events = await self.stream("/a2a/greeter", body, end=end, headers=headers)
        return str(events[0]["result"]["task"]["id"])

    async def decision(self, key: str) -> str:
        task = await self.message(key, "desk")
        parts = [{"data": {"request_id": "1.1", "decision": "approve"}}]
        decided = await self._send("desk", {"messageId": "2", "taskId": task, "parts": parts})
        assert decided["status"]["state"] == "TASK_STATE_COMPLETED", decided
        return task

    async def _send(self, agent: str, message: dict[str, Any]) -> Any:
        body = self._rpc("SendMessage", {"message": {"role": "ROLE_USER", **message}})
        headers = {"a2a-version": "1.0"}
        reply = (await self.call("POST", f"/a2a/{agent}", json=body, headers=headers)).json()
        return reply["result"]["task"]

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
        self, method: str, params: dict[str, Any], meta: dict[str, Any] | None = None
    ) -> Any:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
            **(meta or {}),
        }
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
            "mcp-name": params.get("name") or params["taskId"],
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        reply = (await self.call("POST", "/mcp", json=body, headers=headers)).json()
        assert "result" in reply, reply
        return reply["result"]

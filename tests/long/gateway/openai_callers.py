"""Clients of plain JSON and of OpenAI's APIs, which repeat each call until it has an answer."""

import asyncio
from typing import Any

from outlast_workers.gateway.response_ids import read_response_id

from tests.long.gateway.protocol_callers import GREETING, RETRY_S, Caller

DURABLE = ["message", "answer", "run_ended"]
"""The events of a run without calls that each client gets once."""

NEWEST = 100
"""Runs in the list of the gateway. Of more runs, it has the newest only."""


class PlainCaller(Caller):
    """The gateway's own interface: a start has a key, and an event an id."""

    async def task(self, key: str, agent: str = "greeter", mode: str = "task") -> str:
        body = {"agent": agent, "key": key, "mode": mode}
        if mode == "task":
            body["input"] = GREETING
        return str((await self.call("POST", "/runs", json=body)).json()["id"])

    async def list(self, key: str) -> str:
        run_id = await self.task(key)
        while True:  # a new run is in the list after a moment
            listed = (await self.call("GET", "/runs")).json()["runs"]
            if len(listed) == NEWEST or any(run["id"] == run_id for run in listed):
                return run_id
            await asyncio.sleep(RETRY_S)

    async def events(self, key: str) -> str:
        run_id = await self.task(key)
        found: list[str] = []
        after = "0"
        while "run_ended" not in found:
            path, params = f"/runs/{run_id}/events", {"after": after}
            async for name, identifier, _ in self.events_of("GET", path, params=params):
                after = identifier or after
                found += [name] if name in DURABLE else []
        assert found == DURABLE, (run_id, found)
        return run_id

    async def say(self, key: str) -> str:
        run_id = await self.task(key, mode="conversation")
        message = {"text": GREETING, "key": "first"}
        said = await self.call("POST", f"/runs/{run_id}/say", json=message)
        assert said.status_code == 200, said.text
        return run_id

    async def decide(self, key: str) -> str:
        run_id = await self.task(key, agent="desk")
        while not (await self.call("GET", f"/runs/{run_id}")).json().get("pending"):
            await asyncio.sleep(RETRY_S)
        decision = {"request_id": "1.1", "decision": "approve"}
        while True:
            decided = await self.call("POST", f"/runs/{run_id}/decide", json=decision)
            state = (await self.call("GET", f"/runs/{run_id}")).json()
            if decided.status_code == 200 or not state.get("pending"):
                return run_id

    async def cancel(self, key: str) -> str:
        run_id = await self.task(key, mode="conversation")
        await self.call("POST", f"/runs/{run_id}/cancel")
        return run_id


class ResponsesCaller(Caller):
    """The Responses API: a first message has a key, and a later one its response before."""

    async def response(self, key: str) -> str:
        created = await self._create(key, background=True)
        again = (await self.call("GET", f"/v1/responses/{created['id']}")).json()
        assert again["id"] == created["id"]
        return read_response_id(created["id"])[0]

    async def stream(self, key: str) -> str:
        created = await self._create(key, background=True)
        path, after = f"/v1/responses/{created['id']}", -1
        names: list[str] = []
        while "response.completed" not in names:
            params = (
                {"stream": "true", "starting_after": str(after)} if names else {"stream": "true"}
            )
            async for name, _, event in self.events_of("GET", path, params=params):
                if name == "error":  # such as a query that timed out
                    break
                assert event["sequence_number"] > after, event
                after = event["sequence_number"]
                names.append(name)
        assert names.count("response.output_item.done") == 1, names
        return read_response_id(created["id"])[0]

    async def continue_response(self, key: str) -> str:
        first = await self._create(key)
        second = await self._create("", previous_response_id=first["id"])
        assert second["output"][-1]["type"] == "message", second
        return read_response_id(first["id"])[0]

    async def decision(self, key: str) -> str:
        asked = await self._create(key, "desk")
        (request,) = (each for each in asked["output"] if each["type"] == "mcp_approval_request")
        approval = {"type": "mcp_approval_response", "approve": True}
        approval |= {"approval_request_id": request["id"]}
        done = await self._create("", "desk", [approval], previous_response_id=asked["id"])
        assert done["output"][-1]["type"] == "message", done
        return read_response_id(asked["id"])[0]

    async def cancel_response(self, key: str) -> str:
        asked = await self._create(key, "desk")
        await self.call("POST", f"/v1/responses/{asked['id']}/cancel")
        return read_response_id(asked["id"])[0]

    async def _create(
        self, key: str, agent: str = "greeter", given: Any = GREETING, **fields: Any
    ) -> Any:
        body = {"model": agent, "input": given, **fields}
        headers = {"idempotency-key": key} if key else {}
        reply = await self.call("POST", "/v1/responses", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()


class CompletionsCaller(Caller):
    """Chat completions: a header names the conversation, and all messages are sent each time."""

    async def complete(self, key: str) -> str:
        messages = [{"role": "user", "content": GREETING}]
        answer = (await self._complete(key, messages)).json()["choices"][0]["message"]
        messages = [*messages, answer, {"role": "user", "content": GREETING}]
        await self._complete(key, messages)
        return f"default/greeter/{key}"

    async def stream(self, key: str) -> str:
        body = {"model": "greeter", "messages": [{"role": "user", "content": GREETING}]}
        headers = {"x-conversation-id": key}
        path = "/v1/chat/completions"
        await self.stream_until("[DONE]", path, {**body, "stream": True}, headers=headers)
        return f"default/greeter/{key}"

    async def _complete(self, key: str, messages: list[Any]) -> Any:
        body = {"model": "greeter", "messages": messages}
        headers = {"x-conversation-id": key}
        reply = await self.call("POST", "/v1/chat/completions", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply

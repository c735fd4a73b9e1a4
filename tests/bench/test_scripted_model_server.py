import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from openai import AsyncOpenAI

from bench.scripted_model.minimal import UnsatisfiableError
from bench.scripted_model_server import (
    ScriptedModelServer,
    Step,
    Steps,
    always_tool,
    minimal_instance,
    turns,
)

ROOT = Path(__file__).parents[2]

CALLS = {
    "type": "object",
    "properties": {
        "tool_calls": {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "tool": {"enum": ["refund"]},
                            "arguments": {"$ref": "#/$defs/refund.Refund"},
                        },
                        "required": ["tool", "arguments"],
                    },
                    {
                        "type": "object",
                        "properties": {"tool": {"const": "look"}, "arguments": {"type": "object"}},
                        "required": ["tool", "arguments"],
                    },
                ]
            },
        }
    },
    "required": ["tool_calls"],
}
ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "object", "required": ["ok"], "properties": {"ok": True}}},
    "required": ["answer"],
}
DEFINITIONS = {
    "refund.Refund": {
        "type": "object",
        "properties": {
            "order": {"type": "string", "minLength": 3},
            "amount": {"type": "number", "exclusiveMinimum": 0},
            "note": {"type": "string"},
        },
        "required": ["order", "amount"],
    }
}
DECISION = {"anyOf": [CALLS, ANSWER], "$defs": DEFINITIONS}

REFUND = {"tool": "refund", "arguments": {"order": "xxx", "amount": 0.5}}
USER = {"role": "user", "content": "go"}
ASSISTANT = {"role": "assistant", "content": "{}"}


def asking(schema: dict[str, Any], *messages: dict[str, str]) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": list(messages) or [USER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "d", "schema": schema}},
    }


class Caller:
    """One keep-alive connection to a server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    async def post(self, body: dict[str, Any]) -> tuple[int, Any]:
        return await self.request("POST", "/v1/chat/completions", json.dumps(body).encode())

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        return await asyncio.to_thread(self._request, method, path, body)

    def _request(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None

    async def decision(self, body: dict[str, Any]) -> Any:
        status, completion = await self.post(body)
        assert status == 200, completion
        return json.loads(completion["choices"][0]["message"]["content"])

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModelServer]:
    async with ScriptedModelServer(turns(2)) as running:
        yield running


@pytest.fixture
async def caller(server: ScriptedModelServer) -> AsyncIterator[Caller]:
    connection = Caller(server.port)
    yield connection
    connection.close()


class TestTurns:
    async def test_calls_the_first_tool_until_the_last_turn_and_then_answers(
        self, caller: Caller
    ) -> None:
        assert await caller.decision(asking(DECISION)) == {"tool_calls": [REFUND]}
        last = asking(DECISION, USER, ASSISTANT, USER)
        assert await caller.decision(last) == {"answer": {"ok": None}}

    async def test_answers_when_the_schema_is_narrowed_to_the_answer(self, caller: Caller) -> None:
        assert await caller.decision(asking(ANSWER)) == {"answer": {"ok": None}}

    async def test_calls_when_the_schema_is_narrowed_to_calls(self, caller: Caller) -> None:
        narrowed = {**CALLS, "$defs": DEFINITIONS}
        assert await caller.decision(asking(narrowed)) == {"tool_calls": [REFUND]}

    async def test_reads_the_schema_that_vllm_is_sent(self, caller: Caller) -> None:
        body = {"messages": [USER], "structured_outputs": {"json": DECISION}}
        assert await caller.decision(body) == {"tool_calls": [REFUND]}
        as_text = {"messages": [USER], "structured_outputs": {"json": json.dumps(DECISION)}}
        assert await caller.decision(as_text) == {"tool_calls": [REFUND]}

    async def test_obeys_a_schema_that_is_no_decision(self, caller: Caller) -> None:
        assert await caller.decision(asking({"enum": ["yes"]})) == "yes"

    async def test_says_ok_without_a_schema(self, caller: Caller) -> None:
        _status, completion = await caller.post({"messages": [USER]})
        assert completion["choices"][0]["message"]["content"] == "ok"


async def test_always_tool_answers_only_when_nothing_else_is_admitted(
    server: ScriptedModelServer, caller: Caller
) -> None:
    server.script = always_tool
    many = [USER, *[ASSISTANT] * 50]
    assert await caller.decision(asking(DECISION, *many)) == {"tool_calls": [REFUND]}
    assert await caller.decision(asking(ANSWER, *many)) == {"answer": {"ok": None}}


class TestSteps:
    async def test_texts_come_one_after_another_until_they_run_out(self) -> None:
        async with ScriptedModelServer(Steps("not json", '{"answer":1}')) as server:
            caller = Caller(server.port)
            texts = [(await caller.post({"messages": [USER]}))[1] for _ in range(2)]
            status, error = await caller.post({"messages": [USER]})
            caller.close()
        contents = [text["choices"][0]["message"]["content"] for text in texts]
        assert contents == ["not json", '{"answer":1}']
        assert status == 500
        assert "2 steps, and step 3" in error["error"]["message"]

    async def test_openai_client_sees_status_headers_code_and_finish_reason(self) -> None:
        script = Steps(
            Step("slow down", status=429, headers={"retry-after": "7"}, error_code="rate"),
            Step('{"answ', finish_reason="length"),
            Step(refusal="no"),
        )
        async with (
            ScriptedModelServer(script) as server,
            AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
        ):
            ask = client.chat.completions.create
            with pytest.raises(openai.RateLimitError, match="slow down") as caught:
                await ask(model="m", messages=[{"role": "user", "content": "go"}])
            cut = await ask(model="m", messages=[{"role": "user", "content": "go"}])
            refused = await ask(model="m", messages=[{"role": "user", "content": "go"}])
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.code == "rate"
        assert cut.choices[0].finish_reason == "length"
        assert refused.choices[0].message.refusal == "no"
        assert server.requests[0].headers["authorization"] == "Bearer k"

    async def test_delay_holds_the_answer_and_a_client_that_leaves_is_counted(self) -> None:
        body = json.dumps({"messages": [USER]}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        async with ScriptedModelServer(Steps(Step("late", delay_s=0.05), Step(delay_s=60))) as late:
            reader, writer = await asyncio.open_connection("127.0.0.1", late.port)
            began = time.perf_counter()
            writer.write(head + body + head + body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            took = time.perf_counter() - began
            await until(lambda: late.answered == 2)
            writer.close()
            await writer.wait_closed()
            await until(lambda: late.abandoned == 1)
        assert took >= 0.05


class TestServer:
    async def test_lists_its_model_and_is_healthy(self, caller: Caller) -> None:
        _status, models = await caller.request("GET", "/v1/models")
        assert [entry["id"] for entry in models["data"]] == ["scripted"]
        assert await caller.request("GET", "/health") == (200, None)
        assert (await caller.request("GET", "/version"))[0] == 404

    async def test_counts_tokens_and_records_requests_within_a_bound(self) -> None:
        async with ScriptedModelServer(turns(1), recorded=2) as server:
            caller = Caller(server.port)
            messages = [{"role": "user", "content": "x" * 403}]
            for _ in range(3):
                _status, completion = await caller.post({"messages": messages})
            caller.close()
        assert completion["usage"]["prompt_tokens"] == 100
        assert len(server.requests) == 2
        assert server.answered == 3

    async def test_takes_bodies_of_several_megabytes(self, caller: Caller) -> None:
        long = {"role": "user", "content": "x" * 5_000_000}
        assert await caller.decision(asking(DECISION, long)) == {"tool_calls": [REFUND]}

    async def test_refuses_what_it_cannot_do(
        self, server: ScriptedModelServer, caller: Caller
    ) -> None:
        no_json = await caller.request("POST", "/v1/chat/completions", b"{")
        assert no_json[0] == 400
        assert (await caller.request("POST", "/v1/chat/completions", b"[]"))[0] == 400
        status, error = await caller.post(asking({"type": "string", "pattern": "a+"}))
        assert status == 500
        assert "'pattern'" in error["error"]["message"]
        assert len(server.requests) == 1

    def test_process_ends_with_its_parent(self) -> None:
        command = [sys.executable, "-m", "bench.scripted_model_server"]
        starter = f"import subprocess as s; p = s.Popen({command!r}, stdout=s.PIPE, text=True)"
        parent = subprocess.run(
            [sys.executable, "-c", f"{starter}; print(p.pid, p.stdout.readline())"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        pid, url = parent.stdout.split()
        try:
            assert url.startswith("http://127.0.0.1:")
            deadline = time.monotonic() + 30
            while alive(int(pid)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not alive(int(pid))
        finally:
            if alive(int(pid)):
                os.kill(int(pid), signal.SIGKILL)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("schema", "smallest"),
    [
        ({"const": {"a": 1}}, {"a": 1}),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "string"}, ""),
        ({"type": "string", "minLength": 2}, "xx"),
        ({"type": "string", "format": "date"}, "1970-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -1.5}, -1.5),
        ({"type": "array", "items": {"type": "null"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": ["string", "null"]}, ""),
        ({"anyOf": [{"type": "array", "minItems": 3, "items": {}}, {"type": "integer"}]}, 0),
        ({"anyOf": [{"type": "string", "pattern": "a"}, {"type": "null"}]}, None),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, {}),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/n"}}},
            {"a": 0},
        ),
        ({"anyOf": [{"$ref": "#/$defs/endless"}, {"type": "boolean"}]}, False),
        ({}, None),
    ],
)
def test_minimal_instance_is_the_smallest_that_the_schema_admits(
    schema: dict[str, Any], smallest: object
) -> None:
    endless = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"$ref": "#/$defs/endless"}},
    }
    root = {**schema, "$defs": {"n": {"type": "integer"}, "endless": endless}}
    found = minimal_instance(root, root)
    assert found == smallest
    jsonschema.validate(found, root)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"allOf": [{"type": "string"}]},
        {"$ref": "#"},
        {"$ref": "https://example.com/schema"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "thing"},
    ],
)
def test_minimal_instance_refuses_what_it_does_not_know(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsatisfiableError):
        minimal_instance(schema, schema)

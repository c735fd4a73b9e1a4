"""A fake model server: OpenAI-compatible HTTP on loopback, scripted answers, no latency.

It serves `POST /v1/chat/completions`, `GET /v1/models` and `GET /health`, and answers with
decisions that obey the JSON Schema in the request. In a test:

    async with ScriptedModelServer(Steps('{"answer":"done"}')) as server:
        ...  # server.url is the base URL, server.requests holds what was asked

As a process, which ends when its parent does:

    python -m bench.scripted_model_server --port 8000 --script tool-calls --turns 3

It is written on asyncio's protocols, for its own CPU time must not show in what is measured.
"""

import argparse
import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any

from bench.http_connection import HttpConnection, Reply
from bench.minimal import UnsatisfiableError, minimal_instance
from bench.scripts import Request, Script, Step, Steps, always_tool, turns

__all__ = [
    "Request",
    "Script",
    "ScriptedModelServer",
    "Step",
    "Steps",
    "always_tool",
    "minimal_instance",
    "turns",
]

RECORDED_REQUESTS = 256
"""Requests kept for tests to look at: those of one test, not of one benchmark."""

CHARACTERS_A_TOKEN = 4
PARENT_POLL_S = 0.5


class ScriptedModelServer:
    """A model server that says what its script says, from `async with` until its end.

    `script` may be replaced between runs. `requests` are the last `recorded` completions asked for,
    `answered` counts all of them, `abandoned` those whose client left before its answer came.
    """

    def __init__(
        self,
        script: Script,
        *,
        port: int = 0,
        model: str = "scripted",
        recorded: int = RECORDED_REQUESTS,
    ) -> None:
        self.script = script
        self.model = model
        self.port = port
        self.requests: deque[Request] = deque(maxlen=recorded)
        self.answered = 0
        self.abandoned = 0
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL that an OpenAI client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> "ScriptedModelServer":
        """Listen, on a free port unless one was given."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close the socket and the connections."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()

    def _connection(self) -> HttpConnection:
        return HttpConnection(self._reply, self._connections, on_abandoned=self._count_abandoned)

    def _count_abandoned(self) -> None:
        self.abandoned += 1

    def _reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        match method, path.partition("?")[0]:
            case "POST", "/v1/chat/completions":
                return self._completion(headers, body)
            case "GET", "/v1/models":
                entry = {"id": self.model, "object": "model", "created": 0, "owned_by": "bench"}
                return _json_reply(200, {"object": "list", "data": [entry]})
            case "GET", "/health":
                return Reply(200, b"", {})
        return _error_reply(404, f"{method} {path} is not served here", code="not_found")

    def _completion(self, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            request = Request(headers, json.loads(body))
        except ValueError as error:
            return _error_reply(400, f"the body is no JSON: {error}")
        if request.body.get("stream"):
            return _error_reply(400, "the scripted server does not stream")
        self.requests.append(request)
        self.answered += 1
        try:
            step = self.script(request)
        except (UnsatisfiableError, KeyError, TypeError, ValueError) as error:
            return _error_reply(500, f"the script failed on the schema: {error!r}")
        if step.status != HTTPStatus.OK:
            return _error_reply(
                step.status,
                step.text,
                code=step.error_code,
                headers=step.headers,
                delay_s=step.delay_s,
            )
        completion = _completion_body(self.answered, request, step, self.model)
        return _json_reply(200, completion, headers=step.headers, delay_s=step.delay_s)


def _completion_body(number: int, request: Request, step: Step, model: str) -> dict[str, Any]:
    prompt = sum(len(message.get("content") or "") for message in request.messages)
    prompt_tokens, completion_tokens = (
        prompt // CHARACTERS_A_TOKEN,
        len(step.text) // CHARACTERS_A_TOKEN,
    )
    message = {
        "role": "assistant",
        "content": None if step.refusal else step.text,
        "refusal": step.refusal,
    }
    return {
        "id": f"scripted-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.body.get("model", model),
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": step.finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _json_reply(
    status: int,
    content: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    delay_s: float = 0,
) -> Reply:
    return Reply(status, json.dumps(content).encode(), headers or {}, delay_s)


def _error_reply(
    status: int,
    message: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    delay_s: float = 0,
) -> Reply:
    error = {"message": message, "type": "scripted", "param": None, "code": code}
    return _json_reply(status, {"error": error}, headers=headers, delay_s=delay_s)


async def _serve(script: Script, port: int) -> None:
    """Serve until the process that started this one is gone."""
    parent = os.getppid()
    async with ScriptedModelServer(script, port=port, recorded=0) as server:
        print(server.url, flush=True)
        while os.getppid() == parent:  # noqa: ASYNC110 nothing else tells of a parent's end
            await asyncio.sleep(PARENT_POLL_S)


def main() -> None:
    """Run the server as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench.scripted_model_server")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one, which is printed")
    parser.add_argument("--script", choices=("tool-calls", "always-tool"), default="tool-calls")
    parser.add_argument("--turns", type=int, default=2, help="turns of a run under tool-calls")
    options = parser.parse_args()
    script = turns(options.turns) if options.script == "tool-calls" else always_tool
    asyncio.run(_serve(script, options.port))


if __name__ == "__main__":
    main()

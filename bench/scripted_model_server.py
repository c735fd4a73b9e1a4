"""A fake model server: OpenAI-compatible HTTP on loopback, with scripted answers and no latency.

It serves `POST /v1/chat/completions` (streamed or whole), `GET /v1/models` and `GET /health`. With an
`engine` it also serves the extra endpoints of vLLM or llama.cpp. Its answers are valid for the JSON
Schema in the request. A `Step` can describe a failure. In a test:

    async with ScriptedModelServer(Steps('{"answer":"done"}')) as server:
        ...  # server.url is the base URL, server.requests holds the requests

As a process, which ends when its parent does:

    python -m bench.scripted_model_server --port 8000 --script tool-calls --turns 3

It uses asyncio's protocols directly, because its own CPU time must not distort measurements.
"""

import argparse
import asyncio
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from bench.scripted_model.chaos import Chaos
from bench.scripted_model.dialects import (
    Overflow,
    ServerIdentity,
    Takes,
    constraint_fields,
    object_in,
)
from bench.scripted_model.http_connection import HttpConnection, Parts, Reply
from bench.scripted_model.minimal import UnsatisfiableError, minimal_instance
from bench.scripted_model.scripts import (
    Generation,
    Request,
    Script,
    Step,
    Steps,
    always_tool,
    answering,
    pieces_of,
    turns,
)
from bench.scripted_model.streams import Answer, Engine, streamed, whole

__all__ = [
    "Chaos",
    "Generation",
    "Request",
    "Script",
    "ScriptedModelServer",
    "Step",
    "Steps",
    "always_tool",
    "minimal_instance",
    "pieces_of",
    "turns",
]

RECORDED_REQUESTS = 256
"""Requests that are kept for tests to inspect: enough for a test, not for a benchmark."""

PARENT_POLL_S = 0.5


class ScriptedModelServer:
    """A model server that answers from its script inside `async with`.

    `script` may be replaced between runs. `requests` are the last `recorded` requests for completions,
    each with its `generation`. `answered` counts all of them, `running` those whose answer is not
    complete, and `abandoned` those whose client disconnected early.

    `engine` is the engine that it imitates. If it is not `constrained`, it ignores all schemas. If it
    `takes` only one field of a constraint, it ignores the other. `max_model_len` limits prompt and
    answer together, as `overflow` describes. Without it, the server reports a context size but does not
    enforce one.
    """

    def __init__(  # noqa: PLR0913 a server's settings, each with a default
        self,
        script: Script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str = "scripted",
        recorded: int = RECORDED_REQUESTS,
        engine: Engine | None = None,
        constrained: bool = True,
        takes: Takes = "both",
        max_model_len: int | None = None,
        overflow: Overflow = "refused",
    ) -> None:
        self.script = script
        self.host = host
        self.port = port
        self.requests: deque[Request] = deque(maxlen=recorded)
        self.answered = 0
        self.running = 0
        self.abandoned = 0
        self._identity = ServerIdentity(model, engine, max_model_len, overflow)
        self._constraint_fields = constraint_fields(takes, constrained=constrained, engine=engine)
        self._last = Generation()
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None

    @property
    def model(self) -> str:
        """The name of its model."""
        return self._identity.model

    @property
    def sent_pieces(self) -> int:
        """How many pieces of the last answer were generated so far."""
        return self._last.sent_pieces

    @property
    def root(self) -> str:
        """The URL of the engine's own endpoints."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> "ScriptedModelServer":
        """Listen, on a free port by default."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, self.host, self.port, backlog=1024
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

    def _reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | Parts:
        path = path.partition("?")[0]
        match method, path:
            case "POST", "/v1/chat/completions":
                return self._completion(headers, body)
            case "GET", "/v1/models":
                return self._identity.models()
            case "GET", "/health":
                return Reply(200, b"", {})
        reply = self._identity.root_reply(method, path, body)
        if reply is not None:
            return reply
        if self._identity.engine == "vllm":
            return self._identity.error(404, "Not Found")
        return self._identity.error(404, f"{method} {path} does not exist here", code="not_found")

    def _completion(self, headers: Mapping[str, str], body: bytes) -> Reply | Parts:
        content = object_in(body)
        if content is None:
            return self._identity.error(400, "the body is not a JSON object")
        request = Request(headers, content, self._constraint_fields)
        refusal = self._identity.refusal(request)
        if refusal is None and request.is_probe:
            return self._answered(request, answering(request))
        self.requests.append(request)
        self.answered += 1
        self._last = request.generation
        if refusal is not None:
            return refusal
        try:
            step = self.script(request)
        except (UnsatisfiableError, KeyError, TypeError, ValueError) as error:
            return self._identity.error(500, f"the script failed on the schema: {error!r}")
        return self._failed(step) if step.is_error else self._answered(request, step)

    def _failed(self, step: Step) -> Reply:
        if step.raw is not None:
            body = step.raw.encode()
            return Reply(step.status, body, step.headers, step.delay_s, step.content_type)
        reply = self._identity.error(step.status, step.text, code=step.error_code)
        return replace(reply, headers=step.headers, delay_s=step.delay_s)

    def _answered(self, request: Request, step: Step) -> Parts:
        answer = Answer(
            self.answered,
            self.model,
            request,
            step,
            self._identity.engine,
            self._identity.max_model_len,
        )
        parts = streamed(answer) if request.body.get("stream") else whole(answer)
        return self._watched(parts, request.generation)

    def _watched(self, parts: Parts, generation: Generation) -> Parts:
        """Pass an answer on. If it is closed before its end, its client has disconnected."""
        generation.state = "running"
        self.running += 1
        try:
            yield from parts
            generation.state = "finished"
        finally:
            self.running -= 1
            if generation.state == "running":
                generation.state = "abandoned"


async def _serve(script: Script, port: int) -> None:
    """Serve until the parent process ends."""
    parent = os.getppid()
    async with ScriptedModelServer(script, port=port, recorded=0) as server:
        print(server.url, flush=True)
        while os.getppid() == parent:  # noqa: ASYNC110 there is no event for the end of a parent
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

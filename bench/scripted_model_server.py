"""A fake model server: OpenAI-compatible HTTP on loopback, scripted answers, no latency.

It serves `POST /v1/chat/completions` (streamed or whole), `GET /v1/models` and `GET /health`, with an
`engine` also what vLLM or llama.cpp serves beside, and answers with decisions that obey the JSON Schema
in the request. A `Step` says how it fails. In a test:

    async with ScriptedModelServer(Steps('{"answer":"done"}')) as server:
        ...  # server.url is the base URL, server.requests holds what was asked

As a process, which ends when its parent does:

    python -m bench.scripted_model_server --port 8000 --script tool-calls --turns 3

It is written on asyncio's protocols, for its own CPU time must not show in what is measured.
"""

import argparse
import asyncio
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from bench.chaos import Chaos
from bench.dialects import Overflow, Served, Takes, object_in, taken_fields
from bench.http_connection import HttpConnection, Parts, Reply
from bench.minimal import UnsatisfiableError, minimal_instance
from bench.scripts import (
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
from bench.streams import Answer, Engine, streamed, whole

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
"""Requests kept for tests to look at: those of one test, not of one benchmark."""

PARENT_POLL_S = 0.5


class ScriptedModelServer:
    """A model server that says what its script says, from `async with` until its end.

    `script` may be replaced between runs. `requests` are the last `recorded` completions asked for,
    each with its `generation`; `answered` counts all of them, `running` those whose answer is not
    complete, `abandoned` those whose client left before it was.

    `engine` is what it poses as. A server that is not `constrained` ignores every schema; one that
    `takes` one field of a constraint ignores the other. `max_model_len` bounds prompt and answer
    together, as `overflow` says; without it a context is told of, but not kept to.
    """

    def __init__(  # noqa: PLR0913 a server's settings, each with a default
        self,
        script: Script,
        *,
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
        self.port = port
        self.requests: deque[Request] = deque(maxlen=recorded)
        self.answered = 0
        self.running = 0
        self.abandoned = 0
        self._served = Served(model, engine, max_model_len, overflow)
        self._taken = taken_fields(takes, constrained=constrained, engine=engine)
        self._last = Generation()
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None

    @property
    def model(self) -> str:
        """The name of its model."""
        return self._served.model

    @property
    def sent_pieces(self) -> int:
        """Pieces of the last request's answer that were generated so far."""
        return self._last.sent_pieces

    @property
    def root(self) -> str:
        """The URL that vLLM's and llama.cpp's own endpoints are under."""
        return f"http://127.0.0.1:{self.port}"

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

    def _reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | Parts:
        path = path.partition("?")[0]
        match method, path:
            case "POST", "/v1/chat/completions":
                return self._completion(headers, body)
            case "GET", "/v1/models":
                return self._served.models()
            case "GET", "/health":
                return Reply(200, b"", {})
        told = self._served.beside(method, path, body)
        if told is not None:
            return told
        if self._served.engine == "vllm":
            return self._served.error(404, "Not Found")
        return self._served.error(404, f"{method} {path} is not served here", code="not_found")

    def _completion(self, headers: Mapping[str, str], body: bytes) -> Reply | Parts:
        content = object_in(body)
        if content is None:
            return self._served.error(400, "the body is no JSON object")
        request = Request(headers, content, self._taken)
        refusal = self._served.refusal(request)
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
            return self._served.error(500, f"the script failed on the schema: {error!r}")
        return self._failed(step) if step.is_error else self._answered(request, step)

    def _failed(self, step: Step) -> Reply:
        if step.raw is not None:
            body = step.raw.encode()
            return Reply(step.status, body, step.headers, step.delay_s, step.content_type)
        reply = self._served.error(step.status, step.text, code=step.error_code)
        return replace(reply, headers=step.headers, delay_s=step.delay_s)

    def _answered(self, request: Request, step: Step) -> Parts:
        answer = Answer(
            self.answered,
            self.model,
            request,
            step,
            self._served.engine,
            self._served.max_model_len,
        )
        parts = streamed(answer) if request.body.get("stream") else whole(answer)
        return self._watched(parts, request.generation)

    def _watched(self, parts: Parts, generation: Generation) -> Parts:
        """Pass an answer on; closed before its end, it is one that its client has left."""
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

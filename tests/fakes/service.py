"""What all fakes of hosted services share: an HTTP server on loopback, its script, and received requests.

A fake validates each request first. An invalid one gets the service's own error, whatever the script says.
"""

import contextlib
import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.sdk_types import installed

NO_ANSWER: Any = object()


@dataclass(frozen=True)
class Play:
    """One answer of a fake, in words that all services share.

    A fake writes `calls` and `answer` in the way that the request allows. `plausible` makes up values from
    the request's schemas: an answer, or a call if the request requires one. `text` is what the model
    writes, as it is. `error` is a whole error answer: status, body, headers. `stream_error` comes inside of
    the stream, and `cut` ends it in the middle.
    """

    calls: Sequence[tuple[str, dict[str, Any]]] = ()
    answer: Any = NO_ANSWER
    plausible: bool = False
    text: str | None = None
    thoughts: str = ""
    error: tuple[int, Any, Mapping[str, str]] | None = None
    stream_error: Any = None
    cut: bool = False
    refusal: str = ""
    truncated: bool = False
    finish: str | None = None
    """A reason to end that only one service has."""


Script = Sequence[Play] | Callable[[Any], Play]


class Refused(Exception):
    """Raised by a rule: the service's status and its words."""

    def __init__(self, message: str, *, status: int = 400, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details


@dataclass(frozen=True)
class Received:
    """A request that a fake received."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answered:
    """An answer of a fake: JSON, or the events of a stream."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    events: list[tuple[str | None, Any]] | None = None
    is_cut: bool = False


class FakeService:
    """A fake of one service. A subclass validates requests and writes answers in the service's form."""

    base_path = "/v1"
    sdk = ""
    """The SDK whose types validate the requests. Without it, tests of the fake are skipped."""

    def __init__(self) -> None:
        self.url = ""
        self.key = "test-key-0123456789"
        self.script: Script = ()
        self.received: list[Received] = []
        self.refusals: list[str] = []
        self.random = random.Random(1)
        self.servers: dict[str, Any] = {}
        self._played = 0

    def play(self, *plays: Play) -> None:
        """Set the script of the next requests."""
        self.script = plays
        self._played = 0

    def next_play(self, body: Any) -> Play:
        if callable(self.script):
            return self.script(body)
        self._played += 1
        if self._played > len(self.script):
            return Play(error=(418, {"error": {"message": "the script has run out"}}, {}))
        return self.script[self._played - 1]

    def bodies(self) -> list[Any]:
        """Return the bodies of the requests for answers."""
        return [request.body for request in self.received if self.is_prompt(request)]

    def is_prompt(self, request: Received) -> bool:
        return isinstance(request.body, dict) and "count" not in request.path

    def answer(self, request: Received) -> Answered:
        """Return the answer to a request. Raises `Refused`."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Answered:
        """Return an error in the service's form."""
        raise NotImplementedError

    def handle(self, request: Received) -> Answered:
        self.received.append(request)
        try:
            return self.answer(request)
        except Refused as refused:
            self.refusals.append(refused.message)
            return self.refusal(refused)


class OpenAIErrors(FakeService):
    """A service whose errors have OpenAI's form."""

    def refusal(self, refused: Refused) -> Answered:
        details = {"type": "invalid_request_error", "param": None, "code": None, **refused.details}
        return Answered(refused.status, {"error": {"message": refused.message, **details}})


@contextlib.contextmanager
def serving(fake: Any) -> Iterator[Any]:
    """Serve until the block is left."""
    if fake.sdk:
        installed(fake.sdk)

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client acknowledges the headers after 40 ms; the body does not wait for that.
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(sent) if sent else None
            answered = fake.handle(Received(self.path, headers, body))
            with contextlib.suppress(ConnectionError):
                self._send(answered)

        def _send(self, answered: Answered) -> None:
            if answered.events is None:
                content = json.dumps(answered.body).encode()
                kind = "application/json"
            else:
                lines = [
                    (f"event: {name}\n" if name else "") + f"data: {json.dumps(event)}\n\n"
                    for name, event in answered.events
                ]
                content, kind = "".join(lines).encode(), "text/event-stream"
            self.send_response(answered.status)
            self.send_header("content-type", kind)
            for name, value in answered.headers.items():
                self.send_header(name, value)
            length = len(content) + (1_000 if answered.is_cut else 0)
            self.send_header("content-length", str(length))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = answered.is_cut

        do_GET = do_POST = _answer  # noqa: N815 the base class's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_port}{fake.base_path}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def required_tool(body: Any, names: Sequence[str], *, forced: bool) -> str | None:
    """Return a tool that a sensible model calls, if the request or a note at its end requires a call."""
    end = json.dumps(body)[-2_000:]
    only = re.search(r"only these tools: ([^.]*)\.", end)
    allowed = only.group(1).split(", ") if only else list(names)
    return allowed[0] if allowed and (forced or "must call a tool" in end) else None


def pieces(text: str, size: int = 7) -> list[str]:
    """Return a text in the pieces of a stream."""
    return [text[start : start + size] for start in range(0, len(text), size)]

"""A fake model server: real HTTP on loopback, scripted answers, and the requests that it received."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer. A string `body` is sent unchanged, anything else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReceivedRequest:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> Reply:
    """Return the answer of a server that has generated `text`."""
    return Reply(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "served-model",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish_reason,
                    "message": {"role": "assistant", "content": text, **message},
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    )


def models(*names: str) -> Reply:
    """Return the answer of `GET /models`."""
    entries = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in names]
    return Reply({"object": "list", "data": entries})


class FakeModelServer:
    """Plays its replies in order. A further request gets an unexpected status."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: list[Reply] = []
        self.requests: list[ReceivedRequest] = []

    def next_reply(self, request: ReceivedRequest) -> Reply:
        self.requests.append(request)
        if len(self.requests) > len(self.replies):
            return Reply("the script has run out", status=418)
        return self.replies[len(self.requests) - 1]


@contextmanager
def fake_model_server() -> Iterator[FakeModelServer]:
    """Serve until the block is left."""
    fake: FakeModelServer

    class Requests(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = fake.next_reply(
                ReceivedRequest(self.path, headers, json.loads(sent) if sent else None)
            )
            text = isinstance(reply.body, str)
            content = (reply.body if text else json.dumps(reply.body)).encode()
            kind = {"content-type": "text/html" if text else "application/json"}
            self.send_response(reply.status)
            for name, value in {**kind, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 the base class's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        fake = FakeModelServer(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        server.shutdown()
        thread.join()

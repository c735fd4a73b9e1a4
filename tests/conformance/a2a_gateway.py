"""A gateway for A2A's own test suite, the TCK: `python -m tests.conformance.a2a_gateway PORT`.

The TCK names a scenario in the id of a message, which no model sees. So the id is written into the text of
the message here. The TCK also repeats ids of messages, which a gateway sends once. So each gets a number.
Then run in the TCK's folder: `run_tck.py --sut-host http://127.0.0.1:PORT/a2a/tck`.
"""

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from outlast_workers.connection import ensure_search_attributes
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.service import gateway_app
from outlast_workers.web import open_listener
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.testing import WorkflowEnvironment

from outlast import Agent, ask_human
from outlast.model_server import Prompt
from outlast.temporal.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call
from tests.conftest import DEV_SERVER_OPTIONS, binary
from tests.workers.gateway import doors as gateway_doors

MARK = "tck-id:"
SERVES_S = 900.0
NUMBERS = itertools.count()

ANSWERS: dict[str, Any] = {
    "tck-artifact-text": "Generated text content",
    "tck-artifact-data": {"key": "value", "count": 42},
    "tck-stream-001": "Stream hello from TCK",
    "tck-stream-003": "Stream task lifecycle",
    "tck-stream-ordering-001": "Ordered output",
    "tck-stream-artifact-text": "Streamed text content",
    "tck-stream-artifact-chunked": "chunk-1 chunk-2",
}

tck = Agent("tck", "Answer.", tools=[ask_human(str, audience="leads")], output=str | dict[str, Any])


async def decide(prompt: Prompt) -> Any:
    """Play the scenario of the last message."""
    identifier = str(prompt).rsplit(MARK, 1)[-1]
    if identifier.startswith("test-resubscribe"):
        await asyncio.sleep(20)
    if identifier.startswith("tck-input-required") and "Which?" not in identifier:
        return call("ask_human", question="Which?")
    found = (value for prefix, value in ANSWERS.items() if identifier.startswith(prefix))
    return answer(next(found, "Hello from TCK"))


class NamesScenarios:
    """Writes the id of each message into its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body, is_whole = b"", False
        while not is_whole:
            message = await receive()
            body += message.get("body", b"")
            is_whole = not message.get("more_body")
        unread: list[Message] = [{"type": "http.request", "body": _named(body)}]
        await self._app(scope, lambda: _next(unread, receive), send)


async def _next(unread: list[Message], receive: Receive) -> Message:
    return unread.pop() if unread else await receive()


def _named(body: bytes) -> bytes:
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
        request = json.loads(body)
        message = request["params"]["message"]
        message["parts"][0]["text"] += f" {MARK}{message['messageId']}"
        message["messageId"] += f"-{next(NUMBERS)}"
        return json.dumps(request).encode()
    return body


@asynccontextmanager
async def named_app(front: Front) -> AsyncIterator[Any]:
    async with gateway_app(front) as app:
        yield NamesScenarios(app)


async def main(port: int) -> None:
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=DEV_SERVER_OPTIONS,
    ) as environment:
        await ensure_search_attributes(environment.client)
        model = ScriptedModel([decide], repeat_last=True)
        with (
            patch.object(gateway_doors, "gateway_app", named_app),
            patch.object(
                gateway_doors,
                "open_listener",
                lambda host, _, **keys: open_listener(host, port, **keys),
            ),
        ):
            options: dict[str, Any] = {"tokens": {}, "events_token": None}
            async with gateway_doors.doors(environment.client, model, [tck], **options) as gateway:
                print(f"up: {gateway.url}/a2a/tck", flush=True)
                await asyncio.sleep(SERVES_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

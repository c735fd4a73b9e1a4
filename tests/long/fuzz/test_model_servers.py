"""Answers of strange model servers: each is an answer or a `ModelError`, within a second."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.error_classes import failure_of_answer, retry_after
from outlast_workers.local.ports import HOST

from outlast.errors import ModelError
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import alarm, examples

WAITS = st.one_of(
    of.TEXTS,
    st.from_regex(r"\A-?[0-9]{1,30}(\.[0-9]{1,30})?(ms|s|m|h)?([0-9]+s)?\Z"),
    st.sampled_from(
        ["Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400, "9" * 400 + "s", "-5", "inf", "1e400"]
    ),
)


@examples(800)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ]
        ),
        WAITS,
        max_size=3,
    )
)
def test_a_wait_that_a_server_asks_for_is_bounded(headers: dict[str, str]) -> None:
    with alarm():
        wait = retry_after(headers)
    assert wait is None or timedelta(0) <= wait <= timedelta(days=1)


@examples(600)
@given(st.integers(100, 599), of.VALUES, of.TEXTS)
def test_every_error_body_has_a_class(status: int, body: Any, message: str) -> None:
    with alarm():
        failure_of_answer(status, body, message)


CONTENTS = st.one_of(
    of.VALUES,
    st.sampled_from(['{"answer":"y"}', "\ud83d", "\ude00", "   ", [{"type": "text", "text": "y"}]]),
)
DELTAS = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"content": CONTENTS, "reasoning_content": CONTENTS, "refusal": of.VALUES}
    ),
    of.VALUES,
)
CHOICES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "index": of.NUMBERS,
            "delta": DELTAS,
            "message": DELTAS,
            "finish_reason": st.one_of(
                st.sampled_from(["stop", "length", "error", "content_filter", None]), of.VALUES
            ),
            "error": of.VALUES,
        },
    ),
    of.VALUES,
)
USAGES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": of.SCALARS,
            "completion_tokens": of.SCALARS,
            "prompt_tokens_details": of.VALUES,
            "completion_tokens_details": of.VALUES,
        },
    ),
    of.VALUES,
)
CHUNKS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "id": of.SCALARS,
            "object": st.sampled_from(["chat.completion.chunk", "error", 1]),
            "choices": st.one_of(st.lists(CHOICES, max_size=2), of.VALUES),
            "usage": USAGES,
            "timings": of.VALUES,
            "error": of.VALUES,
            "message": of.TEXTS,
            "detail": of.VALUES,
            "model": of.SCALARS,
        },
    ),
    of.VALUES,
)
EVENTS = st.builds(
    lambda kind, chunk, end: kind + of.encoded(chunk) + end,
    st.sampled_from([b"data: ", b"data: ", b"data: ", b"data:", b"event: error\ndata: ", b": "]),
    CHUNKS,
    st.sampled_from([b"\n\n", b"\n\n", b"\r\n\r\n", b"\n"]),
)
STREAMS = st.builds(
    lambda events, end: b"".join(events) + end,
    st.lists(EVENTS, max_size=4),
    st.sampled_from([b"data: [DONE]\n\n", b"", b"\xff\xfe", b"data: {\n\n"]),
)


def _event(**chunk: Any) -> bytes:
    return b"data: " + of.encoded(chunk) + b"\n\n"


def _answered(content: Any, finish: Any, usage: Any, timings: Any) -> bytes:
    return (
        _event(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": None}])
        + _event(choices=[{"index": 0, "delta": {}, "finish_reason": finish}])
        + _event(choices=[], usage=usage, timings=timings)
        + b"data: [DONE]\n\n"
    )


NEARLY_RIGHT = st.builds(
    _answered,
    CONTENTS,
    st.one_of(st.just("stop"), st.just("stop"), of.SCALARS),
    st.one_of(USAGES, st.none()),
    st.one_of(st.none(), of.VALUES),
)
BODIES = st.one_of(
    NEARLY_RIGHT, NEARLY_RIGHT, STREAMS, CHUNKS.map(of.encoded), st.binary(max_size=80)
)
TYPES = st.sampled_from(["text/event-stream", "application/json", "text/html"])
STATUSES = st.sampled_from([200, 400, 401, 404, 422, 429, 500, 503, 529])
SSE = st.just((200, "text/event-stream"))
HEADS = st.one_of(SSE, SSE, SSE, st.tuples(STATUSES, TYPES))
PROMPT = Prompt((UserTurn("x"),), {"type": "object"}, "key", 100)


class RawServer:
    """A server that answers every request with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}/v1"

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.splitlines()
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        await reader.readexactly(length)
        writer.write(self.answer)
        writer.close()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@pytest.mark.timeout(300)
def test_every_answer_is_taken_or_is_a_model_error(runner: asyncio.Runner) -> None:
    server = RawServer()
    runner.run(server.open())

    async def complete() -> Completion:
        model = ChatCompletions(ServerOptions(url=server.url, model="m"))
        try:
            async with asyncio.timeout(20):
                return await model.complete(PROMPT)
        finally:
            await model.aclose()

    @examples(250)
    @given(HEADS, BODIES)
    def try_one(head_of: tuple[int, str], body: bytes) -> None:
        status, kind = head_of
        head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        server.answer = head.encode() + body
        with alarm():
            try:
                completion = runner.run(complete())
            except ModelError:
                return
        assert completion.prompt_tokens >= 0
        assert completion.completion_tokens >= 0
        json.dumps(completion.text).encode()

    try:
        try_one()
    finally:
        runner.run(server.close())

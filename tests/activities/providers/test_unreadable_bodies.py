"""Answers without an end, broken or compressed: they are read, or a named failure."""

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable

import pytest
from outlast_activities.providers.chat_client import ChatClient

from outlast.errors import ModelError
from outlast.model_server import Completion, ServerOptions
from tests.activities.providers.raw_answers import ANSWER, Failed, chunk, event, message, outcome_of
from tests.activities.providers.raw_server import JSON, SSE, raw_server, response


def endless(data: bytes) -> Iterable[bytes]:
    return itertools.repeat(data)


def bomb(compressed: bool) -> Iterable[bytes]:
    compressor = zlib.compressobj(9, wbits=31)
    for _ in range(2_000):
        yield compressor.compress(b" " * 1_000_000) + compressor.flush(zlib.Z_SYNC_FLUSH)


def head(content_type: str, status: int = 200, **headers: str) -> bytes:
    return response("", content_type, status, **headers)


UNBOUNDED = {
    "a line": (head(SSE), endless(b"data: " + b"x" * 65_536)),
    "an event of many lines": (head(SSE), endless(b"data: x\n" * 5_000)),
    "a comment": (head(SSE), endless(b": " + b"x" * 65_536)),
    "names of events": (head(SSE), endless(b"event: x\n" * 5_000)),
    "a body": (head(JSON), endless(b"[" * 65_536)),
    "white space": (head(JSON), endless(b" " * 65_536)),
    "an error body": (head(JSON, 500), endless(b"x" * 65_536)),
    "an error page": (head("text/html", 404), endless(b"<p>" * 20_000)),
    "a list of errors": (head(JSON, 400), endless(b'{"error":' * 5_000)),
    "a compressed body": (head(JSON, content_encoding="gzip"), bomb(compressed=True)),
    "a compressed stream": (head(SSE, content_encoding="gzip"), bomb(compressed=True)),
    "a compressed error": (head(JSON, 503, content_encoding="gzip"), bomb(compressed=True)),
    "digits": (head(SSE), b'data: {"choices":', endless(b"9" * 65_536)),
}


@pytest.mark.parametrize("name", UNBOUNDED)
async def test_an_answer_without_an_end_is_cut_off(name: str) -> None:
    import resource  # noqa: PLC0415

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    error = await outcome_of(*UNBOUNDED[name], timeout_s=60)

    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert isinstance(error, ModelError)
    assert error.kind in (Failed.SERVER_ERROR, Failed.TIMEOUT, Failed.CONNECTION), error
    assert "more than 8,000,000 bytes" in error.message
    assert grown_kb < 120_000


@pytest.mark.parametrize(
    "field",
    ["content", "reasoning_content"],
)
async def test_an_answer_of_endless_tokens_is_cut_off(field: str) -> None:
    texts = (f"{number} " * 2_000 for number in itertools.count())
    body = (
        f"data: {json.dumps({'choices': [{'delta': {field: text}}]})}\n\n".encode()
        for text in texts
    )

    error = await outcome_of(head(SSE), body)

    assert isinstance(error, ModelError)
    assert error.kind is Failed.TRUNCATED


UNREADABLE: dict[str, str | bytes] = {
    "a number of 5,000 digits": chunk().replace("0", "9" * 5_000),
    "deep nesting": "data: " + "[" * 100_000 + "\n\n",
    "half an object": 'data: {"choices":\n\n',
    "not UTF-8": b'data: {"choices":"\xff"}\n\n',
    "a text": event("x"),
    "a number": event(7),
    "null": event(None),
    "an empty list": event([]),
    "nothing": "",
    "only the end": "data: [DONE]\n\n",
    "only comments": ": ping\n\n" * 10,
    "no data": "event: x\n\n",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_stream_is_a_named_failure(name: str) -> None:
    error = await outcome_of(response(UNREADABLE[name], SSE))

    assert isinstance(error, ModelError)
    assert error.kind is Failed.SERVER_ERROR, error


@pytest.mark.parametrize(
    "body", ["9" * 5_000, "[" * 100_000, "{", b"\xff", "", "null", "7", "[]", "{}", '"x"']
)
async def test_an_unreadable_body_is_a_named_failure(body: str | bytes) -> None:
    error = await outcome_of(response(body))

    assert isinstance(error, ModelError)
    assert error.kind is Failed.SERVER_ERROR, error


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "GZIP", "identity", ""])
async def test_a_compressed_answer_is_read(encoding: str) -> None:
    content = message(ANSWER).encode()
    compressed = {
        "deflate": zlib.compress(content),
        "identity": content,
        "": content,
    }.get(encoding, gzip.compress(content))

    outcome = await outcome_of(response(compressed, content_encoding=encoding))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 500, "gzip"])
async def test_an_answer_in_an_unknown_compression_is_a_named_failure(encoding: str) -> None:
    error = await outcome_of(response(message(ANSWER), content_encoding=encoding))

    assert isinstance(error, ModelError)
    assert error.kind is Failed.SERVER_ERROR


@pytest.mark.parametrize(
    "content_type", ["Text/Event-Stream", "text/plain", "", "text/event-stream; charset=utf-8"]
)
async def test_a_stream_is_read_under_other_content_types(content_type: str) -> None:
    outcome = await outcome_of(response(chunk(ANSWER) + chunk(finish="stop"), content_type))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


async def test_the_chunks_of_an_answer_that_is_left_early_are_closed_with_it() -> None:
    """The loop would close them at any later time, in a task of its own."""
    events = [event(chunk("a")), event(chunk("b"))]
    body = head("text/event-stream") + "".join(events).encode()
    async with raw_server(body) as server:
        client = ChatClient(ServerOptions(server.url))
        async with client.stream({}, {}) as chunks:
            await anext(chunks)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        await client.aclose()

"""Answers of model servers as they are: real bytes from a real server on loopback."""

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from outlast_activities.providers.chat_client import ChatClient
from outlast_activities.providers.chat_completions import ChatCompletions

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.activities.providers.raw_server import JSON, SSE, raw_server, response

Failed = ModelFailure

ANSWER = '{"answer":"y"}'
PROMPT = Prompt((UserTurn("x" * 300),), {"type": "object"}, "k", 100, session="run")


async def outcome_of(
    *pieces: bytes | Iterable[bytes], prompt: Prompt = PROMPT, **options: Any
) -> Completion | ModelError:
    outcome = await _outcome_of(*pieces, prompt=prompt, **options)
    if isinstance(outcome, ModelError):
        assert "\n" not in outcome.message
        assert len(outcome.message.encode()) < 800
    return outcome


async def _outcome_of(
    *pieces: bytes | Iterable[bytes], prompt: Prompt, **options: Any
) -> Completion | ModelError:
    async with raw_server(*pieces) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", **{"timeout_s": 5, **options}))
        try:
            return await model.complete(prompt)
        except ModelError as error:
            return error
        finally:
            await model.aclose()


def chunk(content: Any = None, finish: Any = None, **more: Any) -> str:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return event({"choices": [choice]})


def event(body: Any) -> str:
    return f"data: {json.dumps(body)}\n\n"


def message(content: Any, finish: Any = "stop", **more: Any) -> str:
    choice = {"index": 0, "message": {"content": content}, "finish_reason": finish, **more}
    return json.dumps({"choices": [choice]})


ERROR_BODIES = [
    # (status, body, content type, kind, words in the message)
    (
        422,
        {"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]},
        Failed.BAD_REQUEST,
        "body.stream_options: extra fields not permitted",
    ),
    (
        404,
        {"error": "model 'x' not found, try pulling it first"},
        Failed.UNKNOWN_MODEL,
        "try pulling it first",
    ),
    (401, {"detail": "Unauthorized: bad key"}, Failed.AUTHENTICATION, "Unauthorized: bad key"),
    (
        400,
        {"errors": [{"message": "This model's maximum context length is 10 tokens"}]},
        Failed.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    (400, {"errors": ["a", "b"]}, Failed.BAD_REQUEST, "a; b"),
    (
        400,
        {"object": "error", "message": "input is too long", "code": 40303},
        Failed.CONTEXT_OVERFLOW,
        "input is too long",
    ),
    (
        400,
        [{"error": {"code": 400, "message": "bad tool", "status": "INVALID_ARGUMENT"}}],
        Failed.BAD_REQUEST,
        "bad tool",
    ),
    (500, {"detail": {"error": {"message": "queue is full"}}}, Failed.OVERLOADED, "queue is full"),
    (
        503,
        "<html><head><title>503 Service Unavailable</title></head><body><h1>No server</h1></html>",
        Failed.OVERLOADED,
        "503 Service Unavailable: No server",
    ),
    (500, "upstream connect error", Failed.OVERLOADED, "upstream connect error"),
    (500, {"message": "Internal", "request_id": "7"}, Failed.SERVER_ERROR, "Internal"),
    (400, {"msg": "content filter triggered"}, Failed.REFUSAL, "content filter triggered"),
    (400, {"error": {"message": {"nested": 1}}}, Failed.BAD_REQUEST, "nested"),
    (
        400,
        {"error": {"code": "context_length_exceeded"}},
        Failed.CONTEXT_OVERFLOW,
        "context_length_exceeded",
    ),
    (
        400,
        {"errors": [{"code": "insufficient_quota", "detail": "no credit"}]},
        Failed.AUTHENTICATION,
        "no credit",
    ),
    (
        400,
        {"error": {"metadata": {"raw": "x"}, "message": "Provider returned error", "code": 429}},
        Failed.THROTTLED,
        "Provider returned error",
    ),
    (418, "", Failed.BAD_REQUEST, "418"),
    (400, '{"error":', Failed.BAD_REQUEST, "error"),
    (500, "\ud83d broken", Failed.SERVER_ERROR, "broken"),
    (400, {"error": None, "detail": None, "code": None}, Failed.BAD_REQUEST, "400"),
    (429, {"error": {"message": "slow down", "type": []}}, Failed.THROTTLED, "slow down"),
    (500, {"title": "Oops", "status": 503, "detail": "try later"}, Failed.OVERLOADED, "try later"),
    (400, {"error": "<b>bad</b> &amp; ugly"}, Failed.BAD_REQUEST, "bad & ugly"),
    (
        400,
        {"code": "json_validate_failed", "message": "Failed to validate JSON"},
        Failed.SCHEMA_INVALID,
        "Failed to validate JSON",
    ),
    (500, {"detail": ["x" * 10_000] * 50}, Failed.SERVER_ERROR, "xxx"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), ERROR_BODIES)
async def test_an_error_body_keeps_its_words_and_its_class(
    status: int, body: Any, kind: ModelFailure, words: str
) -> None:
    is_json = not isinstance(body, str)
    text = json.dumps(body) if is_json else body
    raw = response(text, JSON if is_json else "text/html", status)

    error = await outcome_of(raw)

    assert isinstance(error, ModelError)
    assert (error.kind, words in error.message) == (kind, True), error.message


ERRORS_IN_200 = [
    (
        {"object": "error", "message": "The model `m` does not exist.", "code": 404},
        Failed.UNKNOWN_MODEL,
        "does not exist",
    ),
    (
        {"error": "This model's maximum context length is 10 tokens"},
        Failed.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    ({"error": {"message": "overloaded", "code": 529}}, Failed.OVERLOADED, "overloaded"),
    ({"error": {"code": 502}}, Failed.CONNECTION, "502"),
    ({"detail": "queue is full"}, Failed.OVERLOADED, "queue is full"),
    ({"message": "Rate limit reached"}, Failed.THROTTLED, "Rate limit reached"),
    ({"errors": [{"message": "bad gateway"}]}, Failed.CONNECTION, "bad gateway"),
    (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Failed.OVERLOADED,
        "Overloaded",
    ),
    ([{"error": {"message": "no such model", "code": 404}}], Failed.UNKNOWN_MODEL, "no such model"),
    (
        {
            "choices": [
                {
                    "index": 0,
                    "error": {"code": 503, "message": "upstream overloaded"},
                    "finish_reason": "error",
                }
            ]
        },
        Failed.OVERLOADED,
        "upstream overloaded",
    ),
    ({"choices": [], "error": {"message": "timed out"}}, Failed.TIMEOUT, "timed out"),
    ({"choices": [{"error": "loading model"}]}, Failed.OVERLOADED, "loading model"),
    ({"status": "error", "message": "boom"}, Failed.SERVER_ERROR, "boom"),
    ({"error": True}, Failed.SERVER_ERROR, "true"),
    ({"error_msg": "content policy", "error_code": 336}, Failed.REFUSAL, "content policy"),
]


@pytest.mark.parametrize("form", ["single", "stream", "named event", "after text"])
@pytest.mark.parametrize(("body", "kind", "words"), ERRORS_IN_200)
async def test_an_error_in_an_answer_is_read_like_any_error(
    body: Any, kind: ModelFailure, words: str, form: str
) -> None:
    raw = {
        "single": response(json.dumps(body)),
        "stream": response(event(body), SSE),
        "named event": response("event: error\n" + event(body), SSE),
        "after text": response(chunk('{"answer":"') + event(body), SSE),
    }[form]

    error = await outcome_of(raw)

    assert isinstance(error, ModelError)
    assert (error.kind, words in error.message) == (kind, True), error.message


FINISH_REASONS = [
    *(
        (reason, "stop")
        for reason in (
            "stop",
            "STOP",
            "eos",
            "eos_token",
            "tool_calls",
            "end_turn",
            "COMPLETE",
            "stop_sequence",
            "function_call",
        )
    ),
    *(
        (reason, "length")
        for reason in (
            "length",
            "model_length",
            "max_tokens",
            "MAX_TOKENS",
            "max_output_tokens",
            "model_context_window_exceeded",
            "token limit",
        )
    ),
    *(
        (reason, Failed.REFUSAL)
        for reason in (
            "content_filter",
            "sensitive",
            "content_filter: RECITATION",
            "SAFETY",
            "guardrail_intervened",
            "PROHIBITED_CONTENT",
            "blocklist",
            "refusal",
            "ERROR_TOXIC",
            "content-filter",
        )
    ),
    *(
        (reason, Failed.SERVER_ERROR)
        for reason in (
            "error",
            "abort",
            "aborted",
            "cancelled",
            "unknown",
            "OTHER",
            "MALFORMED_FUNCTION_CALL",
            7,
            "x" * 10_000,
        )
    ),
    ("network_error", Failed.CONNECTION),
    ("insufficient_system_resource", Failed.OVERLOADED),
    ("rate_limit", Failed.THROTTLED),
    ("timeout", Failed.TIMEOUT),
    ({"type": "length", "length": 10}, "length"),
    ({"type": "stop", "matched": 2}, "stop"),
    ({"type": "abort", "message": "too many", "status_code": 503}, Failed.SERVER_ERROR),
]


@pytest.mark.parametrize("form", ["single", "stream"])
@pytest.mark.parametrize(("reason", "end"), FINISH_REASONS)
async def test_the_end_of_an_answer_is_understood_in_many_words(
    reason: Any, end: str, form: str
) -> None:
    text = '{"answer":"y'
    body = message(text, reason) if form == "single" else chunk(text, "") + chunk(finish=reason)

    outcome = await outcome_of(response(body, JSON if form == "single" else SSE))

    if isinstance(outcome, Completion):
        assert outcome.finish_reason == end
    else:
        assert outcome.kind is end
        assert outcome.text == text


CONTENTS = [
    [{"type": "text", "text": ANSWER}],
    {"type": "text", "text": ANSWER},
    [ANSWER],
    [{"text": ANSWER}],
    [{"type": "output_text", "text": ANSWER}],
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": ANSWER},
    ],
    [{"type": "thinking", "thinking": "hm {}"}, {"type": "text", "text": ANSWER}],
    [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": ANSWER}],
    [{"type": "text", "text": {"value": ANSWER}}],
    [{"type": "text", "text": '{"answer":'}, {"type": "text", "text": '"y"}'}],
    [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": ANSWER}],
    [None, 7, {"type": "text", "text": ANSWER}, {"type": 3, "text": "no"}],
]


@pytest.mark.parametrize("form", ["single", "stream"])
@pytest.mark.parametrize("content", CONTENTS)
async def test_a_content_in_parts_is_read(content: Any, form: str) -> None:
    body = message(content) if form == "single" else chunk(content) + chunk(finish="stop")

    outcome = await outcome_of(response(body, JSON if form == "single" else SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


ODD_CHUNKS = [
    {"choices": None},
    {"choices": {}},
    {"choices": "x"},
    {"choices": [None]},
    {"choices": [{"delta": None}]},
    {"choices": [{"delta": "x"}]},
    {"choices": [{"delta": [1]}]},
    {"choices": [{"delta": {"content": 7}}]},
    {"choices": [{"delta": {"content": None, "reasoning_content": 7}}]},
    {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
    {"model": 7, "choices": []},
    {"model": {"a": 1}},
    {"usage": 7},
    {"usage": [1]},
    {"usage": {"prompt_tokens": {}, "completion_tokens": []}},
    {"timings": {"cache_n": "x", "prompt_n": [], "predicted_n": None}},
    {"timings": "x"},
]


@pytest.mark.parametrize("odd", ODD_CHUNKS)
async def test_an_odd_chunk_does_not_cost_the_answer(odd: Any) -> None:
    body = event(odd) + chunk(ANSWER) + event(odd) + chunk(finish="stop") + event(odd)

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


USAGES = [
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": [1]}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": "x"}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3.5}, (12, 4, 0)),
    ({"prompt_tokens": 12.0, "completion_tokens": 3}, (12, 3, 0)),
    ({"prompt_tokens": -(10**9), "completion_tokens": 3}, (100, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": -1}, (12, 4, 0)),
    ({"prompt_tokens": 0, "completion_tokens": 0}, (100, 4, 0)),
    ({"prompt_tokens": 10**30, "completion_tokens": 3}, (100, 3, 0)),
    ({"prompt_tokens": "12", "completion_tokens": None}, (100, 4, 0)),
    ({"prompt_tokens": True, "completion_tokens": False}, (100, 4, 0)),
    ({"prompt_tokens": 1e400, "completion_tokens": float("nan")}, (100, 4, 0)),
    (
        {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 99},
        },
        (12, 3, 12),
    ),
    (
        {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": -5},
        },
        (12, 3, 0),
    ),
    ({"completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}, (100, 3, 5)),
    ({}, (100, 4, 0)),
]


@pytest.mark.parametrize(("usage", "counted"), USAGES)
async def test_a_usage_that_cannot_be_read_counts_as_absent(
    usage: Any, counted: tuple[int, int, int]
) -> None:
    body = chunk(ANSWER) + chunk(finish="stop") + event({"choices": [], "usage": usage})

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    tokens = outcome.tokens
    assert (
        tokens.prompt_tokens,
        tokens.completion_tokens,
        tokens.cached_prompt_tokens,
    ) == counted


SURROGATES = [
    (("\ud83d", "\ude00"), "😀"),
    (("a\ud83d", "\ude00b"), "a😀b"),
    (("\ud83d",), "\ufffd"),
    (("\ude00",), "\ufffd"),
    (("\ude00", "\ud83d"), "\ufffd\ufffd"),
    (("\ud83d", "", "\ude00"), "😀"),
    (("\ud83d", "x", "\ude00"), "\ufffdx\ufffd"),
    (("\ud83d\ud83d", "\ude00"), "\ufffd😀"),
    (("\ud83d\ude00", "\ud83d"), "😀\ufffd"),
    (("é\udcff",), "é\ufffd"),
]


@pytest.mark.parametrize(("pieces", "text"), SURROGATES)
async def test_halves_of_surrogate_pairs_are_joined_or_replaced(
    pieces: tuple[str, ...], text: str
) -> None:
    body = "".join(map(chunk, pieces)) + chunk(finish="stop")

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == text


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

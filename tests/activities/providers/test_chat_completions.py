import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span
from outlast_activities.policies.recovery import RULES
from outlast_activities.providers.chat_completions import ChatCompletions
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import DataConverter

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.activities.providers.fake_model_server import (
    FakeModelServer,
    Reply,
    completion,
    fake_model_server,
    models,
)
from tests.outlines import VLLM

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"$ref": "#/$defs/answer.Counts"}},
    "required": ["answer"],
    "additionalProperties": False,
    "$defs": {"answer.Counts": {"type": "object", "additionalProperties": {"type": "integer"}}},
}


def prompt(**changes: Any) -> Prompt:
    plain: dict[str, Any] = {
        "instructions": "Count.",
        "turns": (UserTurn("two apples"),),
        "schema": SCHEMA,
        "schema_key": "counts",
        "max_tokens": 50,
    }
    return Prompt(**{**plain, **changes})


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with fake_model_server() as fake:
        yield fake
        assert len(fake.requests) == len(fake.replies), (
            "the script was not played to its end, or over"
        )


@pytest_asyncio.fixture
async def model(server: FakeModelServer) -> AsyncIterator[ChatCompletions]:
    adapter = ChatCompletions(ServerOptions(server.url, model="m", temperature=0.3))
    yield adapter
    await adapter.aclose()


async def failure_of(adapter: ChatCompletions, sent: Prompt | None = None) -> ModelError:
    with pytest.raises(ModelError) as raised:
        await adapter.complete(sent or prompt())
    assert "\n" not in raised.value.message
    return raised.value


def constraint_of(api: str) -> dict[str, Any]:
    if api == "vllm":
        return {"structured_outputs": {"json": SCHEMA}}
    named = {"name": "answer", "strict": True, "schema": SCHEMA}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


@pytest.mark.parametrize("api", [VLLM, "openai-chat"])
async def test_a_request_has_the_prompt_and_its_constraint(
    server: FakeModelServer, api: str
) -> None:
    server.replies = [completion('{"answer":{"apples":2}}')]
    adapter = ChatCompletions(
        ServerOptions(server.url, api=api, api_key="k", model="m", temperature=0.3)
    )

    answer = await adapter.complete(prompt())

    await adapter.aclose()
    assert answer == Completion('{"answer":{"apples":2}}', "stop", 7, 3, "served-model")
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == "Bearer k"
    counted = {"continuous_usage_stats": True} if api == "vllm" else {}
    assert server.requests[0].body == {
        "model": "m",
        "messages": prompt().messages,
        "max_tokens": 50,
        "temperature": 0.3,
        "stream": True,
        "stream_options": {"include_usage": True} | counted,
        **constraint_of(api),
    }


async def test_an_object_of_any_properties_is_not_closed_and_one_of_some_is(
    server: FakeModelServer, model: ChatCompletions
) -> None:
    server.replies = [completion("{}")]
    schema = {
        "type": "object",
        "properties": {"free": {"type": "object"}, "maybe": {"type": ["object", "null"]}},
    }

    await model.complete(prompt(schema=schema))

    sent = server.requests[0].body["response_format"]["json_schema"]["schema"]
    assert sent == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "free": {"type": "object", "additionalProperties": True},
            "maybe": {"type": ["object", "null"], "additionalProperties": True},
        },
    }
    assert "additionalProperties" not in schema, "the prompt's own schema is not touched"


async def test_a_constraint_is_cached_by_its_key_and_the_oldest_are_dropped(
    server: FakeModelServer, model: ChatCompletions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model._constraints, "_max_bytes", 2_000)
    server.replies = [completion("1")] * 23
    string, number = {"type": "string"}, {"type": "number"}

    await model.complete(prompt(schema=string, schema_key="k"))
    await model.complete(prompt(schema=number, schema_key="k"))
    for other in range(20):
        await model.complete(prompt(schema=number, schema_key=f"other {other}"))
    await model.complete(prompt(schema=number, schema_key="k"))

    sent = [request.body["response_format"]["json_schema"]["schema"] for request in server.requests]
    assert [sent[0], sent[1], sent[-1]] == [string, string, number]


async def test_a_request_carries_its_trace(server: FakeModelServer, model: ChatCompletions) -> None:
    server.replies = [completion("1")]
    span = TracerProvider().get_tracer("test").start_span("turn")

    with use_span(span, end_on_exit=True):
        await model.complete(prompt())

    context = span.get_span_context()
    carried = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    assert server.requests[0].headers["traceparent"].startswith(carried)


async def test_a_proxy_of_the_environment_is_not_used_for_a_loopback_server(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.replies = [completion("1")]
    adapter = ChatCompletions(ServerOptions(server.url, model="m"))

    assert (await adapter.complete(prompt())).text == "1"
    await adapter.aclose()


async def test_the_prompts_model_wins_over_the_adapters(
    server: FakeModelServer, model: ChatCompletions
) -> None:
    server.replies = [completion("1")]
    await model.complete(prompt(model="other"))
    assert server.requests[0].body["model"] == "other"


async def test_without_a_name_the_servers_first_model_is_queried_once(
    server: FakeModelServer,
) -> None:
    server.replies = [models("first", "second"), completion("1"), completion("2")]
    adapter = ChatCompletions(ServerOptions(server.url))

    await asyncio.gather(adapter.complete(prompt()), adapter.complete(prompt()))

    await adapter.aclose()
    assert [request.path for request in server.requests] == [
        "/v1/models",
        *["/v1/chat/completions"] * 2,
    ]
    assert [request.body["model"] for request in server.requests[1:]] == ["first", "first"]


async def test_a_model_that_the_server_has_replaced_is_queried_again(
    server: FakeModelServer,
) -> None:
    gone = Reply({"error": {"message": "no model 'old'"}}, status=404)
    server.replies = [models("old"), gone, models("new"), completion("1")]
    adapter = ChatCompletions(ServerOptions(server.url))

    assert (await failure_of(adapter)).kind is ModelFailure.OVERLOADED
    await adapter.complete(prompt())

    await adapter.aclose()
    assert server.requests[-1].body["model"] == "new"


async def test_a_server_without_a_model_is_an_unknown_model(server: FakeModelServer) -> None:
    server.replies = [models()]
    adapter = ChatCompletions(ServerOptions(server.url))
    assert (await failure_of(adapter)).kind is ModelFailure.UNKNOWN_MODEL
    await adapter.aclose()


async def test_an_answer_that_was_cut_off_has_its_finish_reason(
    server: FakeModelServer, model: ChatCompletions
) -> None:
    server.replies = [completion('{"answer"', finish_reason="length")]
    assert (await model.complete(prompt())).finish_reason == "length"


async def test_missing_text_and_usage_are_empty_and_zero(
    server: FakeModelServer, model: ChatCompletions
) -> None:
    reply = completion(None)
    del reply.body["usage"], reply.body["model"]
    server.replies = [reply]
    assert await model.complete(prompt()) == Completion("", "stop", 0, 0, "m")


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (completion(None, refusal="I will not."), ModelFailure.REFUSAL, "I will not."),
        (
            completion(None, finish_reason="content_filter"),
            ModelFailure.REFUSAL,
            "content filter",
        ),
        (Reply("<html>hello</html>"), ModelFailure.UNKNOWN_MODEL, "/v1"),
        (
            Reply("{", headers={"content-type": "application/json"}),
            ModelFailure.SERVER_ERROR,
            "127.0.0.1",
        ),
        (Reply({"choices": []}), ModelFailure.SERVER_ERROR, "without a choice"),
        (Reply({"error": "overloaded"}), ModelFailure.OVERLOADED, "overloaded"),
        (Reply(["?"]), ModelFailure.SERVER_ERROR, "not an object"),
    ],
    ids=["refusal", "filter", "html", "broken json", "no choice", "error inside", "no object"],
)
async def test_a_useless_answer_is_classified(
    server: FakeModelServer,
    model: ChatCompletions,
    reply: Reply,
    kind: ModelFailure,
    text: str,
) -> None:
    server.replies = [reply]
    failure = await failure_of(model)
    assert failure.kind is kind
    assert text in failure.message


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
async def test_a_busy_or_broken_server_is_not_retried_by_the_adapter(
    server: FakeModelServer, model: ChatCompletions, status: int
) -> None:
    server.replies = [Reply("later", status=status, headers={"retry-after": "7"})]
    failure = await failure_of(model)
    assert RULES[failure.kind].retryable
    assert failure.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "too long"), (401, "api_key"), (403, "api_key"), (404, "url")]
)
async def test_a_wrong_request_is_final_and_names_server_model_and_remedy(
    server: FakeModelServer, model: ChatCompletions, status: int, advice: str
) -> None:
    server.replies = [Reply({"error": {"message": "too long\nby 5"}}, status=status)]
    failure = await failure_of(model)
    assert not RULES[failure.kind].retryable
    for part in (server.url, "'m'", advice, "too long by 5"):
        assert part in failure.message


async def test_a_huge_error_page_does_not_reach_the_history(
    server: FakeModelServer, model: ChatCompletions
) -> None:
    server.replies = [Reply("<p>sorry</p>" * 300_000, status=500)]
    failure = await failure_of(model)

    encoded = FailureProto()
    DataConverter.default.failure_converter.to_failure(
        failure, DataConverter.default.payload_converter, encoded
    )
    assert encoded.ByteSize() < 10_000


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    with fake_model_server() as gone:
        adapter = ChatCompletions(ServerOptions(gone.url, model="m"))
    failure = await failure_of(adapter)
    await adapter.aclose()
    assert failure.kind is ModelFailure.CONNECTION
    assert f"{gone.url} cannot be reached" in failure.message


async def test_a_server_that_is_too_slow_has_timed_out() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    adapter = ChatCompletions(
        ServerOptions(f"http://127.0.0.1:{port}/v1", model="m", timeout_s=0.1)
    )

    failure = await failure_of(adapter)

    await adapter.aclose()
    listener.close()
    await listener.wait_closed()
    assert failure.kind is ModelFailure.TIMEOUT
    assert "within 0.1 s" in failure.message

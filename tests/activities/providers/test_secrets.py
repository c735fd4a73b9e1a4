"""An API key reaches neither messages, nor histories, nor logs, nor spans."""

import json
import logging
import traceback
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.redaction import Redactor
from outlast_activities.providers.registry import ADAPTERS
from outlast_workers.settings import Settings
from outlast_workers.settings_errors import invalid_settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from pydantic import SecretStr, ValidationError
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import DataConverter

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.activities.providers.raw_server import SSE, raw_server, response
from tests.outlines import with_marks

KEY = "sk-CANARY-7c1f'\"\\<+/=&%"
"""A key with each character that some encoding changes."""

PROMPT = Prompt((UserTurn("x"),), {"type": "object"}, "k", 100, session="run")

ECHOES = {
    "header": f"Incorrect API key provided: Bearer {KEY}",
    "quoted": f'Authorization: "{KEY}"',
    "cut": f"bad key {KEY[:14]}",
    "cut by the end of a message": "x" * 270 + f" Bearer {KEY}",
    "repr": repr({"Authorization": f"Bearer {KEY}"}),
    "bytes": repr(f"Bearer {KEY}".encode()),
    "json": json.dumps({"headers": {"authorization": f"Bearer {KEY}"}}),
    "url": f"https://host/v1?key={quote(KEY, safe='')}",
    "url path": f"https://host/{quote(KEY)}/x",
    "twice": f"{KEY} {KEY}",
    "html": f"<title>401</title><p>Bearer {KEY}</p>",
    "upper part": f"key={KEY};",
}


def told_by(echo: str) -> list[bytes]:
    error = {"message": echo, "code": "invalid_api_key"}
    return [
        response(json.dumps({"error": error}), status=401),
        response(json.dumps({"detail": echo}), status=401),
        response(echo, "text/html", 500),
        response(json.dumps({"error": error})),
        response("data: " + json.dumps({"error": error}) + "\n\n", SSE),
        response(json.dumps({"choices": [{"error": {"message": echo}}]})),
        response(
            json.dumps({"choices": [{"message": {"refusal": echo}, "finish_reason": "stop"}]})
        ),
        response(json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": echo}]})),
        response("data: {" + echo + "\n\n", SSE),
        response("", content_encoding=echo.replace("\n", " ")),
        b"HTTP/1.1 " + echo.encode() + b"\r\n\r\n",
    ]


@pytest.mark.parametrize("echo", ECHOES)
async def test_a_key_that_a_server_repeats_goes_nowhere(
    echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for raw in told_by(ECHOES[echo]):
        error, recorded = await failure_of(raw, api_key=KEY)
        for text in (str(error), recorded, caplog.text):
            assert "CANARY" not in text


def redirect(target: str) -> bytes:
    return f"HTTP/1.1 307 X\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("api", with_marks(ADAPTERS))
async def test_a_redirect_carries_neither_prompt_nor_key_to_another_server(api: str) -> None:
    async with (
        raw_server(response("{}")) as other,
        raw_server(redirect(f"{other.url}?token=t")) as server,
    ):
        options = ServerOptions(server.url, model="m", api_key=KEY, timeout_s=5, api=api)
        model = ADAPTERS[api].connect(options, None)
        with pytest.raises(ModelError, match="redirects to another server, http://") as raised:
            await model.complete(PROMPT)
        await model.count_prompt_tokens(PROMPT)
        await model.is_reachable()
        await model.aclose()
    assert raised.value.kind is ModelFailure.UNKNOWN_MODEL
    assert "token=t" not in str(raised.value)
    assert other.requests == []


async def test_a_redirect_within_a_server_is_followed() -> None:
    async with raw_server(redirect("/v2/chat/completions")) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", timeout_s=5))
        with pytest.raises(ModelError, match="redirects"):
            await model.complete(PROMPT)
        await model.aclose()
    assert b"POST /v2/chat/completions" in server.requests[1]


async def failure_of(raw: bytes, **options: Any) -> tuple[ModelError, str]:
    """Return the error, and all that a history and a span record of it."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    async with raw_server(raw) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", timeout_s=5, **options))
        tracer = provider.get_tracer("t")
        with pytest.raises(ModelError) as raised, tracer.start_as_current_span("call"):
            await model.complete(PROMPT)
        await model.aclose()
    failure = FailureProto()
    converter = DataConverter.default
    converter.failure_converter.to_failure(raised.value, converter.payload_converter, failure)
    span = spans.get_finished_spans()[0].to_json()
    shown = "".join(traceback.format_exception(raised.value))
    return raised.value, f"{failure}{span}{shown}"


async def test_a_model_name_does_not_carry_the_key() -> None:
    body = {
        "model": f"m {KEY}",
        "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    }
    async with raw_server(response(json.dumps(body))) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", api_key=KEY))
        completion = await model.complete(PROMPT)
        await model.aclose()
    assert "CANARY" not in completion.model


UNUSABLE = [
    "sk-CANARY\nx",
    "sk-CANARY x",
    "sk-CANARY\r\nX-Evil: 1",
    "sk-CANARY\0",
    "sk-CANARY-é",
    "sk-CANARY-\u2028x",
    "sk-CANARY\u200b",
    "“sk-CANARY”",
    "sk-CANARY\x7f",
    "sk-\tCANARY",
    "sk-CANARY-\udcff",
]


@pytest.mark.parametrize("key", UNUSABLE)
def test_a_key_that_no_header_can_carry_is_rejected_at_the_start(key: str) -> None:
    with pytest.raises(ValidationError) as rejected:
        ModelSettings(url="http://127.0.0.1:1/v1", api_key=SecretStr(key))
    assert "CANARY" not in str(rejected.value)
    assert "must be printable ASCII" in str(rejected.value)

    with pytest.raises(NotReady, match="must be printable ASCII") as refused:
        ChatCompletions(ServerOptions("http://127.0.0.1:1/v1", api_key=key))
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    "key", ["sk-1\n", "sk-1\r\n", " sk-1", "sk-1\t ", "\ufeffsk-1".strip("\ufeff")]
)
async def test_white_space_around_a_key_is_taken_off(key: str) -> None:
    settings = ModelSettings(url="http://127.0.0.1:1/v1", api_key=SecretStr(key))
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sk-1"

    async with raw_server(response("{}", status=500)) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", api_key=key))
        with pytest.raises(ModelError):
            await model.complete(PROMPT)
        await model.aclose()
    assert b"Bearer sk-1\r\n" in server.requests[0]


@pytest.mark.parametrize("key", ["", " ", "\n", None])
def test_an_empty_key_is_none(key: str | None) -> None:
    settings = ModelSettings(url="http://127.0.0.1:1/v1", api_key=key and SecretStr(key))
    assert settings.api_key is None or not settings.api_key.get_secret_value()


BAD_URLS = [
    "http://user:CANARY@host/v1",
    "http://CANARY@host/v1",
    "https://host/v1?api-key=CANARY",
    "https://host/v1?CANARY",
    "https://host?key=CANARY",
    "https://host/v1#CANARY",
    "https://host:CANARY/v1",
    "http://127.0.0.1:99999/v1?CANARY",
    "ftp://host/CANARY?x",
    "https://a@b@host/CANARY",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_with_a_secret_is_rejected_at_the_start(url: str) -> None:
    with pytest.raises(ValidationError) as rejected:
        Settings(model=ModelSettings(url=url))
    reason = invalid_settings(rejected.value, Settings, file=None)
    assert "CANARY" not in reason or ":CANARY" in url

    with pytest.raises(NotReady) as refused:
        ChatCompletions(ServerOptions(url))
    assert "CANARY" not in str(refused.value)


def test_options_do_not_show_their_key() -> None:
    assert "CANARY" not in repr(ServerOptions("http://h/v1", api_key=KEY))


@pytest.mark.parametrize(
    ("key", "text", "clean"),
    [
        ("none", "none of the nonessential", "*** of the nonessential"),
        ("x", "x-ray of x", "***-ray of ***"),
        (None, "any text", "any text"),
        ("sk-proj-1234", "sk-proj-1234x and sk-proj-99", "*** and ***"),
        ("sk-proj-1234", "sk-pro is cut too short", "sk-pro is cut too short"),
    ],
)
def test_short_keys_are_masked_as_words(key: str | None, text: str, clean: str) -> None:
    assert Redactor(key).clean(text) == clean

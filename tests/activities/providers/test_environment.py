"""Requests under odd environments and workflow ids: one line for an operator, no failure of others."""

import ssl
from typing import Any

import httpx2
import pytest
from outlast_activities.providers import chat_client
from outlast_activities.providers.chat_completions import (
    MAX_SESSION,
    ChatCompletions,
    session_value,
)
from outlast_workers.model_servers import open_model_servers
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.activities.providers.raw_server import SSE, raw_server, response

ANSWER = response('data: {"choices":[{"delta":{"content":"{}"},"finish_reason":"stop"}]}\n\n', SSE)

ENVIRONMENTS: list[tuple[dict[str, str], str]] = [
    ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "SOCKS proxy needs"),
    ({"HTTPS_PROXY": "socks5h://user:CANARY@127.0.0.1:1080"}, "SOCKS proxy needs"),
    ({"ALL_PROXY": "socks://user:CANARY@127.0.0.1:1080"}, "URL of a proxy"),
    ({"HTTP_PROXY": "ftp://127.0.0.1:21"}, "URL of a proxy"),
    ({"all_proxy": "quic://127.0.0.1"}, "URL of a proxy"),
    ({"HTTP_PROXY": "http://127.0.0.1:CANARY"}, "URL of a proxy"),
    ({"SSL_CERT_FILE": "/nope"}, "certificates cannot be read"),
    ({"SSL_CERT_FILE": "/etc/hostname"}, "certificates cannot be read"),
    ({"SSL_CERT_FILE": "/usr"}, "certificates cannot be read"),
]


@pytest.mark.parametrize(("environment", "problem"), ENVIRONMENTS)
async def test_proxies_and_certificates_that_cannot_be_used_are_one_line(
    environment: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(model=ModelSettings(url="https://10.1.2.3:8000/v1"))

    with pytest.raises(NotReady) as refused:
        async with open_model_servers(settings):
            pass

    message = str(refused.value)
    assert problem in message
    assert next(iter(environment)) in message
    assert "CANARY" not in message
    assert "\n" not in message


@pytest.mark.parametrize(("environment", "problem"), ENVIRONMENTS)
async def test_they_do_not_matter_for_a_server_on_this_machine(
    environment: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del problem
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with raw_server(ANSWER) as server:
        await completed(server.url)


@pytest.mark.parametrize(
    ("url", "reads_certificates"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("https://127.0.0.1:8000/v1", True),
        ("http://10.1.2.3:8000/v1", True),
    ],
)
async def test_plain_http_on_this_machine_reads_no_certificates(
    url: str, reads_certificates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bool] = []

    def create(*, trust_env: bool) -> ssl.SSLContext:
        read.append(trust_env)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(httpx2, "create_ssl_context", create)
    chat_client._context_with_certificates.cache_clear()
    try:
        await ChatCompletions(ServerOptions(url, model="m")).aclose()
    finally:
        chat_client._context_with_certificates.cache_clear()

    assert bool(read) == reads_certificates


async def completed(url: str, session: str = "run", **options: Any) -> None:
    model = ChatCompletions(ServerOptions(url, model="m", **options))
    prompt = Prompt((UserTurn("x"),), {"type": "object"}, "k", 9, session=session)
    try:
        await model.complete(prompt)
    finally:
        await model.aclose()


SESSIONS = [
    "chat/42",
    "x\r\nX-Evil: 1",
    "\n",
    "zero\0",
    "é",
    "\u202e",
    "half \ud83d",
    " blanks ",
    "100%",
    "\x7f",
    "x" * 5_000,
    "日" * 300,
    "a\tb",
]


@pytest.mark.parametrize("session", SESSIONS)
async def test_any_workflow_id_is_a_header(session: str) -> None:
    async with raw_server(ANSWER) as server:
        await completed(server.url, session, session_header="X-Session")
    header = next(
        line for line in server.requests[0].split(b"\r\n") if line.lower().startswith(b"x-session:")
    )
    assert header.partition(b":")[2].strip() == session_value(session).encode()
    assert b"\r\nX-Evil" not in server.requests[0]
    assert len(session_value(session)) <= MAX_SESSION


def test_an_ordinary_workflow_id_stays_readable() -> None:
    assert session_value("orders/42:retry 1 (eu)") == "orders/42:retry 1 (eu)"
    assert len(set(map(session_value, SESSIONS))) == len(SESSIONS)


async def test_a_request_that_is_no_http_is_a_fault_of_the_request() -> None:
    async with raw_server(ANSWER) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", session_header="bad name"))
        for number in range(9):
            prompt = Prompt((UserTurn("x"),), {}, "k", 9, session=f"run-{number}")
            with pytest.raises(ModelError) as raised:
                await model.complete(prompt)
            assert raised.value.kind is ModelFailure.BAD_REQUEST
            assert "is not valid HTTP" in raised.value.message
        await model.aclose()

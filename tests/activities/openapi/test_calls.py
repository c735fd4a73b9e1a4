"""Calls of a real HTTP API: requests as they arrive, answers, failures, and whole runs."""

import asyncio
import base64
import json
import re
import threading
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from outlast_activities.openapi import client
from outlast_activities.openapi.answers import result_of
from outlast_activities.openapi.client import open_api
from outlast_workers.settings_sections.media import MediaSettings
from outlast_workers.task_queues import tool_runner
from temporalio.client import Client as TemporalClient

from outlast import Agent, Image, ToolContext, ToolError, tools_from_openapi
from outlast.agents.openapi.openapi_tools import OpenApiTool
from outlast.errors import ConnectionLost, NotReady
from outlast.testing import ScriptedModel, answer, call
from tests.activities.openapi.shop_server import DOCUMENT, PNG, Shop
from tests.stage import catalog_of, on_stage, pending, staged_settings

CANARY = "canary-0123456789"


@pytest_asyncio.fixture(scope="module")
async def open_shop() -> AsyncIterator[Shop]:
    async with Shop().open() as shop:
        yield shop


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    open_shop.reset()
    return open_shop


def tools_of(shop: Shop, **options: Any) -> dict[str, OpenApiTool]:
    made = tools_from_openapi(DOCUMENT, servers=shop.url, **options)
    return {tool.name: tool for tool in made if isinstance(tool, OpenApiTool)}


async def called(tool: OpenApiTool, arguments: dict[str, Any], **context: Any) -> Any:
    async with open_api(tool.api) as client:
        return json.loads(await tool.invoke(arguments, ToolContext(deps=client, **context)))


async def test_an_answer_is_read_beside_the_event_loop(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON of millions of values takes seconds, in which a worker must send heartbeats."""
    threads: list[threading.Thread] = []

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return result_of(*arguments)

    monkeypatch.setattr(client, "result_of", noted)
    await called(tools_of(shop)["head_answer"], {"kind": "text"})
    assert threads
    assert threading.main_thread() not in threads


async def test_arguments_arrive_as_the_document_says(shop: Shop) -> None:
    received = await called(
        tools_of(shop)["echo"],
        {
            "key": "a b/ü,%",
            "more": [1, "x,y", True],
            "word": "one & two",
            "tags": ["a", "b c"],
            "flat": [1, "2,3"],
            "json": {"a": [1]},
            "deep": {"from": 1, "to": None},
            "fields": {"x": "y z", "n": 2},
            "X-Trace": ["t", 1],
            "session": "a;b=ü",
            "body": {"name": "Zoë"},
        },
    )
    assert received["method"] == "POST"
    assert received["path"] == "/api/echo/a%20b%2F%C3%BC%2C%25/1,x%2Cy,true"
    assert received["query"].split("&") == [
        *("word=one%20%26%20two", "tags=a", "tags=b%20c", "deep%5Bfrom%5D=1", "flat=1,2%2C3"),
        *("x=y%20z", "n=2", "json=%7B%22a%22%3A%5B1%5D%7D"),
    ]
    assert received["headers"]["x-trace"] == "t,1"
    assert received["headers"]["cookie"] == "session=a%3Bb%3D%C3%BC"
    assert received["headers"]["content-type"] == "application/json"
    assert json.loads(received["body"]) == {"name": "Zoë"}


async def test_a_form_arrives_encoded(shop: Shop) -> None:
    arguments = {"body": {"name": "a&b", "tags": ["x", "y z"]}}
    kind, body = await called(tools_of(shop)["form"], arguments)
    assert kind == "application/x-www-form-urlencoded"
    assert body == "name=a%26b&tags=x&tags=y%20z"


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("text", "text"),
        ("nothing", {"status": 204}),
        ("here", "text"),
        ("invalid", "\ufffd{"),
        ("zip", "[application/zip: left out: it is neither JSON, text, an image nor a PDF file]"),
    ],
)
async def test_answers_are_results(shop: Shop, kind: str, result: Any) -> None:
    assert await called(tools_of(shop)["get_answer"], {"kind": kind}) == result


async def test_head_returns_the_status(shop: Shop) -> None:
    assert await called(tools_of(shop)["head_answer"], {"kind": "text"}) == {"status": 200}


async def test_runs_share_no_cookies(shop: Shop) -> None:
    tool = tools_of(shop)["get_answer"]
    async with open_api(tool.api) as client:
        for _ in range(2):
            result = await tool.invoke({"kind": "cookie"}, ToolContext(deps=client))
            assert json.loads(result) == {}


async def test_the_key_of_a_call_makes_one_order(shop: Shop) -> None:
    tool, arguments = tools_of(shop)["createOrder"], {"body": {"item": "lamp"}}
    for _ in range(2):
        assert await called(tool, arguments, idempotency_key="run/ü 1/3.1") == {"number": 1}
    (key,) = shop.orders
    assert str(uuid.UUID(key)) == key


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ({"type": "http", "scheme": "basic"}, f"user:{CANARY}"),
        ({"type": "apiKey", "in": "query", "name": "key"}, CANARY),
    ],
)
async def test_a_secret_is_sent_and_appears_nowhere(
    temporal: TemporalClient,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scheme: dict[str, str],
    secret: str,
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", secret)
    document = {
        **DOCUMENT,
        "security": [{"shop": []}],
        "components": {"securitySchemes": {"shop": scheme}},
    }
    tools = tools_from_openapi(
        document, servers=shop.url, include=["echo", "get_answer"], credentials="env:SHOP_TOKEN"
    )
    agent = Agent("seller", "Sell.", tools=tools)
    model = ScriptedModel(
        [call("echo", key="a", more="b"), call("get_answer", kind="401"), answer("Done.")]
    )
    async with on_stage(temporal, model, [agent]) as stage:
        run = await stage.start(agent)
        await run.result()
        echoed = next(each.content or "" for each in await run.transcript() if each.role == "tool")
        history = str((await stage.last()).to_json())
    forms = {CANARY, base64.b64encode(secret.encode()).decode()}
    decoded = history + "".join(
        base64.b64decode(text).decode(errors="replace")
        for text in re.findall(r'"data": "([A-Za-z0-9+/=]+)"', history)
    )
    assert "***" in echoed
    assert "answered 401" in decoded
    assert not any(form in decoded + caplog.text for form in forms)
    sent = str(shop.requests[-1].headers) + str(shop.requests[-1].url)
    assert any(form in sent for form in forms)


async def test_a_credential_that_is_not_set_is_one_line_at_start(shop: Shop) -> None:
    agent = Agent("seller", "Sell.", tools=list(tools_of(shop, credentials="env:NONE").values()))
    with pytest.raises(NotReady, match=r"^\S+: set the variable NONE") as caught:
        async with tool_runner(staged_settings(cached=1), catalog_of([agent])):
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["away", "loop", "file", "odd"])
@pytest.mark.parametrize("tool", ["get_answer", "put_answer", "post_answer"])
async def test_redirects_to_other_places_are_not_followed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tool: str, kind: str
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", CANARY)
    with pytest.raises(ToolError, match="answered 307, a redirect"):
        await called(tools_of(shop, credentials="env:SHOP_TOKEN")[tool], {"kind": kind})
    assert all(request.url.path != "/stolen" for request in shop.requests)


# (what the server does, what a read means on its first and on its last attempt, what a write means)
FAILURES = [
    ("404", "ToolError", "ToolError", "ToolError"),
    ("422", "ToolError", "ToolError", "ToolError"),
    ("401", "ToolError", "ToolError", "ToolError"),
    ("501", "ToolError", "ToolError", "ToolError"),
    ("429", "again after 1 s", "ToolError", "ToolError: the call was not made"),
    ("503", "again after 1 s", "ToolError", "unknown"),
    ("500", "again", "ToolError", "unknown"),
    ("slow", "again", "ToolError", "unknown"),
    ("drip", "again", "ToolError", "unknown"),
    ("cut", "again", "ToolError", "unknown"),
    ("big", "ToolError", "ToolError", "ToolError: the call has happened"),
    ("bomb", "ToolError", "ToolError", "ToolError: the call has happened"),
]


def meaning(error: Any) -> str:
    if isinstance(error, ConnectionLost):
        if error.non_retryable:
            assert "may have happened" in str(error)
            return "unknown"
        wait = error.next_retry_delay
        return "again" if wait is None else f"again after {wait.total_seconds():g} s"
    return type(error).__name__


@pytest.mark.parametrize(("kind", "first", "last", "write"), FAILURES, ids=[x[0] for x in FAILURES])
async def test_failures_mean_what_the_effect_allows(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    first: str,
    last: str,
    write: str,
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", CANARY)
    timeout = timedelta(seconds=1 if kind in {"slow", "drip"} else 30)
    tools = tools_of(shop, credentials="env:SHOP_TOKEN", timeout=timeout)

    async def outcome(tool: str, attempt: int) -> tuple[str, str]:
        with pytest.raises((ToolError, ConnectionLost)) as caught:
            await called(tools[tool], {"kind": kind}, attempt=attempt)
        assert CANARY not in str(caught.value)
        return meaning(caught.value), str(caught.value)

    outcomes = await asyncio.gather(
        outcome("get_answer", 1), outcome("put_answer", 4), outcome("post_answer", 1)
    )
    assert [outcome for outcome, _ in outcomes[:2]] == [first, last]
    expected, _, text = write.partition(": ")
    assert outcomes[2][0] == expected
    assert text in outcomes[2][1]


@pytest.mark.parametrize(
    ("tool", "attempt", "outcome"),
    [("get_answer", 1, "again"), ("get_answer", 4, "ToolError"), ("post_answer", 1, "ToolError")],
)
async def test_a_server_that_is_away_got_no_call(tool: str, attempt: int, outcome: str) -> None:
    with pytest.raises((ToolError, ConnectionLost)) as caught:
        await called(tools_of(Shop())[tool], {"kind": "text"}, attempt=attempt)
    assert meaning(caught.value) == outcome
    assert outcome == "again" or "was not made" in str(caught.value)


async def test_a_run_calls_operations(temporal: TemporalClient, shop: Shop, tmp_path: Path) -> None:
    tools = tools_of(shop, approvals={"createOrder": "leads"})
    agent = Agent("seller", "Sell.", tools=list(tools.values()))
    model = ScriptedModel(
        [
            call("createOrder", body={"item": "lamp"}),
            call("get_answer", kind="flaky"),
            call("get_answer", kind="404"),
            call("get_answer", kind="picture"),
            call("post_answer", kind="500"),
            answer("Done."),
        ]
    )
    settings = staged_settings(cached=1000)
    settings = settings.model_copy(update={"media": MediaSettings(store=tmp_path.as_uri())})
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        run = await stage.start(agent)
        request = await pending(run)
        assert request.audience == "leads"
        assert not shop.orders
        await run.approve(request, by="ann")
        while (asked := await pending(run)).kind != "question":
            pass
        assert "happened" in (asked.question or "")
        await run.answer(asked, "it did not happen", by="ann")
        while (asked := await pending(run)).kind != "question":
            pass
        await run.cancel()
        await run.result()
        texts = [each.content for each in await run.transcript() if each.role == "tool"]
    assert json.loads(texts[0] or "") == {"number": 1}
    assert json.loads(texts[1] or "") == {"fails": 3}
    assert "answered 404" in (texts[2] or "")
    assert texts[3] == json.dumps(Image.from_bytes(PNG).reference)
    assert list(shop.orders.values()) == [{"item": "lamp"}]

"""What one tenant may use of a gateway: the others can use it at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from outlast_workers.gateway import run_feeds, shares
from outlast_workers.gateway.answer_hub import AnswerHub
from outlast_workers.gateway.run_feeds import RunFeeds, TooManyFeeds
from outlast_workers.gateway.shares import tenant_share
from outlast_workers.settings_sections.gateway import GatewaySettings
from temporalio.client import Client as TemporalClient

from outlast.client.client import Client
from outlast.testing import ScriptedModel, call
from tests.workers.gateway.desk_agents import desk
from tests.workers.gateway.doors import Doors, doors

ONE = {"ann": {"token": "a" * 16, "tenant": "acme"}, "bob": {"token": "b" * 16, "tenant": "acme"}}
TWO = {**ONE, "eve": {"token": "e" * 16, "tenant": "evil"}}
OIDC = {"issuer": "https://i.example", "audience": "a", "jwks_url": "https://i.example/keys"}


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 1.0),
        ({"tokens": ONE}, 1.0),
        ({"tokens": TWO}, 0.5),
        ({"oidc": OIDC}, 0.5),
        ({"oidc": {**OIDC, "tenant": "acme"}}, 1.0),
        ({"oidc": {**OIDC, "tenant": "acme"}, "tokens": ONE}, 1.0),
        ({"oidc": {**OIDC, "tenant": "other"}, "tokens": ONE}, 0.5),
    ],
)
def test_a_tenant_shares_only_with_others(settings: dict[str, Any], share: float) -> None:
    assert tenant_share(GatewaySettings.model_validate(settings)) == share


async def test_the_streams_of_a_tenant_leave_room_for_others(temporal: TemporalClient) -> None:
    model = ScriptedModel([call("refund", order_id="7")], repeat_last=True)
    async with (
        doors(temporal, model, [desk], max_connections=4) as gateway,
        AsyncExitStack() as stack,
    ):
        ann = await stack.enter_async_context(gateway.client())
        body = {"agent": "desk", "input": "Refund 7", "key": "shares"}
        run_id = (await ann.post("/runs", json=body)).json()["id"]
        for _ in range(2):
            stream = ann.stream("GET", f"/runs/{run_id}/events")
            assert (await stack.enter_async_context(stream)).status_code == 200
        for name in ("ann", "bob"):
            client = await stack.enter_async_context(gateway.client(name))
            rejected = await client.get("/agents")
            assert (rejected.status_code, rejected.headers["retry-after"]) == (429, "1")
            assert "the tenant has 2 open requests" in rejected.text
        eve = await stack.enter_async_context(gateway.client("eve"))
        assert (await eve.get("/agents")).status_code == 200
    await temporal.get_workflow_handle(run_id).cancel()


async def half_body(gateway: Doors, path: str, size: int) -> asyncio.StreamWriter:
    """Send a request of acme without its end."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ann-has-a-long-token\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n".encode())
    writer.write(b" " * size)
    await writer.drain()
    return writer


@pytest.mark.parametrize("path", ["/runs", "/v1/responses", "/agui/desk", "/a2a/desk", "/mcp"])
async def test_the_bodies_of_a_tenant_leave_room_for_others(
    path: str, temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MAX_OPEN_BODY_BYTES", 1_000)
    body = {"agent": "nobody", "input": "x" * 200}

    async def statuses(name: str) -> int:
        accept = "application/json, text/event-stream"
        async with gateway.client(name, accept=accept) as client:
            return (await client.post(path, json=body)).status_code

    async with doors(temporal, ScriptedModel([]), [desk]) as gateway:
        writer = await half_body(gateway, path, 400)
        async with asyncio.timeout(30):
            while await statuses("ann") != 503:
                await asyncio.sleep(0.05)
        assert await statuses("eve") < 500
        writer.close()
        async with asyncio.timeout(30):
            while await statuses("ann") >= 500:
                await asyncio.sleep(0.05)


async def test_the_followed_runs_of_a_tenant_leave_room_for_others(
    temporal: TemporalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def entries(*_: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(run_feeds, "stream_entries", entries)
    client = Client(temporal)
    feeds = RunFeeds(client, AnswerHub(), max_tenant_feeds=2)
    following = [
        feeds.follow(client.get(run_id), beat_s=0.01)
        for run_id in ("acme/desk/1", "acme/desk/2", "acme/desk/3", "acme2/desk/1")
    ]
    assert await anext(following[0]) is None
    assert await anext(following[1]) is None
    with pytest.raises(TooManyFeeds, match="follows 2 runs"):
        await anext(following[2])
    assert await anext(following[3]) is None
    for each in following:
        await each.aclose()
    assert feeds.count == 0

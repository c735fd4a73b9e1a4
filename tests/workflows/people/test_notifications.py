"""Notices: people are notified of requests on every channel, and a broken channel delays nothing."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.people import AudienceSettings
from temporalio.client import Client

from outlast import Agent, Approval, Escalation, tool
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending, staged_settings

SECRET = base64.b64encode(b"sixteen bytes or more").decode()

URGENT = Approval(
    audience="first", escalate=(Escalation(audience="second", after_s=1),), expires_s=30
)


@tool(effect="irreversible", approval=URGENT)
def refund(order_id: str) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


desk = Agent(name="desk", instructions="Refund.", tools=[refund])


def model() -> ScriptedModel:
    return ScriptedModel([call("refund", order_id="42"), answer("done")])


def settings_with(**audiences: dict[str, Any]) -> Settings:
    sections = {name: AudienceSettings.model_validate(one) for name, one in audiences.items()}
    return staged_settings(cached=1000).model_copy(
        update={"audiences": sections, "ui_url": "http://ui.example"}
    )


class Hook:
    """A webhook's other end: it records what it got, and fails a given number of times."""

    def __init__(self) -> None:
        self.url = ""
        self.failures = 0
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        status = "503 Busy" if len(self.got) <= self.failures else "204 No Content"
        writer.write(
            f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    served = Hook()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notices"
    async with server:
        yield served


async def test_each_audience_is_told_as_its_turn_comes(temporal: Client, tmp_path: Path) -> None:
    file = tmp_path / "notices.jsonl"
    command = ["/bin/sh", "-c", f"cat >> {file}; echo >> {file}"]
    async with hook() as other:
        settings = settings_with(
            first={"command": command}, second={"webhook": other.url, "secret": f"whsec_{SECRET}"}
        )
        async with on_stage(temporal, model(), [desk], settings=settings) as stage:
            run = await stage.start("desk")
            async with asyncio.timeout(40):
                while not other.got:
                    await asyncio.sleep(0.1)
            await run.approve(await pending(run), by="ann")
            await run.result()
    (first,) = map(json.loads, file.read_text().splitlines())
    assert (first["reason"], first["audience"]) == ("opened", "first")
    assert first["request"]["arguments"] == {"order_id": "42"}
    assert first["commands"]["approve"].startswith("temporal workflow update execute")
    assert first["url"].startswith(f"http://ui.example/namespaces/default/workflows/{run.id}/")
    headers, body = other.got[0]
    assert json.loads(body)["reason"] == "escalated"
    assert headers["webhook-id"] == f"{run.id}/{run.first_execution_run_id}/1.1/2/0"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(SECRET), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


async def test_a_broken_channel_holds_nothing_up_and_is_tried_again(temporal: Client) -> None:
    async with hook() as flaky:
        flaky.failures = 1
        settings = settings_with(first={"webhook": flaky.url, "command": ["/bin/false"]})
        async with on_stage(temporal, model(), [desk], settings=settings) as stage:
            run = await stage.start("desk")
            async with asyncio.timeout(40):
                while len(flaky.got) < 2:
                    await asyncio.sleep(0.1)
            keys = {headers["webhook-id"] for headers, _ in flaky.got}
            await run.approve(await pending(run), by="ann")
            assert (await run.result()).output == "done"
    assert len(keys) == 1, "one notice, tried twice"


async def test_audiences_that_are_not_named_are_told_as_any(
    temporal: Client, tmp_path: Path
) -> None:
    file = tmp_path / "notices"
    everybody = {"*": {"command": ["/bin/sh", "-c", f"cat > {file}"]}}
    async with on_stage(temporal, model(), [desk], settings=settings_with(**everybody)) as stage:
        run = await stage.start("desk")
        await run.deny(await pending(run))
        await run.result()
        assert "notify" in await stage.activities()


def test_an_audience_that_nothing_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a webhook, a command, keys, or log = true"):
        AudienceSettings.model_validate({})

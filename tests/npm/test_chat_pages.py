"""The pages of examples/chat-page in headless Chromium: the stock `useChat` and `HttpAgent`.

The pages come from another origin than the gateway. `make test-npm` builds them, and `make pictures` keeps
the pictures for the documentation.
"""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from outlast_workers.local.ports import free_port
from playwright.async_api import Browser, Locator, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, tool
from outlast.testing import ScriptedModel, Step, answer, call, calls
from tests.docs.prose import ROOT
from tests.long.chaos.proxy import Proxy
from tests.loopback import listening
from tests.stage import Flag
from tests.workers.gateway.doors import TOKENS, Doors, doors
from tests.workers.gateway.writing import writing

PAGES = ROOT / "examples" / "chat-page"
WAIT_MS = 30_000
"""How long the tests wait for what a page shows, on a machine that runs other tests beside."""

LOST = "network error"
"""Chromium's error of a lost connection. The stock `HttpAgent` also leaves a copy of it unhandled."""

expect.set_options(timeout=WAIT_MS)

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is missing: install Node 20"),
    pytest.mark.skipif(
        not (PAGES / "dist").is_dir(), reason="the pages are not built: make test-npm"
    ),
]


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str, amount_usd: float) -> str:
    """Refund an order."""
    return f"refunded {amount_usd:.2f} USD for {order_id}"


desk = Agent("support-desk", "Help customers with their orders.", tools=[refund])

QUESTION = "How long does a return take?"
PIECES = (
    "You can send an order back within 30 days. ",
    "Once your parcel is here, we check it within two working days, ",
    "and your bank shows the money a day later.",
)
STORY = "".join(PIECES)
REFUND: dict[str, Any] = {"order_id": "A-1042", "amount_usd": 79.9}


@asynccontextmanager
async def origin() -> AsyncIterator[str]:
    """Serve the pages, and yield their origin."""
    port = free_port()
    app = Starlette(routes=[Mount("/", StaticFiles(directory=PAGES, html=True))])
    async with listening(app, port):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def opened(browser: Browser, url: str, **settings: str) -> AsyncIterator[Page]:
    """Open a page with settings; its scripts leave no error unhandled but that of a lost connection."""
    context = await browser.new_context(viewport={"width": 720, "height": 500})
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    fields = {"agent": desk.name, "token": TOKENS["ann"]["token"], **settings}
    try:
        await page.goto(f"{url}#{urlencode(fields)}")
        yield page
        assert set(errors) <= {LOST}
    finally:
        await context.close()


@asynccontextmanager
async def before(gateway: Doors) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy in front of a gateway, which can cut connections, and its URL."""
    target = int(gateway.url.rpartition(":")[2])
    async with Proxy(port=free_port(), target=target) as proxy:
        yield proxy, f"http://127.0.0.1:{proxy.port}"


async def send(page: Page, text: str) -> None:
    await page.get_by_placeholder("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def keep(page: Page, name: str) -> None:
    """Keep a picture for the documentation, if `SCREENSHOTS` names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def read_over_a_cut(page: Page, proxy: Proxy, gates: list[Flag]) -> Locator:
    """Ask, lose the connection in the middle of the answer, and read all of it. Return the answers."""
    await send(page, QUESTION)
    answers = page.locator("section.assistant p")
    await expect(answers).to_have_text(PIECES[0])
    gates[1].set()
    await expect(answers).to_have_text(PIECES[0] + PIECES[1])
    proxy.cut()
    await expect(page.get_by_role("alert")).to_contain_text(LOST)
    await page.get_by_role("button", name="Reconnect").click()
    await expect(page.get_by_role("alert")).to_have_count(0)
    gates[2].set()
    await expect(answers).to_have_text(STORY)
    return answers


async def test_use_chat(temporal: TemporalClient, browser: Browser) -> None:
    gates = [Flag() for _ in PIECES]
    gates[0].set()
    steps: list[Step] = [
        writing(PIECES, gates=gates),
        call("refund", **REFUND),
        answer("We have refunded 60 dollars."),
        calls(call("refund", **REFUND), call("refund", **REFUND)),
        answer("We have refunded both."),
    ]
    async with (
        origin() as site,
        doors(temporal, ScriptedModel(steps), [desk], origins=[site]) as gateway,
        before(gateway) as (proxy, url),
        opened(browser, f"{site}/", gateway=url, chat="ai") as page,
    ):
        answers = await read_over_a_cut(page, proxy, gates)

        # An approval, which a page that is opened again shows too. The person changes the arguments.
        await send(page, "My order A-1042 arrived broken. I want my money back.")
        arguments = page.get_by_label("Arguments")
        await expect(arguments).to_have_value(json.dumps(REFUND, separators=(",", ":")))
        await page.reload()
        await expect(arguments).to_have_value(json.dumps(REFUND, separators=(",", ":")))
        await keep(page, "chat-page")
        await arguments.fill('{"order_id": "A-1042", "amount_usd": ')
        await expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        await arguments.fill('{"order_id": "A-1042", "amount_usd": 60}')
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator("code")).to_contain_text("refunded 60.00 USD for A-1042")
        await expect(answers.last).to_have_text("We have refunded 60 dollars.")
        await expect(page.locator("section")).to_have_count(4)

        # Two approvals in one step: both changes count.
        await send(page, "Refund it twice.")
        await expect(arguments).to_have_count(2)
        for amount in (1, 2):
            await arguments.first.fill(json.dumps({**REFUND, "amount_usd": amount}))
            await page.get_by_role("button", name="Approve").first.click()
        await expect(answers.last).to_have_text("We have refunded both.")
        await expect(page.locator("section.assistant").last).to_contain_text("refunded 1.00 USD")
        await expect(page.locator("section.assistant").last).to_contain_text("refunded 2.00 USD")


async def test_http_agent(temporal: TemporalClient, browser: Browser) -> None:
    gates = [Flag() for _ in PIECES]
    gates[0].set()
    steps: list[Step] = [
        writing(PIECES, gates=gates),
        call("refund", **REFUND),
        answer("We have refunded 60 dollars."),
    ]
    async with (
        origin() as site,
        doors(temporal, ScriptedModel(steps), [desk], origins=[site]) as gateway,
        before(gateway) as (proxy, url),
        opened(browser, f"{site}/agui.html", gateway=url, chat="agui") as page,
    ):
        answers = await read_over_a_cut(page, proxy, gates)

        await send(page, "My order A-1042 arrived broken. I want my money back.")
        arguments = page.get_by_label("refund")
        await arguments.fill('{"order_id": "A-1042", "amount_usd": 60}')
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator("section.tool")).to_contain_text("refunded 60.00 USD for A-1042")
        await expect(answers.last).to_have_text("We have refunded 60 dollars.")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)


@pytest.mark.parametrize("name", ["", "agui.html"])
async def test_a_page_of_another_origin_reaches_nothing(
    temporal: TemporalClient, browser: Browser, name: str
) -> None:
    async with (
        origin() as site,
        doors(temporal, ScriptedModel([]), [desk], origins=["http://other.example"]) as gateway,
        opened(browser, f"{site}/{name}", gateway=gateway.url) as page,
    ):
        if name:
            await send(page, QUESTION)
        await expect(page.get_by_role("alert")).to_contain_text("Failed to fetch")
        async with gateway.client() as ann:
            assert (await ann.get("/runs/acme/support-desk/1")).status_code == 404
